"""The network that an Ingress needs, as it is: VPC, subnets with their tags and addresses, ports of the webhooks."""

import ipaddress
from collections.abc import Iterator, Sequence

from preflight.graph import Resource
from preflight.live.asking import Account, Answer, tags
from preflight.live.verdict import Verdict
from preflight.rules.eks import CLUSTER_TAG, Cluster, Estate, Object
from preflight.workloads import at, properties, text

_NO_CONTROL_PLANE = {"use1-az3", "usw1-az2", "cac1-az3"}
"""Zones by id where EKS puts no control plane: https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html"""

_ROOM = 8
"""Free addresses that a load balancer wants in each of its subnets:
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html"""

_RULE = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"


def zones(account: Account, estate: Estate, cluster: Cluster) -> Verdict:
    """Say whether the zones of the plan's cluster are there for this account, and have EKS in them."""
    named = {estate.subnets[one].zone for one in cluster.subnet_ids if one in estate.subnets} - {""}
    listed = account.items("ec2", "describe_availability_zones", "AvailabilityZones")
    ids = {str(one["ZoneName"]): str(one["ZoneId"]) for one in listed if one["State"] == "available"}
    gone = sorted(zone for zone in named if zone not in ids and zone not in ids.values())
    without = sorted(zone for zone in named if ids.get(zone, zone) in _NO_CONTROL_PLANE)
    fine = ", ".join(sorted(name for name, own in ids.items() if own not in _NO_CONTROL_PLANE))
    if gone or without:
        what = f"{', '.join(gone)}: not there for this account" if gone else ""
        bare = f"{', '.join(f'{zone} ({ids.get(zone, zone)})' for zone in without)}: EKS puts no control plane there"
        return Verdict(
            about="account",
            link="zones",
            status="broken",
            text=what or bare,
            fix=f"take zones from {fine}",
        )
    told = ", ".join(f"{zone} ({ids.get(zone, zone)})" for zone in sorted(named)) or "the program names none"
    return Verdict(about="account", link="zones", status="ok", text=told)


def vpc(account: Account, about: str, cluster: Answer) -> Verdict:
    """Say whether the cluster's VPC answers names, and whether its nodes have a way to the registries."""
    own = str(cluster["resourcesVpcConfig"]["vpcId"])
    said = [
        (account.one("ec2", "describe_vpc_attribute", VpcId=own, Attribute=name) or {})[answer]["Value"]
        for name, answer in (
            ("enableDnsSupport", "EnableDnsSupport"),
            ("enableDnsHostnames", "EnableDnsHostnames"),
        )
    ]
    if not all(said):
        off = "enableDnsSupport" if not said[0] else "enableDnsHostnames"
        return Verdict(
            about=about,
            link="VPC",
            status="broken",
            text=f"{off} of {own} is off, so names of AWS do not resolve in it",
            fix=f"aws ec2 modify-vpc-attribute --vpc-id {own} --{_dashed(off)} --region {account.region}",
        )
    by_vpc = [{"Name": "vpc-id", "Values": [own]}]
    tables = account.items("ec2", "describe_route_tables", "RouteTables", Filters=by_vpc)
    holes = [
        (str(table["RouteTableId"]), str(route.get("NatGatewayId") or route.get("GatewayId")))
        for table in tables
        for route in table["Routes"]
        if route.get("State") == "blackhole"
    ]
    if holes:
        text_ = f"route table {holes[0][0]} leads to {holes[0][1]}, which is gone"
        return Verdict(about=about, link="VPC", status="broken", text=text_, fix="pulumi refresh, then pulumi up")
    return Verdict(about=about, link="VPC", status="ok", text=f"{own} resolves names, and its routes lead somewhere")


