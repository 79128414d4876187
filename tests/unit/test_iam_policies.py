import copy
import fnmatch
import json
import random
import re
import tomllib
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from moto import mock_aws
from policy_sentry.querying.all import get_all_actions

import iam_policies
from iam_policies import (
    check_parameters,
    filled,
    managed_policies,
    parameters_of,
    policy_document,
    policy_names,
    policy_text,
    policy_texts,
)
from preflight.grants import digest
from preflight.policies import Request, decide, parse

with warnings.catch_warnings():
    # The linter leaves its two data files to the garbage collector when it is imported.
    warnings.simplefilter("ignore", ResourceWarning)
    import parliament

CONTROLLER = "aws-load-balancer-controller"
PARTITIONS = ("aws", "aws-cn", "aws-us-gov", "aws-eusc")
FOLDER = Path(iam_policies.__file__).parent
SOURCES: dict[str, Any] = tomllib.loads((FOLDER / "sources.toml").read_text("utf-8"))
ACTIONS = {action.lower() for action in get_all_actions()}

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: white space does not count.
MANAGED_POLICY_CHARACTERS = 6_144
LONGEST_CLUSTER_NAME = 100

PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


def samples(name: str, partition: str = "aws") -> dict[str, Any]:
    """The example of every parameter, in the form in which a stack file has it."""
    return {
        each.name: [each.sample(partition)] if each.is_list else each.sample(partition) for each in parameters_of(name)
    }


written = [name for name in policy_names() if filled(name, samples(name))]
each_policy = pytest.mark.parametrize("name", policy_names())
each_written_policy = pytest.mark.parametrize("name", written)
each_partition = pytest.mark.parametrize("partition", PARTITIONS)


def sample_document(name: str, partition: str = "aws") -> dict[str, Any]:
    return policy_document(name, partition=partition, parameters=samples(name, partition))


def as_upstream(name: str) -> dict[str, Any]:
    """Our document with upstream's values, and upstream's own words where ours is narrower."""
    source = SOURCES[name]
    documents = filled(name, {"partition": "aws", **source.get("upstream_parameters", {})})
    statements = []
    for statement in (each for document in documents.values() for each in document["Statement"]):
        theirs = source.get("narrowed", {}).get(statement["Sid"])
        own = {key: value for key, value in statement.items() if key not in ("Resource", "Condition")}
        narrowed = {key: value for key, value in (theirs or {}).items() if key != "why"}
        statements.append({**own, **narrowed} if theirs else statement)
    return {"Version": "2012-10-17", "Statement": statements}


def findings(document: dict[str, Any]) -> set[tuple[str, str]]:
    """What the linter says, as pairs of a statement's Sid and the finding's id."""
    return {
        (statement["Sid"], finding.issue)
        for statement in document["Statement"]
        for finding in parliament.analyze_policy_string(json.dumps({**document, "Statement": [statement]})).findings
    }


def unheard_of(document: dict[str, Any]) -> list[str]:
    """The actions that no service has."""
    return [
        action
        for statement in document["Statement"]
        for action in listed(statement["Action"])
        if action.lower() not in ACTIONS and not ("*" in action and fnmatch.filter(ACTIONS, action.lower()))
    ]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_every_file_belongs_to_a_policy_and_every_policy_has_a_source() -> None:
    parts = {part for name in policy_names() for part in filled(name, {"partition": "aws", **samples(name)})}
    assert parts == {path.stem for path in FOLDER.glob("*.json")}, "catalogue.toml names every JSON file, and no other"
    assert set(policy_names()) == set(SOURCES), "catalogue.toml and sources.toml name the same policies"


def test_the_catalogue_has_what_people_know_from_terraform() -> None:
    offered = {
        "aws-ebs-csi-driver",
        "aws-efs-csi-driver",
        "aws-fsx-csi-driver",
        "aws-fsx-openzfs-csi-driver",
        "aws-gateway-api-controller",
        "aws-load-balancer-controller",
        "aws-load-balancer-controller-targetgroupbinding-only",
        "aws-mountpoint-s3-csi-driver",
        "aws-node-termination-handler",
        "amazon-cloudwatch-observability",
        "amazon-managed-prometheus-query",
        "amazon-managed-prometheus-remote-write",
        "cert-manager",
        "cluster-autoscaler",
        "external-dns",
        "external-secrets-parameter-store",
        "external-secrets-secrets-manager",
        "karpenter",
        "velero",
        "vpc-cni-ipv4",
        "vpc-cni-ipv6",
        "vpc-cni-network-policy-logs",
    }
    assert offered <= set(policy_names()), "what terraform-aws-modules/iam offers for service accounts is here, too"


