"""The cluster's own API, asked as `kubectl` would ask it, where the caller's credentials open it."""

import base64
import importlib
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from preflight.live.asking import Account, Answer

_SECONDS = 5
"""How long to wait for an API that may not be reachable from here at all."""


class ClosedError(Exception):
    """The cluster's API does not answer this caller; the message says why."""


class Api:
    """The API of one cluster. It is given up on at the first answer that will not change."""

    def __init__(self, account: Account, cluster: Answer, tell: Callable[[str], None]) -> None:
        """Take a cluster as `eks describe-cluster` has it; nothing is asked yet."""
        self._account = account
        self._cluster = cluster
        self._tell = tell
        self._closed = ""
        self._headers: dict[str, str] = {}

    def get(self, path: str) -> Answer | None:
        """Return an object or a list; None where there is no such object. Raises ClosedError."""
        if self._closed:
            raise ClosedError(self._closed)
        self._tell(f"kubernetes {path}")
        endpoint = str(self._cluster.get("endpoint", ""))
        if not endpoint.startswith("https://"):
            raise self._close("the cluster has no endpoint yet")
        request = urllib.request.Request(endpoint + path, headers=self._authorization())  # noqa: S310 it is https
        try:
            with self._opener().open(request, timeout=_SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError as problem:
            if problem.code == 404:
                return None
            if problem.code == 401:
                raise self._close("it does not know the caller") from None
            why = "does not let the caller read it" if problem.code == 403 else f"answers {problem.code}"
            raise ClosedError(f"the cluster's API {why}") from None
        except (OSError, ValueError) as problem:
            raise self._close(f"it cannot be reached from here, {type(problem).__name__}") from None

    def items(self, path: str) -> list[Answer]:
        """Return the items of a list. Raises ClosedError."""
        return list((self.get(path) or {}).get("items", []))

    def _close(self, why: str) -> ClosedError:
        self._closed = f"the cluster's API was not asked: {why}"
        return ClosedError(self._closed)

    def _opener(self) -> urllib.request.OpenerDirector:
        authority = str(self._cluster.get("certificateAuthority", {}).get("data", ""))
        context = ssl.create_default_context(cadata=base64.b64decode(authority).decode())
        return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))

    def _authorization(self) -> dict[str, str]:
        """Make the token of `aws eks get-token`: a signed question to STS that EKS asks in the caller's name."""
        if not self._headers:
            session: Any = self._account.session
            region = self._account.region
            sts = session.client("sts", region_name=region)
            signers = importlib.import_module("botocore.signers")
            signer = signers.RequestSigner(
                sts.meta.service_model.service_id, region, "sts", "v4", session.get_credentials(), session.events
            )
            question = {
                "method": "GET",
                "url": f"{sts.meta.endpoint_url}/?Action=GetCallerIdentity&Version=2011-06-15",
                "body": {},
                "headers": {"x-k8s-aws-id": str(self._cluster["name"])},
                "context": {},
            }
            signed: str = signer.generate_presigned_url(question, region_name=region, expires_in=60, operation_name="")
            token = base64.urlsafe_b64encode(signed.encode()).decode().rstrip("=")
            self._headers = {"Authorization": f"Bearer k8s-aws-v1.{token}", "Accept": "application/json"}
        return self._headers
