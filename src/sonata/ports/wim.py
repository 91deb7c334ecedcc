"""A wide area network infrastructure manager (WIM): the graph between PoPs, and connections over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from sonata._lib.values import dataclass
from sonata.model.infrastructure import WanGraph


@dataclass(frozen=True, slots=True)
class ConnectionRequest:
    """Join networks of several PoPs into one layer 2 network.

    Args:
        members: network id by PoP name.
        rate_bps: bandwidth reserved between each two members, each way; None for best effort.
        max_delay_s: one-way delay bound, None for none.
        max_rate_bps: the most that may pass there, at least `rate_bps`; None for as much as is left.
    """

    tag: str
    members: Mapping[str, str]
    rate_bps: float | None = None
    max_delay_s: float | None = None
    max_rate_bps: float | None = None


class Wim(Protocol):
    """The wide area."""

    async def graph(self) -> WanGraph:
        """PoPs, links with their delay and capacity, endpoints with their address."""

    async def ensure_connection(self, request: ConnectionRequest) -> str:
        """Find or create a connection; returns its id.

        Raises:
            PermanentError: no path keeps the bounds.
        """

    async def leftovers(self, tag_prefix: str) -> Sequence[str]:
        """Ids of connections whose tag begins so."""

    async def sweep(self, tag_prefix: str) -> None:
        """Remove connections whose tag begins so."""

    async def close(self) -> None:
        """Release connections."""
