"""PodRole: one service account, its role, the policies of that role, and what binds the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

import iam_policies
from components.regions import partition_of
from components.service_account import ServiceAccountRef
from components.trust import pod_identity_statement, policy_text, web_identity_statements

ROLE_ARN_ANNOTATION = "eks.amazonaws.com/role-arn"
"""What the webhook in an EKS cluster reads on an account to hand its pods a role."""

# A name is at most 64 characters long, and Pulumi adds a hyphen and seven of its own:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
_LONGEST_AUTONAMED = 64 - 8
# With a prefix AWS adds up to 26 characters of its own.
_LONGEST_PREFIX = 64 - 26


@dataclass(frozen=True, kw_only=True)
class PodRoleArgs:
    """What a service account may become, and how."""

    account: ServiceAccountRef
    region: str
    aws_provider: aws.Provider
    oidc_provider_arns: Sequence[pulumi.Input[str]] = ()
    """IRSA: the providers of the clusters whose account of this name is admitted."""
    cluster_name: str | None = None
    """Pod Identity: the cluster whose account of this name is bound to the role."""
    cluster_ready: Sequence[pulumi.Resource] = ()
    """What has to exist before Pod Identity can bind in that cluster."""
    policies: Sequence[str] = ()
    """Ready-made policies by their file name in iam_policies, without `.json`."""
    documents: Mapping[str, str] = field(default_factory=dict[str, str])
    """Own policies: a short name, and the JSON text of the document."""
    managed_policies: Sequence[str] = ()
    """Policies that AWS manages, by path and name, such as `service-role/AmazonEBSCSIDriverPolicy`."""
    managed_policy_arns: Sequence[str] = ()
    """Policies of the account, or AWS's, by whole ARN."""
    kubernetes_provider: kubernetes.Provider | None = None
    """Makes the service account. Left out where a chart or an add-on brings it."""
    account_labels: Mapping[str, str] = field(default_factory=dict[str, str])
    wait_for: Sequence[pulumi.Resource] = ()
    """What the service account waits for, such as its namespace."""

    def __post_init__(self) -> None:
        """Refuse a role that nobody could take, and two policies that would be one resource.

        Raises:
            ValueError: neither an OIDC provider nor a cluster is given, or two policies share a name.
        """
        if not self.oidc_provider_arns and self.cluster_name is None:
            raise ValueError(
                f"the role of {self.account} has nothing to trust: no value; allowed: oidc_provider_arns for "
                "IRSA, cluster_name for Pod Identity, or both; pass one of them"
            )
        names = (*self.policies, *self.documents, *self.managed_policies, *self.managed_policy_arns)
        if doubled := doubled_names(names):
            raise ValueError(
                f"policies of {self.account} share a name: {', '.join(doubled)}; allowed: each last part of a name or "
                "ARN once; rename one or drop it"
            )


class PodRole(pulumi.ComponentResource):
    """A role that exactly one service account may take.

    Creates:
        - the role. Its trust admits the account by exact subject and audience for every OIDC provider given (IRSA),
          and by the request's tags for the cluster given (Pod Identity);
        - a managed policy and its attachment for every ready-made policy and own document, an attachment for every
          other managed policy;
        - with `cluster_name`, the Pod Identity association;
        - with `kubernetes_provider`, the service account; where IRSA is used it carries the role's ARN.
    """

    role_arn: pulumi.Output[str]
    role_name: pulumi.Output[str]
    account: ServiceAccountRef
    ready: list[pulumi.Resource]
    """The role with its rights, and the account. A release depends on these, not on the role: otherwise its rights
    are late on creation and gone first on destruction."""

    def __init__(self, name: str, args: PodRoleArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-foundation:index:PodRole", name, None, opts)
        partition = partition_of(args.region)
        child = pulumi.ResourceOptions(parent=self, provider=args.aws_provider)

        def trust(provider_arns: Sequence[str]) -> str:
            statements = web_identity_statements(args.account, provider_arns)
            if args.cluster_name is not None:
                statements.append(pod_identity_statement(args.account, args.cluster_name))
            return policy_text(statements)

        role = aws.iam.Role(
            f"{name}-role",
            name_prefix=_short_prefix(f"{name}-role"),
            description=f"Taken by {args.account}",
            assume_role_policy=pulumi.Output.all(*args.oidc_provider_arns).apply(trust),
            opts=child,
        )
        documents = {
            **{ready: iam_policies.policy_text(ready, partition=partition) for ready in args.policies},
            **args.documents,
        }
        policies: list[tuple[str, pulumi.Input[str]]] = [
            (
                document,
                aws.iam.Policy(
                    f"{name}-{document}", name_prefix=_short_prefix(f"{name}-{document}"), policy=text, opts=child
                ).arn,
            )
            for document, text in documents.items()
        ]
        policies += [(_last_part(path), managed_policy_arn(partition, path)) for path in args.managed_policies]
        policies += [(_last_part(arn), arn) for arn in args.managed_policy_arns]
        attachments = [
            aws.iam.RolePolicyAttachment(f"{name}-{key}", role=role.name, policy_arn=arn, opts=child)
            for key, arn in policies
        ]
        self.ready = [*attachments]
        if args.cluster_name is not None:
            self.ready.append(
                aws.eks.PodIdentityAssociation(
                    f"{name}-association",
                    cluster_name=args.cluster_name,
                    namespace=args.account.namespace,
                    service_account=args.account.name,
                    role_arn=role.arn,
                    # The rights come first, so that no pod starts with a role that may nothing.
                    opts=pulumi.ResourceOptions(
                        parent=self, provider=args.aws_provider, depends_on=[*args.cluster_ready, *attachments]
                    ),
                )
            )
        if args.kubernetes_provider is not None:
            self.ready.append(
                kubernetes.core.v1.ServiceAccount(
                    f"{name}-account",
                    metadata=kubernetes.meta.v1.ObjectMetaArgs(
                        namespace=args.account.namespace,
                        name=args.account.name,
                        labels=args.account_labels,
                        annotations={ROLE_ARN_ANNOTATION: role.arn} if args.oidc_provider_arns else {},
                    ),
                    opts=pulumi.ResourceOptions(
                        parent=self,
                        provider=args.kubernetes_provider,
                        depends_on=[*args.wait_for, *attachments],
                        # The name is fixed, so a replacement cannot stand beside the original.
                        delete_before_replace=True,
                    ),
                )
            )

        self.account = args.account
        self.role_arn = role.arn
        self.role_name = role.name
        self.register_outputs({"role_arn": self.role_arn, "role_name": self.role_name})


def doubled_names(policies: Sequence[str]) -> list[str]:
    """The names, or last parts of paths and ARNs, that stand here more than once; they name the attachments."""
    names = [_last_part(policy) for policy in policies]
    return sorted({name for name in names if names.count(name) > 1})


def _last_part(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def managed_policy_arn(partition: str, path: str) -> str:
    """The ARN of a policy that AWS manages, by its path and name."""
    return f"arn:{partition}:iam::aws:policy/{path}"


def _short_prefix(name: str) -> str | None:
    """A name prefix where Pulumi's own name would be longer than IAM allows, else None."""
    return None if len(name) <= _LONGEST_AUTONAMED else f"{name[: _LONGEST_PREFIX - 1].rstrip('-')}-"
