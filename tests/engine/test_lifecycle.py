"""A stack's life from the first preview to the last deletion, for every stack that needs no other one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from .conftest import Settled
from .doubles.balancers import PARAMETERS
from .doubles.kubernetes import DEFINITION, INGRESS
from .doubles.tokens import BALANCER, CERTIFICATE, RECORD
from .harness import NEEDS, REGIONS, Deployment, Outcome

# What a stack says on purpose, each time.
WARNINGS = {"kiam": "Kiam was abandoned"}
WITH_INGRESS = {"dev", "isolated", "prod"}
WITH_NAMES = {"prod"}


@dataclass
class Life:
    """A stack after its first day, and how that day went."""

    deployment: Deployment
    preview: Outcome
    first: Outcome
    second: Outcome
    refreshed: Outcome


@pytest.fixture(scope="module", params=sorted(REGIONS.keys() - NEEDS.keys() - set(NEEDS.values())))
def life(
    request: pytest.FixtureRequest, stacks: Callable[[str], Settled], tmp_path_factory: pytest.TempPathFactory
) -> Life:
    """A stack that was previewed, deployed, deployed again and refreshed."""
    up = stacks(request.param)
    deployment = up.deployment.branch(tmp_path_factory.mktemp("again") / request.param)
    return Life(deployment, up.preview, up.first, deployment.up(), deployment.refresh())


@dataclass
class Gone:
    """What is left of a stack."""

    deployment: Deployment
    outcome: Outcome
    kept: set[str]
    """The ids of what the program leaves behind on purpose."""


@pytest.fixture(scope="module")
def gone(life: Life, tmp_path_factory: pytest.TempPathFactory) -> Gone:
    """The stack after a destroy."""
    deployment = life.deployment.branch(tmp_path_factory.mktemp("gone") / life.deployment.name)
    if deployment.settings.get("protect"):
        # What is protected goes in two steps, each of which somebody has to want.
        deployment.configure(lambda stack: stack.update(protect=False))
        assert not deployment.up().error
    kept = deployment.kept
    return Gone(deployment, deployment.destroy(), kept)


def test_a_preview_names_exactly_what_the_update_then_makes(life: Life):
    made = life.first.changes["create"]
    if any(label.startswith("ConfigFile ") for label in made):
        # Manifests are read by the provider, which the engine does not call before there is a cluster.
        made = {label for label in made if not label.startswith("CustomResourceDefinition ")}
    assert life.preview.changes == {"create": made}


def test_definitions_of_kinds_are_there_and_stay_when_they_leave_the_program(life: Life):
    definitions = [each for each in life.deployment.state if each["urn"].split("::")[2].endswith(DEFINITION)]
    manifests = [label for label in life.first.changes["create"] if label.startswith("ConfigFile ")]
    assert bool(definitions) == bool(manifests), "each manifest holds definitions"
    assert all(each["retainOnDelete"] for each in definitions), "a definition takes every object of its kind along"


def test_every_resource_of_the_first_update_is_created(life: Life):
    assert set(life.first.changes) == {"create"}


def test_a_second_update_changes_nothing(life: Life):
    assert not life.second.error
    assert life.second.changes == {}


def test_a_refresh_finds_nothing_changed(life: Life):
    assert not life.refreshed.error
    assert life.refreshed.changes == {}


def test_no_command_warns_of_anything_unexpected(life: Life):
    messages = [
        each for outcome in (life.preview, life.first, life.second, life.refreshed) for each in outcome.messages
    ]
    expected = WARNINGS.get(life.deployment.name)
    assert [each for each in messages if expected is None or not each.startswith(expected)] == []


def test_a_destroy_leaves_nothing_in_the_account(gone: Gone):
    assert not gone.outcome.error
    assert gone.deployment.world.beside(gone.kept) == []
    assert gone.deployment.state == []


def test_a_destroy_removes_nothing_that_had_already_gone_with_something_else(gone: Gone):
    assert gone.deployment.world.late == []


def test_the_url_of_the_dev_stack_is_the_load_balancer_that_the_controller_made(settled: Settled):
    (balancer,) = settled.deployment.world.of_type(BALANCER)
    assert settled.deployment.outputs["url"] == f"http://{balancer.outputs['dnsName']}"


def test_every_host_of_an_ingress_leads_to_its_load_balancer(life: Life):
    world = life.deployment.world
    (kube,) = world.kubes.values()
    wanted = {
        (rule["host"], ingress.outputs["status"]["loadBalancer"]["ingress"][0]["hostname"])
        for ingress in kube.of_type(INGRESS)
        for rule in ingress.inputs["spec"]["rules"]
        if "host" in rule
    }
    found = {(each.inputs["name"], *each.inputs["records"]) for each in world.of_type(RECORD) if each.id.endswith("_A")}
    assert found == wanted
    assert bool(found) == (life.deployment.name in WITH_NAMES)


def test_ingresses_of_a_class_with_https_share_one_load_balancer(life: Life):
    world = life.deployment.world
    (kube,) = world.kubes.values()
    if kube.of_type(PARAMETERS):
        (balancer,) = world.of_type(BALANCER)
        assert len(kube.of_type(INGRESS)) > 1
        assert balancer.inputs["certificates"] == [each.id for each in world.of_type(CERTIFICATE)]


def test_a_destroy_takes_every_ingress_before_certificates_and_what_keeps_their_names(gone: Gone):
    order = gone.outcome.order("delete")
    ingresses = [order.index(each) for each in order if each.startswith("Ingress ")]
    later = [each for each in order if each.startswith("Certificate ") or "external-dns" in each]
    assert bool(later) == (gone.deployment.name in WITH_NAMES)
    assert [each for each in later if order.index(each) < max(ingresses, default=0)] == []


NEEDED_BY_THE_CONTROLLER = {
    "Addon",
    "IngressClass",
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
    "VpcEndpoint",
}


def test_a_destroy_takes_an_ingress_before_whatever_its_controller_needs(gone: Gone):
    order = gone.outcome.order("delete")
    ingresses = [each for each in order if each.startswith("Ingress ")]
    assert bool(ingresses) == (gone.deployment.name in WITH_INGRESS)
    for ingress in ingresses:
        kinds = NEEDED_BY_THE_CONTROLLER | (
            {"NatGateway"} if gone.deployment.settings["network"]["nat"] != "none" else set()
        )
        needed = [each for each in order if each.split()[0] in kinds]
        assert {each.split()[0] for each in needed} == kinds
        assert [each for each in needed if order.index(each) < order.index(ingress)] == []
