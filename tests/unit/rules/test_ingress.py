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


def with_tls(key: str, value: object) -> Change:
    """The same on an Ingress whose TLS policy is beyond doubt."""
    return lambda stack: [
        annotate("ssl-policy", "ELBSecurityPolicy-TLS13-1-2-2021-06")(stack),
        annotate(key, value)(stack),
    ]


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
    "ingress-https-certificate": with_tls("listen-ports", '[{"HTTPS": 443}]'),
    "ingress-certificate-elsewhere": with_tls(
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


def said(stack: Recorded, rule: str) -> str:
    return " ".join(one.message for one in stack.of(rule))


@pytest.mark.parametrize(
    ("key", "value", "right"),
    [
        ("target-type", "IP", False),
        ("group.name", "Team", False),
        ("group.name", "team.a-1", True),
        ("group.order", "1001", False),
        ("group.order", "-1000", True),
        ("load-balancer-name", "n" * 33, False),
        ("load-balancer-name", "internal-web", False),
        ("listen-ports", "[{'HTTP': 80}]", False),
        ("listen-ports", '[{"HTTP": 80}, {"HTTPS": 80}]', False),
        ("listen-ports", '[{"TCP": 80}]', False),
        ("listen-ports", '[{"HTTP": "80"}]', False),
        ("listen-ports", '[{"HTTP": 80}]', True),
        ("ssl-redirect", "https", False),
    ],
)
def test_values_are_those_that_the_controller_takes(dev, key, value, right):
    annotate(key, value)(dev)
    assert bool(dev.of("alb-annotation-value")) is not right, f"{key}: {value}"


@pytest.mark.parametrize(
    ("key", "right"),
    [
        ("alb.ingress.kubernetes.io/shceme", "alb.ingress.kubernetes.io/scheme"),
        ("alb.ingress.kubernetes.io/listen-port", "alb.ingress.kubernetes.io/listen-ports"),
        ("alb.ingress.kubernetes.io/certificateArn", "alb.ingress.kubernetes.io/certificate-arn"),
        ("alb.ingres.kubernetes.io/scheme", "alb.ingress.kubernetes.io/scheme"),
        ("alb.ingress.k8s.io/scheme", "alb.ingress.kubernetes.io/scheme"),
        ("alb.ingress.kubernetes.io/actions.redirect", None),
        ("alb.ingress.kubernetes.io/listener-attributes.HTTP-80", None),
        ("example.com/scheme", None),
        ("nginx.ingress.kubernetes.io/ssl-redirect", None),
    ],
)
def test_a_misspelt_annotation_is_told_from_a_strange_one(dev, key, right):
    dev[INGRESS].set("metadata", "annotations", key, to="internal")
    found = dev.of("alb-annotation-misspelt")
    assert [one.fix for one in found] == ([f"Rename `{key}` to `{right}`."] if right else [])


def test_an_ingress_without_a_class_needs_a_default_one(dev):
    dev[INGRESS].unset("spec", "ingressClassName")
    assert "names no class" in said(dev, "ingress-class-missing")
    dev[CLASS].set("metadata", "annotations", "ingressclass.kubernetes.io/is-default-class", to="true")
    assert dev.of("ingress-class-missing") == []


def test_the_class_may_come_with_the_chart(dev):
    dev.remove(CLASS)
    assert "`alb`" in said(dev, "ingress-class-missing")
    dev[CONTROLLER].unset("values", "createIngressClassResource")
    assert dev.of("ingress-class-missing") == []


def test_nothing_is_said_of_classes_in_a_cluster_that_somebody_else_made(dev):
    dev[INGRESS].set("spec", "ingressClassName", to="theirs")
    dev["kubernetes cluster-kubernetes"].waits_for()
    assert dev.of("ingress-class-missing") == []


def test_a_controller_that_is_no_chart_serves_the_class_too(dev):
    MUTANTS["ingress-class-unserved"](dev)
    image = "public.ecr.aws/eks/aws-load-balancer-controller:v3.5.0"
    dev["Deployment demo-deployment"].set("spec", "template", "spec", "containers", 0, "image", to=image)
    assert dev.of("ingress-class-unserved") == []


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda stack: stack[PUBLIC].set("cidrBlock", to="10.0.224.0/28"), "/27 or larger"),
        (
            lambda stack: (
                stack[PUBLIC]
                .unset("tags", "kubernetes.io/cluster/eks-foundation-dev")
                .set("tags", "kubernetes.io/cluster/other", to="shared")
            ),
            "tagged for cluster other and not for eks-foundation-dev",
        ),
        (lambda stack: stack.remove("Route network-public-default"), "without a route to an internet gateway"),
    ],
)
def test_a_subnet_that_cannot_take_a_load_balancer_is_named_with_its_reason(dev, change, wrong):
    change(dev)
    assert wrong in said(dev, "alb-subnets-unusable")


