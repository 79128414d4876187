"""Certificates of Kiam: their names, uses, authority and renewal, and the Secrets that it mounts them from."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from preflight.graph import UNKNOWN, Graph, Resource
from preflight.kiam import Kiam, Part
from preflight.rules.eks import many
from preflight.rules.kiam import scene
from preflight.rules.rule import Hit, Stack, UnknownValueError, rule
from preflight.workloads import at, properties, text

_TLS = "https://github.com/uswitch/kiam/blob/master/docs/TLS.md"
_CERTIFICATES = re.compile(r"kubernetes:cert-manager\.io/(v\w+):Certificate")
_PURPOSES = {"server_auth": "server auth", "client_auth": "client auth"}
"""Extended usages as the TLS provider and as cert-manager write them."""
_TLS_TYPES = (
    "tls:index/locallySignedCert:LocallySignedCert",
    "tls:index/selfSignedCert:SelfSignedCert",
    "tls:index/certRequest:CertRequest",
)


@dataclass(frozen=True)
class _Certificate:
    """What a certificate is asked for with; `uses` is None where it is not limited."""

    resource: Resource
    names: frozenset[str]
    addresses: frozenset[str]
    uses: frozenset[str] | None
    authority: str
    renewed: bool
    """Whether somebody makes a new one before it expires."""


@dataclass(frozen=True)
class _Files:
    """A Secret as the program makes it: by its text, or by cert-manager."""

    maker: Resource
    texts: Mapping[str, str] | None
    """What is in it; None where only the names of the files are known."""
    names: frozenset[str]


def _files(stack: Stack, kiam: Kiam, part: Part) -> _Files | None:
    for secret in stack.graph.of_type("kubernetes:core/v1:Secret"):
        values = properties(secret)
        if _is(values, kiam, secret, part, text(values, "metadata", "name")):
            plain, coded = at(values, "stringData"), at(values, "data")
            if UNKNOWN in (plain, coded):
                raise UnknownValueError(secret, "data")
            texts = {key: _decoded(item) for key, item in _texts(coded).items()} | _texts(plain)
            return _Files(secret, texts, frozenset([*_mapping(coded), *_mapping(plain)]))
    for made in stack.graph.resources.values():
        if _CERTIFICATES.fullmatch(made.type):
            values = properties(made)
            if _is(values, kiam, made, part, text(values, "spec", "secretName")):
                return _Files(made, None, frozenset({"tls.crt", "tls.key", "ca.crt"}))
    return None


def _is(values: object, kiam: Kiam, resource: Resource, part: Part, name: str) -> bool:
    namespace = text(values, "metadata", "namespace") or "default"
    return name == part.secret and namespace == part.namespace and kiam.covers(resource)


def _mapping(found: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", found) if isinstance(found, Mapping) else {}


def _texts(found: object) -> dict[str, str]:
    return {key: item for key, item in _mapping(found).items() if isinstance(item, str)}


def _decoded(coded: str) -> str:
    try:
        return base64.b64decode(coded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _certificate(stack: Stack, kiam: Kiam, part: Part) -> _Certificate | None:
    """The certificate of the agent or the server, where the program makes it."""
    files = _files(stack, kiam, part)
    if files is None:
        return None
    if files.texts is None:
        spec = at(properties(files.maker), "spec")
        uses = {use for use, said in _PURPOSES.items() if said in many(spec, "usages")}
        issuer = f"{text(spec, 'issuerRef', 'kind') or 'Issuer'} {text(spec, 'issuerRef', 'name')}"
        return _Certificate(
            files.maker,
            frozenset(map(str, many(spec, "dnsNames"))),
            frozenset(map(str, many(spec, "ipAddresses"))),
            frozenset(uses) or None,
            issuer,
            renewed=True,
        )
    return _signed(stack.graph, files.texts.get(part.files["cert"], "").strip())


def _signed(graph: Graph, pem: str) -> _Certificate | None:
    requests = {text(properties(one), "certRequestPem").strip(): one for one in graph.of_type(_TLS_TYPES[2])}
    for one in graph.of_type(*_TLS_TYPES[:2]):
        values = properties(one)
        if not pem or text(values, "certPem").strip() != pem:
            continue
        request = requests.get(text(values, "certRequestPem").strip())
        asked = properties(request) if request else values
        allowed = {str(use) for use in many(values, "allowedUses")}
        uses = set(_PURPOSES) if "any_extended" in allowed else allowed & set(_PURPOSES)
        limited = any(
            re.search(r"_auth$|_signing$|^any_|^ipsec|timestamping", use) for use in allowed - {"cert_signing"}
        )
        early = at(values, "earlyRenewalHours")
        return _Certificate(
            request or one,
            frozenset(map(str, many(asked, "dnsNames"))),
            frozenset(map(str, many(asked, "ipAddresses"))),
            frozenset(uses) if limited else None,
            text(values, "caCertPem").strip() or pem,
            renewed=isinstance(early, int | float) and early > 0,
        )
    return None


def _own_secret(part: Part) -> bool:
    """Whether the chart makes the Secret itself."""
    return part.of_chart and not at(properties(part.resource), "values", part.kind, "tlsSecret")


def _certificates(stack: Stack) -> Iterator[tuple[Kiam, Part, _Certificate]]:
    for kiam in scene(stack).kiams:
        for part in kiam.parts:
            if found := _certificate(stack, kiam, part):
                yield kiam, part, found


@rule(
    "kiam-secret-missing",
    title="Nobody makes the Secret with Kiam's certificates",
    severity="warning",
    looks_at="`tlsSecret` of agent and server, against Secrets and cert-manager Certificates in the same namespace.",
    why="The pods wait for the Secret; keys made by hand stay in somebody's working directory and expire unnoticed.",
    source=_TLS,
    fix="Make it with the TLS provider or cert-manager, in the namespace of the release.",
)
def kiam_secret_missing(stack: Stack) -> Iterator[Hit]:
    """The program makes both Secrets."""
    for kiam in scene(stack).kiams:
        for part in kiam.parts:
            if part.secret and not _own_secret(part) and _files(stack, kiam, part) is None:
                yield Hit(
                    resource=part.resource,
                    message=f"Kiam's {part.kind} takes its certificate from Secret {part.namespace}/{part.secret}, "
                    "which nothing in this program makes.",
                    fix="Make it with the TLS provider or a cert-manager Certificate, in that namespace and under that "
                    "name; where it is there already, waive this.",
                )


@rule(
    "kiam-secret-late",
    title="Kiam can start before its certificates are there",
    severity="warning",
    looks_at="Dependencies of Kiam on the Secrets or Certificates that it mounts.",
    why="Pods wait for the Secret; a release that is waited for can time out, and is undone.",
    source=_TLS,
    fix="Let the release depend on both.",
)
def kiam_secret_late(stack: Stack) -> Iterator[Hit]:
    """Kiam waits for its certificates."""
    for kiam in scene(stack).kiams:
        for part in kiam.parts:
            files = _files(stack, kiam, part)
            if files and not stack.graph.reaches(part.resource.urn, files.maker.urn):
                yield Hit(
                    resource=part.resource,
                    message=f"{part.resource.name} does not wait for {files.maker.name}, which its {part.kind} mounts.",
                    fix=f"Add {files.maker.name} to depends_on of {part.resource.name}.",
                )


@rule(
    "kiam-secret-files",
    title="The Secret has other files than Kiam opens",
    severity="error",
    looks_at="`tlsCerts` of agent and server against the keys of the Secret; cert-manager writes tls.crt, tls.key and "
    "ca.crt.",
    why="The binary ends at once: it cannot open its certificate.",
    source=_TLS,
    fix="Write the Secret's own names into tlsCerts.",
)
def kiam_secret_files(stack: Stack) -> Iterator[Hit]:
    """The names in the values are those in the Secret."""
    for kiam in scene(stack).kiams:
        for part in kiam.parts:
            files = _files(stack, kiam, part)
            missing = sorted(set(part.files.values()) - files.names) if files else []
            given = at(properties(part.resource), "values", part.kind, "tlsFiles")
            if part.of_chart and any(
                _texts(given).values()
            ):  # the chart then writes these names, whatever tlsCerts says
                missing = sorted(set(part.files.values()) - {"ca", "cert", "key"})
            if missing:
                there = ", ".join(sorted(files.names)) if files else "ca, cert, key"
                yield Hit(
                    resource=part.resource,
                    message=f"Kiam's {part.kind} opens {', '.join(missing)} of {part.secret}, which has {there}.",
                    fix=f"Set {part.kind}.tlsCerts.certFileName, keyFileName and caFileName to these: {there}.",
                )


@rule(
    "kiam-certificate-name",
    title="The certificate of Kiam's server does not carry its names",
    severity="error",
    looks_at="DNS names and addresses of the server's certificate, against the address that agents dial and the one "
    "that the probes do.",
    why="Agents say `there is no connection available`; the probes fail and the server is restarted.",
    source=_TLS,
    fix="Write the service's name and 127.0.0.1 into the certificate, and fix the release's name.",
)
def kiam_certificate_name(stack: Stack) -> Iterator[Hit]:
    """The server's certificate is for <fullname>-server and for the address of its probes."""
    for kiam, part, certificate in _certificates(stack):
        if part.kind != "server" or kiam.agent is None:
            continue
        probed = at(properties(part.resource), "values", "server", "probes", "serverAddress") or "127.0.0.1"
        dialled = kiam.agent.flag("server-address").rpartition(":")[0].removeprefix("dns:///")
        have = {*certificate.names, *certificate.addresses}
        missing = [name for name in (dialled, str(probed)) if name not in have]
        if "127.0.0.1" in certificate.names - certificate.addresses and "127.0.0.1" not in certificate.addresses:
            missing.append("127.0.0.1 as an address")
        if missing:
            yield Hit(
                resource=certificate.resource,
                message=f"The certificate of Kiam's server is for {', '.join(sorted(have)) or 'no name'}, and not for "
                f"{', '.join(missing)}.",
                fix=f'Ask for dns_names ["{dialled}", "localhost"] and ip_addresses ["{probed}"].',
            )


