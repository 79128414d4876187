"""`preflight calls`: every caller of a system against every service of VPC Lattice in it.

Callers are the service accounts that may take a role, as that role, and strangers: a call that nobody signed, and
sessions that differ from an admitted caller in one thing. Of those the one that comes furthest is reported, so a
refusal holds for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from preflight.calls import EVERYTHING, Caller, Verdict, judge
from preflight.graph import Graph
from preflight.identities import Identity, Way, table
from preflight.rules import vpc_lattice as lattice
from preflight.rules.eks import Estate, fields
from preflight.rules.vpc_lattice import Service
from preflight.workloads import properties

_FOREIGN_ACCOUNT = "444455556666"
_WORDS = ("admitted", "undecided", "refused")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One caller, with the verdict on its calls to each service of the matrix, in their order."""

    caller: str
    role_arn: str
    """Empty for a call that nobody signs."""
    stranger: bool
    """Made up here; no pod of the program is one, unless it does not sign."""
    pods: tuple[str, ...]
    """The workloads that call so, as far as the program makes them."""
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Who may call whom in a system."""

    stacks: tuple[str, ...]
    services: tuple[Service, ...]
    rows: tuple[Row, ...]


def matrix(graphs: Mapping[str, Graph]) -> Matrix:
    """Judge every call within a system, given the graphs of its stacks by name."""
    found = Estate(Graph.together(tuple(graphs.values())))
    services = lattice.services(found)

    def verdicts(caller: Caller) -> tuple[Verdict, ...]:
        return tuple(judge(caller, (one.network, one.own), one.arn) for one in services)

    identities = table(found.graph)
    rows: list[Row] = []
    welcome: list[Caller] = []
    for identity in identities:
        if (way := identity.chosen) is None or not _takes(way):
            continue
        caller = _caller(way)
        answers = verdicts(caller)
        pods = tuple(one.label for one in identity.workloads if lattice.injected(found, one))
        rows.append(_row(str(identity), caller, answers, pods))
        if any(one.decision.admitted for one in answers):
            welcome.append(caller)
    silent = tuple(pod for identity in identities for pod in _unsigned(found, identity))
    rows.append(_row("a call that nobody signed", Caller(), verdicts(Caller()), silent, stranger=True))
    for what, strangers in _strangers(welcome).items():
        answers = [verdicts(stranger) for stranger in strangers]
        furthest = tuple(min(column, key=_distance) for column in zip(*answers, strict=True))
        rows.append(_row(what, strangers[0], furthest, (), stranger=True))
    return Matrix(stacks=tuple(graphs), services=tuple(services), rows=tuple(rows))


def _row(caller: str, who: Caller, verdicts: tuple[Verdict, ...], pods: tuple[str, ...], stranger: bool = False) -> Row:
    return Row(caller=caller, role_arn=who.role_arn, stranger=stranger, pods=pods, verdicts=verdicts)


def _takes(way: Way) -> bool:
    return bool(way.role_arn) and (way.decision.admitted or way.decision.undecided)


def _caller(way: Way) -> Caller:
    own = fields(properties(way.role), "tags") if way.role else {}
    tags = {**{key: str(value) for key, value in own.items()}, **way.tags}
    policies = {policy.name: policy.document for policy in way.policies}
    return Caller(way.role_arn, tags, policies if way.role else {"what is attached to the role": None})


def _unsigned(found: Estate, identity: Identity) -> Iterator[str]:
    """Yield the pods of an account that do not sign: nothing does it for them, or there is nothing to sign with."""
    role = identity.chosen is not None and _takes(identity.chosen)
    for one in identity.workloads:
        if not role or not lattice.injected(found, one):
            yield f"{one.label} in {identity.cluster}" if identity.cluster else one.label


def _strangers(welcome: Sequence[Caller]) -> dict[str, list[Caller]]:
    """Callers that differ from an admitted one in one thing, by what that is."""
    found: dict[str, list[Caller]] = {}
    for one in welcome:
        others = {
            "a pod of another namespace": _tagged(one, "kubernetes-namespace"),
            "a pod of another cluster": _tagged(one, "eks-cluster-name"),
            "a session of that role without tags": replace(one, tags={}) if one.tags else None,
            "another role, which forges the tags": _as_role(one, one.role_arn.rpartition("/")[0] + "/stranger"),
            "that role of another account": _as_role(one, _abroad(one.role_arn)),
        }
        for what, caller in others.items():
            if caller is not None:
                found.setdefault(what, []).append(caller)
    return found


def _tagged(caller: Caller, tag: str) -> Caller | None:
    return replace(caller, tags={**caller.tags, tag: "stranger"}) if tag in caller.tags else None


def _as_role(caller: Caller, role_arn: str) -> Caller:
    return replace(caller, role_arn=role_arn, policies=EVERYTHING)


def _abroad(role_arn: str) -> str:
    head, partition, iam, region, _, name = role_arn.split(":", 5)
    return ":".join((head, partition, iam, region, _FOREIGN_ACCOUNT, name))


def _distance(verdict: Verdict) -> tuple[int, int]:
    """How far a call is from being admitted."""
    return _WORDS.index(verdict.word), len(verdict.decision.misses)
