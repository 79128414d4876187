"""The one compatibility table: what goes together with which Kubernetes version, and where that was read.

To move to a newer version change its row and nothing else. Support dates: the release calendar at
https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html. Add-on versions:

    aws eks describe-addon-versions --kubernetes-version 1.35 --addon-name vpc-cni

Dates are data. Nothing here is refused because a date has passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a row was read, and when."""

    address: str
    read: date


@dataclass(frozen=True, kw_only=True)
class Addon:
    """One EKS add-on at a version that EKS offers for the row's Kubernetes version."""

    name: str
    version: str
    source: Source


@dataclass(frozen=True, kw_only=True)
class KubernetesVersion:
    """One Kubernetes minor version on EKS: until when AWS supports it, and the add-ons that go with it.

    Both dates are days in UTC. On the first EKS starts to bill extended support, or upgrades the control plane where
    the cluster's upgrade policy is STANDARD; on the second it upgrades every control plane.
    """

    name: str
    standard_support_ends: date
    extended_support_ends: date
    source: Source
    addon_rows: tuple[Addon, ...]

    @property
    def addons(self) -> Mapping[str, str]:
        """The add-ons' versions by the add-ons' names."""
        return {addon.name: addon.version for addon in self.addon_rows}


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One Helm chart, with what has to be of the same version: the IAM policy and the custom resources."""

    chart: str
    """As a Helm release takes it: a name, or for an OCI registry the whole address."""
    version: str
    """The chart's version."""
    repository: str | None
    """The address of the chart repository; None where `chart` is an address."""
    policy: str | None
    """The ready-made policy in iam_policies for this very version; None where nothing calls AWS."""
    crds: tuple[str, ...]
    """The custom resource definitions that come with it, by name."""
    source: Source
    app: str | None = None
    """The version of what the chart installs; None where chart and program are numbered alike, with or without v."""

    @property
    def app_version(self) -> str:
        """The version of what the chart installs, with v."""
        return self.app or f"v{self.version.removeprefix('v')}"


@dataclass(frozen=True, kw_only=True)
class Image:
    """One container image that needs neither root nor a capability."""

    reference: str
    port: int = 0
    """The TCP port that it listens on; 0 where it serves nothing."""
    writes: str
    """The one folder that it writes to."""
    user: int
    """The user id that it runs as: the kubelet cannot check `runAsNonRoot` against a user that has a name only."""
    source: Source


# Every stored page was looked up on this day.
_READ = date(2026, 11, 22)

# AWS's pages have tables for three add-ons only. This file is what EKS answered for 1.35, written down by a script.
_ADDON_LISTING = Source(
    address="https://github.com/devopscoop/aws-eks-template/blob/dcce80c64dae12af5f8a88a6c78453a5579cdb3e/cluster/terraform.tfvars",
    read=_READ,
)

KUBERNETES: Mapping[str, KubernetesVersion] = MappingProxyType(
    {
        row.name: row
        for row in (
            KubernetesVersion(
                name="1.35",
                standard_support_ends=date(2027, 3, 27),
                extended_support_ends=date(2028, 3, 27),
                source=Source(
                    address="https://aws-samples.github.io/sample-apex-skills/docs/skills/eks-operation-review/references/cluster-lifecycle",
                    read=_READ,
                ),
                addon_rows=(
                    Addon(
                        name="aws-ebs-csi-driver",
                        version="v1.58.0-eksbuild.1",
                        source=_ADDON_LISTING,
                    ),
                    Addon(
                        name="coredns",
                        version="v1.14.2-eksbuild.4",
                        source=Source(
                            address="https://docs.amazonaws.cn/en_us/eks/latest/userguide/managing-coredns.md",
                            read=_READ,
                        ),
                    ),
                    Addon(
                        name="eks-pod-identity-agent",
                        version="v1.3.10-eksbuild.3",
                        source=_ADDON_LISTING,
                    ),
                    Addon(
                        name="kube-proxy",
                        version="v1.35.3-eksbuild.13",
                        source=Source(
                            address="https://docs.aws.amazon.com/ja_jp/eks/latest/userguide/managing-kube-proxy.md",
                            read=_READ,
                        ),
                    ),
                    Addon(
                        name="vpc-cni",
                        version="v1.21.1-eksbuild.7",
                        source=Source(
                            address="https://docs.amazonaws.cn/eks/latest/userguide/managing-vpc-cni.md",
                            read=_READ,
                        ),
                    ),
                ),
            ),
        )
    }
)
"""The Kubernetes versions that a cluster here may have, by name."""

