"""A journey: the ordered steps of one stack from one way of doing things to another, and what each changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    # The command line names the guides before the program starts; what they are made of is imported after.
    from preflight.diff import StackDiff

GuideName: TypeAlias = Literal["irsa-to-pod-identity", "pod-identity-to-irsa", "leave-kiam"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing to do, and to see done, before the next."""

    do: str
    undo: str
    """How to get back to where it was before."""
    commands: tuple[str, ...] = ()
    changes: StackDiff | None = None
    """What `preflight diff` will say of it; None where it changes nothing in the program."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """A workload that can move."""

    workload: str
    where: str
    """The line of the stack file or of the program that declares it."""
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a workload cannot move, and what would let it."""

    why: str
    change: str


@dataclass(frozen=True, kw_only=True)
class Stay:
    """A workload that cannot move."""

    workload: str
    where: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, kw_only=True)
class Journey:
    """The steps of one stack."""

    guide: GuideName
    stack: str
    first: tuple[Step, ...]
    """What several workloads need, before any of them."""
    moves: tuple[Move, ...]
    stays: tuple[Stay, ...]
    arrived: tuple[str, ...]
    """Workloads that are there already."""
    unknown: tuple[str, ...]
    """What nothing in a program tells, and what therefore has to be looked at."""
