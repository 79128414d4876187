"""What the account still has room for, against what the plan needs more than there is already."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from preflight.graph import Graph
from preflight.live.asking import Account, Answer, UnansweredError, batches, tags
from preflight.live.place import Place, named_after
from preflight.live.verdict import Verdict
from preflight.rules.eks import Estate
from preflight.workloads import at, properties, text

_STANDARD = "acdhimrtz"
"""The first letters of the instance families that share one quota of vCPUs."""

_TYPES_AT_A_TIME = 100


@dataclass(frozen=True)
class Need:
    """One quota: what of it is used, what the stack has of that, and what the plan wants in all."""

    name: str
    service: str
    code: str
    used: int
    own: int
    planned: int


def quotas(account: Account, place: Place, estate: Estate, nodes: Sequence[Answer]) -> Iterator[Verdict]:
    """Compare the quotas with the plan; `nodes` are the cluster's instances.

    The codes are those of https://docs.aws.amazon.com/eks/latest/best-practices/known_limits_and_service_quotas.html
    and of `aws service-quotas list-service-quotas`.
    """
    graph = estate.graph
    kinds: tuple[Callable[[], Iterator[Need]], ...] = (
        lambda: _vpcs(account, place, graph),
        lambda: _addresses(account, place, graph),
        lambda: _gateways(account, place, estate),
        lambda: _clusters(account, place),
        lambda: _processors(account, estate, nodes),
        lambda: _providers(account, place, graph),
        lambda: _roles(account, graph),
    )
    for kind in kinds:
        try:
            for need in kind():
                yield _judged(account, need)
        except UnansweredError as unanswered:
            yield Verdict(about="account", link="quota", status="unknown", text=str(unanswered.gap))


def _judged(account: Account, need: Need) -> Verdict:
    # IAM is the same everywhere, and its quotas are told in one region only.
    where = account.at_home() if need.service == "iam" else account
    found = where.one("service-quotas", "get_service_quota", ServiceCode=need.service, QuotaCode=need.code) or {}
    quota = int(found["Quota"]["Value"])
    more = max(0, need.planned - need.own)
    fits = need.used + more <= quota
    ask = f"--service-code {need.service} --quota-code {need.code} --desired-value {need.used + more}"
    wants = f"this needs {more} more" if more else "this needs no more"
    return Verdict(
        about="account",
        link="quota",
        status="ok" if fits or not more else "broken",
        text=f"{need.name}: {need.used} of {quota} are used, {wants}",
        fix="" if fits else f"aws service-quotas request-service-quota-increase {ask} --region {where.region}",
    )


def _vpcs(account: Account, place: Place, graph: Graph) -> Iterator[Need]:
    listed = account.items("ec2", "describe_vpcs", "Vpcs")
    planned = len(_made(graph, "aws:ec2/vpc:Vpc"))
    yield Need("VPCs", "vpc", "L-F678F1CE", len(listed), _own(place, listed), planned)


def _addresses(account: Account, place: Place, graph: Graph) -> Iterator[Need]:
    listed = account.items("ec2", "describe_addresses", "Addresses")
    planned = len(_made(graph, "aws:ec2/eip:Eip"))
    yield Need("elastic IP addresses", "ec2", "L-0263D0A3", len(listed), _own(place, listed), planned)


def _gateways(account: Account, place: Place, estate: Estate) -> Iterator[Need]:
    """Compare zone by zone; the fullest one is told."""
    planned = Counter(
        subnet.zone
        for gateway in _made(estate.graph, "aws:ec2/natGateway:NatGateway")
        if (subnet := estate.subnets.get(text(gateway, "subnetId")))
    )
    states = [{"Name": "state", "Values": ["pending", "available"]}]
    listed = account.items("ec2", "describe_nat_gateways", "NatGateways", Filters=states) if planned else []
    ids = [str(one["SubnetId"]) for one in listed]
    described = account.items("ec2", "describe_subnets", "Subnets", SubnetIds=sorted(set(ids))) if ids else []
    zones = {str(one["SubnetId"]): str(one["AvailabilityZone"]) for one in described}
    used = Counter(zones[subnet] for subnet in ids)
    own = Counter(zones[str(one["SubnetId"])] for one in listed if place.owns(tags(one.get("Tags"))))
    if planned:
        zone = max(planned, key=lambda zone: used[zone] + max(0, planned[zone] - own[zone]))
        yield Need(f"NAT gateways in {zone}", "vpc", "L-FE5A380F", used[zone], own[zone], planned[zone])


def _clusters(account: Account, place: Place) -> Iterator[Need]:
    names = account.items("eks", "list_clusters", "clusters")
    yield Need("EKS clusters", "eks", "L-1194D53C", len(names), int(place.cluster in names), 1)


def _processors(account: Account, estate: Estate, nodes: Sequence[Answer]) -> Iterator[Need]:
    planned: Counter[str] = Counter()
    for group in estate.node_groups:
        values = properties(group.resource)
        types, size = at(values, "instanceTypes"), at(values, "scalingConfig", "desiredSize")
        if isinstance(types, list) and types and isinstance(size, int | float) and at(values, "capacityType") != "SPOT":
            planned[str(types[0])] += int(size)
    running = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    instances = [
        one
        for reservation in account.items("ec2", "describe_instances", "Reservations", Filters=running)
        for one in reservation["Instances"]
        if one.get("InstanceLifecycle") != "spot"
    ]
    used = Counter(str(one["InstanceType"]) for one in instances)
    own = Counter(str(one["InstanceType"]) for one in nodes)
    standard = sorted(kind for kind in planned | used if kind[:1] in _STANDARD)
    each = {
        str(one["InstanceType"]): int(one["VCpuInfo"]["DefaultVCpus"])
        for some in batches(standard, _TYPES_AT_A_TIME)
        for one in account.items("ec2", "describe_instance_types", "InstanceTypes", InstanceTypes=list(some))
    }
    sums = [sum(each.get(kind, 0) * count for kind, count in counted.items()) for counted in (used, own, planned)]
    yield Need("vCPUs of standard on-demand instances", "ec2", "L-1216C47A", *sums)


def _providers(account: Account, place: Place, graph: Graph) -> Iterator[Need]:
    planned = len(_made(graph, "aws:iam/openIdConnectProvider:OpenIdConnectProvider"))
    listed = account.items("iam", "list_open_id_connect_providers", "OpenIDConnectProviderList")
    own = 0
    for one in listed if planned else ():
        arn = one["Arn"]
        if f"/oidc.eks.{place.region}." in arn:
            found = account.one("iam", "get_open_id_connect_provider", "NoSuchEntity", OpenIDConnectProviderArn=arn)
            own += place.owns(tags((found or {}).get("Tags")))
    yield Need("OIDC providers", "iam", "L-858F3967", len(listed), own, planned)


def _roles(account: Account, graph: Graph) -> Iterator[Need]:
    planned = [one for one in graph.of_type("aws:iam/role:Role") if not one.read]
    names = [str(one["RoleName"]) for one in account.items("iam", "list_roles", "Roles")]
    own = sum(1 for role in planned if named_after(role, names))
    yield Need("IAM roles", "iam", "L-FE177D64", len(names), own, len(planned))


def _made(graph: Graph, kind: str) -> list[dict[str, object]]:
    return [properties(one) for one in graph.of_type(kind) if not one.read]


def _own(place: Place, listed: Sequence[Answer]) -> int:
    return sum(place.owns(tags(one.get("Tags"))) for one in listed)
