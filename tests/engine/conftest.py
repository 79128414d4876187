"""The engine tier: the real `pulumi` command over provider doubles."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from .harness import Deployment, Lab, Outcome, laboratory

WITHOUT_ENGINE = (
    "the `pulumi` command is not on PATH; get it with `curl -fsSL https://get.pulumi.com | sh` or"
    " `brew install pulumi/tap/pulumi`, see https://www.pulumi.com/docs/install/"
)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Generator[Lab]:
    """Engine and doubles, once for all tests."""
    if shutil.which("pulumi") is None:
        if os.environ.get("REQUIRE_ENGINE") == "1":
            pytest.fail(f"REQUIRE_ENGINE=1, and {WITHOUT_ENGINE}")
        pytest.skip(WITHOUT_ENGINE)
    with laboratory(tmp_path_factory.mktemp("pulumi-home")) as started:
        yield started


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_ERROR_OUTPUT_STRING", "true")
    for key in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(key)


@pytest.fixture(autouse=True)
def _no_defect_of_a_double(request: pytest.FixtureRequest) -> Generator[None]:
    """A test in which a double had no answer proves nothing, however green it is."""
    yield
    if "lab" in request.fixturenames:
        lab: Lab = request.getfixturevalue("lab")
        defects, lab.cloud.defects = lab.cloud.defects, []
        lab.cloud.faults.clear()
        assert not defects, f"the doubles could not answer: {defects}"


@dataclass
class Settled:
    """A stack that is up, and how that went."""

    deployment: Deployment
    preview: Outcome
    first: Outcome


def settle(lab: Lab, folder: Path, stack: str) -> Settled:
    """Preview a stack and deploy it."""
    deployment = Deployment(lab, folder, stack)
    preview, first = deployment.preview(), deployment.up()
    assert not preview.error, f"the preview of stack {stack} has to succeed: {preview.error}"
    assert not first.error, f"the update of stack {stack} has to succeed: {first.error}"
    return Settled(deployment, preview, first)


@pytest.fixture(scope="session")
def stacks(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Settled]:
    """Any stack, deployed when it is first asked for. Tests branch it and leave it as it is."""
    return cache(lambda stack: settle(lab, tmp_path_factory.mktemp("settled") / stack, stack))


@pytest.fixture(scope="session")
def settled(stacks: Callable[[str], Settled]) -> Settled:
    """The dev stack."""
    return stacks("dev")


@pytest.fixture
def branch(settled: Settled, tmp_path: Path) -> Deployment:
    """The dev stack, with state and world of its own."""
    return settled.deployment.branch(tmp_path / "dev")
