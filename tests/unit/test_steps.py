"""Which workloads can move between IRSA and EKS Pod Identity, and what each step would change, on graphs by hand."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from preflight import mechanisms
from preflight.report import journeys
from tests.unit.registered import registered

ACCOUNT = "111122223333"
HOST = "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
OTHER_HOST = HOST.replace("0123", "FEDC")
ROLE = "aws:iam/role:Role"
ACCOUNT_TYPE = "kubernetes:core/v1:ServiceAccount"
ASSOCIATION = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
ADDON = "aws:eks/addon:Addon"
RELEASE = "kubernetes:helm.sh/v3:Release"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/app"
ANNOTATION = "eks.amazonaws.com/role-arn"


def resource(type_, name, inputs=None, outputs=None, **other):
    inputs = inputs or {}
    found = registered(
        urn=f"urn:pulumi:dev::own::{type_}::{name}",
        type=type_,
        name=name,
        inputs=inputs,
        outputs={**inputs, **(outputs or {})},
        id=f"id-1-{name}",
    )
    return {**found, **other}


def tokens(*subjects, host=HOST, operator="StringEquals"):
    subjects = subjects or ("system:serviceaccount:shop:web",)
    condition = {"StringEquals": {f"{host}:aud": "sts.amazonaws.com"}}
    if subjects != (None,):
        condition.setdefault(operator, {})[f"{host}:sub"] = list(subjects)
    return {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{host}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": condition,
    }


SESSIONS = {
    "Effect": "Allow",
    "Principal": {"Service": "pods.eks.amazonaws.com"},
    "Action": ["sts:AssumeRole", "sts:TagSession"],
}


def cluster(**values):
    inputs = {"name": "main", **values}
    outputs = {"arn": f"arn:aws:eks:eu-central-1:{ACCOUNT}:cluster/main"}
    issuer = {"identities": [{"oidcs": [{"issuer": f"https://{HOST}"}]}]}
    return resource("aws:eks/cluster:Cluster", "main", inputs, {**outputs, **issuer})


def provider():
    inputs = {"url": f"https://{HOST}", "clientIdLists": ["sts.amazonaws.com"]}
    arn = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{HOST}"
    return resource("aws:iam/openIdConnectProvider:OpenIdConnectProvider", "issuer", inputs, {"arn": arn})


def role(*statements, **other):
    inputs = {"assumeRolePolicy": json.dumps({"Version": "2012-10-17", "Statement": list(statements)})}
    return resource(ROLE, "app", inputs, {"arn": ROLE_ARN, "name": "app-1"}, **other)


def account(*, annotated=True):
    annotations = {"annotations": {ANNOTATION: ROLE_ARN}} if annotated else {}
    return resource(ACCOUNT_TYPE, "web", {"metadata": {"namespace": "shop", "name": "web", **annotations}})


def association(arn=ROLE_ARN, **values):
    bound = {"clusterName": "main", "namespace": "shop", "serviceAccount": "web", "roleArn": arn}
    return resource(ASSOCIATION, "web", {**bound, **values})


def addon(name="eks-pod-identity-agent", **values):
    return resource(ADDON, name, {"clusterName": "main", "addonName": name, **values})


def policy(document):
    return [
        resource(
            "aws:iam/policy:Policy", "own", {"policy": json.dumps(document)}, {"arn": "arn:aws:iam::1:policy/own"}
        ),
        resource("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "own", OWN),
    ]


OWN = {"role": "app-1", "policyArn": "arn:aws:iam::1:policy/own"}


def deployment(labels=None, **spec):
    template = {"metadata": {"labels": labels or {}}, "spec": {"serviceAccountName": "web", **spec}}
    metadata = {"namespace": "shop", "name": "web"}
    return resource("kubernetes:apps/v1:Deployment", "web", {"metadata": metadata, "spec": {"template": template}})


def release(**service_account):
    values = {"serviceAccount": {"name": "web", **service_account}}
    inputs = {"name": "web", "chart": "web", "namespace": "shop", "values": values}
    return resource(RELEASE, "web", inputs)


def fargate(**selector):
    return resource("aws:eks/fargateProfile:FargateProfile", "fp", {"clusterName": "main", "selectors": [selector]})


def journey(guide, *resources):
    recording = {
        "project": "own",
        "stack": "dev",
        "mode": "update",
        "directory": "/here",
        "resources": list(resources),
        "invokes": [],
        "outputs": {},
        "logs": [],
        "reads": [],
        "error": None,
    }
    running = SimpleNamespace(program=SimpleNamespace(stack_file=lambda _: Path("/nowhere"), project="own"))
    return guide(running, recording)


def forth(*resources):
    return journey(mechanisms.to_pod_identity, cluster(), provider(), *resources)


def back(*resources):
    return journey(mechanisms.to_irsa, cluster(), *resources)


def changed(step):
    return {(one.kind, one.type.rpartition(":")[2], one.name) for one in step.changes.resources}


def rights(step):
    return {
        sign: {right.action for one in step.changes.rights for right in getattr(one, side)}
        for sign, side in (("+", "gained"), ("-", "lost"))
    }


IRSA = (role(tokens()), account(), addon())
BOUND = (role(SESSIONS), account(annotated=False), association(), provider())


def test_from_irsa_the_association_comes_first_and_the_annotation_goes_last():
    (move,) = forth(*IRSA).moves
    wire, restart, unwire = move.steps
    assert changed(wire) == {("changed", "Role", "app"), ("created", "PodIdentityAssociation", "shop/web")}
    assert rights(wire) == {"+": {"sts:AssumeRole", "sts:TagSession"}, "-": set()}
    assert restart.changes is None, "a restart is nothing that Pulumi does"
    assert changed(unwire) == {("changed", "Role", "app"), ("changed", "ServiceAccount", "web")}
    assert rights(unwire) == {"+": set(), "-": {"sts:AssumeRoleWithWebIdentity"}}


def test_what_is_bound_is_narrowed_to_the_account_and_its_cluster():
    (move,) = forth(*IRSA).moves
    (gained,) = {right.conditions for one in move.steps[0].changes.rights for right in one.gained}
    assert gained == (
        "aws:RequestTag/eks-cluster-name StringEquals main",
        "aws:RequestTag/kubernetes-namespace StringEquals shop",
        "aws:RequestTag/kubernetes-service-account StringEquals web",
    )


def test_from_pod_identity_pods_are_restarted_last_for_the_association_wins_while_it_is_there():
    (move,) = back(*BOUND).moves
    wire, unwire, restart = move.steps
    assert changed(wire) == {("changed", "Role", "app"), ("changed", "ServiceAccount", "web")}
    assert rights(wire) == {"+": {"sts:AssumeRoleWithWebIdentity"}, "-": set()}
    assert changed(unwire) == {("changed", "Role", "app"), ("deleted", "PodIdentityAssociation", "web")}
    assert rights(unwire) == {"+": set(), "-": {"sts:AssumeRole", "sts:TagSession"}}
    assert "at once" in restart.do


def test_a_workload_that_has_both_goes_on_from_there():
    both = (role(tokens(), SESSIONS), account(), association(), addon())
    (move,) = forth(*both).moves
    assert [step.changes is None for step in move.steps] == [True, False]
    assert changed(move.steps[1]) == {("changed", "Role", "app"), ("changed", "ServiceAccount", "web")}


def test_a_workload_that_is_there_is_only_named():
    there = forth(role(SESSIONS), account(annotated=False), association(), addon())
    assert (there.moves, there.stays, there.arrived) == ((), (), ("shop/web",))


def test_a_role_moves_with_all_of_its_accounts():
    subjects = ("system:serviceaccount:shop:web", "system:serviceaccount:jobs:web")
    (move,) = forth(role(tokens(*subjects)), account(), addon()).moves
    assert move.workload == "jobs/web, shop/web"
    assert {one for one in changed(move.steps[0]) if one[0] == "created"} == {
        ("created", "PodIdentityAssociation", "shop/web"),
        ("created", "PodIdentityAssociation", "jobs/web"),
    }
    assert "which this program does not make" in move.steps[2].do, "jobs/web is somebody else's"


def test_what_waits_for_an_association_is_said_to_change_with_it():
    waiting = deployment()
    waiting["dependencies"] = [association()["urn"]]
    (move,) = back(*BOUND, waiting).moves
    assert ("changed", "Deployment", "web") in changed(move.steps[1])


def test_pods_of_the_program_are_restarted_by_name_and_all_are_found_by_their_account():
    (move,) = forth(*IRSA, deployment()).moves
    assert [command.split(" -o")[0] for command in move.steps[1].commands] == [
        "kubectl -n shop rollout restart deployment/web",
        "kubectl -n shop get pods --field-selector spec.serviceAccountName=web",
    ]


@pytest.mark.parametrize(
    ("before", "first"),
    [
        ((cluster(),), [("created", "Addon", "main-eks-pod-identity-agent")]),
        ((cluster(computeConfig={"enabled": True}),), []),
        ((cluster(), addon()), []),
        ((), []),
    ],
    ids=["no agent", "Auto Mode", "agent", "somebody else's cluster"],
)
def test_a_cluster_gets_the_agent_before_anything_moves(before, first):
    found = journey(mechanisms.to_pod_identity, *before, provider(), role(tokens()), account())
    assert [one for step in found.first for one in changed(step)] == first
    assert len(found.moves) == 1


def test_an_issuer_is_registered_before_anything_moves_back():
    found = back(role(SESSIONS), account(annotated=False), association())
    assert [one for step in found.first for one in changed(step)] == [("created", "OpenIdConnectProvider", "main")]
    assert len(found.moves) == 1


def test_the_role_of_an_add_on_moves_from_its_argument_to_an_association_and_back():
    driver = "system:serviceaccount:kube-system:ebs-csi-controller-sa"
    (there,) = forth(role(tokens(driver)), addon("aws-ebs-csi-driver", serviceAccountRoleArn=ROLE_ARN), addon()).moves
    assert ("changed", "Addon", "aws-ebs-csi-driver") in changed(there.steps[2])
    bound = association(namespace="kube-system", serviceAccount="ebs-csi-controller-sa")
    (again,) = back(provider(), role(SESSIONS), bound, addon("aws-ebs-csi-driver")).moves
    (wired,) = [one for one in again.steps[0].changes.resources if one.type == ADDON]
    assert [change.path for change in wired.changes] == ["serviceAccountRoleArn"]


def test_an_association_inside_an_add_on_is_taken_out_of_it():
    inside = [{"serviceAccount": "ebs-csi-controller-sa", "roleArn": ROLE_ARN}]
    (move,) = back(provider(), role(SESSIONS), addon("aws-ebs-csi-driver", podIdentityAssociations=inside)).moves
    (unwired,) = [one for one in move.steps[1].changes.resources if one.type == ADDON]
    assert [change.path for change in unwired.changes] == ["podIdentityAssociations"]


def test_the_account_of_a_chart_is_annotated_in_its_values():
    (there,) = forth(role(tokens()), release(annotations={ANNOTATION: ROLE_ARN}), addon()).moves
    (again,) = back(provider(), role(SESSIONS), release(), association()).moves
    for step in (there.steps[2], again.steps[0]):
        (one,) = [one for one in step.changes.resources if one.type == RELEASE]
        assert [change.path for change in one.changes] == [
            "values.serviceAccount.annotations"
            if step is again.steps[0]
            else 'values.serviceAccount.annotations["eks.amazonaws.com/role-arn"]'
        ]


def test_an_account_that_nobody_makes_here_is_left_to_whoever_does():
    (move,) = back(provider(), role(SESSIONS), association()).moves
    assert "put on shop/web, which this program does not make" in move.steps[0].do


ASKS_FOR_TOKEN = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": "*",
            "Condition": {"StringEquals": {f"{HOST}:sub": "system:serviceaccount:shop:web"}},
        }
    ],
}
ASKS_FOR_TAG = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::b/${aws:PrincipalTag/kubernetes-namespace}/*",
        }
    ],
}

STAYS = {
    "a role of somebody else": ((account(), addon()), "does not make its role"),
    "a role that is looked up": ((role(tokens(), read=True), account(), addon()), "looks its role up"),
    "a trust that is none": ((role({"Effect": "Allow"}), account(), addon()), "IAM would refuse"),
    "a pattern": (
        (role(tokens("system:serviceaccount:shop:*", operator="StringLike")), account(), addon()),
        "a pattern, shop/*",
    ),
    "a trust without a subject": ((role(tokens(None)), account(), addon()), "names no account"),
    "another cluster's issuer": (
        (role(tokens(), tokens(host=OTHER_HOST)), account(), addon()),
        f"another cluster too, {OTHER_HOST}",
    ),
    "a role of another AWS account": (
        (cluster() | {"outputs": {**cluster()["outputs"], "arn": "arn:aws:eks:r:444455556666:cluster/main"}}, *IRSA),
        "Its role is of AWS account 111122223333, its cluster of 444455556666",
    ),
    "Windows by selector": (
        (*IRSA, deployment(nodeSelector={"kubernetes.io/os": "windows"})),
        "Deployment shop/web run on Windows",
    ),
    "Windows by declaration": ((*IRSA, deployment(os={"name": "windows"})), "run on Windows"),
    "Fargate by namespace": ((*IRSA, fargate(namespace="shop")), "Fargate profile fp takes its pods in namespace shop"),
    "Fargate by pattern": ((*IRSA, fargate(namespace="sh*")), "namespace sh*"),
    "Fargate by label": (
        (*IRSA, deployment(labels={"on": "fargate"}), fargate(namespace="shop", labels={"on": "fargate"})),
        "takes its pods",
    ),
    "perhaps Fargate": (
        (*IRSA, release(create=False), fargate(namespace="shop", labels={"on": "fargate"})),
        "may take",
    ),
    "an Outpost": ((cluster(outpostConfig={"controlPlaneInstanceType": "m5.large"}), *IRSA), "on an Outpost"),
    "an association with another role": (
        (*IRSA, association(f"arn:aws:iam::{ACCOUNT}:role/other")),
        "bound to another role, arn:aws:iam::111122223333:role/other",
    ),
    "a policy that asks for the token": ((*IRSA, *policy(ASKS_FOR_TOKEN)), "Policy own asks for oidc.eks."),
    "a trust that both do not fit into": (
        (role(tokens(*(f"system:serviceaccount:shop:web-{number:03}" for number in range(40)))), addon()),
        "its trust policy has",
    ),
}


@pytest.mark.parametrize("why", STAYS)
def test_what_cannot_go_to_pod_identity_stays_with_its_reason(why):
    resources, words = STAYS[why]
    given = resources if resources[0]["type"].startswith("aws:eks/cluster") else (cluster(), *resources)
    found = journey(mechanisms.to_pod_identity, provider(), *given)
    (stay,) = found.stays
    assert found.moves == ()
    assert [reason for reason in stay.reasons if words in reason.why], stay.reasons
    assert len(stay.reasons) == 1, "one cause, one reason"


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ((*BOUND[:2], provider(), association(targetRoleArn="arn:aws:iam::4:role/x")), "goes on to another role"),
        ((*BOUND[:2], provider(), association(policy="{}")), "session policy"),
        ((*BOUND, *policy(ASKS_FOR_TAG)), "Policy own asks for aws:PrincipalTag/kubernetes-namespace"),
        (
            (role(SESSIONS), account(annotated=False), association(clusterName="elsewhere")),
            "does not make cluster elsewhere",
        ),
    ],
    ids=["target role", "session policy", "tags", "cluster"],
)
def test_what_cannot_go_to_irsa_stays_with_its_reason(resources, words):
    found = back(*resources)
    (stay,) = found.stays
    assert found.moves == ()
    assert [words in reason.why for reason in stay.reasons] == [True], stay.reasons


@pytest.mark.parametrize(
    "resources",
    [
        (*IRSA, deployment(labels={"on": "nodes"}), fargate(namespace="shop", labels={"on": "fargate"})),
        (*IRSA, fargate(namespace="other")),
        (*IRSA, deployment(nodeSelector={"kubernetes.io/os": "linux"})),
        (*IRSA, *policy({"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}})),
    ],
    ids=["other labels", "other namespace", "Linux", "plain policy"],
)
def test_what_only_looks_alike_can_move(resources):
    found = forth(*resources)
    assert (len(found.moves), found.stays) == (1, ())


def test_in_a_program_with_two_clusters_an_account_of_each_moves_in_its_own():
    second = resource(
        "aws:eks/cluster:Cluster",
        "second",
        {"name": "second"},
        {"identities": [{"oidcs": [{"issuer": f"https://{OTHER_HOST}"}]}]},
    )
    (move,) = journey(
        mechanisms.to_pod_identity, cluster(), second, provider(), role(tokens(), tokens(host=OTHER_HOST)), addon()
    ).moves
    created = [one for one in move.steps[0].changes.resources if one.kind == "created"]
    assert {one.name for one in created} == {"shop/web in main", "shop/web in second"}


def test_roles_of_no_pod_are_nobodys_business():
    github = {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringLike": {"token.actions.githubusercontent.com:sub": "repo:own/*"}},
    }
    found = forth(role(github))
    assert (found.moves, found.stays, found.arrived) == ((), (), ())


def test_the_json_has_every_step_with_what_it_changes():
    document = journeys.document(forth(*IRSA))
    (move,) = json.loads(json.dumps(document))["moves"]
    assert (document["guide"], move["workload"], move["where"]) == ("irsa-to-pod-identity", "shop/web", "__main__.py:7")
    kinds = [{one["kind"] for one in (step["changes"] or {"resources": []})["resources"]} for step in move["steps"]]
    assert kinds == [{"changed", "created"}, set(), {"changed"}]
