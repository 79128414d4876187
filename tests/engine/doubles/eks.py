"""pulumi-eks: its packaged cluster, registering what the real component registers for the arguments we give.

Read in pulumi-eks' nodejs/eks/cluster/cluster.ts. Arguments that would make it register more are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import grpc
from pulumi.runtime.proto import provider_pb2, resource_pb2, resource_pb2_grpc

from . import wire
from .provider import MESSAGE_SIZES, Provider
from .wire import Json
from .world import DoubleError

# What has to be said, since the component's own default would register more.
SWITCHED_OFF = {
    "skipDefaultNodeGroup": True,
    "skipDefaultSecurityGroups": True,
    "useDefaultVpcCni": True,
    "createOidcProvider": False,
}
PLAYED = frozenset(
    {
        *SWITCHED_OFF,
        "accessEntries",
        "authenticationMode",
        "bootstrapSelfManagedAddons",
        "clusterTags",
        "corednsAddonOptions",
        "deletionProtection",
        "enabledClusterLogTypes",
        "encryptionConfigKeyArn",
        "endpointPrivateAccess",
        "endpointPublicAccess",
        "kubeProxyAddonOptions",
        "name",
        "privateSubnetIds",
        "publicAccessCidrs",
        "publicSubnetIds",
        "serviceRole",
        "subnetIds",
        "tags",
        "upgradePolicy",
        "version",
        "vpcId",
    }
)


class Eks(Provider):
    """The eks provider: it has components only."""

    package = "eks"

    def Construct(self, request, context):  # noqa: N802
        response = provider_pb2.ConstructResponse()
        with self._answering(context):
            inputs = wire.plain(wire.decode(request.inputs))
            _refuse_what_is_not_played(request.type, inputs)
        # Not under the world's lock: the children are made while this waits.
        try:
            with grpc.insecure_channel(request.monitorEndpoint, options=MESSAGE_SIZES) as channel:
                monitor = resource_pb2_grpc.ResourceMonitorStub(channel)
                response = _Construction(monitor, request, inputs).run()
        except grpc.RpcError as error:
            # The child has already said what is wrong.
            context.abort(grpc.StatusCode.UNKNOWN, f"a child of {request.name} failed: {error.details()}")
        return response


def _refuse_what_is_not_played(component: str, inputs: Mapping[str, Json]) -> None:
    if component != "eks:index:Cluster":
        raise DoubleError(f"{component} is not played")
    unknown = inputs.keys() - PLAYED
    if unknown:
        raise DoubleError(f"arguments of eks.Cluster that are not played: {', '.join(sorted(unknown))}")
    for key, value in SWITCHED_OFF.items():
        if inputs.get(key, False) != value:
            raise DoubleError(f"eks.Cluster with {key}={inputs.get(key)} registers more than is played here")
    for key in ("kubeProxyAddonOptions", "corednsAddonOptions"):
        if (inputs.get(key) or {}).get("enabled") is not False:
            raise DoubleError(f"eks.Cluster without {key}.enabled=False registers an add-on")


class _Construction:
    """One run of the component."""

    def __init__(
        self,
        monitor: resource_pb2_grpc.ResourceMonitorStub,
        request: provider_pb2.ConstructRequest,
        inputs: dict[str, Json],
    ) -> None:
        self.monitor, self.request, self.inputs = monitor, request, inputs
        self.name = request.name

    def run(self) -> provider_pb2.ConstructResponse:
        """Register the component, its children and its outputs."""
        request, inputs = self.request, self.inputs
        component = self.monitor.RegisterResource(
            resource_pb2.RegisterResourceRequest(
                type=request.type,
                name=self.name,
                parent=request.parent,
                dependencies=list(request.dependencies),
                providers=dict(request.providers),
                aliases=list(request.aliases),
                protect=request.protect if request.HasField("protect") else None,
                acceptSecrets=True,
                acceptResources=True,
            )
        )
        self.component = component.urn
        cluster = self._register(
            "aws:eks/cluster:Cluster",
            f"{self.name}-eksCluster",
            self._cluster_inputs(),
            ignore=["accessConfig.bootstrapClusterCreatorAdminPermissions", "bootstrapSelfManagedAddons"],
            needs=self._needed(),
        )
        outputs = wire.decode(cluster.object)
        kubeconfig = _kubeconfig(outputs)
        self._register(
            "pulumi:providers:kubernetes",
            f"{self.name}-eks-k8s",
            {"kubeconfig": kubeconfig},
            provider="",
            needs=[cluster.urn],
        )
        for key, entry in (inputs.get("accessEntries") or {}).items():
            self._register_entry(key, entry, outputs, cluster.urn)
        group = _of(outputs, "vpcConfig", "clusterSecurityGroupId")
        identities = outputs.get("identities", wire.UNKNOWN)
        issuer = identities if identities == wire.UNKNOWN else identities[0]["oidcs"][0]["issuer"]
        state = {
            "kubeconfig": kubeconfig if kubeconfig == wire.UNKNOWN else json.loads(kubeconfig),
            "kubeconfigJson": kubeconfig,
            "eksCluster": wire.resource(cluster.urn, cluster.id or wire.UNKNOWN),
            "clusterSecurityGroupId": group,
            "nodeSecurityGroupId": group,
            "clusterIngressRuleId": "",
            "defaultNodeGroupAsgName": "",
            "fargateProfileId": "",
            "fargateProfileStatus": "",
            "oidcProviderArn": "",
            "oidcProviderUrl": issuer,
            "oidcIssuer": issuer if issuer == wire.UNKNOWN else issuer.removeprefix("https://"),
            "autoModeNodeRoleName": "",
            "instanceRoles": [],
        }
        self.monitor.RegisterResourceOutputs(
            resource_pb2.RegisterResourceOutputsRequest(urn=self.component, outputs=wire.encode(state))
        )
        return provider_pb2.ConstructResponse(
            urn=self.component,
            state=wire.encode(state),
            stateDependencies={
                key: provider_pb2.ConstructResponse.PropertyDependencies(urns=[cluster.urn]) for key in state
            },
        )

    def _cluster_inputs(self) -> dict[str, Json]:
        inputs = self.inputs
        subnets = inputs.get("subnetIds") or [*inputs.get("publicSubnetIds", []), *inputs.get("privateSubnetIds", [])]
        config = {
            "subnetIds": subnets,
            **{key: inputs.get(key) for key in ("endpointPrivateAccess", "endpointPublicAccess", "publicAccessCidrs")},
        }
        key = inputs.get("encryptionConfigKeyArn")
        mode = inputs.get("authenticationMode")
        return _given(
            {
                "name": inputs.get("name"),
                "roleArn": self._role_arn(),
                "bootstrapSelfManagedAddons": inputs.get("bootstrapSelfManagedAddons", True),
                "vpcConfig": _given(config),
                "version": inputs.get("version"),
                "enabledClusterLogTypes": inputs.get("enabledClusterLogTypes"),
                "tags": {
                    "Name": f"{self.name}-eksCluster",
                    **(inputs.get("clusterTags") or {}),
                    **(inputs.get("tags") or {}),
                },
                "encryptionConfig": {"provider": {"keyArn": key}, "resources": ["secrets"]} if key else None,
                "accessConfig": (
                    {"authenticationMode": mode, "bootstrapClusterCreatorAdminPermissions": True} if mode else None
                ),
                "upgradePolicy": inputs.get("upgradePolicy"),
                "deletionProtection": inputs.get("deletionProtection"),
            }
        )

    def _role_arn(self) -> Json:
        """The role arrives as a reference; the component reads its ARN in the state."""
        role = self.inputs["serviceRole"]
        if role == wire.UNKNOWN:
            return role
        urn = wire.reference(role)
        if urn is None:
            raise DoubleError(f"serviceRole is not a resource: {role}")
        answer = self.monitor.Invoke(
            resource_pb2.ResourceInvokeRequest(
                tok="pulumi:pulumi:getResource", args=wire.encode({"urn": urn}), acceptResources=True
            )
        )
        return wire.plain(wire.decode(getattr(answer, "return")))["state"].get("arn", wire.UNKNOWN)

    def _needed(self) -> list[str]:
        """What the inputs of the component were made from."""
        return sorted({urn for each in self.request.inputDependencies.values() for urn in each.urns})

    def _register_entry(self, key: str, entry: dict[str, Json], cluster: dict[str, Json], needs: str) -> None:
        name = cluster.get("name", wire.UNKNOWN)
        made = self._register(
            "aws:eks/accessEntry:AccessEntry",
            f"{self.name}-{key}",
            _given(
                {
                    "clusterName": name,
                    "principalArn": entry["principalArn"],
                    "kubernetesGroups": entry.get("kubernetesGroups"),
                    "type": entry.get("type"),
                    "userName": entry.get("username"),
                    "tags": entry.get("tags"),
                }
            ),
            needs=[needs],
        )
        for policy_key, policy in (entry.get("accessPolicies") or {}).items():
            self._register(
                "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
                f"{self.name}-{key}-{policy_key}",
                {
                    "clusterName": name,
                    "principalArn": entry["principalArn"],
                    "policyArn": policy["policyArn"],
                    "accessScope": policy["accessScope"],
                },
                needs=[needs, made.urn],
            )

    def _register(
        self,
        resource_type: str,
        name: str,
        inputs: dict[str, Json],
        *,
        needs: list[str],
        ignore: list[str] | None = None,
        provider: str | None = None,
    ) -> resource_pb2.RegisterResourceResponse:
        return self.monitor.RegisterResource(
            resource_pb2.RegisterResourceRequest(
                type=resource_type,
                name=name,
                parent=self.component,
                custom=True,
                object=wire.encode(inputs),
                dependencies=needs,
                ignoreChanges=ignore or [],
                provider=dict(self.request.providers).get("aws", "") if provider is None else provider,
                acceptSecrets=True,
                acceptResources=True,
                supportsPartialValues=True,
            )
        )


def _given(values: dict[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in values.items() if value is not None}


def _of(outputs: Mapping[str, Json], *path: str) -> Json:
    value: Json = outputs
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return wire.UNKNOWN
        value = value[key]
    return value


def _kubeconfig(cluster: dict[str, Json]) -> str:
    facts = [
        _of(cluster, "endpoint"),
        _of(cluster, "certificateAuthority", "data"),
        _of(cluster, "name"),
        _of(cluster, "region"),
    ]
    if wire.UNKNOWN in facts:
        return wire.UNKNOWN
    endpoint, authority, name, region = facts
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "kubernetes", "cluster": {"server": endpoint, "certificate-authority-data": authority}}
            ],
            "contexts": [{"name": "aws", "context": {"cluster": "kubernetes", "user": "aws"}}],
            "current-context": "aws",
            "users": [
                {
                    "name": "aws",
                    "user": {
                        "exec": {
                            "apiVersion": "client.authentication.k8s.io/v1beta1",
                            "command": "aws",
                            "args": ["eks", "get-token", "--cluster-name", name, "--region", region],
                        }
                    },
                }
            ],
        }
    )
