"""What must outlive what: each rule fires for one small change to a good stack, and no other does."""

from __future__ import annotations

import pytest

from preflight.rules import RULES
from tests.unit.rules.conftest import Change, Recorded

CLUSTER = "Cluster cluster-eks"
INGRESS = "Ingress demo-ingress"
CLASS = "IngressClass ingress-class"
CONTROLLER = "Release ingress-aws-load-balancer-controller"
CERT_MANAGER = "Release ingress-cert-manager"
DEFINITIONS = [f"ConfigFile ingress-aws-load-balancer-controller-{file}" for file in ("crds", "gateway-crds")]
NODES = "NodeGroup cluster-system"
PORT = "SecurityGroupIngressRule ingress-controller-webhook"
SERVICE = "Service demo-service"
RIGHT = "RolePolicyAttachment ingress-controller-aws-load-balancer-controller"
ADDONS_AFTER = ["Addon cluster-coredns", "Addon cluster-aws-ebs-csi-driver"]
ROUTES = [
    *(f"RouteTableAssociation network-private-ap-northeast-2{zone}" for zone in "ac"),
    *(f"Route network-private-ap-northeast-2{zone}-default" for zone in "ac"),
]


def free_of_nodes(stack: Recorded) -> None:
    for release in (CONTROLLER, CERT_MANAGER):
        stack[release].forgets(NODES, *ADDONS_AFTER)


def mutator_without_order(stack: Recorded) -> None:
    stack[CONTROLLER].set("values", "enableServiceMutatorWebhook", to=True)
    stack[SERVICE].waits_for("Namespace demo-namespace")


def forget_network(stack: Recorded) -> None:
    for key in stack.names:
        if key.split()[0] in ("NodeGroup", "Release"):
            stack[key].forgets(*(one for one in ROUTES if one in stack.names))


def forget_subnet(stack: Recorded) -> None:
    for key in stack.names:
        if key.split()[0] in ("NodeGroup", "Release"):
            stack[key].forgets(
                "Subnet network-public-ap-northeast-2c", "RouteTableAssociation network-public-ap-northeast-2c"
            )


def issuer(stack: Recorded) -> None:
    inputs = {"metadata": {"name": "own"}, "spec": {"selfSigned": {}}}
    made = stack.add(
        "kubernetes:cert-manager.io/v1:ClusterIssuer", "own", inputs, like="Namespace ingress-cert-manager"
    )
    made.waits_for("Namespace ingress-cert-manager")


MUTANTS: dict[str, Change] = {
    "ingress-outlives-controller": lambda stack: (
        stack[INGRESS].forgets(CONTROLLER, SERVICE),
        stack[CLASS].forgets(CONTROLLER),
    ),
    "ingress-outlives-class": lambda stack: [stack[key].forgets(CLASS) for key in (INGRESS, SERVICE)],
    "controller-outlives-rights": lambda stack: [
        stack[key].forgets(RIGHT) for key in (CONTROLLER, "ServiceAccount ingress-controller-account")
    ],
    "controller-outlives-nodes": free_of_nodes,
    "controller-outlives-network": forget_network,
    "controller-outlives-names": lambda stack: [
        stack[key].forgets(ADDONS_AFTER[0]) for key in (CONTROLLER, CERT_MANAGER)
    ],
    "webhook-outlives-ingress": lambda stack: stack[CONTROLLER].forgets(PORT),
    "ingress-outlives-subnets": forget_subnet,
    "service-before-webhook": mutator_without_order,
    "crd-before-object": issuer,
    "rights-before-use": lambda stack: stack[NODES].forgets(
        "RolePolicyAttachment cluster-node-AmazonEKSWorkerNodePolicy"
    ),
    "cluster-before-parts": lambda stack: stack["Addon cluster-kube-proxy"].forgets(CLUSTER),
    "addon-before-nodes": lambda stack: stack["Addon cluster-coredns"].forgets(NODES),
    "addon-after-nodes": lambda stack: stack[NODES].forgets("Addon cluster-kube-proxy"),
    "log-group-before-cluster": lambda stack: stack[CLUSTER].forgets("LogGroup cluster-control-plane"),
    "load-balancer-abandoned": lambda stack: stack[INGRESS].option(deletedWith=stack[CLUSTER].raw["urn"]),
}


@pytest.mark.parametrize("rule", MUTANTS)
def test_a_small_change_makes_exactly_this_rule_fire(rule, dev, new_findings):
    found = new_findings(dev, MUTANTS[rule])
    assert {one.rule for one in found} == {rule}, found
    assert {one.severity for one in found} == {RULES[rule].severity}, "the finding has the rule's severity"
    assert all(one.message.endswith(".") and one.fix.endswith(".") for one in found), "both are sentences"


def test_an_order_that_holds_by_way_of_others_is_enough(dev):
    dev[INGRESS].forgets(CONTROLLER)
    assert dev.of("ingress-outlives-controller") == [], "it still waits for the class, which waits for the release"


def test_a_load_balancer_service_has_to_go_before_the_controller_too(dev):
    dev[SERVICE].waits_for("Namespace demo-namespace").set("spec", "type", to="LoadBalancer")
    assert dev.of("ingress-outlives-controller") == [], "without the mutator and a class the controller is not "
    "concerned"
    dev[SERVICE].set("spec", "loadBalancerClass", to="service.k8s.aws/nlb")
    (finding,) = dev.of("ingress-outlives-controller")
    assert "Service demo/demo" in finding.message


