"""`preflight steps`: the ordered steps from one way of doing things to another, with what each of them changes.

A guide looks at the recording of a stack and returns a `Journey`. What a step changes is never told from memory: it is
the difference between two recordings, as `preflight diff` finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from preflight import program
from preflight.journey import GuideName, Journey

if TYPE_CHECKING:
    from preflight.program import Recording, Running


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
