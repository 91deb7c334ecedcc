"""The wide area as an orchestrator sees it: the graph between PoPs, and connections that join networks over it."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count

from sonata.emulator import admission, reservations
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.events import EventLog
from sonata.emulator.links import Links, LinkState, slower
from sonata.emulator.reservations import Connection, Shares, Way
from sonata.errors import Conflict, NotFound, SonataError
from sonata.model.infrastructure import AttachedEndpoint, WanEdge, WanGraph
from sonata.model.topology import Link
from sonata.ports.fabric import Fabric, Reservation, SpanSpec
from sonata.ports.wim import ConnectionRequest

logger = logging.getLogger(__name__)

Stations = Callable[[str, str], tuple[str, ...]]
"""MAC addresses of the ports on a network: (pop, network id) to addresses; raises NotFound without such a network."""


@dataclass(frozen=True, slots=True)
class LinkDirection:
    """What a link has in one direction, in bits per second; None is unlimited."""

    origin: str
    target: str
    delay_s: float
    rate_bps: float | None
    reserved_bps: float
    available_bps: float | None


@dataclass(frozen=True, slots=True)
class WanLink:
    """A link as a wide area manager sees it; `connections` are the tags of those that have reserved of it."""

    name: str
    up: bool
    price: float
    directions: tuple[LinkDirection, LinkDirection]
    connections: tuple[str, ...]


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
        self._plane = plane
        self._stations = stations
        self._endpoints = endpoints
        self._connections: dict[str, Connection] = {}
        self._held: Shares = {}
        self._turn = asyncio.Lock()
        self.on_change: Callable[[], None] = lambda: None
        links.may_change = partial(admission.keep_promises, links, self._connections.values())
        links.on_change = self._links_changed

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
            await self._review()

    def graph(self) -> WanGraph:
        """PoPs, links that are up, endpoints."""
        links = {link.name: link for link in self.links()}
        edges = [_edge(state.link, links[state.name]) for state in self._links if state.up]
        return WanGraph(tuple(self._links.pops), tuple(edges), dict(self._endpoints()))

    def links(self) -> list[WanLink]:
        """All links between PoPs, with what is reserved and left of each direction."""
        promises = reservations.promised(self._links, self._connections.values())
        return [_wan_link(state, *(promises.get((state.name, way), {}) for way in (0, 1))) for state in self._links]

    def connections(self, tag_prefix: str = "") -> list[Connection]:
        """Connections whose tag begins so, oldest first."""
        return [connection for connection in self._connections.values() if connection.tag.startswith(tag_prefix)]

    def ending_at(self, pop: str = "", network: str = "", endpoint: str = "") -> list[Connection]:
        """Connections with a member in this PoP, or in the one of this endpoint, and of this network.

        Raises:
            NotFound: no such PoP or endpoint.
        """
        if endpoint:
            pop = _pop_of(endpoint, self._endpoints())
        if pop:
            self._links.number_of(pop)
        return [
            connection
            for connection in self._connections.values()
            if any(pop in ("", own) and network in ("", net) for own, net in connection.members.items())
        ]

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
            Conflict: the tag stands for other members or bounds, a network is in another connection, or no path keeps
                the bounds.
            QuotaExceeded: a link on the way has not enough bandwidth left.
        """
        async with self._turn:
            if standing := next((c for c in self._connections.values() if c.tag == request.tag), None):
                return _same(standing, request)
            way = self._check(request)
            wanted = _of(request, Connection(str(uuid.uuid4()), request.tag, self._free_vni(), {}, None, None, 0.0))
            await self._put(replace(wanted, delay_s=way.delay_s))
            made = self._connections[wanted.id]
        self._events.tell("connection.made", made.id, tag=made.tag, members=made.members, vni=made.vni)
        return made

    async def update(self, connection_id: str, change: Callable[[ConnectionRequest], ConnectionRequest]) -> Connection:
        """Give a connection other members or bounds, all of them or none; packets flow meanwhile.

        Args:
            connection_id: which.
            change: makes what is wanted out of what was; the tag stays.

        Raises:
            InvalidInput, NotFound, Conflict, QuotaExceeded: as of `connect`; the connection is as it was.
        """
        async with self._turn:
            before = self.get(connection_id)
            wanted = replace(change(_request(before)), tag=before.tag)
            self._check(wanted, apart_from=connection_id)
            await self._put(_of(wanted, before))
            now = self._connections[connection_id]
        self._events.tell("connection.changed", now.id, tag=now.tag, **_bounds(now), was=_bounds(before))
        return now

    async def disconnect(self, connection_id: str) -> None:
        """Take a connection apart; the networks stay.

        Raises:
            NotFound: there is none of this id.
        """
        async with self._turn:
            self.get(connection_id)
            await self._plane.run(lambda fabric: fabric.networks.remove_span(connection_id))
            del self._connections[connection_id]
            await self._review()
            self.on_change()
        self._events.tell("connection.removed", connection_id)

    async def stations_changed(self, pop: str, network_id: str) -> None:
        """Bring the forwarding entries of the connection that this network is in up to date."""
        async with self._turn:
            for connection in self._connections.values():
                if connection.members.get(pop) == network_id:
                    await self._span(connection)

    async def _put(self, connection: Connection) -> None:
        """Make a connection so; when that fails everything is as it was."""
        before = self._connections.get(connection.id)
        self._connections[connection.id] = connection
        try:
            await self._span(connection)
            await self._review()
        except SonataError:
            if before:
                self._connections[connection.id] = before
                await self._span(before)
            else:
                del self._connections[connection.id]
                await self._plane.run(lambda fabric: fabric.networks.remove_span(connection.id))
            await self._review()
            raise
        self.on_change()

    async def _span(self, connection: Connection) -> None:
        stations = {pop: self._stations_of(pop, network) for pop, network in connection.members.items()}
        span = SpanSpec(connection.id, connection.vni, connection.members, stations)
        await self._plane.run(lambda fabric: fabric.networks.set_span(span))

    async def _links_changed(self) -> None:
        if self._connections:
            async with self._turn:
                await self._review()

    async def _review(self) -> None:
        """Hold on the links what connections have reserved of them now, and tell whose promises changed."""
        verdicts = reservations.judge(self._links, self._connections.values())
        await self._hold(verdicts.shares)
        for connection in tuple(self._connections.values()):
            now = verdicts.judged(self._links, connection)
            if now != connection:
                self._connections[now.id] = now
                self.on_change()
            if now.state != connection.state:
                self._events.tell("connection.state", now.id, tag=now.tag, state=now.state, reason=now.reason)

    async def _hold(self, shares: Shares) -> None:
        nothing: tuple[dict[int, Reservation], dict[int, Reservation]] = ({}, {})
        changed = {
            name: shares.get(name, nothing)
            for name in {**self._held, **shares}
            if shares.get(name, nothing) != self._held.get(name, nothing)
        }

        def hold(fabric: Fabric) -> None:
            for name, (there, back) in changed.items():
                fabric.underlay.reserve(name, there, back)

        if changed:
            await self._plane.run(hold)
        self._held = dict(shares)

    def _stands(self, pop: str, network: str) -> bool:
        try:
            self._links.number_of(pop)
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

    def _check(self, request: ConnectionRequest, apart_from: str = "") -> Way:
        """Check what is wanted, beside all connections but one, and return its way."""
        for pop, network in request.members.items():
            self._links.number_of(pop)
            self._stations(pop, network)
        others = [connection for connection in self._connections.values() if connection.id != apart_from]
        return admission.check(self._links, request, others)


