"""Pictures as shapes with places, which the HTML page writes as SVG. Lengths are in CSS pixels."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import cast

from preflight.graph import Graph, Resource
from preflight.report.picture import Box, Picture
from preflight.rules.eks import Estate, Subnet
from preflight.workloads import at, properties, text

_LETTER = 6.6
"""Width of a letter of 12 pixels, on the safe side."""

_LINE = 17
_PAD = 12


@dataclass(frozen=True)
class Shape:
    """A box, or a line; `kind` is its CSS class."""

    kind: str
    x: float = 0
    y: float = 0
    width: float = 0
    height: float = 0
    path: str = ""


@dataclass(frozen=True)
class Words:
    """A text at its base line; the whole of it shows when the pointer rests there."""

    kind: str
    x: float
    y: float
    shown: str
    whole: str


@dataclass
class Drawing:
    """A picture that is ready to be written."""

    title: str
    description: str
    """The same in words, for who does not see it."""
    width: float
    height: float = 0
    shapes: list[Shape] = field(default_factory=list[Shape])
    words: list[Words] = field(default_factory=list[Words])

    def box(self, kind: str, x: float, y: float, width: float, height: float) -> None:
        """Add a box."""
        self.shapes.append(Shape(kind, x, y, width, height))

    def write(self, kind: str, x: float, y: float, line: str, room: float) -> None:
        """Add a text, cut in its middle where there is no room: names differ at both ends."""
        letters = int(room / _LETTER)
        shown = line
        if len(line) > letters:
            end = letters // 2
            shown = f"{line[: letters - end - 1]}…{line[-end:]}"
        self.words.append(Words(kind, x, y, shown, line))


# ---- boxes and arrows ------------------------------------------------------------------------------------------------

_BOX = 290
_GAP = 120
_ROW = 40
_TALL = 28


def wiring(picture: Picture) -> Drawing:
    """Draw a picture: a column each kind, boxes beside what they are wired to."""
    count = len(picture.columns)
    words = [f"{one.tail.label} to {one.head.label}{'' if one.open else ', refused'}" for one in picture.arrows]
    drawing = Drawing(picture.title, "; ".join(words), count * _BOX + (count - 1) * _GAP)
    places = _places(picture)
    for number, (heading, column) in enumerate(picture.columns):
        x = number * (_BOX + _GAP)
        drawing.write("heading", x, 14, heading, _BOX)
        for box in column:
            drawing.box(f"box {box.kind}", x, places[box], _BOX, _TALL)
            drawing.write("label", x + _PAD, places[box] + 18, box.label, _BOX - 2 * _PAD)
    columns = {box: number for number, (_, column) in enumerate(picture.columns) for box in column}
    for arrow in picture.arrows:
        begin, end = places[arrow.tail] + _TALL / 2, places[arrow.head] + _TALL / 2
        x = columns[arrow.tail] * (_BOX + _GAP) + _BOX
        path = f"M{x} {begin:g} C{x + _GAP / 2} {begin:g} {x + _GAP / 2} {end:g} {x + _GAP - 6} {end:g}"
        drawing.shapes.append(Shape("arrow" if arrow.open else "arrow refused", path=path))
        if label := arrow.label if arrow.open else f"✕ {arrow.label}".rstrip():
            kind = "note middle" if arrow.open else "note middle bad"
            drawing.write(kind, x + _GAP / 2, (begin + end) / 2 - 5, label, _GAP)
    drawing.height = max(places.values(), default=0) + _TALL + 4
    return drawing


def _places(picture: Picture) -> dict[Box, float]:
    """Return the top of every box: as near to the middle of what leads to it as its neighbours let it."""
    sources: defaultdict[Box, list[Box]] = defaultdict(list)
    for arrow in picture.arrows:
        sources[arrow.head].append(arrow.tail)
    places: dict[Box, float] = {}
    for _, column in picture.columns:
        wanted = {box: fmean([places[one] for one in sources[box]] or [0.0]) for box in column}
        top = 24.0
        for box in sorted(column, key=lambda box: wanted[box]):
            places[box] = max(top, wanted[box])
            top = places[box] + _ROW
    return places


# ---- network ---------------------------------------------------------------------------------------------------------

_SUBNET = 300
_COLUMN = _SUBNET + 16


def networks(graph: Graph) -> Iterator[Drawing]:
    """Draw every VPC that has subnets here: zones side by side, public subnets above private ones."""
    estate = Estate(graph)
    by_vpc: defaultdict[str, list[Subnet]] = defaultdict(list)
    for subnet in estate.subnets.values():
        by_vpc[subnet.vpc_id].append(subnet)
    made = {vpc.id: vpc for vpc in graph.of_type("aws:ec2/vpc:Vpc")}
    for vpc, subnets in by_vpc.items():
        yield _network(estate, made.get(vpc), vpc, subnets)


def _network(estate: Estate, vpc: Resource | None, identifier: str, subnets: Sequence[Subnet]) -> Drawing:
    zones = sorted({subnet.zone for subnet in subnets})
    contents = {subnet.id: list(_inside(estate, subnet)) for subnet in subnets}
    name = vpc.name if vpc else identifier
    cidr = text(properties(vpc), "cidrBlock") if vpc else ""
    told = [f"{one.resource.name} {one.cidr} in {one.zone}: {', '.join(contents[one.id])}" for one in subnets]
    drawing = Drawing(f"Network {name}", "; ".join(told), 2 * _PAD + len(zones) * _COLUMN)
    drawing.write("heading", _PAD, 22, f"{name}  {cidr}".strip(), drawing.width - 2 * _PAD)
    top = 34.0
    for line in _around(estate.graph, identifier):
        drawing.write("note", _PAD, top + 8, line, drawing.width - 2 * _PAD)
        top += _LINE
    for number, zone in enumerate(zones):
        x = _PAD + number * _COLUMN
        drawing.write("zone", x + _PAD, top + 20, zone or "zone not known", _SUBNET)
    begin, top = top, top + 32
    for public in (True, False):
        rows = [[one for one in subnets if one.zone == zone and one.public is public] for zone in zones]
        for row in range(max(map(len, rows))):
            present = [(number, column[row]) for number, column in enumerate(rows) if row < len(column)]
            tall = 2 * _LINE + 10 + _LINE * max(len(contents[one.id]) for _, one in present)
            for number, subnet in present:
                _subnet(drawing, subnet, contents[subnet.id], (_PAD + number * _COLUMN + 8, top), tall)
            top += tall + 12
    for number in range(len(zones)):
        drawing.shapes.insert(0, Shape("zone", _PAD + number * _COLUMN, begin, _COLUMN - 4, top - begin))
    drawing.shapes.insert(0, Shape("vpc", 1, 1, drawing.width - 2, top + _PAD - 2))
    drawing.height = top + _PAD
    return drawing


def _subnet(drawing: Drawing, subnet: Subnet, lines: Sequence[str], place: tuple[float, float], tall: float) -> None:
    x, y = place
    room = _SUBNET - 2 * _PAD
    drawing.box("subnet public" if subnet.public else "subnet private", x, y, _SUBNET - 4, tall)
    drawing.write("label strong", x + _PAD, y + 18, subnet.resource.name, room)
    drawing.write("note", x + _PAD, y + 18 + _LINE, f"{subnet.cidr}  {'public' if subnet.public else 'private'}", room)
    for number, line in enumerate(lines, 2):
        drawing.write("note", x + _PAD, y + 18 + number * _LINE, line, room)


def _around(graph: Graph, vpc: str) -> Iterator[str]:
    """Yield what belongs to a VPC as a whole."""
    gateways = [one.name for one in graph.of_type("aws:ec2/internetGateway:InternetGateway") if _of_vpc(one, vpc)]
    if gateways:
        yield f"internet gateway {', '.join(gateways)}"
    endpoints = [
        text(properties(one), "serviceName").rpartition(".")[2] or one.name
        for one in graph.of_type("aws:ec2/vpcEndpoint:VpcEndpoint")
        if _of_vpc(one, vpc)
    ]
    if endpoints:
        yield f"endpoints {', '.join(sorted(endpoints))}"


def _of_vpc(resource: Resource, vpc: str) -> bool:
    return text(properties(resource), "vpcId") == vpc


def _inside(estate: Estate, subnet: Subnet) -> Iterator[str]:
    """Yield what is in a subnet, and where its traffic goes."""
    for gateway in estate.graph.of_type("aws:ec2/natGateway:NatGateway"):
        if text(properties(gateway), "subnetId") == subnet.id:
            yield f"NAT gateway {gateway.name}"
    for cluster in estate.clusters:
        if subnet.id in cluster.subnet_ids:
            yield f"control plane of {cluster.name}"
    for group in estate.node_groups:
        if subnet.id in cast("list[object]", at(properties(group.resource), "subnetIds") or []):
            yield f"nodes {group.resource.name}"
    for key, balancers in (("elb", "internet-facing"), ("internal-elb", "internal")):
        if f"kubernetes.io/role/{key}" in subnet.tags:
            yield f"{balancers} load balancers"
    yield f"out: {_way_out(estate.graph, subnet)}"


def _way_out(graph: Graph, subnet: Subnet) -> str:
    names = {gateway.id: gateway.name for gateway in graph.of_type("aws:ec2/natGateway:NatGateway")}
    for part in subnet.routes:
        values = properties(part)
        for route in (values, *cast("list[Mapping[str, object]]", at(values, "routes") or [])):
            if "0.0.0.0/0" in (at(route, "destinationCidrBlock"), at(route, "cidrBlock")):
                nat = text(route, "natGatewayId")
                return f"NAT {names.get(nat, nat)}" if nat else "internet gateway"
    return "nowhere" if subnet.routes else "not in this program"
