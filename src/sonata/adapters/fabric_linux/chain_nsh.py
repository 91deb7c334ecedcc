"""The chain renderer of network service headers (NSH, RFC 8300) over VXLAN-GPE, with Open vSwitch.

Each PoP that such a chain leads through has a switch of its own, the service function forwarder. Rules at interfaces
classify packets, as for all renderers, and hand them to it with the point of the service path that is next. It wraps
them, and forwards by path and index: to a function in this PoP, or to the PoP of the function.

A function that knows NSH gets the packet as it is, and gives it back with the index counted down. For one that does
not, the switch is the proxy: the function gets plain frames, and what it gives back is classified and wrapped again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import sonata.adapters.fabric_linux.chain_rules as chain_rules
import sonata.adapters.fabric_linux.nsh_flows as nsh_flows
from sonata._lib.values import dataclass
from sonata.adapters.fabric_linux.chain_rules import DROP, Door
from sonata.adapters.fabric_linux.nsh_flows import ENCAPSULATION, HATCH, TUNNEL_OVERHEAD
from sonata.adapters.fabric_linux.nsh_paths import Course, Paths, Waypoint
from sonata.adapters.fabric_linux.open_vswitch import missing_programs
from sonata.adapters.fabric_linux.requests import VXLAN_GPE_PORT
from sonata.errors import Unsupported
from sonata.ports.chain_rendering import Abilities, Flow, Rendering, Surroundings
from sonata.ports.fabric import EXTERNAL, ChainSpec, Hop, HopPort

_UNDERLAY_MTU = 1600
_LONGEST = 1500
"""Packets from outside are as long as that."""


@dataclass(frozen=True, slots=True)
class _Stop:
    """A function on a path, in one direction.

    Args:
        at: the point of the path.
        port: where packets go in.
        back: where it gives them back.
        knows_nsh: whether it takes them wrapped.
        onward: the point to which they go on without being looked at again; None where they are.
    """

    at: Waypoint
    port: HopPort
    back: HopPort
    knows_nsh: bool
    onward: Waypoint | None
    backward: bool

    @property
    def is_local(self) -> bool:
        """Whether it is in the chain's own PoP."""
        return bool(self.port.port_id)


@dataclass(frozen=True, slots=True)
class _Scene:
    """A chain, its stops, and those of the chains that it branches off to which packets return."""

    chain: ChainSpec
    around: Surroundings
    stops: tuple[_Stop, ...]
    before: tuple[_Stop, ...]
    ports: Mapping[str, int]

    def interface(self, port: HopPort) -> str | None:
        """The PoP's side of a port; None while there is none, or when it is elsewhere."""
        return self.around.interfaces.get(port.port_id)

    @property
    def steerable(self) -> Iterator[_Stop]:
        """The stops to which there is a way."""
        for stop in self.stops:
            if self.interface(stop.port) if stop.is_local else self.around.elsewhere(stop.port):
                yield stop

    @property
    def speaking(self) -> Iterator[_Stop]:
        """The stops in this PoP that know NSH."""
        for stop in self.stops:
            if stop.knows_nsh and self.interface(stop.port) and self.interface(stop.back):
                yield stop


