"""Clusters, node groups, add-ons and access of the account, and what they need in order to come up."""

from __future__ import annotations

import re
from collections.abc import Mapping

from . import iam, network, wire
from .kind import DEPENDENCY, Kind, Ref, no, unique
from .tokens import (
    ADDON,
    CLUSTER,
    ENTRY,
    ENTRY_POLICY,
    GROUP,
    INTERFACE,
    KEY,
    KEY_POLICY,
    LOG_GROUP,
    NODES,
    POD_IDENTITY,
    SUBNET,
    TEMPLATE,
)
from .wire import Json, at
from .world import ACCOUNT, DEPLOYER, Kube, KubeObject, RefusedError, Thing, World


def _make_cluster(world: World, thing: Thing) -> None:
    name, config = thing.outputs["name"], thing.inputs["vpcConfig"]
    unique("name", "ResourceInUseException: Cluster")(world, thing)
    role = _role_of(world, thing.inputs["roleArn"])
    no(
        not iam.admits(
            role.inputs["assumeRolePolicy"],
            kind="Service",
            principal="eks.amazonaws.com",
            action="sts:AssumeRole",
            context={},
        ),
        "InvalidParameterException: Role could not be assumed because the trusted entity is not correct",
    )
    no(
        not _has_policy(world, role, "AmazonEKSClusterPolicy"),
        "InvalidParameterException: The provided role doesn't have the Amazon EKS Managed Policies associated with it."
        " Please ensure the following policies [arn:aws:iam::aws:policy/AmazonEKSClusterPolicy] are attached",
    )
    subnets = [world.things[SUBNET, each] for each in config["subnetIds"]]
    no(
        len({each.inputs["availabilityZone"] for each in subnets}) < 2,
        "InvalidParameterException: Subnets specified must be in at least two different AZs",
    )
    no(
        not config.get("endpointPublicAccess", True) and not config.get("endpointPrivateAccess", False),
        "InvalidParameterException: Private and public endpoint access cannot be false",
    )
    no(
        bool(list(at(thing.inputs, "encryptionConfig")))
        and not iam.allows(world, role.outputs["name"], "kms:CreateGrant"),
        "InvalidParameterException: Error in role params: the role lacks the rights to use the KMS key",
    )
    vpc = subnets[0].inputs["vpcId"]
    identity = f"sg-{world.new_hex(17)}"
    world.add(
        Thing(
            GROUP,
            identity,
            inputs={"vpcId": vpc, "tags": {f"kubernetes.io/cluster/{name}": "owned"}},
            outputs={"name": f"eks-cluster-sg-{name}"},
            made_by=f"eks {name}",
        )
    )
    for subnet in subnets:
        world.add(
            Thing(
                INTERFACE,
                f"eni-{world.new_hex(17)}",
                {"subnetId": subnet.id, "securityGroups": [identity, *config.get("securityGroupIds", [])]},
                {},
                made_by=f"eks {name}",
            )
        )
    thing.outputs["vpcConfig"] = {
        "endpointPrivateAccess": False,
        "endpointPublicAccess": True,
        "publicAccessCidrs": ["0.0.0.0/0"],
        "controlPlaneEgressMode": "AWS_MANAGED",
        **config,
        "vpcId": vpc,
        "clusterSecurityGroupId": identity,
    }
    log_to(world, thing, thing.inputs)
    endpoint = thing.outputs["endpoint"]
    world.kubes[endpoint] = Kube(name, endpoint)
    for namespace in ("default", "kube-system", "kube-public", "kube-node-lease"):
        _builtin(world.kubes[endpoint], "kubernetes:core/v1:Namespace", namespace)


def _builtin(kube: Kube, object_type: str, name: str) -> None:
    kube.objects[object_type, "", name] = KubeObject(object_type, "", name, {"builtin": True}, {})


