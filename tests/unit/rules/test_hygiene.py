"""What goes wrong in any Pulumi program: each rule fires for one small change to a good stack, and no other does."""

from __future__ import annotations

import dataclasses

import pytest

from preflight.rules import RULES
from tests.unit.rules.conftest import Change, Recorded

INGRESS = "Ingress demo-ingress"
SERVICE = "Service demo-service"
DEPLOYMENT = "Deployment demo-deployment"
CONTROLLER = "Release ingress-aws-load-balancer-controller"
PROVIDER = "kubernetes cluster-kubernetes"
NODES = "NodeGroup cluster-system"
GROUP = "SecurityGroup cluster-nodes"
ROLE = "Role cluster-node"
CONTAINER = ("spec", "template", "spec", "containers", 0)


def doubled(stack: Recorded) -> None:
    stack.add("kubernetes:core/v1:Service", "second", stack[SERVICE].get(), like=SERVICE)


def look_up(stack: Recorded) -> None:
    token = "aws:index/getAvailabilityZones:getAvailabilityZones"  # noqa: S105 - a function's name
    stack.update["invokes"].append({"token": token, "args": {}, "answer": {}, "origin": "table"})


def only_in_update(stack: Recorded) -> None:
    stack.preview["resources"].remove(
        next(one for one in stack.preview["resources"] if one["urn"] == stack[SERVICE].raw["urn"])
    )


MUTANTS: dict[str, Change] = {
    "kubernetes-default-provider": lambda stack: stack["Namespace demo-namespace"].option(provider=""),
    "aws-default-provider": lambda stack: stack["LogGroup cluster-control-plane"].option(provider=""),
    "provider-identity": lambda stack: stack[PROVIDER].unset("clusterIdentifier"),
    "output-as-text": lambda stack: stack[DEPLOYMENT].set(
        *CONTAINER, "env", to=[{"name": "ROLE", "value": "Calling __str__ on an Output[T] is not supported."}]
    ),
    "secret-in-plain": lambda stack: stack[DEPLOYMENT].set(
        *CONTAINER, "env", to=[{"name": "KEY", "value": "AKIAIOSFODNN7EXAMPLE"}]
    ),
    "ignore-changes-spelling": lambda stack: stack[NODES].option(
        ignoreChanges=["scalingConfig.desiredSize", "launch_template.version"]
    ),
    "born-in-apply": only_in_update,
    "aws-look-up": look_up,
    "inline-and-separate": lambda stack: stack[GROUP].set("ingress", to=[{"protocol": "-1", "self": True}]),
    "name-too-long": lambda stack: stack[ROLE].raw["inputs"].update(name="n" * 65),
    "name-twice": doubled,
    "release-unpinned": lambda stack: stack[CONTROLLER].unset("version"),
    "release-unnamed": lambda stack: stack["Release ingress-cert-manager"].unset("name"),
}


@pytest.mark.parametrize("rule", MUTANTS)
def test_a_small_change_makes_exactly_this_rule_fire(rule, dev, new_findings):
    found = new_findings(dev, MUTANTS[rule])
    assert {one.rule for one in found} == {rule}, found
    assert {one.severity for one in found} == {RULES[rule].severity}, "the finding has the rule's severity"
    assert all(one.message.endswith(".") and one.fix.endswith(".") for one in found), "both are sentences"


@pytest.mark.parametrize(
    ("inputs", "logical", "said"),
    [
        ({"name": "n" * 64}, "role", None),
        ({"name": "n" * 65}, "role", "is 65 characters long; allowed: 64"),
        ({}, "n" * 56, None),
        ({}, "n" * 57, "gets 8 more, so it is 65"),
        ({"namePrefix": "n" * 38}, "role", None),
        ({"namePrefix": "n" * 39}, "role", "gets 26 more, so it is 65"),
    ],
)
def test_a_name_counts_with_what_is_added_to_it(dev, inputs, logical, said):
    dev.add("aws:iam/role:Role", logical, inputs, like=ROLE)
    found = dev.of("name-too-long")
    assert [said in one.message for one in found] == ([True] if said else [])


def test_a_credential_that_is_marked_as_secret_is_no_finding(dev):
    secret = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "value": "AKIAIOSFODNN7EXAMPLE"}
    dev[DEPLOYMENT].set(*CONTAINER, "env", to=[{"name": "KEY", "value": secret}])
    assert dev.of("secret-in-plain") == []


