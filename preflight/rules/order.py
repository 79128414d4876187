"""What must outlive what: the engine creates along the edges of the graph, and destroys against them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from preflight.graph import Resource
from preflight.kiam import first_steps
from preflight.rules.eks import ALB_CHART, Cluster, Estate, NodeGroup, Object, Release, estate, many
from preflight.rules.rule import Hit, Stack, rule
from preflight.workloads import RELEASES, properties, text, workloads

_LBC = "https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest"
_DEPENDS_ON = "https://www.pulumi.com/docs/iac/concepts/resources/options/dependson/"
_GUIDE = "https://docs.aws.amazon.com/eks/latest/userguide"

# Charts whose pods make things in AWS for objects in the cluster, and have to delete them again.
_CLEANERS = (ALB_CHART, "aws-gateway-controller-chart", "external-dns", "karpenter")

# Which chart brings the custom resources of an API group: in its own CRDs, or in a chart made for them.
_GROUPS = {
    "acme.cert-manager.io": ("cert-manager",),
    "aga.k8s.aws": (ALB_CHART,),
    "application-networking.k8s.aws": ("aws-gateway-controller-chart",),
    "argoproj.io": ("argo-cd", "argo-rollouts", "argo-workflows"),
    "awspca.cert-manager.io": ("aws-privateca-issuer",),
    "cert-manager.io": ("cert-manager",),
    "elbv2.k8s.aws": (ALB_CHART,),
    "external-secrets.io": ("external-secrets",),
    "externaldns.k8s.io": ("external-dns",),
    "gateway.k8s.aws": (ALB_CHART,),
    "karpenter.k8s.aws": ("karpenter", "karpenter-crd"),
    "karpenter.sh": ("karpenter", "karpenter-crd"),
    "kyverno.io": ("kyverno",),
    "monitoring.coreos.com": ("kube-prometheus-stack", "prometheus-operator-crds"),
    "policies.kyverno.io": ("kyverno",),
    "secrets-store.csi.x-k8s.io": ("secrets-store-csi-driver",),
    "traefik.io": ("traefik",),
}
# DaemonSets that a node needs to become ready or to hand out credentials; other add-ons need a node to run on.
_DAEMON_SETS = ("eks-pod-identity-agent", "kube-proxy", "vpc-cni")
_NEEDS_NODES = ("aws-ebs-csi-driver", "aws-efs-csi-driver", "coredns", "metrics-server", "snapshot-controller")


def _names(resources: Iterable[Resource]) -> str:
    """A few of them by name."""
    names = [f"{one.type.rpartition(':')[2]} {one.name}" for one in resources]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _missed(found: Estate, dependent: Resource, wanted: Sequence[Resource]) -> list[Resource]:
    """What a resource should wait for and does not."""
    waits_for = found.graph.waits_for(dependent.urn)
    return [one for one in wanted if one.urn not in waits_for]


def _load_balanced(found: Estate) -> Iterator[Object]:
    """Yield the objects that the load balancer controller makes load balancers for."""
    yield from found.alb_ingresses
    for service in found.objects.get("Service", ()):
        if text(service.spec, "type") == "LoadBalancer" and found.controllers(found.place(service.resource)):
            legacy = str(service.annotations.get("service.beta.kubernetes.io/aws-load-balancer-type", ""))
            mutated = _mutates(found.controllers(found.place(service.resource))[0])
            if (
                text(service.spec, "loadBalancerClass").startswith("service.k8s.aws/")
                or mutated
                or "external" in legacy
            ):
                yield service


def _mutates(release: Release) -> bool:
    return release.get("enableServiceMutatorWebhook", True) is not False


@rule(
    "ingress-outlives-controller",
    title="The controller is destroyed before its load balancers",
    severity="error",
    looks_at="Every Ingress for an ALB and every Service for an NLB: whether it depends on the release of the load "
    "balancer controller.",
    why="Nobody clears the finalizer: Ingress and namespace hang on destroy, and the load balancer stays and costs "
    "money. On creation, the webhook refuses the Ingress.",
    source=f"{_LBC}/guide/ingress/ingress_class/#resource-cleanup-order",
    fix="Let the Ingress depend on the release.",
)
def ingress_outlives_controller(stack: Stack) -> Iterator[Hit]:
    """The controller outlives what it has to clean up."""
    found = estate(stack)
    for one in _load_balanced(found):
        for release in found.controllers(found.place(one.resource)):
            if one.resource.urn not in found.dependents(release.resource):
                yield Hit(
                    resource=one.resource,
                    message=f"{one} does not wait for release {release.name}, so the controller may go before its load "
                    "balancer.",
                    fix=f"Add the release {release.resource.name} to its depends_on.",
                )


@rule(
    "ingress-outlives-class",
    title="An ingress class is destroyed before its Ingresses",
    severity="error",
    looks_at="Every Ingress, its IngressClass and the class' parameters, where the program makes them.",
    why="The controller's webhook looks the class up, and refuses the update that would remove the Ingress' finalizer: "
    "destroy hangs.",
    source=f"{_LBC}/guide/ingress/ingress_class/#resource-cleanup-order",
    fix="Let the Ingress depend on the class, and the class on its parameters.",
)
def ingress_outlives_class(stack: Stack) -> Iterator[Hit]:
    """A class outlives its Ingresses."""
    found = estate(stack)
    for ingress in found.alb_ingresses:
        made = found.class_object(ingress)
        if made is None:
            continue
        if ingress.resource.urn not in found.dependents(made.resource):
            yield Hit(
                resource=ingress.resource,
                message=f"{ingress} does not wait for its IngressClass {made.name}, so the class may go first.",
                fix=f"Add {made.resource.name} to its depends_on.",
            )
    for made in found.objects.get("IngressClass", ()):
        parameters = found.parameters_of(made)
        if parameters and made.resource.urn not in found.dependents(parameters.resource):
            yield Hit(
                resource=made.resource,
                message=f"IngressClass {made.name} does not wait for its IngressClassParams {parameters.name}.",
                fix=f"Add {parameters.resource.name} to its depends_on.",
            )


@rule(
    "controller-outlives-rights",
    title="A controller loses its rights before it has cleaned up",
    severity="error",
    looks_at=f"Releases of {', '.join(_CLEANERS)}: their service account, its role, what is attached to the role and "
    "the OIDC provider that it trusts.",
    why="The role's ARN makes it wait for the role, not for its policies. On destroy these go first, and the "
    "controller can delete nothing any more.",
    source=_DEPENDS_ON,
    fix="Let the release depend on the attachments and on the account.",
)
def controller_outlives_rights(stack: Stack) -> Iterator[Hit]:
    """A controller keeps its rights to the end."""
    found = estate(stack)
    releases = {one.resource.urn: one for one in found.of_chart(*_CLEANERS)}
    if not releases:
        return
    bound = {
        (text(values, "clusterName"), text(values, "namespace"), text(values, "serviceAccount")): association
        for association in found.graph.of_type("aws:eks/podIdentityAssociation:PodIdentityAssociation")
        for values in [properties(association)]
    }
    for pods in workloads(found.graph):
        release = releases.get(pods.resource.urn)
        if release is None:
            continue
        account = found.by_name.get((found.place(release.resource), "ServiceAccount", pods.namespace, pods.account))
        cluster = found.cluster_of(release.resource)
        association = bound.get((cluster.name if cluster else "", pods.namespace, pods.account))
        annotations = account.annotations if account else pods.annotations
        role = text(properties(association), "roleArn") if association else ""
        role = role or str(annotations.get("eks.amazonaws.com/role-arn") or "")
        wanted = [*found.rights_of(role), *_trusted(found, role)] if role else []
        wanted += [one for one in (association, account.resource if account else None) if one]
        if missed := _missed(found, release.resource, wanted):
            yield Hit(
                resource=release.resource,
                message=f"Release {release.name} does not wait for {_names(missed)}.",
                fix=f"Add {', '.join(one.name for one in missed)} to its depends_on.",
            )


def _trusted(found: Estate, role: str) -> Iterator[Resource]:
    """Yield the OIDC providers of the program that a role trusts, by the role's ARN."""
    trusts = [
        str(properties(one).get("assumeRolePolicy"))
        for one in found.graph.of_type("aws:iam/role:Role")
        if text(properties(one), "arn") == role
    ]
    for provider in found.graph.of_type("aws:iam/openIdConnectProvider:OpenIdConnectProvider"):
        arn = text(properties(provider), "arn")
        if arn and any(f'"{arn}"' in trust for trust in trusts):
            yield provider


