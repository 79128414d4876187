"""The network of the account: VPCs, subnets, routes, gateways, security groups. moto judges CIDRs and overlaps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from moto.core.exceptions import ServiceException
from moto.ec2.models import EC2Backend

from . import iam, network
from .kind import DEPENDENCY, Kind, Ref, no, unique
from .tokens import (
    ADDRESS,
    BALANCER,
    CERTIFICATE,
    EGRESS_RULE,
    ENDPOINT,
    FLOW_LOG,
    GROUP,
    INGRESS_RULE,
    INTERFACE,
    INTERNET_GATEWAY,
    LOG_GROUP,
    NAT,
    ROUTE,
    ROUTE_TABLE,
    SUBNET,
    TABLE_ASSOCIATION,
    TEMPLATE,
    VPC,
)
from .wire import Json
from .world import ACCOUNT, RefusedError, Thing, World


@cache
def _moto_network(region: str) -> EC2Backend:
    return EC2Backend(region, ACCOUNT)


def _judged_by_moto(region: str, vpc_cidr: str, subnets: list[tuple[str, str]]) -> None:
    """Let moto make the VPC and its subnets, as CIDR and zone."""
    backend = _moto_network(region)
    made: list[Any] = []
    try:
        vpc = backend.create_vpc(vpc_cidr)
        try:
            for cidr, zone in subnets:
                made.append(backend.create_subnet(vpc.id, cidr, availability_zone=zone))
        finally:
            for each in made:
                backend.delete_subnet(each.id)
            backend.delete_vpc(vpc.id)
    except ServiceException as error:
        raise RefusedError(str(error)) from None


def _make_vpc(world: World, thing: Thing) -> None:
    _judged_by_moto(world.region, thing.inputs["cidrBlock"], [])


def _make_subnet(world: World, thing: Thing) -> None:
    vpc = world.things[VPC, thing.inputs["vpcId"]]
    no(
        not re.fullmatch(re.escape(world.region) + "[a-z]", thing.inputs["availabilityZone"]),
        f"InvalidParameterValue: Value ({thing.inputs['availabilityZone']}) for parameter availabilityZone is invalid",
    )
    siblings = world.pointing(SUBNET, "vpcId", vpc.id)
    _judged_by_moto(
        world.region,
        vpc.inputs["cidrBlock"],
        [(each.inputs["cidrBlock"], each.inputs["availabilityZone"]) for each in siblings],
    )


def _drop_gateway(world: World, thing: Thing) -> None:
    no(
        network.has_public_addresses(world, thing.inputs["vpcId"]),
        f"DependencyViolation: Network {thing.inputs['vpcId']} has some mapped public address(es)."
        " Please unmap those public address(es) before detaching the gateway.",
    )


def _make_nat(world: World, thing: Thing) -> None:
    vpc = network.vpc_of(world, thing.inputs["subnetId"])
    # Whether its subnet routes there is not asked: what is behind the NAT gateway will notice.
    no(
        thing.inputs.get("connectivityType", "public") == "public"
        and not any(world.pointing(INTERNET_GATEWAY, "vpcId", vpc)),
        f"Gateway.NotAttached: Network {vpc} has no Internet gateway attached",
    )


def _make_route(world: World, thing: Thing) -> None:
    twins = [
        each
        for each in world.pointing(ROUTE, "routeTableId", thing.inputs["routeTableId"])
        if each is not thing and each.inputs.get("destinationCidrBlock") == thing.inputs.get("destinationCidrBlock")
    ]
    no(
        bool(twins),
        f"RouteAlreadyExists: The route identified by {thing.inputs.get('destinationCidrBlock')} already exists.",
    )


def _make_table_association(world: World, thing: Thing) -> None:
    no(
        any(each is not thing for each in world.pointing(TABLE_ASSOCIATION, "subnetId", thing.inputs["subnetId"])),
        "Resource.AlreadyAssociated: the specified association for route table"
        f" {thing.inputs['routeTableId']} conflicts with an existing association",
    )


def _make_endpoint(world: World, thing: Thing) -> None:
    no(
        not re.fullmatch(rf"com\.amazonaws\.{world.region}\.[a-z0-9.-]+", thing.inputs["serviceName"]),
        f"InvalidServiceName: The Vpc Endpoint Service '{thing.inputs['serviceName']}' does not exist",
    )


def _make_flow_log(world: World, thing: Thing) -> None:
    role = world.find(iam.ROLE, "arn", thing.inputs.get("iamRoleArn"))
    no(
        role is None
        or not iam.admits(
            role.inputs["assumeRolePolicy"],
            kind="Service",
            principal="vpc-flow-logs.amazonaws.com",
            action="sts:AssumeRole",
            context={},
        ),
        "InvalidParameter: Unable to assume given IAM role",
    )
    # AWS makes it all the same and reports "Access error" in its status, where nobody looks.
    no(
        role is not None
        and not all(
            iam.allows(world, role.outputs["name"], f"logs:{each}") for each in ("CreateLogStream", "PutLogEvents")
        ),
        "Access error: the role of the flow log may not write (in AWS it is made, and delivers nothing)",
    )


def _make_group(world: World, thing: Thing) -> None:
    no(
        any(
            each.outputs["name"] == thing.outputs["name"]
            for each in world.pointing(GROUP, "vpcId", thing.inputs["vpcId"])
            if each is not thing
        ),
        f"InvalidGroup.Duplicate: The security group '{thing.outputs['name']}' already exists",
    )


def _group_problems(inputs: dict[str, Json]) -> Iterator[tuple[str, str]]:
    description = inputs.get("description", "")
    if not re.fullmatch(r"[0-9A-Za-z_ .:/()#,@\[\]+=&;{}!$*-]{0,255}", description):
        yield "description", f"invalid value for description: {description!r}"


def _rule_problems(inputs: dict[str, Json]) -> Iterator[tuple[str, str]]:
    given = [key for key in ("cidrIpv4", "cidrIpv6", "prefixListId", "referencedSecurityGroupId") if key in inputs]
    if len(given) != 1:
        yield "cidrIpv4", f"exactly one source must be given, are {given}"
    if inputs.get("ipProtocol") == "-1" and ("fromPort" in inputs or "toPort" in inputs):
        yield "fromPort", "must not be given with protocol -1"


def _make_rule(world: World, thing: Thing) -> None:
    def meaning(each: Thing) -> dict[str, Json]:
        return {key: value for key, value in each.inputs.items() if key not in ("description", "tags", "region")}

    no(
        any(meaning(each) == meaning(thing) for each in world.of_type(thing.type) if each is not thing),
        f"InvalidPermission.Duplicate: the specified rule {meaning(thing)} already exists",
    )


def _change_template(_world: World, thing: Thing, inputs: dict[str, Json]) -> None:
    thing.outputs["latestVersion"] += 1
    if inputs.get("updateDefaultVersion"):
        thing.outputs["defaultVersion"] = thing.outputs["latestVersion"]


_RULE = Kind(
    "sgr-{hex}",
    "ec2:security-group-rule/{id}",
    (Ref("securityGroupId", GROUP), Ref("referencedSecurityGroupId", GROUP, holds=DEPENDENCY)),
    outputs=lambda _world, _inputs: {"securityGroupRuleId": "{id}"},
    problems=_rule_problems,
    make=_make_rule,
)

KINDS: dict[str, Kind] = {
    VPC: Kind(
        "vpc-{hex}",
        "ec2:vpc/{id}",
        outputs=lambda world, inputs: {
            "enableDnsHostnames": inputs.get("enableDnsHostnames", False),
            "defaultNetworkAclId": f"acl-{world.new_hex(17)}",
            "defaultRouteTableId": f"rtb-{world.new_hex(17)}",
            "defaultSecurityGroupId": f"sg-{world.new_hex(17)}",
            "dhcpOptionsId": f"dopt-{world.new_hex(17)}",
            "mainRouteTableId": f"rtb-{world.new_hex(17)}",
            "enableNetworkAddressUsageMetrics": False,
            "ownerId": ACCOUNT,
        },
        absent=frozenset({"ipv6AssociationId", "ipv6CidrBlock", "ipv6CidrBlockNetworkBorderGroup"}),
        make=_make_vpc,
    ),
    SUBNET: Kind(
        "subnet-{hex}",
        "ec2:subnet/{id}",
        (Ref("vpcId", VPC, holds=DEPENDENCY),),
        outputs=lambda _, inputs: {
            "availabilityZoneId": f"zone-of-{inputs['availabilityZone']}",
            "privateDnsHostnameTypeOnLaunch": "ip-name",
            "ownerId": ACCOUNT,
        },
        absent=frozenset({"ipv6CidrBlock", "ipv6CidrBlockAssociationId"}),
        make=_make_subnet,
    ),
    INTERNET_GATEWAY: Kind(
        "igw-{hex}",
        "ec2:internet-gateway/{id}",
        (Ref("vpcId", VPC, holds=DEPENDENCY),),
        outputs=lambda _world, _inputs: {"ownerId": ACCOUNT},
        drop=_drop_gateway,
    ),
    ADDRESS: Kind(
        "eipalloc-{hex}",
        "ec2:elastic-ip/{id}",
        outputs=lambda world, _: {
            "allocationId": "{id}",
            "publicIp": f"203.0.113.{world.serial % 250 + 1}",
            "publicDns": f"ec2-203-0-113-{world.serial % 250 + 1}.compute.amazonaws.com",
            "publicIpv4Pool": "amazon",
            "networkBorderGroup": world.region,
        },
        absent=frozenset(
            {
                "associationId",
                "carrierIp",
                "customerOwnedIp",
                "instance",
                "ipamPoolId",
                "networkInterface",
                "privateDns",
                "privateIp",
                "ptrRecord",
            }
        ),
    ),
    NAT: Kind(
        "nat-{hex}",
        refs=(
            Ref("subnetId", SUBNET, holds=DEPENDENCY),
            Ref("allocationId", ADDRESS, holds="AuthFailure: You do not have permission to access {id}: it is in use"),
        ),
        outputs=lambda world, _: {
            "associationId": f"eipassoc-{world.new_hex(17)}",
            "networkInterfaceId": f"eni-{world.new_hex(17)}",
            "privateIp": "10.0.0.5",
            "publicIp": "203.0.113.1",
        },
        absent=frozenset(
            {
                "autoProvisionZones",
                "autoScalingIps",
                "availabilityMode",
                "regionalNatGatewayAddresses",
                "regionalNatGatewayAutoMode",
                "routeTableId",
                "secondaryAllocationIds",
                "secondaryPrivateIpAddressCount",
                "secondaryPrivateIpAddresses",
                "vpcId",
                "availabilityZoneAddresses",
            }
        ),
        make=_make_nat,
    ),
    ROUTE_TABLE: Kind(
        "rtb-{hex}",
        "ec2:route-table/{id}",
        (Ref("vpcId", VPC, holds=DEPENDENCY),),
        outputs=lambda _world, _inputs: {"ownerId": ACCOUNT, "routes": [], "propagatingVgws": []},
    ),
    ROUTE: Kind(
        "r-{routeTableId}{hex}",
        imported="{routeTableId}_{destinationCidrBlock}",
        refs=(Ref("routeTableId", ROUTE_TABLE), Ref("gatewayId", INTERNET_GATEWAY), Ref("natGatewayId", NAT)),
        outputs=lambda _world, _inputs: {"origin": "CreateRoute", "state": "active"},
        absent=frozenset({"instanceId", "instanceOwnerId", "networkInterfaceId"}),
        make=_make_route,
    ),
    TABLE_ASSOCIATION: Kind(
        "rtbassoc-{hex}",
        imported="{subnetId}/{routeTableId}",
        refs=(
            Ref("subnetId", SUBNET),
            Ref("routeTableId", ROUTE_TABLE, holds=DEPENDENCY),
        ),
        make=_make_table_association,
    ),
    ENDPOINT: Kind(
        "vpce-{hex}",
        "ec2:vpc-endpoint/{id}",
        (
            Ref("vpcId", VPC, holds=DEPENDENCY),
            Ref("routeTableIds", ROUTE_TABLE),
            Ref("subnetIds", SUBNET, holds=DEPENDENCY),
            Ref("securityGroupIds", GROUP, holds=DEPENDENCY),
        ),
        outputs=lambda _, inputs: {
            "cidrBlocks": [],
            "dnsEntries": [],
            "dnsOptions": {},
            "ipAddressType": "ipv4",
            "networkInterfaceIds": [],
            "ownerId": ACCOUNT,
            "policy": "{}",
            "prefixListId": "pl-78a54011",
            "privateDnsEnabled": inputs.get("privateDnsEnabled", False),
            "requesterManaged": False,
            "routeTableIds": inputs.get("routeTableIds", []),
            "securityGroupIds": inputs.get("securityGroupIds", []),
            "state": "available",
            "subnetConfigurations": [],
            "subnetIds": inputs.get("subnetIds", []),
        },
        absent=frozenset({"serviceRegion"}),
        make=_make_endpoint,
    ),
    GROUP: Kind(
        "sg-{hex}",
        "ec2:security-group/{id}",
        (Ref("vpcId", VPC, holds=DEPENDENCY),),
        named="name",
        pattern=r"(?!sg-)[0-9A-Za-z_ .:/()#,@\[\]+=&;{}!$*-]+",
        outputs=lambda _, inputs: {
            "description": inputs.get("description", "Managed by Pulumi"),
            "egress": [],
            "ingress": [],
            "ownerId": ACCOUNT,
        },
        absent=frozenset({"namePrefix"}),
        problems=_group_problems,
        make=_make_group,
    ),
    INGRESS_RULE: _RULE,
    EGRESS_RULE: _RULE,
    FLOW_LOG: Kind(
        "fl-{hex}",
        "ec2:vpc-flow-log/{id}",
        (Ref("vpcId", VPC), Ref("logDestination", LOG_GROUP, "arn"), Ref("iamRoleArn", iam.ROLE, "arn")),
        outputs=lambda _world, _inputs: {"logFormat": "${version} ${account-id}"},
        make=_make_flow_log,
    ),
    TEMPLATE: Kind(
        "lt-{hex}",
        "ec2:launch-template/{id}",
        (Ref("vpcSecurityGroupIds", GROUP),),
        named="name",
        longest=128,
        pattern=r"[a-zA-Z0-9()./_-]{3,}",
        outputs=lambda _world, _inputs: {"latestVersion": 1, "defaultVersion": 1, "metadataOptions": {}},
        absent=frozenset({"namePrefix"}),
        volatile=frozenset({"latestVersion", "defaultVersion"}),
        make=unique("name", "InvalidLaunchTemplateName.AlreadyExistsException"),
        change=_change_template,
    ),
    INTERFACE: Kind(
        "eni-{hex}",
        refs=(Ref("subnetId", SUBNET, holds=DEPENDENCY), Ref("securityGroups", GROUP, holds=DEPENDENCY)),
    ),
    BALANCER: Kind(
        "{arn}",
        refs=(
            Ref("subnets", SUBNET, holds=DEPENDENCY),
            Ref("securityGroups", GROUP, holds=DEPENDENCY),
            Ref("certificates", CERTIFICATE, holds="ResourceInUseException: Certificate {id} is in use."),
        ),
    ),
}
"""The network, by type token."""
