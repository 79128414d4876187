"""A provider as the engine sees one: the calls of the protocol, the same for every package."""

# ruff: noqa: N802 the names are the protocol's

from __future__ import annotations

import importlib.metadata
import os
import signal
import threading
import traceback
from collections.abc import Callable, Generator
from concurrent import futures
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Literal, NoReturn

import grpc
from google.protobuf import any_pb2, empty_pb2
from google.rpc import status_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from . import sdk, wire
from .wire import Json
from .world import DoubleError, RefusedError, World

MESSAGE_SIZES = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class HalfMadeError(Exception):
    """The thing is there, and not working: Pulumi keeps it in its state with what is wrong."""

    def __init__(self, identity: str, inputs: dict[str, Json], outputs: dict[str, Json], reason: str) -> None:
        super().__init__(reason)
        self.identity, self.inputs, self.outputs, self.reason = identity, inputs, outputs, reason


@dataclass(frozen=True)
class Found:
    """What a read found."""

    id: str
    inputs: dict[str, Json]
    outputs: dict[str, Json]


@dataclass
class Fault:
    """Something that goes wrong with one resource."""

    operation: Literal["create", "update", "delete", "read"]
    type: str
    name: str
    """The logical name."""
    message: str = "InternalFailure: The request processing has failed because of an unknown error"
    times: int = 1
    """How often, before it goes well."""
    kill: Literal["", "before", "after"] = ""
    """Instead of an error, end the engine's process before or after the cloud has done it."""
    played: int = 0


