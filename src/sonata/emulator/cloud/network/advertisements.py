"""Router advertisements: what a network tells IPv6 hosts of its prefixes. Source: RFC 4861; RFC 8106 for name servers.

They come from the network's services, which are no router, and so name no default one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from ipaddress import IPv6Address, IPv6Network, ip_address

from sonata.emulator.cloud.entities.network import AUTOMATIC_MODES, Subnet

SOLICITATION, ADVERTISEMENT = 133, 134
ROUTERS = IPv6Address("ff02::2")
HOP_LIMIT = 255
"""Others are no neighbours' packets."""
STATEFUL, STATELESS = "dhcpv6-stateful", "dhcpv6-stateless"
BY_DHCP = frozenset((STATEFUL, STATELESS))

_FOR_EVER = 0xFFFFFFFF
_ADDRESSES_BY_DHCP, _MORE_BY_DHCP = 0x80, 0x40
_ON_LINK, _BY_ONESELF = 0x80, 0x40
_LINK_ADDRESS, _PREFIX, _MTU, _NAME_SERVERS = 1, 3, 5, 25


def advertised(subnets: Sequence[Subnet]) -> list[Subnet]:
    """Those that hosts are told about."""
    return [subnet for subnet in subnets if subnet.cidr.version == 6 and subnet.ra_mode and subnet.enable_dhcp]


def advertisement(subnets: Sequence[Subnet], mac: str, mtu: int) -> bytes | None:
    """What is answered to a solicitation; None where there is nothing to tell. The kernel adds the checksum."""
    told = advertised(subnets)
    if not told:
        return None
    modes = {subnet.ra_mode for subnet in told}
    flags = _ADDRESSES_BY_DHCP * (STATEFUL in modes) | _MORE_BY_DHCP * (STATELESS in modes)
    head = struct.pack("!BBHBBHII", ADVERTISEMENT, 0, 0, 64, flags, 0, 0, 0)
    return head + b"".join(_options(told, mac, mtu))


def _options(subnets: Sequence[Subnet], mac: str, mtu: int) -> Iterator[bytes]:
    yield bytes((_LINK_ADDRESS, 1)) + bytes.fromhex(mac.replace(":", ""))
    yield struct.pack("!BBHI", _MTU, 1, 0, mtu)
    for subnet in subnets:
        if isinstance(subnet.cidr, IPv6Network):
            flags = _ON_LINK | _BY_ONESELF * (subnet.ra_mode in AUTOMATIC_MODES)
            times = struct.pack("!BBBBIII", _PREFIX, 4, subnet.cidr.prefixlen, flags, _FOR_EVER, _FOR_EVER, 0)
            yield times + subnet.cidr.network_address.packed
    servers = nameservers(subnets)
    if servers:
        head = struct.pack("!BBHI", _NAME_SERVERS, 1 + 2 * len(servers), 0, _FOR_EVER)
        yield head + b"".join(server.packed for server in servers)


def nameservers(subnets: Sequence[Subnet]) -> tuple[IPv6Address, ...]:
    """Who resolves names over IPv6 for the hosts of subnets."""
    known = (ip_address(server) for subnet in subnets for server in subnet.dns_nameservers)
    return tuple(dict.fromkeys(server for server in known if isinstance(server, IPv6Address)))
