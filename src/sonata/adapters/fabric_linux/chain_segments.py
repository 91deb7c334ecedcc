"""The chain renderer of segment routing over IPv6 (SRv6, RFC 8986), programmed at the edges alone.

Each port that a chain leads to is a segment of its PoP. Where a flow's packets are met they are wrapped in IPv6 with
the segment of the next port (H.Encaps), cross the links as IPv6, and are unwrapped in front of that port (End.DX4). So
functions see plain IPv4: the PoP on both sides of a function is its proxy, and PoPs between forward IPv6 and know
nothing of chains. Links speak IPv6 only where such a chain passes.

A PoP's segments lie in a /64 that is made of its router's address; wrapping adds 64 bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

import sonata.adapters.fabric_linux.chain_rules as chain_rules
import sonata.adapters.fabric_linux.requests as requests
import sonata.adapters.fabric_linux.segment_requests as segment_requests
from sonata._lib.values import dataclass
from sonata.adapters.fabric_linux.chain_routing import (
    ANYWHERE,
    Numbers,
    exempt,
    known_neighbour,
    marked,
    marking_rules,
    ports_of,
)
from sonata.errors import Unsupported
from sonata.ports.chain_rendering import Abilities, Card, Leg, Rendering, SpeakIPv6, Step, Surroundings
from sonata.ports.fabric import ChainSpec, HopPort

OVERHEAD = 64
"""Bytes of an IPv6 header and of a routing header with one segment."""
_UNDERLAY_MTU = 1600
_PREFIX = int(IPv6Address("fd53:7236::"))
_PROC = "/proc/sys/net/ipv6/conf/all/seg6_enabled"
_ANCHOR = "srv6"
_FIRST_ANCHOR = 1_500_000_000
"""Indexes of anchors are far from all others."""


@dataclass(frozen=True, slots=True)
class _Target:
    """A port as the end of a wrapped way."""

    mark: int
    pop: str
    card: Card | None
    mac: str
    way: tuple[Leg, ...] = ()


class SegmentRenderer:
    """Implements `ports.chain_rendering.ChainRenderer`."""

    name = "srv6"
    purpose = "wraps each flow's packets for the next function: segment routing over IPv6"
    abilities = Abilities(ipv6=False)

    def __init__(self) -> None:
        self._numbers = Numbers(0x20000000)

    def why_not(self) -> str:
        """The kernel has to know segment routing."""
        return "" if os.path.exists(_PROC) else "the kernel has no segment routing (options IPV6_SEG6_LWTUNNEL)"

    def render(self, number: int, chain: ChainSpec, around: Surroundings, standing: str) -> Rendering:
        """Rules that mark, a wrapping table for each port, and a segment for each port that is here."""
        targets = {port: found for port in ports_of(chain) if (found := self._target(chain.pop, port, around))}
        for port in targets:
            _check_size(chain, port, around)
        steps = [*exempt(chain.pop), *_anchored(chain.pop, around.routers[chain.pop])]
        for target in targets.values():
            steps += self._wrapping(chain.pop, target, around.routers)
            steps += self._arrival(target, around.routers) if target.card else _ways(target, around.routers)
        marks = {port: target.mark for port, target in targets.items()}
        rules = marking_rules(number, chain, around, standing, marks)
        reaches_out = any(not port.port_id for port in ports_of(chain))
        return Rendering(rules, tuple(dict.fromkeys(steps)), depends_on_others=reaches_out)

    def remove(self, number: int) -> str:
        """Drop the chain's table."""
        return chain_rules.remove(number) + "\n"

    def _target(self, pop: str, port: HopPort, around: Surroundings) -> _Target | None:
        if port.port_id:
            card = around.cards.get(around.interfaces.get(port.port_id, ""))
            return _Target(self._numbers.mark(pop, port.port_id), pop, card, port.mac) if card else None
        found = around.elsewhere(port)
        if found is None or not found.way:
            return None
        return _Target(self._numbers.mark(found.pop, found.port_id), found.pop, None, port.mac, found.way)

    def _segment(self, target: _Target, routers: Mapping[str, IPv4Address]) -> IPv6Address:
        return locator(routers[target.pop])[target.mark]

    def _wrapping(self, pop: str, target: _Target, routers: Mapping[str, IPv4Address]) -> Iterator[Step]:
        segment = self._segment(target, routers)
        body = segment_requests.wrapping_route(ANYWHERE, _anchor_index(routers[pop]), [segment], target.mark)
        yield _route(pop, body, f"way to segment {segment}")
        yield marked(pop, target.mark)

    def _arrival(self, target: _Target, routers: Mapping[str, IPv4Address]) -> Iterator[Step]:
        """What is unwrapped goes to the port over a next hop that stands for it."""
        if target.card is None:
            return
        segment, via = self._segment(target, routers), self._numbers.next_hop(target.mark)
        yield known_neighbour(target.pop, target.card, via, target.mac)
        hop = requests.device_route(IPv4Network(via), target.card.index, gateway=via, on_link=True)
        yield _route(target.pop, hop, f"next hop of segment {segment}")
        body = segment_requests.unwrapping_route(segment, _anchor_index(routers[target.pop]), via)
        yield _route(target.pop, body, f"segment {segment}")


