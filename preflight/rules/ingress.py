"""From an Ingress to a load balancer: class, annotations, subnets, certificates, webhooks, controller values."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from preflight.graph import Resource
from preflight.rules.eks import (
    ALB_CHART,
    ALB_CONTROLLERS,
    ALB_PREFIX,
    CLASS_ANNOTATION,
    CLUSTER_TAG,
    Cluster,
    Estate,
    NodeGroup,
    Object,
    Release,
    Subnet,
    estate,
    fields,
    many,
    parsed,
)
from preflight.rules.rule import Hit, Stack, mapping, rule, value
from preflight.workloads import at, properties, text

_DOCS = "https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest"
_ANNOTATIONS = f"{_DOCS}/guide/ingress/annotations/"
_SUBNETS = f"{_DOCS}/deploy/subnet_discovery/"
_RENDER = "kubernetes:helm:template"
_CHART = "https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/main/helm/aws-load-balancer-controller/values.yaml"

# Charts that bring a class of their own: where the values name it, and the name where they do not.
_CLASS_CHARTS = {
    ALB_CHART: ("ingressClass", "alb", "createIngressClassResource"),
    "ingress-nginx": ("controller.ingressClassResource.name", "nginx", "controller.ingressClassResource.enabled"),
}
# A chart of such a name may bring a class that is not known here.
_MAY_BRING_A_CLASS = re.compile(r"apisix|contour|emissary|gateway|haproxy|ingress|istio|kong|nginx|traefik")

_KINDS = r"[/-]crds?[/.-]|/gateway-api/.*-install\.yaml$"


def _opaque(found: Estate, place: str) -> bool:
    """Whether something in a place may make objects that the program does not show."""
    return any(
        found.place(resource) == place and not _only_kinds(resource)
        for resource in found.graph.of_type("kubernetes:yaml/v2:ConfigFile", "kubernetes:yaml/v2:ConfigGroup")
    )


def _only_kinds(manifest: Resource) -> bool:
    """Whether a manifest's address says that it holds definitions of kinds, and so no object."""
    return re.search(_KINDS, text(properties(manifest), "file")) is not None


def _classes(found: Estate, place: str) -> tuple[set[str], bool]:
    """The classes that something in a place makes, and whether that is all of them."""
    made = {one.name for one in found.objects.get("IngressClass", ()) if found.place(one.resource) == place}
    complete = not _opaque(found, place)
    for release in found.releases:
        if found.place(release.resource) != place:
            continue
        if release.chart in _CLASS_CHARTS:
            name, default, switch = _CLASS_CHARTS[release.chart]
            complete &= release.whole
            if release.get(switch, True):
                made.add(str(release.get(name, default)))
        else:
            complete &= not _MAY_BRING_A_CLASS.search(release.chart)
    return made, complete


@rule(
    "ingress-class-missing",
    title="An Ingress asks for a class that nothing makes",
    severity="error",
    looks_at="`ingressClassName` of every Ingress, the IngressClass objects, and the charts that bring a class; only "
    "in "
    "a cluster that the program makes.",
    why="No controller takes the Ingress up, and nobody says so: it stays without an address.",
    source=f"{_DOCS}/guide/ingress/ingress_class/",
    fix="Make the IngressClass, or name one that is there.",
)
def ingress_class_missing(stack: Stack) -> Iterator[Hit]:
    """Every Ingress has a class that something makes."""
    found = estate(stack)
    known: dict[str, tuple[set[str], bool, bool]] = {}
    for ingress in found.ingresses:
        place = found.place(ingress.resource)
        if found.cluster_of(ingress.resource) is None:
            continue
        if place not in known:
            known[place] = (*_classes(found, place), _has_default_class(found, place))
        classes, complete, has_default = known[place]
        name = found.class_of(ingress)
        if name in classes or not complete:
            continue
        there = ", ".join(sorted(classes)) or "none"
        if name:
            yield Hit(
                resource=ingress.resource,
                message=f"{ingress} asks for class `{name}`, which nothing makes; classes of this cluster: {there}.",
                fix=f"Set ingress_class_name to one of them, or make an IngressClass `{name}`.",
            )
        elif not has_default:
            yield Hit(
                resource=ingress.resource,
                message=f"{ingress} names no class and the cluster has no default one; classes: {there}.",
                fix=f'Set ingress_class_name="{next(iter(sorted(classes)), "alb")}" in its spec.',
            )


def _has_default_class(found: Estate, place: str) -> bool:
    default = "ingressclass.kubernetes.io/is-default-class"
    return any(
        one.annotations.get(default) == "true"
        for one in found.objects.get("IngressClass", ())
        if found.place(one.resource) == place
    ) or any(
        release.get("ingressClassConfig.default") or release.get("controller.ingressClassResource.default")
        for release in found.releases
        if found.place(release.resource) == place
    )


