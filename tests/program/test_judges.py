"""What judges that others wrote say of every stack: parliament of IAM policies, Kubernetes' schemas of objects."""

from __future__ import annotations

import json
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from kubernetes_validate.utils import major_minor

import iam_policies
from components.versions import KUBERNETES
from preflight.graph import Graph, reveal
from tests.recorded import STACKS, recorded

with warnings.catch_warnings():
    # The linter leaves its two data files to the garbage collector when it is imported.
    warnings.simplefilter("ignore", ResourceWarning)
    import parliament

RELEASES = ("kubernetes:helm.sh/v3:Release", "kubernetes:yaml/v2:ConfigFile")
# Groups of Kubernetes' own domain whose kinds come with custom resource definitions.
CUSTOM = ("gateway.networking.k8s.io",)


@pytest.fixture(scope="module")
def graphs():
    """By stack."""
    return {stack: Graph.of(recorded(stack)[1]) for stack in STACKS}


@pytest.fixture(params=STACKS)
def graph(graphs, request):
    return graphs[request.param]


def policies(graph: Graph) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what every role may, with the name of the resource that says so."""
    for each in graph.of_type("aws:iam/policy:Policy", "aws:iam/rolePolicy:RolePolicy"):
        yield each.name, json.loads(str(reveal(each.inputs["policy"])))


SOURCES: dict[str, Any] = tomllib.loads((Path(iam_policies.__file__).parent / "sources.toml").read_text("utf-8"))
EXPLAINED = {
    (sid, issue) for each in SOURCES.values() for sid, issues in each.get("explained", {}).items() for issue in issues
}
"""By statement, beside the policy that it is of."""


def test_an_independent_linter_finds_nothing_unexplained_in_any_policy_of_a_stack(graph):
    found = {
        (name, statement.get("Sid", ""), finding.issue)
        for name, document in policies(graph)
        for statement in document["Statement"]
        for finding in parliament.analyze_policy_string(json.dumps({**document, "Statement": [statement]})).findings
    }
    assert {each for each in found if each[1:] not in EXPLAINED} == set()


def test_every_stack_has_policies_to_judge(graphs):
    assert [stack for stack, graph in graphs.items() if not any(policies(graph))] == []


def objects(graph: Graph) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every Kubernetes object as the API server gets it, with its resource's name."""
    for each in graph.resources.values():
        if each.package == "kubernetes" and each.custom and each.type not in RELEASES:
            _, version, kind = each.type.split(":")
            inputs = json.loads(json.dumps(reveal(each.inputs)), parse_float=_number)
            yield each.name, {**inputs, "apiVersion": version.removeprefix("core/"), "kind": kind.removesuffix("Patch")}


def _number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() else value


def test_every_object_is_one_that_the_stacks_kubernetes_takes(graph):
    for cluster in graph.of_type("eks:index:Cluster"):
        version = str(cluster.inputs["version"])
        for name, body in objects(graph):
            group = body["apiVersion"].rpartition("/")[0]
            if group in CUSTOM or ("." in group and not group.endswith(".k8s.io")):
                continue
            judged_by = kubernetes_validate.validate(body, version, strict=True)
            assert judged_by == version, f"{name} is judged by the schemas of another version: update the judge"


def test_the_judge_of_objects_knows_every_version_of_the_table():
    known = {major_minor(each) for each in kubernetes_validate.utils.all_versions()}
    assert set(KUBERNETES) <= known


def test_the_judge_of_objects_names_a_field_that_there_is_not():
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}, "specification": {}}
    with pytest.raises(kubernetes_validate.ValidationError, match="specification"):
        kubernetes_validate.validate(body, max(KUBERNETES), strict=True)
