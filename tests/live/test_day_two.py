"""What docs/day-two.md says of the live commands."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import boto3
from moto.iam.aws_managed_policies import aws_managed_policies_data

from preflight import cli
from preflight.access import allows
from preflight.live.asking import _PREFIXES
from preflight.live.doctor import examine
from preflight.live.leftovers import look
from preflight.live.verdict import Status
from tests.live.test_leftovers import litter
from tests.live.world import REGION

PAGE = (Path(__file__).parents[2] / "docs" / "day-two.md").read_text(encoding="utf-8")


def test_the_least_policy_has_every_action_that_is_asked_and_no_other(deployed):
    subnets = [deployed.ids[f"network-public-{REGION}{zone}"] for zone in "ac"]
    litter(deployed, deployed.ids["vpc"], subnets)
    asked: set[str] = set()
    look(deployed.recording, asked.add)
    examine(deployed.preview, deployed.recording, asked.add)
    deployed.client("eks").delete_cluster(name="eks-foundation-dev")
    examine(deployed.preview, deployed.recording, asked.add)

    actions = {action(one) for one in asked if not one.startswith("kubernetes ")} - {"sts:GetCallerIdentity"}
    actions |= {"iam:GetRolePolicy"}  # where a plan has inline policies; dev has none under a service account
    policy = json.loads(PAGE.split("<!-- policy -->\n\n```json\n")[1].split("```")[0])
    assert sorted(policy["Statement"][0]["Action"]) == sorted(actions), json.dumps(sorted(actions), indent=2)


def test_the_managed_policy_that_is_named_is_enough():
    least = json.loads(PAGE.split("<!-- policy -->\n\n```json\n")[1].split("```")[0])
    readers = json.loads(aws_managed_policies_data)["ReadOnlyAccess"]["Document"]
    wanted = least["Statement"][0]["Action"]
    assert [one for one in wanted if not allows({"ReadOnlyAccess": readers}, one).admitted] == []


def action(question: str) -> str:
    """What IAM calls a question as it is shown on a terminal."""
    service, _, words = question.partition(" ")
    client = boto3.client(service, region_name=REGION)
    operation = client.meta.method_to_api_mapping[words.replace(" ", "_")]
    return f"{_PREFIXES.get(service, service)}:{operation}"


def test_the_commands_on_the_page_are_there():
    commands = [shlex.split(line) for line in re.findall(r"^\.venv/bin/(preflight .*)$", PAGE, re.MULTILINE)]
    assert {command[1] for command in commands} == {"doctor", "leftovers"}
    assert {command[1] for command in commands} <= {one.callback.__name__ for one in cli.app.registered_commands}
    assert all(command[2:] == ["dev"] for command in commands)


def test_every_word_of_the_doctor_is_explained():
    explained = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert explained == set(Status.__args__) - {"ok"}


def test_the_exit_codes_are_those_of_the_command_line():
    codes = re.findall(r"^\| (\d) \|", PAGE, re.MULTILINE)
    assert codes == re.findall(r"\b(\d) \w", cli.__doc__.partition("Exit codes:")[2])
