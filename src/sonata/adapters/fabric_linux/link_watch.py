"""The watch: sends a tiny packet over every link each way at even times, and knows what became of the last ones.

Run as a program by `watching`, with the standard library alone. Its argument is the descriptor of its control socket,
on which it takes one JSON order per message and answers each with one:
    {"do": "add", "links": [name, ...]} with two UDP sockets for each, one at each end and connected to the other
    {"do": "remove", "links": [name, ...]}
    {"do": "pace", "every_s": seconds between two packets of a link}
    {"do": "read", "links": {name: [there, back]}} with how late a packet may be in seconds without being lost
An answer to `read` is {"links": {name: [there, back]}}; a direction is [packets sent ever, [window, window]], a window
[sent, received, mean delay in seconds, its standard deviation], 10 and 60 seconds long.

Times are one-way: both ends share a clock, and the kernel notes when a packet arrived.
"""

from __future__ import annotations

import ctypes
import gc
import heapq
import json
import math
import os
import select
import signal
import socket
import struct
import sys
import time
from array import array
from contextlib import suppress
from typing import Any

WINDOWS_S = (10.0, 60.0)
LATEST_S = 12.0
MAX_MESSAGE_BYTES = 1 << 17
MAX_LINKS = 100
"""In one message: a message takes no more than 253 descriptors."""
_PR_SET_PDEATHSIG = 1
_SO_TIMESTAMPNS = 35
_HEADER = struct.Struct("=IQ")
_TIMESPEC = struct.Struct("=qq")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size)
_NICENESS = -15
_ON_THE_WAY = math.nan


class Direction:
    """The last packets of one direction, in a ring.

    Args:
        size: how many are remembered.
    """

    def __init__(self, size: int) -> None:
        self.count = 0
        self._size = size
        self._sent = array("d", bytes(8 * size))
        self._delays = array("d", bytes(8 * size))

    def send(self, end: socket.socket, now: float) -> None:
        """Send the next packet; one that cannot leave does not arrive."""
        place = self.count % self._size
        self._sent[place], self._delays[place] = now, _ON_THE_WAY
        with suppress(OSError):
            end.send(_HEADER.pack(self.count & 0xFFFFFFFF, time.monotonic_ns()))
        self.count += 1

    def note(self, number: int, delay_s: float) -> None:
        """Note that a packet has arrived; doubles change nothing, and what came too late is forgotten."""
        place = number % self._size
        if self.count - self._size <= number < self.count and math.isnan(self._delays[place]):
            self._delays[place] = delay_s

    def window(self, begin: float, end: float) -> list[Any]:
        """What became of the packets that were sent in a span of time."""
        kept = range(max(0, self.count - self._size), self.count)
        places = [n % self._size for n in kept if begin <= self._sent[n % self._size] < end]
        delays = [self._delays[place] for place in places if not math.isnan(self._delays[place])]
        if not delays:
            return [len(places), 0, None, None]
        mean = math.fsum(delays) / len(delays)
        spread = math.sqrt(math.fsum((one - mean) ** 2 for one in delays) / len(delays))
        return [len(places), len(delays), mean, spread]


class Link:
    """A link: its ends, and there and back."""

    def __init__(self, ends: tuple[socket.socket, socket.socket], size: int) -> None:
        self.ends = ends
        self.directions = (Direction(size), Direction(size))

    def send(self, now: float) -> None:
        """A packet each way."""
        for end, direction in zip(self.ends, self.directions, strict=True):
            direction.send(end, now)