def subnets(account: Account, estate: Estate, ingress: Object, about: str, cluster: Answer) -> Verdict:
    """Say whether the subnets that the controller will find for an Ingress are enough, and have room."""
    if estate.alb_setting(ingress, "subnets", "subnets"):
        return Verdict(about=about, link="tags", status="ok", text="the Ingress names its subnets itself")
    public = estate.scheme(ingress) == "internet-facing"
    key = f"kubernetes.io/role/{'elb' if public else 'internal-elb'}"
    own, name = str(cluster["resourcesVpcConfig"]["vpcId"]), str(cluster["name"])
    listed = account.items("ec2", "describe_subnets", "Subnets", Filters=[{"Name": "vpc-id", "Values": [own]}])
    seen = [(one, tags(one.get("Tags"))) for one in listed]
    found = [one for one, own_tags in seen if own_tags.get(key) in ("1", "") and not _foreign(own_tags, name)]
    roomy = [one for one in found if int(one["AvailableIpAddressCount"]) >= _ROOM]
    in_zones = {str(one["AvailabilityZone"]) for one in roomy}
    if len(in_zones) > 1:
        told = ", ".join(f"{one['SubnetId']} {one['AvailabilityZone']}" for one in roomy)
        return Verdict(about=about, link="tags", status="ok", text=f"{key}: {told}")
    if len(found) > len(roomy):
        full = [one for one in found if one not in roomy]
        left = ", ".join(f"{one['SubnetId']} has {one['AvailableIpAddressCount']}" for one in full)
        return Verdict(
            about=about,
            link="tags",
            status="broken",
            text=f"a load balancer wants {_ROOM} free addresses in each subnet; {left}",
            fix="free addresses there, or give the network larger subnets",
        )
    foreign = [str(one["SubnetId"]) for one, own_tags in seen if key in own_tags and _foreign(own_tags, name)]
    why = f"; {', '.join(foreign)} carry the tag of another cluster" if foreign else ""
    return Verdict(
        about=about,
        link="tags",
        status="broken",
        text=f"subnets of {own} with {key}=1 in {len(in_zones)} zones, and a load balancer wants two{why}",
        fix="pulumi refresh, then pulumi up: the program puts the tags on the subnets",
    )


def webhook(
    account: Account, estate: Estate, cluster: Cluster, about: str, live: Answer, nodes: Sequence[Answer]
) -> Verdict:
    """Say whether the control plane reaches the ports of the webhooks on the nodes."""
    if not nodes:
        status = "broken" if estate.nodes_of(cluster) else "unknown"
        text_ = "no instance carries the cluster's tag, so nothing runs that could answer a webhook"
        fix = f"aws eks list-nodegroups --cluster-name {live['name']} --region {account.region}"
        return Verdict(about=about, link="webhook", status=status, text=text_, fix=fix)
    config: Answer = live["resourcesVpcConfig"]
    sources = {str(config.get("clusterSecurityGroupId", "")), *map(str, config.get("securityGroupIds", ()))} - {""}
    on_nodes = sorted({str(group["GroupId"]) for one in nodes for group in one.get("SecurityGroups", ())})
    groups = account.items("ec2", "describe_security_groups", "SecurityGroups", GroupIds=on_nodes)
    vpcs = account.items("ec2", "describe_vpcs", "Vpcs", VpcIds=[str(config["vpcId"])])
    ranges = [ipaddress.ip_network(str(one["CidrBlock"])) for one in vpcs]
    rules: list[Answer] = [rule for group in groups for rule in group["IpPermissions"]]
    ports = dict(_ports(estate, cluster))
    shut = {port: what for port, what in ports.items() if not any(_admits(one, port, sources, ranges) for one in rules)}
    if shut:
        port, what = next(iter(shut.items()))
        return Verdict(
            about=about,
            link="webhook",
            status="broken",
            text=f"port {port} of the nodes ({', '.join(on_nodes)}) is closed to the control plane: {what}",
            fix="pulumi refresh, then pulumi up: the program opens it",
        )
    return Verdict(
        about=about,
        link="webhook",
        status="ok",
        text=f"the control plane reaches {', '.join(map(str, ports))} on nodes",
    )


def _ports(estate: Estate, cluster: Cluster) -> Iterator[tuple[int, str]]:
    for release in estate.controllers_of(cluster):
        port = release.get("webhookBindPort", 9443)
        yield int(str(port)), f"webhook of {release.name}"
    control_plane = cluster.security_groups
    for rule in estate.graph.of_type(_RULE):
        values = properties(rule)
        port = at(values, "fromPort")
        if text(values, "referencedSecurityGroupId") in control_plane and isinstance(port, int | float):
            yield int(port), text(values, "description") or _told(rule)


def _told(rule: Resource) -> str:
    return f"rule {rule.name}"


def _admits(
    rule: Answer, port: int, sources: set[str], ranges: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]
) -> bool:
    whole = rule["IpProtocol"] == "-1"
    if not whole and not (rule["IpProtocol"] == "tcp" and rule["FromPort"] <= port <= rule["ToPort"]):
        return False
    if any(pair.get("GroupId") in sources for pair in rule.get("UserIdGroupPairs", ())):
        return True
    opened = [ipaddress.ip_network(one["CidrIp"], strict=False) for one in rule.get("IpRanges", ())]
    return bool(ranges) and all(
        any(one.version == wide.version and one.subnet_of(wide) for wide in opened)  # pyright: ignore[reportArgumentType]
        for one in ranges
    )


def _foreign(own_tags: dict[str, str], cluster: str) -> bool:
    """Whether a subnet carries the tags of other clusters and not this one's: the controller then leaves it alone."""
    named = [key for key in own_tags if key.startswith(CLUSTER_TAG)]
    return bool(named) and CLUSTER_TAG + cluster not in named


def _dashed(name: str) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)
