"""What the policy pack answers; that the engine understands it is shown in tests/engine."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import grpc
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import analyzer_pb2

from policy_pack.analyzer import Analyzer
from preflight.rules import RULES

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


class Context:
    """Of a call that may be broken off."""

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        raise RuntimeError(code.name, details)


def judged(directory: Path, *resources: analyzer_pb2.AnalyzerResource) -> list[analyzer_pb2.AnalyzeDiagnostic]:
    request = analyzer_pb2.AnalyzeStackRequest(resources=resources)
    return [*Analyzer(directory).AnalyzeStack(request, Context()).diagnostics]  # type: ignore[arg-type]


def test_every_rule_is_a_policy_under_its_id_and_errors_are_mandatory(tmp_path: Path):
    policies = Analyzer(tmp_path).GetAnalyzerInfo(empty_pb2.Empty(), Context()).policies  # type: ignore[arg-type]
    mandatory = {each.name for each in policies if each.enforcementLevel == analyzer_pb2.MANDATORY}
    assert {each.name for each in policies} == set(RULES)
    assert mandatory == {each.id for each in RULES.values() if each.severity == "error"}


def test_a_value_that_is_not_known_is_a_note_and_stops_nothing(tmp_path: Path):
    account = analyzer_pb2.AnalyzerResource(
        urn="urn:pulumi:dev::p::kubernetes:core/v1:ServiceAccount::reader",
        type="kubernetes:core/v1:ServiceAccount",
        name="reader",
        provider=analyzer_pb2.AnalyzerProviderResource(urn="urn:pulumi:dev::p::pulumi:providers:kubernetes::k"),
    )
    account.properties["metadata"] = UNKNOWN
    (note,) = judged(tmp_path, account)
    assert note.enforcementLevel == analyzer_pb2.ADVISORY
    assert note.message.startswith("Note: ")


def test_a_waiver_that_cannot_be_used_stops_with_its_message(tmp_path: Path):
    (tmp_path / "preflight.toml").write_text('[[waiver]]\nrule = "no-such-rule"\nresource = "*"\nreason = "r"\n')
    with pytest.raises(RuntimeError, match="no-such-rule"):
        judged(tmp_path)
