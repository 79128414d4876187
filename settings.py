"""The stack's configuration as frozen, typed models. Nothing else reads Pulumi's configuration."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env
from pydantic import AfterValidator, BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

import iam_policies
from components.cluster import ADDON_IDENTITIES, ClusterSettings
from components.demo_app import DemoSettings
from components.external_dns import EXTERNAL_DNS_ACCOUNT
from components.image_registry import ImageRegistry, is_regional
from components.ingress_stack import CERT_MANAGER_NAMESPACE, IngressSettings
from components.kiam_alternative import CA_BUNDLES, KiamSettings, own_label
from components.lattice_environment import LatticeEnvironmentSettings
from components.lattice_gateway import CHARTS, CONTROLLER_ACCOUNT, OWN_NAMESPACES, LatticeGatewaySettings
from components.network import NetworkSettings, zones_outside
from components.pod_role import AccountName, IdentitySettings
from components.problem import Problem, ProblemsError
from components.regions import is_region, partition_of
from components.section import AccountId, Section, refuse
from components.service_account import ServiceAccountRef
from components.subnets import ZONE_LETTERS, usable_addresses, zone_subnets
from components.versions import AWS_LOAD_BALANCER_CONTROLLER, KUBERNETES, LATTICE_CONTROLLER


def _check_region(value: str) -> str:
    if not is_region(value):
        refuse(
            "not an AWS region",
            allowed="regions of the partitions aws, aws-cn, aws-us-gov and aws-eusc",
            change="write it like ap-northeast-2",
        )
    return value


class StackSettings(Section):
    """Everything a stack file says under this project's namespace. A section that is absent is not built."""

    region: Annotated[str, AfterValidator(_check_region)] = Field(description="AWS region of the whole stack.")
    expected_account_id: AccountId | None = Field(
        default=None, description="The only AWS account that this stack may be deployed to, in quotes."
    )
    protect: bool = Field(
        default=False,
        description=(
            "Protect VPC, subnets, cluster, keys, and a mesh's zone, CA and network from deletion and replacement. For "
            "stacks with users."
        ),
    )
    tags: dict[str, str] = Field(default={}, description="Tags on every AWS resource.")
    image_registry: ImageRegistry | None = Field(
        default=None,
        description="Where every chart and image is pulled from, in place of the public registries: docs/isolated.md.",
    )
    network: NetworkSettings | None = Field(default=None, description="VPC, subnets, NAT.")
    cluster: ClusterSettings | None = Field(default=None, description="EKS, nodes, add-ons.")
    identities: dict[AccountName, IdentitySettings] = Field(
        default={}, description="Workload identities by `namespace/account`."
    )
    ingress: IngressSettings | None = Field(
        default=None, description="Load balancer controller, cert-manager, HTTPS, names."
    )
    demo: DemoSettings | None = Field(default=None, description="A web page behind an ALB.")
    kiam: KiamSettings | None = Field(default=None, description="Kiam, which is abandoned: docs/kiam.md.")
    lattice_environment: LatticeEnvironmentSettings | None = Field(
        default=None, description="What all clusters of a mesh over VPC Lattice share: docs/lattice.md."
    )
    lattice_gateway: LatticeGatewaySettings | None = Field(
        default=None, description="A cluster's half of a mesh over VPC Lattice: docs/lattice.md."
    )

    @property
    def gateway_api(self) -> str | None:
        """The minor version of the Gateway API that the stack installs; None where it installs none."""
        return LATTICE_CONTROLLER.gateway_api if self.lattice_gateway is not None else None


# What a section cannot be built without; a network without a cluster would be built for nobody.
REQUIRED_SECTIONS = {
    "network": "cluster",
    "cluster": "network",
    "identities": "cluster",
    "ingress": "cluster",
    "demo": "ingress",
    "kiam": "cluster",
    "latticeGateway": "cluster",
}


class SettingsError(ProblemsError):
    """All refused settings of a stack at once. Pulumi prints it without a traceback."""

    def __init__(self, stack: str, problems: list[Problem]) -> None:
        count = "1 setting is" if len(problems) == 1 else f"{len(problems)} settings are"
        super().__init__(f"{count} refused in stack {stack}.", problems)


