"""A stack as a policy pack is given it, as the graph that the rules read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pulumi_policy import PolicyResource, proxy

from preflight.graph import UNKNOWN, Graph, Resource

_SENTINELS = {value for name, value in vars(proxy).items() if name.startswith("UNKNOWN_")}
_STACK = "pulumi:pulumi:Stack"


def graph_of(resources: Sequence[PolicyResource], inputs: Mapping[str, Mapping[str, Any]]) -> Graph:
    """The graph of a stack.

    Args:
        resources: as a stack validation gets them, with outputs only.
        inputs: by URN, as resource validations got them before: what the program says and what AWS answers are two
            different things to a rule that looks for a name that was fixed.

    A component's inputs do not reach a policy, and of a packaged one the children do: rules that know it by its inputs
    would judge it by nothing, so components keep their place in the graph and lose their type.
    """
    return Graph([_resource(each, inputs.get(each.urn, {})) for each in resources if not _is_hidden(each)])


def _is_hidden(given: PolicyResource) -> bool:
    """Whether nobody can do anything about it: the stack itself, and the provider that pulumi-eks makes for itself."""
    inside = given.parent is not None and given.parent.resource_type.startswith("eks:")
    return given.resource_type == _STACK or (inside and given.resource_type.startswith("pulumi:providers:"))


def _resource(given: PolicyResource, inputs: Mapping[str, Any]) -> Resource:
    custom = given.provider is not None or given.resource_type.startswith("pulumi:providers:")
    parent = given.parent
    return Resource(
        urn=given.urn,
        type=given.resource_type if custom else f"component:{given.resource_type}",
        name=given.name,
        parent="" if parent is None or parent.resource_type == _STACK else parent.urn,
        custom=custom,
        provider=f"{given.provider.urn}::id" if given.provider is not None else "",
        inputs=_given(unwrapped(inputs), given.name),
        outputs=unwrapped(given.props) if custom else {},
        dependencies=tuple(each.urn for each in given.dependencies),
        property_dependencies={
            key: tuple(each.urn for each in resources) for key, resources in given.property_dependencies.items()
        },
        protect=given.opts.protect,
        ignore_changes=tuple(given.opts.ignore_changes or ()),
        delete_before_replace=bool(given.opts.delete_before_replace),
    )


def _given(inputs: dict[str, Any], name: str) -> dict[str, Any]:
    """The inputs without the names that Pulumi made up: the program fixed none of them."""
    made_up = re.compile(rf"{re.escape(name)}-[0-9a-f]{{7,8}}")
    return {key: item for key, item in inputs.items() if not (isinstance(item, str) and made_up.fullmatch(item))}


def unwrapped(value: Any) -> Any:
    """A property without the SDK's proxies, which raise as soon as an unknown value is only looked at.

    One unknown value would switch a whole policy off; as UNKNOWN it skips the one rule that needs it, with a note.
    """
    if isinstance(value, Mapping):
        target = value["__target"] if not isinstance(value, dict) else value
        return {key: unwrapped(item) for key, item in target.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        target = value["__target"] if not isinstance(value, list) else value  # type: ignore[call-overload] - the proxy's own way in
        return [unwrapped(item) for item in target]
    return UNKNOWN if isinstance(value, str) and value in _SENTINELS else value
