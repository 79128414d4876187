"""Certificates, the records that prove a domain, and buckets for logs. Zones are there from before."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from .kind import Kind, Ref, no
from .tokens import (
    BUCKET,
    BUCKET_OBJECT,
    BUCKET_POLICY,
    CERTIFICATE,
    CERTIFICATE_VALIDATION,
    RECORD,
)
from .wire import Json
from .world import ACCOUNT, Thing, World

ZONES = {"Z0123456789EXAMPLE": "example.com"}
"""The domains of the account's public zones, by id."""


def _proof(domain: str) -> dict[str, str]:
    """The record that ACM wants for a domain: the same for each certificate of an account."""
    digits = hashlib.sha256(f"{ACCOUNT} {domain}".encode()).hexdigest()
    return {
        "resourceRecordName": f"_{digits[:32]}.{domain}.",
        "resourceRecordType": "CNAME",
        "resourceRecordValue": f"_{digits[32:]}.acm-validations.aws.",
    }


def _certificate(world: World, inputs: Mapping[str, Json]) -> dict[str, Json]:
    names = list(dict.fromkeys([inputs["domainName"], *inputs.get("subjectAlternativeNames", [])]))
    return {
        "arn": world.arn("acm", f"certificate/{world.new_hex(8)}-0000-4000-8000-{world.new_hex(12)}"),
        # ACM answers in its own order.
        "domainValidationOptions": [
            {"domainName": each, **_proof(each.removeprefix("*."))} for each in sorted(names, reverse=True)
        ],
        "keyAlgorithm": "RSA_2048",
        "notAfter": "",
        "notBefore": "",
        "options": {"certificateTransparencyLoggingPreference": "ENABLED"},
        "pendingRenewal": False,
        "renewalEligibility": "INELIGIBLE",
        "renewalSummaries": [],
        "status": "PENDING_VALIDATION",
        "subjectAlternativeNames": names,
        "type": "AMAZON_ISSUED",
        "validationEmails": [],
    }


def is_valid(world: World, arn: str) -> bool:
    """Whether ACM has issued a certificate: all its proofs are in a zone."""
    certificate = world.find(CERTIFICATE, "id", arn)
    found = {
        (each.inputs["name"].rstrip("."), each.inputs["type"], *each.inputs["records"])
        for each in world.of_type(RECORD)
        if "records" in each.inputs
    }
    return certificate is not None and all(
        (option["resourceRecordName"].rstrip("."), option["resourceRecordType"], option["resourceRecordValue"]) in found
        for option in certificate.outputs["domainValidationOptions"]
    )


def _validate(world: World, thing: Thing) -> None:
    arn = thing.inputs["certificateArn"]
    no(not is_valid(world, arn), f"waiting for ACM Certificate ({arn}) to be issued: timeout, PENDING_VALIDATION")


def _make_record(_world: World, thing: Thing) -> None:
    zone, name = thing.inputs["zoneId"], thing.inputs["name"].rstrip(".")
    no(zone not in ZONES, f"NoSuchHostedZone: No hosted zone found with ID: {zone}")
    domain = ZONES[zone]
    no(
        name != domain and not name.endswith(f".{domain}"),
        f"InvalidChangeBatch: RRSet with DNS name {name}. is not permitted in zone {domain}.",
    )


def _drop_bucket(world: World, thing: Thing) -> None:
    objects = [*world.pointing(BUCKET_OBJECT, "bucket", thing.id)]
    no(
        bool(objects) and not thing.inputs.get("forceDestroy"),
        "BucketNotEmpty: The bucket you tried to delete is not empty",
    )
    for each in objects:
        world.remove(each)


_OF_BUCKET = (Ref("bucket", BUCKET),)

KINDS: dict[str, Kind] = {
    CERTIFICATE: Kind("{arn}", outputs=_certificate),
    CERTIFICATE_VALIDATION: Kind("{hex}", refs=(Ref("certificateArn", CERTIFICATE),), make=_validate),
    RECORD: Kind(
        "{zoneId}_{name}_{type}",
        outputs=lambda _world, inputs: {"fqdn": inputs["name"].rstrip(".")},
        make=_make_record,
    ),
    BUCKET: Kind(
        "{bucket}",
        named="bucket",
        longest=63,
        pattern=r"[a-z0-9][a-z0-9.-]*[a-z0-9]",
        outputs=lambda world, inputs: {
            "arn": f"arn:{world.partition}:s3:::{inputs['bucket']}",
            "bucketDomainName": "{id}",
            "bucketRegionalDomainName": "{id}",
            "bucketRegion": world.region,
            "bucketNamespace": "",
            "hostedZoneId": "Z3W03O7B5YMIYP",
            "requestPayer": "BucketOwner",
            "objectLockEnabled": False,
            "versioning": {"enabled": False, "mfaDelete": False},
        },
        absent=frozenset(
            {
                "accelerationStatus",
                "acl",
                "bucketPrefix",
                "corsRules",
                "grants",
                "lifecycleRules",
                "logging",
                "objectLockConfiguration",
                "policy",
                "replicationConfiguration",
                "serverSideEncryptionConfiguration",
                "website",
                "websiteDomain",
                "websiteEndpoint",
            }
        ),
        drop=_drop_bucket,
    ),
    BUCKET_POLICY: Kind("{bucket}", refs=_OF_BUCKET),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": Kind("{bucket}", refs=_OF_BUCKET),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": Kind(
        "{bucket}", refs=_OF_BUCKET
    ),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": Kind(
        "{bucket}",
        refs=_OF_BUCKET,
        outputs=lambda _world, _inputs: {"transitionDefaultMinimumObjectSize": "all_storage_classes_128K"},
        absent=frozenset({"expectedBucketOwner"}),
    ),
}
"""By type token."""
