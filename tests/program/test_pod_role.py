"""PodRole and OidcIrsa alone, under plain mocks: the wires between account, role, trust and policy."""

import json

import pulumi
import pulumi_kubernetes as kubernetes
import pytest

from components import IdentitySettings, OidcIrsa, OidcIrsaArgs, OidcSettings, PodRole, PodRoleArgs, ServiceAccountRef
from components.oidc_irsa import top_thumbprint
from tests.program import stacks
from tests.program.conftest import ISSUER, TOP_CERTIFICATE

PROVIDER_ARN = f"arn:aws:iam::111122223333:oidc-provider/{ISSUER}"
READER = ServiceAccountRef(namespace="apps", name="reader")


def pod_role(name="reader", **changes):
    return PodRole(
        name,
        PodRoleArgs(
            **{
                "account": READER,
                "region": stacks.REGION,
                "aws_provider": stacks.aws_provider(),
                "oidc_provider_arns": [pulumi.Output.from_input(PROVIDER_ARN)],
                "kubernetes_provider": kubernetes.Provider("kubernetes", kubeconfig="{}"),
                **changes,
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
    recording = run(lambda: pod_role(oidc_provider_arns=[PROVIDER_ARN, other]))
    assert [each["Principal"]["Federated"] for each in statements(recording)] == [PROVIDER_ARN, other]


def test_pod_identity_binds_by_association_and_leaves_the_account_alone(run):
    recording = run(lambda: pod_role(oidc_provider_arns=(), cluster_name="dev"))
    association = recording.one("PodIdentityAssociation").inputs
    assert (association["clusterName"], association["namespace"], association["serviceAccount"]) == (
        "dev",
        "apps",
        "reader",
    )
    assert association["roleArn"] == "arn:aws:iam::111122223333:role/reader-role"
    assert recording.one("ServiceAccount").inputs["metadata"]["annotations"] == {}
    assert [each["Principal"] for each in statements(recording)] == [{"Service": "pods.eks.amazonaws.com"}]


def test_every_kind_of_policy_is_attached_to_the_role(run):
    recording = run(
        lambda: pod_role(
            policies=["aws-load-balancer-controller"],
            documents={"own": '{"Version": "2012-10-17", "Statement": []}'},
            managed_policies=["service-role/AmazonEBSCSIDriverPolicy"],
            managed_policy_arns=["arn:aws:iam::111122223333:policy/team/shared"],
        )
    )
    attachments = recording.all("RolePolicyAttachment")
    assert {each.inputs["policyArn"] for each in attachments} == {
        "arn:aws:iam::111122223333:policy/reader-aws-load-balancer-controller",
        "arn:aws:iam::111122223333:policy/reader-own",
        "arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy",
        "arn:aws:iam::111122223333:policy/team/shared",
    }
    assert {each.inputs["role"] for each in attachments} == {"reader-role"}


def test_a_ready_made_policy_speaks_of_the_partition_of_the_region(run):
    recording = run(lambda: pod_role(policies=["aws-load-balancer-controller"], region="cn-north-1"))
    policy = recording.one("Policy").inputs["policy"]
    assert "arn:aws-cn:" in policy
    assert "arn:aws:" not in policy


def test_the_account_comes_after_the_rights_and_goes_before_them(run):
    recording = run(lambda: pod_role(policies=["aws-load-balancer-controller"]))
    assert recording.reaches(recording.one("ServiceAccount"), recording.one("RolePolicyAttachment"))


def test_what_waits_for_the_role_waits_for_its_rights_and_its_account(run):
    def program():
        ready.extend(each._name for each in pod_role(managed_policies=["AmazonS3ReadOnlyAccess"]).ready)

    ready: list[str] = []
    run(program)
    assert ready == ["reader-AmazonS3ReadOnlyAccess", "reader-account"]


def test_without_a_kubernetes_provider_the_account_is_somebody_elses(run):
    assert run(lambda: pod_role(kubernetes_provider=None)).all("ServiceAccount") == []


def test_a_name_that_iam_could_not_hold_becomes_a_prefix(run):
    long = "irsa-" + "a" * 80
    recording = run(lambda: pod_role(long, policies=["aws-load-balancer-controller"]))
    prefixes = [recording.one(kind).inputs["namePrefix"] for kind in ("Role", "Policy")]
    assert [len(prefix) for prefix in prefixes] == [38, 38]
    assert all(prefix.startswith("irsa-aaa") and prefix.endswith("-") for prefix in prefixes)


def test_a_name_that_iam_can_hold_is_left_to_pulumi(run):
    recording = run(lambda: pod_role("a" * 51))
    assert "namePrefix" not in recording.one("Role").inputs


def test_a_role_that_nobody_could_take_is_refused(run):
    with pytest.raises(ValueError, match=r"apps/reader has nothing to trust.*oidc_provider_arns.*cluster_name"):
        run(lambda: pod_role(oidc_provider_arns=()))


def test_two_policies_of_one_name_are_refused_and_not_lost(run):
    with pytest.raises(ValueError, match="share a name: A"):
        run(lambda: pod_role(managed_policies=["A"], managed_policy_arns=["arn:aws:iam::111122223333:policy/A"]))


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