def load_settings() -> StackSettings:
    """Read the configuration of the running stack.

    Raises:
        SettingsError: something in it is refused; nothing has been registered yet.
    """
    prefix = f"{pulumi.get_project()}:"
    texts: dict[str, Any] = {**get_config_env(), **CONFIG.get()}
    values = {key.removeprefix(prefix): _value(text) for key, text in texts.items() if key.startswith(prefix)}
    secret = {key for key in values if pulumi.runtime.is_config_secret(prefix + key)}
    return check_settings(values, stack=pulumi.get_stack(), secret=secret)


def _value(text: str) -> Any:
    """A configuration value as the stack file means it: Pulumi hands over objects as JSON and scalars as text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    # A number at the top level is an account id without quotes; only its text is meant.
    return value if isinstance(value, (dict, list, bool)) else text


def check_settings(
    values: Mapping[str, Any], *, stack: str, secret: frozenset[str] | set[str] = frozenset()
) -> StackSettings:
    """Turn plain values into settings.

    Args:
        values: by key, without the project's namespace.
        stack: for the message.
        secret: keys whose values may not appear in a message.

    Raises:
        SettingsError: with every problem there is.
    """
    problems = list(_missing_sections(values))
    settings = None
    try:
        settings = StackSettings.model_validate_json(json.dumps(dict(values)))
    except ValidationError as error:
        problems += [_problem(details, secret) for details in error.errors(include_url=False)]
    if settings is not None:
        problems += _contradictions(settings)
    if problems or settings is None:
        raise SettingsError(stack, problems)
    return settings


def _missing_sections(values: Mapping[str, Any]) -> Iterator[Problem]:
    for section, required in REQUIRED_SECTIONS.items():
        if section in values and required not in values:
            yield Problem(
                path=section,
                what=f"section `{section}` without section `{required}`",
                value=", ".join(sorted(values)),
                allowed=f"`{section}` beside `{required}`, which it is built on",
                change=f"add `{required}`, or drop `{section}`",
            )


def _contradictions(settings: StackSettings) -> Iterator[Problem]:
    """What is wrong between sections that are each right."""
    network, cluster, ingress, demo = settings.network, settings.cluster, settings.ingress, settings.demo
    if network is not None:
        outside = zones_outside(settings.region, network.zones)
        if outside:
            yield Problem(
                path="network.zones",
                what=f"zones that are not in region {settings.region}",
                value=", ".join(outside),
                allowed=f"{settings.region}a to {settings.region}{ZONE_LETTERS[-1]}",
                change="name zones of this region, by name and not by id, or change region",
            )
        elif cluster is not None:
            yield from _too_small(settings.region, network, cluster)
        for name, group in cluster.node_groups.items() if cluster is not None else ():
            if strange := [zone for zone in group.zones if zone not in network.zones]:
                yield Problem(
                    path=f"cluster.nodeGroups.{name}.zones",
                    what="zones that the network does not have",
                    value=", ".join(strange),
                    allowed=", ".join(network.zones),
                    change="choose among these, or add the zone to network.zones",
                )
        controller = ingress.load_balancer_controller.version if ingress is not None else None
        if cluster is not None and controller is not None:
            known = KUBERNETES[cluster.kubernetes_version].chart_versions(AWS_LOAD_BALANCER_CONTROLLER.name)
            if controller not in known:
                yield Problem(
                    path="ingress.loadBalancerController.version",
                    what="a chart version that components/versions.py does not know beside Kubernetes "
                    + cluster.kubernetes_version,
                    value=controller,
                    allowed=", ".join(known),
                    change="choose a known one, or add its row with IAM policy and custom resources",
                )
        yield from _unreachable(settings, network)
    yield from _contradictions_of_access(settings)
    yield from _contradictions_of_identities(settings)
    yield from _contradictions_of_ingress(settings)
    yield from _contradictions_of_kiam(settings)
    yield from _contradictions_of_lattice(settings)
    taken = {"default", "kube-system"}
    if ingress is not None:
        taken |= {account.namespace for account in ingress.accounts}
        taken |= {CERT_MANAGER_NAMESPACE} if ingress.cert_manager is not None else set()
    wanted = [("demo.namespace", demo.namespace)] if demo is not None else []
    meshed = settings.lattice_gateway.namespaces if settings.lattice_gateway is not None else []
    if settings.lattice_gateway is not None:
        taken |= {*OWN_NAMESPACES, EXTERNAL_DNS_ACCOUNT.namespace}
        wanted += [("latticeGateway.callers", each) for each in meshed]
    wanted += [
        (f"{path}.createNamespace", ServiceAccountRef.parse(key).namespace)
        for path, key, identity in _identities(settings)
        if identity.create_namespace
    ]
    for path, namespace in wanted:
        others = taken | ({demo.namespace} if demo is not None and path != "demo.namespace" else set())
        others |= set() if path == "latticeGateway.callers" else set(meshed)
        if namespace in others:
            yield Problem(
                path=path,
                what="a namespace that is there already or that another section makes",
                value=namespace,
                allowed="namespaces other than " + ", ".join(sorted(others)),
                change="drop createNamespace" if path.endswith("createNamespace") else "rename it",
            )


def _too_small(region: str, network: NetworkSettings, cluster: ClusterSettings) -> Iterator[Problem]:
    """Node groups whose subnets cannot hold their largest number of nodes and pods, alone or together."""
    room = {zone: usable_addresses(zone_subnets(network.cidr, zone[len(region) :]).private) for zone in network.zones}
    wanted = {name: (set(group.zones) or set(room), group.addresses) for name, group in cluster.node_groups.items()}
    if sum(room.values()) < cluster.addresses:
        yield Problem(
            path="network.cidr",
            what="too few addresses for the nodes and pods of `cluster.nodeGroups`",
            value=f"{network.cidr}, which gives {sum(room.values())} addresses in {len(room)} private subnets",
            allowed=f"at least {cluster.addresses}: maxSize x (1 + podsPerNode) over all node groups",
            change="choose a larger CIDR, another zone, a smaller maxSize or podsPerNode",
        )
        return
    for name, (zones, _) in wanted.items():
        # Whoever may not leave these zones shares them with this group.
        need = sum(addresses for others, addresses in wanted.values() if others <= zones)
        there = sum(room[zone] for zone in zones if zone in room)
        if zones <= set(room) and there < need:
            yield Problem(
                path=f"cluster.nodeGroups.{name}.zones",
                what="too few addresses in the subnets of the node group",
                value=f"{', '.join(sorted(zones))}, which give {there} addresses",
                allowed=f"at least {need}: maxSize x (1 + podsPerNode) over all node groups of these zones alone",
                change="name more zones, choose a larger CIDR, a smaller maxSize or podsPerNode",
            )


def _unreachable(settings: StackSettings, network: NetworkSettings) -> Iterator[Problem]:
    """What nodes without a way out cannot pull."""
    if network.nat != "none":
        return
    pulling = {
        "ingress": settings.ingress is not None,
        "kiam": settings.kiam is not None,
        "identities": any(identity.probe for identity in settings.identities.values()),
    }
    needy = " and ".join(f"`{name}`" for name, pulls in pulling.items() if pulls)
    if settings.image_registry is None and needy:
        yield Problem(
            path="network.nat",
            what=f"no way out to the public registries that charts and images of {needy} come from",
            value="none",
            allowed=f"single, per-zone; none without {needy}, or with imageRegistry",
            change="set network.nat to single, or imageRegistry to an ECR of yours that holds them",
        )
    elif settings.image_registry is not None and not is_regional(settings.image_registry, settings.region):
        yield Problem(
            path="imageRegistry",
            what="a registry that nodes without a way out do not reach",
            value=settings.image_registry,
            allowed=f"a private ECR of the region: 111122223333.dkr.ecr.{settings.region}.amazonaws.com/<path>",
            change="copy charts and images there, or set network.nat to single",
        )


def _contradictions_of_access(settings: StackSettings) -> Iterator[Problem]:
    """Administrators and viewers of another partition, or named twice."""
    partition = partition_of(settings.region)
    cluster = settings.cluster
    granted = {"admins": cluster.admins, "viewers": cluster.viewers} if cluster is not None else {}
    named: set[str] = set()
    for field, arns in granted.items():
        for index, arn in enumerate(arns):
            if arn in named:
                yield Problem(
                    path=f"cluster.{field}.{index}",
                    what="a role or user that is named already, as administrator or viewer",
                    value=arn,
                    allowed="one access entry for a role or user; an administrator reads everything anyway",
                    change="drop the second one",
                )
            named.add(arn)
            if arn.split(":")[1] != partition:
                yield Problem(
                    path=f"cluster.{field}.{index}",
                    what=f"an ARN of another partition than region {settings.region}",
                    value=arn,
                    allowed=f"arn:{partition}:iam::...",
                    change=f"name a role or user of {partition}",
                )


def _identities(settings: StackSettings) -> Iterator[tuple[str, str, IdentitySettings]]:
    """Every identity with its path in the stack file and its account, those of Kiam's workloads too."""
    yield from ((f"identities.{key}", key, identity) for key, identity in settings.identities.items())
    if settings.kiam is not None:
        yield from (
            (f"kiam.workloads.{key}.identity", key, workload.identity)
            for key, workload in settings.kiam.workloads.items()
        )


