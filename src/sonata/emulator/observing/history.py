"""What metrics were: a ring of readings at even times, bounded in length and in memory."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from sonata._lib.values import dataclass
from sonata.model.metrics import Labels, Readings, SeriesKey

SPAN_S = 900.0
EVERY_S = 5.0
MOST_SAMPLES = 4_000_000
"""32 MiB; with more series than fit, the ring is shorter."""
_TRIM_BY = 16
_ABSENT = math.nan


class Samples(NamedTuple):
    """A series' samples in a span of time, oldest first; those moments at which it was not there are left out."""

    labels: Labels
    times: Sequence[float]
    values: Sequence[float]


@dataclass(slots=True)
class _Series:
    """Values at the last moments of the ring, as many as there are; `seen` is the number of its last reading."""

    values: array[float]
    seen: int


class History:
    """The ring.

    Args:
        span_s: how long readings are kept.
        most_samples: how many values are kept at most.
    """

    def __init__(self, span_s: float = SPAN_S, most_samples: int = MOST_SAMPLES) -> None:
        self._span_s = span_s
        self._most = most_samples
        self._times: list[float] = []
        self._series: dict[str, dict[Labels, _Series]] = {}
        self._count = 0
        self._number = 0

    @property
    def series_count(self) -> int:
        """How many series it knows."""
        return self._count

    @property
    def reach_s(self) -> float:
        """How far back it goes."""
        return self._times[-1] - self._times[0] if self._times else 0.0

    def record(self, at: float, readings: Readings) -> None:
        """Note what was read at a moment, later than all before."""
        self._number += 1
        self._times.append(at)
        for family, points in readings.items():
            for labels, value, suffix in points:
                self._note(family.name + suffix, labels, value)
        self._fill_gaps()
        self._forget(at)

    def shift(self, step_s: float) -> None:
        """Let all moments be so much later, since the clock by which they are told was set."""
        self._times = [at + step_s for at in self._times]

    def add(self, key: SeriesKey, value: float) -> None:
        """Note one more series for the last moment, as what a rule has made of others."""
        self._note(key.name, key.labels, value)

    def last(self, at: float, lookback_s: float) -> int | None:
        """Index of the last moment that is not after this one and not too long ago."""
        for index in range(len(self._times) - 1, -1, -1):
            if self._times[index] <= at:
                return index if at - self._times[index] <= lookback_s else None
        return None

    def instant(
        self, name: str | None, wanted: Callable[[str, Labels], bool], index: int
    ) -> Iterator[tuple[str, Labels, float]]:
        """Name, labels and value of series at a moment; a name of None stands for all."""
        for found, labels, series in self._select(name, wanted):
            place = index - (len(self._times) - len(series.values))
            if place >= 0 and not math.isnan(value := series.values[place]):
                yield found, labels, value

    def between(
        self, name: str | None, wanted: Callable[[str, Labels], bool], begin: float, end: float
    ) -> Iterator[tuple[str, Samples]]:
        """Samples of series from `begin` to `end`, both included; series without any are left out."""
        places = [index for index, at in enumerate(self._times) if begin <= at <= end]
        for found, labels, series in self._select(name, wanted):
            offset = len(self._times) - len(series.values)
            kept = [i for i in places if i >= offset and not math.isnan(series.values[i - offset])]
            if kept:
                yield found, Samples(labels, [self._times[i] for i in kept], [series.values[i - offset] for i in kept])

    def _select(self, name: str | None, wanted: Callable[[str, Labels], bool]) -> Iterator[tuple[str, Labels, _Series]]:
        for found in [name] if name is not None else list(self._series):
            for labels, series in self._series.get(found, {}).items():
                if wanted(found, labels):
                    yield found, labels, series

    def _note(self, name: str, labels: Labels, value: float) -> None:
        known = self._series.setdefault(name, {})
        series = known.get(labels)
        if series is None:
            known[labels] = _Series(array("d", (value,)), self._number)
            self._count += 1
        elif series.seen != self._number:
            series.values.append(value)
            series.seen = self._number
        else:
            series.values[-1] = value

    def _fill_gaps(self) -> None:
        for known in self._series.values():
            for series in known.values():
                if series.seen != self._number:
                    series.values.append(_ABSENT)

    def _forget(self, now: float) -> None:
        """Drop what is too old or too much, some moments at a time."""
        allowed = max(2, self._most // max(1, self._count))
        old = sum(1 for at in self._times if at < now - self._span_s)
        surplus = max(old, len(self._times) - allowed)
        if surplus < _TRIM_BY and len(self._times) - surplus > 1:
            return
        del self._times[:surplus]
        first = self._number - len(self._times) + 1
        for name, known in list(self._series.items()):
            for labels, series in list(known.items()):
                if series.seen < first:
                    del known[labels]
                    self._count -= 1
                elif (over := len(series.values) - len(self._times)) > 0:
                    del series.values[:over]
            if not known:
                del self._series[name]