def test_parameters_outlive_the_class_that_refers_to_them(dev):
    inputs = {"metadata": {"name": "own"}, "spec": {}}
    dev.add("kubernetes:elbv2.k8s.aws/v1beta1:IngressClassParams", "own", inputs, like=CLASS)
    dev[CLASS].set("spec", "parameters", to={"name": "own"})
    (finding,) = dev.of("ingress-outlives-class")
    assert finding.fix == "Add own to its depends_on."


def test_a_role_bound_by_pod_identity_is_kept_for_the_controller_too(dev):
    inputs = {
        "clusterName": "eks-foundation-dev",
        "namespace": "kube-system",
        "serviceAccount": "aws-load-balancer-controller",
        "roleArn": dev["Role ingress-controller-role"].get("arn"),
    }
    dev.add("aws:eks/podIdentityAssociation:PodIdentityAssociation", "late", inputs, like=SERVICE).waits_for()
    (finding,) = dev.of("controller-outlives-rights")
    assert "PodIdentityAssociation late" in finding.message


def test_the_provider_that_a_role_trusts_is_kept_for_the_controller_too(dev):
    dev["Role ingress-controller-role"].forgets("OpenIdConnectProvider irsa-provider")
    (finding,) = dev.of("controller-outlives-rights")
    assert "OpenIdConnectProvider irsa-provider" in finding.message, "without it nobody becomes the role"


def test_what_nodes_may_send_is_kept_for_the_controller(dev):
    dev[NODES].forgets("SecurityGroupEgressRule cluster-nodes-out")
    (finding,) = dev.of("controller-outlives-network")
    assert "SecurityGroupEgressRule cluster-nodes-out" in finding.message


@pytest.mark.parametrize(("kind", "said"), [("Interface", True), ("Gateway", False)])
def test_an_endpoint_of_aws_is_kept_for_the_controller(dev, kind, said):
    inputs = {"vpcId": dev["Vpc network-vpc"].raw["id"], "vpcEndpointType": kind}
    dev.add("aws:ec2/vpcEndpoint:VpcEndpoint", "sts", inputs, like="VpcEndpoint network-s3")
    assert bool(dev.of("controller-outlives-network")) == said, "a controller without NAT reaches AWS by endpoints only"


def test_a_second_rule_for_the_port_is_enough(dev):
    inputs = dev[PORT].raw["inputs"]
    dev.add("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "second", inputs, like=PORT)
    assert dev.of("webhook-outlives-ingress") == []


def test_subnets_that_the_ingress_names_itself_are_not_guessed(dev):
    forget_subnet(dev)
    dev[INGRESS].set("metadata", "annotations", "alb.ingress.kubernetes.io/subnets", to="subnet-1")
    assert dev.of("ingress-outlives-subnets") == []


def test_another_release_makes_services_too(dev):
    dev[CONTROLLER].set("values", "enableServiceMutatorWebhook", to=True)
    assert dev.of("service-before-webhook") == [], "all of them wait, and cert-manager is waited for"
    dev.add("kubernetes:helm.sh/v3:Release", "other", {"chart": "x", "name": "x"}, like=CERT_MANAGER)
    (finding,) = dev.of("service-before-webhook")
    assert finding.message.endswith("do not wait for it: Release other.")


def test_a_kind_may_come_from_its_definition(dev):
    issuer(dev)
    definition = {"metadata": {"name": "clusterissuers.cert-manager.io"}, "spec": {"group": "cert-manager.io"}}
    dev.add("kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition", "kind", definition, like=SERVICE)
    dev["ClusterIssuer own"].waits_for("CustomResourceDefinition kind")
    assert dev.of("crd-before-object") == []


def test_a_kind_may_come_from_a_manifest_that_nobody_looked_into(prod):
    issuer(prod)
    prod["ClusterIssuer own"].waits_for(DEFINITIONS[0])
    assert prod.of("crd-before-object") == []
    prod["ClusterIssuer own"].waits_for("Namespace ingress-cert-manager")
    (finding,) = prod.of("crd-before-object")
    assert "does not wait for Release ingress-cert-manager" in finding.message, "a manifest elsewhere is no excuse"


def test_a_release_without_its_kinds_waits_for_those_who_bring_them(prod):
    prod[CONTROLLER].forgets(*DEFINITIONS)
    (finding,) = prod.of("crd-before-object")
    assert "skips its kinds, and waits for nothing" in finding.message
    prod[CONTROLLER].unset("skipCrds")
    assert prod.of("crd-before-object") == [], "then the release brings them"


def test_a_certificate_needs_somebody_to_issue_it(dev):
    dev.remove(CERT_MANAGER)
    (finding,) = dev.of("crd-before-object")
    assert "cert-manager, which is not there" in finding.message


def test_a_cluster_waits_for_the_rights_of_its_role(dev):
    dev[CLUSTER].forgets("RolePolicyAttachment cluster-role-AmazonEKSClusterPolicy")
    (finding,) = dev.of("rights-before-use")
    assert finding.message.startswith("Cluster eks-foundation-dev waits for its role and not for")


def test_an_option_on_a_component_is_inherited(dev):
    dev["DemoApp demo"].option(deletedWith=dev[CLUSTER].raw["urn"])
    (finding,) = dev.of("load-balancer-abandoned")
    assert finding.fix == "Remove deleted_with from demo."
