"""Rules of security groups, and groups of addresses, as the Networking API v2.0 names them."""

from __future__ import annotations

from sonata._lib.ip import Prefix
from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.base import Entity

EGRESS, INGRESS = "egress", "ingress"
VERSIONS = {"IPv4": 4, "IPv6": 6}
"""Version of IP by ethertype."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroupRule(Entity):
    """What may pass the ports of a group; None or empty means any.

    Args:
        direction: `egress` is what a port's server sends.
        protocol: a name of IANA's, or a number.
        port_range_min: first port; the type for ICMP.
        port_range_max: last port; the code for ICMP.
        remote_group_id: the other side is a port of this group.
        remote_address_group_id: the other side is in this group of addresses.
    """

    security_group_id: str
    direction: str
    ethertype: str = "IPv4"
    protocol: str | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_ip_prefix: Prefix | None = None
    remote_group_id: str = ""
    remote_address_group_id: str = ""

    @property
    def meaning(self) -> tuple[object, ...]:
        """What makes two rules the same."""
        remote = (self.remote_ip_prefix, self.remote_group_id, self.remote_address_group_id)
        ports = (self.port_range_min, self.port_range_max)
        return (self.security_group_id, self.direction, self.ethertype, self.protocol, *ports, *remote)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressGroup(Entity):
    """Addresses that rules may name together."""

    addresses: tuple[Prefix, ...] = ()
    shared: bool = False
