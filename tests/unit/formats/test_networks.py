"""Networks of others become topologies of ours, or one error that names every place that is wrong."""

from __future__ import annotations

import textwrap
import tracemalloc
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonata.errors import InvalidInput, NotFound
from sonata.formats.networks import Imported, ImportOptions, import_topology, read_network_file
from sonata.formats.networks.naming import slug, unique_names
from sonata.formats.topology import check_topology, dump_topology, parse_topology
from sonata.model.topology import Topology

KEYS = """
  <key attr.name="label" attr.type="string" for="node" id="n1"/>
  <key attr.name="Latitude" attr.type="double" for="node" id="n2"/>
  <key attr.name="Longitude" attr.type="double" for="node" id="n3"/>
  <key attr.name="Internal" attr.type="int" for="node" id="n4"/>
  <key attr.name="hyperedge" attr.type="int" for="node" id="n5"/>
  <key attr.name="LinkSpeedRaw" attr.type="double" for="edge" id="e1"/>
  <key attr.name="LinkSpeed" attr.type="string" for="edge" id="e2"/>
  <key attr.name="LinkSpeedUnits" attr.type="string" for="edge" id="e3"/>
  <key attr.name="Network" attr.type="string" for="graph" id="g1"/>
""".replace("\n", "")


def graphml(body: str, *, directed: bool = False) -> str:
    kind = "directed" if directed else "undirected"
    return (
        f'<?xml version="1.0" encoding="utf-8"?><graphml xmlns="http://graphml.graphdrawing.org/xmlns">{KEYS}'
        f'<graph edgedefault="{kind}">\n{body}</graph></graphml>'
    )


def node(key: str, label: str = "", place: tuple[float, float] | None = None, more: str = "") -> str:
    data = f'<data key="n1">{label}</data>' if label else ""
    if place:
        data += f'<data key="n2">{place[0]}</data><data key="n3">{place[1]}</data>'
    return f'<node id="{key}">{data}{more}</node>\n'


def edge(a: str, b: str, more: str = "") -> str:
    return f'<edge source="{a}" target="{b}">{more}</edge>\n'


def imported(text: str | bytes, file: str = "net.xml", **options: object) -> Imported:
    content = text.encode() if isinstance(text, str) else text
    result = import_topology(content, file, ImportOptions(**options))  # type: ignore[arg-type]
    assert parse_topology(dump_topology(result.topology)) == result.topology
    return result


def topology(text: str | bytes, file: str = "net.xml", **options: object) -> Topology:
    return imported(text, file, **options).topology


def findings(text: str | bytes, file: str = "net.xml") -> list[tuple[str, int]]:
    with pytest.raises(InvalidInput) as caught:
        import_topology(text.encode() if isinstance(text, str) else text, file)
    assert all(found.file == file for found in caught.value.diagnostics)
    return [(found.code, found.line) for found in caught.value.diagnostics]


PARIS, BERLIN = (48.8566, 2.3522), (52.52, 13.405)
TWO = node("0", "Paris", PARIS) + node("1", "Berlin", BERLIN)


