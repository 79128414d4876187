"""Which input changes replace a resource: the dated table in create_only.toml, and the question it answers."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib import resources
from typing import Any, cast

_KUBERNETES = "kubernetes:*"


@cache
def table() -> dict[str, dict[str, Any]]:
    """Per resource type its create-only paths under `inputs`, `presence` and `removal`, and `defaults` by path."""
    text = resources.files("preflight").joinpath("create_only.toml").read_text(encoding="utf-8")
    return {key: row for key, row in tomllib.loads(text).items() if ":" in key}


@cache
def checked() -> date:
    """The day that the table was last held against the providers."""
    text = resources.files("preflight").joinpath("create_only.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["checked"]


def is_known(resource_type: str) -> bool:
    """Whether the table says anything about this type. About an unknown type nothing may be concluded."""
    return resource_type in table() or resource_type.startswith("kubernetes:")


def replacing(resource_type: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The paths whose change from the old inputs to the new ones replaces the resource.

    Values are compared as they are: an unknown that stands for a known value counts as a change, as it does in a
    preview.

    Args:
        resource_type: type token, such as `aws:ec2/subnet:Subnet`.
        old: inputs by their names on the wire.
        new: the same, after the change.
    """
    rows = [table().get(resource_type, {})]
    if resource_type.startswith("kubernetes:") and resource_type != "kubernetes:helm.sh/v3:Release":
        rows.append(table()[_KUBERNETES])
    found: list[str] = []
    for row in rows:
        defaults = cast("Mapping[str, Any]", row.get("defaults", {}))
        for path in row.get("inputs", ()):
            before, after = (defaults.get(path) if at is None else at for at in (_at(old, path), _at(new, path)))
            if not _same(path, before, after):
                found.append(path)
        found += [path for path in row.get("presence", ()) if (_at(old, path) is None) != (_at(new, path) is None)]
        found += [path for path in row.get("removal", ()) if _at(old, path) is not None and _at(new, path) is None]
    return found


def _at(value: Any, path: str) -> Any:
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _same(path: str, old: Any, new: Any) -> bool:
    if path.endswith("Ids") and isinstance(old, list) and isinstance(new, list):
        # A list of ids is a set to AWS.
        return sorted(map(str, old)) == sorted(map(str, new))
    return old == new
