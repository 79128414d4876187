"""IngressStack: what turns an Ingress into an Application Load Balancer, with HTTPS and a name on request."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import pulumi
import pulumi_kubernetes as kubernetes
from pydantic import Field

from components import versions
from components.cluster_target import ClusterTarget
from components.external_dns import EXTERNAL_DNS_ACCOUNT, ExternalDns, ExternalDnsArgs
from components.issuers import AcmeSettings, CaSettings, Issuers, IssuersArgs
from components.pod_role import ROLE_HASH_ANNOTATION, IdentitySettings, PodRole, PodRoleArgs
from components.regions import hosted_zone_arn
from components.release import release
from components.section import DomainName, Label, Section, ZoneId
from components.service_account import ServiceAccountRef
from components.shared_load_balancer import (
    PARAMETERS_API,
    PARAMETERS_KIND,
    HttpsSettings,
    SharedLoadBalancer,
    SharedLoadBalancerArgs,
)

INGRESS_CLASS = "alb"
INGRESS_CONTROLLER = "ingress.k8s.aws/alb"
CONTROLLER_WEBHOOK_PORT = 9443
# https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/v3.5.0/docs/guide/gateway/gateway.md
GATEWAY_FEATURES = ("ALBGatewayAPI", "NLBGatewayAPI", "GatewayListenerSet")
# cert-manager's own 10250 is the kubelet's port too, which the control plane may already call on every node.
CERT_MANAGER_WEBHOOK_PORT = 10260
CERT_MANAGER_NAMESPACE = "cert-manager"
# Not the name of the chart's own account: that one goes when this one comes, on the day a stack adds its first issuer.
CERT_MANAGER_ACCOUNT = ServiceAccountRef(namespace=CERT_MANAGER_NAMESPACE, name="cert-manager-route53")

# An ALB takes two to five minutes, targets one more; Pulumi's own limit of ten is close.
ADDRESS_TIMEOUT = "20m"


class LoadBalancerControllerSettings(Section):
    """`ingress.loadBalancerController`: where the AWS Load Balancer Controller runs, and as whom."""

    namespace: Label = Field(default="kube-system", description="Its namespace; made unless it is kube-system.")
    service_account: Label = Field(default="aws-load-balancer-controller", description="Its service account.")
    version: str | None = Field(
        default=None, description="Version of its chart; where left out, the newest of components/versions.py."
    )
    replicas: Annotated[int, Field(ge=1)] = Field(default=2, description="Its pods; one of them leads.")


class CertManagerSettings(Section):
    """`ingress.certManager`: present where cert-manager is installed."""

    ca: CaSettings | None = Field(default=None, description="Issuer `ca`: an authority of the cluster's own.")
    acme: AcmeSettings | None = Field(
        default=None, description="Issuers `letsencrypt` and `letsencrypt-staging`, by records in `ingress.zones`."
    )


class ExternalDnsSettings(Section):
    """`ingress.externalDns`: present where Ingresses get a record in their zone. It has no choices."""


class IngressSettings(Section):
    """Section `ingress`: load balancer controller, ingress class, and on request cert-manager, HTTPS and names."""

    load_balancer_controller: LoadBalancerControllerSettings = Field(
        default=LoadBalancerControllerSettings(), description="The AWS Load Balancer Controller."
    )
    cert_manager: CertManagerSettings | None = Field(
        default=None, description="cert-manager; it then issues the controller's webhook certificate too."
    )
    zones: dict[DomainName, ZoneId] = Field(
        default={}, description="Public Route 53 zones, domain to zone id, for certificates, records and challenges."
    )
    https: HttpsSettings | None = Field(
        default=None, description="HTTPS for every Ingress that names a host: docs/application.md."
    )
    external_dns: ExternalDnsSettings | None = Field(
        default=None, description="external-dns: a record for every Ingress that names a host in `zones`."
    )

    @property
    def controller_account(self) -> ServiceAccountRef:
        """The load balancer controller's service account."""
        controller = self.load_balancer_controller
        return ServiceAccountRef(namespace=controller.namespace, name=controller.service_account)

    @property
    def accounts(self) -> list[ServiceAccountRef]:
        """The service accounts that the section makes itself."""
        return [
            self.controller_account,
            *([CERT_MANAGER_ACCOUNT] if self.cert_manager is not None and self.cert_manager.acme is not None else []),
            *([EXTERNAL_DNS_ACCOUNT] if self.external_dns is not None else []),
        ]

    def zone_of(self, host: str) -> str | None:
        """The domain of the zone that a name belongs to, the longest one of several; None outside all of them."""
        name = host.removeprefix("*.")
        inside = [domain for domain in self.zones if name == domain or name.endswith(f".{domain}")]
        return max(inside, key=len, default=None)

    @property
    def certificate_names(self) -> dict[str, list[str]]:
        """What is on each certificate that is made here, by the domain of its zone."""
        if self.https is None or self.https.certificate_arn is not None:
            return {}
        also = self.https.also_names
        return {
            domain: list(
                dict.fromkeys([domain, f"*.{domain}", *(each for each in also if self.zone_of(each) == domain)])
            )
            for domain in self.zones
        }

    def covers(self, host: str) -> bool:
        """Whether a certificate that is made here is valid for a name: its own, or a wildcard one level above it."""
        names = {each for names in self.certificate_names.values() for each in names}
        return host in names or f"*.{host.partition('.')[2]}" in names


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
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    """On what the controller makes with `https`."""


