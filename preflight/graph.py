"""A recording as a graph: resources with decoded values, and who depends on whom.

Knows Pulumi's wire form and nothing of any program, so whoever has resources in that form (a policy pack has) gets
the same graph.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, cast

import networkx as nx

from preflight.program import RecordedResource, Recording, Source

_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 the wire's marker of a secret, not one
_REFERENCE = "5cf8f73096256a8f31e491e813e4eb8e"
_UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


class Unknown:
    """A value that nobody knows before the resource exists. There is one, `UNKNOWN`."""

    def __repr__(self) -> str:
        """Read as what it is."""
        return "unknown"


UNKNOWN: Final = Unknown()


@dataclass(frozen=True)
class Secret:
    """A value that the program marked as secret."""

    value: object = field(repr=False)


def decode(value: object) -> object:
    """Convert a value from Pulumi's wire form: `Secret`, `UNKNOWN`, and a reference to a resource as its id or URN."""
    if isinstance(value, str):
        return UNKNOWN if value == _UNKNOWN else value
    if isinstance(value, list):
        return [decode(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        values = cast("dict[str, object]", value)
        signature = values.get(_SIGNATURE)
        if signature == _SECRET:
            return Secret(decode(values.get("value")))
        if signature == _REFERENCE:
            return decode(values.get("id") or values.get("urn"))
        return {key: decode(item) for key, item in values.items()}
    return value


def reveal(value: object) -> object:
    """Return a decoded value without its secret wrappers, for a comparison; never print the result."""
    if isinstance(value, Secret):
        return reveal(value.value)
    if isinstance(value, list):
        return [reveal(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {key: reveal(item) for key, item in cast("dict[str, object]", value).items()}
    return value


@dataclass(frozen=True, eq=False)
class Resource:
    """One registration of a program. Two are the same only if they are the same object."""

    urn: str
    type: str
    name: str
    parent: str = ""
    custom: bool = True
    remote: bool = False
    read: bool = False
    provider: str = ""
    """`URN::id` of the provider instance; empty for the default one."""
    providers: Mapping[str, str] = field(default_factory=dict[str, str])
    inputs: Mapping[str, object] = field(default_factory=dict[str, object])
    outputs: Mapping[str, object] = field(default_factory=dict[str, object])
    id: str = ""
    dependencies: tuple[str, ...] = ()
    """All URNs that the program made it wait for: by `depends_on` and by any property."""
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    protect: bool | None = None
    deleted_with: str = ""
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    aliases: tuple[object, ...] = ()
    delete_before_replace: bool = False
    retain_on_delete: bool = False
    custom_timeouts: Mapping[str, str] = field(default_factory=dict[str, str])
    import_id: str = ""
    version: str = ""
    source: Source | None = None

    @property
    def provider_urn(self) -> str:
        """The URN of the provider instance; empty for the default one."""
        return self.provider.rpartition("::")[0]

    @property
    def package(self) -> str:
        """The provider package that the type belongs to, such as `aws`."""
        return self.type.partition(":")[0]

    @property
    def where(self) -> str:
        """The line of the program that registered it, as `components/network.py:41`; empty if not known."""
        return f"{self.source['file']}:{self.source['line']}" if self.source else ""

    @classmethod
    def of(cls, recorded: RecordedResource) -> "Resource":
        """Decode a recorded registration."""
        return cls(
            urn=recorded["urn"],
            type=recorded["type"],
            name=recorded["name"],
            parent=recorded["parent"],
            custom=recorded["custom"],
            remote=recorded["remote"],
            read=recorded["read"],
            provider=recorded["provider"],
            providers=recorded["providers"],
            inputs=cast("dict[str, object]", decode(recorded["inputs"])),
            outputs=cast("dict[str, object]", decode(recorded["outputs"])),
            id=recorded["id"],
            dependencies=tuple(recorded["dependencies"]),
            property_dependencies={key: tuple(urns) for key, urns in recorded["propertyDependencies"].items()},
            protect=recorded["protect"],
            deleted_with=recorded["deletedWith"],
            ignore_changes=tuple(recorded["ignoreChanges"]),
            replace_on_changes=tuple(recorded["replaceOnChanges"]),
            aliases=tuple(recorded["aliases"]),
            delete_before_replace=recorded["deleteBeforeReplace"],
            retain_on_delete=recorded["retainOnDelete"],
            custom_timeouts=recorded["customTimeouts"],
            import_id=recorded["importId"],
            version=recorded["version"],
            source=recorded["source"],
        )


class Graph:
    """The resources of one stack, by URN in the order of registration."""

    def __init__(self, resources: Sequence[Resource], beside: Sequence["Graph"] = ()) -> None:
        """Take resources that are already decoded, and the stacks that they get outputs of."""
        self.beside = tuple(beside)
        self.resources: dict[str, Resource] = {resource.urn: resource for resource in resources}
        self._children: defaultdict[str, list[Resource]] = defaultdict(list)
        self._by_type: defaultdict[str, list[Resource]] = defaultdict(list)
        self._waits_for: dict[str, frozenset[str]] = {}
        for resource in self.resources.values():
            self._children[resource.parent].append(resource)
            self._by_type[resource.type].append(resource)

    @classmethod
    def of(cls, recording: Recording) -> "Graph":
        """Decode a recording."""
        beside = [cls.of(other) for other in recording.get("beside", ())]
        return cls([Resource.of(recorded) for recorded in recording["resources"]], beside)

    @classmethod
    def together(cls, graphs: Sequence["Graph"]) -> "Graph":
        """Put the stacks of a system into one graph, with those beside them; their URNs differ by the stack's name."""
        every = [*(other for graph in graphs for other in graph.beside), *graphs]
        return cls([resource for graph in every for resource in graph.resources.values()])

    def of_type(self, *types: str) -> list[Resource]:
        """Return the resources of some type tokens, in the order of the tokens and then of registration."""
        return [resource for type_ in types for resource in self._by_type.get(type_, ())]

    def children(self, urn: str) -> list[Resource]:
        """Return the resources directly below a component; those without one for an empty URN."""
        return list(self._children.get(urn, ()))

    def descendants(self, urn: str) -> Iterator[Resource]:
        """Yield everything below a component, at any depth."""
        for child in self._children.get(urn, ()):
            yield child
            yield from self.descendants(child.urn)

    def dependencies(self, urn: str) -> frozenset[str]:
        """Return what a resource directly waits for: `depends_on`, every property, its parent.

        May name resources that are not in the graph, such as one that a packaged component makes inside.
        """
        resource = self.resources[urn]
        by_property = {one for urns in resource.property_dependencies.values() for one in urns}
        return frozenset({*resource.dependencies, *by_property, resource.parent} - {"", urn})

    def ancestors(self, urn: str) -> Iterator[str]:
        """Yield the URNs of the components above a resource, the nearest first."""
        parent = self.resources[urn].parent
        while parent in self.resources:
            yield parent
            parent = self.resources[parent].parent

    @cached_property
    def digraph(self) -> "nx.DiGraph[str]":
        """The edges that the engine keeps when it creates and destroys: from the dependent to what it waits for.

        A provider outlives what it manages. A dependency on a component is one on everything below it, unless the
        dependent is itself below it: siblings do not wait for each other.
        """
        edges: nx.DiGraph[str] = nx.DiGraph()
        edges.add_nodes_from(self.resources)
        for urn, resource in self.resources.items():
            providers = [resource.provider_urn]
            if resource.remote:
                providers += [reference.rpartition("::")[0] for reference in resource.providers.values()]
            above = set(self.ancestors(urn))
            for target in {*self.dependencies(urn), *providers} & self.resources.keys():
                edges.add_edge(urn, target)
                if target not in above:
                    edges.add_edges_from((urn, below.urn) for below in self.descendants(target))
        return edges

    def waits_for(self, urn: str) -> frozenset[str]:
        """Return everything that a resource transitively waits for."""
        if urn not in self._waits_for:
            self._waits_for[urn] = frozenset(nx.descendants(self.digraph, urn))
        return self._waits_for[urn]

    def reaches(self, dependent: str, dependency: str) -> bool:
        """Whether one resource transitively waits for another: that one is created before it and destroyed after it.

        A component counts as everything below it: all of the dependent waits for all of the dependency.
        """
        wanted = self._leaves(dependency)
        return dependent != dependency and all(wanted <= self.waits_for(leaf) for leaf in self._leaves(dependent))

    def _leaves(self, urn: str) -> set[str]:
        return {below.urn for below in self.descendants(urn) if below.custom or below.remote} or {urn}
