"""Who may become whom: the decision that AWS STS makes, taken from the text of the policies alone.

`may_assume` evaluates a role's trust policy for a caller that is known by construction: the projected token of a pod
(IRSA), a Pod Identity session, another role, or an AWS service. `allows` evaluates the policies of an identity.
How statements and conditions are read stands in `preflight.policies`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

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

POD_IDENTITY_SERVICE = "pods.eks.amazonaws.com"
"""The principal behind every EKS Pod Identity session."""

WEB_IDENTITY = "sts:AssumeRoleWithWebIdentity"
ASSUME_ROLE = "sts:AssumeRole"
TAG_SESSION = "sts:TagSession"


@dataclass(frozen=True)
class OidcProvider:
    """An IAM OIDC provider: its ARN, its URL (with or without https://) and the audiences that it accepts."""

    arn: str
    url: str
    client_ids: tuple[str, ...]


@dataclass(frozen=True)
class WebIdentityToken:
    """The token that EKS projects into a pod; `issuer` is a URL, `subject` system:serviceaccount:NAMESPACE:NAME.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
    """

    issuer: str
    subject: str
    audience: str = "sts.amazonaws.com"

    @property
    def host(self) -> str:
        """The issuer as IAM writes it in provider ARNs and in condition keys."""
        return self.issuer.removeprefix("https://")


@dataclass(frozen=True)
class PodIdentitySession:
    """What EKS Pod Identity asks of STS for a service account; `tagged=False` where the association disables tags.

    https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html and pod-id-abac.html
    """

    cluster_arn: str
    namespace: str
    service_account: str
    tagged: bool = True

    @property
    def tags(self) -> dict[str, str | None]:
        """The tags of the session, all of them transitive; None for what is known only once the pod exists."""
        tags: dict[str, str | None] = {
            "eks-cluster-arn": self.cluster_arn,
            "eks-cluster-name": self.cluster_arn.rpartition("/")[2],
            "kubernetes-namespace": self.namespace,
            "kubernetes-service-account": self.service_account,
            "kubernetes-pod-name": None,
            "kubernetes-pod-uid": None,
        }
        return tags if self.tagged else {}


@dataclass(frozen=True)
class RoleSession:
    """A session of another role that assumes this one, with the external id and the session tags that it brings."""

    role_arn: str
    external_id: str | None = None
    tags: Mapping[str, str | None] = field(default_factory=dict[str, str | None])


@dataclass(frozen=True)
class ServiceCall:
    """An AWS service that assumes a role of its own accord, such as ec2.amazonaws.com for an instance profile."""

    principal: str


Caller: TypeAlias = WebIdentityToken | PodIdentitySession | RoleSession | ServiceCall


def may_assume(
    trust: Document, caller: Caller, providers: Sequence[OidcProvider] | None = None, role_arn: str = ""
) -> Decision:
    """Decide whether `trust`, the trust policy of `role_arn`, admits `caller`.

    `providers` are the registered OIDC providers; None means that they are not known: the right one is then taken for
    granted, and a caveat says so. Without `role_arn`, accounts are not compared.
    A bad document raises nothing: IAM would refuse it, so nobody is admitted, and the reason says what is wrong.
    """
    try:
        statements = parse(trust, trust=True)
    except MalformedError as error:
        return refusal(Miss(Cause.MALFORMED, f"IAM would refuse this trust policy: {error}"))
    match caller:
        case WebIdentityToken():
            caveats: tuple[str, ...] = ()
            if providers is None:
                named = [arn for statement in statements for arn in statement.principal.get("Federated", ())]
                own = [a for a in named if a.endswith(f":oidc-provider/{caller.host}") and _together(a, role_arn)]
                found = OidcProvider(next(iter(own), f"oidc-provider/{caller.host}"), caller.issuer, (caller.audience,))
                caveats = (f"taken for granted: an OIDC provider for {caller.host} that accepts {caller.audience}",)
            else:
                found = _registered(caller, providers, role_arn)
            if isinstance(found, Miss):
                return refusal(found)
            claims: Context = {f"{caller.host}:sub": (caller.subject,), f"{caller.host}:aud": (caller.audience,)}
            decision = decide(statements, _request(WEB_IDENTITY, "Federated", (found.arn,), claims))
            return replace(decision, caveats=caveats + decision.caveats)
        case PodIdentitySession():
            source = {"aws:SourceArn": (caller.cluster_arn,), "aws:SourceAccount": (_account(caller.cluster_arn)[1],)}
            return _assume_role(statements, "Service", (POD_IDENTITY_SERVICE,), source, caller.tags)
        case ServiceCall():
            return _assume_role(statements, "Service", (caller.principal,), {}, {})
        case RoleSession():
            partition, account = _account(caller.role_arn)
            names = (caller.role_arn, account, f"arn:{partition}:iam::{account}:root")
            context: Context = {
                "aws:PrincipalArn": (caller.role_arn,),
                "aws:PrincipalAccount": (account,),
                "aws:PrincipalType": ("AssumedRole",),
                "sts:ExternalId": () if caller.external_id is None else (caller.external_id,),
            }
            decision = _assume_role(statements, "AWS", names, context, caller.tags)
            abroad = decision.admitted and not _together(caller.role_arn, role_arn)
            return replace(decision, delegated=decision.delegated or abroad)


def allows(
    policies: Mapping[str, Document],
    action: str,
    resource: str = "*",
    context: Mapping[str, str | Sequence[str]] | None = None,
) -> Decision:
    """Decide whether an identity with these `policies` (by name) may do `action` on `resource`.

    `context` holds the condition keys of the request; an empty sequence says that a key is absent. A key that it does
    not mention is not known, so a statement that asks for it stays undecided. Boundaries, session policies, resource
    policies and those of the organisation are not looked at.
    """
    try:
        statements = [s for name, document in policies.items() for s in parse(document, f"{name}, ", trust=False)]
    except MalformedError as error:
        return refusal(Miss(Cause.MALFORMED, f"IAM would refuse this policy: {error}"))
    known = {k: (v,) if isinstance(v, str) else tuple(v) for k, v in (context or {}).items()}
    return decide(statements, Request(action, known, resource=resource))


def _registered(token: WebIdentityToken, providers: Sequence[OidcProvider], role_arn: str) -> OidcProvider | Miss:
    named = [p for p in providers if p.url.removeprefix("https://") == token.host]
    found = next((p for p in named if _together(p.arn, role_arn)), None)
    if found is None:
        registered = ", ".join(p.arn for p in named or providers) or "none"
        text = (
            f"no OIDC provider for the issuer {token.issuer} is registered in the role's account; there is {registered}"
        )
        return Miss(Cause.NO_PROVIDER, text)
    if token.audience not in found.client_ids:
        listed = ", ".join(found.client_ids) or "none"
        text = f"the audiences of {found.arn} lack the token's, {token.audience}; it accepts {listed}"
        return Miss(Cause.AUDIENCE, text)
    return found


def _assume_role(
    statements: Sequence[Statement],
    kind: str,
    names: tuple[str, ...],
    context: Context,
    tags: Mapping[str, str | None],
) -> Decision:
    """Decide sts:AssumeRole, and sts:TagSession with it where the session brings tags: each needs its own Allow."""
    given = {f"aws:RequestTag/{key}": None if value is None else (value,) for key, value in tags.items()}
    keys: Context = {"aws:TagKeys": tuple(tags), "sts:TransitiveTagKeys": tuple(tags)} if tags else {}
    decision, tagging = (
        decide(statements, _request(a, kind, names, {**context, **given, **keys})) for a in (ASSUME_ROLE, TAG_SESSION)
    )
    if not tags or not decision.admitted:
        return decision
    if tagging.admitted:
        caveats = tuple(dict.fromkeys(decision.caveats + tagging.caveats))
        return replace(decision, caveats=caveats, delegated=decision.delegated or tagging.delegated)
    cause = Cause.TAG_SESSION if tagging.cause is Cause.ACTION else tagging.misses[0].cause
    text = f"{TAG_SESSION} is refused, and a session with tags needs it beside {ASSUME_ROLE}: {tagging.reason}"
    return replace(tagging, reason=text, misses=(Miss(cause, text, tagging.statement), *tagging.misses))


def _request(action: str, kind: str, names: tuple[str, ...], context: Context) -> Request:
    # Keys that exist in AWS and that people copy from other trust policies, but that this call never carries.
    absent = ("aws:requesttag/", "aws:tagkeys", "sts:externalid", "sts:transitivetagkeys")
    if kind != "AWS":  # a calling role has tags of its own, which are not known here
        absent += ("aws:principaltag/",)
    if kind != "Service":  # a service may call for a resource of its own
        absent += ("aws:sourcearn", "aws:sourceaccount")
    # The rest of these two families is filled in by AWS with what no policy text tells: address, time, session name.
    return Request(action, context, kind, names, absent=absent, unknown=("aws:", "sts:"))


def _account(arn: str) -> tuple[str, str]:
    """Return the partition and the account of an ARN; empty where it is none."""
    parts = arn.split(":")
    return (parts[1], parts[4]) if len(parts) > 5 else ("", "")


def _together(arn: str, role_arn: str) -> bool:
    """Return whether an ARN is of the role's own account; yes where the role is not given."""
    return not role_arn or _account(arn) == _account(role_arn)
