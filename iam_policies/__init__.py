"""The ready-made IAM policies: JSON documents, AWS's managed policies, and the values that narrow them.

`catalogue.toml` says what a policy consists of and which parameters it has. A document is an ordinary policy document,
so editors and linters read it, but for its placeholders: `${partition}`, and the policy's parameters by name. Where a
parameter is a list, a text that names it stands once for each value. IAM's own policy variables
(`${aws:PrincipalTag/team}`) have the same form; only declared names are replaced, so those reach IAM untouched.

`sources.toml` records where each document comes from and the digest of its upstream at the pinned version.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, cast

PolicyDocument: TypeAlias = dict[str, Any]
"""An IAM policy document as `json.loads` gives it."""

Values: TypeAlias = Mapping[str, str | Sequence[str]]
"""Parameters by name: a list where the parameter is one; one value may stand without a list."""

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A value that narrows a policy."""

    name: str
    description: str
    is_a: str
    """What a value is, in words."""
    is_list: bool
    """Whether it is a list of ARNs; otherwise it is one text."""
    pattern: str
    """What a value matches as a whole; for an ARN without `arn:<partition>:`."""
    example: str
    """A value that matches; for an ARN without `arn:<partition>:`."""
    required: bool

    def sample(self, partition: str) -> str:
        """Write the example as it stands in this partition."""
        return f"arn:{partition}:{self.example}" if self.is_list else self.example


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why parameters cannot be used. As text: what is wrong, the value, what is allowed, what to change."""

    parameter: str
    what: str
    value: str
    allowed: str
    change: str

    def __str__(self) -> str:
        """Join the four parts."""
        return f"{self.what}: {self.value}; allowed: {self.allowed}; change: {self.change}"


@dataclass(frozen=True, kw_only=True)
class _Entry:
    documents: tuple[str, ...]
    managed: tuple[str, ...]
    parameters: tuple[Parameter, ...]


def policy_names() -> tuple[str, ...]:
    """List the names of the ready-made policies, sorted."""
    return tuple(sorted(_catalogue()))


def parameters_of(name: str) -> tuple[Parameter, ...]:
    """List what narrows the policy of this name; raises like `policy_document`."""
    return _entry(name).parameters


def managed_policies(name: str) -> tuple[str, ...]:
    """List the policies managed by AWS that belong to this one, by path and name; raises like `policy_document`."""
    return _entry(name).managed


def policy_document(name: str, *, partition: str, parameters: Values | None = None) -> PolicyDocument:
    """Write all that the policy of this name grants, as one document.

    It can be longer than IAM takes in one managed policy; `policy_texts` has it in parts that fit. It has no statement
    where the policy consists of managed policies only, or where no optional parameter is given.

    The documents hold for aws, aws-cn, aws-us-gov and aws-eusc. In the isolated partitions AWS lacks some of the
    actions, so that upstream publishes other documents there.

    Raises:
        ValueError: there is no policy of this name, with the nearest name; or the parameters do not fit, with every
            problem that `check_parameters` finds.

    """
    return _joined(_checked(name, partition, parameters).values())


def policy_text(name: str, *, partition: str, parameters: Values | None = None) -> str:
    """Write the same document as the compact JSON that IAM is given; raises like `policy_document`."""
    return _compact(policy_document(name, partition=partition, parameters=parameters))


def policy_texts(name: str, *, partition: str, parameters: Values | None = None) -> dict[str, str]:
    """Write the same as compact JSON, one text for each managed policy to make, by its short name.

    Raises:
        ValueError: as `policy_document`.

    """
    return {part: _compact(document) for part, document in _checked(name, partition, parameters).items()}


def check_parameters(name: str, parameters: Values, partition: str) -> list[Problem]:
    """Say what is wrong with the parameters for the policy of this name; raises like `policy_document` for the name."""
    declared = {parameter.name: parameter for parameter in parameters_of(name)}
    problems = [_unknown(given, value, tuple(declared)) for given, value in parameters.items() if given not in declared]
    for parameter in declared.values():
        given = parameters.get(parameter.name, ())
        values = _listed(given)
        if not values and parameter.required:
            change = f"add {parameter.name}: {parameter.description}"
            problems.append(_problem(parameter, "a required parameter is missing", "nothing", partition, change))
        elif not parameter.is_list and isinstance(given, list | tuple):
            problems.append(_problem(parameter, "a list where one value belongs", given, partition, "keep one of them"))
        else:
            found = ((value, *_mismatch(parameter, value, partition)) for value in values)
            problems += [_problem(parameter, what, value, partition, change) for value, what, change in found if what]
    return problems


def filled(name: str, values: Values) -> dict[str, PolicyDocument]:
    """Put values, `partition` among them, into the documents of this policy, by document; nothing is checked.

    A statement that is left without resources is left out, and so is a document without statements.

    Raises:
        ValueError: there is no policy of this name.

    """
    entry = _entry(name)
    complete = {parameter.name: () for parameter in entry.parameters if not parameter.required} | dict(values)
    return {
        part: {**document, "Statement": statements}
        for part, document in ((part, _document(part)) for part in entry.documents)
        if (statements := [s for s in _replaced(document["Statement"], complete) if s["Resource"]])
    }


def _checked(name: str, partition: str, parameters: Values | None) -> dict[str, PolicyDocument]:
    given = parameters or {}
    if problems := check_parameters(name, given, partition):
        raise ValueError("\n".join(f"policy {name}, parameter {each.parameter}: {each}" for each in problems))
    return filled(name, {**given, "partition": partition})


def _joined(documents: Iterable[PolicyDocument]) -> PolicyDocument:
    return {"Version": "2012-10-17", "Statement": [each for document in documents for each in document["Statement"]]}


def _compact(document: PolicyDocument) -> str:
    return json.dumps(document, separators=(",", ":"))


def _replaced(value: Any, values: Values) -> Any:
    """Replace the placeholders in every text below, in keys too; a list in a list becomes part of it."""
    if isinstance(value, dict):
        return {_expanded(key, values): _replaced(each, values) for key, each in value.items()}
    if isinstance(value, list):
        replaced = (_replaced(each, values) for each in value)
        return [part for each in replaced for part in (each if isinstance(each, list) else [each])]
    return _expanded(value, values)


def _expanded(text: str, values: Values) -> Any:
    """Replace the placeholders in one text: a list where the text names a list, otherwise a text."""
    texts, is_list = [text], False
    for name, value in values.items():
        if (placeholder := f"${{{name}}}") in text:
            texts = [each.replace(placeholder, one) for each in texts for one in _listed(value)]
            is_list |= not isinstance(value, str)
    return texts if is_list else texts[0]


def _mismatch(parameter: Parameter, value: object, partition: str) -> tuple[str, str]:
    """Say what is wrong with a value and what to change; nothing where it is one of this parameter's."""
    sample = parameter.sample(partition)
    other = (f"not {parameter.is_a}", f"write it as in {sample}")
    if not isinstance(value, str):
        return "not a text", f"quote it, as in {sample!r}"
    if not parameter.is_list:
        return ("", "") if re.fullmatch(parameter.pattern, value, re.ASCII) else other
    if value == "*":
        return "a wildcard that reaches everything", "name each one by its ARN"
    parts = value.split(":", 5)
    if len(parts) < 6 or parts[0] != "arn":
        return "not an ARN", f"take the whole ARN, as in {sample}"
    if parts[1] != partition:
        return f"an ARN of the partition {parts[1]}", f"take one of this stack's partition, {partition}"
    if parts[2] != (service := parameter.pattern.partition(":")[0]):
        return f"an ARN of the service {parts[2]}", f"take one of {service}"
    if re.fullmatch(parameter.pattern, value.removeprefix(f"arn:{partition}:"), re.ASCII):
        return "", ""
    return ("a wildcard where none may stand", "name each one by its ARN") if re.search(r"[*?]", value) else other


