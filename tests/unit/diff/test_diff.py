"""Two recordings of a stack: what is created, deleted, replaced, changed, and what that means for who may do what."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from preflight.changes import ABSENT
from preflight.diff import Diff, stack_diff
from preflight.report import differences
from tests.unit.registered import registered

SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}
VPC = "aws:ec2/vpc:Vpc"
SUBNET = "aws:ec2/subnet:Subnet"
ROLE = "aws:iam/role:Role"
POLICY = "aws:iam/policy:Policy"
ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"


def urn(type_, name, parent=""):
    chain = f"{parent.split('::')[2]}$" if parent else ""
    return f"urn:pulumi:dev::own::{chain}{type_}::{name}"


def resource(type_, name, inputs=None, outputs=None, **other):
    inputs = inputs or {}
    parent = other.get("parent", "")
    found = registered(
        urn=urn(type_, name, parent),
        type=type_,
        name=name,
        inputs=inputs,
        outputs={**inputs, **(outputs or {})},
        id=f"made-up-id-0123-of-{name}",
    )
    return {**found, **other}


def recording(*resources, outputs=None, directory="/here"):
    return {
        "project": "own",
        "stack": "dev",
        "mode": "update",
        "directory": directory,
        "resources": list(resources),
        "invokes": [],
        "outputs": outputs or {},
        "logs": [],
        "reads": [],
        "error": None,
    }


def compare(before, after):
    return stack_diff(recording(*before, directory="/tmp/other"), recording(*after))  # noqa: S108 a name, no folder


def told(found):
    return {one.name: (one.kind, [(c.path, c.before, c.after) for c in one.changes]) for one in found.resources}


def policy(*actions, sid="Data", resource="*"):
    statement = {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def wired(*actions, name="app"):
    """A role with a policy of these actions."""
    arn = f"arn:aws:iam::111122223333:policy/made-up-{name}"
    return [
        resource(ROLE, name, {"assumeRolePolicy": "{}"}, {"arn": f"arn:of-role-{name}", "name": f"name-of-{name}"}),
        resource(POLICY, name, {"policy": policy(*actions)}, {"arn": arn}),
        resource(ATTACHMENT, name, {"role": f"name-of-{name}", "policyArn": arn}),
    ]


def text(found):
    commit = SimpleNamespace(name="main", id="0" * 40, __str__=lambda: "main")
    diff = Diff(project="own", commit=commit, stacks=(found,), only_here=(), only_there=(), found=(), gone=())
    return differences.render(diff, "text")


def test_equal_recordings_do_not_differ():
    both = [*wired("s3:GetObject"), resource(VPC, "vpc", {"cidrBlock": "10.0.0.0/16"})]

    assert compare(both, both).same


def test_the_order_of_registration_does_not_count():
    both = [*wired("s3:GetObject"), *(resource(SUBNET, name, {"cidrBlock": name}) for name in "abcdef")]
    shuffled = sorted(both, key=lambda one: one["name"][::-1] + one["type"], reverse=True)

    assert compare(both, shuffled).same
    assert compare([], both) == compare([], shuffled)


def test_what_comes_and_what_goes_is_named():
    found = compare([resource(VPC, "old")], [resource(VPC, "new")])

    assert told(found) == {"old": ("deleted", []), "new": ("created", [])}


def test_a_changed_input_is_named_by_its_path():
    found = compare(
        [resource(VPC, "vpc", {"tags": {"team": "blue"}})], [resource(VPC, "vpc", {"tags": {"team": "green"}})]
    )

    assert told(found) == {"vpc": ("changed", [("tags.team", "blue", "green")])}


@pytest.mark.parametrize(
    ("option", "value", "name", "shown"),
    [
        ("protect", True, "protect", True),
        ("retainOnDelete", True, "retainOnDelete", True),
        ("deletedWith", urn(VPC, "vpc"), "deletedWith", urn(VPC, "vpc")),
        ("ignoreChanges", ["tags"], "ignoreChanges", ["tags"]),
        ("customTimeouts", {"create": "10m"}, "customTimeouts", {"create": "10m"}),
    ],
)
def test_a_changed_option_is_a_change(option, value, name, shown):
    found = compare([resource(VPC, "vpc")], [resource(VPC, "vpc", **{option: value})])

    assert told(found) == {"vpc": ("changed", [(f"options.{name}", ABSENT, shown)])}


def test_waiting_for_something_else_is_a_change_and_a_wire_is_none_of_its_own():
    vpc, first = resource(VPC, "vpc"), resource(SUBNET, "a")
    wire = {"dependencies": [urn(VPC, "vpc")], "propertyDependencies": {"vpcId": [urn(VPC, "vpc")]}}

    waiting = compare([vpc, first], [vpc, resource(SUBNET, "a", dependencies=[urn(VPC, "vpc")])])
    wired_up = compare([vpc, first], [vpc, resource(SUBNET, "a", {"vpcId": vpc["id"]}, **wire)])

    assert told(waiting) == {"a": ("changed", [("options.dependsOn", ABSENT, "vpc")])}
    assert told(wired_up) == {"a": ("replaced", [("vpcId", ABSENT, "{vpc.id}")])}


def test_a_change_that_is_ignored_is_none():
    before = [resource(VPC, "group", {"scaling": {"desired": 2, "max": 3}})]
    after = [resource(VPC, "group", {"scaling": {"desired": 5, "max": 4}}, ignoreChanges=["scaling.desired"])]
    before[0]["ignoreChanges"] = ["scaling.desired"]

    assert told(compare(before, after)) == {"group": ("changed", [("scaling.max", 3, 4)])}


def test_a_create_only_input_replaces():
    found = compare(
        [resource(VPC, "vpc", {"cidrBlock": "10.0.0.0/16"})], [resource(VPC, "vpc", {"cidrBlock": "10.1.0.0/16"})]
    )

    (one,) = found.resources
    assert (one.kind, one.because) == ("replaced", ("cidrBlock",))
    assert "Replaced, by the table of 20" in text(found), "whose word it is must be said, with its date"


def test_a_job_with_another_pod_is_a_new_job():
    def job(image):
        return resource("kubernetes:batch/v1:Job", "once", {"spec": {"template": {"spec": {"image": image}}}})

    assert [(one.kind, one.because) for one in compare([job("a")], [job("b")]).resources] == [
        ("replaced", ("spec.template",))
    ]


def test_writing_a_providers_default_down_replaces_nothing():
    found = compare([resource(ROLE, "app")], [resource(ROLE, "app", {"path": "/"})])
    moved_away = compare([resource(ROLE, "app")], [resource(ROLE, "app", {"path": "/apps/"})])

    assert [(one.kind, one.because) for one in found.resources] == [("changed", ())]
    assert [(one.kind, one.because) for one in moved_away.resources] == [("replaced", ("path",))]


def test_what_refers_to_a_replaced_resource_is_replaced_as_well():
    def tree(cidr):
        vpc = resource(VPC, "vpc", {"cidrBlock": cidr})
        wire = {"dependencies": [vpc["urn"]], "propertyDependencies": {"vpcId": [vpc["urn"]], "tags": [vpc["urn"]]}}
        inputs = {"vpcId": vpc["id"], "tags": {"cidr": "same"}}
        return [vpc, resource(SUBNET, "a", inputs, **wire), resource(SUBNET, "alone", {"vpcId": "vpc-somebody-elses"})]

    found = compare(tree("10.0.0.0/16"), tree("10.1.0.0/16"))

    assert {one.name: (one.kind, one.because) for one in found.resources} == {
        "vpc": ("replaced", ("cidrBlock",)),
        "a": ("replaced", ("vpcId (a new vpc)",)),
    }


def test_a_replacement_does_not_draw_along_what_only_uses_a_known_value_of_it():
    def tree(cidr):
        vpc = resource(VPC, "vpc", {"cidrBlock": cidr, "region": "eu-west-1"})
        wire = {"dependencies": [vpc["urn"]], "propertyDependencies": {"availabilityZone": [vpc["urn"]]}}
        return [vpc, resource(SUBNET, "a", {"availabilityZone": "eu-west-1a"}, **wire)]

    assert [one.name for one in compare(tree("10.0.0.0/16"), tree("10.1.0.0/16")).resources] == ["vpc"]


def test_an_option_can_replace():
    def tree(tag):
        return [resource(VPC, "vpc", {"tags": {"generation": tag}}, replaceOnChanges=["tags.generation"])]

    (one,) = compare(tree("1"), tree("2")).resources

    assert (one.kind, one.because) == ("replaced", ("tags.generation",))


def test_a_moved_resource_is_the_same_by_its_alias():
    old = resource(VPC, "network", outputs={"arn": "arn:made-up-of-network"})
    user = resource(SUBNET, "a", {"vpcId": old["id"]}, dependencies=[old["urn"]])
    new = resource(VPC, "vpc", outputs={"arn": "arn:made-up-of-vpc"}, aliases=[{"name": "network"}])
    moved = resource(SUBNET, "a", {"vpcId": new["id"]}, dependencies=[new["urn"]])

    found = compare([old, user], [new, moved])

    (one,) = found.resources
    assert (one.kind, one.name, one.moved_from) == ("changed", "vpc", old["urn"])
    assert one.changes == (), "what follows from the new name alone is no change"
    assert "by its alias" in text(found)


def test_children_of_a_moved_component_move_with_it():
    def tree(name, **other):
        parent = resource("own:index:Net", name, custom=False, **other)
        return [parent, resource(VPC, f"{name}-vpc", {"cidrBlock": "10.0.0.0/16"}, parent=parent["urn"])]

    found = compare(tree("old"), tree("new", aliases=[{"name": "old"}]))

    assert {one.name: (one.kind, one.moved_from) for one in found.resources} == {
        "new": ("changed", urn("own:index:Net", "old")),
        "new-vpc": ("changed", urn(VPC, "old-vpc", urn("own:index:Net", "old"))),
    }


@pytest.mark.parametrize(
    "alias", [urn(VPC, "vpc"), {"noParent": True}, {"parentUrn": ""}, {"type": VPC, "noParent": True, "name": "vpc"}]
)
def test_a_resource_that_moved_into_a_component_is_found(alias):
    parent = resource("own:index:Net", "net", custom=False)
    child = resource(VPC, "vpc", parent=parent["urn"], aliases=[alias or {"noParent": True}])
    if alias == {"parentUrn": ""}:
        child["aliases"] = [{"noParent": True}]

    found = compare([parent, resource(VPC, "vpc")], [parent, child])

    assert [(one.kind, one.name) for one in found.resources] == [("changed", "vpc")]


def test_an_alias_of_something_that_is_still_there_moves_nothing():
    found = compare([resource(VPC, "a")], [resource(VPC, "a"), resource(VPC, "b", aliases=[{"name": "a"}])])

    assert told(found) == {"b": ("created", [])}


def test_a_made_up_value_is_shown_as_what_it_stands_for():
    vpcs = [resource(VPC, "one"), resource(VPC, "two")]

    found = compare(
        [*vpcs, resource(SUBNET, "a", {"mapPublic": f"at {vpcs[0]['id']}"})],
        [*vpcs, resource(SUBNET, "a", {"mapPublic": f"at {vpcs[1]['id']}"})],
    )

    assert told(found)["a"] == ("changed", [("mapPublic", "at {one.id}", "at {two.id}")])


def test_what_a_component_was_given_is_shown_as_it_is():
    component = resource("own:index:Cluster", "cluster", outputs={"name": "main-2027"}, custom=False, id="")

    found = compare(
        [component, resource(VPC, "a", {"tag": "b"})], [component, resource(VPC, "a", {"tag": "main-2027"})]
    )

    assert told(found)["a"] == ("changed", [("tag", "b", "main-2027")])


def test_a_word_that_stands_in_an_output_too_is_shown_as_it_is():
    cluster = resource(VPC, "cluster", outputs={"arguments": ["--output"]})

    found = compare([cluster, resource(VPC, "a", {"run": "x"})], [cluster, resource(VPC, "a", {"run": "x --output y"})])

    assert told(found)["a"] == ("changed", [("run", "x", "x --output y")])


def test_the_folder_of_the_program_is_no_difference():
    before = recording(resource(VPC, "vpc", {"path": "/tmp/other/policy.json"}), directory="/tmp/other")  # noqa: S108
    after = recording(resource(VPC, "vpc", {"path": "/here/policy.json"}))

    assert stack_diff(before, after).same


def test_a_secret_never_shows():
    def tree(value):
        return [
            resource(VPC, "vpc", {"token": {**SECRET, "value": value}, "deep": [{"x": {**SECRET, "value": value}}]})
        ]

    found = compare(tree("hunter2-before"), tree("hunter2-after"))
    shown = text(found) + json.dumps(differences.document(_diff(found)))

    assert "[secret]" in shown
    assert "hunter2" not in shown


def _diff(found):
    commit = SimpleNamespace(name="main", id="0" * 40)
    return Diff(project="own", commit=commit, stacks=(found,), only_here=(), only_there=(), found=(), gone=())


def test_outputs_of_the_stack_are_compared():
    found = stack_diff(recording(outputs={"url": "http://a"}), recording(outputs={"url": "http://b"}))

    assert [(one.path, one.before, one.after) for one in found.outputs] == [("url", "http://a", "http://b")]


def rights(found):
    return {one.holder: ([str(r) for r in one.gained], [str(r) for r in one.lost]) for one in found.rights}


def test_a_right_is_gained_by_the_role_that_has_the_policy():
    found = compare(wired("s3:GetObject"), wired("s3:GetObject", "s3:PutObject"))

    assert rights(found) == {"role app": (["may s3:PutObject on everything"], [])}
    assert "policy" not in text(found).partition("IAM")[2], "what the rights say is not said a second time"


def test_a_right_that_moves_between_two_policies_of_a_role_is_no_change_of_rights():
    role, first, attached = wired("s3:GetObject", "s3:PutObject")
    second = resource(POLICY, "second", {"policy": policy("s3:PutObject")}, {"arn": "arn:made-up-of-second"})
    also = resource(ATTACHMENT, "second", {"role": "name-of-app", "policyArn": "arn:made-up-of-second"})
    narrower = resource(POLICY, "app", {"policy": policy("s3:GetObject")}, {"arn": first["outputs"]["arn"]})

    found = compare([role, first, attached], [role, narrower, attached, second, also])

    assert found.rights == ()
    assert "written differently, with the same rights" in text(found)


def test_a_managed_policy_comes_and_goes_by_its_name():
    role = wired()[0]
    attached = resource(ATTACHMENT, "m", {"role": "name-of-app", "policyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess"})

    (come,) = compare([role], [role, attached]).rights
    (gone,) = compare([role, attached], [role]).rights

    assert (come.attached, come.detached) == (("ReadOnlyAccess",), ())
    assert (gone.attached, gone.detached) == ((), ("ReadOnlyAccess",))


def test_a_policy_that_no_role_has_speaks_for_itself():
    before = [resource(POLICY, "free", {"policy": policy("s3:GetObject")})]
    after = [resource(POLICY, "free", {"policy": policy("s3:*")})]

    assert rights(compare(before, after)) == {"policy free": (["may s3:* on everything"], [])}, (
        "what the wider one covers is not lost"
    )


def test_another_way_of_writing_a_policy_is_no_change():
    parsed = json.loads(policy("s3:GetObject", "s3:PutObject"))
    parsed["Statement"] = {**parsed["Statement"][0], "Action": ["s3:PutObject", "s3:GetObject"]}
    before = [resource(POLICY, "p", {"policy": policy("s3:GetObject", "s3:PutObject")})]

    assert compare(before, [resource(POLICY, "p", {"policy": json.dumps(parsed, indent=4)})]).same


def test_another_sid_is_an_update_without_a_right():
    found = compare(
        [resource(POLICY, "p", {"policy": policy("s3:GetObject")})],
        [resource(POLICY, "p", {"policy": policy("s3:GetObject", sid="Other")})],
    )

    assert found.rights == ()
    assert "policy: written differently, with the same rights" in text(found)


def test_many_rights_are_counted_in_text_and_complete_in_json():
    actions = [f"ec2:Action{number:02}" for number in range(40)]
    found = compare(wired(), wired(*actions))

    shown = differences.document(_diff(found))["stacks"][0]["rights"][0]["gained"]

    assert "and 28 more on everything" in text(found)
    assert [right["action"] for right in shown] == actions


def test_markdown_cannot_be_broken_out_of():
    evil = "```\n</details> @everyone <script>"
    found = compare([resource(VPC, "vpc", {"a": "x"})], [resource(VPC, "vpc", {"a": evil})])

    shown = differences.render(_diff(found), "markdown")

    assert shown.count("```") == 2, "the fence ends where we end it"
    assert next(line for line in shown.splitlines() if "everyone" in line).startswith("    a: ")
