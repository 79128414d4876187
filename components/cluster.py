"""Cluster: the EKS control plane, its nodes, add-ons and access."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import pulumi
import pulumi_aws as aws
import pulumi_eks as eks
import pulumi_kubernetes as kubernetes
from pydantic import AfterValidator, Field, model_validator

from components.cluster_target import ClusterTarget
from components.oidc_irsa import OidcSettings
from components.pod_role import IdentitySettings, PodRole, PodRoleArgs, managed_policy_arn
from components.regions import ec2_service_of, partition_of
from components.section import Cidr, Label, PrivateCidr, RetentionDays, Section, refuse
from components.service_account import ServiceAccountRef, is_subdomain
from components.trust import policy_text, service_statement
from components.versions import KUBERNETES

KUBELET_PORT = 10250
CONTROL_PLANE_ZONES = 2
CONTROL_PLANE_LOGS = ("api", "audit", "authenticator", "controllerManager", "scheduler")
KMS_DELETION_DAYS = 30
# https://docs.aws.amazon.com/eks/latest/userguide/access-policy-permissions.html
ACCESS_POLICIES = {"admin": "AmazonEKSClusterAdminPolicy", "view": "AmazonEKSViewPolicy"}
# https://docs.aws.amazon.com/eks/latest/userguide/cni-network-policy-configure.html
ENFORCING = '{"enableNetworkPolicy":"true"}'
# Which service account the pods of an add-on run under that call AWS, and their ready-made policy:
# https://docs.aws.amazon.com/eks/latest/userguide/workloads-add-ons-available-eks.html
ADDON_IDENTITIES = {
    "vpc-cni": (ServiceAccountRef(namespace="kube-system", name="aws-node"), "vpc-cni-ipv4"),
    "aws-ebs-csi-driver": (
        ServiceAccountRef(namespace="kube-system", name="ebs-csi-controller-sa"),
        "aws-ebs-csi-driver",
    ),
}
# DaemonSets that a node needs to become ready, and what in turn needs a node to run on. In the other order EKS waits
# twenty minutes for pods that cannot be scheduled.
ADDONS_BEFORE_NODES = ("eks-pod-identity-agent", "kube-proxy", "vpc-cni")
ADDONS_AFTER_NODES = ("aws-ebs-csi-driver", "coredns")


def _check_cluster_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", value):
        refuse(
            "not a name that EKS takes",
            allowed="1 to 100 letters, digits, '-' and '_', starting with a letter or digit",
            change="rename it before the first `pulumi up`: a cluster cannot be renamed",
        )
    return value


def _check_version(value: str) -> str:
    if value not in KUBERNETES:
        refuse(
            "a Kubernetes version that components/versions.py does not know",
            allowed=", ".join(sorted(KUBERNETES)),
            change="choose a known one, or add a row with its add-on versions",
        )
    return value


def _check_role_or_user(value: str) -> str:
    if not re.fullmatch(r"arn:aws[a-z-]*:iam::\d{12}:(role|user)/[\w+=,.@/-]+", value):
        refuse(
            "not the ARN of a role or user",
            allowed="arn:aws:iam::111122223333:role/<name>",
            change="take the role's own ARN, not the one of a session",
        )
    return value


RoleOrUser = Annotated[str, AfterValidator(_check_role_or_user)]

Architecture = Literal["x86_64", "arm64"]


def architecture_of(instance_type: str) -> Architecture:
    """The processor of an instance type: Graviton families have a `g` right after the generation's number.

    https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html
    """
    return "arm64" if re.match(r"[a-z]+\d+g", instance_type) or instance_type.startswith("a1.") else "x86_64"


# https://docs.aws.amazon.com/eks/latest/APIReference/API_Nodegroup.html
AMI_TYPES: dict[tuple[str, Architecture], str] = {
    ("al2023", "x86_64"): "AL2023_x86_64_STANDARD",
    ("al2023", "arm64"): "AL2023_ARM_64_STANDARD",
    ("bottlerocket", "x86_64"): "BOTTLEROCKET_x86_64",
    ("bottlerocket", "arm64"): "BOTTLEROCKET_ARM_64",
}
# Where images and pods' files live; Bottlerocket keeps its system on a small volume of its own.
DATA_DEVICE = {"al2023": "/dev/xvda", "bottlerocket": "/dev/xvdb"}
SYSTEM_DEVICE = {"bottlerocket": "/dev/xvda"}
DEFAULT_CLASS = "gp3"


def _check_label_key(value: str) -> str:
    prefix, _, name = value.rpartition("/")
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", name) or (
        prefix and not is_subdomain(prefix)
    ):
        refuse(
            "not the key of a label or taint",
            allowed="a name of up to 63 letters, digits, '-', '_' and '.', after <domain>/ or alone",
            change="write it like example.com/role",
        )
    return value


def _check_label_of_a_node(value: str) -> str:
    domain = value.rpartition("/")[0]
    reserved = re.search(r"(^|\.)(kubernetes|k8s)\.io$", domain)
    if reserved and not re.search(r"(^|\.)(node|kubelet)\.kubernetes\.io$", domain):
        # https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
        refuse(
            "a label that a kubelet may not give its own node, so that the node never joins",
            allowed="labels of a domain of your own, of node.kubernetes.io, or without a domain",
            change="write it like example.com/role",
        )
    return value


def _check_label_value(value: str) -> str:
    if not re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?", value):
        refuse(
            "not the value of a label or taint",
            allowed="up to 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends",
            change="shorten it",
        )
    return value


LabelKey = Annotated[str, AfterValidator(_check_label_key)]
LabelValue = Annotated[str, AfterValidator(_check_label_value)]


class TaintSettings(Section):
    """One entry of a node group's `taints`: what pods have to tolerate there."""

    key: LabelKey = Field(description="Its key.")
    value: LabelValue = Field(default="", description="Its value.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        default="NoSchedule", description="What happens to pods that do not tolerate it."
    )


