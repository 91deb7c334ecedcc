"""The operator's word on what managers may decide."""

from __future__ import annotations

from typing import Literal

from sonata._lib.values import dataclass
from sonata.errors import ManagerError
from sonata.model.placement import Placement

Stance = Literal["allow", "bound", "forbid"]
Fallback = Literal["generic", "fail"]


@dataclass(frozen=True, slots=True)
class EventPolicy:
    """What a manager may decide on one event of one service.

    Args:
        stance: `allow` takes every decision that fits, `bound` only one within `pops`, `forbid` does not ask.
        pops: PoPs that a bounded placement may use.
        fallback: what happens when the manager fails or its decision is refused: decide generically, or fail.
        timeout_s: how long a decision may take, in seconds.
    """

    stance: Stance = "allow"
    pops: frozenset[str] = frozenset()
    fallback: Fallback = "generic"
    timeout_s: float = 2.0

    @property
    def rule(self) -> str:
        """The policy in words, for the record."""
        if self.stance == "bound":
            return f"bound to {', '.join(sorted(self.pops)) or 'no PoP'}, else {self.fallback}"
        return self.stance if self.stance == "forbid" else f"{self.stance}, else {self.fallback}"

    def check_placement(self, placement: Placement) -> None:
        """Refuse a placement that the policy does not permit.

        Raises:
            ManagerError: managers may not decide this, or not this way.
        """
        if self.stance == "forbid":
            raise ManagerError("the operator's policy forbids managers to place this service")
        if self.stance == "bound":
            outside = sorted(vnf for vnf, pop in placement.mapping.items() if pop not in self.pops)
            if outside:
                told = ", ".join(f"`{vnf}` at `{placement.mapping[vnf]}`" for vnf in outside)
                raise ManagerError(f"the operator's policy does not permit {told}; policy: {self.rule}")
