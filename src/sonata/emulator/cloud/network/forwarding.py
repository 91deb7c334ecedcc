"""Port forwardings of floating IPs: ports of an outer address that lead to ports of an inner one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sonata.emulator.cloud.entities.network import FloatingIp, PortForwarding
from sonata.emulator.cloud.network.routers import FloatingIps, Routers
from sonata.emulator.cloud.rollback import undone_on_failure
from sonata.emulator.cloud.site import Site
from sonata.errors import Conflict, InvalidInput


class PortForwardings:
    """The port forwardings of one cloud; a router translates them."""

    def __init__(self, site: Site, routers: Routers, floating_ips: FloatingIps) -> None:
        self._tables = site.tables
        self._table = site.tables.port_forwardings
        self._routers = routers
        self._floating_ips = floating_ips

    async def create(self, forwarding: PortForwarding) -> PortForwarding:
        """Forward ports; connections to them arrive inside at return.

        Raises:
            InvalidInput: the port has no such address, or outer ports are forwarded already.
            Conflict: the floating IP leads to a port as a whole.
        """
        placed = self._placed(forwarding)
        self._table.add(placed)
        with undone_on_failure(lambda: self._table.remove(placed.id)):
            await self._apply(placed)
        return placed

    async def update(self, forwarding_id: str, **changes: Any) -> PortForwarding:
        """Change a forwarding; on failure it stays as it was."""
        before = self._table.get(forwarding_id)
        placed = self._placed(replace(before, **changes))
        changes["router_id"] = placed.router_id
        after = self._table.change(forwarding_id, **changes)
        with undone_on_failure(lambda: self._table.put_back(before, changes)):
            await self._apply(after)
        return after

    async def delete(self, forwarding_id: str) -> None:
        """Forward these ports no more."""
        forwarding = self._table.get(forwarding_id)
        self._table.remove(forwarding_id)
        await self._apply(forwarding)

    def of(self, floating: FloatingIp) -> tuple[PortForwarding, ...]:
        """The forwardings of a floating IP."""
        return tuple(one for one in self._table if one.floating_ip_id == floating.id)

    async def _apply(self, forwarding: PortForwarding) -> None:
        await self._routers.apply(self._tables.routers.get(forwarding.router_id))

    def _placed(self, forwarding: PortForwarding) -> PortForwarding:
        """A forwarding with the router that is to do it."""
        floating = self._tables.floating_ips.get(forwarding.floating_ip_id)
        if floating.port_id:
            raise Conflict(f"Floating IP {floating.id} is associated with port {floating.port_id} as a whole.")
        port = self._tables.ports.get(forwarding.port_id)
        subnet_id = next((one.subnet_id for one in port.fixed_ips if one.address == forwarding.inner_address), "")
        if not subnet_id:
            raise InvalidInput(f"Port {port.id} does not have fixed ip address {forwarding.inner_address}")
        self._check(forwarding, floating)
        return replace(forwarding, router_id=self._floating_ips.router_to(floating, subnet_id, port.id))

    def _check(self, forwarding: PortForwarding, floating: FloatingIp) -> None:
        first, last = forwarding.outer_ports
        inner_first, inner_last = forwarding.inner_ports
        if last - first != inner_last - inner_first:
            raise InvalidInput("Invalid input for operation: internal and external port ranges differ in length.")
        for other in self.of(floating):
            apart = other.outer_ports[1] < first or last < other.outer_ports[0]
            if other.id != forwarding.id and other.protocol == forwarding.protocol and not apart:
                raise InvalidInput(
                    "Bad port_forwarding request: A duplicate port forwarding entry with same attributes already "
                    f"exists, conflicting values are {forwarding.protocol} {first}:{last}."
                )