@each_policy
def test_a_source_says_where_what_and_when(name: str) -> None:
    source = SOURCES[name]
    addresses = [source["upstream"], *([source["newest"]] if "newest" in source else [])]
    assert all(urlsplit(each).scheme == "https" for each in addresses), "the addresses can be opened"
    assert source["kind"] in {"json", "fenced", "managed"}, "the kind says how to read the address"
    on_aws_pages = urlsplit(source["upstream"]).netloc == "docs.aws.amazon.com"
    assert source["version"] in source["upstream"] or on_aws_pages, "the address is pinned to the version"
    assert on_aws_pages or "newest" in source, "a pinned address never changes: another one tells what is new"
    assert source["read"].year >= 2026, "the day of reading is a date"
    assert (source["kind"] == "managed") == (name not in written), "`managed` is a policy without a document of ours"
    assert name in written or managed_policies(name), "a policy grants something"


@each_written_policy
def test_a_policy_means_the_same_as_its_upstream(name: str) -> None:
    assert digest(as_upstream(name)) == SOURCES[name]["digest"], (
        "with upstream's values, every action, resource and condition of upstream is in our document, and no other"
    )


@each_written_policy
def test_what_differs_from_upstream_is_said_and_narrower(name: str) -> None:
    ours = {statement["Sid"]: statement for statement in sample_document(name)["Statement"]}
    theirs = {statement["Sid"]: statement for statement in as_upstream(name)["Statement"]}
    narrowed = SOURCES[name].get("narrowed", {})
    assert ours.keys() - theirs.keys() == set(SOURCES[name].get("added", {})), "what a parameter adds is explained"
    assert narrowed.keys() <= ours.keys(), "what is narrowed exists"
    for sid in narrowed:
        assert (ours[sid]["Resource"], ours[sid].get("Condition")) != (
            theirs[sid]["Resource"],
            theirs[sid].get("Condition"),
        ), f"{sid} differs from upstream"
        for resource in listed(ours[sid]["Resource"]):
            assert any(fnmatch.fnmatchcase(resource, pattern) for pattern in listed(theirs[sid]["Resource"])), (
                f"{sid}: {resource} lies within what upstream grants"
            )
        assert theirs[sid].get("Condition", {}).items() <= ours[sid].get("Condition", {}).items(), (
            f"{sid}: upstream's conditions hold here, too"
        )


@pytest.mark.parametrize(
    ("name", "action", "resource", "tags", "allowed"),
    [
        ("cluster-autoscaler", "autoscaling:SetDesiredCapacity", "*", {"k8s.io/cluster-autoscaler/shop": ""}, True),
        ("cluster-autoscaler", "autoscaling:SetDesiredCapacity", "*", {"k8s.io/cluster-autoscaler/other": ""}, False),
        ("cluster-autoscaler", "autoscaling:SetDesiredCapacity", "*", {}, False),
        ("cluster-autoscaler", "eks:DescribeNodegroup", "eks:eu-west-1:1:nodegroup/shop/a/b", {}, True),
        ("cluster-autoscaler", "eks:DescribeNodegroup", "eks:eu-west-1:1:nodegroup/shop2/a/b", {}, False),
        ("velero", "ec2:CreateTags", "ec2:eu-west-1:1:volume/vol-1", {}, True),
        ("velero", "ec2:CreateTags", "ec2:eu-west-1:1:instance/i-1", {}, False),
        ("velero", "s3:GetObject", "s3:::amzn-s3-demo-bucket/a", {}, True),
        ("velero", "s3:GetObject", "s3:::amzn-s3-demo-bucket2/a", {}, False),
        (
            "vpc-cni-network-policy-logs",
            "logs:PutLogEvents",
            "logs:eu-west-1:111122223333:log-group:/other:x",
            {},
            False,
        ),
    ],
)
def test_what_is_narrowed_reaches_its_own_only(
    name: str, action: str, resource: str, tags: dict[str, str], allowed: bool
) -> None:
    context = {f"aws:ResourceTag/{key}": (value,) for key, value in tags.items()}
    request = Request(action, context, resource=resource if resource == "*" else f"arn:aws:{resource}", unknown=())
    decision = decide(parse(sample_document(name), trust=False), request)
    assert decision.admitted == allowed, decision.reason


