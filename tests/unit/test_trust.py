"""Trust policies and the names they are made of."""

import json

import pytest

from components.regions import ec2_service_of, is_region, partition_of, zone_letter
from components.service_account import ServiceAccountRef
from components.trust import issuer_of, pod_identity_statement, policy_text, service_statement, web_identity_statements

ISSUER = "oidc.eks.ap-northeast-2.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
PROVIDER = f"arn:aws:iam::111122223333:oidc-provider/{ISSUER}"
CONTROLLER = ServiceAccountRef(namespace="kube-system", name="aws-load-balancer-controller")


def test_a_web_identity_trust_admits_one_account_by_exact_subject_and_audience():
    assert web_identity_statements([CONTROLLER], [PROVIDER]) == [
        {
            "Effect": "Allow",
            "Principal": {"Federated": PROVIDER},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringEquals": {
                    f"{ISSUER}:aud": "sts.amazonaws.com",
                    f"{ISSUER}:sub": "system:serviceaccount:kube-system:aws-load-balancer-controller",
                }
            },
        }
    ]


def test_every_provider_gets_a_statement_with_its_own_condition_keys():
    other = PROVIDER.replace("0123", "FEDC")
    keys = [
        sorted(each["Condition"]["StringEquals"]) for each in web_identity_statements([CONTROLLER], [PROVIDER, other])
    ]
    assert keys == [[f"{ISSUER}:aud", f"{ISSUER}:sub"], [f"{issuer_of(other)}:aud", f"{issuer_of(other)}:sub"]]


@pytest.mark.parametrize("wrong", ["", f"https://{ISSUER}", "arn:aws:iam::111122223333:role/x", PROVIDER.split("/")[0]])
def test_an_issuer_is_cut_out_of_nothing_but_a_provider_arn(wrong):
    with pytest.raises(ValueError, match="OIDC provider"):
        issuer_of(wrong)


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_an_issuer_has_no_scheme_in_any_partition(partition):
    assert issuer_of(PROVIDER.replace("arn:aws:", f"arn:{partition}:")) == ISSUER


def test_a_pod_identity_trust_admits_one_account_of_one_cluster_and_its_session_tags():
    statement = pod_identity_statement(CONTROLLER, "dev")
    assert statement["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert statement["Action"] == ["sts:AssumeRole", "sts:TagSession"]
    assert statement["Condition"] == {
        "StringEquals": {
            "aws:RequestTag/eks-cluster-name": "dev",
            "aws:RequestTag/kubernetes-namespace": "kube-system",
            "aws:RequestTag/kubernetes-service-account": "aws-load-balancer-controller",
        }
    }


def test_policy_text_is_a_policy_document_in_json():
    statements = [service_statement("eks.amazonaws.com")]
    assert json.loads(policy_text(statements)) == {"Version": "2012-10-17", "Statement": statements}


@pytest.mark.parametrize("text", ["kube-system/a", "a/b.c", "0/0"])
def test_an_account_reads_back_as_it_was_written(text):
    assert str(ServiceAccountRef.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "a", "a/", "/a", "a/b/c", "A/b", "a/B", "a.b/c", "a_b/c", "-a/b", f"{'a' * 64}/b", f"a/{'b' * 254}"]
)
def test_an_account_that_kubernetes_would_refuse_is_refused_here(text):
    with pytest.raises(ValueError, match="RFC 1123"):
        ServiceAccountRef.parse(text)


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("ap-northeast-2", "aws"),
        ("us-east-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("eusc-de-east-1", "aws-eusc"),
    ],
)
def test_the_partition_follows_from_the_region(region, partition):
    assert is_region(region)
    assert partition_of(region) == partition


@pytest.mark.parametrize("region", ["", "seoul", "ap-northeast-2a", "us-iso-east-1", "ap_northeast_2"])
def test_what_is_not_a_region_of_a_known_partition_is_refused(region):
    assert not is_region(region)


def test_ec2_has_a_principal_of_its_own_in_china_only():
    assert ec2_service_of("cn-north-1") == "ec2.amazonaws.com.cn"
    assert ec2_service_of("us-gov-west-1") == "ec2.amazonaws.com"


def test_a_zone_belongs_to_its_region_and_a_local_zone_to_none():
    assert zone_letter("us-west-2", "us-west-2a") == "a"
    assert zone_letter("us-west-2", "us-west-1a") is None
    assert zone_letter("us-west-2", "us-west-2-lax-1a") is None
