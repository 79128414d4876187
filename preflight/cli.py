"""The command line. Each command is a module of its own, imported while the program already runs.

Exit codes: 0 fine, 1 a finding at error severity, 2 bad input, 3 the program failed.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from preflight import program
from preflight.errors import BadInputError, ProgramFailedError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Proves the wiring of a Pulumi Python program without cloud, credential or login.",
)
Stacks = Annotated[list[str] | None, typer.Argument(metavar="[STACK ...]", help="dev, or all where there is no dev.")]


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


def main() -> None:
    """Run the command line; the console script."""
    try:
        app()
    except BadInputError as problem:
        _end(problem, 2)
    except ProgramFailedError as problem:
        _end(problem, 3)


def _end(problem: Exception, code: int) -> None:
    sys.stdout.flush()
    print(problem, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