def _problem(parameter: Parameter, what: str, value: object, partition: str, change: str) -> Problem:
    return Problem(
        parameter=parameter.name,
        what=what,
        value=str(value),
        allowed=f"{parameter.is_a}, such as {parameter.sample(partition)}",
        change=change,
    )


def _unknown(given: str, value: object, declared: tuple[str, ...]) -> Problem:
    nearest = difflib.get_close_matches(given, declared, n=1)
    return Problem(
        parameter=given,
        what="an unknown parameter",
        value=str(value),
        allowed=", ".join(declared) or "no parameter",
        change=f"did you mean {nearest[0]}?" if nearest else f"remove {given}",
    )


def _entry(name: str) -> _Entry:
    known = policy_names()
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)
        raise ValueError(
            f"unknown ready-made policy: {name!r}; allowed: {', '.join(known)}; "
            f"change: write {nearest[0]!r}, or give your own document or a managed policy's ARN"
        )
    return _catalogue()[name]


@cache
def _catalogue() -> dict[str, _Entry]:
    read = tomllib.loads((_FOLDER / "catalogue.toml").read_text("utf-8"))

    def parameter(name: str, row: dict[str, Any]) -> Parameter:
        kind = read["kinds"][row["kind"]]
        return Parameter(
            name=name,
            description=row["description"],
            is_a=kind["is"],
            is_list="arns" in kind,
            pattern=kind["arns"] if "arns" in kind else kind["text"],
            example=kind["example"],
            required=row.get("required", True),
        )

    return {
        name: _Entry(
            documents=tuple(row.get("documents", [name])),
            managed=tuple(row.get("managed", ())),
            parameters=tuple(parameter(each, given) for each, given in row.get("parameters", {}).items()),
        )
        for name, row in read["policies"].items()
    }


@cache
def _document(part: str) -> PolicyDocument:
    return json.loads((_FOLDER / f"{part}.json").read_text("utf-8"))


def _listed(value: object) -> list[Any]:
    return list(cast("Sequence[Any]", value)) if isinstance(value, list | tuple) else [value]
