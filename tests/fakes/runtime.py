"""A runtime in memory: programs that a test ends, makes listen, or makes fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sonata.errors import Conflict, NotFound, PermanentError
from sonata.ports.runtime import Bind, Limits, MachineExit, MachineSpec, OnExit, Tell, Terminal, Usage

MISSING_PROGRAM = "/no/such/program"
EXITS_AT_ONCE = "/bin/false"


@dataclass
class _Running:
    spec: MachineSpec
    on_exit: OnExit | None


class FakeTerminal:
    """A terminal that echoes what is typed, and ends at `exit`."""

    def __init__(self, rows: int, columns: int) -> None:
        self.size = (rows, columns)
        self.closed = False
        self._typed: asyncio.Queue[bytes] = asyncio.Queue()

    async def read(self) -> bytes:
        typed = await self._typed.get()
        return b"" if typed == b"exit\n" else typed

    async def write(self, typed: bytes) -> None:
        self._typed.put_nowait(typed)

    def resize(self, rows: int, columns: int) -> None:
        self.size = (rows, columns)

    async def close(self) -> None:
        self.closed = True
        self._typed.put_nowait(b"exit\n")


class FakeRuntime:
    """Machines by id. `listening` holds the ids whose programs listen on whatever port is asked for."""

    name = "fake 1.0"

    def __init__(self) -> None:
        self.running: dict[str, _Running] = {}
        self.graces: list[float] = []
        self.started: list[MachineSpec] = []
        self.folders: dict[tuple[str, str], Bind] = {}
        self.taken_away: set[str] = set()
        self.busy: set[str] = set()
        self.listening: set[str] = set()
        self.listen_at_once = True
        self.paused: set[str] = set()
        self.groups: dict[str, Limits] = {}
        self.terminals: list[FakeTerminal] = []

    @property
    def unenforced(self) -> Mapping[str, str]:
        return {}

    @asynccontextmanager
    async def disk_content(self, disk: Path) -> AsyncIterator[Path]:
        yield disk

    def disk_refusal(self) -> str:
        return "a fake boots no disk"

    async def start(
        self, spec: MachineSpec, on_exit: OnExit | None = None, *, after: Awaitable[object] | None = None
    ) -> int:
        if spec.id in self.running:
            raise Conflict(f"machine `{spec.id}` runs")
        if spec.argv[:1] == (MISSING_PROGRAM,):
            raise PermanentError(f"cannot execute `{MISSING_PROGRAM}`: no such file")
        if after is not None:
            await after
        self.running[spec.id] = _Running(spec, on_exit)
        self.started.append(spec)
        spec.console.parent.mkdir(parents=True, exist_ok=True)
        spec.console.write_text(f"{' '.join(spec.argv)} started\nsecond line\n")
        if spec.argv[:1] == (EXITS_AT_ONCE,):
            await self.end(spec.id, 1)
        return 1000 + len(self.started)

    def pid_of(self, machine_id: str) -> int:
        if machine_id not in self.running:
            raise NotFound(f"machine `{machine_id}` does not run")
        return 1000 + list(self.running).index(machine_id)

    async def stop(self, machine_id: str, *, grace_s: float = 2.0) -> None:
        self.graces.append(grace_s)
        self.paused.discard(machine_id)
        self.running.pop(machine_id, None)

    async def exec(
        self, machine_id: str, argv: Sequence[str], *, stdin: bytes = b"", tell: Tell | None = None
    ) -> tuple[int, bytes, bytes]:
        if machine_id not in self.running:
            raise NotFound(f"no machine `{machine_id}`")
        out = " ".join(argv).encode() + stdin
        if tell is None:
            return 0, out, b""
        await tell("stdout", out)
        return 0, b"", b""

    async def attach_folder(self, machine_id: str, bind: Bind) -> None:
        if machine_id not in self.running:
            raise NotFound(f"no machine `{machine_id}`")
        self.folders[(machine_id, bind.target)] = bind

    async def detach_folder(self, machine_id: str, target: str) -> None:
        if machine_id not in self.running:
            raise NotFound(f"no machine `{machine_id}`")
        if target in self.busy:
            raise Conflict(f"`{target}` is in use in the machine")
        self.folders.pop((machine_id, target), None)
        self.taken_away.add(target)

    async def is_listening(self, machine_id: str, tcp_port: int) -> bool:
        return self.listen_at_once or machine_id in self.listening

    async def pause(self, machine_id: str) -> None:
        self._spec(machine_id)
        self.paused.add(machine_id)

    async def resume(self, machine_id: str) -> None:
        self._spec(machine_id)
        self.paused.discard(machine_id)

    async def set_limits(self, machine_id: str, limits: Limits) -> None:
        self.running[machine_id].spec = replace(self._spec(machine_id), limits=limits)

    async def usage(self, machine_id: str) -> Usage:
        self._spec(machine_id)
        return Usage(1.5, 1024**2, 2)

    async def set_group(self, name: str, limits: Limits) -> None:
        self.groups[name] = limits

    async def group_usage(self, name: str) -> Usage:
        count = sum(running.spec.group == name for running in self.running.values())
        return Usage(1.5 * count, count * 1024**2, 2 * count)

    async def terminal(self, machine_id: str, argv: Sequence[str], *, rows: int = 24, columns: int = 80) -> Terminal:
        self._spec(machine_id)
        self.terminals.append(FakeTerminal(rows, columns))
        return self.terminals[-1]

    async def close(self) -> None:
        self.running.clear()

    def _spec(self, machine_id: str) -> MachineSpec:
        if machine_id not in self.running:
            raise NotFound(f"no machine `{machine_id}`")
        return self.running[machine_id].spec

    async def end(self, machine_id: str, status: int) -> None:
        """Let a program end by itself."""
        machine = self.running.pop(machine_id)
        if machine.on_exit:
            await machine.on_exit(MachineExit(machine_id, status, "exited"))
