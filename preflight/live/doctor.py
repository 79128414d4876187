"""`preflight doctor`: whether the account has room for a stack, and where what is there differs from the program.

An Ingress hangs on a chain: VPC, tags, webhook, account, role, OIDC provider, trust, policy, controller, class.
The first broken link is the cause; what cannot work because of it is named as such.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from rich.markup import escape

from preflight import program
from preflight.graph import Graph
from preflight.identities import Identity, table
from preflight.live import deploying, identity, ingress, network, screen
from preflight.live.asking import Account, Answer, Gap, UnansweredError, connect, tags
from preflight.live.identity import Examined
from preflight.live.kubernetes import Api
from preflight.live.machines import nodes
from preflight.live.place import Place, places
from preflight.live.quotas import quotas
from preflight.live.verdict import Status, Verdict, explained
from preflight.program import Recording
from preflight.report import PlainFormat
from preflight.rules.eks import Cluster, Estate

_COLOURS: dict[Status, str] = {
    "ok": "green",
    "broken": "bold red",
    "follows": "red",
    "drift": "yellow",
    "later": "dim",
    "unknown": "yellow",
}


@dataclass(kw_only=True)
class Examination:
    """What there is to say about one cluster of a stack."""

    place: Place
    account: str
    verdicts: list[Verdict]
    unanswered: list[Gap]

    @property
    def broken(self) -> bool:
        """Whether anything has to be mended."""
        return any(one.status == "broken" for one in self.verdicts)


def run(directory: Path, stack: str) -> list[Examination]:
    """Examine each cluster of a stack. Raises BadInputError, ProgramFailedError, NoAnswerError."""
    with program.start(directory, [stack]) as running:
        preview, update = running.checked()[stack]
    with screen.telling() as tell:
        return examine(preview, update, tell)


def examine(preview: Recording, update: Recording, tell: Callable[[str], None]) -> list[Examination]:
    """Examine each cluster of a stack's recordings. Raises BadInputError, NoAnswerError."""
    estate = Estate(Graph.of(update))
    found: list[Examination] = []
    for place, cluster in places(update, estate):
        account = connect(place.region, tell)
        verdicts = list(_examined(account, place, cluster, estate, preview, tell))
        found.append(Examination(place=place, account=account.id, verdicts=verdicts, unanswered=list(account.gaps)))
    return found


def _examined(
    account: Account,
    place: Place,
    cluster: Cluster,
    estate: Estate,
    preview: Recording,
    tell: Callable[[str], None],
) -> Iterator[Verdict]:
    who = f"{account.id} as {account.caller}, {account.region}"
    if place.accounts and account.id not in place.accounts:
        # Whatever else is asked would be answered about somebody else's things.
        allowed = f"the program allows {', '.join(place.accounts)}"
        yield Verdict(
            about="account", link="account", status="broken", text=f"{who}; {allowed}", fix="log in to that account"
        )
        return
    yield Verdict(about="account", link="account", status="ok", text=who)
    yield deploying.rights(account, preview)
    yield from _tried("account", "zones", lambda: [network.zones(account, estate, cluster)])
    try:
        own = [instance for instance, _, _ in nodes(account, place.cluster)]
    except UnansweredError:
        own = []
    yield from quotas(account, place, estate, own)
    try:
        answer = account.one("eks", "describe_cluster", "ResourceNotFoundException", name=place.cluster)
    except UnansweredError as unanswered:
        yield Verdict(about=place.cluster, link="cluster", status="unknown", text=str(unanswered.gap))
        return
    live: Answer = answer["cluster"] if answer else {}
    verdict = _cluster(account, place, live)
    yield verdict
    if verdict.status == "ok":
        yield from _chains(account, place, cluster, estate, live, own, tell)


