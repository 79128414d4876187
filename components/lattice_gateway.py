"""LatticeGateway: the half of a mesh that every cluster has: what it offers, whom it admits, how its pods call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
from pydantic import AfterValidator, Field, model_validator

from components import versions
from components.cluster_target import ClusterTarget
from components.custom_resources import custom_resources
from components.external_dns import ExternalDns, ExternalDnsArgs
from components.lattice_environment import INVOKE, Domain, LatticeTarget
from components.pod_role import ROLE_HASH_ANNOTATION, AccountName, IdentitySettings, PodRole, PodRoleArgs
from components.problem import Problem, ProblemsError
from components.release import release
from components.section import Label, Section, refuse
from components.service_account import ServiceAccountRef, is_label
from components.sidecar_injection import (
    INJECTION_ANNOTATION,
    POLICY_API_VERSION,
    POLICY_KIND,
    InjectionSettings,
    PinnedImage,
    injection_policy,
)
from components.trust import policy_text

APPLICATION_PORT = 8090
APPLICATION_REPLICAS = 2
# Lattice goes on sending requests to a pod for about a minute after it was told that the pod is leaving.
# https://github.com/aws/aws-application-networking-k8s/blob/v2.1.3/docs/faq.md
DRAIN_SECONDS = 60
GRACE_SECONDS = 150

GATEWAY_NAMESPACE = "lattice-gateway"
CONTROLLER_ACCOUNT = ServiceAccountRef(namespace="aws-application-networking-system", name="gateway-api-controller")
KYVERNO_NAMESPACE = "kyverno"
# The chart's own 9443 is the load balancer controller's too, and EC2 takes one rule of a kind only.
KYVERNO_WEBHOOK_PORT = 9444
# Kyverno's own advice for more than one: the API server cannot make a Deployment here while none runs.
KYVERNO_REPLICAS = 3

ROUTE_API = "gateway.networking.k8s.io/v1"
POLICY_API = "application-networking.k8s.aws/v1alpha1"
GATEWAY_CLASS = "amazon-vpc-lattice"
GATEWAY_CONTROLLER = "application-networking.k8s.aws/gateway-api-controller"
HTTP_LISTENER = "http-listener"
HTTPS_LISTENER = "https-listener-with-custom-domain"
ATTACHMENT_LABELS = {"allow-attachment-to-infra-gw": "true"}
"""Of the namespaces whose routes the Gateway takes, and whose Deployments get a proxy."""

WAIT_FOR = "pulumi.com/waitFor"
ROUTE_IS_UP = "jsonpath={.metadata.annotations['application-networking.k8s.aws/lattice-assigned-domain-name']}"

# https://docs.aws.amazon.com/vpc-lattice/latest/ug/quotas.html says 10 KB; in bytes AWS has said 10,000 and more.
LONGEST_AUTH_POLICY = 10_000
# The controller cuts the service's name down to these when it names the Lattice service after route and namespace.
# https://github.com/aws/aws-application-networking-k8s/blob/v2.1.3/pkg/utils/common.go
LONGEST_SERVICE = 20
LONGEST_NAMESPACE = 18


def _check_admitted(value: str) -> str:
    cluster, _, namespace = value.partition("/")
    if not cluster or not is_label(namespace):
        refuse(
            "not a namespace of a cluster",
            allowed="cluster/namespace: the cluster's physical name, then an RFC 1123 label",
            change="write it like cluster1/apps",
        )
    return value


def _check_each_once(value: tuple[str, ...]) -> tuple[str, ...]:
    if doubled := sorted({each for each in value if value.count(each) > 1}):
        refuse(f"named twice: {', '.join(doubled)}", allowed="each once", change="drop one")
    return value


Admitted = Annotated[str, AfterValidator(_check_admitted)]
"""A namespace of a cluster as `cluster/namespace`."""


class LatticeServiceSettings(Section):
    """One entry of `latticeGateway.services`: an application, the name that it answers to, and who may call it."""

    namespace: Annotated[Label, Field(max_length=LONGEST_NAMESPACE)] = Field(description="Its namespace.")
    image: PinnedImage = Field(
        description=f"Its image, which answers HTTP on port {APPLICATION_PORT} as user and group 1000."
    )
    hostname: str | None = Field(default=None, description="Its name; <service>.<domain> where left out.")
    admits: Annotated[
        tuple[Annotated[str, AfterValidator(_check_admitted)], ...],
        Field(min_length=1),
        AfterValidator(_check_each_once),
    ] = Field(description="Who may call it, as `cluster/namespace`.")


class LatticeGatewaySettings(Section):
    """Section `latticeGateway`: a cluster's half of a mesh over VPC Lattice."""

    environment: str | None = Field(
        default=None,
        pattern=r"^[\w.-]+(/[\w.-]+/[\w.-]+)?$",
        description="The stack with the mesh's latticeEnvironment: of this project by its name, or org/project/stack.",
    )
    domain: Domain = Field(description="Domain of the mesh.")
    peers: tuple[str, ...] = Field(default=(), description="The other clusters of the mesh, by physical name.")
    callers: Annotated[tuple[AccountName, ...], AfterValidator(_check_each_once)] = Field(
        default=(), description="Accounts whose pods call through the mesh, as `namespace/account`."
    )
    images: InjectionSettings = Field(description="What is put beside applications so that their calls are signed.")
    services: dict[Annotated[Label, Field(max_length=LONGEST_SERVICE)], LatticeServiceSettings] = Field(
        default={}, description="The applications of this cluster, by name."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> LatticeGatewaySettings:
        for name, service in self.services.items():
            host = self.hostname(name)
            if not is_label(host.removesuffix(f".{self.domain}")):
                refuse(
                    f"service {name} answers at {host}, which the mesh's certificate does not cover",
                    allowed=f"<one label>.{self.domain}: the wildcard of *.{self.domain} stands for one label",
                    change="change its hostname, or domain",
                )
            if f"{service.namespace}/default" not in self.callers:
                refuse(
                    f"service {name} gets a proxy, and its account {service.namespace}/default no role to sign with",
                    allowed=f"callers with {service.namespace}/default",
                    change="add it: without a role the proxy does not start",
                )
        hosts = [self.hostname(name) for name in self.services]
        if doubled := sorted({host for host in hosts if hosts.count(host) > 1}):
            refuse(f"two services at {', '.join(doubled)}", allowed="one a name", change="change one hostname")
        return self

    def hostname(self, service: str) -> str:
        """The name that a service answers to."""
        return self.services[service].hostname or f"{service}.{self.domain}"

    @property
    def caller_accounts(self) -> list[ServiceAccountRef]:
        """The callers, taken apart."""
        return [ServiceAccountRef.parse(each) for each in self.callers]

    @property
    def namespaces(self) -> list[str]:
        """The namespaces of callers and services, each once, in their order."""
        named = [account.namespace for account in self.caller_accounts]
        return list(dict.fromkeys([*named, *(service.namespace for service in self.services.values())]))


OWN_NAMESPACES = (GATEWAY_NAMESPACE, CONTROLLER_ACCOUNT.namespace, KYVERNO_NAMESPACE)
"""The namespaces that the component makes beside those of callers and services."""

CHARTS = (versions.LATTICE_CONTROLLER.name, versions.KYVERNO.name, versions.EXTERNAL_DNS.name)
"""The charts that have to go with the cluster's Kubernetes version."""


@dataclass(frozen=True, kw_only=True)
class LatticeGatewayArgs:
    """What LatticeGateway needs beside its settings."""

    settings: LatticeGatewaySettings
    cluster: ClusterTarget
    vpc_id: pulumi.Input[str]
    environment: LatticeTarget
    """One that fits to the settings."""
    network_ready: Sequence[pulumi.Resource]
    """Routes and NAT: the controller cleans up through them."""


class LatticeGateway(pulumi.ComponentResource):
    """A cluster's half of a mesh over VPC Lattice.

    Creates:
        - the cluster's VPC in the mesh's private zone and in its service network, and the right of Lattice to reach
          the applications' port on the nodes;
        - external-dns for the mesh's zone alone, with the cluster as owner of its records;
        - the Gateway API's custom resources, and the Lattice controller, with its role by EKS Pod Identity, told
          region, account, VPC and cluster since pods are kept off the metadata service. It makes no service network:
          one that a controller makes is left behind, and is nobody's;
        - Kyverno, its admission controller only, and the policy that injects the signing proxy;
        - the class and the Gateway of the service network's name, with a listener for HTTP and one for HTTPS with the
          mesh's certificate; and the labelled namespaces of callers and services;
        - for every caller an association of its account with the callers' role;
        - for every service a Deployment that asks for the proxy, a Service, the auth policy of whom it admits, and
          its route.

    In this order, and gone in the reverse one. The auth policy is there before the route: the controller reads it again
    when the route comes, so the service is closed from its first minute; and when the route goes, the service goes
    closed as it was. Without its route, a policy that goes leaves nothing open.
    """

    urls: Mapping[str, str]
    """By service, where it answers within the mesh."""

    def __init__(self, name: str, args: LatticeGatewayArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-foundation:index:LatticeGateway", name, None, opts)
        settings, cluster, environment = args.settings, args.cluster, args.environment
        in_aws = pulumi.ResourceOptions(parent=self, provider=cluster.aws_provider)

        def in_cluster(*wait_for: pulumi.Resource) -> pulumi.ResourceOptions:
            return pulumi.ResourceOptions(
                parent=self,
                provider=cluster.kubernetes_provider,
                depends_on=list(wait_for),
                # Names are fixed, so a replacement cannot stand beside the original.
                delete_before_replace=True,
            )

        def namespace(
            namespace_name: str, *wait_for: pulumi.Resource, labels: Mapping[str, str] | None = None
        ) -> kubernetes.core.v1.Namespace:
            return kubernetes.core.v1.Namespace(
                f"{name}-{namespace_name}",
                metadata=kubernetes.meta.v1.ObjectMetaArgs(name=namespace_name, labels=labels),
                opts=in_cluster(*wait_for),
            )

        zone = aws.route53.ZoneAssociation(f"{name}-zone", zone_id=environment.zone_id, vpc_id=args.vpc_id, opts=in_aws)
        network = aws.vpclattice.ServiceNetworkVpcAssociation(
            f"{name}-network",
            service_network_identifier=environment.service_network_arn,
            vpc_identifier=args.vpc_id,
            opts=in_aws,
        )
        reachable = [
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-lattice-{family}",
                description=f"VPC Lattice to the applications, {family}",
                security_group_id=cluster.node_security_group_id,
                prefix_list_id=aws.ec2.get_managed_prefix_list_output(
                    name=f"com.amazonaws.{cluster.region}.{prefix}vpc-lattice",
                    opts=pulumi.InvokeOutputOptions(parent=self, provider=cluster.aws_provider),
                ).id,
                ip_protocol="tcp",
                from_port=APPLICATION_PORT,
                to_port=APPLICATION_PORT,
                opts=in_aws,
            )
            for family, prefix in (("ipv4", ""), ("ipv6", "ipv6."))
        ]
        callers = [
            aws.eks.PodIdentityAssociation(
                f"{name}-{account.namespace}-{account.name}",
                cluster_name=cluster.name,
                namespace=account.namespace,
                service_account=account.name,
                role_arn=environment.client_role_arn,
                opts=pulumi.ResourceOptions(
                    parent=self, provider=cluster.aws_provider, depends_on=[*cluster.ready, *environment.ready]
                ),
            )
            for account in settings.caller_accounts
        ]
        dns = ExternalDns(
            f"{name}-external-dns",
            ExternalDnsArgs(
                cluster=cluster,
                zones={settings.domain: environment.zone_id},
                zone_type="private",
                owner_id=cluster.name,
                sources=["crd"],
                wait_for=[*args.network_ready],
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        # external-dns brings the kind of the records that the controller makes; it looks for it once, at its start.
        definitions = custom_resources(
            f"{name}-gateway-api", [versions.GATEWAY_API.manifest], cluster=cluster, parent=self
        )
        controller = self._controller(
            name, args, namespace(CONTROLLER_ACCOUNT.namespace), [zone, network, *reachable, *definitions, *dns.ready]
        )
        kyverno = self._kyverno(name, cluster, namespace(KYVERNO_NAMESPACE))
        injected = kubernetes.apiextensions.CustomResource(
            f"{name}-injection",
            api_version=POLICY_API_VERSION,
            kind=POLICY_KIND,
            metadata=_metadata("inject-sigv4-proxy", wait_for="jsonpath={.status.conditionStatus.ready}=true"),
            spec=pulumi.Output.from_input(environment.certificate_authority_arn).apply(
                lambda arn: injection_policy(settings.images, arn, ATTACHMENT_LABELS)
            ),
            opts=in_cluster(kyverno),
        )

        gateway_class = kubernetes.apiextensions.CustomResource(
            f"{name}-class",
            api_version=ROUTE_API,
            kind="GatewayClass",
            metadata=_metadata(GATEWAY_CLASS, wait_for="condition=Accepted"),
            spec={"controllerName": GATEWAY_CONTROLLER},
            opts=in_cluster(controller),
        )
        gateway_namespace = namespace(GATEWAY_NAMESPACE)
        gateway = kubernetes.apiextensions.CustomResource(
            f"{name}-gateway",
            api_version=ROUTE_API,
            kind="Gateway",
            metadata=_metadata(
                environment.service_network_name,
                namespace=gateway_namespace.metadata.name,
                wait_for="condition=Programmed",
            ),
            spec={"gatewayClassName": GATEWAY_CLASS, "listeners": _listeners(environment.certificate_arn)},
            opts=in_cluster(gateway_class),
        )
        # With nodes for as long as they stand: others run pods in them too, which would never end without.
        namespaces = {each: namespace(each, *cluster.ready, labels=ATTACHMENT_LABELS) for each in settings.namespaces}

        for service_name, service in settings.services.items():
            metadata = kubernetes.meta.v1.ObjectMetaArgs(
                namespace=namespaces[service.namespace].metadata.name, name=service_name
            )
            deployment = kubernetes.apps.v1.Deployment(
                f"{name}-{service_name}",
                metadata=metadata,
                spec=_application(service_name, service),
                # Credentials and proxy come into a pod as it is made, or never. And the controller must outlive the
                # minute in which these pods drain: in it, it clears away what is left of their target groups.
                opts=in_cluster(injected, *callers, controller),
            )
            backend = kubernetes.core.v1.Service(
                f"{name}-{service_name}",
                metadata=metadata,
                spec=kubernetes.core.v1.ServiceSpecArgs(
                    type="ClusterIP",
                    ip_family_policy="SingleStack",
                    selector={"app": service_name},
                    ports=[kubernetes.core.v1.ServicePortArgs(port=80, target_port=APPLICATION_PORT)],
                ),
                opts=in_cluster(controller),
            )
            policy = kubernetes.apiextensions.CustomResource(
                f"{name}-{service_name}-policy",
                api_version=POLICY_API,
                kind="IAMAuthPolicy",
                metadata=_metadata(service_name, namespace=namespaces[service.namespace].metadata.name),
                spec={
                    "targetRef": {
                        "group": "gateway.networking.k8s.io",
                        "kind": "HTTPRoute",
                        "name": service_name,
                        "namespace": service.namespace,
                    },
                    "policy": pulumi.Output.from_input(environment.client_role_arn).apply(
                        lambda arn, service_name=service_name: service_policy(settings, service_name, arn)
                    ),
                },
                opts=in_cluster(gateway),
            )
            kubernetes.apiextensions.CustomResource(
                f"{name}-{service_name}-route",
                api_version=ROUTE_API,
                kind="HTTPRoute",
                metadata=_metadata(
                    service_name, namespace=namespaces[service.namespace].metadata.name, wait_for=ROUTE_IS_UP
                ),
                spec=_route(service_name, settings.hostname(service_name), environment.service_network_name),
                opts=in_cluster(gateway, policy, backend, deployment),
            )

        self.urls = {service: f"http://{settings.hostname(service)}" for service in settings.services}
        self.register_outputs({"urls": self.urls})

    def _controller(
        self, name: str, args: LatticeGatewayArgs, namespace: pulumi.Resource, wait_for: Sequence[pulumi.Resource]
    ) -> pulumi.Resource:
        """The controller, which makes a Lattice service of every route."""
        cluster = args.cluster
        chart = cluster.version.chart(versions.LATTICE_CONTROLLER.name)
        identity = PodRole(
            f"{name}-controller",
            PodRoleArgs(
                settings=IdentitySettings(
                    mechanism="pod-identity", policies={chart.policy: {}} if chart.policy else {}
                ),
                account=CONTROLLER_ACCOUNT,
                region=cluster.region,
                aws_provider=cluster.aws_provider,
                cluster_name=cluster.name,
                cluster_ready=cluster.ready,
                kubernetes_provider=cluster.kubernetes_provider,
                wait_for=[namespace],
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        return release(
            name,
            chart,
            cluster=cluster,
            parent=self,
            namespace=CONTROLLER_ACCOUNT.namespace,
            values={
                "clusterName": cluster.name,
                "clusterVpcId": args.vpc_id,
                "awsRegion": cluster.region,
                # Of the role's ARN, where it is a text: as a number it could lose its first digit.
                "awsAccountId": identity.role_arn.apply(lambda arn: arn.split(":")[4]),
                "deployment": {"annotations": {ROLE_HASH_ANNOTATION: identity.role_hash}},
                "serviceAccount": {"create": False, "name": CONTROLLER_ACCOUNT.name},
                # It would hold pods back until Lattice finds them healthy, on request of their namespace; none asks.
                "webhookEnabled": False,
            },
            webhook_ports={},
            wait_for=[*args.network_ready, *wait_for, *identity.ready],
        )

    def _kyverno(self, name: str, cluster: ClusterTarget, namespace: kubernetes.core.v1.Namespace) -> pulumi.Resource:
        """The part of Kyverno that changes what is made."""
        probe = {"httpGet": {"port": KYVERNO_WEBHOOK_PORT}}
        return release(
            name,
            cluster.version.chart(versions.KYVERNO.name),
            cluster=cluster,
            parent=self,
            namespace=namespace.metadata.name,
            values={
                "admissionController": {
                    "replicas": KYVERNO_REPLICAS,
                    "webhookServer": {"port": KYVERNO_WEBHOOK_PORT},
                    "startupProbe": probe,
                    "livenessProbe": probe,
                    "readinessProbe": probe,
                },
                # Nothing here is scanned, cleaned up or reported on.
                "backgroundController": {"enabled": False},
                "cleanupController": {"enabled": False},
                "reportsController": {"enabled": False},
                "features": {
                    feature: {"enabled": False}
                    for feature in ("admissionReports", "policyReports", "validatingAdmissionPolicyReports")
                },
            },
            webhook_ports={"kyverno-webhook": KYVERNO_WEBHOOK_PORT},
            wait_for=[],
        )


def service_policy(settings: LatticeGatewaySettings, service: str, client_role_arn: str) -> str:
    """Whom a service admits, as the JSON of its auth policy.

    The tags of the session say from which cluster and namespace a call comes. Whoever may tag sessions of any role
    could claim the same, so the role is named too, and its trust leaves tagging to EKS.

    Raises:
        ProblemsError: it is longer than Lattice takes.
    """
    partition, account = client_role_arn.split(":")[1], client_role_arn.split(":")[4]
    admits = settings.services[service].admits
    text = policy_text(
        [
            {
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:{partition}:iam::{account}:root"},
                "Action": INVOKE,
                "Resource": "*",
                "Condition": {
                    "StringEquals": {
                        "aws:PrincipalArn": client_role_arn,
                        "aws:PrincipalTag/eks-cluster-name": cluster,
                        "aws:PrincipalTag/kubernetes-namespace": namespace,
                    }
                },
            }
            for cluster, _, namespace in (each.partition("/") for each in admits)
        ]
    )
    if len(text) > LONGEST_AUTH_POLICY:
        raise ProblemsError(
            f"Service {service} cannot be kept closed.",
            [
                Problem(
                    path=f"latticeGateway.services.{service}.admits",
                    what=f"an auth policy of {len(text)} characters",
                    value=f"{len(admits)} namespaces",
                    allowed=f"{LONGEST_AUTH_POLICY} characters",
                    change="let callers share a namespace, or make two services of it",
                )
            ],
        )
    return text


def _metadata(
    name: pulumi.Input[str], *, namespace: pulumi.Input[str] | None = None, wait_for: str | None = None
) -> kubernetes.meta.v1.ObjectMetaArgs:
    return kubernetes.meta.v1.ObjectMetaArgs(
        name=name, namespace=namespace, annotations={WAIT_FOR: wait_for} if wait_for else None
    )


def _listeners(certificate_arn: pulumi.Input[str]) -> list[dict[str, Any]]:
    """One listener a port: the Gateway API refuses two with the same port, protocol and hostname."""
    routes = {
        "kinds": [{"kind": "HTTPRoute"}],
        "namespaces": {"from": "Selector", "selector": {"matchLabels": ATTACHMENT_LABELS}},
    }
    return [
        {"name": HTTP_LISTENER, "port": 80, "protocol": "HTTP", "allowedRoutes": routes},
        {
            "name": HTTPS_LISTENER,
            "port": 443,
            "protocol": "HTTPS",
            "tls": {
                "mode": "Terminate",
                "options": {"application-networking.k8s.aws/certificate-arn": certificate_arn},
            },
            "allowedRoutes": routes,
        },
    ]


def _route(service_name: str, hostname: str, gateway: pulumi.Input[str]) -> dict[str, Any]:
    return {
        "hostnames": [hostname],
        "parentRefs": [
            {"kind": "Gateway", "name": gateway, "namespace": GATEWAY_NAMESPACE, "sectionName": listener}
            for listener in (HTTP_LISTENER, HTTPS_LISTENER)
        ],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"kind": "Service", "name": service_name, "port": 80}],
            }
        ],
    }


def _application(name: str, service: LatticeServiceSettings) -> kubernetes.apps.v1.DeploymentSpecArgs:
    labels = {"app": name}
    return kubernetes.apps.v1.DeploymentSpecArgs(
        replicas=APPLICATION_REPLICAS,
        selector=kubernetes.meta.v1.LabelSelectorArgs(match_labels=labels),
        template=kubernetes.core.v1.PodTemplateSpecArgs(
            metadata=kubernetes.meta.v1.ObjectMetaArgs(labels=labels, annotations={INJECTION_ANNOTATION: "true"}),
            spec=kubernetes.core.v1.PodSpecArgs(
                termination_grace_period_seconds=GRACE_SECONDS,
                containers=[
                    kubernetes.core.v1.ContainerArgs(
                        name=name,
                        image=service.image,
                        env=[kubernetes.core.v1.EnvVarArgs(name="PodName", value=f"Hello from {name}")],
                        ports=[kubernetes.core.v1.ContainerPortArgs(name="http", container_port=APPLICATION_PORT)],
                        readiness_probe=kubernetes.core.v1.ProbeArgs(
                            http_get=kubernetes.core.v1.HTTPGetActionArgs(path="/", port="http")
                        ),
                        lifecycle=kubernetes.core.v1.LifecycleArgs(
                            pre_stop=kubernetes.core.v1.LifecycleHandlerArgs(
                                sleep=kubernetes.core.v1.SleepActionArgs(seconds=DRAIN_SECONDS)
                            )
                        ),
                        resources=kubernetes.core.v1.ResourceRequirementsArgs(
                            requests={"cpu": "10m", "memory": "64Mi"}, limits={"memory": "128Mi"}
                        ),
                        # For this container alone: the two that are injected need root. Any group but the proxy's, or
                        # its calls would bypass the proxy.
                        security_context=kubernetes.core.v1.SecurityContextArgs(
                            run_as_non_root=True,
                            run_as_user=1000,
                            run_as_group=1000,
                            allow_privilege_escalation=False,
                            capabilities=kubernetes.core.v1.CapabilitiesArgs(drop=["ALL"]),
                        ),
                    )
                ],
            ),
        ),
    )
