"""Made-up values for what only a cloud could say: outputs of resources and results of look-ups.

Runs inside the child process, under the program's own interpreter: standard library only. Every value is derived from
the resource's URN by a digest, so it is the same in every run and different for every resource, and an equality
between two values in a recording is a wire. Values have the shape that AWS documents for them (ids as prefix and 17
hex digits, ARNs with the partition of the region), so a program that takes them apart does not trip.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

DEFAULT_REGION = "us-east-1"
DEFAULT_ACCOUNT = "111122223333"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 the wire's marker of a secret, not one
REFERENCE = "5cf8f73096256a8f31e491e813e4eb8e"

# https://docs.aws.amazon.com/general/latest/gr/rande.html; the first prefix that fits wins.
_PARTITIONS = (
    ("cn-", "aws-cn", "amazonaws.com.cn"),
    ("us-gov-", "aws-us-gov", "amazonaws.com"),
    ("eusc-", "aws-eusc", "amazonaws.eu"),
    ("us-isob-", "aws-iso-b", "sc2s.sgov.gov"),
    ("us-isof-", "aws-iso-f", "csp.hci.ic.gov"),
    ("us-iso-", "aws-iso", "c2s.ic.gov"),
    ("eu-isoe-", "aws-iso-e", "cloud.adc-e.uk"),
    ("", "aws", "amazonaws.com"),
)


def partition(region: str) -> str:
    """Return the partition of a region: `aws`, `aws-cn`, `aws-us-gov`, `aws-eusc` or an isolated one."""
    return next(name for prefix, name, _ in _PARTITIONS if region.startswith(prefix))


def dns_suffix(region: str) -> str:
    """Return the domain under which the services of a region's partition answer."""
    return next(suffix for prefix, _, suffix in _PARTITIONS if region.startswith(prefix))


@dataclass
class Facts:
    """What the made-up values of one resource are derived from; `inputs` are plain (secrets unwrapped)."""

    urn: str
    type: str
    name: str
    inputs: dict[str, Any]
    region: str
    account: str

    @property
    def kind(self) -> str:
        """The row of an AWS type or look-up in the table: `ec2/vpc` for aws:ec2/vpc:Vpc and aws:ec2/getVpc:getVpc."""
        module, _, last = self.type.split(":")[1].rpartition("/")
        last = last[3:] if last.startswith("get") else last
        return f"{module}/{last[:1].lower()}{last[1:]}"

    def hex(self, digits: int, salt: str = "") -> str:
        """Return so many hex digits (at most 128), the same for the same URN and salt."""
        return hashlib.sha512((self.urn + salt).encode()).hexdigest()[:digits]

    def uuid(self, salt: str = "") -> str:
        """Return a UUID in its usual spelling."""
        text = self.hex(32, salt)
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"

    def given(self, key: str, default: str = "") -> str:
        """Return an input as text if the program gave one that is known."""
        value = self.inputs.get(key)
        return value if isinstance(value, str) and value and value != UNKNOWN else default

    def arn(self, service: str, resource: str) -> str:
        """Return an ARN in this resource's partition, region and account; global services have no region in theirs."""
        region = "" if service in _GLOBAL else self.region
        account = "" if service in _NO_ACCOUNT else self.account
        return f"arn:{partition(self.region)}:{service}:{region}:{account}:{resource}"


@dataclass
class Answer:
    """The id and the computed outputs of one resource; `hidden` are resources that only its outputs refer to."""

    id: str
    outputs: dict[str, Any] = field(default_factory=dict)
    hidden: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)


_GLOBAL = frozenset({"iam", "s3", "cloudfront", "route53", "globalaccelerator"})
_NO_ACCOUNT = frozenset({"s3", "route53"})

