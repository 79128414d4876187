"""Programs that never heard of this project: other people's shapes, their mistakes, and the wheel that checks them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from datetime import date
from pathlib import Path

import flit_core.buildapi
import pytest

from preflight import check, identities, plan, program
from preflight.cli import main
from preflight.finding import Finding
from preflight.graph import UNKNOWN, Graph, decode
from preflight.program import Recording

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "tests/fixtures/programs"
SHAPES = PROGRAMS / "shapes/program"
MISWIRED = PROGRAMS / "miswired"


@pytest.fixture(scope="module")
def runs() -> dict[tuple[str, str], Recording]:
    """Every stack of the programs of many shapes, in both modes, by stack and mode."""
    return {(one["stack"], one["mode"]): one for one in program.record(SHAPES)}


def inputs(recording: Recording, kind: str) -> dict[str, dict[str, object]]:
    """The inputs of the resources of a kind, by name."""
    return {one["name"]: one["inputs"] for one in recording["resources"] if one["type"].endswith(f":{kind}")}


@pytest.mark.parametrize("stack", ["asynchronous", "charts", "existing", "loops", "others", "references"])
def test_a_program_of_any_shape_runs_and_its_preview_shows_what_its_update_makes(runs, stack):
    both = [{one["urn"] for one in runs[stack, mode]["resources"]} for mode in program.MODES]
    assert [runs[stack, mode]["error"] for mode in program.MODES] == [None, None]
    assert both[0] == both[1] != set()


def test_loops_over_what_aws_would_answer_make_what_they_would_make(runs):
    subnets = inputs(runs["loops", "update"], "Subnet")
    assert {name: one["availabilityZone"] for name, one in subnets.items()} == {
        "subnet-a": "eu-west-1a",
        "subnet-b": "eu-west-1b",
        "subnet-c": "eu-west-1c",
    }
    assert list(inputs(runs["loops", "update"], "NodeGroup")) == ["system"], "the group of size 0 is left out"
    assert '"Account": 111122223333' in str(runs["loops", "update"]["outputs"]["allow"])


def test_a_module_beside_the_programs_folder_is_run_anew_each_time(runs):
    registered = {mode: list(inputs(runs["loops", mode], "Bucket")) for mode in program.MODES}
    assert registered == {"preview": ["audit"], "update": ["audit"]}


def test_outputs_of_another_stack_are_taken_from_the_file_beside_the_program(runs):
    update = runs["references", "update"]
    assert update["outputs"]["vpcId"] == "vpc-0123456789abcdef0"
    subnets = [one["subnetId"] for one in inputs(update, "NetworkInterface").values()]
    assert subnets == ["subnet-0aaaaaaaaaaaaaaaa", "subnet-0bbbbbbbbbbbbbbbb"]


def test_outputs_of_another_stack_that_nobody_states_are_unknown_and_said_to_be(runs):
    update = runs["references", "update"]
    assert decode(update["outputs"]["token"]) is UNKNOWN
    assert [one["args"]["name"] for one in update["invokes"] if one["origin"] == "stand-in"] == [
        "acme/secrets/references"
    ]


@pytest.mark.parametrize(("namespace", "account"), [("kube-system", "external-dns"), ("web", "web"), ("web", "worker")])
def test_accounts_out_of_charts_and_yaml_are_wired_like_any_other(runs, namespace, account):
    """A helm.v3.Chart, which registers nothing of its values, a ConfigFile, and one of the second generation."""
    graph = Graph.of(runs["charts", "update"])
    (identity,) = identities.explain(graph, namespace, account)
    assert identity.chosen is not None, f"{identity} has no way to a role"
    assert identity.chosen.decision.admitted, identity.chosen.decision.reason
    assert identity.workloads != (), "what runs under it is seen as well"


def test_providers_that_nobody_here_knows_get_stand_ins_and_a_note(runs):
    update = runs["others", "update"]
    assert {one["type"] for one in update["resources"]} >= {
        "vault:index/secret:Secret",
        "pulumi-python:dynamic:Resource",
    }
    assert [one["token"] for one in update["invokes"] if one["origin"] == "stand-in"] == [
        "fastly:index/getFastlyIpRanges:getFastlyIpRanges"
    ]


def test_an_asynchronous_entry_point_is_awaited_and_its_result_exported(runs):
    assert runs["asynchronous", "update"]["outputs"] == {"arn": "arn:aws:s3:::logs-111122223333"}


def test_a_plan_names_what_would_have_to_be_stated(runs, capsys):
    for stack in ("others", "references"):
        plan.show({stack: [runs[stack, mode] for mode in program.MODES]})
    said = " ".join(capsys.readouterr().out.split())
    parts = [
        "state them in preflight.toml: fastly:index/getFastlyIpRanges:getFastlyIpRanges",
        "outputs of other stacks, unknown unless preflight.toml states them: acme/secrets/references",
    ]
    assert missing(parts, said) == [], said


def test_what_stands_already_is_made_up_so_that_it_can_be_taken_apart(runs):
    outputs = {mode: runs["existing", mode]["outputs"] for mode in program.MODES}
    update = outputs["update"]
    assert str(update["authority"]).startswith("-----BEGIN CERTIFICATE-----\n")
    assert str(update["host"]).endswith(".eu-west-1.elb.amazonaws.com")
    assert update["name"] == "argocd-server", "read by its id"
    assert decode(update["password"]) == "sesame", "from the file beside the program, by the type of what is read"
    read = ("authority", "host", "name", "password")
    assert [outputs["preview"][key] for key in read] == [update[key] for key in read], "a preview reads it, too"


def test_outputs_are_as_the_aws_provider_would_give_them_back(runs):
    update = runs["existing", "update"]["outputs"]
    assert str(update["url"]).startswith("oidc.eks.eu-west-1.amazonaws.com/id/"), "IAM keeps no scheme"
    assert json.loads(str(update["policy"]))["Version"] == "2012-10-17", "an object is kept as JSON text"
    assert update["region"] == "eu-west-1", "clients that a program makes itself find a region"


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def preflight(monkeypatch, capfd) -> Run:
    """Run the command line; returns exit code, stdout and stderr."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["preflight", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capfd.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def missing(parts: list[str], text: str) -> list[str]:
    return [part for part in parts if part not in text]


