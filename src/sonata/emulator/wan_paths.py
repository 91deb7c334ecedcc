"""The links that connections take, as packets are led now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations

from sonata._lib.values import dataclass
from sonata.emulator.links import Links

Direction = tuple[str, int]
"""A link by name, and 0 for its way from `a` to `b`, 1 for the way back."""


@dataclass(frozen=True, slots=True)
class Passage:
    """Where packets between some PoPs pass now.

    Args:
        pairs: number of ordered pairs of PoPs whose packets pass, by direction of a link.
        delays: one-way delay by pair of PoPs.
        cut: pairs between which there is no path.
    """

    pairs: Mapping[Direction, int]
    delays: Mapping[tuple[str, str], float]
    cut: Sequence[tuple[str, str]]

    @property
    def delay_s(self) -> float:
        """Longest one-way delay."""
        return max(self.delays.values(), default=0.0)

    @property
    def links(self) -> tuple[str, ...]:
        """Names of the links on it."""
        return tuple(dict.fromkeys(name for name, _ in self.pairs))


class Paths:
    """Paths between the PoPs of one emulation, and what the links on them have."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def between(self, pops: Iterable[str]) -> Passage:
        """Where packets between each two of some PoPs pass, both ways."""
        pairs: Counter[Direction] = Counter()
        delays: dict[tuple[str, str], float] = {}
        cut = []
        for a, b in permutations(pops, 2):
            path = self.path(a, b)
            if path is None:
                cut.append((a, b))
                continue
            pairs.update(path)
            delays[a, b] = sum(self._links.get(name).link.directions[way].delay_s for name, way in path)
        return Passage(pairs, delays, cut)

    def rate_of(self, direction: Direction) -> float | None:
        """Rate of a link in a direction, None when unlimited."""
        name, way = direction
        return self._links.get(name).link.directions[way].rate_bps

    def price_of(self, name: str) -> float:
        """Price of a link."""
        return self._links.get(name).link.price

    def named(self, direction: Direction) -> str:
        """A direction of a link, for people."""
        name, way = direction
        link = self._links.get(name).link
        return f"link `{name}` from `{(link.a, link.b)[way]}`"

    def path(self, a: str, b: str) -> list[Direction] | None:
        """Links from one PoP to another in order, None when there is no path."""
        pops = self._links.pops
        here, target = pops.number_of(a), pops.number_of(b)
        edges = self._links.routing.path(here, target)
        if edges is None:
            return None
        steps = []
        for edge in edges:
            steps.append((edge.name, int(here != edge.a)))
            here = edge.b if here == edge.a else edge.a
        return steps
