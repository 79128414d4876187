"""The AWS Load Balancer Controller: makes a load balancer for an Ingress or a group, and clears it away, if it can.

What it needs is read in the world each time: its release and pods, their account, the role with trust and rights, a
way to AWS, tagged subnets, and exactly one security group of the nodes that it may write to.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import iam, kinds_eks, kinds_https, network
from .tokens import BALANCER, BUCKET_OBJECT, BUCKET_POLICY, CLUSTER, GROUP, INGRESS_RULE, SUBNET
from .wire import Json
from .world import Kube, KubeObject, Thing, World

RELEASE = "kubernetes:helm.sh/v3:Release"
ACCOUNT = "kubernetes:core/v1:ServiceAccount"
INGRESS = "kubernetes:networking.k8s.io/v1:Ingress"
INGRESS_CLASS = "kubernetes:networking.k8s.io/v1:IngressClass"
PARAMETERS = "kubernetes:elbv2.k8s.aws/v1beta1:IngressClassParams"
CONTROLLER = "ingress.k8s.aws/alb"
FINALIZER = "ingress.k8s.aws/resources"
GROUP_FINALIZER = "group.ingress.k8s.aws"
LOG_DELIVERY = "logdelivery.elasticloadbalancing.amazonaws.com"
MADE_BY = "aws-load-balancer-controller"
ROLE_ANNOTATION = "eks.amazonaws.com/role-arn"


def release_of(kube: Kube) -> KubeObject | None:
    """The controller's release."""
    return next((each for each in kube.of_type(RELEASE) if each.inputs["chart"].endswith(MADE_BY)), None)


def parameters(kube: Kube, ingress: KubeObject) -> dict[str, Json] | None:
    """What the class of an Ingress says for all of its Ingresses; None where it names parameters that are gone."""
    found = kube.find(INGRESS_CLASS, "", ingress.inputs["spec"].get("ingressClassName", ""))
    reference = found.inputs["spec"].get("parameters") if found else None
    if not reference:
        return {}
    named = kube.find(PARAMETERS, "", reference["name"])
    return named.inputs["spec"] if named else None


def _of(kube: Kube, ingress: KubeObject) -> dict[str, Json]:
    return parameters(kube, ingress) or {}


def group(kube: Kube, ingress: KubeObject) -> str:
    """The group of an Ingress; empty where it has a load balancer of its own."""
    return _of(kube, ingress).get("group", {}).get("name", "")


def finalizer(kube: Kube, ingress: KubeObject) -> str:
    """What keeps the Ingress until its load balancer is cleared away."""
    name = group(kube, ingress)
    return f"{GROUP_FINALIZER}/{name}" if name else FINALIZER


def controller_problems(world: World, kube: Kube, action: str) -> Iterator[str]:
    """Why the controller does not do this in AWS."""
    release = release_of(kube)
    cluster = kinds_eks.cluster_named(world, kube.cluster_name)
    if release is None:
        yield "the controller is not installed"
        return
    nodes = kinds_eks.running_nodes(world, kube.cluster_name)
    if not nodes:
        yield "the controller has no node to run on"
    if "coredns" not in kinds_eks.addons(world, kube.cluster_name):
        yield "the controller resolves no name"
    for each in nodes:
        for subnet in each.inputs["subnetIds"]:
            if not network.reaches_services(world, subnet, ("ec2", "elasticloadbalancing", "sts")):
                yield f"the controller does not reach AWS from {subnet}"
    values = release.inputs.get("values", {})
    # Asked for each load balancer; without a way out the question is never answered.
    asked = [key for key in ("enableShield", "enableWaf", "enableWafv2") if values.get(key, True)]
    if asked and not all(network.reaches_internet(world, x) for each in nodes for x in each.inputs["subnetIds"]):
        yield f"the controller does not reach what {', '.join(asked)} stand for"
    account = values.get("serviceAccount", {}).get("name", MADE_BY)
    found = kube.find(ACCOUNT, release.namespace, account)
    if found is None and not values.get("serviceAccount", {}).get("create", True):
        yield f"the account {release.namespace}/{account} is not there"
    annotations = found.inputs["metadata"].get("annotations", {}) if found else {}
    problem = kinds_eks.credentials_problem(
        world, cluster, release.namespace, account, annotations.get(ROLE_ANNOTATION), action=action
    )
    if problem:
        yield problem
    if values.get("clusterName") != kube.cluster_name:
        yield f"the controller looks for cluster {values.get('clusterName')}"