AWS_LOAD_BALANCER_CONTROLLER = Chart(
    chart="aws-load-balancer-controller",
    # renovate: datasource=helm depName=aws-load-balancer-controller registryUrl=https://aws.github.io/eks-charts
    version="3.5.0",
    repository="https://aws.github.io/eks-charts",
    policy="aws-load-balancer-controller",
    crds=(
        "albtargetcontrolconfigs.elbv2.k8s.aws",
        "globalaccelerators.aga.k8s.aws",
        "ingressclassparams.elbv2.k8s.aws",
        "listenerruleconfigurations.gateway.k8s.aws",
        "loadbalancerconfigurations.gateway.k8s.aws",
        "targetgroupbindings.elbv2.k8s.aws",
        "targetgroupconfigurations.gateway.k8s.aws",
    ),
    source=Source(
        address="https://github.com/kubernetes-sigs/aws-load-balancer-controller/tree/v3.5.0/helm/aws-load-balancer-controller",
        read=_READ,
    ),
)
"""Installs its custom resources once; a later release of the chart neither changes nor removes them."""

CERT_MANAGER = Chart(
    chart="oci://quay.io/jetstack/charts/cert-manager",
    # renovate: datasource=docker depName=quay.io/jetstack/charts/cert-manager
    version="v1.21.1",
    repository=None,
    policy=None,
    crds=(
        "certificaterequests.cert-manager.io",
        "certificates.cert-manager.io",
        "challenges.acme.cert-manager.io",
        "clusterissuers.cert-manager.io",
        "issuers.cert-manager.io",
        "orders.acme.cert-manager.io",
    ),
    source=Source(
        address="https://github.com/cert-manager/cert-manager/tree/v1.21.1/deploy/charts/cert-manager", read=_READ
    ),
)
"""Changes its custom resources with every release of the chart, and keeps them on uninstall if told so."""

KIAM = Chart(
    chart="kiam",
    # The last there will be: the project was abandoned on 2023-10-09. The chart's own default is image v4.0.
    version="6.1.2",
    repository="https://uswitch.github.io/kiam-helm-charts/charts",
    policy=None,
    crds=(),
    source=Source(address="https://github.com/uswitch/kiam/tree/v4.2/helm/kiam", read=_READ),
    app="v4.2",
)
"""Whether repository and image can still be pulled is not known: `kiam.chart` takes another address."""

DEMO_IMAGE = Image(
    # renovate: datasource=docker depName=public.ecr.aws/nginx/nginx-unprivileged
    reference="public.ecr.aws/nginx/nginx-unprivileged:1.30.4-alpine-slim",
    port=8080,
    writes="/tmp",  # noqa: S108 - inside the container
    user=101,
    source=Source(
        address="https://github.com/nginx/docker-nginx-unprivileged/blob/e26803b6ff7ca01455284231c59f20cb5e3ae82e/stable/alpine-slim/Dockerfile",
        read=_READ,
    ),
)
"""A web server with a start page; it writes under /tmp only."""

PROBE_IMAGE = Image(
    # renovate: datasource=docker depName=public.ecr.aws/aws-cli/aws-cli
    reference="public.ecr.aws/aws-cli/aws-cli:2.36.46",
    writes="/tmp",  # noqa: S108 - inside the container
    user=65534,
    source=Source(address="https://docs.aws.amazon.com/cli/latest/userguide/getting-started-docker.html", read=_READ),
)
"""The AWS command, to ask STS who a pod is."""