@rule(
    "kiam-certificate-usage",
    title="A certificate of Kiam is not allowed its use",
    severity="error",
    looks_at="Extended usages: server and client for the server, whose probes use its certificate too; client for the "
    "agent.",
    why="The other side refuses the handshake.",
    source=_TLS,
    fix="Allow server_auth and client_auth to the server, client_auth to the agent.",
)
def kiam_certificate_usage(stack: Stack) -> Iterator[Hit]:
    """Certificates may be used for what they are used for."""
    for _, part, certificate in _certificates(stack):
        needed = set(_PURPOSES) if part.kind == "server" else {"client_auth"}
        missing = sorted(needed - certificate.uses) if certificate.uses is not None else []
        if missing:
            yield Hit(
                resource=certificate.resource,
                message=f"The certificate of Kiam's {part.kind} lacks {', '.join(missing)}.",
                fix=f"Allow it {' and '.join(sorted(needed))}.",
            )


@rule(
    "kiam-certificate-authority",
    title="Agent and server of Kiam do not trust each other's authority",
    severity="error",
    looks_at="The authority in each Secret against the one that signed the other side's certificate.",
    why="Each verifies the other; the handshake fails and no pod gets a role.",
    source=_TLS,
    fix="Sign both with one authority, and put that into both Secrets.",
)
def kiam_certificate_authority(stack: Stack) -> Iterator[Hit]:
    """One authority signs both certificates and stands in both Secrets."""
    for kiam in scene(stack).kiams:
        sides = {part.kind: (_files(stack, kiam, part), _certificate(stack, kiam, part), part) for part in kiam.parts}
        for mine, other in (("agent", "server"), ("server", "agent")):
            files, own, part = sides.get(mine, (None, None, None))
            theirs = sides[other][1] if other in sides else None
            if not (files and own and part and theirs):
                continue
            trusted = own.authority if files.texts is None else files.texts.get(part.files["ca"], "").strip()
            if trusted and trusted != theirs.authority:
                yield Hit(
                    resource=files.maker,
                    message=f"The authority that Kiam's {mine} trusts is not the one that signed for the {other}.",
                    fix="Sign both certificates with one authority and put its certificate into both Secrets.",
                )


