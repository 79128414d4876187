"""`preflight check`: every rule on every stack, less what is waived.

What is reported stands in a `Report`; `preflight.report` writes one in each of the formats.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import cast

from preflight import rules, waivers
from preflight.finding import SEVERITIES, Finding, Severity
from preflight.graph import Graph
from preflight.program import Program, Recording, Running
from preflight.rules.rule import Hit, Rule, Stack
from preflight.waivers import Waived, Waiver


def _judged_by_program(_: Stack) -> Iterable[Hit]:
    """Find nothing: the program refuses its settings before it registers a resource that a rule could look at."""
    return ()


_REFUSED = Rule(
    id="settings-refused",
    title="The program refuses a setting",
    severity="error",
    looks_at="the program's own checks of its stack file: an exception derived from pulumi.RunError",
    why="Nothing is deployed, and nothing else of the stack could be judged.",
    source="https://www.pulumi.com/docs/iac/concepts/config/",
    fix="Change the setting as the message says.",
    check=_judged_by_program,
)

RULES: dict[str, Rule] = {**rules.RULES, **waivers.RULES, _REFUSED.id: _REFUSED}
"""Every rule that a report can name, those included that speak of waivers and of settings."""


@dataclass(frozen=True, kw_only=True)
class CheckedStack:
    """One stack that was judged, with the graph of its update."""

    name: str
    file: str
    """Its stack file, relative to the program's folder."""
    graph: Graph


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a check has to say."""

    project: str
    directory: Path
    as_of: date
    """The day that expiry and support windows were judged at."""
    stacks: Sequence[CheckedStack]
    findings: Sequence[Finding]
    """Those that count: by stack, the worst first."""
    waived: Sequence[Waived]
    complete: bool = True
    """False where the program refused its settings, so that there was nothing to judge."""

    def count(self, severity: Severity) -> int:
        """How many findings there are of one severity."""
        return sum(finding.severity == severity for finding in self.findings)


def run(running: Running, as_of: date) -> Report:
    """Wait for the recordings of a program and judge them.

    Raises BadInputError for a bad waiver or refused settings, ProgramFailedError if the program failed.
    """
    agreed = waivers.read(running.program.directory, rules.RULES)
    others = [stack for stack in running.program.stacks if stack not in running.stacks]
    return judge(running.program, running.checked(), agreed, as_of, others)


def judge(
    program: Program,
    recordings: Mapping[str, Sequence[Recording]],
    agreed: Sequence[Waiver],
    as_of: date,
    others: Sequence[str] = (),
) -> Report:
    """Judge recordings by stack, each a preview and an update; `others` are the program's stacks not among them."""
    stacks: list[CheckedStack] = []
    found: list[Finding] = []
    decoded = {
        name: {recording["mode"]: Graph.of(recording) for recording in modes} for name, modes in recordings.items()
    }
    updates = [graphs["update"] for graphs in decoded.values()]
    system = Graph.together(updates) if len(updates) > 1 or any(graph.beside for graph in updates) else None
    for name, modes in recordings.items():
        graphs = decoded[name]
        stack = Stack(
            name=name,
            graph=graphs["update"],
            system=system,
            preview=graphs.get("preview"),
            invokes=cast("Sequence[Mapping[str, object]]", modes[-1]["invokes"]),
            outputs=modes[-1]["outputs"],
            as_of=as_of,
        )
        file = program.stack_file(name).relative_to(program.directory)
        stacks.append(CheckedStack(name=name, file=str(file), graph=stack.graph))
        found += rules.check(stack)
    left, waived = waivers.apply(agreed, found, as_of, [stack.name for stack in stacks], others)
    return Report(
        project=program.project,
        directory=program.directory,
        as_of=as_of,
        stacks=stacks,
        findings=sorted(left, key=_order),
        waived=sorted(waived, key=lambda one: _order(one.finding)),
    )


def refusals(running: Running, as_of: date) -> Report | None:
    """Return the refused settings of a program as findings at the lines of its stack files; None if it refused none.

    For reports that other tools read; a person gets the same from `run` as an error.
    """
    found: list[Finding] = []
    for recording in running.recordings():
        error, stack = recording["error"], recording["stack"]
        if error is None or error["kind"] != "refused":
            continue
        for path in error["paths"] or [""]:
            file, _, line = running.line(stack, path).partition(":")
            found.append(
                Finding(
                    stack=stack,
                    rule=_REFUSED.id,
                    severity=_REFUSED.severity,
                    resource="",
                    message=_part_about(path, error["message"]),
                    fix=_REFUSED.fix,
                    file=file,
                    line=int(line or 0),
                )
            )
    program = running.program
    distinct = sorted(set(found), key=_order)  # the program refuses a setting in each mode
    if not distinct:
        return None
    return Report(
        project=program.project,
        directory=program.directory,
        as_of=as_of,
        stacks=(),
        findings=distinct,
        waived=(),
        complete=False,
    )


def _part_about(path: str, message: str) -> str:
    """Return the paragraph of a message that is about one setting; all of it where there is none."""
    paragraphs = message.split("\n\n")
    return next((part for part in paragraphs if path and part.startswith(f"{path}:")), message)


def _order(finding: Finding) -> tuple[str, int, Finding]:
    return finding.stack, SEVERITIES.index(finding.severity), finding
