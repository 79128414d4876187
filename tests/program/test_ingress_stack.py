"""IngressStack and DemoApp alone, under plain mocks."""

import json

import pulumi
import pulumi_aws as aws
import pytest

from components import (
    CertManagerSettings,
    DemoApp,
    DemoAppArgs,
    DemoSettings,
    IngressSettings,
    IngressStack,
    IngressStackArgs,
    LoadBalancerControllerSettings,
)
from components.versions import AWS_LOAD_BALANCER_CONTROLLER, AWS_LOAD_BALANCER_CONTROLLER_3_4, CERT_MANAGER
from iam_policies import policy_document
from tests.program import stacks
from tests.program.conftest import ISSUER

CONTROLLER = "ingress-aws-load-balancer-controller"


def ingress_stack(*, cert_manager=True, cluster=None, gateway_api=None, **controller):
    cluster = cluster or stacks.target()
    route = aws.ec2.Route("route", route_table_id="rtb-1", opts=pulumi.ResourceOptions(provider=cluster.aws_provider))
    return IngressStack(
        "ingress",
        IngressStackArgs(
            settings=IngressSettings(
                cert_manager=CertManagerSettings() if cert_manager else None,
                load_balancer_controller=LoadBalancerControllerSettings(**controller),
            ),
            cluster=cluster,
            vpc_id="vpc-1",
            oidc_provider_arn=f"arn:aws:iam::111122223333:oidc-provider/{ISSUER}",
            network_ready=[route],
            gateway_api=gateway_api,
        ),
    )


def values(recording):
    return recording.one("Release", CONTROLLER).inputs["values"]


@pytest.mark.parametrize("where", [{}, {"namespace": "ingress", "service_account": "balancer"}])
def test_release_account_and_trust_name_one_and_the_same_account(run, where):
    recording = run(lambda: ingress_stack(**where))
    account = recording.one("ServiceAccount").inputs["metadata"]
    release = recording.one("Release", CONTROLLER).inputs
    (statement,) = json.loads(recording.one("Role").inputs["assumeRolePolicy"])["Statement"]
    expected = (where.get("namespace", "kube-system"), where.get("service_account", "aws-load-balancer-controller"))
    assert (account["namespace"], account["name"]) == expected
    assert (release["namespace"], release["values"]["serviceAccount"]["name"]) == expected
    subject = f"system:serviceaccount:{expected[0]}:{expected[1]}"
    assert statement["Condition"]["StringEquals"][f"{ISSUER}:sub"] == subject


def test_the_chart_makes_no_account_of_its_own(run):
    assert values(run(ingress_stack))["serviceAccount"]["create"] is False


def test_the_account_carries_the_labels_that_the_chart_would_give_it(run):
    assert run(ingress_stack).one("ServiceAccount").inputs["metadata"]["labels"] == {
        "app.kubernetes.io/component": "controller",
        "app.kubernetes.io/name": "aws-load-balancer-controller",
    }


def test_the_controllers_policy_is_the_one_of_the_charts_version(run):
    policy = json.loads(run(ingress_stack).one("Policy").inputs["policy"])
    assert policy == policy_document(AWS_LOAD_BALANCER_CONTROLLER.policy, partition="aws")


def test_the_controller_is_told_what_it_cannot_ask_the_metadata_service_for(run):
    told = values(run(ingress_stack))
    assert (told["clusterName"], told["region"], told["vpcId"]) == ("dev", "ap-northeast-2", "vpc-1")


def test_port_9443_is_open_from_the_control_plane_to_the_nodes_because_the_release_listens_there(run):
    recording = run(ingress_stack)
    rule = recording.one("SecurityGroupIngressRule", "ingress-controller-webhook").inputs
    assert (rule["securityGroupId"], rule["referencedSecurityGroupId"]) == ("sg-nodes", "sg-control-plane")
    assert rule["fromPort"] == rule["toPort"] == values(recording)["webhookBindPort"] == 9443


def test_cert_managers_port_is_open_and_is_not_the_kubelets(run):
    recording = run(ingress_stack)
    rule = recording.one("SecurityGroupIngressRule", "ingress-cert-manager-webhook").inputs
    listens = recording.one("Release", "ingress-cert-manager").inputs["values"]["webhook"]["securePort"]
    assert rule["fromPort"] == rule["toPort"] == listens != 10250


