"""The ports from which a network is served: DHCP, names, metadata. Neutron shows them as `network:dhcp`.

A network has one as soon as a server is plugged into it, with an address in each subnet of IPv4 that has DHCP enabled.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address

from sonata._lib.ip import Address
from sonata.emulator.cloud.entities.network import DHCP_OWNER, AddressRange, Port, Subnet
from sonata.emulator.cloud.network.ports import AddressWish, Ports
from sonata.emulator.cloud.tables import Tables
from sonata.errors import SonataError

logger = logging.getLogger(__name__)


class DhcpPorts:
    """The service ports of one cloud's networks."""

    def __init__(self, tables: Tables, ports: Ports) -> None:
        self._tables = tables
        self._ports = ports

    def find(self, network_id: str) -> Port | None:
        """A network's service port; None when it has none."""
        for port in self._tables.ports:
            if port.network_id == network_id and port.device_owner == DHCP_OWNER:
                return port
        return None

    def address_in(self, subnet: Subnet) -> IPv4Address | None:
        """From where a subnet is served; None when it is not."""
        port = self.find(subnet.network_id)
        for fixed in port.fixed_ips if port else ():
            if fixed.subnet_id == subnet.id and isinstance(fixed.address, IPv4Address):
                return fixed.address
        return None

    def ensure(self, network_id: str) -> None:
        """See to it that a network which needs a service port has one; a full subnet goes without."""
        if self.find(network_id) or not (wishes := self.wishes(network_id)):
            return
        port = Port(
            project_id=self._tables.networks.get(network_id).project_id,
            network_id=network_id,
            device_id=f"dhcp-{network_id}",
            device_owner=DHCP_OWNER,
        )
        try:
            self._ports.create(port, wishes)
        except SonataError as error:
            logger.warning("a network goes without DHCP", extra={"network": network_id, "cause": str(error)})

    def expect(self, port_ids: Iterable[str]) -> None:
        """Let the networks that a server comes to by these ports have theirs, whose addresses it is to know."""
        for port_id in port_ids:
            self.ensure(self._tables.ports.get(port_id).network_id)

    def wishes(self, network_id: str, but: str = "") -> list[AddressWish]:
        """Addresses for a network's service port in all subnets that are to be served, `but` one.

        It keeps those that it has; others come from the end of the pools, so that servers count from the beginning.
        """
        if self._tables.networks.get(network_id).external:
            return []
        port = self.find(network_id)
        own = {fixed.subnet_id: fixed.address for fixed in port.fixed_ips} if port else {}
        served = [subnet for subnet in self._tables.subnets if subnet.network_id == network_id and subnet.id != but]
        chosen = {subnet.id: own.get(subnet.id) or self._last_free(subnet) for subnet in served if _is_served(subnet)}
        return [AddressWish(subnet_id, address) for subnet_id, address in chosen.items() if address]

    def _last_free(self, subnet: Subnet) -> Address | None:
        used = {
            fixed.address for port in self._tables.ports for fixed in port.fixed_ips if fixed.subnet_id == subnet.id
        }
        return next((address for address in _from_the_end(subnet.pools) if address not in used), None)


def _is_served(subnet: Subnet) -> bool:
    """Whether there is something to tell: DHCP for IPv4; for IPv6 what its modes say, and nothing without."""
    return subnet.enable_dhcp and (subnet.cidr.version == 4 or bool(subnet.address_mode or subnet.ra_mode))


def _from_the_end(pools: Sequence[AddressRange]) -> Iterator[Address]:
    """Addresses of pools, the last one first; made one by one, since pools may be large."""
    for first, last in reversed(pools):
        for number in range(int(last), int(first) - 1, -1):
            yield type(first)(number)