# Type, its id, the service and the resource in its ARN, the property that Pulumi names by itself. {h17}: 17 hex digits,
# {name}: the physical name, any other word: that input. `-`: none. The service authorization reference has the ARNs:
# https://docs.aws.amazon.com/service-authorization/latest/reference/
_TABLE = """
acm/certificate                   {arn}                      acm          certificate/{uuid}                 -
acmpca/certificateAuthority       {arn}                      acm-pca      certificate-authority/{uuid}       -
acmpca/certificateAuthorityCertificate {certificateAuthorityArn} - - -
cloudwatch/logGroup               {name}                     logs         log-group:{name}                   name
dynamodb/table                    {name}                     dynamodb     table/{name}                       name
ebs/volume                        vol-{h17}                  ec2          volume/{id}                        -
ec2/ami                           ami-{h17}                  ec2          image/{id}                         -
ec2/eip                           eipalloc-{h17}             ec2          elastic-ip/{id}                    -
ec2/egressOnlyInternetGateway     eigw-{h17}                 -            -                                  -
ec2/flowLog                       fl-{h17}                   ec2          vpc-flow-log/{id}                  -
ec2/instance                      i-{h17}                    ec2          instance/{id}                      -
ec2/internetGateway               igw-{h17}                  ec2          internet-gateway/{id}              -
ec2/launchTemplate                lt-{h17}                   ec2          launch-template/{id}               name
ec2/managedPrefixList             pl-{h17}                   ec2          prefix-list/{id}                   -
ec2/natGateway                    nat-{h17}                  -            -                                  -
ec2/networkAcl                    acl-{h17}                  ec2          network-acl/{id}                   -
ec2/networkInterface              eni-{h17}                  ec2          network-interface/{id}             -
ec2/route                         r-{h17}                    -            -                                  -
ec2/routeTable                    rtb-{h17}                  ec2          route-table/{id}                   -
ec2/routeTableAssociation         rtbassoc-{h17}             -            -                                  -
ec2/securityGroup                 sg-{h17}                   ec2          security-group/{id}                name
ec2/securityGroupRule             sgrule-{h17}               -            -                                  -
ec2/subnet                        subnet-{h17}               ec2          subnet/{id}                        -
ec2/vpc                           vpc-{h17}                  ec2          vpc/{id}                           -
ec2/vpcEndpoint                   vpce-{h17}                 ec2          vpc-endpoint/{id}                  -
ec2/vpcPeeringConnection          pcx-{h17}                  -            -                                  -
ec2transitgateway/transitGateway  tgw-{h17}                  ec2          transit-gateway/{id}               -
ecr/repository                    {name}                     ecr          repository/{name}                  name
efs/fileSystem                    fs-{h17}                   elasticfilesystem file-system/{id}                   -
eks/accessEntry                   {clusterName}:{principalArn} -            -                                  -
eks/addon                         {clusterName}:{addonName}  eks          addon/{clusterName}/{addonName}/{uuid} -
eks/cluster                       {name}                     eks          cluster/{name}                     name
eks/fargateProfile {clusterName}:{name} eks fargateprofile/{clusterName}/{name}/{uuid} fargateProfileName
eks/nodeGroup {clusterName}:{name} eks nodegroup/{clusterName}/{name}/{uuid} nodeGroupName
eks/podIdentityAssociation        a-{h17}                    -            -                                  -
iam/group                         {name}                     iam          group{path}{name}                  name
iam/instanceProfile               {name}                     iam          instance-profile{path}{name}       name
iam/openIdConnectProvider         {arn}                      iam          oidc-provider/{issuer}             -
iam/policy                        {arn}                      iam          policy{path}{name}                 name
iam/role                          {name}                     iam          role{path}{name}                   name
iam/rolePolicy                    {role}:{name}              -            -                                  name
iam/rolePolicyAttachment          {role}-{h17}               -            -                                  -
iam/user                          {name}                     iam          user{path}{name}                   name
kms/alias                         {name}                     kms          {name}                             name
kms/key                           {uuid}                     kms          key/{id}                           -
lambda/function                   {name}                     lambda       function:{name}                    name
lb/loadBalancer {arn} elasticloadbalancing loadbalancer/app/{name}/{h17} name
lb/targetGroup {arn} elasticloadbalancing targetgroup/{name}/{h17} name
rds/cluster {name} rds cluster:{name} clusterIdentifier
rds/instance                      {name}                     rds          db:{name}                          identifier
route53/record                    {zoneId}_{name}_{type}     -            -                                  name
route53/zone                      {zone}                     route53      hostedzone/{id}                    -
s3/bucket                         {name}                     s3           {name}                             bucket
s3/bucketV2                       {name}                     s3           {name}                             bucket
secretsmanager/secret             {arn}                      secretsmanager secret:{name}-{h6}                 name
sns/topic                         {arn}                      sns          {name}                             name
sqs/queue https://sqs.{region}.{suffix}/{account}/{name} sqs {name} name
ssm/parameter                     {name}                     ssm          parameter/{name}                   name
vpc/securityGroupEgressRule       sgr-{h17}                  ec2          security-group-rule/{id}           -
vpc/securityGroupIngressRule      sgr-{h17}                  ec2          security-group-rule/{id}           -
vpclattice/accessLogSubscription  als-{h17}                  vpc-lattice  accesslogsubscription/{id}         -
vpclattice/service                svc-{h17}                  vpc-lattice  service/{id}                       name
vpclattice/serviceNetwork         sn-{h17}                   vpc-lattice  servicenetwork/{id}                name
vpclattice/serviceNetworkServiceAssociation snsa-{h17} vpc-lattice servicenetworkserviceassociation/{id} -
vpclattice/serviceNetworkVpcAssociation snva-{h17}                 vpc-lattice  servicenetworkvpcassociation/{id}  -
vpclattice/targetGroup            tg-{h17}                   vpc-lattice  targetgroup/{id}                   name
"""
_AWS = {
    kind: tuple("" if word == "-" else word for word in words)
    for kind, *words in (line.split() for line in _TABLE.strip().splitlines())
}


