"""PoPs, the links between them, and the routes over them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface
from itertools import chain

import sonata.adapters.fabric_linux.requests as requests
from sonata._lib.ip import Address, Prefix
from sonata._lib.netlink import Request
from sonata.adapters.fabric_linux.cable import Cable, Cables, End
from sonata.adapters.fabric_linux.netspace import ROUTER_SETTINGS, Netspace, apply_each, create
from sonata.adapters.fabric_linux.probing import LinuxLinkProbe
from sonata.adapters.fabric_linux.undoing import undone_by
from sonata.adapters.fabric_linux.world import EXTERNAL_IFNAME, Bridge, Link, Pop, World
from sonata.errors import Conflict, NotFound
from sonata.model.topology import Impairment, both_ways
from sonata.ports.fabric import EXTERNAL, LinkSpec, LinkStatus, NetworkSpec, PopSpec, Reservation

_UNDERLAY_MTU = 1600
_NO_PROTOCOL, _ALL_PROTOCOLS = 0, 3


class LinuxUnderlay:
    """Implements `ports.fabric.Underlay`.

    Args:
        drop_contents: drops what other parts keep in PoPs: machines' ports, spans, routers, chains.
        restore_port: makes a machine's addresses and routes anew after its interface was replaced.
    """

    def __init__(
        self,
        world: World,
        cables: Cables,
        *,
        drop_contents: Callable[[Sequence[str]], None],
        restore_port: Callable[[str], None],
    ) -> None:
        self._world = world
        self._cables = cables
        self._drop_contents = drop_contents
        self._restore_port = restore_port

    def add_pops(self, pops: Sequence[PopSpec]) -> None:
        """Create namespaces with router, external bridge, forwarding on, IPv6 off."""
        missing = [spec for spec in pops if not _stands(self._world, spec)]
        netspaces = create([spec.name for spec in missing], ROUTER_SETTINGS)
        made = [
            Pop(spec, netspace, {EXTERNAL: _external_bridge(self._world, spec)})
            for spec, netspace in zip(missing, netspaces, strict=True)
        ]
        with undone_by(lambda: _drop(self._world, made)):
            apply_each((pop.netspace, request) for pop in made for request in _external_requests(pop))
            self._world.add_pops(made)

    def remove_pops(self, names: Sequence[str]) -> None:
        """Drop PoPs and all that is in them."""
        doomed = [name for name in dict.fromkeys(names) if name in self._world.pops]
        self._drop_contents(doomed)
        attached = [name for name, link in self._world.links.items() if link.spec.a in doomed or link.spec.b in doomed]
        self.remove_links(attached)
        for name in doomed:
            self._world.pops.pop(name).netspace.close()

    def add_links(self, links: Sequence[LinkSpec]) -> None:
        """Create links; packets pass with the declared impairment at return."""
        missing = [spec for spec in links if not self._link_stands(spec)]
        laid = {spec.name: Link(spec, self._plan(spec)) for spec in missing}
        self._cables.lay([link.cable for link in laid.values()])
        self._world.links.update(laid)
        with undone_by(lambda: self.remove_links([*laid])):
            apply_each(chain.from_iterable(_neighbours(link) for link in laid.values()))
            self._interfaces_changed(laid.values())

    def set_link(
        self, name: str, impairment: Impairment, reverse: Impairment | None = None, *, up: bool = True
    ) -> None:
        """Change a link while packets flow; also takes the id of an impaired port's access link."""
        if name in self._world.links:
            link = self._world.links[name]
            self._change(link.cable, both_ways(impairment, reverse), up, lambda: self._restore(link))
        elif name in self._world.ports:
            port = self._world.ports[name]

            def restore() -> None:
                self._restore_port(name)
                self._world.interfaces_changed(port.spec.pop)

            self._change(port.cable, both_ways(impairment, reverse), up, restore)
        else:
            known = ", ".join(sorted(self._world.links)[:10])
            raise NotFound(f"no link `{name}`", hint=f"links are {known}" if known else "there are no links")

    def _change(
        self, cable: Cable, wanted: tuple[Impairment, Impairment], up: bool, restore: Callable[[], None]
    ) -> None:
        """Change a cable, and have what depends on its interfaces restored where they were replaced."""
        before, was_up = cable.directions, cable.up

        def put_back() -> None:
            self._cables.change(cable, *before, up=was_up)
            restore()

        with undone_by(put_back):
            if self._cables.change(cable, *wanted, up=up):
                restore()

    def _restore(self, link: Link) -> None:
        self._restore_routes(link)
        self._interfaces_changed([link])

    def reserve(self, link: str, there: Mapping[int, Reservation], back: Mapping[int, Reservation]) -> None:
        """Keep this much of a link between PoPs free for spans, by VNI, and nothing for others."""
        if link not in self._world.links:
            raise NotFound(f"no link `{link}`", hint="there are those between PoPs")
        self._cables.reserve(self._world.links[link].cable, there, back)

    def remove_links(self, names: Sequence[str]) -> None:
        """Drop links."""
        doomed = [self._world.links[name] for name in dict.fromkeys(names) if name in self._world.links]
        self._cables.cut([link.cable for link in doomed])
        for link in doomed:
            del self._world.links[link.spec.name]
        _forget_routes(self._world, doomed)
        self._interfaces_changed(doomed)

    def set_routes(self, pop: str, routes: Mapping[IPv4Network, IPv4Address]) -> None:
        """Make these the PoP's routes to the other PoPs: destination network to next hop address."""
        standing = self._world.pop(pop)
        dead = _dead_networks(self._world, pop)
        gone = [
            requests.delete_route_via(destination, gateway)
            for destination, gateway in standing.routes.items()
            if destination not in routes
        ]
        new = [
            requests.route_via(destination, gateway)
            for destination, gateway in routes.items()
            if standing.routes.get(destination) != gateway and not (dead and _within(gateway, dead))
        ]
        before = standing.routes

        def put_back() -> None:
            further = [requests.delete_route_via(to, over) for to, over in routes.items() if to not in before]
            old = [requests.route_via(to, over) for to, over in before.items() if not (dead and _within(over, dead))]
            standing.routes = before
            standing.netspace.apply([*old, *further])
            self._world.routes_changed()

        with undone_by(put_back):
            # What is new comes first: no packet finds the moment in which neither is there.
            standing.netspace.apply(new + gone)
            standing.routes = dict(routes)
            self._world.routes_changed()

    def set_outside(self, pop: str, addresses: Sequence[IPv6Interface], routes: Mapping[Prefix, Address]) -> None:
        """Give the PoP's router these IPv6 addresses on its external network, and these routes over routers there."""
        standing, bridge = self._world.pop(pop), self._world.bridge(pop, EXTERNAL)
        if addresses:
            standing.netspace.enable_ipv6(("lo", bridge.ifname), forwarding=True)
        stay = [value for value in standing.outside if value in addresses]
        # Routes over an address go along with it, so that those that stay are made again.
        gone = [
            requests.delete_route_via(prefix, via)
            for prefix, via in standing.inward.items()
            if routes.get(prefix) != via
        ]
        gone += [
            requests.delete_address(bridge.index, bridge.ifname, value)
            for value in standing.outside
            if value not in addresses
        ]
        new = [requests.address(bridge.index, bridge.ifname, value) for value in addresses if value not in stay]
        new += [requests.route_via(prefix, via) for prefix, via in routes.items()]

        def put_back() -> None:
            further = [requests.delete_route_via(to, via) for to, via in routes.items() if to not in standing.inward]
            further += [
                requests.delete_address(bridge.index, bridge.ifname, value)
                for value in addresses
                if value not in standing.outside
            ]
            old = [requests.address(bridge.index, bridge.ifname, value) for value in standing.outside]
            old += [requests.route_via(to, via) for to, via in standing.inward.items()]
            standing.netspace.apply([*further, *old])

        with undone_by(put_back):
            standing.netspace.apply([*gone, *new])
        standing.outside, standing.inward = tuple(addresses), dict(routes)

    def set_guests(self, pop: str, guests: Mapping[IPv4Address, str], *, answers: bool) -> None:
        """Make these the addresses of other PoPs' external networks that are here, with their ports."""
        standing, bridge = self._world.pop(pop), self._world.bridge(pop, EXTERNAL)

        def lead(wanted: Iterable[IPv4Address], unwanted: Iterable[IPv4Address], *, answering: bool) -> None:
            standing.netspace.answer_for_others(bridge.ifname, wanted=answering)
            gone, here = (
                [requests.device_route(IPv4Network(address), bridge.index) for address in addresses]
                for addresses in (unwanted, wanted)
            )
            changes = [requests.delete_route(body, "route to a guest") for body in gone]
            changes += [requests.add_route(body, "route to a guest") for body in here]
            standing.netspace.apply(changes)

        before = standing.guests
        with undone_by(lambda: lead(before, guests.keys() - before.keys(), answering=standing.answers)):
            lead(guests, before.keys() - guests.keys(), answering=answers)
        standing.guests, standing.answers = dict(guests), answers

    def packet_socket(self, link: str) -> socket.socket:
        """A packet socket that sees both directions of a link or port, taken in its PoP."""
        end = self._seen_at(link)
        with end.netspace.entered():
            tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NO_PROTOCOL)
        tap.bind((end.ifname, _ALL_PROTOCOLS))
        return tap

    def _seen_at(self, name: str) -> End:
        if name in self._world.links:
            return self._world.links[name].cable.a
        if name not in self._world.ports:
            raise NotFound(f"no link or port `{name}` in the data plane")
        cable = self._world.ports[name].cable
        # A direct port is nowhere but in its machine.
        return cable.b if cable.card else cable.a

    def probe(self, link: str) -> LinuxLinkProbe:
        """Stand at both ends of a link, or of the access link of a port by its id, to measure it."""
        if link in self._world.links:
            spec = self._world.links[link].spec
            a, b = ((self._world.pop(pop).netspace, str(address.ip)) for pop, address in _feet(spec))
            return LinuxLinkProbe(link, a, b)
        port = self._world.ports.get(link)
        address = next((value.ip for value in port.spec.addresses if value.version == 4), None) if port else None
        if port is None or address is None or port.spec.network != EXTERNAL:
            raise NotFound(f"no link `{link}`", hint="there are those of the topology, and access links")
        pop = self._world.pop(port.spec.pop)
        return LinuxLinkProbe(link, (pop.netspace, str(pop.spec.external.ip)), (port.cable.b.netspace, str(address)))

    def link_status(self) -> Sequence[LinkStatus]:
        """Status of all links and of all impaired access links, by name."""
        links = [link.cable for link in self._world.links.values()]
        access = [port.cable for port in self._world.ports.values() if not _is_plain(port.cable)]
        return sorted(self._cables.statuses([*links, *access]), key=lambda status: status.name)

    def _link_stands(self, spec: LinkSpec) -> bool:
        for pop in (spec.a, spec.b):
            self._world.pop(pop)
        link = self._world.links.get(spec.name)
        if link and link.spec != spec:
            raise Conflict(f"link `{spec.name}` stands otherwise", hint="change its impairment by `set_link`")
        return link is not None

    def _plan(self, spec: LinkSpec) -> Cable:
        ifname = f"l{self._world.new_index()}"
        a, b = (
            End(self._world.pop(pop).netspace, ifname, _UNDERLAY_MTU, _mac(address), addresses=(address,))
            for pop, address in _feet(spec)
        )
        return Cable(spec.name, a, b, spec.impairment, spec.reverse)

    def _restore_routes(self, link: Link) -> None:
        """Interfaces that were down or replaced have lost their neighbours and the routes over them."""
        if not link.cable.up:
            return
        apply_each(_neighbours(link))
        for name, near in _feet(link.spec):
            pop = self._world.pop(name)
            over_link = [(to, over) for to, over in pop.routes.items() if over in near.network]
            pop.netspace.apply([requests.route_via(to, over) for to, over in over_link])

    def _interfaces_changed(self, links: Iterable[Link]) -> None:
        for pop in {name for link in links for name in (link.spec.a, link.spec.b)}:
            if pop in self._world.pops:
                self._world.interfaces_changed(pop)


