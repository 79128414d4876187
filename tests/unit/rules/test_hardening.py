"""Hardening: each rule fires for one small change to the stack that customers stand on, and no other does."""

from __future__ import annotations

import dataclasses
import json

import pytest

from preflight.graph import Graph
from preflight.rules import RULES
from tests.unit.rules.conftest import ENDPOINT, Change, Recorded

CLUSTER = "Cluster cluster-eks"
SYSTEM = "NodeGroup cluster-system"
GROUPS = (SYSTEM, "NodeGroup cluster-arm", "NodeGroup cluster-spot")
CLASS = "StorageClass cluster-gp3"
DEFAULT = "storageclass.kubernetes.io/is-default-class"
CNI = "Addon cluster-vpc-cni"
KEY_POLICY = "KeyPolicy cluster-volumes"


def one_zone(stack: Recorded) -> None:
    for group in GROUPS:
        stack[group].set("subnetIds", to=stack[group].get("subnetIds")[:1])


def public(stack: Recorded) -> None:
    zones = [f"ap-northeast-2{letter}" for letter in "abc"]
    stack[SYSTEM].set("subnetIds", to=[stack[f"Subnet network-public-{zone}"].raw["id"] for zone in zones])


def policy(stack: Recorded) -> None:
    inputs = {"metadata": {"name": "deny", "namespace": "default"}, "spec": {"podSelector": {}}}
    like = "StorageClass cluster-gp3"
    stack.add("kubernetes:networking.k8s.io/v1:NetworkPolicy", "deny", inputs, like=like)


MUTANTS: dict[str, Change] = {
    "cluster-unprotected": lambda stack: stack[CLUSTER].unset("deletionProtection"),
    "data-unprotected": lambda stack: stack["Key cluster-secrets"].option(protect=None),
    "lasting-endpoint-open": lambda stack: stack[CLUSTER].set("publicAccessCidrs", to=["203.0.113.0/24", "0.0.0.0/0"]),
    "cluster-endpoint-public-only": lambda stack: stack[CLUSTER].set("endpointPrivateAccess", to=False),
    "cluster-admin-implicit": lambda stack: stack[CLUSTER].unset("accessEntries"),
    "cluster-logs-partial": lambda stack: stack[CLUSTER].set("enabledClusterLogTypes", to=["api", "audit"]),
    "log-group-endless": lambda stack: stack["LogGroup network-flow-logs"].unset("retentionInDays"),
    "flow-log-missing": lambda stack: stack.remove("FlowLog network-flow-logs"),
    "nodes-one-zone": one_zone,
    "nodes-only-spot": lambda stack: stack[SYSTEM].set("capacityType", to="SPOT"),
    "nodes-public": public,
    "node-volume-key": lambda stack: stack["LaunchTemplate cluster-arm"].unset(
        "blockDeviceMappings", 0, "ebs", "kmsKeyId"
    ),
    "volume-key-closed": lambda stack: stack.remove(KEY_POLICY),
    "storage-class-plain": lambda stack: stack[CLASS].unset("parameters", "encrypted"),
    "storage-class-missing": lambda stack: stack[CLASS].unset("metadata", "annotations", DEFAULT),
    "network-policy-idle": policy,
    "network-policy-off": lambda stack: stack[CNI].set("configurationValues", to='{"enableNetworkPolicy":"false"}'),
}
ON_DEV = {"network-policy-idle"}
"""Where a protected stack would be told that it enforces no policy, before there is one."""


@pytest.mark.parametrize("rule", MUTANTS)
def test_a_small_change_makes_exactly_this_rule_fire(rule, dev, prod, new_findings):
    found = new_findings(dev if rule in ON_DEV else prod, MUTANTS[rule])
    assert {one.rule for one in found} == {rule}, found
    assert {one.severity for one in found} == {RULES[rule].severity}, "the finding has the rule's severity"
    assert all(one.message.endswith(".") and one.fix.endswith(".") for one in found), "both are sentences"


def test_the_prod_stack_has_no_finding(prod):
    assert prod.findings() == []


def unprotect(stack: Recorded) -> None:
    for raw in stack.update["resources"]:
        raw["protect"] = None
    stack[CLUSTER].set("deletionProtection", to=False)


