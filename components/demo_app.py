"""DemoApp: a web page behind a load balancer, to see the whole chain answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import pulumi
import pulumi_kubernetes as kubernetes
from pydantic import Field

from components import versions
from components.cluster_target import ClusterTarget
from components.ingress_stack import ADDRESS_TIMEOUT
from components.section import DomainName, Label, Section


class DemoSettings(Section):
    """Section `demo`: a web page behind an Ingress."""

    namespace: Label = Field(default="demo", description="Its namespace, made for it.")
    scheme: Literal["internet-facing", "internal"] = Field(
        default="internal",
        description="Where the load balancer answers: the internet, or the VPC only. Not beside `ingress.https`.",
    )
    host: DomainName | None = Field(
        default=None, description="Its name, in one of `ingress.zones`; required with `ingress.https`."
    )
    replicas: Annotated[int, Field(ge=1)] = Field(default=2, description="Its pods.")


@dataclass(frozen=True, kw_only=True)
class DemoAppArgs:
    """What DemoApp needs beside its settings."""

    settings: DemoSettings
    cluster: ClusterTarget
    ingress_class: str
    ingress_ready: Sequence[pulumi.Resource]
    """The load balancer controller and its class."""
    https: bool = False
    """Whether the class brings HTTPS, and with it scheme and targets: the Ingress then says its host only."""


class DemoApp(pulumi.ComponentResource):
    """A web page behind an Application Load Balancer.

    Creates a namespace, a Deployment that runs as nobody on a read-only file system, a Service, and an Ingress of the
    class given. `pulumi up` waits until the Ingress has its address, at most twenty minutes: a controller that cannot
    do its work fails here and not in silence.
    """

    url: pulumi.Output[str]

    def __init__(self, name: str, args: DemoAppArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-foundation:index:DemoApp", name, None, opts)
        settings, provider = args.settings, args.cluster.kubernetes_provider
        labels = {"app.kubernetes.io/name": name}
        image = args.cluster.image(versions.DEMO_IMAGE)

        def child(*wait_for: pulumi.Resource) -> pulumi.ResourceOptions:
            return pulumi.ResourceOptions(parent=self, provider=provider, depends_on=list(wait_for))

        namespace = kubernetes.core.v1.Namespace(
            f"{name}-namespace",
            metadata=kubernetes.meta.v1.ObjectMetaArgs(name=settings.namespace),
            opts=child(),
        )
        metadata = kubernetes.meta.v1.ObjectMetaArgs(namespace=namespace.metadata.name, name=name, labels=labels)
        deployment = kubernetes.apps.v1.Deployment(
            f"{name}-deployment",
            metadata=metadata,
            spec=kubernetes.apps.v1.DeploymentSpecArgs(
                replicas=settings.replicas,
                selector=kubernetes.meta.v1.LabelSelectorArgs(match_labels=labels),
                template=kubernetes.core.v1.PodTemplateSpecArgs(
                    metadata=kubernetes.meta.v1.ObjectMetaArgs(labels=labels),
                    spec=_pod(image),
                ),
            ),
            opts=child(*args.cluster.ready),
        )
        service = kubernetes.core.v1.Service(
            f"{name}-service",
            metadata=metadata,
            spec=kubernetes.core.v1.ServiceSpecArgs(
                type="ClusterIP",
                selector=labels,
                ports=[kubernetes.core.v1.ServicePortArgs(name="http", port=80, target_port="http")],
            ),
            opts=child(*args.ingress_ready),
        )
        ingress = kubernetes.networking.v1.Ingress(
            f"{name}-ingress",
            metadata=kubernetes.meta.v1.ObjectMetaArgs(
                namespace=namespace.metadata.name,
                name=name,
                labels=labels,
                annotations=None
                if args.https
                else {
                    "alb.ingress.kubernetes.io/scheme": settings.scheme,
                    # Pods have addresses of the VPC, so the load balancer reaches them without a detour over nodes.
                    "alb.ingress.kubernetes.io/target-type": "ip",
                },
            ),
            spec=kubernetes.networking.v1.IngressSpecArgs(
                ingress_class_name=args.ingress_class,
                rules=[
                    kubernetes.networking.v1.IngressRuleArgs(
                        host=settings.host,
                        http=kubernetes.networking.v1.HTTPIngressRuleValueArgs(
                            paths=[
                                kubernetes.networking.v1.HTTPIngressPathArgs(
                                    path="/",
                                    path_type="Prefix",
                                    backend=kubernetes.networking.v1.IngressBackendArgs(
                                        service=kubernetes.networking.v1.IngressServiceBackendArgs(
                                            name=service.metadata.name,
                                            port=kubernetes.networking.v1.ServiceBackendPortArgs(name="http"),
                                        )
                                    ),
                                )
                            ]
                        ),
                    )
                ],
            ),
            opts=pulumi.ResourceOptions(
                parent=self,
                provider=provider,
                depends_on=[*args.ingress_ready, deployment],
                custom_timeouts=pulumi.CustomTimeouts(create=ADDRESS_TIMEOUT, delete=ADDRESS_TIMEOUT),
            ),
        )

        address = ingress.status.load_balancer.ingress[0].hostname
        self.url = address.apply(lambda host: f"{'https' if args.https else 'http'}://{settings.host or host}")
        self.register_outputs({"url": self.url})


def _pod(image: versions.Image) -> kubernetes.core.v1.PodSpecArgs:
    return kubernetes.core.v1.PodSpecArgs(
        automount_service_account_token=False,
        security_context=kubernetes.core.v1.PodSecurityContextArgs(
            run_as_non_root=True,
            run_as_user=image.user,
            seccomp_profile=kubernetes.core.v1.SeccompProfileArgs(type="RuntimeDefault"),
        ),
        containers=[
            kubernetes.core.v1.ContainerArgs(
                name="web",
                image=image.reference,
                ports=[kubernetes.core.v1.ContainerPortArgs(name="http", container_port=image.port)],
                readiness_probe=kubernetes.core.v1.ProbeArgs(
                    http_get=kubernetes.core.v1.HTTPGetActionArgs(path="/", port="http")
                ),
                resources=kubernetes.core.v1.ResourceRequirementsArgs(
                    requests={"cpu": "10m", "memory": "32Mi"}, limits={"memory": "64Mi"}
                ),
                security_context=kubernetes.core.v1.SecurityContextArgs(
                    allow_privilege_escalation=False,
                    read_only_root_filesystem=True,
                    capabilities=kubernetes.core.v1.CapabilitiesArgs(drop=["ALL"]),
                ),
                volume_mounts=[kubernetes.core.v1.VolumeMountArgs(name="tmp", mount_path=image.writes)],
            )
        ],
        volumes=[kubernetes.core.v1.VolumeArgs(name="tmp", empty_dir=kubernetes.core.v1.EmptyDirVolumeSourceArgs())],
    )
