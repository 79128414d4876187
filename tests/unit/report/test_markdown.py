"""The comment on a pull request fits, folds, and cannot be broken out of."""

from __future__ import annotations

import re

import pytest

from preflight.report import markdown
from preflight.report.picture import Arrow, Box, Picture, identities


def test_a_comment_names_what_is_wrong_and_is_folded(report, finding):
    text = markdown.render(report(finding(), finding(severity="note")))

    assert text.startswith("## 🛑 Preflight: 1 error, 1 note\n")
    for part in ("settings-refused", "The endpoint answers 0.0.0.0/0.", "**Fix:** Name your own range"):
        assert part in text
    assert text.count("<details open>") == 1, "what stops the pull request is open, the rest folded"
    assert text.count("<details") == text.count("</details>")


def test_a_fine_stack_says_so(report):
    assert markdown.render(report()).startswith("## ✅ Preflight: nothing found\n\n21 resources of wired (`dev`)")


def test_a_waived_finding_is_listed_with_its_reason(report, waived):
    assert "| `settings-refused` | main | until the move | 2026-11-22 |" in markdown.render(report(waived=[waived]))


@pytest.mark.parametrize("length", range(300, 1000, 50))
def test_a_comment_is_cut_at_githubs_limit_with_a_pointer(report, finding, length):
    many = [finding(message=f"Finding {number}. " + "x" * length) for number in range(300)]

    text = markdown.render(report(*many))

    assert len(text) <= 65_536
    assert "Cut here" in text[-200:]
    assert "`preflight check`" in text[-200:]
    assert text.count("<details") == text.count("</details>"), "no section is cut in its middle"
    assert len(text) > 60_000, "the room is used"


def test_what_a_program_says_cannot_mark_up_or_mention(report, finding):
    text = markdown.render(report(finding(message="</details> @everyone [x](y) <img src=z> | `a` *b*")))

    assert text.count("</details>") == text.count("<details"), "only our own sections end"
    assert "@everyone" not in text
    assert "<img" not in text
    assert r"\[x\](y)" in text
    assert "`a`" in text, "what a message quotes is code"


def test_the_wiring_is_drawn_in_mermaid(graph):
    text = markdown.mermaid(identities(graph))

    lines = text.splitlines()
    assert lines[:2] == ["```mermaid", "flowchart LR"]
    nodes = dict(re.findall(r'^    (n\d+)[^"]+"([^"]+)"', text, re.MULTILINE))
    arrows = [
        (nodes[tail], nodes[head]) for tail, head in re.findall(r"^  (n\d+) -->\S* ?\S* ?(n\d+)$", text, re.MULTILINE)
    ]
    assert ("kube-system/aws-load-balancer-controller", "controller") in arrows


def test_a_label_cannot_end_the_picture():
    tail, head = Box("account", 'a"] --> b; click "x"'), Box("role", "r`<#")

    text = markdown.mermaid(Picture("t", (("A", (tail,)), ("R", (head,))), (Arrow(tail, head, "IRSA", open=False),)))

    labels = re.findall(r'\(\["(.*)"\]\)|\["(.*)"\]', text)
    assert labels[0][0] == "a·] --· b· click ·x·"
    assert labels[1][1] == "r···"
    assert '-.-x|"IRSA refused"|' in text


def test_a_picture_that_nobody_could_read_is_not_drawn(report, monkeypatch):
    monkeypatch.setattr(markdown, "MAX_ARROWS", 1)

    text = markdown.render(report())

    assert "mermaid" not in text
    assert "too many to read here" in text
