"""Runs a Pulumi program without engine, cloud or login, and writes down everything it registers.

This file is executed by the *program's* interpreter, so it imports the standard library and pulumi only, and its one
sibling by path. A request comes as JSON on stdin, the answer goes as JSON to the file named by the first argument;
what the program prints goes to stderr. One process runs the program for every stack and mode asked for: the SDKs are
imported once, the program's own modules are imported anew each time, and nothing of one run reaches the next.

A stack that refers to another one of the same project gets what that one hands out in an update; it is recorded first
where it is not among those asked for.

Request:  {"project", "organization", "directory", "main", "modes": ["preview", "update"], "answers": {token: result},
           "references": {stack: outputs}, "stacks": [{"stack", "config": {key: text}, "secrets": [key]}],
           "others": [the same, for the stacks that are not asked for]}
Answer:   {"recordings": [...], "updates": {stack: recording}}; `preflight.program` describes a recording, and the
           updates are those of the stacks that others refer to.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import glob
import heapq
import importlib.metadata
import importlib.util
import io
import json
import logging
import os
import re
import runpy
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Callable
from collections.abc import Mapping as MappingType
from collections.abc import Sequence as SequenceType
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, get_origin
from urllib.parse import unquote, urlparse

HERE = Path(__file__).resolve().parent
# The folder of a script is first on the path: the program must not see our modules as its own.
sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != HERE]


def _sibling(name: str) -> ModuleType:
    """Load a file of this folder under a name that no program uses."""
    spec = importlib.util.spec_from_file_location(f"_preflight_{name}", HERE / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


answers = _sibling("answers")
UNKNOWN: str = answers.UNKNOWN
SIGNATURE: str = answers.SIGNATURE


def _answer_without_pulumi(problem: Exception) -> NoReturn:
    """Answer every run with what the interpreter lacks."""
    request = json.load(sys.stdin)
    message = f"The program's interpreter, {sys.executable}, has no usable pulumi: {type(problem).__name__}: {problem}"
    error = {"kind": "failed", "message": message, "traceback": [], "paths": []}
    runs = [(run["stack"], mode) for run in request["stacks"] for mode in request["modes"]]
    recordings = [{**empty_recording(request, stack, mode), "error": error} for stack, mode in runs]
    Path(sys.argv[1]).write_text(json.dumps({"recordings": recordings, "updates": {}}), encoding="utf-8")
    sys.exit()


def empty_recording(request: dict[str, Any], stack: str, mode: str) -> dict[str, Any]:
    """Return the recording of a run that has not begun."""
    named = {"project": request["project"], "stack": stack, "mode": mode, "directory": request["directory"]}
    return {**named, "resources": [], "invokes": [], "outputs": {}, "logs": [], "reads": [], "error": None}


try:
    if importlib.metadata.version("pulumi").startswith("2."):
        raise ImportError("it is version 2, and 3 is needed")  # noqa: TRY301
    import pulumi
    from google.protobuf import empty_pb2, struct_pb2
    from pulumi.runtime import mocks as pulumi_mocks
    from pulumi.runtime import settings as pulumi_settings
    from pulumi.runtime.config import set_all_config
    from pulumi.runtime.proto import engine_pb2, provider_pb2, resource_pb2
except Exception as missing:  # noqa: BLE001 packages that do not fit together fail in many ways
    _answer_without_pulumi(missing)

SETTINGS: Any = pulumi_settings.SETTINGS
# Its name until pulumi 3.125.
INVOKE_RESPONSE: Any = getattr(resource_pb2, "ResourceInvokeResponse", None) or vars(provider_pb2)["InvokeResponse"]
STACK_TYPE = "pulumi:pulumi:Stack"
REFERENCE_TYPE = "pulumi:pulumi:StackReference"
GET_RESOURCE = "pulumi:pulumi:getResource"
CHART_TYPE = "kubernetes:helm.sh/v3:Chart"
RENDER = "kubernetes:helm:template"
YAML_TYPES = ("kubernetes:yaml/v2:ConfigFile", "kubernetes:yaml/v2:ConfigGroup")


def servicers() -> list[Any]:
    """Return what serves the program's callbacks: empty until it registers one, or if pulumi is too old for any."""
    try:
        return importlib.import_module("pulumi.runtime._callbacks")._CallbackServicer._servicers
    except (AttributeError, ImportError):
        return []


