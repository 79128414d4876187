"""A recording as it would be after an edit of the program: what a person is told to do, done to a copy."""

import copy
from typing import cast

from preflight.identities import ANNOTATION, Identity, Way
from preflight.program import RecordedResource, Recording
from preflight.workloads import ADDON, SERVICE_ACCOUNT, at, text

ASSOCIATION = "aws:eks/podIdentityAssociation:PodIdentityAssociation"


class Draft:
    """A copy of a recording, open to edits. Each says which resources it changes, by their URNs."""

    def __init__(self, recording: Recording) -> None:
        """Copy a recording."""
        self.recording = copy.deepcopy(recording)
        self._by_urn = {one["urn"]: one for one in self.recording["resources"]}

    def freeze(self) -> Recording:
        """Return it as it is now."""
        return copy.deepcopy(self.recording)

    def put(self, urn: str, value: object, *path: str) -> None:
        """Set a property; mappings on the way are made."""
        for side in (self._by_urn[urn]["inputs"], self._by_urn[urn]["outputs"]):
            *way, last = path
            target = side
            for key in way:
                target = cast("dict[str, object]", target.setdefault(key, {}))
            target[last] = value

    def add(self, type_: str, name: str, inputs: dict[str, object], *, like: str = "", arn: str = "") -> str:
        """Add a resource, below the component of another one, else below the stack; return its URN."""
        model = self._by_urn[like] if like else self.recording["resources"][0]
        parent = model["parent"] if like else ""
        chain = f"{parent.split('::')[2]}$" if parent else ""
        urn = f"{'::'.join(model['urn'].split('::')[:2])}::{chain}{type_}::{name}"
        made: RecordedResource = {
            **copy.deepcopy(model),
            "urn": urn,
            "type": type_,
            "name": name,
            "parent": parent,
            "custom": True,
            "inputs": inputs,
            "outputs": {**inputs, "arn": arn} if arn else dict(inputs),
            "id": name,
            "dependencies": [],
            "propertyDependencies": {},
            "aliases": [],
            "source": None,
        }
        self.recording["resources"].append(made)
        self._by_urn[urn] = made
        return urn

    def annotate(self, identity: Identity, arn: str) -> set[str]:
        """Put a role onto an account, by whatever makes it."""
        for maker in identity.made_by[:1]:
            if maker.type == SERVICE_ACCOUNT:
                path: tuple[str, ...] = ("metadata", "annotations", ANNOTATION)
            elif maker.type == ADDON:
                path = ("serviceAccountRoleArn",)
            else:
                of_chart = next(one.values_path for one in identity.workloads if one.resource is maker)
                path = ("values", *of_chart, "annotations", ANNOTATION)
            self.put(maker.urn, arn, *path)
        return {maker.urn for maker in identity.made_by[:1]}

    def unwire(self, way: Way, identity: Identity) -> set[str]:
        """Take a role off an account: remove the association, or the annotation, or what an add-on has of either."""
        if way.wire.type == ASSOCIATION:
            return self._remove(way.wire.urn)
        for side in (self._by_urn[way.wire.urn]["inputs"], self._by_urn[way.wire.urn]["outputs"]):
            listed = at(side, "podIdentityAssociations")
            if way.mechanism == "IRSA":
                side.pop("serviceAccountRoleArn", None)
                _forget(side, way.role_arn)
            elif isinstance(listed, list):
                bound = cast("list[object]", listed)
                side["podIdentityAssociations"] = [
                    one for one in bound if text(one, "serviceAccount") != identity.account
                ]
        return {way.wire.urn}

    def _remove(self, urn: str) -> set[str]:
        """Remove a resource, also from what waits for it."""
        self.recording["resources"] = [one for one in self.recording["resources"] if one["urn"] != urn]
        waiting = [one for one in self.recording["resources"] if urn in one["dependencies"]]
        for one in waiting:
            one["dependencies"].remove(urn)
        return {urn, *(one["urn"] for one in waiting)}


def _forget(value: object, arn: str) -> None:
    """Remove the annotation with this role, at any depth."""
    if isinstance(value, dict):
        values = cast("dict[str, object]", value)
        if values.get(ANNOTATION) == arn:
            del values[ANNOTATION]
        for inner in values.values():
            _forget(inner, arn)
