"""Which addresses of a subnet are taken, and which one is next."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from sonata.emulator.cloud.causes import IpAddressGenerationFailure, IpAddressInUse
from sonata.emulator.cloud.entities.network import AddressRange, FixedIp, Subnet
from sonata.errors import InvalidInput


class Addresses:
    """Addresses in use, by subnet."""

    def __init__(self) -> None:
        self._used: dict[str, set[IPv4Address]] = {}

    def take_next(self, subnet: Subnet) -> FixedIp:
        """Take the lowest free address of the subnet's pools.

        Raises:
            IpAddressGenerationFailure: the pools are exhausted.
        """
        used = self._used.setdefault(subnet.id, set())
        for address in _pool_addresses(subnet):
            if address not in used:
                used.add(address)
                return FixedIp(subnet.id, address)
        raise IpAddressGenerationFailure(f"No more IP addresses available on network {subnet.network_id}.")

    def take(self, subnet: Subnet, address: IPv4Address) -> FixedIp:
        """Take this address, inside or outside of the pools.

        Raises:
            InvalidInput: it is not an address of the subnet.
            IpAddressInUse: it is taken.
        """
        if not is_host_of(subnet.cidr, address):
            raise InvalidInput(f"IP address {address} is not a valid IP for the specified subnet {subnet.cidr}.")
        used = self._used.setdefault(subnet.id, set())
        if address in used:
            raise IpAddressInUse(f"IP address {address} already allocated in subnet {subnet.id}")
        used.add(address)
        return FixedIp(subnet.id, address)

    def release(self, fixed_ips: tuple[FixedIp, ...]) -> None:
        """Give addresses back; idempotent."""
        for fixed in fixed_ips:
            self._used.get(fixed.subnet_id, set()).discard(fixed.address)

    def in_use(self, subnet_id: str) -> bool:
        """Whether any address of the subnet is taken."""
        return bool(self._used.get(subnet_id))

    def mark(self, fixed_ips: tuple[FixedIp, ...]) -> None:
        """Note that addresses of saved ports are taken."""
        for fixed in fixed_ips:
            self._used.setdefault(fixed.subnet_id, set()).add(fixed.address)

    def forget(self, subnet_id: str) -> None:
        """Drop a subnet."""
        self._used.pop(subnet_id, None)


def is_host_of(cidr: IPv4Network, address: IPv4Address) -> bool:
    """Whether a host of this network may have the address."""
    edges = (cidr.network_address, cidr.broadcast_address) if cidr.prefixlen < 31 else ()
    return address in cidr and address not in edges


def default_pools(cidr: IPv4Network, gateway: IPv4Address | None) -> tuple[AddressRange, ...]:
    """All hosts of a network but its gateway, as Neutron gives them out when nobody says otherwise."""
    spare = 0 if cidr.prefixlen >= 31 else 1
    first, last = cidr.network_address + spare, cidr.broadcast_address - spare
    if gateway is None or not first <= gateway <= last:
        return ((first, last),)
    ranges = ((first, gateway - 1), (gateway + 1, last))
    return tuple((low, high) for low, high in ranges if low <= high)


def random_mac() -> str:
    """A locally administered address in OpenStack's `fa:16`, 32 random bits so that spanned networks stay unique."""
    return ":".join(f"{byte:02x}" for byte in b"\xfa\x16" + secrets.token_bytes(4))


def _pool_addresses(subnet: Subnet) -> Iterator[IPv4Address]:
    for first, last in subnet.pools:
        for number in range(int(first), int(last) + 1):
            yield IPv4Address(number)
