"""Programs run without engine, cloud or login: what is written down, and what must not be."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from preflight import program, recorder, stack_file
from preflight.errors import BadInputError, ProgramFailedError
from preflight.graph import UNKNOWN, Graph, Resource, Secret, decode, reveal
from preflight.program import ProgramError, Recording

PROGRAMS = Path(__file__).resolve().parent.parent / "fixtures" / "programs"
CASES, WIRED, ASKS = PROGRAMS / "cases", PROGRAMS / "wired", PROGRAMS / "asks"


class Runs:
    """Recordings by stack and mode."""

    def __init__(self, recordings: list[Recording]) -> None:
        self.recordings = recordings
        self._found = {(one["stack"], one["mode"]): one for one in recordings}

    def __call__(self, stack: str, mode: str = "update") -> Recording:
        return self._found[stack, mode]

    def outputs(self, stack: str, mode: str = "update") -> dict[str, object]:
        recording = self(stack, mode)
        assert recording["error"] is None, f"the stack {stack} must run: {recording['error']}"
        return {name: decode(value) for name, value in recording["outputs"].items()}

    def only(self, stack: str, mode: str = "update") -> Resource:
        (resource,) = Graph.of(self(stack, mode)).resources.values()
        return resource

    def named(self, stack: str, name: str, mode: str = "update") -> Resource:
        (resource,) = [one for one in Graph.of(self(stack, mode)).resources.values() if one.name == name]
        return resource


def problem(recording: Recording) -> ProgramError:
    """What ended a program that must not run to its end."""
    if recording["error"] is None:
        pytest.fail(f"the stack {recording['stack']} must not run to its end")
    return recording["error"]


@pytest.fixture(scope="module")
def cases() -> Runs:
    """All stacks of the program of cases, in one process: what one of them does must not reach another."""
    return Runs(program.record(CASES, program.load(CASES).stacks))


@pytest.fixture(scope="module")
def wired() -> Runs:
    return Runs(program.record(WIRED, ["dev"], [*program.MODES, "update"]))


@pytest.fixture(scope="module")
def asked() -> dict[str, object]:
    """What the program that asks AWS for things hands out."""
    return Runs(program.record(ASKS, ["dev"], ["update"])).outputs("dev")


def one_of(graph: Graph, token: str, name: str) -> Resource:
    (found,) = [resource for resource in graph.of_type(token) if resource.name == name]
    return found


def test_a_preview_registers_what_an_update_registers(wired: Runs) -> None:
    in_preview = [one["urn"] for one in wired("dev", "preview")["resources"]]
    in_update = [one["urn"] for one in wired("dev")["resources"]]
    assert len(in_update) == 21, f"the program registers 21 resources, recorded: {in_update}"
    assert sorted(in_preview) == sorted(in_update), "the two modes must register the same resources"


def test_a_resource_is_listed_after_all_that_it_waits_for(wired: Runs) -> None:
    for mode in program.MODES:
        seen: set[str] = set()
        for one in wired("dev", mode)["resources"]:
            assert set(one["dependencies"]) <= seen, f"{one['urn']} comes before what it depends on"
            seen.add(one["urn"])


def test_two_runs_of_a_program_give_the_same_recording_to_the_byte(wired: Runs, cases: Runs) -> None:
    _, first, second = wired.recordings
    assert json.dumps(first) == json.dumps(second), "made-up values and orders must not depend on the run"
    again = program.record(CASES, ["options", "asks"])
    known = [cases(stack, mode) for stack in ("options", "asks") for mode in program.MODES]
    assert json.dumps(again) == json.dumps(known), "nor on the process"


def test_a_wire_is_an_equality_of_values(wired: Runs) -> None:
    graph = Graph.of(wired("dev"))
    role = one_of(graph, "aws:iam/role:Role", "controller")
    account = one_of(graph, "kubernetes:core/v1:ServiceAccount", "controller")
    provider = one_of(graph, "aws:iam/openIdConnectProvider:OpenIdConnectProvider", "oidc")
    trust = json.loads(str(role.inputs["assumeRolePolicy"]))["Statement"][0]
    annotations = account.inputs["metadata"]["annotations"]  # type: ignore[index]
    assert annotations["eks.amazonaws.com/role-arn"] == role.outputs["arn"], "the annotation is the role's ARN"
    assert trust["Principal"]["Federated"] == provider.outputs["arn"], "the trust names the provider's ARN"
    issuer = str(provider.inputs["url"]).removeprefix("https://")
    assert provider.outputs["arn"] == f"arn:aws:iam::111122223333:oidc-provider/{issuer}"
    assert set(trust["Condition"]["StringEquals"]) == {f"{issuer}:aud", f"{issuer}:sub"}


def test_made_up_values_have_the_shape_that_aws_documents(wired: Runs) -> None:
    graph = Graph.of(wired("dev"))
    vpc = one_of(graph, "aws:ec2/vpc:Vpc", "vpc")
    provider = one_of(graph, "aws:iam/openIdConnectProvider:OpenIdConnectProvider", "oidc")
    hexadecimal = "0123456789abcdef"
    prefix, _, digits = vpc.id.partition("-")
    assert (prefix, len(digits), set(digits) - set(hexadecimal)) == ("vpc", 17, set()), f"not a VPC id: {vpc.id}"
    assert vpc.outputs["arn"] == f"arn:aws:ec2:ap-northeast-2:111122223333:vpc/{vpc.id}"
    host, _, issuer_id = str(provider.inputs["url"]).removeprefix("https://").partition("/id/")
    assert host == "oidc.eks.ap-northeast-2.amazonaws.com"
    assert (len(issuer_id), set(issuer_id) - set(hexadecimal.upper())) == (32, set()), f"not an issuer: {issuer_id}"
    (thumbprint,) = provider.inputs["thumbprintLists"]  # type: ignore[misc]
    assert (len(thumbprint), set(thumbprint) - set(hexadecimal)) == (40, set()), f"not a fingerprint: {thumbprint}"


def test_an_arn_has_region_and_partition_from_the_configuration(cases: Runs) -> None:
    role = cases.named("options", "first")
    assert role.outputs["arn"] == f"arn:aws-cn:iam::444455556666:role/{role.outputs['name']}", "iam has no region"
    assert str(role.outputs["name"]).startswith("first-"), "a role without a name gets its logical one and 7 digits"
    assert len(str(role.outputs["name"])) == len("first-") + 7
    second = cases.named("options", "second")
    assert second.outputs["arn"] == Secret(f"arn:aws-cn:iam::444455556666:role/team/{second.outputs['name']}")


def test_no_two_resources_share_a_made_up_id(wired: Runs) -> None:
    ids = [(one["type"], one["id"]) for one in wired("dev")["resources"] if one["id"]]
    assert len(ids) == len(set(ids)), f"an id stands for one resource only: {sorted(ids)}"


def test_in_a_preview_what_a_provider_computes_is_unknown_and_the_rest_is_known(wired: Runs) -> None:
    graph = Graph.of(wired("dev", "preview"))
    vpc = one_of(graph, "aws:ec2/vpc:Vpc", "vpc")
    subnet = one_of(graph, "aws:ec2/subnet:Subnet", "public-a")
    account = one_of(graph, "kubernetes:core/v1:ServiceAccount", "controller")
    deployment = one_of(graph, "kubernetes:apps/v1:Deployment", "demo")
    assert (vpc.id, vpc.outputs["arn"], subnet.inputs["vpcId"]) == ("", UNKNOWN, UNKNOWN)
    assert (vpc.outputs["cidrBlock"], subnet.inputs["availabilityZone"]) == ("10.0.0.0/16", "ap-northeast-2a")
    assert account.inputs["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": UNKNOWN}  # type: ignore[index]
    name = deployment.outputs["metadata"]["name"]  # type: ignore[index]
    assert name.startswith("demo-"), "Pulumi names an object before the preview"
    same = one_of(Graph.of(wired("dev")), "kubernetes:apps/v1:Deployment", "demo")
    assert same.outputs["metadata"]["name"] == name  # type: ignore[index]
    assert decode(wired("dev", "preview")["outputs"]["url"]) is UNKNOWN


def test_a_secret_is_never_read_and_stays_marked(wired: Runs, cases: Runs) -> None:
    everything = json.dumps([*wired.recordings, *cases.recordings])
    assert "AAAB" not in everything, "no cipher text may reach the program"
    deployment = one_of(Graph.of(wired("dev")), "kubernetes:apps/v1:Deployment", "demo")
    (container,) = deployment.inputs["spec"]["template"]["spec"]["containers"]  # type: ignore[index]
    token = container["env"][0]["value"]
    assert token == Secret("placeholder-for-secret-wired:token")
    assert "placeholder" not in repr(token), "nor may its stand-in be printed by accident"
    assert cases.outputs("options")["secret"] == Secret("placeholder-for-secret-cases:secret")


def test_configuration_arrives_as_pulumi_hands_it_over(cases: Runs) -> None:
    outputs = cases.outputs("options")
    assert outputs["plain"] == "1.10", "a scalar is the text that the file has"
    assert reveal(outputs["object"]) == {
        "version": 1.35,
        "no": "on",
        "password": "placeholder-for-secret-cases:object.password",
    }, "an object is JSON, with YAML 1.2's idea of `no` and `on`"
    assert outputs["defaulted"] == [1, 2], "the project's own defaults count"
    assert outputs["onlyHere"] == "from preflight.toml", "preflight.toml fills in what no file of Pulumi's has"
    assert outputs["declaredOnly"] == "nothing", "a declaration without a value is none"


def test_a_setting_with_a_secret_anywhere_in_it_is_secret() -> None:
    here = program.load(CASES)
    _, secrets = program.configuration(here, stack_file.read(here.stack_file("options")), {})
    assert secrets == ["cases:object", "cases:secret"]


def test_an_output_that_the_table_does_not_have_is_unknown_and_not_none(cases: Runs) -> None:
    for mode in program.MODES:
        assert cases.outputs("options", mode)["computed"] is UNKNOWN, "None would trip a program that takes it apart"


def test_every_option_of_a_resource_is_recorded(cases: Runs) -> None:
    first, second = cases.named("options", "first"), cases.named("options", "second")
    assert second.protect is True
    assert first.protect is None, "an option that is left open is not an option set to false"
    assert second.ignore_changes == ("description",)
    assert second.replace_on_changes == ("path",)
    assert second.aliases == ({"name": "old"}, "urn:pulumi:a::b::c:d:E::f")
    assert second.delete_before_replace
    assert second.retain_on_delete
    assert second.deleted_with == first.urn
    assert second.custom_timeouts == {"create": "5m"}
    assert (second.import_id, second.id, second.version) == ("imported", "imported", "7.0.0")
    assert second.dependencies == (first.urn,)
    assert second.property_dependencies == {"assumeRolePolicy": (first.urn,)}
    assert isinstance(second.outputs["arn"], Secret), "an additional secret output is a secret"


def test_a_resource_knows_the_line_that_registered_it(cases: Runs) -> None:
    text = (CASES / "program/__main__.py").read_text().splitlines()
    file, _, line = cases.only("transforms").where.partition(":")
    assert file == "program/__main__.py", "relative to the program's folder"
    assert 'Thing(VPC, "tagged"' in text[int(line) - 1]


def test_a_resource_that_a_library_registers_is_put_down_to_the_line_that_called_it(tmp_path: Path) -> None:
    library, folder = tmp_path / "library", tmp_path / "program"
    for one in (library, folder):
        one.mkdir()
    (library / "maker.py").write_text(
        "import pulumi\n"
        "class Made(pulumi.CustomResource):\n"
        "    def __init__(self, name):\n"
        "        super().__init__('mystery:index:Made', name, {})\n"
        "def make(name):\n"
        "    return Made(name)\n"
    )
    text = f"import sys\nsys.path.append({str(library)!r})\nimport maker\nmaker.make('x')\n"
    assert Runs(record_text(folder, text)).only("dev").where == "__main__.py:4"


def test_the_order_of_a_recording_is_not_that_of_arrival() -> None:
    def registered(name: str, line: int, *needs: str) -> dict[str, object]:
        source = {"file": "__main__.py", "line": line}
        return {"urn": name, "parent": "", "provider": "", "dependencies": list(needs), "source": source}

    resources = [registered("b", 1, "d"), registered("a", 2), registered("d", 3), registered("c", 2)]
    orders = [
        [one["urn"] for one in recorder.in_order({str(one["urn"]): one for one in arrived})]
        for arrived in itertools.permutations(resources)
    ]
    assert orders == [["a", "c", "d", "b"]] * len(orders), "by line and name, after what it needs"


def test_urns_are_those_that_the_engine_would_make(cases: Runs) -> None:
    urns = {one["name"]: one["urn"] for one in cases("components")["resources"]}
    group = "cases:index:Group"
    assert urns["outer"] == f"urn:pulumi:components::cases::{group}::outer", "the stack's type is not part of a URN"
    assert urns["inner-child"] == f"urn:pulumi:components::cases::{group}${group}$aws:ec2/vpc:Vpc::inner-child"
    parents = {one["name"]: one["parent"] for one in cases("components")["resources"]}
    assert parents == {"outer": "", "outer-child": urns["outer"], "inner": urns["outer"], "inner-child": urns["inner"]}


def test_the_outputs_of_a_component_are_recorded(cases: Runs) -> None:
    assert cases.named("components", "outer").outputs == {
        "childArn": cases.named("components", "outer-child").outputs["arn"]
    }


def test_transforms_run_as_under_the_engine(cases: Runs) -> None:
    for mode in program.MODES:
        resource = cases.only("transforms", mode)
        assert resource.inputs["tags"] == {"team": "platform"}
        assert resource.inputs["cidrBlock"] == "10.0.0.0/16"
        assert resource.protect is True


def test_look_ups_are_answered_from_the_table_and_from_the_file_beside_the_program(cases: Runs) -> None:
    for mode in program.MODES:
        outputs = cases.outputs("asks", mode)
        assert outputs["account"] == "444455556666", "preflight.toml has the last word"
        assert outputs["zones"] == ["cn-north-1a", "cn-north-1b", "cn-north-1c"]
        assert outputs["vpcId"] == "vpc-11112222333344445", "preflight.toml states outputs of other stacks"
        assert outputs["other"] is UNKNOWN, "an output that nobody states is unknown"
        assert outputs["read"] == "arn:aws-cn:ec2:cn-north-1:444455556666:vpc/vpc-99990000aaaabbbbc"


def test_an_unknown_look_up_gets_a_stand_in_and_a_note(cases: Runs) -> None:
    origins = {invoke["token"]: invoke["origin"] for invoke in cases("asks")["invokes"] if invoke["args"] != {}}
    assert origins["mystery:index:getThing"] == "stand-in"
    everything = [(invoke["token"].rpartition(":")[2], invoke["origin"]) for invoke in cases("asks")["invokes"]]
    assert ("getCallerIdentity", "program file") in everything
    assert ("getAvailabilityZones", "table") in everything
    assert ("StackReference", "program file") in everything
    assert ("StackReference", "stand-in") in everything


def test_a_stand_in_has_the_fields_that_the_sdk_declares(asked: dict[str, object]) -> None:
    group = cast("dict[str, str]", asked["group"])
    assert group["name"] == "nodes", "an argument comes back as the field of its name"
    assert group["id"].startswith("sg-"), "an id has its type's prefix"
    assert group["arn"] == f"arn:aws:ec2:us-east-1:111122223333:security-group/{group['id']}"
    assert group["vpc"].startswith("VPC-"), "no field is None: programs take them apart"


def test_what_a_packaged_component_returns_is_unknown_and_trips_nothing(cases: Runs) -> None:
    for mode in program.MODES:
        assert cases.outputs("packaged", mode)["made"] is UNKNOWN
        assert cases.only("packaged", mode).remote


def test_a_method_of_a_resource_returns_a_stand_in(cases: Runs) -> None:
    assert cases.outputs("calls")["called"] == {"result": "stand-in-mystery:index:Thing/method"}
    assert [invoke["origin"] for invoke in cases("calls")["invokes"]] == ["stand-in"]


def test_an_asynchronous_program_and_its_threads_work(cases: Runs) -> None:
    for mode in program.MODES:
        assert cases.outputs("console", mode) == {"from": "a thread"}


def test_nothing_of_one_run_reaches_the_next(cases: Runs) -> None:
    for mode in program.MODES:
        assert cases.outputs("remembers", mode) == {"seen": [0, None, "program"]}, "modules, environment, folder"


def test_an_sdk_that_was_generated_into_the_program_is_imported_once(cases: Runs) -> None:
    for mode in program.MODES:
        assert cases.outputs("imports", mode) == {"loaded": "once"}


def test_what_a_program_prints_does_not_spoil_the_answer(capfd: pytest.CaptureFixture[str]) -> None:
    runs = Runs(program.record(CASES, ["prints"]))
    printed = capfd.readouterr()
    assert printed.out == "", "stdout belongs to the report"
    assert printed.err.count("printed") == 1, "once, although the program runs twice"
    assert "written" in printed.err
    assert runs("prints")["logs"] == [{"severity": "error", "message": "logged", "urn": ""}]


def test_a_program_that_refuses_its_settings_is_not_one_that_fails(cases: Runs) -> None:
    assert cases("refuses")["error"] == {
        "kind": "refused",
        "message": "minSize is above maxSize",
        "traceback": [],
        "paths": ["cluster.nodeGroups.system.minSize"],
    }


@pytest.mark.parametrize(
    ("stack", "message", "lines"),
    [
        ("exits", "The program ended itself with sys.exit(4).", ["in exits: sys.exit(4)"]),
        ("fails", "IndexError: list index out of range", ["in <lambda>", 'in take_apart: return text.split("|")[1]']),
        ("gone", "ModuleNotFoundError: No module named 'no_such_package'", ["in gone"]),
        ("syntax", "SyntaxError", ["program/broken.txt:1: def broken(:"]),
    ],
)
def test_a_failure_shows_the_lines_of_the_program_and_no_others(
    cases: Runs, stack: str, message: str, lines: list[str]
) -> None:
    error = problem(cases(stack))
    assert error["kind"] == "failed"
    assert error["message"].startswith(message)
    shown = "\n".join(error["traceback"])
    assert [line for line in lines if line not in shown] == [], f"these lines are missing in:\n{shown}"
    foreign = [line for line in error["traceback"] if not line.startswith("program/")]
    assert foreign == [], "lines of pulumi or of the recorder help nobody"


def test_two_resources_of_one_name_are_refused_as_by_the_engine(cases: Runs) -> None:
    error = problem(cases("doubled"))
    assert "urn:pulumi:doubled::cases::aws:ec2/vpc:Vpc::same" in error["message"]


def test_an_output_that_the_file_does_not_state_is_named(cases: Runs) -> None:
    error = problem(cases("unstated"))
    assert (error["kind"], "'subnetIds'" in error["message"]) == ("refused", True), error["message"]


def record_text(folder: Path, text: str, stack: str = "config: {}\n") -> list[Recording]:
    """Record a program that a test has as text."""
    (folder / "Pulumi.yaml").write_text("name: small\nruntime: python\n")
    (folder / "Pulumi.dev.yaml").write_text(stack)
    (folder / "__main__.py").write_text(text)
    return program.record(folder, ["dev"])


def test_a_process_that_ends_without_an_answer_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailedError, match="ended with exit code 5 before it could answer"):
        record_text(tmp_path, "import os\nos._exit(5)\n")


def test_the_recorder_does_not_offer_its_own_modules_to_the_program(tmp_path: Path) -> None:
    (recording, _) = record_text(tmp_path, "import answers\n")
    assert "No module named 'answers'" in problem(recording)["message"]


def test_credentials_do_not_reach_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "PULUMI_ACCESS_TOKEN", "PULUMI_CONFIG"):
        monkeypatch.setenv(name, "{}")
    text = "import os, pulumi\npulumi.export('seen', sorted(k for k in os.environ if k[:4] in ('AWS_', 'PULU')))\n"
    seen = Runs(record_text(tmp_path, text)).outputs("dev")["seen"]
    assert "AWS_EC2_METADATA_DISABLED" in seen, f"{seen}"  # type: ignore[operator]
    leaked = {"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "PULUMI_ACCESS_TOKEN", "PULUMI_CONFIG"} & set(seen)  # type: ignore[arg-type]
    assert leaked == set()


def test_an_interpreter_without_pulumi_is_named(tmp_path: Path) -> None:
    request = {"project": "p", "directory": str(tmp_path), "modes": ["update"], "stacks": [{"stack": "dev"}]}
    target = tmp_path / "answer.json"
    recorder = Path(program.__file__).with_name("recorder.py")
    isolated = [sys.executable, "-S", str(recorder), str(target)]  # -S: no installed packages
    subprocess.run(isolated, input=json.dumps(request), text=True, check=True)  # noqa: S603
    (recording,) = json.loads(target.read_text())["recordings"]
    assert recording["error"]["kind"] == "failed"
    assert f"The program's interpreter, {sys.executable}, has no usable pulumi" in recording["error"]["message"]


def test_a_policy_document_is_rendered_as_the_provider_renders_it(asked: dict[str, object]) -> None:
    assert json.loads(str(asked["document"])) == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Web",
                "Effect": "Allow",
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Principal": {"Federated": ["arn:one", "arn:two"]},
                "Condition": {"StringEquals": {"issuer:aud": "sts.amazonaws.com"}},
            },
            {"Effect": "Deny", "Action": ["s3:*", "ec2:*"], "Resource": "*", "Principal": "*"},
        ],
    }


def test_the_packaged_cluster_of_pulumi_eks_hands_out_what_programs_take_from_it(asked: dict[str, object]) -> None:
    issuer = str(asked["issuer"])
    assert asked["innerIssuer"] == issuer, "the inner cluster and the component agree"
    assert asked["provider"] == f"arn:aws:iam::111122223333:oidc-provider/{issuer.removeprefix('https://')}"
    assert asked["coreProvider"] == asked["provider"]
    assert str(asked["securityGroup"]).startswith("sg-")
    assert str(asked["innerName"]).startswith("main-eksCluster-")


def test_the_chain_of_a_certificate_begins_at_its_top(wired: Runs) -> None:
    (look_up,) = [one for one in wired("dev")["invokes"] if one["token"].endswith("getCertificate")]
    chain = look_up["answer"]["certificates"]  # type: ignore[index]
    assert [link["isCa"] for link in chain] == [True, True, False], "the leaf comes last"


def test_a_stack_that_is_not_there_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: small\nruntime: python\n")
    for stack in ("dev", "prod"):
        (tmp_path / f"Pulumi.{stack}.yaml").write_text("config: {}\n")
    with pytest.raises(BadInputError) as refused:
        program.record(tmp_path, ["prd"])
    message = str(refused.value)
    parts = ["There is no stack `prd`", "no Pulumi.prd.yaml in", "allowed: dev, prod", "did you mean `prod`?"]
    assert [part for part in parts if part not in message] == [], message


def test_without_a_stack_dev_is_run_and_else_all() -> None:
    assert program.choose(program.load(WIRED), []) == ["dev"]
    assert program.choose(program.load(CASES), []) == program.load(CASES).stacks


def test_a_program_without_any_stack_file_runs_as_the_stack_that_was_asked_for_or_dev(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: small\nruntime: python\n")
    (tmp_path / "__main__.py").write_text("import pulumi\npulumi.export('n', pulumi.Config().require('n'))\n")
    error = Runs(program.record(tmp_path))("dev")["error"]
    assert error is not None
    assert (error["kind"], '"small:n" = ' in error["message"]) == ("refused", True), error["message"]
    (tmp_path / "preflight.toml").write_text("[config]\nn = 7\n")
    assert Runs(program.record(tmp_path, ["prod"])).outputs("prod") == {"n": "7"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nruntime: nodejs\n", "runtime 'nodejs'"),
        ("- a\n", "Pulumi.yaml:1 is not a Pulumi file"),
        ("name: x\nname: y\nruntime: python\n", "Pulumi.yaml:2 has the key `name` a second time"),
    ],
)
def test_a_project_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "Pulumi.yaml").write_text(text)
    with pytest.raises(BadInputError) as refused:
        program.load(tmp_path)
    assert message in str(refused.value)


def test_a_folder_without_a_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no Pulumi\.yaml"):
        program.load(tmp_path)
    with pytest.raises(BadInputError, match="no such folder"):
        program.load(tmp_path / "missing")


def test_a_file_beside_the_program_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "preflight.toml").write_text("[config\n")
    with pytest.raises(BadInputError, match=r"preflight.toml is not TOML: .*line 1"):
        program.settings(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("answers = 1\n", "`answers` as int; write it as a table, [answers]"),
        ("[answers]\n'a:b:c' = 'x'\n", '`answers."a:b:c"` as str; write it as a table, [answers."a:b:c"]'),
        ("[stack.'a/b/c']\nx = 1\n", "did you mean `stacks`?"),
        ("[nonsense]\n", "allowed: answers, stacks, config, waiver"),
    ],
)
def test_a_file_beside_the_program_with_what_nobody_reads_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "preflight.toml").write_text(text)
    with pytest.raises(BadInputError) as refused:
        program.settings(tmp_path)
    assert message in str(refused.value)


def test_the_programs_own_virtual_environment_runs_it(tmp_path: Path) -> None:
    text = "name: small\nruntime:\n  name: python\n  options:\n    virtualenv: env\n"
    (tmp_path / "Pulumi.yaml").write_text(text)
    assert program.load(tmp_path).interpreter == Path(sys.executable), "an environment that is not made yet"
    (tmp_path / "env/bin").mkdir(parents=True)
    (tmp_path / "env/bin/python").touch()
    assert program.load(tmp_path).interpreter == tmp_path / "env/bin/python"
