"""What the documentation says is what the code does."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from preflight.graph import Graph
from preflight.program import record

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
