"""Neutron routers: namespaces that forward between their legs and translate addresses towards the outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Network, collapse_addresses
from itertools import chain

import sonata.adapters.fabric_linux.address_rates as address_rates
import sonata.adapters.fabric_linux.requests as requests
import sonata.adapters.fabric_linux.scope_rules as scope_rules
from sonata._lib.ip import Interface
from sonata._lib.values import dataclass
from sonata.adapters.fabric_linux.cable import Cable, Cables, End
from sonata.adapters.fabric_linux.netspace import Netspace
from sonata.adapters.fabric_linux.nftables import Nftables
from sonata.adapters.fabric_linux.undoing import undone_by
from sonata.adapters.fabric_linux.world import Gateway, World
from sonata.errors import SonataError
from sonata.model.topology import CLEAN
from sonata.ports.fabric import EXTERNAL, Forwarding, NetworkSpec, PortShape, RouterInterface, RouterSpec

_OUTSIDE = "ext"
_ANYWHERE, _ANYWHERE6 = IPv4Network("0.0.0.0/0"), IPv6Network("::/0")
_TABLE = "translation"
_TABLES = (f"ip {_TABLE}", f"inet {scope_rules.TABLE}")
_AFTER_TRANSLATION = 110


@dataclass(frozen=True, slots=True)
class _Leg:
    """What a leg of a router is to be."""

    network: str
    ifname: str
    mac: str
    addresses: tuple[Interface, ...]


@dataclass(slots=True)
class _Router:
    """A router; what is `in_doubt` is made again with the next change, since one has failed."""

    netspace: Netspace
    spec: RouterSpec
    legs: dict[_Leg, Cable] = field(default_factory=dict)
    floating: set[IPv4Address] = field(default_factory=set)
    shapes: Mapping[IPv4Address, PortShape] = field(default_factory=dict)
    rules: str = ""
    in_doubt: bool = False


class Routers:
    """Makes and changes routers."""

    def __init__(self, world: World, cables: Cables, nftables: Nftables) -> None:
        self._world = world
        self._cables = cables
        self._nftables = nftables
        self._routers: dict[str, _Router] = {}

    def stands(self, router_id: str) -> bool:
        """Whether there is a router of this id."""
        return router_id in self._routers

    def set(self, spec: RouterSpec) -> None:
        """Create a router, or change it to this specification; legs that stay are not touched."""
        try:
            self._bring(spec)
        except SonataError as error:
            if not self.stands(spec.id):
                self._world.missing_routers[spec.id] = error.message
            raise
        self._world.missing_routers.pop(spec.id, None)

    def _bring(self, spec: RouterSpec) -> None:
        self._world.pop(spec.pop)
        router = self._routers.get(spec.id)
        if router and router.spec.pop != spec.pop:
            self.remove(spec.id)
            router = None
        if router is None:
            (netspace,) = self._world.stock.router_spaces([f"router {spec.id}"])
            self._routers[spec.id] = router = _Router(netspace, spec)
            with undone_by(lambda: self.remove(spec.id)):
                self._set(router, spec)
        else:
            before = router.spec
            with undone_by(lambda: self._put_back(router, spec, before)):
                self._set(router, spec)

    def _set(self, router: _Router, spec: RouterSpec) -> None:
        self._change(router, spec)
        self._world.router_changed(spec.id, tuple(_gateways(router)))

    def _put_back(self, router: _Router, failed: RouterSpec, before: RouterSpec) -> None:
        """Make a router what it was, whatever a change that failed has come to."""
        router.spec, router.in_doubt = failed, True
        router.floating |= outer_addresses(failed)
        self._set(router, before)

    def remove(self, router_id: str) -> None:
        """Drop a router."""
        self._world.missing_routers.pop(router_id, None)
        if router := self._routers.get(router_id):
            self._cables.cut(list(router.legs.values()))
            del self._routers[router_id]
            router.netspace.close()
            self._world.router_changed(router_id, ())
        else:
            self._world.interfaces_changed()

    def resize_legs(self, network: NetworkSpec) -> None:
        """Give the legs into a network its MTU."""
        for router in self._routers.values():
            for leg, cable in router.legs.items():
                if (router.spec.pop, leg.network) == (network.pop, network.id):
                    self._cables.resize(cable, network.mtu)

    def drop_contents(self, pops: Sequence[str]) -> None:
        """Drop the routers of PoPs."""
        for router_id in [name for name, router in self._routers.items() if router.spec.pop in pops]:
            self.remove(router_id)

    def close(self) -> None:
        """Let go of all routers' namespaces."""
        for router in self._routers.values():
            router.netspace.close()
        self._routers.clear()

    def _change(self, router: _Router, spec: RouterSpec) -> None:
        wanted = {_wanted_leg(leg) for leg in spec.interfaces}
        if spec.external:
            wanted.add(_Leg(EXTERNAL, _OUTSIDE, spec.external_mac, (spec.external, *spec.external_further)))
        stale = [leg for leg in router.legs if leg not in wanted]
        self._cables.cut([router.legs[leg] for leg in stale])
        for leg in stale:
            del router.legs[leg]
        if any(leg.ifname == _OUTSIDE for leg in stale):
            router.floating.clear()
            router.shapes = {}
        new = {leg: self._plan(router, spec.pop, leg) for leg in wanted if leg not in router.legs}
        # Rules first: what comes for an address that is not translated yet would be refused by the router itself.
        self._set_rules(router, spec)
        self._cables.lay(list(new.values()))
        router.legs.update(new)
        self._set_outside(router, spec)
        self._set_routes(router, spec)
        self._set_rates(router, spec)
        self._announce(spec, new)
        router.spec, router.in_doubt = spec, False

    def _plan(self, router: _Router, pop: str, leg: _Leg) -> Cable:
        bridge = self._world.bridge(pop, leg.network)
        number = self._world.new_index()
        switch = End(self._world.pop(pop).netspace, f"r{number}", bridge.spec.mtu, master=(bridge.index, bridge.ifname))
        inside = End(router.netspace, leg.ifname, bridge.spec.mtu, leg.mac, addresses=leg.addresses, forwards=True)
        return Cable(f"{router.netspace.name} leg {number}", switch, inside, CLEAN)

    def _set_outside(self, router: _Router, spec: RouterSpec) -> None:
        """Default route and floating addresses of the external leg."""
        outside = next((cable for leg, cable in router.legs.items() if leg.ifname == _OUTSIDE), None)
        if outside is None:
            return
        index = outside.index_b
        floating = outer_addresses(spec)
        changes = [
            requests.delete_address(index, _OUTSIDE, IPv4Interface(address))
            for address in sorted(router.floating - floating)
        ]
        new = floating if router.in_doubt else floating - router.floating
        changes += [requests.address(index, _OUTSIDE, IPv4Interface(address)) for address in sorted(new)]
        if spec.external_gateway:
            body = requests.device_route(_ANYWHERE, index, gateway=spec.external_gateway)
            changes.append(requests.add_route(body, f"default route via {spec.external_gateway}"))
        if spec.external_gateway6:
            body = requests.device_route(_ANYWHERE6, index, gateway=spec.external_gateway6)
            changes.append(requests.add_route(body, f"default route via {spec.external_gateway6}"))
        router.netspace.apply(changes)
        for address in sorted(new):
            self._announce_outside(spec, address)
        router.floating = floating

    def _set_routes(self, router: _Router, spec: RouterSpec) -> None:
        """Further routes; all of them anew, since those over a leg that was replaced went with it."""
        gone = [route for route in router.spec.routes if route not in spec.routes]
        changes = [requests.delete_route_via(route.destination, route.via) for route in gone]
        changes += [requests.route_via(route.destination, route.via) for route in spec.routes]
        router.netspace.apply(changes)

    def _set_rules(self, router: _Router, spec: RouterSpec) -> None:
        rules = _rules(spec)
        if rules != router.rules:
            # Named before they are deleted, so that the first load finds something to delete.
            before = "".join(f"table {name}\ndelete table {name}\n" for name in _TABLES)
            self._nftables.load(router.netspace, before + rules)
            router.rules = rules

    def _set_rates(self, router: _Router, spec: RouterSpec) -> None:
        """Hold the rates of single addresses at both ends of the external leg, each where packets go in."""
        outside = next((cable for leg, cable in router.legs.items() if leg.ifname == _OUTSIDE), None)
        if outside is None or (spec.shapes == router.shapes and not router.in_doubt):
            return
        sent = {address: shape.egress for address, shape in spec.shapes.items() if shape.egress}
        taken = {address: shape.ingress for address, shape in spec.shapes.items() if shape.ingress}
        near, far = outside.a, outside.b
        far.netspace.apply(address_rates.hold(outside.index_b, far.ifname, sent, "source"))
        near.netspace.apply(address_rates.hold(outside.index_a, near.ifname, taken, "destination"))
        router.shapes = spec.shapes

    def _announce(self, spec: RouterSpec, legs: dict[_Leg, Cable]) -> None:
        pop = self._world.pop(spec.pop)
        for leg in legs:
            bridge = self._world.bridge(spec.pop, leg.network)
            for value in leg.addresses if leg.mac else ():
                pop.netspace.announce(bridge.ifname, leg.mac, value.ip)
        if spec.external and any(leg.ifname == _OUTSIDE for leg in legs):
            self._announce_outside(spec, spec.external.ip)

    def _announce_outside(self, spec: RouterSpec, address: IPv4Address) -> None:
        if not spec.external_mac:
            return
        pop = self._world.pop(spec.pop)
        bridge = pop.bridges[EXTERNAL]
        pop.netspace.announce(bridge.ifname, spec.external_mac, address)
        pop.netspace.apply([requests.neighbour(bridge.index, address, spec.external_mac)])


