"""What the doctor says about one link of a chain."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["ok", "broken", "follows", "drift", "later", "unknown"]
"""`follows` is a symptom of an earlier link; `drift` differs from the plan without breaking it; `later` is for after
`pulumi up`; `unknown` could not be asked."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One link, examined."""

    about: str
    """Whose link it is: an Ingress, a service account, the account."""
    link: str
    status: Status
    text: str
    """What was seen."""
    fix: str = ""
    symptom: bool = False
    """Whether it breaks when an earlier link does."""


def explained(chain: Sequence[Verdict]) -> list[Verdict]:
    """Name the first broken link as the cause of the symptoms behind it."""
    cause = next((one for one in chain if one.status == "broken"), None)
    return [
        replace(one, status="follows", text=f"{one.text}, because of {cause.link}{_whose(one, cause)}", fix="")
        if cause and one is not cause and one.symptom and one.status == "broken"
        else one
        for one in chain
    ]


def _whose(one: Verdict, cause: Verdict) -> str:
    return "" if one.about == cause.about else f" of {cause.about}"
