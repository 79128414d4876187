"""The API of one cluster over HTTPS: objects at their paths, for callers with a token as EKS takes it."""

from __future__ import annotations

import base64
import datetime as dt
import http.server
import ipaddress
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass
class Kube:
    """The API and what it holds."""

    url: str = ""
    authority: str = ""
    """Its certificate as EKS hands it out: PEM in base64."""
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By path."""
    refuses: int = 0
    """The status of every answer; 0 for what there is."""
    hidden: str = ""
    """A path that the caller may not read."""
    asked: int = 0

    def put(self, path: str, **values: Any) -> dict[str, Any]:
        """Put an object at its path, with name and namespace from there."""
        parts = path.split("/")
        metadata = {"name": parts[-1], **values.pop("metadata", {})}
        if "namespaces" in parts[:-2]:
            metadata["namespace"] = parts[parts.index("namespaces") + 1]
        self.objects[path] = {"metadata": metadata, **values}
        return self.objects[path]

    def answer(self, address: str, headers: Any) -> tuple[int, object]:
        self.asked += 1
        token = headers.get("Authorization", "").removeprefix("Bearer k8s-aws-v1.")
        question = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
        signed = parse_qs(urlsplit(question).query)
        if signed.get("X-Amz-SignedHeaders") != ["host;x-k8s-aws-id"] or "Action=GetCallerIdentity" not in question:
            return 401, {}
        if self.refuses:
            return self.refuses, {}
        url = urlsplit(address)
        if url.path == self.hidden:
            return 403, {}
        if url.path in self.objects:
            return 200, self.objects[url.path]
        where, _, kind = url.path.rpartition("/")
        found = [
            one
            for path, one in self.objects.items()
            if path.split("/")[-2] == kind and (path.startswith(where + "/") or "/namespaces/" in path)
        ]
        query = parse_qs(url.query)
        for selector in query.get("fieldSelector", []):
            found = [one for one in found if one["metadata"]["name"] == selector.partition("=")[2]]
        for selector in query.get("labelSelector", []):
            key, _, value = selector.partition("=")
            found = [one for one in found if one["metadata"].get("labels", {}).get(key) == value]
        plural = kind in ("deployments", "endpointslices", "serviceaccounts")
        return (200, {"items": found}) if plural else (404, {})


def serve(kube: Kube, folder: Path) -> Callable[[], None]:
    """Start the API on a free port with a certificate of its own, and return what stops it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    own = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "api.pem").write_bytes(own + pem)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, value = kube.answer(self.path, self.headers)
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002 the library's name
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "api.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    kube.url = f"https://127.0.0.1:{server.server_port}"
    kube.authority = base64.b64encode(pem).decode()

    def stop() -> None:
        server.shutdown()
        thread.join()
        server.server_close()

    return stop
