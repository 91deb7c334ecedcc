"""Measuring what a link does to packets, in both directions at once."""

from __future__ import annotations

from typing import Protocol

from sonata._lib.values import dataclass


@dataclass(frozen=True, slots=True)
class ProbeStep:
    """Packets of 60 bytes sent at even distances from both ends.

    Args:
        count: packets in each direction.
        gap_s: distance between two of them in seconds.
        early_s: one-way delay in each direction below which a packet has gone ahead of its turn; 0 for never.
    """

    count: int
    gap_s: float
    early_s: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class RateOffer:
    """How much a link should take in one direction, which is offered and a little more.

    Args:
        rate_bps: layer 2 bits per second.
        seconds: for how long.
        frame_bytes: of a whole frame, 60 to 1514.
    """

    rate_bps: float
    seconds: float
    frame_bytes: int = 1514


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """What is measured, one step after another; the rates at last, there and back.

    Args:
        settle_s: how long the last packets of a step are waited for.
    """

    steps: tuple[ProbeStep, ...]
    rates: tuple[RateOffer | None, RateOffer | None]
    settle_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What became of the packets of a step in one direction.

    Args:
        received: packets that arrived, each counted once.
        doubled: further arrivals of packets that had arrived already.
        early: packets that arrived before their time, see `ProbeStep`; the delay does not count them.
        delay_s: median of the one-way delay in seconds; None when nothing arrived.
        spread_s: its standard deviation as quantiles tell it, which a machine that stalls now and then does not move.
        late_s: its 99th percentile, which stalls do move.
    """

    sent: int
    received: int
    doubled: int = 0
    early: int = 0
    delay_s: float | None = None
    spread_s: float | None = None
    late_s: float | None = None


@dataclass(frozen=True, slots=True)
class Probed:
    """What was measured: each step there and back, and the layer 2 rates in bits per second."""

    steps: tuple[tuple[Heard, Heard], ...]
    rates: tuple[float | None, float | None]


class LinkProbe(Protocol):
    """Stands at both ends of one link until it is closed. Traffic of others stays, and is seen in what is measured."""

    def measure(self, plan: ProbePlan) -> Probed:
        """Carry a plan out; takes as long as the plan says and may be called in any thread.

        Raises:
            AdapterError: it could not be measured.
        """

    def close(self) -> None:
        """Leave; what is being measured comes to nothing. Idempotent."""