def checked(facts: Facts) -> dict[str, Any]:
    """Return what a provider makes of the inputs when it checks them: names of its own, policies as JSON text.

    A provider checks before any preview, so these are known in both modes.
    """
    documents = {
        key: UNKNOWN if UNKNOWN in (text := json.dumps(value)) else text
        for key, value in facts.inputs.items()
        if key in _DOCUMENTS and facts.type.startswith("aws:") and isinstance(value, dict)
    }
    return {**documents, **autonames(facts)}


# Inputs that the AWS provider takes as an object, too, and hands back as text.
_DOCUMENTS = frozenset({"assumeRolePolicy", "policy"})


def autonames(facts: Facts) -> dict[str, Any]:
    """Return the names that Pulumi's providers give by themselves, as they do: the logical name, 7 or 8 hex digits."""
    if facts.type.startswith("aws:"):
        key = _AWS.get(facts.kind, ("", "", "", ""))[3]
        prefix = facts.given(key + "Prefix") or facts.given("namePrefix")
        if not key or facts.given(key) or facts.inputs.get(key) == UNKNOWN:
            return {}
        return {key: f"{prefix or facts.name + '-'}{facts.hex(7)}"}
    if facts.type == "kubernetes:helm.sh/v3:Release":
        return {} if facts.inputs.get("name") else {"name": f"{facts.name}-{facts.hex(8)}"}
    if is_kubernetes_object(facts.type):
        metadata = facts.inputs.get("metadata")
        metadata = dict(metadata) if isinstance(metadata, dict) else {}
        prefix = metadata.get("generateName") or facts.name + "-"
        metadata["name"] = metadata.get("name") or f"{prefix}{facts.hex(8)}"
        if facts.type.rpartition(":")[2] not in _CLUSTER_SCOPED:
            metadata["namespace"] = metadata.get("namespace") or "default"
        return {"metadata": metadata}
    return {}


def is_kubernetes_object(token: str) -> bool:
    """Whether a type token is of an object in a cluster's API (and not of a chart, a file or a provider)."""
    package, _, rest = token.partition(":")
    return package == "kubernetes" and not rest.startswith(("helm.sh/", "yaml", "kustomize", "index:"))


def computed(facts: Facts) -> Answer | None:
    """Return what a provider would compute for a resource once it exists; None if the table cannot say."""
    if facts.type in _SPECIAL:
        return _SPECIAL[facts.type](facts)
    if facts.type.startswith("aws:"):
        return _aws(facts)
    if facts.type.startswith("pulumi:providers:"):
        return Answer(facts.uuid())
    if is_kubernetes_object(facts.type):
        return _kubernetes(facts)
    return None


def _aws(facts: Facts) -> Answer:
    service, _, plain = facts.kind.rpartition("/")
    unlisted = ("{logical}-{h8}", service, plain + "/{logical}-{h8}", "")
    identifier, service, resource, name_key = _AWS.get(facts.kind, unlisted)
    name = (facts.given(name_key) if name_key else "") or f"{facts.name}-{facts.hex(7)}"
    words: dict[str, str] = {
        **{key: value for key, value in facts.inputs.items() if isinstance(value, str)},
        "name": name,
        "logical": facts.name,
        "h6": facts.hex(6),
        "h8": facts.hex(8),
        "h17": facts.hex(17),
        "uuid": facts.uuid(),
        "zone": "Z" + facts.hex(20).upper(),
        "path": facts.given("path", "/"),
        "issuer": facts.given("url").partition("://")[2],
        "region": facts.region,
        "suffix": dns_suffix(facts.region),
        "account": facts.account,
    }
    words["id"] = _fill(identifier, words)
    words["arn"] = facts.arn(service, _fill(resource, words)) if resource else ""
    outputs: dict[str, Any] = {name_key: name} if name_key else {}
    if resource:
        outputs["arn"] = words["arn"]
    answer = Answer(_fill(identifier, words), outputs)
    if facts.kind in _AWS_MORE:
        outputs.update(_AWS_MORE[facts.kind](facts, answer))
    return answer


def _fill(pattern: str, words: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: words.get(match[1], match[1]), pattern)


def issuer_url(facts: Facts) -> str:
    """Return the issuer that EKS would give a cluster: a host of the region, 32 upper-case hex digits."""
    host = f"oidc.eks.{facts.region}.{dns_suffix(facts.region)}"
    return f"https://{host}/id/{facts.hex(32, 'issuer').upper()}"


