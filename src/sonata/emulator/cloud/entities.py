"""What one emulated cloud holds: frozen values in the words of the OpenStack API references.

An entity changes by being replaced in its table (`tables.Table.change`), never in place, so that whoever holds one sees
a consistent state.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Literal

from sonata.ports.fabric import EXTERNAL


def new_id() -> str:
    """A random UUID, as OpenStack names its objects."""
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """What every object has.

    Args:
        created_at: Unix time in seconds, as `updated_at`.
        revision: counts the changes.
    """

    id: str = field(default_factory=new_id)
    project_id: str = ""
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    created_at: float = field(default_factory=time.time)
    updated_at: float = field(default_factory=time.time)
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Project(Entity):
    """A project (tenant) of this cloud's own Keystone."""

    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Entity):
    """A user of this cloud's own Keystone; `project_id` is the default project."""

    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Network(Entity):
    """A layer 2 network; `external` marks the one that joins the PoP to the world."""

    admin_state_up: bool = True
    shared: bool = False
    external: bool = False
    mtu: int = 1500

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Port(Entity):
    """A port of a network. Without `device_id` it is plugged nowhere in this PoP.

    Args:
        mac: lower case, colon separated.
        plugged: whether it stands in the data plane and packets pass.
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
    """A security group by name. Packets are not filtered yet, so its rules say that everything may pass."""

    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PortPair(Entity):
    """A service function: packets go in at `ingress` and come back at `egress` (port ids)."""

    ingress: str
    egress: str
    parameters: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortPairGroup(Entity):
    """Service functions that may stand for one another at one place of a chain."""

    port_pairs: tuple[str, ...] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowClassifier(Entity):
    """Which packets enter a chain; None or empty means any."""

    protocol: Literal["tcp", "udp", "icmp"] | None = None
    source: IPv4Network | None = None
    destination: IPv4Network | None = None
    source_port_min: int | None = None
    source_port_max: int | None = None
    destination_port_min: int | None = None
    destination_port_max: int | None = None
    logical_source_port: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PortChain(Entity):
    """Port pair groups in the order in which packets meet them."""

    groups: tuple[str, ...]
    classifiers: tuple[str, ...] = ()
    chain_id: int = 0
    symmetric: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor(Entity):
    """A size of servers: memory in MiB, disks in GiB."""

    vcpus: int
    ram_mib: int
    disk_gib: int = 0
    ephemeral_gib: int = 0
    swap_mib: int = 0
    is_public: bool = True
    rxtx_factor: float = 1.0
    extra_specs: Mapping[str, str] = field(default_factory=dict)


class ServerStatus:
    """Values of `Server.status` (Compute API, server concepts)."""

    BUILD = "BUILD"
    ACTIVE = "ACTIVE"
    SHUTOFF = "SHUTOFF"
    REBOOT = "REBOOT"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class Nic:
    """A server's interface. `owned` ports were made for the server and go with it."""

    port_id: str
    ifname: str
    owned: bool


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a server is not well. `code` is the HTTP status that Nova would have answered."""

    message: str
    code: int = 500
    created_at: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server(Entity):
    """A server.

    Args:
        argv: its program; empty for an idle server.
        claimed: whether it counts against the PoP's capacity.
        nics: in the order eth0, eth1, ...
    """

    user_id: str = ""
    image_id: str
    flavor: Flavor
    status: str = ServerStatus.BUILD
    task_state: str | None = "scheduling"
    fault: Fault | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    nics: tuple[Nic, ...] = ()
    argv: tuple[str, ...] = ()
    user_data: str | None = None
    key_name: str | None = None
    security_groups: tuple[str, ...] = ("default",)
    availability_zone: str = "nova"
    config_drive: bool = False
    launched_at: float | None = None
    launch_index: int = 0
    reservation_id: str = ""
    claimed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GlanceImage(Entity):
    """An image as Glance shows it.

    Args:
        stored: name in the image store, empty until its data has been uploaded.
        digest: sha256 of its content, `sha256:...`, empty while unknown.
        properties: further properties, all strings.
    """

    status: Literal["queued", "saving", "importing", "active", "killed"] = "active"
    stored: str = ""
    digest: str = ""
    visibility: str = "public"
    size_bytes: int | None = None
    container_format: str | None = "docker"
    disk_format: str | None = "raw"
    min_disk_gib: int = 0
    min_ram_mib: int = 0
    protected: bool = False
    properties: Mapping[str, str] = field(default_factory=dict)


def interface_of(subnet: Subnet, fixed: FixedIp) -> IPv4Interface:
    """An address with its subnet's prefix length."""
    return IPv4Interface((fixed.address, subnet.cidr.prefixlen))
