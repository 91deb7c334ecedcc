"""Networks, subnets, ports, routers, floating IPs, security groups, as the Networking API v2.0 names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from sonata.emulator.cloud.entities.base import Entity
from sonata.ports.fabric import EXTERNAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Network(Entity):
    """A layer 2 network; `external` marks the one that joins the PoP to the world."""

    admin_state_up: bool = True
    shared: bool = False
    external: bool = False
    mtu: int = 1500
    port_security: bool = True
    qos_policy: str = ""

    @property
    def fabric_id(self) -> str:
        """Its name in the data plane."""
        return EXTERNAL if self.external else self.id


AddressRange = tuple[IPv4Address, IPv4Address]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet(Entity):
    """An IPv4 subnet; `pools` are the ranges from which addresses are given out, both ends included."""

    network_id: str
    cidr: IPv4Network
    gateway_ip: IPv4Address | None = None
    pools: tuple[AddressRange, ...] = ()
    enable_dhcp: bool = True
    dns_nameservers: tuple[str, ...] = ()
    shared: bool = False


@dataclass(frozen=True, slots=True)
class FixedIp:
    """An address of a port, and the subnet that it belongs to."""

    subnet_id: str
    address: IPv4Address


SERVER_OWNER = "compute:nova"


ROUTER_INTERFACE_OWNER = "network:router_interface"


ROUTER_GATEWAY_OWNER = "network:router_gateway"


FLOATING_IP_OWNER = "network:floatingip"


DHCP_OWNER = "network:dhcp"


LOAD_BALANCER_OWNER = "Octavia"


APPLIANCE_OWNERS = frozenset((DHCP_OWNER, LOAD_BALANCER_OWNER))
"""Owners of ports that are plugged into helper machines of the site."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port(Entity):
    """A port of a network. Without `device_id` it is plugged nowhere in this PoP.

    Args:
        mac: lower case, colon separated.
        plugged: whether it stands in the data plane and packets pass.
        port_security: whether its packets are filtered by its groups and its senders are checked.
    """

    network_id: str
    mac: str = ""
    fixed_ips: tuple[FixedIp, ...] = ()
    device_id: str = ""
    device_owner: str = ""
    admin_state_up: bool = True
    security_groups: tuple[str, ...] = ()
    vnic_type: str = "normal"
    allowed_address_pairs: tuple[Mapping[str, str], ...] = ()
    port_security: bool = True
    qos_policy: str = ""
    plugged: bool = False

    @property
    def first_address(self) -> IPv4Address | None:
        """Its first address, None when it has none."""
        return self.fixed_ips[0].address if self.fixed_ips else None


@dataclass(frozen=True, slots=True)
class Gateway:
    """A router's leg on the external network."""

    network_id: str
    port_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Router(Entity):
    """A router between networks; with a gateway, sources inside are masqueraded towards the external network."""

    admin_state_up: bool = True
    gateway: Gateway | None = None
    interfaces: tuple[str, ...] = ()


NO_ADDRESS = IPv4Address(0)
"""Stands where an address is still to be given out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatingIp(Entity):
    """An address of the external network that a router translates to a port's address."""

    network_id: str
    address: IPv4Address = NO_ADDRESS
    gateway_port_id: str = ""
    port_id: str = ""
    fixed_address: IPv4Address | None = None
    router_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroup(Entity):
    """A group of ports that the same rules hold for.

    Args:
        stateful: whether answers to what a rule lets pass may pass, too.
    """

    shared: bool = False
    stateful: bool = True


def interface_of(subnet: Subnet, fixed: FixedIp) -> IPv4Interface:
    """An address with its subnet's prefix length."""
    return IPv4Interface((fixed.address, subnet.cidr.prefixlen))
