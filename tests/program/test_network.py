"""Network alone, under plain mocks."""

import json

import pytest

from tests.program import stacks


def tags(resource):
    return resource.inputs["tags"]


def test_public_and_private_subnets_carry_the_tags_that_controllers_look_for(run):
    recording = run(stacks.network)
    for zone in stacks.ZONES:
        public = tags(recording.one("Subnet", f"network-public-{zone}"))
        private = tags(recording.one("Subnet", f"network-private-{zone}"))
        assert public["kubernetes.io/role/elb"] == "1"
        assert private["kubernetes.io/role/internal-elb"] == "1"
        assert "kubernetes.io/role/internal-elb" not in public
        assert "kubernetes.io/role/elb" not in private
        assert public["kubernetes.io/cluster/dev"] == private["kubernetes.io/cluster/dev"] == "shared"


def test_no_subnet_hands_out_public_addresses(run):
    assert [each.inputs["mapPublicIpOnLaunch"] for each in run(stacks.network).all("Subnet")] == [False] * 4


def test_the_vpc_resolves_names(run):
    vpc = run(stacks.network).one("Vpc").inputs
    assert (vpc["enableDnsHostnames"], vpc["enableDnsSupport"]) == (True, True)


@pytest.mark.parametrize(("nat", "gateways"), [("none", 0), ("single", 1), ("per-zone", 2)])
def test_there_are_as_many_nat_gateways_as_asked_for(run, nat, gateways):
    recording = run(lambda: stacks.network(nat=nat))
    assert len(recording.all("NatGateway")) == len(recording.all("Eip")) == gateways


def test_every_private_subnet_leaves_through_the_single_nat_gateway(run):
    recording = run(lambda: stacks.network(nat="single"))
    gateways = {
        recording.one("Route", f"network-private-{zone}-default").inputs["natGatewayId"] for zone in stacks.ZONES
    }
    assert gateways == {"network-nat-ap-northeast-2a-id"}


def test_every_zone_leaves_through_its_own_nat_gateway(run):
    recording = run(lambda: stacks.network(nat="per-zone"))
    for zone in stacks.ZONES:
        route = recording.one("Route", f"network-private-{zone}-default").inputs
        assert route["natGatewayId"] == f"network-nat-{zone}-id"
        assert recording.one("NatGateway", f"network-nat-{zone}").inputs["subnetId"] == f"network-public-{zone}-id"


def test_a_nat_gateway_is_gone_before_its_way_out(run):
    recording = run(stacks.network)
    assert recording.reaches(recording.one("NatGateway"), recording.one("Route", "network-public-default"))


def test_without_nat_the_private_subnets_reach_aws_through_endpoints_only(run):
    recording = run(lambda: stacks.network(nat="none"))
    services = {
        each.inputs["serviceName"].removeprefix("com.amazonaws.ap-northeast-2.")
        for each in recording.all("VpcEndpoint")
    }
    assert services == {"s3", "ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "elasticloadbalancing", "logs", "sts"}
    assert [each.name for each in recording.all("Route")] == ["network-public-default"]


def test_a_flow_log_of_the_whole_vpc_may_write_to_a_group_that_expires(run):
    recording = run(lambda: stacks.network(flow_log_days=90))
    flow = recording.one("FlowLog").inputs
    group = recording.one("LogGroup")
    assert (flow["vpcId"], flow["trafficType"]) == ("network-vpc-id", "ALL")
    assert flow["logDestination"] == "arn:aws:logs:ap-northeast-2:111122223333:log-group:network-flow-logs"
    assert group.inputs["retentionInDays"] == 90
    right = recording.one("RolePolicy")
    assert recording.reaches(recording.one("FlowLog"), right), "made without it, it delivers nothing"
    (statement,) = json.loads(right.inputs["policy"])["Statement"]
    assert statement["Resource"] == f"{flow['logDestination']}:*"


def test_without_a_retention_there_is_no_flow_log(run):
    assert run(stacks.network).all("FlowLog") == []


def test_endpoints_answer_the_vpc_and_nobody_else(run):
    recording = run(lambda: stacks.network(nat="none", cidr="10.9.0.0/16"))
    rule = recording.one("SecurityGroupIngressRule").inputs
    assert (rule["cidrIpv4"], rule["fromPort"], rule["toPort"]) == ("10.9.0.0/16", 443, 443)


def test_whoever_waits_for_the_network_waits_for_subnets_routes_and_nat(run):
    def program():
        made.extend(each._name for each in stacks.network().ready)

    made: list[str] = []
    run(program)
    assert {f"network-{role}-{zone}" for role in ("public", "private") for zone in stacks.ZONES} <= set(made)
    assert {"network-public-default", "network-private-ap-northeast-2a-default", "network-s3"} <= set(made)


def test_protection_covers_the_vpc_and_its_subnets_and_nothing_that_can_be_made_again(run):
    recording = run(lambda: stacks.network(protect=True))
    protected = {each.type.rsplit(":", 1)[-1] for each in recording.resources if each.request.protect}
    assert protected == {"Vpc", "Subnet"}


@pytest.mark.parametrize("zone", ["ap-northeast-1a", "ap-northeast-2z", "ap-northeast-2-lax-1a"])
def test_a_zone_that_the_region_lacks_is_refused_before_the_first_resource(run, zone):
    with pytest.raises(ValueError, match=f"{zone}.*allowed: ap-northeast-2a to ap-northeast-2g"):
        run(lambda: stacks.network(zones=("ap-northeast-2a", zone)))


def test_adding_a_zone_changes_no_subnet_that_is_there(run):
    def subnets(zones):
        recording = run(lambda: stacks.network(zones=zones))
        return {each.name: each.inputs["cidrBlock"] for each in recording.all("Subnet")}

    before = subnets(stacks.ZONES)
    after = subnets(("ap-northeast-2b", *stacks.ZONES))
    assert before.items() <= after.items()
