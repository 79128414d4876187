"""`preflight steps` on whole programs: what it foretells is what the edits then change."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from preflight.diff import StackDiff, stack_diff
from preflight.journey import Journey
from preflight.program import record
from preflight.steps import run
from tests.project import linked, stack_values, write_stack

READ_ONLY = {"managedPolicyArns": ["arn:aws:iam::aws:policy/ReadOnlyAccess"]}
IDENTITIES = {
    "apps/reader": {"createNamespace": True, "probe": True, **READ_ONLY},
    "apps/writer": {"alsoAccounts": ["jobs/writer"], "createAccount": False, **READ_ONLY},
    "apps/loose": {"looseSubjects": ["apps/loose-*"], **READ_ONLY},
}


def parts(diff: StackDiff) -> set[object]:
    """What a difference is made of."""
    return {*diff.resources, *diff.rights, *diff.newly, *diff.no_longer}


def foretold(journey: Journey, turn: int) -> set[object]:
    """What the steps of all workloads of the stack file change at the first or at the second update."""
    moves = [move for move in journey.moves if move.where.startswith("Pulumi.dev.yaml:")]
    changes = [[step.changes for step in move.steps if step.changes][turn] for move in moves]
    return {part for diff in changes for part in parts(diff)}


def test_two_commits_of_a_mechanism_change_exactly_what_the_steps_foretold_and_back_again(tmp_path):
    folder = linked(tmp_path, identities=IDENTITIES)
    file = folder / "Pulumi.dev.yaml"

    def commit(mechanism: str):
        values = stack_values(file)
        for name in ("apps/reader", "apps/writer"):
            values["identities"][name]["mechanism"] = mechanism
        write_stack(file, values)
        return record(folder, ["dev"], ["update"])[0]

    irsa = record(folder, ["dev"], ["update"])[0]
    (there,) = run(folder, "irsa-to-pod-identity", ["dev"])
    both, pod_identity = commit("both"), commit("pod-identity")
    (back,) = run(folder, "pod-identity-to-irsa", ["dev"])

    assert {stay.workload for stay in there.stays} == {"apps/loose"}
    assert foretold(there, 0) == parts(stack_diff(irsa, both)) != set()
    assert foretold(there, 1) == parts(stack_diff(both, pod_identity)) != set()
    assert foretold(back, 0) == parts(stack_diff(pod_identity, both)) != set()
    assert foretold(back, 1) == parts(stack_diff(both, irsa)) != set()


# Without an SDK to import it runs in no time.
BY_HAND = """
import json
import pulumi


class Any(pulumi.CustomResource):
    arn: pulumi.Output[str]
    identities: pulumi.Output[list]

    def __init__(self, token, urn_name, /, **inputs):
        super().__init__(token, urn_name, {"arn": None, "identities": None, **inputs})


cluster = Any("aws:eks/cluster:Cluster", "main", name="main")
url = cluster.identities.apply(lambda found: found[0]["oidcs"][0]["issuer"])
provider = Any(
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider", "issuer", url=url, clientIdLists=["sts.amazonaws.com"]
)


def trust(known):
    issuer = known[0].removeprefix("https://")
    tokens = {
        "Effect": "Allow",
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": {"Federated": known[1]},
        "Condition": {
            "StringEquals": {f"{issuer}:sub": "system:serviceaccount:shop:web", f"{issuer}:aud": "sts.amazonaws.com"}
        },
    }
    sessions = {
        "Effect": "Allow",
        "Action": ["sts:AssumeRole", "sts:TagSession"],
        "Principal": {"Service": "pods.eks.amazonaws.com"},
        "Condition": {
            "StringEquals": {
                "aws:RequestTag/eks-cluster-name": "main",
                "aws:RequestTag/kubernetes-namespace": "shop",
                "aws:RequestTag/kubernetes-service-account": "web",
            }
        },
    }
    trusted = [tokens]
    return json.dumps({"Version": "2012-10-17", "Statement": trusted})