class Watch:
    """All links, and when it is whose turn."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._poll = select.epoll()
        self._poll.register(control, select.EPOLLIN)
        self._links: dict[str, Link] = {}
        self._hears: dict[int, tuple[socket.socket, Direction]] = {}
        self._turns: list[tuple[float, int, str, Link]] = []
        self._added = 0
        self._every_s = 1.0

    def run(self) -> None:
        """Go on until the control socket is closed."""
        while True:
            now = time.monotonic()
            while self._turns and self._turns[0][0] <= now:
                self._take_turn(now)
            wait_s = self._turns[0][0] - now if self._turns else -1
            for descriptor, _ in self._poll.poll(wait_s):
                if descriptor != self._control.fileno():
                    self._drain(descriptor)
                elif not self._obey():
                    return

    def _take_turn(self, now: float) -> None:
        due, number, name, link = heapq.heappop(self._turns)
        if self._links.get(name) is link:
            link.send(now)
            # Who was kept from its work does not make up for it by a burst.
            heapq.heappush(self._turns, (max(due + self._every_s, now), number, name, link))

    def _drain(self, descriptor: int) -> None:
        heard = self._hears.get(descriptor)
        if heard is None:
            return
        end, direction = heard
        while True:
            try:
                data, ancillary, _, _ = end.recvmsg(64, _ANCILLARY_BYTES)
            except OSError:  # nothing more, or its end is gone
                return
            number, sent_ns = _HEADER.unpack_from(data)
            delay_s = (_arrival_ns(ancillary) - sent_ns) / 1e9
            if delay_s < LATEST_S:  # else the clock was set while it was on its way
                direction.note(number, max(0.0, delay_s))

    def _obey(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._control, MAX_MESSAGE_BYTES, 2 * MAX_LINKS)
        if not message:
            return False
        order = json.loads(message)
        answer = getattr(self, f"_{order['do']}")(order, descriptors)
        self._control.send(json.dumps(answer).encode())
        return True

    def _add(self, order: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        size = math.ceil((WINDOWS_S[-1] + LATEST_S) / self._every_s) + 2
        begun = time.monotonic()
        for index, name in enumerate(order["links"]):
            self._forget(name)
            near, far = (_opened(descriptor) for descriptor in descriptors[2 * index : 2 * index + 2])
            link = self._links[name] = Link((near, far), size)
            for end, direction in zip((far, near), link.directions, strict=True):
                self._hears[end.fileno()] = (end, direction)
                self._poll.register(end, select.EPOLLIN)
            self._added += 1
            # Spread over the whole time between two packets, as evenly as can be said before the last one is known.
            offset = (self._added * 0.618034) % 1.0
            heapq.heappush(self._turns, (begun + offset * self._every_s, self._added, name, link))
        return {}

    def _remove(self, order: dict[str, Any], _descriptors: list[int]) -> dict[str, Any]:
        for name in order["links"]:
            self._forget(name)
        return {}

    def _pace(self, order: dict[str, Any], _descriptors: list[int]) -> dict[str, Any]:
        self._every_s = float(order["every_s"])
        return {}

    def _read(self, order: dict[str, Any], _descriptors: list[int]) -> dict[str, Any]:
        now, found = time.monotonic(), {}
        for name, late in order["links"].items():
            if link := self._links.get(name):
                found[name] = [
                    [direction.count, [direction.window(now - late_s - span_s, now - late_s) for span_s in WINDOWS_S]]
                    for direction, late_s in zip(link.directions, late, strict=True)
                ]
        return {"links": found}

    def _forget(self, name: str) -> None:
        link = self._links.pop(name, None)
        for end in link.ends if link else ():
            self._poll.unregister(end)
            del self._hears[end.fileno()]
            end.close()


def _opened(descriptor: int) -> socket.socket:
    end = socket.socket(fileno=descriptor)
    end.setblocking(False)
    end.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    return end


def _arrival_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    """When a packet has arrived by the clock that nobody sets; the kernel tells it by the other one."""
    for _level, kind, data in ancillary:
        if kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return int(seconds * 1_000_000_000 + nanoseconds) - (time.time_ns() - time.monotonic_ns())
    return time.monotonic_ns()


def main() -> None:
    """Watch until nobody listens any more."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end is ours
    with suppress(PermissionError):
        os.nice(_NICENESS)
    gc.disable()  # nothing here goes in circles
    Watch(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
