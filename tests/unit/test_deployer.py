"""What a deployer needs to be allowed: the table against an independent database, the policies against every stack."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from policy_sentry.querying.actions import get_action_data
from typer.testing import CliRunner

from preflight.cli import app
from preflight.deployer import LONGEST, Deployer, actions, deployer, table
from preflight.errors import BadInputError
from preflight.graph import UNKNOWN, Graph, Resource
from preflight.policies import Decision, Request, decide, parse
from tests.recorded import STACKS, recorded

with warnings.catch_warnings():
    # The linter leaves its two data files to the garbage collector when it is imported.
    warnings.simplefilter("ignore", ResourceWarning)
    import parliament

ROOT = Path(__file__).parents[2]
ROWS: dict[str, dict[str, Any]] = {key: row for key, row in table().items() if ":" in key}
ACTIONS = sorted({action for row in ROWS.values() for action in actions(row, dict.fromkeys(row.get("when", {}), True))})
ACCOUNT = "111122223333"

each_stack = pytest.mark.parametrize("stack", STACKS)
each_row = pytest.mark.parametrize("type_", ROWS)
each_action = pytest.mark.parametrize("action", ACTIONS)

# What the database calls dependent actions, by the action or the type that goes without, and why.
NOT_NEEDED = {
    ("aws:ec2/securityGroupRule:SecurityGroupRule", "ec2:CreateTags"): "it has no tags",
    ("ec2:CreateFlowLogs", "ecs:ListClusters"): "no task of ECS is in any plan",
    ("ec2:CreateFlowLogs", "ecs:ListContainerInstances"): "no task of ECS is in any plan",
    ("ec2:CreateFlowLogs", "ecs:ListServices"): "no task of ECS is in any plan",
    ("ec2:CreateFlowLogs", "ecs:ListTaskDefinitions"): "no task of ECS is in any plan",
    ("ec2:CreateFlowLogs", "ecs:ListTasks"): "no task of ECS is in any plan",
    ("ec2:CreateLaunchTemplate", "ssm:GetParameters"): "no template names its image by an SSM parameter",
    ("ec2:CreateLaunchTemplateVersion", "ssm:GetParameters"): "no template names its image by an SSM parameter",
    ("ec2:DescribeLaunchTemplateVersions", "ssm:GetParameters"): "nobody asks it to resolve the image",
    ("ec2:RunInstances", "iam:PassRole"): "the template names no instance profile: EKS passes the role itself",
    ("ec2:RunInstances", "ssm:GetParameters"): "no template names its image by an SSM parameter",
    ("kms:CreateKey", "iam:CreateServiceLinkedRole"): "only a key of several regions needs it",
}
EXPLAINED = {
    "RESOURCE_STAR": "every statement on everything has its reason in the table",
    "RESOURCE_POLICY_PRIVILEGE_ESCALATION": "whoever makes a bucket writes its policy",
}
# Narrowed although the database knows no resource for it: the EKS user guide's own policy has the cluster's ARN.
NARROWED_BY_THE_GUIDE = {"eks:CreateCluster"}


@cache
def of_stack(stack: str) -> Deployer:
    preview, update = recorded(stack)
    return deployer(stack, Graph.of(preview), update["invokes"])


def made(*resources: Resource) -> Deployer:
    provider = Resource(urn="provider", type="pulumi:providers:aws", name="aws", inputs={"region": "eu-west-1"})
    return deployer("made", Graph([provider, *resources]))


def aws(kind: str, name: str = "one", **more: Any) -> Resource:
    return Resource(urn=name, type=f"aws:{kind}", name=name, provider="provider::id", **more)


def asked(found: Deployer, action: str, resource: str, **context: str) -> Decision:
    """What IAM's own logic says of one request under all documents together."""
    statements = [one for document in found.documents for one in document["Statement"]]
    values = {key.replace("_", ":", 1): (value,) for key, value in context.items()}
    request = Request(action=action, resource=resource, context=values, unknown=())
    return decide(parse({"Version": "2012-10-17", "Statement": statements}, trust=False), request)


