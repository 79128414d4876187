"""The command line. Each command is a module of its own, imported while the program already runs.

Exit codes: 0 fine, 1 a finding at error severity, 2 bad input, 3 the program failed; of the commands that ask AWS also
4 a partial answer without a finding, 5 no answer.
"""

import sys
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer

from preflight import program
from preflight import steps as moving
from preflight.errors import BadInputError, NoAnswerError, ProgramFailedError
from preflight.journey import GuideName
from preflight.report import DiffFormat, Format, PlainFormat

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Proves the wiring of a Pulumi Python program without cloud, credential or login.",
)
Stacks = Annotated[list[str] | None, typer.Argument(metavar="[STACK ...]", help="dev, or all where there is no dev.")]
Stack = Annotated[str, typer.Argument(metavar="STACK", help="One stack.")]

Output = Annotated[Path | None, typer.Option(metavar="FILE", help="Write there; the terminal still gets the text.")]
AsOf = Annotated[
    datetime | None,
    typer.Option(metavar="DATE", formats=["%Y-%m-%d"], help="The day to judge at, such as 2027-01-31; else today."),
]


@app.callback()
def options(
    context: typer.Context,
    directory: Annotated[Path, typer.Option("-C", metavar="DIR", help="The program's folder.")] = Path(),
) -> None:
    """Take what every command needs."""
    context.obj = directory


@app.command()
def plan(context: typer.Context, stacks: Stacks = None) -> None:
    """Show what would be made, with every resolved wire."""
    with program.start(context.obj, stacks or ()) as running:
        from preflight import plan as report

        report.show(running.checked())


@app.command()
def check(
    context: typer.Context,
    stacks: Stacks = None,
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = "text",
    output: Output = None,
    as_of: AsOf = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only findings; nothing where there is none.")] = False,
    planned: Annotated[bool, typer.Option("--plan", help="Show the plan first, of the same run.")] = False,
) -> None:
    """Judge the stacks by every rule; exit 1 on an error."""
    with program.start(context.obj, stacks or ()) as running:
        from preflight import check as checking
        from preflight.report import publish

        day = _day(as_of)
        refused = checking.refusals(running, day) if form in ("json", "sarif") else None
        if refused:
            publish(refused, form, output, quiet=True)
        if planned:
            from preflight import plan as plans

            plans.show(running.checked())
        report = checking.run(running, day)
    publish(report, form, output, quiet=quiet)
    if report.count("error"):
        raise typer.Exit(1)


