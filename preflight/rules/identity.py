"""Who may become whom: service accounts, roles, trust policies, attachments, and the charts that run under them."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import cast
from weakref import WeakKeyDictionary

from preflight.access import WebIdentityToken, allows, may_assume
from preflight.graph import UNKNOWN, Graph, Resource, reveal
from preflight.identities import AGENT, ANNOTATION, Identity, Way, table
from preflight.policies import Cause, MalformedError, Statement, parse
from preflight.rules.eks import fields
from preflight.rules.rule import Hit, Rule, Stack, items, mapping, rule, text
from preflight.workloads import RELEASES, SERVICE_ACCOUNT, at, properties

_IRSA = "https://docs.aws.amazon.com/eks/latest/userguide/associate-service-account-role.html"
_IRSA_ERRORS = "https://repost.aws/knowledge-center/eks-troubleshoot-irsa-errors"
_POD_IDENTITY = "https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html"
_CONDITIONS = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html"
_WEBHOOK = "https://github.com/aws/amazon-eks-pod-identity-webhook"

_SUBJECT = "system:serviceaccount:"
_ROLE = "aws:iam/role:Role"
_POLICY = "aws:iam/policy:Policy"


@dataclass(frozen=True)
class _Wires:
    """The identities of a graph, worked out once for all rules."""

    graph: Graph

    @cached_property
    def identities(self) -> list[Identity]:
        return table(self.graph)

    @cached_property
    def wired(self) -> list[tuple[Identity, Way]]:
        """Every wire of every account to a role that trusts it, admitted or not."""
        return [(one, way) for one in self.identities for way in one.ways if way.mechanism in ("Pod Identity", "IRSA")]

    @cached_property
    def unknown_trusts(self) -> list[Resource]:
        """Roles whose trust policy hangs on something that nobody knows here; `trust-undecided` names them."""
        return [role for role in self.graph.of_type(_ROLE) if at(properties(role), "assumeRolePolicy") is UNKNOWN]

    @cached_property
    def trusts(self) -> list[tuple[Resource, Statement]]:
        """Every statement of every role that admits the tokens of a Kubernetes cluster, by exact subject or pattern."""
        return [
            (role, statement)
            for role in self.graph.of_type(_ROLE)
            if role not in self.unknown_trusts
            for statement in _statements(role)
            if any(_is_cluster(arn) for arn in statement.principal.get("Federated", ())) and not statement.deny
        ]


_WIRES: WeakKeyDictionary[Graph, _Wires] = WeakKeyDictionary()


def _wires(stack: Stack) -> _Wires:
    return _of(stack.graph)


def _of(graph: Graph) -> _Wires:
    if graph not in _WIRES:
        _WIRES[graph] = _Wires(graph)
    return _WIRES[graph]


def identities(graph: Graph) -> list[Identity]:
    """The identities of a graph, worked out once for all rules."""
    return _of(graph).identities


def _statements(role: Resource) -> list[Statement]:
    try:
        return parse(text(role, "assumeRolePolicy"), trust=True)
    except MalformedError:
        return []  # `trust-malformed` says so


def _is_cluster(provider_arn: str) -> bool:
    return re.search(r":oidc-provider/oidc[.-]eks\.", provider_arn) is not None


def _wanted(statement: Statement, claim: str) -> tuple[str, ...]:
    """The values that a statement wants of a claim, under whichever operator."""
    return tuple(
        wanted for each in statement.conditions if each.key.lower().endswith(f":{claim}") for wanted in each.wanted
    )


def _refused(rule_id: str, causes: set[Cause], *, title: str, looks_at: str, why: str, source: str, fix: str) -> Rule:
    """A rule for accounts whose declared role refuses them for one kind of reason."""

    @rule(rule_id, title=title, severity="error", looks_at=looks_at, why=why, source=source, fix=fix)
    def refused(stack: Stack) -> Iterator[Hit]:
        for identity, way in _wires(stack).wired:
            if way.mechanism == "IRSA" and _associated(identity):
                continue  # its pods never ask; `two-mechanisms` says so
            if not way.decision.admitted and not way.decision.undecided and way.decision.cause in causes:
                role = way.role.name if way.role else way.role_arn
                yield Hit(
                    resource=way.role if way.role and way.role.urn in stack.graph.resources else way.wire,
                    message=f"The role {role} refuses the pods of {identity}: {way.decision.reason}.",
                    fix=_remedy(identity, way, fix),
                )

    return refused


def _remedy(identity: Identity, way: Way, fix: str) -> str:
    """What to write for one account, where that can be said from its wire."""
    subject = f"{_SUBJECT}{identity.namespace}:{identity.account}"
    wanted = [text for miss in way.decision.misses for text in miss.wanted if text.startswith(_SUBJECT)]
    if way.decision.cause not in (Cause.VALUE, Cause.WILDCARD) or not wanted:
        return fix
    change = f"Write {subject} as subject in the trust policy"
    if way.decision.cause is Cause.WILDCARD:
        return f"{change}, or move the pattern under StringLike."
    other = wanted[0].removeprefix(_SUBJECT).split(":")
    return f"{change}, or give the role to the account {'/'.join(other)}." if len(other) == 2 else f"{change}."


irsa_role_arn = rule(
    "irsa-role-arn",
    title="The role of an account is no role ARN",
    severity="error",
    looks_at="the annotation eks.amazonaws.com/role-arn of accounts, and the roles of associations and add-ons",
    why="EKS passes a malformed ARN over in silence: the pods start without credentials, or with the node's.",
    source=_WEBHOOK,
    fix="Pass the role's arn output; it has the account and the path in it.",
)(
    lambda stack: (
        Hit(
            resource=way.wire,
            message=f"The account {identity} is to take {way.role_arn!r}, which is not arn:<partition>:iam::"
            "<12 digits>:role/<name>.",
            fix="Pass the role's arn output in place of a name or a text of your own.",
        )
        for identity, way in _wires(stack).wired
        if way.role is None and way.role_arn and not way.decision.undecided
    )
)

irsa_provider_missing = _refused(
    "irsa-provider-missing",
    {Cause.NO_PROVIDER},
    title="Nobody registered the cluster's issuer with IAM",
    looks_at="OIDC providers of the program against the issuer of the cluster that the account is in",
    why="EKS makes the issuer, but not the provider in IAM; STS answers InvalidIdentityToken.",
    source="https://docs.aws.amazon.com/eks/latest/userguide/enable-iam-roles-for-service-accounts.html",
    fix="Make an aws.iam.OpenIdConnectProvider for the cluster's own issuer, in the account of the role.",
)

irsa_audience = _refused(
    "irsa-audience",
    {Cause.AUDIENCE},
    title="The OIDC provider does not take the audience of the tokens",
    looks_at="clientIdLists of the provider against the audience of the account's token",
    why="STS answers InvalidIdentityToken: Incorrect token audience.",
    source=_IRSA_ERRORS,
    fix="Put sts.amazonaws.com, the same in every partition, into clientIdLists of the provider.",
)

irsa_key_scheme = _refused(
    "irsa-key-scheme",
    {Cause.KEY_SCHEME},
    title="A condition key of a trust policy has https:// in it",
    looks_at="condition keys of trust policies against the issuer of the cluster",
    why="IAM accepts any text as a key and never matches it; STS answers AccessDenied.",
    source=_IRSA,
    fix="Write the issuer without https:// in the keys <issuer>:sub and <issuer>:aud.",
)

irsa_key_arn = _refused(
    "irsa-key-arn",
    {Cause.KEY_ARN},
    title="A condition key of a trust policy is a whole ARN",
    looks_at="condition keys of trust policies against the issuer of the cluster",
    why="IAM accepts any text as a key and never matches it; STS answers AccessDenied.",
    source=_IRSA,
    fix="Write what stands after oidc-provider/ in the ARN, followed by :sub and :aud.",
)

irsa_key_issuer = _refused(
    "irsa-key-issuer",
    {Cause.KEY_ISSUER},
    title="A trust policy speaks of another cluster's issuer",
    looks_at="condition keys of trust policies against the issuer of the cluster",
    why="A cluster made anew has a new issuer; STS answers AccessDenied.",
    source=_IRSA,
    fix="Make the keys from the same provider that the statement names as principal.",
)

irsa_wildcard = _refused(
    "irsa-wildcard",
    {Cause.WILDCARD},
    title="A wildcard stands under StringEquals",
    looks_at="values of trust policies with * or ? under an operator that takes them literally",
    why="Under StringEquals an asterisk is a character like any other: it never matches.",
    source=_CONDITIONS,
    fix="Name the account exactly, or move the subject under StringLike and leave the audience where it is.",
)

irsa_subject = _refused(
    "irsa-subject",
    {Cause.VALUE},
    title="A role trusts another account than the one that carries it",
    looks_at="sub and aud in trust policies, and the tags of Pod Identity, against the account that names the role",
    why="STS answers AccessDenied, minutes after a green update, in the log of a pod.",
    source=_IRSA_ERRORS,
    fix="Make the trust policy, the account and the chart's values from one namespace and one name.",
)

pod_identity_tag_session = _refused(
    "pod-identity-tag-session",
    {Cause.TAG_SESSION},
    title="A trust policy for Pod Identity lacks sts:TagSession",
    looks_at="trust policies of roles that an association names",
    why="EKS tags every session, and without this action STS refuses it.",
    source=_POD_IDENTITY,
    fix='Allow both "sts:AssumeRole" and "sts:TagSession" to pods.eks.amazonaws.com.',
)

trust_malformed = _refused(
    "trust-malformed",
    {Cause.MALFORMED},
    title="IAM would refuse a trust policy",
    looks_at="the grammar of the trust policies of roles that accounts take",
    why="The update fails with MalformedPolicyDocument.",
    source="https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html",
    fix="Mend the document as the message says.",
)

trust_refused = _refused(
    "trust-refused",
    set(Cause)
    - {
        Cause.NO_PROVIDER,
        Cause.AUDIENCE,
        Cause.KEY_SCHEME,
        Cause.KEY_ARN,
        Cause.KEY_ISSUER,
        Cause.WILDCARD,
        Cause.VALUE,
        Cause.TAG_SESSION,
        Cause.MALFORMED,
        Cause.UNDECIDED,
    },
    title="A role does not admit the account that is to take it",
    looks_at="principal, action and denials of the trust policies of roles that accounts take",
    why="STS answers AccessDenied.",
    source=_IRSA_ERRORS,
    fix="IRSA: Federated is the provider's ARN, Action sts:AssumeRoleWithWebIdentity. Pod Identity: Service is "
    "pods.eks.amazonaws.com, Action sts:AssumeRole and sts:TagSession.",
)


@rule(
    "trust-undecided",
    title="Whether a role admits an account cannot be told from the program",
    severity="note",
    looks_at="roles that the program does not make, trust policies that hang on values of elsewhere, and conditions on "
    "what only the request knows",
    why="Nothing may be wrong; nothing here can tell.",
    source=_IRSA,
    fix="Make the role in this program, or look at it in the account.",
)
def trust_undecided(stack: Stack) -> Iterator[Hit]:
    """Every way of an account can be judged here."""
    wires = _wires(stack)
    for role in wires.unknown_trusts:
        yield Hit(
            resource=role,
            message=f"Whom the role {role.name} trusts is not known: its policy hangs on a value of elsewhere.",
            fix="State what it comes from in preflight.toml: outputs of another stack under [stacks], answers under "
            "[answers].",
        )
    for identity, way in _wires(stack).wired:
        if way.decision.undecided and way.role not in wires.unknown_trusts:
            yield Hit(
                resource=way.wire,
                message=f"Whether {identity} gets {way.role_arn or 'its role'} is not known: {way.decision.reason}.",
                fix="Look at the trust policy of that role: it must admit "
                f"{_SUBJECT}{identity.namespace}:{identity.account}.",
            )


@rule(
    "pod-identity-agent",
    title="A Pod Identity association in a cluster without the agent",
    severity="error",
    looks_at="associations against the add-on eks-pod-identity-agent of their cluster",
    why="The agent on the node hands out the credentials; without it the pods get none.",
    source="https://docs.aws.amazon.com/eks/latest/userguide/pod-id-agent-setup.html",
    fix="Add aws.eks.Addon with addon_name eks-pod-identity-agent.",
)
def pod_identity_agent(stack: Stack) -> Iterator[Hit]:
    """Every cluster with an association has the agent."""
    for identity, way in _wires(stack).wired:
        for caveat in way.decision.caveats:
            if AGENT in caveat:
                yield Hit(
                    resource=way.wire,
                    message=f"The account {identity} is bound by Pod Identity, and {caveat}.",
                    fix=f"Add aws.eks.Addon with addon_name {AGENT} to that cluster, before its nodes.",
                )


@rule(
    "two-mechanisms",
    title="An annotation says otherwise than the association of its account",
    severity="warning",
    looks_at="accounts with the IRSA annotation that a Pod Identity association names too, unless both are bound to "
    "one role that admits either, as they are while a workload moves",
    why="The association wins and the annotation is ignored: whoever reads the account is misled.",
    source="https://docs.aws.amazon.com/eks/latest/userguide/pod-identities.html",
    fix="Drop the annotation; or bind both to one role that trusts both, while the workload moves.",
)
def two_mechanisms(stack: Stack) -> Iterator[Hit]:
    """An annotation and an association of one account name one role, and it admits either."""
    for identity in _wires(stack).identities:
        association = _associated(identity)
        for way in identity.ways:
            if association is None or way.mechanism != "IRSA":
                continue
            message = f"The account {identity} is annotated with {way.role_arn}"
            if (bound := text(association.wire, "roleArn") or association.role_arn) != way.role_arn:
                yield Hit(
                    resource=way.wire,
                    message=f"{message}, and its pods take {bound}, which an association binds it to.",
                    fix="Bind both to one role while moving over, or drop the annotation.",
                )
            elif association.decision.admitted and not (way.decision.admitted or way.decision.undecided):
                yield Hit(
                    resource=way.wire,
                    message=f"{message}, whose trust policy admits its pods by Pod Identity only.",
                    fix="Drop the annotation; or let the trust policy admit its tokens too, while moving over.",
                )


def _associated(identity: Identity) -> Way | None:
    """The association of an account, which its pods take whatever the annotation says."""
    return next((way for way in identity.ways if way.mechanism == "Pod Identity"), None)


@rule(
    "trust-open-cluster",
    title="Every pod of a cluster may take a role",
    severity="error",
    looks_at="trust policies, asked with the token of an account that nobody has",
    why="Whoever may start a pod anywhere in the cluster has the role's rights.",
    source="https://docs.aws.amazon.com/eks/latest/best-practices/identity-and-access-management.html",
    fix="Name the account: <issuer>:sub equals system:serviceaccount:<namespace>:<name>.",
)
def trust_open_cluster(stack: Stack) -> Iterator[Hit]:
    """No role admits an account that nobody has."""
    for role, statement in _wires(stack).trusts:
        if _admits(role, statement, "nobodys-namespace", "nobodys-account"):
            yield Hit(
                resource=role,
                message=f"The role {role.name} admits every service account of the cluster: its subject is "
                f"{_described(statement)}.",
                fix=f"Write {_SUBJECT}<namespace>:<name> under StringEquals, with the account that is meant.",
            )


@rule(
    "trust-open-namespace",
    title="Every pod of a namespace may take a role",
    severity="warning",
    looks_at="trust policies, asked with the token of another account of a namespace that they name",
    why="Whoever may start a pod in the namespace has the role's rights, whatever its account is called.",
    source="https://docs.aws.amazon.com/eks/latest/best-practices/identity-and-access-management.html",
    fix="Name the account: <issuer>:sub equals system:serviceaccount:<namespace>:<name>.",
)
def trust_open_namespace(stack: Stack) -> Iterator[Hit]:
    """No role admits whatever account a namespace may get."""
    for role, statement in _wires(stack).trusts:
        named = {subject.removeprefix(_SUBJECT).split(":")[0] for subject in _wanted(statement, "sub")}
        for namespace in sorted(name for name in named if name and not re.search(r"[*?]", name)):
            if _admits(role, statement, namespace, "nobodys-account") and not _admits(
                role, statement, "nobodys-namespace", "nobodys-account"
            ):
                yield Hit(
                    resource=role,
                    message=f"The role {role.name} admits every service account of namespace {namespace}: its subject "
                    f"is {_described(statement)}.",
                    fix=f"Write {_SUBJECT}{namespace}:<name> under StringEquals, with the account that is meant.",
                )


@rule(
    "trust-without-audience",
    title="A trust policy does not ask for the audience",
    severity="warning",
    looks_at="statements that admit tokens of an EKS issuer, for the condition <issuer>:aud",
    why="A token that was projected for another service would be taken too, if the provider lists its audience.",
    source=_IRSA,
    fix="Add <issuer>:aud equals sts.amazonaws.com.",
)
def trust_without_audience(stack: Stack) -> Iterator[Hit]:
    """Every trust in tokens asks for their audience."""
    for role, statement in _wires(stack).trusts:
        # Whole ARNs and schemes in keys are other rules' business; a claim is a claim by its end.
        if not _wanted(statement, "aud"):
            issuer = statement.principal["Federated"][0].partition(":oidc-provider/")[2]
            yield Hit(
                resource=role,
                message=f"The trust policy of {role.name} has no condition on the audience of the token.",
                fix=f'Add "{issuer}:aud": "sts.amazonaws.com" under StringEquals.',
            )


@rule(
    "trust-nobody",
    title="A role trusts an account that does not carry it",
    severity="warning",
    looks_at="exact subjects in trust policies against the accounts that name the role",
    why="A typing error in either name gives no error anywhere: the pods run without the role.",
    source=_IRSA,
    fix="Annotate that account with the role's ARN, or name the account that is annotated.",
)
def trust_nobody(stack: Stack) -> Iterator[Hit]:
    """Every account that a role trusts by name carries it."""
    wires = _wires(stack)
    carried = {(way.role_arn, f"{_SUBJECT}{one.namespace}:{one.account}") for one, way in wires.wired}
    refused = {way.role_arn for _, way in wires.wired if not way.decision.admitted}
    own = {f"{_SUBJECT}{one.namespace}:{one.account}" for one in wires.identities}
    for role, statement in wires.trusts:
        arn = text(role, "arn")
        for subject in _wanted(statement, "sub"):
            exact = subject.startswith(_SUBJECT) and not re.search(r"[*?]", subject)
            # Where another account carries the role and is refused, that is the finding.
            lost = exact and (arn, subject) not in carried and arn not in refused
            if lost and (subject in own or not _handed_on(stack, arn)):
                account = subject.removeprefix(_SUBJECT).replace(":", "/")
                yield Hit(
                    resource=role,
                    message=f"The role {role.name} trusts {account}, and no account of that name carries the role.",
                    fix=f"Annotate {account} with {ANNOTATION}: the role's arn output.",
                )


def _handed_on(stack: Stack, arn: str) -> bool:
    """Whether an ARN goes where nobody here follows it: out of the stack, or into an object or chart by another key."""
    others = (one for one in stack.graph.resources.values() if not one.type.startswith("aws:iam/"))
    return arn in json.dumps(stack.outputs) or any(arn in json.dumps(reveal(one.inputs), default=str) for one in others)


# Charts whose pods do nothing without rights in AWS.
_AWS_CHARTS = {
    "aws-ebs-csi-driver",
    "aws-efs-csi-driver",
    "aws-gateway-controller-chart",
    "aws-load-balancer-controller",
    "cluster-autoscaler",
    "external-dns",
    "karpenter",
}


@rule(
    "chart-without-role",
    title="A controller of AWS runs under an account without a role",
    severity="error",
    looks_at="releases of charts that call AWS, and the account that their values give their pods",
    why="With serviceAccount.create false and no name the pods run as `default`; with another name than the trust "
    "policy's they run as nobody. The controller then logs AccessDenied, or works with the node's rights.",
    source="https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/deploy/installation/",
    fix="Set serviceAccount.create to false and serviceAccount.name to the account that carries the role.",
)
def chart_without_role(stack: Stack) -> Iterator[Hit]:
    """Every chart that calls AWS has a role of its own."""
    wires = _wires(stack)
    for identity in wires.identities:
        for workload in identity.workloads:
            chart = text(workload.resource, "chart").rpartition("/")[2]
            # The first account of a chart is the one that calls AWS.
            called = workload.resource.type in RELEASES and chart in _AWS_CHARTS
            if not called or any(way.mechanism != "node role" for way in identity.ways):
                continue
            others = sorted(
                str(other)
                for other, way in wires.wired
                if not other.workloads and chart in (other.account, text(way.role or way.wire, "name"))
            )
            near = others[0] if others else "the account that carries its role"
            if _has_wired_sibling(wires, workload.resource):
                continue
            yield Hit(
                resource=workload.resource,
                message=f"The pods of {chart} run as {identity}, which has no role in AWS.",
                fix=f"Set serviceAccount.create to false and serviceAccount.name to that of {near}, in its namespace.",
            )


def _has_wired_sibling(wires: _Wires, release: Resource) -> bool:
    """Whether another account of the same release has a role: some charts have one account for AWS and others."""
    return any(workload.resource is release for identity, _ in wires.wired for workload in identity.workloads)


@rule(
    "account-twice",
    title="A chart makes an account that the program makes too",
    severity="error",
    looks_at="serviceAccount.create of releases against the accounts of the program",
    why="Helm refuses to adopt what it did not make, and the release fails; or it overwrites the annotation.",
    source="https://helm.sh/docs/helm/helm_install/",
    fix="Set serviceAccount.create to false.",
)
def account_twice(stack: Stack) -> Iterator[Hit]:
    """An account is made once."""
    for identity in _wires(stack).identities:
        releases = [made for made in identity.made_by if made.type in RELEASES]
        objects = [made for made in identity.made_by if made.type == SERVICE_ACCOUNT]
        certain = {workload.resource for workload in identity.workloads if workload.certain}
        for release in releases:
            if objects and release in certain:
                yield Hit(
                    resource=release,
                    message=f"The account {identity} is made by {objects[0].name} and by the chart of {release.name}.",
                    fix=f"Set serviceAccount.create to false in the values of {release.name}.",
                )


@rule(
    "account-missing",
    title="Pods run under an account that nobody makes",
    severity="warning",
    looks_at="accounts that pods name, for an object or a chart of the program that makes them",
    why="Pods whose account is missing are never created; the Deployment waits.",
    source="https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/",
    fix="Make the account, or let the chart make it.",
)
def account_missing(stack: Stack) -> Iterator[Hit]:
    """Every account that pods name is made."""
    for identity in _wires(stack).identities:
        if identity.made_by or identity.account == "default":
            continue
        for workload in identity.workloads:
            if workload.certain:
                yield Hit(
                    resource=workload.resource,
                    message=f"{workload.label} runs as {identity}, which nothing in this program makes.",
                    fix=f"Make the service account {identity}, set serviceAccount.create to true, or correct its name.",
                )


@rule(
    "role-without-policy",
    title="An account takes a role that may nothing",
    severity="error",
    looks_at="roles that accounts of the program take, for attached and inline policies",
    why="The trust works and every call is refused; often the attachment names another role.",
    source="https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_manage-attach-detach.html",
    fix="Attach a policy to the role. Where a resource's own policy names the role, waive this.",
)
def role_without_policy(stack: Stack) -> Iterator[Hit]:
    """Every role that an account takes may do something."""
    for identity, way in _wires(stack).wired:
        if way.role is not None and way.decision.admitted and not way.policies:
            yield Hit(
                resource=way.role,
                message=f"The role {way.role.name} of {identity} has no policy, so its pods may nothing in AWS.",
                fix=f"Attach a policy: aws.iam.RolePolicyAttachment with role {way.role.name}'s name.",
            )


@rule(
    "policy-unattached",
    title="A policy is attached to nothing",
    severity="warning",
    looks_at="managed policies that the program makes, for an attachment of any kind",
    why="Whoever was to have these rights does not have them.",
    source="https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_manage-attach-detach.html",
    fix="Attach it, or remove it.",
)
def policy_unattached(stack: Stack) -> Iterator[Hit]:
    """Every policy is somebody's."""
    graph = stack.graph
    attached = {
        text(each, "policyArn")
        for kind in (
            "rolePolicyAttachment:RolePolicyAttachment",
            "userPolicyAttachment:UserPolicyAttachment",
            "groupPolicyAttachment:GroupPolicyAttachment",
            "policyAttachment:PolicyAttachment",
        )
        for each in graph.of_type(f"aws:iam/{kind}")
    }
    for role in graph.of_type(_ROLE):
        attached |= {text(role, "permissionsBoundary"), *map(str, items(role, "managedPolicyArns"))}
    for policy in graph.of_type(_POLICY):
        if text(policy, "arn") not in attached and not _handed_on(stack, text(policy, "arn")):
            yield Hit(
                resource=policy,
                message=f"The policy {policy.name} is attached to nothing.",
                fix="Make an aws.iam.RolePolicyAttachment with its arn and the role that needs it.",
            )


