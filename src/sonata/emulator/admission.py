"""Which connections there may be: bounds that make sense, paths that keep them, links that have enough left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sonata.emulator.reservations import LEAST_BPS, Connection, promised, rate_text
from sonata.emulator.wan_paths import Passage, Paths
from sonata.errors import Conflict, InvalidInput, QuotaExceeded
from sonata.model.topology import Link
from sonata.ports.wim import ConnectionRequest


def check(paths: Paths, request: ConnectionRequest, others: Sequence[Connection]) -> Passage:
    """Check what is wanted beside other connections, and return where it would pass.

    Raises:
        InvalidInput: fewer than two members, or values out of range.
        Conflict: a network is in another connection, or no path keeps the bounds.
        QuotaExceeded: a link on the way has not enough bandwidth left.
    """
    _check_values(request)
    for pop, network in request.members.items():
        _check_free(pop, network, others)
    passage = paths.between(request.members)
    _check_delay(request, passage)
    _check_rate(paths, request, passage, others)
    return passage


def broken_promises(paths: Paths, connections: Iterable[Connection], before: Link, after: Link) -> Iterator[str]:
    """Why a link cannot be made slower: each direction in which more is promised, with the connections."""
    promises = promised(paths, connections)
    ends = (before.a, before.b)
    for way, (was, will) in enumerate(zip(before.directions, after.directions, strict=True)):
        tags = promises.get((before.name, way), {})
        if will.rate_bps is not None and will.rate_bps != was.rate_bps and will.rate_bps < sum(tags.values()):
            named = ", ".join(f"`{tag}`" for tag in tags)
            yield (
                f"link `{before.name}` has {rate_text(sum(tags.values()))} from `{ends[way]}` promised to connections: "
                f"{named}; it cannot have {rate_text(will.rate_bps)}"
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


def _check_delay(request: ConnectionRequest, passage: Passage) -> None:
    for a, b in passage.cut:
        raise Conflict(f"no path between `{a}` and `{b}`", hint="bring a link up, or choose other PoPs")
    for (a, b), delay_s in passage.delays.items():
        if request.max_delay_s is not None and delay_s > request.max_delay_s:
            raise Conflict(
                f"no path between `{a}` and `{b}` within {request.max_delay_s:g} s: the quickest takes {delay_s:g} s",
                hint="place the functions closer together, or allow more delay",
            )


def _check_rate(paths: Paths, request: ConnectionRequest, passage: Passage, others: Sequence[Connection]) -> None:
    if request.rate_bps is None:
        return
    promises = promised(paths, others)
    for direction, pairs in passage.pairs.items():
        capacity, wanted = paths.rate_of(direction), pairs * request.rate_bps
        if capacity is None:
            continue
        left = max(0.0, capacity - sum(promises.get(direction, {}).values()))
        if wanted > left:
            raise QuotaExceeded(
                f"link `{direction[0]}` has {rate_text(left)} of {rate_text(capacity)} left, "
                f"{rate_text(wanted)} are wanted",
                hint="remove connections, or ask for less",
            )
