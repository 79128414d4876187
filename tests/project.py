"""Copies of this project that a test may give stack files of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]


def stack_values(path: Path) -> dict[str, Any]:
    """What a stack file says under the project's namespace."""
    config = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))["config"]
    return {key.partition(":")[2]: value for key, value in config.items()}


def write_stack(path: Path, values: dict[str, Any]) -> None:
    """Write a stack file with these values under the project's namespace."""
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(
            {"config": {f"eks-foundation:{key}": each for key, each in values.items()}}, file
        )


def linked(folder: Path, **sections: Any) -> Path:
    """The program by links, with one stack: dev, with these sections added or replaced."""
    for name in ("__main__.py", "settings.py", "components", "iam_policies", ".venv", "Pulumi.yaml"):
        (folder / name).symlink_to(ROOT / name)
    write_stack(folder / "Pulumi.dev.yaml", {**stack_values(ROOT / "Pulumi.dev.yaml"), **sections})
    return folder
