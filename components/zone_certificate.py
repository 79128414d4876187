"""ZoneCertificate: an ACM certificate for the names of one public zone, validated in that zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from pulumi_aws.acm.outputs import CertificateDomainValidationOption


@dataclass(frozen=True, kw_only=True)
class ZoneCertificateArgs:
    """What a ZoneCertificate needs."""

    zone_id: str
    """A public zone."""
    names: Sequence[str]
    """What the certificate covers, the first one its subject; all of them, wildcards too, lie in the zone."""
    aws_provider: aws.Provider


class ZoneCertificate(pulumi.ComponentResource):
    """A certificate in the region of the provider, which is also the region of the load balancers that may use it.

    Creates the certificate, one record for each name to validate, and the wait until ACM has seen the records. A name
    and its wildcard are validated by one and the same record.
    """

    arn: pulumi.Output[str]
    """Known once the certificate is valid."""

    def __init__(self, name: str, args: ZoneCertificateArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-foundation:index:ZoneCertificate", name, None, opts)
        subject, *more = args.names
        certificate = aws.acm.Certificate(
            f"{name}-certificate",
            domain_name=subject,
            subject_alternative_names=more,
            validation_method="DNS",
            opts=pulumi.ResourceOptions(parent=self, provider=args.aws_provider),
        )
        records = [
            _record(f"{name}-{validated}", certificate, validated, args.zone_id, self, args.aws_provider)
            for validated in dict.fromkeys(each.removeprefix("*.") for each in args.names)
        ]
        valid = aws.acm.CertificateValidation(
            f"{name}-validation",
            certificate_arn=certificate.arn,
            validation_record_fqdns=[each.fqdn for each in records],
            opts=pulumi.ResourceOptions(parent=self, provider=args.aws_provider),
        )

        self.arn = valid.certificate_arn
        self.register_outputs({"arn": self.arn})


def _record(
    name: str,
    certificate: aws.acm.Certificate,
    validated: str,
    zone_id: str,
    parent: pulumi.Resource,
    provider: aws.Provider,
) -> aws.route53.Record:
    def option(options: Sequence[CertificateDomainValidationOption]) -> CertificateDomainValidationOption:
        return next(each for each in options if (each.domain_name or "").removeprefix("*.") == validated)

    found = certificate.domain_validation_options.apply(option)
    return aws.route53.Record(
        name,
        zone_id=zone_id,
        name=found.apply(lambda each: each.resource_record_name or ""),
        type=found.apply(lambda each: each.resource_record_type or ""),
        records=[found.apply(lambda each: each.resource_record_value or "")],
        ttl=300,
        # All certificates of an account for one name share its record, and are renewed by it for as long as they live:
        # whoever comes second finds it there, and whoever goes first leaves it.
        # https://docs.aws.amazon.com/acm/latest/userguide/dns-validation.html
        allow_overwrite=True,
        opts=pulumi.ResourceOptions(parent=parent, provider=provider, retain_on_delete=True),
    )
