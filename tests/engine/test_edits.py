"""What a change of the stack file or the program does to a live stack. `make faults` also makes each edit alone."""

from __future__ import annotations

import pytest

from .edits import PULL_REQUESTS, Edit, problems
from .harness import Deployment


@pytest.mark.parametrize("edits", PULL_REQUESTS["dev"], ids=lambda edits: ", ".join(each.what for each in edits))
def test_edits_change_what_they_should_and_nothing_else(edits: tuple[Edit, ...], branch: Deployment):
    assert list(problems(branch, edits)) == []