class IngressStack(pulumi.ComponentResource):
    """Everything between an Ingress object and a load balancer.

    Creates:
        - with `certManager`, its namespace and release, CRDs included and kept when the release goes, and on request
          its issuers; those of Let's Encrypt come with a PodRole for the records of the zones;
        - with `externalDns`, external-dns for the zones. The controller waits for it: on destruction it then has the
          time that the controller takes to go for removing the records of the last Ingress;
        - the controller's PodRole: role with the policy of the chart's version, attachment, annotated account;
        - the namespace of the controller, unless it is kube-system;
        - the controller's release, under that account, told its region and VPC since nodes keep pods off the metadata
          service. Its Service mutator is off: with it, no Service could be made anywhere while no controller runs. Its
          webhook certificate comes from cert-manager, or is kept between upgrades;
        - one rule per webhook port from the control plane to the nodes;
        - the ingress class `alb`;
        - with `https`, the parameters of the class, and an Ingress of the platform's own, the front door: parameters
          make no listener, and an Ingress without annotations listens on 443 only, so it brings the one on 80 that
          redirects. Names that no other Ingress has are answered by it with 404.

    Where the cluster has another version of the Gateway API than the controller is built for, its gateway features are
    off, and a log line says so.
    """

    role_arns: dict[str, pulumi.Output[str]]
    """The roles of the controllers: `loadBalancerController`, and `certManager` and `externalDns` where they are."""
    ingress_class: str
    load_balancer_host: pulumi.Output[str] | None
    """Where all Ingresses of the class answer; None without `https`, where each has its own."""
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
        self.role_arns = {}

        def namespace(namespace_name: str) -> kubernetes.core.v1.Namespace:
            return kubernetes.core.v1.Namespace(
                f"{name}-{namespace_name}",
                metadata=kubernetes.meta.v1.ObjectMetaArgs(name=namespace_name),
                opts=pulumi.ResourceOptions(parent=self, provider=cluster.kubernetes_provider),
            )

        def identity(
            role: str,
            account: ServiceAccountRef,
            identity_settings: IdentitySettings,
            wait_for: Sequence[pulumi.Resource],
        ) -> PodRole:
            return PodRole(
                f"{name}-{role}",
                PodRoleArgs(
                    settings=identity_settings,
                    account=account,
                    region=cluster.region,
                    aws_provider=cluster.aws_provider,
                    oidc_provider_arns=[args.oidc_provider_arn],
                    kubernetes_provider=cluster.kubernetes_provider,
                    wait_for=wait_for,
                ),
                opts=pulumi.ResourceOptions(parent=self),
            )

        self.cert_manager_ready = []
        if settings.cert_manager is not None:
            cert_manager_namespace = namespace(CERT_MANAGER_NAMESPACE)
            cert_manager_values: dict[str, Any] = {
                "crds": {"enabled": True, "keep": True},
                "webhook": {"securePort": CERT_MANAGER_WEBHOOK_PORT},
            }
            cert_manager_needs: list[pulumi.Resource] = []
            if settings.cert_manager.acme is not None:
                zone_arns = [hosted_zone_arn(cluster.region, zone_id) for zone_id in settings.zones.values()]
                cert_manager = identity(
                    "cert-manager-identity",
                    CERT_MANAGER_ACCOUNT,
                    IdentitySettings(policies={"cert-manager": {"hostedZoneArns": tuple(zone_arns)}}),
                    [cert_manager_namespace],
                )
                cert_manager_values |= {
                    "serviceAccount": {"create": False, "name": cert_manager.account.name},
                    "podAnnotations": {ROLE_HASH_ANNOTATION: cert_manager.role_hash},
                }
                # The records of a challenge go while it runs, through the same network as everything else.
                cert_manager_needs = [*cert_manager.ready, *args.network_ready]
                self.role_arns["certManager"] = cert_manager.role_arn
            self.cert_manager_ready.append(
                release(
                    name,
                    cluster.version.chart(versions.CERT_MANAGER.name),
                    cluster=cluster,
                    parent=self,
                    namespace=cert_manager_namespace.metadata.name,
                    values=cert_manager_values,
                    webhook_ports={"cert-manager-webhook": CERT_MANAGER_WEBHOOK_PORT},
                    wait_for=cert_manager_needs,
                )
            )
            if settings.cert_manager.ca is not None or settings.cert_manager.acme is not None:
                Issuers(
                    f"{name}-issuers",
                    IssuersArgs(
                        ca=settings.cert_manager.ca,
                        acme=settings.cert_manager.acme,
                        zones=settings.zones,
                        namespace=CERT_MANAGER_NAMESPACE,
                        cluster=cluster,
                        cert_manager_ready=self.cert_manager_ready,
                    ),
                    opts=pulumi.ResourceOptions(parent=self),
                )
        records_kept: list[pulumi.Resource] = []
        if settings.external_dns is not None:
            external_dns = ExternalDns(
                f"{name}-dns",
                ExternalDnsArgs(
                    cluster=cluster,
                    zones=settings.zones,
                    zone_type="public",
                    owner_id=cluster.name,
                    sources=["ingress"],
                    oidc_provider_arn=args.oidc_provider_arn,
                    wait_for=args.network_ready,
                ),
                opts=pulumi.ResourceOptions(parent=self),
            )
            records_kept = external_dns.ready
            self.role_arns["externalDns"] = external_dns.role_arn
        own_namespace = [] if controller.namespace == "kube-system" else [namespace(controller.namespace)]
        controller_identity = identity(
            "controller",
            settings.controller_account,
            IdentitySettings(
                policies={chart.policy: {}} if chart.policy else {},
                account_labels={
                    "app.kubernetes.io/component": "controller",
                    "app.kubernetes.io/name": "aws-load-balancer-controller",
                },
            ),
            own_namespace,
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
            namespace=controller_identity.account.namespace,
            values={
                "clusterName": cluster.name,
                "region": cluster.region,
                "vpcId": args.vpc_id,
                "replicaCount": controller.replicas,
                "podAnnotations": {ROLE_HASH_ANNOTATION: controller_identity.role_hash},
                "serviceAccount": {"create": False, "name": controller_identity.account.name},
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
            wait_for=[*args.network_ready, *self.cert_manager_ready, *records_kept, *controller_identity.ready],
        )
        shared = None
        if settings.https is not None:
            shared = SharedLoadBalancer(
                f"{name}-shared",
                SharedLoadBalancerArgs(
                    settings=settings.https,
                    class_name=INGRESS_CLASS,
                    zones=settings.zones,
                    certificate_names=settings.certificate_names,
                    account_id=pulumi.Output.from_input(args.oidc_provider_arn).apply(lambda arn: arn.split(":")[4]),
                    tags=args.tags,
                    cluster=cluster,
                    controller_ready=[controller_release],
                ),
                opts=pulumi.ResourceOptions(parent=self),
            )
        ingress_class = kubernetes.networking.v1.IngressClass(
            f"{name}-class",
            metadata=kubernetes.meta.v1.ObjectMetaArgs(name=INGRESS_CLASS),
            spec=kubernetes.networking.v1.IngressClassSpecArgs(
                controller=INGRESS_CONTROLLER,
                parameters=kubernetes.networking.v1.IngressClassParametersReferenceArgs(
                    api_group=PARAMETERS_API, kind=PARAMETERS_KIND, name=INGRESS_CLASS
                )
                if shared is not None
                else None,
            ),
            opts=pulumi.ResourceOptions(
                parent=self,
                provider=cluster.kubernetes_provider,
                depends_on=[controller_release, *([shared.parameters] if shared is not None else [])],
                delete_before_replace=True,
            ),
        )

        self.role_arns["loadBalancerController"] = controller_identity.role_arn
        self.ingress_class = INGRESS_CLASS
        self.ready = [controller_release, ingress_class]
        self.load_balancer_host = None
        if shared is not None:
            front_door = _front_door(
                f"{name}-front-door",
                controller.namespace,
                pulumi.ResourceOptions(
                    parent=self,
                    provider=cluster.kubernetes_provider,
                    depends_on=self.ready,
                    custom_timeouts=pulumi.CustomTimeouts(create=ADDRESS_TIMEOUT, delete=ADDRESS_TIMEOUT),
                ),
            )
            self.load_balancer_host = front_door.status.load_balancer.ingress[0].hostname
        self.register_outputs({"role_arns": self.role_arns, "ingress_class": self.ingress_class})


def _front_door(name: str, namespace: str, opts: pulumi.ResourceOptions) -> kubernetes.networking.v1.Ingress:
    """The Ingress whose listeners all others of the class share, behind all of them in order."""
    not_found = {
        "type": "fixed-response",
        "fixedResponseConfig": {"contentType": "text/plain", "statusCode": "404", "messageBody": "No such host"},
    }
    return kubernetes.networking.v1.Ingress(
        name,
        metadata=kubernetes.meta.v1.ObjectMetaArgs(
            namespace=namespace,
            name="front-door",
            annotations={
                "alb.ingress.kubernetes.io/listen-ports": '[{"HTTP": 80}, {"HTTPS": 443}]',
                "alb.ingress.kubernetes.io/group.order": "1000",
                "alb.ingress.kubernetes.io/actions.not-found": json.dumps(not_found),
            },
        ),
        spec=kubernetes.networking.v1.IngressSpecArgs(
            ingress_class_name=INGRESS_CLASS,
            # A rule, no default backend: of those a group may have one, and a team's own would stop everybody's.
            rules=[
                kubernetes.networking.v1.IngressRuleArgs(
                    http=kubernetes.networking.v1.HTTPIngressRuleValueArgs(
                        paths=[
                            kubernetes.networking.v1.HTTPIngressPathArgs(
                                path="/",
                                path_type="Prefix",
                                backend=kubernetes.networking.v1.IngressBackendArgs(
                                    service=kubernetes.networking.v1.IngressServiceBackendArgs(
                                        name="not-found",
                                        port=kubernetes.networking.v1.ServiceBackendPortArgs(name="use-annotation"),
                                    )
                                ),
                            )
                        ]
                    )
                )
            ],
        ),
        opts=opts,
    )
