import dataclasses
import json
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
from preflight.rules import cluster

ROOT = Path(iam_policies.__file__).parents[1]
SOURCES: dict[str, Any] = tomllib.loads((ROOT / "iam_policies" / "sources.toml").read_text("utf-8"))

CHARTS = {name: value for name, value in vars(versions).items() if isinstance(value, Chart)}
ADDONS = [(row.name, addon) for row in KUBERNETES.values() for addon in row.addon_rows]


ROWS = [*KUBERNETES.values(), *(addon for _, addon in ADDONS), *CHARTS.values(), versions.DEMO_IMAGE]


def test_the_table_has_two_neighbouring_kubernetes_versions() -> None:
    minors = [int(name.partition(".")[2]) for name in KUBERNETES]
    assert len(minors) > 1, "a stack can be upgraded by one line"
    assert minors == list(range(min(minors), max(minors) + 1)), "in order and without a gap: EKS skips no minor"


def test_every_chart_belongs_to_a_kubernetes_version() -> None:
    rows = [chart for row in KUBERNETES.values() for chart in row.charts]
    # Kiam is abandoned: nobody says which version of Kubernetes it runs on.
    strays = [name for name, chart in CHARTS.items() if chart not in rows and name != "KIAM"]
    assert not strays, "a chart without a Kubernetes version is a chart that nobody compared with one"


@pytest.mark.parametrize("row", KUBERNETES.values(), ids=KUBERNETES)
def test_a_pair_is_known_once_and_the_first_is_preferred(row: versions.KubernetesVersion) -> None:
    pairs = [(chart.name, chart.version) for chart in row.charts]
    assert len(set(pairs)) == len(pairs), "a pair has one answer"
    for name, version in pairs:
        assert row.chart(name, version).version == version, "the pair that is asked for"
        assert row.chart(name).version == row.chart_versions(name)[0], "the preferred one where none is asked for"
        numbers = [tuple(map(int, re.findall(r"\d+", one))) for one in row.chart_versions(name)]
        assert numbers == sorted(numbers, reverse=True), "the newest is the preferred one"


def test_an_unknown_pair_names_the_known_ones() -> None:
    with pytest.raises(LookupError, match=r"aws-load-balancer-controller 1\.8\.2 .* 1\.35; known: 3\.5\.0, 3\.4\.3"):
        KUBERNETES["1.35"].chart("aws-load-balancer-controller", "1.8.2")


def test_two_versions_of_the_controller_go_with_each_kubernetes_version() -> None:
    for row in KUBERNETES.values():
        assert len(row.chart_versions("aws-load-balancer-controller")) > 1, "it can be upgraded, and taken back"


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)
def test_the_manifests_of_custom_resources_are_of_the_charts_version(chart: Chart) -> None:
    for address in chart.crd_addresses:
        assert f"/{chart.app_version}/" in address, "they move with the chart"


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
    read = {part.rpartition("chart-")[2] for part in chart.source.address.split("/")}
    assert read & {chart.version, chart.app_version}, "the source is the pinned version and no other"
    assert all(re.fullmatch(r"[a-z]+(\.[a-z0-9-]+)+", crd) for crd in chart.crds), "a CRD's name is plural.group"


@pytest.mark.parametrize("chart", [chart for chart in CHARTS.values() if chart.policy], ids=lambda chart: chart.chart)
def test_a_policy_is_the_one_of_the_controller_that_the_chart_installs(chart: Chart) -> None:
    assert chart.policy in iam_policies.policy_names(), "the row names a policy that exists"
    source = SOURCES[chart.policy]
    assert chart.app_version in (source["version"], *source.get("also", ())), (
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


def test_the_gateway_api_that_is_installed_is_the_one_that_the_lattice_controller_is_built_for() -> None:
    assert versions.GATEWAY_API.version.startswith(f"{versions.LATTICE_CONTROLLER.gateway_api}."), (
        "the controller does not start beside another minor version"
    )


LINES = Path(versions.__file__).read_text("utf-8").splitlines()
PINS = {
    number: line.strip() for number, line in enumerate(LINES, 1) if re.match(r'\s+(version|reference)="[^"]*\d', line)
}
MANAGERS: list[dict[str, Any]] = json.loads((ROOT / "renovate.json").read_text("utf-8"))["customManagers"]


@pytest.mark.parametrize("number", PINS, ids=PINS.values())
def test_renovate_finds_every_pinned_version(number: int) -> None:
    comment = LINES[number - 2].strip()
    if comment.startswith("# not renovated: "):
        return
    text = "\n".join(LINES)
    start = text.index(comment, sum(len(line) + 1 for line in LINES[: number - 2]))
    found = [
        match
        for manager in MANAGERS
        for pattern in manager["matchStrings"]
        for match in re.finditer(pattern.replace("(?<", "(?P<"), text)
        if match.start() == start
    ]
    assert len(found) == 1, f"one manager of renovate.json finds {PINS[number]}, by its comment {comment!r}"
    assert found[0]["currentValue"] in PINS[number], "and takes the version that the line has"


@pytest.mark.parametrize(("kubernetes", "addon"), ADDONS, ids=[f"{name}-{addon.name}" for name, addon in ADDONS])
def test_renovate_asks_for_an_addon_of_the_rows_own_kubernetes_version(kubernetes: str, addon: versions.Addon) -> None:
    assert f"# renovate: eks={kubernetes} addon={addon.name}" in "\n".join(LINES), "the comment is of this row"


def test_no_row_can_be_changed_by_a_program() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        versions.DEMO_IMAGE.port = 80  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TypeError):
        KUBERNETES["1.19"] = KUBERNETES["1.35"]  # pyright: ignore[reportIndexIssue]


@pytest.mark.parametrize("row", KUBERNETES.values(), ids=KUBERNETES)
def test_the_rules_judge_by_the_same_dates(row: versions.KubernetesVersion) -> None:
    dates = cluster.SUPPORT[row.name]
    assert dates == (row.standard_support_ends, row.extended_support_ends), "preflight has a table of its own"