# ---- the table -------------------------------------------------------------------------------------------------------


@each_action
def test_every_action_exists_in_an_independent_database(action):
    assert facts(action), f"the service authorization reference has no action {action}"


def facts(action: str) -> list[dict[str, Any]]:
    service, _, name = action.partition(":")
    found = get_action_data(service, name)
    return found[service] if found else []


@each_row
def test_every_action_has_a_resource_or_a_reason_why_it_has_none(type_):
    row = ROWS[type_]
    services = {template.split(":")[2] for template in row.get("on", ()) if template.startswith("arn:")}
    services |= {_behind(template)[0] for template in row.get("on", ()) if not template.startswith("arn:")}
    anywhere = table()["anywhere"]
    for action in actions(row, dict.fromkeys(row.get("when", {}), True)):
        service = action.partition(":")[0]
        lost = f"{action} of {type_} would be left out: it is limited to nothing"
        assert action in anywhere or service in anywhere or service in services, lost


@each_row
def test_what_a_row_is_limited_to_is_a_resource_that_its_actions_have(type_):
    row = ROWS[type_]
    kinds = {_kind(template) for template in row.get("on", ()) if template.startswith("arn:")}
    kinds |= {_behind(template) for template in row.get("on", ()) if not template.startswith("arn:")}
    for action in actions(row, dict.fromkeys(row.get("when", {}), True)):
        service = action.partition(":")[0]
        if {action, service} & table()["anywhere"].keys() or action in NARROWED_BY_THE_GUIDE:
            continue
        known = {_kind(fact["resource_arn_format"]) for fact in facts(action) if fact["resource_arn_format"] != "*"}
        assert known & kinds, f"{action} of {type_} has {sorted(known)}, and is limited to {sorted(kinds)}"


def _behind(reference: str) -> tuple[str, str]:
    return ("s3", "") if reference == "{bucket}" else ("iam", "role")


def _kind(arn: str) -> tuple[str, str]:
    _, _, service, _, _, resource = arn.split(":", 5)
    if service == "kms" and resource.startswith(("{name}", "${Alias}")):
        return service, "alias"
    return service, re.split(r"[/:{$*]", resource)[0]


@each_row
def test_what_an_action_depends_on_is_there_too_or_explained(type_):
    row = ROWS[type_]
    wanted = actions(row, dict.fromkeys(row.get("when", {}), True))
    given = wanted | ({"iam:PassRole"} if row.get("passes") else set())
    given |= {"iam:CreateServiceLinkedRole"} if row.get("linked") else set()
    for action in wanted:
        for other in {one for fact in facts(action) for one in fact["dependent_actions"]} - given:
            assert {(action, other), (type_, other)} & NOT_NEEDED.keys(), f"{action} of {type_} depends on {other}"


def test_no_explanation_is_left_over():
    for holder, other in NOT_NEEDED:
        holders = actions(ROWS[holder], {}) if holder in ROWS else {holder}
        assert other in {one for action in holders for fact in facts(action) for one in fact["dependent_actions"]}


# ---- every stack -----------------------------------------------------------------------------------------------------


@each_stack
def test_no_type_of_any_stack_lacks_a_row(stack):
    assert not of_stack(stack).unknown


@each_stack
def test_every_document_fits_into_a_managed_policy(stack):
    for document in of_stack(stack).documents:
        assert len(re.sub(r"\s", "", json.dumps(document))) <= 6_144, "IAM refuses a longer policy"


@each_stack
def test_the_linter_finds_nothing_but_what_the_table_explains(stack):
    for document in of_stack(stack).documents:
        for found in parliament.analyze_policy_string(json.dumps(document)).findings:
            if found.issue == "RESOURCE_MISMATCH":
                assert {one["action"] for one in found.detail} <= NARROWED_BY_THE_GUIDE
            else:
                assert found.issue in EXPLAINED, f"{found.issue}: {found.detail}"


