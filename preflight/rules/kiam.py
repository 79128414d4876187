"""Kiam, where a program has it: interception, the chain of roles, namespaces, annotations, sessions, values."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Final, cast
from weakref import WeakKeyDictionary

from preflight import kiam as parts
from preflight.graph import UNKNOWN, Graph, Resource
from preflight.identities import ROLE_ARN, Way, Wiring
from preflight.kiam import PERMITTED, ROLE, Kiam, Part, Pods, alternatives, permits, seconds
from preflight.rules.eks import estate, many
from preflight.rules.rule import Hit, Stack, UnknownValueError, mapping, rule, value
from preflight.workloads import RELEASES, at, properties, text

_REPO = "https://github.com/uswitch/kiam/blob/master"
_IAM = f"{_REPO}/docs/IAM.md"
_CHART = f"{_REPO}/helm/kiam/README.md"
_POLICY = f"{_REPO}/pkg/server/policy.go"
_SERVER = f"{_REPO}/cmd/kiam/server.go"
_UPGRADE = f"{_REPO}/docs/UPGRADING.md"

_MINUTE: Final = 60
_LONGEST: Final = 3600
"""Seconds that a session of a chained role lasts at most."""

_AMAZON_LINUX_AUTHORITIES = "/etc/pki/ca-trust/extracted/pem"


class Scene:
    """Every Kiam of a graph, with the identities around it; worked out once for all rules."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.kiams = parts.installations(graph)

    @cached_property
    def wiring(self) -> Wiring:
        """The roles, policies and accounts around it."""
        return Wiring(self.graph)

    @property
    def parts(self) -> list[Part]:
        """Every agent and every server."""
        return [part for kiam in self.kiams for part in kiam.parts]

    @property
    def servers(self) -> list[tuple[Kiam, Part]]:
        """Every server with its Kiam."""
        return [(kiam, kiam.server) for kiam in self.kiams if kiam.server]

    @property
    def agents(self) -> list[tuple[Kiam, Part]]:
        """Every agent with its Kiam."""
        return [(kiam, kiam.agent) for kiam in self.kiams if kiam.agent]

    @property
    def annotated(self) -> list[tuple[Kiam, Pods]]:
        """The pods that want a role of it."""
        return [(kiam, pods) for kiam in self.kiams for pods in kiam.pods if pods.role]

    @property
    def namespaces(self) -> Iterator[tuple[Kiam, str, Resource, str]]:
        """The namespaces that permit something: name, resource, expression."""
        for kiam in self.kiams:
            for name, resource in kiam.namespaces.items():
                if expression := kiam.permitted(name):
                    yield kiam, name, resource, expression


_SCENES: WeakKeyDictionary[Graph, Scene] = WeakKeyDictionary()


def scene(stack: Stack) -> Scene:
    """Every Kiam of a stack; empty of all where it has none."""
    if stack.graph not in _SCENES:
        _SCENES[stack.graph] = Scene(stack.graph)
    return _SCENES[stack.graph]


@rule(
    "kiam-abandoned",
    title="Kiam is abandoned",
    severity="warning",
    looks_at="Releases of the chart kiam, and Deployments and DaemonSets that run its image.",
    why="Nobody mends it since October 2023, its libraries are of 2021, and nobody has reported whether it works on "
    "AL2023.",
    source="https://github.com/uswitch/kiam#readme",
    fix="Move the workloads to IRSA or EKS Pod Identity.",
)
def kiam_abandoned(stack: Stack) -> Iterator[Hit]:
    """Nothing depends on Kiam."""
    for kiam in scene(stack).kiams:
        yield Hit(
            resource=kiam.resource,
            message="Kiam is abandoned since October 2023, and unverified on AL2023.",
            fix="Give each workload an identity by IRSA or Pod Identity; `preflight steps leave-kiam` has the order.",
        )


@rule(
    "kiam-half",
    title="Kiam lacks its agent or its server",
    severity="error",
    looks_at="`agent.enabled` and `server.enabled`, and the objects that run Kiam's image.",
    why="The agent only asks and the server only answers; without either no pod gets a role.",
    source=_CHART,
    fix="Install both.",
)
def kiam_half(stack: Stack) -> Iterator[Hit]:
    """There are an agent and a server."""
    for kiam in scene(stack).kiams:
        if missing := next((kind for kind, part in (("agent", kiam.agent), ("server", kiam.server)) if not part), ""):
            yield Hit(
                resource=kiam.resource,
                message=f"This Kiam has no {missing}; allowed: an agent on every node and a server.",
                fix=f"Set {missing}.enabled to true, or make its object.",
            )


@rule(
    "kiam-chart-old",
    title="The chart of Kiam is one that no cluster takes any more",
    severity="error",
    looks_at="Repository and version of the release.",
    why="The stable repository is closed, and charts before 6.1.1 use rbac.authorization.k8s.io/v1beta1, which "
    "Kubernetes 1.22 removed.",
    source=_CHART,
    fix="Take chart 6.1.2, from uswitch's repository or vendored from a checkout.",
)
def kiam_chart_old(stack: Stack) -> Iterator[Hit]:
    """The chart is one of uswitch's last two."""
    for kiam in scene(stack).kiams:
        inputs = properties(kiam.resource)
        if kiam.resource.type not in RELEASES:
            continue
        chart, repository = text(inputs, "chart"), text(inputs, "repositoryOpts", "repo")
        version = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text(inputs, "version"))
        closed = chart.startswith("stable/") or re.search(
            r"kubernetes-charts\.storage|charts\.helm\.sh/stable", repository
        )
        if closed or (version and tuple(map(int, version.groups())) < (6, 1, 1)):
            yield Hit(
                resource=kiam.resource,
                message=f"Release {kiam.resource.name} takes {chart} {text(inputs, 'version')} from "
                f"{repository or 'the repository that its name says'}; allowed: uswitch's chart from 6.1.1 on.",
                fix='Set chart="kiam", version="6.1.2" and the repository, or the path of a vendored copy.',
            )