@rule(
    "ingress-class-unserved",
    title="No controller serves an ingress class",
    severity="error",
    looks_at="The controller of every IngressClass, and whether the AWS Load Balancer Controller is in the same "
    "cluster.",
    why="An Ingress of the class never gets a load balancer.",
    source=f"{_DOCS}/deploy/installation/",
    fix=f"Install the chart {ALB_CHART} in that cluster.",
)
def ingress_class_unserved(stack: Stack) -> Iterator[Hit]:
    """Every class of the load balancer controller has one."""
    found = estate(stack)
    for one in found.objects.get("IngressClass", ()):
        controller, place = text(one.spec, "controller"), found.place(one.resource)
        cluster = found.cluster_of(one.resource)
        if cluster is None or controller not in ALB_CONTROLLERS or _opaque(found, place):
            continue
        if controller.startswith("eks.") and not cluster.automatic:
            yield Hit(
                resource=one.resource,
                message=f"Class `{one.name}` is for `{controller}`, and cluster {cluster.name} is not in EKS Auto "
                "Mode.",
                fix="Set its controller to `ingress.k8s.aws/alb`, or switch Auto Mode on.",
            )
        elif controller.startswith("ingress.") and not (
            found.controllers(place) or found.runs_image(place, ALB_CHART) or _charts_by_invoke(stack, ALB_CHART)
        ):
            yield Hit(
                resource=one.resource,
                message=f"Class `{one.name}` is for `{controller}`, which nothing in cluster {cluster.name} runs.",
                fix=f"Add a release of the chart {ALB_CHART} from https://aws.github.io/eks-charts.",
            )


def _charts_by_invoke(stack: Stack, chart: str) -> bool:
    """Whether a chart is rendered in the program's own process."""
    return any(chart in str(call["args"]) for call in stack.invokes if call["token"] == _RENDER)


@rule(
    "ingress-class-annotation",
    title="The class is in the deprecated annotation",
    severity="warning",
    looks_at=f"The annotation `{CLASS_ANNOTATION}` of every Ingress.",
    why="The annotation is deprecated since Kubernetes 1.18, and the API server refuses it beside ingressClassName.",
    source="https://kubernetes.io/docs/concepts/services-networking/ingress/#deprecated-annotation",
    fix="Name the class in spec.ingressClassName.",
)
def ingress_class_annotation(stack: Stack) -> Iterator[Hit]:
    """Every Ingress names its class in its spec."""
    for ingress in estate(stack).ingresses:
        if name := ingress.annotations.get(CLASS_ANNOTATION):
            yield Hit(
                resource=ingress.resource,
                message=f"{ingress} names its class `{name}` in the annotation `{CLASS_ANNOTATION}`.",
                fix=f'Remove the annotation and set ingress_class_name="{name}" in the spec.',
            )


def _listeners(annotation: str) -> list[tuple[str, int]] | None:
    """The listeners of a `listen-ports` annotation; None if it is not what the controller takes."""
    entries = parsed(annotation)
    if not isinstance(entries, list) or not entries:
        return None
    found: list[tuple[str, int]] = []
    for entry in many(entries):
        for protocol, port in fields(entry).items() or [("", 0)]:
            if protocol not in ("HTTP", "HTTPS") or not isinstance(port, int) or not 1 <= port <= 65535:
                return None
            found.append((protocol, port))
    return found if len({port for _, port in found}) == len(found) else None


def _one_of(*allowed: str) -> tuple[Callable[[str], bool], str]:
    return lambda given: given in allowed, " or ".join(f'"{each}"' for each in allowed)


def _number(low: int, high: int) -> tuple[Callable[[str], bool], str]:
    return lambda given: bool(re.fullmatch(r"-?\d+", given)) and low <= int(given) <= high, f'"{low}" to "{high}"'


# What the controller takes: pkg/ingress of its source, at the version of the page that the rule names.
_VALUES: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "scheme": _one_of("internal", "internet-facing"),
    "target-type": _one_of("instance", "ip"),
    "ip-address-type": _one_of("ipv4", "dualstack", "dualstack-without-public-ipv4"),
    "backend-protocol": _one_of("HTTP", "HTTPS"),
    "backend-protocol-version": _one_of("HTTP1", "HTTP2", "GRPC"),
    "healthcheck-protocol": _one_of("HTTP", "HTTPS"),
    "listen-ports": (
        lambda given: _listeners(given) is not None,
        'a JSON list such as [{"HTTP": 80}, {"HTTPS": 443}], each port once',
    ),
    "ssl-redirect": _number(1, 65535),
    "group.name": (
        lambda given: bool(re.fullmatch(r"([a-z0-9][-a-z0-9.]{0,61})?[a-z0-9]", given)),
        "1 to 63 of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit",
    ),
    "group.order": _number(-1000, 1000),
    "load-balancer-name": (
        lambda given: bool(re.fullmatch(r"(?!internal-)[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?", given)),
        "1 to 32 letters, digits and hyphens, no hyphen at either end, not beginning with internal-",
    ),
    "healthcheck-interval-seconds": _number(5, 300),
    "healthcheck-timeout-seconds": _number(2, 120),
    "healthy-threshold-count": _number(2, 10),
    "unhealthy-threshold-count": _number(2, 10),
}