def _subnets(world: World, kube: Kube, vpc: str, scheme: str) -> list[Thing]:
    """The subnets that the controller discovers: one a zone, tagged with the role, open to this cluster."""
    role = {"internet-facing": "kubernetes.io/role/elb", "internal": "kubernetes.io/role/internal-elb"}[scheme]
    found: dict[str, Thing] = {}
    for each in world.pointing(SUBNET, "vpcId", vpc):
        tags = each.inputs.get("tags", {})
        clusters = [key for key in tags if key.startswith("kubernetes.io/cluster/")]
        if tags.get(role) in ("", "1") and (not clusters or f"kubernetes.io/cluster/{kube.cluster_name}" in clusters):
            found.setdefault(each.inputs["availabilityZone"], each)
    return list(found.values())


def balancer_problems(world: World, kube: Kube, ingress: KubeObject) -> Iterator[str]:
    """Why no load balancer comes up for this Ingress."""
    yield from controller_problems(world, kube, "elasticloadbalancing:CreateLoadBalancer")
    release = release_of(kube)
    if release is None:
        return
    vpc, scheme = release.inputs.get("values", {}).get("vpcId", ""), _scheme(kube, ingress)
    subnets = _subnets(world, kube, vpc, scheme)
    if len(subnets) < 2:
        yield f"couldn't auto-discover subnets: unable to resolve at least two for {scheme} in {vpc}"
    if scheme == "internet-facing":
        for each in subnets:
            if not network.reaches_internet_gateway(world, each.id):
                yield f"InvalidSubnet: VPC {vpc} has no internet gateway that {each.id} routes to"
    yield from _target_group_problems(world, kube)
    for arn in _of(kube, ingress).get("certificateArn", []):
        if not kinds_https.is_valid(world, arn):
            yield f"UnsupportedCertificate: The certificate '{arn}' must have a fully-qualified domain name"
    bucket = _log_bucket(kube, ingress)
    if bucket:
        policy = world.find(BUCKET_POLICY, "bucket", bucket)
        if policy is None or not iam.admits(
            policy.inputs["policy"], kind="Service", principal=LOG_DELIVERY, action="s3:PutObject", context={}
        ):
            yield f"InvalidConfigurationRequest: Access Denied for bucket: {bucket}. Please check S3bucket permission"


def _log_bucket(kube: Kube, ingress: KubeObject) -> str:
    attributes = {each["key"]: each["value"] for each in _of(kube, ingress).get("loadBalancerAttributes", [])}
    return attributes.get("access_logs.s3.bucket", "") if attributes.get("access_logs.s3.enabled") == "true" else ""


def _scheme(kube: Kube, ingress: KubeObject) -> str:
    annotations = ingress.inputs["metadata"].get("annotations", {})
    return _of(kube, ingress).get("scheme") or annotations.get("alb.ingress.kubernetes.io/scheme", "internal")


def _node_groups(world: World, kube: Kube) -> Iterator[list[str]]:
    for each in kinds_eks.running_nodes(world, kube.cluster_name):
        yield kinds_eks.node_groups(world, each)


def _tagged(world: World, kube: Kube, groups: list[str]) -> list[str]:
    """Of the groups on a node, those that the controller may write to."""
    tag = f"kubernetes.io/cluster/{kube.cluster_name}"
    return groups if len(groups) == 1 else [x for x in groups if tag in world.things[GROUP, x].inputs.get("tags", {})]


