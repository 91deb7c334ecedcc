"""Placement problems to managers, their decisions back; nothing is believed before it is checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sonata.managers.events import PLACEMENT, check_placement, read_placement, write_problem
from sonata.mano.managers.policy import EventPolicy
from sonata.model.placement import Placement, PlacementProblem
from sonata.ports.managers import ManagerHost


def problem_to_json(problem: PlacementProblem) -> Mapping[str, Any]:
    """What a placement manager is sent."""
    return write_problem(problem)


def placement_from_json(document: Mapping[str, Any], problem: PlacementProblem) -> Placement:
    """Read a manager's placement and check it against the problem.

    Raises:
        ManagerError: wrong types, unknown fields, an unknown PoP, an unknown or missing VNF, or more than a PoP has
            free; all reasons of a kind are told.
    """
    placement = read_placement(document)
    check_placement(problem, placement)
    return placement


async def ask_placement(
    host: ManagerHost, instance: str, problem: PlacementProblem, policy: EventPolicy | None = None
) -> Placement:
    """Ask a running manager to place a service; its decision is checked against the problem and the policy.

    Raises:
        ManagerError: it crashed, stalled, answered nonsense or a decision that is refused; told with the reason.
    """
    rules = policy or EventPolicy()
    rules.check_placement(Placement({}))  # a forbidden question is not asked
    document = await host.ask(instance, PLACEMENT.role, problem_to_json(problem), timeout_s=rules.timeout_s)
    placement = placement_from_json(document, problem)
    rules.check_placement(placement)
    return placement


__all__ = ["ask_placement", "check_placement", "placement_from_json", "problem_to_json"]
