"""The one compatibility table: what goes together with which Kubernetes version, and where that was read.

A row of `KUBERNETES` names the charts that go with its version; a chart names its IAM policy, its custom resources and
the Gateway API that it is built for. To move to a newer version change its row and nothing else. Support dates: the
release calendar at https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html. Add-on versions:

    aws eks describe-addon-versions --kubernetes-version 1.35 --addon-name vpc-cni

Dates are data. Nothing here is refused because a date has passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
    crd_files: tuple[str, ...] = ()
    """The addresses of the manifests of `crds`, with {app_version}, where Helm installs them once and never again.
    Empty where the chart's templates carry them."""
    gateway_api: str | None = None
    """The minor version of the Gateway API that it is built for; None where it has no use for one."""
    images: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the chart has by itself, by the path of the value: the address of an image without tag, or its beginning."""

    @property
    def name(self) -> str:
        """The chart's own name, which is the release's too."""
        return self.chart.rsplit("/", 1)[-1]

    @property
    def app_version(self) -> str:
        """The version of what the chart installs, with v."""
        return self.app or f"v{self.version.removeprefix('v')}"

    @property
    def crd_addresses(self) -> tuple[str, ...]:
        """The manifests of its custom resources at this version, for a step of their own."""
        return tuple(file.format(app_version=self.app_version) for file in self.crd_files)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Custom resource definitions that no chart brings, as one manifest."""

    version: str
    address: str
    """Where the manifest is, with {version}."""
    source: Source

    @property
    def manifest(self) -> str:
        """Where the manifest is at this version."""
        return self.address.format(version=self.version)


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
    charts: tuple[Chart, ...]
    """The charts that go with it; of several versions of one chart the first is taken where a stack names none."""

    @property
    def addons(self) -> Mapping[str, str]:
        """The add-ons' versions by the add-ons' names."""
        return {addon.name: addon.version for addon in self.addon_rows}

    def chart_versions(self, name: str) -> tuple[str, ...]:
        """The versions of a chart that go with it, the preferred one first."""
        return tuple(chart.version for chart in self.charts if chart.name == name)

    def chart(self, name: str, version: str | None = None) -> Chart:
        """The chart of this name, at this version or the preferred one.

        Raises:
            LookupError: the row has no such pair. Settings refuse it before anything asks.
        """
        for chart in self.charts:
            if chart.name == name and version in (None, chart.version):
                return chart
        known = ", ".join(self.chart_versions(name)) or "none"
        raise LookupError(f"no {name} {version or ''} beside Kubernetes {self.name}; known: {known}")


# Every stored page was looked up on this day.
_READ = date(2026, 11, 22)

_LBC = (
    "https://raw.githubusercontent.com/kubernetes-sigs/aws-load-balancer-controller/{app_version}"
    "/helm/aws-load-balancer-controller"
)
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
    crd_files=(
        _LBC + "/crds/crds.yaml",
        _LBC + "/crds/gateway-crds.yaml",
    ),
    gateway_api="v1.6",
    source=Source(
        address="https://github.com/kubernetes-sigs/aws-load-balancer-controller/tree/v3.5.0/helm/aws-load-balancer-controller",
        read=_READ,
    ),
    images={"image.repository": "public.ecr.aws/eks/aws-load-balancer-controller"},
)
"""Installs its custom resources once; a later release of the chart neither changes nor removes them."""

AWS_LOAD_BALANCER_CONTROLLER_3_4 = replace(
    AWS_LOAD_BALANCER_CONTROLLER,
    # not renovated: the last of its minor version
    version="3.4.3",
    gateway_api="v1.5",
    source=Source(
        address="https://github.com/kubernetes-sigs/aws-load-balancer-controller/tree/v3.4.3/helm/aws-load-balancer-controller",
        read=_READ,
    ),
)
"""The version before, to move from and to go back to; beside the Gateway API of the Lattice controller it may stay."""

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
    images={"imageRegistry": "quay.io"},
)
"""Changes its custom resources with every release of the chart, and keeps them on uninstall if told so."""

