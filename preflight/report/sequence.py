"""Waves and critical path of a stack, for the terminal and as JSON."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from preflight import order
from preflight.graph import Graph
from preflight.order import Course, Step
from preflight.report import PlainFormat, machine
from preflight.report.merged import counted
from preflight.report.terminal import console


def publish(graphs: Mapping[str, Graph], form: PlainFormat) -> None:
    """Write the order of each stack to stdout."""
    courses = {
        stack: {"creation": order.creation(graph), "destruction": order.destruction(graph)}
        for stack, graph in graphs.items()
    }
    if form == "json":
        sys.stdout.write(json.dumps(document(courses), indent=2, ensure_ascii=False) + "\n")
        return
    to = console()
    for stack, both in courses.items():
        for what, course in both.items():
            show(f"{stack}: {what}", course, to)
    to.print(
        Text(
            f"At best, by the table of {order.read()} (preflight/durations.toml): typical times, one resource waiting "
            "for nothing but what it depends on. What packaged components make inside, and what controllers do, is in "
            "the time of whatever waits for it.",
            "dim",
        )
    )


def document(courses: Mapping[str, Mapping[str, Course]]) -> dict[str, Any]:
    """Return the order of stacks as plain values; times in seconds."""
    return {
        "format": machine.FORMAT,
        "tableOf": order.read().isoformat(),
        "stacks": [
            {
                "stack": stack,
                **{
                    what: {
                        "seconds": course.seconds,
                        "oneByOneSeconds": course.one_by_one,
                        "waves": [[step.resource.urn for step in wave] for wave in course.waves],
                        "criticalPath": [
                            {"resource": step.resource.urn, "start": step.start, "seconds": step.seconds}
                            for step in course.path
                        ],
                    }
                    for what, course in both.items()
                },
            }
            for stack, both in courses.items()
        ],
    }


def show(title: str, course: Course, to: Console) -> None:
    """Print one course."""
    head = f"{title}, {counted(len(course.steps), 'resource')} in {counted(len(course.waves), 'wave')}"
    to.print(Text(head, "bold"))
    waves = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    waves.add_column("Wave", justify="right")
    waves.add_column("At the same time")
    for number, wave in enumerate(course.waves, 1):
        waves.add_row(str(number), ", ".join(_names(wave)))
    to.print(waves)
    to.print(
        Text(
            f"\nCritical path: {clock(course.seconds)}; one resource after the other would take "
            f"{clock(course.one_by_one)}",
            "bold",
        )
    )
    path = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in ("Starts", "Takes"):
        path.add_column(column, justify="right")
    path.add_column("Resource", overflow="fold")
    for step in course.path:
        path.add_row(clock(step.start), clock(step.seconds), _label(step))
    to.print(path)
    to.print()


def _names(wave: tuple[Step, ...]) -> list[str]:
    return sorted(map(_label, wave))


def _label(step: Step) -> str:
    return f"{step.resource.type.rpartition(':')[2]} {step.resource.name}"


def clock(seconds: int) -> str:
    """Write seconds as minutes and seconds: 12:05."""
    return f"{seconds // 60}:{seconds % 60:02}"
