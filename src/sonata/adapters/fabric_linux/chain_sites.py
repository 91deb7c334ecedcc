"""What chains meet in the PoPs that stand: their interfaces, and the ways to other PoPs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from ipaddress import IPv4Address, ip_network

from sonata.adapters.fabric_linux.world import Bridge, Gateway, Link, Port, World
from sonata.ports.chain_rendering import Card, Elsewhere, Leg, Surroundings
from sonata.ports.fabric import EXTERNAL, HopPort


class ChainSites:
    """Describes PoPs to chain renderers."""

    def __init__(self, world: World) -> None:
        self._world = world

    def around(self, pop: str) -> Surroundings:
        """What chains meet in a PoP now."""
        known = self._world.ports.items()
        ports = {name: port for name, port in known if port.spec.pop == pop and not port.spec.direct}
        links = list(self._links(pop))
        access = [port.cable.a.ifname for port in ports.values() if port.spec.network == EXTERNAL]
        return Surroundings(
            interfaces={name: port.steered_end[1] for name, port in ports.items()},
            addresses={name: [ip_network(value.ip) for value in port.spec.addresses] for name, port in ports.items()},
            edge=[*(leg.out.name for leg in links), *access],
            cards={card.name: card for card in (*self._cards(ports), *(leg.out for leg in links))},
            bridges={name: _card(bridge) for name, bridge in self._world.pop(pop).bridges.items()},
            routers={name: other.spec.external.ip for name, other in self._world.pops.items()},
            mtus={name: port.spec.mtu for name, port in ports.items()},
            links=[leg.out.name for leg in links],
            gateways=dict(self._gateways(pop, ports)),
            elsewhere=partial(self._elsewhere, pop),
        )

    def _cards(self, ports: Mapping[str, Port]) -> Iterator[Card]:
        for port in ports.values():
            station = self._world.bridge(port.spec.pop, port.spec.network).mac
            for index, name in {port.steered_end, (port.cable.index_a, port.cable.a.ifname)}:
                yield Card(index, name, station)

    def _gateways(self, pop: str, ports: Mapping[str, Port]) -> Iterator[tuple[str, Card]]:
        """Ids of ports with the routers that their machines use, or could use."""
        known: dict[str, list[Gateway]] = {}
        for one in (gateway for several in self._world.gateways.values() for gateway in several):
            if one.pop == pop:
                known.setdefault(one.network, []).append(one)
        for name, port in ports.items():
            candidates = known.get(port.spec.network, [])
            used = [one for one in candidates if port.spec.gateway in one.addresses]
            if gateway := next(iter((*used, *candidates)), None):
                yield name, Card(*gateway.interface, gateway.mac)

    def _links(self, pop: str) -> Iterator[Leg]:
        """The links of a PoP, seen from it."""
        for link in self._world.links.values():
            if link.spec.a == pop:
                yield _leg(link)
            elif link.spec.b == pop:
                yield _reversed(_leg(link))

    def _elsewhere(self, pop: str, wanted: HopPort) -> Elsewhere | None:
        """Where a port of another PoP is, by its MAC address; of several, the one on a network of this name."""
        known = self._world.ports.items()
        found = {name: port for name, port in known if port.spec.mac == wanted.mac and port.spec.pop != pop}
        named = {name: port for name, port in found.items() if port.spec.network == wanted.network}
        if len(named or found) != 1:
            return None
        ((port_id, port),) = (named or found).items()
        return Elsewhere(port.spec.pop, port_id, tuple(self._way(pop, port.spec.pop)))

    def _way(self, start: str, goal: str) -> list[Leg]:
        """The links that packets take to a PoP now; none when they do not arrive."""
        router = self._world.pop(goal).spec.external.ip
        way: list[Leg] = []
        while (at := way[-1].next_pop if way else start) != goal:
            leg = self._towards(at, router)
            if leg is None or len(way) >= len(self._world.pops):
                return []
            way.append(leg)
        return way

    def _towards(self, pop: str, target: IPv4Address) -> Leg | None:
        matching = [network for network in self._world.pop(pop).routes if target in network]
        if not matching:
            return None
        gateway = self._world.pop(pop).routes[max(matching, key=lambda network: network.prefixlen)]
        for link in self._world.links.values():
            if link.cable.up and (link.spec.a, link.spec.address_b.ip) == (pop, gateway):
                return _leg(link)
            if link.cable.up and (link.spec.b, link.spec.address_a.ip) == (pop, gateway):
                return _reversed(_leg(link))
        return None


def _card(bridge: Bridge) -> Card:
    return Card(bridge.index, bridge.ifname, bridge.mac)


def _leg(link: Link) -> Leg:
    """A link from its first end to its second."""
    a, b = link.cable.a, link.cable.b
    return Leg(
        link.spec.a, Card(link.cable.index_a, a.ifname, a.mac), link.spec.b, Card(link.cable.index_b, b.ifname, b.mac)
    )


def _reversed(leg: Leg) -> Leg:
    return Leg(leg.next_pop, leg.into, leg.pop, leg.out)
