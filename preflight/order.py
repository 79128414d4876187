"""`preflight order`: in which waves a stack comes up and goes down, and which chain of waits takes longest.

A wave is what may be made, or deleted, at the same time: everything that it waits for is in a wave before. How long a
type takes is read from the dated table durations.toml; the sum along a chain is how long an update takes at best.
"""

import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from typing import Any

import networkx as nx

from preflight.graph import Graph, Resource


@dataclass(frozen=True, kw_only=True)
class Duration:
    """How long a type takes, in seconds, and what says so."""

    create: int
    delete: int
    seen: str
    source: str
    """An https address; empty for an estimate."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One resource being made or deleted."""

    resource: Resource
    wave: int
    """From 1."""
    start: int
    """Seconds after the beginning, if everything begins as soon as it may."""
    seconds: int

    @property
    def end(self) -> int:
        """When it is done."""
        return self.start + self.seconds


@dataclass(frozen=True, kw_only=True)
class Course:
    """A creation or a destruction."""

    waves: tuple[tuple[Step, ...], ...]
    path: tuple[Step, ...]
    """The critical path: each begins when the one before it is done."""

    @property
    def steps(self) -> list[Step]:
        """All of them."""
        return [step for wave in self.waves for step in wave]

    @property
    def seconds(self) -> int:
        """How long it takes at best."""
        return self.path[-1].end if self.path else 0

    @property
    def one_by_one(self) -> int:
        """How long it would take one resource at a time, in seconds."""
        return sum(step.seconds for step in self.steps)


@cache
def table() -> Mapping[str, Duration]:
    """The durations by type; the one for every other type under an empty name."""
    return {
        type_: Duration(create=row["create"], delete=row["delete"], seen=row["seen"], source=row.get("source", ""))
        for row in _table()["duration"]
        for type_ in row["types"] or [""]
    }


@cache
def read() -> date:
    """The day that the table was read."""
    return _table()["read"]


def _table() -> dict[str, Any]:
    return tomllib.loads(resources.files("preflight").joinpath("durations.toml").read_text(encoding="utf-8"))


def duration(resource: Resource) -> Duration:
    """How long this resource takes."""
    return table().get(resource.type) or table()[""]


def creation(graph: Graph) -> Course:
    """How a stack comes up."""
    made = {urn for urn, resource in graph.resources.items() if _is_made(resource)}
    return _course(graph, made, graph.digraph.successors, lambda resource: duration(resource).create)


def destruction(graph: Graph) -> Course:
    """How a stack goes down: against the edges, without what stays."""
    gone = {
        urn
        for urn, resource in graph.resources.items()
        if _is_made(resource) and not any(graph.resources[one].retain_on_delete for one in (urn, *graph.ancestors(urn)))
    }
    # What goes along with something else costs no call of its own.
    return _course(
        graph,
        gone,
        graph.digraph.predecessors,
        lambda resource: 0 if resource.deleted_with else duration(resource).delete,
    )


def waves_of(graph: Graph, urns: Iterable[str]) -> dict[str, int]:
    """In which wave each of some resources comes, from 1, where nothing but these has to be done."""
    chosen = set(urns)
    course = _course(graph, chosen, graph.digraph.successors, lambda _: 0)
    return {step.resource.urn: step.wave for step in course.steps}


def _is_made(resource: Resource) -> bool:
    return (resource.custom or resource.remote) and not resource.read and resource.package != "pulumi"


def _course(
    graph: Graph, counted: set[str], before: Callable[[str], Iterable[str]], seconds: Callable[[Resource], int]
) -> Course:
    steps: dict[str, Step] = {}
    latest: dict[str, str] = {}
    order = list(nx.topological_sort(graph.digraph))  # dependents first
    # Who has the ones that it comes after behind it in that list: so they are seen first.
    forwards = before == graph.digraph.successors
    for urn in reversed(order) if forwards else order:
        earlier = [steps[one] for one in before(urn)]
        last = max(earlier, key=lambda step: (step.end, step.wave, step.resource.urn), default=None)
        counts = urn in counted
        steps[urn] = Step(
            resource=graph.resources[urn],
            wave=max((step.wave for step in earlier), default=0) + counts,
            start=last.end if last else 0,
            seconds=seconds(graph.resources[urn]) if counts else 0,
        )
        if last:
            latest[urn] = last.resource.urn
    waves: defaultdict[int, list[Step]] = defaultdict(list)
    for urn in graph.resources:
        if urn in counted:
            waves[steps[urn].wave].append(steps[urn])
    return Course(waves=tuple(tuple(waves[number]) for number in sorted(waves)), path=_path(steps, latest, counted))


def _path(steps: Mapping[str, Step], latest: Mapping[str, str], counted: set[str]) -> tuple[Step, ...]:
    urn = max(counted, key=lambda one: (steps[one].end, one), default="")
    path: list[Step] = []
    while urn:
        if urn in counted:
            path.append(steps[urn])
        urn = latest.get(urn, "")
    return tuple(reversed(path))
