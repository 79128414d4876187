"""`preflight diff`: what this tree would change, against another commit of the same program.

Both are run with the same made-up values, so what differs is what the programs say. Resources are matched by URN, a
moved one by its aliases. Nothing here knows live state.
"""

import contextlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache, cached_property
from pathlib import Path
from typing import Literal, TypeAlias, cast

from preflight import check, cost, create_only, order, program, upgrades, worktree
from preflight.changes import ABSENT, Change, changes
from preflight.cost import CostChange
from preflight.errors import BadInputError, ProgramFailedError
from preflight.finding import SEVERITIES, Finding
from preflight.graph import UNKNOWN, Graph, Resource, Secret, decode, reveal
from preflight.identities import policies_by_role, table
from preflight.moves import as_here, made_up, moved, walked
from preflight.policies import Document, MalformedError
from preflight.program import Program, Recording, Running
from preflight.rights import Right, canonical, compared, is_policy, rights
from preflight.workloads import properties, text
from preflight.worktree import Commit

Kind: TypeAlias = Literal["deleted", "replaced", "changed", "created"]
KINDS: tuple[Kind, ...] = ("deleted", "replaced", "changed", "created")
"""What cannot be undone comes first."""

_WORD = re.compile(r"[^\s\"',]+")
_EDGE = re.compile(r"[:/.*]")
_ROLE = "aws:iam/role:Role"
_POLICY = "aws:iam/policy:Policy"
# What a registration says beside its inputs, as ResourceOptions and the wire call it.
_OPTIONS = {
    "customTimeouts": "custom_timeouts",
    "deleteBeforeReplace": "delete_before_replace",
    "deletedWith": "deleted_with",
    "ignoreChanges": "ignore_changes",
    "import": "import_id",
    "protect": "protect",
    "provider": "provider",
    "replaceOnChanges": "replace_on_changes",
    "retainOnDelete": "retain_on_delete",
}


@dataclass(frozen=True, kw_only=True)
class ResourceChange:
    """One resource that is not the same."""

    kind: Kind
    urn: str
    type: str
    name: str
    where: str
    """The line that registers it; of a deleted one, its line at the other commit."""
    moved_from: str = ""
    """Its URN at the other commit, where an alias names that one."""
    changes: tuple[Change, ...] = ()
    because: tuple[str, ...] = ()
    """Of a replaced one: the paths that only a new resource can take."""
    in_words: bool = False
    """Whether the rights say what changed in its policies."""