@rule(
    "kiam-image-tokens",
    title="The image of Kiam is older than the metadata service's second version",
    severity="error",
    looks_at="Image tags of agent and server against `httpTokens` of their nodes.",
    why="Before 3.6 the agent blocks the call for a token, and a 3.6 server still fails to get its own role.",
    source="https://github.com/uswitch/kiam/issues/398",
    fix="Take image v4.2.",
)
def kiam_image_tokens(stack: Stack) -> Iterator[Hit]:
    """Where nodes demand IMDSv2, Kiam is of a version that knows it."""
    for kiam in scene(stack).kiams:
        for part in kiam.parts:
            demanding = [one for one in kiam.nodes_of(part.pod) if text(one.options, "httpTokens") == "required"]
            if part.version and part.version < (4, 0) and demanding:
                yield Hit(
                    resource=part.resource,
                    message=f"Kiam's {part.kind} is of version {'.'.join(map(str, part.version))}, and node group "
                    f"{demanding[0].group.name} demands IMDSv2; allowed: from 4.0 on.",
                    fix=f"Set {part.kind}.image.tag to v4.2.",
                )


# Interception


@rule(
    "kiam-no-interception",
    title="Nothing leads the metadata requests of pods to Kiam's agent",
    severity="error",
    looks_at="`agent.host.iptables` and `agent.host.interface` against the interfaces that the network gives to pods.",
    why="Pods quietly get the role of their node in place of their own.",
    source=f"{_REPO}/cmd/kiam/iptables.go",
    fix='Set agent.host.iptables to true and agent.host.interface to "eni+" under the VPC CNI.',
)
def kiam_no_interception(stack: Stack) -> Iterator[Hit]:
    """The agent adds its rule, for the interfaces of pods."""
    for kiam, agent in scene(stack).agents:
        if kiam.intercepts:
            yield Hit(
                resource=agent.resource,
                message=f"The metadata requests of pods pass Kiam by: {kiam.intercepts}.",
                fix=f'Set {agent.setting("iptables")} to true and {agent.setting("host-interface")} to "eni+".',
            )


@rule(
    "kiam-agent-absent",
    title="Pods that want a role of Kiam may run where no agent does",
    severity="error",
    looks_at="Node groups that take annotated pods, against selector, affinity and tolerations of the agent.",
    why="On a node without agent they get the role of the node, or none.",
    source=_IAM,
    fix="Let the agent run on every node but those of the server.",
)
def kiam_agent_absent(stack: Stack) -> Iterator[Hit]:
    """The agent runs on all nodes that annotated pods may run on."""
    for kiam, pods in scene(stack).annotated:
        bare = [one for one in kiam.nodes_of(pods.workload.pod) if one.group not in kiam.agent_nodes]
        if kiam.agent and bare:
            names = ", ".join(one.group.name for one in bare)
            yield Hit(
                resource=kiam.agent.resource,
                message=f"The pods of {pods.workload.label} may run on {names}, which takes no agent.",
                fix=f"Let the agent's nodeSelector, affinity and tolerations admit {names}.",
            )


@rule(
    "kiam-nowhere",
    title="No node takes the agent or the server of Kiam",
    severity="error",
    looks_at="Selector, affinity and tolerations of both, against labels and taints of the node groups.",
    why="A DaemonSet without a node has no pods and no error; kubernetes.io/role, which the project's own manifests "
    "select, is on no node of EKS.",
    source=f"{_REPO}/deploy/server.yaml",
    fix="Select a label that a node group has, and tolerate its taints.",
)
def kiam_nowhere(stack: Stack) -> Iterator[Hit]:
    """Agent and server have nodes to run on."""
    for kiam in scene(stack).kiams:
        for part in kiam.parts:
            if kiam.nodes and not kiam.nodes_of(part.pod):
                yield Hit(
                    resource=part.resource,
                    message=f"Kiam's {part.kind} asks for nodes with {at(part.pod, 'nodeSelector') or 'no label'} and "
                    "what it tolerates; no node group is like that.",
                    fix=f"Match {part.kind}.nodeSelector and {part.kind}.tolerations to labels and taints of nodes.",
                )


@rule(
    "kiam-host-network",
    title="A pod that wants a role of Kiam shares the network of its node",
    severity="error",
    looks_at="`hostNetwork` of pods with the annotation iam.amazonaws.com/role.",
    why="The agent's rule does not see them; they get the role of the node.",
    source=f"{_REPO}/cmd/kiam/iptables.go",
    fix="Take hostNetwork away, or give these pods their role by IRSA.",
)
def kiam_host_network(stack: Stack) -> Iterator[Hit]:
    """Annotated pods are on the pod network."""
    for _, pods in scene(stack).annotated:
        if pods.workload.host_network:
            yield Hit(
                resource=pods.workload.resource,
                message=f"{pods.workload.label} wants {pods.role} of Kiam and has hostNetwork, where no rule holds.",
                fix="Remove hostNetwork, or wire the role by IRSA.",
            )


@rule(
    "kiam-fargate",
    title="A pod that wants a role of Kiam runs on Fargate",
    severity="error",
    looks_at="Namespaces of Fargate profiles against those of Kiam and of annotated pods.",
    why="Fargate has no DaemonSets, no host network and no metadata service.",
    source="https://docs.aws.amazon.com/eks/latest/userguide/fargate.html",
    fix="Give these pods their role by IRSA.",
)
def kiam_fargate(stack: Stack) -> Iterator[Hit]:
    """Neither Kiam nor its pods are on Fargate."""
    found = scene(stack)
    wanting = {part.namespace: f"Kiam's {part.kind}" for part in found.parts}
    wanting |= {pods.workload.namespace: pods.workload.label for _, pods in found.annotated}
    for profile in stack.graph.of_type("aws:eks/fargateProfile:FargateProfile") if found.kiams else ():
        for selector in many(properties(profile), "selectors"):
            if who := wanting.get(text(selector, "namespace")):
                yield Hit(
                    resource=profile,
                    message=f"Fargate profile {profile.name} takes the pods of {who}, and Kiam does not work there.",
                    fix=f"Take namespace {text(selector, 'namespace')} out of the profile, or move its pods to IRSA.",
                )


