"""File descriptors of this process: how many more it may open, and some that are kept for when it may open no more."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import resource

SPARE = 64
"""Descriptors that are kept back for answers and for tidying up."""
_LOOK_EVERY_S = 0.1


def limit() -> int:
    """Numbers below this one may be opened."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def has_room(count: int) -> bool:
    """Whether so many more can be opened."""
    most = limit()
    if count > most:
        return False
    # The kernel gives the lowest number that is free: where the highest ones are, so is what lies between.
    if _is_free(most - count) and _is_free(most - 1):
        return True
    try:
        used = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return False
    return most - sum(number < most for number in used) >= count


def is_exhaustion(error: BaseException | None) -> bool:
    """Whether a call failed since this process or this machine has as many files open as it may."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


async def room_for(count: int = SPARE // 2) -> None:
    """Wait until so many more can be opened, however long that takes: for what must not be left half done."""
    while not has_room(count):  # noqa: ASYNC110  # nobody tells when another thread closes a file
        await asyncio.sleep(_LOOK_EVERY_S)


class Reserve:
    """Descriptors that are held so that others can have their numbers when there are no more."""

    def __init__(self) -> None:
        self._held: list[int] = []
        self.is_whole = self._fill()

    def look(self, beside: int = SPARE) -> bool:
        """Give the numbers away where fewer than `beside` others are left, take them back where there are more again.

        Returns:
            Whether there is room for `beside` more, and the reserve is whole.
        """
        if not has_room(beside):
            raise_limit()
        if has_room(beside + SPARE - len(self._held)):
            self.is_whole = self._fill()
        else:
            self.close()
        return self.is_whole

    def close(self) -> None:
        """Give all of them away."""
        self.is_whole = False
        while self._held:
            os.close(self._held.pop())

    def _fill(self) -> bool:
        try:
            while len(self._held) < SPARE:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            self.close()
            return False
        return True


def _is_free(number: int) -> bool:
    try:
        found = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, number)
    except OSError:
        return False
    os.close(found)
    return found == number
