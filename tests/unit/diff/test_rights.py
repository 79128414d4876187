"""A policy says what it allows, however it is written."""

from __future__ import annotations

import json

import pytest

from preflight.policies import MalformedError
from preflight.rights import canonical, compared, is_policy, rights

HOST = "oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF"


def policy(*statements):
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(action, resource="*", **other):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **other}


def trust(*subjects, operator="StringEquals"):
    return policy(
        {
            "Effect": "Allow",
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Principal": {"Federated": f"arn:aws:iam::111122223333:oidc-provider/{HOST}"},
            "Condition": {
                operator: {f"{HOST}:sub": list(subjects)},
                "StringEquals" if operator != "StringEquals" else "ForAnyValue:StringEquals": {
                    f"{HOST}:aud": "sts.amazonaws.com"
                },
            },
        }
    )


def told(before, after):
    gained, lost = compared(rights(before), rights(after))
    return [str(one) for one in gained], [str(one) for one in lost]


def test_one_action_more_is_one_right_gained():
    before, after = policy(allow("s3:GetObject")), policy(allow(["s3:GetObject", "s3:PutObject"], "*"))

    assert told(before, after) == (["may s3:PutObject on everything"], [])


def test_another_resource_is_a_right_gained_and_one_lost():
    before, after = policy(allow("s3:GetObject", "arn:aws:s3:::a/*")), policy(allow("s3:GetObject", "arn:aws:s3:::b/*"))

    assert told(before, after) == (
        ["may s3:GetObject on arn:aws:s3:::b/*"],
        ["may s3:GetObject on arn:aws:s3:::a/*"],
    )


def test_a_condition_that_goes_widens_a_right():
    limited = allow("s3:GetObject", Condition={"Bool": {"aws:SecureTransport": "true"}})

    assert told(policy(limited), policy(allow("s3:GetObject"))) == (["may s3:GetObject on everything"], [])
    assert told(policy(allow("s3:GetObject")), policy(limited)) == ([], ["may s3:GetObject on everything"])


def test_what_a_wildcard_already_allows_is_not_gained():
    assert told(policy(allow("s3:Get*")), policy(allow(["s3:Get*", "s3:GetObject"]))) == ([], [])
    assert told(policy(allow("s3:GetObject")), policy(allow("s3:*"))) == (["may s3:* on everything"], [])


def test_a_narrower_wildcard_is_only_a_loss():
    assert told(policy(allow("s3:*")), policy(allow("s3:Get*"))) == ([], ["may s3:* on everything"])


def test_a_deny_is_a_right_of_its_own_kind():
    deny = {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": "*"}

    assert told(policy(), policy(deny)) == (["may never s3:DeleteObject on everything"], [])


def test_all_but_some_actions_stay_together():
    most = {"Effect": "Allow", "NotAction": ["iam:*", "sts:*"], "Resource": "*"}

    assert told(policy(), policy(most))[0] == ["may everything but iam:*, sts:* on everything"]


def test_each_subject_of_a_trust_policy_is_one_right():
    gained, lost = told(trust("system:serviceaccount:a:one"), trust("system:serviceaccount:a:two"))

    assert [line.partition(",")[0] for line in gained] == ["admits system:serviceaccount:a:two"]
    assert [line.partition(",")[0] for line in lost] == ["admits system:serviceaccount:a:one"]
    assert f"tokens of {HOST}" in gained[0]


def test_a_subject_pattern_is_called_one():
    gained, _ = told(trust(), trust("system:serviceaccount:a:*", operator="StringLike"))

    assert gained[0].startswith("admits whoever is like system:serviceaccount:a:*, ")


def test_who_may_assume_a_role_is_named():
    service = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}
    anybody = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": "*"}

    assert told(policy(), policy(service, anybody))[0] == [
        "admits anybody to sts:AssumeRole",
        "admits service ec2.amazonaws.com to sts:AssumeRole",
    ]


def test_a_policy_of_a_bucket_has_principals_and_resources():
    bucket = allow("s3:GetObject", "arn:aws:s3:::data/*", Principal={"AWS": "arn:aws:iam::111122223333:root"})

    assert told(policy(), policy(bucket))[0] == [
        "admits arn:aws:iam::111122223333:root to s3:GetObject on arn:aws:s3:::data/*"
    ]


def test_a_single_statement_needs_no_list():
    assert rights({"Version": "2012-10-17", "Statement": allow("s3:GetObject")}) == rights(
        policy(allow("s3:GetObject"))
    )


@pytest.mark.parametrize("document", ["no JSON", '{"Statement": 3}', policy({"Effect": "Allow", "Action": "s3:*"})])
def test_what_iam_would_refuse_is_refused(document):
    with pytest.raises(MalformedError):
        rights(document)


def test_order_and_lists_of_one_are_ways_of_writing():
    one = policy(allow(["s3:B", "s3:A"], "*"), allow("ec2:C"))
    other = policy(allow(["ec2:C"]), allow(["s3:A", "s3:B"], ["*"]))

    assert canonical(json.dumps(one)) == canonical(other)
    assert canonical(one) != canonical(policy(allow(["s3:A"]), allow("ec2:C")))


def test_a_policy_is_told_from_other_text():
    assert is_policy(json.dumps(policy()))
    assert is_policy(policy())
    assert not any(map(is_policy, ["Statement", '"Statement" of account', '{"a": "\\"Statement\\""}', 3, None]))
