"""Stacks of one project that refer to each other: what the one hands out, the other gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from preflight import program
from preflight.errors import BadInputError
from preflight.graph import UNKNOWN, Secret, decode

SIBLINGS = Path(__file__).parents[1] / "fixtures" / "programs" / "siblings"


def outputs(*stacks: str) -> dict[tuple[str, str], dict[str, object]]:
    recordings = program.record(SIBLINGS, stacks)
    assert [one["error"] for one in recordings] == [None] * len(recordings)
    return {
        (one["stack"], one["mode"]): {key: decode(value) for key, value in one["outputs"].items()} for one in recordings
    }


def refusal(*stacks: str) -> str:
    with program.start(SIBLINGS, stacks) as running, pytest.raises(BadInputError) as problem:
        running.checked()
    return str(problem.value)


@pytest.mark.parametrize("asked", [("base", "first"), ("first", "base"), ("first",)])
def test_a_stack_gets_what_the_one_that_it_refers_to_hands_out_in_whatever_order_they_are_asked_for(
    asked: tuple[str, ...],
) -> None:
    found = outputs(*asked)
    assert {stack for stack, _ in found} == set(asked), "a stack that nobody asked for is not reported"
    for mode in program.MODES:
        assert found["first", mode]["address"] == "10.0.0.1/32", "known in a preview too: it is read, not made"


def test_a_secret_of_one_stack_is_a_secret_of_the_other_and_nothing_else_is() -> None:
    found = outputs("first")["first", "update"]
    assert found["password"] == Secret("open sesame")
    assert found["address"] == "10.0.0.1/32"


def test_a_chain_of_stacks_is_followed_to_its_end() -> None:
    assert outputs("second")["second", "update"]["address"] == "10.0.0.1/32"


def test_whoever_judges_a_stack_sees_the_whole_chain_beside_it() -> None:
    (update,) = program.record(SIBLINGS, ["second"], ["update"])
    assert [one["stack"] for one in update.get("beside", ())] == ["first", "base"]


def test_two_stacks_that_refer_to_each_other_come_to_an_end_with_nothing_known() -> None:
    found = outputs("left", "right")
    assert [each.get("address", UNKNOWN) for each in found.values()] == [UNKNOWN] * 4


def test_a_stack_whose_neighbour_refuses_its_settings_says_so_and_says_why() -> None:
    told = refusal("leaning")
    assert told.startswith("It reads outputs of stack refused, for which the program refuses its settings:")
    assert told.endswith("broken is set")


def test_an_output_that_the_other_stack_does_not_have_is_named() -> None:
    assert "'missing' of another stack" in refusal("lacking")


def test_what_a_program_prints_is_printed_once(capfd: pytest.CaptureFixture[str]) -> None:
    outputs("first")
    assert capfd.readouterr().err.splitlines() == ["running first"], "and of the other stack nothing"


def test_preflight_toml_wins_over_the_other_stack(tmp_path: Path) -> None:
    for file in SIBLINGS.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    stated = '[stacks."organization/siblings/base"]\naddress = "192.168.0.1"\npassword = ""\n'
    (tmp_path / "preflight.toml").write_text(stated, encoding="utf-8")
    (recording,) = program.record(tmp_path, ["first"], ["update"])
    assert recording["outputs"]["address"] == "192.168.0.1/32"
