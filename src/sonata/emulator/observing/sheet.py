"""A sheet on which one reading of all metrics is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sonata.emulator.observing.families import FAMILIES
from sonata.model.metrics import Family, Labels, Point

Readable = dict[Family, list[Point]]


class Sheet:
    """Points by family, in the order of their declaration."""

    def __init__(self) -> None:
        self.readings: Readable = {family: [] for family in FAMILIES}

    def put(self, labels: Labels, values: Mapping[Family, float | None]) -> None:
        """Values of families that share labels; None is left out."""
        for family, value in values.items():
            if value is not None:
                self.readings[family].append(Point(labels, value))

    def extend(self, family: Family, points: Iterable[Point]) -> None:
        """Points that are ready."""
        self.readings[family].extend(points)