def plain_value(value: Any) -> Any:
    """Convert a protobuf Value; a whole number becomes an int, as JSON writers would have it."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "struct_value":
        return plain_struct(value.struct_value)
    if kind == "list_value":
        return [plain_value(item) for item in value.list_value.values]
    if kind == "bool_value":
        return value.bool_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    return None


def plain_struct(struct: Any) -> dict[str, Any]:
    """Convert a protobuf Struct, keeping the wire's markers. Far quicker than protobuf's own MessageToDict.

    Sorted, because a protobuf map comes in another order in every process.
    """
    return {key: plain_value(struct.fields[key]) for key in sorted(struct.fields)}


def bare(value: Any) -> Any:
    """Return a value without its secret wrappers."""
    if isinstance(value, dict):
        if value.get(SIGNATURE) == answers.SECRET:
            return bare(value.get("value"))
        return {key: bare(item) for key, item in value.items()}
    if isinstance(value, list):
        return [bare(item) for item in value]
    return value


def veil(made: Any, given: Any) -> Any:
    """Return a made-up value as a preview shows it: what the inputs say is known, the rest is not."""
    if isinstance(made, dict) and isinstance(given, dict):
        return {**given, **{key: veil(item, given.get(key)) for key, item in made.items()}}
    return UNKNOWN if given is None else given


def respond(message: Any, **values: Any) -> Any:
    """Build a response from the fields that this version of pulumi knows."""
    known = message.DESCRIPTOR.fields_by_name
    return message(**{key: value for key, value in values.items() if key in known and value is not None})


def struct_of(values: dict[str, Any]) -> Any:
    """Convert plain values to a protobuf Struct."""
    struct = struct_pb2.Struct()
    struct.update(values)
    return struct


def presence(request: Any, name: str) -> bool | None:
    """Return a flag that the program may have left open; None where it did, or where pulumi is too old to say."""
    try:
        return bool(getattr(request, name)) if request.HasField(name) else None
    except ValueError:
        return bool(getattr(request, name)) or None


class Engine:
    """Takes the log messages of a program, the only thing a program asks of an engine."""

    def __init__(self) -> None:
        """Start with no message."""
        self.logs: list[dict[str, str]] = []

    def Log(self, request: Any) -> Any:  # noqa: N802 pulumi's name
        """Record one message; debug messages are the SDK's own chatter."""
        if request.severity != engine_pb2.DEBUG:
            severity = {engine_pb2.INFO: "info", engine_pb2.WARNING: "warning"}.get(request.severity, "error")
            self.logs.append({"severity": severity, "message": request.message, "urn": request.urn})
        return empty_pb2.Empty()

    def RequirePulumiVersion(self, _: Any) -> Any:  # noqa: N802
        """Accept any demand: there is no command here whose version could be wrong."""
        return empty_pb2.Empty()


class Siblings:
    """What the stacks of one project hand to each other: outputs that were recorded, and who still has to be."""

    def __init__(self, project: str, stacks: SequenceType[dict[str, Any]]) -> None:
        """Take the project and every stack of it that can be run."""
        self.project = project
        self.runs: dict[str, dict[str, Any]] = {run["stack"]: run for run in stacks}
        self.recordings: dict[str, dict[str, Any]] = {}
        """Updates by stack."""
        self.running: list[str] = []
        """The stacks that are being recorded, each for the sake of the one before."""
        self.wanted = ""
        """The stack that the current run cannot go on without."""

    def named(self, reference: str) -> str:
        """Return the stack of this project that a reference means, empty if there is none that could be asked.

        The organization is not compared: nobody is logged in, so there is none to compare it with. Two stacks that
        refer to each other cannot both come first; the second gets what it would of a stack that was never deployed.
        """
        *above, stack = reference.split("/")
        own = stack in self.runs and stack not in self.running
        return stack if own and above[-1:] in ([], [self.project]) else ""

    def outputs(self, stack: str) -> dict[str, Any]:
        """Return what an update of a stack hands out; raises LookupError, and remembers, where it was not recorded."""
        if stack not in self.recordings:
            self.wanted = stack
            # Of the run that ends here nothing is kept, and nobody has to read which of its coroutines never ran.
            warnings.simplefilter("ignore", RuntimeWarning)
            raise LookupError(stack)
        outputs: dict[str, Any] = self.recordings[stack]["outputs"]
        return outputs


class NoMocks(pulumi_mocks.Mocks):
    """What pulumi's base class wants to be given; the monitor answers everything itself."""

    def call(self, args: Any) -> Any:
        """Never called."""
        raise NotImplementedError

    def new_resource(self, args: Any) -> Any:
        """Never called."""
        raise NotImplementedError


