"""A good stack, recorded once, and the means to break it: a mutant is a copy with one thing changed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from preflight.finding import Finding
from preflight.graph import Graph
from preflight.program import RecordedResource, Recording
from preflight.rules import RULES, Stack, check
from tests.recorded import recorded

ROOT = Path(__file__).parents[3]
AS_OF = date(2026, 11, 22)
ENDPOINT = "cluster-endpoint-open"
"""The one finding of the dev stack."""


class Registered:
    """One resource of a recording, open to change. What is set or unset is so in inputs and outputs alike."""

    def __init__(self, stack: Recorded, raw: RecordedResource) -> None:
        self._stack = stack
        self.raw = raw

    def get(self, *path: str | int) -> Any:
        found: Any = {**self.raw["inputs"], **self.raw["outputs"]}
        for key in path:
            found = found[key]
        return found

    def set(self, *path: str | int, to: object) -> Registered:
        """Set the value at a path of keys and indexes; mappings on the way are made."""
        for side in (self.raw["inputs"], self.raw["outputs"]):
            *way, last = path
            target: Any = side
            for key in way:
                target = target.setdefault(key, {}) if isinstance(target, dict) else target[key]
            target[last] = copy.deepcopy(to)
        return self

    def unset(self, *path: str | int) -> Registered:
        for side in (self.raw["inputs"], self.raw["outputs"]):
            *way, last = path
            target: Any = side
            for key in way:
                target = target.get(key, {}) if isinstance(target, dict) else target[key]
            if isinstance(target, dict):
                target.pop(last, None)
            elif last < len(target):
                del target[last]
        return self

    def option(self, **options: object) -> Registered:
        """Set what is not a property: ignoreChanges, deletedWith, retainOnDelete, provider, parent."""
        self.raw.update(options)  # type: ignore[typeddict-item]
        return self

    def waits_for(self, *keys: str) -> Registered:
        """Make it wait for these resources, and for nothing else."""
        self.raw["dependencies"] = [self._stack[key].raw["urn"] for key in keys]
        self.raw["propertyDependencies"] = {}
        return self

    def forgets(self, *keys: str) -> Registered:
        """Take away that it waits for these resources."""
        forgotten = {self._stack[key].raw["urn"] for key in keys}
        self.raw["dependencies"] = [urn for urn in self.raw["dependencies"] if urn not in forgotten]
        properties = self.raw["propertyDependencies"]
        self.raw["propertyDependencies"] = {
            key: [urn for urn in urns if urn not in forgotten] for key, urns in properties.items()
        }
        return self


class Recorded:
    """A recorded stack in both modes, open to change: `stack["Ingress demo-ingress"].set(...)`."""

    def __init__(self, preview: Recording, update: Recording, others: Sequence[Recorded] = ()) -> None:
        self.preview = preview
        self.update = update
        self.others = others
        """Stacks that are judged together with it."""

    def copy(self) -> Recorded:
        return Recorded(copy.deepcopy(self.preview), copy.deepcopy(self.update))

    def __getitem__(self, key: str) -> Registered:
        """Find a resource by the last part of its type and its name, as in `Release ingress-cert-manager`."""
        found = [raw for raw in self.update["resources"] if _key(raw) == key]
        assert len(found) == 1, f"{key} is there {len(found)} times; there are {self.names}"
        return Registered(self, found[0])

    @property
    def names(self) -> list[str]:
        return [_key(raw) for raw in self.update["resources"]]

    def remove(self, *keys: str) -> None:
        """Take resources out of both modes, and out of everybody's dependencies."""
        gone = {self[key].raw["urn"] for key in keys}
        for recording in (self.preview, self.update):
            recording["resources"] = [raw for raw in recording["resources"] if raw["urn"] not in gone]
            for raw in recording["resources"]:
                raw["dependencies"] = [urn for urn in raw["dependencies"] if urn not in gone]
                raw["propertyDependencies"] = {
                    key: [urn for urn in urns if urn not in gone] for key, urns in raw["propertyDependencies"].items()
                }

    def add(self, type_: str, name: str, inputs: dict[str, Any], *, like: str, **outputs: object) -> Registered:
        """Put a resource into both modes, with the parent, provider and dependencies of another."""
        for recording in (self.preview, self.update):
            raw = copy.deepcopy(next(raw for raw in recording["resources"] if _key(raw) == like))
            raw["urn"] = raw["urn"].rpartition("$")[0] + f"${type_}::{name}"
            made = copy.deepcopy({**inputs, **outputs})
            raw.update(type=type_, name=name, inputs=copy.deepcopy(inputs), outputs=made)
            raw["id"] = str(outputs.get("id", name))
            recording["resources"].append(raw)
        return self[f"{type_.rpartition(':')[2]} {name}"]

    def stack(self, as_of: date = AS_OF) -> Stack:
        """What the rules get."""
        graphs = [Graph.of(one.update) for one in (self, *self.others)]
        return Stack(
            name=self.update["stack"],
            graph=graphs[0],
            system=Graph.together(graphs) if self.others or graphs[0].beside else None,
            preview=Graph.of(self.preview),
            invokes=self.update["invokes"],
            outputs=self.update["outputs"],
            as_of=as_of,
        )

    def findings(self, as_of: date = AS_OF) -> list[Finding]:
        return check(self.stack(as_of))

    def of(self, rule: str, as_of: date = AS_OF) -> list[Finding]:
        """What one rule has to say."""
        return RULES[rule].findings(self.stack(as_of))


def _key(raw: RecordedResource) -> str:
    return f"{raw['type'].rpartition(':')[2]} {raw['name']}"


@cache
def _recorded(stack: str) -> Recorded:
    return Recorded(*recorded(stack))


@pytest.fixture
def dev() -> Recorded:
    """A copy of the dev stack, recorded once."""
    return _recorded("dev").copy()


@pytest.fixture
def prod() -> Recorded:
    """A copy of the prod stack, recorded once."""
    return _recorded("prod").copy()


@pytest.fixture
def isolated() -> Recorded:
    """A copy of the stack without a way out, recorded once."""
    return _recorded("isolated").copy()


def _together(name: str) -> Recorded:
    stacks = {each: _recorded(each).copy() for each in ("mesh", "cluster1", "cluster2")}
    for stack in stacks.values():
        # What a stack reads from is the copy, too.
        stack.update["beside"] = [stacks[each["stack"]].update for each in stack.update.get("beside", ())]
    stacks[name].others = [stack for each, stack in stacks.items() if each != name]
    return stacks[name]


@pytest.fixture
def mesh() -> Recorded:
    """A copy of the mesh, judged together with its clusters; recorded once."""
    return _together("mesh")


@pytest.fixture
def cluster1() -> Recorded:
    """A copy of one cluster of the mesh, judged together with the rest; recorded once."""
    return _together("cluster1")


Change = Callable[[Recorded], object]


@pytest.fixture
def new_findings() -> Callable[[Recorded, Change], list[Finding]]:
    """Apply a change and return the findings that were not there before it."""

    def changed(stack: Recorded, change: Change) -> list[Finding]:
        before = {(one.rule, one.resource, one.message) for one in stack.findings()}
        change(stack)
        return [one for one in stack.findings() if (one.rule, one.resource, one.message) not in before]

    return changed
