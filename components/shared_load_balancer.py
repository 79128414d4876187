"""SharedLoadBalancer: what one load balancer for all Ingresses of a class is told once, so that no Ingress has to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import pulumi
import pulumi_kubernetes as kubernetes
from pydantic import Field, model_validator

from components.access_log_bucket import AccessLogBucket, AccessLogBucketArgs, AccessLogSettings
from components.cluster_target import ClusterTarget
from components.section import CertificateName, Section, checked_arn, refuse
from components.zone_certificate import ZoneCertificate, ZoneCertificateArgs

PARAMETERS_API = "elbv2.k8s.aws"
PARAMETERS_KIND = "IngressClassParams"
# What AWS recommends: TLS 1.3 and 1.2 with forward secrecy, and keys that a quantum computer would not find.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html
TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"
# Ingresses of one class share a load balancer under this name.
GROUP = "shared"


CertificateArn = Annotated[
    str,
    checked_arn(
        "an ACM certificate",
        r"arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/[a-z0-9-]+",
        "arn:aws:acm:<region>:111122223333:certificate/<id>",
    ),
]
WebAclArn = Annotated[
    str,
    checked_arn(
        "a regional web ACL of WAFv2",
        r"arn:aws[a-z-]*:wafv2:[a-z0-9-]+:\d{12}:regional/webacl/[\w-]+/[a-z0-9-]+",
        "arn:aws:wafv2:<region>:111122223333:regional/webacl/<name>/<id>",
    ),
]


class HttpsSettings(Section):
    """`ingress.https`: one load balancer for all Ingresses of the class, with HTTPS and a redirect to it."""

    scheme: Literal["internet-facing", "internal"] = Field(
        default="internal", description="Where the load balancer answers: the internet, or the VPC only."
    )
    certificate_arn: CertificateArn | None = Field(
        default=None, description="A certificate that is there already; one per zone is made where left out."
    )
    also_names: tuple[CertificateName, ...] = Field(
        default=(),
        description="Names on the certificates beside each zone's domain and `*.<domain>`: `*.shop.example.com`.",
    )
    web_acl_arn: WebAclArn | None = Field(default=None, description="WAFv2 web ACL in front of the load balancer.")
    access_logs: AccessLogSettings | None = Field(
        default=None, description="Write every request down in a bucket made for it."
    )

    @model_validator(mode="after")
    def _one_source_of_names(self) -> HttpsSettings:
        if self.certificate_arn is not None and self.also_names:
            refuse(
                "alsoNames beside certificateArn",
                allowed="alsoNames with certificates that are made here",
                change="drop one of them",
            )
        return self


@dataclass(frozen=True, kw_only=True)
class SharedLoadBalancerArgs:
    """What a SharedLoadBalancer needs beside its settings."""

    settings: HttpsSettings
    class_name: str
    zones: Mapping[str, str]
    """The ids of the zones in which certificates are validated, by domain."""
    certificate_names: Mapping[str, Sequence[str]]
    """What is on each certificate to make, by the domain of its zone."""
    account_id: pulumi.Input[str]
    tags: Mapping[str, str]
    """On everything that the controller makes: it knows nothing of the provider's default tags."""
    cluster: ClusterTarget
    controller_ready: Sequence[pulumi.Resource]


class SharedLoadBalancer(pulumi.ComponentResource):
    """The parameters of an ingress class, and what they lead to.

    Creates:
        - a certificate per zone, unless one is named: ACM deletes none that a load balancer uses, so it outlives them;
        - with `accessLogs`, the bucket;
        - the parameters: scheme, group, certificates, TLS policy, redirect, tags, attributes, web ACL. The controller
          takes them before the annotations of an Ingress.
    """

    parameters: pulumi.Resource
    """What the class depends on: the controller admits no change of an Ingress whose class has lost its parameters."""

    def __init__(self, name: str, args: SharedLoadBalancerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-foundation:index:SharedLoadBalancer", name, None, opts)
        settings, cluster = args.settings, args.cluster
        certificates: list[pulumi.Input[str]] = [
            ZoneCertificate(
                f"{name}-{domain}",
                ZoneCertificateArgs(
                    zone_id=args.zones[domain],
                    names=names,
                    aws_provider=cluster.aws_provider,
                ),
                opts=pulumi.ResourceOptions(parent=self),
            ).arn
            for domain, names in args.certificate_names.items()
        ]
        # Fields that HTTP does not allow are how a request is smuggled past a load balancer.
        attributes: dict[str, pulumi.Input[str]] = {"routing.http.drop_invalid_header_fields.enabled": "true"}
        writable: list[pulumi.Resource] = []
        if settings.access_logs is not None:
            logs = AccessLogBucket(
                f"{name}-logs",
                AccessLogBucketArgs(
                    settings=settings.access_logs, account_id=args.account_id, aws_provider=cluster.aws_provider
                ),
                opts=pulumi.ResourceOptions(parent=self),
            )
            attributes |= {"access_logs.s3.enabled": "true", "access_logs.s3.bucket": logs.bucket}
            writable = logs.ready
        self.parameters = kubernetes.apiextensions.CustomResource(
            f"{name}-parameters",
            api_version=f"{PARAMETERS_API}/v1beta1",
            kind=PARAMETERS_KIND,
            metadata=kubernetes.meta.v1.ObjectMetaArgs(name=args.class_name),
            spec={
                "scheme": settings.scheme,
                "group": {"name": GROUP},
                "certificateArn": [settings.certificate_arn] if settings.certificate_arn else certificates,
                "sslPolicy": TLS_POLICY,
                "sslRedirectPort": "443",
                # Pods have addresses of the VPC, so the load balancer reaches them without a detour over nodes.
                "targetType": "ip",
                "loadBalancerAttributes": _pairs(attributes),
                "tags": _pairs(args.tags),
                **({"wafv2AclArn": settings.web_acl_arn} if settings.web_acl_arn else {}),
            },
            opts=pulumi.ResourceOptions(
                parent=self,
                provider=cluster.kubernetes_provider,
                depends_on=[*args.controller_ready, *writable],
                delete_before_replace=True,
            ),
        )
        self.register_outputs({})


def _pairs(values: Mapping[str, pulumi.Input[str]]) -> list[dict[str, pulumi.Input[str]]]:
    return [{"key": key, "value": value} for key, value in values.items()]
