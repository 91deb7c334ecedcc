"""Imported and generated topologies run: every host reaches every other one, as late as the file says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sonata.embedding import Emulator, Endpoint, RunningEmulation, Topology, shapes
from sonata.embedding.testing import what_is_missing
from sonata.formats.networks import import_topology

pytestmark = [pytest.mark.root, pytest.mark.serial]

# 1,000 km of fibre between both ends, over a node in the middle whose place nobody knows.
LINE = b"""{"graph": {"name": "three"},
  "nodes": [{"id": 1, "name": "West"}, {"id": 2, "name": "Between"}, {"id": 3, "name": "East"}],
  "edges": [{"source": 1, "target": 2, "dist": 400}, {"source": 2, "target": 3, "dist": 600, "rate_bps": 1e8}]}"""
FIBRE_ROUND_TRIP_MS = 2 * 1000 / 199.8616


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if lacking := what_is_missing():
        pytest.skip(lacking)
    monkeypatch.setenv("SONATA_HOME", str(tmp_path))


def unreached(emulation: RunningEmulation, host: str) -> list[str]:
    """Addresses of the other endpoints that do not answer one."""
    others = [row["addresses"][0] for row in emulation.machines() if row["name"] != host]
    ask = 'for a; do (ping -c1 -W5 "$a" >/dev/null || echo "$a") & done; wait'
    return emulation.exec(host, ["sh", "-c", ask, "ping", *others], check=True).stdout.split()


def test_packets_of_an_imported_network_are_as_late_as_light_in_its_fibres() -> None:
    drawn = import_topology(LINE, "three.json").topology
    ends = {"users": Endpoint("users", "West"), "origin": Endpoint("origin", "East")}
    with Emulator(Topology(drawn.name, drawn.pops, drawn.links, ends)) as emulation:
        (origin,) = emulation.addresses("origin")
        told = emulation.exec("users", f"ping -c3 -i0.2 -W2 {origin}", check=True).stdout
        assert float(told.rpartition("= ")[2].split("/")[0]) >= FIBRE_ROUND_TRIP_MS


def test_all_hosts_of_a_fat_tree_reach_each_other_and_it_is_drawn_as_it_is() -> None:
    tree = shapes.fat_tree(4, kit=shapes.Kit(endpoints_per_pop=2))
    with Emulator(tree) as emulation:
        for host in ("edge-1-1-e1", "edge-4-2-e2"):
            assert unreached(emulation, host) == []
        emulation.link("agg-1-1", "core-1-1").down()
        assert unreached(emulation, "edge-1-1-e1") == []
        command = [sys.executable, "-m", "sonata", "emu", "graph", "--name", emulation.name, "-o"]
        drawn = {
            form: subprocess.run([*command, form], capture_output=True, text=True, timeout=60, check=True).stdout
            for form in ("svg", "graphml", "mermaid")
        }
        assert drawn["svg"].count('class="down"') == 1
        assert drawn["mermaid"].count('-.-|"down"|') == 1
        again = import_topology(drawn["graphml"].encode(), "again.graphml").topology
        assert (again.pops, again.links) == (tree.pops, tree.links)
