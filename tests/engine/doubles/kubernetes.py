"""The Kubernetes provider, with the clusters behind it.

Who judges what: built-in kinds and their fields the SDK's own type information; everything else this module: that
namespaces, accounts, custom kinds and webhooks are there, that pods have nodes to run on, what is waited for, and what
finalizers hold.

Not played: fields of custom kinds, chart values beyond what charts.py reads, scheduling beyond "there is a node".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

import grpc
from pulumi.runtime.proto import provider_pb2, resource_pb2, resource_pb2_grpc

from preflight import create_only

from . import balancers, issuing, kinds_eks, lattice, names, network, sdk, wire
from .charts import CHARTS, MANIFESTS
from .provider import MESSAGE_SIZES, Found, HalfMadeError, Provider
from .tokens import ENTRY, ENTRY_POLICY
from .wire import Json
from .world import DEPLOYER, DoubleError, Kube, KubeObject, RefusedError, World

RELEASE = balancers.RELEASE
NAMESPACE = "kubernetes:core/v1:Namespace"
ACCOUNT = balancers.ACCOUNT
SERVICE = "kubernetes:core/v1:Service"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"
DAEMON_SET = "kubernetes:apps/v1:DaemonSet"
JOB = "kubernetes:batch/v1:Job"
INGRESS = balancers.INGRESS
INGRESS_CLASS = balancers.INGRESS_CLASS
DEFINITION = "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition"

CLUSTER_WIDE = frozenset(
    {
        DEFINITION,
        NAMESPACE,
        INGRESS_CLASS,
        "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole",
        "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding",
        "kubernetes:scheduling.k8s.io/v1:PriorityClass",
        "kubernetes:storage.k8s.io/v1:StorageClass",
    }
)
# Real awaits take minutes; here whatever can happen happens within milliseconds of the rest of the update.
PATIENCE_SECONDS = 5.0
# A load balancer takes minutes to go, and everything that does not wait for it goes first: until so long nothing has.
QUIET_SECONDS = 0.2


class Kubernetes(Provider):
    """The Kubernetes provider."""

    package = "kubernetes"

    def configure(self, config: dict[str, Json]) -> None:
        """Take any configuration: nothing is asked before the first object."""

    def config_replaces(self, old: dict[str, Json], new: dict[str, Json]) -> list[str]:
        """As provider.go's DiffConfig decides: by clusterIdentifier where it is set, else by the kubeconfig."""
        identifiers = old.get("clusterIdentifier"), new.get("clusterIdentifier")
        if identifiers[1] is not None and identifiers[0] == identifiers[1]:
            return []
        if None not in identifiers:
            return ["clusterIdentifier"]
        if new.get("kubeconfig") == wire.UNKNOWN or _server(old) != _server(new):
            return ["kubeconfig"]
        return []

    def check(
        self, urn: str, news: dict[str, Json], olds: dict[str, Json], config: dict[str, Json]
    ) -> tuple[dict[str, Json], list[tuple[str, str]]]:
        """Fill in a name, and judge."""
        del config
        resource_type = wire.type_of(urn)
        inputs = dict(news)
        if resource_type != RELEASE:
            metadata = dict(inputs.get("metadata") or {})
            if "name" not in metadata:
                old = olds.get("metadata", {}).get("name")
                with self.cloud.changed:
                    metadata["name"] = old or f"{wire.name_of(urn)}-{self.cloud.world.new_hex(8)}"
            inputs["metadata"] = metadata
        if not _is_custom(resource_type):
            return inputs, list(sdk.input_problems(resource_type, wire.plain(inputs)))
        missing = [key for key in ("apiVersion", "kind") if key not in inputs]
        return inputs, [(key, "is required") for key in missing]

    def replaces(self, resource_type: str, old: dict[str, Json], new: dict[str, Json]) -> tuple[list[str], bool]:
        """By the table of create-only inputs; an object that keeps its fixed name goes first."""
        paths = create_only.replacing(resource_type, old, new)
        same = all(
            old.get("metadata", {}).get(key) == new.get("metadata", {}).get(key) for key in ("name", "namespace")
        )
        return paths, bool(paths) and resource_type != RELEASE and same

    def Construct(self, request, context):  # noqa: N802
        """Register what a manifest holds, as yaml/v2's ConfigFile does; only of manifests that MANIFESTS knows."""
        with self._answering(context):
            inputs = wire.plain(wire.decode(request.inputs))
            address = inputs.get("file", "")
            known = next((kinds for end, kinds in MANIFESTS.items() if address.endswith(end)), None)
            if request.type != "kubernetes:yaml/v2:ConfigFile" or known is None:
                raise DoubleError(f"{request.type} {address} is not played")
        common = {"acceptSecrets": True, "acceptResources": True}
        try:
            with grpc.insecure_channel(request.monitorEndpoint, options=MESSAGE_SIZES) as channel:
                monitor = resource_pb2_grpc.ResourceMonitorStub(channel)
                component = monitor.RegisterResource(
                    resource_pb2.RegisterResourceRequest(
                        type=request.type,
                        name=request.name,
                        parent=request.parent,
                        dependencies=list(request.dependencies),
                        providers=dict(request.providers),
                        retainOnDelete=request.retainOnDelete,
                        **common,
                    )
                )
                for (version, kind), namespaced in known.items():
                    definition = _definition(version, kind, address, namespaced=namespaced)
                    monitor.RegisterResource(
                        resource_pb2.RegisterResourceRequest(
                            type=DEFINITION,
                            name=f"{request.name}:{definition['metadata']['name']}",
                            parent=component.urn,
                            custom=True,
                            object=wire.encode(definition),
                            provider=dict(request.providers).get("kubernetes", ""),
                            supportsPartialValues=True,
                            **common,
                        )
                    )
                monitor.RegisterResourceOutputs(resource_pb2.RegisterResourceOutputsRequest(urn=component.urn))
        except grpc.RpcError as error:
            # The child has already said what is wrong.
            context.abort(grpc.StatusCode.UNKNOWN, f"a child of {request.name} failed: {error.details()}")
        return provider_pb2.ConstructResponse(urn=component.urn)

    def _outputs(self, urn: str) -> list[str]:
        return [] if _is_custom(wire.type_of(urn)) else super()._outputs(urn)

    def create(
        self, urn: str, inputs: dict[str, Json], config: dict[str, Json], timeout: float
    ) -> tuple[str, dict[str, Json]]:
        """Make an object or a release, and wait until it works."""
        del timeout
        kube = self._kube(config)
        item = self._object(kube, wire.type_of(urn), inputs)
        key = (item.type, item.namespace, item.name)
        if key in kube.objects:
            raise RefusedError(
                f'cannot re-use a name that is still in use: release "{item.name}"'
                if item.type == RELEASE
                else f'{item.type.split(":")[-1]} "{item.name}" already exists'
            )
        self._admit(kube, item)
        kube.objects[key] = item
        try:
            item.outputs = self._bring_up(kube, item)
        except _NotReadyError as reason:
            if item.type == RELEASE and (inputs.get("atomic") or (inputs.get("cleanupOnFail") is None and False)):
                del kube.objects[key]
                raise RefusedError(
                    f'Helm release "{item.id}" was created, but failed to initialize completely, and was rolled back:'
                    f" context deadline exceeded (the double's reasons: {reason})"
                ) from None
            item.outputs = _seen(item)
            raise HalfMadeError(
                item.id,
                inputs,
                item.outputs,
                f"the Kubernetes API server reported that {item.id} failed to fully initialize or become live: timed"
                f" out waiting for the condition (the double's reasons: {reason})",
            ) from None
        return item.id, item.outputs

    def update(self, urn: str, identity: str, inputs: dict[str, Json], config: dict[str, Json]) -> dict[str, Json]:
        """Change an object or a release, and wait until it works."""
        kube = self._kube(config)
        item = self._find(kube, wire.type_of(urn), identity)
        if item is None:
            raise RefusedError(f"{wire.type_of(urn).split(':')[-1]} {identity} not found")
        changed = self._object(kube, item.type, inputs)
        self._admit(kube, changed)
        item.inputs = inputs
        try:
            item.outputs = self._bring_up(kube, item)
        except _NotReadyError as reason:
            raise HalfMadeError(
                item.id, inputs, _seen(item), f"timed out waiting for the condition (the double's reasons: {reason})"
            ) from None
        return item.outputs

    def delete(self, urn: str, identity: str, config: dict[str, Json]) -> None:
        """Remove an object; whatever a finalizer holds stays."""
        kube = self._kube(config)
        item = self._find(kube, wire.type_of(urn), identity)
        if item is None:
            self.cloud.world.late.append(f"{wire.type_of(urn).split(':')[-1]} {identity}")
            return
        self._remove(kube, item)

    def read(self, urn: str, identity: str, config: dict[str, Json], *, importing: bool) -> Found | None:
        """What is there."""
        del importing
        item = self._find(self._kube(config), wire.type_of(urn), identity)
        return Found(item.id, item.inputs, item.outputs) if item else None

    # The cluster.

    def _kube(self, config: dict[str, Json]) -> Kube:
        """The cluster that the kubeconfig leads to, if the deployer is let in."""
        world = self.cloud.world
        kube = world.kubes.get(_server(config) or "")
        if kube is None:
            raise RefusedError(
                "configured Kubernetes cluster is unreachable: unable to load schema information from the API server"
            )
        cluster = kinds_eks.cluster_named(world, kube.cluster_name)
        user = json.loads(config["kubeconfig"])["users"][0]["user"]["exec"]
        if user["command"] != "aws" or kube.cluster_name not in user["args"]:
            raise DoubleError(f"a kubeconfig whose token is not for {kube.cluster_name}: {user}")
        creator = cluster.inputs.get("accessConfig", {}).get("bootstrapClusterCreatorAdminPermissions", True)
        entered = any(
            each.inputs["principalArn"] == DEPLOYER
            for kind in (ENTRY, ENTRY_POLICY)
            for each in world.pointing(kind, "clusterName", kube.cluster_name)
        )
        if not creator and not entered:
            raise RefusedError("the server has asked for the client to provide credentials")
        return kube

    def _object(self, kube: Kube, resource_type: str, inputs: dict[str, Json]) -> KubeObject:
        if resource_type == RELEASE:
            return KubeObject(
                RELEASE,
                inputs.get("namespace") or "default",
                inputs.get("name") or self._release_name(inputs),
                inputs,
                {},
            )
        metadata = inputs["metadata"]
        namespace = (metadata.get("namespace") or "default") if _in_namespace(kube, resource_type) else ""
        return KubeObject(resource_type, namespace, metadata["name"], inputs, {})

    def _release_name(self, inputs: dict[str, Json]) -> str:
        return f"{inputs['chart'].rsplit('/', 1)[-1]}-{self.cloud.world.new_hex(8)}"

    def _find(self, kube: Kube, resource_type: str, identity: str) -> KubeObject | None:
        return next((each for each in kube.of_type(resource_type) if each.id == identity), None)

    def _admit(self, kube: Kube, item: KubeObject) -> None:
        """What the API server asks before it takes an object."""
        kind = item.type.rsplit(":", 1)[-1]
        if _is_custom(item.type):
            version = item.type.split(":")[1]
            if (version, kind) not in kube.definitions:
                raise RefusedError(f'no matches for kind "{kind}" in version "{version}"')
        patched = _patched(item.type)
        if patched != item.type and not kube.find(patched, item.namespace, item.name):
            raise RefusedError(f'{kind.removesuffix("Patch")} "{item.name}" not found')
        if item.namespace and not kube.find(NAMESPACE, "", item.namespace):
            raise RefusedError(f'namespaces "{item.namespace}" not found')
        for release in kube.of_type(RELEASE):
            chart = _chart(release)
            port = chart.webhooks(release.inputs.get("values", {})).get(kind)
            if port is not None and release is not item:
                problems = [*self._pod_problems(kube, release), *self._webhook_problems(kube, port)]
                if problems:
                    raise RefusedError(
                        f"Internal error occurred: failed calling webhook of {release.id}: failed to call webhook: Post"
                        f' "https://{release.name}.{release.namespace}.svc:443": context deadline exceeded'
                        f" (the double's reasons: {'; '.join(problems)})"
                    )

    def _webhook_problems(self, kube: Kube, port: int) -> Iterator[str]:
        world = self.cloud.world
        control_plane = kinds_eks.cluster_named(world, kube.cluster_name).outputs["vpcConfig"]["clusterSecurityGroupId"]
        for nodes in kinds_eks.running_nodes(world, kube.cluster_name):
            if not network.admits(world, kinds_eks.node_groups(world, nodes), control_plane, port):
                yield f"the nodes do not admit the control plane on {port}"

    def _pod_problems(self, kube: Kube, item: KubeObject) -> Iterator[str]:
        """Why a pod of this object does not start."""
        world = self.cloud.world
        nodes = kinds_eks.running_nodes(world, kube.cluster_name)
        if not nodes:
            yield "no nodes available to schedule pods"
        if "coredns" not in kinds_eks.addons(world, kube.cluster_name):
            yield "no DNS"
        for each in nodes:
            for image in _images(item):
                if not all(network.pulls(world, subnet, image) for subnet in each.inputs["subnetIds"]):
                    yield f"the nodes cannot pull {image}"
            groups = kinds_eks.node_groups(world, each)
            if not any(network.admits(world, groups, group, 53, "udp") for group in groups):
                yield "the nodes do not admit each other"

    def _bring_up(self, kube: Kube, item: KubeObject) -> dict[str, Json]:
        """What happens in the cluster for an object, waited for as the provider waits."""
        happens: dict[str, Callable[[Kube, KubeObject], dict[str, Json]]] = {
            RELEASE: self._install,
            DEPLOYMENT: self._roll_out,
            DAEMON_SET: self._roll_out,
            JOB: self._run_to_its_end,
            SERVICE: self._find_endpoints,
            INGRESS: self._get_address,
            DEFINITION: self._define,
            issuing.ISSUER: self._issue,
            issuing.CERTIFICATE: self._issue,
            **dict.fromkeys(lattice.ANSWERED, self._be_answered),
        }
        return {**_seen(item), **happens.get(item.type, lambda _kube, _item: {})(kube, item)}

    def _install(self, kube: Kube, item: KubeObject) -> dict[str, Json]:
        chart, values = _chart(item), item.inputs.get("values", {})
        makes, account = chart.account(values)
        problems = list(self._pod_problems(kube, item))
        if not makes and kube.find(ACCOUNT, item.namespace, account) is None:
            problems.append(f'serviceaccount "{account}" not found')
        known = [kind for _, kind in kube.definitions]
        problems += [f'no matches for kind "{kind}"' for kind in chart.needs(values) if kind not in known]
        for secret, files in chart.mounts(values).items():
            mounted = kube.find(issuing.SECRET, item.namespace, secret)
            there = issuing.contents(mounted) if mounted else {}
            problems += [f'secret "{secret}" has no {file}' for file in files if file not in there]
        if chart.calls_itself:
            for port in set(chart.webhooks(values).values()):
                problems += self._webhook_problems(kube, port)
        if problems:
            raise _NotReadyError("; ".join(problems))
        if chart.in_folder and item.inputs.get("skipCrds"):
            missing = [kind for (version, kind) in chart.kinds(values) if (version, kind) not in kube.definitions]
            if missing:
                raise _NotReadyError(f"the pods do not start: no matches for kind {', '.join(missing)}")
        else:
            kube.definitions.update(chart.kinds(values))
        if item.inputs["chart"].endswith(lattice.CHART):
            kube.writes_endpoints = lattice.ENDPOINT_KIND in kube.definitions
        revision = item.outputs.get("status", {}).get("revision", 0) + 1
        return {
            "name": item.name,
            "status": {
                "name": item.name,
                "namespace": item.namespace,
                "status": "deployed",
                "revision": revision,
                "version": item.inputs.get("version", "0.0.0"),
                "chart": item.inputs["chart"],
                "appVersion": item.inputs.get("version", "0.0.0"),
            },
            "resourceNames": {},
        }

    def _issue(self, kube: Kube, item: KubeObject) -> dict[str, Json]:
        problems = list(issuing.problems(kube, item))
        if problems and "pulumi.com/waitFor" in item.inputs["metadata"].get("annotations", {}):
            raise _NotReadyError("; ".join(problems))
        if item.type == issuing.CERTIFICATE and not problems:
            issuing.write(kube, item)
        return {}

    def _define(self, kube: Kube, item: KubeObject) -> dict[str, Json]:
        spec = item.inputs["spec"]
        for version in spec["versions"]:
            name = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
            kube.definitions[name] = spec["scope"] == "Namespaced"
        return {}

    def _be_answered(self, kube: Kube, item: KubeObject) -> dict[str, Json]:
        """What the gateway controller says; whoever does not wait for it goes on without."""
        world = self.cloud.world
        waits = "pulumi.com/waitFor" in (item.inputs["metadata"].get("annotations") or {})
        if waits and item.type == lattice.ROUTE:
            # It tries again and again, but does not look for the service network of a Gateway twice.
            self.cloud.changed.wait_for(lambda: not list(lattice.problems(world, kube, item)), PATIENCE_SECONDS)
        problems = list(lattice.problems(world, kube, item))
        if problems and waits:
            raise _NotReadyError("; ".join(problems))
        return {} if problems else lattice.take(world, kube, item)

    def _roll_out(self, kube: Kube, item: KubeObject) -> dict[str, Json]:
        template = item.inputs["spec"]["template"]
        problems = list(self._pod_problems(kube, item))
        if item.type == DEPLOYMENT:
            item.injected = lattice.injected(kube, item)
            problems += lattice.proxy_problems(self.cloud.world, kube, item)
        account = template["spec"].get("serviceAccountName")
        if account and kube.find(ACCOUNT, item.namespace, account) is None:
            problems.append(f'serviceaccount "{account}" not found')
        wanted = item.inputs["spec"]["selector"].get("matchLabels", {})
        if not wanted.items() <= template["metadata"].get("labels", {}).items():
            raise RefusedError(
                "spec.template.metadata.labels: Invalid value: `selector` does not match template `labels`"
            )
        if problems:
            raise _NotReadyError("; ".join(problems))
        return {"status": {"replicas": item.inputs["spec"].get("replicas", 1)}}

    def _run_to_its_end(self, kube: Kube, item: KubeObject) -> dict[str, Json]:
        """A Job of ours asks STS who it is and fails unless that is EXPECTED_ROLE; one asks for an association too."""
        world, pod = self.cloud.world, item.inputs["spec"]["template"]["spec"]
        problems = list(self._pod_problems(kube, item))
        account = pod["serviceAccountName"]
        found = kube.find(ACCOUNT, item.namespace, account)
        if found is None:
            problems.append(f'serviceaccount "{account}" not found')
        annotated = found.inputs["metadata"].get("annotations", {}).get(balancers.ROLE_ANNOTATION) if found else None
        cluster = kinds_eks.cluster_named(world, kube.cluster_name)
        bound = kinds_eks.association_of(world, kube.cluster_name, item.namespace, account)
        arn = bound.inputs["roleArn"] if bound else annotated
        (container,) = pod["containers"]
        expected = next(each["value"] for each in container["env"] if each["name"] == "EXPECTED_ROLE")
        problem = kinds_eks.credentials_problem(world, cluster, item.namespace, account, annotated)
        if problem:
            problems.append(problem)
        elif (arn or "").rsplit("/", 1)[-1] != expected:
            problems.append(f"the pod is {arn}, expected {expected}")
        if bound is None and "AWS_CONTAINER_CREDENTIALS_FULL_URI" in container["command"][-1]:
            problems.append("no association put AWS_CONTAINER_CREDENTIALS_FULL_URI into the pod")
        if problems:
            raise _NotReadyError("; ".join(problems))
        return {"status": {"succeeded": 1}}

    def _find_endpoints(self, kube: Kube, item: KubeObject) -> dict[str, Json]:
        selector = item.inputs["spec"].get("selector")
        if selector:
            self._wait_for(lambda: self._pods_with(kube, item.namespace, selector), "Service does not target any Pods")
        return {"status": {"loadBalancer": {}}}

    def _pods_with(self, kube: Kube, namespace: str, selector: Mapping[str, str]) -> bool:
        return any(
            selector.items() <= each.inputs["spec"]["template"]["metadata"].get("labels", {}).items()
            for each in kube.of_type(DEPLOYMENT)
            if each.namespace == namespace
        )

    def _get_address(self, kube: Kube, item: KubeObject) -> dict[str, Json]:
        world = self.cloud.world
        class_name = item.inputs["spec"].get("ingressClassName", "")
        found = kube.find(INGRESS_CLASS, "", class_name)
        if found is None or found.inputs["spec"].get("controller") != balancers.CONTROLLER:
            raise _NotReadyError(f"no controller answers for ingress class {class_name!r}")
        for backend in _backends(item):
            self._wait_for(
                lambda backend=backend: kube.find(SERVICE, item.namespace, backend) is not None,
                f"Service {backend} does not exist",
            )
        # The controller tries again and again, so what it needs may also come later.
        self.cloud.changed.wait_for(lambda: not list(balancers.balancer_problems(world, kube, item)), PATIENCE_SECONDS)
        if not list(balancers.controller_problems(world, kube, "")):
            item.finalizers = [balancers.finalizer(kube, item)]
        problems = list(balancers.balancer_problems(world, kube, item))
        if problems:
            raise _NotReadyError("; ".join(problems))
        host = balancers.make(world, kube, item)
        names.keep(world, kube, item, host)
        return {"status": {"loadBalancer": {"ingress": [{"hostname": host}]}}}

    def _wait_for(self, happened: Callable[[], bool], otherwise: str) -> None:
        if not self.cloud.changed.wait_for(happened, PATIENCE_SECONDS):
            raise _NotReadyError(otherwise)

    def _remove(self, kube: Kube, item: KubeObject) -> None:
        world = self.cloud.world
        if item.type == NAMESPACE:
            for each in [each for each in kube.objects.values() if each.namespace == item.name]:
                self._remove(kube, each)
        if item.finalizers:
            while self.cloud.changed.wait(QUIET_SECONDS):
                pass
            of_lattice = item.type in lattice.FINALIZERS
            held = lattice.removal_problems(world, kube, item) if of_lattice else _ingress_problems(world, kube, item)
            problems = list(held)
            if problems:
                raise RefusedError(
                    f"{item.type.rsplit(':', 1)[-1]} {item.id} is still there: timed out waiting for finalizers"
                    f" {item.finalizers} (the double's reasons: {'; '.join(problems)})"
                )
            if of_lattice:
                lattice.clear(world, kube, item)
            else:
                balancers.clear(world, kube, item)
                names.remove(world, kube, item)
        if item.type == RELEASE:
            chart, values = _chart(item), item.inputs.get("values", {})
            if not chart.keeps_kinds(values):
                for definition in chart.kinds(values):
                    kube.definitions.pop(definition, None)
                    for each in [*kube.of_type(":".join(("kubernetes", *definition)))]:
                        del kube.objects[each.type, each.namespace, each.name]
        del kube.objects[item.type, item.namespace, item.name]
        if item.type == issuing.SECRET:
            issuing.write_again(kube, item)


