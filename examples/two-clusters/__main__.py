"""Two clusters in one stack that call each other over VPC Lattice: one update for all, and the order in one graph."""

import sys
from pathlib import Path

import pulumi
import pulumi_aws as aws

sys.path.append(str(Path(__file__).resolve().parents[2]))

import components

CIDR = "10.0.0.0/16"  # of both: Lattice does not mind
PEERS = {"cluster1": "cluster2", "cluster2": "cluster1"}

config = pulumi.Config()
region, domain = config.require("region"), config.require("domain")
images = config.require_object("images")
aws_provider = aws.Provider("aws", region=region)

environment = components.LatticeEnvironment(
    "environment",
    components.LatticeEnvironmentArgs(
        settings=components.LatticeEnvironmentSettings(
            domain=domain, organization="Example", clients=tuple(f"{name}/apps/default" for name in PEERS)
        ),
        region=region,
        aws_provider=aws_provider,
    ),
)

for name, peer in PEERS.items():
    network = components.Network(
        f"{name}-network",
        components.NetworkArgs(
            settings=components.NetworkSettings(cidr=CIDR, zones=(f"{region}a", f"{region}c")),
            region=region,
            cluster_name=name,
            aws_provider=aws_provider,
        ),
    )
    cluster = components.Cluster(
        name,
        components.ClusterArgs(
            settings=components.ClusterSettings(
                name=name,
                kubernetes_version="1.35",
                private_access_cidrs=(CIDR,),
                apply_crds=True,
                node_groups={
                    "system": components.NodeGroupSettings(instance_types=("m5.large",), min_size=3, max_size=10)
                },
            ),
            region=region,
            vpc_id=network.vpc_id,
            subnet_ids=network.private_subnet_ids,
            network_ready=network.ready,
            aws_provider=aws_provider,
        ),
    )
    gateway_settings = components.LatticeGatewaySettings(
        domain=domain,
        peers=(peer,),
        callers=("apps/default",),
        images=components.InjectionSettings(redirect=images["redirect"], proxy=images["proxy"]),
        services={
            f"demo-{name}": components.LatticeServiceSettings(
                namespace="apps", image=images["application"], admits=(f"{peer}/apps",)
            )
        },
    )
    gateway = components.LatticeGateway(
        f"{name}-gateway",
        components.LatticeGatewayArgs(
            settings=gateway_settings,
            cluster=cluster.target,
            vpc_id=network.vpc_id,
            environment=components.own_environment(environment, gateway_settings, cluster_name=name, region=region),
            network_ready=network.ready,
        ),
    )
    pulumi.export(f"{name}Services", gateway.urls)
    pulumi.export(f"{name}KubeconfigCommand", cluster.kubeconfig_command)
