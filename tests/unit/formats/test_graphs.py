"""Drawings and graph files of topologies: everything is in them, and other programs read them."""

from __future__ import annotations

import io
import json
import re
import xml.dom.minidom
from pathlib import Path
from typing import Any

import pytest

from sonata.formats.graphs import Graph, LinkState, graph_of, graphml_of, mermaid_of, node_link_of, svg_of
from sonata.formats.networks import import_topology
from sonata.model import shapes
from sonata.model.topology import Endpoint, Impairment, Link, Pop, ServerSeed, Topology

CDN = Topology(
    "cdn",
    {
        "access": Pop("access", (51.05, 3.72), cpus=4.0, labels={"tier": 'edge <&"'}),
        "core": Pop("core", (51.71, 8.75)),
        "annex": Pop("annex", managed_by="core"),
    },
    (
        Link("backbone", "access", "core", Impairment(0.02, 0.002, 0.001, 100e6)),
        Link("spur", "core", "annex", Impairment(duplicate=0.01), Impairment(0.003, reorder=0.1, rate_bps=5e6)),
    ),
    {"users": Endpoint("users", "access", impairment=Impairment(0.001))},
    {"probe": ServerSeed("probe", "core")},
)
STATES = {"backbone": LinkState(Impairment(0.05), is_up=True), "spur": LinkState(Impairment(), is_up=False)}
ALL = [CDN, shapes.single(), shapes.ring(5), shapes.tree(3, 3, kit=shapes.Kit(servers_per_pop=9)), shapes.line(2)]


@pytest.fixture(params=ALL, ids=lambda topology: topology.name)
def topology(request: pytest.FixtureRequest) -> Topology:
    found: Topology = request.param
    return found


def written(graph: Graph) -> dict[str, bytes]:
    return {"graphml": graphml_of(graph).encode(), "json": json.dumps(node_link_of(graph)).encode()}


def test_sites_and_links_are_imported_as_they_were(topology: Topology) -> None:
    plain = {name: Pop(name, pop.location, pop.cpus, labels=pop.labels) for name, pop in topology.pops.items()}
    for content in written(graph_of(topology)).values():
        again = import_topology(content, "graph").topology
        assert (again.name, again.pops, again.links) == (topology.name, plain, topology.links)


@pytest.mark.parametrize("form", ["graphml", "json"])
def test_networkx_reads_what_we_write(topology: Topology, form: str) -> None:
    networkx = pytest.importorskip("networkx", reason="networkx is not installed")
    content = written(graph_of(topology))[form]
    if form == "graphml":
        net: Any = networkx.read_graphml(io.BytesIO(content))
    else:
        net = networkx.node_link_graph(json.loads(content), edges="edges")
    assert len(net) == len(topology.pops) + len(topology.endpoints) + len(topology.servers)
    for link in topology.links:
        edge = net.edges[link.a, link.b]
        assert (edge["name"], edge["delay_s"], edge.get("rate_bps")) == (
            link.name, link.impairment.delay_s, link.impairment.rate_bps,
        )  # fmt: skip


def test_what_networkx_writes_is_imported() -> None:
    networkx = pytest.importorskip("networkx", reason="networkx is not installed")
    net = networkx.Graph(name="theirs")
    net.add_node(1, label="Gent", Latitude=51.05, Longitude=3.72)
    net.add_node(2, label="Paderborn", Latitude=51.71, Longitude=8.75)
    net.add_edge(1, 2, rate_bps=1e9)
    stream = io.BytesIO()
    networkx.write_graphml(net, stream)
    topology = import_topology(stream.getvalue(), "theirs.graphml").topology
    assert list(topology.pops) == ["Gent", "Paderborn"]
    assert topology.links[0].impairment.rate_bps == 1e9


def test_states_of_a_running_emulation_take_the_place_of_what_was_declared() -> None:
    edges = {edge["name"]: edge for edge in node_link_of(graph_of(CDN, STATES))["edges"]}
    assert (edges["backbone"]["delay_s"], edges["backbone"]["up"]) == (0.05, True)
    assert edges["spur"]["up"] is False
    assert "up" not in edges["users"]
    assert "down" in svg_of(graph_of(CDN, STATES))
    assert "there 1% twice, back 3ms, 10% ahead, 5Mbit" in svg_of(graph_of(CDN))
    assert "down" not in re.sub("<style>.*?</style>", "", svg_of(graph_of(CDN)), flags=re.DOTALL)


def test_machines_are_named_as_commands_name_them() -> None:
    nodes = {each["id"]: each["kind"] for each in node_link_of(graph_of(CDN))["nodes"]}
    assert nodes == {"access": "pop", "core": "pop", "annex": "pop", "users": "endpoint", "core/probe": "server"}