def _contradictions_of_identities(settings: StackSettings) -> Iterator[Problem]:
    """What is wrong between an identity and the rest of the stack."""
    owners: dict[str, str] = {}
    if settings.cluster is not None:
        owners |= {str(account): f"add-on {name}" for name, (account, _) in ADDON_IDENTITIES.items()}
    if settings.ingress is not None:
        owners |= {str(account): "section `ingress`" for account in settings.ingress.accounts}
    if settings.kiam is not None:
        owners |= {str(account): "section `kiam`" for account in settings.kiam.accounts}
    if settings.lattice_gateway is not None:
        made = (*settings.lattice_gateway.callers, CONTROLLER_ACCOUNT, EXTERNAL_DNS_ACCOUNT)
        owners |= {str(account): "section `latticeGateway`" for account in made}
    partition = partition_of(settings.region)
    for where, key, identity in _identities(settings):
        for account in (key, *identity.also_accounts):
            if account in owners:
                yield Problem(
                    path=where,
                    what=f"two identities for one account: {owners[account]} has it already",
                    value=account,
                    allowed="one identity an account",
                    change="drop it here or there, or rename one of the two accounts",
                )
            owners[account] = f"identity {key}"
        for field, arn in _arns(identity):
            _, of_partition, _, _, owner, _ = arn.split(":", 5)
            if of_partition != partition:
                yield Problem(
                    path=f"{where}.{field}",
                    what=f"an ARN of another partition than region {settings.region}",
                    value=arn,
                    allowed=f"arn:{partition}:...",
                    change=f"name what there is in {partition}",
                )
            elif field != "targetRoleArn" and owner not in ("aws", settings.expected_account_id or owner):
                yield Problem(
                    path=f"{where}.{field}",
                    what="an ARN of another account than the role's",
                    value=arn,
                    allowed=f"account {settings.expected_account_id}, which is expectedAccountId",
                    change="IAM takes no policy and no OIDC provider from elsewhere: make it in this account",
                )
        for name, parameters in identity.policies.items():
            yield from (
                Problem(
                    path=f"{where}.policies.{name}{separator}{problem.parameter}",
                    what=problem.what,
                    value=problem.value,
                    allowed=problem.allowed,
                    change=problem.change,
                )
                for problem in iam_policies.check_parameters(name, parameters, partition)
                for separator in ("." if problem.parameter else "",)
            )


