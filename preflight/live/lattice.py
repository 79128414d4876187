"""What the Lattice controller leaves behind: services, associations, target groups, the association of the VPC."""

from collections.abc import Iterator

from preflight.live.asking import Account, Answer, tags
from preflight.live.traces import Found, aws, trace


def service_associations(account: Account, cluster: str) -> Iterator[Found]:
    """Find the associations of the cluster's services with service networks."""
    for service, seen, _ in _tagged(account, cluster, "list_services"):
        listed = account.items(
            "vpc-lattice",
            "list_service_network_service_associations",
            "items",
            serviceIdentifier=service["id"],
        )
        for one in listed:
            own = str(one["id"])
            name = f"--service-network-service-association-identifier={own}"
            yield Found(
                kind="Lattice service association",
                id=own,
                trace=f"of service {service['name']}",
                commands=(
                    aws("vpc-lattice", "delete-service-network-service-association", name, region=account.region),
                ),
                tags=seen,
            )


def services(account: Account, cluster: str) -> Iterator[Found]:
    """Find the cluster's services; their listeners and rules go with them."""
    for service, seen, named in _tagged(account, cluster, "list_services"):
        delete = ("vpc-lattice", "delete-service", "--service-identifier", str(service["id"]))
        yield Found(
            kind="Lattice service",
            id=str(service["name"]),
            trace=named,
            commands=(aws(*delete, region=account.region),),
            tags=seen,
        )


def target_groups(account: Account, cluster: str) -> Iterator[Found]:
    """Find the cluster's Lattice target groups, with the targets that have to go first."""
    for group, seen, named in _tagged(account, cluster, "list_target_groups"):
        own = ("--target-group-identifier", str(group["id"]))
        listed = account.items("vpc-lattice", "list_targets", "items", targetGroupIdentifier=group["id"])
        targets = [f"id={one['id']},port={one['port']}" for one in listed]
        out = ("vpc-lattice", "deregister-targets", *own, "--targets", *targets)
        yield Found(
            kind="Lattice target group",
            id=str(group["name"]),
            trace=named,
            commands=(
                *((aws(*out, region=account.region),) if targets else ()),
                aws("vpc-lattice", "delete-target-group", *own, region=account.region),
            ),
            tags=seen,
            vpc_id=str(group.get("vpcIdentifier", "")),
        )


def vpc_associations(account: Account, cluster: str) -> Iterator[Found]:
    """Find the association of the cluster's VPC with a service network."""
    for one, seen, named in _tagged(account, cluster, "list_service_network_vpc_associations"):
        own = f"--service-network-vpc-association-identifier={one['id']}"
        yield Found(
            kind="Lattice VPC association",
            id=str(one["id"]),
            trace=named,
            commands=(aws("vpc-lattice", "delete-service-network-vpc-association", own, region=account.region),),
            tags=seen,
            vpc_id=str(one.get("vpcId", "")),
        )


def _tagged(account: Account, cluster: str, operation: str) -> Iterator[tuple[Answer, dict[str, str], str]]:
    # The network that is asked about has to be named, so the associations of a VPC are asked for network by network.
    if operation == "list_service_network_vpc_associations":
        networks = account.items("vpc-lattice", "list_service_networks", "items")
        listed = [
            one
            for network in networks
            for one in account.items("vpc-lattice", operation, "items", serviceNetworkIdentifier=network["id"])
        ]
    else:
        listed = account.items("vpc-lattice", operation, "items")
    for one in listed:
        answer = account.one("vpc-lattice", "list_tags_for_resource", resourceArn=one["arn"]) or {}
        seen = tags(answer.get("tags"))
        if named := trace(seen, cluster):
            yield one, seen, named
