"""Counting what passes the data plane: ports and links, cheaply enough to be asked every few seconds.

Counters grow from the moment an interface is made and begin at 0 again when it is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Protocol

from sonata._lib.values import dataclass


@dataclass(frozen=True, slots=True)
class Traffic:
    """What an interface has passed, seen from its owner: `rx` is what the owner received.

    Args:
        rx_dropped: frames for the owner that were lost before it, at full queues and rates.
        tx_dropped: frames of the owner that were lost behind it in the same way.
    """

    rx_packets: int
    rx_bytes: int
    rx_dropped: int
    tx_packets: int
    tx_bytes: int
    tx_dropped: int


@dataclass(frozen=True, slots=True)
class Readings:
    """Counters of ports by id, and of links by name: at the first end, and at the second one.

    Both ends of a link are seen from the PoP that they are in.
    """

    ports: Mapping[str, Traffic] = field(default_factory=dict)
    links: Mapping[str, tuple[Traffic, Traffic]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Window:
    """What became of the packets that were sent over a link in some last seconds.

    Args:
        span_s: how many.
        mean_s: mean one-way delay; None when nothing arrived.
        deviation_s: its standard deviation.
    """

    span_s: float
    sent: int
    received: int
    mean_s: float | None = None
    deviation_s: float | None = None


@dataclass(frozen=True, slots=True)
class Watched:
    """One direction of a link that is watched: packets sent ever, and the last windows, the shortest first."""

    sent: int
    windows: tuple[Window, ...]


class Metering(Protocol):
    """Reads the counters of the data plane, and watches its links."""

    def read(self, pops: Sequence[str]) -> Readings:
        """Counters of all ports in these PoPs, and of the links whose first end is there; unknown PoPs have none.

        Two dumps for each namespace, however many interfaces it has.
        """

    def watch(self, names: Sequence[str], every_s: float) -> None:
        """Measure these links, and no others, by a tiny packet each way at even times; also takes access links.

        To be called again and again: links that have come are watched then, and those that have gone no more.

        Raises:
            AdapterError: it cannot be done; the next call tries again.
        """

    def watched(self, late_s: Mapping[str, tuple[float, float]]) -> Mapping[str, tuple[Watched, Watched]]:
        """What became of the packets of links that are watched, there and back; others are left out.

        Args:
            late_s: how late packets may be, there and back, before they count as lost; windows end so long ago.

        Raises:
            AdapterError: nobody knows.
        """
