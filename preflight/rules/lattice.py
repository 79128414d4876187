"""Services over VPC Lattice: who is let in, how a call finds its way, and in which order it all comes and goes.

A service network, its roles and its clusters may be of several stacks: what a stack refers to is looked up in all that
are judged together, and what none of them makes is not judged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from preflight.calls import AWS_IAM, EVERYTHING, INVOKE, Caller, judge
from preflight.graph import Resource
from preflight.identities import Identity, Way
from preflight.policies import Condition, MalformedError, Statement, parse
from preflight.rules import vpc_lattice as lattice
from preflight.rules.eks import Cluster, Estate, Object, Release, estate, fields, many, system
from preflight.rules.https import external_dns
from preflight.rules.identity import identities
from preflight.rules.rule import Hit, Stack, rule, value
from preflight.rules.vpc_lattice import Service
from preflight.workloads import Workload, at, properties, text

CHART = "aws-gateway-controller-chart"
_GUIDE = "https://docs.aws.amazon.com/vpc-lattice/latest/ug"
_AUTH = f"{_GUIDE}/auth-policies.html"
_CONTROLLER = "https://www.gateway-api-controller.eks.aws/latest"
_DEPENDS_ON = "https://www.pulumi.com/docs/iac/concepts/resources/options/dependson/"

_CERTIFICATE_OPTION = "application-networking.k8s.aws/certificate-arn"
_CERTIFICATE = "aws:acm/certificate:Certificate"
_POLICY_BYTES = 10 * 1024
_PEER = "aws:principaltag/eks-cluster-name"


def _mine(stack: Stack, found: Iterable[Object]) -> list[Object]:
    return [one for one in found if one.resource.urn in stack.graph.resources]


def _services(stack: Stack) -> list[Service]:
    return [one for one in lattice.services(system(stack)) if one.route.resource.urn in stack.graph.resources]


def _controllers(stack: Stack) -> list[Release]:
    return estate(stack).of_chart(CHART)


def _gateway_clusters(stack: Stack) -> list[Cluster]:
    """The clusters of a stack that have a Gateway of VPC Lattice."""
    found = estate(stack)
    clusters = {
        one.resource.urn: one for one in map(found.cluster_of, (g.resource for g in lattice.gateways(found))) if one
    }
    return list(clusters.values())


# Who is let in


@rule(
    "lattice-network-open",
    title="A service network asks nobody who calls",
    severity="error",
    looks_at="authType of every service network.",
    why="Anybody in an associated VPC gets through to every service that has no policy of its own. A policy on such a "
    "network has no effect, and nothing says so.",
    source=_AUTH,
    fix="Set auth_type to AWS_IAM.",
)
def lattice_network_open(stack: Stack) -> Iterator[Hit]:
    """Every service network wants to know who calls."""
    found = system(stack)
    for network in stack.graph.of_type(lattice.NETWORK):
        auth = value(network, "authType")
        if auth != AWS_IAM:
            ignored = ", so its auth policy has no effect" if lattice.policies_of(found, network) else ""
            yield Hit(
                resource=network,
                message=f"The auth type of service network {network.name} is {auth or 'NONE'}{ignored}.",
                fix='Set auth_type="AWS_IAM".',
            )


@rule(
    "lattice-network-closed",
    title="A service network admits nobody",
    severity="error",
    looks_at="Service networks with IAM, and the auth policies on them.",
    why="With AWS_IAM and no auth policy every call is refused, whatever the services say.",
    source=_AUTH,
    fix="Give the network an aws.vpclattice.AuthPolicy.",
)
def lattice_network_closed(stack: Stack) -> Iterator[Hit]:
    """A network with IAM has a policy."""
    found = system(stack)
    for network in stack.graph.of_type(lattice.NETWORK):
        name = text(properties(network), "name")
        objects = [one for gateway in lattice.gateways(found) for one in lattice.auth_policies(found, gateway)]
        named = [one for one in objects if text(one.spec, "targetRef", "name") == name]
        if value(network, "authType") == AWS_IAM and not lattice.policies_of(found, network) and not named:
            for policy in found.graph.of_type(lattice.AUTH_POLICY):
                value(policy, "resourceIdentifier")  # one whose network is not known yet may be this one's
            yield Hit(
                resource=network,
                message=f"Service network {network.name} wants IAM and has no auth policy.",
                fix="Make an aws.vpclattice.AuthPolicy with its arn as resource_identifier.",
            )


@rule(
    "lattice-network-policy-object",
    title="The policy of a service network goes with one cluster",
    severity="warning",
    looks_at="IAMAuthPolicies whose target is a Gateway.",
    why="When the object is deleted the controller sets the network's auth type to NONE: destroying this cluster opens "
    "the network of all the others.",
    source=f"{_CONTROLLER}/api-types/iam-auth-policy/",
    fix="Let the stack of the network own its policy, as an aws.vpclattice.AuthPolicy.",
)
def lattice_network_policy_object(stack: Stack) -> Iterator[Hit]:
    """No cluster owns the policy of a network."""
    for one in estate(stack).objects.get("IAMAuthPolicy", ()):
        if text(one.spec, "targetRef", "kind") == "Gateway":
            yield Hit(
                resource=one.resource,
                message=f"{one} is the policy of the whole service network, and goes when this cluster goes.",
                fix="Remove it, and make an aws.vpclattice.AuthPolicy where the service network is made.",
            )


@rule(
    "lattice-service-open",
    title="A service asks nobody who calls",
    severity="error",
    looks_at="HTTPRoutes of Gateways of VPC Lattice, and the IAMAuthPolicies in their namespace.",
    why="The controller makes the service with auth type NONE: whoever passes the network is in. The calls that should "
    "work do, so only one that should fail shows it.",
    source=f"{_CONTROLLER}/api-types/iam-auth-policy/",
    fix="Make an IAMAuthPolicy for the route, in the route's namespace.",
)
def lattice_service_open(stack: Stack) -> Iterator[Hit]:
    """Every service says whom it admits."""
    for service in _services(stack):
        if not service.policies:
            yield Hit(
                resource=service.route.resource,
                message=f"No IAMAuthPolicy of namespace {service.route.namespace} is for {service.route}.",
                fix=f"Make one whose targetRef has kind HTTPRoute and name {service.route.name}.",
            )


@rule(
    "lattice-policy-target",
    title="An auth policy is for nothing",
    severity="error",
    looks_at="targetRef of IAMAuthPolicies, and the routes and Gateways of their own namespace.",
    why="The controller looks the target up in the policy's own namespace, whatever targetRef.namespace says; without "
    "it the policy is never applied.",
    source=f"{_CONTROLLER}/api-types/iam-auth-policy/",
    fix="Put the policy beside its target, and write the target's name.",
)
def lattice_policy_target(stack: Stack) -> Iterator[Hit]:
    """Every auth policy has its target beside it."""
    found = estate(stack)
    for one in found.objects.get("IAMAuthPolicy", ()):
        kind, name = text(one.spec, "targetRef", "kind"), text(one.spec, "targetRef", "name")
        if found.cluster_of(one.resource) is None:
            continue
        if (found.place(one.resource), kind, one.namespace, name) not in found.by_name:
            elsewhere = [each.namespace for each in found.objects.get(kind, ()) if each.name == name]
            yield Hit(
                resource=one.resource,
                message=f"{one} is for {kind} {name}, which is not in its namespace.",
                fix=f"Move it to namespace {elsewhere[0]}." if elsewhere else "Write the name of a route or Gateway.",
            )


@rule(
    "lattice-policy-twice",
    title="Two auth policies are for one route",
    severity="error",
    looks_at="IAMAuthPolicies by their target.",
    why="The controller takes the oldest and marks the others as conflicted; which one that is, is chance.",
    source=f"{_CONTROLLER}/api-types/iam-auth-policy/",
    fix="Put all statements into one policy.",
)
def lattice_policy_twice(stack: Stack) -> Iterator[Hit]:
    """Every route has one auth policy."""
    for service in _services(stack):
        for one in service.policies[1:]:
            yield Hit(
                resource=one.resource,
                message=f"{one} and {service.policies[0]} are both for {service.route}.",
                fix="Put the statements of both into one.",
            )


@rule(
    "lattice-auth-policy",
    title="AWS refuses an auth policy",
    severity="error",
    looks_at=f"The text of auth policies: its grammar and its size, at most {_POLICY_BYTES} bytes.",
    why="The service then stands there with IAM and no policy, or with none of both.",
    source=f"{_GUIDE}/quotas.html",
    fix="Give each statement Effect, Principal, Action and Resource; admit several callers in one statement.",
)
def lattice_auth_policy(stack: Stack) -> Iterator[Hit]:
    """AWS takes every auth policy."""
    written = [(one.resource, "spec.policy") for one in estate(stack).objects.get("IAMAuthPolicy", ())]
    written += [(one, "policy") for one in stack.graph.of_type(lattice.AUTH_POLICY)]
    for resource, path in written:
        document = value(resource, path)
        if not isinstance(document, str):
            continue
        size = len(document.encode())
        if size > _POLICY_BYTES:
            yield Hit(
                resource=resource,
                message=f"The auth policy {resource.name} has {size} bytes; {_POLICY_BYTES} are allowed.",
                fix="Write one statement with a list of values for what several say.",
            )
        try:
            parse(document, trust=True, resources=True)
        except MalformedError as error:
            yield Hit(
                resource=resource,
                message=f"AWS would refuse the auth policy {resource.name}: {error}.",
                fix="Give each statement Effect, Principal, Action and Resource.",
            )


def _statements(service: Service) -> list[Statement]:
    document = service.own.policy
    try:
        return parse(document, trust=True, resources=True) if document is not None else []
    except MalformedError:
        return []  # `lattice-auth-policy` says so


def _tags(statement: Statement) -> dict[str, tuple[str, ...]]:
    """The tags of the caller that a statement wants, by key."""
    return {
        one.key[len("aws:PrincipalTag/") :]: one.wanted
        for one in statement.conditions
        if one.key.lower().startswith("aws:principaltag/") and _is_positive(one)
    }


def _is_positive(condition: Condition) -> bool:
    return "not" not in condition.operator.lower() and condition.operator.lower() != "null"


@rule(
    "lattice-tags-forgeable",
    title="Any role of the account gets in with forged tags",
    severity="warning",
    looks_at="Services whose policy, with the network's, admits a session by its tags and not by its role.",
    why="Whoever may assume some role with sts:TagSession writes these tags as he likes.",
    source="https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html",
    fix="Add aws:PrincipalArn with the callers' role to the condition.",
)
def lattice_tags_forgeable(stack: Stack) -> Iterator[Hit]:
    """Tags count only with the role that EKS puts them on."""
    for service in _services(stack):
        for statement in _statements(service):
            tags = {key: wanted[0] for key, wanted in _tags(statement).items() if wanted}
            for account in _accounts(statement, service) if tags and not statement.deny else ():
                forger = Caller(f"{account}:role/stranger", tags, EVERYTHING)
                if judge(forger, (service.network, service.own), service.arn).word == "admitted":
                    yield Hit(
                        resource=service.policies[0].resource,
                        message=f"{statement.label} of {service.policies[0]} admits any role of the account whose "
                        f"session has the tags {', '.join(f'{key}={tag}' for key, tag in tags.items())}.",
                        fix="Add aws:PrincipalArn with the ARN of the callers' role under StringEquals.",
                    )


def _accounts(statement: Statement, service: Service) -> list[str]:
    """The accounts whose roles a statement may mean, as the beginning of an ARN."""
    partition, own = service.arn.split(":")[1:5:3]
    listed = [
        f"arn:{partition}:iam::{own}:role" if name == "*" else name for name in statement.principal.get("AWS", ())
    ]
    found = [re.match(r"(arn:[^:]+:iam::\d{12}):", name) for name in listed]
    return [match[1] for match in found if match]


@rule(
    "lattice-admits-unknown",
    title="A service admits somebody whom nobody makes",
    severity="warning",
    looks_at="Clusters and roles in the policies of services, where network and several clusters are judged together.",
    why="Every call is refused, and the refusals that are tested still come.",
    source=_AUTH,
    fix="Write the cluster's physical name and the arn output of the role.",
)
def lattice_admits_unknown(stack: Stack) -> Iterator[Hit]:
    """Services admit clusters and roles that there are."""
    found = system(stack)
    clusters = {one.name for one in map(found.cluster_of, (g.resource for g in lattice.gateways(found))) if one}
    roles = {text(properties(role), "arn") for role in found.graph.of_type("aws:iam/role:Role")}
    for service in _services(stack) if len(clusters) > 1 else ():
        for statement in _statements(service) if service.network.auth else ():
            known = {_PEER: clusters, "aws:principalarn": roles}
            for one in statement.conditions:
                names = known.get(one.key.lower(), set())
                for wanted in one.wanted if names and one.operator.lower() in ("stringequals", "arnequals") else ():
                    if wanted not in names:
                        yield Hit(
                            resource=service.policies[0].resource,
                            message=f"{service.policies[0]} wants {one.key} {wanted}; there is "
                            f"{', '.join(sorted(names))}.",
                            fix="Write the name of one of these, or judge the stack that makes it as well.",
                        )


@rule(
    "lattice-cluster-unnamed",
    title="The name that policies tell a cluster by is chance",
    severity="error",
    looks_at="name of clusters with a Gateway of VPC Lattice.",
    why="Policies compare eks-cluster-name with the physical name. Pulumi adds random digits to it if it is not given, "
    "so both directions are refused, and the calls that should be refused look right.",
    source="https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html",
    fix="Give the cluster a fixed name.",
)
def lattice_cluster_unnamed(stack: Stack) -> Iterator[Hit]:
    """Clusters that policies name have a fixed name."""
    for cluster in _gateway_clusters(stack):
        if not cluster.resource.inputs.get("name"):
            yield Hit(
                resource=cluster.resource,
                message=f"Cluster {cluster.resource.name} has no fixed name.",
                fix="Set its name.",
            )


@rule(
    "lattice-twice",
    title="Two clusters or services have one name",
    severity="error",
    looks_at="Names of clusters and host names of services, in all stacks that are judged together.",
    why="A policy cannot tell pods of two clusters of one name apart. Of two services with one host name in a network "
    "only the first is made.",
    source="https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html",
    fix="Give each its own name.",
)
def lattice_twice(stack: Stack) -> Iterator[Hit]:
    """Names are unique in a system."""
    found = system(stack)
    services = lattice.services(found)
    for cluster in _gateway_clusters(stack):
        same = [one for one in found.clusters if one.name == cluster.name and one.resource is not cluster.resource]
        if same:
            yield Hit(
                resource=cluster.resource,
                message=f"{len(same) + 1} clusters have the name {cluster.name}.",
                fix="Give each a name of its own.",
            )
    for service in _services(stack):
        same = [one.route for one in services if one.host == service.host and one.route is not service.route]
        others = [one for one in same if one.resource is not service.route.resource]
        if others:
            yield Hit(
                resource=service.route.resource,
                message=f"{service.host} is the host name of {len(others) + 1} routes: {service.route} is one.",
                fix="Give each route a host name of its own.",
            )


@rule(
    "lattice-session-tags",
    title="Callers bring no tags",
    severity="error",
    looks_at="disableSessionTags and policy of Pod Identity associations whose role may call services.",
    why="Services tell callers by the tags of their session; without them every call is refused.",
    source="https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html",
    fix="Leave disable_session_tags away.",
)
def lattice_session_tags(stack: Stack) -> Iterator[Hit]:
    """Sessions of callers carry their tags."""
    for identity, way in _callers(stack):
        if way.mechanism == "Pod Identity" and at(properties(way.wire), "disableSessionTags") is True:
            yield Hit(
                resource=way.wire,
                message=f"The association of {identity} disables session tags, and its role calls services.",
                fix="Remove disable_session_tags, and policy, which demands it.",
            )


def _callers(stack: Stack) -> Iterator[tuple[Identity, Way]]:
    """The accounts of a stack whose role may call services, each with the way to that role."""
    for identity in identities(system(stack).graph):
        for way in identity.ways:
            if way.wire.urn in stack.graph.resources and any(_may_invoke(one.document) for one in way.policies):
                yield identity, way


def _may_invoke(document: object) -> bool:
    try:
        statements = parse(document, trust=False) if isinstance(document, str | Mapping) else []
    except MalformedError:
        return False  # whoever judges policies says so
    return any(not one.deny and INVOKE in one.action for one in statements)


# How a call finds its way


@rule(
    "lattice-route-refused",
    title="No listener takes a route",
    severity="error",
    looks_at="parentRefs of HTTPRoutes against the listeners of their Gateway: sectionName, allowedRoutes, hostname.",
    why="The controller enforces these since v2.0.0: the route gets Accepted=False, and no service is made.",
    source="https://gateway-api.sigs.k8s.io/reference/spec/#allowedroutes",
    fix="Label the route's namespace as the listener wants it.",
)
def lattice_route_refused(stack: Stack) -> Iterator[Hit]:
    """Every parentRef of a route leads to a listener that takes it."""
    found = estate(stack)
    for route in found.objects.get("HTTPRoute", ()):
        for reference, gateway in lattice.parents(found, route):
            section = text(reference, "sectionName")
            listeners = [one for one in many(gateway.spec, "listeners") if not section or text(one, "name") == section]
            reasons = [_refusal(found, route, gateway, one) for one in listeners]
            if not listeners:
                reasons = [(f"{gateway} has no listener {section}", "Write the name of one of its listeners.")]
            if all(reasons):
                what, fix = next(one for one in reasons if one)
                yield Hit(resource=route.resource, message=f"{route} is not admitted: {what}.", fix=fix)


def _refusal(found: Estate, route: Object, gateway: Object, listener: object) -> tuple[str, str] | None:
    """Why a listener does not take a route, and what to do; None if it does."""
    name = text(listener, "name")
    kinds = [text(one, "kind") for one in many(listener, "allowedRoutes", "kinds")]
    if kinds and route.kind not in kinds:
        return f"listener {name} takes {', '.join(kinds)} only", f"Add {route.kind} to its allowedRoutes.kinds."
    source = text(listener, "allowedRoutes", "namespaces", "from") or "Same"
    if source == "Same" and route.namespace != gateway.namespace:
        return (
            f"listener {name} takes routes of namespace {gateway.namespace} only",
            "Set its allowedRoutes.namespaces.from to Selector, or to All.",
        )
    if source == "Selector":
        wanted = fields(listener, "allowedRoutes", "namespaces", "selector", "matchLabels")
        made = found.by_name.get((found.place(route.resource), "Namespace", "default", route.namespace))
        labels = fields(made.metadata, "labels") if made else {}
        missing = {key: each for key, each in wanted.items() if str(labels.get(key)) != str(each)}
        if missing and made:
            told = ", ".join(f"{key}={each}" for key, each in missing.items())
            return f"namespace {route.namespace} lacks the label {told}", f"Put {told} on the Namespace."
    host, own = text(listener, "hostname"), [str(one) for one in many(route.spec, "hostnames")]
    if host and own and not any(_intersects(host, one) for one in own):
        return f"listener {name} is for {host}, and not for {', '.join(own)}", "Write a host name that both have."
    return None


def _intersects(listener: str, host: str) -> bool:
    if listener.startswith("*."):
        return host.endswith(listener[1:])
    return host == listener or (host.startswith("*.") and listener.endswith(host[1:]))


def _certificates(stack: Stack) -> Iterator[tuple[Object, str, list[str]]]:
    """Yield each Gateway with the certificate of a listener and the host names that are served there."""
    found = estate(stack)
    for gateway in lattice.gateways(found):
        for listener in many(gateway.spec, "listeners"):
            arn = text(listener, "tls", "options", _CERTIFICATE_OPTION)
            hosts = [
                str(host)
                for route in found.objects.get("HTTPRoute", ())
                for reference, parent in lattice.parents(found, route)
                if parent is gateway and text(reference, "sectionName") in ("", text(listener, "name"))
                for host in many(route.spec, "hostnames")
            ]
            if arn:
                yield gateway, arn, hosts


@rule(
    "lattice-certificate-names",
    title="A certificate does not carry the host name of a service",
    severity="error",
    looks_at="Host names of HTTPRoutes against the names of the certificate on their listener.",
    why="VPC Lattice refuses the service, or clients refuse the connection. A wildcard stands for one label only.",
    source=f"{_GUIDE}/service-byoc.html",
    fix="Use a host name one level below the domain, or add its name to the certificate.",
)
def lattice_certificate_names(stack: Stack) -> Iterator[Hit]:
    """Certificates carry the names that they serve."""
    made = {text(properties(one), "arn"): one for one in system(stack).graph.of_type(_CERTIFICATE)}
    for gateway, arn, hosts in _certificates(stack):
        if arn not in made:
            continue
        values = properties(made[arn])
        names = [text(values, "domainName"), *(str(one) for one in many(values, "subjectAlternativeNames"))]
        for host in hosts:
            if host not in names and f"*.{host.partition('.')[2]}" not in names:
                yield Hit(
                    resource=gateway.resource,
                    message=f"The certificate {made[arn].name} is for {', '.join(names)}, and not for {host}.",
                    fix=f"Name the service one level below the domain, or add {host} to the certificate.",
                )


@rule(
    "lattice-certificate-key",
    title="VPC Lattice does not take the key of a certificate",
    severity="error",
    looks_at="keyAlgorithm of certificates on listeners of VPC Lattice.",
    why="It takes RSA with 2048 bits only; the service is refused.",
    source=f"{_GUIDE}/service-byoc.html",
    fix="Set key_algorithm to RSA_2048.",
)
def lattice_certificate_key(stack: Stack) -> Iterator[Hit]:
    """Certificates have a key that VPC Lattice takes."""
    used = {arn for gateways in (_certificates(stack), _elsewhere(stack)) for _, arn, _ in gateways}
    for one in stack.graph.of_type(_CERTIFICATE):
        algorithm = text(properties(one), "keyAlgorithm") or "RSA_2048"
        if text(properties(one), "arn") in used and algorithm != "RSA_2048":
            yield Hit(
                resource=one,
                message=f"The key of certificate {one.name} is {algorithm}.",
                fix='Set key_algorithm="RSA_2048".',
            )


def _elsewhere(stack: Stack) -> Iterator[tuple[Object, str, list[str]]]:
    """The same of all stacks that are judged together."""
    if stack.system is not None:
        yield from _certificates(replace(stack, graph=stack.system, system=None))


@rule(
    "lattice-region",
    title="A certificate or its authority is in another region",
    severity="error",
    looks_at="ARNs of certificates on listeners and of private authorities in Kyverno's policies.",
    why="VPC Lattice is regional: it refuses the certificate, and the proxy finds no authority to trust.",
    source=f"{_GUIDE}/service-byoc.html",
    fix="Make both in the region of the cluster.",
)
def lattice_region(stack: Stack) -> Iterator[Hit]:
    """Everything of a service is in one region."""
    found = estate(stack)
    named = [(gateway, arn) for gateway, arn, _ in _certificates(stack)]
    for policy in lattice.injectors(found):
        named += [
            (policy, arn) for arn in re.findall(r"arn:[\w-]+:acm-pca:[^\"'\\\s]+", json.dumps(policy.spec, default=str))
        ]
    for one, arn in named:
        cluster = found.cluster_of(one.resource)
        region = found.region_of(cluster.resource) if cluster else ""
        if region and arn.split(":")[3] != region:
            yield Hit(
                resource=one.resource,
                message=f"{one} names {arn}; its cluster is in {region}.",
                fix=f"Take one of {region}.",
            )


@rule(
    "certificate-before-authority",
    title="A certificate is requested from an authority that is not active",
    severity="error",
    looks_at="ACM certificates of private authorities: whether they wait for the authority's own certificate.",
    why="ACM marks the certificate as FAILED, and the resource is made all the same; what uses it fails later.",
    source="https://github.com/hashicorp/terraform-provider-aws/issues/31132",
    fix="Let the certificate depend on the CertificateAuthorityCertificate.",
)
def certificate_before_authority(stack: Stack) -> Iterator[Hit]:
    """Nothing is requested from an authority before it is active."""
    graph = stack.graph
    authorities = {
        text(properties(one), "arn"): one
        for one in graph.of_type("aws:acmpca/certificateAuthority:CertificateAuthority")
    }
    installed: dict[str, list[Resource]] = {}
    for one in graph.of_type("aws:acmpca/certificateAuthorityCertificate:CertificateAuthorityCertificate"):
        installed.setdefault(text(properties(one), "certificateAuthorityArn"), []).append(one)
    for one in graph.of_type(_CERTIFICATE):
        arn = text(properties(one), "certificateAuthorityArn")
        waits_for = graph.waits_for(one.urn)
        if arn in authorities and not any(each.urn in waits_for for each in installed.get(arn, ())):
            first = installed.get(arn)
            yield Hit(
                resource=one,
                message=f"Certificate {one.name} does not wait until authority {authorities[arn].name} is active.",
                fix=f"Add {first[0].name} to its depends_on."
                if first
                else "Issue the authority's own certificate and install it, then let this one depend on that.",
            )


@rule(
    "private-zone-dns",
    title="A VPC does not resolve its private zone",
    severity="error",
    looks_at="enableDnsHostnames and enableDnsSupport of VPCs with subnets that a private zone is associated with.",
    why="Both are needed for private zones, and the first is off by default: names do not resolve in pods.",
    source="https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/hosted-zone-private-considerations.html",
    fix="Set both to True.",
)
def private_zone_dns(stack: Stack) -> Iterator[Hit]:
    """VPCs resolve the zones that they are associated with."""
    graph = stack.graph
    zoned = {text(properties(one), "vpcId") for one in graph.of_type("aws:route53/zoneAssociation:ZoneAssociation")} | {
        text(each, "vpcId") for one in graph.of_type("aws:route53/zone:Zone") for each in many(properties(one), "vpcs")
    }
    used = {text(properties(one), "vpcId") for one in graph.of_type("aws:ec2/subnet:Subnet")}
    for vpc in graph.of_type("aws:ec2/vpc:Vpc"):
        off = [
            name
            for name, default in (("enableDnsHostnames", False), ("enableDnsSupport", True))
            if (default if value(vpc, name) is None else value(vpc, name)) is not True
        ]
        if vpc.id in zoned & used and off:
            yield Hit(
                resource=vpc,
                message=f"VPC {vpc.name} is associated with a private zone, and {' and '.join(off)} is off.",
                fix="Set enable_dns_hostnames=True and enable_dns_support=True.",
            )


@rule(
    "lattice-record-missing",
    title="Nobody makes the DNS record of a service",
    severity="error",
    looks_at="Controllers with routes that have host names: whether external-dns, with the source crd, comes first.",
    why="The controller looks for the kind DNSEndpoint once, when it starts, and otherwise makes no record: the log "
    "says `skipping`, and the name does not resolve.",
    source=f"{_CONTROLLER}/guides/custom-domain-name/",
    fix="Release external-dns with the source crd, and let the controller depend on it.",
)
def lattice_record_missing(stack: Stack) -> Iterator[Hit]:
    """external-dns is there before the controller, and reads what that writes."""
    found = estate(stack)
    for release in _controllers(stack):
        place = found.place(release.resource)
        routes = [one for one in found.objects.get("HTTPRoute", ()) if found.place(one.resource) == place]
        if not any(many(one.spec, "hostnames") for one in routes):
            continue
        writers = [one for one in found.of_chart("external-dns") if found.place(one.resource) == place]
        reading = [one for one in writers if "crd" in many(one.values, "sources")]
        before = found.graph.waits_for(release.resource.urn)
        if not reading:
            what = "has no source crd" if writers else "is not there"
            yield Hit(
                resource=release.resource,
                message=f"external-dns {what}, so nothing makes the records of {release.name}'s routes.",
                fix='Release external-dns with sources ["crd"].',
            )
        elif not release.get("installExternalDNSCRD") and not any(one.resource.urn in before for one in reading):
            yield Hit(
                resource=release.resource,
                message=f"Release {release.name} does not wait for {reading[0].name}, which brings DNSEndpoint.",
                fix=f"Add {reading[0].resource.name} to its depends_on.",
            )


@rule(
    "dns-owner-shared",
    title="Two clusters delete each other's DNS records",
    severity="error",
    looks_at="txtOwnerId, prefix, zones and domains of the releases of external-dns, in all stacks that are judged "
    "together.",
    why="A record belongs to an owner id. With one id for two clusters, each deletes what the other has made.",
    source="https://kubernetes-sigs.github.io/external-dns/latest/docs/advanced/multi-cluster-shared-records/",
    fix="Give each its cluster's name as txtOwnerId.",
)
def dns_owner_shared(stack: Stack) -> Iterator[Hit]:
    """Every external-dns owns its records under its own id."""
    writers = list(external_dns(system(stack)))
    own = [one for one in writers if one.release.resource.urn in stack.graph.resources]
    for one in own:
        # Another stack may be in another account: only a zone that both name is surely the same.
        rivals = [other for other in writers if other is not one and (other in own or one.zones & other.zones)]
        if any(one.owns_with(other) for other in rivals):
            yield Hit(
                resource=one.release.resource,
                message=f"{one.release.resource.name} and another external-dns both own records as {one.owner}.",
                fix="Set txtOwnerId to the name of the cluster.",
            )


@rule(
    "lattice-prefix-list",
    title="VPC Lattice does not reach the pods",
    severity="error",
    looks_at="Rules with VPC Lattice's prefix list, against the security groups that nodes carry.",
    why="Targets stay unhealthy and calls time out. Nodes have the groups of their launch template, or else the one "
    "that EKS makes; a rule on any other group does nothing.",
    source=f"{_GUIDE}/security-groups.html",
    fix="Put an ingress rule with the prefix list on the security group of the nodes.",
)
def lattice_prefix_list(stack: Stack) -> Iterator[Hit]:
    """The nodes let VPC Lattice in."""
    found = estate(stack)
    lists = {
        text(one, "answer", "id"): text(one, "args", "name")
        for one in stack.invokes
        if text(one, "token") == "aws:ec2/getManagedPrefixList:getManagedPrefixList"
    }
    lattices = {id_ for id_, name in lists.items() if name.endswith(".vpc-lattice") and ".ipv6." not in name}
    admitted: set[str] = set()
    for one in found.graph.of_type("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"):
        if text(properties(one), "prefixListId") in lattices:
            admitted.add(text(properties(one), "securityGroupId"))
    for one in found.graph.of_type("aws:ec2/securityGroupRule:SecurityGroupRule"):
        if lattices & set(map(str, many(properties(one), "prefixListIds"))):
            admitted.add(text(properties(one), "securityGroupId"))
    for cluster in _gateway_clusters(stack):
        for group in found.nodes_of(cluster):
            carried = set(group.security_groups) or {cluster.own_security_group} - {""}
            if carried and not carried & admitted:
                yield Hit(
                    resource=group.resource,
                    message=f"No rule lets VPC Lattice's prefix list in to the nodes of {group.resource.name}, which "
                    f"carry {', '.join(sorted(carried))}.",
                    fix="Make an aws.vpc.SecurityGroupIngressRule with the prefix list for one of these groups.",
                )


@rule(
    "lattice-association",
    title="A cluster's VPC has no way into the service network",
    severity="error",
    looks_at="VPCs of clusters with a Gateway of VPC Lattice, and their associations with a service network.",
    why="Names resolve, and connections fail.",
    source=f"{_GUIDE}/service-network-associations.html",
    fix="Make an aws.vpclattice.ServiceNetworkVpcAssociation for the VPC.",
)
def lattice_association(stack: Stack) -> Iterator[Hit]:
    """Pods reach the service network."""
    found = estate(stack)
    associated = {text(properties(one), "vpcIdentifier") for one in found.graph.of_type(lattice.ASSOCIATION)}
    for release in _controllers(stack):
        by_controller = release.has("defaultServiceNetwork") or found.objects.get("VpcAssociationPolicy")
        vpc = str(release.get("clusterVpcId") or "")
        made = {one.id for one in found.graph.of_type("aws:ec2/vpc:Vpc")}
        if vpc in made - associated and not by_controller:
            yield Hit(
                resource=release.resource,
                message=f"The VPC of {release.name}, {vpc}, is associated with no service network.",
                fix="Make an aws.vpclattice.ServiceNetworkVpcAssociation with the VPC and the network.",
            )


@rule(
    "lattice-gateway-network",
    title="A Gateway finds no service network",
    severity="error",
    looks_at="Names of Gateways of VPC Lattice against those of service networks, and which waits for which.",
    why="A Gateway stands for the service network of its own name. If that is not there when the Gateway is made, the "
    "Gateway stays Pending for ever: the controller does not look again.",
    source="https://github.com/aws/aws-application-networking-k8s/issues/609",
    fix="Give the Gateway the network's name, and let it depend on the network.",
)
def lattice_gateway_network(stack: Stack) -> Iterator[Hit]:
    """Every Gateway finds its network when it is made."""
    whole = system(stack)
    names = sorted({text(properties(one), "name") for one in whole.graph.of_type(lattice.NETWORK)})
    for gateway in _mine(stack, lattice.gateways(whole)):
        made = lattice.networks(whole, gateway.name)
        if names and not made:
            yield Hit(
                resource=gateway.resource,
                message=f"{gateway} has the name of no service network; there is {', '.join(names)}.",
                fix=f"Give the Gateway the name {names[0]}.",
            )
        late = [one for one in made if one.urn in stack.graph.resources]
        if late and not any(stack.graph.reaches(gateway.resource.urn, one.urn) for one in late):
            yield Hit(
                resource=gateway.resource,
                message=f"{gateway} does not wait for its service network {late[0].name}.",
                fix=f"Add {late[0].name} to its depends_on.",
            )


@rule(
    "lattice-backend",
    title="A route leads to a Service that VPC Lattice cannot use",
    severity="error",
    looks_at="backendRefs of HTTPRoutes against the Services of the program: name, port, ipFamilyPolicy.",
    why="The route gets ResolvedRefs=False, and its service has no targets.",
    source=f"{_CONTROLLER}/api-types/http-route/",
    fix="Name a port of a Service with one address family.",
)
def lattice_backend(stack: Stack) -> Iterator[Hit]:
    """Routes lead to Services that are there."""
    found = estate(stack)
    for service in _services(stack):
        route = service.route
        for reference in (each for one in many(route.spec, "rules") for each in many(one, "backendRefs")):
            name, port = text(reference, "name"), at(reference, "port")
            if text(reference, "kind") not in ("", "Service") or not name or text(reference, "namespace"):
                continue
            made = found.by_name.get((found.place(route.resource), "Service", route.namespace, name))
            ports = [at(one, "port") for one in many(made.spec, "ports")] if made else []
            if made is None:
                what, fix = f"no Service {route.namespace}/{name} is there", "Name a Service of the route's namespace."
            elif port not in ports:
                what, fix = f"Service {name} has no port {port}", f"Name one of {', '.join(map(str, ports))}."
            elif "DualStack" in text(made.spec, "ipFamilyPolicy"):
                what, fix = f"Service {name} has two address families", "Set its ipFamilyPolicy to SingleStack."
            else:
                continue
            yield Hit(resource=route.resource, message=f"{route}: {what}.", fix=fix)


_IDENTITY = ("clusterName", "clusterVpcId", "awsRegion", "awsAccountId")


@rule(
    "lattice-controller-identity",
    title="The gateway controller does not know what it works for",
    severity="error",
    looks_at=f"The chart values {', '.join(_IDENTITY)}.",
    why="What is not given it asks the metadata service, which answers no pod on hardened nodes, and ends. An account "
    "that is a number is written with an exponent, and its resources then look like somebody else's.",
    source=f"{_CONTROLLER}/guides/environment/",
    fix="Pass all four, the account as text.",
)
def lattice_controller_identity(stack: Stack) -> Iterator[Hit]:
    """The controller is told its cluster, VPC, region and account."""
    found = estate(stack)
    for release in _controllers(stack):
        if not release.whole:
            continue
        missing = [name for name in _IDENTITY if not release.get(name)]
        if missing:
            yield Hit(
                resource=release.resource,
                message=f"Release {release.name} is not told {', '.join(missing)}.",
                fix=f"Set {', '.join(missing)} in its values.",
            )
        account = release.get("awsAccountId")
        if account and not isinstance(account, str):
            yield Hit(
                resource=release.resource,
                message=f"awsAccountId of release {release.name} is the number {account}.",
                fix="Pass it as text.",
            )
        cluster = found.cluster_of(release.resource)
        name = release.get("clusterName")
        if cluster and name and name != cluster.name:
            yield Hit(
                resource=release.resource,
                message=f"Release {release.name} is told the cluster {name}; it runs in {cluster.name}.",
                fix=f"Pass {cluster.name}.",
            )


_GATEWAY_API = "gateway.networking.k8s.io"


@rule(
    "lattice-kinds-missing",
    title="The gateway controller starts without the Gateway API",
    severity="error",
    looks_at=f"The controller's release, and what brings the kinds of {_GATEWAY_API}: their definitions, or a manifest "
    "with gateway-api in its address.",
    why="Its chart does not bring them, and the controller ends when it does not find them.",
    source=f"{_CONTROLLER}/guides/deploy/",
    fix="Install the Gateway API's standard bundle, of the version that the controller is built for, first.",
)
def lattice_kinds_missing(stack: Stack) -> Iterator[Hit]:
    """The kinds that the controller works on are there before it."""
    found = estate(stack)
    definitions = [
        one.resource
        for one in found.objects.get("CustomResourceDefinition", ())
        if text(one.spec, "group") == _GATEWAY_API
    ]
    manifests = found.graph.of_type("kubernetes:yaml/v2:ConfigFile", "kubernetes:yaml/v2:ConfigGroup")
    definitions += [one for one in manifests if "gateway-api" in json.dumps(properties(one), default=str)]
    for release in _controllers(stack):
        place, before = found.place(release.resource), found.graph.waits_for(release.resource.urn)
        bringers = [one for one in definitions if found.place(one) == place]
        if found.cluster_of(release.resource) and not any(one.urn in before for one in bringers):
            what = f"does not wait for {bringers[0].name}, which brings" if bringers else "has nothing that brings"
            yield Hit(
                resource=release.resource,
                message=f"Release {release.name} {what} the kinds of {_GATEWAY_API}.",
                fix=f"Add {bringers[0].name} to its depends_on."
                if bringers
                else "Make a kubernetes.yaml.v2.ConfigFile of standard-install.yaml, and let the release depend on it.",
            )


@rule(
    "lattice-default-network",
    title="The controller makes a service network that nobody deletes",
    severity="warning",
    looks_at="The chart value defaultServiceNetwork.",
    why="The controller makes network and association once, when it starts, and deletes neither: the VPC stays. Two "
    "clusters that start together race for it, and the loser's VPC is never associated.",
    source="https://github.com/aws/aws-application-networking-k8s/issues/561",
    fix="Make network and association in the program, and leave the value away.",
)
def lattice_default_network(stack: Stack) -> Iterator[Hit]:
    """The program owns the service network."""
    for release in _controllers(stack):
        if name := release.get("defaultServiceNetwork"):
            yield Hit(
                resource=release.resource,
                message=f"Release {release.name} makes the service network {name} itself.",
                fix="Remove defaultServiceNetwork; make aws.vpclattice.ServiceNetwork and its association.",
            )


# Pods that sign


def _signing(stack: Stack) -> Iterator[tuple[Workload, list[Object]]]:
    """Yield the pods that something is put into because of an annotation, with the policies that read it."""
    found = estate(stack)
    for workload in lattice.objects_with_pods(found):
        if readers := lattice.readers(found, workload):
            yield workload, readers


@rule(
    "sidecar-missing",
    title="Nothing signs the calls of pods that may call services",
    severity="warning",
    looks_at="Pods under accounts whose role may call services: an annotation that a policy of the cluster reads.",
    why="Unsigned calls are anonymous, and refused. An annotation that is misspelt injects nothing, and says nothing.",
    source="https://docs.aws.amazon.com/vpc-lattice/latest/ug/sigv4-authenticated-requests.html",
    fix="Spell the annotation as the policy does; waive this where the program signs by itself.",
)
def sidecar_missing(stack: Stack) -> Iterator[Hit]:
    """Pods that may call services sign."""
    found = estate(stack)
    seen: set[str] = set()
    for identity, _ in _callers(stack):
        for workload in identity.workloads:
            one = workload.resource
            if one.package != "kubernetes" or one.urn in seen or one.urn not in stack.graph.resources:
                continue
            seen.add(one.urn)
            if not lattice.injected(found, workload):
                yield Hit(
                    resource=one,
                    message=f"{workload.label} runs as {identity}, which may call services, and nothing signs for it.",
                    fix="Annotate its pod template as the injecting policy wants it.",
                )


@rule(
    "sidecar-late",
    title="Pods may start before the policy that puts a proxy into them",
    severity="error",
    looks_at="Workloads with an annotation that a policy reads: whether they wait for that policy.",
    why="Kyverno changes what is created after its policy is ready; pods that are older run without the proxy, and "
    "their calls are refused.",
    source=_DEPENDS_ON,
    fix="Let the workload depend on the policy.",
)
def sidecar_late(stack: Stack) -> Iterator[Hit]:
    """A policy is there before the workloads that it changes."""
    for workload, readers in _signing(stack):
        if not any(stack.graph.reaches(workload.resource.urn, one.resource.urn) for one in readers):
            yield Hit(
                resource=workload.resource,
                message=f"{workload.label} does not wait for {readers[0].kind} {readers[0].name}.",
                fix=f"Add {readers[0].resource.name} to its depends_on.",
            )


@rule(
    "sidecar-bypassed",
    title="The calls of a container pass the proxy by",
    severity="error",
    looks_at="runAsGroup of containers beside a proxy that is injected.",
    why="The redirection spares group 0, which is the proxy's own. A container of that group, the default of most "
    "images, calls unsigned.",
    source="https://github.com/aws-ia/terraform-aws-eks-blueprints/blob/main/patterns/vpc-lattice/"
    "cross-cluster-pod-communication/cluster/charts/platform/templates/kyverno-cluster-policy.yaml",
    fix="Set runAsGroup to any number but 0.",
)
def sidecar_bypassed(stack: Stack) -> Iterator[Hit]:
    """Containers are of a group that the redirection catches."""
    for workload, _ in _signing(stack):
        whole = at(workload.pod, "securityContext", "runAsGroup")
        for container in many(workload.pod, "containers"):
            own = at(container, "securityContext", "runAsGroup")
            group = whole if own is None else own
            if not group:
                yield Hit(
                    resource=workload.resource,
                    message=f"Container {text(container, 'name')} of {workload.label} runs as group "
                    f"{'0' if group is not None else 'of its image, mostly 0'}.",
                    fix="Set its securityContext.runAsGroup, such as to 1000.",
                )


@rule(
    "sidecar-forbidden",
    title="A namespace does not admit pods with the proxy",
    severity="error",
    looks_at="The label pod-security.kubernetes.io/enforce of namespaces with pods that a proxy is put into.",
    why="The init container needs NET_ADMIN to redirect; baseline and restricted refuse every such pod.",
    source="https://kubernetes.io/docs/concepts/security/pod-security-standards/",
    fix="Enforce privileged in this namespace, or nothing.",
)
def sidecar_forbidden(stack: Stack) -> Iterator[Hit]:
    """Namespaces admit what is injected."""
    found = estate(stack)
    for workload, _ in _signing(stack):
        made = found.by_name.get((found.place(workload.resource), "Namespace", "default", workload.namespace))
        level = text(made.metadata, "labels", "pod-security.kubernetes.io/enforce") if made else ""
        if made and level in ("baseline", "restricted"):
            yield Hit(
                resource=made.resource,
                message=f"Namespace {workload.namespace} enforces {level}, and {workload.label} needs NET_ADMIN.",
                fix="Set the label to privileged.",
            )


@rule(
    "pod-before-association",
    title="Pods can start before their account has its role",
    severity="error",
    looks_at="Workloads that are objects of the program, against the Pod Identity association of their account.",
    why="Credentials and region are injected when a pod is created; one that is older than the association never gets "
    "them.",
    source="https://docs.aws.amazon.com/eks/latest/userguide/pod-identities.html",
    fix="Let the workload depend on the association.",
)
def pod_before_association(stack: Stack) -> Iterator[Hit]:
    """Pods start after their account has its role."""
    for identity in identities(stack.graph):
        for way in identity.ways:
            if way.wire.type != "aws:eks/podIdentityAssociation:PodIdentityAssociation":
                continue
            for workload in identity.workloads:
                one = workload.resource
                an_object = one.package == "kubernetes" and not workload.values_path
                if an_object and not stack.graph.reaches(one.urn, way.wire.urn):
                    yield Hit(
                        resource=one,
                        message=f"{workload.label} does not wait for the association of {identity}.",
                        fix=f"Add {way.wire.name} to its depends_on.",
                    )


# Order


@rule(
    "lattice-order",
    title="Something of VPC Lattice goes before what cleans up after it",
    severity="error",
    looks_at="HTTPRoutes, auth policies, Gateways, GatewayClasses and the controller's release: which waits for which.",
    why="The controller clears the finalizers of routes, then of the Gateway, and only while their class is there: "
    "otherwise they hang, and services stay in AWS. A policy that goes before its route leaves the service open.",
    source="https://github.com/aws/aws-application-networking-k8s/issues/115",
    fix="Let the route depend on its policy and Gateway, the Gateway on its class, the class on the release.",
)
def lattice_order(stack: Stack) -> Iterator[Hit]:
    """Each outlives what hangs on it."""
    found = estate(stack)
    for one, wanted in _chain(found, _controllers(stack)):
        if not found.graph.reaches(one.resource.urn, wanted.urn):
            yield Hit(
                resource=one.resource,
                message=f"{one} does not wait for {wanted.name}, so that may go first.",
                fix=f"Add {wanted.name} to its depends_on.",
            )


def _chain(found: Estate, releases: list[Release]) -> Iterator[tuple[Object, Resource]]:
    """Yield each object with what must outlive it."""
    for gateway in lattice.gateways(found):
        place = found.place(gateway.resource)
        for policy in lattice.auth_policies(found, gateway):
            yield policy, gateway.resource
        class_ = found.by_name.get((place, "GatewayClass", "default", text(gateway.spec, "gatewayClassName")))
        if class_:
            yield gateway, class_.resource
        for release in releases:
            if found.place(release.resource) == place:
                yield gateway, release.resource
                if class_:
                    yield class_, release.resource
    for route in found.objects.get("HTTPRoute", ()):
        above = {gateway.resource.urn: gateway.resource for _, gateway in lattice.parents(found, route)}
        for gateway in above.values():
            yield route, gateway
        for policy in lattice.auth_policies(found, route) if above else ():
            yield route, policy.resource
            for release in releases:
                if found.place(release.resource) == found.place(policy.resource):
                    yield policy, release.resource
