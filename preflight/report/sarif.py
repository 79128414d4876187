"""A report as SARIF 2.1.0, in the part of it that code scanning shows beside the lines of a pull request.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html says what the fields mean,
https://docs.github.com/en/code-security/reference/code-scanning/sarif-files/sarif-support which of them are read.
"""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from preflight.check import RULES, Report
from preflight.finding import Finding
from preflight.rules.rule import Rule
from preflight.waivers import Waiver


def render(report: Report) -> str:
    """Write a report as SARIF."""
    return json.dumps(document(report), indent=2, ensure_ascii=False) + "\n"


def document(report: Report) -> dict[str, Any]:
    """Return a report as a SARIF log with one run; waived findings are results with a suppression."""
    base = _below_repository(report.directory)
    files = {stack.name: stack.file for stack in report.stacks}
    results = [_result(finding, base, files) for finding in report.findings]
    results += [
        _result(one.finding, base, files) | {"suppressions": [_suppression(one.waiver)]} for one in report.waived
    ]
    driver = {
        "name": "eks-preflight",
        "semanticVersion": version("eks-preflight"),
        "rules": document_rules(),
    }
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"preflight/{report.project}/"},
        "invocations": [{"executionSuccessful": report.complete}],
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}


def _below_repository(directory: Path) -> PurePath:
    """Return where the program is in its repository: code scanning reads paths from the top of the checkout."""
    top = next((one for one in (directory, *directory.parents) if (one / ".git").exists()), directory)
    return directory.relative_to(top)


def document_rules() -> list[dict[str, Any]]:
    """Return what SARIF says of every rule, in the order of their indexes."""
    return [_rule(rule) for rule in RULES.values()]


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {
            "text": f"Looks at: {rule.looks_at}\nFix: {rule.fix}\nSource: {rule.source}",
            "markdown": f"**Looks at** {rule.looks_at}\n\n**Fix** {rule.fix}\n\n[Source]({rule.source})",
        },
        "helpUri": rule.source,
        "defaultConfiguration": {"level": rule.severity},  # SARIF has the same three words
    }


def _result(finding: Finding, base: PurePath, files: Mapping[str, str]) -> dict[str, Any]:
    file, line = finding.file, finding.line
    if not file or PurePath(file).is_absolute():
        # Registered outside the program, or nowhere; code scanning drops what has no line in the repository.
        file, line = files[finding.stack], 1
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": quote((base / file).as_posix())},
            "region": {"startLine": max(line, 1)},
        }
    }
    if finding.resource:
        name = finding.resource.rpartition("::")[2]
        location["logicalLocations"] = [
            {"name": name, "fullyQualifiedName": finding.resource, "kind": "resource"},
        ]
    identity = "\0".join((finding.rule, finding.stack, finding.resource, finding.message))
    return {
        "ruleId": finding.rule,
        "ruleIndex": list(RULES).index(finding.rule),
        "level": finding.severity,
        "message": {"text": f"{finding.message}\nFix: {finding.fix}"},
        "locations": [location],
        # The line may move without the finding being another one.
        "partialFingerprints": {"findingIdentity/v1": hashlib.sha256(identity.encode()).hexdigest()},
        "properties": {"stack": finding.stack, "fix": finding.fix},
    }


def _suppression(waiver: Waiver) -> dict[str, Any]:
    justification = f"{waiver.reason} (until {waiver.expires})"
    return {"kind": "external", "justification": justification}
