"""What stacks cost a month: sums that a person can check, and what is said of everything that is not in them."""

from __future__ import annotations

import json
import re
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from preflight import program
from preflight.cli import app
from preflight.cost import CostChange, Estimate, compare, estimate, money, table
from preflight.graph import UNKNOWN, Graph, Resource
from preflight.report.bill import headline
from tests.project import linked, stack_values
from tests.recorded import STACKS, recorded

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 11, 22)


@cache
def stacks() -> dict[str, Estimate]:
    """Every stack file's estimate."""
    return {stack: estimate(stack, Graph.of(recorded(stack)[1]), TODAY) for stack in STACKS}


def made(*resources: Resource, region: str = "ap-northeast-2", as_of: date = TODAY) -> Estimate:
    provider = Resource(urn="provider", type="pulumi:providers:aws", name="aws", inputs={"region": region})
    return estimate("made", Graph([provider, *resources]), as_of)


def thing(type_: str, called: str = "one", /, **inputs: Any) -> Resource:
    return Resource(urn=f"{type_}::{called}", type=type_, name=called, id=called, inputs=inputs, outputs=inputs)


def nodes(**more: Any) -> list[Resource]:
    disk = {"ebs": {"volumeSize": 50, "volumeType": "gp3"}}
    values = {"instanceTypes": ["t3.medium"], "scalingConfig": {"minSize": 2, "maxSize": 3}}
    values |= {"clusterName": "dev", "launchTemplate": {"id": "lt-1"}, **more}
    return [
        thing("aws:ec2/launchTemplate:LaunchTemplate", "lt-1", blockDeviceMappings=[disk]),
        thing("aws:eks/nodeGroup:NodeGroup", "system", **values),
    ]


def cluster(version: str = "1.35", **more: Any) -> Resource:
    return thing("aws:eks/cluster:Cluster", "main", name="dev", version=version, **more)


def ingress(name: str, annotations: dict[str, object] | None = None) -> Resource:
    keys = {f"alb.ingress.kubernetes.io/{key}": value for key, value in (annotations or {}).items()}
    return thing(
        "kubernetes:networking.k8s.io/v1:Ingress",
        name,
        kind="Ingress",
        metadata={"name": name, "namespace": "apps", "annotations": keys},
        spec={"ingressClassName": "alb"},
    )


def lines(one: Estimate) -> dict[str, str]:
    return {line.what: money(line.low, line.high) for line in one.lines}


# ---- stacks ----------------------------------------------------------------------------------------------------------


def test_the_dev_stack_costs_what_its_parts_cost_by_hand():
    dev = stacks()["dev"]

    assert lines(dev) == {
        "EKS control planes": "73.00",  # 0.10 x 730 hours
        "nodes of cluster-system": "75.92 to 113.88",  # 2 to 3 x 0.052 x 730
        "volumes of cluster-system": "9.12 to 13.68",  # 2 to 3 x 50 GiB x 0.0912
        "NAT gateways": "43.07",  # 0.059 x 730
        "load balancers": "16.43",  # 0.0225 x 730 = 16.425
        "public IPv4 addresses": "10.95",  # the gateway's and one in each of the load balancer's two zones: 3 x 3.65
        "KMS keys": "1.00",
    }
    assert (dev.low, dev.high) == (Decimal("229.4850"), Decimal("272.0050"))
    assert dev.elsewhere == (), "every price of the region of our stacks is its own"


@pytest.mark.parametrize("stack", STACKS)
def test_every_stack_file_is_priced_whole(stack):
    assert stacks()[stack].unpriced == ()


@pytest.mark.parametrize("stack", STACKS)
def test_no_price_of_another_region_is_taken_silently(stack):
    one = stacks()[stack]
    own = {key for key, value in table()[one.region].items() if isinstance(value, Decimal)}
    assert not set(one.elsewhere) & (own | table()[one.region]["instances"].keys())


