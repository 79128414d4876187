"""A report for the terminal: findings by severity, the worst first."""

import io

from rich.console import Console
from rich.text import Text

from preflight.check import Report
from preflight.finding import SEVERITIES
from preflight.report.merged import Said, counted, merge

WIDTH = 100
"""Columns at most, and where the output is no terminal."""

_STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold blue"}


def console() -> Console:
    """Return the console of stdout, no wider than `WIDTH` and without colour where it is no terminal."""
    made = Console(highlight=False, emoji=False)
    made.width = min(made.width, WIDTH) if made.is_terminal else WIDTH
    return made


def render(report: Report) -> str:
    """Write a report as plain text."""
    text = io.StringIO()
    show(report, Console(file=text, width=WIDTH, highlight=False, emoji=False))
    return text.getvalue()


def show(report: Report, to: Console, *, quiet: bool = False) -> None:
    """Print a report; a quiet one is only its findings, and nothing where there is none."""
    said = merge(report.findings)
    several = len(report.stacks) > 1
    for severity in SEVERITIES:
        group = [one for one in said if one.finding.severity == severity]
        if group:
            to.print(Text(counted(len(group), severity), _STYLES[severity]))
            for one in group:
                _show(one, to, several)
    if not quiet:
        to.print(_summary(report), soft_wrap=True)


def _show(one: Said, to: Console, several: bool) -> None:
    finding = one.finding
    head = Text(f"  {finding.rule}", _STYLES[finding.severity])
    details = [one.name, one.where, ", ".join(one.stacks) if several else ""]
    head.append("  " + "  ".join(detail for detail in details if detail), "dim")
    to.print(head, soft_wrap=True)  # a terminal makes a link of a path that is not broken
    body = Text.assemble(finding.message, "\n", ("fix: ", "green"), finding.fix, overflow="fold")
    for line in body.wrap(to, to.width - 4):
        line.rstrip()
        to.print(Text.assemble("    ", line), soft_wrap=True)
    to.print()


def _summary(report: Report) -> Text:
    resources = sum(len(stack.graph.resources) for stack in report.stacks)
    names = ", ".join(stack.name for stack in report.stacks)
    counts = [counted(count, severity) for severity in SEVERITIES if (count := report.count(severity))]
    waived = f", {len(report.waived)} waived" if report.waived else ""
    worst = next((severity for severity in SEVERITIES if report.count(severity)), None)
    return Text.assemble(
        (", ".join(counts) or "nothing found", _STYLES[worst] if worst else "bold green"),
        f"{waived} in {counted(resources, 'resource')} of {report.project} ({names})",
    )
