"""Realistic edits of a live stack, each with what it may change and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from .harness import Deployment

CONTROLLER_POLICY = "iam_policies/aws-load-balancer-controller.json"


@dataclass(frozen=True)
class Edit:
    """One pull request."""

    what: str
    apply: Callable[[Deployment], None]
    changes: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """By operation, the labels of the resources."""


def _add_node_group(deployment: Deployment) -> None:
    group = {"instanceTypes": ["m7g.large"], "minSize": 1, "maxSize": 4}
    deployment.configure(lambda stack: stack["cluster"]["nodeGroups"].update(batch=group))


def _add_identity(deployment: Deployment) -> None:
    reader = {"managedPolicyArns": ["arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"], "createNamespace": True}
    deployment.configure(lambda stack: stack.update(identities={"shop/reader": reader}))


def _add_zone(deployment: Deployment) -> None:
    deployment.configure(lambda stack: stack["network"]["zones"].append("ap-northeast-2b"))


def _raise_disk(deployment: Deployment) -> None:
    deployment.configure(lambda stack: stack["cluster"]["nodeGroups"]["system"].update(diskSize=80))


def _raise_maximum(deployment: Deployment) -> None:
    deployment.configure(lambda stack: stack["cluster"]["nodeGroups"]["system"].update(maxSize=6))


def _larger_nodes(deployment: Deployment) -> None:
    deployment.configure(lambda stack: stack["cluster"]["nodeGroups"]["system"].update(instanceTypes=["t3.large"]))


def _policy_action(deployment: Deployment) -> None:
    deployment.edit(CONTROLLER_POLICY, '"ec2:DescribeVpcs"', '"ec2:DescribeVpcs", "ec2:DescribeVpcAttribute"')


def _rename_component(deployment: Deployment) -> None:
    path = "__main__.py"
    tail = "            protect=settings.protect,\n        ),\n    )\n    cluster = components.Cluster("
    deployment.edit(path, 'Network(\n        "network",', 'Network(\n        "vpc",')
    alias = '        pulumi.ResourceOptions(aliases=[pulumi.Alias(name="network")]),\n'
    deployment.edit(path, tail, tail.replace("        ),\n    )", f"        ),\n{alias}    )"))


PULL_REQUESTS = {
    "dev": (
        (
            Edit(
                "add a node group",
                _add_node_group,
                {"create": {"LaunchTemplate cluster-batch", "NodeGroup cluster-batch"}},
            ),
            Edit(
                "add an identity",
                _add_identity,
                {
                    "create": {
                        "Namespace irsa-shop",
                        "PodRole irsa-shop.reader",
                        "Role irsa-shop.reader-role",
                        "RolePolicyAttachment irsa-shop.reader-AmazonS3ReadOnlyAccess",
                        "ServiceAccount irsa-shop.reader-account",
                    }
                },
            ),
            Edit("take larger nodes", _larger_nodes, {"replace": {"NodeGroup cluster-system"}}),
            Edit(
                "add a zone at the end",
                _add_zone,
                {
                    "create": {
                        "Subnet network-public-ap-northeast-2b",
                        "Subnet network-private-ap-northeast-2b",
                        "RouteTable network-private-ap-northeast-2b",
                        "RouteTableAssociation network-public-ap-northeast-2b",
                        "RouteTableAssociation network-private-ap-northeast-2b",
                        "Route network-private-ap-northeast-2b-default",
                    },
                    "update": {"VpcEndpoint network-s3"},
                    "replace": {"NodeGroup cluster-system"},
                },
            ),
        ),
        (
            Edit("rename a component with an alias", _rename_component),
            Edit(
                "give nodes larger disks",
                _raise_disk,
                {"update": {"LaunchTemplate cluster-system", "NodeGroup cluster-system"}},
            ),
            Edit("raise a node group's maximum", _raise_maximum, {"update": {"NodeGroup cluster-system"}}),
            Edit(
                "change a policy's actions",
                _policy_action,
                {"update": {"Policy ingress-controller-aws-load-balancer-controller"}},
            ),
        ),
    ),
}
"""Of each stack, beside upgrades; those of one tuple are made together by the tests, and one by one by the sweep."""


def problems(deployment: Deployment, edits: Sequence[Edit]) -> Iterator[str]:
    """Make these edits in one pull request; what the preview and the update do beyond what the edits may."""
    expected: dict[str, set[str]] = {}
    for edit in edits:
        edit.apply(deployment)
        for operation, labels in edit.changes.items():
            expected.setdefault(operation, set()).update(labels)
    preview = deployment.preview()
    if preview.error or preview.changes != expected:
        yield f"the preview has to show {expected}, shows {preview.changes} {preview.error}"
    update = deployment.up()
    if update.error or update.changes != expected:
        yield f"the update has to make {expected}, makes {update.changes} {update.error}"
