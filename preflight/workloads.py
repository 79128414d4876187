"""Which pods a program brings into a cluster, and under which service account each of them runs.

Pods come from objects with a pod template, from Helm releases and from EKS add-ons. What a chart or an add-on makes
is not in the program; its service accounts follow from the values, from the chart's own defaults where the chart is
known here, and else from the names that `helm create` gives every chart, which `Workload.certain` tells apart.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from preflight.graph import Graph, Resource, reveal

SERVICE_ACCOUNT = "kubernetes:core/v1:ServiceAccount"
ADDON = "aws:eks/addon:Addon"
RELEASES = ("kubernetes:helm.sh/v3:Release", "kubernetes:helm.sh/v4:Chart", "kubernetes:helm.sh/v3:Chart")

# Kinds with pods, and where in the object their pod spec is.
_POD_SPECS = {
    "Pod": ("spec",),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
    **dict.fromkeys(
        ("DaemonSet", "Deployment", "Job", "ReplicaSet", "ReplicationController", "StatefulSet"),
        ("spec", "template", "spec"),
    ),
}

# Service accounts of charts, read in their values.yaml and templates: where the values name the account, and the name
# it has where they do not; {full} and {release} are Helm's. A name without either stands in values.yaml itself, so it
# holds also where the chart does not make the account.
_CHARTS: dict[str, tuple[tuple[str, str], ...]] = {
    "aws-ebs-csi-driver": (
        ("controller.serviceAccount", "ebs-csi-controller-sa"),
        ("node.serviceAccount", "ebs-csi-node-sa"),
    ),
    "aws-efs-csi-driver": (
        ("controller.serviceAccount", "efs-csi-controller-sa"),
        ("node.serviceAccount", "efs-csi-node-sa"),
    ),
    "aws-gateway-controller-chart": (("serviceAccount", "gateway-api-controller"),),
    "aws-load-balancer-controller": (("serviceAccount", "{full}"),),
    "cert-manager": (
        ("serviceAccount", "{full}"),
        ("cainjector.serviceAccount", "{full}-cainjector"),
        ("webhook.serviceAccount", "{full}-webhook"),
    ),
    "cluster-autoscaler": (("rbac.serviceAccount", "{release}-aws-cluster-autoscaler"),),
    "external-dns": (("serviceAccount", "{full}"),),
    "karpenter": (("serviceAccount", "{full}"),),
    "kiam": (("serviceAccounts.agent", "{full}-agent"), ("serviceAccounts.server", "{full}-server")),
}
# Accounts of charts whose pods share the node's network by another value than their own hostNetwork; "" is always.
_ON_HOST = {("kiam", "serviceAccounts.agent"): "", ("kiam", "serviceAccounts.server"): "server.useHostNetwork"}

# EKS add-ons: namespace, service account of the pods that call AWS, and whether they share the node's network.
# `aws eks describe-addon-configuration` names the accounts; the host's network stands in the add-ons' manifests.
_ADDONS: dict[str, tuple[str, str, bool]] = {
    "amazon-cloudwatch-observability": ("amazon-cloudwatch", "cloudwatch-agent", False),
    "aws-ebs-csi-driver": ("kube-system", "ebs-csi-controller-sa", False),
    "aws-efs-csi-driver": ("kube-system", "efs-csi-controller-sa", False),
    "aws-mountpoint-s3-csi-driver": ("kube-system", "s3-csi-driver-sa", False),
    "coredns": ("kube-system", "coredns", False),
    "eks-pod-identity-agent": ("kube-system", "eks-pod-identity-agent", True),
    "kube-proxy": ("kube-system", "kube-proxy", True),
    "snapshot-controller": ("kube-system", "snapshot-controller", False),
    "vpc-cni": ("kube-system", "aws-node", True),
}


@dataclass(frozen=True)
class Workload:
    """Pods that run under one service account.

    `makes_account`: the chart or add-on brings the account along, with `annotations`. `certain` is False where
    the account's name is only Helm's convention. `host_network`: they share the node's network, metadata included.
    """

    label: str
    resource: Resource
    namespace: str
    account: str
    host_network: bool = False
    makes_account: bool = False
    annotations: Mapping[str, object] = field(default_factory=dict[str, object])
    certain: bool = True
    pod_annotations: Mapping[str, object] = field(default_factory=dict[str, object])
    """What the pods themselves carry, not the object that makes them."""
    pod: Mapping[str, object] = field(default_factory=dict[str, object])
    """What is known of their spec; of a chart's pods, what its values say where `helm create` puts it."""
    values_path: tuple[str, ...] = ()
    """Where a chart's values say what its account is; empty for pods that are of no chart."""


