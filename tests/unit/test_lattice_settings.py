"""What the sections of a mesh refuse, and what a cluster refuses of the mesh that it is given."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace

import pytest

import settings as settings_module
from components import lattice_link
from components.lattice_environment import LatticeEnvironmentSettings
from components.lattice_gateway import LatticeGatewaySettings, service_policy
from components.problem import ProblemsError
from components.versions import KUBERNETES
from settings import SettingsError, check_settings

DIGEST = f"@sha256:{'0' * 64}"
GOOD = {
    "region": "ap-northeast-2",
    "network": {"zones": ["ap-northeast-2a", "ap-northeast-2c"]},
    "cluster": {
        "name": "cluster1",
        "kubernetesVersion": "1.35",
        "nodeGroups": {"system": {"instanceTypes": ["m5.large"], "minSize": 2, "maxSize": 3}},
    },
    "latticeGateway": {
        "environment": "mesh",
        "domain": "example.com",
        "peers": ["cluster2"],
        "callers": ["apps/default"],
        "images": {"redirect": f"example.com/iptables{DIGEST}", "proxy": f"example.com/envoy:v1{DIGEST}"},
        "services": {"shop": {"namespace": "apps", "image": f"example.com/shop{DIGEST}", "admits": ["cluster2/apps"]}},
    },
}
ENVIRONMENT = {"domain": "example.com", "organization": "Example", "clients": ["cluster1/apps/default"]}


def changed(**changes):
    values = copy.deepcopy(GOOD)
    for path, value in changes.items():
        *parents, last = path.split("__")
        section = values
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    return values


def problems(values):
    with pytest.raises(SettingsError) as refusal:
        check_settings(values, stack="cluster1")
    return {problem.path: problem for problem in refusal.value.problems}


def test_the_good_stack_is_accepted():
    gateway = check_settings(GOOD, stack="cluster1").lattice_gateway
    assert gateway is not None
    assert gateway.hostname("shop") == "shop.example.com"


def test_a_mesh_needs_no_cluster():
    found = check_settings({"region": "ap-northeast-2", "latticeEnvironment": ENVIRONMENT}, stack="mesh")
    assert found.lattice_environment is not None
    assert found.lattice_environment.service_network == "lattice-gateway"


BAD = [
    ({"latticeGateway__peers": ["cluster1", "cluster2"]}, "latticeGateway.peers", "peer of its own"),
    ({"cluster__name": "cluster2"}, "latticeGateway.peers", "peer of its own"),
    (
        {"latticeGateway__services__shop__admits": ["cluster9/apps"]},
        "latticeGateway.services.shop.admits",
        "neither this one nor a peer",
    ),
    (
        {"latticeGateway__services__shop__admits": ["cluster2"]},
        "latticeGateway.services.shop.admits.0",
        "not a namespace of a cluster",
    ),
    ({"latticeGateway__services__shop__admits": []}, "latticeGateway.services.shop.admits", "at least 1"),
    (
        {"latticeGateway__services__shop__admits": ["cluster2/apps", "cluster2/apps"]},
        "latticeGateway.services.shop.admits",
        "named twice: cluster2/apps",
    ),
    (
        {"latticeGateway__services__shop__hostname": "shop.eu.example.com"},
        "latticeGateway",
        "shop.eu.example.com, which the mesh's certificate does not cover",
    ),
    (
        {"latticeGateway__services__shop__hostname": "shop.example.org"},
        "latticeGateway",
        "shop.example.org, which the mesh's certificate does not cover",
    ),
    ({"latticeGateway__callers": []}, "latticeGateway", "apps/default no role to sign with"),
    ({"latticeGateway__environment": None}, "latticeGateway.environment", "no stack to take the mesh from"),
    ({"latticeGateway__environment": "a/b"}, "latticeGateway.environment", "pattern"),
    ({"latticeGateway__images__proxy": "example.com/envoy:v1"}, "latticeGateway.images.proxy", "digest"),
    (
        {"latticeGateway__services__a-name-of-21-letters-x": GOOD["latticeGateway"]["services"]["shop"]},
        "latticeGateway.services.a-name-of-21-letters-x",
        "at most 20",
    ),
    ({"latticeGateway__domain": "example"}, "latticeGateway.domain", "not a domain"),
    ({"network__nat": "none"}, "network.nat", "no way out to Route 53"),
    (
        {"identities": {"apps/default": {"mechanism": "pod-identity"}}},
        "identities.apps/default",
        "section `latticeGateway` has it already",
    ),
    (
        {"identities": {"apps/web": {"mechanism": "pod-identity", "createNamespace": True}}},
        "identities.apps/web.createNamespace",
        "another section makes",
    ),
    ({"latticeGateway__callers": ["apps/default", "kyverno/default"]}, "latticeGateway.callers", "another section"),
    (
        {"latticeEnvironment": {**ENVIRONMENT, "clients": ["apps/default"]}},
        "latticeEnvironment.clients.0",
        "of a cluster",
    ),
    ({"latticeEnvironment": {**ENVIRONMENT, "clients": []}}, "latticeEnvironment.clients", "at least 1"),
    (
        {"latticeEnvironment": {**ENVIRONMENT, "clients": ["a/b/c", "a/b/c"]}},
        "latticeEnvironment.clients",
        "clients named twice: a/b/c",
    ),
    (
        {"latticeEnvironment": {**ENVIRONMENT, "clients": [f"cluster{each}/apps/default" for each in range(9)]}},
        "latticeEnvironment.clients",
        "9 clients, which is more than one role can trust",
    ),
    (
        {"latticeEnvironment": {**ENVIRONMENT, "serviceNetwork": "servicenetwork-1"}},
        "latticeEnvironment.serviceNetwork",
        "not a name that both",
    ),
]


@pytest.mark.parametrize(("changes", "path", "what"), BAD)
def test_a_mistake_is_named_with_its_place(changes, path, what):
    found = problems(changed(**changes))
    assert path in found, f"refused instead: {list(found)}"
    assert what in found[path].what
    for part in (found[path].value, found[path].allowed, found[path].change):
        assert part


def test_a_kubernetes_version_without_the_charts_of_a_mesh_is_refused(monkeypatch):
    class Row:
        def __init__(self, row):
            self.row = row

        def chart_versions(self, name):
            return () if name == "kyverno" else self.row.chart_versions(name)

    rows = {**KUBERNETES, "1.35": Row(KUBERNETES["1.35"])}
    monkeypatch.setattr(settings_module, "KUBERNETES", rows)
    found = problems(GOOD)["cluster.kubernetesVersion"]
    assert found.what == "a version that kyverno is not known to run on"
    assert found.allowed == "1.34"


def test_a_policy_longer_than_lattice_takes_is_refused_with_its_length():
    gateway = copy.deepcopy(GOOD["latticeGateway"])
    gateway["services"]["shop"]["admits"] = [f"cluster2/apps-{each}" for each in range(32)]
    settings = LatticeGatewaySettings.model_validate_json(json.dumps(gateway))
    with pytest.raises(ProblemsError) as refusal:
        service_policy(settings, "shop", "arn:aws:iam::111122223333:role/client")
    (problem,) = refusal.value.problems
    assert problem.what.startswith("an auth policy of 1"), problem.what
    assert problem.path == "latticeGateway.services.shop.admits"
    assert problem.allowed == "10000 characters"


# What another stack hands out.

OUTPUTS = {
    "region": "ap-northeast-2",
    "domain": "example.com",
    "clients": ["cluster1/apps/default", "cluster2/apps/default"],
    "zoneId": "Z0123456789EXAMPLE",
    "certificateArn": "arn:aws:acm:ap-northeast-2:111122223333:certificate/1234",
    "certificateAuthorityArn": "arn:aws:acm-pca:ap-northeast-2:111122223333:certificate-authority/1234",
    "clientRoleArn": "arn:aws:iam::111122223333:role/client",
    "serviceNetworkArn": "arn:aws:vpc-lattice:ap-northeast-2:111122223333:servicenetwork/sn-0123456789abcdef0",
    "serviceNetworkName": "lattice-gateway",
}


def parsed(outputs):
    return lattice_link.parsed("acme/eks-foundation/mesh", outputs)


def test_good_outputs_are_taken_and_newer_ones_too():
    found, environment = parsed({**OUTPUTS, "somethingNew": 1})
    assert found == []
    assert environment is not None
    assert environment.zone_id == "Z0123456789EXAMPLE"


def test_every_missing_and_wrong_output_is_named():
    outputs = {**OUTPUTS, "zoneId": "example.com", "clientRoleArn": 7}
    del outputs["serviceNetworkArn"]
    found, environment = parsed(outputs)
    assert environment is None
    told = {problem.what: problem.value for problem in found}
    assert told == {
        "output latticeEnvironment.serviceNetworkArn of stack acme/eks-foundation/mesh is missing": "none",
        "output latticeEnvironment.zoneId of stack acme/eks-foundation/mesh is not what it should be": '"example.com"',
        "output latticeEnvironment.clientRoleArn of stack acme/eks-foundation/mesh is not what it should be": "7",
    }


@pytest.mark.parametrize("outputs", [None, "text", []])
def test_a_stack_that_is_no_mesh_is_named(outputs):
    (problem,), environment = parsed(outputs)
    assert environment is None
    assert problem.path == "latticeGateway.environment"
    assert problem.what == "stack acme/eks-foundation/mesh has no usable output `latticeEnvironment`"


def test_an_arn_of_another_service_is_not_taken():
    found, _ = parsed({**OUTPUTS, "certificateArn": OUTPUTS["clientRoleArn"]})
    assert [problem.what.split(" ")[1] for problem in found] == ["latticeEnvironment.certificateArn"]


def test_an_environment_of_the_same_program_is_checked_alike():
    gateway = LatticeGatewaySettings.model_validate_json(json.dumps(GOOD["latticeGateway"]))
    settings = LatticeEnvironmentSettings.model_validate_json(json.dumps(ENVIRONMENT))
    environment = SimpleNamespace(settings=settings, region="ap-northeast-2")
    with pytest.raises(ProblemsError) as refusal:
        lattice_link.own_environment(environment, gateway, cluster_name="cluster1", region="eu-west-1")
    paths = [problem.path for problem in refusal.value.problems]
    assert paths == ["region", "latticeGateway.peers", "latticeGateway.services.shop.admits"]
