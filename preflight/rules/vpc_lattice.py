"""VPC Lattice as programs declare it: service networks, gateways, services with their policies, pods that sign.

Read from the graph of one stack, or from that of a system's stacks put together: a network, its roles and the clusters
that use it may be of different stacks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from preflight.calls import AWS_IAM, NONE, Guard
from preflight.graph import UNKNOWN, Resource
from preflight.rules.eks import Estate, Object, many
from preflight.workloads import Workload, at, properties, text, workloads

CONTROLLER = "application-networking.k8s.aws/gateway-api-controller"
"""What a GatewayClass of the controller names: https://www.gateway-api-controller.eks.aws/latest/api-types/gateway/"""

NETWORK = "aws:vpclattice/serviceNetwork:ServiceNetwork"
AUTH_POLICY = "aws:vpclattice/authPolicy:AuthPolicy"
ASSOCIATION = "aws:vpclattice/serviceNetworkVpcAssociation:ServiceNetworkVpcAssociation"

_USUAL_CLASS = "amazon-vpc-lattice"
_POLICY_KINDS = ("ClusterPolicy", "Policy", "MutatingPolicy", "NamespacedMutatingPolicy")


@dataclass(frozen=True, kw_only=True, eq=False)
class Service:
    """One service that the controller makes of a route."""

    route: Object
    host: str
    """The name by which it is called; that of the route where it has no host name."""
    network: Guard
    own: Guard
    policies: tuple[Object, ...]
    """The route's IAMAuthPolicies, of which the controller takes the oldest."""
    arn: str
    """A pattern for its ARN with any path, for nobody knows its id yet."""


def gateways(found: Estate) -> list[Object]:
    """The Gateways that the controller of VPC Lattice answers for."""
    return [one for one in found.objects.get("Gateway", ()) if _is_lattice(found, one)]


def _is_lattice(found: Estate, gateway: Object) -> bool:
    name = text(gateway.spec, "gatewayClassName")
    made = found.by_name.get((found.place(gateway.resource), "GatewayClass", "default", name))
    return text(made.spec, "controllerName") == CONTROLLER if made else name == _USUAL_CLASS


def parents(found: Estate, route: Object) -> Iterator[tuple[object, Object]]:
    """Yield each reference of a route to a Gateway of VPC Lattice in the program, with the Gateway."""
    known = gateways(found)
    for reference in many(route.spec, "parentRefs"):
        wanted = (text(reference, "namespace") or route.namespace, text(reference, "name"))
        for gateway in known:
            if (gateway.namespace, gateway.name) == wanted and _beside(found, route, gateway):
                yield reference, gateway


def _beside(found: Estate, one: Object, other: Object) -> bool:
    return found.place(one.resource) == found.place(other.resource)


def services(found: Estate) -> list[Service]:
    """Every service that the controller makes of a route, in the order of registration."""
    result: list[Service] = []
    for route in found.objects.get("HTTPRoute", ()):
        gateway = next((gateway for _, gateway in parents(found, route)), None)
        if gateway is None:
            continue
        policies = auth_policies(found, route)
        name = f"{route.namespace}/{route.name}"
        document = at(policies[0].spec, "policy") if policies else None
        auth = AWS_IAM if policies else NONE
        result.append(
            Service(
                route=route,
                host=next((str(host) for host in many(route.spec, "hostnames")), name),
                network=network_guard(found, gateway),
                own=_guard(f"service {name}", auth, document),
                policies=tuple(policies),
                arn=_pattern(networks(found, gateway.name)),
            )
        )
    return result


def auth_policies(found: Estate, target: Object) -> list[Object]:
    """The IAMAuthPolicies of a route or gateway; they are looked up in its own namespace, whatever they say."""
    return [
        one
        for one in found.objects.get("IAMAuthPolicy", ())
        if text(one.spec, "targetRef", "kind") == target.kind
        and (one.namespace, text(one.spec, "targetRef", "name")) == (target.namespace, target.name)
        and _beside(found, one, target)
    ]


def networks(found: Estate, name: str) -> list[Resource]:
    """The service networks of a name, which is how a Gateway finds its own."""
    return [one for one in found.graph.of_type(NETWORK) if text(properties(one), "name") == name]


def policies_of(found: Estate, network: Resource) -> list[Resource]:
    """The auth policies that a program puts on a service network by its id or ARN."""
    names = {network.id, text(properties(network), "arn")} - {""}
    return [one for one in found.graph.of_type(AUTH_POLICY) if text(properties(one), "resourceIdentifier") in names]


def network_guard(found: Estate, gateway: Object) -> Guard:
    """What the service network of a Gateway asks of callers."""
    name = f"service network {gateway.name}"
    if objects := auth_policies(found, gateway):
        return _guard(name, AWS_IAM, at(objects[0].spec, "policy"))
    made = networks(found, gateway.name)
    if not made:
        return Guard(name, "")
    policies = policies_of(found, made[0])
    auth = text(properties(made[0]), "authType") or NONE
    return _guard(name, auth, at(properties(policies[0]), "policy") if policies else None)


def _guard(name: str, auth: str, document: object) -> Guard:
    if document is UNKNOWN:
        return Guard(name, "")
    return Guard(name, auth, document if isinstance(document, str) else None)


def _pattern(made: Sequence[Resource]) -> str:
    parts = text(properties(made[0]), "arn").split(":") if made else []
    partition, region, account = (parts[1], parts[3], parts[4]) if len(parts) > 5 else ("*", "*", "*")
    return f"arn:{partition}:vpc-lattice:{region}:{account}:service/*/*"


def injectors(found: Estate) -> list[Object]:
    """The policies that could put something into pods."""
    return [one for kind in _POLICY_KINDS for one in found.objects.get(kind, ())]


def readers(found: Estate, workload: Workload) -> list[Object]:
    """The policies of the same cluster that read an annotation of these pods which says true."""
    place = found.place(workload.resource)
    asking = [key for key in workload.pod_annotations if text(workload.pod_annotations, key) == "true"]
    return [
        one
        for one in injectors(found)
        if found.place(one.resource) == place and any(key in json.dumps(one.spec, default=str) for key in asking)
    ]


def injected(found: Estate, workload: Workload) -> bool:
    """Whether a policy of the program puts something into these pods because of an annotation of theirs."""
    return bool(readers(found, workload))


def objects_with_pods(found: Estate) -> list[Workload]:
    """The workloads of a program that are objects, and not of a chart or add-on."""
    return [one for one in workloads(found.graph) if one.resource.package == "kubernetes" and not one.values_path]
