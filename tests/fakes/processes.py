"""Sandboxes that confine nothing: plain processes, so that the manager host can be tested without any privilege."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable
from pathlib import Path

from sonata.ports.runtime import MachineExit, MachineSpec, OnExit


class PlainProcesses:
    """Starts a machine's program on the host, with the sandbox's paths put back to where they come from."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}

    async def start(
        self, spec: MachineSpec, on_exit: OnExit | None = None, *, after: Awaitable[object] | None = None
    ) -> int:
        if after is not None:
            await after
        places = {bind.target: str(bind.source) for bind in spec.binds}

        def outside(text: str) -> str:
            for target, source in places.items():
                text = text.replace(target, source)
            return text

        environment = {**os.environ, **{name: outside(value) for name, value in spec.env.items()}}
        with open(spec.console, "ab") as console:
            process = await asyncio.create_subprocess_exec(
                *map(outside, spec.argv),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        self._running[spec.id] = process
        self._watchers[spec.id] = asyncio.ensure_future(self._watch(spec.id, process, on_exit))
        return process.pid

    async def _watch(self, name: str, process: asyncio.subprocess.Process, on_exit: OnExit | None) -> None:
        status = await process.wait()
        if self._running.pop(name, None) is not None and on_exit is not None:
            await on_exit(MachineExit(name, status, f"exited with status {status}"))

    async def stop(self, machine_id: str, *, grace_s: float = 2.0) -> None:
        process = self._running.pop(machine_id, None)
        if process is not None:
            process.kill()
            await process.wait()

    def pids(self) -> list[int]:
        return [process.pid for process in self._running.values()]

    async def close(self) -> None:
        for name in tuple(self._running):
            await self.stop(name)
        await asyncio.gather(*self._watchers.values())


def python_here() -> tuple[str, ...]:
    """Command that runs an author's file with this very Python."""
    return (sys.executable, "-m", "sonata.managers.runner")


def source_path() -> str:
    """Folder from which `sonata` is imported here."""
    return str(Path(__file__).parents[2] / "src")