@rule(
    "kiam-certificate-renewal",
    title="A certificate of Kiam expires without anybody renewing it",
    severity="warning",
    looks_at="`early_renewal_hours` of certificates of the TLS provider; certificates that the chart makes.",
    why="A year on no pod gets a role. The chart makes its own anew at each upgrade, and old pods keep the old "
    "authority.",
    source=_TLS,
    fix="Set early_renewal_hours, or use cert-manager.",
)
def kiam_certificate_renewal(stack: Stack) -> Iterator[Hit]:
    """Certificates are renewed before they expire."""
    for _, part, certificate in _certificates(stack):
        if not certificate.renewed:
            yield Hit(
                resource=certificate.resource,
                message=f"The certificate of Kiam's {part.kind} is made once and expires.",
                fix="Set early_renewal_hours on it, so that a later update renews it, or use cert-manager.",
            )
    for part in scene(stack).parts:
        if _own_secret(part) and not any(
            _texts(at(properties(part.resource), "values", part.kind, "tlsFiles")).values()
        ):
            yield Hit(
                resource=part.resource,
                message=f"The certificate of Kiam's {part.kind} is the chart's own: good for 365 days, and another one "
                "at each upgrade.",
                fix=f"Make a Secret with the TLS provider or cert-manager, and name it in {part.kind}.tlsSecret.",
            )


@rule(
    "kiam-certificate-api",
    title="A certificate for Kiam is written for a cert-manager of long ago",
    severity="error",
    looks_at="API version of cert-manager Certificates whose Secret Kiam mounts.",
    why="cert-manager serves v1 only; the project's own pages still say v1alpha2.",
    source="https://cert-manager.io/docs/releases/release-notes/release-notes-1.6/",
    fix="Write cert-manager.io/v1.",
)
def kiam_certificate_api(stack: Stack) -> Iterator[Hit]:
    """Certificates are of cert-manager.io/v1."""
    for _, _, certificate in _certificates(stack):
        found = _CERTIFICATES.fullmatch(certificate.resource.type)
        if found and found[1] != "v1":
            yield Hit(
                resource=certificate.resource,
                message=f"Certificate {certificate.resource.name} is of cert-manager.io/{found[1]}; allowed: v1.",
                fix="Write cert-manager.io/v1.",
            )
