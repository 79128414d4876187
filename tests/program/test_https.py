"""IngressStack with zones, HTTPS, names and issuers, and an Ingress of its class, under plain mocks."""

import json

import pulumi
import pulumi_aws as aws
import pytest

from components import (
    AccessLogSettings,
    AcmeSettings,
    CaSettings,
    CertManagerSettings,
    DemoApp,
    DemoAppArgs,
    DemoSettings,
    ExternalDnsSettings,
    HttpsSettings,
    IngressSettings,
    IngressStack,
    IngressStackArgs,
)
from iam_policies import policy_document
from tests.program import stacks
from tests.program.conftest import ACCOUNT, ISSUER

ZONES = {"example.com": "Z0123456789EXAMPLE", "example.net": "Z9876543210EXAMPLE"}
ZONE_ARNS = [f"arn:aws:route53:::hostedzone/{each}" for each in ZONES.values()]
CONTROLLER = "ingress-aws-load-balancer-controller"
CERTIFICATE = f"arn:aws:acm:ap-northeast-2:{ACCOUNT}:certificate/1234abcd-12ab-34cd-56ef-1234567890ab"
WEB_ACL = f"arn:aws:wafv2:ap-northeast-2:{ACCOUNT}:regional/webacl/shop/1234abcd-12ab-34cd-56ef-1234567890ab"


def ingress_stack(*, cluster=None, zones=ZONES, cert_manager=None, **https):
    cluster = cluster or stacks.target()
    route = aws.ec2.Route("route", route_table_id="rtb-1", opts=pulumi.ResourceOptions(provider=cluster.aws_provider))
    return IngressStack(
        "ingress",
        IngressStackArgs(
            settings=IngressSettings(
                cert_manager=cert_manager,
                zones=zones,
                https=HttpsSettings(**https),
                external_dns=ExternalDnsSettings() if zones else None,
            ),
            cluster=cluster,
            vpc_id="vpc-1",
            oidc_provider_arn=f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}",
            network_ready=[route],
            tags={"team": "shop"},
        ),
    )


def with_demo():
    cluster = stacks.target()
    ingress = ingress_stack(cluster=cluster)
    demo = DemoApp(
        "demo",
        DemoAppArgs(
            settings=DemoSettings(host="demo.example.com"),
            cluster=cluster,
            ingress_class=ingress.ingress_class,
            ingress_ready=ingress.ready,
            https=True,
        ),
    )
    pulumi.export("url", demo.url)


def issuers(**settings):
    return lambda: ingress_stack(cert_manager=CertManagerSettings(**settings))


def parameters(recording):
    return recording.one("IngressClassParams").inputs["spec"]


def pairs(found):
    return {each["key"]: each["value"] for each in found}


def listeners(ingress):
    """What the controller makes of an Ingress' own listeners: with a certificate of its class 443 alone."""
    given = (ingress.inputs["metadata"].get("annotations") or {}).get("alb.ingress.kubernetes.io/listen-ports")
    return json.loads(given) if given else [{"HTTPS": 443}]


def test_each_zone_has_a_certificate_for_its_domain_and_everything_one_level_below(run):
    recording = run(ingress_stack)
    names = [
        (each.inputs["domainName"], each.inputs["subjectAlternativeNames"], each.inputs["validationMethod"])
        for each in recording.all("acm/certificate:Certificate")
    ]
    assert names == [("example.com", ["*.example.com"], "DNS"), ("example.net", ["*.example.net"], "DNS")]


def test_a_name_and_its_wildcard_share_one_record_in_their_own_zone(run):
    recording = run(ingress_stack)
    assert {each.inputs["name"]: each.inputs["zoneId"] for each in recording.all("Record")} == {
        "_proof.example.com.": "Z0123456789EXAMPLE",
        "_proof.example.net.": "Z9876543210EXAMPLE",
    }
    assert len(recording.all("Record")) == 2


def test_a_further_wildcard_gets_a_record_of_its_own(run):
    recording = run(lambda: ingress_stack(zones={"example.com": "Z1"}, also_names=("*.shop.example.com",)))
    certificate = recording.one("acm/certificate:Certificate").inputs
    assert certificate["subjectAlternativeNames"] == ["*.example.com", "*.shop.example.com"]
    assert [each.inputs["name"] for each in recording.all("Record")] == [
        "_proof.example.com.",
        "_proof.shop.example.com.",
    ]


def test_the_same_resources_are_made_in_a_preview_where_no_record_is_known(run):
    preview, update = run(with_demo, preview=True), run(with_demo)
    assert sorted(each.urn for each in preview.resources) == sorted(each.urn for each in update.resources)


def test_a_record_that_another_certificate_shares_is_taken_over_and_left(run):
    for record in run(ingress_stack).all("Record"):
        assert record.inputs["allowOverwrite"] is True
        assert record.request.retainOnDelete is True


