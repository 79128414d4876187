"""The page for application teams: its very Ingress, beside the production stack, comes out as the page says."""

import re
from pathlib import Path

import pytest

from preflight import plan
from preflight.graph import Graph
from preflight.program import record
from preflight.rules import RULES, check
from tests.unit.rules.conftest import AS_OF, Recorded

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "application.md").read_text(encoding="utf-8")
(MANIFEST,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
SCREEN = 50
"""Lines of a screen."""

# What a team adds to the program: the page's text as it is, and the Service that it speaks of.
TEAM = f"""
import pulumi_kubernetes as kubernetes

opts = pulumi.ResourceOptions(provider=cluster.target.kubernetes_provider, depends_on=ingress.ready)
kubernetes.core.v1.Namespace("shop", metadata={{"name": "shop"}}, opts=opts)
kubernetes.core.v1.Service(
    "shop", metadata={{"namespace": "shop", "name": "shop"}}, spec={{"ports": [{{"port": 80}}]}}, opts=opts
)
kubernetes.yaml.ConfigGroup("team", yaml=[{MANIFEST!r}], opts=opts)
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("team")
    for name in (".venv", "Pulumi.prod.yaml", "Pulumi.yaml", "components", "iam_policies", "settings.py"):
        (folder / name).symlink_to(ROOT / name)
    program = (ROOT / "__main__.py").read_text(encoding="utf-8") + TEAM
    (folder / "__main__.py").write_text(program, encoding="utf-8")
    preview, update = record(folder, ["prod"])
    assert update["error"] is None, update["error"]
    return Recorded(preview, update)


@pytest.fixture
def shown(recorded, capsys):
    plan.show({"prod": [recorded.preview, recorded.update]})
    _, _, part = capsys.readouterr().out.partition("What comes of an Ingress")
    row, _, _ = part[part.index("shop/shop ") :].partition("kube-system/front-door ")
    return " ".join(row.split())


def test_the_page_is_under_one_screen():
    assert len(PAGE.splitlines()) < SCREEN


def test_the_ingress_of_the_page_says_a_host_and_a_service_and_nothing_else(recorded):
    (ingress,) = [each for each in recorded.update["resources"] if each["name"].endswith("shop/shop")]
    assert "annotations" not in ingress["inputs"]["metadata"]
    (rule,) = ingress["inputs"]["spec"]["rules"]
    assert set(ingress["inputs"]["spec"]) == {"ingressClassName", "rules"}
    assert rule["host"] == "shop.example.com"


@pytest.mark.parametrize(
    "fact",
    [
        "https://shop.example.com",
        "internet-facing load balancer, by parameters alb of its class",
        "certificate example.com, *.example.com",
        "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09",
        "HTTP 80 redirects to 443",
        "shop.example.com: record kept by external-dns as eks-foundation-prod",
    ],
)
def test_the_plan_shows_what_comes_of_it(shown, fact):
    # A column is narrower than a fact.
    assert fact.replace(" ", "") in shown.replace(" ", "")


def test_it_shares_the_platforms_load_balancer_and_outlives_nothing_that_it_needs(recorded):
    graph = Graph.of(recorded.update)
    (ingress,) = [each for each in graph.of_type("kubernetes:networking.k8s.io/v1:Ingress") if "shop" in each.name]
    needed = [
        *graph.of_type("kubernetes:helm.sh/v3:Release"),
        *graph.of_type("kubernetes:networking.k8s.io/v1:IngressClass"),
        *graph.of_type("kubernetes:elbv2.k8s.aws/v1beta1:IngressClassParams"),
        *graph.of_type("aws:acm/certificate:Certificate"),
    ]
    assert [each.name for each in needed if not graph.reaches(ingress.urn, each.urn)] == []


def test_the_check_has_nothing_to_say_about_it(recorded):
    assert check(recorded.stack(AS_OF)) == []


def test_the_check_names_a_host_without_a_certificate_and_one_without_a_redirect(recorded):
    broken = recorded.copy()
    (ingress,) = [key for key in broken.names if key.endswith("shop/shop")]
    broken[ingress].set("spec", "rules", 0, "host", to="a.shop.example.com")
    assert [each.rule for each in broken.findings()] == ["ingress-host-uncovered"]
    assert RULES["ingress-host-uncovered"].severity == "error"
