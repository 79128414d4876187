"""Every fault on every resource of a stack, and every edit alone: `make faults`, `make faults STACKS="dev kiam"`.

Prints as it goes; exits 1 where a requirement breaks.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import warnings
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .conftest import WITHOUT_ENGINE
from .edits import PULL_REQUESTS, Edit, problems
from .faults import AT_ONCE, SCENARIOS, Target, targets
from .harness import REGIONS, Deployment, Lab, laboratory

Job = tuple[str, Target | None]
"""A scenario and the resource that it happens to; or an edit, or what happens to all at once."""
LINES = 10
"""Where there is no terminal to draw a bar on, so many lines tell how far it is."""


def main(stacks: list[str]) -> int:
    """Sweep these stacks, or all; 1 where a requirement broke."""
    console = Console()
    if unknown := [each for each in stacks if each not in REGIONS]:
        console.print(
            f"There is no stack file of {', '.join(unknown)}; there are {', '.join(REGIONS)}.", highlight=False
        )
        return 2
    if shutil.which("pulumi") is None:
        console.print(f"Nothing was done: {WITHOUT_ENGINE}", highlight=False)
        return 1
    began, played, broken = time.monotonic(), 0, 0
    for stack in stacks or list(REGIONS):
        done, problems = _sweep(console, stack)
        played, broken = played + done, broken + problems
    console.print(
        f"{played} faults and edits played, {broken} broke a requirement, {time.monotonic() - began:.0f} seconds"
    )
    return min(broken, 1)


def _sweep(console: Console, stack: str) -> tuple[int, int]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    broken = 0
    # Each process has an engine, doubles and a deployed stack of its own.
    with (
        multiprocessing.get_context("spawn").Pool(initializer=_Worker.start, initargs=(stack,)) as pool,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        plan = pool.apply(_Worker.plan)
        task = progress.add_task(stack, total=len(plan))
        for number, (label, found) in enumerate(pool.imap_unordered(_Worker.play, plan), 1):
            progress.update(task, description=f"{stack}: {label}", advance=1)
            if not console.is_terminal and number % max(1, len(plan) // LINES) == 0:
                console.print(f"{stack}: {number} of {len(plan)}")
            for each in found:
                broken += 1
                console.print(f"{stack}: {label}: {each}", markup=False, highlight=False)
    return len(plan), broken


class _Worker:
    """One process of the sweep."""

    lab: Lab
    settled: Deployment
    folder: Path
    error: str
    open = ExitStack()

    @classmethod
    def start(cls, stack: str) -> None:
        """Start the doubles and deploy the stack."""
        os.environ["PULUMI_ERROR_OUTPUT_STRING"] = "true"
        # The SDK complains of programs that a killed engine leaves behind.
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        cls.folder = Path(cls.open.enter_context(tempfile.TemporaryDirectory()))
        cls.lab = cls.open.enter_context(laboratory(cls.folder / "home"))
        cls.settled = Deployment(cls.lab, cls.folder / "settled", stack)
        # What is protected does not go at all, which is not what is swept for.
        cls.settled.configure(lambda settings: settings.pop("protect", None))
        cls.error = cls.settled.up().error

    @classmethod
    def plan(cls) -> list[Job]:
        """Every scenario with every resource.

        Raises:
            SystemExit: the stack does not come up at all.
        """
        # Not where the process starts: the pool would start one after the other.
        if cls.error:
            raise SystemExit(f"{cls.settled.name} does not come up at all: {cls.error}")
        whole: list[Job] = [(what, None) for what in (*AT_ONCE, *cls.edits())]
        return [*whole, *((scenario, target) for scenario in SCENARIOS for target in cls.targets(scenario))]

    @classmethod
    def targets(cls, scenario: str) -> list[Target]:
        """The resources that it can happen to: what stays on purpose is never deleted."""
        return [each for each in targets(cls.settled) if not (each.stays and "delet" in scenario)]

    @classmethod
    def edits(cls) -> dict[str, Edit]:
        """The edits of the stack, by what they are."""
        return {each.what: each for edits in PULL_REQUESTS.get(cls.settled.name, ()) for each in edits}

    @classmethod
    def play(cls, job: Job) -> tuple[str, list[str]]:
        """Play one; what it was, and the requirements that broke."""
        what, target = job
        folder = cls.folder / "played"
        try:
            if what in AT_ONCE:
                found = list(AT_ONCE[what](cls.lab, cls.settled, folder))
            elif target is None:
                found = list(problems(cls.settled.branch(folder), [cls.edits()[what]]))
            else:
                found = list(SCENARIOS[what](cls.lab, cls.settled, target, folder))
        except Exception as error:  # noqa: BLE001 one that cannot be played to its end must not hide the others
            found = [f"{type(error).__name__}: {error}"]
        found += [f"the doubles could not answer: {each}" for each in cls.lab.cloud.defects]
        cls.lab.cloud.defects.clear()
        cls.lab.cloud.faults.clear()
        shutil.rmtree(folder)
        return f"{what}: {target.label}" if target else what, found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
