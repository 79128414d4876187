"""Custom resource definitions as a step of their own, where Helm would install them once and never again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import pulumi
import pulumi_kubernetes as kubernetes

from components.cluster_target import ClusterTarget


def custom_resources(
    name: str, addresses: Sequence[str], *, cluster: ClusterTarget, parent: pulumi.Resource
) -> list[pulumi.Resource]:
    """Register the manifests of custom resource definitions: one component each, one resource a definition inside.

    They are made and updated before whatever depends on them, and stay when they leave the program: a definition takes
    every object of its kind along. The provider downloads the manifests: preflight does not see the definitions inside,
    and the engine asks it only once there is a cluster, so that the first preview does not list them either.

    Args:
        name: prefix of the logical names, which end with the file's name.
        addresses: https addresses, or paths from the program's folder.
        cluster: where to.
        parent: the component.
    """
    return [
        kubernetes.yaml.v2.ConfigFile(
            f"{name}-{PurePosixPath(address).stem}",
            file=address,
            opts=pulumi.ResourceOptions(parent=parent, provider=cluster.kubernetes_provider, retain_on_delete=True),
        )
        for address in addresses
    ]
