"""Routers of IPv4 that are made when somebody calls them: who sends anything to a router has to look for it first.

A router that waits costs a packet socket on each of its networks, and an interface that stands in for its own on the
external one: a bridge on which nobody is has no carrier, and what is sent there is never heard. All of these lead to
one namespace that answers nothing.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, suppress

import sonata.adapters.fabric_linux.listening as listening
import sonata.adapters.fabric_linux.requests as requests
from sonata._lib.closing import close_together
from sonata._lib.ip import Address
from sonata._lib.values import dataclass
from sonata.adapters.fabric_linux.netspace import MACHINE_SETTINGS, Netspace, create
from sonata.adapters.fabric_linux.routers import Routers, outer_addresses
from sonata.adapters.fabric_linux.undoing import undone_by
from sonata.adapters.fabric_linux.world import World
from sonata.errors import SonataError
from sonata.ports.fabric import EXTERNAL, NetworkSpec, RouterSpec

_LONGEST = 1 << 16


@dataclass(slots=True)
class _Waiting:
    """A router that waits, with its sockets at which callers are heard.

    Args:
        stand_in: index of the interface that stands in for its own on the external network; 0 for none.
    """

    spec: RouterSpec
    ears: tuple[socket.socket, ...]
    stand_in: int = 0


class RoutersOnCall:
    """Has routers made when they are called, or at once where nobody answers calls.

    In a PoP that has or had a router, none waits: stations there may know an address by another router's MAC address.

    Args:
        wanted: whether routers wait.
    """

    def __init__(self, world: World, routers: Routers, *, wanted: bool) -> None:
        self._world = world
        self._routers = routers
        self._wanted = wanted
        self._waiting: dict[str, _Waiting] = {}
        self._callers = select.epoll()
        self._called: dict[int, str] = {}
        self._nowhere: Netspace | None = None
        self._busy: set[str] = set()

    @property
    def calls(self) -> int:
        """A descriptor that is readable while somebody calls a router that waits."""
        return self._callers.fileno()

    def set(self, spec: RouterSpec) -> None:
        """Have a router wait to be called, or change one that waits or stands."""
        if not self._wanted or spec.pop in self._busy or self._routers.stands(spec.id) or not _may_wait(spec):
            self._busy.add(spec.pop)
            self._routers.set(spec)
            self._forget(spec.id)
            return
        waiting = self._waiting.get(spec.id)
        if waiting is None or waiting.spec != spec:
            self._wait(spec, waiting)

    def _wait(self, spec: RouterSpec, before: _Waiting | None) -> None:
        """Have a router wait from now on; its interface on the external network stays."""
        now = _Waiting(spec, self._listen(spec))
        if spec.external and before and before.stand_in and before.spec.pop == spec.pop:
            before.stand_in, now.stand_in = 0, before.stand_in
        elif spec.external:
            with undone_by(lambda: self._dismiss(now)):
                now.stand_in = self._stand_in(spec)
        if before:
            self._give_up(before)
        self._waiting[spec.id] = now
        for ear in now.ears:
            self._called[ear.fileno()] = spec.id
            self._callers.register(ear, select.EPOLLIN)

    def wait_no_more(self, pop: str) -> None:
        """Have all routers of a PoP stand from now on: chains hand packets to them without looking for them first."""
        self._busy.add(pop)
        for waiting in [one for one in self._waiting.values() if one.spec.pop == pop]:
            self._make(waiting)

    def answer(self) -> None:
        """Make the routers that are called, and have the calls answered.

        Raises:
            PermanentError, Unsupported, QuotaExceeded: one could not be made; it waits for the next call.
        """
        called = dict.fromkeys(self._called[descriptor] for descriptor, _ in self._callers.poll(0))
        failures: list[SonataError] = []
        for router_id in called:
            try:
                self._make(self._waiting[router_id])
            except SonataError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def remove(self, router_id: str) -> None:
        """Drop a router."""
        self._forget(router_id)
        self._routers.remove(router_id)

    def resize_legs(self, network: NetworkSpec) -> None:
        """Give the legs into a network its MTU."""
        self._routers.resize_legs(network)

    def drop_contents(self, pops: Sequence[str]) -> None:
        """Drop the routers of PoPs."""
        for router_id in [name for name, waiting in self._waiting.items() if waiting.spec.pop in pops]:
            self._forget(router_id)
        self._routers.drop_contents(pops)
        self._busy -= set(pops)

    def close(self) -> None:
        """Let go of everything."""
        close_together([ear for waiting in self._waiting.values() for ear in waiting.ears])
        self._callers.close()
        if self._nowhere:
            self._nowhere.close()
        self._routers.close()

    def _make(self, waiting: _Waiting) -> None:
        self._busy.add(waiting.spec.pop)
        try:
            self._routers.set(waiting.spec)
        except SonataError:
            for ear in waiting.ears:
                _hear_out(ear)
            raise
        for ear in waiting.ears:
            for call in _hear_out(ear):
                with suppress(OSError):  # the network is down: who called calls again
                    ear.send(call)
        self._forget(waiting.spec.id)

    def _forget(self, router_id: str) -> None:
        """Have a router wait no more; where stand-ins lead to goes with the last of them."""
        if waiting := self._waiting.pop(router_id, None):
            self._give_up(waiting)
            if self._nowhere and not any(one.stand_in for one in self._waiting.values()):
                self._nowhere.close()
                self._nowhere = None

    def _give_up(self, waiting: _Waiting) -> None:
        for ear in waiting.ears:
            del self._called[ear.fileno()]
        self._dismiss(waiting)

    def _dismiss(self, waiting: _Waiting) -> None:
        """Let go of what there is of a router that waits; its PoP may be gone."""
        close_together(waiting.ears)
        if waiting.stand_in and waiting.spec.pop in self._world.pops:
            self._world.pop(waiting.spec.pop).netspace.apply(requests.delete_links([waiting.stand_in]))

    def _stand_in(self, spec: RouterSpec) -> int:
        """Make an interface on the external network that leads nowhere, and return its index."""
        if self._nowhere is None:
            (self._nowhere,) = create(["routers that wait"], MACHINE_SETTINGS)
        pop, bridge = self._world.pop(spec.pop).netspace, self._world.bridge(spec.pop, EXTERNAL)
        near, far = self._world.new_index(), self._world.new_index()
        ifname = f"w{near}"
        made = requests.veth(near, ifname, far, ifname, self._nowhere.descriptor, mtu=bridge.spec.mtu)
        with undone_by(lambda: pop.apply(requests.delete_links([near]))):
            pop.apply([made, requests.enslave(near, ifname, bridge.index), requests.set_up(near, ifname)])
            self._nowhere.apply([requests.set_up(far, ifname)])
        pop.synchronise(ifname)
        pop.synchronise(bridge.ifname)
        return near

    def _listen(self, spec: RouterSpec) -> tuple[socket.socket, ...]:
        netspace = self._world.pop(spec.pop).netspace
        with ExitStack() as opened:
            ears = tuple(
                opened.enter_context(listening.listen(netspace, self._world.bridge(spec.pop, network).ifname, sought))
                for network, sought in _sought(spec)
            )
            opened.pop_all()
            return ears


def _hear_out(ear: socket.socket) -> list[bytes]:
    """What was heard."""
    calls: list[bytes] = []
    with suppress(OSError):  # nothing is left
        while True:
            calls.append(ear.recv(_LONGEST))
    return calls


def _may_wait(spec: RouterSpec) -> bool:
    """Whether a router's first packet gets its answer although the router waits: the kernel takes its time for IPv6."""
    own = [value.ip for leg in spec.interfaces for value in leg.addresses]
    return all(address.version == 4 for address in own) and not spec.external_further


def _sought(spec: RouterSpec) -> Iterator[tuple[str, Collection[Address]]]:
    """A router's networks with its addresses there."""
    for leg in spec.interfaces:
        yield leg.network, [value.ip for value in leg.addresses]
    if spec.external:
        yield EXTERNAL, [spec.external.ip, *outer_addresses(spec)]