def test_a_gateway_in_each_zone_adds_a_gateway_and_its_address(tmp_path):
    network = {**stack_values(ROOT / "Pulumi.dev.yaml")["network"], "nat": "per-zone"}
    (update,) = program.record(linked(tmp_path, network=network), ["dev"], ["update"])

    change = compare(stacks()["dev"], estimate("dev", Graph.of(update), TODAY))

    # (0.059 + 0.005) x 730 = 46.72
    assert isinstance(change, CostChange)
    assert headline(change) == "+46.72 USD a month: 229.49 to 272.01 → 276.21 to 318.73"
    assert [(was.how, now.how) for was, now in change.lines if was and now] == [
        ("1 x 0.059 an hour", "2 x 0.059 an hour"),
        ("3 x 0.005 an hour", "4 x 0.005 an hour"),
    ]
    assert stacks()["dev"].hints == ("one NAT gateway for 2 zones: one for each would cost 46.72 more",)
    assert change.after.hints == ("2 NAT gateways: a single one, which is one zone's to lose, saves 46.72",)


def test_the_readme_says_what_the_table_says():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert f"It costs {money(stacks()['dev'].low)} USD a month in {stacks()['dev'].region}" in readme


# ---- the table -------------------------------------------------------------------------------------------------------


def test_every_price_has_a_source_with_its_day():
    for source in table()["sources"]:
        assert source["address"].startswith("https://")
        assert source["of"] <= table()["checked"] <= TODAY
        assert source["prices"]
        assert source["through"]
    regions = {key for key, value in table().items() if isinstance(value, dict)}
    assert table()["fallback"] in regions
    named = " ".join(source["prices"] for source in table()["sources"])
    assert all(region in named for region in regions), "each region has a source"


def test_no_price_is_nothing_or_absurd():
    for region in (value for value in table().values() if isinstance(value, dict)):
        for name, amount in (*region.items(), *region["instances"].items()):
            if isinstance(amount, Decimal):
                assert Decimal("0.001") < amount < (500 if name.endswith("_month") else 2), name


# ---- parts -----------------------------------------------------------------------------------------------------------


def test_nodes_cost_from_their_fewest_to_their_most():
    # 2 x 0.052 x 730 = 75.92; 3 x 0.052 x 730 = 113.88; 2 x 50 x 0.0912 = 9.12
    assert lines(made(*nodes())) == {"nodes of system": "75.92 to 113.88", "volumes of system": "9.12 to 13.68"}


def test_nodes_without_a_template_have_the_disk_that_eks_gives_them():
    (group,) = [one for one in nodes(launchTemplate=None) if one.name == "system"]
    # 2 x 20 GiB x 0.0912 = 3.648
    assert lines(made(group))["volumes of system"] == "3.65 to 5.47"


def test_spot_nodes_cost_at_most_what_the_dearest_type_costs_on_demand():
    spot = made(*nodes(capacityType="SPOT", instanceTypes=["t3.small", "m7i.large", "t3.medium"]))

    assert lines(spot)["nodes of system"] == "180.89 to 271.34"  # 2 to 3 x 0.1239 x 730
    assert spot.hints == ("nodes of system are spot capacity, which costs less: here they cost as on demand",)


def test_nodes_on_demand_are_of_the_first_type_that_is_named():
    # EKS goes by the order of the list: 2 x 0.026 x 730 = 37.96
    assert lines(made(*nodes(instanceTypes=["t3.small", "m7i.large"])))["nodes of system"] == "37.96 to 56.94"


def test_an_instance_type_without_a_price_is_named_and_never_guessed():
    one = made(*nodes(instanceTypes=["p6e.48xlarge"]))

    assert one.unpriced == ("nodes of system: p6e.48xlarge",)
    assert lines(one) == {}


def test_a_price_that_only_another_region_has_is_said():
    one = made(thing("aws:route53/zone:Zone"), *nodes(instanceTypes=["m6a.large"]))

    assert lines(one)["hosted zones"] == "0.50"
    assert one.elsewhere == ("m6a.large",)


def test_a_region_without_prices_takes_those_of_the_fallback_and_says_so():
    one = made(thing("aws:ec2/natGateway:NatGateway"), region="eu-south-2")

    assert lines(one) == {"NAT gateways": "32.85"}  # 0.045 x 730
    assert "nat_gateway_hour" in one.elsewhere


