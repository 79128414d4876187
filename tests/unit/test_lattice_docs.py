"""What docs/lattice.md and images/ say is what the components do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic.alias_generators import to_snake
from ruamel.yaml import YAML

from components.lattice_environment import LatticeEnvironmentOutputs
from components.lattice_gateway import APPLICATION_PORT
from components.sidecar_injection import INJECTION_ANNOTATION, PROXY_PORT
from preflight import cli

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "images"
PAGE = (ROOT / "docs" / "lattice.md").read_text(encoding="utf-8")


def test_the_proxy_listens_where_calls_are_turned_round_to():
    config = YAML(typ="safe").load(IMAGES / "proxy" / "envoy.yaml.in")
    (listener,) = config["static_resources"]["listeners"]
    assert listener["address"]["socket_address"]["port_value"] == PROXY_PORT


def test_the_proxy_signs_before_it_sends_and_leaves_the_body_out():
    config = YAML(typ="safe").load(IMAGES / "proxy" / "envoy.yaml.in")
    (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
    filters = chain["filters"][0]["typed_config"]["http_filters"]
    names = [each["name"].rsplit(".", 1)[-1] for each in filters]
    assert names == ["dynamic_forward_proxy", "aws_request_signing", "router"]
    signing = filters[1]["typed_config"]
    assert (signing["service_name"], signing["use_unsigned_payload"]) == ("vpc-lattice-svcs", True)


def test_both_halves_of_the_forward_proxy_share_one_cache():
    config = YAML(typ="safe").load(IMAGES / "proxy" / "envoy.yaml.in")["static_resources"]
    (cluster,) = config["clusters"]
    filters = config["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    cache = cluster["cluster_type"]["typed_config"]["dns_cache_config"]
    assert cache == filters[0]["typed_config"]["dns_cache_config"], "Envoy refuses to start otherwise"


def test_the_application_serves_the_port_that_lattice_may_reach():
    assert f'("", {APPLICATION_PORT})' in (IMAGES / "application" / "app.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\$\(mesh (\w+)\)", PAGE))))
def test_every_output_of_the_mesh_that_the_page_reads_is_handed_out(name):
    assert to_snake(name) in LatticeEnvironmentOutputs.model_fields


def test_the_page_names_the_annotation_images_and_commands_that_there_are():
    assert f'`{INJECTION_ANNOTATION}: "true"`' in PAGE
    built = re.search(r"for name in ([\w ]+); do\n  docker build", PAGE)
    assert built is not None
    assert sorted(built[1].split()) == sorted(each.name for each in IMAGES.iterdir())
    commands = {each.name or each.callback.__name__ for each in cli.app.registered_commands if each.callback}
    assert set(re.findall(r"^preflight (\w+)", PAGE, re.MULTILINE)) <= commands
