"""Whom pods become by Kiam: by annotation, namespace and chain of roles; and whom while it is not there."""

from __future__ import annotations

import json
from functools import cache

import pytest

from preflight import cli, program
from preflight.graph import Graph
from preflight.identities import Way, explain
from preflight.kiam import alternatives, installations, permits, seconds
from tests.unit.rules.conftest import ROOT, Change, Recorded

PROGRAM = ROOT / "tests" / "fixtures" / "programs" / "kiam"
BASE = "arn:aws:iam::111122223333:role/"
WANTED = f"{BASE}KiamTesterRole"
TESTER, SHOP, RELEASE = "Deployment tester", "Namespace shop", "Release kiam"
ANNOTATION = ("spec", "template", "metadata", "annotations", "iam.amazonaws.com/role")
PERMITTED = ("metadata", "annotations", "iam.amazonaws.com/permitted")


@cache
def _recorded() -> Recorded:
    preview, update = program.record(PROGRAM, ["good"])
    assert update["error"] is None, update["error"]
    return Recorded(preview, update)


@pytest.fixture
def good() -> Recorded:
    """A copy of the program, recorded once."""
    return _recorded().copy()


def ways(stack: Recorded, namespace: str = "shop", account: str = "default") -> dict[str, Way]:
    """Find the ways of one account by their mechanism; no two have the same here."""
    (identity,) = explain(Graph.of(stack.update), namespace, account)
    assert len({way.mechanism for way in identity.ways}) == len(identity.ways)
    return {way.mechanism: way for way in identity.ways}


def kiam(stack: Recorded) -> Way:
    found = ways(stack)
    assert "Kiam" in found, f"there is a way by Kiam beside {list(found)}"
    return found["Kiam"]


def trust(role: str, old: str, new: str) -> Change:
    def changed(stack: Recorded) -> None:
        document = stack[role].get("assumeRolePolicy")
        assert old in document
        stack[role].set("assumeRolePolicy", to=document.replace(old, new))

    return changed


def policy(name: str, *statements: dict[str, object]) -> Change:
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    return lambda stack: stack[name].set("policy", to=document)


def test_a_pod_gets_the_role_of_its_annotation_where_namespace_and_roles_admit_it(good):
    way = kiam(good)
    assert way.decision.admitted, way.decision.reason
    assert way.role_arn == WANTED
    assert way.wire.name == "tester", "what wires it is the workload with the annotation"
    assert [one.name for one in way.policies] == ["AmazonS3ReadOnlyAccess"]


@pytest.mark.parametrize("written", ["KiamTesterRole", "/KiamTesterRole", WANTED])
def test_a_role_is_a_name_a_path_or_an_arn(written, good):
    good[TESTER].set(*ANNOTATION, to=written)
    assert kiam(good).role_arn == WANTED


def test_without_a_base_the_account_is_that_of_the_server(good):
    good[RELEASE].unset("values", "server", "roleBaseArn")
    assert kiam(good).decision.admitted, "the server asks the metadata service of its node for it"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda stack: stack[TESTER].unset(*ANNOTATION), "have no annotation iam.amazonaws.com/role"),
        (lambda stack: stack[SHOP].unset(*PERMITTED), "has no annotation iam.amazonaws.com/permitted"),
        (lambda stack: stack[TESTER].set("metadata", "namespace", to="kiam"), "namespace kiam has no annotation"),
        (lambda stack: stack[SHOP].set(*PERMITTED, to=f"({BASE}another)"), f"does not match {WANTED}"),
        (
            lambda stack: stack[SHOP].set(*PERMITTED, to="KiamTesterRole"),
            "^KiamTesterRole$ of namespace shop does not",
        ),
        (lambda stack: stack[SHOP].set(*PERMITTED, to="("), "is no expression"),
        (trust("Role KiamTesterRole", "role/kiam-server", "role/other"), "KiamTesterRole does not admit Kiam's server"),
        (trust("Role kiam-server", "role/guard", "role/worker"), "kiam-server does not admit the role guard"),
        (
            policy("RolePolicy server-becomes-tester", {"Effect": "Deny", "Action": "sts:*", "Resource": "*"}),
            "Kiam's server may not assume KiamTesterRole",
        ),
        (
            lambda stack: stack[TESTER].set("spec", "template", "spec", "hostNetwork", to=True),
            "shares the network of its node",
        ),
        (lambda stack: stack[RELEASE].set("values", "agent", "host", "iptables", to=False), "adds no iptables rule"),
        (lambda stack: stack[RELEASE].set("values", "agent", "host", "interface", to="cali+"), "comes in by cali+"),
        (lambda stack: stack[RELEASE].set("values", "server", "enabled", to=False), "no Kiam server"),
        (lambda stack: stack[RELEASE].unset("values", "server", "assumeRoleArn"), "ends without --assume-role-arn"),
        (lambda stack: stack["NodeGroup servers"].unset("labels"), "no node group takes the pods of Kiam's server"),
    ],
)
def test_a_pod_is_refused_with_the_reason(change, reason, good):
    change(good)
    found = ways(good, good[TESTER].get("metadata", "namespace"))["Kiam"]
    assert not found.decision.admitted
    assert not found.decision.undecided, found.decision.reason
    assert reason in found.decision.reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda stack: stack.remove(SHOP), "does not make namespace shop"),
        (lambda stack: stack.remove("Role KiamTesterRole"), f"does not make {WANTED}"),
        (lambda stack: stack.remove("Role kiam-server"), f"does not make the server's role {BASE}kiam-server"),
    ],
)
def test_what_the_program_does_not_make_is_undecided(change, reason, good):
    change(good)
    found = kiam(good).decision
    assert found.undecided, found.reason
    assert reason in found.reason


