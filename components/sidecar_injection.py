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
    spec = "Object.spec.template.spec"
    init, side = f"{spec}.initContainers", f"{spec}.containers"
    containers = f"""Object{{
  spec: Object.spec{{
    template: Object.spec.template{{
      spec: {spec}{{
        initContainers: [{init}{{
          name: "iptables-init",
          image: {_text(images.redirect)},
          command: ["/bin/sh", "-c", {_text(_REDIRECT)}],
          securityContext: {init}.securityContext{{
            capabilities: {init}.securityContext.capabilities{{add: ["NET_ADMIN"]}},
            runAsUser: 0
          }}
        }}],
        containers: [{side}{{
          name: "envoy-sigv4",
          image: {_text(images.proxy)},
          args: ["-l", "info"],
          env: [{side}.env{{name: "CA_ARN", value: {_text(authority_arn)}}}],
          ports: [{side}.ports{{name: "proxy", containerPort: {PROXY_PORT}, protocol: "TCP"}}],
          securityContext: {side}.securityContext{{runAsGroup: {PROXY_GROUP}}}
        }}]
      }}
    }}
  }}
}}"""
    annotations, key = "object.spec.template.metadata.annotations", _text(INJECTION_ANNOTATION)
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
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": containers}}],
    }


def _text(value: str) -> str:
    """A text literal of CEL, whose escapes are those of JSON."""
    return json.dumps(value)
