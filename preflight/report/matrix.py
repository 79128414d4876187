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
from preflight.report import PlainFormat, machine
from preflight.report.terminal import console

_STYLES = {"admitted": "green", "refused": "red", "undecided": "yellow"}


def publish(matrix: Matrix, form: PlainFormat) -> None:
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
    """Put together the accounts that the same policies keep out everywhere; of most nobody thinks as a caller."""
    found: dict[object, list[Row]] = {}
    for row in rows:
        judges = tuple(verdict.judge for verdict in row.verdicts if verdict.word == "refused")
        alone = row.stranger or len(judges) < len(row.verdicts)
        found.setdefault(row.caller if alone else judges, []).append(row)
    return list(found.values())


def _callers(rows: Sequence[Row]) -> Text:
    first, more = rows[0], len(rows) - 1
    if first.stranger:
        return Text(first.caller, style="dim")
    if more:
        return Text.assemble((first.caller, "bold"), (f"  and {more} more with roles of their own", "dim"))
    pods = "" if first.pods else ", if they sign"
    return Text.assemble((first.caller, "bold"), (f"  as {first.role_arn.rpartition('/')[2]}{pods}", "dim"))


def _cell(verdict: Verdict, reasons: dict[str, int]) -> Text:
    told = f"{verdict.judge}: {verdict.decision.reason}"
    if verdict.decision.caveats:
        told += f"; but {'; '.join(verdict.decision.caveats)}"
    number = reasons.setdefault(told, len(reasons) + 1)
    return Text.assemble((verdict.word, _STYLES[verdict.word]), (f" {number}", "dim"))
