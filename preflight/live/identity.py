"""A service account's way to its rights, as it is: account, role, OIDC provider, trust policy, policies."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import quote

from preflight.access import PodIdentitySession, WebIdentityToken, may_assume
from preflight.graph import Graph, Resource
from preflight.identities import ANNOTATION, AUDIENCE_ANNOTATION, Identity, Policy, Way
from preflight.live.asking import Account, Answer, UnansweredError, tags
from preflight.live.kubernetes import Api, ClosedError
from preflight.live.place import Place, named_after
from preflight.live.verdict import Status, Verdict
from preflight.policies import MalformedError
from preflight.rights import Right, compared, rights
from preflight.workloads import properties, text

_AUDIENCE = "sts.amazonaws.com"
_TOLD = 4
"""So many rights are named before the rest is only counted."""

_ID = re.compile(r"[a-z]+-[0-9a-f]{17}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9A-F]{32}")
"""Ids and issuers, which a plan makes up."""


@dataclass
class Examined:
    """Where the plan meets the account: what is asked, and how made-up values are called in reality."""

    account: Account
    place: Place
    graph: Graph
    cluster: Answer
    api: Api
    real: dict[str, str] = field(default_factory=dict[str, str])
    """What the plan made up, and what it really is."""

    @property
    def issuer(self) -> str:
        """The URL of the live cluster's issuer; empty for one on an Outpost, which has none."""
        return text(self.cluster, "identity", "oidc", "issuer")

    def translate(self, document: object) -> str:
        """Write a policy of the plan as it should be in the account."""
        written = document if isinstance(document, str) else json.dumps(document)
        for made_up in sorted(self.real, key=len, reverse=True):
            written = written.replace(made_up, self.real[made_up])
        return written


def links(examined: Examined, identity: Identity, way: Way) -> list[Verdict]:
    """Examine the links of one service account, the first first."""
    about = f"{identity.namespace}/{identity.account}"
    role = cast("Resource", way.role)
    found: list[Verdict] = []
    live: Answer | None = None
    try:
        live = _role(examined, role)
    except UnansweredError as unanswered:
        found.append(Verdict(about=about, link="role", status="unknown", text=str(unanswered.gap)))
    else:
        found.append(_role_verdict(about, role, live))
    arn = str(live["Arn"]) if live else ""
    if arn:
        examined.real[way.role_arn] = arn
    steps = [_account(examined, identity, way, about, arn), *found]
    if way.mechanism == "IRSA":
        steps.append(_asked(about, "OIDC provider", lambda: _provider(examined, way, about)))
    if live:
        steps.append(_asked(about, "trust", lambda: _trust(examined, identity, way, about, live)))
        steps.append(_asked(about, "policy", lambda: _policy(examined, way, about, live)))
    return steps


def _asked(about: str, link: str, examine: Callable[[], Verdict]) -> Verdict:
    try:
        return examine()
    except UnansweredError as unanswered:
        return Verdict(about=about, link=link, status="unknown", text=str(unanswered.gap))


def _role(examined: Examined, role: Resource) -> Answer | None:
    """Return the live role of the plan's: by name, and among those of several stacks by the tags."""
    account = examined.account
    names = named_after(role, [str(one["RoleName"]) for one in account.items("iam", "list_roles", "Roles")])
    roles = [account.one("iam", "get_role", "NoSuchEntity", RoleName=name) for name in names]
    there = [cast("Answer", one["Role"]) for one in roles if one]
    own = [one for one in there if examined.place.owns(tags(one.get("Tags")), _stack(role))]
    return next(iter(own or there), None) if own or len(there) == 1 else None


def _stack(resource: Resource) -> str:
    """Return the stack that makes a resource, which may be another one of the same program."""
    return resource.urn.split(":")[2]


def _role_verdict(about: str, role: Resource, live: Answer | None) -> Verdict:
    if live:
        return Verdict(about=about, link="role", status="ok", text=str(live["Arn"]))
    name = text(role.inputs, "name") or f"{role.name}-<seven hex digits>"
    return Verdict(
        about=about,
        link="role",
        status="broken",
        text=f"there is no role {name} of stack {_stack(role)}",
        fix="pulumi refresh, then pulumi up",
    )


def _account(examined: Examined, identity: Identity, way: Way, about: str, role_arn: str) -> Verdict:
    if way.mechanism == "IRSA":
        try:
            return _annotated(examined, identity, about, role_arn)
        except ClosedError as closed:
            return Verdict(about=about, link="account", status="unknown", text=str(closed))
    return _asked(about, "account", lambda: _associated(examined, identity, about, role_arn))


