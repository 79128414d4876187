"""The policy pack under the real engine finds what `preflight check` finds, minus what a preview cannot know."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from preflight.program import record
from preflight.rules import check
from tests.unit.rules.conftest import Recorded

from .doubles.world import World
from .harness import PROGRAM, REGIONS, ROOT, Lab

LEVELS = {"mandatory": "error", "advisory": "warning"}


@pytest.fixture(scope="module")
def pack() -> Path:
    """The policy pack with its environment, made by the Makefile's own target."""
    subprocess.run(["make", "--silent", "policy_pack/.venv/.installed"], cwd=ROOT, check=True)  # noqa: S607
    return ROOT / "policy_pack"


@dataclass(frozen=True)
class Judged:
    """A program under the policy pack, and what `preflight check` says of it."""

    exit_code: int
    output: str
    found: set[tuple[str, str]]
    """Severity and rule."""
    undecided: set[str]
    """Rules that could not be judged to the end."""
    checked: set[tuple[str, str]]


# Each is one wire cut, or one guard let down.
EDITS = (
    ("components/ingress_stack.py", '"create": False, "name"', '"create": True, "name"'),
    ("components/ingress_stack.py", 'INGRESS_CONTROLLER = "ingress.k8s.aws/alb"', 'INGRESS_CONTROLLER = "nginx.org/x"'),
    ("components/cluster.py", "http_put_response_hop_limit=1", "http_put_response_hop_limit=2"),
)


def judged(lab: Lab, pack: Path, folder: Path, *edits: tuple[str, str, str]) -> Judged:
    """Preview a copy of the program with the policy pack, in processes of their own, over the doubles."""
    folder.mkdir()
    for name in (*PROGRAM, "Pulumi.dev.yaml"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    for name, old, new in edits:
        text = (folder / name).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name} has {old} once"
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / "backend").mkdir()
    environment = {
        **os.environ,
        "PULUMI_BACKEND_URL": f"file://{folder}/backend",
        "PULUMI_CONFIG_PASSPHRASE": "for tests",
        "PULUMI_DEBUG_PROVIDERS": lab.attached["PULUMI_DEBUG_PROVIDERS"],
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_HOME": str(lab.home),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    lab.cloud.world = World(REGIONS["dev"])
    ended = [
        subprocess.run(  # noqa: S603
            ["pulumi", "--non-interactive", "--color", "never", *arguments],  # noqa: S607
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        for arguments in (["stack", "init", "dev"], ["preview", "--policy-pack", str(pack)])
    ][-1]
    lab.cloud.settle()
    lab.cloud.world = World("nowhere")
    reported = re.findall(r"\[(mandatory|advisory)\]\s+([\w-]+)", ended.stdout)
    findings = check(Recorded(*record(folder, ["dev"])).stack())
    return Judged(
        exit_code=ended.returncode,
        output=ended.stdout + ended.stderr,
        found={(LEVELS[level], rule) for level, rule in reported if not rule.endswith("-undecided")},
        undecided={rule.removesuffix("-undecided") for _, rule in reported if rule.endswith("-undecided")},
        checked={(finding.severity, finding.rule) for finding in findings if finding.severity != "note"},
    )


@pytest.fixture(scope="module")
def good(lab: Lab, pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """The dev stack as it is."""
    return judged(lab, pack, tmp_path_factory.mktemp("pack") / "good")


def test_a_good_stack_passes_with_the_warnings_of_check(good):
    assert good.exit_code == 0, good.output
    assert good.found == good.checked == {("warning", "cluster-endpoint-open")}


def test_what_is_not_known_is_said_and_not_passed_over(good):
    assert "alb-subnets-zones" in good.undecided, "the ids of subnets are known only after the update"


def test_what_is_wrong_stops_the_deployment_and_is_what_check_finds(lab, pack, tmp_path):
    broken = judged(lab, pack, tmp_path / "broken", *EDITS)
    assert broken.exit_code != 0, "an error stops the deployment"
    assert {("error", "account-twice"), ("warning", "metadata-open")} <= broken.found
    decided = {each for each in broken.found if each[1] not in broken.undecided}
    assert decided == {each for each in broken.checked if each[1] not in broken.undecided}