@rule(
    "controller-outlives-nodes",
    title="A controller loses its nodes before it has cleaned up",
    severity="error",
    looks_at=f"Releases of {', '.join(_CLEANERS)}, and the node groups of their cluster.",
    why="Without a node the controller does not run: on creation the release times out, on destroy load balancers stay "
    "behind.",
    source=_DEPENDS_ON,
    fix="Let the release depend on a node group.",
)
def controller_outlives_nodes(stack: Stack) -> Iterator[Hit]:
    """A controller has nodes to run on to the end."""
    found = estate(stack)
    for release, cluster in _cleaners(found):
        nodes = [one.resource for one in found.nodes_of(cluster)]
        nodes += found.graph.of_type(
            "eks:index:NodeGroup", "eks:index:NodeGroupV2", "aws:eks/fargateProfile:FargateProfile"
        )
        if nodes and len(_missed(found, release.resource, nodes)) == len(nodes) and not cluster.has_default_nodes:
            yield Hit(
                resource=release.resource,
                message=f"Release {release.name} waits for none of cluster {cluster.name}'s nodes: {_names(nodes)}.",
                fix=f"Add {nodes[0].name} to its depends_on.",
            )


def _cleaners(found: Estate) -> Iterator[tuple[Release, Cluster]]:
    """Yield the releases that have to clean up in AWS, with their cluster."""
    for release in found.of_chart(*_CLEANERS):
        if cluster := found.cluster_of(release.resource):
            yield release, cluster


