"""Kiam: each rule fires for one small change to a program that has it as it has to be, and for a guide's mistakes."""

from __future__ import annotations

import copy
import json
from functools import cache

import pytest

from preflight import program
from preflight.rules import RULES
from tests.unit.rules.conftest import ROOT, Change, Recorded

PROGRAM = ROOT / "tests" / "fixtures" / "programs" / "kiam"
RELEASE = "Release kiam"
TESTER = "Deployment tester"
SHOP = "Namespace shop"
SERVER = "Role kiam-server"
GUARD = "Role guard"
ROLE = "Role KiamTesterRole"
BASE = "arn:aws:iam::111122223333:role/"
WANTED = f"{BASE}KiamTesterRole"
POD = ("spec", "template", "metadata", "annotations")
PERMITTED = ("metadata", "annotations", "iam.amazonaws.com/permitted")
ANNOTATION = "iam.amazonaws.com/role"


@cache
def _recorded(stack: str) -> Recorded:
    preview, update = program.record(PROGRAM, [stack])
    assert update["error"] is None, update["error"]
    return Recorded(preview, update)


@pytest.fixture
def good() -> Recorded:
    """A copy of the program that satisfies every rule of Kiam but the notice that it is abandoned."""
    return _recorded("good").copy()


@pytest.fixture
def guide() -> Recorded:
    """A copy of what a guide of 2019 installs."""
    return _recorded("guide").copy()


def values(*path: str, to: object) -> Change:
    return lambda stack: stack[RELEASE].set("values", *path, to=to)


def default(*path: str) -> Change:
    """Leave a value to the chart."""
    return lambda stack: stack[RELEASE].unset("values", *path)


def trust(role: str, old: str, new: str) -> Change:
    def changed(stack: Recorded) -> None:
        document = stack[role].get("assumeRolePolicy")
        assert old in document
        stack[role].set("assumeRolePolicy", to=document.replace(old, new))

    return changed


def permit(expression: str) -> Change:
    return lambda stack: stack[SHOP].set(*PERMITTED, to=expression)


def both(*changes: Change) -> Change:
    def changed(stack: Recorded) -> None:
        for change in changes:
            change(stack)

    return changed


def server_policy(resource: str) -> Change:
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": resource}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    return lambda stack: stack["RolePolicy server-becomes-tester"].set("policy", to=document)


def move_annotation(stack: Recorded) -> None:
    stack[TESTER].unset(*POD, ANNOTATION).set("metadata", "annotations", ANNOTATION, to="KiamTesterRole")


def fargate(stack: Recorded) -> None:
    inputs = {"clusterName": "main", "selectors": [{"namespace": "shop"}]}
    stack.add("aws:eks/fargateProfile:FargateProfile", "shop", inputs, like="NodeGroup workers")


def enforce(namespace: str) -> Change:
    return lambda stack: stack[namespace].set("metadata", "labels", "pod-security.kubernetes.io/enforce", to="baseline")


def enforced_and_patched(stack: Recorded) -> None:
    enforce("Namespace kiam")(stack)
    metadata = {"name": "kiam", "annotations": {"iam.amazonaws.com/permitted": f"({WANTED})"}}
    stack.add("kubernetes:core/v1:NamespacePatch", "permitted", {"metadata": metadata}, like="Namespace kiam")


def second_identity(stack: Recorded) -> None:
    inputs = {"clusterName": "main", "namespace": "shop", "serviceAccount": "default", "roleArn": f"{BASE}worker"}
    stack.add("aws:eks/podIdentityAssociation:PodIdentityAssociation", "shop", inputs, like=SERVER)


