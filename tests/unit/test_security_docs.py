"""docs/security.md and docs/isolated.md name rules and settings that there are, and all that they are about."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from components import versions
from components.image_registry import chart_from, image_from
from preflight.rules import RULES, hardening, isolation
from preflight.rules.rule import Rule
from settings import StackSettings

ROOT = Path(__file__).parents[2]
SECURITY = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ISOLATED = (ROOT / "docs" / "isolated.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" |")] for line in SECURITY.splitlines() if line.startswith("| ")
]
BODY = [row for row in ROWS if row[0] != "what"]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("row", BODY, ids=lambda row: row[0])
def test_every_row_names_rules_that_there_are(row):
    assert quoted(row[3]), "a hardening without a rule is a promise"
    assert [rule for rule in quoted(row[3]) if rule not in RULES] == []


def test_every_rule_of_these_two_topics_has_its_row():
    own = {one.id for topic in (hardening, isolation) for one in vars(topic).values() if isinstance(one, Rule)}
    assert own <= {rule for row in BODY for rule in quoted(row[3])}


def keys() -> set[str]:
    """Every key that a stack file may have, by its path."""
    schema = StackSettings.model_json_schema(by_alias=True)

    def inside(section: dict, path: str) -> set[str]:
        found: set[str] = set()
        for key, field in section.get("properties", {}).items():
            found.add(f"{path}{key}")
            for choice in (field, *field.get("anyOf", [])):
                if "$ref" in choice:
                    found |= inside(schema["$defs"][choice["$ref"].rpartition("/")[2]], f"{path}{key}.")
        return found

    return inside(schema, "")


@pytest.mark.parametrize("page", [SECURITY, ISOLATED], ids=["security", "isolated"])
def test_settings_are_written_as_a_stack_file_has_them(page):
    words = [each.partition(":")[0] for each in quoted(re.sub("```.*?```", "", page, flags=re.DOTALL))]
    named = {each for each in words if re.fullmatch(r"(network|cluster|ingress)(\.[a-zA-Z]+)+", each)}
    named |= {each for row in BODY for each in quoted(row[2])} if page is SECURITY else set()
    assert named
    assert named - keys() == set()


@pytest.mark.parametrize("row", [row for row in BODY if quoted(row[2])], ids=lambda row: row[0])
def test_what_a_row_says_is_set_is_set_in_the_stack_of_customers(row):
    """But for the two rows of the stack without a way out, and identities, which every team has its own."""
    config = YAML(typ="safe").load(ROOT / "Pulumi.prod.yaml")["config"]
    for setting in quoted(row[2]):
        found: object = {key.partition(":")[2]: value for key, value in config.items()}
        for key in setting.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        assert (found is None) == (setting in ("imageRegistry", "identities")), setting


def test_every_link_of_the_comparison_is_defined():
    used = set(re.findall(r"\[([^\]]+)\](?![(:])", SECURITY.replace("][", "] [")))
    defined = set(re.findall(r"^\[([^\]]+)\]:", SECURITY, re.MULTILINE))
    assert {one for one in used if one not in defined} <= {"TF's VPC module"}


def test_the_snippet_prints_every_chart_and_image_of_the_isolated_stack():
    snippet = ISOLATED.split("```python\n")[1].split("```")[0]
    printed = subprocess.run(  # noqa: S603 the page's own words
        [sys.executable, "-c", snippet], cwd=ROOT, capture_output=True, check=True, encoding="utf-8"
    ).stdout
    for chart in (versions.CERT_MANAGER, versions.AWS_LOAD_BALANCER_CONTROLLER):
        assert f"{chart.chart} {chart.version}" in printed
    assert versions.DEMO_IMAGE.reference in printed


def test_addresses_in_the_registry_are_as_the_page_says():
    chart = chart_from("<imageRegistry>", versions.AWS_LOAD_BALANCER_CONTROLLER)
    assert chart.chart.replace(chart.name, "<chart>") in ISOLATED
    assert image_from("<imageRegistry>", "quay.io/team/app") in ISOLATED
