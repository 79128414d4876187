import fnmatch
import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws
from moto.iam.access_control import IAMPolicy, PermissionResult

from preflight.access import (
    OidcProvider,
    PodIdentitySession,
    RoleSession,
    ServiceCall,
    WebIdentityToken,
    allows,
    may_assume,
)
from preflight.policies import Cause, Condition, holds

HOST = "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
OTHER_HOST = "oidc.eks.eu-central-1.amazonaws.com/id/FEDCBA9876543210FEDCBA9876543210"
ACCOUNT, OTHER_ACCOUNT = "111122223333", "444455556666"
AUDIENCE = "sts.amazonaws.com"
SUBJECT = "system:serviceaccount:kube-system:aws-load-balancer-controller"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/controller"
CLUSTER = f"arn:aws:eks:eu-central-1:{ACCOUNT}:cluster/dev"


def provider_arn(host: str = HOST, account: str = ACCOUNT) -> str:
    return f"arn:aws:iam::{account}:oidc-provider/{host}"


PROVIDER = OidcProvider(provider_arn(), f"https://{HOST}", (AUDIENCE,))
TOKEN = WebIdentityToken(f"https://{HOST}", SUBJECT)
SESSION = PodIdentitySession(CLUSTER, "team-a", "worker")

Json = dict[str, Any]


