"""A diff for the terminal, as Markdown and as JSON: what it means first, what causes it after."""

import io
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from rich.console import Console
from rich.text import Text

from preflight import create_only
from preflight.changes import ABSENT, Change
from preflight.diff import KINDS, Diff, ResourceChange, RightsChange, StackDiff
from preflight.finding import Finding
from preflight.graph import UNKNOWN, Secret
from preflight.report import DiffFormat, bill, machine, write
from preflight.report.markdown import escaped, fit, folded
from preflight.report.merged import counted
from preflight.report.terminal import WIDTH, console
from preflight.rights import Right, is_policy

Sign: TypeAlias = Literal["+", "-", "~", ""]
STYLES = {"+": "green", "-": "red", "~": "yellow", "": ""}
_MANY = 12
"""Rights of one service that are listed before the rest is only counted."""


def publish(diff: Diff, form: DiffFormat, output: Path | None) -> None:
    """Write a diff to stdout, or to a file: then stdout gets the text for whoever watches.

    Raises BadInputError if the file cannot be written.
    """
    if output is not None:
        write(output, render(diff, form))
    if output is None and form != "text":
        sys.stdout.write(render(diff, form))
    elif output is None or form != "text":
        show(diff, console())


def render(diff: Diff, form: DiffFormat) -> str:
    """Write a diff as text for a file or a pipe."""
    match form:
        case "text":
            text = io.StringIO()
            show(diff, Console(file=text, width=WIDTH, highlight=False, emoji=False))
            return text.getvalue()
        case "markdown":
            return _markdown(diff)
        case "json":
            return json.dumps(document(diff), indent=2, ensure_ascii=False) + "\n"


# ---- the same words for both -----------------------------------------------------------------------------------------


class Part:
    """A heading with lines below it; each line has a sign and a depth."""

    def __init__(self, heading: str, *, is_open: bool = True) -> None:
        self.heading = heading
        self.is_open = is_open
        self.lines: list[tuple[int, Sign, str]] = []

    def add(self, depth: int, sign: Sign, text: str) -> None:
        """Add a line."""
        self.lines.append((depth, sign, text))


def _headline(diff: Diff, stack: StackDiff) -> str:
    if stack.stack in diff.only_here:
        new = f"{len(stack.resources)} resources are new"
        costs = f", {bill.headline(stack.cost)}, {bill.priced()}" if stack.cost else ""
        return f"{stack.stack}: only here, {diff.commit} has no such stack; {new}{costs}"
    if stack.same:
        return f"{stack.stack}: nothing changed against {diff.commit}"
    counts = Counter(one.kind for one in stack.resources)
    told = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind])
    return f"{stack.stack} against {diff.commit}: {told or 'no resource changed'}"


def parts(stack: StackDiff) -> Iterator[Part]:
    """Yield what differs in a stack: who may do what, then the resources that cannot be got back, then the rest."""
    if stack.rights:
        part = Part("IAM")
        for change in stack.rights:
            _add_rights(part, change)
        yield part
    yield from (part for kind in KINDS if (part := _of_kind(stack, kind)).lines)
    if len(stack.waves) > 1:
        part = Part("In this order")
        for number, wave in enumerate(stack.waves, 1):
            part.add(0, "", f"{number}. " + ", ".join(_called(urn) for urn in wave))
        yield part
    if stack.cost:
        part = Part(f"Cost, {bill.priced()}")
        part.add(0, "", bill.headline(stack.cost))
        for sign, line in bill.lines(stack.cost):
            part.add(1, cast("Sign", sign), line)
        yield part
    if stack.newly or stack.no_longer:
        part = Part("Who can become whom")
        for one in stack.newly:
            part.add(0, "+", str(one))
        for one in stack.no_longer:
            part.add(0, "-", str(one))
        yield part
    if stack.outputs:
        part = Part("Stack outputs", is_open=False)
        for one in stack.outputs:
            part.add(0, "~", _words(one))
        yield part


def _called(urn: str) -> str:
    *_, types, name = urn.split("::")
    return f"{types.rpartition(':')[2]} {name}"


