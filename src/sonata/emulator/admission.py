"""Which connections there may be: bounds that make sense, paths that keep them, links that have enough left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sonata.emulator.links import Links, LinkState
from sonata.emulator.reservations import Connection, Way, capacity_of, promised, way_of
from sonata.errors import Conflict, InvalidInput, QuotaExceeded
from sonata.model.topology import Link
from sonata.ports.wim import ConnectionRequest

LEAST_BPS = 8_000


def check(links: Links, request: ConnectionRequest, others: Sequence[Connection]) -> Way:
    """Check what is wanted beside other connections, and return its way.

    Raises:
        InvalidInput: fewer than two members, or values out of range.
        Conflict: a network is in another connection, or no path keeps the bounds.
        QuotaExceeded: a link on the way has not enough bandwidth left.
    """
    _check_values(request)
    for pop, network in request.members.items():
        _check_free(pop, network, others)
    way = way_of(links, request.members)
    _check_delay(request, way)
    _check_rate(links, request, way, others)
    return way


def keep_promises(links: Links, connections: Iterable[Connection], state: LinkState, link: Link) -> None:
    """Refuse to make a link slower than what is promised of it.

    Raises:
        Conflict: names the connections.
    """
    promises = promised(links, connections)
    for way, (before, after) in enumerate(zip(state.link.directions, link.directions, strict=True)):
        tags = promises.get((link.name, way), {})
        if after.rate_bps is not None and after.rate_bps != before.rate_bps and after.rate_bps < sum(tags.values()):
            named = ", ".join(f"`{tag}`" for tag in tags)
            raise Conflict(
                f"link `{link.name}` has {sum(tags.values()):g} bit/s from `{(link.a, link.b)[way]}` promised to "
                f"connections: {named}; it cannot have {after.rate_bps:g} bit/s",
                hint="remove or change them first, or force it (`force`, `--force`): the youngest then get less",
            )


def _check_values(request: ConnectionRequest) -> None:
    if len(request.members) < 2:
        raise InvalidInput("a connection joins networks of at least two PoPs", hint="give more members")
    if request.rate_bps is not None and not LEAST_BPS <= request.rate_bps < float("inf"):
        raise InvalidInput("the rate of a connection must be at least 8 kbit/s")
    if request.max_delay_s is not None and not request.max_delay_s >= 0:
        raise InvalidInput("the delay bound of a connection must be 0 s or more")
    if request.max_rate_bps is not None and not (request.rate_bps or float("inf")) <= request.max_rate_bps:
        raise InvalidInput(
            "the highest rate of a connection goes with a reserved one that is not above it",
            hint="give `rate_bps`, at most `max_rate_bps`",
        )


def _check_free(pop: str, network: str, others: Iterable[Connection]) -> None:
    for connection in others:
        if connection.members.get(pop) == network:
            raise Conflict(
                f"network `{network}` of PoP `{pop}` is in connection `{connection.tag}`",
                hint="remove that connection first",
            )


def _check_delay(request: ConnectionRequest, way: Way) -> None:
    for a, b in way.cut:
        raise Conflict(f"no path between `{a}` and `{b}`", hint="bring a link up, or choose other PoPs")
    for (a, b), delay_s in way.delays.items():
        if request.max_delay_s is not None and delay_s > request.max_delay_s:
            raise Conflict(
                f"no path between `{a}` and `{b}` within {request.max_delay_s:g} s: the quickest takes {delay_s:g} s",
                hint="place the functions closer together, or allow more delay",
            )


def _check_rate(links: Links, request: ConnectionRequest, way: Way, others: Sequence[Connection]) -> None:
    if request.rate_bps is None:
        return
    promises = promised(links, others)
    for direction, pairs in way.passes.items():
        capacity = capacity_of(links, direction)
        left = None if capacity is None else max(0.0, capacity - sum(promises.get(direction, {}).values()))
        if left is not None and pairs * request.rate_bps > left:
            raise QuotaExceeded(
                f"link `{direction[0]}` has {left:g} of {capacity:g} bit/s left, "
                f"{pairs * request.rate_bps:g} bit/s are wanted",
                hint="remove connections, or ask for less",
            )
