"""What a diff says of an upgrade: exactly what follows, in which wave, and whether EKS goes along."""

from __future__ import annotations

import json
import shutil

import pytest

from preflight import upgrades
from preflight.graph import Graph, Resource
from tests.unit.diff.conftest import ROOT, Repository

PROGRAM = ("Pulumi.yaml", "Pulumi.dev.yaml", "__main__.py", "settings.py", "components", "iam_policies")
CONTROLLER = "ingress-aws-load-balancer-controller"


@pytest.fixture
def product(repository: Repository) -> Repository:
    """The repository with this very program in it, one minor version and one controller behind."""
    for name in PROGRAM:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, repository.folder / name)
    repository.edit('kubernetesVersion: "1.35"', 'kubernetesVersion: "1.34"\n    applyCrds: true', "Pulumi.dev.yaml")
    repository.edit(
        "certManager: {}", 'certManager: {}\n    loadBalancerController: {version: "3.4.3"}', "Pulumi.dev.yaml"
    )
    repository.commit("the version before")
    return repository


def diff(repository: Repository):
    told = repository.preflight("diff", "HEAD", "dev", "--format", "json", "--as-of", "2026-11-22")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    (stack,) = found["stacks"]
    changes = {
        one["resource"].rpartition("::")[2]: {change["path"]: change["after"] for change in one["changes"]}
        for one in stack["resources"]
    }
    assert {one["kind"] for one in stack["resources"]} == {"changed"}, "nothing is replaced"
    return changes, [[urn.rpartition("::")[2] for urn in wave] for wave in stack["waves"]], found


def test_a_kubernetes_minor_is_one_line_and_shows_addons_and_nodes_in_their_waves(product):
    product.edit('kubernetesVersion: "1.34"', 'kubernetesVersion: "1.35"', "Pulumi.dev.yaml")
    changes, waves, found = diff(product)
    assert changes == {
        "cluster-eks": {"version": "1.35"},
        "cluster-kube-proxy": {"addonVersion": "v1.35.3-eksbuild.13"},
        "cluster-system": {"version": "1.35"},
        "cluster-coredns": {"addonVersion": "v1.14.2-eksbuild.4"},
    }, "what goes with the version moves, and nothing else"
    assert waves == [["cluster-eks"], ["cluster-kube-proxy"], ["cluster-system"], ["cluster-coredns"]], (
        "control plane, DaemonSet add-ons, nodes, then what runs on them"
    )
    assert found["findingsNew"] == []


def test_a_controller_version_is_one_line_and_shows_its_kinds_before_it(product):
    product.edit('version: "3.4.3"', 'version: "3.5.0"', "Pulumi.dev.yaml")
    changes, waves, found = diff(product)
    assert changes.pop(CONTROLLER) == {"version": "3.5.0"}
    assert sorted(changes) == [f"{CONTROLLER}-crds", f"{CONTROLLER}-gateway-crds"], "the kinds, and nothing else"
    assert all("/v3.5.0/" in each["file"] for each in changes.values()), "of the controller's version"
    assert waves == [sorted(changes), [CONTROLLER]], "kinds first, for Helm would leave the old ones"
    assert found["stacks"][0]["rights"] == [], "both versions ask for the same rights"


def test_rights_that_a_version_asks_for_move_with_it_and_before_it(product):
    """Both versions of the table share a policy, so the older one gets a smaller one here."""
    folder = product.folder / "iam_policies"
    document = (folder / "aws-load-balancer-controller.json").read_text("utf-8")
    (folder / "older.json").write_text(document.replace('        "ec2:DescribeIpamPools",\n', ""), "utf-8")
    assert document != (folder / "older.json").read_text("utf-8"), "the action is there to be left out"
    for name, what in (("catalogue.toml", "policies."), ("sources.toml", "")):
        text = (folder / name).read_text("utf-8")
        row = text[text.index(f"[{what}aws-load-balancer-controller]") :].split("\n[", 1)[0]
        row = row.replace("aws-load-balancer-controller", "older")
        (folder / name).write_text(f"{text}\n{row}\n", "utf-8")
    product.edit('version="3.4.3",', 'version="3.4.3",\n    policy="older",', "components/versions.py")
    product.commit("a policy of its own")
    product.edit('version: "3.4.3"', 'version: "3.5.0"', "Pulumi.dev.yaml")
    told = json.loads(product.preflight("diff", "HEAD", "dev", "--format", "json").stdout)
    (stack,) = told["stacks"]
    (role,) = stack["rights"]
    assert [right["words"].split(" on ")[0] for right in role["gained"]] == ["may ec2:DescribeIpamPools"]
    waves = [[urn.rpartition("::")[2] for urn in wave] for wave in stack["waves"]]
    rights = next(number for number, wave in enumerate(waves) if any("controller-aws-load" in name for name in wave))
    assert rights < next(number for number, wave in enumerate(waves) if CONTROLLER in wave), "rights come first"


