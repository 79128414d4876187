"""What the charts bring that the stacks install: custom kinds, webhooks, the account that their pods run under."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .wire import Json

Values = Mapping[str, Json]


@dataclass(frozen=True)
class Chart:
    """One chart."""

    kinds: Callable[[Values], dict[tuple[str, str], bool]] = lambda _values: {}
    """Custom kinds by apiVersion and kind, each with whether it stands in a namespace."""
    in_folder: bool = False
    """Whether the kinds stand in the chart's crds folder: Helm installs such once, unless it is told to skip them."""
    keeps_kinds: Callable[[Values], bool] = lambda _values: True
    """Whether they stay when the release goes."""
    webhooks: Callable[[Values], dict[str, int]] = lambda _values: {}
    """The kinds whose creation its pods are asked about, each with the port."""
    account: Callable[[Values], tuple[bool, str]] = lambda _values: (True, "")
    """Whether the chart makes the account of its pods, and the account's name."""
    needs: Callable[[Values], tuple[str, ...]] = lambda _values: ()
    """Custom kinds that its own templates use."""
    images: Callable[[Values], tuple[str, ...]] = lambda _values: ("quay.io/somebody/something",)
    """Where its pods' images come from."""
    mounts: Callable[[Values], dict[str, tuple[str, ...]]] = lambda _values: {}
    """Secrets that its pods mount and it does not make, each with the files that they read."""
    calls_itself: bool = False
    """Whether its installation ends with a call of its own webhook."""


def _at(values: Values, path: str, otherwise: Json) -> Json:
    for key in path.split("."):
        if not isinstance(values, Mapping) or key not in values:
            return otherwise
        values = values[key]
    return values


_CONTROLLER_KINDS = {
    ("elbv2.k8s.aws/v1beta1", "IngressClassParams"): False,
    ("elbv2.k8s.aws/v1beta1", "TargetGroupBinding"): True,
    ("elbv2.k8s.aws/v1beta1", "ALBTargetControlConfig"): True,
    ("aga.k8s.aws/v1beta1", "GlobalAccelerator"): True,
    ("gateway.k8s.aws/v1beta1", "ListenerRuleConfiguration"): True,
    ("gateway.k8s.aws/v1beta1", "LoadBalancerConfiguration"): True,
    ("gateway.k8s.aws/v1beta1", "TargetGroupConfiguration"): True,
}


def _controller_webhooks(values: Values) -> dict[str, int]:
    kinds = ["Ingress", "IngressClassParams", "TargetGroupBinding"]
    kinds += ["Service"] if _at(values, "enableServiceMutatorWebhook", True) else []
    return dict.fromkeys(kinds, _at(values, "webhookBindPort", 9443))


_CERT_MANAGER_KINDS = {
    ("cert-manager.io/v1", "Certificate"): True,
    ("cert-manager.io/v1", "CertificateRequest"): True,
    ("cert-manager.io/v1", "ClusterIssuer"): False,
    ("cert-manager.io/v1", "Issuer"): True,
    ("acme.cert-manager.io/v1", "Challenge"): True,
    ("acme.cert-manager.io/v1", "Order"): True,
}

_LATTICE_KINDS = {
    kind: {("application-networking.k8s.aws/v1alpha1", kind): namespaced}
    for kind, namespaced in (
        ("AccessLogPolicy", True),
        ("IAMAuthPolicy", True),
        ("ServiceExport", True),
        ("ServiceImport", True),
        ("ServiceNetwork", False),
        ("TargetGroupPolicy", True),
        ("VpcAssociationPolicy", True),
    )
}
_GATEWAY_KINDS = {
    ("gateway.networking.k8s.io/v1", kind): kind != "GatewayClass"
    for kind in ("BackendTLSPolicy", "Gateway", "GatewayClass", "GRPCRoute", "HTTPRoute", "TLSRoute")
}
_KYVERNO_KINDS = {("policies.kyverno.io/v1", "MutatingPolicy"): False, ("kyverno.io/v1", "ClusterPolicy"): False}

_EXTERNAL_DNS_KINDS = {("externaldns.k8s.io/v1alpha1", "DNSEndpoint"): True}


def _kiam_files(values: Values) -> dict[str, tuple[str, ...]]:
    return {
        secret: tuple(_at(values, f"{part}.tlsCerts.{file}FileName", file) for file in ("ca", "cert", "key"))
        for part in ("server", "agent")
        if (secret := _at(values, f"{part}.tlsSecret", ""))
    }