def cert_manager(version: str = "v1", **spec: object) -> Change:
    """Let cert-manager write both Secrets in place of the program."""

    def changed(stack: Recorded) -> None:
        for part in ("server", "agent"):
            metadata = {"name": part, "namespace": "kiam"}
            asked = {"secretName": f"kiam-{part}-tls", "issuerRef": {"name": "kiam"}, "usages": ["client auth"]}
            if part == "server":
                names = {"dnsNames": ["kiam-server"], "ipAddresses": ["127.0.0.1"]}
                asked |= {**names, "usages": ["server auth", "client auth"], **spec}
            like = f"Secret kiam-{part}-tls"
            urn = stack.add(
                f"kubernetes:cert-manager.io/{version}:Certificate",
                f"{part}-certificate",
                {"metadata": metadata, "spec": asked},
                like=like,
            ).raw["urn"]
            stack[RELEASE].raw["dependencies"].append(urn)
            stack.remove(like)
            files = {"certFileName": "tls.crt", "keyFileName": "tls.key", "caFileName": "ca.crt"}
            stack[RELEASE].set("values", part, "tlsCerts", to=files)

    return changed


def another_authority(stack: Recorded) -> None:
    stack["Secret kiam-agent-tls"].set(
        "stringData", "value", "ca.pem", to=stack["LocallySignedCert agent"].get("certPem")
    )


def as_objects(stack: Recorded) -> None:
    """Say the same in objects by hand: the pods that the chart would make."""
    from preflight.graph import Graph
    from preflight.kiam import installations

    (kiam,) = installations(Graph.of(stack.update))
    for part in kiam.parts:
        template = {"spec": {**copy.deepcopy(dict(part.pod)), "serviceAccountName": part.account}}
        metadata = {"name": f"kiam-{part.kind}", "namespace": part.namespace}
        spec = {"template": template, "updateStrategy": {"type": part.update_strategy}}
        stack.add(
            "kubernetes:apps/v1:DaemonSet", f"kiam-{part.kind}", {"metadata": metadata, "spec": spec}, like=RELEASE
        )
    stack.remove(RELEASE)


