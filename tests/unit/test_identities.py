import json
from typing import Any

import pytest

from components.cluster import ADDON_IDENTITIES
from preflight.errors import BadInputError
from preflight.explanation import show
from preflight.graph import UNKNOWN, Graph, Resource, Secret
from preflight.identities import Identity, Way, explain, table
from preflight.policies import Cause
from preflight.workloads import SERVICE_ACCOUNT, workloads
from tests.unit.registered import registered

ACCOUNT = "111122223333"
ISSUER = "https://oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
HOST = ISSUER.removeprefix("https://")
PROVIDER_ARN = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{HOST}"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/app"
NODE_ARN = f"arn:aws:iam::{ACCOUNT}:role/node"
ROLE = "eks.amazonaws.com/role-arn"


def resource(
    type_: str,
    urn_name: str,
    /,
    *,
    provider: str = "",
    identifier: str = "",
    waits_for: tuple[str, ...] = (),
    **values: Any,
) -> Resource:
    return Resource(
        urn=f"urn:pulumi:dev::p::{type_}::{urn_name}",
        type=type_,
        name=urn_name,
        provider=provider,
        id=identifier,
        inputs=values,
        outputs=values,
        dependencies=waits_for,
    )


def trust(namespace: str = "shop", account: str = "web", **changes: Any) -> str:
    condition = {
        "StringEquals": {
            f"{HOST}:sub": f"system:serviceaccount:{namespace}:{account}",
            f"{HOST}:aud": "sts.amazonaws.com",
        }
    }
    whole = {
        "Effect": "Allow",
        "Principal": {"Federated": PROVIDER_ARN},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": condition,
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [{**whole, **changes}]})


POD_TRUST = trust(
    Principal={"Service": "pods.eks.amazonaws.com"}, Action=["sts:AssumeRole", "sts:TagSession"], Condition={}
)


def cluster(name: str = "dev", issuer: str = ISSUER, **values: Any) -> Resource:
    return resource("aws:eks/cluster:Cluster", name, name=name, identities=[{"oidcs": [{"issuer": issuer}]}], **values)


def provider(**changes: Any) -> Resource:
    values = {"arn": PROVIDER_ARN, "url": ISSUER, "clientIdLists": ["sts.amazonaws.com"], **changes}
    return resource("aws:iam/openIdConnectProvider:OpenIdConnectProvider", "oidc", **values)


def role(name: str = "app", assume_role_policy: Any = None, **values: Any) -> Resource:
    arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
    return resource(
        "aws:iam/role:Role",
        name,
        identifier=name,
        name=name,
        arn=arn,
        assumeRolePolicy=assume_role_policy or trust(),
        **values,
    )


def service_account(role_arn: Any = ROLE_ARN, **annotations: Any) -> Resource:
    metadata = {"namespace": "shop", "name": "web", "annotations": {ROLE: role_arn, **annotations}}
    return resource(SERVICE_ACCOUNT, "web", metadata=metadata)


def association(**changes: Any) -> Resource:
    values = {"clusterName": "dev", "namespace": "shop", "serviceAccount": "web", "roleArn": ROLE_ARN, **changes}
    return resource("aws:eks/podIdentityAssociation:PodIdentityAssociation", "web", **values)


def deployment(account: str | None = "web", **spec: Any) -> Resource:
    spec |= {"serviceAccountName": account} if account else {}
    return resource(
        "kubernetes:apps/v1:Deployment",
        "web",
        metadata={"namespace": "shop", "name": "web"},
        spec={"template": {"spec": spec}},
    )


def addon(name: str, **values: Any) -> Resource:
    return resource("aws:eks/addon:Addon", name, addonName=name, clusterName="dev", **values)


AGENT = addon("eks-pod-identity-agent")


def nodes(**metadata: Any) -> list[Resource]:
    template = resource("aws:ec2/launchTemplate:LaunchTemplate", "t", identifier="lt-1", metadataOptions=metadata)
    launch = {"launchTemplate": {"id": "lt-1", "version": "1"}}
    return [
        template,
        resource("aws:eks/nodeGroup:NodeGroup", "group", clusterName="dev", nodeRoleArn=NODE_ARN, **launch),
    ]


