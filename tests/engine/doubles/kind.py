"""What the account can know of a type: its id, its references, what comes and goes with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from . import iam, wire
from .wire import Json, at
from .world import RefusedError, Thing, World


@dataclass(frozen=True)
class Ref:
    """An input that names another thing."""

    path: str
    type: str
    key: str = "id"
    """What names it: its id, or one of its outputs."""
    holds: str = ""
    """What AWS says to the deletion of the other thing while this one is there; empty where it permits it."""


@dataclass(frozen=True)
class Kind:
    """What the account knows of one type."""

    identity: str
    """The id: `{hex}` is 17 hexadecimal digits, other names are inputs or outputs."""
    arn: str = ""
    """Service and resource: `ec2:vpc/{id}`."""
    refs: tuple[Ref, ...] = ()
    imported: str = ""
    """How `pulumi import` wants it, where that is not the id."""
    named: str = ""
    """The input that Pulumi fills with a name where it is not given."""
    longest: int = 255
    """Characters in that name."""
    pattern: str = r".+"
    outputs: Callable[[World, Mapping[str, Json]], dict[str, Json]] = lambda _world, _inputs: {}
    absent: frozenset[str] = frozenset()
    """Outputs that AWS leaves empty for what these stacks ask."""
    volatile: frozenset[str] = frozenset()
    make: Callable[[World, Thing], None] = lambda _world, _thing: None
    """What comes with it, after every check. May refuse."""
    change: Callable[[World, Thing, dict[str, Json]], None] = lambda _world, _thing, _inputs: None
    """What an update of these inputs means. May refuse."""
    drop: Callable[[World, Thing], None] = lambda _world, _thing: None
    """What goes with it. May refuse."""
    problems: Callable[[dict[str, Json]], Iterator[tuple[str, str]]] = lambda _inputs: iter(())
    """What is wrong with the inputs whatever the world."""


DEPENDENCY = "DependencyViolation: resource {id} has a dependent object"


def no(problem: bool, message: str) -> None:
    if problem:
        raise RefusedError(message)


def documents(path: str, *, trust: bool, longest: int) -> Callable[[dict[str, Json]], Iterator[tuple[str, str]]]:
    def problems(inputs: dict[str, Json]) -> Iterator[tuple[str, str]]:
        for text in at(inputs, path):
            if text == wire.UNKNOWN:
                continue
            problem = iam.document_problem(text, trust=trust)
            if problem:
                yield path, problem
            elif len(re.sub(r"\s", "", text)) > longest:
                yield path, f"LimitExceeded: cannot exceed quota for PolicySize: {longest}"

    return problems


def unique(key: str, code: str) -> Callable[[World, Thing], None]:
    def make(world: World, thing: Thing) -> None:
        twins = [each for each in world.of_type(thing.type) if each.outputs[key] == thing.outputs[key]]
        no(any(each is not thing for each in twins), f"{code}: {thing.outputs[key]} already exists")

    return make
