"""Kiam in a program: its agent and its server as pods, however they are installed, and which roles they hand to others.

The agent answers the metadata requests of pods on its node; the server decides, and assumes the role that a pod's
annotation names. What is read here is what the binaries get: the chart's values are turned into the pods that the
chart makes of them. Flags, defaults and decisions are those of https://github.com/uswitch/kiam at v4.2, chart 6.1.2.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, cast

from preflight.grants import normal_form
from preflight.graph import Graph, Resource
from preflight.nodes import Nodes, node_groups
from preflight.policies import Cause, Decision, Miss, refusal
from preflight.workloads import RELEASES, Workload, at, full_name, properties, text, workloads

ROLE: Final = "iam.amazonaws.com/role"
"""Annotation of pods: the role that they want, as a name, a path and name, or an ARN."""
PERMITTED: Final = "iam.amazonaws.com/permitted"
"""Annotation of namespaces: the expression that a role's whole ARN has to match."""
EXTERNAL_ID: Final = "iam.amazonaws.com/external-id"

_NAMESPACES = ("kubernetes:core/v1:Namespace", "kubernetes:core/v1:NamespacePatch")
_WORKLOADS = ("kubernetes:apps/v1:DaemonSet", "kubernetes:apps/v1:Deployment")
_CLUSTERS = ("aws:eks/cluster:Cluster", "eks:index:Cluster")
_IMAGE = re.compile(r"(?:.*/)?kiam(?::(?P<tag>[^@]+))?(?:@.*)?")

# How the interfaces of pods are called where a chart brings its own network; those of the VPC CNI begin with eni.
_INTERFACES = {"calico": "cali+", "cilium": "lxc+", "tigera-operator": "cali+"}

