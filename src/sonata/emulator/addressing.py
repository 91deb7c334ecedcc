"""Who owns which IPv4 address, as `ports.fabric` lays it down. Pure arithmetic.

PoP number i owns the i-th /24 of 100.64.0.0/10 (RFC 6598): `.1` its router, `.2` the management proxy, `.10` to `.63`
endpoints, the rest is for the floating and router addresses of its OpenStack; further endpoints take the last of those,
`.254` and downwards. Link number i owns the i-th /31 of
198.18.0.0/15 (RFC 2544, RFC 3021).
"""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address

from sonata._lib.ip import Prefix
from sonata.errors import QuotaExceeded

EXTERNAL_POOL = IPv4Network("100.64.0.0/10")
LINK_POOL = IPv4Network("198.18.0.0/15")
_PER_POP = 256
_FIRST_ENDPOINT, _LAST_ENDPOINT = 10, 63
_FIRST_FURTHER, _LAST_FURTHER = 254, 80  # which leaves OpenStack 16
_NEAR = _LAST_ENDPOINT - _FIRST_ENDPOINT + 1
MAX_ENDPOINTS = _NEAR + _FIRST_FURTHER - _LAST_FURTHER + 1
"""Of one PoP."""
MAX_POPS = EXTERNAL_POOL.num_addresses // _PER_POP
MAX_LINKS = LINK_POOL.num_addresses // 2


def external_network(number: int) -> IPv4Network:
    """External network of PoP `number` (0-based).

    Raises:
        QuotaExceeded: there are more PoPs than networks.
    """
    if number >= MAX_POPS:
        raise QuotaExceeded(f"an emulation has at most {MAX_POPS} PoPs", hint="use several emulations")
    return IPv4Network((int(EXTERNAL_POOL.network_address) + number * _PER_POP, 24))


def router_address(external: IPv4Network) -> IPv4Interface:
    """Address of the PoP's router on its external network."""
    return IPv4Interface((external.network_address + 1, external.prefixlen))


def management_address(external: IPv4Network) -> IPv4Interface:
    """Address from which the management proxy speaks in a PoP."""
    return IPv4Interface((external.network_address + 2, external.prefixlen))


def endpoint_address(external: IPv4Network, number: int) -> IPv4Interface:
    """Address of endpoint `number` (0-based) of a PoP.

    Raises:
        QuotaExceeded: the PoP has no address left for it.
    """
    if number >= MAX_ENDPOINTS:
        raise QuotaExceeded(f"a PoP takes at most {MAX_ENDPOINTS} endpoints", hint="attach some to another PoP")
    host = _FIRST_ENDPOINT + number if number < _NEAR else _FIRST_FURTHER - (number - _NEAR)
    return IPv4Interface((external.network_address + host, external.prefixlen))


def end_of_pool(external: IPv4Network, endpoints: int) -> IPv4Address:
    """The first address that OpenStack cannot give out since a PoP has so many endpoints."""
    return external.network_address + _FIRST_FURTHER + 1 - max(0, min(endpoints, MAX_ENDPOINTS) - _NEAR)


def link_addresses(number: int) -> tuple[IPv4Interface, IPv4Interface]:
    """Both addresses of link `number` (0-based).

    Raises:
        QuotaExceeded: there are more links than addresses.
    """
    if number >= MAX_LINKS:
        raise QuotaExceeded(f"an emulation has at most {MAX_LINKS} links", hint="use several emulations")
    first = int(LINK_POOL.network_address) + 2 * number
    return IPv4Interface((first, 31)), IPv4Interface((first + 1, 31))


def mac_address(identity: str) -> str:
    """A locally administered unicast MAC address that is always the same for the same identity."""
    digest = hashlib.sha256(identity.encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x0A, *digest[:5]))


def automatic_address(prefix: Prefix, mac: str) -> IPv6Address:
    """The address that a host gives itself in a network: its modified EUI-64 (RFC 4291, appendix A)."""
    raw = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes((raw[0] ^ 2,)) + raw[1:3] + b"\xff\xfe" + raw[3:]
    return IPv6Address(int(prefix.network_address) | int.from_bytes(identifier))


def is_external(address: IPv4Address) -> bool:
    """Whether an address belongs to the external network of some PoP."""
    return address in EXTERNAL_POOL


def pop_number(address: IPv4Address) -> int:
    """Number of the PoP whose external network an address lies in."""
    return (int(address) - int(EXTERNAL_POOL.network_address)) // _PER_POP
