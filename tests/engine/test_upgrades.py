"""The two upgrades of docs/upgrade.md, each one line of the stack file, on a stack one version behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.versions import AWS_LOAD_BALANCER_CONTROLLER

from .harness import Deployment, Lab

CONTROLLER = "Release ingress-aws-load-balancer-controller"
DEFINITIONS = {
    "CustomResourceDefinition ingress-aws-load-balancer-controller-"
    f"{'gateway-crds' if each.endswith('gateway.k8s.aws') else 'crds'}:{each}"
    for each in AWS_LOAD_BALANCER_CONTROLLER.crds
}


@pytest.fixture(scope="module")
def older(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """The dev stack as it was before both."""
    deployment = Deployment(lab, tmp_path_factory.mktemp("older") / "dev", "dev")
    deployment.configure(lambda stack: stack["cluster"].update(kubernetesVersion="1.34", applyCrds=True))
    deployment.configure(lambda stack: stack["ingress"].update(loadBalancerController={"version": "3.4.3"}))
    assert not deployment.up().error
    return deployment


@pytest.fixture
def branch(older: Deployment, tmp_path: Path) -> Deployment:
    """A copy with a world of its own."""
    return older.branch(tmp_path / "dev")


def test_a_kubernetes_minor_goes_from_the_control_plane_to_what_runs_on_the_nodes(branch: Deployment):
    branch.configure(lambda stack: stack["cluster"].update(kubernetesVersion="1.35"))
    expected = [
        "Cluster cluster-eks-eksCluster",
        "Addon cluster-kube-proxy",
        "NodeGroup cluster-system",
        "Addon cluster-coredns",
    ]
    preview, update = branch.preview(), branch.up()
    assert (preview.error, update.error) == ("", "")
    assert preview.changes == update.changes == {"update": set(expected)}, "nothing else, and nothing is replaced"
    assert update.order("update") == expected, "each after the one before it has ended"


def test_the_controllers_kinds_are_updated_before_the_controller(branch: Deployment):
    branch.configure(lambda stack: stack["ingress"].update(loadBalancerController={"version": "3.5.0"}))
    preview, update = branch.preview(), branch.up()
    assert (preview.error, update.error) == ("", "")
    assert preview.changes == update.changes == {"update": {CONTROLLER, *DEFINITIONS}}, (
        "the kinds, which Helm would leave as they are, and the release"
    )
    assert update.order("update")[-1] == CONTROLLER
