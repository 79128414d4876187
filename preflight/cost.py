"""What a stack costs a month: what stands there by list price, from the dated table prices.toml.

Nothing is asked of AWS. What depends on use (traffic, logs, requests) has its price beside the sum and is not in it;
what the table has no price for is named. Numbers of nodes that something else scales make the sum a range.
"""

import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from importlib import resources
from typing import Any

from preflight.graph import Graph, Resource
from preflight.rules.cluster import SUPPORT
from preflight.rules.eks import Cluster, Estate, NodeGroup, many
from preflight.rules.rule import UnknownValueError
from preflight.workloads import at, properties, text

NOT_COUNTED = (
    "traffic, requests and snapshots",
    "what pods order: volumes, load balancers of charts, nodes of Karpenter",
    "taxes, support plans, discounts, savings plans and free tiers",
)
"""What no line is about, in words."""

_NAT = "aws:ec2/natGateway:NatGateway"
_ADDRESS = "aws:ec2/eip:Eip"
_ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
_AUTHORITY = "aws:acmpca/certificateAuthority:CertificateAuthority"
_BALANCERS = ("aws:lb/loadBalancer:LoadBalancer", "aws:alb/loadBalancer:LoadBalancer")
_LOGS = ("aws:cloudwatch/logGroup:LogGroup", "aws:ec2/flowLog:FlowLog")
# Types that cost by the month and piece, by their price in the table.
_BY_MONTH = {
    "aws:kms/key:Key": ("KMS keys", "kms_key_month"),
    "aws:route53/zone:Zone": ("hosted zones", "hosted_zone_month"),
    "aws:secretsmanager/secret:Secret": ("secrets", "secret_month"),
}
# Types whose price is in the lines above, or that cost nothing by themselves.
_COVERED = {
    _NAT,
    _ADDRESS,
    _ENDPOINT,
    _AUTHORITY,
    *_BALANCERS,
    *_LOGS,
    *_BY_MONTH,
    "aws:acm/certificate:Certificate",
    "aws:acm/certificateValidation:CertificateValidation",
    "aws:acmpca/certificate:Certificate",
    "aws:acmpca/certificateAuthorityCertificate:CertificateAuthorityCertificate",
    "aws:acmpca/permission:Permission",
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
    "aws:ec2/internetGateway:InternetGateway",
    "aws:ec2/launchTemplate:LaunchTemplate",
    "aws:ec2/route:Route",
    "aws:ec2/routeTable:RouteTable",
    "aws:ec2/routeTableAssociation:RouteTableAssociation",
    "aws:ec2/securityGroup:SecurityGroup",
    "aws:ec2/securityGroupRule:SecurityGroupRule",
    "aws:ec2/subnet:Subnet",
    "aws:ec2/vpc:Vpc",
    "aws:eks/accessEntry:AccessEntry",
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
    "aws:eks/addon:Addon",
    "aws:eks/cluster:Cluster",
    "aws:eks/nodeGroup:NodeGroup",
    "aws:eks/podIdentityAssociation:PodIdentityAssociation",
    "aws:kms/alias:Alias",
    "aws:kms/keyPolicy:KeyPolicy",
    "aws:route53/record:Record",
    "aws:route53/zoneAssociation:ZoneAssociation",
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
    "aws:vpclattice/authPolicy:AuthPolicy",
    "aws:vpclattice/service:Service",
    "aws:vpclattice/serviceNetwork:ServiceNetwork",
    "aws:vpclattice/serviceNetworkServiceAssociation:ServiceNetworkServiceAssociation",
    "aws:vpclattice/serviceNetworkVpcAssociation:ServiceNetworkVpcAssociation",
}
_FREE_SERVICES = ("aws:iam/", "aws:s3/bucket")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing with a price; amounts in USD a month, which differ where something scales it."""

    what: str
    how: str
    """The sum as a person would write it down: `2 to 3 x t3.medium x 0.052 an hour`."""
    low: Decimal
    high: Decimal


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What one stack costs a month, in USD."""

    stack: str
    region: str
    lines: tuple[Line, ...] = ()
    by_use: tuple[str, ...] = ()
    """What is not in the sum because it depends on use, with its price."""
    unpriced: tuple[str, ...] = ()
    """What costs, or may cost, and has no price here."""
    elsewhere: tuple[str, ...] = ()
    """Prices that the table has for another region only."""
    hints: tuple[str, ...] = ()

    @property
    def low(self) -> Decimal:
        """The least that it costs: everything at its smallest."""
        return sum((line.low for line in self.lines), Decimal())

    @property
    def high(self) -> Decimal:
        """The most that it costs: everything at its largest."""
        return sum((line.high for line in self.lines), Decimal())


