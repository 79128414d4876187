"""What stacks cost a month, for the terminal and as JSON."""

import json
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from preflight import cost
from preflight.cost import CostChange, Estimate, Line, money
from preflight.report import PlainFormat, machine
from preflight.report.terminal import console


def publish(estimates: Sequence[Estimate], form: PlainFormat) -> None:
    """Write estimates to stdout."""
    if form == "json":
        sys.stdout.write(json.dumps(document(estimates), indent=2, ensure_ascii=False) + "\n")
        return
    for one in estimates:
        show(one, console())
    console().print(Text(f"Never in the sum: {'; '.join(cost.NOT_COUNTED)}.", "dim"))


def show(one: Estimate, to: Console) -> None:
    """Print one stack's estimate."""
    head = f"{one.stack}, {one.region}: {money(one.low, one.high)} USD a month, {priced()}"
    to.print(Text(head, "bold"), soft_wrap=True)
    rows = Table.grid(padding=(0, 2, 0, 2))
    for justify in ("right", "left", "left"):
        rows.add_column(justify=justify, no_wrap=True)
    for line in one.lines:
        rows.add_row(money(line.low, line.high), line.what, Text(line.how, "dim"))
    to.print(rows)
    parts = (
        ("By use, not in the sum", one.by_use, ""),
        ("Not priced, so the sum is too low", one.unpriced, "yellow"),
        (f"At the price of {cost.table()['fallback']}, for want of one here", one.elsewhere, ""),
        ("Hints, in USD a month", one.hints, ""),
    )
    for heading, told, style in parts:
        if told:
            to.print(Text(f"\n{heading}", "bold"))
            for line in told:
                to.print(Text(f"  {line}", style), soft_wrap=True)
    to.print()


def priced() -> str:
    """Say which prices they are."""
    return f"by the price table of {cost.table()['checked']}"


# ---- in a diff -------------------------------------------------------------------------------------------------------


def headline(change: CostChange) -> str:
    """Say what an edit adds to the bill, as `+46.72 USD a month: 229.49 to 272.00 → 276.20 to 318.72`."""
    before, after = change.before, change.after
    added = signed(after.low - before.low, after.high - before.high)
    return f"{added} USD a month: {money(before.low, before.high)} → {money(after.low, after.high)}"


def lines(change: CostChange) -> Iterator[tuple[str, str]]:
    """Yield a sign and a text for each part that costs something else, and what to know of the prices."""
    for old, new in change.lines:
        low, high = _ends(old), _ends(new)
        how = " → ".join(one.how for one in (old, new) if one)
        what = (new or old or Line(what="", how="", low=Decimal(), high=Decimal())).what
        sign = "+" if old is None else "-" if new is None else "~"
        yield sign, f"{what}: {signed(high[0] - low[0], high[1] - low[1])} ({how})"
    if change.after.unpriced:
        yield "", f"without a price, so not in it: {', '.join(change.after.unpriced)}"
    if change.after.elsewhere:
        yield "", f"prices of {cost.table()['fallback']} for {', '.join(change.after.elsewhere)}"


def of_change(change: CostChange) -> dict[str, Any]:
    """Return an edit's effect as plain values; amounts are text, as money is."""
    return {
        "currency": "USD",
        "per": "month",
        "tableOf": cost.table()["checked"].isoformat(),
        "before": _amounts(change.before),
        "after": _amounts(change.after),
        "added": {
            "low": _plain(change.after.low - change.before.low),
            "high": _plain(change.after.high - change.before.high),
        },
        "lines": [
            {"before": of_line(old) if old else None, "after": of_line(new) if new else None}
            for old, new in change.lines
        ],
        "unpriced": list(change.after.unpriced),
    }


def signed(low: Decimal, high: Decimal) -> str:
    """Write a difference with its sign."""
    ends = [("+" if one >= 0 else "-") + money(abs(one)) for one in (low, high)]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _ends(line: Line | None) -> tuple[Decimal, Decimal]:
    return (line.low, line.high) if line else (Decimal(), Decimal())


# ---- JSON ------------------------------------------------------------------------------------------------------------


def document(estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Return estimates as plain values; amounts are text, as money is."""
    return {
        "format": machine.FORMAT,
        "currency": "USD",
        "per": "month",
        "tableOf": cost.table()["checked"].isoformat(),
        "notCounted": list(cost.NOT_COUNTED),
        "stacks": [
            {
                "stack": one.stack,
                "region": one.region,
                **_amounts(one),
                "lines": [of_line(line) for line in one.lines],
                "byUse": list(one.by_use),
                "unpriced": list(one.unpriced),
                "pricedElsewhere": list(one.elsewhere),
                "hints": list(one.hints),
            }
            for one in estimates
        ],
    }


def of_line(line: Line) -> dict[str, str]:
    """Return one line as plain values."""
    return {"what": line.what, "how": line.how, "low": _plain(line.low), "high": _plain(line.high)}


def _amounts(one: Estimate) -> dict[str, str]:
    return {"low": _plain(one.low), "high": _plain(one.high)}


def _plain(amount: Decimal) -> str:
    return money(amount).replace(",", "")