CLOSED = nodes(httpTokens="required", httpPutResponseHopLimit=1)
OPEN = nodes(httpTokens="required", httpPutResponseHopLimit=2)
IRSA = [cluster(), provider(), role(), service_account()]


def identity(*resources: Resource, namespace: str = "shop", account: str = "web") -> Identity:
    found = explain(Graph(resources), namespace, account)
    assert len(found) == 1, f"one identity of {namespace}/{account} is wanted, found {[str(one) for one in found]}"
    return found[0]


def only_way(*resources: Resource) -> Way:
    ways = identity(*resources).ways
    assert len(ways) == 1, f"one way is wanted, found {[(way.mechanism, way.role_arn) for way in ways]}"
    return ways[0]


# ---- IRSA ------------------------------------------------------------------------------------------------------------


def test_pods_become_the_role_that_their_account_names_and_that_trusts_it():
    web = identity(*IRSA, deployment())
    assert web.chosen is not None, "there is a wire"
    assert (web.chosen.mechanism, web.chosen.role_arn) == ("IRSA", ROLE_ARN)
    assert web.chosen.decision.admitted, web.chosen.decision.reason
    assert [workload.label for workload in web.workloads] == ["Deployment shop/web"]
    assert [made.type for made in web.made_by] == ["kubernetes:core/v1:ServiceAccount"]


@pytest.mark.parametrize(
    ("resources", "cause"),
    [
        ([cluster(), provider(), role("app", trust(account="api")), service_account()], Cause.VALUE),
        ([cluster(), provider(), role("app", trust(namespace="default")), service_account()], Cause.VALUE),
        ([cluster(), role(), service_account()], Cause.NO_PROVIDER),
        ([cluster(), provider(clientIdLists=["other"]), role(), service_account()], Cause.AUDIENCE),
        ([cluster(issuer=ISSUER[:-1] + "0"), provider(), role(), service_account()], Cause.NO_PROVIDER),
        ([cluster(), provider(), role(), service_account(**{"eks.amazonaws.com/audience": "x"})], Cause.AUDIENCE),
    ],
)
def test_a_broken_wire_is_refused_with_its_cause(resources: list[Resource], cause: Cause):
    way = only_way(*resources)
    assert (way.decision.admitted, way.decision.cause) == (False, cause), way.decision.reason


def test_a_refused_wire_is_still_what_the_pods_take():
    web = identity(cluster(), provider(), role("app", trust(account="api")), service_account(), *OPEN)
    assert [way.mechanism for way in web.ways] == ["IRSA", "node role"]
    assert web.chosen is web.ways[0], "with a token that STS refuses an SDK ends in an error, not in another role"


def test_a_role_that_the_program_does_not_make_is_undecided():
    way = only_way(cluster(), provider(), service_account("arn:aws:iam::111122223333:role/elsewhere"))
    assert way.decision.undecided, way.decision.reason


@pytest.mark.parametrize(
    "written", ["app", "arn:aws:iam::111122223333:user/app", "arn:aws:iam::1:role/app", ROLE_ARN + " "]
)
def test_what_the_webhook_does_not_take_as_a_role_gives_nothing(written: str):
    way = only_way(cluster(), provider(), role(), service_account(written))
    assert not way.decision.admitted, "the pods start without credentials"
    assert not way.decision.undecided, "no role, whatever it might trust"
    assert f"{written!r} is no role ARN; pods get no credentials" in way.decision.reason


def test_an_arn_that_is_not_known_yet_is_undecided():
    assert only_way(cluster(), provider(), role(), service_account(UNKNOWN)).decision.undecided


def test_a_secret_trust_policy_is_read_too():
    assert only_way(cluster(), provider(), role("app", Secret(trust())), service_account()).decision.admitted


def test_a_trust_policy_that_is_not_known_yet_is_undecided():
    assert only_way(cluster(), provider(), role("app", UNKNOWN), service_account()).decision.undecided


def test_the_packaged_cluster_answers_for_its_issuer_and_the_provider_inside():
    packaged = resource(
        "eks:index:Cluster",
        "dev",
        name="dev",
        oidcProviderUrl=ISSUER,
        oidcProviderArn=PROVIDER_ARN,
        skipDefaultNodeGroup=True,
    )
    decision = only_way(packaged, role(), service_account()).decision
    assert (decision.admitted, decision.caveats) == (True, ()), "it registers its issuer itself"


