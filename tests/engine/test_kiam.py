"""Kiam in a live stack: its certificates change hands, and the stack leaves it as `preflight steps leave-kiam` says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Settled
from .doubles import issuing
from .doubles.kubernetes import RELEASE
from .doubles.wire import name_of
from .doubles.world import World
from .harness import Deployment, Outcome

NAMESPACE = "kube-system"
SECRETS = {"kiam-server-tls": "server", "kiam-agent-tls": "agent"}
BY_PULUMI = {
    "PrivateKey kiam-ca-key",
    "PrivateKey kiam-server-key",
    "PrivateKey kiam-agent-key",
    "SelfSignedCert kiam-ca",
    "CertRequest kiam-server-request",
    "CertRequest kiam-agent-request",
    "LocallySignedCert kiam-server-certificate",
    "LocallySignedCert kiam-agent-certificate",
    "tls kiam-tls",
}
BY_CERT_MANAGER = {
    "Issuer kiam-self-signed",
    "Certificate kiam-ca",
    "Issuer kiam-issuer",
    "Certificate kiam-server-tls",
    "Certificate kiam-agent-tls",
}
TESTER = "kiam-test/tester"


@pytest.fixture
def kiam(stacks: Callable[[str], Settled], tmp_path: Path) -> Deployment:
    """The kiam stack, with state and world of its own."""
    return stacks("kiam").deployment.branch(tmp_path / "kiam")


def commit(deployment: Deployment, edit: Callable[[dict[str, Any]], object]) -> Outcome:
    """Edit the stack file and deploy; the preview has to show what the update makes."""
    deployment.configure(edit)
    preview, update = deployment.preview(), deployment.up()
    assert not preview.error
    assert not update.error
    assert preview.changes == update.changes
    return update


def of_kiam(outcome: Outcome) -> dict[str, set[str]]:
    """The changes of what is named after the component."""
    found = {
        kind: {each for each in all_ if each.split()[1].startswith("kiam")} for kind, all_ in outcome.changes.items()
    }
    return {kind: all_ for kind, all_ in found.items() if all_}


def files(world: World) -> dict[str, set[str]]:
    """The files in the Secrets of Kiam."""
    (kube,) = world.kubes.values()
    secrets = {name: kube.find(issuing.SECRET, NAMESPACE, name) for name in SECRETS}
    return {name: set(issuing.contents(secret)) for name, secret in secrets.items() if secret}


def put_own_files(world: World) -> None:
    """What somebody does who has certificates of his own."""
    (kube,) = world.kubes.values()
    for name, part in SECRETS.items():
        secret = kube.find(issuing.SECRET, NAMESPACE, name)
        assert secret is not None
        own = dict.fromkeys((f"{part}.pem", f"{part}-key.pem", "ca.pem"), "by hand")
        secret.inputs = {**secret.inputs, "data": {**issuing.contents(secret), **own}, "stringData": {}}


def test_certificates_go_from_pulumi_to_cert_manager_to_somebody_else(kiam: Deployment):
    update = commit(
        kiam, lambda stack: stack.update(kiam={**stack["kiam"], "tls": "cert-manager"}, ingress={"certManager": {}})
    )
    assert of_kiam(update) == {
        "create": BY_CERT_MANAGER,
        "delete": BY_PULUMI | {f"Secret {name}" for name in SECRETS},
    }
    assert files(kiam.world) == {name: set(issuing.FILES) for name in SECRETS}, (
        "cert-manager writes what Pulumi deleted"
    )

    put_own_files(kiam.world)
    update = commit(kiam, lambda stack: stack["kiam"].update(tls="existing"))
    assert of_kiam(update) == {"update": {"Release kiam-kiam"}, "delete": BY_CERT_MANAGER}
    assert files(kiam.world).keys() == SECRETS.keys(), "cert-manager leaves the Secrets"
    assert not kiam.destroy().error
    assert kiam.world.leftovers == []


def test_certificates_of_ones_own_have_to_be_there_and_pulumi_has_to_forget_its_own(kiam: Deployment):
    kiam.configure(lambda stack: stack["kiam"].update(tls="existing"))
    assert 'secret "kiam-server-tls" has no server.pem' in kiam.up().error
    for each in kiam.state:
        if each["type"] == issuing.SECRET:
            kiam.command("state", "delete", each["urn"], "--yes")
    put_own_files(kiam.world)
    update = kiam.up()
    assert not update.error
    assert of_kiam(update) == {"update": {"Release kiam-kiam"}, "delete": BY_PULUMI}
    assert files(kiam.world).keys() == SECRETS.keys()


def test_three_commits_leave_kiam_without_a_trace(kiam: Deployment):
    both = commit(kiam, lambda stack: stack["kiam"]["workloads"][TESTER].update(exit="irsa"))
    assert both.changes == {
        "create": {"ServiceAccount irsa-kiam-test.tester-account"},
        "update": {"Role irsa-kiam-test.tester-role", "Deployment kiam-kiam-test.tester-tester"},
    }

    def move(stack: dict[str, Any]) -> None:
        stack["identities"] = {TESTER: stack["kiam"]["workloads"].pop(TESTER)["identity"]}

    out = commit(kiam, move)
    assert out.changes == {
        "update": {"Role irsa-kiam-test.tester-role"},
        "delete": {"Deployment kiam-kiam-test.tester-tester", "NamespacePatch kiam-kiam-test-permitted"},
    }

    def remove(stack: dict[str, Any]) -> None:
        del stack["kiam"], stack["cluster"]["nodeGroups"]["kiam-server"]

    gone = commit(kiam, remove)
    assert set(gone.changes) == {"delete"}
    assert {"Release kiam-kiam", "NodeGroup cluster-kiam-server", "Role kiam-server"} <= gone.changes["delete"]
    named = {name for each in kiam.state if "kiam" in (name := name_of(each["urn"]))}
    moved = {name for name in named if name.startswith("irsa-kiam-test")}
    assert named - moved == {"eks-foundation-kiam"}, "nothing is named after it but the stack and the one that left"
    assert [each.id for each in kiam.world.things.values() if "kiam-server" in each.id] == []
    (kube,) = kiam.world.kubes.values()
    assert kube.of_type(RELEASE) == []
    assert files(kiam.world) == {}
    (role,) = [each for each in kiam.world.of_type("aws:iam/role:Role") if "KiamTester" in each.id]
    assert "kiam-server" not in role.inputs["assumeRolePolicy"]
    assert not kiam.preview().changes
    assert not kiam.destroy().error
    assert kiam.world.leftovers == []
