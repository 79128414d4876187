"""EKS as the rules see it: clusters, nodes, subnets, releases and Kubernetes objects, however a program made them.

Everything is read once per graph and looked up by name afterwards, so rules stay linear in the size of a stack.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast
from weakref import WeakKeyDictionary

import networkx as nx

from preflight.graph import UNKNOWN, Graph, Resource
from preflight.rules.rule import Stack, UnknownValueError, value
from preflight.workloads import RELEASES, at, properties, text

AWS_CLUSTER = "aws:eks/cluster:Cluster"
PACKAGED_CLUSTER = "eks:index:Cluster"
NODE_GROUPS = ("aws:eks/nodeGroup:NodeGroup", "eks:index:ManagedNodeGroup")
ADDON = "aws:eks/addon:Addon"
KUBERNETES_PROVIDER = "pulumi:providers:kubernetes"
ALB_CHART = "aws-load-balancer-controller"
ALB_CONTROLLERS = {"ingress.k8s.aws/alb": ALB_CHART, "eks.amazonaws.com/alb": "EKS Auto Mode"}
ALB_PREFIX = "alb.ingress.kubernetes.io/"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"
CLUSTER_TAG = "kubernetes.io/cluster/"
_RIGHTS = (
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/policyAttachment:PolicyAttachment",
)

# Where pulumi-eks' component keeps what EKS's own resource has elsewhere.
_PACKAGED = {
    "accessConfig.authenticationMode": "authenticationMode",
    "computeConfig.enabled": "autoMode.enabled",
    "encryptionConfig.provider.keyArn": "encryptionConfigKeyArn",
    "roleArn": "serviceRole",
    "vpcConfig.endpointPrivateAccess": "endpointPrivateAccess",
    "vpcConfig.endpointPublicAccess": "endpointPublicAccess",
    "vpcConfig.publicAccessCidrs": "publicAccessCidrs",
    "vpcConfig.subnetIds": "subnetIds",
}


def many(found: object, *path: str) -> list[object]:
    """The list at a path; empty where there is none, or where it is not known."""
    items = at(found, *path)
    return cast("list[object]", items) if isinstance(items, list) else []


def fields(found: object, *path: str) -> dict[str, object]:
    """The mapping at a path; empty where there is none, or where it is not known."""
    items = at(found, *path)
    return cast("dict[str, object]", items) if isinstance(items, dict) else {}


@dataclass(frozen=True, kw_only=True, eq=False)
class Cluster:
    """An EKS cluster, made directly or inside pulumi-eks' component, whose inputs are then all that is known."""

    resource: Resource
    name: str
    packaged: bool

    def get(self, path: str) -> object:
        """A setting by its path in EKS's own resource. Raises UnknownValueError."""
        return value(self.resource, _PACKAGED.get(path, path) if self.packaged else path)

    def has(self, path: str) -> bool:
        """Whether a setting is there, whatever it is."""
        own = _PACKAGED.get(path, path) if self.packaged else path
        return at(properties(self.resource), *own.split(".")) not in (None, "")

    def write(self, path: str) -> str:
        """The same path as a Python program writes it, for a fix."""
        own = _PACKAGED.get(path, path) if self.packaged else path
        return re.sub(r"(?<=[a-z])[A-Z]", lambda letter: f"_{letter[0].lower()}", own.replace(".", " / "))

    @property
    def subnet_ids(self) -> list[str]:
        """The subnets that it is told of, public and private ones of pulumi-eks' component included."""
        values = properties(self.resource)
        paths = [("vpcConfig", "subnetIds"), ("subnetIds",), ("privateSubnetIds",), ("publicSubnetIds",)]
        return [str(one) for path in paths for one in many(values, *path)]

    @property
    def security_groups(self) -> set[str]:
        """The groups on its network interfaces, as far as the program knows them."""
        values = properties(self.resource)
        found = {text(values, "vpcConfig", "clusterSecurityGroupId"), text(values, "clusterSecurityGroupId")}
        found |= {str(one) for one in many(values, "vpcConfig", "securityGroupIds")}
        return found - {""}

    @property
    def own_security_group(self) -> str:
        """The group that EKS makes, which it tags for the cluster; empty if not known."""
        values = properties(self.resource)
        if self.packaged:
            return text(values, "clusterSecurityGroupId") if at(values, "skipDefaultSecurityGroups") else ""
        return text(values, "vpcConfig", "clusterSecurityGroupId")

    @property
    def has_default_nodes(self) -> bool:
        """Whether pulumi-eks' component makes nodes of its own inside."""
        return self.packaged and not at(properties(self.resource), "skipDefaultNodeGroup")

    @property
    def automatic(self) -> bool:
        """Whether EKS Auto Mode brings the nodes."""
        return self.get("computeConfig.enabled") is True