CHARTS = {
    "aws-load-balancer-controller": Chart(
        kinds=lambda _: _CONTROLLER_KINDS,
        in_folder=True,
        webhooks=_controller_webhooks,
        account=lambda values: (
            _at(values, "serviceAccount.create", True),
            _at(values, "serviceAccount.name", "aws-load-balancer-controller"),
        ),
        images=lambda values: (_at(values, "image.repository", "public.ecr.aws/eks/aws-load-balancer-controller"),),
        needs=lambda values: ("Certificate", "Issuer") if _at(values, "enableCertManager", False) else (),
    ),
    "cert-manager": Chart(
        kinds=lambda values: _CERT_MANAGER_KINDS if _at(values, "crds.enabled", False) else {},
        keeps_kinds=lambda values: _at(values, "crds.keep", True),
        webhooks=lambda values: dict.fromkeys(
            (kind for _, kind in _CERT_MANAGER_KINDS), _at(values, "webhook.securePort", 10250)
        ),
        account=lambda values: (
            _at(values, "serviceAccount.create", True),
            _at(values, "serviceAccount.name", "cert-manager"),
        ),
        images=lambda values: tuple(
            f"{_at(values, 'imageRegistry', 'quay.io')}/jetstack/cert-manager-{each}"
            for each in ("controller", "webhook", "cainjector", "startupapicheck")
        ),
        calls_itself=True,
    ),
    # Makes the accounts of its servers and agents itself, whatever the values say.
    "kiam": Chart(mounts=_kiam_files),
    "external-dns": Chart(
        kinds=lambda _: _EXTERNAL_DNS_KINDS,
        in_folder=True,
        account=lambda values: (
            _at(values, "serviceAccount.create", True),
            _at(values, "serviceAccount.name", "external-dns"),
        ),
        images=lambda values: (_at(values, "image.repository", "registry.k8s.io/external-dns/external-dns"),),
    ),
    "aws-gateway-controller-chart": Chart(
        kinds=lambda _: {kind: namespaced for each in _LATTICE_KINDS.values() for kind, namespaced in each.items()},
        in_folder=True,
        account=lambda values: (
            _at(values, "serviceAccount.create", True),
            _at(values, "serviceAccount.name", "gateway-api-controller"),
        ),
        # It ends when one of them is not served.
        needs=lambda _: ("Gateway", "GatewayClass", "GRPCRoute", "HTTPRoute", "TLSRoute"),
        images=lambda values: (
            _at(values, "image.repository", "public.ecr.aws/aws-application-networking-k8s/aws-gateway-controller"),
        ),
    ),
    "kyverno": Chart(
        kinds=lambda _: _KYVERNO_KINDS,
        keeps_kinds=lambda _: False,
        webhooks=lambda values: dict.fromkeys(
            (kind for _, kind in _KYVERNO_KINDS), _at(values, "admissionController.webhookServer.port", 9443)
        ),
    ),
}
"""By the last part of the chart's name."""

MANIFESTS = {
    "gateway-api/releases/download/v1.5.1/standard-install.yaml": _GATEWAY_KINDS,
    **{
        f"helm/crds/application-networking.k8s.aws_{plural}.yaml": _LATTICE_KINDS[kind]
        for plural, kind in (
            ("accesslogpolicies", "AccessLogPolicy"),
            ("iamauthpolicies", "IAMAuthPolicy"),
            ("serviceexports", "ServiceExport"),
            ("serviceimports", "ServiceImport"),
            ("servicenetworks", "ServiceNetwork"),
            ("targetgrouppolicies", "TargetGroupPolicy"),
            ("vpcassociationpolicies", "VpcAssociationPolicy"),
        )
    },
    "external-dns/crds/dnsendpoints.externaldns.k8s.io.yaml": _EXTERNAL_DNS_KINDS,
    "aws-load-balancer-controller/crds/crds.yaml": {
        kind: namespaced for kind, namespaced in _CONTROLLER_KINDS.items() if not kind[0].startswith("gateway.")
    },
    "aws-load-balancer-controller/crds/gateway-crds.yaml": {
        kind: namespaced for kind, namespaced in _CONTROLLER_KINDS.items() if kind[0].startswith("gateway.")
    },
}
"""Custom kinds, each with whether it stands in a namespace, by the end of the address that their manifest is at."""
