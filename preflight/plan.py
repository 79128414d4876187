"""The plan of a stack for a person in a hurry: what would be made, and who may become what."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import cast

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from preflight.graph import UNKNOWN, Graph, Resource, Secret, decode
from preflight.identities import Identity, Policy, Way, table
from preflight.ingresses import answering
from preflight.program import Recording
from preflight.workloads import at, properties, text

WIDTH_OF_A_FILE = 100
"""Columns where the output is no terminal."""

MANY = 20
"""So many components of one type, or wired accounts, are shown one by one; what is refused always is."""

_REFERENCE = "pulumi:pulumi:StackReference"
_CLUSTERS = ("aws:eks/cluster:Cluster", "eks:index:Cluster")


def show(recordings: dict[str, list[Recording]]) -> None:
    """Print the plan of each stack to stdout; `recordings` are by stack and end with the update."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH_OF_A_FILE)
    for modes in recordings.values():
        _show(console, modes)


def _show(console: Console, modes: Sequence[Recording]) -> None:
    recording = modes[-1]
    graph = Graph.of(recording)
    console.rule(f"[bold]{escape(recording['project'])} / {escape(recording['stack'])}", align="left")
    packages = Counter(_package(resource) for resource in graph.resources.values())
    counts = ", ".join(f"{count} {name}" for name, count in sorted(packages.items(), key=lambda item: -item[1]))
    alike = " in preview and update alike" if len(modes) > 1 and not any(_differences(modes)) else ""
    console.print(f"[bold]{len(graph.resources)} resources[/]{alike}: {counts}")
    for line in _differences(modes):
        console.print(line, style="yellow")
    for log in recording["logs"]:
        said = "the program says" if log["severity"] == "info" else f"the program's own {log['severity']}"
        console.print(f"{said}: {escape(log['message'])}", style="" if log["severity"] == "info" else "yellow")
    console.print()
    console.print(_tree(recording, graph))
    for heading, part in _parts(recording, graph):
        console.print(f"\n[bold]{heading}")
        console.print(part)
    console.print("\n[bold]What this cannot know")
    limits = Table.grid(padding=(0, 1, 0, 0))
    for line in _limits(recording, graph):
        limits.add_row(" -", escape(line))
    console.print(limits)
    console.print()


def _package(resource: Resource) -> str:
    if resource.type.startswith("pulumi:providers:"):
        return "providers"
    return resource.package if resource.custom or resource.remote else "components"


def _differences(modes: Sequence[Recording]) -> Iterator[str]:
    urns = {recording["mode"]: [one["urn"] for one in recording["resources"]] for recording in modes}
    for mode, other in (("preview", "update"), ("update", "preview")):
        for urn in urns.get(mode, ()) if other in urns else ():
            if urn not in urns[other]:
                yield f"only in {mode}: {_short(urn.split('::')[2].split('$')[-1])} {urn.split('::')[3]}"


def _short(token: str) -> str:
    return token.rpartition(":")[2]


def _tree(recording: Recording, graph: Graph) -> Tree:
    tree = Tree(f"[bold]{escape(recording['project'])}", guide_style="dim")
    _grow(tree, graph, "", "")
    return tree


def _grow(tree: Tree, graph: Graph, urn: str, prefix: str) -> None:
    """Add what is below a component: components one by one, the rest by type, names without what they all share."""
    kinds: dict[str, list[Resource]] = {}
    shown: Counter[str] = Counter()
    for child in graph.children(urn):
        shown[child.type] += bool(graph.children(child.urn))
        if shown[child.type] > MANY:
            continue
        if graph.children(child.urn):
            count = sum(1 for _ in graph.descendants(child.urn))
            label = f"[bold cyan]{escape(_own(child.name, prefix))}[/] {escape(_short(child.type))} [dim]{count}"
            _grow(tree.add(label), graph, child.urn, child.name)
        else:
            kinds.setdefault(child.type, []).append(child)
    for token, count in shown.items():
        if count > MANY:
            tree.add(f"[dim]and {count - MANY} more of {escape(_short(token))}")
    for token, resources in kinds.items():
        count = f" ({len(resources)})" if len(resources) > 1 else ""
        names = ", ".join(_own(resource.name, prefix) for resource in resources)
        remote = "[dim] (packaged: its inside is not shown)[/]" if resources[0].remote else ""
        tree.add(f"{escape(_kind(token))}{count}{remote} [dim]{escape(names)}")


