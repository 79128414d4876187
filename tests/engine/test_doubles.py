"""The doubles say no where AWS and Kubernetes say no. Needs no engine.

A double that takes everything proves nothing, so each refusal is shown once on the smallest world that has it.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from .doubles import network
from .doubles.aws import Aws
from .doubles.iam import ATTACHMENT, OIDC_PROVIDER, POLICY, ROLE
from .doubles.iam import INLINE as ROLE_POLICY
from .doubles.kubernetes import Kubernetes
from .doubles.provider import Cloud, HalfMadeError
from .doubles.tokens import (
    ADDON,
    CLUSTER,
    ENDPOINT,
    ENTRY,
    FLOW_LOG,
    GROUP,
    INGRESS_RULE,
    INTERNET_GATEWAY,
    KEY,
    KEY_POLICY,
    LOG_GROUP,
    NAT,
    NODES,
    SUBNET,
    TEMPLATE,
    VPC,
)
from .doubles.wire import Json
from .doubles.world import DEPLOYER, DoubleError, RefusedError, World

REGION = "ap-northeast-2"
CONFIG = {"region": REGION}
NAMESPACE = "kubernetes:core/v1:Namespace"
CLUSTER_POLICY = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"


def urn(resource_type: str, name: str = "it") -> str:
    return f"urn:pulumi:dev::project::{resource_type}::{name}"


class Account:
    """An empty account, and short words for what is done in it."""

    def __init__(self) -> None:
        self.world = World(REGION)
        self.cloud = Cloud(self.world)
        self.aws, self.kubernetes = Aws(self.cloud), Kubernetes(self.cloud)

    def problems(self, resource_type: str, **inputs: Json) -> list[tuple[str, str]]:
        return self.aws.check(urn(resource_type), inputs, {}, CONFIG)[1]

    def make(self, resource_type: str, /, named: str = "it", **inputs: Json) -> str:
        checked, problems = self.aws.check(urn(resource_type, named), inputs, {}, CONFIG)
        assert problems == []
        return self.aws.create(urn(resource_type, named), checked, CONFIG, 0)[0]

    def delete(self, resource_type: str, identity: str) -> None:
        self.aws.delete(urn(resource_type), identity, CONFIG)

    def update(self, resource_type: str, identity: str, **inputs: Json) -> None:
        self.aws.update(urn(resource_type), identity, inputs, CONFIG)

    def vpc(self) -> str:
        return self.make(VPC, cidrBlock="10.0.0.0/16")

    def subnet(self, vpc: str, cidr: str = "10.0.0.0/24", letter: str = "a") -> str:
        return self.make(SUBNET, vpcId=vpc, cidrBlock=cidr, availabilityZone=REGION + letter)

    def role(self, service: str = "eks.amazonaws.com", *policies: str, named: str = "role") -> str:
        statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
        name = self.make(ROLE, named, assumeRolePolicy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
        for policy in policies:
            self.make(ATTACHMENT, role=name, policyArn=policy)
        return name

    def cluster(self, **more: Json) -> str:
        vpc = self.vpc()
        subnets = [self.subnet(vpc), self.subnet(vpc, "10.0.1.0/24", "b")]
        role = self.world.things[ROLE, self.role("eks.amazonaws.com", CLUSTER_POLICY)]
        config = {"subnetIds": subnets}
        return self.make(CLUSTER, name="main", version="1.35", roleArn=role.outputs["arn"], vpcConfig=config, **more)

    def nodes(self, **more: Json) -> str:
        """A node group in the subnets that there are."""
        policies = [
            f"arn:aws:iam::aws:policy/AmazonE{each}" for each in ("KSWorkerNodePolicy", "C2ContainerRegistryPullOnly")
        ]
        role = self.world.things[ROLE, self.role("ec2.amazonaws.com", *policies, named="node")]
        return self.make(
            NODES,
            clusterName=self.cluster(),
            nodeRoleArn=role.outputs["arn"],
            subnetIds=[each.id for each in self.world.of_type(SUBNET)],
            scalingConfig={"minSize": 1, "maxSize": 1, "desiredSize": 1},
            **more,
        )

    def template_under_a_key(self, policy: dict[str, Json] | None) -> dict[str, Json]:
        """A launch template whose volume is encrypted under a key with this statement in its policy."""
        key = self.make(KEY)
        if policy is not None:
            document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", **policy}]}
            self.make(KEY_POLICY, keyId=key, policy=json.dumps(document))
        ebs = {"encrypted": "true", "kmsKeyId": self.world.things[KEY, key].outputs["arn"]}
        return {
            "id": self.make(TEMPLATE, blockDeviceMappings=[{"deviceName": "/dev/xvda", "ebs": ebs}]),
            "version": "1",
        }

    def flow_log(self, *, service: str = "vpc-flow-logs.amazonaws.com", right: str | None = None) -> str:
        role = self.world.things[ROLE, self.role(service, named="flows")]
        if right is not None:
            statement = {"Effect": "Allow", "Action": right, "Resource": "*"}
            policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
            self.make(ROLE_POLICY, role=role.id, policy=policy)
        group = self.world.things[LOG_GROUP, self.make(LOG_GROUP, name="flows")]
        return self.make(
            FLOW_LOG,
            vpcId=self.vpc(),
            trafficType="ALL",
            logDestination=group.outputs["arn"],
            iamRoleArn=role.outputs["arn"],
        )

    def kube(self) -> dict[str, Json]:
        """The configuration of a provider for the cluster."""
        (cluster,) = self.world.of_type(CLUSTER)
        user = {"exec": {"command": "aws", "args": ["eks", "get-token", "--cluster-name", cluster.id]}}
        server = {"cluster": {"server": cluster.outputs["endpoint"]}}
        return {"kubeconfig": json.dumps({"clusters": [server], "users": [{"user": user}]})}

    def apply(self, object_type: str, inputs: dict[str, Json]) -> str:
        return self.kubernetes.create(urn(object_type), inputs, self.kube(), 0)[0]


@pytest.fixture
def account() -> Account:
    return Account()


class TestInputs:
    def test_an_input_that_the_sdk_does_not_know_is_named(self, account: Account):
        ((path, reason),) = account.problems(VPC, cidrBlock="10.0.0.0/16", colour="red")
        assert path == "colour"
        assert "is not an input" in reason

    def test_a_missing_input_is_named(self, account: Account):
        assert ("vpcId", "is required") in account.problems(SUBNET, cidrBlock="10.0.0.0/24")

    def test_an_input_of_another_type_is_named(self, account: Account):
        ((path, reason),) = account.problems(VPC, cidrBlock="10.0.0.0/16", enableDnsSupport="yes")
        assert (path, reason) == ("enableDnsSupport", "must be a bool, is 'yes'")

    def test_an_input_inside_of_an_object_is_looked_at(self, account: Account):
        config = {"subnetIds": ["subnet-1"], "subnets": []}
        ((path, _),) = account.problems(CLUSTER, roleArn="arn:aws:iam::111122223333:role/x", vpcConfig=config)
        assert path == "vpcConfig.subnets"

    def test_a_malformed_arn_is_refused(self, account: Account):
        ((path, reason),) = account.problems(CLUSTER, roleArn="role/x", vpcConfig={"subnetIds": ["subnet-1"]})
        assert path == "roleArn"
        assert "invalid ARN" in reason

    def test_a_name_over_its_limit_is_refused(self, account: Account):
        trust = json.dumps({"Version": "2012-10-17", "Statement": []})
        paths = [path for path, _ in account.problems(ROLE, name="r" * 65, assumeRolePolicy=trust)]
        assert "name" in paths

    def test_a_name_that_pulumi_makes_up_counts_its_own_characters(self, account: Account):
        trust = json.dumps({"Version": "2012-10-17", "Statement": []})
        _, problems = account.aws.check(urn(ROLE, "r" * 60), {"assumeRolePolicy": trust}, {}, CONFIG)
        assert "name" in [path for path, _ in problems]

    def test_a_policy_that_moto_refuses_is_refused(self, account: Account):
        statement = {"Effect": "Allow", "Action": "s3-get", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        ((path, reason),) = account.problems(POLICY, policy=document)
        assert path == "policy"
        assert "MalformedPolicyDocument" in reason

    def test_a_rule_with_two_sources_is_refused(self, account: Account):
        problems = account.problems(
            INGRESS_RULE,
            securityGroupId="sg-1",
            ipProtocol="tcp",
            fromPort=1,
            toPort=1,
            cidrIpv4="10.0.0.0/8",
            referencedSecurityGroupId="sg-2",
        )
        assert [path for path, _ in problems] == ["cidrIpv4"]

    def test_a_type_that_the_account_does_not_know_fails_the_test_that_needs_it(self, account: Account):
        with pytest.raises(DoubleError, match="give it a Kind"):
            account.problems("aws:sqs/queue:Queue")

    def test_a_kubernetes_field_that_does_not_exist_is_named(self, account: Account):
        inputs = {"metadata": {"name": "x", "namespaces": "y"}}
        _, problems = account.kubernetes.check(urn(NAMESPACE), inputs, {}, {})
        assert [path for path, _ in problems] == ["metadata.namespaces"]


REFUSED_CREATIONS: dict[str, tuple[Callable[[Account], object], str]] = {
    "a subnet in a VPC that is not there": (lambda a: a.subnet("vpc-0"), "vpc-0 does not exist"),
    "a subnet outside of its VPC": (lambda a: a.subnet(a.vpc(), "11.0.0.0/24"), "InvalidSubnet.Range"),
    "a subnet over another": (lambda a: (lambda v: (a.subnet(v), a.subnet(v)))(a.vpc()), "InvalidSubnet.Conflict"),
    "a subnet in a zone of another region": (
        lambda a: a.make(SUBNET, vpcId=a.vpc(), cidrBlock="10.0.0.0/24", availabilityZone="us-east-1a"),
        "availabilityZone is invalid",
    ),
    "a NAT gateway without a way out": (
        lambda a: a.make(NAT, subnetId=a.subnet(a.vpc()), connectivityType="public"),
        "has no Internet gateway",
    ),
    "an attachment of a policy that AWS does not have": (
        lambda a: a.role("eks.amazonaws.com", "arn:aws:iam::aws:policy/AmazonEKSClusterPolice"),
        "does not exist",
    ),
    "a cluster whose role has no rights": (
        lambda a: (
            a.cluster(),
            a.make(
                CLUSTER,
                name="second",
                roleArn=a.world.things[ROLE, a.role(named="bare")].outputs["arn"],
                vpcConfig={"subnetIds": [each.id for each in a.world.of_type(SUBNET)]},
            ),
        ),
        "doesn't have the Amazon EKS Managed Policies",
    ),
    "a second cluster of one name": (
        lambda a: (
            a.cluster(),
            a.make(
                CLUSTER,
                name="main",
                roleArn=a.world.of_type(CLUSTER)[0].inputs["roleArn"],
                vpcConfig=a.world.of_type(CLUSTER)[0].inputs["vpcConfig"],
            ),
        ),
        "already exists",
    ),
    "CoreDNS before there is a node": (
        lambda a: a.make(ADDON, clusterName=a.cluster(bootstrapSelfManagedAddons=False), addonName="coredns"),
        "DEGRADED",
    ),
    "an access entry for who made the cluster": (
        lambda a: a.make(ENTRY, clusterName=a.cluster(), principalArn=DEPLOYER),
        "already in use",
    ),
    "nodes without a way to AWS": (lambda a: a.nodes(), "no way from subnet-"),
    "nodes whose volumes are under a key with the default policy": (
        lambda a: a.nodes(launchTemplate=a.template_under_a_key(None)),
        "Client.InternalError: Client error on launch",
    ),
    "nodes whose volumes are under a key that another service may use": (
        lambda a: a.nodes(
            launchTemplate=a.template_under_a_key(
                {
                    "Principal": {"AWS": "*"},
                    "Action": "kms:CreateGrant",
                    "Condition": {"StringLike": {"kms:ViaService": f"rds.{REGION}.amazonaws.*"}},
                }
            )
        ),
        "Client.InternalError: Client error on launch",
    ),
    "a flow log whose role another service takes": (
        lambda a: a.flow_log(service="ec2.amazonaws.com", right="logs:*"),
        "Unable to assume given IAM role",
    ),
    "a flow log whose role may not write": (lambda a: a.flow_log(right="logs:DescribeLogGroups"), "Access error"),
    "an object in a namespace that is not there": (
        lambda a: (
            a.cluster(),
            a.apply("kubernetes:core/v1:ServiceAccount", {"metadata": {"name": "x", "namespace": "nowhere"}}),
        ),
        'namespaces "nowhere" not found',
    ),
    "a custom object whose kind is not there": (
        lambda a: (
            a.cluster(),
            a.apply(
                "kubernetes:cert-manager.io/v1:Issuer",
                {"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": {"name": "x"}},
            ),
        ),
        'no matches for kind "Issuer"',
    ),
    "a second object of one name": (
        lambda a: (
            a.cluster(),
            a.apply(NAMESPACE, {"metadata": {"name": "x"}}),
            a.apply(NAMESPACE, {"metadata": {"name": "x"}}),
        ),
        "already exists",
    ),
    "a release with nothing to run on": (
        lambda a: (
            a.cluster(),
            a.apply(
                "kubernetes:helm.sh/v3:Release",
                {"chart": "cert-manager", "name": "x", "namespace": "default", "atomic": True},
            ),
        ),
        "no nodes available",
    ),
}


@pytest.mark.parametrize("what", REFUSED_CREATIONS)
def test_it_is_refused_to_make(account: Account, what: str):
    attempt, reason = REFUSED_CREATIONS[what]
    with pytest.raises(RefusedError, match=reason):
        attempt(account)


def _first(account: Account, resource_type: str) -> str:
    return account.world.of_type(resource_type)[0].id


REFUSED_DELETIONS: dict[str, tuple[Callable[[Account], object], str, str]] = {
    "a VPC with a subnet": (lambda a: a.subnet(a.vpc()), VPC, "DependencyViolation"),
    "a subnet with a cluster": (lambda a: a.cluster(), SUBNET, "DependencyViolation"),
    "a role with an attachment": (lambda a: a.role("x.amazonaws.com", CLUSTER_POLICY), ROLE, "DeleteConflict"),
    "a policy that is attached": (
        lambda a: a.make(
            ATTACHMENT,
            role=a.role(),
            policyArn=a.make(
                POLICY,
                policy=json.dumps(
                    {
                        "Version": "2012-10-17",
                        "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}],
                    }
                ),
            ),
        ),
        POLICY,
        "DeleteConflict",
    ),
    "a cluster with deletion protection": (lambda a: a.cluster(deletionProtection=True), CLUSTER, "protection"),
}


@pytest.mark.parametrize("what", REFUSED_DELETIONS)
def test_it_is_refused_to_delete(account: Account, what: str):
    prepare, resource_type, reason = REFUSED_DELETIONS[what]
    prepare(account)
    with pytest.raises(RefusedError, match=reason):
        account.delete(resource_type, _first(account, resource_type))


def test_a_group_that_a_rule_of_another_names_is_held(account: Account):
    vpc = account.vpc()
    source, target = (account.make(GROUP, named, vpcId=vpc) for named in ("source", "target"))
    account.make(
        INGRESS_RULE,
        securityGroupId=target,
        referencedSecurityGroupId=source,
        ipProtocol="tcp",
        fromPort=1,
        toPort=1,
    )
    with pytest.raises(RefusedError, match="DependencyViolation"):
        account.delete(GROUP, source)


def test_a_group_that_only_its_own_rules_name_can_go(account: Account):
    group = account.make(GROUP, vpcId=account.vpc())
    account.make(INGRESS_RULE, securityGroupId=group, referencedSecurityGroupId=group, ipProtocol="-1")
    account.delete(GROUP, group)
    assert account.world.of_type(GROUP, INGRESS_RULE) == []


def test_a_cluster_whose_role_lost_its_rights_first_leaves_its_group_behind(account: Account):
    cluster = account.cluster()
    account.delete(ATTACHMENT, _first(account, ATTACHMENT))
    account.delete(CLUSTER, cluster)
    assert [each.made_by for each in account.world.of_type(GROUP)] == ["eks main"]


def test_a_log_group_that_goes_before_its_cluster_is_made_again_by_eks(account: Account):
    account.make(LOG_GROUP, name="/aws/eks/main/cluster")
    account.cluster(enabledClusterLogTypes=["api"])
    account.delete(LOG_GROUP, "/aws/eks/main/cluster")
    assert [each.made_by for each in account.world.of_type(LOG_GROUP)] == ["eks main"]


def test_an_update_of_a_cluster_by_two_minors_is_refused(account: Account):
    cluster = account.cluster()
    inputs = account.world.things[CLUSTER, cluster].inputs
    with pytest.raises(RefusedError, match="minor version update"):
        account.update(CLUSTER, cluster, **{**inputs, "version": "1.37"})


def test_a_cluster_cannot_be_moved_to_another_zone(account: Account):
    cluster = account.cluster()
    inputs = account.world.things[CLUSTER, cluster].inputs
    more = account.subnet(_first(account, VPC), "10.0.2.0/24", "c")
    config = {"subnetIds": [*inputs["vpcConfig"]["subnetIds"], more]}
    with pytest.raises(RefusedError, match="exact set of AZs"):
        account.update(CLUSTER, cluster, **{**inputs, "vpcConfig": config})


def test_a_deletion_of_what_had_gone_is_taken_and_noted(account: Account):
    account.delete(VPC, "vpc-0")
    assert account.world.late == ["Vpc vpc-0"]


def test_the_kubernetes_of_a_deleted_cluster_is_unreachable(account: Account):
    cluster = account.cluster()
    config = account.kube()
    account.delete(CLUSTER, cluster)
    with pytest.raises(RefusedError, match="unreachable"):
        account.kubernetes.read(urn(NAMESPACE), "default", config, importing=False)


def test_an_ingress_without_its_controller_hangs_without_an_address(account: Account):
    account.cluster()
    inputs = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"ingressClassName": "alb", "rules": []}}
    with pytest.raises(HalfMadeError, match="no controller answers"):
        account.apply("kubernetes:networking.k8s.io/v1:Ingress", inputs)


def test_a_flow_log_whose_role_may_write_is_made(account: Account):
    assert account.flow_log(right="logs:*").startswith("fl-")


def test_nodes_start_under_a_key_that_everybody_may_use_through_ebs(account: Account):
    condition = {"StringLike": {"kms:ViaService": f"ec2.{REGION}.amazonaws.*"}}
    statement = {"Principal": {"AWS": "*"}, "Action": "kms:CreateGrant", "Condition": condition}
    # The key is fine, so the next thing that is not is named.
    with pytest.raises(RefusedError, match="no way from subnet-"):
        account.nodes(launchTemplate=account.template_under_a_key(statement))


@pytest.mark.parametrize(
    ("image", "services", "pulled"),
    [
        ("quay.io/team/app:v1", ("ecr.api", "ecr.dkr", "s3"), False),
        ("111122223333.dkr.ecr.ap-northeast-2.amazonaws.com/mirror/app:v1", ("ecr.api", "ecr.dkr", "s3"), True),
        ("111122223333.dkr.ecr.ap-northeast-2.amazonaws.com/mirror/app:v1", ("ecr.api", "ecr.dkr"), False),
        ("111122223333.dkr.ecr.eu-west-1.amazonaws.com/mirror/app:v1", ("ecr.api", "ecr.dkr", "s3"), False),
    ],
)
def test_without_a_way_out_an_image_comes_by_endpoints_or_not_at_all(
    account: Account, image: str, services: tuple[str, ...], pulled: bool
):
    vpc = account.vpc()
    subnet = account.subnet(vpc)
    for service in services:
        account.make(ENDPOINT, service, vpcId=vpc, serviceName=f"com.amazonaws.{REGION}.{service}")
    assert network.pulls(account.world, subnet, image) == pulled


def test_a_launch_template_counts_its_versions(account: Account):
    template = account.make(TEMPLATE)
    account.update(TEMPLATE, template, **account.world.things[TEMPLATE, template].inputs)
    assert account.world.things[TEMPLATE, template].outputs["latestVersion"] == 2


def test_an_internet_gateway_and_a_provider_are_known_by_what_aws_calls_them(account: Account):
    gateway = account.make(INTERNET_GATEWAY, vpcId=account.vpc())
    provider = account.make(OIDC_PROVIDER, url="https://issuer.example.com/id/1", clientIdLists=["sts.amazonaws.com"])
    assert gateway.startswith("igw-")
    assert provider == "arn:aws:iam::111122223333:oidc-provider/issuer.example.com/id/1"
