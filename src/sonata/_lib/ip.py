"""Addresses, prefixes and interface addresses of either version of IP.

For type checkers they are unions. At run time each is one abstract class of both, since values are converted from JSON
by their type hints, and a converter takes one such kind in a union, not two.
"""

from __future__ import annotations

from abc import ABCMeta
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    Address: TypeAlias = IPv4Address | IPv6Address
    Prefix: TypeAlias = IPv4Network | IPv6Network
    Interface: TypeAlias = IPv4Interface | IPv6Interface
else:

    def _either(name: str, *kinds: type) -> type:
        union = ABCMeta(name, (), {})
        for kind in kinds:
            union.register(kind)
        return union

    Address = _either("Address", IPv4Address, IPv6Address)
    Prefix = _either("Prefix", IPv4Network, IPv6Network)
    Interface = _either("Interface", IPv4Interface, IPv6Interface)
