"""Implements `ports.disturbance` with signals, and processes in machines' cgroups."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import sonata.adapters.disturbance_linux.burden as program
from sonata.errors import NotFound, PermanentError

_READY = b"ready\n"
_END_S = 2.0


class LinuxBurden:
    """Implements `ports.disturbance.Burden`: a process, and those that it has started."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def take_away(self) -> None:
        """End it; see the port."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(_END_S):
                await self._process.wait()
        except TimeoutError:  # as one of a machine that is paused
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


class LinuxDisturber:
    """Implements `ports.disturbance.Disturber`."""

    async def kill(self, pid: int) -> None:
        """Kill the first process of a machine; see the port."""
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError as error:
            raise _ended(pid) from error

    async def burden(self, pid: int, *, cpus: float, memory_bytes: int) -> LinuxBurden:
        """Use up resources of a machine; see the port."""
        try:
            groups = list(_cgroups_of(pid))
        except OSError as error:
            raise _ended(pid) from error
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", program.__file__, str(pid), str(cpus), str(memory_bytes), *groups),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.defpath},
            cwd="/",
        )
        out, err = process.stdout, process.stderr
        if out is None or err is None:
            raise AssertionError("its outputs are pipes")
        if await out.readline() != _READY:
            told = (await err.read()).decode(errors="replace").strip().rpartition("\n")[2]
            await process.wait()
            raise PermanentError(
                f"process {pid} cannot be burdened: {told or f'the burden was killed ({process.returncode})'}",
                hint="is there so much memory within the machine's limit?",
                answer=told,
            )
        return LinuxBurden(process)


def _ended(pid: int) -> NotFound:
    return NotFound(f"process {pid} has ended")


def _cgroups_of(pid: int) -> Iterator[str]:
    """The `cgroup.procs` files of a process's cgroups that we are not in, of those hierarchies that are mounted here.

    A machine that nobody limits is where we are.
    """
    ours = Path("/proc/self/cgroup").read_text().splitlines()
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        if line in ours:
            continue
        _, controllers, path = line.split(":", 2)
        folder = _mount_of(controllers)
        file = folder / path.lstrip("/") / "cgroup.procs" if folder else None
        if file and path != "/" and file.exists():
            yield str(file)


def _mount_of(controllers: str) -> Path | None:
    """Where the hierarchy of these controllers is mounted; that of version 2 has none in its name."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, options, *_ = line.split()
        has_them = not controllers or set(controllers.split(",")) <= set(options.split(","))
        if kind == ("cgroup" if controllers else "cgroup2") and has_them:
            return Path(folder)
    return None
