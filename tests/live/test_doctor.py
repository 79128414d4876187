"""`preflight doctor` in an account with the dev stack in it, of which one link is broken at a time.

The account is moto's server; `tests/live/aws.py` lists what a stand-in before it answers or refuses. The cluster's API
is `tests/live/kube.py`. Route tables with a route to nowhere are answered by the test, as moto knows no such route.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from preflight.live.doctor import examine
from tests.live.world import CLUSTER, CONTROLLER, OWN, REGION, listed, named
from tests.recorded import recorded

ROOT = Path(__file__).parents[2]
ROLE = "arn:aws:iam::123456789012:role/cluster"
INGRESS = "Ingress demo/demo"
SYSTEM = "/api/v1/namespaces/kube-system/serviceaccounts/aws-load-balancer-controller"
CLASS = "/apis/networking.k8s.io/v1/ingressclasses/alb"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/webhook-1"
DEPLOYMENT = "/apis/apps/v1/namespaces/kube-system/deployments/aws-load-balancer-controller"


@contextmanager
def names_off(world) -> Iterator[None]:
    ec2, vpc = world.client("ec2"), world.ids["vpc"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": False})
    yield
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})


@contextmanager
def road_to_nowhere(world) -> Iterator[None]:
    nat = world.ids["nat"]
    item = f"<item><natGatewayId>{nat}</natGatewayId><state>blackhole</state></item>"
    table = f"<item><routeTableId>rtb-1</routeTableId><routeSet>{item}</routeSet></item>"
    body = f"<DescribeRouteTablesResponse><routeTableSet>{table}</routeTableSet></DescribeRouteTablesResponse>"
    world.aws.answers["DescribeRouteTables"] = lambda _: (200, body)
    yield
    del world.aws.answers["DescribeRouteTables"]


@contextmanager
def tag_gone(world) -> Iterator[None]:
    ec2, subnet = world.client("ec2"), world.ids[f"network-public-{REGION}a"]
    ec2.delete_tags(Resources=[subnet], Tags=[{"Key": "kubernetes.io/role/elb"}])
    yield
    ec2.create_tags(Resources=[subnet], Tags=[{"Key": "kubernetes.io/role/elb", "Value": "1"}])


@contextmanager
def tag_of_another_cluster(world) -> Iterator[None]:
    ec2, subnet = world.client("ec2"), world.ids[f"network-public-{REGION}a"]
    own, other = ({"Key": f"kubernetes.io/cluster/{name}", "Value": "shared"} for name in (CLUSTER, "other"))
    ec2.delete_tags(Resources=[subnet], Tags=[own])
    ec2.create_tags(Resources=[subnet], Tags=[other])
    yield
    ec2.delete_tags(Resources=[subnet], Tags=[other])
    ec2.create_tags(Resources=[subnet], Tags=[own])


@contextmanager
def no_room(world) -> Iterator[None]:
    """The only subnet for load balancers of a zone has 11 addresses, and 4 of them are taken."""
    ec2 = world.client("ec2")
    with tag_gone(world):
        vpc, zone = world.ids["vpc"], f"{REGION}a"
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.255.0/28", AvailabilityZone=zone)["Subnet"]["SubnetId"]
        ec2.create_tags(Resources=[subnet], Tags=[{"Key": "kubernetes.io/role/elb", "Value": "1"}])
        taken = [ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"] for _ in range(4)]
        yield
        for one in taken:
            ec2.delete_network_interface(NetworkInterfaceId=one["NetworkInterfaceId"])
        ec2.delete_subnet(SubnetId=subnet)


@contextmanager
def port_closed(world) -> Iterator[None]:
    ec2, group = world.client("ec2"), world.ids["nodes"]
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[world.rule(9443)])
    yield
    world.open(9443)


@contextmanager
def no_annotation(world) -> Iterator[None]:
    annotations = world.kube.objects[SYSTEM]["metadata"].pop("annotations")
    yield
    world.kube.objects[SYSTEM]["metadata"]["annotations"] = annotations


@contextmanager
def wrong_role_name(world) -> Iterator[None]:
    annotations = world.kube.objects[SYSTEM]["metadata"]["annotations"]
    right = annotations["eks.amazonaws.com/role-arn"]
    annotations["eks.amazonaws.com/role-arn"] = "arn:aws:iam::123456789012:role/AmazonEKSLoadBalancerControllerRole"
    yield
    annotations["eks.amazonaws.com/role-arn"] = right


@contextmanager
def account_elsewhere(world) -> Iterator[None]:
    account = world.kube.objects.pop(SYSTEM)
    there = SYSTEM.replace("kube-system", "default")
    world.kube.put(there, metadata={"annotations": account["metadata"]["annotations"]})
    yield
    del world.kube.objects[there]
    world.kube.objects[SYSTEM] = account


@contextmanager
def role_gone(world) -> Iterator[None]:
    """Somebody made the role by hand, under a name of their own."""
    iam, name = world.client("iam"), world.ids["ingress-controller-role"]
    trust = json.dumps(iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"])
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    move(iam, name, "MyControllerRole", trust, attached)
    yield
    move(iam, "MyControllerRole", name, trust, attached)


def move(iam, name, other, trust, attached) -> None:
    for policy in attached:
        iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
    iam.delete_role(RoleName=name)
    iam.create_role(RoleName=other, AssumeRolePolicyDocument=trust, Tags=listed(OWN))
    for policy in attached:
        iam.attach_role_policy(RoleName=other, PolicyArn=policy["PolicyArn"])


@contextmanager
def provider_gone(world) -> Iterator[None]:
    """The provider of an earlier cluster is there, the live one's is not."""
    iam, arn = world.client("iam"), world.ids["provider"]
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    old = f"https://oidc.eks.{REGION}.amazonaws.com/id/{'0' * 32}"
    other = iam.create_open_id_connect_provider(Url=old, ClientIDList=["sts.amazonaws.com"])["OpenIDConnectProviderArn"]
    yield
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=other)
    tags = listed({**OWN, "Name": CLUSTER})
    iam.create_open_id_connect_provider(Url=world.ids["issuer"], ClientIDList=["sts.amazonaws.com"], Tags=tags)


