import contextlib
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from components.versions import EXTERNAL_DNS
from preflight.cli import app
from preflight.errors import BadInputError
from preflight.grants import digest, normal_form
from preflight.policy_sources import Outcome, check, load, policy_in

ROOT = Path(__file__).parents[2]

READ = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
WRITE = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


class Upstream:
    """A server on this machine; what it answers is set by path. None says nothing, `...` says ever more blanks."""

    def __init__(self) -> None:
        self.pages: dict[str, Any] = {}
        self.over = threading.Event()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = upstream.pages.get(self.path, 404)
                if isinstance(page, int):
                    self.send_error(page)
                    return
                self.send_response(200)
                self.end_headers()
                if isinstance(page, str):
                    self.wfile.write(page.encode())
                    return
                with contextlib.suppress(OSError):  # the client has had enough
                    while not upstream.over.wait(0.01):
                        self.wfile.write(b" " if page is ... else b"")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}{path}"

    def stop(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.stop()


def program(folder: Path, address: str, **more: str) -> Path:
    """A program with one ready-made policy that comes from this address."""
    policies = folder / "iam_policies"
    policies.mkdir()
    (policies / "catalogue.toml").write_text("[policies.reader]\n")
    rows = {"upstream": address, "kind": "json", "version": "v1", "digest": digest(policy(READ)), **more}
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in rows.items())
    (policies / "sources.toml").write_text(f"[reader]\nread = 2026-11-22\n{text}")
    (policies / "reader.json").write_text(json.dumps(policy({"Sid": "Read", **READ})))
    return folder


def outcome(folder: Path, seconds: float = 5) -> Outcome:
    (only,) = check(load(folder), seconds)
    return only


def test_an_upstream_that_says_the_same_otherwise_is_the_same(upstream: Upstream, tmp_path: Path) -> None:
    upstream.pages["/p.json"] = json.dumps(
        policy({**READ, "Action": "s3:listbucket"}, {**READ, "Action": "s3:GetObject", "Resource": ["*"]}), indent=8
    )
    assert outcome(program(tmp_path, upstream.url("/p.json"))).verdict == "same", "order and white space do not matter"


def test_an_upstream_that_changed_says_which_actions_it_gains_and_loses(upstream: Upstream, tmp_path: Path) -> None:
    upstream.pages["/p.json"] = json.dumps(policy({**READ, "Action": "s3:GetObject"}, WRITE))
    found = outcome(program(tmp_path, upstream.url("/p.json")))
    assert found.verdict == "changed", "another action is a change"
    assert "gains Allow s3:PutObject; loses Allow s3:ListBucket" in found.text, "the actions are named"


def test_an_upstream_that_changed_only_where_its_actions_apply_says_so(upstream: Upstream, tmp_path: Path) -> None:
    upstream.pages["/p.json"] = json.dumps(policy({**READ, "Resource": "arn:aws:s3:::example"}))
    found = outcome(program(tmp_path, upstream.url("/p.json")))
    assert found.verdict == "changed", "another resource is a change"
    assert "same actions, other resources or conditions" in found.text, "the kind of change is named"


def test_what_we_add_ourselves_is_not_reported_as_lost(upstream: Upstream, tmp_path: Path) -> None:
    upstream.pages["/p.json"] = json.dumps(policy(READ, WRITE))
    folder = program(tmp_path, upstream.url("/p.json"))
    with (folder / "iam_policies" / "sources.toml").open("a") as sources:
        sources.write('added.Decrypt = "Files under a key need it."\n')
    ours = policy({"Sid": "Read", **READ}, {"Sid": "Decrypt", **WRITE, "Action": "kms:Decrypt"})
    (folder / "iam_policies" / "reader.json").write_text(json.dumps(ours))
    assert outcome(folder).text.startswith("gains Allow s3:PutObject ("), "upstream never had it, so it lost nothing"


