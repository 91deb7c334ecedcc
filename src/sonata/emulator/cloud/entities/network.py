"""Networks, subnets, ports, routers, floating IPs, security groups, as the Networking API v2.0 names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from typing import Literal

from sonata._lib.ip import Address, Interface, Prefix
from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.base import Entity
from sonata.ports.fabric import EXTERNAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Network(Entity):
    """A layer 2 network; `external` marks the one that joins the PoP to the world.

    Args:
        shared: with all projects; sharing with some of them is a matter of RBAC policies.
        network_type: of the provider attributes, with `physical_network` and `segmentation_id`.
        zone_hints: availability zones asked for.
    """

    admin_state_up: bool = True
    shared: bool = False
    external: bool = False
    mtu: int = 1500
    network_type: str = "vxlan"
    physical_network: str | None = None
    segmentation_id: int | None = None
    zone_hints: tuple[str, ...] = ()
    dns_domain: str = ""
    is_default: bool = False
    port_security: bool = True
    qos_policy: str = ""

    @property
    def fabric_id(self) -> str:
        """Its name in the data plane."""
        return EXTERNAL if self.external else self.id


AddressRange = tuple[Address, Address]


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """A route of a subnet's hosts or of a router."""

    destination: Prefix
    nexthop: Address


AUTOMATIC_MODES = frozenset({"slaac", "dhcpv6-stateless"})
"""Values of `ipv6_address_mode` with which a host's address follows from its MAC address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet(Entity):
    """A subnet; `pools` are the ranges from which addresses are given out, both ends included.

    Args:
        address_mode: `ipv6_address_mode`: slaac, dhcpv6-stateful, dhcpv6-stateless or None; so `ra_mode`.
        subnetpool_id: the pool that its prefix was taken from.
        service_types: device owners that it is for; empty for all.
    """

    network_id: str
    cidr: Prefix
    gateway_ip: Address | None = None
    pools: tuple[AddressRange, ...] = ()
    enable_dhcp: bool = True
    dns_nameservers: tuple[str, ...] = ()
    shared: bool = False
    host_routes: tuple[StaticRoute, ...] = ()
    address_mode: str | None = None
    ra_mode: str | None = None
    subnetpool_id: str | None = None
    service_types: tuple[str, ...] = ()
    dns_publish_fixed_ip: bool = False

    @property
    def is_automatic(self) -> bool:
        """Whether addresses in it follow from MAC addresses."""
        return self.cidr.version == 6 and self.address_mode in AUTOMATIC_MODES


@dataclass(frozen=True, slots=True)
class FixedIp:
    """An address of a port, and the subnet that it belongs to."""

    subnet_id: str
    address: Address


SERVER_OWNER = "compute:nova"


ROUTER_INTERFACE_OWNER = "network:router_interface"


ROUTER_GATEWAY_OWNER = "network:router_gateway"


FLOATING_IP_OWNER = "network:floatingip"


DHCP_OWNER = "network:dhcp"


LOAD_BALANCER_OWNER = "Octavia"


APPLIANCE_OWNERS = frozenset((DHCP_OWNER, LOAD_BALANCER_OWNER))
"""Owners of ports that are plugged into helper machines of the site."""


DIRECT = frozenset(("direct", "macvtap"))
"""vNIC types that get a function of their own of the network's card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port(Entity):
    """A port of a network. Without `device_id` it is plugged nowhere in this PoP.

    Args:
        mac: lower case, colon separated.
        plugged: whether it stands in the data plane and packets pass.
        dhcp_options: `extra_dhcp_opts`: objects with opt_name, opt_value and ip_version.
        host_id: what a client asked for as `binding:host_id`; so `profile`.
        data_plane_status: what an agent has reported of it: ACTIVE, DOWN or None.
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
    dhcp_options: tuple[Mapping[str, str | int], ...] = ()
    dns_name: str = ""
    dns_domain: str = ""
    host_id: str = ""
    profile: Mapping[str, object] = field(default_factory=dict)
    data_plane_status: str | None = None
    propagate_uplink_status: bool = False
    numa_affinity_policy: str | None = None

    @property
    def first_address(self) -> Address | None:
        """Its first address, None when it has none."""
        return self.fixed_ips[0].address if self.fixed_ips else None

    @property
    def is_direct(self) -> bool:
        """Whether its server has it as a function of the network's card, around bridge and filters."""
        return self.vnic_type in DIRECT


@dataclass(frozen=True, slots=True)
class Gateway:
    """A router's leg on the external network; with `snat`, inner sources are masqueraded.

    Args:
        qos_policy: of what the router's own address there sends and receives.
    """

    network_id: str
    port_id: str
    snat: bool = True
    qos_policy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Router(Entity):
    """A router between networks; with a gateway, sources inside are masqueraded towards the external network."""

    admin_state_up: bool = True
    gateway: Gateway | None = None
    interfaces: tuple[str, ...] = ()
    routes: tuple[StaticRoute, ...] = ()
    zone_hints: tuple[str, ...] = ()


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
    dns_name: str = ""
    dns_domain: str = ""
    qos_policy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortForwarding(Entity):
    """Ports of a floating IP that lead to ports of an inner address; both ranges are equally long, ends included."""

    floating_ip_id: str
    port_id: str
    inner_address: IPv4Address
    inner_ports: tuple[int, int]
    outer_ports: tuple[int, int]
    protocol: Literal["tcp", "udp"]
    router_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressScope(Entity):
    """Subnet pools whose prefixes do not overlap."""

    ip_version: int = 4
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetPool(Entity):
    """Prefixes from which subnets are cut.

    Args:
        default_quota: addresses (IPv4), or /64 networks (IPv6), that a project may take from it.
    """

    prefixes: tuple[Prefix, ...]
    ip_version: int
    default_prefixlen: int
    min_prefixlen: int
    max_prefixlen: int
    default_quota: int | None = None
    address_scope_id: str | None = None
    shared: bool = False
    is_default: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RbacPolicy(Entity):
    """A grant: projects that may use an object of another one.

    Args:
        target_project: its id, or `*` for all.
    """

    object_type: str
    object_id: str
    action: str = "access_as_shared"
    target_project: str = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroup(Entity):
    """A group of ports that the same rules hold for.

    Args:
        stateful: whether answers to what a rule lets pass may pass, too.
    """

    shared: bool = False
    stateful: bool = True


def interface_of(subnet: Subnet, fixed: FixedIp) -> Interface:
    """An address with its subnet's prefix length."""
    kind = IPv4Interface if fixed.address.version == 4 else IPv6Interface
    return kind((fixed.address, subnet.cidr.prefixlen))