def _contradictions_of_ingress(settings: StackSettings) -> Iterator[Problem]:
    """What is wrong between zones, certificates, names and the demo that uses them."""
    ingress, demo = settings.ingress, settings.demo
    https = ingress.https if ingress is not None else None
    if ingress is None:
        return
    zones = ", ".join(ingress.zones) or "none"
    needy = {"ingress.externalDns": ingress.external_dns is not None}
    needy["ingress.certManager.acme"] = ingress.cert_manager is not None and ingress.cert_manager.acme is not None
    needy["ingress.https"] = https is not None and https.certificate_arn is None
    for path, wanted in needy.items():
        if wanted and not ingress.zones:
            yield Problem(
                path=path,
                what="no zone to make records in",
                value="ingress.zones is empty",
                allowed="one public Route 53 zone or more"
                + ("; none with https.certificateArn" if path == "ingress.https" else ""),
                change="add ingress.zones: {<domain>: <zone id>}",
            )
    needs_a_way_out = {
        "ingress.externalDns": (ingress.external_dns, "Route 53"),
        "ingress.certManager.acme": (ingress.cert_manager and ingress.cert_manager.acme, "Route 53 and Let's Encrypt"),
        "ingress.https.webAclArn": (https and https.web_acl_arn, "WAF"),
    }
    for path, (given, service) in needs_a_way_out.items():
        if given is not None and settings.network is not None and settings.network.nat == "none":
            yield Problem(
                path=path,
                what=f"no way out to {service}, which has no endpoint in this network",
                value="network.nat is none",
                allowed=f"{path.removeprefix('ingress.')} with network.nat single or per-zone",
                change="drop it, or set network.nat",
            )
    if https is not None:
        for index, name in enumerate(https.also_names):
            if ingress.zone_of(name) is None:
                yield _outside(f"ingress.https.alsoNames.{index}", name, zones)
        for path, arn in {"certificateArn": https.certificate_arn, "webAclArn": https.web_acl_arn}.items():
            if arn is not None:
                yield from _elsewhere(settings, f"ingress.https.{path}", arn)
    if demo is None:
        return
    if https is not None and "scheme" in demo.model_fields_set:
        yield Problem(
            path="demo.scheme",
            what="a scheme of its own on a load balancer that all Ingresses share",
            value=demo.scheme,
            allowed="no demo.scheme beside ingress.https, which says it for all",
            change="drop it, or set ingress.https.scheme",
        )
    if demo.host is None:
        if https is not None:
            yield Problem(
                path="demo.host",
                what="no host on a load balancer that all Ingresses share, so it would answer for every name",
                value="none",
                allowed=f"a name in one of these zones: {zones}",
                change="add demo.host",
            )
    elif ingress.zones and ingress.zone_of(demo.host) is None:
        yield _outside("demo.host", demo.host, zones)
    elif ingress.certificate_names and not ingress.covers(demo.host):
        yield Problem(
            path="demo.host",
            what="a host that no certificate is valid for: a wildcard stands for one part of a name",
            value=demo.host,
            allowed=", ".join(name for names in ingress.certificate_names.values() for name in names),
            change=f'choose such a name, or add "*.{demo.host.partition(".")[2]}" to ingress.https.alsoNames',
        )


