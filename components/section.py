"""What every section of the stack file shares: frozen models, field types, and refusals that say what to change."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from components.service_account import is_label, is_subdomain


class Section(BaseModel):
    """One section of the stack file, and the settings half of a component's args.

    Keys are camelCase in the stack file and snake_case in Python. Unknown keys and wrong types are refused: nothing
    is converted, so `1.30` is never read as the version "1.3".
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
    )


def refuse(what: str, *, allowed: str, change: str) -> NoReturn:
    """Refuse the value under validation; pydantic adds its path and the value itself.

    Raises:
        PydanticCustomError: always.
    """
    raise PydanticCustomError("refused", "{what}; allowed: {allowed}; change: {change}", locals())


def checked_arn(kind: str, pattern: str, example: str) -> AfterValidator:
    """A check that a text is an ARN of this kind.

    Args:
        kind: what it has to be of, with its article.
        pattern: what the whole of it matches.
        example: what is allowed, as a message says it.
    """

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            refuse(f"not the ARN of {kind}", allowed=example, change="take the whole ARN")
        return value

    return AfterValidator(check)


# RFC 1918, and the shared range of RFC 6598 that AWS also takes for a VPC.
PRIVATE_RANGES = tuple(
    ipaddress.IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)


def _network(value: str) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(value)
    except ValueError as reason:
        refuse(
            f"not an IPv4 network ({reason})",
            allowed="a CIDR block without host bits, such as 10.0.0.0/16",
            change="write the network's own address before the slash",
        )


def _check_cidr(value: str) -> str:
    _network(value)
    return value


def _check_private_cidr(value: str) -> str:
    network = _network(value)
    if not any(network.subnet_of(block) for block in PRIVATE_RANGES):
        refuse(
            "a range of public addresses",
            allowed=", ".join(str(block) for block in PRIVATE_RANGES),
            change="choose a block inside a private range",
        )
    return value


def _check_label(value: str) -> str:
    if not is_label(value):
        refuse(
            "not an RFC 1123 label",
            allowed="1 to 63 lower-case letters, digits and '-', with a letter or digit at both ends",
            change="rename it",
        )
    return value


# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip


def _check_retention(value: int) -> int:
    if value not in RETENTION_DAYS:
        refuse(
            "not a retention that CloudWatch Logs takes",
            allowed=", ".join(map(str, RETENTION_DAYS)) + " days",
            change="choose the next larger one",
        )
    return value


def _check_account_id(value: str) -> str:
    if not re.fullmatch(r"\d{12}", value):
        refuse("not an AWS account id", allowed="12 digits, in quotes", change='write it like "111122223333"')
    return value


def _check_domain(value: str) -> str:
    if not is_subdomain(value) or "." not in value:
        refuse(
            "not a domain name",
            allowed="lower-case letters, digits and '-' in parts with dots between, such as shop.example.com",
            change="write the name alone: no scheme, port, path, wildcard, or dot at its end",
        )
    return value


def _check_certificate_name(value: str) -> str:
    _check_domain(value.removeprefix("*."))
    return value


def _check_zone_id(value: str) -> str:
    # https://docs.aws.amazon.com/Route53/latest/APIReference/API_HostedZone.html
    if not re.fullmatch(r"Z[A-Z0-9]{1,31}", value):
        refuse(
            "not the id of a Route 53 hosted zone",
            allowed="Z and up to 31 capital letters and digits, such as Z0123456789EXAMPLE",
            change="take it from `aws route53 list-hosted-zones-by-name`, without /hostedzone/",
        )
    return value


Cidr = Annotated[str, AfterValidator(_check_cidr)]
"""An IPv4 network in CIDR notation."""

PrivateCidr = Annotated[str, AfterValidator(_check_private_cidr)]
"""An IPv4 network inside a private range."""

Label = Annotated[str, AfterValidator(_check_label)]
"""An RFC 1123 label: a namespace, an account, a node group."""

RetentionDays = Annotated[int, AfterValidator(_check_retention)]
"""How long CloudWatch keeps a log, in days."""

AccountId = Annotated[str, AfterValidator(_check_account_id)]
"""An AWS account id, 12 digits."""

DomainName = Annotated[str, AfterValidator(_check_domain)]
"""A DNS name of two parts or more."""

CertificateName = Annotated[str, AfterValidator(_check_certificate_name)]
"""A DNS name, or all names one level below one: `*.example.com`."""

ZoneId = Annotated[str, AfterValidator(_check_zone_id)]
"""The id of a Route 53 hosted zone."""