def _ingress_problems(world: World, kube: Kube, ingress: KubeObject) -> Iterator[str]:
    """Why the load balancer controller keeps its finalizer."""
    yield from balancers.controller_problems(world, kube, "elasticloadbalancing:DeleteLoadBalancer")
    class_name = ingress.inputs["spec"].get("ingressClassName", "")
    if kube.find(INGRESS_CLASS, "", class_name) is None:
        yield f"ingress class {class_name!r} is gone"
    elif balancers.parameters(kube, ingress) is None:
        yield f"the parameters of ingress class {class_name!r} are gone"


def _definition(version: str, kind: str, address: str, *, namespaced: bool) -> dict[str, Json]:
    """A definition without fields, which differs where the address does."""
    group, _, number = version.partition("/")
    plural = kind.lower().removesuffix("s") + "s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "annotations": {"double/from": address}},
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural},
            "scope": "Namespaced" if namespaced else "Cluster",
            "versions": [{"name": number, "served": True, "storage": True}],
        },
    }


class _NotReadyError(Exception):
    """What was made does not come up."""


def _chart(release: KubeObject):
    name = release.inputs["chart"].rsplit("/", 1)[-1]
    if name not in CHARTS:
        raise DoubleError(f"the cluster does not know the chart {name}: give it a Chart")
    return CHARTS[name]


