"""HTTPS end to end: each rule fires for one small change to the production stack, and no other does."""

from __future__ import annotations

import copy
import json

import pytest

from preflight.answers import UNKNOWN
from preflight.ingresses import answering
from preflight.rules import RULES
from tests.unit.rules.conftest import Change, Recorded

INGRESS = "Ingress demo-ingress"
FRONT_DOOR = "Ingress ingress-front-door"
CLASS = "IngressClassParams ingress-shared-parameters"
CONTROLLER = "Release ingress-aws-load-balancer-controller"
EXTERNAL_DNS = "Release ingress-dns-external-dns"
ZONE_POLICY = "Policy ingress-dns-identity-external-dns"
CERT_MANAGER = "Release ingress-cert-manager"
ISSUER = "ClusterIssuer ingress-issuers-letsencrypt"
BUCKET_POLICY = "BucketPolicy ingress-shared-logs-policy"
CERTIFICATE = "Certificate ingress-shared-example.com-certificate"
ALB = "alb.ingress.kubernetes.io/"
WEB_ACL = "arn:aws:wafv2:ap-northeast-2:111122223333:regional/webacl/shop/1234abcd-12ab-34cd-56ef-1234567890ab"


def annotate(key: str, to: object, on: str = INGRESS) -> Change:
    return lambda stack: stack[on].set("metadata", "annotations", ALB + key, to=to)


def host(name: str) -> Change:
    return lambda stack: stack[INGRESS].set("spec", "rules", 0, "host", to=name)


def class_says(key: str, to: object) -> Change:
    return lambda stack: stack[CLASS].set("spec", key, to=to)


def both(*changes: Change) -> Change:
    return lambda stack: [change(stack) for change in changes]


def writable(*zones: str) -> Change:
    """The zones that external-dns may write to."""

    def change(stack: Recorded) -> None:
        document = json.loads(stack[ZONE_POLICY].get("policy"))
        for statement in document["Statement"]:
            if "route53:ChangeResourceRecordSets" in statement["Action"]:
                statement["Resource"] = [f"arn:aws:route53:::hostedzone/{zone}" for zone in zones]
        stack[ZONE_POLICY].set("policy", to=json.dumps(document))

    return change


def second_external_dns(**values: object) -> Change:
    def change(stack: Recorded) -> None:
        inputs = copy.deepcopy(stack[EXTERNAL_DNS].raw["inputs"])
        inputs["values"].update(values)
        stack.add("kubernetes:helm.sh/v3:Release", "second", {**inputs, "name": "second"}, like=EXTERNAL_DNS)

    return change


def policy_of_bucket(stack: Recorded) -> None:
    document = json.loads(stack[BUCKET_POLICY].get("policy"))
    document["Statement"][0]["Principal"] = {"Service": "delivery.logs.amazonaws.com"}
    stack[BUCKET_POLICY].set("policy", to=json.dumps(document))


MUTANTS: dict[str, Change] = {
    "ingress-host-uncovered": host("demo.shop.example.com"),
    "ingress-plain-http": lambda stack: stack[CLASS].unset("spec", "sslRedirectPort"),
    "ingress-redirect-unheard": annotate("listen-ports", '[{"HTTPS": 443}]', on=FRONT_DOOR),
    "tls-policy-outdated": class_says("sslPolicy", "ELBSecurityPolicy-TLS13-1-0-2021-06"),
    "external-dns-zone-closed": writable("Z9876543210EXAMPLE"),
    "external-dns-zone-open": writable("*"),
    "ingress-outlives-external-dns": lambda stack: stack[CONTROLLER].forgets(EXTERNAL_DNS),
    "acme-without-identity": lambda stack: stack[CERT_MANAGER].set("values", "serviceAccount", to={"create": True}),
    "web-acl-ignored": both(
        class_says("wafv2AclArn", WEB_ACL), lambda stack: stack[CONTROLLER].set("values", "enableWafv2", to=False)
    ),
    "access-logs-refused": policy_of_bucket,
}
# What a change breaks besides, and why no smaller one would do.
ALSO = {
    # The one zone that it may write to is another one.
    "external-dns-zone-closed": {"external-dns-zone-open"},
    # The role of the account that nobody runs under any more.
    "acme-without-identity": {"trust-nobody"},
}


