"""Network namespaces of Linux as file descriptors.

`setns(2)` and `unshare(2)` move the calling thread alone, so all of this may be used beside other threads; a thread is
always back in its own namespace when a call returns. Nothing is given a name in the file system: a namespace lives as
long as a descriptor of it, or a process in it.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


def enter(descriptor: int) -> None:
    """Move the calling thread into a network namespace.

    Raises:
        OSError: as setns(2).
    """
    _check(_libc.setns(descriptor, CLONE_NEWNET), "setns")
    _here.descriptor = descriptor


def current() -> int:
    """A new descriptor of the calling thread's network namespace; the caller closes it."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def homeward() -> Iterator[None]:
    """Bring the calling thread back into the namespace that it is in now, whatever happens inside."""
    before = _here.descriptor if _here.descriptor >= 0 else _home()
    try:
        yield
    finally:
        enter(before)


@contextmanager
def inside(descriptor: int) -> Iterator[None]:
    """Run a block in a network namespace, in the calling thread alone."""
    with homeward():
        enter(descriptor)
        yield


def create(count: int, settle: Callable[[int], T]) -> list[T]:
    """Create network namespaces.

    Args:
        count: how many.
        settle: called with the descriptor of each new namespace while the thread is in it; owns the descriptor.

    Returns:
        What `settle` returned, in order.

    Raises:
        OSError: as unshare(2), or from `settle`; what was settled before stays with `settle`'s owner.
    """
    settled: list[T] = []
    with homeward():
        for _ in range(count):
            _check(_libc.unshare(CLONE_NEWNET), "unshare")
            _here.descriptor = current()
            settled.append(settle(_here.descriptor))
    return settled


class _Here(threading.local):
    """The namespace that a thread is in; a negative number while it is where all threads begin."""

    descriptor = -1


_here = _Here()
_homes: list[int] = []


def _home() -> int:
    """A descriptor of the namespace in which all threads of this process begin, opened once."""
    if not _homes:
        _homes.append(current())
    return _homes[0]


os.register_at_fork(after_in_child=_homes.clear)  # a child may go on to another one, and open that then


def _check(result: int, call: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