class TestTopologyZoo:
    def test_sites_links_and_their_delays(self) -> None:
        result = topology(graphml('<data key="g1">Two Cities</data>' + TWO + edge("0", "1")))
        assert result.name == "two-cities"
        assert {name: pop.location for name, pop in result.pops.items()} == {"Paris": PARIS, "Berlin": BERLIN}
        (link,) = result.links
        assert (link.name, link.a, link.b) == ("Paris-Berlin", "Paris", "Berlin")
        # 877.5 km at two thirds of the speed of light
        assert link.impairment.delay_s == pytest.approx(877.5 / 199_861.6, abs=5e-6)

    def test_a_detour_makes_fibres_longer(self) -> None:
        text = graphml(TWO + edge("0", "1"))
        plain, longer = topology(text).links[0], topology(text, detour=1.5).links[0]
        assert longer.impairment.delay_s == pytest.approx(1.5 * plain.impairment.delay_s, abs=2e-6)
        with pytest.raises(InvalidInput, match="shorter"):
            topology(text, detour=0.9)

    @pytest.mark.parametrize(
        ("data", "rate"),
        [
            ('<data key="e1">10000000000.0</data>', 10e9),
            ('<data key="e2">2.5</data><data key="e3">G</data>', 2.5e9),
            ('<data key="e2">155</data><data key="e3">Mbps</data>', 155e6),
            ('<data key="e2">&lt;10</data><data key="e3">G</data>', 7e6),
            ('<data key="e1">0</data>', 7e6),
            ("", 7e6),
        ],
    )
    def test_rates_are_those_of_the_file_or_those_asked_for(self, data: str, rate: float) -> None:
        (link,) = topology(graphml(TWO + edge("0", "1", data)), rate_bps=7e6).links
        assert link.impairment.rate_bps == rate

    def test_nodes_without_a_place_have_links_of_the_delay_asked_for(self) -> None:
        text = graphml(TWO + node("2", "Nowhere") + edge("0", "2"))
        result = imported(text, delay_s=0.003)
        assert result.topology.pops["Nowhere"].location is None
        assert result.topology.links[0].impairment.delay_s == 0.003
        assert "1 PoPs have no location" in result.notes

    def test_parallel_links_become_one_with_their_rates(self) -> None:
        fast, slow = '<data key="e1">3e9</data>', '<data key="e1">1e9</data>'
        result = imported(graphml(TWO + edge("0", "1", fast) + edge("1", "0", slow)))
        assert [link.impairment.rate_bps for link in result.topology.links] == [4e9]
        assert any("1 parallel links merged" in note for note in result.notes)

    def test_two_directions_are_one_link_with_a_rate_each(self) -> None:
        fast, slow = '<data key="e1">3e9</data>', '<data key="e1">1e9</data>'
        result = imported(graphml(TWO + edge("0", "1", fast) + edge("1", "0", slow), directed=True))
        (link,) = result.topology.links
        assert [direction.rate_bps for direction in link.directions] == [3e9, 1e9]
        even = topology(graphml(TWO + edge("0", "1", fast) + edge("1", "0", fast), directed=True))
        assert even.links[0].reverse is None
        assert not any("parallel" in note for note in result.notes)

    def test_links_to_itself_are_left_out_and_told(self) -> None:
        result = imported(graphml(TWO + edge("0", "0") + edge("0", "1")))
        assert len(result.topology.links) == 1
        assert any("itself" in note for note in result.notes)

    def test_external_nodes_and_shared_media_are_labelled_or_left_out(self) -> None:
        text = graphml(
            TWO
            + node("2", "Upstream", more='<data key="n4">0</data>')
            + node("3", "Exchange", more='<data key="n5">1</data>')
            + edge("0", "2")
            + edge("0", "3")
        )
        kept = topology(text)
        assert kept.pops["Upstream"].labels == {"role": "external"}
        assert kept.pops["Exchange"].labels == {"role": "hyperedge"}
        less = imported(text, keeps_external=False)
        assert "Upstream" not in less.topology.pops
        assert [link.b for link in less.topology.links] == ["Exchange"]
        assert any("external" in note for note in less.notes)

    def test_names_in_any_alphabet_are_unique_and_the_original_is_kept_as_a_label(self) -> None:
        labels = ["São Paulo", "S&amp;atilde;o Paulo", "Łódź", "東京", "Sao-Paulo-2", "docs", "東京", "K&#246;ln"]
        text = graphml("".join(node(str(index), label) for index, label in enumerate(labels)))
        pops = topology(text).pops
        assert list(pops) == [
            "Sao-Paulo", "Sao-Paulo-3", "Lodz", "node-3", "Sao-Paulo-2", "docs-2", "node-6", "Koln",
        ]  # fmt: skip
        assert pops["Sao-Paulo"].labels == {"name": "São Paulo"}
        assert pops["node-3"].labels == {"name": "東京"}

    def test_a_network_in_pieces_stays_so_and_is_told(self) -> None:
        result = imported(graphml(TWO + node("2", "Oslo", (59.9, 10.7)) + edge("0", "1")))
        assert [finding.code for finding in check_topology(result.topology)] == ["TOPO-0018"]
        assert any("no path leads from" in note for note in result.notes)

    def test_every_flaw_is_told_with_its_line(self) -> None:
        text = graphml(
            node("0", "A", (91, 0))
            + node("0", "B")
            + node("1", more='<data key="n2">north</data><data key="n3">1</data>')
            + edge("0", "7")
            + edge("1", "")
            + '<edge source="0" target="1"><data key="e1">-5</data></edge>\n'
            + '<hyperedge><endpoint node="0"/></hyperedge>\n'
        )
        assert sorted(findings(text), key=lambda found: found[1]) == [
            ("NET-0007", 2), ("NET-0005", 3), ("NET-0007", 4), ("NET-0006", 5), ("NET-0006", 6), ("NET-0006", 6),
            ("NET-0007", 7), ("NET-0009", 8),
        ]  # fmt: skip

    def test_graphs_in_nodes_and_second_graphs_are_refused(self) -> None:
        assert findings(graphml('<node id="0"><graph/></node>')) == [("NET-0009", 2)]
        assert findings('<graphml><graph><node id="0"/></graph>\n<graph/></graphml>') == [("NET-0004", 2)]
        assert findings("<graphml/>") == [("NET-0004", 1)]
        assert findings(graphml("")) == [("NET-0004", 0)]


