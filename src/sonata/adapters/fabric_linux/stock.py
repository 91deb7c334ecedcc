"""Network namespaces made ahead: while the fabric's thread fills one, another thread makes the next ones.

Half of a namespace's price is the kernel's, which makes two at the same time on two processors.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import field

import sonata.adapters.fabric_linux.netspace as netspace
from sonata._lib.values import dataclass
from sonata.adapters.fabric_linux.netspace import MACHINE_SETTINGS, ROUTER_SETTINGS, Netspace
from sonata.errors import SonataError

_AHEAD = 16
"""How many of a kind lie ready at most: as many as a hiccup of the other thread lasts."""
_UNUSED = "namespace in stock"


@dataclass(slots=True)
class _Shelf:
    """Namespaces of one kind."""

    settings: Mapping[str, bytes]
    ready: deque[Netspace] = field(default_factory=deque)
    expected: int = 0

    @property
    def has_room(self) -> bool:
        """Whether one more would be used, and not lie there for long."""
        return len(self.ready) < min(self.expected, _AHEAD)


class Stock:
    """Where the fabric gets its namespaces from. Calls come from one thread, as for the whole fabric."""

    def __init__(self) -> None:
        self.machines = _Shelf(MACHINE_SETTINGS)
        self.routers = _Shelf(ROUTER_SETTINGS)
        self._changed = threading.Condition()
        self._maker: threading.Thread | None = None

    def expect(self, *, machines: int, routers: int) -> None:
        """Be prepared for so many; for none, what lies ready goes."""
        with self._changed:
            self.machines.expected, self.routers.expected = machines, routers
            self._changed.notify()
        if machines or routers:
            if self._maker is None:
                self._maker = threading.Thread(target=self._make, name="namespaces")
                self._maker.start()
        elif self._maker:
            self._maker.join()
            self._maker = None
            self._clear()

    def machine_spaces(self, names: Sequence[str]) -> list[Netspace]:
        """Namespaces for machines; errors as of `netspace.create`."""
        return self._take(self.machines, names)

    def router_spaces(self, names: Sequence[str]) -> list[Netspace]:
        """Namespaces that forward; errors as of `netspace.create`."""
        return self._take(self.routers, names)

    def close(self) -> None:
        """Let go of what lies ready. Idempotent."""
        self.expect(machines=0, routers=0)

    def _take(self, shelf: _Shelf, names: Sequence[str]) -> list[Netspace]:
        with self._changed:
            taken = [shelf.ready.popleft() for _ in names[: len(shelf.ready)]]
            shelf.expected = max(0, shelf.expected - len(names))
            self._changed.notify()
        for one, name in zip(taken, names, strict=False):
            one.name = name
        try:
            return taken + netspace.create(names[len(taken) :], shelf.settings)
        except SonataError:
            for one in taken:
                one.close()
            raise

    def _make(self) -> None:
        """What the other thread does until nothing is expected any more."""
        while shelf := self._wanting():
            try:
                made = netspace.create([_UNUSED], shelf.settings)
            except SonataError:  # who needs one is told the reason
                return
            with self._changed:
                shelf.ready += made

    def _wanting(self) -> _Shelf | None:
        """The kind that is to be made next; None once nothing is expected."""
        shelves = (self.machines, self.routers)
        with self._changed:
            self._changed.wait_for(lambda: any(one.has_room for one in shelves) or not any(o.expected for o in shelves))
            wanting = [one for one in shelves if one.has_room]
            return min(wanting, key=lambda one: len(one.ready), default=None)

    def _clear(self) -> None:
        for shelf in (self.machines, self.routers):
            while shelf.ready:
                shelf.ready.pop().close()
