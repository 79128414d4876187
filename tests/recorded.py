"""The recordings of this repository's own stacks, made once for all processes of a test run."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from preflight import program
from preflight.program import Recording

ROOT = Path(__file__).parents[1]
STACKS = sorted(path.name.split(".")[1] for path in ROOT.glob("Pulumi.*.yaml"))
FOLDER = "RECORDED_STACKS"
"""The environment variable with the folder that the processes of a run share."""


def recorded(stack: str) -> tuple[Recording, Recording]:
    """The stack's preview and update; every call gives a copy of its own."""
    folder = Path(os.environ[FOLDER])
    file = folder / f"{stack}.json"
    with (folder / f"{stack}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            file.write_text(json.dumps(program.record(ROOT, [stack])), "utf-8")
    preview, update = json.loads(file.read_text("utf-8"))
    for recording in (preview, update):
        assert recording["error"] is None, recording["error"]
    return preview, update