def test_the_class_waits_for_valid_certificates_and_they_outlive_it(run):
    recording = run(ingress_stack)
    found = recording.one("IngressClassParams")
    valid = [each.inputs["certificateArn"] for each in recording.all("CertificateValidation")]
    assert sorted(found.inputs["spec"]["certificateArn"]) == sorted(valid)
    for kind in ("CertificateValidation", "acm/certificate:Certificate", "Record"):
        assert all(recording.reaches(found, each) for each in recording.all(kind)), kind


def test_a_certificate_that_is_there_is_taken_and_none_is_made(run):
    recording = run(lambda: ingress_stack(certificate_arn=CERTIFICATE))
    assert parameters(recording)["certificateArn"] == [CERTIFICATE]
    assert recording.all("acm/certificate:Certificate") == recording.all("Record") == []


def test_the_class_says_everything_so_that_an_ingress_need_not(run):
    spec = parameters(run(lambda: ingress_stack(scheme="internet-facing", web_acl_arn=WEB_ACL)))
    assert (spec["scheme"], spec["targetType"], spec["group"]) == ("internet-facing", "ip", {"name": "shared"})
    assert spec["sslPolicy"].startswith("ELBSecurityPolicy-TLS13-1-2-Res")
    assert spec["sslRedirectPort"] == "443"
    assert spec["wafv2AclArn"] == WEB_ACL
    assert pairs(spec["tags"]) == {"team": "shop"}
    assert pairs(spec["loadBalancerAttributes"]) == {"routing.http.drop_invalid_header_fields.enabled": "true"}


def test_the_class_names_its_parameters_and_goes_before_them(run):
    recording = run(ingress_stack)
    ingress_class = recording.one("IngressClass")
    reference = ingress_class.inputs["spec"]["parameters"]
    assert (reference["apiGroup"], reference["kind"]) == ("elbv2.k8s.aws", "IngressClassParams")
    assert reference["name"] == recording.one("IngressClassParams").inputs["metadata"]["name"]
    assert recording.reaches(ingress_class, recording.one("IngressClassParams"))
    assert recording.reaches(recording.one("IngressClassParams"), recording.one("Release", CONTROLLER))


def test_an_ingress_says_its_host_only(run):
    ingress = run(with_demo).one("Ingress", "demo-ingress").inputs
    assert ingress["metadata"].get("annotations") is None
    assert [each["host"] for each in ingress["spec"]["rules"]] == ["demo.example.com"]
    assert "tls" not in ingress["spec"]


def test_the_front_door_brings_the_port_that_redirects(run):
    recording = run(with_demo)
    front_door, demo = recording.one("Ingress", "ingress-front-door"), recording.one("Ingress", "demo-ingress")
    assert listeners(demo) == [{"HTTPS": 443}]
    assert listeners(front_door) == [{"HTTP": 80}, {"HTTPS": 443}]
    assert front_door.inputs["spec"]["ingressClassName"] == demo.inputs["spec"]["ingressClassName"]