@pytest.mark.parametrize("rule", MUTANTS)
def test_a_rule_fires_for_its_mutant_and_no_other_does(prod, new_findings, rule):
    found = new_findings(prod, MUTANTS[rule])
    assert rule in {one.rule for one in found}
    assert {one.rule for one in found} - {rule} <= ALSO.get(rule, set())
    assert {one.severity for one in found if one.rule == rule} == {RULES[rule].severity}


@pytest.mark.parametrize("rule", MUTANTS)
def test_the_production_stack_is_clean(prod, rule):
    assert prod.of(rule) == []


def said(stack: Recorded, rule: str) -> str:
    return "\n".join(one.message + one.fix for one in stack.of(rule))


# Rules of the ingress topic, for what a class says


def test_a_certificate_of_a_class_is_in_the_region_too(prod):
    class_says("certificateArn", ["arn:aws:acm:us-east-1:111122223333:certificate/0123456789ab"])(prod)
    assert "names a certificate in us-east-1" in said(prod, "ingress-certificate-elsewhere")


def test_a_redirect_of_a_class_leads_to_https_too(prod):
    class_says("sslRedirectPort", "8443")(prod)
    assert "redirects to port 8443, which is no HTTPS listener" in said(prod, "ingress-ssl-redirect")


def test_a_group_of_a_class_is_one_load_balancer(prod):
    class_says("certificateArn", [])(prod)
    annotate("certificate-arn", prod[CERTIFICATE].get("arn"), on=FRONT_DOOR)(prod)
    assert prod.of("ingress-host-uncovered") == []
    class_says("group", {"name": ""})(prod)
    annotate("listen-ports", '[{"HTTPS": 443}]')(prod)
    assert prod.of("ingress-ssl-redirect") == []


# Hosts


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("example.com", True),
        ("a.example.com", True),
        ("a.b.example.com", False),
        ("notexample.com", False),
    ],
)
def test_a_wildcard_stands_for_one_part_of_a_name(prod, name, covered):
    host(name)(prod)
    assert (prod.of("ingress-host-uncovered") == []) is covered


def test_what_a_certificate_from_elsewhere_is_valid_for_is_not_known(prod):
    host("a.b.example.com")(prod)
    class_says("certificateArn", ["arn:aws:acm:ap-northeast-2:111122223333:certificate/0123456789ab"])(prod)
    assert prod.of("ingress-host-uncovered") == []


def test_a_certificate_of_another_ingress_of_the_group_counts(prod):
    host("a.b.example.com")(prod)
    prod.add(
        "aws:acm/certificate:Certificate",
        "other",
        {"domainName": "*.b.example.com"},
        like=CERTIFICATE,
        arn="arn:aws:acm:ap-northeast-2:111122223333:certificate/other",
    )
    arns = prod[CLASS].get("spec", "certificateArn")
    class_says("certificateArn", [*arns, "arn:aws:acm:ap-northeast-2:111122223333:certificate/other"])(prod)
    assert prod.of("ingress-host-uncovered") == []


# HTTP


def test_inside_the_vpc_plain_http_is_nobodys_business(prod):
    MUTANTS["ingress-plain-http"](prod)
    class_says("scheme", "internal")(prod)
    assert prod.of("ingress-plain-http") == []


@pytest.mark.parametrize("key", ["type", "Type"])
def test_a_redirect_by_an_action_counts(prod, key):
    MUTANTS["ingress-plain-http"](prod)
    annotate("actions.not-found", json.dumps({key: "redirect"}), on=FRONT_DOOR)(prod)
    assert prod.of("ingress-plain-http") == []


# TLS policies