def test_of_a_cluster_made_elsewhere_the_provider_is_taken_for_granted():
    decision = only_way(role(), service_account()).decision
    assert decision.admitted, decision.reason
    assert "taken for granted" in decision.caveats[0]


def test_a_subject_of_another_account_is_refused_also_on_a_cluster_made_elsewhere():
    assert only_way(role("app", trust(account="api")), service_account()).decision.cause is Cause.VALUE


# ---- Pod Identity ----------------------------------------------------------------------------------------------------


def test_an_association_gives_its_role_to_the_pods():
    way = only_way(cluster(), AGENT, role("app", POD_TRUST), association())
    assert (way.mechanism, way.decision.admitted, way.decision.caveats) == ("Pod Identity", True, ()), (
        way.decision.reason
    )


def test_an_association_beats_the_annotation():
    web = identity(*IRSA, association())
    assert [way.mechanism for way in web.ways] == ["Pod Identity", "IRSA"]
    assert web.chosen is web.ways[0]
    assert web.ways[0].decision.cause is Cause.PRINCIPAL, "the role trusts only tokens"


def test_without_the_agent_an_association_has_a_caveat():
    decision = only_way(cluster(), role("app", POD_TRUST), association()).decision
    assert "eks-pod-identity-agent" in "".join(decision.caveats)


@pytest.mark.parametrize(
    "resources",
    [
        [cluster(computeConfig={"enabled": True})],
        [resource("eks:index:Cluster", "dev", name="dev", autoMode={"enabled": True})],
        [],
    ],
)
def test_auto_mode_brings_the_agent_and_of_a_cluster_made_elsewhere_it_is_not_known(resources: list[Resource]):
    assert only_way(*resources, role("app", POD_TRUST), association()).decision.caveats == ()


def test_the_tags_of_the_session_are_those_of_account_and_cluster():
    wanted = {
        "aws:RequestTag/eks-cluster-arn": f"arn:aws:eks:eu-central-1:{ACCOUNT}:cluster/dev",
        "aws:RequestTag/kubernetes-service-account": "web",
    }
    restricted = json.loads(POD_TRUST)
    restricted["Statement"][0]["Condition"] = {"StringEquals": wanted}
    app = role("app", json.dumps(restricted))
    assert only_way(cluster(), AGENT, app, association()).decision.admitted
    assert only_way(cluster(), AGENT, app, association(disableSessionTags=True)).decision.cause is Cause.KEY_ABSENT


@pytest.mark.parametrize(
    ("principal", "policy", "admitted"),
    [
        ({"AWS": ROLE_ARN}, None, True),
        ({"AWS": ACCOUNT}, "sts:*", True),
        ({"AWS": ACCOUNT}, "s3:*", False),
        ({"AWS": NODE_ARN}, "sts:*", False),
    ],
)
def test_a_target_role_is_reached_over_the_first_one(principal: Any, policy: str | None, admitted: bool):
    target = role("target", trust(Principal=principal, Action=["sts:AssumeRole", "sts:TagSession"], Condition={}))
    document = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": policy, "Resource": "*"}}
    inline = [{"name": "own", "policy": json.dumps(document)}] if policy else []
    first = role("app", POD_TRUST, inlinePolicies=inline)
    way = only_way(cluster(), AGENT, first, target, association(targetRoleArn=f"arn:aws:iam::{ACCOUNT}:role/target"))
    assert (way.role_arn[-6:], way.decision.admitted) == ("target", admitted), way.decision.reason