# Actions that AWS Load Balancer Controller calls, by the last release that did not; read in the history of its
# docs/install/iam_policy.json.
_CONTROLLER_ACTIONS = {
    (2, 5, 4): ("elasticloadbalancing:DescribeTrustStores",),
    (2, 8, 2): (
        "ec2:GetSecurityGroupsForVpc",
        "elasticloadbalancing:DescribeCapacityReservation",
        "elasticloadbalancing:DescribeListenerAttributes",
    ),
    (2, 11, 0): ("ec2:DescribeIpamPools", "ec2:DescribeRouteTables", "elasticloadbalancing:SetRulePriorities"),
}


@rule(
    "controller-policy-old",
    title="The load balancer controller is newer than its policy",
    severity="error",
    looks_at="the policies of the controller's role against the version of its chart",
    why="Every release may call something new, and IAM answers AccessDenied until the policy is renewed.",
    source="https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/v3.5.0/docs/install/iam_policy.json",
    fix="Take the policy of the chart's own version.",
)
def controller_policy_old(stack: Stack) -> Iterator[Hit]:
    """The controller may do what its version calls."""
    for identity, way in _wires(stack).wired:
        for workload in identity.workloads:
            version = _controller_version(workload.resource)
            documents = {policy.name: policy.document for policy in way.policies if policy.document is not None}
            if version is None or not documents or len(documents) != len(way.policies) or not way.decision.admitted:
                continue
            needed = [each for since, actions in _CONTROLLER_ACTIONS.items() if version > since for each in actions]
            missing = [each for each in needed if not allows(documents, each).admitted]
            if missing:
                yield Hit(
                    resource=way.policies[0].resource or way.wire,
                    message=f"The controller of {workload.label} calls {', '.join(missing)}, which its role may not.",
                    fix=f"Take the policy of version {'.'.join(map(str, version))} from the controller's repository.",
                )


