"""The generic placer: least delay along the forwarding paths within the capacity of the PoPs.

A pure function. Search is A* over the VNFs in path order; the bound of what is still to come is the cost of the rest of
the chain without regard to capacity, found by dynamic programming. The result is exact; where capacity is not scarce
the first branch tried is the best one.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from functools import cached_property

from sonata._lib.values import dataclass
from sonata.errors import QuotaExceeded
from sonata.mano.placement.world import Bound, World
from sonata.model.placement import Placement, PlacementProblem

# A cost is delay in nanoseconds, then the share of the PoPs that would be in use (parts per million) to break ties.
_NS = 10**9
_TIE = 10**9
_FOREVER = 10**30
MAX_EXPANSIONS = 200_000


def place(problem: PlacementProblem) -> Placement:
    """Place a service with the least total one-way delay ingress, VNFs in path order, egress.

    Delay bounds of virtual links hold; ties go to the PoPs that are then used less, then to the first by name.
    First and last VNFs of a path stay on a shortest way between the endpoints, since packets come by there alone.

    Raises:
        QuotaExceeded: no placement fits; tells what lacks where.

    Complexity: O(VNFs x PoPs^2) when capacity is not scarce, exponential in VNFs at worst (bounded).
    """
    search = Search(World(problem), tuple(World(problem).bounds))
    mapping = search.best()
    if mapping is None:
        raise QuotaExceeded(_what_lacks(search), hint="free resources, or register another VIM")
    total = sum(search.world.delay(pull.a, pull.b, mapping) for pull in search.world.pulls)
    reason = f"least delay along the forwarding paths ({total * 1000:.1f} ms) within free capacity"
    if pinned := ", ".join(sorted(problem.pinned)):
        reason += f", with {pinned} where the operator wants them"
    return Placement(mapping, reason)


@dataclass(frozen=True)
class Search:
    """One search in one world, under these delay bounds."""

    world: World
    bounds: tuple[Bound, ...]

    @cached_property
    def candidates(self) -> list[list[str]]:
        """For each VNF in order the PoPs that can take it alone."""
        return [[pop for pop in sorted(self.world.problem.pops) if self._can_take(pop, vnf)] for vnf in self.order]

    @property
    def order(self) -> list[str]:
        """The order in which VNFs are placed."""
        return self.world.order

    def _can_take(self, pop: str, vnf: str) -> bool:
        if self.world.problem.pinned.get(vnf, pop) != pop:
            return False
        if vnf in self.world.edge_vnfs and not self.world.is_on_route(pop):
            return False
        return self.fits(pop, [vnf])

    def fits(self, pop: str, vnfs: list[str]) -> bool:
        """Whether a PoP has room for these VNFs together."""
        capacity = self.world.problem.pops[pop]
        demands = [self.world.demand(vnf) for vnf in vnfs]
        vcpus, memory = sum(d[0] for d in demands), sum(d[1] for d in demands)
        return vcpus <= capacity.vcpus_free + 1e-9 and memory <= capacity.memory_mib_free

    @cached_property
    def own_cost(self) -> list[dict[str, int]]:
        """For each VNF and PoP: delay to endpoints, and the tie-break."""
        return [
            {pop: self._own(vnf, pop) for pop in pops} for vnf, pops in zip(self.order, self.candidates, strict=True)
        ]

    def _own(self, vnf: str, pop: str) -> int:
        pulls = [pull for pull in self.world.pulls if pull.a == vnf and pull.b.startswith("@")]
        delay = sum(_cost(self.world.delay(pull.a, pull.b, {vnf: pop})) for pull in pulls)
        return delay + round(self.world.load_share(pop, vnf) * 10**6)

    @cached_property
    def inner(self) -> Counter[tuple[int, int]]:
        """How often two VNFs, by their position in the order, are neighbours."""
        position = {vnf: index for index, vnf in enumerate(self.order)}
        pairs = [(position[pull.a], position[pull.b]) for pull in self.world.pulls if not pull.b.startswith("@")]
        return Counter((min(pair), max(pair)) for pair in pairs)

    @cached_property
    def rest(self) -> list[dict[str, int]]:
        """For each VNF and PoP: least cost of all VNFs after it, without regard to capacity."""
        costs: list[dict[str, int]] = [dict.fromkeys(self.candidates[-1], 0)]
        for index in range(len(self.order) - 2, -1, -1):
            after = {pop: cost + self.own_cost[index + 1][pop] for pop, cost in costs[0].items()}
            times = self.inner[(index, index + 1)]
            costs.insert(0, {pop: self._least(pop, after, times) for pop in self.candidates[index]})
        return costs

    def _least(self, pop: str, after: dict[str, int], times: int) -> int:
        if not times:
            return min(after.values(), default=_FOREVER)
        steps = (cost + times * _cost(self.world.delays.between(pop, other)) for other, cost in after.items())
        return min(steps, default=_FOREVER)

    def best(self) -> dict[str, str] | None:
        """The cheapest mapping that fits, or None."""
        if not self.order:
            return {}
        frontier: list[tuple[int, tuple[str, ...], int]] = []
        self._push(frontier, (), 0)
        for _ in range(MAX_EXPANSIONS):
            if not frontier:
                return None
            _, placed, spent = heapq.heappop(frontier)
            if len(placed) == len(self.order):
                return dict(zip(self.order, placed, strict=True))
            self._push(frontier, placed, spent)
        raise QuotaExceeded(
            f"no placement of `{self.world.problem.nsd.id}` found in {MAX_EXPANSIONS} tries: capacity is too scarce",
            hint="free resources in the PoPs, or give the service a placement manager",
        )

    def _push(self, frontier: list[tuple[int, tuple[str, ...], int]], placed: tuple[str, ...], spent: int) -> None:
        index = len(placed)
        for pop in self.candidates[index]:
            longer = (*placed, pop)
            cost = spent + self.own_cost[index][pop] + self._inner_cost(longer)
            total = cost + self.rest[index][pop]
            if total < _FOREVER and self._is_allowed(longer):
                heapq.heappush(frontier, (total, longer, cost))

    def _inner_cost(self, placed: tuple[str, ...]) -> int:
        last = len(placed) - 1
        pulls = ((first, times) for (first, second), times in self.inner.items() if second == last)
        return sum(times * _cost(self.world.delays.between(placed[first], placed[last])) for first, times in pulls)

    def _is_allowed(self, placed: tuple[str, ...]) -> bool:
        mapping = dict(zip(self.order, placed, strict=False))
        there = [vnf for vnf, pop in mapping.items() if pop == placed[-1]]
        return self.fits(placed[-1], there) and not broken_bounds(self.world, self.bounds, mapping)


def broken_bounds(world: World, bounds: tuple[Bound, ...], mapping: dict[str, str]) -> list[Bound]:
    """Bounds whose ends are both placed and too far apart."""
    known = mapping.keys() | world.endpoints.keys()
    placed = [bound for bound in bounds if bound.a in known and bound.b in known]
    return [bound for bound in placed if world.delay(bound.a, bound.b, mapping) > bound.max_delay_s + 1e-12]


def _cost(delay_s: float) -> int:
    return _FOREVER if math.isinf(delay_s) else round(delay_s * _NS) * _TIE


def _what_lacks(search: Search) -> str:
    world = search.world
    service = world.problem.nsd.id
    free = ", ".join(
        f"`{name}` {pop.vcpus_free:g} vCPU and {pop.memory_mib_free} MiB"
        for name, pop in sorted(world.problem.pops.items())
    )
    for vnf, pops in zip(search.order, search.candidates, strict=True):
        if not pops:
            vcpus, memory = world.demand(vnf)
            where = " on the way between the endpoints" if vnf in world.edge_vnfs else ""
            need = f"it needs {vcpus:g} vCPU and {memory} MiB"
            if pin := world.problem.pinned.get(vnf):
                off = vnf in world.edge_vnfs and not world.is_on_route(pin)
                why = "which is not on the way between the endpoints" if off else f"which has no room: {need}"
                return f"VNF `{vnf}` of `{service}` is pinned to `{pin}`, {why}; free: {free}"
            return f"no PoP{where} can take VNF `{vnf}` of `{service}`: {need}; free: {free}"
    if search.bounds and Search(world, ()).best() is not None:
        links = ", ".join(f"`{bound.link}` at most {bound.max_delay_s * 1000:g} ms" for bound in search.bounds)
        return f"no placement of `{service}` with free capacity keeps its delay bounds: {links}"
    vcpus = sum(world.demand(vnf)[0] for vnf in search.order)
    memory = sum(world.demand(vnf)[1] for vnf in search.order)
    return f"the PoPs cannot take `{service}`: it needs {vcpus:g} vCPU and {memory} MiB together; free: {free}"
