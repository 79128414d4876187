"""The terminal's report says what is wrong, where, and what to do; the worst first."""

from __future__ import annotations

import io

from rich.console import Console

from preflight.report import terminal


def test_a_finding_names_rule_resource_line_message_and_fix(report, finding, graph):
    line = next(one for one in graph.resources.values() if one.name == "main").where

    text = terminal.render(report(finding()))

    for part in ("settings-refused", "main", line, "The endpoint answers 0.0.0.0/0.", "fix: Name your own range"):
        assert part in text, f"the report must say {part!r}: {text}"


def test_the_worst_comes_first_and_is_counted(report, finding):
    text = terminal.render(report(finding(severity="note"), finding(severity="warning"), finding()))

    assert text.index("1 error") < text.index("1 warning") < text.index("1 note")
    assert text.endswith("1 error, 1 warning, 1 note in 21 resources of wired (dev)\n")


def test_what_two_stacks_have_in_common_is_said_once(report, finding):
    here = finding()
    there = finding(stack="prod", resource=here.resource.replace(":dev::", ":prod::"))

    text = terminal.render(report(here, there, stacks=("dev", "prod")))

    assert text.count("The endpoint answers") == 1
    assert "dev, prod" in text


def test_no_line_is_wider_than_a_hundred_columns_and_long_words_are_kept(report, finding):
    words = "word " * 60 + "arn:aws:iam::111122223333:role/" + "x" * 80

    text = terminal.render(report(finding(message=words)))

    assert max(map(len, text.splitlines())) <= 100
    assert "".join(words.split()) in "".join(text.split()), "nothing of a message may be lost"


def test_markup_in_a_message_is_text(report, finding):
    assert "[red]not a colour[/]" in terminal.render(report(finding(message="[red]not a colour[/]")))


def test_there_is_no_colour_without_a_terminal(report, finding):
    assert "\x1b" not in terminal.render(report(finding()))


def test_a_terminal_gets_colour(report, finding):
    screen = io.StringIO()

    terminal.show(report(finding()), Console(file=screen, force_terminal=True, color_system="standard", width=100))

    assert "\x1b[1;31m" in screen.getvalue(), "an error is red"


def test_a_quiet_report_is_its_findings(report, finding):
    screen = io.StringIO()

    terminal.show(report(finding()), Console(file=screen, width=100), quiet=True)
    terminal.show(report(), Console(file=screen, width=100), quiet=True)

    assert "The endpoint answers" in screen.getvalue()
    assert "21 resources" not in screen.getvalue()


def test_a_fine_stack_says_so_and_what_was_waived(report, waived):
    text = terminal.render(report(waived=[waived]))

    assert text == "nothing found, 1 waived in 21 resources of wired (dev)\n"
