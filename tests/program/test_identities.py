"""Every identity that a stack file declares admits its own pods, by each of its mechanisms, and nobody else's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import ServiceAccountRef
from components.cluster import ADDON_IDENTITIES
from preflight.access import Caller, OidcProvider, PodIdentitySession, WebIdentityToken, may_assume
from preflight.graph import Graph
from preflight.identities import Mechanism, explain
from preflight.program import record
from settings import check_settings
from tests.project import ROOT, linked, stack_values
from tests.recorded import STACKS, recorded

IAM = "arn:aws:iam::111122223333"
OTHER_ISSUER = "https://oidc.eks.eu-west-1.amazonaws.com/id/FEDCBA9876543210FEDCBA9876543210"
OTHER_PROVIDER = OidcProvider(
    f"{IAM}:oidc-provider/{OTHER_ISSUER.removeprefix('https://')}", OTHER_ISSUER, ("sts.amazonaws.com",)
)
READ_ONLY = {"managedPolicyArns": ["arn:aws:iam::aws:policy/ReadOnlyAccess"]}
IDENTITIES = {
    "apps/plain": {"roleName": "plain", "path": "/team/", "policies": {"aws-load-balancer-controller": {}}},
    "apps/bound": {"mechanism": "pod-identity", "alsoAccounts": ["jobs/bound"], **READ_ONLY},
    "apps/moving": {"mechanism": "both", "alsoAccounts": ["jobs/moving", "jobs/moved"], **READ_ONLY},
    "apps/loose": {"looseSubjects": ["apps/loose-*"], **READ_ONLY},
    "apps/looser": {"looseSubjects": ["*/looser-?"], "looseNamespaces": True, **READ_ONLY},
    "apps/far": {"oidcProviderArns": [OTHER_PROVIDER.arn], **READ_ONLY},
    "apps/onward": {"mechanism": "both", "targetRoleArn": "arn:aws:iam::444455556666:role/onward", **READ_ONLY},
}


@dataclass(frozen=True)
class Declared:
    """One account of one declaration, and by which mechanism it takes which role."""

    stack: str
    account: ServiceAccountRef
    mechanism: Mechanism
    also: tuple[ServiceAccountRef, ...]
    """Every other account that takes the role by its name."""
    patterns: tuple[str, ...]
    issuers: tuple[str, ...]
    """All that the role trusts, the cluster's own first."""
    cluster_arn: str
    trust: str
    role_arn: str
    providers: tuple[OidcProvider, ...]

    @property
    def own(self) -> WebIdentityToken | PodIdentitySession:
        """What its pods show."""
        if self.mechanism == "IRSA":
            return WebIdentityToken(self.issuers[0], self.account.subject)
        return PodIdentitySession(self.cluster_arn, self.account.namespace, self.account.name)

    def admits(self, caller: Caller) -> bool:
        return may_assume(self.trust, caller, self.providers, self.role_arn).admitted

    def of(self, account: ServiceAccountRef) -> WebIdentityToken | PodIdentitySession:
        """The same with another account."""
        if isinstance(self.own, WebIdentityToken):
            return replace(self.own, subject=account.subject)
        return replace(self.own, namespace=account.namespace, service_account=account.name)

    def means(self, account: ServiceAccountRef) -> bool:
        """Whether the declaration lets this account take the role too."""
        named = account in (self.account, *self.also)
        return named or any(fnmatchcase(str(account), pattern) for pattern in self.patterns)


def declarations(directory: Path, stack: str) -> list[Declared]:
    """All of a stack, as its file and our components say, with the trust that the program gives them."""
    settings = check_settings(stack_values(directory / f"Pulumi.{stack}.yaml"), stack=stack)
    if settings.cluster is None:
        return []
    graph = Graph.of(recorded(stack)[1] if directory == ROOT else record(directory, [stack], ["update"])[0])
    (cluster,) = graph.of_type("eks:index:Cluster")
    (registered,) = graph.of_type("aws:iam/openIdConnectProvider:OpenIdConnectProvider")
    issuer = str(cluster.outputs["oidcProviderUrl"])
    provider = OidcProvider(str(registered.outputs["arn"]), issuer, tuple(registered.inputs["clientIdLists"]))
    mechanisms: dict[str, tuple[Mechanism, ...]] = {
        "irsa": ("IRSA",),
        "pod-identity": ("Pod Identity",),
        "both": ("Pod Identity", "IRSA"),
    }
    wanted = [((account,), mechanisms["pod-identity"], (), ()) for account, _ in ADDON_IDENTITIES.values()]
    if settings.ingress is not None:
        wanted += [((account,), mechanisms["irsa"], (), ()) for account in settings.ingress.accounts]
    wanted += [
        (
            tuple(map(ServiceAccountRef.parse, (key, *identity.also_accounts))),
            mechanisms[identity.mechanism],
            identity.loose_subjects,
            identity.oidc_provider_arns,
        )
        for key, identity in settings.identities.items()
    ]
    found: list[Declared] = []
    for accounts, ways, patterns, further in wanted:
        for account in accounts:
            (identity,) = explain(graph, account.namespace, account.name)
            wired = [way for way in identity.ways if way.mechanism != "node role"]
            assert tuple(way.mechanism for way in wired) == ways, f"{account} has other ways than it declares"
            for way in wired:
                role_arn = str(way.wire.inputs.get("roleArn") or way.role_arn)
                (role,) = [each for each in graph.of_type("aws:iam/role:Role") if each.outputs["arn"] == role_arn]
                found.append(
                    Declared(
                        stack=stack,
                        account=account,
                        mechanism=way.mechanism,
                        also=accounts,
                        patterns=patterns if way.mechanism == "IRSA" else (),
                        issuers=(issuer, *(OTHER_ISSUER for _ in further)),
                        cluster_arn=f"arn:aws:eks:{settings.region}:111122223333:cluster/{settings.cluster.name}",
                        trust=str(role.inputs["assumeRolePolicy"]),
                        role_arn=role_arn,
                        providers=(provider, OTHER_PROVIDER),
                    )
                )
    return found


