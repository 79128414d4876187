"""external-dns: keeps the records of Ingresses that have an address, in the zones that it may and shall write to."""

from __future__ import annotations

from collections.abc import Iterator

from . import kinds_eks, kinds_https, network
from .balancers import ACCOUNT, RELEASE, ROLE_ANNOTATION
from .tokens import RECORD
from .world import Kube, KubeObject, Thing, World


def _works(world: World, kube: Kube) -> KubeObject | None:
    """Its release, where its pod runs and may change records."""
    release = next((each for each in kube.of_type(RELEASE) if each.name == "external-dns"), None)
    if release is None or "ingress" not in release.inputs["values"]["sources"]:
        return None
    account = release.inputs["values"]["serviceAccount"]["name"]
    found = kube.find(ACCOUNT, release.namespace, account)
    annotated = found.inputs["metadata"].get("annotations", {}).get(ROLE_ANNOTATION) if found else None
    problem = kinds_eks.credentials_problem(
        world,
        kinds_eks.cluster_named(world, kube.cluster_name),
        release.namespace,
        account,
        annotated,
        action="route53:ChangeResourceRecordSets",
    )
    nodes = kinds_eks.running_nodes(world, kube.cluster_name)
    online = [network.reaches_internet(world, subnet) for each in nodes for subnet in each.inputs["subnetIds"]]
    return release if problem is None and online and all(online) else None


def _zones(release: KubeObject, host: str) -> Iterator[str]:
    for zone in release.inputs["values"]["extraArgs"]["zone-id-filter"]:
        domain = kinds_https.ZONES.get(zone, "")
        if domain and (host == domain or host.endswith(f".{domain}")):
            yield zone


def _mark(kube: Kube, ingress: KubeObject) -> str:
    return f"external-dns of {kube.cluster_name} for {ingress.id}"


def keep(world: World, kube: Kube, ingress: KubeObject, address: str) -> None:
    """Make the records of an Ingress: the name itself, and who owns it."""
    release = _works(world, kube)
    for rule in ingress.inputs["spec"].get("rules", []) if release else []:
        host = rule.get("host", "")
        for zone in _zones(release, host) if host else ():
            owner = release.inputs["values"]["txtPrefix"].replace("%{record_type}", "a") + host
            for name, kind, value in ((host, "A", address), (owner, "TXT", release.inputs["values"]["txtOwnerId"])):
                inputs = {"zoneId": zone, "name": name, "type": kind, "records": [value]}
                world.add(Thing(RECORD, f"{zone}_{name}_{kind}", inputs, {}, made_by=_mark(kube, ingress)))


def remove(world: World, kube: Kube, ingress: KubeObject) -> None:
    """Take the records of an Ingress away, if somebody is there to do it."""
    if _works(world, kube):
        for each in [*world.of_type(RECORD)]:
            if each.made_by == _mark(kube, ingress):
                world.remove(each)