@each_stack
def test_every_statement_says_why(stack):
    for permission in of_stack(stack).permissions:
        assert permission.why
        assert permission.resources, f"{permission.sid} allows nothing"
        assert permission.resources == ("*",) or "*" not in permission.resources


# ---- how narrow ------------------------------------------------------------------------------------------------------


def test_a_deployer_may_give_rights_to_the_roles_of_the_plan_only():
    dev = of_stack("dev")
    role, stranger = (f"arn:aws:iam::{ACCOUNT}:role/{name}" for name in ("cluster-node-1a2b3c4", "payments"))

    assert asked(dev, "iam:PutRolePolicy", role).admitted
    assert not asked(dev, "iam:PutRolePolicy", stranger).admitted
    assert not asked(dev, "iam:UpdateAssumeRolePolicy", stranger).admitted


def test_a_deployer_may_attach_no_policy_but_those_of_the_plan():
    role = f"arn:aws:iam::{ACCOUNT}:role/cluster-node-1a2b3c4"
    nodes, admin = (f"arn:aws:iam::aws:policy/{name}" for name in ("AmazonEKSWorkerNodePolicy", "AdministratorAccess"))

    assert asked(of_stack("dev"), "iam:AttachRolePolicy", role, iam_PolicyARN=nodes).admitted
    assert not asked(of_stack("dev"), "iam:AttachRolePolicy", role, iam_PolicyARN=admin).admitted


def test_a_deployer_may_hand_a_role_only_to_the_service_that_it_is_for():
    node, pod = (
        f"arn:aws:iam::{ACCOUNT}:role/{name}-1a2b3c4" for name in ("cluster-node", "cluster-aws-ebs-csi-driver-role")
    )

    assert asked(of_stack("dev"), "iam:PassRole", node, iam_PassedToService="eks.amazonaws.com").admitted
    assert asked(of_stack("dev"), "iam:PassRole", pod, iam_PassedToService="pods.eks.amazonaws.com").admitted
    assert not asked(of_stack("dev"), "iam:PassRole", node, iam_PassedToService="lambda.amazonaws.com").admitted
    assert not asked(of_stack("dev"), "iam:PassRole", pod, iam_PassedToService="eks.amazonaws.com").admitted


def test_a_deployer_may_delete_its_own_cluster_and_no_other():
    ours, theirs = (f"arn:aws:eks:ap-northeast-2:{ACCOUNT}:cluster/{name}" for name in ("eks-foundation-dev", "prod"))

    assert asked(of_stack("dev"), "eks:DeleteCluster", ours).admitted
    assert not asked(of_stack("dev"), "eks:DeleteCluster", theirs).admitted


def test_what_has_no_names_is_limited_to_the_region_of_the_stack():
    vpc = f"arn:aws:ec2:ap-northeast-2:{ACCOUNT}:vpc/vpc-1"

    assert asked(of_stack("dev"), "ec2:DeleteVpc", vpc, aws_RequestedRegion="ap-northeast-2").admitted
    assert not asked(of_stack("dev"), "ec2:DeleteVpc", vpc, aws_RequestedRegion="us-east-1").admitted


def test_a_stack_that_names_its_account_asks_for_nothing_in_another():
    provider = Resource(
        urn="provider",
        type="pulumi:providers:aws",
        name="aws",
        inputs={"region": "cn-north-1", "allowedAccountIds": json.dumps([ACCOUNT])},
    )
    group = Resource(
        urn="logs",
        type="aws:cloudwatch/logGroup:LogGroup",
        name="logs",
        provider="provider::id",
        inputs={"name": "/app"},
    )

    found = deployer("cn", Graph([provider, group]))

    arns = {arn for one in found.permissions for arn in one.resources}
    assert f"arn:aws-cn:logs:cn-north-1:{ACCOUNT}:log-group:/app" in arns