def cluster(version: object, *, packaged: bool = False) -> Graph:
    type_ = "eks:index:Cluster" if packaged else "aws:eks/cluster:Cluster"
    inputs = {"name": "main", "version": version}
    return Graph([Resource(urn="urn:pulumi:s::p::t::c", type=type_, name="c", inputs=inputs, outputs=inputs)])


@pytest.mark.parametrize("packaged", [False, True])
@pytest.mark.parametrize(
    ("before", "after", "said", "to_do"),
    [
        ("1.33", "1.35", "from Kubernetes 1.33 to 1.35", "Go to 1.34 first"),
        ("1.35", "1.34", "from Kubernetes 1.35 back to 1.34", "Keep 1.35"),
        ("1.9", "1.11", "from Kubernetes 1.9 to 1.11", "Go to 1.10 first"),
    ],
)
def test_a_step_that_eks_refuses_is_an_error(before, after, said, to_do, packaged):
    (finding,) = upgrades.findings("dev", cluster(before, packaged=packaged), cluster(after, packaged=packaged))
    assert (finding.severity, finding.rule, finding.stack) == ("error", "kubernetes-version-step", "dev")
    assert said in finding.message
    assert finding.fix.startswith(to_do)


@pytest.mark.parametrize(("before", "after"), [("1.34", "1.35"), ("1.35", "1.35"), ("1.9", "1.10"), (None, "1.35")])
def test_a_step_of_one_minor_is_none_of_its_business(before, after):
    assert list(upgrades.findings("dev", cluster(before), cluster(after))) == []


def release(version: str, chart: str = "aws-load-balancer-controller", **more: object) -> Graph:
    inputs = {"name": "lbc", "chart": chart, "version": version, "values": {}, **more}
    type_ = "kubernetes:helm.sh/v3:Release"
    return Graph([Resource(urn="urn:pulumi:s::p::t::r", type=type_, name="r", inputs=inputs, outputs=inputs)])


def test_kinds_that_helm_leaves_behind_are_named():
    (finding,) = upgrades.findings("dev", release("3.4.3"), release("3.5.0"))
    assert (finding.severity, finding.rule) == ("warning", "kinds-left-behind")
    assert "goes from 3.4.3 to 3.5.0; its kinds stay" in finding.message


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (release("3.5.0"), release("3.5.0")),
        (release("3.4.3", skipCrds=True), release("3.5.0", skipCrds=True)),
        (release("v1.20.0", chart="cert-manager"), release("v1.21.1", chart="cert-manager")),
        (Graph([]), release("3.5.0")),
    ],
    ids=["the same version", "a step of their own", "a chart that updates its kinds itself", "a new release"],
)
def test_kinds_that_follow_are_none_of_its_business(before, after):
    assert list(upgrades.findings("dev", before, after)) == []


def test_a_new_cluster_may_have_any_version():
    assert list(upgrades.findings("dev", Graph([]), cluster("1.35"))) == []


def test_a_refused_step_stops_the_pull_request(repository):
    one = 'Any("aws:eks/cluster:Cluster", "main", version="1.35")\n'
    repository.write("__main__.py", (repository.folder / "__main__.py").read_text("utf-8") + one)
    repository.commit("a cluster")
    repository.edit('version="1.35"', 'version="1.33"')
    told = repository.preflight("diff", "HEAD", "--as-of", "2026-11-22")
    assert told.returncode == 1
    assert "kubernetes-version-step" in told.stdout
    assert "goes from Kubernetes 1.35 back to 1.33, which EKS refuses." in told.stdout
