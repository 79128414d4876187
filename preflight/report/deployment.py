"""What a deployer needs to be allowed, for the terminal, as JSON, and as policy files."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from preflight import deployer
from preflight.deployer import Deployer
from preflight.report import PlainFormat, machine, write
from preflight.report.merged import counted
from preflight.report.terminal import console

_MANY = 6
"""Resources of a statement that are listed before the rest is only counted."""


def publish(deployers: Sequence[Deployer], form: PlainFormat, folder: Path | None) -> None:
    """Write the rights to stdout, and each policy document to a file of its own in a folder.

    Raises BadInputError if a file cannot be written.
    """
    if folder is not None:
        for one in deployers:
            for number, body in enumerate(one.documents, 1):
                write(folder / f"{one.stack}-{number}.json", json.dumps(body, indent=2) + "\n")
    if form == "json":
        sys.stdout.write(json.dumps(document(deployers), indent=2, ensure_ascii=False) + "\n")
        return
    for one in deployers:
        show(one, console())


def document(deployers: Sequence[Deployer]) -> dict[str, Any]:
    """Return rights as plain values."""
    return {
        "format": machine.FORMAT,
        "tableOf": deployer.table()["checked"].isoformat(),
        "stacks": [
            {
                "stack": one.stack,
                "complete": not one.unknown,
                "unknownTypes": {type_: list(names) for type_, names in one.unknown.items()},
                "why": {permission.sid: permission.why for permission in one.permissions},
                "policies": one.documents,
            }
            for one in deployers
        ],
    }


def show(one: Deployer, to: Console) -> None:
    """Print the rights of one stack."""
    asked = {action for permission in one.permissions for action in permission.actions}
    policies = counted(len(one.documents), "managed policy").replace("policys", "policies")
    head = f"{one.stack}: {counted(len(asked), 'action')} in {policies}"
    to.print(Text(f"{head}, by the table of {deployer.table()['checked']}", "bold"))
    for permission in one.permissions:
        line = Text.assemble(
            (permission.sid, "cyan"), f"  {counted(len(permission.actions), 'action')}: {permission.why}"
        )
        to.print(line, soft_wrap=True)
        for arn in permission.resources[:_MANY]:
            to.print(Text(f"    {arn}", "dim"), soft_wrap=True)
        if (more := len(permission.resources) - _MANY) > 0:
            to.print(Text(f"    and {more} more", "dim"))
        for key, values in _conditions(permission):
            to.print(Text(f"    where {key} is one of {', '.join(values)}", "dim"), soft_wrap=True)
    for type_, names in one.unknown.items():
        to.print(Text(f"not known: what {type_} needs ({', '.join(names)}); the policies lack it", "bold red"))
    to.print()


def _conditions(permission: deployer.Permission) -> list[tuple[str, tuple[str, ...]]]:
    return [(key, values) for keys in permission.conditions.values() for key, values in keys.items()]