# https://docs.aws.amazon.com/eks/latest/APIReference/API_Taint.html
TAINT_EFFECTS = {
    "NoSchedule": "NO_SCHEDULE",
    "PreferNoSchedule": "PREFER_NO_SCHEDULE",
    "NoExecute": "NO_EXECUTE",
}


class NodeGroupSettings(Section):
    """One entry of `cluster.nodeGroups`: a managed node group in private subnets."""

    instance_types: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="Instance types, of one architecture; several only make sense with spot capacity."
    )
    min_size: Annotated[int, Field(ge=0)] = Field(
        description="Fewest nodes. Before raising it above the live size, scale there: EKS refuses it otherwise."
    )
    max_size: Annotated[int, Field(ge=1)] = Field(description="Most nodes.")
    initial_size: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description="Nodes at creation; minSize where left out. Ignored afterwards: an autoscaler moves it.",
    )
    disk_size: Annotated[int, Field(ge=20, le=16384)] = Field(
        default=50, description="Encrypted gp3 volume of a node, in GiB."
    )
    capacity: Literal["on-demand", "spot"] = Field(default="on-demand", description="How the nodes are bought.")
    operating_system: Literal["al2023", "bottlerocket"] = Field(default="al2023", description="The node image.")
    zones: tuple[str, ...] = Field(
        default=(),
        description="Zones of its nodes; all where left out. A change of them replaces the group.",
    )
    pods_per_node: Annotated[int, Field(ge=4, le=250)] = Field(
        default=29, description="Pod addresses to plan for on one node; 29 is what an m5.large holds."
    )
    labels: dict[Annotated[LabelKey, AfterValidator(_check_label_of_a_node)], LabelValue] = Field(
        default={}, description="Labels of its nodes, for pods to select."
    )
    taints: tuple[TaintSettings, ...] = Field(
        default=(), description="Taints of its nodes, which keep pods away that do not tolerate them."
    )
    own_role: bool = Field(
        default=False,
        description="Give its nodes a role of their own, for rights that no other node has. A change replaces them.",
    )

    @model_validator(mode="after")
    def _fits(self) -> NodeGroupSettings:
        if len({architecture_of(each) for each in self.instance_types}) > 1:
            refuse(
                f"instance types of two architectures: {', '.join(self.instance_types)}",
                allowed="x86 types, or Graviton types; a node group has one image",
                change="make a second node group",
            )
        if not self.min_size <= self.first_size <= self.max_size:
            refuse(
                f"minSize {self.min_size}, initialSize {self.first_size}, maxSize {self.max_size}",
                allowed="minSize <= initialSize <= maxSize",
                change="raise maxSize or lower minSize",
            )
        return self

    @property
    def first_size(self) -> int:
        """Nodes at creation."""
        return self.min_size if self.initial_size is None else self.initial_size

    @property
    def addresses(self) -> int:
        """Addresses that its largest number of nodes and their pods take, each node's own included."""
        return self.max_size * (1 + self.pods_per_node)

    @property
    def keeps_pods_away(self) -> bool:
        """Whether nothing runs there without a toleration that the add-ons do not have."""
        return any(t.effect != "PreferNoSchedule" and t.key != "CriticalAddonsOnly" for t in self.taints)