def test_a_program_that_raises_shows_its_own_line_and_which_answers_were_stand_ins(preflight):
    code, _, said = preflight("-C", SHAPES, "check", "raises")
    parts = [
        "The program failed, stack raises, preview mode.",
        "raises.py:8 in <lambda>: ",
        "JSONDecodeError: Expecting value",
        "resource database",
        "aws:secretsmanager/getSecretVersion:getSecretVersion",
        'preflight.toml: [answers."TOKEN"]',
    ]
    assert (code, missing(parts, said)) == (3, []), said
    assert "site-packages" not in said, "lines of other people's packages help nobody"


def test_a_missing_setting_is_named_with_the_lines_to_write(preflight):
    code, _, said = preflight("-C", SHAPES, "check", "unset")
    parts = ["asks for the setting `team:owner`", "unset.py:5", "[config]", '"team:owner" = "..."']
    assert (code, missing(parts, said)) == (2, []), said


def small(folder: Path, text: str, **options: str) -> Path:
    """Write a program of one file."""
    lines = ["name: small", "runtime:", "  name: python", "  options:", *(f"    {k}: {v}" for k, v in options.items())]
    (folder / "Pulumi.yaml").write_text("\n".join(lines) + "\n")
    (folder / "__main__.py").write_text(text)
    return folder


