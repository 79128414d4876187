"""The command line of `check`: findings, exit codes, formats, refusals."""

from __future__ import annotations

import json
import sys
from datetime import date
from typing import get_args

import pytest

from preflight import check, cli, rules
from preflight import program as loading
from preflight.report import Format, render
from preflight.rules.rule import Hit, Rule

PROGRAM = """
import pulumi

class Bucket(pulumi.CustomResource):
    def __init__(self, name, **inputs):
        super().__init__("aws:s3/bucketV2:BucketV2", name, inputs)

config = pulumi.Config()
for name in config.require_object("buckets"):
    Bucket(name, open=config.get_bool("open"))
"""


def write_program(folder):
    (folder / "__main__.py").write_text(PROGRAM, encoding="utf-8")
    (folder / "Pulumi.yaml").write_text("name: own\nruntime: python\n", encoding="utf-8")
    for stack, opened in (("dev", "true"), ("prod", "false")):
        text = f"config:\n  own:open: {opened}\n  own:buckets: [one, two]\n"
        (folder / f"Pulumi.{stack}.yaml").write_text(text, encoding="utf-8")


@pytest.fixture
def program(tmp_path):
    write_program(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def bucket_rule(monkeypatch):
    """One rule in place of all: the real ones have their own tests."""

    def found(stack):
        for bucket in stack.graph.of_type("aws:s3/bucketV2:BucketV2"):
            if bucket.inputs["open"]:
                yield Hit(resource=bucket, message=f"{bucket.name} is open.", fix="Close it.")

    made = Rule(
        id="open-bucket",
        title="Open",
        severity="error",
        looks_at="buckets",
        why="Anybody reads it.",
        source="https://example.com/",
        fix="Close it.",
        check=found,
    )
    for table in (rules.RULES, check.RULES):
        monkeypatch.setitem(table, made.id, made)
    return made


@pytest.fixture
def preflight(program, monkeypatch, capsys):
    """Run the command line on the program; returns exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["preflight", "-C", str(program), *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


def test_an_error_ends_with_exit_code_one_and_names_the_line(preflight):
    code, out, _ = preflight("check", "dev")

    assert code == 1
    assert "open-bucket  one  __main__.py:10" in out
    assert "one is open." in out
    assert "2 errors in 2 resources of own (dev)" in out


def test_a_fine_stack_ends_with_exit_code_zero(preflight):
    assert preflight("check", "prod") == (0, "nothing found in 2 resources of own (prod)\n", "")


def test_dev_is_checked_where_no_stack_is_named_and_all_that_are_named(preflight):
    assert "(dev)" in preflight("check")[1]
    assert "2 errors in 4 resources of own (prod, dev)" in preflight("check", "prod", "dev")[1]


def test_plan_and_findings_come_of_one_run_of_the_program(preflight, monkeypatch):
    started = []
    monkeypatch.setattr(loading, "start", lambda *args, start=loading.start: started.append(args) or start(*args))
    code, printed, _ = preflight("check", "prod", "--plan")
    assert (code, len(started)) == (0, 1)
    assert printed.index("What this cannot know") < printed.index("nothing found")


def test_quiet_says_nothing_of_a_fine_stack(preflight):
    assert preflight("check", "prod", "--quiet") == (0, "", "")


def test_a_warning_does_not_stop_anybody(preflight, bucket_rule, monkeypatch):
    monkeypatch.setitem(
        rules.RULES, bucket_rule.id, bucket_rule.__class__(**{**vars(bucket_rule), "severity": "warning"})
    )

    code, out, _ = preflight("check", "dev")

    assert (code, "2 warnings" in out) == (0, True)


def test_a_waived_error_does_not_count_until_its_waiver_expires(preflight, program):
    waiver = '[[waiver]]\nrule = "open-bucket"\nresource = "*"\nreason = "public data"\nexpires = 2027-01-31\n'
    (program / "preflight.toml").write_text(waiver, encoding="utf-8")

    before = preflight("check", "dev", "--as-of", "2027-01-31")
    after = preflight("check", "dev", "--as-of", "2027-02-01")

    assert before[0] == 0
    assert "nothing found, 2 waived" in before[1]
    assert after[0] == 1
    assert "waiver-expired" in after[1]


def test_a_waiver_of_one_stack_is_only_noted_while_other_stacks_are_not_looked_at(preflight, program):
    waiver = '[[waiver]]\nrule = "open-bucket"\nresource = "three"\nreason = "x"\nexpires = 2027-01-31\n'
    (program / "preflight.toml").write_text(waiver, encoding="utf-8")
    day = ("--as-of", "2027-01-01")

    assert "1 note" in preflight("check", "prod", *day)[1]
    assert "1 warning" in preflight("check", "prod", "dev", *day)[1]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded")
    write_program(folder)
    return loading.load(folder), {"dev": loading.record(folder, ["dev"])}


@pytest.mark.parametrize("form", get_args(Format))
def test_every_format_names_rule_message_and_fix(recordings, form):
    text = render(check.judge(*recordings, [], date(2026, 11, 22)), form)

    for part in ("open-bucket", "one is open", "Close it"):
        assert part in text, f"{form} must say {part!r}"


def test_a_file_gets_the_format_and_the_terminal_the_text(preflight, tmp_path):
    file = tmp_path / "report.json"

    code, out, _ = preflight("check", "dev", "--format", "json", "--output", str(file))

    assert code == 1
    assert [one["rule"] for one in json.loads(file.read_text(encoding="utf-8"))["findings"]] == ["open-bucket"] * 2
    assert "2 errors" in out


def test_a_file_that_cannot_be_written_is_bad_input(preflight, tmp_path):
    code, _, err = preflight("check", "dev", "--output", str(tmp_path / "nowhere" / "report.txt"))

    assert code == 2
    for part in ("cannot be written", "nowhere", "found:", "allowed:", "change:"):
        assert part in err


@pytest.mark.parametrize(
    "arguments", [("check", "dev", "--format", "pdf"), ("check", "dev", "--as-of", "tomorrow"), ("check", "staging")]
)
def test_what_cannot_be_asked_ends_with_exit_code_two(preflight, arguments):
    code, out, err = preflight(*arguments)

    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert arguments[-1] in err


def test_a_bad_waiver_is_bad_input(preflight, program):
    (program / "preflight.toml").write_text("[[waiver]]\n", encoding="utf-8")

    code, _, err = preflight("check", "dev")

    assert (code, "preflight.toml:1" in err) == (2, True)


REFUSING = """
import pulumi

class Refused(pulumi.RunError):
    paths = ["buckets", "open"]

raise Refused("2 are refused.\\n\\nbuckets: too many\\n    change: fewer\\n\\nopen: not allowed\\n    change: false")
"""


def test_refused_settings_are_bad_input_with_their_lines(preflight, program):
    (program / "__main__.py").write_text(REFUSING, encoding="utf-8")

    code, out, err = preflight("check", "dev")

    assert (code, out) == (2, "")
    for part in ("too many", "not allowed", "Pulumi.dev.yaml:2", "Pulumi.dev.yaml:3"):
        assert part in err


def test_refused_settings_are_results_at_the_lines_of_the_stack_file_for_code_scanning(preflight, program):
    (program / "__main__.py").write_text(REFUSING, encoding="utf-8")

    code, out, _ = preflight("check", "dev", "--format", "sarif")

    (run,) = json.loads(out)["runs"]
    assert code == 2
    assert run["invocations"] == [{"executionSuccessful": False}]
    told = {
        (
            result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
            result["locations"][0]["physicalLocation"]["region"]["startLine"],
            result["message"]["text"].partition(":")[0],
        )
        for result in run["results"]
    }
    assert told == {("Pulumi.dev.yaml", 3, "buckets"), ("Pulumi.dev.yaml", 2, "open")}


def test_a_failing_program_ends_with_exit_code_three_and_its_own_line(preflight, program):
    (program / "__main__.py").write_text("import pulumi\n\nprint(1 / 0)\n", encoding="utf-8")

    code, out, err = preflight("check", "dev", "--format", "json")

    assert (code, out) == (3, "")
    assert "__main__.py:3" in err
    assert "division by zero" in err
