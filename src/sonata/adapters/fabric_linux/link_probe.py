"""The probe: measures what a link does to packets that are sent over it in both directions.

Run as a program by `probing`, with the standard library alone. Its arguments are the descriptors of two UDP sockets,
one at each end of the link and connected to the other, and a plan as JSON:
    {"steps": [{"count", "gap_s", "early_s": [there, back]}, ...],
     "rates": [[bytes per second, seconds, bytes of a frame] or null, for each direction], "settle_s"}
It prints one JSON document: {"steps": [[there, back], ...], "rates": [there, back]}. A direction of a step is
{"sent", "received", "doubled", "early", "delay_s", "spread_s", "late_s"}; a rate is in frames per second or null.

Times are one-way: both ends share a clock, and the kernel notes when a packet arrived.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

SO_TIMESTAMPNS = 35
_UDP_SEGMENT, _UDP_GRO = 103, 104
_PR_SET_PDEATHSIG = 1
_HEADER = struct.Struct("=IQ")
_TIMESPEC = struct.Struct("=qq")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size) + socket.CMSG_SPACE(4)
_BUFFER_BYTES = 64 << 20
_SO_RCVBUFFORCE = 33
_HEADERS_BYTES = 14 + 20 + 8
_LARGEST_SEND = 64_000
_SEGMENTS = 40
_MOST_DATAGRAM = 65_535
_AHEAD = 1.15
"""By how much more than its rate is offered to a link."""
_HEAD_S, _HEAD_BYTES = 0.02, 6400
_WINDOWS, _LEAST_WINDOW = 9, 20
_GREETING: dict[str, Any] = {"count": 5, "gap_s": 0.02, "early_s": (0.0, 0.0)}
_ROUNDS = 3
_NICENESS, _PRIORITY = -15, 2
_CLOCK_STEP_NS = 200_000
_SPAN_OF_NORMAL = 2.150
"""Standard deviations between the quantiles 0.07 and 0.75 of a normal distribution.

