"""Interfaces that stand in the data plane, and how they follow when what they are made from changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address

from sonata.emulator.cloud.entities.network import Port, Subnet, interface_of
from sonata.emulator.cloud.network.places import Places
from sonata.emulator.cloud.site import Site
from sonata.ports.fabric import PortSpec, Route


class Standing:
    """Which ports are plugged into which machine of a site, and what they are to be like.

    `dress` adds to an interface what else the site wants there.
    """

    def __init__(self, site: Site, places: Places) -> None:
        self._site = site
        self._places = places
        self._tables = site.tables
        self._where: dict[str, tuple[str, str]] = {}
        self.dress: Callable[[Port, PortSpec], PortSpec] = _as_it_is

    def spec(self, machine: str, port_id: str, ifname: str, pop: str = "") -> PortSpec:
        """What the interface of a port in a machine is to be now, where the port is or in another PoP."""
        port = self._tables.ports.get(port_id)
        pop = pop or self._places.current(port_id)
        network = self._tables.networks.get(port.network_id)
        subnets = [self._tables.subnets.get(fixed.subnet_id) for fixed in port.fixed_ips]
        gateways = list(_gateways(port, subnets))
        spec = PortSpec(
            id=port.id,
            pop=pop,
            network=self._site.id_of(network, pop),
            machine=machine,
            ifname=ifname,
            mac=port.mac,
            addresses=tuple(interface_of(*pair) for pair in zip(subnets, port.fixed_ips, strict=True)),
            gateway=next((gateway for gateway in gateways if isinstance(gateway, IPv4Address)), None),
            mtu=network.mtu,
            gateway6=next((gateway for gateway in gateways if isinstance(gateway, IPv6Address)), None),
            routes=tuple(dict.fromkeys(_host_routes(port, subnets))),
            up=port.admin_state_up,
        )
        return self.dress(port, spec)

    def note(self, specs: Iterable[PortSpec]) -> None:
        """Remember interfaces that have been plugged in."""
        self._where.update({spec.id: (spec.machine, spec.ifname) for spec in specs})

    def forget(self, port_ids: Iterable[str]) -> None:
        """Forget interfaces that are gone; idempotent."""
        for port_id in port_ids:
            self._where.pop(port_id, None)

    async def follow(self, port_ids: Iterable[str]) -> None:
        """Bring standing interfaces of ports in line with the tables; they and their machines stay."""
        specs = [self.spec(machine, port_id, ifname) for port_id, machine, ifname in self._found(port_ids)]
        if specs:
            await self._site.plane.run(lambda fabric: fabric.machines.change_ports(specs))

    def _found(self, port_ids: Iterable[str]) -> Iterator[tuple[str, str, str]]:
        for port_id in port_ids:
            if port_id in self._where:
                yield (port_id, *self._where[port_id])


def _as_it_is(_port: Port, spec: PortSpec) -> PortSpec:
    return spec


def _gateways(port: Port, subnets: Sequence[Subnet]) -> Iterator[IPv4Address | IPv6Address]:
    """The gateways of a port's subnets; a port is no gateway of its own."""
    own = {fixed.address for fixed in port.fixed_ips}
    return (subnet.gateway_ip for subnet in subnets if subnet.gateway_ip and subnet.gateway_ip not in own)


def _host_routes(port: Port, subnets: Sequence[Subnet]) -> Iterator[Route]:
    own = {fixed.address for fixed in port.fixed_ips}
    for subnet in subnets:
        for route in subnet.host_routes:
            if route.nexthop not in own:
                yield Route(route.destination, route.nexthop)
