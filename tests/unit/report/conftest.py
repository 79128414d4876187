"""A report about a real recording, with findings written by hand: rules have their own tests."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from preflight import program
from preflight.check import CheckedStack, Report
from preflight.finding import Finding
from preflight.graph import Graph
from preflight.waivers import Waived, Waiver

ROOT = Path(__file__).parents[3]
DAY = date(2026, 11, 22)


@pytest.fixture(scope="session")
def recorded():
    (recording,) = program.record(ROOT / "tests" / "fixtures" / "programs" / "wired", ["dev"], ["update"])
    assert recording["error"] is None, f"the fixture must run: {recording['error']}"
    return recording


@pytest.fixture
def graph(recorded):
    return Graph.of(recorded)


@pytest.fixture
def finding(graph):
    def made(name="main", severity="error", **other):
        resource = next((one for one in graph.resources.values() if one.name == name), None)
        urn, source = (resource.urn, resource.source) if resource else ("", None)
        values = {
            "stack": "dev",
            "resource": urn,
            "severity": severity,
            "rule": "settings-refused",
            "message": "The endpoint answers 0.0.0.0/0.",
            "fix": "Name your own range in publicAccessCidrs.",
            "file": source["file"] if source else "",
            "line": source["line"] if source else 0,
        }
        return Finding(**{**values, **other})

    return made


@pytest.fixture
def report(graph):
    def made(*findings, waived=(), stacks=("dev",), directory=ROOT / "tests" / "fixtures" / "programs" / "wired"):
        return Report(
            project="wired",
            directory=directory,
            as_of=DAY,
            stacks=[CheckedStack(name=name, file=f"Pulumi.{name}.yaml", graph=graph) for name in stacks],
            findings=findings,
            waived=waived,
        )

    return made


@pytest.fixture
def waived(finding):
    waiver = Waiver(rule="settings-refused", resource="main", reason="until the move", expires=DAY, line=3)
    return Waived(finding=finding(), waiver=waiver)