def _pop_of(endpoint: str, known: Mapping[str, AttachedEndpoint]) -> str:
    if endpoint not in known:
        raise NotFound(f"no endpoint `{endpoint}`", hint="the graph lists those that are there")
    return known[endpoint].pop


def _wan_link(state: LinkState, *promises: Mapping[str, float]) -> WanLink:
    link = state.link
    ends = ((link.a, link.b), (link.b, link.a))
    there, back = (
        LinkDirection(*end, one.delay_s, one.rate_bps, reserved, _left(one.rate_bps, reserved))
        for end, one, reserved in zip(ends, link.directions, (sum(one.values()) for one in promises), strict=True)
    )
    return WanLink(link.name, state.up, link.price, (there, back), tuple({**promises[0], **promises[1]}))


def _left(rate_bps: float | None, reserved: float) -> float | None:
    return None if rate_bps is None else max(0.0, rate_bps - reserved)


def _edge(link: Link, told: WanLink) -> WanEdge:
    """A link as an edge, with the values of the direction that has less to offer."""
    return WanEdge(
        *(link.name, link.a, link.b, slower(link)),
        rate_bps=_least(one.rate_bps for one in told.directions),
        price=told.price,
        available_bps=_least(one.available_bps for one in told.directions),
    )


def _least(rates: Iterable[float | None]) -> float | None:
    return min((rate for rate in rates if rate is not None), default=None)


def _request(connection: Connection) -> ConnectionRequest:
    return ConnectionRequest(connection.tag, connection.members, **_bounds(connection))


def _of(request: ConnectionRequest, connection: Connection) -> Connection:
    """A connection as it is wanted."""
    return replace(connection, members=dict(request.members), **_bounds(request))  # type: ignore[arg-type]


def _bounds(one: Connection | ConnectionRequest) -> dict[str, float | None]:
    return {"rate_bps": one.rate_bps, "max_delay_s": one.max_delay_s, "max_rate_bps": one.max_rate_bps}


def _same(standing: Connection, request: ConnectionRequest) -> Connection:
    if dict(standing.members) != dict(request.members):
        raise Conflict(f"connection `{request.tag}` joins other networks", hint="use another tag, or remove it first")
    if _bounds(standing) != _bounds(request):
        raise Conflict(
            f"connection `{request.tag}` stands with other bounds", hint=f"change them: PATCH its id, `{standing.id}`"
        )
    return standing
