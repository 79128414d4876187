"""What the engine asks a policy pack, answered by the preflight's rules.

Speaks the engine's protocol, whose classes come with the Pulumi SDK. Pulumi's own library for policies raises as soon
as one touches a value that a preview does not know, and then drops the policy; here an unknown value reaches the rule.
"""

# ruff: noqa: N802 the names are the protocol's

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc, plugin_pb2

from preflight import rules, waivers
from preflight.errors import BadInputError
from preflight.finding import Finding
from preflight.graph import Graph, Resource, decode
from preflight.recorder import YAML_TYPES
from preflight.rules.rule import Stack

NAME: Final = "eks-preflight"
VERSION: Final = "0.1.0"

_STACK, _PROVIDER = "pulumi:pulumi:Stack", "pulumi:providers:"
_NOTE = "Note: "
_MANDATORY, _ADVISORY = analyzer_pb2.MANDATORY, analyzer_pb2.ADVISORY


class Analyzer(analyzer_pb2_grpc.AnalyzerServicer):
    """One policy per rule, under its id: mandatory where the rule is an error, advisory otherwise.

    A note says what a rule could not judge before the update, and stops nothing.

    Args:
        directory: where the preflight.toml with the waivers is. The engine does not say where the program is.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stack = ""
        self._inputs: dict[str, dict[str, object]] = {}
        """By URN. The engine shows them resource by resource, and at the end of the stack only outputs."""

    def Handshake(
        self, request: analyzer_pb2.AnalyzerHandshakeRequest, context: grpc.ServicerContext
    ) -> analyzer_pb2.AnalyzerHandshakeResponse:
        """Say that we are there."""
        del request, context
        return analyzer_pb2.AnalyzerHandshakeResponse()

    def GetPluginInfo(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        """Say which version this is."""
        del request, context
        return plugin_pb2.PluginInfo(version=VERSION)

    def GetAnalyzerInfo(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> analyzer_pb2.AnalyzerInfo:
        """Describe every rule."""
        del request, context
        policies = [
            analyzer_pb2.PolicyInfo(
                name=rule.id,
                displayName=rule.title,
                description=rule.why,
                enforcementLevel=_MANDATORY if rule.severity == "error" else _ADVISORY,
                policy_type=analyzer_pb2.POLICY_TYPE_STACK,
                remediation_steps=rule.fix,
                url=rule.source,
            )
            for rule in rules.RULES.values()
        ]
        return analyzer_pb2.AnalyzerInfo(name=NAME, version=VERSION, policies=policies)

    def ConfigureStack(
        self, request: analyzer_pb2.AnalyzerStackConfigureRequest, context: grpc.ServicerContext
    ) -> analyzer_pb2.AnalyzerStackConfigureResponse:
        """Remember which stack it is."""
        del context
        self._stack = request.stack
        return analyzer_pb2.AnalyzerStackConfigureResponse()

    def Analyze(
        self, request: analyzer_pb2.AnalyzeRequest, context: grpc.ServicerContext
    ) -> analyzer_pb2.AnalyzeResponse:
        """Remember what the program asks of one resource; the rules look at how all of them are wired."""
        del context
        self._inputs[request.urn] = _decoded(request.properties)
        return analyzer_pb2.AnalyzeResponse()

    def AnalyzeStack(
        self, request: analyzer_pb2.AnalyzeStackRequest, context: grpc.ServicerContext
    ) -> analyzer_pb2.AnalyzeResponse:
        """Judge the whole stack by every rule, less what is waived."""
        today = datetime.now(UTC).date()
        try:
            agreed = waivers.read(self._directory, rules.RULES)
        except BadInputError as problem:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(problem))
        found = rules.check(Stack(name=self._stack, graph=graph_of(request.resources, self._inputs), as_of=today))
        left, _ = waivers.apply(agreed, found, today, [self._stack])
        # A preview cannot tell whether a waiver covers nothing, so that is left to `preflight check`.
        judged = [each for each in left if each.rule in rules.RULES]
        return analyzer_pb2.AnalyzeResponse(diagnostics=[_diagnostic(each) for each in judged])


def _diagnostic(finding: Finding) -> analyzer_pb2.AnalyzeDiagnostic:
    return analyzer_pb2.AnalyzeDiagnostic(
        policyName=finding.rule,
        policyPackName=NAME,
        policyPackVersion=VERSION,
        description=rules.RULES[finding.rule].title,
        message=f"{_NOTE if finding.severity == 'note' else ''}{finding.message}\n{finding.fix}",
        enforcementLevel=_MANDATORY if finding.severity == "error" else _ADVISORY,
        urn=finding.resource,
    )


def graph_of(shown: Sequence[analyzer_pb2.AnalyzerResource], inputs: Mapping[str, Mapping[str, object]]) -> Graph:
    """The graph of a stack.

    Args:
        shown: the resources with their outputs, as far as they are known.
        inputs: by URN. What the program says and what AWS answers are two different things to a rule that looks for a
            name that was fixed.
    """
    stack = next((each.urn for each in shown if each.type == _STACK), "")
    return Graph(
        [
            _resource(each, inputs.get(each.urn, {}), "" if each.parent == stack else each.parent)
            for each in shown
            if each.urn != stack and not _is_hidden(each)
        ]
    )


def _is_hidden(shown: analyzer_pb2.AnalyzerResource) -> bool:
    """Whether nobody can do anything about it: the provider that pulumi-eks makes for itself."""
    inside = shown.parent.split("::")[2:3]
    return shown.type.startswith(_PROVIDER) and any(each.rpartition("$")[2].startswith("eks:") for each in inside)


def _resource(shown: analyzer_pb2.AnalyzerResource, inputs: Mapping[str, object], parent: str) -> Resource:
    # Of a component the engine shows outputs, and of a packaged one the children too: rules that know it by its inputs
    # would judge it by nothing, so a component keeps its place in the graph and loses its type.
    # Of manifests rules want to know only that there are some.
    custom = bool(shown.provider.urn) or shown.type.startswith(_PROVIDER)
    known = custom or shown.type in YAML_TYPES
    options = shown.options
    return Resource(
        urn=shown.urn,
        type=shown.type if known else f"component:{shown.type}",
        name=shown.name,
        parent=parent,
        custom=custom,
        # The engine shows which provider it is, and not its id.
        provider=f"{shown.provider.urn}::id" if shown.provider.urn else "",
        inputs=_given(inputs, shown.name),
        outputs=_decoded(shown.properties) if custom else {},
        dependencies=tuple(shown.dependencies),
        property_dependencies={key: tuple(each.urns) for key, each in shown.propertyDependencies.items()},
        protect=options.protect,
        ignore_changes=tuple(options.ignoreChanges),
        delete_before_replace=options.deleteBeforeReplace,
    )


def _decoded(shown: struct_pb2.Struct) -> dict[str, object]:
    return cast("dict[str, object]", decode(json_format.MessageToDict(shown)))


def _given(inputs: Mapping[str, object], name: str) -> dict[str, object]:
    """The inputs without the names that Pulumi made up: the program fixed none of them."""
    made_up = re.compile(rf"{re.escape(name)}-[0-9a-f]{{7,8}}")
    return {key: item for key, item in inputs.items() if not (isinstance(item, str) and made_up.fullmatch(item))}