# The suffixes that the controller reads, v3.5.0:
# https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/v3.5.0/pkg/annotations/constants.go
_KNOWN = {
    *_VALUES,
    "tags", "subnets", "customer-owned-ipv4-pool", "load-balancer-attributes", "wafv2-acl-arn", "wafv2-acl-name",
    "waf-acl-id", "web-acl-id", "shield-advanced-protection", "security-groups", "inbound-cidrs", "certificate-arn",
    "ssl-policy", "target-group-attributes", "healthcheck-port", "healthcheck-path", "success-codes", "auth-type",
    "auth-idp-cognito", "auth-idp-oidc", "auth-on-unauthenticated-request", "auth-scope", "auth-session-cookie",
    "auth-session-timeout", "jwt-validation", "target-node-labels", "manage-backend-security-group-rules",
    "mutual-authentication", "security-group-prefix-lists", "multi-cluster-target-group",
    "minimum-load-balancer-capacity", "ipam-ipv4-pool-id", "enable-frontend-nlb", "frontend-nlb-scheme",
    "frontend-nlb-subnets", "frontend-nlb-security-groups", "frontend-nlb-listener-port-mapping",
    "frontend-nlb-eip-allocations", "frontend-nlb-healthcheck-port", "frontend-nlb-healthcheck-protocol",
    "frontend-nlb-healthcheck-path", "frontend-nlb-healthcheck-interval-seconds",
    "frontend-nlb-healthcheck-timeout-seconds", "frontend-nlb-healthcheck-healthy-threshold-count",
    "frontend-nlb-healthcheck-unhealthy-threshold-count", "frontend-nlb-healthcheck-success-codes",
    "frontend-nlb-attributes", "frontend-nlb-tags", "use-regex-path-match", "target-control-port",
    "create-acm-cert", "acm-pca-arn", "dry-run-plan",
}  # fmt: skip
# What is named after a listener or a backend of the Ingress.
_KNOWN_FAMILIES = ("actions.", "conditions.", "transforms.", "listener-attributes.")


@rule(
    "alb-annotation-value",
    title="The load balancer controller refuses an annotation's value",
    severity="error",
    looks_at="The annotations `alb.ingress.kubernetes.io/...` of every Ingress and Service whose values are limited.",
    why="The controller gives up on the Ingress and says so in its own log and events only.",
    source=_ANNOTATIONS,
    fix="Write one of the values that are allowed.",
)
def alb_annotation_value(stack: Stack) -> Iterator[Hit]:
    """Every annotation has a value that the controller takes."""
    found = estate(stack)
    for one in [*found.ingresses, *found.objects.get("Service", ())]:
        for suffix, (accepts, allowed) in _VALUES.items():
            given = one.alb(suffix)
            if ALB_PREFIX + suffix in one.annotations and not accepts(given):
                yield Hit(
                    resource=one.resource,
                    message=f"{one}: `{ALB_PREFIX}{suffix}` is `{given}`; allowed: {allowed}.",
                    fix=f"Set `{ALB_PREFIX}{suffix}` to {allowed}.",
                )


@rule(
    "alb-annotation-misspelt",
    title="An annotation of the load balancer controller is misspelt",
    severity="error",
    looks_at="Keys under `alb.ingress.kubernetes.io/` that are one slip away from one that the controller reads.",
    why="Unknown annotations are legal: the setting is ignored without a word.",
    source=_ANNOTATIONS,
    fix="Write the key as the controller has it.",
)
def alb_annotation_misspelt(stack: Stack) -> Iterator[Hit]:
    """Every annotation is one that the controller reads."""
    found = estate(stack)
    for one in [*found.ingresses, *found.objects.get("Service", ())]:
        for key in one.annotations:
            prefix, _, suffix = key.partition("/")
            if f"{prefix}/" == ALB_PREFIX and suffix not in _KNOWN and not suffix.startswith(_KNOWN_FAMILIES):
                near = difflib.get_close_matches(suffix.lower(), _KNOWN, n=1, cutoff=0.75)
                right = ALB_PREFIX + near[0] if near else ""
            else:
                right = ALB_PREFIX + suffix if prefix.startswith("alb.") and suffix in _KNOWN else ""
            if right and right != key:
                yield Hit(
                    resource=one.resource,
                    message=f"{one} has the annotation `{key}`, which nobody reads; the nearest one is `{right}`.",
                    fix=f"Rename `{key}` to `{right}`.",
                )


@rule(
    "annotation-not-text",
    title="An annotation or label is not text",
    severity="error",
    looks_at="Annotations and labels of every Kubernetes object.",
    why="The API server refuses the object: their values are strings, also for numbers and booleans.",
    source="https://kubernetes.io/docs/concepts/overview/working-with-objects/annotations/",
    fix="Put the value in quotes.",
)
def annotation_not_text(stack: Stack) -> Iterator[Hit]:
    """Every annotation and label is a string."""
    for objects in estate(stack).objects.values():
        for one in objects:
            for kind in ("annotations", "labels"):
                for key, given in mapping(one.resource, f"metadata.{kind}").items():
                    if given is not None and not isinstance(given, str):
                        shown = str(given).lower() if isinstance(given, bool) else given
                        yield Hit(
                            resource=one.resource,
                            message=f"{one}: {kind[:-1]} `{key}` is {type(given).__name__} {given}; allowed: text.",
                            fix=f'Write "{key}": "{shown}".'
                            if not isinstance(given, (dict, list))
                            else f'Write "{key}" as JSON text: json.dumps(...).',
                        )


# Subnets


_ROLE_TAGS = {"internet-facing": "kubernetes.io/role/elb", "internal": "kubernetes.io/role/internal-elb"}


def _discovers_by_tag(found: Estate, ingress: Object) -> bool:
    """Whether the parameters of its class name the subnets."""
    parameters = found.parameters_of(found.class_object(ingress))
    return parameters is not None and at(parameters.spec, "subnets") is not None


def _tagged(subnets: list[Subnet], tag: str) -> list[Subnet]:
    return [subnet for subnet in subnets if subnet.tags.get(tag) in ("1", "")]


