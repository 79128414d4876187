"""The IAM policy language: what a statement says, and whether it applies to a request.

A condition holds, fails, or depends on something that the text does not say (a policy variable, the caller's address,
an operator that is not decided here). What is undecided never admits; in a Deny it is reported as what could deny.

The semantics are IAM's own, from https://docs.aws.amazon.com/IAM/latest/UserGuide/ :
reference_policies_evaluation-logic.html (Deny over Allow, nothing is allowed unless said),
reference_policies_elements_principal.html (names are whole: no wildcard inside a principal),
reference_policies_elements_notprincipal.html, reference_policies_elements_action.html (case does not count),
reference_policies_elements_resource.html (`*` may reach across colons),
reference_policies_elements_condition.html (the case of key names does not count),
reference_policies_elements_condition_operators.html (operators, missing keys, IfExists, Null, ARNs by segment),
reference_policies_condition-logic-multiple-context-keys-or-values.html (AND over keys, OR over values, NOR if negated),
reference_policies_condition-single-vs-multi-valued-context-keys.html (ForAnyValue, ForAllValues),
reference_policies_variables.html (variables exist only from Version 2012-10-17).
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache
from typing import TypeAlias, cast

Document: TypeAlias = str | Mapping[str, object]
"""A policy as JSON text or as its parsed form."""

Context: TypeAlias = Mapping[str, tuple[str, ...] | None]
"""Condition keys with their values: () is a key known to be absent, None one whose value is not known."""


class Cause(IntEnum):
    """Why a caller is not admitted; the smallest number is the first thing to mend."""

    MALFORMED = 0  # IAM would refuse the document
    NO_PROVIDER = 1  # nobody registered the token's issuer in the role's account
    AUDIENCE = 2  # the registered provider does not list the token's audience
    DENIED = 3  # a Deny statement applies
    NO_ALLOW = 4  # there is no Allow statement at all
    PRINCIPAL = 5
    ACTION = 6
    TAG_SESSION = 7  # sts:AssumeRole is allowed, the sts:TagSession that goes with it is not
    RESOURCE = 8
    KEY_SCHEME = 9  # a condition key that still has https://
    KEY_ARN = 10  # a whole ARN where the key has the issuer without scheme
    KEY_ISSUER = 11  # a condition on another issuer's tokens
    KEY_ABSENT = 12  # a condition on something that this caller does not carry
    WILDCARD = 13  # `*` or `?` under an operator that takes it literally
    VALUE = 14
    UNDECIDED = 15  # depends on what is known only at run time, or on an operator that is not decided here


@dataclass(frozen=True)
class Miss:
    """One reason why one statement does not apply: in words (`text`), and in parts that a rule can look at."""

    cause: Cause
    text: str
    statement: str = ""
    operator: str = ""
    key: str = ""
    wanted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """The answer to one request.

    `reason` is a sentence that a person can act on. `misses` explain a refusal, those of the nearest statement first.
    `undecided`: refused only because something cannot be known here. `caveats` could still turn an admission into a
    refusal. `delegated`: the policy leaves the choice to the caller's account, so the caller's own policies must
    allow the action as well.
    """

    admitted: bool
    reason: str
    statement: str = ""
    misses: tuple[Miss, ...] = ()
    caveats: tuple[str, ...] = ()
    undecided: bool = False
    delegated: bool = False

    @property
    def cause(self) -> Cause | None:
        """What to mend first; None where the caller is admitted."""
        return self.misses[0].cause if self.misses else None


@dataclass(frozen=True)
class Request:
    """One action by one caller.

    `kind` is the caller's key in a Principal element, "" where the policy is the caller's own; `names` are what the
    element may call it, its own name first and then its account's. A condition key that is not in `context` is absent
    if it begins with one of `absent`, else not known if it begins with one of `unknown`, else absent. `resource` is ""
    where the policy hangs on it; with `one_of_many` it is a pattern for a resource whose ARN nobody knows yet.
    """

    action: str
    context: Context
    kind: str = ""
    names: tuple[str, ...] = ()
    resource: str = ""
    absent: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ("",)
    one_of_many: bool = False

    def values(self, key: str) -> tuple[str, ...] | None:
        """Return the values of a condition key: () where it is absent, None where nobody can tell."""
        name = key.lower()
        known = name.startswith(self.absent) or not name.startswith(self.unknown)
        return next((got for k, got in self.context.items() if k.lower() == name), () if known else None)


# ---- reading ---------------------------------------------------------------------------------------------------------


class MalformedError(ValueError):
    """A document that IAM would refuse; the message says what is wrong with it."""


@dataclass(frozen=True)
class Condition:
    """One operator on one key; `variables` says whether ${...} in a value is a variable."""

    operator: str
    key: str
    wanted: tuple[str, ...]
    variables: bool


@dataclass(frozen=True)
class Statement:
    """One statement; `negated` holds those of Principal, Action and Resource that stand there with Not."""

    label: str
    deny: bool
    principal: Mapping[str, tuple[str, ...]]
    action: tuple[str, ...]
    resource: tuple[str, ...]
    negated: frozenset[str]
    conditions: tuple[Condition, ...]


_MAY_BE_NEGATED = ("Principal", "Action", "Resource")
_ELEMENTS = {"Sid", "Effect", "Condition", *_MAY_BE_NEGATED, *(f"Not{name}" for name in _MAY_BE_NEGATED)}


def parse(document: Document, name: str = "", *, trust: bool, resources: bool = False) -> list[Statement]:
    """Read a policy whose statements are labelled with `name`; a trust policy has principals, any other resources.

    With `trust` and `resources` it has both, as the auth policies of VPC Lattice do.

    Raises MalformedError. What is not in IAM's grammar is refused and not overlooked: "Conditions" is no condition.
    """
    if isinstance(document, str):
        try:
            document = _mapping(json.loads(document), f"{name}the policy")
        except json.JSONDecodeError as error:
            what = "an Output turned into text" if "Output[T]" in document else f"no JSON ({error.msg})"
            raise MalformedError(f"{name}the policy is {what}: {_quoted(document[:60])}") from error
    body = _mapping(document, f"{name}the policy")
    _check(not (odd := body.keys() - {"Version", "Id", "Statement"}), f"{name}unknown element {_quoted(sorted(odd))}")
    given = body.get("Statement")
    statements = cast("list[object]", given if isinstance(given, list) else [given])
    variables = body.get("Version") == "2012-10-17"
    lacking = () if trust and resources else ("Resource",) if trust else ("Principal",)
    return [_statement(s, f"{name}statement {i}", variables, lacking) for i, s in enumerate(statements, 1)]


def _statement(value: object, label: str, variables: bool, lacking: tuple[str, ...]) -> Statement:
    body = _mapping(value, label)
    label += f" ({body['Sid']})" if body.get("Sid") else ""
    _check(not (odd := body.keys() - _ELEMENTS), f"{label} has the unknown element {_quoted(sorted(odd))}")
    effect = body.get("Effect")
    _check(effect in ("Allow", "Deny"), f"{label} has the Effect {_quoted(effect)}; it is Allow or Deny")
    elements: dict[str, object] = {}
    for name in _MAY_BE_NEGATED:
        present = [n for n in (name, f"Not{name}") if n in body]
        wanted = 0 if name in lacking else 1
        _check(len(present) == wanted, f"{label} needs {wanted} of {name} and Not{name}; it has {len(present)}")
        if present:
            elements[name] = body[present[0]]
    principal = elements.get("Principal", {})
    principal = {"AWS": "*"} if principal == "*" else _mapping(principal, f"{label}: Principal")
    return Statement(
        label=label,
        deny=effect == "Deny",
        principal={kind: _texts(names, f"{label}: Principal {kind}") for kind, names in principal.items()},
        action=_texts(elements["Action"], f"{label}: Action"),
        resource=_texts(elements.get("Resource", []), f"{label}: Resource"),
        negated=frozenset(name for name in _MAY_BE_NEGATED if f"Not{name}" in body),
        conditions=tuple(
            Condition(operator, key, _texts(values, f"{label}: {operator} {key}"), variables)
            for operator, block in _mapping(body.get("Condition", {}), f"{label}: Condition").items()
            for key, values in _mapping(block, f"{label}: {operator}").items()
        ),
    )


def _check(fine: bool, text: str) -> None:
    if not fine:
        raise MalformedError(text)


def _mapping(value: object, label: str) -> dict[str, object]:
    _check(isinstance(value, Mapping), f"{label} is {_quoted(value)}; it must be an object")
    return dict(cast("Mapping[str, object]", value))


def _texts(value: object, label: str) -> tuple[str, ...]:
    items = cast("list[object]", value if isinstance(value, list) else [value])
    fine = all(isinstance(item, str | bool | int | float) for item in items)
    _check(fine, f"{label} is {_quoted(value)}; it must be text or a list of texts")
    return tuple(str(item).lower() if isinstance(item, bool) else str(item) for item in items)


def _quoted(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


# ---- deciding --------------------------------------------------------------------------------------------------------


def decide(statements: Sequence[Statement], request: Request) -> Decision:
    """Decide a request by the statements of all policies that have a say in it, in any order."""
    caveats: list[str] = []
    admitting: list[tuple[bool, str]] = []
    refusals: list[tuple[Miss, ...]] = []
    for statement in statements:
        misses, via_account = _misses(statement, request)
        if not statement.deny and misses:
            refusals.append(misses)
        elif not statement.deny:
            admitting.append((via_account, statement.label))
        elif not misses:
            return refusal(Miss(Cause.DENIED, "it denies this, and a Deny outranks every Allow", statement.label))
        elif all(miss.cause is Cause.UNDECIDED for miss in misses):
            caveats.append(f"{statement.label} could deny: {'; '.join(miss.text for miss in misses)}")
    if admitting:
        via_account, label = min(admitting)
        to = f"to {request.names[0]}" if request.names else f"on {request.resource}"
        return Decision(True, f"{label} allows {request.action} {to}", label, (), tuple(caveats), delegated=via_account)
    refusals.sort(key=lambda misses: (-misses[0].cause, len(misses)))
    nearest = refusals[0] if refusals else (Miss(Cause.NO_ALLOW, "the policy has no Allow statement"),)
    others = tuple(miss for misses in refusals[1:] for miss in misses)
    decision = refusal(*nearest)
    return replace(decision, misses=decision.misses + others, caveats=tuple(caveats))


def refusal(*misses: Miss) -> Decision:
    """Refuse because of the misses of one statement, which stand in the order in which to mend them."""
    certain = [miss for miss in misses if miss.cause is not Cause.UNDECIDED]
    # A statement about somebody else fails in its conditions too; naming those would hide that it is not about us.
    told = certain[:1] if certain and certain[0].cause <= Cause.RESOURCE else certain or misses
    label = misses[0].statement
    reason = (f"{label}: " if label else "") + "; ".join(dict.fromkeys(miss.text for miss in told))
    return Decision(False, reason, label, misses, undecided=not certain)


def _misses(statement: Statement, request: Request) -> tuple[tuple[Miss, ...], bool]:
    """Return why the statement does not apply, and whether it names the caller's account rather than the caller."""
    misses: list[Miss] = []
    via_account = False

    def judge(element: str, cause: Cause, hit: bool | None, listed: Sequence[str], what: str) -> None:
        but = "everything but " if element in statement.negated else ""
        if hit is None:
            misses.append(Miss(Cause.UNDECIDED, f"{element} {', '.join(listed)} is undecided for {what}"))
        elif hit == bool(but):
            whole = cause is Cause.PRINCIPAL and any("*" in name for name in listed)
            why = "; a wildcard inside a principal matches nothing" if whole else ""
            misses.append(Miss(cause, f"{element} names {but}{', '.join(listed) or 'nobody'}, not {what}{why}"))

    if request.kind:
        hit, via_account = _names(statement, request)
        listed = [f"{kind} {name}" for kind, names in statement.principal.items() for name in names]
        judge("Principal", Cause.PRINCIPAL, hit, listed, f"{request.kind} {request.names[0]}")
    if statement.resource:
        hit = _any(_reaches(p, request) for p in statement.resource)
        judge("Resource", Cause.RESOURCE, hit, statement.resource, request.resource)
    hit = any(_like(p.lower(), request.action.lower()) for p in statement.action)
    judge("Action", Cause.ACTION, hit, statement.action, request.action)
    for condition in statement.conditions:
        got = request.values(condition.key)
        if not (outcome := holds(condition, got)):
            cause, text = _undecided(condition, got) if outcome is None else _explain(condition, got or (), request)
            misses.append(Miss(cause, text, "", condition.operator, condition.key, condition.wanted))
    return tuple(replace(m, statement=statement.label) for m in sorted(misses, key=lambda m: m.cause)), via_account


