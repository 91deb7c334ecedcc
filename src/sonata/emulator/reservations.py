"""What connections have reserved of the links on their way: who gets what, who gets less, and what it costs.

A connection has its rate between each two of its members, each way, on the path that packets take now. Where a link has
less than all were promised, since it was made slower or paths have moved there, older connections come first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Literal

from sonata.emulator.links import Links
from sonata.ports.fabric import Reservation

Direction = tuple[str, int]
"""A link by name, and 0 for its way from `a` to `b`, 1 for the way back."""
State = Literal["active", "degraded", "down"]
Shares = dict[str, tuple[dict[int, Reservation], dict[int, Reservation]]]
"""What is reserved of links, each way, by VNI."""

_LEAST_BPS = 8_000.0
_GIGABIT = 1e9


@dataclass(frozen=True, slots=True)
class Connection:
    """Networks of several PoPs that are one layer 2 network.

    Args:
        rate_bps: reserved between each two members, each way; None for best effort.
        max_rate_bps: the most that passes there; None for as much as is left.
        max_delay_s: bound of the one-way delay.
        delay_s: longest one-way delay between two of its members now.
        state: `degraded` when less than was promised holds, `down` when members do not reach each other.
        reason: why it is not active.
        links: that it passes now.
        price_per_hour: of its reservations on these links.
    """

    id: str
    tag: str
    vni: int
    members: Mapping[str, str]
    rate_bps: float | None
    max_delay_s: float | None
    delay_s: float
    max_rate_bps: float | None = None
    state: State = "active"
    reason: str = ""
    links: tuple[str, ...] = ()
    price_per_hour: float = 0.0


@dataclass(frozen=True, slots=True)
class Way:
    """Where the packets of a connection pass now.

    Args:
        passes: number of pairs of members whose packets pass, by direction of a link.
        delays: one-way delay by pair of members.
        cut: pairs between which there is no path.
    """

    passes: Mapping[Direction, int]
    delays: Mapping[tuple[str, str], float]
    cut: Sequence[tuple[str, str]]

    @property
    def delay_s(self) -> float:
        """Longest one-way delay."""
        return max(self.delays.values(), default=0.0)

    @property
    def links(self) -> tuple[str, ...]:
        """Names of the links on it."""
        return tuple(dict.fromkeys(name for name, _ in self.passes))


@dataclass(slots=True)
class Verdicts:
    """What holds for connections now.

    Args:
        shares: what the links are to keep free for them.
        troubles: by connection id why it has less than was promised.
        ways: by connection id.
    """

    shares: Shares = field(default_factory=lambda: defaultdict(lambda: ({}, {})))
    troubles: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    ways: dict[str, Way] = field(default_factory=dict)

    def state_of(self, connection: Connection) -> tuple[State, str]:
        """State of a connection with the reason."""
        way = self.ways[connection.id]
        if way.cut:
            a, b = way.cut[0]
            return "down", f"no path between `{a}` and `{b}`"
        troubles = [*_too_slow(connection, way), *self.troubles.get(connection.id, ())]
        return ("degraded", "; ".join(troubles)) if troubles else ("active", "")

    def judged(self, links: Links, connection: Connection) -> Connection:
        """A connection as it is now."""
        way, (state, reason) = self.ways[connection.id], self.state_of(connection)
        price = price_per_hour(links, way, connection.rate_bps)
        return replace(
            connection, state=state, reason=reason, links=way.links, delay_s=way.delay_s, price_per_hour=price
        )


def way_of(links: Links, members: Iterable[str]) -> Way:
    """Where packets between these PoPs pass now."""
    passes: Counter[Direction] = Counter()
    delays: dict[tuple[str, str], float] = {}
    cut = []
    for a, b in permutations(members, 2):
        path = _path(links, a, b)
        if path is None:
            cut.append((a, b))
            continue
        passes.update(path)
        delays[a, b] = sum(links.get(name).link.directions[way].delay_s for name, way in path)
    return Way(passes, delays, cut)


def judge(links: Links, connections: Iterable[Connection]) -> Verdicts:
    """Give connections, the oldest first, what links have for them."""
    found, given = Verdicts(), defaultdict[Direction, float](float)
    for connection in connections:
        found.ways[connection.id] = way = way_of(links, connection.members)
        if connection.rate_bps is None:
            continue
        for direction, pairs in way.passes.items():
            wanted, capacity = pairs * connection.rate_bps, capacity_of(links, direction)
            granted = wanted if capacity is None else max(0.0, min(wanted, capacity - given[direction]))
            given[direction] += granted
            if granted < wanted:
                short = f"{_place(links, direction)} has {granted:g} of the {wanted:g} bit/s promised left"
                found.troubles[connection.id].append(short)
            most = pairs * connection.max_rate_bps if connection.max_rate_bps else None
            if most or granted >= _LEAST_BPS:
                name, number = direction
                found.shares[name][number][connection.vni] = Reservation(max(granted, _LEAST_BPS), most)
    return found


def promised(links: Links, connections: Iterable[Connection]) -> Mapping[Direction, Mapping[str, float]]:
    """Bits per second promised, by direction of links and by the connection's tag."""
    promises: dict[Direction, dict[str, float]] = defaultdict(dict)
    for connection in connections:
        if connection.rate_bps is not None:
            for direction, pairs in way_of(links, connection.members).passes.items():
                promises[direction][connection.tag] = pairs * connection.rate_bps
    return promises


def capacity_of(links: Links, direction: Direction) -> float | None:
    """Rate of a link in a direction, None when unlimited."""
    name, number = direction
    return links.get(name).link.directions[number].rate_bps


def price_per_hour(links: Links, way: Way, rate_bps: float | None) -> float:
    """What a reservation on this way costs: each direction is half of a link's price."""
    prices = (pairs * links.get(name).link.price / 2 for (name, _), pairs in way.passes.items())
    return (rate_bps or 0.0) / _GIGABIT * sum(prices)


def _too_slow(connection: Connection, way: Way) -> Iterator[str]:
    bound = connection.max_delay_s
    if bound is not None and way.delay_s > bound:
        (a, b), delay_s = max(way.delays.items(), key=lambda item: item[1])
        yield f"from `{a}` to `{b}` it takes {delay_s:g} s, {bound:g} s were promised"


def _place(links: Links, direction: Direction) -> str:
    name, number = direction
    link = links.get(name).link
    return f"link `{name}` from `{(link.a, link.b)[number]}`"


def _path(links: Links, a: str, b: str) -> list[Direction] | None:
    here, target = links.number_of(a), links.number_of(b)
    edges = links.routing.path(here, target)
    if edges is None:
        return None
    steps = []
    for edge in edges:
        steps.append((edge.name, int(here != edge.a)))
        here = edge.b if here == edge.a else edge.a
    return steps
