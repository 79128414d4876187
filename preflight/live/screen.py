"""What a person sees of a live command: what it asks while it asks, and the answer as a table or as JSON."""

import contextlib
import json
import sys
from collections.abc import Callable, Generator, Iterable, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from preflight.live.asking import Gap
from preflight.plan import WIDTH_OF_A_FILE


@contextlib.contextmanager
def telling() -> Generator[Callable[[str], None]]:
    """Hand out a function that shows what is being asked, on a terminal's stderr; elsewhere nothing is shown."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda _: None
        return
    asked = 0
    with console.status("") as status:

        def tell(question: str) -> None:
            nonlocal asked
            asked += 1
            status.update(f"asking AWS ({asked}): {escape(question)}")

        yield tell


def terminal() -> Console:
    """Return the console for stdout, of a fixed width where that is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH_OF_A_FILE)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Make a table of cells that may carry markup of their own."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def gaps(console: Console, unanswered: Sequence[Gap]) -> None:
    """Say which questions were not answered, and that the answer is therefore partial."""
    if unanswered:
        console.print("\n[bold yellow]This answer is partial. Not answered:")
        for gap in unanswered:
            console.print(f"  {escape(str(gap))}")


def machine(values: object) -> None:
    """Write a report as JSON to stdout."""
    sys.stdout.write(json.dumps(values, indent=2, ensure_ascii=False) + "\n")
