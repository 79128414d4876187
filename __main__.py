import pulumi
import pulumi_aws as aws

import components
from settings import load_settings

settings = load_settings()
mesh = None
if settings.lattice_gateway and settings.cluster:
    mesh = components.referenced_environment(
        settings.lattice_gateway, cluster_name=settings.cluster.name, region=settings.region
    )

tags = {"pulumi-project": pulumi.get_project(), "pulumi-stack": pulumi.get_stack(), **settings.tags}
aws_provider = aws.Provider(
    "aws",
    # Of the mesh, although it is the same: so nothing is made before mesh and cluster are known to fit.
    region=mesh.region if mesh else settings.region,
    allowed_account_ids=[settings.expected_account_id] if settings.expected_account_id else None,
    default_tags=aws.ProviderDefaultTagsArgs(tags=tags),
)

if settings.lattice_environment:
    environment = components.LatticeEnvironment(
        "environment",
        components.LatticeEnvironmentArgs(
            settings=settings.lattice_environment,
            region=settings.region,
            aws_provider=aws_provider,
            protect=settings.protect,
        ),
    )
    pulumi.export("latticeEnvironment", environment.outputs)

# The settings refuse a section without the one that it is built on.
if settings.network and settings.cluster:
    network = components.Network(
        "network",
        components.NetworkArgs(
            settings=settings.network,
            region=settings.region,
            cluster_name=settings.cluster.name,
            aws_provider=aws_provider,
            protect=settings.protect,
        ),
    )
    cluster = components.Cluster(
        "cluster",
        components.ClusterArgs(
            settings=settings.cluster,
            region=settings.region,
            vpc_id=network.vpc_id,
            subnet_ids=network.private_subnet_ids,
            network_ready=network.ready,
            aws_provider=aws_provider,
            protect=settings.protect,
            image_registry=settings.image_registry,
        ),
    )
    irsa = components.OidcIrsa(
        "irsa",
        components.OidcIrsaArgs(
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
    ingress = None

    if settings.ingress:
        ingress = components.IngressStack(
            "ingress",
            components.IngressStackArgs(
                settings=settings.ingress,
                cluster=cluster.target,
                vpc_id=network.vpc_id,
                oidc_provider_arn=irsa.provider_arn,
                network_ready=network.ready,
                gateway_api=settings.gateway_api,
                way_out=settings.network.nat != "none",
                tags=tags,
            ),
        )
        role_arns |= ingress.role_arns
        if ingress.load_balancer_host is not None:
            pulumi.export("loadBalancerHost", ingress.load_balancer_host)

        if settings.demo:
            demo = components.DemoApp(
                "demo",
                components.DemoAppArgs(
                    settings=settings.demo,
                    cluster=cluster.target,
                    ingress_class=ingress.ingress_class,
                    ingress_ready=ingress.ready,
                    https=settings.ingress.https is not None,
                ),
            )
            pulumi.export("url", demo.url)

    if settings.kiam:
        kiam = components.KiamAlternative(
            "kiam",
            components.KiamAlternativeArgs(
                settings=settings.kiam,
                cluster=cluster.target,
                node_groups=settings.cluster.node_groups,
                server_node_role=cluster.node_roles[settings.kiam.server_node_group],
                identities=irsa,
                cert_manager_ready=ingress.cert_manager_ready if ingress else [],
            ),
        )
        role_arns |= {"kiamServer": kiam.server_role_arn, **kiam.role_arns}

    if settings.lattice_gateway and mesh:
        gateway = components.LatticeGateway(
            "gateway",
            components.LatticeGatewayArgs(
                settings=settings.lattice_gateway,
                cluster=cluster.target,
                vpc_id=network.vpc_id,
                environment=mesh,
                network_ready=network.ready,
            ),
        )
        pulumi.export("latticeServices", gateway.urls)
    pulumi.export("roleArns", role_arns)
