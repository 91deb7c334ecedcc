"""The test kit of managers: made-up state in, event, decision out. No broker, no container, no network.

State and decision make the same trip through JSON as on the platform, and the decision is checked as the platform
checks it, so that a manager that passes here fails there for no reason of form.

Example:
    >>> from sonata.managers import Placement, ServiceSpecificManager
    >>> from sonata.managers.testing import Context, placement_state
    >>> class NearUsers(ServiceSpecificManager):
    ...     def place(self, state):
    ...         return Placement({vnf: state.pops_nearest("users")[0] for vnf in state.vnf_ids})
    >>> state = placement_state(vnfs=["cache"], delays={("edge", "core"): 0.02}, endpoints={"users": "edge"})
    >>> dict(Context(NearUsers).place(state).mapping)
    {'cache': 'edge'}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sonata.errors import InvalidInput, ManagerError
from sonata.managers.author import ServiceSpecificManager, check_answers_something, roles_of
from sonata.managers.events import check_placement, read_placement, write_problem
from sonata.managers.state import Demand, PlacementState
from sonata.model.descriptors import ConstituentVnf, DescriptorId, NetworkServiceDescriptor, Vdu, VnfDescriptor
from sonata.model.infrastructure import AttachedEndpoint, PopCapacity, PopFigures, WanEdge, WanGraph
from sonata.model.placement import Placement, PlacementProblem

VENDOR = "test.kit"


class ImpossibleWorld(InvalidInput):
    """A made-up state cannot exist; the message tells every contradiction."""


@dataclass(frozen=True, slots=True)
class Context:
    """Sends events to one manager class, each to a fresh object of it."""

    manager: type[ServiceSpecificManager]

    def place(self, state: PlacementState) -> Placement:
        """Ask for a placement and check it as the platform does.

        Raises:
            ImpossibleWorld: the state contradicts itself.
            ManagerError: the manager has no such role, took no decision, or a decision that cannot be used.
        """
        check_world(state)
        decision = read_placement(self.run("placement", write_problem(state.problem)))
        check_placement(state.problem, decision)
        return decision

    def run(self, role: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send an event with a state as JSON, as the platform would, and return the decision as JSON."""
        check_answers_something(self.manager)
        try:
            event = roles_of(self.manager)[role]
        except KeyError:
            raise ManagerError(f"`{self.manager.__name__}` does not answer `{role}`") from None
        state = event.read_state(json.loads(json.dumps(document)))
        decision = event.write_decision(getattr(self.manager(), event.method)(state))
        answer: Mapping[str, Any] = json.loads(json.dumps(decision))
        return answer


@dataclass(frozen=True, slots=True)
class Room:
    """What a made-up PoP offers, and what of it is given out already."""

    vcpus: float = 16.0
    memory_mib: int = 32768
    vcpus_used: float = 0.0
    memory_mib_used: int = 0


def placement_state(
    vnfs: Sequence[str] | Mapping[str, Demand],
    *,
    delays: Mapping[tuple[str, str], float],
    rooms: Mapping[str, Room] | None = None,
    endpoints: Mapping[str, str] | None = None,
    ingress: str = "",
    egress: str = "",
    figures: Mapping[str, PopFigures] | None = None,
) -> PlacementState:
    """Make up the world in which a service is to be placed.

    Args:
        vnfs: VNF ids in order, or what each of them needs (1 vCPU and 128 MiB when not said).
        delays: one-way delay in seconds of each wide area link, by the two PoPs it joins.
        rooms: PoPs with what they offer; PoPs that only `delays` names offer a whole `Room()`.
        endpoints: the PoP to which each endpoint is attached.
        ingress: endpoint from which users come.
        egress: endpoint that users address.
        figures: what PoPs cost and draw.
    """
    demands = vnfs if isinstance(vnfs, Mapping) else dict.fromkeys(vnfs, Demand(1.0, 128))
    names = sorted({pop for pair in delays for pop in pair} | set(rooms or {}))
    problem = PlacementProblem(
        nsd=_service(demands),
        vnfds={vnf_id: _function(vnf_id, demand) for vnf_id, demand in demands.items()},
        pops={name: _capacity(name, (rooms or {}).get(name, Room())) for name in names},
        wan=replace(_wan(names, delays, endpoints or {}), figures=dict(figures or {})),
        ingress=ingress,
        egress=egress,
    )
    return PlacementState(problem)


