"""OidcIrsa: the IAM OIDC provider of a cluster, and the identities that trust it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
import pulumi_tls as tls
from pydantic import AfterValidator, Field, model_validator

from components import versions
from components.cluster_target import ClusterTarget
from components.pod_role import IdentitySettings, PodRole, PodRoleArgs
from components.section import Section, refuse
from components.service_account import ServiceAccountRef
from components.trust import STS_AUDIENCE, issuer_of


def _check_thumbprint(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}", value):
        refuse(
            "not a SHA-1 fingerprint",
            allowed="40 lower-case hexadecimal digits without colons",
            change="take it from `openssl x509 -fingerprint -sha1` of the top certificate",
        )
    return value


class OidcSettings(Section):
    """Section `cluster.oidc`: how the IAM OIDC provider is registered."""

    thumbprint: Literal["derive", "pinned", "omit"] = Field(
        default="derive",
        description=(
            "`derive` reads the certificate chain of the issuer while the cluster is made; `pinned` takes "
            "pinnedThumbprints, for runners that cannot reach the issuer or sit behind a TLS proxy; `omit` lets IAM "
            "read the chain itself."
        ),
    )
    pinned_thumbprints: Annotated[
        tuple[Annotated[str, AfterValidator(_check_thumbprint)], ...], Field(max_length=5)
    ] = Field(default=(), description="Fingerprints for `thumbprint: pinned`, at most five.")
    extra_audiences: tuple[str, ...] = Field(
        default=(), description=f"Audiences that the provider admits beside {STS_AUDIENCE}."
    )

    @model_validator(mode="after")
    def _pinned_has_values(self) -> OidcSettings:
        if (self.thumbprint == "pinned") != bool(self.pinned_thumbprints):
            refuse(
                f"thumbprint is {self.thumbprint} with {len(self.pinned_thumbprints)} pinnedThumbprints",
                allowed="`thumbprint: pinned` with one to five pinnedThumbprints, or neither",
                change="set both or none",
            )
        return self


@dataclass(frozen=True, kw_only=True)
class OidcIrsaArgs:
    """What OidcIrsa needs beside its settings."""

    settings: OidcSettings
    issuer_url: pulumi.Input[str]
    """The cluster's own issuer, with `https://`."""
    cluster: ClusterTarget
    identities: Mapping[str, IdentitySettings] = field(default_factory=dict[str, IdentitySettings])
    """By `namespace/account`."""


