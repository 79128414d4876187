"""What goes wrong in any Pulumi program: providers, Outputs as text, names, secrets, versions, look-ups."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from preflight.graph import Graph, Resource, Secret, reveal
from preflight.rules.eks import KUBERNETES_PROVIDER, estate, parsed
from preflight.rules.rule import Hit, Stack, rule
from preflight.workloads import at, properties, text

_CONCEPTS = "https://www.pulumi.com/docs/iac/concepts"
_AWS = "https://www.pulumi.com/registry/packages/aws/api-docs"
_HELM = "https://www.pulumi.com/registry/packages/kubernetes/api-docs/helm/v3/release/"

_RELEASE = "kubernetes:helm.sh/v3:Release"
_RENDER = "kubernetes:helm:template"
_CHARTS = (_RELEASE, "kubernetes:helm.sh/v4:Chart")


def _some(resources: Sequence[Resource]) -> str:
    names = [one.name for one in resources[:4]]
    return ", ".join(names) + (f" and {len(resources) - 4} more" if len(resources) > 4 else "")


def _has_provider(resource: Resource) -> bool:
    """Whether it names a provider instance; the engine calls its own ones default and a version."""
    reference = resource.provider or resource.providers.get(resource.package, "")
    return bool(reference) and not reference.rpartition("::")[0].rpartition("::")[2].startswith("default")


@rule(
    "kubernetes-default-provider",
    title="Kubernetes objects go to whatever cluster kubectl points at",
    severity="error",
    looks_at="The provider of every Kubernetes resource.",
    why="The default provider reads the local kubeconfig: a green update in somebody else's cluster.",
    source="https://www.pulumi.com/blog/disable-default-providers/",
    fix="Name the provider of the cluster, and disable the default one in Pulumi.yaml.",
)
def kubernetes_default_provider(stack: Stack) -> Iterator[Hit]:
    """Every Kubernetes resource names its provider."""
    lost = [
        one
        for one in stack.graph.resources.values()
        if one.package == "kubernetes" and (one.custom or one.remote) and not _has_provider(one)
    ]
    if lost:
        yield Hit(
            resource=lost[0],
            message=f"{len(lost)} Kubernetes resources name no provider: {_some(lost)}.",
            fix="Add provider=<the cluster's kubernetes.Provider> to their options, and under config in Pulumi.yaml "
            "pulumi:disable-default-providers: {value: [kubernetes]}.",
        )


@rule(
    "aws-default-provider",
    title="Some AWS resources fell back to the default provider",
    severity="warning",
    looks_at="The provider of every AWS resource, in programs where most of them name one. Components of pulumi-eks "
    "and pulumi-awsx need it in `providers`.",
    why="The default provider takes account, region and tags from the environment of whoever runs the update.",
    source=f"{_CONCEPTS}/resources/providers/",
    fix="Name the provider.",
)
def aws_default_provider(stack: Stack) -> Iterator[Hit]:
    """Where AWS resources name their provider, all of them do."""
    packages = ("aws", "awsx", "eks")
    users = [one for one in stack.graph.resources.values() if one.package in packages and (one.custom or one.remote)]
    lost = [one for one in users if not (_has_provider(one) or (one.remote and one.providers.get("aws")))]
    if lost and len(lost) * 2 < len(users):
        yield Hit(
            resource=lost[0],
            message=f"{len(lost)} of {len(users)} AWS resources name no provider, the others do: {_some(lost)}.",
            fix="Add provider=<your aws.Provider> to their options; for a component, providers=[<your aws.Provider>].",
        )


@rule(
    "provider-identity",
    title="A change of the cluster previews as the replacement of everything in it",
    severity="warning",
    looks_at="`clusterIdentifier` of Kubernetes providers whose cluster the same program makes.",
    why="Without it the provider compares kubeconfigs, and one that is not known yet counts as another cluster.",
    source="https://www.pulumi.com/registry/packages/kubernetes/api-docs/provider/",
    fix="Set cluster_identifier to plain text that names the cluster.",
)
def provider_identity(stack: Stack) -> Iterator[Hit]:
    """A provider knows its cluster by name."""
    clusters = {cluster.resource.urn: cluster for cluster in estate(stack).clusters}
    for one in stack.graph.of_type(KUBERNETES_PROVIDER):
        behind = clusters.keys() & stack.graph.waits_for(one.urn)
        if behind and not one.inputs.get("clusterIdentifier"):
            cluster = clusters[min(behind)]
            name = text(reveal(cluster.resource.inputs), "name") or cluster.resource.name
            yield Hit(
                resource=one,
                message=f"Provider {one.name} has no cluster_identifier, and its kubeconfig comes from cluster {name}.",
                fix=f'Set cluster_identifier="{name}", from configuration and not from an Output.',
            )


# Values


def _texts(value: object, path: str = "", secret: bool = False) -> Iterator[tuple[str, str, bool]]:
    """Yield every text in a value, keys of mappings included, with its path and whether it is marked as secret."""
    if isinstance(value, str):
        yield path, value, secret
    elif isinstance(value, Secret):
        yield from _texts(value.value, path, True)
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[object]", value)):
            yield from _texts(item, f"{path}[{index}]", secret)
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[str, object]", value).items():
            inner = f"{path}.{key}" if path else key
            yield inner, key, secret
            yield from _texts(item, inner, secret)


@rule(
    "output-as-text",
    title="An Output became the text of an error message",
    severity="error",
    looks_at="Every input of every resource.",
    why="Python cannot stop an f-string or str() of an Output; the message about it ends up in policies, names and "
    "pods.",
    source=f"{_CONCEPTS}/inputs-outputs/apply/",
    fix="Use pulumi.Output.format or Output.concat; set PULUMI_ERROR_OUTPUT_STRING=true to get an exception instead.",
)
def output_as_text(stack: Stack) -> Iterator[Hit]:
    """No input holds the text that an Output turns into."""
    for one in stack.graph.resources.values():
        for path, found, _ in _texts(one.inputs):
            if "Calling __str__ on an Output" in found or "<pulumi.output.Output object" in found:
                yield Hit(
                    resource=one,
                    message=f"{path[:80]} of {one.name} holds the text `Calling __str__ on an Output...` in place of a "
                    "value.",
                    fix='Replace f"...{output}..." with pulumi.Output.format("...{0}...", output).',
                )
                break


# What it is, a text that it always has (looking for that first is much faster), and its shape.
_CREDENTIALS = (
    ("an AWS access key", "AKIA", re.compile(r"\bAKIA[0-9A-Z]{16}\b")),
    ("a temporary AWS access key", "ASIA", re.compile(r"\bASIA[0-9A-Z]{16}\b")),
    ("a private key", "PRIVATE KEY-", re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")),
    ("a GitHub token", "gh", re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36,}\b")),
    ("a Slack token", "xox", re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}")),
    ("a secret setting of the stack", "placeholder-for-secret-", re.compile("placeholder-for-secret-")),
)


def _credential(found: str) -> str:
    """What kind of credential a text holds; empty if none."""
    return next((kind for kind, mark, shape in _CREDENTIALS if mark in found and shape.search(found)), "")


@rule(
    "secret-in-plain",
    title="A credential is in an input that is not marked as secret",
    severity="error",
    looks_at="Every input of every resource: shapes of credentials, and settings that the stack file has encrypted.",
    why="It stands readable in the state, in previews and in the logs of the pipeline.",
    source=f"{_CONCEPTS}/secrets/",
    fix="Take it from pulumi.Config().require_secret, or wrap it with pulumi.Output.secret.",
)
def secret_in_plain(stack: Stack) -> Iterator[Hit]:
    """Whatever looks like a credential is marked as secret."""
    made = {one.id for one in stack.graph.of_type("aws:iam/accessKey:AccessKey")}
    for one in stack.graph.resources.values():
        for path, found, secret in _texts(one.inputs):
            if not secret and (kind := _credential(found)) and found not in made:
                yield Hit(
                    resource=one,
                    message=f"{path[:80]} of {one.name} holds {kind}, readable in state and previews.",
                    fix="Take it from pulumi.Config().require_secret(...), or wrap it with pulumi.Output.secret(...).",
                )


@rule(
    "ignore-changes-spelling",
    title="An ignored change is not ignored",
    severity="error",
    looks_at="Dotted paths in `ignore_changes`, against the properties of the resource.",
    why="Top-level names are translated to the provider's spelling, dotted paths are not: in snake_case they match "
    "nothing, without a word.",
    source=f"{_CONCEPTS}/resources/options/ignorechanges/",
    fix="Write the path in the provider's camelCase.",
)
def ignore_changes_spelling(stack: Stack) -> Iterator[Hit]:
    """Every path that is ignored is spelt as the provider spells it."""
    for one in stack.graph.resources.values():
        for path in one.ignore_changes:
            right = _provider_spelling(path, one.inputs)
            if right != path:
                yield Hit(
                    resource=one,
                    message=f"{one.name} ignores changes of `{path}`, which matches nothing; the provider says "
                    f"`{right}`.",
                    fix=f'Write ignore_changes=["{right}"].',
                )


def _provider_spelling(path: str, inputs: Mapping[str, object]) -> str:
    """The path with every part that only exists in camelCase in that spelling."""
    here: Mapping[str, object] = inputs
    parts: list[str] = []
    for part in path.split("."):
        camel = re.sub(r"_+([a-z0-9])", lambda letter: letter[1].upper(), part)
        right = camel if part not in here and camel in here else part
        parts.append(right)
        inner = reveal(here.get(right))
        here = cast("Mapping[str, object]", inner) if isinstance(inner, Mapping) else {}
    return ".".join(parts)


# What is there


@rule(
    "born-in-apply",
    title="A resource is in the update and not in the preview",
    severity="error",
    looks_at="The resources that the program registers in preview, when outputs are not known, and in update.",
    why="It was made inside apply: reviewers never see it, depends_on does not wait for it, and some later preview "
    "shows it as deleted.",
    source=f"{_CONCEPTS}/inputs-outputs/apply/",
    fix="Make it outside of apply, and pass it the Output as an input.",
)
def born_in_apply(stack: Stack) -> Iterator[Hit]:
    """Preview and update register the same resources."""
    if stack.preview is None:
        return
    for one in _only_in(stack.graph, stack.preview):
        yield Hit(
            resource=one,
            message=f"{one.type.rpartition(':')[2]} {one.name} is made in an update and missing from the preview.",
            fix="Move it out of apply; count from configuration and not from an Output.",
        )
    for one in _only_in(stack.preview, stack.graph):
        yield Hit(
            resource=one,
            message=f"{one.type.rpartition(':')[2]} {one.name} is in the preview and not made in an update.",
            fix="Do not decide by Output.is_known or pulumi.runtime.is_dry_run() what there is.",
        )


def _only_in(graph: Graph, other: Graph) -> list[Resource]:
    """What one run has and the other has not, without what a packaged component makes: that it may do when it can."""
    packaged = {urn for urn, one in graph.resources.items() if one.remote}
    return [one for urn, one in graph.resources.items() if urn not in other.resources and one.parent not in packaged]


@rule(
    "aws-look-up",
    title="The program asks AWS while it runs",
    severity="warning",
    looks_at="Calls of functions of the AWS provider, those left out that compute (policy documents, partition) and "
    "managed prefix lists.",
    why="The preview needs credentials and differs from one account to the next; a call with known arguments runs "
    "before what it asks for exists.",
    source=f"{_CONCEPTS}/resources/functions/",
    fix="Put the value into the configuration.",
)
def aws_look_up(stack: Stack) -> Iterator[Hit]:
    """What the program needs to know of AWS is configuration."""
    computes = re.compile(r":get(PolicyDocument|Partition|ManagedPrefixList|Region|Service|ServicePrincipal|Arn)$")
    calls = Counter(str(call["token"]) for call in stack.invokes)
    for token, count in calls.items():
        if token.startswith("aws:") and not computes.search(token):
            name = re.sub(r"(?<!^)([A-Z])", lambda letter: f"_{letter[1].lower()}", token.rpartition(":")[2])
            module = token.split(":")[1].partition("/")[0]
            call = f"aws.{name}" if module == "index" else f"aws.{module}.{name}"
            yield Hit(
                resource=None,
                message=f"The program calls {call} {f'{count} times' if count > 1 else 'once'} while it runs.",
                fix=f"Read what {call} answers from pulumi.Config instead.",
            )


_INLINE = {
    ("aws:ec2/securityGroup:SecurityGroup", "ingress"): "rules for traffic in",
    ("aws:ec2/securityGroup:SecurityGroup", "egress"): "rules for traffic out",
    ("aws:ec2/routeTable:RouteTable", "routes"): "routes",
}


@rule(
    "inline-and-separate",
    title="Inline rules fight with rules of their own",
    severity="error",
    looks_at="Security groups with inline rules and route tables with inline routes, for which the program also makes "
    "rule or route resources.",
    why="The group takes away what it does not list, the rule puts it back: each update undoes half of the other.",
    source=f"{_AWS}/ec2/securitygroup/",
    fix="Make every rule a resource of its own.",
)
def inline_and_separate(stack: Stack) -> Iterator[Hit]:
    """Rules stand either inside or beside."""
    beside: defaultdict[tuple[str, str], list[Resource]] = defaultdict(list)
    for one in stack.graph.of_type("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"):
        beside["ingress", text(properties(one), "securityGroupId")].append(one)
    for one in stack.graph.of_type("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"):
        beside["egress", text(properties(one), "securityGroupId")].append(one)
    for one in stack.graph.of_type("aws:ec2/securityGroupRule:SecurityGroupRule"):
        beside[text(properties(one), "type"), text(properties(one), "securityGroupId")].append(one)
    for one in stack.graph.of_type("aws:ec2/route:Route"):
        beside["routes", text(properties(one), "routeTableId")].append(one)
    for (kind, inline), what in _INLINE.items():
        for one in stack.graph.of_type(kind):
            others = beside.get((inline, one.id))
            if others and one.inputs.get(inline):
                yield Hit(
                    resource=one,
                    message=f"{one.name} lists {what} inline, and {_some(others)} add more to it.",
                    fix=f"Remove {inline} from {one.name} and make each of them a resource.",
                )


# Names

# The property that holds a physical name, its longest length, and what Pulumi adds where the program gives none.
# https://docs.aws.amazon.com/general/latest/gr/aws-service-information.html
_NAMES: Mapping[str, tuple[str, int]] = {
    "aws:alb/loadBalancer:LoadBalancer": ("name", 32),
    "aws:alb/targetGroup:TargetGroup": ("name", 32),
    "aws:cloudwatch/logGroup:LogGroup": ("name", 512),
    "aws:ec2/launchTemplate:LaunchTemplate": ("name", 128),
    "aws:ec2/securityGroup:SecurityGroup": ("name", 255),
    "aws:eks/cluster:Cluster": ("name", 100),
    "aws:eks/nodeGroup:NodeGroup": ("nodeGroupName", 63),
    "aws:iam/instanceProfile:InstanceProfile": ("name", 128),
    "aws:iam/policy:Policy": ("name", 128),
    "aws:iam/role:Role": ("name", 64),
    "aws:iam/rolePolicy:RolePolicy": ("name", 128),
    "aws:iam/user:User": ("name", 64),
    "aws:lb/loadBalancer:LoadBalancer": ("name", 32),
    "aws:lb/targetGroup:TargetGroup": ("name", 32),
    "aws:s3/bucket:Bucket": ("bucket", 63),
    "aws:s3/bucketV2:BucketV2": ("bucket", 63),
    "aws:sqs/queue:Queue": ("name", 80),
    "kubernetes:core/v1:Namespace": ("metadata.name", 63),
    "kubernetes:core/v1:Service": ("metadata.name", 63),
    _RELEASE: ("name", 53),
}
_PULUMI_ADDS = 8  # a hyphen and seven digits
_PREFIX_ADDS = 26  # the AWS provider's own timestamp and counter


@rule(
    "name-too-long",
    title="A physical name is too long",
    severity="error",
    looks_at="The names that the program gives, and the logical names that Pulumi makes one from.",
    why="The update fails half way; Pulumi adds 8 characters to a logical name, the AWS provider 26 to a prefix.",
    source="https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html",
    fix="Shorten it.",
)
def name_too_long(stack: Stack) -> Iterator[Hit]:
    """Every physical name fits."""
    for kind, (path, limit) in _NAMES.items():
        for one in stack.graph.of_type(kind):
            if one.read:
                continue
            inputs = reveal(one.inputs)
            given, prefix = text(inputs, *path.split(".")), text(inputs, f"{path}Prefix")
            if given:
                name, adds = given, 0
            elif prefix:
                name, adds = prefix, _PREFIX_ADDS
            else:
                name, adds = one.name, _PULUMI_ADDS
            if len(name) + adds > limit:
                what = "is" if not adds else f"gets {adds} more, so it is"
                yield Hit(
                    resource=one,
                    message=f"{kind.rpartition(':')[2]} name `{name}` {what} {len(name) + adds} characters long; "
                    f"allowed: {limit}.",
                    fix=f"Shorten it to {limit - adds} characters.",
                )


# What tells two things of one type apart in AWS.
_SAME: Mapping[str, tuple[str, ...]] = {
    **{kind: (path,) for kind, (path, _) in _NAMES.items() if kind.startswith("aws:")},
    "aws:ec2/securityGroup:SecurityGroup": ("vpcId", "name"),
    "aws:eks/nodeGroup:NodeGroup": ("clusterName", "nodeGroupName"),
    "aws:iam/rolePolicy:RolePolicy": ("role", "name"),
    "aws:eks/accessEntry:AccessEntry": ("clusterName", "principalArn"),
    "aws:eks/addon:Addon": ("clusterName", "addonName"),
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": ("clusterName", "namespace", "serviceAccount"),
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": ("url",),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": ("role", "policyArn"),
    "eks:index:Cluster": ("name",),
}


@rule(
    "name-twice",
    title="Two resources are one thing",
    severity="error",
    looks_at="Physical names and other identities of AWS resources and Kubernetes objects, per type and provider.",
    why="The second is refused as existing already, or the two overwrite each other, and deleting one deletes both.",
    source=f"{_CONCEPTS}/resources/names/",
    fix="Rename one, or drop it.",
)
def name_twice(stack: Stack) -> Iterator[Hit]:
    """No two resources are the same thing."""
    taken: dict[tuple[str, ...], Resource] = {}
    found = estate(stack)
    for kind, paths in _SAME.items():
        for one in stack.graph.of_type(kind):
            parts = [text(reveal(one.inputs), path) for path in paths]
            if all(parts) and not one.read:
                provider = one.provider or one.providers.get("aws", "")
                yield from _taken(taken, (provider, kind, *parts), one)
    for objects in found.objects.values():
        for one in objects:
            if text(reveal(one.resource.inputs), "metadata", "name") and not one.kind.endswith("Patch"):
                group = one.resource.type.split(":")[1].partition("/")[0]
                key = (found.place(one.resource), group, one.kind, one.namespace, one.name)
                yield from _taken(taken, key, one.resource)
    for release in found.releases:
        if text(reveal(release.resource.inputs), "name"):
            key = (found.place(release.resource), "release", release.namespace, release.name)
            yield from _taken(taken, key, release.resource)


def _taken(taken: dict[tuple[str, ...], Resource], key: tuple[str, ...], one: Resource) -> Iterator[Hit]:
    first = taken.setdefault(key, one)
    if first is not one:
        shown = "/".join(part for part in key[2:] if part)
        yield Hit(
            resource=one,
            message=f"{one.name} and {first.name} are both {one.type.rpartition(':')[2]} {shown.rpartition(':')[2]}.",
            fix=f"Rename {one.name}'s, or drop one of the two.",
        )


# Charts


def _local(chart: str) -> bool:
    return chart.startswith((".", "/", "~")) or chart.endswith(".tgz")


@rule(
    "release-unpinned",
    title="A chart has no version",
    severity="warning",
    looks_at="Every Helm release and chart, local ones left out.",
    why="Each run installs whatever is newest, with new rights, new custom resources and new defaults.",
    source=_HELM,
    fix="Write the version.",
)
def release_unpinned(stack: Stack) -> Iterator[Hit]:
    """Every chart has a version."""
    for one in stack.graph.of_type(*_CHARTS):
        inputs = reveal(one.inputs)
        chart = text(inputs, "chart")
        if chart and not at(inputs, "version") and not _local(chart):
            yield Hit(
                resource=one,
                message=f"Release {one.name} installs chart {chart} in no version of its own.",
                fix="Set version to the one that you have tested.",
            )
    components = {one.name: one for one in stack.graph.of_type("kubernetes:helm.sh/v3:Chart")}
    for call in stack.invokes:
        options = parsed(text(call, "args", "jsonOpts")) if call["token"] == _RENDER else None
        chart = text(options, "chart")
        if chart and not text(options, "version") and not text(options, "path") and not _local(chart):
            name = text(options, "release_name") or chart
            yield Hit(
                resource=components.get(name),
                message=f"Chart {name} renders {chart} in no version of its own.",
                fix="Set version in its ChartOpts to the one that you have tested.",
            )


@rule(
    "release-unnamed",
    title="A release has no name of its own",
    severity="warning",
    looks_at="The physical name of every helm.v3.Release.",
    why="Pulumi adds a random suffix, and charts derive service accounts and webhooks from it: trust policies miss "
    "them.",
    source=_HELM,
    fix="Write the name.",
)
def release_unnamed(stack: Stack) -> Iterator[Hit]:
    """Every release has a name."""
    for one in stack.graph.of_type(_RELEASE):
        if not one.inputs.get("name"):
            chart = text(reveal(one.inputs), "chart").rstrip("/").rpartition("/")[2]
            yield Hit(
                resource=one,
                message=f"Release {one.name} has no name, so it becomes `{one.name}-` and a suffix.",
                fix=f'Set name="{chart or one.name}".',
            )
