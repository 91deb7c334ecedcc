"""Starting and ending machines of an OCI engine: their mounts, their first process, what they leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shutil
import signal
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import msgspec

import sonata.adapters.runtime_oci.processes as processes
from sonata._lib.descriptors import room_for
from sonata._lib.together import to_the_end
from sonata.adapters.runtime_oci.bundle import Confinement, attached_roots, config
from sonata.adapters.runtime_oci.cgroups import Cgroups
from sonata.adapters.runtime_oci.console_limits import ConsoleLimits
from sonata.adapters.runtime_oci.disks import Disks
from sonata.adapters.runtime_oci.engine import Engine
from sonata.adapters.runtime_oci.furnishing import Places, mount_root
from sonata.adapters.runtime_oci.host_root import HostLayer
from sonata.adapters.runtime_oci.machine import Machine, disk_names
from sonata.adapters.runtime_oci.mounts import unmount
from sonata.adapters.runtime_oci.traces import Sweep, Traces
from sonata.errors import AdapterError, PermanentError
from sonata.ports.runtime import MachineExit

logger = logging.getLogger(__name__)

_LOOK_EVERY_S, _SWEPT_AFTER_S = 0.02, 0.05
_TRY_AGAIN = "nothing is left of the attempt: start it again; the kernel's log tells whether memory was short"
_KILLED = 128 + signal.SIGKILL
_CANNOT_EXECUTE = re.compile(
    r"executable file|exec format|no such file|not found|permission denied|not a directory", re.I
)


class Launcher:
    """Starts and ends the machines of one runtime.

    Args:
        engine: by which.
        cgroups: where they are limited.
        host_layer: what the `host` root is made of.
        disks: where what they write is bounded.
    """

    def __init__(self, engine: Engine, cgroups: Cgroups, host_layer: HostLayer, disks: Disks) -> None:
        self.machines: dict[str, Machine] = {}
        self._engine = engine
        self._cgroups = cgroups
        self._host_layer = host_layer
        self._disks = disks
        self._consoles = ConsoleLimits()
        self.version = engine.version
        self._sweep = Sweep((engine.kind,))
        self._traces = Traces(engine, cgroups, disks, self._consoles)
        self._last: list[Machine] | None = None

    async def stop(self, machine_id: str, *, grace_s: float = 2.0) -> None:
        """End a machine, by SIGTERM and after `grace_s` by SIGKILL, and drop all that is its own; idempotent."""
        machine = self.machines.get(machine_id)
        if machine is None:
            return
        machine.stopped = True
        if machine.paused:  # a frozen process hears no signal
            self._cgroups.thaw(machine_id)
            machine.paused = False
        if machine.pidfd >= 0 and not machine.over.is_set():
            if grace_s > 0 and processes.catches(machine.pid, signal.SIGTERM):
                _signal(machine, signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(grace_s):
                        await machine.over.wait()
            _signal(machine, signal.SIGKILL)
        while not machine.over.is_set():
            if machine.watcher and machine.watcher.done():  # it has failed over something, or its loop is being closed
                if machine.pidfd >= 0:
                    self._begin_watch(machine)
                else:
                    await self._drop(machine)
            self._sweep(self.machines.values())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await machine.over.wait()

    async def end(self, mounts: Path) -> None:
        """End all machines, and drop what is their own; see `_drop`.

        Args:
            mounts: a mount below which their roots are, so that those go at once: each of them waits for a grace
                period of the kernel, as disks do, which go side by side.
        """
        last: list[Machine] = []
        self._last = last
        await asyncio.gather(*(self.stop(name) for name in list(self.machines)))
        await room_for()
        await self._traces.remove_all(last, mounts)

    async def close(self) -> None:
        """End what helps to run machines, once none runs any more."""

    async def resume(self, machine: Machine) -> None:
        """Let a frozen machine go on; idempotent."""
        if machine.paused:
            try:
                await self.command(machine, "resume")
            except AdapterError:  # an engine that died over it may have done it
                if self._cgroups.is_frozen(machine.spec.id):
                    raise
            machine.paused = False

    async def command(self, machine: Machine, verb: str, *options: str) -> None:
        """Call the engine for a machine.

        Raises:
            AdapterError: it failed; with its answer.
        """
        log = machine.folder / f"{verb}.log"
        status = await processes.run(self._engine.command(verb, *options, machine.name, log=log))
        if status:
            answer = first_line(log) or processes.told(self._engine.kind, status)
            raise AdapterError(
                f"machine `{machine.spec.id}`: `{verb}` failed: {answer}",
                call=f"{self._engine.kind} {verb}",
                answer=answer,
            )

    async def update(self, machine: Machine, wanted: dict[str, Any]) -> None:
        """Change the resources of a running machine, given in the words of config-linux.md."""
        request = machine.folder / "resources.json"
        request.write_bytes(msgspec.json.encode(wanted))
        await Launcher.command(self, machine, "update", f"--resources={request}")

    def prepare(self, machine: Machine) -> None:
        """Mount what a machine sees and write its bundle."""
        spec, folder = machine.spec, machine.folder
        shutil.rmtree(folder, ignore_errors=True)
        root, (name, *names) = folder / "root", disk_names(spec)
        layer = self._host_layer.path
        size = spec.limits.disk_bytes
        machine.disk = spec.root.folder or self._disks.open(spec.root.disk or folder, size, name)
        mount_root(spec, spec.root, layer, Places(machine.disk, root), name_hosts=True)
        for one, target, name in zip(spec.attached, attached_roots(spec, folder), names, strict=True):
            own = one.root.folder or self._disks.open(one.root.disk or target.with_suffix(".own"), size, name)
            mount_root(spec, one.root, layer, Places(own, target), name_hosts=False)
        path = self._cgroups.path_of(spec.id) if self._engine.cgroups else None
        document = config(spec, root, Confinement(path, frozenset(self._cgroups.controllers)))
        (folder / "config.json").write_bytes(msgspec.json.encode(document))

    async def launch(self, machine: Machine, after: Awaitable[object] | None) -> None:
        """Execute a machine's program; with `after` when that is done, while the machine around it is made.

        Who is cancelled waits for the engine: one that is killed midway leaves a machine that it does not know.
        """
        try:
            if after is None:
                await to_the_end(self._run(machine))
            else:
                await to_the_end(self._create(machine))
                await after
                await to_the_end(self._execute(machine))
        except asyncio.CancelledError:
            if machine.watcher:
                await asyncio.shield(self.stop(machine.spec.id, grace_s=0))
            raise

    async def _run(self, machine: Machine) -> None:
        await self._call(machine, "run", "--detach")
        await self._watch_program(machine)

    async def _create(self, machine: Machine) -> None:
        """Make a machine whose first process waits for the word to become the program."""
        await self._call(machine, "create")

    async def _execute(self, machine: Machine) -> None:
        """Give the word."""
        log = machine.folder / "engine.log"
        require(machine, self._engine.kind, await processes.run(self._engine.command("start", machine.name, log=log)))
        await self._watch_program(machine)

    async def _call(self, machine: Machine, *verb: str) -> None:
        """Have the engine make a machine."""
        spec, folder = machine.spec, machine.folder
        options = (f"--bundle={folder}", f"--pid-file={folder / 'pid'}")
        command = self._engine.command(*verb, *options, machine.name, log=folder / "engine.log")
        self._consoles.watch(spec.console)
        require(machine, self._engine.kind, await processes.run(command, spec.console))
        machine.pid = int((folder / "pid").read_text())

    async def _watch_program(self, machine: Machine) -> None:
        """Wait until the first process has become the program: the engine returns a moment before."""
        if not await processes.became_another(machine.pid, self._engine.kind):
            raise start_error(machine, self._engine.kind, "it could not be executed")
        machine.pidfd = os.pidfd_open(machine.pid)
        self._begin_watch(machine)

    def _begin_watch(self, machine: Machine) -> None:
        asyncio.get_running_loop().call_later(_SWEPT_AFTER_S, self._sweep, self.machines.values())
        machine.watcher = asyncio.create_task(self._watch(machine), name=f"machine {machine.spec.id}")

    async def _watch(self, machine: Machine) -> None:
        await processes.wait_readable(machine.pidfd)
        starved = self._cgroups.was_out_of_memory(machine.spec.id)
        ended = _described(machine, *await self._end_of(machine, starved=starved))
        await self._drop(machine)
        logger.debug("machine ended", extra={"machine": ended.machine, "status": ended.status, "reason": ended.reason})
        if machine.on_exit and not machine.stopped:
            await machine.on_exit(ended)

    async def _end_of(self, machine: Machine, *, starved: bool) -> tuple[int | None, bool]:
        """The exit status of a program that has ended, where it is known, and whether its machine was out of memory."""
        return await processes.collected(machine.pid, machine.pidfd), starved

    async def abandon(self, machine: Machine) -> None:
        """Undo a start that failed or was cancelled, whatever it got to."""
        await room_for()
        await _end_left_behind(machine, self._engine.kind, self._cgroups)
        if machine.folder.exists():
            log = machine.folder / "engine.log"
            await processes.run(self._engine.command("delete", "--force", machine.name, log=log))
        processes.reap_soon(self._sweep.helpers)
        await _end_left_behind(machine, self._engine.kind, self._cgroups)
        await self._drop(machine)

    async def _drop(self, machine: Machine) -> None:
        """Remove what an ended machine had: overlay, engine state, cgroups, folder; its console stays."""
        if machine.pidfd >= 0:
            os.close(machine.pidfd)
            machine.pidfd = -1
        if self._last is None:
            await room_for()
            for mounted in (machine.folder / "root", *attached_roots(machine.spec, machine.folder)):
                with contextlib.suppress(OSError):
                    unmount(mounted)
            await asyncio.to_thread(self._traces.remove, machine)
        else:
            self._last.append(machine)
        self.machines.pop(machine.spec.id, None)
        machine.over.set()


def _described(machine: Machine, status: int | None, starved: bool) -> MachineExit:
    """An end in words."""
    name = machine.spec.id
    if status in (None, _KILLED) and starved:
        limit = (machine.spec.limits.memory_bytes or 0) // 1024**2
        return MachineExit(name, _KILLED, f"out of memory: limit is {limit} MiB")
    if status is None:
        return MachineExit(name, -1, "ended, another process took its exit status")
    if status > 128 and status - 128 in signal.valid_signals():
        return MachineExit(name, status, f"killed by {signal.Signals(status - 128).name}")
    return MachineExit(name, status, f"exited with status {status}")


async def _end_left_behind(machine: Machine, engine: str, cgroups: Cgroups) -> None:
    """Kill whatever still works on the start of a machine, or is in it."""
    own = f"{machine.folder}/"

    def found() -> set[int]:
        return processes.left_behind(engine, own, machine.disk) | cgroups.members(machine.spec.id)

    await processes.end_all(found)


def _signal(machine: Machine, number: signal.Signals) -> None:
    if machine.pidfd >= 0:
        with contextlib.suppress(OSError):  # it is gone
            signal.pidfd_send_signal(machine.pidfd, number)


def require(machine: Machine, caller: str, status: int) -> None:
    """Refuse to go on when a call for the start of a machine has failed.

    Raises:
        AdapterError: it has.
    """
    if status < 0:
        program, answer = _program_of(machine), processes.told(caller, status)
        message = f"machine `{machine.spec.id}` cannot start `{program}`: {answer}"
        raise AdapterError(message, hint=_TRY_AGAIN, call=f"{caller} run", answer=answer)
    if status:
        raise start_error(machine, caller, f"exit status {status}")


def start_error(machine: Machine, caller: str, otherwise: str) -> AdapterError:
    """Why a machine does not start: what the engine has written, or what else is known."""
    spec, answer = machine.spec, first_line(machine.folder / "engine.log") or otherwise
    kind = PermanentError if _CANNOT_EXECUTE.search(answer) else AdapterError
    return kind(
        f"machine `{spec.id}` cannot start `{_program_of(machine)}`: {answer}",
        hint="the program must exist in the machine's image, be executable, and be made for this processor",
        call=f"{caller} run",
        answer=answer,
    )


def _program_of(machine: Machine) -> str:
    return machine.spec.argv[0] if machine.spec.argv else "sleep"


def first_line(log: Path) -> str:
    """The first line of an engine's log, empty when there is none."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return lines[0].strip() if lines else ""