@pytest.fixture(scope="module")
def declared(tmp_path_factory):
    folder = linked(tmp_path_factory.mktemp("every-kind"), identities=IDENTITIES)
    return [*(each for stack in STACKS for each in declarations(ROOT, stack)), *declarations(folder, "dev")]


LABELS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
ISSUERS = st.from_regex(r"https://oidc\.eks\.[a-z]{2}-[a-z]+-\d\.amazonaws\.com/id/[0-9A-F]{32}", fullmatch=True)
AUDIENCES = st.text(st.characters(codec="ascii", exclude_categories=("C",)), min_size=1) | st.sampled_from(
    ["sts.amazonaws.com.cn", "sts.amazonaws.com ", "STS.amazonaws.com", "pods.eks.amazonaws.com", "*"]
)


def test_every_identity_admits_the_pods_of_each_of_its_own_accounts(declared):
    assert [str(each.account) for each in declared if not each.admits(each.own)] == []


@given(data=st.data())
def test_the_same_account_in_another_namespace_is_refused(declared, data):
    one = data.draw(st.sampled_from(declared))
    namespace = data.draw(LABELS | st.sampled_from([each.account.namespace for each in declared]))
    stranger = replace(one.account, namespace=namespace)
    assert one.admits(one.of(stranger)) == one.means(stranger)


@given(data=st.data())
def test_another_account_in_the_same_namespace_is_refused(declared, data):
    one = data.draw(st.sampled_from(declared))
    beginning_alike = LABELS.map(lambda more: f"{one.account.name}{more}")
    name = data.draw(LABELS | beginning_alike | st.sampled_from([each.account.name for each in declared]))
    stranger = replace(one.account, name=name)
    assert one.admits(one.of(stranger)) == one.means(stranger)


@given(data=st.data())
def test_another_issuer_is_refused_and_with_pod_identity_another_cluster(declared, data):
    one = data.draw(st.sampled_from(declared))
    if isinstance(one.own, PodIdentitySession):
        name = data.draw(LABELS)
        stranger = replace(one.own, cluster_arn=one.cluster_arn.rpartition("/")[0] + f"/{name}")
        assert one.admits(stranger) == (stranger == one.own)
        return
    issuer = data.draw(ISSUERS | st.sampled_from([OTHER_ISSUER, *(each.issuers[0] for each in declared)]))
    # Registered in the account, as another cluster of it would be: only the trust stands in the way.
    known = OidcProvider(f"{IAM}:oidc-provider/{issuer.removeprefix('https://')}", issuer, ("sts.amazonaws.com",))
    with_it = replace(one, providers=(known, *one.providers))
    assert with_it.admits(replace(one.own, issuer=issuer)) == (issuer in one.issuers)


@given(data=st.data())
def test_another_audience_is_refused_and_with_pod_identity_a_session_without_tags(declared, data):
    one = data.draw(st.sampled_from(declared))
    if isinstance(one.own, PodIdentitySession):
        assert not one.admits(replace(one.own, tagged=False))
        return
    audience = data.draw(AUDIENCES)
    # The provider takes any audience, so only the trust stands in the way.
    providers = tuple(replace(each, client_ids=(*each.client_ids, audience)) for each in one.providers)
    assert replace(one, providers=providers).admits(replace(one.own, audience=audience)) == (
        audience == "sts.amazonaws.com"
    )


@given(data=st.data())
def test_a_token_opens_nothing_that_a_session_opens_and_the_other_way_round(declared, data):
    one = data.draw(st.sampled_from(declared))
    others = [each for each in declared if each.account == one.account and each.stack == one.stack]
    mechanisms = {each.mechanism for each in others if each.trust == one.trust}
    token = WebIdentityToken(one.issuers[0], one.account.subject)
    session = PodIdentitySession(one.cluster_arn, one.account.namespace, one.account.name)
    assert (one.admits(token), one.admits(session)) == ("IRSA" in mechanisms, "Pod Identity" in mechanisms)


def test_the_role_of_two_clusters_admits_its_account_from_both(declared):
    (far,) = [each for each in declared if each.account.name == "far"]
    assert [far.admits(replace(far.own, issuer=issuer)) for issuer in far.issuers] == [True, True]