def log_to(world: World, thing: Thing, inputs: dict[str, Json]) -> None:
    """The control plane writes its logs, and makes their group where nobody has."""
    name = f"/aws/eks/{thing.outputs['name']}/cluster"
    if inputs.get("enabledClusterLogTypes") and not world.find(LOG_GROUP, "id", name):
        world.add(Thing(LOG_GROUP, name, {"name": name}, {"name": name}, made_by=f"eks {thing.outputs['name']}"))


def _change_cluster(world: World, thing: Thing, inputs: dict[str, Json]) -> None:
    old, new = (str(each).split(".") for each in (thing.outputs["version"], inputs.get("version", "")))
    if new != [""] and old != new:
        no(
            int(new[1]) != int(old[1]) + 1,
            f"InvalidParameterException: Unsupported Kubernetes minor version update from {'.'.join(old)} to"
            f" {'.'.join(new)}",
        )
        lagging = [
            each.id
            for each in world.pointing(NODES, "clusterName", thing.outputs["name"])
            if int(new[1]) - int(each.outputs["version"].split(".")[1]) > 3
        ]
        no(bool(lagging), f"InvalidRequestException: node groups {lagging} are too old for this update")
    if "vpcConfig" in inputs:
        zones = [
            sorted({world.things[SUBNET, each].inputs["availabilityZone"] for each in config["subnetIds"]})
            for config in (thing.inputs["vpcConfig"], inputs["vpcConfig"])
        ]
        # https://github.com/aws/containers-roadmap/issues/2258
        no(
            zones[0] != zones[1],
            f"InvalidParameterException: Provided subnets belong to the AZs {zones[1]}. But they should belong to the"
            f" exact set of AZs {zones[0]} in which subnets were provided during cluster creation.",
        )
    log_to(world, thing, inputs)


def _drop_cluster(world: World, thing: Thing) -> None:
    name = thing.outputs["name"]
    no(
        bool(thing.inputs.get("deletionProtection")),
        f"InvalidRequestException: Cluster {name} has deletion protection enabled. Disable it before deletion.",
    )
    role = world.find(iam.ROLE, "arn", thing.inputs["roleArn"])
    if role is not None and _has_policy(world, role, "AmazonEKSClusterPolicy"):
        for each in [*world.of_type(GROUP, INTERFACE)]:
            if each.made_by == f"eks {name}":
                world.remove(each)
    # Otherwise EKS cannot clean up, and what it made holds the VPC: the leftovers of the world will say so.
    for each in [
        other
        for kind in (ADDON, ENTRY, ENTRY_POLICY, POD_IDENTITY)
        for other in world.pointing(kind, "clusterName", name)
    ]:
        world.remove(each)
    del world.kubes[thing.outputs["endpoint"]]


def _role_of(world: World, arn: str) -> Thing:
    role = world.find(iam.ROLE, "arn", arn)
    if role is None:
        raise RefusedError(f"InvalidParameterException: roleArn, {arn}, does not exist")
    return role


def _has_policy(world: World, role: Thing, name: str) -> bool:
    return any(arn.rsplit("/", 1)[-1] == name for arn in iam.attached(world, role.outputs["name"]))


def cluster_named(world: World, name: str) -> Thing:
    """The cluster of this name.

    Raises:
        RefusedError: there is none.
    """
    found = world.find(CLUSTER, "name", name)
    if found is None:
        raise RefusedError(f"ResourceNotFoundException: No cluster found for name: {name}.")
    return found


def addons(world: World, cluster_name: str) -> set[str]:
    """The names of the add-ons of a cluster, with what EKS itself put into it."""
    own = {each.inputs["addonName"] for each in world.pointing(ADDON, "clusterName", cluster_name)}
    bootstrapped = cluster_named(world, cluster_name).inputs.get("bootstrapSelfManagedAddons", True)
    return own | ({"vpc-cni", "kube-proxy", "coredns"} if bootstrapped else set())