def _outside(path: str, name: str, zones: str) -> Problem:
    return Problem(
        path=path,
        what="a name outside every zone",
        value=name,
        allowed=f"names in the zones of ingress.zones: {zones}",
        change="choose such a name, or add its zone to ingress.zones",
    )


def _elsewhere(settings: StackSettings, path: str, arn: str) -> Iterator[Problem]:
    """A regional resource that the load balancer of this stack cannot use."""
    _, partition, _, region, account, _ = arn.split(":", 5)
    wanted = (partition_of(settings.region), settings.region, settings.expected_account_id or account)
    parts = zip(("partition", "region", "account"), (partition, region, account), wanted, strict=True)
    if wrong := [kind for kind, given, right in parts if given != right]:
        yield Problem(
            path=path,
            what=f"an ARN of another {wrong[0]}: a load balancer takes what is in its own",
            value=arn,
            allowed=f"arn:{wanted[0]}:{arn.split(':')[2]}:{wanted[1]}:{wanted[2]}:...",
            change=f"name one in {wanted[('partition', 'region', 'account').index(wrong[0])]}",
        )


def _contradictions_of_kiam(settings: StackSettings) -> Iterator[Problem]:
    """What is wrong between Kiam and the rest of the stack."""
    kiam, cluster = settings.kiam, settings.cluster
    if kiam is None or cluster is None:
        return
    for name, group in cluster.node_groups.items():
        if group.operating_system not in CA_BUNDLES:
            yield Problem(
                path=f"cluster.nodeGroups.{name}.operatingSystem",
                what="a node image that Kiam's mounts are not known for",
                value=group.operating_system,
                allowed=", ".join(CA_BUNDLES),
                change="change the image, or leave Kiam first",
            )
    servers = f"cluster.nodeGroups.{kiam.server_node_group}"
    nodes = cluster.node_groups.get(kiam.server_node_group)
    if nodes is None:
        yield Problem(
            path="kiam.serverNodeGroup",
            what="a node group that the cluster does not have",
            value=kiam.server_node_group,
            allowed=", ".join(cluster.node_groups),
            change="add a group for the servers alone, with labels, taints and ownRole",
        )
    else:
        if own_label(cluster.node_groups, kiam.server_node_group) is None:
            yield Problem(
                path=f"{servers}.labels",
                what="nodes of Kiam's servers without a label of their own",
                value=json.dumps(nodes.labels),
                allowed="a label that no other node group has: it keeps servers in and agents out",
                change="add one such as example.com/kiam: server",
            )
        if not nodes.keeps_pods_away:
            yield Problem(
                path=f"{servers}.taints",
                what="nodes of Kiam's servers that other pods may run on, from where they could become the server",
                value=json.dumps([taint.model_dump() for taint in nodes.taints]),
                allowed="a taint with NoSchedule or NoExecute",
                change="add one such as {key: example.com/kiam, value: server}",
            )
        if kiam.server_credentials == "node" and not nodes.own_role:
            yield Problem(
                path=f"{servers}.ownRole",
                what="nodes of Kiam's servers with the role of all nodes, each of which could become the server",
                value="false",
                allowed="true; false with kiam.serverCredentials: irsa",
                change="set ownRole: true",
            )
    if kiam.tls == "cert-manager" and (settings.ingress is None or settings.ingress.cert_manager is None):
        yield Problem(
            path="kiam.tls",
            what="certificates by cert-manager without cert-manager",
            value=kiam.tls,
            allowed="generated, existing; cert-manager beside ingress.certManager",
            change="add ingress.certManager, or choose generated",
        )
    partition = partition_of(settings.region)
    if partition == "aws-eusc":
        yield Problem(
            path="kiam",
            what="a partition whose STS Kiam cannot find: it asks sts.<region>.amazonaws.com",
            value=settings.region,
            allowed="regions of the partitions aws, aws-cn and aws-us-gov",
            change="use section `identities`",
        )
    for key, workload in kiam.workloads.items():
        where = f"kiam.workloads.{key}"
        if workload.role_arn is not None:
            _, of_partition, _, _, owner, _ = workload.role_arn.split(":", 5)
            if of_partition != partition:
                yield Problem(
                    path=f"{where}.roleArn",
                    what=f"an ARN of another partition than region {settings.region}",
                    value=workload.role_arn,
                    allowed=f"arn:{partition}:...",
                    change=f"name a role in {partition}",
                )
            elif workload.external_id is None and owner != settings.expected_account_id:
                yield Problem(
                    path=f"{where}.externalId",
                    what="a role of another account without an external id, by which its owner tells who wants it",
                    value=workload.role_arn,
                    allowed="externalId; none for a role of expectedAccountId",
                    change="add the externalId that the role's trust demands, or set expectedAccountId",
                )
        elif not f"{workload.identity.path}{workload.identity.role_name or ''}".startswith(kiam.assumable):
            yield Problem(
                path=f"{where}.identity.path",
                what="a role that Kiam's servers may not take",
                value=f"{workload.identity.path}{workload.identity.role_name or ''}",
                allowed=f"{kiam.assumable}..., which is kiam.assumable",
                change="set path and roleName so, or change kiam.assumable",
            )