class NshRenderer:
    """Implements `ports.chain_rendering.ChainRenderer`."""

    name = "nsh"
    purpose = "wraps each flow's packets in network service headers, over VXLAN-GPE between PoPs: Open vSwitch"
    abilities = Abilities(nsh=True)

    def __init__(self) -> None:
        self._paths = Paths()
        self._ids: dict[int, str] = {}
        self._ports: dict[str, int] = {}

    def why_not(self) -> str:
        """Its switches are Open vSwitch, run in user space: no kernel module is needed."""
        if missing := missing_programs():
            return f"Open vSwitch is not installed, package `openvswitch-switch`: no {', '.join(missing)}"
        return ""

    def render(self, number: int, chain: ChainSpec, around: Surroundings, standing: str) -> Rendering:
        """Rules that classify and hand over, and the flows of this PoP's switch."""
        _check_sizes(chain, around)
        self._ids[number] = chain.id
        self._paths.learn(chain)
        scene = self._scene(chain, around)
        flows = tuple(dict.fromkeys(_flows(scene)))
        rules = chain_rules.render(
            number,
            chain,
            around,
            standing,
            hand=partial(_hand, _ways(scene)),
            doors=_doors(scene),
            before=[*_tunnel_ends(scene), *_arrivals(scene), *_senders(scene)] if flows else [],
            behind=list(_exits(scene)),
        )
        course = self._paths.course(chain.id)
        return Rendering(rules, flows, depends_on_others=True, companions=course.others if course else frozenset())

    def remove(self, number: int) -> str:
        """Drop the chain's table."""
        self._paths.forget(self._ids.pop(number, ""))
        return chain_rules.remove(number) + "\n"

    def _scene(self, chain: ChainSpec, around: Surroundings) -> _Scene:
        before = [stop for one in chain.after for stop in self._stops(one) if _is_last(stop, one)]
        stops = tuple(self._stops(chain))
        ports = {stop.back.port_id: self._number(stop.back) for stop in stops if stop.is_local}
        return _Scene(chain, around, stops, tuple(before), ports)

    def _number(self, port: HopPort) -> int:
        return self._ports.setdefault(port.port_id, len(self._ports) + 1)

    def _stops(self, chain: ChainSpec) -> Iterator[_Stop]:
        course = self._paths.course(chain.id)
        if course is None:
            return
        for backward in (False, True) if chain.symmetric else (False,):
            for position, place in enumerate(chain.hops):
                onward = self._onward(chain, course, position, backward=backward)
                for hop in place.all:
                    at = self._paths.waypoint(course, position, hop.ingress.mac, backward=backward)
                    port, back = (hop.egress, hop.ingress) if backward else (hop.ingress, hop.egress)
                    yield _Stop(at, port, back, hop.knows_nsh, onward, backward)

    def _onward(self, chain: ChainSpec, course: Course, position: int, *, backward: bool) -> Waypoint | None:
        """Where what leaves a place goes: None if it has to be classified to know."""
        following = position - 1 if backward else position + 1
        if not 0 <= following < len(chain.hops) or not course.is_single(following):
            return None
        place = chain.hops[following]
        if place.alternatives or place.sticky or not place.weight:
            return None
        return self._paths.waypoint(course, following, place.ingress.mac, backward=backward)


def _is_last(stop: _Stop, chain: ChainSpec) -> bool:
    """Whether what leaves a stop may branch off, or what returns comes back to it."""
    ports = {port for hop in chain.hops[-1].all for port in (hop.ingress, hop.egress)}
    return stop.port in ports


def _ways(scene: _Scene) -> dict[tuple[HopPort, bool], Waypoint]:
    """How packets are marked for ports, as returning ones or not."""
    known = (*(stop for stop in scene.before if stop.backward), *scene.steerable)
    return {(stop.port, stop.backward): stop.at for stop in known}


def _hand(ways: Mapping[tuple[HopPort, bool], Waypoint], port: HopPort, backward: bool) -> str:
    to = ways.get((port, backward))
    return f'counter ether daddr set {nsh_flows.entry(to)} fwd to "{HATCH}"' if to else DROP


def _flows(scene: _Scene) -> Iterator[Flow]:
    pop, around = scene.chain.pop, scene.around
    for stop in scene.steerable:
        yield nsh_flows.entering(pop, stop.at)
        if stop.is_local:
            yield (nsh_flows.passing if stop.knows_nsh else nsh_flows.unwrapping)(pop, stop.at)
        elif found := around.elsewhere(stop.port):
            yield nsh_flows.crossing(pop, stop.at, around.routers[found.pop])
    for stop in scene.speaking:
        port, behind = scene.ports[stop.back.port_id], stop.at.behind
        yield nsh_flows.returning(pop, port)
        if stop.onward:
            yield nsh_flows.going_on(pop, port, behind, stop.onward)
        else:
            yield nsh_flows.leaving(pop, port, behind)


