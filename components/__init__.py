"""Component resources that make up an EKS stack, and the settings and args that they take."""

from components.access_log_bucket import AccessLogSettings
from components.cluster import Cluster, ClusterArgs, ClusterSettings, NodeGroupSettings, TaintSettings
from components.cluster_target import ClusterTarget
from components.demo_app import DemoApp, DemoAppArgs, DemoSettings
from components.external_dns import ExternalDns, ExternalDnsArgs
from components.ingress_stack import (
    CertManagerSettings,
    ExternalDnsSettings,
    IngressSettings,
    IngressStack,
    IngressStackArgs,
    LoadBalancerControllerSettings,
)
from components.issuers import AcmeSettings, CaSettings
from components.kiam_alternative import KiamAlternative, KiamAlternativeArgs, KiamSettings, KiamWorkloadSettings
from components.lattice_environment import (
    LatticeEnvironment,
    LatticeEnvironmentArgs,
    LatticeEnvironmentSettings,
    LatticeTarget,
)
from components.lattice_gateway import (
    LatticeGateway,
    LatticeGatewayArgs,
    LatticeGatewaySettings,
    LatticeServiceSettings,
)
from components.lattice_link import own_environment, referenced_environment
from components.network import Network, NetworkArgs, NetworkSettings
from components.oidc_irsa import OidcIrsa, OidcIrsaArgs, OidcSettings
from components.pod_role import IdentitySettings, PodRole, PodRoleArgs
from components.service_account import ServiceAccountRef
from components.shared_load_balancer import HttpsSettings
from components.sidecar_injection import InjectionSettings

__all__ = [
    "AccessLogSettings",
    "AcmeSettings",
    "CaSettings",
    "CertManagerSettings",
    "Cluster",
    "ClusterArgs",
    "ClusterSettings",
    "ClusterTarget",
    "DemoApp",
    "DemoAppArgs",
    "DemoSettings",
    "ExternalDns",
    "ExternalDnsArgs",
    "ExternalDnsSettings",
    "HttpsSettings",
    "IdentitySettings",
    "IngressSettings",
    "IngressStack",
    "IngressStackArgs",
    "InjectionSettings",
    "KiamAlternative",
    "KiamAlternativeArgs",
    "KiamSettings",
    "KiamWorkloadSettings",
    "LatticeEnvironment",
    "LatticeEnvironmentArgs",
    "LatticeEnvironmentSettings",
    "LatticeGateway",
    "LatticeGatewayArgs",
    "LatticeGatewaySettings",
    "LatticeServiceSettings",
    "LatticeTarget",
    "LoadBalancerControllerSettings",
    "Network",
    "NetworkArgs",
    "NetworkSettings",
    "NodeGroupSettings",
    "OidcIrsa",
    "OidcIrsaArgs",
    "OidcSettings",
    "PodRole",
    "PodRoleArgs",
    "ServiceAccountRef",
    "TaintSettings",
    "own_environment",
    "referenced_environment",
]
