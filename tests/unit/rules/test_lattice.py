"""Services over VPC Lattice: each rule fires for one small change to a system that works, and no other does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from preflight.rules import RULES
from tests.unit.rules.conftest import Change, Recorded

CLUSTER = "Cluster cluster-eks"
NODES = "NodeGroup cluster-system"
VPC = "Vpc network-vpc"
CONTROLLER = "Release gateway-aws-gateway-controller-chart"
EXTERNAL_DNS = "Release gateway-external-dns-external-dns"
GATEWAY_API = "ConfigFile gateway-gateway-api-standard-install"
GATEWAY_CLASS = "GatewayClass gateway-class"
GATEWAY = "Gateway gateway-gateway"
ROUTE = "HTTPRoute gateway-demo-cluster1-route"
POLICY = "IAMAuthPolicy gateway-demo-cluster1-policy"
INJECTION = "MutatingPolicy gateway-injection"
DEPLOYMENT = "Deployment gateway-demo-cluster1"
SERVICE = "Service gateway-demo-cluster1"
APPS = "Namespace gateway-apps"
CALLER = "PodIdentityAssociation gateway-apps-default"
ASSOCIATION = "ServiceNetworkVpcAssociation gateway-network"
LATTICE_IPV4 = "SecurityGroupIngressRule gateway-lattice-ipv4"
NETWORK = "ServiceNetwork environment-network"
NETWORK_POLICY = "AuthPolicy environment-network"
CERTIFICATE = "Certificate environment-certificate"
TEMPLATE = ("spec", "template")
ANNOTATION = "vpc-lattices-svcs.amazonaws.com/agent-inject"
CERTIFICATE_OPTION = "application-networking.k8s.aws/certificate-arn"
AUTH_POLICY = "kubernetes:application-networking.k8s.aws/v1alpha1:IAMAuthPolicy"


def auth_policy(stack: Recorded, name: str, kind: str, target: str, namespace: str = "apps") -> None:
    reference = {"group": "gateway.networking.k8s.io", "kind": kind, "name": target}
    spec = {"targetRef": reference, "policy": stack[POLICY].get("spec", "policy")}
    stack.add(AUTH_POLICY, name, {"metadata": {"namespace": namespace, "name": name}, "spec": spec}, like=POLICY)


def own_policy(stack: Recorded, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the document of the service's auth policy."""
    document = json.loads(stack[POLICY].get("spec", "policy"))
    change(document)
    stack[POLICY].set("spec", "policy", to=json.dumps(document))


def wants(document: dict[str, Any]) -> dict[str, Any]:
    return document["Statement"][0]["Condition"]["StringEquals"]


def another_network_policy(stack: Recorded) -> None:
    """A gateway's policy that waits for the gateway."""
    auth_policy(stack, "network", "Gateway", "lattice-gateway", "lattice-gateway")
    stack["IAMAuthPolicy network"].waits_for(GATEWAY)


def twin_policy(stack: Recorded) -> None:
    auth_policy(stack, "twin", "HTTPRoute", "demo-cluster1")
    stack["IAMAuthPolicy twin"].waits_for(CONTROLLER)
    stack[ROUTE].raw["dependencies"].append(stack["IAMAuthPolicy twin"].raw["urn"])


def stray_policy(stack: Recorded) -> None:
    auth_policy(stack, "stray", "HTTPRoute", "demo-cluster1", "shop")


def forgeable(stack: Recorded) -> None:
    """Neither the service nor the network asks for the role."""
    own_policy(stack, lambda document: wants(document).pop("aws:PrincipalArn"))
    (mesh,) = [other for other in stack.others if other.update["stack"] == "mesh"]
    network = json.loads(mesh[NETWORK_POLICY].get("policy"))
    wants(network).pop("aws:PrincipalArn")
    mesh[NETWORK_POLICY].set("policy", to=json.dumps(network))


def untagged(stack: Recorded) -> None:
    """Sessions without tags, of a role that asks for none."""
    stack[CALLER].set("disableSessionTags", to=True)
    (mesh,) = [other for other in stack.others if other.update["stack"] == "mesh"]
    trust = json.loads(mesh["Role environment-client"].get("assumeRolePolicy"))
    for statement in trust["Statement"]:
        statement.pop("Condition")
    mesh["Role environment-client"].set("assumeRolePolicy", to=json.dumps(trust))


