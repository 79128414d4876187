"""What the preflight says about a stack: findings, and how bad they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning", "note"]
"""An error stops the pull request; a warning wants a decision; a note says what could not be judged."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""The worst first."""


@dataclass(frozen=True, kw_only=True, order=True)
class Finding:
    """One thing that a rule has to say, in the order in which findings are reported."""

    stack: str
    rule: str
    severity: Severity
    resource: str
    """URN of the resource; empty where the finding is about the stack."""
    message: str
    """What is wrong, with the value."""
    fix: str
    """The change to make."""
    file: str = ""
    """Where the resource is registered, or the stack file; empty if not known."""
    line: int = 0
