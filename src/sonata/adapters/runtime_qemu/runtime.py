"""Virtual machines: qemu in a confined process of another engine, whose root file system the guest mounts.

The other engine makes the machine as it makes each: its overlay, its cgroup, its console, its network namespace. Only
that qemu runs in it, and that the machine's root is a folder there, shared with the guest by 9p. So a virtual machine
sees the same image, disk, binds, addresses and limits as a machine of the other engine, under a kernel of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import sonata.adapters.runtime_qemu.monitor as monitor
from sonata.adapters.runtime_qemu.agent import GuestTerminal
from sonata.adapters.runtime_qemu.command_line import MACHINE, memory_of
from sonata.adapters.runtime_qemu.disk_guests import open_serial
from sonata.adapters.runtime_qemu.guest_kernel import find_all, find_qemu
from sonata.adapters.runtime_qemu.guests import Guest, Hypervisor, outer_limits, process
from sonata.errors import AdapterError, Conflict, InvalidInput, NotFound, PermanentError, Unsupported
from sonata.ports.runtime import (
    Bind,
    Limits,
    MachineSpec,
    OnExit,
    Runtime,
    Tell,
    Terminal,
    Usage,
)

logger = logging.getLogger(__name__)

OUTPUT_LIMIT = 10 * 1024**2
"""Bytes of stdout and of stderr that `exec` returns."""

_NOT_EXECUTED = 127
_LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h


class QemuRuntime:
    """`sonata.ports.runtime.Runtime` of virtual machines.

    Args:
        folder: its own folder; made if missing.
        inner: the engine that confines qemu.
        kernels: where to look for the kernel of guests that boot no disk, best first; see `guest_kernel`.

    Raises:
        Unsupported: qemu is missing, with how to get it.
    """

    def __init__(self, folder: Path, inner: Runtime, kernels: tuple[Path, ...]) -> None:
        self._folder = folder.absolute()
        self._inner = inner
        self.disk_content = inner.disk_content
        self._version = find_qemu()
        self._hypervisor = Hypervisor(self._folder, inner, partial(find_all, kernels))

    @property
    def name(self) -> str:
        """Engine and version, for people."""
        return f"{self._version} in {self._inner.name}"

    @property
    def unenforced(self) -> Mapping[str, str]:
        """Limits that the host does not let us enforce; memory and processors are those of the guest's hardware."""
        of_hardware = {"pids": "a virtual machine has processes of its own kernel"}
        return {**{name: why for name, why in self._inner.unenforced.items() if name != "memory"}, **of_hardware}

    async def start(
        self, spec: MachineSpec, on_exit: OnExit | None = None, *, after: Awaitable[object] | None = None
    ) -> int:
        """Start a virtual machine, and its program in it; see the port."""
        _refuse_what_cannot_be(spec)
        if spec.id in self._hypervisor.guests:
            raise Conflict(f"machine `{spec.id}` runs already")
        guest = self._hypervisor.guests[spec.id] = Guest(spec, self._folder / spec.id, on_exit)
        pid = await self._hypervisor.boot(guest, after)
        logger.debug("virtual machine started", extra={"machine": spec.id, "pid": pid})
        return pid

    async def stop(self, machine_id: str, *, grace_s: float = 2.0) -> None:
        """End the program, then the virtual machine; see the port."""
        guest = self._hypervisor.guests.get(machine_id)
        if guest is None:
            await self._inner.stop(machine_id, grace_s=0)
            return
        guest.stopped = True
        if guest.paused:
            await self.resume(machine_id)
        if guest.is_up and grace_s > 0 and not guest.gone.is_set():
            await _ask_to_end(guest)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await guest.gone.wait()
        await self._hypervisor.drop(guest)

    async def exec(
        self, machine_id: str, argv: Sequence[str], *, stdin: bytes = b"", tell: Tell | None = None
    ) -> tuple[int, bytes, bytes]:
        """Run a command in the guest; see the port."""
        guest = self._with_agent(machine_id)
        kept = {"stdout": bytearray(), "stderr": bytearray()}

        async def keep(stream: str, chunk: bytes) -> None:
            kept[stream] += chunk[: OUTPUT_LIMIT - len(kept[stream])]

        status = await _executed(guest, argv, stdin, tell or keep)
        return status, bytes(kept["stdout"]), bytes(kept["stderr"])

    async def attach_folder(self, machine_id: str, bind: Bind) -> None:
        """Show a folder of the host below the root that the guest mounts; see the port."""
        self._with_agent(machine_id)
        if not bind.target.startswith("/") or ".." in bind.target.split("/"):
            raise InvalidInput(f"`{bind.target}` is no place for a folder: an absolute path is needed")
        await self._inner.attach_folder(machine_id, replace(bind, target=f"{MACHINE}{bind.target}"))

    async def detach_folder(self, machine_id: str, target: str) -> None:
        """Take a folder out; see the port."""
        self._with_agent(machine_id)
        await self._inner.detach_folder(machine_id, f"{MACHINE}{target}")

    async def is_listening(self, machine_id: str, tcp_port: int) -> bool:
        """Whether a process of the guest listens on this TCP port."""
        _, tables, _ = await self.exec(machine_id, ["cat", "/proc/net/tcp", "/proc/net/tcp6"])
        return _has_listener(tables.decode(), tcp_port)

    async def pause(self, machine_id: str) -> None:
        """Stop the guest's processors; see the port."""
        guest = self._running(machine_id)
        if not guest.paused:
            await monitor.command(guest.folder / "monitor", "stop")
            guest.paused = True

    async def resume(self, machine_id: str) -> None:
        """Let them go on; see the port."""
        guest = self._running(machine_id)
        if guest.paused:
            await monitor.command(guest.folder / "monitor", "cont")
            guest.paused = False

    async def set_limits(self, machine_id: str, limits: Limits) -> None:
        """Change how much of the processors a guest gets; see the port.

        Raises:
            AdapterError: its memory or its disk would change, which its hardware has for good.
        """
        guest = self._running(machine_id)
        wanted = replace(guest.spec, limits=limits)
        if _hardware(wanted) != _hardware(guest.spec):
            raise AdapterError(
                f"machine `{machine_id}` is virtual: its memory and its disk cannot change while it runs",
                hint="stop it, and start it with the new size",
            )
        await self._inner.set_limits(machine_id, outer_limits(wanted))
        guest.spec = wanted

    def pid_of(self, machine_id: str) -> int:
        """Host-side pid of a guest's qemu; see the port."""
        self._running(machine_id)
        return self._inner.pid_of(machine_id)

    async def usage(self, machine_id: str) -> Usage:
        """What qemu uses for a guest."""
        self._running(machine_id)
        return await self._inner.usage(machine_id)

    async def set_group(self, name: str, limits: Limits) -> None:
        """Limit a group of machines, of which qemu is one; see the port."""
        await self._inner.set_group(name, limits)

    async def group_usage(self, name: str) -> Usage:
        """What a group of machines uses; see the port."""
        return await self._inner.group_usage(name)

    async def terminal(self, machine_id: str, argv: Sequence[str], *, rows: int = 24, columns: int = 80) -> Terminal:
        """Run a program of the guest on a terminal, or open the serial console of its disk; see the port."""
        guest = self._running(machine_id)
        if guest.boots_disk and not argv:
            return await _serial_of(guest)
        guest = self._with_agent(machine_id)
        spec = replace(guest.spec, env={"TERM": "xterm", **guest.spec.env})
        command = guest.agent.run(**process(spec, argv), terminal=[rows, columns])
        if why := await command.started():
            raise PermanentError(f"machine `{machine_id}` opened no terminal: {why}")
        return GuestTerminal(command)

    async def close(self) -> None:
        """End all virtual machines; the engine that confined them stays."""
        await asyncio.gather(*(self.stop(name, grace_s=0) for name in list(self._hypervisor.guests)))
        await self._hypervisor.close()

    def _running(self, machine_id: str) -> Guest:
        guest = self._hypervisor.guests.get(machine_id)
        if guest is None or not guest.is_up or guest.gone.is_set():
            raise NotFound(f"machine `{machine_id}` does not run")
        return guest

    def _with_agent(self, machine_id: str) -> Guest:
        """A guest that runs, and does what we say."""
        guest = self._running(machine_id)
        if guest.boots_disk:
            raise Unsupported(
                f"machine `{machine_id}` boots a disk: nothing of ours is in it that could do this",
                hint="use its serial console, or log in over the network",
            )
        return guest


