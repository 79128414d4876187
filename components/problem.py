"""What is refused, in the four parts that every refusal here has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One refused setting, in four parts."""

    path: str
    """Where it stands under the project's namespace: `cluster.nodeGroups.system.minSize`."""
    what: str
    value: str
    allowed: str
    change: str

    def __str__(self) -> str:
        """The four parts, a line each."""
        return (
            f"{self.path}: {self.what}\n"
            f"    value:   {self.value}\n"
            f"    allowed: {self.allowed}\n"
            f"    change:  {self.change}"
        )


class ProblemsError(pulumi.RunError):
    """Several problems at once. Pulumi prints it without a traceback; preflight finds the lines of its paths."""

    def __init__(self, head: str, problems: Sequence[Problem]) -> None:
        super().__init__("\n\n".join([head, *map(str, problems)]))
        self.problems = list(problems)
        self.paths = [problem.path for problem in problems]