def test_the_id_of_a_key_that_the_program_makes_is_no_secret(dev):
    dev.add("aws:iam/accessKey:AccessKey", "key", {"user": "ci"}, like=ROLE, id="AKIAIOSFODNN7EXAMPLE")
    MUTANTS["secret-in-plain"](dev)
    assert dev.of("secret-in-plain") == []


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("-----BEGIN RSA PRIVATE KEY-----\nMII", "a private key"),
        ("placeholder-for-secret-app:password", "a secret setting of the stack"),
        ("ghp_" + "a" * 36, "a GitHub token"),
    ],
)
def test_the_kind_of_a_credential_is_named_and_the_credential_is_not(dev, value, kind):
    dev[DEPLOYMENT].set(*CONTAINER, "env", to=[{"name": "KEY", "value": value}])
    (finding,) = dev.of("secret-in-plain")
    assert kind in finding.message
    assert value not in finding.message


def test_an_output_may_hide_in_a_key(dev):
    dev[ROLE].set("tags", to={"Calling __str__ on an Output[T] is not supported": "x"})
    assert [one.resource for one in dev.of("output-as-text")] == [dev[ROLE].raw["urn"]]


def test_a_path_that_is_not_in_the_inputs_is_left_as_it_is(dev):
    dev[NODES].option(ignoreChanges=["tags.team_name", "scalingConfig.desiredSize"])
    assert dev.of("ignore-changes-spelling") == []


def test_the_spelling_that_works_is_in_the_fix(dev):
    dev[NODES].option(ignoreChanges=["scaling_config.desired_size"])
    (finding,) = dev.of("ignore-changes-spelling")
    assert finding.fix == 'Write ignore_changes=["scalingConfig.desiredSize"].'


def test_what_only_a_preview_has_is_found_too(dev):
    dev.update["resources"].remove(dev[SERVICE].raw)
    (finding,) = dev.of("born-in-apply")
    assert finding.message == "Service demo-service is in the preview and not made in an update."


def test_without_a_preview_nothing_is_compared(dev):
    stack = dataclasses.replace(dev.stack(), preview=None)
    assert RULES["born-in-apply"].findings(stack) == []


@pytest.mark.parametrize(
    ("token", "call"),
    [
        ("aws:ec2/getAmi:getAmi", "aws.ec2.get_ami"),
        ("aws:index/getCallerIdentity:getCallerIdentity", "aws.get_caller_identity"),
        ("aws:iam/getPolicyDocument:getPolicyDocument", None),
        ("aws:ec2/getManagedPrefixList:getManagedPrefixList", None),
        ("tls:index/getCertificate:getCertificate", None),
    ],
)
def test_only_what_asks_aws_is_a_look_up(dev, token, call):
    dev.update["invokes"] = [{"token": token, "args": {}, "answer": {}, "origin": "table"}]
    assert [call in one.message for one in dev.of("aws-look-up")] == ([True] if call else [])


def test_routes_inside_a_table_fight_with_routes_beside_it(dev):
    routes = [{"cidrBlock": "10.1.0.0/16", "gatewayId": "igw-1"}]
    dev["RouteTable network-public"].set("routes", to=routes)
    (finding,) = dev.of("inline-and-separate")
    assert "network-public-default add more to it" in finding.message


def test_outgoing_rules_inside_do_not_fight_with_incoming_ones_beside(dev):
    dev.remove("SecurityGroupEgressRule cluster-nodes-out")
    dev[GROUP].set("egress", to=[{"protocol": "-1"}])
    assert dev.of("inline-and-separate") == []


def test_one_name_in_two_namespaces_or_kinds_is_two_things(dev):
    doubled(dev)
    dev["Service second"].set("metadata", "namespace", to="other")
    assert dev.of("name-twice") == []


def test_a_role_is_bound_to_an_account_once(dev):
    key = "PodIdentityAssociation cluster-vpc-cni-association"
    dev.add(dev[key].raw["type"], "again", dev[key].raw["inputs"], like=key)
    (finding,) = dev.of("name-twice")
    assert "eks-foundation-dev/kube-system/aws-node" in finding.message


def test_a_component_needs_the_provider_for_what_is_inside(dev):
    dev["Cluster cluster-eks"].option(providers={})
    (finding,) = dev.of("aws-default-provider")
    assert finding.message.endswith("cluster-eks.")


def test_a_program_that_never_names_a_provider_means_the_default_one(dev):
    for raw in dev.update["resources"]:
        raw["provider"], raw["providers"] = "", {}
    assert dev.of("aws-default-provider") == []


@pytest.mark.parametrize("chart", ["./charts/web", "/charts/web", "web-1.0.0.tgz"])
def test_a_chart_on_disk_has_its_version_in_itself(dev, chart):
    dev[CONTROLLER].unset("version").set("chart", to=chart)
    assert dev.of("release-unpinned") == []


def test_a_chart_that_the_program_renders_needs_a_version_too(dev):
    options = '{"chart": "web", "release_name": "shop"}'
    call = {"token": "kubernetes:helm:template", "args": {"jsonOpts": options}, "answer": {}, "origin": "table"}
    dev.update["invokes"].append(call)
    (finding,) = dev.of("release-unpinned")
    assert finding.message == "Chart shop renders web in no version of its own."