def test_a_name_that_pulumi_makes_ends_in_a_wildcard_and_one_that_is_given_does_not():
    found = made(
        aws("iam/role:Role", "worker"),
        aws("iam/role:Role", "other", inputs={"name": "fixed", "path": "/team/"}),
        aws("iam/role:Role", "third", inputs={"namePrefix": "pre-"}),
    )

    (iam,) = (one for one in found.permissions if one.sid == "Iam")
    assert iam.resources == (
        "arn:aws:iam::*:role/pre-*",
        "arn:aws:iam::*:role/team/fixed",
        "arn:aws:iam::*:role/worker-*",
    )


def test_a_role_of_somebody_else_is_named_as_it_is_given():
    arn = f"arn:aws:iam::{ACCOUNT}:role/nodes"
    found = made(aws("eks/nodeGroup:NodeGroup", inputs={"clusterName": "dev", "nodeRoleArn": arn}))

    (passing,) = (one for one in found.permissions if one.sid == "IamPassToEks")
    assert passing.resources == (arn,)


def test_a_bucket_is_named_where_it_is_made_and_where_it_is_set_up():
    bucket = aws("s3/bucket:Bucket", "logs")
    policy = aws(
        "s3/bucketPolicy:BucketPolicy", inputs={"bucket": UNKNOWN}, property_dependencies={"bucket": (bucket.urn,)}
    )
    other = aws("s3/bucketPolicy:BucketPolicy", "two", inputs={"bucket": "theirs"})

    (s3,) = (one for one in made(bucket, policy, other).permissions if one.sid == "S3")
    assert s3.resources == ("arn:aws:s3:::logs-*", "arn:aws:s3:::theirs")


def test_a_role_that_nobody_knows_yet_and_that_no_resource_of_the_program_makes_may_be_any():
    found = made(aws("eks/nodeGroup:NodeGroup", inputs={"clusterName": "dev", "nodeRoleArn": UNKNOWN}))

    (passing,) = (one for one in found.permissions if one.sid == "IamPassToEks")
    assert passing.resources == ("arn:aws:iam::*:role/*",)


def test_what_is_only_looked_up_is_only_read():
    found = made(aws("iam/role:Role", read=True, inputs={"permissionsBoundary": "arn:x", "managedPolicyArns": ["y"]}))

    asked_for = {action for one in found.permissions for action in one.actions}
    assert asked_for == set(ROWS["aws:iam/role:Role"]["read"])


def test_an_input_that_is_not_given_asks_for_nothing():
    plain, bounded = made(aws("iam/role:Role")), made(aws("iam/role:Role", inputs={"permissionsBoundary": "arn:x"}))

    role = f"arn:aws:iam::{ACCOUNT}:role/one-1a2b3c4"
    assert not asked(plain, "iam:PutRolePermissionsBoundary", role).admitted
    assert asked(bounded, "iam:PutRolePermissionsBoundary", role).admitted


# ---- what does not fit, what is not known ----------------------------------------------------------------------------


def test_a_thousand_roles_are_split_over_policies_that_lose_none_of_them():
    found = made(*(aws("iam/role:Role", f"workload-with-a-long-name-{number:04}") for number in range(1_000)))

    resources: list[str] = []
    for document in found.documents:
        assert len(re.sub(r"\s", "", json.dumps(document))) <= LONGEST
        assert len({one["Sid"] for one in document["Statement"]}) == len(document["Statement"])
        resources += [arn for one in document["Statement"] for arn in one["Resource"]]
    assert len(resources) == len(set(resources)) == 1_000


def test_a_type_without_a_row_is_named_with_its_resources():
    found = made(aws("sagemaker/model:Model", "brain"), Resource(urn="x", type="acme:index:Box", name="x", remote=True))

    assert found.unknown == {"acme:index:Box": ("x",), "aws:sagemaker/model:Model": ("brain",)}