def _cluster(facts: Facts, _: Answer) -> dict[str, Any]:
    vpc = facts.inputs.get("vpcConfig")
    vpc = vpc if isinstance(vpc, dict) else {}
    host = f"{facts.hex(32, 'endpoint').upper()}.gr7.{facts.region}.eks.{dns_suffix(facts.region)}"
    authority = {"data": base64.b64encode(_pem(facts, "CERTIFICATE").encode()).decode()}
    return {
        "identities": [{"oidcs": [{"issuer": issuer_url(facts)}]}],
        "endpoint": f"https://{host}",
        "certificateAuthority": authority,
        "certificateAuthorities": [authority],
        "vpcConfig": {
            **vpc,
            "clusterSecurityGroupId": f"sg-{facts.hex(17, 'cluster security group')}",
            "vpcId": vpc.get("vpcId") or f"vpc-{facts.hex(17, 'vpc')}",
        },
        "platformVersion": "eks.1",
        "status": "ACTIVE",
        "createdAt": "2026-01-01T00:00:00Z",
    }


def _base64(facts: Facts, salt: str, length: int) -> str:
    return base64.b64encode(bytes.fromhex(facts.hex(length, salt))).decode()


def _pem(facts: Facts, label: str) -> str:
    return f"-----BEGIN {label}-----\n{_base64(facts, label, 96)}\n-----END {label}-----\n"


def _load_balancer_host(facts: Facts, name: str) -> str:
    return f"{name[:32]}-{facts.hex(10, 'load balancer')}.{facts.region}.elb.{dns_suffix(facts.region)}"


def _validation_options(facts: Facts) -> list[dict[str, str]]:
    """Return what ACM asks for in DNS: an entry a name, of which a name and its wildcard want the same record."""
    names = [facts.inputs.get("domainName"), *(facts.inputs.get("subjectAlternativeNames") or [])]
    options: list[dict[str, str]] = []
    for name in dict.fromkeys(each for each in names if isinstance(each, str) and each != UNKNOWN):
        domain = name.removeprefix("*.")
        same = Facts(f"{facts.account} {domain}", facts.type, domain, {}, facts.region, facts.account)
        options.append(
            {
                "domainName": name,
                "resourceRecordName": f"_{same.hex(32)}.{domain}.",
                "resourceRecordType": "CNAME",
                "resourceRecordValue": f"_{same.hex(32, 'value')}.acm-validations.aws.",
            }
        )
    return options


_AWS_MORE: dict[str, Callable[[Facts, Answer], dict[str, Any]]] = {
    "acm/certificate": lambda f, _: {"domainValidationOptions": _validation_options(f)},
    "acmpca/certificate": lambda f, _: {
        "arn": f"{f.given('certificateAuthorityArn')}/certificate/{f.hex(32)}",
        "certificate": _pem(f, "CERTIFICATE"),
        "certificateChain": "",
    },
    "acmpca/certificateAuthority": lambda f, _: {"certificateSigningRequest": _pem(f, "CERTIFICATE REQUEST")},
    "ec2/eip": lambda _, a: {"allocationId": a.id},
    "ec2/launchTemplate": lambda *_: {"latestVersion": 1, "defaultVersion": 1},
    "ec2/vpc": lambda f, _: {
        "defaultSecurityGroupId": f"sg-{f.hex(17, 'default')}",
        "mainRouteTableId": f"rtb-{f.hex(17, 'main')}",
    },
    "eks/accessEntry": lambda f, _: {
        "accessEntryArn": f.arn("eks", f"access-entry/{f.given('clusterName')}/role/{f.account}/{f.hex(8)}/{f.uuid()}")
    },
    "eks/cluster": _cluster,
    "eks/podIdentityAssociation": lambda f, a: {
        "associationId": a.id,
        "associationArn": f.arn("eks", f"podidentityassociation/{f.given('clusterName')}/{a.id}"),
    },
    "iam/role": lambda f, _: {"uniqueId": "AROA" + f.hex(17, "unique").upper()},
    # IAM keeps the URL without its scheme and gives it back like that.
    "iam/openIdConnectProvider": lambda f, _: {"url": f.given("url").partition("://")[2] or f.given("url")},
    "kms/key": lambda _, a: {"keyId": a.id},
    "lb/loadBalancer": lambda f, a: {"dnsName": _load_balancer_host(f, a.outputs["name"])},
    "route53/record": lambda f, _: {"fqdn": f.given("name").rstrip(".")},
    "route53/zone": lambda _, a: {"zoneId": a.id},
    "sqs/queue": lambda _, a: {"url": a.id},
}


