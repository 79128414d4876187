"""Cluster alone, under plain mocks."""

import json

import pulumi
import pulumi_aws as aws
import pytest

from components import NodeGroupSettings, TaintSettings
from components.cluster import _protect_cluster, architecture_of
from components.versions import KUBERNETES
from tests.program import stacks


def test_the_component_of_pulumi_eks_is_told_to_make_nothing_but_the_control_plane(run):
    inputs = run(stacks.cluster).one("Cluster", "cluster-eks").inputs
    assert (inputs["skipDefaultNodeGroup"], inputs["skipDefaultSecurityGroups"], inputs["useDefaultVpcCni"]) == (
        True,
    ) * 3
    assert inputs["kubeProxyAddonOptions"]["enabled"] is inputs["corednsAddonOptions"]["enabled"] is False
    assert (inputs["createOidcProvider"], inputs["bootstrapSelfManagedAddons"]) == (False, False)


def test_the_cluster_uses_our_aws_provider_and_no_default_one(run):
    recording = run(stacks.cluster)
    provider = recording.one("aws", "aws")
    assert dict(recording.one("Cluster", "cluster-eks").request.providers)["aws"].startswith(f"{provider.urn}::")


def test_access_is_by_api_and_support_by_the_standard_policy(run):
    inputs = run(stacks.cluster).one("Cluster", "cluster-eks").inputs
    assert inputs["authenticationMode"] == "API"
    assert inputs["upgradePolicy"] == {"supportType": "STANDARD"}


def test_without_public_cidrs_there_is_no_public_endpoint(run):
    inputs = run(stacks.cluster).one("Cluster", "cluster-eks").inputs
    assert (inputs["endpointPrivateAccess"], inputs["endpointPublicAccess"]) == (True, False)
    assert "publicAccessCidrs" not in inputs


def test_a_public_endpoint_is_limited_to_the_cidrs_given(run):
    inputs = run(lambda: stacks.cluster(public_access_cidrs=("203.0.113.0/24",))).one("Cluster", "cluster-eks").inputs
    assert (inputs["endpointPublicAccess"], inputs["publicAccessCidrs"]) == (True, ["203.0.113.0/24"])


def test_secrets_are_encrypted_by_a_key_that_the_clusters_role_may_use(run):
    recording = run(stacks.cluster)
    key = "arn:aws:kms:ap-northeast-2:111122223333:key/cluster-secrets"
    assert recording.one("Cluster", "cluster-eks").inputs["encryptionConfigKeyArn"] == key
    assert key in recording.one("RolePolicy", "cluster-secrets").inputs["policy"]
    assert recording.one("Key").inputs["enableKeyRotation"] is True


def test_all_control_plane_logs_go_where_they_expire(run):
    recording = run(lambda: stacks.cluster(log_retention_days=90))
    group = recording.one("LogGroup")
    assert (group.inputs["name"], group.inputs["retentionInDays"]) == ("/aws/eks/dev/cluster", 90)
    assert len(recording.one("Cluster", "cluster-eks").inputs["enabledClusterLogTypes"]) == 5
    assert recording.reaches(recording.one("Cluster", "cluster-eks"), group), "EKS would make one that never expires"


def test_the_rights_of_the_clusters_role_outlive_the_cluster(run):
    recording = run(stacks.cluster)
    control_plane = recording.one("Cluster", "cluster-eks")
    for rights in (
        recording.one("RolePolicyAttachment", "cluster-role-AmazonEKSClusterPolicy"),
        recording.one("RolePolicy"),
    ):
        assert recording.reaches(control_plane, rights)


def test_nodes_come_after_what_makes_them_ready_and_go_before_it(run):
    recording = run(stacks.cluster)
    nodes = recording.one("NodeGroup")
    needed = [
        recording.one("Cluster", "cluster-eks"),
        recording.one("Route", "route"),
        *recording.all("SecurityGroupIngressRule"),
        *recording.all("SecurityGroupEgressRule"),
        *(recording.one("Addon", f"cluster-{addon}") for addon in ("vpc-cni", "kube-proxy", "eks-pod-identity-agent")),
        *(each for each in recording.all("RolePolicyAttachment") if each.name.startswith("cluster-node-")),
        recording.one("PodIdentityAssociation", "cluster-vpc-cni-association"),
    ]
    assert [each.name for each in needed if not recording.reaches(nodes, each)] == []


@pytest.mark.parametrize("addon", ["coredns", "aws-ebs-csi-driver"])
def test_addons_that_need_a_node_wait_for_one(run, addon):
    recording = run(stacks.cluster)
    assert recording.reaches(recording.one("Addon", f"cluster-{addon}"), recording.one("NodeGroup"))


