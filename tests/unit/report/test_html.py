"""The page stands alone, shows what the program says as text, and its pictures hold together."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from xml.etree import ElementTree as ET

import pytest

from preflight.graph import Graph, Resource
from preflight.report import drawing, html, picture


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_page_loads_nothing_and_runs_nothing(report, finding):
    page = html.render(report(finding()))

    tags = Page(page).tags
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in tags}
    assert "url(http" not in page
    assert "@import" not in page
    assert {name for _, attributes in tags for name in attributes if name.startswith("on") or name == "src"} == set()


def test_the_page_follows_the_readers_colours_and_width(report):
    page = html.render(report())

    assert "prefers-color-scheme: dark" in page
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page


def test_the_page_shows_finding_waiver_and_every_resource(report, finding, waived, graph):
    text = Page(html.render(report(finding(), waived=[waived]))).text

    for part in ("The endpoint answers 0.0.0.0/0.", "Name your own range", "settings-refused", "until the move"):
        assert part in text, f"the page must say {part!r}"
    assert all(resource.name in text for resource in graph.resources.values())


def test_what_a_program_says_is_text_and_no_markup(report, finding, waived):
    evil = "<script>alert(1)</script> & `<b>`"
    reason = replace(waived, waiver=replace(waived.waiver, reason=evil))

    page = html.render(report(finding(message=evil, file=evil), waived=[reason]))

    assert "script" not in {tag for tag, _ in Page(page).tags}
    assert "<script>alert(1)</script> & <b>" in Page(page).text, "quoted in backticks is code"


def svgs(page):
    parts = page.split("<svg")[1:]
    return [ET.fromstring("<svg" + part.partition("</svg>")[0] + "</svg>") for part in parts]  # noqa: S314 our own


def test_pictures_are_well_formed_and_say_in_words_what_they_show(report):
    shown = [svg for svg in svgs(html.render(report())) if svg.get("role") == "img"]

    assert [svg.get("aria-label") for svg in shown] == ["Network vpc", "Who may become whom"]
    for svg in shown:
        assert svg.find("desc").text, "who does not see it gets it in words"


@pytest.fixture
def drawings(graph):
    wired = [drawing.wiring(one) for one in (picture.identities(graph), picture.requests(graph))]
    return [*drawing.networks(graph), *wired]


def boxes(one, *kinds):
    return [shape for shape in one.shapes if shape.kind.split()[0] in kinds]


def test_boxes_do_not_overlap_and_stay_inside(drawings):
    for one in drawings:
        for shape in boxes(one, "box", "subnet", "zone", "vpc"):
            assert 0 <= shape.x <= shape.x + shape.width <= one.width
            assert 0 <= shape.y <= shape.y + shape.height <= one.height
        for a, b in combinations(boxes(one, "box", "subnet"), 2):
            apart = a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + a.height <= b.y or b.y + b.height <= a.y
            assert apart, f"{a} and {b} overlap in {one.title}"


def test_every_subnet_is_drawn_in_its_zone(drawings):
    network = drawings[0]
    zones = boxes(network, "zone")

    assert len(zones) == 2
    assert len(boxes(network, "subnet")) == 2
    for zone, subnet in zip(
        sorted(zones, key=lambda z: z.x), sorted(boxes(network, "subnet"), key=lambda s: s.x), strict=True
    ):
        assert zone.x <= subnet.x
        assert subnet.x + subnet.width <= zone.x + zone.width
    assert {"public-a", "public-c"} <= {words.whole for words in network.words}


def test_a_long_name_is_cut_in_its_middle_and_whole_on_demand():
    one = drawing.Drawing("t", "d", 100)

    one.write("label", 0, 0, "a-very-long-name-of-a-role-that-ends-in-controller", 150)

    (words,) = one.words
    assert words.shown.startswith("a-very")
    assert words.shown.endswith("controller")
    assert len(words.shown) < len(words.whole)


def test_requests_are_followed_from_the_ingress_to_the_pods():
    def made(kind, name, **inputs):
        urn = f"urn:pulumi:dev::own::kubernetes:{kind}::{name}"
        metadata = {"name": name, "namespace": "apps"}
        return Resource(urn=urn, type=f"kubernetes:{kind}", name=name, inputs={"metadata": metadata, **inputs})

    backends = [{"path": f"/{name}", "backend": {"service": {"name": name}}} for name in ("web", "missing")]
    pods = {"template": {"metadata": {"labels": {"app": "web", "tier": "front"}}}}
    graph = Graph(
        [
            made("networking.k8s.io/v1:Ingress", "door", spec={"rules": [{"http": {"paths": backends}}]}),
            made("core/v1:Service", "web", spec={"selector": {"app": "web"}}),
            made("apps/v1:Deployment", "web", spec=pods),
            made("apps/v1:Deployment", "other", spec={"template": {"metadata": {"labels": {"app": "other"}}}}),
        ]
    )

    path = {(one.tail.label, one.head.label, one.open) for one in picture.requests(graph).arrows}

    assert path == {
        ("apps/door", "apps/web", True),
        ("apps/web", "Deployment apps/web", True),
        ("apps/door", "apps/missing", False),
    }, "a backend that is not there is drawn as refused"


def test_identities_are_followed_to_their_policies(graph):
    wires = {(one.tail.label, one.head.label, one.label, one.open) for one in picture.identities(graph).arrows}

    assert ("kube-system/aws-load-balancer-controller", "controller", "IRSA", True) in wires
    assert ("controller", "controller", "", True) in wires
    assert ("kube-system/ebs-csi-controller-sa", "storage", "Pod Identity", True) in wires