def test_a_pod_without_annotation_where_nothing_is_permitted_hears_nothing_of_kiam(good):
    good[TESTER].unset(*ANNOTATION).set("metadata", "namespace", to="kiam")
    assert "Kiam" not in ways(good, "kiam")


def test_an_external_id_is_passed_on(good):
    document = json.loads(good["Role KiamTesterRole"].get("assumeRolePolicy"))
    document["Statement"][0]["Condition"] = {"StringEquals": {"sts:ExternalId": "shop"}}
    good["Role KiamTesterRole"].set("assumeRolePolicy", to=json.dumps(document))
    assert not kiam(good).decision.admitted, "the trust asks for it and the pod has none"
    good[TESTER].set(*ANNOTATION[:-1], "iam.amazonaws.com/external-id", to="shop")
    assert kiam(good).decision.admitted


def test_a_role_that_leaves_the_choice_to_the_account_wants_the_servers_own_policy(good):
    trust("Role KiamTesterRole", f"{BASE}kiam-server", "arn:aws:iam::111122223333:root")(good)
    assert kiam(good).decision.admitted
    good.remove("RolePolicy server-becomes-tester")
    assert "may not assume KiamTesterRole" in kiam(good).decision.reason


def test_the_role_of_the_node_is_reached_only_while_there_is_no_agent(good):
    assert "node role" not in ways(good), "one hop and a token keep pods off it"
    good["LaunchTemplate workers"].set("metadataOptions", "httpPutResponseHopLimit", to=2)
    way = ways(good)["node role"]
    assert (way.role_arn, way.decision.undecided) == (f"{BASE}worker", True)
    assert "only while no Kiam agent has run on the node" in way.decision.reason


def test_the_role_of_the_node_is_what_pods_get_where_the_agent_catches_nothing(good):
    good["LaunchTemplate workers"].set("metadataOptions", "httpPutResponseHopLimit", to=2)
    good[RELEASE].set("values", "agent", "host", "iptables", to=False)
    assert ways(good)["node role"].decision.admitted


def test_pods_do_not_get_the_role_of_nodes_that_do_not_take_them(good):
    good["LaunchTemplate servers"].set("metadataOptions", "httpPutResponseHopLimit", to=2)
    assert "node role" not in ways(good), "the nodes of the server are tainted"
    good["NodeGroup servers"].unset("taints")
    assert ways(good)["node role"].role_arn == f"{BASE}guard"


def test_the_role_of_an_account_comes_before_that_of_kiam(good):
    inputs = {"clusterName": "main", "namespace": "shop", "serviceAccount": "default", "roleArn": WANTED}
    good.add("aws:eks/podIdentityAssociation:PodIdentityAssociation", "shop", inputs, like="Role guard")
    assert list(ways(good)) == ["Pod Identity", "Kiam"]


def test_preflight_access_shows_it(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["preflight", "-C", str(PROGRAM), "access", "shop/default", "good"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "KiamTesterRole by Kiam" in said
    assert f"namespace shop permits ^({WANTED})$" in said


@pytest.mark.parametrize(
    ("expression", "role", "permitted"),
    [
        (".*", f"{BASE}x", True),
        ("x", f"{BASE}x", False),
        (".*role/x", f"{BASE}x", True),
        (".*role/x", f"{BASE}xy", False),
        (f"{BASE}a|{BASE}b", f"{BASE}a", True),
        (f"{BASE}a|{BASE}b", f"{BASE}admin", True),  # the trap: only the beginning of the first half is held
        (f"({BASE}a|{BASE}b)", f"{BASE}admin", False),
    ],
)
def test_an_expression_is_held_at_the_ends_of_its_text(expression, role, permitted):
    assert permits(expression, role) is permitted


def test_without_strictness_an_expression_matches_anywhere():
    assert permits("app", f"{BASE}other-app-admin", strict=False)


@pytest.mark.parametrize("expression", ["(", "[", "(?!admin).*", "(?<=a)b", r"(a)\1", "(?>a)", "a++"])
def test_what_go_does_not_take_is_no_expression(expression):
    with pytest.raises(ValueError, match=r"\w"):
        permits(expression, f"{BASE}x")


@pytest.mark.parametrize(
    ("expression", "halves"),
    [
        ("a|b", ["a", "b"]),
        ("(a|b)", ["(a|b)"]),
        ("[a|b]", ["[a|b]"]),
        (r"a\|b", [r"a\|b"]),
        ("(a|b)|c", ["(a|b)", "c"]),
    ],
)
def test_alternatives_are_what_stands_outside_groups(expression, halves):
    assert alternatives(expression) == halves


@pytest.mark.parametrize(("said", "length"), [("15m", 900), ("1h", 3600), ("1h30m", 5400), ("90s", 90), ("15", None)])
def test_durations_are_those_of_go(said, length):
    assert seconds(said) == length


def test_the_image_tells_kiam_where_there_is_no_chart(good):
    good[RELEASE].set("chart", to="something-else")
    assert installations(Graph.of(good.update)) == []


def test_calico_has_interfaces_of_its_own(good):
    good[RELEASE].set("values", "agent", "host", "interface", to="cali+")
    good.add("kubernetes:helm.sh/v3:Release", "calico", {"chart": "tigera-operator"}, like=SHOP)
    assert kiam(good).decision.admitted


@pytest.mark.parametrize("chart", ["kiam", "./charts/kiam", "oci://registry.example.com/kiam", "charts/kiam-6.1.2.tgz"])
def test_the_chart_is_known_wherever_it_comes_from(chart, good):
    good[RELEASE].set("chart", to=chart)
    assert len(installations(Graph.of(good.update))) == 1
