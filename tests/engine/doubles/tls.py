"""The TLS provider: the certificates that an issuer of the world presents."""

from __future__ import annotations

from .provider import Provider
from .tokens import CLUSTER
from .wire import Json
from .world import RefusedError

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


class Tls(Provider):
    """The TLS provider."""

    package = "tls"

    def invoke(self, token: str, args: dict[str, Json]) -> dict[str, Json]:
        """The chain behind an address, top first."""
        if token != "tls:index/getCertificate:getCertificate":  # noqa: S105 a function's token
            return super().invoke(token, args)
        issuers = [each.outputs["identities"][0]["oidcs"][0]["issuer"] for each in self.cloud.world.of_type(CLUSTER)]
        if args.get("url") not in issuers:
            raise RefusedError(f"Failed to get certificate: dial tcp: lookup {args.get('url')}: no such host")
        return {"id": "chain", "url": args["url"], "verifyChain": True, "certificates": [ROOT, LEAF]}
