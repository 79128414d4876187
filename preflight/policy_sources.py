"""The ready-made policies of a program: what they want to know, and whether upstream still says the same.

Reads `iam_policies/` in the program's folder as data: `catalogue.toml`, `sources.toml` and the JSON documents, whose
comments say what is in them.
"""

from __future__ import annotations

import http.client
import json
import re
import time
import tomllib
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from preflight.errors import BadInputError
from preflight.grants import digest
from preflight.policies import parse

Verdict: TypeAlias = Literal["same", "changed", "not judged", "managed"]

SECONDS = 15.0
"""How long one address may take."""

_LARGEST = 4_000_000
_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Source:
    """A ready-made policy, and where it comes from."""

    name: str
    parameters: tuple[str, ...]
    """One line each: name, kind, whether it is required, what it is for."""
    managed: tuple[str, ...]
    """Policies that AWS manages, by path and name."""
    kind: str
    address: str
    newest: str
    """Where upstream works on the same document; empty where the address itself is not pinned."""
    after: tuple[str, ...]
    """In a page: the texts that the blocks follow, one each; empty for the page's first block."""
    version: str
    read: str
    """The day it was read."""
    digest: str
    actions: frozenset[str]
    """`Allow ec2:RunInstances` and so on: what our documents take over from upstream."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one address says today about one policy."""

    name: str
    of: str
    """The version, or `newest`."""
    verdict: Verdict
    text: str


def load(directory: Path) -> list[Source]:
    """Read the sources of all ready-made policies, sorted by name.

    Raises:
        BadInputError: the folder has no ready-made policies, or they cannot be read.

    """
    folder = directory / "iam_policies"
    try:
        catalogue = tomllib.loads((folder / "catalogue.toml").read_text("utf-8"))
        sources = tomllib.loads((folder / "sources.toml").read_text("utf-8"))
        return [_source(folder, name, catalogue, sources[name]) for name in sorted(catalogue["policies"])]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        missing = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise BadInputError(
            "The ready-made policies cannot be read.\n"
            f"  found:   {missing}\n"
            f"  allowed: catalogue.toml, sources.toml and the JSON documents in {folder}\n"
            "  change:  mend that file, or name a program that has ready-made policies with -C"
        ) from error


def show(sources: Sequence[Source]) -> None:
    """Print every policy with its parameters and its source."""
    for source in sources:
        managed = (f"managed by AWS: {each}" for each in source.managed)
        origin = f"{source.kind} {source.version}, read {source.read}: {source.address}"
        print("\n    ".join((source.name, *source.parameters, *managed, origin)), end="\n\n")


def show_check(sources: Sequence[Source]) -> bool:
    """Check the sources, print what each address says, and tell whether one of them changed.

    Raises:
        BadInputError: there is something to download and none of it could be judged.

    """
    outcomes = check(sources)
    lines = {each: f"{each.verdict:10}  {each.name} {each.of}: {each.text}" for each in outcomes}
    counts = Counter(each.verdict for each in outcomes)
    if not counts.keys() & {"same", "changed"} and counts["not judged"]:
        raise BadInputError(
            "No upstream could be judged.\n"
            f"  found:   {next(line for each, line in lines.items() if each.verdict == 'not judged')}\n"
            "  allowed: a network that reaches the addresses in iam_policies/sources.toml\n"
            "  change:  set HTTPS_PROXY if there is a proxy, or run it where there is network"
        )
    print(*lines.values(), ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())), sep="\n")
    return bool(counts["changed"])


def check(sources: Sequence[Source], seconds: float = SECONDS) -> list[Outcome]:
    """Download every source and compare it with what was read, in the order of the sources.

    Both the pinned address and, where upstream goes on elsewhere, the newest one: the first tells whether our record
    is true, the second what a new version will ask for.

    Args:
        sources: the policies.
        seconds: how long one address may take.

    """
    tasks = [(source, of, address) for source in sources for of, address in _addresses(source)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda task: _judge(task[0], task[1], task[2], seconds), tasks))


