"""PodRole and OidcIrsa alone, under plain mocks: the wires between account, role, trust and policy."""

import json
import subprocess

import pulumi
import pulumi_kubernetes as kubernetes
import pytest

from components import IdentitySettings, OidcIrsa, OidcIrsaArgs, OidcSettings, PodRole, PodRoleArgs, ServiceAccountRef
from components.oidc_irsa import top_thumbprint
from components.trust import trust_text, web_identity_statements
from tests.program import stacks
from tests.program.conftest import ISSUER, TOP_CERTIFICATE

PROVIDER_ARN = f"arn:aws:iam::111122223333:oidc-provider/{ISSUER}"
READER = ServiceAccountRef(namespace="apps", name="reader")


def pod_role(name="reader", *, wires=None, **settings):
    provider = stacks.aws_provider()
    return PodRole(
        name,
        PodRoleArgs(
            **{
                "settings": IdentitySettings(**settings),
                "account": READER,
                "region": stacks.REGION,
                "aws_provider": provider,
                "oidc_provider_arns": [pulumi.Output.from_input(PROVIDER_ARN)],
                "cluster_name": "dev",
                "kubernetes_provider": kubernetes.Provider("kubernetes", kubeconfig="{}"),
                **(wires or {}),
            }
        ),
    )


def statements(recording):
    return json.loads(recording.one("Role").inputs["assumeRolePolicy"])["Statement"]


def test_the_trust_names_exactly_the_account_that_carries_the_role(run):
    recording = run(pod_role)
    account = recording.one("ServiceAccount").inputs["metadata"]
    (statement,) = statements(recording)
    assert statement["Principal"] == {"Federated": PROVIDER_ARN}
    assert statement["Condition"] == {
        "StringEquals": {
            f"{ISSUER}:aud": "sts.amazonaws.com",
            f"{ISSUER}:sub": f"system:serviceaccount:{account['namespace']}:{account['name']}",
        }
    }
    assert account["annotations"] == {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/reader-role"}


def test_a_role_of_two_clusters_admits_the_account_of_both(run):
    other = PROVIDER_ARN.replace("0123", "FEDC")
    recording = run(lambda: pod_role(oidc_provider_arns=(other,)))
    assert [each["Principal"]["Federated"] for each in statements(recording)] == [PROVIDER_ARN, other]


def test_pod_identity_binds_by_association_and_leaves_the_account_alone(run):
    recording = run(lambda: pod_role(mechanism="pod-identity"))
    association = recording.one("PodIdentityAssociation").inputs
    assert (association["clusterName"], association["namespace"], association["serviceAccount"]) == (
        "dev",
        "apps",
        "reader",
    )
    assert association["roleArn"] == "arn:aws:iam::111122223333:role/reader-role"
    assert recording.one("ServiceAccount").inputs["metadata"]["annotations"] == {}
    assert [each["Principal"] for each in statements(recording)] == [{"Service": "pods.eks.amazonaws.com"}]


DOCUMENT = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}],
}


def test_every_kind_of_policy_is_attached_to_the_role(run):
    recording = run(
        lambda: pod_role(
            policies={"aws-load-balancer-controller": {}, "aws-ebs-csi-driver": {}},
            documents={"own": DOCUMENT},
            managed_policy_arns=("arn:aws:iam::111122223333:policy/team/shared",),
        )
    )
    attachments = recording.all("RolePolicyAttachment")
    assert {each.inputs["policyArn"] for each in attachments} == {
        "arn:aws:iam::111122223333:policy/reader-aws-load-balancer-controller",
        "arn:aws:iam::111122223333:policy/reader-own",
        "arn:aws:iam::aws:policy/AmazonEBSCSIDriverPolicyV2",
        "arn:aws:iam::111122223333:policy/team/shared",
    }
    assert {each.inputs["role"] for each in attachments} == {"reader-role"}


def test_an_own_document_may_stand_in_a_file(run, tmp_path):
    file = tmp_path / "own.json"
    file.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    assert json.loads(run(lambda: pod_role(documents={"own": str(file)})).one("Policy").inputs["policy"]) == DOCUMENT


def test_a_ready_made_policy_speaks_of_the_partition_of_the_region(run):
    recording = run(lambda: pod_role(policies={"aws-load-balancer-controller": {}}, wires={"region": "cn-north-1"}))
    policy = recording.one("Policy").inputs["policy"]
    assert "arn:aws-cn:" in policy
    assert "arn:aws:" not in policy