def check_world(state: PlacementState) -> None:
    """Refuse a made-up state that cannot exist, with every reason at once.

    Raises:
        ImpossibleWorld: it contradicts itself.
    """
    contradictions = [*_service_faults(state.problem), *_pop_faults(state.problem), *_wan_faults(state.problem)]
    if contradictions:
        raise ImpossibleWorld("this world cannot exist: " + "; ".join(contradictions))


def _service_faults(problem: PlacementProblem) -> Iterator[str]:
    vnf_ids = [vnf.vnf_id for vnf in problem.nsd.vnfs]
    yield from (f"VNF `{vnf_id}` is listed twice" for vnf_id in _repeated(vnf_ids))
    for vnf in problem.nsd.vnfs:
        vnfd = problem.vnfds.get(vnf.vnf_id)
        if vnfd is None:
            yield f"VNF `{vnf.vnf_id}` has no descriptor"
        elif vnfd.id != vnf.descriptor:
            yield f"VNF `{vnf.vnf_id}` refers to `{vnf.descriptor}` and is described by `{vnfd.id}`"
    for link in problem.nsd.virtual_links:
        unknown = sorted({point.unit for point in link.members if point.unit} - set(vnf_ids))
        yield from (f"virtual link `{link.id}` joins unknown VNF `{unit}`" for unit in unknown)


def _pop_faults(problem: PlacementProblem) -> Iterator[str]:
    for name, pop in problem.pops.items():
        if pop.pop != name:
            yield f"PoP `{name}` carries the name `{pop.pop}`"
        if not 0 <= pop.vcpus_used <= pop.vcpus_total:
            yield f"PoP `{name}` has given out {pop.vcpus_used:g} of {pop.vcpus_total:g} vCPU"
        if not 0 <= pop.memory_mib_used <= pop.memory_mib_total:
            yield f"PoP `{name}` has given out {pop.memory_mib_used} of {pop.memory_mib_total} MiB"
        if name not in problem.wan.pops:
            yield f"PoP `{name}` is missing in the wide area graph"


def _wan_faults(problem: PlacementProblem) -> Iterator[str]:
    wan = problem.wan
    yield from (f"link `{name}` exists twice" for name in _repeated(edge.name for edge in wan.edges))
    for edge in wan.edges:
        yield from (
            f"link `{edge.name}` ends in unknown PoP `{end}`" for end in (edge.a, edge.b) if end not in wan.pops
        )
        if edge.delay_s < 0:
            yield f"link `{edge.name}` has a negative delay"
    for name, endpoint in wan.endpoints.items():
        if endpoint.pop not in wan.pops:
            yield f"endpoint `{name}` is attached to unknown PoP `{endpoint.pop}`"
    for role, name in (("ingress", problem.ingress), ("egress", problem.egress)):
        if name and name not in wan.endpoints:
            yield f"{role} `{name}` is no endpoint"


def _repeated(names: Iterable[str]) -> list[str]:
    seen = list(names)
    return sorted({name for name in seen if seen.count(name) > 1})


def _service(demands: Mapping[str, Demand]) -> NetworkServiceDescriptor:
    constituents = tuple(ConstituentVnf(vnf_id, DescriptorId(VENDOR, vnf_id, "1.0")) for vnf_id in demands)
    return NetworkServiceDescriptor(DescriptorId(VENDOR, "service", "1.0"), constituents)


def _function(vnf_id: str, demand: Demand) -> VnfDescriptor:
    unit = Vdu("main", image=vnf_id, vcpus=demand.vcpus, memory_mib=demand.memory_mib)
    return VnfDescriptor(DescriptorId(VENDOR, vnf_id, "1.0"), (unit,), connection_points=())


def _capacity(name: str, room: Room) -> PopCapacity:
    return PopCapacity(name, room.vcpus, room.vcpus_used, room.memory_mib, room.memory_mib_used)


def _wan(names: Sequence[str], delays: Mapping[tuple[str, str], float], endpoints: Mapping[str, str]) -> WanGraph:
    edges = tuple(WanEdge(f"{a}-{b}", a, b, delay_s=delay) for (a, b), delay in delays.items())
    attached = {
        name: AttachedEndpoint(name, pop, f"100.64.0.{number}")
        for number, (name, pop) in enumerate(endpoints.items(), 10)
    }
    return WanGraph(tuple(names), edges, attached)
