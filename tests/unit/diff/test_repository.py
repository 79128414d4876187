"""`preflight diff` runs another commit beside the user's tree, and nothing of it stays."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys

import pytest

from preflight import worktree
from tests.unit.diff.conftest import PROGRAM

# Where the program at the other commit says where it is, so that the two can be told apart.
AT_THE_COMMIT = "import os, pathlib, signal\nif 'preflight-worktree-' in str(pathlib.Path(__file__)):\n    {}\n"


def lines_of(printed):
    return [line.strip() for line in printed.splitlines() if line.strip()]


def test_one_action_one_subject_and_one_tag_are_exactly_three_things_and_come_first(repository):
    repository.edit('"s3:ListBucket"]', '"s3:ListBucket", "s3:PutObject"]')
    repository.edit('apps:web"]', 'apps:web", "system:serviceaccount:apps:worker"]')
    repository.edit('TEAM = "blue"', 'TEAM = "green"')
    repository.commit()

    told = repository.preflight("diff", "HEAD~1", "--as-of", "2026-11-22")

    lines = lines_of(told.stdout)
    assert lines[0].startswith("dev against HEAD~1 ("), told.stderr
    assert lines[1:3] == ["IAM", "role app"]
    assert lines[3].startswith("+ admits system:serviceaccount:apps:worker, ")
    assert lines[4] == "+ may s3:PutObject on arn:aws:s3:::data/*"
    assert lines[5] == "Changed"
    assert lines[6].startswith("~ subnet-a  aws:ec2/subnet:Subnet  __main__.py:")
    assert lines[7] == 'tags.team: "blue" → "green"'
    assert lines[8:10] == ["Who can become whom", "+ apps/worker as app through IRSA"], (
        "what follows from it comes after"
    )
    assert told.returncode == 0, "a finding that goes is no reason to stop"
    assert repository.untouched() == {}


def test_equal_trees_say_that_nothing_changed(repository):
    repository.commit("no change")

    told = repository.preflight("diff", "HEAD~1")

    (line,) = lines_of(told.stdout)
    assert line.startswith("dev: nothing changed against HEAD~1 ("), told.stderr
    assert told.returncode == 0


def test_two_runs_on_the_same_trees_are_equal_to_the_byte(repository):
    repository.edit('cidrBlock="10.0.0.0/16"', 'cidrBlock="10.1.0.0/16"')

    first, second = (repository.preflight("diff", "main", "--format", "json").stdout for _ in range(2))

    assert first == second
    (stack,) = json.loads(first)["stacks"]
    kinds = {one["resource"].rpartition("::")[2]: one["kind"] for one in stack["resources"]}
    assert kinds == {"vpc": "replaced", "subnet-a": "replaced"}, "the working tree counts, committed or not"


def test_a_new_error_stops_the_pull_request(repository):
    repository.edit('apps:web"]', 'apps:wbe", "system:serviceaccount:apps:worker"]')

    told = repository.preflight("diff", "main")

    assert told.returncode == 1
    assert "New findings" in told.stdout
    assert "irsa-subject" in told.stdout
    assert "- apps/web as app through IRSA" in told.stdout


def test_a_stack_file_that_only_one_side_has_is_reported_as_such(repository):
    (repository.folder / "Pulumi.dev.yaml").rename(repository.folder / "Pulumi.new.yaml")

    told = repository.preflight("diff", "main")

    assert "new: only here, main (" in told.stdout
    assert "dev: only at main (" in told.stdout


def test_a_program_that_the_commit_does_not_have_is_new(repository):
    repository.git("checkout", "--quiet", "--orphan", "empty")
    repository.git("rm", "-r", "--quiet", "--cached", ".")
    repository.git("commit", "--quiet", "--allow-empty", "--no-verify", "-m", "empty")

    told = repository.preflight("diff", "empty")

    assert "dev: only here, empty (" in told.stdout


def test_a_program_in_a_folder_of_its_repository_is_found_at_the_commit(repository):
    inner = repository.folder / "infra"
    inner.mkdir()
    for name in ("Pulumi.yaml", "Pulumi.dev.yaml", "__main__.py"):
        repository.git("mv", name, f"infra/{name}")
    repository.commit("moved")

    told = repository.preflight("-C", str(inner), "diff", "HEAD", "--as-of", "2026-11-22")

    assert lines_of(told.stdout)[0].startswith("dev: nothing changed"), told.stderr


def test_what_the_program_at_the_commit_lacks_is_said_of_that_program(repository):
    repository.write("__main__.py", "1 / 0\n")
    repository.commit("broken")
    repository.write("__main__.py", PROGRAM)

    told = repository.preflight("diff", "HEAD")

    assert told.returncode == 3
    assert "The program at HEAD (" in told.stderr
    assert "division by zero" in told.stderr
    assert repository.untouched() == {"changed files": " M __main__.py\n"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("diff", "nowhere"), ["git does not know `nowhere`", "main"]),
        (("diff", "--", "--orphan"), ["git does not know `--orphan`"]),
        (("diff", "HEAD", "staging"), ["There is no stack `staging`"]),
    ],
)
def test_what_is_not_there_is_bad_input(repository, arguments, said):
    told = repository.preflight(*arguments)

    assert told.returncode == 2
    for part in (*said, "found:", "allowed:", "change:"):
        assert part in told.stderr
    assert repository.untouched() == {}


def test_a_folder_outside_git_is_bad_input(repository, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "Pulumi.yaml").write_text("name: own\nruntime: python\n", encoding="utf-8")

    told = repository.preflight("-C", str(outside), "diff", "HEAD")

    assert told.returncode == 2
    for part in ("not in a git repository", "found:", "allowed:", "change:"):
        assert part in told.stderr


def test_the_environment_of_the_user_runs_the_other_commit_too(repository):
    """A worktree has no .venv: git does not keep it."""
    python = repository.folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nFROM_VENV=1 exec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    repository.write(".gitignore", ".venv\n")
    repository.write("Pulumi.yaml", "name: own\nruntime: {name: python, options: {virtualenv: .venv}}\n")
    repository.write("__main__.py", "import os\nos.environ['FROM_VENV']\n")
    repository.commit()

    told = repository.preflight("diff", "HEAD")

    assert told.returncode == 0, told.stderr


def test_a_checkout_ends_with_its_block(repository):
    found = worktree.find(repository.folder)

    with worktree.checkout(found, worktree.resolve(found, "main")) as folder:
        inside = (folder / "__main__.py").read_text(encoding="utf-8")

    assert inside == PROGRAM
    assert not folder.exists()
    assert repository.untouched() == {}


def test_worktrees_hooks_and_settings_of_the_user_are_left_alone(repository, tmp_path):
    """A name is no proof that a worktree is ours, and one that lost its folder is the user's to prune."""
    hook = repository.folder / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {repository.folder}/hook-ran\n", encoding="utf-8")
    mine = [tmp_path / "preflight-worktree-of-mine", tmp_path / "preflight-worktree-a" / "preflight-worktree-a"]
    (tmp_path / "lock").touch()
    for folder in (*mine, tmp_path / "lost"):
        repository.git("worktree", "add", "--detach", "--quiet", str(folder))
    (tmp_path / "lost" / ".git").unlink()
    hook.chmod(0o755)

    told = repository.preflight("diff", "HEAD", GIT_DIR="/nowhere", GIT_INDEX_FILE="/nowhere/index")

    assert told.returncode == 0, told.stderr
    assert all((folder / "__main__.py").exists() for folder in mine)
    assert repository.git("worktree", "list").count("\n") == 4, "the user's own checkout and three worktrees"
    assert repository.untouched() == {"worktrees": 3, "git's books": ["worktrees"]}