def _make_nodes(world: World, thing: Thing) -> None:
    cluster = cluster_named(world, thing.inputs["clusterName"])
    _check_sizes(thing.inputs["scalingConfig"])
    role = _role_of(world, thing.inputs["nodeRoleArn"])
    template = _template(world, thing.inputs)
    no(
        "instanceTypes" in thing.inputs and bool(template.inputs.get("instanceType")) if template else False,
        "InvalidRequestException: You cannot specify instance types both in the launch template and in the request.",
    )
    problem = _key_problem(world, template)
    no(problem is not None, f"AsgInstanceLaunchFailures: Client.InternalError: Client error on launch ({problem})")
    missing = [
        why
        for why in (
            None
            if _has_policy(world, role, "AmazonEKSWorkerNodePolicy")
            else "AmazonEKSWorkerNodePolicy is not attached",
            None
            if any(_has_policy(world, role, f"AmazonEC2ContainerRegistry{each}") for each in ("PullOnly", "ReadOnly"))
            else "no right to pull images",
            None if {"vpc-cni", "kube-proxy"} <= addons(world, cluster.outputs["name"]) else "no network plugin",
            *network.join_problems(world, cluster, thing.inputs["subnetIds"], node_groups(world, thing)),
        )
        if why
    ]
    no(
        bool(missing),
        "NodeCreationFailure: Instances failed to join the kubernetes cluster (the double's reasons:"
        f" {'; '.join(missing)})",
    )
    thing.outputs["version"] = thing.inputs.get("version", cluster.outputs["version"])
    _check_skew(cluster, thing.outputs["version"])
    for subnet in thing.inputs["subnetIds"]:
        world.add(
            Thing(
                INTERFACE,
                f"eni-{world.new_hex(17)}",
                {"subnetId": subnet, "securityGroups": node_groups(world, thing)},
                {},
                made_by=f"nodes {thing.id}",
            )
        )


def _check_skew(cluster: Thing, version: str) -> None:
    no(
        int(version.split(".")[1]) > int(cluster.outputs["version"].split(".")[1]),
        f"InvalidParameterException: Requested nodegroup version {version} is higher than the cluster's"
        f" {cluster.outputs['version']}",
    )


def _check_sizes(sizes: dict[str, int]) -> None:
    low, wanted, high = sizes["minSize"], sizes["desiredSize"], sizes["maxSize"]
    no(low > high, f"InvalidParameterException: Minimum capacity {low} can't be greater than maximum size {high}")
    no(wanted < low, f"InvalidParameterException: Minimum capacity {low} can't be greater than desired size {wanted}")
    no(wanted > high, f"InvalidParameterException: desired capacity {wanted} can't be greater than max size {high}")


def _template(world: World, inputs: dict[str, Json]) -> Thing | None:
    for identity in at(inputs, "launchTemplate.id"):
        template = world.things[TEMPLATE, identity]
        version = inputs["launchTemplate"]["version"]
        no(
            not version.isdigit() or not 1 <= int(version) <= template.outputs["latestVersion"],
            f"InvalidParameterException: Launch template {identity} does not have version {version}",
        )
        return template
    return None


def _key_problem(world: World, template: Thing | None) -> str | None:
    """Why instances of this template cannot use the key of their volumes; None where they can."""
    for arn in at(template.inputs, "blockDeviceMappings.ebs.kmsKeyId") if template else ():
        key = world.find(KEY, "arn", arn)
        if key is None:
            return f"there is no key {arn}"
        policies = [each.inputs["policy"] for each in world.pointing(KEY_POLICY, "keyId", key.id)]
        policies += [key.inputs["policy"]] if "policy" in key.inputs else []
        context = {"kms:CallerAccount": ACCOUNT, "kms:ViaService": f"ec2.{world.region}.amazonaws.com"}
        # The default policy lets IAM policies decide, and service-linked roles have none for the key.
        if not any(
            iam.admits(text, kind="AWS", principal="*", action="kms:CreateGrant", context=context) for text in policies
        ):
            return f"nobody but the account's administrators may use {arn}"
    return None


