"""IAM as far as the world needs it. moto judges the documents; who is admitted and what is allowed is decided here."""

from __future__ import annotations

import fnmatch
import functools
import json
import re
from collections.abc import Iterator, Mapping

from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.exceptions import MalformedPolicyDocument
from moto.iam.policy_validation import IAMPolicyDocumentValidator, IAMTrustPolicyDocumentValidator

from .wire import Json
from .world import World

ROLE = "aws:iam/role:Role"
POLICY = "aws:iam/policy:Policy"
ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
INLINE = "aws:iam/rolePolicy:RolePolicy"
OIDC_PROVIDER = "aws:iam/openIdConnectProvider:OpenIdConnectProvider"

_ARN = re.compile(r"arn:(aws|aws-cn|aws-us-gov|aws-eusc):[a-z0-9-]+:[a-z0-9-]*:(\d{12}|aws)?:[^\s:].*")


def is_arn(text: str) -> bool:
    """Whether the text has the form of an ARN."""
    return _ARN.fullmatch(text) is not None


def document_problem(text: str, *, trust: bool) -> str | None:
    """What moto finds wrong with a policy document, or None."""
    validator = IAMTrustPolicyDocumentValidator if trust else IAMPolicyDocumentValidator
    try:
        validator(text).validate()
    except MalformedPolicyDocument as error:
        return str(error)
    return None


@functools.cache
def _managed() -> frozenset[str]:
    return frozenset(row["Path"].strip("/") + "/" + name for name, row in json.loads(aws_managed_policies_data).items())


def is_managed(arn: str) -> bool:
    """Whether AWS has a managed policy of this ARN, by moto's copy of AWS's list."""
    head, found, path = arn.partition(":iam::aws:policy/")
    return bool(found) and head.startswith("arn:aws") and (path if "/" in path else f"/{path}") in _managed()


def _listed(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _statements(text: str) -> list[dict[str, Json]]:
    return _listed(json.loads(text)["Statement"])


def _holds(conditions: Mapping[str, Mapping[str, Json]], context: Mapping[str, str]) -> bool:
    for operator, tests in conditions.items():
        for key, allowed in tests.items():
            value = context.get(key)
            matches = {
                "StringEquals": lambda pattern, value=value: value == pattern,
                "StringLike": lambda pattern, value=value: value is not None and fnmatch.fnmatchcase(value, pattern),
            }[operator]
            if not any(matches(each) for each in _listed(allowed)):
                return False
    return True


def admits(trust: str, *, kind: str, principal: str, action: str, context: Mapping[str, str]) -> bool:
    """Whether a trust policy lets a principal of this kind (`Service`, `Federated`) do this action."""
    return any(
        statement["Effect"] == "Allow"
        and principal in _listed(statement.get("Principal", {}).get(kind))
        and action in _listed(statement["Action"])
        and _holds(statement.get("Condition", {}), context)
        for statement in _statements(trust)
    )


def attached(world: World, role_name: str) -> list[str]:
    """The ARNs of the policies that are attached to a role."""
    return [each.inputs["policyArn"] for each in world.pointing(ATTACHMENT, "role", role_name)]


def _documents(world: World, role_name: str) -> Iterator[str]:
    for arn in attached(world, role_name):
        own = world.find(POLICY, "arn", arn)
        if own:
            yield own.inputs["policy"]
    yield from (each.inputs["policy"] for each in world.pointing(INLINE, "role", role_name))


def allows(world: World, role_name: str, action: str) -> bool:
    """Whether a customer policy of the role allows the action on something. Resources and conditions are not read."""
    return any(
        statement["Effect"] == "Allow"
        and any(fnmatch.fnmatch(action.lower(), each.lower()) for each in _listed(statement.get("Action")))
        for text in _documents(world, role_name)
        for statement in _statements(text)
    )