# The rule, a change that makes it fire, and the rules that have the same cause to speak.
MUTANTS: dict[str, tuple[Change, set[str]]] = {
    "kiam-abandoned": (as_objects, {"account-missing"}),
    "kiam-half": (values("agent", "enabled", to=False), set()),
    "kiam-chart-old": (lambda stack: stack[RELEASE].set("chart", to="stable/kiam"), set()),
    "kiam-image-tokens": (values("agent", "image", "tag", to="v3.5"), set()),
    "kiam-no-interception": (values("agent", "host", "iptables", to=False), set()),
    "kiam-agent-absent": (values("agent", "nodeSelector", to={"kiam/role": "agent"}), {"kiam-nowhere"}),
    "kiam-nowhere": (
        values("server", "nodeSelector", to={"kubernetes.io/role": "master"}),
        {"kiam-server-trust", "node-role-excess", "rights-before-use"},
    ),
    "kiam-host-network": (lambda stack: stack[TESTER].set("spec", "template", "spec", "hostNetwork", to=True), set()),
    "kiam-fargate": (fargate, set()),
    "kiam-ipv6": (lambda stack: stack["Cluster main"].set("kubernetesNetworkConfig", to={"ipFamily": "ipv6"}), set()),
    "kiam-agent-dns": (values("agent", "dnsPolicy", to="ClusterFirst"), set()),
    "kiam-assume-role": (default("server", "assumeRoleArn"), {"node-role-excess", "rights-before-use"}),
    "kiam-role-base": (
        values("server", "roleBaseArn", to=BASE.rstrip("/")),
        {"kiam-role-unknown", "kiam-permitted-refuses"},
    ),
    "kiam-server-trust": (trust(SERVER, "role/guard", "role/control-plane"), set()),
    "kiam-server-metadata": (values("server", "useHostNetwork", to=False), {"kiam-role-trust"}),
    "kiam-role-trust": (trust(ROLE, "role/kiam-server", "role/kiam"), set()),
    "kiam-role-unknown": (
        lambda stack: stack[TESTER].set(*POD, ANNOTATION, to="KiamTestRole"),
        {"kiam-permitted-refuses"},
    ),
    "kiam-own-policies": (lambda stack: stack.remove("RolePolicy guard-becomes-server"), set()),
    "kiam-server-unlimited": (server_policy("*"), set()),
    "kiam-shared-nodes": (lambda stack: stack["NodeGroup servers"].unset("taints"), {"kiam-agent-absent"}),
    "kiam-namespace-closed": (lambda stack: stack[SHOP].unset(*PERMITTED), set()),
    "kiam-permitted-refuses": (permit("KiamTesterRole"), set()),
    "kiam-permitted-invalid": (permit(f"({WANTED}"), set()),
    "kiam-permitted-halves": (permit(f"{WANTED}|{BASE}another"), set()),
    "kiam-permitted-everything": (permit(".*"), set()),
    "kiam-permitted-loose": (values("server", "disableStrictNamespaceRegexp", to=True), set()),
    "kiam-annotation-misplaced": (move_annotation, set()),
    "kiam-annotation-key": (
        lambda stack: stack[SHOP].set("metadata", "annotations", "iam.amazonaws.com/permited", to=".*"),
        set(),
    ),
    "kiam-second-identity": (
        second_identity,
        {"trust-refused", "irsa-subject", "pod-identity-agent", "pod-before-association", "cluster-before-parts"},
    ),
    "kiam-session-bounds": (values("server", "sessionDuration", to="2h"), set()),
    "kiam-session-short": (
        both(default("server", "sessionDuration"), values("server", "extraArgs", "session-refresh", to="5m")),
        set(),
    ),
    "kiam-environment": (values("server", "extraEnv", to={"TZ": "UTC"}), set()),
    "kiam-mount-twice": (
        values("server", "extraHostPathMounts", to=[{"name": "ssl-certs", "mountPath": "/a", "hostPath": "/b"}]),
        {"kiam-authorities-path"},
    ),
    "kiam-authorities-path": (default("server", "sslCertHostPath"), set()),
    "kiam-metrics-port": (
        both(
            default("server", "prometheus"),
            default("agent", "affinity"),
            values("agent", "tolerations", to=[{"operator": "Exists"}]),
        ),
        set(),
    ),
    "kiam-gateway-timeout": (default("agent", "gatewayTimeoutCreation"), set()),
    "kiam-update-strategy": (default("agent", "updateStrategy"), set()),
    "kiam-priority": (default("agent", "priorityClassName"), set()),
    "kiam-debug": (values("agent", "log", to={"level": "debug"}), set()),
    "kiam-routes-open": (values("agent", "allowRouteRegexp", to=".*"), set()),
    "kiam-psp": (values("psp", "create", to=True), set()),
    "kiam-pod-security": (enforce("Namespace kiam"), set()),
    "kiam-value-unread": (values("extraArgs", to={"base-role-arn": BASE}), set()),
    "kiam-secret-missing": (values("agent", "tlsSecret", to="kiam-tls"), set()),
    "kiam-secret-late": (lambda stack: stack[RELEASE].forgets("Secret kiam-agent-tls"), set()),
    "kiam-secret-files": (default("agent", "tlsCerts"), set()),
    "kiam-certificate-name": (lambda stack: stack["CertRequest server"].set("dnsNames", to=["kiam"]), set()),
    "kiam-certificate-usage": (
        lambda stack: stack["LocallySignedCert server"].set("allowedUses", to=["digital_signature", "server_auth"]),
        set(),
    ),
    "kiam-certificate-authority": (another_authority, set()),
    "kiam-certificate-renewal": (lambda stack: stack["LocallySignedCert agent"].unset("earlyRenewalHours"), set()),
    "kiam-certificate-api": (cert_manager("v1alpha2"), {"crd-before-object"}),
}


@pytest.mark.parametrize("rule", MUTANTS)
def test_a_small_change_makes_this_rule_fire(rule, good, new_findings):
    change, companions = MUTANTS[rule]
    found = new_findings(good, change)
    assert rule in {one.rule for one in found}
    assert {one.rule for one in found} <= {rule, *companions}, found
    mine = [one for one in found if one.rule == rule]
    assert {one.severity for one in mine} == {RULES[rule].severity}
    assert all(one.message.endswith(".") and one.fix.endswith((".", "?")) for one in mine), "both are sentences"


