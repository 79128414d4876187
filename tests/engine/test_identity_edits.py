"""The life of an identity in a live stack: every edit changes what it should, in preview and update alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from preflight import steps
from preflight.steps import Step

from .harness import Deployment, Outcome

READ = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}]}
IDENTITY = {
    "createNamespace": True,
    "documents": {"read": READ},
    "managedPolicyArns": ["arn:aws:iam::aws:policy/AmazonSQSReadOnlyAccess"],
}
NAMES = (
    "PodRole {}",
    "Role {}-role",
    "Policy {}-read",
    "RolePolicyAttachment {}-read",
    "RolePolicyAttachment {}-AmazonSQSReadOnlyAccess",
    "ServiceAccount {}-account",
)
KINDS = {"created": "create", "changed": "update", "replaced": "replace", "deleted": "delete"}


def everything_of(account: str) -> set[str]:
    return {each.format(f"irsa-shop.{account}") for each in NAMES}


def edit(deployment: Deployment, change: Callable[[dict[str, Any]], object]) -> dict[str, set[str]]:
    """Edit the identities in the stack file and deploy; what the preview and the update changed."""
    deployment.configure(lambda stack: change(stack.setdefault("identities", {})))
    preview, update = deployment.preview(), deployment.up()
    assert not preview.error
    assert not update.error
    assert preview.changes == update.changes, "the update makes another set of changes than its preview"
    return update.changes


def told(step: Step) -> dict[str, set[str]]:
    """What a step of `preflight steps` foretells, as the engine names it; it knows of no order, so not of waiting."""
    assert step.changes is not None
    found: dict[str, set[str]] = {}
    for one in step.changes.resources:
        if one.kind != "changed" or any(not change.path.startswith("options.") for change in one.changes):
            found.setdefault(KINDS[one.kind], set()).add(f"{one.type.rpartition(':')[2]} {one.name}")
    return found


def test_an_identity_can_be_edited_moved_and_removed_while_it_lives(branch: Deployment):
    assert edit(branch, lambda all_: all_.update({"shop/reader": IDENTITY})) == {
        "create": everything_of("reader") | {"Namespace irsa-shop"}
    }
    policy = {"aws-ebs-csi-driver": {}}
    assert edit(branch, lambda all_: all_["shop/reader"].update(policies=policy)) == {
        "create": {"RolePolicyAttachment irsa-shop.reader-AmazonEBSCSIDriverPolicyV2"}
    }, "a policy is added without touching what is there"
    assert edit(branch, lambda all_: all_["shop/reader"].pop("policies")) == {
        "delete": {"RolePolicyAttachment irsa-shop.reader-AmazonEBSCSIDriverPolicyV2"}
    }
    assert edit(branch, lambda all_: all_.update({"shop/writer": all_.pop("shop/reader")})) == {
        "create": everything_of("writer"),
        "delete": everything_of("reader"),
    }, "another account is another identity; the namespace stays"
    assert edit(branch, lambda all_: all_["shop/writer"].update(probe=True)) == {
        "create": {"Job irsa-shop.writer-probe"}
    }

    (journey,) = steps.run(branch.folder, "irsa-to-pod-identity", ["dev"])
    (move,) = [each for each in journey.moves if each.workload == "shop/writer"]
    wire, _, unwire = move.steps
    both = edit(branch, lambda all_: all_["shop/writer"].update(mechanism="both"))
    assert both == told(wire)
    assert "Job irsa-shop.writer-association-probe" in both["create"], "the new mechanism is proven at once"
    assert edit(branch, lambda all_: all_["shop/writer"].update(mechanism="pod-identity")) == told(unwire)

    (journey,) = steps.run(branch.folder, "pod-identity-to-irsa", ["dev"])
    (move,) = [each for each in journey.moves if each.workload == "shop/writer"]
    wire, unwire, _ = move.steps
    assert edit(branch, lambda all_: all_["shop/writer"].update(mechanism="both")) == told(wire)
    assert edit(branch, lambda all_: all_["shop/writer"].update(mechanism="irsa")) == told(unwire)

    assert edit(branch, lambda all_: all_.clear()) == {
        "delete": everything_of("writer") | {"Namespace irsa-shop", "Job irsa-shop.writer-probe"}
    }
    assert not branch.destroy().error
    assert branch.world.leftovers == []


def test_a_probe_fails_the_update_where_the_role_does_not_trust_the_account(branch: Deployment):
    branch.edit("components/trust.py", "exact = [account.subject for", 'exact = [account.subject + "-2" for')
    branch.configure(lambda stack: stack.update(identities={"shop/reader": {**IDENTITY, "probe": True}}))
    outcome: Outcome = branch.up()
    assert "irsa-shop.reader-probe" in outcome.error, "the update has to name the probe"
    assert "does not trust shop/reader" in outcome.error
