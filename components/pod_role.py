"""PodRole: the service accounts of a workload, their role, its policies, and what binds the two."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
from pydantic import AfterValidator, Field, model_validator

import iam_policies
from components import versions
from components.regions import partition_of
from components.section import Section, checked_arn, refuse
from components.service_account import ServiceAccountRef, is_pattern
from components.trust import (
    pod_identity_statement,
    policy_text,
    role_statement,
    trust_text,
    web_identity_statements,
)

ROLE_ARN_ANNOTATION = "eks.amazonaws.com/role-arn"
"""What the webhook in an EKS cluster reads on an account to hand its pods a role."""

ROLE_HASH_ANNOTATION = "eks-foundation/role"
"""On a pod template of ours: pods read their role at start, so they are rolled when it changes."""

# The session's ARN is arn:aws:sts::<account>:assumed-role/<role>/<session>.
ROLE_CHECK = (
    'found=$(aws sts get-caller-identity --query Arn --output text) || exit 1; echo "$found"; '
    'case "$found" in *":assumed-role/$EXPECTED_ROLE/"*) ;; *) echo "expected $EXPECTED_ROLE" >&2; exit 1 ;; esac'
)
"""A shell script that fails unless STS says that its pod is the role of this name."""

# https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
ASSOCIATION_CHECK = ': "${AWS_CONTAINER_CREDENTIALS_FULL_URI:?no association put it into this pod}"; '
"""Fails unless EKS Pod Identity gave the pod its credentials."""

# Quotas: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
LONGEST_POLICY = 6144
"""Characters of a managed policy, blanks left out."""
MOST_ATTACHMENTS = 10
"""Managed policies of a role, unless AWS has raised the quota."""
_LONGEST_NAME = 64
# Pulumi adds a hyphen and seven characters of its own to a name, AWS up to 26 to a prefix.
_LONGEST_AUTONAMED = _LONGEST_NAME - 8
_LONGEST_PREFIX = _LONGEST_NAME - 26


def _check_policy_name(value: str) -> str:
    known = iam_policies.policy_names()
    if value not in known:
        near = difflib.get_close_matches(value, known, n=1)
        refuse(
            "not a ready-made policy",
            allowed=", ".join(known),
            change=f"did you mean {near[0]}?" if near else "choose one of these, or managedPolicyArns",
        )
    return value


PolicyArn = Annotated[
    str,
    checked_arn(
        "a managed policy",
        r"arn:aws[a-z-]*:iam::(aws|\d{12}):policy/[\w+=,.@/-]+",
        "arn:aws:iam::aws:policy/<name>, arn:aws:iam::111122223333:policy/<name>",
    ),
]
RoleArn = Annotated[
    str,
    checked_arn("a role", r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+", "arn:aws:iam::111122223333:role/<name>"),
]
OidcProviderArn = Annotated[
    str,
    checked_arn(
        "an OIDC provider",
        r"arn:aws[a-z-]*:iam::\d{12}:oidc-provider/[\w.:/-]+",
        "arn:aws:iam::111122223333:oidc-provider/<issuer without https://>",
    ),
]


def _check_account(value: str) -> str:
    try:
        ServiceAccountRef.parse(value)
    except ValueError:
        refuse(
            "not a service account",
            allowed="namespace/name, each an RFC 1123 name: lower-case letters, digits and '-', and no pattern",
            change="write it like kube-system/external-dns",
        )
    return value


AccountName = Annotated[str, AfterValidator(_check_account)]
"""A service account as `namespace/name`."""


def _check_pattern(value: str) -> str:
    if not is_pattern(value):
        refuse(
            "not a pattern of service accounts",
            allowed="namespace/name with at least one * or ?",
            change="write it like apps/reader-*, or name the account in alsoAccounts",
        )
    return value


def _check_path(value: str) -> str:
    if not re.fullmatch(r"/([\x21-\x7e]{0,510}/)?", value):
        refuse("not an IAM path", allowed="/ or /<path>/, up to 512 characters", change="begin and end it with /")
    return value


def _check_document(value: str | dict[str, Any]) -> str | dict[str, Any]:
    try:
        document = json.loads(Path(value).read_text(encoding="utf-8")) if isinstance(value, str) else value
    except (OSError, ValueError) as problem:
        refuse(f"not a readable policy file ({problem})", allowed="a JSON file beside the stack file", change="mend it")
    if not isinstance(document, dict) or "Statement" not in document:
        refuse("not a policy document", allowed="a mapping with Version and Statement", change="add Statement")
    return value


class IdentitySettings(Section):
    """One entry of section `identities`: what the pods of `namespace/account` may do, and how they get to."""

    mechanism: Literal["irsa", "pod-identity", "both"] = Field(
        default="irsa",
        description="How pods get the role: IRSA, EKS Pod Identity, or both while moving from one to the other.",
    )
    policies: dict[Annotated[str, AfterValidator(_check_policy_name)], dict[str, str | tuple[str, ...]]] = Field(
        default={}, description="Ready-made policies with their parameters; `preflight policies` lists them."
    )
    documents: dict[str, Annotated[str | dict[str, Any], AfterValidator(_check_document)]] = Field(
        default={}, description="Own policies by name: a policy document, or the path of a JSON file with one."
    )
    managed_policy_arns: tuple[PolicyArn, ...] = Field(default=(), description="Managed policies by ARN.")
    also_accounts: tuple[AccountName, ...] = Field(
        default=(), description="More accounts that take the same role, as `namespace/account`."
    )
    loose_subjects: tuple[Annotated[str, AfterValidator(_check_pattern)], ...] = Field(
        default=(), description="Patterns of accounts that take it too, such as `apps/reader-*`. IRSA only."
    )
    loose_namespaces: bool = Field(
        default=False, description="Let looseSubjects have a pattern in the namespace: whoever makes one gets the role."
    )
    oidc_provider_arns: tuple[OidcProviderArn, ...] = Field(
        default=(), description="OIDC providers of further clusters whose account of this name is admitted."
    )
    target_role_arn: RoleArn | None = Field(
        default=None, description="Role, often of another account, that Pod Identity goes on to. Pod Identity only."
    )
    role_name: Annotated[str, Field(pattern=r"^[\w+=,.@-]{1,64}$")] | None = Field(
        default=None, description="Fixed name of the role; a unique one is made where left out."
    )
    path: Annotated[str, AfterValidator(_check_path)] = Field(default="/", description="IAM path of role and policies.")
    description: str | None = Field(default=None, description="Description of the role.")
    permissions_boundary: PolicyArn | None = Field(default=None, description="Policy that bounds the role's rights.")
    session_hours: Annotated[int, Field(ge=1, le=12)] = Field(
        default=1, description="Longest session of the role, in hours."
    )
    tags: dict[str, str] = Field(default={}, description="Tags of role and policies.")
    create_account: bool = Field(default=True, description="Make the accounts; false where a chart brings them.")
    account_labels: dict[str, str] = Field(default={}, description="Labels of the accounts.")
    create_namespace: bool = Field(default=False, description="Make the namespace too.")
    probe: bool = Field(
        default=False,
        description="Run a Job under the account with each new role or mechanism; it fails unless it gets the role.",
    )

    @property
    def uses_irsa(self) -> bool:
        """Whether tokens of the account are exchanged at STS."""
        return self.mechanism in ("irsa", "both")

    @property
    def uses_pod_identity(self) -> bool:
        """Whether EKS binds the account to the role."""
        return self.mechanism in ("pod-identity", "both")

    @model_validator(mode="after")
    def _fits_together(self) -> IdentitySettings:
        if doubled := doubled_names((*self.policies, *self.documents, *self.managed_policy_arns)):
            refuse(
                f"policies that share a name: {', '.join(doubled)}",
                allowed="each name, or last part of an ARN, once",
                change="drop or rename one of them",
            )
        if self.mechanism == "pod-identity" and (self.loose_subjects or self.oidc_provider_arns):
            refuse(
                "looseSubjects and oidcProviderArns with mechanism pod-identity",
                allowed="both with irsa or both: a Pod Identity association names one account of one cluster",
                change="drop them, or change mechanism",
            )
        if self.target_role_arn is not None and self.mechanism == "irsa":
            refuse(
                "targetRoleArn with mechanism irsa",
                allowed="targetRoleArn with pod-identity or both; with IRSA the role itself is of the other account",
                change="change mechanism, or drop targetRoleArn",
            )
        for pattern in self.loose_subjects:
            if is_pattern(pattern.split("/")[0] + "/") and not self.loose_namespaces:
                refuse(
                    f"a pattern for the namespace: {pattern}",
                    allowed="patterns for the account's name only; for namespaces with looseNamespaces: true",
                    change="name the namespace, or set looseNamespaces and know what it admits",
                )
        return self


@dataclass(frozen=True, kw_only=True)
class PodRoleArgs:
    """What a PodRole needs beside its settings."""

    settings: IdentitySettings
    account: ServiceAccountRef
    region: str
    aws_provider: aws.Provider
    oidc_provider_arns: Sequence[pulumi.Input[str]] = ()
    """IRSA: the providers of the clusters whose accounts are admitted, beside those of the settings."""
    admitted_role_arns: Sequence[pulumi.Input[str]] = ()
    """Roles that may take this one too, whatever the mechanism, such as the server of Kiam."""
    wired_documents: Mapping[str, pulumi.Input[str]] = field(default_factory=dict[str, pulumi.Input[str]])
    """Policy documents as JSON that name what other resources make, by name; each is one managed policy."""
    cluster_name: str | None = None
    """Pod Identity: the cluster whose accounts are bound to the role."""
    kubernetes_provider: kubernetes.Provider | None = None
    """Makes the accounts and the probe. Without it, somebody else makes the accounts."""
    cluster_ready: Sequence[pulumi.Resource] = ()
    """What has to exist before Pod Identity can bind, and before a probe can run."""
    wait_for: Sequence[pulumi.Resource] = ()
    """What the accounts wait for, such as their namespace."""
    probe_image: versions.Image = versions.PROBE_IMAGE
    """What a probe runs, where nodes can pull it."""

    def __post_init__(self) -> None:
        """Refuse a role that nobody could take.

        Raises:
            ValueError: the mechanism has no OIDC provider, or no cluster, to work with.
        """
        admitted = (*self.oidc_provider_arns, *self.settings.oidc_provider_arns, *self.admitted_role_arns)
        if self.settings.uses_irsa and not admitted:
            raise ValueError(
                f"the role of {self.account} has nothing to trust: mechanism {self.settings.mechanism} without an OIDC "
                "provider; allowed: irsa with oidc_provider_arns, pod-identity with cluster_name; pass one of them"
            )
        if self.settings.uses_pod_identity and self.cluster_name is None:
            raise ValueError(
                f"the role of {self.account} has nothing to bind it to: mechanism {self.settings.mechanism} without a "
                "cluster; allowed: pod-identity with cluster_name, irsa with oidc_provider_arns; pass cluster_name"
            )

    @property
    def accounts(self) -> list[ServiceAccountRef]:
        """Every account that takes the role by its exact name."""
        return [self.account, *map(ServiceAccountRef.parse, self.settings.also_accounts)]


class PodRole(pulumi.ComponentResource):
    """A role for the pods of one service account, or of several.

    Creates:
        - the role. With IRSA its trust admits the accounts by exact subject and audience for every OIDC provider given,
          and by pattern what `looseSubjects` name; with Pod Identity by the tags of the request;
        - a managed policy and its attachment for every ready-made policy, own and wired document (several where one of
          the first two is larger than a policy may be), and an attachment for every other managed policy;
        - with Pod Identity, an association per account;
        - with a Kubernetes provider and `createAccount`, the accounts; with IRSA they carry the role's ARN;
        - with `probe`, a Job per account and mechanism that fails unless its pod gets this very role. That of Pod
          Identity fails too where the association did not reach the pod; where there are both, the association wins,
          so IRSA is then proven only by a Job that was there before.
    """

    role_arn: pulumi.Output[str]
    role_name: pulumi.Output[str]
    role_hash: pulumi.Output[str]
    """Changes with the role; the value of ROLE_HASH_ANNOTATION."""
    account: ServiceAccountRef
    ready: list[pulumi.Resource]
    """The role with its rights, and the accounts. A release depends on these, not on the role: otherwise its rights
    are late on creation and gone first on destruction."""

    def __init__(self, name: str, args: PodRoleArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-foundation:index:PodRole", name, None, opts)
        settings = args.settings
        partition = partition_of(args.region)
        cluster_name = args.cluster_name
        child = pulumi.ResourceOptions(parent=self, provider=args.aws_provider)

        def trust(provider_arns: Sequence[str], role_arns: Sequence[str]) -> str:
            statements = web_identity_statements(args.accounts, provider_arns, settings.loose_subjects)
            if settings.uses_pod_identity and cluster_name is not None:
                statements += [pod_identity_statement(account, cluster_name) for account in args.accounts]
            return trust_text([*statements, *map(role_statement, role_arns)])

        providers = [*args.oidc_provider_arns, *settings.oidc_provider_arns] if settings.uses_irsa else []
        role = aws.iam.Role(
            f"{name}-role",
            name=settings.role_name,
            name_prefix=_short_prefix(f"{name}-role") if settings.role_name is None else None,
            path=settings.path,
            description=settings.description or f"Taken by {args.account}",
            max_session_duration=settings.session_hours * 3600,
            permissions_boundary=settings.permissions_boundary,
            assume_role_policy=pulumi.Output.all(providers, args.admitted_role_arns).apply(lambda arns: trust(*arns)),
            tags=settings.tags or None,
            # A fixed name cannot stand beside itself.
            opts=pulumi.ResourceOptions(
                parent=self, provider=args.aws_provider, delete_before_replace=settings.role_name is not None
            ),
        )
        documents: list[tuple[str, pulumi.Input[str]]] = [
            *((key, json.dumps(document)) for key, document in _documents(settings, partition)),
            *args.wired_documents.items(),
        ]
        managed = managed_policies(settings, partition)
        keys = [key for key, _ in documents] + [_last_part(arn) for arn in managed]
        if doubled := doubled_names(keys):
            raise ValueError(
                f"policies of {args.account} share a name: {', '.join(doubled)}; allowed: each name, or last part of "
                "an ARN, once; drop or rename one of them"
            )
        if len(keys) > MOST_ATTACHMENTS:
            raise ValueError(
                f"the role of {args.account} has {len(keys)} managed policies: {', '.join(keys)}; allowed: "
                f"{MOST_ATTACHMENTS} a role; merge some of them"
            )
        policies: list[tuple[str, pulumi.Input[str]]] = [
            (
                key,
                aws.iam.Policy(
                    f"{name}-{key}",
                    name_prefix=_short_prefix(f"{name}-{key}"),
                    path=settings.path,
                    policy=document,
                    tags=settings.tags or None,
                    opts=child,
                ).arn,
            )
            for key, document in documents
        ]
        policies += [(_last_part(arn), arn) for arn in managed]
        attachments = [
            aws.iam.RolePolicyAttachment(f"{name}-{key}", role=role.name, policy_arn=arn, opts=child)
            for key, arn in policies
        ]
        self.ready = [*attachments]
        if settings.uses_pod_identity and cluster_name is not None:
            self.ready += [
                aws.eks.PodIdentityAssociation(
                    _numbered(f"{name}-association", index),
                    cluster_name=cluster_name,
                    namespace=account.namespace,
                    service_account=account.name,
                    role_arn=role.arn,
                    target_role_arn=settings.target_role_arn,
                    # The rights come first, so that no pod starts with a role that may nothing.
                    opts=pulumi.ResourceOptions(
                        parent=self, provider=args.aws_provider, depends_on=[*args.cluster_ready, *attachments]
                    ),
                )
                for index, account in enumerate(args.accounts)
            ]
        if args.kubernetes_provider is not None and settings.create_account:
            self.ready += [
                kubernetes.core.v1.ServiceAccount(
                    _numbered(f"{name}-account", index),
                    metadata=kubernetes.meta.v1.ObjectMetaArgs(
                        namespace=account.namespace,
                        name=account.name,
                        labels=settings.account_labels,
                        annotations={ROLE_ARN_ANNOTATION: role.arn} if settings.uses_irsa else {},
                    ),
                    opts=pulumi.ResourceOptions(
                        parent=self,
                        provider=args.kubernetes_provider,
                        depends_on=[*args.wait_for, *attachments],
                        # The name is fixed, so a replacement cannot stand beside the original.
                        delete_before_replace=True,
                    ),
                )
                for index, account in enumerate(args.accounts)
            ]

        taken = pulumi.Output.from_input(settings.target_role_arn or role.arn)
        # One for each mechanism: the Job of one that both kept as it was would not run again on the way over. And back
        # from Pod Identity a new one would run too early: the association goes last.
        probes = {"probe": ROLE_CHECK} if settings.uses_irsa else {}
        probes |= {"association-probe": ASSOCIATION_CHECK + ROLE_CHECK} if settings.uses_pod_identity else {}
        if args.kubernetes_provider is not None and settings.probe:
            for index, account in enumerate(args.accounts):
                for key, script in probes.items():
                    _probe(
                        _numbered(f"{name}-{key}", index),
                        account,
                        taken.apply(_last_part),
                        script,
                        args.probe_image,
                        pulumi.ResourceOptions(
                            parent=self,
                            provider=args.kubernetes_provider,
                            depends_on=[*self.ready, *args.cluster_ready],
                        ),
                    )

        self.account = args.account
        self.role_arn = role.arn
        self.role_name = role.name
        self.role_hash = role.arn.apply(lambda arn: hashlib.sha256(arn.encode()).hexdigest()[:16])
        self.register_outputs({"role_arn": self.role_arn, "role_name": self.role_name, "role_hash": self.role_hash})


def managed_policies(settings: IdentitySettings, partition: str) -> list[str]:
    """The ARNs of the policies that are not made here: AWS's own behind ready-made names, and those given by ARN."""
    paths = [path for name in settings.policies for path in iam_policies.managed_policies(name)]
    return [*(managed_policy_arn(partition, path) for path in paths), *settings.managed_policy_arns]


