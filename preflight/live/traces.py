"""How to see that something was made for a cluster: the tags and names that EKS and its controllers put on things."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

# Tags whose value is the cluster's name, and who puts them there.
_NAMED = {
    "KubernetesCluster": "the EBS CSI driver",
    "alpha.eksctl.io/cluster-name": "eksctl",
    "application-networking.k8s.aws/K8SClusterName": "the Lattice controller",
    "aws:eks:cluster-name": "EKS",
    "cluster.k8s.amazonaws.com/name": "the VPC CNI",
    "eks:cluster-name": "EKS",
    "eks:eks-cluster-name": "EKS Auto Mode",
    "elbv2.k8s.aws/cluster": "the load balancer controller",
}
_MANAGED_BY = "application-networking.k8s.aws/ManagedBy"
"""Of the Lattice controller; its value is ACCOUNT/CLUSTER/VPC."""

ANY_VOLUME = "ebs.csi.aws.com/cluster"
"""Of the EBS CSI driver on every volume that it makes; its value is `true` and names no cluster."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """Something in the account that carries the name of a cluster."""

    kind: str
    id: str
    trace: str
    """What names the cluster."""
    commands: tuple[str, ...]
    """What removes it, once everything before it is gone."""
    before: tuple[str, ...] = ()
    """What comes before anything of its kind is removed."""
    after: tuple[str, ...] = ()
    """What waits for the removal, once everything of the kind is being removed."""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    vpc_id: str = ""
    unsure: str = ""
    """Why it may not be for the caller to remove."""


def trace(tags: Mapping[str, str], cluster: str) -> str:
    """Say which tag names the cluster as the one that a thing was made for; empty where none does.

    `kubernetes.io/cluster/NAME=shared` says the opposite: somebody else made it.
    """
    key = f"kubernetes.io/cluster/{cluster}"
    if tags.get(key) == "owned":
        return f"{key}=owned"
    for key in _NAMED:
        if tags.get(key) == cluster:
            return f"{key}={cluster}"
    if tags.get(_MANAGED_BY, "").split("/")[1:2] == [cluster]:
        return f"{_MANAGED_BY}={tags[_MANAGED_BY]}"
    return ""


def tag_keys(cluster: str) -> list[str]:
    """Return the tag keys worth a look, for filters on the side of AWS."""
    return [f"kubernetes.io/cluster/{cluster}", *_NAMED]


def aws(*words: str, region: str = "") -> str:
    """Write a command of the AWS CLI, quoted for a shell."""
    return shlex.join(["aws", *words, *(["--region", region] if region else [])])
