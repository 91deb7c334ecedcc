"""What connections have reserved of the links on their way: who gets what, who gets less, and what it costs.

A connection has its rate between each two of its members, each way, on the path that packets take now. Where a link has
less than all were promised, since it was made slower or paths have moved there, older connections come first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from typing import Literal

from sonata._lib.quantities import format_rate
from sonata._lib.values import dataclass
from sonata.emulator.wan_paths import Direction, Passage, Paths
from sonata.ports.fabric import Reservation

State = Literal["active", "degraded", "down"]
Shares = dict[str, tuple[dict[int, Reservation], dict[int, Reservation]]]
"""What is reserved of links, each way, by VNI."""

LEAST_BPS = 8_000.0
"""The slowest rate that a connection can reserve, and that the data plane can hold."""
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

    def without(self, *pops: str) -> Connection | None:
        """The same without its members in some PoPs; None when it then joins nothing."""
        members = {pop: network for pop, network in self.members.items() if pop not in pops}
        return replace(self, members=members) if len(members) > 1 else None


@dataclass(slots=True)
class Verdicts:
    """What holds for connections now.

    Args:
        shares: what the links are to keep free for them.
        troubles: by connection id why it has less than was promised.
        passages: by connection id.
    """

    shares: Shares = field(default_factory=lambda: defaultdict(lambda: ({}, {})))
    troubles: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    passages: dict[str, Passage] = field(default_factory=dict)

    def state_of(self, connection: Connection) -> tuple[State, str]:
        """State of a connection with the reason."""
        passage = self.passages[connection.id]
        if passage.cut:
            a, b = passage.cut[0]
            return "down", f"no path between `{a}` and `{b}`"
        troubles = [*_too_slow(connection, passage), *self.troubles.get(connection.id, ())]
        return ("degraded", "; ".join(troubles)) if troubles else ("active", "")

    def judged(self, paths: Paths, connection: Connection) -> Connection:
        """A connection as it is now."""
        passage, (state, reason) = self.passages[connection.id], self.state_of(connection)
        return replace(
            connection,
            state=state,
            reason=reason,
            links=passage.links,
            delay_s=passage.delay_s,
            price_per_hour=price_per_hour(paths, passage, connection.rate_bps),
        )


def judge(paths: Paths, connections: Iterable[Connection]) -> Verdicts:
    """Give connections, the oldest first, what links have for them."""
    found, given = Verdicts(), defaultdict[Direction, float](float)
    for connection in connections:
        found.passages[connection.id] = passage = paths.between(connection.members)
        if connection.rate_bps is None:
            continue
        for direction, pairs in passage.pairs.items():
            wanted, capacity = pairs * connection.rate_bps, paths.rate_of(direction)
            granted = wanted if capacity is None else max(0.0, min(wanted, capacity - given[direction]))
            given[direction] += granted
            if granted < wanted:
                short = f"{paths.named(direction)} has {rate_text(granted)} of the {rate_text(wanted)} promised left"
                found.troubles[connection.id].append(short)
            most = pairs * connection.max_rate_bps if connection.max_rate_bps else None
            if most or granted >= LEAST_BPS:
                name, way = direction
                found.shares[name][way][connection.vni] = Reservation(max(granted, LEAST_BPS), most)
    return found


def promised(paths: Paths, connections: Iterable[Connection]) -> Mapping[Direction, Mapping[str, float]]:
    """Bits per second promised, by direction of links and by the connection's tag."""
    promises: dict[Direction, dict[str, float]] = defaultdict(dict)
    for connection in connections:
        if connection.rate_bps is not None:
            for direction, pairs in paths.between(connection.members).pairs.items():
                promises[direction][connection.tag] = pairs * connection.rate_bps
    return promises


def price_per_hour(paths: Paths, passage: Passage, rate_bps: float | None) -> float:
    """What a reservation on this passage costs: each direction is half of a link's price."""
    prices = (pairs * paths.price_of(name) / 2 for (name, _), pairs in passage.pairs.items())
    return (rate_bps or 0.0) / _GIGABIT * sum(prices)


def rate_text(rate_bps: float) -> str:
    """A rate for people, in whole bits per second."""
    return format_rate(round(rate_bps))


def _too_slow(connection: Connection, passage: Passage) -> Iterator[str]:
    bound = connection.max_delay_s
    if bound is not None and passage.delay_s > bound:
        (a, b), delay_s = max(passage.delays.items(), key=lambda item: item[1])
        yield f"from `{a}` to `{b}` it takes {delay_s:g} s, {bound:g} s were promised"
