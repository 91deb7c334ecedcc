"""Requests to rtnetlink for segment routing over IPv6: routes that wrap packets, and routes that unwrap them.

Numbers are those of linux/{lwtunnel,seg6,seg6_iptunnel,seg6_local}.h; behaviours are those of
RFC 8986, headers of RFC 8754.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import sonata.adapters.fabric_linux.requests as requests
from sonata._lib.netlink import attribute, nested, u32

_RTA_ENCAP_TYPE, _RTA_ENCAP = 21, 22
_ENCAP_SEG6, _ENCAP_SEG6_LOCAL = 5, 7
_SEG6_IPTUNNEL_SRH, _MODE_ENCAP = 1, 1
_ROUTING_TYPE_SRH = 4
_SEG6_LOCAL_ACTION, _SEG6_LOCAL_NH4, _ACTION_END_DX4 = 1, 4, 6


def wrapping_route(destination: IPv4Network, index: int, segments: Sequence[IPv6Address], table: int) -> bytes:
    """Body of a route that wraps packets in IPv6 and has them visit segments (H.Encaps)."""
    header = struct.pack("=i", _MODE_ENCAP) + _routing_header(segments)
    return requests.device_route(destination, index, table=table) + _encapsulation(
        _ENCAP_SEG6, nested(_RTA_ENCAP, attribute(_SEG6_IPTUNNEL_SRH, header))
    )


def unwrapping_route(segment: IPv6Address, index: int, via: IPv4Address) -> bytes:
    """Body of a route for a segment that unwraps IPv4 packets and sends them to a next hop (End.DX4)."""
    action = (u32(_SEG6_LOCAL_ACTION, _ACTION_END_DX4), attribute(_SEG6_LOCAL_NH4, via.packed))
    return requests.device_route(IPv6Network(segment), index) + _encapsulation(
        _ENCAP_SEG6_LOCAL, nested(_RTA_ENCAP, *action)
    )


def _encapsulation(kind: int, how: bytes) -> bytes:
    return attribute(_RTA_ENCAP_TYPE, struct.pack("=H", kind)) + how


def _routing_header(segments: Sequence[IPv6Address]) -> bytes:
    """Segments are listed last one first; `segments left` points at the first to visit."""
    last = len(segments) - 1
    fixed = struct.pack("!BBBBBBH", 0, 2 * len(segments), _ROUTING_TYPE_SRH, last, last, 0, 0)
    return fixed + b"".join(segment.packed for segment in reversed(segments))
