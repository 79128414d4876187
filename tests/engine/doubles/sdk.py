"""What the installed SDKs know of a resource: which inputs and outputs it has, of which types."""

from __future__ import annotations

import enum
import functools
import importlib
import inspect
import typing
from collections import abc
from collections.abc import Iterator

from pulumi import _types
from pulumi.runtime import rpc

from .wire import UNKNOWN, Json


class UnknownTypeError(Exception):
    """No SDK that is installed has this resource type."""


@functools.cache
def _resource_class(token: str) -> type:
    package, module, _ = token.split(":")
    importlib.import_module(f"pulumi_{package}")
    for known in rpc._RESOURCE_MODULES.get(f"{package}:{module}", ()):
        info = known.mod_info  # pyright: ignore[reportAttributeAccessIssue] every generated SDK has it
        if token in info["classes"]:
            return getattr(importlib.import_module(info["fqn"]), info["classes"][token])
    raise UnknownTypeError(token)


@functools.cache
def _args_class(token: str) -> type:
    found = _resource_class(token)
    module = importlib.import_module(found.__module__)
    # The Kubernetes SDK says ServiceAccountInitArgs, since ServiceAccountArgs is taken.
    return getattr(module, f"{found.__name__}InitArgs", None) or getattr(module, f"{found.__name__}Args")


@functools.cache
def _fields(cls: type) -> tuple[dict[str, type], frozenset[str]]:
    """The inputs of an args class: all with their types, and the names of those that must be given."""
    names = _types.input_type_py_to_pulumi_names(cls)
    required = {
        names[key]
        for key, parameter in inspect.signature(cls.__init__).parameters.items()
        if key in names and parameter.default is inspect.Parameter.empty
    }
    return _types.input_type_types(cls), frozenset(required)


def input_problems(token: str, inputs: dict[str, Json]) -> Iterator[tuple[str, str]]:
    """Every input that the resource type does not have, lacks, or has in another type: its path and what is wrong.

    Raises:
        UnknownTypeError: no installed SDK has the type.
    """
    yield from _object_problems(_args_class(token), inputs, "")


def _object_problems(cls: type, value: dict[str, Json], path: str) -> Iterator[tuple[str, str]]:
    known, required = _fields(cls)
    for key in sorted(required - value.keys()):
        yield f"{path}{key}", "is required"
    for key, each in value.items():
        if key == "__defaults":
            continue
        if key not in known:
            yield f"{path}{key}", f"is not an input; known are {', '.join(sorted(known))}"
        else:
            yield from _value_problems(known[key], each, f"{path}{key}")


def _value_problems(expected: typing.Any, value: Json, path: str) -> Iterator[tuple[str, str]]:
    members = [each for each in _members(expected) if each is not type(None)]
    if value is None or value == UNKNOWN or typing.Any in members:
        return
    problems = [list(_member_problems(each, value, path)) for each in members]
    if problems and all(problems):
        yield from min(problems, key=len)


def _members(expected: typing.Any) -> Iterator[typing.Any]:
    """The alternatives of a type, without what Input adds to it."""
    if typing.get_origin(expected) is typing.Union or isinstance(expected, typing.types.UnionType):  # type: ignore[attr-defined]
        for each in typing.get_args(expected):
            if not _types._is_plumbing_arg(each):
                yield from _members(each)
    else:
        yield expected


def _member_problems(expected: typing.Any, value: Json, path: str) -> Iterator[tuple[str, str]]:
    origin = typing.get_origin(expected)
    if inspect.isclass(expected) and _types.is_input_type(expected):
        if isinstance(value, dict):
            yield from _object_problems(expected, value, f"{path}.")
        else:
            yield path, f"must be an object, is {value!r}"
    elif origin in (list, abc.Sequence):
        if isinstance(value, list):
            for position, each in enumerate(value):
                yield from _value_problems(typing.get_args(expected)[0], each, f"{path}[{position}]")
        else:
            yield path, f"must be a list, is {value!r}"
    elif origin in (dict, abc.Mapping):
        if isinstance(value, dict):
            for key, each in value.items():
                yield from _value_problems(typing.get_args(expected)[1], each, f"{path}.{key}")
        else:
            yield path, f"must be a mapping, is {value!r}"
    elif origin is typing.Literal:
        if value not in typing.get_args(expected):
            yield path, f"must be one of {typing.get_args(expected)}, is {value!r}"
    elif inspect.isclass(expected) and issubclass(expected, enum.Enum):
        if value not in [each.value for each in expected]:
            yield path, f"must be one of {[each.value for each in expected]}, is {value!r}"
    elif expected in (int, float):
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield path, f"must be a number, is {value!r}"
    elif expected in (str, bool) and not isinstance(value, expected):
        yield path, f"must be a {expected.__name__}, is {value!r}"


@functools.cache
def outputs_of(token: str) -> dict[str, bool]:
    """The outputs of a resource type, each with whether it always has a value.

    Raises:
        UnknownTypeError: no installed SDK has the type.
    """
    found = _resource_class(token)
    outputs: dict[str, bool] = {}
    for _, name, prop in _types._py_properties(found):
        hint = typing.get_type_hints(prop.fget, globalns=vars(importlib.import_module(found.__module__)))["return"]
        outputs[name] = type(None) not in typing.get_args(typing.get_args(hint)[0])
    return outputs