def _check_room_for_addons(value: dict[str, NodeGroupSettings]) -> dict[str, NodeGroupSettings]:
    open_to_all = {key: group for key, group in value.items() if not group.keeps_pods_away}
    if not open_to_all:
        refuse(
            f"a taint on every node group: {', '.join(value)}",
            allowed="at least one without, or with CriticalAddonsOnly: CoreDNS and other add-ons have to run",
            change="drop the taints of one group, or add a group",
        )
    if all(group.capacity == "spot" or group.min_size == 0 for group in open_to_all.values()):
        refuse(
            f"no node that stays for CoreDNS and other add-ons: {', '.join(open_to_all)} on spot capacity or with "
            "minSize 0",
            allowed="at least one node group without taints that is on-demand and has a minSize of 1 or more",
            change="add a small on-demand group; EKS waits twenty minutes for add-ons that nothing can run",
        )
    return value


class ClusterSettings(Section):
    """Section `cluster`: the EKS cluster and its nodes."""

    name: Annotated[str, AfterValidator(_check_cluster_name)] = Field(description="Physical name of the cluster.")
    kubernetes_version: Annotated[str, AfterValidator(_check_version)] = Field(
        description='Kubernetes version, in quotes: "1.35".'
    )
    node_groups: Annotated[
        dict[Label, NodeGroupSettings], Field(min_length=1), AfterValidator(_check_room_for_addons)
    ] = Field(description="Managed node groups by name.")
    public_access_cidrs: tuple[Cidr, ...] = Field(
        default=(), description="Who may reach the public API endpoint. Empty: there is only the private one."
    )
    private_access_cidrs: tuple[PrivateCidr, ...] = Field(
        default=(),
        description="Who may reach the private API endpoint beside the nodes: ranges of the VPC, of peers and VPNs.",
    )
    admins: tuple[RoleOrUser, ...] = Field(
        default=(),
        description=(
            "Roles and users that administer the cluster, by ARN. Not the deployer: EKS makes the creator an "
            "administrator, and a second entry for it fails."
        ),
    )
    viewers: tuple[RoleOrUser, ...] = Field(
        default=(), description="Roles and users that may read everything in the cluster but secrets, by ARN."
    )
    log_retention_days: RetentionDays = Field(default=30, description="How long control-plane logs are kept, in days.")
    volume_key: bool = Field(
        default=False,
        description="Encrypt volumes of nodes and pods under a KMS key of the cluster's own. A change replaces nodes.",
    )
    network_policies: bool = Field(
        default=False, description="Let the VPC CNI enforce NetworkPolicy objects; without it they do nothing."
    )
    apply_crds: bool = Field(
        default=False,
        description=(
            "Apply the custom resource definitions of charts before each version of them; Helm installs them once and "
            "never again. The first preview of a new cluster names their manifests only."
        ),
    )
    oidc: OidcSettings = Field(default=OidcSettings(), description="How the IAM OIDC provider is registered.")

    @property
    def addresses(self) -> int:
        """Addresses that all node groups take together."""
        return sum(group.addresses for group in self.node_groups.values())


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    """What Cluster needs beside its settings."""

    settings: ClusterSettings
    region: str
    vpc_id: pulumi.Input[str]
    subnet_ids: Mapping[str, pulumi.Input[str]]
    """Private subnets by zone, two or more: of nodes, and in the first two zones of the control plane."""
    aws_provider: aws.Provider
    network_ready: Sequence[pulumi.Resource] = ()
    """What nodes need to reach the control plane and the registries: routes, NAT, endpoints."""
    protect: bool = False
    """Protect the cluster and its keys from deletion and replacement, in Pulumi and in EKS."""
    image_registry: str | None = None
    """Where charts and images of the target come from, in place of the public registries."""


