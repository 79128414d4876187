"""ExternalDns: keeps the DNS records of a cluster's Ingresses, Services or DNSEndpoints in named zones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_kubernetes as kubernetes

import iam_policies
from components import versions
from components.cluster_target import ClusterTarget
from components.pod_role import ROLE_HASH_ANNOTATION, IdentitySettings, PodRole, PodRoleArgs
from components.regions import hosted_zone_arn, partition_of
from components.release import release
from components.service_account import ServiceAccountRef

EXTERNAL_DNS_ACCOUNT = ServiceAccountRef(namespace="external-dns", name="external-dns")

# The owner's record of an apex has to lie inside the zone: below the name, so with the type in it and a dot at its end.
# It may never change: records are known as one's own by it.
# https://kubernetes-sigs.github.io/external-dns/v0.21.0/docs/registry/txt/
OWNERSHIP_PREFIX = "external-dns-%{record_type}."


@dataclass(frozen=True, kw_only=True)
class ExternalDnsArgs:
    """What ExternalDns needs."""

    cluster: ClusterTarget
    zones: Mapping[str, pulumi.Input[str]]
    """The ids of the zones that it may write to, by domain."""
    zone_type: Literal["public", "private"]
    """What the zones are; a zone of the same domain and the other type is left alone."""
    owner_id: str
    """Marks the records as this instance's; every other instance that writes to one of the zones needs another one."""
    sources: Sequence[str]
    """What the records come from, in the chart's words: `ingress`, `service`, `crd`."""
    oidc_provider_arn: pulumi.Input[str] | None = None
    """The cluster's OIDC provider for IRSA; EKS Pod Identity where left out."""
    wait_for: Sequence[pulumi.Resource] = ()
    """What the release must find beside the cluster, and what outlives it."""

    def __post_init__(self) -> None:
        """Refuse to run without zones: no filter is a filter that lets everything through.

        Raises:
            ValueError: there is no zone.
        """
        if not self.zones:
            raise ValueError("external-dns without zones, which sees every zone; allowed: one or more; name the zones")


class ExternalDns(pulumi.ComponentResource):
    """external-dns for named zones only, in what AWS lets it do and in what it is told to do.

    Creates:
        - its namespace;
        - its PodRole, whose policy reaches these zones and no other;
        - its release under that account, which sees these zones and no other, keeps records that have this owner, and
          removes them when what they come from is gone: a name left behind leads to whoever gets the address next.
    """

    role_arn: pulumi.Output[str]
    ready: list[pulumi.Resource]
    """Whatever makes an object that gets a record depends on these: they have to run when it goes, to remove it."""

    def __init__(self, name: str, args: ExternalDnsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-foundation:index:ExternalDns", name, None, opts)
        cluster = args.cluster
        chart = cluster.version.chart(versions.EXTERNAL_DNS.name)
        partition = partition_of(cluster.region)
        zone_ids = pulumi.Output.all(*args.zones.values())

        namespace = kubernetes.core.v1.Namespace(
            f"{name}-namespace",
            metadata=kubernetes.meta.v1.ObjectMetaArgs(name=EXTERNAL_DNS_ACCOUNT.namespace),
            opts=pulumi.ResourceOptions(parent=self, provider=cluster.kubernetes_provider),
        )

        def policy(ids: Sequence[str]) -> str:
            zone_arns = [hosted_zone_arn(cluster.region, each) for each in ids]
            return iam_policies.policy_text(
                "external-dns", partition=partition, parameters={"hostedZoneArns": zone_arns}
            )

        identity = PodRole(
            f"{name}-identity",
            PodRoleArgs(
                settings=IdentitySettings(mechanism="pod-identity" if args.oidc_provider_arn is None else "irsa"),
                account=EXTERNAL_DNS_ACCOUNT,
                region=cluster.region,
                aws_provider=cluster.aws_provider,
                oidc_provider_arns=[args.oidc_provider_arn] if args.oidc_provider_arn is not None else [],
                wired_documents={"external-dns": zone_ids.apply(policy)},
                cluster_name=cluster.name,
                cluster_ready=cluster.ready,
                kubernetes_provider=cluster.kubernetes_provider,
                wait_for=[namespace],
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        installed = release(
            name,
            chart,
            cluster=cluster,
            parent=self,
            namespace=namespace.metadata.name,
            values={
                "provider": {"name": "aws"},
                "sources": list(args.sources),
                "domainFilters": list(args.zones),
                "extraArgs": {"zone-id-filter": zone_ids, "aws-zone-type": args.zone_type},
                "policy": "sync",
                "registry": "txt",
                "txtOwnerId": args.owner_id,
                "txtPrefix": OWNERSHIP_PREFIX,
                # A record goes as soon as its object does, not up to a minute later, when all of this may be gone.
                "triggerLoopOnEvent": True,
                "serviceAccount": {"create": False, "name": identity.account.name},
                "podAnnotations": {ROLE_HASH_ANNOTATION: identity.role_hash},
            },
            webhook_ports={},
            wait_for=[*args.wait_for, *identity.ready],
        )

        self.role_arn = identity.role_arn
        self.ready = [installed]
        self.register_outputs({"role_arn": self.role_arn})