# What stands behind a flag in the chart's values.
_VALUES = {
    "agent": {
        "allow-route-regexp": "allowRouteRegexp",
        "ca": "tlsCerts.caFileName",
        "cert": "tlsCerts.certFileName",
        "gateway-timeout-creation": "gatewayTimeoutCreation",
        "host-interface": "host.interface",
        "iptables": "host.iptables",
        "key": "tlsCerts.keyFileName",
        "level": "log.level",
        "prometheus-listen-addr": "prometheus.port",
        "server-address": "service.port",
    },
    "server": {
        "assume-role-arn": "assumeRoleArn",
        "ca": "tlsCerts.caFileName",
        "cert": "tlsCerts.certFileName",
        "disable-strict-namespace-regexp": "disableStrictNamespaceRegexp",
        "key": "tlsCerts.keyFileName",
        "level": "log.level",
        "prometheus-listen-addr": "prometheus.port",
        "role-base-arn": "roleBaseArn",
        "session-duration": "sessionDuration",
        "session-refresh": "extraArgs.session-refresh",
    },
}
_DEFAULTS = {
    "agent": {"host-interface": "docker0", "gateway-timeout-creation": "1s", "level": "info"},
    "server": {"session-duration": "15m", "session-refresh": "5m", "level": "info"},
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """The agent or the server: one kind of pod, as its object has it or as the chart makes it."""

    kind: Literal["agent", "server"]
    resource: Resource
    namespace: str
    account: str
    pod: Mapping[str, object]
    """The spec of its pods."""
    update_strategy: str

    @property
    def of_chart(self) -> bool:
        """Whether the chart makes the pods."""
        return self.resource.type in RELEASES

    @cached_property
    def container(self) -> object:
        """The container that runs Kiam."""
        return next((one for one in _list(at(self.pod, "containers")) if _IMAGE.fullmatch(text(one, "image"))), None)

    @cached_property
    def flags(self) -> Mapping[str, str]:
        """What the binary is told, by flag; "" for a flag without a value."""
        words = [str(word) for key in ("command", "args") for word in _list(at(self.container, key))]
        found: dict[str, str] = {}
        for number, word in enumerate(words):
            name, equals, said = word.removeprefix("--").partition("=")
            if word.startswith("--"):
                following = words[number + 1] if number + 1 < len(words) else ""
                found[name] = said if equals or following.startswith("--") else following
        return found

    def flag(self, name: str) -> str:
        """What a flag says, the binary's own default included."""
        return self.flags.get(name, _DEFAULTS[self.kind].get(name, ""))

    def setting(self, flag: str) -> str:
        """How the program sets a flag, for a fix."""
        return f"{self.kind}.{_VALUES[self.kind].get(flag, f'extraArgs.{flag}')}" if self.of_chart else f"--{flag}"

    @property
    def host_network(self) -> bool:
        """Whether its pods share the network of their node."""
        return at(self.pod, "hostNetwork") is True

    @property
    def version(self) -> tuple[int, ...]:
        """The version of its image as numbers; () where the tag is none."""
        image = _IMAGE.fullmatch(text(self.container, "image"))
        found = re.fullmatch(r"v?(\d+)\.(\d+)(?:\..*|-.*)?", (image and image["tag"]) or "")
        return (int(found[1]), int(found[2])) if found else ()

    @cached_property
    def secret(self) -> str:
        """The name of the Secret that its certificates come from; empty where they come from elsewhere."""
        return text(self._tls[1], "secret", "secretName")

    @cached_property
    def files(self) -> Mapping[str, str]:
        """The names in that Secret of the certificate (`cert`), its key (`key`) and the authority (`ca`)."""
        folder = text(self._tls[0], "mountPath").rstrip("/")
        return {one: self.flag(one).removeprefix(f"{folder}/") for one in ("cert", "key", "ca")}

    @cached_property
    def _tls(self) -> tuple[object, object]:
        for mount in _list(at(self.container, "volumeMounts")):
            folder = text(mount, "mountPath").rstrip("/")
            if folder and self.flag("cert").startswith(f"{folder}/"):
                volumes = _list(at(self.pod, "volumes"))
                return mount, next((one for one in volumes if text(one, "name") == text(mount, "name")), None)
        return None, None


@dataclass(frozen=True, kw_only=True, eq=False)
class Pods:
    """Pods that want a role of Kiam, or that stand where it hands roles out."""

    workload: Workload
    role: str
    """Their annotation; empty without one."""

    @property
    def external_id(self) -> str | None:
        """What they bring to a role of another account."""
        return text(self.workload.pod_annotations, EXTERNAL_ID) or None


@dataclass(frozen=True, kw_only=True, eq=False)
class Kiam:
    """Kiam in one cluster."""

    graph: Graph
    agent: Part | None
    server: Part | None

    @property
    def parts(self) -> list[Part]:
        """What there is of agent and server."""
        return [part for part in (self.agent, self.server) if part]

    @property
    def resource(self) -> Resource:
        """What installs it."""
        return self.parts[0].resource

    def covers(self, resource: Resource) -> bool:
        """Whether a Kubernetes object goes to the cluster that this Kiam is in."""
        return len(self.graph.of_type(*_CLUSTERS)) < 2 or resource.provider == self.resource.provider

    @cached_property
    def nodes(self) -> list[Nodes]:
        """The node groups of its cluster, as far as the program makes them."""
        groups = node_groups(self.graph)
        behind = self.graph.waits_for(self.resource.urn)
        names = {text(properties(one), "name") for one in self.graph.of_type(*_CLUSTERS) if one.urn in behind}
        return [group for group in groups if not names or not group.cluster or group.cluster in names]

    def nodes_of(self, pod: object) -> list[Nodes]:
        """The node groups that pods with some spec may run on."""
        return [group for group in self.nodes if group.takes(pod)]

    @cached_property
    def server_nodes(self) -> list[Nodes]:
        """The node groups that servers run on."""
        return self.nodes_of(self.server.pod) if self.server else []

    @cached_property
    def agent_nodes(self) -> set[Resource]:
        """The node groups that agents run on."""
        return {nodes.group for nodes in self.nodes_of(self.agent.pod)} if self.agent else set()

    @property
    def server_role_arn(self) -> str:
        """The role that the server assumes before it assumes any other; empty where it uses the one that it has."""
        return self.resolve(self.server.flag("assume-role-arn")) if self.server else ""

    @cached_property
    def made_namespaces(self) -> Sequence[tuple[str, Resource]]:
        """What the program makes or patches of its cluster's namespaces, each with its name; several may share one."""
        made = [one for one in self.graph.of_type(*_NAMESPACES) if self.covers(one)]
        return [(text(properties(one), "metadata", "name") or one.name, one) for one in made]

    @cached_property
    def namespaces(self) -> Mapping[str, Resource]:
        """The same by name; of several that with the annotation."""
        return dict(
            sorted(
                self.made_namespaces,
                key=lambda one: PERMITTED in _mapping(at(properties(one[1]), "metadata", "annotations")),
            )
        )

    def permitted(self, namespace: str) -> str | None:
        """The expression of a namespace, empty without one; None where the program does not make the namespace."""
        made = self.namespaces.get(namespace)
        return None if made is None else text(properties(made), "metadata", "annotations", PERMITTED)

    def wish(self, workload: Workload) -> Pods | None:
        """The pods of a workload of its cluster, if they have the annotation or stand where roles are permitted."""
        if not self.covers(workload.resource) or workload.resource in {part.resource for part in self.parts}:
            return None
        role = text(workload.pod_annotations, ROLE)
        return Pods(workload=workload, role=role) if role or self.permitted(workload.namespace) else None

    @cached_property
    def pods(self) -> list[Pods]:
        """All pods that it gives a role, or might be expected to."""
        return [pods for pods in map(self.wish, workloads(self.graph)) if pods]

    @cached_property
    def base_arn(self) -> str:
        """What Kiam puts before the name of a role; empty where it asks the metadata service and nobody can tell."""
        if self.server is None:
            return ""
        if given := self.server.flag("role-base-arn"):
            return given
        arns = [self.server.flag("assume-role-arn"), *(nodes.role_arn for nodes in self.server_nodes)]
        return next((f"{arn.partition(':role/')[0]}:role/" for arn in arns if ":role/" in arn), "")

    def resolve(self, role: str) -> str:
        """The ARN of a role as Kiam makes it of a name, a path and name, or an ARN; empty of nothing."""
        if not role or role.startswith("arn:"):
            return role
        return f"{self.base_arn}{role.removeprefix('/')}"

    @property
    def intercepts(self) -> str:
        """Why the agent leaves the metadata requests of pods alone; empty where it answers them."""
        agent = self.agent
        if agent is None:
            return "there is no Kiam agent"
        if agent.flag("iptables") in {"", "true"} and "iptables" in agent.flags:
            interface = agent.flag("host-interface")
            charts = {text(properties(one), "chart").rpartition("/")[2] for one in self.graph.of_type(*RELEASES)}
            pods = {"eni+", *(_INTERFACES[chart] for chart in charts & _INTERFACES.keys())}
            if interface in pods or re.fullmatch(r"!\w+\+?", interface):
                return ""
            allowed = " or ".join(sorted(pods))
            return f"the agent catches what comes in by {interface or 'no interface'}, and pods come by {allowed}"
        return "the agent adds no iptables rule, so nothing leads metadata requests to it"

    def admits(self, pods: Pods) -> Decision:
        """Decide what the server decides before it asks AWS: by the annotation and by the namespace's expression."""
        name = pods.workload.label
        if pods.workload.host_network:
            return _refused(
                Cause.ACTION, f"{name} shares the network of its node, where the agent's rule does not reach"
            )
        if self.intercepts:
            return _refused(Cause.ACTION, self.intercepts)
        if self.server is None:
            return _refused(Cause.NO_PROVIDER, "there is no Kiam server for the agent to ask")
        if not pods.role:
            return _refused(
                Cause.VALUE, f"the pods of {name} have no annotation {ROLE}; Kiam answers them with no role"
            )
        role_arn, namespace = self.resolve(pods.role), pods.workload.namespace
        expression = self.permitted(namespace)
        if not role_arn.startswith("arn:"):
            return Decision(False, f"the base ARN that goes before {pods.role} is not known", undecided=True)
        if expression is None:
            reason = f"the program does not make namespace {namespace}, so what it permits is not known"
            return Decision(False, reason, undecided=True)
        if not expression:
            return _refused(
                Cause.NO_ALLOW, f"namespace {namespace} has no annotation {PERMITTED}, so it permits no role"
            )
        strict = "disable-strict-namespace-regexp" not in self.server.flags
        try:
            matches = permits(expression, role_arn, strict=strict)
        except ValueError as problem:
            return _refused(Cause.MALFORMED, f"{PERMITTED} of namespace {namespace} is no expression: {problem}")
        anchored = f"^{expression}$" if strict else expression
        if not matches:
            return _refused(Cause.RESOURCE, f"{anchored} of namespace {namespace} does not match {role_arn}")
        return Decision(True, f"namespace {namespace} permits {anchored}, which matches {role_arn}")


def installations(graph: Graph) -> list[Kiam]:
    """Return every Kiam of a program: a release of its chart, or the objects of one cluster that run its image."""
    found = [
        Kiam(graph=graph, agent=parts.get("agent"), server=parts.get("server"))
        for parts in map(_of_release, graph.of_type(*RELEASES))
        if parts
    ]
    by_provider: dict[str, dict[str, Part]] = {}
    for part in (part for resource in graph.of_type(*_WORKLOADS) for part in _of_object(resource)):
        by_provider.setdefault(part.resource.provider, {}).setdefault(part.kind, part)
    objects = [
        Kiam(graph=graph, agent=kinds.get("agent"), server=kinds.get("server")) for kinds in by_provider.values()
    ]
    return found + objects


def first_steps(graph: Graph, node_role_arn: str) -> set[str]:
    """Return the policies that let a node's role become Kiam's server and nothing else: ARNs, and URNs of inline ones.

    Empty where no server runs on the nodes with this role.
    """
    servers = {
        kiam.server_role_arn
        for kiam in installations(graph)
        if kiam.server_role_arn and node_role_arn in {nodes.role_arn for nodes in kiam.server_nodes}
    }
    found: set[str] = set()
    for policy in graph.of_type("aws:iam/policy:Policy", "aws:iam/rolePolicy:RolePolicy") if servers else ():
        values = properties(policy)
        with suppress(ValueError):  # a document that IAM would refuse lets nobody become anything
            grants = normal_form(text(values, "policy"))
            if grants and all(grant[:3] == ("Allow", "sts:assumerole", grant[2]) for grant in grants):
                targets = {grant[2] for grant in grants}
                found |= {text(values, "arn") or policy.urn} if targets <= servers else set()
    return found


def permits(expression: str, role_arn: str, *, strict: bool = True) -> bool:
    """Whether a namespace's expression matches a role, as the server finds out.

    It puts ^ before and $ behind the text without grouping it, so in `a|b` only one end of each half is held.

    Raises:
        ValueError: Go's regular expressions do not have this one; the server then refuses every request.

    """
    foreign = re.search(r"\(\?(?:[=!>(#]|<[=!]|P=)|(?<!\\)(?:\\\\)*\\[1-9]|(?<!\\)[*+?}]\+", expression)
    if foreign:
        raise ValueError(f"Go's regular expressions have no {foreign[0]}")
    try:
        return re.search(f"^{expression}$" if strict else expression, role_arn) is not None
    except re.error as problem:
        raise ValueError(str(problem)) from None


def alternatives(expression: str) -> list[str]:
    """The halves of an expression that | splits outside every group; one where nothing does."""
    halves, depth, position = [""], 0, 0
    while position < len(expression):
        letter = expression[position]
        if letter == "\\":
            halves[-1] += expression[position : position + 2]
            position += 2
            continue
        if letter == "[" and (end := expression.find("]", position + 2)) > 0:
            halves[-1] += expression[position : end + 1]
            position = end + 1
            continue
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "|" and depth == 0:
            halves.append("")
        else:
            halves[-1] += letter
        position += 1
    return halves


def seconds(duration: str) -> float | None:
    """The length of a duration as Go writes it, such as 15m or 1h30m; None where it is none."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|m|s)", duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        return None
    return sum(float(number) * units[unit] for number, unit in parts)


def _refused(cause: Cause, reason: str) -> Decision:
    return refusal(Miss(cause, reason))


def _list(found: object) -> list[object]:
    return cast("list[object]", found) if isinstance(found, list) else []


def _of_object(resource: Resource) -> Iterator[Part]:
    values = properties(resource)
    pod = at(values, "spec", "template", "spec")
    for container in _list(at(pod, "containers")):
        words = [str(word) for key in ("command", "args") for word in _list(at(container, key))]
        kind = next((word for word in words if word in {"agent", "server"}), "")
        if _IMAGE.fullmatch(text(container, "image")) and kind:
            yield Part(
                kind="agent" if kind == "agent" else "server",
                resource=resource,
                namespace=text(values, "metadata", "namespace") or "default",
                account=text(pod, "serviceAccountName") or "default",
                pod=cast("Mapping[str, object]", pod),
                update_strategy=text(values, "spec", "updateStrategy", "type") or "RollingUpdate",
            )


def _of_release(release: Resource) -> dict[str, Part]:
    """Return the pods that the chart makes of its values; nothing for another chart."""
    inputs = properties(release)
    if re.fullmatch(r"kiam(-[\d.]+\.tgz)?", text(inputs, "chart").rstrip("/").rpartition("/")[2]) is None:
        return {}
    values = at(inputs, "values")
    name = full_name(values, text(inputs, "name") or release.name, "kiam")
    found: dict[str, Part] = {}
    for kind in ("agent", "server"):
        given = at(values, kind)
        if at(given, "enabled") is False:
            continue
        account = at(values, "serviceAccounts", kind)
        made = at(account, "create") is not False
        deployment = at(given, "deployment", "enabled") is True
        found[kind] = Part(
            kind=kind,
            resource=release,
            namespace=text(inputs, "namespace") or "default",
            account=text(account, "name") or (f"{name}-{kind}" if made else "default"),
            pod=_agent(values, name) if kind == "agent" else _server(values, name),
            update_strategy="RollingUpdate" if deployment else str(at(given, "updateStrategy") or "OnDelete"),
        )
    return found


class _Values:
    """The values of one half of the chart, over the chart's own."""

    def __init__(self, values: object, kind: Literal["agent", "server"]) -> None:
        self._given = at(values, kind)
        self._kind = kind
        self._service = at(values, "server", "service")

    def __call__(self, path: str, default: object = None) -> object:
        found = at(self._given, *path.split("."))
        return default if found is None else found

    def port(self, name: str) -> object:
        """A port of the server's service."""
        found = at(self._service, name)
        return 443 if found is None else found

    def common(self, name: str) -> tuple[list[str], list[object], list[object]]:
        """The arguments, volumes and mounts that both halves have."""
        arguments = [f"--level={self('log.level', 'info')}"]
        for flag, file in (("cert", "cert"), ("key", "key"), ("ca", "ca")):
            arguments.append(f"--{flag}=/etc/kiam/tls/{self(f'tlsCerts.{file}FileName', file)}")
        if self("prometheus.scrape", True) is True:
            arguments.append(f"--prometheus-listen-addr=0.0.0.0:{self('prometheus.port', 9620)}")
        volumes: list[object] = [
            {"name": "tls", "secret": {"secretName": self("tlsSecret") or f"{name}-{self._kind}"}},
        ]
        mounts: list[object] = [{"name": "tls", "mountPath": "/etc/kiam/tls"}]
        return arguments, volumes, mounts

    def pod(
        self, arguments: Sequence[str], volumes: list[object], mounts: list[object], spec: Mapping[str, object]
    ) -> dict[str, object]:
        """The pod spec, with what both halves let everybody add."""
        extra = self("extraArgs", {})
        more = [f"--{key}={value}" if value else f"--{key}" for key, value in _mapping(extra).items()]
        for mount in _list(self("extraHostPathMounts")):
            volumes.append({"name": text(mount, "name"), "hostPath": {"path": text(mount, "hostPath")}})
            mounts.append({"name": text(mount, "name"), "mountPath": text(mount, "mountPath")})
        container = {
            "name": f"kiam-{self._kind}",
            "image": f"{self('image.repository', 'quay.io/uswitch/kiam')}:{self('image.tag', 'v4.0')}",
            "command": ["/kiam", self._kind],
            "args": [*arguments, *more],
            "env": self("extraEnv", []),
            "volumeMounts": mounts,
        }
        kept = {key: self(key) for key in ("nodeSelector", "tolerations", "affinity", "priorityClassName") if self(key)}
        return {**spec, **kept, "containers": [container], "volumes": volumes}


def _agent(values: object, name: str) -> dict[str, object]:
    value = _Values(values, "agent")
    arguments, volumes, mounts = value.common(name)
    arguments += ["--iptables"] if value("host.iptables") is True else []
    arguments += [] if value("host.iptablesRemoveOnShutdown") is True else ["--no-iptables-remove"]
    arguments += [f"--host-interface={value('host.interface', 'cali+')}", f"--port={value('host.port', 8181)}"]
    arguments += [f"--server-address={name}-server:{value.port('port')}"]
    arguments += [f"--gateway-timeout-creation={value('gatewayTimeoutCreation', '1s')}"]
    if value("allowRouteRegexp"):
        arguments.append(f"--allow-route-regexp={value('allowRouteRegexp')}")
    dns = value("dnsPolicy", "ClusterFirstWithHostNet")
    return value.pod(arguments, volumes, mounts, {"hostNetwork": True, "dnsPolicy": dns})


def _server(values: object, name: str) -> dict[str, object]:
    value = _Values(values, "server")
    arguments, volumes, mounts = value.common(name)
    arguments.append(f"--bind=0.0.0.0:{value.port('targetPort')}")
    base = value("roleBaseArn")
    arguments.append(f"--role-base-arn={base}" if base else "--role-base-arn-autodetect")
    if value("assumeRoleArn"):
        arguments.append(f"--assume-role-arn={value('assumeRoleArn')}")
    arguments.append(f"--session-duration={value('sessionDuration', '15m')}")
    if value("disableStrictNamespaceRegexp") is True:
        arguments.append("--disable-strict-namespace-regexp")
    if authorities := value("sslCertHostPath", "/usr/share/ca-certificates"):
        volumes.append({"name": "ssl-certs", "hostPath": {"path": authorities}})
        mounts.append({"name": "ssl-certs", "mountPath": "/etc/ssl/certs"})
    return value.pod(arguments, volumes, mounts, {"hostNetwork": value("useHostNetwork") is True})


def _mapping(found: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", found) if isinstance(found, Mapping) else {}