def _cluster(account: Account, place: Place, live: Answer) -> Verdict:
    said = partial(Verdict, about=place.cluster, link="cluster")
    status = str(live.get("status", ""))
    if status in ("ACTIVE", "UPDATING"):
        return said(status="ok", text=f"{status}, Kubernetes {live.get('version')}")
    if status == "CREATING":
        return said(status="later", text="it is being made; ask again when it is ACTIVE")
    if status:
        issues = "; ".join(str(one.get("message")) for one in live.get("health", {}).get("issues", ()))
        text = f"it is {status}{f', {issues}' if issues else ''}; what follows in the chain goes with it"
        return said(status="broken", text=text, fix="let it end, then pulumi refresh, and up or destroy")
    try:
        listed = account.items("ec2", "describe_vpcs", "Vpcs")
    except UnansweredError:
        listed = []
    remains = [str(one["VpcId"]) for one in listed if place.owns(tags(one.get("Tags")))]
    if remains:
        text = f"it is not there, but {', '.join(remains)} of the stack is: an update or a destroy broke off"
        return said(status="broken", text=text, fix="pulumi refresh, then pulumi up, or pulumi destroy")
    return said(status="later", text="nothing of the stack is there yet; its wiring is examined after pulumi up")


def _chains(
    account: Account,
    place: Place,
    cluster: Cluster,
    estate: Estate,
    live: Answer,
    own: Sequence[Answer],
    tell: Callable[[str], None],
) -> Iterator[Verdict]:
    graph = estate.graph
    api = Api(account, live, tell)
    examined = Examined(account=account, place=place, graph=graph, cluster=live, api=api)
    examined.real.update(identity.real_values(graph, cluster.resource, live, account.id))
    identities = [one for one in table(graph) if not one.cluster or one.cluster == cluster.name]
    told: set[str] = set()

    def of_account(one: Identity | None) -> list[Verdict]:
        way = identity.wired(one) if one else None
        if one is None or way is None:
            return []
        told.add(str(one))
        return identity.links(examined, one, way)

    for wanted in estate.alb_ingresses:
        if estate.cluster_of(wanted.resource) not in (cluster, None):
            continue
        about = f"Ingress {wanted.namespace}/{wanted.name}"
        releases = estate.controllers_of(cluster)
        runs_under = identity.of_release(identities, releases[0].resource) if releases else None
        chain = [
            *_tried(about, "VPC", lambda about=about: [network.vpc(account, about, live)]),
            *_tried(about, "tags", lambda w=wanted, a=about: [network.subnets(account, estate, w, a, live)]),
            *_tried(about, "webhook", lambda a=about: [network.webhook(account, estate, cluster, a, live, own)]),
            *of_account(runs_under),
            *(ingress.controller(api, release, about) for release in releases[:1]),
            ingress.ingress_class(api, estate, wanted, about),
            ingress.address(account, api, place.cluster, wanted, about),
        ]
        yield from explained(chain)
    for one in identities:
        if str(one) not in told:
            yield from explained(of_account(one))


def _tried(about: str, link: str, examine: Callable[[], Sequence[Verdict]]) -> Sequence[Verdict]:
    try:
        return examine()
    except UnansweredError as unanswered:
        return [Verdict(about=about, link=link, status="unknown", text=str(unanswered.gap))]


def publish(examinations: Sequence[Examination], form: PlainFormat) -> None:
    """Write the examinations to stdout."""
    if form == "json":
        screen.machine({"clusters": [_plain(one) for one in examinations]})
        return
    for one in examinations:
        _show(one)


def _plain(examination: Examination) -> dict[str, object]:
    place = examination.place
    return {
        "stack": place.stack,
        "cluster": place.cluster,
        "region": place.region,
        "account": examination.account,
        "complete": not examination.unanswered,
        "verdicts": [
            {"about": one.about, "link": one.link, "status": one.status, "text": one.text, "fix": one.fix}
            for one in examination.verdicts
        ],
        "unanswered": [{"action": gap.action, "why": gap.why} for gap in examination.unanswered],
    }


def _show(examination: Examination) -> None:
    console = screen.terminal()
    place = examination.place
    console.print(f"[bold]{escape(place.stack)}[/]: cluster {escape(place.cluster)} in {place.region}")
    for about, found in groupby(examination.verdicts, key=lambda one: one.about):
        console.print(f"\n[bold]{escape(about)}")
        console.print(screen.table(("Link", "Is", "Seen"), map(_row, found)))
    screen.gaps(console, examination.unanswered)


def _row(one: Verdict) -> tuple[str, str, str]:
    colour = _COLOURS[one.status]
    mend = f"\n[bold]mend:[/] {escape(one.fix)}" if one.fix else ""
    return one.link, f"[{colour}]{one.status}", escape(one.text) + mend
