"""The live commands as a person types them: exit codes, formats, and every way in which AWS does not answer.

The account is moto's server; `tests/live/aws.py` lists what a stand-in before it answers or refuses. Refusals, of which
moto has none (expired credentials, throttling, a region that is off), are the stand-in's.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from preflight import cli, program
from preflight.live import asking
from tests.live.test_leftovers import litter, network
from tests.live.world import CLUSTER, QUOTAS

ROOT = Path(__file__).parents[2]


class Recorded:
    """A run of the program that is over."""

    def __init__(self, *recordings) -> None:
        self.recordings = recordings

    def checked(self):
        return {"dev": list(self.recordings)}


@pytest.fixture
def preflight(servers, monkeypatch, capsys):
    """Run the command line on the recorded dev stack; returns exit code, stdout and stderr."""

    def run(*arguments, recording=servers.recording):
        start = contextlib.contextmanager(lambda *_, **__: iter([Recorded(servers.preview, recording)]))
        monkeypatch.setattr(program, "start", start)
        monkeypatch.setattr(sys, "argv", ["preflight", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


@pytest.fixture
def new_session():
    """Credentials are read anew, before and after."""
    for kept in (asking._session, asking._made):
        kept.cache_clear()
    yield
    for kept in (asking._session, asking._made):
        kept.cache_clear()


def four_parts(message: str) -> None:
    assert [line.split(":")[0].strip() for line in message.splitlines()[1:4]] == ["found", "allowed", "change"]
    assert "Traceback" not in message


BOTH = pytest.mark.parametrize("command", ["doctor", "leftovers"])


@pytest.mark.usefixtures("empty")
@BOTH
def test_a_stack_that_was_never_deployed_is_fine(preflight, command):
    code, out, err = preflight(command, "dev")
    assert (code, err) == (0, "")
    told = {"doctor": "nothing of the stack is there yet", "leftovers": "nothing is left over"}
    assert told[command] in " ".join(out.split())


@BOTH
def test_a_finding_ends_with_one_and_says_what_to_do(empty, preflight, command):
    litter(empty, *network(empty))
    empty.aws.quotas["L-F678F1CE"] = 0
    code, out, _ = preflight(command, "dev")
    assert code == 1
    told = {
        "doctor": "aws service-quotas request-service-quota-increase",
        "leftovers": "\naws elbv2 delete-load-balancer",
    }
    assert told[command] in out


@pytest.mark.usefixtures("empty", "new_session")
@BOTH
def test_without_credentials_there_is_no_answer(preflight, monkeypatch, command):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    code, out, err = preflight(command, "dev")
    assert (code, out) == (5, "")
    assert err.startswith("There are no AWS credentials.\n")
    four_parts(err)


@pytest.mark.usefixtures("empty", "new_session")
def test_a_profile_that_is_not_there_is_no_credential(preflight, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    code, _, err = preflight("doctor", "dev")
    assert (code, "ProfileNotFound" in err) == (5, True)
    four_parts(err)


@BOTH
@pytest.mark.parametrize("operation", ["GetCallerIdentity", "DescribeInstances"])
def test_expired_credentials_give_no_answer_also_when_they_expire_on_the_way(empty, preflight, command, operation):
    empty.aws.refused[operation] = (403, "ExpiredToken")
    code, _, err = preflight(command, "dev")
    assert code == 5
    assert err.startswith("The AWS credentials have expired.\n")
    four_parts(err)


@BOTH
def test_strange_credentials_give_no_answer(empty, preflight, command):
    empty.aws.refused["GetCallerIdentity"] = (403, "InvalidClientTokenId")
    code, _, err = preflight(command, "dev")
    assert code == 5
    assert err.startswith("AWS does not take these credentials.\n")
    four_parts(err)


@BOTH
def test_a_region_that_is_off_is_told_from_credentials_that_are_no_good(empty, preflight, command):
    def off(call):
        strange = "<ErrorResponse><Error><Code>InvalidClientTokenId</Code></Error></ErrorResponse>"
        return (403, strange) if call.region == "ap-northeast-2" else None

    empty.aws.answers["sts"] = off
    code, _, err = preflight(command, "dev")
    assert code == 5
    assert "switched off for the account" in err
    assert "aws account enable-region --region-name ap-northeast-2" in err
    four_parts(err)


@pytest.mark.usefixtures("new_session")
@BOTH
def test_without_network_there_is_no_answer(preflight, monkeypatch, command):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    code, _, err = preflight(command, "dev")
    assert code == 5
    assert err.startswith("AWS cannot be reached.\n")
    four_parts(err)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("UnauthorizedOperation", "arn:aws:sts::123456789012:user/moto may not"),
        ("RequestLimitExceeded", "AWS throttles"),
        ("InternalError", "AWS answers InternalError"),
    ],
)
def test_one_call_of_many_without_an_answer_leaves_a_partial_one(empty, preflight, code, why):
    empty.aws.refused["DescribeVolumes"] = (400, code)
    status, out, err = preflight("leftovers", "dev")
    assert (status, err) == (4, "")
    assert "This answer is partial. Not answered:" in out
    assert f"ec2:DescribeVolumes: {why}" in " ".join(out.split())
    assert "nothing is left over" not in out, "what was not looked at may well be left over"


def test_a_finding_outranks_a_partial_answer_which_still_says_so(empty, preflight):
    litter(empty, *network(empty))
    empty.aws.refused["DescribeVolumes"] = (400, "UnauthorizedOperation")
    status, out, _ = preflight("leftovers", "dev", "--format", "json")
    [found] = json.loads(out)["clusters"]
    assert (status, found["complete"], bool(found["commands"])) == (1, False, True)


def test_all_quotas_that_the_plan_needs_are_compared(empty, preflight):
    empty.aws.quotas.update(dict.fromkeys(QUOTAS, 0))
    _, out, _ = preflight("doctor", "dev", "--format", "json")
    [found] = json.loads(out)["clusters"]
    broken = [one["text"].partition(":")[0] for one in found["verdicts"] if one["status"] == "broken"]
    assert broken == [
        "VPCs",
        "elastic IP addresses",
        "NAT gateways in ap-northeast-2a",
        "EKS clusters",
        "vCPUs of standard on-demand instances",
        "OIDC providers",
        "IAM roles",
    ]
    texts = " ".join(one["text"] for one in found["verdicts"])
    assert "vCPUs of standard on-demand instances: 0 of 0 are used, this needs 4 more" in texts


@pytest.mark.parametrize(
    ("zone", "region", "text"),
    [
        ("ap-northeast-2z", "ap-northeast-2", "ap-northeast-2z: not there for this account"),
        ("us-east-1e", "us-east-1", "us-east-1e (use1-az3): EKS puts no control plane there"),
    ],
)
def test_a_zone_that_a_cluster_cannot_have_is_named_by_its_id(empty, preflight, zone, region, text):
    edited = json.dumps(empty.recording).replace("ap-northeast-2a", zone).replace("ap-northeast-2", region)
    if region != "us-east-1":
        edited = edited.replace(f"{region}z", zone)
    _, out, _ = preflight("doctor", "dev", "--format", "json", recording=json.loads(edited))
    [broken] = [one for one in json.loads(out)["clusters"][0]["verdicts"] if one["status"] == "broken"]
    assert broken["link"] == "zones"
    assert text in broken["text"]


def test_a_right_that_the_plan_needs_and_the_caller_lacks_is_named(empty, preflight):
    empty.aws.denied |= {"eks:CreateCluster", "ec2:CreateVpc"}
    code, out, _ = preflight("doctor", "dev", "--format", "json")
    [broken] = [one for one in json.loads(out)["clusters"][0]["verdicts"] if one["status"] == "broken"]
    assert (code, broken["link"]) == (1, "rights")
    assert "user/moto may not ec2:CreateVpc, eks:CreateCluster, as the plan needs" in broken["text"]
    assert broken["fix"] == "preflight rights dev writes the policies"


def test_the_simulator_is_asked_with_the_conditions_and_resources_that_the_plan_has(empty, preflight):
    preflight("doctor", "dev")
    passing = [one for one in empty.aws.simulated if "iam:PassRole" in one.values()]
    assert passing, "handing over roles is a right of its own"
    for one in passing:
        assert one["ContextEntries.member.1.ContextKeyName"] == "iam:PassedToService"
        assert one["ResourceArns.member.1"].startswith("arn:aws:iam::123456789012:role/")


def test_who_may_not_simulate_gets_the_rest(empty, preflight):
    empty.aws.refused["SimulatePrincipalPolicy"] = (403, "AccessDenied")
    code, out, _ = preflight("doctor", "dev", "--format", "json")
    statuses = {one["link"]: one["status"] for one in json.loads(out)["clusters"][0]["verdicts"]}
    assert (code, statuses["rights"], statuses["zones"]) == (4, "unknown", "ok")


def test_the_role_behind_a_session_is_simulated_with_its_path(empty, preflight):
    made = empty.client("iam").create_role(RoleName="deployer", Path="/ci/", AssumeRolePolicyDocument="{}")["Role"]
    arn = "arn:aws:sts::123456789012:assumed-role/deployer/me"
    identity = f"<Arn>{arn}</Arn><UserId>A:me</UserId><Account>123456789012</Account>"
    answer = "GetCallerIdentity"
    body = f"<{answer}Response><{answer}Result>{identity}</{answer}Result></{answer}Response>"
    empty.aws.answers[answer] = lambda _: (200, body)
    preflight("doctor", "dev")
    assert {one["PolicySourceArn"] for one in empty.aws.simulated} == {made["Arn"]}


def test_the_doctor_asks_nothing_more_in_an_account_that_is_not_the_stacks(empty, preflight):
    recording = copy.deepcopy(empty.recording)
    for one in recording["resources"]:
        if one["type"] == "pulumi:providers:aws":
            one["inputs"]["allowedAccountIds"] = json.dumps(["111122223333"])
    empty.aws.calls.clear()
    code, out, _ = preflight("doctor", "dev", recording=recording)
    assert code == 1
    assert "the program allows 111122223333" in " ".join(out.split())
    assert set(empty.aws.calls) == {"GetCallerIdentity"}


def test_a_stack_that_is_not_there_is_bad_input():
    done = subprocess.run(
        [sys.executable, "-m", "preflight", "doctor", "devv"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "did you mean `dev`?" in done.stderr) == (2, True)


@pytest.mark.usefixtures("new_session")
def test_without_boto3_a_person_learns_how_to_get_it(preflight, monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    code, _, err = preflight("leftovers", "dev")
    assert (code, 'pip install "eks-preflight[live]"' in err) == (2, True)
    four_parts(err)


def test_other_commands_do_not_wait_for_boto3():
    program = "import sys\nfrom preflight import cli\nprint([one for one in sys.modules if one.startswith('boto')])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout == "[]\n"


@pytest.mark.usefixtures("standing")
@BOTH
def test_a_stack_that_stands_is_fine(preflight, command):
    assert preflight(command, "dev")[0] == 0


@pytest.mark.parametrize(
    ("operation", "code", "link"),
    [
        ("DescribeAvailabilityZones", "UnauthorizedOperation", "zones"),
        ("DescribeAddresses", "UnauthorizedOperation", "quota"),
        ("DescribeSubnets", "UnauthorizedOperation", "tags"),
        ("DescribeSecurityGroups", "RequestLimitExceeded", "webhook"),
        ("ListRoles", "AccessDenied", "role"),
        ("ListAttachedRolePolicies", "AccessDenied", "policy"),
        ("ListOpenIDConnectProviders", "AccessDenied", "OIDC provider"),
    ],
)
def test_the_doctor_leaves_out_the_link_that_it_may_not_see_and_no_other(standing, preflight, operation, code, link):
    standing.aws.refused[operation] = (400, code)
    status, out, _ = preflight("doctor", "dev", "--format", "json")
    assert status == 4
    [found] = json.loads(out)["clusters"]
    unknown = {one["link"] for one in found["verdicts"] if one["status"] == "unknown"}
    assert unknown - {"quota"} == {link} - {"quota"}, "beside the quota that is counted with the same question"
    assert unknown
    assert {one["link"] for one in found["verdicts"] if one["status"] == "broken"} == set()
    assert found["complete"] is False
    assert [one["action"].partition(":")[2] for one in found["unanswered"]] == [operation]


def test_what_the_stack_has_already_is_not_needed_again(standing, preflight):
    standing.aws.quotas.update({"L-F678F1CE": 2, "L-1216C47A": 4, "L-0263D0A3": 1, "L-1194D53C": 1})
    assert preflight("doctor", "dev")[0] == 0


def test_the_doctor_changes_nothing(standing, preflight):
    standing.aws.calls.clear()
    preflight("doctor", "dev")
    reads = ("Describe", "List", "Get", "GET ", "Simulate")
    assert {call for call in standing.aws.calls if not call.startswith(reads)} == set()


@BOTH
@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_in_any_output(standing, preflight, command, form):
    _, out, err = preflight(command, "dev", "--format", form)
    standing.kube.refuses = 401  # what is refused is told as well
    _, more, _ = preflight(command, "dev", "--format", form)
    out += more
    assert CLUSTER in out
    secrets = (os.environ["AWS_SECRET_ACCESS_KEY"], "k8s-aws-v1", "X-Amz-Signature", os.environ["AWS_ACCESS_KEY_ID"])
    assert not any(secret in out + err for secret in secrets)


@pytest.mark.usefixtures("standing")
def test_the_whole_command_runs_from_a_shell():
    done = subprocess.run(
        [sys.executable, "-m", "preflight", "doctor", "dev"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"cluster {CLUSTER} in ap-northeast-2" in done.stdout