def _target_group_problems(world: World, kube: Kube) -> Iterator[str]:
    for groups in _node_groups(world, kube):
        if len(_tagged(world, kube, groups)) != 1:
            yield f"expected exactly one securityGroup of {groups} with the tag of {kube.cluster_name}"


def make(world: World, kube: Kube, ingress: KubeObject) -> str:
    """Make what an Ingress asks for, unless it is there; the address."""
    mark = _mark(kube, ingress)
    for each in world.of_type(BALANCER):
        if each.made_by == mark:
            return each.outputs["dnsName"]
    release = release_of(kube)
    vpc = release.inputs["values"]["vpcId"] if release else ""
    shared = _shared_group(world, kube, vpc)
    own = world.add(
        Thing(GROUP, f"sg-{world.new_hex(17)}", {"vpcId": vpc}, {"name": f"k8s-{ingress.name}"}, made_by=mark)
    )
    name = f"k8s-{group(kube, ingress) or ingress.name}-{world.new_hex(10)}"
    arn = world.arn("elasticloadbalancing", f"loadbalancer/app/{name}/{world.new_hex(16)}")
    host = f"{name}.{world.region}.elb.amazonaws.com"
    scheme = _scheme(kube, ingress)
    inputs = {
        "subnets": [each.id for each in _subnets(world, kube, vpc, scheme)],
        "securityGroups": [own.id, shared.id],
        "scheme": scheme,
        "certificates": _of(kube, ingress).get("certificateArn", []),
    }
    world.add(Thing(BALANCER, arn, inputs, {"dnsName": host}, made_by=mark))
    bucket = _log_bucket(kube, ingress)
    if bucket:
        # ELB writes a test object as soon as the logs are turned on.
        written = f"{bucket}/AWSLogs/ELBAccessLogTestFile"
        world.add(Thing(BUCKET_OBJECT, written, {"bucket": bucket}, {}, made_by="elasticloadbalancing"))
    return host


def _mark(kube: Kube, ingress: KubeObject) -> str:
    name = group(kube, ingress)
    return f"{MADE_BY} of {kube.cluster_name} for " + (f"group {name}" if name else ingress.id)


def _shared_group(world: World, kube: Kube, vpc: str) -> Thing:
    """The group of all load balancers of a cluster, which the nodes admit."""
    mark = f"{MADE_BY} of {kube.cluster_name} for all"
    for each in world.of_type(GROUP):
        if each.made_by == mark:
            return each
    shared = world.add(Thing(GROUP, f"sg-{world.new_hex(17)}", {"vpcId": vpc}, {"name": "k8s-traffic"}, made_by=mark))
    for group in {each for groups in _node_groups(world, kube) for each in _tagged(world, kube, groups)}:
        inputs = {
            "securityGroupId": group,
            "referencedSecurityGroupId": shared.id,
            "ipProtocol": "tcp",
            "fromPort": 0,
            "toPort": 65535,
        }
        world.add(Thing(INGRESS_RULE, f"sgr-{world.new_hex(17)}", inputs, {}, made_by=mark))
    return shared


def clear(world: World, kube: Kube, ingress: KubeObject) -> None:
    """Remove what was made for an Ingress, or for the last of a group, and with the last one what they shared."""
    mark = finalizer(kube, ingress)
    if mark != FINALIZER and any(mark in each.finalizers for each in kube.of_type(INGRESS) if each is not ingress):
        return
    marks = [_mark(kube, ingress)]
    others = {each.made_by for each in world.of_type(BALANCER) if f"of {kube.cluster_name} " in each.made_by}
    if others <= set(marks):
        marks.append(f"{MADE_BY} of {kube.cluster_name} for all")
    for kind in (BALANCER, INGRESS_RULE, GROUP):
        for each in [*world.of_type(kind)]:
            if each.made_by in marks:
                world.remove(each)


def cluster_exists(world: World, kube: Kube) -> bool:
    """Whether the control plane is still there."""
    return world.find(CLUSTER, "name", kube.cluster_name) is not None