@contextmanager
def audience_gone(world) -> Iterator[None]:
    registered(world, "sts.amazonaws.com.cn")
    yield
    registered(world, "sts.amazonaws.com")


def registered(world, audience: str) -> None:
    """Register the live issuer's provider anew."""
    iam = world.client("iam")
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=world.ids["provider"])
    tags = listed({**OWN, "Name": CLUSTER})
    iam.create_open_id_connect_provider(Url=world.ids["issuer"], ClientIDList=[audience], Tags=tags)


@contextmanager
def trust(world, old: str, new: str, role: str = "ingress-controller-role") -> Iterator[None]:
    iam, name = world.client("iam"), world.ids[role]
    right = json.dumps(iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"])
    assert old in right
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=right.replace(old, new))
    yield
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=right)


def wrong_namespace(world):
    return trust(world, "system:serviceaccount:kube-system:", "system:serviceaccount:default:")


def scheme_in_key(world):
    return trust(world, '"oidc.eks.', '"https://oidc.eks.')


def wildcard_taken_literally(world):
    return trust(world, "system:serviceaccount:kube-system:aws-load-balancer-controller", "system:serviceaccount:*")


@contextmanager
def attachment_gone(world) -> Iterator[None]:
    iam, name = world.client("iam"), world.ids["ingress-controller-role"]
    arn = world.ids["ingress-controller-aws-load-balancer-controller"]
    iam.detach_role_policy(RoleName=name, PolicyArn=arn)
    yield
    iam.attach_role_policy(RoleName=name, PolicyArn=arn)


@contextmanager
def old_policy(world) -> Iterator[None]:
    """The policy of an older controller: it knows no DescribeListenerAttributes."""
    iam, arn = world.client("iam"), world.ids["ingress-controller-aws-load-balancer-controller"]
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    for statement in document["Statement"]:
        if isinstance(statement["Action"], list):
            gone = "elasticloadbalancing:DescribeListenerAttributes"
            statement["Action"] = [action for action in statement["Action"] if action != gone]
    old = iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(document), SetAsDefault=True)
    yield
    iam.set_default_policy_version(PolicyArn=arn, VersionId=version)
    iam.delete_policy_version(PolicyArn=arn, VersionId=old["PolicyVersion"]["VersionId"])