def _reaches(pattern: str, request: Request) -> bool | None:
    if "${" in pattern:
        return None
    return _like(pattern, request.resource) or (
        None if request.one_of_many and _like(request.resource, pattern) else False
    )


def _names(statement: Statement, request: Request) -> tuple[bool | None, bool]:
    """Return whether the Principal element names the caller, and whether it does so only through its account."""
    listed = statement.principal.get(request.kind, ())
    hits = [name for name in request.names if name and name in listed]
    if "*" in statement.principal.get("AWS", ()):
        return True, False
    if request.kind == "AWS" and hits and "Principal" in statement.negated:
        return None, False  # NotPrincipal spares a role only where its account and its session are listed as well
    if not hits and "*" in listed:
        return None, False  # {"Federated": "*"} and {"Service": "*"}: AWS does not say what they mean
    return bool(hits), bool(hits) and request.names[0] not in hits


# ---- conditions ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _pattern(text: str) -> re.Pattern[str]:
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(c, re.escape(c)) for c in re.sub(r"\*+", "*", text)), re.DOTALL)


def _like(pattern: str, got: str) -> bool:
    return _pattern(pattern).fullmatch(got) is not None


def _arn_like(pattern: str, got: str) -> bool | None:
    """Match an ARN part by part; AWS does not say what a pattern of fewer than six parts matches."""
    parts, values = pattern.split(":", 5), got.split(":", 5)
    return len(values) == 6 and all(map(_like, parts, values)) if len(parts) == 6 else None


