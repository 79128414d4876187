"""The programs in examples/: each is judged like any other program, and says what its page says."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from preflight import check
from preflight.call_matrix import matrix
from preflight.graph import Graph
from preflight.program import start

EXAMPLES = sorted(path.parent for path in (Path(__file__).parents[2] / "examples").glob("*/Pulumi.yaml"))
AS_OF = date(2026, 11, 22)


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_an_example_is_clean_and_previews_what_it_makes(folder):
    with start(folder) as running:
        report = check.run(running, AS_OF)
        recordings = running.recordings()
    assert [finding.message for finding in report.findings] == []
    preview, update = (sorted(one["urn"] for one in each["resources"]) for each in recordings)
    assert preview == update, "a resource is born inside an apply"


# Two clusters in one stack.


@pytest.fixture(scope="module")
def both():
    with start(EXAMPLES[0].parent / "two-clusters", modes=["update"]) as running:
        (recording,) = running.recordings()
    return Graph.of(recording)


def test_each_cluster_is_admitted_by_the_other_and_by_nobody_else(both):
    found = matrix({"dev": both})
    services = [service.host for service in found.services]
    admitted = {
        (row.caller.partition(" in ")[2], host)
        for row in found.rows
        for host, verdict in zip(services, row.verdicts, strict=True)
        if verdict.decision.admitted
    }
    assert admitted == {("cluster1", "demo-cluster2.example.com"), ("cluster2", "demo-cluster1.example.com")}


def test_everything_of_the_mesh_outlives_what_the_clusters_made_of_it(both):
    shared = [each for each in both.resources.values() if each.name.startswith("environment-") and each.custom]
    for route in both.of_type("kubernetes:gateway.networking.k8s.io/v1:HTTPRoute"):
        early = {each.name for each in shared if not both.reaches(route.urn, each.urn)}
        assert early == set(), f"gone while {route.name} needs it"


def test_no_cluster_waits_for_the_other(both):
    def of(name):
        return [each for each in both.resources.values() if each.name.startswith(f"{name}-") and each.custom]

    crossing = [
        (one.name, other.name) for one in of("cluster1") for other in of("cluster2") if both.reaches(one.urn, other.urn)
    ]
    assert crossing == []
