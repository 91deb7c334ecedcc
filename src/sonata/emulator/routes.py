"""Routes between PoPs, kept in line with the links that are up: only what changes is told to the data plane."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network

from sonata._lib.values import dataclass
from sonata.emulator.addressing import external_network
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.events import EventLog
from sonata.emulator.routing import Edge, Routing, prefixes
from sonata.ports.fabric import Fabric

PopRoutes = dict[IPv4Network, IPv4Address]


@dataclass(frozen=True, slots=True)
class Way:
    """A link that may carry packets, as routes see it.

    Args:
        metric: its delay in seconds, which is what a path is chosen by.
        addresses: in its PoP `a`, and in its PoP `b`.
    """

    name: str
    a: str
    b: str
    metric: float
    addresses: tuple[IPv4Address, IPv4Address]

    def address_in(self, pop: str) -> IPv4Address:
        """Its address in one of its PoPs."""
        return self.addresses[0] if pop == self.a else self.addresses[1]


class Routes:
    """The routes of one emulation; a PoP's number is its place in `routing`."""

    def __init__(self, plane: DataPlane, events: EventLog) -> None:
        self._plane = plane
        self._events = events
        self._standing: dict[str, PopRoutes] = {}
        self.routing = Routing(0, ())
        self.changed_at = time.time()

    async def follow(self, numbers: Mapping[str, int], ways: Iterable[Way], guests: Mapping[IPv4Address, str]) -> None:
        """Lead packets over the shortest of these ways from now on.

        Args:
            numbers: of all PoPs that stand.
            ways: links that are up.
            guests: addresses that are in other PoPs than their network says, with the PoP of each.
        """
        usable = {way.name: way for way in ways}
        plan = _Plan(dict(numbers), usable, dict(guests))
        self.routing, wanted = await asyncio.to_thread(plan.compute)
        changed = {pop: routes for pop, routes in wanted.items() if routes != self._standing.get(pop, {})}

        def apply(fabric: Fabric) -> None:
            for pop, routes in changed.items():
                fabric.underlay.set_routes(pop, routes)

        await self._plane.run(apply)
        self._standing = wanted
        self.changed_at = time.time()
        if changed:
            self._events.tell("routes.changed", "", pops=sorted(changed))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What routes are computed from; runs in a thread."""

    numbers: Mapping[str, int]
    ways: Mapping[str, Way]
    guests: Mapping[IPv4Address, str]

    def compute(self) -> tuple[Routing, dict[str, PopRoutes]]:
        """Shortest paths, and the routes of each PoP that follow from them."""
        count = 1 + max(self.numbers.values(), default=-1)
        names = {number: name for name, number in self.numbers.items()}
        networks = [external_network(number) for number in range(count)]
        edges = [Edge(way.name, self.numbers[way.a], self.numbers[way.b], way.metric) for way in self.ways.values()]
        routing = Routing(count, edges)
        routes = {}
        for pop, number in self.numbers.items():
            hops = routing.next_hops(number)
            gateways = {hop: self._gateway(routing, number, hop, names[hop]) for hop in set(hops) if hop >= 0}
            places = {address: hops[self.numbers[place]] for address, place in self.guests.items()}
            roaming = {IPv4Network(address): gateways[hop] for address, hop in places.items() if hop in gateways}
            routes[pop] = prefixes(hops, number, networks, gateways) | roaming
        return routing, routes

    def _gateway(self, routing: Routing, number: int, hop: int, neighbour: str) -> IPv4Address:
        return self.ways[routing.edge_between(number, hop).name].address_in(neighbour)