def _gateways(router: _Router) -> Iterator[Gateway]:
    for leg, cable in router.legs.items():
        if leg.network != EXTERNAL:
            addresses = tuple(value.ip for value in leg.addresses)
            near = cable.index_a, cable.a.ifname
            yield Gateway(router.spec.pop, leg.network, leg.mac, addresses, near)


def _ifname(interface: RouterInterface) -> str:
    return f"i{interface.mac.replace(':', '')}"


def _wanted_leg(interface: RouterInterface) -> _Leg:
    return _Leg(interface.network, _ifname(interface), interface.mac, interface.addresses)


def _rules(spec: RouterSpec) -> str:
    """Address translation: floating addresses one to one, inner sources behind the router's own address.

    A packet from inside to a floating address would be answered past the router; so its source is hidden, too.
    """
    return "\n".join(
        (
            f"table ip {_TABLE} {{",
            *_bypass(spec),
            "chain before { type nat hook prerouting priority dstnat; policy accept;",
            *map(_forwarding_rule, spec.forwardings),
            *(f"ip daddr {outer} dnat to {inner}" for outer, inner in sorted(spec.floating.items())),
            "}",
            "chain after { type nat hook postrouting priority srcnat; policy accept;",
            *_source_rules(spec),
            "}",
            *_marks(spec),
            "}",
            *scope_rules.table(spec, _OUTSIDE, _ifname, _masqueraded(spec)),
            "",
        )
    )


