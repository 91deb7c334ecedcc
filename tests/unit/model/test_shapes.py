"""Generated topologies have the shape that their name promises, and are always the same."""

from __future__ import annotations

import doctest
import math
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonata.errors import InvalidInput
from sonata.formats.topology import check_topology, dump_topology, parse_topology
from sonata.model import shapes
from sonata.model.geography import fibre_delay_s, great_circle_km
from sonata.model.topology import Topology


def degrees(topology: Topology) -> Counter[int]:
    """How many PoPs have how many links."""
    links = Counter(end for link in topology.links for end in (link.a, link.b))
    return Counter(links[pop] for pop in topology.pops)


def all_of(size: int, kit: shapes.Kit = shapes.PLAIN) -> Iterator[Topology]:
    yield shapes.single(kit=kit)
    yield shapes.line(size, kit=kit)
    yield shapes.ring(size + 2, kit=kit)
    yield shapes.star(size + 1, kit=kit)
    yield shapes.tree(3, 2, kit=kit)
    yield shapes.fat_tree(4, kit=kit)
    yield shapes.random_geometric(size, seed=size, kit=kit)
    yield shapes.waxman(size, seed=size, kit=kit)


@settings(max_examples=12, deadline=None)
@given(size=st.integers(1, 40))
def test_all_are_valid_connected_and_repeatable(size: int) -> None:
    kit = shapes.Kit(rate_bps=1e9, servers_per_pop=1, endpoints_per_pop=1)
    for topology, again in zip(all_of(size, kit), all_of(size, kit), strict=True):
        assert topology == again
        assert check_topology(topology) == []  # a warning would tell that it is in pieces
        assert parse_topology(dump_topology(topology)) == topology


def test_degrees_tell_the_shape() -> None:
    assert degrees(shapes.single()) == {0: 1}
    assert degrees(shapes.line(1)) == {0: 1}
    assert degrees(shapes.line(6)) == {1: 2, 2: 4}
    assert degrees(shapes.ring(6)) == {2: 6}
    assert degrees(shapes.star(6)) == {1: 5, 5: 1}
    assert degrees(shapes.tree(3, 3)) == {1: 9, 3: 1, 4: 3}


@pytest.mark.parametrize("k", [2, 4, 8])
def test_a_fat_tree_is_as_in_the_paper(k: int) -> None:
    half = k // 2
    topology = shapes.fat_tree(k, kit=shapes.Kit(endpoints_per_pop=half))
    tiers = Counter(pop.labels["tier"] for pop in topology.pops.values())
    assert tiers == {"core": half**2, "aggregation": k * half, "edge": k * half}
    assert len(topology.endpoints) == k**3 // 4
    links = Counter(end for link in topology.links for end in (link.a, link.b))
    assert {links[name] for name, pop in topology.pops.items() if pop.labels["tier"] == "edge"} == {half}
    assert {links[name] for name, pop in topology.pops.items() if pop.labels["tier"] != "edge"} == {k}
    core = {name for name, pop in topology.pops.items() if pop.labels["tier"] == "core"}
    pods = Counter((link.b, link.a.split("-")[1]) for link in topology.links if link.b in core)
    assert set(pods.values()) == {1}, "each core PoP reaches each pod once"
    assert len(pods) == len(core) * k


def test_machines_of_trees_are_at_the_lowest_level() -> None:
    tree = shapes.tree(3, 2, kit=shapes.Kit(servers_per_pop=2, endpoints_per_pop=1))
    assert len(tree.servers) == 8
    assert {tree.pops[seed.pop].labels["level"] for seed in tree.servers.values()} == {"2"}
    assert {tree.pops[each.attach].labels["level"] for each in tree.endpoints.values()} == {"2"}


def test_pops_have_room_for_their_servers() -> None:
    pop = shapes.single(kit=shapes.Kit(servers_per_pop=200)).pops["p1"]
    assert pop.cpus == 200
    assert pop.memory_bytes >= 200 * 64 * 1024**2
    assert shapes.single(kit=shapes.Kit(servers_per_pop=2)).pops["p1"].cpus == 16


def test_links_of_scattered_pops_are_as_long_as_they_are_apart() -> None:
    topology = shapes.random_geometric(30, seed=5, side_km=2000)
    for link in topology.links:
        a, b = topology.pops[link.a].location, topology.pops[link.b].location
        assert a is not None
        assert b is not None
        assert link.impairment.delay_s == fibre_delay_s(great_circle_km(a, b))
    assert max(link.impairment.delay_s for link in topology.links) > 1e-4
    fixed = shapes.random_geometric(30, seed=5, kit=shapes.Kit(delay_s=0.002))
    assert {link.impairment.delay_s for link in fixed.links} == {0.002}


def test_pieces_that_are_apart_are_joined_where_they_are_nearest() -> None:
    lonely = shapes.random_geometric(20, seed=1, radius=0.0)
    assert len(lonely.links) == 19
    assert check_topology(lonely) == []


def test_another_seed_gives_another_topology() -> None:
    for shape in (shapes.random_geometric, shapes.waxman):
        assert shape(20, seed=1) != shape(20, seed=2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: shapes.line(0),
        lambda: shapes.ring(2),
        lambda: shapes.star(1),
        lambda: shapes.tree(0, 2),
        lambda: shapes.tree(2, 0),
        lambda: shapes.fat_tree(3),
        lambda: shapes.fat_tree(0),
        lambda: shapes.random_geometric(3, side_km=math.inf),
        lambda: shapes.waxman(3, alpha=0),
        lambda: shapes.single(kit=shapes.Kit(endpoints_per_pop=230)),
        lambda: shapes.single(kit=shapes.Kit(servers_per_pop=201)),
    ],
)
def test_what_is_impossible_is_refused(make: Callable[[], Topology]) -> None:
    with pytest.raises(InvalidInput):
        make()


def test_distances_are_those_of_the_globe() -> None:
    quarter = math.pi / 2 * 6371.0088
    assert great_circle_km((0, 0), (0, 90)) == pytest.approx(quarter)
    assert great_circle_km((0, 179), (0, -179)) == pytest.approx(quarter / 45)
    assert great_circle_km((90, 12), (-90, 99)) == pytest.approx(2 * quarter)
    assert fibre_delay_s(1000) == pytest.approx(0.005003, abs=1e-6)


def test_the_example_runs() -> None:
    assert doctest.testmod(shapes).failed == 0
