"""Terminals in machines: an OCI engine opens one there and hands its master side over a socket."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import time
from collections.abc import Callable
from pathlib import Path

import sonata.adapters.runtime_oci.processes as processes
from sonata.adapters.runtime_oci.engine import Engine
from sonata.adapters.runtime_oci.machine import Machine
from sonata.errors import AdapterError, PermanentError

_CHUNK = 16 * 1024
_HANDED_OVER_S = 10.0
_POLL_S, _LOOK_S = 0.01, 0.1


class PtyTerminal:
    """`sonata.ports.runtime.Terminal` by the master side of a pseudoterminal (pty(7))."""

    def __init__(self, master: int, pid: int, reap: Callable[[], None]) -> None:
        os.set_blocking(master, False)
        self._master = master
        self._pidfd = os.pidfd_open(pid)
        self._reap = reap
        self._closed = asyncio.Event()
        self._ended = asyncio.create_task(self._watch(), name=f"terminal {pid}")

    async def read(self) -> bytes:
        """What was printed next; empty at the end."""
        while not self._closed.is_set():
            try:
                return os.read(self._master, _CHUNK)
            except BlockingIOError:
                await self._readable()
            except OSError:  # EIO: nobody has the other side open: not yet, or not any more
                if self._ended.done():
                    return b""
                await asyncio.sleep(_POLL_S)
        return b""

    async def write(self, typed: bytes) -> None:
        """Type something."""
        while typed and not self._closed.is_set():
            try:
                typed = typed[os.write(self._master, typed) :]
            except BlockingIOError:
                await asyncio.sleep(_POLL_S)
            except OSError:
                return

    def resize(self, rows: int, columns: int) -> None:
        """Set the window size (ioctl_tty(2), TIOCSWINSZ)."""
        if not self._closed.is_set():
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def close(self) -> None:
        """Hang up and kill the program; idempotent."""
        if self._closed.is_set():
            return
        self._closed.set()
        os.close(self._master)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        await self._ended
        os.close(self._pidfd)
        self._reap()

    async def _watch(self) -> None:
        """Collect the program as soon as it has ended: its machine cannot end before that."""
        await processes.wait_readable(self._pidfd)
        processes.reap(self._pidfd)

    async def _readable(self) -> None:
        """Wait for output or for the end, whichever comes first."""
        waiting = {
            asyncio.ensure_future(processes.wait_readable(self._master)),
            asyncio.ensure_future(self._closed.wait()),
        }
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()


async def open_terminal(engine: Engine, machine: Machine, request: bytes, reap: Callable[[], None]) -> PtyTerminal:
    """Run a process of a machine on a new terminal.

    Args:
        engine: which runs the machine.
        machine: which.
        request: the process in the form of config.md, JSON.
        reap: collects what the engine leaves behind.

    Raises:
        PermanentError: the program cannot be executed.
        AdapterError: the engine was killed over it.
    """
    folder = machine.folder
    # The path of a socket is short by nature (unix(7): 108 bytes), the machine's folder may not be.
    with (
        tempfile.TemporaryDirectory(prefix="tty-", dir=folder if len(str(folder)) < 80 else None) as made,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener,
    ):
        scratch = Path(made)
        listener.bind(str(scratch / "socket"))
        listener.listen(1)
        (scratch / "process.json").write_bytes(request)
        engine_run = _spawn(engine, machine.name, scratch)
        master = await asyncio.to_thread(_receive, listener, engine_run)
        status = await asyncio.to_thread(engine_run.wait)
        reap()
        if master is not None and status == 0:
            return PtyTerminal(master, int((scratch / "pid").read_text()), reap)
        try:
            if status < 0:
                raise await _cut_off(engine, machine, scratch, engine_run, master)
        finally:
            if master is not None:
                os.close(master)
        log = scratch / "log"
        why = log.read_text(errors="replace").strip() if log.exists() else ""
        raise PermanentError(f"machine `{machine.spec.id}` opened no terminal: {why or 'the engine said nothing'}")


async def _cut_off(
    engine: Engine, machine: Machine, scratch: Path, call: subprocess.Popen[bytes], master: int | None
) -> AdapterError:
    """End what an engine that was killed has left in a machine, and tell of it."""
    kind, called_by = engine.kind, f"{scratch}/"

    def found() -> set[int]:
        known = processes.forked_by(call.pid) | processes.recorded(scratch / "pid")
        if master is not None:
            known |= processes.on_terminal(machine.pid, master)
        return known | processes.left_behind(kind, called_by)

    await processes.end_all(found)
    answer = processes.told(kind, call.returncode)
    return AdapterError(
        f"machine `{machine.spec.id}` opened no terminal: {answer}",
        hint="open it again",
        call=f"{kind} exec",
        answer=answer,
    )


def _spawn(engine: Engine, machine_id: str, scratch: Path) -> subprocess.Popen[bytes]:
    command = engine.command(
        "exec",
        "--tty",
        "--detach",
        f"--console-socket={scratch / 'socket'}",
        f"--process={scratch / 'process.json'}",
        f"--pid-file={scratch / 'pid'}",
        machine_id,
        log=scratch / "log",
    )
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, process_group=0)


def _receive(listener: socket.socket, engine: subprocess.Popen[bytes]) -> int | None:
    """The descriptor that the engine hands over; None when it ended without."""
    deadline = time.monotonic() + _HANDED_OVER_S
    waiting, accepted = listener, False
    try:
        while time.monotonic() < deadline:
            over = engine.poll() is not None  # what it has left behind may hold its end open much longer
            waiting.settimeout(_LOOK_S)
            with contextlib.suppress(TimeoutError):
                if accepted:
                    _, descriptors, _, _ = socket.recv_fds(waiting, 4096, 1)
                    return descriptors[0] if descriptors else None
                waiting, accepted = listener.accept()[0], True
                continue
            if over:
                return None
    finally:
        if accepted:
            waiting.close()
    engine.kill()
    return None
