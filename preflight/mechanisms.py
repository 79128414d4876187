"""The guides between IRSA and EKS Pod Identity: which workloads can move, which cannot and why, and by which steps.

A role moves with every account that takes it. What the steps of an identity change that the stack file declares is
found by running the program with its `mechanism` changed; for one that is wired by hand, by editing the recording as
a person would edit the program.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Literal, TypeAlias, cast

from preflight import program, stack_file
from preflight.access import (
    ASSUME_ROLE,
    POD_IDENTITY_SERVICE,
    TAG_SESSION,
    WEB_IDENTITY,
    PodIdentitySession,
    WebIdentityToken,
    may_assume,
)
from preflight.diff import StackDiff, stack_diff
from preflight.draft import ASSOCIATION, Draft
from preflight.errors import BadInputError, ProgramFailedError
from preflight.graph import Graph, Resource
from preflight.identities import AGENT, ANNOTATION, Identity, Way, Wiring
from preflight.journey import GuideName, Journey, Move, Reason, Stay, Step
from preflight.policies import MalformedError, Statement, parse
from preflight.program import Recording, Running
from preflight.workloads import ADDON, RELEASES, Workload, at, properties, text

_Mechanism: TypeAlias = Literal["irsa", "pod-identity"]
_Raw: TypeAlias = dict[str, object]

_ROLE = "aws:iam/role:Role"
_PROVIDER = "aws:iam/openIdConnectProvider:OpenIdConnectProvider"
_FARGATE = "aws:eks/fargateProfile:FargateProfile"
_SUBJECT = "system:serviceaccount:"
_AUDIENCE = "sts.amazonaws.com"
_SOMEWHERE = "<name of the cluster>"
_SECTION = "identities"
"""The key of a stack file below which identities stand by account, each with a `mechanism`."""

_WORDS: dict[_Mechanism, str] = {"irsa": "IRSA", "pod-identity": "Pod Identity"}
_VARIABLE: dict[_Mechanism, str] = {
    "irsa": "AWS_WEB_IDENTITY_TOKEN_FILE",
    "pod-identity": "AWS_CONTAINER_CREDENTIALS_FULL_URI",
}
"""What the containers of a pod have in their environment."""

_LONGEST_TRUST = 2048
"""Characters of a trust policy, blanks left out, unless AWS has raised the quota.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
"""

# What only a session has that came by this mechanism; a policy that asks for it gives the other one nothing.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html
# https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html
_ONLY: dict[_Mechanism, re.Pattern[str]] = {
    "irsa": re.compile(r"aws:FederatedProvider|oidc[.-]eks\.[^\"]*:(?:sub|aud)", re.IGNORECASE),
    "pod-identity": re.compile(r"aws:PrincipalTag/(?:eks-cluster|kubernetes)-[\w-]+", re.IGNORECASE),
}

_UNKNOWN: dict[_Mechanism, tuple[str, ...]] = {
    "pod-identity": (
        "How old the SDKs in the pods are. Pod Identity wants boto3 1.34.41, Go v1 1.47.11 or v2 of November 2023, "
        "Java 1.12.746 or 2.21.30, AWS CLI 1.30.0 or 2.15.0, or later; all of them: "
        "https://docs.aws.amazon.com/eks/latest/userguide/pod-id-minimum-sdk.html",
        "Nodes that the program does not make. Pods on Fargate, on Windows and outside AWS keep IRSA.",
        "Whether nodes without a way to the internet have the interface endpoint eks-auth.",
        "Policies elsewhere, of buckets, keys or the organisation, that ask for aws:FederatedProvider.",
    ),
    "irsa": (
        "Whether nodes without a way to the internet have the interface endpoint sts.",
        "Policies elsewhere, of buckets, keys or the organisation, that ask for the tags of a Pod Identity session.",
        "Associations that other programs or people made for the same roles.",
    ),
}


def to_pod_identity(running: Running, recording: Recording) -> Journey:
    """Guide every workload of a stack from IRSA to EKS Pod Identity."""
    return _Survey(recording, "irsa", "pod-identity").journey(running, "irsa-to-pod-identity")


def to_irsa(running: Running, recording: Recording) -> Journey:
    """Guide every workload of a stack from EKS Pod Identity to IRSA."""
    return _Survey(recording, "pod-identity", "irsa").journey(running, "pod-identity-to-irsa")


@dataclass(frozen=True)
class _Grant:
    """A role, and every account that takes it or that its trust names."""

    arn: str
    role: Resource | None
    """None where the program does not make it, or its trust cannot be read; `problem` says which."""
    problem: str
    accounts: tuple[Identity, ...]
    trust: tuple[tuple[_Raw, Statement], ...]

    @property
    def workload(self) -> str:
        return ", ".join(map(str, self.accounts)) or f"role {self.name}"

    @property
    def name(self) -> str:
        return self.role.name if self.role else self.arn

    @property
    def tokens(self) -> list[Statement]:
        """What of the trust admits tokens."""
        return [one for _, one in self.trust if _admits(one, "irsa")]

    def wires(self, mechanism: _Mechanism) -> list[tuple[Identity, Way]]:
        """Everything that binds an account to this role by one mechanism."""
        ways = [(one, way) for one in self.accounts for way in one.ways if way.mechanism == _WORDS[mechanism]]
        return [(one, way) for one, way in ways if _bound(way) == self.arn]

    def has(self, mechanism: _Mechanism) -> bool:
        # A trust in Pod Identity is often the same for every role, so there only an association counts.
        return bool(self.wires(mechanism) or (mechanism == "irsa" and self.tokens))


class _Survey:
    """What a stack says of the roles that its pods take."""

    def __init__(self, recording: Recording, source: _Mechanism, target: _Mechanism) -> None:
        self.recording = recording
        self.source: _Mechanism = source
        self.target: _Mechanism = target
        self.graph = Graph.of(recording)
        self.wiring = Wiring(self.graph)
        self.issuers = {one.name: one.issuer.removeprefix("https://") for one in self.wiring.clusters}

    # ---- what there is -----------------------------------------------------------------------------------------------

    @cached_property
    def grants(self) -> list[_Grant]:
        identities = {key: self.wiring.identity(key) for key in [*self.wiring.accounts]}
        members: defaultdict[str, dict[tuple[str, str, str], Identity]] = defaultdict(dict)
        for key, identity in identities.items():
            for way in identity.ways:
                if way.mechanism in _WORDS.values() and (arn := _bound(way)):
                    members[arn][key] = identity
        found: list[_Grant] = []
        for arn, role in self.wiring.roles.items():
            trust, problem = _trust(role)
            for statement in (one for _, one in trust if _admits(one, "irsa")):
                for host, subject in _subjects(statement):
                    namespace, _, account = subject.removeprefix(_SUBJECT).partition(":")
                    homes = [name for name, issuer in self.issuers.items() if issuer == host and self.wiring.several]
                    key = ("".join(homes[:1]), namespace, account)
                    if account and not _is_pattern(subject):
                        members[arn].setdefault(key, identities.get(key) or Identity(*key, (), (), ()))
            accounts = tuple(one for _, one in sorted(members.pop(arn, {}).items()))
            found.append(_Grant(arn, None if problem else role, problem, accounts, tuple(trust)))
        elsewhere = "The program does not make its role, {}."
        found += [_Grant(arn, None, elsewhere.format(arn), tuple(of.values()), ()) for arn, of in members.items()]
        return sorted((one for one in found if one.accounts or one.tokens), key=lambda grant: grant.workload)

    @cached_property
    def _clusters(self) -> set[str]:
        named = {text(properties(one), "clusterName") for one in self.graph.of_type(ADDON, ASSOCIATION)}
        return {*named, *self.issuers} - {""}

    def _cluster(self, identity: Identity) -> str:
        """Return the name of an account's cluster; empty where the program does not say it."""
        return identity.cluster or (next(iter(self._clusters)) if len(self._clusters) == 1 else "")

    @cached_property
    def _providers(self) -> dict[str, str]:
        """The ARNs of the OIDC providers, by issuer without scheme."""
        arns = [text(properties(one), "arn") for one in self.graph.of_type(_PROVIDER)]
        arns += [one.arn for one in self.wiring.providers or ()]
        return {arn.partition(":oidc-provider/")[2]: arn for arn in arns}

    def _issuer(self, identity: Identity) -> str:
        """Return the issuer of an account's cluster; empty where the program does not say it."""
        alone = next(iter(self._providers)) if len(self._providers) == 1 else ""
        return self.issuers.get(self._cluster(identity), "") or alone

    def _owner(self, cluster: str) -> str:
        """Return the AWS account of a cluster, as its own ARN or its nodes' role says; empty where neither is there."""
        arns = [text(properties(one.resource), "arn") for one in self.wiring.clusters if one.name == cluster]
        arns += [nodes.role_arn for nodes in self.wiring.nodes if nodes.cluster == cluster]
        return next((arn.split(":")[4] for arn in arns if arn.count(":") >= 5), "")

    # ---- who cannot move ---------------------------------------------------------------------------------------------

    def reasons(self, grant: _Grant) -> Iterator[Reason]:
        """Say why a role and its accounts cannot move; nothing where they can."""
        if grant.role is None:
            yield Reason(why=grant.problem, change="Follow the steps where the role is made.")
            return
        for identity in grant.accounts:
            for way in identity.ways:
                if way.mechanism == _WORDS[self.target] and (other := _bound(way)) != grant.arn:
                    yield Reason(
                        why=f"By {way.mechanism}, {identity} is bound to another role, {other}.",
                        change="Decide which of the two roles it is to have, and drop the other.",
                    )
        for policy in self.wiring.policies[grant.arn]:
            written = policy.document if isinstance(policy.document, str) else json.dumps(policy.document)
            if found := _ONLY[self.source].search(written):
                yield Reason(
                    why=f"Policy {policy.name} asks for {found[0]}, which only a session by {_WORDS[self.source]} has.",
                    change="Write the policy without it.",
                )
        yield from self._against_pod_identity(grant) if self.target == "pod-identity" else self._against_irsa(grant)
        length = len(re.sub(r"\s", "", _policy([*(raw for raw, _ in grant.trust), *self._lacking(grant)])))
        if length > _LONGEST_TRUST:
            yield Reason(
                why=f"With both mechanisms in it, its trust policy has {length} characters.",
                change=f"IAM takes {_LONGEST_TRUST} unless AWS has raised the quota: give some accounts a second role.",
            )

    def _against_pod_identity(self, grant: _Grant) -> Iterator[Reason]:
        for statement in grant.tokens:
            subjects = [subject for _, subject in _subjects(statement)]
            for pattern in filter(_is_pattern, subjects):
                yield Reason(
                    why=f"Its trust admits a pattern, {pattern.removeprefix(_SUBJECT).replace(':', '/')}.",
                    change="Name each account: an association is for one account of one cluster.",
                )
            if not subjects:
                yield Reason(
                    why="Its trust names no account, so that every pod of the cluster may take it.",
                    change="Name the accounts that are meant.",
                )
        hosts = sorted({host for statement in grant.tokens for host in _hosts(statement)})
        own = set(self.issuers.values()) or set(hosts[:1])
        for host in (one for one in hosts if one not in own):
            yield Reason(
                why=f"Its trust admits the tokens of another cluster too, {host}.",
                change="Let that cluster's program bind its account by an association of its own, and drop the issuer.",
            )
        for identity in grant.accounts:
            owner, role_owner = self._owner(self._cluster(identity)), grant.arn.split(":")[4]
            if owner not in {"", role_owner}:
                yield Reason(
                    why=f"Its role is of AWS account {role_owner}, its cluster of {owner}.",
                    change="Make a role in the cluster's account that goes on to this one: target_role_arn.",
                )
            for workload in identity.workloads:
                if "windows" in (at(workload.pod, "nodeSelector", "kubernetes.io/os"), at(workload.pod, "os", "name")):
                    yield Reason(
                        why=f"Its pods of {workload.label} run on Windows, where there is no agent.",
                        change="Keep IRSA.",
                    )
            for why in self._fargate(identity):
                yield Reason(why=f"{why}; there is no agent on Fargate.", change="Keep IRSA, or take them off Fargate.")
        for one in self.wiring.clusters:
            if at(properties(one.resource), "outpostConfig"):
                yield Reason(why=f"Cluster {one.name} is on an Outpost, without Pod Identity.", change="Keep IRSA.")

    def _against_irsa(self, grant: _Grant) -> Iterator[Reason]:
        for identity, way in grant.wires("pod-identity"):
            values = properties(way.wire)
            if target := text(values, "targetRoleArn"):
                yield Reason(
                    why=f"Its association goes on to another role, {target}.",
                    change="Let that role trust the tokens itself, by an OIDC provider in its own account.",
                )
            if text(values, "policy"):
                yield Reason(
                    why="Its association narrows the role by a session policy, which IRSA has not.",
                    change="Give the workload a role with only these rights.",
                )
            if not self._issuer(identity):
                yield Reason(
                    why=f"The program does not make cluster {self._cluster(identity)}, so its issuer is not known.",
                    change="Look the cluster up in the program, or register its issuer there.",
                )

    def _fargate(self, identity: Identity) -> Iterator[str]:
        for name, of_cluster, selector in self._selectors:
            pattern = text(selector, "namespace")
            if of_cluster not in {"", self._cluster(identity)} or not fnmatchcase(identity.namespace, pattern):
                continue
            wanted = cast("Mapping[str, object]", at(selector, "labels") or {})
            known = [_labels(workload) for workload in identity.workloads]
            if not wanted or any(labels is not None and wanted.items() <= labels.items() for labels in known):
                yield f"{name} takes its pods in namespace {pattern}"
            elif None in known or not known:
                yield f"{name} may take its pods, those in namespace {pattern} with {dict(wanted)}"

    @cached_property
    def _selectors(self) -> list[tuple[str, str, object]]:
        """Whose pods run on Fargate: a name for what says so, the cluster, and its namespace and labels."""
        found: list[tuple[str, str, object]] = []
        for profile in self.graph.of_type(_FARGATE):
            values = properties(profile)
            of_cluster = text(values, "clusterName")
            found += [(f"Fargate profile {profile.name}", of_cluster, one) for one in _items(at(values, "selectors"))]
        for cluster in self.graph.of_type("eks:index:Cluster"):
            fargate = at(properties(cluster), "fargate")
            default: list[object] = [{"namespace": "default"}, {"namespace": "kube-system"}]
            selectors = _items(at(fargate, "selectors")) or (default if fargate else [])
            found += [(f"The Fargate profile of {cluster.name}", "", one) for one in selectors]
        return found

    # ---- what a person does to the program ---------------------------------------------------------------------------

    def _lacking(self, grant: _Grant) -> list[_Raw]:
        """Return the statements without which the trust does not admit every account by the mechanism to move to."""
        found: list[_Raw] = []
        head = ":".join(grant.arn.split(":")[:5])
        for identity in grant.accounts:
            cluster, host = self._cluster(identity), self._issuer(identity)
            subject = f"{_SUBJECT}{identity.namespace}:{identity.account}"
            if self.target == "pod-identity":
                partition, owner = grant.arn.split(":")[1:5:3]
                arn = f"arn:{partition}:eks:*:{owner}:cluster/{cluster or _SOMEWHERE}"
                caller = PodIdentitySession(arn, identity.namespace, identity.account)
                tags = {key: value for key, value in caller.tags.items() if value and not key.endswith("-arn")}
                principal = {"Service": POD_IDENTITY_SERVICE}
                action: object = [ASSUME_ROLE, TAG_SESSION]
                wanted = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
            else:
                caller = WebIdentityToken(f"https://{host}", subject)
                principal = {"Federated": self._providers.get(host, f"{head}:oidc-provider/{host}")}
                action = WEB_IDENTITY
                wanted = {f"{host}:sub": subject, f"{host}:aud": _AUDIENCE}
            decision = may_assume(_policy([raw for raw, _ in grant.trust]), caller)
            if not (decision.admitted or decision.undecided):
                condition = {"StringEquals": wanted}
                found.append({"Effect": "Allow", "Principal": principal, "Action": action, "Condition": condition})
        return found

    def prepare(self, draft: Draft, grants: Sequence[_Grant]) -> Iterator[tuple[str, str]]:
        """Add what clusters lack before any of these can move; yield what to do, and the URN of what was added."""
        accounts = [identity for grant in grants for identity in grant.accounts]
        if self.target == "pod-identity":
            agents = {one.name for one in self.wiring.clusters if one.automatic} | self.wiring.agents
            for cluster in sorted({self._cluster(one) for one in accounts} & self.issuers.keys() - agents):
                urn = draft.add(ADDON, f"{cluster}-{AGENT}", {"clusterName": cluster, "addonName": AGENT})
                yield f"Add the add-on {AGENT} to cluster {cluster}, and run `pulumi up`.", urn
            return
        for host in sorted({self._issuer(one) for one in accounts} - self._providers.keys()):
            name = next(name for name, issuer in self.issuers.items() if issuer == host)
            head = ":".join(grants[0].arn.split(":")[:5])
            inputs: _Raw = {"url": f"https://{host}", "clientIdLists": [_AUDIENCE]}
            urn = draft.add(_PROVIDER, name, inputs, arn=f"{head}:oidc-provider/{host}")
            yield f"Register the issuer of cluster {name} as an OIDC provider with IAM, and run `pulumi up`.", urn

    def wire(self, draft: Draft, grant: _Grant) -> set[str]:
        """Add the mechanism to move to; return the URNs of what that changes."""
        urn = cast("Resource", grant.role).urn
        if lacking := self._lacking(grant):
            draft.put(urn, _policy([*(raw for raw, _ in grant.trust), *lacking]), "assumeRolePolicy")
        changed = {urn}
        wired = [identity for identity, _ in grant.wires(self.target)]
        for identity in (one for one in grant.accounts if one not in wired):
            if self.target == "irsa":
                changed |= draft.annotate(identity, grant.arn)
                continue
            inputs: _Raw = {
                "clusterName": self._cluster(identity) or _SOMEWHERE,
                "namespace": identity.namespace,
                "serviceAccount": identity.account,
                "roleArn": grant.arn,
            }
            changed.add(draft.add(ASSOCIATION, str(identity), inputs, like=urn))
        return changed

    def unwire(self, draft: Draft, grant: _Grant) -> set[str]:
        """Take the mechanism away that it moves from; return the URNs of what that changes."""
        urn = cast("Resource", grant.role).urn
        kept = [raw for raw, one in grant.trust if not _admits(one, self.source)]
        draft.put(urn, _policy([*kept, *self._lacking(grant)]), "assumeRolePolicy")
        changed = {urn}
        for identity, way in grant.wires(self.source):
            changed |= draft.unwire(way, identity)
        return changed

    # ---- the journey -------------------------------------------------------------------------------------------------

    def journey(self, running: Running, guide: GuideName) -> Journey:
        """Put the steps of this stack together."""
        concerned = [grant for grant in self.grants if grant.has(self.source)]
        blocked = {grant.arn: tuple(dict.fromkeys(self.reasons(grant))) for grant in concerned}
        free = [grant for grant in concerned if not blocked[grant.arn]]
        declared = self._declared(running, concerned)
        changes: dict[str, tuple[StackDiff, StackDiff]] = {}

        draft = Draft(self.recording)
        needed = list(self.prepare(draft, free))
        prepared = draft.freeze()
        if by_hand := [grant for grant in free if grant.arn not in declared]:
            wired = {grant.arn: self.wire(draft, grant) for grant in by_hand}
            both = draft.freeze()
            unwired = {grant.arn: self.unwire(draft, grant) for grant in by_hand}
            before, after = stack_diff(prepared, both), stack_diff(both, draft.recording)
            for grant in by_hand:
                changes[grant.arn] = _only(before, grant, wired[grant.arn]), _only(after, grant, unwired[grant.arn])
        if in_the_file := [grant for grant in free if grant.arn in declared]:
            changes |= self._run(running, in_the_file, declared)
        first = stack_diff(self.recording, prepared) if needed else None
        lines = {arn: running.line(self.recording["stack"], f"{_SECTION}.{key}") for arn, key in declared.items()}
        where = {grant.arn: lines.get(grant.arn) or _where(grant) for grant in concerned}
        return Journey(
            guide=guide,
            stack=self.recording["stack"],
            first=tuple(
                Step(do=do, undo="It does nothing by itself.", changes=first and _only(first, None, {urn}))
                for do, urn in needed
            ),
            moves=tuple(
                Move(
                    workload=grant.workload,
                    where=where[grant.arn],
                    steps=tuple(self._steps(grant, declared.get(grant.arn, ""), where[grant.arn], *changes[grant.arn])),
                )
                for grant in free
            ),
            stays=tuple(
                Stay(workload=grant.workload, where=where[grant.arn], reasons=blocked[grant.arn])
                for grant in concerned
                if blocked[grant.arn]
            ),
            arrived=tuple(grant.workload for grant in self.grants if grant not in concerned and grant.has(self.target)),
            unknown=_UNKNOWN[self.target],
        )

    def _declared(self, running: Running, grants: Sequence[_Grant]) -> dict[str, str]:
        """Return the entries of the stack file that declare these roles, by the role's ARN."""
        path = running.program.stack_file(self.recording["stack"])
        if not path.is_file():
            return {}
        entries = at(stack_file.read(path).values, "config", f"{running.program.project}:{_SECTION}")
        keys = cast("Mapping[str, object]", entries) if isinstance(entries, Mapping) else {}
        return {
            grant.arn: f"{identity.namespace}/{identity.account}"
            for grant in grants
            for identity in reversed(grant.accounts)
            if f"{identity.namespace}/{identity.account}" in keys
        }

    def _run(
        self, running: Running, grants: Sequence[_Grant], declared: Mapping[str, str]
    ) -> dict[str, tuple[StackDiff, StackDiff]]:
        """Run the program with the mechanism of these identities changed, twice; return what that changes for each."""
        stack, setting = self.recording["stack"], f"{running.program.project}:{_SECTION}"
        keys = [declared[grant.arn] for grant in grants]

        def changed(mechanism: str) -> Callable[[dict[str, str]], dict[str, str]]:
            def edit(config: dict[str, str]) -> dict[str, str]:
                entries: dict[str, _Raw | None] = json.loads(config[setting])
                edited = {key: {**(entries[key] or {}), "mechanism": mechanism} for key in keys}
                return {**config, setting: json.dumps(entries | edited)}

            return edit

        edits = [changed("both"), changed(self.target)]
        with program.start(running.program.directory, [stack], modes=("update",), edits=edits) as again:
            try:
                both, there = again.checked()[stack]
            except (BadInputError, ProgramFailedError) as problem:
                told = f"The program does not run with another mechanism for {', '.join(keys)}."
                raise type(problem)(f"{told}\n{problem}") from problem
        graphs = [self.graph, Graph.of(both), Graph.of(there)]
        before, after = stack_diff(self.recording, both), stack_diff(both, there)
        found: dict[str, tuple[StackDiff, StackDiff]] = {}
        for grant in grants:
            # Everything that a declaration makes stands below one component.
            parent = cast("Resource", grant.role).parent
            urns = {one.urn for graph in graphs for one in graph.descendants(parent)}
            found[grant.arn] = _only(before, grant, urns), _only(after, grant, urns)
        return found

    def _steps(self, grant: _Grant, key: str, where: str, before: StackDiff, after: StackDiff) -> Iterator[Step]:
        accounts, role = " and ".join(map(str, grant.accounts)), grant.name
        if key:
            wire, unwire = (f"Write `mechanism: {one}` for {key} at {where}" for one in ("both", self.target))
        elif self.target == "pod-identity":
            wire = f"Let {role} trust EKS Pod Identity too, and bind {accounts} to it by an association"
            unwire = f"Take the annotation off {accounts}, and tokens out of the trust of {role}"
        else:
            wire = f"Let {role} trust the tokens of the cluster too, and annotate {accounts} with its ARN"
            unwire = f"Remove the association of {accounts}, and EKS Pod Identity from the trust of {role}"
        then = " Then have {} off {}, which this program does not make."
        if self.target == "irsa":
            then = " Then have {} put on {}, which this program does not make."
        others = " and ".join(str(one) for one in grant.accounts if not one.made_by)
        note = then.format(f"the annotation {ANNOTATION}", others) if others else ""
        commands = tuple(line for identity in grant.accounts for line in _restart(identity))
        variable = _VARIABLE[self.target]
        if self.target == "pod-identity":
            if not before.same:
                undo = "Take it back, and restart what has started meanwhile."
                yield Step(do=f"{wire}, and run `pulumi up`.", changes=before, undo=undo)
            yield Step(
                do="Restart the pods a minute later: an association takes a moment, and pods keep what they started "
                f"with. Go on when each of them has {variable}.",
                commands=commands,
                undo="Take the step before back, and restart them again.",
            )
            undo = "Take it back; no pod has to be restarted."
            yield Step(do=f"{unwire}, and run `pulumi up`.{note}", changes=after, undo=undo)
            return
        if not before.same:
            undo = "Take it back: no pod has noticed, for the association wins while it is there."
            yield Step(do=f"{wire}, and run `pulumi up`.{note}", changes=before, undo=undo)
        undo = "Take it back; pods that have started meanwhile keep IRSA until their next start."
        yield Step(do=f"{unwire}, and run `pulumi up`.", changes=after, undo=undo)
        yield Step(
            do="Restart the pods at once: what they hold runs out and cannot be renewed. It is done when each of them "
            f"has {variable}.",
            commands=commands,
            undo="Take the step before back, and restart them again.",
        )


