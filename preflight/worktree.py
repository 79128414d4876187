"""The program at another commit, in a git worktree of its own, outside the user's checkout.

Nothing of the user's tree is touched, and nothing is left: not after an exception, not after SIGINT, SIGTERM or
SIGHUP. What a killed run left behind is removed by the next one.
"""

import atexit
import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TextIO

from preflight.errors import BadInputError

_PREFIX = "preflight-worktree-"
_PLACES = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"}
_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


@dataclass(frozen=True)
class Repository:
    """A git repository, seen from a folder in it."""

    top: Path
    below: str
    """Where the folder is below `top`, as `infra/` or empty."""
    worktrees: Path
    """Where git keeps what it knows of worktrees."""


@dataclass(frozen=True)
class Commit:
    """A commit as the user named it, and which one that is."""

    name: str
    id: str

    def __str__(self) -> str:
        """Both, as `main (1a2b3c4)`; the name alone where it is the id itself."""
        return self.name if self.id.startswith(self.name) else f"{self.name} ({self.id[:7]})"


def find(directory: Path) -> Repository:
    """Return the repository around a folder. Raises BadInputError where there is none."""
    directory = directory.resolve()
    try:
        told = _git(directory, "rev-parse", "--show-toplevel", "--git-common-dir", "--show-prefix")
    except FileNotFoundError as problem:
        raise BadInputError(
            "There is no git to compare with.\n"
            "  found:   no command `git` on PATH\n"
            "  allowed: git 2.17 or newer\n"
            "  change:  install git"
        ) from problem
    if told.returncode:
        raise BadInputError(
            f"There is nothing to compare with: the program is not in a git repository.\n"
            f"  found:   {directory}: {told.stderr.strip().removeprefix('fatal: ') or 'no answer from git'}\n"
            f"  allowed: a folder of a git checkout\n"
            f"  change:  name the program's folder with -C DIR, or run `git init` and commit what to compare with"
        )
    top, common, below = [*told.stdout.splitlines(), ""][:3]
    return Repository(Path(top), below, (directory / common).resolve() / "worktrees")


def resolve(repository: Repository, ref: str) -> Commit:
    """Return the commit that a name stands for. Raises BadInputError where git does not know it."""
    told = _git(repository.top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if told.returncode:
        known = _git(repository.top, "for-each-ref", "--format=%(refname:short)", "--sort=-committerdate", "--count=8")
        names = ", ".join(known.stdout.split()) or "none"
        shallow = _git(repository.top, "rev-parse", "--is-shallow-repository").stdout.strip() == "true"
        change = "fetch it first: this clone is shallow" if shallow else "name a branch, tag or commit of this clone"
        raise BadInputError(
            f"git does not know `{ref}`.\n"
            f"  found:   no commit of that name in {repository.top}\n"
            f"  allowed: a branch, tag or commit, such as {names}\n"
            f"  change:  {change}"
        )
    return Commit(ref, told.stdout.strip())


@contextlib.contextmanager
def checkout(repository: Repository, commit: Commit) -> Generator[Path]:
    """Check a commit out into a temporary folder and return it; it is gone afterwards.

    Raises BadInputError where git cannot do it. A signal ends the block with SystemExit.
    """
    _remove_leftovers(repository)
    with _first_signal_raises():
        folder = Path(tempfile.gettempdir()) / f"{_PREFIX}{secrets.token_hex(8)}"
        # A signal may interrupt the removal below, or come between two lines of Python; at exit none raises any more.
        atexit.register(_remove, repository, folder)
        try:
            yield _make(repository, commit, folder)
        finally:
            _remove(repository, folder)


def _make(repository: Repository, commit: Commit, folder: Path) -> Path:
    # Its last part is how git names the worktree in its own books.
    tree = folder / folder.name
    with _signals_held():
        folder.mkdir(mode=0o700)
        lock = (folder / "lock.new").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / "lock.new").rename(folder / "lock")  # so a lock that stands there is held, or nobody's
        _LOCKS[folder] = lock
        # A hook that runs after a checkout is meant for the user's own.
        told = _git(
            repository.top, "-c", "core.hooksPath=/dev/null", "worktree", "add", "--detach", str(tree), commit.id
        )
    if told.returncode:
        raise BadInputError(
            f"git cannot check {commit} out.\n"
            f"  found:   {told.stderr.strip() or 'no reason given'}\n"
            f"  allowed: a commit whose files are all in this clone, and room in {folder.parent}\n"
            f"  change:  mend what git says"
        )
    return tree


_LOCKS: dict[Path, TextIO] = {}
"""Open as long as the folder is in use: the system gives a lock up when its process dies, however it dies."""


def _remove(repository: Repository, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    # What `git worktree prune` would do, for this one only: the user's own books are not ours to tidy.
    shutil.rmtree(repository.worktrees / folder.name, ignore_errors=True)
    with contextlib.suppress(OSError):
        repository.worktrees.rmdir()  # git keeps none when there is no worktree
    if lock := _LOCKS.pop(folder, None):
        lock.close()


def _remove_leftovers(repository: Repository) -> None:
    """Remove what killed runs left in this repository: folders whose lock nobody holds."""
    if not repository.worktrees.is_dir():
        return
    for entry in repository.worktrees.glob(f"{_PREFIX}*"):
        folder = Path(tempfile.gettempdir()) / entry.name  # where it is if git did not get to write it down
        with contextlib.suppress(OSError):
            folder = Path((entry / "gitdir").read_text(encoding="utf-8").strip()).parents[1]
        # Anybody may call a worktree by such a name; the folder around it, with a lock, is what makes it ours.
        if folder.name == entry.name and not _in_use(folder):
            _remove(repository, folder)


def _in_use(folder: Path) -> bool:
    try:
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return folder.exists()  # ours have a lock before they have a worktree
    except OSError:
        return True
    return False


@contextlib.contextmanager
def _first_signal_raises() -> Generator[None]:
    """Turn the first signal into SystemExit, with the exit code that a shell gives it, and ignore all that follow."""
    before = {one: signal.getsignal(one) for one in _SIGNALS}
    caught = {one: handler for one, handler in before.items() if handler is not signal.SIG_IGN}

    def end(number: int, _: FrameType | None) -> None:
        for one in list(caught):
            signal.signal(one, signal.SIG_IGN)
        caught.clear()  # the process is on its way out: they stay ignored
        sys.exit(128 + number)

    for one in list(caught):
        signal.signal(one, end)
    try:
        yield
    finally:
        for one, handler in list(caught.items()):
            signal.signal(one, handler)


@contextlib.contextmanager
def _signals_held() -> Generator[None]:
    """Let signals wait until a few quick steps are done. The commands inside inherit it and are not cut off either."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _git(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # A hook that runs us says where its own checkout is; we mean the one around the program.
    environment = {key: value for key, value in os.environ.items() if key not in _PLACES}
    return subprocess.run(  # noqa: S603
        ["git", "-C", str(directory), *arguments],  # noqa: S607 the user's own git
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
    )
