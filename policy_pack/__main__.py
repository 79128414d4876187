"""The preflight's rules as a Pulumi policy pack: `pulumi preview --policy-pack policy_pack`.

One policy per rule, under the rule's id: mandatory where the rule is an error, advisory otherwise. Where a value is
known only after the update, the policy says so, as an advice, and judges what it can.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from graph import graph_of, unwrapped
from pulumi_policy import (
    EnforcementLevel,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)

from preflight.rules import RULES
from preflight.rules.rule import Rule, Stack

_INPUTS: dict[str, dict[str, object]] = {}
_STACKS: dict[frozenset[str], Stack] = {}


def remember(args: ResourceValidationArgs, _report: ReportViolation) -> None:
    """Keep the inputs of a resource for the rules, which judge the stack as a whole and are given outputs only."""
    _INPUTS[args.urn] = unwrapped(args.props)


def stack_of(args: StackValidationArgs) -> Stack:
    """The stack under validation, read once for all policies of one run."""
    key = frozenset(each.urn for each in args.resources)
    if key not in _STACKS:
        name = next(iter(key)).split(":")[2] if key else ""
        _STACKS[key] = Stack(name=name, graph=graph_of(args.resources, _INPUTS), as_of=datetime.now(UTC).date())
    return _STACKS[key]


def validation(rule: Rule, *, notes: bool) -> Callable[[StackValidationArgs, ReportViolation], None]:
    """What one policy does: report what its rule finds, or what its rule could not judge."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        for finding in rule.findings(stack_of(args)):
            if (finding.severity == "note") is notes:
                report(f"{finding.message} {finding.fix}", finding.resource or None)

    return validate


def policies(rule: Rule) -> list[StackValidationPolicy]:
    """The policies of one rule: its findings, and apart from them, never mandatory, what it could not judge."""
    level = EnforcementLevel.MANDATORY if rule.severity == "error" else EnforcementLevel.ADVISORY
    return [
        StackValidationPolicy(rule.id, f"{rule.title}.", validation(rule, notes=False), level),
        StackValidationPolicy(
            f"{rule.id}-undecided",
            f"{rule.title}: what this cannot be judged of before the update.",
            validation(rule, notes=True),
            EnforcementLevel.ADVISORY,
        ),
    ]


PolicyPack(
    "eks-preflight",
    [
        ResourceValidationPolicy("inputs", "Finds nothing; hands inputs to the rules.", remember),
        *(policy for rule in RULES.values() for policy in policies(rule)),
    ],
)
