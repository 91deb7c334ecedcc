"""Processes in the event loop by pidfd: no child watcher, no thread, no signal handler."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import re
import signal
import struct
import subprocess
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from sonata.ports.runtime import Tell

logger = logging.getLogger(__name__)

_DRAIN_S = 0.2
_CHUNK = 65536
_KILL_EVERY_S, _KILL_ROUNDS, _PATIENT_ROUNDS = 0.002, 1000, 100
_REAPED_AFTER_S = (0.0, 0.02, 0.2, 2.0)
_PTY_SLAVE, _TIOCGPTN = 136, 0x80045430  # devices.txt of the kernel, ioctl_tty(2): neither is in Python
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


def told(name: str, status: int) -> str:
    """How a program that failed has ended, in words; its status is as that of `run`."""
    return f"{name} was killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


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
    status = process.wait()
    if status < 0:  # it has left to us what it had forked
        await end_all(lambda: forked_by(process.pid))
    return status


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
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0)


def _spawn_with_pipes(argv: Sequence[str], stdin: bytes) -> subprocess.Popen[bytes]:
    with os.fdopen(os.memfd_create("stdin"), "w+b") as source:
        source.write(stdin)
        source.seek(0)
        return subprocess.Popen(argv, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0)


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
        if status is not None or _stat(pid) is None:
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
    while (found := _stat(pid)) is not None:
        if not found.command.startswith(name):
            return True
        if found.state == "Z":
            return False
        await asyncio.sleep(0.0005)
    return False


def reap_orphans(name: str | tuple[str, ...]) -> None:
    """Collect dead children that a helper of ours left to us: they bear its name and are not what we have called.

    An engine detaches by forking twice, and what it forked for a failed `exec` would, uncollected, keep the machine's
    pid namespace from ending.
    """
    for pid in _children():
        found = _stat(pid)
        if found and found.state == "Z" and found.command.startswith(name) and not found.is_called:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def reap_soon(name: str | tuple[str, ...]) -> None:
    """Collect, now and a few times later, what a failed call left to us: it may die a moment after its maker."""
    for delay_s in _REAPED_AFTER_S:
        asyncio.get_running_loop().call_later(delay_s, reap_orphans, name)


def left_behind(name: str, word: str, disk: Path | None = None) -> set[int]:
    """What an engine that was killed has left to us: its own children, which work on, and what it was about to tell of.

    Args:
        name: of the engine.
        word: is in the command by which it was called, and in that of no other.
        disk: what the root of the machine's first process is made of.
    """
    return {pid for pid in _children() if _works_on(pid, name, word) or (disk and _is_on(pid, disk))}


def forked_by(called: int) -> set[int]:
    """Children that a program which we have called, and which is gone, has left to us: its process group."""
    return {pid for pid in _children() if (found := _stat(pid)) and found.group == called}


def recorded(pid_file: Path) -> set[int]:
    """The child of ours whose pid an engine wrote to a file; none where it had not come to that."""
    with contextlib.suppress(OSError, ValueError):
        return {int(pid_file.read_text())} & {*_children()}
    return set()


def in_same_machine(first: int) -> set[int]:
    """Children of ours in the pid namespace of a machine's first process, which were left to us there.

    Programs on terminals are not among them: who has opened one has it left to him, and knows of it.
    """
    return {pid for pid in _beside(first) if (found := _stat(pid)) and not found.terminal}


def on_terminal(first: int, master: int) -> set[int]:
    """Children of ours beside a machine's first process whose terminal is the one with this master side."""
    number = os.makedev(_PTY_SLAVE, struct.unpack("I", fcntl.ioctl(master, _TIOCGPTN, b"\0" * 4))[0])
    return {pid for pid in _beside(first) if (found := _stat(pid)) and found.terminal == number}


def collect_beside(firsts: Collection[int]) -> None:
    """Collect dead children of ours in machines: until then the kernel does not let them end (pid_namespaces(7)).

    Args:
        firsts: the first processes of the machines, which are not meant.
    """
    if not firsts:
        return
    dead = [pid for pid in _children() if pid not in firsts and (found := _stat(pid)) and found.state == "Z"]
    machines = {_pid_namespace(first) for first in firsts} - {"", _pid_namespace(os.getpid())} if dead else set()
    for pid in dead:
        if _pid_namespace(pid) in machines:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _beside(first: int) -> set[int]:
    """Children of ours in the pid namespace of a machine's first process, without that."""
    machine = _pid_namespace(first)
    return {pid for pid in _children() if machine and pid != first and _pid_namespace(pid) == machine}


async def end_all(find: Callable[[], set[int]]) -> None:
    """Kill what is found until nothing more is, as the killed may just have made others; gives up after a while."""
    killed: set[int] = set()
    for turn in range(_KILL_ROUNDS):
        found = find()
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        collect_beside(killed)
        killed = {pid for pid in killed | found if not _collected(pid, patient=turn < _PATIENT_ROUNDS)}
        if not found | killed:
            return
        await asyncio.sleep(_KILL_EVERY_S)
    logger.warning("processes cannot be killed", extra={"pids": sorted(find() | killed)})


def _collected(pid: int, *, patient: bool) -> bool:
    """Whether a killed process is gone.

    Ours has to be collected for that; all others are their parents' affair, unless those, too, are about to go and
    leave it to us, which takes some patience.
    """
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        found = _stat(pid)
        return found is None or (found.state == "Z" and not patient)


def _works_on(pid: int, name: str, word: str) -> bool:
    words = _argv(pid)
    return word in "\0".join(words) and name in [os.path.basename(each) for each in words[:3]]


def _is_on(pid: int, disk: Path) -> bool:
    return bool(re.search(rf"{re.escape(str(disk))}[/, ]", _root_mount(pid)))


def _root_mount(pid: int) -> str:
    """What proc(5) tells in `mountinfo` about the root of a process."""
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.split(" ", 5)[4] == "/"), "")


def _pid_namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def _argv(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []


class _Stat(NamedTuple):
    """What proc(5) tells of a process.

    Args:
        is_called: whether it leads a group of our session, as the programs do that we call.
        terminal: device number of the one that controls it; 0 without.
    """

    command: str
    state: str
    group: int
    is_called: bool
    terminal: int


def _stat(pid: int) -> _Stat | None:
    """What a process does; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            before, _, after = stat.read().rpartition(")")
    except OSError:
        return None
    state, _, group, session, terminal, *_ = after.split()
    is_called = int(group) == pid and int(session) == os.getsid(0)
    return _Stat(before.partition("(")[2], state, int(group), is_called, int(terminal))


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
