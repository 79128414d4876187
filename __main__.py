import pulumi
import pulumi_aws as aws

from components import (
    Cluster,
    ClusterArgs,
    DemoApp,
    DemoAppArgs,
    IngressStack,
    IngressStackArgs,
    Network,
    NetworkArgs,
    OidcIrsa,
    OidcIrsaArgs,
)
from settings import load_settings

settings = load_settings()

aws_provider = aws.Provider(
    "aws",
    region=settings.region,
    allowed_account_ids=[settings.expected_account_id] if settings.expected_account_id else None,
    default_tags=aws.ProviderDefaultTagsArgs(
        tags={"pulumi-project": pulumi.get_project(), "pulumi-stack": pulumi.get_stack(), **settings.tags}
    ),
)

# The settings refuse a section without the one that it is built on.
if settings.network and settings.cluster:
    network = Network(
        "network",
        NetworkArgs(
            settings=settings.network,
            region=settings.region,
            cluster_name=settings.cluster.name,
            aws_provider=aws_provider,
            protect=settings.protect,
        ),
    )
    cluster = Cluster(
        "cluster",
        ClusterArgs(
            settings=settings.cluster,
            region=settings.region,
            vpc_id=network.vpc_id,
            subnet_ids=network.private_subnet_ids,
            network_ready=network.ready,
            aws_provider=aws_provider,
            protect=settings.protect,
        ),
    )
    irsa = OidcIrsa(
        "irsa",
        OidcIrsaArgs(
            settings=settings.cluster.oidc,
            issuer_url=cluster.issuer_url,
            cluster=cluster.target,
            identities=settings.identities,
        ),
    )
    pulumi.export("clusterName", cluster.name)
    pulumi.export("kubeconfigCommand", cluster.kubeconfig_command)
    pulumi.export("issuerUrl", cluster.issuer_url)
    pulumi.export("issuer", irsa.issuer)
    pulumi.export("oidcProviderArn", irsa.provider_arn)
    pulumi.export("vpcId", network.vpc_id)
    pulumi.export("publicSubnetIds", network.public_subnet_ids)
    pulumi.export("privateSubnetIds", network.private_subnet_ids)
    role_arns = {"node": cluster.node_role_arn, **irsa.role_arns}

    if settings.ingress:
        ingress = IngressStack(
            "ingress",
            IngressStackArgs(
                settings=settings.ingress,
                cluster=cluster.target,
                vpc_id=network.vpc_id,
                oidc_provider_arn=irsa.provider_arn,
                network_ready=network.ready,
            ),
        )
        role_arns["loadBalancerController"] = ingress.controller_role_arn

        if settings.demo:
            demo = DemoApp(
                "demo",
                DemoAppArgs(
                    settings=settings.demo,
                    cluster=cluster.target,
                    ingress_class=ingress.ingress_class,
                    ingress_ready=ingress.ready,
                ),
            )
            pulumi.export("url", demo.url)
    pulumi.export("roleArns", role_arns)