def _kind(token: str) -> str:
    if token.startswith("pulumi:providers:"):
        return f"provider {_short(token)}"
    return _short(token)


def _own(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lstrip("-") or name


def _beside(graph: Graph, resource: Resource) -> str:
    """Return a resource's name without that of the component it is in."""
    parent = graph.resources.get(resource.parent)
    return _own(resource.name, parent.name if parent else "")


def _parts(recording: Recording, graph: Graph) -> Iterator[tuple[str, Table]]:
    identities = table(graph)
    wired = [one for one in identities if one.chosen and one.chosen.mechanism != "node role"]
    if wired:
        wired.sort(key=lambda one: one.chosen is not None and one.chosen.decision.admitted)
        refused = sum(1 for one in wired if one.chosen and not one.chosen.decision.admitted)
        yield "Who may become what", _wires(wired[: max(MANY, refused)], _issuers(graph))
        if len(wired) > max(MANY, refused):
            left = len(wired) - max(MANY, refused)
            yield f"and {left} more accounts, all of them admitted; `preflight access --all` has them", Table.grid()
    if others := [one for one in identities if one not in wired and one.workloads]:
        rows = Table.grid(padding=(0, 2, 0, 0))
        rows.add_column(style="dim", no_wrap=True)
        becomes: dict[tuple[str, str], list[str]] = {}
        for one in others:
            way = one.chosen
            name = (way.role.name if way.role else way.role_arn or "a node's role") if way else "nobody"
            becomes.setdefault((name, way.decision.reason if way else ""), []).append(str(one))
        for (name, reason), accounts in becomes.items():
            rows.add_row(escape(name), escape(", ".join(accounts)) + (f"\n[dim]{escape(reason)}" if reason else ""))
        yield "Pods without a role of their own may become", rows
    if subnets := graph.of_type("aws:ec2/subnet:Subnet"):
        yield "Network", _network(graph, subnets)
    if ingresses := answering(graph):
        rows = _table("Ingress", "Answers at", "How")
        for one in ingresses[:MANY]:
            rows.add_row(*map(escape, (one.name, "\n".join(one.addresses), "\n".join(one.facts))))
        if len(ingresses) > MANY:
            rows.add_row(f"and {len(ingresses) - MANY} more")
        yield "What comes of an Ingress", rows
    if ports := list(_ports(graph)):
        rows = _table("Port", "From the control plane to", "For")
        for row in ports:
            rows.add_row(*map(escape, row))
        yield "Ports open to webhooks and kubelets", rows
    if recording["outputs"]:
        rows = _table("Output", "Value (ids, hashes and addresses are made up)")
        for name, value in sorted(recording["outputs"].items()):
            rows.add_row(escape(name), escape(_value(decode(value))))
        yield "Stack outputs", rows


def _table(*columns: str) -> Table:
    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    for column in columns:
        rows.add_column(column, overflow="fold")
    return rows


def _value(value: object) -> str:
    if isinstance(value, Secret):
        return "[secret]"
    if value is UNKNOWN:
        return "known after the update"
    if isinstance(value, (dict, list)) and len(cast("list[object]", value)) > MANY:
        return f"{len(cast('list[object]', value))} values"
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_value(one)}" for key, one in sorted(cast("dict[str, object]", value).items()))
    if isinstance(value, list):
        return "\n".join(_value(one) for one in cast("list[object]", value))
    return str(value)


def _trusts(trust: str, issuers: dict[str, str]) -> Iterator[str]:
    """Yield whom a trust policy names, in the words of its own conditions."""
    try:
        document = json.loads(trust)
    except ValueError:
        yield "no policy that can be read"
        return
    statements = at(document, "Statement")
    for statement in _listed(statements):
        for arn in _listed(at(statement, "Principal", "Federated")):
            host = str(arn).partition(":oidc-provider/")[2]
            yield f"issuer {issuers.get(f'https://{host}', host or arn)}"
        for service in _listed(at(statement, "Principal", "Service")):
            yield f"service {service}"
        for other in _listed(at(statement, "Principal", "AWS")):
            yield f"AWS {other}"
        tags: dict[str, str] = {}
        for operator, pairs in _pairs(at(statement, "Condition")):
            for key, wanted in _pairs(pairs):
                values = " or ".join(str(one).removeprefix("system:serviceaccount:") for one in _listed(wanted))
                like = " (pattern)" if "Like" in operator else ""
                if key.endswith(":sub"):
                    yield f"subject {values.replace(':', '/')}{like}"
                elif key.endswith(":aud"):
                    yield f"audience {values}{like}"
                elif match := re.fullmatch(r"aws:RequestTag/(?:kubernetes-|eks-)?(.+)", key):
                    tags[match[1]] = values + like
                else:
                    yield f"where {key} is {values}{like}"
        if {"namespace", "service-account"} <= tags.keys():
            yield f"subject {tags.pop('namespace')}/{tags.pop('service-account')}"
        if "cluster-name" in tags:
            yield f"cluster {tags.pop('cluster-name')}"
        for tag, values in tags.items():
            yield f"where its tag {tag} is {values}"


