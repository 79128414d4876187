"""What a cluster with users needs beyond working: protection, logs, keys, network policies, nodes that stay.

Where a program protects something from deletion, by `protect` or by the cluster's deletion protection, somebody wants
it to last; some of these rules speak only then, so that a stack for an afternoon need not be a fortress.
"""

from __future__ import annotations

from collections.abc import Iterator

from preflight.graph import Resource
from preflight.policies import MalformedError, Request, decide, parse
from preflight.rules.cluster import narrower_endpoint, open_endpoints
from preflight.rules.eks import Cluster, NodeGroup, estate, lasts, many, parsed
from preflight.rules.rule import Hit, Stack, items, rule, text, value
from preflight.workloads import at
from preflight.workloads import text as known_text

_GUIDE = "https://docs.aws.amazon.com/eks/latest/userguide"
_PRACTICES = "https://docs.aws.amazon.com/eks/latest/best-practices"
_VPC = "https://docs.aws.amazon.com/vpc/latest/userguide"
_LASTING = " Speaks only where the program protects something."

_KEY = "aws:kms/key:Key"
_KEY_POLICY = "aws:kms/keyPolicy:KeyPolicy"
_LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
_ENTRIES = ("aws:eks/accessEntry:AccessEntry", "aws:eks/accessPolicyAssociation:AccessPolicyAssociation")
_LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")
# What cannot be made again with what was in it.
_STATEFUL = (
    _KEY,
    "aws:dynamodb/table:Table",
    "aws:ebs/volume:Volume",
    "aws:efs/fileSystem:FileSystem",
    "aws:rds/cluster:Cluster",
    "aws:rds/instance:Instance",
    "aws:s3/bucket:Bucket",
    "aws:s3/bucketV2:BucketV2",
)
# Charts that enforce NetworkPolicy objects in place of the VPC CNI.
_POLICY_ENGINES = ("calico", "cilium", "tigera-operator", "antrea")
_EBS = ("ebs.csi.aws.com", "kubernetes.io/aws-ebs", "ebs.csi.eks.amazonaws.com")
_DEFAULT_CLASS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")


# Protection


@rule(
    "cluster-unprotected",
    title="EKS would delete the cluster on request",
    severity="warning",
    looks_at="Deletion protection of every cluster." + _LASTING,
    why="`protect` holds Pulumi only: the console, another tool and a state without it delete the cluster all the "
    "same.",
    source=f"{_GUIDE}/deletion-protection.html",
    fix="Set deletion protection.",
)
def cluster_unprotected(stack: Stack) -> Iterator[Hit]:
    """EKS refuses to delete the cluster."""
    for cluster in estate(stack).clusters if lasts(stack) else ():
        if cluster.get("deletionProtection") is not True:
            yield Hit(
                resource=cluster.resource,
                message=f"Cluster {cluster.name} has no deletion protection, and other things here are protected.",
                fix="Set deletion_protection=True.",
            )


@rule(
    "data-unprotected",
    title="What holds data can be deleted by an edit",
    severity="warning",
    looks_at="`protect` of KMS keys, buckets, databases, tables, file systems and volumes." + _LASTING,
    why="A renamed or forgotten resource previews as a deletion, and somebody confirms it; without its key even what "
    "was encrypted is gone.",
    source="https://www.pulumi.com/docs/iac/concepts/resources/options/protect/",
    fix="Protect it.",
)
def data_unprotected(stack: Stack) -> Iterator[Hit]:
    """Pulumi refuses to delete what holds data."""
    for one in stack.graph.of_type(*_STATEFUL) if lasts(stack) else ():
        if one.protect is not True and not one.retain_on_delete:
            yield Hit(
                resource=one,
                message=f"{one.type.rpartition(':')[2]} {one.name} is not protected, and other things here are.",
                fix="Add protect=True to its options.",
            )


@rule(
    "lasting-endpoint-open",
    title="The Kubernetes API of a cluster that is to last is open to the world",
    severity="error",
    looks_at="Public access and its CIDR blocks of every cluster." + _LASTING,
    why="Anyone can reach the API server, and try credentials and its next vulnerability on it, for years.",
    source=f"{_GUIDE}/cluster-endpoint.html",
    fix="Name the ranges that you come from, switch public access off, or waive it with the reason.",
)
def lasting_endpoint_open(stack: Stack) -> Iterator[Hit]:
    """The endpoint is private, or open to named ranges."""
    for cluster, _ in open_endpoints(stack) if lasts(stack) else ():
        yield Hit(
            resource=cluster.resource,
            message=f"Cluster {cluster.name} is protected, so it has users, and its API answers to everybody.",
            fix=narrower_endpoint(cluster),
        )


