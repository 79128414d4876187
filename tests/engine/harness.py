"""Runs the project under the real `pulumi` command, against the doubles, in a folder of its own.

The program runs inside this process (an inline program of the Automation API), so the `pulumi` binary is all it takes:
no language host, no plugin, no network.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import runpy
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Generator, Mapping
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi import automation
from pulumi.automation import events
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2
from ruamel.yaml import YAML

from .doubles import wire
from .doubles.aws import Aws
from .doubles.eks import Eks
from .doubles.kubernetes import Kubernetes
from .doubles.provider import Cloud, serving
from .doubles.tls import Tls
from .doubles.world import World

ROOT = Path(__file__).parents[2]
_LANGUAGES = "PULUMI_DEBUG_LANGUAGES"
_SKIP_CHECKPOINTS = "PULUMI_SKIP_CHECKPOINTS"
PROGRAM = ("__main__.py", "settings.py", "components", "iam_policies", "Pulumi.yaml")
_CONFIG = {file.name.split(".")[1]: YAML().load(file)["config"] for file in sorted(ROOT.glob("Pulumi.*.yaml"))}
REGIONS = {stack: config["eks-foundation:region"] for stack, config in _CONFIG.items()}
"""Of each stack that has a file."""
NEEDS = {
    stack: config["eks-foundation:latticeGateway"]["environment"]
    for stack, config in _CONFIG.items()
    if "eks-foundation:latticeGateway" in config
}
"""Stacks that read the outputs of another one, which therefore has to be up: that one's name."""


