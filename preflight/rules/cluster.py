"""The cluster itself: who reaches it, what its nodes may do, what is encrypted, and how long it is supported."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from preflight.graph import Resource
from preflight.kiam import first_steps
from preflight.rules.eks import Cluster, Estate, NodeGroup, estate, lasts, many
from preflight.rules.rule import Hit, Stack, items, mapping, rule, text, value
from preflight.workloads import at, properties, workloads

_GUIDE = "https://docs.aws.amazon.com/eks/latest/userguide"
_PRACTICES = "https://docs.aws.amazon.com/eks/latest/best-practices"

# Until when EKS supports a Kubernetes version: standard, extended. Read on 2026-11-22 at
# https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html#kubernetes-release-calendar
SUPPORT = {
    "1.28": (date(2024, 11, 26), date(2025, 11, 26)),
    "1.29": (date(2025, 3, 23), date(2026, 3, 23)),
    "1.30": (date(2025, 7, 23), date(2026, 7, 23)),
    "1.31": (date(2025, 11, 26), date(2026, 11, 26)),
    "1.32": (date(2026, 3, 23), date(2027, 3, 23)),
    "1.33": (date(2026, 7, 29), date(2027, 7, 29)),
    "1.34": (date(2026, 12, 2), date(2027, 12, 2)),
    "1.35": (date(2027, 3, 27), date(2028, 3, 27)),
}
_AHEAD = timedelta(days=90)

# What a node needs, and Session Manager, which replaces SSH.
_NODE_POLICIES = {
    "AmazonEKSWorkerNodePolicy",
    "AmazonEKSWorkerNodeMinimalPolicy",
    "AmazonEC2ContainerRegistryPullOnly",
    "AmazonEC2ContainerRegistryReadOnly",
    "AmazonSSMManagedInstanceCore",
}
# Add-ons whose pods call AWS, and a policy that lets them.
_ADDON_POLICIES = {
    "aws-ebs-csi-driver": "AmazonEBSCSIDriverPolicy",
    "aws-efs-csi-driver": "AmazonEFSCSIDriverPolicy",
    "vpc-cni": "AmazonEKS_CNI_Policy",
}


def open_endpoints(stack: Stack) -> Iterator[tuple[Cluster, list[str]]]:
    """Yield the clusters whose public endpoint answers to everybody, with the ranges that say so. Raises."""
    for cluster in estate(stack).clusters:
        ranges = many(cluster.get("vpcConfig.publicAccessCidrs")) or ["0.0.0.0/0"]
        everywhere = [str(one) for one in ranges if str(one).endswith("/0")]
        if cluster.get("vpcConfig.endpointPublicAccess") is not False and everywhere:
            yield cluster, everywhere


def narrower_endpoint(cluster: Cluster) -> str:
    """How to narrow the public endpoint, for a fix."""
    return (
        f"Set {cluster.write('vpcConfig.publicAccessCidrs')} to your own ranges, such as 203.0.113.0/24, "
        f"or {cluster.write('vpcConfig.endpointPublicAccess')} to False."
    )


@rule(
    "cluster-endpoint-open",
    title="The Kubernetes API is open to the world",
    severity="warning",
    looks_at="Public access and its CIDR blocks of every cluster. Where the program protects something from deletion, "
    "lasting-endpoint-open speaks instead.",
    why="Anyone can reach the API server, and try credentials and its next vulnerability on it.",
    source=f"{_GUIDE}/cluster-endpoint.html",
    fix="Name the ranges that you come from, or switch public access off.",
)
def cluster_endpoint_open(stack: Stack) -> Iterator[Hit]:
    """The endpoint is private, or open to named ranges."""
    for cluster, everywhere in () if lasts(stack) else open_endpoints(stack):
        yield Hit(
            resource=cluster.resource,
            message=f"The API endpoint of cluster {cluster.name} answers to {', '.join(everywhere)}.",
            fix=narrower_endpoint(cluster),
        )


@rule(
    "cluster-secrets-key",
    title="Kubernetes secrets are not encrypted under a key of yours",
    severity="warning",
    looks_at="The encryption key of every cluster.",
    why="EKS encrypts with a key of its own then, which you can neither audit nor take away; before Kubernetes 1.28 "
    "the secrets lie in etcd as they are.",
    source=f"{_GUIDE}/enable-kms.html",
    fix="Name a KMS key for secrets.",
)
def cluster_secrets_key(stack: Stack) -> Iterator[Hit]:
    """Secrets are encrypted under a KMS key of the account."""
    for cluster in estate(stack).clusters:
        if not cluster.has("encryptionConfig.provider.keyArn"):
            yield Hit(
                resource=cluster.resource,
                message=f"Cluster {cluster.name} has no KMS key for its secrets.",
                fix=f"Set {cluster.write('encryptionConfig.provider.keyArn')} to the ARN of a KMS key with rotation.",
            )


@rule(
    "cluster-audit-log",
    title="The control plane keeps no audit log",
    severity="warning",
    looks_at="The log types that every cluster sends to CloudWatch.",
    why="After an incident nobody can tell who did what in the cluster.",
    source=f"{_GUIDE}/control-plane-logs.html",
    fix="Enable at least the log types audit and authenticator.",
)
def cluster_audit_log(stack: Stack) -> Iterator[Hit]:
    """The audit log is on."""
    for cluster in estate(stack).clusters:
        types = many(cluster.get("enabledClusterLogTypes"))
        if "audit" not in types:
            yield Hit(
                resource=cluster.resource,
                message=f"Cluster {cluster.name} sends {', '.join(map(str, types)) or 'no log'} to CloudWatch; the "
                "audit log is missing.",
                fix='Set enabled_cluster_log_types=["api", "audit", "authenticator"].',
            )


@rule(
    "cluster-config-map",
    title="Access to the cluster hangs on the aws-auth ConfigMap",
    severity="warning",
    looks_at="The authentication mode of every cluster (EKS' own default is CONFIG_MAP), and ConfigMaps called "
    "aws-auth.",
    why="One bad edit of that ConfigMap locks everybody out, it races with EKS' own edits, and it is deprecated.",
    source=f"{_GUIDE}/auth-configmap.html",
    fix="Use authentication mode API and access entries.",
)
def cluster_config_map(stack: Stack) -> Iterator[Hit]:
    """Access is by entries of the EKS API."""
    found = estate(stack)
    for cluster in found.clusters:
        mode = str(cluster.get("accessConfig.authenticationMode") or "CONFIG_MAP")
        if mode != "API":
            yield Hit(
                resource=cluster.resource,
                message=f"Cluster {cluster.name} has authentication mode {mode}; allowed without the ConfigMap: API.",
                fix=f'Set {cluster.write("accessConfig.authenticationMode")} to "API"; a cluster that exists goes by '
                "way of API_AND_CONFIG_MAP.",
            )
    for one in found.objects.get("ConfigMap", ()):
        if one.name == "aws-auth":
            yield Hit(
                resource=one.resource,
                message=f"{one} maps roles to users; EKS writes to the same object.",
                fix="Make an aws.eks.AccessEntry per role instead.",
            )


# Versions


def _minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split("."))


@rule(
    "kubernetes-version-gone",
    title="EKS does not offer the Kubernetes version any more",
    severity="error",
    looks_at="The version of every cluster, at the day that is judged for.",
    why="A new cluster is refused, and EKS upgrades an existing one whenever it likes.",
    source=f"{_GUIDE}/kubernetes-versions.html",
    fix="Move to a version in standard support, one minor version at a time.",
)
def kubernetes_version_gone(stack: Stack) -> Iterator[Hit]:
    """The version is one that EKS still offers."""
    oldest, newest = min(SUPPORT, key=_minor), max(SUPPORT, key=_minor)
    for cluster in estate(stack).clusters:
        version = str(cluster.get("version") or "")
        if version in SUPPORT:
            _, ended = SUPPORT[version]
            if stack.as_of <= ended:
                continue
            said = f"whose extended support ended on {ended}"
        elif version and _minor(version) < _minor(newest):
            said = f"which is older than {oldest}, the first that is not long gone"
        else:
            continue
        yield Hit(
            resource=cluster.resource,
            message=f"Cluster {cluster.name} is on Kubernetes {version}, {said}.",
            fix=f'Set version="{newest}", or for a cluster that exists the next minor version.',
        )


@rule(
    "kubernetes-version-ending",
    title="Standard support of the Kubernetes version ends soon, or has ended",
    severity="warning",
    looks_at="The version of every cluster, 90 days ahead of the day that is judged for.",
    why="From that day the control plane costs six times as much, or is upgraded by EKS, by its upgrade policy.",
    source=f"{_GUIDE}/kubernetes-versions.html",
    fix="Plan the upgrade of control plane, nodes and add-ons.",
)
def kubernetes_version_ending(stack: Stack) -> Iterator[Hit]:
    """Standard support lasts for another 90 days."""
    for cluster in estate(stack).clusters:
        version = str(cluster.get("version") or "")
        standard, extended = SUPPORT.get(version, (date.max, date.max))
        if stack.as_of + _AHEAD > standard and stack.as_of <= extended:
            verb = "ends" if stack.as_of <= standard else "ended"
            yield Hit(
                resource=cluster.resource,
                message=f"Cluster {cluster.name} is on Kubernetes {version}, whose standard support {verb} on "
                f"{standard}.",
                fix=f'Set version="{version.partition(".")[0]}.{_minor(version)[1] + 1}" after you have upgraded what '
                "it removes.",
            )


@rule(
    "cluster-extended-support",
    title="The cluster enters paid extended support by itself",
    severity="warning",
    looks_at="The upgrade policy of every cluster; EKS' default is EXTENDED.",
    why="The control plane then costs six times as much from one day to the next, without a change and without an "
    "approval.",
    source=f"{_GUIDE}/view-upgrade-policy.html",
    fix="Set the support type to STANDARD.",
)
def cluster_extended_support(stack: Stack) -> Iterator[Hit]:
    """The upgrade policy is STANDARD."""
    for cluster in estate(stack).clusters:
        kind = str(cluster.get("upgradePolicy.supportType") or "EXTENDED, the default")
        if kind != "STANDARD":
            yield Hit(
                resource=cluster.resource,
                message=f"Cluster {cluster.name} has upgrade policy {kind}; allowed without the surcharge: STANDARD.",
                fix='Set upgrade_policy=aws.eks.ClusterUpgradePolicyArgs(support_type="STANDARD").',
            )


# Nodes


def _templates(found: Estate) -> list[Resource]:
    """The launch templates of managed node groups, each once."""
    return list({one.template.urn: one.template for one in found.node_groups if one.template}.values())


@rule(
    "metadata-open",
    title="Every pod can take the role of its node",
    severity="warning",
    looks_at="Metadata options of the launch templates of node groups: hop limit, and whether version 1 is allowed.",
    why="A pod that asks the instance metadata service gets the node's credentials, and a broken identity goes "
    "unnoticed.",
    source=f"{_PRACTICES}/identity-and-access-management.html",
    fix="Require IMDSv2 with a hop limit of 1.",
)
def metadata_open(stack: Stack) -> Iterator[Hit]:
    """Pods do not reach the metadata service of their node."""
    for template in _templates(estate(stack)):
        options = mapping(template, "metadataOptions")
        limit, tokens = options.get("httpPutResponseHopLimit", 1), options.get("httpTokens", "optional")
        if options.get("httpEndpoint") == "disabled":
            continue
        problems = [f"hop limit {limit}"] if isinstance(limit, (int, float)) and limit > 1 else []
        problems += ["IMDSv1 allowed (http_tokens is not required)"] if tokens != "required" else []
        if problems:
            yield Hit(
                resource=template,
                message=f"Launch template {template.name} has {' and '.join(problems)}; pods then get the node's role.",
                fix='Set metadata_options with http_tokens="required" and http_put_response_hop_limit=1.',
            )


@rule(
    "node-volume-plain",
    title="The volumes of nodes are not encrypted",
    severity="warning",
    looks_at="Block devices of the launch templates of node groups, and node groups without a template.",
    why="Images, emptyDir volumes and logs of pods lie on them. Only an account that encrypts by default would do it "
    "anyway.",
    source="https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption.html",
    fix="Encrypt the block device in the launch template.",
)
def node_volume_plain(stack: Stack) -> Iterator[Hit]:
    """Every volume of a node is encrypted."""
    found = estate(stack)
    for template in _templates(found):
        devices = items(template, "blockDeviceMappings")
        plain = [one for one in devices if str(at(one, "ebs", "encrypted")).lower() != "true" and at(one, "ebs")]
        if plain or not devices:
            names = ", ".join(str(at(one, "deviceName")) for one in plain) or "the default volume"
            yield Hit(
                resource=template,
                message=f"Launch template {template.name} leaves {names} unencrypted.",
                fix='Set encrypted="true" in block_device_mappings / ebs, for the device that the image boots from.',
            )
    for group in found.node_groups:
        if not group.has_template:
            yield Hit(
                resource=group.resource,
                message=f"Node group {group.resource.name} has no launch template, so its volumes are as the account "
                "has them.",
                fix="Give it a launch template with an encrypted block device.",
            )


def _policies(found: Estate, role: str) -> Iterator[tuple[Resource, str]]:
    """Yield what a role may, by the names of managed policies, with the attachment or role that says so."""
    for right in found.rights_of(role):
        if arn := text(right, "policyArn"):
            yield right, arn.rpartition("/")[2]
    for one in found.graph.of_type("aws:iam/role:Role"):
        if one.id == role.rpartition("/")[2]:
            for arn in items(one, "managedPolicyArns"):
                yield one, str(arn).rpartition("/")[2]


def _node_roles(found: Estate) -> list[str]:
    """The roles of node groups, by name or ARN, each once."""
    return list(dict.fromkeys(group.role_arn for group in found.node_groups if group.role_arn))


@rule(
    "node-role-excess",
    title="The node role has more than a node needs",
    severity="warning",
    looks_at="Policies attached to, or written into, the roles of node groups.",
    why="Whoever breaks out of one pod has all of it, on every node.",
    source=f"{_GUIDE}/create-node-role.html",
    fix="Move the right to the role of the pod that needs it (IRSA or Pod Identity).",
)
def node_role_excess(stack: Stack) -> Iterator[Hit]:
    """A node role holds worker, registry and Session Manager policies only, and Kiam's server nodes its first step."""
    found = estate(stack)
    for role in _node_roles(found):
        name = role.rpartition("/")[2]
        kiam = first_steps(found.graph, role)
        for right, policy in _policies(found, role):
            if policy not in _NODE_POLICIES and not _is_full(policy) and text(right, "policyArn") not in kiam:
                what = "give it to the add-on vpc-cni by Pod Identity" if "CNI" in policy else "give it to the pod's "
                "own role"
                yield Hit(
                    resource=right,
                    message=f"Node role {name} has {policy}; allowed: worker, registry and Session Manager policies.",
                    fix=f"Detach {policy} and {what}.",
                )
        for right in found.rights_of(role):
            if right.type == "aws:iam/rolePolicy:RolePolicy" and right.urn not in kiam:
                yield Hit(
                    resource=right,
                    message=f"Node role {name} has the inline policy {right.name}; every pod of its nodes is one hop "
                    "away from it.",
                    fix="Move its statements to the role of the pod that needs them.",
                )