def _nodes_before(found: Estate, release: Release, cluster: Cluster) -> list[NodeGroup]:
    """The node groups that a release waits for; without one, that is what there is to say about it."""
    waits_for = found.graph.waits_for(release.resource.urn)
    return [one for one in found.nodes_of(cluster) if one.resource.urn in waits_for]


@rule(
    "controller-outlives-network",
    title="A controller loses its way to AWS before it has cleaned up",
    severity="error",
    looks_at=f"Releases of {', '.join(_CLEANERS)}, and by what their nodes reach AWS: routes out of their subnets, "
    "interface endpoints of the VPC, rules for outgoing traffic in their security groups.",
    why="Without a way the controller reaches neither STS nor the load balancing API: destroy hangs on the "
    "Ingress, later on subnets and internet gateway.",
    source=_DEPENDS_ON,
    fix="Let the release, or its node group, depend on routes, route table associations, endpoints and rules.",
)
def controller_outlives_network(stack: Stack) -> Iterator[Hit]:
    """A controller has its way out to the end."""
    found = estate(stack)
    for release, cluster in _cleaners(found):
        used = [str(one) for group in found.nodes_of(cluster) for one in many(properties(group.resource), "subnetIds")]
        ids = [one for one in used or cluster.subnet_ids if one in found.subnets]
        wanted = {part.urn: part for one in ids for part in found.subnets[one].routes}
        networks = {found.subnets[one].vpc_id for one in ids}
        wanted |= {
            one.urn: one
            for one in found.graph.of_type("aws:ec2/vpcEndpoint:VpcEndpoint")
            if text(properties(one), "vpcEndpointType") == "Interface" and text(properties(one), "vpcId") in networks
        }
        groups = {one for nodes in _nodes_before(found, release, cluster) for one in nodes.security_groups}
        wanted |= {
            one.urn: one
            for one in found.graph.of_type("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule")
            if text(properties(one), "securityGroupId") in groups
        }
        if missed := _missed(found, release.resource, list(wanted.values())):
            yield Hit(
                resource=release.resource,
                message=f"Release {release.name} does not wait for {_names(missed)}, by which its nodes reach AWS.",
                fix=f"Add {', '.join(one.name for one in missed[:4])} to its depends_on, or to that of its node group.",
            )


@rule(
    "controller-outlives-names",
    title="A controller loses its DNS before it has cleaned up",
    severity="error",
    looks_at=f"Releases of {', '.join(_CLEANERS)}, and the add-on coredns of their cluster.",
    why="Without names the controller finds neither STS nor the load balancing API: destroy hangs on the Ingress.",
    source=f"{_GUIDE}/managing-coredns.html",
    fix="Let the release depend on the add-on.",
)
def controller_outlives_names(stack: Stack) -> Iterator[Hit]:
    """A controller can look names up to the end."""
    found = estate(stack)
    for release, cluster in _cleaners(found):
        dns = found.addons_of(cluster).get("coredns")
        if dns and _nodes_before(found, release, cluster) and _missed(found, release.resource, [dns]):
            yield Hit(
                resource=release.resource,
                message=f"Release {release.name} does not wait for {_names([dns])}, by which it finds AWS.",
                fix=f"Add {dns.name} to its depends_on.",
            )


