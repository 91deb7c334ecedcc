"""The runtime: machines as bundles of an OCI engine, without a daemon.

A machine's folder `<folder>/machines/<id>` holds its overlay (`upper`, `work`, mounted on `root`), `config.json` and
the engine's log. All of it, its mounts and its cgroups go when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

import sonata.adapters.runtime_oci.cgroups as cgroups
import sonata.adapters.runtime_oci.host_root as host_root
import sonata.adapters.runtime_oci.processes as processes
from sonata.adapters.runtime_oci.bundle import Confinement, config, process
from sonata.adapters.runtime_oci.engine import Engine, find_engine
from sonata.adapters.runtime_oci.mounts import become_subreaper, is_mapped, mount_overlay, unmount
from sonata.errors import AdapterError, Conflict, InvalidInput, NotFound, PermanentError
from sonata.ports.runtime import MachineExit, MachineSpec, OnExit

logger = logging.getLogger(__name__)

OUTPUT_LIMIT = 10 * 1024**2
"""Bytes of stdout and of stderr that `exec` returns."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,127}")
_NOT_EXECUTED = 127  # exit status of a shell for a program that does not exist
_REAP_EVERY_S = 0.02
_LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h
_CANNOT_EXECUTE = re.compile(
    r"executable file|exec format|no such file|not found|permission denied|not a directory", re.I
)


@dataclass(slots=True, eq=False)
class _Machine:
    """A running machine; `over` is set when it has ended and nothing of it is left."""

    spec: MachineSpec
    folder: Path
    over: asyncio.Event
    on_exit: OnExit | None
    pid: int = 0
    pidfd: int = -1
    stopped: bool = False
    watcher: asyncio.Task[None] | None = None