def _listed(value: object) -> list[object]:
    if isinstance(value, list):
        return cast("list[object]", value)
    return [] if value is None else [value]


def _pairs(value: object) -> list[tuple[str, object]]:
    return list(cast("dict[str, object]", value).items()) if isinstance(value, dict) else []


def _wires(found: Sequence[Identity], issuers: dict[str, str]) -> Table:
    """Show each wired account with its role, whom that role trusts, what it may, and what runs there."""
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    for number, identity in enumerate(found):
        way = cast("Way", identity.chosen)
        if number:
            rows.add_row("", "")
        verdict = (
            "[green]admits it[/]" if way.decision.admitted else f"[red]refuses it[/]: {escape(way.decision.reason)}"
        )
        if way.decision.undecided:
            verdict = f"[yellow]cannot say[/]: {escape(way.decision.reason)}"
        named = ", ".join(_trusts(text(properties(way.role), "assumeRolePolicy"), issuers)) if way.role else ""
        runs = ", ".join(workload.label for workload in identity.workloads)
        rows.add_row("account", f"[bold]{escape(str(identity))}")
        rows.add_row("role", escape(f"{way.role.name if way.role else way.role_arn} through {way.mechanism}"))
        rows.add_row("trust", verdict + escape(f": it names {named}" if named else ""))
        rows.add_row(
            "policies", escape(", ".join(_policy(one) for one in way.policies)) or "[yellow]none: it may do nothing"
        )
        rows.add_row("runs", escape(runs) or "[yellow]nothing of this program")
    return rows


def _policy(policy: Policy) -> str:
    return policy.resource.name if policy.resource else policy.name


def _issuers(graph: Graph) -> dict[str, str]:
    """Return the issuers of the program's clusters, and whose they are."""
    found: dict[str, str] = {}
    for cluster in graph.of_type(*_CLUSTERS):
        values = properties(cluster)
        issuer = text(values, "identities", "0", "oidcs", "0", "issuer") or text(values, "oidcProviderUrl")
        found[issuer] = f"cluster {text(values, 'name') or cluster.name}"
    return found


def _network(graph: Graph, subnets: Sequence[Resource]) -> Table:
    lines = _table("Zone", "Subnet", "Addresses", "Way out", "Its tags say")
    ways = _ways_out(graph)
    rows = [(text(properties(subnet), "availabilityZone") or "?", subnet) for subnet in subnets]
    previous = ""
    for zone, subnet in sorted(rows, key=lambda row: (row[0], row[1].name)):
        values = properties(subnet)
        said = list(_tags(_pairs(at(values, "tags"))))
        lines.add_row(
            "" if zone == previous else escape(zone),
            escape(_beside(graph, subnet).removesuffix(f"-{zone}")),
            escape(text(values, "cidrBlock") or "?"),
            escape(ways.get(subnet.id, "not in this program")),
            escape(", ".join(said)) or "[dim]nothing that EKS reads[/]",
        )
        previous = zone
    return lines


def _ways_out(graph: Graph) -> dict[str, str]:
    """Return where each subnet's default route goes, by the subnet's id."""
    tables: dict[str, str] = {}
    gateways = {gateway.id: gateway for gateway in graph.of_type("aws:ec2/natGateway:NatGateway")}
    routes = [
        (text(properties(route), "routeTableId"), properties(route)) for route in graph.of_type("aws:ec2/route:Route")
    ]
    for one in graph.of_type("aws:ec2/routeTable:RouteTable"):
        tables[one.id] = "none"
        routes += [(one.id, cast("dict[str, object]", route)) for route in _listed(at(properties(one), "routes"))]
    for identifier, route in routes:
        if (text(route, "destinationCidrBlock") or text(route, "cidrBlock")) != "0.0.0.0/0":
            continue
        if text(route, "gatewayId"):
            tables[identifier] = "internet gateway"
        elif text(route, "natGatewayId"):
            gateway = gateways.get(text(route, "natGatewayId"))
            tables[identifier] = _beside(graph, gateway) if gateway else "a NAT gateway"
    return {
        text(properties(one), "subnetId"): tables.get(text(properties(one), "routeTableId"), "another table")
        for one in graph.of_type("aws:ec2/routeTableAssociation:RouteTableAssociation")
    }


