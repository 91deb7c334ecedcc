"""The wide area as an orchestrator sees it: the graph between PoPs, and connections that join networks over it."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import count

from sonata._lib.values import dataclass
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.events import EventLog
from sonata.emulator.links import Links
from sonata.emulator.wan_paths import Paths
from sonata.errors import Conflict, InvalidInput, NotFound, QuotaExceeded
from sonata.model.infrastructure import AttachedEndpoint, PopFigures, WanEdge, WanGraph
from sonata.ports.fabric import SpanSpec
from sonata.ports.wim import ConnectionRequest

logger = logging.getLogger(__name__)

Stations = Callable[[str, str], tuple[str, ...]]
"""MAC addresses of the ports on a network: (pop, network id) to addresses; raises NotFound without such a network."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Networks of several PoPs that are one layer 2 network.

    Args:
        delay_s: longest one-way delay between two of its members when it was made.
    """

    id: str
    tag: str
    vni: int
    members: Mapping[str, str]
    rate_bps: float | None
    max_delay_s: float | None
    delay_s: float


class Wan:
    """Graph and connections of one emulation."""

    def __init__(
        self,
        links: Links,
        plane: DataPlane,
        stations: Stations,
        endpoints: Callable[[], Mapping[str, AttachedEndpoint]],
        events: EventLog,
    ) -> None:
        self._events = events
        self._links = links
        self._paths = Paths(links)
        self._plane = plane
        self._stations = stations
        self._endpoints = endpoints
        self._connections: dict[str, Connection] = {}
        self._turn = asyncio.Lock()
        self.on_change: Callable[[], None] = lambda: None
        self.figures: Callable[[], Mapping[str, PopFigures]] = dict

    async def restore(self, saved: Iterable[Connection]) -> None:
        """Make the connections of an earlier life again, between those of their networks that are still there."""
        async with self._turn:
            for connection in saved:
                members = {pop: net for pop, net in connection.members.items() if self._stands(pop, net)}
                if len(members) < 2:
                    logger.warning("connection `%s` is dropped: its networks are gone", connection.tag)
                    continue
                kept = replace(connection, members=members)
                await self._span(kept)
                self._connections[kept.id] = kept

    def graph(self) -> WanGraph:
        """PoPs, links that are up, endpoints."""
        edges = [
            WanEdge(state.name, state.link.a, state.link.b, *self._paths.delay_and_rate(state.name))
            for state in self._links
            if state.up
        ]
        return WanGraph(tuple(self._links.pops), tuple(edges), dict(self._endpoints()), self.figures())

    def connections(self, tag_prefix: str = "") -> list[Connection]:
        """Connections whose tag begins so, oldest first."""
        return [connection for connection in self._connections.values() if connection.tag.startswith(tag_prefix)]

    def get(self, connection_id: str) -> Connection:
        """One connection.

        Raises:
            NotFound: there is none of this id.
        """
        if connection_id not in self._connections:
            raise NotFound(f"no connection `{connection_id}`")
        return self._connections[connection_id]

    async def connect(self, request: ConnectionRequest) -> Connection:
        """Find the connection of this tag, or make it.

        Raises:
            InvalidInput: fewer than two members, or values out of range.
            NotFound: an unknown PoP or network.
            Conflict: the tag stands for other members, a network is in another connection, or no path keeps the bounds.
            QuotaExceeded: a link on the way has not enough bandwidth left.
        """
        async with self._turn:
            if standing := next((c for c in self._connections.values() if c.tag == request.tag), None):
                return _same(standing, request)
            delay_s = self._check(request)
            members = dict(request.members)
            vni = self._free_vni()
            connection = Connection(
                str(uuid.uuid4()), request.tag, vni, members, request.rate_bps, request.max_delay_s, delay_s
            )
            await self._span(connection)
            self._connections[connection.id] = connection
            self.on_change()
        self._events.tell("connection.made", connection.id, tag=connection.tag, members=members, vni=vni)
        return connection

    async def disconnect(self, connection_id: str) -> None:
        """Take a connection apart; the networks stay.

        Raises:
            NotFound: there is none of this id.
        """
        async with self._turn:
            self.get(connection_id)
            await self._drop(connection_id)
            self.on_change()

    async def forget(self, pop: str) -> None:
        """Let a PoP that is about to go be in no connection; one that joins nothing then goes, too."""
        async with self._turn:
            for connection in [one for one in self._connections.values() if pop in one.members]:
                kept = replace(connection, members={key: net for key, net in connection.members.items() if key != pop})
                if len(kept.members) < 2:
                    await self._drop(connection.id)
                else:
                    await self._span(kept)
                    self._connections[kept.id] = kept
                    self._events.tell("connection.changed", kept.id, tag=kept.tag, members=kept.members)
            self.on_change()

    async def stations_changed(self, pop: str, network_id: str) -> None:
        """Bring the forwarding entries of the connection that this network is in up to date."""
        async with self._turn:
            for connection in self._connections.values():
                if connection.members.get(pop) == network_id:
                    await self._span(connection)

    async def _drop(self, connection_id: str) -> None:
        await self._plane.run(lambda fabric: fabric.networks.remove_span(connection_id))
        del self._connections[connection_id]
        self._events.tell("connection.removed", connection_id)

    async def _span(self, connection: Connection) -> None:
        stations = {pop: self._stations_of(pop, network) for pop, network in connection.members.items()}
        span = SpanSpec(connection.id, connection.vni, connection.members, stations)
        await self._plane.run(lambda fabric: fabric.networks.set_span(span))

    def _stands(self, pop: str, network: str) -> bool:
        try:
            self._links.pops.number_of(pop)
            self._stations(pop, network)
        except NotFound:
            return False
        return True

    def _stations_of(self, pop: str, network: str) -> tuple[str, ...]:
        try:
            return self._stations(pop, network)
        except NotFound:  # the network was deleted while it was connected
            return ()

    def _free_vni(self) -> int:
        used = {connection.vni for connection in self._connections.values()}
        return next(vni for vni in count(1) if vni not in used)

    def _check(self, request: ConnectionRequest) -> float:
        """Check a new request and return its longest delay."""
        if len(request.members) < 2:
            raise InvalidInput("a connection joins networks of at least two PoPs", hint="give more members")
        if request.rate_bps is not None and not request.rate_bps > 0:
            raise InvalidInput("the rate of a connection must be above 0 bit/s")
        for pop, network in request.members.items():
            self._links.pops.number_of(pop)
            self._stations(pop, network)
            self._check_free(pop, network)
        delay_s = self._paths.longest_delay(request.members, request.max_delay_s)
        self._check_rate(request)
        return delay_s

    def _check_free(self, pop: str, network: str) -> None:
        for connection in self._connections.values():
            if connection.members.get(pop) == network:
                raise Conflict(
                    f"network `{network}` of PoP `{pop}` is in connection `{connection.tag}`",
                    hint="remove that connection first",
                )

    def _check_rate(self, request: ConnectionRequest) -> None:
        if request.rate_bps is None:
            return
        reserved = self._reserved()
        for name, paths in Counter(self._paths.links_of(request.members)).items():
            capacity = self._paths.delay_and_rate(name)[1]
            if capacity is not None and reserved[name] + paths * request.rate_bps > capacity:
                raise QuotaExceeded(
                    f"link `{name}` has {capacity - reserved[name]:g} of {capacity:g} bit/s left, "
                    f"{paths * request.rate_bps:g} bit/s are wanted",
                    hint="remove connections, or ask for less",
                )

    def _reserved(self) -> Mapping[str, float]:
        """Bits per second promised to connections, by link, on the paths that packets take now."""
        reserved: dict[str, float] = defaultdict(float)
        for connection in self._connections.values():
            for name in self._paths.links_of(connection.members):
                reserved[name] += connection.rate_bps or 0.0
        return reserved


def _same(standing: Connection, request: ConnectionRequest) -> Connection:
    if dict(standing.members) != dict(request.members):
        raise Conflict(f"connection `{request.tag}` joins other networks", hint="use another tag, or remove it first")
    return standing
