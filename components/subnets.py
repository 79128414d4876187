"""Where the addresses of a VPC go: a pure function of the CIDR and the zone's letter.

The VPC is cut into eight equal blocks. Blocks 0 to 6 are the private subnets of zones a to g; block 7 is cut into
eight again for their public subnets, which hold load balancers and NAT gateways only. A subnet's place depends on
nothing but its own zone, so adding, removing or reordering zones never moves a live subnet.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

ZONE_LETTERS = "abcdefg"
# AWS takes VPCs from /16 to /28. Below /21 a public subnet would be under the /27 that an ALB wants:
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html
LARGEST_PREFIX, SMALLEST_PREFIX = 16, 21
# The first four addresses of a subnet and the last one:
# https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
RESERVED_ADDRESSES = 5


@dataclass(frozen=True, kw_only=True)
class ZoneSubnets:
    """The two subnets of one availability zone, as CIDR blocks."""

    private: str
    public: str


def zone_subnets(cidr: str, letter: str) -> ZoneSubnets:
    """The subnets of the zone with this letter in a VPC of this CIDR.

    Raises:
        ValueError: the letter is not one of a to g, or the prefix is outside /16 to /21.
    """
    network = ipaddress.IPv4Network(cidr)
    if not LARGEST_PREFIX <= network.prefixlen <= SMALLEST_PREFIX:
        raise ValueError(
            f"a VPC of {cidr} cannot be planned: its prefix must be /{LARGEST_PREFIX} to /{SMALLEST_PREFIX}"
        )
    slot = ZONE_LETTERS.index(letter)
    blocks = list(network.subnets(prefixlen_diff=3))
    return ZoneSubnets(private=str(blocks[slot]), public=str(list(blocks[-1].subnets(prefixlen_diff=3))[slot]))


def usable_addresses(cidr: str) -> int:
    """How many addresses of a subnet AWS leaves for nodes and pods."""
    return ipaddress.IPv4Network(cidr).num_addresses - RESERVED_ADDRESSES