def _tags(tags: list[tuple[str, object]]) -> Iterator[str]:
    """Yield what the tags of a subnet tell EKS and its controllers."""
    said = dict(tags)
    if "kubernetes.io/role/elb" in said:
        yield "internet-facing load balancers"
    if "kubernetes.io/role/internal-elb" in said:
        yield "internal load balancers"
    for key, value in sorted(tags):
        if key.startswith("kubernetes.io/cluster/"):
            yield f"{'shared with' if value == 'shared' else 'owned by'} {key.rpartition('/')[2]}"
        elif key == "karpenter.sh/discovery":
            yield f"nodes of Karpenter for {value}"


def _ports(graph: Graph) -> Iterator[tuple[str, str, str]]:
    """Yield what the control plane may reach: the rules whose source is the group that EKS or the program gave it."""
    sources: set[str] = set()
    for cluster in graph.of_type(*_CLUSTERS):
        values = properties(cluster)
        sources |= {text(values, "clusterSecurityGroupId"), text(values, "vpcConfig", "clusterSecurityGroupId")}
        sources |= {str(one) for one in _listed(at(values, "vpcConfig", "securityGroupIds"))}
    sources.discard("")
    groups = {group.id: group.name for group in graph.of_type("aws:ec2/securityGroup:SecurityGroup")}
    rules = graph.of_type(
        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "aws:ec2/securityGroupRule:SecurityGroupRule"
    )
    found: list[tuple[int, str, str]] = []
    for rule in rules:
        values = properties(rule)
        source = text(values, "referencedSecurityGroupId") or text(values, "sourceSecurityGroupId")
        target = text(values, "securityGroupId")
        if source in sources and target != source and text(values, "type") != "egress":
            port = at(values, "fromPort")
            found.append(
                (
                    port if isinstance(port, int) else 0,
                    groups.get(target, target),
                    text(values, "description") or rule.name,
                )
            )
    for port, target, purpose in sorted(found):
        yield str(port or "all"), target, purpose


def _limits(recording: Recording, graph: Graph) -> Iterator[str]:
    """Yield what no reading of the program can tell, with the names that it concerns here."""
    yield "what exists already or has drifted, and what AWS would refuse: quotas, rights, names that are taken"
    hidden = [one for one in graph.resources.values() if one.remote and not graph.children(one.urn)]
    packaged = sorted({f"{resource.type} {resource.name}" for resource in hidden})
    if packaged:
        yield f"what packaged components make inside: {', '.join(packaged)}"
    charts = sorted({r.name for r in graph.resources.values() if r.type.startswith("kubernetes:helm.sh/")})
    if charts:
        yield f"which objects the charts bring: {', '.join(charts)}"
    origins: dict[str, set[str]] = {}
    for invoke in recording["invokes"]:
        token, place = invoke["token"], invoke["origin"]
        if place == "stand-in" and token == _REFERENCE:
            token, place = str(invoke["args"]["name"]), "reference"
        origins.setdefault(place, set()).add(token)
    if tokens := origins.get("table"):
        yield f"what look-ups would find; plausible answers for: {', '.join(sorted(map(_short, tokens)))}"
    if tokens := origins.get("stand-in"):
        yield f"what look-ups would find; stand-ins, so state them in preflight.toml: {', '.join(sorted(tokens))}"
    if stacks := origins.get("reference"):
        yield f"outputs of other stacks, unknown unless preflight.toml states them: {', '.join(sorted(stacks))}"
    if secrets := sum(_secrets(resource.inputs) for resource in graph.resources.values()):
        yield f"secret values: {secrets} in the inputs, passed on unread"


def _secrets(value: object) -> int:
    if isinstance(value, Secret):
        return 1
    if isinstance(value, dict):
        return sum(_secrets(one) for one in cast("dict[str, object]", value).values())
    if isinstance(value, list):
        return sum(_secrets(one) for one in cast("list[object]", value))
    return 0