def test_a_look_up_without_a_row_is_named_and_one_of_the_network_asks_for_its_reading():
    invokes: list[Any] = [
        {"token": "aws:ec2/getManagedPrefixList:getManagedPrefixList", "args": {}},
        {"token": "aws:sagemaker/getModel:getModel", "args": {}},
        {"token": "tls:index/getCertificate:getCertificate", "args": {}},
    ]

    found = deployer("made", Graph([]), invokes)

    assert found.unknown == {"aws:sagemaker/getModel:getModel": ("a look-up",)}
    assert {action for one in found.permissions for action in one.actions} == {
        "ec2:DescribeManagedPrefixLists",
        "ec2:GetManagedPrefixListEntries",
    }


# ---- the command -----------------------------------------------------------------------------------------------------


def rights(folder: Path, *arguments: str) -> Any:
    (folder / "Pulumi.yaml").write_text("name: own\nruntime: python\n", encoding="utf-8")
    (folder / "Pulumi.dev.yaml").write_text("config: {aws:region: eu-west-1}\n", encoding="utf-8")
    (folder / "__main__.py").write_text(PROGRAM, encoding="utf-8")
    return CliRunner().invoke(app, ["-C", str(folder), "rights", *arguments])


PROGRAM = """
import pulumi
for type_, name in (("aws:ec2/vpc:Vpc", "main"), ("aws:sagemaker/model:Model", "brain")):
    pulumi.CustomResource(type_, name, {})
"""


def test_the_command_fails_loudly_where_it_does_not_know_a_type(tmp_path):
    result = rights(tmp_path)

    assert result.exit_code == 1
    assert "dev: 11 actions in 1 managed policy, by the table of 2026-" in result.output
    assert "not known: what aws:sagemaker/model:Model needs (brain); the policies lack it" in result.output


def test_the_command_says_in_json_what_the_policies_are_why_and_what_they_lack(tmp_path):
    (stack,) = json.loads(rights(tmp_path, "--format", "json").stdout)["stacks"]

    assert stack["complete"] is False
    assert stack["unknownTypes"] == {"aws:sagemaker/model:Model": ["brain"]}
    assert {one["Sid"] for document in stack["policies"] for one in document["Statement"]} == stack["why"].keys()


def test_the_command_writes_files_that_iam_takes(tmp_path):
    (tmp_path / "out").mkdir()

    rights(tmp_path, "--output", str(tmp_path / "out"))

    (file,) = (tmp_path / "out").iterdir()
    assert file.name == "dev-1.json"
    assert not parse(file.read_text(encoding="utf-8"), trust=False)[0].deny


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    result = rights(tmp_path, "--output", str(tmp_path / "nowhere"))

    assert isinstance(result.exception, BadInputError)
    assert "allowed: a file in a folder that is there" in str(result.exception)


def test_the_commands_in_the_docs_hand_iam_policies_that_it_takes(tmp_path):
    page = (ROOT / "docs" / "cost-and-rights.md").read_text(encoding="utf-8")
    commands = page.split("## Rights\n\n```sh\n")[1].split("```")[0]
    stand_in = tmp_path / "aws"
    stand_in.write_text('#!/bin/sh\necho "$2 $4"; cat "${6#file://}"\n', encoding="utf-8")
    stand_in.chmod(0o755)
    preflight = f"{shlex.quote(sys.executable)} -m preflight -C {shlex.quote(str(ROOT))}"

    told = subprocess.run(  # noqa: S603 our own page
        ["bash", "-eu", "-c", commands.replace(".venv/bin/preflight", preflight)],  # noqa: S607 whichever bash there is
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    for number, document in enumerate(of_stack("dev").documents, 1):
        assert f"create-policy pulumi-dev-{number}\n{json.dumps(document, indent=2)}" in told
