"""The runtime: machines as bundles of an OCI engine, without a daemon.

A machine's folder `<folder>/machines/<id>` holds its overlay (mounted on `root`; `upper` and `work` are there, or on
its disk), `config.json` and the engine's log. All of it, its mounts and its cgroups go when it ends.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import msgspec

import sonata.adapters.runtime_oci.cgroups as cgroups
import sonata.adapters.runtime_oci.live_mounts as live_mounts
import sonata.adapters.runtime_oci.processes as processes
from sonata._lib.descriptors import is_exhaustion
from sonata._lib.together import to_the_end
from sonata.adapters.runtime_oci.bundle import process, resources
from sonata.adapters.runtime_oci.commands import run_command
from sonata.adapters.runtime_oci.disks import Disks
from sonata.adapters.runtime_oci.engine import ENGINES, Engine, find_engine
from sonata.adapters.runtime_oci.groups import Grouped, Groups
from sonata.adapters.runtime_oci.host_root import HostLayer
from sonata.adapters.runtime_oci.launching import Launcher
from sonata.adapters.runtime_oci.machine import Machine
from sonata.adapters.runtime_oci.managed_launching import ManagedLauncher
from sonata.adapters.runtime_oci.managers import MANAGERS, begun, find_manager
from sonata.adapters.runtime_oci.mounts import become_subreaper, is_mapped, mount_alone
from sonata.adapters.runtime_oci.terminals import open_terminal
from sonata.errors import AdapterError, Conflict, InvalidInput, NotFound, Unsupported
from sonata.ports.runtime import Bind, Limits, MachineSpec, OnExit, Tell, Terminal, Usage

logger = logging.getLogger(__name__)

OUTPUT_LIMIT = 10 * 1024**2
"""Bytes of stdout and of stderr that `exec` returns."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,127}")
_LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h


