"""From an Ingress to a load balancer: each rule fires for one small change to a good stack, and no other does."""

from __future__ import annotations

import pytest

from preflight.rules import RULES
from tests.unit.rules.conftest import Change, Recorded

INGRESS = "Ingress demo-ingress"
SERVICE = "Service demo-service"
CLASS = "IngressClass ingress-class"
CONTROLLER = "Release ingress-aws-load-balancer-controller"
PUBLIC = "Subnet network-public-ap-northeast-2a"
TEMPLATE = "LaunchTemplate cluster-system"


def annotate(key: str, value: object, prefix: str = "alb.ingress.kubernetes.io/") -> Change:
    return lambda stack: stack[INGRESS].set("metadata", "annotations", prefix + key, to=value)


def second_ingress(stack: Recorded) -> None:
    for name in ("demo", "other"):
        stack[INGRESS].set("metadata", "annotations", "alb.ingress.kubernetes.io/group.name", to="team")
        stack[INGRESS].set("metadata", "annotations", "alb.ingress.kubernetes.io/group.order", to="10")
        if name == "other":
            other = stack.add("kubernetes:networking.k8s.io/v1:Ingress", "other", stack[INGRESS].get(), like=INGRESS)
            other.set("metadata", "name", to="other")


def two_groups(stack: Recorded) -> None:
    inputs = {
        "vpcId": stack["Vpc network-vpc"].raw["id"],
        "tags": {"kubernetes.io/cluster/eks-foundation-dev": "owned"},
    }
    more = [
        stack.add(
            "aws:ec2/securityGroup:SecurityGroup", name, inputs, like="SecurityGroup cluster-nodes", id=f"sg-{name}"
        )
        for name in ("one", "two")
    ]
    own = stack[TEMPLATE].get("vpcSecurityGroupIds")
    stack[TEMPLATE].set("vpcSecurityGroupIds", to=[*own, *(one.raw["id"] for one in more)])


MUTANTS: dict[str, Change] = {
    "ingress-class-missing": lambda stack: stack[INGRESS].set("spec", "ingressClassName", to="abl"),
    "ingress-class-unserved": lambda stack: stack[CONTROLLER].set("chart", to="some-other-controller"),
    "ingress-class-annotation": annotate("ingress.class", "alb", prefix="kubernetes.io/"),
    "alb-annotation-value": annotate("scheme", "internet_facing"),
    "alb-annotation-misspelt": annotate("sheme", "internet-facing"),
    "annotation-not-text": annotate("healthcheck-port", 8080),
    "alb-subnets-untagged": lambda stack: [
        stack[f"Subnet network-public-ap-northeast-2{zone}"].unset("tags", "kubernetes.io/role/elb") for zone in "ac"
    ],
    "alb-subnets-zones": lambda stack: stack[PUBLIC].unset("tags", "kubernetes.io/role/elb"),
    "alb-subnets-unusable": lambda stack: stack[PUBLIC].set("cidrBlock", to="10.0.224.0/28"),
    "ingress-target-type": annotate("target-type", "instance"),
    "ingress-ssl-redirect": annotate("ssl-redirect", "443"),
    "ingress-https-certificate": annotate("listen-ports", '[{"HTTPS": 443}]'),
    "ingress-certificate-elsewhere": annotate(
        "certificate-arn", "arn:aws:acm:us-east-1:111122223333:certificate/0123456789ab"
    ),
    "ingress-group-order": second_ingress,
    "ingress-backend-missing": lambda stack: stack[SERVICE].set("spec", "ports", 0, "name", to="web"),
    "webhook-port-closed": lambda stack: stack[CONTROLLER].set("values", "webhookBindPort", to=9444),
    "node-groups-tagged": two_groups,
    "controller-cluster-name": lambda stack: stack[CONTROLLER].set("values", "clusterName", to="eks-foundation"),
    "controller-without-vpc": lambda stack: stack[CONTROLLER].unset("values", "vpcId"),
    "controller-webhook-certificate": lambda stack: [
        stack[CONTROLLER].unset("values", "keepTLSSecret"),
        stack[CONTROLLER].unset("values", "enableCertManager"),
    ],
}


@pytest.mark.parametrize("rule", MUTANTS)
def test_a_small_change_makes_exactly_this_rule_fire(rule, dev, new_findings):
    found = new_findings(dev, MUTANTS[rule])
    assert {one.rule for one in found} == {rule}, found
    assert {one.severity for one in found} == {RULES[rule].severity}, "the finding has the rule's severity"
    assert all(one.message.endswith(".") and one.fix.endswith(".") for one in found), "both are sentences"