def _add_rights(part: Part, change: RightsChange) -> None:
    part.add(0, "", change.holder)
    for sign, rights, managed in (("+", change.gained, change.attached), ("-", change.lost, change.detached)):
        for line in _told(rights):
            part.add(1, cast("Sign", sign), line)
        for name in managed:
            part.add(1, cast("Sign", sign), f"managed policy {name}")


def _told(rights: Sequence[Right]) -> Iterator[str]:
    """Yield rights in words, whom it admits first; many of one service on the same resource are counted."""
    groups: dict[tuple[object, ...], list[Right]] = {}
    for right in sorted(rights, key=lambda one: (not one.principal, one)):
        service = right.action.partition(":")[0]
        key = (right.deny, right.principal, right.subject, service, right.resource, right.conditions)
        groups.setdefault(key, []).append(right)
    for group in groups.values():
        if len(group) <= _MANY:
            yield from map(str, group)
        else:
            names = ", ".join(right.action.partition(":")[2] for right in group[:_MANY])
            more = f"{names} and {len(group) - _MANY} more"
            yield str(group[0]).replace(group[0].action, f"{group[0].action.partition(':')[0]}: {more}", 1)


def _of_kind(stack: StackDiff, kind: str) -> Part:
    by = f", by the table of {create_only.checked()}" if kind == "replaced" else ""
    part = Part(f"{kind.capitalize()}{by}", is_open=kind != "created")
    sign: Sign = {"created": "+", "deleted": "-"}.get(kind, "~")  # type: ignore[assignment]
    for one in stack.resources:
        if one.kind != kind:
            continue
        lines = list(_lines(one))
        if kind == "changed" and not lines:
            continue  # the rights above say it all
        part.add(0, sign, f"{one.name}  {one.type}  {one.where}".rstrip())
        for line in lines:
            part.add(1, "", line)
    return part


def _lines(one: ResourceChange) -> Iterator[str]:
    if one.moved_from:
        yield f"moved here from {one.moved_from}, by its alias"
    if one.because:
        yield f"only a new resource can have another {', '.join(one.because)}"
    for change in one.changes:
        if is_policy(change.before) and is_policy(change.after):
            if not one.in_words:
                yield f"{change.path}: written differently, with the same rights"
        else:
            yield _words(change)


def _words(change: Change) -> str:
    if change.before is ABSENT:
        return f"{change.path}: {_value(change.after)} is new"
    if change.after is ABSENT:
        return f"{change.path}: {_value(change.before)} is gone"
    return f"{change.path}: {_value(change.before)} → {_value(change.after)}"


def _value(value: object) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, sort_keys=True)


def _plain(value: object) -> object:
    if isinstance(value, Secret):
        return "[secret]"
    if value is UNKNOWN:
        return "[known after the update]"
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [_plain(item) for item in cast("list[object]", value)]
    return value


def _found(diff: Diff) -> Iterator[Part]:
    for heading, sign, findings in (("New findings", "+", diff.found), ("Findings gone", "-", diff.gone)):
        if findings:
            part = Part(heading)
            for one in findings:
                _add_finding(part, cast("Sign", sign), one)
            yield part


def _add_finding(part: Part, sign: Sign, one: Finding) -> None:
    where = f"{one.file}:{one.line}" if one.line else one.file
    details = (one.severity, one.rule, one.resource.rpartition("::")[2], one.stack, where)
    part.add(0, sign, "  ".join(detail for detail in details if detail))
    part.add(1, "", one.message)
    if sign == "+":
        part.add(1, "", f"fix: {one.fix}")


def _elsewhere(diff: Diff) -> Iterator[str]:
    """Yield what is said of stacks that are not compared."""
    shown = {stack.stack for stack in diff.stacks}
    for stack in diff.only_here:
        if stack not in shown:
            yield f"{stack}: only here, {diff.commit} has no such stack"
    for stack in diff.only_there:
        yield f"{stack}: only at {diff.commit}, its file is gone here; what it made stays until it is destroyed"


_LIMITS = "Two programs are compared, not what is deployed: drift, and what AWS would refuse, show in `pulumi preview`."


# ---- terminal --------------------------------------------------------------------------------------------------------


def show(diff: Diff, to: Console) -> None:
    """Print a diff."""
    for stack in diff.stacks:
        to.print(Text(_headline(diff, stack), "bold"), soft_wrap=True)
        if stack.stack not in diff.only_here:
            _print(parts(stack), to)
    for line in _elsewhere(diff):
        to.print(Text(line, "bold"), soft_wrap=True)
    _print(_found(diff), to)
    if not diff.same:
        to.print(Text(f"\n{_LIMITS}", "dim"), soft_wrap=True)


