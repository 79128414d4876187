"""A sample of what goes wrong. `make faults` does all of it to every resource."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Settled
from .doubles.provider import Fault
from .faults import NOT_YET_VISIBLE, SCENARIOS, THROTTLED, Target, creation_fails, targets
from .harness import Deployment, Lab

SAMPLE = {
    "creation fails once": "Cluster cluster-eks-eksCluster",
    "deletion fails once": "NatGateway network-nat-ap-northeast-2a",
    "killed after it is made": "Vpc network-vpc",
    "killed before it is deleted": "NodeGroup cluster-system",
}


def _target(settled: Settled, label: str) -> Target:
    (found,) = [each for each in targets(settled.deployment) if each.label == label]
    return found


@pytest.mark.parametrize(("scenario", "label"), SAMPLE.items())
def test_the_next_command_or_the_documented_recovery_brings_the_stack_where_it_was_going(
    lab: Lab, settled: Settled, tmp_path: Path, scenario: str, label: str
):
    problems = SCENARIOS[scenario](lab, settled.deployment, _target(settled, label), tmp_path / "dev")
    assert list(problems) == []


def test_a_role_that_is_not_visible_yet_fails_one_update_and_is_found_by_the_next(
    lab: Lab, settled: Settled, tmp_path: Path
):
    nodes = _target(settled, "NodeGroup cluster-system")
    problems = creation_fails(lab, settled.deployment, nodes, tmp_path / "dev", message=NOT_YET_VISIBLE)
    assert list(problems) == []


def test_a_throttled_refresh_says_so_and_forgets_nothing(lab: Lab, branch: Deployment):
    before = branch.state
    lab.cloud.faults = [Fault("read", "aws:eks/nodeGroup:NodeGroup", "cluster-system", THROTTLED)]
    assert THROTTLED in branch.refresh().error
    assert [each["urn"] for each in branch.state] == [each["urn"] for each in before]


def test_a_throttled_update_is_finished_by_the_next(lab: Lab, branch: Deployment):
    branch.configure(lambda stack: stack["cluster"]["nodeGroups"]["system"].update(maxSize=6))
    lab.cloud.faults = [Fault("update", "aws:eks/nodeGroup:NodeGroup", "cluster-system", THROTTLED)]
    assert THROTTLED in branch.up().error
    assert branch.up().changes == {"update": {"NodeGroup cluster-system"}}


def test_what_somebody_deleted_by_hand_comes_back(branch: Deployment):
    (route,) = [each for each in branch.world.of_type("aws:ec2/route:Route") if "natGatewayId" in each.inputs][:1]
    branch.world.remove(route)
    assert len(branch.refresh().of("delete")) == 1
    made = branch.up()
    assert not made.error
    assert [len(each) for each in made.changes.values()] == [1]
