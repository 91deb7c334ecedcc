"""Addresses of a PoP's external network that are its endpoints', and no longer OpenStack's to give out."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from sonata.emulator.cloud.entities.network import AddressRange, Subnet
from sonata.emulator.cloud.tables import Tables


def held_from(tables: Tables, first: IPv4Address) -> list[str]:
    """Addresses of ports from this one on to the end of the external network."""
    outer = {subnet.id for subnet in _outer(tables)}
    fixed = (one for port in tables.ports for one in port.fixed_ips if one.subnet_id in outer)
    return [str(one.address) for one in fixed if int(one.address) >= int(first)]


def give_up_from(tables: Tables, first: IPv4Address) -> None:
    """Give out addresses below this one alone from now on."""
    for subnet in list(_outer(tables)):
        pools = tuple(_clipped(pool, first) for pool in subnet.pools if int(pool[0]) < int(first))
        if pools != subnet.pools:
            tables.subnets.change(subnet.id, pools=pools)


def _outer(tables: Tables) -> Iterator[Subnet]:
    for subnet in tables.subnets:
        if subnet.cidr.version == 4 and tables.networks.get(subnet.network_id).external:
            yield subnet


def _clipped(pool: AddressRange, first: IPv4Address) -> AddressRange:
    begin, end = pool
    return (begin, end) if int(end) < int(first) else (begin, first - 1)
