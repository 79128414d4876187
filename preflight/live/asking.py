"""Questions to AWS. One that is refused leaves a gap in the report; only an account that answers nothing ends it."""

import contextlib
import functools
import importlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from preflight.errors import BadInputError, NoAnswerError

Answer: TypeAlias = dict[str, Any]
"""What AWS says, as boto3 hands it on."""

# The region that answers for accounts, whatever regions they have switched on.
_HOME = {"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}

# Error codes; the services spell the same thing differently.
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_STRANGE = {
    "AuthFailure",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "MissingAuthenticationToken",
    "OptInRequired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}
_THROTTLED = {
    "RequestLimitExceeded",
    "SlowDown",
    "Throttling",
    "ThrottledException",
    "ThrottlingException",
    "TooManyRequestsException",
}


@dataclass(frozen=True)
class Gap:
    """A question that AWS did not answer."""

    action: str
    """As IAM calls it, such as `ec2:DescribeVolumes`."""
    why: str

    def __str__(self) -> str:
        """Say it on one line."""
        return f"{self.action}: {self.why}"


class UnansweredError(Exception):
    """AWS did not answer a question; the account has the gap on its list, and whoever asked goes on without."""

    def __init__(self, gap: Gap) -> None:
        super().__init__(str(gap))
        self.gap = gap


class Account:
    """An AWS account in one region, as the caller's credentials see it."""

    def __init__(self, session: Any, region: str, tell: Callable[[str], None]) -> None:
        """Made by `connect`."""
        self.region = region
        self.id = ""
        self.caller = ""
        self.gaps: list[Gap] = []
        self.session = session
        self._tell = tell
        self._answers: dict[str, Any] = {}

    def at_home(self) -> "Account":
        """Return the same account in the region where it is asked about what has no region."""
        home = _HOME.get(self.session.get_partition_for_region(self.region), self.region)
        other = Account(self.session, home, self._tell)
        other.id, other.caller, other.gaps = self.id, self.caller, self.gaps
        return other

    def items(self, service: str, operation: str, key: str, **arguments: object) -> list[Any]:
        """Ask for a list, all pages of it, once. Raises UnansweredError, NoAnswerError."""

        def ask(client: Any) -> list[Any]:
            if not client.can_paginate(operation):
                return list(getattr(client, operation)(**arguments).get(key, []))
            pages = client.get_paginator(operation).paginate(**arguments)
            return [item for page in pages for item in page.get(key, [])]

        return self._once(service, operation, arguments, ask)

    def one(self, service: str, operation: str, *missing: str, **arguments: object) -> Answer | None:
        """Ask one question, once; None where AWS answers with one of the error codes in `missing`.

        Raises UnansweredError, NoAnswerError.
        """

        def ask(client: Any) -> Answer | None:
            try:
                return getattr(client, operation)(**arguments)
            except _botocore().ClientError as problem:
                if problem.response["Error"]["Code"] in missing:
                    return None
                raise

        return self._once(service, operation, arguments, ask)

    def _once(self, service: str, operation: str, arguments: object, ask: Callable[[Any], Any]) -> Any:
        question = f"{service} {operation} {arguments}"
        if question not in self._answers:
            with self._asking(service, operation) as client:
                self._answers[question] = ask(client)
        return self._answers[question]

    @contextlib.contextmanager
    def _asking(self, service: str, operation: str) -> Generator[Any]:
        """Turn what boto3 raises into a gap, or into the end of the report."""
        self._tell(f"{service} {operation.replace('_', ' ')}")
        client = _made(service, self.region)
        errors = _botocore()
        try:
            yield client
        except errors.ClientError as problem:
            code = problem.response["Error"]["Code"]
            if code in _EXPIRED | _STRANGE:
                raise _unusable(code) from None
            if code in _DENIED:
                why = f"{self.caller} may not"
            elif code in _THROTTLED:
                why = "AWS throttles; ask again later, or with AWS_MAX_ATTEMPTS=10"
            else:
                why = f"AWS answers {code}"
        except (errors.HTTPClientError, errors.ConnectionError):
            why = f"nothing answers for it in {self.region}"
        except errors.ResponseParserError:
            why = "the answer is not one of AWS; is there a proxy on the way?"
        except errors.BotoCoreError as problem:
            raise _unusable(type(problem).__name__) from None
        else:
            return
        action = client.meta.method_to_api_mapping[operation]
        gap = Gap(f"{_PREFIXES.get(service, service)}:{action}", why)
        if gap not in self.gaps:
            self.gaps.append(gap)
        raise UnansweredError(gap) from None


# Where IAM's name of a service is not boto3's.
_PREFIXES = {
    "elb": "elasticloadbalancing",
    "elbv2": "elasticloadbalancing",
    "service-quotas": "servicequotas",
}


def connect(region: str, tell: Callable[[str], None]) -> Account:
    """Find out who is calling. Raises BadInputError without boto3, NoAnswerError where the account does not answer."""
    session = _session()
    account = Account(session, region, tell)
    errors = _botocore()
    tell("sts get caller identity")
    try:
        identity = _made("sts", region).get_caller_identity()
    except errors.ClientError as problem:
        code = problem.response["Error"]["Code"]
        raise _off(session, region, tell) if code in _STRANGE else _unusable(code) from None
    except (errors.HTTPClientError, errors.ConnectionError) as problem:
        known = region in session.get_available_regions("eks")
        raise NoAnswerError(
            "AWS cannot be reached.\n"
            f"  found:   {type(problem).__name__} for STS in {region}\n"
            "  allowed: a way to the internet, or interface endpoints of the services asked\n"
            f"  change:  {'check network and proxy' if known else f'check the region; boto3 knows no EKS in {region}'}"
        ) from None
    except errors.BotoCoreError as problem:
        raise _unusable(type(problem).__name__) from None
    account.id, account.caller = str(identity["Account"]), str(identity["Arn"])
    return account


def _off(session: Any, region: str, tell: Callable[[str], None]) -> NoAnswerError:
    """Tell a region that is switched off from credentials that are no good: other regions take the latter neither."""
    home = _HOME.get(session.get_partition_for_region(region), region)
    errors = _botocore()
    tell("sts get caller identity in another region")
    try:
        account = str(_made("sts", home).get_caller_identity()["Account"])
    except (errors.ClientError, errors.BotoCoreError) as problem:
        response: Mapping[str, Any] = getattr(problem, "response", {})
        return _unusable(response.get("Error", {}).get("Code", type(problem).__name__))
    return NoAnswerError(
        f"Region {region} does not take credentials that {home} takes: it is switched off for the account.\n"
        f"  found:   account {account}, region {region}\n"
        "  allowed: a region that is on by default, or enabled for the account\n"
        f"  change:  aws account enable-region --region-name {region}, or another region in the stack file"
    )


def _unusable(code: str) -> NoAnswerError:
    expired = code in _EXPIRED or ("Token" in code and code not in _STRANGE)
    missing = code in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "NoRegionError")
    what = "There are no AWS credentials." if missing else "AWS does not take these credentials."
    return NoAnswerError(
        f"{'The AWS credentials have expired.' if expired else what}\n"
        f"  found:   {code}\n"
        "  allowed: whatever boto3 finds: AWS_PROFILE, environment variables, single sign-on, a role\n"
        f"  change:  {'log in again' if expired else 'log in'}: aws sso login, or aws configure; then try\n"
        "           aws sts get-caller-identity"
    )


@functools.cache
def _made(service: str, region: str) -> Any:
    """Return a client; one for all clusters of a stack."""
    config = importlib.import_module("botocore.config")
    settings = config.Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard"})
    return _session().client(service, region_name=region, config=settings)


@functools.cache
def _session() -> Any:
    """Return one session for everything: reading the descriptions of the services takes longer than asking them."""
    try:
        return importlib.import_module("boto3").Session()
    except ModuleNotFoundError:
        raise BadInputError(
            "This command asks AWS, and boto3 is not installed.\n"
            "  found:   no module boto3\n"
            "  allowed: boto3 1.40 or newer\n"
            '  change:  pip install "eks-preflight[live]", or pip install boto3'
        ) from None


def _botocore() -> Any:
    return importlib.import_module("botocore.exceptions")


def batches(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Yield the items in parts of `size`, for calls that take no more at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def tags(listed: Sequence[Answer] | Mapping[str, str] | None) -> dict[str, str]:
    """Return tags as a mapping, whichever of the spellings of AWS they come in."""
    if isinstance(listed, Mapping):
        return dict(listed)
    return {str(one.get("Key", one.get("key"))): str(one.get("Value", one.get("value", ""))) for one in listed or ()}
