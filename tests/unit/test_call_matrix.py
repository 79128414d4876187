"""Every caller of a system against every service: two clusters, each with a service for the other's pods."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from preflight.call_matrix import Matrix, Row, matrix
from preflight.graph import Graph, Resource
from preflight.report.matrix import document, show

ACCOUNT = "111122223333"
CLIENT = f"arn:aws:iam::{ACCOUNT}:role/client"
NETWORK = f"arn:aws:vpc-lattice:eu-central-1:{ACCOUNT}:servicenetwork/sn-1"
INJECT = "vpc-lattices-svcs.amazonaws.com/agent-inject"
INVOKE = {"Effect": "Allow", "Action": "vpc-lattice-svcs:Invoke", "Resource": "*"}
SIGNED = {"StringNotEqualsIgnoreCase": {"aws:PrincipalType": "anonymous"}}
POD_IDENTITY = {
    "Effect": "Allow",
    "Principal": {"Service": "pods.eks.amazonaws.com"},
    "Action": ["sts:AssumeRole", "sts:TagSession"],
}


def policy(*statements: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def resource(
    stack: str, type_: str, name: str, /, *, provider: str = "", waits_for: Any = (), **values: Any
) -> Resource:
    urn = f"urn:pulumi:{stack}::p::{type_}::{name}"
    outputs = {"arn": f"arn:{name}", **values}
    return Resource(
        urn, type_, name, provider=provider, id=name, inputs=values, outputs=outputs, dependencies=tuple(waits_for)
    )


def mesh(auth_type: str = "AWS_IAM", statement: Any = None) -> Graph:
    role = {"name": "client", "arn": CLIENT, "assumeRolePolicy": policy(POD_IDENTITY)}
    return Graph(
        [
            resource("mesh", "aws:iam/role:Role", "client", **role),
            resource("mesh", "aws:iam/rolePolicy:RolePolicy", "client", role="client", policy=policy(INVOKE)),
            resource(
                "mesh",
                "aws:vpclattice/serviceNetwork:ServiceNetwork",
                "network",
                name="lattice-gateway",
                authType=auth_type,
                arn=NETWORK,
            ),
            resource(
                "mesh",
                "aws:vpclattice/authPolicy:AuthPolicy",
                "network",
                resourceIdentifier=NETWORK,
                policy=policy(statement or {**INVOKE, "Principal": "*", "Condition": SIGNED}),
            ),
        ]
    )


def admits(cluster: str, **condition: Any) -> str:
    tags = {"aws:PrincipalTag/eks-cluster-name": cluster, "aws:PrincipalTag/kubernetes-namespace": "apps"}
    principal = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    return policy({**INVOKE, "Principal": principal, "Condition": {"StringEquals": {**tags, **condition}}})


def cluster(name: str, auth_policy: str | None, injected: bool = True) -> Graph:
    """A cluster with the pods apps/default, the service demo-<name>, and one more account with a role of its own."""
    eks = resource(name, "aws:eks/cluster:Cluster", name, name=name)
    kube = resource(name, "pulumi:providers:kubernetes", "kube", waits_for=[eks.urn])

    def made(type_: str, namespace: str, object_name: str, spec: Any) -> Resource:
        metadata = {"namespace": namespace, "name": object_name}
        return resource(
            name, f"kubernetes:{type_}", object_name, provider=f"{kube.urn}::kube", metadata=metadata, spec=spec
        )

    demo = f"demo-{name}"
    template = {"metadata": {"annotations": {INJECT: "true"} if injected else {}}, "spec": {"containers": []}}
    role = {"name": f"dns-{name}", "arn": f"arn:aws:iam::{ACCOUNT}:role/dns-{name}"}
    found = [
        eks,
        kube,
        resource(name, "aws:iam/role:Role", "dns", assumeRolePolicy=policy(POD_IDENTITY), **role),
        *(
            resource(
                name,
                "aws:eks/podIdentityAssociation:PodIdentityAssociation",
                account,
                clusterName=name,
                namespace=namespace,
                serviceAccount=account,
                roleArn=role_arn,
            )
            for namespace, account, role_arn in (("apps", "default", CLIENT), ("dns", "dns", role["arn"]))
        ),
        made("policies.kyverno.io/v1:MutatingPolicy", "", "inject", {"matchConditions": [{"expression": INJECT}]}),
        made("apps/v1:Deployment", "apps", demo, {"template": template}),
        made(
            "gateway.networking.k8s.io/v1:Gateway",
            "gw",
            "lattice-gateway",
            {"gatewayClassName": "amazon-vpc-lattice", "listeners": []},
        ),
        made(
            "gateway.networking.k8s.io/v1:HTTPRoute",
            "apps",
            demo,
            {"hostnames": [f"{demo}.example.com"], "parentRefs": [{"name": "lattice-gateway", "namespace": "gw"}]},
        ),
    ]
    if auth_policy:
        target = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": demo}
        spec = {"targetRef": target, "policy": auth_policy}
        found.append(made("application-networking.k8s.aws/v1alpha1:IAMAuthPolicy", "apps", f"{demo}-policy", spec))
    return Graph(found)


ONLY_CLIENT = {"aws:PrincipalArn": CLIENT}


def system(**changed: Graph) -> Matrix:
    stacks = {
        "mesh": mesh(),
        "cluster1": cluster("cluster1", admits("cluster2", **ONLY_CLIENT)),
        "cluster2": cluster("cluster2", admits("cluster1", **ONLY_CLIENT)),
    }
    return matrix({**stacks, **changed})


def row(found: Matrix, caller: str) -> Row:
    rows = {one.caller: one for one in found.rows}
    assert caller in rows, f"there is a row for {caller} among {sorted(rows)}"
    return rows[caller]


def said(found: Matrix, caller: str) -> list[tuple[str, str]]:
    return [(one.word, one.judge) for one in row(found, caller).verdicts]


SERVICE1, SERVICE2 = "service apps/demo-cluster1", "service apps/demo-cluster2"
NETWORK_NAME = "service network lattice-gateway"


def test_each_cluster_calls_the_others_service_and_not_its_own():
    found = system()
    assert [one.host for one in found.services] == ["demo-cluster1.example.com", "demo-cluster2.example.com"]
    assert said(found, "apps/default in cluster1") == [("refused", SERVICE1), ("admitted", SERVICE2)]
    assert said(found, "apps/default in cluster2") == [("admitted", SERVICE1), ("refused", SERVICE2)]


@pytest.mark.parametrize(
    ("stranger", "judges"),
    [
        ("a call that nobody signed", [NETWORK_NAME, NETWORK_NAME]),
        ("a pod of another namespace", [SERVICE1, SERVICE2]),
        ("a pod of another cluster", [SERVICE1, SERVICE2]),
        ("a session of that role without tags", [SERVICE1, SERVICE2]),
        ("another role, which forges the tags", [SERVICE1, SERVICE2]),
        ("that role of another account", [SERVICE1, SERVICE2]),
    ],
)
def test_a_stranger_is_refused_by_every_service_namely(stranger: str, judges: list[str]):
    assert said(system(), stranger) == [("refused", judge) for judge in judges]


def test_without_a_principal_arn_a_role_that_forges_the_tags_gets_in():
    found = system(cluster1=cluster("cluster1", admits("cluster2")))
    assert said(found, "another role, which forges the tags") == [("admitted", SERVICE1), ("refused", SERVICE2)]


def test_a_service_without_auth_policy_admits_whomever_the_network_admits():
    found = system(cluster2=cluster("cluster2", None))
    assert said(found, "apps/default in cluster2")[1] == ("admitted", NETWORK_NAME)
    assert said(found, "a pod of another namespace")[1] == ("admitted", NETWORK_NAME)
    assert said(found, "a call that nobody signed")[1] == ("refused", NETWORK_NAME)


def test_with_neither_network_nor_service_asking_a_call_that_nobody_signed_gets_in():
    found = system(mesh=mesh("NONE"), cluster2=cluster("cluster2", None))
    assert said(found, "a call that nobody signed")[1] == ("admitted", SERVICE2)


def test_a_policy_on_a_network_whose_auth_type_is_none_has_no_effect():
    assert said(system(mesh=mesh("NONE")), "a call that nobody signed") == [
        ("refused", SERVICE1),
        ("refused", SERVICE2),
    ]


def test_an_account_whose_role_may_not_invoke_is_refused_whatever_the_services_say():
    anybody = policy({**INVOKE, "Principal": "*"})
    found = system(cluster1=cluster("cluster1", anybody))
    assert said(found, "dns/dns in cluster1")[0] == ("refused", "own policies")


def test_without_the_stack_of_the_network_calls_are_undecided_and_not_admitted():
    alone = matrix({"cluster1": cluster("cluster1", admits("cluster1"))})
    assert said(alone, "apps/default") == [("undecided", NETWORK_NAME)]


def test_pods_that_nothing_signs_for_are_listed_with_the_unsigned_calls():
    found = system(cluster2=cluster("cluster2", admits("cluster1"), injected=False))
    assert row(found, "apps/default in cluster1").pods == ("Deployment apps/demo-cluster1",)
    assert row(found, "apps/default in cluster2").pods == ()
    assert row(found, "a call that nobody signed").pods == ("Deployment apps/demo-cluster2 in cluster2",)


def test_an_annotation_that_no_policy_of_the_same_cluster_reads_signs_nothing():
    signing, deaf = cluster("cluster1", admits("cluster2")), cluster("cluster2", admits("cluster1"))
    without = Graph([one for one in deaf.resources.values() if not one.type.endswith("MutatingPolicy")])
    found = system(cluster1=signing, cluster2=without)
    assert row(found, "a call that nobody signed").pods == ("Deployment apps/demo-cluster2 in cluster2",)


def test_the_text_numbers_its_reasons_and_gives_each_once():
    text = io.StringIO()
    show(system(), Console(file=text, width=120))
    lines = text.getvalue().splitlines()
    reasons = [line for line in lines if NETWORK_NAME in line]
    assert len(reasons) == 1, "the network refuses both services' unsigned callers for one reason"
    (unsigned,) = [line for line in lines if line.startswith("a call that nobody signed")]
    number = reasons[0].split()[0]
    assert unsigned.split()[-4:] == ["refused", number, "refused", number]


def test_the_json_has_for_each_call_who_decides_and_by_what_statement():
    call = {one["caller"]: one for one in document(system())["callers"]}["apps/default in cluster1"]
    assert call["role"] == CLIENT
    assert call["calls"]["demo-cluster2.example.com"] == {
        "verdict": "admitted",
        "by": SERVICE2,
        "statement": "statement 1",
        "reason": f"statement 1 allows vpc-lattice-svcs:Invoke to {CLIENT}",
        "unless": [],
    }


def test_a_system_without_services_says_so():
    text = io.StringIO()
    show(matrix({"mesh": mesh()}), Console(file=text, width=120))
    assert text.getvalue() == "No HTTPRoute of VPC Lattice in mesh.\n"