def test_the_newest_upstream_is_asked_beside_the_pinned_one(upstream: Upstream, tmp_path: Path) -> None:
    upstream.pages["/v1.json"] = json.dumps(policy(READ))
    upstream.pages["/main.json"] = json.dumps(policy(READ, WRITE))
    folder = program(tmp_path, upstream.url("/v1.json"), newest=upstream.url("/main.json"))
    found = check(load(folder), 5)
    assert [(each.of, each.verdict) for each in found] == [("v1", "same"), ("newest", "changed")], (
        "the record is true, and the next version asks for more"
    )


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (404, "404"),
        (500, "500"),
        ("<html>Sign in</html>", "Expecting value"),
        ("7", "must be an object"),
        ("[]", "must be an object"),
        ("{}", "must be an object"),
        ('{"Statement": [{"Effect": "Allow", "NotAction": "*", "Resource": "*"}]}', "cannot be compared"),
        ('{"Statement": [{"Effect": "Perhaps"}]}', "Effect"),
        ("[" * 100_000, "recursion"),
        ("[" + " " * 5_000_000 + "]", "more than"),
    ],
)
def test_a_page_that_is_gone_or_garbage_is_not_judged(
    upstream: Upstream, tmp_path: Path, page: str | int, reason: str
) -> None:
    upstream.pages["/p.json"] = page
    found = outcome(program(tmp_path, upstream.url("/p.json")))
    assert (found.name, found.verdict) == ("reader", "not judged"), "no verdict without a document"
    assert reason in found.text, "the reason is named"
    assert upstream.url("/p.json") in found.text, "the address is named"


@pytest.mark.parametrize(("page", "reason"), [(None, "timed out"), (..., "not read after 0.1 s")])
def test_a_page_that_does_not_come_to_its_end_is_not_judged(
    upstream: Upstream, tmp_path: Path, page: Any, reason: str
) -> None:
    upstream.pages["/p.json"] = page
    found = outcome(program(tmp_path, upstream.url("/p.json")), seconds=0.1)
    assert found.verdict == "not judged", "the time for one address is limited"
    assert reason in found.text, "the reason is named"


def test_only_web_addresses_are_opened(tmp_path: Path) -> None:
    page = tmp_path / "p.json"
    page.write_text(json.dumps(policy(READ)))
    found = outcome(program(tmp_path, page.as_uri()))
    assert found.verdict == "not judged", "a file on this machine is no upstream"
    assert "not a web address" in found.text, "the reason is named"


PAGE = """
# Rights
The driver may read. { not: json }
## Reading
``` json
{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket",],
 "Resource": "*"},]}
```
### Writing
<pre>
{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}
</pre>
"""


@pytest.mark.parametrize(
    ("after", "statements"),
    [
        ([], [READ]),
        (["## Reading"], [READ]),
        (["### Writing"], [WRITE]),
        (["# Rights", "### Writing"], [READ, WRITE]),
    ],
)
def test_a_block_in_a_page_is_found_by_the_text_before_it(after: list[str], statements: list[dict[str, Any]]) -> None:
    assert policy_in(PAGE, "fenced", after) == policy(*statements), (
        "fences, <pre>, commas before brackets and single statements are read"
    )


@pytest.mark.parametrize("after", ["## Deleting", "</pre>"])
def test_a_page_without_the_block_is_no_upstream(after: str) -> None:
    with pytest.raises(ValueError, match=f"'{after}'"):
        policy_in(PAGE, "fenced", [after])


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["-C", str(folder), "policies", *arguments])
    if isinstance(result.exception, BadInputError):
        return 2, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), "bad input is never a traceback"
    return result.exit_code, result.output


def test_the_command_ends_with_1_when_something_changed(upstream: Upstream, tmp_path: Path) -> None:
    upstream.pages["/p.json"] = json.dumps(policy(READ, WRITE))
    code, output = run(program(tmp_path, upstream.url("/p.json")), "--check-upstream")
    assert (code, "1 changed" in output) == (1, True), "a scheduled job turns red"


