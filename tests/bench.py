"""Measures what `make preview` runs: against the floor, and as a stack grows. Run it with `make bench`.

The floor is the same program run once under Pulumi's bare mocks, in update mode, in a process with nothing of ours:
what anybody pays who runs the program at all. Both are whole processes, started in turns on the same machine.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from preflight import program, stack_file

ROOT = Path(__file__).resolve().parent.parent
REPETITIONS = int(os.environ.get("BENCH_REPETITIONS", "7"))
IDENTITIES = (1, 10, 100, 1000)

FLOOR = """
import json, os, runpy, sys
import pulumi
from pulumi.runtime import config, mocks, settings, stack

# The few answers without which the program's own checks would end it.
ISSUER = "https://oidc.eks.ap-northeast-2.amazonaws.com/id/" + 32 * "0"
ARN = "arn:aws:iam::111122223333:"
CHAIN = {"certificates": [{"isCa": True, "sha1Fingerprint": 40 * "0"}]}
CLUSTER = {"kubeconfigJson": "{}", "clusterSecurityGroupId": "sg-1", "oidcProviderUrl": ISSUER}


class Bare(mocks.Mocks):
    def call(self, args):
        return CHAIN if args.token.startswith("tls:") else {}

    def new_resource(self, args):
        if args.typ == "eks:index:Cluster":
            return "", {**args.inputs, **CLUSTER}
        if args.typ.endswith(":Ingress"):
            return args.name, {**args.inputs, "status": {"loadBalancer": {"ingress": [{"hostname": "host"}]}}}
        kind = "oidc-provider/" + ISSUER[8:] if "openIdConnect" in args.typ else "role/" + args.name
        return args.name, {**args.inputs, "arn": ARN + kind, "name": args.name}


given = json.loads(sys.stdin.read())
config.set_all_config(given["config"], [])
settings.set_root_resource(object())
mocks.set_mocks(Bare(), project=given["project"], stack="dev", preview=False)
settings.set_root_resource(None)
sys.path.insert(0, os.getcwd())
import asyncio
asyncio.new_event_loop().run_until_complete(
    stack.run_in_stack(lambda: runpy.run_path(os.path.join(os.getcwd(), "__main__.py"), run_name="__main__") and None)
)
"""


class Run(NamedTuple):
    """What one process cost, its own children included."""

    wall: float
    """Seconds."""
    processor: float
    """Seconds, of all cores together; steadier than `wall` on a busy machine."""
    memory: float
    """MiB, of its largest process."""


def run(command: list[str], directory: Path, stdin: str = "") -> Run:
    """Run a command to its end."""
    with tempfile.TemporaryFile("w+") as given:
        given.write(stdin)
        given.seek(0)
        before = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 our own commands
            command, cwd=directory, stdin=given, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - before
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command} ended with exit code {process.returncode}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def floor(directory: Path, stack: str) -> Run:
    """Run the program once under bare mocks."""
    here = program.load(directory)
    config, _ = program.configuration(here, stack_file.read(here.stack_file(stack)), {})
    return run([str(here.interpreter), "-c", FLOOR], directory, json.dumps({"project": here.project, "config": config}))


def plan(directory: Path, stack: str) -> Run:
    """Run what `make preview` runs: plan and rules."""
    return run([str(Path(sys.executable).with_name("preflight")), "check", "--plan", stack], directory)


def with_identities(folder: Path, count: int) -> Path:
    """Make a copy of the project, by links, whose dev stack has so many identities."""
    for name in ("__main__.py", "settings.py", "components", "iam_policies", ".venv", "Pulumi.yaml"):
        (folder / name).symlink_to(ROOT / name)
    lines = ["  eks-foundation:identities:"]
    for number in range(count):
        lines += [
            f"    team-{number:04}/reader:",
            "      managedPolicyArns: [arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess]",
        ]
    text = (ROOT / "Pulumi.dev.yaml").read_text(encoding="utf-8").rstrip("\n")
    (folder / "Pulumi.dev.yaml").write_text("\n".join([text, *lines, ""]), encoding="utf-8")
    return folder


def figures(values: list[float], unit: str = "") -> list[str]:
    """Show median, smallest and largest."""
    return [f"{value:.2f}{unit}" for value in (statistics.median(values), min(values), max(values))]


def table(title: str, *columns: str) -> Table:
    """Make a table with right-aligned figures."""
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    return made


def main() -> None:
    """Print both tables."""
    console = Console(width=100)
    floor(ROOT, "dev")  # fills the file cache, for both alike
    bare: list[Run] = []
    ours: list[Run] = []
    for _ in range(REPETITIONS):
        bare.append(floor(ROOT, "dev"))
        ours.append(plan(ROOT, "dev"))
    first = table(f"The dev stack, {REPETITIONS} times in turns", "", "wall", "from", "to", "processor", "from", "to")
    for name, runs in (("floor", bare), ("make preview", ours)):
        first.add_row(name, *figures([one.wall for one in runs], " s"), *figures([one.processor for one in runs], " s"))
    pairs = list(zip(ours, bare, strict=True))
    walls = figures([one.wall / other.wall for one, other in pairs])
    first.add_row("ratio", *walls, *figures([one.processor / other.processor for one, other in pairs]))
    console.print(first)

    second = table(
        "As identities are added",
        "identities",
        "resources",
        "floor",
        "preview",
        "ratio",
        "processor",
        "each more",
        "memory",
    )
    smallest: tuple[int, float] | None = None
    for count in IDENTITIES:
        with tempfile.TemporaryDirectory() as folder:
            copy = with_identities(Path(folder), count)
            once, whole = floor(copy, "dev"), plan(copy, "dev")
            resources = len(program.record(copy, ["dev"], ["update"])[0]["resources"])
        smallest = smallest or (count, whole.processor)
        more = count - smallest[0]
        second.add_row(
            str(count),
            str(resources),
            f"{once.wall:.2f} s",
            f"{whole.wall:.2f} s",
            f"{whole.wall / once.wall:.2f}",
            f"{whole.processor:.2f} s",
            f"{1000 * (whole.processor - smallest[1]) / more:.1f} ms" if more else "",
            f"{whole.memory:.0f} MiB",
        )
    console.print(second)
    console.print("Medians. processor: seconds of all cores; each more: what another identity adds to them.")


if __name__ == "__main__":
    main()
