import copy
import json
import random
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

import iam_policies
from iam_policies import digest, normal_form, policy_document, policy_names, policy_text

with warnings.catch_warnings():
    # The linter leaves its two data files to the garbage collector when it is imported.
    warnings.simplefilter("ignore", ResourceWarning)
    import parliament

CONTROLLER = "aws-load-balancer-controller"
PARTITIONS = ("aws", "aws-cn", "aws-us-gov", "aws-eusc")
SOURCES: dict[str, Any] = tomllib.loads((Path(iam_policies.__file__).parent / "sources.toml").read_text("utf-8"))

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: white space does not count.
MANAGED_POLICY_CHARACTERS = 6_144

each_policy = pytest.mark.parametrize("name", policy_names())
each_partition = pytest.mark.parametrize("partition", PARTITIONS)


def findings(document: dict[str, Any]) -> set[tuple[str, str]]:
    """What the linter says, as pairs of a statement's Sid and the finding's id."""
    return {
        (statement["Sid"], finding.issue)
        for statement in document["Statement"]
        for finding in parliament.analyze_policy_string(json.dumps({**document, "Statement": [statement]})).findings
    }


def test_every_policy_has_a_source_and_every_source_a_policy() -> None:
    assert set(policy_names()) == set(SOURCES), "sources.toml and the JSON files name the same policies"
    assert CONTROLLER in policy_names(), "the load balancer controller's policy is among the ready-made ones"


@each_policy
def test_a_source_says_where_what_and_when(name: str) -> None:
    source = SOURCES[name]
    assert source["upstream"].startswith("https://"), "the upstream address can be opened"
    assert source["kind"] in {"json", "fenced", "managed"}, "the kind says how to read the address"
    assert source["version"] in source["upstream"] or source["kind"] == "managed", (
        "the address is pinned to the version"
    )
    assert source["read"].year >= 2026, "the day of reading is a date"


@each_policy
def test_a_policy_means_the_same_as_its_upstream(name: str) -> None:
    assert digest(policy_document(name, partition="aws")) == SOURCES[name]["digest"], (
        "every action, resource and condition of upstream is in our document, and no other"
    )


def _drop_a_statement(document: dict[str, Any]) -> None:
    document["Statement"].pop()


def _change_an_action(document: dict[str, Any]) -> None:
    document["Statement"][0]["Action"][0] = "ec2:TerminateInstances"


def _add_an_action(document: dict[str, Any]) -> None:
    document["Statement"][0]["Action"].append("ec2:TerminateInstances")


def _change_a_resource(document: dict[str, Any]) -> None:
    statement = next(each for each in document["Statement"] if each["Sid"] == "RegisterTargets")
    statement["Resource"] = "*"


def _change_a_condition(document: dict[str, Any]) -> None:
    statement = next(each for each in document["Statement"] if each["Sid"] == "ChangeOwnLoadBalancing")
    statement["Condition"]["Null"]["aws:ResourceTag/elbv2.k8s.aws/cluster"] = "true"


def _drop_a_condition(document: dict[str, Any]) -> None:
    statement = next(each for each in document["Statement"] if each["Sid"] == "ChangeOwnLoadBalancing")
    del statement["Condition"]


def _deny(document: dict[str, Any]) -> None:
    document["Statement"][0]["Effect"] = "Deny"


@pytest.mark.parametrize(
    "change",
    [
        _drop_a_statement,
        _change_an_action,
        _add_an_action,
        _change_a_resource,
        _change_a_condition,
        _drop_a_condition,
        _deny,
    ],
)
def test_a_change_of_meaning_changes_the_digest(change: Callable[[dict[str, Any]], None]) -> None:
    document = policy_document(CONTROLLER, partition="aws")
    changed = copy.deepcopy(document)
    change(changed)
    assert digest(changed) != digest(document), f"{change.__name__} must not go unnoticed"


def test_order_grouping_case_and_sids_leave_the_digest() -> None:
    document = policy_document(CONTROLLER, partition="aws")
    shuffle = random.Random(1).shuffle  # noqa: S311 - an order, not a secret
    rewritten: list[dict[str, Any]] = []
    for statement in document["Statement"]:
        for action in [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]:
            alone = {key: copy.deepcopy(value) for key, value in statement.items() if key != "Sid"}
            if isinstance(alone["Resource"], list):
                shuffle(alone["Resource"])
            rewritten.append({**alone, "Action": [action.upper()]})
    shuffle(rewritten)
    assert digest({"Version": "2012-10-17", "Statement": rewritten}) == digest(document), (
        "one statement per action, in any order and case, means the same"
    )