@pytest.mark.parametrize("rule", [rule for rule in MUTANTS if "Speaks only where" in RULES[rule].looks_at])
def test_where_nothing_is_protected_nobody_is_told_to_build_a_fortress(rule, prod):
    unprotect(prod)
    MUTANTS[rule](prod)
    assert prod.of(rule) == []


def test_an_open_endpoint_is_named_once_whether_or_not_the_stack_is_to_last(prod):
    MUTANTS["lasting-endpoint-open"](prod)
    assert [(one.rule, one.severity) for one in prod.findings()] == [("lasting-endpoint-open", "error")]
    unprotect(prod)
    assert [(one.rule, one.severity) for one in prod.findings()] == [(ENDPOINT, "warning")]


def test_a_cluster_whose_log_group_eks_would_make_is_told(dev):
    dev.remove("LogGroup cluster-control-plane")
    (finding,) = dev.of("log-group-endless")
    assert "/aws/eks/eks-foundation-dev/cluster" in finding.message


def test_flow_logs_of_all_subnets_with_nodes_are_as_good_as_one_of_the_vpc(prod):
    flow = prod["FlowLog network-flow-logs"].unset("vpcId")
    for index, subnet in enumerate(prod[SYSTEM].get("subnetIds")):
        inputs = {**flow.raw["inputs"], "subnetId": subnet}
        prod.add("aws:ec2/flowLog:FlowLog", f"flows-{index}", inputs, like="FlowLog network-flow-logs")
    assert prod.of("flow-log-missing") == []


def test_what_stays_when_its_resource_goes_needs_no_protection(prod):
    prod["Key cluster-secrets"].option(protect=None, retainOnDelete=True)
    assert prod.of("data-unprotected") == []


def test_the_drivers_own_default_class_is_one(dev):
    MUTANTS["storage-class-missing"](dev)
    configuration = json.dumps({"defaultStorageClass": {"enabled": True}})
    dev["Addon cluster-aws-ebs-csi-driver"].set("configurationValues", to=configuration)
    assert dev.of("storage-class-missing") == []


def test_another_engine_of_network_policies_counts(dev):
    policy(dev)
    inputs = {"chart": "cilium", "name": "cilium", "namespace": "kube-system", "version": "1", "values": {}}
    dev.add("kubernetes:helm.sh/v3:Release", "cilium", inputs, like="Release ingress-cert-manager")
    assert dev.of("network-policy-idle") == []


def test_a_preview_gives_notes_and_no_false_alarm(prod):
    stack = dataclasses.replace(prod.stack(), graph=Graph.of(prod.preview), preview=None)
    assert [one for rule in MUTANTS for one in RULES[rule].findings(stack) if one.severity != "note"] == []


def test_a_grant_to_the_service_role_lets_nodes_start(prod):
    prod.remove(KEY_POLICY)
    key = prod["Key cluster-volumes"].raw["id"]
    inputs = {"keyId": key, "granteePrincipal": SERVICE_ROLE, "operations": ["CreateGrant"]}
    prod.add("aws:kms/grant:Grant", "nodes", inputs, like="Key cluster-volumes")
    assert prod.of("volume-key-closed") == []


SERVICE_ROLE = "arn:aws:iam::111122223333:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"


@pytest.mark.parametrize(
    ("principal", "condition", "closed"),
    [
        (SERVICE_ROLE, {}, False),
        (SERVICE_ROLE, {"Bool": {"kms:GrantIsForAWSResource": "true"}}, False),
        ("arn:aws:iam::111122223333:root", {}, True),
        ("arn:aws:iam::111122223333:role/somebody", {}, True),
        ("*", {"StringEquals": {"kms:CallerAccount": "111122223333"}}, False),
        ("*", {"StringEquals": {"kms:CallerAccount": "444455556666"}}, True),
        ("*", {"StringEquals": {"kms:ViaService": "rds.ap-northeast-2.amazonaws.com"}}, True),
    ],
)
def test_a_key_policy_is_judged_as_kms_would(prod, principal, condition, closed):
    statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "kms:*", "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [{**statement, "Condition": condition}]}
    prod[KEY_POLICY].set("policy", to=json.dumps(document))
    assert bool(prod.of("volume-key-closed")) == closed
