"""The deployer's policies make the dev stack in moto, which enforces IAM; with any one action less they do not.

moto enforces actions. It knows too little of resources, conditions and iam:PassRole, so here every Resource is "*" and
there is no Condition. It has no code for what `LACKING` names, and no request without a body to EKS passes its check of
signatures, so EKS is only asked to make things.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.core import set_initial_no_auth_action_count

from preflight.deployer import deployer, table
from preflight.graph import Graph, Resource
from tests.recorded import recorded

ROOT = Path(__file__).parents[2]
REGION = "ap-northeast-2"
LACKING = {
    "aws:eks/addon:Addon": "eks:CreateAddon",
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": "eks:CreatePodIdentityAssociation",
}


class World:
    """An account in moto, and what the made-up ids of a recording are there."""

    def __init__(self, session: boto3.Session) -> None:
        self.called: set[str] = set()
        self._session = session
        self._clients: dict[str, Any] = {}
        self._real: dict[str, str] = {}

    def client(self, service: str) -> Any:
        if service not in self._clients:
            made = self._clients[service] = self._session.client(service, region_name=REGION)
            made.meta.events.register("before-call", lambda model, **_: self.called.add(f"{service}:{model.name}"))
        return self._clients[service]

    def real(self, value: Any) -> Any:
        """A value of the recording as it is in this account."""
        text = json.dumps(value)
        for made_up, real in self._real.items():
            text = text.replace(made_up, real)
        return json.loads(text)

    def is_really(self, made_up: str, real: str) -> None:
        self._real[made_up] = real

    def stands(self, resource: Resource, identifier: str, **outputs: str) -> None:
        self._real[resource.id] = identifier
        for name, real in outputs.items():
            self._real[str(resource.outputs[name])] = real


def tagged(kind: str, inputs: dict[str, Any]) -> list[dict[str, Any]]:
    tags = [{"Key": key, "Value": value} for key, value in {**inputs.get("tags", {}), "stack": "dev"}.items()]
    return [{"ResourceType": kind, "Tags": tags}]


def vpc(world: World, one: Resource, inputs: dict[str, Any]) -> None:
    ec2 = world.client("ec2")
    made = ec2.create_vpc(CidrBlock=inputs["cidrBlock"], TagSpecifications=tagged("vpc", inputs))["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=made, EnableDnsHostnames={"Value": True})
    ec2.describe_vpcs(VpcIds=[made])
    ec2.describe_vpc_attribute(VpcId=made, Attribute="enableDnsSupport")
    mine = [{"Name": "vpc-id", "Values": [made]}]
    ec2.describe_network_acls(Filters=mine)
    ec2.describe_route_tables(Filters=mine)
    ec2.describe_security_groups(Filters=mine)
    world.stands(one, made)


def subnet(world: World, one: Resource, inputs: dict[str, Any]) -> None:
    ec2 = world.client("ec2")
    made = ec2.create_subnet(
        VpcId=inputs["vpcId"],
        CidrBlock=inputs["cidrBlock"],
        AvailabilityZone=inputs["availabilityZone"],
        TagSpecifications=tagged("subnet", inputs),
    )["Subnet"]["SubnetId"]
    ec2.modify_subnet_attribute(SubnetId=made, MapPublicIpOnLaunch={"Value": False})
    ec2.describe_subnets(SubnetIds=[made])
    world.stands(one, made)


def internet_gateway(world: World, one: Resource, inputs: dict[str, Any]) -> None:
    ec2 = world.client("ec2")
    made = ec2.create_internet_gateway(TagSpecifications=tagged("internet-gateway", inputs))["InternetGateway"]
    ec2.attach_internet_gateway(InternetGatewayId=made["InternetGatewayId"], VpcId=inputs["vpcId"])
    ec2.describe_internet_gateways(InternetGatewayIds=[made["InternetGatewayId"]])
    world.stands(one, made["InternetGatewayId"])


def address(world: World, one: Resource, inputs: dict[str, Any]) -> None:
    ec2 = world.client("ec2")
    made = ec2.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip", inputs))["AllocationId"]
    ec2.describe_addresses(AllocationIds=[made])
    ec2.describe_addresses_attribute(AllocationIds=[made], Attribute="domain-name")
    world.stands(one, made)


def nat_gateway(world: World, one: Resource, inputs: dict[str, Any]) -> None:
    ec2 = world.client("ec2")
    made = ec2.create_nat_gateway(
        SubnetId=inputs["subnetId"],
        AllocationId=inputs["allocationId"],
        TagSpecifications=tagged("natgateway", inputs),
    )["NatGateway"]["NatGatewayId"]
    ec2.describe_nat_gateways(NatGatewayIds=[made])
    world.stands(one, made)


def route_table(world: World, one: Resource, inputs: dict[str, Any]) -> None:
    ec2 = world.client("ec2")
    made = ec2.create_route_table(VpcId=inputs["vpcId"], TagSpecifications=tagged("route-table", inputs))["RouteTable"]
    world.stands(one, made["RouteTableId"])


def route(world: World, _: Resource, inputs: dict[str, Any]) -> None:
    way = {"GatewayId": inputs.get("gatewayId"), "NatGatewayId": inputs.get("natGatewayId")}
    world.client("ec2").create_route(
        RouteTableId=inputs["routeTableId"],
        DestinationCidrBlock=inputs["destinationCidrBlock"],
        **{key: value for key, value in way.items() if value},
    )


def association(world: World, _: Resource, inputs: dict[str, Any]) -> None:
    world.client("ec2").associate_route_table(RouteTableId=inputs["routeTableId"], SubnetId=inputs["subnetId"])


def endpoint(world: World, one: Resource, inputs: dict[str, Any]) -> None:
    ec2 = world.client("ec2")
    made = ec2.create_vpc_endpoint(
        VpcId=inputs["vpcId"],
        ServiceName=inputs["serviceName"],
        VpcEndpointType=inputs["vpcEndpointType"],
        RouteTableIds=inputs["routeTableIds"],
        TagSpecifications=tagged("vpc-endpoint", inputs),
    )["VpcEndpoint"]["VpcEndpointId"]
    ec2.describe_vpc_endpoints(VpcEndpointIds=[made])
    ec2.describe_prefix_lists()
    world.stands(one, made)


def security_group(world: World, one: Resource, inputs: dict[str, Any]) -> None:
    ec2 = world.client("ec2")
    made = ec2.create_security_group(
        GroupName=str(one.outputs["name"]),
        Description=inputs["description"],
        VpcId=inputs["vpcId"],
        TagSpecifications=tagged("security-group", inputs),
    )["GroupId"]
    everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    ec2.revoke_security_group_egress(GroupId=made, IpPermissions=everything)
    world.stands(one, made)


def security_group_rule(world: World, _: Resource, inputs: dict[str, Any]) -> None:
    ec2 = world.client("ec2")
    ports = {"FromPort": inputs.get("fromPort"), "ToPort": inputs.get("toPort")}
    if "cidrIpv4" in inputs:
        permission = {"IpRanges": [{"CidrIp": inputs["cidrIpv4"]}]}
        add = ec2.authorize_security_group_egress
    else:
        permission = {"UserIdGroupPairs": [{"GroupId": inputs["referencedSecurityGroupId"]}]}
        add = ec2.authorize_security_group_ingress
    permission |= {key: value for key, value in ports.items() if value is not None}
    made = add(
        GroupId=inputs["securityGroupId"],
        IpPermissions=[{"IpProtocol": inputs["ipProtocol"], **permission}],
        TagSpecifications=tagged("security-group-rule", inputs),
    )["SecurityGroupRules"]
    ec2.describe_security_group_rules(SecurityGroupRuleIds=[made[0]["SecurityGroupRuleId"]])


def launch_template(world: World, one: Resource, inputs: dict[str, Any]) -> None:
    ec2 = world.client("ec2")
    made = ec2.create_launch_template(
        LaunchTemplateName=str(one.outputs["name"]),
        LaunchTemplateData={"SecurityGroupIds": inputs["vpcSecurityGroupIds"]},
        TagSpecifications=tagged("launch-template", inputs),
    )["LaunchTemplate"]["LaunchTemplateId"]
    ec2.describe_launch_templates(LaunchTemplateIds=[made])
    ec2.describe_launch_template_versions(LaunchTemplateId=made)
    world.stands(one, made)


def role(world: World, one: Resource, inputs: dict[str, Any]) -> None:
    iam, name = world.client("iam"), str(one.outputs["name"])
    made = iam.create_role(
        RoleName=name,
        AssumeRolePolicyDocument=inputs["assumeRolePolicy"],
        Tags=[{"Key": "stack", "Value": "dev"}],
    )["Role"]
    iam.get_role(RoleName=name)
    iam.list_role_policies(RoleName=name)
    iam.list_attached_role_policies(RoleName=name)
    world.stands(one, name, arn=made["Arn"])


def policy(world: World, one: Resource, inputs: dict[str, Any]) -> None:
    iam = world.client("iam")
    made = iam.create_policy(
        PolicyName=str(one.outputs["name"]),
        PolicyDocument=inputs["policy"],
        Tags=[{"Key": "stack", "Value": "dev"}],
    )["Policy"]
    iam.get_policy(PolicyArn=made["Arn"])
    iam.get_policy_version(PolicyArn=made["Arn"], VersionId=made["DefaultVersionId"])
    world.stands(one, made["Arn"], arn=made["Arn"])


def attachment(world: World, _: Resource, inputs: dict[str, Any]) -> None:
    iam = world.client("iam")
    iam.attach_role_policy(RoleName=inputs["role"], PolicyArn=inputs["policyArn"])
    iam.list_attached_role_policies(RoleName=inputs["role"])


def role_policy(world: World, one: Resource, inputs: dict[str, Any]) -> None:
    iam, name = world.client("iam"), str(one.outputs["name"])
    iam.put_role_policy(RoleName=inputs["role"], PolicyName=name, PolicyDocument=inputs["policy"])
    iam.get_role_policy(RoleName=inputs["role"], PolicyName=name)


def oidc_provider(world: World, one: Resource, inputs: dict[str, Any]) -> None:
    iam = world.client("iam")
    made = iam.create_open_id_connect_provider(
        Url=inputs["url"],
        ClientIDList=inputs["clientIdLists"],
        ThumbprintList=inputs["thumbprintLists"],
        Tags=[{"Key": "stack", "Value": "dev"}],
    )["OpenIDConnectProviderArn"]
    iam.get_open_id_connect_provider(OpenIDConnectProviderArn=made)
    world.stands(one, made, arn=made)


def key(world: World, one: Resource, inputs: dict[str, Any]) -> None:
    kms = world.client("kms")
    made = kms.create_key(Description=inputs["description"], Tags=[{"TagKey": "stack", "TagValue": "dev"}])
    identifier = made["KeyMetadata"]["KeyId"]
    kms.enable_key_rotation(KeyId=identifier)
    kms.describe_key(KeyId=identifier)
    kms.get_key_policy(KeyId=identifier, PolicyName="default")
    kms.get_key_rotation_status(KeyId=identifier)
    kms.list_resource_tags(KeyId=identifier)
    world.stands(one, identifier, arn=made["KeyMetadata"]["Arn"])


def log_group(world: World, _: Resource, inputs: dict[str, Any]) -> None:
    logs = world.client("logs")
    logs.create_log_group(logGroupName=inputs["name"], tags={"stack": "dev"})
    logs.put_retention_policy(logGroupName=inputs["name"], retentionInDays=inputs["retentionInDays"])
    found = logs.describe_log_groups(logGroupNamePrefix=inputs["name"])["logGroups"]
    logs.list_tags_for_resource(resourceArn=found[0]["arn"].removesuffix(":*"))


def cluster(world: World, one: Resource, inputs: dict[str, Any]) -> None:
    eks, ec2, iam = world.client("eks"), world.client("ec2"), world.client("iam")
    ec2.describe_subnets(SubnetIds=inputs["subnetIds"])
    role = iam.get_role(RoleName=inputs["serviceRole"])["Role"]["Arn"]
    group = ec2.create_security_group(GroupName="of-the-cluster", Description="by EKS", VpcId=inputs["vpcId"])
    made = eks.create_cluster(
        name=inputs["name"],
        version=inputs["version"],
        roleArn=role,
        resourcesVpcConfig={"subnetIds": inputs["subnetIds"]},
        tags={"stack": "dev"},
    )["cluster"]
    assert made["status"] == "ACTIVE"
    world.is_really(str(one.outputs["clusterSecurityGroupId"]), group["GroupId"])


def node_group(world: World, one: Resource, inputs: dict[str, Any]) -> None:
    world.client("eks").create_nodegroup(
        clusterName=inputs["clusterName"],
        nodegroupName=str(one.outputs["nodeGroupName"]),
        nodeRole=inputs["nodeRoleArn"],
        subnets=inputs["subnetIds"],
        instanceTypes=inputs["instanceTypes"],
        tags={"stack": "dev"},
    )


MAKERS: dict[str, Callable[[World, Resource, dict[str, Any]], None]] = {
    "aws:cloudwatch/logGroup:LogGroup": log_group,
    "aws:ec2/eip:Eip": address,
    "aws:ec2/internetGateway:InternetGateway": internet_gateway,
    "aws:ec2/launchTemplate:LaunchTemplate": launch_template,
    "aws:ec2/natGateway:NatGateway": nat_gateway,
    "aws:ec2/route:Route": route,
    "aws:ec2/routeTable:RouteTable": route_table,
    "aws:ec2/routeTableAssociation:RouteTableAssociation": association,
    "aws:ec2/securityGroup:SecurityGroup": security_group,
    "aws:ec2/subnet:Subnet": subnet,
    "aws:ec2/vpc:Vpc": vpc,
    "aws:ec2/vpcEndpoint:VpcEndpoint": endpoint,
    "aws:eks/nodeGroup:NodeGroup": node_group,
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": oidc_provider,
    "aws:iam/policy:Policy": policy,
    "aws:iam/role:Role": role,
    "aws:iam/rolePolicy:RolePolicy": role_policy,
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": attachment,
    "aws:kms/key:Key": key,
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": security_group_rule,
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": security_group_rule,
    "eks:index:Cluster": cluster,
}


@pytest.fixture(scope="module")
def dev() -> tuple[Graph, list[dict[str, Any]]]:
    """The plan of the dev stack, and the deployer's policies with every Resource "*" and no Condition."""
    preview, update = recorded("dev")
    documents: list[dict[str, Any]] = json.loads(
        json.dumps(deployer("dev", Graph.of(preview), update["invokes"]).documents)
    )
    for document in documents:
        for statement in document["Statement"]:
            statement["Resource"] = "*"
            statement.pop("Condition", None)
    return Graph.of(update), documents


