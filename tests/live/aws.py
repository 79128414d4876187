"""AWS over HTTP: moto's own server, with a small stand-in before it for what moto lacks or does not mind.

The stand-in answers, because moto has no such call: eks ListPodIdentityAssociations and
DescribePodIdentityAssociation; iam SimulatePrincipalPolicy; servicequotas GetServiceQuota, of which moto has those of
VPC only; vpc-lattice ListTargets, DeregisterTargets, DeleteService, DeleteTargetGroup,
DeleteServiceNetworkServiceAssociation, DeleteServiceNetworkVpcAssociation. Pages of DescribeVolumes, which moto answers
in one, are a test's own answer.
It completes eks DescribeCluster with what moto leaves out: VPC, security group, endpoint and certificate; and reads
filters by tag keys of DescribeVolumes as AWS does.
It refuses, as AWS does and moto does not: the deletion of a security group that a rule of another one names or an
interface carries, of a load balancer under deletion protection, of a Lattice service that is associated, of a Lattice
target group with targets; a question for the tags of more than 20 load balancers or target groups; and whatever a test
says that it shall refuse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from moto.core.base_backend import BackendDict
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

Answer = tuple[int, object]
"""Status and body: JSON, or text that is XML."""


@dataclass
class Call:
    """One call as the stand-in sees it."""

    region: str
    service: str
    operation: str
    """As IAM calls it, of the services that name it; else method and path."""
    path: str
    values: dict[str, str]


@dataclass
class Aws:
    """The server, and what a test wants of it beyond moto."""

    url: str = ""
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By operation, or by service: the status and error code of every answer."""
    answers: dict[str, Callable[[Call], Answer | None]] = field(default_factory=dict)
    """By operation: a test's own answers, before anybody else's."""
    associations: dict[str, dict[str, str]] = field(default_factory=dict)
    """Pod Identity associations by id."""
    cluster: dict[str, Any] = field(default_factory=dict)
    """What is laid over moto's cluster, `resourcesVpcConfig` key by key."""
    quotas: dict[str, float] = field(default_factory=dict)
    denied: set[str] = field(default_factory=set)
    """Actions that the simulator says nobody may."""
    simulated: list[dict[str, str]] = field(default_factory=list)
    """What the simulator was asked."""
    targets: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Of Lattice target groups by id."""
    calls: list[str] = field(default_factory=list)

    def reset(self) -> None:
        """Forget all that is in the account."""
        BackendDict.reset()
        for kept in (self.associations, self.cluster, self.targets):
            kept.clear()


class StandIn:
    """The WSGI application in front of moto's."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(body)
        request = Request(environ)
        call = read(request, body)
        self.aws.calls.append(call.operation)
        answer = self.answer(call)
        if answer is None and call.operation == "DescribeVolumes":
            body = any_key(call, body)
            environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        if answer is None:
            response = Response.from_app(self.moto, environ, buffered=True)
            if call.service == "eks" and re.fullmatch(r"GET /clusters/[^/]+", call.operation):
                response = self.completed(response)
            return response(environ, start_response)
        status, value = answer
        xml = isinstance(value, str)
        text = value if isinstance(value, str) else json.dumps(value)
        headers = {"x-amzn-requestid": "1"}
        if isinstance(value, dict) and "__type" in value:
            headers["x-amzn-errortype"] = value["__type"]
        kind = "text/xml" if xml else "application/json"
        return Response(text, status, headers, content_type=kind)(environ, start_response)

    def answer(self, call: Call) -> Answer | None:
        for key in (call.operation, call.service):
            if key in self.aws.refused:
                return error(call, *self.aws.refused[key])
            if key in self.aws.answers and (answer := self.aws.answers[key](call)):
                return answer
        if call.operation == "SimulatePrincipalPolicy":
            return self.simulation(call)
        known = {"eks": self.eks, "vpc-lattice": self.lattice, "servicequotas": self.quota}
        if call.service in known:
            return known[call.service](call)
        return self.minding(call)

    def completed(self, response: Response) -> Response:
        values = json.loads(response.get_data())
        if "cluster" in values:
            laid = dict(self.aws.cluster)
            values["cluster"]["resourcesVpcConfig"] |= laid.pop("resourcesVpcConfig", {})
            values["cluster"] |= laid
            response.set_data(json.dumps(values))
        return response

    def eks(self, call: Call) -> Answer | None:
        if match := re.fullmatch(r"GET /clusters/[^/]+/pod-identity-associations(?:/(.+))?", call.operation):
            known = self.aws.associations
            if match[1]:
                return 200, {"association": known[match[1]]}
            wanted = {key: call.values[key] for key in ("namespace", "serviceAccount")}
            found = [one for one in known.values() if wanted.items() <= one.items()]
            return 200, {"associations": found}
        return None

    def simulation(self, call: Call) -> Answer:
        self.aws.simulated.append(call.values)
        asked = [value for key, value in call.values.items() if key.startswith("ActionNames.member.")]
        results = "".join(
            f"<member><EvalActionName>{action}</EvalActionName><EvalResourceName>*</EvalResourceName>"
            f"<EvalDecision>{'implicitDeny' if action in self.aws.denied else 'allowed'}</EvalDecision></member>"
            for action in asked
        )
        answer = "SimulatePrincipalPolicy"
        result = f"<EvaluationResults>{results}</EvaluationResults><IsTruncated>false</IsTruncated>"
        return 200, f"<{answer}Response><{answer}Result>{result}</{answer}Result></{answer}Response>"

    def quota(self, call: Call) -> Answer:
        code = call.values["QuotaCode"]
        if code not in self.aws.quotas:
            return error(call, 400, "NoSuchResourceException")
        return 200, {"Quota": {"QuotaCode": code, "Value": self.aws.quotas[code]}}

    def lattice(self, call: Call) -> Answer | None:
        from moto.vpclattice.models import vpclattice_backends

        backend = vpclattice_backends["123456789012"][call.region]
        method, _, path = call.operation.partition(" ")
        parts = path.strip("/").split("/")
        if parts[2:] == ["listtargets"]:
            return 200, {"items": self.aws.targets.get(parts[1], [])}
        if parts[2:] == ["deregistertargets"]:
            out = json.loads(call.values["body"])["targets"]
            left = [
                one
                for one in self.aws.targets[parts[1]]
                if not any(one["id"] == each["id"] and one["port"] == each["port"] for each in out)
            ]
            self.aws.targets[parts[1]] = left
            return 200, {"successful": out, "unsuccessful": []}
        if method != "DELETE":
            return None
        associations = backend.service_network_service_associations
        kept = {
            "services": (backend.services, any(parts[1] in vars(one).values() for one in associations.values())),
            "targetgroups": (backend.target_groups, bool(self.aws.targets.get(parts[1]))),
            "servicenetworkserviceassociations": (associations, False),
            "servicenetworkvpcassociations": (backend.service_network_vpc_associations, False),
        }
        found, held = kept[parts[0]]
        if held:
            return error(call, 409, "ConflictException")
        if parts[1] not in found:
            return error(call, 404, "ResourceNotFoundException")
        del found[parts[1]]
        return 200, {"id": parts[1], "status": "DELETE_IN_PROGRESS"}

    def minding(self, call: Call) -> Answer | None:
        """Refuse what AWS refuses."""
        from moto.ec2.models import ec2_backends
        from moto.elbv2.models import elbv2_backends

        if call.operation == "DescribeTags" and any(key.endswith(".member.21") for key in call.values):
            return error(call, 400, "ValidationError")
        if call.operation == "DeleteSecurityGroup":
            own = call.values["GroupId"]
            backend = ec2_backends["123456789012"][call.region]
            groups = [group for groups in backend.groups.values() for group in groups.values() if group.id != own]
            named = any(
                own == pair.get("GroupId")
                for group in groups
                for rule in (*group.ingress_rules, *group.egress_rules)
                for pair in (rule.source_group or {}, *getattr(rule, "source_groups", ()))
            )
            carried = any(group.id == own for eni in backend.enis.values() for group in eni.group_set)
            return error(call, 400, "DependencyViolation") if named or carried else None
        if call.operation == "DeleteLoadBalancer" and (arn := call.values.get("LoadBalancerArn")):
            balancer = elbv2_backends["123456789012"][call.region].load_balancers[arn]
            if balancer.attrs.get("deletion_protection.enabled") == "true":
                return error(call, 400, "OperationNotPermitted")
        return None