class TestForeignXml:
    def test_a_billion_laughs_are_refused_before_they_are_written_out(self) -> None:
        entities = '<!ENTITY a0 "ha">' + "".join(
            f'<!ENTITY a{level} "{f"&a{level - 1};" * 10}">' for level in range(1, 10)
        )
        bomb = f'<?xml version="1.0"?>\n<!DOCTYPE graphml [{entities}]>\n<graphml><graph id="&a9;"/></graphml>'
        tracemalloc.start()
        try:
            assert findings(bomb) == [("NET-0002", 2)]
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 5_000_000

    def test_nothing_outside_of_the_file_is_opened(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("do not tell")
        external = f'<!DOCTYPE graphml [<!ENTITY x SYSTEM "{secret.as_uri()}">]>\n<graphml><graph id="&x;"/></graphml>'
        assert findings(external) == [("NET-0002", 1)]
        subset = f'<!DOCTYPE graphml SYSTEM "{secret.as_uri()}">\n{graphml(TWO).partition("?>")[2]}'
        assert [code for code, _ in findings(subset)] == ["NET-0002"]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("<graphml>\n<graph>\n</graphml>", ("NET-0001", 3)),
            ("<graphml>\n &nbsp; </graphml>", ("NET-0001", 2)),
            ('<?xml version="1.0" encoding="klingon"?><graphml/>', ("NET-0001", 1)),
            ("<svg/>", ("NET-0003", 1)),
            ("just words", ("NET-0003", 1)),
            ("", ("NET-0003", 1)),
            ("<graphml>" + "<x>" * 100 + "</x>" * 100 + "</graphml>", ("NET-0008", 1)),
        ],
    )
    def test_what_is_no_network_is_refused_with_its_place(self, text: str, expected: tuple[str, int]) -> None:
        assert findings(text) == [expected]

    def test_other_encodings_are_read(self) -> None:
        text = graphml(node("0", "Köln")).replace("utf-8", "iso-8859-1")
        assert topology(text.encode("latin-1")).pops["Koln"].labels == {"name": "Köln"}
        assert list(topology(graphml(node("0", "Köln")).replace("utf-8", "utf-16").encode("utf-16")).pops) == ["Koln"]

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound):
            read_network_file(tmp_path / "none.xml")
        with pytest.raises(InvalidInput):
            read_network_file(tmp_path)


