"""Two values differ in what differs, by path, whatever the order."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflight.changes import ABSENT, Change, changes
from preflight.graph import UNKNOWN, Secret


def told(before, after):
    return [(one.path, one.before, one.after) for one in changes(before, after)]


def test_a_value_deep_inside_is_named_by_its_dotted_path():
    before = {"spec": {"template": {"replicas": 1, "image": "a"}}}
    after = {"spec": {"template": {"replicas": 2, "image": "a"}}}

    assert told(before, after) == [("spec.template.replicas", 1, 2)]


def test_a_key_that_is_no_word_is_quoted():
    assert told({"tags": {"kubernetes.io/role/elb": "1"}}, {"tags": {"kubernetes.io/role/elb": "0"}}) == [
        ('tags["kubernetes.io/role/elb"]', "1", "0")
    ]


def test_what_comes_and_what_goes_is_absent_on_the_other_side():
    assert told({"a": 1}, {"b": 2}) == [("a", 1, ABSENT), ("b", ABSENT, 2)]


def test_none_is_the_same_as_absent():
    assert told({"a": None}, {}) == []
    assert told({"a": None}, {"a": 1}) == [("a", ABSENT, 1)]


def test_a_list_of_plain_values_says_what_came_and_what_went():
    assert told({"cidrs": ["10.0.0.0/8", "0.0.0.0/0"]}, {"cidrs": ["192.168.0.0/16", "10.0.0.0/8"]}) == [
        ("cidrs", "0.0.0.0/0", ABSENT),
        ("cidrs", ABSENT, "192.168.0.0/16"),
    ]


def test_a_list_of_ids_has_no_order():
    assert told({"subnetIds": ["a", "b"]}, {"subnetIds": ["b", "a"]}) == []


def test_the_order_of_other_lists_counts():
    assert told({"args": ["run", "fast"]}, {"args": ["fast", "run"]}) == [("args", ["run", "fast"], ["fast", "run"])]


def test_items_with_a_name_are_matched_by_it():
    before = {"containers": [{"name": "web", "image": "nginx:1"}, {"name": "log", "image": "fluent:1"}]}
    after = {"containers": [{"name": "log", "image": "fluent:1"}, {"name": "web", "image": "nginx:2"}]}

    assert told(before, after) == [("containers[web].image", "nginx:1", "nginx:2")]


def test_an_item_that_comes_does_not_change_the_others():
    before = {"ingress": [{"fromPort": 80}, {"fromPort": 443}]}
    after = {"ingress": [{"fromPort": 22}, {"fromPort": 80}, {"fromPort": 443}]}

    assert told(before, after) == [("ingress", ABSENT, {"fromPort": 22})]


def test_an_item_without_a_name_that_changed_is_entered():
    assert told({"rules": [{"port": 80}, {"port": 1}]}, {"rules": [{"port": 80}, {"port": 2}]}) == [
        ("rules[1].port", 1, 2)
    ]


def test_text_that_is_json_is_entered_and_its_writing_does_not_count():
    assert told({"values": '{"a": 1, "b": [2]}'}, {"values": '{"b":[2],"a":1}'}) == []
    assert told({"values": '{"a": 1}'}, {"values": '{"a": 2}'}) == [("values.a", 1, 2)]
    assert told({"values": "{broken"}, {"values": "{broken too"}) == [("values", "{broken", "{broken too")]


def test_a_secret_is_compared_and_never_unwrapped():
    same, other = Secret("a"), Secret("b")

    assert told({"token": same}, {"token": Secret("a")}) == []
    assert told({"token": same}, {"token": other}) == [("token", same, other)]
    assert told({"token": same}, {"token": "a"}) == [("token", same, "a")], "that it is no secret any more is a change"


def test_true_is_not_one():
    assert told({"a": True}, {"a": 1}) == [("a", True, 1)]


def test_an_unknown_value_differs_from_a_known_one_and_not_from_itself():
    assert told({"a": UNKNOWN}, {"a": UNKNOWN}) == []
    assert told({"a": UNKNOWN}, {"a": "x"}) == [("a", UNKNOWN, "x")]


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1, max_size=4), inner, max_size=4),
    max_leaves=15,
)


@given(plain)
def test_a_value_never_differs_from_its_copy(value):
    assert list(changes({"a": value}, {"a": copy.deepcopy(value)})) == []


@given(plain, plain)
def test_a_difference_read_backwards_is_the_same_difference(before, after):
    forth = {(one.path, repr(one.before), repr(one.after)) for one in changes({"a": before}, {"a": after})}
    back = {(one.path, repr(one.after), repr(one.before)) for one in changes({"a": after}, {"a": before})}

    assert {one[1:] for one in forth} == {one[1:] for one in back}


@pytest.mark.parametrize("noise", [[], {}, "", 0, False])
def test_an_empty_value_is_not_absent(noise):
    assert list(changes({}, {"a": noise})) == [Change(path="a", before=ABSENT, after=noise)]