@rule(
    "kiam-ipv6",
    title="Kiam in a cluster with IPv6",
    severity="error",
    looks_at="`kubernetesNetworkConfig.ipFamily` of clusters with Kiam.",
    why="The agent's rule is for IPv4; pods reach the metadata service by its IPv6 address and get the node's role.",
    source=f"{_REPO}/cmd/kiam/iptables.go",
    fix="Use IRSA or Pod Identity.",
)
def kiam_ipv6(stack: Stack) -> Iterator[Hit]:
    """Kiam's cluster is one of IPv4."""
    found = estate(stack)
    for kiam in scene(stack).kiams:
        cluster = found.cluster_of(kiam.resource)
        if cluster and text(properties(cluster.resource), "kubernetesNetworkConfig", "ipFamily") == "ipv6":
            yield Hit(
                resource=cluster.resource,
                message=f"Cluster {cluster.name} is of IPv6, and Kiam's agent catches requests over IPv4 only.",
                fix="Give the pods of this cluster their roles by IRSA or Pod Identity.",
            )


@rule(
    "kiam-agent-dns",
    title="Kiam's agent cannot resolve its server",
    severity="error",
    looks_at="`dnsPolicy` of the agent.",
    why="On the host's network every other policy asks the node's resolver, which knows no cluster service.",
    source=_CHART,
    fix="Set agent.dnsPolicy to ClusterFirstWithHostNet.",
)
def kiam_agent_dns(stack: Stack) -> Iterator[Hit]:
    """The agent asks the cluster's DNS."""
    for _, agent in scene(stack).agents:
        policy = text(agent.pod, "dnsPolicy") or "ClusterFirst"
        if agent.host_network and policy != "ClusterFirstWithHostNet":
            yield Hit(
                resource=agent.resource,
                message=f"Kiam's agent has dnsPolicy {policy}; allowed: ClusterFirstWithHostNet.",
                fix='Set dnsPolicy to "ClusterFirstWithHostNet".',
            )


# The chain of roles


def _told(part: Part, flag: str) -> str:
    """What a flag says. Raises UnknownValueError."""
    given = part.flag(flag)
    if given == str(UNKNOWN):
        raise UnknownValueError(part.resource, part.setting(flag))
    return given


@rule(
    "kiam-assume-role",
    title="Kiam's server has no role of its own to assume",
    severity="error",
    looks_at="`server.assumeRoleArn` and the version of the image.",
    why="From 4.1 on the server ends with `role can't be empty`.",
    source=f"{_REPO}/pkg/server/server_builder.go",
    fix="Set server.assumeRoleArn to the ARN of the server's role.",
)
def kiam_assume_role(stack: Stack) -> Iterator[Hit]:
    """The server is told its role, by a whole ARN."""
    for _, server in scene(stack).servers:
        given = _told(server, "assume-role-arn")
        if (not given and (not server.version or server.version >= (4, 1))) or (
            given and not ROLE_ARN.fullmatch(given)
        ):
            yield Hit(
                resource=server.resource,
                message=f"The role of Kiam's server is {given or 'not set'}; allowed: the ARN of a role.",
                fix=f"Set {server.setting('assume-role-arn')} to the role's arn output.",
            )


@rule(
    "kiam-role-base",
    title="What Kiam puts before the names of roles is no beginning of an ARN",
    severity="error",
    looks_at="`server.roleBaseArn` against the ARN of the server's role.",
    why="Kiam only joins the two texts, so without the last slash or in another partition every role is unknown.",
    source=f"{_REPO}/pkg/aws/sts/arn_resolver.go",
    fix="Write arn:<partition>:iam::<account>:role/, with the slash.",
)
def kiam_role_base(stack: Stack) -> Iterator[Hit]:
    """The base is of the server's own partition and ends where a name begins."""
    for _, server in scene(stack).servers:
        given, own = _told(server, "role-base-arn"), _told(server, "assume-role-arn").split(":")
        shaped = re.fullmatch(r"arn:(aws[a-z-]*):iam::\d{12}:role/(?:.+/)?", given)
        if given and (not shaped or (len(own) > 1 and own[1] != shaped[1])):
            start = ":".join(own[:5]) if len(own) > 5 else "arn:aws:iam::111122223333"
            yield Hit(
                resource=server.resource,
                message=f"Kiam puts {given} before names of roles; allowed: a path of roles, such as {start}:role/.",
                fix=f"Set {server.setting('role-base-arn')} to {start}:role/.",
            )


@rule(
    "kiam-server-trust",
    title="The role of Kiam's server does not admit the server",
    severity="error",
    looks_at="Trust policy of the role in `server.assumeRoleArn`, against the role of the nodes that servers run on, "
    "or the one that they have by IRSA.",
    why="No pod gets a role; the role of the control plane in its place is a trust that nobody can use.",
    source=_IAM,
    fix="Trust the role of the server's nodes.",
)
def kiam_server_trust(stack: Stack) -> Iterator[Hit]:
    """The server gets its role."""
    found = scene(stack)
    planes = {text(properties(one), "roleArn"): one for one in stack.graph.of_type("aws:eks/cluster:Cluster")}
    for kiam, server in found.servers:
        callers = [caller for caller in found.wiring.kiam_callers(kiam) if caller.role_arn]
        way = found.wiring.kiam_server(kiam)
        steps = found.wiring.steps(callers, way.role_arn) if kiam.server_role_arn else []
        refused = next((one for one in steps if not one.admitted and not one.undecided), None)
        if way.role is None or refused is None:
            continue
        document = text(properties(way.role), "assumeRolePolicy")
        mixed = next((arn for arn in planes if arn and f'"{arn}"' in document), "")
        hint = f"; it names the control plane's role {mixed}, which no node has" if mixed else ""
        yield Hit(
            resource=way.role,
            message=f"The role {refused.reason}{hint}.",
            fix=f"Name {callers[0].role_arn} as AWS principal in the trust policy of {way.role.name}, which "
            f"{server.setting('assume-role-arn')} names.",
        )