@pytest.mark.parametrize(
    ("policy", "outdated"),
    [
        ("ELBSecurityPolicy-2016-08", True),
        ("ELBSecurityPolicy-TLS-1-1-2017-01", True),
        ("ELBSecurityPolicy-FS-1-1-2019-08", True),
        ("ELBSecurityPolicy-TLS13-1-1-2021-06", True),
        ("ELBSecurityPolicy-TLS13-1-0-PQ-2025-09", True),
        ("ELBSecurityPolicy-TLS-1-2-2017-01", False),
        ("ELBSecurityPolicy-FS-1-2-Res-2020-10", False),
        ("ELBSecurityPolicy-TLS13-1-2-2021-06", False),
        ("ELBSecurityPolicy-TLS13-1-3-2021-06", False),
    ],
)
def test_a_policy_is_outdated_where_it_admits_less_than_tls_1_2(prod, policy, outdated):
    class_says("sslPolicy", policy)(prod)
    assert (prod.of("tls-policy-outdated") != []) is outdated


def test_without_a_policy_the_controllers_default_counts(prod):
    prod[CLASS].unset("spec", "sslPolicy")
    assert "since nobody names one" in said(prod, "tls-policy-outdated")
    prod[CONTROLLER].set("values", "defaultSSLPolicy", to="ELBSecurityPolicy-TLS13-1-2-2021-06")
    assert prod.of("tls-policy-outdated") == []


@pytest.mark.parametrize(("protocol", "fires"), [("HTTPS", True), ("TLS", True), ("HTTP", False)])
def test_a_listener_of_the_program_itself_is_judged_too(prod, protocol, fires):
    prod.add("aws:lb/listener:Listener", "own", {"protocol": protocol, "port": 443}, like=CERTIFICATE)
    assert (prod.of("tls-policy-outdated") != []) is fires


# external-dns


def test_the_zones_of_policy_and_filter_are_named(prod):
    writable("Z9876543210EXAMPLE")(prod)
    assert "keeps Z0123456789EXAMPLE, and its role may write to Z9876543210EXAMPLE." in said(
        prod, "external-dns-zone-closed"
    )


def test_filters_may_be_written_as_a_list_of_arguments(prod):
    arguments = ["--zone-id-filter=Z0123456789EXAMPLE", "--aws-zone-type=public"]
    prod[EXTERNAL_DNS].set("values", "extraArgs", to=arguments)
    assert prod.of("external-dns-zone-open") == prod.of("external-dns-zone-closed") == []
    writable("Z0123456789EXAMPLE", "Z9876543210EXAMPLE")(prod)
    assert "Z9876543210EXAMPLE too" in said(prod, "external-dns-zone-open")


def test_a_domain_filter_does_not_bind_whoever_takes_the_pod_over(prod):
    prod[EXTERNAL_DNS].set("values", "extraArgs", to={})
    assert prod.of("external-dns-zone-open") == [], "the policy names its zones"
    writable("*")(prod)
    assert "keeps example.com, and its role may write to every zone too" in said(prod, "external-dns-zone-open")
    prod[EXTERNAL_DNS].set("values", "domainFilters", to=[])
    assert prod.of("external-dns-zone-open") == [], "without filters it keeps every zone on purpose"


@pytest.mark.parametrize(
    "apart",
    [
        {"txtOwnerId": "other"},
        {"txtPrefix": "other-%{record_type}."},
        {"domainFilters": ["example.net"]},
        {"extraArgs": {"zone-id-filter": ["Z9876543210EXAMPLE"]}},
        {"provider": {"name": "cloudflare"}},
    ],
    ids=str,
)
def test_two_installations_may_stand_beside_each_other(prod, apart):
    second_external_dns(**apart)(prod)
    assert prod.of("dns-owner-shared") == []


def test_an_owner_that_nobody_names_is_everybodys(prod):
    for values in (prod[EXTERNAL_DNS].raw["inputs"]["values"], prod[EXTERNAL_DNS].raw["outputs"]["values"]):
        del values["txtOwnerId"]
    second_external_dns()(prod)
    assert "own records as default" in said(prod, "dns-owner-shared")


@pytest.mark.parametrize(
    ("key", "to"),
    [("policy", "upsert-only"), ("sources", ["service"]), ("domainFilters", ["example.net"])],
)
def test_what_external_dns_would_not_remove_need_not_go_before_it(prod, key, to):
    MUTANTS["ingress-outlives-external-dns"](prod)
    prod[EXTERNAL_DNS].set("values", key, to=to)
    assert prod.of("ingress-outlives-external-dns") == []


# Issuers


