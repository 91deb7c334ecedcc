"""Metrics as values: families as they are declared, and points as they were read at one moment.

Names and units follow Prometheus' conventions: base units, `_total` for what only grows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from sonata._lib.values import dataclass

Labels = tuple[tuple[str, str], ...]
"""Label names with their values, ordered by name."""


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """What is counted or measured under one name; there is one object for each.

    Args:
        name: of its series; those of a histogram have `_bucket`, `_sum` and `_count` after it.
        help: what it is, in one sentence.
        labels: what tells its series apart.
        group: under which heading the reference lists it.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    group: str = ""

    def labelled(self, *values: str) -> Labels:
        """Its labels with these values, which are in the order of `labels`; empty ones are left out."""
        return tuple(sorted(pair for pair in zip(self.labels, values, strict=True) if pair[1]))


class Point(NamedTuple):
    """A series' value at a moment; `suffix` follows the family's name."""

    labels: Labels
    value: float
    suffix: str = ""


Readings = Mapping[Family, Sequence[Point]]
"""All that was read at one moment."""


class SeriesKey(NamedTuple):
    """What tells a series from all others."""

    name: str
    labels: Labels
