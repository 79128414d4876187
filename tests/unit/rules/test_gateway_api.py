"""Objects that the API server or Kyverno refuses, each for one field of an object that they take."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from preflight.rules import RULES
from tests.unit.rules.conftest import Change, Recorded

GATEWAY_API = "kubernetes:gateway.networking.k8s.io/v1:"
OPTIONS = {"application-networking.k8s.aws/certificate-arn": "arn:aws:acm:ap-northeast-2:111122223333:certificate/1"}
TERMINATE = {"mode": "Terminate", "options": OPTIONS}
ONLY_LABELLED = {
    "kinds": [{"kind": "HTTPRoute"}],
    "namespaces": {"from": "Selector", "selector": {"matchLabels": {"allow-attachment-to-infra-gw": "true"}}},
}


def listener(name: str, port: float, protocol: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "port": port, "protocol": protocol, "allowedRoutes": ONLY_LABELLED, **more}


HTTP = listener("http-listener", 80, "HTTP")
DEFAULT_DOMAIN = listener("https-listener-with-default-domain", 443, "HTTPS")
CUSTOM_DOMAIN = listener("https-listener-with-custom-domain", 443, "HTTPS", tls=TERMINATE)
BLUEPRINT = [HTTP, DEFAULT_DOMAIN, CUSTOM_DOMAIN]
"""The listeners of the blueprint that this pattern comes from."""

ROUTE = {
    "hostnames": ["shop.example.com"],
    "parentRefs": [
        {"name": "own", "namespace": "infra", "sectionName": "http-listener"},
        {"name": "own", "namespace": "infra", "sectionName": "https-listener-with-custom-domain"},
    ],
    "rules": [
        {
            "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
            "backendRefs": [{"name": "shop", "kind": "Service", "port": 80}],
        }
    ],
}
AUTH_POLICY = {
    "targetRef": {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "shop"},
    "policy": '{"Version": "2012-10-17", "Statement": []}',
}
ENDPOINT = {"endpoints": [{"dnsName": "a.example.com", "recordType": "CNAME", "recordTTL": 300, "targets": ["b"]}]}
MUTATION = {
    "matchConstraints": {
        "resourceRules": [
            {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
        ]
    },
    "matchConditions": [{"name": "asked", "expression": "true"}],
    "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}],
}


def put(stack: Recorded, kind: str, spec: dict[str, Any]) -> None:
    """Add an object beside the Ingress of the dev stack; the Gateway is of a controller that nobody judges here."""
    groups = {
        "Gateway": GATEWAY_API,
        "HTTPRoute": GATEWAY_API,
        "IAMAuthPolicy": "kubernetes:application-networking.k8s.aws/v1alpha1:",
        "DNSEndpoint": "kubernetes:externaldns.k8s.io/v1alpha1:",
        "MutatingPolicy": "kubernetes:policies.kyverno.io/v1:",
        "ClusterPolicy": "kubernetes:kyverno.io/v1:",
    }
    metadata = {"namespace": "infra", "name": "own"}
    stack.add(groups[kind] + kind, "own", {"metadata": metadata, "spec": spec}, like="Ingress demo-ingress")


def gateway(*listeners: dict[str, Any]) -> Change:
    return lambda stack: put(stack, "Gateway", {"gatewayClassName": "own", "listeners": list(listeners)})


def changed(spec: dict[str, Any], *path: str | int, to: object) -> dict[str, Any]:
    spec = copy.deepcopy(spec)
    target: Any = spec
    for key in path[:-1]:
        target = target[key]
    if to is None:
        del target[path[-1]]
    else:
        target[path[-1]] = to
    return spec


def route(*path: str | int, to: object) -> Change:
    return lambda stack: put(stack, "HTTPRoute", changed(ROUTE, *path, to=to))


def mutation(*path: str | int, to: object) -> Change:
    return lambda stack: put(stack, "MutatingPolicy", changed(MUTATION, *path, to=to))


MUTANTS: dict[str, Change] = {
    "custom-object-fields": lambda stack: put(stack, "Gateway", {"gatewayClassName": "own", "listeners": []}),
    "gateway-listeners": gateway(*BLUEPRINT),
    "http-route-invalid": route("rules", 0, "backendRefs", 0, "port", to=None),
    "kyverno-policy-invalid": mutation("mutations", 0, "patchType", to="StrategicMerge"),
}


def own(stack: Recorded, change: Change, new_findings: Any) -> list[Any]:
    """What is new, but for what follows from these objects being alone: no chart brings their kinds."""
    return [one for one in new_findings(stack, change) if one.rule != "crd-before-object"]


@pytest.mark.parametrize("rule", MUTANTS)
def test_a_rule_fires_for_its_mutant_and_no_other_does(rule: str, dev: Recorded, new_findings: Any):
    found = own(dev, MUTANTS[rule], new_findings)
    assert {one.rule for one in found} == {rule}, [one.message for one in found]
    assert {one.severity for one in found} == {RULES[rule].severity}


@pytest.mark.parametrize(
    "change",
    [
        gateway(HTTP, CUSTOM_DOMAIN),
        gateway(HTTP, DEFAULT_DOMAIN, {**CUSTOM_DOMAIN, "hostname": "*.example.com"}),
        gateway(HTTP, {**CUSTOM_DOMAIN, "tls": {"options": OPTIONS}}),
        gateway(listener("tls", 443, "TLS", tls={"mode": "Passthrough"})),
        route("parentRefs", to=[{"name": "own"}]),
        route("rules", 0, "matches", to=[{"path": {"type": "RegularExpression", "value": "a//b"}}]),
        route("hostnames", to=["*.example.com"]),
        lambda stack: put(stack, "DNSEndpoint", ENDPOINT),
        mutation("mutations", 0, to={"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}),
    ],
)
def test_what_the_definitions_take_is_not_reported(change: Change, dev: Recorded, new_findings: Any):
    assert [one.message for one in own(dev, change, new_findings)] == []


def test_the_listeners_of_the_blueprint_are_refused_for_two_being_one(dev: Recorded, new_findings: Any):
    (found,) = own(dev, gateway(*BLUEPRINT), new_findings)
    assert found.message == (
        "Gateway infra/own: the listeners https-listener-with-default-domain and https-listener-with-custom-domain are "
        "all HTTPS on port 443 for every host; the combination of port, protocol and hostname must be unique."
    )
    assert found.fix == "Drop https-listener-with-default-domain if no route uses it, or give one of them a hostname."


@pytest.mark.parametrize(
    ("listeners", "words"),
    [
        ([HTTP, {**HTTP, "port": 8080}], "the name http-listener stands on 2 listeners"),
        ([{**HTTP, "tls": TERMINATE}], "is HTTP and has tls"),
        ([listener("tcp", 22, "TCP", hostname="a.example.com")], "is TCP and has a hostname"),
        ([{**CUSTOM_DOMAIN, "tls": {"mode": "Passthrough"}}], "only Terminate is allowed"),
        ([{**CUSTOM_DOMAIN, "tls": {"mode": "Terminate"}}], "without certificateRefs or options"),
        ([{**CUSTOM_DOMAIN, "tls": {}}], "without certificateRefs or options"),
        ([listener("tls", 443, "TLS")], "is TLS and has no tls mode"),
        ([{**HTTP, "port": 70000}], "the port 70000"),
    ],
)
def test_a_gateway_is_refused_because(listeners: Any, words: str, dev: Recorded, new_findings: Any):
    (found,) = own(dev, gateway(*listeners), new_findings)
    assert found.rule == "gateway-listeners"
    assert words in found.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (route("parentRefs", 0, "sectionName", to=None), "names the Gateway own 2 times"),
        (
            route("parentRefs", 0, "sectionName", to="https-listener-with-custom-domain"),
            "names the Gateway own 2 times",
        ),
        (route("hostnames", to=["a.*.example.com"]), "is no hostname"),
        (route("hostnames", to=["10.0.0.1"]), "is no hostname"),
        (route("rules", 0, "matches", 0, "path", "value", to="shop"), "is no absolute path"),
        (route("rules", 0, "matches", 0, "path", "value", to="/a//b"), "is no absolute path"),
        (route("rules", 0, "matches", 0, "path", "type", to="Prefix"), "is no type of path"),
        (route("rules", 0, "filters", to=[{"type": "RequestRedirect", "requestRedirect": {}}]), "RequestRedirect"),
    ],
)
def test_a_route_is_refused_because(change: Change, words: str, dev: Recorded, new_findings: Any):
    (found,) = own(dev, change, new_findings)
    assert found.rule == "http-route-invalid"
    assert words in found.message


@pytest.mark.parametrize(
    ("kind", "spec", "words"),
    [
        ("Gateway", {"gatewayClassName": "own", "listeners": [{**HTTP, "port": "80"}]}, "spec.listeners[0].port"),
        ("Gateway", {"listeners": [HTTP]}, "spec.gatewayClassName of Gateway infra/own is missing"),
        ("HTTPRoute", changed(ROUTE, "hostnames", to="shop.example.com"), "must be list"),
        ("HTTPRoute", changed(ROUTE, "parentRefs", 0, "name", to=None), "spec.parentRefs[0].name"),
        ("IAMAuthPolicy", changed(AUTH_POLICY, "policy", to={"Statement": []}), "spec.policy"),
        ("DNSEndpoint", changed(ENDPOINT, "endpoints", 0, "targets", to="b"), "spec.endpoints[0].targets"),
        ("MutatingPolicy", changed(MUTATION, "matchConditions", 0, "name", to=None), "spec.matchConditions[0].name"),
    ],
)
def test_a_field_is_missed_or_of_another_type(kind: str, spec: Any, words: str, dev: Recorded):
    put(dev, kind, spec)
    (found,) = dev.of("custom-object-fields")
    assert words in found.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (mutation("matchConstraints", to=None), "it matches nothing"),
        (mutation("mutations", to=[]), "it has no mutations"),
        (mutation("failurePolicy", to="Warn"), "failurePolicy 'Warn'"),
        (mutation("mutations", 0, "patchType", to="JSONPatch"), "has no jsonPatch.expression"),
    ],
)
def test_a_mutating_policy_is_refused_because(change: Change, words: str, dev: Recorded, new_findings: Any):
    (found,) = own(dev, change, new_findings)
    assert found.rule == "kyverno-policy-invalid"
    assert words in found.message


@pytest.mark.parametrize(("version", "refused"), [("3.9.0", False), ("3.10.0", True), ("4.0.0", True)])
def test_a_cluster_policy_is_refused_from_chart_3_10_on(version: str, refused: bool, dev: Recorded):
    release = {"chart": "kyverno", "version": version, "name": "kyverno", "namespace": "kyverno", "values": {}}
    dev.add("kubernetes:helm.sh/v3:Release", "kyverno", release, like="Ingress demo-ingress")
    put(dev, "ClusterPolicy", {"rules": []})
    assert bool(dev.of("kyverno-policy-invalid")) is refused


def test_an_object_of_another_group_with_one_of_these_kinds_is_left_alone(dev: Recorded):
    inputs = {"metadata": {"namespace": "infra", "name": "own"}, "spec": {"servers": []}}
    dev.add("kubernetes:networking.istio.io/v1:Gateway", "own", inputs, like="Ingress demo-ingress")
    assert dev.of("custom-object-fields") == []
