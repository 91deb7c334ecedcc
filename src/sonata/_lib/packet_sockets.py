"""Packet sockets that hear who calls, until who was called is there (packet(7))."""

from __future__ import annotations

import socket
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

_AT_ONCE = 64
_LONGEST = 1 << 16


def heard_by(ear: socket.socket) -> list[bytes]:
    """What a socket has heard until now; it has no more of it."""
    calls: list[bytes] = []
    with suppress(OSError):  # nothing is left
        while True:
            calls.append(ear.recv(_LONGEST))
    return calls


def say_again(ear: socket.socket) -> None:
    """Send what a socket has heard to everybody on its network: who was called is there now."""
    for call in heard_by(ear):
        with suppress(OSError):  # the network is down, or nobody takes it: who called calls again
            ear.send(call)


def close_together(sockets: Collection[socket.socket]) -> None:
    """Close sockets at once: each close waits for the kernel's grace period, and waits that overlap are one for it."""
    if sockets:
        with ThreadPoolExecutor(max_workers=min(len(sockets), _AT_ONCE), thread_name_prefix="closing") as threads:
            list(threads.map(socket.socket.close, sockets))
