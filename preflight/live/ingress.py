"""The end of an Ingress' chain, as it is: the controller, the class, the address."""

from preflight.live.asking import Account, UnansweredError
from preflight.live.balancers import tagged
from preflight.live.kubernetes import Api, ClosedError
from preflight.live.verdict import Verdict
from preflight.rules.eks import ALB_CONTROLLERS, Estate, Object, Release
from preflight.workloads import at, text


def controller(api: Api, release: Release, about: str) -> Verdict:
    """Say whether the load balancer controller runs, and answers for its webhook."""
    apps = f"/apis/apps/v1/namespaces/{release.namespace}/deployments"
    logs = f"kubectl logs --namespace {release.namespace} --selector app.kubernetes.io/instance={release.name}"
    own = f"?labelSelector=app.kubernetes.io%2Finstance%3D{release.name}"
    try:
        found = api.items(apps + own)
        slices = f"/apis/discovery.k8s.io/v1/namespaces/{release.namespace}/endpointslices"
        endpoints = [
            endpoint
            for one in api.items(slices + own)
            if "webhook" in text(one, "metadata", "labels", "kubernetes.io/service-name")
            for endpoint in one.get("endpoints") or ()
            if at(endpoint, "conditions", "ready") is not False
        ]
    except ClosedError as closed:
        return Verdict(about=about, link="controller", status="unknown", text=str(closed))
    if not found:
        return Verdict(
            about=about,
            link="controller",
            status="broken",
            text=f"release {release.namespace}/{release.name} has no Deployment",
            fix="pulumi refresh, then pulumi up",
        )
    wanted, ready = at(found[0], "spec", "replicas"), at(found[0], "status", "availableReplicas") or 0
    fine = bool(ready) and bool(endpoints)
    return Verdict(
        about=about,
        link="controller",
        status="ok" if fine else "broken",
        text=f"{ready} of {wanted} replicas are available, {len(endpoints)} answer for its webhook",
        fix="" if fine else logs,
        symptom=True,
    )


def ingress_class(api: Api, estate: Estate, ingress: Object, about: str) -> Verdict:
    """Say whether the class of an Ingress is there and the controller's."""
    name = estate.class_of(ingress)
    try:
        found = api.get(f"/apis/networking.k8s.io/v1/ingressclasses/{name}")
    except ClosedError as closed:
        return Verdict(about=about, link="class", status="unknown", text=str(closed))
    handler = text(found, "spec", "controller")
    fine = handler in ALB_CONTROLLERS
    there = f"{name} is for {handler}, which is no load balancer controller" if found else f"there is no class {name}"
    return Verdict(
        about=about,
        link="class",
        status="ok" if fine else "broken",
        text=f"{name} is for {handler}" if fine else there,
        fix="" if fine else "pulumi refresh, then pulumi up",
    )


def address(account: Account, api: Api, cluster: str, ingress: Object, about: str) -> Verdict:
    """Say whether an Ingress has an address; where the API is closed, whether a load balancer is tagged for it."""
    path = f"/apis/networking.k8s.io/v1/namespaces/{ingress.namespace}/ingresses/{ingress.name}"
    try:
        found = api.get(path)
    except ClosedError as closed:
        return _balancer(account, cluster, ingress, about, closed)
    if found is None:
        return Verdict(
            about=about,
            link="Ingress",
            status="broken",
            text="it is not in the cluster",
            fix="pulumi refresh, then pulumi up",
            symptom=True,
        )
    name = text(found, "status", "loadBalancer", "ingress", "0", "hostname")
    if name:
        return Verdict(about=about, link="Ingress", status="ok", text=name)
    fix = f"kubectl describe ingress {ingress.name} --namespace {ingress.namespace}"
    return Verdict(about=about, link="Ingress", status="broken", text="it has no address", fix=fix, symptom=True)


def _balancer(account: Account, cluster: str, ingress: Object, about: str, closed: ClosedError) -> Verdict:
    own = f"{ingress.namespace}/{ingress.name}"
    try:
        found = [
            str(balancer["DNSName"])
            for balancer, seen, _ in tagged(account, cluster, "describe_load_balancers", "LoadBalancer")
            if seen.get("ingress.k8s.aws/stack") == own
        ]
    except UnansweredError as unanswered:
        return Verdict(about=about, link="Ingress", status="unknown", text=f"{closed}; {unanswered.gap}")
    if found:
        return Verdict(about=about, link="Ingress", status="ok", text=found[0])
    told = f"no load balancer carries ingress.k8s.aws/stack={own}"
    return Verdict(about=about, link="Ingress", status="broken", text=told, symptom=True, fix=str(closed))
