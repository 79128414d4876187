"""The policy pack under the real engine finds what `preflight check` finds, minus what a preview cannot know."""

from __future__ import annotations

import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from preflight import check
from preflight.program import start

from .conftest import WITHOUT_ENGINE
from .harness import ROOT, Deployment, Lab, Outcome

NOTE = "Note: "
LEVELS = {"mandatory": "error", "advisory": "warning"}
# Each is one wire cut, or one guard let down.
EDITS = (
    (
        "components/ingress_stack.py",
        '"create": False, "name": controller_identity',
        '"create": True, "name": controller_identity',
    ),
    ("components/ingress_stack.py", 'INGRESS_CONTROLLER = "ingress.k8s.aws/alb"', 'INGRESS_CONTROLLER = "nginx.org/x"'),
    ("components/cluster.py", "http_put_response_hop_limit=1", "http_put_response_hop_limit=2"),
)
WAIVED = "metadata-open"


@pytest.fixture(scope="module", autouse=True)
def _language_host(lab: Lab) -> None:
    del lab
    if shutil.which("pulumi-language-python") is None:
        missing = f"the language host of Python, which runs policy packs, is not beside it: {WITHOUT_ENGINE}"
        if os.environ.get("REQUIRE_ENGINE") == "1":
            pytest.fail(f"REQUIRE_ENGINE=1, and {missing}")
        pytest.skip(missing)


def program(lab: Lab, folder: Path) -> Deployment:
    """A copy of the program with the policy pack, and the environment that both run in."""
    deployment = Deployment(lab, folder)
    shutil.copytree(ROOT / "policy_pack", folder / "policy_pack", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".venv").symlink_to(sys.prefix)
    return deployment


def judged(deployment: Deployment) -> Outcome:
    """What the pack says of a program."""
    return deployment.preview_with_policies(deployment.folder / "policy_pack")


@pytest.fixture(scope="module")
def good(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The dev stack as it is."""
    return judged(program(lab, tmp_path_factory.mktemp("pack") / "good"))


@pytest.fixture(scope="module")
def broken(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """The dev stack with mistakes, one of them waived."""
    deployment = program(lab, tmp_path_factory.mktemp("pack") / "broken")
    for edit in EDITS:
        deployment.edit(*edit)
    waiver = f'[[waiver]]\nrule = "{WAIVED}"\nresource = "*"\nreason = "decided"\nexpires = 2999-12-31\n'
    (deployment.folder / "preflight.toml").write_text(waiver)
    return deployment


def found(outcome: Outcome) -> set[tuple[str, str]]:
    """Severity and rule of what is wrong."""
    return {(LEVELS[each.level], each.policy) for each in outcome.verdicts if NOTE not in each.message}


def undecided(outcome: Outcome) -> set[str]:
    """Rules that met a value that is not known, one of them in the message of another."""
    notes = [each for each in outcome.verdicts if NOTE in each.message]
    assert {each.level for each in notes} <= {"advisory"}
    return {word.strip(",.;") for each in notes for word in [each.policy, *each.message.split()]}


def test_a_good_stack_passes_with_its_one_warning(good: Outcome):
    assert not good.error
    assert found(good) == {("warning", "cluster-endpoint-open")}


def test_what_is_not_known_is_said_and_not_passed_over(good: Outcome):
    assert "alb-subnets-zones" in undecided(good), "the ids of subnets are known only after the update"


def test_what_is_wrong_and_not_waived_stops_the_deployment_and_is_what_check_finds(broken: Deployment):
    outcome = judged(broken)
    assert outcome.error, "an error stops the deployment"
    assert ("error", "account-twice") in found(outcome)
    with start(broken.folder, ["dev"]) as running:
        report = check.run(running, datetime.now(UTC).date())
    assert {each.finding.rule for each in report.waived} == {WAIVED}
    checked = {(each.severity, each.rule) for each in report.findings if each.severity != "note"}
    known = [{each for each in all_ if each[1] not in undecided(outcome)} for all_ in (found(outcome), checked)]
    assert known[0] == known[1]