SNDLIB_XML = """<?xml version="1.0" encoding="ISO-8859-1"?>
<network xmlns="http://sndlib.zib.de/network" version="1.0">
 <meta><granularity>5min</granularity></meta>
 <networkStructure>
  <nodes coordinatesType="{kind}">
   <node id="Hamburg"><coordinates><x>10.0</x><y>53.55</y></coordinates></node>
   <node id="Berlin"><coordinates><x>13.4</x><y>52.52</y></coordinates></node>
   <node id="Ulm"><coordinates><x>{x}</x><y>48.4</y></coordinates></node>
  </nodes>
  <links>
   <link id="L1"><source>Hamburg</source><target>Berlin</target>
    <preInstalledModule><capacity>9920.0</capacity><cost>0.0</cost></preInstalledModule>
    <additionalModules><addModule><capacity>40000.0</capacity><cost>5.0</cost></addModule></additionalModules>
   </link>
   <link id="L2"><source>Berlin</source><target>Ulm</target><routingCost>3.0</routingCost>
    <additionalModules>
     <addModule><capacity>622.0</capacity><cost>5.0</cost></addModule>
     <addModule><capacity>155.0</capacity><cost>2.0</cost></addModule>
    </additionalModules>
   </link>
  </links>
 </networkStructure>
 <demands><demand id="D1"><source>Ulm</source><target>Hamburg</target></demand></demands>
</network>
"""

SNDLIB_NATIVE = """?SNDlib native format; type: network; version: 1.0
# network three
META (
  granularity ( 5min )
)
NODES (
  Hamburg ( 10.0 53.55 )   BORDERNODE
  Berlin ( 13.4 52.52 )
  Ulm ( {x} 48.4 )
)
# <link_id> ( <source> <target> ) ...
LINKS (
  L1 ( Hamburg Berlin ) 9920.00 0.00 0.00 0.00 ( 40000.00 5.00 )
  L2 ( Berlin Ulm ) 0.00 0.00 3.00 0.00 ( 622.00 5.00 155.00 2.00 )
)
DEMANDS (
  D1 ( Ulm Hamburg ) 1 5.00 UNLIMITED
)
"""


class TestSndlib:
    def test_both_forms_give_the_same_topology(self) -> None:
        from_xml = imported(SNDLIB_XML.format(kind="geographical", x="10.0"), "three.xml")
        from_native = imported(SNDLIB_NATIVE.format(x="10.0"), "three.txt")
        assert from_xml == from_native
        assert from_xml.topology.name == "three"
        assert from_xml.topology.pops["Berlin"].location == (52.52, 13.4)
        assert [link.impairment.rate_bps for link in from_xml.topology.links] == [9920e6, 155e6]
        assert from_xml.topology.links[0].impairment.delay_s == pytest.approx(255e3 / 199_861_600, abs=2e-5)
        assert any("costs" in note for note in from_xml.notes)

    def test_a_capacity_can_mean_something_else(self) -> None:
        links = topology(SNDLIB_NATIVE.format(x="10.0"), unit_bps=1e3).links
        assert [link.impairment.rate_bps for link in links] == [9920e3, 155e3]

    @pytest.mark.parametrize("text", [SNDLIB_XML.format(kind="pixel", x="10.0"), SNDLIB_NATIVE.format(x="410.0")])
    def test_a_drawing_gives_no_places_and_no_delays(self, text: str) -> None:
        result = imported(text)
        assert all(pop.location is None for pop in result.topology.pops.values())
        assert all(link.impairment.delay_s == 0 for link in result.topology.links)
        assert any("drawing" in note for note in result.notes)

    def test_links_may_have_no_numbers(self) -> None:
        text = "?SNDlib native format\nNODES ( A ( 1 2 ) B ( 3 4 ) )\nLINKS ( L0 ( A B ) L1 ( B A ) )\n"
        assert [link.impairment.rate_bps for link in topology(text).links] == [None]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("NODES ( A ( 1 2 )\n", [("NET-0001", 2)]),
            ("NODES ( A 1 2 ) )\n", [("NET-0001", 2)]),
            ("NODES ( A ( 1 ) )\n", [("NET-0001", 2)]),
            ("NODES ( A ( x 2 ) )\nLINKS (\n L ( A\nC ) )", [("NET-0007", 2), ("NET-0006", 4)]),
            ("NODES ( A ( 1 2 )\n A ( 1 2 ) )", [("NET-0005", 3)]),
            ("META ( ( )", [("NET-0001", 2)]),
            ("", [("NET-0004", 0)]),
        ],
    )
    def test_flaws_are_told_with_their_place(self, text: str, expected: list[tuple[str, int]]) -> None:
        assert findings("?SNDlib native format; type: network; version: 1.0\n" + text, "net.txt") == expected

    def test_xml_without_ends_or_structure(self) -> None:
        text = SNDLIB_XML.format(kind="geographical", x="10.0")
        assert findings(text.replace("<target>Berlin</target>", "")) == [("NET-0006", 11), ("NET-0006", 11)]
        assert findings("<network><demands/></network>") == [("NET-0004", 1)]
        assert findings(text.replace("53.55", "153.55")) == [("NET-0007", 6)]


