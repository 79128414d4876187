"""`preflight leftovers` in an account where things outlived their cluster, and what happens if its commands are run.

The account is moto's server; `tests/live/aws.py` lists what a stand-in before it answers or refuses. The commands are
run by the AWS CLI itself, in this process. Interfaces that AWS manages are answered by the test, as moto makes none.
"""

from __future__ import annotations

import copy
import json
import shlex

import pytest
from awscli.clidriver import create_clidriver

from preflight.errors import BadInputError
from preflight.live.leftovers import look
from tests.live.world import CLUSTER, OWN, REGION, World, listed, specified

OWNED = {f"kubernetes.io/cluster/{CLUSTER}": "owned"}
BY_CONTROLLER = {"elbv2.k8s.aws/cluster": CLUSTER, "ingress.k8s.aws/stack": "demo/demo"}
BY_LATTICE = {"application-networking.k8s.aws/ManagedBy": f"123456789012/{CLUSTER}/vpc-1"}
KINDS = {
    "instance": 1,
    "listener": 1,
    "load balancer": 1,
    "classic load balancer": 1,
    "target group": 1,
    "Lattice service association": 1,
    "Lattice service": 1,
    "Lattice target group": 1,
    "Lattice VPC association": 1,
    "network interface": 1,
    "security group": 2,
    "volume": 1,
    "log group": 2,
    "OIDC provider": 1,
}


def tagged(kind: str, tags: dict[str, str]) -> list[dict]:
    return [{"ResourceType": kind, "Tags": listed(tags)}]


def network(world: World) -> tuple[str, list[str]]:
    ec2 = world.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    cidrs = {f"{REGION}a": "10.1.0.0/24", f"{REGION}c": "10.1.1.0/24"}
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=zone)["Subnet"]["SubnetId"]
        for zone, cidr in cidrs.items()
    ]
    return vpc, subnets


def litter(world: World, vpc: str, subnets: list[str]) -> None:
    """Leave one of everything that a cluster's controllers make, each held by what AWS has hold it."""
    ec2, elb, classic = world.client("ec2"), world.client("elbv2"), world.client("elb")
    front, back = (
        ec2.create_security_group(
            GroupName=name, Description=name, VpcId=vpc, TagSpecifications=tagged("security-group", BY_CONTROLLER)
        )["GroupId"]
        for name in ("k8s-demo-demo-0123456789", f"k8s-traffic-{CLUSTER}-0123456789")
    )
    for one, other in ((front, back), (back, front)):  # each keeps the other from going
        rule = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": [{"GroupId": other}]}
        ec2.authorize_security_group_ingress(GroupId=one, IpPermissions=[rule])
    balancer = elb.create_load_balancer(
        Name="k8s-demo-demo-0123456789", Subnets=subnets, SecurityGroups=[front], Tags=listed(BY_CONTROLLER)
    )["LoadBalancers"][0]["LoadBalancerArn"]
    elb.modify_load_balancer_attributes(
        LoadBalancerArn=balancer, Attributes=[{"Key": "deletion_protection.enabled", "Value": "true"}]
    )
    group = elb.create_target_group(
        Name="k8s-demo-demo-abcdef", Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip", Tags=listed(BY_CONTROLLER)
    )["TargetGroups"][0]["TargetGroupArn"]
    forward = [{"Type": "forward", "TargetGroupArn": group}]
    elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=forward)
    listener = {"Protocol": "tcp", "LoadBalancerPort": 80, "InstancePort": 30080}
    classic.create_load_balancer(
        LoadBalancerName="a0123456789abcdef", Listeners=[listener], Subnets=subnets, Tags=listed(OWNED)
    )
    ec2.create_network_interface(
        SubnetId=subnets[0],
        Groups=[back],
        TagSpecifications=tagged("network-interface", {"cluster.k8s.amazonaws.com/name": CLUSTER}),
    )
    instance = ec2.run_instances(
        ImageId="ami-12c6146b",
        InstanceType="t3.medium",
        MinCount=1,
        MaxCount=1,
        SubnetId=subnets[0],
        TagSpecifications=tagged("instance", {**OWNED, "karpenter.sh/nodepool": "default"}),
    )["Instances"][0]["InstanceId"]
    assert instance
    ec2.create_volume(
        AvailabilityZone=f"{REGION}a",
        Size=8,
        TagSpecifications=tagged("volume", {**OWNED, "kubernetes.io/created-for/pvc/name": "data"}),
    )
    logs = world.client("logs")
    for name in (f"/aws/eks/{CLUSTER}/cluster", f"/aws/containerinsights/{CLUSTER}/performance"):
        logs.create_log_group(logGroupName=name)
    world.client("iam").create_open_id_connect_provider(
        Url=f"https://oidc.eks.{REGION}.amazonaws.com/id/{'A' * 32}",
        ClientIDList=["sts.amazonaws.com"],
        Tags=listed({"alpha.eksctl.io/cluster-name": CLUSTER}),
    )
    lattice = world.client("vpc-lattice")
    mesh = lattice.create_service_network(name="mesh")["id"]
    service = lattice.create_service(name="demo-apps", tags=BY_LATTICE)["id"]
    lattice.create_service_network_service_association(serviceNetworkIdentifier=mesh, serviceIdentifier=service)
    lattice.create_service_network_vpc_association(serviceNetworkIdentifier=mesh, vpcIdentifier=vpc, tags=BY_LATTICE)
    targets = lattice.create_target_group(
        name="k8s-apps-demo",
        type="IP",
        config={"port": 80, "protocol": "HTTP", "vpcIdentifier": vpc},
        tags={"application-networking.k8s.aws/K8SClusterName": CLUSTER},
    )["id"]
    world.aws.targets[targets] = [{"id": "10.1.0.9", "port": 8090, "status": "UNAVAILABLE"}]


