"""Node groups: the role of their nodes, which pods are scheduled on them, and which of these reach the role."""

from collections.abc import Mapping
from functools import cached_property
from typing import cast

from preflight.graph import Graph, Resource
from preflight.policies import Decision
from preflight.workloads import at, properties, text

_NODE_GROUPS = {
    "aws:eks/nodeGroup:NodeGroup",
    "eks:index:ManagedNodeGroup",
    "eks:index:NodeGroup",
    "eks:index:NodeGroupV2",
}

# Labels that every node has, with values that a program does not tell.
_EVERYWHERE = (
    "beta.kubernetes.io/",
    "eks.amazonaws.com/",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/",
)


def node_groups(graph: Graph) -> list["Nodes"]:
    """Return the node groups of a program in the order of registration, hidden default ones included."""
    return [Nodes(graph, resource) for resource in graph.resources.values() if _brings_nodes(resource)]


class Nodes:
    """A node group with what its launch template, if the program makes it, says of the metadata service."""

    def __init__(self, graph: Graph, group: Resource) -> None:
        """Take a resource that brings nodes."""
        self.group = group
        values = properties(group)
        self.cluster = text(values, "clusterName") or text(values, "name")
        self.role_arn = text(values, "nodeRoleArn")
        self.ami_type = text(values, "amiType")
        self.options: object = None
        wanted = {text(values, "launchTemplate", "id"), text(values, "launchTemplate", "name")} - {""}
        for template in graph.of_type("aws:ec2/launchTemplate:LaunchTemplate"):
            if wanted & {template.id, text(properties(template), "name")}:
                self.options = at(properties(template), "metadataOptions")

    def reach(self, host_network: bool) -> Decision:
        """Decide whether pods of these nodes can take the nodes' role.

        https://docs.aws.amazon.com/eks/latest/best-practices/identity-and-access-management.html
        """
        group = f"node group {self.group.name}"
        hops, tokens = at(self.options, "httpPutResponseHopLimit"), text(self.options, "httpTokens")
        if text(self.options, "httpEndpoint") == "disabled":
            return Decision(False, f"{group} has no metadata service")
        if host_network:
            return Decision(True, f"the pods share the network of {group}, so the metadata service answers them")
        if tokens == "optional":
            return Decision(True, f"{group} answers metadata requests without a token, from however many hops away")
        if isinstance(hops, int | float) and hops > 1:
            return Decision(True, f"{group} lets metadata answers travel {hops:g} hops, and a pod is the second")
        if hops == 1 and tokens == "required":
            return Decision(False, f"{group} keeps its metadata service to itself: token required, one hop")
        # Then it depends on the image, on the account's defaults, and on what EKS puts into a template of its own.
        reason = f"no launch template in the program sets both httpTokens and httpPutResponseHopLimit of {group}"
        return Decision(False, reason, undecided=True)

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """The labels that the program gives the nodes."""
        found = at(properties(self.group), "labels")
        labels = cast("Mapping[str, object]", found if isinstance(found, Mapping) else {})
        return {key: str(value) for key, value in labels.items()}

    @cached_property
    def taints(self) -> list[tuple[str, str]]:
        """Key and value of each taint that keeps pods off the nodes."""
        found = at(properties(self.group), "taints")
        listed = cast("list[object]", found if isinstance(found, list) else [])
        hard = [taint for taint in listed if not text(taint, "effect").upper().startswith("PREFER")]
        return [(text(taint, "key"), text(taint, "value")) for taint in hard]

    def takes(self, pod: object) -> bool:
        """Whether pods with this spec may be scheduled here, by selector, required affinity and tolerations.

        https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
        """
        selector = at(pod, "nodeSelector")
        wanted = cast("Mapping[str, object]", selector if isinstance(selector, Mapping) else {})
        terms = at(
            pod, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"
        )
        return (
            all(self._has(key, "In", [str(value)]) for key, value in wanted.items())
            and (not isinstance(terms, list) or any(self._fits(term) for term in cast("list[object]", terms)))
            and all(self._tolerated(key, value, pod) for key, value in self.taints)
        )

    def _fits(self, term: object) -> bool:
        expressions = at(term, "matchExpressions")
        return all(
            self._has(text(one, "key"), text(one, "operator"), [str(each) for each in _list(at(one, "values"))])
            for one in _list(expressions)
        )

    def _has(self, key: str, operator: str, values: list[str]) -> bool:
        if key not in self.labels and key.startswith(_EVERYWHERE):
            return True
        there, value = key in self.labels, self.labels.get(key, "")
        match operator:
            case "In":
                return there and value in values
            case "NotIn":
                return value not in values or not there
            case "DoesNotExist":
                return not there
            case _:
                return there

    @staticmethod
    def _tolerated(key: str, value: str, pod: object) -> bool:
        return any(
            text(one, "key") in {"", key} and (text(one, "operator") == "Exists" or text(one, "value") == value)
            for one in _list(at(pod, "tolerations"))
        )


def _list(found: object) -> list[object]:
    return cast("list[object]", found) if isinstance(found, list) else []


def _brings_nodes(resource: Resource) -> bool:
    if resource.type != "eks:index:Cluster":
        return resource.type in _NODE_GROUPS
    values = properties(resource)  # of its own accord it makes a node group inside, with a role of its own
    others = at(values, "skipDefaultNodeGroup"), at(values, "fargate"), at(values, "autoMode", "enabled")
    return not any(others)