@contextmanager
def nothing_ready(world) -> Iterator[None]:
    world.kube.objects[DEPLOYMENT]["status"] = {}
    yield
    world.kube.objects[DEPLOYMENT]["status"] = {"availableReplicas": 2}


@contextmanager
def webhook_unanswered(world) -> Iterator[None]:
    slices = world.kube.objects[SLICES]
    slices["endpoints"][0]["conditions"]["ready"] = False
    yield
    slices["endpoints"][0]["conditions"]["ready"] = True


@contextmanager
def class_gone(world) -> Iterator[None]:
    kept = world.kube.objects.pop(CLASS)
    yield
    world.kube.objects[CLASS] = kept


@contextmanager
def class_of_another(world) -> Iterator[None]:
    world.kube.objects[CLASS]["spec"]["controller"] = "k8s.io/ingress-nginx"
    yield
    world.kube.objects[CLASS]["spec"]["controller"] = "ingress.k8s.aws/alb"


BREAKS = {
    "names do not resolve": (names_off, INGRESS, "VPC", "enableDnsHostnames"),
    "a route leads to a gateway that is gone": (road_to_nowhere, INGRESS, "VPC", "route table rtb-1 leads to nat-"),
    "a subnet lacks its tag": (tag_gone, INGRESS, "tags", "kubernetes.io/role/elb=1 in 1 zones"),
    "a subnet is another cluster's": (tag_of_another_cluster, INGRESS, "tags", "carry the tag of another cluster"),
    "a subnet is full": (no_room, INGRESS, "tags", "wants 8 free addresses in each subnet"),
    "the webhook's port is closed": (port_closed, INGRESS, "webhook", "port 9443 of the nodes"),
    "the account has no annotation": (no_annotation, CONTROLLER, "account", "no annotation eks.amazonaws.com/role-arn"),
    "wrong role name": (wrong_role_name, CONTROLLER, "account", "which does not exist; the plan's is arn:aws:iam"),
    "the account is in another namespace": (
        account_elsewhere,
        CONTROLLER,
        "account",
        "there is default/aws-load-balancer-controller",
    ),
    "the role has another name": (role_gone, CONTROLLER, "role", "there is no role ingress-controller-role-"),
    "missing provider": (provider_gone, CONTROLLER, "OIDC provider", "none is registered for the cluster's issuer"),
    "the provider does not know the audience": (
        audience_gone,
        CONTROLLER,
        "OIDC provider",
        "it accepts sts.amazonaws.com.cn",
    ),
    "wrong namespace": (wrong_namespace, CONTROLLER, "trust", "system:serviceaccount:default:"),
    "https:// in the trust's key": (scheme_in_key, CONTROLLER, "trust", "https://"),
    "a wildcard under StringEquals": (wildcard_taken_literally, CONTROLLER, "trust", "system:serviceaccount:*"),
    "missing attachment": (attachment_gone, CONTROLLER, "policy", "is not attached to ingress-controller-role-"),
    "old policy": (old_policy, CONTROLLER, "policy", "may elasticloadbalancing:DescribeListenerAttributes"),
    "the controller does not run": (nothing_ready, INGRESS, "controller", "0 of 2 replicas are available"),
    "nobody answers for the webhook": (webhook_unanswered, INGRESS, "controller", "0 answer for its webhook"),
    "the class is gone": (class_gone, INGRESS, "class", "there is no class alb"),
    "the class is another controller's": (class_of_another, INGRESS, "class", "k8s.io/ingress-nginx"),
}
"""What is broken, and which link says what about it: wrong names, missing pieces and old policies of live clusters."""

WITHOUT_API = (
    "a subnet lacks its tag",
    "the role has another name",
    "missing provider",
    "wrong namespace",
    "missing attachment",
    "old policy",
)


