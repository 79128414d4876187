import dataclasses
import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import iam_policies
from components import versions
from components.versions import KUBERNETES, Chart

SOURCES: dict[str, Any] = tomllib.loads((Path(iam_policies.__file__).parent / "sources.toml").read_text("utf-8"))

CHARTS = {name: value for name, value in vars(versions).items() if isinstance(value, Chart)}
ADDONS = [(row.name, addon) for row in KUBERNETES.values() for addon in row.addon_rows]


ROWS = [*KUBERNETES.values(), *(addon for _, addon in ADDONS), *CHARTS.values(), versions.DEMO_IMAGE]


def test_the_table_has_what_the_program_installs() -> None:
    assert "1.35" in KUBERNETES, "Kubernetes 1.35 has a row"
    assert set(CHARTS) == {"AWS_LOAD_BALANCER_CONTROLLER", "CERT_MANAGER", "KIAM"}, (
        "each chart that is installed has a row"
    )


def test_every_row_says_where_and_when_it_was_read() -> None:
    for row in ROWS:
        address = urlsplit(row.source.address)
        assert address.scheme == "https", f"{row.source.address} can be opened"
        assert address.netloc, f"{row.source.address} can be opened"
        assert row.source.read >= date(2026, 1, 27), f"{row.source.address} was read after 1.35 came to EKS"


@pytest.mark.parametrize("row", KUBERNETES.values(), ids=KUBERNETES)
def test_a_version_stands_under_its_own_name(row: versions.KubernetesVersion) -> None:
    assert KUBERNETES[row.name] is row, "a look-up by name gives the row of that name"
    assert re.fullmatch(r"1\.\d\d", row.name), "EKS takes a minor version, without v and patch"


@pytest.mark.parametrize("row", KUBERNETES.values(), ids=KUBERNETES)
def test_extended_support_ends_a_year_after_standard_support(row: versions.KubernetesVersion) -> None:
    standard = row.standard_support_ends
    assert row.extended_support_ends == standard.replace(year=standard.year + 1), (
        "EKS gives twelve months of extended support, so one of the two dates is mistyped"
    )


def test_support_of_1_35_ends_on_the_days_that_aws_names() -> None:
    row = KUBERNETES["1.35"]
    assert (row.standard_support_ends, row.extended_support_ends) == (date(2027, 3, 27), date(2028, 3, 27)), (
        "a date moves only with AWS's release calendar"
    )


@pytest.mark.parametrize("row", KUBERNETES.values(), ids=KUBERNETES)
def test_a_version_has_every_addon_that_a_cluster_installs(row: versions.KubernetesVersion) -> None:
    assert set(row.addons) == {
        "aws-ebs-csi-driver",
        "coredns",
        "eks-pod-identity-agent",
        "kube-proxy",
        "vpc-cni",
    }, "a cluster without one of these has no network, no names, no volumes or no identities"
    assert len(row.addons) == len(row.addon_rows), "no add-on has two versions"


@pytest.mark.parametrize(("kubernetes", "addon"), ADDONS, ids=[f"{name}-{addon.name}" for name, addon in ADDONS])
def test_an_addon_version_is_a_build_of_eks(kubernetes: str, addon: versions.Addon) -> None:
    assert re.fullmatch(r"v\d+\.\d+\.\d+-eksbuild\.\d+", addon.version), "EKS takes a version with its build number"
    if addon.name == "kube-proxy":
        assert addon.version.startswith(f"v{kubernetes}."), "kube-proxy has the minor version of its cluster"


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)
def test_a_chart_has_exactly_one_address(chart: Chart) -> None:
    if chart.chart.startswith("oci://"):
        assert chart.repository is None, "Helm refuses a repository beside an OCI address"
    else:
        assert chart.repository, "a chart given by name needs its repository"
        assert chart.repository.startswith("https://"), "the repository is not read in the clear"


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)
def test_a_chart_is_pinned_and_was_read_at_that_version(chart: Chart) -> None:
    assert re.fullmatch(r"v?\d+\.\d+\.\d+", chart.version), "a pinned version, no range"
    assert f"/{chart.app_version}/" in chart.source.address, "the source is the pinned version and no other"
    assert all(re.fullmatch(r"[a-z]+(\.[a-z0-9-]+)+", crd) for crd in chart.crds), "a CRD's name is plural.group"


@pytest.mark.parametrize("chart", [chart for chart in CHARTS.values() if chart.policy], ids=lambda chart: chart.chart)
def test_a_policy_is_the_one_of_the_controller_that_the_chart_installs(chart: Chart) -> None:
    assert chart.policy in iam_policies.policy_names(), "the row names a policy that exists"
    assert SOURCES[chart.policy]["version"] == chart.app_version, (
        "a newer controller with an older policy is refused by AWS at run time only: move both"
    )


def test_the_controllers_policy_is_not_forgotten() -> None:
    assert versions.AWS_LOAD_BALANCER_CONTROLLER.policy == "aws-load-balancer-controller", (
        "the controller calls AWS, so its row names its policy"
    )


def test_the_demo_image_is_pinned_and_unprivileged() -> None:
    image = versions.DEMO_IMAGE
    assert re.fullmatch(r"[a-z.]+(/[a-z-]+)+:\d+\.\d+\.\d+[a-z-]*", image.reference), "a registry and a whole version"
    assert image.user > 0, "the container does not run as root"
    assert image.port >= 1024, "a port that needs no capability"


def test_no_row_can_be_changed_by_a_program() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        versions.DEMO_IMAGE.port = 80  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TypeError):
        KUBERNETES["1.19"] = KUBERNETES["1.35"]  # pyright: ignore[reportIndexIssue]
