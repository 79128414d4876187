"""The dev stack as `pulumi up` leaves it: what its program registered, made in the account with names of its own."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Any

import boto3

from preflight.graph import Graph
from preflight.live.doctor import Examination, examine
from preflight.live.leftovers import Leftovers, look
from preflight.program import Recording
from preflight.rules.eks import Estate
from preflight.workloads import properties
from tests.live.aws import Aws
from tests.live.kube import Kube

REGION = "ap-northeast-2"
CLUSTER = "eks-foundation-dev"
OWN = {"pulumi-project": "eks-foundation", "pulumi-stack": "dev"}
QUOTAS = {
    "L-F678F1CE": 5,
    "L-0263D0A3": 5,
    "L-FE5A380F": 5,
    "L-1194D53C": 100,
    "L-1216C47A": 32,
    "L-858F3967": 100,
    "L-FE177D64": 1000,
}
ADDRESS = "k8s-demo-demo.elb.amazonaws.com"
CONTROLLER = "kube-system/aws-load-balancer-controller"


def listed(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def specified(kind: str, **tags: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": listed({**OWN, **tags})}]


class World:
    """An account, and the API of the cluster in it."""

    def __init__(self, aws: Aws, kube: Kube, preview: Recording, recording: Recording) -> None:
        self.aws = aws
        self.kube = kube
        self.preview = preview
        self.recording = recording
        self.graph = Graph.of(recording)
        self.whole = False
        """Whether the stack is in the account, and nothing else."""
        self.ids: dict[str, str] = {}
        """What the plan made up, by its key as in `Role ingress-controller-role`, and what it is here."""

    @cached_property
    def clients(self) -> dict[str, Any]:
        return {}

    def client(self, service: str) -> Any:
        if service not in self.clients:
            self.clients[service] = boto3.client(service, region_name=REGION)
        return self.clients[service]

    def doctor(self) -> Examination:
        return examine(self.preview, self.recording, lambda _: None)[0]

    def leftovers(self, *, lost_state: bool = False) -> Leftovers:
        return look(self.recording, lambda _: None, lost_state=lost_state)[0]

    def empty(self) -> None:
        self.aws.reset()
        self.settle()
        self.kube.objects.clear()
        self.ids.clear()
        self.whole = False

    def settle(self) -> None:
        """Forget what a test wanted of the servers, but not what is in them."""
        for wish in (self.aws.refused, self.aws.answers, self.aws.denied, self.aws.simulated, self.aws.calls):
            wish.clear()
        self.aws.cluster.pop("status", None)
        self.aws.quotas.update(QUOTAS)
        self.kube.refuses, self.kube.hidden = 0, ""

    def stand(self) -> World:
        """Make the stack unless it is there."""
        if not self.whole:
            self.deploy()
            self.whole = True
        self.settle()
        self.addressed(ADDRESS)
        return self

    def deploy(self) -> World:
        """Make what an update makes, as far as the doctor looks at it."""
        self.empty()
        self.network()
        self.cluster()
        self.identities()
        self.objects()
        return self

    def network(self) -> None:
        ec2 = self.client("ec2")
        tags = specified("vpc", Name=f"{CLUSTER}-vpc")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tags)["Vpc"]["VpcId"]
        for attribute in ("EnableDnsSupport", "EnableDnsHostnames"):
            ec2.modify_vpc_attribute(VpcId=vpc, **{attribute: {"Value": True}})
        self.ids["vpc"] = vpc
        for one in self.graph.of_type("aws:ec2/subnet:Subnet"):
            values: Any = properties(one)
            self.ids[one.name] = ec2.create_subnet(
                VpcId=vpc,
                CidrBlock=values["cidrBlock"],
                AvailabilityZone=values["availabilityZone"],
                TagSpecifications=specified("subnet", **values["tags"]),
            )["Subnet"]["SubnetId"]
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(VpcId=vpc, InternetGatewayId=gateway)
        address = ec2.allocate_address(Domain="vpc", TagSpecifications=specified("elastic-ip"))["AllocationId"]
        self.ids["nat"] = ec2.create_nat_gateway(
            SubnetId=self.ids["network-public-ap-northeast-2a"],
            AllocationId=address,
            TagSpecifications=specified("natgateway"),
        )["NatGateway"]["NatGatewayId"]
        self.ids["table"] = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=self.ids["table"], DestinationCidrBlock="0.0.0.0/0", NatGatewayId=self.ids["nat"])
        for key in ("control-plane", "nodes"):
            group = {"GroupName": f"{CLUSTER}-{key}", "Description": key, "VpcId": vpc}
            own = specified("security-group") if key == "nodes" else []
            self.ids[key] = ec2.create_security_group(**group, TagSpecifications=own)["GroupId"]
        for rule in self.graph.of_type("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"):
            values = properties(rule)
            if rule.name != "cluster-control-plane-https" and "fromPort" in values:
                self.open(int(values["fromPort"]))

    def open(self, port: int) -> None:
        """Open a port of the nodes to the control plane."""
        rule = self.rule(port)
        self.client("ec2").authorize_security_group_ingress(GroupId=self.ids["nodes"], IpPermissions=[rule])

    def rule(self, port: int) -> dict[str, Any]:
        pair = [{"GroupId": self.ids["control-plane"]}]
        return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "UserIdGroupPairs": pair}

    def cluster(self) -> None:
        subnets = [self.ids[f"network-private-{REGION}{zone}"] for zone in "ac"]
        role = "arn:aws:iam::123456789012:role/cluster"
        made = self.client("eks").create_cluster(
            name=CLUSTER, version="1.35", roleArn=role, resourcesVpcConfig={"subnetIds": subnets}, tags=OWN
        )["cluster"]
        self.ids["issuer"] = made["identity"]["oidc"]["issuer"]
        self.aws.cluster.update(
            resourcesVpcConfig={"vpcId": self.ids["vpc"], "clusterSecurityGroupId": self.ids["control-plane"]},
            endpoint=self.kube.url,
            certificateAuthority={"data": self.kube.authority},
        )
        ec2 = self.client("ec2")
        tags = {f"kubernetes.io/cluster/{CLUSTER}": "owned", "eks:cluster-name": CLUSTER}
        ec2.run_instances(
            ImageId="ami-12c6146b",
            InstanceType="t3.medium",
            MinCount=2,
            MaxCount=2,
            SubnetId=subnets[0],
            SecurityGroupIds=[self.ids["nodes"]],
            TagSpecifications=specified("instance", **tags),
        )

    def identities(self) -> None:
        iam = self.client("iam")
        host = self.ids["issuer"].removeprefix("https://")
        self.ids["provider"] = iam.create_open_id_connect_provider(
            Url=self.ids["issuer"],
            ClientIDList=["sts.amazonaws.com"],
            ThumbprintList=["9e99a48a9960b14926bb7f3b02e22da2b0ab7280"],
            Tags=listed({**OWN, "Name": CLUSTER}),
        )["OpenIDConnectProviderArn"]
        planned = properties(Estate(self.graph).clusters[0].resource)["oidcProviderUrl"]
        real = {str(planned).removeprefix("https://"): host, "111122223333": "123456789012"}
        for role in self.graph.of_type("aws:iam/role:Role"):
            values: Any = properties(role)
            name = named(role.name)
            trust = translated(values["assumeRolePolicy"], real)
            made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust, Tags=listed(OWN))["Role"]
            self.ids[role.name] = name
            real[values["name"]] = name
            self.ids[f"{role.name} arn"] = made["Arn"]
        for policy in self.graph.of_type("aws:iam/policy:Policy"):
            values = properties(policy)
            document = translated(values["policy"], real)
            made = iam.create_policy(PolicyName=named(policy.name), PolicyDocument=document)["Policy"]
            self.ids[policy.name] = made["Arn"]
            real[values["arn"]] = made["Arn"]
        for attachment in self.graph.of_type("aws:iam/rolePolicyAttachment:RolePolicyAttachment"):
            values = properties(attachment)
            arn = real.get(values["policyArn"])
            if arn is None:  # AWS makes these, and moto has none of them
                name = values["policyArn"].rpartition("/")[2]
                trivial = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
                arn = iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(trivial))["Policy"]["Arn"]
            iam.attach_role_policy(RoleName=real[values["role"]], PolicyArn=arn)
        for number, one in enumerate(self.graph.of_type("aws:eks/podIdentityAssociation:PodIdentityAssociation")):
            values = properties(one)
            role = f"arn:aws:iam::123456789012:role/{real[values['roleArn'].rpartition('/')[2]]}"
            self.aws.associations[f"a-{number}"] = {
                "associationId": f"a-{number}",
                "clusterName": CLUSTER,
                "namespace": values["namespace"],
                "serviceAccount": values["serviceAccount"],
                "roleArn": role,
            }

    def objects(self) -> None:
        role = {"eks.amazonaws.com/role-arn": self.ids["ingress-controller-role arn"]}
        labels = {"app.kubernetes.io/instance": "aws-load-balancer-controller"}
        name = "aws-load-balancer-controller"
        system = "namespaces/kube-system"
        self.kube.put(f"/api/v1/{system}/serviceaccounts/{name}", metadata={"annotations": role})
        self.kube.put(
            f"/apis/apps/v1/{system}/deployments/{name}",
            metadata={"labels": labels},
            spec={"replicas": 2},
            status={"availableReplicas": 2},
        )
        self.kube.put(
            f"/apis/discovery.k8s.io/v1/{system}/endpointslices/webhook-1",
            metadata={"labels": {**labels, "kubernetes.io/service-name": "aws-load-balancer-webhook-service"}},
            endpoints=[{"addresses": ["10.0.1.2"], "conditions": {"ready": True}}],
        )
        self.kube.put("/apis/networking.k8s.io/v1/ingressclasses/alb", spec={"controller": "ingress.k8s.aws/alb"})
        self.addressed(ADDRESS)

    def addressed(self, name: str) -> None:
        """Give the Ingress an address; none where the name is empty."""
        status = {"loadBalancer": {"ingress": [{"hostname": name}] if name else None}}
        self.kube.put("/apis/networking.k8s.io/v1/namespaces/demo/ingresses/demo", status=status)


def named(logical: str) -> str:
    """A name as Pulumi makes it, another one than in the recording."""
    return f"{logical}-{hashlib.sha256(b'here' + logical.encode()).hexdigest()[:7]}"


def translated(document: str, real: dict[str, str]) -> str:
    for made_up, own in real.items():
        document = document.replace(made_up, own)
    return document