def _foreign(subnet: Subnet, cluster: Cluster) -> list[str]:
    """The other clusters that a subnet is tagged for, if it is not tagged for this one."""
    names = [key.removeprefix(CLUSTER_TAG) for key in subnet.tags if key.startswith(CLUSTER_TAG)]
    return [] if cluster.name in names else names


def _subnet_cases(stack: Stack) -> Iterator[tuple[Object, str, list[Subnet], Cluster]]:
    """Yield what decides where a load balancer goes: its Ingress, the role tag, the VPC's subnets, the cluster.

    One Ingress per tag and cluster: the others have the same subnets.
    """
    found = estate(stack)
    seen: set[tuple[str, str]] = set()
    for ingress in found.alb_ingresses:
        cluster, scheme = found.cluster_of(ingress.resource), found.scheme(ingress)
        if cluster is None or (scheme, cluster.resource.urn) in seen or ingress.alb("subnets"):
            continue
        if scheme in ("internal", "internet-facing") and not _discovers_by_tag(found, ingress):
            seen.add((scheme, cluster.resource.urn))
            networks = {found.subnets[one].vpc_id for one in cluster.subnet_ids if one in found.subnets}
            if subnets := [subnet for subnet in found.subnets.values() if subnet.vpc_id in networks]:
                yield ingress, _ROLE_TAGS[scheme], subnets, cluster


@rule(
    "alb-subnets-untagged",
    title="No subnet is tagged for load balancers",
    severity="warning",
    looks_at="Tags `kubernetes.io/role/elb` (internet-facing) and `kubernetes.io/role/internal-elb` (internal) of the "
    "subnets in the cluster's VPC.",
    why="Controllers before v2.12.1 find no subnet at all; later ones guess from the route tables.",
    source=_SUBNETS,
    fix="Tag one subnet in each of two zones.",
)
def alb_subnets_untagged(stack: Stack) -> Iterator[Hit]:
    """The subnets of a load balancer are tagged for it."""
    for ingress, tag, subnets, cluster in _subnet_cases(stack):
        if not _tagged(subnets, tag):
            kind = "public" if tag.endswith("/elb") else "private"
            yield Hit(
                resource=ingress.resource,
                message=f"{ingress} wants subnets tagged `{tag}` = 1, and no subnet of {cluster.name}'s VPC has that "
                "tag.",
                fix=f'Add "{tag}": "1" to the tags of the {kind} subnets.',
            )


@rule(
    "alb-subnets-zones",
    title="A load balancer finds subnets in fewer than two zones",
    severity="error",
    looks_at="For every Ingress, the subnets of the cluster's VPC that the controller would choose: by role tag, else "
    "by "
    "route; those tagged only for another cluster left out.",
    why="An Application Load Balancer needs two zones; the controller gives up with `couldn't auto-discover subnets`.",
    source=_SUBNETS,
    fix="Tag a subnet in a second zone.",
)
def alb_subnets_zones(stack: Stack) -> Iterator[Hit]:
    """A load balancer has subnets in two zones."""
    found = estate(stack)
    for ingress, tag, subnets, cluster in _subnet_cases(stack):
        wants_public = tag.endswith("/elb")
        candidates = _tagged(subnets, tag) or [one for one in subnets if one.public == wants_public]
        usable = [subnet for subnet in candidates if not _foreign(subnet, cluster)]
        zones = sorted({subnet.zone for subnet in usable})
        single = any(
            str(one.get("controllerConfig.featureGates.ALBSingleSubnet", "")).lower() == "true"
            for one in found.controllers(found.place(ingress.resource))
        )
        if len(zones) < (1 if single else 2):
            yield Hit(
                resource=ingress.resource,
                message=f"{ingress} ({found.scheme(ingress)}) finds subnets tagged `{tag}` in "
                f"{', '.join(zones) or 'no zone'}; an ALB needs two zones.",
                fix=f'Add "{tag}": "1" to the tags of a subnet in another zone.',
            )


@rule(
    "alb-subnets-unusable",
    title="A subnet tagged for load balancers cannot take one",
    severity="error",
    looks_at="Size, cluster tags and, for `kubernetes.io/role/elb`, the route table of the subnets that carry the role "
    "tag of an Ingress' load balancer.",
    why="A load balancer wants a /27 or larger in every zone; the controller skips subnets of other clusters; without "
    "a route to an internet gateway nobody reaches it.",
    source="https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html",
    fix="Change the subnet, or take the tag away and tag another one.",
)
def alb_subnets_unusable(stack: Stack) -> Iterator[Hit]:
    """A subnet tagged for load balancers is large enough, this cluster's, and routed."""
    for _, tag, subnets, cluster in _subnet_cases(stack):
        for subnet in _tagged(subnets, tag):
            name = f"Subnet {subnet.resource.name}, tagged `{tag}`,"
            if _prefix(subnet) > 27:
                yield Hit(
                    resource=subnet.resource,
                    message=f"{name} is {subnet.cidr}; a load balancer wants a /27 or larger.",
                    fix="Set its cidr_block to a /27 or larger.",
                )
            if others := _foreign(subnet, cluster):
                yield Hit(
                    resource=subnet.resource,
                    message=f"{name} is tagged for cluster {', '.join(others)} and not for {cluster.name}, whose "
                    "controller skips it.",
                    fix=f'Add "{CLUSTER_TAG}{cluster.name}": "shared" to its tags.',
                )
            if tag.endswith("/elb") and not subnet.public:
                yield Hit(
                    resource=subnet.resource,
                    message=f"{name} has a route table without a route to an internet gateway.",
                    fix="Add a Route of 0.0.0.0/0 to the internet gateway to its route table, or remove the tag.",
                )