def _annotated(examined: Examined, identity: Identity, about: str, role_arn: str) -> Verdict:
    selector = quote(f"metadata.name={identity.account}")
    listed = examined.api.items(f"/api/v1/serviceaccounts?fieldSelector={selector}")
    by_namespace = {text(one, "metadata", "namespace"): one for one in listed}
    own = by_namespace.get(identity.namespace)
    status: Status = "broken"
    if own is None:
        others = f"; there is {', '.join(f'{one}/{identity.account}' for one in by_namespace)}" if by_namespace else ""
        told, fix = f"there is no service account {about}{others}", "pulumi refresh, then pulumi up"
    else:
        named = text(own, "metadata", "annotations", ANNOTATION)
        annotate = f"kubectl annotate --overwrite serviceaccount {identity.account} --namespace {identity.namespace}"
        fix = f"{annotate} {ANNOTATION}={role_arn or 'ARN'}, and restart its pods"
        if not named:
            told = f"it has no annotation {ANNOTATION}"
        elif role_arn and named != role_arn:
            there = _there(examined.account, named)
            told = f"its annotation names {named}, {there}; the plan's is {role_arn}"
        else:
            status, told, fix = "ok", f"its annotation names {named}", ""
    return Verdict(about=about, link="account", status=status, text=told, fix=fix)


def _there(account: Account, role_arn: str) -> str:
    try:
        found = account.one("iam", "get_role", "NoSuchEntity", RoleName=role_arn.rpartition("/")[2])
    except UnansweredError:
        return "another role"
    return "another role" if found and found["Role"]["Arn"] == role_arn else "which does not exist"


def _associated(examined: Examined, identity: Identity, about: str, role_arn: str) -> Verdict:
    name = examined.place.cluster
    listed = examined.account.items(
        "eks",
        "list_pod_identity_associations",
        "associations",
        clusterName=name,
        namespace=identity.namespace,
        serviceAccount=identity.account,
    )
    named = ""
    for one in listed:
        found = examined.account.one(
            "eks", "describe_pod_identity_association", clusterName=name, associationId=one["associationId"]
        )
        named = str((found or {})["association"]["roleArn"])
    if not named:
        return Verdict(
            about=about,
            link="account",
            status="broken",
            text=f"no Pod Identity association of {name} is for it",
            fix="pulumi refresh, then pulumi up",
        )
    fine = not role_arn or named == role_arn
    told = "" if fine else f", {_there(examined.account, named)}; the plan's is {role_arn}"
    return Verdict(
        about=about,
        link="account",
        status="ok" if fine else "broken",
        text=f"its Pod Identity association names {named}{told}",
        fix="" if fine else "pulumi refresh, then pulumi up",
    )


def _provider(examined: Examined, way: Way, about: str) -> Verdict:
    account, issuer = examined.account, examined.issuer
    host = issuer.removeprefix("https://")
    listed = account.items("iam", "list_open_id_connect_providers", "OpenIDConnectProviderList")
    arns = [str(one["Arn"]) for one in listed]
    arn = next((one for one in arns if one.partition(":oidc-provider/")[2] == host), "")
    if not arn:
        others = [one.partition(":oidc-provider/")[2] for one in arns if f"oidc.eks.{account.region}." in one]
        there = f"; there is {', '.join(others)}" if others else ""
        return Verdict(
            about=about,
            link="OIDC provider",
            status="broken",
            text=f"none is registered for the cluster's issuer {host}{there}",
            fix="pulumi refresh, then pulumi up",
        )
    found = account.one("iam", "get_open_id_connect_provider", OpenIDConnectProviderArn=arn) or {}
    audience = text(properties(way.wire), "metadata", "annotations", AUDIENCE_ANNOTATION) or _AUDIENCE
    audiences = [str(one) for one in found.get("ClientIDList", ())]
    if audience not in audiences:
        return Verdict(
            about=about,
            link="OIDC provider",
            status="broken",
            text=f"it accepts {', '.join(audiences) or 'no audience'}, and the tokens are for {audience}",
            fix="aws iam add-client-id-to-open-id-connect-provider "
            f"--open-id-connect-provider-arn {arn} --client-id {audience}",
        )
    prints = ", ".join(str(one) for one in found.get("ThumbprintList", ())) or "none"
    told = f"registered for {host}, audience {audience}, thumbprint {prints}"
    return Verdict(about=about, link="OIDC provider", status="ok", text=told)


def _trust(examined: Examined, identity: Identity, way: Way, about: str, live: Answer) -> Verdict:
    document = cast("Mapping[str, object]", live["AssumeRolePolicyDocument"])
    subject = f"system:serviceaccount:{identity.namespace}:{identity.account}"
    if way.mechanism == "IRSA":
        caller = WebIdentityToken(examined.issuer, subject)
    else:
        caller = PodIdentitySession(str(examined.cluster["arn"]), identity.namespace, identity.account)
    # The provider has a link of its own; here it is taken for granted.
    decision = may_assume(document, caller, None, str(live["Arn"]))
    if not decision.admitted and not decision.undecided:
        fix = "pulumi refresh, then pulumi up"
        return Verdict(about=about, link="trust", status="broken", text=decision.reason, fix=fix)
    planned = examined.translate(text(properties(cast("Resource", way.role)), "assumeRolePolicy"))
    try:
        gained, _ = compared(rights(planned), rights(document))
    except MalformedError:  # the plan's is not known before the update
        gained = []
    if gained:
        return Verdict(
            about=about, link="trust", status="drift", text=f"beyond the plan it {_told(gained)}", fix="pulumi up"
        )
    return Verdict(about=about, link="trust", status="ok", text=decision.reason)


