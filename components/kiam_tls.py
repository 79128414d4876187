"""The certificates by which Kiam's agents and servers know each other: who needs which, and three ways to get them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_kubernetes as kubernetes
import pulumi_tls as tls

SERVER_NAME = "kiam-server"
"""Name of the server's Service, which agents dial and compare with the certificate."""
PROBE_ADDRESS = "127.0.0.1"
"""Where the server's own probes dial it; they compare too."""

TlsVariant = Literal["generated", "cert-manager", "existing"]

HOURS_A_DAY = 24
# A leaf is renewed by a `pulumi up`, or by cert-manager, in its last quarter of a year; the authority in its last year.
LEAF_HOURS, LEAF_RENEWAL_HOURS = 365 * HOURS_A_DAY, 90 * HOURS_A_DAY
AUTHORITY_HOURS, AUTHORITY_RENEWAL_HOURS = 3650 * HOURS_A_DAY, 365 * HOURS_A_DAY


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One of the two certificates, in the spelling of pulumi-tls."""

    part: Literal["server", "agent"]
    usages: tuple[str, ...]
    dns_names: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()

    @property
    def secret(self) -> str:
        """Name of the Secret with certificate, key and authority."""
        return f"kiam-{self.part}-tls"


LEAVES = (
    Leaf(
        part="server",
        # The server's probes are clients of it with its own certificate.
        usages=("digital_signature", "key_encipherment", "server_auth", "client_auth"),
        dns_names=(SERVER_NAME, "localhost"),
        ip_addresses=(PROBE_ADDRESS,),
    ),
    Leaf(part="agent", usages=("digital_signature", "key_encipherment", "client_auth")),
)


def chart_values(variant: TlsVariant, part: Literal["server", "agent"]) -> dict[str, object]:
    """What the chart is told of one certificate: its Secret, and what the files in it are called.

    Secrets that are there already have the names of Kiam's own guide, those made here the names of cert-manager.
    """
    certificate, key, authority = (
        (f"{part}.pem", f"{part}-key.pem", "ca.pem") if variant == "existing" else ("tls.crt", "tls.key", "ca.crt")
    )
    (leaf,) = (each for each in LEAVES if each.part == part)
    return {
        "tlsSecret": leaf.secret,
        "tlsCerts": {"certFileName": certificate, "keyFileName": key, "caFileName": authority},
    }


def generated(
    name: str, *, namespace: str, parent: pulumi.Resource, kubernetes_provider: kubernetes.Provider
) -> list[pulumi.Resource]:
    """An authority and two certificates in Pulumi's state, keys as secrets, and the two Secrets.

    An authority that is renewed keeps its key, so that agents and servers go on to trust each other while one of them
    has the new certificate already.
    """
    provider = tls.Provider(f"{name}-tls", opts=pulumi.ResourceOptions(parent=parent))
    child = pulumi.ResourceOptions(parent=parent, provider=provider)

    def private_key(part: str) -> pulumi.Output[str]:
        return tls.PrivateKey(f"{name}-{part}-key", algorithm="RSA", rsa_bits=2048, opts=child).private_key_pem

    authority_key = private_key("ca")
    authority = tls.SelfSignedCert(
        f"{name}-ca",
        private_key_pem=authority_key,
        subject=tls.SelfSignedCertSubjectArgs(common_name="kiam-ca"),
        is_ca_certificate=True,
        allowed_uses=["cert_signing", "crl_signing"],
        set_subject_key_id=True,
        set_authority_key_id=True,
        validity_period_hours=AUTHORITY_HOURS,
        early_renewal_hours=AUTHORITY_RENEWAL_HOURS,
        opts=child,
    )

    def secret(leaf: Leaf) -> pulumi.Resource:
        key = private_key(leaf.part)
        request = tls.CertRequest(
            f"{name}-{leaf.part}-request",
            private_key_pem=key,
            subject=tls.CertRequestSubjectArgs(common_name=f"kiam-{leaf.part}"),
            dns_names=list(leaf.dns_names),
            ip_addresses=list(leaf.ip_addresses),
            opts=child,
        )
        certificate = tls.LocallySignedCert(
            f"{name}-{leaf.part}-certificate",
            cert_request_pem=request.cert_request_pem,
            ca_cert_pem=authority.cert_pem,
            ca_private_key_pem=authority_key,
            allowed_uses=list(leaf.usages),
            set_subject_key_id=True,
            validity_period_hours=LEAF_HOURS,
            early_renewal_hours=LEAF_RENEWAL_HOURS,
            opts=child,
        )
        return kubernetes.core.v1.Secret(
            f"{name}-{leaf.part}-tls",
            metadata=kubernetes.meta.v1.ObjectMetaArgs(namespace=namespace, name=leaf.secret),
            type="kubernetes.io/tls",
            string_data={"tls.crt": certificate.cert_pem, "tls.key": key, "ca.crt": authority.cert_pem},
            opts=pulumi.ResourceOptions(parent=parent, provider=kubernetes_provider),
        )

    return [secret(leaf) for leaf in LEAVES]


def by_cert_manager(
    name: str,
    *,
    namespace: str,
    parent: pulumi.Resource,
    kubernetes_provider: kubernetes.Provider,
    cert_manager_ready: Sequence[pulumi.Resource],
) -> list[pulumi.Resource]:
    """An authority and two certificates that cert-manager makes, renews and writes into the two Secrets."""

    def made(key: str, kind: str, spec: dict[str, object], *wait_for: pulumi.Resource) -> pulumi.Resource:
        return kubernetes.apiextensions.CustomResource(
            f"{name}-{key}",
            api_version="cert-manager.io/v1",
            kind=kind,
            # An issuer that is not ready fails the update here, and not as an agent that cannot find its Secret.
            metadata=kubernetes.meta.v1.ObjectMetaArgs(
                namespace=namespace,
                name=f"kiam-{key}",
                annotations={"pulumi.com/waitFor": "condition=Ready"},
            ),
            spec=spec,
            opts=pulumi.ResourceOptions(
                parent=parent, provider=kubernetes_provider, depends_on=[*cert_manager_ready, *wait_for]
            ),
        )

    self_signed = made("self-signed", "Issuer", {"selfSigned": {}})
    authority = made(
        "ca",
        "Certificate",
        {
            "isCA": True,
            "commonName": "kiam-ca",
            "secretName": "kiam-ca",
            "duration": f"{AUTHORITY_HOURS}h",
            "renewBefore": f"{AUTHORITY_RENEWAL_HOURS}h",
            # cert-manager does not sign leaves anew when their authority changes, so it keeps its key.
            "privateKey": {"algorithm": "RSA", "size": 2048, "rotationPolicy": "Never"},
            "usages": ["cert sign", "crl sign"],
            "issuerRef": {"kind": "Issuer", "name": "kiam-self-signed"},
        },
        self_signed,
    )
    issuer = made("issuer", "Issuer", {"ca": {"secretName": "kiam-ca"}}, authority)
    return [
        made(
            f"{leaf.part}-tls",
            "Certificate",
            {
                "commonName": f"kiam-{leaf.part}",
                "secretName": leaf.secret,
                "duration": f"{LEAF_HOURS}h",
                "renewBefore": f"{LEAF_RENEWAL_HOURS}h",
                "privateKey": {"algorithm": "RSA", "size": 2048, "rotationPolicy": "Always"},
                "usages": [usage.replace("_", " ") for usage in leaf.usages],
                "dnsNames": list(leaf.dns_names),
                "ipAddresses": list(leaf.ip_addresses),
                "issuerRef": {"kind": "Issuer", "name": "kiam-issuer"},
            },
            issuer,
        )
        for leaf in LEAVES
    ]