# ---- interruptions ---------------------------------------------------------------------------------------------------


INTERRUPTIONS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


GIT = """#!{python}
import os, pathlib, signal, subprocess, sys
git, number = "{git}", {number}
if "worktree" in sys.argv and "add" in sys.argv:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    pathlib.Path(__file__).with_name("blocked").write_text(" ".join(str(int(one)) for one in blocked))
    {what}
os.execv(git, ["git", *sys.argv[1:]])
"""


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (signal.SIGINT, "os.kill(os.getppid(), number)"),
        (signal.SIGTERM, "subprocess.run([git, *sys.argv[1:]]); os.kill(os.getppid(), number); sys.exit()"),
        (signal.SIGHUP, "os.killpg(0, number)"),
    ],
    ids=["before git works", "after git worked", "to the whole process group"],
)
def test_a_signal_while_git_checks_out_leaves_nothing(repository, tmp_path, number, what):
    script = tmp_path / "bin" / "git"
    script.parent.mkdir()
    text = GIT.format(python=sys.executable, git=shutil.which("git"), number=int(number), what=what)
    script.write_text(text, encoding="utf-8")
    script.chmod(0o755)

    told = repository.preflight_alone("diff", "HEAD", PATH=f"{script.parent}:{os.environ['PATH']}")

    assert told.returncode == 128 + number, told.stderr
    assert repository.untouched() == {}
    blocked = {int(one) for one in (tmp_path / "bin" / "blocked").read_text(encoding="utf-8").split()}
    assert blocked >= INTERRUPTIONS, "git itself must not be cut off half way"


@pytest.mark.parametrize(("number", "where"), [(signal.SIGINT, "in"), (signal.SIGTERM, "not in")])
def test_a_signal_while_a_program_runs_leaves_nothing(repository, number, where):
    act = AT_THE_COMMIT.format(f"os.kill(os.getppid(), {int(number)}); input()").replace(" in str", f" {where} str")
    repository.write("__main__.py", act + PROGRAM)
    repository.commit()

    told = repository.preflight_alone("diff", "HEAD")

    assert told.returncode == 128 + number, told.stderr
    assert repository.untouched() == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_to_the_program_itself_leaves_nothing(repository, number):
    repository.write("__main__.py", AT_THE_COMMIT.format(f"os.kill(os.getpid(), {int(number)})") + PROGRAM)
    repository.commit()

    told = repository.preflight_alone("diff", "HEAD")

    assert told.returncode == 3, "the program failed, we did not"
    assert repository.untouched() == {}


def test_signals_that_do_not_stop_coming_leave_nothing(repository):
    many = "[os.kill(os.getppid(), number) for number in (2, 15, 1, 2, 2, 15)]; input()"
    repository.write("__main__.py", AT_THE_COMMIT.format(many) + PROGRAM)
    repository.commit()

    told = repository.preflight_alone("diff", "HEAD")

    assert told.returncode in {128 + number for number in INTERRUPTIONS}
    assert repository.untouched() == {}


def test_what_a_killed_run_left_is_removed_by_the_next(repository):
    repository.write("__main__.py", AT_THE_COMMIT.format("os.kill(os.getppid(), 9)") + PROGRAM)
    repository.commit()

    killed = repository.preflight_alone("diff", "HEAD")
    left = repository.untouched()
    repository.write("__main__.py", PROGRAM)
    repository.commit()
    repository.preflight("diff", "HEAD")

    assert killed.returncode == -signal.SIGKILL
    assert left["worktrees"] == 1, "else there is nothing to prove"
    assert "worktrees" not in repository.untouched()
    assert not list(repository.temporary.glob("preflight-worktree-*"))
