"""What `preflight diff` finds in the step from one version to another. No single stack shows it."""

from collections.abc import Iterator

from preflight.finding import Finding, Severity
from preflight.graph import Graph, Resource
from preflight.rules.eks import ALB_CHART, Cluster, Estate
from preflight.workloads import properties

# Charts whose kinds stand in their crds folder:
# https://helm.sh/docs/chart_best_practices/custom_resource_definitions/
_KINDS_IN_FOLDER = (ALB_CHART, "aws-gateway-controller-chart", "external-dns", "karpenter", "kube-prometheus-stack")


def findings(stack: str, old: Graph, new: Graph) -> Iterator[Finding]:
    """Yield an error for every step that EKS refuses, and a warning for kinds that do not follow their chart.

    EKS: https://docs.aws.amazon.com/eks/latest/userguide/update-cluster.html
    """
    yield from _clusters(stack, old, new)
    yield from _kinds(stack, old, new)


def _clusters(stack: str, old: Graph, new: Graph) -> Iterator[Finding]:
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
        yield _finding(stack, "kubernetes-version-step", "error", cluster.resource, *told)


def _kinds(stack: str, old: Graph, new: Graph) -> Iterator[Finding]:
    for release in Estate(new).of_chart(*_KINDS_IN_FOLDER):
        before = old.resources.get(release.resource.urn)
        versions = [properties(one).get("version") for one in (before, release.resource) if one]
        if len(set(map(str, versions))) == 1 or properties(release.resource).get("skipCrds") is True:
            continue
        yield _finding(
            stack,
            "kinds-left-behind",
            "warning",
            release.resource,
            f"Release {release.name} goes from {versions[0]} to {versions[1]}; its kinds stay, for Helm installs "
            "what is in a chart's crds folder only once.",
            "Apply the definitions of the new version before the update, or make them a step and set skip_crds.",
        )


def _finding(stack: str, rule: str, severity: Severity, resource: Resource, message: str, fix: str) -> Finding:
    source = resource.source
    return Finding(
        stack=stack,
        rule=rule,
        severity=severity,
        resource=resource.urn,
        message=message,
        fix=fix,
        file=source["file"] if source else "",
        line=source["line"] if source else 0,
    )


def _minor(cluster: Cluster) -> int | None:
    _, dot, minor = str(cluster.get("version") or "").partition(".")
    return int(minor) if dot and minor.isdecimal() else None