@dataclass
class Cloud:
    """What the doubles of all packages share."""

    world: World
    faults: list[Fault] = field(default_factory=list[Fault])
    engine: Callable[[], int] | None = None
    """The process id of the engine that is running."""
    defects: list[str] = field(default_factory=list[str])
    """What the doubles could not answer. Anything here fails the test."""
    answering: int = 0
    """How many calls are under way. A killed engine leaves some behind, and the cloud goes on with them."""
    changed: threading.Condition = field(default_factory=threading.Condition)
    """Held while the world is looked at or changed; whoever waits for a change of it waits here."""

    def fault(self, operation: str, urn: str) -> Fault | None:
        """The fault to be played now, counted."""
        for each in self.faults:
            here = (each.operation, each.type, each.name) == (operation, wire.type_of(urn), wire.name_of(urn))
            if here and each.played < each.times:
                each.played += 1
                return each
        return None

    def settle(self) -> None:
        """Wait until nothing is under way."""
        with self.changed:
            self.changed.wait_for(lambda: self.answering == 0)

    def kill_engine(self) -> None:
        """End the engine's process as a lost machine would."""
        if self.engine is None:
            raise DoubleError("no engine to kill is known")
        os.kill(self.engine(), signal.SIGKILL)


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """The protocol. A package overrides the lower half."""

    package: str

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self._configured: dict[str, dict[str, Json]] = {}

    # What a package says.

    def configure(self, config: dict[str, Json]) -> None:
        """Refuse a configuration that cannot work."""

    def config_replaces(self, old: dict[str, Json], new: dict[str, Json]) -> list[str]:
        """The settings of the provider whose change replaces it."""
        del old, new
        return []

    def check(
        self, urn: str, news: dict[str, Json], olds: dict[str, Json], config: dict[str, Json]
    ) -> tuple[dict[str, Json], list[tuple[str, str]]]:
        """The inputs with what the provider adds, and every problem in them as path and reason."""
        del olds, config
        return news, list(sdk.input_problems(wire.type_of(urn), wire.plain(news)))

    def replaces(self, resource_type: str, old: dict[str, Json], new: dict[str, Json]) -> tuple[list[str], bool]:
        """The paths that replace the resource, and whether the old one has to go first."""
        raise NotImplementedError

    def normal(self, inputs: dict[str, Json]) -> dict[str, Json]:
        """The inputs in the form in which a difference is a change."""
        return inputs

    def volatile(self, resource_type: str) -> frozenset[str]:
        """The outputs that an update may change."""
        del resource_type
        return frozenset()

    def create(
        self, urn: str, inputs: dict[str, Json], config: dict[str, Json], timeout: float
    ) -> tuple[str, dict[str, Json]]:
        """Make it: id and computed outputs."""
        raise NotImplementedError

    def update(self, urn: str, identity: str, inputs: dict[str, Json], config: dict[str, Json]) -> dict[str, Json]:
        """Change it: computed outputs."""
        raise NotImplementedError

    def delete(self, urn: str, identity: str, config: dict[str, Json]) -> None:
        """Remove it."""
        raise NotImplementedError

    def read(self, urn: str, identity: str, config: dict[str, Json], *, importing: bool) -> Found | None:
        """What is there under this id; while importing, under what `pulumi import` takes for one."""
        raise NotImplementedError

    def invoke(self, token: str, args: dict[str, Json]) -> dict[str, Json]:
        """The answer of a function."""
        raise DoubleError(f"no answer to {token} {args}")

    # The protocol.

    def Handshake(
        self, request: provider_pb2.ProviderHandshakeRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ProviderHandshakeResponse:
        """As the protocol says."""
        del request, context
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True, accept_resources=True, accept_outputs=False)

    def Attach(self, request: plugin_pb2.PluginAttach, context: grpc.ServicerContext) -> empty_pb2.Empty:
        """As the protocol says."""
        del request, context
        return empty_pb2.Empty()

    def Cancel(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> empty_pb2.Empty:
        """As the protocol says."""
        del request, context
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        """As the protocol says."""
        del request, context
        return plugin_pb2.PluginInfo(version=importlib.metadata.version(f"pulumi-{self.package}"))

    def CheckConfig(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        """As the protocol says."""
        del context
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        """As the protocol says."""
        del context
        old, new = (wire.plain(wire.decode(each)) for each in (request.old_inputs, request.news))
        changed = sorted({path.split(".")[0].split("[")[0] for path in wire.differences(old, new)} - {"version"})
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=changed,
            replaces=self.config_replaces(old, new) if changed else [],
        )

    def Configure(
        self, request: provider_pb2.ConfigureRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ConfigureResponse:
        """As the protocol says."""
        with self._answering(context):
            config = wire.plain(wire.decode(request.args))
            self.configure(config)
            self._configured[context.peer()] = config
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True, acceptResources=True)

    def Check(self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext) -> provider_pb2.CheckResponse:
        """As the protocol says."""
        with self._answering(context):
            olds = wire.plain(wire.decode(request.olds))
            inputs, problems = self.check(request.urn, wire.decode(request.news), olds, self._config(context))
        failures = [provider_pb2.CheckFailure(property=path, reason=reason) for path, reason in problems]
        return provider_pb2.CheckResponse(inputs=wire.encode(inputs), failures=failures)

    def Diff(self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        """As the protocol says."""
        del context
        old, new = (self.normal(wire.plain(wire.decode(each))) for each in (request.old_inputs, request.news))
        for each in (old, new):
            each.pop("__defaults", None)
        changed = list(wire.differences(old, new))
        replaces, first = self.replaces(wire.type_of(request.urn), old, new) if changed else ([], False)
        kind = provider_pb2.PropertyDiff
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=sorted({path.split(".")[0].split("[")[0] for path in changed}),
            replaces=replaces,
            deleteBeforeReplace=first,
            detailedDiff={
                path: kind(
                    kind=kind.UPDATE_REPLACE if any(path.startswith(each) for each in replaces) else kind.UPDATE,
                    inputDiff=True,
                )
                for path in changed
            },
            hasDetailedDiff=True,
        )

    def Create(self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext) -> provider_pb2.CreateResponse:
        """As the protocol says."""
        inputs = wire.decode(request.properties)
        if request.preview:
            unknown = dict.fromkeys(self._outputs(request.urn), wire.UNKNOWN)
            return provider_pb2.CreateResponse(properties=wire.encode({**unknown, **_echo(inputs)}))
        with self._answering(context), self._fault("create", request.urn):
            if wire.has_unknown(inputs):
                raise DoubleError(f"the engine creates {request.urn} with unknown inputs: {inputs}")
            identity, outputs = self.create(request.urn, wire.plain(inputs), self._config(context), request.timeout)
            self._note("create", request.urn, identity)
        return provider_pb2.CreateResponse(id=identity, properties=wire.encode(_merged(inputs, outputs)))

    def Update(self, request: provider_pb2.UpdateRequest, context: grpc.ServicerContext) -> provider_pb2.UpdateResponse:
        """As the protocol says."""
        inputs = wire.decode(request.news)
        if request.preview:
            unknown = dict.fromkeys(self.volatile(wire.type_of(request.urn)), wire.UNKNOWN)
            return provider_pb2.UpdateResponse(
                properties=wire.encode({**_over(wire.decode(request.olds), _echo(inputs)), **unknown})
            )
        with self._answering(context), self._fault("update", request.urn):
            outputs = self.update(request.urn, request.id, wire.plain(inputs), self._config(context))
            self._note("update", request.urn, request.id)
        return provider_pb2.UpdateResponse(properties=wire.encode(_merged(inputs, outputs)))

    def Delete(self, request: provider_pb2.DeleteRequest, context: grpc.ServicerContext) -> empty_pb2.Empty:
        """As the protocol says."""
        with self._answering(context), self._fault("delete", request.urn):
            self.delete(request.urn, request.id, self._config(context))
            self._note("delete", request.urn, request.id)
        return empty_pb2.Empty()

    def Read(self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext) -> provider_pb2.ReadResponse:
        """As the protocol says."""
        with self._answering(context), self._fault("read", request.urn):
            known = wire.plain(wire.decode(request.inputs))
            known.pop("__defaults", None)
            found = self.read(request.urn, request.id, self._config(context), importing=not known)
        if found is None:
            return provider_pb2.ReadResponse()
        # What is as it was is echoed, so that secrets stay secret.
        inputs = request.inputs if known == found.inputs else wire.encode(found.inputs)
        properties = wire.encode(_merged(wire.decode(inputs), found.outputs))
        return provider_pb2.ReadResponse(id=found.id, inputs=inputs, properties=properties)

    def Invoke(self, request: provider_pb2.InvokeRequest, context: grpc.ServicerContext) -> provider_pb2.InvokeResponse:
        """As the protocol says."""
        answer: dict[str, Json] = {}
        with self._answering(context):
            answer = self.invoke(request.tok, wire.plain(wire.decode(request.args)))
        return provider_pb2.InvokeResponse(**{"return": wire.encode(answer)})

    # Plumbing.

    def _config(self, context: grpc.ServicerContext) -> dict[str, Json]:
        # The engine holds one connection to each provider instance.
        return self._configured[context.peer()]

    def _outputs(self, urn: str) -> list[str]:
        return list(sdk.outputs_of(wire.type_of(urn)))

    def _note(self, operation: str, urn: str, identity: str) -> None:
        self.cloud.world.history.append((operation, wire.type_of(urn), identity))
        self.cloud.changed.notify_all()

    @contextmanager
    def _answering(self, context: grpc.ServicerContext) -> Generator[None]:
        """Turn what goes wrong into an answer; what the double itself gets wrong also fails the test."""
        try:
            with self.cloud.changed:
                self.cloud.answering += 1
                try:
                    yield
                finally:
                    self.cloud.answering -= 1
                    self.cloud.changed.notify_all()
        except RefusedError as refusal:
            context.abort(grpc.StatusCode.UNKNOWN, str(refusal))
        except HalfMadeError as half:
            _abort_half_made(context, half)
        except Exception as error:  # noqa: BLE001 anything else is the double's own mistake, and must fail the test
            if not isinstance(error, DoubleError | sdk.UnknownTypeError):
                traceback.print_exc()
            self.cloud.defects.append(f"{type(error).__name__}: {error}")
            context.abort(grpc.StatusCode.INTERNAL, f"the double of {self.package}: {type(error).__name__}: {error}")

    @contextmanager
    def _fault(self, operation: str, urn: str) -> Generator[None]:
        fault = self.cloud.fault(operation, urn)
        if fault and not fault.kill:
            raise RefusedError(fault.message)
        if fault and fault.kill == "before":
            self.cloud.kill_engine()
            raise RefusedError("nobody listens any more")
        yield
        if fault:
            self.cloud.kill_engine()


def _echo(inputs: dict[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in inputs.items() if key != "__defaults"}


def _over(old: Json, new: Json) -> Json:
    """New inputs over old outputs; what only the cloud sets stays, also inside of an object."""
    if isinstance(old, dict) and isinstance(new, dict) and not wire.is_wrapped(new):
        return {**old, **{key: _over(old.get(key), value) for key, value in new.items()}}
    return new


def _merged(inputs: dict[str, Json], outputs: dict[str, Json]) -> dict[str, Json]:
    """Outputs over inputs; an input that was not changed is echoed as it came, so that secrets stay secret."""
    return {
        **_echo(inputs),
        **{key: value for key, value in outputs.items() if key not in inputs or wire.plain(inputs[key]) != value},
    }


def _abort_half_made(context: grpc.ServicerContext, half: HalfMadeError) -> NoReturn:
    detail = any_pb2.Any()
    detail.Pack(
        provider_pb2.ErrorResourceInitFailed(
            id=half.identity,
            properties=wire.encode({**half.inputs, **half.outputs}),
            inputs=wire.encode(half.inputs),
            reasons=[half.reason],
        )
    )
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=half.reason, details=[detail])
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(grpc.StatusCode.UNKNOWN, half.reason)
    raise AssertionError("abort returns never")


@contextmanager
def serving(*providers: Provider) -> Generator[str]:
    """Serve on loopback, one port a package; yields the value of PULUMI_DEBUG_PROVIDERS."""
    with ExitStack() as stack:
        addresses: list[str] = []
        for provider in providers:
            server = grpc.server(futures.ThreadPoolExecutor(max_workers=64), options=MESSAGE_SIZES)
            provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
            addresses.append(f"{provider.package}:{server.add_insecure_port('127.0.0.1:0')}")
            server.start()
            stack.callback(lambda server=server: server.stop(None).wait())
        yield ",".join(addresses)