@rule(
    "kiam-server-metadata",
    title="Kiam's server cannot ask for its node's role",
    severity="error",
    looks_at="Network of the server, hop limit of its nodes, and whether agents run beside it.",
    why="On the pod network the agent answers the server's own request, and a hop limit of 1 stops it.",
    source="https://github.com/uswitch/kiam/issues/69",
    fix="Put the server on the host's network, or give it its role by IRSA.",
)
def kiam_server_metadata(stack: Stack) -> Iterator[Hit]:
    """The server's pods reach the credentials that its chain of roles begins with."""
    found = scene(stack)
    for kiam, server in found.servers:
        for way in found.wiring.kiam_callers(kiam):
            if (
                way.mechanism == "node role"
                and way.role_arn
                and not way.decision.admitted
                and not way.decision.undecided
            ):
                yield Hit(
                    resource=server.resource,
                    message=f"Kiam's server gets no credentials to begin with: {way.decision.reason}.",
                    fix="Set server.useHostNetwork to true.",
                )


@rule(
    "kiam-role-trust",
    title="A role that pods want does not admit Kiam's server",
    severity="error",
    looks_at="Trust policies of the roles in the annotation iam.amazonaws.com/role, against the role of the server.",
    why="The server's log says AccessDenied, and the pod gets no credentials.",
    source=_IAM,
    fix="Trust the server's role, beside whoever else is trusted.",
)
def kiam_role_trust(stack: Stack) -> Iterator[Hit]:
    """Every role that pods want is one that the server may assume."""
    found = scene(stack)
    for kiam, pods, role, server in _wanted(found):
        decision = found.wiring.step("Kiam's server", server.role_arn, role, pods.external_id)
        if not decision.admitted and not decision.undecided:
            yield Hit(
                resource=role,
                message=f"The pods of {pods.workload.label} do not get their role: {decision.reason}.",
                fix=f"Admit {server.role_arn} as AWS principal with sts:AssumeRole in the trust policy of {role.name}, "
                f"and let its policies assume {kiam.resolve(pods.role)}.",
            )


@rule(
    "kiam-role-unknown",
    title="The program makes no role of the name that pods want",
    severity="warning",
    looks_at="The annotation iam.amazonaws.com/role, resolved with `server.roleBaseArn`, against the program's roles.",
    why="A misspelt name is found out only by the pod's first call; whether a role from elsewhere trusts the server "
    "cannot be judged.",
    source=f"{_REPO}/pkg/aws/sts/arn_resolver.go",
    fix="Write the name of a role that the program makes.",
)
def kiam_role_unknown(stack: Stack) -> Iterator[Hit]:
    """Pods want roles that there are."""
    found = scene(stack)
    for kiam, pods in found.annotated:
        arn = kiam.resolve(pods.role)
        if arn.startswith("arn:") and arn not in found.wiring.roles:
            near = difflib.get_close_matches(arn, found.wiring.roles, n=1)
            yield Hit(
                resource=pods.workload.resource,
                message=f"The pods of {pods.workload.label} want {arn}, which the program does not make.",
                fix=f"Did you mean {near[0]}?" if near else "Make the role, or waive this where it is made elsewhere.",
            )


@rule(
    "kiam-own-policies",
    title="A step of Kiam's chain rests on a trust policy alone",
    severity="warning",
    looks_at="Policies of the server's nodes and of the server, for sts:AssumeRole on the next role.",
    why="Within one account the trust is enough; across accounts, or under a boundary, the step fails.",
    source="https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html",
    fix="Allow sts:AssumeRole on the role of the next step.",
)
def kiam_own_policies(stack: Stack) -> Iterator[Hit]:
    """Each role of the chain is allowed its own step too."""
    found = scene(stack)
    steps: dict[tuple[str, str], Resource] = {}
    for kiam, _ in found.servers:
        way = found.wiring.kiam_server(kiam)
        for caller in found.wiring.kiam_callers(kiam):
            if caller.role and way.role:
                steps[caller.role_arn, way.role_arn] = caller.role
    steps |= {(server.role_arn, _arn(role)): server.role for _, _, role, server in _wanted(found) if server.role}
    for (caller_arn, target), caller in steps.items():
        may = found.wiring.may(caller_arn, target)
        if not may.admitted and not may.undecided:
            yield Hit(
                resource=caller,
                message=f"The role {caller.name} is to assume {target}, and its policies do not say so: {may.reason}.",
                fix=f"Give {caller.name} a policy that allows sts:AssumeRole on {target}.",
            )


@rule(
    "kiam-server-unlimited",
    title="Kiam's server may assume every role",
    severity="warning",
    looks_at="Policies of the server's role, asked for a role that nobody has.",
    why="Whoever gets the server's role becomes anything that trusts it, administrators included.",
    source=_IAM,
    fix="Allow a path or a prefix of roles only.",
)
def kiam_server_unlimited(stack: Stack) -> Iterator[Hit]:
    """The server may assume roles under a path or prefix."""
    found = scene(stack)
    for kiam, _ in found.servers:
        way = found.wiring.kiam_server(kiam)
        prefix = way.role_arn.partition(":role/")[0]
        if way.role and found.wiring.may(way.role_arn, f"{prefix}:role/nobodys/role-of-nobody").admitted:
            yield Hit(
                resource=way.role,
                message=f"The role {way.role.name} of Kiam's server may assume every role; allowed: a path or prefix.",
                fix=f"Write {prefix}:role/<path or prefix>* as Resource of its sts:AssumeRole.",
            )


@rule(
    "kiam-shared-nodes",
    title="Other pods run on the nodes of Kiam's server, or under their role",
    severity="error",
    looks_at="Roles and taints of the node groups that take the server.",
    why="A pod that reaches the metadata service there becomes the server, and by it every role that trusts it.",
    source="https://github.com/uswitch/kiam/issues/228",
    fix="Give the server a node group of its own, with a role, a label and a taint of its own.",
)
def kiam_shared_nodes(stack: Stack) -> Iterator[Hit]:
    """The nodes of the server take nothing else, and have a role of their own."""
    found = scene(stack)
    for kiam, server in found.servers:
        if not any(way.mechanism == "node role" for way in found.wiring.kiam_callers(kiam)):
            continue
        own = [one.group for one in kiam.server_nodes]
        others = {one.role_arn: one.group.name for one in kiam.nodes if one.group not in own}
        for one in kiam.server_nodes:
            other = others.get(one.role_arn or str(value(one.group, "nodeRoleArn")))
            if one.takes({}) or other:
                problem = f"has one role with {other}" if other else "has no taint, so it takes every pod"
                yield Hit(
                    resource=one.group,
                    message=f"Node group {one.group.name} runs Kiam's server and {problem}.",
                    fix="Make a node group with its own role, a label and a NO_SCHEDULE taint, and set "
                    f"{server.kind}.nodeSelector and {server.kind}.tolerations to them.",
                )


