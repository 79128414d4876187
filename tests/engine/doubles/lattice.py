"""Who makes services over VPC Lattice: the gateway controller, with external-dns for their names, and Kyverno.

The controller makes a service for each HTTPRoute whose Gateway and class are its own, gives it the policy of its
IAMAuthPolicy, and clears it away, if it still can: with release, pods, account, role, rights and a way to AWS. All of
that is read in the world each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import balancers, kinds_eks, network
from .kinds_lattice import network_id
from .tokens import (
    AUTH_POLICY,
    CERTIFICATE,
    INGRESS_RULE,
    LATTICE_SERVICE,
    NETWORK_ASSOCIATION,
    RECORD,
    SERVICE_NETWORK,
    ZONE,
    ZONE_ASSOCIATION,
)
from .wire import Json
from .world import Kube, KubeObject, Thing, World

_GATEWAY_API = "kubernetes:gateway.networking.k8s.io/v1:"
GATEWAY_CLASS = f"{_GATEWAY_API}GatewayClass"
GATEWAY = f"{_GATEWAY_API}Gateway"
ROUTE = f"{_GATEWAY_API}HTTPRoute"
AUTH = "kubernetes:application-networking.k8s.aws/v1alpha1:IAMAuthPolicy"
MUTATION = "kubernetes:policies.kyverno.io/v1:MutatingPolicy"
ENDPOINT_KIND = ("externaldns.k8s.io/v1alpha1", "DNSEndpoint")

CHART = "aws-gateway-controller-chart"
CONTROLLER = "application-networking.k8s.aws/gateway-api-controller"
ANSWERED = (GATEWAY_CLASS, GATEWAY, ROUTE, AUTH)
"""The kinds that the controller answers to."""
FINALIZERS = {
    GATEWAY: "gateway.k8s.aws/resources",
    ROUTE: "httproute.k8s.aws/resources",
    AUTH: "application-networking.k8s.aws/iam-auth-policy",
}
REDIRECT, PROXY = "iptables-init", "envoy-sigv4"
_CERTIFICATE_OPTION = "application-networking.k8s.aws/certificate-arn"


def prefix_list(world: World, name: str) -> str | None:
    """The id of a prefix list that AWS manages; None if there is none of the name."""
    lists = {
        f"com.amazonaws.{world.region}.{part}vpc-lattice": f"pl-{part.strip('.') or 'ipv4'}" for part in ("", "ipv6.")
    }
    return lists.get(name)


# Releases that act in AWS.


def _release(kube: Kube, chart: str) -> KubeObject | None:
    return next((each for each in kube.of_type(balancers.RELEASE) if each.inputs["chart"].endswith(chart)), None)


def _acting_problems(
    world: World, kube: Kube, chart: str, account: str, services: tuple[str, ...], action: str
) -> Iterator[str]:
    """Why the pods of a chart do not do something in AWS."""
    release = _release(kube, chart)
    if release is None:
        yield f"{chart} is not installed"
        return
    nodes = kinds_eks.running_nodes(world, kube.cluster_name)
    if not nodes:
        yield f"{chart} has no node to run on"
    if "coredns" not in kinds_eks.addons(world, kube.cluster_name):
        yield f"{chart} resolves no name"
    for subnet in (subnet for each in nodes for subnet in each.inputs["subnetIds"]):
        if not network.reaches_services(world, subnet, services):
            yield f"{chart} does not reach AWS from {subnet}"
    values = release.inputs.get("values", {}).get("serviceAccount", {})
    name = values.get("name", account)
    found = kube.find(balancers.ACCOUNT, release.namespace, name)
    if found is None and not values.get("create", True):
        yield f"the account {release.namespace}/{name} is not there"
    annotations = (found.inputs["metadata"].get("annotations") or {}) if found else values.get("annotations", {})
    cluster = kinds_eks.cluster_named(world, kube.cluster_name)
    role = annotations.get(balancers.ROLE_ANNOTATION)
    problem = kinds_eks.credentials_problem(world, cluster, release.namespace, name, role, action=action)
    if problem:
        yield problem


def _controller_problems(world: World, kube: Kube, action: str) -> Iterator[str]:
    yield from _acting_problems(world, kube, CHART, "gateway-api-controller", ("vpc-lattice",), action)
    release = _release(kube, CHART)
    values = release.inputs.get("values", {}) if release else {}
    if release and values.get("clusterName") != kube.cluster_name:
        yield f"the gateway controller works for cluster {values.get('clusterName')}"


# What the controller answers to an object.


def _class_problems(item: KubeObject) -> Iterator[str]:
    if item.inputs["spec"]["controllerName"] != CONTROLLER:
        yield f"no controller answers for {item.inputs['spec']['controllerName']}"


def _gateway_problems(world: World, kube: Kube, item: KubeObject) -> Iterator[str]:
    named = item.inputs["spec"]["gatewayClassName"]
    found = kube.find(GATEWAY_CLASS, "", named)
    if found is None:
        yield f"gateway class {named!r} is not there"
        return
    yield from _class_problems(found)
    if world.find(SERVICE_NETWORK, "name", item.name) is None:
        yield f"Programmed=False: service network {item.name} is not found, and nobody looks again"


def _route_problems(world: World, kube: Kube, item: KubeObject) -> Iterator[str]:
    for reference in item.inputs["spec"]["parentRefs"]:
        gateway = _gateway_of(kube, item, reference)
        if gateway is None:
            yield f"gateway {reference['name']} is not there"
            continue
        yield from _gateway_problems(world, kube, gateway)
        listeners = {each["name"]: each for each in gateway.inputs["spec"]["listeners"]}
        listener = listeners.get(reference.get("sectionName"))
        if listener is None:
            yield f"gateway {gateway.id} has no listener {reference.get('sectionName')}"
        elif not _admits(kube, gateway, listener, item):
            yield "NotAllowedByListeners"
        else:
            yield from _certificate_problems(world, listener, item.inputs["spec"]["hostnames"])
    for rule in item.inputs["spec"]["rules"]:
        for backend in rule["backendRefs"]:
            if kube.find("kubernetes:core/v1:Service", item.namespace, backend["name"]) is None:
                yield f"BackendNotFound: {backend['name']}"


def _gateway_of(kube: Kube, route: KubeObject, reference: dict[str, Json]) -> KubeObject | None:
    return kube.find(GATEWAY, reference.get("namespace", route.namespace), reference["name"])


def _admits(kube: Kube, gateway: KubeObject, listener: dict[str, Json], route: KubeObject) -> bool:
    allowed = listener.get("allowedRoutes", {}).get("namespaces", {"from": "Same"})
    if allowed["from"] == "Same":
        return gateway.namespace == route.namespace
    space = kube.find("kubernetes:core/v1:Namespace", "", route.namespace)
    labels = space.inputs["metadata"].get("labels", {}) if space else {}
    return allowed["from"] == "All" or allowed["selector"]["matchLabels"].items() <= labels.items()


def _certificate_problems(world: World, listener: dict[str, Json], hosts: list[str]) -> Iterator[str]:
    arn = listener.get("tls", {}).get("options", {}).get(_CERTIFICATE_OPTION)
    certificate = world.find(CERTIFICATE, "arn", arn)
    if arn and (certificate is None or certificate.outputs["status"] != "ISSUED"):
        yield f"certificate {arn} is not issued"
    elif certificate:
        names = certificate.outputs["subjectAlternativeNames"]
        for host in hosts:
            if host not in names and f"*.{host.partition('.')[2]}" not in names:
                yield f"certificate {arn} is not for {host}"


def problems(world: World, kube: Kube, item: KubeObject) -> Iterator[str]:
    """Why the controller does not do what an object asks for."""
    yield from _controller_problems(world, kube, "vpc-lattice:CreateService")
    if item.type == GATEWAY_CLASS:
        yield from _class_problems(item)
    elif item.type == GATEWAY:
        yield from _gateway_problems(world, kube, item)
    elif item.type == ROUTE:
        yield from _route_problems(world, kube, item)


def take(world: World, kube: Kube, item: KubeObject) -> dict[str, Json]:
    """Do what an object asks for; its status."""
    if item.type in FINALIZERS:
        item.finalizers = [FINALIZERS[item.type]]
    if item.type == ROUTE:
        made = _make_service(world, kube, item)
        metadata = item.inputs["metadata"]
        annotations = {"application-networking.k8s.aws/lattice-assigned-domain-name": made.outputs["dnsName"]}
        return {"metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), **annotations}}}
    if item.type == AUTH:
        target = _target(kube, item)
        service = _service(world, kube, target) if target else None
        if service:
            _protect(service, item)
    return {"status": {"conditions": [{"type": "Accepted", "status": "True"}]}}


def removal_problems(world: World, kube: Kube, item: KubeObject) -> Iterator[str]:
    """Why a finalizer of the controller stays on an object."""
    yield from _controller_problems(world, kube, "vpc-lattice:DeleteService")
    if item.type == GATEWAY:
        if kube.find(GATEWAY_CLASS, "", item.inputs["spec"]["gatewayClassName"]) is None:
            yield "its class is gone, so it is nobody's"
        routes = [
            each for each in kube.of_type(ROUTE) for ref in _references(each) if _gateway_of(kube, each, ref) is item
        ]
        if routes:
            yield f"{routes[0].id} still names it"
    elif item.type == ROUTE:
        for reference in _references(item):
            gateway = _gateway_of(kube, item, reference)
            if gateway is None or kube.find(GATEWAY_CLASS, "", gateway.inputs["spec"]["gatewayClassName"]) is None:
                yield "its gateway or class is gone, so it is nobody's"
    elif item.type == AUTH:
        target = _target(kube, item)
        if target and _service(world, kube, target) is None:
            yield "its route has no service to take the policy from"


def clear(world: World, kube: Kube, item: KubeObject) -> None:
    """Remove what was made for an object."""
    if item.type == ROUTE:
        service = _service(world, kube, item)
        if service:
            world.remove(service)
        endpoint = kube.objects.pop((f"kubernetes:{':'.join(ENDPOINT_KIND)}", item.namespace, f"{item.name}-dns"), None)
        if endpoint and not list(_dns_problems(world, kube)):
            for each in [each for each in world.of_type(RECORD) if each.made_by == _mark(kube, item)]:
                world.remove(each)
    elif item.type == AUTH:
        target = _target(kube, item)
        service = _service(world, kube, target) if target else None
        if service:
            _open(world, service)


def _references(route: KubeObject) -> list[dict[str, Any]]:
    return route.inputs["spec"]["parentRefs"]


def _target(kube: Kube, policy: KubeObject) -> KubeObject | None:
    reference = policy.inputs["spec"]["targetRef"]
    return kube.find(_GATEWAY_API + reference["kind"], policy.namespace, reference["name"])


# Services.


def _mark(kube: Kube, route: KubeObject) -> str:
    return f"{CHART} of {kube.cluster_name} for {route.id}"


def _service(world: World, kube: Kube, route: KubeObject) -> Thing | None:
    return next((each for each in world.of_type(LATTICE_SERVICE) if each.made_by == _mark(kube, route)), None)


def _make_service(world: World, kube: Kube, route: KubeObject) -> Thing:
    """Make the service of a route unless it is there, with the policy that waits for it, and its record."""
    found = _service(world, kube, route)
    if found is None:
        gateway = next(each for ref in _references(route) if (each := _gateway_of(kube, route, ref)))
        shared = world.find(SERVICE_NETWORK, "name", gateway.name)
        options = [each.get("tls", {}).get("options", {}) for each in gateway.inputs["spec"]["listeners"]]
        identity = f"svc-{world.new_hex(17)}"
        name = f"{route.name[:20]}-{route.namespace[:18]}"
        outputs = {
            "arn": world.arn("vpc-lattice", f"service/{identity}"),
            "authType": "NONE",
            "policy": None,
            "certificateArn": next(
                (each[_CERTIFICATE_OPTION] for each in options if _CERTIFICATE_OPTION in each), None
            ),
            "dnsName": f"{name}-{identity[4:]}.7d67968.vpc-lattice-svcs.{world.region}.on.aws",
        }
        inputs = {"name": name, "network": shared.id if shared else "", "host": route.inputs["spec"]["hostnames"][0]}
        found = world.add(Thing(LATTICE_SERVICE, identity, inputs, outputs, made_by=_mark(kube, route)))
    policy = next((each for each in kube.of_type(AUTH) if _target(kube, each) is route), None)
    if policy:
        _protect(found, policy)
    else:
        _open(world, found)
    _publish(world, kube, route, found)
    return found


def _protect(service: Thing, policy: KubeObject) -> None:
    service.outputs |= {"authType": "AWS_IAM", "policy": policy.inputs["spec"]["policy"]}


def _open(world: World, service: Thing) -> None:
    service.outputs |= {"authType": "NONE", "policy": None}
    world.opened.append(service.inputs["name"])


def reaches(world: World, kube: Kube, service: Thing) -> Iterator[str]:
    """Why a call from a cluster's pods does not arrive at a service, whoever may call it."""
    cluster = kinds_eks.cluster_named(world, kube.cluster_name)
    vpc = cluster.outputs["vpcConfig"]["vpcId"]
    if not any(
        network_id(each.inputs["serviceNetworkIdentifier"]) == service.inputs["network"]
        for each in world.pointing(NETWORK_ASSOCIATION, "vpcIdentifier", vpc)
    ):
        yield f"{vpc} is not associated with the service network"
    records = [each for each in world.of_type(RECORD) if each.inputs["name"] == service.inputs["host"]]
    if not records:
        yield f"{service.inputs['host']} has no record"
    for each in records:
        if not any(
            link.inputs["vpcId"] == vpc for link in world.pointing(ZONE_ASSOCIATION, "zoneId", each.inputs["zoneId"])
        ):
            yield f"{vpc} does not see the zone of {service.inputs['host']}"


