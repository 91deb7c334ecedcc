"""Connections of the wide area: networks of several PoPs that are one, with what is promised to them."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import count

from sonata.emulator import admission, reservations
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.events import EventLog
from sonata.emulator.holding import Holding
from sonata.emulator.links import Links
from sonata.emulator.pops import Pops
from sonata.emulator.reservations import Connection
from sonata.emulator.wan_paths import Passage, Paths
from sonata.emulator.wan_view import WanView
from sonata.errors import Conflict, NotFound, SonataError
from sonata.model.infrastructure import AttachedEndpoint
from sonata.model.topology import Link
from sonata.ports.fabric import SpanSpec
from sonata.ports.wim import ConnectionRequest

logger = logging.getLogger(__name__)

Stations = Callable[[str, str], tuple[str, ...]]
"""MAC addresses of the ports on a network: (pop, network id) to addresses; raises NotFound without such a network."""


class Wan:
    """Connections of one emulation, and the `view` of what they pass."""

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
        self._connections: dict[str, Connection] = {}
        self._holding = Holding(plane)
        self._turn = asyncio.Lock()
        self.on_change: Callable[[], None] = lambda: None
        self.view = WanView(links, self.connections, endpoints)
        links.may_change = self.keep_promises
        links.on_change = self._links_changed

    async def restore(self, saved: Iterable[Connection]) -> None:
        """Make the connections of an earlier life again, between those of their networks that are still there."""
        async with self._turn:
            for connection in saved:
                members = connection.members.items()
                gone = [pop for pop, net in members if not _stands(self._links.pops, self._stations, pop, net)]
                kept = connection.without(*gone)
                if kept is None:
                    logger.warning("connection `%s` is dropped: its networks are gone", connection.tag)
                    continue
                await self._span(kept)
                self._connections[kept.id] = kept
            await self._review()

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
            Conflict: the tag stands for other members or bounds, a network is in another connection, or no path keeps
                the bounds.
            QuotaExceeded: a link on the way has not enough bandwidth left.
        """
        async with self._turn:
            if standing := next((c for c in self._connections.values() if c.tag == request.tag), None):
                return _same(standing, request)
            passage = self._check(request)
            vni = _free_vni(self._connections.values())
            wanted = _of(request, Connection(str(uuid.uuid4()), request.tag, vni, {}, None, None, passage.delay_s))
            await self._put(wanted)
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
            await self._drop(connection_id)
            await self._review()
            self.on_change()

    async def forget(self, pop: str) -> None:
        """Let a PoP that is about to go be in no connection; one that joins nothing then goes, too."""
        async with self._turn:
            for connection in [one for one in self._connections.values() if pop in one.members]:
                kept = connection.without(pop)
                if kept is None:
                    await self._drop(connection.id)
                else:
                    await self._span(kept)
                    self._connections[kept.id] = kept
                    self._events.tell("connection.changed", kept.id, tag=kept.tag, members=kept.members)
            await self._review()
            self.on_change()

    def broken_promises(self, before: Link, after: Link, leaving: Iterable[str] = ()) -> list[str]:
        """Why a link should not be changed so: connections, without PoPs that are leaving, have more reserved of it."""
        staying = [kept for one in self._connections.values() if (kept := one.without(*leaving))]
        return list(admission.broken_promises(self._paths, staying, before, after))

    def keep_promises(self, before: Link, after: Link) -> None:
        """Refuse to change a link so.

        Raises:
            Conflict: connections have more reserved of it.
        """
        if reasons := self.broken_promises(before, after):
            raise Conflict(
                "; ".join(reasons),
                hint="remove or change them first, or force it (`force`, `--force`): the youngest then get less",
            )

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

    async def _drop(self, connection_id: str) -> None:
        await self._plane.run(lambda fabric: fabric.networks.remove_span(connection_id))
        del self._connections[connection_id]
        self._events.tell("connection.removed", connection_id)

    async def _span(self, connection: Connection) -> None:
        stations = {pop: _stations_of(self._stations, pop, network) for pop, network in connection.members.items()}
        span = SpanSpec(connection.id, connection.vni, connection.members, stations)
        await self._plane.run(lambda fabric: fabric.networks.set_span(span))

    async def _links_changed(self) -> None:
        if self._connections:
            async with self._turn:
                await self._review()

    async def _review(self) -> None:
        """Hold on the links what connections have reserved of them now, and tell whose promises changed."""
        verdicts = reservations.judge(self._paths, self._connections.values())
        await self._holding.hold(verdicts.shares)
        for connection in tuple(self._connections.values()):
            now = verdicts.judged(self._paths, connection)
            if now != connection:
                self._connections[now.id] = now
                self.on_change()
            if now.state != connection.state:
                self._events.tell("connection.state", now.id, tag=now.tag, state=now.state, reason=now.reason)

    def _check(self, request: ConnectionRequest, apart_from: str = "") -> Passage:
        """Check what is wanted, beside all connections but one, and return where it would pass."""
        for pop, network in request.members.items():
            self._links.pops.number_of(pop)
            self._stations(pop, network)
        others = [connection for connection in self._connections.values() if connection.id != apart_from]
        return admission.check(self._paths, request, others)


def _stands(pops: Pops, stations: Stations, pop: str, network: str) -> bool:
    try:
        pops.number_of(pop)
        stations(pop, network)
    except NotFound:
        return False
    return True


def _stations_of(known: Stations, pop: str, network: str) -> tuple[str, ...]:
    try:
        return known(pop, network)
    except NotFound:  # the network was deleted while it was connected
        return ()


def _free_vni(connections: Iterable[Connection]) -> int:
    used = {connection.vni for connection in connections}
    return next(vni for vni in count(1) if vni not in used)


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
