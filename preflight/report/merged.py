"""Findings for people: what several stacks have in common is said once."""

from collections.abc import Iterable
from dataclasses import dataclass

from preflight.finding import SEVERITIES, Finding


@dataclass(frozen=True, kw_only=True)
class Said:
    """A finding, and the stacks that have it."""

    finding: Finding
    stacks: tuple[str, ...]

    @property
    def name(self) -> str:
        """The logical name of the resource; empty where the finding is about the stack."""
        return self.finding.resource.rpartition("::")[2]

    @property
    def where(self) -> str:
        """File and line, as `components/network.py:41`; empty if not known."""
        return f"{self.finding.file}:{self.finding.line}" if self.finding.line else self.finding.file


def merge(findings: Iterable[Finding]) -> list[Said]:
    """Put findings together that differ in the stack only; the worst first, else in their own order."""
    stacks: dict[tuple[object, ...], list[str]] = {}
    first: dict[tuple[object, ...], Finding] = {}
    for finding in findings:
        # A URN names the stack before its first double colon.
        resource = finding.resource.partition("::")[2]
        key = (SEVERITIES.index(finding.severity), finding.rule, resource, finding.message, finding.fix, finding.file)
        first.setdefault(key, finding)
        if finding.stack:
            stacks.setdefault(key, []).append(finding.stack)
    ordered = sorted(first, key=lambda key: key[0] if isinstance(key[0], int) else 0)
    return [Said(finding=first[key], stacks=tuple(stacks.get(key, ()))) for key in ordered]


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, as `1 error` or `2 errors`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