@rule(
    "node-role-full-access",
    title="The node role has full access",
    severity="error",
    looks_at="Policies attached to the roles of node groups: AdministratorAccess, PowerUserAccess and everything with "
    "FullAccess in its name.",
    why="One compromised pod owns the service, or the account.",
    source=f"{_PRACTICES}/identity-and-access-management.html",
    fix="Detach it; give the pod that needs a right a role with that right.",
)
def node_role_full_access(stack: Stack) -> Iterator[Hit]:
    """No node role has full access to anything."""
    found = estate(stack)
    for role in _node_roles(found):
        for right, policy in _policies(found, role):
            if _is_full(policy):
                yield Hit(
                    resource=right,
                    message=f"Node role {role.rpartition('/')[2]} has {policy}, and so has whoever gets out of a pod.",
                    fix=f"Detach {policy}; write the few actions that are needed into the role of the pod that needs "
                    "them.",
                )


def _is_full(policy: str) -> bool:
    return "FullAccess" in policy or policy in ("AdministratorAccess", "PowerUserAccess", "IAMFullAccess")


@rule(
    "node-group-name",
    title="A node group has a fixed name",
    severity="warning",
    looks_at="The physical name of managed node groups.",
    why="A change that replaces the group (instance types, disk, subnets) makes the new one first, and fails with "
    "`NodeGroup already exists`.",
    source="https://www.pulumi.com/docs/iac/concepts/resources/names/#autonaming",
    fix="Leave the name to Pulumi, or give a prefix.",
)
def node_group_name(stack: Stack) -> Iterator[Hit]:
    """Pulumi names the node groups."""
    for group in estate(stack).node_groups:
        name = group.resource.inputs.get("nodeGroupName")
        shown = f"the fixed name `{name}`" if isinstance(name, str) else "a name of its own"
        if name and not group.resource.delete_before_replace:
            yield Hit(
                resource=group.resource,
                message=f"Node group {group.resource.name} has {shown}, so it cannot be replaced.",
                fix="Remove node_group_name, or write node_group_name_prefix instead.",
            )


