"""What a policy document grants, in a form that can be compared."""

import hashlib
import json
from typing import TypeAlias

from preflight.policies import Document, parse

Grant: TypeAlias = tuple[str, str, str, str]
"""What one line of the normal form says: effect, lower-case action, resource, conditions as JSON."""


def normal_form(document: Document) -> tuple[Grant, ...]:
    """Write out what the document grants: one entry per effect, action, resource and condition, sorted, none twice.

    Two documents with the same normal form mean the same: Sids, order, grouping into statements, upper and lower case
    of actions, and a single value written with or without a list make no difference.

    Raises:
        ValueError: IAM would refuse the document, or it has an element that cannot be written out (NotAction,
            NotResource).

    """
    grants: set[Grant] = set()
    for statement in parse(document, trust=False):
        if statement.negated:
            raise ValueError(
                f"{statement.label} cannot be compared: Not{', Not'.join(sorted(statement.negated))}; "
                "allowed: Action and Resource; change: say the same with these"
            )
        conditions: dict[str, dict[str, list[str]]] = {}
        for condition in statement.conditions:
            conditions.setdefault(condition.operator, {})[condition.key] = sorted(condition.wanted)
        grants |= {
            ("Deny" if statement.deny else "Allow", action.lower(), resource, json.dumps(conditions, sort_keys=True))
            for action in statement.action
            for resource in statement.resource
        }
    return tuple(sorted(grants))


def digest(document: Document) -> str:
    """Hash the normal form to 64 hex digits (SHA-256): equal for documents that mean the same; raises as it does."""
    return hashlib.sha256(json.dumps(normal_form(document)).encode()).hexdigest()
