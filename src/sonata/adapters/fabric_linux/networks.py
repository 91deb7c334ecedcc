"""Tenant networks of PoPs and the tunnels that join them over PoPs."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field, replace
from ipaddress import IPv4Address

import sonata.adapters.fabric_linux.listening as listening
import sonata.adapters.fabric_linux.requests as requests
from sonata._lib.ip import Address
from sonata._lib.netlink import Request
from sonata._lib.values import dataclass
from sonata.adapters.fabric_linux.cable import Cables
from sonata.adapters.fabric_linux.cards import Cards
from sonata.adapters.fabric_linux.guards import Guards
from sonata.adapters.fabric_linux.netspace import Netspace, apply_each
from sonata.adapters.fabric_linux.patches import Patches
from sonata.adapters.fabric_linux.routers_on_call import RoutersOnCall
from sonata.adapters.fabric_linux.undoing import undone_by
from sonata.adapters.fabric_linux.world import NETWORK_PREFIX, Bridge, World
from sonata.errors import Conflict, InvalidInput
from sonata.ports.fabric import EXTERNAL, NetworkSpec, PatchSpec, RouterSpec, SpanSpec

_EVERYBODY = "00:00:00:00:00:00"
_MAX_VNI = 2**24 - 1

Entry = tuple[str, IPv4Address]
"""A MAC address and the tunnel address behind which it is."""


@dataclass(slots=True)
class _Tunnel:
    """A span's tunnel end in one PoP.

    Args:
        in_doubt: whether some of its entries may not be there, since a change of them failed.
    """

    index: int
    network: str
    netspace: Netspace
    entries: set[Entry] = field(default_factory=set)
    in_doubt: bool = False


@dataclass(slots=True)
class _Span:
    spec: SpanSpec
    tunnels: dict[str, _Tunnel] = field(default_factory=dict)


class LinuxNetworks:
    """Implements `ports.fabric.Networks`."""

    def __init__(self, world: World, cables: Cables, cards: Cards, routers: RoutersOnCall, guards: Guards) -> None:
        self._world = world
        self._cables = cables
        self._cards = cards
        self._routers = routers
        self._guards = guards
        world.on_pops_added.append(self._refuse_forged)
        self._spans: dict[str, _Span] = {}
        self._patches = Patches(world, cables)

    def add_networks(self, networks: Sequence[NetworkSpec]) -> None:
        """Create bridges."""
        made = [_plan(self._world, spec) for spec in networks if not self._stands(spec)]
        for bridge in made:
            self._world.pop(bridge.spec.pop).bridges[bridge.spec.id] = bridge
        with undone_by(lambda: self.remove_networks([(bridge.spec.pop, bridge.spec.id) for bridge in made])):
            apply_each(
                (
                    self._world.pop(bridge.spec.pop).netspace,
                    requests.bridge(bridge.index, bridge.ifname, mtu=bridge.spec.mtu, mac=bridge.mac),
                )
                for bridge in made
            )
            self._guards.keep_apart(made)
            for bridge in made:
                if not bridge.spec.up:
                    _set_state(self._world, bridge, up=False)

    def change_network(self, network: NetworkSpec) -> None:
        """Change MTU or state of a bridge and of what is plugged into it, while packets flow."""
        bridge = self._world.bridge(network.pop, network.id)
        before, pop = bridge.spec, self._world.pop(network.pop)

        def change(spec: NetworkSpec) -> None:
            pop.bridges[spec.id] = now = replace(bridge, spec=spec)
            if network.mtu != before.mtu:
                self._resize(now)
            if network.up != before.up:
                _set_state(self._world, now, up=spec.up)

        with undone_by(lambda: change(before)):
            change(network)

    def _resize(self, bridge: Bridge) -> None:
        """Give a bridge, its ports and the routers' legs another MTU; the ports first, since the bridge follows."""
        spec = bridge.spec
        self._cards.resize(bridge)
        for port in self._world.ports.values():
            if (port.spec.pop, port.spec.network) == (spec.pop, spec.id):
                self._cables.resize(port.cable, spec.mtu)
                port.spec = replace(port.spec, mtu=spec.mtu)
                further = [requests.set_mtu(*one, spec.mtu) for one in port.further_interfaces]
                self._world.pop(spec.pop).netspace.apply(further)
        self._routers.resize_legs(spec)
        self._patches.resize(spec)
        pop = self._world.pop(spec.pop).netspace
        ends = [span.tunnels[spec.pop] for span in self._spans.values() if spec.pop in span.tunnels]
        pop.apply([requests.set_mtu(end.index, f"x{end.index}", spec.mtu) for end in ends if end.network == spec.id])
        pop.apply([requests.set_mtu(bridge.index, bridge.ifname, spec.mtu)])

    def remove_networks(self, networks: Sequence[tuple[str, str]]) -> None:
        """Drop bridges, given as (pop, network id)."""
        doomed: dict[str, dict[str, None]] = {}
        for pop, network in networks:
            if network == EXTERNAL:
                raise Conflict(f"the external network of PoP `{pop}` cannot be removed", hint="remove the PoP")
            if pop in self._world.pops and network in self._world.pop(pop).bridges:
                doomed.setdefault(pop, {})[network] = None
        for name, ids in doomed.items():
            known = self._world.pop(name)
            known.netspace.apply(requests.delete_links([known.bridges[one].index for one in ids]))
            for one in ids:
                del known.bridges[one]

    def listen(self, pop: str, network: str, addresses: Collection[Address]) -> socket.socket:
        """Hear who on a network looks for somebody; see the port."""
        bridge = self._world.bridge(pop, network)
        return listening.listen(self._world.pop(pop).netspace, bridge.ifname, addresses, for_services=True)

    def set_span(self, span: SpanSpec) -> None:
        """Create a span, or bring its members and stations up to date."""
        _check(self._world, self._spans, span)
        before = self._spans[span.id].spec if span.id in self._spans else None
        with undone_by(lambda: self._set_span(before) if before else self.remove_span(span.id)):
            self._set_span(span)

    def _set_span(self, span: SpanSpec) -> None:
        standing = self._spans.get(span.id)
        if standing and standing.spec.vni != span.vni:
            self.remove_span(span.id)
            standing = None
        now = standing or _Span(span)
        self._spans[span.id] = now
        self._refuse_forged()
        self._drop_tunnels(now, [pop for pop, tunnel in now.tunnels.items() if span.members.get(pop) != tunnel.network])
        for pop, network in span.members.items():
            if pop not in now.tunnels:
                now.tunnels[pop] = self._make_tunnel(span.vni, pop, network)
        self._fill(now, span)
        now.spec = span

    def remove_span(self, span_id: str) -> None:
        """Drop a span; the networks stay."""
        if span := self._spans.get(span_id):
            self._drop_tunnels(span, list(span.tunnels))
            del self._spans[span_id]

    def set_patch(self, patch: PatchSpec) -> None:
        """Join two networks; packets pass between them at return."""
        self._patches.set(patch)

    def remove_patch(self, patch_id: str) -> None:
        """Take them apart again; the networks stay."""
        self._patches.remove([patch_id])

    def set_router(self, router: RouterSpec) -> None:
        """Create a router, or change it to this specification."""
        self._routers.set(router)

    def remove_router(self, router_id: str) -> None:
        """Drop a router."""
        self._routers.remove(router_id)

    @property
    def missing_routers(self) -> Mapping[str, str]:
        """Routers that should stand and could not be made, with the reason."""
        return self._world.missing_routers

    def drop_contents(self, pops: Sequence[str]) -> None:
        """Drop the routers and patches of PoPs, and their ends of spans."""
        self._routers.drop_contents(pops)
        self._patches.drop_contents(pops)
        for span in self._spans.values():
            self._drop_tunnels(span, [pop for pop in pops if pop in span.tunnels])

    def _refuse_forged(self) -> None:
        """While there are spans, every PoP refuses forged tunnel packets; later PoPs, too."""
        if self._spans:
            self._guards.refuse_forged()

    def _stands(self, spec: NetworkSpec) -> bool:
        bridge = self._world.pop(spec.pop).bridges.get(spec.id)
        if bridge and bridge.spec != spec:
            raise Conflict(f"network `{spec.id}` of PoP `{spec.pop}` stands with MTU {bridge.spec.mtu}")
        return bridge is not None

    def _make_tunnel(self, vni: int, pop: str, network: str) -> _Tunnel:
        standing, bridge = self._world.pop(pop), self._world.bridge(pop, network)
        index = self._world.new_index()
        local, mtu = standing.spec.external.ip, bridge.spec.mtu
        made = requests.vxlan(index, f"x{index}", vni=vni, local=local, mtu=mtu, master=bridge.index)
        with undone_by(lambda: standing.netspace.apply(requests.delete_links([index]))):
            standing.netspace.apply([made])
        standing.netspace.synchronise(bridge.ifname)
        return _Tunnel(index, network, standing.netspace)

    def _drop_tunnels(self, span: _Span, pops: Sequence[str]) -> None:
        for pop in pops:
            tunnel = span.tunnels[pop]
            tunnel.netspace.apply(requests.delete_links([tunnel.index]))
            del span.tunnels[pop]

    def _fill(self, span: _Span, spec: SpanSpec) -> None:
        """Tell every tunnel end where broadcasts and the stations of the others go."""
        wanted: list[tuple[Netspace, Request]] = []
        entries: dict[str, set[Entry]] = {}
        for pop, tunnel in span.tunnels.items():
            entries[pop] = set(_entries(self._world, spec, pop))
            wanted += [(tunnel.netspace, request) for request in _entry_changes(tunnel, entries[pop])]
            tunnel.entries, tunnel.in_doubt = tunnel.entries | entries[pop], True
        apply_each(wanted)
        for pop, tunnel in span.tunnels.items():
            tunnel.entries, tunnel.in_doubt = entries[pop], False


