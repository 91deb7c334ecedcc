"""The links that connections take, as packets are led now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations

from sonata.emulator.links import Links, slower
from sonata.emulator.routing import Edge
from sonata.errors import Conflict


class Paths:
    """Paths between the PoPs of one emulation."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def links_of(self, pops: Iterable[str]) -> Iterator[str]:
        """Names of the links between each two of some PoPs, as often as they are used."""
        for a, b in combinations(pops, 2):
            yield from (edge.name for edge in self._route(a, b) or ())

    def longest_delay(self, pops: Iterable[str], most: float | None) -> float:
        """Longest one-way delay between two of some PoPs, in seconds.

        Raises:
            Conflict: two have no path between them, or none within `most`.
        """
        worst = 0.0
        for a, b in combinations(pops, 2):
            delay_s = sum(self.delay_and_rate(edge.name)[0] for edge in self._path(a, b))
            if most is not None and delay_s > most:
                raise Conflict(
                    f"no path between `{a}` and `{b}` within {most:g} s: the quickest takes {delay_s:g} s",
                    hint="place the functions closer together, or allow more delay",
                )
            worst = max(worst, delay_s)
        return worst

    def delay_and_rate(self, name: str) -> tuple[float, float | None]:
        """Delay and rate of a link in the direction that has less to offer."""
        link = self._links.get(name).link
        rates = [direction.rate_bps for direction in link.directions if direction.rate_bps is not None]
        return slower(link), min(rates, default=None)

    def _route(self, a: str, b: str) -> list[Edge] | None:
        pops = self._links.pops
        return self._links.routing.path(pops.number_of(a), pops.number_of(b))

    def _path(self, a: str, b: str) -> list[Edge]:
        path = self._route(a, b)
        if path is None:
            raise Conflict(f"no path between `{a}` and `{b}`", hint="bring a link up, or choose other PoPs")
        return path