def _restart(identity: Identity) -> Iterator[str]:
    kubectl = f"kubectl -n {identity.namespace}"
    for workload in identity.workloads:
        kind = workload.resource.type.rpartition(":")[2]
        name = text(workload.resource.inputs, "metadata", "name")
        if kind in ("DaemonSet", "Deployment", "StatefulSet") and name:
            yield f"{kubectl} rollout restart {kind.lower()}/{name}"
    # Finds the rest too: what a chart makes, or somebody else, is not in the program.
    columns = "custom-columns=POD:.metadata.name,ENV:.spec.containers[*].env[*].name"
    yield f"{kubectl} get pods --field-selector spec.serviceAccountName={identity.account} -o '{columns}'"


def _only(diff: StackDiff, grant: _Grant | None, urns: set[str]) -> StackDiff:
    """Return of a difference what concerns these resources, and the accounts of a role."""
    names = {str(identity) for identity in grant.accounts} if grant else set[str]()
    return replace(
        diff,
        rights=tuple(one for one in diff.rights if one.urn in urns),
        resources=tuple(one for one in diff.resources if one.urn in urns),
        newly=tuple(one for one in diff.newly if one.account in names),
        no_longer=tuple(one for one in diff.no_longer if one.account in names),
        outputs=(),
    )


