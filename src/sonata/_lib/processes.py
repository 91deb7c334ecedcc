"""Processes of this machine by pid and start time, so that a pid that was given out again is never mistaken."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sonata._lib.values import dataclass


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process: its pid and when it started, in clock ticks since boot."""

    pid: int
    started: int


def identify(pid: int) -> ProcessId | None:
    """Identity of a process that runs now; None when there is none or it is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before may hold blanks and parentheses; proc(5)
    state, started = fields[0], int(fields[19])
    return None if state in "ZX" else ProcessId(pid, started)


def is_running(process: ProcessId) -> bool:
    """Whether this very process runs still."""
    return identify(process.pid) == process


def end_process(process: ProcessId, *, grace_s: float) -> bool:
    """Send SIGTERM, after `grace_s` SIGKILL, and return once the process is gone.

    Returns:
        False when it had to be killed, True when it ended by itself or was gone already.
    """
    with _opened(process) as handle:
        if handle is None:
            return True
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if _has_ended(handle, grace_s):
            return True
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        _has_ended(handle, None)
        return False


@contextmanager
def _opened(process: ProcessId) -> Iterator[int | None]:
    """Hold the process by a descriptor: the check of its start time then stays true."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield handle if is_running(process) else None
    finally:
        os.close(handle)


def _has_ended(handle: int, timeout_s: float | None) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))


def lingering_zombies() -> set[int]:
    """Pids of children of this process that have ended and that nobody has waited for."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {int(pid) for pid in children if identify(int(pid)) is None}


def reap(pids: set[int]) -> None:
    """Collect ended children; those that somebody else has collected meanwhile are passed over."""
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue
