"""The address plan: laws that hold for every VPC, and the layout that live subnets rely on."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.subnets import (
    LARGEST_PREFIX,
    SMALLEST_PREFIX,
    ZONE_LETTERS,
    ZoneSubnets,
    usable_addresses,
    zone_subnets,
)


@st.composite
def vpcs(draw: st.DrawFn) -> str:
    prefix = draw(st.integers(LARGEST_PREFIX, SMALLEST_PREFIX))
    base = draw(st.integers(0, 2**prefix - 1)) << (32 - prefix)
    return f"{ipaddress.IPv4Address(base)}/{prefix}"


def every_subnet(cidr: str) -> list[ipaddress.IPv4Network]:
    plans = [zone_subnets(cidr, letter) for letter in ZONE_LETTERS]
    return [ipaddress.IPv4Network(each) for plan in plans for each in (plan.private, plan.public)]


@given(vpcs())
def test_no_two_subnets_overlap(cidr):
    subnets = every_subnet(cidr)
    overlapping = [(a, b) for i, a in enumerate(subnets) for b in subnets[:i] if a.overlaps(b)]
    assert overlapping == [], "subnets of one VPC share addresses"


@given(vpcs())
def test_every_subnet_lies_inside_the_vpc(cidr):
    assert all(each.subnet_of(ipaddress.IPv4Network(cidr)) for each in every_subnet(cidr))


@given(vpcs(), st.sampled_from(ZONE_LETTERS))
def test_a_public_subnet_has_the_27_bits_that_an_alb_wants(cidr, letter):
    assert ipaddress.IPv4Network(zone_subnets(cidr, letter).public).prefixlen <= 27


@given(vpcs(), st.sampled_from(ZONE_LETTERS))
def test_a_private_subnet_is_larger_than_the_public_one_of_its_zone(cidr, letter):
    plan = zone_subnets(cidr, letter)
    assert usable_addresses(plan.private) > usable_addresses(plan.public)


# A live subnet cannot move: whoever changes these lines replaces the subnets of every stack there is.
LAYOUT_OF_10_0_0_0_16 = {
    "a": ZoneSubnets(private="10.0.0.0/19", public="10.0.224.0/22"),
    "b": ZoneSubnets(private="10.0.32.0/19", public="10.0.228.0/22"),
    "c": ZoneSubnets(private="10.0.64.0/19", public="10.0.232.0/22"),
    "d": ZoneSubnets(private="10.0.96.0/19", public="10.0.236.0/22"),
    "e": ZoneSubnets(private="10.0.128.0/19", public="10.0.240.0/22"),
    "f": ZoneSubnets(private="10.0.160.0/19", public="10.0.244.0/22"),
    "g": ZoneSubnets(private="10.0.192.0/19", public="10.0.248.0/22"),
}


@pytest.mark.parametrize("letter", ZONE_LETTERS)
def test_the_layout_of_a_live_vpc_never_moves(letter):
    assert zone_subnets("10.0.0.0/16", letter) == LAYOUT_OF_10_0_0_0_16[letter]


def test_the_smallest_vpc_still_has_room_in_every_subnet():
    assert zone_subnets("192.168.8.0/21", "c") == ZoneSubnets(private="192.168.10.0/24", public="192.168.15.64/27")


@pytest.mark.parametrize("cidr", ["10.0.0.0/15", "10.0.0.0/22"])
def test_a_vpc_that_cannot_hold_the_plan_is_refused_with_its_size(cidr):
    with pytest.raises(ValueError, match=f"{cidr}.*/16 to /21"):
        zone_subnets(cidr, "a")


def test_aws_keeps_five_addresses_of_a_subnet():
    assert usable_addresses("10.0.0.0/24") == 251
