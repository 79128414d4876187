"""Runs a Pulumi Python program of any origin: finds its files, hands them to a recorder, returns the recordings.

The parent side of `recorder.py`. It reads Pulumi.yaml, the stack files and preflight.toml, and imports nothing of the
program: that happens in a child process under the program's own interpreter, without credentials.
"""

import contextlib
import difflib
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NotRequired, TypeAlias, TypedDict, cast

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from preflight import stack_file
from preflight.errors import BadInputError, ProgramFailedError
from preflight.stack_file import Plain, StackFile

MODES = ("preview", "update")
SETTINGS_FILE = "preflight.toml"
_TABLES = ("answers", "stacks", "config", "waiver")
_RECORDER = Path(__file__).with_name("recorder.py")

# A program that calls AWS behind Pulumi's back must not find a way there, and must behave alike on every machine.
_WITHHELD = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "KUBECONFIG",
    "PULUMI_ACCESS_TOKEN",
    "PULUMI_CONFIG",
    "PULUMI_CONFIG_PASSPHRASE",
    "PULUMI_CONFIG_SECRET_KEYS",
)


Edit: TypeAlias = Callable[[dict[str, str]], dict[str, str]]
"""Changes the configuration of a stack as an edit of its file would."""


class Source(TypedDict):
    """The line of the program that registered a resource; relative to the program's folder if it is below it."""

    file: str
    line: int


class RecordedResource(TypedDict):
    """One registration as the program sent it, and what the recorder answered. Values are in Pulumi's wire form."""

    urn: str
    type: str
    name: str
    parent: str
    """URN of the component above; empty directly below the stack."""
    custom: bool
    remote: bool
    read: bool
    provider: str
    """`URN::id` of the provider instance; empty for the default provider."""
    providers: dict[str, str]
    inputs: dict[str, object]
    outputs: dict[str, object]
    id: str
    dependencies: list[str]
    propertyDependencies: dict[str, list[str]]
    protect: bool | None
    deletedWith: str
    ignoreChanges: list[str]
    replaceOnChanges: list[str]
    aliases: list[object]
    deleteBeforeReplace: bool
    retainOnDelete: bool
    customTimeouts: dict[str, str]
    importId: str
    version: str
    source: Source | None


class Invoke(TypedDict):
    """A look-up of the program, and where its answer came from."""

    token: str
    args: dict[str, object]
    answer: object
    origin: Literal["table", "program file", "stack", "stand-in"]
    """`stack`: what another stack of the program hands out, recorded with it."""


class Log(TypedDict):
    """A message of the program to Pulumi's log."""

    severity: Literal["info", "warning", "error"]
    message: str
    urn: str


class ProgramError(TypedDict):
    """What ended a program: `refused` by its own checks (pulumi.RunError), or `failed` with any other exception."""

    kind: Literal["refused", "failed"]
    message: str
    traceback: list[str]
    paths: list[str]
    """Dotted paths of the settings at fault, where the exception carries them as `.paths`."""


class Recording(TypedDict):
    """Everything one run of a program registered, for one stack in one mode, in the order of registration."""

    project: str
    stack: str
    mode: Literal["preview", "update"]
    directory: str
    resources: list[RecordedResource]
    invokes: list[Invoke]
    outputs: dict[str, object]
    logs: list[Log]
    reads: list[str]
    """The stacks of the program whose outputs it got."""
    beside: NotRequired[list["Recording"]]
    """Updates of the stacks that it reads, and of those that these read; only on an update."""
    error: ProgramError | None


@dataclass(frozen=True)
class Program:
    """A folder with a Pulumi.yaml for Python."""

    directory: Path
    project: str
    file: StackFile
    main: Path
    interpreter: Path
    stack_folder: Path

    @property
    def stacks(self) -> list[str]:
        """The names of the stacks that have a file, sorted."""
        return sorted(
            path.name.removeprefix("Pulumi.").removesuffix(path.suffix)
            for path in self.stack_folder.glob("Pulumi.*.y*ml")
            if path.suffix in (".yaml", ".yml")
        )

    def stack_file(self, stack: str) -> Path:
        """The path of a stack's file, whether or not it is there."""
        found = self.stack_folder / f"Pulumi.{stack}.yml"
        return found if found.exists() else found.with_suffix(".yaml")


