"""LatticeEnvironment: what all clusters of a mesh share: names, certificate, caller's role, service network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pulumi
import pulumi_aws as aws
from pydantic import AfterValidator, ConfigDict, Field

from components.regions import partition_of
from components.section import Section, refuse
from components.service_account import ServiceAccountRef, is_subdomain
from components.trust import LONGEST_TRUST, pod_identity_statement, policy_text, trust_text

INVOKE = "vpc-lattice-svcs:Invoke"

# Service names in a mesh, `<service>.<domain>`, are covered by one wildcard, which stands for one label.
# https://docs.aws.amazon.com/vpc-lattice/latest/ug/service-byoc.html
AUTHORITY_YEARS = 10
AUTHORITY_DELETION_DAYS = 30

# A private zone cannot be made without a VPC, and the clusters' own come and go with their stacks. Nothing is ever put
# into this one, so its range may overlap with any other.
PLACEHOLDER_CIDR = "10.255.255.240/28"


def _check_domain(value: str) -> str:
    if not is_subdomain(value) or "." not in value:
        refuse("not a domain", allowed="two labels or more, in lower case", change="write it like example.com")
    return value


def _check_network_name(value: str) -> str:
    # https://docs.aws.amazon.com/vpc-lattice/latest/APIReference/API_CreateServiceNetwork.html
    if not re.fullmatch(r"(?!servicenetwork-)[a-z0-9](-?[a-z0-9]){2,62}", value):
        refuse(
            "not a name that both a service network and the Gateway of its name take",
            allowed="3 to 63 lower-case letters, digits and single '-' between, not beginning with servicenetwork-",
            change="rename it before the first `pulumi up`: a network cannot be renamed",
        )
    return value


@dataclass(frozen=True, kw_only=True)
class Client:
    """A service account of one cluster, which calls through the mesh."""

    cluster: str
    account: ServiceAccountRef

    @classmethod
    def parse(cls, text: str) -> Client:
        """Read `cluster/namespace/account`.

        Raises:
            ValueError: it is not of this form.
        """
        cluster, _, account = text.partition("/")
        if not cluster:
            raise ValueError(f"{text!r} names no cluster; write it like cluster1/apps/default")
        return cls(cluster=cluster, account=ServiceAccountRef.parse(account))

    @property
    def group(self) -> str:
        """What a service admits: `cluster/namespace`."""
        return f"{self.cluster}/{self.account.namespace}"

    def __str__(self) -> str:
        """As the stack file writes it."""
        return f"{self.cluster}/{self.account}"


def _check_client(value: str) -> str:
    try:
        Client.parse(value)
    except ValueError:
        refuse(
            "not a service account of a cluster",
            allowed="cluster/namespace/account: the cluster's physical name, then two RFC 1123 names",
            change="write it like cluster1/apps/default",
        )
    return value


def _check_clients(value: tuple[str, ...]) -> tuple[str, ...]:
    if doubled := sorted({each for each in value if value.count(each) > 1}):
        refuse(f"clients named twice: {', '.join(doubled)}", allowed="each once", change="drop one")
    try:
        _client_trust(value)
    except ValueError:
        refuse(
            f"{len(value)} clients, which is more than one role can trust",
            allowed=f"as many as fit into {LONGEST_TRUST} characters of trust policy, six or seven",
            change="let workloads of one namespace share an account",
        )
    return value


def _client_trust(clients: Sequence[str]) -> str:
    parsed = map(Client.parse, clients)
    return trust_text([pod_identity_statement(client.account, client.cluster) for client in parsed])


Domain = Annotated[str, AfterValidator(_check_domain)]
"""A domain of two labels or more."""


class LatticeEnvironmentSettings(Section):
    """Section `latticeEnvironment`: what all clusters of a mesh share."""

    domain: Domain = Field(description="Private domain of the services, which answer at <service>.<domain>.")
    organization: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        description="Organization in the subject of the private CA."
    )
    service_network: Annotated[str, AfterValidator(_check_network_name)] = Field(
        default="lattice-gateway", description="Name of the service network, and of every cluster's Gateway."
    )
    clients: Annotated[
        tuple[Annotated[str, AfterValidator(_check_client)], ...], Field(min_length=1), AfterValidator(_check_clients)
    ] = Field(description="Who may take the callers' role, as `cluster/namespace/account`.")


def _arn(service: str, resource: str) -> Any:
    return Field(pattern=rf"^arn:aws[a-z-]*:{service}:[a-z0-9-]*:\d{{12}}:{resource}$")


class LatticeEnvironmentOutputs(Section):
    """What a stack with a LatticeEnvironment hands to those of the clusters, in its output `latticeEnvironment`."""

    # A newer environment may hand out more.
    model_config = ConfigDict(extra="ignore")

    region: str
    domain: str
    clients: tuple[str, ...]
    zone_id: Annotated[str, Field(pattern=r"^Z[A-Z0-9]+$")]
    certificate_arn: Annotated[str, _arn("acm", "certificate/.+")]
    certificate_authority_arn: Annotated[str, _arn("acm-pca", "certificate-authority/.+")]
    client_role_arn: Annotated[str, _arn("iam", "role/.+")]
    service_network_arn: Annotated[str, _arn("vpc-lattice", "servicenetwork/.+")]
    service_network_name: str


OUTPUT = "latticeEnvironment"
"""The name of the stack output that holds LatticeEnvironmentOutputs."""


@dataclass(frozen=True, kw_only=True)
class LatticeTarget:
    """The environment as a cluster's half sees it that fits to it."""

    region: pulumi.Input[str]
    zone_id: pulumi.Input[str]
    certificate_arn: pulumi.Input[str]
    certificate_authority_arn: pulumi.Input[str]
    client_role_arn: pulumi.Input[str]
    service_network_arn: pulumi.Input[str]
    service_network_name: pulumi.Input[str]
    ready: Sequence[pulumi.Resource] = ()
    """What callers have to find: their role's rights and the network's policy. Of another stack they are there."""