def test_the_front_door_answers_last_and_gets_no_name(run):
    front_door = run(with_demo).one("Ingress", "ingress-front-door").inputs
    (rule,) = front_door["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    annotations = front_door["metadata"]["annotations"]
    assert annotations["alb.ingress.kubernetes.io/group.order"] == "1000", "the last that the controller takes"
    assert "host" not in rule, "external-dns makes a record for every host"
    backend = path["backend"]["service"]
    assert backend["port"] == {"name": "use-annotation"}
    action = json.loads(annotations[f"alb.ingress.kubernetes.io/actions.{backend['name']}"])
    assert action["fixedResponseConfig"]["statusCode"] == "404"
    assert "defaultBackend" not in front_door["spec"], "of those the controller takes one a group"


@pytest.mark.parametrize("ingress", ["demo-ingress", "ingress-front-door"])
def test_no_ingress_outlives_what_has_to_clear_up_after_it(run, ingress):
    recording = run(with_demo)
    needed = [
        recording.one("IngressClass"),
        recording.one("IngressClassParams"),
        recording.one("Release", CONTROLLER),
        recording.one("Release", "ingress-dns-external-dns"),
        *recording.all("RolePolicyAttachment"),
        *recording.all("acm/certificate:Certificate"),
        recording.one("Route"),
        recording.one("NodeGroup"),
    ]
    found = recording.one("Ingress", ingress)
    assert [each.name for each in needed if not recording.reaches(found, each)] == []


def test_external_dns_goes_after_the_controller_so_that_it_sees_the_last_ingress_go(run):
    recording = run(ingress_stack)
    assert recording.reaches(recording.one("Release", CONTROLLER), recording.one("Release", "ingress-dns-external-dns"))


def test_access_logs_may_be_written_by_load_balancers_of_this_account_and_nobody_else(run):
    recording = run(lambda: ingress_stack(access_logs=AccessLogSettings(on_destroy="delete", days=30)))
    allow, deny = json.loads(recording.one("BucketPolicy").inputs["policy"])["Statement"]
    bucket = recording.one("s3/bucket:Bucket")
    assert allow["Principal"] == {"Service": "logdelivery.elasticloadbalancing.amazonaws.com"}
    assert (allow["Effect"], allow["Action"]) == ("Allow", "s3:PutObject")
    assert allow["Resource"] == f"arn:aws:s3:::{bucket.name}/AWSLogs/{ACCOUNT}/*"
    assert (deny["Effect"], deny["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert deny["Resource"] == [f"arn:aws:s3:::{bucket.name}", f"arn:aws:s3:::{bucket.name}/*"]
    closed = recording.one("BucketPublicAccessBlock").inputs
    switches = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    assert [closed[key] for key in switches] == [True] * 4
    (rule,) = recording.one("BucketServerSideEncryptionConfiguration").inputs["rules"]
    assert rule["applyServerSideEncryptionByDefault"] == {"sseAlgorithm": "AES256"}
    (expiry,) = recording.one("BucketLifecycleConfiguration").inputs["rules"]
    assert (expiry["status"], expiry["expiration"]) == ("Enabled", {"days": 30})


def test_the_logs_are_turned_on_once_they_may_be_written_and_off_before(run):
    recording = run(lambda: ingress_stack(access_logs=AccessLogSettings(on_destroy="keep")))
    found = recording.one("IngressClassParams")
    attributes = pairs(found.inputs["spec"]["loadBalancerAttributes"])
    assert attributes["access_logs.s3.enabled"] == "true"
    assert attributes["access_logs.s3.bucket"] == recording.one("s3/bucket:Bucket").name
    assert recording.reaches(found, recording.one("BucketPolicy"))


@pytest.mark.parametrize("choice", ["keep", "delete"])
def test_the_logs_end_as_the_stack_file_says(run, choice):
    bucket = run(lambda: ingress_stack(access_logs=AccessLogSettings(on_destroy=choice))).one("s3/bucket:Bucket")
    assert bucket.request.retainOnDelete is (choice == "keep")
    assert bucket.inputs.get("forceDestroy", False) is (choice == "delete"), "S3 deletes no bucket with logs in it"


def test_the_authority_signs_itself_once_and_then_for_everybody(run):
    recording = run(issuers(ca=CaSettings()))
    authority = recording.one("Certificate", "ingress-issuers-ca-certificate")
    issuer = recording.one("ClusterIssuer", "ingress-issuers-ca")
    assert authority.inputs["spec"]["isCA"] is True
    assert (
        authority.inputs["spec"]["issuerRef"]["name"]
        == (recording.one("ClusterIssuer", "ingress-issuers-self-signed").inputs["metadata"]["name"])
    )
    assert issuer.inputs["spec"] == {"ca": {"secretName": authority.inputs["spec"]["secretName"]}}
    assert authority.inputs["metadata"]["namespace"] == "cert-manager", "where cluster issuers look for their keys"
    assert recording.reaches(issuer, authority)
    assert recording.reaches(authority, recording.one("ClusterIssuer", "ingress-issuers-self-signed"))


def test_lets_encrypt_is_asked_with_a_record_in_the_zone_of_the_name(run):
    recording = run(issuers(acme=AcmeSettings(email="platform@example.com")))
    servers = {each.inputs["metadata"]["name"]: each.inputs["spec"]["acme"] for each in recording.all("ClusterIssuer")}
    assert set(servers) == {"letsencrypt", "letsencrypt-staging"}
    assert "staging" in servers["letsencrypt-staging"]["server"]
    assert "staging" not in servers["letsencrypt"]["server"]
    for acme in servers.values():
        assert acme["email"] == "platform@example.com"
        assert {
            each["selector"]["dnsZones"][0]: each["dns01"]["route53"]["hostedZoneID"] for each in acme["solvers"]
        } == ZONES
    assert len({each["privateKeySecretRef"]["name"] for each in servers.values()}) == 2


def test_cert_manager_runs_as_one_that_may_answer_in_these_zones_only(run):
    recording = run(issuers(acme=AcmeSettings(email="platform@example.com")))
    release = recording.one("Release", "ingress-cert-manager")
    account = recording.one("ServiceAccount", "ingress-cert-manager-identity-account").inputs["metadata"]
    assert release.inputs["values"]["serviceAccount"] == {"create": False, "name": account["name"]}
    assert account["name"] != "cert-manager", "the chart's own account goes when this one comes"
    assert account["namespace"] == release.inputs["namespace"] == "cert-manager"
    policy = json.loads(recording.one("Policy", "ingress-cert-manager-identity-cert-manager").inputs["policy"])
    assert policy == policy_document("cert-manager", partition="aws", parameters={"hostedZoneArns": ZONE_ARNS})
    for issuer in recording.all("ClusterIssuer"):
        assert recording.reaches(issuer, release)
    attachment = recording.one("RolePolicyAttachment", "ingress-cert-manager-identity-cert-manager")
    assert recording.reaches(release, attachment)


def test_without_lets_encrypt_cert_manager_has_no_role(run):
    recording = run(issuers(ca=CaSettings()))
    assert "serviceAccount" not in recording.one("Release", "ingress-cert-manager").inputs["values"]
    assert [each for each in recording.all("Role") if "cert-manager" in each.name] == []