EXTERNAL_DNS = Chart(
    chart="external-dns",
    # renovate: datasource=helm depName=external-dns registryUrl=https://kubernetes-sigs.github.io/external-dns
    version="1.21.1",
    repository="https://kubernetes-sigs.github.io/external-dns/",
    policy="external-dns",
    crds=("dnsendpoints.externaldns.k8s.io",),
    crd_files=(
        "https://raw.githubusercontent.com/kubernetes-sigs/external-dns/{app_version}"
        "/charts/external-dns/crds/dnsendpoints.externaldns.k8s.io.yaml",
    ),
    source=Source(
        address="https://github.com/kubernetes-sigs/external-dns/tree/external-dns-helm-chart-1.21.1/charts/external-dns",
        read=_READ,
    ),
    app="v0.21.0",
    images={"image.repository": "registry.k8s.io/external-dns/external-dns"},
)
"""Installs its custom resource once; a later release of the chart neither changes nor removes it."""

KIAM = Chart(
    chart="kiam",
    # not renovated: the last there will be, since the project was abandoned on 2023-10-09
    version="6.1.2",
    repository="https://uswitch.github.io/kiam-helm-charts/charts",
    policy=None,
    crds=(),
    source=Source(address="https://github.com/uswitch/kiam/tree/v4.2/helm/kiam", read=_READ),
    # The chart's own default is image v4.0.
    app="v4.2",
    images={f"{part}.image.repository": "quay.io/uswitch/kiam" for part in ("agent", "server")},
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

_LATTICE_CONTROLLER_CRDS = (
    "https://raw.githubusercontent.com/aws/aws-application-networking-k8s/{app_version}"
    "/helm/crds/application-networking.k8s.aws_"
)
LATTICE_CONTROLLER = Chart(
    chart="oci://public.ecr.aws/aws-application-networking-k8s/aws-gateway-controller-chart",
    # renovate: datasource=docker depName=public.ecr.aws/aws-application-networking-k8s/aws-gateway-controller-chart
    version="v2.1.3",
    repository=None,
    policy="aws-gateway-api-controller",
    crds=(
        "accesslogpolicies.application-networking.k8s.aws",
        "iamauthpolicies.application-networking.k8s.aws",
        "serviceexports.application-networking.k8s.aws",
        "serviceimports.application-networking.k8s.aws",
        "servicenetworks.application-networking.k8s.aws",
        "targetgrouppolicies.application-networking.k8s.aws",
        "vpcassociationpolicies.application-networking.k8s.aws",
    ),
    crd_files=tuple(
        f"{_LATTICE_CONTROLLER_CRDS}{kind}.yaml"
        for kind in (
            "accesslogpolicies",
            "iamauthpolicies",
            "serviceexports",
            "serviceimports",
            "servicenetworks",
            "targetgrouppolicies",
            "vpcassociationpolicies",
        )
    ),
    images={"image.repository": "public.ecr.aws/aws-application-networking-k8s/aws-gateway-controller"},
    # Older controllers crash on the custom resources of v1.5, and this one does not start without them.
    gateway_api="v1.5",
    source=Source(address="https://github.com/aws/aws-application-networking-k8s/tree/v2.1.3/helm", read=_READ),
)
"""Needs Kubernetes 1.31 or newer. Installs its custom resources once, and the Gateway API's not at all."""

GATEWAY_API = Bundle(
    # renovate: datasource=github-releases depName=kubernetes-sigs/gateway-api
    version="v1.5.1",
    address="https://github.com/kubernetes-sigs/gateway-api/releases/download/{version}/standard-install.yaml",
    source=Source(address="https://github.com/kubernetes-sigs/gateway-api/tree/v1.5.1/config/crd", read=_READ),
)
"""Of the minor version that LATTICE_CONTROLLER is built for."""

KYVERNO = Chart(
    chart="kyverno",
    # renovate: datasource=helm depName=kyverno registryUrl=https://kyverno.github.io/kyverno
    version="3.9.0",
    repository="https://kyverno.github.io/kyverno",
    policy=None,
    crds=("mutatingpolicies.policies.kyverno.io",),
    images={
        "admissionController.initContainer.image.registry": "reg.kyverno.io",
        "admissionController.container.image.registry": "reg.kyverno.io",
        "crds.migration.image.registry": "reg.kyverno.io",
        "webhooksCleanup.image.registry": "ghcr.io",
    },
    source=Source(address="https://github.com/kyverno/kyverno/tree/v1.19.0/charts/kyverno", read=_READ),
    app="v1.19.0",
)
"""Runs on Kubernetes 1.33 to 1.35. Of its custom resources, which come and go with it, only the one in use is named."""

# ---- what goes together: charts and images stand above -------------------------------------------------------------

_CHARTS = (
    AWS_LOAD_BALANCER_CONTROLLER,
    AWS_LOAD_BALANCER_CONTROLLER_3_4,
    CERT_MANAGER,
    EXTERNAL_DNS,
    LATTICE_CONTROLLER,
    KYVERNO,
)
_COREDNS_TABLE = Source(
    address="https://docs.amazonaws.cn/en_us/eks/latest/userguide/managing-coredns.md",
    read=_READ,
)
_KUBE_PROXY_TABLE = Source(
    address="https://docs.aws.amazon.com/ja_jp/eks/latest/userguide/managing-kube-proxy.md",
    read=_READ,
)


def _listing(commit: str) -> Source:
    """What EKS answered for one version, written down by a script: AWS's pages have tables for three add-ons only."""
    return Source(
        address=f"https://github.com/devopscoop/aws-eks-template/blob/{commit}/cluster/terraform.tfvars", read=_READ
    )


_ADDONS_OF_1_34 = _listing("d72b85eb3086f4154a39913b8247f02062eeb9f6")
_ADDONS_OF_1_35 = _listing("dcce80c64dae12af5f8a88a6c78453a5579cdb3e")

KUBERNETES: Mapping[str, KubernetesVersion] = MappingProxyType(
    {
        row.name: row
        for row in (
            KubernetesVersion(
                name="1.34",
                standard_support_ends=date(2026, 12, 2),
                extended_support_ends=date(2027, 12, 2),
                source=Source(
                    address="https://endoflife.date/amazon-eks",
                    read=_READ,
                ),
                addon_rows=(
                    Addon(
                        name="aws-ebs-csi-driver",
                        # renovate: eks=1.34 addon=aws-ebs-csi-driver
                        version="v1.58.0-eksbuild.1",
                        source=_ADDONS_OF_1_34,
                    ),
                    Addon(
                        name="coredns",
                        # renovate: eks=1.34 addon=coredns
                        version="v1.13.2-eksbuild.7",
                        source=_COREDNS_TABLE,
                    ),
                    Addon(
                        name="eks-pod-identity-agent",
                        # renovate: eks=1.34 addon=eks-pod-identity-agent
                        version="v1.3.10-eksbuild.3",
                        source=_ADDONS_OF_1_34,
                    ),
                    Addon(
                        name="kube-proxy",
                        # renovate: eks=1.34 addon=kube-proxy
                        version="v1.34.6-eksbuild.13",
                        source=_KUBE_PROXY_TABLE,
                    ),
                    Addon(
                        name="vpc-cni",
                        # renovate: eks=1.34 addon=vpc-cni
                        version="v1.21.1-eksbuild.7",
                        source=_ADDONS_OF_1_34,
                    ),
                ),
                charts=_CHARTS,
            ),
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
                        # renovate: eks=1.35 addon=aws-ebs-csi-driver
                        version="v1.58.0-eksbuild.1",
                        source=_ADDONS_OF_1_35,
                    ),
                    Addon(
                        name="coredns",
                        # renovate: eks=1.35 addon=coredns
                        version="v1.14.2-eksbuild.4",
                        source=_COREDNS_TABLE,
                    ),
                    Addon(
                        name="eks-pod-identity-agent",
                        # renovate: eks=1.35 addon=eks-pod-identity-agent
                        version="v1.3.10-eksbuild.3",
                        source=_ADDONS_OF_1_35,
                    ),
                    Addon(
                        name="kube-proxy",
                        # renovate: eks=1.35 addon=kube-proxy
                        version="v1.35.3-eksbuild.13",
                        source=_KUBE_PROXY_TABLE,
                    ),
                    Addon(
                        name="vpc-cni",
                        # renovate: eks=1.35 addon=vpc-cni
                        version="v1.21.1-eksbuild.7",
                        source=Source(
                            address="https://docs.amazonaws.cn/eks/latest/userguide/managing-vpc-cni.md",
                            read=_READ,
                        ),
                    ),
                ),
                charts=_CHARTS,
            ),
        )
    }
)
"""The Kubernetes versions that a cluster here may have, by name."""
