"""Links between PoPs as a wide area manager sees them: what of each direction is reserved, and what is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sonata.emulator.links import Links, LinkState, slower
from sonata.emulator.wan_paths import Direction
from sonata.model.infrastructure import WanEdge
from sonata.model.topology import Link


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


def wan_links(links: Links, promises: Mapping[Direction, Mapping[str, float]]) -> list[WanLink]:
    """All links between PoPs.

    Args:
        links: of the emulation.
        promises: bits per second by direction of a link and by tag of a connection.
    """
    return [_wan_link(state, *(promises.get((state.name, way), {}) for way in (0, 1))) for state in links]


def edge(link: Link, told: WanLink) -> WanEdge:
    """A link as an edge, with the values of the direction that has less to offer."""
    return WanEdge(
        *(link.name, link.a, link.b, slower(link)),
        rate_bps=_least(one.rate_bps for one in told.directions),
        price=told.price,
        available_bps=_least(one.available_bps for one in told.directions),
    )


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


def _least(rates: Iterable[float | None]) -> float | None:
    return min((rate for rate in rates if rate is not None), default=None)