def test_a_package_that_is_missing_is_named_with_the_interpreter_that_misses_it(preflight, tmp_path):
    code, _, said = preflight("-C", small(tmp_path, "import no_such_package\n", virtualenv="env"), "plan")
    parts = ["__main__.py:1", "no_such_package", sys.executable, "runtime, options, virtualenv"]
    assert (code, missing(parts, said)) == (3, []), said


def test_an_interpreter_with_pulumi_2_is_refused(preflight, tmp_path, monkeypatch):
    old = tmp_path / "pulumi-2.25.2.dist-info"
    old.mkdir()
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: pulumi\nVersion: 2.25.2\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    code, _, said = preflight("-C", small(tmp_path, "import pulumi\n"), "plan")
    assert (code, missing(["no usable pulumi", "version 2, and 3 is needed"], said)) == (3, []), said


def test_a_syntax_error_is_the_programs_and_has_its_line(preflight, tmp_path):
    code, _, said = preflight("-C", small(tmp_path, "import pulumi\ndef broken(:\n"), "plan")
    parts = ["__main__.py:2: def broken(:", "SyntaxError"]
    assert (code, missing(parts, said)) == (3, []), said


@pytest.mark.parametrize(
    ("activated", "options", "expected"),
    [("", {"virtualenv": "own"}, "own"), ("", {"toolchain": "uv"}, ".venv"), ("active", {}, "active")],
)
def test_the_interpreter_is_the_one_that_pulumi_would_take(tmp_path, monkeypatch, activated, options, expected):
    for name in ("own", ".venv", "active"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin/python").touch()
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    if activated:
        monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / activated))
    (tmp_path / "program").mkdir()
    options = {key: value.replace("own", "../own") for key, value in options.items()}
    found = program.load(small(tmp_path / "program", "", **options)).interpreter
    assert found.resolve() == (tmp_path / expected / "bin/python").resolve()


@pytest.fixture(scope="module")
def findings() -> dict[str, list[Finding]]:
    """What the rules say of the stack in which eight wires are wrong, and of the one in which they are mended."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PULUMI_ERROR_OUTPUT_STRING", raising=False)  # with it the seventh wire ends the program
        with program.start(MISWIRED, ["broken", "fixed"]) as running:
            report = check.judge(running.program, running.checked(), [], date(2026, 11, 22))
    assert [one.name for one in report.stacks] == ["broken", "fixed"]
    return {name: [one for one in report.findings if one.stack == name] for name in ("broken", "fixed")}


# The resource at fault, the rule that names it, and what its fix says to write.
WIRES = {
    "whole-arn": ("irsa-key-arn", "what stands after oidc-provider/"),
    "no-audience": ("trust-without-audience", ':aud": "sts.amazonaws.com" under StringEquals'),
    "wildcard": ("irsa-wildcard", "Write system:serviceaccount:team:wildcard as subject"),
    "made-by-chart": ("irsa-subject", "give the role to the account kube-system/external-dns"),
    "elsewhere": ("irsa-subject", "give the role to the account kube-system/karpenter"),
    "doubled": ("irsa-subject", "Write system:serviceaccount:team:doubled as subject"),
    "stringified": ("output-as-text", 'pulumi.Output.format("...{0}...", output)'),
    "whole-namespace": ("trust-open-namespace", "system:serviceaccount:team:<name> under StringEquals"),
}


@pytest.mark.parametrize("wire", WIRES)
def test_each_wire_that_others_shipped_wrong_is_named_by_its_rule_with_what_to_write(findings, wire):
    rule, words = WIRES[wire]
    about = [one for one in findings["broken"] if one.resource.endswith(f"::{wire}")]
    assert [one.rule for one in about] == [rule]
    assert words in about[0].fix
    assert about[0].file == "__main__.py", "the finding has a line of the program"


def test_the_fixes_applied_make_every_one_of_them_go_away(findings):
    rules = {rule for rule, _ in WIRES.values()}
    left = [one for one in findings["fixed"] if one.rule in rules or one.severity == "error"]
    assert left == []


def environment(folder: Path) -> Path:
    """Make a virtual environment that finds what is installed here, and nothing of this repository."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)  # noqa: S603
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "shared.pth").write_text(sysconfig.get_path("purelib"))
    return site