def statement(number, size=1000):
    return {"Sid": f"S{number}", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::" + "b" * size}


def test_a_document_larger_than_a_policy_becomes_several_in_the_order_of_its_statements(run):
    big = {"Version": "2012-10-17", "Statement": [statement(number) for number in range(8)]}
    policies = [
        json.loads(each.inputs["policy"]) for each in run(lambda: pod_role(documents={"own": big})).all("Policy")
    ]
    assert len(policies) == 2
    assert [each for policy in policies for each in policy["Statement"]] == big["Statement"]
    assert all(len(json.dumps(policy).replace(" ", "")) <= 6144 for policy in policies)


def test_a_second_part_does_not_rename_the_first(run):
    big = {"Version": "2012-10-17", "Statement": [statement(number) for number in range(8)]}
    names = {each.name for each in run(lambda: pod_role(documents={"own": big})).all("Policy")}
    assert names == {"reader-own", "reader-own-2"}


def test_a_statement_that_no_policy_can_hold_is_refused_with_its_length(run):
    huge = {"Version": "2012-10-17", "Statement": [statement(1, size=6200)]}
    with pytest.raises(ValueError, match=r"'S1' makes a policy of 63\d\d characters; allowed: 6144"):
        run(lambda: pod_role(documents={"own": huge}))


def test_more_policies_than_a_role_may_have_are_refused_with_their_number(run):
    arns = tuple(f"arn:aws:iam::111122223333:policy/p{number}" for number in range(11))
    with pytest.raises(ValueError, match=r"has 11 managed policies.*allowed: 10 a role"):
        run(lambda: pod_role(managed_policy_arns=arns))


def test_a_trust_that_iam_would_not_take_is_refused_with_its_length():
    arns = [PROVIDER_ARN.replace("0123", f"{number:04d}") for number in range(6)]
    with pytest.raises(ValueError, match=r"a trust policy of \d{4} characters with 6 statements; allowed: 2048"):
        trust_text(web_identity_statements([READER], arns))


def test_both_mechanisms_stand_beside_each_other_while_moving(run):
    recording = run(lambda: pod_role(mechanism="both"))
    assert [each["Principal"] for each in statements(recording)] == [
        {"Federated": PROVIDER_ARN},
        {"Service": "pods.eks.amazonaws.com"},
    ]
    assert recording.one("PodIdentityAssociation").inputs["serviceAccount"] == "reader"
    assert "eks.amazonaws.com/role-arn" in recording.one("ServiceAccount").inputs["metadata"]["annotations"]


def test_more_accounts_take_the_same_role_by_their_exact_names(run):
    recording = run(lambda: pod_role(mechanism="both", also_accounts=("jobs/reader",)))
    irsa, first, second = statements(recording)
    assert irsa["Condition"]["StringEquals"][f"{ISSUER}:sub"] == [
        "system:serviceaccount:apps:reader",
        "system:serviceaccount:jobs:reader",
    ]
    tags = "aws:RequestTag/kubernetes-namespace"
    assert [each["Condition"]["StringEquals"][tags] for each in (first, second)] == ["apps", "jobs"]
    accounts = {each.inputs["metadata"]["namespace"]: each.name for each in recording.all("ServiceAccount")}
    assert accounts == {"apps": "reader-account", "jobs": "reader-account-2"}


def test_a_pattern_stands_under_string_like_and_its_audience_stays_exact(run):
    _, loose = statements(run(lambda: pod_role(loose_subjects=("apps/reader-*",))))
    assert loose["Condition"] == {
        "StringEquals": {f"{ISSUER}:aud": "sts.amazonaws.com"},
        "StringLike": {f"{ISSUER}:sub": "system:serviceaccount:apps:reader-*"},
    }


def test_everything_that_a_role_can_be_given_reaches_it(run):
    role = run(
        lambda: pod_role(
            role_name="fixed",
            path="/team/",
            description="Reads",
            permissions_boundary="arn:aws:iam::111122223333:policy/boundary",
            session_hours=12,
            tags={"team": "apps"},
            account_labels={"app": "reader"},
        )
    ).one("Role")
    assert role.inputs["name"] == "fixed"
    assert "namePrefix" not in role.inputs
    assert role.inputs["path"] == "/team/"
    assert role.inputs["description"] == "Reads"
    assert role.inputs["permissionsBoundary"] == "arn:aws:iam::111122223333:policy/boundary"
    assert role.inputs["maxSessionDuration"] == 43200
    assert role.inputs["tags"] == {"team": "apps"}
    assert role.request.deleteBeforeReplace is True, "a fixed name cannot stand beside itself"


def test_pod_identity_goes_on_to_a_role_of_another_account_and_may(run):
    target = "arn:aws:iam::444455556666:role/reader"
    recording = run(lambda: pod_role(mechanism="pod-identity", target_role_arn=target))
    assert recording.one("PodIdentityAssociation").inputs["targetRoleArn"] == target
    (allowed,) = json.loads(recording.one("Policy", "reader-target-role").inputs["policy"])["Statement"]
    assert allowed == {"Effect": "Allow", "Action": ["sts:AssumeRole", "sts:TagSession"], "Resource": target}


@pytest.mark.parametrize(
    ("settings", "probe", "expected"),
    [
        ({}, "reader-probe", "reader-role"),
        (
            {"mechanism": "pod-identity", "target_role_arn": "arn:aws:iam::444455556666:role/x/far"},
            "reader-association-probe",
            "far",
        ),
    ],
)
def test_a_probe_runs_under_the_account_and_expects_the_role_that_its_pod_must_get(run, settings, probe, expected):
    recording = run(lambda: pod_role(probe=True, **settings))
    job = recording.one("Job")
    pod = job.inputs["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert job.name == probe
    assert (job.inputs["metadata"]["namespace"], pod["serviceAccountName"]) == ("apps", "reader")
    assert {"name": "EXPECTED_ROLE", "value": expected} in container["env"]
    assert recording.reaches(job, recording.one("ServiceAccount"))


def test_a_mechanism_that_is_added_has_a_probe_of_its_own_and_the_other_one_does_not_run_again(run):
    def commands(mechanism):
        jobs = run(lambda: pod_role(probe=True, mechanism=mechanism)).all("Job")
        return {each.name: each.inputs["spec"]["template"]["spec"]["containers"][0]["command"] for each in jobs}

    both = commands("both")
    assert both == commands("irsa") | commands("pod-identity")
    assert len(both) == 2


IRSA = {"AWS_WEB_IDENTITY_TOKEN_FILE": "/token"}
ASSOCIATION = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials"}
READER_ROLE = "arn:aws:sts::111122223333:assumed-role/reader-role/session"


@pytest.mark.parametrize(
    ("mechanism", "arn", "injected", "passes"),
    [
        ("irsa", READER_ROLE, IRSA, True),
        ("irsa", "arn:aws:sts::111122223333:assumed-role/node-role/i-0123", IRSA, False),
        ("irsa", "arn:aws:sts::111122223333:assumed-role/reader-role-2/session", IRSA, False),
        ("irsa", "", IRSA, False),
        ("pod-identity", READER_ROLE, ASSOCIATION, True),
        ("pod-identity", READER_ROLE, IRSA, False),
        ("pod-identity", "arn:aws:sts::111122223333:assumed-role/node-role/i-0123", ASSOCIATION, False),
    ],
)
def test_the_probe_fails_unless_sts_names_the_role_and_an_association_that_is_there_gave_it(
    run, tmp_path, mechanism, arn, injected, passes
):
    job = run(lambda: pod_role(probe=True, mechanism=mechanism)).one("Job")
    (container,) = job.inputs["spec"]["template"]["spec"]["containers"]
    aws_command = tmp_path / "aws"
    aws_command.write_text(f"#!/bin/sh\n[ -n '{arn}' ] && echo '{arn}'\n", encoding="utf-8")
    aws_command.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "EXPECTED_ROLE": "reader-role", **injected}
    ended = subprocess.run(container["command"], env=environment, capture_output=True, check=False)  # noqa: S603
    assert (ended.returncode == 0) == passes, ended.stderr


def test_pods_roll_when_their_role_changes(run):
    def hashed(name):
        def program():
            role = pod_role(name)
            kubernetes.core.v1.ConfigMap("hash", data={"hash": role.role_hash})

        return run(program).one("ConfigMap").inputs["data"]["hash"]

    assert hashed("reader") == hashed("reader") != hashed("writer")


def test_the_account_comes_after_the_rights_and_goes_before_them(run):
    recording = run(lambda: pod_role(policies={"aws-load-balancer-controller": {}}))
    assert recording.reaches(recording.one("ServiceAccount"), recording.one("RolePolicyAttachment"))


def test_what_waits_for_the_role_waits_for_its_rights_and_its_account(run):
    def program():
        ready.extend(
            each._name
            for each in pod_role(managed_policy_arns=("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess",)).ready
        )

    ready: list[str] = []
    run(program)
    assert ready == ["reader-AmazonS3ReadOnlyAccess", "reader-account"]


@pytest.mark.parametrize("how", [{"wires": {"kubernetes_provider": None}}, {"create_account": False}])
def test_the_account_can_be_somebody_elses(run, how):
    assert run(lambda: pod_role(**how)).all("ServiceAccount") == []


def test_a_name_that_iam_could_not_hold_becomes_a_prefix(run):
    long = "irsa-" + "a" * 80
    recording = run(lambda: pod_role(long, policies={"aws-load-balancer-controller": {}}))
    prefixes = [recording.one(kind).inputs["namePrefix"] for kind in ("Role", "Policy")]
    assert [len(prefix) for prefix in prefixes] == [38, 38]
    assert all(prefix.startswith("irsa-aaa") and prefix.endswith("-") for prefix in prefixes)


def test_a_name_that_iam_can_hold_is_left_to_pulumi(run):
    recording = run(lambda: pod_role("a" * 51))
    assert "namePrefix" not in recording.one("Role").inputs


@pytest.mark.parametrize(
    ("mechanism", "missing", "words"),
    [
        ("irsa", {"oidc_provider_arns": ()}, "nothing to trust.*oidc_provider_arns"),
        ("both", {"oidc_provider_arns": ()}, "nothing to trust.*oidc_provider_arns"),
        ("pod-identity", {"cluster_name": None}, "nothing to bind it to.*cluster_name"),
        ("both", {"cluster_name": None}, "nothing to bind it to.*cluster_name"),
    ],
)
def test_a_role_that_nobody_could_take_is_refused(run, mechanism, missing, words):
    with pytest.raises(ValueError, match=f"apps/reader has {words}"):
        run(lambda: pod_role(mechanism=mechanism, wires=missing))


def irsa(identities=None, **oidc):
    return OidcIrsa(
        "irsa",
        OidcIrsaArgs(
            settings=OidcSettings(**oidc),
            issuer_url=pulumi.Output.from_input(f"https://{ISSUER}"),
            cluster=stacks.target(),
            identities=identities or {},
        ),
    )


def test_the_provider_is_registered_for_the_issuer_and_the_sts_audience(run):
    provider = run(irsa).one("OpenIdConnectProvider").inputs
    assert provider["url"] == f"https://{ISSUER}"
    assert provider["clientIdLists"] == ["sts.amazonaws.com"]


def test_extra_audiences_stand_beside_the_sts_audience(run):
    provider = run(lambda: irsa(extra_audiences=("vault",))).one("OpenIdConnectProvider").inputs
    assert provider["clientIdLists"] == ["sts.amazonaws.com", "vault"]


def test_a_derived_thumbprint_is_the_top_certificates_of_the_issuers_own_chain(run):
    recording = run(irsa)
    (call,) = recording.calls
    assert call.args["url"] == f"https://{ISSUER}"
    assert call.provider.startswith(f"{recording.one('tls', 'irsa-tls').urn}::"), (
        "a default provider, made in the update only"
    )
    assert recording.one("OpenIdConnectProvider").inputs["thumbprintLists"] == [TOP_CERTIFICATE["sha1Fingerprint"]]


def test_a_chain_that_aws_renews_is_no_reason_for_a_diff(run):
    assert list(run(irsa).one("OpenIdConnectProvider").request.ignoreChanges) == ["thumbprintLists"]


@pytest.mark.parametrize("chain", [[], [(False, "b" * 40)], [(False, "b" * 40), (True, "a" * 40)]])
def test_a_chain_without_a_ca_on_top_is_refused(chain):
    with pytest.raises(ValueError, match=r"top certificate is not a CA.*`pinned` or `omit`"):
        top_thumbprint(chain)


def test_pinned_thumbprints_are_taken_as_they_are_without_a_look_up(run):
    recording = run(lambda: irsa(thumbprint="pinned", pinned_thumbprints=("c" * 40,)))
    assert recording.calls == []
    assert recording.one("OpenIdConnectProvider").inputs["thumbprintLists"] == ["c" * 40]
    assert list(recording.one("OpenIdConnectProvider").request.ignoreChanges) == []


def test_an_omitted_thumbprint_is_left_to_iam(run):
    recording = run(lambda: irsa(thumbprint="omit"))
    assert recording.calls == []
    assert "thumbprintLists" not in recording.one("OpenIdConnectProvider").inputs


def test_every_identity_has_its_own_role_and_account(run):
    identities = {"a-b/c": IdentitySettings(), "a/b-c": IdentitySettings()}
    recording = run(lambda: irsa(identities))
    assert {each.name for each in recording.all("Role")} == {"irsa-a-b.c-role", "irsa-a.b-c-role"}


def test_a_namespace_is_made_when_asked_for_and_before_its_accounts(run):
    recording = run(lambda: irsa({"apps/a": IdentitySettings(create_namespace=True), "apps/b": IdentitySettings()}))
    namespace = recording.one("Namespace")
    assert namespace.inputs["metadata"]["name"] == "apps"
    assert all(recording.reaches(account, namespace) for account in recording.all("ServiceAccount"))