@rule(
    "webhook-outlives-ingress",
    title="The webhook's port is closed before the last Ingress has gone",
    severity="error",
    looks_at="Security group rules of the program that open the load balancer controller's webhook port on its nodes.",
    why="The webhook is asked when the finalizer of an Ingress is removed, too. With the port closed that update is "
    "refused with `failed calling webhook ... context deadline exceeded`, and destroy hangs.",
    source=_DEPENDS_ON,
    fix="Let the release depend on the rule.",
)
def webhook_outlives_ingress(stack: Stack) -> Iterator[Hit]:
    """The control plane reaches the webhook to the end."""
    found = estate(stack)
    for release in found.of_chart(ALB_CHART):
        cluster = found.cluster_of(release.resource)
        port = release.get("webhookBindPort", 9443)
        groups = {one for nodes in found.nodes_of(cluster) for one in nodes.security_groups} if cluster else set()
        openers = [
            one
            for one in found.graph.of_type("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule")
            if text(properties(one), "securityGroupId") in groups
            and properties(one).get("fromPort") == port == properties(one).get("toPort")
        ]
        if openers and len(_missed(found, release.resource, openers)) == len(openers):
            yield Hit(
                resource=release.resource,
                message=f"Release {release.name} does not wait for {_names(openers)}, which opens port {port} to it.",
                fix=f"Add {openers[0].name} to its depends_on.",
            )


_ROLE_TAGS = {"internet-facing": "kubernetes.io/role/elb", "internal": "kubernetes.io/role/internal-elb"}


@rule(
    "ingress-outlives-subnets",
    title="Subnets are destroyed while a load balancer is in them",
    severity="warning",
    looks_at="Every Ingress for an ALB, the subnets of the cluster's VPC with the tag of its scheme, and their routes.",
    why="AWS refuses with DependencyViolation until the load balancer is gone, and the internet gateway stays as long. "
    "On creation the controller finds no subnet.",
    source=f"{_LBC}/deploy/subnet_discovery/",
    fix="Let the controller's release, or the Ingress, depend on the subnets and their routes.",
)
def ingress_outlives_subnets(stack: Stack) -> Iterator[Hit]:
    """Subnets outlive the load balancers in them."""
    found = estate(stack)
    for ingress in found.alb_ingresses:
        cluster, tag = found.cluster_of(ingress.resource), _ROLE_TAGS.get(found.scheme(ingress))
        if cluster is None or tag is None or ingress.alb("subnets"):
            continue
        networks = {found.subnets[one].vpc_id for one in cluster.subnet_ids if one in found.subnets}
        homes = [one for one in found.subnets.values() if one.vpc_id in networks and tag in one.tags]
        wanted = {part.urn: part for home in homes for part in (home.resource, *home.routes)}
        if missed := _missed(found, ingress.resource, list(wanted.values())):
            yield Hit(
                resource=ingress.resource,
                message=f"{ingress} does not wait for {_names(missed)}, where its load balancer is.",
                fix=f"Add {', '.join(one.name for one in missed[:4])} to the depends_on of the controller's release.",
            )


@rule(
    "service-before-webhook",
    title="A Service may be made while the controller's webhook is not up",
    severity="error",
    looks_at="Clusters with the load balancer controller and its Service mutator (on by default): Services and other "
    "releases that neither wait for it nor come before it.",
    why="The mutator is called for every new Service in every namespace. Until a controller pod is ready each is "
    "refused: `no endpoints available for service aws-load-balancer-webhook-service`.",
    source="https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/main/helm/aws-load-balancer-controller/values.yaml",
    fix="Switch the mutator off, or let everything that makes Services depend on the release.",
)
def service_before_webhook(stack: Stack) -> Iterator[Hit]:
    """No Service is made while the mutator cannot answer."""
    found = estate(stack)
    makers = [*found.graph.of_type(*RELEASES), *(one.resource for one in found.objects.get("Service", ()))]
    for release in found.of_chart(ALB_CHART):
        if not _mutates(release) or not release.whole:
            continue
        place = found.place(release.resource)
        ordered = found.dependents(release.resource) | found.graph.waits_for(release.resource.urn)
        free = [
            one
            for one in makers
            if one is not release.resource and one.urn not in ordered and found.place(one) == place
        ]
        if free:
            yield Hit(
                resource=release.resource,
                message=f"Release {release.name} intercepts every new Service, and these do not wait for it: "
                f"{_names(free)}.",
                fix='Add "enableServiceMutatorWebhook": False to its values, or the release to the depends_on of the '
                "others.",
            )


