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
from dataclasses import dataclass
from pathlib import Path

import msgspec

import sonata.adapters.runtime_oci.processes as processes
from sonata._lib.descriptors import room_for
from sonata._lib.together import to_the_end
from sonata.adapters.runtime_oci.bundle import Confinement, attached_roots, config
from sonata.adapters.runtime_oci.cgroups import Cgroups
from sonata.adapters.runtime_oci.console_limits import ConsoleLimits
from sonata.adapters.runtime_oci.engine import Engine
from sonata.adapters.runtime_oci.mounts import MS_BIND, mount, mount_overlay, unmount
from sonata.errors import AdapterError, PermanentError
from sonata.ports.runtime import MachineExit, MachineSpec, OnExit, RootFs

logger = logging.getLogger(__name__)

_REAP_EVERY_S = 0.02
_KILLED = 128 + signal.SIGKILL
_CANNOT_EXECUTE = re.compile(
    r"executable file|exec format|no such file|not found|permission denied|not a directory", re.I
)


@dataclass(slots=True, eq=False)
class Machine:
    """A running machine; `over` is set when it has ended and nothing of it is left."""

    spec: MachineSpec
    folder: Path
    over: asyncio.Event
    on_exit: OnExit | None
    pid: int = 0
    pidfd: int = -1
    stopped: bool = False
    paused: bool = False
    watcher: asyncio.Task[None] | None = None


