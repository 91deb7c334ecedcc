"""Settings of network namespaces (sysctl), named by their paths below /proc/sys/net.

The kernel keeps what it knows of these folders by their names, those of all namespaces on one list that it searches
from end to end for each new namespace: with thousands of them this took longer than making them. So they are looked up
in a proc file system of our own, which is nowhere mounted, and which gives way to a new one before its lists are long.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from sonata._lib.isolation import detached_proc

_LOOKS = 64
"""How often one file system is used: each time may be for a namespace that is new to it."""


def write(settings: Mapping[str, bytes]) -> None:
    """Write settings of the namespace in which the calling thread is; those that this kernel lacks are left out."""
    with _views.looking() as proc:
        for setting, value in settings.items():
            with suppress(FileNotFoundError):  # nothing to switch off
                _overwrite(f"sys/net/{setting}", value, proc)


def exist(settings: Iterable[str]) -> bool:
    """Whether the namespace in which the calling thread is has all of these."""
    with _views.looking() as proc:
        try:
            for setting in settings:
                os.stat(f"sys/net/{setting}", dir_fd=proc)
        except FileNotFoundError:
            return False
    return True


def _overwrite(file: str, value: bytes, proc: int) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
    try:
        os.write(descriptor, value)
    finally:
        os.close(descriptor)


class _Views:
    """The proc file system that is used now."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._proc = -1
        self._looks = 0

    @contextmanager
    def looking(self) -> Iterator[int]:
        """Its descriptor."""
        with self._turn:
            self._renew()
            yield self._proc

    def _renew(self) -> None:
        self._looks += 1
        if self._proc >= 0 and self._looks < _LOOKS:
            return
        if self._proc >= 0:
            os.close(self._proc)
        self._proc, self._looks = -1, 0
        self._proc = _proc()


def _proc() -> int:
    try:
        return detached_proc()
    except OSError:  # an old kernel, or a container that hides parts of /proc
        return os.open("/proc", os.O_PATH | os.O_CLOEXEC)


_views = _Views()
