"""Closes packet sockets at once: each close by itself would wait for the kernel's grace period (packet(7))."""

from __future__ import annotations

import socket
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

_AT_ONCE = 64


def close_together(sockets: Collection[socket.socket]) -> None:
    """Close sockets; waits that overlap are one for the kernel."""
    if sockets:
        with ThreadPoolExecutor(max_workers=min(len(sockets), _AT_ONCE), thread_name_prefix="closing") as threads:
            list(threads.map(socket.socket.close, sockets))
