"""A mesh and two clusters: up, side by side, down one by one. Calls are judged by the policies in the world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from preflight.access import PodIdentitySession
from preflight.calls import EVERYTHING, Caller, Guard, judge

from .conftest import Settled
from .doubles import kinds_eks, lattice
from .doubles.iam import INLINE, ROLE
from .doubles.kubernetes import DEPLOYMENT
from .doubles.provider import Fault
from .doubles.tokens import CLUSTER, LATTICE_SERVICE, NETWORK_ASSOCIATION, RECORD
from .doubles.world import Kube, Thing, World
from .faults import SCENARIOS, targets
from .harness import Deployment, Lab, Outcome

PORT = 8090
"""Where the demo's pods listen."""


@dataclass
class Mesh:
    """Three stacks of one program in one world."""

    mesh: Deployment
    cluster1: Deployment
    cluster2: Deployment
    first: Mapping[str, Outcome]

    @property
    def world(self) -> World:
        return self.mesh.world

    def branch(self, folder: Path) -> Mesh:
        mesh = self.mesh.branch(folder)
        return Mesh(mesh, mesh.beside("cluster1"), mesh.beside("cluster2"), self.first)


@pytest.fixture(scope="module")
def settled(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    """The mesh, then both clusters at the same time."""
    mesh = Deployment(lab, tmp_path_factory.mktemp("mesh") / "mesh", "mesh")
    first = {"mesh": mesh.up()}
    cluster1, cluster2 = mesh.beside("cluster1"), mesh.beside("cluster2")
    assert not (preview := cluster1.preview()).error, preview.error
    first["cluster1"], first["cluster2"] = cluster1.up_with(cluster2)
    for stack, outcome in first.items():
        assert not outcome.error, f"{stack} has to come up: {outcome.error}"
    return Mesh(mesh, cluster1, cluster2, first)


@pytest.fixture
def branch(settled: Mesh, tmp_path: Path) -> Mesh:
    """The same, with states and a world of its own."""
    return settled.branch(tmp_path / "mesh")


def kube(world: World, cluster: str) -> Kube:
    return next(each for each in world.kubes.values() if each.cluster_name == cluster)


def services(world: World) -> dict[str, Thing]:
    return {each.inputs["host"]: each for each in world.of_type(LATTICE_SERVICE)}


def caller(world: World, cluster: str, namespace: str = "apps") -> Caller:
    """The pods of a namespace, as their cluster lets them sign."""
    bound = kinds_eks.association_of(world, cluster, namespace, "default")
    if bound is None:
        return Caller()
    role = world.find(ROLE, "arn", bound.inputs["roleArn"])
    assert role is not None, f"{namespace}/default in {cluster} has a role that is there"
    policies = {each.id: each.inputs["policy"] for each in world.pointing(INLINE, "role", role.outputs["name"])}
    session = PodIdentitySession(world.arn("eks", f"cluster/{cluster}"), namespace, "default")
    return Caller(role.outputs["arn"], session.tags, policies)


def verdict(world: World, who: Caller, service: Thing) -> str:
    """What AWS says to a call, by the policies that are in force."""
    network = Guard("network", *lattice.network_policy(world, service))
    own = Guard("service", service.outputs["authType"], service.outputs["policy"])
    return judge(who, (network, own), f"{service.outputs['arn']}/").word


def strangers(world: World) -> dict[str, Caller]:
    """Whom no service admits."""
    (role,) = [each for each in world.of_type(ROLE) if "client" in each.outputs["name"]]
    tags = {"eks-cluster-name": "cluster2", "kubernetes-namespace": "apps"}
    arn = role.outputs["arn"]
    return {
        "unsigned": Caller(),
        "another namespace": Caller(arn, {**tags, "kubernetes-namespace": "shop"}, EVERYTHING),
        "another cluster": Caller(arn, {**tags, "eks-cluster-name": "cluster3"}, EVERYTHING),
        "another role": Caller(arn.rpartition("/")[0] + "/other", tags, EVERYTHING),
        "another account": Caller(arn.replace("111122223333", "444455556666"), tags, EVERYTHING),
    }


def test_a_second_update_of_each_stack_changes_nothing(branch: Mesh):
    for stack in (branch.mesh, branch.cluster1, branch.cluster2):
        again = stack.up()
        assert (again.error, again.changes) == ("", {}), f"{stack.name} is as it was"


def test_a_refresh_of_each_stack_finds_nothing_changed(branch: Mesh):
    for stack in (branch.mesh, branch.cluster1, branch.cluster2):
        again = stack.refresh()
        assert (again.error, again.changes) == ("", {}), f"{stack.name} is as it was"


def test_each_cluster_calls_the_service_of_the_other_one_and_not_its_own(settled: Mesh):
    world = settled.world
    said = {
        (cluster, host): verdict(world, caller(world, cluster), service)
        for cluster in ("cluster1", "cluster2")
        for host, service in services(world).items()
    }
    assert said == {
        ("cluster1", "demo-cluster1.example.com"): "refused",
        ("cluster1", "demo-cluster2.example.com"): "admitted",
        ("cluster2", "demo-cluster1.example.com"): "admitted",
        ("cluster2", "demo-cluster2.example.com"): "refused",
    }


def test_a_call_finds_its_way_from_each_cluster_to_each_service(settled: Mesh):
    world = settled.world
    for each in world.kubes.values():
        for service in services(world).values():
            assert list(lattice.reaches(world, each, service)) == []
        assert list(lattice.target_problems(world, each, PORT)) == []


def test_the_demo_pods_get_the_redirection_and_the_proxy(settled: Mesh):
    for each in settled.world.kubes.values():
        (deployment,) = each.of_type(DEPLOYMENT)
        assert deployment.injected == [lattice.REDIRECT, lattice.PROXY]


def test_no_stranger_is_admitted_and_no_service_was_ever_open(settled: Mesh):
    world = settled.world
    said = {
        (who, host): verdict(world, each, service)
        for who, each in strangers(world).items()
        for host, service in services(world).items()
    }
    assert set(said.values()) == {"refused"}, said
    assert world.opened == []


def test_one_cluster_goes_alone_and_leaves_the_other_as_it_was_and_closed(branch: Mesh):
    outcome = branch.cluster2.destroy()
    world = branch.world
    assert not outcome.error
    assert branch.cluster2.state == []
    assert [each.inputs["name"] for each in world.of_type(RECORD)] == ["demo-cluster1.example.com"]
    assert list(services(world)) == ["demo-cluster1.example.com"]
    assert [each.outputs["name"] for each in world.of_type(CLUSTER)] == ["cluster1"]
    assert len(world.of_type(NETWORK_ASSOCIATION)) == 1
    assert {
        who: verdict(world, each, services(world)["demo-cluster1.example.com"])
        for who, each in strangers(world).items()
    } == dict.fromkeys(strangers(world), "refused")
    assert world.opened == [], "and no service was open for a moment either"
    for stack in (branch.cluster1, branch.mesh):
        assert stack.up().changes == {}, f"{stack.name} has nothing to mend"


def test_then_the_rest_goes_and_nothing_is_left_to_be_done_by_hand(branch: Mesh):
    for stack in (branch.cluster2, branch.cluster1, branch.mesh):
        outcome = stack.destroy()
        assert not outcome.error, f"{stack.name}: {outcome.error}"
        assert stack.state == []
    assert branch.world.leftovers == []
    assert branch.world.late == [], "nothing had gone before its turn"


def test_a_mesh_does_not_go_while_clusters_use_it_and_the_attempt_opens_nothing(branch: Mesh):
    world, callers = branch.world, strangers(branch.world)
    outcome = branch.mesh.destroy(continue_on_error=True)
    assert "ResourceInUseException: Certificate" in outcome.error
    assert "ConflictException: service network" in outcome.error
    assert {verdict(world, each, one) for each in callers.values() for one in services(world).values()} == {"refused"}


ROUTE = ("kubernetes:gateway.networking.k8s.io/v1:HTTPRoute", "gateway-demo-cluster1-route")
GATEWAY = ("kubernetes:gateway.networking.k8s.io/v1:Gateway", "gateway-gateway")
COMPONENT = "components/lattice_gateway.py"


def destroy_with_one_failure(lab: Lab, deployment: Deployment, what: tuple[str, str]) -> str:
    """The error of a second destroy, after a first one that went on when one deletion failed."""
    lab.cloud.faults = [Fault("delete", *what, "Throttled")]
    first = deployment.destroy(continue_on_error=True).error
    assert "Throttled" in first, first[-3000:]
    return deployment.destroy().error


@pytest.mark.parametrize("what", [ROUTE, GATEWAY], ids=["route", "gateway"])
def test_with_its_edges_a_cluster_comes_down_closed_even_if_a_deletion_failed_at_first(
    lab: Lab, branch: Mesh, what: tuple[str, str]
):
    assert not destroy_with_one_failure(lab, branch.cluster1, what)
    assert branch.cluster1.state == []
    assert branch.world.opened == []
    assert list(services(branch.world)) == ["demo-cluster2.example.com"]


def cut(branch: Mesh, old: str, new: str) -> None:
    """Take an edge out of the program and of the live stack; no resource is touched by that."""
    branch.cluster1.edit(COMPONENT, old, new)
    update = branch.cluster1.up()
    assert not update.error
    assert update.changes == {}


def test_a_policy_that_its_route_does_not_wait_for_leaves_the_service_open(lab: Lab, branch: Mesh):
    cut(
        branch, "opts=in_cluster(gateway, policy, backend, deployment)", "opts=in_cluster(gateway, backend, deployment)"
    )
    destroy_with_one_failure(lab, branch.cluster1, ROUTE)
    assert branch.world.opened == ["demo-cluster1-apps"]


def test_a_gateway_that_does_not_wait_for_its_class_never_goes(lab: Lab, branch: Mesh):
    cut(branch, "opts=in_cluster(gateway_class)", "opts=in_cluster(controller)")
    assert "its class is gone, so it is nobody's" in destroy_with_one_failure(lab, branch.cluster1, GATEWAY)


def test_a_class_that_does_not_wait_for_the_controller_leaves_nobody_to_clean_up(branch: Mesh):
    cut(
        branch,
        'spec={"controllerName": GATEWAY_CONTROLLER},\n            opts=in_cluster(controller),',
        'spec={"controllerName": GATEWAY_CONTROLLER},\n            opts=in_cluster(),',
    )
    assert "aws-gateway-controller-chart is not installed" in branch.cluster1.destroy().error


@pytest.mark.parametrize(
    ("scenario", "label"),
    [
        ("killed after it is made", "Gateway gateway-gateway"),
        ("killed before it is deleted", "HTTPRoute gateway-demo-cluster1-route"),
    ],
)
def test_a_cluster_gets_where_it_was_going_after_a_fault(
    lab: Lab, stacks: Callable[[str], Settled], tmp_path: Path, scenario: str, label: str
):
    cluster = stacks("cluster1").deployment
    (target,) = [each for each in targets(cluster) if each.label == label]
    assert list(SCENARIOS[scenario](lab, cluster, target, tmp_path / "played")) == []