@rule(
    "cluster-endpoint-public-only",
    title="Nodes reach the Kubernetes API over the internet",
    severity="warning",
    looks_at="Private access of every cluster; EKS' default is off." + _LASTING,
    why="Every node's traffic to the control plane leaves the VPC, and ends where the public endpoint is narrowed or "
    "the way out is lost.",
    source=f"{_GUIDE}/cluster-endpoint.html",
    fix="Switch private access on.",
)
def cluster_endpoint_public_only(stack: Stack) -> Iterator[Hit]:
    """The endpoint answers inside the VPC."""
    for cluster in estate(stack).clusters if lasts(stack) else ():
        if cluster.get("vpcConfig.endpointPrivateAccess") is not True:
            yield Hit(
                resource=cluster.resource,
                message=f"Cluster {cluster.name} has no private endpoint.",
                fix=f"Set {cluster.write('vpcConfig.endpointPrivateAccess')} to True.",
            )


@rule(
    "cluster-admin-implicit",
    title="Nobody is named as administrator",
    severity="warning",
    looks_at="Access entries of every cluster." + _LASTING,
    why="Only who created the cluster administers it, which no code says: when that role or pipeline is gone, so is "
    "the way in.",
    source=f"{_GUIDE}/access-entries.html",
    fix="Make an access entry for the role of your administrators.",
)
def cluster_admin_implicit(stack: Stack) -> Iterator[Hit]:
    """Somebody is let in by name."""
    found = estate(stack)
    entered = {text(one, "clusterName") for one in stack.graph.of_type(*_ENTRIES)}
    for cluster in found.clusters if lasts(stack) else ():
        if cluster.name not in entered and not cluster.has("accessEntries"):
            yield Hit(
                resource=cluster.resource,
                message=f"Cluster {cluster.name} has no access entry; allowed: at least one for an administrator.",
                fix="Make an aws.eks.AccessEntry for a role of yours, and associate AmazonEKSClusterAdminPolicy.",
            )


# Logs


@rule(
    "cluster-logs-partial",
    title="Part of the control plane's logs is not kept",
    severity="warning",
    looks_at="The log types that every cluster sends to CloudWatch; the audit log has a rule of its own." + _LASTING,
    why="What is not logged before an incident cannot be read after it.",
    source=f"{_GUIDE}/control-plane-logs.html",
    fix="Enable all five types.",
)
def cluster_logs_partial(stack: Stack) -> Iterator[Hit]:
    """All logs of the control plane are kept."""
    for cluster in estate(stack).clusters if lasts(stack) else ():
        types = many(cluster.get("enabledClusterLogTypes"))
        missing = [one for one in _LOG_TYPES if one not in types]
        if missing and "audit" in types:
            yield Hit(
                resource=cluster.resource,
                message=f"Cluster {cluster.name} does not log {', '.join(missing)}.",
                fix=f"Set enabled_cluster_log_types={list(_LOG_TYPES)}.",
            )


@rule(
    "log-group-endless",
    title="Logs are kept for ever",
    severity="warning",
    looks_at="The retention of log groups, and clusters that send logs to a group that the program does not make.",
    why="CloudWatch bills what is stored, month after month, and EKS makes its group without an end.",
    source="https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/Working-with-log-groups-and-streams.html",
    fix="Set a retention.",
)
def log_group_endless(stack: Stack) -> Iterator[Hit]:
    """Every log expires."""
    found = estate(stack)
    groups = stack.graph.of_type(_LOG_GROUP)
    for group in groups:
        if not value(group, "retentionInDays"):
            yield Hit(
                resource=group,
                message=f"Log group {group.name} has no retention.",
                fix="Set retention_in_days, such as 90.",
            )
    names = {text(group, "name") for group in groups}
    for cluster in found.clusters:
        name = f"/aws/eks/{cluster.name}/cluster"
        if cluster.name and many(cluster.get("enabledClusterLogTypes")) and name not in names:
            yield Hit(
                resource=cluster.resource,
                message=f"EKS will make {name}, which never expires.",
                fix=f'Make an aws.cloudwatch.LogGroup of name="{name}" with retention_in_days before the cluster.',
            )


