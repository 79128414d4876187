"""Network: the VPC that a cluster and its load balancers stand in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pulumi
import pulumi_aws as aws
from pydantic import AfterValidator, Field

from components.regions import endpoint_service_of, zone_letter
from components.section import PrivateCidr, RetentionDays, Section, refuse
from components.subnets import LARGEST_PREFIX, SMALLEST_PREFIX, ZONE_LETTERS, zone_subnets
from components.trust import policy_text, service_statement

# What nodes, add-ons and controllers of a cluster without internet access call. The S3 gateway endpoint, which image
# layers come through, is always there.
# https://docs.aws.amazon.com/eks/latest/userguide/private-clusters.html
ISOLATED_SERVICES = (
    "ec2",
    "ecr.api",
    "ecr.dkr",
    "eks",
    "eks-auth",
    "elasticloadbalancing",
    "logs",
    "sts",
)

# The longer of the two that there are; one minute makes many times the records.
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateFlowLogs.html
FLOW_LOG_SECONDS = 600


def _check_vpc_cidr(value: str) -> str:
    if not LARGEST_PREFIX <= int(value.split("/")[1]) <= SMALLEST_PREFIX:
        refuse(
            "a size that cannot hold a cluster",
            allowed=f"prefixes /{LARGEST_PREFIX} to /{SMALLEST_PREFIX}; an ALB wants a /27 in every zone",
            change="choose a block between these sizes",
        )
    return value


def _check_zones(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(value) < 2 or len(set(value)) != len(value):
        refuse(
            "fewer than two different availability zones",
            allowed="two or more zones, each named once; EKS and an ALB both need two",
            change="add a zone of the same region",
        )
    return value


class NetworkSettings(Section):
    """Section `network`: the address range, the zones and the way out."""

    cidr: Annotated[PrivateCidr, AfterValidator(_check_vpc_cidr)] = Field(
        default="10.0.0.0/16", description="Address range of the VPC, private, /16 to /21."
    )
    zones: Annotated[tuple[str, ...], AfterValidator(_check_zones)] = Field(
        description=(
            "Availability zones by name, two or more. The control plane stands in the first two for good, a single NAT "
            "gateway in the first; a further zone goes to the end."
        )
    )
    nat: Literal["none", "single", "per-zone"] = Field(
        default="single",
        description="NAT gateways: one for all zones, one each, or none (interface endpoints instead).",
    )
    flow_log_days: RetentionDays | None = Field(
        default=None, description="Log every connection, and keep it for so many days. No flow log where left out."
    )


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """What Network needs beside its settings."""

    settings: NetworkSettings
    region: str
    cluster_name: str
    """Physical name of the cluster that will use the subnets; it stands in their discovery tags."""
    aws_provider: aws.Provider
    protect: bool = False
    """Protect VPC and subnets from deletion and replacement."""

    def __post_init__(self) -> None:
        """Refuse zones that the region does not have or that the address plan has no place for.

        Raises:
            ValueError: a zone is not `<region><letter a to g>`.
        """
        if outside := zones_outside(self.region, self.settings.zones):
            raise ValueError(
                f"zones {', '.join(outside)} are not in region {self.region}; allowed: {self.region}a to "
                f"{self.region}{ZONE_LETTERS[-1]}; name zones of this region"
            )


def zones_outside(region: str, zones: tuple[str, ...]) -> list[str]:
    """The zones that are not availability zones of this region."""
    return [zone for zone in zones if (zone_letter(region, zone) or "none") not in ZONE_LETTERS]


class Network(pulumi.ComponentResource):
    """A VPC with one public and one private subnet in every zone.

    Creates:
        - the VPC with both DNS flags on: private endpoints and EKS resolve names through it;
        - an internet gateway and one public route table;
        - per zone a public subnet tagged `kubernetes.io/role/elb` and a private one tagged
          `kubernetes.io/role/internal-elb`, both tagged `kubernetes.io/cluster/<name>=shared`. No subnet gives public
          addresses on launch: nodes live in the private ones, and load balancers and NAT bring their own address;
        - per zone a private route table; with `nat: single` one NAT gateway with its address, with `per-zone` one in
          every zone, and the private default routes to it;
        - the S3 gateway endpoint, free of charge, which image layers come through;
        - with `nat: none` interface endpoints for ISOLATED_SERVICES and their security group;
        - with `flowLogDays` a flow log of the VPC, its log group, and the role that writes it.
    """

    vpc_id: pulumi.Output[str]
    public_subnet_ids: dict[str, pulumi.Output[str]]
    """By zone, in the order of the settings."""
    private_subnet_ids: dict[str, pulumi.Output[str]]
    """By zone, in the order of the settings."""
    ready: list[pulumi.Resource]
    """Tagged subnets that traffic can leave: what uses the network depends on these, and is gone before them."""

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-foundation:index:Network", name, None, opts)
        settings, region = args.settings, args.region
        child = pulumi.ResourceOptions(parent=self, provider=args.aws_provider)
        stateful = pulumi.ResourceOptions(parent=self, provider=args.aws_provider, protect=args.protect)
        discovery = {f"kubernetes.io/cluster/{args.cluster_name}": "shared"}

        vpc = aws.ec2.Vpc(
            f"{name}-vpc",
            cidr_block=settings.cidr,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags={"Name": f"{args.cluster_name}-vpc"},
            opts=stateful,
        )
        gateway = aws.ec2.InternetGateway(
            f"{name}-internet-gateway", vpc_id=vpc.id, tags={"Name": args.cluster_name}, opts=child
        )

        def route_table(role: str) -> aws.ec2.RouteTable:
            return aws.ec2.RouteTable(
                f"{name}-{role}", vpc_id=vpc.id, tags={"Name": f"{args.cluster_name}-{role}"}, opts=child
            )

        def default_route(
            role: str,
            table: aws.ec2.RouteTable,
            *,
            gateway_id: pulumi.Input[str] | None = None,
            nat_gateway_id: pulumi.Input[str] | None = None,
        ) -> aws.ec2.Route:
            return aws.ec2.Route(
                f"{name}-{role}-default",
                route_table_id=table.id,
                destination_cidr_block="0.0.0.0/0",
                gateway_id=gateway_id,
                nat_gateway_id=nat_gateway_id,
                opts=child,
            )

        def subnet(role: str, zone: str, cidr: str, discovery_role: str, table: aws.ec2.RouteTable) -> aws.ec2.Subnet:
            made = aws.ec2.Subnet(
                f"{name}-{role}-{zone}",
                vpc_id=vpc.id,
                availability_zone=zone,
                cidr_block=cidr,
                map_public_ip_on_launch=False,
                tags={
                    "Name": f"{args.cluster_name}-{role}-{zone}",
                    f"kubernetes.io/role/{discovery_role}": "1",
                    **discovery,
                },
                opts=stateful,
            )
            association = aws.ec2.RouteTableAssociation(
                f"{name}-{role}-{zone}", subnet_id=made.id, route_table_id=table.id, opts=child
            )
            self.ready += [made, association]
            return made

        self.ready = []
        public_table = route_table("public")
        internet = default_route("public", public_table, gateway_id=gateway.id)
        self.ready.append(internet)
        public: dict[str, aws.ec2.Subnet] = {}
        private: dict[str, aws.ec2.Subnet] = {}
        private_tables: dict[str, aws.ec2.RouteTable] = {}
        for zone in settings.zones:
            letter = zone[len(region) :]
            plan = zone_subnets(settings.cidr, letter)
            private_tables[zone] = route_table(f"private-{zone}")
            public[zone] = subnet("public", zone, plan.public, "elb", public_table)
            private[zone] = subnet("private", zone, plan.private, "internal-elb", private_tables[zone])

        gateways: dict[str, aws.ec2.NatGateway] = {}
        for zone in {"none": (), "single": settings.zones[:1], "per-zone": settings.zones}[settings.nat]:
            address = aws.ec2.Eip(
                f"{name}-nat-{zone}", domain="vpc", tags={"Name": f"{args.cluster_name}-nat-{zone}"}, opts=child
            )
            gateways[zone] = aws.ec2.NatGateway(
                f"{name}-nat-{zone}",
                subnet_id=public[zone].id,
                allocation_id=address.id,
                tags={"Name": f"{args.cluster_name}-{zone}"},
                # A NAT gateway without a way out fails on creation, and strands its clients on deletion.
                opts=pulumi.ResourceOptions(parent=self, provider=args.aws_provider, depends_on=[internet]),
            )
        for zone, table in private_tables.items():
            if gateways:
                nat = gateways.get(zone) or gateways[settings.zones[0]]
                self.ready.append(default_route(f"private-{zone}", table, nat_gateway_id=nat.id))

        self.ready.append(
            aws.ec2.VpcEndpoint(
                f"{name}-s3",
                vpc_id=vpc.id,
                service_name=endpoint_service_of(region, "s3"),
                vpc_endpoint_type="Gateway",
                route_table_ids=[table.id for table in private_tables.values()],
                tags={"Name": f"{args.cluster_name}-s3"},
                opts=child,
            )
        )
        if settings.nat == "none":
            group = aws.ec2.SecurityGroup(
                f"{name}-endpoints",
                description="HTTPS from the VPC to AWS endpoints",
                vpc_id=vpc.id,
                tags={"Name": f"{args.cluster_name}-endpoints"},
                opts=child,
            )
            self.ready.append(
                aws.vpc.SecurityGroupIngressRule(
                    f"{name}-endpoints-https",
                    security_group_id=group.id,
                    cidr_ipv4=settings.cidr,
                    ip_protocol="tcp",
                    from_port=443,
                    to_port=443,
                    opts=child,
                )
            )
            self.ready += [
                aws.ec2.VpcEndpoint(
                    f"{name}-{service}",
                    vpc_id=vpc.id,
                    service_name=endpoint_service_of(region, service),
                    vpc_endpoint_type="Interface",
                    private_dns_enabled=True,
                    security_group_ids=[group.id],
                    subnet_ids=[made.id for made in private.values()],
                    tags={"Name": f"{args.cluster_name}-{service}"},
                    opts=child,
                )
                for service in ISOLATED_SERVICES
            ]

        if settings.flow_log_days is not None:
            self._log_flows(name, args, vpc, settings.flow_log_days, child)

        self.vpc_id = vpc.id
        self.public_subnet_ids = {zone: made.id for zone, made in public.items()}
        self.private_subnet_ids = {zone: made.id for zone, made in private.items()}
        self.register_outputs(
            {
                "vpc_id": self.vpc_id,
                "public_subnet_ids": self.public_subnet_ids,
                "private_subnet_ids": self.private_subnet_ids,
            }
        )

    def _log_flows(
        self, name: str, args: NetworkArgs, vpc: aws.ec2.Vpc, days: int, child: pulumi.ResourceOptions
    ) -> None:
        logs = aws.cloudwatch.LogGroup(
            f"{name}-flow-logs", name=f"/aws/vpc/{args.cluster_name}", retention_in_days=days, opts=child
        )
        role = aws.iam.Role(
            f"{name}-flow-logs",
            assume_role_policy=policy_text([service_statement("vpc-flow-logs.amazonaws.com")]),
            opts=child,
        )
        right = aws.iam.RolePolicy(
            f"{name}-flow-logs", role=role.name, policy=logs.arn.apply(_flow_log_policy), opts=child
        )
        aws.ec2.FlowLog(
            f"{name}-flow-logs",
            vpc_id=vpc.id,
            traffic_type="ALL",
            max_aggregation_interval=FLOW_LOG_SECONDS,
            log_destination_type="cloud-watch-logs",
            log_destination=logs.arn,
            iam_role_arn=role.arn,
            tags={"Name": args.cluster_name},
            # Without the right it is made, and delivers nothing.
            opts=pulumi.ResourceOptions(parent=self, provider=args.aws_provider, depends_on=[right]),
        )


def _flow_log_policy(log_group_arn: str) -> str:
    # https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-iam-role.html, without what makes log groups
    actions = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    return policy_text([{"Effect": "Allow", "Action": actions, "Resource": f"{log_group_arn}:*"}])
