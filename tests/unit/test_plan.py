"""`preflight plan`: what a person reads, and how it ends."""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path

import pytest

from preflight import plan, program
from preflight.cli import main
from preflight.program import Recording

PROGRAMS = Path(__file__).resolve().parent.parent / "fixtures" / "programs"


@pytest.fixture(scope="module")
def wired() -> list[Recording]:
    return program.record(PROGRAMS / "wired", ["dev"])


def text(recordings: list[Recording], capsys: pytest.CaptureFixture[str]) -> str:
    """The plan as one line per paragraph, so that no assertion depends on where a line breaks."""
    plan.show({"dev": recordings})
    return " ".join(re.sub(r"[│├└─]", " ", capsys.readouterr().out).split())


def change(recording: Recording, token: str, name: str, **values: object) -> None:
    """Change a resource as the program would have: outputs echo the inputs."""
    (found,) = [one for one in recording["resources"] if (one["type"], one["name"]) == (token, name)]
    found["inputs"].update(values)
    found["outputs"].update(values)


def test_each_wire_is_told_from_the_account_to_what_runs_there(
    wired: list[Recording], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = text(wired, capsys)
    account = "kube-system/aws-load-balancer-controller"
    expected = [
        f"account {account} role controller through IRSA",
        f"trust admits it: it names issuer cluster main, audience sts.amazonaws.com, subject {account}",
        f"policies controller runs release {account}",
        "account kube-system/ebs-csi-controller-sa role storage through Pod Identity",
        "policies service-role/AmazonEBSCSIDriverPolicyV2 runs add-on aws-ebs-csi-driver",
    ]
    assert [line for line in expected if line not in shown] == [], shown


def test_a_wire_that_does_not_hold_is_shown_as_refused(
    wired: list[Recording], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = copy.deepcopy(wired)
    annotations = {"eks.amazonaws.com/role-arn": broken[-1]["outputs"]["roleArn"]}
    metadata = {"name": "renamed", "namespace": "kube-system", "annotations": annotations}
    change(broken[-1], "kubernetes:core/v1:ServiceAccount", "controller", metadata=metadata)
    shown = text(broken, capsys)
    assert "account kube-system/renamed role controller through IRSA trust refuses it:" in shown
    assert "subject kube-system/aws-load-balancer-controller policies controller runs nothing of this program" in shown


def test_a_role_without_a_policy_is_said_to_be_worth_nothing(
    wired: list[Recording], capsys: pytest.CaptureFixture[str]
) -> None:
    bare = copy.deepcopy(wired)
    bare[-1]["resources"] = [one for one in bare[-1]["resources"] if "rolePolicyAttachment" not in one["type"]]
    assert text(bare, capsys).count("policies none: it may do nothing") == 2


def test_the_network_says_what_its_tags_mean(wired: list[Recording], capsys: pytest.CaptureFixture[str]) -> None:
    shown = text(wired, capsys)
    assert "ap-northeast-2a public-a 10.0.0.0/24" in shown
    assert shown.count("internet-facing load balancers") == 2


def test_the_ways_out_of_subnets_follow_their_routes(
    wired: list[Recording], capsys: pytest.CaptureFixture[str]
) -> None:
    routed = copy.deepcopy(wired)
    subnets = [one["id"] for one in routed[-1]["resources"] if one["type"] == "aws:ec2/subnet:Subnet"]
    (template,) = [one for one in routed[-1]["resources"] if one["type"] == "aws:ec2/vpc:Vpc"]

    def add(token: str, name: str, identifier: str, inputs: dict[str, object]) -> None:
        urn = f"urn:pulumi:dev::wired::{token}::{name}"
        more = {"urn": urn, "type": token, "name": name, "id": identifier, "inputs": inputs, "outputs": {}}
        routed[-1]["resources"].append({**template, **more})  # type: ignore[typeddict-item]

    default = {"cidrBlock": "0.0.0.0/0"}
    add("aws:ec2/routeTable:RouteTable", "open", "rtb-1", {"routes": [{**default, "gatewayId": "igw-1"}]})
    add("aws:ec2/routeTable:RouteTable", "closed", "rtb-2", {"routes": [{"cidrBlock": "10.1.0.0/16"}]})
    for number, table in enumerate(("rtb-1", "rtb-2")):
        association = {"subnetId": subnets[number], "routeTableId": table}
        add("aws:ec2/routeTableAssociation:RouteTableAssociation", table, f"assoc-{number}", association)
    shown = text(routed, capsys)
    assert "public-a 10.0.0.0/24 internet gateway" in shown
    assert "public-c 10.0.1.0/24 none" in shown


def test_ports_from_the_control_plane_are_listed(wired: list[Recording], capsys: pytest.CaptureFixture[str]) -> None:
    opened = copy.deepcopy(wired)
    rule = ("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "webhook")
    change(opened[-1], *rule, securityGroupId="sg-nodes")
    assert "9443 sg-nodes Control plane to the load balancer controller's webhook" in text(opened, capsys)
    change(opened[-1], *rule, referencedSecurityGroupId="sg-somebody")
    assert "9443" not in text(opened, capsys), "a rule for somebody else is not the control plane's"


def test_secrets_are_not_shown_and_what_cannot_be_known_is(
    wired: list[Recording], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = text(wired, capsys)
    assert "token [secret]" in shown
    assert "placeholder" not in shown
    expected = [
        "what packaged components make inside: eks:index:Cluster main",
        "which objects the charts bring: controller",
        "plausible answers for: getCertificate",
        "secret values: 1 in the inputs",
    ]
    assert [line for line in expected if line not in shown] == [], shown


def test_a_resource_of_one_mode_only_is_pointed_out(wired: list[Recording], capsys: pytest.CaptureFixture[str]) -> None:
    assert "21 resources in preview and update alike" in text(wired, capsys)
    uneven = copy.deepcopy(wired)
    uneven[0]["resources"] = [one for one in uneven[0]["resources"] if one["name"] != "vpc"]
    shown = text(uneven, capsys)
    assert "only in update: Vpc vpc" in shown
    assert "alike" not in shown


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["preflight", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_command_runs_a_program_in_another_folder(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code = run(monkeypatch, "-C", str(PROGRAMS / "cases"), "plan", "components")
    out = capfd.readouterr().out
    assert code == 0, out
    assert "cases / components" in out
    assert "\x1b" not in out, "no colour where the output is no terminal"


@pytest.mark.parametrize(
    ("stack", "code", "parts"),
    [
        ("refuses", 2, ["minSize is above maxSize", "cluster.nodeGroups.system.minSize: Pulumi.refuses.yaml:5"]),
        ("fails", 3, ["The program failed, stack fails, preview mode.", "program/helper.py:8", "IndexError"]),
        ("component", 2, ["There is no stack `component`", "did you mean `components`?"]),
    ],
)
def test_what_ends_a_program_decides_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], stack: str, code: int, parts: list[str]
) -> None:
    assert run(monkeypatch, "-C", str(PROGRAMS / "cases"), "plan", stack) == code
    message = capfd.readouterr().err
    assert [part for part in parts if part not in message] == [], message
    assert "Traceback" not in message


def test_the_problems_of_all_stacks_are_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code = run(monkeypatch, "-C", str(PROGRAMS / "cases"), "plan", "refuses", "doubled")
    message = capfd.readouterr().err
    assert code == 2
    assert "minSize is above maxSize" in message
    assert "Two resources have the URN" in message
