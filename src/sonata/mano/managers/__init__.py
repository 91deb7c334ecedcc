"""What the platform does with managers: asks them, reads their decisions, and keeps the operator in charge."""

from sonata.mano.managers.decisions import ask_placement, check_placement, placement_from_json, problem_to_json
from sonata.mano.managers.policy import EventPolicy, Fallback, Stance

__all__ = [
    "EventPolicy",
    "Fallback",
    "Stance",
    "ask_placement",
    "check_placement",
    "placement_from_json",
    "problem_to_json",
]