@app.command()
def access(
    context: typer.Context,
    account: Annotated[str | None, typer.Argument(metavar="NAMESPACE/ACCOUNT", help="A service account.")] = None,
    stack: Annotated[str | None, typer.Argument(metavar="STACK", help="dev where it is left out.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="A row for each service account instead.")] = False,
) -> None:
    """Show what the pods of a service account may become and do, and why."""
    if everyone:
        account, stack = None, stack or account
    elif account is None:
        raise BadInputError(
            "No service account is named.\n"
            "  found:   nothing\n"
            "  allowed: NAMESPACE/ACCOUNT such as kube-system/aws-load-balancer-controller, or --all\n"
            "  change:  preflight access --all shows which there are"
        )
    with program.start(context.obj, [stack] if stack else (), modes=("update",)) as running:
        from preflight import explanation as report

        for recordings in running.checked().values():
            report.show(recordings[-1], account)


@app.command()
def calls(
    context: typer.Context,
    stacks: Stacks = None,
    form: Annotated[PlainFormat, typer.Option("--format", help="What to write.")] = "text",
) -> None:
    """Show who may call whom over VPC Lattice, the stacks taken as one system, and which policy decides."""
    with program.start(context.obj, stacks or (), modes=("update",)) as running:
        from preflight import call_matrix
        from preflight.graph import Graph
        from preflight.report import matrix

        graphs = {name: Graph.of(recordings[-1]) for name, recordings in running.checked().items()}
        matrix.publish(call_matrix.matrix(graphs), form)


@app.command()
def order(
    context: typer.Context,
    stacks: Stacks = None,
    form: Annotated[PlainFormat, typer.Option("--format", help="What to write.")] = "text",
) -> None:
    """Show in which waves a stack comes up and goes down, and the critical path with typical durations."""
    with program.start(context.obj, stacks or (), modes=("update",)) as running:
        from preflight.graph import Graph
        from preflight.report import sequence

        graphs = {name: Graph.of(recordings[-1]) for name, recordings in running.checked().items()}
    sequence.publish(graphs, form)


@app.command()
def diff(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(metavar="REF", help="A branch, tag or commit to compare with.")],
    stacks: Stacks = None,
    form: Annotated[DiffFormat, typer.Option("--format", help="What to write.")] = "text",
    output: Output = None,
    as_of: AsOf = None,
) -> None:
    """Show what this tree changes against a git ref; exit 1 on a new error."""
    from preflight import diff as comparing
    from preflight.report import differences

    found = comparing.run(context.obj, ref, stacks or (), _day(as_of))
    differences.publish(found, form, output)
    if any(finding.severity == "error" for finding in found.found):
        raise typer.Exit(1)


@app.command()
def cost(
    context: typer.Context,
    stacks: Stacks = None,
    form: Annotated[PlainFormat, typer.Option("--format", help="What to write.")] = "text",
    as_of: AsOf = None,
) -> None:
    """Show what a stack costs a month by list price, as far as that can be known before."""
    with program.start(context.obj, stacks or (), modes=("update",)) as running:
        from preflight import cost as bill
        from preflight.graph import Graph
        from preflight.report import bill as report

        found = [
            bill.estimate(stack, Graph.of(recordings[-1]), _day(as_of))
            for stack, recordings in running.checked().items()
        ]
    report.publish(found, form)


@app.command()
def rights(
    context: typer.Context,
    stacks: Stacks = None,
    form: Annotated[PlainFormat, typer.Option("--format", help="What to write.")] = "text",
    output: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write each policy to a file there.")] = None,
) -> None:
    """Show the least IAM policies of whoever deploys a stack; exit 1 where a type's rights are not known."""
    with program.start(context.obj, stacks or ()) as running:
        from preflight import deployer
        from preflight.graph import Graph
        from preflight.report import deployment

        found = [
            deployer.deployer(stack, Graph.of(preview), update["invokes"])
            for stack, (preview, update) in running.checked().items()
        ]
    deployment.publish(found, form, output)
    if any(one.unknown for one in found):
        raise typer.Exit(1)


@app.command()
def steps(
    context: typer.Context,
    guide: Annotated[GuideName, typer.Argument(help="From where to where.")],
    stacks: Stacks = None,
    form: Annotated[PlainFormat, typer.Option("--format", help="What to write.")] = "text",
) -> None:
    """Show the ordered steps that move workloads from one mechanism to another, and what each changes."""
    found = moving.run(context.obj, guide, stacks or ())
    from preflight.report import journeys

    journeys.publish(found, form)


@app.command()
def doctor(
    context: typer.Context,
    stack: Stack,
    form: Annotated[PlainFormat, typer.Option("--format", help="What to write.")] = "text",
) -> None:
    """Ask AWS whether a stack can be made, and whether what is there is as the program says; needs credentials."""
    from preflight.live import doctor as examining

    reports = examining.run(context.obj, stack)
    examining.publish(reports, form)
    _end_live(any(report.broken for report in reports), any(report.unanswered for report in reports))


@app.command()
def leftovers(
    context: typer.Context,
    stack: Stack,
    form: Annotated[PlainFormat, typer.Option("--format", help="What to write.")] = "text",
    lost_state: Annotated[
        bool, typer.Option("--lost-state", help="Count what the stack itself made as well: its state is lost.")
    ] = False,
) -> None:
    """Ask AWS what outlived the cluster of a stack, and how to remove it; needs credentials, changes nothing."""
    from preflight.live import leftovers as looking

    reports = looking.run(context.obj, stack, lost_state=lost_state)
    looking.publish(reports, form)
    _end_live(any(report.left for report in reports), any(report.unanswered for report in reports))


@app.command()
def policies(
    context: typer.Context,
    check_upstream: Annotated[
        bool, typer.Option("--check-upstream", help="Download every source and compare; exit 1 on a change.")
    ] = False,
) -> None:
    """List the ready-made policies with their parameters and sources."""
    from preflight import policy_sources

    sources = policy_sources.load(context.obj)
    if not check_upstream:
        policy_sources.show(sources)
    elif policy_sources.show_check(sources):
        raise typer.Exit(1)


def _end_live(found: bool, partial: bool) -> None:
    if found or partial:
        raise typer.Exit(1 if found else 4)


def _day(given: datetime | None) -> date:
    return given.date() if given else date.today()  # noqa: DTZ011 the user's own day


def main() -> None:
    """Run the command line; the console script."""
    try:
        app()
    except BadInputError as problem:
        _end(problem, 2)
    except ProgramFailedError as problem:
        _end(problem, 3)
    except NoAnswerError as problem:
        _end(problem, 5)


def _end(problem: Exception, code: int) -> None:
    sys.stdout.flush()
    print(problem, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