@pytest.mark.parametrize(
    ("addon", "account", "policy"),
    [
        ("vpc-cni", "aws-node", "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy"),
        (
            "aws-ebs-csi-driver",
            "ebs-csi-controller-sa",
            "arn:aws:iam::aws:policy/AmazonEBSCSIDriverPolicyV2",
        ),
    ],
)
def test_an_addon_that_calls_aws_has_a_role_of_its_own_before_it_starts(run, addon, account, policy):
    recording = run(stacks.cluster)
    association = recording.one("PodIdentityAssociation", f"cluster-{addon}-association")
    assert (association.inputs["namespace"], association.inputs["serviceAccount"]) == ("kube-system", account)
    attachment = next(each for each in recording.all("RolePolicyAttachment") if each.inputs["policyArn"] == policy)
    assert recording.reaches(recording.one("Addon", f"cluster-{addon}"), association)
    assert recording.reaches(recording.one("Addon", f"cluster-{addon}"), attachment)


def test_addons_have_the_versions_of_the_table(run):
    addons = {each.inputs["addonName"]: each.inputs["addonVersion"] for each in run(stacks.cluster).all("Addon")}
    assert addons == KUBERNETES["1.35"].addons


def test_the_node_role_holds_what_a_node_needs_and_no_more(run):
    recording = run(stacks.cluster)
    attached = {
        each.inputs["policyArn"]
        for each in recording.all("RolePolicyAttachment")
        if each.inputs["role"] == "cluster-node"
    }
    assert attached == {
        "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy",
        "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly",
    }


def test_the_control_plane_stays_in_the_first_two_zones_whatever_is_added(run):
    assert run(stacks.cluster).one("Cluster", "cluster-eks").inputs["subnetIds"] == ["subnet-a", "subnet-c"]


@pytest.mark.parametrize(
    ("zones", "subnets"), [((), ["subnet-a", "subnet-c", "subnet-b"]), (("ap-northeast-2b",), ["subnet-b"])]
)
def test_nodes_stand_in_all_zones_or_in_those_of_their_group(run, zones, subnets):
    group = stacks.NODES.model_copy(update={"zones": zones})
    recording = run(lambda: stacks.cluster(node_groups={"system": group}))
    assert recording.one("NodeGroup").inputs["subnetIds"] == subnets


def test_a_size_that_an_autoscaler_has_moved_is_left_alone(run):
    assert list(run(stacks.cluster).one("NodeGroup").request.ignoreChanges) == ["scalingConfig.desiredSize"]


def test_a_node_group_has_no_fixed_name_so_that_a_new_one_can_stand_beside_it(run):
    assert "nodeGroupName" not in run(stacks.cluster).one("NodeGroup").inputs


TAINTED = stacks.NODES.model_copy(
    update={
        "labels": {"example.com/for": "batch"},
        "taints": (TaintSettings(key="example.com/for", value="batch", effect="PreferNoSchedule"),),
        "own_role": True,
    }
)


def test_nodes_carry_the_labels_and_taints_of_their_group(run):
    recording = run(lambda: stacks.cluster(node_groups={"system": stacks.NODES, "batch": TAINTED}))
    nodes = recording.one("NodeGroup", "cluster-batch").inputs
    assert nodes["labels"] == {"example.com/for": "batch"}
    assert nodes["taints"] == [{"key": "example.com/for", "value": "batch", "effect": "PREFER_NO_SCHEDULE"}]


def test_a_group_without_labels_and_taints_says_nothing_of_them(run):
    assert not {"labels", "taints"} & run(stacks.cluster).one("NodeGroup").inputs.keys()


def test_a_group_with_a_role_of_its_own_shares_none_of_its_rights(run):
    recording = run(lambda: stacks.cluster(node_groups={"system": stacks.NODES, "batch": TAINTED}))
    roles = {each.name: each.inputs["nodeRoleArn"].rpartition("/")[2] for each in recording.all("NodeGroup")}
    assert roles == {"cluster-system": "cluster-node", "cluster-batch": "cluster-batch-node"}
    rights = [each for each in recording.all("RolePolicyAttachment") if each.inputs["role"] == "cluster-batch-node"]
    assert {each.inputs["policyArn"].rpartition("/")[2] for each in rights} == {
        "AmazonEKSWorkerNodePolicy",
        "AmazonEC2ContainerRegistryPullOnly",
    }
    nodes = recording.one("NodeGroup", "cluster-batch")
    assert all(recording.reaches(nodes, each) for each in rights), "nodes without rights do not join"