def managed_policy_arn(partition: str, path: str) -> str:
    """The ARN of a policy that AWS manages, by its path and name."""
    return f"arn:{partition}:iam::aws:policy/{path}"


def split_policy(document: Mapping[str, Any], longest: int = LONGEST_POLICY) -> list[dict[str, Any]]:
    """The document as one or more that each fit into a managed policy, statements in their order.

    Args:
        document: with a list of statements.
        longest: characters a document may have, blanks left out.

    Raises:
        ValueError: one statement alone is too long.
    """
    parts: list[list[Any]] = [[]]
    statements = document["Statement"] if isinstance(document["Statement"], list) else [document["Statement"]]
    for statement in statements:
        if _length({**document, "Statement": [*parts[-1], statement]}) > longest and parts[-1]:
            parts.append([])
        parts[-1].append(statement)
        if (length := _length({**document, "Statement": parts[-1]})) > longest:
            raise ValueError(
                f"statement {statement.get('Sid', 'without Sid')!r} makes a policy of {length} characters; allowed: "
                f"{longest} a managed policy; split the statement"
            )
    return [{**document, "Statement": part} for part in parts]


def doubled_names(policies: Iterable[str]) -> list[str]:
    """The names, or last parts of paths and ARNs, that stand here more than once; they name the attachments."""
    names = [_last_part(policy) for policy in policies]
    return sorted({name for name in names if names.count(name) > 1})