@each_policy
def test_what_differs_from_upstream_has_a_reason(name: str) -> None:
    source = SOURCES[name]
    reasons = [
        *(each["why"] for each in source.get("narrowed", {}).values()),
        *source.get("added", {}).values(),
        *(reason for issues in source.get("explained", {}).values() for reason in issues.values()),
    ]
    assert all(len(reason.split()) >= 4 for reason in reasons), "a reason is a sentence that a reader can judge"


def _statement(document: dict[str, Any], sid: str) -> dict[str, Any]:
    return next(each for each in document["Statement"] if each["Sid"] == sid)


def _drop_a_statement(document: dict[str, Any]) -> None:
    document["Statement"].pop()


def _change_an_action(document: dict[str, Any]) -> None:
    document["Statement"][0]["Action"][0] = "ec2:TerminateInstances"


def _add_an_action(document: dict[str, Any]) -> None:
    document["Statement"][0]["Action"].append("ec2:TerminateInstances")


def _change_a_resource(document: dict[str, Any]) -> None:
    _statement(document, "RegisterTargets")["Resource"] = "*"


def _change_a_condition(document: dict[str, Any]) -> None:
    _statement(document, "ChangeOwnLoadBalancing")["Condition"]["Null"]["aws:ResourceTag/elbv2.k8s.aws/cluster"] = (
        "true"
    )


def _drop_a_condition(document: dict[str, Any]) -> None:
    del _statement(document, "ChangeOwnLoadBalancing")["Condition"]


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
        for action in listed(statement["Action"]):
            alone = {key: copy.deepcopy(value) for key, value in statement.items() if key != "Sid"}
            if isinstance(alone["Resource"], list):
                shuffle(alone["Resource"])
            rewritten.append({**alone, "Action": [action.upper()]})
    shuffle(rewritten)
    assert digest({"Version": "2012-10-17", "Statement": rewritten}) == digest(document), (
        "one statement per action, in any order and case, means the same"
    )


def test_reading_a_document_twice_does_not_share_it() -> None:
    policy_document(CONTROLLER, partition="aws")["Statement"].clear()
    assert policy_document(CONTROLLER, partition="aws")["Statement"], (
        "a caller who changes a document keeps it to itself"
    )


@each_written_policy
@each_partition
def test_every_arn_is_in_the_partition(name: str, partition: str) -> None:
    text = policy_text(name, partition=partition, parameters=samples(name, partition))
    assert not PLACEHOLDER.findall(text), "every placeholder is replaced"
    assert text.count("arn:") == text.count(f"arn:{partition}:"), "no ARN is left in another partition"


@each_written_policy
def test_partitions_differ_in_nothing_but_their_arns(name: str) -> None:
    ours = json.dumps(sample_document(name))
    for partition in PARTITIONS:
        assert json.dumps(sample_document(name, partition)) == ours.replace("arn:aws:", f"arn:{partition}:"), (
            "the service name amazonaws.com in a condition is the same in every partition"
        )


@each_policy
def test_the_placeholders_of_a_policy_are_its_parameters(name: str) -> None:
    texts = [(FOLDER / f"{part}.json").read_text("utf-8") for part in filled(name, samples(name))]
    used = {placeholder for text in texts for placeholder in PLACEHOLDER.findall(text)} - {"partition"}
    assert used == {each.name for each in parameters_of(name)}, "each parameter is declared, and each one has a use"


@each_written_policy
@each_partition
def test_a_document_fits_a_managed_policy(name: str, partition: str) -> None:
    longest = {"clusterName": "x" * LONGEST_CLUSTER_NAME}
    parameters = {key: longest.get(key, value) for key, value in samples(name, partition).items()}
    for part, text in policy_texts(name, partition=partition, parameters=parameters).items():
        size = len("".join(text.split()))
        assert size <= MANAGED_POLICY_CHARACTERS, f"{part}: {size} characters are more than IAM takes in one policy"


@each_partition
def test_iam_takes_every_document(partition: str) -> None:
    texts = {
        part: text
        for name in written
        for part, text in policy_texts(name, partition=partition, parameters=samples(name, partition)).items()
    }
    with mock_aws():
        iam = boto3.client("iam", region_name="us-east-1")
        made = [iam.create_policy(PolicyName=part, PolicyDocument=text) for part, text in texts.items()]
    assert {each["Policy"]["PolicyName"] for each in made} == set(texts), (
        "a second reader of IAM's grammar takes them, too"
    )


