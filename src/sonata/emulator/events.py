"""What happens in an emulation, for those who watch: numbered events, the last of which are kept."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import field
from itertools import islice
from typing import Any

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.base import Entity
from sonata.emulator.cloud.tables import Tables

logger = logging.getLogger(__name__)

KEPT = 20_000
"""How many events are kept; a watcher that is further behind is told how many it has missed."""
AT_ONCE = 500
"""How many of them a watcher gets together before others have a turn."""
MISSED = "events.missed"

_STATES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "networks": ("network", ()),
    "ports": ("port", ("device_id", "admin_state_up")),
    "routers": ("router", ()),
    "floating_ips": ("floating-ip", ("port_id",)),
    "port_chains": ("port-chain", ()),
    "servers": ("server", ("status", "task_state", "host")),
    "uploads": ("image", ("status",)),
    "load_balancers": ("load-balancer", ("provisioning_status", "operating_status")),
    "members": ("member", ("operating_status",)),
    "stacks": ("stack", ("action", "status")),
    "volumes": ("volume", ("status",)),
    "snapshots": ("snapshot", ("status",)),
}
"""Tables of a cloud that events tell of: what an entity is called there, and its attributes that make an event."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened.

    Args:
        number: 1 for the first in the life of an emulation, then one more each.
        at: Unix time in seconds.
        kind: sort of thing and what became of it, as `link.changed` or `server.created`.
        subject: which one: the name of a link or an endpoint; `POP/NAME` in a cloud, or `POP/ID` without a name.
        detail: what is known besides; of a change the new values, and below `was` the former ones.
    """

    number: int
    at: float
    kind: str
    subject: str
    detail: Mapping[str, Any] = field(default_factory=dict)


class EventLog:
    """The last events of an emulation, and how many there were of each kind; filled and read on the event loop."""

    def __init__(self, kept: int = KEPT, clock: Callable[[], float] = time.time) -> None:
        self._events: deque[Event] = deque(maxlen=kept)
        self._clock = clock
        self._number = 0
        self._watchers: set[asyncio.Event] = set()
        self._closed = False
        self.counts: Counter[str] = Counter()

    @property
    def last(self) -> int:
        """Number of the last event, 0 for none."""
        return self._number

    def tell(self, kind: str, subject: str, **detail: Any) -> None:
        """Note and log that something has happened just now."""
        self.note(kind, subject, detail)
        logger.info("%s %s", kind, subject, extra={"detail": detail})

    def note(self, kind: str, subject: str, detail: Mapping[str, Any]) -> None:
        """Note that something has happened just now, and leave the log alone: clouds change often."""
        self._number += 1
        self.counts[kind] += 1
        self._events.append(Event(self._number, self._clock(), kind, subject, detail))
        for watcher in self._watchers:
            watcher.set()

    def after(self, number: int) -> Sequence[Event]:
        """The events after this one, oldest first; one of kind `events.missed` stands for those that are not kept."""
        new = list(islice(reversed(self._events), max(0, self._number - number)))[::-1]
        first = new[0].number if new else self._number + 1
        if (missed := first - number - 1) > 0:
            return [Event(first - 1, self._clock(), MISSED, "", {"count": missed}), *new]
        return new

    async def follow(self, number: int) -> AsyncIterator[Sequence[Event]]:
        """The events after this one, and from then on each as it happens until the log is closed, some at a time."""
        news = asyncio.Event()
        self._watchers.add(news)
        try:
            while True:
                news.clear()
                new = self.after(number)
                for start in range(0, len(new), AT_ONCE):
                    some = new[start : start + AT_ONCE]
                    number = some[-1].number
                    yield some
                    await asyncio.sleep(0)  # a watcher that is gone can be told of only when others have a turn
                if new:
                    continue
                if self._closed:
                    return
                await news.wait()
        finally:
            self._watchers.discard(news)

    def close(self) -> None:
        """Let those who follow go, after what has happened until now."""
        self._closed = True
        for watcher in self._watchers:
            watcher.set()

    def watch(self, pop: str, tables: Tables) -> None:
        """Tell from now on what comes, goes and changes its state in a cloud."""
        for name, (sort, attributes) in _STATES.items():
            getattr(tables, name).on_row = _Observer(self, pop, sort, attributes)


@dataclass(frozen=True, slots=True)
class _Observer:
    """Makes events out of the changes of one table."""

    log: EventLog
    pop: str
    sort: str
    attributes: tuple[str, ...]

    def __call__(self, before: Entity | None, after: Entity | None) -> None:
        if before is None or after is None:
            self._come_or_gone(before, after)
        elif changed := [name for name in self.attributes if getattr(before, name) != getattr(after, name)]:
            new, old = ({name: getattr(row, name) for name in changed} for row in (after, before))
            self.log.note(f"{self.sort}.changed", self._subject(after), {**_ids(after), **new, "was": old})

    def _come_or_gone(self, before: Entity | None, after: Entity | None) -> None:
        if after is not None:
            state = {name: getattr(after, name) for name in self.attributes}
            self.log.note(f"{self.sort}.created", self._subject(after), {**_ids(after), **state})
        elif before is not None:
            self.log.note(f"{self.sort}.deleted", self._subject(before), _ids(before))

    def _subject(self, row: Entity) -> str:
        return f"{self.pop}/{row.name or row.id}"


def _ids(row: Entity) -> dict[str, Any]:
    return {"id": row.id, "project_id": row.project_id}