def test_the_normal_form_says_what_is_granted() -> None:
    document = {
        "Statement": {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:getobject"],
            "Resource": "arn:aws:s3:::example/*",
            "Condition": {"Bool": {"aws:SecureTransport": True}},
        }
    }
    assert normal_form(document) == (
        ("Allow", "s3:getobject", "arn:aws:s3:::example/*", '{"Bool": {"aws:SecureTransport": ["true"]}}'),
    ), "one grant per effect, action, resource and condition, without repetition"


@pytest.mark.parametrize("element", ["NotAction", "NotResource", "Principal"])
def test_an_element_that_the_normal_form_would_lose_is_refused(element: str) -> None:
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", element: "*"}
    with pytest.raises(ValueError, match=rf"{element}; allowed: .*Action.*; change: "):
        normal_form({"Statement": [statement]})


@each_policy
@each_partition
def test_every_arn_is_in_the_partition(name: str, partition: str) -> None:
    text = policy_text(name, partition=partition)
    assert "${partition}" not in text, "every placeholder is replaced"
    assert text.count("arn:") == text.count(f"arn:{partition}:"), "no ARN is left in another partition"


def test_partitions_differ_in_nothing_but_their_arns() -> None:
    ours = policy_text(CONTROLLER, partition="aws")
    for partition in PARTITIONS:
        assert policy_text(CONTROLLER, partition=partition) == ours.replace("arn:aws:", f"arn:{partition}:"), (
            "the service name amazonaws.com in a condition is the same in every partition"
        )


@each_policy
@each_partition
def test_a_policy_fits_a_managed_policy(name: str, partition: str) -> None:
    size = len("".join(policy_text(name, partition=partition).split()))
    assert size <= MANAGED_POLICY_CHARACTERS, f"{size} characters are more than IAM takes in one managed policy"


@each_policy
@each_partition
def test_iam_takes_the_document(name: str, partition: str) -> None:
    with mock_aws():
        iam = boto3.client("iam", region_name="us-east-1")
        made = iam.create_policy(PolicyName=name, PolicyDocument=policy_text(name, partition=partition))
    assert made["Policy"]["PolicyName"] == name, "a second reader of IAM's grammar takes it, too"


@each_policy
def test_every_sid_is_unique_and_says_something(name: str) -> None:
    sids = [statement.get("Sid", "") for statement in policy_document(name, partition="aws")["Statement"]]
    assert all(len(sid) > 3 and sid.isalnum() for sid in sids), (
        "IAM takes letters and digits in a Sid, readers want words"
    )
    assert len(set(sids)) == len(sids), "IAM refuses a Sid used twice"


@each_policy
def test_the_linter_finds_nothing_unexplained(name: str) -> None:
    explained = {(sid, issue) for sid, issues in SOURCES[name].get("explained", {}).items() for issue in issues}
    found = findings(policy_document(name, partition="aws"))
    assert found - explained == set(), "a finding is removed, or sources.toml says why it stays"
    assert explained - found == set(), "an explanation without a finding is removed"


@each_policy
def test_every_explanation_is_a_sentence(name: str) -> None:
    for issues in SOURCES[name].get("explained", {}).values():
        for issue, reason in issues.items():
            assert len(reason.split()) >= 4, f"{issue} stays for a reason that a reader can judge"


def test_an_action_that_aws_does_not_know_is_found() -> None:
    document = policy_document(CONTROLLER, partition="aws")
    document["Statement"][0]["Action"].append("ec2:DescribeSubnetz")
    assert ("ReadNetwork", "UNKNOWN_ACTION") in findings(document), "the linter checks actions against its own database"


def test_the_text_is_the_document() -> None:
    assert json.loads(policy_text(CONTROLLER, partition="aws")) == policy_document(CONTROLLER, partition="aws"), (
        "PodRole gives IAM what the checks above judged"
    )


def test_an_unknown_name_is_answered_with_the_nearest_and_all() -> None:
    with pytest.raises(ValueError, match="unknown ready-made policy") as refused:
        policy_document("aws-load-balacner-controller", partition="aws")
    message = str(refused.value)
    assert "'aws-load-balacner-controller'" in message, "the message has the value given"
    assert f"allowed: {', '.join(policy_names())}" in message, "the message has every name"
    assert f"change: write '{CONTROLLER}'" in message, "the message has the nearest name"