@dataclass(frozen=True, kw_only=True)
class CostChange:
    """How an edit changes what a stack costs a month: the estimates, and the lines that are not the same."""

    before: Estimate
    after: Estimate
    lines: tuple[tuple[Line | None, Line | None], ...]


def estimate(stack: str, graph: Graph, as_of: date) -> Estimate:
    """Add up what a stack costs, from the graph of its update; `as_of` decides whether support is extended."""
    places = [text(properties(one), "region") for one in graph.of_type("pulumi:providers:aws")]
    # A program without a provider of its own has the region of the stack's configuration: in its ARNs.
    arns = (text(properties(one), "arn").split(":") for one in graph.resources.values() if one.package == "aws")
    places += [arn[3] for arn in arns if len(arn) > 5]
    region = next((place for place in places if place), table()["fallback"])
    return _Sum(stack, graph, _Prices(region), as_of).result()


def compare(before: Estimate | None, after: Estimate) -> CostChange | None:
    """Return what an edit changes; None where both cost the same."""
    old = before or Estimate(stack=after.stack, region=after.region)
    was, now = ({line.what: line for line in one.lines} for one in (old, after))
    changed = [
        (was.get(what), now.get(what))
        for what in dict.fromkeys([*now, *was])
        if _amounts(was.get(what)) != _amounts(now.get(what))
    ]
    return CostChange(before=old, after=after, lines=tuple(changed)) if changed else None


def _amounts(line: Line | None) -> tuple[Decimal, Decimal]:
    return (line.low, line.high) if line else (Decimal(), Decimal())


@cache
def table() -> Mapping[str, Any]:
    """The prices by region, and `checked`, `fallback`, `hours`, `sources`; amounts are Decimals."""
    text_ = resources.files("preflight").joinpath("prices.toml").read_text(encoding="utf-8")
    return tomllib.loads(text_, parse_float=Decimal)


def money(low: Decimal, high: Decimal | None = None) -> str:
    """Write an amount, or a range of them, as `229.49` or `229.49 to 276.57`."""
    ends = [f"{one.quantize(Decimal('0.01'), ROUND_HALF_UP):,}" for one in (low, low if high is None else high)]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


# ---- prices ----------------------------------------------------------------------------------------------------------


