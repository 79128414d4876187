"""KiamAlternative alone, under plain mocks; and the stack kiam on its way out, commit by commit."""

import copy
import json
import re
import subprocess

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
import pytest
from ruamel.yaml import YAML

from components import (
    IdentitySettings,
    KiamAlternative,
    KiamAlternativeArgs,
    KiamSettings,
    KiamWorkloadSettings,
    NodeGroupSettings,
    OidcIrsa,
    OidcIrsaArgs,
    OidcSettings,
    TaintSettings,
)
from components.kiam_alternative import permitted_expression
from preflight.access import OidcProvider, WebIdentityToken, may_assume
from preflight.graph import Graph
from preflight.program import record
from tests.program import stacks
from tests.program.conftest import ISSUER
from tests.project import ROOT, linked, stack_values, write_stack

ARN = "arn:aws:iam::111122223333:role/"
SERVER_ROLE = f"{ARN}kiam-server"
TESTER_ROLE = f"{ARN}irsa-kiam-test.tester-role"
PROVIDER_ARN = f"arn:aws:iam::111122223333:oidc-provider/{ISSUER}"
LABEL = "example.com/kiam"
SERVERS = NodeGroupSettings(
    instance_types=("t3.small",),
    min_size=2,
    max_size=3,
    labels={"team": "platform", LABEL: "server"},
    taints=(TaintSettings(key=LABEL, value="server"),),
    own_role=True,
)
APPS = stacks.NODES.model_copy(update={"labels": {"team": "platform"}})
TESTER = KiamWorkloadSettings(
    identity=IdentitySettings(role_name="KiamTesterRole", path="/kiam/", create_namespace=True), tester=True
)


def workload(**changes):
    return {"kiam-test/tester": TESTER.model_copy(update=changes)}


def kiam(*, cert_manager=False, identities=None, apps=APPS, **settings):
    cluster = stacks.target()
    aws_child = pulumi.ResourceOptions(provider=cluster.aws_provider)
    cert_manager_release = kubernetes.helm.v3.Release(
        "cert-manager", chart="cert-manager", opts=pulumi.ResourceOptions(provider=cluster.kubernetes_provider)
    )
    irsa = OidcIrsa(
        "irsa",
        OidcIrsaArgs(
            settings=OidcSettings(thumbprint="omit"),
            issuer_url=f"https://{ISSUER}",
            cluster=cluster,
            identities=identities or {},
        ),
    )
    return KiamAlternative(
        "kiam",
        KiamAlternativeArgs(
            settings=KiamSettings(**{"workloads": workload(), **settings}),
            cluster=cluster,
            node_groups={"apps": apps, "kiam-server": SERVERS},
            server_node_role=aws.iam.Role("server-nodes", assume_role_policy="{}", opts=aws_child),
            identities=irsa,
            cert_manager_ready=[cert_manager_release] if cert_manager else [],
        ),
    )


def release(recording):
    return recording.one("Release", "kiam-kiam")


def values(recording):
    return release(recording).inputs["values"]


def trust(recording, role):
    return json.loads(recording.one("Role", role).inputs["assumeRolePolicy"])["Statement"]


def plain(value):
    """A value without the wrapping that says it is a secret."""
    return value["value"] if isinstance(value, dict) and set(value) >= {"value"} and len(value) == 2 else value


def certificates(recording):
    """By part, the request and the signed certificate."""
    return {
        part: (
            recording.one("CertRequest", f"kiam-{part}-request").inputs,
            recording.one("LocallySignedCert", f"kiam-{part}-certificate").inputs,
        )
        for part in ("server", "agent")
    }


# That it is used at all.


def test_it_warns_that_it_is_abandoned_and_names_what_to_use(run, monkeypatch):
    warned = []
    monkeypatch.setattr(pulumi.log, "warn", lambda message, resource=None: warned.append((message, resource)))
    run(kiam)
    ((message, resource),) = warned
    assert isinstance(resource, KiamAlternative)
    for word in ("abandoned", "IRSA", "Pod Identity", "docs/kiam.md", "Amazon Linux 2023"):
        assert word in message


# The chain of roles.


