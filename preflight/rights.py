"""IAM policies in words: what they let somebody do, and whom they admit, one right at a time.

Two documents are the same if they give the same rights, however they are written; a right that another one of the
same document already covers is not gained with it and not lost without it.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

from preflight.policies import Condition, Document, Statement, parse


@dataclass(frozen=True, order=True, kw_only=True)
class Right:
    """One action, on one resource, for one principal, under all of the conditions."""

    deny: bool = False
    principal: str = ""
    """Whom a trust or resource policy names, as `Federated arn:...`; empty in the policies of an identity."""
    subject: str = ""
    """The service account that a token must be of, as `system:serviceaccount:NAMESPACE:NAME`; a pattern if `like`."""
    action: str
    resource: str = ""
    conditions: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say it as a sentence without its subject."""
        verb = "denies" if self.deny else "admits"
        on = f" on {self.resource}" if self.resource not in ("", "*") else " on everything" if self.resource else ""
        where = f" where {' and '.join(self.conditions)}" if self.conditions else ""
        if not self.principal:
            return f"{'may never' if self.deny else 'may'} {self.action}{on}{where}"
        kind, _, name = self.principal.partition(" ")
        named = {"Federated": f"tokens of {name.partition('oidc-provider/')[2] or name}", "Service": f"service {name}"}
        whom = "anybody" if name == "*" else named.get(kind, name if kind == "AWS" else self.principal)
        whom = f"{self.subject}, {whom}," if self.subject else whom
        return f"{verb} {whom} to {self.action}{on}{where}"

    def covers(self, other: "Right") -> bool:
        """Whether whoever has this right has the other one anyway."""
        same = (self.deny, self.principal, self.subject) == (other.deny, other.principal, other.subject)
        narrower = set(self.conditions) <= set(other.conditions)
        return (
            same
            and narrower
            and _within(other.action.lower(), self.action.lower())
            and _within(other.resource, self.resource)
        )


@lru_cache(maxsize=4096)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, text.split("*"))), re.DOTALL)


def _within(narrow: str, wide: str) -> bool:
    return narrow == wide or ("*" in wide and _pattern(wide).fullmatch(narrow) is not None)


def rights(document: Document) -> frozenset[Right]:
    """Return the rights that a policy of any kind gives. Raises MalformedError."""
    body = _parsed(document)
    given = cast("Mapping[str, object]", body).get("Statement") if isinstance(body, Mapping) else None
    statements = cast("list[object]", given if isinstance(given, list) else [given])
    if not all(isinstance(one, Mapping) for one in statements):
        return frozenset(right for statement in parse(document, trust=False) for right in _of(statement))
    found: set[Right] = set()
    for one in cast("list[Mapping[str, object]]", statements):
        # A trust policy names principals, an identity's resources; a policy of a bucket or a key names both.
        names = [element for element in ("Principal", "NotPrincipal") if element in one]
        places = [element for element in ("Resource", "NotResource") if element in one]
        version = {key: value for key, value in cast("Mapping[str, object]", body).items() if key != "Statement"}
        parts = [_single(version, one, names, trust=False)] if places or not names else []
        parts += [_single(version, one, places, trust=True)] if names else []
        whole = parts[-1]
        if len(parts) == 2:
            whole = replace(whole, resource=parts[0].resource, negated=whole.negated | parts[0].negated)
        found.update(_of(whole))
    return frozenset(found)


def _single(
    version: Mapping[str, object], statement: Mapping[str, object], without: Iterable[str], *, trust: bool
) -> Statement:
    kept = {key: value for key, value in statement.items() if key not in without}
    return parse({**version, "Statement": kept}, trust=trust)[0]


def compared(before: Iterable[Right], after: Iterable[Right]) -> tuple[list[Right], list[Right]]:
    """Return the rights gained and lost, sorted."""
    old, new = frozenset(before), frozenset(after)
    gained = [right for right in new - old if not any(other.covers(right) for other in old)]
    lost = [right for right in old - new if not any(other.covers(right) for other in new)]
    return sorted(gained), sorted(lost)


def canonical(document: Document) -> object:
    """Return a document so that two are equal if AWS takes them as the same: order and single values do not count."""
    return _canonical(_parsed(document))


def is_policy(value: object) -> bool:
    """Whether a value is an IAM policy, as text or parsed."""
    if isinstance(value, str) and '"Statement"' not in value:
        return False
    body = _parsed(cast("Document", value))
    return isinstance(body, Mapping) and "Statement" in body


def _parsed(document: Document) -> object:
    try:
        return json.loads(document) if isinstance(document, str) else document
    except json.JSONDecodeError:
        return document


def _canonical(value: object) -> object:
    if isinstance(value, Mapping):
        body = cast("Mapping[str, object]", value)
        return {key: _canonical([item] if key == "Statement" else item) for key, item in body.items()}
    items = cast("list[object]", value if isinstance(value, list) else [value])
    if len(items) == 1 and isinstance(items[0], list):
        items = cast("list[object]", items[0])
    return sorted((_canonical(item) if isinstance(item, Mapping) else item for item in items), key=_sortable)


def _sortable(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _of(statement: Statement) -> Iterator[Right]:
    principals = [f"{kind} {name}" for kind, names in statement.principal.items() for name in names]
    subjects = [c for c in statement.conditions if c.key.endswith(":sub") and c.operator in _EITHER]
    # One condition on the subject admits each of its values; two of them would have to hold together.
    subject = subjects[0] if len(subjects) == 1 and not statement.deny else None
    conditions = tuple(sorted(_words(c) for c in statement.conditions if c is not subject))
    for principal in _parts("Principal", principals, statement) or [""]:
        for action in _parts("Action", list(statement.action), statement):
            for resource in _parts("Resource", list(statement.resource), statement) or [""]:
                for who in (_subject(subject, value) for value in subject.wanted) if subject else [""]:
                    yield Right(
                        deny=statement.deny,
                        principal=principal,
                        subject=who,
                        action=action,
                        resource=resource,
                        conditions=conditions,
                    )


_EITHER = ("StringEquals", "StringLike")


def _subject(condition: Condition, value: str) -> str:
    pattern = condition.operator == "StringLike" and ("*" in value or "?" in value)
    return f"whoever is like {value}" if pattern else value


def _parts(element: str, values: list[str], statement: Statement) -> list[str]:
    """Return the values of an element one by one; together where it says all but those."""
    return [f"everything but {', '.join(sorted(values))}"] if element in statement.negated else values


def _words(condition: Condition) -> str:
    # A claim of a token is named after its issuer, which the principal already says.
    issuer, _, claim = condition.key.rpartition(":")
    key = claim if "." in issuer else condition.key
    return f"{key} {condition.operator} {' or '.join(sorted(condition.wanted))}"
