"""Changes of ports, with everything that follows from them: interfaces, routers, floating IPs, chains."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from sonata.emulator.cloud.entities.network import DHCP_OWNER, Port
from sonata.emulator.cloud.network.ports import AddressWish, Ports
from sonata.emulator.cloud.network.routers import FloatingIps, Routers
from sonata.emulator.cloud.network.standing import Standing
from sonata.emulator.cloud.site import Site
from sonata.emulator.cloud.turns import Turns


class PortChanges:
    """Changes ports of one cloud while machines use them.

    `on_service_port_changed` is awaited with a network's service port that has other addresses.

    Args:
        turns: of servers, in which their ports are plugged in and out.
    """

    def __init__(
        self, site: Site, turns: Turns, ports: Ports, standing: Standing, routers: Routers, floating_ips: FloatingIps
    ) -> None:
        self._tables = site.tables
        self._turns = turns
        self._ports = ports
        self._standing = standing
        self._routers = routers
        self._floating_ips = floating_ips
        self.on_service_port_changed: Callable[[Port], Awaitable[None]] = _nobody_follows

    async def update(self, port_id: str, wishes: Sequence[AddressWish] | None = None, **changes: Any) -> Port:
        """Change a port; the machine that it is plugged into has its new addresses and state at return.

        Raises:
            PortBound, PortInUse: as `Ports.update`.
        """
        # Whoever is about to plug it in would do so as it was.
        async with self._turns.of(self._tables.ports.get(port_id).device_id or port_id):
            return await self._update(port_id, wishes, changes)

    async def _update(self, port_id: str, wishes: Sequence[AddressWish] | None, changes: Mapping[str, Any]) -> Port:
        before = self._tables.ports.get(port_id)
        after = self._ports.update(port_id, wishes, **changes)
        if after.device_id != before.device_id:
            self._take_from(before.device_id, port_id)
        if (before.fixed_ips, before.admin_state_up) == (after.fixed_ips, after.admin_state_up):
            return after
        if after.device_owner == DHCP_OWNER:  # first: services that are about to come do so as they were
            await self.on_service_port_changed(after)
        await self._standing.follow([port_id])
        await self._routers.follow_port(after)
        await self._release_floating(after)
        return after

    def _take_from(self, server_id: str, port_id: str) -> None:
        """Have a server know a port no more that is another device's now; it would plug it in, or out there."""
        if server := self._tables.servers.peek(server_id):
            kept = tuple(nic for nic in server.nics if nic.port_id != port_id)
            self._tables.servers.change(server_id, nics=kept)

    async def _release_floating(self, port: Port) -> None:
        """Floating IPs that led to an address which the port has no more lead nowhere."""
        addresses = {fixed.address for fixed in port.fixed_ips}
        for floating in self._tables.floating_ips:
            if floating.port_id == port.id and floating.fixed_address not in addresses:
                await self._floating_ips.associate(floating.id, "")


async def _nobody_follows(_port: Port) -> None:
    pass
