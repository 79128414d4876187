"""Whether a call over VPC Lattice is admitted: the network's policy, the service's, and the caller's own."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflight.calls import AWS_IAM, INVOKE, NONE, Caller, Guard, Verdict, judge
from preflight.policies import Cause

ACCOUNT = "111122223333"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/client"
ARN = f"arn:aws:vpc-lattice:eu-central-1:{ACCOUNT}:service/*/*"
ALLOW = {"Effect": "Allow", "Action": INVOKE, "Resource": "*"}
TAGS = {"eks-cluster-name": "cluster1", "kubernetes-namespace": "apps", "kubernetes-pod-name": None}
CLIENT = Caller(ROLE, TAGS, {"invoke": {"Statement": ALLOW}})
UNSIGNED = Caller()

Json = dict[str, Any]


def policy(*statements: Json) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(principal: Any = "*", **condition: Any) -> Json:
    return {**ALLOW, "Principal": principal, **({"Condition": condition} if condition else {})}


SIGNED_ONLY = policy(allow(StringNotEqualsIgnoreCase={"aws:PrincipalType": "anonymous"}))
NETWORK = Guard("network", AWS_IAM, SIGNED_ONLY)


def admits(cluster: str = "cluster1", namespace: str = "apps", **more: Any) -> str:
    tags = {"aws:PrincipalTag/eks-cluster-name": cluster, "aws:PrincipalTag/kubernetes-namespace": namespace}
    return policy(allow({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, StringEquals={**tags, **more}))


def call(caller: Caller = CLIENT, network: Guard = NETWORK, service: str | None = None, auth: str = AWS_IAM) -> Verdict:
    return judge(caller, (network, Guard("service", auth, service)), ARN)


def test_a_caller_whom_network_service_and_own_policies_allow_is_admitted_and_the_service_is_named():
    verdict = call(service=admits())
    assert (verdict.word, verdict.judge) == ("admitted", "service"), verdict.decision.reason
    assert verdict.decision.caveats == (), "nothing that the policies ask for is left open"


@pytest.mark.parametrize(
    ("caller", "network", "service", "judged", "words"),
    [
        (CLIENT, NETWORK, admits("cluster2"), "service", 'wants "cluster2", the request says "cluster1"'),
        (CLIENT, NETWORK, admits(namespace="shop"), "service", 'wants "shop", the request says "apps"'),
        (UNSIGNED, NETWORK, admits(), "network", "aws:PrincipalType"),
        (CLIENT, Guard("network", AWS_IAM), admits(), "network", "no auth policy"),
        (CLIENT, NETWORK, None, "service", "no auth policy"),
        (CLIENT, Guard("network", AWS_IAM, "{"), admits(), "network", "AWS would refuse"),
        (replace(CLIENT, policies={}), NETWORK, admits(), "own policies", "no Allow"),
        (replace(CLIENT, tags={}), NETWORK, admits(), "service", "carries no such key"),
        (replace(CLIENT, role_arn=ROLE.replace(ACCOUNT, "444455556666")), NETWORK, admits(), "service", "444455556666"),
        (CLIENT, NETWORK, admits(**{"aws:PrincipalArn": ROLE + "2"}), "service", "aws:PrincipalArn"),
    ],
)
def test_a_call_is_refused_by_the_first_that_does_not_allow_it(
    caller: Caller, network: Guard, service: str | None, judged: str, words: str
):
    verdict = call(caller, network, service)
    assert (verdict.word, verdict.judge) == ("refused", judged), verdict.decision.reason
    assert words in verdict.decision.reason


DENY_ALL = {**ALLOW, "Effect": "Deny"}


@pytest.mark.parametrize(
    ("caller", "network", "service", "judged"),
    [
        (CLIENT, policy(allow(), {**DENY_ALL, "Principal": "*"}), admits(), "network"),
        (CLIENT, policy(), policy(allow(), {**DENY_ALL, "Principal": "*"}), "service"),
        (replace(CLIENT, policies={"deny": {"Statement": DENY_ALL}}), SIGNED_ONLY, admits("cluster2"), "own policies"),
    ],
)
def test_a_deny_decides_before_anything_else(caller: Caller, network: str, service: str, judged: str):
    verdict = call(caller, Guard("network", AWS_IAM, network), service)
    assert (verdict.judge, verdict.decision.cause) == (judged, Cause.DENIED)


def test_a_service_without_authentication_leaves_the_choice_to_the_network():
    assert call(auth=NONE).word == "admitted"
    assert call(UNSIGNED, auth=NONE).judge == "network", "the network still wants a signature"


def test_where_neither_network_nor_service_asks_anybody_gets_through_signed_or_not():
    for caller in (CLIENT, UNSIGNED, replace(CLIENT, policies={})):
        assert call(caller, Guard("network", NONE), auth=NONE).word == "admitted"


def test_what_a_policy_without_effect_says_is_not_read():
    assert call(UNSIGNED, Guard("network", NONE, policy()), policy(), NONE).word == "admitted"


def test_an_anonymous_caller_is_let_in_by_a_policy_for_everybody():
    open_to_all = policy(allow())
    assert call(UNSIGNED, Guard("network", AWS_IAM, open_to_all), open_to_all).word == "admitted"


def test_a_network_of_another_stack_leaves_the_call_undecided():
    verdict = call(network=Guard("network", ""), service=admits())
    assert (verdict.word, verdict.judge) == ("undecided", "network")


def test_a_refusal_that_is_certain_counts_more_than_a_network_that_is_not_known():
    assert call(network=Guard("network", ""), service=admits("cluster2")).judge == "service"


def test_the_managed_policy_for_invoking_is_known():
    managed = replace(CLIENT, policies={"VPCLatticeServicesInvokeAccess": None})
    assert call(managed, service=admits()).word == "admitted"


def test_a_policy_whose_text_is_nowhere_leaves_the_call_undecided_and_is_named():
    verdict = call(replace(CLIENT, policies={"ReadOnlyAccess": None}), service=admits())
    assert (verdict.word, verdict.judge) == ("undecided", "own policies")
    assert "ReadOnlyAccess" in verdict.decision.reason


def test_a_right_on_one_service_is_undecided_for_a_service_that_has_no_id_yet():
    one = {**ALLOW, "Resource": f"arn:aws:vpc-lattice:eu-central-1:{ACCOUNT}:service/svc-0123456789abcdef0/*"}
    own = {"every service": ARN, "one service": one["Resource"], "another account": ARN.replace(ACCOUNT, "4" * 12)}
    words = {
        what: call(replace(CLIENT, policies={"own": {"Statement": {**ALLOW, "Resource": arn}}}), service=admits()).word
        for what, arn in own.items()
    }
    assert words == {"every service": "admitted", "one service": "undecided", "another account": "refused"}


def test_a_condition_on_what_only_the_call_itself_says_leaves_it_undecided():
    assert call(service=policy(allow(StringEquals={"vpc-lattice-svcs:RequestMethod": "GET"}))).word == "undecided"
    assert call(service=admits(**{"aws:PrincipalTag/kubernetes-pod-name": "web"})).word == "undecided"


# ---- laws ------------------------------------------------------------------------------------------------------------

conditions = st.sampled_from(
    [
        {},
        {"StringEquals": {"aws:PrincipalTag/eks-cluster-name": "cluster1"}},
        {"StringEquals": {"aws:PrincipalTag/eks-cluster-name": "cluster2"}},
        {"StringLike": {"aws:PrincipalArn": "*/client"}},
        {"ArnLike": {"aws:PrincipalArn": ROLE}},
        {"StringNotEqualsIgnoreCase": {"aws:PrincipalType": "anonymous"}},
        {"StringEquals": {"vpc-lattice-svcs:RequestMethod": "GET"}},
    ]
)
principals = st.sampled_from(["*", {"AWS": ROLE}, {"AWS": ACCOUNT}, {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}])
effects = st.sampled_from(["Allow", "Deny"])
statements = st.builds(
    lambda effect, principal, condition: {**ALLOW, "Effect": effect, "Principal": principal, "Condition": condition},
    effects,
    principals,
    conditions,
)
documents = st.lists(statements, max_size=3)
callers = st.sampled_from(
    [CLIENT, UNSIGNED, replace(CLIENT, tags={}), replace(CLIENT, policies={}), replace(CLIENT, role_arn=ROLE + "2")]
)


def admitted(caller: Caller, network: list[Json], service: list[Json]) -> bool:
    return call(caller, Guard("network", AWS_IAM, policy(*network)), policy(*service)).decision.admitted


@given(caller=callers, network=documents, service=st.lists(statements, min_size=1, max_size=3), data=st.data())
def test_taking_an_allow_away_never_admits(
    caller: Caller, network: list[Json], service: list[Json], data: st.DataObject
):
    gone = data.draw(st.integers(0, len(service) - 1))
    if service[gone]["Effect"] == "Allow":
        less = [each for number, each in enumerate(service) if number != gone]
        assert admitted(caller, network, service) >= admitted(caller, network, less)


@given(caller=callers, network=documents, service=documents, deny=statements)
def test_another_deny_never_admits(caller: Caller, network: list[Json], service: list[Json], deny: Json):
    more = [*service, {**deny, "Effect": "Deny"}]
    assert admitted(caller, network, service) >= admitted(caller, network, more)
    assert admitted(caller, service, network) >= admitted(caller, more, network)


@given(caller=callers, network=documents, service=documents)
def test_network_and_service_have_the_same_say(caller: Caller, network: list[Json], service: list[Json]):
    assert admitted(caller, network, service) == admitted(caller, service, network)


@given(caller=callers, service=documents, randoms=st.randoms())
def test_the_order_of_statements_never_matters(caller: Caller, service: list[Json], randoms: Any):
    shuffled = randoms.sample(service, len(service))
    assert call(caller, service=policy(*service)).word == call(caller, service=policy(*shuffled)).word


@given(caller=callers, network=documents, service=documents)
def test_a_refusal_always_says_why(caller: Caller, network: list[Json], service: list[Json]):
    verdict = call(caller, Guard("network", AWS_IAM, policy(*network)), policy(*service))
    assert verdict.decision.reason, f"{verdict.judge} has to say why it is {verdict.word}"