def _kubernetes(facts: Facts) -> Answer:
    metadata = autonames(facts)["metadata"]
    name, namespace = str(metadata["name"]), metadata.get("namespace")
    kind = facts.type.rpartition(":")[2]
    outputs: dict[str, Any] = {"metadata": metadata}
    # A Service without a spec is one that the program reads; most likely for its address.
    balanced = not facts.inputs.get("spec") or _spec(facts).get("type") == "LoadBalancer"
    if kind == "Ingress" or (kind == "Service" and balanced):
        host = _load_balancer_host(facts, f"k8s-{str(namespace)[:8]}-{name[:8]}")
        outputs["status"] = {"loadBalancer": {"ingress": [{"hostname": host}]}}
    return Answer(f"{namespace}/{name}" if namespace else name, outputs)


def _spec(facts: Facts) -> dict[str, Any]:
    spec = facts.inputs.get("spec")
    return spec if isinstance(spec, dict) else {}


# Kinds without a namespace that a program of this sort makes; any other kind counts as namespaced.
_CLUSTER_SCOPED = frozenset({
    "APIService", "ClusterIssuer", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "EC2NodeClass",
    "GatewayClass", "IngressClass", "IngressClassParams", "MutatingWebhookConfiguration", "Namespace", "NodePool",
    "PersistentVolume", "PriorityClass", "RuntimeClass", "StorageClass", "ValidatingWebhookConfiguration",
})  # fmt: skip


def _release(facts: Facts) -> Answer:
    name = str(facts.inputs.get("name") or f"{facts.name}-{facts.hex(8)}")
    namespace = str(facts.inputs.get("namespace") or "default")
    status = {
        "name": name,
        "namespace": namespace,
        "status": "deployed",
        "revision": 1,
        "version": facts.given("version"),
        "chart": facts.given("chart"),
    }
    return Answer(f"{namespace}/{name}", {"name": name, "namespace": namespace, "status": status})


def _eks_cluster(facts: Facts) -> Answer:
    """Return the outputs of pulumi-eks' packaged cluster: the child that it makes inside answers for most of them."""
    parent = facts.urn.split("::")
    names = {"name": facts.given("name")} if facts.given("name") else {}
    subnets = facts.inputs.get("subnetIds") or [
        *(facts.inputs.get("privateSubnetIds") or []),
        *(facts.inputs.get("publicSubnetIds") or []),
    ]
    inner_inputs = {**names, "vpcConfig": {"subnetIds": subnets, "vpcId": facts.given("vpcId")}}
    hidden: dict[str, tuple[str, dict[str, Any]]] = {}

    def child(type_: str, suffix: str, inputs: dict[str, Any]) -> tuple[Answer, dict[str, Any]]:
        name = f"{facts.name}-{suffix}"
        urn = "::".join([*parent[:2], f"{parent[2]}${type_}", name])
        inner = Facts(urn, type_, name, inputs, facts.region, facts.account)
        answer = computed(inner) or Answer(inner.uuid())
        hidden[urn] = (answer.id, {**inputs, **answer.outputs})
        return answer, {SIGNATURE: REFERENCE, "urn": urn, "id": answer.id, "packageVersion": ""}

    cluster, cluster_reference = child("aws:eks/cluster:Cluster", "eksCluster", inner_inputs)
    issuer = cluster.outputs["identities"][0]["oidcs"][0]["issuer"]
    managed_group = cluster.outputs["vpcConfig"]["clusterSecurityGroupId"]
    kubeconfig = _kubeconfig(cluster, facts.region)
    core: dict[str, Any] = {
        "cluster": cluster_reference,
        "endpoint": cluster.outputs["endpoint"],
        "subnetIds": subnets,
        "vpcId": cluster.outputs["vpcConfig"]["vpcId"],
        "kubeconfig": kubeconfig,
        "instanceRoles": [],
        "nodeGroupOptions": {},
    }
    outputs: dict[str, Any] = {
        "eksCluster": cluster_reference,
        "core": core,
        "kubeconfig": kubeconfig,
        "kubeconfigJson": json.dumps(kubeconfig),
        "clusterSecurityGroupId": managed_group,
        "nodeSecurityGroupId": managed_group,
        "oidcIssuer": issuer[len("https://") :],
        "oidcProviderUrl": issuer,
        "oidcProviderArn": "",
        "defaultNodeGroupAsgName": "",
        "autoModeNodeRoleName": "",
        "clusterIngressRuleId": "",
        "fargateProfileId": "",
        "fargateProfileStatus": "",
        "instanceRoles": [],
    }
    if not facts.inputs.get("skipDefaultSecurityGroups"):
        group, reference = child("aws:ec2/securityGroup:SecurityGroup", "eksClusterSecurityGroup", {})
        outputs.update(clusterSecurityGroupId=group.id, clusterSecurityGroup=reference)
        core["clusterSecurityGroup"] = reference
        group, reference = child("aws:ec2/securityGroup:SecurityGroup", "nodeSecurityGroup", {})
        outputs.update(nodeSecurityGroupId=group.id, nodeSecurityGroup=reference)
    if facts.inputs.get("createOidcProvider"):
        provider, reference = child(
            "aws:iam/openIdConnectProvider:OpenIdConnectProvider",
            "oidcProvider",
            {"url": issuer, "clientIdLists": ["sts.amazonaws.com"]},
        )
        outputs["oidcProviderArn"] = provider.id
        core["oidcProvider"] = reference
    if not facts.inputs.get("instanceRoles") and not facts.inputs.get("skipDefaultNodeGroup"):
        _, reference = child("aws:iam/role:Role", "instanceRole-role", {})
        core["instanceRoles"] = outputs["instanceRoles"] = [reference]
    return Answer("", outputs, hidden)


