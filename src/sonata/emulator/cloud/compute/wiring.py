"""Plugging servers into the data plane and out of it again, with everything that follows from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, ip_address
from itertools import takewhile

from sonata._lib.together import to_the_end
from sonata.emulator.cloud.entities.compute import Nic, Server
from sonata.emulator.cloud.entities.network import DHCP_OWNER, SERVER_OWNER, Port, Subnet
from sonata.emulator.cloud.network.dhcp_ports import DhcpPorts
from sonata.emulator.cloud.network.footing import Footing
from sonata.emulator.cloud.network.names import DOMAIN
from sonata.emulator.cloud.network.ports import Ports
from sonata.emulator.cloud.network.qos import Qos
from sonata.emulator.cloud.network.standing import Standing
from sonata.emulator.cloud.network.steering import Steering
from sonata.emulator.cloud.site import Site
from sonata.emulator.cloud.turns import Turns
from sonata.ports.fabric import Fabric, PortCounters, PortSpec, Route

METADATA = IPv4Network("169.254.169.254/32")
MOST_NAMESERVERS = 3


class Wiring:
    """Machines and their ports in the data plane; chains and stations follow.

    While somebody has the turn of a server, nobody else plugs anything of it in or out.
    """

    def __init__(
        self, site: Site, ports: Ports, steering: Steering, footing: Footing, qos: Qos, standing: Standing
    ) -> None:
        self._site = site
        self._tables = site.tables
        self._ports = ports
        self._steering = steering
        self._standing = standing
        standing.dress = self._dressed
        self._footing = footing
        self._qos = qos
        self.dhcp_ports = DhcpPorts(site.tables, ports)
        self.turns = Turns()
        self.on_servers_moved: Callable[[str], Awaitable[None]] = _nobody_follows

    def machine_id(self, server_id: str) -> str:
        """The name of a server's machine in data plane and runtime."""
        return f"{self._site.pop.name}-{server_id}"

    async def open(self, server: Server) -> str:
        """Create a server's network namespace, which `plug` furnishes with its ports; idempotent.

        Returns:
            The path of the namespace.
        """
        async with self.turns.of(server.id):
            self.dhcp_ports.expect(nic.port_id for nic in self._tables.servers.get(server.id).nics)
            machine = self.machine_id(server.id)

            def run(fabric: Fabric) -> str:
                fabric.machines.add_machines([machine])
                return fabric.machines.netns_path(machine)

            return await self._site.plane.run(run)

    async def plug(self, server: Server) -> str:
        """Create a server's network namespace with its ports; packets pass at return.

        Returns:
            The path of the namespace.
        """
        async with self.turns.of(server.id):
            server = self._tables.servers.get(server.id)  # a port may have been deleted meanwhile
            pop = self._site.pop_of(server.host).name
            self._steering.check_ports({nic.port_id: pop for nic in server.nics})
            self.dhcp_ports.expect(nic.port_id for nic in server.nics)
            return await self.plug_machine(self.machine_id(server.id), server.nics)

    async def plug_port(self, server: Server, nic: Nic) -> None:
        """Add one port to a running server."""
        async with self.turns.of(server.id):
            self._steering.check_ports({nic.port_id: self._site.pop_of(server.host).name})
            self.dhcp_ports.expect([nic.port_id])
            await self.plug_machine(self.machine_id(server.id), [nic])

    async def unplug(self, server: Server) -> None:
        """Drop a server's network namespace and all that is in it; idempotent."""
        async with self.turns.of(server.id):
            server = self._tables.servers.peek(server.id) or server  # a port may be another server's meanwhile
            await self.unplug_machine(self.machine_id(server.id), [nic.port_id for nic in server.nics])

    async def plug_machine(self, machine: str, nics: Sequence[Nic]) -> str:
        """Create the network namespace of any machine with ports in it, or add ports to one that stands; idempotent.

        Returns:
            The path of the namespace.
        """
        await self._footing.prepare([nic.port_id for nic in nics])
        specs = [self._standing.spec(machine, nic.port_id, nic.ifname) for nic in nics]

        def run(fabric: Fabric) -> str:
            fabric.machines.add_machines([machine])
            fabric.machines.add_ports(specs)
            return fabric.machines.netns_path(machine)

        return await to_the_end(self._plug(specs, run))

    async def _plug(self, specs: Sequence[PortSpec], run: Callable[[Fabric], str]) -> str:
        """Have ports plugged in, and note it: whoever stopped in between would not know what stands."""
        path = await self._site.plane.run(run)
        self._standing.note(specs)
        await self._mark([spec.id for spec in specs], plugged=True)
        return path

    async def unplug_machine(self, machine: str, port_ids: Sequence[str]) -> None:
        """Drop a machine's network namespace and its ports in it; idempotent."""
        await to_the_end(self._unplug(port_ids, [machine]))

    async def unplug_port(self, port_id: str) -> None:
        """Take one port out of a running server; idempotent."""
        await to_the_end(self._unplug([port_id], []))

    async def _unplug(self, port_ids: Sequence[str], machines: Sequence[str]) -> None:
        def run(fabric: Fabric) -> None:
            fabric.machines.remove_ports(port_ids)
            fabric.machines.remove_machines(machines)

        self._standing.forget(port_ids)
        try:
            await self._mark(port_ids, plugged=False)
        finally:  # whoever cannot follow: what is told to be gone goes
            await self._site.plane.run(run)
            await self._footing.release(port_ids)

    async def hold(self, server: Server, *, held: bool) -> None:
        """Let no packet pass at a server's ports, or let them pass again."""
        ids = [nic.port_id for nic in server.nics]
        await self._site.plane.run(lambda fabric: fabric.machines.hold_ports(ids, held=held))

    async def counters(self, server: Server) -> dict[str, PortCounters]:
        """Counters of a server's interfaces by their name in it."""
        port_ids = [nic.port_id for nic in server.nics]
        found = await self._site.plane.run(lambda fabric: fabric.machines.counters(port_ids))
        return {nic.ifname: found[nic.port_id] for nic in server.nics if nic.port_id in found}

    async def _mark(self, port_ids: Sequence[str], *, plugged: bool) -> None:
        """Note that ports are plugged in or not; chains and stations follow."""
        changed = [port for port_id in port_ids if (port := self._tables.ports.peek(port_id))]
        changed = [port for port in changed if port.plugged is not plugged]
        for port in changed:
            self._tables.ports.change(port.id, plugged=plugged)
        if not changed:
            return
        await self._qos.follow()
        await self._steering.ports_changed(port.id for port in changed)
        for network_id in dict.fromkeys(port.network_id for port in changed):
            await self._site.on_stations_changed(network_id)
        for network_id in dict.fromkeys(port.network_id for port in changed if port.device_owner == SERVER_OWNER):
            await self.on_servers_moved(network_id)

    def nameservers(self, subnet: Subnet) -> list[IPv4Address]:
        """Who resolves names for a subnet's hosts: whom its owner named, else the network's own service."""
        if subnet.dns_nameservers:
            known = (ip_address(server) for server in subnet.dns_nameservers)
            return [server for server in known if isinstance(server, IPv4Address)]
        own = self.dhcp_ports.address_in(subnet)
        return [own] if own else []

    def host_routes(self, subnet: Subnet) -> tuple[tuple[IPv4Network, IPv4Address], ...]:
        """IPv4 routes of a subnet's hosts besides the default one: to the metadata service, and those of its owner."""
        own = tuple(
            (route.destination, route.nexthop)
            for route in subnet.host_routes
            if isinstance(route.destination, IPv4Network) and isinstance(route.nexthop, IPv4Address)
        )
        return (*self._metadata_route(subnet), *own)

    def _metadata_route(self, subnet: Subnet) -> tuple[tuple[IPv4Network, IPv4Address], ...]:
        own = self.dhcp_ports.address_in(subnet)
        return ((METADATA, own),) if own else ()

    def resolver(self, server: Server) -> str:
        """What a server's resolv.conf(5) says."""
        ports = filter(None, (self._tables.ports.peek(nic.port_id) for nic in server.nics))
        found = (name for port in ports for subnet in self._ports.subnets(port) for name in self.nameservers(subnet))
        lines = [f"nameserver {address}\n" for address in list(dict.fromkeys(found))[:MOST_NAMESERVERS]]
        return "".join((f"search {DOMAIN}\n", *lines)) if lines else ""

    def _dressed(self, port: Port, spec: PortSpec) -> PortSpec:
        """An interface with what the services of its network add to it."""
        routes = tuple(self._routes(port, self._ports.subnets(port)))
        return replace(spec, addresses=(*spec.addresses, *_further(port)), routes=(*routes, *spec.routes))

    def _routes(self, port: Port, subnets: Sequence[Subnet]) -> Iterator[Route]:
        """Routes of a server over one of its ports; to the metadata service it is the first that has one."""
        server = self._tables.servers.peek(port.device_id)
        before = (nic.port_id for nic in server.nics) if server else iter(())
        earlier = [self._tables.ports.get(port_id) for port_id in takewhile(lambda other: other != port.id, before)]
        if server is None or any(
            self._metadata_route(subnet) for other in earlier for subnet in self._ports.subnets(other)
        ):
            return
        for destination, via in next(filter(None, map(self._metadata_route, subnets)), ()):
            yield Route(destination, via)


def _further(port: Port) -> tuple[IPv4Interface, ...]:
    """What else is answered at a port: the metadata service, where a network is served."""
    return (IPv4Interface(METADATA),) if port.device_owner == DHCP_OWNER else ()


async def _nobody_follows(_network_id: str) -> None:
    pass
