"""What must outlive what: each rule fires for one small change to a good stack, and no other does."""

from __future__ import annotations

import pytest

from preflight.rules import RULES
from tests.unit.rules.conftest import Change, Recorded

CLUSTER = "Cluster cluster-eks"
INGRESS = "Ingress demo-ingress"
CLASS = "IngressClass ingress-class"
CONTROLLER = "Release ingress-aws-load-balancer-controller"
CERT_MANAGER = "Release ingress-cert-manager"
NODES = "NodeGroup cluster-system"
SERVICE = "Service demo-service"
RIGHT = "RolePolicyAttachment ingress-controller-aws-load-balancer-controller"
ADDONS_AFTER = ["Addon cluster-coredns", "Addon cluster-aws-ebs-csi-driver"]
ROUTES = [
    *(f"RouteTableAssociation network-private-ap-northeast-2{zone}" for zone in "ac"),
    *(f"Route network-private-ap-northeast-2{zone}-default" for zone in "ac"),
]


def free_of_nodes(stack: Recorded) -> None:
    for release in (CONTROLLER, CERT_MANAGER):
        stack[release].forgets(NODES, *ADDONS_AFTER)


def mutator_without_order(stack: Recorded) -> None:
    stack[CONTROLLER].set("values", "enableServiceMutatorWebhook", to=True)
    stack[SERVICE].waits_for("Namespace demo-namespace")


def forget_network(stack: Recorded) -> None:
    for key in stack.names:
        if key.split()[0] in ("NodeGroup", "Release"):
            stack[key].forgets(*(one for one in ROUTES if one in stack.names))


def issuer(stack: Recorded) -> None:
    inputs = {"metadata": {"name": "own"}, "spec": {"selfSigned": {}}}
    made = stack.add("kubernetes:cert-manager.io/v1:ClusterIssuer", "own", inputs, like=SERVICE)
    made.waits_for("Namespace ingress-cert-manager")


MUTANTS: dict[str, Change] = {
    "ingress-outlives-controller": lambda stack: (
        stack[INGRESS].forgets(CONTROLLER, SERVICE),
        stack[CLASS].forgets(CONTROLLER),
    ),
    "ingress-outlives-class": lambda stack: [stack[key].forgets(CLASS) for key in (INGRESS, SERVICE)],
    "controller-outlives-rights": lambda stack: [
        stack[key].forgets(RIGHT) for key in (CONTROLLER, "ServiceAccount ingress-controller-account")
    ],
    "controller-outlives-nodes": free_of_nodes,
    "controller-outlives-network": forget_network,
    "service-before-webhook": mutator_without_order,
    "crd-before-object": issuer,
    "rights-before-use": lambda stack: stack[NODES].forgets(
        "RolePolicyAttachment cluster-node-AmazonEKSWorkerNodePolicy"
    ),
    "addon-before-nodes": lambda stack: stack["Addon cluster-coredns"].forgets(NODES),
    "addon-after-nodes": lambda stack: stack[NODES].forgets("Addon cluster-kube-proxy"),
    "log-group-before-cluster": lambda stack: stack[CLUSTER].forgets("LogGroup cluster-control-plane"),
    "load-balancer-abandoned": lambda stack: stack[INGRESS].option(deletedWith=stack[CLUSTER].raw["urn"]),
}


@pytest.mark.parametrize("rule", MUTANTS)
def test_a_small_change_makes_exactly_this_rule_fire(rule, dev, new_findings):
    found = new_findings(dev, MUTANTS[rule])
    assert {one.rule for one in found} == {rule}, found
    assert {one.severity for one in found} == {RULES[rule].severity}, "the finding has the rule's severity"
    assert all(one.message.endswith(".") and one.fix.endswith(".") for one in found), "both are sentences"
