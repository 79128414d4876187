"""A registration as a recording has it."""

from __future__ import annotations

from typing import Any


def registered(**said: Any) -> dict[str, Any]:
    """Return one with what is said of it, and nothing special else."""
    return {
        "parent": "",
        "custom": True,
        "remote": False,
        "read": False,
        "provider": "",
        "providers": {},
        "dependencies": [],
        "propertyDependencies": {},
        "protect": None,
        "deletedWith": "",
        "ignoreChanges": [],
        "replaceOnChanges": [],
        "aliases": [],
        "deleteBeforeReplace": False,
        "retainOnDelete": False,
        "customTimeouts": {},
        "importId": "",
        "version": "",
        "source": {"file": "__main__.py", "line": 7},
        **said,
    }