def load(directory: Path) -> Program:
    """Read a program's Pulumi.yaml. Raises BadInputError where there is none or it is not a Python program's."""
    directory = directory.resolve()
    path = next((one for one in (directory / "Pulumi.yaml", directory / "Pulumi.yml") if one.is_file()), None)
    if path is None:
        raise BadInputError(
            f"There is no Pulumi program in {directory}.\n"
            f"  found:   {'no Pulumi.yaml' if directory.is_dir() else 'no such folder'}\n"
            f"  allowed: a folder with a Pulumi.yaml\n"
            f"  change:  name the program's folder with -C DIR"
        )
    file = stack_file.read(path)
    values = file.values
    runtime = values.get("runtime")
    options: Mapping[str, Plain] = {}
    if isinstance(runtime, dict):
        options = cast("dict[str, Plain]", runtime.get("options") or {})
        runtime = runtime.get("name")
    if runtime != "python":
        raise BadInputError(
            f"{path.name} is not of a Python program.\n"
            f"  found:   runtime {runtime!r}\n"
            f"  allowed: runtime python\n"
            f"  change:  name the folder of a Python program with -C DIR"
        )
    main = directory / str(values.get("main") or ".")
    return Program(
        directory=directory,
        project=str(values.get("name") or directory.name),
        file=file,
        main=main.resolve(),
        interpreter=_interpreter(directory, options),
        stack_folder=directory / str(values.get("stackConfigDir") or "."),
    )


def _interpreter(directory: Path, options: Mapping[str, Plain]) -> Path:
    """Find the interpreter that Pulumi would take: of the named environment, uv's, the activated one; else ours."""
    environments: list[Path] = []
    if options.get("virtualenv"):
        environments = [directory / str(options["virtualenv"])]
    elif options.get("toolchain") in ("uv", "poetry"):
        environments = [above / ".venv" for above in (directory, *directory.parents)]
    elif "VIRTUAL_ENV" in os.environ:
        environments = [Path(os.environ["VIRTUAL_ENV"])]
    found = (one / place for one in environments for place in ("bin/python", "Scripts/python.exe"))
    return next((one for one in found if one.exists()), Path(sys.executable))


def settings(directory: Path) -> dict[str, object]:
    """Read the preflight.toml beside a program; empty without one.

    Raises BadInputError where it does not parse, or has anything that nobody reads.
    """
    path = directory / SETTINGS_FILE
    if not path.is_file():
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise BadInputError(
            f"{SETTINGS_FILE} is not TOML: {problem}. Mend it; https://toml.io has the rules."
        ) from problem
    for key, value in values.items():
        if key not in _TABLES:
            near = difflib.get_close_matches(key, _TABLES, n=1)
            raise BadInputError(
                f"{SETTINGS_FILE} has `{key}`, which nobody reads.\n"
                f"  found:   {key}\n"
                f"  allowed: {', '.join(_TABLES)}\n"
                f"  change:  {f'did you mean `{near[0]}`?' if near else 'remove it'}"
            )
        if key != "waiver":
            _refuse_unless_table(key, value)
        for name, inner in value.items() if key in ("answers", "stacks") else ():
            _refuse_unless_table(f'{key}."{name}"', inner)
    return values


def _refuse_unless_table(name: str, value: object) -> None:
    if not isinstance(value, dict):
        raise BadInputError(f"{SETTINGS_FILE} has `{name}` as {type(value).__name__}; write it as a table, [{name}].")


def choose(program: Program, asked: Sequence[str]) -> list[str]:
    """Return the stacks to run: those asked for, else dev if it has a file, else all that have one.

    A program without any stack file runs as the stack that was asked for, or as dev: Pulumi needs no file either, and
    many public programs keep theirs to themselves. Raises BadInputError where there are files, but not this one.
    """
    stacks = program.stacks
    for stack in asked if stacks else ():
        if stack not in stacks:
            near = difflib.get_close_matches(stack, stacks, n=1, cutoff=0.5)
            write = f"name one of these stacks, or write Pulumi.{stack}.yaml"
            raise BadInputError(
                f"There is no stack `{stack}`.\n"
                f"  found:   no {program.stack_file(stack).name} in {program.stack_folder}\n"
                f"  allowed: {', '.join(stacks)}\n"
                f"  change:  {f'did you mean `{near[0]}`?' if near else write}"
            )
    if asked:
        return list(dict.fromkeys(asked))
    return ["dev"] if "dev" in stacks or not stacks else stacks


def placeholder(path: str) -> str:
    """Return what a program gets in place of a secret setting. It is never decrypted; this text names it instead."""
    return f"placeholder-for-secret-{path}"