def test_a_gateway_endpoint_costs_nothing():
    assert (
        made(thing("aws:ec2/vpcEndpoint:VpcEndpoint", vpcEndpointType="Gateway", routeTableIds=["rtb-1"])).lines == ()
    )


def test_an_interface_endpoint_costs_in_each_of_its_zones():
    ends = [
        thing("aws:ec2/vpcEndpoint:VpcEndpoint", name, vpcEndpointType="Interface", subnetIds=["a", "b"])
        for name in ("ecr", "sts")
    ]
    one = made(*ends)

    assert lines(one) == {"interface endpoints": "37.96"}  # 2 endpoints x 2 zones x 0.013 x 730
    assert one.hints == ("no NAT gateway: the endpoints instead cost 37.96, a gateway 46.72",)
    assert "what passes interface endpoints: 0.01 a GB" in one.by_use


def test_an_ingress_has_a_load_balancer_and_a_group_of_them_has_one():
    internal = {"scheme": "internal"}
    apart = made(ingress("a", internal), ingress("b", internal))
    together = made(*(ingress(name, {**internal, "group.name": "web"}) for name in ("a", "b")))

    assert lines(apart) == {"load balancers": "32.85"}  # 2 x 0.0225 x 730
    assert apart.hints == ("2 Ingresses have a load balancer each: one group saves 16.43",)
    assert lines(together) == {"load balancers": "16.43"}


def test_a_load_balancer_that_faces_the_internet_has_an_address_in_two_zones_at_least():
    # 2 x 0.005 x 730 = 7.30
    assert lines(made(ingress("a", {"scheme": "internet-facing"})))["public IPv4 addresses"] == "7.30"


def test_a_service_of_type_load_balancer_counts():
    service = thing(
        "kubernetes:core/v1:Service", "web", kind="Service", metadata={"name": "web"}, spec={"type": "LoadBalancer"}
    )
    assert lines(made(service)) == {"load balancers": "16.43"}


def test_extended_support_costs_from_the_day_after_standard_support_ends():
    # 1.33 has standard support to 2026-07-29: 0.50 x 730 = 365 more
    before = made(cluster("1.33"), as_of=date(2026, 7, 29))
    after = made(cluster("1.33"), as_of=date(2026, 7, 30))

    assert lines(before) == {"EKS control planes": "73.00"}
    assert before.hints == (
        "dev stays on Kubernetes 1.33 after 2026-07-29 for 365.00 more; "
        "support type STANDARD has EKS upgrade it instead",
    )
    assert lines(after) == {"EKS control planes": "73.00", "extended support": "365.00"}
    assert after.hints == ("dev is in extended support since 2026-07-29: a supported version costs 365.00 less",)


def test_a_cluster_that_eks_upgrades_never_pays_extended_support():
    one = made(cluster("1.33", upgradePolicy={"supportType": "STANDARD"}), as_of=date(2027, 1, 1))

    assert lines(one) == {"EKS control planes": "73.00"}
    assert one.hints == ()


def test_a_private_ca_costs_by_its_mode():
    kind = "aws:acmpca/certificateAuthority:CertificateAuthority"
    general, short = made(thing(kind)), made(thing(kind, usageMode="SHORT_LIVED_CERTIFICATE"))

    assert lines(general) == {"private CAs": "400.00"}
    assert lines(short) == {"private CAs, short-lived": "50.00"}
    assert general.hints[0].startswith("private CA in general-purpose mode: short-lived mode saves 350.00, but")


def test_a_route_of_a_lattice_gateway_is_a_lattice_service():
    gateway = thing(
        "kubernetes:gateway.networking.k8s.io/v1:Gateway",
        "net",
        kind="Gateway",
        metadata={"name": "net", "namespace": "apps"},
        spec={"gatewayClassName": "amazon-vpc-lattice"},
    )
    routes = [
        thing(
            "kubernetes:gateway.networking.k8s.io/v1:HTTPRoute",
            name,
            kind="HTTPRoute",
            metadata={"name": name, "namespace": "apps"},
            spec={"parentRefs": [{"name": parent}]},
        )
        for name, parent in (("web", "net"), ("other", "nginx"))
    ]
    # 0.025 x 730 = 18.25, at the price of us-east-1
    assert lines(made(gateway, *routes)) == {"VPC Lattice services": "18.25"}


