"""A finding is waived by a decision with a reason and an end, and the decision itself is watched."""

from __future__ import annotations

from datetime import date

import pytest

from preflight import waivers
from preflight.errors import BadInputError
from preflight.finding import Finding

DAY = date(2026, 11, 22)
GOOD = """
[[waiver]]
rule = "open-endpoint"
resource = "cluster-*"
reason = "until the move"
expires = 2026-11-22
"""


def finding(rule="open-endpoint", name="cluster-eks", stack="dev", severity="error"):
    urn = f"urn:pulumi:{stack}::own::eks:index:Cluster::{name}" if name else ""
    return Finding(stack=stack, rule=rule, severity=severity, resource=urn, message="open", fix="close")


def read(tmp_path, text):
    (tmp_path / "preflight.toml").write_text(text, encoding="utf-8")
    return waivers.read(tmp_path, ["open-endpoint", "other-rule"])


def apply(tmp_path, text, findings, checked=("dev",), others=(), day=DAY):
    return waivers.apply(read(tmp_path, text), findings, day, checked, others)


def test_a_waiver_takes_a_finding_out_by_its_logical_name(tmp_path):
    left, waived = apply(tmp_path, GOOD, [finding()])

    assert left == []
    assert [(one.finding, one.waiver.reason) for one in waived] == [(finding(), "until the move")]


def test_a_waiver_may_name_the_urn(tmp_path):
    left, waived = apply(tmp_path, GOOD.replace("cluster-*", "urn:pulumi:dev::*::cluster-eks"), [finding()])

    assert (left, len(waived)) == ([], 1)


def test_a_waiver_does_not_reach_another_rule_or_another_resource(tmp_path):
    others = [finding(rule="other-rule"), finding(name="network-vpc"), finding(name="")]

    left, waived = apply(tmp_path, GOOD, [finding(), *others])

    assert left == others, "only the named rule on the named resource is waived"
    assert len(waived) == 1


def test_a_star_also_waives_what_is_said_of_the_whole_stack(tmp_path):
    left, _ = apply(tmp_path, GOOD.replace("cluster-*", "*"), [finding(name="")])

    assert left == []


def test_a_waiver_counts_on_its_last_day_and_not_after(tmp_path):
    after = date(2026, 11, 23)

    left, waived = apply(tmp_path, GOOD, [finding()], day=after)

    assert waived == []
    assert [one.rule for one in left] == ["open-endpoint", "waiver-expired"]
    assert (left[1].file, left[1].line, left[1].severity) == ("preflight.toml", 2, "warning")
    assert "2026-11-22" in left[1].message
    assert "until the move" in left[1].message


def test_an_expired_waiver_is_not_called_unused_as_well(tmp_path):
    left, _ = apply(tmp_path, GOOD, [], day=date(2027, 1, 1))

    assert [one.rule for one in left] == ["waiver-expired"]


def test_a_waiver_that_covers_nothing_is_a_finding(tmp_path):
    left, _ = apply(tmp_path, GOOD, [finding(name="network-vpc")])

    assert [(one.rule, one.severity) for one in left] == [("open-endpoint", "error"), ("waiver-unused", "warning")]
    assert "open-endpoint on cluster-*" in left[1].message


def test_a_waiver_that_may_be_of_a_stack_not_looked_at_is_only_noted(tmp_path):
    left, _ = apply(tmp_path, GOOD, [], others=("prod",))

    assert [(one.rule, one.severity) for one in left] == [("waiver-unused", "note")]
    assert "prod not looked at" in left[0].message


def test_a_waiver_that_names_another_stack_is_not_mentioned(tmp_path):
    left, _ = apply(tmp_path, GOOD.replace("cluster-*", "urn:pulumi:prod::*"), [], others=("prod",))

    assert left == []


def test_a_waiver_that_names_a_stack_is_unused_whatever_else_was_not_looked_at(tmp_path):
    left, _ = apply(tmp_path, GOOD.replace("cluster-*", "urn:pulumi:dev::*"), [], others=("prod",))

    assert [(one.rule, one.severity) for one in left] == [("waiver-unused", "warning")]


def test_findings_about_waivers_are_documented_like_any_rule():
    assert set(waivers.RULES) == {"waiver-expired", "waiver-unused"}
    assert all(rule.source.startswith("https://") for rule in waivers.RULES.values())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('rule = "open-endpoint"', 'rule = "open-endpiont"', ["open-endpiont", "did you mean open-endpoint?"]),
        ('rule = "open-endpoint"', 'rule = "waiver-unused"', ["waiver-unused", "cannot be waived"]),
        ('rule = "open-endpoint"', "", ["found:   nothing", "name the rule"]),
        ('resource = "cluster-*"', 'resource = ""', ["resource = ''", "name the resource"]),
        ('reason = "until the move"', "reason = 3", ["reason = 3", "say why"]),
        ("expires = 2026-11-22", 'expires = "2026-11-22"', ["without quotes"]),
        ("expires = 2026-11-22", "expires = 2026-11-22T10:00:00", ["2026-11-22 10:00:00", "without a time"]),
        ("expires = 2026-11-22", "", ["found:   nothing", "last day"]),
        ("reason =", "raeson =", ["raeson", "did you mean reason?"]),
    ],
)
def test_a_bad_waiver_is_refused_with_its_line_and_the_change(tmp_path, old, new, said):
    with pytest.raises(BadInputError) as refused:
        read(tmp_path, GOOD.replace(old, new))

    message = str(refused.value)
    assert message.startswith("preflight.toml:2 has a waiver that cannot be used")
    for part in (*said, "found:", "allowed:", "change:"):
        assert part in message, f"the message must say {part!r}: {message}"


@pytest.mark.parametrize("text", ["waiver = 3", "waiver = [3]", '[waiver]\nrule = "open-endpoint"'])
def test_what_is_no_list_of_tables_is_refused(tmp_path, text):
    with pytest.raises(BadInputError, match=r"\[\[waiver\]\]"):
        read(tmp_path, text)


def test_a_program_without_the_file_has_no_waivers(tmp_path):
    assert waivers.read(tmp_path, []) == []