def _any(outcomes: Iterable[bool | None]) -> bool | None:
    seen = set(outcomes)
    return True if True in seen else None if None in seen else False


def _not(outcome: bool | None) -> bool | None:
    return None if outcome is None else not outcome


_TESTS: dict[str, Callable[[str, str], bool | None]] = {
    "stringequals": lambda wanted, got: wanted == got,
    "stringequalsignorecase": lambda wanted, got: wanted.lower() == got.lower(),
    "stringlike": _like,
    "arnequals": _arn_like,  # the same as ArnLike, and so documented
    "arnlike": _arn_like,
    "bool": lambda wanted, got: wanted.lower() == got.lower(),
}
_NEGATED = {name.replace(kind, f"{kind}not"): name for name in _TESTS for kind in ("string", "arn") if kind in name}
_QUANTIFIERS = ("", "forallvalues", "foranyvalue")


def _operator(text: str) -> tuple[str, str, bool, bool]:
    """Split an operator: its quantifier, its test, whether it is negated, whether it ends in IfExists."""
    quantifier, _, rest = text.lower().rpartition(":")
    base = rest.removesuffix("ifexists")
    return quantifier, _NEGATED.get(base, base), base in _NEGATED, base != rest


def holds(condition: Condition, got: tuple[str, ...] | None) -> bool | None:
    """Return whether a condition holds for the values that the request has for its key; None if that is undecided."""
    quantifier, base, negated, if_exists = _operator(condition.operator)
    if got is None:
        return None
    if condition.operator.lower() == "null":
        return ("false" if got else "true") in {wanted.lower() for wanted in condition.wanted}
    if base not in _TESTS or quantifier not in _QUANTIFIERS:
        return None
    if not got:
        return if_exists or quantifier == "forallvalues" or (negated and not quantifier)
    if len(got) > 1 and not quantifier:
        return None
    wanted = [(text, condition.variables and "${" in text) for text in condition.wanted]
    outcomes = [_any(None if variable else _TESTS[base](text, value) for text, variable in wanted) for value in got]
    outcomes = [_not(outcome) for outcome in outcomes] if negated else outcomes
    return _any(outcomes) if quantifier != "forallvalues" else _not(_any(_not(outcome) for outcome in outcomes))