class Cluster(pulumi.ComponentResource):
    """An EKS cluster with managed nodes.

    Creates:
        - the cluster's role, a KMS key for secrets (rotated, 30 days until a deletion takes effect), the role's right
          to use it, and the log group, before EKS would make one that never expires;
        - the control plane through `eks.Cluster` of pulumi-eks 4.4. For the arguments given here that makes the EKS
          cluster `<name>-eks-eksCluster`, an unused Kubernetes provider `<name>-eks-eks-k8s`, and per administrator
          and viewer an access entry with its policy association. It makes no security group, no node group, no add-on,
          no role and no OIDC provider. It needs the `aws` command, and waits until a public endpoint answers;
        - a security group for nodes: everything between nodes, the kubelet's port from the control plane, everything
          out; and in EKS's own group, HTTPS from the nodes and from `privateAccessCidrs`. Webhook ports are opened by
          the releases that serve them;
        - with `volumeKey` a second KMS key, which everybody in the account may use through EBS, as they may use AWS's
          own: the service-linked roles that start nodes exist only once they have started some;
        - the node role, and one more for every group that wants its own; per node group a launch template (IMDSv2 with
          hop limit 1, encrypted gp3) and the group;
        - add-ons as `aws.eks.Addon`: the DaemonSets before the nodes, the rest after. VPC CNI and the EBS CSI driver
          have roles of their own by Pod Identity, so the node role holds what a node needs and no more;
        - the Kubernetes provider that everything in the cluster uses;
        - the default storage class `gp3`, encrypted. EKS makes none that is a default.

    The creator of the cluster is an administrator of it; pulumi-eks does not let anyone switch that off.
    """

    name: str
    issuer_url: pulumi.Output[str]
    kubeconfig_command: str
    kubernetes_provider: kubernetes.Provider
    node_role_arn: pulumi.Output[str]
    """Of the role that the nodes share."""
    node_roles: Mapping[str, aws.iam.Role]
    """By node group, the shared role or its own."""
    target: ClusterTarget

    def __init__(self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-foundation:index:Cluster", name, None, opts)
        settings = args.settings
        partition = partition_of(args.region)
        child = pulumi.ResourceOptions(parent=self, provider=args.aws_provider)

        def kms_key(what: str) -> aws.kms.Key:
            return aws.kms.Key(
                f"{name}-{what}",
                description=f"{what.capitalize()} of EKS cluster {settings.name}",
                enable_key_rotation=True,
                deletion_window_in_days=KMS_DELETION_DAYS,
                opts=pulumi.ResourceOptions(parent=self, provider=args.aws_provider, protect=args.protect),
            )

        key = kms_key("secrets")
        logs = aws.cloudwatch.LogGroup(
            f"{name}-control-plane",
            name=f"/aws/eks/{settings.name}/cluster",
            retention_in_days=settings.log_retention_days,
            opts=child,
        )

        def role(key: str, service: str, *policies: str) -> tuple[aws.iam.Role, list[pulumi.Resource]]:
            made = aws.iam.Role(
                f"{name}-{key}", assume_role_policy=policy_text([service_statement(service)]), opts=child
            )
            return made, [
                aws.iam.RolePolicyAttachment(
                    f"{name}-{key}-{policy}",
                    role=made.name,
                    policy_arn=managed_policy_arn(partition, policy),
                    opts=child,
                )
                for policy in policies
            ]

        cluster_role, cluster_rights = role("role", "eks.amazonaws.com", "AmazonEKSClusterPolicy")
        cluster_rights.append(
            aws.iam.RolePolicy(
                f"{name}-secrets",
                role=cluster_role.name,
                # https://docs.aws.amazon.com/eks/latest/userguide/enable-kms.html
                policy=key.arn.apply(_encryption_policy),
                opts=child,
            )
        )
        control_plane = eks.Cluster(
            f"{name}-eks",
            name=settings.name,
            version=settings.kubernetes_version,
            service_role=cluster_role,
            vpc_id=args.vpc_id,
            # EKS never lets a control plane into another zone, so a zone that is added later is for nodes only.
            # https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html
            subnet_ids=list(args.subnet_ids.values())[:CONTROL_PLANE_ZONES],
            endpoint_private_access=True,
            endpoint_public_access=bool(settings.public_access_cidrs),
            public_access_cidrs=list(settings.public_access_cidrs) or None,
            authentication_mode=eks.AuthenticationMode.API,
            access_entries={
                arn.split(":", 4)[4]: _access(partition, arn, role)
                for role, arns in (("admin", settings.admins), ("view", settings.viewers))
                for arn in arns
            },
            encryption_config_key_arn=key.arn,
            enabled_cluster_log_types=list(CONTROL_PLANE_LOGS),
            # EXTENDED, the default of EKS, costs six times as much once standard support has ended.
            upgrade_policy=aws.eks.ClusterUpgradePolicyArgs(support_type="STANDARD"),
            deletion_protection=args.protect,
            bootstrap_self_managed_addons=False,
            create_oidc_provider=False,
            skip_default_node_group=True,
            skip_default_security_groups=True,
            use_default_vpc_cni=True,
            kube_proxy_addon_options=eks.KubeProxyAddonOptionsArgs(enabled=False),
            coredns_addon_options=eks.CoreDnsAddonOptionsArgs(enabled=False),
            opts=pulumi.ResourceOptions(
                parent=self,
                providers=[args.aws_provider],
                # EKS deletes its own network interfaces with this role, so its rights must outlive the cluster.
                depends_on=[*cluster_rights, logs],
                # `protect` on the component would also protect its hidden provider.
                transforms=[_protect_cluster] if args.protect else None,
            ),
        )

        nodes = aws.ec2.SecurityGroup(
            f"{name}-nodes",
            description=f"Nodes of EKS cluster {settings.name}",
            vpc_id=args.vpc_id,
            # Never tagged kubernetes.io/cluster/<name>: the load balancer controller wants that tag on one group only.
            tags={"Name": f"{settings.name}-nodes"},
            opts=child,
        )
        rules: list[pulumi.Resource] = [
            aws.vpc.SecurityGroupEgressRule(
                f"{name}-nodes-out",
                description="Registries, AWS and the internet",
                security_group_id=nodes.id,
                cidr_ipv4="0.0.0.0/0",
                ip_protocol="-1",
                opts=child,
            ),
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-nodes-self",
                description="Pods and nodes among themselves",
                security_group_id=nodes.id,
                referenced_security_group_id=nodes.id,
                ip_protocol="-1",
                opts=child,
            ),
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-nodes-kubelet",
                description="Control plane to kubelet",
                security_group_id=nodes.id,
                referenced_security_group_id=control_plane.cluster_security_group_id,
                ip_protocol="tcp",
                from_port=KUBELET_PORT,
                to_port=KUBELET_PORT,
                opts=child,
            ),
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-control-plane-https",
                description="Nodes to the Kubernetes API",
                security_group_id=control_plane.cluster_security_group_id,
                referenced_security_group_id=nodes.id,
                ip_protocol="tcp",
                from_port=443,
                to_port=443,
                opts=child,
            ),
        ]

        rules += [
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-control-plane-{cidr}",
                description="Private API endpoint",
                security_group_id=control_plane.cluster_security_group_id,
                cidr_ipv4=cidr,
                ip_protocol="tcp",
                from_port=443,
                to_port=443,
                opts=child,
            )
            for cidr in settings.private_access_cidrs
        ]

        def role_of_nodes(key: str) -> tuple[aws.iam.Role, list[pulumi.Resource]]:
            return role(
                key, ec2_service_of(args.region), "AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly"
            )

        node_role, node_rights = role_of_nodes("node")
        node_roles: dict[str, aws.iam.Role] = {}
        version = KUBERNETES[settings.kubernetes_version]

        def addon(addon_name: str, *, wait_for: Sequence[pulumi.Resource] = ()) -> pulumi.Resource:
            rights: list[pulumi.Resource] = []
            if addon_name in ADDON_IDENTITIES:
                account, policy = ADDON_IDENTITIES[addon_name]
                rights = PodRole(
                    f"{name}-{addon_name}",
                    PodRoleArgs(
                        settings=IdentitySettings(mechanism="pod-identity", policies={policy: {}}),
                        account=account,
                        region=args.region,
                        aws_provider=args.aws_provider,
                        cluster_name=settings.name,
                        cluster_ready=[control_plane],
                    ),
                    opts=pulumi.ResourceOptions(parent=self),
                ).ready
            return aws.eks.Addon(
                f"{name}-{addon_name}",
                cluster_name=settings.name,
                addon_name=addon_name,
                addon_version=version.addons[addon_name],
                configuration_values=ENFORCING if addon_name == "vpc-cni" and settings.network_policies else None,
                resolve_conflicts_on_create="OVERWRITE",
                resolve_conflicts_on_update="PRESERVE",
                opts=pulumi.ResourceOptions(
                    parent=self, provider=args.aws_provider, depends_on=[control_plane, *rights, *wait_for]
                ),
            )

        volume_key, volumes_ready = None, list[pulumi.Resource]()
        if settings.volume_key:
            volume_key = kms_key("volumes")
            volumes_ready = [
                aws.kms.KeyPolicy(
                    f"{name}-volumes",
                    key_id=volume_key.id,
                    policy=volume_key.arn.apply(_volume_key_policy),
                    opts=child,
                )
            ]

        def volume(device: str, size: int | None = None) -> aws.ec2.LaunchTemplateBlockDeviceMappingArgs:
            return aws.ec2.LaunchTemplateBlockDeviceMappingArgs(
                device_name=device,
                ebs=aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
                    volume_size=size,
                    volume_type="gp3",
                    encrypted="true",
                    kms_key_id=volume_key.arn if volume_key else None,
                    delete_on_termination="true",
                ),
            )

        before = [addon(addon_name) for addon_name in ADDONS_BEFORE_NODES]
        groups: list[pulumi.Resource] = []
        for key_, group in settings.node_groups.items():
            own_role, rights = role_of_nodes(f"{key_}-node") if group.own_role else (node_role, node_rights)
            node_roles[key_] = own_role
            template = aws.ec2.LaunchTemplate(
                f"{name}-{key_}",
                vpc_security_group_ids=[nodes.id],
                update_default_version=True,
                metadata_options=aws.ec2.LaunchTemplateMetadataOptionsArgs(
                    http_endpoint="enabled",
                    http_tokens="required",
                    # One hop ends at the node: with two, every pod could take the node's role.
                    http_put_response_hop_limit=1,
                ),
                block_device_mappings=[
                    volume(DATA_DEVICE[group.operating_system], group.disk_size),
                    *(volume(device) for system, device in SYSTEM_DEVICE.items() if system == group.operating_system),
                ],
                tag_specifications=[
                    aws.ec2.LaunchTemplateTagSpecificationArgs(
                        resource_type=resource_type, tags={"Name": f"{settings.name}-{key_}"}
                    )
                    for resource_type in ("instance", "volume")
                ],
                opts=child,
            )
            groups.append(
                aws.eks.NodeGroup(
                    f"{name}-{key_}",
                    cluster_name=settings.name,
                    node_role_arn=own_role.arn,
                    subnet_ids=[args.subnet_ids[zone] for zone in group.zones or args.subnet_ids],
                    version=settings.kubernetes_version,
                    ami_type=AMI_TYPES[group.operating_system, architecture_of(group.instance_types[0])],
                    capacity_type={"on-demand": "ON_DEMAND", "spot": "SPOT"}[group.capacity],
                    instance_types=list(group.instance_types),
                    scaling_config=aws.eks.NodeGroupScalingConfigArgs(
                        min_size=group.min_size, max_size=group.max_size, desired_size=group.first_size
                    ),
                    labels=group.labels or None,
                    taints=[
                        aws.eks.NodeGroupTaintArgs(key=taint.key, value=taint.value, effect=TAINT_EFFECTS[taint.effect])
                        for taint in group.taints
                    ]
                    or None,
                    update_config=aws.eks.NodeGroupUpdateConfigArgs(max_unavailable_percentage=33),
                    launch_template=aws.eks.NodeGroupLaunchTemplateArgs(
                        id=template.id, version=template.latest_version.apply(str)
                    ),
                    opts=pulumi.ResourceOptions(
                        parent=self,
                        provider=args.aws_provider,
                        depends_on=[control_plane, *rights, *rules, *volumes_ready, *before, *args.network_ready],
                        # The provider's own spelling: a dotted path is not translated, and in snake_case does nothing.
                        ignore_changes=["scalingConfig.desiredSize"],
                    ),
                )
            )
        last = [addon(addon_name, wait_for=groups) for addon_name in ADDONS_AFTER_NODES]

        self.kubernetes_provider = kubernetes.Provider(
            f"{name}-kubernetes",
            kubeconfig=control_plane.kubeconfig_json,
            # Without it, a cluster whose kubeconfig is unknown in a preview previews as the replacement of everything
            # in it.
            cluster_identifier=f"{args.region}/{settings.name}",
            opts=pulumi.ResourceOptions(parent=self, depends_on=[control_plane]),
        )
        kubernetes.storage.v1.StorageClass(
            f"{name}-{DEFAULT_CLASS}",
            metadata=kubernetes.meta.v1.ObjectMetaArgs(
                name=DEFAULT_CLASS, annotations={"storageclass.kubernetes.io/is-default-class": "true"}
            ),
            provisioner="ebs.csi.aws.com",
            parameters={"type": "gp3", "encrypted": "true", **({"kmsKeyId": volume_key.arn} if volume_key else {})},
            # A volume is made in the zone of the first pod that wants it.
            volume_binding_mode="WaitForFirstConsumer",
            allow_volume_expansion=True,
            opts=pulumi.ResourceOptions(
                parent=self,
                provider=self.kubernetes_provider,
                depends_on=[*rules, *volumes_ready],
                delete_before_replace=True,
            ),
        )
        self.name = settings.name
        self.issuer_url = control_plane.oidc_provider_url
        self.kubeconfig_command = (
            f"aws eks update-kubeconfig --region {args.region} --name {settings.name} --alias {settings.name}"
        )
        self.node_role_arn = node_role.arn
        self.node_roles = node_roles
        self.target = ClusterTarget(
            name=settings.name,
            region=args.region,
            version=version,
            kubernetes_provider=self.kubernetes_provider,
            aws_provider=args.aws_provider,
            control_plane_security_group_id=control_plane.cluster_security_group_id,
            node_security_group_id=nodes.id,
            ready=[*groups, *last],
            image_registry=args.image_registry,
            apply_crds=settings.apply_crds,
        )
        self.register_outputs(
            {
                "name": self.name,
                "issuer_url": self.issuer_url,
                "kubeconfig_command": self.kubeconfig_command,
                "node_role_arn": self.node_role_arn,
            }
        )


