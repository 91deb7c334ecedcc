"""The generic placer against brute force on small worlds, and its refusals."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.services import chain_nsd, vnfd

from sonata.errors import ManagerError, QuotaExceeded
from sonata.mano.placement.decide import check_route
from sonata.mano.placement.generic import place
from sonata.mano.placement.world import World
from sonata.model.infrastructure import AttachedEndpoint, PopCapacity, WanEdge, WanGraph
from sonata.model.placement import Placement, PlacementProblem

POPS = ("p0", "p1", "p2", "p3")


@st.composite
def problems(draw: st.DrawFn) -> PlacementProblem:
    names = tuple(f"v{i}" for i in range(draw(st.integers(1, 4))))
    vnfds = {name: vnfd(name, draw(st.integers(1, 3)), draw(st.integers(1, 3)) * 128) for name in names}
    pops = {
        pop: PopCapacity(pop, 8, 8 - draw(st.integers(0, 8)), 1024, 1024 - 128 * draw(st.integers(0, 8)))
        for pop in POPS
    }
    line = [WanEdge(f"e{i}", POPS[i], POPS[i + 1], draw(st.integers(0, 30)) / 1000) for i in range(3)]
    more = [WanEdge("x", "p0", "p2", draw(st.integers(0, 60)) / 1000)] if draw(st.booleans()) else []
    endpoints = {
        "users": AttachedEndpoint("users", draw(st.sampled_from(POPS)), "100.64.0.10"),
        "origin": AttachedEndpoint("origin", draw(st.sampled_from(POPS)), "100.64.1.10", 0.001),
    }
    limits = draw(st.dictionaries(st.integers(0, len(names)), st.integers(1, 60).map(lambda ms: ms / 1000), max_size=2))
    ingress, egress = draw(st.sampled_from([("users", "origin"), ("users", ""), ("", "")]))
    nsd = chain_nsd(names, max_delay_s=limits)
    return PlacementProblem(nsd, vnfds, pops, WanGraph(POPS, (*line, *more), endpoints), ingress, egress)


def cost(world: World, mapping: dict[str, str]) -> float:
    return sum(world.delay(pull.a, pull.b, mapping) for pull in world.pulls)


def feasible(world: World, mapping: dict[str, str]) -> bool:
    """Written from the problem's definition, apart from the placer."""
    for pop, capacity in world.problem.pops.items():
        units = [world.problem.vnfds[vnf].vdus[0] for vnf, where in mapping.items() if where == pop]
        if (
            sum(u.vcpus for u in units) > capacity.vcpus_free
            or sum(u.memory_mib for u in units) > capacity.memory_mib_free
        ):
            return False
    if any(world.delay(bound.a, bound.b, mapping) > bound.max_delay_s + 1e-12 for bound in world.bounds):
        return False
    return all(world.is_on_route(mapping[vnf]) for vnf in world.edge_vnfs)


def all_mappings(world: World) -> Iterator[dict[str, str]]:
    for choice in itertools.product(POPS, repeat=len(world.order)):
        yield dict(zip(world.order, choice, strict=True))


@settings(max_examples=150, deadline=None)
@given(problems())
def test_the_placer_is_as_good_as_trying_everything(problem: PlacementProblem) -> None:
    world = World(problem)
    best = min((cost(world, mapping) for mapping in all_mappings(world) if feasible(world, mapping)), default=None)
    if best is None:
        with pytest.raises(QuotaExceeded):
            place(problem)
        return
    mapping = dict(place(problem).mapping)
    assert mapping.keys() == problem.vnfds.keys()
    assert feasible(world, mapping)
    assert cost(world, mapping) == pytest.approx(best, abs=1e-9)
    check_route(problem, Placement(mapping))


@settings(max_examples=30, deadline=None)
@given(problems())
def test_the_same_problem_gives_the_same_placement(problem: PlacementProblem) -> None:
    assert outcome(problem) == outcome(problem)


def outcome(problem: PlacementProblem) -> object:
    try:
        return place(problem)
    except QuotaExceeded as error:
        return error.message


def line_problem(free: dict[str, float], egress_pop: str = "p2", **options: object) -> PlacementProblem:
    pops = {pop: PopCapacity(pop, 8, 8 - vcpus, 8192, 0) for pop, vcpus in free.items()}
    wan = WanGraph(
        tuple(free),
        (WanEdge("a", "p0", "p1", 0.01), WanEdge("b", "p1", "p2", 0.01), WanEdge("c", "p1", "p3", 0.01)),
        {
            "users": AttachedEndpoint("users", "p0", "100.64.0.10"),
            "origin": AttachedEndpoint("origin", egress_pop, "100.64.2.10"),
        },
    )
    names = ("va", "vb")
    return PlacementProblem(
        chain_nsd(names, **options), {name: vnfd(name) for name in names}, pops, wan, "users", "origin"
    )  # fmt: skip


def test_ties_go_to_the_pop_that_is_used_least_then() -> None:
    placement = place(line_problem({"p0": 4, "p1": 8, "p2": 6, "p3": 8}))
    assert dict(placement.mapping) == {"va": "p1", "vb": "p1"}


def test_a_chain_splits_when_no_pop_has_room_for_all() -> None:
    placement = place(line_problem({"p0": 1, "p1": 0, "p2": 1, "p3": 8}))
    assert dict(placement.mapping) == {"va": "p0", "vb": "p2"}


def test_ends_of_a_chain_stay_where_packets_come_by() -> None:
    with pytest.raises(QuotaExceeded, match="on the way between the endpoints"):
        place(line_problem({"p0": 0, "p1": 0, "p2": 0, "p3": 8}))
    with pytest.raises(ManagerError, match="do not pass `va` at `p3`"):
        check_route(line_problem({"p0": 8, "p1": 8, "p2": 8, "p3": 8}), Placement({"va": "p3", "vb": "p2"}))


def test_a_delay_bound_that_no_placement_keeps_is_told() -> None:
    with pytest.raises(QuotaExceeded, match="delay bounds: `l0` at most 5 ms"):
        place(line_problem({"p0": 0, "p1": 8, "p2": 8, "p3": 8}, max_delay_s={0: 0.005}))


def test_of_two_empty_pops_the_larger_one_takes_a_tie() -> None:
    problem = line_problem({"p0": 8, "p1": 8, "p2": 8, "p3": 8})
    large = PopCapacity("p2", 32, 0, 65536, 0)
    placement = place(replace(problem, pops={**problem.pops, "p2": large}))
    assert dict(placement.mapping) == {"va": "p2", "vb": "p2"}


def test_a_pinned_vnf_stays_and_the_others_follow_it() -> None:
    problem = line_problem({"p0": 8, "p1": 8, "p2": 8, "p3": 8})
    placement = place(replace(problem, pinned={"va": "p2"}))
    assert dict(placement.mapping) == {"va": "p2", "vb": "p2"}
    assert "with va where the operator wants them" in placement.reason


@pytest.mark.parametrize(
    ("pop", "told"), [("p1", "has no room: it needs"), ("p3", "is not on the way between the endpoints")]
)
def test_a_pin_that_cannot_hold_is_told(pop: str, told: str) -> None:
    problem = line_problem({"p0": 8, "p1": 0, "p2": 8, "p3": 8})
    with pytest.raises(QuotaExceeded, match=f"is pinned to `{pop}`, which {told}"):
        place(replace(problem, pinned={"va": pop}))
