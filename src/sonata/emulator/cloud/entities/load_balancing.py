"""Load balancers and what belongs to them, as the Load Balancer API v2 names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from ipaddress import IPv4Address, IPv4Network

from sonata._lib.ip import Address
from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.base import Entity


class Provisioning:
    """Values of `provisioning_status` (Load Balancer API, status codes)."""

    ACTIVE = "ACTIVE"
    PENDING_CREATE = "PENDING_CREATE"
    PENDING_UPDATE = "PENDING_UPDATE"
    PENDING_DELETE = "PENDING_DELETE"
    ERROR = "ERROR"


class Operating:
    """Values of `operating_status` (Load Balancer API, status codes)."""

    ONLINE = "ONLINE"
    DRAINING = "DRAINING"
    OFFLINE = "OFFLINE"
    DEGRADED = "DEGRADED"
    ERROR = "ERROR"
    NO_MONITOR = "NO_MONITOR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Entity):
    """What all of them have."""

    admin_state_up: bool = True
    provisioning_status: str = Provisioning.PENDING_CREATE
    operating_status: str = Operating.OFFLINE


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancer(Part):
    """A load balancer; `vip_port_made` tells that its port goes with it."""

    vip_address: Address
    vip_subnet_id: str
    vip_network_id: str
    vip_port_id: str
    vip_port_made: bool = True
    provider: str
    flavor_id: str | None = None
    availability_zone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener(Part):
    """A port of a VIP. Timeouts in milliseconds; `connection_limit` -1 is none."""

    load_balancer_id: str
    protocol: str
    protocol_port: int
    connection_limit: int = -1
    default_pool_id: str | None = None
    insert_headers: Mapping[str, str] = field(default_factory=dict)
    allowed_cidrs: tuple[IPv4Network, ...] | None = None
    timeout_client_data: int = 50_000
    timeout_member_connect: int = 5_000
    timeout_member_data: int = 50_000
    timeout_tcp_inspect: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool(Part):
    """Members among which a listener spreads what it gets."""

    load_balancer_id: str
    protocol: str
    lb_algorithm: str
    session_persistence: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member(Part):
    """A server of a pool. Weight 0..256; 0 takes no new connection."""

    pool_id: str
    address: IPv4Address
    protocol_port: int
    weight: int = 1
    backup: bool = False
    subnet_id: str | None = None
    monitor_address: IPv4Address | None = None
    monitor_port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthMonitor(Part):
    """How the members of a pool are probed; delay and timeout in seconds."""

    pool_id: str
    type: str
    delay: int
    timeout: int
    max_retries: int
    max_retries_down: int = 3
    http_method: str | None = None
    url_path: str | None = None
    expected_codes: str | None = None
    http_version: float | None = None
    domain_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class L7Policy(Part):
    """What a listener does with requests that fulfil all of its rules; the lowest position is tried first."""

    listener_id: str
    action: str
    position: int
    redirect_pool_id: str | None = None
    redirect_url: str | None = None
    redirect_prefix: str | None = None
    redirect_http_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class L7Rule(Part):
    """A condition on a request."""

    l7policy_id: str
    type: str
    compare_type: str
    value: str
    key: str | None = None
    invert: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FlavorProfile(Entity):
    """Settings of a provider, as the JSON text that was given."""

    provider_name: str
    flavor_data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LbFlavor(Entity):
    """A flavor profile that users may choose."""

    flavor_profile_id: str
    enabled: bool = True
