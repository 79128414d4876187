"""What whoever deploys a stack needs to be allowed: the least IAM policies for its plan, by the table deployer.toml.

They cover creating, updating, refreshing and destroying what the program registers, and the look-ups that it makes.
Names that only AWS or Pulumi know end in a wildcard; ids that AWS makes are one. Where Pulumi keeps its state, and
what charts or controllers do under their own roles, is not part of it.
"""

import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, cast

from preflight.answers import partition
from preflight.graph import Graph, Resource, reveal
from preflight.program import Invoke

LONGEST = 6_144
"""Characters of a managed policy; white space does not count.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
"""

_STEPS = ("create", "read", "update", "delete")
_GLOBAL = ("iam", "route53")
_WAYS = ("", "*/")
_ROLE = "aws:iam/role:Role"
_POLICY = "aws:iam/policy:Policy"
_BUCKET = "aws:s3/bucket:Bucket"


@dataclass(frozen=True, kw_only=True)
class Permission:
    """One statement that allows something, and in words why it does not ask for less."""

    sid: str
    why: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, tuple[str, ...]]]

    @property
    def statement(self) -> dict[str, object]:
        """The statement as IAM takes it."""
        conditions = {
            operator: {key: list(values) for key, values in keys.items()} for operator, keys in self.conditions.items()
        }
        return {
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": list(self.actions),
            "Resource": list(self.resources),
            **({"Condition": conditions} if conditions else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Deployer:
    """The rights that one stack's deployer needs."""

    stack: str
    permissions: tuple[Permission, ...]
    unknown: Mapping[str, tuple[str, ...]]
    """Types that the table has no row for, with the names of their resources: the policies lack what these need."""

    @property
    def documents(self) -> list[dict[str, object]]:
        """The permissions as policy documents, as few as IAM's limit on their size allows."""
        found: list[list[Permission]] = []
        for permission in sorted(_cut(self.permissions), key=_size, reverse=True):
            room = next((one for one in found if _fits([*one, permission])), None)
            if room is None:
                found.append([permission])
            else:
                room.append(permission)
        return [_document(one) for one in found]


@cache
def table() -> Mapping[str, Any]:
    """The rows by type, and `checked`, `sources`, `packages`, `anywhere`."""
    return tomllib.loads(resources.files("preflight").joinpath("deployer.toml").read_text(encoding="utf-8"))


def actions(row: Mapping[str, Any], inputs: Mapping[str, object], *, reads: bool = False) -> set[str]:
    """Return what the steps of a row's resource ask for, given its inputs; `reads`: it is only looked up."""
    steps = ("read",) if reads else _STEPS
    found = {action for step in steps for action in row.get(step, ())}
    if not reads:
        found |= {action for key, more in row.get("when", {}).items() if inputs.get(key) for action in more}
    return found


def deployer(stack: str, preview: Graph, invokes: Iterable[Invoke] = ()) -> Deployer:
    """Return the rights for a stack, from the graph of its preview: there what nobody knows yet is unknown."""
    unknown: defaultdict[str, list[str]] = defaultdict(list)
    wanted = _Wanted()
    places = _Places(preview)
    for resource in preview.resources.values():
        row = _row(resource.type)
        if not (resource.custom or resource.remote) or resource.package in table()["packages"]:
            continue
        if row is None:
            unknown[resource.type].append(resource.name)
        else:
            wanted.add(row, places, resource)
    for invoke in invokes:
        row = _row(invoke["token"])
        if row is not None:
            wanted.anywhere(row.get("read", ()), places.somewhere)
        elif invoke["token"].partition(":")[0] not in table()["packages"]:
            unknown[invoke["token"]].append("a look-up")
    return Deployer(
        stack=stack,
        permissions=tuple(wanted.permissions()),
        unknown={type_: tuple(names) for type_, names in sorted(unknown.items())},
    )


def _row(type_: str) -> Mapping[str, Any] | None:
    return table().get(type_) if ":" in type_ else None


# ---- where -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """Where a provider works; `*` for what the program does not say."""

    region: str
    account: str

    def arn(self, template: str, values: Mapping[str, str]) -> str:
        parts = {
            "partition": "*" if self.region == "*" else partition(self.region),
            "region": self.region,
            "account": self.account,
            **values,
        }
        return re.sub(r"\{(\w+)\}", lambda found: parts.get(found[1], "*"), template)


class _Places:
    """The ARNs of what a program makes, as far as they can be known before."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._by_provider = {one.urn: _place(one) for one in graph.of_type("pulumi:providers:aws")}
        known = set(self._by_provider.values())
        self.somewhere = known.pop() if len(known) == 1 else _Place("*", "*")

    def of(self, resource: Resource) -> _Place:
        references = [resource.provider_urn, *(one.rpartition("::")[0] for one in resource.providers.values())]
        place = next((self._by_provider[urn] for urn in references if urn in self._by_provider), self.somewhere)
        own = resource.inputs.get("region")
        return replace(place, region=own) if isinstance(own, str) else place

    def arns(self, resource: Resource) -> list[str]:
        """Return what the actions on a resource are limited to."""
        row, found = _row(resource.type) or {}, list[str]()
        for template in row.get("on", ()):
            if reference := re.fullmatch(r"\{(\w+)\}", template):
                found += self.behind(resource, reference[1])
            else:
                found.append(self.of(resource).arn(template, _values(resource, row)))
        return found

    def behind(self, resource: Resource, key: str) -> list[str]:
        """Return the ARNs of the roles, policies or buckets that an input names."""
        value = reveal(resource.inputs.get(key))
        given = cast("list[object]", value if isinstance(value, list) else [value] if value else [])
        urns = resource.property_dependencies.get(key, ())
        targets = [self._graph.resources[urn] for urn in urns if urn in self._graph.resources]
        targets = [one for one in targets if one.type in (_ROLE, _POLICY, _BUCKET)]
        # A preview knows the name that Pulumi would make up this time; it is none to count on.
        made = {one.id for one in targets} | {one.outputs.get(name) for one in targets for name in ("arn", "name")}
        found = [arn for one in targets for arn in self.arns(one)]
        for one in given:
            if one in made or (targets and not isinstance(one, str)):
                continue
            if isinstance(one, str) and one.startswith("arn:"):
                found.append(one)
            else:
                name = one if isinstance(one, str) else "*"
                # A role is named without its path.
                ways = [f"s3:::{name}"] if key == "bucket" else [f"iam::{{account}}:role/{way}{name}" for way in _WAYS]
                found += [self.of(resource).arn(f"arn:{{partition}}:{way}", {}) for way in ways]
        return found


def _place(provider: Resource) -> _Place:
    region, accounts = reveal(provider.inputs.get("region")), reveal(provider.inputs.get("allowedAccountIds"))
    if isinstance(accounts, str):  # a provider's inputs are JSON in text
        accounts = json.loads(accounts)
    known = cast("list[object]", accounts) if isinstance(accounts, list) else []
    return _Place(region if isinstance(region, str) else "*", str(known[0]) if len(known) == 1 else "*")


def _values(resource: Resource, row: Mapping[str, Any]) -> dict[str, str]:
    inputs = cast("dict[str, object]", reveal(dict(resource.inputs)))
    values = {key: value for key, value in inputs.items() if isinstance(value, str) and key != "region"}
    values.setdefault("path", "/")
    if named := row.get("autonamed"):
        prefix = values.get(f"{named}Prefix") or f"{resource.name}-"
        given = named in inputs
        values.setdefault(named, "*" if given else f"{prefix}*")
    return values


# ---- what ------------------------------------------------------------------------------------------------------------


class _Wanted:
    """Collects actions, and says them in as few statements as lose nothing."""

    def __init__(self) -> None:
        self._anywhere: defaultdict[str, set[str]] = defaultdict(set)
        self._regions: set[str] = set()
        self._actions: defaultdict[str, set[str]] = defaultdict(set)
        self._arns: defaultdict[str, set[str]] = defaultdict(set)
        self._passed: defaultdict[str, set[str]] = defaultdict(set)
        self._linked: set[str] = set()
        self._attached: tuple[set[str], set[str]] = (set(), set())

    def add(self, row: Mapping[str, Any], places: _Places, resource: Resource) -> None:
        inputs = cast("dict[str, object]", reveal(dict(resource.inputs)))
        wanted = actions(row, inputs, reads=resource.read)
        place = places.of(resource)
        self.anywhere((action for action in wanted if _reason(action)), place)
        arns = places.arns(resource)
        if "iam:AttachRolePolicy" in wanted:
            wanted.remove("iam:AttachRolePolicy")
            self._attached[0].update(arns)
            self._attached[1].update(places.behind(resource, row["attaches"]))
        for action in wanted:
            if not _reason(action):
                service = action.partition(":")[0]
                self._actions[service].add(action)
                self._arns[service].update(arn for arn in arns if arn.split(":")[2] == service)
        if not resource.read:
            for key, services in row.get("passes", {}).items():
                for service in services:
                    self._passed[service].update(places.behind(resource, key))
            self._linked |= {
                place.arn(f"arn:{{partition}}:iam::{{account}}:role/aws-service-role/{service}/*", {})
                for service in row.get("linked", ())
            }

    def anywhere(self, wanted: Iterable[str], place: _Place) -> None:
        for action in wanted:
            self._anywhere[_reason(action)].add(action)
            self._regions.add(place.region)

    def permissions(self) -> Iterator[Permission]:
        for number, (why, wanted) in enumerate(sorted(self._anywhere.items()), 1):
            regional = {action for action in wanted if action.partition(":")[0] not in _GLOBAL}
            in_region = (
                {} if "*" in self._regions else {"StringEquals": {"aws:RequestedRegion": _sorted(self._regions)}}
            )
            for sid, some, conditions in (("Anywhere", regional, in_region), ("Worldwide", wanted - regional, {})):
                if some:
                    yield _permission(f"{sid}{number}", f"any resource: {why}", some, ["*"], conditions)
        for service, wanted in sorted(self._actions.items()):
            sid = service.title().replace("-", "")
            yield _permission(sid, f"what the plan makes in {service}", wanted, self._arns[service])
        if self._attached[0]:
            only = {"ArnLike": {"iam:PolicyARN": _sorted(self._attached[1])}}
            why = "only the plan's policies, only to its roles"
            yield _permission("IamAttach", why, ["iam:AttachRolePolicy"], self._attached[0], only)
        for service, roles in sorted(self._passed.items()):
            if roles:
                only = {"StringEquals": {"iam:PassedToService": (service,)}}
                sid = "IamPassTo" + "".join(
                    part.title() for part in re.split(r"\W", service.removesuffix(".amazonaws.com"))
                )
                yield _permission(sid, f"hands roles to {service}, and to nobody else", ["iam:PassRole"], roles, only)
        if self._linked:
            why = "AWS makes its own role with the first of its kind in an account"
            yield _permission("IamServiceLinkedRoles", why, ["iam:CreateServiceLinkedRole"], self._linked)


def _reason(action: str) -> str:
    reasons: Mapping[str, str] = table()["anywhere"]
    return reasons.get(action) or reasons.get(action.partition(":")[0], "")


def _permission(
    sid: str,
    why: str,
    wanted: Iterable[str],
    arns: Iterable[str],
    conditions: Mapping[str, Mapping[str, tuple[str, ...]]] | None = None,
) -> Permission:
    return Permission(sid=sid, why=why, actions=_sorted(wanted), resources=_covering(arns), conditions=conditions or {})


def _sorted(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))


def _covering(arns: Iterable[str]) -> tuple[str, ...]:
    """Drop what another one with a wildcard at its end covers."""
    given = _sorted(arns)
    wide = [one[:-1] for one in given if one.endswith("*")]
    return tuple(one for one in given if not any(one.startswith(start) and one != f"{start}*" for start in wide))


# ---- documents -------------------------------------------------------------------------------------------------------


def _document(permissions: Sequence[Permission]) -> dict[str, object]:
    return {"Version": "2012-10-17", "Statement": [one.statement for one in permissions]}


def _size(*permissions: Permission) -> int:
    return len(re.sub(r"\s", "", json.dumps(_document(permissions))))


def _fits(permissions: Sequence[Permission]) -> bool:
    return _size(*permissions) <= LONGEST


def _cut(permissions: Iterable[Permission]) -> Iterator[Permission]:
    """Yield permissions each of which has room in a document: one with too many resources becomes several."""
    for one in permissions:
        if _fits([one]) or len(one.resources) == 1:
            yield one
            continue
        half = len(one.resources) // 2
        parts = [
            replace(one, sid=f"{one.sid}{letter}", resources=some)
            for letter, some in (("A", one.resources[:half]), ("B", one.resources[half:]))
        ]
        yield from _cut(parts)
