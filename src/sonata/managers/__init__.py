"""The author kit of service and function specific managers: what a developer imports to program the orchestrator.

Four nouns: an *event* asks for a decision, an immutable *state* tells all that is known, a *decision* goes back, and
`sonata.managers.testing` runs all that on a desk, without broker and container.

Example:
    >>> from sonata.managers import Placement, PlacementState, ServiceSpecificManager
    >>> class NearUsers(ServiceSpecificManager):
    ...     def place(self, state: PlacementState) -> Placement:
    ...         nearest = state.pops_nearest(state.ingress)[0]
    ...         return Placement({vnf: nearest for vnf in state.vnf_ids}, reason=f"{nearest} is nearest to the users")
"""

from sonata.errors import ManagerError
from sonata.managers.author import ServiceSpecificManager
from sonata.managers.events import API_VERSION
from sonata.managers.state import Demand, PlacementState
from sonata.model.placement import Placement

__all__ = ["API_VERSION", "Demand", "ManagerError", "Placement", "PlacementState", "ServiceSpecificManager"]