def target_problems(world: World, kube: Kube, port: int) -> Iterator[str]:
    """Why VPC Lattice does not reach the pods of a cluster."""
    wanted = prefix_list(world, f"com.amazonaws.{world.region}.vpc-lattice")
    for nodes in kinds_eks.running_nodes(world, kube.cluster_name):
        groups = kinds_eks.node_groups(world, nodes)
        rules = [each.inputs for each in world.pointing(INGRESS_RULE, "prefixListId", wanted)]
        if not any(
            each["securityGroupId"] in groups
            and (each["ipProtocol"] == "-1" or each["fromPort"] <= port <= each["toPort"])
            for each in rules
        ):
            yield f"{groups} do not admit VPC Lattice on {port}"


def network_policy(world: World, service: Thing) -> tuple[str, str | None]:
    """The auth type of a service's network, and its policy."""
    shared = world.things[SERVICE_NETWORK, service.inputs["network"]]
    policy = next(world.pointing(AUTH_POLICY, "resourceIdentifier", shared.outputs["arn"]), None)
    return shared.outputs["authType"], policy.inputs["policy"] if policy else None


# Names.


def _dns_problems(world: World, kube: Kube) -> Iterator[str]:
    yield from _acting_problems(world, kube, "external-dns", "external-dns", (), "route53:ChangeResourceRecordSets")
    release = _release(kube, "external-dns")
    if release and "crd" not in release.inputs.get("values", {}).get("sources", []):
        yield "external-dns does not read DNSEndpoints"