class Launcher:
    """Starts and ends the machines of one runtime.

    Args:
        engine: by which.
        cgroups: where they are limited.
        host_layer: what the `host` root is made of.
    """

    def __init__(self, engine: Engine, cgroups: Cgroups, host_layer: Path) -> None:
        self.machines: dict[str, Machine] = {}
        self._engine = engine
        self._cgroups = cgroups
        self._host_layer = host_layer
        self._consoles = ConsoleLimits()

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
            processes.reap_orphans(self._engine.kind)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REAP_EVERY_S):
                    await machine.over.wait()

    async def resume(self, machine: Machine) -> None:
        """Let a frozen machine go on; idempotent."""
        if machine.paused:
            await self.command(machine, "resume")
            machine.paused = False

    async def command(self, machine: Machine, verb: str, *options: str) -> None:
        """Call the engine for a machine.

        Raises:
            AdapterError: it failed; with its answer.
        """
        log = machine.folder / f"{verb}.log"
        status = await processes.run(self._engine.command(verb, *options, machine.spec.id, log=log))
        if status:
            answer = first_line(log) or f"exit status {status}"
            raise AdapterError(
                f"machine `{machine.spec.id}`: `{verb}` failed: {answer}",
                call=f"{self._engine.kind} {verb}",
                answer=answer,
            )

    def prepare(self, machine: Machine) -> None:
        """Mount what a machine sees and write its bundle."""
        spec, folder = machine.spec, machine.folder
        shutil.rmtree(folder, ignore_errors=True)
        self._mount(spec, spec.root, folder, folder / "root", name_hosts=True)
        for one, target in zip(spec.attached, attached_roots(spec, folder), strict=True):
            self._mount(spec, one.root, target.with_suffix(".own"), target, name_hosts=False)
        root = folder / "root"
        path = self._cgroups.path_of(spec.id) if self._engine.cgroups else None
        document = config(spec, root, Confinement(path, frozenset(self._cgroups.controllers)))
        (folder / "config.json").write_bytes(msgspec.json.encode(document))

    def _mount(self, spec: MachineSpec, root: RootFs, own: Path, target: Path, *, name_hosts: bool) -> None:
        """Mount a root file system of a machine; what is written goes to its disk, or to `own`."""
        if root.folder:
            target.mkdir(parents=True)
            self._mount_kept(spec, root, root.folder, target)
            return
        disk = root.disk or own
        upper, work = disk / "upper", disk / "work"
        for each in (upper / "etc", work, target):
            each.mkdir(parents=True, exist_ok=True)
        layers = (*root.layers, self._host_layer) if root.needs_host else root.layers
        if missing := [str(layer) for layer in layers if not layer.is_dir()]:
            raise PermanentError(f"machine `{spec.id}` cannot start: layer `{missing[0]}` does not exist")
        if name_hosts:
            _name_hosts(spec, upper / "etc")
        mount_overlay(layers, upper, work, target)

    def _mount_kept(self, spec: MachineSpec, root: RootFs, folder: Path, target: Path) -> None:
        """Mount a root that is kept; one without programs gets what the host's root has besides them."""
        if root.needs_host and not (folder / "etc").exists():
            shutil.copytree(self._host_layer, folder, symlinks=True, dirs_exist_ok=True)
        etc = folder / "etc"
        if etc.is_symlink() or (etc.exists() and not etc.is_dir()):
            raise PermanentError(f"machine `{spec.id}` cannot start: `/etc` of its root is no folder")
        etc.mkdir(exist_ok=True)
        _name_hosts(spec, etc)
        mount(str(folder), target, flags=MS_BIND)

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
        status = await processes.run(self._engine.command("start", machine.spec.id, log=log))
        self._require(machine, status)
        await self._watch_program(machine)

    async def _call(self, machine: Machine, *verb: str) -> None:
        """Have the engine make a machine."""
        spec, folder = machine.spec, machine.folder
        options = (f"--bundle={folder}", f"--pid-file={folder / 'pid'}")
        command = self._engine.command(*verb, *options, spec.id, log=folder / "engine.log")
        spec.console.parent.mkdir(parents=True, exist_ok=True)
        self._consoles.watch(spec.console)
        self._require(machine, await processes.run(command, spec.console))
        machine.pid = int((folder / "pid").read_text())

    async def _watch_program(self, machine: Machine) -> None:
        """Wait until the first process has become the program: the engine returns a moment before."""
        if not await processes.became_another(machine.pid, self._engine.kind):
            raise self._start_error(machine, "it could not be executed")
        machine.pidfd = os.pidfd_open(machine.pid)
        processes.reap_orphans(self._engine.kind)
        machine.watcher = asyncio.create_task(self._watch(machine), name=f"machine {machine.spec.id}")

    def _require(self, machine: Machine, status: int) -> None:
        if status:
            raise self._start_error(machine, f"exit status {status}")

    def _start_error(self, machine: Machine, otherwise: str) -> AdapterError:
        """Why a machine does not start: what the engine has written, or what else is known."""
        spec, answer = machine.spec, first_line(machine.folder / "engine.log") or otherwise
        program = spec.argv[0] if spec.argv else "sleep"
        kind = PermanentError if _CANNOT_EXECUTE.search(answer) else AdapterError
        return kind(
            f"machine `{spec.id}` cannot start `{program}`: {answer}",
            hint="the program must exist in the machine's image, be executable, and be made for this processor",
            call=f"{self._engine.kind} run",
            answer=answer,
        )

    async def _watch(self, machine: Machine) -> None:
        await processes.wait_readable(machine.pidfd)
        ended = self._describe_exit(machine, processes.reap(machine.pidfd))
        await self._drop(machine)
        logger.debug("machine ended", extra={"machine": ended.machine, "status": ended.status, "reason": ended.reason})
        if machine.on_exit and not machine.stopped:
            await machine.on_exit(ended)

    def _describe_exit(self, machine: Machine, status: int | None) -> MachineExit:
        name = machine.spec.id
        if status in (None, _KILLED) and self._cgroups.was_out_of_memory(name):
            limit = (machine.spec.limits.memory_bytes or 0) // 1024**2
            return MachineExit(name, _KILLED, f"out of memory: limit is {limit} MiB")
        if status is None:
            return MachineExit(name, -1, "ended, another process took its exit status")
        if status > 128 and status - 128 in signal.valid_signals():
            return MachineExit(name, status, f"killed by {signal.Signals(status - 128).name}")
        return MachineExit(name, status, f"exited with status {status}")

    async def abandon(self, machine: Machine) -> None:
        """Undo a start that failed or was cancelled, whatever it got to."""
        log = machine.folder / "engine.log"
        await room_for()
        _end_left_behind(self._engine.kind, machine)
        if machine.folder.exists():
            await processes.run(self._engine.command("delete", "--force", machine.spec.id, log=log))
            processes.reap_orphans(self._engine.kind)
            _end_left_behind(self._engine.kind, machine)
        await self._drop(machine)

    async def _drop(self, machine: Machine) -> None:
        """Remove what an ended machine had: overlay, engine state, cgroups, folder; its console stays."""
        if machine.pidfd >= 0:
            os.close(machine.pidfd)
            machine.pidfd = -1
        await room_for()
        for mounted in (machine.folder / "root", *attached_roots(machine.spec, machine.folder)):
            with contextlib.suppress(OSError):
                unmount(mounted)
        await asyncio.to_thread(self._remove_traces, machine)
        self.machines.pop(machine.spec.id, None)
        machine.over.set()

    def _remove_traces(self, machine: Machine) -> None:
        self._consoles.leave(machine.spec.console)
        shutil.rmtree(self._engine.state / machine.spec.id, ignore_errors=True)
        if not os.path.ismount(machine.folder / "root"):  # it may be a volume, which is to live on
            shutil.rmtree(machine.folder, ignore_errors=True)
        try:
            self._cgroups.remove(machine.spec.id)
        except AdapterError as error:
            logger.warning("cgroup left behind", extra={"machine": machine.spec.id, "reason": error.message})


def _end_left_behind(engine: str, machine: Machine) -> None:
    root = machine.spec.root
    processes.end_left_behind(engine, machine.spec.id, root.folder or root.disk or machine.folder)


def _signal(machine: Machine, number: signal.Signals) -> None:
    if machine.pidfd >= 0:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(machine.pidfd, number)


def _name_hosts(spec: MachineSpec, etc: Path) -> None:
    """Write the machine's own names, and who resolves others."""
    names = {
        "hostname": f"{spec.hostname}\n",
        "hosts": f"127.0.0.1\tlocalhost\n127.0.1.1\t{spec.hostname}\n",
        "resolv.conf": spec.resolver,
    }
    for name, text in names.items():
        path = etc / name
        # A root that is kept may have a link there, which would lead out of it.
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.write_text(text)


def first_line(log: Path) -> str:
    """The first line of an engine's log, empty when there is none."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return lines[0].strip() if lines else ""
