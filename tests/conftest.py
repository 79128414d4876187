"""Settings of all tests."""

from __future__ import annotations

import os
import shutil
import tempfile

import hypothesis
import pytest

from tests.recorded import FOLDER

# The same examples on every machine, and no verdict by the clock: a red test is red because the code is wrong.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


def pytest_configure(config: pytest.Config) -> None:
    """Give the processes of the run a folder for what they record; each worker gets it with its environment."""
    if not hasattr(config, "workerinput"):
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="recorded-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(FOLDER)))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pin", action="store_true", help="rewrite tests/program/pinned/ from what the stacks are now")
