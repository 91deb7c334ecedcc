"""The classes that an author derives from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from sonata.errors import ManagerError
from sonata.managers.events import EVENTS, Event
from sonata.managers.state import PlacementState
from sonata.model.placement import Placement


class ServiceSpecificManager:
    """Takes decisions for one network service (SSM).

    Override the methods of the events you want to answer: what you override is what you are asked. Each method gets
    an immutable state and returns a decision; there is no connection, no callback and no other method to call.
    An exception fails the event: the operator's policy then decides between the generic decision and failure.

    Example:
        >>> class Everything(ServiceSpecificManager):
        ...     '''Puts all VNFs next to the users.'''
        ...
        ...     def place(self, state):
        ...         nearest = state.pops_nearest(state.ingress)[0]
        ...         return Placement({vnf: nearest for vnf in state.vnf_ids}, reason="near the users")
        >>> sorted(roles_of(Everything))
        ['placement']
    """

    name: ClassVar[str] = ""
    """Under which it registers; by default the class name as `words-with-dashes`."""

    def place(self, state: PlacementState) -> Placement:
        """Say in which PoP each VNF goes (role `placement`)."""
        raise NotImplementedError


def roles_of(manager: type[ServiceSpecificManager]) -> Mapping[str, Event]:
    """Events that a class answers, by role: those whose method it overrides."""
    base = ServiceSpecificManager
    return {
        role: event
        for role, event in EVENTS.items()
        if getattr(manager, event.method) is not getattr(base, event.method)
    }


def name_of(manager: type[ServiceSpecificManager]) -> str:
    """Under which a class registers."""
    return manager.name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", manager.__name__).lower()


def check_answers_something(manager: type[ServiceSpecificManager]) -> None:
    """Refuse a class that overrides nothing; raises ManagerError with the methods to choose from."""
    if not roles_of(manager):
        methods = ", ".join(f"`{event.method}`" for event in EVENTS.values())
        raise ManagerError(f"`{manager.__name__}` answers no event", hint=f"override one of: {methods}")
