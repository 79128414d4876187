"""What goes wrong once, and what brings the stack back. Each scenario says which requirement it found broken."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from .doubles.aws import import_id
from .doubles.provider import Fault
from .doubles.wire import name_of, type_of
from .doubles.world import World
from .harness import Deployment, Lab, Outcome

When = Literal["before", "after"]
THROTTLED = "ThrottlingException: Rate exceeded"
NOT_YET_VISIBLE = "InvalidParameterException: The role with name is invalid or cannot be assumed: it does not exist yet"

NEVER_IMPORTED = frozenset(
    {
        "aws:acm/certificateValidation:CertificateValidation",
        "aws:acmpca/certificateAuthorityCertificate:CertificateAuthorityCertificate",
        "aws:acmpca/permission:Permission",
    }
)
"""Types without import in the AWS provider: the update makes them again."""


@dataclass(frozen=True)
class Target:
    """A resource that something happens to."""

    type: str
    name: str
    stays: bool = False
    """Whether it stays on purpose when the stack goes."""

    @property
    def label(self) -> str:
        """As outcomes name it."""
        return f"{self.type.split(':')[-1]} {self.name}"


def targets(settled: Deployment) -> list[Target]:
    """Every resource of the stack that a provider makes."""
    return [
        Target(each["type"], name_of(each["urn"]), each.get("retainOnDelete", False))
        for each in settled.state
        if each.get("custom") and not each["type"].startswith("pulumi:")
    ]


def creation_fails(lab: Lab, settled: Deployment, target: Target, folder: Path, *, message: str) -> Iterator[str]:
    """The first update fails at one resource, the second finishes, a third would do nothing."""
    deployment = settled.again(folder)
    lab.cloud.faults = [Fault("create", target.type, target.name, message)]
    first = deployment.up()
    if message not in first.error or target.name not in first.error:
        yield "the failed update has to name the resource and say what AWS said"
    yield from _converges(deployment, settled)


def deletion_fails(lab: Lab, settled: Deployment, target: Target, folder: Path, *, message: str) -> Iterator[str]:
    """The first destroy fails at one resource, the second finishes."""
    deployment = settled.branch(folder)
    lab.cloud.faults = [Fault("delete", target.type, target.name, message)]
    first = deployment.destroy()
    if message not in first.error or target.name not in first.error:
        yield "the failed destroy has to name the resource and say what AWS said"
    yield from _comes_down(deployment, settled)


def killed_while_creating(lab: Lab, settled: Deployment, target: Target, folder: Path, *, when: When) -> Iterator[str]:
    """The engine's process ends in the middle of a creation; the documented recovery brings the stack up."""
    deployment = settled.again(folder)
    deployment.keep_checkpoints()
    fault = Fault("create", target.type, target.name, kill=when)
    lab.cloud.faults = [fault]
    first = deployment.up()
    if not fault.played:
        yield f"nothing else may go wrong before: {first.error[-2000:]}"
        return
    recover(deployment)
    yield from _converges(deployment, settled)


def killed_while_deleting(lab: Lab, settled: Deployment, target: Target, folder: Path, *, when: When) -> Iterator[str]:
    """The engine's process ends in the middle of a deletion; the documented recovery lets the destroy finish."""
    deployment = settled.branch(folder)
    deployment.keep_checkpoints()
    fault = Fault("delete", target.type, target.name, kill=when)
    lab.cloud.faults = [fault]
    first = deployment.destroy()
    if not fault.played:
        yield f"nothing else may go wrong before: {first.error[-2000:]}"
        return
    recover(deployment)
    deployment.world.late.clear()
    yield from _comes_down(deployment, settled)


def every_creation_fails(lab: Lab, settled: Deployment, folder: Path) -> Iterator[str]:
    """Every creation fails once, so that it takes as many updates as resources wait for one another."""
    deployment = settled.again(folder)
    yield from _again_and_again(lab, settled, "create", partial(deployment.up, continue_on_error=True))
    yield from _converges(deployment, settled)


def every_deletion_fails(lab: Lab, settled: Deployment, folder: Path) -> Iterator[str]:
    """Every deletion fails once, so that it takes as many destroys as resources wait for one another."""
    deployment = settled.branch(folder)
    yield from _again_and_again(lab, settled, "delete", partial(deployment.destroy, continue_on_error=True))
    yield from _comes_down(deployment, settled)


def _again_and_again(
    lab: Lab, settled: Deployment, operation: Literal["create", "delete"], command: Callable[[], Outcome]
) -> Iterator[str]:
    victims = [each for each in targets(settled) if operation == "create" or not each.stays]
    faults = [Fault(operation, each.type, each.name, THROTTLED) for each in victims]
    lab.cloud.faults = faults
    played = 0
    while (error := command().error) and played < sum(each.played for each in faults):
        played = sum(each.played for each in faults)
    if error:
        yield f"nothing else may go wrong: {error[-2000:]}"
    if missed := [each.name for each in faults if not each.played]:
        yield f"every {operation} has to happen, these did not: {missed}"


