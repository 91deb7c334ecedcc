"""Ports of one cloud: addresses, MACs, and what they are bound to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any

from sonata.emulator.cloud.causes import IpAddressGenerationFailure, MacAddressInUse, PortInUse
from sonata.emulator.cloud.entities.network import APPLIANCE_OWNERS, DHCP_OWNER, FixedIp, Port, Subnet
from sonata.emulator.cloud.network.addresses import Addresses, random_mac
from sonata.emulator.cloud.rollback import undone_on_failure
from sonata.emulator.cloud.site import Site
from sonata.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class AddressWish:
    """An address as a client asks for it: a subnet, an address, or both."""

    subnet_id: str = ""
    address: IPv4Address | None = None


class Ports:
    """The table of ports and the rules for changing it; plugging them in is `wiring.Wiring`'s work."""

    def __init__(self, site: Site, addresses: Addresses) -> None:
        self._site = site
        self._tables = site.tables
        self._addresses = addresses
        for port in self._tables.ports:
            addresses.mark(port.fixed_ips)

    def create(self, port: Port, wishes: Sequence[AddressWish] | None = None) -> Port:
        """Create a port; without wishes it gets an address of the network's first subnet with room.

        Raises:
            NoSuch: the network or a subnet does not exist.
            MacAddressInUse, IpAddressInUse, IpAddressGenerationFailure: as they say.
        """
        self._tables.networks.get(port.network_id)
        mac = port.mac or random_mac()
        self._check_mac(port.network_id, mac)
        self._site.quotas.require(port.project_id, "port")
        fixed_ips = self._take_all(port.network_id, wishes)
        return self._tables.ports.add(replace(port, mac=mac, fixed_ips=fixed_ips))

    def update(self, port_id: str, wishes: Sequence[AddressWish] | None = None, **changes: Any) -> Port:
        """Change a port.

        Raises:
            PortInUse: MAC or addresses are to change while it is plugged in.
        """
        port = self._tables.ports.get(port_id)
        new_mac = changes.get("mac", port.mac) != port.mac
        new_device = changes.get("device_id", port.device_id) != port.device_id
        if port.plugged and (wishes is not None or new_mac or new_device):
            raise PortInUse(
                f"Unable to complete operation on port {port_id}: addresses and device cannot change while it is in "
                f"use by device {port.device_id}."
            )
        if new_mac:
            self._check_mac(port.network_id, changes["mac"])
        if wishes is not None:
            changes["fixed_ips"] = self._exchange(port, wishes)
        return self._tables.ports.change(port_id, **changes)

    def check_deletable(self, port_id: str) -> None:
        """Refuse to delete what others need.

        Raises:
            NoSuch: there is no such port.
            PortInUse: a port pair or a router needs it.
        """
        port = self._tables.ports.get(port_id)
        kept = port.device_owner.startswith("network:") or port.device_owner in APPLIANCE_OWNERS
        if kept and port.device_owner != DHCP_OWNER:
            raise PortInUse(
                f"Port {port_id} cannot be deleted directly via the port API: has device owner {port.device_owner}."
            )
        if any(port_id in (pair.ingress, pair.egress) for pair in self._tables.port_pairs):
            raise PortInUse(f"Unable to complete operation on port {port_id}: a port pair uses it.")

    def drop(self, port_id: str) -> None:
        """Forget a port whatever its owner, and free its addresses; idempotent."""
        if port := self._tables.ports.peek(port_id):
            self._addresses.release(port.fixed_ips)
            self._tables.ports.remove(port_id)

    def of_device(self, device_id: str) -> tuple[Port, ...]:
        """The ports bound to a device."""
        return tuple(port for port in self._tables.ports if port.device_id == device_id)

    def subnets(self, port: Port) -> tuple[Subnet, ...]:
        """The subnets of a port's addresses, in their order."""
        return tuple(self._tables.subnets.get(fixed.subnet_id) for fixed in port.fixed_ips)

    def _check_mac(self, network_id: str, mac: str) -> None:
        if any(port.mac == mac and port.network_id == network_id for port in self._tables.ports):
            raise MacAddressInUse(
                f"Unable to complete operation for network {network_id}. The mac address {mac} is in use."
            )

    def _exchange(self, port: Port, wishes: Sequence[AddressWish]) -> tuple[FixedIp, ...]:
        """Give a port's addresses back and take others; on failure it keeps the old ones."""
        self._addresses.release(port.fixed_ips)
        with undone_on_failure(lambda: self._retake(port.fixed_ips)):
            return self._take_all(port.network_id, wishes)

    def _retake(self, fixed_ips: Iterable[FixedIp]) -> None:
        for fixed in fixed_ips:
            self._addresses.take(self._tables.subnets.get(fixed.subnet_id), fixed.address)

    def _take_all(self, network_id: str, wishes: Sequence[AddressWish] | None) -> tuple[FixedIp, ...]:
        subnets = [subnet for subnet in self._tables.subnets if subnet.network_id == network_id]
        if wishes is None:
            return (self._take_any(subnets),) if subnets else ()
        taken: list[FixedIp] = []
        with undone_on_failure(lambda: self._addresses.release(tuple(taken))):
            taken.extend(self._take(wish, subnets, network_id) for wish in wishes)
        return tuple(taken)

    def _take_any(self, subnets: Sequence[Subnet]) -> FixedIp:
        for subnet in subnets[:-1]:
            try:
                return self._addresses.take_next(subnet)
            except IpAddressGenerationFailure:
                continue
        return self._addresses.take_next(subnets[-1])

    def _take(self, wish: AddressWish, subnets: Sequence[Subnet], network_id: str) -> FixedIp:
        if wish.subnet_id:
            subnets = [subnet for subnet in subnets if subnet.id == wish.subnet_id]
        if wish.address is not None:
            subnets = [subnet for subnet in subnets if wish.address in subnet.cidr]
        if not subnets:
            raise InvalidInput(
                f"IP address {wish.address or ''} is not a valid IP for any of the subnets on the specified network "
                f"{network_id}."
            )
        return self._take_any(subnets) if wish.address is None else self._addresses.take(subnets[0], wish.address)
