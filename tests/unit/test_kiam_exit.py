"""The way out of Kiam: in order, each step with what it changes and how to go back, and nothing of Kiam at its end."""

from __future__ import annotations

import pytest

from preflight import cli, steps
from tests.unit.rules.conftest import ROOT

PROGRAM = ROOT / "tests" / "fixtures" / "programs" / "kiam"


@pytest.fixture(scope="module")
def declared() -> steps.Journey:
    (journey,) = steps.run(ROOT, "leave-kiam", ["kiam"])
    return journey


@pytest.fixture(scope="module")
def by_hand() -> dict[str, steps.Journey]:
    return {one.stack: one for one in steps.run(PROGRAM, "leave-kiam", ["good", "guide"])}


def test_each_workload_leaves_and_kiam_goes_last(declared):
    assert [move.workload for move in declared.moves] == ["kiam-test/tester", "Kiam"]
    assert declared.stays == ()


def test_a_declared_workload_has_both_ways_then_one(declared):
    both, _, out = declared.moves[0].steps
    assert "`exit: irsa`" in both.do
    assert {(one.account, one.mechanism) for one in both.changes.newly} >= {("kiam-test/tester", "IRSA")}
    assert not any(one.mechanism == "Kiam" for one in both.changes.no_longer), "Kiam still answers, for the way back"
    assert {(one.account, one.mechanism) for one in out.changes.no_longer} == {("kiam-test/tester", "Kiam")}
    assert any("permitted" in one.urn for one in out.changes.resources), "the namespace permits nothing any more"


def test_the_last_commit_takes_everything_of_kiam_and_nothing_else(declared):
    diff = declared.moves[-1].steps[0].changes
    deleted = [one for one in diff.resources if one.kind == "deleted"]
    assert {"kiam-kiam", "kiam-server", "cluster-kiam-server"} <= {one.name for one in deleted}
    assert all("kiam" in one.name for one in deleted)
    assert not [one for one in diff.newly if one.account]


def test_the_rule_that_stays_on_the_nodes_is_met_by_new_nodes(declared):
    replace = [one for one in declared.moves[-1].steps if one.do.startswith("Replace the nodes of cluster-system")]
    assert replace, "the agent leaves its rule behind"
    assert "terminate-instance" in " ".join(replace[0].commands)


def test_every_step_says_how_to_go_back(declared, by_hand):
    journeys = [declared, *by_hand.values()]
    every = [step for one in journeys for move in one.moves for step in move.steps]
    assert all(step.undo.endswith(".") and step.do.endswith(".") for step in every)


def test_by_hand_the_order_is_the_same(by_hand):
    move, kiam = by_hand["good"].moves
    add, restart, remove = (step.do for step in move.steps)
    assert "beside Kiam's server" in add
    assert "serviceAccountName" in restart
    trust = remove.index("out of the trust of KiamTesterRole")
    assert remove.index("Take iam.amazonaws.com/role off") < trust < remove.index("off namespace shop")
    assert kiam.steps[0].do.startswith("Remove kiam")
    assert "OIDC provider" in by_hand["good"].first[0].do


def test_one_hop_is_wanted_where_nodes_allow_more(by_hand):
    def hops(stack: str) -> list[str]:
        return [step.do for step in by_hand[stack].moves[-1].steps if "hop_limit=1" in step.do]

    assert hops("good") == [], "its nodes have one hop already"
    assert "workers" in hops("guide")[0]


def test_keys_that_somebody_made_are_deleted_by_hand(by_hand):
    def deletes(stack: str) -> list[str]:
        return [line for step in by_hand[stack].moves[-1].steps for line in step.commands if "delete secret" in line]

    assert deletes("good") == []
    assert deletes("guide") == [
        "kubectl -n kube-system delete secret kiam-agent-tls",
        "kubectl -n kube-system delete secret kiam-server-tls",
    ]


def test_the_command_line_prints_it(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["preflight", "-C", str(PROGRAM), "steps", "leave-kiam", "good"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "leave-kiam, stack good: 2 to move" in said


def test_a_stack_without_kiam_is_there_already():
    (journey,) = steps.run(ROOT, "leave-kiam", ["dev"])
    assert (journey.moves, journey.arrived) == ((), ("this stack has no Kiam",))
