"""Processes in the event loop by pidfd: no child watcher, no thread, no signal handler."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from sonata.ports.runtime import Tell

_DRAIN_S = 0.2
_CHUNK = 65536
_LATE_CHUNKS = 16  # a pipe holds at most 1 MiB (pipe(7)): all that the program itself has written


async def wait_readable(descriptor: int) -> None:
    """Wait until a file descriptor is readable; a pidfd is when its process has ended."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _resolve, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def run(argv: Sequence[str], console: Path = Path(os.devnull)) -> int:
    """Run a program, append stdout and stderr to a file, and return the exit status; kills it when cancelled."""
    return await _ended(_spawn_with_console(argv, console))


class Kept:
    """The first `limit` bytes of each stream of a program."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._streams = {"stdout": bytearray(), "stderr": bytearray()}

    async def __call__(self, stream: str, chunk: bytes) -> None:
        """Keep what there is room for."""
        kept = self._streams[stream]
        kept += chunk[: self._limit - len(kept)]

    def __getitem__(self, stream: str) -> bytes:
        return bytes(self._streams[stream])


async def pass_on(argv: Sequence[str], stdin: bytes, tell: Tell) -> int:
    """Run a program, tell its output as it comes, and return the exit status; kills it when cancelled.

    Output that comes more than a moment after the program's end (from a process that it left behind) is not waited for.
    """
    process = _spawn_with_pipes(argv, stdin)
    pipes = {name: pipe for name, pipe in (("stdout", process.stdout), ("stderr", process.stderr)) if pipe}
    over = asyncio.Event()
    readers = [asyncio.create_task(_read(pipe, partial(tell, name), over)) for name, pipe in pipes.items()]
    try:
        status = await _ended(process)
        over.set()
        await asyncio.gather(*readers)
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        for pipe in pipes.values():
            pipe.close()
    return status


async def _ended(process: subprocess.Popen[bytes]) -> int:
    try:
        pidfd = os.pidfd_open(process.pid)
    except OSError:
        process.kill()
        process.wait()
        raise
    try:
        await wait_readable(pidfd)
    except asyncio.CancelledError:
        process.kill()
        process.wait()
        raise
    finally:
        os.close(pidfd)
    return process.wait()


async def _read(pipe: IO[bytes], take: Callable[[bytes], Awaitable[None]], over: asyncio.Event) -> None:
    descriptor = pipe.fileno()
    os.set_blocking(descriptor, False)
    more = _LATE_CHUNKS
    while more and await _comes(descriptor, over):
        more -= over.is_set()
        with contextlib.suppress(BlockingIOError):
            chunk = os.read(descriptor, _CHUNK)
            if not chunk:
                return
            await take(chunk)


async def _comes(descriptor: int, over: asyncio.Event) -> bool:
    """Wait for output, or for its end; only a moment once the program is over."""
    readable, ended = asyncio.create_task(wait_readable(descriptor)), asyncio.create_task(over.wait())
    try:
        await asyncio.wait({readable, ended}, return_when=asyncio.FIRST_COMPLETED)
        done, _ = await asyncio.wait({readable}, timeout=_DRAIN_S)
        return bool(done)
    finally:
        readable.cancel()
        ended.cancel()


def _spawn_with_console(argv: Sequence[str], console: Path) -> subprocess.Popen[bytes]:
    with open(console, "ab") as output:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def _spawn_with_pipes(argv: Sequence[str], stdin: bytes) -> subprocess.Popen[bytes]:
    with os.fdopen(os.memfd_create("stdin"), "w+b") as source:
        source.write(stdin)
        source.seek(0)
        return subprocess.Popen(argv, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def kill_recorded(pid_file: Path) -> None:
    """Kill the child of ours whose pid an engine wrote to a file, and collect it."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def reap(pidfd: int) -> int | None:
    """Exit status of an ended child as a shell has it (128 + signal); None when it was not ours to wait for."""
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else 128 + result.si_status


async def collected(pid: int, pidfd: int) -> int | None:
    """Exit status of an ended process that is, or is about to become, our child; see `reap`.

    The engine that has made it may be its parent a moment longer, and leaves it to us by its own end.
    """
    for delay_s in (0.0, 0.005, 0.05, 0.5, 2.0):
        await asyncio.sleep(delay_s)
        status = reap(pidfd)
        if status is not None or _command_and_state(pid) is None:
            return status
    return None


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal; the first process of a namespace ignores all others."""
    try:
        with open(f"/proc/{pid}/status") as status:
            caught = next(line for line in status if line.startswith("SigCgt:"))
    except (OSError, StopIteration):
        return False
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


async def became_another(pid: int, name: str | tuple[str, ...]) -> bool:
    """Wait until a process bears another name than `name`, which it changes by execve(2); False when it died before."""
    while (found := _command_and_state(pid)) is not None:
        command, state, _ = found
        if not command.startswith(name):
            return True
        if state == "Z":
            return False
        await asyncio.sleep(0.0005)
    return False


def reap_orphans(name: str | tuple[str, ...]) -> None:
    """Collect dead children that a helper of ours left to us: they bear its name and have a session of their own.

    An engine detaches by forking twice, and what it forked for a failed `exec` would, uncollected, keep the machine's
    pid namespace from ending.
    """
    ours = os.getsid(0)
    for pid in _children():
        command, state, session = _command_and_state(pid) or ("", "", ours)
        if state == "Z" and session != ours and command.startswith(name):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def end_left_behind(name: str, machine_id: str, disk: Path) -> None:
    """Kill what an engine that was killed has left to us of a machine.

    These are its own children, which work on, and the machine's first process, of which it had not yet taken note.

    Args:
        name: of the engine.
        machine_id: is among the words of its command.
        disk: what the machine's root is made of.
    """
    for pid in _children():
        words = _argv(pid)
        works_on = machine_id in words and name in [os.path.basename(word) for word in words[:3]]
        if works_on or str(disk) in _root_mount(pid):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _root_mount(pid: int) -> str:
    """What proc(5) tells in `mountinfo` about the root of a process."""
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.split(" ", 5)[4] == "/"), "")


def _argv(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []


def _command_and_state(pid: int) -> tuple[str, str, int] | None:
    """Name, state and session of a process, see proc(5); None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            before, _, after = stat.read().rpartition(")")
    except OSError:
        return None
    state, _, _, session, *_ = after.split()
    return before.partition("(")[2], state, int(session)


def _threads() -> list[str]:
    """Ids of our threads; none where no file can be opened: who collects comes again."""
    try:
        return os.listdir("/proc/self/task")
    except OSError:
        return []


def _children() -> list[int]:
    """Children of all threads."""
    found: list[int] = []
    for thread in _threads():
        with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/children") as children:
            found += map(int, children.read().split())
    return found
