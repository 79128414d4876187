"""Charts and images through a registry of one's own, and the endpoints that reach it."""

import pytest

from components import versions
from components.image_registry import chart_from, image_from, is_regional, values_from
from components.regions import endpoint_service_of

MIRROR = "111122223333.dkr.ecr.ap-northeast-2.amazonaws.com/mirror"


def test_without_a_registry_everything_comes_from_where_it_is_published():
    assert image_from(None, "quay.io/team/app:v1") == "quay.io/team/app:v1"
    assert chart_from(None, versions.CERT_MANAGER) is versions.CERT_MANAGER
    assert values_from(None, versions.CERT_MANAGER, {"a": 1}) == {"a": 1}


def test_an_image_keeps_its_whole_address_behind_the_registry():
    assert image_from(MIRROR, "quay.io/team/app:v1") == f"{MIRROR}/quay.io/team/app:v1"


def test_what_is_in_the_registry_already_stays_there():
    there = f"{MIRROR}/quay.io/team/app:v1"
    assert image_from(MIRROR, there) == there


@pytest.mark.parametrize(
    ("chart", "address"),
    [
        (versions.CERT_MANAGER, "quay.io/jetstack/charts/cert-manager"),
        (versions.AWS_LOAD_BALANCER_CONTROLLER, "aws.github.io/eks-charts/aws-load-balancer-controller"),
        (versions.EXTERNAL_DNS, "kubernetes-sigs.github.io/external-dns/external-dns"),
    ],
    ids=lambda found: getattr(found, "name", ""),
)
def test_a_chart_of_whatever_repository_is_an_artefact_of_the_registry(chart, address):
    found = chart_from(MIRROR, chart)
    assert (found.chart, found.repository, found.version) == (f"oci://{MIRROR}/{address}", None, chart.version)


def test_a_chart_on_disk_stays_on_disk():
    chart = versions.Chart(
        chart="./charts/kiam", version="1", repository=None, policy=None, crds=(), source=versions.KIAM.source
    )
    assert chart_from(MIRROR, chart) is chart


def test_every_image_of_a_chart_comes_through_the_registry_and_the_other_values_stay():
    values = {"agent": {"image": {"tag": "v4.2"}, "log": 1}, "other": [2]}
    assert values_from(MIRROR, versions.KIAM, values) == {
        "agent": {"image": {"tag": "v4.2", "repository": f"{MIRROR}/quay.io/uswitch/kiam"}, "log": 1},
        "server": {"image": {"repository": f"{MIRROR}/quay.io/uswitch/kiam"}},
        "other": [2],
    }
    assert values == {"agent": {"image": {"tag": "v4.2"}, "log": 1}, "other": [2]}, "the caller's values are his own"


def test_a_value_that_says_already_where_an_image_comes_from_is_left_alone():
    values = values_from(MIRROR, versions.CERT_MANAGER, {"imageRegistry": "example.com"})
    assert values == {"imageRegistry": "example.com"}


@pytest.mark.parametrize(
    ("registry", "region", "reached"),
    [
        (MIRROR, "ap-northeast-2", True),
        (MIRROR, "eu-west-1", False),
        ("111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1", True),
        ("public.ecr.aws/mirror", "ap-northeast-2", False),
        ("registry.example.com", "ap-northeast-2", False),
    ],
)
def test_endpoints_reach_a_private_ecr_of_their_region_only(registry, region, reached):
    assert is_regional(registry, region) == reached


@pytest.mark.parametrize(
    ("region", "service", "name"),
    [
        ("ap-northeast-2", "ecr.api", "com.amazonaws.ap-northeast-2.ecr.api"),
        ("us-gov-west-1", "sts", "com.amazonaws.us-gov-west-1.sts"),
        ("cn-north-1", "ecr.dkr", "cn.com.amazonaws.cn-north-1.ecr.dkr"),
        ("cn-north-1", "elasticloadbalancing", "com.amazonaws.cn-north-1.elasticloadbalancing"),
        ("cn-north-1", "s3", "com.amazonaws.cn-north-1.s3"),
        ("eusc-de-east-1", "ecr.api", "eu.amazonaws.eusc-de-east-1.ecr.api"),
        ("eusc-de-east-1", "ec2", "com.amazonaws.eusc-de-east-1.ec2"),
    ],
)
def test_an_endpoints_name_begins_as_its_partition_has_it(region, service, name):
    assert endpoint_service_of(region, service) == name
