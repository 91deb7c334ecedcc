"""What a manager is told: immutable, and with the questions an author asks of it."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sonata.errors import ManagerError
from sonata.model.descriptors import VnfDescriptor
from sonata.model.infrastructure import AttachedEndpoint, PopCapacity, PopFigures
from sonata.model.placement import PlacementProblem


@dataclass(frozen=True, slots=True)
class Demand:
    """What one or several VNFs need: virtual cores and memory in MiB."""

    vcpus: float = 0.0
    memory_mib: int = 0

    def __add__(self, other: Demand) -> Demand:
        return Demand(self.vcpus + other.vcpus, self.memory_mib + other.memory_mib)

    def fits(self, capacity: PopCapacity) -> bool:
        """Whether a PoP has as much free."""
        return self.vcpus <= capacity.vcpus_free and self.memory_mib <= capacity.memory_mib_free


def demand_of(vnfd: VnfDescriptor) -> Demand:
    """All initial instances of all units of a VNF together."""
    units = (Demand(unit.vcpus * unit.instances, unit.memory_mib * unit.instances) for unit in vnfd.vdus)
    return sum(units, Demand())


@dataclass(frozen=True, slots=True)
class PlacementState:
    """The world at the moment a service is to be placed.

    Example:
        >>> from sonata.managers.testing import placement_state
        >>> state = placement_state(vnfs=["cache"], delays={("a", "b"): 0.02}, endpoints={"users": "b"})
        >>> state.pops_nearest("users")
        ('b', 'a')
        >>> state.delay_s("a", "b")
        0.02
    """

    problem: PlacementProblem

    @property
    def vnf_ids(self) -> tuple[str, ...]:
        """VNFs to place, in the order of the service descriptor."""
        return tuple(vnf.vnf_id for vnf in self.problem.nsd.vnfs)

    @property
    def ingress(self) -> str:
        """Endpoint from which users come; empty when the request named none."""
        return self.problem.ingress

    @property
    def egress(self) -> str:
        """Endpoint that users address; empty when the request named none."""
        return self.problem.egress

    @property
    def pops(self) -> Mapping[str, PopCapacity]:
        """Capacity of every PoP, by name."""
        return self.problem.pops

    def endpoint(self, name: str) -> AttachedEndpoint:
        """An endpoint: its PoP, its address and the delay of its access link.

        Raises:
            ManagerError: there is none of this name.
        """
        try:
            return self.problem.wan.endpoints[name]
        except KeyError:
            known = ", ".join(f"`{known}`" for known in sorted(self.problem.wan.endpoints)) or "none"
            raise ManagerError(f"endpoint `{name}` does not exist; known: {known}") from None

    def figures(self, pop: str) -> PopFigures:
        """What using a PoP costs and draws; nothing where nobody has told."""
        return self.problem.wan.figures.get(pop, PopFigures())

    def cost_per_hour(self, pop: str, vnf_id: str) -> float:
        """What a VNF costs in a PoP in an hour, by the PoP's declared prices."""
        need = self.demand(vnf_id)
        return self.figures(pop).cost.per_hour(need.vcpus, need.memory_mib / 1024)

    def delay_s(self, a: str, b: str) -> float:
        """One-way delay of the fastest path between two PoPs in seconds; infinite when there is none."""
        return self._delays_from(a).get(b, math.inf)

    def pops_nearest(self, endpoint: str) -> tuple[str, ...]:
        """PoPs that an endpoint can reach, nearest first; names break ties."""
        delays = self._delays_from(self.endpoint(endpoint).pop)
        return tuple(sorted((pop for pop in delays if pop in self.pops), key=lambda pop: (delays[pop], pop)))

    def demand(self, vnf_id: str) -> Demand:
        """What a VNF needs."""
        return demand_of(self.problem.vnfds[vnf_id])

    def has_room(self, pop: str, vnf_id: str, placed: Mapping[str, str] | None = None) -> bool:
        """Whether a PoP can take a VNF on top of what is `placed` already (PoP by VNF)."""
        there = [vnf for vnf, where in (placed or {}).items() if where == pop and vnf != vnf_id]
        total = sum(map(self.demand, there), self.demand(vnf_id))
        return total.fits(self.pops[pop])

    def first_with_room(self, pops: Iterable[str], vnf_id: str, placed: Mapping[str, str] | None = None) -> str:
        """The first of some PoPs that can take a VNF on top of what is `placed` already.

        Raises:
            ManagerError: none of them can.
        """
        tried = tuple(pops)
        for pop in tried:
            if self.has_room(pop, vnf_id, placed):
                return pop
        need = self.demand(vnf_id)
        raise ManagerError(
            f"no room for `{vnf_id}` ({need.vcpus:g} vCPU, {need.memory_mib} MiB) in any of: "
            + (", ".join(f"`{pop}`" for pop in tried) or "no PoP at all")
        )

    def _delays_from(self, start: str) -> Mapping[str, float]:
        """Delay in seconds of the fastest path to each PoP that can be reached (Dijkstra)."""
        neighbours: dict[str, list[tuple[str, float]]] = {}
        for edge in self.problem.wan.edges:
            neighbours.setdefault(edge.a, []).append((edge.b, edge.delay_s))
            neighbours.setdefault(edge.b, []).append((edge.a, edge.delay_s))
        settled: dict[str, float] = {}
        frontier = [(0.0, start)]
        while frontier:
            delay, pop = heapq.heappop(frontier)
            if pop in settled:
                continue
            settled[pop] = delay
            for neighbour, hop in neighbours.get(pop, ()):
                heapq.heappush(frontier, (delay + hop, neighbour))
        return settled