@dataclass(frozen=True, kw_only=True, eq=False)
class NodeGroup:
    """A managed node group with the launch template that it names, if the program makes that."""

    resource: Resource
    cluster_name: str
    role_arn: str
    template: Resource | None
    has_template: bool
    """Whether it names a template at all, the program's or not."""

    @property
    def security_groups(self) -> list[str]:
        """The groups that its template puts on the nodes; empty where EKS puts its own. Raises UnknownValueError."""
        if self.template is None:
            return []
        values = properties(self.template)
        interfaces = many(values, "networkInterfaces")
        groups = [at(values, "vpcSecurityGroupIds"), *(at(interface, "securityGroups") for interface in interfaces)]
        found = [one for group in groups for one in many(group)]
        if UNKNOWN in (*groups, *found):
            raise UnknownValueError(self.template, "vpcSecurityGroupIds")
        return [str(one) for one in found]


@dataclass(frozen=True, kw_only=True, eq=False)
class Object:
    """A Kubernetes object of the program."""

    resource: Resource
    kind: str
    namespace: str
    name: str
    metadata: object

    def __str__(self) -> str:
        """Read as kubectl would name it."""
        return f"{self.kind} {self.namespace}/{self.name}"

    @property
    def spec(self) -> dict[str, object]:
        """What it wants."""
        return fields(properties(self.resource), "spec")

    @property
    def annotations(self) -> dict[str, object]:
        """Its annotations, of which single values may be unknown. Raises UnknownValueError where all are."""
        if at(self.metadata, "annotations") is UNKNOWN:
            raise UnknownValueError(self.resource, "metadata.annotations")
        return fields(self.metadata, "annotations")

    def annotation(self, key: str) -> str:
        """One annotation as text; empty without it. Raises UnknownValueError."""
        found = self.annotations.get(key)
        if found is UNKNOWN:
            raise UnknownValueError(self.resource, f"metadata.annotations.{key}")
        return "" if found is None else str(found)

    def alb(self, key: str) -> str:
        """An annotation of the load balancer controller as text; empty without it. Raises UnknownValueError."""
        return self.annotation(ALB_PREFIX + key)


@dataclass(frozen=True, kw_only=True, eq=False)
class Release:
    """A chart that a program installs, as a release or as single objects."""

    resource: Resource
    chart: str
    """Its name without repository."""
    name: str
    namespace: str
    values: Mapping[str, object]
    whole: bool
    """Whether `values` is everything that is set; files of values are not read."""

    def has(self, path: str) -> bool:
        """Whether a value is set, whatever it is."""
        return at(self.values, *path.split(".")) is not None

    def get(self, path: str, default: object = None) -> object:
        """A value by its dotted path; the default where it is not set. Raises UnknownValueError."""
        found = at(self.values, *path.split("."))
        if found is UNKNOWN:
            raise UnknownValueError(self.resource, f"values.{path}")
        return default if found is None else found