def node_groups(world: World, nodes: Thing) -> list[str]:
    """The security groups on the nodes of a node group."""
    cluster = cluster_named(world, nodes.inputs["clusterName"])
    template = _template(world, nodes.inputs)
    own = list(at(template.inputs, "vpcSecurityGroupIds")) if template else []
    return own or [cluster.outputs["vpcConfig"]["clusterSecurityGroupId"]]


def _change_nodes(world: World, thing: Thing, inputs: dict[str, Json]) -> None:
    cluster = cluster_named(world, inputs["clusterName"])
    _check_sizes(inputs["scalingConfig"])
    _template(world, inputs)
    version = inputs.get("version", thing.outputs["version"])
    _check_skew(cluster, version)
    thing.outputs["version"] = version


def _drop_nodes(world: World, thing: Thing) -> None:
    has_plugin = "vpc-cni" in addons(world, thing.inputs["clusterName"])
    for each in [*world.of_type(INTERFACE)]:
        if each.made_by == f"nodes {thing.id}":
            if has_plugin:
                world.remove(each)
            else:
                # Nobody is left to release it: https://github.com/pulumi/pulumi-eks/issues/779
                each.made_by = "the network plugin, which was gone before its nodes"


ADDON_NAMES = frozenset(
    {"vpc-cni", "kube-proxy", "coredns", "aws-ebs-csi-driver", "eks-pod-identity-agent", "aws-efs-csi-driver"}
)
NEED_NODES = frozenset({"coredns", "aws-ebs-csi-driver", "aws-efs-csi-driver"})


def _make_addon(world: World, thing: Thing) -> None:
    cluster, name = cluster_named(world, thing.inputs["clusterName"]), thing.inputs["addonName"]
    no(
        any(
            each is not thing and each.inputs["addonName"] == name
            for each in world.pointing(ADDON, "clusterName", cluster.outputs["name"])
        ),
        f"ResourceInUseException: Addon {name} already exists",
    )
    self_managed = (
        {"vpc-cni", "kube-proxy", "coredns"} if cluster.inputs.get("bootstrapSelfManagedAddons", True) else ()
    )
    no(
        name in self_managed and thing.inputs.get("resolveConflictsOnCreate") != "OVERWRITE",
        f"waiting for EKS Add-On ({thing.id}) create: unexpected state 'CREATE_FAILED': ConfigurationConflict:"
        " Conflicts found when trying to apply. Will not continue due to resolve conflicts mode.",
    )
    no(
        name in NEED_NODES and not running_nodes(world, cluster.outputs["name"]),
        f"waiting for EKS Add-On ({thing.id}) create: timeout while waiting for state to become 'ACTIVE' (last state:"
        " 'DEGRADED'): InsufficientNumberOfReplicas: The add-on is unhealthy because it doesn't have the desired number"
        " of replicas.",
    )
    account = {"aws-ebs-csi-driver": "ebs-csi-controller-sa", "vpc-cni": "aws-node"}.get(name)
    if account:
        no(
            credentials_problem(
                world,
                cluster,
                "kube-system",
                account,
                next(at(thing.inputs, "serviceAccountRoleArn"), None),
                needs_agent=name != "vpc-cni",
            )
            is not None,
            f"waiting for EKS Add-On ({thing.id}) create: unexpected state 'CREATE_FAILED': AccessDenied: the pods of"
            f" kube-system/{account} have no role",
        )


def running_nodes(world: World, cluster_name: str) -> list[Thing]:
    """The node groups of a cluster that have nodes."""
    return [
        each
        for each in world.pointing(NODES, "clusterName", cluster_name)
        if each.inputs["scalingConfig"]["desiredSize"] > 0
    ]