def _prefix(subnet: Subnet) -> int:
    """The length of its prefix; 0 where the range is not known."""
    try:
        return ipaddress.ip_network(subnet.cidr).prefixlen
    except ValueError:
        return 0


# One Ingress and what it points at


@rule(
    "ingress-target-type",
    title="Targets are instances, and the Service has no node port",
    severity="error",
    looks_at="`target-type` of every Ingress (its class' parameters and the controller's default included) and the "
    "type "
    "of the Services behind it.",
    why="With target type `instance` traffic enters through a node port, which a ClusterIP Service has not; the "
    "controller gives up on the Ingress.",
    source=f"{_ANNOTATIONS}#target-type",
    fix="Use target type `ip`, or make the Service NodePort.",
)
def ingress_target_type(stack: Stack) -> Iterator[Hit]:
    """Instances as targets have a node port."""
    found = estate(stack)
    for ingress in found.alb_ingresses:
        controllers = found.controllers(found.place(ingress.resource))
        default = str(controllers[0].get("defaultTargetType", "instance")) if controllers else "instance"
        for name, _ in found.backends(ingress):
            service = found.service(ingress, name)
            if service is None:
                continue
            own = service.alb("target-type")
            kind = own or found.alb_setting(ingress, "target-type", "targetType") or default
            given = text(service.spec, "type") or "ClusterIP"
            if kind == "instance" and given not in ("NodePort", "LoadBalancer"):
                yield Hit(
                    resource=ingress.resource,
                    message=f"{ingress} has target type `instance`, and Service {name} is {given}; allowed: NodePort, "
                    "LoadBalancer.",
                    fix=f'Add the annotation "{ALB_PREFIX}target-type": "ip", or set type="NodePort" on Service '
                    f"{name}.",
                )


def hosts(ingress: Object) -> list[str]:
    """The names that an Ingress answers for."""
    spec = ingress.spec
    rules = [text(one, "host") for one in many(spec, "rules")]
    tls = [str(host) for one in many(spec, "tls") for host in many(one, "hosts")]
    return [host for host in rules + tls if host]


def certificates(found: Estate, ingress: Object) -> list[str]:
    """The ARNs of its certificates: those of its class come before its own. Raises UnknownValueError."""
    parameters = found.parameters_of(found.class_object(ingress))
    of_class = value(parameters.resource, "spec.certificateArn") if parameters else None
    given = [str(one) for one in of_class] if isinstance(of_class, list) else []
    return given or [one for one in map(str.strip, ingress.alb("certificate-arn").split(",")) if one]


def load_balancers(found: Estate) -> Mapping[str, list[Object]]:
    """The Ingresses by the load balancer that they share; one alone has its own."""
    groups: defaultdict[str, list[Object]] = defaultdict(list)
    for ingress in found.alb_ingresses:
        name = found.alb_setting(ingress, "group.name", "group.name")
        groups[f"{found.place(ingress.resource)} {name}" if name else ingress.resource.urn].append(ingress)
    return groups


def ports(found: Estate, ingress: Object) -> list[tuple[str, int]]:
    """The listeners of one Ingress; none if they do not parse, which another rule says."""
    if given := ingress.alb("listen-ports"):
        return _listeners(given) or []
    return [("HTTPS", 443)] if certificates(found, ingress) else [("HTTP", 80)]


@rule(
    "ingress-ssl-redirect",
    title="The redirect leads to a port without HTTPS",
    severity="error",
    looks_at="`ssl-redirect` of every Ingress, or `sslRedirectPort` of its class, and the listeners of its group.",
    why="The controller refuses the whole group, the Ingresses of others included.",
    source=f"{_ANNOTATIONS}#ssl-redirect",
    fix="Add the port as HTTPS to `listen-ports`.",
)
def ingress_ssl_redirect(stack: Stack) -> Iterator[Hit]:
    """A redirect leads to a listener with HTTPS."""
    found = estate(stack)
    for members in load_balancers(found).values():
        listeners = {listener for ingress in members for listener in ports(found, ingress)}
        for ingress in members:
            port = found.alb_setting(ingress, "ssl-redirect", "sslRedirectPort")
            if port.isdecimal() and ("HTTPS", int(port)) not in listeners:
                have = ", ".join(f"{protocol} {number}" for protocol, number in sorted(listeners, key=str)) or "none"
                yield Hit(
                    resource=ingress.resource,
                    message=f"{ingress} redirects to port {port}, which is no HTTPS listener; listeners: {have}.",
                    fix=f'Set "{ALB_PREFIX}listen-ports" to \'[{{"HTTP": 80}}, {{"HTTPS": {port}}}]\'.',
                )


@rule(
    "ingress-https-certificate",
    title="An HTTPS listener has no certificate to find",
    severity="error",
    looks_at="Ingresses with an HTTPS listener, their certificate, and the hosts that one could be found by.",
    why="Without `certificate-arn` the controller looks in ACM for a certificate of the hosts; without hosts it gives "
    "up.",
    source=f"{_DOCS}/guide/ingress/cert_discovery/",
    fix="Name the certificate, or the hosts.",
)
def ingress_https_certificate(stack: Stack) -> Iterator[Hit]:
    """An HTTPS listener has a certificate, or hosts to find one by."""
    found = estate(stack)
    for members in load_balancers(found).values():
        if any(certificates(found, ingress) or ingress.alb("create-acm-cert") == "true" for ingress in members):
            continue
        for ingress in members:
            https = [port for protocol, port in ports(found, ingress) if protocol == "HTTPS"]
            if https and not hosts(ingress):
                yield Hit(
                    resource=ingress.resource,
                    message=f"{ingress} listens with HTTPS on {https[0]}, names no certificate and has no host to find "
                    "one by.",
                    fix=f'Set "{ALB_PREFIX}certificate-arn" to the certificate\'s ARN, or set the host of its rules.',
                )


