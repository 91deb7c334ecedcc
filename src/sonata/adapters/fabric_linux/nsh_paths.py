"""Service paths and indexes of chains, as network service headers carry them: values only, no kernel.

A chain that leads through several PoPs comes to us in parts, one of each PoP, which nobody tells to belong together.
Parts do when one leads to a function in another PoP in which the other one has that same function, for packets of the
same kind. They are one service path then: the path has one identifier, and the index falls along all of it.

Returning packets have a path of their own. Where several functions share the flows of a place, each but the first has
a further identifier, so that identifier and index name one function everywhere.

Source: RFC 8300, 2.3 (service path header); RFC 7665, 2.3 (service function paths, symmetric ones among them).
"""

from __future__ import annotations

from collections.abc import Iterator

from sonata._lib.values import dataclass
from sonata.errors import QuotaExceeded
from sonata.ports.fabric import ChainSpec, Hop

FIRST_INDEX = 255
_MOST_PATHS = 0xFFFFFF


@dataclass(frozen=True, slots=True)
class Waypoint:
    """A point of a service path: its identifier (SPI), and the index (SI) with which packets come to a function."""

    path: int
    index: int

    @property
    def behind(self) -> Waypoint:
        """Where packets are that the function gives back: it counts the index down."""
        return Waypoint(self.path, self.index - 1)


@dataclass(frozen=True, slots=True)
class Course:
    """The whole way that a part of a chain belongs to.

    Args:
        leader: number of the first of its parts.
        start: at which of the places the part begins.
        places: MAC addresses of the functions of each place.
        others: ids of its other parts.
    """

    leader: int
    start: int
    places: tuple[tuple[str, ...], ...]
    others: frozenset[str]

    def is_single(self, position: int) -> bool:
        """Whether one function alone is at a place of the part; at none beyond its end."""
        at = self.start + position
        return at < len(self.places) and len(self.places[at]) == 1


class Paths:
    """Knows all parts of chains, and numbers the points of their paths: alike wherever they are asked for."""

    def __init__(self) -> None:
        self._parts: dict[str, ChainSpec] = {}
        self._order: dict[str, int] = {}
        self._identifiers: dict[tuple[int, bool, int], int] = {}

    def learn(self, part: ChainSpec) -> None:
        """Take note of a part, or of what it is now."""
        self._parts[part.id] = part
        self._order.setdefault(part.id, len(self._order))

    def forget(self, part_id: str) -> None:
        """A part is gone; should it come back, it has its identifiers again."""
        self._parts.pop(part_id, None)

    def course(self, part_id: str) -> Course | None:
        """What a part belongs to; None for one that is not known."""
        if part_id not in self._parts:
            return None
        offsets = self._offsets(part_id)
        start = min(offsets.values())
        places: dict[int, dict[str, None]] = {}
        for name in sorted(offsets, key=self._order.__getitem__):
            for position, place in enumerate(self._parts[name].hops, start=offsets[name] - start):
                places.setdefault(position, {}).update(dict.fromkeys(_functions(place)))
        return Course(
            min(map(self._order.__getitem__, offsets)),
            offsets[part_id] - start,
            tuple(tuple(places.get(position, ())) for position in range(max(places) + 1)),
            frozenset(offsets) - {part_id},
        )

    def waypoint(self, course: Course, position: int, function: str, *, backward: bool) -> Waypoint:
        """How packets are marked for a function at a place of the part that the course was asked for.

        Raises:
            QuotaExceeded: the way is too long, or all identifiers are taken.
        """
        at = course.start + position
        passed = len(course.places) - 1 - at if backward else at
        if len(course.places) >= FIRST_INDEX:
            raise QuotaExceeded(f"a service path has at most {FIRST_INDEX - 1} places", hint="split the chain")
        number = self._identifier(course.leader, course.places[at].index(function), backward=backward)
        return Waypoint(number, FIRST_INDEX - passed)

    def _identifier(self, leader: int, variant: int, *, backward: bool) -> int:
        number = self._identifiers.setdefault((leader, backward, variant), len(self._identifiers) + 1)
        if number > _MOST_PATHS:
            raise QuotaExceeded(
                f"there have been {_MOST_PATHS} service paths in the life of this emulation",
                hint="start the emulation anew",
            )
        return number

    def _offsets(self, part_id: str) -> dict[str, int]:
        """The parts of one way, with where their first places are, seen from the first place of this part."""
        found = {part_id: 0}
        waiting = [part_id]
        while waiting:
            one = waiting.pop()
            for other in self._parts:
                if other not in found and (shift := _shift(self._parts[one], self._parts[other])) is not None:
                    found[other] = found[one] + shift
                    waiting.append(other)
        return found


def _shift(one: ChainSpec, other: ChainSpec) -> int | None:
    """At which place of a part another one begins; None when they do not belong together."""
    if one.pop == other.pop or not _has_packets_in_common(one, other):
        return None
    return next(_meetings(one, other), None)


def _has_packets_in_common(one: ChainSpec, other: ChainSpec) -> bool:
    return any(mine.common(theirs) for mine in one.classifiers for theirs in other.classifiers)


def _meetings(one: ChainSpec, other: ChainSpec) -> Iterator[int]:
    """The places that one of two parts has in its PoP, and the other one leads to."""
    for position, place in enumerate(one.hops):
        for further, candidate in enumerate(other.hops):
            is_same = not set(_functions(place)).isdisjoint(_functions(candidate))
            if is_same and is_local(place) != is_local(candidate):
                yield position - further


def is_local(place: Hop) -> bool:
    """Whether functions of a place are in the part's own PoP."""
    return any(hop.ingress.port_id for hop in place.all)


def _functions(place: Hop) -> list[str]:
    return [hop.ingress.mac for hop in place.all]
