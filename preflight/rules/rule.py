"""What a rule is, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import cast

from preflight.finding import Finding, Severity
from preflight.graph import UNKNOWN, Graph, Resource, Secret


class UnknownValueError(Exception):
    """A rule came upon a value that is known only after the update; it is skipped, and a note says so."""

    def __init__(self, resource: Resource, path: str) -> None:
        super().__init__(f"{path} of {resource.name} is known only after the update")


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One stack as the rules see it."""

    name: str
    graph: Graph
    """With every value known, as far as the recorder can make one up."""
    system: Graph | None = None
    """All stacks that are judged together, in one graph; None for this one alone."""
    preview: Graph | None = None
    """The same program as a preview sees it; None where there is no second run to compare with."""
    invokes: Sequence[Mapping[str, object]] = ()
    """Look-ups that the program made while it ran: `token`, `args`, `answer`, `origin`."""
    outputs: Mapping[str, object] = field(default_factory=dict[str, object])
    """What the stack hands out."""
    as_of: date
    """The day that support windows are judged at."""


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One place where a rule fires."""

    resource: Resource | None
    message: str
    """What is wrong, with the value and what is allowed."""
    fix: str
    """The change to make, with the names to write."""


Check = Callable[[Stack], Iterable[Hit]]

_RUN = "Run `preflight check`, which makes up values for what is not known yet."
_STATE = (
    "State what it comes from in preflight.toml: outputs of another stack under [stacks], answers to look-ups under "
    "[answers]; what a packaged component makes stays unknown."
)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule: what the rule reference says about it, and the function that finds it."""

    id: str
    """Stable, kebab-case; waivers and reports name it."""
    title: str
    """What is wrong when it fires, in a few words."""
    severity: Severity
    looks_at: str
    """Which resources and which of their values."""
    why: str
    """What happens to who ignores it."""
    source: str
    """Address of the page that says so."""
    fix: str
    """What to do about it in general; a finding says it for its own case."""
    check: Check

    def findings(self, stack: Stack) -> list[Finding]:
        """Everything that this rule has to say about a stack, a note included where a value is not known."""
        found: list[Finding] = []
        try:
            for hit in self.check(stack):
                source = hit.resource.source if hit.resource is not None else None
                found.append(
                    Finding(
                        stack=stack.name,
                        rule=self.id,
                        severity=self.severity,
                        resource=hit.resource.urn if hit.resource is not None else "",
                        message=hit.message,
                        fix=hit.fix,
                        file=source["file"] if source else "",
                        line=source["line"] if source else 0,
                    )
                )
        except UnknownValueError as unknown:
            found.append(
                Finding(
                    stack=stack.name,
                    rule=self.id,
                    severity="note",
                    resource="",
                    message=f"not judged to the end: {unknown}",
                    fix=_STATE if stack.preview is not None else _RUN,
                )
            )
        return found


def rule(
    id: str,  # noqa: A002 - the field's own name
    *,
    title: str,
    severity: Severity,
    looks_at: str,
    why: str,
    source: str,
    fix: str,
) -> Callable[[Check], Rule]:
    """Make a rule of the function below it."""

    def made(check: Check) -> Rule:
        return Rule(
            id=id, title=title, severity=severity, looks_at=looks_at, why=why, source=source, fix=fix, check=check
        )

    return made


def value(resource: Resource, path: str = "") -> object:
    """The value at a dotted path of a resource, outputs before inputs, secrets revealed; None where there is none.

    A list is entered by its index: `rules.0.http`. Keys with dots are reached through their mapping.

    Raises:
        UnknownValueError: the value, or something on the way to it, is not known yet.
    """
    found: object = {**resource.inputs, **resource.outputs}
    for part in path.split(".") if path else ():
        found = _bare(found)
        if found is UNKNOWN:
            raise UnknownValueError(resource, path)
        if isinstance(found, Mapping):
            found = cast("Mapping[str, object]", found).get(part)
        elif isinstance(found, list) and part.isdigit() and int(part) < len(cast("list[object]", found)):
            found = cast("list[object]", found)[int(part)]
        else:
            return None
    return _known(resource, path, found)


def text(resource: Resource, path: str) -> str:
    """The same as text; empty where there is none."""
    found = value(resource, path)
    return "" if found is None else str(found)


def mapping(resource: Resource, path: str) -> dict[str, object]:
    """The same as a mapping; empty where there is none."""
    found = value(resource, path)
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}


def items(resource: Resource, path: str) -> list[object]:
    """The same as a list; empty where there is none."""
    found = value(resource, path)
    return cast("list[object]", found) if isinstance(found, list) else []


def _bare(found: object) -> object:
    return _bare(found.value) if isinstance(found, Secret) else found


def _known(resource: Resource, path: str, found: object) -> object:
    """The value without secret wrappers at any depth, none of it unknown."""
    found = _bare(found)
    if found is UNKNOWN:
        raise UnknownValueError(resource, path)
    if isinstance(found, Mapping):
        return {key: _known(resource, path, item) for key, item in cast("Mapping[str, object]", found).items()}
    if isinstance(found, list):
        return [_known(resource, path, item) for item in cast("list[object]", found)]
    return found
