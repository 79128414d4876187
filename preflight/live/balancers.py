"""Load balancers of both generations, with the listeners and target groups that go with them."""

from collections.abc import Iterator, Sequence

from preflight.live.asking import Account, Answer, batches, tags
from preflight.live.traces import Found, aws, trace

_AT_A_TIME = 20
"""So many ARNs does DescribeTags take."""


def listeners(account: Account, cluster: str) -> Iterator[Found]:
    """Find the listeners of the cluster's load balancers."""
    for balancer, seen, _ in tagged(account, cluster, "describe_load_balancers", "LoadBalancer"):
        arn = str(balancer["LoadBalancerArn"])
        for listener in account.items("elbv2", "describe_listeners", "Listeners", LoadBalancerArn=arn):
            own = str(listener["ListenerArn"])
            yield Found(
                kind="listener",
                id=own,
                trace=f"of load balancer {balancer['LoadBalancerName']}",
                commands=(aws("elbv2", "delete-listener", "--listener-arn", own, region=account.region),),
                tags=seen,
                vpc_id=str(balancer.get("VpcId", "")),
            )


def balancers(account: Account, cluster: str) -> Iterator[Found]:
    """Find the cluster's application and network load balancers."""
    for balancer, seen, named in tagged(account, cluster, "describe_load_balancers", "LoadBalancer"):
        arn = str(balancer["LoadBalancerArn"])
        attributes = account.items("elbv2", "describe_load_balancer_attributes", "Attributes", LoadBalancerArn=arn)
        on = {"Key": "deletion_protection.enabled", "Value": "true"} in attributes
        off = ("--load-balancer-arn", arn, "--attributes", "Key=deletion_protection.enabled,Value=false")
        unprotect = (aws("elbv2", "modify-load-balancer-attributes", *off, region=account.region),) if on else ()
        delete = aws("elbv2", "delete-load-balancer", "--load-balancer-arn", arn, region=account.region)
        wait = aws("elbv2", "wait", "load-balancers-deleted", "--load-balancer-arns", arn, region=account.region)
        yield Found(
            kind="load balancer",
            id=str(balancer["LoadBalancerName"]),
            trace=named,
            commands=(*unprotect, delete),
            after=(wait,),
            tags=seen,
            vpc_id=str(balancer.get("VpcId", "")),
        )


def target_groups(account: Account, cluster: str) -> Iterator[Found]:
    """Find the cluster's target groups."""
    for group, seen, named in tagged(account, cluster, "describe_target_groups", "TargetGroup"):
        arn = str(group["TargetGroupArn"])
        yield Found(
            kind="target group",
            id=str(group["TargetGroupName"]),
            trace=named,
            commands=(aws("elbv2", "delete-target-group", "--target-group-arn", arn, region=account.region),),
            tags=seen,
            vpc_id=str(group.get("VpcId", "")),
        )


def classic(account: Account, cluster: str) -> Iterator[Found]:
    """Find the classic load balancers that a Service gets that no controller claims."""
    listed = account.items("elb", "describe_load_balancers", "LoadBalancerDescriptions")
    vpcs = {str(one["LoadBalancerName"]): str(one.get("VPCId", "")) for one in listed}
    for some in batches(list(vpcs), _AT_A_TIME):
        for one in account.items("elb", "describe_tags", "TagDescriptions", LoadBalancerNames=some):
            name, seen = str(one["LoadBalancerName"]), tags(one["Tags"])
            if named := trace(seen, cluster):
                delete = ("elb", "delete-load-balancer", "--load-balancer-name", name)
                yield Found(
                    kind="classic load balancer",
                    id=name,
                    trace=named,
                    commands=(aws(*delete, region=account.region),),
                    tags=seen,
                    vpc_id=vpcs[name],
                )


def tagged(account: Account, cluster: str, operation: str, kind: str) -> Iterator[tuple[Answer, dict[str, str], str]]:
    """Yield what carries the cluster's name, with its tags and with the tag that says so."""
    listed: Sequence[Answer] = account.items("elbv2", operation, f"{kind}s")
    by_arn = {str(one[f"{kind}Arn"]): one for one in listed}
    for some in batches(list(by_arn), _AT_A_TIME):
        for one in account.items("elbv2", "describe_tags", "TagDescriptions", ResourceArns=some):
            seen = tags(one["Tags"])
            if named := trace(seen, cluster):
                yield by_arn[str(one["ResourceArn"])], seen, named
