"""The two upgrades of docs/upgrade.md, each one line of the stack file, on a stack one version behind."""

from __future__ import annotations

import pytest

from components.versions import AWS_LOAD_BALANCER_CONTROLLER

from .harness import Deployment, Lab, Outcome

CONTROLLER = "Release ingress-aws-load-balancer-controller"
DEFINITIONS = {
    "CustomResourceDefinition ingress-aws-load-balancer-controller-"
    f"{'gateway-crds' if each.endswith('gateway.k8s.aws') else 'crds'}:{each}"
    for each in AWS_LOAD_BALANCER_CONTROLLER.crds
}


KUBERNETES = [
    "Cluster cluster-eks-eksCluster",
    "Addon cluster-kube-proxy",
    "NodeGroup cluster-system",
    "Addon cluster-coredns",
]


@pytest.fixture(scope="module")
def upgraded(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """How both went, made together on the dev stack as it was before."""
    stack = Deployment(lab, tmp_path_factory.mktemp("older") / "dev", "dev")
    stack.configure(lambda stack: stack["cluster"].update(kubernetesVersion="1.34", applyCrds=True))
    stack.configure(lambda stack: stack["ingress"].update(loadBalancerController={"version": "3.4.3"}))
    assert not stack.up().error
    stack.configure(lambda stack: stack["cluster"].update(kubernetesVersion="1.35"))
    stack.configure(lambda stack: stack["ingress"].update(loadBalancerController={"version": "3.5.0"}))
    preview, update = stack.preview(), stack.up()
    assert (preview.error, update.error) == ("", "")
    assert preview.changes == update.changes
    return update


def test_upgrades_change_what_they_are_of_and_replace_nothing(upgraded: Outcome):
    assert upgraded.changes == {"update": {*KUBERNETES, CONTROLLER, *DEFINITIONS}}


def test_a_kubernetes_minor_goes_from_the_control_plane_to_what_runs_on_the_nodes(upgraded: Outcome):
    order = [each for each in upgraded.order("update") if each in KUBERNETES]
    assert order == KUBERNETES, "each after the one before it has ended"


def test_the_controllers_kinds_are_updated_before_the_controller(upgraded: Outcome):
    order = [each for each in upgraded.order("update") if each in {CONTROLLER, *DEFINITIONS}]
    assert order[-1] == CONTROLLER, "the kinds first, which Helm would leave as they are"