# ---- the node's role -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "host_network", "admitted", "undecided"),
    [
        ({"httpTokens": "required", "httpPutResponseHopLimit": 1}, False, False, False),
        ({"httpTokens": "required", "httpPutResponseHopLimit": 1}, True, True, False),
        ({"httpTokens": "required", "httpPutResponseHopLimit": 2}, False, True, False),
        ({"httpTokens": "optional", "httpPutResponseHopLimit": 1}, False, True, False),
        ({"httpPutResponseHopLimit": 1}, False, False, True),
        ({"httpTokens": "required"}, False, False, True),
        ({}, False, False, True),
        ({"httpEndpoint": "disabled"}, True, False, False),
    ],
)
def test_pods_take_the_nodes_role_if_its_metadata_service_answers_them(
    metadata: Any, host_network: bool, admitted: bool, undecided: bool
):
    ways = identity(*nodes(**metadata), deployment(hostNetwork=host_network)).ways
    found = [(way.mechanism, way.role_arn, way.decision.admitted, way.decision.undecided) for way in ways]
    assert found == ([("node role", NODE_ARN, admitted, undecided)] if admitted or undecided else [])


def test_a_node_role_comes_after_a_wire_and_is_what_pods_without_one_take():
    assert [way.mechanism for way in identity(*IRSA, *OPEN).ways] == ["IRSA", "node role"]
    plain = identity(*OPEN, deployment(None), account="default")
    assert plain.chosen is plain.ways[0]


def test_a_node_role_that_is_perhaps_reached_is_nobodys_choice():
    assert identity(*nodes(), deployment()).chosen is None


def test_a_node_role_of_two_groups_is_told_once_with_the_sure_reason():
    unsure = resource("aws:eks/nodeGroup:NodeGroup", "other", clusterName="dev", nodeRoleArn=NODE_ARN)
    ways = identity(unsure, *OPEN, deployment()).ways
    assert [(way.role_arn, way.decision.admitted) for way in ways] == [(NODE_ARN, True)]


@pytest.mark.parametrize(
    ("settings", "perhaps"),
    [
        ({}, True),
        ({"skipDefaultNodeGroup": True}, False),
        ({"fargate": True}, False),
        ({"autoMode": {"enabled": True}}, False),
    ],
)
def test_nodes_inside_a_packaged_cluster_perhaps_give_their_role(settings: Any, perhaps: bool):
    ways = identity(resource("eks:index:Cluster", "dev", name="dev", **settings), deployment()).ways
    assert [way.decision.undecided for way in ways] == ([True] if perhaps else [])


@pytest.mark.parametrize("kind", ["NodeGroup", "NodeGroupV2", "ManagedNodeGroup"])
def test_packaged_nodes_perhaps_give_their_role(kind: str):
    ways = identity(resource(f"eks:index:{kind}", "nodes", nodeRoleArn=NODE_ARN), deployment()).ways
    assert [(way.role_arn, way.decision.undecided) for way in ways] == [(NODE_ARN, True)]


# ---- several clusters ------------------------------------------------------------------------------------------------


def test_the_same_account_in_two_clusters_is_two_identities_each_with_the_issuer_of_its_own():
    other_issuer = ISSUER[:-1] + "0"
    made: list[Resource] = [provider(), role("blue"), role("green")]
    for name, issuer in (("blue", ISSUER), ("green", other_issuer)):
        here = cluster(name, issuer)
        access = resource("pulumi:providers:kubernetes", name, waits_for=(here.urn,))
        annotations = {ROLE: f"arn:aws:iam::{ACCOUNT}:role/{name}"}
        metadata = {"namespace": "shop", "name": "web", "annotations": annotations}
        account = resource(SERVICE_ACCOUNT, f"{name}-web", provider=f"{access.urn}::1", metadata=metadata)
        made += [here, access, account]
    blue, green = explain(Graph(made), "shop", "web")
    assert (str(blue), str(green)) == ("shop/web in blue", "shop/web in green")
    found = {way.role_arn[-5:]: way.decision.admitted for way in (*blue.ways, *green.ways)}
    assert found == {"/blue": True, "green": False}, "both roles trust blue's issuer"
    assert blue.ways[0].role_arn.endswith("blue"), "each account is in the cluster of its Kubernetes provider"


def test_an_account_without_a_namespace_is_in_default():
    made = resource(SERVICE_ACCOUNT, "web", metadata={"name": "web", "annotations": {ROLE: ROLE_ARN}})
    app = role("app", trust("default", "web"))
    found = identity(cluster(), provider(), app, made, namespace="default")
    assert [way.decision.admitted for way in found.ways] == [True]


# ---- rights ----------------------------------------------------------------------------------------------------------


