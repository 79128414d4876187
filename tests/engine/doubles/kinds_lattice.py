"""What services over VPC Lattice need of the account: private zones, a private authority, the service network.

Services themselves and their records are made inside the account: lattice.py plays who makes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from . import kinds_https, wire
from .kind import DEPENDENCY, Kind, Ref, no, unique
from .tokens import (
    AUTH_POLICY,
    AUTHORITY,
    CERTIFICATE,
    INSTALLATION,
    LATTICE_SERVICE,
    NETWORK_ASSOCIATION,
    PERMISSION,
    PRIVATE_CERTIFICATE,
    RECORD,
    SERVICE_NETWORK,
    VPC,
    ZONE,
    ZONE_ASSOCIATION,
)
from .wire import Json, at
from .world import ACCOUNT, Thing, World

_POLICY_BYTES = 10240
_DATES = {"notBefore": "2026-11-22T00:00:00Z", "notAfter": "2036-11-22T00:00:00Z"}


def _make_zone(world: World, thing: Thing) -> None:
    thing.outputs["arn"] = f"arn:{world.partition}:route53:::hostedzone/{thing.id}"


def _drop_zone(world: World, thing: Thing) -> None:
    records = [each for each in world.of_type(RECORD) if each.inputs["zoneId"] == thing.id]
    no(bool(records) and not thing.inputs.get("forceDestroy"), "HostedZoneNotEmpty: the zone still has records")
    for each in records:
        world.remove(each)


def _make_authority_certificate(world: World, thing: Thing) -> None:
    """Only a certificate of its own template is issued by an authority that is not active yet."""
    root = thing.inputs.get("templateArn", "").endswith("template/RootCACertificate/V1")
    no(not root and not _is_active(world, thing.inputs["certificateAuthorityArn"]), "InvalidStateException")


def _is_active(world: World, authority_arn: str) -> bool:
    return any(world.pointing(INSTALLATION, "certificateAuthorityArn", authority_arn))


def _request_certificate(world: World, thing: Thing) -> None:
    """A request to an authority that is not active fails, and the certificate is there all the same."""
    if authority := thing.inputs.get("certificateAuthorityArn"):
        thing.outputs["status"] = "ISSUED" if _is_active(world, authority) else "FAILED"


def _drop_certificate(world: World, thing: Thing) -> None:
    used = [each for each in world.of_type(LATTICE_SERVICE) if each.outputs["certificateArn"] == thing.outputs["arn"]]
    no(
        bool(used),
        f"ResourceInUseException: Certificate {thing.outputs['arn']} is in use by {', '.join(map(str, used))}",
    )


def _certificate_outputs(world: World, inputs: Mapping[str, Json]) -> dict[str, Json]:
    public = kinds_https.KINDS[CERTIFICATE].outputs(world, inputs)
    if "certificateAuthorityArn" not in inputs:
        return public
    return {**public, **_DATES, "domainValidationOptions": [], "type": "PRIVATE", "validationMethod": "NONE"}


def _auth_policy_problems(inputs: dict[str, Json]) -> Iterator[tuple[str, str]]:
    for text in at(inputs, "policy"):
        if text != wire.UNKNOWN and len(json.dumps(json.loads(text), separators=(",", ":"))) > _POLICY_BYTES:
            yield "policy", f"ValidationException: at most {_POLICY_BYTES} bytes"


def network_id(identifier: str) -> str:
    """The id of a service network, given as that or as ARN."""
    return identifier.rpartition("/")[2]


def _make_network_association(world: World, thing: Thing) -> None:
    network = network_id(thing.inputs["serviceNetworkIdentifier"])
    no(world.find(SERVICE_NETWORK, "id", network) is None, f"ResourceNotFoundException: service network {network}")
    others = list(world.pointing(thing.type, "vpcIdentifier", thing.inputs["vpcIdentifier"]))
    no(any(each is not thing for each in others), "ConflictException: the VPC is associated with a service network")


def _drop_network(world: World, thing: Thing) -> None:
    associated = [
        each
        for each in world.of_type(NETWORK_ASSOCIATION)
        if network_id(each.inputs["serviceNetworkIdentifier"]) == thing.id
    ]
    associated += [each for each in world.of_type(LATTICE_SERVICE) if each.inputs["network"] == thing.id]
    no(
        bool(associated),
        f"ConflictException: service network {thing.id} has associations: {', '.join(map(str, associated))}",
    )


KINDS: dict[str, Kind] = {
    ZONE: Kind(
        "{zoneId}",
        refs=(Ref("vpcs.vpcId", VPC),),
        outputs=lambda world, inputs: {
            "comment": inputs.get("comment", "Managed by Pulumi"),
            "enableAcceleratedRecovery": False,
            "nameServers": ["ns-0.awsdns-00.com"],
            "primaryNameServer": "ns-0.awsdns-00.com",
            "zoneId": f"Z{world.new_hex(13).upper()}",
        },
        absent=frozenset({"arn"}),
        make=_make_zone,
        drop=_drop_zone,
    ),
    ZONE_ASSOCIATION: Kind(
        "{zoneId}:{vpcId}",
        refs=(Ref("zoneId", ZONE, holds="HostedZoneNotEmpty: zone {id} has associations"), Ref("vpcId", VPC)),
        outputs=lambda world, _inputs: {"owningAccount": ACCOUNT, "vpcRegion": world.region},
    ),
    AUTHORITY: Kind(
        "{arn}",
        outputs=lambda world, _inputs: {
            **_DATES,
            "arn": world.arn("acm-pca", f"certificate-authority/{world.new_hex(12)}"),
            "certificate": "",
            "certificateChain": "",
            "certificateSigningRequest": "-----BEGIN CERTIFICATE REQUEST-----",
            "keyStorageSecurityStandard": "FIPS_140_2_LEVEL_3_OR_HIGHER",
            "serial": "1",
            "usageMode": "GENERAL_PURPOSE",
        },
    ),
    PRIVATE_CERTIFICATE: Kind(
        "{arn}",
        refs=(Ref("certificateAuthorityArn", AUTHORITY, "arn"),),
        outputs=lambda world, inputs: {
            "arn": f"{inputs['certificateAuthorityArn']}/certificate/{world.new_hex(32)}",
            "certificate": "-----BEGIN CERTIFICATE-----",
            "certificateChain": "",
        },
        make=_make_authority_certificate,
    ),
    INSTALLATION: Kind("{certificateAuthorityArn}", refs=(Ref("certificateAuthorityArn", AUTHORITY, "arn"),)),
    PERMISSION: Kind(
        "{certificateAuthorityArn},{principal},",
        refs=(Ref("certificateAuthorityArn", AUTHORITY, "arn"),),
        outputs=lambda _world, _inputs: {"policy": "", "sourceAccount": ACCOUNT},
    ),
    CERTIFICATE: Kind(
        "{arn}",
        refs=(Ref("certificateAuthorityArn", AUTHORITY, "arn"),),
        outputs=_certificate_outputs,
        make=_request_certificate,
        drop=_drop_certificate,
    ),
    SERVICE_NETWORK: Kind(
        "sn-{hex}",
        "vpc-lattice:servicenetwork/{id}",
        named="name",
        longest=63,
        pattern=r"(?!servicenetwork-)[a-z0-9](-?[a-z0-9])*",
        outputs=lambda _world, inputs: {"authType": inputs.get("authType", "NONE")},
        make=unique("name", "ConflictException"),
        drop=_drop_network,
    ),
    AUTH_POLICY: Kind(
        "{resourceIdentifier}",
        refs=(Ref("resourceIdentifier", SERVICE_NETWORK, "arn"),),
        problems=_auth_policy_problems,
    ),
    NETWORK_ASSOCIATION: Kind(
        "snva-{hex}",
        "vpc-lattice:servicenetworkvpcassociation/{id}",
        (Ref("vpcIdentifier", VPC, holds=DEPENDENCY),),
        outputs=lambda _world, _inputs: {"createdBy": ACCOUNT, "privateDnsEnabled": False, "status": "ACTIVE"},
        make=_make_network_association,
    ),
}
"""Zones, authority, service network, by type token."""
