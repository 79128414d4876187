"""Whom the pods of a program may become in AWS, by which wire, and which policies that gives them.

Read from the graph of an update: there every ARN is made up but well formed, so a wire is an equality of values. The
ways of a service account stand in the order in which its pods take them. An EKS Pod Identity association beats the
annotation of IRSA (https://docs.aws.amazon.com/eks/latest/userguide/pod-identities.html), and both come before the
instance metadata service: there pods get the role that Kiam has for them, or their node's if the nodes let them.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, cast

from preflight.access import (
    ASSUME_ROLE,
    Caller,
    OidcProvider,
    PodIdentitySession,
    RoleSession,
    WebIdentityToken,
    allows,
    may_assume,
)
from preflight.graph import Graph, Resource
from preflight.kiam import Kiam, Pods, installations
from preflight.nodes import Nodes, node_groups
from preflight.policies import Cause, Decision, Document
from preflight.workloads import ADDON, RELEASES, SERVICE_ACCOUNT, Workload, at, properties, text, workloads

ANNOTATION = "eks.amazonaws.com/role-arn"
AUDIENCE_ANNOTATION = "eks.amazonaws.com/audience"
AGENT = "eks-pod-identity-agent"

# What the webhook takes as a role; with anything else it lets the pod through without credentials:
# https://github.com/aws/amazon-eks-pod-identity-webhook
ROLE_ARN = re.compile(r"arn:aws[a-z0-9-]*:iam::\d{12}:role/[\w/.@+=,-]+")

_CLUSTERS = ("aws:eks/cluster:Cluster", "eks:index:Cluster")
_PROVIDER = "aws:iam/openIdConnectProvider:OpenIdConnectProvider"
_ASSOCIATION = "aws:eks/podIdentityAssociation:PodIdentityAssociation"

Mechanism: TypeAlias = Literal["Pod Identity", "IRSA", "Kiam", "node role"]


@dataclass(frozen=True)
class Cluster:
    """An EKS cluster that the program makes or reads."""

    resource: Resource
    name: str
    issuer: str
    """URL of its OIDC issuer."""
    automatic: bool
    """Auto Mode, which brings the Pod Identity agent along."""


@dataclass(frozen=True)
class Policy:
    """A policy of a role, by its name in the program, else in AWS.

    `document` is None where the text is not in the program, as for policies that AWS manages.
    """

    name: str
    document: Document | None
    resource: Resource | None


@dataclass(frozen=True)
class Way:
    """One way from a service account to a role.

    `wire` is what declares it: the annotated account, the association, the add-on, the node group. `role` is None where
    the program does not make the role. `decision` says whether the pods get it, and why. `tags` are those of the
    session; None for what is known only once the pod exists.
    """

    mechanism: Mechanism
    role_arn: str
    decision: Decision
    wire: Resource
    role: Resource | None = None
    policies: tuple[Policy, ...] = ()
    tags: Mapping[str, str | None] = field(default_factory=dict[str, str | None])


@dataclass(frozen=True)
class Identity:
    """A service account: what makes it, whose pods use it, and whom they may become.

    `cluster` is its cluster's name where the program deals with several, else empty.
    """

    cluster: str
    namespace: str
    account: str
    made_by: tuple[Resource, ...]
    workloads: tuple[Workload, ...]
    ways: tuple[Way, ...]

    @property
    def chosen(self) -> Way | None:
        """The way that its pods take: the first wire even if it is refused, for then they get an error; else a node."""
        wires = [way for way in self.ways if way.mechanism != "node role"]
        nodes = [way for way in self.ways if way.decision.admitted]
        return next(iter(wires or nodes), None)

    def __str__(self) -> str:
        """NAMESPACE/ACCOUNT, with the cluster where there are several."""
        return f"{self.namespace}/{self.account}" + (f" in {self.cluster}" if self.cluster else "")


def explain(graph: Graph, namespace: str, account: str) -> list[Identity]:
    """Say whom the pods of one service account may become, per cluster that has it; empty where none has."""
    wiring = Wiring(graph)
    return [wiring.identity(key) for key in sorted(wiring.accounts) if key[1:] == (namespace, account)]


def table(graph: Graph) -> list[Identity]:
    """Say it of every service account that the program makes, wires, or runs pods under; sorted by name."""
    wiring = Wiring(graph)
    return [wiring.identity(key) for key in sorted(wiring.accounts)]


_Key: TypeAlias = tuple[str, str, str]  # cluster, namespace, account


@dataclass(frozen=True)
class _Wire:
    """A declaration that binds an account to a role, not yet judged."""

    mechanism: Mechanism
    resource: Resource
    role_arn: object
    cluster: str = ""
    audience: str = "sts.amazonaws.com"
    tagged: bool = True
    target_arn: str = ""
    external_id: str | None = None


@dataclass
class _Account:
    made_by: list[Resource] = field(default_factory=list[Resource])
    workloads: list[Workload] = field(default_factory=list[Workload])
    wires: list[_Wire] = field(default_factory=list[_Wire])


class Wiring:
    """The parts of a graph that identities are made of, by the names with which they refer to each other."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.clusters = [_cluster(resource) for resource in graph.of_type(*_CLUSTERS)]
        self.providers = self._providers()
        # Roles are made where they are shared: in a stack that this one reads, too.
        around = Graph.together([graph]) if graph.beside else graph
        self.roles = {text(properties(role), "arn"): role for role in around.of_type("aws:iam/role:Role")}
        self.policies = policies_by_role(around)
        self.kiams = installations(graph)
        self.nodes = node_groups(graph)
        named = [properties(resource) for resource in graph.of_type(ADDON, _ASSOCIATION)]
        self.agents = {text(values, "clusterName") for values in named if text(values, "addonName") == AGENT}
        self.several = len({c.name for c in self.clusters} | {text(values, "clusterName") for values in named}) > 1
        self.accounts: defaultdict[_Key, _Account] = defaultdict(_Account)
        self._collect()

    def identity(self, key: _Key) -> Identity:
        """Put together what there is of one service account."""
        cluster, namespace, account = key
        found = self.accounts[key]
        wires = sorted(found.wires, key=lambda wire: wire.mechanism != "Pod Identity")
        ways = [self._judge(wire, namespace, account) for wire in wires]
        ways += self._kiam_ways(found.workloads, wired=bool(wires))
        ways += self._node_ways(cluster, found.workloads)
        return Identity(cluster, namespace, account, tuple(found.made_by), tuple(found.workloads), tuple(ways))

    def _providers(self) -> list[OidcProvider] | None:
        """Return the registered providers; None where one is looked up, or the clusters are somebody else's."""
        resources = self.graph.of_type(_PROVIDER)
        if any(resource.read for resource in resources) or not (self.clusters or resources):
            return None
        found = [
            OidcProvider(text(values, "arn"), text(values, "url"), _texts(at(values, "clientIdLists")))
            for values in map(properties, resources)
        ]
        for cluster in self.clusters:
            arn = text(properties(cluster.resource), "oidcProviderArn")
            if arn:  # pulumi-eks makes one inside its cluster, on request
                found.append(OidcProvider(arn, cluster.issuer, ("sts.amazonaws.com",)))
        return found

    def _home(self, resource: Resource) -> str:
        """Return the name of the cluster that a resource belongs to; empty where there is no choice, or no telling."""
        if not self.several:
            return ""
        if resource.package != "kubernetes":
            return text(properties(resource), "clusterName")
        provider = resource.provider_urn
        behind = self.graph.waits_for(provider) if provider in self.graph.resources else frozenset[str]()
        names = [cluster.name for cluster in self.clusters if cluster.resource.urn in behind]
        return names[0] if len(names) == 1 else ""

    def _collect(self) -> None:
        for resource in self.graph.of_type(SERVICE_ACCOUNT):
            values = properties(resource)
            namespace = text(values, "metadata", "namespace") or "default"
            self._made(
                (self._home(resource), namespace, text(values, "metadata", "name")),
                resource,
                at(values, "metadata", "annotations"),
            )
        for workload in workloads(self.graph):
            key = (self._home(workload.resource), workload.namespace, workload.account)
            self.accounts[key].workloads.append(workload)
            if workload.makes_account:
                self._made(key, workload.resource, workload.annotations)
            if workload.resource.type == ADDON:
                self._of_addon(key, workload.resource)
        for resource in self.graph.of_type(_ASSOCIATION):
            values = properties(resource)
            wire = _Wire(
                "Pod Identity",
                resource,
                at(values, "roleArn"),
                cluster=text(values, "clusterName"),
                tagged=at(values, "disableSessionTags") is not True,
                target_arn=text(values, "targetRoleArn"),
                external_id=text(values, "externalId") or None,
            )
            key = (self._home(resource), text(values, "namespace"), text(values, "serviceAccount"))
            self.accounts[key].wires.append(wire)

    def _made(self, key: _Key, resource: Resource, annotations: object) -> None:
        self.accounts[key].made_by.append(resource)
        if isinstance(annotations, Mapping) and ANNOTATION in annotations:
            role_arn = cast("Mapping[str, object]", annotations)[ANNOTATION]
            audience = text(annotations, AUDIENCE_ANNOTATION) or "sts.amazonaws.com"
            self.accounts[key].wires.append(_Wire("IRSA", resource, role_arn, key[0], audience))

    def _of_addon(self, key: _Key, addon: Resource) -> None:
        """Collect the two kinds of wire that an add-on can carry itself."""
        values = properties(addon)
        cluster = text(values, "clusterName")
        if role_arn := at(values, "serviceAccountRoleArn"):
            self.accounts[key].wires.append(_Wire("IRSA", addon, role_arn, cluster))
        associations = at(values, "podIdentityAssociations")
        for item in cast("list[object]", associations if isinstance(associations, list) else []):
            wire = _Wire("Pod Identity", addon, at(item, "roleArn"), cluster)
            self.accounts[key[0], key[1], text(item, "serviceAccount")].wires.append(wire)

    def _clusters_of(self, wire: _Wire) -> list[Cluster]:
        return [cluster for cluster in self.clusters if wire.cluster in {"", cluster.name}]

    def _judge(self, wire: _Wire, namespace: str, account: str) -> Way:
        role_arn = wire.role_arn if isinstance(wire.role_arn, str) else ""
        role = self.roles.get(role_arn)
        policies = tuple(self.policies[role_arn])
        if not ROLE_ARN.fullmatch(role_arn):
            said = f"{wire.role_arn!r} is no role ARN" if role_arn else "the role ARN is not known before the update"
            reason = f"{said}; pods get no credentials from a malformed one" if role_arn else said
            return Way(wire.mechanism, role_arn, _unseen(reason, undecided=not role_arn), wire.resource)
        session = self._session(wire, role_arn, namespace, account)
        tags = session.tags if wire.mechanism == "Pod Identity" else {}
        if role is None:
            decision = _unseen(f"the program does not make {role_arn}, so its trust policy is not known")
        elif wire.mechanism == "IRSA":
            decision = self._irsa(wire, role, f"system:serviceaccount:{namespace}:{account}")
        else:
            decision = self._with_agent(self.assume(role, session), wire.cluster)
            if wire.target_arn and decision.admitted:
                target = self.roles.get(wire.target_arn)
                decision = self._chain(session, wire, target, decision)
                role_arn, role, policies = wire.target_arn, target, tuple(self.policies[wire.target_arn])
        return Way(wire.mechanism, role_arn, decision, wire.resource, role, policies, tags)

    def _irsa(self, wire: _Wire, role: Resource, subject: str) -> Decision:
        issuers = [cluster.issuer for cluster in self._clusters_of(wire) if cluster.issuer]
        if not issuers:  # of a cluster that somebody else makes; the trust policy says which one is meant
            trust = text(properties(role), "assumeRolePolicy")
            issuers = [f"https://{host}" for host in re.findall(r":oidc-provider/([^\"\\]+)", trust)] or ["unknown"]
        decisions = [self.assume(role, WebIdentityToken(issuer, subject, wire.audience)) for issuer in issuers]
        return next((decision for decision in decisions if decision.admitted), decisions[0])

    def assume(self, role: Resource, caller: Caller) -> Decision:
        """Decide whether the trust policy of a role admits a caller."""
        values = properties(role)
        trust = _document(at(values, "assumeRolePolicy"))
        if trust is None:
            return _unseen("the trust policy is not known before the update")
        return may_assume(trust, caller, self.providers, text(values, "arn"))

    def _session(self, wire: _Wire, role_arn: str, namespace: str, account: str) -> PodIdentitySession:
        # The packaged cluster of pulumi-eks does not say its ARN; a role for Pod Identity is of the same account.
        partition, owner = role_arn.split(":")[1:5:3]
        issuers = [cluster.issuer for cluster in self._clusters_of(wire)]
        region = next((issuer.split(".")[2] for issuer in issuers if issuer.count(".") > 2), "*")
        arn = f"arn:{partition}:eks:{region}:{owner}:cluster/{wire.cluster}"
        return PodIdentitySession(arn, namespace, account, wire.tagged)

    def _with_agent(self, decision: Decision, cluster: str) -> Decision:
        known = [one for one in self.clusters if one.name == cluster]
        if cluster in self.agents or not known or known[0].automatic:
            return decision
        caveat = f"the program gives cluster {cluster} no add-on {AGENT}, which hands the credentials to the pods"
        return replace(decision, caveats=(*decision.caveats, caveat))

    def _chain(self, session: PodIdentitySession, wire: _Wire, target: Resource | None, first: Decision) -> Decision:
        """Judge the second step of an association with a target role: the first role assumes it."""
        role_arn = cast("str", wire.role_arn)
        if target is None:
            return _unseen(f"the program does not make the target role {wire.target_arn}")
        second = self.assume(target, RoleSession(role_arn, wire.external_id, session.tags))
        may = self.may(role_arn, wire.target_arn)
        if second.admitted and second.delegated and not may.admitted:
            return replace(may, reason=f"{role_arn} may not assume {wire.target_arn}: {may.reason}")
        return replace(second, caveats=first.caveats + second.caveats)

    def _kiam_ways(self, running: Sequence[Workload], *, wired: bool) -> list[Way]:
        """Return the roles that Kiam hands to the pods, each once; pods with a wire and no annotation want none."""
        found: dict[str, Way] = {}
        for pods, kiam in ((kiam.wish(workload), kiam) for workload in running for kiam in self.kiams):
            if pods and (pods.role or not wired):
                way = self.kiam_way(kiam, pods)
                if way.decision.admitted or way.role_arn not in found:
                    found[way.role_arn] = way
        return list(found.values())

    def wires(self, workload: Workload) -> list[Way]:
        """Return the roles that a workload's account is bound to by IRSA or Pod Identity."""
        return self._wires((self._home(workload.resource), workload.namespace, workload.account))

    def _wires(self, key: _Key) -> list[Way]:
        wires = self.accounts[key].wires if key in self.accounts else []
        return [self._judge(wire, *key[1:]) for wire in wires]

    def kiam_way(self, kiam: Kiam, pods: Pods) -> Way:
        """Say which role Kiam gives to some pods, or why it gives them none."""
        role_arn = kiam.resolve(pods.role)
        role = self.roles.get(role_arn)
        policies = tuple(self.policies[role_arn])
        decision = kiam.admits(pods)
        if decision.admitted:
            chain = self._of_server(kiam, role_arn, role, pods.external_id)
            reason = f"{decision.reason}, and {chain.reason}" if chain.admitted else chain.reason
            decision = replace(chain, reason=reason)
        return Way("Kiam", role_arn, decision, pods.workload.resource, role, policies)

    def _of_server(self, kiam: Kiam, role_arn: str, role: Resource | None, external_id: str | None) -> Decision:
        """Decide whether Kiam's server may assume a role, by way of its own."""
        own = self.kiam_server(kiam)
        if not own.decision.admitted:
            return own.decision
        if role is None:
            return _unseen(f"the program does not make {role_arn}, so its trust policy is not known")
        return self.step("Kiam's server", own.role_arn, role, external_id)

    def kiam_server(self, kiam: Kiam) -> Way:
        """Say which role Kiam's server has before it assumes that of a pod, and whether it gets it."""
        server, wanted = kiam.server, kiam.server_role_arn
        if server is None:
            return Way("Kiam", "", _unseen("there is no Kiam server", undecided=False), kiam.resource)
        callers = self.kiam_callers(kiam)
        refused = next((way for way in callers if not way.decision.admitted), None)
        if not wanted and (not server.version or server.version >= (4, 1)):
            decision = _unseen("Kiam's server ends without --assume-role-arn", undecided=False)
        elif refused:
            decision = refused.decision
        elif not callers:
            decision = _unseen("the program makes neither a role for Kiam's server nor the nodes that it runs on")
        elif not wanted:
            return callers[0]
        else:
            steps = self.steps(callers, wanted)
            decision = next((one for one in steps if not one.admitted), steps[0])
        return Way("Kiam", wanted, decision, server.resource, self.roles.get(wanted), tuple(self.policies[wanted]))

    def steps(self, callers: Sequence[Way], wanted: str) -> list[Decision]:
        """Decide for each role that Kiam's server may have of itself whether it may assume the one it is told to."""
        role = self.roles.get(wanted)
        if role is None:
            return [_unseen(f"the program does not make the server's role {wanted}") for _ in callers]
        return [self.step(f"the role {_short(way.role_arn)} of Kiam's server", way.role_arn, role) for way in callers]

    def kiam_callers(self, kiam: Kiam) -> list[Way]:
        """Return the roles that the server's pods have of themselves: by IRSA, else those of their nodes."""
        server = kiam.server
        if server is None:
            return []
        if wires := self._wires((self._home(server.resource), server.namespace, server.account)):
            return wires
        if kiam.nodes and not kiam.server_nodes:
            reason = "no node group takes the pods of Kiam's server"
            return [Way("node role", "", _unseen(reason, undecided=False), server.resource)]
        found: dict[str, Way] = {}
        for nodes in kiam.server_nodes:
            decision = nodes.reach(server.host_network)
            intercepted = kiam.agent and nodes.takes(kiam.agent.pod) and not kiam.intercepts
            if intercepted and not server.host_network:
                reason = f"the agent on {nodes.group.name} answers the server's own request for its node's role"
                decision = _unseen(reason, undecided=False)
            role = self.roles.get(nodes.role_arn)
            found.setdefault(nodes.role_arn, Way("node role", nodes.role_arn, decision, nodes.group, role))
        return list(found.values())

    def step(self, caller: str, caller_arn: str, role: Resource, external_id: str | None = None) -> Decision:
        """Decide whether one role may assume another, which `caller` names for a person.

        Within an account a trust policy that names the caller is enough. Where it leaves the choice to the caller's
        account, and for another account, the caller's own policies have to allow it too; what they deny stays denied.
        """
        trusted = self.assume(role, RoleSession(caller_arn, external_id))
        if not trusted.admitted:
            return replace(trusted, reason=f"{role.name} does not admit {caller}: {trusted.reason}")
        may = self.may(caller_arn, text(properties(role), "arn"))
        if (trusted.delegated and not may.admitted) or may.cause is Cause.DENIED:
            return replace(may, reason=f"{caller} may not assume {role.name}: {may.reason}")
        return trusted

    def may(self, caller_arn: str, role_arn: str) -> Decision:
        """Decide whether a role's own policies let it assume another."""
        policies = self.policies[caller_arn]
        known = {policy.name: policy.document for policy in policies if policy.document is not None}
        return allows(known, ASSUME_ROLE, role_arn)

    def _behind_agent(self, nodes: Nodes, running: Sequence[Workload], reach: Decision) -> Decision:
        """Take into account that Kiam's agent stands between the pods and the metadata service of their node."""
        if not reach.admitted or any(workload.host_network for workload in running):
            return reach
        for kiam in self.kiams:
            if not kiam.intercepts and nodes.group in kiam.agent_nodes:
                reason = f"only while no Kiam agent has run on the node: {reach.reason}"
                return _unseen(reason)
        return reach

    def _node_ways(self, cluster: str, running: Sequence[Workload]) -> list[Way]:
        """Return the node roles that pods can take or perhaps can, each once, with the surest reason."""
        found: dict[str, Way] = {}
        host_network = any(workload.host_network for workload in running)
        for nodes in self.nodes:
            decision = self._behind_agent(nodes, running, nodes.reach(host_network))
            earlier = found.get(nodes.role_arn)
            elsewhere = (cluster and nodes.cluster and cluster != nodes.cluster) or not _may_run(running, nodes)
            if elsewhere or not (decision.admitted or decision.undecided):
                continue
            if earlier is None or (decision.admitted and not earlier.decision.admitted):
                policies = tuple(self.policies[nodes.role_arn])
                role = self.roles.get(nodes.role_arn)
                found[nodes.role_arn] = Way("node role", nodes.role_arn, decision, nodes.group, role, policies)
        return list(found.values())


