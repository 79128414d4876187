"""IngressStack: what turns an Ingress into an Application Load Balancer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import pulumi
import pulumi_kubernetes as kubernetes
from pydantic import Field

from components import versions
from components.cluster_target import ClusterTarget
from components.pod_role import ROLE_HASH_ANNOTATION, IdentitySettings, PodRole, PodRoleArgs
from components.release import release
from components.section import Label, Section
from components.service_account import ServiceAccountRef

INGRESS_CLASS = "alb"
INGRESS_CONTROLLER = "ingress.k8s.aws/alb"
CONTROLLER_WEBHOOK_PORT = 9443
# https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/v3.5.0/docs/guide/gateway/gateway.md
GATEWAY_FEATURES = ("ALBGatewayAPI", "NLBGatewayAPI", "GatewayListenerSet")
# cert-manager's own 10250 is the kubelet's port too, which the control plane may already call on every node.
CERT_MANAGER_WEBHOOK_PORT = 10260
CERT_MANAGER_NAMESPACE = "cert-manager"


class LoadBalancerControllerSettings(Section):
    """`ingress.loadBalancerController`: where the AWS Load Balancer Controller runs, and as whom."""

    namespace: Label = Field(default="kube-system", description="Its namespace; made unless it is kube-system.")
    service_account: Label = Field(default="aws-load-balancer-controller", description="Its service account.")
    version: str | None = Field(
        default=None, description="Version of its chart; where left out, the newest of components/versions.py."
    )
    replicas: Annotated[int, Field(ge=1)] = Field(default=2, description="Its pods; one of them leads.")


class CertManagerSettings(Section):
    """`ingress.certManager`: present where cert-manager is installed. It has no choices yet."""


class IngressSettings(Section):
    """Section `ingress`: load balancer controller, ingress class, and on request cert-manager."""

    load_balancer_controller: LoadBalancerControllerSettings = Field(
        default=LoadBalancerControllerSettings(), description="The AWS Load Balancer Controller."
    )
    cert_manager: CertManagerSettings | None = Field(
        default=None, description="cert-manager; it then issues the controller's webhook certificate too."
    )

    @property
    def accounts(self) -> list[ServiceAccountRef]:
        """The service accounts that the section makes itself."""
        controller = self.load_balancer_controller
        return [ServiceAccountRef(namespace=controller.namespace, name=controller.service_account)]


@dataclass(frozen=True, kw_only=True)
class IngressStackArgs:
    """What IngressStack needs beside its settings."""

    settings: IngressSettings
    cluster: ClusterTarget
    vpc_id: pulumi.Input[str]
    oidc_provider_arn: pulumi.Input[str]
    gateway_api: str | None = None
    """The version of the Gateway API that somebody else has in the cluster; None where there is none."""
    network_ready: Sequence[pulumi.Resource]
    """Tagged subnets, routes and NAT: the controller finds the first, and cleans up load balancers through the rest."""
    way_out: bool = True
    """Whether pods reach what has no endpoint in the VPC: WAF and Shield have none."""


class IngressStack(pulumi.ComponentResource):
    """Everything between an Ingress object and a load balancer.

    Creates:
        - with `certManager`, its namespace and release, CRDs included and kept when the release goes;
        - the controller's PodRole: role with the policy of the chart's version, attachment, annotated account;
        - the namespace of the controller, unless it is kube-system;
        - the controller's release, under that account, told its region and VPC since nodes keep pods off the metadata
          service. Its Service mutator is off: with it, no Service could be made anywhere while no controller runs. Its
          webhook certificate comes from cert-manager, or is kept between upgrades;
        - one rule per webhook port from the control plane to the nodes;
        - the ingress class `alb`.

    Where the cluster has another version of the Gateway API than the controller is built for, its gateway features are
    off, and a log line says so.
    """

    controller_role_arn: pulumi.Output[str]
    ingress_class: str
    cert_manager_ready: list[pulumi.Resource]
    """Whatever makes an object of cert-manager depends on these; empty without it."""
    ready: list[pulumi.Resource]
    """Whatever makes a Service or an Ingress depends on these: made earlier it hangs, destroyed later it leaks a load
    balancer."""

    def __init__(self, name: str, args: IngressStackArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-foundation:index:IngressStack", name, None, opts)
        settings, cluster = args.settings, args.cluster
        controller = settings.load_balancer_controller
        chart = cluster.version.chart(versions.AWS_LOAD_BALANCER_CONTROLLER.name, controller.version)

        def namespace(namespace_name: str) -> kubernetes.core.v1.Namespace:
            return kubernetes.core.v1.Namespace(
                f"{name}-{namespace_name}",
                metadata=kubernetes.meta.v1.ObjectMetaArgs(name=namespace_name),
                opts=pulumi.ResourceOptions(parent=self, provider=cluster.kubernetes_provider),
            )

        self.cert_manager_ready = []
        if settings.cert_manager is not None:
            cert_manager_namespace = namespace(CERT_MANAGER_NAMESPACE)
            self.cert_manager_ready.append(
                release(
                    name,
                    versions.CERT_MANAGER,
                    cluster=cluster,
                    parent=self,
                    namespace=cert_manager_namespace.metadata.name,
                    values={
                        "crds": {"enabled": True, "keep": True},
                        "webhook": {"securePort": CERT_MANAGER_WEBHOOK_PORT},
                    },
                    webhook_ports={"cert-manager-webhook": CERT_MANAGER_WEBHOOK_PORT},
                    wait_for=[],
                )
            )
        own_namespace = [] if controller.namespace == "kube-system" else [namespace(controller.namespace)]
        identity = PodRole(
            f"{name}-controller",
            PodRoleArgs(
                settings=IdentitySettings(
                    policies={chart.policy: {}} if chart.policy else {},
                    account_labels={
                        "app.kubernetes.io/component": "controller",
                        "app.kubernetes.io/name": "aws-load-balancer-controller",
                    },
                ),
                account=settings.accounts[0],
                region=cluster.region,
                aws_provider=cluster.aws_provider,
                oidc_provider_arns=[args.oidc_provider_arn],
                kubernetes_provider=cluster.kubernetes_provider,
                wait_for=own_namespace,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        gates = {}
        if args.gateway_api not in (None, chart.gateway_api):
            gates = dict.fromkeys(GATEWAY_FEATURES, False)
            pulumi.log.info(
                f"Load balancer controller {chart.version} is built for Gateway API {chart.gateway_api}, and the "
                f"cluster has {args.gateway_api}: its gateway features are off.",
                resource=self,
            )
        controller_release = release(
            name,
            chart,
            cluster=cluster,
            parent=self,
            namespace=identity.account.namespace,
            values={
                "clusterName": cluster.name,
                "region": cluster.region,
                "vpcId": args.vpc_id,
                "replicaCount": controller.replicas,
                "podAnnotations": {ROLE_HASH_ANNOTATION: identity.role_hash},
                "serviceAccount": {"create": False, "name": identity.account.name},
                "webhookBindPort": CONTROLLER_WEBHOOK_PORT,
                "enableServiceMutatorWebhook": False,
                "enableCertManager": settings.cert_manager is not None,
                "keepTLSSecret": True,
                "ingressClass": INGRESS_CLASS,
                "createIngressClassResource": False,
                **({"controllerConfig": {"featureGates": gates}} if gates else {}),
                # https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/deploy/installation/
                **({} if args.way_out else {"enableShield": False, "enableWaf": False, "enableWafv2": False}),
            },
            webhook_ports={"controller-webhook": CONTROLLER_WEBHOOK_PORT},
            wait_for=[*args.network_ready, *self.cert_manager_ready, *identity.ready],
        )
        ingress_class = kubernetes.networking.v1.IngressClass(
            f"{name}-class",
            metadata=kubernetes.meta.v1.ObjectMetaArgs(name=INGRESS_CLASS),
            spec=kubernetes.networking.v1.IngressClassSpecArgs(controller=INGRESS_CONTROLLER),
            opts=pulumi.ResourceOptions(
                parent=self,
                provider=cluster.kubernetes_provider,
                depends_on=[controller_release],
                delete_before_replace=True,
            ),
        )

        self.controller_role_arn = identity.role_arn
        self.ingress_class = INGRESS_CLASS
        self.ready = [controller_release, ingress_class]
        self.register_outputs({"controller_role_arn": self.controller_role_arn, "ingress_class": self.ingress_class})
