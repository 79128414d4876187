"""What the documentation says is what the code does."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from ruamel.yaml import YAML

from components import IdentitySettings
from preflight.access import OidcProvider, WebIdentityToken, may_assume
from preflight.cli import app
from preflight.graph import Graph
from preflight.program import record
from tests.recorded import STACKS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_schema_of_stack_files_is_current(generate):
    assert generate.SCHEMA.read_text(encoding="utf-8") == generate.schema_text(), "run `make docs`"


def test_the_configuration_table_is_current(generate):
    assert generate.readme_with_table(README) == README, "run `make docs`"


def test_every_stack_file_is_completed_from_the_schema():
    for file in ROOT.glob("Pulumi.*.yaml"):
        assert file.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=docs/stack.schema.json\n")


@pytest.mark.parametrize("command", ["check", "diff"])
def test_a_pull_request_is_judged_by_every_stack(command):
    workflow = YAML(typ="safe").load(ROOT / ".github" / "workflows" / "pull-request.yml")
    runs = [step.get("run", "").split() for step in workflow["jobs"]["preflight"]["steps"]]
    (line,) = [words for words in runs if words[:2] == [".venv/bin/preflight", command]]
    assert set(STACKS) <= set(line), "a stack that nobody names is judged by nobody"


def test_the_program_in_the_readme_runs_and_wires_what_it_says(tmp_path, monkeypatch):
    program = README.split("```python\n")[1].split("```")[0]
    (tmp_path / "__main__.py").write_text(program, encoding="utf-8")
    (tmp_path / "Pulumi.yaml").write_text("name: own\nruntime: python\n", encoding="utf-8")
    provider = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.ap-northeast-2.amazonaws.com/id/0123456789ABCDEF"
    stack = {"config": {"own:oidcProviderArn": provider, "own:kubeconfig": "{}"}}
    (tmp_path / "Pulumi.dev.yaml").write_text(json.dumps(stack), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    (recording,) = record(tmp_path, ["dev"], ["update"])

    assert recording["error"] is None
    (account,) = Graph.of(recording).of_type("kubernetes:core/v1:ServiceAccount")
    assert account.inputs["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": recording["outputs"]["roleArn"]}


def test_what_the_readme_shows_of_the_preview_is_what_it_prints():
    shown = README.split("<!-- preview -->\n\n```\n")[1].split("```")[0]
    commands = [[sys.executable, "-m", "preflight", command, "dev"] for command in ("plan", "check")]
    environment = {**os.environ, "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"}
    printed = [
        subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True, encoding="utf-8").stdout  # noqa: S603
        for command in commands
    ]
    lines = [re.sub(r":\d+$", "", line.rstrip()) for text in printed for line in text.splitlines()]
    missing = [line for line in shown.splitlines() if line != "…" and re.sub(r":\d+$", "", line) not in lines]
    assert missing == [], "copy these lines anew from `make preview`"


DOCS = {file.name: file.read_text(encoding="utf-8") for file in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]}
COMMANDS = [
    line
    for text in DOCS.values()
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    for line in block.splitlines()
    if re.match(r"\S*preflight ", line)
]
ROWS = [command for row in re.findall(r"(?m)^\| `[a-z]+ .*?` \|", README) for command in re.findall(r"`(.*?)`", row)]


@pytest.mark.parametrize("line", [*COMMANDS, *(f".venv/bin/preflight {command}" for command in ROWS)])
def test_a_command_to_copy_is_one_that_there_is(line):
    command, *arguments = shlex.split(line, comments=True)
    assert command in (".venv/bin/preflight", ".preflight/bin/preflight"), "it is copied where neither is on PATH"
    group = typer.main.get_command(app)
    with group.make_context("preflight", arguments) as context:
        name, subcommand, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        with subcommand.make_context(name, rest, parent=context) as parsed:
            assert parsed.info_name == name


IDENTITIES = (ROOT / "docs" / "identities.md").read_text(encoding="utf-8")
CONTROLLER = "kube-system/alb-controller"


def test_the_stack_file_entry_in_the_docs_is_short_and_accepted():
    entry = IDENTITIES.split("```yaml\n")[1].split("```")[0]
    assert len(entry.splitlines()) < 8
    (settings,) = YAML(typ="safe").load(entry).values()
    assert IdentitySettings.model_validate_json(json.dumps(settings[CONTROLLER])).role_name == "alb_controller-role"


def test_the_role_in_the_docs_is_short_and_admits_its_account_from_both_providers_and_no_third(tmp_path, monkeypatch):
    call = IDENTITIES.split("```python\n")[1].split("```")[0]
    assert len(call.splitlines()) < 12
    issuers = [f"oidc.eks.ap-northeast-2.amazonaws.com/id/{digit * 32}" for digit in "123"]
    arns = [f"arn:aws:iam::111122223333:oidc-provider/{issuer}" for issuer in issuers]
    program = f"""
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
from components import *
aws_provider = aws.Provider("aws", region="ap-northeast-2")
kubernetes_provider = kubernetes.Provider("cluster", kubeconfig="{{}}")
one, two = {arns[:2]!r}
{call}"""
    (tmp_path / "__main__.py").write_text(program, encoding="utf-8")
    (tmp_path / "Pulumi.yaml").write_text("name: own\nruntime: python\n", encoding="utf-8")
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    (recording,) = record(tmp_path, ["dev"], ["update"])

    assert recording["error"] is None
    (role,) = Graph.of(recording).of_type("aws:iam/role:Role")
    registered = [OidcProvider(arn, issuer, ("sts.amazonaws.com",)) for arn, issuer in zip(arns, issuers, strict=True)]
    admitted = [
        may_assume(
            str(role.inputs["assumeRolePolicy"]),
            WebIdentityToken(f"https://{issuer}", "system:serviceaccount:kube-system:alb-controller"),
            registered,
        ).admitted
        for issuer in issuers
    ]
    assert admitted == [True, True, False]