def _may_run(running: Sequence[Workload], nodes: Nodes) -> bool:
    """Whether pods of an account can be on some nodes; only objects say all of what decides that."""
    known = [one for one in running if one.resource.package == "kubernetes" and one.resource.type not in RELEASES]
    return len(known) < len(running) or not running or any(nodes.takes(workload.pod) for workload in known)


def _short(role_arn: str) -> str:
    return role_arn.rpartition("/")[2]


def _cluster(resource: Resource) -> Cluster:
    values = properties(resource)
    if resource.type == "eks:index:Cluster":
        name = text(values, "name") or text(values, "core", "cluster")
        issuer = text(values, "oidcProviderUrl")
        return Cluster(resource, name, issuer, at(values, "autoMode", "enabled") is True)
    issuer = text(values, "identities", "0", "oidcs", "0", "issuer")
    return Cluster(resource, text(values, "name"), issuer, at(values, "computeConfig", "enabled") is True)


def policies_by_role(graph: Graph) -> defaultdict[str, list[Policy]]:
    """Return every role's policies by the role's ARN: attached, inline, and named in the role itself."""
    made = {text(properties(policy), "arn"): policy for policy in graph.of_type("aws:iam/policy:Policy")}
    arns: dict[str, str] = {}
    found: defaultdict[str, list[Policy]] = defaultdict(list)

    def attach(role: str, policy_arn: str) -> None:
        policy = made.get(policy_arn)
        document = _document(at(properties(policy), "policy")) if policy else None
        name = policy.name if policy else policy_arn.partition(":policy/")[2] or policy_arn
        found[arns.get(role, role)].append(Policy(name, document, policy))

    for role in graph.of_type("aws:iam/role:Role"):
        values = properties(role)
        arn = text(values, "arn")
        arns |= {text(values, "name"): arn, role.id: arn}
        for policy_arn in _texts(at(values, "managedPolicyArns")):
            attach(arn, policy_arn)
        inline = at(values, "inlinePolicies")
        for item in cast("list[object]", inline if isinstance(inline, list) else []):
            found[arn].append(Policy(text(item, "name") or "inline", _document(at(item, "policy")), role))
    for attachment in graph.of_type("aws:iam/rolePolicyAttachment:RolePolicyAttachment"):
        values = properties(attachment)
        attach(text(values, "role").rpartition("/")[2], text(values, "policyArn"))
    for attachment in graph.of_type("aws:iam/policyAttachment:PolicyAttachment"):
        values = properties(attachment)
        for role in _texts(at(values, "roles")):
            attach(role, text(values, "policyArn"))
    for policy in graph.of_type("aws:iam/rolePolicy:RolePolicy"):
        values = properties(policy)
        role = text(values, "role")
        found[arns.get(role, role)].append(Policy(policy.name, _document(at(values, "policy")), policy))
    return found


def _document(value: object) -> Document | None:
    return cast("Document", value) if isinstance(value, str | Mapping) else None


def _texts(value: object) -> tuple[str, ...]:
    items = cast("Sequence[object]", value if isinstance(value, list) else [])
    return tuple(item for item in items if isinstance(item, str))


def _unseen(reason: str, *, undecided: bool = True) -> Decision:
    return Decision(False, reason, undecided=undecided)