class OidcIrsa(pulumi.ComponentResource):
    """The IAM OIDC provider of one cluster.

    Creates:
        - the provider, for the audience sts.amazonaws.com and the extra ones. Its thumbprint is the one of the top
          certificate that the issuer presents, read with pulumi_tls once the cluster exists (`derive`), given
          (`pinned`), or left to IAM (`omit`);
        - per identity a PodRole with its account, and the namespaces that identities ask for.

    EKS makes the issuer with the cluster; nobody but this registers it with IAM.
    """

    provider_arn: pulumi.Output[str]
    issuer: pulumi.Output[str]
    """Without scheme, as condition keys have it."""
    role_arns: dict[str, pulumi.Output[str]]
    """By `namespace/account`."""
    namespaces: dict[str, kubernetes.core.v1.Namespace]
    """Those made here, by name."""

    def __init__(self, name: str, args: OidcIrsaArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-foundation:index:OidcIrsa", name, None, opts)
        settings = args.settings
        thumbprints: pulumi.Input[Sequence[str]] | None = None
        if settings.thumbprint == "pinned":
            thumbprints = list(settings.pinned_thumbprints)
        elif settings.thumbprint == "derive":
            # Without a provider of its own the look-up would add a default one, and to the update only: in a preview
            # the issuer is not known, so nothing is looked up.
            tls_provider = tls.Provider(f"{name}-tls", opts=pulumi.ResourceOptions(parent=self))
            chain = tls.get_certificate_output(
                url=args.issuer_url, opts=pulumi.InvokeOutputOptions(parent=self, provider=tls_provider)
            )
            thumbprints = chain.apply(
                lambda found: [top_thumbprint([(each.is_ca, each.sha1_fingerprint) for each in found.certificates])]
            )
        provider = aws.iam.OpenIdConnectProvider(
            f"{name}-provider",
            url=args.issuer_url,
            client_id_lists=[STS_AUDIENCE, *settings.extra_audiences],
            thumbprint_lists=thumbprints,
            tags={"Name": args.cluster.name},
            opts=pulumi.ResourceOptions(
                parent=self,
                provider=args.cluster.aws_provider,
                # IAM trusts EKS's issuer by its own root store, so a chain that AWS renews is no reason for a diff.
                # https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc_verify-thumbprint.html
                ignore_changes=["thumbprint_lists"] if settings.thumbprint == "derive" else None,
            ),
        )

        self.provider_arn = provider.arn
        self.issuer = provider.arn.apply(issuer_of)
        self._name, self._cluster = name, args.cluster
        self.namespaces = {}
        for namespace in sorted(
            {ServiceAccountRef.parse(key).namespace for key, each in args.identities.items() if each.create_namespace}
        ):
            self.namespace(namespace)
        self.role_arns = {key: self.pod_role(key, identity).role_arn for key, identity in args.identities.items()}
        self.register_outputs({"provider_arn": self.provider_arn, "issuer": self.issuer, "role_arns": self.role_arns})

    def namespace(self, namespace: str) -> kubernetes.core.v1.Namespace:
        """The namespace of this name among those of the identities; made at the first call."""
        if namespace not in self.namespaces:
            self.namespaces[namespace] = kubernetes.core.v1.Namespace(
                f"{self._name}-{namespace}",
                metadata=kubernetes.meta.v1.ObjectMetaArgs(name=namespace),
                opts=pulumi.ResourceOptions(parent=self, provider=self._cluster.kubernetes_provider),
            )
        return self.namespaces[namespace]

    def pod_role(
        self,
        key: str,
        identity: IdentitySettings,
        *,
        admitted_role_arns: Sequence[pulumi.Input[str]] = (),
        by_account: bool = True,
    ) -> PodRole:
        """Make the role of one more identity, where it also is when section `identities` declares it.

        Args:
            key: `namespace/account`.
            identity: its settings.
            admitted_role_arns: roles that may take it besides.
            by_account: whether its mechanism admits the account yet; without, only those roles may take it.
        """
        account = ServiceAccountRef.parse(key)
        own_namespace = self.namespaces.get(account.namespace)
        return PodRole(
            # A namespace has no dot, so unlike with a hyphen no two accounts share a name.
            f"{self._name}-{key.replace('/', '.')}",
            PodRoleArgs(
                settings=identity,
                account=account,
                region=self._cluster.region,
                aws_provider=self._cluster.aws_provider,
                oidc_provider_arns=[self.provider_arn] if by_account else [],
                admitted_role_arns=admitted_role_arns,
                cluster_name=self._cluster.name,
                cluster_ready=self._cluster.ready,
                kubernetes_provider=self._cluster.kubernetes_provider if by_account else None,
                wait_for=[own_namespace] if own_namespace is not None else [],
                probe_image=self._cluster.image(versions.PROBE_IMAGE),
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )


def top_thumbprint(chain: Sequence[tuple[bool, str]]) -> str:
    """The fingerprint of the top certificate of a chain that is listed top first, as pulumi_tls lists it.

    Args:
        chain: per certificate whether it is a CA, and its SHA-1 fingerprint.

    Raises:
        ValueError: the top certificate is not a CA, as behind a proxy that presents a bare server certificate.
    """
    if not chain or not chain[0][0]:
        raise ValueError(
            f"the issuer's top certificate is not a CA: {chain[0][1] if chain else 'an empty chain'}; allowed: a chain "
            "that ends in a CA; set cluster.oidc.thumbprint to `pinned` or `omit`"
        )
    return chain[0][1]
