"""What the API server refuses: objects of the Gateway API, of VPC Lattice, external-dns and Kyverno.

The facts are those of the kinds' definitions: fields and validation expressions of Gateway API v1.5.1 (standard
channel), AWS Gateway API Controller v2.1.3, external-dns 0.21.0 and Kyverno 1.19.0.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import cast

from preflight.rules.eks import Object, estate, fields, many
from preflight.rules.rule import Hit, Stack, rule, value
from preflight.workloads import at, text

_GATEWAY_API = "https://gateway-api.sigs.k8s.io/reference/spec/"
_KYVERNO = "https://kyverno.io/docs/policy-types/mutating-policy/"

# Fields by kind and path, `[]` for every item of a list: their type, and `!` where they must be there.
_FIELDS: dict[str, dict[str, str]] = {
    "GatewayClass": {"controllerName": "text!"},
    "Gateway": {
        "gatewayClassName": "text!",
        "listeners": "list!",
        "listeners[].name": "text!",
        "listeners[].port": "number!",
        "listeners[].protocol": "text!",
        "listeners[].hostname": "text",
        "listeners[].tls": "object",
        "listeners[].allowedRoutes": "object",
    },
    "HTTPRoute": {
        "hostnames": "list",
        "parentRefs": "list",
        "parentRefs[].name": "text!",
        "parentRefs[].sectionName": "text",
        "rules": "list",
        "rules[].backendRefs[].name": "text!",
        "rules[].backendRefs[].port": "number",
    },
    "IAMAuthPolicy": {
        "policy": "text!",
        "targetRef": "object!",
        "targetRef.group": "text!",
        "targetRef.kind": "text!",
        "targetRef.name": "text!",
    },
    "DNSEndpoint": {
        "endpoints": "list",
        "endpoints[].dnsName": "text",
        "endpoints[].recordTTL": "number",
        "endpoints[].recordType": "text",
        "endpoints[].targets": "list",
    },
    "MutatingPolicy": {
        "matchConditions[].name": "text!",
        "matchConditions[].expression": "text!",
        "mutations[].patchType": "text!",
        "variables[].name": "text!",
        "variables[].expression": "text!",
    },
}
_GROUPS = (
    "gateway.networking.k8s.io",
    "application-networking.k8s.aws",
    "externaldns.k8s.io",
    "policies.kyverno.io",
)
_TYPES: dict[str, tuple[type, ...]] = {"text": (str,), "number": (int, float), "list": (list,), "object": (dict,)}


def _of_kind(stack: Stack, kind: str) -> list[Object]:
    """The objects of a kind of these groups; others have kinds of the same names."""
    objects = estate(stack).objects.get(kind, ())
    return [one for one in objects if one.resource.type.split(":")[1].partition("/")[0] in _GROUPS]


def _spec(one: Object) -> dict[str, object]:
    """What it wants, all of it known. Raises UnknownValueError."""
    return fields(value(one.resource, "spec"))


def _reached(found: object, path: str, at_: str = "spec") -> Iterator[tuple[str, object]]:
    """Yield everything at a path of `_FIELDS`, with its place; None where the last key is not there."""
    key, _, rest = path.partition(".")
    name = key.removesuffix("[]")
    inner = at(found, name)
    if not key.endswith("[]"):
        if not rest:
            yield f"{at_}.{name}", inner
        elif inner is not None:
            yield from _reached(inner, rest, f"{at_}.{name}")
        return
    for number, item in enumerate(many(found, name)):
        yield from _reached(item, rest, f"{at_}.{name}[{number}]")


@rule(
    "custom-object-fields",
    title="An object lacks a field, or has it in another type",
    severity="error",
    looks_at=f"The fields of {', '.join(_FIELDS)} that their definitions demand.",
    why="The API server refuses the object, in the middle of the update.",
    source=_GATEWAY_API,
    fix="Write the field as its kind wants it.",
)
def custom_object_fields(stack: Stack) -> Iterator[Hit]:
    """Objects have the fields that their definitions demand."""
    for kind, paths in _FIELDS.items():
        for one in _of_kind(stack, kind):
            spec = _spec(one)
            for path, wanted in paths.items():
                type_ = wanted.removesuffix("!")
                for place, got in _reached(spec, path):
                    fine = wanted == type_ if got is None else isinstance(got, _TYPES[type_]) and got != []
                    if not fine:
                        yield Hit(
                            resource=one.resource,
                            message=f"{place} of {one} is {got!r}; it must be {type_ if got != [] else 'not empty'}."
                            if got is not None
                            else f"{place} of {one} is missing.",
                            fix=f"Write {place} as {type_}.",
                        )


@rule(
    "gateway-listeners",
    title="The API server refuses the listeners of a Gateway",
    severity="error",
    looks_at="Name, port, protocol, hostname and tls of every Gateway's listeners.",
    why="Since Gateway API v0.8 the definition checks them itself: the Gateway is never made, and no route has a way "
    "in.",
    source=_GATEWAY_API + "#listener",
    fix="Drop the listener that no route uses, or give it a hostname of its own.",
)
def gateway_listeners(stack: Stack) -> Iterator[Hit]:
    """The listeners pass the validation expressions of their definition."""
    for gateway in _of_kind(stack, "Gateway"):
        for what, fix in _listener_problems(many(_spec(gateway), "listeners")):
            yield Hit(resource=gateway.resource, message=f"{gateway}: {what}.", fix=fix)


def _listener_problems(listeners: list[object]) -> Iterator[tuple[str, str]]:
    names = Counter(text(one, "name") for one in listeners)
    for name in (name for name, count in names.items() if count > 1):
        yield f"the name {name} stands on {names[name]} listeners, and must be unique", "Give each a name of its own."
    ways: dict[object, list[str]] = {}
    for one in listeners:
        way = (at(one, "port"), at(one, "protocol"), at(one, "hostname"))
        ways.setdefault(way, []).append(text(one, "name"))
    for (port, protocol, host), same in cast("dict[tuple[object, object, object], list[str]]", ways).items():
        if len(same) > 1:
            yield (
                f"the listeners {' and '.join(same)} are all {protocol} on port {_whole(port)} for "
                f"{host or 'every host'}; the combination of port, protocol and hostname must be unique",
                f"Drop {same[0]} if no route uses it, or give one of them a hostname.",
            )
    for one in listeners:
        yield from _problems_of(one)


def _problems_of(listener: object) -> Iterator[tuple[str, str]]:
    name, protocol, tls = text(listener, "name"), text(listener, "protocol"), at(listener, "tls")
    mode = text(tls, "mode") or ("Terminate" if tls is not None else "")  # the definition's own default
    port = at(listener, "port")
    if isinstance(port, int | float) and not 1 <= port <= 65535:
        yield f"the port {_whole(port)} of listener {name} is none", "Write a port from 1 to 65535."
    if protocol in ("HTTP", "TCP", "UDP") and tls is not None:
        yield f"listener {name} is {protocol} and has tls, which is for HTTPS and TLS only", "Remove its tls."
    if protocol in ("TCP", "UDP") and at(listener, "hostname"):
        yield f"listener {name} is {protocol} and has a hostname", "Remove its hostname."
    if protocol == "HTTPS" and mode not in ("", "Terminate"):
        yield f"listener {name} is HTTPS with tls mode {mode}; only Terminate is allowed", 'Write mode "Terminate".'
    if protocol == "TLS" and tls is None:
        yield f"listener {name} is TLS and has no tls mode", 'Write a tls with mode "Terminate" or "Passthrough".'
    if mode == "Terminate" and not at(tls, "certificateRefs") and not at(tls, "options"):
        yield (
            f"listener {name} terminates TLS without certificateRefs or options",
            "Name a certificate, for VPC Lattice in options under application-networking.k8s.aws/certificate-arn.",
        )


def _whole(number: object) -> object:
    return int(number) if isinstance(number, float) and number.is_integer() else number


_HOSTNAME = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_PATH = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+")
_NOT_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F", "#")


@rule(
    "http-route-invalid",
    title="The API server refuses an HTTPRoute",
    severity="error",
    looks_at="parentRefs, hostnames, matches and backendRefs of every HTTPRoute.",
    why="The definition checks them itself: the route is never made.",
    source=_GATEWAY_API + "#httproute",
    fix="Write the field as the definition wants it.",
)
def http_route_invalid(stack: Stack) -> Iterator[Hit]:
    """Routes pass the validation expressions of their definition."""
    for route in _of_kind(stack, "HTTPRoute"):
        for what, fix in _route_problems(route):
            yield Hit(resource=route.resource, message=f"{route}: {what}.", fix=fix)


def _route_problems(route: Object) -> Iterator[tuple[str, str]]:
    spec = _spec(route)
    parents: dict[tuple[str, str], list[str]] = {}
    for one in many(spec, "parentRefs"):
        parents.setdefault((text(one, "namespace"), text(one, "name")), []).append(text(one, "sectionName"))
    for (_, name), sections in parents.items():
        if len(sections) > 1 and (len(set(sections)) < len(sections) or "" in sections):
            yield (
                f"it names the Gateway {name} {len(sections)} times, with the sections {sections}",
                "Give each parentRef of one Gateway its own sectionName.",
            )
    for host in many(spec, "hostnames"):
        if not _HOSTNAME.fullmatch(str(host)) or re.fullmatch(r"[0-9.]+", str(host)):
            yield f"{host!r} is no hostname", "Write a lower-case name, with * as its first label at most."
    for one in many(spec, "rules"):
        yield from _rule_problems(one)


def _rule_problems(one: object) -> Iterator[tuple[str, str]]:
    backends = many(one, "backendRefs")
    redirects = [each for each in many(one, "filters") if at(each, "requestRedirect") is not None]
    if backends and redirects:
        yield "a rule has backendRefs beside a RequestRedirect", "Remove one of the two."
    for each in backends:
        service = text(each, "kind") in ("", "Service") and text(each, "group") == ""
        if service and at(each, "port") is None:
            yield f"the backend {text(each, 'name')} has no port", "Write the port of the Service."
    for match in many(one, "matches"):
        kind, path = text(match, "path", "type") or "PathPrefix", text(match, "path", "value") or "/"
        if kind not in ("Exact", "PathPrefix", "RegularExpression"):
            yield f"{kind!r} is no type of path", "Write Exact, PathPrefix or RegularExpression."
        elif kind != "RegularExpression" and not _is_path(path):
            yield f"{path!r} is no absolute path", f"Write a path that begins with / and has none of {_NOT_IN_PATHS}."


def _is_path(path: str) -> bool:
    clean = not any(part in path for part in _NOT_IN_PATHS) and not path.endswith(("/..", "/."))
    return path.startswith("/") and clean and _PATH.fullmatch(path) is not None


@rule(
    "kyverno-policy-invalid",
    title="Kyverno does not take a policy",
    severity="error",
    looks_at="patchType, expressions and matches of every MutatingPolicy; ClusterPolicies against the chart's version.",
    why="The policy is refused, or never becomes ready, and pods start without what it was to put into them.",
    source=_KYVERNO,
    fix="Write the mutation in the form that its patchType wants.",
)
def kyverno_policy_invalid(stack: Stack) -> Iterator[Hit]:
    """Policies say what they match and how they patch."""
    for policy in _of_kind(stack, "MutatingPolicy"):
        for what, fix in _mutation_problems(_spec(policy)):
            yield Hit(resource=policy.resource, message=f"{policy.kind} {policy.name}: {what}.", fix=fix)
    found = estate(stack)
    for policy in found.objects.get("ClusterPolicy", ()):
        place = found.place(policy.resource)
        for release in found.of_chart("kyverno"):
            version = re.match(r"v?(\d+)\.(\d+)", text(value(release.resource), "version"))
            newer = version is not None and (int(version[1]), int(version[2])) >= (3, 10)
            if newer and found.place(release.resource) == place:
                yield Hit(
                    resource=policy.resource,
                    message=f"ClusterPolicy {policy.name} is a kind that Kyverno refuses from chart 3.10 on.",
                    fix="Write it as a MutatingPolicy, or pin the chart to 3.9.",
                )


_PATCHES = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}


def _mutation_problems(spec: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    if not many(spec, "matchConstraints", "resourceRules"):
        yield "it has no matchConstraints.resourceRules, so it matches nothing", "Say which resources it is for."
    if not many(spec, "mutations"):
        yield "it has no mutations", "Add one with a patchType."
    if at(spec, "failurePolicy") not in (None, "Fail", "Ignore"):
        yield f"failurePolicy {at(spec, 'failurePolicy')!r} is none", "Write Fail or Ignore."
    for one in many(spec, "mutations"):
        kind = text(one, "patchType")
        if kind not in _PATCHES:
            yield f"patchType {kind!r} is none", f"Write {' or '.join(_PATCHES)}."
        elif not text(one, _PATCHES[kind], "expression"):
            yield f"a mutation of patchType {kind} has no {_PATCHES[kind]}.expression", "Write the expression."
