"""Counting what passes the data plane: ports and links, cheaply enough to be asked every few seconds.

Counters grow from the moment an interface is made and begin at 0 again when it is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


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


class Metering(Protocol):
    """Reads the counters of the data plane."""

    def read(self, pops: Sequence[str]) -> Readings:
        """Counters of all ports in these PoPs, and of the links whose first end is there; unknown PoPs have none.

        Two dumps for each namespace, however many interfaces it has.
        """
