"""`preflight access` as a person calls it, on a program that has none of our components."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WIRED = Path(__file__).parent.parent / "fixtures" / "programs" / "wired"


def preflight(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "preflight", "-C", str(WIRED), "access", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_one_account_of_a_foreign_program_is_explained():
    run = preflight("kube-system/aws-load-balancer-controller")
    said = " ".join(run.stdout.split())
    assert run.returncode == 0, run.stderr
    assert "becomes controller by IRSA" in said
    assert "because statement 1 allows sts:AssumeRoleWithWebIdentity" in said


def test_all_accounts_of_a_foreign_program_are_listed():
    run = preflight("--all", "dev")
    assert run.returncode == 0, run.stderr
    assert "controller by IRSA" in run.stdout
    assert "by Pod" in run.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "No service account is named."),
        (("kube-system/aws-load-balancer-controler",), "did you mean kube-system/aws-load-balancer-controller?"),
        (("a/b", "prod"), "There is no stack `prod`."),
    ],
)
def test_an_account_or_stack_that_is_not_there_is_bad_input(arguments: tuple[str, ...], words: str):
    run = preflight(*arguments)
    assert run.returncode == 2, "2 is for bad input"
    assert words in run.stderr
    assert "Traceback" not in run.stderr