@dataclass(frozen=True, kw_only=True)
class RightsChange:
    """What a role may and whom it admits, or what the policy of something else says: gained and lost."""

    holder: str
    """In words, as `role ingress-controller-role`."""
    urn: str
    gained: tuple[Right, ...] = ()
    lost: tuple[Right, ...] = ()
    attached: tuple[str, ...] = ()
    """Managed policies whose text is not in the program."""
    detached: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing changed after all."""
        return not (self.gained or self.lost or self.attached or self.detached)


@dataclass(frozen=True, order=True, kw_only=True)
class Becoming:
    """That the pods of a service account become a role."""

    account: str
    role: str
    mechanism: str

    def __str__(self) -> str:
        """As a person would say it."""
        return f"{self.account} as {self.role} through {self.mechanism}"


@dataclass(frozen=True, kw_only=True)
class StackDiff:
    """What differs in one stack."""

    stack: str
    rights: tuple[RightsChange, ...]
    resources: tuple[ResourceChange, ...]
    newly: tuple[Becoming, ...]
    """Who can become whom, and could not before."""
    no_longer: tuple[Becoming, ...]
    outputs: tuple[Change, ...]
    waves: tuple[tuple[str, ...], ...]
    """In which order the update gets to what differs: URNs, each wave after the one before, deletions last."""
    cost: CostChange | None = None
    """What it adds to the bill; None where that stays the same."""

    @property
    def same(self) -> bool:
        """Whether nothing at all differs."""
        return not (self.rights or self.resources or self.newly or self.no_longer or self.outputs)


@dataclass(frozen=True, kw_only=True)
class Diff:
    """Two trees of one program."""

    project: str
    commit: Commit
    stacks: tuple[StackDiff, ...]
    """Those that are here; one that is not at the commit is compared with nothing."""
    only_here: tuple[str, ...]
    """Stacks without a file at the commit."""
    only_there: tuple[str, ...]
    found: tuple[Finding, ...]
    """Findings that are new."""
    gone: tuple[Finding, ...]

    @property
    def same(self) -> bool:
        """Whether nothing at all differs."""
        parts = (self.only_here, self.only_there, self.found, self.gone)
        return not any(parts) and all(stack.same for stack in self.stacks)


@dataclass(frozen=True, kw_only=True)
class Side:
    """One tree: its recordings by stack, each an update, and what the rules say of them."""

    recordings: Mapping[str, Recording]
    findings: Sequence[Finding] = ()


def run(directory: Path, ref: str, asked: Sequence[str], as_of: date) -> Diff:
    """Run the program at a git ref and here, and compare.

    Raises BadInputError for a folder, ref or stack that is not there and for refused settings, ProgramFailedError.
    """
    here = program.load(directory)
    repository = worktree.find(here.directory)
    commit = worktree.resolve(repository, ref)
    with worktree.checkout(repository, commit) as tree:
        there = _program_at(tree / repository.below)
        stacks = _stacks(here, there, asked)
        # Read while the worktree is there.
        files = [set(one.stacks if one else ()) for one in (here, there)]
        mine, theirs = (names & set(asked) if asked else names for names in files)
        with contextlib.ExitStack() as both:
            started: list[Running | None] = []
            for one in (here, there):  # at the same time
                names = [stack for stack in stacks if one is not None and _has(one, stack)]
                running = program.start(one.directory, names, interpreter=here.interpreter) if one and names else None
                started.append(both.enter_context(running) if running else None)
            now = _side(started[0], as_of, "here")
            before = _side(started[1], as_of, f"at {commit}")
    come, gone = _findings(before, now)
    steps = [
        finding
        for stack, recording in now.recordings.items()
        if stack in before.recordings
        for finding in upgrades.findings(stack, Graph.of(before.recordings[stack]), Graph.of(recording))
    ]
    return Diff(
        project=here.project,
        commit=commit,
        stacks=tuple(
            replace(
                stack_diff(before.recordings.get(stack), recording),
                cost=cost_change(before.recordings.get(stack), recording, as_of),
            )
            for stack, recording in now.recordings.items()
        ),
        only_here=tuple(sorted(mine - theirs)),
        only_there=tuple(sorted(theirs - mine)),
        found=tuple(sorted((*come, *steps), key=_order)),
        gone=gone,
    )


def _program_at(directory: Path) -> Program | None:
    """Return the program at the commit; None if it was not there yet, so that its first pull request has a diff."""
    return program.load(directory) if any(directory.glob("Pulumi.y*ml")) else None


def _stacks(here: Program, there: Program | None, asked: Sequence[str]) -> list[str]:
    strangers = [stack for stack in asked if there is None or not _has(there, stack)]
    known = [stack for stack in asked if stack not in strangers]
    # A stack that neither tree has is refused in the words of the one that is edited.
    return [*known, *program.choose(here, strangers)] if asked else program.choose(here, ())


def _has(one: Program, stack: str) -> bool:
    try:
        return bool(program.choose(one, [stack]))
    except BadInputError:
        return False


def _side(running: Running | None, as_of: date, name: str) -> Side:
    if running is None:
        return Side(recordings={})
    try:
        recordings = running.checked()
        report = check.run(running, as_of)
    except BadInputError as problem:
        raise BadInputError(f"The program {name} cannot be judged.\n{problem}") from problem
    except ProgramFailedError as problem:
        raise ProgramFailedError(f"The program {name} does not run.\n{problem}") from problem
    return Side(recordings={stack: modes[-1] for stack, modes in recordings.items()}, findings=report.findings)


def stack_diff(before: Recording | None, after: Recording) -> StackDiff:
    """Compare two recordings of one stack, both in update mode; None is a stack that has nothing yet."""
    new = Graph.of(after)
    if before is None:
        before = cast("Recording", {**after, "resources": [], "outputs": {}})
    was = Graph.of(before)
    urns = moved(was, new)
    before = as_here(before, was, new, urns, after["directory"])
    old = Graph.of(before)
    said = tuple(_rights(old, new))
    resources = _resources(old, new, {here: there for there, here in urns.items()}, _policies_said(said, old, new))
    could, can = _becoming(old), _becoming(new)
    names = _Names(old), _Names(new)
    return StackDiff(
        stack=after["stack"],
        rights=tuple(
            replace(
                one,
                gained=tuple(map(names[1].right, one.gained)),
                lost=tuple(map(names[0].right, one.lost)),
            )
            for one in said
        ),
        resources=tuple(replace(one, changes=_readable(one.changes, *names)) for one in resources),
        newly=tuple(sorted(can - could)),
        no_longer=tuple(sorted(could - can)),
        outputs=_readable(changes(decode(before["outputs"]), decode(after["outputs"])), *names),
        waves=tuple(_waves(old, new, resources)),
    )


def _waves(old: Graph, new: Graph, resources: Sequence[ResourceChange]) -> Iterator[tuple[str, ...]]:
    touched = [
        one.urn
        for one in resources
        if one.kind in ("created", "replaced") or any(not each.path.startswith("options.") for each in one.changes)
    ]
    gone = [one.urn for one in resources if one.kind == "deleted"]
    made = order.waves_of(new, (urn for urn in touched if not _only_groups(new.resources[urn])))
    left = order.waves_of(old, (urn for urn in gone if not _only_groups(old.resources[urn])))
    for numbers, is_last_first in ((made, False), (left, True)):
        for number in sorted(set(numbers.values()), reverse=is_last_first):
            yield tuple(sorted(urn for urn, own in numbers.items() if own == number))


def _only_groups(resource: Resource) -> bool:
    """Whether it is a component of the program, which nobody has to make anywhere."""
    return not (resource.custom or resource.remote)


def cost_change(before: Recording | None, after: Recording, as_of: date) -> CostChange | None:
    """Return what an edit adds to a stack's bill; None is a stack that costs nothing yet."""
    bills = [
        cost.estimate(recording["stack"], Graph.of(recording), as_of) if recording else None
        for recording in (before, after)
    ]
    return cost.compare(bills[0], bills[1]) if bills[1] else None