@rule(
    "ingress-certificate-elsewhere",
    title="The certificate is in another region or partition",
    severity="error",
    looks_at="`certificate-arn` of every Ingress, or `certificateArn` of its class, and the region of its cluster.",
    why="A load balancer takes certificates of its own region only.",
    source="https://docs.aws.amazon.com/elasticloadbalancing/latest/application/https-listener-certificates.html",
    fix="Name a certificate of the cluster's region.",
)
def ingress_certificate_elsewhere(stack: Stack) -> Iterator[Hit]:
    """A certificate is in the region of the cluster."""
    found = estate(stack)
    for ingress in found.alb_ingresses:
        cluster = found.cluster_of(ingress.resource)
        region = found.region_of(cluster.resource) if cluster else ""
        for arn in certificates(found, ingress):
            shape = re.fullmatch(r"arn:aws[a-z-]*:(acm|iam):([a-z0-9-]*):\d{12}:(server-)?certificate/.+", arn)
            if not shape:
                yield Hit(
                    resource=ingress.resource,
                    message=f"{ingress}: `{arn}` is not the ARN of a certificate.",
                    fix=f"Write arn:aws:acm:{region or 'REGION'}:111122223333:certificate/ID, or the certificate's "
                    "`arn`.",
                )
            elif shape[1] == "acm" and region and shape[2] != region:
                yield Hit(
                    resource=ingress.resource,
                    message=f"{ingress} names a certificate in {shape[2]}, and cluster "
                    f"{cluster.name if cluster else ''} "
                    f"is in {region}.",
                    fix=f"Request the certificate in {region} and name that one.",
                )


@rule(
    "ingress-group-order",
    title="Two Ingresses of a group have the same order",
    severity="warning",
    looks_at="`group.order`, where it is written, of the Ingresses of one group.",
    why="The order says whose rules win; with two alike the names decide, so a rename can reroute traffic.",
    source=f"{_ANNOTATIONS}#group.order",
    fix="Give each its own number.",
)
def ingress_group_order(stack: Stack) -> Iterator[Hit]:
    """An order that somebody wrote down is unique in its group."""
    found = estate(stack)
    for members in load_balancers(found).values():
        taken: dict[str, Object] = {}
        for ingress in members:
            order = ingress.alb("group.order")
            if order in taken:
                yield Hit(
                    resource=ingress.resource,
                    message=f"{ingress} and {taken[order]} are in group {ingress.alb('group.name')} with the same "
                    "order "
                    f"{order}.",
                    fix=f'Give one of them another "{ALB_PREFIX}group.order", from -1000 to 1000.',
                )
            elif order:
                taken[order] = ingress


@rule(
    "ingress-backend-missing",
    title="An Ingress points at a Service or port that is not there",
    severity="error",
    looks_at="The backends of every Ingress, and the Services of its namespace. A Service that a chart or a file may "
    "make "
    "counts as there.",
    why="The controller gives up on the Ingress, or the path answers 503.",
    source="https://kubernetes.io/docs/concepts/services-networking/ingress/#the-ingress-resource",
    fix="Name a Service and a port that exist.",
)
def ingress_backend_missing(stack: Stack) -> Iterator[Hit]:
    """Every backend is there."""
    found = estate(stack)
    hidden = {(found.place(one.resource), one.namespace) for one in found.releases}
    for ingress in found.ingresses:
        place = found.place(ingress.resource)
        if _opaque(found, place):
            continue
        for name, port in found.backends(ingress):
            service = found.service(ingress, name)
            if port == "use-annotation":
                if not ingress.alb(f"actions.{name}"):
                    yield Hit(
                        resource=ingress.resource,
                        message=f"{ingress} sends `{name}` to an action, and has no `{ALB_PREFIX}actions.{name}`.",
                        fix=f"Add the annotation `{ALB_PREFIX}actions.{name}` with the action as JSON text.",
                    )
            elif service is not None:
                ports = many(service.spec, "ports")
                names = [text(one, "name") for one in ports] if isinstance(port, str) else []
                known = names or [at(one, "port") for one in ports]
                if port not in known:
                    yield Hit(
                        resource=ingress.resource,
                        message=f"{ingress} wants port `{port}` of Service {name}, which has "
                        f"{', '.join(f'`{each}`' for each in known if each) or 'none'}.",
                        fix=f"Name a port that Service {name} has.",
                    )
            elif _serves_namespace(found, ingress) and (place, ingress.namespace) not in hidden:
                yield Hit(
                    resource=ingress.resource,
                    message=f"{ingress} sends traffic to Service {name}, which nothing in its namespace makes.",
                    fix=f"Make Service {name} in namespace {ingress.namespace}, or name one that is there.",
                )


def _serves_namespace(found: Estate, ingress: Object) -> bool:
    """Whether the namespace and Services in it are the program's; where it makes none, something else may well do."""
    place = found.place(ingress.resource)
    services = {(found.place(one.resource), one.namespace) for one in found.objects.get("Service", ())}
    return (place, ingress.namespace) in services and (
        place,
        "Namespace",
        "default",
        ingress.namespace,
    ) in found.by_name


