"""Who reaches whom: routes and security groups of the world."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .tokens import (
    BALANCER,
    EGRESS_RULE,
    ENDPOINT,
    GROUP,
    INGRESS_RULE,
    INTERNET_GATEWAY,
    NAT,
    ROUTE,
    SUBNET,
    TABLE_ASSOCIATION,
)
from .wire import at
from .world import Thing, World

# What nodes call while they join, where no route leads out:
# https://docs.aws.amazon.com/eks/latest/userguide/private-clusters.html
SERVICES_TO_JOIN = ("ec2", "ecr.api", "ecr.dkr", "eks", "sts")


def vpc_of(world: World, subnet_id: str) -> str:
    """The VPC of a subnet."""
    return world.things[SUBNET, subnet_id].inputs["vpcId"]


def _default_route(world: World, subnet_id: str) -> Thing | None:
    for association in world.pointing(TABLE_ASSOCIATION, "subnetId", subnet_id):
        for route in world.pointing(ROUTE, "routeTableId", association.inputs["routeTableId"]):
            if route.inputs.get("destinationCidrBlock") == "0.0.0.0/0":
                return route
    return None


def reaches_internet_gateway(world: World, subnet_id: str) -> bool:
    """Whether the subnet is public: its default route ends at a gateway of its own VPC."""
    route = _default_route(world, subnet_id)
    gateway = world.find(INTERNET_GATEWAY, "id", route.inputs.get("gatewayId")) if route else None
    return gateway is not None and gateway.inputs["vpcId"] == vpc_of(world, subnet_id)


def reaches_internet(world: World, subnet_id: str) -> bool:
    """Whether a machine without a public address reaches the internet from the subnet."""
    route = _default_route(world, subnet_id)
    nat = world.find(NAT, "id", route.inputs.get("natGatewayId")) if route else None
    return nat is not None and reaches_internet_gateway(world, nat.inputs["subnetId"])


def reaches_services(world: World, subnet_id: str, services: tuple[str, ...]) -> bool:
    """Whether AWS services are reached from the subnet, over the internet or by endpoints in the VPC."""
    endpoints = {each.inputs["serviceName"] for each in world.pointing(ENDPOINT, "vpcId", vpc_of(world, subnet_id))}
    return (
        reaches_internet(world, subnet_id) or {f"com.amazonaws.{world.region}.{each}" for each in services} <= endpoints
    )


def pulls(world: World, subnet_id: str, image: str) -> bool:
    """Whether a node in the subnet reaches the registry of an image."""
    private = re.match(rf"\d{{12}}\.dkr\.ecr\.{world.region}\.", image) is not None
    return reaches_internet(world, subnet_id) or (
        private and reaches_services(world, subnet_id, ("ecr.api", "ecr.dkr", "s3"))
    )


def has_public_addresses(world: World, vpc_id: str) -> bool:
    """Whether something in the VPC still has a public address."""
    holders = [
        *(each.inputs["subnetId"] for each in world.of_type(NAT)),
        *(each.inputs["subnets"][0] for each in world.of_type(BALANCER) if each.inputs["scheme"] == "internet-facing"),
    ]
    return any(vpc_of(world, each) == vpc_id for each in holders)


def admits(world: World, groups: list[str], source: str, port: int, protocol: str = "tcp") -> bool:
    """Whether one of the groups admits the port from members of the source group. EKS's own group admits itself."""
    for rule in world.of_type(INGRESS_RULE):
        inputs = rule.inputs
        if inputs["securityGroupId"] not in groups:
            continue
        whole = inputs["ipProtocol"] == "-1"
        fits = whole or (
            inputs["ipProtocol"] == protocol and inputs.get("fromPort", 0) <= port <= inputs.get("toPort", 65535)
        )
        # A rule by CIDR is taken to mean everybody: no addresses are played.
        if fits and (inputs.get("referencedSecurityGroupId") == source or "cidrIpv4" in inputs):
            return True
    return source in groups and world.things[GROUP, source].made_by.startswith("eks ")


def lets_out(world: World, groups: list[str]) -> bool:
    """Whether one of the groups lets everything out. A group that Pulumi makes lets nothing out by itself."""
    if any(world.things[GROUP, each].made_by.startswith("eks ") for each in groups):
        return True
    return any(
        rule.inputs["securityGroupId"] in groups
        and rule.inputs["ipProtocol"] == "-1"
        and rule.inputs.get("cidrIpv4") == "0.0.0.0/0"
        for rule in world.of_type(EGRESS_RULE)
    )


def join_problems(world: World, cluster: Thing, subnets: list[str], groups: list[str]) -> Iterator[str]:
    """Why nodes in these subnets and security groups do not become ready."""
    config = cluster.outputs["vpcConfig"]
    control_plane = config["clusterSecurityGroupId"]
    for subnet in subnets:
        if not reaches_services(world, subnet, SERVICES_TO_JOIN):
            yield f"no way from {subnet} to AWS"
    if not lets_out(world, groups):
        yield f"nothing may leave {groups}"
    if config["endpointPrivateAccess"] and not any(
        admits(world, [control_plane, *at(config, "securityGroupIds")], each, 443) for each in groups
    ):
        yield "the control plane does not admit the nodes on 443"
    if not admits(world, groups, control_plane, 10250):
        yield "the nodes do not admit the control plane on 10250"