def _kubeconfig(cluster: Answer, region: str) -> dict[str, Any]:
    user = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "aws",
        "args": ["eks", "get-token", "--cluster-name", cluster.id, "--region", region, "--output", "json"],
    }
    authority = cluster.outputs["certificateAuthority"]["data"]
    server = {"server": cluster.outputs["endpoint"], "certificate-authority-data": authority}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kubernetes", "cluster": server}],
        "contexts": [{"name": "aws", "context": {"cluster": "kubernetes", "user": "aws"}}],
        "current-context": "aws",
        "users": [{"name": "aws", "user": {"exec": user}}],
    }


def _awsx_vpc(facts: Facts) -> Answer:
    zones = facts.inputs.get("numberOfAvailabilityZones")
    count = int(zones) if isinstance(zones, (int, float)) else 3

    def subnets(kind: str) -> list[str]:
        return [f"subnet-{facts.hex(17, kind + str(number))}" for number in range(count)]

    return Answer(
        "",
        {
            "vpcId": f"vpc-{facts.hex(17)}",
            "publicSubnetIds": subnets("public"),
            "privateSubnetIds": subnets("private"),
            "isolatedSubnetIds": [],
            "natGateways": [],
            "eips": [],
            "subnets": [],
            "routeTables": [],
            "routes": [],
            "routeTableAssociations": [],
        },
    )


def _private_key(facts: Facts) -> Answer:
    return Answer(
        facts.hex(40),
        {
            "privateKeyPem": _secret(_pem(facts, "PRIVATE KEY")),
            "privateKeyOpenssh": _secret(_pem(facts, "OPENSSH PRIVATE KEY")),
            "privateKeyPemPkcs8": _secret(_pem(facts, "PRIVATE KEY")),
            "publicKeyPem": _pem(facts, "PUBLIC KEY"),
            "publicKeyOpenssh": f"ssh-rsa {_base64(facts, 'ssh', 96)}\n",
            "publicKeyFingerprintMd5": ":".join(re.findall("..", facts.hex(32, "md5"))),
            "publicKeyFingerprintSha256": f"SHA256:{_base64(facts, 'sha', 64).rstrip('=')}",
        },
    )


def _certificate(facts: Facts) -> Answer:
    outputs = {
        "certPem": _pem(facts, "CERTIFICATE"),
        "validityStartTime": "2026-01-01T00:00:00Z",
        "validityEndTime": "2036-01-01T00:00:00Z",
        "readyForRenewal": False,
    }
    return Answer(facts.uuid(), outputs)


def _secret(value: Any) -> dict[str, Any]:
    return {SIGNATURE: SECRET, "value": value}


def _random(facts: Facts) -> Answer:
    length = facts.inputs.get("length") or facts.inputs.get("byteLength") or 16
    text = facts.hex(min(int(length) if isinstance(length, (int, float)) else 16, 128))
    prefix = facts.given("prefix")
    return Answer(
        text,
        {
            "result": _secret(text) if facts.type.endswith("RandomPassword") else prefix + text,
            "hex": prefix + text,
            "b64Std": prefix + text,
            "b64Url": prefix + text,
            "dec": prefix + str(int(text, 16)),
        },
    )


_SPECIAL: dict[str, Callable[[Facts], Answer]] = {
    "awsx:ec2:Vpc": _awsx_vpc,
    "eks:index:Cluster": _eks_cluster,
    "kubernetes:helm.sh/v3:Release": _release,
    "random:index/randomId:RandomId": _random,
    "random:index/randomPassword:RandomPassword": _random,
    "random:index/randomString:RandomString": _random,
    "random:index/randomUuid:RandomUuid": lambda f: Answer(f.uuid(), {"result": f.uuid()}),
    "tls:index/certRequest:CertRequest": lambda f: Answer(f.uuid(), {"certRequestPem": _pem(f, "CERTIFICATE REQUEST")}),
    "tls:index/locallySignedCert:LocallySignedCert": _certificate,
    "tls:index/privateKey:PrivateKey": _private_key,
    "tls:index/selfSignedCert:SelfSignedCert": _certificate,
}


