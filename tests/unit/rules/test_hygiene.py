"""What goes wrong in any Pulumi program: each rule fires for one small change to a good stack, and no other does."""

from __future__ import annotations

import pytest

from preflight.rules import RULES
from tests.unit.rules.conftest import Change, Recorded

INGRESS = "Ingress demo-ingress"
SERVICE = "Service demo-service"
DEPLOYMENT = "Deployment demo-deployment"
CONTROLLER = "Release ingress-aws-load-balancer-controller"
PROVIDER = "kubernetes cluster-kubernetes"
NODES = "NodeGroup cluster-system"
GROUP = "SecurityGroup cluster-nodes"
ROLE = "Role cluster-node"
CONTAINER = ("spec", "template", "spec", "containers", 0)


def doubled(stack: Recorded) -> None:
    stack.add("kubernetes:core/v1:Service", "second", stack[SERVICE].get(), like=SERVICE)


def look_up(stack: Recorded) -> None:
    token = "aws:index/getAvailabilityZones:getAvailabilityZones"  # noqa: S105 - a function's name
    stack.update["invokes"].append({"token": token, "args": {}, "answer": {}, "origin": "table"})


def only_in_update(stack: Recorded) -> None:
    stack.preview["resources"].remove(
        next(one for one in stack.preview["resources"] if one["urn"] == stack[SERVICE].raw["urn"])
    )


MUTANTS: dict[str, Change] = {
    "kubernetes-default-provider": lambda stack: stack["Namespace demo-namespace"].option(provider=""),
    "aws-default-provider": lambda stack: stack["LogGroup cluster-control-plane"].option(provider=""),
    "kubeconfig-object": lambda stack: stack[PROVIDER].set("kubeconfig", to={"apiVersion": "v1"}),
    "provider-identity": lambda stack: stack[PROVIDER].unset("clusterIdentifier"),
    "output-as-text": lambda stack: stack[DEPLOYMENT].set(
        *CONTAINER, "env", to=[{"name": "ROLE", "value": "Calling __str__ on an Output[T] is not supported."}]
    ),
    "secret-in-plain": lambda stack: stack[DEPLOYMENT].set(
        *CONTAINER, "env", to=[{"name": "KEY", "value": "AKIAIOSFODNN7EXAMPLE"}]
    ),
    "ignore-changes-spelling": lambda stack: stack[NODES].option(
        ignoreChanges=["scalingConfig.desiredSize", "launch_template.version"]
    ),
    "born-in-apply": only_in_update,
    "aws-look-up": look_up,
    "inline-and-separate": lambda stack: stack[GROUP].set("ingress", to=[{"protocol": "-1", "self": True}]),
    "name-too-long": lambda stack: stack[ROLE].raw["inputs"].update(name="n" * 65),
    "name-twice": doubled,
    "release-unpinned": lambda stack: stack[CONTROLLER].unset("version"),
    "release-unnamed": lambda stack: stack["Release ingress-cert-manager"].unset("name"),
}


@pytest.mark.parametrize("rule", MUTANTS)
def test_a_small_change_makes_exactly_this_rule_fire(rule, dev, new_findings):
    found = new_findings(dev, MUTANTS[rule])
    assert {one.rule for one in found} == {rule}, found
    assert {one.severity for one in found} == {RULES[rule].severity}, "the finding has the rule's severity"
    assert all(one.message.endswith(".") and one.fix.endswith(".") for one in found), "both are sentences"
