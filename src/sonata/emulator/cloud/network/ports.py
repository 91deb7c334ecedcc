"""Ports of one cloud: addresses, MACs, and what they are bound to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from sonata._lib.ip import Address, Interface
from sonata._lib.values import dataclass
from sonata.emulator.addressing import automatic_address
from sonata.emulator.cloud.causes import IpAddressGenerationFailure, MacAddressInUse, PortBound, PortInUse
from sonata.emulator.cloud.entities.network import (
    APPLIANCE_OWNERS,
    DHCP_OWNER,
    ROUTER_GATEWAY_OWNER,
    FixedIp,
    Port,
    Subnet,
    interface_of,
)
from sonata.emulator.cloud.network.addresses import Addresses, random_mac
from sonata.emulator.cloud.rollback import undone_on_failure
from sonata.emulator.cloud.site import Site
from sonata.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class AddressWish:
    """An address as a client asks for it: a subnet, an address, or both; else any of a version of IP."""

    subnet_id: str = ""
    address: Address | None = None
    version: int = 0


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
        fixed_ips = self._take_all(replace(port, mac=mac), wishes)
        return self._tables.ports.add(replace(port, mac=mac, fixed_ips=fixed_ips))

    def update(self, port_id: str, wishes: Sequence[AddressWish] | None = None, **changes: Any) -> Port:
        """Change a port.

        Raises:
            PortBound: the MAC address is to change while it is plugged in.
            PortInUse: so with its device or vNIC type, or a router, floating IP or load balancer cannot do without it.
        """
        port = self._tables.ports.get(port_id)
        asked = (changes.get("device_id", port.device_id), changes.get("device_owner", port.device_owner))
        if asked != (port.device_id, port.device_owner) and (holder := self._holder(port_id)):
            raise PortInUse(
                f"Unable to complete operation on port {port_id}: its device cannot change, {holder} needs it."
            )
        new_mac = changes.get("mac", port.mac) != port.mac
        new_device = changes.get("device_id", port.device_id) != port.device_id
        if port.plugged and new_device:
            raise PortInUse(
                f"Unable to complete operation on port {port_id}: its device cannot change while it is in use by "
                f"device {port.device_id}."
            )
        if port.plugged and new_mac:
            raise PortBound(
                f"Unable to complete operation on port {port_id}, port is already bound, port type: bridge, old_mac "
                f"{port.mac}, new_mac {changes['mac']}."
            )
        if port.plugged and changes.get("vnic_type", port.vnic_type) != port.vnic_type:
            raise PortInUse(
                f"Unable to complete operation on port {port_id}: its vNIC type cannot change while it is in use by "
                f"device {port.device_id}."
            )
        if new_mac:
            self._check_mac(port.network_id, changes["mac"])
        if wishes is not None:
            changes["fixed_ips"] = self._exchange(replace(port, mac=changes.get("mac", port.mac)), wishes)
        return self._tables.ports.change(port_id, **changes)

    def check_deletable(self, port_id: str) -> None:
        """Refuse to delete what others need.

        Raises:
            NoSuch: there is no such port.
            PortInUse: a port pair, a router, a floating IP or a load balancer needs it.
        """
        port = self._tables.ports.get(port_id)
        kept = port.device_owner.startswith("network:") or port.device_owner in APPLIANCE_OWNERS
        if kept and port.device_owner != DHCP_OWNER:
            raise PortInUse(
                f"Port {port_id} cannot be deleted directly via the port API: has device owner {port.device_owner}."
            )
        if any(port_id in (pair.ingress, pair.egress) for pair in self._tables.port_pairs):
            raise PortInUse(f"Unable to complete operation on port {port_id}: a port pair uses it.")
        if holder := self._holder(port_id):
            raise PortInUse(f"Unable to complete operation on port {port_id}: {holder} needs it.")

    def _holder(self, port_id: str) -> str:
        """What cannot do without a port, whatever the port says of its device; empty when nothing."""
        for router in self._tables.routers:
            if port_id in router.interfaces or (router.gateway and router.gateway.port_id == port_id):
                return f"router {router.id}"
        floating = next((one for one in self._tables.floating_ips if one.gateway_port_id == port_id), None)
        balancer = next((one for one in self._tables.load_balancers if one.vip_port_id == port_id), None)
        return (floating and f"floating IP {floating.id}") or (balancer and f"load balancer {balancer.id}") or ""

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

    def interfaces(self, port: Port) -> tuple[Interface, ...]:
        """A port's addresses with their prefix lengths."""
        return tuple(interface_of(*pair) for pair in zip(self.subnets(port), port.fixed_ips, strict=True))

    def _check_mac(self, network_id: str, mac: str) -> None:
        if any(port.mac == mac and port.network_id == network_id for port in self._tables.ports):
            raise MacAddressInUse(
                f"Unable to complete operation for network {network_id}. The mac address {mac} is in use."
            )

    def _exchange(self, port: Port, wishes: Sequence[AddressWish]) -> tuple[FixedIp, ...]:
        """Give a port's addresses back and take others; on failure it keeps the old ones."""
        self._addresses.release(port.fixed_ips)
        with undone_on_failure(lambda: self._retake(port.fixed_ips)):
            return self._take_all(port, wishes)

    def _retake(self, fixed_ips: Iterable[FixedIp]) -> None:
        for fixed in fixed_ips:
            self._addresses.take(self._tables.subnets.get(fixed.subnet_id), fixed.address)

    def _take_all(self, port: Port, wishes: Sequence[AddressWish] | None) -> tuple[FixedIp, ...]:
        """Take what is wished, else one address of each version; and where hosts address themselves, those, too."""
        subnets = [subnet for subnet in self._tables.subnets if subnet.network_id == port.network_id]
        subnets = [subnet for subnet in subnets if _serves(subnet, port.device_owner)]
        taken: list[FixedIp] = []
        with undone_on_failure(lambda: self._addresses.release(tuple(taken))):
            asked = _usual(subnets, port) if wishes is None else wishes
            taken.extend(self._take(wish, subnets, port) for wish in asked)
            if wishes is None or wishes:
                taken.extend(self._automatic(port, subnets, {fixed.subnet_id for fixed in taken}))
        return tuple(taken)

    def _automatic(self, port: Port, subnets: Sequence[Subnet], known: set[str]) -> Iterator[FixedIp]:
        """Take the addresses that a host gives itself; routers and other helpers of the network have none."""
        if port.device_owner.startswith("network:"):
            return
        for subnet in subnets:
            if subnet.is_automatic and subnet.id not in known:
                yield self._addresses.take(subnet, automatic_address(subnet.cidr, port.mac))

    def _take_any(self, subnets: Sequence[Subnet]) -> FixedIp:
        for subnet in subnets[:-1]:
            try:
                return self._addresses.take_next(subnet)
            except IpAddressGenerationFailure:
                continue
        return self._addresses.take_next(subnets[-1])

    def _take(self, wish: AddressWish, subnets: Sequence[Subnet], port: Port) -> FixedIp:
        if wish.subnet_id:
            subnets = [subnet for subnet in subnets if subnet.id == wish.subnet_id]
        if wish.address is not None:
            subnets = [subnet for subnet in subnets if wish.address in subnet.cidr]
        if wish.version:
            subnets = [subnet for subnet in subnets if subnet.cidr.version == wish.version and not subnet.is_automatic]
        if not subnets:
            raise InvalidInput(
                f"IP address {wish.address or ''} is not a valid IP for any of the subnets on the specified network "
                f"{port.network_id}."
            )
        if wish.address is not None:
            _check_automatic(subnets[0], port, wish.address)
            return self._addresses.take(subnets[0], wish.address)
        if wish.subnet_id and subnets[0].is_automatic and not port.device_owner.startswith("network:"):
            return self._addresses.take(subnets[0], automatic_address(subnets[0].cidr, port.mac))
        return self._take_any(subnets)


def _usual(subnets: Sequence[Subnet], port: Port) -> list[AddressWish]:
    """What a port gets when nothing is wished: an address of each version that the network gives out.

    A port of the network itself, a router's say, gets IPv4, or else IPv6; a router's way out gets both.
    """
    versions = sorted({subnet.cidr.version for subnet in subnets if not subnet.is_automatic})
    if port.device_owner.startswith("network:") and port.device_owner != ROUTER_GATEWAY_OWNER:
        versions = versions[:1]
    return [AddressWish(version=version) for version in versions]


def _serves(subnet: Subnet, device_owner: str) -> bool:
    """Whether a subnet is for ports of this owner (service types of subnets)."""
    return not subnet.service_types or any(device_owner.startswith(kind) for kind in subnet.service_types)


def _check_automatic(subnet: Subnet, port: Port, address: Address) -> None:
    own = automatic_address(subnet.cidr, port.mac) if subnet.is_automatic else address
    if address != own and not port.device_owner.startswith("network:"):
        raise InvalidInput(
            f"IPv6 address {address} cannot be directly assigned to a port on subnet {subnet.id} as the subnet is "
            "configured for automatic addresses"
        )
