"""What `preflight diff` finds in the step from one Kubernetes version to another. No single stack shows it."""

from collections.abc import Iterator

from preflight.finding import Finding
from preflight.graph import Graph
from preflight.rules.eks import Cluster, Estate

RULE = "kubernetes-version-step"


def findings(stack: str, old: Graph, new: Graph) -> Iterator[Finding]:
    """Yield an error for every cluster that skips a minor version or goes back to an older one.

    EKS refuses both: https://docs.aws.amazon.com/eks/latest/userguide/update-cluster.html
    """
    before = {cluster.resource.urn: cluster for cluster in Estate(old).clusters}
    for cluster in Estate(new).clusters:
        if cluster.resource.urn not in before:
            continue
        was, now = _minor(before[cluster.resource.urn]), _minor(cluster)
        if was is None or now is None or now - was in (0, 1):
            continue
        told = (
            f"Cluster {cluster.name} goes from Kubernetes 1.{was} back to 1.{now}, which EKS refuses.",
            f"Keep 1.{was}. What an older version is needed for runs on a second cluster.",
        )
        if now > was:
            told = (
                f"Cluster {cluster.name} goes from Kubernetes 1.{was} to 1.{now}; EKS goes one minor at a time.",
                f"Go to 1.{was + 1} first, in an update of its own that has to end before the next.",
            )
        source = cluster.resource.source
        yield Finding(
            stack=stack,
            rule=RULE,
            severity="error",
            resource=cluster.resource.urn,
            message=told[0],
            fix=told[1],
            file=source["file"] if source else "",
            line=source["line"] if source else 0,
        )


def _minor(cluster: Cluster) -> int | None:
    _, dot, minor = str(cluster.get("version") or "").partition(".")
    return int(minor) if dot and minor.isdecimal() else None
