"""The whole program for every stack file, in preview and in update mode."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from preflight.create_only import table
from preflight.graph import Graph, Resource, Secret
from preflight.identities import explain
from preflight.program import start
from preflight.rules import Stack, check
from tests.recorded import STACKS, recorded

ROOT = Path(__file__).parents[2]
PINNED = Path(__file__).parent / "pinned"


@pytest.fixture(scope="module")
def recordings():
    """By stack and mode."""
    return {(stack, each["mode"]): each for stack in STACKS for each in recorded(stack)}


@pytest.fixture(params=STACKS)
def stack(request):
    return request.param


@pytest.fixture
def graph(recordings, stack):
    return Graph.of(recordings[stack, "update"])


def own(graph: Graph) -> list[Resource]:
    """Everything but the stack itself and the providers."""
    return [each for each in graph.resources.values() if not each.type.startswith("pulumi:")]


def test_the_program_runs_to_its_end_in_both_modes(recordings, stack):
    assert [recordings[stack, mode]["error"] for mode in ("preview", "update")] == [None, None]


def test_a_preview_registers_what_an_update_registers(recordings, stack):
    def registered(mode):
        return sorted(each["urn"] for each in recordings[stack, mode]["resources"])

    assert registered("preview") == registered("update"), "a resource is born inside an apply"


def test_what_a_preview_does_not_know_yet_is_no_mistake(recordings, stack):
    def said(mode):
        graph = Graph.of(recordings[stack, mode])
        found = check(Stack(name=stack, graph=graph, as_of=date(2026, 11, 22)))
        return {(each.severity, each.rule, each.resource) for each in found if each.severity != "note"}

    assert said("preview") <= said("update"), "a policy pack would stop a good program"


def test_every_child_stands_under_the_component_that_its_name_begins_with(graph):
    for each in own(graph):
        parent = graph.resources.get(each.parent)
        if parent is None or parent.type == "pulumi:pulumi:Stack":
            assert each.type.startswith("eks-foundation:index:"), f"{each.name} belongs to no component"
        else:
            assert each.name.startswith(f"{parent.name}-"), f"{each.name} under {parent.name}"


def test_no_resource_is_left_to_a_default_provider(graph):
    kinds = ("aws:", "kubernetes:")
    assert [each.name for each in own(graph) if each.type.startswith(kinds) and not each.provider] == []


def test_no_input_holds_the_text_of_an_output(recordings, stack):
    for mode in ("preview", "update"):
        assert "Calling __str__ on an Output" not in json.dumps(recordings[stack, mode])


LOOKED_UP = {
    "tls:index/getCertificate:getCertificate": "the issuer's certificate",
    "aws:ec2/getManagedPrefixList:getManagedPrefixList": "where Lattice answers from",
    "pulumi:pulumi:StackReference": "a cluster's mesh",
}


def test_nothing_but_what_only_aws_and_another_stack_know_is_looked_up(recordings, stack):
    tokens = {each["token"] for mode in ("preview", "update") for each in recordings[stack, mode]["invokes"]}
    assert tokens <= set(LOOKED_UP)


def test_no_two_resources_of_one_type_share_a_physical_name(graph):
    named = [
        (each.type, str(each.inputs[key]))
        for each in own(graph)
        for key in ("name", "namePrefix")
        if each.type.startswith("aws:") and key in each.inputs
    ]
    assert sorted(named) == sorted(set(named))


def test_nothing_of_network_or_identity_can_go_before_the_last_ingress(graph):
    kinds = (
        "aws:ec2/vpc:Vpc",
        "aws:ec2/subnet:Subnet",
        "aws:ec2/internetGateway:InternetGateway",
        "aws:ec2/natGateway:NatGateway",
        "aws:ec2/route:Route",
        "aws:ec2/routeTableAssociation:RouteTableAssociation",
        "aws:iam/openIdConnectProvider:OpenIdConnectProvider",
        "aws:eks/nodeGroup:NodeGroup",
        "aws:eks/addon:Addon",
        "eks:index:Cluster",
        "kubernetes:helm.sh/v3:Release",
        "kubernetes:networking.k8s.io/v1:IngressClass",
    )
    identity = [
        each
        for controller in graph.of_type("eks-foundation:index:IngressStack")
        for each in graph.descendants(controller.urn)
        if each.type.startswith(("aws:iam/", "kubernetes:core"))
    ]
    for ingress in graph.of_type("kubernetes:networking.k8s.io/v1:Ingress"):
        early = [each.name for each in (*graph.of_type(*kinds), *identity) if not graph.reaches(ingress.urn, each.urn)]
        assert early == [], "destroyed while the load balancer still needs it"


def test_every_attached_policy_is_there_before_the_release_that_uses_it(graph):
    for component in graph.of_type("eks-foundation:index:IngressStack"):
        below = list(graph.descendants(component.urn))
        attachments = [each for each in below if each.type == "aws:iam/rolePolicyAttachment:RolePolicyAttachment"]
        (controller,) = [each for each in below if each.inputs.get("name") == "aws-load-balancer-controller"]
        assert attachments
        assert all(graph.reaches(controller.urn, each.urn) for each in attachments)


def test_names_parents_and_create_only_inputs_are_pinned(graph, stack, request):
    """A changed line here is a resource that a live stack would lose or replace; rewrite with `pytest --pin`."""
    now = {each.urn: create_only_inputs(each) for each in sorted(own(graph), key=lambda each: each.urn)}
    file = PINNED / f"{stack}.json"
    if request.config.getoption("--pin"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    assert now == json.loads(file.read_text(encoding="utf-8"))


def create_only_inputs(resource: Resource) -> dict[str, object]:
    paths = table().get(resource.type, {}).get("inputs", ())
    return {path: found for path in paths if (found := _at(resource.inputs, path)) is not None}


def _at(value, path):
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return "[secret]" if isinstance(value, Secret) else value


# What the dev stack is: the way from a VPC to a load balancer.


@pytest.fixture
def dev(recordings):
    return Graph.of(recordings["dev", "update"])


def only(graph: Graph, kind: str, name: str) -> Resource:
    (found,) = [each for each in graph.of_type(kind) if each.name == name]
    return found


def test_dev_has_tagged_subnets_in_two_zones(dev):
    subnets = dev.of_type("aws:ec2/subnet:Subnet")
    assert len({each.inputs["availabilityZone"] for each in subnets}) == 2
    for role in ("kubernetes.io/role/elb", "kubernetes.io/role/internal-elb"):
        zones = {each.inputs["availabilityZone"] for each in subnets if each.inputs["tags"].get(role) == "1"}
        assert len(zones) == 2, f"an ALB needs subnets tagged {role} in two zones"
    assert all(each.inputs["tags"]["kubernetes.io/cluster/eks-foundation-dev"] == "shared" for each in subnets)


def test_dev_wires_the_controllers_account_role_trust_policy_and_release_to_one_name(dev):
    account = only(dev, "kubernetes:core/v1:ServiceAccount", "ingress-controller-account")
    role = only(dev, "aws:iam/role:Role", "ingress-controller-role")
    provider = only(dev, "aws:iam/openIdConnectProvider:OpenIdConnectProvider", "irsa-provider")
    release = only(dev, "kubernetes:helm.sh/v3:Release", "ingress-aws-load-balancer-controller")
    attachment = only(
        dev, "aws:iam/rolePolicyAttachment:RolePolicyAttachment", "ingress-controller-aws-load-balancer-controller"
    )
    policy = only(dev, "aws:iam/policy:Policy", "ingress-controller-aws-load-balancer-controller")

    issuer = str(provider.inputs["url"]).removeprefix("https://")
    (statement,) = json.loads(str(role.inputs["assumeRolePolicy"]))["Statement"]
    assert statement["Principal"]["Federated"] == provider.outputs["arn"]
    assert statement["Condition"]["StringEquals"] == {
        f"{issuer}:aud": "sts.amazonaws.com",
        f"{issuer}:sub": "system:serviceaccount:kube-system:aws-load-balancer-controller",
    }
    assert account.inputs["metadata"]["namespace"] == release.inputs["namespace"] == "kube-system"
    assert account.inputs["metadata"]["name"] == "aws-load-balancer-controller"
    assert account.inputs["metadata"]["annotations"]["eks.amazonaws.com/role-arn"] == role.outputs["arn"]
    assert release.inputs["values"]["serviceAccount"] == {"create": False, "name": "aws-load-balancer-controller"}
    assert (attachment.inputs["role"], attachment.inputs["policyArn"]) == (role.outputs["name"], policy.outputs["arn"])


def test_dev_registers_the_issuer_of_its_own_cluster_with_a_derived_thumbprint(dev):
    provider = only(dev, "aws:iam/openIdConnectProvider:OpenIdConnectProvider", "irsa-provider")
    cluster = only(dev, "eks:index:Cluster", "cluster-eks")
    assert provider.inputs["url"] == cluster.outputs["oidcProviderUrl"]
    (thumbprint,) = provider.inputs["thumbprintLists"]
    assert len(thumbprint) == 40
    assert "thumbprintLists" in provider.property_dependencies


def test_dev_opens_9443_from_the_control_plane_to_its_nodes(dev):
    cluster = only(dev, "eks:index:Cluster", "cluster-eks")
    template = only(dev, "aws:ec2/launchTemplate:LaunchTemplate", "cluster-system")
    (rule,) = [
        each.inputs
        for each in dev.of_type("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule")
        if each.inputs.get("fromPort") == 9443
    ]
    assert rule["referencedSecurityGroupId"] == cluster.outputs["clusterSecurityGroupId"]
    assert [rule["securityGroupId"]] == template.inputs["vpcSecurityGroupIds"]


def test_dev_ends_in_an_internet_facing_ingress_whose_address_is_its_url(dev, recordings):
    ingress = only(dev, "kubernetes:networking.k8s.io/v1:Ingress", "demo-ingress")
    ingress_class = only(dev, "kubernetes:networking.k8s.io/v1:IngressClass", "ingress-class")
    (address,) = ingress.outputs["status"]["loadBalancer"]["ingress"]
    assert ingress.inputs["metadata"]["annotations"]["alb.ingress.kubernetes.io/scheme"] == "internet-facing"
    assert ingress.inputs["spec"]["ingressClassName"] == ingress_class.inputs["metadata"]["name"]
    assert recordings["dev", "update"]["outputs"]["url"] == f"http://{address['hostname']}"


def test_dev_exports_what_a_person_needs_next(recordings):
    assert set(recordings["dev", "update"]["outputs"]) == {
        "clusterName",
        "issuer",
        "issuerUrl",
        "kubeconfigCommand",
        "oidcProviderArn",
        "privateSubnetIds",
        "publicSubnetIds",
        "roleArns",
        "url",
        "vpcId",
    }


def test_a_cluster_with_both_controllers_leaves_the_gateway_api_to_the_one_that_it_is_there_for():
    def with_ingress(configuration):
        return {**configuration, "eks-foundation:ingress": "{}"}

    with start(ROOT, ["cluster1"], modes=("update",), edits=[with_ingress]) as running:
        recording = running.checked()["cluster1"][-1]
    (release,) = [each for each in recording["resources"] if each["name"] == "ingress-aws-load-balancer-controller"]
    gates = release["inputs"]["values"]["controllerConfig"]["featureGates"]
    assert gates == {"ALBGatewayAPI": False, "NLBGatewayAPI": False, "GatewayListenerSet": False}
    assert any("its gateway features are off" in log["message"] for log in recording["logs"]), "and says so"


# What the prod stack adds: HTTPS under a name.


@pytest.mark.parametrize("account", ["external-dns/external-dns", "cert-manager/cert-manager-route53"])
def test_prod_lets_its_controllers_write_to_the_zone_of_the_stack_and_no_other(recordings, account):
    (identity,) = explain(Graph.of(recordings["prod", "update"]), *account.split("/"))
    assert [each.namespace for each in identity.workloads] == [identity.namespace], "a release runs under it"
    assert (identity.chosen.mechanism, identity.chosen.decision.admitted) == ("IRSA", True)
    statements = [each for policy in identity.chosen.policies for each in json.loads(policy.document)["Statement"]]
    assert [each["Resource"] for each in statements if "route53:ChangeResourceRecordSets" in each["Action"]] == [
        ["arn:aws:route53:::hostedzone/Z0123456789EXAMPLE"]
    ]


def test_prod_ends_in_a_name_with_https(recordings):
    outputs = recordings["prod", "update"]["outputs"]
    assert outputs["url"] == "https://demo.example.com"
    assert outputs["loadBalancerHost"].endswith(".elb.amazonaws.com")


# What the other stacks are for.


def test_isolated_pulls_every_chart_and_image_from_its_own_registry(recordings):
    isolated = Graph.of(recordings["isolated", "update"])
    registry = "111122223333.dkr.ecr.ap-northeast-2.amazonaws.com/mirror"
    releases = {str(each.inputs["name"]): each.inputs for each in isolated.of_type("kubernetes:helm.sh/v3:Release")}
    assert set(releases) == {"aws-load-balancer-controller", "cert-manager"}
    for inputs in releases.values():
        assert inputs["chart"].startswith(f"oci://{registry}/")
        assert "repositoryOpts" not in inputs, "an OCI chart has no repository beside its address"
    assert releases["cert-manager"]["values"]["imageRegistry"] == f"{registry}/quay.io"
    image = releases["aws-load-balancer-controller"]["values"]["image"]["repository"]
    assert image == f"{registry}/public.ecr.aws/eks/aws-load-balancer-controller"
    demo = only(isolated, "kubernetes:apps/v1:Deployment", "demo-deployment")
    assert all(
        each["image"].startswith(f"{registry}/") for each in demo.inputs["spec"]["template"]["spec"]["containers"]
    )


def test_isolated_asks_neither_waf_nor_shield_and_has_no_route_out(recordings):
    isolated = Graph.of(recordings["isolated", "update"])
    values = only(isolated, "kubernetes:helm.sh/v3:Release", "ingress-aws-load-balancer-controller").inputs["values"]
    assert {key: values[key] for key in ("enableShield", "enableWaf", "enableWafv2")} == {
        "enableShield": False,
        "enableWaf": False,
        "enableWafv2": False,
    }
    assert [each.name for each in isolated.of_type("aws:ec2/route:Route")] == ["network-public-default"]


def test_prod_protects_what_cannot_be_made_again_and_nothing_else(recordings):
    prod = Graph.of(recordings["prod", "update"])
    protected = {each.type.rpartition(":")[2] for each in prod.resources.values() if each.protect}
    assert protected >= {"Key", "Subnet", "Vpc"}
    # The cluster itself by a transform on the component's child, which no recording plays: see test_cluster.
    assert protected <= {"Bucket", "Key", "Subnet", "Vpc"}
    assert only(prod, "eks:index:Cluster", "cluster-eks").inputs["deletionProtection"] is True


def test_prod_has_nodes_of_every_kind_and_room_for_addons_on_those_that_stay(recordings):
    prod = Graph.of(recordings["prod", "update"])
    groups = {each.name: each.inputs for each in prod.of_type("aws:eks/nodeGroup:NodeGroup")}
    assert {name: (each["capacityType"], each["amiType"]) for name, each in groups.items()} == {
        "cluster-system": ("ON_DEMAND", "BOTTLEROCKET_x86_64"),
        "cluster-arm": ("ON_DEMAND", "AL2023_ARM_64_STANDARD"),
        "cluster-spot": ("SPOT", "AL2023_x86_64_STANDARD"),
    }
    assert [name for name, each in groups.items() if not each.get("taints")] == ["cluster-system"]
    assert all(len(each["subnetIds"]) == 3 for each in groups.values())
