"""Routes: followed hop by hop they are shortest paths, without loops, in few prefixes."""

from __future__ import annotations

import math
from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from sonata.emulator.addressing import external_network
from sonata.emulator.routing import HOP_COST_S, Edge, Routing, prefixes

delays = st.sampled_from([0.0, 0.001, 0.005, 0.02])


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[Edge]]:
    pops = draw(st.integers(1, 9))
    ends = st.tuples(st.integers(0, pops - 1), st.integers(0, pops - 1)).filter(lambda pair: pair[0] != pair[1])
    pairs = draw(st.lists(ends, max_size=20)) if pops > 1 else []
    return pops, [Edge(f"l{i}", a, b, draw(delays)) for i, (a, b) in enumerate(pairs)]


def bellman_ford(pops: int, edges: list[Edge], source: int) -> list[float]:
    cost = [float("inf")] * pops
    cost[source] = 0.0
    for _ in range(pops):
        for edge in edges:
            step = edge.delay_s + HOP_COST_S
            cost[edge.b] = min(cost[edge.b], cost[edge.a] + step)
            cost[edge.a] = min(cost[edge.a], cost[edge.b] + step)
    return cost


def table(routing: Routing, pops: int, source: int) -> dict[IPv4Network, IPv4Address]:
    """Routes of a PoP, with the number of the next hop as its address."""
    networks = [external_network(number) for number in range(pops)]
    return prefixes(routing.next_hops(source), source, networks, {n: IPv4Address(n) for n in range(pops)})


def look_up(routes: dict[IPv4Network, IPv4Address], address: IPv4Address) -> int | None:
    """Longest prefix match, as the kernel does it."""
    matches = [network for network in routes if address in network]
    return int(routes[max(matches, key=lambda network: network.prefixlen)]) if matches else None


@given(graphs())
def test_packets_that_follow_the_routes_take_a_shortest_path(graph: tuple[int, list[Edge]]) -> None:
    pops, edges = graph
    routing = Routing(pops, edges)
    tables = [table(routing, pops, source) for source in range(pops)]
    for source in range(pops):
        cost = bellman_ford(pops, edges, source)
        for target in range(pops):
            at, taken = source, 0.0
            while at != target:
                hop = look_up(tables[at], external_network(target).network_address + 10)
                if hop is None:
                    break
                taken += routing.edge_between(at, hop).delay_s + HOP_COST_S
                at = hop
            assert (at == target) == math.isfinite(cost[target])
            if at == target:
                assert abs(taken - cost[target]) < 1e-9


@given(graphs())
def test_a_pop_never_routes_its_own_network_away(graph: tuple[int, list[Edge]]) -> None:
    pops, edges = graph
    routing = Routing(pops, edges)
    for source in range(pops):
        assert external_network(source) not in table(routing, pops, source)


def test_a_long_line_needs_few_prefixes() -> None:
    pops = 256
    routing = Routing(pops, [Edge(f"l{i}", i, i + 1, 0.01) for i in range(pops - 1)])
    assert max(len(table(routing, pops, source)) for source in range(pops)) <= 16


def test_of_parallel_links_the_quickest_is_used() -> None:
    routing = Routing(2, [Edge("slow", 0, 1, 0.02), Edge("quick", 1, 0, 0.01)])
    path = routing.path(0, 1)
    assert path is not None
    assert [edge.name for edge in path] == ["quick"]
    assert Routing(2, []).path(0, 1) is None
    assert Routing(2, []).path(1, 1) == []
