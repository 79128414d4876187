"""The reports that other tools read keep to what is published."""

from __future__ import annotations

import json

import jsonschema
import pytest
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema

from preflight.check import RULES
from preflight.report import machine, render, sarif


def validated(document):
    jsonschema.validate(document, machine.schema(), jsonschema.Draft202012Validator)
    return document


def test_the_schema_is_itself_valid():
    jsonschema.Draft202012Validator.check_schema(machine.schema())


def test_json_keeps_to_the_published_schema(report, finding, waived):
    document = validated(json.loads(render(report(finding(), finding(name="nowhere"), waived=[waived]), "json")))

    assert document["findings"][0] == {
        "rule": "settings-refused",
        "severity": "error",
        "stack": "dev",
        "resource": finding().resource,
        "message": "The endpoint answers 0.0.0.0/0.",
        "fix": "Name your own range in publicAccessCidrs.",
        "file": "__main__.py",
        "line": finding().line,
    }
    assert document["summary"] == {"error": 2, "warning": 0, "note": 0, "waived": 1}
    assert (document["waived"][0]["reason"], document["waived"][0]["expires"]) == ("until the move", "2026-11-22")
    assert document["stacks"] == [{"name": "dev", "resources": 21}]


def test_the_schema_refuses_what_a_report_does_not_have(report, finding):
    document = machine.document(report(finding()))
    document["findings"][0]["colour"] = "red"

    with pytest.raises(jsonschema.ValidationError, match="colour"):
        validated(document)


def results(document):
    (run,) = document["runs"]
    return run["results"]


def test_sarif_keeps_to_its_published_schema(report, finding, waived):
    document = json.loads(render(report(finding(), finding(name="nowhere"), waived=[waived]), "sarif"))

    read = StaticAnalysisResultsFormatSarifVersion210JsonSchema.model_validate(document)

    assert len(read.runs[0].results) == 3


def test_sarif_has_what_the_standard_demands_beyond_its_schema(report, finding, waived):
    document = json.loads(render(report(finding(), finding(severity="note"), waived=[waived]), "sarif"))

    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"], "3.27.6: the index is of the rule that is named"
        assert result["level"] in {"none", "note", "warning", "error"}, "3.27.10"
        assert result["message"]["text"], "3.27.11: a result has a message"
        for location in result["locations"]:
            assert location["physicalLocation"]["region"]["startLine"] >= 1, "3.30.5: lines count from 1"
            uri = location["physicalLocation"]["artifactLocation"]["uri"]
            assert not uri.startswith("/"), "3.4.3: a relative reference is what code scanning can resolve"
            assert "\\" not in uri


def test_sarif_describes_every_rule_once():
    described = sarif.document_rules()

    assert [rule["id"] for rule in described] == list(RULES)
    for rule in described:
        assert rule["shortDescription"]["text"] == RULES[rule["id"]].title
        assert rule["helpUri"].startswith("https://")
        assert rule["defaultConfiguration"] == {"level": RULES[rule["id"]].severity}


def test_sarif_points_at_the_line_that_registered_the_resource_from_the_top_of_the_repository(
    report, finding, tmp_path
):
    (tmp_path / ".git").mkdir()
    program = tmp_path / "infra" / "my stack"

    (result,) = results(sarif.document(report(finding(), directory=program)))

    (location,) = result["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "infra/my%20stack/__main__.py"},
        "region": {"startLine": finding().line},
    }
    assert location["logicalLocations"] == [
        {"name": "main", "fullyQualifiedName": finding().resource, "kind": "resource"}
    ]


@pytest.mark.parametrize("file", ["", "/usr/lib/python3/site-packages/somebody/component.py"])
def test_sarif_points_at_the_stack_file_where_no_line_of_the_program_is_to_blame(report, finding, file, tmp_path):
    (result,) = results(sarif.document(report(finding(file=file, line=7), directory=tmp_path)))

    place = result["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "Pulumi.dev.yaml"}, "region": {"startLine": 1}}


def test_a_waived_finding_is_suppressed_in_sarif_with_its_reason(report, waived):
    (result,) = results(sarif.document(report(waived=[waived])))

    assert result["suppressions"] == [{"kind": "external", "justification": "until the move (until 2026-11-22)"}]


def test_a_finding_keeps_its_fingerprint_when_its_line_moves(report, finding):
    first, moved, other = results(
        sarif.document(report(finding(), finding(line=99), finding(message="Another message.")))
    )

    assert first["partialFingerprints"] == moved["partialFingerprints"]
    assert first["partialFingerprints"] != other["partialFingerprints"]
