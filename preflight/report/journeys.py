"""The steps of a journey for the terminal and as JSON. What a step changes is said in the words of `preflight diff`."""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from preflight.journey import Journey, Step
from preflight.report import PlainFormat, differences, machine
from preflight.report.terminal import console


def publish(journeys: Sequence[Journey], form: PlainFormat) -> None:
    """Write journeys to stdout."""
    if form == "json":
        sys.stdout.write(json.dumps([document(one) for one in journeys], indent=2, ensure_ascii=False) + "\n")
        return
    for journey in journeys:
        show(journey, console())


def show(journey: Journey, to: Console) -> None:
    """Print a journey."""
    counts = [(len(journey.moves), "to move"), (len(journey.stays), "cannot"), (len(journey.arrived), "there already")]
    told = ", ".join(f"{count} {what}" for count, what in counts if count)
    to.print(Text(f"{journey.guide}, stack {journey.stack}: {told or 'no workload has a role to move'}", "bold"))
    if journey.first and journey.moves:
        to.print(Text("\nFirst", "bold"))
        _steps(journey.first, to)
    for move in journey.moves:
        to.print(Text.assemble("\n", (move.workload, "bold"), (f"  {move.where}", "dim")), soft_wrap=True)
        _steps(move.steps, to)
    for stay in journey.stays:
        to.print(Text.assemble("\n", (f"{stay.workload} cannot move", "bold yellow"), (f"  {stay.where}", "dim")))
        for reason in stay.reasons:
            to.print(_block(f"{reason.why} {reason.change}", 2))
    if journey.arrived:
        to.print(Text("\nThere already: ", "bold").append(", ".join(journey.arrived), "not bold"))
    if journey.moves:
        to.print(Text("\nWhat a program cannot tell", "bold"))
        for line in journey.unknown:
            to.print(_block(line, 2, "dim"))


def _steps(steps: Sequence[Step], to: Console) -> None:
    for number, step in enumerate(steps, 1):
        row = Table.grid(padding=(0, 1, 0, 0))
        row.add_row(f"  {number}.", Text(step.do, overflow="fold"))
        to.print(row)
        for command in step.commands:
            to.print(Text(f"       {command}", "cyan"), soft_wrap=True)  # in one piece, to be copied
        for indent, sign, line in _changes(step):
            to.print(Text(f"{' ' * (5 + 2 * indent)}{line}", differences.STYLES[sign]), soft_wrap=True)
        to.print(_block(f"back: {step.undo}", 5, "dim"))


def _changes(step: Step) -> Iterator[tuple[int, differences.Sign, str]]:
    for part in differences.parts(step.changes) if step.changes else ():
        yield 0, "", part.heading
        for depth, sign, text in part.lines:
            yield depth + 1, sign, f"{sign} {text}".lstrip()


def _block(text: str, indent: int, style: str = "") -> Padding:
    return Padding(Text(text, style, overflow="fold"), (0, 0, 0, indent), expand=False)


def document(journey: Journey) -> dict[str, Any]:
    """Return a journey as plain values."""
    return {
        "format": machine.FORMAT,
        "guide": journey.guide,
        "stack": journey.stack,
        "first": [_of_step(step) for step in journey.first],
        "moves": [
            {"workload": one.workload, "where": one.where, "steps": [_of_step(step) for step in one.steps]}
            for one in journey.moves
        ],
        "stays": [
            {
                "workload": one.workload,
                "where": one.where,
                "reasons": [{"why": reason.why, "change": reason.change} for reason in one.reasons],
            }
            for one in journey.stays
        ],
        "arrived": list(journey.arrived),
        "unknown": list(journey.unknown),
    }


def _of_step(step: Step) -> dict[str, Any]:
    return {
        "do": step.do,
        "undo": step.undo,
        "commands": list(step.commands),
        "changes": differences.of_stack(step.changes) if step.changes else None,
    }
