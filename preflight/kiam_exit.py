"""The guide out of Kiam: every workload to an identity of its account, then Kiam, its nodes' rules and its roles.

Workloads that the stack file declares below `kiam` are run with the settings changed as a person would change them,
in three commits; for what is wired by hand the steps say what to write.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TypeAlias, cast

from preflight import program, stack_file
from preflight.diff import StackDiff, stack_diff
from preflight.errors import BadInputError, ProgramFailedError
from preflight.graph import Graph, Resource
from preflight.identities import ANNOTATION, Way, Wiring
from preflight.journey import Journey, Move, Reason, Stay, Step
from preflight.kiam import PERMITTED, ROLE, Kiam, Pods
from preflight.program import Recording, Running
from preflight.workloads import at, properties, text

_SETTING = "kiam"
_WORKLOADS = "kiam.workloads"
_LATER = "identities"
"""The section of the stack file that a workload ends in."""

_VARIABLES = {"irsa": "AWS_WEB_IDENTITY_TOKEN_FILE", "pod-identity": "AWS_CONTAINER_CREDENTIALS_FULL_URI"}
"""What pods have in their environment once they no longer need Kiam."""

_UNKNOWN = (
    "How old the SDKs in the pods are. One that is too old goes on to ask the metadata service: Kiam as long as it is "
    "there, nobody afterwards. IRSA wants boto3 1.9.220, Go v1 1.23.13, Java 1.11.704 or 2.10.11, AWS CLI 1.16.232 or "
    "later; the rest stands in https://docs.aws.amazon.com/eks/latest/userguide/iam-roles-for-service-accounts-minimum-sdk.html",
    "Pods of other programs. All that want a role of Kiam: kubectl get pods -A -o "
    "'custom-columns=NAMESPACE:.metadata.namespace,POD:.metadata.name,ROLE:.metadata.annotations.iam\\.amazonaws\\.com/role'",
    "Roles elsewhere that trust the server's role; IAM keeps a dead id in their trust once it is gone.",
)

_Config: TypeAlias = dict[str, str]
_Entry: TypeAlias = dict[str, object]


def leave_kiam(running: Running, recording: Recording) -> Journey:
    """Guide every workload of a stack out of Kiam, and Kiam out of the stack."""
    return _Exit(running, recording).journey()


@dataclass(frozen=True)
class _Commits:
    """What the three commits of declared workloads change: both ways, out, and no Kiam."""

    graphs: tuple[Graph, ...] = ()
    diffs: tuple[StackDiff, ...] = ()


@dataclass
class _Exit:
    running: Running
    recording: Recording
    graph: Graph = field(init=False)
    wiring: Wiring = field(init=False)

    def __post_init__(self) -> None:
        self.graph = Graph.of(self.recording)
        self.wiring = Wiring(self.graph)

    @property
    def stack(self) -> str:
        return self.recording["stack"]

    @property
    def key(self) -> str:
        return f"{self.running.program.project}:{_SETTING}"

    def journey(self) -> Journey:
        declared = self.declared()
        commits = self.run(declared)
        moves: list[Move] = []
        stays: list[Stay] = []
        for name, entry in declared.items():
            if "roleArn" in entry:
                stays.append(self.foreign(name, self.line(name)))
            else:
                moves.append(self.of_entry(name, str(entry.get("exit") or "irsa"), commits))
        for kiam in self.wiring.kiams:
            for pods in kiam.pods:
                if not pods.role or self.declares(pods, declared):
                    continue
                way = self.wiring.kiam_way(kiam, pods)
                where = pods.workload.resource.where
                if way.role is None:
                    stays.append(self.foreign(pods.workload.label, where))
                else:
                    moves.append(
                        Move(workload=pods.workload.label, where=where, steps=tuple(self.by_hand(kiam, pods, way)))
                    )
        if not stays:
            moves += [self.teardown(kiam, commits) for kiam in self.wiring.kiams]
        return Journey(
            guide="leave-kiam",
            stack=self.stack,
            first=tuple(self.first()),
            moves=tuple(moves),
            stays=tuple(stays),
            arrived=() if self.wiring.kiams else ("this stack has no Kiam",),
            unknown=_UNKNOWN,
        )

    # ---- what the stack file declares --------------------------------------------------------------------------------

    def declared(self) -> dict[str, _Entry]:
        """Return the workloads that the stack file has, by namespace and account."""
        path = self.running.program.stack_file(self.stack)
        if not path.is_file():
            return {}
        config = at(stack_file.read(path).values, "config")
        entries = at(config, self.key, "workloads")
        found = cast("Mapping[str, _Entry | None]", entries) if isinstance(entries, Mapping) else {}
        return {name: dict(entry or {}) for name, entry in found.items()}

    def declares(self, pods: Pods, declared: Mapping[str, _Entry]) -> bool:
        """Whether pods are a test of a declared workload, which moves with it."""
        names = {f"{pods.workload.namespace}/{text(pods.workload.resource.inputs, 'metadata', 'name')}"}
        return bool(names & declared.keys()) and bool(pods.workload.resource.parent)

    def line(self, name: str) -> str:
        return self.running.line(self.stack, f"{_WORKLOADS}.{name}")

    def run(self, declared: Mapping[str, _Entry]) -> _Commits:
        """Run the program as it is after each of the three commits."""
        if not declared:
            return _Commits()
        moving = {name: entry for name, entry in declared.items() if "roleArn" not in entry}
        edits: list[Callable[[_Config], _Config]] = [
            lambda config: self.both(config, moving),
            lambda config: self.out(self.both(config, moving), moving),
        ]
        if len(moving) == len(declared):
            edits.append(lambda config: self.without(self.out(self.both(config, moving), moving)))
        directory = self.running.program.directory
        with program.start(directory, [self.stack], modes=("update",), edits=edits) as again:
            try:
                recordings = [self.recording, *again.checked()[self.stack]]
            except (BadInputError, ProgramFailedError) as problem:
                raise type(problem)(
                    f"The program does not run with its workloads outside Kiam.\n{problem}"
                ) from problem
        diffs = [stack_diff(one, next_) for one, next_ in pairwise(recordings)]
        return _Commits(tuple(map(Graph.of, recordings)), tuple(diffs))

    def both(self, config: _Config, moving: Mapping[str, _Entry]) -> _Config:
        """Let every workload have its role by its account too."""
        section = json.loads(config[self.key])
        for name in moving:
            section["workloads"][name] = {"exit": "irsa", **(section["workloads"][name] or {})}
        return {**config, self.key: json.dumps(section)}

    def out(self, config: _Config, moving: Mapping[str, _Entry]) -> _Config:
        """Declare the workloads among the identities only."""
        key = f"{self.running.program.project}:{_LATER}"
        section, later = json.loads(config[self.key]), json.loads(config.get(key, "{}"))
        for name in moving:
            entry = section["workloads"].pop(name)
            later[name] = {**(entry.get("identity") or {}), "mechanism": entry["exit"]}
        return {**config, self.key: json.dumps(section), key: json.dumps(later)}

    def without(self, config: _Config) -> _Config:
        """Take Kiam out, with the nodes of its server."""
        rest = {key: value for key, value in config.items() if key != self.key}
        key = f"{self.running.program.project}:cluster"
        cluster = json.loads(config[key])
        for name in self.server_groups(cluster.get("nodeGroups", {})):
            del cluster["nodeGroups"][name]
        return {**rest, key: json.dumps(cluster)}

    def server_groups(self, names: Mapping[str, object]) -> list[str]:
        """Return which of these node groups only Kiam's server runs on."""
        groups = {nodes.group.name for kiam in self.wiring.kiams for nodes in kiam.server_nodes if not nodes.takes({})}
        return [name for name in names if any(group == name or group.endswith(f"-{name}") for group in groups)]

    # ---- steps -------------------------------------------------------------------------------------------------------

    def first(self) -> Iterator[Step]:
        if self.wiring.kiams and self.wiring.providers == []:
            yield Step(
                do="Register the issuer of the cluster with IAM as an OIDC provider, and run `pulumi up`.",
                undo="Leave it: it does nothing by itself.",
            )

    @staticmethod
    def foreign(workload: str, where: str) -> Stay:
        return Stay(
            workload=workload,
            where=where,
            reasons=(
                Reason(
                    why="the program does not make its role",
                    change="let the role trust the account's tokens where it is made, then move the workload",
                ),
            ),
        )

    def of_entry(self, name: str, mechanism: str, commits: _Commits) -> Move:
        line, namespace = self.line(name), name.partition("/")[0]
        urns = {
            one.urn
            for graph in commits.graphs
            for role in graph.of_type("aws:iam/role:Role")
            if self.of_declared(graph, role, name)
            for one in graph.descendants(role.parent)
        }
        urns |= {kiam.namespaces[namespace].urn for kiam in self.wiring.kiams if namespace in kiam.namespaces}
        both, out = (_about(diff, urns, name) for diff in commits.diffs[:2])
        steps: list[Step] = []
        if not both.same:
            steps.append(
                Step(
                    do=f"Write `exit: {mechanism}` below {name} in {line}, and run `pulumi up`: its role then admits "
                    "the account beside Kiam's server.",
                    undo="Take it back: Kiam goes on as before.",
                    changes=both,
                )
            )
        steps.append(self.restart(namespace, name.partition("/")[2], mechanism))
        steps.append(
            Step(
                do=f"Move {name} from `{_WORKLOADS}` to `{_LATER}` with `mechanism: {mechanism}`, and run `pulumi up`. "
                f"Then take the annotation {ROLE} off its pods.",
                undo=f"Move it back, with `exit: {mechanism}`.",
                changes=out,
            )
        )
        return Move(workload=name, where=line, steps=tuple(steps))

    @staticmethod
    def of_declared(graph: Graph, role: Resource, name: str) -> bool:
        """Whether a role is that of a declared workload: its component, or the role itself, is called after it."""
        if not role.parent:
            return False
        dotted = name.replace("/", ".")
        return dotted in role.name or dotted in graph.resources[role.parent].name

    def restart(self, namespace: str, account: str, mechanism: str) -> Step:
        columns = "custom-columns=POD:.metadata.name,ENV:.spec.containers[*].env[*].name"
        selector = f"--field-selector spec.serviceAccountName={account}"
        return Step(
            do=f"Set serviceAccountName to {account} in the template of its pods, which restarts them. Go on when each "
            f"has {_VARIABLES[mechanism]}: SDKs take that before they ask the metadata service, so before Kiam.",
            commands=(f"kubectl -n {namespace} get pods {selector} -o '{columns}'",),
            undo="Take serviceAccountName back: the pods ask the metadata service again, and Kiam answers.",
        )

    def by_hand(self, kiam: Kiam, pods: Pods, way: Way) -> Iterator[Step]:
        role, workload = cast("Resource", way.role), pods.workload
        account = workload.account if workload.account != "default" else "ACCOUNT"
        if not any(wire.role_arn == way.role_arn for wire in self.wiring.wires(workload)):
            yield Step(
                do=f"Let {role.name} trust the tokens of {workload.namespace}/{account} beside Kiam's server, make the "
                f"account with {ANNOTATION}: {way.role_arn}, and run `pulumi up`.",
                undo="Take it back: Kiam goes on as before.",
            )
        yield self.restart(workload.namespace, account, "irsa")
        yield Step(
            do=f"Take {ROLE} off the pods of {workload.label}, then {_short(kiam.server_role_arn)} out of the trust of "
            f"{role.name}, then {PERMITTED} off namespace {workload.namespace} with its last such pod, and run "
            "`pulumi up`.",
            undo="Put all three back.",
        )

    def teardown(self, kiam: Kiam, commits: _Commits) -> Move:
        return Move(
            workload="Kiam",
            where=self.running.line(self.stack, _SETTING) if commits.graphs else kiam.resource.where,
            steps=tuple(self._teardown(kiam, commits)),
        )

    def _teardown(self, kiam: Kiam, commits: _Commits) -> Iterator[Step]:
        agent_groups = sorted(group.name for group in kiam.agent_nodes)
        servers = sorted(nodes.group.name for nodes in kiam.server_nodes if not nodes.takes({}))
        gone = f", and node group {', '.join(servers)}" if servers else ""
        what = (
            f"Remove section `{_SETTING}`" if commits.graphs else f"Remove {kiam.resource.name}, its Secrets and roles"
        )
        own = {part.secret for part in kiam.parts if part.secret}
        made = {text(properties(one), "metadata", "name") for one in self.graph.of_type("kubernetes:core/v1:Secret")}
        yield Step(
            do=f"{what}{gone}, and run `pulumi up`. No pod may want a role of Kiam any more.",
            commands=(
                "kubectl get pods -A -o 'custom-columns=POD:.metadata.name,"
                "ROLE:.metadata.annotations.iam\\.amazonaws\\.com/role' | grep -v '<none>'",
            ),
            undo="Put it back. Roles that still name the server's role have to be saved again: they trust its old id.",
            changes=commits.diffs[2] if len(commits.diffs) > 2 else None,
        )
        if by_hand := sorted(own - made):
            yield Step(
                do="Delete the Secrets with Kiam's keys, which this program does not make.",
                commands=tuple(f"kubectl -n {kiam.parts[0].namespace} delete secret {name}" for name in by_hand),
                undo="Make them anew, with new keys.",
            )
        if kiam.agent and "no-iptables-remove" in kiam.agent.flags:
            groups = ", ".join(agent_groups) or "where an agent ran"
            yield Step(
                do=f"Replace the nodes of {groups}, one at a time: each still has the agent's rule, which leads "
                "metadata requests to a port where nobody listens.",
                commands=(
                    "kubectl drain NODE --ignore-daemonsets --delete-emptydir-data",
                    "aws autoscaling terminate-instance-in-auto-scaling-group --instance-id INSTANCE "
                    "--no-should-decrement-desired-capacity",
                ),
                undo="None is needed: new nodes are as they were before Kiam.",
            )
        open_ = [nodes.group.name for nodes in kiam.nodes if nodes.reach(host_network=False).admitted]
        if open_:
            yield Step(
                do=f'Set http_put_response_hop_limit=1 and http_tokens="required" for {", ".join(open_)}, and run '
                "`pulumi up`: without the rule pods there reach the role of their node.",
                undo="Set them back.",
            )


def _about(diff: StackDiff, urns: set[str], name: str) -> StackDiff:
    """Return of a difference what concerns one workload: its component, its account and what is named after it."""
    dotted = name.replace("/", ".")
    return replace(
        diff,
        rights=tuple(one for one in diff.rights if one.urn in urns),
        resources=tuple(one for one in diff.resources if one.urn in urns or dotted in one.urn),
        newly=tuple(one for one in diff.newly if one.account == name),
        no_longer=tuple(one for one in diff.no_longer if one.account == name),
        outputs=(),
    )


def _short(role_arn: str) -> str:
    return role_arn.rpartition("/")[2]