def _policy(examined: Examined, way: Way, about: str, live: Answer) -> Verdict:
    account, name = examined.account, str(live["RoleName"])
    attached = account.items("iam", "list_attached_role_policies", "AttachedPolicies", RoleName=name)
    inline = [str(one) for one in account.items("iam", "list_role_policies", "PolicyNames", RoleName=name)]
    by_name = {str(one["PolicyName"]): str(one["PolicyArn"]) for one in attached}
    matched = {one.name: _named(one, [*by_name, *inline]) for one in way.policies}
    missing = [policy for policy, found in matched.items() if not found]
    if missing:
        there = ", ".join([*by_name, *inline]) or "nothing"
        return Verdict(
            about=about,
            link="policy",
            status="broken",
            text=f"{', '.join(missing)} is not attached to {name}; it has {there}",
            fix="pulumi refresh, then pulumi up",
        )
    known = {found[0] for found in matched.values() if found}
    extra = [one for one in (*by_name, *inline) if one not in known]
    planned: set[Right] = set()
    real: set[Right] = set()
    try:
        for policy in way.policies:
            if policy.document is not None:
                planned |= rights(examined.translate(policy.document))
                real |= rights(_document(account, name, matched[policy.name][0], by_name))
    except MalformedError as problem:
        return Verdict(about=about, link="policy", status="unknown", text=f"it cannot be compared: {problem}")
    gained, lost = compared(planned, real)
    lost = [right for right in lost if not _made_up(right, real)]
    gained = [right for right in gained if not _made_up(right, planned)]
    if lost:
        return Verdict(
            about=about,
            link="policy",
            status="broken",
            text=f"older or narrower than the plan's; by the plan it {_told(lost)}",
            fix="pulumi refresh, then pulumi up",
        )
    if gained or extra:
        also = [f"beyond the plan it {_told(gained)}"] if gained else []
        also += [f"beyond the plan it has {', '.join(extra)}"] if extra else []
        return Verdict(about=about, link="policy", status="drift", text="; ".join(also), fix="pulumi up")
    told = ", ".join(matched) or "the plan attaches none"
    return Verdict(about=about, link="policy", status="ok", text=told)


def _named(policy: Policy, names: Sequence[str]) -> list[str]:
    if policy.resource is None or policy.resource.type == "aws:iam/role:Role":
        return [name for name in names if name == policy.name.rpartition("/")[2]]
    return named_after(policy.resource, names)


def _document(account: Account, role: str, policy: str, attached: Mapping[str, str]) -> Mapping[str, object]:
    if policy in attached:
        arn = attached[policy]
        head = account.one("iam", "get_policy", PolicyArn=arn) or {}
        version = head["Policy"]["DefaultVersionId"]
        answer = account.one("iam", "get_policy_version", PolicyArn=arn, VersionId=version) or {}
        return answer["PolicyVersion"]["Document"]
    return (account.one("iam", "get_role_policy", RoleName=role, PolicyName=policy) or {})["PolicyDocument"]


def _made_up(right: Right, others: set[Right]) -> bool:
    """Whether a right differs from one on the other side only in ids, of which the plan's are made up."""

    def blurred(one: Right) -> tuple[object, ...]:
        where = tuple(_ID.sub("?", condition) for condition in one.conditions)
        return one.deny, one.action.lower(), _ID.sub("?", one.resource), where

    return bool(_ID.search(right.resource + "".join(right.conditions))) and blurred(right) in map(blurred, others)


def _told(some: Sequence[Right]) -> str:
    more = len(some) - _TOLD
    return "; ".join(map(str, some[:_TOLD])) + (f"; and {more} more" if more > 0 else "")


def real_values(graph: Graph, cluster: Resource, live: Answer, account: str) -> Iterator[tuple[str, str]]:
    """Yield what the plan made up of a cluster's surroundings, and what it really is."""
    issuer = text(live, "identity", "oidc", "issuer")
    values = properties(cluster)
    for path in (("oidcProviderUrl",), ("core", "oidcProvider", "url"), ("identities", "0", "oidcs", "0", "issuer")):
        if made_up := text(values, *path):
            yield made_up.removeprefix("https://"), issuer.removeprefix("https://")
    for vpc in graph.of_type("aws:ec2/vpc:Vpc"):
        yield vpc.id, str(live["resourcesVpcConfig"]["vpcId"])
    for one in graph.of_type("aws:iam/role:Role", "aws:iam/policy:Policy"):
        if made_up := text(properties(one), "arn"):
            yield f":{made_up.split(':')[4]}:", f":{account}:"
            return


def wired(identity: Identity) -> Way | None:
    """Return the way by which an identity is wired to a role that the program makes; None where there is none."""
    way = identity.chosen
    wire = way is not None and way.mechanism in ("IRSA", "Pod Identity") and way.role is not None
    return way if wire else None


def of_release(identities: Sequence[Identity], release: Resource) -> Identity | None:
    """Return the wired identity that a release runs under; None where it has none."""
    for one in identities:
        if wired(one) and any(workload.resource is release for workload in one.workloads):
            return one
    return None