@rule(
    "crd-before-object",
    title="A custom object may be made before its kind exists",
    severity="error",
    looks_at="Objects of API groups that a known chart brings, releases that leave their kinds to others "
    "(`skip_crds`), and the load balancer controller with a certificate from cert-manager.",
    why="`pulumi up` fails with `no matches for kind`; on destroy the kind takes all its objects along, before their "
    "controller has cleaned up.",
    source=_DEPENDS_ON,
    fix="Let the object depend on the release that brings its kind.",
)
def crd_before_object(stack: Stack) -> Iterator[Hit]:
    """Whatever brings a kind comes before the objects of that kind."""
    found = estate(stack)
    # Nobody sees what they bring: each may be the one.
    manifests = found.graph.of_type("kubernetes:yaml/v2:ConfigFile", "kubernetes:yaml/v2:ConfigGroup")
    for (group, place), objects in _custom(found).items():
        releases = [each for each in found.of_chart(*_GROUPS[group]) if found.place(each.resource) == place]
        perhaps = [one for one in manifests if found.place(one) == place]
        bringers = [each.resource for each in releases] + _definitions(found, group)
        after = {urn for each in (*bringers, *perhaps) for urn in found.dependents(each)}
        for one in objects:
            if bringers and one.resource.urn not in after:
                yield Hit(
                    resource=one.resource,
                    message=f"{one} is of {group}, and does not wait for {_names(bringers[:1])}, which brings that.",
                    fix=f"Add {bringers[0].name} to its depends_on.",
                )
            elif not bringers and not perhaps and found.cluster_of(one.resource):
                yield Hit(
                    resource=one.resource,
                    message=f"{one} is of {group}, and nothing in the program brings that to the cluster.",
                    fix=f"Add a release of {_GROUPS[group][0]} and let the object depend on it.",
                )
    skipping = [one for one in found.releases if properties(one.resource).get("skipCrds") is True]
    definitions = [*manifests, *(one.resource for one in found.objects.get("CustomResourceDefinition", ()))]
    direct = {one.resource.urn: set(found.graph.digraph.successors(one.resource.urn)) for one in skipping}
    known = {chart for charts in _GROUPS.values() for chart in charts}
    for release in skipping:
        # What another of them waits for itself is not what this one needs.
        elsewhere = {urn for other, urns in direct.items() if other != release.resource.urn for urn in urns}
        elsewhere -= direct[release.resource.urn]
        own = [one for one in definitions if one.urn not in elsewhere]
        if release.chart in known and len(_missed(found, release.resource, own)) == len(own):
            yield Hit(
                resource=release.resource,
                message=f"Release {release.name} skips its kinds, and waits for nothing that brings them.",
                fix="Apply the chart's definitions and add them to its depends_on, or remove skip_crds.",
            )
    for release in found.of_chart(ALB_CHART):
        if release.get("enableCertManager") and found.cluster_of(release.resource):
            place = found.place(release.resource)
            managers = [each.resource for each in found.of_chart("cert-manager") if found.place(each.resource) == place]
            if not managers or _missed(found, release.resource, managers):
                yield Hit(
                    resource=release.resource,
                    message=f"Release {release.name} wants a Certificate, and does not wait for "
                    f"{_names(managers) if managers else 'a release of cert-manager, which is not there'}.",
                    fix=f"Add {managers[0].name if managers else 'a release of cert-manager'} to its depends_on.",
                )


