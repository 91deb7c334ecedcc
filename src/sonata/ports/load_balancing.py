"""What a load balancing provider does: bring plans into being and tell how they fare.

A plan is the whole wish for one load balancer, in plain values; drivers know no tables. Every driver passes the same
contract suite for what it can do, and refuses the rest in `check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from ipaddress import IPv4Address, IPv4Network
from typing import Protocol

from sonata._lib.ip import Address
from sonata._lib.values import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """A layer 7 condition: words of the Load Balancer API v2."""

    type: str
    compare: str
    value: str
    key: str = ""
    invert: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """What to do with requests that fulfil all rules.

    Args:
        action: REDIRECT_TO_POOL, REDIRECT_TO_URL, REDIRECT_PREFIX or REJECT.
        target: id of the backend, address, or prefix.
        code: HTTP status of a redirection.
    """

    id: str
    action: str
    rules: tuple[Rule, ...]
    target: str = ""
    code: int = 302


@dataclass(frozen=True, slots=True)
class Frontend:
    """A port on which clients are served. Timeouts in milliseconds; limit 0 and no networks mean all.

    Args:
        backend: id of the backend for what no policy catches; empty for none.
        policies: in the order in which they are tried.
    """

    id: str
    protocol: str
    port: int
    backend: str = ""
    connection_limit: int = 0
    allowed: tuple[IPv4Network, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    client_timeout_ms: int = 50_000
    connect_timeout_ms: int = 5_000
    member_timeout_ms: int = 50_000
    inspect_ms: int = 0
    policies: tuple[Policy, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """A member. Weight 0..256; `enabled` is its administrative state."""

    id: str
    address: IPv4Address
    port: int
    weight: int = 1
    backup: bool = False
    enabled: bool = True
    monitor_address: IPv4Address | None = None
    monitor_port: int | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A health monitor. Delay and timeout in seconds; up after `rise` good probes, down after `fall` bad ones."""

    type: str
    delay_s: int
    timeout_s: int
    rise: int
    fall: int
    method: str = "GET"
    path: str = "/"
    codes: str = "200"
    version: str = "1.0"
    domain: str = ""


@dataclass(frozen=True, slots=True)
class Persistence:
    """Which member a returning client meets: SOURCE_IP, HTTP_COOKIE or APP_COOKIE with the cookie's name."""

    type: str
    cookie: str = ""
    timeout_s: int = 0


@dataclass(frozen=True, slots=True)
class Backend:
    """A pool."""

    id: str
    protocol: str
    algorithm: str
    targets: tuple[Target, ...] = ()
    check: Check | None = None
    persistence: Persistence | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole load balancer.

    Args:
        vip: the address that clients use; the first port has it.
        port_ids: Neutron ports: the VIP's, then those towards members.
        enabled: False takes all frontends away.
        flavor: settings of the provider.
    """

    id: str
    vip: Address
    port_ids: tuple[str, ...]
    frontends: tuple[Frontend, ...] = ()
    backends: tuple[Backend, ...] = ()
    enabled: bool = True
    flavor: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counters of a frontend since it was made; `active_connections` is now. Bytes are of the payload or packets."""

    active_connections: int = 0
    total_connections: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    request_errors: int = 0

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(
            self.active_connections + other.active_connections,
            self.total_connections + other.total_connections,
            self.bytes_in + other.bytes_in,
            self.bytes_out + other.bytes_out,
            self.request_errors + other.request_errors,
        )


@dataclass(frozen=True, slots=True)
class Report:
    """How a load balancer fares.

    Args:
        frontends: counters by frontend id.
        targets: ONLINE, ERROR, NO_MONITOR, DRAINING or OFFLINE by (backend id, target id).
    """

    frontends: Mapping[str, Statistics] = field(default_factory=dict)
    targets: Mapping[tuple[str, str], str] = field(default_factory=dict)


class Driver(Protocol):
    """A provider of load balancers."""

    @property
    def name(self) -> str:
        """Its name in the API."""

    @property
    def description(self) -> str:
        """One sentence for people; tells what is missing on this machine."""

    @property
    def flavor_capabilities(self) -> Mapping[str, str]:
        """What flavor profiles may set, with a description."""

    def check(self, plan: Plan) -> None:
        """Refuse what this driver cannot do; nothing is changed.

        Raises:
            Unsupported: with the option and what to do instead.
        """

    async def deploy(self, plan: Plan) -> None:
        """Make a load balancer, or change it to this plan while it serves; packets are spread by it at return.

        Raises:
            SonataError: it could not be done; the earlier plan still serves where there was one.
        """

    async def remove(self, load_balancer_id: str) -> None:
        """Drop it; idempotent."""

    async def read(self, load_balancer_id: str) -> Report | None:
        """How it fares now; None when it does not answer."""