def _controller_version(release: Resource) -> tuple[int, ...] | None:
    """The controller's version: up to chart 1.x it is the chart's with a 2 in front."""
    if text(release, "chart").rpartition("/")[2] != "aws-load-balancer-controller":
        return None
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text(release, "version"))
    if match is None:
        return None
    major, minor, patch = map(int, match.groups())
    return (2, minor, patch) if major == 1 else (major, minor, patch)


@rule(
    "arn-partition",
    title="A policy names another partition than its role's",
    severity="error",
    looks_at="ARNs in the policies of roles that accounts take",
    why="An ARN of another partition matches nothing: the statement is without effect.",
    source="https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html",
    fix="Write the partition of the region into the ARNs: aws, aws-cn or aws-us-gov.",
)
def arn_partition(stack: Stack) -> Iterator[Hit]:
    """Policies speak of the partition that their role is in."""
    seen: set[str] = set()
    for _, way in _wires(stack).wired:
        partition = way.role_arn.split(":")[1] if way.role_arn.startswith("arn:") else ""
        for policy in way.policies:
            if policy.resource is None or policy.document is None or policy.resource.urn in seen or not partition:
                continue
            seen.add(policy.resource.urn)
            document = policy.document if isinstance(policy.document, str) else json.dumps(policy.document)
            if foreign := sorted(set(re.findall(r'"arn:(aws[a-z-]*):', document)) - {partition}):
                yield Hit(
                    resource=policy.resource,
                    message=f"The policy {policy.name} names ARNs of {', '.join(foreign)}; its role is in {partition}.",
                    fix=f"Begin these ARNs with arn:{partition}:.",
                )