def test_the_server_role_trusts_the_role_of_the_servers_own_nodes_and_nobody_else(run):
    (statement,) = trust(run(kiam), "kiam-server")
    assert statement == {"Effect": "Allow", "Principal": {"AWS": f"{ARN}server-nodes"}, "Action": "sts:AssumeRole"}


def test_the_servers_nodes_may_take_the_server_role_and_no_other(run):
    policy = run(kiam).one("RolePolicy", "kiam-server-may-assume").inputs
    (statement,) = json.loads(policy["policy"])["Statement"]
    assert policy["role"] == "server-nodes"
    assert statement == {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": [SERVER_ROLE]}


@pytest.mark.parametrize(("assumable", "resource"), [("/kiam/", f"{ARN}kiam/*"), ("/Kiam", f"{ARN}Kiam*")])
def test_the_server_role_may_take_the_roles_of_one_path_or_prefix_only(run, assumable, resource):
    policy = run(lambda: kiam(assumable=assumable)).one("RolePolicy", "kiam-pods-may-assume").inputs
    (statement,) = json.loads(policy["policy"])["Statement"]
    assert policy["role"] == "kiam-server"
    assert statement == {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": [resource]}


def test_a_workloads_role_has_its_own_name_and_path_and_trusts_the_server_role_alone(run):
    recording = run(kiam)
    role = recording.one("Role", "irsa-kiam-test.tester-role").inputs
    assert (role["name"], role["path"]) == ("KiamTesterRole", "/kiam/")
    (statement,) = trust(recording, "irsa-kiam-test.tester-role")
    assert statement == {"Effect": "Allow", "Principal": {"AWS": SERVER_ROLE}, "Action": "sts:AssumeRole"}


def test_servers_without_rights_of_their_nodes_get_theirs_by_irsa_and_stay_off_the_host(run):
    recording = run(lambda: kiam(server_credentials="irsa"))
    account = recording.one("ServiceAccount", "kiam-account-account").inputs["metadata"]
    base = f"{ARN}kiam-account-role"
    assert (account["namespace"], account["name"]) == ("kube-system", "kiam-server")
    assert account["annotations"] == {"eks.amazonaws.com/role-arn": base}
    assert trust(recording, "kiam-server")[0]["Principal"] == {"AWS": base}
    assert recording.one("RolePolicy", "kiam-server-may-assume").inputs["role"] == "kiam-account-role"
    told = values(recording)
    assert told["serviceAccounts"]["server"] == {"create": False, "name": "kiam-server"}
    assert told["server"]["useHostNetwork"] is False
    assert recording.reaches(release(recording), recording.one("ServiceAccount", "kiam-account-account"))


def test_servers_roll_when_the_role_of_their_account_changes(run):
    told = values(run(lambda: kiam(server_credentials="irsa")))["server"]
    assert len(told["podAnnotations"]["eks-foundation/role"]) == 16
    assert "podAnnotations" not in values(run(kiam))["server"]


def test_a_role_of_another_account_is_taken_by_its_whole_arn_with_the_external_id(run):
    far = "arn:aws:iam::444455556666:role/far"
    recording = run(
        lambda: kiam(
            workloads={"apps/far": KiamWorkloadSettings(role_arn=far, external_id="partner-1", tester=True)},
        )
    )
    (statement,) = json.loads(recording.one("RolePolicy", "kiam-pods-may-assume").inputs["policy"])["Statement"]
    assert statement["Resource"] == [f"{ARN}kiam/*", far]
    pod = recording.one("Deployment").inputs["spec"]["template"]["metadata"]["annotations"]
    assert pod == {"iam.amazonaws.com/role": far, "iam.amazonaws.com/external-id": "partner-1"}
    assert [each.name for each in recording.all("Role")] == ["server-nodes", "kiam-server"]


# Certificates.


def test_the_servers_certificate_names_the_service_that_agents_dial_and_the_address_of_its_probes(run):
    recording = run(kiam)
    request, _ = certificates(recording)["server"]
    assert request["dnsNames"] == [f"{release(recording).inputs['name']}-server", "localhost"]
    assert request["ipAddresses"] == [values(recording)["server"]["probes"]["serverAddress"]] == ["127.0.0.1"]


def test_the_servers_certificate_is_one_of_a_client_too_for_its_probes(run):
    usages = {part: set(signed["allowedUses"]) for part, (_, signed) in certificates(run(kiam)).items()}
    assert usages["server"] == {"digital_signature", "key_encipherment", "server_auth", "client_auth"}
    assert usages["agent"] == {"digital_signature", "key_encipherment", "client_auth"}


def test_both_certificates_are_signed_by_one_authority_that_is_one(run):
    recording = run(kiam)
    authority = recording.one("SelfSignedCert").inputs
    assert authority["isCaCertificate"] is True
    assert set(authority["allowedUses"]) == {"cert_signing", "crl_signing"}
    for part, (request, signed) in certificates(recording).items():
        assert signed["caCertPem"] == "certPem of kiam-ca"
        assert plain(signed["caPrivateKeyPem"]) == plain(authority["privateKeyPem"]) == "privateKeyPem of kiam-ca-key"
        assert signed["certRequestPem"] == f"certRequestPem of kiam-{part}-request"
        assert plain(request["privateKeyPem"]) == f"privateKeyPem of kiam-{part}-key"


def test_certificates_are_renewed_long_before_they_expire_and_the_authority_outlives_them(run):
    recording = run(kiam)
    authority = recording.one("SelfSignedCert").inputs
    for _, signed in certificates(recording).values():
        assert signed["validityPeriodHours"] == 365 * 24
        assert signed["earlyRenewalHours"] >= 30 * 24
        assert authority["earlyRenewalHours"] >= signed["validityPeriodHours"], "no leaf outlives its authority"
    assert authority["validityPeriodHours"] > authority["earlyRenewalHours"]


def test_no_key_is_passed_on_in_plain(run):
    recording = run(kiam)
    given = [each.inputs["privateKeyPem"] for kind in ("SelfSignedCert", "CertRequest") for each in recording.all(kind)]
    given += [each.inputs["caPrivateKeyPem"] for each in recording.all("LocallySignedCert")]
    given += [each.inputs["stringData"] for each in recording.all("Secret")]
    assert len(given) == 7
    assert [value for value in given if plain(value) is value] == [], "it would stand in the state for all to read"


@pytest.mark.parametrize("part", ["server", "agent"])
def test_a_secret_is_where_and_what_the_release_looks_for_and_is_there_before_it(run, part):
    recording = run(kiam)
    secret = recording.one("Secret", f"kiam-{part}-tls")
    told = values(recording)[part]
    metadata = secret.inputs["metadata"]
    assert (metadata["namespace"], metadata["name"]) == (release(recording).inputs["namespace"], told["tlsSecret"])
    files = {key: plain(value) for key, value in plain(secret.inputs["stringData"]).items()}
    assert files == {
        told["tlsCerts"]["certFileName"]: f"certPem of kiam-{part}-certificate",
        told["tlsCerts"]["keyFileName"]: f"privateKeyPem of kiam-{part}-key",
        told["tlsCerts"]["caFileName"]: "certPem of kiam-ca",
    }
    assert recording.reaches(release(recording), secret)


def by_cert_manager():
    return kiam(tls="cert-manager", cert_manager=True)


def objects(recording):
    """By kind and name, the objects of cert-manager."""
    return {
        (each.inputs["kind"], each.inputs["metadata"]["name"]): each
        for each in recording.resources
        if each.type.startswith("kubernetes:cert-manager.io/")
    }


def test_cert_manager_is_asked_for_the_same_names_addresses_and_usages(run):
    generated, made = certificates(run(kiam)), objects(run(by_cert_manager))
    for part, (request, signed) in generated.items():
        spec = made["Certificate", f"kiam-{part}-tls"].inputs["spec"]
        assert (spec["dnsNames"], spec["ipAddresses"]) == (request.get("dnsNames", []), request.get("ipAddresses", []))
        assert {usage.replace(" ", "_") for usage in spec["usages"]} == set(signed["allowedUses"])


def test_cert_manager_writes_the_secrets_with_the_files_that_the_release_reads(run):
    recording = run(by_cert_manager)
    for part in ("server", "agent"):
        certificate = objects(recording)["Certificate", f"kiam-{part}-tls"]
        told = values(recording)[part]
        assert certificate.inputs["spec"]["secretName"] == told["tlsSecret"]
        assert certificate.inputs["metadata"]["namespace"] == release(recording).inputs["namespace"]
        assert told["tlsCerts"] == {"certFileName": "tls.crt", "keyFileName": "tls.key", "caFileName": "ca.crt"}
        assert recording.reaches(release(recording), certificate)
    assert not recording.all("Secret")


def test_cert_manager_goes_from_a_self_signed_issuer_over_an_authority_to_the_leaves(run):
    recording = run(by_cert_manager)
    made = objects(recording)
    assert set(made) == {
        ("Issuer", "kiam-self-signed"),
        ("Certificate", "kiam-ca"),
        ("Issuer", "kiam-issuer"),
        ("Certificate", "kiam-server-tls"),
        ("Certificate", "kiam-agent-tls"),
    }
    assert {each.inputs["apiVersion"] for each in made.values()} == {"cert-manager.io/v1"}
    authority, issuer = made["Certificate", "kiam-ca"], made["Issuer", "kiam-issuer"]
    leaf = made["Certificate", "kiam-agent-tls"]
    assert authority.inputs["spec"]["issuerRef"]["name"] == "kiam-self-signed"
    assert authority.inputs["spec"]["isCA"] is True
    assert issuer.inputs["spec"]["ca"]["secretName"] == authority.inputs["spec"]["secretName"]
    assert leaf.inputs["spec"]["issuerRef"]["name"] == "kiam-issuer"
    assert recording.reaches(leaf, issuer)
    assert recording.reaches(issuer, authority)
    assert recording.reaches(made["Issuer", "kiam-self-signed"], recording.one("Release", "cert-manager"))


def test_an_authority_keeps_its_key_so_that_old_leaves_hold_under_a_renewed_one(run):
    made = objects(run(by_cert_manager))
    assert made["Certificate", "kiam-ca"].inputs["spec"]["privateKey"]["rotationPolicy"] == "Never"


def test_the_update_waits_for_every_certificate_to_be_there(run):
    for each in objects(run(by_cert_manager)).values():
        assert each.inputs["metadata"]["annotations"] == {"pulumi.com/waitFor": "condition=Ready"}


def test_certificates_by_cert_manager_without_it_are_refused(run):
    with pytest.raises(ValueError, match=r"kiam\.tls is cert-manager without cert-manager; allowed: .*; pass "):
        run(lambda: kiam(tls="cert-manager"))


def test_existing_secrets_are_read_with_the_file_names_of_the_guide_and_nothing_is_made(run):
    recording = run(lambda: kiam(tls="existing"))
    assert values(recording)["server"]["tlsCerts"] == {
        "certFileName": "server.pem",
        "keyFileName": "server-key.pem",
        "caFileName": "ca.pem",
    }
    assert values(recording)["agent"]["tlsCerts"]["certFileName"] == "agent.pem"
    assert {values(recording)[part]["tlsSecret"] for part in ("server", "agent")} == {
        "kiam-server-tls",
        "kiam-agent-tls",
    }
    assert not [each for each in recording.resources if each.type.startswith("tls:") or each.type.endswith("Secret")]


# The release.


def test_the_release_has_the_fixed_name_that_service_and_certificate_have(run):
    assert release(run(kiam)).inputs["name"] == "kiam"


@pytest.mark.parametrize(
    ("address", "chart", "repository"),
    [
        (None, "kiam", "https://uswitch.github.io/kiam-helm-charts/charts"),
        ("https://charts.example.com", "kiam", "https://charts.example.com"),
        ("./vendor/kiam", "./vendor/kiam", None),
        ("oci://registry.example.com/charts/kiam", "oci://registry.example.com/charts/kiam", None),
    ],
)
def test_the_chart_comes_from_the_address_given_at_one_version_and_under_one_name(run, address, chart, repository):
    inputs = release(run(lambda: kiam(chart=address))).inputs
    assert (inputs["chart"], inputs.get("repositoryOpts", {}).get("repo")) == (chart, repository)
    assert (inputs["version"], inputs["name"]) == ("6.1.2", "kiam")


def test_agents_catch_what_pods_send_to_the_metadata_service_and_the_rule_outlives_them(run):
    assert values(run(kiam))["agent"]["host"] == {
        "iptables": True,
        "iptablesRemoveOnShutdown": False,
        "interface": "eni+",
        "port": 8181,
    }


def test_the_server_is_told_its_role_the_account_and_the_region(run):
    told = values(run(kiam))["server"]
    assert (told["assumeRoleArn"], told["roleBaseArn"]) == (SERVER_ROLE, ARN)
    assert told["extraArgs"]["region"] == "ap-northeast-2"


def test_one_hop_is_enough_because_the_server_is_on_the_host_network(run):
    assert values(run(kiam))["server"]["useHostNetwork"] is True


def test_credentials_last_so_long_that_the_java_sdk_does_not_renew_them_at_every_call(run):
    told = values(run(kiam))["server"]
    duration, refresh = (
        int(text.removesuffix("m")) for text in (told["sessionDuration"], told["extraArgs"]["session-refresh"])
    )
    assert 15 < duration <= 60, "STS refuses more for a chained role"
    assert 15 <= refresh < duration, "the Java SDK v1 renews what has fifteen minutes left"


def test_a_session_may_be_shorter(run):
    told = values(run(lambda: kiam(session_minutes=30, refresh_minutes=16)))["server"]
    assert (told["sessionDuration"], told["extraArgs"]["session-refresh"]) == ("30m", "16m")


@pytest.mark.parametrize("part", ["agent", "server"])
def test_both_parts_start_late_roll_on_change_and_log_no_more_than_needed(run, part):
    told = values(run(kiam))[part]
    assert int(told["gatewayTimeoutCreation"].removesuffix("s")) > 1, "agents start before servers answer"
    assert told["updateStrategy"] == "RollingUpdate"
    assert told["log"] == {"level": "info"}
    assert told["extraEnv"] == []
    assert told["image"] == {"tag": "v4.2"}
    assert set(told["resources"]) == {"requests"}


def test_no_two_ports_of_agent_and_server_clash_on_one_host(run):
    told = values(run(kiam))
    service = told["server"]["service"]
    assert service["port"] == service["targetPort"], "agents dial the port of a headless service at the pods themselves"
    ports = [
        told["agent"]["host"]["port"],
        told["agent"]["prometheus"]["port"],
        told["server"]["prometheus"]["port"],
        service["targetPort"],
    ]
    assert len(set(ports)) == len(ports)


def test_servers_run_on_their_own_nodes_and_agents_on_all_others(run):
    told = values(run(kiam))
    assert told["server"]["nodeSelector"] == {LABEL: "server"}
    assert told["server"]["tolerations"] == [
        {"key": LABEL, "operator": "Equal", "value": "server", "effect": "NoSchedule"}
    ]
    (term,) = told["agent"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term["matchExpressions"] == [{"key": LABEL, "operator": "NotIn", "values": ["server"]}]
    assert told["agent"]["tolerations"] == [{"operator": "Exists"}]


def test_servers_on_nodes_that_nothing_tells_from_others_are_refused(run):
    alike = stacks.NODES.model_copy(update={"labels": SERVERS.labels})
    with pytest.raises(ValueError, match=r"kiam-server has no label of its own; allowed: .*; add one"):
        run(lambda: kiam(apps=alike))


def test_neither_part_is_evicted_before_the_pods_that_need_it(run):
    told = values(run(kiam))
    assert told["agent"]["priorityClassName"] == "system-node-critical"
    assert told["server"]["priorityClassName"] == "system-cluster-critical"


def test_the_server_finds_the_certificate_authorities_of_its_node_image(run):
    assert values(run(kiam))["server"]["sslCertHostPath"] == "/etc/pki/ca-trust/extracted/pem"
    assert "extraHostPathMounts" not in values(run(kiam))["server"]


def test_no_policy_of_a_kind_that_kubernetes_has_no_more(run):
    assert values(run(kiam))["psp"] == {"create": False}


def test_pods_read_no_metadata_unless_told_so(run):
    assert "allowRouteRegexp" not in values(run(kiam))["agent"]
    opened = values(run(lambda: kiam(metadata_routes="^/latest/meta-data/placement/")))
    assert opened["agent"]["allowRouteRegexp"] == "^/latest/meta-data/placement/"


@pytest.mark.parametrize("part", ["agent", "server"])
def test_debugging_is_on_request_with_the_environment_as_a_list(run, part):
    told = values(run(lambda: kiam(debug=True)))[part]
    assert told["log"]["level"] == "debug"
    assert {"name": "GRPC_GO_LOG_VERBOSITY_LEVEL", "value": "8"} in told["extraEnv"]


def test_the_release_comes_after_nodes_and_rights_and_goes_before_them(run):
    recording = run(kiam)
    needed = [recording.one("NodeGroup"), *recording.all("RolePolicy"), recording.one("Role", "kiam-server")]
    assert [each.name for each in needed if not recording.reaches(release(recording), each)] == []


def test_no_port_is_opened_for_it(run):
    assert not run(kiam).all("SecurityGroupIngressRule")


# Namespaces.


def permitted(recording, namespace="kiam-test"):
    patch = recording.one("NamespacePatch", f"kiam-{namespace}-permitted").inputs["metadata"]
    assert patch["name"] == namespace
    return patch["annotations"]["iam.amazonaws.com/permitted"]


def admits(expression, arn):
    """What Kiam does with the annotation."""
    return re.search(f"^{expression}$", arn) is not None


def test_a_namespace_permits_the_roles_of_its_workloads_by_their_whole_arn_and_no_others(run):
    other = KiamWorkloadSettings(identity=IdentitySettings(path="/kiam/"))
    recording = run(lambda: kiam(workloads={**workload(), "kiam-test/other": other, "apps/third": other}))
    expression = permitted(recording)
    for role in ("kiam-test.tester", "kiam-test.other"):
        assert admits(expression, f"{ARN}irsa-{role}-role")
    for arn in (
        f"{ARN}irsa-apps.third-role",
        f"{TESTER_ROLE}-2",
        f"x{TESTER_ROLE}",
        TESTER_ROLE.replace(".", "x"),
        "irsa-kiam-test.tester-role",
    ):
        assert not admits(expression, arn), arn
    assert admits(permitted(recording, "apps"), f"{ARN}irsa-apps.third-role")


def test_an_expression_of_the_settings_stands_in_the_same_group(run):
    further = f"{ARN}kiam/legacy-.*"
    recording = run(lambda: kiam(permitted={"kiam-test": further, "legacy": further}))
    assert admits(permitted(recording), TESTER_ROLE)
    assert admits(permitted(recording), f"{ARN}kiam/legacy-7")
    assert not admits(permitted(recording), f"{ARN}kiam/legacy-7x".replace("legacy", "other"))
    assert permitted(recording, "legacy") == f"({further})"


def test_an_expression_matches_from_the_first_character_to_the_last():
    expression = permitted_expression(["arn:aws:iam::1:role/a", "arn:aws:iam::1:role/b+c"], "arn:aws:iam::1:role/d.*")
    assert [
        admits(expression, f"arn:aws:iam::1:role/{name}") for name in ("a", "b+c", "dd", "aa", "bbc", "b+c2", "e")
    ] == [True, True, True, False, False, False, False]


def test_a_namespace_that_is_there_already_is_annotated_and_not_made(run):
    app = KiamWorkloadSettings(identity=IdentitySettings(path="/kiam/"))
    recording = run(lambda: kiam(workloads={"default/app": app}))
    assert recording.all("Namespace") == []
    assert admits(permitted(recording, "default"), f"{ARN}irsa-default.app-role")


def test_an_annotation_that_somebody_wrote_by_hand_is_taken_over(run):
    patch = run(kiam).one("NamespacePatch").inputs["metadata"]["annotations"]
    assert patch["pulumi.com/patchForce"] == "true"


def test_a_namespace_that_the_identities_make_is_made_once_and_before_its_annotation(run):
    neighbour = IdentitySettings(create_namespace=True)
    recording = run(lambda: kiam(identities={"kiam-test/neighbour": neighbour}))
    assert [each.name for each in recording.all("Namespace")] == ["irsa-kiam-test"]
    assert recording.reaches(recording.one("NamespacePatch"), recording.one("Namespace"))


# The tester, and the way out of one workload.


def deployment(recording):
    return recording.one("Deployment", "kiam-kiam-test.tester-tester").inputs


def test_the_tester_is_annotated_where_kiam_reads_it_and_nowhere_else(run):
    made = deployment(run(kiam))
    assert made["spec"]["template"]["metadata"]["annotations"] == {"iam.amazonaws.com/role": TESTER_ROLE}
    assert "annotations" not in made["metadata"]
    assert made["spec"]["selector"]["matchLabels"] == made["spec"]["template"]["metadata"]["labels"]


def test_the_tester_is_caught_by_the_agent_since_it_is_not_on_the_host_network(run):
    assert "hostNetwork" not in deployment(run(kiam))["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    ("arn", "ready"),
    [
        ("arn:aws:sts::111122223333:assumed-role/irsa-kiam-test.tester-role/kiam-kiam", True),
        ("arn:aws:sts::111122223333:assumed-role/node/i-0123", False),
        ("", False),
    ],
)
def test_the_tester_is_ready_only_while_sts_names_its_role(run, tmp_path, arn, ready):
    (container,) = deployment(run(kiam))["spec"]["template"]["spec"]["containers"]
    aws_command = tmp_path / "aws"
    aws_command.write_text(f"#!/bin/sh\n[ -n '{arn}' ] && echo '{arn}'\n", encoding="utf-8")
    aws_command.chmod(0o755)
    environment = {each["name"]: each["value"] for each in container["env"]} | {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert environment["AWS_REGION"] == "ap-northeast-2", "agents do not answer for the region"
    command = container["readinessProbe"]["exec"]["command"]
    asked = subprocess.run(command, env=environment, capture_output=True, check=False)  # noqa: S603
    assert (asked.returncode == 0) == ready


def test_the_tester_starts_after_agents_permission_and_role_and_stops_before_them(run):
    recording = run(lambda: kiam(workloads=workload(exit="irsa")))
    made = recording.one("Deployment")
    for needed in (
        release(recording),
        recording.one("NamespacePatch"),
        recording.one("Namespace"),
        recording.one("Role", "irsa-kiam-test.tester-role"),
        recording.one("ServiceAccount"),
    ):
        assert recording.reaches(made, needed), needed.name


def test_before_the_exit_there_is_no_account_and_no_other_way_into_the_role(run):
    recording = run(kiam)
    assert recording.all("ServiceAccount") + recording.all("PodIdentityAssociation") == []
    assert "serviceAccountName" not in deployment(recording)["spec"]["template"]["spec"]


def test_the_exit_to_irsa_keeps_kiams_way_into_the_role_and_adds_the_accounts(run):
    recording = run(lambda: kiam(workloads=workload(exit="irsa")))
    account = recording.one("ServiceAccount").inputs["metadata"]
    by_token, by_kiam = trust(recording, "irsa-kiam-test.tester-role")
    assert by_kiam["Principal"] == {"AWS": SERVER_ROLE}
    assert (account["namespace"], account["name"]) == ("kiam-test", "tester")
    assert account["annotations"] == {"eks.amazonaws.com/role-arn": TESTER_ROLE}
    token = WebIdentityToken(f"https://{ISSUER}", "system:serviceaccount:kiam-test:tester")
    policy = recording.one("Role", "irsa-kiam-test.tester-role").inputs["assumeRolePolicy"]
    assert may_assume(policy, token, [OidcProvider(PROVIDER_ARN, ISSUER, ("sts.amazonaws.com",))]).admitted
    assert by_token["Action"] == "sts:AssumeRoleWithWebIdentity"
    template = deployment(recording)["spec"]["template"]
    assert template["spec"]["serviceAccountName"] == "tester"
    assert template["metadata"]["annotations"] == {"iam.amazonaws.com/role": TESTER_ROLE}, "the way back"


def test_the_exit_to_pod_identity_keeps_kiams_way_into_the_role_and_binds_the_account(run):
    recording = run(lambda: kiam(workloads=workload(exit="pod-identity")))
    association = recording.one("PodIdentityAssociation").inputs
    assert (association["namespace"], association["serviceAccount"]) == ("kiam-test", "tester")
    assert association["roleArn"] == TESTER_ROLE
    by_association, by_kiam = trust(recording, "irsa-kiam-test.tester-role")
    assert by_association["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert by_kiam["Principal"] == {"AWS": SERVER_ROLE}
    assert recording.one("ServiceAccount").inputs["metadata"]["annotations"] == {}


# The stack on its way out, as docs/kiam.md tells it.


def commits():
    """The stack file of kiam as it is, and after each commit, the first two as the page writes them."""
    page = (ROOT / "docs" / "kiam.md").read_text(encoding="utf-8")
    first, second = (YAML(typ="safe").load(part.split("```")[0]) for part in page.split("```yaml\n")[1:3])
    running = stack_values(ROOT / "Pulumi.kiam.yaml")
    both = copy.deepcopy(running)
    both["kiam"]["workloads"] = first["eks-foundation:kiam"]["workloads"]
    moved = copy.deepcopy(both)
    moved["kiam"]["workloads"] = second["eks-foundation:kiam"]["workloads"]
    moved["identities"] = second["eks-foundation:identities"]
    gone = copy.deepcopy(moved)
    del gone["kiam"]
    del gone["cluster"]["nodeGroups"]["kiam-server"]
    replaced = copy.deepcopy(gone)
    groups = replaced["cluster"]["nodeGroups"]
    groups["system-2"] = groups.pop("system")
    return {"running": running, "both": both, "moved": moved, "gone": gone, "replaced": replaced}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    folder = linked(tmp_path_factory.mktemp("leaving"))
    for name, stack in commits().items():
        write_stack(folder / f"Pulumi.{name}.yaml", stack)
    recordings = record(folder, list(commits()), ["update"])
    assert [each["error"] for each in recordings] == [None] * 5
    return {each["stack"]: Graph.of(each) for each in recordings}


def urns(graph):
    return {urn.split("::", 2)[2]: each for urn, each in graph.resources.items()}


def test_a_workload_keeps_its_role_and_namespace_from_the_first_commit_to_the_last(graphs):
    kept = {
        "eks-foundation:index:OidcIrsa$eks-foundation:index:PodRole$aws:iam/role:Role::irsa-kiam-test.tester-role",
        "eks-foundation:index:OidcIrsa$kubernetes:core/v1:Namespace::irsa-kiam-test",
    }
    for name, graph in graphs.items():
        assert kept <= urns(graph).keys(), f"{name} would make them anew while the old ones are there"
        role = urns(graph)[min(kept)]
        assert (role.inputs["name"], role.inputs["path"]) == ("KiamTesterRole", "/kiam/")


def test_the_account_comes_with_the_first_commit_and_stays(graphs):
    account = (
        "eks-foundation:index:OidcIrsa$eks-foundation:index:PodRole$kubernetes:core/v1:ServiceAccount"
        "::irsa-kiam-test.tester-account"
    )
    assert [account in urns(graph) for graph in graphs.values()] == [False, True, True, True, True]


def test_the_second_commit_closes_kiams_way_into_the_role_and_withdraws_the_permission(graphs):
    def ways(graph):
        (role,) = [each for each in graph.of_type("aws:iam/role:Role") if each.name == "irsa-kiam-test.tester-role"]
        return [sorted(each["Principal"]) for each in json.loads(str(role.inputs["assumeRolePolicy"]))["Statement"]]

    assert [ways(graph) for graph in graphs.values()] == [
        [["AWS"]],
        [["Federated"], ["AWS"]],
        [["Federated"]],
        [["Federated"]],
        [["Federated"]],
    ]
    patches = [len(graph.of_type("kubernetes:core/v1:NamespacePatch")) for graph in graphs.values()]
    assert patches == [1, 1, 0, 0, 0]


def test_after_the_third_commit_nothing_of_kiam_is_left(graphs):
    left = [
        each.urn
        for each in graphs["gone"].resources.values()
        if "KiamAlternative" in each.urn or "iam.amazonaws.com/" in json.dumps(each.inputs, default=str)
    ]
    assert left == []
    policies = [str(each.inputs["policy"]) for each in graphs["gone"].of_type("aws:iam/rolePolicy:RolePolicy")]
    assert [policy for policy in policies if "sts:AssumeRole" in policy] == []


def test_nodes_that_had_an_agent_go_once_there_is_none_that_could_reach_the_new_ones(graphs):
    had, have = (
        {each.name for each in graphs[name].of_type("aws:eks/nodeGroup:NodeGroup")} for name in ("gone", "replaced")
    )
    assert had.isdisjoint(have), "the rule of the agents is on them for good"
