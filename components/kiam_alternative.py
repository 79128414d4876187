"""KiamAlternative: Kiam as it has to be on EKS, for those who still run it, and the way out of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
from pydantic import AfterValidator, Field, model_validator

from components import kiam_tls, versions
from components.cluster import NodeGroupSettings
from components.cluster_target import ClusterTarget
from components.oidc_irsa import OidcIrsa
from components.pod_role import (
    ROLE_CHECK,
    ROLE_HASH_ANNOTATION,
    AccountName,
    IdentitySettings,
    PodRole,
    PodRoleArgs,
    RoleArn,
)
from components.release import release
from components.section import Label, Section, refuse
from components.service_account import ServiceAccountRef
from components.trust import assume_statement, policy_text, role_statement, trust_text

NAMESPACE = "kube-system"
"""Of agents, servers and their Secrets. It enforces no pod security level; Kiam needs host network and NET_ADMIN."""
SERVER_ACCOUNT = ServiceAccountRef(namespace=NAMESPACE, name="kiam-server")

ROLE_ANNOTATION = "iam.amazonaws.com/role"
"""Read by Kiam on a pod."""
EXTERNAL_ID_ANNOTATION = "iam.amazonaws.com/external-id"
PERMITTED_ANNOTATION = "iam.amazonaws.com/permitted"
"""Read by Kiam on a namespace: `^` and `$` are put around it as it stands, so that `a|b` needs a group."""

# The interfaces that the VPC CNI gives to pods; the node's own is called ens5 or eth0, by image.
POD_INTERFACES = "eni+"
AGENT_PORT = 8181
AGENT_METRICS_PORT, SERVER_METRICS_PORT = 9620, 9621
# The Service is headless: agents dial its port at the pods' own addresses, so no other port can stand behind it.
SERVER_PORT = 443
DIAL_TIMEOUT = "10s"
# Which node images Kiam's mounts are known for, and where the certificate authorities of AWS are there.
CA_BUNDLES = {"al2023": "/etc/pki/ca-trust/extracted/pem"}

WARNING = (
    "Kiam was abandoned in October 2023, has had no security update since 2021, and nobody has reported whether it "
    "works on Amazon Linux 2023. Use IRSA or EKS Pod Identity (section `identities`); docs/kiam.md has the way out."
)


def _check_assumable(value: str) -> str:
    if not re.fullmatch(r"/[\w+=,.@/-]+", value, re.ASCII):
        refuse(
            "not the beginning of roles' paths and names",
            allowed="a path such as /kiam/, or the beginning of names such as /Kiam; not all roles",
            change="begin it with / and name what Kiam's roles have in common",
        )
    return value


def _check_regexp(value: str) -> str:
    try:
        re.compile(value)
    except re.error as problem:
        refuse(f"not a regular expression ({problem})", allowed="the syntax of Go's regexp", change="mend it")
    if re.search(r"\(\?<?[=!]|\\[1-9]", value):
        refuse(
            "an expression that Go cannot compile",
            allowed="the syntax of Go's regexp, without look-around and back references",
            change="write out what is permitted",
        )
    return value


def _check_expression(value: str) -> str:
    if _has_bare_alternative(value):
        refuse(
            "alternatives without a group: Kiam reads a|b as ^a|b$, which permits whatever begins with a",
            allowed="alternatives inside a group",
            change=f"write ({value})",
        )
    if not re.match(r"[(^]*arn:", value):
        refuse(
            "an expression that is not about whole ARNs, which are what Kiam compares",
            allowed="arn:aws:iam::111122223333:role/kiam/.*, (arn:...|arn:...)",
            change="begin it with the ARN",
        )
    return value


def _has_bare_alternative(expression: str) -> bool:
    """Whether there is a | outside of all groups and character classes."""
    rest = re.sub(r"\\.", "", expression)
    rest = re.sub(r"\[\^?\]?[^\]]*\]", "", rest)
    while (shorter := re.sub(r"\([^()]*\)", "", rest)) != rest:
        rest = shorter
    return "|" in rest


def _check_chart(value: str) -> str:
    if not (value.startswith("https://") or value.rsplit("/", 1)[-1] == versions.KIAM.chart):
        refuse(
            "not an address of the chart",
            allowed="https://<chart repository>, oci://<registry>/kiam, or a folder that is called kiam",
            change="rename the folder: the release and the certificates are named after it",
        )
    return value


class KiamWorkloadSettings(Section):
    """One entry of `kiam.workloads`: pods that get their role from Kiam, and how they leave it."""

    identity: IdentitySettings = Field(
        default=IdentitySettings(),
        description="The role, as section `identities` would have it, where it goes in the end; without mechanism.",
    )
    role_arn: RoleArn | None = Field(default=None, description="A role that is made elsewhere, in place of identity.")
    external_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+=,.@:/-]+$", min_length=2, max_length=1224)] | None = (
        Field(
            default=None, description="What the owner of roleArn wants to hear; needed where it is of another account."
        )
    )
    exit: Literal["irsa", "pod-identity"] | None = Field(
        default=None, description="Let the account take the role too, in this way: the first step out of Kiam."
    )
    tester: bool = Field(default=False, description="Run a pod that is ready only while STS says that it is this role.")

    @model_validator(mode="after")
    def _fits_together(self) -> KiamWorkloadSettings:
        given = self.identity.model_fields_set
        if "mechanism" in given:
            refuse(
                "a mechanism beside Kiam",
                allowed="identity without mechanism; exit: irsa or pod-identity",
                change="write it as exit",
            )
        if self.role_arn is not None and (given or self.exit is not None):
            refuse(
                "roleArn beside " + ("identity" if given else "exit"),
                allowed="roleArn alone: the trust of a role that is made elsewhere is changed there",
                change="drop one of the two",
            )
        if self.external_id is not None and self.role_arn is None:
            refuse("externalId without roleArn", allowed="both, or identity", change="drop externalId")
        if self.exit is None and self.identity.probe:
            refuse(
                "a probe without exit: until then there is no account that it could run under",
                allowed="probe with exit; tester before",
                change="set tester, or exit",
            )
        if self.exit == "pod-identity" and (self.identity.loose_subjects or self.identity.oidc_provider_arns):
            refuse(
                "looseSubjects and oidcProviderArns with exit pod-identity",
                allowed="both with exit irsa",
                change="drop them, or change exit",
            )
        return self


class KiamSettings(Section):
    """Section `kiam`: agents, servers and workloads of Kiam, which is abandoned."""

    server_node_group: Label = Field(
        default="kiam-server", description="Node group of the servers alone, with a label and a taint of its own."
    )
    server_credentials: Literal["node", "irsa"] = Field(
        default="node",
        description="How servers get their role: from their nodes, which then need ownRole, or from their account.",
    )
    server_role_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+=,.@-]{1,64}$")] = Field(
        default="kiam-server", description="Name of the role that takes all others."
    )
    assumable: Annotated[str, AfterValidator(_check_assumable)] = Field(
        default="/kiam/", description="Path, or beginning of path and name, of the roles that the servers may take."
    )
    tls: kiam_tls.TlsVariant = Field(
        default="generated",
        description=(
            "Certificates: `generated` by Pulumi, keys in its state; by `cert-manager`; or `existing` in the Secrets "
            "kiam-server-tls and kiam-agent-tls, with the file names of Kiam's guide."
        ),
    )
    chart: Annotated[str, AfterValidator(_check_chart)] | None = Field(
        default=None, description="Another chart repository, an OCI address or a folder; the project's own is old."
    )
    session_minutes: Annotated[int, Field(ge=15, le=60)] = Field(
        default=60, description="How long credentials are valid; STS gives a chained role an hour at most."
    )
    refresh_minutes: Annotated[int, Field(ge=1)] = Field(
        default=20, description="How long before their end they are renewed; the Java SDK v1 wants 15 or more."
    )
    metadata_routes: Annotated[str, AfterValidator(_check_regexp)] | None = Field(
        default=None, description="Expression of metadata paths that pods may read beside credentials; none otherwise."
    )
    debug: bool = Field(default=False, description="Log everything, gRPC included.")
    workloads: dict[AccountName, KiamWorkloadSettings] = Field(
        default={}, description="Pods with a role from Kiam, by namespace and the account that they leave with."
    )
    permitted: dict[Label, Annotated[str, AfterValidator(_check_regexp), AfterValidator(_check_expression)]] = Field(
        default={}, description="Expression of whole ARNs by namespace, for pods that are declared elsewhere."
    )

    @model_validator(mode="after")
    def _renews_in_time(self) -> KiamSettings:
        if self.refresh_minutes >= self.session_minutes:
            refuse(
                f"refreshMinutes {self.refresh_minutes} with sessionMinutes {self.session_minutes}",
                allowed="refreshMinutes < sessionMinutes",
                change="lower refreshMinutes: otherwise every request is a new session",
            )
        return self

    @property
    def accounts(self) -> list[ServiceAccountRef]:
        """The service accounts that the section makes itself."""
        return [SERVER_ACCOUNT] if self.server_credentials == "irsa" else []


def own_label(node_groups: Mapping[str, NodeGroupSettings], name: str) -> tuple[str, str] | None:
    """A label, key and value, that the nodes of this group have and no others; None where there is none."""
    others = {label for key, group in node_groups.items() if key != name for label in group.labels.items()}
    return next((label for label in node_groups[name].labels.items() if label not in others), None)


def permitted_expression(role_arns: Sequence[str], further: str | None = None) -> str:
    """What a namespace is annotated with so that exactly these roles are permitted, and what `further` matches.

    Always a group: Kiam puts `^` before and `$` behind the text as it stands.
    """
    return "(" + "|".join([*(re.escape(arn) for arn in role_arns), *([further] if further else [])]) + ")"


@dataclass(frozen=True, kw_only=True)
class KiamAlternativeArgs:
    """What KiamAlternative needs beside its settings."""

    settings: KiamSettings
    cluster: ClusterTarget
    node_groups: Mapping[str, NodeGroupSettings]
    """All of the cluster: the servers run on one, the agents on all others."""
    server_node_role: aws.iam.Role
    """Of the nodes of `serverNodeGroup`."""
    identities: OidcIrsa
    """Makes the roles of the workloads, so that a workload that leaves Kiam for `identities` keeps its role."""
    cert_manager_ready: Sequence[pulumi.Resource] = ()
    """For `tls: cert-manager`: what objects of cert-manager wait for."""

    def __post_init__(self) -> None:
        """Refuse certificates that nobody would issue, and servers that nothing tells from other pods' nodes.

        Raises:
            ValueError: cert-manager, or the label of the servers' nodes, is missing.
        """
        if self.settings.tls == "cert-manager" and not self.cert_manager_ready:
            raise ValueError(
                "kiam.tls is cert-manager without cert-manager; allowed: cert_manager_ready with its release, another "
                "kiam.tls; pass IngressStack's cert_manager_ready"
            )
        _ = self.server_label

    @property
    def server_label(self) -> tuple[str, str]:
        """What keeps servers on their own nodes and agents away: a label, key and value, of no other node group.

        Raises:
            ValueError: there is none.
        """
        label = own_label(self.node_groups, self.settings.server_node_group)
        if label is None:
            raise ValueError(
                f"node group {self.settings.server_node_group} has no label of its own; allowed: a label that no other "
                "group has, which keeps servers in and agents out; add one"
            )
        return label


class KiamAlternative(pulumi.ComponentResource):
    """Kiam: pods get the role that they are annotated with, by way of a proxy before the metadata service.

    Kiam is abandoned. This is for those who run it, to run it safely and to leave it; it warns whenever it is used.

    Creates:
        - the server role. It trusts exactly the role that the servers have already, of their own nodes or by IRSA of
          their account, which in turn may take it and nothing else; it may take the roles under `assumable`;
        - certificates, in one of three ways;
        - the release: servers on their own nodes, agents on all others. Nodes require IMDSv2 with one hop. Agents, and
          servers that need the metadata service, are on the host network, where that one hop is enough; what a pod
          sends to the metadata service is caught on its own node. Where no agent runs, a pod gets no answer at all;
        - per workload its role among the identities, which trusts the server role, and with `exit` the account too;
        - per namespace the annotation with the roles that its pods may have;
        - on request a tester, whose pod is ready only while STS says that it is the workload's role.

    Agents reach servers inside the nodes' own security group; no port is opened for them.
    """

    server_role_arn: pulumi.Output[str]
    role_arns: dict[str, pulumi.Output[str]]
    """Of the workloads, by `namespace/account`."""

    def __init__(self, name: str, args: KiamAlternativeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-foundation:index:KiamAlternative", name, None, opts)
        pulumi.log.warn(WARNING, resource=self)
        settings, cluster = args.settings, args.cluster
        child = pulumi.ResourceOptions(parent=self, provider=cluster.aws_provider)

        account: PodRole | None = None
        taker_arn, taker_name = args.server_node_role.arn, args.server_node_role.name
        if settings.server_credentials == "irsa":
            account = PodRole(
                f"{name}-account",
                PodRoleArgs(
                    settings=IdentitySettings(),
                    account=SERVER_ACCOUNT,
                    region=cluster.region,
                    aws_provider=cluster.aws_provider,
                    oidc_provider_arns=[args.identities.provider_arn],
                    kubernetes_provider=cluster.kubernetes_provider,
                ),
                opts=pulumi.ResourceOptions(parent=self),
            )
            taker_arn, taker_name = account.role_arn, account.role_name
        server_role = aws.iam.Role(
            f"{name}-server",
            # A new name makes a new role before the old one goes, and every trust below names the new one: a role that
            # is made again under the same name would be trusted by nobody.
            name=settings.server_role_name,
            description="Taken by the servers of Kiam, takes the roles of pods",
            assume_role_policy=taker_arn.apply(lambda arn: trust_text([role_statement(arn)])),
            opts=child,
        )
        foreign = [each.role_arn for each in settings.workloads.values() if each.role_arn is not None]
        rights: list[pulumi.Resource] = [
            aws.iam.RolePolicy(
                f"{name}-server-may-assume",
                role=taker_name,
                policy=server_role.arn.apply(lambda arn: policy_text([assume_statement(arn)])),
                opts=child,
            ),
            aws.iam.RolePolicy(
                f"{name}-pods-may-assume",
                role=server_role.name,
                policy=server_role.arn.apply(
                    lambda arn: policy_text(
                        [assume_statement(f"{_base_arn(arn)}{settings.assumable.removeprefix('/')}*", *foreign)]
                    )
                ),
                opts=child,
            ),
        ]

        certificates: list[pulumi.Resource] = []
        if settings.tls == "generated":
            certificates = kiam_tls.generated(
                name, namespace=NAMESPACE, parent=self, kubernetes_provider=cluster.kubernetes_provider
            )
        elif settings.tls == "cert-manager":
            certificates = kiam_tls.by_cert_manager(
                name,
                namespace=NAMESPACE,
                parent=self,
                kubernetes_provider=cluster.kubernetes_provider,
                cert_manager_ready=args.cert_manager_ready,
            )
        kiam = release(
            name,
            _chart(settings.chart),
            cluster=cluster,
            parent=self,
            namespace=NAMESPACE,
            values=_values(args, server_role.arn, account),
            webhook_ports={},
            wait_for=[*rights, *certificates, *(account.ready if account is not None else ())],
        )

        accounts = {key: ServiceAccountRef.parse(key) for key in settings.workloads}
        pod_roles: dict[str, PodRole] = {}
        self.role_arns = {}
        for key, workload in settings.workloads.items():
            if workload.role_arn is not None:
                self.role_arns[key] = pulumi.Output.from_input(workload.role_arn)
                continue
            if workload.identity.create_namespace:
                args.identities.namespace(accounts[key].namespace)
            pod_roles[key] = args.identities.pod_role(
                key,
                workload.identity.model_copy(update={"mechanism": workload.exit or workload.identity.mechanism}),
                admitted_role_arns=[server_role.arn],
                by_account=workload.exit is not None,
            )
            self.role_arns[key] = pod_roles[key].role_arn

        permissions: dict[str, kubernetes.core.v1.NamespacePatch] = {}
        for namespace in sorted({each.namespace for each in accounts.values()} | set(settings.permitted)):
            arns = [arn for key, arn in self.role_arns.items() if accounts[key].namespace == namespace]
            further = settings.permitted.get(namespace)
            permissions[namespace] = kubernetes.core.v1.NamespacePatch(
                f"{name}-{namespace}-permitted",
                metadata=kubernetes.meta.v1.ObjectMetaPatchArgs(
                    name=namespace,
                    annotations={
                        PERMITTED_ANNOTATION: pulumi.Output.all(*arns).apply(
                            lambda arns, further=further: permitted_expression(arns, further)
                        ),
                        # Somebody may have written it with kubectl; it belongs to this program from now on.
                        "pulumi.com/patchForce": "true",
                    },
                ),
                opts=pulumi.ResourceOptions(
                    parent=self,
                    provider=cluster.kubernetes_provider,
                    depends_on=[made] if (made := args.identities.namespaces.get(namespace)) is not None else [],
                ),
            )
        for key, workload in settings.workloads.items():
            if workload.tester:
                _tester(
                    f"{name}-{key.replace('/', '.')}-tester",
                    accounts[key],
                    workload,
                    self.role_arns[key],
                    cluster,
                    pulumi.ResourceOptions(
                        parent=self,
                        provider=cluster.kubernetes_provider,
                        depends_on=[
                            kiam,
                            permissions[accounts[key].namespace],
                            *(pod_roles[key].ready if key in pod_roles else ()),
                        ],
                    ),
                )

        self.server_role_arn = server_role.arn
        self.register_outputs({"server_role_arn": self.server_role_arn, "role_arns": self.role_arns})


def _base_arn(role_arn: str) -> str:
    """What every role's ARN of the same account begins with."""
    return role_arn.split(":role/")[0] + ":role/"