def test_an_internal_load_balancer_looks_at_the_private_subnets(dev):
    annotate("scheme", "internal")(dev)
    assert dev.findings() == dev.of("cluster-endpoint-open"), "they are tagged, in two zones, and need no way out"
    dev["Subnet network-private-ap-northeast-2c"].unset("tags", "kubernetes.io/role/internal-elb")
    assert "ap-northeast-2a" in said(dev, "alb-subnets-zones")


def test_subnets_named_by_hand_are_not_looked_for(dev):
    annotate("subnets", "subnet-1, subnet-2")(dev)
    MUTANTS["alb-subnets-zones"](dev)
    assert dev.of("alb-subnets-zones") == []


def test_the_parameters_of_a_class_win_over_the_annotation(dev):
    inputs = {"metadata": {"name": "internal"}, "spec": {"scheme": "internal"}}
    dev.add("kubernetes:elbv2.k8s.aws/v1beta1:IngressClassParams", "parameters", inputs, like=SERVICE)
    dev[CLASS].set("spec", "parameters", to={"kind": "IngressClassParams", "name": "internal"})
    dev["Subnet network-private-ap-northeast-2c"].unset("tags", "kubernetes.io/role/internal-elb")
    assert "internal-elb" in said(dev, "alb-subnets-zones")


def test_a_node_port_serves_instances(dev):
    annotate("target-type", "instance")(dev)
    dev[SERVICE].set("spec", "type", to="NodePort")
    assert dev.of("ingress-target-type") == []


def test_a_redirect_may_lead_to_a_listener_of_another_member_of_the_group(dev):
    annotate("group.name", "team")(dev)
    annotate("ssl-redirect", "443")(dev)
    other = dev.add("kubernetes:networking.k8s.io/v1:Ingress", "other", dev[INGRESS].get(), like=INGRESS)
    other.set("metadata", "name", to="other").unset("metadata", "annotations", "alb.ingress.kubernetes.io/ssl-redirect")
    assert "redirects to port 443" in said(dev, "ingress-ssl-redirect")
    arn = "arn:aws:acm:ap-northeast-2:111122223333:certificate/0123456789ab"
    other.set("metadata", "annotations", "alb.ingress.kubernetes.io/certificate-arn", to=arn)
    assert dev.of("ingress-ssl-redirect") == []


def test_a_certificate_can_be_found_by_a_host(dev):
    annotate("listen-ports", '[{"HTTPS": 443}]')(dev)
    dev[INGRESS].set("spec", "rules", 0, "host", to="demo.example.com")
    assert dev.of("ingress-https-certificate") == []


def test_a_backend_that_something_else_may_make_counts_as_there(dev):
    dev[SERVICE].set("metadata", "name", to="other")
    assert "Service demo, which nothing in its namespace makes" in said(dev, "ingress-backend-missing")
    bare = dev.copy()
    bare.remove(SERVICE)
    assert bare.of("ingress-backend-missing") == [], "a namespace in which the program makes no Service at all"
    dev["Release ingress-cert-manager"].set("namespace", to="demo")
    assert dev.of("ingress-backend-missing") == [], "a namespace into which a chart goes"