def configuration(
    program: Program, stack: StackFile | None, missing: Mapping[str, object]
) -> tuple[dict[str, str], list[str]]:
    """Return a stack's configuration as Pulumi hands it to a program, and the keys of it that are secret.

    Scalars are the text that the file has, objects are JSON. The stack's file wins over the project's own values,
    those win over `missing` (preflight.toml).
    """
    config: dict[str, str] = {}
    secrets: set[str] = set()
    for name, value in missing.items():
        config[_namespaced(name, program)] = value if isinstance(value, str) else json.dumps(value)
    for key, declared in program.file.entries("config"):
        node: Node | None = declared
        if isinstance(declared, MappingNode):
            parts = {one.value: value for one, value in declared.value}
            node = parts.get("value", parts.get("default"))
        if node is not None:
            _set(config, secrets, _namespaced(key.value, program), node)
    for key, node in stack.entries("config") if stack else ():
        name = _namespaced(key.value, program)
        secrets.discard(name)
        _set(config, secrets, name, node)
    return config, sorted(secrets)


def _namespaced(key: str, program: Program) -> str:
    return key if ":" in key else f"{program.project}:{key}"


def _set(config: dict[str, str], secrets: set[str], key: str, node: Node) -> None:
    if isinstance(node, ScalarNode):
        config[key] = "" if node.tag.endswith(":null") else node.value
        return
    value, secret = _without_secrets(node, key)
    config[key] = value if isinstance(value, str) else json.dumps(value)
    if secret:
        secrets.add(key)


def _without_secrets(node: Node, path: str) -> tuple[Plain, bool]:
    if isinstance(node, MappingNode):
        if [key.value for key, _ in node.value] == ["secure"]:
            return placeholder(path), True
        pairs = {key.value: _without_secrets(value, f"{path}.{key.value}") for key, value in node.value}
        return {key: value for key, (value, _) in pairs.items()}, any(secret for _, secret in pairs.values())
    if isinstance(node, SequenceNode):
        items = [_without_secrets(item, f"{path}.{index}") for index, item in enumerate(node.value)]
        return [value for value, _ in items], any(secret for _, secret in items)
    return stack_file.plain(node), False


class Running:
    """A program that is being recorded. Whoever holds it can do other things until `recordings` is called."""

    def __init__(self, program: Program, stacks: Sequence[str], child: subprocess.Popen[str], answer: Path) -> None:
        """Made by `start`."""
        self.program = program
        self.stacks = stacks
        self._child = child
        self._answer = answer
        self._files: dict[Path, StackFile] = {}

    @cached_property
    def _recordings(self) -> list[Recording]:
        status = self._child.wait()
        try:
            answer = json.loads(self._answer.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError) as problem:
            ended = f"was ended by signal {-status}" if status < 0 else f"ended with exit code {status}"
            raise ProgramFailedError(
                f"The program's process {ended} before it could answer.\n"
                f"  interpreter: {self.program.interpreter}\n"
                f"  change:      what it printed above says more; it must not call os._exit"
            ) from problem
        recordings = cast("list[Recording]", answer["recordings"])
        updates = cast("dict[str, Recording]", answer["updates"])
        for recording in recordings:
            if recording["mode"] == "update":
                recording["beside"] = [updates[stack] for stack in _reached(recording["reads"], updates)]
        return recordings

    def recordings(self) -> list[Recording]:
        """Wait for the end and return a recording per stack and mode. Raises ProgramFailedError without an answer."""
        return self._recordings

    def checked(self) -> dict[str, list[Recording]]:
        """Wait for the end and return the recordings by stack, in the order of the modes.

        Raises BadInputError if the program refused the settings of a stack, ProgramFailedError if it failed; the
        message is about all stacks that are concerned.
        """
        by_stack: dict[str, list[Recording]] = {}
        problems: dict[str, str] = {}
        failed = False
        for recording in self.recordings():
            stack, error = recording["stack"], recording["error"]
            by_stack.setdefault(stack, []).append(recording)
            if error is None or stack in problems:
                continue
            where = [f"{path}: {self.line(stack, path)}" for path in error["paths"]]
            if error["kind"] == "failed":
                failed = True
                head = f"The program failed, stack {stack}, {recording['mode']} mode."
                lines = [f"  {line}" for line in error["traceback"]]
                problems[stack] = "\n".join([head, *lines, error["message"], *self._advice(recording, error)])
            else:
                problems[stack] = "\n".join([error["message"], *(["", *where] if where else [])])
        if problems:
            message = "\n\n".join(problems.values())
            raise ProgramFailedError(message) if failed else BadInputError(message)
        return by_stack

    def _advice(self, recording: Recording, error: ProgramError) -> list[str]:
        """Say what may help a program that failed: a package, or a better answer to a look-up."""
        if error["message"].startswith("ModuleNotFoundError"):
            python = self.program.interpreter
            if python == Path(sys.executable):
                where = "preflight's own, as no environment of the program was found"
                change = "make the environment that Pulumi.yaml names under runtime, options, virtualenv"
            else:
                where = "the program's own"
                change = f"{python} -m pip install -r requirements.txt, or whatever the program needs"
            return [f"  interpreter: {python}, {where}", f"  change:      {change}"]
        tokens = sorted({invoke["token"] for invoke in recording["invokes"] if invoke["origin"] == "stand-in"})
        if not tokens:
            return []
        return [
            f"  note:    it was given stand-ins for what it asked: {', '.join(tokens)}",
            f'  change:  if that is why, state the answers in {SETTINGS_FILE}: [answers."TOKEN"], and for the outputs',
            '           of another stack [stacks."ORGANIZATION/PROJECT/STACK"]',
        ]

    def line(self, stack: str, path: str) -> str:
        """Return where a setting stands, as `Pulumi.dev.yaml:12`; without the line if the file does not have it."""
        file = self.program.stack_file(stack)
        if not file.is_file():
            return file.name
        if file not in self._files:  # whoever asks for one line often asks for many
            self._files[file] = stack_file.read(file)
        line = self._files[file].line(path, self.program.project)
        return f"{file.name}:{line}" if line else file.name