def _wanted(found: Scene) -> Iterator[tuple[Kiam, Pods, Resource, Way]]:
    """Annotated pods whose role the program makes, with the role that the server has."""
    for kiam, pods in found.annotated:
        role, server = found.wiring.roles.get(kiam.resolve(pods.role)), found.wiring.kiam_server(kiam)
        if role is not None and server.role_arn:
            yield kiam, pods, role, server


def _arn(role: Resource) -> str:
    return text(properties(role), "arn")


# Namespaces and annotations


@rule(
    "kiam-namespace-closed",
    title="A namespace permits its pods no role",
    severity="error",
    looks_at="Annotation iam.amazonaws.com/permitted of namespaces with annotated pods.",
    why="Without it Kiam forbids every role; only an event on the pod says so.",
    source=_POLICY,
    fix="Annotate the namespace with an expression for the whole ARNs of the roles.",
)
def kiam_namespace_closed(stack: Stack) -> Iterator[Hit]:
    """Namespaces of annotated pods permit something."""
    for kiam, pods in scene(stack).annotated:
        if kiam.permitted(pods.workload.namespace) == "":
            arn = kiam.resolve(pods.role)
            yield Hit(
                resource=kiam.namespaces[pods.workload.namespace],
                message=f"Namespace {pods.workload.namespace} has no annotation {PERMITTED}, and the pods of "
                f"{pods.workload.label} want {arn}.",
                fix=f"Annotate it with {PERMITTED}: ({arn}).",
            )


@rule(
    "kiam-permitted-refuses",
    title="The expression of a namespace does not match the role that its pods want",
    severity="error",
    looks_at="Annotation iam.amazonaws.com/permitted, with ^ before and $ behind, against the role's whole ARN.",
    why="Since 4.0 a bare role name matches nothing; the event KiamRoleForbidden stands on the pod and nowhere else.",
    source=_UPGRADE,
    fix="Write the whole ARN, or .*role/<name>.",
)
def kiam_permitted_refuses(stack: Stack) -> Iterator[Hit]:
    """What pods want is what their namespace permits."""
    for kiam, pods in scene(stack).annotated:
        expression, arn = kiam.permitted(pods.workload.namespace), kiam.resolve(pods.role)
        if not expression or not arn.startswith("arn:") or _invalid(expression):
            continue
        if not permits(expression, arn, strict=_strict(kiam)):
            yield Hit(
                resource=kiam.namespaces[pods.workload.namespace],
                message=f"Namespace {pods.workload.namespace} permits ^{expression}$, which does not match {arn}, the "
                f"role of {pods.workload.label}.",
                fix=f"Write ({arn}) into {PERMITTED}.",
            )


@rule(
    "kiam-permitted-invalid",
    title="The expression of a namespace is none",
    severity="error",
    looks_at="Annotation iam.amazonaws.com/permitted, read as Go reads regular expressions.",
    why="Kubernetes takes any text; the server fails at each request.",
    source=_POLICY,
    fix="Mend the expression.",
)
def kiam_permitted_invalid(stack: Stack) -> Iterator[Hit]:
    """Expressions can be read."""
    for _, name, resource, expression in scene(stack).namespaces:
        if problem := _invalid(expression):
            yield Hit(
                resource=resource,
                message=f"Namespace {name} permits {expression!r}, which is no expression: {problem}.",
                fix=f"Write whole ARNs into {PERMITTED}, in parentheses and with | between them.",
            )


@rule(
    "kiam-permitted-halves",
    title="The expression of a namespace is anchored at one end only",
    severity="error",
    looks_at="Annotation iam.amazonaws.com/permitted with a | outside parentheses.",
    why="Kiam makes `^a|b$` of `a|b`: whatever begins with a or ends with b is permitted.",
    source=_POLICY,
    fix="Put the expression in parentheses.",
)
def kiam_permitted_halves(stack: Stack) -> Iterator[Hit]:
    """Alternatives stand in parentheses."""
    for kiam, name, resource, expression in scene(stack).namespaces:
        if _strict(kiam) and not _invalid(expression) and len(alternatives(expression)) > 1:
            yield Hit(
                resource=resource,
                message=f"Namespace {name} permits {expression}, which Kiam reads as ^{expression}$: no half of it is "
                "held at both ends.",
                fix=f"Write ({expression}).",
            )


@rule(
    "kiam-permitted-everything",
    title="A namespace permits every role",
    severity="warning",
    looks_at="Annotation iam.amazonaws.com/permitted, asked for a role that nobody has.",
    why="Whoever may start a pod there takes any role that trusts the server.",
    source=_POLICY,
    fix="Name the roles.",
)
def kiam_permitted_everything(stack: Stack) -> Iterator[Hit]:
    """Namespaces permit the roles that are meant."""
    for kiam, name, resource, expression in scene(stack).namespaces:
        stranger = "arn:aws:iam::000000000000:role/nobodys/role-of-nobody"
        if not _invalid(expression) and permits(expression, stranger, strict=_strict(kiam)):
            wanted = [kiam.resolve(pods.role) for pods in kiam.pods if pods.workload.namespace == name and pods.role]
            yield Hit(
                resource=resource,
                message=f"Namespace {name} permits {expression}, which matches every role of every account.",
                fix=f"Write ({'|'.join(dict.fromkeys(wanted)) or '<ARN of a role>'}) into {PERMITTED}.",
            )


