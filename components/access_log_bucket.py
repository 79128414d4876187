"""AccessLogBucket: where the load balancers of a region write down every request."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Literal

import pulumi
import pulumi_aws as aws
from pydantic import Field

from components.section import Section

# In place of an account of AWS's own, another one in each region.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html
LOG_DELIVERY = "logdelivery.elasticloadbalancing.amazonaws.com"


class AccessLogSettings(Section):
    """`ingress.https.accessLogs`: present where requests are written down."""

    on_destroy: Literal["keep", "delete"] = Field(
        description="What happens to bucket and logs with the stack: left in the account, or deleted."
    )
    days: Annotated[int, Field(ge=1)] = Field(default=90, description="Days until a log is deleted.")


@dataclass(frozen=True, kw_only=True)
class AccessLogBucketArgs:
    """What an AccessLogBucket needs beside its settings."""

    settings: AccessLogSettings
    account_id: pulumi.Input[str]
    """The account of the load balancers."""
    aws_provider: aws.Provider


class AccessLogBucket(pulumi.ComponentResource):
    """A bucket that load balancers of one account may write to, and nobody may read in the open.

    Creates the bucket, its encryption with keys of S3 (load balancers can use no other), its block on public access,
    the end of its objects' life, and its policy: log delivery may write below the account's path, and nothing comes
    or goes without TLS.
    """

    bucket: pulumi.Output[str]
    ready: list[pulumi.Resource]
    """Whatever turns the logs on depends on these: ELB writes a test object first."""

    def __init__(self, name: str, args: AccessLogBucketArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("eks-foundation:index:AccessLogBucket", name, None, opts)
        settings = args.settings
        keep = settings.on_destroy == "keep"
        child = pulumi.ResourceOptions(parent=self, provider=args.aws_provider)

        bucket = aws.s3.Bucket(
            f"{name}-bucket",
            force_destroy=not keep,
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(retain_on_delete=keep)),
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption",
            bucket=bucket.id,
            rules=[{"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}],
            opts=child,
        )
        closed = aws.s3.BucketPublicAccessBlock(
            f"{name}-public-access",
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-lifecycle",
            bucket=bucket.id,
            rules=[
                {
                    "id": "expire",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "expiration": {"days": settings.days},
                }
            ],
            opts=child,
        )
        policy = aws.s3.BucketPolicy(
            f"{name}-policy",
            bucket=bucket.id,
            policy=pulumi.Output.all(bucket.arn, args.account_id).apply(lambda found: _policy(*found)),
            # S3 refuses two changes of a bucket's access at a time.
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[closed])),
        )

        self.bucket = bucket.bucket
        self.ready = [policy]
        self.register_outputs({"bucket": self.bucket})


def _policy(bucket_arn: str, account_id: str) -> str:
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "DeliverAccessLogs",
                    "Effect": "Allow",
                    "Principal": {"Service": LOG_DELIVERY},
                    "Action": "s3:PutObject",
                    "Resource": f"{bucket_arn}/AWSLogs/{account_id}/*",
                },
                {
                    "Sid": "RefuseWithoutTls",
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": "s3:*",
                    "Resource": [bucket_arn, f"{bucket_arn}/*"],
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                },
            ],
        }
    )
