"""Who may call whom, for the terminal and as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from preflight.call_matrix import Matrix, Row
from preflight.calls import Verdict
from preflight.report import CallsFormat, machine
from preflight.report.terminal import console

_NAMED = 3
"""Callers of one row that are named before the rest is only counted."""
_STYLES = {"admitted": "green", "refused": "red", "undecided": "yellow"}


def publish(matrix: Matrix, form: CallsFormat) -> None:
    """Write a matrix to stdout."""
    if form == "json":
        sys.stdout.write(json.dumps(document(matrix), indent=2, ensure_ascii=False) + "\n")
    else:
        show(matrix, console())


def document(matrix: Matrix) -> dict[str, Any]:
    """Return a matrix as plain values."""
    return {
        "format": machine.FORMAT,
        "stacks": list(matrix.stacks),
        "services": [one.host for one in matrix.services],
        "callers": [
            {
                "caller": row.caller,
                "role": row.role_arn or None,
                "stranger": row.stranger,
                "pods": list(row.pods),
                "calls": {
                    service.host: {
                        "verdict": verdict.word,
                        "by": verdict.judge,
                        "statement": verdict.decision.statement,
                        "reason": verdict.decision.reason,
                        "unless": list(verdict.decision.caveats),
                    }
                    for service, verdict in zip(matrix.services, row.verdicts, strict=True)
                },
            }
            for row in matrix.rows
        ],
    }


def show(matrix: Matrix, to: Console) -> None:
    """Print a matrix, and below it who decides each of its cells."""
    if not matrix.services:
        to.print(f"No HTTPRoute of VPC Lattice in {', '.join(matrix.stacks)}.")
        return
    reasons: dict[str, int] = {}
    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    rows.add_column("Caller", overflow="fold")
    for service in matrix.services:
        rows.add_column(service.host, overflow="fold")
    for together in _alike(matrix.rows):
        cells = [_cell(verdict, reasons) for verdict in together[0].verdicts]
        rows.add_row(_callers(together), *cells)
    to.print(rows)
    notes = Table.grid(padding=(0, 1, 0, 0))
    notes.add_column(style="dim", justify="right")
    notes.add_column(overflow="fold")
    for reason, number in reasons.items():
        notes.add_row(str(number), Text(reason))
    to.print()
    to.print(notes)


def _alike(rows: Sequence[Row]) -> list[list[Row]]:
    """Put together the accounts of which the same is to be said."""
    found: dict[object, list[Row]] = {}
    for row in rows:
        said = tuple((verdict.judge, verdict.decision.reason) for verdict in row.verdicts)
        found.setdefault((row.stranger and row.caller, said), []).append(row)
    return list(found.values())


def _callers(rows: Sequence[Row]) -> Text:
    names = [row.caller for row in rows]
    more = len(names) - _NAMED
    name = ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    first = rows[0]
    if first.stranger:
        return Text(name, style="dim")
    signs = ", ".join(dict.fromkeys(row.role_arn.rpartition("/")[2] for row in rows[:_NAMED]))
    pods = "" if any(row.pods for row in rows) else ", if they sign"
    return Text.assemble((name, "bold"), (f"  as {signs}{pods}", "dim"))


def _cell(verdict: Verdict, reasons: dict[str, int]) -> Text:
    told = f"{verdict.judge}: {verdict.decision.reason}"
    if verdict.decision.caveats:
        told += f"; but {'; '.join(verdict.decision.caveats)}"
    number = reasons.setdefault(told, len(reasons) + 1)
    return Text.assemble((verdict.word, _STYLES[verdict.word]), (f" {number}", "dim"))