def locator(router: IPv4Address) -> IPv6Network:
    """The segments of a PoP, by its router's address."""
    return IPv6Network((_PREFIX | int(router) << 64, 64))


def _anchor_index(router: IPv4Address) -> int:
    return _FIRST_ANCHOR + (int(router) >> 8 & 0xFFFF)


def _anchored(pop: str, router: IPv4Address) -> Iterator[Step | SpeakIPv6]:
    """An interface that segments, and the source address of what is wrapped, belong to."""
    index = _anchor_index(router)
    (gone,) = requests.delete_links([index])
    yield Step(pop, requests.anchor(index, _ANCHOR), gone)
    yield SpeakIPv6(pop, _ANCHOR)
    yield Step(pop, requests.address(index, _ANCHOR, IPv6Interface((locator(router)[1], 128))))


def _ways(target: _Target, routers: Mapping[str, IPv4Address]) -> Iterator[Step | SpeakIPv6]:
    """IPv6 along the links to a PoP, and its segments routed there."""
    prefix = locator(routers[target.pop])
    for leg in target.way:
        via = _link_local(leg.into.mac)
        yield SpeakIPv6(leg.pop, leg.out.name)
        yield SpeakIPv6(leg.next_pop, leg.into.name)
        yield Step(
            leg.pop,
            requests.neighbour(leg.out.index, via, leg.into.mac, permanent=True),
            requests.delete_neighbour(leg.out.index, via),
        )
        yield _route(leg.pop, requests.device_route(prefix, leg.out.index, gateway=via), f"way to {target.pop}")


def _route(pop: str, body: bytes, subject: str) -> Step:
    return Step(pop, requests.add_route(body, subject), requests.delete_route(body, subject))


def _link_local(mac: str) -> IPv6Address:
    """An address that stands for the other end of a link."""
    return IPv6Address(int(IPv6Address("fe80::")) | int(mac.replace(":", ""), 16))


def _check_size(chain: ChainSpec, port: HopPort, around: Surroundings) -> None:
    mtu = around.mtus.get(port.port_id, 0)
    if mtu + OVERHEAD > _UNDERLAY_MTU:
        raise Unsupported(
            f"chain `{chain.id}` cannot lead to port `{port.port_id}` by segments: packets of {mtu} bytes, wrapped in "
            f"{OVERHEAD} more, do not pass the links, whose largest packet is {_UNDERLAY_MTU}",
            hint=f"give its network an MTU of at most {_UNDERLAY_MTU - OVERHEAD}, or use the renderer `steering`",
        )