def of_kiam(stack: Recorded) -> set[str]:
    return {one.rule for one in stack.findings() if one.rule.startswith("kiam-")}


def test_kiam_as_it_has_to_be_has_one_finding_that_it_is_abandoned(good):
    assert of_kiam(good) == {"kiam-abandoned"}


def test_objects_by_hand_are_judged_like_the_chart(good):
    as_objects(good)
    assert of_kiam(good) == {"kiam-abandoned"}


def test_a_program_without_kiam_hears_nothing_of_it(dev):
    assert of_kiam(dev) == set()


def test_cert_manager_may_make_the_certificates(good):
    cert_manager()(good)
    assert of_kiam(good) == {"kiam-abandoned"}


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        ({"dnsNames": ["kiam"]}, "kiam-certificate-name"),
        ({"ipAddresses": []}, "kiam-certificate-name"),
        ({"usages": ["server auth"]}, "kiam-certificate-usage"),
        ({"issuerRef": {"name": "another"}}, "kiam-certificate-authority"),
    ],
)
def test_certificates_of_cert_manager_are_judged_like_those_of_the_provider(good, spec, rule):
    cert_manager(**spec)(good)
    assert of_kiam(good) == {"kiam-abandoned", rule}


def test_secrets_in_base64_are_read_too(good):
    import base64

    secret = good["Secret kiam-agent-tls"]
    texts = secret.get("stringData", "value")
    assert set(texts) == {"ca.pem", "agent.pem", "agent-key.pem"}
    plain = {name: one["value"] if isinstance(one, dict) else one for name, one in texts.items()}
    secret.unset("stringData").set(
        "data", to={name: base64.b64encode(one.encode()).decode() for name, one in plain.items()}
    )
    good["LocallySignedCert agent"].set("allowedUses", to=["server_auth"])
    assert of_kiam(good) == {"kiam-abandoned", "kiam-certificate-usage"}


def test_certificates_of_the_chart_expire(good, new_findings):
    found = new_findings(good, default("agent", "tlsSecret"))
    assert [one.rule for one in found] == ["kiam-certificate-renewal"]
    assert "365 days" in found[0].message


def test_files_in_values_have_the_names_that_the_chart_gives_them(good):
    good[RELEASE].unset("values", "agent", "tlsSecret").set("values", "agent", "tlsFiles", to={"ca": "Y2E="})
    assert "kiam-secret-files" in of_kiam(good)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (values("agent", "host", "interface", to="cali+"), "kiam-no-interception"),
        (default("agent", "host", "interface"), "kiam-no-interception"),
        (values("server", "sessionDuration", to="10m"), "kiam-session-bounds"),
        (values("server", "extraArgs", "session-refresh", to="30m"), "kiam-session-bounds"),
        (values("server", "sessionDuration", to="half an hour"), "kiam-session-bounds"),
        (values("server", "roleBaseArn", to=BASE.replace("arn:aws:", "arn:aws-cn:")), "kiam-role-base"),
        (values("server", "assumeRoleArn", to="kiam-server"), "kiam-assume-role"),
        (lambda stack: stack.remove("RolePolicy server-becomes-tester"), "kiam-own-policies"),
        (lambda stack: stack["NodeGroup servers"].set("nodeRoleArn", to=f"{BASE}worker"), "kiam-shared-nodes"),
        (lambda stack: stack[RELEASE].set("version", to="6.1.0"), "kiam-chart-old"),
        (enforced_and_patched, "kiam-pod-security"),
        (permit("(?!.*admin).*"), "kiam-permitted-invalid"),
        (lambda stack: stack[RELEASE].set("name", to="agents"), "kiam-certificate-name"),
        (values("server", "extraEnv", to=[{"name": "LEVEL", "value": 8}]), "kiam-environment"),
    ],
)
def test_the_same_rules_find_it_said_otherwise(change, rule, good):
    change(good)
    assert rule in of_kiam(good)


