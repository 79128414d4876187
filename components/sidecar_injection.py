"""The Kyverno policy that puts a signing proxy beside an application, and the annotation that asks for it.

What an application sends to a Lattice address is turned round inside its own pod to a proxy, which signs it with the
pod's role and wraps it in TLS. The application itself calls plain http:// and knows nothing of either.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from components.section import Section, refuse

INJECTION_ANNOTATION = "vpc-lattices-svcs.amazonaws.com/agent-inject"
"""On a pod template, with the value "true". Spelt as the guides spell it that brought it up."""

POLICY_API_VERSION = "policies.kyverno.io/v1"
POLICY_KIND = "MutatingPolicy"

PROXY_PORT = 8080
PROXY_GROUP = 0
"""Group of the proxy, whose own traffic goes out as it is. An application of the same group bypasses the proxy."""

# https://docs.aws.amazon.com/vpc-lattice/latest/ug/security-groups.html: the link-local half of what Lattice answers
# from; the other half is for VPCs that reach a service network through an endpoint.
LATTICE_RANGE = "169.254.171.0/24"

# Repeatable, since an init container may run again in a pod whose rules are still there. The rule that takes effect is
# the last.
_REDIRECT = f"""set -e
iptables -t nat -N EGRESS_PROXY || iptables -t nat -F EGRESS_PROXY
iptables -t nat -A EGRESS_PROXY -m owner --gid-owner {PROXY_GROUP} -j RETURN
iptables -t nat -A EGRESS_PROXY -p tcp -j REDIRECT --to-ports {PROXY_PORT}
iptables -t nat -C OUTPUT -p tcp -d {LATTICE_RANGE} -j EGRESS_PROXY || \
iptables -t nat -A OUTPUT -p tcp -d {LATTICE_RANGE} -j EGRESS_PROXY
"""


def _check_image(value: str) -> str:
    if not re.fullmatch(r"[\w.-]+(:\d+)?/[\w./-]+(:[\w.-]+)?@sha256:[0-9a-f]{64}", value):
        refuse(
            "not an image with its registry and digest",
            allowed="<registry>/<repository>@sha256:<64 hex digits>, with a tag before the @ or without",
            change="take the digest that the registry gave when the image was pushed",
        )
    return value


PinnedImage = Annotated[str, AfterValidator(_check_image)]
"""A container image by registry, repository and digest."""


class InjectionSettings(Section):
    """`latticeGateway.images`: what is injected; docs/lattice.md says how to build both."""

    redirect: PinnedImage = Field(description="Image with iptables, for the init container.")
    proxy: PinnedImage = Field(description="Image of the signing proxy, Envoy 1.30 or newer.")


def injection_policy(images: InjectionSettings, authority_arn: str, namespace_labels: dict[str, str]) -> dict[str, Any]:
    """The spec of the policy.

    It mutates Deployments as they are made or changed, so it has to be ready before the first one. It fails closed: a
    Deployment that could not be changed would call without signature.

    Args:
        images: of the two containers.
        authority_arn: the CA whose certificates the proxy trusts beside the public ones.
        namespace_labels: of the namespaces that it reaches into.
    """
    init = {
        "name": "iptables-init",
        "image": images.redirect,
        "command": ["/bin/sh", "-c", _REDIRECT],
        "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}, "runAsUser": 0},
    }
    proxy = {
        "name": "envoy-sigv4",
        "image": images.proxy,
        "args": ["-l", "info"],
        "env": [{"name": "CA_ARN", "value": authority_arn}],
        "ports": [{"name": "proxy", "containerPort": PROXY_PORT, "protocol": "TCP"}],
        "securityContext": {"runAsGroup": PROXY_GROUP},
    }
    annotations, key = "object.spec.template.metadata.annotations", _cel(INJECTION_ANNOTATION)
    asks = f'has({annotations}) && {key} in {annotations} && {annotations}[{key}] == "true"'
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "namespaceSelector": {"matchLabels": namespace_labels},
            "resourceRules": [
                {
                    "apiGroups": ["apps"],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": ["deployments"],
                }
            ],
        },
        "matchConditions": [{"name": "asks-for-injection", "expression": asks}],
        # An ApplyConfiguration may not touch a list without keys, such as the command of a container.
        "mutations": [
            {
                "patchType": "JSONPatch",
                "jsonPatch": {"expression": f"[{_appended('initContainers', init)}, {_appended('containers', proxy)}]"},
            }
        ],
    }


def _appended(key: str, container: dict[str, Any]) -> str:
    """The patch that puts a container at the end of a list, in place of one of its name from an earlier time."""
    path = f"object.spec.template.spec.{key}"
    others = f"(has({path}) ? {path}.filter(each, each.name != {_cel(container['name'])}) : [])"
    return f'JSONPatch{{op: "add", path: "/spec/template/spec/{key}", value: {others} + [{_cel(container)}]}}'


def _cel(value: Any) -> str:
    """A value as a literal of CEL: as in JSON, but maps and lists of one type only unless their values are dynamic."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_cel(key)}: dyn({_cel(each)})" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(f"dyn({_cel(each)})" for each in value) + "]"
    return json.dumps(value)
