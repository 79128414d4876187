"""Roles, policies, OIDC providers and keys of the account. moto judges the documents."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from . import iam, wire
from .kind import Kind, Ref, documents, no, unique
from .tokens import KEY, KEY_ALIAS, KEY_POLICY
from .wire import Json, at
from .world import Thing, World


def _make_attachment(world: World, thing: Thing) -> None:
    held = iam.attached(world, thing.inputs["role"])
    no(len(held) > 10, "LimitExceeded: Cannot exceed quota for PoliciesPerRole: 10")


def _provider_outputs(world: World, inputs: Mapping[str, Json]) -> dict[str, Json]:
    host = inputs["url"].removeprefix("https://")
    return {
        "url": host,
        "arn": world.arn("iam", f"oidc-provider/{host}", global_=True),
        "thumbprintLists": inputs.get("thumbprintLists", ["9e99a48a9960b14926bb7f3b02e22da2b0ab7280"]),
    }


def _provider_problems(inputs: dict[str, Json]) -> Iterator[tuple[str, str]]:
    if inputs["url"] != wire.UNKNOWN and not re.fullmatch(r"https://[^/]+(/[^/]+)*", inputs["url"]):
        yield "url", f"must be an https:// address without a slash at its end, is {inputs['url']!r}"
    for each in at(inputs, "thumbprintLists"):
        if each != wire.UNKNOWN and not re.fullmatch(r"[0-9a-fA-F]{40}", each):
            yield "thumbprintLists", f"each must be 40 hexadecimal digits, is {each}"


KINDS: dict[str, Kind] = {
    iam.ROLE: Kind(
        "{name}",
        "iam::role/{name}",
        named="name",
        longest=64,
        pattern=r"[\w+=,.@-]+",
        outputs=lambda world, _: {
            "uniqueId": f"AROA{world.new_hex(17).upper()}",
            "createDate": "2026-11-22T00:00:00Z",
            "managedPolicyArns": [],
            "inlinePolicies": [],
        },
        absent=frozenset({"namePrefix"}),
        problems=documents("assumeRolePolicy", trust=True, longest=2048),
        make=unique("name", "EntityAlreadyExists: Role"),
    ),
    iam.POLICY: Kind(
        "{arn}",
        "iam::policy/{name}",
        named="name",
        longest=128,
        pattern=r"[\w+=,.@-]+",
        outputs=lambda world, _: {"policyId": f"ANPA{world.new_hex(17).upper()}", "attachmentCount": 0},
        absent=frozenset({"namePrefix"}),
        problems=documents("policy", trust=False, longest=6144),
        make=unique("arn", "EntityAlreadyExists: Policy"),
    ),
    iam.ATTACHMENT: Kind(
        "{role}/{policyArn}",
        refs=(
            Ref("role", iam.ROLE, "name", "DeleteConflict: Cannot delete entity, must detach all policies first."),
            Ref("policyArn", iam.POLICY, "arn", "DeleteConflict: Cannot delete a policy attached to entities."),
        ),
        make=_make_attachment,
    ),
    iam.INLINE: Kind(
        "{role}:{name}",
        refs=(Ref("role", iam.ROLE, "name", "DeleteConflict: Cannot delete entity, must delete policies first."),),
        named="name",
        longest=128,
        pattern=r"[\w+=,.@-]+",
        absent=frozenset({"namePrefix"}),
        problems=documents("policy", trust=False, longest=10240),
    ),
    iam.OIDC_PROVIDER: Kind(
        "{arn}",
        outputs=_provider_outputs,
        problems=_provider_problems,
        make=unique("arn", "EntityAlreadyExists: Provider with url"),
    ),
    KEY: Kind(
        "{hex8}-0000-4000-8000-{hex12}",
        "kms:key/{id}",
        outputs=lambda _world, _inputs: {
            "keyId": "{id}",
            "description": "",
            "keyUsage": "ENCRYPT_DECRYPT",
            "multiRegion": False,
            "policy": "{}",
            "rotationPeriodInDays": 365,
        },
    ),
    KEY_POLICY: Kind("{keyId}", refs=(Ref("keyId", KEY),)),
    KEY_ALIAS: Kind(
        "{name}",
        "kms:{name}",
        (Ref("targetKeyId", KEY),),
        named="name",
        pattern=r"alias/[a-zA-Z0-9/_-]+",
        outputs=lambda world, inputs: {"targetKeyArn": world.arn("kms", f"key/{inputs['targetKeyId']}")},
        absent=frozenset({"namePrefix"}),
        make=unique("name", "AlreadyExistsException"),
    ),
}
"""Roles, policies, keys, by type token."""
