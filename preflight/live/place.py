"""Where a stack lives, as its program says: cluster, region, accounts, and the tags that tell what is its own."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from preflight.errors import BadInputError
from preflight.graph import Resource
from preflight.program import Recording
from preflight.rules.eks import Cluster, Estate
from preflight.workloads import at, properties, text


@dataclass(frozen=True, kw_only=True)
class Place:
    """One cluster of a stack, before anything is asked."""

    stack: str
    cluster: str
    region: str
    accounts: tuple[str, ...]
    """The accounts that the program's AWS provider allows; empty where it allows every one."""
    own_tags: Mapping[str, str]
    """Default tags that name the project or the stack; empty where none names the stack."""

    def owns(self, tags: Mapping[str, str], stack: str = "") -> bool:
        """Whether tags say that the stack itself made something, or another stack of its program."""
        own = {key: stack if stack and value == self.stack else value for key, value in self.own_tags.items()}
        return bool(own) and own.items() <= tags.items()


def places(recording: Recording, estate: Estate) -> list[tuple[Place, Cluster]]:
    """Return the place of each cluster of a stack.

    Raises BadInputError if the stack makes no cluster, or one whose name or region its program does not say.
    """
    stack = recording["stack"]
    if not estate.clusters:
        raise BadInputError(
            f"Stack {stack} makes no EKS cluster.\n"
            "  found:   none\n"
            "  allowed: a stack that makes one; what is looked for carries its name\n"
            "  change:  name another stack"
        )
    return [(_place(recording, estate, cluster), cluster) for cluster in estate.clusters]


def _place(recording: Recording, estate: Estate, cluster: Cluster) -> Place:
    region = estate.region_of(cluster.resource)
    if not region or not text(cluster.resource.inputs, "name"):
        what = "region" if not region else "name"
        raise BadInputError(
            f"The program does not say the {what} of cluster {cluster.resource.name}.\n"
            "  found:   nothing\n"
            f"  allowed: a {what} that stands in the program or in its stack file\n"
            f"  change:  {'set aws:region' if what == 'region' else 'give the cluster a name of its own, name=...'}"
        )
    provider = _provider(estate, cluster.resource)
    allowed = _parsed(provider.get("allowedAccountIds"))
    tags = at(_parsed(provider.get("defaultTags")), "tags")
    named = {
        str(key): str(value)
        for key, value in (cast("Mapping[object, object]", tags).items() if isinstance(tags, Mapping) else ())
        if value in (recording["stack"], recording["project"])
    }
    return Place(
        stack=recording["stack"],
        cluster=cluster.name,
        region=region,
        accounts=tuple(str(one) for one in cast("list[object]", allowed if isinstance(allowed, list) else [])),
        own_tags=named if recording["stack"] in named.values() else {},
    )


def _provider(estate: Estate, resource: Resource) -> Mapping[str, object]:
    reference = resource.provider_urn or resource.providers.get("aws", "").rpartition("::")[0]
    found = estate.graph.resources.get(reference)
    return properties(found) if found else {}


def _parsed(value: object) -> object:
    """Return an input of a provider: those that are no text travel as JSON."""
    return json.loads(value) if isinstance(value, str) and value else value


def named_after(resource: Resource, names: Iterable[str], key: str = "name") -> list[str]:
    """Return the names in AWS that can be a resource's: the one it states, else what Pulumi makes of its own name.

    Pulumi appends a dash and seven hex digits, the provider 26 digits to a prefix.
    """
    stated, prefix = text(resource.inputs, key), text(resource.inputs, f"{key}Prefix")
    if stated:
        return [name for name in names if name == stated]
    pattern = re.escape(prefix) + r"\d{26}" if prefix else re.escape(resource.name) + "-[0-9a-f]{7}"
    return [name for name in names if re.fullmatch(pattern, name)]
