"""Routes between PoPs: shortest paths by delay, and few prefixes for many destinations.

A hop costs its delay plus one microsecond, so that of two equally long paths the one with fewer links wins and that
links without delay never make a loop. Complexity: n sparse Dijkstra runs in rustworkx, then plain lists: each PoP looks
at each destination once per neighbour, which takes a quarter of a second with 1,024 PoPs in a ring.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, summarize_address_range
from itertools import groupby

import rustworkx as rx

from sonata._lib.values import dataclass

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

    def next_hops(self, source: int) -> list[int]:
        """Edge-adjacent PoP through which `source` reaches each PoP, by number; -1 for itself and where none is."""
        hops, least = [_NOWHERE] * self._pops, [math.inf] * self._pops
        for neighbour in self._neighbours[source]:
            first = self._first_step(source, neighbour)
            for target, further in enumerate(self._cost[neighbour]):
                if first + further < least[target]:
                    hops[target], least[target] = neighbour, first + further
        hops[source] = _NOWHERE
        return hops

    def edge_between(self, a: int, b: int) -> Edge:
        """The edge used between two neighbours."""
        return self._quickest[a, b]

    def path(self, source: int, target: int) -> list[Edge] | None:
        """Edges from source to target in order, empty when they are the same; None when there is no path."""
        if math.isinf(self._cost[source][target]):
            return None
        edges: list[Edge] = []
        while source != target:
            hop = self._next_hop(source, target)
            edges.append(self._quickest[source, hop])
            source = hop
        return edges

    def _next_hop(self, source: int, target: int) -> int:
        """The neighbour over which the target is nearest."""
        steps = ((self._first_step(source, each) + self._cost[each][target], each) for each in self._neighbours[source])
        return min(steps, key=lambda step: step[0])[1]

    def _first_step(self, source: int, neighbour: int) -> float:
        return self._quickest[source, neighbour].delay_s + HOP_COST_S


def _quickest(edges: Sequence[Edge]) -> dict[tuple[int, int], Edge]:
    """The quickest edge of each ordered pair of neighbours."""
    best: dict[tuple[int, int], Edge] = {}
    for edge in sorted(edges, key=lambda edge: (edge.delay_s, edge.name)):
        best.setdefault((edge.a, edge.b), edge)
        best.setdefault((edge.b, edge.a), edge)
    return best


def _all_costs(pops: int, quickest: Mapping[tuple[int, int], Edge]) -> list[array[float]]:
    """Cost from each PoP (row) to each PoP (column), infinite where no path is."""
    graph = rx.PyGraph(multigraph=False)
    graph.add_nodes_from(range(pops))
    graph.add_edges_from([(a, b, edge.delay_s + HOP_COST_S) for (a, b), edge in quickest.items() if a < b])
    costs = [array("d", [math.inf]) * pops for _ in range(pops)]
    for source, lengths in rx.graph_all_pairs_dijkstra_path_lengths(graph, float).items():
        row = costs[source]
        row[source] = 0.0
        for target, cost in lengths.items():
            row[target] = cost
    return costs


def prefixes(
    hops: Sequence[int], source: int, networks: Sequence[IPv4Network], gateways: Mapping[int, IPv4Address]
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


def _runs(hops: Sequence[int], source: int) -> Iterator[tuple[int, int, int]]:
    """Maximal runs of PoPs with the same next hop; the source itself, being connected, belongs to any run."""
    filled = list(hops)
    if len(filled) > 1:
        filled[source] = filled[source - 1] if source else filled[1]
    for hop, run in groupby(range(len(filled)), key=filled.__getitem__):
        pops = list(run)
        if hop != _NOWHERE:
            yield pops[0], pops[-1], hop
