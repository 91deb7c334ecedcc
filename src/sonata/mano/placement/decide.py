"""Who decides where VNFs go: the service's own manager, or the generic placer; and what the operator says to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from sonata._lib.values import dataclass
from sonata.errors import AdapterError, InvalidInput, ManagerError, Unsupported
from sonata.mano.managers import EventPolicy, ask_placement
from sonata.mano.placement.generic import broken_bounds, place
from sonata.mano.placement.world import World
from sonata.model.placement import Placement, PlacementProblem
from sonata.model.records import PlacementRecord
from sonata.ports.managers import ManagerHost, ManagerLaunch

Decider = Literal["auto", "ssm", "generic"]


@dataclass(frozen=True, slots=True)
class PlacementPolicy:
    """The operator's word for one instantiation.

    Args:
        decider: `ssm` and `auto` ask the service's placement manager where it has one, `generic` never does; with
            `ssm` a service without such a manager is refused.
        rules: what the manager may decide and what happens when it fails.
        pinned: PoP by `vnf_id` of those VNFs whose place is not to be decided.
    """

    decider: Decider = "auto"
    rules: EventPolicy = field(default_factory=EventPolicy)
    pinned: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlacementManager:
    """A service's placement manager: its id in the descriptor, and how it is started."""

    id: str
    launch: ManagerLaunch


async def decide(
    problem: PlacementProblem, policy: PlacementPolicy, host: ManagerHost, manager: PlacementManager | None
) -> PlacementRecord:
    """Decide, and tell who decided and by which rule.

    Raises:
        ManagerError, AdapterError, Unsupported: the manager failed or was refused, and the policy is to fail.
        QuotaExceeded: the generic placer finds no room.
        InvalidInput: a VNF or a PoP that the request pins is not known.
    """
    _check_pins(problem)
    if manager is None or policy.decider == "generic":
        asked = policy.decider == "generic"
        return _generic(problem, "the request asks for it" if asked else "the service has no placement manager")
    try:
        # Managers die with the platform: after a restart the one to ask may not be there any more.
        await host.launch(manager.launch)
        decision = await ask_placement(host, manager.launch.instance, problem, policy.rules)
        check_route(problem, decision)
    except (ManagerError, AdapterError, Unsupported) as error:
        if policy.rules.fallback == "fail":
            raise
        return _generic(problem, f"fallback, since manager `{manager.id}` failed: {error.message}")
    rule = f"policy: {policy.rules.rule}"
    reason = f"; reason given: {decision.reason}" if decision.reason else ""
    return PlacementRecord(dict(decision.mapping), f"ssm:{manager.id}", rule + reason)


def _generic(problem: PlacementProblem, rule: str) -> PlacementRecord:
    decision = place(problem)
    return PlacementRecord(dict(decision.mapping), "generic", f"{rule}; {decision.reason}")


def _check_pins(problem: PlacementProblem) -> None:
    """Refuse pins of what is not there."""
    vnfs, pops = sorted(vnf.vnf_id for vnf in problem.nsd.vnfs), sorted(problem.pops)
    for vnf, pop in problem.pinned.items():
        if vnf not in vnfs:
            raise InvalidInput(f"cannot pin `{vnf}`: the service has no such VNF", hint=f"it has {', '.join(vnfs)}")
        if pop not in pops:
            raise InvalidInput(f"cannot pin VNF `{vnf}` to `{pop}`: no such VIM", hint=f"there are {', '.join(pops)}")


def check_route(problem: PlacementProblem, placement: Placement) -> None:
    """Refuse a placement that breaks a delay bound or lies where no packet of the service ever comes by.

    Raises:
        ManagerError: tells which VNF or link, and why.
    """
    world = World(problem)
    mapping = dict(placement.mapping)
    astray = sorted(vnf for vnf in world.edge_vnfs if not world.is_on_route(mapping[vnf]))
    if astray:
        told = ", ".join(f"`{vnf}` at `{mapping[vnf]}`" for vnf in astray)
        way = f"`{problem.ingress}` and `{problem.egress}`"
        raise ManagerError(f"the placement cannot be used: packets between {way} do not pass {told}")
    broken = broken_bounds(world, tuple(world.bounds), mapping)
    if broken:
        links = ", ".join(f"`{bound.link}` (at most {bound.max_delay_s * 1000:g} ms)" for bound in broken)
        raise ManagerError(f"the placement cannot be used: it is too far for virtual link {links}")