def workloads(graph: Graph) -> list[Workload]:
    """Return everything with pods, in the order of registration."""
    return [workload for resource in graph.resources.values() for workload in _of(resource)]


def properties(resource: Resource) -> dict[str, object]:
    """Return what is known of a resource, outputs over inputs, without secret wrappers: never print all of it."""
    return cast("dict[str, object]", reveal({**resource.inputs, **resource.outputs}))


def at(value: object, *path: str) -> object:
    """Return what stands at a path of keys (of "0", "1" in lists); None where there is nothing."""
    for key in path:
        if isinstance(value, Mapping):
            value = cast("Mapping[str, object]", value).get(key)
        elif isinstance(value, list) and key.isdecimal():
            items = cast("list[object]", value)
            value = items[int(key)] if int(key) < len(items) else None
        else:
            return None
    return value


def text(value: object, *path: str) -> str:
    """Return the text at a path; "" where there is none or it is not known."""
    found = at(value, *path)
    return found if isinstance(found, str) else ""


def _of(resource: Resource) -> Iterator[Workload]:
    if resource.type == ADDON:
        yield from _of_addon(resource)
    elif resource.type in RELEASES:
        yield from _of_release(resource)
    elif resource.package == "kubernetes" and (kind := resource.type.rpartition(":")[2]) in _POD_SPECS:
        values = properties(resource)
        spec = at(values, *_POD_SPECS[kind])
        namespace = text(values, "metadata", "namespace") or "default"
        account = text(spec, "serviceAccountName") or text(spec, "serviceAccount") or "default"
        label = f"{kind} {namespace}/{text(values, 'metadata', 'name') or resource.name}"
        yield Workload(
            label,
            resource,
            namespace,
            account,
            at(spec, "hostNetwork") is True,
            pod_annotations=_fields(at(values, *_POD_SPECS[kind][:-1], "metadata", "annotations")),
            pod=_fields(spec),
        )


def _of_addon(resource: Resource) -> Iterator[Workload]:
    values = properties(resource)
    name = text(values, "addonName")
    if name in _ADDONS:
        namespace, account, host_network = _ADDONS[name]
        yield Workload(f"add-on {name}", resource, namespace, account, host_network, makes_account=True)


def _of_release(resource: Resource) -> Iterator[Workload]:
    inputs = properties(resource)
    values = at(inputs, "values")
    chart = text(inputs, "chart").rstrip("/").rpartition("/")[2]
    release = text(inputs, "name") or resource.name
    namespace = text(inputs, "namespace") or "default"
    known = _CHARTS.get(chart)
    for path, template in known or _by_convention(values):
        settings = at(values, *path.split("."))
        makes = at(settings, "create") is not False
        name = template.format(full=full_name(values, release, chart), release=release)
        if not makes and name != template:
            name = "default"
        yield Workload(
            label=f"release {namespace}/{release}",
            resource=resource,
            namespace=namespace,
            account=text(settings, "name") or name,
            host_network=_on_host(values, chart, path),
            makes_account=makes,
            annotations=_fields(at(settings, "annotations")),
            certain=known is not None or bool(text(settings, "name")),
            pod_annotations=_fields(at(values, *path.split(".")[:-1], "podAnnotations")),
            pod=_fields(at(values, *path.split(".")[:-1])),
            values_path=tuple(path.split(".")),
        )


def _on_host(values: object, chart: str, path: str) -> bool:
    where = _ON_HOST.get((chart, path), ".".join([*path.split(".")[:-1], "hostNetwork"]))
    return not where or at(values, *where.split(".")) is True


def _by_convention(values: object, path: str = "") -> list[tuple[str, str]]:
    """Return the accounts of a chart that is not known here: wherever the values say serviceAccount, or at the top."""
    found: list[tuple[str, str]] = []
    for key, value in cast("Mapping[str, object]", values).items() if isinstance(values, Mapping) else ():
        if key == "serviceAccount" and isinstance(value, Mapping):
            component = path.replace(".", "-")
            found.append((f"{path}serviceAccount", f"{{full}}-{component}".rstrip("-")))
        elif isinstance(value, Mapping):
            found += _by_convention(cast("object", value), f"{path}{key}.")
    return found or ([] if path else [("serviceAccount", "{full}")])


def _fields(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def full_name(values: object, release: str, chart: str) -> str:
    """The name that charts made by `helm create` give their objects."""
    name = text(values, "nameOverride") or chart
    full = text(values, "fullnameOverride") or (release if name in release else f"{release}-{name}")
    return full[:63].rstrip("-")