class OciRuntime(Grouped):
    """`sonata.ports.runtime.Runtime` with crun, else runc, else our own engine; or with Podman or Docker around one.

    Args:
        folder: its own folder; made if missing. Not on an overlay file system.
        cgroup_prefix: cgroup path below which machines live, e.g. `sonata/cdn`.
        engines: which to look for, in this order; or one of `MANAGERS` alone.
        kept: folder on the file system where disks of machines are kept, for what is made ahead, and for notes of what
            managers have elsewhere, both of which would outlive a crash; default: its own.

    Raises:
        Unsupported: no engine is installed, or the manager cannot run here.

    To be made inside of the mount namespace in which machines start. Orphaned descendants of the process become its
    children, since machines are.
    """

    def __init__(
        self, folder: Path, cgroup_prefix: str, *, engines: tuple[str, ...] = ENGINES, kept: Path | None = None
    ) -> None:
        self._bundles = folder.absolute() / "machines"
        self._bundles.mkdir(parents=True, exist_ok=True)
        manager = find_manager(engines[0]) if engines[0] in MANAGERS else None
        engine = find_engine(folder.absolute() / "engine", prefer=manager.beneath if manager else engines).shielded()
        self._cgroups = cgroups.detect(cgroup_prefix.strip("/"))
        self._engine: Engine = replace(engine, cgroups=self._cgroups.version != "none")
        self._groups = Groups(self._cgroups)
        host_layer = HostLayer(folder.absolute() / "host")
        self._disks = Disks(folder.absolute() / "disks", (kept or folder).absolute() / "spare-disks")
        self._launcher: Launcher = Launcher(self._engine, self._cgroups, host_layer, self._disks)
        if manager:
            managing = begun(manager, folder.absolute() / manager.name, self._engine, kept or folder)
            self._launcher = ManagedLauncher(self._engine, self._cgroups, host_layer, self._disks, managing)
        become_subreaper()
        mount_alone(self._bundles)

    @property
    def name(self) -> str:
        """Engine and version, for people."""
        return self._launcher.version

    @property
    def unenforced(self) -> Mapping[str, str]:
        """Limits that the host does not let us enforce, with the reason."""
        users = {} if is_mapped(1) else {"uid": "one user id is mapped into this user namespace: all machines use it"}
        try:
            why = self._disks.unenforced
        except OSError as error:
            why = f"it cannot be found out at this moment: {error}"
        return {**self._cgroups.unenforced, **users, **({"disk": why} if why else {})}

    async def start(
        self, spec: MachineSpec, on_exit: OnExit | None = None, *, after: Awaitable[object] | None = None
    ) -> int:
        """Start a machine and return the pid of its first process; see the port."""
        if not _ID.fullmatch(spec.id):
            raise InvalidInput(f"machine id `{spec.id}` has other characters than letters, digits and `-`")
        if any(root.image for root in (spec.root, *(one.root for one in spec.attached))):
            raise Unsupported(f"machine `{spec.id}` boots a disk, which virtual machines alone can")
        if spec.id in self._launcher.machines:
            raise Conflict(f"machine `{spec.id}` runs already")
        machine = Machine(spec, self._bundles / spec.id, asyncio.Event(), on_exit)
        self._launcher.machines[spec.id] = machine
        asyncio.get_running_loop().run_in_executor(None, self._cgroups.hasten_moves)
        try:
            self._groups.enter(spec.id, spec.group)
            machine.spec = replace(spec, limits=self._groups.within(spec.limits, spec.group))
            await to_the_end(asyncio.to_thread(self._launcher.prepare, machine))
            await self._launcher.launch(machine, after)
        except OSError as error:
            raise _host_failed(spec.id, "cannot start", error) from error
        finally:
            if machine.watcher is None:
                await asyncio.shield(self._launcher.abandon(machine))
        logger.debug("machine started", extra={"machine": spec.id, "pid": machine.pid})
        return machine.pid

    def pid_of(self, machine_id: str) -> int:
        """Host-side pid of the first process of a machine; see the port."""
        return self._running(machine_id).pid

    async def stop(self, machine_id: str, *, grace_s: float = 2.0) -> None:
        """End a machine and drop all that is its own; see the port."""
        await self._launcher.stop(machine_id, grace_s=grace_s)

    async def exec(
        self, machine_id: str, argv: Sequence[str], *, stdin: bytes = b"", tell: Tell | None = None
    ) -> tuple[int, bytes, bytes]:
        """Run a command inside, as the machine's user and as confined as it; see the port."""
        machine, kept = self._running(machine_id), processes.Kept(OUTPUT_LIMIT)
        with (
            _host_asked(machine_id, "cannot run a command"),
            tempfile.TemporaryDirectory(prefix="exec-", dir=machine.folder) as scratch,
        ):
            status = await run_command(self._engine, machine, argv, stdin, Path(scratch), tell or kept)
        return status, kept["stdout"], kept["stderr"]

    async def attach_folder(self, machine_id: str, bind: Bind) -> None:
        """Show a folder of the host in a running machine; see the port."""
        pid = self._running(machine_id).pid
        await asyncio.to_thread(live_mounts.attach, pid, bind.source, bind.target, read_only=bind.read_only)

    async def detach_folder(self, machine_id: str, target: str) -> None:
        """Take a folder out of a running machine; see the port."""
        await asyncio.to_thread(live_mounts.detach, self._running(machine_id).pid, target)

    async def is_listening(self, machine_id: str, tcp_port: int) -> bool:
        """Whether a process in the machine's network namespace listens on this TCP port."""
        machine = self._running(machine_id)
        return any(_has_listener(Path(f"/proc/{machine.pid}/net/{table}"), tcp_port) for table in ("tcp", "tcp6"))

    async def pause(self, machine_id: str) -> None:
        """Freeze a machine; see the port."""
        machine = self._running(machine_id)
        if not self._cgroups.can_freeze:
            raise Unsupported(f"machine `{machine_id}` cannot be paused: the host delegates no freezer cgroup")
        if not machine.paused:
            machine.paused = True
            try:
                await self._launcher.command(machine, "pause")
            except AdapterError:  # an engine that died over it has perhaps frozen some of its processes
                self._cgroups.thaw(machine_id)
                machine.paused = False
                raise

    async def resume(self, machine_id: str) -> None:
        """Let a frozen machine go on; see the port."""
        await self._launcher.resume(self._running(machine_id))

    async def set_limits(self, machine_id: str, limits: Limits) -> None:
        """Change the limits of a running machine; see the port."""
        machine = self._running(machine_id)
        if limits.disk_bytes != machine.spec.limits.disk_bytes and not self._disks.unenforced:
            raise AdapterError(f"machine `{machine_id}` has to be started anew, since its disk has another size then")
        limits = self._groups.within(limits, machine.spec.group)
        wanted = resources(limits, frozenset(self._cgroups.controllers))
        if wanted and self._engine.cgroups:
            before = resources(machine.spec.limits, frozenset(self._cgroups.controllers))
            async with _undone_by(lambda: self._launcher.update(machine, before)):
                await self._launcher.update(machine, wanted)
        machine.spec = replace(machine.spec, limits=limits)

    async def usage(self, machine_id: str) -> Usage:
        """What a machine uses; see the port."""
        self._running(machine_id)
        return self._cgroups.usage_of(self._cgroups.place_of(machine_id))

    async def terminal(self, machine_id: str, argv: Sequence[str], *, rows: int = 24, columns: int = 80) -> Terminal:
        """Run a program inside on a terminal of its own; see the port."""
        machine = self._running(machine_id)
        request = msgspec.json.encode(process(_with_terminal(machine.spec), argv, terminal=True))
        with _host_asked(machine_id, "cannot open a terminal"):
            terminal = await open_terminal(self._engine, machine, request, self._reap_soon)
        terminal.resize(rows, columns)
        return terminal

    @asynccontextmanager
    async def disk_content(self, disk: Path) -> AsyncIterator[Path]:
        """What a machine has written to its disk; see the port."""
        shown = self._disks.shown(disk)
        with _host_asked(disk.name, "cannot have its disk opened"):
            place = await asyncio.to_thread(shown.__enter__)
        try:
            yield place
        finally:
            await asyncio.to_thread(shown.__exit__, None, None, None)

    async def close(self) -> None:
        """End all machines and remove the cgroups of this runtime."""
        await self._launcher.end(self._bundles)
        await self._launcher.close()
        await asyncio.to_thread(self._disks.end)
        cgroups.remove_cgroups(self._cgroups.prefix)
        self._engine.close()

    def _reap_soon(self) -> None:
        processes.reap_soon(self._engine.kind)

    def _running(self, machine_id: str) -> Machine:
        machine = self._launcher.machines.get(machine_id)
        if machine is None or machine.pidfd < 0:
            raise NotFound(f"machine `{machine_id}` does not run")
        return machine