def test_a_release_comes_after_everything_that_it_needs_and_goes_before_it(run):
    recording = run(ingress_stack)
    release = recording.one("Release", CONTROLLER)
    needed = [
        recording.one("RolePolicyAttachment"),
        recording.one("ServiceAccount"),
        recording.one("NodeGroup"),
        recording.one("Route"),
        recording.one("Release", "ingress-cert-manager"),
        *recording.all("SecurityGroupIngressRule"),
    ]
    assert [each.name for each in needed if not recording.reaches(release, each)] == []


def test_the_controllers_kinds_are_a_step_of_their_own_before_it_at_its_version(run):
    recording = run(lambda: ingress_stack(cluster=stacks.target(apply_crds=True), version="3.4.3"))
    manifests, release = recording.all("ConfigFile"), recording.one("Release", CONTROLLER)
    assert [each.inputs["file"] for each in manifests] == list(AWS_LOAD_BALANCER_CONTROLLER_3_4.crd_addresses)
    assert all("/v3.4.3/" in each.inputs["file"] for each in manifests), "Helm would never upgrade them"
    assert release.inputs["skipCrds"] is True, "Helm does not install what another step has"
    assert all(recording.reaches(release, each) for each in manifests), "kinds come before their controller"


def test_without_that_step_helm_installs_them_with_the_chart(run):
    recording = run(ingress_stack)
    assert recording.all("ConfigFile") == []
    assert "skipCrds" not in recording.one("Release", CONTROLLER).inputs


def test_kinds_stay_when_they_leave_the_program(run):
    manifests = run(lambda: ingress_stack(cluster=stacks.target(apply_crds=True))).all("ConfigFile")
    assert len(manifests) == len(AWS_LOAD_BALANCER_CONTROLLER.crd_addresses)
    for each in manifests:
        assert each.request.retainOnDelete is True, "a definition takes every object of its kind along"


def test_a_chart_that_upgrades_its_own_kinds_keeps_them(run):
    recording = run(lambda: ingress_stack(cluster=stacks.target(apply_crds=True)))
    assert "skipCrds" not in recording.one("Release", "ingress-cert-manager").inputs


@pytest.mark.parametrize("version", ["3.5.0", "3.4.3"])
def test_one_setting_moves_chart_and_kinds(run, version):
    recording = run(lambda: ingress_stack(cluster=stacks.target(apply_crds=True), version=version))
    assert recording.one("Release", CONTROLLER).inputs["version"] == version
    assert {each.inputs["file"].split("/")[5] for each in recording.all("ConfigFile")} == {f"v{version}"}


@pytest.mark.parametrize(
    ("version", "present", "off"),
    [("3.5.0", None, False), ("3.5.0", "v1.6", False), ("3.5.0", "v1.5", True), ("3.4.3", "v1.5", False)],
)
def test_gateway_features_are_off_beside_another_version_of_the_gateway_api(run, monkeypatch, version, present, off):
    said = []
    monkeypatch.setattr(pulumi.log, "info", lambda message, resource: said.append((message, resource)))
    recording = run(lambda: ingress_stack(version=version, gateway_api=present))
    gates = values(recording).get("controllerConfig", {}).get("featureGates", {})
    wanted = dict.fromkeys(("ALBGatewayAPI", "NLBGatewayAPI", "GatewayListenerSet"), False) if off else {}
    assert gates == wanted, "a controller that meets kinds of another version crashes"
    assert len(said) == off, "a feature that is off without a word is missed"
    for message, _ in said:
        assert f"{version} is built for Gateway API v1.6, and the cluster has v1.5" in message


def test_every_release_can_be_repeated_under_its_own_name(run):
    for release in run(ingress_stack).all("Release"):
        assert release.inputs["name"] == release.name.removeprefix("ingress-")
        assert release.inputs["version"] in (AWS_LOAD_BALANCER_CONTROLLER.version, CERT_MANAGER.version)
        assert (release.inputs["atomic"], release.inputs["cleanupOnFail"], release.inputs["waitForJobs"]) == (True,) * 3
        assert release.inputs["timeout"] >= 600
        assert release.request.deleteBeforeReplace is True