@dataclass(frozen=True, kw_only=True)
class LatticeEnvironmentArgs:
    """What LatticeEnvironment needs beside its settings."""

    settings: LatticeEnvironmentSettings
    region: str
    aws_provider: aws.Provider
    protect: bool = False
    """Protect zone, CA and network from deletion and replacement."""


class LatticeEnvironment(pulumi.ComponentResource):
    """The half of a mesh that there is once.

    Creates:
        - a private hosted zone, and an empty VPC, without which there is no private zone. The clusters associate their
          own VPCs, so the list in the zone is ignored after its creation;
        - a private root CA with its own certificate, ten years, and the right of ACM to renew from it. It costs money
          for as long as it stands, and for a month after a deletion it can be restored;
        - the certificate `<domain>` and `*.<domain>`, RSA 2048 since Lattice takes no other, requested only once the CA
          is active: requested earlier it fails, and nothing says so;
        - the callers' role, which exactly the clients named may take, by EKS Pod Identity with its session tags. It may
          call Lattice services of this account and read the CA's certificate;
        - the service network with IAM auth. Its policy admits signed calls of that role and no others, whatever the
          policy of a single service says, or while it has none yet.
    """

    outputs: pulumi.Output[dict[str, Any]]
    """LatticeEnvironmentOutputs in the stack file's spelling."""
    target: LatticeTarget
    settings: LatticeEnvironmentSettings
    region: str

    def __init__(self, name: str, args: LatticeEnvironmentArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-foundation:index:LatticeEnvironment", name, None, opts)
        settings, domain = args.settings, args.settings.domain
        child = pulumi.ResourceOptions(parent=self, provider=args.aws_provider)
        stateful = pulumi.ResourceOptions(parent=self, provider=args.aws_provider, protect=args.protect)

        placeholder = aws.ec2.Vpc(
            f"{name}-zone",
            cidr_block=PLACEHOLDER_CIDR,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags={"Name": f"{domain} (empty)"},
            opts=child,
        )
        zone = aws.route53.Zone(
            f"{name}-zone",
            name=domain,
            comment="Services of the mesh; records by external-dns of each cluster",
            vpcs=[aws.route53.ZoneVpcArgs(vpc_id=placeholder.id)],
            # What external-dns had no time to remove must not keep the zone.
            force_destroy=True,
            opts=pulumi.ResourceOptions.merge(stateful, pulumi.ResourceOptions(ignore_changes=["vpcs"])),
        )

        authority = aws.acmpca.CertificateAuthority(
            f"{name}-authority",
            type="ROOT",
            enabled=True,
            usage_mode="GENERAL_PURPOSE",
            permanent_deletion_time_in_days=AUTHORITY_DELETION_DAYS,
            certificate_authority_configuration=aws.acmpca.CertificateAuthorityCertificateAuthorityConfigurationArgs(
                key_algorithm="RSA_4096",
                signing_algorithm="SHA512WITHRSA",
                subject=aws.acmpca.CertificateAuthorityCertificateAuthorityConfigurationSubjectArgs(
                    common_name=domain, organization=settings.organization
                ),
            ),
            opts=stateful,
        )
        own_certificate = aws.acmpca.Certificate(
            f"{name}-authority",
            certificate_authority_arn=authority.arn,
            certificate_signing_request=authority.certificate_signing_request,
            signing_algorithm="SHA512WITHRSA",
            template_arn=f"arn:{partition_of(args.region)}:acm-pca:::template/RootCACertificate/V1",
            validity=aws.acmpca.CertificateValidityArgs(type="YEARS", value=str(AUTHORITY_YEARS)),
            opts=child,
        )
        active = aws.acmpca.CertificateAuthorityCertificate(
            f"{name}-authority",
            certificate_authority_arn=authority.arn,
            certificate=own_certificate.certificate,
            certificate_chain=own_certificate.certificate_chain,
            opts=child,
        )
        renewal = aws.acmpca.Permission(
            f"{name}-renewal",
            certificate_authority_arn=authority.arn,
            principal="acm.amazonaws.com",
            actions=["IssueCertificate", "GetCertificate", "ListPermissions"],
            opts=child,
        )
        certificate = aws.acm.Certificate(
            f"{name}-certificate",
            domain_name=domain,
            subject_alternative_names=[f"*.{domain}"],
            certificate_authority_arn=authority.arn,
            key_algorithm="RSA_2048",
            # Names of a private domain are nobody else's business.
            options=aws.acm.CertificateOptionsArgs(certificate_transparency_logging_preference="DISABLED"),
            opts=pulumi.ResourceOptions(parent=self, provider=args.aws_provider, depends_on=[active, renewal]),
        )

        role = aws.iam.Role(
            f"{name}-client",
            description=f"Calls services of {domain} over VPC Lattice",
            assume_role_policy=_client_trust(settings.clients),
            opts=child,
        )
        rights = aws.iam.RolePolicy(
            f"{name}-client",
            role=role.name,
            policy=authority.arn.apply(_client_rights),
            opts=child,
        )

        network = aws.vpclattice.ServiceNetwork(
            f"{name}-network", name=settings.service_network, auth_type="AWS_IAM", opts=stateful
        )
        policy = aws.vpclattice.AuthPolicy(
            f"{name}-network",
            resource_identifier=network.arn,
            policy=role.arn.apply(network_policy),
            opts=child,
        )

        self.settings, self.region = settings, args.region
        self.target = LatticeTarget(
            region=args.region,
            zone_id=zone.zone_id,
            certificate_arn=certificate.arn,
            certificate_authority_arn=authority.arn,
            client_role_arn=role.arn,
            service_network_arn=network.arn,
            service_network_name=settings.service_network,
            ready=[rights, policy],
        )
        self.outputs = pulumi.Output.all(
            region=args.region,
            domain=domain,
            clients=list(settings.clients),
            zoneId=zone.zone_id,
            certificateArn=certificate.arn,
            certificateAuthorityArn=authority.arn,
            clientRoleArn=role.arn,
            serviceNetworkArn=network.arn,
            serviceNetworkName=settings.service_network,
        )
        self.register_outputs({"outputs": self.outputs})


def _client_rights(authority_arn: str) -> str:
    """Call the services of the CA's account and region, and read that CA's certificate, for the proxy to trust."""
    services = authority_arn.replace(":acm-pca:", ":vpc-lattice:").rpartition(":")[0] + ":service/*"
    return policy_text(
        [
            {"Effect": "Allow", "Action": INVOKE, "Resource": services},
            {
                "Effect": "Allow",
                "Action": "acm-pca:GetCertificateAuthorityCertificate",
                "Resource": authority_arn,
            },
        ]
    )


def network_policy(client_role_arn: str) -> str:
    """What the service network asks of every call: to be signed, by the callers' role.

    `aws:PrincipalArn` of a session is the ARN of its role. Lattice takes no line breaks in a policy.
    """
    return policy_text(
        [
            {
                "Effect": "Allow",
                "Principal": "*",
                "Action": INVOKE,
                "Resource": "*",
                "Condition": {
                    "StringNotEqualsIgnoreCase": {"aws:PrincipalType": "anonymous"},
                    "StringEquals": {"aws:PrincipalArn": client_role_arn},
                },
            }
        ]
    )
