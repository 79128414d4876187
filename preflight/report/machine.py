"""A report as JSON. findings.schema.json, beside the package, is its schema."""

import json
from importlib import resources
from typing import Any

from preflight.check import Report
from preflight.finding import SEVERITIES, Finding

FORMAT = 1
"""Raised when a reader of an older report would misread a newer one."""


def schema() -> dict[str, Any]:
    """Return the JSON schema of the report."""
    return json.loads(resources.files("preflight").joinpath("findings.schema.json").read_text(encoding="utf-8"))


def render(report: Report) -> str:
    """Write a report as JSON."""
    return json.dumps(document(report), indent=2, ensure_ascii=False) + "\n"


def document(report: Report) -> dict[str, Any]:
    """Return a report as plain values."""
    return {
        "format": FORMAT,
        "project": report.project,
        "asOf": report.as_of.isoformat(),
        "stacks": [{"name": stack.name, "resources": len(stack.graph.resources)} for stack in report.stacks],
        "summary": {severity: report.count(severity) for severity in SEVERITIES} | {"waived": len(report.waived)},
        "findings": [of_finding(finding) for finding in report.findings],
        "waived": [
            of_finding(one.finding) | {"reason": one.waiver.reason, "expires": one.waiver.expires.isoformat()}
            for one in report.waived
        ],
    }


def of_finding(finding: Finding) -> dict[str, Any]:
    """Return one finding as plain values."""
    return {
        "rule": finding.rule,
        "severity": finding.severity,
        "stack": finding.stack,
        "resource": finding.resource,
        "message": finding.message,
        "fix": finding.fix,
        "file": finding.file,
        "line": finding.line,
    }
