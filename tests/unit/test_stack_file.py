"""Pulumi's YAML files: what they mean, where things stand in them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from preflight import stack_file
from preflight.errors import BadInputError

TEXT = """\
# a comment
config:
  aws:region: eu-central-1
  shop:cluster:
    name: main
    nodeGroups:
      system:
        minSize: 1
      web.front:
        minSize: 2
    subnets: [a,
      b]
  shop:identities:
    team/reader:
      policies:
        - first
        - second
"""


def read(folder: Path, text: str) -> stack_file.StackFile:
    path = folder / "Pulumi.dev.yaml"
    path.write_text(text)
    return stack_file.read(path)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("cluster", 4),
        ("cluster.name", 5),
        ("cluster.nodeGroups.system.minSize", 8),
        ("cluster.nodeGroups.web.front.minSize", 10),
        ("cluster.subnets.1", 12),
        ("cluster.subnets[1]", 12),
        ("identities.team/reader.policies.1", 17),
        ("cluster.nodeGroups.system.maxSize", 7),
        ("cluster.missing.deeper", 4),
        ("missing", None),
    ],
)
def test_a_setting_has_a_line_and_a_missing_one_that_of_its_nearest_parent(
    tmp_path: Path, path: str, line: int | None
) -> None:
    assert read(tmp_path, TEXT).line(path, "shop") == line


@pytest.mark.parametrize("keys", [("web", "web.front"), ("web.front", "web")])
def test_the_longest_key_that_fits_a_path_is_meant(tmp_path: Path, keys: tuple[str, str]) -> None:
    first, second = keys
    text = f"config:\n  shop:{first}:\n    minSize: 1\n  shop:{second}:\n    minSize: 2\n"
    line = 3 if first == "web.front" else 5
    assert read(tmp_path, text).line("web.front.minSize", "shop") == line


def test_another_projects_setting_is_not_mistaken_for_ones_own(tmp_path: Path) -> None:
    assert read(tmp_path, TEXT).line("region", "shop") is None
    assert read(tmp_path, TEXT).line("region", "aws") == 3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("10:30", "10:30"),
        ("0755", 755),
        ("0o17", 15),
        ("0x1f", 31),
        ("1.10", 1.1),
        ("1e3", 1000.0),
        ("true", True),
        ("~", None),
        ("", None),
        ("2026-01-01", "2026-01-01"),
        ("'1.35'", "1.35"),
        ("[1, two]", [1, "two"]),
    ],
)
def test_values_are_those_of_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    assert read(tmp_path, f"key: {text}\n").values == {"key": value}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a: 1\nb: 2\na: 3\n", ["Pulumi.dev.yaml:3 has the key `a` a second time", "line 1", "remove one"]),
        ("config:\n  x:\n    k: 1\n    k: 2\n", ["Pulumi.dev.yaml:4 has the key `k` a second time", "line 3"]),
        ("config:\n  a: [1,\n", ["Pulumi.dev.yaml:", "is not YAML", "YAML 1.2"]),
        ("config:\n\ta: 1\n", ["Pulumi.dev.yaml:2 is not YAML", "spaces"]),
        ("config:\n  a: b: c\n", ["Pulumi.dev.yaml:2 is not YAML", "found:   a: b: c", "in quotes"]),
        ("just text\n", ["Pulumi.dev.yaml:1 is not a Pulumi file", "'just text'", "`config:`"]),
        ("- a\n", ["Pulumi.dev.yaml:1 is not a Pulumi file", "a list"]),
        ("? [a]\n: b\n", ["Pulumi.dev.yaml:1 has a key that is itself a list"]),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(BadInputError) as refused:
        read(tmp_path, text)
    message = str(refused.value)
    assert [part for part in parts if part not in message] == [], message


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_bytes(b"a: \xff\n")
    with pytest.raises(BadInputError, match="not UTF-8 text"):
        stack_file.read(path)


def test_an_empty_file_has_no_settings(tmp_path: Path) -> None:
    assert read(tmp_path, "# nothing\n").values == {}
    assert read(tmp_path, "").line("cluster", "shop") is None
