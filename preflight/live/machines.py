"""Instances and what they hold on to: network interfaces, volumes, security groups."""

from collections.abc import Iterator, Sequence
from typing import Any

from preflight.live.asking import Account, Answer, batches, tags
from preflight.live.traces import ANY_VOLUME, Found, aws, tag_keys, trace

_AT_A_TIME = 200
"""So many values does a filter of EC2 take."""


def instances(account: Account, cluster: str) -> Iterator[Found]:
    """Find the cluster's nodes, those that no node group knows included."""
    for instance, seen, named in nodes(account, cluster):
        own = str(instance["InstanceId"])
        yield Found(
            kind="instance",
            id=own,
            trace=named,
            commands=(aws("ec2", "terminate-instances", "--instance-ids", own, region=account.region),),
            after=(aws("ec2", "wait", "instance-terminated", "--instance-ids", own, region=account.region),),
            tags=seen,
            vpc_id=str(instance.get("VpcId", "")),
        )


def interfaces(account: Account, cluster: str) -> Iterator[Found]:
    """Find the network interfaces of the cluster that do not go with one of its nodes."""
    ours = {str(instance["InstanceId"]) for instance, _, _ in nodes(account, cluster)}
    by_tag = _filtered(account, cluster, "describe_network_interfaces", "NetworkInterfaces")
    described = [{"Name": "description", "Values": [f"Amazon EKS {cluster}"]}]
    by_name = account.items("ec2", "describe_network_interfaces", "NetworkInterfaces", Filters=described)
    listed = {str(one["NetworkInterfaceId"]): one for one in [*by_name, *by_tag]}
    for own, one in listed.items():
        seen = tags(one.get("TagSet"))
        attachment: Answer = one.get("Attachment") or {}
        node = attachment.get("InstanceId", "") in ours
        if node and attachment.get("DeleteOnTermination"):
            continue
        held = f"attached to {attachment.get('InstanceId') or 'a service of AWS'}" if attachment and not node else ""
        yield Found(
            kind="network interface",
            id=own,
            trace=trace(seen, cluster) or f"description {one['Description']}",
            commands=(aws("ec2", "delete-network-interface", "--network-interface-id", own, region=account.region),),
            tags=seen,
            vpc_id=str(one.get("VpcId", "")),
            unsure="AWS manages it, and removes it" if one.get("RequesterManaged") else held,
        )


def security_groups(account: Account, cluster: str) -> Iterator[Found]:
    """Find the cluster's security groups, with the rules elsewhere that hold on to them."""
    listed = _filtered(account, cluster, "describe_security_groups", "SecurityGroups")
    ids = [str(one["GroupId"]) for one in listed]
    rules: dict[str, Answer] = {str(rule["SecurityGroupRuleId"]): rule for rule in _references(account, ids)}
    for one in listed:
        own, seen = str(one["GroupId"]), tags(one.get("Tags"))
        revoke: list[str] = []
        for rule_id, rule in rules.items():
            if rule.get("ReferencedGroupInfo", {}).get("GroupId") == own != rule["GroupId"]:
                way = "egress" if rule.get("IsEgress") else "ingress"
                words = ("--group-id", str(rule["GroupId"]), "--security-group-rule-ids", rule_id)
                revoke.append(aws("ec2", f"revoke-security-group-{way}", *words, region=account.region))
        yield Found(
            kind="security group",
            id=f"{own} {one['GroupName']}",
            trace=trace(seen, cluster),
            commands=(aws("ec2", "delete-security-group", "--group-id", own, region=account.region),),
            before=tuple(revoke),
            tags=seen,
            vpc_id=str(one.get("VpcId", "")),
        )


def volumes(account: Account, cluster: str) -> Iterator[Found]:
    """Find the cluster's volumes, and those of which their driver did not say whose they are."""
    ours = {str(instance["InstanceId"]) for instance, _, _ in nodes(account, cluster)}
    for one in _filtered(account, cluster, "describe_volumes", "Volumes", ANY_VOLUME):
        own, seen = str(one["VolumeId"]), tags(one.get("Tags"))
        attachments: Sequence[Answer] = one.get("Attachments", ())
        if any(each.get("DeleteOnTermination") and each["InstanceId"] in ours for each in attachments):
            continue
        others = [str(each["InstanceId"]) for each in attachments if each["InstanceId"] not in ours]
        named = trace(seen, cluster)
        nobody = "its driver did not say for which cluster it is"
        yield Found(
            kind="volume",
            id=f"{own} {seen.get('kubernetes.io/created-for/pvc/name', '')}".strip(),
            trace=named or f"{ANY_VOLUME}=true",
            commands=(aws("ec2", "delete-volume", "--volume-id", own, region=account.region),),
            tags=seen,
            unsure=f"attached to {', '.join(others)}" if others else "" if named else nobody,
        )


def nodes(account: Account, cluster: str) -> Iterator[tuple[Answer, dict[str, str], str]]:
    """Yield the instances that carry the cluster's name, with their tags and with the tag that says so."""
    states = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
    keys = [{"Name": "tag-key", "Values": tag_keys(cluster)}]
    for reservation in account.items("ec2", "describe_instances", "Reservations", Filters=[*states, *keys]):
        for instance in reservation["Instances"]:
            seen = tags(instance.get("Tags"))
            if named := trace(seen, cluster):
                yield instance, seen, named


def _filtered(account: Account, cluster: str, operation: str, key: str, also: str = "") -> list[Answer]:
    """Return what a tag names as the cluster's; with `also`, what has that tag and none that names any cluster."""
    keys = [*tag_keys(cluster), *([also] if also else [])]
    listed: list[Any] = account.items("ec2", operation, key, Filters=[{"Name": "tag-key", "Values": keys}])
    found: list[Answer] = []
    for one in listed:
        seen = tags(one.get("Tags", one.get("TagSet")))
        nameless = also in seen and not any("/cluster/" in key or key == "KubernetesCluster" for key in seen)
        if trace(seen, cluster) or (also and nameless):
            found.append(one)
    return found


def _references(account: Account, ids: Sequence[str]) -> Iterator[Answer]:
    """Yield the rules of other groups, the cluster's own included, that name one of some groups."""
    for some in batches(ids, _AT_A_TIME):
        holders: set[str] = set()
        for way in ("ip-permission.group-id", "egress.ip-permission.group-id"):
            groups = account.items(
                "ec2", "describe_security_groups", "SecurityGroups", Filters=[{"Name": way, "Values": list(some)}]
            )
            holders |= {str(group["GroupId"]) for group in groups}
        if holders:
            by_group = [{"Name": "group-id", "Values": sorted(holders)}]
            yield from account.items("ec2", "describe_security_group_rules", "SecurityGroupRules", Filters=by_group)
