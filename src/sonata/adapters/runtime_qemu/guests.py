"""Guests: how a virtual machine is confined, booted and ended."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import field, replace
from pathlib import Path

import sonata.adapters.runtime_qemu.monitor as monitor
from sonata._lib.tails import tail
from sonata._lib.values import dataclass
from sonata.adapters.runtime_qemu.agent import Agent, GuestCommand, refuse
from sonata.adapters.runtime_qemu.command_line import MACHINE, OVERHEAD, OWN, command_line, memory_of
from sonata.adapters.runtime_qemu.disk_guests import confined_disks
from sonata.adapters.runtime_qemu.guest_kernel import Found, make_initramfs, unpack_kernel
from sonata.errors import AdapterError, StepTimeout
from sonata.ports.runtime import Attached, Bind, Limits, MachineExit, MachineSpec, OnExit, RootFs, Runtime

BOOT_LIMIT_S = 180.0
"""How long a guest may take to its agent; emulated processors of a busy host are slow."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_POLL_S = 0.01
_ACCELERATOR = "tcg,tb-size=64"
_PROGRAMS = Path(__file__).parent


@dataclass(slots=True, eq=False)
class Guest:
    """A virtual machine."""

    spec: MachineSpec
    folder: Path
    on_exit: OnExit | None
    agent: Agent = field(default_factory=Agent)
    program: GuestCommand | None = None
    ended: MachineExit | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    told: bool = False
    stopped: bool = False
    paused: bool = False
    is_up: bool = False
    serial_is_open: bool = False
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def boots_disk(self) -> bool:
        """Whether its system is its own, without our agent."""
        return self.spec.root.image is not None


class Hypervisor:
    """Boots and ends guests.

    Args:
        folder: for what they boot, and for their sockets.
        inner: the engine that confines qemu.
        find: what those with our agent are made of; raises Unsupported where something is missing.
    """

    def __init__(self, folder: Path, inner: Runtime, find: Callable[[], Found]) -> None:
        self.guests: dict[str, Guest] = {}
        self._folder = folder
        self._inner = inner
        self._find = find
        self._made: asyncio.Task[None] | None = None

    async def boot(self, guest: Guest, after: Awaitable[object] | None) -> int:
        """Boot a guest and begin its program; returns the pid of qemu. What fails leaves nothing."""
        try:
            confined = await self._prepare(guest)
            pid = await self._inner.start(confined, lambda how: self._qemu_ended(guest, how), after=after)
            await (self._power_up(guest) if guest.boots_disk else self._begin(guest))
            guest.is_up = True
        finally:
            if not guest.is_up:
                guest.stopped = True
                await asyncio.shield(self.drop(guest))
        return pid

    async def close(self) -> None:
        """Remove what guests boot, once nobody makes it."""
        if self._made:
            await asyncio.wait([self._made])
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _prepare(self, guest: Guest) -> MachineSpec:
        """Lay ready what a guest boots; returns the confined process in which it will run."""
        if not guest.boots_disk:
            await self._make_ready()
        shutil.rmtree(guest.folder, ignore_errors=True)
        guest.folder.mkdir(parents=True)
        return _confined(guest.spec, guest.folder, is_mapped="uid" not in self._inner.unenforced)

    async def _make_ready(self) -> None:
        """Make what all guests with our agent boot, once."""
        if self._made is None or (self._made.done() and self._made.exception()):
            self._made = asyncio.create_task(asyncio.to_thread(self._make_boot_files))
        await asyncio.shield(self._made)

    def _make_boot_files(self) -> None:
        found = self._find()
        self._folder.mkdir(parents=True, exist_ok=True)
        unpack_kernel(found.kernel, self._folder / "kernel")
        make_initramfs(found, self._folder / "initramfs")

    async def _power_up(self, guest: Guest) -> None:
        """Wait until a guest that boots a disk has processors that run; its system is its own affair."""
        try:
            async with asyncio.timeout(BOOT_LIMIT_S):
                await _answering(guest)
        except TimeoutError as error:
            raise StepTimeout(f"qemu did not start within {BOOT_LIMIT_S:.0f} s", hint="the host is busy") from error
        self._require_alive(guest)

    async def _begin(self, guest: Guest) -> None:
        """Wait for the guest's agent, have it configure the network, and begin the program."""
        socket = guest.folder / "agent"
        guest.tasks.append(asyncio.create_task(self._converse(guest, socket), name=f"agent of {guest.spec.id}"))
        try:
            async with asyncio.timeout(BOOT_LIMIT_S):
                await _either(guest.agent.ready, guest.gone)
                self._require_alive(guest)
                await self._configure(guest)
                await self._begin_program(guest)
                self._watch_program(guest)
        except TimeoutError as error:
            raise StepTimeout(
                f"virtual machine `{guest.spec.id}` did not boot within {BOOT_LIMIT_S:.0f} s",
                hint="look at its console log",
            ) from error

    async def _converse(self, guest: Guest, socket: Path) -> None:
        while not guest.gone.is_set():
            try:
                await guest.agent.converse(socket)
                return
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.sleep(_POLL_S)

    async def _configure(self, guest: Guest) -> None:
        """Give the guest its name and addresses, by commands of its initial RAM file system."""
        script = f'bb=/busybox; $bb hostname "$1"\n{(guest.folder / "network.sh").read_text()}'
        argv = ["/busybox", "sh", "-c", script, "network", guest.spec.hostname]
        command = guest.agent.run(argv=argv, env={}, cwd="/", uid=0, outside=True)
        why, complaints = await command.started(), b""
        while not why and (said := await command.said()):
            complaints += said[1]
        if why or complaints or command.status:
            reason = why or complaints.decode(errors="replace").strip() or f"status {command.status}"
            raise AdapterError(f"virtual machine `{guest.spec.id}` has no network: {reason}")

    async def _begin_program(self, guest: Guest) -> None:
        argv = guest.spec.argv or ("sleep", "infinity")
        program = guest.agent.run(**process(guest.spec, argv), console=True)
        if why := await program.started():
            raise refuse(guest.spec.id, argv[0], why)
        guest.program = program

    def _require_alive(self, guest: Guest) -> None:
        if guest.gone.is_set():
            said = tail(guest.spec.console, 400).decode(errors="replace").strip().rpartition("\n")[2]
            raise AdapterError(f"virtual machine `{guest.spec.id}` does not boot: {said or guest.ended}")

    def _watch_program(self, guest: Guest) -> None:
        async def watch() -> None:
            program = guest.program
            while program and await program.said():
                pass
            if program and program.status >= 0:
                guest.ended = _exit_of(guest.spec, program)
                guest.gone.set()
                if not guest.stopped:
                    await self._end(guest)

        guest.tasks.append(asyncio.create_task(watch(), name=f"program of {guest.spec.id}"))

    async def _qemu_ended(self, guest: Guest, how: MachineExit) -> None:
        """The confined process ended by itself: powered off, killed, or out of memory."""
        guest.ended = guest.ended or how
        guest.gone.set()
        if guest.is_up and not guest.stopped:
            await self._end(guest)

    async def _end(self, guest: Guest) -> None:
        """Drop a guest that has ended by itself, and tell of it, once."""
        if guest.told:
            return
        guest.told = True
        await self.drop(guest)
        if guest.on_exit and guest.ended:
            await guest.on_exit(guest.ended)

    async def drop(self, guest: Guest) -> None:
        """End a guest at once, and remove what is its own; idempotent."""
        await self._inner.stop(guest.spec.id, grace_s=0)
        guest.gone.set()
        for task in guest.tasks:
            if task is not asyncio.current_task():
                task.cancel()
        await asyncio.to_thread(shutil.rmtree, guest.folder, ignore_errors=True)
        if self.guests.get(guest.spec.id) is guest:
            del self.guests[guest.spec.id]


