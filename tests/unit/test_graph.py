"""The graph of a recording: values as they were meant, and who waits for whom."""

from __future__ import annotations

import networkx as nx
import pytest

from preflight.graph import UNKNOWN, Graph, Resource, Secret, decode, reveal

SIGNATURE = "4dabf18193072939515e22adb298388d"


def urn(name: str) -> str:
    return f"urn:pulumi:s::p::t:m:T::{name}"


def resource(name: str, *needs: str, parent: str = "", component: bool = False, **more: object) -> Resource:
    return Resource(
        urn=urn(name),
        type="t:m:C" if component else "t:m:T",
        name=name,
        parent=urn(parent) if parent else "",
        custom=not component,
        dependencies=tuple(map(urn, needs)),
        **more,  # type: ignore[arg-type]
    )


def test_values_are_decoded_from_the_wire() -> None:
    secret = {SIGNATURE: "1b47061264138c4ac30d75fd1eb44270", "value": {"a": "04da6b54-80e4-46f7-96ec-b56ff0331ba9"}}
    reference = {SIGNATURE: "5cf8f73096256a8f31e491e813e4eb8e", "urn": "urn:x", "id": "sg-1"}
    assert decode({"s": secret, "r": [reference], "n": 1}) == {"s": Secret({"a": UNKNOWN}), "r": ["sg-1"], "n": 1}
    assert decode({**reference, "id": ""}) == "urn:x", "a resource without an id is known by its URN"
    assert reveal({"a": [Secret({"b": Secret(1)})]}) == {"a": [{"b": 1}]}


def test_a_secret_does_not_print_its_value() -> None:
    assert "hunter2" not in repr(Secret("hunter2"))


def test_what_a_resource_waits_for_is_transitive() -> None:
    graph = Graph([resource("a"), resource("b", "a"), resource("c", "b"), resource("d")])
    assert graph.reaches(urn("c"), urn("a"))
    assert not graph.reaches(urn("a"), urn("c")), "the edge has a direction"
    assert not graph.reaches(urn("d"), urn("a"))
    assert not graph.reaches(urn("a"), urn("a")), "nothing waits for itself"


def test_a_property_a_parent_and_a_provider_are_waited_for() -> None:
    graph = Graph(
        [
            resource("provider"),
            resource("above", component=True),
            resource("used"),
            resource(
                "x",
                parent="above",
                provider=f"{urn('provider')}::some-id",
                property_dependencies={"vpcId": (urn("used"),)},
            ),
        ]
    )
    assert graph.waits_for(urn("x")) == {urn("provider"), urn("above"), urn("used")}
    assert graph.resources[urn("x")].provider_urn == urn("provider")


def test_a_child_waits_for_what_its_component_waits_for() -> None:
    graph = Graph([resource("first"), resource("c", "first", component=True), resource("child", parent="c")])
    assert graph.reaches(urn("child"), urn("first"))


def test_to_wait_for_a_component_is_to_wait_for_everything_in_it() -> None:
    graph = Graph(
        [
            resource("outer", component=True),
            resource("inner", parent="outer", component=True),
            resource("leaf", parent="inner"),
            resource("other", parent="outer"),
            resource("after", "outer"),
        ]
    )
    assert graph.reaches(urn("after"), urn("leaf"))
    assert graph.reaches(urn("after"), urn("outer"))
    assert not graph.reaches(urn("leaf"), urn("other")), "siblings do not wait for each other"


def test_a_component_waits_only_if_all_of_it_does() -> None:
    parts = [resource("first"), resource("c", component=True), resource("one", "first", parent="c")]
    assert Graph(parts).reaches(urn("c"), urn("first"))
    assert not Graph([*parts, resource("two", parent="c")]).reaches(urn("c"), urn("first"))
    held = [resource("first"), resource("c", "first", component=True), resource("one", parent="c")]
    assert Graph(held).reaches(urn("c"), urn("first")), "a child waits with its component"


def test_a_dependency_on_an_ancestor_makes_no_circle() -> None:
    graph = Graph(
        [
            resource("a", component=True),
            resource("b", parent="a", component=True),
            resource("x", "a", parent="b"),
            resource("y", parent="a"),
        ]
    )
    assert nx.is_directed_acyclic_graph(graph.digraph)
    assert not graph.reaches(urn("x"), urn("y"))


def test_a_dependency_on_what_is_not_in_the_graph_is_kept_aside() -> None:
    graph = Graph([resource("x", "hidden")])
    assert graph.dependencies(urn("x")) == {urn("hidden")}
    assert urn("hidden") not in graph.digraph


def test_types_and_children_are_found_in_the_order_of_registration() -> None:
    graph = Graph([resource("c", component=True), resource("b", parent="c"), resource("a", parent="c")])
    assert [one.name for one in graph.of_type("t:m:T")] == ["b", "a"]
    assert [one.name for one in graph.of_type("t:m:C", "t:m:T")] == ["c", "b", "a"]
    assert [one.name for one in graph.children(urn("c"))] == ["b", "a"]
    assert [one.name for one in graph.children("")] == ["c"]
    assert graph.of_type("no:such:Type") == []


def test_a_resource_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        resource("a").name = "b"  # type: ignore[misc]
