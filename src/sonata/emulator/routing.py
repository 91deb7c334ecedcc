"""Routes between PoPs: shortest paths by delay, and few prefixes for many destinations.

A hop costs its delay plus one microsecond, so that of two equally long paths the one with fewer links wins and that
links without delay never make a loop. Complexity: n sparse Dijkstra runs, then O(n²) numpy work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, summarize_address_range
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import rustworkx as rx

HOP_COST_S = 1e-6
_NOWHERE = -1


@dataclass(frozen=True, slots=True)
class Edge:
    """A usable link between PoPs number `a` and `b`, with its one-way delay in seconds."""

    name: str
    a: int
    b: int
    delay_s: float


class Routing:
    """Shortest paths over a fixed set of PoPs and links.

    Args:
        pops: number of PoPs; they are numbered from 0.
        edges: usable links; of parallel links the quickest is used.
    """

    def __init__(self, pops: int, edges: Sequence[Edge]) -> None:
        self._pops = pops
        self._quickest = _quickest(edges)
        self._neighbours: list[list[int]] = [[] for _ in range(pops)]
        for a, b in self._quickest:
            self._neighbours[a].append(b)
        self._cost = _all_costs(pops, self._quickest)

    def next_hops(self, source: int) -> npt.NDArray[np.intp]:
        """Edge-adjacent PoP through which `source` reaches each PoP, shape (pops,); -1 for itself and where none is."""
        neighbours = self._neighbours[source]
        if not neighbours:
            return np.full(self._pops, _NOWHERE)
        first = np.array([[self._quickest[source, n].delay_s + HOP_COST_S] for n in neighbours])
        costs = first + self._cost[neighbours]
        hops: npt.NDArray[np.intp] = np.array(neighbours)[np.argmin(costs, axis=0)]
        hops[np.isinf(costs.min(axis=0))] = _NOWHERE
        hops[source] = _NOWHERE
        return hops

    def edge_between(self, a: int, b: int) -> Edge:
        """The edge used between two neighbours."""
        return self._quickest[a, b]

    def path(self, source: int, target: int) -> list[Edge] | None:
        """Edges from source to target in order, empty when they are the same; None when there is no path."""
        edges: list[Edge] = []
        while source != target:
            hop = int(self.next_hops(source)[target])
            if hop == _NOWHERE:
                return None
            edges.append(self._quickest[source, hop])
            source = hop
        return edges


def _quickest(edges: Sequence[Edge]) -> dict[tuple[int, int], Edge]:
    """The quickest edge of each ordered pair of neighbours."""
    best: dict[tuple[int, int], Edge] = {}
    for edge in sorted(edges, key=lambda edge: (edge.delay_s, edge.name)):
        best.setdefault((edge.a, edge.b), edge)
        best.setdefault((edge.b, edge.a), edge)
    return best


def _all_costs(pops: int, quickest: Mapping[tuple[int, int], Edge]) -> npt.NDArray[np.float64]:
    """Cost from each PoP (row) to each PoP (column), infinite where no path is."""
    graph = rx.PyGraph(multigraph=False)
    graph.add_nodes_from(range(pops))
    graph.add_edges_from([(a, b, edge.delay_s + HOP_COST_S) for (a, b), edge in quickest.items() if a < b])
    costs = np.full((pops, pops), np.inf)
    np.fill_diagonal(costs, 0.0)
    for source, lengths in rx.graph_all_pairs_dijkstra_path_lengths(graph, float).items():
        if targets := list(lengths.keys()):
            costs[source, targets] = list(lengths.values())
    return costs


def prefixes(
    hops: npt.NDArray[np.intp], source: int, networks: Sequence[IPv4Network], gateways: Mapping[int, IPv4Address]
) -> dict[IPv4Network, IPv4Address]:
    """Routes of PoP `source` as few prefixes.

    Args:
        source: number of the PoP.
        hops: next hop of each PoP, as `Routing.next_hops` gives them.
        networks: external network of each PoP, one after another in address order.
        gateways: address of each neighbour on the link towards it.
    """
    routes: dict[IPv4Network, IPv4Address] = {}
    for first, last, hop in _runs(hops, source):
        span = summarize_address_range(networks[first].network_address, networks[last].broadcast_address)
        routes.update(dict.fromkeys(span, gateways[hop]))
    routes.pop(networks[source], None)  # connected: never behind a gateway
    return routes


def _runs(hops: npt.NDArray[np.intp], source: int) -> Iterator[tuple[int, int, int]]:
    """Maximal runs of PoPs with the same next hop; the source itself, being connected, belongs to any run."""
    filled = hops.copy()
    if len(filled) > 1:
        filled[source] = filled[source - 1] if source else filled[1]
    starts = [0, *(np.flatnonzero(np.diff(filled)) + 1).tolist(), len(filled)]
    for first, end in pairwise(starts):
        if (hop := int(filled[first])) != _NOWHERE:
            yield first, end - 1, hop
