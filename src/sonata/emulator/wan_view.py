"""The wide area as those see it who ask for connections: its graph, links with what is left of them, paths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sonata._lib.values import dataclass
from sonata.emulator.links import Links, LinkState, slower
from sonata.emulator.reservations import Connection, promised
from sonata.emulator.wan_paths import Direction, Paths
from sonata.errors import Conflict, NotFound
from sonata.model.infrastructure import AttachedEndpoint, PopFigures, WanEdge, WanGraph
from sonata.model.topology import Link

Promises = Mapping[Direction, Mapping[str, float]]


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


@dataclass(frozen=True, slots=True)
class Hop:
    """A link on a path, in the direction in which it is passed."""

    link: str
    direction: LinkDirection


@dataclass(frozen=True, slots=True)
class WanPath:
    """Where packets from one PoP to another pass now, with what there is on the whole of it.

    Args:
        price: of a reservation of 1 Gbit/s on all its links, both ways, for an hour.
    """

    origin: str
    target: str
    delay_s: float
    rate_bps: float | None
    available_bps: float | None
    price: float
    hops: tuple[Hop, ...]


class WanView:
    """What can be seen of one emulation's wide area.

    Args:
        connections: those that there are, oldest first.
        endpoints: by name.
    """

    def __init__(
        self,
        links: Links,
        connections: Callable[[], Iterable[Connection]],
        endpoints: Callable[[], Mapping[str, AttachedEndpoint]],
    ) -> None:
        self._links = links
        self._paths = Paths(links)
        self._connections = connections
        self._endpoints = endpoints
        self.figures: Callable[[], Mapping[str, PopFigures]] = dict

    def graph(self) -> WanGraph:
        """PoPs, links that are up, endpoints; what PoPs cost and draw."""
        links = {link.name: link for link in self.links()}
        edges = [_edge(state.link, links[state.name]) for state in self._links if state.up]
        return WanGraph(tuple(self._links.pops), tuple(edges), dict(self._endpoints()), self.figures())

    def links(self) -> list[WanLink]:
        """All links between PoPs, with what is reserved and left of each direction."""
        promises = promised(self._paths, self._connections())
        return [_wan_link(state, promises) for state in self._links]

    def path(self, origin: str, target: str) -> WanPath:
        """Where packets between two PoPs, or between those of endpoints, pass now.

        Raises:
            NotFound: no such PoP or endpoint.
            Conflict: there is no path.
        """
        near, far = self._pop_of(origin), self._pop_of(target)
        directions = self._paths.path(near, far)
        if directions is None:
            raise Conflict(f"no path between `{near}` and `{far}`", hint="bring a link up, or choose other PoPs")
        promises = promised(self._paths, self._connections())
        passed = [(self._links.get(name), way) for name, way in directions]
        hops = tuple(Hop(state.name, _direction(state.link, way, promises)) for state, way in passed)
        return WanPath(
            *(near, far),
            delay_s=sum(hop.direction.delay_s for hop in hops),
            rate_bps=_least(hop.direction.rate_bps for hop in hops),
            available_bps=_least(hop.direction.available_bps for hop in hops),
            price=sum(state.link.price for state, _ in passed),
            hops=hops,
        )

    def ending_at(self, pop: str = "", network: str = "", endpoint: str = "") -> list[Connection]:
        """Connections with a member in this PoP, or in the one of this endpoint, and of this network.

        Raises:
            NotFound: no such PoP or endpoint.
        """
        if endpoint:
            pop = self._pop_of_endpoint(endpoint)
        if pop:
            self._links.pops.number_of(pop)
        return [
            connection
            for connection in self._connections()
            if any(pop in ("", own) and network in ("", net) for own, net in connection.members.items())
        ]

    def _pop_of(self, name: str) -> str:
        if name not in self._links.pops.numbers and name in self._endpoints():
            return self._pop_of_endpoint(name)
        self._links.pops.number_of(name)
        return name

    def _pop_of_endpoint(self, name: str) -> str:
        known = self._endpoints()
        if name not in known:
            raise NotFound(f"no endpoint `{name}`", hint="the graph lists those that are there")
        return known[name].pop


def _wan_link(state: LinkState, promises: Promises) -> WanLink:
    tags = dict.fromkeys(tag for way in (0, 1) for tag in promises.get((state.name, way), {}))
    there, back = (_direction(state.link, way, promises) for way in (0, 1))
    return WanLink(state.name, state.up, state.link.price, (there, back), tuple(tags))


def _direction(link: Link, way: int, promises: Promises) -> LinkDirection:
    one, ends = link.directions[way], (link.a, link.b)
    reserved = sum(promises.get((link.name, way), {}).values())
    left = None if one.rate_bps is None else max(0.0, one.rate_bps - reserved)
    return LinkDirection(ends[way], ends[1 - way], one.delay_s, one.rate_bps, reserved, left)


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