class TestNodeLink:
    def test_places_lengths_and_names(self) -> None:
        text = """{"directed": false, "graph": {"name": "duo"},
          "nodes": [{"id": 0, "name": "Paris", "pos": [2.3522, 48.8566]}, {"id": 1, "name": "B\\ud83d\\ude00"}],
          "edges": [{"source": 0, "target": 1, "dist": 1000}]}"""
        result = topology(text)
        assert result.name == "duo"
        assert result.pops["Paris"].location == PARIS
        assert result.links[0].impairment.delay_s == pytest.approx(1000 / 199_861.6, abs=1e-6)

    def test_flaws_are_told_with_their_lines(self) -> None:
        text = """{"nodes": [
            {"id": "a", "pos": [1]},
            {"id": "a"},
            7,
            {"name": "x"}
          ], "links": [
            {"source": "a", "target": "z", "rate_bps": "fast"}]}"""
        assert sorted(findings(text, "n.json"), key=lambda found: found[1]) == [
            ("NET-0007", 2), ("NET-0005", 3), ("NET-0001", 4), ("NET-0005", 5), ("NET-0007", 7), ("NET-0006", 7),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("text", "code"),
        [('{"nodes": [}', "NET-0001"), ('{"x": 1}', "NET-0004"), ('{"nodes": ' + "[" * 100_000, "NET-0008")],
    )
    def test_what_is_no_graph_is_refused(self, text: str, code: str) -> None:
        assert [found for found, _ in findings(text)] == [code]


@given(st.lists(st.text(max_size=80), max_size=12))
def test_names_are_unique_legal_and_the_same_each_time(labels: list[str]) -> None:
    names = unique_names([slug(label) or "node" for label in labels], {"docs"})
    assert len(set(names)) == len(names)
    assert "docs" not in names
    document = {"apiVersion": "sonata/v1", "kind": "Topology", "name": "x", "pops": dict.fromkeys(names or ["a"])}
    assert len(parse_topology(str(document).replace("None", "null")).pops) == max(1, len(names))
    assert names == unique_names([slug(label) or "node" for label in labels], {"docs"})


def test_a_name_that_is_wanted_as_it_is_goes_to_who_wants_it() -> None:
    for order in permutations(["a", "a", "a-2"]):
        assert sorted(unique_names(order)) == ["a", "a-2", "a-3"]


def test_too_big_files_are_refused() -> None:
    assert findings(b" " * (16 * 1024**2 + 1)) == [("NET-0008", 0)]


def test_text_that_is_no_text() -> None:
    text = (
        textwrap.dedent("""\
        ?SNDlib native format
        NODES ( """).encode()
        + b"\xff\xfe"
    )
    assert findings(text) == [("NET-0001", 2)]