def same_host(stack: Recorded) -> None:
    (peer,) = [other for other in stack.others if other.update["stack"] == "cluster2"]
    stack[ROUTE].set("spec", "hostnames", to=peer["HTTPRoute gateway-demo-cluster2-route"].get("spec", "hostnames"))


def elsewhere(stack: Recorded) -> None:
    arn = stack[GATEWAY].get("spec", "listeners", 1, "tls", "options", CERTIFICATE_OPTION)
    wrong = arn.replace("ap-northeast-2", "us-east-1")
    stack[GATEWAY].set("spec", "listeners", 1, "tls", "options", CERTIFICATE_OPTION, to=wrong)


def shared_owner(stack: Recorded) -> None:
    stack[EXTERNAL_DNS].set("values", "txtOwnerId", to="cluster2")


MUTANTS: dict[str, Change] = {
    "lattice-network-open": lambda stack: stack[NETWORK].unset("authType"),
    "lattice-network-closed": lambda stack: stack.remove(NETWORK_POLICY),
    "lattice-network-policy-object": another_network_policy,
    "lattice-service-open": lambda stack: stack.remove(POLICY),
    "lattice-policy-target": stray_policy,
    "lattice-policy-twice": twin_policy,
    "lattice-auth-policy": lambda stack: own_policy(
        stack, lambda document: wants(document).update({"aws:PrincipalTag/kubernetes-pod-name": ["x" * 100] * 110})
    ),
    "lattice-tags-forgeable": forgeable,
    "lattice-admits-unknown": lambda stack: own_policy(
        stack, lambda document: wants(document).update({"aws:PrincipalTag/eks-cluster-name": "cluster3"})
    ),
    "lattice-cluster-unnamed": lambda stack: stack[CLUSTER].raw["inputs"].pop("name"),
    "lattice-twice": same_host,
    "lattice-session-tags": untagged,
    "lattice-route-refused": lambda stack: stack[APPS].set("metadata", "labels", to={}),
    "lattice-certificate-names": lambda stack: stack[ROUTE].set("spec", "hostnames", to=["a.demo.example.com"]),
    "lattice-certificate-key": lambda stack: stack[CERTIFICATE].set("keyAlgorithm", to="EC_prime256v1"),
    "lattice-region": elsewhere,
    "certificate-before-authority": lambda stack: stack[CERTIFICATE].forgets(
        "CertificateAuthorityCertificate environment-authority"
    ),
    "private-zone-dns": lambda stack: stack[VPC].unset("enableDnsHostnames"),
    "lattice-record-missing": lambda stack: stack[EXTERNAL_DNS].set("values", "sources", to=["ingress"]),
    "dns-owner-shared": shared_owner,
    "lattice-prefix-list": lambda stack: stack[LATTICE_IPV4].set("securityGroupId", to="sg-other"),
    "lattice-association": lambda stack: stack.remove(ASSOCIATION),
    "lattice-gateway-network": lambda stack: stack[GATEWAY].set("metadata", "name", to="other"),
    "lattice-backend": lambda stack: stack[SERVICE].set("spec", "ports", 0, "port", to=8080),
    "lattice-controller-identity": lambda stack: stack[CONTROLLER].set("values", "awsAccountId", to=111122223333),
    "lattice-kinds-missing": lambda stack: stack[CONTROLLER].forgets(GATEWAY_API),
    "lattice-default-network": lambda stack: stack[CONTROLLER].set("values", "defaultServiceNetwork", to="own"),
    "sidecar-missing": lambda stack: stack[DEPLOYMENT].set(
        *TEMPLATE, "metadata", "annotations", to={ANNOTATION.replace("lattices", "lattice"): "true"}
    ),
    "sidecar-late": lambda stack: stack[DEPLOYMENT].forgets(INJECTION),
    "sidecar-bypassed": lambda stack: stack[DEPLOYMENT].set(
        *TEMPLATE, "spec", "containers", 0, "securityContext", "runAsGroup", to=0
    ),
    "sidecar-forbidden": lambda stack: stack[APPS].set(
        "metadata", "labels", "pod-security.kubernetes.io/enforce", to="baseline"
    ),
    "pod-before-association": lambda stack: stack[DEPLOYMENT].forgets(CALLER),
    "lattice-order": lambda stack: stack[ROUTE].forgets(POLICY),
}
OF_THE_MESH = {
    "lattice-network-open",
    "lattice-network-closed",
    "lattice-certificate-key",
    "certificate-before-authority",
}


