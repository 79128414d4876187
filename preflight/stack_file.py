"""Reads Pulumi's YAML files as YAML 1.2, with the line of everything in them.

Pulumi's own reader takes the last of two equal keys; here that is refused. `no`, `on` and `10:30` are text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from preflight.errors import BadInputError

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
"""A value as JSON has it."""


@dataclass(frozen=True)
class StackFile:
    """One YAML file: its values, and where they stand."""

    path: Path
    root: MappingNode | None

    @property
    def values(self) -> dict[str, Plain]:
        """The whole file as plain values."""
        return {key.value: plain(value) for key, value in self.entries()}

    def entries(self, *keys: str) -> Iterator[tuple[ScalarNode, Node]]:
        """Yield key and value of the mapping under the given keys; nothing if it is not there or not a mapping."""
        node: Node | None = self.root
        for wanted in keys:
            if not isinstance(node, MappingNode):
                return
            node = next((value for key, value in node.value if key.value == wanted), None)
        if isinstance(node, MappingNode):
            yield from node.value

    def line(self, path: str, project: str) -> int | None:
        """Return the line (from 1) of a setting's dotted path, such as `cluster.nodeGroups.system.minSize`.

        A setting is configuration of the project: its first part is the key `<project>:<first part>`. Where the path
        goes on into what the file does not have, the line is that of the deepest part that it has; None without any.
        """
        config = next((value for key, value in self.entries() if key.value == "config"), None)
        found: int | None = None
        node: Node | None = config
        rest = path.replace("[", ".").replace("]", "")
        prefixes = (f"{project}:", "")
        while rest and node is not None:
            step = _step(node, rest, prefixes)
            if step is None:
                break
            line, node, rest = step
            found, prefixes = line, ("",)
        return found


def _step(node: Node, rest: str, prefixes: tuple[str, ...]) -> tuple[int, Node, str] | None:
    """Go one part down; a key may itself have dots, so the longest that fits wins."""
    if isinstance(node, SequenceNode):
        head, _, rest = rest.partition(".")
        if not head.isdigit() or int(head) >= len(node.value):
            return None
        item = node.value[int(head)]
        return item.start_mark.line + 1, item, rest
    best: tuple[int, Node, str] | None = None
    length = -1
    for key, value in node.value if isinstance(node, MappingNode) else ():
        for prefix in prefixes:
            name = key.value.removeprefix(prefix) if key.value.startswith(prefix) else None
            if name and (rest == name or rest.startswith(name + ".")) and len(name) > length:
                best, length = (key.start_mark.line + 1, value, rest[len(name) + 1 :]), len(name)
    return best


def read(path: Path) -> StackFile:
    """Read one YAML file.

    Raises BadInputError where it does not parse, has a key twice, or is not a mapping at the top.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as problem:
        raise BadInputError(f"{path.name} is not UTF-8 text (byte {problem.start}). Save it as UTF-8.") from problem
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        line = f"{path.name}:{mark.line + 1}" if mark else path.name
        shown = text.splitlines()[mark.line].strip() if mark and mark.line < len(text.splitlines()) else ""
        raise BadInputError(
            f"{line} is not YAML: {problem.problem or problem.context}.\n"
            f"  found:   {shown or 'the end of the file'}\n"
            f"  allowed: YAML 1.2, indented with spaces; text with a colon, a brace or a percent sign in quotes\n"
            f"  change:  mend this line, or the one above it"
        ) from problem
    except YAMLError as problem:
        raise BadInputError(f"{path.name} is not YAML: {problem}. Save it as YAML 1.2 in UTF-8.") from problem
    if root is None:
        return StackFile(path, None)
    if not isinstance(root, MappingNode):
        raise BadInputError(
            f"{path.name}:{root.start_mark.line + 1} is not a Pulumi file.\n"
            f"  found:   {'a list' if isinstance(root, SequenceNode) else repr(root.value)} at the top\n"
            f"  allowed: keys and values, such as `config:` with the settings below it\n"
            f"  change:  write the settings as `key: value` lines below `config:`"
        )
    _refuse_duplicates(root, path)
    return StackFile(path, root)


def _refuse_duplicates(node: Node, path: Path) -> None:
    if isinstance(node, SequenceNode):
        for item in node.value:
            _refuse_duplicates(item, path)
    if not isinstance(node, MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, ScalarNode):
            raise BadInputError(
                f"{path.name}:{line} has a key that is itself a list or a mapping; a key is a plain word."
            )
        if key.value in seen:
            raise BadInputError(
                f"{path.name}:{line} has the key `{key.value}` a second time.\n"
                f"  found:   the first one stands on line {seen[key.value]}\n"
                f"  allowed: each key once in its section\n"
                f"  change:  remove one of the two, or merge them"
            )
        seen[key.value] = line
        _refuse_duplicates(value, path)


def plain(node: Node) -> Plain:
    """Convert a node to a plain value, by the types of YAML 1.2's core schema."""
    if isinstance(node, MappingNode):
        return {key.value: plain(value) for key, value in node.value}
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.value]
    text: str = node.value
    kind = node.tag.rpartition(":")[2]
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    try:
        if kind == "int":
            return int(text, 0) if text[:2] in ("0x", "0o") else int(text.replace("_", ""))
        if kind == "float":
            return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return text
    return text
