"""The pieces that component tests are made of."""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components import (
    Cluster,
    ClusterArgs,
    ClusterSettings,
    ClusterTarget,
    Network,
    NetworkArgs,
    NetworkSettings,
    NodeGroupSettings,
)
from components.versions import KUBERNETES

REGION = "ap-northeast-2"
ZONES = ("ap-northeast-2a", "ap-northeast-2c")
NODES = NodeGroupSettings(instance_types=("t3.medium",), min_size=2, max_size=3)


def aws_provider() -> aws.Provider:
    return aws.Provider("aws", region=REGION)


def network(*, protect: bool = False, **settings: Any) -> Network:
    return Network(
        "network",
        NetworkArgs(
            settings=NetworkSettings(**{"zones": ZONES, **settings}),
            region=REGION,
            cluster_name="dev",
            aws_provider=aws_provider(),
            protect=protect,
        ),
    )


def cluster(*, protect: bool = False, **settings: Any) -> Cluster:
    provider = aws_provider()
    route = aws.ec2.Route("route", route_table_id="rtb-1", opts=pulumi.ResourceOptions(provider=provider))
    return Cluster(
        "cluster",
        ClusterArgs(
            settings=ClusterSettings(
                **{"name": "dev", "kubernetes_version": "1.35", "node_groups": {"system": NODES}, **settings}
            ),
            region=REGION,
            vpc_id="vpc-1",
            subnet_ids={"ap-northeast-2a": "subnet-a", "ap-northeast-2c": "subnet-c", "ap-northeast-2b": "subnet-b"},
            network_ready=[route],
            aws_provider=provider,
            protect=protect,
        ),
    )


def target(*, apply_crds: bool = False) -> ClusterTarget:
    """A cluster that somebody else made."""
    nodes = aws.eks.NodeGroup(
        "nodes",
        cluster_name="dev",
        node_role_arn="arn:aws:iam::111122223333:role/nodes",
        subnet_ids=["subnet-a"],
        scaling_config=aws.eks.NodeGroupScalingConfigArgs(min_size=1, max_size=1, desired_size=1),
        opts=pulumi.ResourceOptions(provider=(provider := aws_provider())),
    )
    return ClusterTarget(
        name="dev",
        region=REGION,
        version=KUBERNETES["1.35"],
        kubernetes_provider=kubernetes.Provider("kubernetes", kubeconfig="{}"),
        aws_provider=provider,
        control_plane_security_group_id="sg-control-plane",
        node_security_group_id="sg-nodes",
        ready=[nodes],
        apply_crds=apply_crds,
    )
