"""Nodes without a way to the internet: what they reach all the same, and what they are asked to reach."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from preflight.graph import Resource
from preflight.rules.eks import ALB_CHART, Cluster, Subnet, estate, many
from preflight.rules.rule import Hit, Stack, items, rule, text, value
from preflight.workloads import at, properties, workloads
from preflight.workloads import text as known_text

_PRIVATE = "https://docs.aws.amazon.com/eks/latest/userguide/private-clusters.html"
_ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
_INGRESS_RULES = (
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
    "aws:ec2/securityGroupRule:SecurityGroupRule",
)
# What nodes and the pods of add-ons call, by AWS' page on private clusters.
_ALWAYS = {
    "ec2": "the VPC CNI and the EBS driver call it",
    "ecr.api": "nodes pull images with it",
    "ecr.dkr": "nodes pull images from it",
    "s3": "layers of images come from it",
    "sts": "pods get the credentials of their roles from it",
}
_AWS_REGISTRY = re.compile(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.[a-z.]+/")


@dataclass(frozen=True, kw_only=True)
class _Enclosed:
    """A cluster with the subnets of its nodes from which no route leads out."""

    cluster: Cluster
    subnets: tuple[Subnet, ...]

    @property
    def vpc_id(self) -> str:
        return self.subnets[0].vpc_id


def _leads_out(route: object) -> bool:
    """Whether a route is one to everywhere, wherever that ends: at a gateway, a transit gateway, a firewall."""
    wide = ("0.0.0.0/0", "::/0")
    keys = ("destinationCidrBlock", "cidrBlock", "destinationIpv6CidrBlock", "ipv6CidrBlock")
    return any(known_text(route, key) in wide for key in keys)


def _has_way_out(subnet: Subnet) -> bool:
    for part in subnet.routes:
        values = properties(part)
        if _leads_out(values) or any(_leads_out(route) for route in many(values, "routes")):
            return True
    return False


def _enclosed(stack: Stack) -> list[_Enclosed]:
    """The clusters of which some nodes have no way out, as far as the program makes their routes. Raises."""
    found = estate(stack)
    clusters: list[_Enclosed] = []
    for cluster in found.clusters:
        ids = [str(one) for group in found.nodes_of(cluster) for one in items(group.resource, "subnetIds")]
        subnets = [found.subnets[one] for one in dict.fromkeys(ids) if one in found.subnets]
        closed = tuple(one for one in subnets if one.routes and not _has_way_out(one))
        if closed:
            clusters.append(_Enclosed(cluster=cluster, subnets=closed))
    return clusters


def _service(endpoint: Resource) -> str:
    """The service of an endpoint without prefix and region: `ecr.api` of com.amazonaws.ap-northeast-2.ecr.api."""
    return re.sub(r"^(.*amazonaws)\.[a-z]+(-[a-z]+)+-\d\.", "", text(endpoint, "serviceName"))


def _endpoints(stack: Stack, vpc_id: str) -> Mapping[str, list[Resource]]:
    found: dict[str, list[Resource]] = {}
    for one in stack.graph.of_type(_ENDPOINT):
        if text(one, "vpcId") == vpc_id:
            found.setdefault(_service(one), []).append(one)
    return found


def _serves(endpoint: Resource, subnet: Subnet) -> bool:
    """Whether a gateway endpoint stands in the routes of a subnet; any other serves the whole VPC."""
    if text(endpoint, "vpcEndpointType") not in ("", "Gateway"):
        return True
    tables = {text(part, "routeTableId") for part in subnet.routes} | {part.id for part in subnet.routes}
    return bool(tables & {str(one) for one in items(endpoint, "routeTableIds")})


def _wanted(stack: Stack, enclosed: _Enclosed) -> dict[str, str]:
    found = estate(stack)
    wanted = dict(_ALWAYS)
    associations = stack.graph.of_type("aws:eks/podIdentityAssociation:PodIdentityAssociation")
    if any(text(one, "clusterName") == enclosed.cluster.name for one in associations):
        wanted["eks-auth"] = "the Pod Identity agent gets credentials from it"
    if any(found.cluster_of(one.resource) in (enclosed.cluster, None) for one in found.of_chart(ALB_CHART)):
        wanted["elasticloadbalancing"] = "the load balancer controller calls it"
    return wanted


@rule(
    "endpoint-missing",
    title="Nodes without a way out lack an endpoint",
    severity="error",
    looks_at="Subnets of node groups whose routes lead nowhere outside, and the endpoints of their VPC: "
    f"{', '.join(_ALWAYS)}; eks-auth beside Pod Identity, elasticloadbalancing beside the load balancer controller.",
    why="Nodes do not join, images are not pulled, or controllers wait for an answer that never comes.",
    source=_PRIVATE,
    fix="Make the endpoint, or a NAT gateway.",
)
def endpoint_missing(stack: Stack) -> Iterator[Hit]:
    """Whatever nodes call has an endpoint."""
    for enclosed in _enclosed(stack):
        there = _endpoints(stack, enclosed.vpc_id)
        for service, why in _wanted(stack, enclosed).items():
            without = [
                one.resource.name
                for one in enclosed.subnets
                if not any(_serves(endpoint, one) for endpoint in there.get(service, ()))
            ]
            if without:
                kind = "gateway" if service == "s3" else "interface"
                yield Hit(
                    resource=enclosed.cluster.resource,
                    message=f"Nodes in {', '.join(without)} have neither a way out nor an endpoint for {service}: "
                    f"{why}.",
                    fix=f"Make an {kind} endpoint of the service com.amazonaws.<region>.{service} for their VPC."
                    if kind == "interface"
                    else "Make a gateway endpoint of the service com.amazonaws.<region>.s3 with route_table_ids of "
                    "these subnets.",
                )


@rule(
    "endpoint-deaf",
    title="An endpoint does not answer the nodes",
    severity="error",
    looks_at="Interface endpoints in a VPC whose nodes have no way out: private DNS, and whether their security groups "
    "admit port 443.",
    why="The SDKs go on asking the public address, or nobody answers: it looks like a missing endpoint.",
    source="https://docs.aws.amazon.com/vpc/latest/privatelink/create-interface-endpoint.html",
    fix="Switch private DNS on, and admit HTTPS from the VPC.",
)
def endpoint_deaf(stack: Stack) -> Iterator[Hit]:
    """Endpoints are found under the public name, and admit HTTPS."""
    groups = {one.id: one for one in stack.graph.of_type("aws:ec2/securityGroup:SecurityGroup")}
    for enclosed in _enclosed(stack):
        for service, endpoints in _endpoints(stack, enclosed.vpc_id).items():
            for one in endpoints:
                if text(one, "vpcEndpointType") != "Interface":
                    continue
                if value(one, "privateDnsEnabled") is not True:
                    yield Hit(
                        resource=one,
                        message=f"Endpoint {one.name} has no private DNS, so nobody asks it for {service}.",
                        fix="Set private_dns_enabled=True.",
                    )
                own = [str(each) for each in items(one, "securityGroupIds")]
                if own and all(each in groups and not _admits_https(stack, groups[each]) for each in own):
                    yield Hit(
                        resource=one,
                        message=f"No security group of endpoint {one.name} admits port 443.",
                        fix=f"Add an ingress rule for TCP 443 from the VPC to {groups[own[0]].name}.",
                    )


def _admits_https(stack: Stack, group: Resource) -> bool:
    rules: list[object] = list(items(group, "ingress"))
    rules += [
        properties(one) for one in stack.graph.of_type(*_INGRESS_RULES) if text(one, "securityGroupId") == group.id
    ]
    for one in rules:
        first, last = at(one, "fromPort"), at(one, "toPort")
        everything = known_text(one, "ipProtocol") == "-1" or known_text(one, "protocol") == "-1"
        numbers = isinstance(first, (int, float)) and isinstance(last, (int, float))
        if everything or not numbers or first <= 443 <= last:  # pyright: ignore[reportOperatorIssue]
            return True
    return False


@rule(
    "image-out-of-reach",
    title="Nodes without a way out cannot pull an image",
    severity="error",
    looks_at="Images of pods, and `image` values of charts, in clusters whose nodes have no way out. Images that a "
    "chart brings of its own accord are not in the program, so a known chart has to say another.",
    why="A public registry has no endpoint in a VPC: the pods stay in ImagePullBackOff. Not even a pull-through cache "
    "helps the first time.",
    source=_PRIVATE,
    fix="Copy the image to an ECR of the region and name it there.",
)
def image_out_of_reach(stack: Stack) -> Iterator[Hit]:
    """Images come from an ECR of the account."""
    found = estate(stack)
    enclosed = {one.cluster.resource.urn for one in _enclosed(stack)}
    seen: set[tuple[str, str]] = set()
    for one in workloads(stack.graph) if enclosed else ():
        cluster = found.cluster_of(one.resource)
        if cluster is None or cluster.resource.urn not in enclosed:
            continue
        for image in _images(one.resource, one.pod):
            if not _AWS_REGISTRY.match(f"{image}/") and (one.resource.urn, image) not in seen:
                seen.add((one.resource.urn, image))
                yield Hit(
                    resource=one.resource,
                    message=f"{one.label} pulls {image}, which nodes of cluster {cluster.name} do not reach.",
                    fix="Name a copy in 111122223333.dkr.ecr.<region>.amazonaws.com.",
                )


# Where charts that are known here say an image's registry, and what they have there by themselves.
_CHART_IMAGES: Mapping[str, tuple[tuple[str, str], ...]] = {
    ALB_CHART: (("image.repository", "public.ecr.aws/eks/aws-load-balancer-controller"),),
    "cert-manager": (("imageRegistry", "quay.io"),),
    "external-dns": (("image.repository", "registry.k8s.io/external-dns/external-dns"),),
    "kiam": (
        ("agent.image.repository", "quay.io/uswitch/kiam"),
        ("server.image.repository", "quay.io/uswitch/kiam"),
    ),
}


def _images(resource: Resource, pod: Mapping[str, object]) -> Iterator[str]:
    for one in (*many(pod, "containers"), *many(pod, "initContainers")):
        if image := known_text(one, "image"):
            yield image
    values = at(properties(resource), "values")
    chart = known_text(properties(resource), "chart").rstrip("/").rpartition("/")[2]
    for path, default in _CHART_IMAGES.get(chart, ()):
        yield known_text(values, *path.split(".")) or default


@rule(
    "controller-asks-outside",
    title="The load balancer controller asks for what it cannot reach",
    severity="error",
    looks_at="enableShield, enableWaf and enableWafv2 of the load balancer controller in clusters whose nodes have no "
    "way out; all three are on by default.",
    why="WAF and Shield have no endpoint in a VPC: each load balancer waits for an answer that never comes.",
    source=_PRIVATE,
    fix="Switch all three off, and associate web ACLs outside of the cluster.",
)
def controller_asks_outside(stack: Stack) -> Iterator[Hit]:
    """The controller asks only for what has an endpoint."""
    found = estate(stack)
    for enclosed in _enclosed(stack):
        for release in found.controllers_of(enclosed.cluster):
            asked = [key for key in ("enableShield", "enableWaf", "enableWafv2") if release.get(key, True) is not False]
            if asked and release.whole:
                yield Hit(
                    resource=release.resource,
                    message=f"Release {release.name} has {', '.join(asked)} on, and its nodes have no way out.",
                    fix=f"Set {', '.join(f'{key}: false' for key in asked)} in its values.",
                )


@rule(
    "api-unreachable",
    title="Nobody but the nodes reaches the Kubernetes API",
    severity="warning",
    looks_at="Clusters without a public endpoint that the program makes objects in, and the ingress rules of the "
    "security group that EKS puts on the private one.",
    why="EKS' own group admits its members only: from a VPN, a peer or another machine of the VPC, `pulumi up` waits "
    "for the API until it times out.",
    source="https://docs.aws.amazon.com/eks/latest/userguide/cluster-endpoint.html#private-access",
    fix="Admit port 443 from where Pulumi runs.",
)
def api_unreachable(stack: Stack) -> Iterator[Hit]:
    """Whoever runs Pulumi reaches the API."""
    found = estate(stack)
    for cluster in found.clusters:
        group = cluster.own_security_group
        others = cluster.security_groups - {group}
        inside = any(
            found.cluster_of(one.resource) is cluster for objects in found.objects.values() for one in objects
        ) or any(found.cluster_of(one.resource) is cluster for one in found.releases)
        if not group or others or not inside or cluster.get("vpcConfig.endpointPublicAccess") is not False:
            continue
        nodes = {one for each in found.nodes_of(cluster) for one in each.security_groups}
        sources = [
            known_text(properties(one), key)
            for one in stack.graph.of_type(*_INGRESS_RULES)
            if text(one, "securityGroupId") == group
            for key in ("cidrIpv4", "cidrIpv6", "prefixListId", "referencedSecurityGroupId", "sourceSecurityGroupId")
        ]
        ranges = [
            one
            for rule_ in stack.graph.of_type("aws:ec2/securityGroupRule:SecurityGroupRule")
            if text(rule_, "securityGroupId") == group
            for one in (*items(rule_, "cidrBlocks"), *items(rule_, "prefixListIds"))
        ]
        if not ranges and not {one for one in sources if one} - nodes:
            yield Hit(
                resource=cluster.resource,
                message=f"The private endpoint of cluster {cluster.name}, its only one, admits nobody but its nodes.",
                fix="Add an ingress rule for TCP 443 from your VPN or VPC to the cluster's security group.",
            )
