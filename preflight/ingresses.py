"""What comes of an Ingress: where it answers, with which certificate, what HTTP does, and who keeps its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from preflight.graph import Graph
from preflight.rules.eks import Estate, Object
from preflight.rules.https import external_dns
from preflight.rules.ingress import certificates, hosts, load_balancers, ports
from preflight.rules.rule import UnknownValueError, items, text
from preflight.workloads import at

MANY = 5
"""So many others on a load balancer are named."""
_CERTIFICATE = "aws:acm/certificate:Certificate"


@dataclass(frozen=True, kw_only=True)
class Answering:
    """One Ingress."""

    name: str
    """NAMESPACE/NAME."""
    addresses: tuple[str, ...]
    """Where it answers, as somebody would type it; without the host where it names none."""
    facts: tuple[str, ...]


def answering(graph: Graph) -> list[Answering]:
    """Say it of every Ingress that becomes an Application Load Balancer, load balancer by load balancer."""
    found = Estate(graph)
    try:
        groups = load_balancers(found).values()
        return [row for group in groups for row in _rows(found, group)]
    except UnknownValueError as unknown:
        return [Answering(name="known after the update", addresses=(), facts=(str(unknown),))]


def _rows(found: Estate, group: Sequence[Object]) -> Iterator[Answering]:
    shared = tuple(_shared(found, group))
    names = [_name(ingress) for ingress in group]
    for ingress, name in zip(group, names, strict=True):
        others = [other for other in names if other != name]
        beside = ", ".join(others[:MANY]) + (f" and {len(others) - MANY} more" if len(others) > MANY else "")
        yield Answering(
            name=name,
            addresses=tuple(_addresses(found, ingress)),
            facts=(*shared, *_records(found, ingress), *((f"shared with {beside}",) if others else ())),
        )


def _name(ingress: Object) -> str:
    return f"{ingress.namespace}/{ingress.name}"


def _addresses(found: Estate, ingress: Object) -> Iterator[str]:
    listeners = ports(found, ingress)
    scheme = "https" if any(protocol == "HTTPS" for protocol, _ in listeners) else "http"
    for host in dict.fromkeys(hosts(ingress)) or [""]:
        yield f"{scheme}://{host or '<load balancer>'}"


def _shared(found: Estate, group: Sequence[Object]) -> Iterator[str]:
    """What one load balancer is like, for all of its Ingresses."""
    parameters = found.parameters_of(found.class_object(group[0]))
    by = f"parameters {parameters.name} of its class" if parameters else "annotations"
    yield f"{found.scheme(group[0])} load balancer, by {by}"
    listeners = {listener for one in group for listener in ports(found, one)}
    if any(protocol == "HTTPS" for protocol, _ in listeners):
        arns = dict.fromkeys(arn for one in group for arn in certificates(found, one))
        yield f"certificate {'; '.join(_valid_for(found, arn) for arn in arns) or 'found by the hosts'}"
        yield f"TLS policy {_said(found, group, 'ssl-policy', 'sslPolicy') or 'of the controller'}"
    if plain := sorted(port for protocol, port in listeners if protocol == "HTTP"):
        redirect = _said(found, group, "ssl-redirect", "sslRedirectPort")
        does = f"redirects to {redirect}" if redirect else "is served without TLS"
        yield f"HTTP {', '.join(map(str, plain))} {does}"
    for annotation, parameter in (("wafv2-acl-arn", "wafv2AclArn"), ("wafv2-acl-name", "wafv2AclName")):
        if given := _said(found, group, annotation, parameter):
            yield f"behind web ACL {given}"
    if parameters and "access_logs.s3.bucket" in str(at(parameters.spec, "loadBalancerAttributes")):
        yield "access logs to a bucket"


def _said(found: Estate, group: Sequence[Object], annotation: str, parameter: str) -> str:
    return next((given for one in group if (given := found.alb_setting(one, annotation, parameter))), "")


def _valid_for(found: Estate, arn: str) -> str:
    for certificate in found.graph.of_type(_CERTIFICATE):
        if text(certificate, "arn") == arn:
            more = items(certificate, "subjectAlternativeNames")
            return ", ".join(dict.fromkeys([text(certificate, "domainName"), *map(str, more)]))
    return arn


def _records(found: Estate, ingress: Object) -> Iterator[str]:
    place = found.place(ingress.resource)
    for host in dict.fromkeys(hosts(ingress)):
        owners = [
            names.owner
            for names in external_dns(found)
            if found.place(names.release.resource) == place and names.reads("ingress") and names.sees(host)
        ]
        yield (
            f"{host}: record kept by external-dns as {owners[0]}" if owners else f"{host}: nothing here keeps a record"
        )