def _where(grant: _Grant) -> str:
    wires = [way.wire for mechanism in _WORDS for _, way in grant.wires(mechanism)]
    return next((one.where for one in (*([grant.role] if grant.role else []), *wires) if one.where), "")


def _bound(way: Way) -> str:
    """Return the role that a wire itself names; an association may go on from there."""
    return text(properties(way.wire), "roleArn") if way.wire.type == ASSOCIATION else way.role_arn


def _trust(role: Resource) -> tuple[list[tuple[_Raw, Statement]], str]:
    """Return the statements of a role's trust policy, raw and read, or why there are none."""
    if role.read:
        return [], "The program looks its role up and does not make it."
    document = text(properties(role), "assumeRolePolicy")
    try:
        statements = parse(document, trust=True)
    except MalformedError as problem:
        return [], f"IAM would refuse the trust policy of its role: {problem}."
    return list(zip(_statements(document), statements, strict=True)), ""


def _statements(document: str) -> list[_Raw]:
    given = json.loads(document)["Statement"]
    return cast("list[_Raw]", given if isinstance(given, list) else [given])


def _admits(statement: Statement, mechanism: _Mechanism) -> bool:
    """Whether a statement is for the pods of one mechanism."""
    if statement.deny:
        return False
    if mechanism == "pod-identity":
        return POD_IDENTITY_SERVICE in statement.principal.get("Service", ())
    known = any(re.match(r"oidc[.-]eks\.", host) for host in _hosts(statement))
    return known or any(subject.startswith(_SUBJECT) for _, subject in _subjects(statement))


def _hosts(statement: Statement) -> list[str]:
    return [arn.partition(":oidc-provider/")[2] for arn in statement.principal.get("Federated", ())]


def _subjects(statement: Statement) -> Iterator[tuple[str, str]]:
    """Yield issuer and subject of everything that a statement wants of the claim `sub`."""
    for condition in statement.conditions:
        if condition.key.lower().endswith(":sub"):
            yield from ((condition.key[: -len(":sub")], wanted) for wanted in condition.wanted)


def _is_pattern(subject: str) -> bool:
    return "*" in subject or "?" in subject


def _labels(workload: Workload) -> Mapping[str, object] | None:
    """Return the labels of a workload's pods; None where a chart or an add-on makes them."""
    if workload.resource.type in (ADDON, *RELEASES):
        return None
    values = properties(workload.resource)
    template = at(values, "spec", "template") or at(values, "spec", "jobTemplate", "spec", "template") or values
    return cast("Mapping[str, object]", at(template, "metadata", "labels") or {})


def _items(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _policy(statements: Sequence[_Raw]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
