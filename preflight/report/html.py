"""A report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

from itertools import groupby

from jinja2 import Environment, PackageLoader
from markupsafe import Markup, escape

from preflight.check import RULES, CheckedStack, Report
from preflight.finding import SEVERITIES
from preflight.report.drawing import Drawing, networks, wiring
from preflight.report.merged import counted, merge
from preflight.report.picture import identities, requests


def render(report: Report) -> str:
    """Write a report as HTML."""
    environment = Environment(
        loader=PackageLoader("preflight.report", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["marked"] = marked
    return environment.get_template("page.html.j2").render(
        report=report,
        counted=counted,
        severities=SEVERITIES,
        findings=merge(report.findings),
        rules=RULES,
        stacks=[(stack, list(_drawings(stack)), _resources(stack)) for stack in report.stacks],
    )


def marked(text: str) -> Markup:
    """Return a message with what it quotes in backticks as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )


def _drawings(stack: CheckedStack) -> list[Drawing]:
    wires = [wiring(picture) for picture in (identities(stack.graph), requests(stack.graph)) if picture.arrows]
    return [*networks(stack.graph), *wires]


def _resources(stack: CheckedStack) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the resources by type: name, and the line that registers it."""
    ordered = sorted(stack.graph.resources.values(), key=lambda one: (one.type, one.name))
    return [
        (type_, [(one.name, one.where) for one in group]) for type_, group in groupby(ordered, lambda one: one.type)
    ]
