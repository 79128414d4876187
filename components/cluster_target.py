"""The cluster as the components see it that put releases and objects into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components.image_registry import image_from
from components.versions import Image, KubernetesVersion


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
    image_registry: str | None = None
    """Where charts and images come from, in place of the public registries."""
    apply_crds: bool = False
    """Whether definitions that Helm installs once and never again are a step before the release."""

    def image(self, public: Image) -> Image:
        """The image where this cluster's nodes pull it from."""
        return replace(public, reference=image_from(self.image_registry, public.reference))
