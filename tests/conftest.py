"""Settings of all tests."""

from __future__ import annotations

import hypothesis
import pytest

# The same examples on every machine, and no verdict by the clock: a red test is red because the code is wrong.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pin", action="store_true", help="rewrite tests/program/pinned/ from what the stacks are now")
