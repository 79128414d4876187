"""What is really there: an AWS account, and the clusters in it. Ids and contents, no opinion of the engine's."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Set
from dataclasses import dataclass, field

from .wire import Json, at

ACCOUNT = "111122223333"
DEPLOYER = f"arn:aws:iam::{ACCOUNT}:role/deployer"
"""Who runs `pulumi up`."""


class RefusedError(Exception):
    """AWS or Kubernetes says no, in its own words."""


class DoubleError(Exception):
    """The double itself cannot answer: a test that meets this proves nothing, and fails."""


@dataclass
class Thing:
    """One thing in the account."""

    type: str
    """As Pulumi's type token, whoever made it."""
    id: str
    inputs: dict[str, Json]
    outputs: dict[str, Json]
    made_by: str = "pulumi"
    """Or the name of what made it inside the account: `eks`, `aws-load-balancer-controller`."""

    def __str__(self) -> str:
        """For messages."""
        return f"{self.type.split(':')[-1]} {self.id} made by {self.made_by}"


@dataclass
class KubeObject:
    """One object in a cluster, a Helm release included."""

    type: str
    namespace: str
    """Empty where the kind has none."""
    name: str
    inputs: dict[str, Json]
    outputs: dict[str, Json]
    finalizers: list[str] = field(default_factory=list[str])
    injected: list[str] = field(default_factory=list[str])
    """Containers that an admission controller has put into its pods."""

    @property
    def id(self) -> str:
        """As the Kubernetes provider writes it."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass
class Kube:
    """What a cluster holds."""

    cluster_name: str
    endpoint: str
    objects: dict[tuple[str, str, str], KubeObject] = field(default_factory=dict[tuple[str, str, str], KubeObject])
    """By type, namespace and name."""
    definitions: dict[tuple[str, str], bool] = field(default_factory=dict[tuple[str, str], bool])
    """Custom kinds by apiVersion and kind, each with whether it stands in a namespace."""
    writes_endpoints: bool = False
    """Whether the gateway controller has found the kind of DNS records when it started."""

    def of_type(self, object_type: str) -> list[KubeObject]:
        """All objects of a type."""
        return [each for each in self.objects.values() if each.type == object_type]

    def find(self, object_type: str, namespace: str, name: str) -> KubeObject | None:
        """One object."""
        return self.objects.get((object_type, namespace, name))


@dataclass
class World:
    """An AWS account with the clusters in it."""

    region: str
    partition: str = "aws"
    things: dict[tuple[str, str], Thing] = field(default_factory=dict[tuple[str, str], Thing])
    kubes: dict[str, Kube] = field(default_factory=dict[str, Kube])
    """By endpoint."""
    history: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    """What Pulumi did: `create`, `update` or `delete`, type, id."""
    late: list[str] = field(default_factory=list[str])
    """Deletions of things that had already gone with something else: harmless to AWS, and the wrong order."""
    opened: list[str] = field(default_factory=list[str])
    """Services over VPC Lattice that have stood there without asking who calls, if only for a moment."""
    serial: int = 0

    def copy(self) -> World:
        """An independent world of the same contents."""
        return copy.deepcopy(self)

    def new_hex(self, length: int) -> str:
        """Hexadecimal digits that this world has not given out before."""
        self.serial += 1
        return hashlib.sha256(str(self.serial).encode()).hexdigest()[:length]

    def of_type(self, *types: str) -> list[Thing]:
        """All things of these types, oldest first."""
        return [each for each in self.things.values() if each.type in types]

    def find(self, thing_type: str, key: str, value: Json) -> Thing | None:
        """The thing of this type whose id, or output of this name, has this value."""
        if key == "id":
            return self.things.get((thing_type, value))
        return next((each for each in self.of_type(thing_type) if each.outputs.get(key) == value), None)

    def add(self, thing: Thing) -> Thing:
        """Put a thing into the account."""
        self.things[thing.type, thing.id] = thing
        return thing

    def remove(self, thing: Thing) -> None:
        """Take a thing out of the account."""
        del self.things[thing.type, thing.id]

    def pointing(self, thing_type: str, path: str, value: Json) -> Iterator[Thing]:
        """The things of this type that have this value at this path of their inputs."""
        return (each for each in self.of_type(thing_type) if value in at(each.inputs, path))

    def arn(self, service: str, resource: str, *, global_: bool = False) -> str:
        """An ARN in this account."""
        return f"arn:{self.partition}:{service}:{'' if global_ else self.region}:{ACCOUNT}:{resource}"

    @property
    def leftovers(self) -> list[str]:
        """Everything that is there, for a message."""
        return self.beside(frozenset())

    def beside(self, kept: Set[str]) -> list[str]:
        """Everything that is there beside these ids and what is in them."""
        things = [each for each in self.things.values() if not kept & {each.id, each.inputs.get("bucket")}]
        return [str(each) for each in things] + [
            f"{each.type.split(':')[-1]} {each.id} in cluster {kube.cluster_name}"
            for kube in self.kubes.values()
            for each in kube.objects.values()
            if not each.inputs.get("builtin")
        ]