def _tunnel_ends(scene: _Scene) -> Iterator[tuple[str, str]]:
    """What other PoPs' switches send is for the switch of this PoP."""
    router = scene.around.routers[scene.chain.pop]
    for link in scene.around.links:
        yield (
            link,
            (
                f"udp dport {VXLAN_GPE_PORT} ip daddr {router} counter "
                f'ether daddr set {nsh_flows.SWITCH_MAC} fwd to "{HATCH}"'
            ),
        )


def _arrivals(scene: _Scene) -> Iterator[tuple[str, str]]:
    """What the switch hands to functions."""
    for stop in scene.stops:
        if interface := scene.interface(stop.port):
            told = f"ether daddr {nsh_flows.arrival(stop.at)}"
            yield HATCH, f'{told} counter ether daddr set {stop.port.mac} fwd to "{interface}"'


def _senders(scene: _Scene) -> Iterator[tuple[str, str]]:
    """What functions that know NSH hand to the switch."""
    for stop in scene.speaking:
        address = nsh_flows.sender(scene.ports[stop.back.port_id])
        rule = f'ether type {nsh_flows.ETHERTYPE:#x} counter ether daddr set {address} fwd to "{HATCH}"'
        yield scene.around.interfaces[stop.back.port_id], rule


def _doors(scene: _Scene) -> dict[str, Sequence[Door]]:
    """What functions that know NSH gave back, where it is looked at again."""
    doors: dict[str, list[Door]] = {}
    for stop in (*scene.speaking, *(one for one in scene.before if one.knows_nsh and not one.backward)):
        told = f"ether daddr {nsh_flows.departure(stop.at.behind)}"
        doors.setdefault(stop.back.port_id, []).append((HATCH, told))
    return {port: tuple(dict.fromkeys(known)) for port, known in doors.items()}


def _exits(scene: _Scene) -> Iterator[tuple[str, str]]:
    """What leaves a path behind a function that knows NSH goes to the router of the network where it comes out."""
    for stop in scene.speaking:
        told = f"ether daddr {nsh_flows.departure(stop.at.behind)} counter"
        router = scene.around.gateways.get(stop.back.port_id)
        if stop.onward:
            continue
        if stop.back.network == EXTERNAL:
            yield HATCH, f"{told} meta pkttype set host accept"
        elif router:
            yield HATCH, f'{told} ether daddr set {router.mac} fwd to "{router.name}"'
        else:
            yield HATCH, f"{told} drop"


def _check_sizes(chain: ChainSpec, around: Surroundings) -> None:
    """Refuse networks through which packets would not fit.

    Raises:
        Unsupported: telling which.
    """
    crosses = any(not port.port_id for place in chain.hops for hop in place.all for port in _ports(hop))
    for hop in (hop for place in chain.hops for hop in place.all):
        for port in _ports(hop):
            mtu = around.mtus.get(port.port_id)
            if mtu is None:
                continue
            if hop.knows_nsh and mtu < _LONGEST + ENCAPSULATION:
                raise Unsupported(
                    f"chain `{chain.id}` cannot lead to port `{port.port_id}` with network service headers: packets of "
                    f"{_LONGEST} bytes have {ENCAPSULATION} more there, and the largest of its network has {mtu}",
                    hint=f"give its network an MTU of at least {_LONGEST + ENCAPSULATION}, or let the function take "
                    "plain packets",
                )
            longest = mtu - ENCAPSULATION if hop.knows_nsh else mtu
            if crosses and longest + TUNNEL_OVERHEAD > _UNDERLAY_MTU:
                raise Unsupported(
                    f"chain `{chain.id}` cannot lead to other PoPs with network service headers: packets of {longest} "
                    f"bytes at port `{port.port_id}`, wrapped in {TUNNEL_OVERHEAD} more, do not pass the links, whose "
                    f"largest packet is {_UNDERLAY_MTU}",
                    hint=f"give its network an MTU of at most {mtu - longest + _UNDERLAY_MTU - TUNNEL_OVERHEAD}",
                )


def _ports(hop: Hop) -> tuple[HopPort, HopPort]:
    return hop.ingress, hop.egress
