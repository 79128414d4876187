"""Issuers: who signs the certificates that cert-manager makes inside the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pulumi
import pulumi_kubernetes as kubernetes
from pydantic import AfterValidator, Field

from components.cluster_target import ClusterTarget
from components.section import Section, refuse

_API = "cert-manager.io/v1"
_CA = "ca"
# Ten years: cert-manager renews it after two thirds.
CA_LIFETIME = "87600h"

# https://letsencrypt.org/docs/staging-environment/
_LETS_ENCRYPT = {
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
}


def _check_email(value: str) -> str:
    name, at, domain = value.partition("@")
    if not (name and at and "." in domain.strip(".")) or any(each.isspace() for each in value):
        refuse("not an e-mail address", allowed="name@example.com", change="name a mailbox that somebody reads")
    return value


class CaSettings(Section):
    """`ingress.certManager.ca`: present where the cluster has a certificate authority of its own. It has no choices."""


class AcmeSettings(Section):
    """`ingress.certManager.acme`: present where Let's Encrypt signs, which asks for a record in the zone as proof."""

    email: Annotated[str, AfterValidator(_check_email)] = Field(
        description="Where Let's Encrypt sends warnings of certificates that nobody renews."
    )


@dataclass(frozen=True, kw_only=True)
class IssuersArgs:
    """What Issuers need."""

    ca: CaSettings | None
    acme: AcmeSettings | None
    zones: Mapping[str, str]
    """The ids of the zones in which cert-manager may answer challenges, by domain."""
    namespace: str
    """Where cert-manager runs, and keeps the keys of cluster issuers."""
    cluster: ClusterTarget
    cert_manager_ready: Sequence[pulumi.Resource]


class Issuers(pulumi.ComponentResource):
    """The cluster issuers that every namespace may name in a Certificate.

    Creates:
        - with `ca`, the issuer `self-signed`, the certificate that it signs for the authority, and the issuer `ca`;
        - with `acme`, the issuers `letsencrypt-staging`, whose certificates no browser trusts, and `letsencrypt`, whose
          limits a mistake uses up for a week.
    """

    def __init__(self, name: str, args: IssuersArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-foundation:index:Issuers", name, None, opts)
        cluster = args.cluster

        def make(
            kind: str, of: str, spec: Mapping[str, Any], *wait_for: pulumi.Resource, namespace: str | None = None
        ) -> pulumi.Resource:
            return kubernetes.apiextensions.CustomResource(
                f"{name}-{of}" if kind == "ClusterIssuer" else f"{name}-{of}-certificate",
                api_version=_API,
                kind=kind,
                metadata=kubernetes.meta.v1.ObjectMetaArgs(name=of, namespace=namespace),
                spec=spec,
                opts=pulumi.ResourceOptions(
                    parent=self,
                    provider=cluster.kubernetes_provider,
                    depends_on=[*args.cert_manager_ready, *wait_for],
                    delete_before_replace=True,
                ),
            )

        if args.ca is not None:
            self_signed = make("ClusterIssuer", "self-signed", {"selfSigned": {}})
            authority = make(
                "Certificate",
                _CA,
                {
                    "isCA": True,
                    "commonName": f"{cluster.name} certificate authority",
                    "secretName": _CA,
                    "duration": CA_LIFETIME,
                    # With a new key whoever trusts the authority would no longer.
                    "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Never"},
                    "issuerRef": {"name": "self-signed", "kind": "ClusterIssuer", "group": "cert-manager.io"},
                },
                self_signed,
                namespace=args.namespace,
            )
            make("ClusterIssuer", _CA, {"ca": {"secretName": _CA}}, authority)
        if args.acme is not None:
            for issuer, server in _LETS_ENCRYPT.items():
                spec = {
                    "email": args.acme.email,
                    "server": server,
                    "privateKeySecretRef": {"name": issuer},
                    "solvers": [
                        {
                            "selector": {"dnsZones": [domain]},
                            # No credentials: pods of cert-manager have their own.
                            "dns01": {"route53": {"region": cluster.region, "hostedZoneID": zone_id}},
                        }
                        for domain, zone_id in args.zones.items()
                    ],
                }
                make("ClusterIssuer", issuer, {"acme": spec})
        self.register_outputs({})