async def _answering(guest: Guest) -> None:
    """Wait until a guest's qemu answers, or has ended."""
    while not guest.gone.is_set():
        if await monitor.answers(guest.folder / "monitor"):
            return
        await asyncio.sleep(_POLL_S)


def _confined(spec: MachineSpec, folder: Path, *, is_mapped: bool) -> MachineSpec:
    """The confined process in which a guest runs."""
    confined = (
        confined_disks(spec, folder, _ACCELERATOR)
        if spec.root.image
        else _confined_root(spec, folder, "passthrough" if is_mapped else "none")
    )
    own = (Bind(folder, OWN, read_only=False), Bind(_PROGRAMS / "launch.py", f"{OWN}/launch.py"))
    plain = replace(confined, engine="", env={}, uid=0, cwd="/", limits=outer_limits(spec))
    return replace(plain, binds=(*own, *confined.binds))


def _confined_root(spec: MachineSpec, folder: Path, security: str) -> MachineSpec:
    """That of a guest whose root file system is shared with it."""
    within = [replace(one, target=f"{MACHINE}{one.target}") for one in spec.attached]
    binds = [replace(bind, target=f"{MACHINE}{bind.target}") for bind in spec.binds]
    booted = [Bind(folder.parent / name, f"{OWN}/{name}") for name in ("kernel", "initramfs")]
    return replace(
        spec,
        root=RootFs(),
        argv=command_line(spec, accelerator=_ACCELERATOR, security=security),
        attached=(Attached(spec.root, MACHINE), *within),
        binds=(*binds, *booted),
    )


def outer_limits(spec: MachineSpec) -> Limits:
    """What qemu may use, so that its guest has what it was promised."""
    guests = 0 if spec.huge_pages else memory_of(spec)
    disk_bytes = None if spec.root.image else spec.limits.disk_bytes  # a disk has the size that it says
    return replace(spec.limits, memory_bytes=guests + OVERHEAD, pids=512, disk_bytes=disk_bytes)


def process(spec: MachineSpec, argv: Sequence[str]) -> dict[str, object]:
    """A process of the guest, as its agent is told of it."""
    env = {"PATH": _PATH, "HOME": "/root"} | dict(spec.env)
    return {"argv": list(argv), "env": env, "cwd": spec.cwd, "uid": spec.uid}


def _exit_of(spec: MachineSpec, program: GuestCommand) -> MachineExit:
    """How a guest's program ended."""
    status, killed = program.status, program.status - 128
    if killed == signal.SIGKILL and program.out_of_memory:
        return MachineExit(spec.id, status, f"out of memory: limit is {memory_of(spec) // 1024**2} MiB")
    if killed > 0 and killed in signal.valid_signals():
        return MachineExit(spec.id, status, f"killed by {signal.Signals(killed).name}")
    return MachineExit(spec.id, status, f"exited with status {status}")


async def _either(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