def _arns(identity: IdentitySettings) -> Iterator[tuple[str, str]]:
    """The ARNs of an identity that stand beside its policies' parameters, with their keys in the stack file."""
    yield from ((f"managedPolicyArns.{index}", arn) for index, arn in enumerate(identity.managed_policy_arns))
    yield from ((f"oidcProviderArns.{index}", arn) for index, arn in enumerate(identity.oidc_provider_arns))
    if identity.permissions_boundary is not None:
        yield "permissionsBoundary", identity.permissions_boundary
    if identity.target_role_arn is not None:
        yield "targetRoleArn", identity.target_role_arn


def _contradictions_of_lattice(settings: StackSettings) -> Iterator[Problem]:
    """What is wrong between a cluster's half of a mesh and its cluster; what is wrong with the mesh shows later."""
    gateway, cluster = settings.lattice_gateway, settings.cluster
    if gateway is None or cluster is None:
        return
    if gateway.environment is None:
        yield Problem(
            path="latticeGateway.environment",
            what="no stack to take the mesh from",
            value="none",
            allowed="the stack that has section latticeEnvironment, by its name or as organization/project/stack",
            change="write it like environment: mesh",
        )
    if settings.ingress is not None and settings.ingress.external_dns is not None:
        yield Problem(
            path="ingress.externalDns",
            what="a second external-dns in the namespace of the one that section `latticeGateway` makes",
            value="ingress.externalDns and latticeGateway",
            allowed="one of the two",
            change="drop ingress.externalDns, or keep the public names in another cluster",
        )
    if settings.network is not None and settings.network.nat == "none":
        yield Problem(
            path="network.nat",
            what="no way out to Route 53 and to the tagging API, which have no endpoints in a VPC",
            value="none",
            allowed="single, per-zone; none without `latticeGateway`",
            change="set network.nat to single",
        )
    if cluster.name in gateway.peers:
        yield Problem(
            path="latticeGateway.peers",
            what="the cluster as a peer of its own",
            value=cluster.name,
            allowed="the physical names of the mesh's other clusters",
            change="drop it; or is cluster.name that of another cluster?",
        )
    known = [cluster.name, *gateway.peers]
    for name, service in gateway.services.items():
        for admitted in service.admits:
            if admitted.partition("/")[0] not in known:
                yield Problem(
                    path=f"latticeGateway.services.{name}.admits",
                    what="a cluster that is neither this one nor a peer",
                    value=admitted,
                    allowed=", ".join(f"{each}/<namespace>" for each in known),
                    change="correct it, or add the cluster to latticeGateway.peers",
                )
    row = KUBERNETES[cluster.kubernetes_version]
    for chart in CHARTS:
        if not row.chart_versions(chart):
            fitting = [name for name, each in KUBERNETES.items() if each.chart_versions(chart)]
            yield Problem(
                path="cluster.kubernetesVersion",
                what=f"a version that {chart} is not known to run on",
                value=cluster.kubernetes_version,
                allowed=", ".join(fitting) or "none",
                change="choose one of these, or drop latticeGateway",
            )