def test_the_command_ends_with_0_when_nothing_changed(upstream: Upstream, tmp_path: Path) -> None:
    upstream.pages["/p.json"] = json.dumps(policy(READ))
    folder = program(tmp_path, upstream.url("/p.json"), newest=upstream.url("/gone.json"))
    code, output = run(folder, "--check-upstream")
    assert (code, "1 not judged, 1 same" in output) == (0, True), "what is out of reach is named and no change"


def test_the_command_ends_with_2_when_nothing_could_be_judged(upstream: Upstream, tmp_path: Path) -> None:
    code, message = run(program(tmp_path, upstream.url("/gone.json")), "--check-upstream")
    assert code == 2, "a job without network is not a green job"
    assert "404" in message, "the reason is named"


def test_a_program_without_ready_made_policies_is_told_so(tmp_path: Path) -> None:
    code, message = run(tmp_path)
    assert code == 2, "this is bad input"
    assert all(part in message for part in ("found:", "allowed:", "change:", "iam_policies")), "in four parts"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("sources.toml", "[reader\n"),
        ("sources.toml", "[writer]\n"),
        ("sources.toml", "[reader]\nkind = 'json'\n"),
        ("sources.toml", "reader = 1\n"),
        ("catalogue.toml", "policies = 1\n"),
        ("catalogue.toml", "[policies.reader.parameters]\nzone = { kind = 'zone', description = 'x' }\n"),
        ("reader.json", "{"),
        ("reader.json", "{}"),
        ("reader.json", '{"Statement": [{"Sid": "Read"}]}'),
    ],
)
def test_files_that_cannot_be_read_are_bad_input(tmp_path: Path, file: str, text: str) -> None:
    folder = program(tmp_path, "https://example.com/p.json")
    (folder / "iam_policies" / file).write_text(text)
    code, message = run(folder)
    assert (code, "cannot be read" in message) == (2, True), "a broken file is named, not a traceback"


def test_the_list_has_parameters_sources_and_managed_policies() -> None:
    code, output = run(ROOT)
    assert code == 0, "a list is always fine"
    blocks = dict(block.split("\n", 1) for block in output.strip().split("\n\n"))
    assert "hostedZoneArns (the ARN of a Route 53 hosted zone)" in blocks["external-dns"], "parameters have their kind"
    assert "kmsKeyArns (optional, " in blocks["aws-ebs-csi-driver"], "it is said what may be left out"
    assert "AmazonEBSCSIDriverPolicyV2" in blocks["aws-ebs-csi-driver"], "managed policies are named"
    source = f"https://raw.githubusercontent.com/kubernetes-sigs/external-dns/{EXTERNAL_DNS.app_version}/"
    assert source in blocks["external-dns"], "the source is that of the version which the chart installs"


def test_a_managed_policy_is_reported_and_not_downloaded(tmp_path: Path) -> None:
    folder = program(tmp_path, "https://example.invalid/", kind="managed")
    shutil.copy(ROOT / "iam_policies" / "external-dns.json", folder / "iam_policies" / "reader.json")
    assert outcome(folder).verdict == "managed", "AWS changes its own policies in place"


def test_the_normal_form_says_what_is_granted() -> None:
    document = {
        "Statement": {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:getobject"],
            "Resource": "arn:aws:s3:::example/*",
            "Condition": {"Bool": {"aws:SecureTransport": True}},
        }
    }
    assert normal_form(document) == (
        ("Allow", "s3:getobject", "arn:aws:s3:::example/*", '{"Bool": {"aws:SecureTransport": ["true"]}}'),
    ), "one grant per effect, action, resource and condition, without repetition"


@pytest.mark.parametrize("element", ["Action", "Resource"])
def test_an_element_that_the_normal_form_would_lose_is_refused(element: str) -> None:
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    statement[f"Not{element}"] = statement.pop(element)
    with pytest.raises(ValueError, match=rf"Not{element}; allowed: .*Action.*; change: "):
        normal_form({"Statement": [statement]})
