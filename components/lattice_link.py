"""What joins the two halves of a mesh: a cluster's half gets only an environment that it fits to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pulumi
from pydantic import ValidationError

from components.lattice_environment import OUTPUT, Client, LatticeEnvironment, LatticeEnvironmentOutputs, LatticeTarget
from components.lattice_gateway import LatticeGatewaySettings
from components.problem import Problem, ProblemsError

_PATH = "latticeGateway"


def own_environment(
    environment: LatticeEnvironment, settings: LatticeGatewaySettings, *, cluster_name: str, region: str
) -> LatticeTarget:
    """The environment of the same program, for the cluster's half with these settings.

    Raises:
        ProblemsError: the two do not fit.
    """
    made = environment.settings
    problems = list(
        misfits(
            settings,
            cluster_name=cluster_name,
            region=region,
            domain=made.domain,
            of_region=environment.region,
            clients=made.clients,
        )
    )
    if problems:
        raise ProblemsError(f"Cluster {cluster_name} does not fit to its mesh.", problems)
    return environment.target


def referenced_environment(settings: LatticeGatewaySettings, *, cluster_name: str, region: str) -> LatticeTarget:
    """The environment of another stack, read from its output and checked.

    Whatever needs one of the values waits until all of them have been checked, and comes to nothing where they do not
    fit: then Pulumi prints every problem (ProblemsError), and no traceback.
    """
    stack = settings.environment or ""
    name = stack if "/" in stack else f"{pulumi.get_organization()}/{pulumi.get_project()}/{stack}"
    reference = pulumi.StackReference(name)

    def checked(handed_out: Any) -> LatticeEnvironmentOutputs:
        problems, found = parsed(name, handed_out)
        if found is not None:
            problems += misfits(
                settings,
                cluster_name=cluster_name,
                region=region,
                domain=found.domain,
                of_region=found.region,
                clients=found.clients,
            )
        if problems or found is None:
            raise ProblemsError(f"Stack {pulumi.get_stack()} does not fit to its mesh, stack {name}.", problems)
        return found

    outputs = reference.get_output(OUTPUT).apply(checked)
    return LatticeTarget(
        region=outputs.apply(lambda found: found.region),
        zone_id=outputs.apply(lambda found: found.zone_id),
        certificate_arn=outputs.apply(lambda found: found.certificate_arn),
        certificate_authority_arn=outputs.apply(lambda found: found.certificate_authority_arn),
        client_role_arn=outputs.apply(lambda found: found.client_role_arn),
        service_network_arn=outputs.apply(lambda found: found.service_network_arn),
        service_network_name=outputs.apply(lambda found: found.service_network_name),
    )


def parsed(stack: str, handed_out: object) -> tuple[list[Problem], LatticeEnvironmentOutputs | None]:
    """What a stack hands out as an environment, or what is missing or wrong in it."""
    where = f"{_PATH}.environment"
    if not isinstance(handed_out, Mapping):
        return [
            Problem(
                path=where,
                what=f"stack {stack} has no usable output `{OUTPUT}`",
                value=json.dumps(handed_out),
                allowed="a stack with section latticeEnvironment, after its `pulumi up`",
                change="bring that stack up first, or name another one",
            )
        ], None
    try:
        return [], LatticeEnvironmentOutputs.model_validate_json(json.dumps(handed_out))
    except ValidationError as error:
        return [
            Problem(
                path=where,
                what=f"output {'.'.join([OUTPUT, *map(str, each['loc'])])} of stack {stack} is "
                + ("missing" if each["type"] == "missing" else "not what it should be"),
                value="none" if each["type"] == "missing" else json.dumps(each["input"]),
                allowed=each["msg"],
                change="bring that stack up with this version of the program, or name another one",
            )
            for each in error.errors(include_url=False)
        ], None


def misfits(
    settings: LatticeGatewaySettings,
    *,
    cluster_name: str,
    region: str,
    domain: str,
    of_region: str,
    clients: Sequence[str],
) -> Iterator[Problem]:
    """Where a cluster's half and an environment of this domain, region and clients disagree."""
    if of_region != region:
        yield Problem(
            path="region",
            what="another region than the mesh's; VPC Lattice does not reach across",
            value=region,
            allowed=of_region,
            change="change region, or name an environment of this region",
        )
    if settings.domain != domain:
        yield Problem(
            path=f"{_PATH}.domain",
            what="another domain than the mesh's",
            value=settings.domain,
            allowed=domain,
            change=f"write {domain}, or name another environment",
        )
    admitted = [Client.parse(each) for each in clients]
    clusters = sorted({client.cluster for client in admitted})
    for path, cluster in [("cluster.name", cluster_name), *((f"{_PATH}.peers", peer) for peer in settings.peers)]:
        if cluster not in clusters:
            yield Problem(
                path=path,
                what="a cluster that the mesh does not know",
                value=cluster,
                allowed=", ".join(clusters),
                change="rename it, or add its callers to latticeEnvironment.clients",
            )
    of_cluster = [str(client.account) for client in admitted if client.cluster == cluster_name]
    for caller in settings.callers:
        if of_cluster and caller not in of_cluster:
            yield Problem(
                path=f"{_PATH}.callers",
                what="an account that the callers' role does not trust",
                value=f"{cluster_name}/{caller}",
                allowed=", ".join(f"{cluster_name}/{each}" for each in of_cluster),
                change="add it to latticeEnvironment.clients, or drop it here",
            )
    groups = sorted({client.group for client in admitted})
    for name, service in settings.services.items():
        for each in service.admits:
            if each not in groups:
                yield Problem(
                    path=f"{_PATH}.services.{name}.admits",
                    what="a namespace that no caller of the mesh is in",
                    value=each,
                    allowed=", ".join(groups),
                    change="correct it, or add a caller of that namespace to latticeEnvironment.clients",
                )
