"""Who may call whom over VPC Lattice, decided as IAM does, from the text of the policies alone.

A call passes the service network, the service and the caller's own policies; each of them has to allow it, and a Deny
in any of them ends it (https://docs.aws.amazon.com/vpc-lattice/latest/ug/auth-policies.html). A network or service
whose auth type is NONE asks nothing; one with AWS_IAM and no policy admits nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from preflight.policies import (
    Cause,
    Context,
    Decision,
    Document,
    MalformedError,
    Miss,
    Request,
    Statement,
    decide,
    parse,
    refusal,
)

INVOKE = "vpc-lattice-svcs:Invoke"
AWS_IAM = "AWS_IAM"
NONE = "NONE"

EVERYTHING: Mapping[str, Document | None] = {
    "allow": {"Statement": {"Effect": "Allow", "Action": INVOKE, "Resource": "*"}}
}
"""The policies of somebody who may call every service, as far as he himself decides that."""

_OWN = "own policies"
_MANAGED: dict[str, Document] = {
    # https://docs.aws.amazon.com/aws-managed-policy/latest/reference/VPCLatticeServicesInvokeAccess.html
    "VPCLatticeServicesInvokeAccess": {"Statement": {"Effect": "Allow", "Action": INVOKE, "Resource": "*"}},
}


@dataclass(frozen=True)
class Caller:
    """Who calls; without a role the call is not signed, and AWS calls it anonymous.

    `tags` are those of the session and the role, None for a value that is not known. `policies` are the role's, by
    name; None for a document that is not known.
    """

    role_arn: str = ""
    tags: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    policies: Mapping[str, Document | None] = field(default_factory=dict[str, "Document | None"])

    @property
    def signed(self) -> bool:
        """Whether anybody is named at all."""
        return bool(self.role_arn)


@dataclass(frozen=True)
class Guard:
    """What a service network or a service asks of its callers.

    `auth` is its auth type, AWS_IAM or NONE; empty if that is not known, and the policy then is not either.
    """

    name: str
    auth: str
    policy: Document | None = None


@dataclass(frozen=True)
class Verdict:
    """The answer to one call: `judge` is the network, the service or the caller's own policies, whoever decided."""

    judge: str
    decision: Decision

    @property
    def word(self) -> str:
        """One word for a table: admitted, refused, or undecided."""
        return "admitted" if self.decision.admitted else "undecided" if self.decision.undecided else "refused"


def judge(caller: Caller, guards: Sequence[Guard], service_arn: str = "arn:*") -> Verdict:
    """Decide whether a call passes all guards, the service's own being the last.

    `service_arn` is the ARN with the path, or a pattern where the service is not made yet. A bad document raises
    nothing: it admits nobody, and the reason says what is wrong.
    """
    asked = [guard for guard in guards if guard.auth != NONE]
    request = _request(caller, service_arn)
    verdicts = [Verdict(guard.name, _guarded(guard, request)) for guard in asked]
    if asked and caller.signed:
        verdicts.insert(-1, Verdict(_OWN, _own(caller, request)))
    if not verdicts:
        return Verdict(guards[-1].name, Decision(True, f"the auth type is {NONE}: nobody asks who calls"))
    caveats = tuple(dict.fromkeys(caveat for verdict in verdicts for caveat in verdict.decision.caveats))
    for ends in (_denies, _refuses, _leaves_open):
        if found := next((verdict for verdict in verdicts if ends(verdict.decision)), None):
            return found
    deciding = verdicts[-1]
    return replace(deciding, decision=replace(deciding.decision, caveats=caveats))


def _denies(decision: Decision) -> bool:
    return decision.cause is Cause.DENIED


def _refuses(decision: Decision) -> bool:
    return not decision.admitted and not decision.undecided


def _leaves_open(decision: Decision) -> bool:
    return not decision.admitted


def _request(caller: Caller, service_arn: str) -> Request:
    known: Context = {"aws:PrincipalType": ("Anonymous",)}
    names: tuple[str, ...] = ("an unsigned call",)
    absent: tuple[str, ...] = ("aws:principal", "aws:requesttag/", "aws:tagkeys", "aws:userid", "aws:username")
    if caller.signed:
        partition, account = caller.role_arn.split(":")[1:5:3]
        names = (caller.role_arn, account, f"arn:{partition}:iam::{account}:root")
        absent = ("aws:principaltag/", "aws:requesttag/", "aws:tagkeys", "aws:username")
        known = {
            "aws:PrincipalArn": (caller.role_arn,),
            "aws:PrincipalAccount": (account,),
            "aws:PrincipalType": ("AssumedRole",),
            **{f"aws:PrincipalTag/{key}": None if value is None else (value,) for key, value in caller.tags.items()},
        }
    # Where the call comes from, its path and its method are known only when it is made.
    unknown = ("aws:", "vpc-lattice-svcs:")
    return Request(INVOKE, known, "AWS", names, service_arn, absent, unknown, one_of_many="*" in service_arn)


def _guarded(guard: Guard, request: Request) -> Decision:
    if not guard.auth:
        return Decision(False, "its auth type and policy are in none of these stacks", undecided=True)
    if guard.policy is None:
        return refusal(Miss(Cause.NO_ALLOW, f"it wants {AWS_IAM} and has no auth policy, so it admits nobody"))
    try:
        return decide(parse(guard.policy, trust=True, resources=True), request)
    except MalformedError as error:
        return refusal(Miss(Cause.MALFORMED, f"AWS would refuse this auth policy: {error}"))


def _own(caller: Caller, request: Request) -> Decision:
    """Decide by the caller's own policies; one whose text is not known leaves open what the others do not allow."""
    statements: list[Statement] = []
    unread: list[str] = []
    for name, document in caller.policies.items():
        text = document if document is not None else _MANAGED.get(name.rpartition("/")[2])
        try:
            statements += parse(text, f"{name}, ", trust=False) if text is not None else ()
        except MalformedError as error:
            return refusal(Miss(Cause.MALFORMED, f"IAM would refuse this policy: {error}"))
        unread += [name] if text is None else []
    found = decide(statements, replace(request, kind="", names=()))
    if not unread or found.cause is Cause.DENIED:
        return found
    caveat = f"the text of {', '.join(unread)} is in none of these stacks"
    if found.admitted:
        return replace(found, caveats=(*found.caveats, caveat))
    return Decision(False, f"{found.reason}; {caveat}", undecided=True)
