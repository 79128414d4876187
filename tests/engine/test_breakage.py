"""Without the edges that the components draw, a destroy leaks: this is what they are for.

The engine takes resources away level by level, counted from those that depend on nothing. So what an Ingress needs
often goes after it by luck. Luck ends when the deletion of the Ingress fails and the rest goes on: then only what it
depends on, by an edge, is held back.
"""

from __future__ import annotations

import pytest

from .doubles.provider import Fault
from .doubles.tokens import BALANCER, VPC
from .harness import Deployment, Lab

INGRESS = "kubernetes:networking.k8s.io/v1:Ingress"
HANGING = "timed out waiting for finalizers ['ingress.k8s.aws/resources']"

RELEASE_WITHOUT_ATTACHMENTS = (
    ("components/pod_role.py", "depends_on=[*args.wait_for, *attachments],", "depends_on=[*args.wait_for],"),
    ("components/pod_role.py", "self.ready = [*attachments]", "self.ready = []"),
)
RELEASE_WITHOUT_ROUTES = (
    (
        "components/network.py",
        'self.ready.append(default_route(f"private-{zone}", table, nat_gateway_id=nat.id))',
        'default_route(f"private-{zone}", table, nat_gateway_id=nat.id)',
    ),
)
INGRESS_WITHOUT_CONTROLLER = (
    ("components/demo_app.py", "depends_on=[*args.ingress_ready, deployment],", "depends_on=[deployment],"),
    ("components/demo_app.py", "opts=child(*args.ingress_ready),", "opts=child(),"),
)


def _cut(branch: Deployment, edges: tuple[tuple[str, str, str], ...]) -> None:
    """Take edges out of the program and of the live stack; no resource is touched by that."""
    for path, old, new in edges:
        branch.edit(path, old, new)
    update = branch.up()
    assert not update.error
    assert update.changes == {}


def _destroy_with_a_throttled_ingress(lab: Lab, branch: Deployment) -> str:
    """The error of the second destroy, after a first one that went on when the Ingress could not be deleted."""
    lab.cloud.faults = [Fault("delete", INGRESS, "demo-ingress", "Throttled")]
    assert "Throttled" in branch.destroy(continue_on_error=True).error
    return branch.destroy().error


def _leaks(deployment: Deployment) -> bool:
    """A load balancer is still there, its Ingress hangs, and so the VPC cannot go."""
    (kube,) = deployment.world.kubes.values()
    return bool(deployment.world.of_type(BALANCER) and kube.of_type(INGRESS) and deployment.world.of_type(VPC))


def test_with_its_edges_a_stack_comes_down_even_if_the_ingress_could_not_be_deleted_at_first(
    lab: Lab, branch: Deployment
):
    assert not _destroy_with_a_throttled_ingress(lab, branch)
    assert branch.world.leftovers == []


@pytest.mark.parametrize("edges", [RELEASE_WITHOUT_ATTACHMENTS, RELEASE_WITHOUT_ROUTES], ids=["attachments", "routes"])
def test_a_release_that_does_not_wait_for_what_it_needs_leaks_its_load_balancer(
    lab: Lab, branch: Deployment, edges: tuple[tuple[str, str, str], ...]
):
    _cut(branch, edges)
    assert HANGING in _destroy_with_a_throttled_ingress(lab, branch)
    assert _leaks(branch)


def test_an_ingress_that_does_not_wait_for_its_controller_leaks_its_load_balancer(branch: Deployment):
    _cut(branch, INGRESS_WITHOUT_CONTROLLER)
    assert HANGING in branch.destroy().error
    assert _leaks(branch)
