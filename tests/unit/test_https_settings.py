"""Bad `ingress` and `demo` sections around HTTPS: every mistake is named with what is allowed and what to change."""

import copy

import pytest

from settings import check_settings
from tests.unit.test_settings import problems

GOOD = {
    "region": "ap-northeast-2",
    "expectedAccountId": "111122223333",
    "network": {"cidr": "10.0.0.0/16", "zones": ["ap-northeast-2a", "ap-northeast-2c"], "nat": "single"},
    "cluster": {
        "name": "prod",
        "kubernetesVersion": "1.35",
        "nodeGroups": {"system": {"instanceTypes": ["t3.medium"], "minSize": 2, "maxSize": 3}},
    },
    "ingress": {
        "certManager": {"ca": {}, "acme": {"email": "platform@example.com"}},
        "zones": {"example.com": "Z0123456789EXAMPLE", "eu.example.com": "Z9876543210EXAMPLE"},
        "https": {"scheme": "internet-facing", "accessLogs": {"onDestroy": "keep"}},
        "externalDns": {},
    },
    "demo": {"host": "demo.example.com"},
}
CERTIFICATE = "arn:aws:acm:ap-northeast-2:111122223333:certificate/1234abcd-12ab-34cd-56ef-1234567890ab"
WEB_ACL = "arn:aws:wafv2:ap-northeast-2:111122223333:regional/webacl/shop/1234abcd-12ab-34cd-56ef-1234567890ab"


def stack(**changes):
    """The good stack with values changed by dotted path; None removes a key."""
    values = copy.deepcopy(GOOD)
    for path, value in changes.items():
        *parents, last = path.split("__")
        section = values
        for parent in parents:
            section = section[parent]
        if value is None:
            del section[last]
        else:
            section[last] = value
    return values


# what is changed; the path that is named; a word of what is allowed; a word of the change to make
REFUSED = {
    "a certificate of another region": (
        {"ingress__https__certificateArn": CERTIFICATE.replace("ap-northeast-2", "us-east-1")},
        "ingress.https.certificateArn",
        "arn:aws:acm:ap-northeast-2:111122223333",
        "name one in ap-northeast-2",
    ),
    "a certificate of another partition": (
        {"ingress__https__certificateArn": CERTIFICATE.replace("arn:aws:", "arn:aws-cn:")},
        "ingress.https.certificateArn",
        "arn:aws:acm",
        "name one in aws",
    ),
    "a certificate of another account": (
        {"ingress__https__certificateArn": CERTIFICATE.replace("111122223333", "444455556666")},
        "ingress.https.certificateArn",
        ":111122223333:",
        "name one in 111122223333",
    ),
    "a certificate by its id": (
        {"ingress__https__certificateArn": "1234abcd-12ab-34cd-56ef-1234567890ab"},
        "ingress.https.certificateArn",
        "arn:aws:acm:<region>",
        "take the whole ARN",
    ),
    "names for a certificate that is there already": (
        {"ingress__https": {"certificateArn": CERTIFICATE, "alsoNames": ["*.shop.example.com"]}},
        "ingress.https",
        "certificates that are made here",
        "drop one",
    ),
    "a web ACL of another region": (
        {"ingress__https__webAclArn": WEB_ACL.replace("ap-northeast-2", "us-east-1")},
        "ingress.https.webAclArn",
        "arn:aws:wafv2:ap-northeast-2",
        "name one in ap-northeast-2",
    ),
    "a web ACL of CloudFront": (
        {"ingress__https__webAclArn": WEB_ACL.replace(":regional/", ":global/")},
        "ingress.https.webAclArn",
        "regional/webacl",
        "take the whole ARN",
    ),
    "a zone id of unknown form": (
        {"ingress__zones": {"example.com": "/hostedzone/Z0123456789EXAMPLE"}},
        "ingress.zones.example.com",
        "Z0123456789EXAMPLE",
        "without /hostedzone/",
    ),
    "a zone by an address": (
        {"ingress__zones": {"https://example.com": "Z0123456789EXAMPLE"}},
        "ingress.zones.https://example.com",
        "shop.example.com",
        "no scheme",
    ),
    "a name outside every zone on the certificate": (
        {"ingress__https__alsoNames": ["*.example.net"]},
        "ingress.https.alsoNames.0",
        "example.com, eu.example.com",
        "add its zone",
    ),
    "a host outside every zone": (
        {"demo__host": "demo.notexample.com"},
        "demo.host",
        "example.com, eu.example.com",
        "add its zone",
    ),
    "a host two levels below a wildcard": (
        {"demo__host": "demo.shop.example.com"},
        "demo.host",
        "*.example.com",
        '"*.shop.example.com" to ingress.https.alsoNames',
    ),
    "no host behind a shared load balancer": ({"demo__host": None}, "demo.host", "example.com", "add demo.host"),
    "a scheme beside that of all": (
        {"demo__scheme": "internal"},
        "demo.scheme",
        "ingress.https",
        "set ingress.https.scheme",
    ),
    "Let's Encrypt without an address": (
        {"ingress__certManager": {"acme": {}}},
        "ingress.certManager.acme.email",
        "Where Let's Encrypt",
        "add `email`",
    ),
    "an address that is none": (
        {"ingress__certManager__acme__email": "platform"},
        "ingress.certManager.acme.email",
        "name@example.com",
        "somebody reads",
    ),
    "logs without a word on their end": (
        {"ingress__https__accessLogs": {}},
        "ingress.https.accessLogs.onDestroy",
        "left in the account, or deleted",
        "add `onDestroy`",
    ),
    "an identity that external-dns has already": (
        {"identities": {"external-dns/external-dns": {}}},
        "identities.external-dns/external-dns",
        "",
        "",
    ),
    "an identity that cert-manager has already": (
        {"identities": {"cert-manager/cert-manager-route53": {}}},
        "identities.cert-manager/cert-manager-route53",
        "",
        "",
    ),
    "a demo in the namespace of external-dns": ({"demo__namespace": "external-dns"}, "demo.namespace", "", "rename"),
}


