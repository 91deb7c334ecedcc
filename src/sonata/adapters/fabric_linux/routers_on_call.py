"""Routers of IPv4 that are made when somebody calls them: who sends anything to a router has to look for it first.

A router that waits costs a packet socket on each of its networks, and an interface that stands in for its own on the
external one: a bridge on which nobody is has no carrier, and what is sent there is never heard. All of these lead to
one namespace that answers nothing.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import field

import sonata.adapters.fabric_linux.listening as listening
import sonata.adapters.fabric_linux.requests as requests
from sonata._lib.ip import Address
from sonata._lib.packet_sockets import close_together, heard_by, say_again
from sonata._lib.values import dataclass
from sonata.adapters.fabric_linux.netspace import MACHINE_SETTINGS, Netspace, create
from sonata.adapters.fabric_linux.routers import Routers, outer_addresses
from sonata.adapters.fabric_linux.undoing import undone_by
from sonata.adapters.fabric_linux.world import World
from sonata.errors import SonataError
from sonata.ports.fabric import EXTERNAL, NetworkSpec, RouterSpec


@dataclass(slots=True)
class _Waiting:
    """A router that waits, with the sockets at which callers are heard, by network.

    Args:
        stand_in: index of the interface that stands in for its own on the external network; 0 for none.
    """

    spec: RouterSpec
    ears: dict[str, socket.socket] = field(default_factory=dict)
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
            close_together(self._forget(spec.id))
        elif (waiting := self._waiting.get(spec.id)) is None:
            self._wait(_Waiting(spec), spec)
        elif waiting.spec != spec:
            self._wait(waiting, spec)

    def _wait(self, waiting: _Waiting, spec: RouterSpec) -> None:
        """Have a router wait from now on; ears that it still needs stay open, since closing and opening takes long."""
        sought = _sought(spec)
        with ExitStack() as opened:
            new = {
                network: opened.enter_context(self._listen(spec.pop, network, sought[network]))
                for network in sought.keys() - waiting.ears.keys()
            }
            for network in sought.keys() & waiting.ears.keys():
                listening.listen_for(waiting.ears[network], sought[network])
            if spec.external and not waiting.stand_in:
                with undone_by(self._keep_nowhere_while_needed):
                    waiting.stand_in = self._stand_in(spec)
            opened.pop_all()
        for ear in new.values():
            self._called[ear.fileno()] = spec.id
            self._callers.register(ear, select.EPOLLIN)
        waiting.ears |= new
        waiting.spec = spec
        self._waiting[spec.id] = waiting
        close_together(self._silence(waiting, waiting.ears.keys() - sought.keys()))

    def wait_no_more(self, pop: str) -> None:
        """Have all routers of a PoP stand from now on: chains hand packets to them without looking for them first."""
        self._busy.add(pop)
        for waiting in [one for one in self._waiting.values() if one.spec.pop == pop]:
            close_together(self._make(waiting))

    def answer(self) -> None:
        """Make the routers that are called, and have the calls answered.

        Raises:
            PermanentError, Unsupported, QuotaExceeded: one could not be made; it waits for the next call.
        """
        called = dict.fromkeys(self._called[descriptor] for descriptor, _ in self._callers.poll(0))
        failures: list[SonataError] = []
        done: list[socket.socket] = []
        for router_id in called:
            try:
                done += self._make(self._waiting[router_id])
            except SonataError as error:
                failures.append(error)
        close_together(done)
        if failures:
            raise failures[0]

    def remove(self, router_id: str) -> None:
        """Drop a router."""
        close_together(self._forget(router_id))
        self._routers.remove(router_id)

    def resize_legs(self, network: NetworkSpec) -> None:
        """Give the legs into a network its MTU."""
        self._routers.resize_legs(network)

    def drop_contents(self, pops: Sequence[str]) -> None:
        """Drop the routers of PoPs."""
        gone = [name for name, waiting in self._waiting.items() if waiting.spec.pop in pops]
        close_together([ear for router_id in gone for ear in self._forget(router_id)])
        self._routers.drop_contents(pops)
        self._busy -= set(pops)

    def close(self) -> None:
        """Let go of everything."""
        close_together([ear for waiting in self._waiting.values() for ear in waiting.ears.values()])
        self._callers.close()
        if self._nowhere:
            self._nowhere.close()
        self._routers.close()

    def _make(self, waiting: _Waiting) -> list[socket.socket]:
        """Make a router that waited and have its callers answered; gives back its ears, which are to be closed."""
        self._busy.add(waiting.spec.pop)
        try:
            self._routers.set(waiting.spec)
        except SonataError:
            for ear in waiting.ears.values():
                heard_by(ear)
            raise
        for ear in waiting.ears.values():
            say_again(ear)
        return self._forget(waiting.spec.id)

    def _forget(self, router_id: str) -> list[socket.socket]:
        """Have a router wait no more; gives back its ears, which are to be closed."""
        waiting = self._waiting.pop(router_id, None)
        return self._silence(waiting, list(waiting.ears)) if waiting else []

    def _silence(self, waiting: _Waiting, networks: Collection[str]) -> list[socket.socket]:
        """Hear nothing on networks any more; gives back the ears there, which are to be closed together with others."""
        ears = [waiting.ears.pop(network) for network in networks]
        for ear in ears:
            self._callers.unregister(ear)
            del self._called[ear.fileno()]
        if EXTERNAL in networks:
            self._drop_stand_in(waiting)
        return ears

    def _drop_stand_in(self, waiting: _Waiting) -> None:
        """Drop the interface that stands in for a router's; the PoP may be gone."""
        if waiting.spec.pop in self._world.pops:
            self._world.pop(waiting.spec.pop).netspace.apply(requests.delete_links([waiting.stand_in]))
        waiting.stand_in = 0
        self._keep_nowhere_while_needed()

    def _keep_nowhere_while_needed(self) -> None:
        """Where stand-ins lead to goes with the last of them."""
        if self._nowhere and not any(one.stand_in for one in self._waiting.values()):
            self._nowhere.close()
            self._nowhere = None

    def _stand_in(self, spec: RouterSpec) -> int:
        """Make an interface on the external network that leads nowhere, and return its index."""
        if not self._nowhere:
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

    def _listen(self, pop: str, network: str, sought: Collection[Address]) -> socket.socket:
        return listening.listen(self._world.pop(pop).netspace, self._world.bridge(pop, network).ifname, sought)


def _may_wait(spec: RouterSpec) -> bool:
    """Whether a router's first packet gets its answer although the router waits: the kernel takes its time for IPv6."""
    own = [value.ip for leg in spec.interfaces for value in leg.addresses]
    return all(address.version == 4 for address in own) and not spec.external_further


def _sought(spec: RouterSpec) -> Mapping[str, Collection[Address]]:
    """The addresses for which a router is looked for, by network."""
    sought: dict[str, list[Address]] = {EXTERNAL: [spec.external.ip, *outer_addresses(spec)]} if spec.external else {}
    for leg in spec.interfaces:
        sought.setdefault(leg.network, []).extend(value.ip for value in leg.addresses)
    return sought