class OciRuntime:
    """`sonata.ports.runtime.Runtime` with crun, else runc.

    Args:
        folder: its own folder; made if missing. Not on an overlay file system.
        cgroup_prefix: cgroup path below which machines live, e.g. `sonata/cdn`.
        engines: which to look for, in this order.

    Raises:
        Unsupported: no engine is installed.

    To be made inside of the mount namespace in which machines start. Orphaned descendants of the process become its
    children, since machines are.
    """

    def __init__(self, folder: Path, cgroup_prefix: str, *, engines: tuple[str, ...] = ("crun", "runc")) -> None:
        self._machines: dict[str, _Machine] = {}
        self._bundles = folder.absolute() / "machines"
        self._bundles.mkdir(parents=True, exist_ok=True)
        engine = find_engine(folder.absolute() / "engine", prefer=engines)
        self._cgroups = cgroups.detect(cgroup_prefix.strip("/"))
        self._engine: Engine = replace(engine, cgroups=self._cgroups.version != "none")
        self._host_layer = host_root.make_host_layer(folder.absolute() / "host")
        become_subreaper()

    @property
    def name(self) -> str:
        """Engine and version, for people."""
        return self._engine.version

    @property
    def unenforced(self) -> Mapping[str, str]:
        """Limits that the host does not let us enforce, with the reason."""
        users = {} if is_mapped(1) else {"uid": "one user id is mapped into this user namespace: all machines use it"}
        return {**self._cgroups.unenforced, **users}

    async def start(self, spec: MachineSpec, on_exit: OnExit | None = None) -> int:
        """Start a machine and return the pid of its first process; see the port."""
        if not _ID.fullmatch(spec.id):
            raise InvalidInput(f"machine id `{spec.id}` has other characters than letters, digits and `-`")
        if spec.id in self._machines:
            raise Conflict(f"machine `{spec.id}` runs already")
        machine = _Machine(spec, self._bundles / spec.id, asyncio.Event(), on_exit)
        self._machines[spec.id] = machine
        try:
            self._prepare(machine)
            await self._launch_whole(machine)
        finally:
            if machine.watcher is None:
                await asyncio.shield(self._abandon(machine))
        logger.debug("machine started", extra={"machine": spec.id, "pid": machine.pid})
        return machine.pid

    async def stop(self, machine_id: str, *, grace_s: float = 2.0) -> None:
        """End a machine and drop all that is its own; see the port."""
        machine = self._machines.get(machine_id)
        if machine is None:
            return
        machine.stopped = True
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

    async def exec(self, machine_id: str, argv: Sequence[str], *, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        """Run a command inside, as the machine's user and as confined as it; see the port."""
        machine = self._running(machine_id)
        with tempfile.TemporaryDirectory(prefix="exec-", dir=machine.folder) as scratch:
            return await self._exec(machine, argv, stdin, Path(scratch))

    async def is_listening(self, machine_id: str, tcp_port: int) -> bool:
        """Whether a process in the machine's network namespace listens on this TCP port."""
        machine = self._running(machine_id)
        return any(_has_listener(Path(f"/proc/{machine.pid}/net/{table}"), tcp_port) for table in ("tcp", "tcp6"))

    async def close(self) -> None:
        """End all machines and remove the cgroups of this runtime."""
        await asyncio.gather(*(self.stop(name) for name in list(self._machines)))
        cgroups.remove_cgroups(self._cgroups.prefix)

    async def _exec(
        self, machine: _Machine, argv: Sequence[str], stdin: bytes, scratch: Path
    ) -> tuple[int, bytes, bytes]:
        log, pid_file, request = scratch / "log", scratch / "pid", scratch / "process.json"
        request.write_bytes(msgspec.json.encode(process(machine.spec, argv)))
        command = self._engine.command(
            "exec", f"--process={request}", f"--pid-file={pid_file}", machine.spec.id, log=log
        )
        try:
            status, out, err = await processes.capture(command, stdin, OUTPUT_LIMIT)
        except asyncio.CancelledError:
            processes.kill_recorded(pid_file)
            self._reap_soon()
            raise
        complaint = _first_line(log)
        if complaint:
            self._reap_soon()
        if complaint.encode() not in err:  # crun writes it to both places, runc to its log alone
            err += f"{complaint}\n".encode()
        return (_NOT_EXECUTED if complaint else status), out, err

    def _reap_soon(self) -> None:
        """Collect what a failed call left to us; it may die a moment after the engine has returned."""
        for delay_s in (0.0, 0.02, 0.2, 2.0):
            asyncio.get_running_loop().call_later(delay_s, processes.reap_orphans, self._engine.kind)

    def _running(self, machine_id: str) -> _Machine:
        machine = self._machines.get(machine_id)
        if machine is None or machine.pidfd < 0:
            raise NotFound(f"machine `{machine_id}` does not run")
        return machine

    def _prepare(self, machine: _Machine) -> None:
        spec, folder = machine.spec, machine.folder
        shutil.rmtree(folder, ignore_errors=True)
        upper, work, root = (folder / name for name in ("upper", "work", "root"))
        for each in (upper / "etc", work, root):
            each.mkdir(parents=True)
        layers = spec.root.layers or (self._host_layer,)
        if missing := [str(layer) for layer in layers if not layer.is_dir()]:
            raise PermanentError(f"machine `{spec.id}` cannot start: layer `{missing[0]}` does not exist")
        _name_hosts(spec, upper / "etc")
        mount_overlay(layers, upper, work, root)
        path = self._cgroups.path_of(spec.id) if self._engine.cgroups else None
        document = config(spec, root, Confinement(path, frozenset(self._cgroups.controllers)))
        (folder / "config.json").write_bytes(msgspec.json.encode(document))

    async def _launch(self, machine: _Machine) -> None:
        spec, folder = machine.spec, machine.folder
        pid_file, log = folder / "pid", folder / "engine.log"
        command = self._engine.command(
            "run", "--detach", f"--bundle={folder}", f"--pid-file={pid_file}", spec.id, log=log
        )
        spec.console.parent.mkdir(parents=True, exist_ok=True)
        status = await processes.run(command, spec.console)
        if status:
            raise self._start_error(spec, _first_line(log) or f"exit status {status}")
        machine.pid = int(pid_file.read_text())
        # The engine returns a moment before its child becomes the program.
        if not await processes.became_another(machine.pid, self._engine.kind):
            raise self._start_error(spec, _first_line(log) or "it could not be executed")
        machine.pidfd = os.pidfd_open(machine.pid)
        processes.reap_orphans(self._engine.kind)
        machine.watcher = asyncio.create_task(self._watch(machine), name=f"machine {spec.id}")

    def _start_error(self, spec: MachineSpec, answer: str) -> AdapterError:
        program = spec.argv[0] if spec.argv else "sleep"
        kind = PermanentError if _CANNOT_EXECUTE.search(answer) else AdapterError
        return kind(
            f"machine `{spec.id}` cannot start `{program}`: {answer}",
            hint="the program must exist in the machine's image, be executable, and be made for this processor",
            call=f"{self._engine.kind} run",
            answer=answer,
        )

    async def _watch(self, machine: _Machine) -> None:
        await processes.wait_readable(machine.pidfd)
        ended = self._describe_exit(machine, processes.reap(machine.pidfd))
        await self._drop(machine)
        logger.debug("machine ended", extra={"machine": ended.machine, "status": ended.status, "reason": ended.reason})
        if machine.on_exit and not machine.stopped:
            await machine.on_exit(ended)

    def _describe_exit(self, machine: _Machine, status: int | None) -> MachineExit:
        name = machine.spec.id
        if self._cgroups.was_out_of_memory(name):
            limit = (machine.spec.limits.memory_bytes or 0) // 1024**2
            return MachineExit(name, 137 if status is None else status, f"out of memory: limit is {limit} MiB")
        if status is None:
            return MachineExit(name, -1, "ended, another process took its exit status")
        if status > 128 and status - 128 in signal.valid_signals():
            return MachineExit(name, status, f"killed by {signal.Signals(status - 128).name}")
        return MachineExit(name, status, f"exited with status {status}")

    async def _launch_whole(self, machine: _Machine) -> None:
        """Launch, also when nobody wants it any more: an engine killed midway leaves a machine it does not know."""
        launching = asyncio.ensure_future(self._launch(machine))
        try:
            await asyncio.shield(launching)
        except asyncio.CancelledError:
            await asyncio.wait([launching])
            if launching.exception() is None:
                await asyncio.shield(self.stop(machine.spec.id, grace_s=0))
            raise

    async def _abandon(self, machine: _Machine) -> None:
        """Undo a start that failed or was cancelled, whatever it got to."""
        log = machine.folder / "engine.log"
        if machine.folder.exists():
            await processes.run(self._engine.command("delete", "--force", machine.spec.id, log=log))
            processes.reap_orphans(self._engine.kind)
        await self._drop(machine)

    async def _drop(self, machine: _Machine) -> None:
        """Remove what an ended machine had: overlay, engine state, cgroups, folder."""
        if machine.pidfd >= 0:
            os.close(machine.pidfd)
            machine.pidfd = -1
        with contextlib.suppress(OSError):
            unmount(machine.folder / "root")
        await asyncio.to_thread(self._remove_traces, machine)
        self._machines.pop(machine.spec.id, None)
        machine.over.set()

    def _remove_traces(self, machine: _Machine) -> None:
        shutil.rmtree(self._engine.state / machine.spec.id, ignore_errors=True)
        shutil.rmtree(machine.folder, ignore_errors=True)
        try:
            self._cgroups.remove(machine.spec.id)
        except AdapterError as error:
            logger.warning("cgroup left behind", extra={"machine": machine.spec.id, "reason": error.message})


def _signal(machine: _Machine, number: signal.Signals) -> None:
    if machine.pidfd >= 0:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(machine.pidfd, number)


def _name_hosts(spec: MachineSpec, etc: Path) -> None:
    """Write the machine's own names, and who resolves others."""
    (etc / "hostname").write_text(f"{spec.hostname}\n")
    (etc / "hosts").write_text(f"127.0.0.1\tlocalhost\n127.0.1.1\t{spec.hostname}\n")
    (etc / "resolv.conf").write_text(spec.resolver)


def _has_listener(table: Path, port: int) -> bool:
    """Search a table of proc_net_tcp(5): columns `sl local_address rem_address st ...`, port in hexadecimal."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return False
    wanted = f":{port:04X}"
    return any(columns[1].endswith(wanted) and columns[3] == _LISTEN for columns in map(str.split, lines))


def _first_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return lines[0].strip() if lines else ""