def _publish(world: World, kube: Kube, route: KubeObject, service: Thing) -> None:
    """Write the DNSEndpoint, and let external-dns make the record, if both can."""
    if not kube.writes_endpoints:
        return
    key = (f"kubernetes:{':'.join(ENDPOINT_KIND)}", route.namespace, f"{route.name}-dns")
    kube.objects.setdefault(key, KubeObject(*key, {"spec": {}}, {}))
    if list(_dns_problems(world, kube)) or any(each.made_by == _mark(kube, route) for each in world.of_type(RECORD)):
        return
    host = service.inputs["host"]
    release = _release(kube, "external-dns")
    wanted = release.inputs["values"]["extraArgs"]["zone-id-filter"] if release else []
    for zone in (
        each for each in world.of_type(ZONE) if each.id in wanted and host.endswith(f".{each.inputs['name']}")
    ):
        inputs = {"zoneId": zone.id, "name": host, "type": "CNAME", "records": [service.outputs["dnsName"]]}
        world.add(Thing(RECORD, f"{zone.id}_{host}", inputs, {}, made_by=_mark(kube, route)))


# Kyverno.


def injected(kube: Kube, deployment: KubeObject) -> list[str]:
    """What the policies of a cluster put into the pods of a Deployment when it is made: names of containers."""
    template = deployment.inputs["spec"]["template"]
    asked = [key for key, value in template["metadata"].get("annotations", {}).items() if value == "true"]
    expressions = [
        str(each)
        for policy in kube.of_type(MUTATION)
        if any(key in str(policy.inputs["spec"].get("matchConditions")) for key in asked)
        for each in policy.inputs["spec"]["mutations"]
    ]
    return [name for name in (REDIRECT, PROXY) if any(name in each for each in expressions)]


def proxy_problems(world: World, kube: Kube, deployment: KubeObject) -> Iterator[str]:
    """Why the proxy that was put into a Deployment's pods does not start: it needs a role, and its authority."""
    if PROXY in deployment.injected:
        account = deployment.inputs["spec"]["template"]["spec"].get("serviceAccountName", "default")
        cluster = kinds_eks.cluster_named(world, kube.cluster_name)
        problem = kinds_eks.credentials_problem(
            world, cluster, deployment.namespace, account, None, action="acm-pca:GetCertificateAuthorityCertificate"
        )
        if problem:
            yield f"{PROXY}: {problem}"