def others(world: World, vpc: str) -> None:
    """Put things beside it that are somebody else's, or shared."""
    ec2 = world.client("ec2")
    for number, tags in enumerate(
        (
            {"kubernetes.io/cluster/other": "owned"},
            {f"kubernetes.io/cluster/{CLUSTER}": "shared"},
            {f"kubernetes.io/cluster/{CLUSTER}-2": "owned"},
            {"elbv2.k8s.aws/cluster": f"{CLUSTER}-2"},
            {},
        )
    ):
        spec = tagged("security-group", tags) if tags else []
        ec2.create_security_group(GroupName=f"other-{number}", Description="-", VpcId=vpc, TagSpecifications=spec)
    world.client("logs").create_log_group(logGroupName=f"/aws/eks/{CLUSTER}-2/cluster")
    world.client("vpc-lattice").create_service(
        name="theirs", tags={"application-networking.k8s.aws/ManagedBy": "1/b/c"}
    )


def counted(found) -> dict[str, int]:
    kinds = [one.kind for one in found]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


def execute(commands: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Run commands as a shell would."""
    driver = create_clidriver()
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "aws"
        status = driver.main(arguments)
        assert status == 0, f"{command} failed: {capsys.readouterr().err}"


def test_the_printed_commands_run_in_their_order_empty_the_account(empty, capsys):
    vpc, subnets = network(empty)
    litter(empty, vpc, subnets)
    others(empty, vpc)

    report = empty.leftovers()
    assert counted(report.left) == KINDS
    assert report.cluster == "gone"
    assert (report.in_use, report.own, report.unsure, report.unanswered) == ([], [], [], [])

    execute(report.commands, capsys)
    after = empty.leftovers()
    assert after.left == [], "nothing of the cluster is left"
    groups = empty.client("ec2").describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}])
    names = {one["GroupName"] for one in groups["SecurityGroups"]}
    assert {f"other-{number}" for number in range(5)} <= names, "what is not the cluster's is still there"
    assert not any(name.startswith("k8s-") for name in names)
    assert "theirs" in {one["name"] for one in empty.client("vpc-lattice").list_services()["items"]}


def test_commands_in_another_order_would_not_work(empty, capsys):
    """Otherwise the test above would show nothing about the order."""
    litter(empty, *network(empty))
    commands = empty.leftovers().commands
    with pytest.raises(AssertionError, match="failed"):
        execute(list(reversed(commands)), capsys)


def test_what_a_living_cluster_uses_is_no_leftover(deployed):
    subnets = [deployed.ids[f"network-public-{REGION}{zone}"] for zone in "ac"]
    litter(deployed, deployed.ids["vpc"], subnets)
    report = deployed.leftovers()
    assert counted(report.left) == {"OIDC provider": 1}, "but the provider of an earlier cluster of its name is one"
    assert report.left[0].id.endswith("A" * 32)
    in_use = KINDS | {"OIDC provider": 0}
    assert counted(report.in_use) == {kind: count for kind, count in in_use.items() if count}
    assert report.cluster == "ACTIVE"
    assert {one.kind for one in report.own} == {"instance", "OIDC provider"}


def test_what_stands_in_the_network_of_an_earlier_cluster_of_the_same_name_is_left_over(deployed):
    litter(deployed, *network(deployed))
    left = counted(deployed.leftovers().left)
    assert left["load balancer"] == 1
    assert left["security group"] == 2
    assert "volume" not in left, "whose a volume is nobody can tell while a cluster of the name is there"


def test_what_the_stack_itself_made_gets_no_command_unless_its_state_is_lost(empty):
    ec2, (vpc, _) = empty.client("ec2"), network(empty)
    tags = specified("security-group", **OWNED)
    ec2.create_security_group(GroupName="own", Description="-", VpcId=vpc, TagSpecifications=tags)
    report = empty.leftovers()
    assert (report.left, counted(report.own), report.commands) == ([], {"security group": 1}, [])

    lost = empty.leftovers(lost_state=True)
    assert (counted(lost.left), lost.own) == ({"security group": 1}, [])


def test_the_tags_of_another_stack_do_not_make_a_thing_the_stacks_own(empty):
    ec2, (vpc, _) = empty.client("ec2"), network(empty)
    tags = tagged("security-group", {**OWN, "pulumi-stack": "prod", **OWNED})
    ec2.create_security_group(GroupName="prod", Description="-", VpcId=vpc, TagSpecifications=tags)
    assert counted(empty.leftovers().left) == {"security group": 1}


def test_a_volume_whose_driver_did_not_name_its_cluster_is_shown_without_a_command(empty):
    tags = tagged("volume", {"ebs.csi.aws.com/cluster": "true"})
    empty.client("ec2").create_volume(AvailabilityZone=f"{REGION}a", Size=8, TagSpecifications=tags)
    report = empty.leftovers()
    assert (report.left, report.commands) == ([], [])
    assert report.unsure[0].unsure == "its driver did not say for which cluster it is"


def test_a_volume_that_hangs_on_somebody_elses_instance_is_shown_without_a_command(empty):
    ec2 = empty.client("ec2")
    instance = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    zone = ec2.describe_instances()["Reservations"][0]["Instances"][0]["Placement"]["AvailabilityZone"]
    volume = ec2.create_volume(AvailabilityZone=zone, Size=8, TagSpecifications=tagged("volume", OWNED))["VolumeId"]
    ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdh")
    report = empty.leftovers()
    assert (report.left, report.unsure[0].unsure) == ([], f"attached to {instance}")


def test_an_interface_that_aws_manages_is_shown_without_a_command(empty):
    item = (
        "<item><networkInterfaceId>eni-1</networkInterfaceId><requesterManaged>true</requesterManaged>"
        f"<description>Amazon EKS {CLUSTER}</description><vpcId>vpc-1</vpcId></item>"
    )
    answer = "DescribeNetworkInterfacesResponse"
    body = f"<{answer}><networkInterfaceSet>{item}</networkInterfaceSet></{answer}>"
    empty.aws.answers["DescribeNetworkInterfaces"] = lambda call: (
        (200, body) if call.values.get("Filter.1.Name") == "description" else None
    )
    report = empty.leftovers()
    assert (report.left, report.unsure[0].unsure) == ([], "AWS manages it, and removes it")


def test_while_the_cluster_is_being_deleted_the_answer_is_partial(deployed):
    deployed.aws.cluster["status"] = "DELETING"
    report = deployed.leftovers()
    assert [str(gap) for gap in report.unanswered] == [
        f"eks:DescribeCluster: {CLUSTER} is still being deleted; ask again when it is gone"
    ]
    assert report.left == []


def test_nothing_gets_a_command_while_nobody_knows_whether_the_cluster_is_there(empty):
    litter(empty, *network(empty))
    empty.aws.refused[f"GET /clusters/{CLUSTER}"] = (403, "AccessDeniedException")
    report = empty.leftovers()
    assert (report.left, report.commands) == ([], [])
    assert counted(report.unsure) == KINDS
    assert report.unanswered


def test_ten_thousand_volumes_on_ten_pages_are_all_found(empty):
    tags = f"<tagSet><item><key>kubernetes.io/cluster/{CLUSTER}</key><value>owned</value></item></tagSet>"

    def page(call):
        number = int(call.values.get("NextToken", "0"))
        ids = range(number * 1000, number * 1000 + 1000)
        volumes = "".join(f"<item><volumeId>vol-{one}</volumeId>{tags}</item>" for one in ids)
        following = f"<nextToken>{number + 1}</nextToken>" if number < 9 else ""
        return 200, f"<DescribeVolumesResponse><volumeSet>{volumes}</volumeSet>{following}</DescribeVolumesResponse>"

    empty.aws.answers["DescribeVolumes"] = page
    report = empty.leftovers()
    assert counted(report.left) == {"volume": 10_000}
    assert len(set(report.commands)) == 10_000


def test_target_groups_beyond_one_page_are_found(empty):
    elb, (vpc, _) = empty.client("elbv2"), network(empty)
    for number in range(45):  # tags are asked for twenty at a time
        elb.create_target_group(Name=f"k8s-{number}", Protocol="HTTP", Port=80, VpcId=vpc, Tags=listed(BY_CONTROLLER))
    assert counted(empty.leftovers().left) == {"target group": 45}


def test_credentials_of_another_account_are_refused(empty):
    recording = copy.deepcopy(empty.recording)
    for one in recording["resources"]:
        if one["type"] == "pulumi:providers:aws":
            one["inputs"]["allowedAccountIds"] = json.dumps(["111122223333"])
    with pytest.raises(BadInputError, match=r"another account.*\n.*123456789012\n.*111122223333"):
        look(recording, lambda _: None)


def test_a_stack_without_a_cluster_is_refused(empty):
    recording = copy.deepcopy(empty.recording)
    recording["resources"] = [one for one in recording["resources"] if one["type"] != "eks:index:Cluster"]
    with pytest.raises(BadInputError, match="makes no EKS cluster"):
        look(recording, lambda _: None)


def test_nothing_that_changes_anything_is_called(empty):
    litter(empty, *network(empty))
    empty.aws.calls.clear()
    empty.leftovers()
    reads = ("Describe", "List", "Get", "GET ", "POST /targetgroups/")
    assert {call for call in empty.aws.calls if not call.startswith(reads)} == set()