def test_the_good_stack_is_accepted():
    settings = check_settings(GOOD, stack="prod")
    assert settings.ingress.certificate_names == {
        "example.com": ["example.com", "*.example.com"],
        "eu.example.com": ["eu.example.com", "*.eu.example.com"],
    }


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_mistake_is_named_with_its_path_choices_and_change(mistake):
    changes, path, allowed, change = REFUSED[mistake]
    found = problems(stack(**changes))
    assert list(found) == [path], f"exactly this one is refused: {found}"
    assert allowed in found[path].allowed
    assert change in found[path].change


def test_whatever_needs_a_zone_says_so_at_once():
    found = problems(stack(ingress__zones=None, demo__host="demo.example.com"))
    assert set(found) == {"ingress.externalDns", "ingress.certManager.acme", "ingress.https"}
    assert "none with https.certificateArn" in found["ingress.https"].allowed


def test_what_calls_a_service_without_an_endpoint_wants_a_way_out():
    registry = "111122223333.dkr.ecr.ap-northeast-2.amazonaws.com/mirror"
    values = {**stack(network__nat="none", ingress__https__webAclArn=WEB_ACL), "imageRegistry": registry}
    found = problems(values)
    assert set(found) == {"ingress.externalDns", "ingress.certManager.acme", "ingress.https.webAclArn"}
    assert all("network.nat single" in each.allowed for each in found.values())


def test_with_a_certificate_of_its_own_a_stack_needs_no_zone():
    values = stack(ingress={"https": {"certificateArn": CERTIFICATE, "webAclArn": WEB_ACL}})
    assert check_settings(values, stack="prod").ingress.certificate_names == {}


def test_a_name_that_a_certificate_has_anyway_stands_on_it_once():
    ingress = check_settings(stack(ingress__https__alsoNames=["*.example.com"]), stack="prod").ingress
    assert ingress.certificate_names["example.com"] == ["example.com", "*.example.com"]


@pytest.mark.parametrize(
    ("host", "zone", "covered"),
    [
        ("example.com", "example.com", True),
        ("demo.example.com", "example.com", True),
        ("a.demo.example.com", "example.com", False),
        ("a.shop.example.com", "example.com", True),
        ("eu.example.com", "eu.example.com", True),
        ("a.eu.example.com", "eu.example.com", True),
        ("notexample.com", None, False),
    ],
)
def test_a_host_belongs_to_the_longest_zone_and_a_wildcard_stands_for_one_part(host, zone, covered):
    ingress = check_settings(stack(ingress__https__alsoNames=["*.shop.example.com"]), stack="prod").ingress
    assert (ingress.zone_of(host), ingress.covers(host)) == (zone, covered)