@rule(
    "flow-log-missing",
    title="Nobody can tell who talked to whom in the VPC",
    severity="warning",
    looks_at="VPCs with nodes of a cluster, and flow logs of the VPC or of all these subnets." + _LASTING,
    why="After an incident there is no record of the connections, and before it none of what a security group refuses.",
    source=f"{_VPC}/flow-logs.html",
    fix="Make a flow log.",
)
def flow_log_missing(stack: Stack) -> Iterator[Hit]:
    """Connections are logged."""
    found = estate(stack)
    logs = stack.graph.of_type("aws:ec2/flowLog:FlowLog")
    logged = {text(log, key) for log in logs for key in ("vpcId", "subnetId")}
    for vpc in stack.graph.of_type("aws:ec2/vpc:Vpc") if lasts(stack) else ():
        subnets = {one for group in found.node_groups for one in _subnet_ids(group)}
        inside = [one.id for one in found.subnets.values() if one.vpc_id == vpc.id and one.id in subnets]
        if inside and vpc.id not in logged and not set(inside) <= logged:
            yield Hit(
                resource=vpc,
                message=f"VPC {vpc.name}, in which nodes stand, has no flow log.",
                fix='Make an aws.ec2.FlowLog of this VPC with traffic_type="ALL".',
            )


# Nodes


def _subnet_ids(group: NodeGroup) -> list[str]:
    return [str(one) for one in items(group.resource, "subnetIds")]


def _turns_pods_away(group: NodeGroup) -> bool:
    """Whether a taint keeps add-ons off its nodes."""
    return any(
        "prefer" not in known_text(one, "effect").lower() and known_text(one, "key") != "CriticalAddonsOnly"
        for one in items(group.resource, "taints")
    )


@rule(
    "nodes-one-zone",
    title="All nodes stand in one availability zone",
    severity="warning",
    looks_at="The zones of the subnets of all node groups of a cluster.",
    why="When that zone fails, everything in the cluster does.",
    source=f"{_PRACTICES}/reliability.html",
    fix="Give the node groups subnets in a second zone.",
)
def nodes_one_zone(stack: Stack) -> Iterator[Hit]:
    """Nodes are spread over zones."""
    found = estate(stack)
    for cluster in found.clusters:
        ids = {one for group in found.nodes_of(cluster) for one in _subnet_ids(group)}
        zones = {found.subnets[one].zone for one in ids if one in found.subnets}
        if ids and ids <= set(found.subnets) and len(zones) == 1:
            yield Hit(
                resource=cluster.resource,
                message=f"Every node of cluster {cluster.name} is in zone {min(zones)}.",
                fix="Add subnets of another zone to subnet_ids of its node groups.",
            )


@rule(
    "nodes-only-spot",
    title="Add-ons have spot nodes only",
    severity="warning",
    looks_at="Capacity types and taints of the managed node groups of a cluster.",
    why="AWS takes them all back at once, with two minutes' notice; CoreDNS and the controllers go with them.",
    source=f"{_GUIDE}/managed-node-groups.html#managed-node-group-capacity-types",
    fix="Add an on-demand node group without taints.",
)
def nodes_only_spot(stack: Stack) -> Iterator[Hit]:
    """Add-ons run on nodes that stay."""
    found = estate(stack)
    for cluster in found.clusters:
        usable = [group for group in found.nodes_of(cluster) if not _turns_pods_away(group)]
        if usable and all(text(group.resource, "capacityType") == "SPOT" for group in usable):
            yield Hit(
                resource=usable[0].resource,
                message=f"Every node group of cluster {cluster.name} that add-ons can run on has spot capacity.",
                fix='Add a small node group with capacity_type="ON_DEMAND" and no taints.',
            )


@rule(
    "nodes-public",
    title="Nodes stand in public subnets",
    severity="warning",
    looks_at="The routes of the subnets of node groups.",
    why="Each node needs an address that the internet can reach, and one wrong rule of a security group is all that "
    "is in between.",
    source=f"{_PRACTICES}/subnets.html",
    fix="Use private subnets with a NAT gateway or endpoints.",
)
def nodes_public(stack: Stack) -> Iterator[Hit]:
    """Nodes stand in private subnets."""
    found = estate(stack)
    for group in found.node_groups:
        public = [one for one in _subnet_ids(group) if one in found.subnets and found.subnets[one].public]
        if public:
            names = ", ".join(found.subnets[one].resource.name for one in public)
            yield Hit(
                resource=group.resource,
                message=f"Node group {group.resource.name} stands in subnets that route to an internet gateway: "
                f"{names}.",
                fix="Give it private subnets.",
            )


# Volumes


