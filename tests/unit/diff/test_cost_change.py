"""What an edit adds to the bill, in each format of the diff."""

from __future__ import annotations

import json

import pytest

from preflight.cost import table

GATEWAYS = """
ZONES = ["a"]
for zone in ZONES:
    Any("aws:ec2/eip:Eip", f"nat-{zone}", domain="vpc")
    Any("aws:ec2/natGateway:NatGateway", f"nat-{zone}", subnetId=subnet.id)
"""
PRICES = f"by the price table of {table()['checked']}"


@pytest.fixture
def edited(repository):
    """One NAT gateway at main, one in each of two zones here."""
    program = (repository.folder / "__main__.py").read_text(encoding="utf-8")
    repository.write("__main__.py", program + GATEWAYS)
    repository.commit()
    repository.edit('ZONES = ["a"]', 'ZONES = ["a", "b"]')
    return repository


def test_a_diff_says_what_a_gateway_in_each_zone_adds_and_of_which_day_the_prices_are(edited):
    text = edited.preflight("diff", "HEAD").stdout

    # eu-west-1 has no prices of its own: 0.045 x 730 = 32.85, and 0.005 x 730 = 3.65 for the address
    assert f"Cost, {PRICES}\n  +36.50 USD a month: 36.50 → 73.00\n" in text
    assert "~ NAT gateways: +32.85 (1 x 0.045 an hour → 2 x 0.045 an hour)" in text
    assert "~ public IPv4 addresses: +3.65 (1 x 0.005 an hour → 2 x 0.005 an hour)" in text
    assert "prices of us-east-1 for nat_gateway_hour, nat_gateway_gb, public_ipv4_hour" in text


def test_the_comment_on_a_pull_request_says_it_too(edited):
    comment = edited.preflight("diff", "HEAD", "--format", "markdown").stdout

    assert f"<b>Cost, {PRICES}</b>" in comment
    assert "+36.50 USD a month: 36.50 → 73.00" in comment


def test_json_has_the_amounts_as_text(edited):
    (stack,) = json.loads(edited.preflight("diff", "HEAD", "--format", "json").stdout)["stacks"]

    assert stack["cost"]["added"] == {"low": "36.50", "high": "36.50"}
    assert stack["cost"]["after"] == {"low": "73.00", "high": "73.00"}
    assert stack["cost"]["tableOf"] == table()["checked"].isoformat()


def test_an_edit_that_costs_nothing_leaves_the_bill_out(repository):
    repository.edit('TEAM = "blue"', 'TEAM = "red"')

    assert "Cost" not in repository.preflight("diff", "HEAD").stdout
    (stack,) = json.loads(repository.preflight("diff", "HEAD", "--format", "json").stdout)["stacks"]
    assert stack["cost"] is None


def test_a_stack_that_is_new_says_its_whole_bill(edited):
    edited.write("Pulumi.prod.yaml", "config:\n  aws:region: ap-northeast-2\n")

    # 2 x (0.059 + 0.005) x 730 = 93.44
    line = edited.preflight("diff", "HEAD", "prod").stdout.splitlines()[0]
    assert line.endswith(f"resources are new, +93.44 USD a month: 0.00 → 93.44, {PRICES}")