# The controller's release, and webhooks

# Charts whose pods the API server calls: what calls them, the value that sets the port, and the chart's default.
_WEBHOOKS: Mapping[str, tuple[str, str, int]] = {
    ALB_CHART: ("webhook", "webhookBindPort", 9443),
    "cert-manager": ("webhook", "webhook.securePort", 10250),
    "external-secrets": ("webhook", "webhook.port", 10250),
    "ingress-nginx": ("webhook", "controller.admissionWebhooks.port", 8443),
    "metrics-server": ("aggregated API", "containerPort", 10250),
}


def _own_groups(found: Estate, cluster: Cluster) -> Iterator[tuple[NodeGroup, list[str]]]:
    """Yield node groups whose security groups are all the program's own, none of them the cluster's."""
    for nodes in found.nodes_of(cluster):
        groups = nodes.security_groups
        if groups and not cluster.security_groups & set(groups):
            yield nodes, groups


def _admits(rule_: object, group: str, sources: set[str], port: int) -> bool:
    """Whether an ingress rule lets TCP on a port in from one of some groups, or from any addresses at all."""
    protocol = str(at(rule_, "ipProtocol") or at(rule_, "protocol") or "")
    low, high = at(rule_, "fromPort"), at(rule_, "toPort")
    if protocol not in ("-1", "all") and not (
        protocol == "tcp" and isinstance(low, (int, float)) and isinstance(high, (int, float)) and low <= port <= high
    ):
        return False
    named = {text(rule_, "referencedSecurityGroupId"), text(rule_, "sourceSecurityGroupId")}
    named |= {str(one) for one in many(rule_, "securityGroups")}
    named = {one.rpartition("/")[2] for one in named} - {"", group}
    # A range of addresses may hold the control plane's; which ones those are is not in the program.
    ranges = any(
        at(rule_, key)
        for key in ("cidrIpv4", "cidrIpv6", "cidrBlocks", "ipv6CidrBlocks", "prefixListId", "prefixListIds")
    )
    return ranges or bool(named & sources if sources else named)


def _ingress_rules(found: Estate) -> Mapping[str, list[object]]:
    """The rules for traffic into each security group, by the group's id."""
    rules: defaultdict[str, list[object]] = defaultdict(list)
    for one in found.graph.of_type("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"):
        rules[text(properties(one), "securityGroupId")].append(properties(one))
    for one in found.graph.of_type("aws:ec2/securityGroupRule:SecurityGroupRule"):
        if text(properties(one), "type") == "ingress":
            rules[text(properties(one), "securityGroupId")].append(properties(one))
    for one in found.graph.of_type("aws:ec2/securityGroup:SecurityGroup"):
        rules[one.id] += many(properties(one), "ingress")
    return rules


@rule(
    "webhook-port-closed",
    title="The control plane cannot reach a webhook",
    severity="error",
    looks_at="Security groups that launch templates put on nodes instead of the cluster's own, their rules, and the "
    "webhook "
    "ports of charts: the load balancer controller's, cert-manager's, and others that are known.",
    why="Every object that the webhook looks at is refused with `failed calling webhook ... context deadline "
    "exceeded`.",
    source="https://docs.aws.amazon.com/eks/latest/userguide/sec-group-reqs.html",
    fix="Open the port from the cluster's security group to the nodes'.",
)
def webhook_port_closed(stack: Stack) -> Iterator[Hit]:
    """The control plane reaches every webhook on every node."""
    found = estate(stack)
    rules = _ingress_rules(found)
    for release in found.releases:
        cluster = found.cluster_of(release.resource)
        if cluster is None or release.chart not in _WEBHOOKS or not release.whole:
            continue
        kind, path, default = _WEBHOOKS[release.chart]
        port = release.get(path, default)
        if not isinstance(port, int):
            continue
        for nodes, groups in _own_groups(found, cluster):
            if not any(
                _admits(one, group, cluster.security_groups, port) for group in groups for one in rules.get(group, ())
            ):
                yield Hit(
                    resource=release.resource,
                    message=f"Release {release.name} serves its {kind} on port {port}, and no rule lets the control "
                    "plane "
                    f"in there on nodes {nodes.resource.name} ({', '.join(groups)}).",
                    fix=f"Add a SecurityGroupIngressRule to the nodes' group: ip_protocol='tcp', from_port={port}, "
                    f"to_port={port}, referenced_security_group_id=<the cluster's security group>.",
                )