@pytest.fixture
def good(request: pytest.FixtureRequest) -> Recorded:
    return request.getfixturevalue("mesh" if request.param in OF_THE_MESH else "cluster1")


@pytest.mark.parametrize(("rule", "good"), [(rule, rule) for rule in MUTANTS], indirect=["good"], ids=MUTANTS)
def test_a_small_change_makes_exactly_this_rule_fire(rule: str, good: Recorded, new_findings: Any):
    found = new_findings(good, MUTANTS[rule])
    assert {one.rule for one in found} == {rule}, [f"{one.rule}: {one.message}" for one in found]
    assert {one.severity for one in found} == {RULES[rule].severity}, "the finding has the rule's severity"
    assert all(one.message.endswith(".") and one.fix.endswith(".") for one in found), "both are sentences"


def test_the_mesh_and_its_clusters_are_clean(mesh: Recorded, cluster1: Recorded):
    assert [one.message for stack in (mesh, cluster1) for one in stack.findings()] == []


def test_a_cluster_is_clean_without_its_peer_too(cluster1: Recorded):
    cluster1.others = ()
    assert [one.message for one in cluster1.findings()] == []


def listener(*path: str, to: object) -> Change:
    """Change the listener with the certificate, and leave the route no other way in."""

    def change(stack: Recorded) -> None:
        stack[GATEWAY].set("spec", "listeners", 1, *path, to=to)
        stack[ROUTE].set("spec", "parentRefs", to=stack[ROUTE].get("spec", "parentRefs")[1:])

    return change


def values(**changed: object) -> Change:
    return lambda stack: [stack[CONTROLLER].set("values", key, to=each) for key, each in changed.items()]


def late_external_dns(stack: Recorded) -> None:
    for key in stack.names:
        if not key.startswith(("ServiceAccount gateway-external", "Namespace gateway-external")):
            stack[key].forgets(EXTERNAL_DNS)


def same_cluster(stack: Recorded) -> None:
    (peer,) = [other for other in stack.others if other.update["stack"] == "cluster2"]
    peer[CLUSTER].set("name", to="cluster1")


def node_rule_on(group: Callable[[Recorded], str]) -> Change:
    return lambda stack: stack[LATTICE_IPV4].set("securityGroupId", to=group(stack))