def _custom(found: Estate) -> dict[tuple[str, str], list[Object]]:
    """The objects of the groups that are known, by group and place."""
    custom: dict[tuple[str, str], list[Object]] = {}
    for objects in found.objects.values():
        for one in objects:
            group = one.resource.type.split(":")[1].partition("/")[0]
            if group in _GROUPS:
                custom.setdefault((group, found.place(one.resource)), []).append(one)
    return custom


def _definitions(found: Estate, group: str) -> list[Resource]:
    """The definitions of a group's kinds that the program makes as objects."""
    return [
        one.resource
        for one in found.objects.get("CustomResourceDefinition", ())
        if text(one.spec, "group") == group or one.name.endswith(f".{group}")
    ]


# Cluster, nodes, add-ons


@rule(
    "rights-before-use",
    title="Cluster or nodes may start before their role has its rights",
    severity="warning",
    looks_at="Clusters, node groups and Fargate profiles: whether they depend on what is attached to their role.",
    why="On creation nodes fail to join; on destroy EKS cannot delete its network interfaces any more, and the VPC "
    "stays.",
    source="https://www.pulumi.com/registry/packages/aws/api-docs/eks/nodegroup/",
    fix="Let it depend on the attachments.",
)
def rights_before_use(stack: Stack) -> Iterator[Hit]:
    """A role has its rights before, and for as long as, it is used."""
    found = estate(stack)
    users = [(one.resource, f"Cluster {one.name}", str(one.get("roleArn") or "")) for one in found.clusters]
    users += [(one.resource, f"Node group {one.resource.name}", one.role_arn) for one in found.node_groups]
    users += [
        (one, f"Fargate profile {one.name}", text(properties(one), "podExecutionRoleArn"))
        for one in found.graph.of_type("aws:eks/fargateProfile:FargateProfile")
    ]
    for resource, name, role in users:
        kiam = first_steps(found.graph, role)  # a right of pods, which come after the node
        rights = [one for one in found.rights_of(role) if not kiam & {one.urn, text(properties(one), "policyArn")}]
        if missed := _missed(found, resource, rights if role else []):
            yield Hit(
                resource=resource,
                message=f"{name} waits for its role and not for {_names(missed)}.",
                fix=f"Add {', '.join(one.name for one in missed)} to its depends_on.",
            )


_PARTS = (
    "aws:eks/accessEntry:AccessEntry",
    "aws:eks/addon:Addon",
    "aws:eks/fargateProfile:FargateProfile",
    "aws:eks/nodeGroup:NodeGroup",
    "aws:eks/podIdentityAssociation:PodIdentityAssociation",
)


@rule(
    "cluster-before-parts",
    title="A part of a cluster does not wait for its control plane",
    severity="error",
    looks_at="Node groups, add-ons, Fargate profiles, access entries and Pod Identity associations that name a cluster "
    "of the program.",
    why="Written as text, the name makes nothing wait: the creation fails with `No cluster found`, and an upgrade gets "
    "to nodes and add-ons before the control plane, which EKS refuses.",
    source=f"{_GUIDE}/update-cluster.html",
    fix="Take the name from the cluster's output, or let the part depend on the cluster.",
)
def cluster_before_parts(stack: Stack) -> Iterator[Hit]:
    """The control plane comes first, on creation and on upgrade."""
    found = estate(stack)
    clusters = {one.name: one for one in found.clusters if one.name}
    for part in found.graph.of_type(*_PARTS):
        cluster = clusters.get(text(properties(part), "clusterName"))
        if cluster and _missed(found, part, [cluster.resource]):
            yield Hit(
                resource=part,
                message=f"{_names([part])} is of cluster {cluster.name} and does not wait for it.",
                fix=f"Add {cluster.resource.name} to its depends_on.",
            )


@rule(
    "addon-before-nodes",
    title="An add-on that needs nodes does not wait for any",
    severity="warning",
    looks_at=f"The add-ons {', '.join(_NEEDS_NODES)} of clusters with node groups or Fargate profiles.",
    why="EKS waits twenty minutes for pods that nobody can run, then the add-on is DEGRADED and the update fails.",
    source=f"{_GUIDE}/managing-coredns.html",
    fix="Let the add-on depend on a node group.",
)
def addon_before_nodes(stack: Stack) -> Iterator[Hit]:
    """What needs a node comes after one."""
    found = estate(stack)
    for cluster in found.clusters:
        nodes = [one.resource for one in found.nodes_of(cluster)]
        nodes += found.graph.of_type("aws:eks/fargateProfile:FargateProfile")
        for name, addon in found.addons_of(cluster).items():
            if name in _NEEDS_NODES and nodes and len(_missed(found, addon, nodes)) == len(nodes):
                yield Hit(
                    resource=addon,
                    message=f"Add-on {name} of cluster {cluster.name} does not wait for {_names(nodes)}.",
                    fix=f"Add {nodes[0].name} to its depends_on.",
                )