def test_a_roles_policies_are_those_attached_by_name_by_arn_and_inline():
    document = json.dumps({"Version": "2012-10-17", "Statement": []})
    own = resource("aws:iam/policy:Policy", "own", arn=f"arn:aws:iam::{ACCOUNT}:policy/own-1", policy=document)
    attachment = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
    managed = "arn:aws:iam::aws:policy/"
    way = only_way(
        cluster(),
        provider(),
        role(managedPolicyArns=[f"{managed}One"], inlinePolicies=[{"name": "two", "policy": document}]),
        service_account(),
        own,
        resource(attachment, "three", role="app", policyArn=f"arn:aws:iam::{ACCOUNT}:policy/own-1"),
        resource(attachment, "four", role=ROLE_ARN, policyArn=f"{managed}service-role/Four"),
        resource("aws:iam/rolePolicy:RolePolicy", "five", role="app", policy=document),
        resource("aws:iam/policyAttachment:PolicyAttachment", "six", roles=["app", "other"], policyArn=f"{managed}Six"),
        resource(attachment, "seven", role="other", policyArn=f"{managed}Seven"),
    )
    found = {policy.name: policy.document is not None for policy in way.policies}
    assert found == {"One": False, "two": True, "own": True, "service-role/Four": False, "five": True, "Six": False}


# ---- workloads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("core/v1:Pod", ["spec"]),
        ("apps/v1:Deployment", ["spec", "template", "spec"]),
        ("apps/v1:DaemonSet", ["spec", "template", "spec"]),
        ("apps/v1:StatefulSet", ["spec", "template", "spec"]),
        ("batch/v1:Job", ["spec", "template", "spec"]),
        ("batch/v1:CronJob", ["spec", "jobTemplate", "spec", "template", "spec"]),
    ],
)
def test_every_kind_with_a_pod_template_is_found_with_its_account(kind: str, path: list[str]):
    spec: Any = {"serviceAccountName": "web", "hostNetwork": True}
    for key in reversed(path):
        spec = {key: spec}
    made = resource(f"kubernetes:{kind}", "x", metadata={"namespace": "shop", "name": "x"}, **spec)
    (found,) = workloads(Graph([made]))
    assert (found.namespace, found.account, found.host_network) == ("shop", "web", True)


def test_a_pod_without_an_account_runs_as_default_in_its_namespace():
    (found,) = workloads(Graph([resource("kubernetes:core/v1:Pod", "x", metadata={}, spec={})]))
    assert (found.namespace, found.account, found.host_network) == ("default", "default", False)


def release(chart: str, values: Any, name: str = "r") -> Graph:
    return Graph(
        [resource("kubernetes:helm.sh/v3:Release", name, chart=chart, name=name, namespace="ns", values=values)]
    )


@pytest.mark.parametrize(
    ("chart", "name", "values", "accounts"),
    [
        ("aws-load-balancer-controller", "r", {}, {"r-aws-load-balancer-controller": True}),
        ("aws-load-balancer-controller", "aws-load-balancer-controller", {}, {"aws-load-balancer-controller": True}),
        ("aws-load-balancer-controller", "r", {"serviceAccount": {"create": False}}, {"default": False}),
        ("aws-load-balancer-controller", "r", {"serviceAccount": {"create": False, "name": "x"}}, {"x": False}),
        ("oci://host/x/aws-load-balancer-controller", "r", {"fullnameOverride": "y"}, {"y": True}),
        ("external-dns", "r", {"nameOverride": "dns"}, {"r-dns": True}),
        (
            "oci://quay.io/jetstack/charts/cert-manager",
            "r",
            {"webhook": {"serviceAccount": {"create": False, "name": "w"}}},
            {"r-cert-manager": True, "r-cert-manager-cainjector": True, "w": False},
        ),
        (
            "aws-ebs-csi-driver",
            "r",
            {"controller": {"serviceAccount": {"create": False}}},
            {"ebs-csi-controller-sa": False, "ebs-csi-node-sa": True},
        ),
        ("cluster-autoscaler", "r", {"rbac": {"serviceAccount": {"name": "ca"}}}, {"ca": True}),
        ("cluster-autoscaler", "r", {}, {"r-aws-cluster-autoscaler": True}),
        ("karpenter", "r", {"serviceAccount": {"name": "k"}}, {"k": True}),
        ("aws-gateway-controller-chart", "r", {}, {"gateway-api-controller": True}),
        (
            "aws-efs-csi-driver",
            "r",
            {"node": {"serviceAccount": {"name": "n"}}},
            {"efs-csi-controller-sa": True, "n": True},
        ),
        ("kiam", "kiam", {}, {"kiam-agent": True, "kiam-server": True}),
    ],
)
def test_a_known_chart_runs_under_the_accounts_of_its_templates(chart: str, name: str, values: Any, accounts: Any):
    found = workloads(release(chart, values, name))
    assert {one.account: one.makes_account for one in found} == accounts
    assert all(one.certain for one in found), "the chart's own templates say so"


