"""`preflight steps`: the ordered steps from one way of doing things to another, with what each of them changes.

A guide looks at the recording of a stack and returns a `Journey`. What a step changes is never told from memory: it is
the difference between two recordings, as `preflight diff` finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from preflight import program

if TYPE_CHECKING:
    # The command line names the guides before the program starts; what they are made of is imported after.
    from preflight.diff import StackDiff
    from preflight.program import Recording, Running

GuideName: TypeAlias = Literal["irsa-to-pod-identity", "pod-identity-to-irsa", "leave-kiam"]
StepsFormat: TypeAlias = Literal["text", "json"]


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


def run(directory: Path, guide: GuideName, asked: Sequence[str]) -> list[Journey]:
    """Run a program and return the journey of each stack.

    Raises BadInputError for a folder or stack that is not there and for refused settings, ProgramFailedError.
    """
    with program.start(directory, asked, modes=("update",)) as running:
        from preflight import kiam_exit, mechanisms

        guides: dict[GuideName, Callable[[Running, Recording], Journey]] = {
            "irsa-to-pod-identity": mechanisms.to_pod_identity,
            "pod-identity-to-irsa": mechanisms.to_irsa,
            "leave-kiam": kiam_exit.leave_kiam,
        }
        return [guides[guide](running, recordings[-1]) for recordings in running.checked().values()]
