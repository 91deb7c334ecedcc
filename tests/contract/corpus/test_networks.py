"""Published networks (SNDlib, Topology Zoo and others as collected by TopoHub), read where a copy of them is at hand.

The folder is `$SONATA_NETWORKS`, or `../shared/corpus/networks/topologies` beside the repository.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sonata.formats.graphs import graph_of, graphml_of, node_link_of
from sonata.formats.networks import import_topology, read_network_file
from sonata.formats.topology import dump_topology, parse_topology

ROOT = Path(
    os.environ.get("SONATA_NETWORKS") or Path(__file__).parents[4] / "shared" / "corpus" / "networks" / "topologies"
)
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason=f"no corpus at {ROOT}; set SONATA_NETWORKS")
FILES = sorted(path for path in ROOT.glob("*.json") if path.stat().st_size < 100_000) if ROOT.is_dir() else []

SAMPLE = [
    pytest.param(path, id=path.stem, marks=() if index % 8 == 0 else pytest.mark.slow)
    for index, path in enumerate(FILES)
]


@pytest.mark.parametrize("path", SAMPLE)
def test_a_published_network_is_imported_whole(path: Path) -> None:
    drawn = json.loads(path.read_text())
    imported = read_network_file(path)
    topology = imported.topology
    assert len(topology.pops) == len(drawn["nodes"])
    pairs = {frozenset((edge["source"], edge["target"])) for edge in drawn["edges"] if edge["source"] != edge["target"]}
    assert len(topology.links) == len(pairs)
    assert parse_topology(dump_topology(topology)) == topology


@pytest.mark.parametrize("path", FILES[::20], ids=lambda path: path.stem)
def test_what_is_written_as_a_graph_reads_back_the_same(path: Path) -> None:
    topology = read_network_file(path).topology
    graph = graph_of(topology)
    for content in (graphml_of(graph), json.dumps(node_link_of(graph))):
        again = import_topology(content.encode(), "again").topology
        assert (again.name, again.pops, again.links) == (topology.name, topology.pops, topology.links)
