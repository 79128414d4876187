"""A Helm release with everything that makes one safe to repeat, and the webhook ports that it declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components.cluster_target import ClusterTarget
from components.custom_resources import custom_resources
from components.image_registry import chart_from, values_from
from components.versions import Chart

# Nodes may still be joining and images are pulled for the first time; Helm's own five minutes are too short.
TIMEOUT_SECONDS = 900


def release(
    name: str,
    chart: Chart,
    *,
    cluster: ClusterTarget,
    parent: pulumi.Resource,
    namespace: pulumi.Input[str],
    values: Mapping[str, Any],
    webhook_ports: Mapping[str, int],
    wait_for: Sequence[pulumi.Resource],
) -> kubernetes.helm.v3.Release:
    """Register a release of a chart; first its webhook ports from the control plane to the nodes.

    Its custom resources come before it too where the cluster wants them as a step.

    The physical name is the chart's: Pulumi's own suffix would change the names of accounts and services that charts
    derive from it. A failed install is rolled back, so that it can be repeated under the same name. Chart and images
    come through the cluster's image registry where it has one.

    Args:
        name: prefix of the logical names.
        chart: chart, version and address.
        cluster: where to.
        parent: the component.
        namespace: has to exist.
        values: chart values, in the chart's spelling.
        webhook_ports: by webhook, the ports that the API server calls on the chart's pods.
        wait_for: what the release must find, and what outlives it.
    """
    chart = chart_from(cluster.image_registry, chart)
    ports = [
        aws.vpc.SecurityGroupIngressRule(
            f"{name}-{webhook}",
            description=f"Control plane to the webhook of {chart.name}",
            security_group_id=cluster.node_security_group_id,
            referenced_security_group_id=cluster.control_plane_security_group_id,
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
            opts=pulumi.ResourceOptions(parent=parent, provider=cluster.aws_provider),
        )
        for webhook, port in webhook_ports.items()
    ]
    crd_addresses = chart.crd_addresses if cluster.apply_crds else ()
    definitions = custom_resources(f"{name}-{chart.name}", crd_addresses, cluster=cluster, parent=parent)
    return kubernetes.helm.v3.Release(
        f"{name}-{chart.name}",
        name=chart.name,
        namespace=namespace,
        chart=chart.chart,
        version=chart.version,
        repository_opts=(
            kubernetes.helm.v3.RepositoryOptsArgs(repo=chart.repository) if chart.repository is not None else None
        ),
        skip_crds=True if definitions else None,
        values=values_from(cluster.image_registry, chart, values),
        atomic=True,
        cleanup_on_fail=True,
        wait_for_jobs=True,
        timeout=TIMEOUT_SECONDS,
        max_history=5,
        opts=pulumi.ResourceOptions(
            parent=parent,
            provider=cluster.kubernetes_provider,
            depends_on=[*cluster.ready, *ports, *definitions, *wait_for],
            delete_before_replace=True,
        ),
    )
