"""The TLS provider: the certificates that an issuer of the world presents, and real keys and certificates of our own.

Keys and certificates are made by `cryptography`, so a certificate that does not fit its key or its authority is
refused by it. They stand in no cloud: only the state knows them.
"""

from __future__ import annotations

import datetime as dt

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pulumi.runtime.proto import provider_pb2

from . import wire
from .provider import Provider
from .tokens import CLUSTER
from .wire import Json
from .world import DoubleError, RefusedError

KEY = "tls:index/privateKey:PrivateKey"
REQUEST = "tls:index/certRequest:CertRequest"
SELF_SIGNED = "tls:index/selfSignedCert:SelfSignedCert"
SIGNED = "tls:index/locallySignedCert:LocallySignedCert"

ROOT = {
    "certPem": "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
    "isCa": True,
    "issuer": "CN=Root",
    "maxPathLength": -1,
    "notAfter": "2036-01-01T00:00:00Z",
    "notBefore": "2020-01-01T00:00:00Z",
    "publicKeyAlgorithm": "RSA",
    "serialNumber": "1",
    "sha1Fingerprint": "9e99a48a9960b14926bb7f3b02e22da2b0ab7280",
    "signatureAlgorithm": "SHA256-RSA",
    "subject": "CN=Root",
    "version": 3,
}
LEAF = {**ROOT, "isCa": False, "subject": "CN=*.eks.amazonaws.com", "sha1Fingerprint": "0" * 40, "serialNumber": "2"}
BEGIN = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class Tls(Provider):
    """The TLS provider."""

    package = "tls"

    def replaces(self, resource_type: str, old: dict[str, Json], new: dict[str, Json]) -> tuple[list[str], bool]:
        """A key or certificate is never changed: another one is made."""
        del resource_type
        return [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)], False

    def create(
        self, urn: str, inputs: dict[str, Json], config: dict[str, Json], timeout: float
    ) -> tuple[str, dict[str, Json]]:
        """Make it."""
        del config, timeout
        make = {KEY: _key, REQUEST: _request, SELF_SIGNED: _self_signed, SIGNED: _signed}[wire.type_of(urn)]
        return f"tls-{self.cloud.world.new_hex(32)}", make(inputs)

    def delete(self, urn: str, identity: str, config: dict[str, Json]) -> None:
        """Forget it."""
        del urn, identity, config

    def Read(self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext) -> provider_pb2.ReadResponse:  # noqa: N802
        """Return what the state has."""
        del context
        return provider_pb2.ReadResponse(id=request.id, inputs=request.inputs, properties=request.properties)

    def invoke(self, token: str, args: dict[str, Json]) -> dict[str, Json]:
        """The chain behind an address, top first."""
        if token != "tls:index/getCertificate:getCertificate":  # noqa: S105 a function's token
            return super().invoke(token, args)
        issuers = [each.outputs["identities"][0]["oidcs"][0]["issuer"] for each in self.cloud.world.of_type(CLUSTER)]
        if args.get("url") not in issuers:
            raise RefusedError(f"Failed to get certificate: dial tcp: lookup {args.get('url')}: no such host")
        return {"id": "chain", "url": args["url"], "verifyChain": True, "certificates": [ROOT, LEAF]}