def _chart(address: str | None) -> versions.Chart:
    if address is None:
        return versions.KIAM
    if address.startswith("https://"):
        return replace(versions.KIAM, repository=address)
    return replace(versions.KIAM, chart=address, repository=None)


def _values(
    args: KiamAlternativeArgs, server_role_arn: pulumi.Output[str], account: PodRole | None
) -> dict[str, object]:
    """The chart's values: whatever it leaves open or gets wrong by itself.

    https://github.com/uswitch/kiam/blob/v4.2/helm/kiam/values.yaml
    """
    settings = args.settings
    server_nodes = args.node_groups[settings.server_node_group]
    label_key, label_value = args.server_label

    def both(part: Literal["server", "agent"], metrics_port: int) -> dict[str, object]:
        return {
            "image": {"tag": versions.KIAM.app_version},
            "log": {"level": "debug" if settings.debug else "info"},
            # A list: the map that the chart took before its third version is not rendered as an environment.
            "extraEnv": [
                {"name": "GRPC_GO_LOG_SEVERITY_LEVEL", "value": "info"},
                {"name": "GRPC_GO_LOG_VERBOSITY_LEVEL", "value": "8"},
            ]
            if settings.debug
            else [],
            "prometheus": {"port": metrics_port},
            # The chart's second is over before servers that start along with the agents can answer.
            "gatewayTimeoutCreation": DIAL_TIMEOUT,
            # The chart's OnDelete leaves running pods with the old values for good.
            "updateStrategy": "RollingUpdate",
            # No limit: an agent that is killed for its memory leaves its node without credentials.
            "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
            **kiam_tls.chart_values(settings.tls, part),
        }

    routes = {} if settings.metadata_routes is None else {"allowRouteRegexp": settings.metadata_routes}
    roll = {} if account is None else {"podAnnotations": {ROLE_HASH_ANNOTATION: account.role_hash}}
    return {
        "agent": {
            **both("agent", AGENT_METRICS_PORT),
            **routes,
            "host": {
                # Without the rule, pods would get whatever the metadata service gives to their node.
                "iptables": True,
                # The rule stays when an agent stops, so that nobody gets credentials rather than those of the node.
                "iptablesRemoveOnShutdown": False,
                "interface": POD_INTERFACES,
                "port": AGENT_PORT,
            },
            "priorityClassName": "system-node-critical",
            "tolerations": [{"operator": "Exists"}],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": label_key, "operator": "NotIn", "values": [label_value]}]}
                        ]
                    }
                }
            },
        },
        "server": {
            **both("server", SERVER_METRICS_PORT),
            **roll,
            # Image v4.1 and later stop without it.
            "assumeRoleArn": server_role_arn,
            "roleBaseArn": server_role_arn.apply(_base_arn),
            "sessionDuration": f"{settings.session_minutes}m",
            "extraArgs": {"region": args.cluster.region, "session-refresh": f"{settings.refresh_minutes}m"},
            # One hop does not reach the metadata service from a pod's own network.
            "useHostNetwork": account is None,
            "service": {"port": SERVER_PORT, "targetPort": SERVER_PORT},
            "probes": {"serverAddress": kiam_tls.PROBE_ADDRESS},
            "sslCertHostPath": CA_BUNDLES[server_nodes.operating_system],
            "priorityClassName": "system-cluster-critical",
            "nodeSelector": {label_key: label_value},
            "tolerations": [
                {"key": taint.key, "operator": "Equal", "value": taint.value, "effect": taint.effect}
                for taint in server_nodes.taints
            ],
        },
        "serviceAccounts": {
            "agent": {"create": True},
            "server": {"create": account is None, "name": SERVER_ACCOUNT.name},
        },
        # Kubernetes has had no such policies since 1.25.
        "psp": {"create": False},
    }