@dataclass(frozen=True, kw_only=True, eq=False)
class Subnet:
    """A subnet of the program."""

    resource: Resource
    id: str
    vpc_id: str
    zone: str
    cidr: str
    tags: dict[str, object]
    routes: tuple[Resource, ...]
    """What decides where its traffic goes: the association and the routes of its table."""
    public: bool
    """Whether its route table leads to an internet gateway."""


@dataclass(kw_only=True)
class _Table:
    parts: list[Resource] = field(default_factory=list[Resource])
    public: bool = False


class Estate:
    """What a graph holds of EKS, indexed."""

    def __init__(self, graph: Graph) -> None:
        """Take a graph; nothing is read before it is asked for."""
        self.graph = graph
        self._dependents: dict[str, frozenset[str]] = {}
        self._clusters_of_providers: dict[str, Cluster | None] = {}

    @cached_property
    def clusters(self) -> list[Cluster]:
        """Every cluster once, also where the graph has a component and what is inside it."""
        inner = self.graph.of_type(AWS_CLUSTER)
        opened = {above for resource in inner for above in self.graph.ancestors(resource.urn)}
        packaged = [one for one in self.graph.of_type(PACKAGED_CLUSTER) if one.urn not in opened]
        return [
            Cluster(resource=one, name=_name(one), packaged=one.type == PACKAGED_CLUSTER) for one in packaged + inner
        ]

    @cached_property
    def node_groups(self) -> list[NodeGroup]:
        """Every managed node group once."""
        templates: dict[str, Resource] = {}
        for template in self.graph.of_type("aws:ec2/launchTemplate:LaunchTemplate"):
            templates |= {template.id: template, text(properties(template), "name"): template}
        opened = {above for one in self.graph.of_type(NODE_GROUPS[0]) for above in self.graph.ancestors(one.urn)}
        found: list[NodeGroup] = []
        for resource in self.graph.of_type(*NODE_GROUPS):
            values = properties(resource)
            reference = at(values, "launchTemplate")
            name = text(reference, "id") or text(reference, "name")
            if resource.urn not in opened:
                found.append(
                    NodeGroup(
                        resource=resource,
                        cluster_name=text(values, "clusterName") or self._cluster_before(resource),
                        role_arn=text(values, "nodeRoleArn") or text(values, "nodeRole"),
                        template=templates.get(name),
                        has_template=reference is not None or at(values, "launchTemplateId") is not None,
                    )
                )
        return found

    def _cluster_before(self, resource: Resource) -> str:
        waits_for = self.graph.waits_for(resource.urn)
        names = [cluster.name for cluster in self.clusters if cluster.resource.urn in waits_for]
        return names[0] if len(names) == 1 else ""

    def nodes_of(self, cluster: Cluster) -> list[NodeGroup]:
        """The managed node groups of a cluster."""
        return [group for group in self.node_groups if group.cluster_name == cluster.name]

    def addons_of(self, cluster: Cluster) -> dict[str, Resource]:
        """The add-ons of a cluster by name."""
        addons = [(properties(addon), addon) for addon in self.graph.of_type(ADDON)]
        return {text(values, "addonName"): one for values, one in addons if text(values, "clusterName") == cluster.name}

    @cached_property
    def objects(self) -> Mapping[str, Sequence[Object]]:
        """The Kubernetes objects by kind, those that the program only reads left out."""
        found: defaultdict[str, list[Object]] = defaultdict(list)
        for resource in self.graph.resources.values():
            if resource.package != "kubernetes" or resource.read or not resource.custom or resource.type in RELEASES:
                continue
            values = properties(resource)
            metadata = at(values, "metadata")
            kind = resource.type.rpartition(":")[2]
            found[kind].append(
                Object(
                    resource=resource,
                    kind=kind,
                    namespace=text(metadata, "namespace") or "default",
                    name=text(metadata, "name"),
                    metadata=metadata,
                )
            )
        return found

    @cached_property
    def by_name(self) -> Mapping[tuple[str, str, str, str], Object]:
        """The same objects by place, kind, namespace and name."""
        return {
            (self.place(one.resource), one.kind, one.namespace, one.name): one
            for objects in self.objects.values()
            for one in objects
        }

    @cached_property
    def releases(self) -> list[Release]:
        """The charts that are visible in the program."""
        found: list[Release] = []
        for resource in self.graph.of_type(*RELEASES):
            inputs = properties(resource)
            found.append(
                Release(
                    resource=resource,
                    chart=text(inputs, "chart").rstrip("/").rpartition("/")[2],
                    name=text(inputs, "name") or resource.name,
                    namespace=text(inputs, "namespace") or "default",
                    values=fields(inputs, "values"),
                    whole=not at(inputs, "valueYamlFiles") and at(inputs, "values") is not UNKNOWN,
                )
            )
        return found

    def of_chart(self, *charts: str) -> list[Release]:
        """The releases of some charts."""
        return [release for release in self.releases if release.chart in charts]

    def cluster_of(self, resource: Resource) -> Cluster | None:
        """The cluster that a Kubernetes object goes to; None if the program does not make it."""
        provider = resource.provider_urn
        if provider not in self._clusters_of_providers:
            waits_for = self.graph.waits_for(provider) if provider in self.graph.resources else frozenset[str]()
            behind = [cluster for cluster in self.clusters if cluster.resource.urn in waits_for]
            self._clusters_of_providers[provider] = behind[0] if len(behind) == 1 else None
        return self._clusters_of_providers[provider]

    def place(self, resource: Resource) -> str:
        """What tells the objects of one cluster from those of another: the cluster's URN, else the provider's."""
        cluster = self.cluster_of(resource)
        return cluster.resource.urn if cluster else resource.provider_urn

    def dependents(self, resource: Resource) -> frozenset[str]:
        """Everything that transitively waits for a resource."""
        if resource.urn not in self._dependents:
            self._dependents[resource.urn] = frozenset(nx.ancestors(self.graph.digraph, resource.urn))
        return self._dependents[resource.urn]

    @cached_property
    def subnets(self) -> Mapping[str, Subnet]:
        """The subnets by id. Raises UnknownValueError."""
        tables = self._tables
        main = {text(properties(vpc), "mainRouteTableId"): vpc.id for vpc in self.graph.of_type("aws:ec2/vpc:Vpc")}
        table_of_vpc = {vpc: table for table, vpc in main.items()}
        for one in self.graph.of_type("aws:ec2/mainRouteTableAssociation:MainRouteTableAssociation"):
            values = properties(one)
            table_of_vpc[text(values, "vpcId")] = text(values, "routeTableId")
        associations = {
            text(properties(one), "subnetId"): one
            for one in self.graph.of_type("aws:ec2/routeTableAssociation:RouteTableAssociation")
        }
        found: dict[str, Subnet] = {}
        for resource in self.graph.of_type("aws:ec2/subnet:Subnet", "aws:ec2/defaultSubnet:DefaultSubnet"):
            if not resource.id:
                raise UnknownValueError(resource, "id")
            values = properties(resource)
            association = associations.get(resource.id)
            name = text(properties(association), "routeTableId") if association else ""
            table = tables.get(name or table_of_vpc.get(text(values, "vpcId"), ""), _Table())
            found[resource.id] = Subnet(
                resource=resource,
                id=resource.id,
                vpc_id=text(values, "vpcId"),
                zone=text(values, "availabilityZone") or text(values, "availabilityZoneId"),
                cidr=text(values, "cidrBlock"),
                tags=fields(values, "tags"),
                routes=(*([association] if association else []), *table.parts),
                public=table.public,
            )
        for one in self.graph.of_type("aws:ec2/tag:Tag"):
            values = properties(one)
            if subnet := found.get(text(values, "resourceId")):
                subnet.tags[text(values, "key")] = at(values, "value")
        return found

    @cached_property
    def _tables(self) -> Mapping[str, _Table]:
        gateways = {one.id for one in self.graph.of_type("aws:ec2/internetGateway:InternetGateway")}
        found: defaultdict[str, _Table] = defaultdict(_Table)

        def leads_out(route: object) -> bool:
            gateway = at(route, "gatewayId")
            return gateway in gateways or gateway is UNKNOWN or str(gateway).startswith("igw-")

        for resource in self.graph.of_type(
            "aws:ec2/routeTable:RouteTable", "aws:ec2/defaultRouteTable:DefaultRouteTable"
        ):
            routes = many(properties(resource), "routes")
            table = found[text(properties(resource), "defaultRouteTableId") or resource.id]
            table.parts.append(resource)
            table.public |= any(leads_out(route) for route in routes)
        for resource in self.graph.of_type("aws:ec2/route:Route"):
            values = properties(resource)
            table = found[text(values, "routeTableId")]
            table.parts.append(resource)
            table.public |= leads_out(values)
        return found

    def region_of(self, resource: Resource) -> str:
        """The AWS region that a resource is made in; empty if not known."""
        provider = resource.provider_urn or resource.providers.get("aws", "").rpartition("::")[0]
        if provider in self.graph.resources:
            return text(properties(self.graph.resources[provider]), "region")
        arns = [text(properties(resource), "arn"), *(text(properties(one), "arn") for one in self._regional)]
        return next((arn.split(":")[3] for arn in arns if arn.count(":") >= 5 and arn.split(":")[3]), "")

    @cached_property
    def _regional(self) -> list[Resource]:
        return [one for one in self.graph.of_type("aws:ec2/vpc:Vpc", AWS_CLUSTER) if not one.provider_urn]

    def rights_of(self, role: str) -> list[Resource]:
        """What gives a role its rights, by the role's name or ARN: attachments and inline policies."""
        return self._rights.get(role.rpartition("/")[2], [])

    @cached_property
    def _rights(self) -> Mapping[str, list[Resource]]:
        found: defaultdict[str, list[Resource]] = defaultdict(list)
        for one in self.graph.of_type(*_RIGHTS):
            values = properties(one)
            for role in (text(values, "role"), *many(values, "roles")):
                found[str(role).rpartition("/")[2]].append(one)
        return found

    @cached_property
    def protects(self) -> bool:
        """Whether anything here is protected from deletion."""
        resources = self.graph.resources.values()
        return any(one.protect is True or one.inputs.get("deletionProtection") is True for one in resources)

    # Load balancers

    def controllers(self, place: str) -> list[Release]:
        """The releases of the load balancer controller in one place."""
        return self._controllers.get(place, [])

    @cached_property
    def _controllers(self) -> Mapping[str, list[Release]]:
        found: defaultdict[str, list[Release]] = defaultdict(list)
        for one in self.of_chart(ALB_CHART):
            found[self.place(one.resource)].append(one)
        return found

    def controllers_of(self, cluster: Cluster) -> list[Release]:
        """The releases of the load balancer controller in a cluster."""
        return self.controllers(cluster.resource.urn)

    def runs_image(self, place: str, part: str) -> bool:
        """Whether a Deployment in one place runs an image with some text in its name."""
        return any(
            part in text(container, "image")
            for one in self.objects.get("Deployment", ())
            if self.place(one.resource) == place
            for container in many(one.spec, "template", "spec", "containers")
        )

    @cached_property
    def ingresses(self) -> list[Object]:
        """Every Ingress."""
        return list(self.objects.get("Ingress", ()))

    def class_of(self, ingress: Object) -> str:
        """The name of the class that an Ingress asks for; empty where it leaves that to a default.

        Raises UnknownValueError.
        """
        return str(value(ingress.resource, "spec.ingressClassName") or "") or ingress.annotation(CLASS_ANNOTATION)

    def class_object(self, ingress: Object) -> Object | None:
        """The class itself, where the program makes it as an object."""
        key = (self.place(ingress.resource), "IngressClass", "default", self.class_of(ingress))
        return self.by_name.get(key)

    @cached_property
    def alb_ingresses(self) -> list[Object]:
        """Every Ingress that becomes an Application Load Balancer."""
        return [ingress for ingress in self.ingresses if self._is_alb(ingress)]

    def _is_alb(self, ingress: Object) -> bool:
        if made := self.class_object(ingress):
            return text(made.spec, "controller") in ALB_CONTROLLERS
        name = self.class_of(ingress)
        served = {str(one.get("ingressClass", "alb")) for one in self.controllers(self.place(ingress.resource))}
        return name in {*served, "alb"} if name else any(key.startswith(ALB_PREFIX) for key in ingress.annotations)

    def alb_setting(self, ingress: Object, annotation: str, parameter: str) -> str:
        """A setting of a load balancer: its class' parameters win over the annotation; empty if neither says it."""
        parameters = self.parameters_of(self.class_object(ingress))
        found = at(parameters.spec, *parameter.split(".")) if parameters else None
        if found is UNKNOWN and parameters:
            raise UnknownValueError(parameters.resource, f"spec.{parameter}")
        return str(found) if found else ingress.alb(annotation)

    def parameters_of(self, ingress_class: Object | None) -> Object | None:
        """The parameters that a class names, where the program makes them."""
        name = text(ingress_class.spec, "parameters", "name") if ingress_class else ""
        place = self.place(ingress_class.resource) if ingress_class else ""
        return self.by_name.get((place, "IngressClassParams", "default", name))

    def scheme(self, ingress: Object) -> str:
        """Where the load balancer of an Ingress answers: internal or internet-facing, or whatever was written."""
        controllers = self.controllers(self.place(ingress.resource))
        default = str(controllers[0].get("defaultLoadBalancerScheme", "internal")) if controllers else "internal"
        return self.alb_setting(ingress, "scheme", "scheme") or default

    def backends(self, ingress: Object) -> Iterator[tuple[str, object]]:
        """Yield the Services that an Ingress sends traffic to, by name, with the port's name or number."""
        rules = many(ingress.spec, "rules")
        paths = [path for rule in rules for path in many(rule, "http", "paths")]
        found = [at(ingress.spec, "defaultBackend"), *(at(path, "backend") for path in paths)]
        for backend in found:
            if name := text(backend, "service", "name"):
                port = at(backend, "service", "port")
                yield name, at(port, "name") or at(port, "number")

    def service(self, beside: Object, name: str) -> Object | None:
        """A Service in the namespace of another object."""
        return self.by_name.get((self.place(beside.resource), "Service", beside.namespace, name))


_ESTATES: WeakKeyDictionary[Graph, Estate] = WeakKeyDictionary()


def estate(stack: Stack) -> Estate:
    """What a stack holds of EKS; indexed once per graph."""
    return _indexed(stack.graph)


def _indexed(graph: Graph) -> Estate:
    if graph not in _ESTATES:
        _ESTATES[graph] = Estate(graph)
    return _ESTATES[graph]


def system(stack: Stack) -> Estate:
    """The same of all stacks that are judged together."""
    return estate(stack) if stack.system is None else _indexed(stack.system)


def lasts(stack: Stack) -> bool:
    """Whether somebody wants what the program makes to last: it protects something, in Pulumi or in EKS."""
    return estate(stack).protects


def parsed(document: str) -> object:
    """JSON text as a value; None where it is not JSON."""
    try:
        return cast("object", json.loads(document))
    except ValueError:
        return None


def _name(cluster: Resource) -> str:
    values = properties(cluster)
    # The component has no output with its cluster's name; the reference to the cluster inside decodes to its id.
    return text(values, "name") or text(values, "eksCluster") or cluster.id