@pytest.mark.parametrize("name", BREAKS)
def test_the_broken_link_is_the_cause_and_the_missing_address_follows_from_it(standing, name):
    broken, about, link, text = BREAKS[name]
    standing.addressed("")
    with broken(standing):
        verdicts = standing.doctor().verdicts

    causes = [(one.about, one.link) for one in verdicts if one.status == "broken"]
    assert causes == [(about, link)], "the broken link is named, and nothing else is"
    cause = next(one for one in verdicts if one.status == "broken")
    assert text in cause.text
    assert cause.fix, "whoever reads it is told what to do"
    last = next(one for one in verdicts if one.link == "Ingress")
    assert last.status == "follows", "the missing address is a symptom"
    assert f"because of {link}" in last.text


@pytest.mark.parametrize("name", WITHOUT_API)
def test_what_aws_alone_can_tell_is_told_without_the_clusters_api(standing, name):
    broken, about, link, _ = BREAKS[name]
    standing.kube.refuses = 403
    with broken(standing):
        verdicts = standing.doctor().verdicts
    standing.kube.refuses = 0

    assert [(one.about, one.link) for one in verdicts if one.status == "broken"] == [(about, link)]
    assert {one.link for one in verdicts if one.status == "unknown"} == {"account", "controller", "class"}
    assert next(one for one in verdicts if one.link == "Ingress").status == "follows"
    told = [one.text for one in verdicts if one.link == "controller"]
    assert told == ["the cluster's API does not let the caller read it"]


def test_an_address_that_is_missing_for_no_reason_known_here_is_a_finding_of_its_own(standing):
    standing.addressed("")
    verdicts = standing.doctor().verdicts
    assert [(one.link, one.status, one.text) for one in verdicts if one.status != "ok"] == [
        ("Ingress", "broken", "it has no address")
    ]


def test_a_controller_that_is_down_because_of_its_role_is_no_cause(standing):
    standing.addressed("")
    with attachment_gone(standing), nothing_ready(standing):
        verdicts = standing.doctor().verdicts
    assert {one.link: one.status for one in verdicts if one.status != "ok"} == {
        "policy": "broken",
        "controller": "follows",
        "Ingress": "follows",
    }


def test_two_independent_breaks_are_both_named_and_the_first_one_explains(standing):
    standing.addressed("")
    with tag_gone(standing), attachment_gone(standing):
        verdicts = standing.doctor().verdicts
    assert [one.link for one in verdicts if one.status == "broken"] == ["tags", "policy"]
    assert "because of tags" in next(one for one in verdicts if one.link == "Ingress").text


def test_one_thing_that_the_caller_may_not_read_keeps_none_of_the_others(standing):
    standing.kube.hidden = CLASS
    verdicts = standing.doctor().verdicts
    assert {one.link: one.status for one in verdicts if one.status != "ok"} == {"class": "unknown"}


def test_a_cluster_that_does_not_know_the_caller_is_asked_once(standing):
    standing.kube.refuses, standing.kube.asked = 401, 0
    verdicts = standing.doctor().verdicts
    assert standing.kube.asked == 1
    assert "it does not know the caller" in next(one for one in verdicts if one.link == "class").text


def test_a_cluster_that_cannot_be_reached_from_here_is_left_out_with_a_note(standing):
    standing.aws.cluster["endpoint"] = "https://127.0.0.1:9"
    verdicts = standing.doctor().verdicts
    standing.aws.cluster["endpoint"] = standing.kube.url
    assert "it cannot be reached from here" in next(one for one in verdicts if one.link == "controller").text


def test_a_missing_association_breaks_its_own_account_only(standing):
    kept = standing.aws.associations.copy()
    standing.aws.associations.clear()
    verdicts = standing.doctor().verdicts
    standing.aws.associations.update(kept)
    assert [(one.about, one.link) for one in verdicts if one.status == "broken"] == [
        ("kube-system/aws-node", "account"),
        ("kube-system/ebs-csi-controller-sa", "account"),
    ]


def test_a_trust_that_admits_no_tags_breaks_pod_identity(standing):
    with trust(standing, ', "sts:TagSession"', "", "cluster-vpc-cni-role"):
        verdicts = standing.doctor().verdicts
    [broken] = [one for one in verdicts if one.status == "broken"]
    assert (broken.about, broken.link) == ("kube-system/aws-node", "trust")
    assert "sts:TagSession" in broken.text


