"""The cluster as the components see it that put releases and objects into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components.versions import KubernetesVersion


@dataclass(frozen=True, kw_only=True)
class ClusterTarget:
    """What a component needs that puts releases and objects into a cluster."""

    name: str
    region: str
    version: KubernetesVersion
    """Its row in the compatibility table: which charts go with it."""
    kubernetes_provider: kubernetes.Provider
    aws_provider: aws.Provider
    control_plane_security_group_id: pulumi.Input[str]
    """Where webhook calls come from."""
    node_security_group_id: pulumi.Input[str]
    """Where webhooks answer."""
    ready: Sequence[pulumi.Resource]
    """Nodes that pods can run on, with network, DNS and credentials."""