@rule(
    "kiam-permitted-loose",
    title="Kiam matches the expressions of namespaces anywhere in a role",
    severity="warning",
    looks_at="`server.disableStrictNamespaceRegexp`.",
    why="Expressions are then not held at their ends: `app` permits `other-app-admin` too.",
    source=_UPGRADE,
    fix="Write whole ARNs and leave the matching strict.",
)
def kiam_permitted_loose(stack: Stack) -> Iterator[Hit]:
    """Expressions are matched as a whole."""
    for kiam, server in scene(stack).servers:
        if not _strict(kiam):
            yield Hit(
                resource=server.resource,
                message=f"Kiam's server has {server.setting('disable-strict-namespace-regexp')} on, so an expression "
                "permits whatever contains a match.",
                fix=f"Remove it, and write whole ARNs into {PERMITTED}.",
            )


@rule(
    "kiam-annotation-misplaced",
    title="The role of a pod stands where Kiam does not look",
    severity="error",
    looks_at="Annotation iam.amazonaws.com/role on everything but pods.",
    why="Kiam reads it from the pod; on the Deployment, the account or the namespace it says nothing.",
    source=f"{_REPO}/pkg/k8s/pod_cache.go",
    fix="Move it to the annotations of the pod template.",
)
def kiam_annotation_misplaced(stack: Stack) -> Iterator[Hit]:
    """The annotation is on pods."""
    for one in _annotated_objects(stack):
        if ROLE in mapping(one, "metadata.annotations") and not one.type.endswith(":Pod"):
            yield Hit(
                resource=one,
                message=f"{one.type.rpartition(':')[2]} {one.name} has the annotation {ROLE}, which is read on pods.",
                fix="Move it to spec.template.metadata.annotations.",
            )


@rule(
    "kiam-annotation-key",
    title="An annotation looks like one that Kiam reads and is not",
    severity="error",
    looks_at="Annotation keys of pod templates and namespaces.",
    why="Kubernetes takes any key; Kiam reads only its own.",
    source=_IAM,
    fix="Write iam.amazonaws.com/role on pods, iam.amazonaws.com/permitted on namespaces.",
)
def kiam_annotation_key(stack: Stack) -> Iterator[Hit]:
    """No key is one letter away from one of Kiam's."""
    known = (ROLE, PERMITTED, parts.EXTERNAL_ID, "iam.amazonaws.com/session-name", "iam.amazonaws.com/allowed-roles")
    for one in _annotated_objects(stack):
        keys = {*mapping(one, "metadata.annotations"), *mapping(one, "spec.template.metadata.annotations")}
        for key in sorted(keys - set(known)):
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.9)
            if near:
                yield Hit(
                    resource=one,
                    message=f"{one.type.rpartition(':')[2]} {one.name} has the annotation {key}, which nobody reads.",
                    fix=f"Write {near[0]}.",
                )


@rule(
    "kiam-second-identity",
    title="Pods want one role of Kiam and get another",
    severity="warning",
    looks_at="Annotated pods whose service account has a role by IRSA or Pod Identity.",
    why="SDKs take the account's role first: right while moving over, if it is the same role.",
    source="https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html",
    fix="Name one role in both places, or drop one.",
)
def kiam_second_identity(stack: Stack) -> Iterator[Hit]:
    """Pods with two identities have one role."""
    found = scene(stack)
    for kiam, pods in found.annotated:
        for way in found.wiring.wires(pods.workload):
            if way.role_arn and way.role_arn != kiam.resolve(pods.role):
                yield Hit(
                    resource=pods.workload.resource,
                    message=f"{pods.workload.label} wants {kiam.resolve(pods.role)} of Kiam, and its pods take "
                    f"{way.role_arn} by {way.mechanism}.",
                    fix=f"Remove the annotation {ROLE}, or wire the same role in both ways while moving over.",
                )


def _annotated_objects(stack: Stack) -> list[Resource]:
    """The objects of Kubernetes, where the program has Kiam."""
    if not scene(stack).kiams:
        return []
    return [one for one in stack.graph.resources.values() if one.package == "kubernetes" and one.type not in RELEASES]


def _invalid(expression: str) -> str:
    try:
        permits(expression, "")
    except ValueError as problem:
        return str(problem)
    return ""


def _strict(kiam: Kiam) -> bool:
    return kiam.server is None or "disable-strict-namespace-regexp" not in kiam.server.flags


# Sessions


@rule(
    "kiam-session-bounds",
    title="Kiam's sessions are shorter or longer than AWS gives them",
    severity="error",
    looks_at="`server.sessionDuration` and the flag session-refresh.",
    why="Below 15 minutes the server ends; above an hour STS refuses, for roles are chained; renewed no later than "
    "they begin, sessions are asked for without end.",
    source=_SERVER,
    fix="15m to 60m, renewed earlier than that before the end.",
)
def kiam_session_bounds(stack: Stack) -> Iterator[Hit]:
    """Sessions last 15 minutes to an hour and are renewed within that."""
    for _, server in scene(stack).servers:
        lasts, renewed = seconds(server.flag("session-duration")), seconds(server.flag("session-refresh"))
        if lasts is None or not 15 * _MINUTE <= lasts <= _LONGEST or renewed is None or renewed >= lasts:
            yield Hit(
                resource=server.resource,
                message=f"Kiam's sessions last {server.flag('session-duration')} and are renewed "
                f"{server.flag('session-refresh')} before their end; allowed: 15m to 60m, and less than that.",
                fix=f"Set {server.setting('session-duration')} to 30m and {server.setting('session-refresh')} to 15m.",
            )


@rule(
    "kiam-session-short",
    title="Kiam's sessions are as short as the AWS SDK for Java renews them",
    severity="warning",
    looks_at="`server.sessionDuration` of 15 minutes, the default.",
    why="Version 1 of that SDK takes what ends within 15 minutes for expired and asks anew before every call.",
    source="https://github.com/uswitch/kiam/issues/191",
    fix="30m to 60m.",
)
def kiam_session_short(stack: Stack) -> Iterator[Hit]:
    """Sessions are longer than the earliest renewal of an SDK."""
    for _, server in scene(stack).servers:
        if seconds(server.flag("session-duration")) == 15 * _MINUTE:
            yield Hit(
                resource=server.resource,
                message="Kiam's sessions last 15 minutes, so AWS SDK for Java 1.x renews before every call.",
                fix=f'Set {server.setting("session-duration")} to "30m" or more, up to "60m".',
            )


# Values and pods


