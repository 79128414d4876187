"""`preflight access`: whom the pods of a service account may become, what that lets them do, and why."""

import difflib
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from preflight.errors import BadInputError
from preflight.graph import Graph, Resource
from preflight.identities import Identity, Way, explain, table
from preflight.plan import WIDTH_OF_A_FILE
from preflight.policies import Condition, Document, MalformedError, Statement, parse
from preflight.program import Recording

_SHOWN = 6
"""Actions of one service, or resources, that are listed before the rest is only counted."""

_NAMED = 12
"""The same for the service accounts in an error message."""

_WORDS = {
    "stringequals": "is",
    "stringlike": "is like",
    "stringnotequals": "is not",
    "stringnotlike": "is not like",
    "arnequals": "is like",
    "arnlike": "is like",
    "arnnotequals": "is not like",
    "arnnotlike": "is not like",
}


def show(recording: Recording, account: str | None) -> None:
    """Print what one account, given as NAMESPACE/ACCOUNT, may become in the stack of an update's recording.

    Without an account, print a row for every one. Raises BadInputError if the stack does not have the account.
    """
    graph = Graph.of(recording)
    if account is None:
        _console().print(_overview(table(graph)))
        return
    namespace, slash, name = account.partition("/")
    found = explain(graph, namespace, name) if slash else []
    if not found:
        names = sorted({f"{one.namespace}/{one.account}" for one in table(graph)})
        near = difflib.get_close_matches(account, names, n=1, cutoff=0.5)
        some = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        raise BadInputError(
            f"There is no such service account in stack {recording['stack']}.\n"
            f"  found:   {account}\n"
            f"  allowed: NAMESPACE/ACCOUNT, here {some or 'none'}\n"
            f"  change:  {f'did you mean {near[0]}?' if near else 'preflight access --all shows every one'}"
        )
    console = _console()
    for identity in found:
        console.print(f"[bold]{escape(str(identity))}")
        console.print(_details(identity))
        console.print()


def _overview(identities: Sequence[Identity]) -> Table:
    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    for column in ("Service account", "Pods of", "Becomes", "Policies"):
        rows.add_column(column, overflow="fold")
    for identity in identities:
        labels = dict.fromkeys(workload.label for workload in identity.workloads)
        pods = "\n".join(map(escape, labels)) or "[yellow]nothing of this program"
        ways = identity.ways or (None,)
        for number, way in enumerate(ways):
            first = number == 0
            rows.add_row(
                f"[bold]{escape(str(identity))}" if first else "",
                pods if first else "",
                _verdict(way, chosen=way is identity.chosen),
                "\n".join(escape(policy.name) for policy in way.policies) if way and way.decision.admitted else "",
            )
    return rows


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH_OF_A_FILE)


def _verdict(way: Way | None, *, chosen: bool) -> str:
    if way is None:
        return "[dim]nobody"
    name = escape(way.role.name if way.role else way.role_arn or "a role that is not known")
    if way.decision.admitted:
        also = "" if chosen else "[dim]also [/]"
        return f"{also}{name} [dim]by {way.mechanism}"
    word = "[yellow]perhaps" if way.decision.undecided else "[red]not"
    return f"{word} {name}[/] [dim]by {way.mechanism}: {escape(way.decision.reason)}"


def _details(identity: Identity) -> Table:
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    makers = [_place(resource) for resource in identity.made_by]
    if not makers and identity.account != "default":
        makers = ["[yellow]nothing in this program"]
    rows.add_row("made by", "\n".join(makers) or "Kubernetes, in every namespace")
    for workload in identity.workloads:
        guess = "" if workload.certain else "[yellow], if the chart names its account as charts usually do"
        rows.add_row("pods of", f"{escape(workload.label)}{_line(workload.resource)}{guess}")
    if not identity.workloads:
        rows.add_row("pods of", "[yellow]nothing in this program")
    if not identity.ways:
        rows.add_row("becomes", "nobody: no role is wired to it, and the nodes keep theirs to themselves")
    for way in identity.ways:
        rows.add_row("", "")
        rows.add_row("becomes" if way is identity.chosen else "also", _verdict(way, chosen=True))
        rows.add_row("role", escape(way.role_arn or "not known before the update"))
        rows.add_row("wired by", _place(way.wire))
        if way.decision.admitted:
            rows.add_row("because", escape(way.decision.reason))
        for caveat in way.decision.caveats:
            rows.add_row("but", f"[yellow]{escape(caveat)}")
        for policy in way.policies:
            rows.add_row("may", f"[bold]{escape(policy.name)}[/]{_line(policy.resource) if policy.resource else ''}")
            for line in _rights(policy.document):
                rows.add_row("", line)
        if not way.policies:
            rows.add_row("may", "[yellow]nothing: this program attaches no policy to the role")
    return rows


def _place(resource: Resource) -> str:
    return f"{escape(resource.type.rpartition(':')[2])} {escape(resource.name)}{_line(resource)}"


def _line(resource: Resource) -> str:
    return f" [dim]{escape(resource.where)}[/]" if resource.where else ""


def _rights(document: Document | None) -> Iterator[str]:
    """Yield what a policy says, a line per statement."""
    if document is None:
        yield "[dim]its text is not in this program"
        return
    try:
        statements = parse(document, trust=False)
    except MalformedError as error:
        yield f"[red]IAM would refuse it: {escape(str(error))}"
        return
    for statement in statements:
        yield _right(statement)


def _right(statement: Statement) -> str:
    services: dict[str, list[str]] = {}
    for action in statement.action:
        service, colon, name = action.partition(":")
        services.setdefault(service + colon, []).append(name)
    actions = "; ".join(service + _some(names) for service, names in services.items())
    but = {name: "everything but " if name in statement.negated else "" for name in ("Action", "Resource")}
    line = f"{but['Action']}{actions} on {but['Resource']}{_some(statement.resource)}"
    conditions = " and ".join(_condition(condition) for condition in statement.conditions)
    denied = "[red]never[/] " if statement.deny else ""
    return f"{denied}{escape(line)}" + (f" [dim]if {escape(conditions)}" if conditions else "")


def _condition(condition: Condition) -> str:
    operator = condition.operator.lower()
    if operator == "null":
        return f"{condition.key} is {'absent' if 'true' in condition.wanted else 'present'}"
    return f"{condition.key} {_WORDS.get(operator, condition.operator)} {' or '.join(condition.wanted)}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