def _images(item: KubeObject) -> list[str]:
    """What has to be pulled for the pods of a release, a Deployment, a DaemonSet or a Job."""
    if item.type == RELEASE:
        return list(_chart(item).images(item.inputs.get("values", {})))
    return [each["image"] for each in item.inputs["spec"]["template"]["spec"]["containers"]]


def _backends(ingress: KubeObject) -> list[str]:
    return [
        path["backend"]["service"]["name"]
        for rule in ingress.inputs["spec"].get("rules", [])
        for path in rule["http"]["paths"]
        if path["backend"]["service"]["port"].get("name") != "use-annotation"
    ]


def _is_custom(resource_type: str) -> bool:
    try:
        sdk.outputs_of(resource_type)
    except sdk.UnknownTypeError:
        return True
    return False


def _in_namespace(kube: Kube, resource_type: str) -> bool:
    _, version, kind = resource_type.split(":")
    return kube.definitions.get((version, kind), _patched(resource_type) not in CLUSTER_WIDE)


def _patched(resource_type: str) -> str:
    """The type of the object that a patch is for; any other type is its own."""
    return resource_type.removesuffix("Patch")


def _server(config: dict[str, Json]) -> str | None:
    text = config.get("kubeconfig")
    if not text or text == wire.UNKNOWN:
        return None
    return json.loads(text)["clusters"][0]["cluster"]["server"]


def _seen(item: KubeObject) -> dict[str, Json]:
    """An object as the API server shows it."""
    if item.type == RELEASE:
        return dict(item.inputs)
    metadata = {
        **item.inputs["metadata"],
        **({"namespace": item.namespace} if item.namespace else {}),
        "uid": f"uid-of-{item.id}",
        "generation": 1,
    }
    return {"spec": {}, **item.inputs, "metadata": metadata}