def test_what_the_program_only_reads_costs_it_nothing():
    theirs = [
        Resource(urn=type_, type=type_, name="theirs", id="x", read=True)
        for type_ in ("aws:route53/zone:Zone", "aws:rds/instance:Instance")
    ]
    assert (made(*theirs).lines, made(*theirs).unpriced) == ((), ())


def test_a_type_that_the_table_does_not_know_is_named():
    one = made(thing("aws:rds/instance:Instance", "database"), thing("aws:iam/role:Role"))

    assert one.unpriced == ("Instance database",)


def test_a_value_that_nobody_knows_yet_stops_its_part_and_no_other():
    one = made(ingress("a", {"scheme": UNKNOWN}), thing("aws:kms/key:Key"))

    assert lines(one) == {"KMS keys": "1.00"}
    assert one.unpriced == (
        "load balancers: metadata.annotations.alb.ingress.kubernetes.io/scheme of a is known only after the update",
    )


# ---- changes ---------------------------------------------------------------------------------------------------------


def test_a_stack_that_is_new_adds_all_of_its_bill():
    after = made(thing("aws:kms/key:Key"))
    change = compare(None, after)

    assert change is not None
    assert headline(change) == "+1.00 USD a month: 0.00 → 1.00"


def test_an_edit_that_costs_nothing_says_nothing():
    assert compare(made(*nodes()), made(*nodes(labels={"a": "b"}))) is None


def test_a_part_that_goes_is_taken_off():
    change = compare(made(*nodes(), thing("aws:kms/key:Key")), made(*nodes()))

    assert change is not None
    assert headline(change).startswith("-1.00 USD a month: ")
    ((before, after),) = change.lines
    assert (before and before.what, after) == ("KMS keys", None)


# ---- the command -----------------------------------------------------------------------------------------------------

PROGRAM = """
import pulumi
for type_, name in (("aws:ec2/natGateway:NatGateway", "way-out"), ("aws:rds/instance:Instance", "database")):
    pulumi.CustomResource(type_, name, {})
"""


def cost(folder: Path, *arguments: str) -> Any:
    (folder / "Pulumi.yaml").write_text("name: own\nruntime: python\n", encoding="utf-8")
    (folder / "Pulumi.dev.yaml").write_text("config: {aws:region: eu-west-1}\n", encoding="utf-8")
    (folder / "__main__.py").write_text(PROGRAM, encoding="utf-8")
    return CliRunner().invoke(app, ["-C", str(folder), "cost", *arguments])


def test_the_command_says_the_sum_the_day_of_the_prices_and_what_is_missing(tmp_path):
    result = cost(tmp_path)

    assert result.exit_code == 0
    text = re.sub(r"\s+", " ", result.output)
    assert f"32.85 USD a month, by the price table of {table()['checked']}" in text
    assert "Not priced, so the sum is too low Instance database" in text
    assert "Never in the sum: traffic, requests and snapshots" in text
    assert "At the price of us-east-1, for want of one here nat_gateway_hour nat_gateway_gb Never" in text


def test_the_command_writes_amounts_as_text_in_json(tmp_path):
    answer = json.loads(cost(tmp_path, "--format", "json").stdout)

    assert answer["currency"] == "USD"
    (stack,) = answer["stacks"]
    assert (stack["low"], stack["high"]) == ("32.85", "32.85")
    assert stack["lines"] == [{"what": "NAT gateways", "how": "1 x 0.045 an hour", "low": "32.85", "high": "32.85"}]


def test_the_docs_show_what_the_command_prints():
    page = (ROOT / "docs" / "cost-and-rights.md").read_text(encoding="utf-8")
    shown = page.split("<!-- cost -->\n\n```\n")[1].split("```")[0].splitlines()

    printed = CliRunner().invoke(app, ["-C", str(ROOT), "cost", "dev"]).output

    lines_ = [line.rstrip() for line in printed.splitlines()]
    assert [line for line in shown if line != "…" and line not in lines_] == []
    assert "dev adds 46.72 USD a month" in page
