"""The life of identities in a live stack: every edit changes what it should, in preview and update alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .harness import Deployment

READ = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}]}
NAMES = (
    "PodRole {}",
    "Role {}-role",
    "Policy {}-read",
    "RolePolicyAttachment {}-read",
    "RolePolicyAttachment {}-AmazonSQSReadOnlyAccess",
    "ServiceAccount {}-account",
)

MOVES = {
    "out": ("irsa", "both"),
    "outside": ("both", "pod-identity"),
    "back": ("pod-identity", "both"),
    "home": ("both", "irsa"),
}
"""By account, its mechanism before and after."""

Changes = dict[str, set[str]]


def identity(**more: object) -> dict[str, object]:
    return {"createNamespace": True, "managedPolicyArns": ["arn:aws:iam::aws:policy/AmazonSQSReadOnlyAccess"], **more}


def everything_of(account: str) -> set[str]:
    return {each.format(f"irsa-shop.{account}") for each in NAMES}


def change(deployment: Deployment, identities: Callable[[dict[str, Any]], object]) -> None:
    deployment.configure(lambda stack: identities(stack.setdefault("identities", {})))


def together(*all_: Changes) -> Changes:
    """The changes of several edits that are made at once."""
    return {kind: set().union(*(one.get(kind, ()) for one in all_)) for each in all_ for kind in each}


def test_identities_are_edited_moved_and_removed_while_they_live(branch: Deployment):
    change(
        branch,
        lambda all_: all_.update(
            {
                "shop/kept": identity(),
                "shop/before": identity(documents={"read": READ}),
                **{f"shop/{way}": identity(probe=True, mechanism=old) for way, (old, _) in MOVES.items()},
                "passing/alone": identity(),
            }
        ),
    )
    first = branch.up()
    assert not first.error
    made = first.changes["create"]
    assert set(first.changes) == {"create"}
    assert everything_of("before") | {"Namespace irsa-shop", "Job irsa-shop.home-probe"} <= made

    def several(all_: dict[str, Any]) -> None:
        all_["shop/kept"].update(probe=True, policies={"aws-ebs-csi-driver": {}})
        del all_["shop/kept"]["managedPolicyArns"]
        all_["shop/after"] = all_.pop("shop/before")
        del all_["passing/alone"]
        for way, (_, new) in MOVES.items():
            all_[f"shop/{way}"]["mechanism"] = new

    change(branch, several)
    preview, update = branch.preview(), branch.up()
    assert not update.error
    assert preview.changes == update.changes
    assert update.changes == together(
        # Policies come and go, and a probe comes, without touching what is there.
        {
            "create": {"RolePolicyAttachment irsa-shop.kept-AmazonEBSCSIDriverPolicyV2", "Job irsa-shop.kept-probe"},
            "delete": {"RolePolicyAttachment irsa-shop.kept-AmazonSQSReadOnlyAccess"},
        },
        # Another account is another identity; the namespace stays.
        {"create": everything_of("after"), "delete": everything_of("before")},
        # A mechanism comes with its proof, and goes with it.
        {
            "create": {
                "PodIdentityAssociation irsa-shop.out-association",
                "Job irsa-shop.out-association-probe",
                "Job irsa-shop.back-probe",
            },
            "update": {
                "Role irsa-shop.out-role",
                "Role irsa-shop.outside-role",
                "ServiceAccount irsa-shop.outside-account",
                "Role irsa-shop.back-role",
                "ServiceAccount irsa-shop.back-account",
                "Role irsa-shop.home-role",
            },
            "delete": {
                "Job irsa-shop.outside-probe",
                "PodIdentityAssociation irsa-shop.home-association",
                "Job irsa-shop.home-association-probe",
            },
        },
        {"delete": {each for each in made if "irsa-passing" in each}},
    )

    assert not branch.destroy().error
    assert branch.world.leftovers == []


def test_a_probe_fails_the_update_where_the_role_does_not_trust_the_account(branch: Deployment):
    branch.edit("components/trust.py", "exact = [account.subject for", 'exact = [account.subject + "-2" for')
    branch.configure(lambda stack: stack.update(identities={"shop/reader": identity(probe=True)}))
    error = branch.up().error
    assert "irsa-shop.reader-probe" in error, "the update has to name the probe"
    assert "does not trust shop/reader" in error
