"""Which addresses of a subnet are taken, and which one is next."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from sonata._lib.ip import Address, Prefix
from sonata.emulator.cloud.causes import IpAddressGenerationFailure, IpAddressInUse
from sonata.emulator.cloud.entities.network import AddressRange, FixedIp, Subnet
from sonata.errors import InvalidInput


class Addresses:
    """Addresses in use, by subnet, and before which place of its pools none is free."""

    def __init__(self) -> None:
        self._used: dict[str, set[Address]] = {}
        self._free_from: dict[str, tuple[tuple[AddressRange, ...], int]] = {}

    def take_next(self, subnet: Subnet) -> FixedIp:
        """Take the lowest free address of the subnet's pools.

        Raises:
            IpAddressGenerationFailure: the pools are exhausted.
        """
        used = self._used.setdefault(subnet.id, set())
        pools, start = self._free_from.get(subnet.id, ((), 0))
        for place, address in _pool_addresses(subnet, start if pools == subnet.pools else 0):
            if address not in used:
                used.add(address)
                self._free_from[subnet.id] = (subnet.pools, place + 1)
                return FixedIp(subnet.id, address)
        raise IpAddressGenerationFailure(f"No more IP addresses available on network {subnet.network_id}.")

    def take(self, subnet: Subnet, address: Address) -> FixedIp:
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
            self._free_from.pop(fixed.subnet_id, None)

    def in_use(self, subnet_id: str) -> bool:
        """Whether any address of the subnet is taken."""
        return bool(self._used.get(subnet_id))

    def count(self, subnet_id: str) -> int:
        """How many addresses of the subnet are taken."""
        return len(self._used.get(subnet_id, ()))

    def mark(self, fixed_ips: tuple[FixedIp, ...]) -> None:
        """Note that addresses of saved ports are taken."""
        for fixed in fixed_ips:
            self._used.setdefault(fixed.subnet_id, set()).add(fixed.address)

    def forget(self, subnet_id: str) -> None:
        """Drop a subnet."""
        self._used.pop(subnet_id, None)
        self._free_from.pop(subnet_id, None)


def is_host_of(cidr: Prefix, address: Address) -> bool:
    """Whether a host of this network may have the address."""
    return address in cidr and address not in _edges(cidr)


def _edges(cidr: Prefix) -> tuple[Address, ...]:
    """What no host may have: network and broadcast address; of IPv6 the routers' anycast address (RFC 4291, 2.6.1)."""
    if cidr.max_prefixlen - cidr.prefixlen < 2:
        return ()
    return (cidr.network_address, cidr.broadcast_address) if cidr.version == 4 else (cidr.network_address,)


def first_host(cidr: Prefix) -> Address:
    """The gateway that a subnet gets when nobody says otherwise."""
    return cidr.network_address + (1 if _edges(cidr) else 0)


def default_pools(cidr: Prefix, gateway: Address | None) -> tuple[AddressRange, ...]:
    """All hosts of a network but its gateway, as Neutron gives them out when nobody says otherwise."""
    edges = _edges(cidr)
    first, last = int(cidr.network_address) + (len(edges) > 0), int(cidr.broadcast_address) - (len(edges) > 1)
    if gateway is None or not first <= int(gateway) <= last:
        return ((_at(cidr, first), _at(cidr, last)),)
    ranges = ((first, int(gateway) - 1), (int(gateway) + 1, last))
    return tuple((_at(cidr, low), _at(cidr, high)) for low, high in ranges if low <= high)


def random_mac() -> str:
    """A locally administered address in OpenStack's `fa:16`, 32 random bits so that spanned networks stay unique."""
    return ":".join(f"{byte:02x}" for byte in b"\xfa\x16" + secrets.token_bytes(4))


def _at(cidr: Prefix, number: int) -> Address:
    return cidr.network_address + (number - int(cidr.network_address))


def _pool_addresses(subnet: Subnet, start: int) -> Iterator[tuple[int, Address]]:
    """The addresses of a subnet's pools, one pool after another, with their places; those before `start` left out."""
    before = 0
    for first, last in subnet.pools:
        count = int(last) - int(first) + 1
        for place in range(max(start, before), before + count):
            yield place, _at(subnet.cidr, int(first) + place - before)
        before += count
