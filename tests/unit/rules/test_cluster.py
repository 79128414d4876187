"""The cluster itself: each rule fires for one small change to a good stack, and no other does."""

from __future__ import annotations

from datetime import date

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


def plain(stack: Recorded) -> Recorded:
    """The same cluster as pulumi-eks' component makes, made directly."""
    cluster = stack[CLUSTER]
    given = dict(cluster.raw["inputs"])
    group = cluster.get("clusterSecurityGroupId")
    inputs = {
        "name": given["name"],
        "version": given["version"],
        "roleArn": f"arn:aws:iam::111122223333:role/{given['serviceRole']}",
        "enabledClusterLogTypes": given["enabledClusterLogTypes"],
        "encryptionConfig": {"provider": {"keyArn": given["encryptionConfigKeyArn"]}, "resources": ["secrets"]},
        "upgradePolicy": given["upgradePolicy"],
        "accessConfig": {"authenticationMode": "API"},
        "vpcConfig": {
            "subnetIds": given["subnetIds"],
            "endpointPublicAccess": True,
            "publicAccessCidrs": ["0.0.0.0/0"],
        },
    }
    outputs = {**inputs, "vpcConfig": {**inputs["vpcConfig"], "clusterSecurityGroupId": group}}
    provider = cluster.raw["providers"]["aws"]
    cluster.option(type="aws:eks/cluster:Cluster", remote=False, custom=True, provider=provider, id=given["name"])
    cluster.option(inputs=inputs, outputs=outputs)
    return stack


PLAIN_MUTANTS: dict[str, Change] = {
    "cluster-endpoint-open": lambda stack: (
        stack[CLUSTER].unset("vpcConfig", "publicAccessCidrs").set("vpcConfig", "endpointPublicAccess", to=None)
    ),
    "cluster-secrets-key": lambda stack: stack[CLUSTER].unset("encryptionConfig"),
    "cluster-config-map": lambda stack: stack[CLUSTER].unset("accessConfig"),
    "cluster-audit-log": MUTANTS["cluster-audit-log"],
    "kubernetes-version-gone": MUTANTS["kubernetes-version-gone"],
    "cluster-extended-support": MUTANTS["cluster-extended-support"],
    "rights-before-use": lambda stack: stack[CLUSTER].forgets(
        "RolePolicyAttachment cluster-role-AmazonEKSClusterPolicy"
    ),
    "alb-subnets-zones": lambda stack: stack["Subnet network-public-ap-northeast-2a"].unset(
        "tags", "kubernetes.io/role/elb"
    ),
    "webhook-port-closed": lambda stack: stack.remove("SecurityGroupIngressRule ingress-controller-webhook"),
}


def test_a_cluster_made_directly_is_judged_like_one_of_the_component(dev):
    assert [one.rule for one in plain(dev).findings()] == ["cluster-endpoint-open"]


@pytest.mark.parametrize("rule", PLAIN_MUTANTS)
def test_a_change_of_a_cluster_made_directly_makes_the_rule_fire(rule, dev):
    stack = plain(dev)
    PLAIN_MUTANTS[rule](stack)
    assert {one.rule for one in stack.findings()} == {rule, "cluster-endpoint-open"}


def test_a_component_seen_with_its_inside_is_one_cluster(dev):
    inside = stack_with_inside(dev)
    assert len(inside.of("cluster-endpoint-open")) == 1


def stack_with_inside(stack: Recorded) -> Recorded:
    inputs = {"name": stack[CLUSTER].get("name"), "vpcConfig": {"endpointPublicAccess": True}}
    inner = stack.add("aws:eks/cluster:Cluster", "inner", inputs, like="Vpc network-vpc")
    inner.option(parent=stack[CLUSTER].raw["urn"])
    return stack