class _Pulumi(automation.PulumiCommand):
    """The command, which says under which process id it runs."""

    running: subprocess.Popen[str] | None = None

    def run(self, args, cwd, additional_env, on_output=None, on_error=None):
        """Run it, and remember the process meanwhile."""
        del on_output, on_error
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "KUBE", "PULUMI_"))},
            **additional_env,
        }
        with subprocess.Popen(  # noqa: S603 our own arguments
            [self.command, "--non-interactive", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=environment,
            text=True,
        ) as process:
            self.running = process
            out, err = process.communicate()
        result = automation._cmd.CommandResult(out, err, process.returncode)
        if process.returncode:
            raise automation.errors.create_command_error(result)
        return result


class _Language(language_pb2_grpc.LanguageRuntimeServicer):
    """Stands for the language host with the commands that ask one which plugins the program needs: none."""

    def Handshake(  # noqa: N802
        self, request: language_pb2.LanguageHandshakeRequest, context: grpc.ServicerContext
    ) -> language_pb2.LanguageHandshakeResponse:
        """As the protocol says."""
        del request, context
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:  # noqa: N802
        """As the protocol says."""
        del request, context
        return plugin_pb2.PluginInfo(version="0.0.0")

    def GetRequiredPackages(  # noqa: N802
        self, request: language_pb2.GetRequiredPackagesRequest, context: grpc.ServicerContext
    ) -> language_pb2.GetRequiredPackagesResponse:
        """As the protocol says."""
        del request, context
        return language_pb2.GetRequiredPackagesResponse()


class _Runner(automation._server.LanguageServer):
    """Runs the inline program, and says when it no longer does."""

    idle = threading.Event()

    def Run(self, request: language_pb2.RunRequest, context: grpc.ServicerContext) -> language_pb2.RunResponse:  # noqa: N802
        """As the protocol says."""
        self.idle.clear()
        try:
            return super().Run(request, context)
        finally:
            self.idle.set()


automation._stack.LanguageServer = _Runner


class _Stack(automation.Stack):
    """A stack that does not ask for outputs and history after each update: four processes less."""

    def outputs(self) -> automation.OutputMap:
        """Read from the exported state instead."""
        return {}

    def info(self, show_secrets: bool = True) -> automation.UpdateSummary | None:
        """Nobody reads it."""
        del show_secrets
        return automation.UpdateSummary("update", None, "", {}, {}, "succeeded", None, None)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Step:
    """What the engine plans or did to one resource."""

    operation: str
    urn: str
    paths: tuple[str, ...] = ()
    """The inputs that differ."""

    @property
    def label(self) -> str:
        """Type's last part and name: `Subnet network-public-a`."""
        return f"{wire.type_of(self.urn).split(':')[-1]} {wire.name_of(self.urn)}"


@dataclass(frozen=True)
class Verdict:
    """What a policy pack said."""

    level: str
    """`mandatory` or `advisory`."""
    policy: str
    message: str


@dataclass
class Outcome:
    """How one command of the engine went."""

    steps: list[Step] = field(default_factory=list[Step])
    """In the order in which they ended."""
    failed: list[Step] = field(default_factory=list[Step])
    messages: list[str] = field(default_factory=list[str])
    """Warnings and errors."""
    verdicts: list[Verdict] = field(default_factory=list[Verdict])
    error: str = ""

    def of(self, *operations: str) -> set[str]:
        """The labels of what was done."""
        return {each.label for each in self.steps if each.operation in operations}

    @property
    def changes(self) -> dict[str, set[str]]:
        """What was created, updated, replaced, deleted, by operation, without what stayed."""
        named = {
            "create": "create",
            "create-replacement": "replace",
            "delete": "delete",
            "replace": "replace",
            "update": "update",
        }
        found: dict[str, set[str]] = {}
        for each in self.steps:
            if each.operation in named:
                found.setdefault(named[each.operation], set()).add(each.label)
        return found

    def order(self, operation: str) -> list[str]:
        """The labels of one operation, in the order in which they ended."""
        return [each.label for each in self.steps if each.operation == operation]


@dataclass
class Lab:
    """The engine, the doubles and a folder for everything that they write. One for all tests of a run."""

    command: _Pulumi
    cloud: Cloud
    attached: Mapping[str, str]
    """The environment that makes the engine call us instead of starting plugins."""
    home: Path


@contextmanager
def laboratory(home: Path) -> Generator[Lab]:
    """Start the doubles."""
    # Python looks for garbage after every 700 objects, and a program makes a hundred thousand: half its time.
    gc.set_threshold(500_000)
    cloud = Cloud(World("nowhere"))
    language = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(_Language(), language)
    port = language.add_insecure_port("127.0.0.1:0")
    language.start()
    with serving(Aws(cloud), Kubernetes(cloud), Tls(cloud), Eks(cloud)) as addresses:
        command = _Pulumi()
        cloud.engine = lambda: command.running.pid if command.running else 0
        attached = {"PULUMI_DEBUG_PROVIDERS": addresses, _LANGUAGES: f"python:{port}"}
        yield Lab(command, cloud, attached, home)
    language.stop(None).wait()


class Deployment:
    """One stack of a copy of the program, with the world that it is deployed to."""

    def __init__(
        self, lab: Lab, folder: Path, stack: str = "dev", *, world: World | None = None, source: Path = ROOT
    ) -> None:
        """Copy the program from its source and open the stack; a folder that is there is taken as it is.

        In a new folder, the stack that this one needs is up.
        """
        self.lab, self.folder, self.name = lab, folder, stack
        self.world = world or World(REGIONS[stack])
        new = not folder.exists()
        if new:
            folder.mkdir(parents=True)
            (folder / "backend").mkdir()
            for each in (*PROGRAM, f"Pulumi.{stack}.yaml"):
                _copy(source / each, folder / each)
        self._workspace = automation.LocalWorkspace(
            work_dir=str(folder),
            program=self._program,
            pulumi_command=lab.command,
            pulumi_home=str(lab.home),
            env_vars={
                "PULUMI_BACKEND_URL": f"file://{folder}/backend",
                "PULUMI_CONFIG_PASSPHRASE": "for tests",
                **lab.attached,
                "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
                "PULUMI_SKIP_UPDATE_CHECK": "true",
                # Half the work for the engine: states that only a killed one leaves behind, copies of each that nobody
                # reads, and a tidy heap.
                _SKIP_CHECKPOINTS: "true",
                "PULUMI_DISABLE_CHECKPOINT_BACKUPS": "true",
                "GOGC": "400",
                "PULUMI_HOME": str(lab.home),
            },
        )
        self.checkpoint_file = folder / "backend" / ".pulumi" / "stacks" / "eks-foundation" / f"{stack}.json"
        exists = self.checkpoint_file.exists()
        mode = automation._stack.StackInitMode.SELECT if exists else automation._stack.StackInitMode.CREATE
        self._stack = _Stack(stack, self._workspace, mode)
        self._loop: asyncio.AbstractEventLoop | None = None
        if new and stack in NEEDS:
            needed = self.beside(NEEDS[stack], source).up()
            if needed.error:
                raise AssertionError(f"{NEEDS[stack]}, which {stack} needs, has to come up: {needed.error}")
        self.found = self.world.leftovers if new else []
        """What is in the world before the stack is up."""

    def branch(self, folder: Path) -> Deployment:
        """An independent copy of program, state and world as they are now."""
        shutil.copytree(self.folder, folder)
        copy = Deployment(self.lab, folder, self.name, world=self.world.copy())
        copy.found = self.found
        return copy

    def beside(self, stack: str, source: Path = ROOT) -> Deployment:
        """Another stack of the same copy of the program, in the same world."""
        file = self.folder / f"Pulumi.{stack}.yaml"
        if not file.exists():
            _copy(source / file.name, file)
        return Deployment(self.lab, self.folder, stack, world=self.world)

    @property
    def leftovers(self) -> list[str]:
        """What is in the world, and was not before the stack was up."""
        return [each for each in self.world.leftovers if each not in self.found]

    def again(self, folder: Path) -> Deployment:
        """The same program, not deployed yet, with an empty world."""
        return Deployment(self.lab, folder, self.name, source=self.folder)

    def keep_checkpoints(self) -> None:
        """Let the engine write down each step, as it does for everybody: what it leaves behind when it is killed."""
        self._workspace.env_vars.pop(_SKIP_CHECKPOINTS)

    # The program.

    def configure(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Edit the stack file; the function gets the project's keys, without its namespace."""
        path = self.folder / f"Pulumi.{self.name}.yaml"
        yaml = YAML()
        document = yaml.load(path)
        values = {key.split(":", 1)[1]: value for key, value in document["config"].items()}
        change(values)
        document["config"] = {f"eks-foundation:{key}": value for key, value in values.items()}
        with path.open("w") as file:
            yaml.dump(document, file)

    @property
    def settings(self) -> dict[str, Any]:
        """The project's keys in the stack file, without its namespace."""
        document = YAML().load(self.folder / f"Pulumi.{self.name}.yaml")
        return {key.split(":", 1)[1]: value for key, value in document["config"].items()}

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text of the program that stands there exactly once."""
        file = self.folder / path
        text = file.read_text()
        if text.count(old) != 1:
            raise AssertionError(f"{path} should contain {old!r} exactly once, contains it {text.count(old)} times")
        file.write_text(text.replace(old, new))

    def _program(self) -> None:
        self._loop = asyncio.get_running_loop()
        runpy.run_path(str(self.folder / "__main__.py"), run_name="__main__")

    @contextmanager
    def _running(self) -> Generator[None]:
        """Let the program import its own modules and not those of another copy; give the doubles our world."""
        own = {"components", "iam_policies", "settings"}
        others = {key: sys.modules.pop(key) for key in [*sys.modules] if key.split(".")[0] in own}
        sys.path.insert(0, str(self.folder))
        self.lab.cloud.world = self.world
        try:
            yield
        finally:
            sys.path.remove(str(self.folder))
            for key in [each for each in sys.modules if each.split(".")[0] in own]:
                del sys.modules[key]
            sys.modules.update(others)
            self.lab.cloud.settle()
            self.lab.cloud.world = World("nowhere")

    # The commands.

    def preview(self, **options: Any) -> Outcome:
        """`pulumi preview`."""
        return self._run(self._stack.preview, **options)

    def preview_with_policies(self, pack: Path) -> Outcome:
        """`pulumi preview --policy-pack`: the real language host runs the pack."""
        stand_in = self._workspace.env_vars.pop(_LANGUAGES)
        try:
            return self.preview(policy_packs=[str(pack)])
        finally:
            self._workspace.env_vars[_LANGUAGES] = stand_in

    def up(self, **options: Any) -> Outcome:
        """`pulumi up`."""
        return self._run(self._stack.up, **options)

    def up_with(self, other: Deployment) -> tuple[Outcome, Outcome]:
        """`pulumi up` of two stacks of one copy of the program, at the same time.

        One of them has to have run before: the SDKs load their modules when they are needed, and not for two at once.
        """
        outcomes = Outcome(), Outcome()
        program = sys.modules["__main__"]
        with self._running(), futures.ThreadPoolExecutor() as pool:
            pairs = zip((self, other), outcomes, strict=True)
            for done in [pool.submit(one._play, one._stack.up, outcome) for one, outcome in pairs]:
                done.result()
        # Each program took the place of the other one, and put that back.
        sys.modules["__main__"] = program
        return outcomes

    def refresh(self, **options: Any) -> Outcome:
        """`pulumi refresh`."""
        return self._run(self._stack.refresh, **options)

    def preview_destroy(self) -> Outcome:
        """What `pulumi destroy` shows before it asks."""
        return self._run(self._stack.preview_destroy)

    def destroy(self, **options: Any) -> Outcome:
        """`pulumi destroy`."""
        return self._run(self._stack.destroy, **options)

    def command(self, *args: str) -> str:
        """Any other command on the stack; its output."""
        with self._running():
            result = self.lab.command.run([*args, "--stack", self.name], str(self.folder), {**self._workspace.env_vars})
        return result.stdout

    def _run(self, command: Callable[..., object], **options: Any) -> Outcome:
        outcome = Outcome()
        with self._running():
            self._play(command, outcome, **options)
        if outcome.error and self._loop:
            _forget_the_aborted_program(self._loop)
        return outcome

    def _play(self, command: Callable[..., object], outcome: Outcome, **options: Any) -> None:
        try:
            command(on_event=lambda event: _note(outcome, event), color="never", **options)
        except automation.CommandError as error:
            outcome.error = str(error)

    @property
    def state(self) -> list[dict[str, Any]]:
        """The resources in the engine's state."""
        return self.checkpoint.get("resources", [])

    @property
    def checkpoint(self) -> dict[str, Any]:
        """The whole state, with pending operations."""
        return json.loads(self.checkpoint_file.read_text())["checkpoint"]["latest"] or {}

    @property
    def kept(self) -> set[str]:
        """The ids of what stays on purpose when the stack goes."""
        return {each["id"] for each in self.state if each.get("retainOnDelete") and "id" in each}

    @property
    def pending(self) -> list[dict[str, Any]]:
        """The operations that a killed engine had begun."""
        return self.checkpoint.get("pending_operations", [])

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The outputs of the stack."""
        return next((each.get("outputs", {}) for each in self.state if each["type"] == "pulumi:pulumi:Stack"), {})


def _forget_the_aborted_program(loop: asyncio.AbstractEventLoop) -> None:
    """End what the SDK leaves open of a program that the engine has aborted; its warnings are not ours."""
    _Runner.idle.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not loop.is_closed():
            # The SDK may have asked the loop to stop: such a request ends the next run, which therefore is this one.
            loop.call_soon(loop.stop)
            loop.run_forever()
            tasks = asyncio.all_tasks(loop)
            for each in tasks:
                each.cancel()
            if tasks:
                loop.run_until_complete(asyncio.wait(tasks))
            loop.close()
        gc.collect()


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _note(outcome: Outcome, event: events.EngineEvent) -> None:
    if event.res_outputs_event:
        outcome.steps.append(_step(event.res_outputs_event.metadata))
    if event.res_op_failed_event:
        outcome.failed.append(_step(event.res_op_failed_event.metadata))
    if event.diagnostic_event and event.diagnostic_event.severity in ("warning", "error"):
        outcome.messages.append(event.diagnostic_event.message.strip())
    if said := event.policy_event:
        outcome.verdicts.append(Verdict(said.enforcement_level, said.policy_name, said.message))


def _step(metadata: events.StepEventMetadata) -> Step:
    return Step(str(metadata.op.value), metadata.urn, tuple(sorted(metadata.detailed_diff or metadata.diffs or ())))