@rule(
    "node-group-size",
    title="Every update sets the number of nodes back",
    severity="warning",
    looks_at="Managed node groups whose size may move (min below max): whether changes of scalingConfig.desiredSize "
    "are ignored.",
    why="An autoscaler moves the size; the next unrelated update puts the program's number back and drains live nodes.",
    source="https://www.pulumi.com/docs/iac/concepts/resources/options/ignorechanges/",
    fix='Ignore changes of "scalingConfig.desiredSize", in this spelling.',
)
def node_group_size(stack: Stack) -> Iterator[Hit]:
    """The number of nodes belongs to the autoscaler."""
    for group in estate(stack).node_groups:
        scaling = mapping(group.resource, "scalingConfig")
        if not _moves(scaling) or _ignores_size(group):
            continue
        packaged = group.resource.type.startswith("eks:")
        yield Hit(
            resource=group.resource,
            message=f"Node group {group.resource.name} may have {scaling.get('minSize')} to {scaling.get('maxSize')} "
            f"nodes, and an update sets {scaling.get('desiredSize')}.",
            fix="Set ignore_scaling_changes=True."
            if packaged
            else 'Add ignore_changes=["scalingConfig.desiredSize"] to its options; in snake_case it does nothing.',
        )


def _moves(scaling: dict[str, object]) -> bool:
    low, high = scaling.get("minSize"), scaling.get("maxSize")
    numbers = isinstance(low, (int, float)) and isinstance(high, (int, float)) and low < high
    return numbers and scaling.get("desiredSize") is not None