@rule(
    "pod-before-account",
    title="Pods can start before their account carries its role",
    severity="error",
    looks_at="workloads of the program against the object that makes their account",
    why="Credentials are injected when a pod is created; one that is older than the annotation never gets them.",
    source=_WEBHOOK,
    fix="Let the workload depend on the account.",
)
def pod_before_account(stack: Stack) -> Iterator[Hit]:
    """Pods start after their account carries its role."""
    for identity, way in _wires(stack).wired:
        if way.wire.type != SERVICE_ACCOUNT:
            continue
        for workload in identity.workloads:
            if workload.resource is not way.wire and not stack.graph.reaches(workload.resource.urn, way.wire.urn):
                yield Hit(
                    resource=workload.resource,
                    message=f"{workload.label} does not wait for the account {identity} that carries its role.",
                    fix=f"Add {way.wire.name} to depends_on of {workload.resource.name}.",
                )


_KNOWN_ANNOTATIONS = (
    ANNOTATION,
    "eks.amazonaws.com/audience",
    "eks.amazonaws.com/sts-regional-endpoints",
    "eks.amazonaws.com/token-expiration",
)


@rule(
    "annotation-key",
    title="An annotation looks like the one for the role and is not",
    severity="error",
    looks_at="annotation keys of service accounts",
    why="Kubernetes takes any key; EKS reads only its own.",
    source=_IRSA,
    fix=f"Write {ANNOTATION}.",
)
def annotation_key(stack: Stack) -> Iterator[Hit]:
    """No annotation is one letter away from one that EKS reads."""
    for account in stack.graph.of_type(SERVICE_ACCOUNT):
        for key in fields(properties(account), "metadata", "annotations"):
            near = difflib.get_close_matches(key, _KNOWN_ANNOTATIONS, n=1, cutoff=0.8)
            if near and key != near[0]:
                yield Hit(
                    resource=account,
                    message=f"The account {account.name} has the annotation {key}, which nobody reads.",
                    fix=f"Write {near[0]}.",
                )


