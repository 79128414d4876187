"""HTTPS end to end: certificates and hosts, redirects, TLS policies, records, issuers, web ACLs, access logs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from preflight.graph import Resource
from preflight.identities import Identity
from preflight.policies import MalformedError, Statement, parse
from preflight.rules.eks import ALB_CHART, ALB_PREFIX, Estate, Object, Release, estate, fields, many, parsed
from preflight.rules.identity import identities
from preflight.rules.ingress import certificates, hosts, load_balancers, ports
from preflight.rules.rule import Hit, Stack, items, mapping, rule
from preflight.rules.rule import text as known_text
from preflight.workloads import at, properties, text

_LBC = "https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest"
_ELB = "https://docs.aws.amazon.com/elasticloadbalancing/latest/application"
_DNS = "https://kubernetes-sigs.github.io/external-dns/latest"
_ACME = "https://cert-manager.io/docs/configuration/acme/dns01/route53/"

_CERTIFICATE = "aws:acm/certificate:Certificate"
_BUCKET = "aws:s3/bucket:Bucket"
_CHANGE = "route53:ChangeResourceRecordSets"
_LOG_DELIVERY = "logdelivery.elasticloadbalancing.amazonaws.com"

# Policies that admit TLS 1.0 or 1.1, which are withdrawn (RFC 8996), by AWS's list of what each admits.
_OUTDATED = re.compile(r"ELBSecurityPolicy-(2015-05|2016-08|TLS-1-[01]-.+|FS-2018-06|FS-1-1-2019-08|TLS13-1-[01]-.+)")
_DEFAULT_TLS_POLICY = "ELBSecurityPolicy-2016-08"
_TODAY = "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"


# Certificates and hosts


def _covers(name: str, host: str) -> bool:
    """Whether a name on a certificate is valid for a host; its wildcard stands for one part."""
    return name == host or (name.startswith("*.") and host.partition(".")[2] == name[2:])


@rule(
    "ingress-host-uncovered",
    title="No certificate of the load balancer is valid for a host",
    severity="error",
    looks_at="The hosts of every Ingress with HTTPS, and the names on all certificates of its load balancer, where "
    "the program makes them.",
    why="Browsers refuse the connection: a wildcard stands for one part of a name, and the load balancer shows its "
    "default certificate.",
    source=f"{_ELB}/https-listener-certificates.html",
    fix="Add the host to the certificate, or name another certificate.",
)
def ingress_host_uncovered(stack: Stack) -> Iterator[Hit]:
    """Every host has a certificate."""
    found = estate(stack)
    made = {text(properties(one), "arn"): one for one in stack.graph.of_type(_CERTIFICATE)}
    for sharing in load_balancers(found).values():
        arns = {arn for ingress in sharing for arn in certificates(found, ingress)}
        if not arns or not arns <= made.keys():
            continue
        names = [
            str(name)
            for arn in sorted(arns)
            for name in (known_text(made[arn], "domainName"), *items(made[arn], "subjectAlternativeNames"))
        ]
        for ingress in sharing:
            encrypted = any(protocol == "HTTPS" for protocol, _ in ports(found, ingress))
            for host in dict.fromkeys(hosts(ingress)) if encrypted else ():
                if not any(_covers(name, host) for name in names):
                    yield Hit(
                        resource=ingress.resource,
                        message=f"{ingress} answers for `{host}`, and its certificates are valid for "
                        f"{', '.join(f'`{name}`' for name in dict.fromkeys(names))}.",
                        fix=f"Add `{host}` or `*.{host.partition('.')[2]}` to the names of the certificate.",
                    )


def _redirects_itself(ingress: Object) -> bool:
    """Whether an action of its own redirects, as programs did before there was an annotation for it."""
    return any('"redirect"' in str(given) for key, given in ingress.annotations.items() if "/actions." in key)


@rule(
    "ingress-plain-http",
    title="Pages with a certificate are also served without it",
    severity="warning",
    looks_at="Internet-facing load balancers with a certificate: listeners without TLS, and whether they redirect.",
    why="Whoever follows a link with http:// sends passwords and cookies in the clear.",
    source=f"{_LBC}/guide/ingress/annotations/#ssl-redirect",
    fix="Redirect to the port with HTTPS.",
)
def ingress_plain_http(stack: Stack) -> Iterator[Hit]:
    """Where there is a certificate, HTTP only redirects."""
    found = estate(stack)
    for sharing in load_balancers(found).values():
        encrypted = any(certificates(found, ingress) for ingress in sharing)
        redirected = any(found.alb_setting(one, "ssl-redirect", "sslRedirectPort") for one in sharing)
        for ingress in sharing:
            plain = [port for protocol, port in ports(found, ingress) if protocol == "HTTP"]
            if (
                plain
                and encrypted
                and not redirected
                and found.scheme(ingress) == "internet-facing"
                and not _redirects_itself(ingress)
            ):
                yield Hit(
                    resource=ingress.resource,
                    message=f"{ingress} listens on {plain[0]} without TLS, its load balancer has a certificate and "
                    "faces the internet, and nothing redirects.",
                    fix=f'Set "{ALB_PREFIX}ssl-redirect": "443", or sslRedirectPort of its class.',
                )


@rule(
    "ingress-redirect-unheard",
    title="A redirect has no port to redirect from",
    severity="warning",
    looks_at="`ssl-redirect` of every Ingress, or `sslRedirectPort` of its class, and the listeners without TLS of its "
    "group.",
    why="With a certificate an Ingress listens on 443 only, and class parameters make no listener: http:// is not "
    "redirected, it is not answered.",
    source=f"{_LBC}/guide/ingress/ingress_class/#speclisteners",
    fix="Let one Ingress of the group listen on HTTP too.",
)
def ingress_redirect_unheard(stack: Stack) -> Iterator[Hit]:
    """A redirect begins at a listener without TLS."""
    found = estate(stack)
    for sharing in load_balancers(found).values():
        redirecting = [one for one in sharing if found.alb_setting(one, "ssl-redirect", "sslRedirectPort")]
        listeners = [listener for one in sharing for listener in ports(found, one)]
        if redirecting and listeners and all(protocol == "HTTPS" for protocol, _ in listeners):
            yield Hit(
                resource=redirecting[0].resource,
                message=f"{redirecting[0]} redirects, and its load balancer listens on "
                f"{', '.join(str(port) for port in sorted({port for _, port in listeners}))} with TLS only.",
                fix=f'Set "{ALB_PREFIX}listen-ports" to \'[{{"HTTP": 80}}, {{"HTTPS": 443}}]\' on one Ingress.',
            )


@rule(
    "tls-policy-outdated",
    title="A listener speaks TLS 1.0 or 1.1",
    severity="warning",
    looks_at="`ssl-policy` of every Ingress with HTTPS, `sslPolicy` of its class, the controller's default, and "
    "HTTPS and TLS listeners of load balancers.",
    why=f"Both are withdrawn. Without a policy AWS takes {_DEFAULT_TLS_POLICY}, which admits them.",
    source=f"{_ELB}/describe-ssl-policies.html",
    fix=f"Name {_TODAY}.",
)
def tls_policy_outdated(stack: Stack) -> Iterator[Hit]:
    """Every listener with TLS has a policy of today."""
    found = estate(stack)
    for sharing in load_balancers(found).values():
        encrypted = [one for one in sharing if any(protocol == "HTTPS" for protocol, _ in ports(found, one))]
        given = [policy for one in encrypted if (policy := found.alb_setting(one, "ssl-policy", "sslPolicy"))]
        for ingress in encrypted[:1]:
            controllers = found.controllers(found.place(ingress.resource))
            default = str(controllers[0].get("defaultSSLPolicy", _DEFAULT_TLS_POLICY)) if controllers else ""
            policy = given[0] if given else default
            if _OUTDATED.fullmatch(policy):
                yield Hit(
                    resource=ingress.resource,
                    message=f"The load balancer of {ingress} has the TLS policy {policy}"
                    + ("" if given else ", since nobody names one")
                    + ".",
                    fix=f'Set "{ALB_PREFIX}ssl-policy": "{_TODAY}", or sslPolicy of its class.',
                )
    for listener in stack.graph.of_type("aws:lb/listener:Listener", "aws:alb/listener:Listener"):
        policy = known_text(listener, "sslPolicy") or _DEFAULT_TLS_POLICY
        if known_text(listener, "protocol") in ("HTTPS", "TLS") and _OUTDATED.fullmatch(policy):
            yield Hit(
                resource=listener,
                message=f"Listener {listener.name} has the TLS policy {policy}.",
                fix=f'Set ssl_policy="{_TODAY}".',
            )


# external-dns


@dataclass(frozen=True, kw_only=True)
class ExternalDns:
    """What an installation of external-dns is told."""

    release: Release
    zones: frozenset[str]
    """Ids of the zones that it sees; empty where it is not told any."""
    domains: frozenset[str]
    owner: str
    marks: str
    """Where its records of ownership stand."""
    cleans: bool
    """Whether it removes what has lost its object."""

    def sees(self, host: str) -> bool:
        """Whether a name is one of those that it looks after."""
        return not self.domains or any(host == one or host.endswith(f".{one}") for one in self.domains)

    def reads(self, source: str) -> bool:
        """Whether it makes records of these objects: `ingress`, `service`."""
        return source in (many(self.release.values, "sources") or ["service", "ingress"])

    def owns_with(self, other: ExternalDns) -> bool:
        """Whether both take the same records for their own."""
        apart = (self.zones and other.zones and not self.zones & other.zones) or (
            self.domains and other.domains and not _overlap(self.domains, other.domains)
        )
        return bool(self.owner) and (self.owner, self.marks) == (other.owner, other.marks) and not apart


def _overlap(ones: frozenset[str], others: frozenset[str]) -> bool:
    return any(f".{one}".endswith(f".{other}") or f".{other}".endswith(f".{one}") for one in ones for other in others)


def _arguments(release: Release) -> Mapping[str, list[str]]:
    """Its own arguments by name: the chart takes a mapping or a list of them. Raises UnknownValueError."""
    given = release.get("extraArgs", {})
    found: dict[str, list[str]] = {}
    if isinstance(given, Mapping):
        for key in fields(release.values, "extraArgs"):
            one = release.get(f"extraArgs.{key}")
            found[key] = [str(each) for each in one] if isinstance(one, list) else [str(one)]
    for argument in many(release.values, "extraArgs"):
        key, _, one = str(argument).removeprefix("--").partition("=")
        found.setdefault(key, []).append(one)
    return found


def external_dns(found: Estate) -> Iterator[ExternalDns]:
    """Yield the installations of external-dns that write to Route 53. Raises UnknownValueError."""
    for release in found.of_chart("external-dns"):
        provider = release.get("provider", "aws")
        name = text(provider, "name") if isinstance(provider, Mapping) else str(provider)
        if name != "aws" or not release.whole:
            continue
        arguments = _arguments(release)
        zones = [*arguments.get("zone-id-filter", ()), *map(str, many(release.values, "zoneIdFilters"))]
        yield ExternalDns(
            release=release,
            zones=frozenset(one.rpartition("/")[2] for one in zones if one),
            domains=frozenset(str(one).strip(".") for one in many(release.values, "domainFilters")),
            owner=str(release.get("txtOwnerId") or "default") if release.get("registry", "txt") == "txt" else "",
            marks=f"{release.get('txtPrefix', '')}|{release.get('txtSuffix', '')}",
            cleans=release.get("policy", "upsert-only") == "sync",
        )


def _identity(stack: Stack, release: Resource) -> Identity | None:
    """The identity of the chart's own account, which is the one that calls AWS."""
    for identity in identities(stack.graph):
        if any(one.resource is release and one.values_path == ("serviceAccount",) for one in identity.workloads):
            return identity
    return None