@pytest.mark.parametrize(("group", "role"), [("system", "cluster-node"), ("batch", "cluster-batch-node")])
def test_a_right_can_be_given_to_the_nodes_of_one_group(run, group, role):
    def program():
        cluster = stacks.cluster(node_groups={"system": stacks.NODES, "batch": TAINTED})
        provider = cluster.target.aws_provider
        aws.iam.RolePolicy(
            "right", role=cluster.node_roles[group].name, policy="{}", opts=pulumi.ResourceOptions(provider=provider)
        )

    assert run(program).one("RolePolicy", "right").inputs["role"] == role


def test_pods_cannot_reach_the_metadata_service(run):
    options = run(stacks.cluster).one("LaunchTemplate").inputs["metadataOptions"]
    assert options == {"httpEndpoint": "enabled", "httpTokens": "required", "httpPutResponseHopLimit": 1}


@pytest.mark.parametrize(
    ("system", "instance_type", "image", "device"),
    [
        ("al2023", "t3.medium", "AL2023_x86_64_STANDARD", "/dev/xvda"),
        ("al2023", "m7g.large", "AL2023_ARM_64_STANDARD", "/dev/xvda"),
        ("bottlerocket", "m7i.large", "BOTTLEROCKET_x86_64", "/dev/xvdb"),
        ("bottlerocket", "c7gn.large", "BOTTLEROCKET_ARM_64", "/dev/xvdb"),
    ],
)
def test_image_and_volume_follow_from_system_and_instance_type(run, system, instance_type, image, device):
    group = NodeGroupSettings(
        instance_types=(instance_type,), min_size=1, max_size=2, operating_system=system, disk_size=80
    )
    recording = run(lambda: stacks.cluster(node_groups={"system": group}))
    assert recording.one("NodeGroup").inputs["amiType"] == image
    volume, *_ = recording.one("LaunchTemplate").inputs["blockDeviceMappings"]
    assert volume["deviceName"] == device
    assert (volume["ebs"]["volumeSize"], volume["ebs"]["volumeType"], volume["ebs"]["encrypted"]) == (80, "gp3", "true")


@pytest.mark.parametrize(
    ("instance_type", "architecture"),
    [
        ("t4g.small", "arm64"),
        ("im4gn.large", "arm64"),
        ("a1.large", "arm64"),
        ("g5.xlarge", "x86_64"),
        ("m5.large", "x86_64"),
    ],
)
def test_a_graviton_type_is_told_by_the_letter_after_its_generation(instance_type, architecture):
    assert architecture_of(instance_type) == architecture


def test_the_control_plane_reaches_the_kubelet_and_no_other_port_of_a_node(run):
    recording = run(stacks.cluster)
    from_control_plane = [
        (each.inputs["fromPort"], each.inputs["toPort"])
        for each in recording.all("SecurityGroupIngressRule")
        if each.inputs["referencedSecurityGroupId"] == "sg-control-plane"
    ]
    assert from_control_plane == [(10250, 10250)]


def test_nodes_reach_the_api_on_443(run):
    rule = run(stacks.cluster).one("SecurityGroupIngressRule", "cluster-control-plane-https").inputs
    assert (rule["securityGroupId"], rule["referencedSecurityGroupId"]) == ("sg-control-plane", "cluster-nodes-id")
    assert (rule["fromPort"], rule["toPort"], rule["ipProtocol"]) == (443, 443, "tcp")


def test_no_security_group_of_ours_carries_the_tag_that_the_controller_wants_once(run):
    groups = run(stacks.cluster).all("SecurityGroup")
    assert [key for each in groups for key in each.inputs["tags"] if key.startswith("kubernetes.io/cluster/")] == []


def test_administrators_get_an_access_entry_each(run):
    arn = "arn:aws:iam::111122223333:role/team/admins"
    entries = run(lambda: stacks.cluster(admins=(arn,))).one("Cluster", "cluster-eks").inputs["accessEntries"]
    (entry,) = entries.values()
    assert entry["principalArn"] == arn
    assert entry["accessPolicies"]["admin"]["policyArn"].endswith(":cluster-access-policy/AmazonEKSClusterAdminPolicy")


def test_the_kubernetes_provider_is_told_apart_by_name_and_not_by_kubeconfig(run):
    provider = run(stacks.cluster).one("kubernetes", "cluster-kubernetes")
    assert provider.inputs["clusterIdentifier"] == "ap-northeast-2/dev"


def test_protection_is_asked_for_in_eks_too_and_for_the_key(run):
    recording = run(lambda: stacks.cluster(protect=True))
    assert recording.one("Cluster", "cluster-eks").inputs["deletionProtection"] is True
    assert recording.one("Key").request.protect is True
    assert len(recording.one("Cluster", "cluster-eks").request.transforms) == 1