# ---- resources -------------------------------------------------------------------------------------------------------


def _resources(old: Graph, new: Graph, former: Mapping[str, str], said: frozenset[str]) -> list[ResourceChange]:
    found: dict[str, ResourceChange] = {}
    for urn, resource in old.resources.items():
        if urn not in new.resources:
            found[urn] = _change("deleted", resource)
    for urn, resource in new.resources.items():
        if urn not in old.resources:
            found[urn] = _change("created", resource)
            continue
        before = old.resources[urn]
        inputs = _ignoring(before.inputs, resource)
        differences = [*_of_inputs(before.inputs, inputs), *_of_options(before, resource)]
        because = _replacing(resource, before.inputs, inputs)
        if differences or urn in former:
            found[urn] = replace(
                _change("replaced" if because else "changed", resource),
                changes=tuple(differences),
                because=tuple(because),
                moved_from=former.get(urn, ""),
                in_words=urn in said,
            )
    for urn, because in _drawn_along(old, new, [one for one in found.values() if one.kind == "replaced"]):
        earlier = found.get(urn) or _change("replaced", new.resources[urn])
        found[urn] = replace(earlier, kind="replaced", because=(*earlier.because, *because))
    return sorted(found.values(), key=lambda one: (KINDS.index(one.kind), one.urn))


def _change(kind: Kind, resource: Resource) -> ResourceChange:
    return ResourceChange(kind=kind, urn=resource.urn, type=resource.type, name=resource.name, where=resource.where)