class Monitor(pulumi_mocks.MockMonitor):
    """Records every raw registration and answers with what the inputs say, and in an update with made-up outputs."""

    def __init__(self, request: dict[str, Any], run: dict[str, Any], preview: bool, siblings: Siblings) -> None:
        """Take what the parent knows of this stack: its configuration, its own answers, referenced stacks."""
        super().__init__(NoMocks())
        self.siblings = siblings
        self.project: str = request["project"]
        self.stack: str = run["stack"]
        self.directory = Path(request["directory"])
        self.preview = preview
        self.own_answers: dict[str, Any] = request["answers"]
        self.references: dict[str, Any] = request["references"]
        self.recorded: dict[str, dict[str, Any]] = {}
        self.states: dict[str, tuple[str, dict[str, Any]]] = {}
        self.invokes: list[dict[str, Any]] = []
        self.reads: set[str] = set()
        self.outputs: dict[str, Any] = {}
        self.root = ""
        self.transforms: dict[str, list[Any]] = {}
        self.stack_transforms: list[Any] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        caller = self.own_answers.get("aws:index/getCallerIdentity:getCallerIdentity", {})
        self.account: str = caller.get("accountId") or answers.DEFAULT_ACCOUNT
        environment = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        self.region: str = run["config"].get("aws:region") or environment or ""
        self.places: dict[str, tuple[str, str]] = {}
        self.files: dict[str, tuple[str, bool]] = {}

    # What the program may use. Resource references are off: a resource passed as an input arrives as its id or URN,
    # and never as an object that some other event loop has to resolve.

    def GetDeploymentInfo(self, request: Any) -> Any:  # noqa: N802
        """Say which features there are: all but resource references and output values."""
        off = {
            resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_REFERENCES,
            resource_pb2.RESOURCE_MONITOR_FEATURE_OUTPUT_VALUES,
        }
        features = super().GetDeploymentInfo(request).supportedFeatures
        return resource_pb2.DeploymentInfo(supportedFeatures=[one for one in features if one not in off])

    def SupportsFeature(self, request: Any) -> Any:  # noqa: N802 what SDKs before GetDeploymentInfo ask
        """Say the same to an older SDK."""
        supported = request.id not in ("outputValues", "resourceReferences")
        return resource_pb2.SupportsFeatureResponse(hasSupport=supported)

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """Make a URN as the engine does: the parents' whole chain of types, the stack left out."""
        chain = parent.split("::")[2] if parent else STACK_TYPE
        qualified = type_ if chain == STACK_TYPE else f"{chain}${type_}"
        return f"urn:pulumi:{self.stack}::{self.project}::{qualified}::{name}"

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802
        """Record a resource and answer with its state."""
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == STACK_TYPE:
            self.root = urn
            return resource_pb2.RegisterResourceResponse(urn=urn)
        request = self._transformed(request, urn)
        inputs = plain_struct(request.object)
        reference = request.provider or (request.providers.get("aws", "") if request.remote else "")
        facts = self._facts(urn, request.type, request.name, inputs, reference)
        names = answers.checked(facts)
        facts.inputs.update(names)
        made = answers.computed(facts) if request.custom or request.remote else answers.Answer("")
        record = self._record(urn, request, inputs)
        record["provider"] = request.provider
        record["providers"] = dict(request.providers)
        record["propertyDependencies"] = {
            key: sorted(value.urns) for key, value in sorted(request.propertyDependencies.items()) if value.urns
        }
        record.update(
            custom=request.custom,
            remote=request.remote,
            protect=presence(request, "protect"),
            deletedWith=request.deletedWith,
            ignoreChanges=list(request.ignoreChanges),
            replaceOnChanges=list(request.replaceOnChanges),
            aliases=[*(_alias(alias) for alias in request.aliases), *request.aliasURNs],
            deleteBeforeReplace=request.deleteBeforeReplace,
            retainOnDelete=bool(presence(request, "retainOnDelete")),
            customTimeouts={
                key: text
                for key in ("create", "update", "delete")
                if (text := getattr(request.customTimeouts, key, ""))
            },
            importId=request.importId,
        )
        if made is None and request.remote:
            # Nothing is known of what a packaged component returns. A failed result is the protocol's way to make
            # every output unknown; None, the alternative, trips a program that takes its outputs apart.
            self._keep(record, "", inputs)
            if request.type in YAML_TYPES:
                self._unpack(record, bare(inputs))
            return respond(resource_pb2.RegisterResourceResponse, urn=urn, result=1)
        made = made or answers.Answer(f"{request.name}-{facts.hex(8)}")
        if request.type == "pulumi:providers:aws":
            self._place(urn, facts)
        return self._answer(record, request, made, names, facts)

    def _unpack(self, record: dict[str, Any], inputs: dict[str, Any]) -> None:
        """Record the objects of YAML that the Kubernetes provider unpacks itself, as far as it is here and known."""
        texts = [inputs.get("yaml")]
        for pattern in [inputs.get("file"), *(inputs.get("files") or ())]:
            if isinstance(pattern, str) and "://" not in pattern and pattern != UNKNOWN:
                paths = sorted(glob.glob(pattern))  # noqa: PTH207 Path.glob takes no absolute pattern
                texts += [Path(path).read_text(encoding="utf-8") for path in paths]
        found = [
            one for text in texts if isinstance(text, str) and UNKNOWN not in text for one in answers.documents(text)
        ]
        for item in [*found, *(inputs.get("objs") or ())]:
            for one in item.get("items", ()) if str(item.get("kind")).endswith("List") else [item]:
                self._packed(record, one)

    def _packed(self, record: dict[str, Any], inputs: dict[str, Any]) -> None:
        metadata = inputs.get("metadata") or {}
        version = str(inputs.get("apiVersion"))
        type_ = f"kubernetes:{version if '/' in version else 'core/' + version}:{inputs.get('kind')}"
        place = [str(metadata[key]) for key in ("namespace", "name") if key in metadata]
        name = f"{record['name']}:{'/'.join(place)}"
        urn = self.make_urn(record["urn"], type_, name)
        facts = self._facts(urn, type_, name, inputs, "")
        made = answers.computed(facts)
        own = {"urn": urn, "type": type_, "name": name, "parent": record["urn"], "custom": True, "remote": False}
        provider = record["provider"] or record["providers"].get("kubernetes", "")
        self.recorded[urn] = {**record, **own, "inputs": inputs, "provider": provider, "propertyDependencies": {}}
        self._keep(self.recorded[urn], made.id, {**facts.inputs, **made.outputs})

    def _answer(self, record: dict[str, Any], request: Any, made: Any, names: dict[str, Any], facts: Any) -> Any:
        inputs = record["inputs"]
        outputs = made.outputs
        if self.preview:
            outputs = {key: veil(value, facts.inputs.get(key)) for key, value in outputs.items()}
        outputs = {**names, **outputs}
        for key in request.additionalSecretOutputs:
            if key in outputs:
                outputs[key] = {SIGNATURE: answers.SECRET, "value": bare(outputs[key])}
        identifier = (request.importId or ("" if self.preview else made.id)) if request.custom else ""
        self._keep(record, identifier, {**inputs, **outputs})
        if not self.preview:
            self.states.update({urn: state for urn, state in made.hidden.items() if urn not in self.states})
        answer = struct_pb2.Struct()
        answer.CopyFrom(request.object)
        answer.update({key: value for key, value in outputs.items() if not (self.preview and value == UNKNOWN)})
        return respond(
            resource_pb2.RegisterResourceResponse, urn=record["urn"], id=identifier, object=answer, unknown=True
        )

    def ReadResource(self, request: Any) -> Any:  # noqa: N802
        """Record a resource that stands already; what it holds is made up in both modes, as a preview reads it too."""
        urn = self.make_urn(request.parent, request.type, request.name)
        record = self._record(urn, request, plain_struct(request.properties))
        record.update(custom=True, read=True, provider=request.provider)
        if request.type == REFERENCE_TYPE:
            state = self._stack_outputs(request.id)
        elif request.id == UNKNOWN:
            state = dict(record["inputs"])
        else:
            facts = self._facts(urn, request.type, request.name, record["inputs"], request.provider)
            if answers.is_kubernetes_object(request.type):
                namespace, _, name = request.id.rpartition("/")
                facts.inputs["metadata"] = {"name": name, **({"namespace": namespace} if namespace else {})}
            made = answers.computed(facts) or answers.Answer("")
            state = {
                key: _renamed(value, made.id, request.id) for key, value in {**facts.inputs, **made.outputs}.items()
            }
            state.update(self.own_answers.get(request.type, {}))
        self._keep(record, request.id, state)
        return respond(
            resource_pb2.ReadResourceResponse, urn=urn, id=request.id, properties=struct_of(state), unknown=True
        )

    def _stack_outputs(self, name: str) -> dict[str, Any]:
        # A reference says "stack", "project/stack" or "organization/project/stack"; the file says the last.
        known = next((key for key in self.references if key == name or key.endswith("/" + name)), None)
        outputs, origin = None, "stand-in"
        if known is not None:
            outputs, origin = self.references[known], "program file"
        elif sibling := self.siblings.named(name):
            outputs, origin = self.siblings.outputs(sibling), "stack"
            self.reads.add(sibling)
        self._note(REFERENCE_TYPE, {"name": name}, outputs, origin)
        if outputs is None:
            return {"name": name, "secretOutputNames": []}
        secrets = sorted(key for key, value in outputs.items() if bare(value) != value)
        return {"name": name, "outputs": outputs, "secretOutputNames": secrets}

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802
        """Record what a component or the stack hands out."""
        outputs = plain_struct(request.outputs)
        if request.urn == self.root:
            self.outputs = outputs
        elif request.urn in self.recorded:
            self.recorded[request.urn]["outputs"] = outputs
        return empty_pb2.Empty()

    def Invoke(self, request: Any) -> Any:  # noqa: N802
        """Answer a look-up: from the program's file, else from the table, else with a marked stand-in."""
        args = plain_struct(request.args)
        if request.tok == GET_RESOURCE:
            identifier, state = self.states.get(args["urn"], ("", {}))
            found = {"urn": args["urn"], "id": identifier, "state": state}
            return INVOKE_RESPONSE(**{"return": struct_of(found)})
        urn = f"{request.tok}({json.dumps(args, sort_keys=True)})"
        facts = self._facts(urn, request.tok, "", args, request.provider)
        shape = result_shape(request.tok)
        answer, origin = answers.look_up(facts, shape), "table"
        if request.tok in self.own_answers:
            known = answer or answers.stand_in(shape, facts)
            answer, origin = {**known, **self.own_answers[request.tok]}, "program file"
        elif answer is None:
            answer, origin = answers.stand_in(shape, facts), "stand-in"
        self._note(request.tok, args, answer, origin)
        if request.tok == RENDER:
            self._rendered(json.loads(args["jsonOpts"]))
        return INVOKE_RESPONSE(**{"return": struct_of(answer)})

    def _rendered(self, options: dict[str, Any]) -> None:
        """Keep what a helm.v3.Chart installs: it registers itself without inputs and has the provider render it."""
        for record in self.recorded.values():
            if (record["type"], record["name"]) == (CHART_TYPE, options.get("release_name")):
                record["inputs"] = {
                    "name": record["name"],
                    "chart": options.get("chart") or options.get("path"),
                    **{key: options[key] for key in ("namespace", "version", "values") if options.get(key)},
                }
                record["provider"] = record["providers"].get("kubernetes", "")

    def Call(self, request: Any) -> Any:  # noqa: N802
        """Answer a method of a resource with a stand-in, as nobody is there to run it."""
        answer = UNKNOWN if self.preview else f"stand-in-{request.tok}"
        self._note(request.tok, plain_struct(request.args), {"result": answer}, "stand-in")
        return provider_pb2.CallResponse(**{"return": struct_of({"result": answer})})

    def RegisterStackTransform(self, request: Any) -> Any:  # noqa: N802
        """Keep a transform that the engine would run on every resource."""
        self.stack_transforms.append(request)
        return empty_pb2.Empty()

    def _transformed(self, request: Any, urn: str) -> Any:
        """Run the transforms that the engine would run: the resource's own, its parents', the stack's."""
        inherited = [*getattr(request, "transforms", ()), *self.transforms.get(request.parent, ())]
        if inherited:
            self.transforms[urn] = inherited
        callbacks = [*inherited, *self.stack_transforms]
        if not callbacks:
            return request
        functions: dict[str, Any] = {}
        for servicer in servicers():
            functions.update(servicer._callbacks)
        for callback in callbacks:
            question = resource_pb2.TransformRequest(
                type=request.type,
                name=request.name,
                custom=request.custom,
                parent=request.parent,
                properties=request.object,
                options=_options(request),
            )
            running = functions[callback.token](question.SerializeToString())
            if self.loop is None:
                raise RuntimeError("a transform before the run")
            reply = asyncio.run_coroutine_threadsafe(running, self.loop).result()
            request.object.CopyFrom(reply.properties)
            if reply.HasField("options"):
                _apply_options(request, reply.options)
        return request

    def _facts(self, urn: str, type_: str, name: str, inputs: dict[str, Any], provider: str) -> Any:
        region, account = self.places.get(provider.rpartition("::")[0], (self.region, self.account))
        own = inputs.get("region")
        if type_.startswith("aws:") and isinstance(own, str) and own != UNKNOWN:
            region = own
        return answers.Facts(urn, type_, name, bare(inputs), region or answers.DEFAULT_REGION, account)

    def _place(self, urn: str, facts: Any) -> None:
        """Remember where an AWS provider works, for the ARNs of what it makes."""
        region = facts.given("region", facts.region)
        allowed = facts.inputs.get("allowedAccountIds")
        if isinstance(allowed, str) and allowed.startswith("["):
            allowed = json.loads(allowed)  # providers get lists as JSON text
        account = allowed[0] if isinstance(allowed, list) and len(allowed) == 1 else self.account
        self.places[urn] = (region, account)
        if not self.region:
            self.region, self.account = region, account  # what is not of AWS, such as an Ingress, is near the first

    def _record(self, urn: str, request: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        if urn in self.recorded:
            raise pulumi.RunError(
                f"Two resources have the URN {urn}. A name may be used once per type and parent; give one another name."
            )
        record: dict[str, Any] = {
            "urn": urn,
            "type": request.type,
            "name": request.name,
            "parent": "" if request.parent == self.root else request.parent,
            "custom": False,
            "remote": False,
            "read": False,
            "provider": "",
            "providers": {},
            "inputs": inputs,
            "outputs": {},
            "id": "",
            "dependencies": sorted(request.dependencies),
            "propertyDependencies": {},
            "protect": None,
            "deletedWith": "",
            "ignoreChanges": [],
            "replaceOnChanges": [],
            "aliases": [],
            "deleteBeforeReplace": False,
            "retainOnDelete": False,
            "customTimeouts": {},
            "importId": "",
            "version": request.version,
            "source": self._source(request),
        }
        self.recorded[urn] = record
        return record

    def _keep(self, record: dict[str, Any], identifier: str, state: dict[str, Any]) -> None:
        record["id"] = identifier
        record["outputs"] = state
        self.states[record["urn"]] = (identifier, state)

    def _note(self, token: str, args: dict[str, Any], answer: Any, origin: str) -> None:
        self.invokes.append({"token": token, "args": args, "answer": answer, "origin": origin})

    def _source(self, request: Any) -> dict[str, Any] | None:
        """Return the innermost line of the program itself on the way to this registration, else of whoever made it."""
        trace = getattr(request, "stackTrace", None)
        positions = [frame.pc for frame in trace.frames] if trace is not None else []
        positions = positions or [request.sourcePosition]
        first = None
        for position in positions:
            if not position.uri:
                continue
            if position.uri not in self.files:
                path = Path(unquote(urlparse(position.uri).path))
                own = self.directory in path.parents and _is_own(path)
                self.files[position.uri] = (_shown(path, self.directory), own)
            file, own = self.files[position.uri]
            found = {"file": file, "line": position.line}
            if own:
                return found
            first = first or found
        return first


def _renamed(value: Any, made_id: str, identifier: str) -> Any:
    """Return a made-up value in which the made-up id gives way to the one that the program stated."""
    if not made_id:
        return value
    return value.replace(made_id, identifier) if isinstance(value, str) else value


def _alias(alias: Any) -> Any:
    if alias.WhichOneof("alias") == "urn":
        return alias.urn
    spec = alias.spec
    known = {key: getattr(spec, key) for key in ("name", "type", "stack", "project", "parentUrn", "noParent")}
    return {key: value for key, value in known.items() if value}


# A registration and a transform's options call the same thing by different names.
_LISTS = {
    "depends_on": "dependencies",
    "ignore_changes": "ignoreChanges",
    "replace_on_changes": "replaceOnChanges",
    "additional_secret_outputs": "additionalSecretOutputs",
    "aliases": "aliases",
}
_TEXTS = {"version": "version", "deleted_with": "deletedWith", "import": "importId", "provider": "provider"}
_FLAGS = {
    "protect": "protect",
    "retain_on_delete": "retainOnDelete",
    "delete_before_replace": "deleteBeforeReplace",
}


def _options(request: Any) -> Any:
    options = resource_pb2.TransformResourceOptions()
    for theirs, ours in _LISTS.items():
        getattr(options, theirs).extend(getattr(request, ours))
    for theirs, ours in {**_TEXTS, **_FLAGS}.items():
        if value := getattr(request, ours):
            setattr(options, theirs, value)
    options.providers.update(request.providers)
    if request.HasField("customTimeouts"):
        options.custom_timeouts.CopyFrom(request.customTimeouts)
    return options


def _apply_options(request: Any, options: Any) -> None:
    for theirs, ours in _LISTS.items():
        request.ClearField(ours)
        getattr(request, ours).extend(getattr(options, theirs))
    for theirs, ours in _TEXTS.items():
        setattr(request, ours, getattr(options, theirs))
    for theirs, ours in _FLAGS.items():
        if options.HasField(theirs):
            setattr(request, ours, getattr(options, theirs))
    request.providers.clear()
    request.providers.update(options.providers)
    if options.HasField("custom_timeouts"):
        request.customTimeouts.CopyFrom(options.custom_timeouts)


def result_shape(token: str) -> dict[str, Any]:
    """Return the fields of a provider function's result and their types, from the class that the SDK has for it."""
    package, function = token.split(":")[0], token.split(":")[-1]
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", function).lower()
    for name, module in list(sys.modules.items()):
        if name.startswith("pulumi_" + package.replace("-", "_")) and name.endswith("." + snake):
            result = getattr(module, function[:1].upper() + function[1:] + "Result", None)
            if result is not None:
                return _shape(result, depth=3)
    return {}


def _shape(kind: Any, depth: int) -> dict[str, Any]:
    types: dict[str, Any] = pulumi._types.resource_types(kind)  # type: ignore[attr-defined]
    shape: dict[str, Any] = {}
    for name, inner in types.items():
        origin = get_origin(inner)
        if origin in (list, SequenceType):
            shape[name] = list
        elif origin in (dict, MappingType):
            shape[name] = {}
        elif isinstance(inner, type) and hasattr(inner, "_pulumi_output_type"):
            shape[name] = _shape(inner, depth - 1) if depth else {}
        else:
            shape[name] = inner
    return shape


class Inline(ThreadPoolExecutor):
    """Runs pulumi's calls to the monitor where they are made instead of in a thread.

    The monitor only computes, so a thread buys nothing, and its order of arrival would differ from run to run. Once a
    program has registered a callback the monitor has to wait for the event loop, so from then on threads it is.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run now, or hand to a thread what is not pulumi's."""
        module = getattr(fn, "__module__", "") or ""
        if not module.startswith("pulumi.") or servicers():
            return super().submit(fn, *args, **kwargs)
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as problem:  # noqa: BLE001 the future carries it to whoever waits
            future.set_exception(problem)
        return future


class Raised:
    """Keeps where exceptions came from: waiting for a future that failed loses the lines in which it did."""

    def __init__(self) -> None:
        """Start with none."""
        self._seen: dict[int, tuple[BaseException, list[traceback.FrameSummary]]] = {}

    def task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any) -> asyncio.Task[Any]:
        """Make a task whose exception is noted before anybody else sees it."""
        task = asyncio.Task(coroutine, loop=loop, **more)
        task.add_done_callback(self._note)
        return task

    def _note(self, task: asyncio.Task[Any]) -> None:
        problem = None if task.cancelled() else task.exception()
        if problem is not None and id(problem) not in self._seen:
            self._seen[id(problem)] = problem, list(traceback.extract_tb(problem.__traceback__))

    def frames(self, problem: BaseException) -> list[traceback.FrameSummary]:
        """Return the frames of an exception, the innermost last."""
        _, first = self._seen.get(id(problem), (None, []))
        return first or list(traceback.extract_tb(problem.__traceback__))