class _Prices:
    """The prices of one region, with the fallback's where it has none."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.elsewhere: dict[str, None] = {}
        self.hours = Decimal(table()["hours"])

    def get(self, name: str) -> Decimal | None:
        """A price by its name; None where no region has it."""
        return self._find(name, lambda prices: prices.get(name))

    def about(self, name: str) -> Decimal:
        """A price for a hint: of no line, so nothing is said of where it is from."""
        return table().get(self.region, {}).get(name) or table()[table()["fallback"]].get(name, Decimal())

    def instance(self, kind: str) -> Decimal | None:
        """The price of an instance type for an hour of Linux, on demand."""
        return self._find(kind, lambda prices: prices.get("instances", {}).get(kind))

    def _find(self, name: str, read: Callable[[Mapping[str, Any]], Decimal | None]) -> Decimal | None:
        own = read(table().get(self.region, {}))
        if own is not None:
            return own
        other = read(table()[table()["fallback"]])
        if other is not None:
            self.elsewhere[name] = None
        return other


class _Sum:
    def __init__(self, stack: str, graph: Graph, prices: _Prices, as_of: date) -> None:
        self._stack = stack
        self._graph = graph
        self._estate = Estate(graph)
        self._prices = prices
        self._as_of = as_of
        self._lines: list[Line] = []
        self._by_use: dict[str, None] = {}
        self._unpriced: dict[str, None] = {}
        self._hints: list[str] = []

    def result(self) -> Estimate:
        parts = (
            (self._clusters, "EKS control planes"),
            (self._all_nodes, "nodes"),
            (self._ways_out, "NAT gateways and endpoints"),
            (self._balancers, "load balancers"),
            (self._by_month, "keys, zones and secrets"),
            (self._authorities, "private CAs"),
            (self._lattice, "VPC Lattice services"),
            (self._logs, "logs"),
        )
        for part, what in parts:
            try:
                part()
            except UnknownValueError as problem:
                self._unpriced[f"{what}: {problem}"] = None
        for one in self._graph.resources.values():
            known = one.type in _COVERED or one.type.startswith(_FREE_SERVICES)
            if one.package in ("aws", "awsx", "aws-native") and one.custom and not one.read and not known:
                self._unpriced[f"{one.type.rpartition(':')[2]} {one.name}"] = None
        return Estimate(
            stack=self._stack,
            region=self._prices.region,
            lines=tuple(self._lines),
            by_use=tuple(self._by_use),
            unpriced=tuple(self._unpriced),
            elsewhere=tuple(self._prices.elsewhere),
            hints=tuple(self._hints),
        )

    def _made(self, *types: str) -> list[Resource]:
        return [one for one in self._graph.of_type(*types) if not one.read]

    def _add(self, what: str, price: str, count: int, most: int | None = None, each: str = "", times: int = 1) -> None:
        """Add a line of `count` pieces, or up to `most`; an hour's price by its last word, else a month's."""
        if not (most or count):
            return
        amount = self._prices.get(price)
        if amount is None:
            self._unpriced[what] = None
        else:
            self._line(what, amount, (count, most or count), each, times, hourly=price.endswith("_hour"))

    def _line(
        self, what: str, amount: Decimal, pieces: tuple[int, int], each: str, times: int = 1, *, hourly: bool = True
    ) -> None:
        month = amount * times * (self._prices.hours if hourly else 1)
        count = f"{pieces[0]}" if pieces[0] == pieces[1] else f"{pieces[0]} to {pieces[1]}"
        how = " x ".join(part for part in (count, each, f"{amount} an hour" if hourly else f"{amount}") if part)
        self._lines.append(Line(what=what, how=how, low=pieces[0] * month, high=pieces[1] * month))

    def _month(self, *prices: str) -> Decimal:
        """Return what one piece of each costs a month, for a hint; nothing where there is no price."""
        amounts = [(self._prices.about(price), price.endswith("_hour")) for price in prices]
        return sum((one * self._prices.hours if hourly else one for one, hourly in amounts), Decimal())

    def _use(self, what: str, price: str, unit: str) -> None:
        amount = self._prices.get(price)
        if amount is None:
            self._unpriced[what] = None
        else:
            self._by_use[f"{what}: {amount} {unit}"] = None

    # What stands there

    def _clusters(self) -> None:
        clusters = [one for one in self._estate.clusters if not one.resource.read]
        self._add("EKS control planes", "control_plane_hour", len(clusters))
        paid = [one for one in clusters if self._is_extended(one)]
        self._add("extended support", "extended_support_hour", len(paid))
        month = self._month("extended_support_hour")
        for one in clusters:
            version, ends = _version(one), _support(one)
            if one in paid:
                self._hints.append(
                    f"{one.name} is in extended support since {ends}: a supported version costs {money(month)} less"
                )
            elif ends and _upgrade_policy(one) != "STANDARD":
                self._hints.append(
                    f"{one.name} stays on Kubernetes {version} after {ends} for {money(month)} more; "
                    "support type STANDARD has EKS upgrade it instead"
                )

    def _is_extended(self, cluster: Cluster) -> bool:
        ends = _support(cluster)
        return ends is not None and self._as_of > ends and _upgrade_policy(cluster) != "STANDARD"

    def _by_month(self) -> None:
        for type_, (what, price) in _BY_MONTH.items():
            self._add(what, price, len(self._made(type_)))

    def _all_nodes(self) -> None:
        for group in self._estate.node_groups:
            if not group.resource.read:
                self._nodes(group)

    def _nodes(self, group: NodeGroup) -> None:
        values = properties(group.resource)
        name = group.resource.name
        least, most = (at(values, "scalingConfig", key) for key in ("minSize", "maxSize"))
        types = [str(one) for one in many(values, "instanceTypes")] or (
            [text(properties(group.template), "instanceType")] if group.template else []
        )
        if not isinstance(least, int) or not isinstance(most, int) or not any(types):
            self._unpriced[f"nodes of {name}: their number or type is not known"] = None
            return
        spot = text(values, "capacityType") == "SPOT"
        # On demand EKS takes the first type that it can get; of spot capacity the dearest bounds the rest.
        priced = {kind: amount for kind in (types if spot else types[:1]) if (amount := self._prices.instance(kind))}
        if not priced:
            self._unpriced[f"nodes of {name}: {', '.join(types)}"] = None
            return
        kind = max(priced, key=lambda one: priced[one])
        self._line(f"nodes of {name}", priced[kind], (least, most), kind)
        if spot:
            self._hints.append(f"nodes of {name} are spot capacity, which costs less: here they cost as on demand")
        self._volumes(group, least, most)

    def _volumes(self, group: NodeGroup, least: int, most: int) -> None:
        disks = many(properties(group.template), "blockDeviceMappings") if group.template else []
        sizes = [at(disk, "ebs", "volumeSize") for disk in disks]
        kinds = {text(disk, "ebs", "volumeType") or "gp3" for disk in disks}
        if not disks:
            own = at(properties(group.resource), "diskSize")
            sizes = [own if isinstance(own, int) else 20]  # what EKS takes
        size = sum(one for one in sizes if isinstance(one, int))
        if kinds - {"gp3"} or not size:
            self._unpriced[f"volumes of {group.resource.name}"] = None
            return
        self._add(f"volumes of {group.resource.name}", "gp3_gb_month", least, most, f"{size} GiB", size)

    def _ways_out(self) -> None:
        gateways = self._made(_NAT)
        self._add("NAT gateways", "nat_gateway_hour", len(gateways))
        interfaces = [one for one in self._made(_ENDPOINT) if text(properties(one), "vpcEndpointType") == "Interface"]
        zones = Counter(len(many(properties(one), "subnetIds")) or 1 for one in interfaces)
        pieces = sum(count * each for each, count in zones.items())
        self._add("interface endpoints", "interface_endpoint_hour", pieces, each="endpoint and zone")
        if gateways:
            self._use("what passes NAT gateways", "nat_gateway_gb", "a GB")
        if interfaces:
            self._use("what passes interface endpoints", "interface_endpoint_gb", "a GB")
        self._nat_hints(gateways, pieces)

    def _nat_hints(self, gateways: Sequence[Resource], endpoints: int) -> None:
        zones = self._zones(public=False)
        month = self._month("nat_gateway_hour", "public_ipv4_hour")
        if len(gateways) == 1 and zones > 1:
            more = money(month * (zones - 1))
            self._hints.append(f"one NAT gateway for {zones} zones: one for each would cost {more} more")
        elif len(gateways) > 1:
            less = money(month * (len(gateways) - 1))
            self._hints.append(f"{len(gateways)} NAT gateways: a single one, which is one zone's to lose, saves {less}")
        elif endpoints:
            own = money(endpoints * self._month("interface_endpoint_hour"))
            self._hints.append(f"no NAT gateway: the endpoints instead cost {own}, a gateway {money(month)}")

    def _zones(self, *, public: bool) -> int:
        return len({one.zone for one in self._estate.subnets.values() if one.public == public and one.zone})

    def _balancers(self) -> None:
        groups: dict[str, str] = {}
        for ingress in self._estate.alb_ingresses:
            name = self._estate.alb_setting(ingress, "group.name", "group.name") or str(ingress)
            groups[name] = self._estate.scheme(ingress)
        services = [one for one in self._estate.objects.get("Service", ()) if text(one.spec, "type") == "LoadBalancer"]
        own = self._made(*_BALANCERS)
        count = len(groups) + len(services) + len(own)
        self._add("load balancers", "load_balancer_hour", count)
        if count:
            self._use("load balancer capacity units", "load_balancer_capacity_hour", "an hour")
        public = sum(scheme == "internet-facing" for scheme in groups.values())
        # An internet-facing load balancer has an address in each zone.
        addresses = len(self._made(_ADDRESS)) + public * max(self._zones(public=True), 2)
        self._add("public IPv4 addresses", "public_ipv4_hour", addresses)
        for one in (*services, *own):
            name = one.name
            self._by_use[f"public addresses of {name}, if it faces the internet: one a zone, priced as above"] = None
        if len(groups) > 1 and all("/" in name for name in groups):
            less = money(self._month("load_balancer_hour") * (len(groups) - 1))
            self._hints.append(f"{len(groups)} Ingresses have a load balancer each: one group saves {less}")

    def _authorities(self) -> None:
        modes = Counter(text(properties(one), "usageMode") or "GENERAL_PURPOSE" for one in self._made(_AUTHORITY))
        short = modes["SHORT_LIVED_CERTIFICATE"]
        self._add("private CAs, short-lived", "private_ca_short_lived_month", short)
        general = modes.total() - short
        self._add("private CAs", "private_ca_month", general)
        if general:
            less = general * (self._month("private_ca_month") - self._month("private_ca_short_lived_month"))
            self._hints.append(
                f"private CA in general-purpose mode: short-lived mode saves {money(less)}, but its certificates last "
                "seven days at most, and ACM cannot issue from it"
            )
        if modes:
            self._by_use["certificates that the private CA issues: not priced here"] = None

    def _lattice(self) -> None:
        routes = [
            one
            for kind in ("HTTPRoute", "GRPCRoute", "TLSRoute")
            for one in self._estate.objects.get(kind, ())
            if self._goes_to_lattice(one.spec)
        ]
        count = len(routes) + len(self._made("aws:vpclattice/service:Service"))
        self._add("VPC Lattice services", "lattice_service_hour", count)
        if count:
            self._use("what passes VPC Lattice", "lattice_gb", "a GB, and requests")

    def _goes_to_lattice(self, spec: Mapping[str, object]) -> bool:
        gateways = {
            one.name
            for one in self._estate.objects.get("Gateway", ())
            if text(one.spec, "gatewayClassName") == "amazon-vpc-lattice"
        }
        return any(text(parent, "name") in gateways for parent in many(spec, "parentRefs"))

    def _logs(self) -> None:
        if self._made(*_LOGS):
            self._use("logs taken in", "logs_gb", "a GB")
            self._use("logs kept", "logs_stored_gb_month", "a GB")
        if self._made("aws:s3/bucket:Bucket"):
            self._use("objects in buckets", "s3_gb_month", "a GB")


def _version(cluster: Cluster) -> str:
    return str(cluster.get("version") or "")


def _support(cluster: Cluster) -> date | None:
    """Until when the cluster's version has standard support; None for one that the table does not know."""
    return SUPPORT[_version(cluster)][0] if _version(cluster) in SUPPORT else None


def _upgrade_policy(cluster: Cluster) -> str:
    return str(cluster.get("upgradePolicy.supportType") or "EXTENDED")
