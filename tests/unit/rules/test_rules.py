"""What holds for all rules together: proven, documented, reported, and quiet on a good stack."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import re
from pathlib import Path

from preflight.check import RULES as REPORTED
from preflight.graph import Graph
from preflight.report import sarif
from preflight.rules import RULES, check
from preflight.rules.rule import Rule
from tests.unit.rules.conftest import ENDPOINT, ROOT

TOPICS = (
    "cluster",
    "gateway_api",
    "hardening",
    "https",
    "hygiene",
    "identity",
    "ingress",
    "isolation",
    "kiam",
    "kiam_certificates",
    "lattice",
    "order",
)


def page():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_rule_has_a_mutant_and_every_mutant_a_rule():
    mutants: list[str] = []
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        mutants += getattr(importlib.import_module(f"tests.unit.rules.{file.stem}"), "MUTANTS", {})
    assert sorted(mutants) == sorted(RULES), "each test_<topic>.py has a table MUTANTS with the rules of its topic"


def test_no_id_names_two_rules():
    modules = [importlib.import_module(f"preflight.rules.{topic}") for topic in TOPICS]
    made = [one for module in modules for one in vars(module).values() if isinstance(one, Rule)]
    assert sorted(one.id for one in made) == sorted(RULES)


def test_the_rule_reference_is_current():
    generate = page()
    assert generate.RULE_PAGE.read_text(encoding="utf-8") == generate.rule_reference(), "run `make docs`"


def test_the_rule_reference_has_a_section_for_every_rule_that_a_report_can_name():
    sections = re.findall(r"^### (.+)$", page().RULE_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sections == list(REPORTED)


def test_sarif_describes_every_rule_as_the_rule_describes_itself():
    described = {one["id"]: one for one in sarif.document_rules()}
    assert list(described) == list(REPORTED)
    for rule in REPORTED.values():
        said = described[rule.id]
        assert said["shortDescription"]["text"] == rule.title
        assert said["defaultConfiguration"]["level"] == rule.severity
        assert said["helpUri"] == rule.source


def test_every_rule_says_what_it_is_in_full():
    for rule in RULES.values():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", rule.id), f"{rule.id} is kebab-case"
        assert rule.source.startswith("https://"), f"{rule.id} names the page that says so"
        assert not rule.title.endswith("."), f"{rule.id}: a title is no sentence"
        assert rule.looks_at, f"{rule.id} says what it looks at"
        for said in (rule.why, rule.fix):
            assert said.endswith("."), f"{rule.id}: {said!r} is a sentence"


def test_titles_tell_rules_apart():
    titles = [rule.title for rule in REPORTED.values()]
    assert len(set(titles)) == len(titles)


def test_the_dev_stack_has_one_finding_its_public_endpoint(dev):
    assert [(one.rule, one.severity) for one in dev.findings()] == [(ENDPOINT, "warning")]


def test_the_fix_makes_that_finding_go_away(dev):
    dev["Cluster cluster-eks"].set("publicAccessCidrs", to=["203.0.113.0/24"])
    assert dev.findings() == []


def test_a_value_that_is_not_known_gives_a_note_and_not_silence(dev):
    unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
    dev["Cluster cluster-eks"].set("publicAccessCidrs", to=unknown)
    (finding,) = dev.of(ENDPOINT)
    assert finding.severity == "note"
    assert "publicAccessCidrs" in finding.message


def test_a_preview_alone_gives_notes_and_no_false_alarm(dev):
    stack = dataclasses.replace(dev.stack(), graph=Graph.of(dev.preview), preview=None)
    found = [one for one in check(stack) if one.severity != "note"]
    assert [one.rule for one in found] == [ENDPOINT]


def test_a_value_that_stops_several_rules_is_named_once(dev):
    dev["Ingress demo-ingress"].set("metadata", "annotations", to="04da6b54-80e4-46f7-96ec-b56ff0331ba9")
    notes = [one for one in dev.findings() if "annotations of demo-ingress" in one.message]
    assert len(notes) == 1
    stopped = {rule for rule in RULES if any(one.severity == "note" for one in dev.of(rule))}
    assert len(stopped) > 1
    assert {rule for rule in stopped - {notes[0].rule} if rule not in notes[0].message} == set()
