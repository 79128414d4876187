"""Pulumi's wire form: what the engine and a provider say to each other, as plain Python."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""What stands in a preview for a value that only the update will know."""

_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 the marker of a secret, not one
_RESOURCE = "5cf8f73096256a8f31e491e813e4eb8e"

Json = Any
"""A value of JSON: what a struct holds."""


def decode(struct: struct_pb2.Struct) -> dict[str, Json]:
    """The struct as a dictionary, secrets still wrapped, whole numbers as int."""
    return _whole(json_format.MessageToDict(struct))


def encode(value: Mapping[str, Json]) -> struct_pb2.Struct:
    """The dictionary as a struct."""
    return json_format.ParseDict(dict(value), struct_pb2.Struct())


def _whole(value: Json) -> Json:
    """Numbers travel as doubles; one without a fraction is meant as an int."""
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def plain(value: Json) -> Json:
    """The value without the wrappers of secrets."""
    if isinstance(value, dict):
        if value.get(_SIGNATURE) == _SECRET:
            return plain(value["value"])
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def is_wrapped(value: dict[str, Json]) -> bool:
    """Whether the object stands for something else: a secret or a reference."""
    return _SIGNATURE in value


def has_unknown(value: Json) -> bool:
    """Whether a part of the value is known only to the update."""
    if isinstance(value, dict):
        return any(has_unknown(each) for each in value.values())
    return any(has_unknown(each) for each in value) if isinstance(value, list) else value == UNKNOWN


def reference(value: Json) -> str | None:
    """The URN, where the value is a reference to a resource."""
    return value["urn"] if isinstance(value, dict) and value.get(_SIGNATURE) == _RESOURCE else None


def resource(urn: str, identity: str) -> dict[str, Json]:
    """A reference to a custom resource."""
    return {_SIGNATURE: _RESOURCE, "urn": urn, "id": identity}


def at(value: Json, path: str) -> Iterator[Json]:
    """Every value at a dotted path; lists on the way are entered."""
    if isinstance(value, list):
        for each in value:
            yield from at(each, path)
    elif not path:
        if value is not None:
            yield value
    elif isinstance(value, dict):
        head, _, rest = path.partition(".")
        if head in value:
            yield from at(value[head], rest)


def differences(old: Json, new: Json, path: str = "") -> Iterator[str]:
    """Dotted paths of the leaves in which the two differ; positions in a list as [0]."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif isinstance(old, list) and isinstance(new, list):
        for position in range(max(len(old), len(new))):
            pair = [each[position] if position < len(each) else None for each in (old, new)]
            yield from differences(*pair, f"{path}[{position}]")
    elif not _equal(old, new):
        yield path


def _equal(old: Json, new: Json) -> bool:
    if old == new:
        return True
    try:
        # A policy document is the same whatever its spelling; the AWS provider compares it as JSON too.
        return old[:1] == "{" and json.loads(old) == json.loads(new)
    except (TypeError, ValueError):
        return False


def type_of(urn: str) -> str:
    """The type token of a resource."""
    return urn.split("::")[2].split("$")[-1]


def name_of(urn: str) -> str:
    """The logical name of a resource."""
    return urn.split("::", 3)[3]
