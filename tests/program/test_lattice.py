"""The mesh and its two clusters, recorded as one system: what each makes, what joins them, and in which order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from preflight.graph import Graph
from preflight.program import start
from tests.recorded import recorded

ROOT = Path(__file__).parents[2]
STACKS = ("mesh", "cluster1", "cluster2")
PEERS = {"cluster1": "cluster2", "cluster2": "cluster1"}


@pytest.fixture(scope="module")
def recordings():
    return {stack: recorded(stack)[1] for stack in STACKS}


@pytest.fixture(scope="module")
def graphs(recordings):
    return {stack: Graph.of(recording) for stack, recording in recordings.items()}


@pytest.fixture
def mesh(graphs):
    return graphs["mesh"]


@pytest.fixture(params=PEERS)
def name(request):
    return request.param


@pytest.fixture
def cluster(graphs, name):
    return graphs[name]


def only(graph, type_, name=None):
    found = [each for each in graph.resources.values() if each.type.endswith(type_) and name in (None, each.name)]
    assert len(found) == 1, f"one {type_} {name or ''} is wanted, there are {[each.name for each in found]}"
    return found[0]


def every(graph, *types):
    return [each for each in graph.resources.values() if each.type.endswith(types)]


def statements(text):
    return json.loads(text)["Statement"]


# The mesh.


def test_the_private_zone_has_an_empty_vpc_and_forgets_about_it(mesh):
    zone, vpc = only(mesh, ":Zone"), only(mesh, ":Vpc")
    assert zone.inputs["name"] == "example.com"
    assert zone.inputs["vpcs"] == [{"vpcId": vpc.id}]
    assert zone.ignore_changes == ("vpcs",), "the clusters associate their own, and an update must not take them away"
    assert every(mesh, ":Subnet") == []


def test_the_certificate_is_requested_once_the_ca_is_active_and_may_be_renewed(mesh):
    certificate = only(mesh, "acm/certificate:Certificate")
    authority = only(mesh, ":CertificateAuthority")
    assert certificate.inputs["certificateAuthorityArn"] == authority.outputs["arn"]
    for before in (only(mesh, ":CertificateAuthorityCertificate"), only(mesh, ":Permission")):
        assert mesh.reaches(certificate.urn, before.urn), f"requested before {before.name}"


def test_the_certificate_is_of_the_one_kind_that_lattice_takes_for_every_name_in_the_domain(mesh):
    inputs = only(mesh, "acm/certificate:Certificate").inputs
    assert inputs["keyAlgorithm"] == "RSA_2048"
    assert [inputs["domainName"], *inputs["subjectAlternativeNames"]] == ["example.com", "*.example.com"]


def test_the_ca_signs_its_own_certificate_from_its_own_request(mesh):
    authority, own = only(mesh, ":CertificateAuthority"), only(mesh, "acmpca/certificate:Certificate")
    installed = only(mesh, ":CertificateAuthorityCertificate")
    assert own.inputs["certificateSigningRequest"] == authority.outputs["certificateSigningRequest"]
    assert own.inputs["templateArn"] == "arn:aws:acm-pca:::template/RootCACertificate/V1"
    assert installed.inputs["certificate"] == own.outputs["certificate"]


def test_the_callers_role_may_invoke_and_read_the_one_ca_and_nothing_else(mesh):
    authority = only(mesh, ":CertificateAuthority").outputs["arn"]
    granted = {one["Action"]: one["Resource"] for one in statements(only(mesh, ":RolePolicy").inputs["policy"])}
    assert granted == {
        "vpc-lattice-svcs:Invoke": "arn:aws:vpc-lattice:ap-northeast-2:111122223333:service/*",
        "acm-pca:GetCertificateAuthorityCertificate": authority,
    }
    assert every(mesh, ":RolePolicyAttachment") == []


def test_exactly_the_clients_named_may_take_the_callers_role_with_their_tags(mesh):
    trusted = statements(only(mesh, ":Role").inputs["assumeRolePolicy"])
    assert {tuple(one["Condition"]["StringEquals"].values()) for one in trusted} == {
        ("cluster1", "apps", "default"),
        ("cluster2", "apps", "default"),
    }
    for one in trusted:
        assert one["Principal"] == {"Service": "pods.eks.amazonaws.com"}
        assert one["Action"] == ["sts:AssumeRole", "sts:TagSession"], (
            "without its tags no service can tell callers apart"
        )


def test_the_network_admits_signed_calls_of_that_role_only(mesh):
    network, policy = only(mesh, ":ServiceNetwork"), only(mesh, ":AuthPolicy")
    assert network.inputs["authType"] == "AWS_IAM", "a policy without it sits there and does nothing"
    assert policy.inputs["resourceIdentifier"] == network.outputs["arn"]
    (admitted,) = statements(policy.inputs["policy"])
    assert admitted["Condition"]["StringEquals"] == {"aws:PrincipalArn": only(mesh, ":Role").outputs["arn"]}
    assert admitted["Condition"]["StringNotEqualsIgnoreCase"] == {"aws:PrincipalType": "anonymous"}
    assert "\n" not in policy.inputs["policy"], "Lattice takes no line breaks"


# A cluster.


def test_a_cluster_joins_zone_and_network_of_the_mesh(mesh, cluster):
    vpc = only(cluster, ":Vpc").id
    zone, network = only(cluster, ":ZoneAssociation").inputs, only(cluster, ":ServiceNetworkVpcAssociation").inputs
    assert (zone["zoneId"], zone["vpcId"]) == (only(mesh, ":Zone").id, vpc)
    wanted = (only(mesh, ":ServiceNetwork").outputs["arn"], vpc)
    assert (network["serviceNetworkIdentifier"], network["vpcIdentifier"]) == wanted


def test_lattice_reaches_the_applications_on_the_group_that_the_nodes_carry(cluster):
    (carried,) = only(cluster, ":LaunchTemplate").inputs["vpcSecurityGroupIds"]
    rules = [only(cluster, ":SecurityGroupIngressRule", f"gateway-lattice-{each}").inputs for each in ("ipv4", "ipv6")]
    assert [rule["securityGroupId"] for rule in rules] == [carried, carried]
    assert [(rule["ipProtocol"], rule["fromPort"], rule["toPort"]) for rule in rules] == [("tcp", 8090, 8090)] * 2
    assert rules[0]["prefixListId"] != rules[1]["prefixListId"]


def test_the_prefix_lists_are_those_of_the_region(recordings, name):
    asked = [each["args"]["name"] for each in recordings[name]["invokes"] if "PrefixList" in each["token"]]
    assert sorted(asked) == [
        "com.amazonaws.ap-northeast-2.ipv6.vpc-lattice",
        "com.amazonaws.ap-northeast-2.vpc-lattice",
    ]


def test_the_controller_is_told_all_that_pods_cannot_ask_the_metadata_service(cluster, name):
    release = only(cluster, ":Release", "gateway-aws-gateway-controller-chart").inputs
    values = release["values"]
    assert {key: values[key] for key in ("clusterName", "clusterVpcId", "awsRegion", "awsAccountId")} == {
        "clusterName": name,
        "clusterVpcId": only(cluster, ":Vpc").id,
        "awsRegion": "ap-northeast-2",
        "awsAccountId": "111122223333",
    }
    assert "defaultServiceNetwork" not in values, "it would make a network that nobody deletes"
    assert values["serviceAccount"] == {"create": False, "name": "gateway-api-controller"}
    association = only(cluster, ":PodIdentityAssociation", "gateway-controller-association").inputs
    assert (association["namespace"], association["serviceAccount"]) == (release["namespace"], "gateway-api-controller")


def test_records_are_kept_in_the_zone_of_the_mesh_with_the_cluster_as_owner(mesh, cluster, name):
    values = only(cluster, ":Release", "gateway-external-dns-external-dns").inputs["values"]
    assert values["txtOwnerId"] == name, "two clusters of one owner would delete each other's records"
    assert values["domainFilters"] == ["example.com"]
    assert values["sources"] == ["crd"]
    assert values["extraArgs"] == {"zone-id-filter": [only(mesh, ":Zone").id], "aws-zone-type": "private"}


def test_the_gateway_is_called_like_the_network_and_each_listener_has_its_own_port(mesh, cluster):
    gateway = only(cluster, ":Gateway").inputs
    assert gateway["metadata"]["name"] == only(mesh, ":ServiceNetwork").inputs["name"]
    assert gateway["spec"]["gatewayClassName"] == only(cluster, ":GatewayClass").inputs["metadata"]["name"]
    listeners = gateway["spec"]["listeners"]
    assert [(one["port"], one["protocol"]) for one in listeners] == [(80, "HTTP"), (443, "HTTPS")]
    certificate = only(mesh, "acm/certificate:Certificate").outputs["arn"]
    assert listeners[1]["tls"] == {
        "mode": "Terminate",
        "options": {"application-networking.k8s.aws/certificate-arn": certificate},
    }


def test_routes_may_attach_from_the_namespaces_of_services_and_from_no_other(cluster):
    selectors = [
        one["allowedRoutes"]["namespaces"]["selector"]["matchLabels"]
        for one in only(cluster, ":Gateway").inputs["spec"]["listeners"]
    ]
    labelled = [
        each.inputs["metadata"]["name"]
        for each in every(cluster, ":Namespace")
        if each.inputs["metadata"].get("labels") == selectors[0] == selectors[1]
    ]
    assert labelled == ["apps"]


def test_a_service_takes_its_route_on_both_listeners_to_the_port_that_its_pods_serve(cluster, name):
    service = f"demo-{name}"
    route = only(cluster, ":HTTPRoute").inputs["spec"]
    listeners = [one["name"] for one in only(cluster, ":Gateway").inputs["spec"]["listeners"]]
    assert [one["sectionName"] for one in route["parentRefs"]] == listeners
    assert route["hostnames"] == [f"{service}.example.com"]
    (backend,) = route["rules"][0]["backendRefs"]
    made, deployment = only(cluster, ":Service").inputs, only(cluster, ":Deployment").inputs
    assert (backend["name"], backend["port"]) == (made["metadata"]["name"], made["spec"]["ports"][0]["port"])
    template = deployment["spec"]["template"]
    assert made["spec"]["selector"] == template["metadata"]["labels"]
    (container,) = template["spec"]["containers"]
    assert made["spec"]["ports"][0]["targetPort"] == container["ports"][0]["containerPort"] == 8090


def test_a_service_admits_the_callers_role_from_the_peers_namespace_and_nobody_else(mesh, cluster, name):
    policy = only(cluster, ":IAMAuthPolicy").inputs["spec"]
    route = only(cluster, ":HTTPRoute").inputs["metadata"]
    target = policy["targetRef"]
    assert (target["kind"], target["name"], target["namespace"]) == ("HTTPRoute", route["name"], route["namespace"])
    (admitted,) = statements(policy["policy"])
    assert admitted["Effect"] == "Allow"
    assert admitted["Condition"] == {
        "StringEquals": {
            "aws:PrincipalArn": only(mesh, ":Role").outputs["arn"],
            "aws:PrincipalTag/eks-cluster-name": PEERS[name],
            "aws:PrincipalTag/kubernetes-namespace": "apps",
        }
    }
    assert only(cluster, "eks:index:Cluster").inputs["name"] == name, "an autonamed cluster is admitted nowhere"


def test_callers_get_the_callers_role_with_the_tags_of_their_session(mesh, cluster):
    association = only(cluster, ":PodIdentityAssociation", "gateway-apps-default").inputs
    assert association["roleArn"] == only(mesh, ":Role").outputs["arn"]
    assert not association.get("disableSessionTags")


def test_what_asks_for_the_proxy_is_what_the_policy_looks_for(cluster):
    policy = only(cluster, ":MutatingPolicy").inputs["spec"]
    template = only(cluster, ":Deployment").inputs["spec"]["template"]
    ((key, value),) = template["metadata"]["annotations"].items()
    (condition,) = policy["matchConditions"]
    assert f'annotations["{key}"] == "{value}"' in condition["expression"]
    labels = only(cluster, ":Namespace", "gateway-apps").inputs["metadata"]["labels"]
    assert policy["matchConstraints"]["namespaceSelector"]["matchLabels"] == labels
    assert policy["failurePolicy"] == "Fail", "a Deployment without proxy would call unsigned"


def test_the_proxy_trusts_the_ca_of_the_mesh_and_the_application_is_of_another_group(mesh, cluster):
    (mutation,) = only(cluster, ":MutatingPolicy").inputs["spec"]["mutations"]
    assert mutation["patchType"] == "JSONPatch", "an ApplyConfiguration may not touch a command or capabilities"
    injected = mutation["jsonPatch"]["expression"]
    assert only(mesh, ":CertificateAuthority").outputs["arn"] in injected
    assert '"runAsGroup": dyn(0)' in injected
    assert "--gid-owner 0 -j RETURN" in injected
    (application,) = only(cluster, ":Deployment").inputs["spec"]["template"]["spec"]["containers"]
    assert application["securityContext"]["runAsGroup"] != 0, "its calls would pass by the proxy"


def test_kyverno_answers_on_a_port_that_is_opened_and_that_no_other_webhook_has(cluster):
    values = only(cluster, ":Release", "gateway-kyverno").inputs["values"]["admissionController"]
    rule = only(cluster, ":SecurityGroupIngressRule", "gateway-kyverno-webhook").inputs
    ports = {values["webhookServer"]["port"], *(values[f"{each}Probe"]["httpGet"]["port"] for each in PROBES)}
    assert ports == {rule["fromPort"]} == {9444}


PROBES = ("startup", "liveness", "readiness")


# Order. The first of a pair is made after the second, and gone before it.

CONTROLLER = ("Release", "gateway-aws-gateway-controller-chart")
ORDER = [
    (("HTTPRoute", None), ("IAMAuthPolicy", None), "the service would stand open while its route goes"),
    (("HTTPRoute", None), ("Deployment", None), "the route has to lead somewhere"),
    (("HTTPRoute", None), ("Gateway", None), "the controller keeps the Gateway while a route names it"),
    (("IAMAuthPolicy", None), ("Gateway", None), "the policy's finalizer wants the network's Gateway"),
    (("Gateway", None), ("GatewayClass", None), "without its class nobody's controller looks after a Gateway"),
    (("GatewayClass", None), CONTROLLER, "what the controller has to clear away needs its class"),
    (("Deployment", None), CONTROLLER, "target groups are cleared away while the pods drain"),
    (("Deployment", None), ("MutatingPolicy", None), "a pod gets its proxy as it is made, or never"),
    (("Deployment", None), ("PodIdentityAssociation", "gateway-apps-default"), "and its credentials too"),
    (("MutatingPolicy", None), ("Release", "gateway-kyverno"), "nobody would take its webhooks away"),
    (CONTROLLER, ("Release", "gateway-external-dns-external-dns"), "it looks for the kind of its records once"),
    (CONTROLLER, ("ConfigFile", "gateway-gateway-api-standard-install"), "it does not start without"),
    (CONTROLLER, ("ServiceNetworkVpcAssociation", None), "the Gateway is not looked at again"),
    (CONTROLLER, ("ZoneAssociation", None), "names would not resolve"),
    (CONTROLLER, ("PodIdentityAssociation", "gateway-controller-association"), "it has to call AWS to the last"),
    (CONTROLLER, ("RolePolicyAttachment", "gateway-controller-aws-gateway-api-controller"), "with its rights"),
    (CONTROLLER, ("SecurityGroupIngressRule", "gateway-lattice-ipv4"), "its targets would be unhealthy"),
    (CONTROLLER, ("NodeGroup", None), "it runs there"),
    (CONTROLLER, ("NatGateway", None), "its calls leave through it"),
    (CONTROLLER, ("Route", "network-private-ap-northeast-2a-default"), "and over this"),
    (CONTROLLER, ("Addon", "cluster-eks-pod-identity-agent"), "its credentials come from it"),
    (("Namespace", "gateway-apps"), ("NodeGroup", None), "pods of others in it need a node to end on"),
]


@pytest.mark.parametrize(("later", "earlier", "why"), ORDER)
def test_creation_and_destruction_keep_their_order(cluster, later, earlier, why):
    after, before = (only(cluster, f":{kind}", each) for kind, each in (later, earlier))
    assert cluster.reaches(after.urn, before.urn), f"{after.name} without {before.name}: {why}"


def test_neither_cluster_waits_for_the_other(graphs, name):
    (reference,) = every(graphs[name], ":StackReference")
    assert reference.inputs["name"] == "organization/eks-foundation/mesh"


def test_the_custom_resources_of_the_gateway_stay_when_they_leave_the_program(cluster):
    assert only(cluster, ":ConfigFile", "gateway-gateway-api-standard-install").retain_on_delete


# What a cluster's stack refuses of its mesh.

IMAGE = f"example.com/app@sha256:{'0' * 64}"
MISFITS = {
    "another domain": (
        {"latticeGateway": {"domain": "example.org"}},
        "latticeGateway.domain: another domain than the mesh's",
        "example.org",
    ),
    "another region": (
        {"region": "eu-west-1", "network": {"zones": ["eu-west-1a", "eu-west-1b"]}},
        "region: another region than the mesh's; VPC Lattice does not reach across",
        "eu-west-1",
    ),
    "a caller that the role does not trust": (
        {"latticeGateway": {"callers": ["apps/default", "shop/default"]}},
        "latticeGateway.callers: an account that the callers' role does not trust",
        "cluster1/shop/default",
    ),
    "a peer that the mesh does not know": (
        {"latticeGateway": {"peers": ["cluster2", "cluster3"]}},
        "latticeGateway.peers: a cluster that the mesh does not know",
        "cluster3",
    ),
    "a cluster that the mesh does not know": (
        {"cluster": {"name": "cluster7"}},
        "cluster.name: a cluster that the mesh does not know",
        "cluster7",
    ),
    "a namespace without callers": (
        {"latticeGateway": {"services": {"shop": {"namespace": "apps", "image": IMAGE, "admits": ["cluster2/shop"]}}}},
        "latticeGateway.services.shop.admits: a namespace that no caller of the mesh is in",
        "cluster2/shop",
    ),
    "a stack that is no mesh": (
        {"latticeGateway": {"environment": "dev"}},
        "latticeGateway.environment: stack organization/eks-foundation/dev has no usable output `latticeEnvironment`",
        "null",
    ),
}


@pytest.fixture(scope="module")
def refusals():
    """The errors of the misfits in their order, with what had been registered by then."""

    def edited(changes):
        def edit(config):
            values = {key: json.loads(config[f"eks-foundation:{key}"]) for key in changes if key != "region"}
            merged = {key: {**values[key], **changes[key]} for key in values}
            texts = {f"eks-foundation:{key}": json.dumps(value) for key, value in merged.items()}
            region = {"eks-foundation:region": changes["region"]} if "region" in changes else {}
            return {**config, **texts, **region}

        return edit

    edits = [edited(changes) for changes, _, _ in MISFITS.values()]
    with start(ROOT, ["cluster1"], ["preview"], edits=edits) as running:
        return dict(zip(MISFITS, running.recordings(), strict=True))


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_cluster_that_does_not_fit_to_its_mesh_is_refused_before_anything_is_made(refusals, misfit):
    _, what, value = MISFITS[misfit]
    recording = refusals[misfit]
    assert recording["error"]["kind"] == "refused"
    message = recording["error"]["message"]
    assert message.startswith("Stack cluster1 does not fit to its mesh, stack organization/eks-foundation/")
    assert what in message
    assert f"value:   {value}" in message
    assert what.split(":", 1)[0] in recording["error"]["paths"], "so that the line of the stack file is found"
    made = {each["type"] for each in recording["resources"]}
    assert not any(each.startswith("aws:") for each in made), f"registered before the check: {sorted(made)}"


def test_a_mesh_with_users_can_be_protected():
    def edit(config):
        return {**config, "eks-foundation:protect": "true"}

    with start(ROOT, ["mesh"], ["update"], edits=[edit]) as running:
        (recording,) = running.recordings()
    protected = {each["type"].split(":")[-1] for each in recording["resources"] if each["protect"]}
    assert protected == {"Zone", "CertificateAuthority", "ServiceNetwork"}