def look_up(facts: Facts, shape: dict[str, Any]) -> dict[str, Any] | None:
    """Return a plausible result of a provider function; None if the table has no row for its token."""
    row = _LOOK_UPS.get(facts.type)
    return {**stand_in(shape, facts), **row(facts)} if row else None


def _zones(facts: Facts) -> dict[str, Any]:
    names = [facts.region + letter for letter in "abc"]
    # A zone id abbreviates its region: ap-northeast-2 is apne2.
    area, *middle, number = facts.region.split("-")
    compass = re.findall("north|south|east|west|[a-z]+", "-".join(middle))
    short = area + "".join(word[0] for word in compass)
    return {
        "names": names,
        "zoneIds": [f"{short}{number}-az{index}" for index in range(1, 4)],
        "groupNames": [facts.region],
        "id": facts.region,
    }


def _caller(facts: Facts) -> dict[str, Any]:
    user = "AROA" + facts.hex(17).upper()
    return {
        "accountId": facts.account,
        "arn": f"arn:{partition(facts.region)}:sts::{facts.account}:assumed-role/preflight/stand-in",
        "id": facts.account,
        "userId": f"{user}:stand-in",
    }


def _region(facts: Facts) -> dict[str, Any]:
    name = facts.given("region") or facts.given("name", facts.region)
    return {"id": name, "name": name, "region": name, "description": name, "endpoint": f"ec2.{name}.amazonaws.com"}


def _partition(facts: Facts) -> dict[str, Any]:
    suffix = dns_suffix(facts.region)
    name = partition(facts.region)
    return {
        "id": name,
        "partition": name,
        "dnsSuffix": suffix,
        "reverseDnsPrefix": ".".join(reversed(suffix.split("."))),
    }


def policy_document(args: dict[str, Any]) -> str:
    """Render `aws.iam.getPolicyDocument`'s arguments as the provider does: one value is text, several are a list."""

    def listed(value: Any) -> Any:
        values = list(value or [])
        return values[0] if len(values) == 1 else values

    def principals(blocks: Any) -> Any:
        merged: dict[str, list[str]] = {}
        for block in blocks:
            merged.setdefault(block["type"], []).extend(block["identifiers"])
        if merged == {"*": ["*"]}:
            return "*"
        return {kind: listed(names) for kind, names in merged.items()}

    statements: list[dict[str, Any]] = []
    for source in args.get("statements") or []:
        statement: dict[str, Any] = {"Sid": source["sid"]} if source.get("sid") else {}
        statement["Effect"] = source.get("effect") or "Allow"
        for key, name in (
            ("actions", "Action"),
            ("notActions", "NotAction"),
            ("resources", "Resource"),
            ("notResources", "NotResource"),
        ):
            if source.get(key):
                statement[name] = listed(source[key])
        for key, name in (("principals", "Principal"), ("notPrincipals", "NotPrincipal")):
            if source.get(key):
                statement[name] = principals(source[key])
        conditions: dict[str, dict[str, Any]] = {}
        for condition in source.get("conditions") or []:
            conditions.setdefault(condition["test"], {})[condition["variable"]] = listed(condition["values"])
        if conditions:
            statement["Condition"] = conditions
        statements.append(statement)
    document: dict[str, Any] = {"Version": args.get("version") or "2012-10-17"}
    if args.get("policyId"):
        document["Id"] = args["policyId"]
    for other in [*(args.get("sourcePolicyDocuments") or []), *(args.get("overridePolicyDocuments") or [])]:
        inherited = json.loads(other).get("Statement", []) if isinstance(other, str) and other != UNKNOWN else []
        statements = [*(inherited if isinstance(inherited, list) else [inherited]), *statements]
    return json.dumps({**document, "Statement": statements}, indent=2)


def _policy_document(facts: Facts) -> dict[str, Any]:
    text = policy_document(facts.inputs)
    return {"json": text, "minifiedJson": json.dumps(json.loads(text), separators=(",", ":"))}


def _parameter(facts: Facts) -> dict[str, Any]:
    name = facts.given("name")
    value = f"ami-{facts.hex(17)}" if "image_id" in name or "ami" in name else f"stand-in for {name}"
    return {"value": _secret(value), "insecureValue": value, "type": "String", "version": 1, "id": name} | {
        "arn": facts.arn("ssm", "parameter/" + name.lstrip("/"))
    }