def _writable(stack: Stack, release: Resource) -> list[str] | None:
    """The zones that a release may write to, as the ends of ARNs; None where that cannot be said."""
    identity = _identity(stack, release)
    way = identity.chosen if identity else None
    if way is None or way.mechanism == "node role" or way.role is None:
        return None
    found: list[str] = []
    for policy in way.policies:
        if policy.document is None:
            return None
        try:
            statements = parse(policy.document, trust=False)
        except MalformedError:
            return None
        for one in statements:
            if _lets_change(one):
                if one.deny or one.negated or one.conditions:
                    return None
                found += [arn.rpartition("/")[2] if "/" in arn else arn for arn in one.resource]
    return found


def _lets_change(statement: Statement) -> bool:
    return any(re.fullmatch(re.escape(one).replace(r"\*", ".*"), _CHANGE, re.IGNORECASE) for one in statement.action)


@rule(
    "external-dns-zone-closed",
    title="external-dns may not write to a zone that it is told to keep",
    severity="error",
    looks_at="`zone-id-filter` of external-dns, and the zones in the policies of its role.",
    why="Listing the zone's records is refused, and external-dns gives up the whole round, the other zones included.",
    source=f"{_DNS}/docs/tutorials/aws/#iam-policy",
    fix="Make filter and policy of one list of zones.",
)
def external_dns_zone_closed(stack: Stack) -> Iterator[Hit]:
    """external-dns may write to every zone that it keeps."""
    for names in external_dns(estate(stack)):
        allowed = _writable(stack, names.release.resource)
        missing = sorted(zone for zone in names.zones if zone not in (allowed or ()) and "*" not in (allowed or ()))
        if allowed is not None and missing:
            yield Hit(
                resource=names.release.resource,
                message=f"Release {names.release.name} keeps {', '.join(missing)}, and its role may write to "
                f"{', '.join(allowed) or 'no zone'}.",
                fix=f"Add arn:aws:route53:::hostedzone/{missing[0]} to the resources of its policy.",
            )


