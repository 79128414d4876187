"""A report as Markdown that fits the comment of a pull request."""

import html
import re

from preflight.check import Report
from preflight.finding import SEVERITIES
from preflight.report.merged import Said, counted, merge
from preflight.report.picture import Box, Picture, identities, requests

LIMIT = 65_536
"""Characters that GitHub takes in a comment."""

_POINTER = "\n\n**Cut here: a comment has no room for more.** The whole report is in the check's own output: `{}`.\n"
MAX_ARROWS = 150
"""Arrows of a picture in a comment; more of them are unreadable there, and GitHub stops drawing at 500."""

_SIGNS = {"error": "🛑", "warning": "⚠️", "note": "ℹ️"}  # noqa: RUF001 GitHub's own sign of a note
_SHAPES = {
    "account": ("([", "])"),
    "role": ("[", "]"),
    "policy": ("[/", "/]"),
    "ingress": ("([", "])"),
    "service": ("[", "]"),
    "workload": ("[[", "]]"),
}


def render(report: Report) -> str:
    """Write a report as Markdown, cut with a pointer to the whole one at GitHub's limit."""
    said = merge(report.findings)
    several = len(report.stacks) > 1
    sections = [_heading(report)]
    for severity in SEVERITIES:
        group = [one for one in said if one.finding.severity == severity]
        sections += [_finding(one, several) for one in group]
    if report.waived:
        rows = [
            f"| `{one.finding.rule}` | {_cell(one.finding.resource.rpartition('::')[2])} | {_cell(one.waiver.reason)} "
            f"| {one.waiver.expires} |"
            for one in report.waived
        ]
        table = "\n".join(["| rule | resource | reason | until |", "|---|---|---|---|", *rows])
        sections.append(folded(f"{len(report.waived)} waived", table))
    for stack in report.stacks:
        pictures = [_drawn(one) for one in (identities(stack.graph), requests(stack.graph)) if one.arrows]
        if pictures:
            sections.append(folded(f"Wiring of {stack.name}", "\n\n".join(pictures)))
    return fit(sections, "preflight check")


def _heading(report: Report) -> str:
    counts = ", ".join(counted(report.count(severity), severity) for severity in SEVERITIES if report.count(severity))
    resources = sum(len(stack.graph.resources) for stack in report.stacks)
    stacks = ", ".join(f"`{stack.name}`" for stack in report.stacks)
    worst = next((severity for severity in SEVERITIES if report.count(severity)), None)
    sign = _SIGNS[worst] if worst else "✅"
    return (
        f"## {sign} Preflight: {counts or 'nothing found'}\n\n"
        f"{counted(resources, 'resource')} of {escaped(report.project)} ({stacks}), judged as of {report.as_of}."
    )


def _finding(one: Said, several: bool) -> str:
    finding = one.finding
    where = " · ".join(
        part
        for part in (
            f"`{one.name}`" if one.name else "",
            f"`{one.where}`" if one.where else "",
            ", ".join(one.stacks) if several else "",
        )
        if part
    )
    head = f"{_SIGNS[finding.severity]} <code>{finding.rule}</code> {html.escape(one.name or 'the stack')}"
    body = f"{marked(finding.message)}\n\n**Fix:** {marked(finding.fix)}\n\n{where}"
    # What stops the pull request is open for everybody to see.
    return folded(head, body.rstrip(), is_open=finding.severity == "error")


def folded(summary: str, body: str, *, is_open: bool = False) -> str:
    """Return a section that opens on a click; the summary is HTML, the body Markdown."""
    return f"<details{' open' if is_open else ''}><summary>{summary}</summary>\n\n{body}\n\n</details>"


def escaped(text: str) -> str:
    """Return plain text so that Markdown shows it as it is: nothing of a program can mark up, link or mention."""
    text = html.escape(re.sub(r"([\\`*_{}\[\]#|~!$])", r"\\\1", text), quote=False)
    return re.sub(r"@(?=\w)", "@\u200b", text)


def marked(text: str) -> str:
    """Return a message with what it quotes in backticks as code, and the rest as it is."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escaped(text)
    return "".join(f"`{part}`" if number % 2 else escaped(part) for number, part in enumerate(parts))


def _cell(text: str) -> str:
    return escaped(" ".join(text.split()))


def fit(sections: list[str], command: str) -> str:
    """Join sections up to GitHub's limit, never in the middle of one; where some are left out, say so."""
    whole = "\n\n".join(sections) + "\n"
    if len(whole) <= LIMIT:
        return whole
    pointer = _POINTER.format(command)
    text = sections[0]
    for section in sections[1:]:
        if len(text) + 2 + len(section) + len(pointer) > LIMIT:
            break
        text += f"\n\n{section}"
    return text[: LIMIT - len(pointer)] + pointer


def _drawn(picture: Picture) -> str:
    if len(picture.arrows) > MAX_ARROWS:
        return f"{picture.title}: {len(picture.arrows)} arrows, too many to read here; `--format html` draws them."
    return f"**{picture.title}**\n\n{mermaid(picture)}"


def mermaid(picture: Picture) -> str:
    """Return a picture as a Mermaid flow chart in its fence."""
    boxes: dict[Box, str] = {}
    lines = ["```mermaid", "flowchart LR"]
    for heading, column in picture.columns:
        if not column:
            continue
        lines.append(f'  subgraph "{heading}"')
        for box in column:
            boxes[box] = f"n{len(boxes)}"
            begin, end = _SHAPES[box.kind]
            lines.append(f'    {boxes[box]}{begin}"{_label(box.label)}"{end}')
        lines.append("  end")
    for arrow in picture.arrows:
        line = "-->" if arrow.open else "-.-x"
        words = [arrow.label, "" if arrow.open else "refused"]
        label = f'|"{_label(" ".join(word for word in words if word))}"|' if any(words) else ""
        lines.append(f"  {boxes[arrow.tail]} {line}{label} {boxes[arrow.head]}")
    return "\n".join([*lines, "```"])


def _label(text: str) -> str:
    """Return text for a quoted label. What would end it or mark it up gives way: not every renderer knows escapes."""
    return re.sub(r'["#&<>`\\;]', "·", text)