def test_rights_beyond_the_plan_are_drift_in_words_and_no_break(standing):
    iam, name = standing.client("iam"), standing.ids["ingress-controller-role"]
    more = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}
    iam.put_role_policy(RoleName=name, PolicyName="by-hand", PolicyDocument=json.dumps(more))
    wider = ["system:serviceaccount:kube-system:aws-load-balancer-controller", "system:serviceaccount:kube-system:me"]
    with trust(standing, f'"{wider[0]}"', json.dumps(wider)):
        report = standing.doctor()
    iam.delete_role_policy(RoleName=name, PolicyName="by-hand")

    drift = {one.link: one.text for one in report.verdicts if one.status == "drift"}
    assert drift["policy"] == "beyond the plan it has by-hand"
    assert "beyond the plan it admits system:serviceaccount:kube-system:me" in drift["trust"]
    assert not report.broken


def test_of_two_stacks_roles_the_one_with_the_stacks_tags_counts(standing):
    iam = standing.client("iam")
    other = "ingress-controller-role-abcdef0"
    assert other != named("ingress-controller-role")
    iam.create_role(RoleName=other, AssumeRolePolicyDocument="{}", Tags=listed({**OWN, "pulumi-stack": "prod"}))
    report = standing.doctor()
    iam.delete_role(RoleName=other)
    assert not report.broken


@pytest.mark.parametrize(
    ("laid", "text"),
    [({"status": "DELETING"}, "it is DELETING"), ({"status": "FAILED"}, "it is FAILED")],
    ids=["deleting", "failed"],
)
def test_a_cluster_half_deleted_is_the_cause_and_its_chain_is_left_alone(standing, laid, text):
    standing.aws.cluster |= laid
    verdicts = standing.doctor().verdicts
    del standing.aws.cluster["status"]
    [broken] = [one for one in verdicts if one.status == "broken"]
    assert (broken.link, broken.about) == ("cluster", CLUSTER)
    assert text in broken.text
    assert "Ingress" not in {one.link for one in verdicts}


def test_every_break_was_mended(standing):
    assert {one.status for one in standing.doctor().verdicts} == {"ok"}, "a test left something broken behind"


def test_a_cluster_without_nodes_has_nothing_that_could_answer_a_webhook(deployed):
    ec2 = deployed.client("ec2")
    found = ec2.describe_instances()["Reservations"]
    ec2.terminate_instances(InstanceIds=[one["InstanceId"] for each in found for one in each["Instances"]])
    [broken] = [one for one in deployed.doctor().verdicts if one.status == "broken"]
    assert (broken.link, "no instance carries the cluster's tag" in broken.text) == ("webhook", True)


def test_a_cluster_that_is_gone_while_its_network_is_there_broke_off(deployed):
    deployed.client("eks").delete_cluster(name=CLUSTER)
    [broken] = [one for one in deployed.doctor().verdicts if one.status == "broken"]
    assert broken.link == "cluster"
    assert f"it is not there, but {deployed.ids['vpc']} of the stack is" in broken.text


def test_a_role_of_another_stack_is_known_by_that_stacks_tags(empty):
    """The client role of a mesh is made once, and taken in each of its clusters."""
    preview, update = recorded("cluster1")
    eks, iam = empty.client("eks"), empty.client("iam")
    eks.create_cluster(name="cluster1", version="1.35", roleArn=ROLE, resourcesVpcConfig={"subnetIds": []})
    vpc = empty.client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    empty.aws.cluster["resourcesVpcConfig"] = {"vpcId": vpc}
    for stack, suffix in (("mesh", "0000000"), ("mesh-of-others", "1111111")):
        own = listed({**OWN, "pulumi-stack": stack})
        iam.create_role(RoleName=f"environment-client-{suffix}", AssumeRolePolicyDocument="{}", Tags=own)

    [report] = examine(preview, update, lambda _: None)
    roles = {one.about: one.text for one in report.verdicts if one.link == "role"}
    assert roles["apps/default"] == "arn:aws:iam::123456789012:role/environment-client-0000000"
    assert "of stack cluster1" in roles["kube-system/aws-node"]