def test_an_issuer_takes_no_credentials_from_the_pods(prod):
    prod.add("kubernetes:cert-manager.io/v1:Issuer", "own", prod[ISSUER].raw["inputs"], like=ISSUER)
    assert "an Issuer takes none" in said(prod, "acme-without-identity")
    prod[CERT_MANAGER].set("values", "extraArgs", to=["--issuer-ambient-credentials"])
    assert prod.of("acme-without-identity") == []


@pytest.mark.parametrize("solver", [{"http01": {}}, {"dns01": {"route53": {"auth": {"kubernetes": {}}}}}], ids=str)
def test_a_solver_with_another_way_needs_no_role(prod, solver):
    MUTANTS["acme-without-identity"](prod)
    for name in ("letsencrypt", "letsencrypt-staging"):
        prod[f"ClusterIssuer ingress-issuers-{name}"].set("spec", "acme", "solvers", to=[solver])
    assert prod.of("acme-without-identity") == []


# Logs


def test_a_bucket_of_somebody_else_is_not_judged(prod):
    attributes = [
        {"key": "access_logs.s3.enabled", "value": "true"},
        {"key": "access_logs.s3.bucket", "value": "elsewhere"},
    ]
    class_says("loadBalancerAttributes", attributes)(prod)
    policy_of_bucket(prod)
    assert prod.of("access-logs-refused") == []


def test_the_account_of_the_region_may_write_in_place_of_the_service(prod):
    policy_of_bucket(prod)
    document = json.loads(prod[BUCKET_POLICY].get("policy"))
    document["Statement"][0]["Principal"] = {"AWS": "arn:aws:iam::600734575887:root"}
    prod[BUCKET_POLICY].set("policy", to=json.dumps(document))
    assert prod.of("access-logs-refused") == []


def test_elb_writes_to_no_bucket_with_a_key_of_kms(prod):
    encryption = prod["BucketServerSideEncryptionConfiguration ingress-shared-logs-encryption"]
    encryption.set("rules", 0, "applyServerSideEncryptionByDefault", "sseAlgorithm", to="aws:kms")
    assert 'Set its sse_algorithm to "AES256".' in said(prod, "access-logs-refused")


def test_an_annotation_that_turns_logs_on_is_read_too(prod):
    bucket = prod["Bucket ingress-shared-logs-bucket"].get("bucket")
    policy_of_bucket(prod)
    class_says("loadBalancerAttributes", [])(prod)
    assert prod.of("access-logs-refused") == []
    annotate("load-balancer-attributes", f"access_logs.s3.enabled=true,access_logs.s3.bucket={bucket}")(prod)
    assert "demo-ingress writes access logs" in said(prod, "access-logs-refused")


# What the plan says of an Ingress


def facts(stack: Recorded, name: str = "demo/demo") -> tuple[str, ...]:
    (row,) = [row for row in answering(stack.stack().graph) if row.name == name]
    return row.facts


def test_the_plan_tells_a_port_in_the_clear_from_one_that_redirects(prod):
    assert "HTTP 80 redirects to 443" in facts(prod)
    MUTANTS["ingress-plain-http"](prod)
    assert "HTTP 80 is served without TLS" in facts(prod)


def test_the_plan_tells_a_name_that_nobody_keeps(prod):
    assert "demo.example.com: record kept by external-dns as eks-foundation-prod" in facts(prod)
    prod[EXTERNAL_DNS].set("values", "domainFilters", to=["example.net"])
    assert "demo.example.com: nothing here keeps a record" in facts(prod)


def test_the_plan_tells_who_else_is_on_a_load_balancer_and_what_stands_before_it(prod):
    class_says("wafv2AclArn", WEB_ACL)(prod)
    assert {"shared with kube-system/front-door", f"behind web ACL {WEB_ACL}"} <= {*facts(prod)}
    class_says("group", {})(prod)
    assert not any(fact.startswith("shared with") for fact in facts(prod))


def test_the_plan_says_what_it_does_not_know_yet(prod):
    class_says("group", {"name": UNKNOWN})(prod)
    (row,) = answering(prod.stack().graph)
    assert (row.name, row.addresses) == ("known after the update", ())
    assert "is known only after the update" in row.facts[0]
