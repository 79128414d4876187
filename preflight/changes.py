"""What differs between two values, by dotted path. Knows nothing of resources."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from preflight.graph import Secret, reveal


class Absent:
    """A value that is not there. There is one, `ABSENT`."""

    def __repr__(self) -> str:
        """Read as what it is."""
        return "absent"


ABSENT: Final = Absent()


@dataclass(frozen=True, kw_only=True)
class Change:
    """One difference; a list of plain values is a set of which one item came or went."""

    path: str
    """As Pulumi writes it: `spec.template.spec.containers[web].image`, `tags["kubernetes.io/role/elb"]`."""
    before: object
    after: object


# What tells the items of a list apart, in the order of preference.
_IDENTITIES = ("name", "key", "id", "sid", "Sid", "containerPort", "host", "path")


def changes(before: object, after: object, path: str = "") -> Iterator[Change]:
    """Yield what differs, sorted by path. Secrets are compared and stay wrapped; text that is JSON is entered."""
    if isinstance(before, Secret) or isinstance(after, Secret):
        if reveal(before) != reveal(after) or type(before) is not type(after):
            yield Change(path=path, before=before, after=after)
        return
    parsed = document(before), document(after)
    if isinstance(before, str) and isinstance(after, str) and ABSENT not in parsed:
        before, after = parsed
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        yield from _of_mappings(cast("Mapping[str, object]", before), cast("Mapping[str, object]", after), path)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _of_lists(cast("list[object]", before), cast("list[object]", after), path)
    elif before != after or isinstance(before, bool) != isinstance(after, bool):
        yield Change(path=path, before=before, after=after)


def document(value: object) -> object:
    """Return text that is a JSON object or list as that; anything else as `ABSENT`."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return ABSENT
    return ABSENT


def _of_mappings(before: Mapping[str, object], after: Mapping[str, object], path: str) -> Iterator[Change]:
    for key in sorted(before.keys() | after.keys()):
        inner = join(path, key)
        # None and absent are the same to Pulumi: neither reaches the provider.
        old, new = before.get(key), after.get(key)
        if old is None or new is None:
            if old is not new:
                yield Change(path=inner, before=ABSENT if old is None else old, after=ABSENT if new is None else new)
        else:
            yield from changes(old, new, inner)


def join(path: str, key: str) -> str:
    """Return the path of a key below another path."""
    if not key.replace("_", "").replace("-", "").isalnum():
        return f'{path}["{key}"]'
    return f"{path}.{key}" if path else key


def _of_lists(before: Sequence[object], after: Sequence[object], path: str) -> Iterator[Change]:
    if before == after:
        return
    old, new = Counter(map(_canonical, before)), Counter(map(_canonical, after))
    if old == new:
        # AWS takes most lists as sets, and those of ids always; of the others only the program's author can tell.
        if not path.endswith(("Ids", "Arns", "Lists")):
            yield Change(path=path, before=list(before), after=list(after))
        return
    if identity := _identity(before, after):
        named = (
            {str(_get(item, identity)): item for item in before},
            {str(_get(item, identity)): item for item in after},
        )
        for name in sorted(named[0].keys() | named[1].keys()):
            sides = [one.get(name, ABSENT) for one in named]
            yield from changes(sides[0], sides[1], f"{path}[{name}]")
        return
    gone = [item for item in before if _take(old - new, _canonical(item))]
    come = [item for item in after if _take(new - old, _canonical(item))]
    if all(isinstance(item, dict | list) for item in (*gone, *come)) and len(gone) == len(come):
        for item, other in zip(gone, come, strict=True):
            yield from changes(item, other, f"{path}[{before.index(item)}]")
        return
    for item in sorted(gone, key=_canonical):
        yield Change(path=path, before=item, after=ABSENT)
    for item in sorted(come, key=_canonical):
        yield Change(path=path, before=ABSENT, after=item)


def _take(counts: Counter[str], key: str) -> bool:
    return counts[key] > 0


def _identity(before: Sequence[object], after: Sequence[object]) -> str | None:
    """Return the key whose value names every item of both lists, each once per list."""
    for key in _IDENTITIES:
        sides = [[_get(item, key) for item in items] for items in (before, after)]
        if all(
            side and len(set(map(str, side))) == len(side) and all(isinstance(one, str | int) for one in side)
            for side in sides
        ):
            return key
    return None


def _get(item: object, key: str) -> object:
    return cast("Mapping[str, object]", item).get(key) if isinstance(item, Mapping) else None


def _canonical(value: object) -> str:
    return json.dumps(reveal(value), sort_keys=True, default=repr)
