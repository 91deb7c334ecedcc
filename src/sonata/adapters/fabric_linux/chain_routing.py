"""The chain renderer for functions that are IP routers: policy routing in the PoP, flow by flow.

Rules at interfaces mark the packets of a flow with the number of the function's port that is next, and give them to
the PoP's IP layer. A routing table of the same number leads there, over a next hop that stands for the port: an address
of 169.254.0.0/16 (RFC 3927) that nobody asks for, since the port's MAC address is told to the kernel with it. So
functions need no address in common with anything, no function knows a neighbour, and each PoP on the way counts as a
hop, as routers do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network

import sonata.adapters.fabric_linux.chain_rules as chain_rules
import sonata.adapters.fabric_linux.requests as requests
from sonata.adapters.fabric_linux.chain_rules import DROP, Hand
from sonata.errors import QuotaExceeded
from sonata.ports.chain_rendering import Abilities, Card, Rendering, Step, Surroundings
from sonata.ports.fabric import ChainSpec, HopPort

ANYWHERE = IPv4Network("0.0.0.0/0")
NEXT_HOPS = IPv4Network("169.254.0.0/16")
_MOST = 0xFFFF
_KEEP_MARKS = "meta mark & 0x30000000 != 0 accept"
"""A chain that branches off this one has taken this packet before."""


class Numbers:
    """Numbers of functions' ports: the same one for the same port, unique in a fabric.

    Filters of ports use the bits 0x07000000 of marks; they are none of ours.

    Args:
        first: marks and tables begin here, so that those of several renderers are apart.
    """

    def __init__(self, first: int) -> None:
        self._first = first
        self._known: dict[tuple[str, ...], int] = {}

    def mark(self, *identity: str) -> int:
        """Mark of packets for a port, and number of the table that leads there.

        Raises:
            QuotaExceeded: there are no more.
        """
        number = self._known.setdefault(identity, len(self._known) + 1)
        if number > _MOST:
            raise QuotaExceeded(
                f"chains have led to {_MOST} ports in the life of this emulation", hint="start the emulation anew"
            )
        return self._first + number

    def next_hop(self, mark: int) -> IPv4Address:
        """The address that stands for a port."""
        return NEXT_HOPS[mark - self._first]


class RoutedRenderer:
    """Implements `ports.chain_rendering.ChainRenderer`: functions forward as routers do, over one port or two."""

    name = "routed"
    purpose = "routes each flow's packets through functions that are routers, by tables of the PoP"
    abilities = Abilities(ipv6=False)

    def __init__(self) -> None:
        self._numbers = Numbers(0x10000000)

    def why_not(self) -> str:
        """Policy routing is in every kernel that forwards; rules tell when a kernel was built without it."""
        return ""

    def render(self, number: int, chain: ChainSpec, around: Surroundings, standing: str) -> Rendering:
        """Rules that mark, and a table for each port that packets are led to."""
        ways = {port: card for port in ports_of(chain) if (card := self._behind(port, around))}
        marks = {port: self._mark(chain.pop, port) for port in ways}
        steps = [*exempt(chain.pop)]
        steps += [step for port, card in ways.items() for step in self._way(chain.pop, marks[port], card, port.mac)]
        return Rendering(marking_rules(number, chain, around, standing, marks), tuple(dict.fromkeys(steps)))

    def remove(self, number: int) -> str:
        """Drop the chain's table."""
        return chain_rules.remove(number) + "\n"

    def _mark(self, pop: str, port: HopPort) -> int:
        return self._numbers.mark(pop, port.port_id, port.mac, port.network)

    def _behind(self, port: HopPort, around: Surroundings) -> Card | None:
        """The interface behind which a port is; in another PoP it is behind the bridge, which knows the tunnel."""
        if not port.port_id:
            return around.bridges.get(port.network)
        return around.cards.get(around.interfaces.get(port.port_id, ""))

    def _way(self, pop: str, mark: int, card: Card, mac: str) -> Iterator[Step]:
        via = self._numbers.next_hop(mark)
        body = requests.device_route(ANYWHERE, card.index, gateway=via, table=mark, on_link=True)
        yield known_neighbour(pop, card, via, mac)
        yield Step(pop, requests.add_route(body, "way to a function"), requests.delete_route(body, "way to a function"))
        yield marked(pop, mark)


def ports_of(chain: ChainSpec) -> list[HopPort]:
    """The ports that a chain leads packets to."""
    places = [*chain.hops, *(before.hops[-1] for before in chain.after)]
    ports: Iterable[HopPort] = (port for place in places for hop in place.all for port in (hop.ingress, hop.egress))
    return list(dict.fromkeys(ports))


def marking_rules(
    number: int, chain: ChainSpec, around: Surroundings, standing: str, marks: Mapping[HopPort, int]
) -> str:
    """Rules that give packets to the PoP's IP layer, with the mark of their next port; what has one keeps it."""
    return chain_rules.render(
        number, chain, around, standing, hand=_marking(marks), tables=[_stations(around)], first=[_KEEP_MARKS]
    )


def _marking(marks: Mapping[HopPort, int]) -> Hand:
    def hand(port: HopPort, _backward: bool) -> str:
        if port not in marks:
            return DROP
        return f"counter meta mark set {marks[port]:#x} ether daddr set iifname map @stations accept"

    return hand


def _stations(around: Surroundings) -> str:
    """The map of MAC addresses behind which the PoP's IP layer is, by interface."""
    known = ", ".join(f'"{card.name}" : {card.mac}' for card in around.cards.values())
    elements = f"elements = {{ {known} }}" if known else ""
    return f"map stations {{\ntype ifname : ether_addr\n{elements}\n}}"


def exempt(pop: str) -> Iterator[Step]:
    """Tunnels inherit the marks of what is in them, and what is unwrapped keeps its own: neither is to follow them."""
    for body in (requests.own_packets_rule(), requests.destination_rule(NEXT_HOPS)):
        yield Step(pop, requests.add_rule(body, "rule of chains"), requests.delete_rule(body, "rule of chains"))


def marked(pop: str, mark: int) -> Step:
    """Have marked packets follow the table of the mark."""
    body = requests.mark_rule(mark)
    return Step(pop, requests.add_rule(body, "rule of a chain"), requests.delete_rule(body, "rule of a chain"))


def known_neighbour(pop: str, card: Card, address: IPv4Address, mac: str) -> Step:
    """Tell who has the address that stands for a port."""
    return Step(
        pop,
        requests.neighbour(card.index, address, mac, permanent=True),
        requests.delete_neighbour(card.index, address),
    )
