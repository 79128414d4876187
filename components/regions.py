"""Pure functions of a region's name. Nothing here asks AWS."""

from __future__ import annotations

import re

_PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov", "eusc-": "aws-eusc"}
_PATTERN = re.compile(r"(cn|us-gov|eusc-de|af|ap|ca|eu|il|me|mx|sa|us)-(north|south|east|west|central)+-\d")


def is_region(region: str) -> bool:
    """Whether this has the form of a region in a partition that the IAM documents here are written for."""
    return _PATTERN.fullmatch(region) is not None


def partition_of(region: str) -> str:
    """The partition that stands in the ARNs of this region: aws, aws-cn, aws-us-gov or aws-eusc."""
    return next((partition for prefix, partition in _PARTITIONS.items() if region.startswith(prefix)), "aws")


def ec2_service_of(region: str) -> str:
    """The service principal of EC2, the only one used here that differs by partition.

    https://docs.amazonaws.cn/en_us/aws/latest/userguide/iam.html
    """
    return "ec2.amazonaws.com.cn" if partition_of(region) == "aws-cn" else "ec2.amazonaws.com"


# What stands before a region's name in the names of VPC endpoint services, for those of the services used here that
# have it: https://github.com/aws/aws-cdk/blob/main/packages/aws-cdk-lib/aws-ec2/lib/vpc-endpoint.ts, and for eks-auth
# `aws ec2 describe-vpc-endpoint-services`.
_ENDPOINT_PREFIXES = {
    "aws-cn": ("cn.com.amazonaws", {"ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "sts"}),
    "aws-eusc": ("eu.amazonaws", {"ecr.api", "ecr.dkr"}),
}


def endpoint_service_of(region: str, service: str) -> str:
    """The name of the VPC endpoint service of an AWS service, such as com.amazonaws.ap-northeast-2.ecr.api."""
    prefix, services = _ENDPOINT_PREFIXES.get(partition_of(region), ("", set[str]()))
    return f"{prefix if service in services else 'com.amazonaws'}.{region}.{service}"


def hosted_zone_arn(region: str, zone_id: str) -> str:
    """The ARN of a Route 53 zone, which knows no region and no account, only the partition."""
    return f"arn:{partition_of(region)}:route53:::hostedzone/{zone_id}"


def zone_letter(region: str, zone: str) -> str | None:
    """The letter of an availability zone of this region, or None where the zone is not one.

    Local and wavelength zones (`us-west-2-lax-1a`) are None: EKS puts no control plane there.
    """
    match = re.fullmatch(re.escape(region) + "([a-z])", zone)
    return match[1] if match else None