@pytest.mark.parametrize("interface", ["!eth0", "!ens5", "eni+"])
def test_interfaces_that_catch_the_pods_of_the_vpc_cni(interface, good):
    values("agent", "host", "interface", to=interface)(good)
    assert of_kiam(good) == {"kiam-abandoned"}


@pytest.mark.parametrize(
    "expression", [f"({WANTED}|{BASE}x)", f"{BASE}(KiamTesterRole|[a|b])", r".*role/KiamTester\w+"]
)
def test_expressions_that_permit_what_is_meant(expression, good):
    permit(expression)(good)
    assert of_kiam(good) == {"kiam-abandoned"}


def test_the_role_of_the_server_by_irsa_needs_no_nodes_of_its_own(good):
    issuer = good["Cluster main"].get("identities")[0]["oidcs"][0]["issuer"]
    host = issuer.removeprefix("https://")
    arn = f"arn:aws:iam::111122223333:oidc-provider/{host}"
    good.add(
        "aws:iam/openIdConnectProvider:OpenIdConnectProvider",
        "oidc",
        {"url": issuer, "clientIdLists": ["sts.amazonaws.com"]},
        like=SERVER,
        arn=arn,
    )
    subject = {f"{host}:sub": "system:serviceaccount:kiam:kiam-server", f"{host}:aud": "sts.amazonaws.com"}
    statement = {
        "Effect": "Allow",
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": {"Federated": arn},
        "Condition": {"StringEquals": subject},
    }
    good[GUARD].set("assumeRolePolicy", to=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    annotations = {"eks.amazonaws.com/role-arn": f"{BASE}guard"}
    values("serviceAccounts", "server", to={"annotations": annotations})(good)
    good["NodeGroup servers"].unset("taints").set("nodeRoleArn", to=f"{BASE}worker")
    good[RELEASE].unset("values", "agent", "affinity")
    assert of_kiam(good) == {"kiam-abandoned"}


def test_the_first_step_of_the_chain_is_no_excess_of_the_servers_nodes(good):
    excess = [one.message for one in good.findings() if one.rule == "node-role-excess"]
    assert not [one for one in excess if "guard-becomes-server" in one]
    good["RolePolicy guard-becomes-server"].set("role", to="worker")
    excess = [one.message for one in good.findings() if one.rule == "node-role-excess"]
    assert [one for one in excess if "guard-becomes-server" in one], "the nodes of others have no business with it"


# What a guide of 2019 leaves out or gets wrong, and the rule that names it.
MISTAKES = {
    "the repository and its chart are gone": "kiam-chart-old",
    "the server trusts the control plane and not the nodes": "kiam-server-trust",
    "the nodes have no policy to become the server": "kiam-own-policies",
    "the test role does not trust the server": "kiam-role-trust",
    "the server may assume every role": "kiam-server-unlimited",
    "all nodes share one role with the server": "kiam-shared-nodes",
    "the environment is a mapping": "kiam-environment",
    "the chart mounts ssl-certs itself": "kiam-mount-twice",
    "sessions stay at 15 minutes": "kiam-session-short",
    "debugging is left on": "kiam-debug",
    "no priority": "kiam-priority",
    "changes never reach pods": "kiam-update-strategy",
    "agent and server want one port for metrics": "kiam-metrics-port",
    "the agent gives up after a second": "kiam-gateway-timeout",
    "keys are made by hand": "kiam-secret-missing",
    "a namespace permits everything": "kiam-permitted-everything",
    "it is abandoned": "kiam-abandoned",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_guides_mistake_is_named(mistake, guide):
    assert MISTAKES[mistake] in of_kiam(guide)


def test_nothing_else_is_said_of_the_guide(guide):
    assert of_kiam(guide) == set(MISTAKES.values())


def test_the_control_plane_is_named_where_nodes_are_meant(guide):
    (finding,) = guide.of("kiam-server-trust")
    assert "role/control-plane, which no node has" in finding.message
    assert f"Name {BASE}worker as AWS principal" in finding.fix