@rule(
    "external-dns-zone-open",
    title="external-dns may write to zones that it does not keep",
    severity="warning",
    looks_at="`zone-id-filter` and `domainFilters` of external-dns, and the zones in the policies of its role.",
    why="The filters bind the program, not whoever takes its pod over: that one may move every name in those zones.",
    source=f"{_DNS}/docs/tutorials/aws/#iam-policy",
    fix="Name the zones in its policy.",
)
def external_dns_zone_open(stack: Stack) -> Iterator[Hit]:
    """external-dns may write to no zone but its own."""
    for names in external_dns(estate(stack)):
        allowed = _writable(stack, names.release.resource)
        extra = sorted(set(allowed or ()) - names.zones) if names.zones else ["*"] if "*" in (allowed or ()) else []
        if extra and (names.zones or names.domains):
            kept = ", ".join(sorted(names.zones or names.domains))
            yield Hit(
                resource=names.release.resource,
                message=f"Release {names.release.name} keeps {kept}, and its role may write to "
                f"{'every zone' if '*' in extra else ', '.join(extra)} too.",
                fix="Set the resources of its policy to arn:aws:route53:::hostedzone/<id> of the zones that it keeps.",
            )


@rule(
    "ingress-outlives-external-dns",
    title="Nobody is left to remove the record of an Ingress",
    severity="warning",
    looks_at="Every Ingress with a host that external-dns with policy `sync` keeps, and whether it depends on that "
    "release.",
    why="On destroy external-dns may go first. The name stays, and leads to whoever gets the address next.",
    source="https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/protection-from-dangling-dns.html",
    fix="Let the Ingress depend on the release.",
)
def ingress_outlives_external_dns(stack: Stack) -> Iterator[Hit]:
    """external-dns outlives the Ingresses whose records it keeps."""
    found = estate(stack)
    for names in external_dns(found):
        release = names.release
        if not names.cleans or not names.reads("ingress"):
            continue
        for ingress in found.ingresses:
            kept = [host for host in hosts(ingress) if names.sees(host)]
            if (
                kept
                and found.place(ingress.resource) == found.place(release.resource)
                and ingress.resource.urn not in found.dependents(release.resource)
            ):
                yield Hit(
                    resource=ingress.resource,
                    message=f"{ingress} does not wait for release {release.name}, which keeps the record of {kept[0]}.",
                    fix=f"Add {release.resource.name} to its depends_on.",
                )