MORE: dict[str, tuple[str, Change, str]] = {
    "a policy that is no policy": (
        "lattice-auth-policy",
        lambda stack: stack[POLICY].set("spec", "policy", to='{"Statement": [{"Effect": "Allow"}]}'),
        "needs 1 of Principal",
    ),
    "a role that nobody makes": (
        "lattice-admits-unknown",
        lambda stack: own_policy(
            stack, lambda document: wants(document).update({"aws:PrincipalArn": "arn:aws:iam::111122223333:role/gone"})
        ),
        "aws:PrincipalArn arn:aws:iam::111122223333:role/gone",
    ),
    "two clusters of one name": ("lattice-twice", same_cluster, "2 clusters have the name cluster1"),
    "another kind of route": (
        "lattice-route-refused",
        listener("allowedRoutes", "kinds", to=[{"kind": "GRPCRoute"}]),
        "takes GRPCRoute only",
    ),
    "another host name": ("lattice-route-refused", listener("hostname", to="*.example.org"), "is for *.example.org"),
    "routes of its own namespace, by default": (
        "lattice-route-refused",
        listener("allowedRoutes", to={}),
        "takes routes of namespace lattice-gateway only",
    ),
    "a listener that is not there": (
        "lattice-route-refused",
        lambda stack: stack[ROUTE].set("spec", "parentRefs", 0, "sectionName", to="http"),
        "has no listener http",
    ),
    "a domain that the wildcard does not reach": (
        "lattice-certificate-names",
        lambda stack: stack[ROUTE].set("spec", "hostnames", to=["a.b.example.com"]),
        "*.example.com, and not for a.b.example.com",
    ),
    "an authority elsewhere": (
        "lattice-region",
        lambda stack: stack[INJECTION].set(
            "spec", "variables", to=[{"name": "ca", "expression": "'arn:aws:acm-pca:us-east-1:111122223333:x/1'"}]
        ),
        "arn:aws:acm-pca:us-east-1",
    ),
    "no external-dns": ("lattice-record-missing", lambda stack: stack.remove(EXTERNAL_DNS), "is not there"),
    "external-dns after the controller": ("lattice-record-missing", late_external_dns, "which brings DNSEndpoint"),
    "no Gateway API at all": (
        "lattice-kinds-missing",
        lambda stack: stack.remove(GATEWAY_API),
        "has nothing that brings",
    ),
    "a Service that is not there": ("lattice-backend", lambda stack: stack.remove(SERVICE), "no Service apps/demo-"),
    "a Service with two address families": (
        "lattice-backend",
        lambda stack: stack[SERVICE].set("spec", "ipFamilyPolicy", to="PreferDualStack"),
        "has two address families",
    ),
    "a controller that is not told its VPC": ("lattice-controller-identity", values(clusterVpcId=""), "clusterVpcId"),
    "a controller for another cluster": (
        "lattice-controller-identity",
        values(clusterName="cluster2"),
        "is told the cluster cluster2; it runs in cluster1",
    ),
    "a rule on the group that EKS makes, where nodes carry their own": (
        "lattice-prefix-list",
        node_rule_on(lambda stack: stack[CLUSTER].get("clusterSecurityGroupId")),
        "which carry",
    ),
    "a container of its image's group": (
        "sidecar-bypassed",
        lambda stack: stack[DEPLOYMENT].unset(*TEMPLATE, "spec", "containers", 0, "securityContext", "runAsGroup"),
        "of its image, mostly 0",
    ),
    "a class that goes before its Gateway": (
        "lattice-order",
        lambda stack: stack[GATEWAY].forgets(GATEWAY_CLASS),
        "Gateway lattice-gateway/lattice-gateway does not wait for gateway-class",
    ),
    "a Gateway that goes before its route": (
        "lattice-order",
        lambda stack: [stack[key].forgets(GATEWAY) for key in (ROUTE, POLICY)],
        "HTTPRoute apps/demo-cluster1 does not wait for gateway-gateway",
    ),
    "a role of another stack that does not trust its caller": (
        "irsa-subject",
        lambda stack: stack[CALLER].set("serviceAccount", to="other"),
        "refuses the pods of apps/other",
    ),
}


@pytest.mark.parametrize(("rule", "change", "words"), MORE.values(), ids=MORE)
def test_a_rule_sees_too(rule: str, change: Change, words: str, cluster1: Recorded):
    change(cluster1)
    found = [one.message for one in cluster1.of(rule)]
    assert any(words in message for message in found), found


def test_an_authority_that_is_never_made_active_is_found_too(mesh: Recorded):
    mesh.remove("CertificateAuthorityCertificate environment-authority")
    (found,) = mesh.of("certificate-before-authority")
    assert found.fix.startswith("Issue the authority's own certificate")


def test_a_network_of_the_same_program_comes_before_its_gateway(cluster1: Recorded):
    inputs = {"name": "lattice-gateway", "authType": "AWS_IAM"}
    cluster1.add("aws:vpclattice/serviceNetwork:ServiceNetwork", "own", inputs, like=ASSOCIATION)
    (found,) = cluster1.of("lattice-gateway-network")
    assert found.fix == "Add own to its depends_on."
    cluster1[GATEWAY].raw["dependencies"].append(cluster1["ServiceNetwork own"].raw["urn"])
    assert cluster1.of("lattice-gateway-network") == []


def test_a_policy_on_a_network_without_iam_is_named_as_being_without_effect(mesh: Recorded):
    mesh[NETWORK].set("authType", to="NONE")
    (found,) = mesh.of("lattice-network-open")
    assert found.message.endswith("is NONE, so its auth policy has no effect.")


def test_nothing_is_said_of_callers_when_the_network_is_not_among_the_stacks(cluster1: Recorded):
    MUTANTS["lattice-admits-unknown"](cluster1)
    assert len(cluster1.of("lattice-admits-unknown")) == 1
    cluster1.others = [other for other in cluster1.others if other.update["stack"] == "cluster2"]
    for stack in (cluster1, *cluster1.others):
        stack.update["beside"] = []
    assert cluster1.of("lattice-admits-unknown") == []


def test_nothing_is_said_of_a_peer_when_a_cluster_is_judged_alone(cluster1: Recorded):
    cluster1.others = ()
    assert cluster1.of("lattice-admits-unknown") == []
