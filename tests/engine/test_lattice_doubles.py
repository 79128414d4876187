"""The doubles of VPC Lattice say no where AWS and the gateway controller say no. Needs no engine."""

from __future__ import annotations

import json

import pytest

from .doubles.tokens import (
    AUTH_POLICY,
    AUTHORITY,
    CERTIFICATE,
    INSTALLATION,
    NETWORK_ASSOCIATION,
    PRIVATE_CERTIFICATE,
    RECORD,
    SERVICE_NETWORK,
    ZONE,
)
from .doubles.world import RefusedError, Thing
from .test_doubles import Account

ROOT = "arn:aws:acm-pca:::template/RootCACertificate/V1"


@pytest.fixture
def account() -> Account:
    return Account()


def authority(account: Account) -> str:
    subject = {"commonName": "example.com"}
    settings = {"keyAlgorithm": "RSA_4096", "signingAlgorithm": "SHA512WITHRSA", "subject": subject}
    return account.make(AUTHORITY, type="ROOT", certificateAuthorityConfiguration=settings)


def issue(account: Account, arn: str, **more: str) -> str:
    return account.make(
        PRIVATE_CERTIFICATE,
        certificateAuthorityArn=arn,
        certificateSigningRequest="a request",
        signingAlgorithm="SHA512WITHRSA",
        validity={"type": "YEARS", "value": "10"},
        **more,
    )


def request(account: Account, arn: str) -> str:
    made = account.make(CERTIFICATE, domainName="example.com", certificateAuthorityArn=arn)
    return account.world.things[CERTIFICATE, made].outputs["status"]


def test_a_certificate_fails_in_silence_while_its_authority_is_not_active(account: Account):
    arn = authority(account)
    assert request(account, arn) == "FAILED"
    issue(account, arn, templateArn=ROOT)
    account.make(INSTALLATION, certificate="its own", certificateAuthorityArn=arn)
    assert request(account, arn) == "ISSUED"


def test_an_authority_that_is_not_active_issues_its_own_certificate_only(account: Account):
    with pytest.raises(RefusedError, match="InvalidStateException"):
        issue(account, authority(account))


def network(account: Account) -> Thing:
    return account.world.things[SERVICE_NETWORK, account.make(SERVICE_NETWORK, name="own")]


def test_a_vpc_is_in_one_service_network_and_holds_it(account: Account):
    shared, vpc = network(account), account.vpc()
    wire = {"serviceNetworkIdentifier": shared.outputs["arn"], "vpcIdentifier": vpc}
    made = account.make(NETWORK_ASSOCIATION, **wire)
    with pytest.raises(RefusedError, match="ConflictException: the VPC"):
        account.make(NETWORK_ASSOCIATION, **wire)
    with pytest.raises(RefusedError, match="has associations"):
        account.delete(SERVICE_NETWORK, shared.id)
    account.delete(NETWORK_ASSOCIATION, made)
    account.delete(SERVICE_NETWORK, shared.id)


def test_an_auth_policy_has_a_limit(account: Account):
    arn = network(account).outputs["arn"]
    long = json.dumps({"Statement": ["x" * 11_000]})
    ((path, reason),) = account.problems(AUTH_POLICY, resourceIdentifier=arn, policy=long)
    assert (path, "10240" in reason) == ("policy", True)


@pytest.mark.parametrize("force", [True, False])
def test_a_zone_with_records_goes_only_by_force(account: Account, force: bool):
    zone = account.make(ZONE, name="example.com", vpcs=[{"vpcId": account.vpc()}], forceDestroy=force)
    account.world.add(Thing(RECORD, "left", {"zoneId": zone, "name": "a.example.com"}, {}))
    if force:
        account.delete(ZONE, zone)
        assert account.world.of_type(RECORD) == []
    else:
        with pytest.raises(RefusedError, match="HostedZoneNotEmpty"):
            account.delete(ZONE, zone)
