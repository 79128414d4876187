"""The service account as a value: one plain name that role, account and release all take."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"


def is_label(text: str) -> bool:
    """Whether this is an RFC 1123 label: what a namespace may be called."""
    return re.fullmatch(_LABEL, text) is not None


def is_subdomain(text: str) -> bool:
    """Whether this is an RFC 1123 subdomain: what a service account may be called."""
    return len(text) <= 253 and re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", text) is not None


def is_pattern(text: str) -> bool:
    """Whether this is `namespace/name` with a wildcard, `*` or `?`, in at least one of its two parts."""
    return re.fullmatch(r"[-a-z0-9*?]+/[-a-z0-9.*?]*", text) is not None and re.search(r"[*?]", text) is not None


@dataclass(frozen=True, kw_only=True)
class ServiceAccountRef:
    """A service account by its plain name.

    The role trusts the name and the account carries the role's ARN; since the name is known beforehand there is no
    circle between the two.
    """

    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str) -> ServiceAccountRef:
        """Read `namespace/name`.

        Raises:
            ValueError: there is not exactly one slash, or a part is not an RFC 1123 name.
        """
        namespace, slash, name = text.partition("/")
        if not (slash and is_label(namespace) and is_subdomain(name)):
            raise ValueError(
                f"{text!r} is not namespace/name in RFC 1123 names; write it like kube-system/external-dns"
            )
        return cls(namespace=namespace, name=name)

    @property
    def subject(self) -> str:
        """What the `sub` claim of this account's token says."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"

    def __str__(self) -> str:
        """The account as the stack file writes it."""
        return f"{self.namespace}/{self.name}"