def _pem(key: PrivateKey, form: serialization.PrivateFormat) -> str:
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def _key(inputs: dict[str, Json]) -> dict[str, Json]:
    bits, curve = inputs.get("rsaBits", 2048), inputs.get("ecdsaCurve", "P224")
    curves = {"P256": ec.SECP256R1(), "P384": ec.SECP384R1(), "P521": ec.SECP521R1()}
    if inputs["algorithm"] == "RSA":
        key: PrivateKey = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    elif inputs["algorithm"] == "ECDSA" and curve in curves:
        key = ec.generate_private_key(curves[curve])
    else:
        raise DoubleError(f"no key of {inputs}")
    public = key.public_key()
    openssh = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    return {
        "ecdsaCurve": curve,
        "privateKeyOpenssh": _pem(key, serialization.PrivateFormat.OpenSSH),
        "privateKeyPem": _pem(key, serialization.PrivateFormat.TraditionalOpenSSL),
        "privateKeyPemPkcs8": _pem(key, serialization.PrivateFormat.PKCS8),
        "publicKeyFingerprintMd5": "",
        "publicKeyFingerprintSha256": "",
        "publicKeyOpenssh": openssh,
        "publicKeyPem": public.public_bytes(serialization.Encoding.PEM, info).decode(),
        "rsaBits": bits,
    }


def _load(pem: str) -> PrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), None)
    if not isinstance(key, PrivateKey):
        raise RefusedError("unsupported private key type")
    return key


def _algorithm(key: PrivateKey) -> str:
    return "RSA" if isinstance(key, rsa.RSAPrivateKey) else "ECDSA"


def _name(subject: dict[str, Json] | None) -> x509.Name:
    common = (subject or {}).get("commonName")
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)] if common else [])


def _alternatives(inputs: dict[str, Json]) -> x509.SubjectAlternativeName | None:
    names = [x509.DNSName(each) for each in inputs.get("dnsNames") or []]
    return x509.SubjectAlternativeName(names) if names else None


def _request(inputs: dict[str, Json]) -> dict[str, Json]:
    key = _load(inputs["privateKeyPem"])
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(inputs.get("subject")))
    alternatives = _alternatives(inputs)
    if alternatives:
        builder = builder.add_extension(alternatives, critical=False)
    made = builder.sign(key, hashes.SHA256())
    return {
        "certRequestPem": made.public_bytes(serialization.Encoding.PEM).decode(),
        "keyAlgorithm": _algorithm(key),
    }


def _times(inputs: dict[str, Json]) -> dict[str, Json]:
    end = BEGIN + dt.timedelta(hours=inputs["validityPeriodHours"])
    return {
        "earlyRenewalHours": inputs.get("earlyRenewalHours", 0),
        "isCaCertificate": inputs.get("isCaCertificate", False),
        "maxPathLength": inputs.get("maxPathLength", -1),
        "readyForRenewal": False,
        "setSubjectKeyId": inputs.get("setSubjectKeyId", False),
        "validityEndTime": end.isoformat(),
        "validityStartTime": BEGIN.isoformat(),
    }


def _certificate(
    inputs: dict[str, Json], subject: x509.Name, issuer: x509.Name, public: object, signer: PrivateKey
) -> str:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)  # type: ignore[arg-type]
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGIN)
        .not_valid_after(BEGIN + dt.timedelta(hours=inputs["validityPeriodHours"]))
        .add_extension(x509.BasicConstraints(ca=bool(inputs.get("isCaCertificate")), path_length=None), critical=True)
    )
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _self_signed(inputs: dict[str, Json]) -> dict[str, Json]:
    key, name = _load(inputs["privateKeyPem"]), _name(inputs.get("subject"))
    return {
        **_times(inputs),
        "certPem": _certificate(inputs, name, name, key.public_key(), key),
        "keyAlgorithm": _algorithm(key),
        "setAuthorityKeyId": inputs.get("setAuthorityKeyId", False),
    }


def _signed(inputs: dict[str, Json]) -> dict[str, Json]:
    authority = x509.load_pem_x509_certificate(inputs["caCertPem"].encode())
    signer = _load(inputs["caPrivateKeyPem"])
    if authority.public_key() != signer.public_key():
        raise RefusedError("the CA's private key does not fit its certificate")
    request = x509.load_pem_x509_csr(inputs["certRequestPem"].encode())
    return {
        **_times(inputs),
        "caKeyAlgorithm": _algorithm(signer),
        "certPem": _certificate(inputs, request.subject, authority.subject, request.public_key(), signer),
    }
