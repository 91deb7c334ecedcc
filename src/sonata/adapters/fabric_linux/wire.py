"""The wire process: carries frames between pairs of TAPs and makes them late, jittery or lost.

Run as a program by `wire_client`, never imported for its loop by the fabric. It needs the standard library alone, so
that it starts in a few milliseconds. Its one argument is the descriptor of a SOCK_SEQPACKET socket over which it gets
its orders as JSON, with the TAPs' descriptors beside; it ends when that socket is closed.

Orders (each is answered by `{"ok": true, ...}` or `{"ok": false, "error": ...}`):
    {"do": "add", "links": [{"id", "directions"}]}      two descriptors per link, a then b
    {"do": "set", "id", "directions"}       `VALUES` of what enters at a, then of what enters at b
    {"do": "remove", "ids": [...]}
    {"do": "statistics", "ids": [...]}      answers `statistics`: [forwarded, dropped, overruns] by id

Frames carry a virtio-net header. While all frames of a direction are treated alike, the kernel may hand over TCP
segments of 64 kB unsplit; otherwise it may not, so that one lost frame is one lost frame.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import heapq
import json
import os
import select
import signal
import socket
import struct
import sys
from collections import deque
from contextlib import suppress
from random import Random
from time import monotonic
from typing import Any

VALUES = ("delay_s", "jitter_s", "loss", "duplicate", "reorder")
"""What a direction does: seconds, seconds, and three shares of frames: lost, doubled, let ahead without the delay."""
MAX_MESSAGE_BYTES = 160_000
MAX_LINKS_PER_MESSAGE = 100

_PR_SET_PDEATHSIG, _PR_SET_TIMERSLACK = 1, 29
_TIMER_SLACK_NS = 1_000
_TUNSETOFFLOAD = 0x400454D0
_TUN_F_CSUM, _TUN_F_TSO4, _TUN_F_TSO6, _TUN_F_TSO_ECN = 1, 2, 4, 8
_OFFLOADS = _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6 | _TUN_F_TSO_ECN
_CLOCK_MONOTONIC, _TFD_TIMER_ABSTIME, _TFD_FLAGS = 1, 1, os.O_NONBLOCK | os.O_CLOEXEC
_FRAME_BYTES = 66_000
_FRAMES_PER_TURN = 64
_QUEUE_BYTES = 64 << 20
_QUEUE_FRAMES = 100_000
_NICENESS = -10
_LONGEST_WATCH_S = 0.0005
_LATENESS_WEIGHT = 1 / 16

_libc = ctypes.CDLL(None, use_errno=True)


class Timer:
    """A timerfd on the monotonic clock: microseconds where epoll's own time-out knows milliseconds."""

    def __init__(self) -> None:
        self.due = 0.0
        self.descriptor = _libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_FLAGS)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def set(self, due: float) -> None:
        """Fire at this time of the monotonic clock in seconds; 0 means never."""
        if due == self.due:
            return
        self.due = due
        nanoseconds = max(1, int(due * 1e9)) if due else 0
        spec = struct.pack("=qqqq", 0, 0, nanoseconds // 1_000_000_000, nanoseconds % 1_000_000_000)
        _libc.timerfd_settime(self.descriptor, _TFD_TIMER_ABSTIME, spec, None)

    def clear(self) -> None:
        """Take note that it has fired."""
        self.due = 0.0
        with suppress(BlockingIOError):
            os.read(self.descriptor, 8)


class Lateness:
    """How late this machine wakes the process up, in seconds: a tenth of a millisecond and more where it was idle.

    Known from the timer, which should have fired at a certain time; true also of a frame that wakes the process up.
    """

    def __init__(self) -> None:
        self.mean_s = self.deviation_s = 0.0

    def note(self, late_s: float) -> None:
        """Take a sample into the moving averages; where the machine stalled altogether, no more than their bound."""
        late_s = min(max(0.0, late_s), _LONGEST_WATCH_S)
        self.mean_s += (late_s - self.mean_s) * _LATENESS_WEIGHT
        self.deviation_s += (abs(late_s - self.mean_s) - self.deviation_s) * _LATENESS_WEIGHT

    @property
    def watch_s(self) -> float:
        """How long before its time a frame is to be watched instead of slept for."""
        return min(_LONGEST_WATCH_S, self.mean_s + 2 * self.deviation_s)


class Direction:
    """One direction of a link: a queue of frames with the time at which each is due."""

    __slots__ = (
        "arrived",
        "delay_s",
        "dropped",
        "duplicate",
        "forwarded",
        "jitter_s",
        "last_due",
        "loss",
        "overruns",
        "queue",
        "queued_bytes",
        "random",
        "reorder",
        "source",
        "target",
    )

    def __init__(self, source: int, target: int, seed: str) -> None:
        self.source, self.target = source, target
        self.random = Random(seed)  # noqa: S311  # nosec B311  # a repeatable run is the aim
        self.delay_s = self.jitter_s = self.loss = self.duplicate = self.reorder = self.last_due = self.arrived = 0.0
        self.queue: deque[tuple[float, bytes]] = deque()
        self.queued_bytes = self.forwarded = self.dropped = self.overruns = 0

    def receive(self, arrived: float) -> bool:
        """Take the frames that wait, at most a turn's worth; whether the queue has become non-empty."""
        was_empty = not self.queue
        self.arrived = arrived
        for _ in range(_FRAMES_PER_TURN):
            try:
                frame = os.read(self.source, _FRAME_BYTES)
            except BlockingIOError:
                break
            if self.loss and self.random.random() < self.loss:
                self.dropped += 1
                continue
            self._take(frame)
            if self.duplicate and self.random.random() < self.duplicate:
                self._take(frame)
        return was_empty and bool(self.queue)

    def impair(self, values: dict[str, Any]) -> None:
        """Apply these values from now on; frames under way keep their time."""
        for name in VALUES:
            setattr(self, name, float(values[name]))
        is_picky = self.loss or self.duplicate or self.reorder
        fcntl.ioctl(self.source, _TUNSETOFFLOAD, 0 if is_picky else _OFFLOADS)

    def deliver(self, now: float) -> None:
        """Hand over all frames that are due."""
        queue = self.queue
        while queue and queue[0][0] <= now:
            frame = queue.popleft()[1]
            self.queued_bytes -= len(frame)
            self._hand_over(frame)

    def _take(self, frame: bytes) -> None:
        if self.reorder and self.random.random() < self.reorder:
            self._hand_over(frame)
        else:
            self._enqueue(frame)

    def _hand_over(self, frame: bytes) -> None:
        try:
            os.write(self.target, frame)
        except OSError:  # the other end is down: as with a pulled cable the frame is gone
            return
        self.forwarded += 1

    def _enqueue(self, frame: bytes) -> None:
        if self.queued_bytes > _QUEUE_BYTES or len(self.queue) >= _QUEUE_FRAMES:
            self.overruns += 1
            return
        due = self.arrived + self.delay_s
        if self.jitter_s:
            due += max(-self.delay_s, self.random.gauss(0.0, self.jitter_s))
        self.last_due = due = max(due, self.last_due)  # never before the frame ahead: order is kept
        self.queue.append((due, frame))
        self.queued_bytes += len(frame)


class Link:
    """Two directions between two TAPs."""

    def __init__(self, name: str, a: int, b: int) -> None:
        self.ends = (a, b)
        self.directions = (Direction(a, b, f"{name}>"), Direction(b, a, f"{name}<"))

    def impair(self, order: dict[str, Any]) -> None:
        """Apply the values of an order from now on; frames under way keep their time."""
        for direction, values in zip(self.directions, order["directions"], strict=True):
            direction.impair(values)

    def statistics(self) -> list[int]:
        """Frames forwarded, lost on purpose, and lost since a queue was full."""
        there, back = self.directions
        return [
            there.forwarded + back.forwarded,
            there.dropped + back.dropped,
            there.overruns + back.overruns,
        ]

    def close(self) -> None:
        """Close both TAPs."""
        for end in self.ends:
            os.close(end)


class Wire:
    """The event loop over all links."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._epoll = select.epoll()
        self._timer = Timer()
        self._lateness = Lateness()
        self._is_watching = False
        self._links: dict[str, Link] = {}
        self._sources: dict[int, Direction] = {}
        self._waiting: list[tuple[float, int, Direction]] = []
        self._ticket = 0
        for descriptor in (control.fileno(), self._timer.descriptor):
            self._epoll.register(descriptor, select.EPOLLIN)

    def run(self) -> None:
        """Carry frames until the control socket is closed."""
        control, timer = self._control.fileno(), self._timer.descriptor
        while True:
            events, slept = self._events()
            arrived = monotonic() - (self._lateness.mean_s if slept else 0.0)
            for descriptor, event in events:
                if descriptor == timer:
                    self._timer.clear()
                elif descriptor == control:
                    if not self._obey():
                        return
                else:
                    self._receive(descriptor, event, arrived)
            self._deliver()

    def _events(self) -> tuple[list[tuple[int, int]], bool]:
        """What there is to do, and whether the process slept until then."""
        events = self._epoll.poll(0)
        if events or self._is_watching:
            return events, False
        due = self._timer.due
        events = self._epoll.poll()
        if due and events[0][0] == self._timer.descriptor:
            self._lateness.note(monotonic() - due)
        return events, True

    def _receive(self, descriptor: int, events: int, arrived: float) -> None:
        direction = self._sources.get(descriptor)
        if direction is None:
            return
        try:
            if direction.receive(arrived):
                self._wait_for(direction)
        except OSError:  # the interface was deleted; the order to forget the link follows
            events |= select.EPOLLERR
        if events & select.EPOLLERR:
            self._forget_source(descriptor)

    def _wait_for(self, direction: Direction) -> None:
        self._ticket += 1
        heapq.heappush(self._waiting, (direction.queue[0][0], self._ticket, direction))

    def _deliver(self) -> None:
        waiting = self._waiting
        now = monotonic()
        while waiting and waiting[0][0] <= now:
            direction = heapq.heappop(waiting)[2]
            direction.deliver(now)
            if direction.queue:
                self._wait_for(direction)
        watch_s = self._lateness.watch_s
        self._is_watching = bool(waiting) and waiting[0][0] - now <= watch_s
        self._timer.set(waiting[0][0] - watch_s if waiting and not self._is_watching else 0.0)

    def _obey(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._control, MAX_MESSAGE_BYTES, 2 * MAX_LINKS_PER_MESSAGE)
        if not message:
            return False
        order = json.loads(message)
        try:
            answer = getattr(self, f"_do_{order['do']}")(order, list(descriptors))
        except (OSError, KeyError, ValueError) as error:
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        try:
            self._control.send(json.dumps({"ok": True, **answer}).encode())
        except BrokenPipeError:
            return False
        return True

    def _do_add(self, order: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        for position, wanted in enumerate(order["links"]):
            a, b = descriptors[2 * position : 2 * position + 2]
            link = self._links[wanted["id"]] = Link(wanted["id"], a, b)
            link.impair(wanted)
            for direction in link.directions:
                os.set_blocking(direction.source, False)
                self._sources[direction.source] = direction
                self._epoll.register(direction.source, select.EPOLLIN)
        return {}

    def _do_set(self, order: dict[str, Any], _descriptors: list[int]) -> dict[str, Any]:
        self._links[order["id"]].impair(order)
        return {}

    def _do_remove(self, order: dict[str, Any], _descriptors: list[int]) -> dict[str, Any]:
        for link in [self._links.pop(name) for name in order["ids"] if name in self._links]:
            for end, direction in zip(link.ends, link.directions, strict=True):
                self._forget_source(end)
                direction.queue.clear()
            self._waiting = [entry for entry in self._waiting if entry[2] not in link.directions]
            link.close()
        heapq.heapify(self._waiting)
        return {}

    def _do_statistics(self, order: dict[str, Any], _descriptors: list[int]) -> dict[str, Any]:
        known = [name for name in order["ids"] if name in self._links]
        return {"statistics": {name: self._links[name].statistics() for name in known}}

    def _forget_source(self, descriptor: int) -> None:
        if self._sources.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)


def _go_first() -> None:
    """Run before what is not in a hurry: a frame that waits for a processor is late."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except PermissionError:  # not root, or no such time for our cgroup
        with suppress(PermissionError):
            os.nice(_NICENESS)


def main() -> None:
    """Enter the loop; the descriptor of the control socket is the first argument."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _libc.prctl(_PR_SET_TIMERSLACK, _TIMER_SLACK_NS, 0, 0, 0)
    _go_first()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end is ours
    gc.disable()  # nothing here is cyclic, and a collection would be heard on every link
    Wire(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