@rule(
    "node-groups-tagged",
    title="Not exactly one of the nodes' security groups is tagged for the cluster",
    severity="error",
    looks_at="Launch templates with more than one security group, and the tag `kubernetes.io/cluster/<name>` of each "
    "group; the group that EKS makes has it.",
    why="The load balancer controller adds its rules to the one tagged group, and stops when it finds none or two: "
    "`expected "
    "exactly one securityGroup tagged`.",
    source=f"{_DOCS}/guide/service/nlb/#worker-node-security-groups-selection",
    fix="Leave the tag on one of them, or attach one group only.",
)
def node_groups_tagged(stack: Stack) -> Iterator[Hit]:
    """Of several security groups on nodes exactly one is tagged for the cluster."""
    found = estate(stack)
    tags = {one.id: mapping(one, "tags") for one in found.graph.of_type("aws:ec2/securityGroup:SecurityGroup")}
    for cluster in found.clusters:
        if not found.controllers_of(cluster):
            continue
        key = CLUSTER_TAG + cluster.name
        for nodes in found.nodes_of(cluster):
            groups = nodes.security_groups
            known = {one for one in groups if one in tags or one == cluster.own_security_group}
            tagged = [one for one in groups if one == cluster.own_security_group or key in tags.get(one, {})]
            if len(groups) > 1 and known == set(groups) and len(tagged) != 1 and nodes.template:
                yield Hit(
                    resource=nodes.template,
                    message=f"Nodes {nodes.resource.name} carry {len(groups)} security groups, of which {len(tagged)} "
                    "have "
                    f"the tag `{key}`; allowed: exactly one.",
                    fix=f"Remove the tag from all but one of {', '.join(tagged)}."
                    if tagged
                    else f'Add "{key}": "owned" to the tags of one of them.',
                )


@rule(
    "controller-cluster-name",
    title="The load balancer controller works for another cluster",
    severity="error",
    looks_at=f"`clusterName` in the values of the chart {ALB_CHART}, and the names of the program's clusters.",
    why="The chart does not render without it; with a wrong one the controller finds neither subnets nor its own load "
    "balancers.",
    source=_CHART,
    fix="Set `clusterName` to the cluster's physical name.",
)
def controller_cluster_name(stack: Stack) -> Iterator[Hit]:
    """The controller is told the name of its cluster."""
    found = estate(stack)
    for release in found.of_chart(ALB_CHART):
        given = release.get("clusterName")
        cluster = found.cluster_of(release.resource)
        wanted = cluster.name if cluster else "the cluster's physical name"
        if given is None and release.whole:
            yield Hit(
                resource=release.resource,
                message=f"Release {release.name} has no value `clusterName`; allowed: `{wanted}`.",
                fix=f'Add "clusterName": "{wanted}" to its values.',
            )
        elif given is not None and cluster and cluster.name and given != wanted:
            yield Hit(
                resource=release.resource,
                message=f"Release {release.name} has `clusterName` `{given}`, and it runs in cluster `{wanted}`.",
                fix=f'Set "clusterName" to "{wanted}", better to the cluster\'s own output.',
            )


def _hop_limits(found: Estate, cluster: Cluster) -> set[int]:
    """How far metadata reaches from the nodes of a cluster; 1 is also what managed nodes have without a template."""
    limits: set[int] = set()
    for nodes in found.nodes_of(cluster):
        if nodes.template is not None:
            limit = at(properties(nodes.template), "metadataOptions", "httpPutResponseHopLimit")
            limits.add(int(limit) if isinstance(limit, (int, float)) else 1)
        elif not nodes.has_template:
            limits.add(1)
    return limits


@rule(
    "controller-without-vpc",
    title="The load balancer controller cannot find out its region or VPC",
    severity="error",
    looks_at=f"`region` and `vpcId` (or `vpcTags`) in the values of the chart {ALB_CHART}, and the metadata hop limit "
    "of "
    "the nodes.",
    why="It then asks the instance metadata service, which pods cannot reach with a hop limit of 1, and crashes with "
    "`failed to get VPC ID`.",
    source=f"{_DOCS}/deploy/installation/#using-the-amazon-ec2-instance-metadata-server-version-2-imdsv2",
    fix="Pass `region` and `vpcId`.",
)
def controller_without_vpc(stack: Stack) -> Iterator[Hit]:
    """The controller is told its region and VPC where nodes keep it off the metadata service."""
    found = estate(stack)
    for release in found.of_chart(ALB_CHART):
        cluster = found.cluster_of(release.resource)
        missing = [
            name
            for name, instead in (("region", "region"), ("vpcId", "vpcTags"))
            if not release.has(name) and not release.has(instead)
        ]
        if cluster and missing and release.whole and 1 in _hop_limits(found, cluster):
            yield Hit(
                resource=release.resource,
                message=f"Release {release.name} has no value {' and '.join(f'`{one}`' for one in missing)}, and the "
                "nodes "
                "of its cluster keep pods off the metadata service (hop limit 1).",
                fix=f"Add {' and '.join(repr(one) for one in missing)} to its values.",
            )


@rule(
    "controller-webhook-certificate",
    title="Every upgrade changes the controller's webhook certificate",
    severity="warning",
    looks_at=f"`enableCertManager`, `keepTLSSecret` and `webhookTLS` in the values of the chart {ALB_CHART}.",
    why="The chart makes a new certificate authority each time it is rendered; until pods restart, webhook calls fail "
    "with "
    "`x509: certificate signed by unknown authority`.",
    source=_CHART,
    fix="Set `enableCertManager`, or `keepTLSSecret`.",
)
def controller_webhook_certificate(stack: Stack) -> Iterator[Hit]:
    """The webhook certificate outlives an upgrade."""
    for release in estate(stack).of_chart(ALB_CHART):
        if release.whole and not _certificate_lasts(release):
            yield Hit(
                resource=release.resource,
                message=f"Release {release.name} has none of the values enableCertManager, keepTLSSecret, "
                "webhookTLS.caCert.",
                fix='Add "keepTLSSecret": True to its values, or "enableCertManager": True where cert-manager runs.',
            )


def _certificate_lasts(release: Release) -> bool:
    return any(bool(release.get(path)) for path in ("enableCertManager", "keepTLSSecret", "webhookTLS.caCert"))