def _documents(settings: IdentitySettings, partition: str) -> list[tuple[str, dict[str, Any]]]:
    """Every policy document to make, under the name that its resources have."""
    documents: dict[str, dict[str, Any]] = {
        part: json.loads(text)
        for name, parameters in settings.policies.items()
        for part, text in iam_policies.policy_texts(name, partition=partition, parameters=parameters).items()
    }
    if settings.target_role_arn is not None:
        go_on = {
            "Effect": "Allow",
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Resource": settings.target_role_arn,
        }
        documents["target-role"] = json.loads(policy_text([go_on]))
    for name, given in settings.documents.items():
        documents[name] = json.loads(Path(given).read_text(encoding="utf-8")) if isinstance(given, str) else given
    return [
        (_numbered(name, index), part)
        for name, document in documents.items()
        for index, part in enumerate(split_policy(document))
    ]


def _probe(
    name: str,
    account: ServiceAccountRef,
    role_name: pulumi.Output[str],
    script: str,
    image: versions.Image,
    opts: pulumi.ResourceOptions,
) -> kubernetes.batch.v1.Job:
    """A Job under the account that runs this script with the name of the role that its pod must be.

    It is retried for about six minutes: a role or an association that was just made is not known everywhere at once.
    """
    return kubernetes.batch.v1.Job(
        name,
        metadata=kubernetes.meta.v1.ObjectMetaArgs(namespace=account.namespace),
        spec=kubernetes.batch.v1.JobSpecArgs(
            backoff_limit=6,
            template=kubernetes.core.v1.PodTemplateSpecArgs(
                spec=kubernetes.core.v1.PodSpecArgs(
                    service_account_name=account.name,
                    restart_policy="Never",
                    security_context=kubernetes.core.v1.PodSecurityContextArgs(
                        run_as_non_root=True,
                        run_as_user=image.user,
                        seccomp_profile=kubernetes.core.v1.SeccompProfileArgs(type="RuntimeDefault"),
                    ),
                    containers=[
                        kubernetes.core.v1.ContainerArgs(
                            name="probe",
                            image=image.reference,
                            command=["sh", "-c", script],
                            env=[
                                kubernetes.core.v1.EnvVarArgs(name="EXPECTED_ROLE", value=role_name),
                                kubernetes.core.v1.EnvVarArgs(name="HOME", value=image.writes),
                            ],
                            security_context=kubernetes.core.v1.SecurityContextArgs(
                                allow_privilege_escalation=False,
                                capabilities=kubernetes.core.v1.CapabilitiesArgs(drop=["ALL"]),
                            ),
                        )
                    ],
                ),
            ),
        ),
        opts=opts,
    )


def _length(document: Mapping[str, Any]) -> int:
    return len(re.sub(r"\s", "", json.dumps(document)))


def _numbered(name: str, index: int) -> str:
    """The first keeps its name, so that a second one does not rename it."""
    return name if index == 0 else f"{name}-{index + 1}"


def _last_part(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _short_prefix(name: str) -> str | None:
    """A name prefix where Pulumi's own name would be longer than IAM allows, else None."""
    return None if len(name) <= _LONGEST_AUTONAMED else f"{name[: _LONGEST_PREFIX - 1].rstrip('-')}-"