def _volume_keys(template: Resource) -> list[str]:
    return [key for one in items(template, "blockDeviceMappings") if (key := known_text(one, "ebs", "kmsKeyId"))]


@rule(
    "node-volume-key",
    title="The volumes of nodes are under a key of AWS",
    severity="warning",
    looks_at="The KMS key of encrypted block devices of the launch templates of node groups." + _LASTING,
    why="Nobody can audit, limit or take away its use, and no snapshot of theirs can be shared.",
    source=f"{_PRACTICES}/data-encryption-and-secrets-management.html",
    fix="Name a KMS key of yours.",
)
def node_volume_key(stack: Stack) -> Iterator[Hit]:
    """Volumes are under a key of the account."""
    templates = {one.template.urn: one.template for one in estate(stack).node_groups if one.template}
    for template in templates.values() if lasts(stack) else ():
        devices = [one for one in items(template, "blockDeviceMappings") if at(one, "ebs", "encrypted")]
        if len(_volume_keys(template)) < len(devices):
            yield Hit(
                resource=template,
                message=f"Launch template {template.name} names no KMS key for its volumes.",
                fix="Set kms_key_id in block_device_mappings / ebs to the ARN of a key that EC2 Auto Scaling may use.",
            )


@rule(
    "volume-key-closed",
    title="Nodes may not use the key of their volumes",
    severity="error",
    looks_at="KMS keys in launch templates of node groups, and the key policies that the program gives them.",
    why="Instances end with Client.InternalError while they start: EC2 Auto Scaling uses the key as a service-linked "
    "role, which only the key's own policy or a grant can let in.",
    source="https://docs.aws.amazon.com/autoscaling/ec2/userguide/key-policy-requirements-EBS-encryption.html",
    fix="Admit the service-linked role, or everybody of the account through EBS, in the key policy.",
)
def volume_key_closed(stack: Stack) -> Iterator[Hit]:
    """The key policy lets EC2 Auto Scaling in."""
    templates = {one.template.urn: one.template for one in estate(stack).node_groups if one.template}
    wanted = [(template, arn) for template in templates.values() for arn in dict.fromkeys(_volume_keys(template))]
    keys = {text(key, "arn"): key for key in stack.graph.of_type(_KEY)} if wanted else {}
    granted = {text(one, "keyId") for one in stack.graph.of_type("aws:kms/grant:Grant")}
    written = {text(one, "keyId"): text(one, "policy") for one in stack.graph.of_type(_KEY_POLICY)}
    for template, arn in wanted:
        key = keys.get(arn)
        if key is None or granted & {key.id, arn, text(key, "keyId")}:
            continue
        document = next((written[one] for one in (key.id, arn, text(key, "keyId")) if one in written), "")
        if not _admits_auto_scaling(document or (text(key, "policy") if "policy" in key.inputs else ""), arn):
            yield Hit(
                resource=template,
                message=f"The policy of key {key.name} admits neither AWSServiceRoleForAutoScaling nor everybody "
                f"through EBS, and {template.name} encrypts with it.",
                fix="Add a statement to its policy: that role, or principal * with kms:CallerAccount and "
                "kms:ViaService = ec2.<region>.amazonaws.com, and kms:CreateGrant among its actions.",
            )


def _admits_auto_scaling(document: str, arn: str) -> bool:
    """Whether a key policy lets EC2 Auto Scaling make grants; True where nobody can tell."""
    _, partition, _, region, account, *_ = f"{arn}:::::".split(":")
    role = (
        f"arn:{partition}:iam::{account}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
    )
    request = Request(
        action="kms:CreateGrant",
        context={
            "kms:CallerAccount": (account,),
            "kms:GrantIsForAWSResource": ("true",),
            "kms:ViaService": (f"ec2.{region}.amazonaws.com",),
        },
        kind="AWS",
        # Not by its account's name: IAM policies, to which that would refer, cannot be given to such a role.
        names=(role,),
    )
    try:
        decision = decide(parse(document, trust=True, resources=True), request) if document else None
    except MalformedError:
        return True
    return decision is not None and (decision.admitted or decision.undecided)