def _forget_routes(world: World, links: Iterable[Link]) -> None:
    for link in links:
        for name, near in _feet(link.spec):
            pop = world.pops[name]
            pop.routes = {to: over for to, over in pop.routes.items() if over not in near.network}


def _external_bridge(world: World, spec: PopSpec) -> Bridge:
    mac = "0a:00:" + spec.external.ip.packed.hex(":")
    return Bridge(world.new_index(), EXTERNAL_IFNAME, NetworkSpec(EXTERNAL, spec.name), mac)


def _external_requests(pop: Pop) -> list[Request]:
    bridge = pop.bridges[EXTERNAL]
    return [
        requests.bridge(bridge.index, bridge.ifname, mtu=bridge.spec.mtu, mac=bridge.mac),
        requests.address(bridge.index, bridge.ifname, pop.spec.external),
    ]


def _feet(spec: LinkSpec) -> tuple[tuple[str, IPv4Interface], tuple[str, IPv4Interface]]:
    """A link's PoPs with its address in each."""
    return (spec.a, spec.address_a), (spec.b, spec.address_b)


def _mac(address: IPv4Interface) -> str:
    return "0a:01:" + address.ip.packed.hex(":")


def _neighbours(link: Link) -> Iterator[tuple[Netspace, Request]]:
    """Both ends know each other: resolving addresses would cost a round trip, and could be lost."""
    (near, index), (far, far_index) = link.cable.ends()
    here, there = link.spec.address_a, link.spec.address_b
    yield near.netspace, requests.neighbour(index, there.ip, far.mac, permanent=True)
    yield far.netspace, requests.neighbour(far_index, here.ip, near.mac, permanent=True)


def _within(gateway: IPv4Address, networks: Sequence[IPv4Network]) -> bool:
    return any(gateway in network for network in networks)


def _is_plain(cable: Cable) -> bool:
    return cable.up and cable.is_clean


def _drop(world: World, pops: Iterable[Pop]) -> None:
    for pop in pops:
        world.pops.pop(pop.spec.name, None)
        pop.netspace.close()


def _stands(world: World, spec: PopSpec) -> bool:
    pop = world.pops.get(spec.name)
    if pop and pop.spec != spec:
        raise Conflict(f"PoP `{spec.name}` stands with the external address {pop.spec.external}")
    return pop is not None


def _dead_networks(world: World, pop: str) -> list[IPv4Network]:
    return [
        address.network
        for link in world.links.values()
        if not link.cable.up
        for name, address in _feet(link.spec)
        if name == pop
    ]