def _encryption_policy(key_arn: str) -> str:
    actions = ["kms:Encrypt", "kms:Decrypt", "kms:DescribeKey", "kms:CreateGrant"]
    return policy_text([{"Effect": "Allow", "Action": actions, "Resource": key_arn}])


def _volume_key_policy(key_arn: str) -> str:
    """What AWS's own key for volumes allows: use by whoever in the account may use EBS, and only through it.

    https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html
    """
    _, partition, _, region, account, _ = key_arn.split(":", 5)
    through_ebs = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:CreateGrant"]
    return policy_text(
        [
            {
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:{partition}:iam::{account}:root"},
                "Action": "kms:*",
                "Resource": "*",
            },
            {
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": [*through_ebs, "kms:DescribeKey"],
                "Resource": "*",
                "Condition": {
                    "StringEquals": {"kms:CallerAccount": account},
                    # The name ends otherwise in other partitions.
                    "StringLike": {"kms:ViaService": f"ec2.{region}.amazonaws.*"},
                },
            },
        ]
    )


def _access(partition: str, arn: str, role: str) -> eks.AccessEntryArgs:
    return eks.AccessEntryArgs(
        principal_arn=arn,
        access_policies={
            role: eks.AccessPolicyAssociationArgs(
                policy_arn=f"arn:{partition}:eks::aws:cluster-access-policy/{ACCESS_POLICIES[role]}",
                access_scope=aws.eks.AccessPolicyAssociationAccessScopeArgs(type="cluster"),
            )
        },
    )


def _protect_cluster(args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
    if args.type_ != "aws:eks/cluster:Cluster":
        return None
    return pulumi.ResourceTransformResult(
        args.props, pulumi.ResourceOptions.merge(args.opts, pulumi.ResourceOptions(protect=True))
    )