# cert-manager


def _has_credentials(solver: object) -> bool:
    given = ("accessKeyID", "accessKeyIDSecretRef", "secretAccessKeySecretRef", "auth")
    return any(at(solver, "dns01", "route53", key) for key in given)


@rule(
    "acme-without-identity",
    title="An issuer has no credentials for the records that prove a domain",
    severity="error",
    looks_at="ACME issuers with a Route 53 solver without credentials of its own, and the role of cert-manager's pods.",
    why="Let's Encrypt waits for a record that nobody may make: certificates stay pending. An Issuer, unlike a "
    "ClusterIssuer, does not even take the role of the pods.",
    source=_ACME,
    fix="Give cert-manager's account a role for the zone, and use a ClusterIssuer.",
)
def acme_without_identity(stack: Stack) -> Iterator[Hit]:
    """Whoever answers a challenge may make its record."""
    found = estate(stack)
    for kind in ("ClusterIssuer", "Issuer"):
        for issuer in found.objects.get(kind, ()):
            solvers = [one for one in many(issuer.spec, "acme", "solvers") if at(one, "dns01", "route53") is not None]
            if all(map(_has_credentials, solvers)):
                continue
            for release in found.of_chart("cert-manager"):
                if found.place(release.resource) != found.place(issuer.resource) or not release.whole:
                    continue
                lent = kind == "ClusterIssuer" or "--issuer-ambient-credentials" in str(release.get("extraArgs", ""))
                identity = _identity(stack, release.resource)
                way = identity.chosen if identity else None
                if not lent:
                    yield Hit(
                        resource=issuer.resource,
                        message=f"{issuer} has a Route 53 solver without credentials, and an Issuer takes none from "
                        "cert-manager's pods.",
                        fix="Make it a ClusterIssuer, or give the solver `auth` with a service account.",
                    )
                elif identity is not None and way is None:
                    yield Hit(
                        resource=issuer.resource,
                        message=f"{kind} {issuer.name} has a Route 53 solver without credentials, and the pods of "
                        f"cert-manager run as {identity}, which has no role in AWS.",
                        fix=f"Give {identity} a role that may change the records of its zones.",
                    )