@rule(
    "storage-class-plain",
    title="A storage class makes volumes without encryption",
    severity="warning",
    looks_at="`encrypted` of the storage classes of the EBS driver.",
    why="Data of pods lies on them as it is. Only an account that encrypts by default would do it anyway.",
    source="https://github.com/kubernetes-sigs/aws-ebs-csi-driver/blob/master/docs/parameters.md",
    fix='Set the parameter encrypted to "true".',
)
def storage_class_plain(stack: Stack) -> Iterator[Hit]:
    """Volumes of pods are encrypted."""
    for one in estate(stack).objects.get("StorageClass", ()):
        if text(one.resource, "provisioner") in _EBS and text(one.resource, "parameters.encrypted").lower() != "true":
            yield Hit(
                resource=one.resource,
                message=f"StorageClass {one.name} does not encrypt.",
                fix='Set parameters encrypted: "true"; a class cannot be changed, so it is replaced.',
            )


@rule(
    "storage-class-missing",
    title="A volume claim without a class waits for ever",
    severity="warning",
    looks_at="Clusters with the add-on aws-ebs-csi-driver, and the storage classes that the program makes.",
    why="EKS has made no default class since Kubernetes 1.30, and the driver brings none unless it is told to.",
    source=f"{_GUIDE}/create-storage-class.html",
    fix="Make a default storage class.",
)
def storage_class_missing(stack: Stack) -> Iterator[Hit]:
    """There is a default class."""
    found = estate(stack)
    classes = [
        one
        for one in found.objects.get("StorageClass", ())
        if any(str(one.annotations.get(key)).lower() == "true" for key in _DEFAULT_CLASS)
    ]
    for cluster in found.clusters:
        driver = found.addons_of(cluster).get("aws-ebs-csi-driver")
        here = any(found.cluster_of(one.resource) in (cluster, None) for one in classes)
        if driver is not None and not here and not _has_own_class(driver):
            yield Hit(
                resource=driver,
                message=f"Cluster {cluster.name} has the EBS driver and no default storage class.",
                fix="Make a kubernetes.storage.v1.StorageClass with provisioner ebs.csi.aws.com, parameters "
                '{"type": "gp3", "encrypted": "true"} and the annotation '
                'storageclass.kubernetes.io/is-default-class: "true".',
            )


def _has_own_class(driver: Resource) -> bool:
    values = parsed(text(driver, "configurationValues"))
    return at(values, "defaultStorageClass", "enabled") is True


# Network policies


def _enforces(stack: Stack, cluster: Cluster) -> bool:
    found = estate(stack)
    addon = found.addons_of(cluster).get("vpc-cni")
    values = parsed(text(addon, "configurationValues")) if addon else None
    own = str(at(values, "enableNetworkPolicy")).lower() == "true"
    packaged = cluster.packaged and str(cluster.get("vpcCniOptions.enableNetworkPolicy")).lower() == "true"
    engines = [one for one in found.of_chart(*_POLICY_ENGINES) if found.cluster_of(one.resource) in (cluster, None)]
    return own or packaged or bool(engines)


@rule(
    "network-policy-idle",
    title="A NetworkPolicy that nobody enforces",
    severity="error",
    looks_at="NetworkPolicy objects, the configuration of the add-on vpc-cni, and charts that bring another engine.",
    why="The object is taken without a word, and every pod goes on talking to every other.",
    source=f"{_GUIDE}/cni-network-policy-configure.html",
    fix="Let the VPC CNI enforce network policies.",
)
def network_policy_idle(stack: Stack) -> Iterator[Hit]:
    """Network policies are enforced where there are any."""
    found = estate(stack)
    for one in found.objects.get("NetworkPolicy", ()):
        cluster = found.cluster_of(one.resource)
        if cluster is not None and not cluster.automatic and not _enforces(stack, cluster):
            yield Hit(
                resource=one.resource,
                message=f"{one} does nothing: nobody in cluster {cluster.name} enforces it.",
                fix='Set configuration_values=\'{"enableNetworkPolicy":"true"}\' on the add-on vpc-cni.',
            )


@rule(
    "network-policy-off",
    title="Network policies would not be enforced",
    severity="warning",
    looks_at="The configuration of the add-on vpc-cni, and charts that bring another engine." + _LASTING,
    why="The first NetworkPolicy that somebody applies does nothing, and nobody notices.",
    source=f"{_GUIDE}/cni-network-policy-configure.html",
    fix="Let the VPC CNI enforce network policies.",
)
def network_policy_off(stack: Stack) -> Iterator[Hit]:
    """A network policy would be enforced."""
    for cluster in estate(stack).clusters if lasts(stack) else ():
        if not cluster.automatic and not _enforces(stack, cluster):
            yield Hit(
                resource=cluster.resource,
                message=f"Nobody in cluster {cluster.name} enforces network policies.",
                fix='Make the add-on vpc-cni with configuration_values=\'{"enableNetworkPolicy":"true"}\'.',
            )
