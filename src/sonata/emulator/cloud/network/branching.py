"""Service graphs: which chains branch off into which, and what that asks of them (networking-sfc, service graphs)."""

from __future__ import annotations

from collections.abc import Sequence

from sonata.emulator.cloud.entities.chaining import PortChain
from sonata.emulator.cloud.network.causes import PortPairEgressNoHost
from sonata.emulator.cloud.tables import Tables


def sources_of(tables: Tables, chain_id: str) -> list[str]:
    """The chains that branch off into a chain."""
    return [source for graph in tables.service_graphs for source in graph.sources_of(chain_id)]


def with_branches(tables: Tables, chain_ids: Sequence[str]) -> list[str]:
    """Chains, and all that can be reached from them, each once and after those that lead to it first."""
    found = dict.fromkeys(chain_ids)
    waiting = list(found)
    while waiting:
        here = waiting.pop(0)
        branches = [one for graph in tables.service_graphs for one in graph.port_chains.get(here, ())]
        waiting += [one for one in branches if one not in found]
        found.update(dict.fromkeys(branches))
    return list(found)


def companions(tables: Tables, chain_id: str) -> frozenset[str]:
    """The other chains of a chain's service graph."""
    graphs = [graph.chains for graph in tables.service_graphs if chain_id in graph.chains]
    return frozenset().union(*graphs) - {chain_id}


def check_branching(tables: Tables, chain: PortChain) -> None:
    """Refuse a chain that branches where its packets do not come back to this cloud.

    Raises:
        PortPairEgressNoHost: its last function is not here.
    """
    if not chain.groups or not any(graph.port_chains.get(chain.id) for graph in tables.service_graphs):
        return
    last = tables.port_pair_groups.get(chain.groups[-1])
    for pair in map(tables.port_pairs.get, last.port_pairs):
        if not tables.ports.get(pair.egress).device_id:
            raise PortPairEgressNoHost(
                f"Port Pair egress port {pair.egress} does not belong to a host: port chain {chain.id} branches "
                "where its packets leave that port."
            )
