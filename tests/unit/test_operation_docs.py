"""docs/upgrade.md and docs/destroy.md: what they tell to type can be typed, and what they say of the table is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import botocore.session
import pytest
import typer.main
from botocore import xform_name

from components.versions import AWS_LOAD_BALANCER_CONTROLLER, AWS_LOAD_BALANCER_CONTROLLER_3_4, KUBERNETES
from preflight.cli import app
from settings import check_settings
from tests.unit.test_settings import GOOD

ROOT = Path(__file__).parents[2]
PAGES = {name: (ROOT / "docs" / name).read_text("utf-8") for name in ("upgrade.md", "destroy.md")}
UPGRADE = PAGES["upgrade.md"]


def commands(text: str, program: str) -> list[str]:
    """Every command of a program, in fenced blocks and in the running text."""
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines += [" ".join(one.split()) for one in re.findall(r"`([^`]+)`", prose)]
    told = [re.sub(r"\s+#.*", "", line).strip() for line in lines]
    bare = [re.sub(r"^(\w+=\S+ )+", "", line).removeprefix(".venv/bin/") for line in told]
    return sorted({line for line in bare if line.startswith(f"{program} ")})


def told(program: str) -> list[str]:
    return sorted({line for text in PAGES.values() for line in commands(text, program)})


@pytest.mark.parametrize("line", told("preflight"))
def test_a_command_of_preflight_is_one(line: str) -> None:
    command = typer.main.get_command(app)
    _, name, *arguments = shlex.split(line)
    found = command.get_command(None, name)  # type: ignore[attr-defined,arg-type]
    assert found is not None, f"there is a command {name}"
    needs = [each for each in found.params if each.required and each.param_type_name == "argument"]
    if arguments or not needs:
        found.make_context(name, list(arguments))


@pytest.mark.parametrize("line", told("aws"))
def test_a_command_of_aws_has_that_operation_and_these_parameters(line: str) -> None:
    _, service, operation, *arguments = shlex.split(line.replace("<", "").replace(">", ""))
    model = botocore.session.get_session().get_service_model(service)
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    assert operation in operations, f"{service} has {operation}"
    shape = model.operation_model(operations[operation]).input_shape
    known = {xform_name(name, "-") for name in (shape.members if shape else {})} | {"query", "filter"}
    flags = [each.removeprefix("--") for each in arguments if each.startswith("--")]
    assert [flag for flag in flags if flag not in known] == [], f"{operation} takes these"


def test_both_pages_have_commands_to_check() -> None:
    assert len(told("preflight")) > 4
    assert len(told("aws")) > 8


def test_the_kinds_that_are_applied_by_hand_are_those_of_the_preferred_controller() -> None:
    assert re.findall(r"--filename (\S+)", UPGRADE) == list(AWS_LOAD_BALANCER_CONTROLLER.crd_addresses)


def test_the_lines_of_the_stack_file_are_settings_of_the_table() -> None:
    newest = list(KUBERNETES)[-1]
    assert f'kubernetesVersion: "{newest}"    # was "{list(KUBERNETES)[-2]}"' in UPGRADE
    versions = (AWS_LOAD_BALANCER_CONTROLLER.version, AWS_LOAD_BALANCER_CONTROLLER_3_4.version)
    assert 'loadBalancerController: {{version: "{}"}}    # was "{}"'.format(*versions) in UPGRADE
    for version in versions:
        values = {**GOOD, "ingress": {"loadBalancerController": {"version": version}}}
        assert check_settings(values, stack="dev").ingress.load_balancer_controller.version == version


def test_what_is_said_of_the_gateway_api_is_what_the_table_says() -> None:
    new, old = AWS_LOAD_BALANCER_CONTROLLER, AWS_LOAD_BALANCER_CONTROLLER_3_4
    assert f"({new.version} wants {new.gateway_api}, Lattice\n{old.gateway_api})" in UPGRADE
    assert f"{old.version} keeps them" in UPGRADE


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        name, _, anchor = target.partition("#")
        text = (ROOT / "docs" / name).read_text("utf-8") if name else PAGES[page]
        headings = {
            re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in re.findall(r"^#+ (.+)", text, re.M)
        }
        assert anchor in headings, f"{target} is there"