def read(request: Request, body: bytes) -> Call:
    """See what a call asks, in each of AWS' protocols."""
    scope = re.search(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/aws4_request", request.headers.get("Authorization", ""))
    region, service = scope.groups() if scope else ("", "")
    values = dict(request.args.items())
    target = request.headers.get("X-Amz-Target", "")
    if target:
        operation = target.rpartition(".")[2]
        values |= {key: value for key, value in json.loads(body or b"{}").items() if isinstance(value, str)}
    elif b"Action=" in body:
        values |= {key: found[0] for key, found in parse_qs(body.decode()).items()}
        operation = values["Action"]
    else:
        operation = f"{request.method} {urlsplit(request.url).path}"
        values["body"] = body.decode()
    return Call(region, service, operation, request.path, values)


def any_key(call: Call, body: bytes) -> bytes:
    """Turn a filter by tag keys into one by ids: of volumes, moto wants all keys of a filter where AWS wants one."""
    from moto.ec2.models import ec2_backends

    if call.values.get("Filter.1.Name") != "tag-key":
        return body
    keys = {value for key, value in call.values.items() if key.startswith("Filter.1.Value.")}
    volumes = ec2_backends["123456789012"][call.region].volumes.values()
    ids = [one.id for one in volumes if keys & {tag["key"] for tag in one.get_tags()}]
    kept = {key: value for key, value in call.values.items() if not key.startswith("Filter.1.")}
    wanted = {f"Filter.1.Value.{number}": one for number, one in enumerate(ids or ["none"], 1)}
    return urlencode({**kept, "Filter.1.Name": "volume-id", **wanted}).encode()


def error(call: Call, status: int, code: str) -> Answer:
    """Write an error as the protocol of the call has it."""
    if call.service == "ec2":
        return status, (
            f"<Response><Errors><Error><Code>{code}</Code><Message>refused</Message></Error></Errors>"
            "<RequestID>1</RequestID></Response>"
        )
    if call.service in ("iam", "sts", "elasticloadbalancing"):
        return status, (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>refused</Message></Error>"
            "<RequestId>1</RequestId></ErrorResponse>"
        )
    return status, {"__type": code, "message": "refused"}


class Quiet(WSGIRequestHandler):
    """Keeps connections open and logs nothing."""

    protocol_version = "HTTP/1.1"

    def log(self, *_: object) -> None:
        pass


def serve(aws: Aws) -> Callable[[], None]:
    """Start the server on a free port, and return what stops it."""
    server = make_server("127.0.0.1", 0, StandIn(aws), threaded=True, request_handler=Quiet)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    aws.url = f"http://127.0.0.1:{server.server_port}"

    def stop() -> None:
        server.shutdown()
        thread.join()
        server.server_close()

    return stop
