"""The wiring of a stack as boxes and arrows, for whatever draws them.

Two pictures: who may become whom (account, role, policies), and how requests get in (Ingress, Service, workload).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from preflight.graph import Graph, Resource
from preflight.identities import Policy, Way, table
from preflight.workloads import at, properties, text

Kind: TypeAlias = Literal["account", "role", "policy", "ingress", "service", "workload"]

_INGRESS = "kubernetes:networking.k8s.io/v1:Ingress"
_SERVICE = "kubernetes:core/v1:Service"
_POD_LABELS = {
    "kubernetes:apps/v1:Deployment": ("spec", "template", "metadata", "labels"),
    "kubernetes:apps/v1:DaemonSet": ("spec", "template", "metadata", "labels"),
    "kubernetes:apps/v1:StatefulSet": ("spec", "template", "metadata", "labels"),
    "kubernetes:core/v1:Pod": ("metadata", "labels"),
}


@dataclass(frozen=True)
class Box:
    """One thing; two with the same kind and label are the same thing."""

    kind: Kind
    label: str


@dataclass(frozen=True)
class Arrow:
    """A wire from one thing to the next; one that is not `open` is refused, or not there."""

    tail: Box
    head: Box
    label: str = ""
    open: bool = True


@dataclass(frozen=True)
class Picture:
    """Boxes in columns from left to right, each with its heading, and the arrows between neighbours."""

    title: str
    columns: tuple[tuple[str, tuple[Box, ...]], ...]
    arrows: tuple[Arrow, ...]


def identities(graph: Graph) -> Picture:
    """Draw who may become whom: every account with a wire of its own, its role, and what that role may."""
    arrows: dict[Arrow, None] = {}
    for identity in table(graph):
        account = Box("account", str(identity))
        for way in identity.ways:
            if way.mechanism != "node role":
                role = Box("role", _role(way))
                arrows[Arrow(account, role, way.mechanism, way.decision.admitted)] = None
                arrows.update(dict.fromkeys(Arrow(role, Box("policy", _policy(policy))) for policy in way.policies))
    return _picture("Who may become whom", ("account", "role", "policy"), arrows)


def requests(graph: Graph) -> Picture:
    """Draw how requests get in: every Ingress, the Services that it names, and the pods that those select."""
    services = {_name(service): service for service in graph.of_type(_SERVICE)}
    arrows: dict[Arrow, None] = {}
    for ingress in graph.of_type(_INGRESS):
        namespace = _name(ingress)[0]
        for backend in _backends(at(properties(ingress), "spec")):
            service = services.get((namespace, backend))
            head = Box("service", f"{namespace}/{backend}")
            label = ingress_class(ingress)
            arrows[Arrow(Box("ingress", "/".join(_name(ingress))), head, label, service is not None)] = None
            for workload in _selected(graph, service) if service else ():
                arrows[Arrow(head, Box("workload", workload))] = None
    return _picture("How requests get in", ("ingress", "service", "workload"), arrows)


def ingress_class(ingress: Resource) -> str:
    """Return the class of an Ingress; empty where it has none."""
    return text(properties(ingress), "spec", "ingressClassName")


_HEADINGS: dict[Kind, str] = {
    "account": "Service account",
    "role": "Role",
    "policy": "Policy",
    "ingress": "Ingress",
    "service": "Service",
    "workload": "Pods",
}


def _picture(title: str, kinds: tuple[Kind, ...], arrows: Mapping[Arrow, None]) -> Picture:
    boxes = dict.fromkeys(box for arrow in arrows for box in (arrow.tail, arrow.head))
    columns = tuple((_HEADINGS[kind], tuple(box for box in boxes if box.kind == kind)) for kind in kinds)
    return Picture(title, columns, tuple(arrows))


def _role(way: Way) -> str:
    # A role of this program is known by its logical name: the physical one is often a pattern with a made-up end.
    return way.role.name if way.role else way.role_arn or "a role that is not known yet"


def _policy(policy: Policy) -> str:
    return policy.resource.name if policy.resource else policy.name


def _name(resource: Resource) -> tuple[str, str]:
    values = properties(resource)
    namespace = text(values, "metadata", "namespace") or "default"
    return namespace, text(values, "metadata", "name") or resource.name


def _backends(spec: object) -> Iterator[str]:
    if default := text(spec, "defaultBackend", "service", "name"):
        yield default
    for rule in _items(at(spec, "rules")):
        for path in _items(at(rule, "http", "paths")):
            if name := text(path, "backend", "service", "name"):
                yield name


def _selected(graph: Graph, service: Resource) -> Iterator[str]:
    selector = at(properties(service), "spec", "selector")
    wanted = cast("dict[str, object]", selector).items() if isinstance(selector, dict) else ()
    for resource in graph.of_type(*_POD_LABELS):
        labels = at(properties(resource), *_POD_LABELS[resource.type])
        given = cast("dict[str, object]", labels).items() if isinstance(labels, dict) else ()
        if wanted and _name(resource)[0] == _name(service)[0] and set(wanted) <= set(given):
            yield f"{resource.type.rpartition(':')[2]} {'/'.join(_name(resource))}"


def _items(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