def policy(*statements: Json) -> Json:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def statement(**changes: Any) -> Json:
    """A statement that admits TOKEN and nobody else; a change to None takes an element away."""
    whole = {
        "Effect": "Allow",
        "Principal": {"Federated": PROVIDER.arn},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{HOST}:sub": SUBJECT, f"{HOST}:aud": AUDIENCE}},
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def trusting(subject: Any = SUBJECT, *, key: str = HOST, operator: str = "StringEquals", **changes: Any) -> Json:
    if operator == "StringEquals":
        condition = {operator: {f"{key}:sub": subject, f"{key}:aud": AUDIENCE}}
    else:
        condition = {operator: {f"{key}:sub": subject}, "StringEquals": {f"{key}:aud": AUDIENCE}}
    return policy(statement(Condition=condition, **changes))


def pod_identity(*actions: str, **condition: Any) -> Json:
    principal = {"Service": "pods.eks.amazonaws.com"}
    actions = actions or ("sts:AssumeRole", "sts:TagSession")
    return policy(statement(Principal=principal, Action=list(actions), Condition=condition or None))


def assumed_by(principal: Any, **condition: Any) -> Json:
    return policy(statement(Principal=principal, Action="sts:AssumeRole", Condition=condition or None))


SERVER = RoleSession(f"arn:aws:iam::{ACCOUNT}:role/kiam/server")

# Sentence: trust policy, caller.
ADMITTED: dict[str, tuple[Json, Any]] = {
    "exact subject and audience": (trusting(), TOKEN),
    "one of several subjects": (trusting(["system:serviceaccount:a:b", SUBJECT]), TOKEN),
    "a wildcard under StringLike": (trusting("system:serviceaccount:kube-system:*", operator="StringLike"), TOKEN),
    "one character under StringLike": (trusting(SUBJECT[:-1] + "?", operator="StringLike"), TOKEN),
    "a condition key in lower case": (trusting(key=HOST.lower()), TOKEN),
    "an unwanted audience excluded": (
        policy(statement(Condition={"StringNotEquals": {f"{HOST}:aud": "pods.eks.amazonaws.com"}})),
        TOKEN,
    ),
    "a key that must be there": (policy(statement(Condition={"Null": {f"{HOST}:sub": "false"}})), TOKEN),
    "a missing key under IfExists": (
        policy(statement(Condition={"StringEqualsIfExists": {f"{HOST}:email": "a@example.com"}})),
        TOKEN,
    ),
    "a missing key under ForAllValues": (
        policy(statement(Condition={"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}})),
        TOKEN,
    ),
    "a second statement for this cluster": (
        policy(
            statement(Principal={"Federated": provider_arn(OTHER_HOST)}, Condition=None),
            statement(),
        ),
        TOKEN,
    ),
    "anybody": (policy(statement(Principal="*")), TOKEN),
    "Pod Identity without a condition": (pod_identity(), SESSION),
    "Pod Identity for a namespace and an account": (
        pod_identity(
            StringEquals={
                "aws:RequestTag/kubernetes-namespace": "team-a",
                "aws:RequestTag/kubernetes-service-account": "worker",
                "aws:RequestTag/eks-cluster-name": "dev",
            },
            ArnEquals={"aws:SourceArn": CLUSTER},
        ),
        SESSION,
    ),
    "Pod Identity for a list of tag keys": (
        pod_identity(**{"ForAnyValue:StringEquals": {"aws:TagKeys": ["eks-cluster-arn", "team"]}}),
        SESSION,
    ),
    "Pod Identity without tags and without sts:TagSession": (
        pod_identity("sts:AssumeRole"),
        PodIdentitySession(CLUSTER, "team-a", "worker", tagged=False),
    ),
    "a role by its ARN": (assumed_by({"AWS": SERVER.role_arn}), SERVER),
    "a role by its account's number": (assumed_by({"AWS": ACCOUNT}), SERVER),
    "a role by its account's root": (assumed_by({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}), SERVER),
    "a role by a pattern on its ARN": (
        assumed_by({"AWS": "*"}, ArnLike={"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/kiam/*"}),
        SERVER,
    ),
    "a role with the external id": (
        assumed_by({"AWS": SERVER.role_arn}, StringEquals={"sts:ExternalId": "secret"}),
        RoleSession(SERVER.role_arn, "secret"),
    ),
    "the EC2 service": (assumed_by({"Service": "ec2.amazonaws.com"}), ServiceCall("ec2.amazonaws.com")),
}

# Sentence: trust policy, caller, cause, words of the reason.
REFUSED: dict[str, tuple[Json, Any, Cause, str]] = {
    "another service account": (trusting(SUBJECT + "2"), TOKEN, Cause.VALUE, "another service account"),
    "another namespace": (
        trusting("system:serviceaccount:default:aws-load-balancer-controller"),
        TOKEN,
        Cause.VALUE,
        'wants "system:serviceaccount:default:aws-load-balancer-controller", the token says "system:serviceaccount:',
    ),
    "a doubled prefix": (trusting("system:serviceaccount:" + SUBJECT), TOKEN, Cause.VALUE, "stands there twice"),
    "another case": (trusting(SUBJECT.upper()), TOKEN, Cause.VALUE, "the case of letters"),
    "a trailing blank": (trusting(SUBJECT + " "), TOKEN, Cause.VALUE, "blanks"),
    "a wildcard under StringEquals": (
        trusting("system:serviceaccount:kube-system:*"),
        TOKEN,
        Cause.WILDCARD,
        "literal character: use StringLike",
    ),
    "a key with its scheme": (trusting(key=f"https://{HOST}"), TOKEN, Cause.KEY_SCHEME, f"write {HOST}"),
    "a key that is a whole ARN": (trusting(key=PROVIDER.arn), TOKEN, Cause.KEY_ARN, f"write {HOST}"),
    "a key of another cluster": (trusting(key=OTHER_HOST), TOKEN, Cause.KEY_ISSUER, f"this token's is {HOST}"),
    "the provider of another cluster": (
        trusting(Principal={"Federated": provider_arn(OTHER_HOST)}),
        TOKEN,
        Cause.PRINCIPAL,
        f"not Federated {PROVIDER.arn}",
    ),
    "the provider of another account": (
        trusting(Principal={"Federated": provider_arn(account=OTHER_ACCOUNT)}),
        TOKEN,
        Cause.PRINCIPAL,
        OTHER_ACCOUNT,
    ),
    "sts:AssumeRole for a token": (
        trusting(Action="sts:AssumeRole"),
        TOKEN,
        Cause.ACTION,
        "names sts:AssumeRole, not sts:AssumeRoleWithWebIdentity",
    ),
    "a claim that EKS does not give": (
        policy(statement(Condition={"StringEquals": {f"{HOST}:email": "a@example.com"}})),
        TOKEN,
        Cause.KEY_ABSENT,
        "carries no such key",
    ),
    "a present key that must be absent": (
        policy(statement(Condition={"Null": {f"{HOST}:sub": "true"}})),
        TOKEN,
        Cause.VALUE,
        "the key is present",
    ),
    "a calling resource, which a token has not": (
        policy(statement(Condition={"ArnLike": {"aws:SourceArn": "*:*:*:*:*:*"}})),
        TOKEN,
        Cause.KEY_ABSENT,
        "aws:SourceArn",
    ),
    "a calling account, which a token has not": (
        policy(statement(Condition={"StringLike": {"aws:SourceAccount": "*"}})),
        TOKEN,
        Cause.KEY_ABSENT,
        "aws:SourceAccount",
    ),
    "an external id, which a token has not": (
        policy(statement(Condition={"StringLike": {"sts:ExternalId": "*"}})),
        TOKEN,
        Cause.KEY_ABSENT,
        "sts:ExternalId",
    ),
    "transitive tags, which a token has not": (
        policy(statement(Condition={"ForAnyValue:StringLike": {"sts:TransitiveTagKeys": "*"}})),
        TOKEN,
        Cause.KEY_ABSENT,
        "sts:TransitiveTagKeys",
    ),
    "a calling resource, of which a service may have one": (
        assumed_by({"Service": "ec2.amazonaws.com"}, ArnLike={"aws:SourceArn": "*:*:*:*:*:*"}),
        ServiceCall("ec2.amazonaws.com"),
        Cause.UNDECIDED,
        "aws:SourceArn",
    ),
    "a role's own tag": (
        assumed_by({"AWS": SERVER.role_arn}, StringEquals={"aws:PrincipalTag/team": "a"}),
        SERVER,
        Cause.UNDECIDED,
        "aws:PrincipalTag/team",
    ),
    "the audience of another partition": (
        policy(statement(Condition={"StringEquals": {f"{HOST}:aud": "sts.amazonaws.com.cn"}})),
        TOKEN,
        Cause.VALUE,
        'wants "sts.amazonaws.com.cn", the token says "sts.amazonaws.com"',
    ),
    "a subject that is excluded by its exact name": (
        policy(statement(Condition={"StringNotEquals": {f"{HOST}:sub": SUBJECT}})),
        TOKEN,
        Cause.VALUE,
        f'excludes "{SUBJECT}"',
    ),
    "every federated principal": (
        trusting(Principal={"Federated": "*"}),
        TOKEN,
        Cause.UNDECIDED,
        "Principal Federated * is undecided",
    ),
    "an excluded subject": (
        policy(statement(Condition={"StringNotLike": {f"{HOST}:sub": "system:serviceaccount:kube-system:*"}})),
        TOKEN,
        Cause.VALUE,
        "excludes",
    ),
    "a Deny beside the Allow": (
        policy(statement(), statement(Effect="Deny", Sid="Closed", Condition=None)),
        TOKEN,
        Cause.DENIED,
        "statement 2 (Closed)",
    ),
    "no Allow at all": (
        policy(statement(Effect="Deny", Principal={"AWS": "*"}, Condition={"Null": {f"{HOST}:sub": "true"}})),
        TOKEN,
        Cause.NO_ALLOW,
        "no Allow",
    ),
    "an operator that is not evaluated": (
        policy(statement(Condition={"NumericEquals": {f"{HOST}:sub": "1"}})),
        TOKEN,
        Cause.UNDECIDED,
        "not evaluated",
    ),
    "the caller's address": (
        policy(statement(Condition={"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}})),
        TOKEN,
        Cause.UNDECIDED,
        "undecided",
    ),
    "a policy variable": (trusting("${aws:username}"), TOKEN, Cause.UNDECIDED, "policy variable"),
    "Pod Identity without sts:TagSession": (
        pod_identity("sts:AssumeRole"),
        SESSION,
        Cause.TAG_SESSION,
        "sts:TagSession is refused",
    ),
    "Pod Identity for another namespace": (
        pod_identity(StringEquals={"aws:RequestTag/kubernetes-namespace": "team-b"}),
        SESSION,
        Cause.VALUE,
        'wants "team-b", the request says "team-a"',
    ),
    "Pod Identity by tags that only later requests have": (
        pod_identity(StringEquals={"aws:PrincipalTag/kubernetes-namespace": "team-a"}),
        SESSION,
        Cause.KEY_ABSENT,
        "aws:PrincipalTag/kubernetes-namespace",
    ),
    "Pod Identity by tags that the association disables": (
        pod_identity(StringEquals={"aws:RequestTag/kubernetes-namespace": "team-a"}),
        PodIdentitySession(CLUSTER, "team-a", "worker", tagged=False),
        Cause.KEY_ABSENT,
        "carries no such key",
    ),
    "Pod Identity by a pod's name": (
        pod_identity(StringEquals={"aws:RequestTag/kubernetes-pod-name": "worker-0"}),
        SESSION,
        Cause.UNDECIDED,
        "only when the request is made",
    ),
    "Pod Identity where a token is trusted": (
        trusting(),
        SESSION,
        Cause.PRINCIPAL,
        "not Service pods.eks.amazonaws.com",
    ),
    "a token where Pod Identity is trusted": (pod_identity(), TOKEN, Cause.PRINCIPAL, "names Service pods.eks"),
    "a role of another name": (assumed_by({"AWS": ROLE}), SERVER, Cause.PRINCIPAL, SERVER.role_arn),
    "a role without its path": (
        assumed_by({"AWS": SERVER.role_arn.replace("/kiam", "")}),
        SERVER,
        Cause.PRINCIPAL,
        "not AWS",
    ),
    "a wildcard inside a principal": (
        assumed_by({"AWS": f"arn:aws:iam::{ACCOUNT}:role/*"}),
        SERVER,
        Cause.PRINCIPAL,
        "a wildcard inside a principal matches nothing",
    ),
    "a role without the external id": (
        assumed_by({"AWS": ACCOUNT}, StringEquals={"sts:ExternalId": "secret"}),
        SERVER,
        Cause.KEY_ABSENT,
        "sts:ExternalId",
    ),
    "a principal ARN pattern across colons": (
        assumed_by({"AWS": "*"}, ArnLike={"aws:PrincipalArn": "arn:aws:iam:*:role/kiam/server:*:x"}),
        SERVER,
        Cause.VALUE,
        "the request says",
    ),
    "another service": (
        assumed_by({"Service": "ec2.amazonaws.com"}),
        ServiceCall("eks.amazonaws.com"),
        Cause.PRINCIPAL,
        "ec2",
    ),
}

# Sentence: document that IAM refuses, words of the reason.
MALFORMED: dict[str, tuple[Any, str]] = {
    "an Output turned into text": ("Calling __str__ on an Output[T] is not supported.", "an Output turned into text"),
    "no JSON": ("{", "no JSON"),
    "a list": ("[]", "must be an object"),
    "no statement": ({"Version": "2012-10-17"}, "statement 1 is null"),
    "a misspelt element": (policy({**statement(), "Conditions": {}}), '"Conditions"'),
    "a misspelt element at the top": ({**policy(statement()), "Statements": []}, '"Statements"'),
    "no effect": (policy(statement(Effect=None)), "Effect null"),
    "another effect": (policy(statement(Effect="Permit")), '"Permit"'),
    "no action": (policy(statement(Action=None)), "Action and NotAction"),
    "two kinds of action": (policy(statement(NotAction="sts:*")), "Action and NotAction"),
    "a resource": (policy(statement(Resource="*")), "Resource and NotResource"),
    "a condition without an operator": (policy(statement(Condition={f"{HOST}:aud": AUDIENCE})), "must be an object"),
    "an object for a value": (policy(statement(Condition={"StringEquals": {"a": {}}})), "must be text"),
}


def decide(trust: Any, caller: Any = TOKEN) -> Any:
    return may_assume(trust, caller, [PROVIDER], ROLE)


@pytest.mark.parametrize(("trust", "caller"), ADMITTED.values(), ids=ADMITTED)
def test_a_trust_policy_admits_the_caller_that_it_names_by(trust: Json, caller: Any):
    decision = decide(trust, caller)
    assert decision.admitted, f"must be admitted, but {decision.reason}"
    assert decision.misses == (), "an admission has nothing to mend"
    assert not decision.undecided, "an admission is certain"


@pytest.mark.parametrize(("trust", "caller", "cause", "words"), REFUSED.values(), ids=REFUSED)
def test_a_trust_policy_refuses_and_names_the_reason_for(trust: Json, caller: Any, cause: Cause, words: str):
    decision = decide(trust, caller)
    assert not decision.admitted, f"must be refused, but {decision.reason}"
    assert decision.cause is cause, f"the first thing to mend is {cause!r}: {decision.reason}"
    assert words in decision.reason, "the reason says what to look at"
    assert decision.undecided == (cause is Cause.UNDECIDED), "undecided means that nothing is certainly wrong"


@pytest.mark.parametrize(("document", "words"), MALFORMED.values(), ids=MALFORMED)
def test_a_document_that_iam_would_refuse_admits_nobody_because_it_has(document: Any, words: str):
    decision = decide(document)
    assert decision.cause is Cause.MALFORMED, decision.reason
    assert words in decision.reason, "the reason quotes what is wrong"


# ---- the provider ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("providers", "cause", "words"),
    [
        ([], Cause.NO_PROVIDER, f"https://{HOST}"),
        ([OidcProvider(provider_arn(OTHER_HOST), OTHER_HOST, (AUDIENCE,))], Cause.NO_PROVIDER, OTHER_HOST),
        ([OidcProvider(provider_arn(account=OTHER_ACCOUNT), HOST, (AUDIENCE,))], Cause.NO_PROVIDER, OTHER_ACCOUNT),
        ([OidcProvider(PROVIDER.arn, HOST, ("sts.amazonaws.com.cn",))], Cause.AUDIENCE, "sts.amazonaws.com.cn"),
        ([OidcProvider(PROVIDER.arn, HOST, ())], Cause.AUDIENCE, "it accepts none"),
    ],
)
def test_a_token_needs_a_provider_in_the_roles_account_that_accepts_its_audience(
    providers: list[OidcProvider], cause: Cause, words: str
):
    decision = may_assume(trusting(), TOKEN, providers, ROLE)
    assert (decision.admitted, decision.cause) == (False, cause), decision.reason
    assert words in decision.reason, "the reason says what there is instead"


def test_an_unknown_provider_is_taken_for_granted_and_said_so():
    decision = may_assume(trusting(), TOKEN, None, ROLE)
    assert decision.admitted, decision.reason
    assert decision.caveats == (f"taken for granted: an OIDC provider for {HOST} that accepts {AUDIENCE}",)


def test_an_unknown_provider_is_not_taken_for_granted_in_another_account():
    decision = may_assume(trusting(), TOKEN, None, ROLE.replace(ACCOUNT, OTHER_ACCOUNT))
    assert decision.cause is Cause.PRINCIPAL, "a provider works only for the roles of its own account"


# ---- what stays open is said aloud -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "condition",
    [
        {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}},
        {"StringEqual": {f"{HOST}:sub": SUBJECT}},
        {"DateLessThan": {"aws:CurrentTime": "2027-01-01T00:00:00Z"}},
        {"ForSomeValues:StringEquals": {f"{HOST}:sub": SUBJECT}},
        {"StringNotEquals": {f"{HOST}:sub": "${aws:userid}"}},
        {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*"}},
    ],
)
def test_a_deny_that_cannot_be_decided_leaves_a_caveat(condition: Json):
    decision = decide(policy(statement(), statement(Effect="Deny", Condition=condition)))
    assert decision.admitted, decision.reason
    assert [c.partition(":")[0] for c in decision.caveats] == ["statement 2 could deny"], "nothing passes in silence"


def test_an_audience_is_not_compared_as_if_it_were_a_subject():
    trust = policy(statement(Condition={"StringEquals": {f"{HOST}:aud": "sts.amazonaws.com.cn"}}))
    assert decide(trust).reason.endswith('"sts.amazonaws.com"'), "there is nothing to add to the two values"


def test_a_variable_is_plain_text_before_version_2012_10_17():
    old = {**trusting("${aws:username}"), "Version": "2008-10-17"}
    assert decide(old).cause is Cause.VALUE, "a policy of 2008 has no variables"


def test_a_definite_failure_is_told_rather_than_what_is_undecided():
    condition = {"StringEquals": {f"{HOST}:sub": SUBJECT + "x"}, "IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}
    decision = decide(policy(statement(Condition=condition)))
    assert not decision.undecided, "one condition is false whatever the other one turns out to be"
    assert "SourceIp" not in decision.reason, "only what can be mended is told"


def test_the_nearest_statement_explains_the_refusal():
    elsewhere = statement(Principal={"Federated": provider_arn(OTHER_HOST)})
    decision = decide(policy(elsewhere, statement(Action="sts:AssumeRole"), *trusting(SUBJECT + "x")["Statement"]))
    assert decision.statement == "statement 3", "the third one lacks only the subject"


def test_notprincipal_does_not_spare_a_role_that_is_listed_without_its_session():
    spared = statement(
        Effect="Deny", Principal=None, NotPrincipal={"AWS": SERVER.role_arn}, Action="sts:*", Condition=None
    )
    decision = decide(policy(*assumed_by({"AWS": SERVER.role_arn})["Statement"], spared), SERVER)
    assert decision.admitted, decision.reason
    assert "statement 2 could deny" in "".join(decision.caveats), "AWS wants the account and the session listed too"


def test_notprincipal_denies_a_role_that_is_not_listed():
    others = statement(Effect="Deny", Principal=None, NotPrincipal={"AWS": ROLE}, Action="sts:*", Condition=None)
    decision = decide(policy(*assumed_by({"AWS": SERVER.role_arn})["Statement"], others), SERVER)
    assert decision.cause is Cause.DENIED, decision.reason


@pytest.mark.parametrize(
    ("principal", "role", "delegated"),
    [
        (SERVER.role_arn, ROLE, False),
        (ACCOUNT, ROLE, True),
        ([ACCOUNT, SERVER.role_arn], ROLE, False),
        (SERVER.role_arn, ROLE.replace(ACCOUNT, OTHER_ACCOUNT), True),
    ],
)
def test_a_callers_own_policies_are_asked_when_only_its_account_is_trusted_or_the_role_is_abroad(
    principal: Any, role: str, delegated: bool
):
    decision = may_assume(assumed_by({"AWS": principal}), SERVER, [], role)
    assert (decision.admitted, decision.delegated) == (True, delegated), decision.reason


def test_the_target_role_of_a_pod_identity_chain_can_ask_for_the_pods_tags():
    target = policy(
        statement(
            Principal={"AWS": ROLE},
            Action=["sts:AssumeRole", "sts:TagSession"],
            Condition={"StringEquals": {"aws:RequestTag/kubernetes-namespace": "team-a"}},
        )
    )
    assert may_assume(target, RoleSession(ROLE, tags=SESSION.tags)).admitted, "the tags of the session are transitive"
    assert not may_assume(target, RoleSession(ROLE)).admitted, "without the tags the condition fails"


# ---- identity policies -----------------------------------------------------------------------------------------------


def permitting(action: Any = "s3:GetObject", resource: Any = "*", **more: Any) -> Json:
    return policy({"Effect": "Allow", "Action": action, "Resource": resource, **more})


@pytest.mark.parametrize(
    ("document", "admitted"),
    [
        (permitting(), True),
        (permitting("S3:get*"), True),
        (permitting("s3:Put*"), False),
        (permitting(["ec2:*", "*"]), True),
        (permitting(resource="arn:aws:s3:::logs/*"), True),
        (permitting(resource="arn:aws:s3:::*"), True),
        (permitting(resource="arn:aws-cn:s3:::logs/*"), False),
        (policy({"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}), False),
        (policy({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}), True),
        (policy({"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::logs/*"}), False),
        (policy(*permitting()["Statement"], {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}), False),
    ],
)
def test_an_identity_may_do_what_an_allow_covers_and_no_deny_takes_away(document: Json, admitted: bool):
    decision = allows({"own": document}, "s3:GetObject", "arn:aws:s3:::logs/today")
    assert decision.admitted == admitted, decision.reason


def test_policies_of_an_identity_add_up_and_the_reason_names_the_one_that_decides():
    decision = allows({"first": permitting("ec2:*"), "second": permitting()}, "s3:GetObject")
    assert (decision.admitted, decision.statement) == (True, "second, statement 1"), decision.reason
    assert decision.reason == "second, statement 1 allows s3:GetObject on *"
    assert not decision.delegated, "its own policies are all that counts"


def test_of_a_statement_about_something_else_only_that_is_told():
    document = permitting(resource="arn:aws:s3:::logs/*", Condition={"StringEquals": {"s3:prefix": "a"}})
    decision = allows({"own": document}, "s3:GetObject", "arn:aws:s3:::data/x", {"s3:prefix": "b"})
    assert decision.cause is Cause.RESOURCE, decision.reason
    assert "s3:prefix" not in decision.reason, "the condition does not matter where the resource is another one"


def test_a_condition_key_that_the_request_does_not_mention_leaves_an_identity_policy_undecided():
    document = permitting("ec2:CreateTags", Condition={"Null": {"aws:RequestTag/elbv2.k8s.aws/cluster": "false"}})
    key = "aws:requesttag/elbv2.k8s.aws/cluster"
    assert allows({"own": document}, "ec2:CreateTags").undecided, "whether the tag is there is not known"
    assert allows({"own": document}, "ec2:CreateTags", context={key: "dev"}).admitted, "the tag is there"
    assert not allows({"own": document}, "ec2:CreateTags", context={key: []}).undecided, "the tag is absent"


def test_the_context_of_a_request_is_compared_with_the_conditions():
    document = permitting(Condition={"StringEquals": {"S3:Prefix": ["a", "b"]}})
    found = [allows({"own": document}, "s3:GetObject", context={"s3:prefix": text}).admitted for text in ("b", "c")]
    assert found == [True, False], "one of the values is enough, another is not"


def test_a_resource_with_a_variable_is_undecided():
    assert allows(
        {"own": permitting(resource="arn:aws:s3:::${aws:username}/*")}, "s3:GetObject", "arn:aws:s3:::x/y"
    ).undecided


def test_a_trust_policy_is_no_policy_of_an_identity():
    decision = allows({"own": trusting()}, "sts:AssumeRoleWithWebIdentity")
    assert decision.cause is Cause.MALFORMED, decision.reason


# ---- laws ------------------------------------------------------------------------------------------------------------

names = st.from_regex(r"[a-z]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
subjects = st.builds("system:serviceaccount:{}:{}".format, names, names)
# Small pools, so that statements and callers meet.
few_subjects = st.sampled_from(["system:serviceaccount:a:b", "system:serviceaccount:a:c", "system:serviceaccount:d:b"])
few_patterns = st.one_of(few_subjects, st.sampled_from(["system:serviceaccount:a:*", "*", "${aws:userid}", ""]))
operators = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "", "ForAnyValue:", "ForAllValues:"]),
    st.sampled_from(["StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "ArnLike", "NumericEquals"]),
    st.sampled_from(["", "", "IfExists"]),
)
keys = st.sampled_from([f"{HOST}:sub", f"{HOST}:sub", f"https://{HOST}:sub", f"{OTHER_HOST}:sub", "aws:SourceIp"])
conditions = st.dictionaries(
    operators, st.dictionaries(keys, st.lists(few_patterns, max_size=3), min_size=1, max_size=2), max_size=2
)
statements = st.builds(
    statement,
    Effect=st.sampled_from(["Allow", "Allow", "Deny"]),
    Principal=st.sampled_from([{"Federated": PROVIDER.arn}, {"Federated": provider_arn(OTHER_HOST)}, "*"]),
    Action=st.sampled_from(["sts:AssumeRoleWithWebIdentity", "sts:AssumeRole"]),
    Condition=conditions,
)
callers = st.builds(WebIdentityToken, st.just(f"https://{HOST}"), few_subjects)


@given(wanted=subjects, subject=subjects)
def test_an_exact_subject_admits_itself_and_nobody_else(wanted: str, subject: str):
    decision = decide(trusting(wanted), WebIdentityToken(TOKEN.issuer, subject))
    assert decision.admitted == (wanted == subject), decision.reason
    assert decide(trusting(subject), WebIdentityToken(TOKEN.issuer, subject)).admitted


@given(namespace=names, account=names, data=st.data())
def test_every_single_part_of_an_exact_wire_counts(namespace: str, account: str, data: st.DataObject):
    part = data.draw(st.sampled_from(["host", "namespace", "account", "audience", "provider account"]))
    other = data.draw(names.filter(lambda text: text not in {namespace, account}))
    trust = trusting(f"system:serviceaccount:{namespace}:{account}")
    host = other if part == "host" else HOST
    subject = [other if part == "namespace" else namespace, other if part == "account" else account]
    audience = other if part == "audience" else AUDIENCE
    token = WebIdentityToken(f"https://{host}", f"system:serviceaccount:{':'.join(subject)}", audience)
    arn = provider_arn(host, OTHER_ACCOUNT if part == "provider account" else ACCOUNT)
    decision = may_assume(trust, token, [OidcProvider(arn, host, (AUDIENCE, other))])
    assert not decision.admitted, f"another {part} must be refused"


@given(given_statements=st.lists(statements, min_size=1, max_size=4), deny=statements, caller=callers)
def test_another_deny_never_admits_more(given_statements: list[Json], deny: Json, caller: WebIdentityToken):
    more = [*given_statements, {**deny, "Effect": "Deny"}]
    assert decide(policy(*given_statements), caller).admitted >= decide(policy(*more), caller).admitted


@given(given_statements=st.lists(statements, min_size=1, max_size=4), allow=statements, caller=callers)
def test_another_allow_never_refuses_more(given_statements: list[Json], allow: Json, caller: WebIdentityToken):
    more = [*given_statements, {**allow, "Effect": "Allow"}]
    assert decide(policy(*given_statements), caller).admitted <= decide(policy(*more), caller).admitted


@given(allow=statements, caller=callers, data=st.data())
def test_an_allow_with_a_condition_less_never_refuses_more(allow: Json, caller: WebIdentityToken, data: st.DataObject):
    allow = {**allow, "Effect": "Allow"}
    fewer = dict(allow["Condition"])
    if fewer:
        del fewer[data.draw(st.sampled_from(sorted(fewer)))]
    assert decide(policy(allow), caller).admitted <= decide(policy({**allow, "Condition": fewer}), caller).admitted


@given(given_statements=st.lists(statements, min_size=1, max_size=4), caller=callers, randoms=st.randoms())
def test_order_never_matters(given_statements: list[Json], caller: WebIdentityToken, randoms: Any):
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shuffled(value[key]) for key in randoms.sample(sorted(value), len(value))}
        return randoms.sample(value, len(value)) if isinstance(value, list) else value

    other = policy(*(shuffled(s) for s in randoms.sample(given_statements, len(given_statements))))
    one, two = decide(policy(*given_statements), caller), decide(other, caller)
    assert (one.admitted, one.undecided) == (two.admitted, two.undecided)


@given(given_statements=st.lists(statements, max_size=4), caller=callers)
def test_a_refusal_always_says_why(given_statements: list[Json], caller: WebIdentityToken):
    decision = decide(policy(*given_statements), caller)
    assert decision.reason, "there is a sentence for every answer"
    assert decision.admitted == (decision.cause is None), "a refusal has something to mend, an admission has not"
    assert all(miss.text for miss in decision.misses)


@given(
    document=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["Version", "Statement", "Effect", "Principal", "Action", "Condition", "StringEquals"]),
                inner,
            )
        ),
    )
)
def test_no_document_however_odd_ends_in_a_traceback(document: Any):
    assert not decide(json.dumps(document)).admitted, "a random document admits nobody"
    assert not allows({"own": json.dumps(document)}, "s3:GetObject").admitted


texts = st.text("ab:*?", max_size=6)
present = st.lists(texts, min_size=1, max_size=3).map(tuple)


def outcome(operator: str, wanted: tuple[str, ...], got: tuple[str, ...] | None) -> bool | None:
    return holds(Condition(operator, "key", wanted, variables=True), got)


@given(pattern=texts, got=st.text("ab:*?[!", max_size=6))
def test_stringlike_matches_as_the_shell_does(pattern: str, got: str):
    assert outcome("StringLike", (pattern,), (got,)) == fnmatch.fnmatchcase(got, pattern)


@given(wanted=st.lists(st.text("abA:", max_size=4), max_size=3).map(tuple), got=st.text("abA:", max_size=4))
def test_stringlike_without_a_wildcard_is_stringequals(wanted: tuple[str, ...], got: str):
    assert outcome("StringLike", wanted, (got,)) == outcome("StringEquals", wanted, (got,))


@given(wanted=present, got=st.one_of(st.just(()), texts.map(lambda text: (text,))))
def test_a_negated_operator_is_the_contrary_of_its_own_and_true_for_a_missing_key(wanted: Any, got: Any):
    for plain in ("StringEquals", "StringEqualsIgnoreCase", "StringLike"):
        negated = plain.replace("String", "StringNot")
        assert outcome(negated, wanted, got) == (not outcome(plain, wanted, got)), negated


@given(wanted=present, got=present)
def test_for_any_value_and_for_all_values_are_each_others_contrary(wanted: Any, got: Any):
    assert outcome("ForAnyValue:StringLike", wanted, got) == (not outcome("ForAllValues:StringNotLike", wanted, got))


@given(wanted=present, got=present, operator=operators)
def test_ifexists_matters_only_where_the_key_is_absent(wanted: Any, got: Any, operator: str):
    operator = operator.removesuffix("IfExists")
    assert outcome(f"{operator}IfExists", wanted, got) == outcome(operator, wanted, got)


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("StringEquals", False),
        ("StringNotEquals", True),
        ("StringEqualsIfExists", True),
        ("StringNotEqualsIfExists", True),
        ("ForAllValues:StringEquals", True),
        ("ForAnyValue:StringEquals", False),
        ("ForAnyValue:StringNotEquals", False),
        ("ForAnyValue:StringEqualsIfExists", True),
        ("ArnLike", False),
        ("ArnNotLike", True),
        ("Bool", False),
        ("BoolIfExists", True),
        ("NumericEquals", None),
        ("NullIfExists", None),
    ],
)
def test_a_missing_key_counts_as_aws_documents_it(operator: str, expected: bool | None):
    assert outcome(operator, ("arn:a:b:c:d:e",), ()) is expected


@pytest.mark.parametrize(
    ("operator", "wanted", "got", "expected"),
    [
        ("StringEquals", "a", "A", False),
        ("StringEqualsIgnoreCase", "a", "A", True),
        ("StringNotEqualsIgnoreCase", "a", "A", False),
        ("Bool", "true", "True", True),
        ("Bool", "true", "false", False),
        ("ArnLike", "arn:aws:s:*:1:f/*", "arn:aws:s:r:1:f/d", True),
        ("ArnEquals", "arn:aws:s:*:1:f/*", "arn:aws:s:r:1:f/d", True),
        ("ArnLike", "arn:aws:s:*:1:f/*", "arn:aws:s:r:9:x:1:f/d", False),
        ("StringLike", "arn:aws:s:*:1:f/*", "arn:aws:s:r:9:x:1:f/d", True),
        ("ArnLike", "arn:aws:s:r:1:f:*", "arn:aws:s:r:1:f:d:e", True),
        ("ArnNotLike", "arn:aws:s:*:1:f/*", "arn:aws:s:r:1:f/d", False),
        ("ArnLike", "arn:*", "arn:aws:s:r:1:f/d", None),
        ("ArnLike", "arn:aws:s:*:1:f/*", "no ARN", False),
        ("stringequals", "a", "a", True),
    ],
)
def test_operators_compare_as_aws_documents_them(operator: str, wanted: str, got: str, expected: bool | None):
    assert outcome(operator, (wanted,), (got,)) is expected


def test_a_key_with_several_values_needs_a_set_operator():
    assert outcome("StringEquals", ("a",), ("a", "b")) is None, "AWS documents no answer without one"


@given(wanted=present, operator=operators)
def test_a_value_that_is_not_known_is_never_decided(wanted: Any, operator: str):
    assert outcome(operator, wanted, None) is None


# ---- independent judges ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def iam_takes() -> Iterator[Callable[[Any], None]]:
    """IAM's own check of a trust policy, as moto has it: raises ClientError for one that IAM refuses."""
    with mock_aws():
        iam = boto3.client("iam", "us-east-1")
        # Only the update is checked there, not the creation.
        iam.create_role(RoleName="judge", AssumeRolePolicyDocument="{}")

        def take(trust: Any) -> None:
            text = trust if isinstance(trust, str) else json.dumps(trust)
            iam.update_assume_role_policy(RoleName="judge", PolicyDocument=text)

        yield take


@pytest.mark.parametrize(
    "trust", [trust for trust, *_ in (*ADMITTED.values(), *REFUSED.values())], ids=[*ADMITTED, *REFUSED]
)
def test_every_trust_policy_judged_here_is_one_that_iam_takes(iam_takes: Callable[[Any], None], trust: Json):
    iam_takes(trust)


@pytest.mark.parametrize("document", [document for document, _ in MALFORMED.values()], ids=MALFORMED)
def test_every_document_called_malformed_is_one_that_iam_refuses(iam_takes: Callable[[Any], None], document: Any):
    with pytest.raises(ClientError, match="MalformedPolicyDocument"):
        iam_takes(document)


actions = st.sampled_from(["s3:GetObject", "s3:PutObject", "ec2:RunInstances"])
action_patterns = st.sampled_from(["s3:GetObject", "s3:*", "s3:Get*", "*", "*:*Object", "ec2:*", "iam:*"])
resources = st.sampled_from(["*", "arn:aws:s3:::logs/a", "arn:aws:s3:::data/b"])
resource_patterns = st.sampled_from(["*", "arn:aws:s3:::logs/*", "arn:aws:s3:::*", "arn:aws:s3:::data/b"])
own_statements = st.fixed_dictionaries(
    {
        "Effect": st.sampled_from(["Allow", "Allow", "Deny"]),
        "Action": st.lists(action_patterns, min_size=1, max_size=2),
        "Resource": st.lists(resource_patterns, min_size=1, max_size=2),
    }
)


@given(own=st.lists(own_statements, min_size=1, max_size=4), action=actions, resource=resources)
def test_an_identitys_rights_are_those_that_another_evaluator_finds(own: list[Json], action: str, resource: str):
    found = IAMPolicy(json.dumps(policy(*own))).is_action_permitted(action, resource)
    assert allows({"own": policy(*own)}, action, resource).admitted == (found is PermissionResult.PERMITTED)