role = Any("aws:iam/role:Role", "app", assumeRolePolicy=pulumi.Output.all(url, provider.arn).apply(trust))
annotations = {"eks.amazonaws.com/role-arn": role.arn}
metadata = {"namespace": "shop", "name": "web", "annotations": annotations}
Any("kubernetes:core/v1:ServiceAccount", "web", metadata=metadata)
"""
ASSOCIATION = """
Any("aws:eks/podIdentityAssociation:PodIdentityAssociation", "shop/web", clusterName="main", namespace="shop",
    serviceAccount="web", roleArn=role.arn)
"""
AGENT = """
Any("aws:eks/addon:Addon", "main-eks-pod-identity-agent", clusterName="main", addonName="eks-pod-identity-agent")
"""


@pytest.fixture
def by_hand(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "Pulumi.yaml").write_text("name: own\nruntime: python\n", encoding="utf-8")
    (folder / "Pulumi.dev.yaml").write_text("config:\n  aws:region: eu-west-1\n", encoding="utf-8")
    (folder / "__main__.py").write_text(BY_HAND, encoding="utf-8")
    return folder


def comparable(found: set[object]) -> set[object]:
    """Parts of a difference whatever the line that registers them; what a policy says stands in the rights."""
    return {
        replace(part, where="", changes=() if part.in_words else part.changes) if hasattr(part, "in_words") else part
        for part in found
    }


def test_a_program_wired_by_hand_changes_as_foretold_when_a_person_does_what_the_steps_say(by_hand: Path):
    def edit(text: str):
        (by_hand / "__main__.py").write_text(text, encoding="utf-8")
        return record(by_hand, ["dev"], ["update"])[0]

    irsa = record(by_hand, ["dev"], ["update"])[0]
    (journey,) = run(by_hand, "irsa-to-pod-identity", ["dev"])
    agent = edit(BY_HAND + AGENT)
    both = edit(BY_HAND.replace("trusted = [tokens]", "trusted = [tokens, sessions]") + AGENT + ASSOCIATION)
    there = BY_HAND.replace("trusted = [tokens]", "trusted = [sessions]").replace(
        ": role.arn}\n", ": role.arn} and {}\n"
    )
    end = edit(there + AGENT + ASSOCIATION)

    (move,) = journey.moves
    steps = [*journey.first, *(step for step in move.steps if step.changes)]
    done = [stack_diff(irsa, agent), stack_diff(agent, both), stack_diff(both, end)]
    assert [comparable(parts(step.changes)) for step in steps] == [comparable(parts(diff)) for diff in done]


def preflight(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "preflight", "-C", str(folder), "steps", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_steps_of_a_foreign_program_are_printed_in_their_order(by_hand: Path):
    told = preflight(by_hand, "irsa-to-pod-identity")
    assert told.returncode == 0, told.stderr
    said = " ".join(told.stdout.split())
    order = [
        "irsa-to-pod-identity, stack dev: 1 to move",
        "1. Add the add-on eks-pod-identity-agent to cluster main",
        "shop/web __main__.py:",
        "1. Let app trust EKS Pod Identity too, and bind shop/web to it by an association",
        "+ admits service pods.eks.amazonaws.com to sts:TagSession",
        "2. Restart the pods",
        "3. Take the annotation off shop/web",
        "What a program cannot tell",
    ]
    places = [said.find(words) for words in order]
    assert -1 not in places, said
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("arguments", "words"), [(("irsa-to-nowhere",), "irsa-to-pod-identity"), (("irsa-to-pod-identity", "prod"), "prod")]
)
def test_a_guide_or_stack_that_is_not_there_is_bad_input(by_hand: Path, arguments: tuple[str, ...], words: str):
    told = preflight(by_hand, *arguments)
    assert told.returncode == 2, "2 is for bad input"
    assert words in told.stderr
    assert "Traceback" not in told.stderr