def test_cert_manager_brings_its_custom_resources_and_leaves_them(run):
    assert run(ingress_stack).one("Release", "ingress-cert-manager").inputs["values"]["crds"] == {
        "enabled": True,
        "keep": True,
    }


@pytest.mark.parametrize("present", [True, False])
def test_the_webhook_certificate_comes_from_cert_manager_where_there_is_one_and_is_kept(run, present):
    recording = run(lambda: ingress_stack(cert_manager=present))
    assert values(recording)["enableCertManager"] is present
    assert values(recording)["keepTLSSecret"] is True
    assert [each.name for each in recording.all("Release")] == ["ingress-cert-manager"] * present + [CONTROLLER]


def test_services_can_be_made_while_no_controller_runs(run):
    assert values(run(ingress_stack))["enableServiceMutatorWebhook"] is False


def test_a_namespace_of_its_own_is_made_for_the_controller(run):
    recording = run(lambda: ingress_stack(namespace="ingress", cert_manager=False))
    assert recording.one("Namespace").inputs["metadata"]["name"] == "ingress"
    assert recording.reaches(recording.one("ServiceAccount"), recording.one("Namespace"))


def test_the_class_is_served_by_the_controller_and_goes_before_it(run):
    recording = run(ingress_stack)
    ingress_class = recording.one("IngressClass")
    assert ingress_class.inputs["metadata"]["name"] == values(recording)["ingressClass"] == "alb"
    assert ingress_class.inputs["spec"]["controller"] == "ingress.k8s.aws/alb"
    assert values(recording)["createIngressClassResource"] is False
    assert recording.reaches(ingress_class, recording.one("Release", CONTROLLER))


def demo_app(**settings):
    cluster = stacks.target()
    ingress = ingress_stack(cluster=cluster)
    return DemoApp(
        "demo",
        DemoAppArgs(
            settings=DemoSettings(**settings),
            cluster=cluster,
            ingress_class=ingress.ingress_class,
            ingress_ready=ingress.ready,
        ),
    )


@pytest.mark.parametrize("kind", ["Service", "Ingress"])
def test_what_makes_load_balancers_waits_for_the_controller_and_goes_before_it(run, kind):
    recording = run(demo_app)
    assert recording.reaches(recording.one(kind), recording.one("Release", CONTROLLER))


def test_the_class_outlives_the_ingress(run):
    recording = run(demo_app)
    ingress = recording.one("Ingress")
    assert ingress.inputs["spec"]["ingressClassName"] == recording.one("IngressClass").inputs["metadata"]["name"]
    assert recording.reaches(ingress, recording.one("IngressClass"))


def test_the_ingress_leads_to_the_service_and_the_service_to_the_pods(run):
    recording = run(demo_app)
    (rule,) = recording.one("Ingress").inputs["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    service = recording.one("Service").inputs
    template = recording.one("Deployment").inputs["spec"]["template"]
    (container,) = template["spec"]["containers"]
    (port,) = service["spec"]["ports"]
    assert backend == {"name": service["metadata"]["name"], "port": {"name": port["name"]}}
    assert service["spec"]["selector"] == template["metadata"]["labels"]
    assert port["targetPort"] == container["ports"][0]["name"]


@pytest.mark.parametrize("scheme", ["internet-facing", "internal"])
def test_the_scheme_is_the_one_of_the_settings_and_targets_are_pods(run, scheme):
    annotations = run(lambda: demo_app(scheme=scheme)).one("Ingress").inputs["metadata"]["annotations"]
    assert annotations == {
        "alb.ingress.kubernetes.io/scheme": scheme,
        "alb.ingress.kubernetes.io/target-type": "ip",
    }


def test_the_ingress_is_waited_for(run):
    recording = run(demo_app)
    ingress = recording.one("Ingress")
    assert ingress.request.customTimeouts.create == "20m"
    assert "pulumi.com/skipAwait" not in ingress.inputs["metadata"]["annotations"]


def test_the_pods_run_as_nobody_with_a_fixed_image(run):
    pod = run(demo_app).one("Deployment").inputs["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert ":latest" not in container["image"]
    assert ":" in container["image"]