def _reached(stacks: Sequence[str], updates: Mapping[str, Recording]) -> list[str]:
    """Return these stacks and all that they read in turn, each once."""
    found = list(stacks)
    for stack in found:
        found += [other for other in updates[stack]["reads"] if other not in found]
    return found


@contextlib.contextmanager
def start(
    directory: Path,
    asked: Sequence[str] = (),
    modes: Sequence[str] = MODES,
    interpreter: Path | None = None,
    edits: Sequence[Edit] = (dict,),
) -> Generator[Running]:
    """Start recording a program for some stacks (see `choose`); ended and cleaned up on leaving, whatever happens.

    `interpreter` stands in for the program's own, as a checkout without an environment needs it. Every stack is
    recorded once per edit, in their order.

    Raises BadInputError before anything runs if the project, a stack file or preflight.toml cannot be used.
    """
    program = load(directory)
    environment = {key: value for key, value in os.environ.items() if key not in _WITHHELD}
    environment["AWS_EC2_METADATA_DISABLED"] = "true"
    with tempfile.TemporaryDirectory(prefix="preflight-") as folder:
        answer = Path(folder) / "answer.json"
        # The child imports pulumi while the stack files are read here; it waits for the request on stdin.
        child = subprocess.Popen(  # noqa: S603 the interpreter is the program's own
            [interpreter or program.interpreter, _RECORDER, answer],
            stdin=subprocess.PIPE,
            cwd=program.directory,
            env=environment,
            text=True,
        )
        try:
            stacks = choose(program, asked)
            request = json.dumps(_request(program, stacks, modes, edits))
            with contextlib.suppress(BrokenPipeError):  # a child that died tells so by its exit code
                _send(child, request)
            yield Running(program, stacks, child, answer)
        finally:
            child.kill()
            child.communicate()


def _send(child: subprocess.Popen[str], request: str) -> None:
    if child.stdin is not None:
        child.stdin.write(request)
        child.stdin.close()


def _request(program: Program, stacks: Sequence[str], modes: Sequence[str], edits: Sequence[Edit]) -> dict[str, object]:
    own = settings(program.directory)
    missing = cast("dict[str, object]", own.get("config", {}))
    runs: list[dict[str, object]] = []
    others: list[dict[str, object]] = []
    for stack in stacks:
        path = program.stack_file(stack)
        file = stack_file.read(path) if path.is_file() else None
        config, secrets = configuration(program, file, missing)
        runs.extend({"stack": stack, "config": edit(config), "secrets": secrets} for edit in edits)
    for stack in program.stacks:
        # A file that cannot be read matters to those who ask for its stack.
        with contextlib.suppress(BadInputError):
            if stack not in stacks:
                config, secrets = configuration(program, stack_file.read(program.stack_file(stack)), missing)
                others.append({"stack": stack, "config": config, "secrets": secrets})
    return {
        "project": program.project,
        "organization": "organization",
        "directory": str(program.directory),
        "main": str(program.main),
        "modes": list(modes),
        "answers": own.get("answers", {}),
        "references": own.get("stacks", {}),
        "stacks": runs,
        "others": others,
    }


def record(directory: Path, asked: Sequence[str] = (), modes: Sequence[str] = MODES) -> list[Recording]:
    """Record a program for some stacks and modes, and wait for it."""
    with start(directory, asked, modes) as running:
        return running.recordings()