def credentials_problem(
    world: World,
    cluster: Thing,
    namespace: str,
    account: str,
    annotated_arn: str | None,
    *,
    action: str = "",
    needs_agent: bool = True,
) -> str | None:
    """Why a pod under this account has no role, or not the right to do this; None where it has."""
    name = cluster.outputs["name"]
    bound = association_of(world, name, namespace, account)
    arn = bound.inputs["roleArn"] if bound else annotated_arn
    role = world.find(iam.ROLE, "arn", arn)
    if role is None:
        return f"{namespace}/{account} has no role ({arn})"
    trust = role.inputs["assumeRolePolicy"]
    if bound:
        if needs_agent and "eks-pod-identity-agent" not in addons(world, name):
            return "the Pod Identity agent is not there"
        admitted = pod_identity_admits(trust, name, namespace, account)
    else:
        issuer = cluster.outputs["identities"][0]["oidcs"][0]["issuer"].removeprefix("https://")
        provider = world.find(iam.OIDC_PROVIDER, "url", issuer)
        if provider is None:
            return f"no OIDC provider is registered for {issuer}"
        if "sts.amazonaws.com" not in provider.inputs["clientIdLists"]:
            return "the OIDC provider does not know the audience sts.amazonaws.com"
        admitted = iam.admits(
            trust,
            kind="Federated",
            principal=provider.outputs["arn"],
            action="sts:AssumeRoleWithWebIdentity",
            context={
                f"{issuer}:sub": f"system:serviceaccount:{namespace}:{account}",
                f"{issuer}:aud": "sts.amazonaws.com",
            },
        )
    if not admitted:
        return f"AccessDenied: {role.outputs['name']} does not trust {namespace}/{account}"
    if action and not iam.allows(world, role.outputs["name"], action):
        return f"AccessDenied: {role.outputs['name']} is not allowed to {action}"
    return None


def association_of(world: World, cluster_name: str, namespace: str, account: str) -> Thing | None:
    """What binds an account to a role by EKS Pod Identity."""
    found = world.pointing(POD_IDENTITY, "clusterName", cluster_name)
    wanted = (namespace, account)
    return next((each for each in found if (each.inputs["namespace"], each.inputs["serviceAccount"]) == wanted), None)


def pod_identity_admits(trust: str, cluster_name: str, namespace: str, account: str) -> bool:
    """Whether the role of this trust can be handed to the account by EKS Pod Identity."""
    tags = {
        "eks-cluster-name": cluster_name,
        "kubernetes-namespace": namespace,
        "kubernetes-service-account": account,
    }
    return all(
        iam.admits(
            trust,
            kind="Service",
            principal="pods.eks.amazonaws.com",
            action=action,
            context={f"aws:RequestTag/{key}": value for key, value in tags.items()},
        )
        for action in ("sts:AssumeRole", "sts:TagSession")
    )


def _make_entry(world: World, thing: Thing) -> None:
    cluster = cluster_named(world, thing.inputs["clusterName"])
    creator = cluster.inputs.get("accessConfig", {}).get("bootstrapClusterCreatorAdminPermissions", True)
    no(
        (creator and thing.inputs["principalArn"] == DEPLOYER)
        or any(
            each is not thing and each.inputs["principalArn"] == thing.inputs["principalArn"]
            for each in world.pointing(ENTRY, "clusterName", cluster.outputs["name"])
        ),
        "ResourceInUseException: The specified access entry resource is already in use on this cluster.",
    )


def _make_entry_policy(world: World, thing: Thing) -> None:
    no(
        not any(
            each.inputs["principalArn"] == thing.inputs["principalArn"]
            for each in world.pointing(ENTRY, "clusterName", thing.inputs["clusterName"])
        ),
        f"ResourceNotFoundException: The specified principalArn could not be found: {thing.inputs['principalArn']}",
    )


