"""Trust policies as pure functions: from plain names to the JSON text of a role's trust."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from components.service_account import ServiceAccountRef

STS_AUDIENCE = "sts.amazonaws.com"
"""Audience of the tokens that EKS projects, the same in every partition, China included."""

LONGEST_TRUST = 2048
"""Characters of a trust policy, blanks left out, unless AWS has raised the quota.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
"""

POD_IDENTITY_SERVICE = "pods.eks.amazonaws.com"
"""Principal of EKS Pod Identity, the same in every partition."""


def issuer_of(provider_arn: str) -> str:
    """The issuer without scheme, as condition keys want it, cut out of the OIDC provider's ARN.

    Taken from the ARN, so that a trust's principal and its condition keys cannot disagree.

    Raises:
        ValueError: the ARN is not one of an OIDC provider.
    """
    head, found, issuer = provider_arn.partition(":oidc-provider/")
    if not (found and issuer and head.startswith("arn:")):
        raise ValueError(
            f"{provider_arn!r} is not the ARN of an OIDC provider; allowed: "
            "arn:aws:iam::111122223333:oidc-provider/<issuer>; pass the provider's arn output"
        )
    return issuer


def web_identity_statements(
    accounts: Sequence[ServiceAccountRef], provider_arns: Sequence[str], patterns: Sequence[str] = ()
) -> list[dict[str, object]]:
    """What admits these accounts with the STS audience: a statement per OIDC provider, a second one for patterns.

    Args:
        accounts: admitted by exact subject.
        provider_arns: of the clusters that the accounts are in.
        patterns: `namespace/name` with `*` and `?`. They stand under StringLike; under StringEquals a `*` is a
            character like any other and never matches.
    """

    def statement(arn: str, subjects: Sequence[str], *, like: bool) -> dict[str, object]:
        subject = {f"{issuer_of(arn)}:sub": subjects[0] if len(subjects) == 1 else list(subjects)}
        audience = {f"{issuer_of(arn)}:aud": STS_AUDIENCE}
        condition = {"StringEquals": audience, "StringLike": subject} if like else {"StringEquals": audience | subject}
        return {
            "Effect": "Allow",
            "Principal": {"Federated": arn},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": condition,
        }

    exact = [account.subject for account in accounts]
    loose = [f"system:serviceaccount:{pattern.replace('/', ':')}" for pattern in patterns]
    return [
        *(statement(arn, exact, like=False) for arn in provider_arns),
        *(statement(arn, loose, like=True) for arn in provider_arns if loose),
    ]


def pod_identity_statement(account: ServiceAccountRef, cluster_name: str) -> dict[str, object]:
    """Admit EKS Pod Identity for exactly this account in this cluster.

    The service principal alone would admit any association of the AWS account; the tags of the request say which
    pod asks: https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html
    """
    return {
        "Effect": "Allow",
        "Principal": {"Service": POD_IDENTITY_SERVICE},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
        "Condition": {
            "StringEquals": {
                "aws:RequestTag/eks-cluster-name": cluster_name,
                "aws:RequestTag/kubernetes-namespace": account.namespace,
                "aws:RequestTag/kubernetes-service-account": account.name,
            }
        },
    }


def service_statement(service: str) -> dict[str, object]:
    """Admit one AWS service."""
    return {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}


def role_statement(role_arn: str) -> dict[str, object]:
    """Admit exactly this role.

    IAM keeps the role's unique id and not the ARN: if the role is deleted and made again under its name, the trust
    admits nobody until it is saved once more.
    """
    return {"Effect": "Allow", "Principal": {"AWS": role_arn}, "Action": "sts:AssumeRole"}


def assume_statement(*role_arns: str) -> dict[str, object]:
    """The right to take these roles, or those that match a pattern with `*`."""
    return {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": list(role_arns)}


def policy_text(statements: Sequence[Mapping[str, object]]) -> str:
    """The JSON text of a policy document with these statements."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def trust_text(statements: Sequence[Mapping[str, object]]) -> str:
    """The JSON text of a trust policy with these statements.

    Raises:
        ValueError: it is longer than IAM takes; unlike other policies, a trust cannot be split.
    """
    text = policy_text(statements)
    if (length := len(text.replace(" ", ""))) > LONGEST_TRUST:
        raise ValueError(
            f"a trust policy of {length} characters with {len(statements)} statements; allowed: {LONGEST_TRUST}, about "
            "four clusters; give the workload a second role, or use Pod Identity, whose trust names no provider"
        )
    return text