@rule(
    "kiam-environment",
    title="The environment of Kiam is no list",
    severity="error",
    looks_at="`agent.extraEnv` and `server.extraEnv`.",
    why="Since chart 3.0.0 the template copies them as they are; of a mapping the API server refuses the DaemonSet.",
    source=_CHART,
    fix="Write a list of name and value, the value as text.",
)
def kiam_environment(stack: Stack) -> Iterator[Hit]:
    """Environment variables are a list of names and texts."""
    for part in scene(stack).parts:
        given = at(part.container, "env")
        entries = many(given) if isinstance(given, list) else []
        bad = [text(one, "name") for one in entries if not isinstance(at(one, "value"), str | None)]
        if isinstance(given, Mapping) and given:
            bad = list(cast("Mapping[str, object]", given))
        if bad:
            yield Hit(
                resource=part.resource,
                message=f"{part.kind}.extraEnv has {', '.join(bad)} not as name and text; allowed: a list of both.",
                fix=f'Write {part.kind}.extraEnv as [{{"name": "{bad[0]}", "value": "..."}}].',
            )


@rule(
    "kiam-mount-twice",
    title="A pod of Kiam mounts two volumes in one place",
    severity="error",
    looks_at="`sslCertHostPath` and `extraHostPathMounts`: names and paths of volumes.",
    why="The chart mounts ssl-certs at /etc/ssl/certs itself; the API server refuses a second one.",
    source=f"{_REPO}/helm/kiam/templates/server-daemonset.yaml",
    fix="Move the path to server.sslCertHostPath.",
)
def kiam_mount_twice(stack: Stack) -> Iterator[Hit]:
    """Volumes have names and places of their own."""
    for part in scene(stack).parts:
        names = Counter(text(one, "name") for one in many(part.pod, "volumes"))
        places = Counter(text(one, "mountPath") for one in many(part.container, "volumeMounts"))
        twice = [found for found, number in (names + places).items() if number > 1]
        if twice:
            yield Hit(
                resource=part.resource,
                message=f"The pods of Kiam's {part.kind} have {' and '.join(twice)} twice.",
                fix=f"Remove the entry from {part.kind}.extraHostPathMounts and set {part.kind}.sslCertHostPath to its "
                "hostPath.",
            )


@rule(
    "kiam-authorities-path",
    title="Kiam's server looks for certificate authorities where Amazon Linux has none",
    severity="error",
    looks_at="What the server mounts at /etc/ssl/certs, against the image of its nodes.",
    why="Every call to STS fails with `x509: certificate signed by unknown authority`.",
    source=_CHART,
    fix='Set server.sslCertHostPath to /etc/pki/ca-trust/extracted/pem, or to "" for the image\'s own.',
)
def kiam_authorities_path(stack: Stack) -> Iterator[Hit]:
    """The authorities come from where the node has them."""
    for kiam, server in scene(stack).servers:
        paths = {text(one, "name"): text(one, "hostPath", "path") for one in many(server.pod, "volumes")}
        names = [text(one, "name") for one in many(server.container, "volumeMounts")]
        places = [text(one, "mountPath") for one in many(server.container, "volumeMounts")]
        mounted = [paths.get(name, "") for name, place in zip(names, places, strict=True) if place == "/etc/ssl/certs"]
        amazon = [one.group.name for one in kiam.server_nodes if re.match(r"AL2(023)?_", one.ami_type)]
        wrong = [path for path in mounted if path and path != _AMAZON_LINUX_AUTHORITIES]
        if wrong and amazon:
            yield Hit(
                resource=server.resource,
                message=f"Kiam's server takes its certificate authorities from {wrong[0]} of {amazon[0]}, which runs "
                f"Amazon Linux; allowed: {_AMAZON_LINUX_AUTHORITIES}, or the image's own.",
                fix=f"Set server.sslCertHostPath to {_AMAZON_LINUX_AUTHORITIES}.",
            )


@rule(
    "kiam-metrics-port",
    title="Agent and server of Kiam want one port of one node",
    severity="warning",
    looks_at="`prometheus.port` of both, where both are on the host's network of a node.",
    why="The second to start has no metrics, and says nothing.",
    source=_CHART,
    fix="Set server.prometheus.port to 9621.",
)
def kiam_metrics_port(stack: Stack) -> Iterator[Hit]:
    """Ports on a node are taken once."""
    for kiam, server in scene(stack).servers:
        port = server.flag("prometheus-listen-addr").rpartition(":")[2]
        if kiam.agent is None or not (server.host_network and kiam.agent.host_network) or not port:
            continue
        apart = kiam.nodes and not kiam.agent_nodes & {one.group for one in kiam.server_nodes}
        if not apart and port == kiam.agent.flag("prometheus-listen-addr").rpartition(":")[2]:
            yield Hit(
                resource=server.resource,
                message=f"Agent and server of Kiam both offer their metrics at port {port} of their node.",
                fix=f"Set {server.setting('prometheus-listen-addr')} to 9621.",
            )


@rule(
    "kiam-gateway-timeout",
    title="Kiam's agent gives its server a second to appear",
    severity="warning",
    looks_at="`agent.gatewayTimeoutCreation`.",
    why="The agent ends when it cannot dial the server in that time, and starts anew until the server is up.",
    source=f"{_REPO}/cmd/kiam/agent.go",
    fix="5s to 10s.",
)
def kiam_gateway_timeout(stack: Stack) -> Iterator[Hit]:
    """The agent has some patience."""
    for _, agent in scene(stack).agents:
        given = agent.flag("gateway-timeout-creation")
        if (seconds(given) or 0) <= 1:
            yield Hit(
                resource=agent.resource,
                message=f"Kiam's agent waits {given} for its server and then ends; allowed: more than 1s.",
                fix=f'Set {agent.setting("gateway-timeout-creation")} to "10s".',
            )


@rule(
    "kiam-update-strategy",
    title="Changes to Kiam never reach its pods",
    severity="warning",
    looks_at="`updateStrategy` of agent and server; OnDelete is the chart's default.",
    why="An update is green, and the old pods run on with the old values and certificates.",
    source=_CHART,
    fix="RollingUpdate.",
)
def kiam_update_strategy(stack: Stack) -> Iterator[Hit]:
    """Updates replace pods."""
    for part in scene(stack).parts:
        if part.update_strategy == "OnDelete":
            yield Hit(
                resource=part.resource,
                message=f"Kiam's {part.kind} has update strategy OnDelete; allowed: RollingUpdate.",
                fix=f'Set {part.kind}.updateStrategy to "RollingUpdate".',
            )