More of the early side than of the late one: a machine that stalls makes packets late, and never early.
"""

Ends = tuple[socket.socket, socket.socket]


class Heard:
    """What has arrived at an end during a step."""

    def __init__(self, early_s: float) -> None:
        self.early_s = early_s
        self.times: dict[int, float] = {}
        self.doubled = self.early = 0

    def note(self, number: int, delay_s: float) -> None:
        """Note a packet: how late the first of its number was, or that there was another one."""
        if number in self.times:
            self.doubled += 1
            return
        self.times[number] = delay_s
        self.early += delay_s < self.early_s

    def summary(self, sent: int) -> dict[str, Any]:
        """What it comes to; packets that went ahead do not count for the delay."""
        delays = sorted(delay_s for delay_s in self.times.values() if delay_s >= self.early_s)
        told = dict.fromkeys(("delay_s", "spread_s", "late_s"))
        if delays:
            spread = (_quantile(delays, 0.75) - _quantile(delays, 0.07)) / _SPAN_OF_NORMAL
            told = {"delay_s": _quantile(delays, 0.5), "spread_s": spread, "late_s": _quantile(delays, 0.99)}
        return {"sent": sent, "received": len(self.times), "doubled": self.doubled, "early": self.early, **told}


def _quantile(ordered: list[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def run_step(ends: Ends, step: dict[str, Any], settle_s: float) -> list[dict[str, Any]]:
    """Send packets at even distances from both ends, and wait for the last of them."""
    heard = Heard(step["early_s"][0]), Heard(step["early_s"][1])
    count, gap_s = int(step["count"]), float(step["gap_s"])
    poll = select.epoll()
    for end in ends:
        poll.register(end, select.EPOLLIN)
    by_descriptor = {ends[1].fileno(): (ends[1], heard[0]), ends[0].fileno(): (ends[0], heard[1])}
    begun, sent = time.monotonic(), 0
    while sent < count:
        wait_s = begun + sent * gap_s - time.monotonic()
        if wait_s <= 0:
            for end in ends:
                _send(end, sent)
            sent += 1
            wait_s = 0
        for descriptor, _ in poll.poll(wait_s):
            _drain(*by_descriptor[descriptor])
    end_at = time.monotonic() + settle_s
    while (wait_s := end_at - time.monotonic()) > 0 and any(len(one.times) < count for one in heard):
        for descriptor, _ in poll.poll(wait_s):
            _drain(*by_descriptor[descriptor])
    poll.close()
    return [one.summary(count) for one in heard]


def _send(end: socket.socket, number: int) -> None:
    with suppress(OSError):  # the link is down: what is not sent does not arrive
        end.send(_HEADER.pack(number, time.time_ns()))


def _drain(end: socket.socket, heard: Heard) -> None:
    while True:
        try:
            data, ancillary, _, _ = end.recvmsg(256, _ANCILLARY_BYTES)
        except (BlockingIOError, ConnectionRefusedError):
            return
        number, sent_ns = _HEADER.unpack_from(data)
        heard.note(number, (_arrival_ns(ancillary) - sent_ns) / 1e9)


def _arrival_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    for _level, kind, data in ancillary:
        if kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return int(seconds * 1_000_000_000 + nanoseconds)
    return time.time_ns()


def run_rate(source: socket.socket, target: socket.socket, plan: tuple[float, float, int]) -> float | None:
    """Offer somewhat more than a link should take, and count the frames that arrive; None when hardly any do.

    Args:
        source: the end that sends.
        target: the end that hears.
        plan: bytes per second that the link should take, seconds, and bytes of a whole frame.
    """
    rate, seconds, frame = plan
    payload = frame - _HEADERS_BYTES
    segments = max(1, min(_SEGMENTS, _LARGEST_SEND // payload, int(rate * 0.002 / frame)))
    source.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, payload if segments > 1 else 0)
    target.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)
    data, gap_s = bytes(payload * segments), segments * frame / (rate * _AHEAD)
    arrivals: list[tuple[int, int]] = []
    # What buckets hold is offered at once, so that they are empty from then on.
    begun, sent = time.monotonic() - max(_HEAD_S, _HEAD_BYTES / rate), 0
    end_at = time.monotonic() + seconds
    while (now := time.monotonic()) < end_at:
        if now >= begun + sent * gap_s:
            with suppress(OSError):  # no room just now
                source.send(data)
            sent += 1
        else:
            select.select([target], [], [], begun + sent * gap_s - now)
        _count(target, payload, arrivals)
    source.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, 0)
    has_offered_enough = sent * segments * frame >= rate * seconds
    return _steady(arrivals) if has_offered_enough else None


def _count(target: socket.socket, payload: int, arrivals: list[tuple[int, int]]) -> None:
    while True:
        try:
            data, ancillary, _, _ = target.recvmsg(_MOST_DATAGRAM, _ANCILLARY_BYTES)
        except (BlockingIOError, ConnectionRefusedError):
            return
        arrivals.append((_arrival_ns(ancillary), max(1, len(data) // payload)))


def _steady(arrivals: list[tuple[int, int]]) -> float | None:
    """Frames per second behind the first third, in which buckets were still full.

    The median over windows: in some of them the sender may have been kept from its work.
    """
    steady = arrivals[len(arrivals) // 3 :]
    size = max(2, min(len(steady) - 1, max(_LEAST_WINDOW, len(steady) // _WINDOWS)))
    rates = [_rate(steady[start : start + size + 1]) for start in range(0, len(steady) - size, size)]
    return sorted(rates)[len(rates) // 2] if rates else None


def _rate(window: list[tuple[int, int]]) -> float:
    """Frames per second from the first arrival on, which itself belongs to the time before."""
    frames = sum(frames for _, frames in window[1:])
    return frames * 1e9 / max(1, window[-1][0] - window[0][0])


@contextmanager
def in_a_hurry() -> Iterator[None]:
    """Run before everything else, so that no time passes between a look at the clock and what it is noted for."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_PRIORITY))
    except PermissionError:  # not root, or no such time for our cgroup
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def run(ends: Ends, plan: dict[str, Any]) -> dict[str, Any]:
    """Carry a plan out; once more where the clock was set meanwhile."""
    # The first packets wait until their ends know each other's hardware addresses.
    run_step(ends, _GREETING, _ROUNDS * plan["settle_s"])
    while True:
        offset = time.time_ns() - time.monotonic_ns()
        with in_a_hurry():
            steps = [run_step(ends, step, plan["settle_s"]) for step in plan["steps"]]
        if abs(time.time_ns() - time.monotonic_ns() - offset) < _CLOCK_STEP_NS * (1 + len(steps)):
            break
    rates = []
    for (source, target), one in zip((ends, ends[::-1]), plan["rates"], strict=True):
        rates.append(run_rate(source, target, tuple(one)) if one else None)
        _wait_out(target, plan["settle_s"])
    return {"steps": steps, "rates": rates}


def _wait_out(target: socket.socket, settle_s: float) -> None:
    """Let what is still under way arrive."""
    end_at = time.monotonic() + settle_s
    while (wait_s := end_at - time.monotonic()) > 0 and select.select([target], [], [], wait_s)[0]:
        _count(target, 1, [])


def main() -> None:
    """Measure and print."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end is ours
    with suppress(PermissionError):
        os.nice(_NICENESS)
    gc.disable()
    # Theirs may be high numbers, which select(2) does not take.
    ends = (socket.socket(fileno=os.dup(int(sys.argv[1]))), socket.socket(fileno=os.dup(int(sys.argv[2]))))
    for end in ends:
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        with suppress(OSError):  # in a user namespace the host's bound holds
            end.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    json.dump(run(ends, json.loads(sys.argv[3])), sys.stdout)


if __name__ == "__main__":
    main()