_TEMPLATES = ("spec.template.metadata.annotations", "metadata.annotations")


@rule(
    "annotation-misplaced",
    title="The role stands on a workload and not on its account",
    severity="error",
    looks_at="annotations of objects with pods",
    why="EKS reads the role from the service account only; on a pod it is ignored.",
    source=_IRSA,
    fix="Move the annotation to the service account.",
)
def annotation_misplaced(stack: Stack) -> Iterator[Hit]:
    """The role stands on the account."""
    for identity in _wires(stack).identities:
        for workload in identity.workloads:
            if workload.resource.package != "kubernetes" or workload.resource.type in RELEASES:
                continue
            if any(ANNOTATION in mapping(workload.resource, path) for path in _TEMPLATES):
                yield Hit(
                    resource=workload.resource,
                    message=f"{workload.label} has the annotation {ANNOTATION}, which is read on {identity} only.",
                    fix=f"Put it on the service account {identity}.",
                )


_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE")


@rule(
    "static-credentials",
    title="Pods bring their own AWS credentials",
    severity="error",
    looks_at="environment variables in pod templates and chart values",
    why="What is set already is not overwritten, and keys come first in every SDK: the role is never used.",
    source="https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html",
    fix="Remove the variables and let the account's role do it.",
)
def static_credentials(stack: Stack) -> Iterator[Hit]:
    """No workload goes around its role."""
    for identity in _wires(stack).identities:
        for workload in identity.workloads:
            place = "values" if workload.resource.type in RELEASES else "spec"
            found = sorted(set(_named(at(properties(workload.resource), place))) & set(_CREDENTIALS))
            if found:
                yield Hit(
                    resource=workload.resource,
                    message=f"{workload.label} sets {', '.join(found)}, so its pods never use the role of {identity}.",
                    fix=f"Remove {', '.join(found)}.",
                )


def _named(found: object) -> Iterator[str]:
    """Every key, and every `name` of a list item, at any depth."""
    if isinstance(found, Mapping):
        for key, inner in cast("Mapping[str, object]", found).items():
            yield str(inner) if key == "name" else key
            yield from _named(inner)
    elif isinstance(found, list):
        for inner in cast("list[object]", found):
            yield from _named(inner)


def _admits(role: Resource, statement: Statement, namespace: str, account: str) -> bool:
    """Whether this one statement admits an account of its own issuer, whoever else it admits."""
    for arn in statement.principal.get("Federated", ()):
        issuer = arn.partition(":oidc-provider/")[2]
        audience = next(iter(_wanted(statement, "aud")), "sts.amazonaws.com")
        token = WebIdentityToken(f"https://{issuer}", f"{_SUBJECT}{namespace}:{account}", audience)
        if may_assume(text(role, "assumeRolePolicy"), token).admitted:
            return True
    return False


def _described(statement: Statement) -> str:
    return ", ".join(_wanted(statement, "sub")) or "not asked for"
