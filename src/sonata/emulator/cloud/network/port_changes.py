"""Changes of ports, with everything that follows from them: interfaces, routers, floating IPs, chains."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sonata.emulator.cloud.entities.network import DHCP_OWNER, Port
from sonata.emulator.cloud.network.ports import AddressWish, Ports
from sonata.emulator.cloud.network.routers import FloatingIps, Routers
from sonata.emulator.cloud.network.standing import Standing
from sonata.emulator.cloud.site import Site


class PortChanges:
    """Changes ports of one cloud while machines use them.

    `on_service_port_changed` is awaited with a network's service port that has other addresses.
    """

    def __init__(
        self, site: Site, ports: Ports, standing: Standing, routers: Routers, floating_ips: FloatingIps
    ) -> None:
        self._tables = site.tables
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
        before = self._tables.ports.get(port_id)
        after = self._ports.update(port_id, wishes, **changes)
        if (before.fixed_ips, before.admin_state_up) == (after.fixed_ips, after.admin_state_up):
            return after
        await self._standing.follow([port_id])
        if after.device_owner == DHCP_OWNER:
            await self.on_service_port_changed(after)
        await self._routers.follow_port(after)
        await self._release_floating(after)
        return after

    async def _release_floating(self, port: Port) -> None:
        """Floating IPs that led to an address which the port has no more lead nowhere."""
        addresses = {fixed.address for fixed in port.fixed_ips}
        for floating in self._tables.floating_ips:
            if floating.port_id == port.id and floating.fixed_address not in addresses:
                await self._floating_ips.associate(floating.id, "")


async def _nobody_follows(_port: Port) -> None:
    pass