@pytest.mark.parametrize(
    ("version", "day", "rules"),
    [
        ("1.35", date(2026, 12, 26), []),
        ("1.35", date(2026, 12, 28), ["kubernetes-version-ending"]),
        ("1.35", date(2027, 3, 28), ["kubernetes-version-ending"]),
        ("1.35", date(2028, 3, 27), ["kubernetes-version-ending"]),
        ("1.35", date(2028, 3, 28), ["kubernetes-version-gone"]),
        ("1.21", date(2026, 11, 22), ["kubernetes-version-gone"]),
        ("1.3", date(2026, 11, 22), ["kubernetes-version-gone"]),
        ("1.99", date(2026, 11, 22), []),
    ],
)
def test_support_is_judged_at_the_day_asked_for(dev, version, day, rules):
    dev["Cluster cluster-eks"].set("version", to=version)
    dev["NodeGroup cluster-system"].set("version", to=version)
    assert [one.rule for one in dev.findings(day) if one.rule.startswith("kubernetes-version")] == rules


def test_a_version_in_its_last_days_names_the_day_and_the_next_version(dev):
    dev[CLUSTER].set("version", to="1.34")
    (finding,) = dev.of("kubernetes-version-ending")
    assert "2026-12-02" in finding.message
    assert '"1.35"' in finding.fix


def test_a_private_endpoint_is_no_finding(dev):
    dev[CLUSTER].set("endpointPublicAccess", to=False)
    assert dev.of("cluster-endpoint-open") == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"httpTokens": "optional", "httpPutResponseHopLimit": 1}, "IMDSv1 allowed"),
        ({"httpTokens": "required", "httpPutResponseHopLimit": 3}, "hop limit 3"),
    ],
)
def test_both_ways_to_the_metadata_service_are_named(dev, options, said):
    dev[TEMPLATE].set("metadataOptions", to=options)
    (finding,) = dev.of("metadata-open")
    assert said in finding.message


def test_a_metadata_service_that_is_off_is_no_finding(dev):
    dev[TEMPLATE].set("metadataOptions", to={"httpEndpoint": "disabled"})
    assert dev.of("metadata-open") == []


def test_nodes_without_a_template_have_volumes_that_nobody_encrypted(dev):
    dev[NODES].unset("launchTemplate")
    (finding,) = dev.of("node-volume-plain")
    assert "no launch template" in finding.message


def test_an_inline_policy_of_the_node_role_is_more_than_a_node_needs(dev):
    inputs = {"role": dev[ATTACHMENT].get("role"), "policy": "{}"}
    dev.add("aws:iam/rolePolicy:RolePolicy", "extra", inputs, like=ATTACHMENT)
    (finding,) = dev.of("node-role-excess")
    assert "inline policy extra" in finding.message


def test_a_group_that_cannot_grow_needs_no_autoscaler(dev):
    dev[NODES].option(ignoreChanges=[]).set("scalingConfig", to={"minSize": 2, "maxSize": 2, "desiredSize": 2})
    assert dev.of("node-group-size") == []


def test_an_add_on_may_have_its_role_in_either_way(dev):
    dev.remove("PodIdentityAssociation cluster-aws-ebs-csi-driver-association")
    addon = dev["Addon cluster-aws-ebs-csi-driver"]
    addon.set("serviceAccountRoleArn", to="arn:aws:iam::111122223333:role/storage")
    assert dev.of("addon-without-role") == []
    addon.unset("serviceAccountRoleArn").set(
        "podIdentityAssociations", to=[{"serviceAccount": "ebs-csi-controller-sa"}]
    )
    assert dev.of("addon-without-role") == []


def test_the_old_config_map_is_found_as_an_object_too(dev):
    inputs = {"metadata": {"name": "aws-auth", "namespace": "kube-system"}}
    dev.add("kubernetes:core/v1:ConfigMap", "aws-auth", inputs, like="Service demo-service")
    (finding,) = dev.of("cluster-config-map")
    assert "ConfigMap kube-system/aws-auth" in finding.message
