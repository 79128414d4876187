"""A report in each of its formats. Each is a module that is imported only if it is asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from preflight.errors import BadInputError

if TYPE_CHECKING:
    # The command line names the formats before the program starts; what a report is made of is imported after.
    from preflight.check import Report

Format: TypeAlias = Literal["text", "markdown", "json", "sarif", "html"]
DiffFormat: TypeAlias = Literal["text", "markdown", "json"]
PlainFormat: TypeAlias = Literal["text", "json"]


def publish(report: Report, form: Format, output: Path | None, *, quiet: bool) -> None:
    """Write a report to stdout, or to a file: then stdout gets the text for whoever watches.

    Raises BadInputError if the file cannot be written.
    """
    if output is not None:
        write(output, render(report, form))
    if output is None and form != "text":
        sys.stdout.write(render(report, form))
    elif output is None or form != "text":
        from preflight.report import terminal

        terminal.show(report, terminal.console(), quiet=quiet)


def write(output: Path, text: str) -> None:
    """Write a file. Raises BadInputError where that fails."""
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise BadInputError(
            f"The report cannot be written.\n"
            f"  found:   {output}: {problem.strerror}\n"
            f"  allowed: a file in a folder that is there and that you may write to\n"
            f"  change:  name another file with --output, or make its folder"
        ) from problem


def render(report: Report, form: Format) -> str:
    """Write a report as text for a file or a pipe."""
    match form:
        case "text":
            from preflight.report import terminal

            return terminal.render(report)
        case "markdown":
            from preflight.report import markdown

            return markdown.render(report)
        case "json":
            from preflight.report import machine

            return machine.render(report)
        case "sarif":
            from preflight.report import sarif

            return sarif.render(report)
        case "html":
            from preflight.report import html

            return html.render(report)
