"""Rates of single IPv4 addresses at an interface: classes of a hierarchical token bucket, and filters that lead there.

What belongs to none of the addresses is not held up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from typing import Literal

import sonata.adapters.fabric_linux.htb as htb
import sonata.adapters.fabric_linux.requests as requests
from sonata._lib.netlink import Request
from sonata.ports.fabric import PortRate

Side = Literal["source", "destination"]


def hold(index: int, name: str, rates: Mapping[IPv4Address, PortRate], side: Side) -> list[Request]:
    """Hold the rates of what leaves an interface from, or to, these addresses, and no others.

    Queues are as long as 50 ms of their rate, and at least ten frames.
    """
    drop = requests.delete_qdisc(index, name)
    return [drop, *_classes(index, name, rates, side)] if rates else [drop]


def _classes(index: int, name: str, rates: Mapping[IPv4Address, PortRate], side: Side) -> Iterator[Request]:
    match = htb.source if side == "source" else htb.destination
    yield htb.discipline(index, name)
    for number, (address, rate) in enumerate(sorted(rates.items()), start=1):
        subject = f"rate of {address} at {name}"
        yield from htb.leaf(index, number, htb.Bucket(rate.rate_bps, rate.rate_bps, subject, rate.burst_bytes))
        yield htb.lead(index, number, [match(address)], subject)