def _ignores_size(group: NodeGroup) -> bool:
    ignored = {"scalingConfig", "scalingConfig.desiredSize", "*"}
    return bool(ignored & set(group.resource.ignore_changes)) or value(group.resource, "ignoreScalingChanges") is True


@rule(
    "addon-without-role",
    title="An add-on calls AWS and has no role to do so",
    severity="error",
    looks_at="The add-ons vpc-cni, aws-ebs-csi-driver and aws-efs-csi-driver: their role, their Pod Identity "
    "associations, and what the node role grants instead.",
    why="Its pods get AccessDenied: volumes stay pending, or nodes never become ready.",
    source=f"{_GUIDE}/workloads-add-ons-available-eks.html",
    fix="Give the add-on's service account a role.",
)
def addon_without_role(stack: Stack) -> Iterator[Hit]:
    """Every add-on that calls AWS has a role for it."""
    found = estate(stack)
    accounts = {one.resource.urn: one.account for one in workloads(found.graph)}
    associated = {
        (text(one, "clusterName"), text(one, "serviceAccount"))
        for one in found.graph.of_type("aws:eks/podIdentityAssociation:PodIdentityAssociation")
    }
    for cluster in found.clusters:
        nodes = found.nodes_of(cluster)
        if cluster.automatic or not nodes:
            continue
        granted = {policy for group in nodes for _, policy in _policies(found, group.role_arn)}
        for addon, resource in found.addons_of(cluster).items():
            values = properties(resource)
            policy = _ADDON_POLICIES.get(addon, "")
            if not policy or at(values, "serviceAccountRoleArn") or at(values, "podIdentityAssociations"):
                continue
            if (cluster.name, accounts[resource.urn]) in associated or any(one.startswith(policy) for one in granted):
                continue
            if any(_is_full(one) for one in granted):
                continue
            account = accounts[resource.urn]
            yield Hit(
                resource=resource,
                message=f"Add-on {addon} of cluster {cluster.name} has neither a role nor a Pod Identity association, "
                f"and the node role lacks {policy}.",
                fix=f"Make a PodIdentityAssociation of kube-system/{account} with a role that has {policy}.",
            )
