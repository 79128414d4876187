"""Who may call whom in the mesh: what `preflight calls` finds is what the stack files declare, and nothing more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from preflight.call_matrix import Matrix, matrix
from preflight.cli import app
from preflight.graph import Graph
from preflight.program import record
from tests.recorded import recorded

ROOT = Path(__file__).parents[2]
CLUSTERS = ("cluster1", "cluster2")
STRANGERS = {
    "a call that nobody signed": "service network lattice-gateway",
    "a pod of another namespace": "service apps/",
    "a pod of another cluster": "service apps/",
    "a session of that role without tags": "service apps/",
    "another role, which forges the tags": "service network lattice-gateway",
    "that role of another account": "service network lattice-gateway",
}


def gateway(stack: str) -> dict[str, Any]:
    """What a stack file says about its half of the mesh."""
    return YAML(typ="safe").load(ROOT / f"Pulumi.{stack}.yaml")["config"]["eks-foundation:latticeGateway"]


@pytest.fixture(scope="module")
def found() -> Matrix:
    return matrix({stack: Graph.of(recorded(stack)[1]) for stack in ("mesh", *CLUSTERS)})


def test_every_caller_is_admitted_by_the_services_that_declare_it_and_by_no_other(found: Matrix):
    declared = {
        (cluster, account, f"{name}.{gateway(owner)['domain']}"): f"{cluster}/{account.partition('/')[0]}"
        in service["admits"]
        for cluster in CLUSTERS
        for account in gateway(cluster)["callers"]
        for owner in CLUSTERS
        for name, service in gateway(owner)["services"].items()
    }
    rows = {row.caller: row for row in found.rows}
    hosts = [service.host for service in found.services]
    decided = {
        (cluster, account, host): rows[f"{account} in {cluster}"].verdicts[hosts.index(host)].decision.admitted
        for cluster, account, host in declared
    }
    assert decided == declared
    assert sorted(set(declared.values())) == [False, True], "each of the two is declared of somebody"


def test_nobody_else_is_admitted_by_any_service(found: Matrix):
    callers = {f"{account} in {cluster}" for cluster in CLUSTERS for account in gateway(cluster)["callers"]}
    others = [row for row in found.rows if row.caller not in callers]
    assert {verdict.word for row in others for verdict in row.verdicts} == {"refused"}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_is_refused_and_the_policy_that_decides_is_named(found: Matrix, stranger: str):
    (row,) = [row for row in found.rows if row.caller == stranger]
    for verdict in row.verdicts:
        assert verdict.word == "refused"
        assert verdict.judge.startswith(STRANGERS[stranger])
        assert verdict.decision.statement, "and its statement"


def test_the_pods_of_the_demos_sign(found: Matrix):
    (unsigned,) = [row for row in found.rows if row.caller == "a call that nobody signed"]
    assert not [pod for pod in unsigned.pods if "demo-" in pod]
    signing = {pod for row in found.rows for pod in row.pods if "demo-" in pod}
    assert signing == {"Deployment apps/demo-cluster1", "Deployment apps/demo-cluster2"}


def test_both_clusters_in_one_stack_give_the_same_matrix(found: Matrix):
    (recording,) = record(ROOT / "examples" / "two-clusters", modes=["update"])
    assert recording["error"] is None, recording["error"]
    alone = matrix({"dev": Graph.of(recording)})
    tables = [
        {
            row.caller: {
                service.host: verdict.word for service, verdict in zip(each.services, row.verdicts, strict=True)
            }
            for row in each.rows
            if row.stranger or "apps/default" in row.caller
        }
        for each in (found, alone)
    ]
    assert tables[0] == tables[1]


def test_the_command_prints_the_matrix(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, ["calls", "mesh", *CLUSTERS, "--format", "json"])
    assert result.exit_code == 0, result.output
    calls = {one["caller"]: one["calls"] for one in json.loads(result.stdout)["callers"]}
    words = {host: call["verdict"] for host, call in calls["apps/default in cluster1"].items()}
    assert words == {"demo-cluster1.example.com": "refused", "demo-cluster2.example.com": "admitted"}
