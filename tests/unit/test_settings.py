"""Bad stack files: every mistake is named once, all in one run, with what is allowed and what to change."""

import copy
import json

import pytest

from settings import SettingsError, check_settings

GOOD = {
    "region": "ap-northeast-2",
    "network": {"cidr": "10.0.0.0/16", "zones": ["ap-northeast-2a", "ap-northeast-2c"], "nat": "single"},
    "cluster": {
        "name": "dev",
        "kubernetesVersion": "1.35",
        "nodeGroups": {"system": {"instanceTypes": ["t3.medium"], "minSize": 2, "maxSize": 3}},
    },
    "ingress": {"certManager": {}},
    "demo": {"scheme": "internet-facing"},
}


IAM = "arn:aws:iam::111122223333"
ISSUER = "oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
ZONE = "arn:aws:route53:::hostedzone/Z0123456789EXAMPLE"


def stack(**changes):
    """The good stack with values changed by dotted path; None removes a key."""
    values = copy.deepcopy(GOOD)
    for path, value in changes.items():
        *parents, last = path.split("__")
        section = values
        for parent in parents:
            section = section.setdefault(parent, {})
        if value is None:
            del section[last]
        else:
            section[last] = value
    return values


def problems(values):
    with pytest.raises(SettingsError) as refusal:
        check_settings(values, stack="dev")
    return {problem.path: problem for problem in refusal.value.problems}


def test_the_good_stack_is_accepted():
    settings = check_settings(GOOD, stack="dev")
    assert settings.network.zones == ("ap-northeast-2a", "ap-northeast-2c")
    assert settings.cluster.node_groups["system"].first_size == 2


