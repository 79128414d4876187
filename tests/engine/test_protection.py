"""With `protect: true` an edit that would replace or remove what holds a stack together stops, with its name."""

from __future__ import annotations

from collections.abc import Callable
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


def _another_range(stack: dict[str, Any]) -> None:
    stack["network"]["cidr"] = "10.1.0.0/16"


def _another_name(stack: dict[str, Any]) -> None:
    stack["cluster"]["name"] = "renamed"


def _another_zone(stack: dict[str, Any]) -> None:
    stack["network"]["zones"][1] = "ap-northeast-2b"


@pytest.mark.parametrize(
    ("change", "resource"),
    [
        (_another_range, "Vpc::network-vpc"),
        (_another_name, "Cluster::cluster-eks-eksCluster"),
        (_another_zone, "Subnet::network-private-ap-northeast-2c"),
    ],
)
def test_the_preview_refuses_it(
    protected: Deployment, tmp_path: Path, change: Callable[[dict[str, Any]], None], resource: str
):
    branch = protected.branch(tmp_path / "dev")
    branch.configure(change)
    outcome = branch.preview()
    assert outcome.error
    (message,) = [each for each in outcome.messages if f'{resource}"' in each]
    assert "protect" in message


def test_the_preview_of_a_destroy_refuses_it(protected: Deployment):
    outcome = protected.preview_destroy()
    assert outcome.error
    assert "is protected" in outcome.messages[0]


def test_even_without_a_preview_nothing_protected_goes(protected: Deployment, tmp_path: Path):
    branch = protected.branch(tmp_path / "dev")
    assert branch.destroy().error
    kinds = (VPC, SUBNET, CLUSTER, KEY)
    assert [each.id for each in branch.world.of_type(*kinds)] == [each.id for each in protected.world.of_type(*kinds)]