def policy_in(page: str, kind: str, after: Sequence[str] = ()) -> dict[str, Any]:
    """Find the policy document in what an address answered.

    Args:
        page: the answer.
        kind: `json`, the answer is the document; otherwise the document is a block, or several, in a page.
        after: in a page, the texts that the blocks follow; the statements of all blocks count as one document.

    Raises:
        ValueError: there is no such text or no document after it.

    """
    if kind == "json":
        return json.loads(page)
    # Some pages have a comma before a closing bracket, which no JSON reader takes.
    clean = re.sub(r",(\s*[\]}])", r"\1", page)
    return {"Version": "2012-10-17", "Statement": [s for text in after or [""] for s in _statements(clean, text)]}


def _statements(page: str, after: str) -> list[Any]:
    start = page.find(after)
    if start < 0:
        raise ValueError(f"the page has no text {after!r} any more")
    for block in _objects(page, start):
        if "Statement" in block:
            return block["Statement"] if isinstance(block["Statement"], list) else [block["Statement"]]
        if "Effect" in block:
            return [block]
    raise ValueError(f"the page has no policy after {after!r}" if after else "the page has no policy")


def _objects(page: str, start: int) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder()
    for brace in re.finditer(r"\{", page[start:]):
        try:
            yield decoder.raw_decode(page, start + brace.start())[0]
        except ValueError:
            continue


def _source(folder: Path, name: str, catalogue: Mapping[str, Any], row: Mapping[str, Any]) -> Source:
    policy = catalogue["policies"][name]
    return Source(
        name=name,
        parameters=tuple(
            f"{key} ({'' if each.get('required', True) else 'optional, '}{catalogue['kinds'][each['kind']]['is']}): "
            f"{each['description']}"
            for key, each in policy.get("parameters", {}).items()
        ),
        managed=tuple(policy.get("managed", ())),
        kind=row["kind"],
        address=row["upstream"],
        newest=row.get("newest", ""),
        after=tuple(row.get("after", ())),
        version=row["version"],
        read=str(row["read"]),
        digest=row.get("digest", ""),
        actions=frozenset(
            action
            for part in policy.get("documents", [name])
            for statement in json.loads((folder / f"{part}.json").read_text("utf-8"))["Statement"]
            if statement["Sid"] not in row.get("added", {})
            for action in _actions({"Statement": statement})
        ),
    )


def _addresses(source: Source) -> Iterator[tuple[str, str]]:
    yield source.version, source.address
    if source.newest:
        yield "newest", source.newest


def _judge(source: Source, of: str, address: str, seconds: float) -> Outcome:
    def outcome(verdict: Verdict, text: str) -> Outcome:
        return Outcome(name=source.name, of=of, verdict=verdict, text=text)

    if source.kind == "managed":
        return outcome("managed", f"AWS changes it in place; see {address}")
    try:
        document = policy_in(_download(address, seconds), source.kind, source.after)
        found, theirs = digest(document), _actions(document)
    except (OSError, http.client.HTTPException, ValueError, TypeError, RecursionError) as error:
        return outcome("not judged", f"{error or type(error).__name__} ({address})")
    if found == source.digest:
        return outcome("same", address)
    news = [
        f"{verb} {', '.join(sorted(actions))}"
        for verb, actions in (("gains", theirs - source.actions), ("loses", source.actions - theirs))
        if actions
    ]
    return outcome("changed", f"{'; '.join(news) or 'same actions, other resources or conditions'} ({address})")


def _actions(document: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(
        f"{'Deny' if statement.deny else 'Allow'} {action}"
        for statement in parse(document, trust=False)
        for action in statement.action
    )


def _download(address: str, seconds: float) -> str:
    """Read a page; the time is for the whole of it, unlike the time-out of urllib, which starts anew with each byte."""
    if not address.startswith(("https://", "http://")):
        raise ValueError("not a web address")
    deadline = time.monotonic() + seconds
    request = urllib.request.Request(address, headers={"User-Agent": "eks-preflight"})  # noqa: S310 - checked above
    page = b""
    with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310
        while chunk := answer.read1(65_536):
            page += chunk
            if len(page) > _LARGEST:
                raise ValueError(f"more than {_LARGEST:,} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError(f"not read after {seconds:g} s")
    return page.decode("utf-8")
