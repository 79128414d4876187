"""The AWS provider, with the account behind it.

Who judges what:
    - inputs, their names and types: the SDK's own type information;
    - IAM documents, AWS's list of managed policies, CIDRs and overlaps of subnets: moto;
    - everything else is this module's own: limits of names, references, what deletion is refused for, what nodes,
      add-ons and load balancers need in order to come up. Each says what AWS says in that case.

Not played: quotas, prices, time, regions other than the stack's, tags that AWS adds, service-linked roles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from preflight import create_only

from . import iam, kinds_eks, kinds_https, kinds_iam, kinds_lattice, kinds_network, lattice, sdk, wire
from .kind import Kind, no
from .provider import Found, Provider
from .tokens import CLUSTER, EGRESS_RULE, GROUP, INGRESS_RULE, KEY_ALIAS, LOG_GROUP
from .wire import Json, at
from .world import ACCOUNT, DoubleError, RefusedError, Thing, World

KINDS = {
    **kinds_network.KINDS,
    **kinds_iam.KINDS,
    **kinds_eks.KINDS,
    **kinds_https.KINDS,
    **kinds_lattice.KINDS,
}


class Aws(Provider):
    """The AWS provider."""

    package = "aws"

    def configure(self, config: dict[str, Json]) -> None:
        """Refuse another region or account."""
        region = config.get("region")
        if region is None:
            raise RefusedError("missing required configuration key aws:region")
        if region != self.cloud.world.region:
            raise DoubleError(f"the world is in {self.cloud.world.region}, the provider in {region}")
        allowed = _nested(config, "allowedAccountIds")
        no(bool(allowed) and ACCOUNT not in allowed, f"AWS account ID not allowed: {ACCOUNT}")

    def config_replaces(self, old: dict[str, Json], new: dict[str, Json]) -> list[str]:
        """Another region is another provider."""
        return ["region"] if old.get("region") != new.get("region") else []

    def check(
        self, urn: str, news: dict[str, Json], olds: dict[str, Json], config: dict[str, Json]
    ) -> tuple[dict[str, Json], list[tuple[str, str]]]:
        """Fill in the name, and judge."""
        del config
        kind = _kind(wire.type_of(urn))
        inputs = {key: value for key, value in news.items() if value is not None}
        defaults: list[str] = []
        if kind.named and kind.named not in inputs and f"{kind.named}Prefix" not in inputs:
            inputs[kind.named] = olds.get(kind.named) or self._name(urn)
            defaults.append(kind.named)
        given = wire.plain(inputs)
        problems = list(sdk.input_problems(wire.type_of(urn), given))
        if not problems:
            problems = [*_name_problems(kind, given), *_arn_problems(given), *kind.problems(given)]
        return {**inputs, "__defaults": defaults}, problems

    def _name(self, urn: str) -> str:
        base = wire.name_of(urn)
        prefix = "alias/" if wire.type_of(urn) == KEY_ALIAS else ""
        with self.cloud.changed:
            return f"{prefix}{base}-{self.cloud.world.new_hex(7)}"

    def normal(self, inputs: dict[str, Json]) -> dict[str, Json]:
        """A list of ids, ARNs or ranges is a set to AWS."""
        return _normal(inputs)

    def replaces(self, resource_type: str, old: dict[str, Json], new: dict[str, Json]) -> tuple[list[str], bool]:
        """By the table of create-only inputs; a name that the program fixes has to be free first."""
        if not create_only.is_known(resource_type):
            raise DoubleError(f"preflight/create_only.toml has no row for {resource_type}")
        paths = create_only.replacing(resource_type, old, new)
        named = KINDS[resource_type].named
        return paths, bool(paths and named and old.get(named) is not None and old.get(named) == new.get(named))

    def volatile(self, resource_type: str) -> frozenset[str]:
        """What an update may change."""
        return _kind(resource_type).volatile

    def create(
        self, urn: str, inputs: dict[str, Json], config: dict[str, Json], timeout: float
    ) -> tuple[str, dict[str, Json]]:
        """Check references, let the kind come up, and demand every output that the SDK promises."""
        del timeout
        world, resource_type = self.cloud.world, wire.type_of(urn)
        kind = _kind(resource_type)
        inputs = {key: value for key, value in inputs.items() if key != "__defaults"}
        _check_references(world, kind, inputs)
        outputs = {
            "region": world.region,
            **({"tags": inputs["tags"]} if "tags" in inputs else {}),
            "tagsAll": {**(_nested(config, "defaultTags") or {}).get("tags", {}), **inputs.get("tags", {})},
            **inputs,
        }
        prefix = inputs.get(f"{kind.named}Prefix") if kind.named else None
        if prefix:
            outputs[kind.named] = f"{prefix}{world.new_hex(26)}"
        outputs.update(kind.outputs(world, inputs))
        facts = {
            **{key: value for key, value in outputs.items() if isinstance(value, str)},
            "hex": world.new_hex(17),
            "hex8": world.new_hex(8),
            "hex12": world.new_hex(12),
        }
        if kind.arn.startswith("iam::"):
            outputs["arn"] = world.arn("iam", kind.arn[5:].format(**facts), global_=True)
            facts["arn"] = outputs["arn"]
        identity = kind.identity.format(**facts)
        if kind.arn and "arn" not in outputs:
            service, _, path = kind.arn.partition(":")
            outputs["arn"] = world.arn(service, path.format(**{**facts, "id": identity}))
        outputs = {key: identity if value == "{id}" else value for key, value in outputs.items()}
        if (resource_type, identity) in world.things and not inputs.get("allowOverwrite"):
            raise RefusedError(f"AlreadyExists: {resource_type.split(':')[-1]} {identity} already exists")
        thing = world.add(Thing(resource_type, identity, inputs, outputs))
        try:
            kind.make(world, thing)
        except BaseException:
            world.remove(thing)
            raise
        missing = [
            key
            for key, always in sdk.outputs_of(resource_type).items()
            if always and key not in outputs and key not in kind.absent
        ]
        if missing:
            raise DoubleError(f"the double gives no {', '.join(sorted(missing))} for {resource_type}")
        return identity, outputs

    def update(self, urn: str, identity: str, inputs: dict[str, Json], config: dict[str, Json]) -> dict[str, Json]:
        """Check references, let the kind judge the change."""
        world, resource_type = self.cloud.world, wire.type_of(urn)
        thing = world.find(resource_type, "id", identity)
        if thing is None:
            raise RefusedError(f"NotFound: {resource_type.split(':')[-1]} {identity} does not exist")
        kind = _kind(resource_type)
        inputs = {key: value for key, value in inputs.items() if key != "__defaults"}
        _check_references(world, kind, inputs)
        kind.change(world, thing, inputs)
        dropped = thing.inputs.keys() - inputs.keys()
        thing.inputs = inputs
        thing.outputs = {key: value for key, value in thing.outputs.items() if key not in dropped} | {
            key: value for key, value in inputs.items() if key not in ("vpcConfig", "url")
        }
        thing.outputs["tagsAll"] = {
            **(_nested(config, "defaultTags") or {}).get("tags", {}),
            **inputs.get("tags", {}),
        }
        if "vpcConfig" in inputs:
            thing.outputs["vpcConfig"] = {**thing.outputs["vpcConfig"], **inputs["vpcConfig"]}
        return thing.outputs

    def delete(self, urn: str, identity: str, config: dict[str, Json]) -> None:
        """Refuse what AWS refuses; note what had gone already."""
        del config
        world, resource_type = self.cloud.world, wire.type_of(urn)
        thing = world.find(resource_type, "id", identity)
        if thing is None:
            world.late.append(f"{resource_type.split(':')[-1]} {identity}")
            return
        delete(world, thing)

    def read(self, urn: str, identity: str, config: dict[str, Json], *, importing: bool) -> Found | None:
        """What is there."""
        del config
        world, resource_type = self.cloud.world, wire.type_of(urn)
        if importing:
            there = (each for each in world.of_type(resource_type) if import_id(each) == identity)
            thing = next(there, None)
        else:
            thing = world.find(resource_type, "id", identity)
        return Found(thing.id, thing.inputs, thing.outputs) if thing else None

    def invoke(self, token: str, args: dict[str, Json]) -> dict[str, Json]:
        """The functions that the stacks call."""
        world = self.cloud.world
        if token == "aws:index/getPartition:getPartition":  # noqa: S105 a function's token
            return {
                "partition": world.partition,
                "dnsSuffix": "amazonaws.com",
                "id": world.partition,
                "reverseDnsPrefix": "com.amazonaws",
            }
        if token == "aws:ec2/getManagedPrefixList:getManagedPrefixList":  # noqa: S105 the same
            found = lattice.prefix_list(world, args["name"])
            no(found is None, f"no matching EC2 Prefix List found: {args}")
            return {"id": found, "name": args["name"], "addressFamily": "IPv4", "entries": [], "ownerId": "AWS"}
        return super().invoke(token, args)


def import_id(thing: Thing) -> str:
    """What `pulumi import` wants to hear."""
    return (_kind(thing.type).imported or "{id}").format(**{**thing.inputs, "id": thing.id})


def delete(world: World, thing: Thing) -> None:
    """Remove a thing from the account.

    Raises:
        RefusedError: another one still needs it.
    """
    for other in world.things.values():
        for ref in KINDS[other.type].refs if other.type in KINDS else ():
            if ref.type != thing.type or not ref.holds or other is thing:
                continue
            name = thing.id if ref.key == "id" else thing.outputs.get(ref.key)
            if name in at(other.inputs, ref.path) and not _own_rule(thing, other):
                raise RefusedError(f"{ref.holds.format(id=thing.id)} ({other})")
    _kind(thing.type).drop(world, thing)
    world.remove(thing)
    if thing.type == GROUP:
        for rule in [*world.of_type(INGRESS_RULE, EGRESS_RULE)]:
            if rule.inputs["securityGroupId"] == thing.id:
                world.remove(rule)
    if thing.type == LOG_GROUP:
        for cluster in world.of_type(CLUSTER):
            kinds_eks.log_to(world, cluster, cluster.inputs)


def _own_rule(group: Thing, rule: Thing) -> bool:
    """A rule of the group itself does not hold it."""
    return group.type == GROUP and rule.inputs.get("securityGroupId") == group.id


def _kind(resource_type: str) -> Kind:
    if resource_type not in KINDS:
        raise DoubleError(f"the account does not know {resource_type}: give it a Kind")
    return KINDS[resource_type]


def _check_references(world: World, kind: Kind, inputs: dict[str, Json]) -> None:
    for ref in kind.refs:
        for value in at(inputs, ref.path):
            if world.find(ref.type, ref.key, value) is None and not (ref.type == iam.POLICY and iam.is_managed(value)):
                raise RefusedError(f"NotFound: {ref.path}: {ref.type.split(':')[-1]} {value} does not exist")


def _name_problems(kind: Kind, inputs: dict[str, Json]) -> Iterator[tuple[str, str]]:
    name = inputs.get(kind.named) if kind.named else None
    prefix = inputs.get(f"{kind.named}Prefix") if kind.named else None
    if isinstance(prefix, str) and len(prefix) > kind.longest - 26:
        yield f"{kind.named}Prefix", f"expected length to be in the range (1 - {kind.longest - 26}), is {len(prefix)}"
    if not isinstance(name, str) or name == wire.UNKNOWN:
        return
    if len(name) > kind.longest:
        yield kind.named, f"expected length of {kind.named} to be in the range (1 - {kind.longest}), got {name}"
    if not re.fullmatch(kind.pattern, name):
        yield kind.named, f"invalid value for {kind.named}: {name!r} must match {kind.pattern}"


def _arn_problems(inputs: Json, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(inputs, dict):
        for key, value in inputs.items():
            yield from _arn_problems(value, f"{path}.{key}" if path else key)
    elif isinstance(inputs, list):
        for each in inputs:
            yield from _arn_problems(each, path)
    elif path.endswith(("Arn", "Arns")) and inputs != wire.UNKNOWN and not iam.is_arn(str(inputs)):
        yield path, f"({inputs}) is an invalid ARN: arn: invalid prefix"


def _normal(value: Json, key: str = "") -> Json:
    if isinstance(value, dict):
        return {each: _normal(inner, each) for each, inner in value.items()}
    if isinstance(value, list):
        inner = [_normal(each) for each in value]
        return sorted(inner, key=str) if key.endswith(("Ids", "Arns", "Cidrs", "Lists", "LogTypes")) else inner
    return value


def _nested(config: dict[str, Json], key: str) -> Json:
    """A provider's configuration carries lists and objects as JSON text."""
    value = config.get(key)
    return json.loads(value) if isinstance(value, str) else value