_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}


def _problem(details: ErrorDetails, secret: frozenset[str] | set[str]) -> Problem:
    """The four parts of one of pydantic's errors."""
    location = [part for part in details["loc"] if part != "[key]"]
    path = ".".join(map(str, location))
    given = details["input"]
    context = details.get("ctx", {})
    kind = details["type"]
    value = "a secret" if location[0] in secret else json.dumps(given, default=str, ensure_ascii=False)
    if kind == "refused":
        what, allowed, change = context["what"], context["allowed"], context["change"]
    elif kind == "extra_forbidden":
        keys = list(_descriptions(location[:-1]))
        near = difflib.get_close_matches(str(location[-1]), keys, n=1)
        what, allowed = "an unknown key", ", ".join(keys)
        change = f"did you mean `{near[0]}`?" if near else "remove it"
    elif kind == "missing":
        what, value, allowed = "missing", "none", _descriptions(location[:-1])[str(location[-1])]
        change = f"add `{location[-1]}`"
    elif wanted := _TYPES.get(kind):
        what, allowed = f"{wanted} is wanted", wanted
        quoted = kind == "string_type" and isinstance(given, (int, float)) and not isinstance(given, bool)
        change = f'put it in quotes: "{given}"; YAML reads it as a number' if quoted else f"write {wanted}"
    else:
        message = details["msg"]
        what, allowed = message[0].lower() + message[1:], _bounds(context) or message
        change = "choose an allowed value"
    return Problem(path=path, what=what, value=value, allowed=allowed, change=change)


def _bounds(context: Mapping[str, Any]) -> str:
    words = {
        "expected": "{}",
        "ge": "{} or more",
        "le": "{} or less",
        "min_length": "{} or more",
        "max_length": "{} or less",
    }
    return ", ".join(words[key].format(value) for key, value in context.items() if key in words)


def _descriptions(location: list[int | str]) -> dict[str, str]:
    """The keys that the stack file may have in the section at this place, with what they are."""
    model: type[BaseModel] = StackSettings
    for part in location:
        field = next((each for each in model.model_fields.values() if each.alias == part), None)
        if field is not None:
            model = next(_models(field.annotation), model)
    return {str(field.alias): field.description or "" for field in model.model_fields.values()}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The section models inside a type such as `dict[Label, NodeGroupSettings]` or `DemoSettings | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