def test_the_wheel_checks_a_foreign_program_without_this_repository(tmp_path):
    """Built, installed and run from elsewhere; the program has an interpreter of its own."""
    monkey = pytest.MonkeyPatch()
    monkey.chdir(ROOT)
    wheel = tmp_path / flit_core.buildapi.build_wheel(str(tmp_path))
    monkey.undo()
    env = tmp_path / "preflight"
    environment(env)
    install = [sys.executable, "-m", "pip", "--python", env / "bin/python", "install", "--no-deps", "--no-index", wheel]
    subprocess.run([*install, "--quiet", "--disable-pip-version-check"], check=True)  # noqa: S603

    folder = tmp_path / "program"
    shutil.copytree(MISWIRED, folder)
    (environment(folder / "own") / "only_here.py").touch()
    (folder / "Pulumi.yaml").write_text("name: miswired\nruntime: {name: python, options: {virtualenv: own}}\n")
    text = (folder / "__main__.py").read_text()
    (folder / "__main__.py").write_text(text.replace("import json\n", "import json\n\nimport only_here\n", 1))

    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PULUMI_ERROR_OUTPUT_STRING")}

    def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)  # noqa: S603

    own = run(env / "bin/python", "-c", "import preflight; print(preflight.__file__); import settings")
    assert str(env) in own.stdout, f"the installed package is used:\n{own.stdout}{own.stderr}"
    assert "No module named 'settings'" in own.stderr, "nothing of the repository can be imported"

    command = (env / "bin/preflight", "-C", "program", "check", "broken", "--format", "html", "--as-of", "2026-11-22")
    checked = run(*command)
    assert (checked.returncode, checked.stderr) == (1, ""), checked.stderr
    assert checked.stdout.startswith("<!DOCTYPE html>"), "templates and tables are in the wheel"
    assert missing([rule for rule, _ in WIRES.values()], checked.stdout) == []


GUIDE = (ROOT / "docs/any-program.md").read_text(encoding="utf-8")


def block(language: str, heading: str) -> str:
    """A block of code of the guide, below a heading."""
    return GUIDE.split(f"\n## {heading}\n")[1].split(f"```{language}\n")[1].split("```")[0]


def test_the_commands_of_the_guide_run(preflight, tmp_path, monkeypatch):
    (tmp_path / "my-program").mkdir()
    small(tmp_path / "my-program", "import pulumi_aws as aws\naws.s3.Bucket('logs', bucket='example-logs')\n")
    monkeypatch.chdir(tmp_path)
    for git in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "A program"]):
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *git], check=True)  # noqa: S603, S607
    codes = {line: preflight(*line.split()[1:])[0] for line in block("sh", "Run").splitlines()}
    assert len(codes) == 4
    assert set(codes.values()) == {0}, codes


def test_the_file_of_the_guide_supplies_what_it_says(tmp_path, preflight):
    folder = tmp_path / "shapes/program"
    shutil.copytree(SHAPES.parent, folder.parent)
    (folder / "preflight.toml").write_text(block("toml", "What it is told: `preflight.toml`"))
    recordings = program.record(folder, ["raises", "unset", "references"], ["update"])
    assert [one["error"] for one in recordings] == [None, None, None]
    assert inputs(recordings[0], "SecurityGroup")["database"]["description"] == "database.example.com"
    assert recordings[1]["outputs"] == {"owner": "platform"}
    assert recordings[2]["outputs"]["vpcId"] == "vpc-0123456789abcdef0"
    _, said, _ = preflight("-C", folder, "check", "loops", "--as-of", "2026-11-22")
    assert "1 waived" in said, said