def _tester(
    name: str,
    account: ServiceAccountRef,
    workload: KiamWorkloadSettings,
    role_arn: pulumi.Output[str],
    cluster: ClusterTarget,
    opts: pulumi.ResourceOptions,
) -> kubernetes.apps.v1.Deployment:
    """A pod in the role, ready only while STS says so; on the way out it runs under the account already."""
    image = cluster.image(versions.PROBE_IMAGE)
    labels = {"app.kubernetes.io/name": account.name}
    annotations: dict[str, pulumi.Input[str]] = {ROLE_ANNOTATION: role_arn}
    if workload.external_id is not None:
        annotations[EXTERNAL_ID_ANNOTATION] = workload.external_id
    return kubernetes.apps.v1.Deployment(
        name,
        metadata=kubernetes.meta.v1.ObjectMetaArgs(namespace=account.namespace, name=account.name, labels=labels),
        spec=kubernetes.apps.v1.DeploymentSpecArgs(
            replicas=1,
            selector=kubernetes.meta.v1.LabelSelectorArgs(match_labels=labels),
            template=kubernetes.core.v1.PodTemplateSpecArgs(
                # Kiam reads pods: on the Deployment's own metadata the annotation says nothing to it.
                metadata=kubernetes.meta.v1.ObjectMetaArgs(labels=labels, annotations=annotations),
                spec=kubernetes.core.v1.PodSpecArgs(
                    service_account_name=account.name if workload.exit is not None else None,
                    security_context=kubernetes.core.v1.PodSecurityContextArgs(
                        run_as_non_root=True,
                        run_as_user=image.user,
                        seccomp_profile=kubernetes.core.v1.SeccompProfileArgs(type="RuntimeDefault"),
                    ),
                    containers=[
                        kubernetes.core.v1.ContainerArgs(
                            name="tester",
                            image=image.reference,
                            command=["sleep", "infinity"],
                            env=[
                                # Agents answer 404 where the command would look its region up.
                                kubernetes.core.v1.EnvVarArgs(name="AWS_REGION", value=cluster.region),
                                kubernetes.core.v1.EnvVarArgs(
                                    name="EXPECTED_ROLE", value=role_arn.apply(lambda arn: arn.rsplit("/", 1)[-1])
                                ),
                                kubernetes.core.v1.EnvVarArgs(name="HOME", value=image.writes),
                            ],
                            readiness_probe=kubernetes.core.v1.ProbeArgs(
                                exec_=kubernetes.core.v1.ExecActionArgs(command=["sh", "-c", ROLE_CHECK]),
                                period_seconds=30,
                                timeout_seconds=20,
                            ),
                            security_context=kubernetes.core.v1.SecurityContextArgs(
                                allow_privilege_escalation=False,
                                capabilities=kubernetes.core.v1.CapabilitiesArgs(drop=["ALL"]),
                            ),
                        )
                    ],
                ),
            ),
        ),
        opts=opts,
    )