def _of_inputs(old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[Change]:
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if is_policy(reveal(before)) and is_policy(reveal(after)):
            if canonical(cast("Document", reveal(before))) != canonical(cast("Document", reveal(after))):
                yield Change(path=key, before=before, after=after)
        else:
            kept = [{key: one[key]} if key in one else {} for one in (old, new)]
            yield from changes(kept[0], kept[1])


def _of_options(old: Resource, new: Resource) -> Iterator[Change]:
    for name, attribute in _OPTIONS.items():
        before, after = (_plain(getattr(one, attribute)) for one in (old, new))
        if before != after:
            yield Change(path=f"options.{name}", before=before, after=after)
    waited = [set(one.dependencies).difference(*one.property_dependencies.values()) for one in (old, new)]
    for urn in sorted(waited[0] ^ waited[1]):
        name = urn.rpartition("::")[2]
        gone = urn in waited[0]
        yield Change(path="options.dependsOn", before=name if gone else ABSENT, after=ABSENT if gone else name)


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(cast("tuple[object, ...]", value)) or ABSENT
    return ABSENT if value in (None, "", False) or value == {} else value


def _ignoring(old: Mapping[str, object], resource: Resource) -> Mapping[str, object]:
    """Return the new inputs as the engine takes them: what is ignored stays as it was."""
    inputs: dict[str, object] = dict(resource.inputs)
    for path in resource.ignore_changes:
        *way, last = path.split(".")
        before: object = old
        target: object = inputs
        for key in way:
            before = before.get(key) if isinstance(before, Mapping) else None
            if isinstance(target, dict) and isinstance(inner := cast("dict[str, object]", target).get(key), dict):
                # A copy, for the graph is not ours to change.
                cast("dict[str, object]", target)[key] = dict(cast("dict[str, object]", inner))
            target = cast("dict[str, object]", target).get(key) if isinstance(target, dict) else None
        if isinstance(before, Mapping) and isinstance(target, dict):
            kept = cast("Mapping[str, object]", before).get(last)
            cast("dict[str, object]", target)[last] = kept
    return inputs


def _replacing(resource: Resource, old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Return the paths whose change replaces a resource: by the table, and by its own option."""
    plain = [cast("Mapping[str, object]", reveal(dict(one))) for one in (old, new)]
    if not resource.custom or plain[0] == plain[1]:
        return []
    paths = create_only.replacing(resource.type, plain[0], plain[1])
    if wanted := resource.replace_on_changes:
        paths += [
            one.path
            for one in changes(plain[0], plain[1])
            if any(path == "*" or one.path == path or one.path.startswith((f"{path}.", f"{path}[")) for path in wanted)
        ]
    return list(dict.fromkeys(paths))


def _drawn_along(old: Graph, new: Graph, replaced: Sequence[ResourceChange]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what is replaced because something that it refers to is: an id that a new resource gets anew."""
    queue = [one.urn for one in replaced]
    seen = set(queue)
    dependents: defaultdict[str, list[tuple[Resource, str]]] = defaultdict(list)
    for resource in new.resources.values():
        for path, urns in resource.property_dependencies.items():
            for urn in urns:
                dependents[urn].append((resource, path))
    while queue:
        urn = queue.pop(0)
        fresh = set(made_up(new.resources[urn]).values())
        for resource, path in dependents[urn]:
            if resource.urn in seen or resource.urn not in old.resources:
                continue
            inputs = dict(resource.inputs)
            inputs[path] = _forgotten(inputs.get(path), fresh)
            if because := _replacing(resource, old.resources[resource.urn].inputs, inputs):
                seen.add(resource.urn)
                queue.append(resource.urn)
                yield resource.urn, tuple(f"{one} (a new {new.resources[urn].name})" for one in because)


def _forgotten(value: object, fresh: set[str]) -> object:
    """Return a value in which what a new resource gets anew is unknown, as a preview has it."""
    if isinstance(value, str):
        return UNKNOWN if any(one in value for one in fresh) else value
    if isinstance(value, Secret):
        return _forgotten(value.value, fresh)
    if isinstance(value, list):
        return [_forgotten(item, fresh) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {key: _forgotten(item, fresh) for key, item in cast("dict[str, object]", value).items()}
    return value


# ---- rights ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Holder:
    """Somebody or something with policies: the rights in them, and managed ones by name."""

    words: str
    rights: frozenset[Right]
    managed: frozenset[str]


def _rights(old: Graph, new: Graph) -> Iterator[RightsChange]:
    before, after = _holders(old), _holders(new)
    nobody = _Holder("", frozenset(), frozenset())
    changed: list[RightsChange] = []
    for urn in before.keys() | after.keys():
        was, is_ = before.get(urn, nobody), after.get(urn, nobody)
        gained, lost = compared(was.rights, is_.rights)
        changed.append(
            RightsChange(
                holder=is_.words or was.words,
                urn=urn,
                gained=tuple(gained),
                lost=tuple(lost),
                attached=tuple(sorted(is_.managed - was.managed)),
                detached=tuple(sorted(was.managed - is_.managed)),
            )
        )
    yield from sorted((one for one in changed if not one.empty), key=lambda one: (one.holder, one.urn))


def _holders(graph: Graph) -> dict[str, _Holder]:
    """Return the roles with all that they may and whom they admit, and every other resource with a policy in it."""
    found: dict[str, _Holder] = {}
    of_roles: set[str] = set()
    policies = policies_by_role(graph)
    for role in graph.of_type(_ROLE):
        values = properties(role)
        own = policies[text(values, "arn")]
        documents = [policy.document for policy in own if policy.document is not None]
        if is_policy(trust := values.get("assumeRolePolicy")):
            documents.append(cast("Document", trust))
        of_roles |= {policy.resource.urn for policy in own if policy.resource is not None}
        found[role.urn] = _Holder(
            f"role {role.name}",
            frozenset(right for document in documents for right in _readable_rights(document)),
            frozenset(policy.name for policy in own if policy.document is None),
        )
    for resource in graph.resources.values():
        if resource.type == _ROLE or resource.urn in of_roles or not resource.custom:
            continue
        inputs = cast("Mapping[str, object]", reveal(dict(resource.inputs)))
        documents = [cast("Document", value) for value in inputs.values() if is_policy(value)]
        if documents:
            kind = "policy" if resource.type == _POLICY else resource.type.rpartition(":")[2]
            found[resource.urn] = _Holder(
                f"{kind} {resource.name}",
                frozenset(right for document in documents for right in _readable_rights(document)),
                frozenset(),
            )
    return found


def _readable_rights(document: Document) -> frozenset[Right]:
    # As text, so that the same policy of both trees, or of many roles, is read once.
    return _read(document if isinstance(document, str) else json.dumps(document, default=str))


@cache
def _read(document: str) -> frozenset[Right]:
    try:
        return rights(document)
    except MalformedError:
        return frozenset()  # a rule says so


def _policies_said(said: Sequence[RightsChange], old: Graph, new: Graph) -> frozenset[str]:
    """Return the URNs of what has policies whose change the rights already say."""
    found = {one.urn for one in said}
    for graph in (old, new):
        arns = {text(properties(role), "arn"): role.urn for role in graph.of_type(_ROLE)}
        for arn, policies in policies_by_role(graph).items():
            if arns.get(arn) in found:
                found |= {policy.resource.urn for policy in policies if policy.resource is not None}
    return frozenset(found)


def _becoming(graph: Graph) -> set[Becoming]:
    return {
        Becoming(account=str(identity), role=way.role.name if way.role else way.role_arn, mechanism=way.mechanism)
        for identity in table(graph)
        for way in identity.ways
        if way.decision.admitted
    }


# ---- findings --------------------------------------------------------------------------------------------------------


def _findings(before: Side, now: Side) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """Return the findings that are new and those that are gone, for stacks that are here; a moved line is neither."""
    keys = [{_key(one): one for one in side.findings} for side in (before, now)]
    come = [one for key, one in keys[1].items() if key not in keys[0]]
    gone = [one for key, one in keys[0].items() if key not in keys[1] and one.stack in ("", *now.recordings)]
    return tuple(sorted(come, key=_order)), tuple(sorted(gone, key=_order))


def _key(finding: Finding) -> tuple[str, ...]:
    return finding.stack, finding.rule, finding.severity, finding.resource, finding.message


def _order(finding: Finding) -> tuple[str, int, Finding]:
    return finding.stack, SEVERITIES.index(finding.severity), finding


# ---- made-up values --------------------------------------------------------------------------------------------------


class _Names:
    """Writes made-up values as what they stand for, `{network-vpc.id}`: the value itself would only mislead."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._written: dict[str, str] = {}

    @cached_property
    def _labels(self) -> dict[str, str]:
        labels: dict[str, str] = {}
        # A component of the program hands out what the resources below it got, or what it was given itself.
        made = (one for one in self._graph.resources.values() if one.custom or one.remote)
        for resource in sorted(made, key=lambda one: not one.custom):
            for path, value in made_up(resource).items():
                # Without a digit it is a word that somebody else may use too, such as --output in a kubeconfig.
                if any(map(str.isdigit, value)):
                    labels.setdefault(value, f"{{{resource.name}.{path}}}")
        return labels

    def _text(self, text: str) -> str:
        if text not in self._written:
            self._written[text] = self._labels.get(text) or _WORD.sub(lambda word: self._word(word[0]), text)
        return self._written[text]

    def _word(self, word: str) -> str:
        """Return a word, as `arn:...:cluster/main/*`, with the longest part of it that is made up replaced."""
        edges = [0, *(match.start() for match in _EDGE.finditer(word)), len(word)]
        starts = sorted({0, *(match.end() for match in _EDGE.finditer(word))})
        parts = sorted(((start, end) for start in starts for end in edges if end > start), key=lambda p: p[0] - p[1])
        for start, end in parts:
            if label := self._labels.get(word[start:end]):
                return (
                    f"{self._word(word[:start])}{label}{self._word(word[end:])}" if word[:start] + word[end:] else label
                )
        return word

    def value(self, value: object) -> object:
        """Return a value with names in place of what is made up; a secret stays one."""
        return walked(value, self._text)

    def right(self, right: Right) -> Right:
        """The same for a right."""
        return replace(
            right,
            principal=self._text(right.principal),
            resource=self._text(right.resource),
            conditions=tuple(map(self._text, right.conditions)),
        )


def _readable(found: Sequence[Change] | Iterator[Change], old: _Names, new: _Names) -> tuple[Change, ...]:
    return tuple(Change(path=one.path, before=old.value(one.before), after=new.value(one.after)) for one in found)
