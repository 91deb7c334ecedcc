"""Plugging servers into the data plane and out of it again, with everything that follows from it."""

from __future__ import annotations

from collections.abc import Sequence

from sonata.emulator.cloud.entities.compute import Nic, Server
from sonata.emulator.cloud.network.filters import PortFilters
from sonata.emulator.cloud.network.ports import Ports
from sonata.emulator.cloud.network.standing import Standing
from sonata.emulator.cloud.network.steering import Steering
from sonata.emulator.cloud.site import Site
from sonata.ports.fabric import Fabric, PortCounters


class Wiring:
    """Machines and their ports in the data plane; chains and stations follow."""

    def __init__(self, site: Site, ports: Ports, steering: Steering, filters: PortFilters, standing: Standing) -> None:
        self._site = site
        self._tables = site.tables
        self._ports = ports
        self._steering = steering
        self._standing = standing
        self._filters = filters

    def machine_id(self, server_id: str) -> str:
        """The name of a server's machine in data plane and runtime."""
        return f"{self._site.pop.name}-{server_id}"

    async def plug(self, server: Server) -> str:
        """Create a server's network namespace with its ports; packets pass at return.

        Returns:
            The path of the namespace.
        """
        return await self.plug_machine(self.machine_id(server.id), server.nics)

    async def plug_port(self, server: Server, nic: Nic) -> None:
        """Add one port to a running server."""
        await self.plug_machine_port(self.machine_id(server.id), nic)

    async def unplug(self, server: Server) -> None:
        """Drop a server's network namespace and all that is in it; idempotent."""
        await self.unplug_machine(self.machine_id(server.id), [nic.port_id for nic in server.nics])

    async def plug_machine(self, machine: str, nics: Sequence[Nic]) -> str:
        """Create the network namespace of any machine with ports in it; idempotent.

        Returns:
            The path of the namespace.
        """
        specs = [self._standing.spec(machine, nic.port_id, nic.ifname) for nic in nics]

        def run(fabric: Fabric) -> str:
            fabric.machines.add_machines([machine])
            fabric.machines.add_ports(specs)
            return fabric.machines.netns_path(machine)

        await self._filters.plugging(nic.port_id for nic in nics)
        path = await self._site.plane.run(run)
        self._standing.note(specs)
        await self._mark([nic.port_id for nic in nics], plugged=True)
        return path

    async def plug_machine_port(self, machine: str, nic: Nic) -> None:
        """Add one port to a machine that stands; idempotent."""
        specs = [self._standing.spec(machine, nic.port_id, nic.ifname)]
        await self._filters.plugging([nic.port_id])
        await self._site.plane.run(lambda fabric: fabric.machines.add_ports(specs))
        self._standing.note(specs)
        await self._mark([nic.port_id], plugged=True)

    async def unplug_machine(self, machine: str, port_ids: Sequence[str]) -> None:
        """Drop a machine's network namespace and its ports in it; idempotent."""
        self._standing.forget(port_ids)
        await self._mark(port_ids, plugged=False)

        def run(fabric: Fabric) -> None:
            fabric.machines.remove_ports(port_ids)
            fabric.machines.remove_machines([machine])

        await self._site.plane.run(run)
        await self._filters.unplugged(port_ids)

    async def unplug_port(self, port_id: str) -> None:
        """Take one port out of a running server; idempotent."""
        self._standing.forget([port_id])
        await self._mark([port_id], plugged=False)
        await self._site.plane.run(lambda fabric: fabric.machines.remove_ports([port_id]))
        await self._filters.unplugged([port_id])

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
        await self._steering.ports_changed(port.id for port in changed)
        for network_id in dict.fromkeys(port.network_id for port in changed):
            await self._site.on_stations_changed(network_id)
