"""Changing the members of a group a few at a time, so that enough of them serve meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sonata._lib.values import dataclass
from sonata.emulator.cloud.orchestration.schema import Property
from sonata.errors import InvalidInput

Members = Mapping[str, Any]
"""Definitions of members by name."""

_BATCH = {
    "max_batch_size": Property("integer", default=1, low=1),
    "pause_time": Property("number", default=0, low=0),
}
ROLLING = {"min_in_service": Property("integer", default=0, low=0), **_BATCH}
DEPLOYMENT_POLICIES = {name: Property("map", keys=_BATCH) for name in ("rolling_update", "batch_create")}
GROUP_POLICIES = {"rolling_update": Property("map", keys=ROLLING), "batch_create": Property("map", keys=_BATCH)}


@dataclass(frozen=True, slots=True)
class Batches:
    """How members are changed: so many at a time, with a pause between, while at least so many others serve."""

    size: int
    pause_s: float = 0.0
    least: int = 0

    @classmethod
    def read(cls, policy: Mapping[str, Any]) -> Batches:
        """What a policy says."""
        return cls(
            int(policy.get("max_batch_size", 1)),
            float(policy.get("pause_time", 0)),
            int(policy.get("min_in_service", 0)),
        )

    def require_time(self, steps: int, seconds: float) -> None:
        """Refuse pauses that take all the time there is.

        Raises:
            InvalidInput: they do.
        """
        if self.pause_s * max(steps - 1, 0) >= seconds:
            raise InvalidInput("The current update policy will result in stack update timeout.")

    def creation(self, new: Members) -> Iterator[dict[str, Any]]:
        """The members after each batch of a creation."""
        names = list(new)
        for end in range(self.size, max(len(names), 1) + self.size, self.size):
            yield {name: new[name] for name in names[:end]}

    def change(self, old: Members, new: Members, spare: Callable[[int], Members]) -> Iterator[dict[str, Any]]:
        """The members after each batch of an update; those with the highest index come first.

        Args:
            old: as they are.
            new: as they shall be.
            spare: makes so many further members, which serve while the others are changed and go at the end.
        """
        changing = [name for name in reversed(list(new)) if name in old and old[name] != new[name]]
        lacking = min(self.least, len(new)) + min(self.size, len(changing)) - len(new)
        helpers = spare(lacking) if changing and lacking > 0 else {}
        before = {name: old[name] if name in changing else new[name] for name in new}
        if helpers or (changing and self.least and new.keys() - old.keys()):
            # Those that are to serve meanwhile come first.
            yield {**before, **helpers}
        for start in range(0, len(changing), self.size):
            before.update({name: new[name] for name in changing[start : start + self.size]})
            yield {**before, **helpers}
        if helpers or not changing:
            yield dict(new)