def _check(world: World, spans: Mapping[str, _Span], span: SpanSpec) -> None:
    if not 0 < span.vni <= _MAX_VNI:
        raise InvalidInput(f"VNI {span.vni} of span `{span.id}` is out of range", hint=f"it may be 1 to {_MAX_VNI}")
    for pop, network in span.members.items():
        world.bridge(pop, network)
    for name, other in spans.items():
        if name != span.id and other.spec.vni == span.vni and other.tunnels.keys() & span.members.keys():
            raise Conflict(f"VNI {span.vni} of span `{span.id}` is used by span `{name}`")


def _entries(world: World, spec: SpanSpec, pop: str) -> Iterator[Entry]:
    """Where broadcasts, and the stations of the other members, are to be sent from a PoP."""
    for other in spec.members:
        if other == pop:
            continue
        remote = world.pop(other).spec.external.ip
        yield _EVERYBODY, remote
        for mac in spec.stations.get(other, ()):
            yield mac, remote


def _entry_changes(tunnel: _Tunnel, wanted: set[Entry]) -> Iterator[Request]:
    for mac, remote in sorted(tunnel.entries - wanted):
        yield from requests.delete_tunnel_entry(tunnel.index, mac, remote)
    for mac, remote in sorted(wanted if tunnel.in_doubt else wanted - tunnel.entries):
        yield from requests.add_tunnel_entry(tunnel.index, mac, remote)


def _set_state(world: World, bridge: Bridge, *, up: bool) -> None:
    """A bridge that is down passes nothing between its ports."""
    world.pop(bridge.spec.pop).netspace.apply([requests.set_up(bridge.index, bridge.ifname, up=up)])


def _plan(world: World, spec: NetworkSpec) -> Bridge:
    index = world.new_index()
    return Bridge(index, f"{NETWORK_PREFIX}{index}", spec, "0a:02:" + index.to_bytes(4, "big").hex(":"))
