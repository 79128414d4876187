"""What is left on paper: log groups, and the OIDC providers of clusters."""

from collections.abc import Iterator

from preflight.live.asking import Account, tags
from preflight.live.traces import Found, aws, trace

_LOGS = ("/aws/eks/{cluster}/", "/aws/containerinsights/{cluster}/")
"""How the log groups of a cluster begin; EKS writes to the first once more after its cluster is gone."""

_HOSTS = ("oidc.eks.{region}.", "oidc-eks.{region}.")
"""How the issuers of a region's clusters begin."""


def log_groups(account: Account, cluster: str) -> Iterator[Found]:
    """Find the log groups that are named after the cluster."""
    for prefix in (one.format(cluster=cluster) for one in _LOGS):
        for group in account.items("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=prefix):
            name = str(group["logGroupName"])
            arn = str(group["arn"]).removesuffix(":*")
            answer = account.one("logs", "list_tags_for_resource", resourceArn=arn) or {}
            yield Found(
                kind="log group",
                id=name,
                trace=f"its name begins with {prefix}",
                commands=(aws("logs", "delete-log-group", "--log-group-name", name, region=account.region),),
                tags=tags(answer.get("tags")),
            )


def oidc_providers(account: Account, cluster: str) -> Iterator[Found]:
    """Find the OIDC providers that a tag or their Name says are the cluster's."""
    for one in account.items("iam", "list_open_id_connect_providers", "OpenIDConnectProviderList"):
        arn = str(one["Arn"])
        if not arn.partition(":oidc-provider/")[2].startswith(
            tuple(host.format(region=account.region) for host in _HOSTS)
        ):
            continue
        answer = account.one("iam", "get_open_id_connect_provider", "NoSuchEntity", OpenIDConnectProviderArn=arn) or {}
        seen = tags(answer.get("Tags"))
        named = trace(seen, cluster) or (f"Name={cluster}" if seen.get("Name") == cluster else "")
        if named:
            delete = ("iam", "delete-open-id-connect-provider", "--open-id-connect-provider-arn", arn)
            yield Found(
                kind="OIDC provider",
                id=arn.partition(":oidc-provider/")[2],
                trace=named,
                commands=(aws(*delete),),
                tags=seen,
            )
