"""ExternalDns alone, under plain mocks: what it may do and what it is told to do are the same zones."""

import json

import pulumi
import pulumi_aws as aws
import pytest

from components import ExternalDns, ExternalDnsArgs
from components.versions import EXTERNAL_DNS
from tests.program import stacks
from tests.program.conftest import ISSUER

PROVIDER_ARN = f"arn:aws:iam::111122223333:oidc-provider/{ISSUER}"
ZONES = {"example.com": "Z0123456789EXAMPLE", "example.net": pulumi.Output.from_input("Z9876543210EXAMPLE")}


def external_dns(**given):
    return ExternalDns(
        "names",
        ExternalDnsArgs(
            **{
                "cluster": given.get("cluster") or stacks.target(),
                "zones": ZONES,
                "zone_type": "public",
                "owner_id": "dev",
                "sources": ["ingress"],
                "oidc_provider_arn": PROVIDER_ARN,
                **given,
            }
        ),
    )


def release(recording):
    return recording.one("Release").inputs


def zones_of_the_policy(recording):
    (change,) = [
        each
        for each in json.loads(recording.one("Policy").inputs["policy"])["Statement"]
        if "route53:ChangeResourceRecordSets" in each["Action"]
    ]
    return [arn.rpartition("/")[2] for arn in change["Resource"]]


def test_its_policy_and_its_filters_name_the_same_zones(run):
    recording = run(external_dns)
    values = release(recording)["values"]
    assert zones_of_the_policy(recording) == values["extraArgs"]["zone-id-filter"]
    assert zones_of_the_policy(recording) == ["Z0123456789EXAMPLE", "Z9876543210EXAMPLE"]
    assert values["domainFilters"] == ["example.com", "example.net"]


def test_zone_ids_may_come_from_another_resource_and_the_resources_stay_the_same(run):
    def program():
        cluster = stacks.target()
        zone = aws.route53.Zone("zone", name="example.com", opts=pulumi.ResourceOptions(provider=cluster.aws_provider))
        external_dns(cluster=cluster, zones={"example.com": zone.zone_id})

    preview, update = run(program, preview=True), run(program)
    assert sorted(each.urn for each in preview.resources) == sorted(each.urn for each in update.resources)
    assert zones_of_the_policy(update) == ["Z0123456789EXAMPLE"]


@pytest.mark.parametrize("zone_type", ["public", "private"])
def test_a_zone_of_the_other_type_is_left_alone(run, zone_type):
    values = release(run(lambda: external_dns(zone_type=zone_type)))["values"]
    assert values["extraArgs"]["aws-zone-type"] == zone_type


def test_without_zones_it_is_refused_because_it_would_see_every_zone():
    with pytest.raises(ValueError, match="external-dns without zones"):
        ExternalDnsArgs(cluster=None, zones={}, zone_type="public", owner_id="dev", sources=["ingress"])


def test_its_records_carry_its_own_name_and_go_with_what_they_come_from(run):
    values = release(run(lambda: external_dns(owner_id="cluster1")))["values"]
    assert (values["registry"], values["txtOwnerId"]) == ("txt", "cluster1")
    assert values["policy"] == "sync", "upsert-only never removes a record"
    assert values["triggerLoopOnEvent"] is True, "on destruction there is no minute left"


def test_the_owners_record_of_an_apex_lies_inside_its_zone(run):
    prefix = release(run(external_dns))["values"]["txtPrefix"]
    assert "%{record_type}" in prefix
    assert prefix.endswith(".")


def test_it_runs_under_the_account_whose_role_has_the_zones(run):
    recording = run(external_dns)
    account = recording.one("ServiceAccount").inputs["metadata"]
    values = release(recording)["values"]
    assert values["serviceAccount"] == {"create": False, "name": account["name"]}
    assert (
        release(recording)["namespace"] == account["namespace"] == recording.one("Namespace").inputs["metadata"]["name"]
    )
    assert account["annotations"]["eks.amazonaws.com/role-arn"].endswith(f":role/{recording.one('Role').name}")
    subject = json.loads(recording.one("Role").inputs["assumeRolePolicy"])["Statement"][0]["Condition"]["StringEquals"]
    assert subject[f"{ISSUER}:sub"] == f"system:serviceaccount:{account['namespace']}:{account['name']}"


def test_without_an_oidc_provider_its_account_is_bound_by_pod_identity(run):
    recording = run(lambda: external_dns(oidc_provider_arn=None))
    association = recording.one("PodIdentityAssociation")
    account = recording.one("ServiceAccount").inputs["metadata"]
    assert association.inputs["clusterName"] == "dev"
    assert (association.inputs["namespace"], association.inputs["serviceAccount"]) == (
        account["namespace"],
        account["name"],
    )
    assert "annotations" not in account or account["annotations"] == {}
    assert recording.reaches(recording.one("Release"), association), "pods get an association at their start only"


def test_it_is_removed_before_its_rights_its_nodes_and_what_it_is_told_to_wait_for(run):
    def program():
        cluster = stacks.target()
        route = aws.ec2.Route(
            "route", route_table_id="rtb-1", opts=pulumi.ResourceOptions(provider=cluster.aws_provider)
        )
        external_dns(cluster=cluster, wait_for=[route])

    recording = run(program)
    needed = [
        recording.one(kind) for kind in ("RolePolicyAttachment", "ServiceAccount", "Namespace", "NodeGroup", "Route")
    ]
    assert [each.name for each in needed if not recording.reaches(recording.one("Release"), each)] == []


def test_the_chart_is_the_one_of_the_table(run):
    inputs = release(run(external_dns))
    assert (inputs["chart"], inputs["version"]) == ("external-dns", EXTERNAL_DNS.version)
    assert inputs["repositoryOpts"] == {"repo": EXTERNAL_DNS.repository}
