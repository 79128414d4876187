"""Waves, critical path and typical durations."""

from __future__ import annotations

import json
from datetime import date
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from preflight import order
from preflight.cli import app
from preflight.graph import Graph, Resource
from preflight.order import Course

CLUSTER, NODES, SUBNET = "aws:eks/cluster:Cluster", "aws:eks/nodeGroup:NodeGroup", "aws:ec2/subnet:Subnet"


def urn(name: str) -> str:
    return f"urn:pulumi:s::p::t:m:T::{name}"


def resource(name: str, *needs: str, type_: str = SUBNET, parent: str = "", **more: object) -> Resource:
    return Resource(
        urn=urn(name),
        type=type_,
        name=name,
        parent=urn(parent) if parent else "",
        dependencies=tuple(map(urn, needs)),
        **more,  # type: ignore[arg-type]
    )


def waves(course: Course) -> list[list[str]]:
    return [[step.resource.name for step in wave] for wave in course.waves]


def path(course: Course) -> list[str]:
    return [step.resource.name for step in course.path]


STACK = [
    resource("subnet"),
    resource("spare"),
    resource("cluster", "subnet", type_=CLUSTER),
    resource("nodes", "cluster", type_=NODES),
    resource("rule", "subnet"),
    resource("end", "nodes", "rule"),
]


def test_a_wave_is_what_waits_for_nothing_but_the_waves_before() -> None:
    assert waves(order.creation(Graph(STACK))) == [["subnet", "spare"], ["cluster", "rule"], ["nodes"], ["end"]]


def test_a_destruction_goes_the_other_way() -> None:
    assert waves(order.destruction(Graph(STACK))) == [["spare", "end"], ["nodes", "rule"], ["cluster"], ["subnet"]], (
        "what nobody waits for goes at once"
    )


def test_the_critical_path_is_the_chain_that_takes_longest() -> None:
    creation = order.creation(Graph(STACK))
    assert path(creation) == ["subnet", "cluster", "nodes", "end"]
    small, cluster, nodes = (order.table()[type_].create for type_ in ("", CLUSTER, NODES))
    assert [step.start for step in creation.path] == [0, small, small + cluster, small + cluster + nodes]
    assert creation.seconds == 2 * small + cluster + nodes
    assert creation.one_by_one == creation.seconds + 2 * small, "the two beside the path cost time one by one only"


def test_a_component_takes_no_time_and_no_wave_and_is_waited_for_with_all_below() -> None:
    graph = Graph(
        [
            resource("component", custom=False),
            resource("inside", parent="component", type_=CLUSTER),
            resource("after", "component"),
        ]
    )
    assert waves(order.creation(graph)) == [["inside"], ["after"]]
    assert path(order.destruction(graph)) == ["after", "inside"]


def test_a_packaged_component_takes_the_time_of_what_it_makes() -> None:
    graph = Graph([resource("packaged", custom=False, remote=True, type_="eks:index:Cluster")])
    assert order.creation(graph).seconds == order.table()[CLUSTER].create


def test_what_stays_is_not_destroyed_nor_what_is_only_read() -> None:
    graph = Graph(
        [
            resource("kept", retain_on_delete=True),
            resource("below", parent="kept"),
            resource("read", read=True),
            resource("gone", "kept"),
        ]
    )
    assert waves(order.destruction(graph)) == [["gone"]], "the option is inherited"


def test_what_goes_along_with_another_costs_no_time() -> None:
    alone = order.destruction(Graph([resource("nodes", type_=NODES)]))
    along = order.destruction(Graph([resource("nodes", type_=NODES, deleted_with=urn("cluster"))]))
    assert alone.seconds > along.seconds == 0


def test_providers_are_no_step() -> None:
    graph = Graph(
        [resource("provider", type_="pulumi:providers:aws"), resource("a", provider=f"{urn('provider')}::id")]
    )
    assert waves(order.creation(graph)) == [["a"]]


def test_an_empty_stack_takes_no_time() -> None:
    assert order.creation(Graph([])).seconds == 0
    assert order.creation(Graph([])).path == ()


def test_waves_of_a_few_count_only_these() -> None:
    assert order.waves_of(Graph(STACK), [urn("end"), urn("subnet"), urn("rule")]) == {
        urn("subnet"): 1,
        urn("rule"): 2,
        urn("end"): 3,
    }
    assert order.waves_of(Graph(STACK), [urn("end"), urn("subnet")]) == {urn("subnet"): 1, urn("end"): 2}, (
        "what lies between and stays is no wave"
    )


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    made: list[Resource] = []
    for number in range(draw(st.integers(1, 12))):
        needs = draw(st.sets(st.sampled_from([one.name for one in made]))) if made else set()
        type_ = draw(st.sampled_from([CLUSTER, NODES, SUBNET]))
        made.append(resource(f"r{number}", *sorted(needs), type_=type_))
    return Graph(made)


@given(graphs())
def test_every_edge_is_kept_both_ways_and_the_path_has_no_gap(graph: Graph) -> None:
    for course, is_creation in ((order.creation(graph), True), (order.destruction(graph), False)):
        steps = {step.resource.urn: step for step in course.steps}
        assert steps.keys() == graph.resources.keys(), "each is in exactly one wave"
        for dependent, dependency in graph.digraph.edges:
            first, then = (dependency, dependent) if is_creation else (dependent, dependency)
            assert steps[first].wave < steps[then].wave, "an edge goes from one wave to a later one"
            assert steps[first].end <= steps[then].start, "and nothing begins too early"
        assert course.path[0].start == 0
        assert all(one.end == next_.start for one, next_ in zip(course.path, course.path[1:], strict=False)), (
            "on the critical path nobody idles"
        )
        assert course.seconds == max(step.end for step in course.steps) <= course.one_by_one


@pytest.mark.parametrize("type_", order.table())
def test_every_duration_has_a_source_or_says_that_it_is_an_estimate(type_: str) -> None:
    row = order.table()[type_]
    assert row.create >= 0
    assert row.delete >= 0
    if row.source:
        assert urlsplit(row.source).scheme == "https", "the source can be opened"
    else:
        assert row.seen.startswith("estimate"), "a figure out of the blue says so"


def test_the_table_is_dated() -> None:
    assert order.read() >= date(2026, 11, 22)


def test_the_command_tells_waves_path_and_times_of_the_dev_stack() -> None:
    told = CliRunner().invoke(app, ["order", "dev"])
    assert told.exit_code == 0, told.output
    assert "dev: creation" in told.output
    assert "dev: destruction" in told.output
    assert told.output.count("Critical path: ") == 2
    assert "one resource after the other would take" in told.output


def test_a_cluster_and_its_load_balancer_come_up_without_a_wait_that_nothing_needs() -> None:
    told = json.loads(CliRunner().invoke(app, ["order", "dev", "--format", "json"]).output)
    (stack,) = told["stacks"]
    chain = [step["resource"].rpartition("::")[2] for step in stack["creation"]["criticalPath"]]
    assert chain[-8:] == [
        "cluster-vpc-cni",
        "cluster-system",
        "cluster-coredns",
        "ingress-cert-manager",
        "ingress-aws-load-balancer-controller",
        "ingress-class",
        "demo-service",
        "demo-ingress",
    ], "each of these needs the one before: network, nodes, names, certificate, controller, class, service"
    assert not [name for name in chain if "nat" in name], "the way out is ready before the control plane is"
    first = stack["destruction"]["waves"][0]
    assert [urn.rpartition("::")[2] for urn in first if "demo" in urn] == ["demo-ingress"]
