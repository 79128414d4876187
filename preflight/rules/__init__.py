"""One module a topic; every rule has an id, a severity, a message and a fix."""

from dataclasses import replace

from preflight.finding import Finding
from preflight.rules import (
    cluster,
    gateway_api,
    hardening,
    https,
    hygiene,
    identity,
    ingress,
    isolation,
    kiam,
    kiam_certificates,
    lattice,
    order,
)
from preflight.rules.rule import Rule, Stack

_TOPICS = (
    identity,
    ingress,
    https,
    cluster,
    hardening,
    isolation,
    order,
    hygiene,
    kiam,
    kiam_certificates,
    lattice,
    gateway_api,
)
RULES: dict[str, Rule] = {made.id: made for topic in _TOPICS for made in vars(topic).values() if isinstance(made, Rule)}
"""Every rule by its id, topic by topic."""


def check(stack: Stack) -> list[Finding]:
    """Everything that the rules have to say about a stack, sorted; what several could not judge is said once."""
    found: list[Finding] = []
    unjudged: dict[str, list[Finding]] = {}
    for made in RULES.values():
        for finding in made.findings(stack):
            if finding.severity == "note" and not finding.resource:
                unjudged.setdefault(finding.message, []).append(finding)
            else:
                found.append(finding)
    for message, (first, *more) in unjudged.items():
        others = f"; nor are {', '.join(each.rule for each in more)}" if more else ""
        found.append(replace(first, message=message + others))
    return sorted(found)