@rule(
    "addon-after-nodes",
    title="Nodes do not wait for what they need to become ready",
    severity="warning",
    looks_at=f"Node groups, and the add-ons {', '.join(_DAEMON_SETS)} of their cluster.",
    why="Nodes come up without network or credentials; if the add-on even waits for them, both time out. On destroy "
    "the VPC CNI goes first and leaves network interfaces behind.",
    source=f"{_GUIDE}/managing-vpc-cni.html",
    fix="Let the node group depend on the add-on.",
)
def addon_after_nodes(stack: Stack) -> Iterator[Hit]:
    """Nodes come after the DaemonSets that they need."""
    found = estate(stack)
    for cluster in found.clusters:
        addons = [addon for name, addon in found.addons_of(cluster).items() if name in _DAEMON_SETS]
        for group in found.nodes_of(cluster):
            if missed := _missed(found, group.resource, addons):
                yield Hit(
                    resource=group.resource,
                    message=f"Node group {group.resource.name} does not wait for {_names(missed)}.",
                    fix=f"Add {', '.join(one.name for one in missed)} to its depends_on.",
                )


@rule(
    "log-group-before-cluster",
    title="EKS makes the log group before the program does",
    severity="error",
    looks_at="Log groups `/aws/eks/<name>/cluster` of the program, and whether their cluster depends on them.",
    why="EKS writes first and makes a group that never expires; the program's own fails with "
    "ResourceAlreadyExistsException.",
    source=f"{_GUIDE}/control-plane-logs.html",
    fix="Let the cluster depend on the log group.",
)
def log_group_before_cluster(stack: Stack) -> Iterator[Hit]:
    """The log group is there before the cluster writes to it."""
    found = estate(stack)
    groups = {text(properties(one), "name"): one for one in found.graph.of_type("aws:cloudwatch/logGroup:LogGroup")}
    for cluster in found.clusters:
        group = groups.get(f"/aws/eks/{cluster.name}/cluster")
        if group and _missed(found, cluster.resource, [group]):
            yield Hit(
                resource=cluster.resource,
                message=f"Cluster {cluster.name} does not wait for its log group {group.name}.",
                fix=f"Add {group.name} to its depends_on.",
            )


@rule(
    "load-balancer-abandoned",
    title="Destroy skips an object that stands for something in AWS",
    severity="error",
    looks_at="`deleted_with` (inherited from components too) and `retain_on_delete` of Ingresses, LoadBalancer "
    "Services, Gateways, NodePools and volume claims.",
    why="The object is not deleted, so its controller never deletes the load balancer, the nodes or the volume.",
    source="https://www.pulumi.com/docs/iac/concepts/resources/options/deletedwith/",
    fix="Take the option off this object; set it only on objects that nothing in AWS hangs on.",
)
def load_balancer_abandoned(stack: Stack) -> Iterator[Hit]:
    """What stands for something in AWS is really deleted."""
    found = estate(stack)
    kinds = ("Ingress", "Gateway", "NodePool", "NodeClaim", "PersistentVolumeClaim", "TargetGroupBinding")
    stand_ins = [one for kind in kinds for one in found.objects.get(kind, ())]
    stand_ins += [one for one in found.objects.get("Service", ()) if text(one.spec, "type") == "LoadBalancer"]
    for one in stand_ins:
        above = [found.graph.resources[urn] for urn in found.graph.ancestors(one.resource.urn)]
        holder = next((each for each in (one.resource, *above) if each.deleted_with), None)
        if holder or one.resource.retain_on_delete:
            option = "deleted_with" if holder else "retain_on_delete"
            at_ = f" (from {holder.name})" if holder and holder is not one.resource else ""
            yield Hit(
                resource=one.resource,
                message=f"{one} has {option}{at_}, so what it made in AWS stays.",
                fix=f"Remove {option} from {holder.name if holder else one.resource.name}.",
            )
