"""Which resources of another commit are the same ones under another URN, and that commit as this one would name it.

What is made up follows from the URN. So before two recordings are compared, a moved resource's made-up values are
written as this tree makes them up; else everything that refers to it would seem to change as well.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar, cast

from preflight.graph import Graph, Resource, reveal
from preflight.program import Recording

_Value = TypeVar("_Value")
_LONG_ENOUGH = 8
"""Characters from which a made-up value cannot be part of another text by chance."""


def moved(old: Graph, new: Graph) -> dict[str, str]:
    """Return the URNs of resources that have another one now, from old to new, as the engine matches aliases."""
    found: dict[str, str] = {}
    former: dict[str, list[str]] = {}
    for urn, resource in new.resources.items():  # parents are registered before their children
        candidates = former[urn] = list(dict.fromkeys(_former(resource, new, former)))
        if urn not in old.resources:
            match = next((one for one in candidates if one in old.resources and one not in new.resources), None)
            if match is not None and match not in found:
                found[match] = urn
    return found


def _former(resource: Resource, graph: Graph, former: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the URNs that a resource may have had: by its own aliases, and by those of the components above it."""
    parents = [resource.parent, *former.get(resource.parent, ())]
    for alias in resource.aliases:
        if isinstance(alias, str):
            yield alias
            continue
        spec = cast("Mapping[str, object]", alias)
        name, type_ = str(spec.get("name") or resource.name), str(spec.get("type") or resource.type)
        above = parents
        if spec.get("parentUrn"):
            above = [str(spec["parentUrn"])]
        elif spec.get("noParent"):
            above = [""]
        for parent in above:
            yield _urn(resource.urn, parent, type_, name, spec)
    for parent in former.get(resource.parent, ()):
        own, above = graph.resources[resource.parent].name, parent.rpartition("::")[2]
        # The engine takes it that a child is named after its component.
        name = above + resource.name.removeprefix(own) if resource.name.startswith(own) else resource.name
        for one in dict.fromkeys((name, resource.name)):
            yield _urn(resource.urn, parent, resource.type, one, {})


def _urn(like: str, parent: str, type_: str, name: str, spec: Mapping[str, object]) -> str:
    head, project, _, _ = like.split("::", 3)
    stack = str(spec.get("stack") or head.removeprefix("urn:pulumi:"))
    chain = parent.split("::")[2] if parent else ""
    qualified = f"{chain}${type_}" if chain else type_
    return f"urn:pulumi:{stack}::{spec.get('project') or project}::{qualified}::{name}"


def as_here(before: Recording, old: Graph, new: Graph, urns: Mapping[str, str], directory: str) -> Recording:
    """Return a recording with URNs, names and made-up values of moved resources, and its folder, as they are here."""
    texts = {before["directory"]: directory}
    for was, is_ in urns.items():
        texts.update(_made_up(old.resources[was], new.resources[is_]))
    pattern = re.compile("|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True)))

    def renamed(text: str) -> str:
        urn, separator, rest = text, "", ""
        if text.startswith("urn:pulumi:") and text not in urns:
            urn, separator, rest = text.rpartition("::")  # a provider is named with its id
        if urn in urns:
            return urns[urn] + separator + renamed(rest)
        return pattern.sub(lambda match: texts[match[0]], text)

    result = walked(before, renamed)
    for resource in result["resources"]:
        if resource["urn"] in new.resources:
            resource["name"], resource["type"] = (
                new.resources[resource["urn"]].name,
                new.resources[resource["urn"]].type,
            )
    return result


def walked(value: _Value, change: Callable[[str], str]) -> _Value:
    """Return a value with every text in it changed."""
    if isinstance(value, str):
        return cast("_Value", change(value))
    if isinstance(value, list):
        return cast("_Value", [walked(item, change) for item in cast("list[object]", value)])
    if isinstance(value, dict):
        return cast("_Value", {key: walked(item, change) for key, item in cast("dict[str, object]", value).items()})
    return value


def made_up(resource: Resource) -> dict[str, str]:
    """Return the texts that the recorder made up for a resource, by their path: its id, outputs that are no inputs."""
    given = set(_leaves(reveal(resource.inputs), "").values())
    leaves = {"id": resource.id, **_leaves(reveal(resource.outputs), "")}
    return {path: text for path, text in leaves.items() if len(text) >= _LONG_ENOUGH and text not in given}


def _made_up(old: Resource, new: Resource) -> dict[str, str]:
    here = made_up(new)
    return {text: here[path] for path, text in made_up(old).items() if path in here}


def _leaves(value: object, path: str) -> dict[str, str]:
    if isinstance(value, str):
        return {path: value}
    found: dict[str, str] = {}
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[str, object]", value).items():
            found |= _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[object]", value)):
            found |= _leaves(item, f"{path}[{index}]")
    return found
