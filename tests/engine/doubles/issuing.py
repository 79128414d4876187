"""cert-manager at work: it writes a Secret for every Certificate, and writes it again when somebody deletes it.

Not played: certificates of public authorities, and what is in the files.
"""

from __future__ import annotations

from collections.abc import Iterator

from .world import Kube, KubeObject

RELEASE = "kubernetes:helm.sh/v3:Release"
SECRET = "kubernetes:core/v1:Secret"  # noqa: S105 a type, no secret
ISSUER = "kubernetes:cert-manager.io/v1:Issuer"
CERTIFICATE = "kubernetes:cert-manager.io/v1:Certificate"
FILES = ("ca.crt", "tls.crt", "tls.key")


def problems(kube: Kube, item: KubeObject) -> Iterator[str]:
    """Why an Issuer or a Certificate does not become ready."""
    if not any(each.inputs["chart"].endswith("cert-manager") for each in kube.of_type(RELEASE)):
        yield "no cert-manager runs"
    spec = item.inputs["spec"]
    if item.type == ISSUER and "ca" in spec:
        name = spec["ca"]["secretName"]
        if kube.find(SECRET, item.namespace, name) is None:
            yield f'secret "{name}" not found'
    if item.type == CERTIFICATE and spec["issuerRef"].get("kind", "Issuer") == "Issuer":
        name = spec["issuerRef"]["name"]
        if kube.find(ISSUER, item.namespace, name) is None:
            yield f'issuer "{name}" not found'


def write(kube: Kube, certificate: KubeObject) -> None:
    """Put certificate and key into the Secret, whoever made it."""
    name = certificate.inputs["spec"]["secretName"]
    key = (SECRET, certificate.namespace, name)
    files = {**(contents(kube.objects[key]) if key in kube.objects else {}), **dict.fromkeys(FILES, "by cert-manager")}
    kube.objects[key] = KubeObject(*key, {"metadata": {"name": name, "namespace": key[1]}, "data": files}, {})


def write_again(kube: Kube, secret: KubeObject) -> None:
    """After a Secret was deleted."""
    for each in kube.of_type(CERTIFICATE):
        wanted = (each.namespace, each.inputs["spec"]["secretName"])
        if wanted == (secret.namespace, secret.name) and not list(problems(kube, each)):
            write(kube, each)


def contents(secret: KubeObject) -> dict[str, str]:
    """The files of a Secret."""
    return {**secret.inputs.get("data", {}), **secret.inputs.get("stringData", {})}