# Web ACLs and logs

# What an Ingress or its class asks for, and the switch of the controller that it needs.
_SHIELDS = (
    ("wafv2-acl-arn", "wafv2AclArn", "enableWafv2"),
    ("wafv2-acl-name", "wafv2AclName", "enableWafv2"),
    ("waf-acl-id", "", "enableWaf"),
    ("web-acl-id", "", "enableWaf"),
    ("shield-advanced-protection", "", "enableShield"),
)


@rule(
    "web-acl-ignored",
    title="A load balancer asks for protection that its controller has off",
    severity="error",
    looks_at="WAF and Shield annotations of every Ingress, `wafv2AclArn` of its class, and `enableWafv2`, `enableWaf` "
    f"and `enableShield` in the values of the chart {ALB_CHART}.",
    why="The controller overlooks them without a word: the load balancer stands in the open.",
    source=f"{_LBC}/deploy/configurations/",
    fix="Switch it on in the controller, or drop it.",
)
def web_acl_ignored(stack: Stack) -> Iterator[Hit]:
    """What protects a load balancer is on."""
    found = estate(stack)
    for ingress in found.alb_ingresses:
        for release in found.controllers(found.place(ingress.resource))[:1]:
            for annotation, parameter, switch in _SHIELDS:
                given = found.alb_setting(ingress, annotation, parameter) if parameter else ingress.alb(annotation)
                if given not in ("", "none", "false") and release.get(switch) is False:
                    yield Hit(
                        resource=ingress.resource,
                        message=f"{ingress} asks for {annotation} {given}, and release {release.name} has {switch} "
                        "false.",
                        fix=f"Remove {switch} from the values, or {annotation} from the Ingress and its class.",
                    )