def _subnets(spec: RouterSpec) -> list[str]:
    """Inner IPv4 subnets, and those behind them, as nftables takes them in a set: none within another."""
    own = [value.network for leg in spec.interfaces for value in leg.addresses if isinstance(value, IPv4Interface)]
    behind = [
        route.destination
        for route in spec.routes
        if isinstance(route.destination, IPv4Network)
        and route.destination.prefixlen
        and any(route.via in network for network in own)
    ]
    return [str(network) for network in collapse_addresses(chain(own, behind))]


def _masqueraded(spec: RouterSpec) -> list[str]:
    """What is hidden behind the router's own address: all but what is in the external network's address scope."""
    if not spec.snat:
        return []
    scope, _ = spec.external_scopes
    return _subnets(
        replace(spec, interfaces=tuple(leg for leg in spec.interfaces if not scope or leg.scopes[0] != scope))
    )


def outer_addresses(spec: RouterSpec) -> set[IPv4Address]:
    """Addresses that the router answers for on the external network, besides its own."""
    return {*spec.floating, *(forwarding.outer for forwarding in spec.forwardings)}


def _forwarding_rule(forwarding: Forwarding) -> str:
    (outer, outer_last), (inner, inner_last) = forwarding.outer_ports, forwarding.inner_ports
    span = f"{outer}-{outer_last}" if outer_last > outer else str(outer)
    head = f"ip daddr {forwarding.outer} {forwarding.protocol} dport {span} dnat to {forwarding.inner}"
    if outer == inner:
        return head
    if outer_last == outer or inner == inner_last:
        return f"{head}:{inner}"
    pairs = ", ".join(f"{port} : {port - outer + inner}" for port in range(outer, outer_last + 1))
    return f"{head} : {forwarding.protocol} dport map {{ {pairs} }}"


def _bypass(spec: RouterSpec) -> Iterator[str]:
    """Packets between strangers, as those of chains, are never translated: do not spend connection tracking on them."""
    subnets = _subnets(spec)
    own = [str(spec.external.ip)] if spec.external else []
    known = ", ".join([*subnets, *own, *map(str, sorted(outer_addresses(spec)))])
    yield "chain strangers { type filter hook prerouting priority raw; policy accept;"
    if subnets:
        yield f"ip saddr != {{ {', '.join(subnets)} }} ip daddr != {{ {known} }} notrack"
    yield "}"


def _marks(spec: RouterSpec) -> Iterator[str]:
    """What leaves from an address has its mark, once it has that address."""
    marks = {address: shape.dscp for address, shape in sorted(spec.shapes.items()) if shape.dscp is not None}
    if marks:
        yield f"chain marks {{ type filter hook postrouting priority {_AFTER_TRANSLATION}; policy accept;"
        yield from (f'oifname "{_OUTSIDE}" ip saddr {one} ip dscp set {mark}' for one, mark in marks.items())
        yield "}"


def _source_rules(spec: RouterSpec) -> Iterator[str]:
    subnets = _subnets(spec)
    if not spec.external or not subnets:
        return
    inner = f"ip saddr {{ {', '.join(subnets)} }}"
    for outer, inside in sorted(spec.floating.items()):
        yield f'oifname "{_OUTSIDE}" ip saddr {inside} snat to {outer}'
    if hidden := _masqueraded(spec):
        yield f'oifname "{_OUTSIDE}" ip saddr {{ {", ".join(hidden)} }} snat to {spec.external.ip}'
    if spec.floating or spec.forwardings:
        yield f'oifname != "{_OUTSIDE}" {inner} ct status dnat masquerade'
