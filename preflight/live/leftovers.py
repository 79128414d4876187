"""`preflight leftovers`: what in the account carries the name of a stack's cluster, and how to remove it.

A load balancer of a cluster that runs is no leftover, and what the stack made itself is for `pulumi destroy`. Left is
what outlived its cluster: that one is gone, or another one of its name stands in another VPC.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from rich.markup import escape

from preflight import program
from preflight.errors import BadInputError
from preflight.graph import Graph
from preflight.live import balancers, lattice, machines, records, screen
from preflight.live.asking import Account, Answer, Gap, UnansweredError, connect
from preflight.live.place import Place, places
from preflight.live.traces import Found
from preflight.program import Recording
from preflight.report import PlainFormat
from preflight.rules.eks import Estate

_Finder: TypeAlias = Callable[[Account, str], Iterator[Found]]

_FINDERS: tuple[_Finder, ...] = (
    machines.instances,
    balancers.listeners,
    balancers.balancers,
    balancers.classic,
    balancers.target_groups,
    lattice.service_associations,
    lattice.services,
    lattice.target_groups,
    lattice.vpc_associations,
    machines.interfaces,
    machines.security_groups,
    machines.volumes,
    records.log_groups,
    records.oidc_providers,
)
"""In the order in which to remove what they find: nothing goes before what holds on to it."""


@dataclass(kw_only=True)
class Leftovers:
    """What there is of one cluster."""

    place: Place
    account: str
    cluster: str
    """How it is, in a word: gone, ACTIVE, DELETING, unknown."""
    left: list[Found] = field(default_factory=list[Found])
    in_use: list[Found] = field(default_factory=list[Found])
    own: list[Found] = field(default_factory=list[Found])
    """Made by the stack itself, by its tags."""
    unsure: list[Found] = field(default_factory=list[Found])
    unanswered: list[Gap] = field(default_factory=list[Gap])

    @property
    def commands(self) -> list[str]:
        """What removes everything that is left, in an order that works."""
        kinds: dict[str, list[Found]] = {}
        for one in self.left:
            kinds.setdefault(one.kind, []).append(one)
        lines = [
            line
            for found in kinds.values()
            for phase in ("before", "commands", "after")
            for one in found
            for line in getattr(one, phase)
        ]
        return list(dict.fromkeys(lines))  # two groups may be held by one rule


def run(directory: Path, stack: str, *, lost_state: bool) -> list[Leftovers]:
    """Look for what is left of each cluster of a stack; `lost_state` counts what the stack made as well.

    Raises BadInputError, ProgramFailedError, NoAnswerError.
    """
    with program.start(directory, [stack], modes=("update",)) as running:
        recording = running.checked()[stack][-1]
    with screen.telling() as tell:
        return look(recording, tell, lost_state=lost_state)


def look(recording: Recording, tell: Callable[[str], None], *, lost_state: bool = False) -> list[Leftovers]:
    """Look for what is left of each cluster in the recording of an update. Raises BadInputError, NoAnswerError."""
    found: list[Leftovers] = []
    for place, _ in places(recording, Estate(Graph.of(recording))):
        account = connect(place.region, tell)
        if place.accounts and account.id not in place.accounts:
            raise BadInputError(
                f"These credentials are of another account than stack {place.stack}.\n"
                f"  found:   {account.id}\n"
                f"  allowed: {', '.join(place.accounts)}\n"
                "  change:  log in to that account, such as with AWS_PROFILE"
            )
        found.append(_look(account, place, lost_state=lost_state))
    return found


def _look(account: Account, place: Place, *, lost_state: bool) -> Leftovers:
    report = Leftovers(place=place, account=account.id, cluster="gone")
    cluster: Answer = {}
    try:
        answer = account.one("eks", "describe_cluster", "ResourceNotFoundException", name=place.cluster)
        if answer:
            cluster = answer["cluster"]
            report.cluster = str(cluster["status"])
    except UnansweredError:
        report.cluster = "unknown"
    for finder in _FINDERS:
        try:
            for one in finder(account, place.cluster):
                _sort(report, one, cluster, lost_state=lost_state)
        except UnansweredError:
            continue
    report.unanswered = list(account.gaps)
    if report.cluster == "DELETING":
        gap = Gap("eks:DescribeCluster", f"{place.cluster} is still being deleted; ask again when it is gone")
        report.unanswered.append(gap)
    return report


def _sort(report: Leftovers, one: Found, cluster: Answer, *, lost_state: bool) -> None:
    vpc = cluster.get("resourcesVpcConfig", {}).get("vpcId", "")
    issuer = str(cluster.get("identity", {}).get("oidc", {}).get("issuer", "")).removeprefix("https://")
    # An earlier cluster of the same name was elsewhere, and had another issuer.
    elsewhere = bool(one.vpc_id and vpc and one.vpc_id != vpc) or (one.kind == "OIDC provider" and one.id != issuer)
    if report.place.owns(one.tags) and not lost_state:
        report.own.append(one)
    elif cluster and not elsewhere:
        report.in_use.append(one)
    elif report.cluster == "unknown" or one.unsure:
        report.unsure.append(one)
    else:
        report.left.append(one)


def publish(reports: Sequence[Leftovers], form: PlainFormat) -> None:
    """Write the reports to stdout."""
    if form == "json":
        screen.machine({"clusters": [_plain(report) for report in reports]})
        return
    for report in reports:
        _show(report)


def _plain(report: Leftovers) -> dict[str, object]:
    def plain(found: Sequence[Found]) -> list[dict[str, object]]:
        return [{"kind": one.kind, "id": one.id, "trace": one.trace, "unsure": one.unsure} for one in found]

    return {
        "stack": report.place.stack,
        "cluster": report.place.cluster,
        "region": report.place.region,
        "account": report.account,
        "state": report.cluster,
        "complete": not report.unanswered,
        "left": plain(report.left),
        "commands": report.commands,
        "inUse": plain(report.in_use),
        "own": plain(report.own),
        "unsure": plain(report.unsure),
        "unanswered": [{"action": gap.action, "why": gap.why} for gap in report.unanswered],
    }


def _show(report: Leftovers) -> None:
    console = screen.terminal()
    place = report.place
    console.print(
        f"[bold]{escape(place.stack)}[/]: cluster {escape(place.cluster)} in {place.region}, "
        f"account {report.account}: {report.cluster}"
    )
    if report.left:
        console.print(f"\n[bold red]Left over: {_counted(report.left)}")
        console.print(screen.table(("Kind", "Id", "Because of"), (_row(one) for one in report.left)))
        console.print("\n[bold]Remove them in this order")
        for command in report.commands:
            console.print(command, soft_wrap=True, markup=False)
    elif not report.unanswered:
        console.print("nothing is left over")
    if report.in_use:
        console.print(f"\nIn use, as the cluster is there: {_counted(report.in_use)}")
    if report.own:
        console.print(f"\nOf the stack itself: {_counted(report.own)}")
        console.print("  `pulumi destroy` removes them; if the stack's state is lost, --lost-state shows the commands")
    if report.unsure:
        console.print("\n[bold yellow]Look at these yourself")
        unknown = "whether the cluster is there is not known"
        rows = ((*_row(one), escape(one.unsure or unknown)) for one in report.unsure)
        console.print(screen.table(("Kind", "Id", "Because of", "But"), rows))
    screen.gaps(console, report.unanswered)


def _row(one: Found) -> tuple[str, str, str]:
    return one.kind, escape(one.id), escape(one.trace)


def _counted(found: Sequence[Found]) -> str:
    kinds = Counter(one.kind for one in found)
    return ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in kinds.items())
