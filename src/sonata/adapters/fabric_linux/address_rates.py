"""Rates of single IPv4 addresses at an interface: classes of a hierarchical token bucket, and filters that lead there.

What belongs to none of the addresses is not held up. Numbers are those of linux/{rtnetlink,pkt_sched,pkt_cls}.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from math import ceil
from typing import Literal

import sonata.adapters.fabric_linux.requests as requests
from sonata._lib.netlink import NLM_F_CREATE, NLM_F_EXCL, Request, attribute, nested, text, u32, u64
from sonata.ports.fabric import PortRate

Side = Literal["source", "destination"]

_RTM_NEWQDISC, _RTM_NEWTCLASS, _RTM_NEWTFILTER = 36, 40, 44
_TCMSG = struct.Struct("=BxxxiIII")
_AF_UNSPEC = 0
_AT_THE_TOP, _ROOT = 0xFFFFFFFF, 1 << 16
_TCA_KIND, _TCA_OPTIONS = 1, 2
_HTB_PARMS, _HTB_INIT, _HTB_RATE64, _HTB_CEIL64 = 1, 2, 6, 7
_HTB_VERSION, _HTB_RATE_TO_QUANTUM = 3, 10
_U32_CLASS, _U32_SELECTOR, _U32_TERMINAL = 1, 5, 1
_OFFSETS: Mapping[Side, int] = {"source": 12, "destination": 16}
"""Where addresses are in an IPv4 header."""
_PRIORITY = 1
_ETHERNET = 1
_TICK_NS = 64
_FRAME = 1618
_BURST_S, _QUEUE_S = 0.004, 0.05
_FEWEST_FRAMES = 10


def hold(index: int, name: str, rates: Mapping[IPv4Address, PortRate], side: Side) -> list[Request]:
    """Hold the rates of what leaves an interface from, or to, these addresses, and no others.

    Queues are as long as 50 ms of their rate, and at least ten frames.
    """
    drop = requests.delete_qdisc(index, name)
    return [drop, *_classes(index, name, rates, side)] if rates else [drop]


def _classes(index: int, name: str, rates: Mapping[IPv4Address, PortRate], side: Side) -> Iterator[Request]:
    begin = attribute(_HTB_INIT, struct.pack("=5I", _HTB_VERSION, _HTB_RATE_TO_QUANTUM, 0, 0, 0))
    yield _new(_RTM_NEWQDISC, index, _ROOT, _AT_THE_TOP, "htb", nested(_TCA_OPTIONS, begin), f"rates of {name}")
    for number, (address, rate) in enumerate(sorted(rates.items()), start=1):
        own, subject = _ROOT | number, f"rate of {address} at {name}"
        yield _new(_RTM_NEWTCLASS, index, own, _ROOT, "htb", nested(_TCA_OPTIONS, *_bucket(rate)), subject)
        queue = attribute(_TCA_OPTIONS, struct.pack("=I", _frames(rate)))
        yield _new(_RTM_NEWQDISC, index, (number + 1) << 16, own, "pfifo", queue, subject)
        chosen = nested(_TCA_OPTIONS, u32(_U32_CLASS, own), attribute(_U32_SELECTOR, _selector(address, side)))
        yield _new(_RTM_NEWTFILTER, index, 0, _ROOT, "u32", chosen, subject, _PRIORITY << 16 | socket.htons(0x0800))


def _bucket(rate: PortRate) -> tuple[bytes, ...]:
    """What an HTB class is told: as much as it may send, and what may pass at once, in ticks of its rate."""
    per_second = max(1, round(rate.rate_bps / 8))
    burst = max(rate.burst_bytes or ceil(per_second * _BURST_S), 2 * _FRAME)
    spec = struct.pack("=BBHhHI", 0, _ETHERNET, 0, 0, 0, min(per_second, 0xFFFFFFFF))
    ticks = min(ceil(burst * 1e9 / per_second / _TICK_NS), 0xFFFFFFFF)
    parameters = spec + spec + struct.pack("=5I", ticks, ticks, _FEWEST_FRAMES * _FRAME, 0, 0)
    return (
        attribute(_HTB_PARMS, parameters),
        u64(_HTB_RATE64, per_second),
        u64(_HTB_CEIL64, per_second),
    )


def _frames(rate: PortRate) -> int:
    return max(_FEWEST_FRAMES, ceil(rate.rate_bps / 8 * _QUEUE_S / _FRAME))


def _selector(address: IPv4Address, side: Side) -> bytes:
    head = struct.pack("=BBBxHHhhI", _U32_TERMINAL, 0, 1, 0, 0, 0, 0, 0)
    return head + struct.pack("=4s4sii", b"\xff" * 4, address.packed, _OFFSETS[side], 0)


def _new(
    kind: int, index: int, handle: int, parent: int, what: str, options: bytes, subject: str, info: int = 0
) -> Request:
    body = _TCMSG.pack(_AF_UNSPEC, index, handle, parent, info) + text(_TCA_KIND, what) + options
    return Request(kind, NLM_F_CREATE | NLM_F_EXCL, body, subject)