def _print(parts: Iterable[Part], to: Console) -> None:
    for part in parts:
        to.print(Text(f"\n{part.heading}", "bold"))
        for depth, sign, text in part.lines:
            # Not wrapped: a line can then be searched for and copied whole.
            to.print(Text(f"{'  ' * (depth + 1)}{sign}{' ' if sign else ''}{text}", STYLES[sign]), soft_wrap=True)


# ---- Markdown --------------------------------------------------------------------------------------------------------


def _markdown(diff: Diff) -> str:
    sections = [f"## Preflight: {escaped(diff.project)} against {escaped(str(diff.commit))}"]
    for stack in diff.stacks:
        sections.append(f"### {escaped(_headline(diff, stack))}")
        if stack.stack not in diff.only_here:
            sections += [_section(part) for part in parts(stack)]
    sections += [f"### {escaped(line)}" for line in _elsewhere(diff)]
    sections += [_section(part) for part in _found(diff)]
    if not diff.same:
        sections.append(f"<sub>{_LIMITS.replace('`', '')}</sub>")
    return fit(sections, f"preflight diff {diff.commit.name}")


def _section(part: Part) -> str:
    # GitHub colours lines by their first character; a fence needs no escaping, if nothing in it can end it.
    lines = [f"{sign or ' '} {'  ' * depth}{text}".replace("```", "`\u200b``") for depth, sign, text in part.lines]
    flat = [line.replace("\n", " ").replace("\r", " ") for line in lines]
    body = "\n".join(["```diff", *(f"! {line[2:]}" if line.startswith("~") else line for line in flat), "```"])
    return folded(
        f"<b>{part.heading}</b> ({counted(_heads(part), 'entry').replace('entrys', 'entries')})",
        body,
        is_open=part.is_open,
    )


def _heads(part: Part) -> int:
    return sum(depth == 0 for depth, _, _ in part.lines)


# ---- JSON ------------------------------------------------------------------------------------------------------------


def document(diff: Diff) -> dict[str, Any]:
    """Return a diff as plain values."""
    return {
        "format": machine.FORMAT,
        "project": diff.project,
        "ref": diff.commit.name,
        "commit": diff.commit.id,
        "same": diff.same,
        "onlyHere": list(diff.only_here),
        "onlyAtRef": list(diff.only_there),
        "replacementsByTableOf": create_only.checked().isoformat(),
        "stacks": [of_stack(stack) for stack in diff.stacks],
        "findingsNew": [machine.of_finding(one) for one in diff.found],
        "findingsGone": [machine.of_finding(one) for one in diff.gone],
    }


def of_stack(stack: StackDiff) -> dict[str, Any]:
    """Return what differs in one stack as plain values."""
    return {
        "stack": stack.stack,
        "rights": [
            {
                "holder": one.holder,
                "resource": one.urn,
                "gained": [_of_right(right) for right in one.gained],
                "lost": [_of_right(right) for right in one.lost],
                "attached": list(one.attached),
                "detached": list(one.detached),
            }
            for one in stack.rights
        ],
        "resources": [
            {
                "kind": one.kind,
                "resource": one.urn,
                "type": one.type,
                "where": one.where,
                "movedFrom": one.moved_from,
                "replacedBecauseOf": list(one.because),
                "changes": [_of_change(change) for change in one.changes],
            }
            for one in stack.resources
        ],
        "newly": [asdict(one) for one in stack.newly],
        "noLonger": [asdict(one) for one in stack.no_longer],
        "outputs": [_of_change(change) for change in stack.outputs],
        "waves": [list(wave) for wave in stack.waves],
        "cost": bill.of_change(stack.cost) if stack.cost else None,
    }


def _of_right(right: Right) -> dict[str, Any]:
    return {**asdict(right), "conditions": list(right.conditions), "words": str(right)}


def _of_change(change: Change) -> dict[str, Any]:
    sides = (("before", change.before), ("after", change.after))
    return {"path": change.path} | {name: _plain(value) for name, value in sides if value is not ABSENT}
