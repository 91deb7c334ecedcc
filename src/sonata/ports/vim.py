"""A virtualised infrastructure manager (VIM): how the platform reaches the infrastructure of one PoP.

Creates are idempotent: each carries `tag` (deterministic, e.g. `<ns_instance_id>/<what>`), is preceded by a look-up of
it, and returns the existing object when it stands. `sweep` removes everything whose tag begins with a prefix.
Raises `TransientError`, `PermanentError`, `QuotaExceeded`, `NotFound`; errors carry the failing call and the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from sonata._lib.values import dataclass
from sonata.model.infrastructure import PopCapacity


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """A network with one IPv4 subnet.

    Args:
        pool: first and last address for this PoP's ports when the network spans PoPs, or None for all.
        gateway: whether there is a gateway.
        gateway_address: its address; empty means the first of the subnet (`.1`). Where a network spans PoPs, each PoP
            has a gateway of its own.
    """

    tag: str
    name: str
    cidr: str
    pool: tuple[str, str] | None = None
    gateway: bool = True
    gateway_address: str = ""


@dataclass(frozen=True, slots=True)
class VimNetwork:
    """A network as the VIM knows it."""

    id: str
    subnet_id: str
    cidr: str


@dataclass(frozen=True, slots=True)
class PortRequest:
    """A port. With `mac` and `address` given and never bound it stands for one in another PoP on a spanned network."""

    tag: str
    name: str
    network: VimNetwork
    mac: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class VimPort:
    """A port as the VIM knows it."""

    id: str
    network_id: str
    mac: str
    address: str


@dataclass(frozen=True, slots=True)
class ServerRequest:
    """A server; a flavor that fits exactly is found or created."""

    tag: str
    name: str
    image: str
    vcpus: float
    memory_mib: int
    disk_gib: int
    ports: tuple[str, ...]
    user_data: str = ""


@dataclass(frozen=True, slots=True)
class ChainRequest:
    """A port chain: port pairs (ingress port id, egress port id) in forward order, and what enters it."""

    tag: str
    name: str
    pairs: tuple[tuple[str, str], ...]
    source_prefix: str | None
    destination_prefix: str | None
    protocol: Literal["tcp", "udp"] | None = None
    destination_port: int | None = None


@dataclass(frozen=True, slots=True)
class Leftover:
    """An object in the VIM whose tag begins with the prefix asked for."""

    kind: str
    id: str
    tag: str


class Vim(Protocol):
    """One PoP."""

    async def capacity(self) -> PopCapacity:
        """Free and total resources."""

    async def check_image(self, name: str) -> str:
        """Id of the image of this name; raises NotFound with what exists."""

    async def ensure_network(self, request: NetworkRequest) -> VimNetwork:
        """Find or create a network and its subnet."""

    async def ensure_port(self, request: PortRequest) -> VimPort:
        """Find or create a port."""

    async def ensure_server(self, request: ServerRequest) -> str:
        """Find or create a server; returns its id without waiting."""

    async def wait_active(self, server_id: str, *, timeout_s: float) -> None:
        """Wait until a server is ACTIVE; raises PermanentError with the VIM's fault when it is in ERROR."""

    async def ensure_router(self, tag: str, name: str, networks: Sequence[VimNetwork]) -> str:
        """Find or create a router with external gateway and a leg into each network."""

    async def ensure_floating_ip(self, tag: str, port_id: str) -> str:
        """Find or create a floating IP that leads to a port, and return it; the port's network has a routed leg."""

    async def ensure_chain(self, request: ChainRequest) -> str:
        """Find or create a port chain, symmetric."""

    async def leftovers(self, tag_prefix: str) -> Sequence[Leftover]:
        """Everything that carries such a tag."""

    async def sweep(self, tag_prefix: str) -> None:
        """Delete everything that carries such a tag, in an order the VIM accepts, and wait until it is gone."""

    async def close(self) -> None:
        """Release connections."""