def test_an_unknown_chart_runs_under_the_accounts_in_its_values_or_else_by_helms_convention():
    found = workloads(release("app", {"serviceAccount": {"name": "a"}, "worker": {"serviceAccount": {"create": True}}}))
    assert {one.account: one.certain for one in found} == {"a": True, "r-app-worker": False}
    (found,) = workloads(release("app", {"replicas": 1}))
    assert (found.account, found.certain) == ("r-app", False), "a guess is called one"


def test_a_release_on_the_nodes_network_is_found_as_such():
    assert [one.host_network for one in workloads(release("app", {"hostNetwork": True}))] == [True]
    found = workloads(release("cert-manager", {"webhook": {"hostNetwork": True}}, "cert-manager"))
    assert {one.account for one in found if one.host_network} == {"cert-manager-webhook"}
    assert {one.account for one in workloads(release("kiam", {}, "kiam")) if one.host_network} == {"kiam-agent"}


@pytest.mark.parametrize("type_", ["kubernetes:helm.sh/v3:Release", "kubernetes:helm.sh/v4:Chart"])
def test_a_release_and_a_chart_without_a_namespace_are_in_default_under_their_own_name(type_: str):
    (found,) = workloads(Graph([resource(type_, "web", chart="./charts/app/", values={})]))
    assert (found.label, found.account) == ("release default/web", "web-app")


def test_addons_that_set_up_the_nodes_network_share_it():
    names = ["vpc-cni", "kube-proxy", "coredns", "eks-pod-identity-agent", "aws-ebs-csi-driver"]
    shared = {one.account for one in workloads(Graph([addon(name) for name in names])) if one.host_network}
    assert shared == {"aws-node", "kube-proxy", "eks-pod-identity-agent"}


def test_the_cluster_component_wires_the_accounts_that_the_addons_run_under():
    found = {
        one.label: f"{one.namespace}/{one.account}" for one in workloads(Graph(list(map(addon, ADDON_IDENTITIES))))
    }
    assert found == {f"add-on {name}": str(account) for name, (account, _) in ADDON_IDENTITIES.items()}


def test_an_annotation_in_a_releases_values_is_a_wire():
    values = {"serviceAccount": {"name": "web", "annotations": {ROLE: ROLE_ARN}}}
    made = resource("kubernetes:helm.sh/v3:Release", "r", chart="app", name="r", namespace="shop", values=values)
    assert only_way(cluster(), provider(), role(), made).decision.admitted
    values["serviceAccount"]["create"] = False
    assert identity(cluster(), provider(), role(), made).ways == (), "the chart makes no account, so it annotates none"


@pytest.mark.parametrize(
    ("name", "account"),
    [
        ("vpc-cni", "aws-node"),
        ("aws-ebs-csi-driver", "ebs-csi-controller-sa"),
        ("aws-efs-csi-driver", "efs-csi-controller-sa"),
    ],
)
def test_an_addon_is_wired_by_its_own_role_or_its_own_association(name: str, account: str):
    app = role("app", trust("kube-system", account))
    found = identity(
        cluster(),
        provider(),
        app,
        addon(name, serviceAccountRoleArn=ROLE_ARN),
        namespace="kube-system",
        account=account,
    )
    assert [(way.mechanism, way.decision.admitted) for way in found.ways] == [("IRSA", True)]
    own = addon(name, podIdentityAssociations=[{"serviceAccount": account, "roleArn": ROLE_ARN}])
    found = identity(cluster(), AGENT, role("app", POD_TRUST), own, namespace="kube-system", account=account)
    found = [(way.mechanism, way.decision.admitted, way.decision.caveats) for way in found.ways]
    assert found == [("Pod Identity", True, ())], "the agent of the add-on's own cluster hands the credentials out"