def test_an_ingress_whose_annotations_are_not_known_is_not_judged(dev):
    dev[INGRESS].unset("spec", "ingressClassName").set(
        "metadata", "annotations", to="04da6b54-80e4-46f7-96ec-b56ff0331ba9"
    )
    assert {one.severity for one in dev.of("ingress-class-missing")} == {"note"}


def test_a_backend_that_is_an_action_needs_the_action(dev):
    path = ("spec", "rules", 0, "http", "paths", 0, "backend", "service")
    dev[INGRESS].set(*path, to={"name": "to-https", "port": {"name": "use-annotation"}})
    assert "actions.to-https" in said(dev, "ingress-backend-missing")
    annotate("actions.to-https", "{}")(dev)
    assert dev.of("ingress-backend-missing") == []


@pytest.mark.parametrize("port", ["from", "whole range", "addresses", "the cluster's own group"])
def test_a_webhook_port_is_open_in_any_of_these_ways(dev, port):
    rule = dev["SecurityGroupIngressRule ingress-controller-webhook"]
    if port == "from":
        rule.set("fromPort", to=9000).set("toPort", to=9443)
    elif port == "whole range":
        rule.set("ipProtocol", to="-1").unset("fromPort").unset("toPort")
    elif port == "addresses":
        rule.unset("referencedSecurityGroupId").set("cidrIpv4", to="10.0.0.0/16")
    else:
        dev.remove("SecurityGroupIngressRule ingress-controller-webhook")
        group = dev["Cluster cluster-eks"].get("clusterSecurityGroupId")
        dev[TEMPLATE].set("vpcSecurityGroupIds", to=[*dev[TEMPLATE].get("vpcSecurityGroupIds"), group])
    assert dev.of("webhook-port-closed") == []


def test_a_rule_from_another_group_does_not_let_the_control_plane_in(dev):
    dev["SecurityGroupIngressRule ingress-controller-webhook"].set("referencedSecurityGroupId", to="sg-other")
    assert "port 9443" in said(dev, "webhook-port-closed")


def test_two_tagged_groups_are_found_where_one_is_eks_own(dev):
    group = dev["Cluster cluster-eks"].get("clusterSecurityGroupId")
    dev[TEMPLATE].set("vpcSecurityGroupIds", to=[*dev[TEMPLATE].get("vpcSecurityGroupIds"), group])
    assert dev.of("node-groups-tagged") == [], "EKS tags its own group, ours has no tag"
    dev["SecurityGroup cluster-nodes"].set("tags", "kubernetes.io/cluster/eks-foundation-dev", to="owned")
    assert "of which 2 have" in said(dev, "node-groups-tagged")


def test_values_in_files_are_not_taken_for_missing(dev):
    dev[CONTROLLER].set("values", to={}).set("valueYamlFiles", to=[{"path": "values.yaml"}])
    rules = ("controller-cluster-name", "controller-without-vpc", "controller-webhook-certificate")
    assert [one for rule in rules for one in dev.of(rule)] == []


def test_a_controller_may_ask_the_metadata_service_where_nodes_let_it(dev):
    MUTANTS["controller-without-vpc"](dev)
    dev[TEMPLATE].set("metadataOptions", "httpPutResponseHopLimit", to=2)
    assert dev.of("controller-without-vpc") == []


def test_a_manifest_that_may_hold_anything_may_hold_the_class(dev):
    dev["Ingress demo-ingress"].set("spec", "ingressClassName", to="other")
    kinds = {"file": "https://example.com/crds/gateway-crds.yaml"}
    manifest = dev.add("kubernetes:yaml/v2:ConfigFile", "platform", kinds, like="Service demo-service")
    assert dev.of("ingress-class-missing"), "definitions of kinds are no classes"
    manifest.set("file", to="https://example.com/platform.yaml")
    assert dev.of("ingress-class-missing") == [], "nobody looked into it"
