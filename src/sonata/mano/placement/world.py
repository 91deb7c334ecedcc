"""A placement problem prepared for search: delays, demands, what pulls VNFs together, and which PoPs may take them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import rustworkx

from sonata._lib.values import dataclass
from sonata.model.descriptors import CpRef
from sonata.model.infrastructure import AttachedEndpoint, WanGraph
from sonata.model.placement import PlacementProblem

_SAME_S = 1e-9


class Delays:
    """Least one-way delay between PoPs over the wide area, in seconds; infinite where there is no way."""

    def __init__(self, wan: WanGraph) -> None:
        self._graph: rustworkx.PyGraph = rustworkx.PyGraph()
        names = dict.fromkeys([*wan.pops, *(pop for edge in wan.edges for pop in (edge.a, edge.b))])
        self._index = dict(zip(names, self._graph.add_nodes_from(list(names)), strict=True))
        for edge in wan.edges:
            self._graph.add_edge(self._index[edge.a], self._index[edge.b], edge.delay_s)
        self._from: dict[str, dict[int, float]] = {}

    def between(self, a: str, b: str) -> float:
        """Delay from `a` to `b`."""
        if a == b:
            return 0.0
        if a not in self._index or b not in self._index:
            return math.inf
        if a not in self._from:
            reached = rustworkx.dijkstra_shortest_path_lengths(self._graph, self._index[a], float)
            self._from[a] = dict(reached.items())
        return self._from[a].get(self._index[b], math.inf)

    def is_between(self, pop: str, a: str, b: str) -> bool:
        """Whether a shortest way from `a` to `b` passes `pop`."""
        direct = self.between(a, b)
        detour = self.between(a, pop) + self.between(pop, b)
        return math.isinf(direct) or detour <= direct + _SAME_S


@dataclass(frozen=True, slots=True)
class Pull:
    """Two things of which the delay between them counts, `a` a VNF, `b` a VNF or an endpoint."""

    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Bound:
    """A virtual link that demands at most `max_delay_s` between two of its ends."""

    link: str
    a: str
    b: str
    max_delay_s: float


@dataclass(frozen=True)
class World:
    """The problem with everything derived from it. VNFs are named by `vnf_id`, endpoints by `@ingress`, `@egress`."""

    problem: PlacementProblem

    @cached_property
    def delays(self) -> Delays:
        """Delays over the wide area."""
        return Delays(self.problem.wan)

    @cached_property
    def endpoints(self) -> dict[str, AttachedEndpoint]:
        """Known endpoints by their place in the service."""
        named = {"@ingress": self.problem.ingress, "@egress": self.problem.egress}
        known = self.problem.wan.endpoints
        return {place: known[name] for place, name in named.items() if name in known}

    @cached_property
    def sequences(self) -> list[list[str]]:
        """For each forwarding path its VNFs in order, between the endpoints; one over all VNFs without any path."""
        paths = [path for graph in self.problem.nsd.forwarding_graphs for path in graph.paths]
        visits = [visited(path.points) for path in paths] or [[vnf.vnf_id for vnf in self.problem.nsd.vnfs]]
        return [[*self._end("@ingress"), *visit, *self._end("@egress")] for visit in visits]

    def _end(self, place: str) -> list[str]:
        return [place] if place in self.endpoints else []

    @cached_property
    def order(self) -> list[str]:
        """All VNFs: those on paths in path order, then the others."""
        met = [name for sequence in self.sequences for name in sequence if not name.startswith("@")]
        return list(dict.fromkeys([*met, *(vnf.vnf_id for vnf in self.problem.nsd.vnfs)]))

    @cached_property
    def pulls(self) -> list[Pull]:
        """Neighbours on the paths."""
        pairs = [pair for sequence in self.sequences for pair in pairwise(sequence)]
        pulls = [Pull(*(pair if not pair[0].startswith("@") else pair[::-1])) for pair in pairs if pair[0] != pair[1]]
        return [pull for pull in pulls if not pull.a.startswith("@")]

    @cached_property
    def bounds(self) -> list[Bound]:
        """Delay bounds of virtual links, for each pair of their ends."""
        found = []
        for link in self.problem.nsd.virtual_links:
            if link.max_delay_s is None:
                continue
            ends = list(dict.fromkeys(filter(None, map(self._place_of, link.members))))
            pairs = [(a, b) for i, a in enumerate(ends) for b in ends[i + 1 :]]
            found += [Bound(link.id, a, b, link.max_delay_s) for a, b in pairs]
        return found

    def _place_of(self, member: CpRef) -> str:
        """The VNF or endpoint behind an end of a virtual link, empty for a service access point that nobody uses."""
        if member.unit:
            return member.unit
        for graph in self.problem.nsd.forwarding_graphs:
            for path in graph.paths:
                if path.points and member == path.points[0]:
                    return "@ingress" if "@ingress" in self.endpoints else ""
                if path.points and member == path.points[-1]:
                    return "@egress" if "@egress" in self.endpoints else ""
        return ""

    def delay(self, a: str, b: str, mapping: dict[str, str]) -> float:
        """One-way delay between two VNFs or endpoints, access links of endpoints included."""
        pops, access = [], 0.0
        for name in (a, b):
            endpoint = self.endpoints.get(name)
            access += endpoint.delay_s if endpoint else 0.0
            pops.append(endpoint.pop if endpoint else mapping[name])
        return self.delays.between(pops[0], pops[1]) + access

    @cached_property
    def edge_vnfs(self) -> frozenset[str]:
        """First and last VNFs of paths with both endpoints: the packets must come by there on their own."""
        if len(self.endpoints) < 2 or not self.problem.nsd.forwarding_graphs:
            return frozenset()
        return frozenset(name for seq in self.sequences if len(seq) > 2 for name in (seq[1], seq[-2]))

    def is_on_route(self, pop: str) -> bool:
        """Whether packets between the endpoints pass this PoP."""
        if len(self.endpoints) < 2:
            return True
        return self.delays.is_between(pop, self.endpoints["@ingress"].pop, self.endpoints["@egress"].pop)

    def demand(self, vnf: str) -> tuple[float, int]:
        """Virtual cores and MiB that a VNF needs."""
        units = self.problem.vnfds[vnf].vdus
        vcpus = sum(unit.vcpus * unit.instances for unit in units)
        return vcpus, sum(unit.memory_mib * unit.instances for unit in units)

    def load_share(self, pop: str, vnf: str) -> float:
        """Share of a PoP that would be in use with this VNF in it, at least 0: of cores or memory, what is scarcer."""
        capacity = self.problem.pops[pop]
        vcpus, memory = self.demand(vnf)
        shares = (
            (capacity.vcpus_used + vcpus) / capacity.vcpus_total if capacity.vcpus_total else 1.0,
            (capacity.memory_mib_used + memory) / capacity.memory_mib_total if capacity.memory_mib_total else 1.0,
        )
        return max(shares)


def visited(points: Sequence[CpRef]) -> list[str]:
    """VNFs that a path visits, in order."""
    units = [point.unit for point in points if point.unit]
    return [unit for index, unit in enumerate(units) if index == 0 or units[index - 1] != unit]
