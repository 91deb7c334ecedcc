"""The events that managers answer, and how each one's state and decision travel.

One `Event` per role. A new role is a new entry here, a method in `author`, and nothing else in the runner or the kit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sonata.errors import InvalidInput, ManagerError
from sonata.managers.codec import from_json, to_json
from sonata.managers.state import PlacementState
from sonata.model.placement import Placement, PlacementProblem

API_VERSION = 1
"""Version of events, states and decisions; a manager is refused when it speaks another one."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something a manager is asked.

    Args:
        role: name on the bus and in descriptors (option `type`).
        method: name of the author's method.
        read_state: from JSON, as the platform sent it.
        write_decision: to JSON; raises ManagerError when the author returned something else than a decision.
    """

    role: str
    method: str
    read_state: Callable[[Mapping[str, Any]], Any]
    write_decision: Callable[[Any], Mapping[str, Any]]


def write_problem(problem: PlacementProblem) -> Mapping[str, Any]:
    """A placement problem as JSON."""
    document: Mapping[str, Any] = to_json(problem)
    return document


def read_problem(document: Mapping[str, Any]) -> PlacementProblem:
    """A placement problem from JSON; raises InvalidInput."""
    return from_json(PlacementProblem, document)


def read_placement(document: Mapping[str, Any]) -> Placement:
    """A placement decision from JSON: `{"mapping": {vnf_id: pop}, "reason": text}`, nothing else.

    Raises:
        ManagerError: it is something else; told with the path of what is wrong.
    """
    unknown = sorted(set(document) - {"mapping", "reason"})
    if unknown:
        raise ManagerError(f"the decision has unknown fields: {', '.join(map(str, unknown))}; known: mapping, reason")
    try:
        return from_json(Placement, document)
    except InvalidInput as error:
        raise ManagerError(f"the decision cannot be read: {error.message}") from error


def _write_placement(decision: Any) -> Mapping[str, Any]:
    if not isinstance(decision, Placement):
        raise ManagerError(f"`place` must return a Placement, not `{type(decision).__name__}`")
    document: Mapping[str, Any] = to_json(decision)
    read_placement(document)
    return document


PLACEMENT = Event(
    role="placement",
    method="place",
    read_state=lambda document: PlacementState(read_problem(document)),
    write_decision=_write_placement,
)
EVENTS: Mapping[str, Event] = {event.role: event for event in (PLACEMENT,)}


def check_placement(problem: PlacementProblem, placement: Placement) -> None:
    """Check a placement against the problem: every VNF once, where it is pinned to, in a known PoP with room for it.

    Raises:
        ManagerError: it does not hold; all reasons are told.
    """
    reasons = [*_mapping_faults(problem, placement.mapping)]
    if not reasons:
        reasons = [*_capacity_faults(PlacementState(problem), placement.mapping)]
    if reasons:
        raise ManagerError("the placement cannot be used: " + "; ".join(reasons))


def _mapping_faults(problem: PlacementProblem, mapping: Mapping[str, str]) -> list[str]:
    wanted = {vnf.vnf_id for vnf in problem.nsd.vnfs}
    pops = ", ".join(f"`{pop}`" for pop in sorted(problem.pops)[:10])
    faults = [f"VNF `{vnf}` is missing" for vnf in sorted(wanted - set(mapping))]
    faults += [f"VNF `{vnf}` is not part of the service" for vnf in sorted(set(mapping) - wanted)]
    moved = sorted(vnf for vnf, pop in problem.pinned.items() if mapping.get(vnf, pop) != pop)
    faults += [
        f"VNF `{vnf}` is put in `{mapping[vnf]}`, the operator has pinned it to `{problem.pinned[vnf]}`"
        for vnf in moved
    ]
    unknown = sorted(vnf for vnf, pop in mapping.items() if pop not in problem.pops)
    faults += [f"VNF `{vnf}` is put in unknown PoP `{mapping[vnf]}` (known: {pops})" for vnf in unknown]
    return faults


def _capacity_faults(state: PlacementState, mapping: Mapping[str, str]) -> list[str]:
    faults = []
    for pop in sorted(set(mapping.values())):
        there = sorted(vnf for vnf, where in mapping.items() if where == pop)
        need = sum(map(state.demand, there[1:]), state.demand(there[0]))
        free = state.pops[pop]
        if not need.fits(free):
            faults.append(
                f"PoP `{pop}` has {free.vcpus_free:g} vCPU and {free.memory_mib_free} MiB free, "
                f"{', '.join(f'`{vnf}`' for vnf in there)} need {need.vcpus:g} and {need.memory_mib}"
            )
    return faults
