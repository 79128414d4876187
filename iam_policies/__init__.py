"""The ready-made IAM policies: one JSON file each, named after the account that uses it.

A file is an ordinary policy document, so editors and linters read it, but for one thing: where an ARN names the
partition it says `${partition}`. It is replaced as plain text and not by `string.Template`, because IAM's own policy
variables (`${aws:PrincipalTag/team}`) have the same form and must reach IAM untouched.

`sources.toml` records where each document comes from and the digest of its upstream at the pinned version.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from pathlib import Path
from typing import Any, TypeAlias

PolicyDocument: TypeAlias = dict[str, Any]
"""An IAM policy document as `json.loads` gives it."""

Grant: TypeAlias = tuple[str, str, str, str]
"""What one line of the normal form says: effect, lower-case action, resource, conditions as JSON."""

_FOLDER = Path(__file__).parent
_ELEMENTS = {"Sid", "Effect", "Action", "Resource", "Condition"}


def policy_names() -> tuple[str, ...]:
    """List the names of the ready-made policies, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))


def policy_document(name: str, *, partition: str) -> PolicyDocument:
    """Load the ready-made policy of this name, with its ARNs in this partition.

    The documents hold for aws, aws-cn, aws-us-gov and aws-eusc. In the isolated partitions AWS lacks some of the
    actions, so that upstream publishes other documents there.

    Raises:
        ValueError: there is no policy of this name; the message has the nearest name and all of them.

    """
    known = policy_names()
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)
        raise ValueError(
            f"unknown ready-made policy: {name!r}; allowed: {', '.join(known)}; "
            f"change: write {nearest[0]!r}, or give your own document or a managed policy's ARN"
        )
    return json.loads((_FOLDER / f"{name}.json").read_text("utf-8").replace("${partition}", partition))


def policy_text(name: str, *, partition: str) -> str:
    """Write the same document as the compact JSON that IAM is given; raises like `policy_document`."""
    return json.dumps(policy_document(name, partition=partition), separators=(",", ":"))


def normal_form(document: PolicyDocument) -> tuple[Grant, ...]:
    """Write out what the document grants: one entry per effect, action, resource and condition, sorted, none twice.

    Two documents with the same normal form mean the same: Sids, order, grouping into statements, upper and lower case
    of actions, and a single value written with or without a list make no difference.

    Raises:
        ValueError: a statement has an element that the normal form would lose (NotAction, NotResource, Principal).

    """
    grants: set[Grant] = set()
    for statement in _listed(document["Statement"]):
        if lost := sorted(statement.keys() - _ELEMENTS):
            raise ValueError(
                f"element that cannot be compared: {', '.join(lost)}; allowed: {', '.join(sorted(_ELEMENTS))}; "
                "change: say the same with Action and Resource"
            )
        condition = {
            operator: {key: sorted(map(_text, _listed(value))) for key, value in keys.items()}
            for operator, keys in statement.get("Condition", {}).items()
        }
        grants |= {
            (statement["Effect"], action.lower(), resource, json.dumps(condition, sort_keys=True))
            for action in _listed(statement["Action"])
            for resource in _listed(statement["Resource"])
        }
    return tuple(sorted(grants))


def digest(document: PolicyDocument) -> str:
    """Hash the normal form to 64 hex digits (SHA-256): equal for documents that mean the same."""
    return hashlib.sha256(json.dumps(normal_form(document)).encode()).hexdigest()


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