def _make_pod_identity(world: World, thing: Thing) -> None:
    inputs = thing.inputs
    cluster = cluster_named(world, inputs["clusterName"])
    no(
        any(
            each is not thing
            and (each.inputs["namespace"], each.inputs["serviceAccount"])
            == (inputs["namespace"], inputs["serviceAccount"])
            for each in world.pointing(POD_IDENTITY, "clusterName", cluster.outputs["name"])
        ),
        f"ResourceInUseException: Association already exists for {inputs['namespace']}/{inputs['serviceAccount']}",
    )
    no(
        not pod_identity_admits(
            _role_of(world, inputs["roleArn"]).inputs["assumeRolePolicy"],
            cluster.outputs["name"],
            inputs["namespace"],
            inputs["serviceAccount"],
        ),
        "InvalidParameterException: Trust policy of role is invalid: it does not admit pods.eks.amazonaws.com",
    )


def _cluster_outputs(world: World, inputs: Mapping[str, Json]) -> dict[str, Json]:
    issuer = world.new_hex(32).upper()
    return {
        "accessConfig": {"authenticationMode": "API", **inputs.get("accessConfig", {})},
        "certificateAuthority": {"data": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="},
        "createdAt": "2026-11-22T00:00:00Z",
        "deletionProtection": inputs.get("deletionProtection", False),
        "endpoint": f"https://{issuer[:32]}.gr7.{world.region}.eks.amazonaws.com",
        "identities": [{"oidcs": [{"issuer": f"https://oidc.eks.{world.region}.amazonaws.com/id/{issuer}"}]}],
        "kubernetesNetworkConfig": {
            "serviceIpv4Cidr": "172.20.0.0/16",
            "ipFamily": "ipv4",
            **inputs.get("kubernetesNetworkConfig", {}),
        },
        "platformVersion": "eks.1",
        "status": "ACTIVE",
        "upgradePolicy": {"supportType": "EXTENDED", **inputs.get("upgradePolicy", {})},
        "version": inputs.get("version", "1.35"),
    }


KINDS: dict[str, Kind] = {
    LOG_GROUP: Kind(
        "{name}",
        "logs:log-group:{name}",
        named="name",
        longest=512,
        pattern=r"[\w./#-]+",
        outputs=lambda _world, _inputs: {"logGroupClass": "STANDARD", "deletionProtectionEnabled": False},
        absent=frozenset({"namePrefix"}),
        make=unique("name", "ResourceAlreadyExistsException"),
    ),
    CLUSTER: Kind(
        "{name}",
        "eks:cluster/{name}",
        (
            Ref("roleArn", iam.ROLE, "arn"),
            Ref("vpcConfig.subnetIds", SUBNET, holds=DEPENDENCY),
            Ref("vpcConfig.securityGroupIds", GROUP, holds=DEPENDENCY),
            Ref("encryptionConfig.provider.keyArn", KEY, "arn"),
        ),
        named="name",
        longest=100,
        pattern=r"[0-9A-Za-z][A-Za-z0-9_-]*",
        outputs=_cluster_outputs,
        absent=frozenset(
            {
                "clusterId",
                "computeConfig",
                "controlPlaneScalingConfig",
                "kubeApiServerConfig",
                "kubeControllerManagerConfig",
                "kubeSchedulerConfig",
                "storageConfig",
            }
        ),
        volatile=frozenset({"platformVersion"}),
        make=_make_cluster,
        change=_change_cluster,
        drop=_drop_cluster,
    ),
    NODES: Kind(
        "{clusterName}:{nodeGroupName}",
        "eks:nodegroup/{clusterName}/{nodeGroupName}/{hex}",
        (
            Ref("clusterName", CLUSTER, "name", "ResourceInUseException: Cluster has nodegroups attached"),
            Ref("nodeRoleArn", iam.ROLE, "arn"),
            Ref("subnetIds", SUBNET, holds=DEPENDENCY),
            Ref("launchTemplate.id", TEMPLATE),
        ),
        named="nodeGroupName",
        longest=63,
        pattern=r"[0-9A-Za-z][A-Za-z0-9_-]*",
        outputs=lambda _, inputs: {
            "amiType": inputs.get("amiType", "AL2023_x86_64_STANDARD"),
            "capacityType": inputs.get("capacityType", "ON_DEMAND"),
            "instanceTypes": inputs.get("instanceTypes", ["t3.medium"]),
            "nodeRepairConfig": {},
            "releaseVersion": "1.35.0-20261101",
            "resources": [{"autoscalingGroups": [{"name": "eks-asg"}]}],
            "status": "ACTIVE",
            "updateConfig": inputs.get("updateConfig", {"maxUnavailable": 1}),
            "version": inputs.get("version", ""),
        },
        absent=frozenset({"nodeGroupNamePrefix", "diskSize"}),
        volatile=frozenset({"releaseVersion", "version"}),
        make=_make_nodes,
        change=_change_nodes,
        drop=_drop_nodes,
    ),
    ADDON: Kind(
        "{clusterName}:{addonName}",
        "eks:addon/{clusterName}/{addonName}/{hex}",
        (Ref("clusterName", CLUSTER, "name"), Ref("serviceAccountRoleArn", iam.ROLE, "arn")),
        outputs=lambda _, inputs: {
            "addonVersion": inputs.get("addonVersion", "v1.0.0-eksbuild.1"),
            "configurationValues": inputs.get("configurationValues", ""),
            "createdAt": "2026-11-22T00:00:00Z",
            "modifiedAt": "2026-11-22T00:00:00Z",
        },
        absent=frozenset({"namespaceConfig"}),
        volatile=frozenset({"modifiedAt"}),
        problems=lambda inputs: iter(
            [
                (key, f"unknown value {inputs[key]!r}")
                for key, known in (
                    ("addonName", "|".join(sorted(ADDON_NAMES))),
                    ("addonVersion", r"v\d+\.\d+\.\d+-eksbuild\.\d+"),
                    ("resolveConflictsOnCreate", "NONE|OVERWRITE"),
                    ("resolveConflictsOnUpdate", "NONE|OVERWRITE|PRESERVE"),
                )
                if key in inputs and inputs[key] != wire.UNKNOWN and not re.fullmatch(known, inputs[key])
            ]
        ),
        make=_make_addon,
    ),
    ENTRY: Kind(
        "{clusterName}:{principalArn}",
        refs=(Ref("clusterName", CLUSTER, "name"),),
        outputs=lambda world, inputs: {
            "accessEntryArn": world.arn("eks", f"access-entry/{inputs['clusterName']}/{world.new_hex(8)}"),
            "createdAt": "2026-11-22T00:00:00Z",
            "kubernetesGroups": inputs.get("kubernetesGroups", []),
            "modifiedAt": "2026-11-22T00:00:00Z",
            "userName": inputs.get("userName", inputs["principalArn"]),
        },
        volatile=frozenset({"modifiedAt"}),
        make=_make_entry,
    ),
    ENTRY_POLICY: Kind(
        "{clusterName}#{principalArn}#{policyArn}",
        refs=(Ref("clusterName", CLUSTER, "name"),),
        outputs=lambda _world, _inputs: {
            "associatedAt": "2026-11-22T00:00:00Z",
            "modifiedAt": "2026-11-22T00:00:00Z",
        },
        make=_make_entry_policy,
    ),
    POD_IDENTITY: Kind(
        "a-{hex}",
        imported="{clusterName},{id}",
        refs=(Ref("clusterName", CLUSTER, "name"), Ref("roleArn", iam.ROLE, "arn")),
        outputs=lambda world, inputs: {
            "associationArn": world.arn("eks", f"podidentityassociation/{inputs['clusterName']}/{world.new_hex(17)}"),
            "associationId": "{id}",
            "disableSessionTags": False,
        },
        absent=frozenset({"externalId", "policy"}),
        make=_make_pod_identity,
    ),
}
"""Clusters and what belongs to them, by type token."""
