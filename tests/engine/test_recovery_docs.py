"""docs/recovery.md says what the tests do, and the commands of all three pages are ones."""

from __future__ import annotations

import json
import re
import shlex
import subprocess

import pytest

from .doubles.aws import KINDS
from .doubles.wire import type_of
from .faults import NEVER_IMPORTED
from .harness import REGIONS, ROOT, Lab

TEXT = (ROOT / "docs" / "recovery.md").read_text()
ROWS = dict(re.findall(r"^\| `([^`]+:[^`]+)` \| (.+?) \|", TEXT, re.MULTILINE))


@pytest.mark.parametrize("stack", REGIONS)
def test_every_type_of_a_stack_says_how_it_is_imported(stack: str):
    pinned = json.loads((ROOT / "tests" / "program" / "pinned" / f"{stack}.json").read_text())
    types = {type_of(urn) for urn in pinned}
    ours = {each for each in types if each.startswith("aws:")} | {"kubernetes:*", "tls:*"}
    assert ours - ROWS.keys() == set()


def test_what_cannot_be_imported_is_what_the_played_recovery_leaves_to_the_update():
    assert {kind for kind, told in ROWS.items() if told.startswith("none")} == NEVER_IMPORTED | {"tls:*"}


def test_an_id_of_several_parts_is_written_with_the_separators_that_the_import_takes():
    separators = {
        kind: re.sub(r"\{\w+\}", "", each.imported or each.identity)
        for kind, each in KINDS.items()
        if kind in ROWS.keys() - NEVER_IMPORTED
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
def test_every_pulumi_command_has_the_flags_that_are_told(page: str, lab: Lab):
    assert lab.command.command, "the commands are those of the engine"
    text = (ROOT / "docs" / page).read_text()
    told = set(re.findall(r"^ *(?:[A-Z_0-9]+=\S+ )*(pulumi [^#\n|]+?) *(?:#.*|\|.*)?$", text, re.MULTILINE))
    assert told, "there are commands to check"
    for line in sorted(told):
        words = shlex.split(line)[1:]
        verbs = [word for word in words if re.fullmatch(r"[a-z]+", word)]
        usage = subprocess.run(["pulumi", *verbs, "--help"], capture_output=True, text=True, check=True).stdout  # noqa: S603, S607
        flags = [word.partition("=")[0] for word in words if word.startswith("--")]
        assert [flag for flag in flags if not re.search(rf"{flag}\b", usage)] == [], line