@rule(
    "kiam-priority",
    title="Kiam can be evicted like any other pod",
    severity="warning",
    looks_at="`priorityClassName` of agent and server.",
    why="Without an agent no pod of the node gets a role; without a server none of the cluster.",
    source=_CHART,
    fix="system-node-critical for the agent, system-cluster-critical for the server.",
)
def kiam_priority(stack: Stack) -> Iterator[Hit]:
    """Agent and server stay when a node is full."""
    for part in scene(stack).parts:
        if not text(part.pod, "priorityClassName"):
            wanted = "system-node-critical" if part.kind == "agent" else "system-cluster-critical"
            yield Hit(
                resource=part.resource,
                message=f"Kiam's {part.kind} has no priority class.",
                fix=f'Set {part.kind}.priorityClassName to "{wanted}".',
            )


@rule(
    "kiam-debug",
    title="Kiam writes for debugging",
    severity="warning",
    looks_at="`log.level`, and GRPC_GO_LOG_VERBOSITY_LEVEL in the environment.",
    why="It costs log storage on every node, and names every role that every pod asks for.",
    source=_CHART,
    fix="info, and no verbosity of gRPC.",
)
def kiam_debug(stack: Stack) -> Iterator[Hit]:
    """Logs are for running, not for debugging."""
    for part in scene(stack).parts:
        given = at(part.container, "env")
        names = (
            list(cast("Mapping[str, object]", given))
            if isinstance(given, Mapping)
            else [text(one, "name") for one in many(given)]
        )
        found = [name for name in names if name == "GRPC_GO_LOG_VERBOSITY_LEVEL"]
        found += ["log level debug"] if part.flag("level") == "debug" else []
        if found:
            yield Hit(
                resource=part.resource,
                message=f"Kiam's {part.kind} has {' and '.join(found)}.",
                fix=f'Set {part.setting("level")} to "info" and remove GRPC_GO_LOG_* from its environment.',
            )


@rule(
    "kiam-routes-open",
    title="Pods may ask the metadata service for more than their role",
    severity="warning",
    looks_at="`agent.allowRouteRegexp`.",
    why="User data and the node's own credentials may stand behind what it opens.",
    source=f"{_REPO}/pkg/aws/metadata/handler_proxy.go",
    fix="Close it, and tell programs their region and VPC.",
)
def kiam_routes_open(stack: Stack) -> Iterator[Hit]:
    """Pods are told their role and nothing else of the node."""
    for _, agent in scene(stack).agents:
        given = agent.flag("allow-route-regexp")
        if given not in {"", "^$"}:
            yield Hit(
                resource=agent.resource,
                message=f"Kiam's agent lets pods ask the metadata service for {given}.",
                fix=f"Remove {agent.setting('allow-route-regexp')}; where it is meant, waive this.",
            )


@rule(
    "kiam-psp",
    title="Kiam's chart is to make a PodSecurityPolicy",
    severity="error",
    looks_at="`psp.create`.",
    why="Kubernetes 1.25 removed the kind, and the release fails.",
    source="https://kubernetes.io/docs/concepts/security/pod-security-policy/",
    fix="Leave psp.create false.",
)
def kiam_psp(stack: Stack) -> Iterator[Hit]:
    """The chart makes no PodSecurityPolicy."""
    for kiam in scene(stack).kiams:
        if at(properties(kiam.resource), "values", "psp", "create") is True:
            yield Hit(
                resource=kiam.resource,
                message="psp.create is true; allowed: false, for Kubernetes has no PodSecurityPolicy since 1.25.",
                fix="Set psp.create to false.",
            )


@rule(
    "kiam-pod-security",
    title="The namespace of Kiam does not admit its pods",
    severity="error",
    looks_at="Label pod-security.kubernetes.io/enforce of Kiam's namespace.",
    why="Host network, hostPath and NET_ADMIN are refused under baseline and restricted: there are no pods.",
    source="https://kubernetes.io/docs/concepts/security/pod-security-standards/",
    fix="Enforce privileged there, or install Kiam elsewhere.",
)
def kiam_pod_security(stack: Stack) -> Iterator[Hit]:
    """Kiam's namespace admits privileged pods."""
    for kiam in scene(stack).kiams:
        own = {part.namespace for part in kiam.parts}
        for name, made in kiam.made_namespaces:
            level = text(at(properties(made), "metadata", "labels"), "pod-security.kubernetes.io/enforce")
            if name in own and level in {"baseline", "restricted"}:
                yield Hit(
                    resource=made,
                    message=f"Namespace {name} enforces pod security level {level}; allowed for Kiam: privileged.",
                    fix="Set its label pod-security.kubernetes.io/enforce to privileged.",
                )


_UNREAD = {
    "extraArgs": "agent.extraArgs or server.extraArgs",
    "agent.keepaliveParams.permitWithoutStream": "agent.keepaliveParams.PermitWithoutStream",
    "agent.whiteListRouteRegexp": "agent.allowRouteRegexp",
    "agent.sslCertHostPath": "server.sslCertHostPath",
}


@rule(
    "kiam-value-unread",
    title="A value is given to Kiam's chart that no template reads",
    severity="warning",
    looks_at="Values of the release that chart 6.1.2 has in its README, or had once, and reads nowhere.",
    why="Helm takes any value; it has no effect.",
    source=_CHART,
    fix="Write the value that is read.",
)
def kiam_value_unread(stack: Stack) -> Iterator[Hit]:
    """Values have an effect."""
    for kiam in scene(stack).kiams:
        values = at(properties(kiam.resource), "values")
        for path, instead in _UNREAD.items():
            if kiam.resource.type in RELEASES and at(values, *path.split(".")):
                yield Hit(
                    resource=kiam.resource,
                    message=f"The chart of Kiam reads no value {path}.",
                    fix=f"Write {instead}.",
                )