def run_once(request: dict[str, Any], run: dict[str, Any], mode: str, siblings: Siblings) -> dict[str, Any]:
    """Run the program once, for one stack in one mode, and return the recording."""
    preview = mode == "preview"
    monitor, engine = Monitor(request, run, preview, siblings), Engine()
    set_all_config(run["config"], run["secrets"])
    # A root that is there already keeps set_mocks from making and finishing one: the program's outputs need it open.
    pulumi_settings.set_root_resource(object())  # type: ignore[arg-type]
    keywords: dict[str, Any] = {"organization": request["organization"]}
    try:
        pulumi_mocks.set_mocks(NoMocks(), monitor.project, monitor.stack, preview, None, monitor, **keywords)
    except TypeError:  # an older pulumi has no organization
        pulumi_mocks.set_mocks(NoMocks(), monitor.project, monitor.stack, preview, None, monitor)
    pulumi_settings.set_root_resource(None)  # type: ignore[arg-type]
    SETTINGS.engine = engine
    getattr(SETTINGS, "outputs", set()).clear()  # tasks of an earlier run that was aborted; shared by all runs
    SETTINGS.root_directory = request["directory"]

    # A client that a program makes on import wants a region, and a person's machine has one. Calls fail all the same.
    if not (os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")):
        os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = monitor.region or answers.DEFAULT_REGION
    main = Path(request["main"])
    folder = main if main.is_dir() else main.parent
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.argv = [str(main)]
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    monitor.loop = loop
    raised = Raised()
    loop.set_task_factory(raised.task)
    error = None
    with Inline() as executor:
        loop.set_default_executor(executor)
        try:
            program = main / "__main__.py" if main.is_dir() else main
            loop.run_until_complete(
                pulumi.runtime.run_in_stack(lambda: _no_result(runpy.run_path(str(program), run_name="__main__")))
            )
        except (Exception, SystemExit, asyncio.CancelledError) as problem:  # noqa: BLE001 whatever it raises is an answer
            error = describe(problem, raised, Path(request["directory"]), run["stack"])
        finally:
            _settle(loop)
    return {
        **empty_recording(request, run["stack"], mode),
        "resources": in_order(monitor.recorded),
        "invokes": sorted(monitor.invokes, key=lambda one: json.dumps([one["token"], one["args"]], sort_keys=True)),
        "outputs": monitor.outputs,
        "logs": engine.logs,
        "reads": sorted(monitor.reads),
        "error": error,
    }


def in_order(recorded: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return resources in an order of registration that is the same in every run: as early in the source as possible.

    The order of arrival is not: pulumi waits for sets of tasks, and a set of objects has no order.
    """

    def key(urn: str) -> tuple[str, int, str]:
        source: dict[str, Any] = recorded[urn]["source"] or {"file": "", "line": 0}
        return source["file"], source["line"], urn

    waiting: dict[str, set[str]] = {}
    dependents: dict[str, list[str]] = {}
    for urn, record in recorded.items():
        named = [record["parent"], record["provider"].rpartition("::")[0], *record["dependencies"]]
        waiting[urn] = {one for one in named if one in recorded}
        for one in waiting[urn]:
            dependents.setdefault(one, []).append(urn)
    ready = [key(urn) for urn, missing in waiting.items() if not missing]
    heapq.heapify(ready)
    ordered: list[dict[str, Any]] = []
    while ready:
        urn = heapq.heappop(ready)[2]
        ordered.append(recorded[urn])
        for dependent in dependents.get(urn, ()):
            waiting[dependent].discard(urn)
            if not waiting[dependent]:
                heapq.heappush(ready, key(dependent))
    return ordered


def _no_result(_: Any) -> None:
    """Drop the module's globals: run_in_stack would await them if they were awaitable."""


def _settle(loop: asyncio.AbstractEventLoop) -> None:
    """End what an aborted program left undone, so that nothing of it runs in the next one."""
    pending = asyncio.all_tasks(loop)
    for task in pending:
        task.cancel()
    if pending:
        loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
    loop.close()


# Where Python and installed packages live, but not the prefix of a system's Python: programs live below that, too.
_INSTALLED = {Path(path) for key, path in sysconfig.get_paths().items() if key.endswith(("lib", "stdlib"))} | (
    {Path(sys.prefix)} if sys.prefix != sys.base_prefix else set()
)
_AT_START = frozenset(sys.modules)


def _is_own(path: Path) -> bool:
    """Whether a file is the program's, be it in its folder or beside it: not installed, nor a part of Python."""
    if not path.is_absolute() or {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return path.parent != HERE and not _INSTALLED & set(path.parents)


def _shown(path: Path, directory: Path) -> str:
    """Return a path as messages and recordings have it: relative to the program's folder if it is below that."""
    return str(path.relative_to(directory)) if directory in path.parents else str(path)


def describe(problem: BaseException, raised: Raised, directory: Path, stack: str) -> dict[str, Any] | None:
    """Say what ended a program: refused by its own checks, or failed, with its own lines of the traceback."""
    causes = [raised.frames(one) for one in _causes(problem)]
    own = next((found for frames in causes if (found := [one for one in frames if _is_own(Path(one.filename))])), [])
    lines = [f"{_shown(Path(frame.filename), directory)}:{frame.lineno} in {frame.name}: {frame.line}" for frame in own]
    if isinstance(problem, SystemExit):
        if problem.code in (None, 0):
            return None
        message = f"The program ended itself with sys.exit({problem.code!r})."
    elif isinstance(problem, pulumi.ConfigMissingError):
        message = _missing_setting(problem, lines[-1] if lines else "", stack)
        return {"kind": "refused", "message": message, "traceback": [], "paths": []}
    elif isinstance(problem, pulumi.RunError):
        paths = [str(path) for path in getattr(problem, "paths", ())]
        return {"kind": "refused", "message": str(problem), "traceback": [], "paths": paths}
    elif isinstance(problem, KeyError) and any(one.filename.endswith("stack_reference.py") for one in causes[0][-1:]):
        message = (
            f"The program requires the output {problem} of another stack.\n"
            f"  found:   outputs of that stack, recorded with it or stated in preflight.toml, without this one\n"
            f"  allowed: all of the outputs that the program requires, or none: then they are unknown\n"
            f'  change:  export it there, or add it below that stack\'s [stacks."..."] in preflight.toml'
        )
        return {"kind": "refused", "message": message, "traceback": [], "paths": []}
    else:
        message = _said(problem, raised)
    if isinstance(problem, SyntaxError) and problem.filename:
        shown = _shown(Path(problem.filename), directory)
        lines.append(f"{shown}:{problem.lineno}: {(problem.text or '').strip()}")
    elif not own:
        packages = [frame for frames in causes for frame in frames if "site-packages" in frame.filename]
        lines = [f"{frame.filename}:{frame.lineno} in {frame.name}: {frame.line}" for frame in packages[-3:]]
    return {"kind": "failed", "message": message, "traceback": lines, "paths": []}


def _said(problem: BaseException, raised: Raised) -> str:
    """Return what an exception says: of those that pulumi wraps the one that the program's lines led to."""
    origin = next(
        (one for one in _causes(problem) if any(_is_own(Path(f.filename)) for f in raised.frames(one))), problem
    )
    resources = re.findall(r"While processing resource: '([^']*)'", str(problem))
    where = f" (an input of resource {resources[-1]})" if resources else ""
    # Addresses of objects differ from run to run and tell nobody anything.
    return re.sub(r", value <[^>]* at 0x[0-9a-f]+>", "", f"{type(origin).__name__}: {origin}{where}")


def _causes(problem: BaseException) -> list[BaseException]:
    """Return an exception and those that led to it: pulumi wraps what happened inside an `apply`, once per resource.

    Both links, because pulumi may raise an exception from itself, which hides its first cause.
    """
    found = [problem]
    for one in found:
        found += [link for link in (one.__cause__, one.__context__) if link is not None and link not in found]
    return found


def _missing_setting(problem: Any, line: str, stack: str) -> str:
    key = json.dumps(problem.key)  # in quotes, as TOML wants a key with a colon
    value = '"any text"' if problem.secret else '"..."'
    return (
        f"The program asks for the setting `{problem.key}`, and stack {stack} does not have it.\n"
        f"  asked:   {line or 'outside the program itself'}\n"
        f"  allowed: {'any text, as a secret is never read' if problem.secret else 'what the program expects there'}\n"
        f"  change:  add it to the stack's file, or to preflight.toml beside the program:\n"
        f"             [config]\n"
        f"             {key} = {value}"
    )


def forget_program() -> None:
    """Drop the program's own modules, so that the next run imports them anew.

    What is installed stays, what was there before the program stays, and so do SDKs that were generated into a folder
    of it: they register themselves with pulumi on import and may do so only once.
    """
    doomed: list[str] = []
    for name, module in list(sys.modules.items()):
        # A namespace package computes its path from its parent, so nothing goes before all have been asked.
        locations = [getattr(module, "__file__", None), *(getattr(module, "__path__", None) or ())]
        path = next((Path(location) for location in locations if location), None)
        if path is None or name in _AT_START or not _is_own(path):
            continue
        if not any((parent / "pulumi-plugin.json").exists() for parent in path.parents):
            doomed.append(name)
    for name in doomed:
        del sys.modules[name]


def record(
    request: dict[str, Any], run: dict[str, Any], mode: str, siblings: Siblings, *, muted: bool
) -> dict[str, Any]:
    """Return the recording of one stack in one mode; what it refers to in this project is recorded before it."""
    stack = run["stack"]
    siblings.running.append(stack)
    recording = _isolated(request, run, mode, siblings, muted=muted)
    while wanted := siblings.wanted:
        siblings.wanted = ""
        other = record(request, siblings.runs[wanted], "update", siblings, muted=True)
        if other["error"]:
            recording = {**empty_recording(request, stack, mode), "error": _because_of(wanted, other["error"])}
            break
        # It has printed already what it had to say before it got here.
        recording = _isolated(request, run, mode, siblings, muted=True)
    siblings.running.pop()
    if mode == "update":
        siblings.recordings[stack] = recording
    return recording


def _because_of(stack: str, error: dict[str, Any]) -> dict[str, Any]:
    verb = "refuses its settings" if error["kind"] == "refused" else "failed"
    message = f"It reads outputs of stack {stack}, for which the program {verb}:\n\n{error['message']}"
    return {**error, "message": message, "paths": []}


def _isolated(
    request: dict[str, Any], run: dict[str, Any], mode: str, siblings: Siblings, *, muted: bool
) -> dict[str, Any]:
    """Run the program once and leave no trace of it."""
    before = (dict(os.environ), Path.cwd(), list(sys.path), list(sys.argv))
    quiet = contextlib.redirect_stdout(io.StringIO()) if muted else contextlib.nullcontext()
    with quiet, warnings.catch_warnings():
        recording = contextvars.copy_context().run(run_once, request, run, mode, siblings)
        if siblings.wanted:
            gc.collect()
    os.environ.clear()
    os.environ.update(before[0])
    os.chdir(before[1])
    sys.path[:], sys.argv[:] = before[2], before[3]
    forget_program()
    return recording


def main() -> None:
    """Answer one request."""
    target = Path(sys.argv[1])
    # The answer has its own file: whatever the program or its children write to stdout must not mix with it.
    os.dup2(2, 1)
    # Short-lived and allocating without end: looking for garbage costs a tenth of the run and finds next to none.
    gc.disable()
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # as pulumi's own launcher does, for aborted programs
    request = json.load(sys.stdin)
    siblings = Siblings(request["project"], [*request["stacks"], *request["others"]])
    # A second run would print everything a second time.
    recordings = [
        record(request, run, mode, siblings, muted=number > 0)
        for run in request["stacks"]
        for number, mode in enumerate(request["modes"])
    ]
    wanted = {stack for recording in [*recordings, *siblings.recordings.values()] for stack in recording["reads"]}
    updates = {stack: siblings.recordings[stack] for stack in sorted(wanted)}
    target.write_text(json.dumps({"recordings": recordings, "updates": updates}), encoding="utf-8")


if __name__ == "__main__":
    main()