def _wants(condition: Condition) -> str:
    values = " or ".join(_quoted(text) for text in condition.wanted)
    negated = _operator(condition.operator)[2]
    return f"{condition.operator} {condition.key} {'excludes' if negated else 'wants'} {values or 'nothing'}"


def _undecided(condition: Condition, got: tuple[str, ...] | None) -> tuple[Cause, str]:
    quantifier, base, _, _ = _operator(condition.operator)
    if condition.operator.lower() != "null" and (base not in _TESTS or quantifier not in _QUANTIFIERS):
        why = "this operator is not evaluated here"
    elif got is None:
        why = "the value is known only when the request is made"
    elif len(got) > 1 and not quantifier:
        why = "the key has several values, which need ForAnyValue: or ForAllValues:"
    else:
        why = "a value is a policy variable or an ARN with parts missing"
    return Cause.UNDECIDED, f"{_wants(condition)}: undecided, {why}"


def _explain(condition: Condition, got: tuple[str, ...], request: Request) -> tuple[Cause, str]:
    """Say why a condition fails, in the words of the mistake that it most probably is."""
    key, carrier = condition.key, "token" if request.kind == "Federated" else "request"
    if _operator(condition.operator)[1] == "null":
        return Cause.VALUE, f"{_wants(condition)}, and the key is {'present' if got else 'absent'}"
    if not got:
        issuer, _, claim = key.rpartition(":")
        mine = [k.rpartition(":")[0] for k in request.context if k.lower().endswith(f":{claim}".lower())]
        if carrier == "token" and mine:
            if issuer.lower().startswith("https://"):
                cause, what = Cause.KEY_SCHEME, "still has https:// and never matches: write"
            elif issuer.lower().startswith("arn:"):
                cause, what = Cause.KEY_ARN, "is a whole ARN and never matches: write"
            else:
                cause, what = Cause.KEY_ISSUER, "is another issuer's; this token's is"
            return cause, f"the part {issuer} of the condition key {what} {mine[0]}"
        return Cause.KEY_ABSENT, f"{_wants(condition)}, and the {carrier} carries no such key"
    says = f"{_wants(condition)}, the {carrier} says {' and '.join(map(_quoted, got))}"
    _, base, negated, _ = _operator(condition.operator)
    if negated:
        return Cause.VALUE, says
    if not holds(replace(condition, operator="StringLike"), got[:1]):
        return Cause.VALUE, says + _hint(condition.wanted, got[0])
    if base.startswith("stringequals"):
        return Cause.WILDCARD, f"{says}; under {condition.operator} a wildcard is a literal character: use StringLike"
    return Cause.VALUE, says


def _hint(wanted: Sequence[str], got: str) -> str:
    """Name the small difference that the eye overlooks; "" where there is none."""
    prefix, _, own = got.rpartition(":")
    for text in wanted:
        if text.startswith("system:serviceaccount:" * 2):
            return " (system:serviceaccount: stands there twice)"
        if text.strip().lower() == got.lower():
            return " (they differ only in blanks or in the case of letters)"
        if got.startswith("system:serviceaccount:") and text.count(":") == got.count(":"):
            if text.startswith(f"{prefix}:"):
                return " (another service account of that namespace)"
            if text.endswith(f":{own}"):
                return " (another namespace)"
    return ""
