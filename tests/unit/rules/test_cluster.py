"""The cluster itself: each rule fires for one small change to a good stack, and no other does."""

from __future__ import annotations

import pytest

from preflight.rules import RULES
from tests.unit.rules.conftest import Change, Recorded

CLUSTER = "Cluster cluster-eks"
NODES = "NodeGroup cluster-system"
TEMPLATE = "LaunchTemplate cluster-system"
ATTACHMENT = "RolePolicyAttachment cluster-node-AmazonEKSWorkerNodePolicy"


def attach(policy: str) -> Change:
    def attached(stack: Recorded) -> None:
        role = stack[ATTACHMENT].get("role")
        inputs = {"role": role, "policyArn": f"arn:aws:iam::aws:policy/{policy}"}
        stack.add("aws:iam/rolePolicyAttachment:RolePolicyAttachment", policy, inputs, like=ATTACHMENT)
        stack[NODES].raw["dependencies"].append(stack[f"RolePolicyAttachment {policy}"].raw["urn"])

    return attached


def close_endpoint(stack: Recorded) -> None:
    stack[CLUSTER].set("publicAccessCidrs", to=["203.0.113.0/24"])


def open_endpoint(stack: Recorded) -> None:
    stack[CLUSTER].set("publicAccessCidrs", to=["203.0.113.0/24", "::/0"])


MUTANTS: dict[str, Change] = {
    "cluster-endpoint-open": open_endpoint,
    "cluster-secrets-key": lambda stack: stack[CLUSTER].unset("encryptionConfigKeyArn"),
    "cluster-audit-log": lambda stack: stack[CLUSTER].set("enabledClusterLogTypes", to=["api"]),
    "cluster-config-map": lambda stack: stack[CLUSTER].set("authenticationMode", to="API_AND_CONFIG_MAP"),
    "kubernetes-version-gone": lambda stack: stack[CLUSTER].set("version", to="1.30"),
    "kubernetes-version-ending": lambda stack: stack[CLUSTER].set("version", to="1.34"),
    "cluster-extended-support": lambda stack: stack[CLUSTER].unset("upgradePolicy"),
    "metadata-open": lambda stack: stack[TEMPLATE].set("metadataOptions", "httpPutResponseHopLimit", to=2),
    "node-volume-plain": lambda stack: stack[TEMPLATE].unset("blockDeviceMappings", 0, "ebs", "encrypted"),
    "node-role-excess": attach("AmazonEKS_CNI_Policy"),
    "node-role-full-access": attach("AmazonS3FullAccess"),
    "node-group-name": lambda stack: stack[NODES].set("nodeGroupName", to="system"),
    "node-group-size": lambda stack: stack[NODES].option(ignoreChanges=[]),
    "addon-without-role": lambda stack: stack.remove("PodIdentityAssociation cluster-aws-ebs-csi-driver-association"),
}


@pytest.mark.parametrize("rule", MUTANTS)
def test_a_small_change_makes_exactly_this_rule_fire(rule, dev, new_findings):
    found = new_findings(dev, MUTANTS[rule])
    assert {one.rule for one in found} == {rule}, found
    assert {one.severity for one in found} == {RULES[rule].severity}, "the finding has the rule's severity"
    assert all(one.message.endswith(".") and one.fix.endswith(".") for one in found), "both are sentences"
