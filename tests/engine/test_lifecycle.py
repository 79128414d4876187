"""A stack's life from the first preview to the last deletion."""

from __future__ import annotations

from .conftest import Settled
from .doubles.tokens import BALANCER
from .harness import Deployment


def test_a_preview_names_exactly_what_the_update_then_makes(settled: Settled):
    assert settled.preview.changes == settled.first.changes


def test_every_resource_of_the_first_update_is_created(settled: Settled):
    assert set(settled.first.changes) == {"create"}


def test_the_url_of_the_stack_is_the_load_balancer_that_the_controller_made(settled: Settled):
    (balancer,) = settled.deployment.world.of_type(BALANCER)
    assert settled.deployment.outputs["url"] == f"http://{balancer.outputs['dnsName']}"


def test_a_second_update_changes_nothing(settled: Settled):
    assert settled.second.changes == {}


def test_a_refresh_finds_nothing_changed(settled: Settled):
    assert settled.refreshed.changes == {}


def test_no_command_warns(settled: Settled):
    messages = [each.messages for each in (settled.preview, settled.first, settled.second, settled.refreshed)]
    assert messages == [[]] * 4


def test_a_destroy_leaves_nothing_in_the_account(branch: Deployment):
    outcome = branch.destroy()
    assert not outcome.error
    assert branch.world.leftovers == []
    assert branch.state == []


def test_a_destroy_removes_nothing_that_had_already_gone_with_something_else(branch: Deployment):
    branch.destroy()
    assert branch.world.late == []


def test_a_destroy_takes_the_ingress_before_whatever_its_controller_needs(branch: Deployment):
    order = branch.destroy().order("delete")
    ingress = order.index("Ingress demo-ingress")
    needed = [each for each in order if each.split()[0] in NEEDED_BY_THE_CONTROLLER]
    assert {each.split()[0] for each in needed} == NEEDED_BY_THE_CONTROLLER
    assert [each for each in needed if order.index(each) < ingress] == []


NEEDED_BY_THE_CONTROLLER = {
    "Addon",
    "IngressClass",
    "NatGateway",
    "NodeGroup",
    "OpenIdConnectProvider",
    "Policy",
    "Release",
    "Role",
    "RolePolicyAttachment",
    "Route",
    "RouteTableAssociation",
    "ServiceAccount",
    "Subnet",
}
