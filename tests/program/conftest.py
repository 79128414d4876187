"""Runs a piece of a program under plain Pulumi mocks and keeps what it registered, options included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pytest
from google.protobuf import json_format
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs

ACCOUNT = "111122223333"
ISSUER = "oidc.eks.ap-northeast-2.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
TOP_CERTIFICATE = {"isCa": True, "sha1Fingerprint": "a" * 40}
LEAF_CERTIFICATE = {"isCa": False, "sha1Fingerprint": "b" * 40}


@dataclass(frozen=True)
class Registered:
    """One registration as the engine would have received it."""

    request: Any
    urn: str
    inputs: dict[str, Any]

    @property
    def type(self) -> str:
        return self.request.type

    @property
    def name(self) -> str:
        return self.request.name


@dataclass
class Recording:
    """Everything that one run registered, in order."""

    resources: list[Registered] = field(default_factory=list)
    calls: list[MockCallArgs] = field(default_factory=list)

    def all(self, kind: str) -> list[Registered]:
        """The resources whose type token ends like this: `Subnet`, `helm.sh/v3:Release`."""
        return [each for each in self.resources if each.type.endswith(f":{kind}") or each.type.endswith(f"/{kind}")]

    def one(self, kind: str, name: str | None = None) -> Registered:
        """The only resource of this kind, or of this kind and name."""
        found = [each for each in self.all(kind) if name in (None, each.name)]
        assert len(found) == 1, (
            f"one {kind} {name or ''} is wanted, registered: {[each.name for each in self.all(kind)]}"
        )
        return found[0]

    def reaches(self, later: Registered, earlier: Registered) -> bool:
        """Whether the one is created after the other, and destroyed before it, whatever else happens."""
        by_urn = {each.urn: each for each in self.resources}
        seen: set[str] = set()
        queue = [later.urn]
        while queue:
            urn = queue.pop()
            if urn in seen or urn not in by_urn:
                continue
            seen.add(urn)
            request = by_urn[urn].request
            queue += [*request.dependencies, request.parent, request.provider.rsplit("::", 1)[0]]
        return earlier.urn in seen - {later.urn}


class Cloud(pulumi.runtime.Mocks):
    """Answers with the outputs that wires are made of."""

    def __init__(self) -> None:
        self.calls: list[MockCallArgs] = []

    def new_resource(self, args: MockResourceArgs) -> tuple[str, dict[str, Any]]:
        outputs = dict(args.inputs)
        kind = args.typ.rsplit(":", 1)[-1]
        if args.typ.startswith("aws:iam/"):
            outputs["arn"] = f"arn:aws:iam::{ACCOUNT}:{kind.lower()}/{args.name}"
            outputs.setdefault("name", args.name)
        if kind == "OpenIdConnectProvider":
            outputs["arn"] = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}"
        if kind == "Key":
            outputs["arn"] = f"arn:aws:kms:ap-northeast-2:{ACCOUNT}:key/{args.name}"
        if kind == "LogGroup":
            outputs["arn"] = f"arn:aws:logs:ap-northeast-2:{ACCOUNT}:log-group:{args.name}"
        if kind == "Certificate" and args.typ.startswith("aws:acm/"):
            names = [args.inputs["domainName"], *args.inputs.get("subjectAlternativeNames", [])]
            outputs["arn"] = f"arn:aws:acm:ap-northeast-2:{ACCOUNT}:certificate/{args.name}"
            outputs["domainValidationOptions"] = [
                {
                    "domainName": each,
                    "resourceRecordName": f"_proof.{each.removeprefix('*.')}.",
                    "resourceRecordType": "CNAME",
                    "resourceRecordValue": "_answer.acm-validations.aws.",
                }
                for each in reversed(names)
            ]
        if kind == "Record":
            outputs["fqdn"] = args.inputs["name"]
        if kind == "Bucket":
            outputs |= {"arn": f"arn:aws:s3:::{args.name}", "bucket": args.name}
        if kind == "Zone":
            outputs["zoneId"] = "Z0123456789EXAMPLE"
        if kind == "LaunchTemplate":
            outputs["latestVersion"] = 1
        if args.typ == "eks:index:Cluster":
            outputs |= {
                "kubeconfigJson": "{}",
                "clusterSecurityGroupId": "sg-control-plane",
                "oidcProviderUrl": f"https://{ISSUER}",
            }
        if args.typ.startswith("tls:"):
            outputs |= {key: f"{key} of {args.name}" for key in ("privateKeyPem", "certRequestPem", "certPem")}
        if kind == "Ingress":
            outputs["status"] = {"loadBalancer": {"ingress": [{"hostname": "demo.example.com"}]}}
        return f"{args.name}-id", outputs

    def call(self, args: MockCallArgs) -> dict[str, Any]:
        self.calls.append(args)
        assert args.token.startswith("tls:"), f"a look-up while the program runs: {args.token}"
        return {"certificates": [TOP_CERTIFICATE, LEAF_CERTIFICATE]}


class Monitor(MockMonitor):
    """Pulumi's own mock monitor, which also keeps the raw requests: mocks themselves never see options."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.recording = Recording(calls=cloud.calls)

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - pulumi's name
        if request.type != "pulumi:pulumi:Stack":
            urn = self.make_urn(request.parent, request.type, request.name)
            inputs = json_format.MessageToDict(request.object)
            assert urn not in {each.urn for each in self.recording.resources}, f"two resources are called {urn}"
            self.recording.resources.append(Registered(request=request, urn=urn, inputs=inputs))
        return super().RegisterResource(request)


Program = Callable[[], Any]


def run_program(program: Program, *, preview: bool = False) -> Recording:
    """Run a function as a Pulumi program and give what it registered."""
    cloud = Cloud()
    monitor = Monitor(cloud)
    pulumi.runtime.set_mocks(cloud, project="eks-foundation", stack="test", preview=preview, monitor=monitor)

    @pulumi.runtime.test
    def started() -> None:
        program()

    started()
    return monitor.recording


@pytest.fixture
def run() -> Callable[..., Recording]:
    """Run a function as a Pulumi program and give what it registered."""
    return run_program