@each_written_policy
def test_every_sid_is_unique_and_says_something(name: str) -> None:
    sids = [statement.get("Sid", "") for statement in sample_document(name)["Statement"]]
    assert all(len(sid) > 3 and sid.isalnum() for sid in sids), (
        "IAM takes letters and digits in a Sid, readers want words"
    )
    assert len(set(sids)) == len(sids), "IAM refuses a Sid used twice"


@each_written_policy
def test_the_linter_finds_nothing_unexplained(name: str) -> None:
    explained = {(sid, issue) for sid, issues in SOURCES[name].get("explained", {}).items() for issue in issues}
    found = findings(sample_document(name))
    assert found - explained == set(), "a finding is removed, or sources.toml says why it stays"
    assert explained - found == set(), "an explanation without a finding is removed"


@each_written_policy
def test_every_action_is_one_that_aws_has(name: str) -> None:
    assert unheard_of(sample_document(name)) == [], "a database of AWS's own list of actions has each of them"


def test_an_action_that_aws_does_not_know_is_found() -> None:
    document = policy_document(CONTROLLER, partition="aws")
    document["Statement"][0]["Action"].append("ec2:DescribeSubnetz")
    assert ("ReadNetwork", "UNKNOWN_ACTION") in findings(document), "the linter checks actions against its own database"
    assert unheard_of(document) == ["ec2:DescribeSubnetz"], "the newer database is asked, too"


def test_a_managed_policy_has_a_path_and_a_name() -> None:
    assert managed_policies("vpc-cni-ipv4") == ("AmazonEKS_CNI_Policy",), "IPv4 is AWS's own policy"
    assert managed_policies(CONTROLLER) == (), "the load balancer controller has no policy of AWS's"
    assert policy_texts("vpc-cni-ipv4", partition="aws") == {}, "what AWS manages has no document here"


@each_written_policy
def test_the_texts_are_the_document(name: str) -> None:
    texts = policy_texts(name, partition="aws", parameters=samples(name))
    together = [statement for text in texts.values() for statement in json.loads(text)["Statement"]]
    assert together == sample_document(name)["Statement"], "what IAM is given is what the checks above judged"
    assert json.loads(policy_text(name, partition="aws", parameters=samples(name))) == sample_document(name), (
        "the one text is the same document"
    )


def test_a_list_stands_for_each_of_its_values() -> None:
    zones = ["arn:aws:route53:::hostedzone/Z1", "arn:aws:route53:::hostedzone/Z2"]
    buckets = ["arn:aws:s3:::one-bucket", "arn:aws:s3:::two-buckets"]
    document = policy_document("external-dns", partition="aws", parameters={"hostedZoneArns": zones})
    assert _statement(document, "ChangeRecords")["Resource"] == zones, "each zone is a resource"
    document = policy_document("velero", partition="aws", parameters={"bucketArns": buckets})
    assert _statement(document, "ReadAndWriteBackups")["Resource"] == [
        "arn:aws:s3:::one-bucket/*",
        "arn:aws:s3:::two-buckets/*",
    ], "a text with a list in it stands once for each"
    alone = policy_document("external-dns", partition="aws", parameters={"hostedZoneArns": zones[0]})
    assert listed(_statement(alone, "ChangeRecords")["Resource"]) == zones[:1], "one value needs no list"


def test_what_is_not_asked_for_is_not_granted() -> None:
    without = policy_document("karpenter", partition="aws", parameters=_without("karpenter", "interruptionQueueArns"))
    assert "sqs:" not in json.dumps(without), "without a queue there is no right to any queue"
    assert policy_texts("aws-ebs-csi-driver", partition="aws") == {}, "without keys the managed policy is all"


def _without(name: str, parameter: str) -> dict[str, Any]:
    return {key: value for key, value in samples(name).items() if key != parameter}


@each_policy
@each_partition
def test_the_examples_are_accepted(name: str, partition: str) -> None:
    assert check_parameters(name, samples(name, partition), partition) == [], "an example in a message can be used"


def described(problems: Iterable[iam_policies.Problem]) -> list[tuple[str, str]]:
    return [(problem.parameter, problem.what) for problem in problems]