class TestSvg:
    def test_is_xml_with_every_pop_link_and_nothing_from_elsewhere(self, topology: Topology) -> None:
        text = svg_of(graph_of(topology))
        picture = xml.dom.minidom.parseString(text)
        assert len(picture.getElementsByTagName("circle")) == len(topology.pops)
        lines = [each.getAttribute("class") for each in picture.getElementsByTagName("line")]
        assert lines.count("link") == len(topology.links)
        names = [each for each in picture.getElementsByTagName("text") if each.getAttribute("class") == "name"]
        assert sorted(each.firstChild.data for each in names) == sorted(topology.pops)  # type: ignore[union-attr]
        assert "script" not in text
        assert set(re.findall(r"https?://[^\"]*", text)) == {"http://www.w3.org/2000/svg"}

    def test_is_the_same_each_time(self, topology: Topology) -> None:
        assert svg_of(graph_of(topology)) == svg_of(graph_of(topology))

    def test_everything_is_on_the_canvas_and_discs_do_not_touch(self, topology: Topology) -> None:
        picture = xml.dom.minidom.parseString(svg_of(graph_of(topology)))
        width, height = (float(picture.documentElement.getAttribute(side)) for side in ("width", "height"))
        discs = [
            (float(each.getAttribute("cx")), float(each.getAttribute("cy")))
            for each in picture.getElementsByTagName("circle")
        ]
        assert all(0 < x < width and 0 < y < height for x, y in discs)
        for index, (x, y) in enumerate(discs):
            assert all((x - u) ** 2 + (y - v) ** 2 > 18**2 for u, v in discs[index + 1 :])

    def test_a_map_has_north_above_and_west_on_the_left_also_across_the_date_line(self) -> None:
        pops = {
            "tokyo": Pop("tokyo", (35.7, 139.7)),
            "seattle": Pop("seattle", (47.6, -122.3)),
            "sydney": Pop("sydney", (-33.9, 151.2)),
        }
        picture = xml.dom.minidom.parseString(svg_of(graph_of(Topology("pacific", pops))))
        tokyo, seattle, sydney = (
            (float(each.getAttribute("cx")), float(each.getAttribute("cy")))
            for each in picture.getElementsByTagName("circle")
        )
        assert tokyo[0] < sydney[0] < seattle[0]
        assert seattle[1] < tokyo[1] < sydney[1]

    def test_many_machines_are_counted(self) -> None:
        assert "+20" in svg_of(graph_of(shapes.single(kit=shapes.Kit(servers_per_pop=20))))


class TestMermaid:
    LINE = re.compile(
        r"""flowchart\ LR
        | \ {4}n\d+(\["[^"]*"\]|\(\["[^"]*"\]\)|\("[^"]*"\))
        | \ {4}n\d+\ (---|-\.-)(\|"[^"]+"\|)?\ n\d+
        | \ {4}linkStyle\ \d+(,\d+)*\ stroke:\#c00,color:\#c00""",
        re.VERBOSE,
    )

    def test_has_every_node_and_link_in_the_grammar_of_flow_charts(self, topology: Topology) -> None:
        head, _, text = mermaid_of(graph_of(topology)).partition("\n---\n")
        assert head == f'---\ntitle: "{topology.name}"'
        lines = text.splitlines()
        assert [line for line in lines if not self.LINE.fullmatch(line)] == []
        graph = graph_of(topology)
        assert len(lines) == 1 + len(graph.nodes) + len(graph.edges)

    def test_links_that_are_down_are_dotted_and_red(self) -> None:
        text = mermaid_of(graph_of(CDN, STATES))
        assert '    n0 ---|"50ms"| n1' in text
        assert '    n1 -.-|"down"| n2' in text
        assert "    linkStyle 1 stroke:#c00,color:#c00" in text


def test_labels_with_anything_in_them_stay_within_their_place(tmp_path: Path) -> None:
    nasty = 'a"]; <script>#quot;\x01 \ud7ff'
    topology = Topology("x", {"p": Pop("p", labels={nasty: nasty})})
    graph = graph_of(topology)
    xml.dom.minidom.parseString(svg_of(graph))
    again = import_topology(graphml_of(graph).encode(), "x").topology
    ((key, value),) = again.pops["p"].labels.items()
    assert key == value == nasty.replace("\x01", "\ufffd")


def test_a_link_that_begins_down_is_drawn_so() -> None:
    topology = Topology("t", {"a": Pop("a"), "b": Pop("b")}, (Link("ab", "a", "b", up=False),))
    (edge,) = graph_of(topology).edges
    assert edge.text == "down"
