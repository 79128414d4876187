"""Waivers: findings that somebody has decided to live with, until a day.

They stand in the preflight.toml beside the program:

    [[waiver]]
    rule = "cluster-public-endpoint"
    resource = "cluster-*"        # glob over the logical name or the URN
    reason = "The office's range is not fixed before the move."
    expires = 2027-01-31          # the last day that it counts
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import cast

from preflight import program
from preflight.errors import BadInputError
from preflight.finding import Finding, Severity
from preflight.rules.rule import Hit, Rule, Stack

_KEYS = ("rule", "resource", "reason", "expires")
_HEADER = re.compile(r"\s*\[\[\s*waiver\s*\]\]")


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """One table of preflight.toml."""

    rule: str
    resource: str
    """Glob over the logical name or the URN; `*` also covers findings about the stack as a whole."""
    reason: str
    expires: date
    """The last day that it counts."""
    line: int
    """Where its table begins in preflight.toml; 0 if it is written inline."""

    def covers(self, finding: Finding) -> bool:
        """Whether it is about this finding, expired or not."""
        names = (finding.resource, finding.resource.rpartition("::")[2])
        return finding.rule == self.rule and any(fnmatchcase(name, self.resource) for name in names)

    def __str__(self) -> str:
        """What it waives, as a message names it."""
        return f"the waiver of {self.rule} on {self.resource} ({self.reason})"


@dataclass(frozen=True, kw_only=True)
class Waived:
    """A finding that does not count, and the waiver that says why."""

    finding: Finding
    waiver: Waiver


def _judged_by_apply(_: Stack) -> Iterable[Hit]:
    """Find nothing: a waiver can be judged only once all other rules have spoken, so `apply` does it."""
    return ()


_EXPIRED = Rule(
    id="waiver-expired",
    title="A waiver has expired",
    severity="warning",
    looks_at="[[waiver]] tables of preflight.toml: `expires` before the day of the check",
    why="The finding counts again. A waiver is a decision with an end, so somebody has to look at it once more.",
    source="https://aquasecurity.github.io/trivy/v0.50/docs/configuration/filtering/#trivyignore",
    fix="Mend what it waived and remove the table, or decide again and write a new day into `expires`.",
    check=_judged_by_apply,
)
_UNUSED = Rule(
    id="waiver-unused",
    title="A waiver covers nothing",
    severity="warning",
    looks_at="[[waiver]] tables of preflight.toml: no finding of the rule on a resource that the glob matches",
    why="What it waived is gone or has another name. Left in place, it hides the next finding that happens to match.",
    source="https://eslint.org/docs/latest/use/configure/rules#report-unused-eslint-disable-comments",
    fix="Remove the table, or correct `rule` and `resource`.",
    check=_judged_by_apply,
)
RULES: dict[str, Rule] = {rule.id: rule for rule in (_EXPIRED, _UNUSED)}
"""What is said about waivers themselves; no waiver covers these."""


def read(directory: Path, rules: Iterable[str]) -> list[Waiver]:
    """Read the waivers beside a program; `rules` are the ids that may be waived. Raises BadInputError."""
    tables = program.settings(directory).get("waiver", [])
    if not isinstance(tables, list):
        raise _bad(0, "waiver", tables, "a list of tables", "write each waiver below its own [[waiver]]")
    if not tables:
        return []
    written = (directory / program.SETTINGS_FILE).read_text(encoding="utf-8").splitlines()
    lines = [number for number, text in enumerate(written, 1) if _HEADER.match(text)]
    known = sorted(rules)
    entries = cast("list[object]", tables)
    placed = lines if len(lines) == len(entries) else [0] * len(entries)
    return [_waiver(entry, line, known) for entry, line in zip(entries, placed, strict=True)]


def _waiver(entry: object, line: int, known: Sequence[str]) -> Waiver:
    if not isinstance(entry, dict):
        raise _bad(line, "waiver", entry, "a table", "write the waiver below [[waiver]]")
    values = cast("dict[str, object]", entry)
    for key in values.keys() - set(_KEYS):
        near = difflib.get_close_matches(key, _KEYS, n=1)
        raise _bad(line, key, values[key], ", ".join(_KEYS), f"did you mean {near[0]}?" if near else f"remove {key}")
    texts = {key: _text(values, key, line) for key in _KEYS[:3]}
    if texts["rule"] not in known:
        near = difflib.get_close_matches(texts["rule"], known, n=1)
        allowed = "the id of a rule, as a finding names it; findings about waivers cannot be waived"
        change = f"did you mean {near[0]}?" if near else "take the id from the finding"
        raise _bad(line, "rule", texts["rule"], allowed, change)
    expires = values.get("expires")
    if not isinstance(expires, date) or isinstance(expires, datetime):
        allowed = "a day, as 2027-01-31, without quotes and without a time"
        raise _bad(line, "expires", expires, allowed, "write the last day that the waiver counts")
    return Waiver(**texts, expires=expires, line=line)


def _text(values: Mapping[str, object], key: str, line: int) -> str:
    value = values.get(key)
    if isinstance(value, str) and value.strip():
        return value
    change = {
        "rule": "name the rule, as the finding does",
        "resource": "name the resource; * stands for any text",
        "reason": "say why it may stay, for whoever reads the report",
    }
    raise _bad(line, key, value, "text that is not empty", change[key])


def _bad(line: int, key: str, value: object, allowed: str, change: str) -> BadInputError:
    where = f"{program.SETTINGS_FILE}:{line}" if line else program.SETTINGS_FILE
    shown = "nothing" if value is None else f"{key} = {str(value) if isinstance(value, date) else value!r}"
    return BadInputError(
        f"{where} has a waiver that cannot be used: {key}.\n"
        f"  found:   {shown}\n"
        f"  allowed: {allowed}\n"
        f"  change:  {change}"
    )


def apply(
    waivers: Sequence[Waiver],
    findings: Iterable[Finding],
    as_of: date,
    checked: Sequence[str],
    others: Sequence[str] = (),
) -> tuple[list[Finding], list[Waived]]:
    """Take out what is waived, and add what is to be said about the waivers themselves.

    Args:
        waivers: of the program.
        findings: of all checked stacks.
        as_of: the day that they are judged at.
        checked: names of the stacks that the findings are of.
        others: stacks of the program that were not looked at. A waiver that may be theirs is not called unused for
            sure: a note says so.
    """
    left: list[Finding] = []
    waived: list[Waived] = []
    used: set[Waiver] = set()
    for finding in findings:
        covering = [waiver for waiver in waivers if waiver.covers(finding)]
        used.update(covering)
        valid = next((waiver for waiver in covering if waiver.expires >= as_of), None)
        if valid is None:
            left.append(finding)
        else:
            waived.append(Waived(finding=finding, waiver=valid))
    for waiver in waivers:
        if waiver.expires < as_of:
            left.append(_finding(_EXPIRED, waiver, f"{waiver} expired on {waiver.expires}."))
        elif waiver not in used and any(_may_be_of(waiver, stack) for stack in checked):
            elsewhere = [stack for stack in others if _may_be_of(waiver, stack)]
            message = f"no finding of {', '.join(checked)} is covered by {waiver}"
            if elsewhere:
                message += f"; {', '.join(elsewhere)} not looked at"
            left.append(_finding(_UNUSED, waiver, f"{message}.", "note" if elsewhere else None))
    return left, waived


def _may_be_of(waiver: Waiver, stack: str) -> bool:
    """Whether the glob could match a resource of a stack: one that is not written as a URN fits any."""
    head = waiver.resource.partition("::")[0]
    return not head.startswith("urn:pulumi:") or fnmatchcase(f"urn:pulumi:{stack}", head)


def _finding(rule: Rule, waiver: Waiver, message: str, severity: Severity | None = None) -> Finding:
    return Finding(
        stack="",
        rule=rule.id,
        severity=severity or rule.severity,
        resource="",
        message=message[:1].upper() + message[1:],
        fix=rule.fix,
        file=program.SETTINGS_FILE,
        line=waiver.line,
    )
