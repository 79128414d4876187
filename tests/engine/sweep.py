"""Every fault on every resource of a stack: `make faults`. Prints as it goes; exits 1 where a requirement breaks."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .conftest import WITHOUT_ENGINE
from .faults import SCENARIOS, targets
from .harness import REGIONS, Deployment, Lab, laboratory


def main(stacks: list[str]) -> int:
    """Sweep these stacks, or all; the number of broken requirements, at most 1."""
    console = Console()
    if shutil.which("pulumi") is None:
        console.print(f"Nothing was done: {WITHOUT_ENGINE}", highlight=False)
        return 1
    os.environ["PULUMI_ERROR_OUTPUT_STRING"] = "true"
    # The SDK complains of programs that a killed engine leaves behind.
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    began, played, broken = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory() as temporary, laboratory(Path(temporary) / "home") as lab:
        for stack in stacks or list(REGIONS):
            done, problems = _sweep(console, lab, stack, Path(temporary) / stack)
            played, broken = played + done, broken + problems
    console.print(f"{played} faults played, {broken} broke a requirement, {time.monotonic() - began:.0f} seconds")
    return min(broken, 1)


def _sweep(console: Console, lab: Lab, stack: str, folder: Path) -> tuple[int, int]:
    settled = Deployment(lab, folder / "settled", stack)
    first = settled.up()
    if first.error:
        console.print(f"{stack} does not come up at all: {first.error}", markup=False)
        return 1, 1
    plan = [(target, scenario) for scenario in SCENARIOS for target in targets(settled)]
    broken = 0
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(stack, total=len(plan))
        for number, (target, scenario) in enumerate(plan):
            progress.update(task, description=f"{stack}: {scenario}: {target.label}")
            problems = list(SCENARIOS[scenario](lab, settled, target, folder / str(number)))
            problems += [f"the doubles could not answer: {each}" for each in lab.cloud.defects]
            lab.cloud.defects.clear()
            lab.cloud.faults.clear()
            shutil.rmtree(folder / str(number))
            for each in problems:
                broken += 1
                progress.console.print(f"{scenario}: {target.label}: {each}", markup=False, highlight=False)
            progress.advance(task)
    return len(plan), broken


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
