"""Whether a series of readings is flat: a straight line through them, and how sure its slope is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

SURE = 3.0
"""Standard errors of the slope within which it may be chance."""
NOTHING = 0.01
"""Share of a series' mean by which it may grow over all readings and still count as flat."""


@dataclass(frozen=True)
class Trend:
    """A straight line through a series.

    Args:
        mean: of the readings.
        grown: what the line gains from the first to the last of them.
        error: standard error of that.
    """

    mean: float
    grown: float
    error: float
    least: float
    most: float

    @property
    def is_flat(self) -> bool:
        """Whether it does not grow, or by what is chance or next to nothing."""
        return self.is_within(NOTHING)

    def is_within(self, share: float) -> bool:
        """Whether it does not grow, or by what is chance or no more than a share of its mean."""
        return self.grown <= max(SURE * self.error, share * self.mean)

    def told(self, places: int = 1) -> dict[str, Any]:
        """As a row for people."""
        return {key: round(value, places) for key, value in asdict(self).items()} | {"flat": self.is_flat}


def trend(readings: Sequence[float]) -> Trend:
    """The line of least squares through readings that were taken at even steps."""
    steps = range(len(readings))
    slope, start = statistics.linear_regression(steps, readings)
    left = [value - start - slope * step for step, value in zip(steps, readings, strict=True)]
    spread = math.sqrt(sum(one**2 for one in left) / max(1, len(readings) - 2))
    width = math.sqrt(sum((step - statistics.mean(steps)) ** 2 for step in steps))
    span = len(readings) - 1
    return Trend(statistics.mean(readings), slope * span, spread / width * span, min(readings), max(readings))
