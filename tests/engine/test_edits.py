"""What a change of the stack file or the program does to a live stack."""

from __future__ import annotations

import pytest

from .edits import ADDITIONS, ALONE, CHANGES, Edit
from .harness import Deployment


def _title(edits: tuple[Edit, ...]) -> str:
    return " and ".join(each.what for each in edits)


@pytest.mark.parametrize("edits", [*((each,) for each in ALONE), ADDITIONS, CHANGES], ids=_title)
def test_an_edit_changes_what_it_should_and_nothing_else(edits: tuple[Edit, ...], branch: Deployment):
    expected: dict[str, set[str]] = {}
    for edit in edits:
        edit.apply(branch)
        for operation, labels in edit.changes.items():
            expected.setdefault(operation, set()).update(labels)
    preview, update = branch.preview(), branch.up()
    assert not preview.error
    assert preview.changes == expected, "the preview shows another set of changes"
    assert not update.error
    assert update.changes == expected, "the update makes another set of changes than its preview"