def _converges(deployment: Deployment, settled: Deployment) -> Iterator[str]:
    second = deployment.up()
    if second.error:
        yield f"the second update has to finish: {second.error[-2000:]}"
        return
    if contents(deployment.world) != contents(settled.world):
        yield f"nothing may be double or lost: {_difference(deployment.world, settled.world)}"
    urns = [sorted(each["urn"] for each in one.state) for one in (deployment, settled)]
    if urns[0] != urns[1]:
        yield f"the state has to hold the same resources: {set(urns[0]) ^ set(urns[1])}"
    third = deployment.preview()
    if third.error or third.changes:
        yield f"afterwards there has to be nothing left to do: {third.changes} {third.error}"


def _comes_down(deployment: Deployment, settled: Deployment) -> Iterator[str]:
    second = deployment.destroy()
    if second.error:
        yield f"the second destroy has to finish: {second.error[-2000:]}"
    beside = deployment.world.beside(settled.kept)
    if left := [each for each in deployment.leftovers if each in beside]:
        yield f"nothing may be left: {left}"


def contents(world: World) -> Counter[str]:
    """What is there, without ids and made-up names."""
    objects = [each for kube in world.kubes.values() for each in kube.objects.values()]
    return Counter(
        [f"{each.type} by {re.sub('[0-9a-f]{7,}', '', each.made_by)}" for each in world.things.values()]
        + [f"{each.type} {each.namespace}/{each.name}" for each in objects]
    )


def _difference(world: World, wanted: World) -> str:
    more, less = contents(world) - contents(wanted), contents(wanted) - contents(world)
    return f"too many {dict(more)}, too few {dict(less)}"


def recover(deployment: Deployment) -> None:
    """What docs/recovery.md says to do after a killed process."""
    attributes = deployment.checkpoint_file.with_name(f"{deployment.checkpoint_file.name}.attrs")
    if attributes.stat().st_size == 0:
        # Killed between the state and the note beside it: `failed to load checkpoint: EOF`.
        attributes.unlink()
    deployment.command("cancel", "--yes")
    made = {urn: found for urn in _interrupted(deployment) if (found := _made_for(deployment, urn))}
    deployment.refresh(clear_pending_creates=True)
    if not made:
        return
    file = deployment.folder / "import.json"
    deployment.preview(import_file=str(file))
    listing = json.loads(file.read_text())
    by_name = {(type_of(urn), name_of(urn)): identity for urn, identity in made.items()}
    listing["resources"] = [
        {**each, "id": by_name[key]}
        for each in listing["resources"]
        # Where two resources share a name, the file makes up another for the generated code.
        if (key := (each["type"], each.get("logicalName", each["name"]))) in by_name
    ]
    file.write_text(json.dumps(listing))
    deployment.command(
        "import",
        "--file",
        str(file),
        "--yes",
        "--skip-preview",
        "--protect=false",
        "--generate-code=false",
    )


def _interrupted(deployment: Deployment) -> list[str]:
    """The URNs of the pending creates."""
    return [each["resource"]["urn"] for each in deployment.pending if each["type"] == "creating"]


def _made_for(deployment: Deployment, urn: str) -> str | None:
    """The id of what the cloud made for a pending create, found as a person would: by type and contents."""
    if type_of(urn) in NEVER_IMPORTED:
        return None
    known = {each.get("id") for each in deployment.state if each["type"] == type_of(urn)}
    wanted = next(each["resource"] for each in deployment.pending if each["resource"]["urn"] == urn).get("inputs", {})
    wanted.pop("__defaults", None)
    world = deployment.world
    for thing in world.of_type(type_of(urn)):
        if thing.made_by == "pulumi" and thing.id not in known and thing.inputs == wanted:
            return import_id(thing)
    metadata = wanted.get("metadata", {})
    for kube in world.kubes.values():
        for item in kube.of_type(type_of(urn)):
            # By name: what is in a Secret stands encrypted in the state.
            named = (metadata.get("namespace", item.namespace), metadata.get("name")) == (item.namespace, item.name)
            if item.id not in known and (named or item.inputs == wanted):
                return item.id
    return None


Scenario = Callable[[Lab, Deployment, Target, Path], Iterator[str]]
SCENARIOS: dict[str, Scenario] = {
    "creation fails once": partial(creation_fails, message=THROTTLED),
    "deletion fails once": partial(deletion_fails, message=THROTTLED),
    "killed before it is made": partial(killed_while_creating, when="before"),
    "killed after it is made": partial(killed_while_creating, when="after"),
    "killed before it is deleted": partial(killed_while_deleting, when="before"),
    "killed after it is deleted": partial(killed_while_deleting, when="after"),
}
"""What the sweep does to every resource."""
AT_ONCE: dict[str, Callable[[Lab, Deployment, Path], Iterator[str]]] = {
    "every creation fails once": every_creation_fails,
    "every deletion fails once": every_deletion_fails,
}
"""What it does to all of them at once."""
