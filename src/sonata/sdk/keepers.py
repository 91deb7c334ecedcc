"""Keepers before they know what they keep: a keeper makes its namespaces and imports what it needs meanwhile.

Its starter has other things to do at first, such as reading a topology file, on another processor.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from sonata import errors
from sonata._lib.processes import ProcessId, end_process, identify
from sonata.sdk.emulation_records import log_of

_LOG_TAIL = 2000
LET_GO = b"d"
"""What a lifeline brings to a keeper that may outlive its starter."""


class Ties(NamedTuple):
    """Descriptors that a keeper begins with: for its reports, of its lifeline, for its orders, of its first log."""

    report: int
    lifeline: int
    orders: int
    log: int


Spawn = Callable[[Ties], Callable[[], object]]
"""Starts the process that makes a keeper; what it returns waits for that process, which ends when the keeper stands."""


def by_program(ties: Ties) -> Callable[[], object]:
    """Start a keeper as a program of its own; see `Spawn`."""
    return subprocess.Popen(
        [sys.executable, "-m", "sonata.daemon.keeper", *map(str, ties[:3])],
        stdin=subprocess.DEVNULL,
        stdout=ties.log,
        stderr=ties.log,
        pass_fds=ties[:3],
        cwd="/",
    ).wait


class Keeper:
    """A keeper that is starting; it ends with the block unless it was told what to keep.

    Messages go by its name, which it need not know before it is told what to keep.

    Args:
        spawn: starts its process.
    """

    def __init__(self, spawn: Spawn = by_program) -> None:
        report_read, report_write = os.pipe()
        lifeline_read, self._lifeline = os.pipe()
        self._reports: IO[bytes] = os.fdopen(report_read, "rb")
        self._orders, orders = socket.socketpair()
        self._log = os.memfd_create("keeper")
        self._process: ProcessId | None = None
        self._is_told = False
        self._wait_for_start: Callable[[], object] = lambda: None
        with ExitStack() as undo:
            undo.callback(self._drop)  # at an interruption it may have been spawned already
            try:
                self._wait_for_start = spawn(Ties(report_write, lifeline_read, orders.fileno(), self._log))
            finally:
                os.close(report_write)
                os.close(lifeline_read)
                orders.close()
            undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_told:
            self._drop()
        elif error:
            self.hang_up()

    def process(self, name: str) -> ProcessId:
        """The first process of its namespaces.

        Raises:
            SonataError: whatever the keeper says that there can be none for.
        """
        if self._process is None:
            self._process = identify(int(self.next_report(name)["pid"]))
        if self._process is None:  # it died meanwhile; its reason comes next
            self.next_report(name)
            raise self._died(name)
        return self._process

    def tell(self, descriptors: Sequence[int]) -> None:
        """Hand over what it keeps, and what it needs for that.

        Args:
            descriptors: of its configuration, its log, the sockets of its APIs and of its proxy, and its lock.
        """
        with suppress(BrokenPipeError, ConnectionResetError):  # it died; its reason comes next
            socket.send_fds(self._orders, [b"keep"], list(descriptors))
        self._is_told = True
        self._orders.close()
        self._wait_for_start()

    def next_report(self, name: str) -> Mapping[str, Any]:
        """What the keeper of the emulation `name` says next.

        Raises:
            SonataError: it says why it failed.
            AdapterError: it is dead.
        """
        line = self._reports.readline()
        if not line:
            raise self._died(name)
        report: Mapping[str, Any] = json.loads(line)
        if "error" in report:
            error = report["error"]
            raise errors.error_class(error["code"])(error["message"], hint=error["hint"])
        return report

    def wait(self) -> None:
        """Wait until it has ended, whatever ended it."""
        while self._reports.readline():
            continue

    def let_go(self) -> None:
        """Let it outlive this process."""
        os.write(self._lifeline, LET_GO)
        self.hang_up()

    def hang_up(self) -> None:
        """Close what leads to the keeper. Idempotent."""
        if not self._reports.closed:
            self._reports.close()
            self._orders.close()
            os.close(self._lifeline)
            os.close(self._log)

    def _drop(self) -> None:
        """End it, however far it is. Idempotent: blocks of it may be one in another."""
        if self._reports.closed:
            return
        self._orders.close()  # it ends at that even if who it is was lost, at a Ctrl-C while it was read
        with suppress(errors.SonataError):  # it is dead already
            end_process(self.process("nameless"), grace_s=0.0)
        self.wait()
        self._wait_for_start()
        self.hang_up()

    def _died(self, name: str) -> errors.AdapterError:
        log = log_of(name) if self._is_told else Path(f"/proc/self/fd/{self._log}")
        answer = log.read_text(errors="replace")[-_LOG_TAIL:] if log.exists() else ""
        last = answer.strip().rpartition("\n")[2]
        return errors.AdapterError(
            f"emulation `{name}` died while it started: {last or 'it was killed'}", answer=answer
        )