def test_protection_of_the_component_reaches_the_cluster_and_not_its_hidden_provider():
    def transformed(kind):
        return _protect_cluster(pulumi.ResourceTransformArgs(True, kind, "x", {}, pulumi.ResourceOptions()))

    assert transformed("aws:eks/cluster:Cluster").opts.protect is True
    assert transformed("pulumi:providers:kubernetes") is None


def test_the_command_for_kubectl_names_region_cluster_and_context(run):
    def program():
        commands.append(stacks.cluster().kubeconfig_command)

    commands: list[str] = []
    run(program)
    assert commands == ["aws eks update-kubeconfig --region ap-northeast-2 --name dev --alias dev"]


def test_the_system_volume_of_bottlerocket_is_encrypted_too(run):
    group = NodeGroupSettings(instance_types=("m7i.large",), min_size=1, max_size=2, operating_system="bottlerocket")
    volumes = run(lambda: stacks.cluster(node_groups={"system": group})).one("LaunchTemplate").inputs
    assert {each["deviceName"]: each["ebs"]["encrypted"] for each in volumes["blockDeviceMappings"]} == {
        "/dev/xvda": "true",
        "/dev/xvdb": "true",
    }


def test_viewers_read_and_administrators_administer(run):
    arns = [f"arn:aws:iam::111122223333:role/{name}" for name in ("admins", "viewers")]
    program = run(lambda: stacks.cluster(admins=(arns[0],), viewers=(arns[1],)))
    entries = program.one("Cluster", "cluster-eks").inputs["accessEntries"].values()
    granted = {
        each["principalArn"]: [policy["policyArn"] for policy in each["accessPolicies"].values()] for each in entries
    }
    assert granted == {
        arns[0]: ["arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"],
        arns[1]: ["arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"],
    }


def test_the_private_endpoint_answers_the_ranges_given_and_nodes_wait_for_it(run):
    recording = run(lambda: stacks.cluster(private_access_cidrs=("10.200.0.0/16",)))
    rule = recording.one("SecurityGroupIngressRule", "cluster-control-plane-10.200.0.0/16")
    assert (rule.inputs["securityGroupId"], rule.inputs["cidrIpv4"]) == ("sg-control-plane", "10.200.0.0/16")
    assert (rule.inputs["fromPort"], rule.inputs["toPort"], rule.inputs["ipProtocol"]) == (443, 443, "tcp")
    assert recording.reaches(recording.one("NodeGroup"), rule), "what is in the cluster is made through this rule"


@pytest.mark.parametrize("enforced", [True, False])
def test_network_policies_are_enforced_where_asked_for(run, enforced):
    inputs = run(lambda: stacks.cluster(network_policies=enforced)).one("Addon", "cluster-vpc-cni").inputs
    assert inputs.get("configurationValues") == ('{"enableNetworkPolicy":"true"}' if enforced else None)


def test_volumes_are_under_the_clusters_own_key_where_asked_for(run):
    recording = run(lambda: stacks.cluster(volume_key=True, protect=True))
    key = recording.one("Key", "cluster-volumes")
    arn = "arn:aws:kms:ap-northeast-2:111122223333:key/cluster-volumes"
    volume, *_ = recording.one("LaunchTemplate").inputs["blockDeviceMappings"]
    assert volume["ebs"]["kmsKeyId"] == recording.one("StorageClass").inputs["parameters"]["kmsKeyId"] == arn
    assert (key.inputs["enableKeyRotation"], key.request.protect) == (True, True)
    policy = recording.one("KeyPolicy")
    assert recording.reaches(recording.one("NodeGroup"), policy), "nodes do not start before they may use the key"


def test_the_key_of_volumes_serves_its_own_account_through_ebs_and_nobody_else(run):
    policy = run(lambda: stacks.cluster(volume_key=True)).one("KeyPolicy").inputs["policy"]
    owner, users = json.loads(policy)["Statement"]
    assert owner["Principal"] == {"AWS": "arn:aws:iam::111122223333:root"}
    assert users["Condition"] == {
        "StringEquals": {"kms:CallerAccount": "111122223333"},
        "StringLike": {"kms:ViaService": "ec2.ap-northeast-2.amazonaws.*"},
    }
    assert "kms:*" not in users["Action"]


def test_the_default_class_of_volumes_is_encrypted_and_waits_for_a_pod(run):
    made = run(stacks.cluster).one("StorageClass")
    assert made.inputs["metadata"]["annotations"] == {"storageclass.kubernetes.io/is-default-class": "true"}
    assert made.inputs["parameters"] == {"type": "gp3", "encrypted": "true"}
    assert (made.inputs["provisioner"], made.inputs["volumeBindingMode"]) == ("ebs.csi.aws.com", "WaitForFirstConsumer")
    assert made.request.deleteBeforeReplace, "a class cannot be changed, and two of one name cannot be"