def _existing_cluster(facts: Facts) -> dict[str, Any]:
    """Answer for a cluster that stands elsewhere, with the same values wherever the same name is looked up."""
    name = facts.given("name", "cluster")
    same = Facts(f"cluster {facts.region} {name}", facts.type, name, {}, facts.region, facts.account)
    outputs = _cluster(same, Answer(name))
    vpc = {**outputs["vpcConfig"], "subnetIds": [f"subnet-{same.hex(17, zone)}" for zone in "abc"]}
    vpc.update(securityGroupIds=[], endpointPrivateAccess=True, endpointPublicAccess=True, publicAccessCidrs=[])
    return {**outputs, "id": name, "name": name, "arn": facts.arn("eks", f"cluster/{name}"), "vpcConfig": vpc} | {
        "roleArn": facts.arn("iam", f"role/{name}-cluster"),
        "version": "1.35",
        "tags": {},
    }


def _chain(facts: Facts) -> dict[str, Any]:
    """Answer like the tls provider: what the server presents, reversed, so the top of the chain comes first."""
    host = facts.given("url", "https://example.com").partition("://")[2].partition("/")[0]

    def link(subject: str, issuer: str, authority: bool) -> dict[str, Any]:
        same = Facts(f"certificate {host} {subject}", facts.type, subject, {}, facts.region, facts.account)
        return {
            "certPem": _pem(same, "CERTIFICATE"),
            "isCa": authority,
            "issuer": f"CN={issuer}",
            "subject": f"CN={subject}",
            "maxPathLength": -1,
            "notBefore": "2026-01-01T00:00:00Z",
            "notAfter": "2036-01-01T00:00:00Z",
            "publicKeyAlgorithm": "RSA",
            "serialNumber": str(int(same.hex(16), 16)),
            "sha1Fingerprint": same.hex(40),
            "signatureAlgorithm": "SHA256-RSA",
            "version": 3,
        }

    return {
        "certificates": [
            link("Stand-in Root", "Stand-in Root", True),
            link("Stand-in Intermediate", "Stand-in Root", True),
            link(host, "Stand-in Intermediate", False),
        ]
    }


def documents(text: str) -> list[dict[str, Any]]:
    """Parse a YAML text as pulumi-kubernetes does; pulumi itself depends on PyYAML, so the interpreter has it."""
    import yaml

    return [item for item in yaml.safe_load_all(text) if isinstance(item, dict)]


_LOOK_UPS: dict[str, Callable[[Facts], dict[str, Any]]] = {
    "aws:ec2/getManagedPrefixList:getManagedPrefixList": lambda f: {"id": _aws(f).id, "name": f.given("name")},
    "aws:ec2/getSubnets:getSubnets": lambda f: {"ids": [f"subnet-{f.hex(17, zone)}" for zone in "abc"]},
    "aws:eks/getAddonVersion:getAddonVersion": lambda f: {"version": "v1.0.0-eksbuild.1", "id": f.given("addonName")},
    "aws:eks/getCluster:getCluster": _existing_cluster,
    "aws:eks/getClusterAuth:getClusterAuth": lambda f: {"id": f.given("name"), "token": _secret("stand-in")},
    "aws:iam/getPolicyDocument:getPolicyDocument": _policy_document,
    "aws:index/getAvailabilityZones:getAvailabilityZones": _zones,
    "aws:index/getCallerIdentity:getCallerIdentity": _caller,
    "aws:index/getPartition:getPartition": _partition,
    "aws:index/getRegion:getRegion": _region,
    "aws:ssm/getParameter:getParameter": _parameter,
    "kubernetes:helm:template": lambda _: {"result": []},
    "kubernetes:yaml:decode": lambda f: {"result": documents(f.given("text"))},
    "tls:index/getCertificate:getCertificate": _chain,
}


def stand_in(shape: dict[str, Any], facts: Facts) -> dict[str, Any]:
    """Return a marked stand-in for each field of a function's result; `shape` maps a field to its Python type.

    An argument of the same name is echoed, as providers do. Text says what it stands in for, but an id, an ARN, an
    address range or a zone looks like one, because programs take those apart.
    """
    existing = _aws(facts) if facts.type.startswith("aws:") else Answer(f"stand-in-{facts.hex(8)}")
    likely = {
        "id": existing.id,
        "arn": existing.outputs.get("arn", ""),
        "cidrBlock": "10.0.0.0/16",
        "availabilityZone": facts.region + "abc"[int(facts.hex(4), 16) % 3],
        "ownerId": facts.account,
        "vpcId": f"vpc-{facts.hex(17, 'vpc')}",
    }
    result: dict[str, Any] = {}
    for name, kind in shape.items():
        if facts.inputs.get(name) is not None:
            result[name] = facts.inputs[name]
        elif isinstance(kind, dict):
            result[name] = stand_in(kind, facts)
        elif kind is str:
            result[name] = likely.get(name) or f"stand-in-{name}-{facts.hex(8)}"
        else:
            result[name] = {bool: False, int: 0, float: 0, list: []}.get(kind)
    return result
