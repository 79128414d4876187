"""With `protect: true` an edit that would replace or remove what holds a stack together stops, with its name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from .conftest import Settled
from .doubles.tokens import CLUSTER, KEY, SUBNET, VPC
from .harness import Deployment


@pytest.fixture(scope="module")
def protected(settled: Settled, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """The dev stack with `protect: true`."""
    deployment = settled.deployment.branch(tmp_path_factory.mktemp("protected") / "dev")
    deployment.configure(lambda stack: stack.update(protect=True))
    outcome = deployment.up()
    assert not outcome.error
    assert outcome.changes == {"update": {"Cluster cluster-eks-eksCluster"}}
    return deployment


def _others(stack: dict[str, Any]) -> None:
    stack["network"]["cidr"] = "10.1.0.0/16"
    stack["network"]["zones"][1] = "ap-northeast-2b"
    stack["cluster"]["name"] = "renamed"


def test_the_preview_refuses_to_replace_what_holds_the_stack_together(protected: Deployment, tmp_path: Path):
    branch = protected.branch(tmp_path / "dev")
    branch.configure(_others)
    outcome = branch.preview()
    assert outcome.error
    refused = {name for each in outcome.messages if "protect" in each for name in re.findall(r'::([\w-]+)"', each)}
    assert refused == {
        "network-vpc",
        "network-public-ap-northeast-2a",
        "network-public-ap-northeast-2c",
        "network-private-ap-northeast-2a",
        "network-private-ap-northeast-2c",
        "cluster-eks-eksCluster",
    }


def test_the_preview_of_a_destroy_refuses_it(protected: Deployment):
    outcome = protected.preview_destroy()
    assert outcome.error
    assert "is protected" in outcome.messages[0]


def test_even_without_a_preview_nothing_protected_goes(protected: Deployment, tmp_path: Path):
    branch = protected.branch(tmp_path / "dev")
    assert branch.destroy().error
    kinds = (VPC, SUBNET, CLUSTER, KEY)
    assert [each.id for each in branch.world.of_type(*kinds)] == [each.id for each in protected.world.of_type(*kinds)]