@pytest.mark.parametrize(
    ("zones", "what"),
    [
        ([], "a required parameter is missing"),
        (["*"], "a wildcard that reaches everything"),
        (["arn:aws:route53:::hostedzone/*"], "a wildcard where none may stand"),
        (["arn:aws:route53:::hostedzone/Z?"], "a wildcard where none may stand"),
        (["Z0123456789EXAMPLE"], "not an ARN"),
        (["arn:aws:route53"], "not an ARN"),
        (["arn:aws-cn:route53:::hostedzone/Z1"], "an ARN of the partition aws-cn"),
        (["arn:aws:s3:::hostedzone/Z1"], "an ARN of the service s3"),
        (["arn:aws:route53:::healthcheck/Z1"], "not the ARN of a Route 53 hosted zone"),
        (["arn:aws:route53:::hostedzone/Z1\n"], "not the ARN of a Route 53 hosted zone"),
        ([None], "not a text"),
        (None, "not a text"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(zones: Any, what: str) -> None:
    problems = check_parameters("external-dns", {"hostedZoneArns": zones}, "aws")
    assert described(problems) == [("hostedZoneArns", what)], "one problem, with what is wrong"
    assert "such as arn:aws:route53:::hostedzone/Z0123456789EXAMPLE" in problems[0].allowed, "an example is allowed"
    assert problems[0].change, "there is a change to make"
    with pytest.raises(ValueError, match=re.escape(f"policy external-dns, parameter hostedZoneArns: {problems[0]}")):
        policy_document("external-dns", partition="aws", parameters={"hostedZoneArns": zones})


@pytest.mark.parametrize(
    ("parameters", "what"),
    [
        ({"clusterName": ["shop", "other"]}, "a list where one value belongs"),
        ({"clusterName": "${aws:PrincipalTag/cluster}"}, "not the name of an EKS cluster"),
        ({"clusterName": "shop*"}, "not the name of an EKS cluster"),
        ({"clusterName": ""}, "not the name of an EKS cluster"),
        ({"clusterName": 7}, "not a text"),
        ({}, "a required parameter is missing"),
    ],
)
def test_a_text_that_does_not_fit_is_refused(parameters: dict[str, Any], what: str) -> None:
    problems = check_parameters("cluster-autoscaler", parameters, "aws")
    assert described(problems) == [("clusterName", what)], "one problem, with what is wrong"


def test_a_misspelt_parameter_is_answered_with_the_nearest() -> None:
    problems = check_parameters("velero", {"bucketArn": "x", **samples("velero")}, "aws")
    assert described(problems) == [("bucketArn", "an unknown parameter")], "a parameter nobody reads is no parameter"
    assert problems[0].change == "did you mean bucketArns?", "the nearest name is offered"
    assert check_parameters("vpc-cni-ipv6", {"zone": "x"}, "aws")[0].allowed == "no parameter", (
        "a policy without parameters says so"
    )


def test_all_problems_come_at_once_and_in_four_parts() -> None:
    problems = check_parameters("karpenter", {"region": "Ireland", "account": "x"}, "aws")
    assert {problem.parameter for problem in problems} == {
        "account",
        "accountId",
        "clusterName",
        "nodeRoleArns",
        "region",
    }, "nobody has to try again for the next one"
    region = next(problem for problem in problems if problem.parameter == "region")
    assert str(region) == (
        "not a region: Ireland; allowed: a region, such as eu-west-1; change: write it as in eu-west-1"
    ), "what is wrong, the value, what is allowed, what to change"


arn_parameters = [(name, each.name) for name in written for each in parameters_of(name) if each.is_list]


@pytest.mark.parametrize(("name", "parameter"), arn_parameters)
def test_no_parameter_takes_all_regions_accounts_or_resources(name: str, parameter: str) -> None:
    parts = samples(name)[parameter][0].split(":", 5)
    for position in (3, 4, 5):
        wide = ":".join([*parts[:position], "*", *parts[position + 1 :]])
        problems = check_parameters(name, {**samples(name), parameter: [wide]}, "aws")
        assert described(problems) == [(parameter, "a wildcard where none may stand")], f"{wide} is no narrowing"


def test_an_unknown_name_is_answered_with_the_nearest_and_all() -> None:
    with pytest.raises(ValueError, match="unknown ready-made policy") as refused:
        policy_document("aws-load-balacner-controller", partition="aws")
    message = str(refused.value)
    assert "'aws-load-balacner-controller'" in message, "the message has the value given"
    assert f"allowed: {', '.join(policy_names())}" in message, "the message has every name"
    assert f"change: write '{CONTROLLER}'" in message, "the message has the nearest name"