def _logged(found: Estate) -> Iterator[tuple[Resource, str]]:
    """Yield whatever turns access logs on, with the name of the bucket."""
    seen: set[str] = set()
    for ingress in found.alb_ingresses:
        parameters = found.parameters_of(found.class_object(ingress))
        pairs = many(parameters.spec, "loadBalancerAttributes") if parameters else []
        attributes = {text(pair, "key"): text(pair, "value") for pair in pairs}
        owner = parameters.resource if parameters and attributes else ingress.resource
        if not attributes:
            given = (one.strip().partition("=") for one in ingress.alb("load-balancer-attributes").split(","))
            attributes = {key: one for key, _, one in given}
        if attributes.get("access_logs.s3.enabled") == "true" and owner.urn not in seen:
            seen.add(owner.urn)
            yield owner, attributes.get("access_logs.s3.bucket", "")
    for balancer in found.graph.of_type("aws:lb/loadBalancer:LoadBalancer", "aws:alb/loadBalancer:LoadBalancer"):
        logs = mapping(balancer, "accessLogs")
        if logs.get("enabled") and known_text(balancer, "loadBalancerType") in ("", "application"):
            yield balancer, str(logs.get("bucket", ""))


def _delivers(document: object) -> bool:
    """Whether a bucket's policy may let ELB write: by its service, or by an account, which may be the region's."""
    policy = parsed(document) if isinstance(document, str) else document
    given = at(policy, "Statement")
    for statement in given if isinstance(given, list) else [given]:
        actions = at(statement, "Action")
        listed: Sequence[object] = actions if isinstance(actions, list) else [actions]
        puts = any(str(one) in ("s3:PutObject", "s3:Put*", "s3:*", "*") for one in listed)
        principal = at(statement, "Principal")
        services = at(principal, "Service")
        named = services if isinstance(services, list) else [services]
        delivery = any(str(one).startswith("logdelivery.elasticloadbalancing.") for one in named)
        admits = principal == "*" or at(principal, "AWS") is not None or delivery
        if at(statement, "Effect") == "Allow" and puts and admits:
            return True
    return False


@rule(
    "access-logs-refused",
    title="A load balancer may not write its access logs",
    severity="error",
    looks_at="The bucket of access logs, where the program makes it: its policy, and its encryption.",
    why="ELB writes a test object first: `Access Denied for bucket`, and the load balancer gets none of its "
    "attributes. With a key of KMS it can write to no bucket.",
    source=f"{_ELB}/enable-access-logging.html",
    fix=f"Let {_LOG_DELIVERY} put objects, and encrypt with keys of S3.",
)
def access_logs_refused(stack: Stack) -> Iterator[Hit]:
    """A load balancer may write to the bucket of its logs."""
    graph = stack.graph
    buckets = {
        text(properties(one), "bucket") or one.id: one for one in graph.of_type(_BUCKET, "aws:s3/bucketV2:BucketV2")
    }
    policies = {known_text(one, "bucket"): one for one in graph.of_type("aws:s3/bucketPolicy:BucketPolicy")}
    for owner, name in _logged(estate(stack)):
        if name not in buckets:
            continue
        policy = (
            at(properties(policies[name]), "policy") if name in policies else at(properties(buckets[name]), "policy")
        )
        if not _delivers(policy):
            yield Hit(
                resource=owner,
                message=f"{owner.name} writes access logs to bucket {name}, whose policy does not let ELB put objects.",
                fix=f'Allow "s3:PutObject" on its AWSLogs/ to the service {_LOG_DELIVERY}.',
            )
        for one in graph.of_type(
            "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
            "aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2",
        ):
            algorithms = [
                text(each, "applyServerSideEncryptionByDefault", "sseAlgorithm") for each in items(one, "rules")
            ]
            if known_text(one, "bucket") == name and any(each.startswith("aws:kms") for each in algorithms):
                yield Hit(
                    resource=owner,
                    message=f"{owner.name} writes access logs to bucket {name}, which encrypts with a key of KMS.",
                    fix='Set its sse_algorithm to "AES256".',
                )
