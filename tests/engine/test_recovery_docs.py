"""docs/recovery.md says what the tests do, and the commands of all three pages are ones."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest

from .conftest import Settled
from .doubles.aws import KINDS
from .harness import ROOT

TEXT = (ROOT / "docs" / "recovery.md").read_text()
ROWS = dict(re.findall(r"^\| `([^`]+:[^`]+)` \| (.+?) \|", TEXT, re.MULTILINE))


def test_every_type_of_the_stack_says_how_it_is_imported(settled: Settled):
    types = {each["type"] for each in settled.deployment.state if each.get("custom")}
    ours = {each for each in types if each.startswith("aws:")} | {"kubernetes:*"}
    assert ours - ROWS.keys() == set()


def test_an_id_of_several_parts_is_written_with_the_separators_that_the_import_takes():
    separators = {
        kind: re.sub(r"\{\w+\}", "", each.imported or each.identity)
        for kind, each in KINDS.items()
        if kind in ROWS
        and (each.imported or each.identity).count("{") > 1
        and "hex" not in each.identity + each.imported
    }
    told = {kind: re.sub(r"<[^>]*>|a-…", "", re.findall(r"`([^`]+)`", ROWS[kind])[0]) for kind in separators}
    assert told == separators


def test_the_recovery_from_a_killed_process_is_the_one_that_is_played():
    commands = re.findall(r"^ *(pulumi [^#\n]+?) *(?:#.*)?$", TEXT, re.MULTILINE)
    played = [
        "pulumi cancel --yes",
        "pulumi refresh --clear-pending-creates",
        "pulumi preview --import-file import.json",
        "pulumi import --file import.json --protect=false --generate-code=false",
        "pulumi up",
    ]
    positions = [commands.index(each) for each in played[:-1]]
    assert positions == sorted(positions)
    assert commands[positions[-1] + 1] == played[-1]


@pytest.mark.parametrize("page", ["recovery.md", "upgrade.md", "destroy.md"])
def test_every_pulumi_command_has_the_flags_that_are_told(page: str):
    text = (ROOT / "docs" / page).read_text()
    told = set(re.findall(r"^ *(?:[A-Z_0-9]+=\S+ )*(pulumi [^#\n|]+?) *(?:#.*|\|.*)?$", text, re.MULTILINE))
    assert told, "there are commands to check"
    for line in sorted(told):
        words = shlex.split(line)[1:]
        verbs = [word for word in words if re.fullmatch(r"[a-z]+", word)]
        usage = subprocess.run(["pulumi", *verbs, "--help"], capture_output=True, text=True, check=True).stdout  # noqa: S603, S607
        flags = [word.partition("=")[0] for word in words if word.startswith("--")]
        assert [flag for flag in flags if not re.search(rf"{flag}\b", usage)] == [], line
