"""Measures `preflight plan`: against the floor, and as a stack grows. Run it with `make bench`.

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


def run(command: list[str], directory: Path, stdin: str = "") -> tuple[float, float]:
    """Run a command to its end; return wall time in seconds and the memory of its largest process in MiB."""
    with tempfile.TemporaryFile("w+") as given:
        given.write(stdin)
        given.seek(0)
        before = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 our own commands
            command, cwd=directory, stdin=given, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        elapsed = time.perf_counter() - before
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command} ended with exit code {process.returncode}")
    return elapsed, usage.ru_maxrss / 1024


def floor(directory: Path, stack: str) -> tuple[float, float]:
    """Run the program once under bare mocks."""
    here = program.load(directory)
    config, _ = program.configuration(here, stack_file.read(here.stack_file(stack)), {})
    return run([str(here.interpreter), "-c", FLOOR], directory, json.dumps({"project": here.project, "config": config}))


def plan(directory: Path, stack: str) -> tuple[float, float]:
    """Run `preflight plan`."""
    return run([str(Path(sys.executable).with_name("preflight")), "plan", stack], directory)


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


def table(title: str, *columns: str) -> Table:
    """Make a table with right-aligned figures."""
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    return made


def main() -> None:
    """Print both tables."""
    console = Console()
    times: dict[str, list[float]] = {"floor": [], "preflight plan": []}
    floor(ROOT, "dev")  # fills the file cache, for both alike
    for _ in range(REPETITIONS):
        times["floor"].append(floor(ROOT, "dev")[0])
        times["preflight plan"].append(plan(ROOT, "dev")[0])
    ratios = [ours / bare for ours, bare in zip(times["preflight plan"], times["floor"], strict=True)]
    first = table(f"The dev stack, {REPETITIONS} times in turns", "", "median", "from", "to")
    for name, values in times.items():
        first.add_row(name, *(f"{value:.2f} s" for value in (statistics.median(values), min(values), max(values))))
    first.add_row("ratio", *(f"{value:.2f}" for value in (statistics.median(ratios), min(ratios), max(ratios))))
    console.print(first)

    second = table(
        "As identities are added", "identities", "resources", "floor", "preflight plan", "ratio", "ours each", "memory"
    )
    smallest: tuple[int, float] | None = None
    for count in IDENTITIES:
        with tempfile.TemporaryDirectory() as folder:
            copy = with_identities(Path(folder), count)
            bare, _ = floor(copy, "dev")
            ours, memory = plan(copy, "dev")
            resources = len(program.record(copy, ["dev"], ["update"])[0]["resources"])
        smallest = smallest or (count, ours)
        each = f"{1000 * (ours - smallest[1]) / (count - smallest[0]):.1f} ms" if count > smallest[0] else ""
        row = (f"{bare:.2f} s", f"{ours:.2f} s", f"{ours / bare:.2f}", each, f"{memory:.0f} MiB")
        second.add_row(str(count), str(resources), *row)
    console.print(second)
    console.print("each: what one more identity adds. memory: the largest process, which is the program's own.")


if __name__ == "__main__":
    main()