# ---- the whole, and the report ---------------------------------------------------------------------------------------


def test_the_table_has_every_account_that_is_made_wired_or_run_under():
    wired = association(namespace="a", serviceAccount="wired")
    found = table(Graph([*IRSA, deployment("used"), wired, AGENT]))
    assert [str(one) for one in found] == ["a/wired", "kube-system/eks-pod-identity-agent", "shop/used", "shop/web"]


def recording(*resources: Resource) -> Any:
    source = {"file": "program.py", "line": 7}
    return {
        "stack": "dev",
        "resources": [
            registered(urn=r.urn, type=r.type, name=r.name, id=r.id, inputs=r.inputs, outputs=r.outputs, source=source)
            for r in resources
        ],
    }


RIGHTS = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject", "sqs:SendMessage"],
                "Resource": "arn:aws:s3:::logs/*",
                "Condition": {"Null": {"aws:RequestTag/team": "false"}, "StringEquals": {"aws:RequestTag/env": "dev"}},
            },
            {"Effect": "Deny", "NotAction": "s3:*", "Resource": "*"},
        ],
    }
)


def test_one_account_is_explained_from_wire_to_rights(capsys: pytest.CaptureFixture[str]):
    app = role(inlinePolicies=[{"name": "logs", "policy": RIGHTS}])
    show(recording(cluster(), provider(), app, service_account(), deployment()), "shop/web")
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        "shop/web made by ServiceAccount web program.py:7",
        "pods of Deployment shop/web program.py:7",
        f"becomes app by IRSA role {ROLE_ARN} wired by ServiceAccount web program.py:7",
        "because statement 1 allows",
        "may logs program.py:7 s3:GetObject, PutObject; sqs:SendMessage on arn:aws:s3:::logs/* "
        "if aws:RequestTag/team is present and aws:RequestTag/env is dev",
        "never everything but s3:* on *",
    ):
        assert words in said, f"{words!r} is missing in:\n{said}"


def test_a_refused_wire_is_explained_with_the_reason(capsys: pytest.CaptureFixture[str]):
    show(recording(cluster(), provider(), role("app", trust(account="api")), service_account()), "shop/web")
    said = " ".join(capsys.readouterr().out.split())
    assert "becomes not app by IRSA" in said
    assert "(another service account of that namespace)" in said
    assert "pods of nothing in this program" in said


def test_all_accounts_are_a_table(capsys: pytest.CaptureFixture[str]):
    show(recording(*IRSA, *OPEN, deployment("default")), None)
    said = capsys.readouterr().out
    assert "app by IRSA" in said
    assert "also arn:aws:iam" in said
    assert "shop/default" in said


@pytest.mark.parametrize("asked", ["shop/wep", "web", "shop/web/x", ""])
def test_an_account_that_is_not_there_is_refused_with_those_that_are(asked: str):
    with pytest.raises(BadInputError) as refused:
        show(recording(*IRSA), asked)
    message = str(refused.value)
    assert f"found:   {asked}" in message
    assert "allowed: NAMESPACE/ACCOUNT, here shop/web" in message
    assert ("did you mean shop/web?" in message) == (asked != ""), "the nearest name is offered"


def test_a_thousand_identities_are_wired_by_looking_up_and_not_by_searching():
    made: list[Resource] = [cluster(), provider(), *CLOSED]
    for number in range(1000):
        name = f"app-{number}"
        arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
        made.append(role(name, trust("shop", name)))
        made.append(
            resource(
                SERVICE_ACCOUNT,
                name,
                metadata={"namespace": "shop", "name": name, "annotations": {ROLE: arn}},
            )
        )
    found = table(Graph(made))
    assert len(found) == 1000
    assert all(one.chosen and one.chosen.decision.admitted for one in found), "each account gets its own role"
