"""Consoles of machines keep what was printed last, however much a machine prints.

A machine writes to its console's file by itself, so that it neither waits for this process nor costs it anything while
it prints little. A thread, which the kernel wakes when consoles grow (inotify(7)), takes the room of their oldest part
back from below the writers (fallocate(2)): no byte of the rest moves, and none is lost. Such a file has a hole at its
beginning as long as its machine runs; then it becomes as short as it looks.
"""

from __future__ import annotations

import ctypes
import logging
import os
import struct
import threading
import time
from pathlib import Path

from sonata._lib.tails import tail

logger = logging.getLogger(__name__)

KEPT = 1024**2
"""Bytes at the end of a console that are never cut off."""

LIMIT = 2 * KEPT
"""Bytes of disk from which on a console is cut; what a machine prints during `_PAUSE_S` comes to it."""

_PAUSE_S = 0.05
_EVENT, _EVENTS, _OVERFLOW = "iIII", 1 << 18, -1  # a watched file itself has no name in its events
_IN_MODIFY = 0x2
_KEEP_SIZE, _PUNCH_HOLE = 0x1, 0x2
_BLOCK = 512  # what st_blocks counts, whatever the file system (inode(7))

_libc = ctypes.CDLL(None, use_errno=True)


class ConsoleLimits:
    """The consoles of one runtime's machines; its thread lives as long as one of them is watched."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[Path, int] = {}
        self._inotify = -1

    def watch(self, console: Path) -> None:
        """Keep a console short from now on, and make it where it is missing; nobody may write to it yet."""
        console.parent.mkdir(parents=True, exist_ok=True)
        console.touch()
        _settle(console)
        with self._lock:
            try:
                if self._inotify < 0:
                    self._begin()
                self._watched[console] = _checked(
                    _libc.inotify_add_watch(self._inotify, os.fsencode(console), _IN_MODIFY)
                )
            except OSError as error:
                _warn(console, error, "raise fs.inotify.max_user_instances or max_user_watches")

    def leave(self, console: Path) -> None:
        """Cut a console for the last time: whoever wrote to it is gone. Idempotent."""
        self._unwatch(console)
        _settle(console)

    def _unwatch(self, console: Path) -> None:
        with self._lock:
            watch = self._watched.pop(console, None)
            if watch is not None:
                _libc.inotify_rm_watch(self._inotify, watch)  # which wakes the thread, too

    def _begin(self) -> None:
        self._inotify = _checked(_libc.inotify_init1(os.O_CLOEXEC))
        threading.Thread(target=self._run, args=(self._inotify,), name="console limits", daemon=True).start()

    def _run(self, inotify: int) -> None:
        while grown := {event[0] for event in struct.iter_unpack(_EVENT, os.read(inotify, _EVENTS))}:
            with self._lock:
                if not self._watched:
                    self._inotify = -1
                    os.close(inotify)
                    return
                consoles = [one for one, watch in self._watched.items() if watch in grown or _OVERFLOW in grown]
            for console in consoles:
                self._cut(console)
            time.sleep(_PAUSE_S)

    def _cut(self, console: Path) -> None:
        try:
            _cut(console)
        except FileNotFoundError:
            self._unwatch(console)
        except OSError as error:
            self._unwatch(console)
            _warn(console, error, "keep the data folder on ext4, xfs, btrfs or tmpfs (SONATA_HOME moves it)")


def _cut(console: Path) -> None:
    """Give the room of the oldest part back, while others append to the file."""
    with console.open("r+b", buffering=0) as stream:
        found = os.fstat(stream.fileno())
        if _room(found) > LIMIT:
            length = ctypes.c_int64(found.st_size - KEPT)
            _checked(_libc.fallocate(stream.fileno(), _PUNCH_HOLE | _KEEP_SIZE, ctypes.c_int64(0), length))


def _settle(console: Path) -> None:
    """Leave the newest part only, of a file that nobody writes to."""
    try:
        if console.stat().st_size > LIMIT:
            _cut(console)  # which makes room for the copy, too
            scratch = console.with_name(f"{console.name}.new")
            scratch.write_bytes(tail(console, KEPT))
            scratch.replace(console)
    except FileNotFoundError:
        pass
    except OSError as error:
        _warn(console, error, "make room on its disk")


def _room(found: os.stat_result) -> int:
    """Bytes of disk that a file takes: fewer than its size with a hole in it, though more may be set aside for it."""
    return min(found.st_size, found.st_blocks * _BLOCK)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _warn(console: Path, error: OSError, hint: str) -> None:
    logger.warning("a console cannot be kept short", extra={"console": console, "reason": error, "hint": hint})