def made_in_moto(plan: tuple[Graph, list[dict[str, Any]]], without: Collection[str] = ()) -> World:
    """Make the plan as a user who has the deployer's policies, less some actions."""
    graph, documents = plan

    managed = {
        str(one.inputs["policyArn"]) for one in graph.of_type("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
    }
    managed = {arn for arn in managed if arn.startswith("arn:aws:iam::aws:")}

    @mock_aws
    @set_initial_no_auth_action_count(2 + 2 * len(documents) + len(managed))
    def run() -> World:
        iam = boto3.client("iam", region_name=REGION, aws_access_key_id="root", aws_secret_access_key="root")  # noqa: S106
        iam.create_user(UserName="deployer")
        for number, document in enumerate(documents):
            kept = [
                {**one, "Action": [action for action in one["Action"] if action not in without]}
                for one in document["Statement"]
                if set(one["Action"]) - set(without)
            ]
            text = json.dumps({**document, "Statement": kept})
            arn = iam.create_policy(PolicyName=f"deployer-{number}", PolicyDocument=text)["Policy"]["Arn"]
            iam.attach_user_policy(UserName="deployer", PolicyArn=arn)
        # moto takes seconds to load the policies that AWS manages.
        text = json.dumps(documents[0])
        stand_ins = {
            arn: iam.create_policy(PolicyName=arn.rpartition("/")[2], PolicyDocument=text)["Policy"]["Arn"]
            for arn in managed
        }
        granted = iam.create_access_key(UserName="deployer")["AccessKey"]
        world = World(boto3.Session(granted["AccessKeyId"], granted["SecretAccessKey"]))
        for arn, stand_in in stand_ins.items():
            world.is_really(arn, stand_in)
        for resource in graph.resources.values():
            if resource.type in MAKERS:
                MAKERS[resource.type](world, resource, world.real(dict(resource.inputs)))
        return world

    return run()


def test_every_type_of_the_plan_is_made_or_listed_as_lacking(dev):
    graph, _ = dev
    types = {one.type for one in graph.resources.values() if one.package not in table()["packages"]}

    assert types == MAKERS.keys() | LACKING.keys()
    for type_, action in LACKING.items():
        assert action in table()[type_]["create"]


def test_the_policies_make_the_dev_stack(dev):
    called = made_in_moto(dev).called

    assert len(called) > 50
    granted = {action for document in dev[1] for one in document["Statement"] for action in one["Action"]}
    assert called <= granted


ESSENTIAL = (
    "ec2:CreateVpc",
    "eks:CreateCluster",
    "iam:AttachRolePolicy",
    "kms:EnableKeyRotation",
    "logs:CreateLogGroup",
)


@pytest.mark.parametrize("action", ESSENTIAL)
def test_without_one_of_its_actions_the_stack_cannot_be_made(dev, action):
    with pytest.raises(ClientError, match=re.escape(f"is not authorized to perform: {action}")):
        made_in_moto(dev, without=[action])
