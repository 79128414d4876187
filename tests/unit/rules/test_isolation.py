"""Nodes without a way out: each rule fires for one small change to such a stack, and no other does."""

from __future__ import annotations

import dataclasses

import pytest

from preflight.graph import Graph
from preflight.rules import RULES
from tests.unit.rules.conftest import Change, Recorded

CONTROLLER = "Release ingress-aws-load-balancer-controller"
POD = ("spec", "template", "spec", "containers", 0)
VPN = "SecurityGroupIngressRule cluster-control-plane-10.200.0.0/16"
PUBLIC = "public.ecr.aws/nginx/nginx:1"

MUTANTS: dict[str, Change] = {
    "endpoint-missing": lambda stack: stack.remove("VpcEndpoint network-ecr.api"),
    "endpoint-deaf": lambda stack: stack["VpcEndpoint network-sts"].set("privateDnsEnabled", to=False),
    "image-out-of-reach": lambda stack: stack["Deployment demo-deployment"].set(*POD, "image", to=PUBLIC),
    "api-unreachable": lambda stack: stack.remove(VPN),
    "controller-asks-outside": lambda stack: stack[CONTROLLER].unset("values", "enableWafv2"),
}


@pytest.mark.parametrize("rule", MUTANTS)
def test_a_small_change_makes_exactly_this_rule_fire(rule, isolated, new_findings):
    found = new_findings(isolated, MUTANTS[rule])
    assert {one.rule for one in found} == {rule}, found
    assert {one.severity for one in found} == {RULES[rule].severity}, "the finding has the rule's severity"
    assert all(one.message.endswith(".") and one.fix.endswith(".") for one in found), "both are sentences"


def test_the_isolated_stack_has_no_finding(isolated):
    assert isolated.findings() == []


@pytest.mark.parametrize("service", ["ec2", "ecr.api", "ecr.dkr", "eks-auth", "elasticloadbalancing", "s3", "sts"])
def test_every_endpoint_that_nodes_and_controllers_need_is_missed_by_name(isolated, service):
    isolated.remove(f"VpcEndpoint network-{service}")
    (finding,) = isolated.of("endpoint-missing")
    assert f"an endpoint for {service}:" in finding.message


def test_an_endpoint_of_nobodys_need_is_not_missed(isolated):
    isolated.remove("VpcEndpoint network-logs", "VpcEndpoint network-eks")
    assert isolated.of("endpoint-missing") == []


def test_a_gateway_endpoint_serves_the_subnets_in_whose_routes_it_stands(isolated):
    endpoint = isolated["VpcEndpoint network-s3"]
    endpoint.set("routeTableIds", to=endpoint.get("routeTableIds")[:1])
    (finding,) = isolated.of("endpoint-missing")
    assert "network-private-ap-northeast-2c have" in finding.message
    assert "network-private-ap-northeast-2a" not in finding.message


def test_the_names_of_another_partition_are_read(isolated):
    for raw in isolated.update["resources"]:
        if raw["type"] == "aws:ec2/vpcEndpoint:VpcEndpoint":
            name = raw["inputs"]["serviceName"].replace("ap-northeast-2", "cn-north-1")
            isolated[f"VpcEndpoint {raw['name']}"].set("serviceName", to=f"cn.{name}")
    assert isolated.of("endpoint-missing") == []


OUT = [rule for rule in MUTANTS if rule != "api-unreachable"]


@pytest.mark.parametrize("target", ["natGatewayId", "transitGatewayId", "networkInterfaceId"])
def test_with_a_way_out_no_endpoint_is_missed_and_no_image_is_out_of_reach(isolated, target):
    for rule in OUT:
        MUTANTS[rule](isolated)
    for zone in ("ap-northeast-2a", "ap-northeast-2c"):
        table = isolated[f"RouteTable network-private-{zone}"].raw["id"]
        inputs = {"routeTableId": table, "destinationCidrBlock": "0.0.0.0/0", target: "out-1"}
        isolated.add("aws:ec2/route:Route", f"out-{zone}", inputs, like="Route network-public-default")
    assert [one for rule in OUT for one in isolated.of(rule)] == []


def test_an_endpoint_whose_security_group_admits_nothing_is_deaf(isolated):
    isolated.remove("SecurityGroupIngressRule network-endpoints-https")
    findings = isolated.of("endpoint-deaf")
    assert len(findings) == 8, "all interface endpoints share the group"
    assert all("admits port 443" in one.message for one in findings)


def test_an_endpoint_that_admits_another_port_is_deaf(isolated):
    isolated["SecurityGroupIngressRule network-endpoints-https"].set("fromPort", to=80).set("toPort", to=80)
    assert len(isolated.of("endpoint-deaf")) == 8


@pytest.mark.parametrize(
    ("release", "path"),
    [
        (CONTROLLER, ("image", "repository")),
        ("Release ingress-cert-manager", ("imageRegistry",)),
    ],
)
def test_a_chart_that_is_left_its_own_image_is_named(isolated, release, path):
    isolated[release].unset("values", *path)
    (finding,) = isolated.of("image-out-of-reach")
    assert "pulls " in finding.message


def test_a_stack_with_nat_is_not_judged(dev):
    assert [one for rule in MUTANTS for one in dev.of(rule)] == []


def test_all_three_questions_of_the_controller_are_named(isolated: Recorded):
    for key in ("enableShield", "enableWaf", "enableWafv2"):
        isolated[CONTROLLER].unset("values", key)
    (finding,) = isolated.of("controller-asks-outside")
    assert "enableShield, enableWaf, enableWafv2" in finding.message


def test_a_public_endpoint_is_reached_without_a_rule(isolated):
    isolated.remove(VPN)
    isolated["Cluster cluster-eks"].set("endpointPublicAccess", to=True)
    assert isolated.of("api-unreachable") == []


@pytest.mark.parametrize(
    "source",
    [{"cidrIpv4": "10.3.0.0/16"}, {"prefixListId": "pl-1"}, {"referencedSecurityGroupId": "sg-of-a-runner"}],
    ids=lambda source: next(iter(source)),
)
def test_whoever_is_admitted_beside_the_nodes_reaches_the_api(isolated, source):
    kept = isolated[VPN].unset("cidrIpv4")
    for key, value in source.items():
        kept.set(key, to=value)
    assert isolated.of("api-unreachable") == []


def test_a_preview_gives_notes_and_no_false_alarm(isolated):
    stack = dataclasses.replace(isolated.stack(), graph=Graph.of(isolated.preview), preview=None)
    assert [one for rule in MUTANTS for one in RULES[rule].findings(stack) if one.severity != "note"] == []
