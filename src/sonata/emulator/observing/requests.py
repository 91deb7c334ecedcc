"""How long requests take: a histogram for each service."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from sonata.model.metrics import Family, Point

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class RequestTimes:
    """Durations by service; as cheap as a request deserves."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def note(self, service: str, seconds: float) -> None:
        """Note that a request was answered."""
        counts = self._counts.get(service)
        if counts is None:
            counts = self._counts[service] = [0] * (len(BOUNDS_S) + 1)
            self._sums[service] = 0.0
        counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sums[service] += seconds

    def points(self, family: Family) -> Iterator[Point]:
        """The histogram as Prometheus wants it: buckets that hold all that was quicker."""
        for service, counts in self._counts.items():
            labels = family.labelled(service)
            for bound, below in zip((*map(str, BOUNDS_S), "+Inf"), accumulate(counts), strict=True):
                yield Point(tuple(sorted((*labels, ("le", bound)))), below, "_bucket")
            yield Point(labels, self._sums[service], "_sum")
            yield Point(labels, sum(counts), "_count")