async def _ask_to_end(guest: Guest) -> None:
    """Have a program end, or a system shut down as by its power button."""
    if guest.program:
        guest.program.signal(signal.SIGTERM)
        return
    with contextlib.suppress(AdapterError):  # it is about to end by itself
        await monitor.command(guest.folder / "monitor", "system_powerdown")


async def _serial_of(guest: Guest) -> Terminal:
    if guest.serial_is_open:
        raise Conflict(f"somebody has the serial console of machine `{guest.spec.id}` open", hint="there is only one")
    guest.serial_is_open = True

    def closed() -> None:
        guest.serial_is_open = False

    try:
        return await open_serial(guest.folder / "serial", closed)
    except OSError as error:
        closed()
        raise NotFound(f"machine `{guest.spec.id}` does not run") from error


async def _executed(guest: Guest, argv: Sequence[str], stdin: bytes, tell: Tell) -> int:
    """Run a command to its end; kills it when cancelled."""
    command = guest.agent.run(**process(guest.spec, argv))
    try:
        if why := await command.started():
            await tell("stderr", f"{why}\n".encode())
            return _NOT_EXECUTED
        typing = asyncio.create_task(command.type(stdin, is_all=True))
        try:
            while said := await command.said():
                await tell(*said)
        finally:
            typing.cancel()
        return command.status
    except asyncio.CancelledError:
        command.drop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while await command.said():
                    pass
        raise


def _hardware(spec: MachineSpec) -> tuple[int, int | None]:
    """What a guest has for good once it is booted: bytes of memory and of its disk."""
    return memory_of(spec), spec.limits.disk_bytes


def _has_listener(table: str, port: int) -> bool:
    """Search tables of proc_net_tcp(5)."""
    rows = (line.split() for line in table.splitlines())
    return any(len(row) > 3 and row[1].endswith(f":{port:04X}") and row[3] == _LISTEN for row in rows)


def _refuse_what_cannot_be(spec: MachineSpec) -> None:
    if not spec.network_admin:
        raise Unsupported(
            f"machine `{spec.id}` cannot be virtual: whoever has a kernel of its own configures its network",
            hint="run it by an engine of confined processes",
        )
    if len({one.image is None for one in (spec.root, *(each.root for each in spec.attached))}) > 1:
        raise Unsupported(f"machine `{spec.id}` cannot have both: a disk to boot, and a root file system of ours")