# what is changed; the path that is named; a word of what is allowed; a word of the change to make
REFUSED = {
    "an unknown section": ({"netwrok": {}}, "netwrok", "network", "did you mean `network`?"),
    "an unknown key": ({"cluster__kubernetesVersoin": "1"}, "cluster.kubernetesVersoin", "", "`kubernetesVersion`"),
    "a chart version that the table lacks": (
        {"ingress__loadBalancerController": {"version": "1.8.2"}},
        "ingress.loadBalancerController.version",
        "3.5.0, 3.4.3",
        "choose a known one",
    ),
    "an unknown key of a node group": (
        {"cluster__nodeGroups__system__minsize": 1},
        "cluster.nodeGroups.system.minsize",
        "maxSize",
        "did you mean `minSize`?",
    ),
    "an unknown key like no other": ({"network__flavour": 1}, "network.flavour", "cidr", "remove it"),
    "a number where text is wanted": ({"cluster__name": 7}, "cluster.name", "text", '"7"'),
    "an unquoted version": ({"cluster__kubernetesVersion": 1.35}, "cluster.kubernetesVersion", "text", '"1.35"'),
    "text where a number is wanted": (
        {"cluster__nodeGroups__system__minSize": "2"},
        "cluster.nodeGroups.system.minSize",
        "a whole number",
        "write a whole number",
    ),
    "text where a section is wanted": ({"demo": "yes"}, "demo", "a mapping", "write a mapping"),
    "text where a list is wanted": ({"network__zones": "a"}, "network.zones", "a list", "write a list"),
    "a CIDR that is no network": ({"network__cidr": "10.0.0.1/16"}, "network.cidr", "host bits", "before the slash"),
    "a CIDR that is no address": ({"network__cidr": "ten/16"}, "network.cidr", "10.0.0.0/16", ""),
    "a CIDR that is too small": ({"network__cidr": "10.0.0.0/24"}, "network.cidr", "/16 to /21", ""),
    "a CIDR that is too large": ({"network__cidr": "10.0.0.0/8"}, "network.cidr", "/16 to /21", ""),
    "a public CIDR": ({"network__cidr": "52.94.0.0/16"}, "network.cidr", "10.0.0.0/8", "private range"),
    "a CIDR without room for nodes and pods": (
        {"network__cidr": "10.0.0.0/21", "cluster__nodeGroups__system__maxSize": 40},
        "network.cidr",
        "at least 1200",
        "larger CIDR",
    ),
    "one zone": ({"network__zones": ["ap-northeast-2a"]}, "network.zones", "two or more", "add a zone"),
    "one zone twice": ({"network__zones": ["ap-northeast-2a"] * 2}, "network.zones", "two or more", "add a zone"),
    "a zone of another region": (
        {"network__zones": ["ap-northeast-2a", "ap-northeast-1c"]},
        "network.zones",
        "ap-northeast-2a to ap-northeast-2g",
        "zones of this region",
    ),
    "a region that is none": ({"region": "seoul"}, "region", "partitions", "ap-northeast-2"),
    "an account id with eleven digits": (
        {"expectedAccountId": "11112222333"},
        "expectedAccountId",
        "12 digits",
        "111122223333",
    ),
    "a cluster name of 101 characters": ({"cluster__name": "a" * 101}, "cluster.name", "1 to 100", "rename"),
    "a cluster name with a dot": ({"cluster__name": "a.b"}, "cluster.name", "letters, digits", "rename"),
    "a Kubernetes version that the table lacks": (
        {"cluster__kubernetesVersion": "1.12"},
        "cluster.kubernetesVersion",
        "1.35",
        "add a row",
    ),
    "a node group minimum above its maximum": (
        {"cluster__nodeGroups__system__minSize": 4},
        "cluster.nodeGroups.system",
        "minSize <= initialSize <= maxSize",
        "raise maxSize",
    ),
    "a node group of two architectures": (
        {"cluster__nodeGroups__system__instanceTypes": ["m7g.large", "m7i.large"]},
        "cluster.nodeGroups.system",
        "one image",
        "second node group",
    ),
    "a node group in a zone that the network lacks": (
        {"cluster__nodeGroups__system__zones": ["ap-northeast-2b"]},
        "cluster.nodeGroups.system.zones",
        "ap-northeast-2a, ap-northeast-2c",
        "network.zones",
    ),
    "no node group": ({"cluster__nodeGroups": {}}, "cluster.nodeGroups", "1 or more", ""),
    "a node group that is no label": (
        {"cluster__nodeGroups__System": {"instanceTypes": ["t3.medium"], "minSize": 1, "maxSize": 1}},
        "cluster.nodeGroups.System",
        "lower-case",
        "rename",
    ),
    "a retention that CloudWatch lacks": (
        {"cluster__logRetentionDays": 31},
        "cluster.logRetentionDays",
        "60",
        "larger",
    ),
    "an administrator that is no role or user": (
        {"cluster__admins": ["arn:aws:sts::111122223333:assumed-role/a/b"]},
        "cluster.admins.0",
        "role/<name>",
        "session",
    ),
    "a namespace that is no label": (
        {"ingress__loadBalancerController": {"namespace": "Kube_System"}},
        "ingress.loadBalancerController.namespace",
        "lower-case",
        "rename",
    ),
    "an account that is no RFC 1123 name": (
        {"ingress__loadBalancerController": {"serviceAccount": "a b"}},
        "ingress.loadBalancerController.serviceAccount",
        "lower-case",
        "rename",
    ),
    "an identity without a namespace": ({"identities": {"reader": {}}}, "identities.reader", "namespace/name", ""),
    "two identities for one account": (
        {"identities": {"kube-system/aws-load-balancer-controller": {}}},
        "identities.kube-system/aws-load-balancer-controller",
        "one identity an account",
        "drop it here or there",
    ),
    "an account that two entries name": (
        {"identities": {"apps/reader": {}, "apps/writer": {"alsoAccounts": ["apps/reader"]}}},
        "identities.apps/writer",
        "one identity an account",
        "drop it here or there",
    ),
    "an account that its own entry names again": (
        {"identities": {"apps/reader": {"alsoAccounts": ["apps/reader"]}}},
        "identities.apps/reader",
        "one identity an account",
        "drop it here or there",
    ),
    "an account that an add-on has": (
        {"identities": {"kube-system/ebs-csi-controller-sa": {}}},
        "identities.kube-system/ebs-csi-controller-sa",
        "one identity an account",
        "drop it here or there",
    ),
    "an unknown ready-made policy": (
        {"identities": {"apps/reader": {"policies": {"external-dn": {}}}}},
        "identities.apps/reader.policies.external-dn",
        "external-dns",
        "did you mean external-dns?",
    ),
    "an unknown parameter of a policy": (
        {
            "identities": {
                "apps/dns": {"policies": {"external-dns": {"hostedZoneArn": [ZONE], "hostedZoneArns": [ZONE]}}}
            }
        },
        "identities.apps/dns.policies.external-dns.hostedZoneArn",
        "hostedZoneArns",
        "hostedZoneArns",
    ),
    "a parameter of another partition": (
        {
            "identities": {
                "apps/dns": {"policies": {"external-dns": {"hostedZoneArns": [ZONE.replace("aws", "aws-cn")]}}}
            }
        },
        "identities.apps/dns.policies.external-dns.hostedZoneArns",
        "arn:aws:",
        "",
    ),
    "a missing parameter": (
        {"identities": {"apps/ca": {"policies": {"cluster-autoscaler": {}}}}},
        "identities.apps/ca.policies.cluster-autoscaler.clusterName",
        "",
        "add clusterName",
    ),
    "a boundary that is not a policy": (
        {"identities": {"apps/reader": {"permissionsBoundary": "arn:aws:iam::111122223333:role/x"}}},
        "identities.apps/reader.permissionsBoundary",
        "arn:aws:iam::aws:policy/",
        "whole ARN",
    ),
    "a session of thirteen hours": (
        {"identities": {"apps/reader": {"sessionHours": 13}}},
        "identities.apps/reader.sessionHours",
        "12 or less",
        "",
    ),
    "a wildcard in an exact subject": (
        {"identities": {"apps/*": {}}},
        "identities.apps/*",
        "no pattern",
        "kube-system/external-dns",
    ),
    "a pattern for every namespace": (
        {"identities": {"apps/reader": {"looseSubjects": ["*/reader"]}}},
        "identities.apps/reader",
        "looseNamespaces",
        "name the namespace",
    ),
    "a pattern that is none": (
        {"identities": {"apps/reader": {"looseSubjects": ["apps/writer"]}}},
        "identities.apps/reader.looseSubjects.0",
        "* or ?",
        "alsoAccounts",
    ),
    "patterns with Pod Identity": (
        {"identities": {"apps/reader": {"mechanism": "pod-identity", "looseSubjects": ["apps/r-*"]}}},
        "identities.apps/reader",
        "irsa or both",
        "drop them",
    ),
    "a target role with IRSA": (
        {"identities": {"apps/reader": {"targetRoleArn": "arn:aws:iam::444455556666:role/far"}}},
        "identities.apps/reader",
        "pod-identity or both",
        "change mechanism",
    ),
    "an IAM path without slashes": (
        {"identities": {"apps/reader": {"path": "team"}}},
        "identities.apps/reader.path",
        "/<path>/",
        "end it with /",
    ),
    "a policy file that is not there": (
        {"identities": {"apps/reader": {"documents": {"own": "nowhere.json"}}}},
        "identities.apps/reader.documents.own",
        "JSON file",
        "mend it",
    ),
    "a policy document without statements": (
        {"identities": {"apps/reader": {"documents": {"own": {"Version": "2012-10-17"}}}}},
        "identities.apps/reader.documents.own",
        "Statement",
        "add Statement",
    ),
    "a policy ARN that is none": (
        {"identities": {"apps/reader": {"managedPolicyArns": ["AmazonS3ReadOnlyAccess"]}}},
        "identities.apps/reader.managedPolicyArns.0",
        "arn:aws:iam::aws:policy/",
        "",
    ),
    "an ARN of a role where a policy is wanted": (
        {"identities": {"apps/reader": {"managedPolicyArns": [f"{IAM}:role/reader"]}}},
        "identities.apps/reader.managedPolicyArns.0",
        "arn:aws:iam::aws:policy/",
        "whole ARN",
    ),
    "an ARN of a policy where a role is wanted": (
        {"identities": {"apps/reader": {"mechanism": "both", "targetRoleArn": f"{IAM}:policy/far"}}},
        "identities.apps/reader.targetRoleArn",
        "arn:aws:iam::111122223333:role/",
        "whole ARN",
    ),
    "an issuer where the ARN of its provider is wanted": (
        {"identities": {"apps/reader": {"oidcProviderArns": [f"https://{ISSUER}"]}}},
        "identities.apps/reader.oidcProviderArns.0",
        "oidc-provider/<issuer without https://>",
        "whole ARN",
    ),
    "a managed policy of another partition": (
        {"identities": {"apps/reader": {"managedPolicyArns": ["arn:aws-cn:iam::aws:policy/ReadOnlyAccess"]}}},
        "identities.apps/reader.managedPolicyArns.0",
        "arn:aws:...",
        "in aws",
    ),
    "a boundary of another partition": (
        {"region": "cn-north-1", "network__zones": ["cn-north-1a", "cn-north-1b"]}
        | {"identities": {"apps/reader": {"permissionsBoundary": f"{IAM}:policy/boundary"}}},
        "identities.apps/reader.permissionsBoundary",
        "arn:aws-cn:...",
        "in aws-cn",
    ),
    "a target role of another partition": (
        {
            "identities": {
                "apps/reader": {"mechanism": "both", "targetRoleArn": "arn:aws-us-gov:iam::444455556666:role/far"}
            }
        },
        "identities.apps/reader.targetRoleArn",
        "arn:aws:...",
        "in aws",
    ),
    "an OIDC provider of another partition": (
        {
            "identities": {
                "apps/reader": {"oidcProviderArns": [f"arn:aws-cn:iam::111122223333:oidc-provider/{ISSUER}.cn"]}
            }
        },
        "identities.apps/reader.oidcProviderArns.0",
        "arn:aws:...",
        "in aws",
    ),
    "a managed policy of another account": (
        {"expectedAccountId": "444455556666"}
        | {"identities": {"apps/reader": {"managedPolicyArns": [f"{IAM}:policy/shared"]}}},
        "identities.apps/reader.managedPolicyArns.0",
        "444455556666",
        "make it in this account",
    ),
    "an OIDC provider of another account": (
        {"expectedAccountId": "444455556666"}
        | {"identities": {"apps/reader": {"oidcProviderArns": [f"{IAM}:oidc-provider/{ISSUER}"]}}},
        "identities.apps/reader.oidcProviderArns.0",
        "444455556666",
        "make it in this account",
    ),
    "two policies of one name": (
        {
            "identities": {
                "apps/reader": {"managedPolicyArns": ["arn:aws:iam::aws:policy/A", "arn:aws:iam::aws:policy/x/A"]}
            }
        },
        "identities.apps/reader",
        "once",
        "drop",
    ),
    "a namespace that two sections make": (
        {"identities": {"demo/reader": {"createNamespace": True}}},
        "identities.demo/reader.createNamespace",
        "other than",
        "drop createNamespace",
    ),
    "a demo in a namespace that is there": (
        {"demo__namespace": "kube-system"},
        "demo.namespace",
        "other than",
        "rename",
    ),
    "an unknown scheme": ({"demo__scheme": "public"}, "demo.scheme", "'internet-facing' or 'internal'", ""),
    "a thumbprint that is no fingerprint": (
        {"cluster__oidc": {"thumbprint": "pinned", "pinnedThumbprints": ["abc"]}},
        "cluster.oidc.pinnedThumbprints.0",
        "40 lower-case",
        "openssl",
    ),
    "a pinned thumbprint without one": ({"cluster__oidc": {"thumbprint": "pinned"}}, "cluster.oidc", "one to five", ""),
    "demo without ingress": ({"ingress": None}, "demo", "beside `ingress`", "add `ingress`"),
    "network without cluster": (
        {"cluster": None, "ingress": None, "demo": None},
        "network",
        "beside `cluster`",
        "add `cluster`",
    ),
    "no zones": ({"network__zones": None}, "network.zones", "two or more", "add `zones`"),
    "a label that is none": (
        {"cluster__nodeGroups__system__labels": {"a b": "c"}},
        "cluster.nodeGroups.system.labels.a b",
        "<domain>/",
        "example.com/role",
    ),
    "a label that no node may give itself": (
        {"cluster__nodeGroups__system__labels": {"node-role.kubernetes.io/worker": ""}},
        "cluster.nodeGroups.system.labels.node-role.kubernetes.io/worker",
        "node.kubernetes.io",
        "example.com/role",
    ),
    "a value of a label that is none": (
        {"cluster__nodeGroups__system__labels": {"team": "-"}},
        "cluster.nodeGroups.system.labels.team",
        "up to 63",
        "shorten",
    ),
    "an effect of a taint that is none": (
        {"cluster__nodeGroups__system__taints": [{"key": "team", "effect": "NoSchedul"}]},
        "cluster.nodeGroups.system.taints.0.effect",
        "'NoSchedule'",
        "",
    ),
    "a taint on every node group": (
        {"cluster__nodeGroups__system__taints": [{"key": "team"}]},
        "cluster.nodeGroups",
        "CoreDNS",
        "add a group",
    ),
    "no NAT for the charts of ingress": ({"network__nat": "none"}, "network.nat", "single", "imageRegistry"),
    "no NAT for the probe of an identity": (
        {"network__nat": "none", "ingress": None, "demo": None, "identities": {"a/b": {"probe": True}}},
        "network.nat",
        "none without `identities`",
        "imageRegistry",
    ),
    "a registry of another region without NAT": (
        {"network__nat": "none", "imageRegistry": "111122223333.dkr.ecr.eu-west-1.amazonaws.com/mirror"},
        "imageRegistry",
        "111122223333.dkr.ecr.ap-northeast-2.amazonaws.com",
        "copy charts and images there",
    ),
    "a registry that is no ECR without NAT": (
        {"network__nat": "none", "imageRegistry": "registry.example.com"},
        "imageRegistry",
        "private ECR",
        "network.nat",
    ),
    "a registry with its scheme": (
        {"imageRegistry": "https://registry.example.com/"},
        "imageRegistry",
        "without scheme",
        "111122223333.dkr.ecr",
    ),
    "a zone by its id": (
        {"network__zones": ["apne2-az1", "apne2-az3"]},
        "network.zones",
        "ap-northeast-2a to ap-northeast-2g",
        "by name and not by id",
    ),
    "an administrator of another partition": (
        {"cluster__admins": ["arn:aws-cn:iam::111122223333:role/admins"]},
        "cluster.admins.0",
        "arn:aws:iam::",
        "name a role or user of aws",
    ),
    "a viewer of another partition": (
        {"cluster__viewers": [f"{IAM}:role/a", "arn:aws-us-gov:iam::111122223333:role/b"]},
        "cluster.viewers.1",
        "arn:aws:iam::",
        "name a role or user of aws",
    ),
    "an administrator by the ARN of a session": (
        {"cluster__admins": ["arn:aws:sts::111122223333:assumed-role/admins/me"]},
        "cluster.admins.0",
        "role/<name>",
        "the role's own ARN",
    ),
    "an administrator who is a viewer too": (
        {"cluster__admins": [f"{IAM}:role/a"], "cluster__viewers": [f"{IAM}:role/a"]},
        "cluster.viewers.0",
        "one access entry",
        "drop the second",
    ),
    "spot nodes for everything": (
        {"cluster__nodeGroups__system__capacity": "spot"},
        "cluster.nodeGroups",
        "on-demand",
        "add a small on-demand group",
    ),
    "no node that stays": (
        {"cluster__nodeGroups__system__minSize": 0},
        "cluster.nodeGroups",
        "a minSize of 1 or more",
        "add a small on-demand group",
    ),
    "a node group without room in its zone": (
        {
            "network__cidr": "10.0.0.0/21",
            "cluster__nodeGroups__one": {
                "instanceTypes": ["m7i.large"],
                "minSize": 1,
                "maxSize": 9,
                "zones": ["ap-northeast-2a"],
            },
        },
        "cluster.nodeGroups.one.zones",
        "at least 270",
        "name more zones",
    ),
    "a flow log's retention that CloudWatch lacks": (
        {"network__flowLogDays": 31},
        "network.flowLogDays",
        "60",
        "larger",
    ),
    "a private endpoint for a public range": (
        {"cluster__privateAccessCidrs": ["203.0.113.0/24"]},
        "cluster.privateAccessCidrs.0",
        "10.0.0.0/8",
        "private range",
    ),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_mistake_is_named_with_its_path_value_choices_and_change(mistake):
    changes, path, allowed, change = REFUSED[mistake]
    found = problems(stack(**changes))
    assert list(found) == [path], "exactly the one mistake is named"
    assert allowed in found[path].allowed
    assert change in found[path].change
    assert found[path].what
    assert found[path].value


def test_what_an_identity_may_take_from_elsewhere_is_accepted():
    identity = {
        "mechanism": "both",
        "managedPolicyArns": ["arn:aws:iam::aws:policy/ReadOnlyAccess"],
        "permissionsBoundary": f"{IAM}:policy/boundary",
        "targetRoleArn": "arn:aws:iam::444455556666:role/far",
        "oidcProviderArns": [f"{IAM}:oidc-provider/{ISSUER}"],
    }
    check_settings(stack(expectedAccountId="111122223333", identities={"apps/reader": identity}), stack="dev")


def test_ingress_without_cluster_names_everything_that_hangs_on_the_cluster():
    assert set(problems(stack(cluster=None))) == {"network", "ingress"}


def test_all_mistakes_are_named_in_one_run():
    found = problems(
        stack(netwrok={}, network__cidr="x", cluster__name="a.b", cluster__kubernetesVersion=1.3, ingress=None)
    )
    assert set(found) == {"netwrok", "network.cidr", "cluster.name", "cluster.kubernetesVersion", "demo"}


def test_the_message_has_the_four_parts_of_every_problem():
    with pytest.raises(SettingsError) as refusal:
        check_settings(stack(network__cidr="52.94.0.0/16"), stack="dev")
    assert str(refusal.value).splitlines() == [
        "1 setting is refused in stack dev.",
        "",
        "network.cidr: a range of public addresses",
        '    value:   "52.94.0.0/16"',
        "    allowed: 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10",
        "    change:  choose a block inside a private range",
    ]


def test_a_secret_value_never_stands_in_a_message():
    with pytest.raises(SettingsError) as refusal:
        check_settings(stack(expectedAccountId="hunter2"), stack="dev", secret={"expectedAccountId"})
    assert "hunter2" not in str(refusal.value)
    assert json.dumps("hunter2") not in str(refusal.value.problems)


KIAM = {
    "cluster__nodeGroups__kiam-server": {
        "instanceTypes": ["t3.small"],
        "minSize": 2,
        "maxSize": 2,
        "ownRole": True,
        "labels": {"example.com/kiam": "server"},
        "taints": [{"key": "example.com/kiam", "value": "server"}],
    },
    "kiam": {"workloads": {"apps/tester": {"identity": {"roleName": "KiamTesterRole", "path": "/kiam/"}}}},
}
SERVERS = "cluster__nodeGroups__kiam-server"
WORKLOAD = "kiam.workloads.apps/tester"
FAR = "arn:aws:iam::444455556666:role/far"


def of_workload(**entry):
    return {"kiam__workloads": {"apps/tester": entry}}


def test_kiam_is_accepted_on_nodes_of_its_own():
    kiam = check_settings(stack(**KIAM), stack="kiam").kiam
    assert (kiam.tls, kiam.session_minutes, kiam.refresh_minutes) == ("generated", 60, 20)


REFUSED_WITH_KIAM = {
    "Fargate": ({"cluster__fargateProfiles": {}}, "cluster.fargateProfiles", "nodeGroups", "remove it"),
    "IPv6": ({"cluster__ipFamily": "ipv6"}, "cluster.ipFamily", "nodeGroups", "remove it"),
    "a session below the least of STS": ({"kiam__sessionMinutes": 14}, "kiam.sessionMinutes", "15 or more", ""),
    "a session above the most of a chained role": (
        {"kiam__sessionMinutes": 61},
        "kiam.sessionMinutes",
        "60 or less",
        "",
    ),
    "a renewal before the session begins": (
        {"kiam__sessionMinutes": 15},
        "kiam",
        "refreshMinutes < sessionMinutes",
        "lower refreshMinutes",
    ),
    "alternatives without a group": (
        {"kiam__permitted": {"apps": "arn:aws:iam::111122223333:role/a|arn:aws:iam::111122223333:role/b"}},
        "kiam.permitted.apps",
        "inside a group",
        "write (arn:aws:iam::111122223333:role/a|",
    ),
    "an expression that is none": (
        {"kiam__permitted": {"apps": "arn:aws:iam::111122223333:role/(a"}},
        "kiam.permitted.apps",
        "Go",
        "mend it",
    ),
    "an expression that only Python knows": (
        {"kiam__permitted": {"apps": "arn:aws:iam::111122223333:role/(?!admin).*"}},
        "kiam.permitted.apps",
        "look-around",
        "write out",
    ),
    "an expression about names": (
        {"kiam__permitted": {"apps": "KiamTesterRole"}},
        "kiam.permitted.apps",
        "arn:aws:iam::111122223333:role/",
        "begin it with the ARN",
    ),
    "an expression that permits everything": (
        {"kiam__permitted": {"apps": ".*"}},
        "kiam.permitted.apps",
        "arn:aws:iam::111122223333:role/",
        "begin it with the ARN",
    ),
    "a role of another account without an external id": (
        of_workload(roleArn=FAR),
        f"{WORKLOAD}.externalId",
        "externalId",
        "add the externalId",
    ),
    "a role of another partition": (
        of_workload(roleArn=FAR.replace("aws", "aws-cn"), externalId="partner"),
        f"{WORKLOAD}.roleArn",
        "arn:aws:",
        "a role in aws",
    ),
    "an external id for a role of this stack": (
        of_workload(externalId="x1", identity={"path": "/kiam/"}),
        WORKLOAD,
        "both",
        "drop",
    ),
    "a role that is made here and elsewhere": (
        of_workload(roleArn=FAR, externalId="partner", identity={"path": "/kiam/"}),
        WORKLOAD,
        "roleArn alone",
        "drop one",
    ),
    "the exit of a role that is made elsewhere": (
        of_workload(roleArn=FAR, externalId="partner", exit="irsa"),
        WORKLOAD,
        "changed there",
        "drop one",
    ),
    "a mechanism beside Kiam": (
        of_workload(identity={"path": "/kiam/", "mechanism": "irsa"}),
        WORKLOAD,
        "without mechanism",
        "write it as exit",
    ),
    "an account that section identities has too": (
        {"identities": {"apps/tester": {}}},
        f"{WORKLOAD}.identity",
        "one identity an account",
        "drop it here or there",
    ),
    "a probe before there is an account": (
        of_workload(identity={"path": "/kiam/", "probe": True}),
        WORKLOAD,
        "tester before",
        "set tester",
    ),
    "patterns with the exit to Pod Identity": (
        of_workload(identity={"path": "/kiam/", "looseSubjects": ["apps/t-*"]}, exit="pod-identity"),
        WORKLOAD,
        "exit irsa",
        "change exit",
    ),
    "a role that the servers may not take": (
        of_workload(identity={"roleName": "KiamTesterRole"}),
        f"{WORKLOAD}.identity.path",
        "/kiam/",
        "kiam.assumable",
    ),
    "servers that may take every role": ({"kiam__assumable": "/"}, "kiam.assumable", "not all roles", "in common"),
    "a mistake in the identity of a workload": (
        of_workload(identity={"path": "/kiam/", "policies": {"cluster-autoscaler": {}}}),
        f"{WORKLOAD}.identity.policies.cluster-autoscaler.clusterName",
        "",
        "add clusterName",
    ),
    "a namespace that another section makes": (
        {"kiam__workloads": {"demo/tester": {"identity": {"path": "/kiam/", "createNamespace": True}}}},
        "kiam.workloads.demo/tester.identity.createNamespace",
        "other than",
        "drop createNamespace",
    ),
    "cert-manager without cert-manager": (
        {"kiam__tls": "cert-manager", "ingress__certManager": None},
        "kiam.tls",
        "generated",
        "add ingress.certManager",
    ),
    "a node image that Kiam is not known on": (
        {"cluster__nodeGroups__system__operatingSystem": "bottlerocket"},
        "cluster.nodeGroups.system.operatingSystem",
        "al2023",
        "change the image",
    ),
    "a node image that is none": (
        {f"{SERVERS}__operatingSystem": "al2"},
        "cluster.nodeGroups.kiam-server.operatingSystem",
        "'al2023' or 'bottlerocket'",
        "",
    ),
    "servers on nodes that are not there": (
        {"kiam__serverNodeGroup": "kiam"},
        "kiam.serverNodeGroup",
        "system, kiam-server",
        "ownRole",
    ),
    "servers on nodes like any other": (
        {"cluster__nodeGroups__system__labels": {"example.com/kiam": "server"}},
        "cluster.nodeGroups.kiam-server.labels",
        "no other node group",
        "add one",
    ),
    "servers on nodes where other pods run": (
        {f"{SERVERS}__taints": []},
        "cluster.nodeGroups.kiam-server.taints",
        "NoSchedule",
        "add one",
    ),
    "servers on nodes with the role of all nodes": (
        {f"{SERVERS}__ownRole": False},
        "cluster.nodeGroups.kiam-server.ownRole",
        "serverCredentials: irsa",
        "ownRole: true",
    ),
    "a chart whose release would have another name": (
        {"kiam__chart": "./kiam-6.1.2.tgz"},
        "kiam.chart",
        "a folder that is called kiam",
        "rename",
    ),
    "metadata routes that are no expression": ({"kiam__metadataRoutes": "("}, "kiam.metadataRoutes", "Go", "mend it"),
    "the servers' own account among the identities": (
        {"kiam__serverCredentials": "irsa", "identities": {"kube-system/kiam-server": {}}},
        "identities.kube-system/kiam-server",
        "one identity an account",
        "drop it here or there",
    ),
    "no NAT for the images": (
        {"network__nat": "none", "ingress": None, "demo": None},
        "network.nat",
        "none without `kiam`",
        "set network.nat",
    ),
    "a partition whose STS Kiam cannot find": (
        {"region": "eusc-de-east-1", "network__zones": ["eusc-de-east-1a", "eusc-de-east-1b"]},
        "kiam",
        "aws-us-gov",
        "identities",
    ),
}


@pytest.mark.parametrize("mistake", REFUSED_WITH_KIAM)
def test_a_mistake_with_kiam_is_named_with_its_path_value_choices_and_change(mistake):
    changes, path, allowed, change = REFUSED_WITH_KIAM[mistake]
    found = problems(stack(**copy.deepcopy(KIAM), **changes))
    assert list(found) == [path], "exactly the one mistake is named"
    assert allowed in found[path].allowed
    assert change in found[path].change
    assert found[path].what
    assert found[path].value


def test_servers_that_get_their_role_by_irsa_need_no_role_of_their_nodes():
    changes = {f"{SERVERS}__ownRole": False, "kiam__serverCredentials": "irsa"}
    assert check_settings(stack(**copy.deepcopy(KIAM), **changes), stack="kiam").kiam.server_credentials == "irsa"


def test_a_role_of_the_expected_account_needs_no_external_id():
    changes = {"expectedAccountId": "444455556666", **of_workload(roleArn=FAR)}
    kiam = check_settings(stack(**copy.deepcopy(KIAM), **changes), stack="kiam").kiam
    assert kiam.workloads["apps/tester"].role_arn == FAR


@pytest.mark.parametrize(
    "expression", ["(arn:a|arn:b)", r"arn:a\|b", "arn:[a|b]", "arn:(a|(b|c))", "arn:[]|]a", "^arn:a$", r"arn:\(a\|b\)"]
)
def test_alternatives_inside_a_group_are_accepted(expression):
    changes = {"kiam__permitted": {"apps": expression}}
    assert check_settings(stack(**copy.deepcopy(KIAM), **changes), stack="kiam").kiam.permitted == {"apps": expression}
