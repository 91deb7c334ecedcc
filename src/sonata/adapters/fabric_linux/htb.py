"""Hierarchical token buckets (HTB) at an interface's egress, by rtnetlink: classes, their queues, filters to them.

Numbers are those of linux/{rtnetlink,pkt_sched,pkt_cls}.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from math import ceil

from sonata._lib.netlink import NLM_F_CREATE, NLM_F_EXCL, Request, attribute, nested, text, u32, u64
from sonata._lib.values import dataclass

_RTM_NEWQDISC, _RTM_NEWTCLASS, _RTM_NEWTFILTER = 36, 40, 44
_TCMSG = struct.Struct("=BxxxiIII")
_AF_UNSPEC = 0
AT_THE_TOP, _ROOT = 0xFFFFFFFF, 1 << 16
_TCA_KIND, _TCA_OPTIONS = 1, 2
_HTB_PARMS, _HTB_INIT, _HTB_RATE64, _HTB_CEIL64 = 1, 2, 6, 7
_HTB_VERSION, _HTB_RATE_TO_QUANTUM = 3, 10
_U32_CLASS, _U32_SELECTOR, _U32_TERMINAL = 1, 5, 1
_PRIORITY = 1
_ETHERNET = 1
_TICK_NS = 64
_FRAME = 1618
_BURST_S, _QUEUE_S = 0.004, 0.05
_FEWEST_FRAMES = 10


@dataclass(frozen=True, slots=True)
class Bucket:
    """What a class may send.

    Args:
        rate_bps: layer 2 bits per second that it has for sure.
        most_bps: the same with what it borrows from its parent.
        burst_bytes: what may pass at once; 0 for 4 ms of the rate. It is two frames at least.
        subject: what it is for, told in errors.
    """

    rate_bps: float
    most_bps: float
    subject: str
    burst_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Match:
    """Bytes of a packet at an offset from the beginning of its IPv4 header, and those of their bits that count."""

    offset: int
    value: bytes
    mask: bytes = b"\xff" * 4


def discipline(index: int, name: str, default: int = 0, parent: int = AT_THE_TOP) -> Request:
    """The discipline itself; packets without a class go to the default one, or pass at once where it is 0."""
    begin = attribute(_HTB_INIT, struct.pack("=5I", _HTB_VERSION, _HTB_RATE_TO_QUANTUM, default, 0, 0))
    options = nested(_TCA_OPTIONS, begin)
    return _new(_RTM_NEWQDISC, index, _ROOT, parent, "htb", options, f"rates of interface {name}")


def inner(index: int, number: int, bucket: Bucket) -> Request:
    """A class that others are under."""
    return _class(index, number, 0, bucket)


def leaf(index: int, number: int, bucket: Bucket, parent: int = 0) -> Iterator[Request]:
    """A class with a queue of 50 ms of the most it may send, ten frames at least."""
    yield _class(index, number, parent, bucket)
    handle, own = (number + 1) << 16, _ROOT | number
    frames = max(_FEWEST_FRAMES, ceil(bucket.most_bps / 8 * _QUEUE_S / _FRAME))
    queue = attribute(_TCA_OPTIONS, struct.pack("=I", frames))
    yield _new(_RTM_NEWQDISC, index, handle, own, "pfifo", queue, bucket.subject)


def lead(index: int, number: int, matches: Sequence[Match], subject: str) -> Request:
    """Let IPv4 packets that match all of these go to a class."""
    head = struct.pack("=BBBxHHhhI", _U32_TERMINAL, 0, len(matches), 0, 0, 0, 0, 0)
    keys = [struct.pack("=4s4sii", one.mask, one.value, one.offset, 0) for one in matches]
    selector = attribute(_U32_SELECTOR, b"".join((head, *keys)))
    chosen = nested(_TCA_OPTIONS, u32(_U32_CLASS, _ROOT | number), selector)
    return _new(_RTM_NEWTFILTER, index, 0, _ROOT, "u32", chosen, subject, _PRIORITY << 16 | socket.htons(0x0800))


def source(address: IPv4Address) -> Match:
    """Packets from an address."""
    return Match(12, address.packed)


def destination(address: IPv4Address) -> Match:
    """Packets to an address."""
    return Match(16, address.packed)


def _class(index: int, number: int, parent: int, bucket: Bucket) -> Request:
    options = nested(_TCA_OPTIONS, *_parameters(bucket))
    return _new(_RTM_NEWTCLASS, index, _ROOT | number, _ROOT | parent, "htb", options, bucket.subject)


def _parameters(bucket: Bucket) -> tuple[bytes, ...]:
    """Rates, and what may pass at once, in ticks of each rate."""
    rate, most = (max(1, round(value / 8)) for value in (bucket.rate_bps, bucket.most_bps))
    specs = b"".join(struct.pack("=BBHhHI", 0, _ETHERNET, 0, 0, 0, min(one, 0xFFFFFFFF)) for one in (rate, most))
    ticks = (_ticks(one, bucket.burst_bytes) for one in (rate, most))
    parameters = specs + struct.pack("=5I", *ticks, _FEWEST_FRAMES * _FRAME, 0, 0)
    return attribute(_HTB_PARMS, parameters), u64(_HTB_RATE64, rate), u64(_HTB_CEIL64, most)


def _ticks(per_second: int, burst_bytes: int) -> int:
    burst = max(burst_bytes or ceil(per_second * _BURST_S), 2 * _FRAME)
    return min(ceil(burst * 1e9 / per_second / _TICK_NS), 0xFFFFFFFF)


def _new(
    kind: int, index: int, handle: int, parent: int, what: str, options: bytes, subject: str, info: int = 0
) -> Request:
    body = _TCMSG.pack(_AF_UNSPEC, index, handle, parent, info) + text(_TCA_KIND, what) + options
    return Request(kind, NLM_F_CREATE | NLM_F_EXCL, body, subject)