@asynccontextmanager
async def _undone_by(undo: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Have undone what an engine has failed over, as far as it can be."""
    try:
        yield
    except AdapterError:
        with suppress(AdapterError):
            await undo()
        raise


@contextmanager
def _host_asked(machine_id: str, what: str) -> Iterator[None]:
    """Tell in our own words what the host could not do for a machine."""
    try:
        yield
    except OSError as error:
        raise _host_failed(machine_id, what, error) from error


def _host_failed(machine_id: str, what: str, error: OSError) -> AdapterError:
    """What the host could not do for a machine, above all when its disk is full, or too many files are open."""
    hint = "make room, and try again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    if is_exhaustion(error):
        hint = "raise the hard limit `nofile`, see limits.conf(5) and prlimit(1), and try again"
    call = str(error.filename or "")
    return AdapterError(f"machine `{machine_id}` {what}: {error.strerror or error}", hint=hint, call=call)


def _with_terminal(spec: MachineSpec) -> MachineSpec:
    return replace(spec, env={"TERM": "xterm", **spec.env})


def _has_listener(table: Path, port: int) -> bool:
    """Search a table of proc_net_tcp(5): columns `sl local_address rem_address st ...`, port in hexadecimal."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return False
    wanted = f":{port:04X}"
    return any(columns[1].endswith(wanted) and columns[3] == _LISTEN for columns in map(str.split, lines))
