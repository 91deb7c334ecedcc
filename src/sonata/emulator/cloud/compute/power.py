"""Switching servers on and off: their processes in the runtime, their ports in the data plane.

A server is on when its program has been executed, its ports pass packets, and, where its image names a port, a process
listens there. An idle server (no program) is a network namespace; its machine is started at the first command in it.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from sonata._lib.huge_pages import free_huge_pages
from sonata._lib.together import beside
from sonata.emulator.cloud.compute.console_logs import ConsoleLogs
from sonata.emulator.cloud.compute.disks import Disks, Mounts
from sonata.emulator.cloud.compute.dress import PLAIN, Dress, Dressing, dressed, undressed
from sonata.emulator.cloud.compute.engine_choice import engine_of
from sonata.emulator.cloud.compute.flavors import core_limit
from sonata.emulator.cloud.compute.pages import taken_for, wants_huge
from sonata.emulator.cloud.compute.roots import SHUTDOWN_S, disk_size, own_root, patience, root_of
from sonata.emulator.cloud.compute.wiring import Wiring
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.image.images import Images
from sonata.emulator.cloud.rollback import undone_on_failure
from sonata.emulator.cloud.site import Site
from sonata.emulator.resources import fair_shares
from sonata.errors import AdapterError, Conflict, NotFound, PermanentError, StepTimeout
from sonata.ports.images import Image
from sonata.ports.runtime import VIRTUAL, Attached, Limits, MachineExit, MachineSpec, Tell, Terminal, Usage

READY_LIMIT_S = 30.0
FIRST_POLL_S, LONGEST_POLL_S = 0.002, 0.1
POLL_SHARE = 0.1
"""Of the time that a program has taken so far: it is found ready at most so much later than it is."""
MIB = 1024**2
CPU_PERIODS_US = range(1_000, 1_000_001)
"""Scheduling periods that the kernel takes (cpu.cfs_period_us)."""
FEWEST_SHARES = 2
RESCUED = "/mnt"
"""Where a rescued server finds its own root file system."""

Ended = Callable[[str, MachineExit], Awaitable[None]]


class Power:
    """Machines of one cloud's servers.

    Args:
        on_ended: awaited with the server's id when its program ended by itself after it had been ready.
    """

    def __init__(self, site: Site, wiring: Wiring, images: Images, disks: Disks, on_ended: Ended) -> None:
        self._site = site
        self._wiring = wiring
        self._images = images
        self._disks = disks
        self._on_ended = on_ended
        self._starting: set[str] = set()
        self._exits: dict[str, MachineExit] = {}
        self._netns: dict[str, str] = {}
        self._idle_starts: dict[str, asyncio.Task[int]] = {}
        self._dress: dict[str, Dress] = {}
        self._paged: set[str] = set()
        self.dressing: Dressing = undressed
        self.consoles = ConsoleLogs(site)

    async def on(self, server: Server) -> str | None:
        """Switch a server on; it is ready at return.

        Returns:
            What is worth telling of its start; None for nothing.

        Raises:
            PermanentError: its program cannot be executed, or ended at once.
            StepTimeout: nothing listened on its image's port in time.
        """
        image = self._booted(server)
        self._exits.pop(server.id, None)
        dress = self._dress[server.id] = await self.dressing(server, image)
        if dress.told:
            self.consoles.say(server.id, dress.told)
        (self._paged.add if wants_huge(server.flavor) else self._paged.discard)(server.id)
        self._starting.add(server.id)
        try:
            if _program(server):
                await self._start_plugged(server, image)
                await self._wait_ready(server, image.ready_tcp_port)
            else:
                self._netns[server.id] = await self._wiring.plug(server)
                if dress.eager or engine_of(server, self._images) == VIRTUAL:  # its own kernel answers
                    await self.wake(server)
        finally:
            self._starting.discard(server.id)
        return dress.told or None

    async def _start_plugged(self, server: Server, image: Image) -> None:
        """Start a server's program once its ports are there; they and the machine around it are made side by side."""
        self._netns[server.id] = await self._wiring.open(server)
        async with beside(self._wiring.plug(server)) as plugged:
            await self._start(server, image, after=plugged)

    async def off(self, server: Server, *, grace_s: float = SHUTDOWN_S) -> None:
        """Switch a server off: no process of it runs and none of its ports stands at return; idempotent.

        Args:
            server: which.
            grace_s: how long its program may take to end in order; 0 pulls the plug.
        """
        self._netns.pop(server.id, None)  # from now on no command wakes it
        if pending := self._idle_starts.pop(server.id, None):
            pending.cancel()
            await asyncio.wait([pending])
        machine = self._wiring.machine_id(server.id)
        await self._site.runtime.stop(machine, grace_s=grace_s and patience(server, self._images))
        self._dress.pop(server.id, None)
        self._exits.pop(server.id, None)
        self._paged.discard(server.id)
        await self._wiring.unplug(server)
        await self._disks.shut_all(server)

    async def exec(
        self, server: Server, argv: Sequence[str], stdin: bytes, tell: Tell | None = None
    ) -> tuple[int, bytes, bytes]:
        """Run a command in a server that is on."""
        await self.wake(server)
        return await self._site.runtime.exec(self._wiring.machine_id(server.id), argv, stdin=stdin, tell=tell)

    def end_of(self, server_id: str) -> MachineExit | None:
        """How the program of a server ended since it was switched on; None when it runs, or is off by request."""
        return self._exits.get(server_id)

    async def freeze(self, server: Server) -> None:
        """Stop all processes of a server where they are, and its ports; idempotent.

        Raises:
            Unsupported: the host has no freezer for us.
        """
        with suppress(NotFound):  # an idle server has no process
            await self._site.runtime.pause(self._wiring.machine_id(server.id))
        await self._wiring.hold(server, held=True)

    async def thaw(self, server: Server) -> None:
        """Let a frozen server go on; idempotent."""
        with suppress(NotFound):
            await self._site.runtime.resume(self._wiring.machine_id(server.id))
        await self._wiring.hold(server, held=False)

    async def limit(self, server: Server) -> None:
        """Bring the limits of a server that is on in line with its flavor.

        Raises:
            AdapterError: the kernel refused, or the server has huge pages, or is to get some: that takes a restart.
        """
        if server.id in self._paged or wants_huge(server.flavor):
            raise AdapterError(f"server `{server.name}` has to be started anew, since huge pages come at the start")
        with suppress(NotFound):
            await self._site.runtime.set_limits(self._wiring.machine_id(server.id), limits_of(server))

    async def usage(self, server: Server) -> Usage:
        """What a server uses; nothing when no process of it runs."""
        try:
            return await self._site.runtime.usage(self._wiring.machine_id(server.id))
        except NotFound:
            return Usage(0.0, 0, 0)

    async def terminal(self, server: Server, argv: Sequence[str], *, rows: int, columns: int) -> Terminal:
        """A program on a terminal in a server that is on; of one that boots a disk its serial console."""
        await self.wake(server)
        machine = self._wiring.machine_id(server.id)
        program = () if self._images.is_disk(server.image_id) else argv
        return await self._site.runtime.terminal(machine, program, rows=rows, columns=columns)

    def disk(self, server_id: str) -> Path:
        """The folder of a server's disk: what it has written to its root file system."""
        return self._site.disks / server_id

    async def wipe(self, server_id: str) -> None:
        """Drop a server's disk; the next start begins with its image alone. Idempotent."""
        await asyncio.to_thread(shutil.rmtree, self.disk(server_id), ignore_errors=True)

    async def wake(self, server: Server) -> None:
        """Start the machine of an idle server once; the others have theirs.

        Raises:
            Conflict: it is being switched off.
        """
        if _program(server):
            return
        if server.id not in self._netns:
            raise _switched_off(server)
        if server.id not in self._idle_starts:
            start = self._start(server, self._booted(server))
            self._idle_starts[server.id] = asyncio.ensure_future(start)
        start_task = self._idle_starts[server.id]
        with undone_on_failure(lambda: _forget_failed(self._idle_starts, server.id, start_task)):
            await asyncio.wait([start_task])
            if start_task.cancelled():
                raise _switched_off(server)
            start_task.result()

    def _booted(self, server: Server) -> Image:
        """What a server boots: the image that rescues it, its root volume, or its image."""
        if server.rescue_image_id:
            return self._images.bootable(server.rescue_image_id)
        return self._disks.root_image(server) or self._images.bootable(server.image_id)

    async def _start(self, server: Server, image: Image, after: Awaitable[object] | None = None) -> int:
        async with self._disks.opened(server) as mounts:
            spec = self._spec(server, image, mounts)
            return await self._site.runtime.start(spec, self._watch(server.id), after=after)

    def _spec(self, server: Server, image: Image, mounts: Mounts) -> MachineSpec:
        own = own_root(server, mounts, self._images, self.disk(server.id))
        attached: tuple[Attached, ...] = ()
        if server.rescue_image_id:
            own, attached = root_of(image), (Attached(own, RESCUED),)
        spec = MachineSpec(
            id=self._wiring.machine_id(server.id),
            hostname=hostname(server.name),
            root=own,
            attached=attached,
            argv=_program(server),
            console=self.consoles.path(server.id),
            env=image.env,
            netns=self._netns[server.id],
            limits=limits_of(server),
            resolver=self._wiring.resolver(server),
            binds=mounts.binds,
            huge_pages=taken_for(server.flavor, free_huge_pages()),
            group=self._site.pop_of(server.host).name,
            engine=engine_of(server, self._images),
        )
        return dressed(spec, self._dress.get(server.id, PLAIN))

    def _watch(self, server_id: str) -> Callable[[MachineExit], Awaitable[None]]:
        async def ended(how: MachineExit) -> None:
            self._exits[server_id] = how
            if server_id not in self._starting:
                await self._on_ended(server_id, how)

        return ended

    async def _wait_ready(self, server: Server, tcp_port: int) -> None:
        loop, machine = asyncio.get_running_loop(), self._wiring.machine_id(server.id)
        begun = loop.time()
        while True:
            self._refuse_ended(server)
            if not tcp_port or await self._site.runtime.is_listening(machine, tcp_port):
                return
            waited = loop.time() - begun
            if waited > READY_LIMIT_S:
                raise StepTimeout(
                    f"server `{server.name}`: nothing listened on TCP port {tcp_port} within {READY_LIMIT_S:.0f} s",
                    hint="look at its console log",
                )
            await asyncio.sleep(min(max(FIRST_POLL_S, waited * POLL_SHARE), LONGEST_POLL_S))

    def _refuse_ended(self, server: Server) -> None:
        if how := self._exits.get(server.id):
            raise PermanentError(f"server `{server.name}`: {described(how)}", hint="look at its console log")


def _switched_off(server: Server) -> Conflict:
    return Conflict(f"server `{server.name}` is being switched off", hint="start it first")


def limits_of(server: Server) -> Limits:
    """What a server's flavor lets it use; values that are no numbers count as not given."""
    specs = server.flavor.extra_specs
    period, shares = specs.get("quota:cpu_period", ""), specs.get("quota:cpu_shares", "")
    asked = shares.isdigit() and int(shares) >= FEWEST_SHARES
    return Limits(
        cpus=core_limit(server.flavor),
        memory_bytes=server.flavor.ram_mib * MIB,
        cpu_period_us=int(period) if period.isdigit() and int(period) in CPU_PERIODS_US else 100_000,
        cpu_shares=int(shares) if asked else fair_shares(server.flavor.vcpus),
        cores=server.cores,
        disk_bytes=disk_size(server),
    )


def _program(server: Server) -> tuple[str, ...]:
    """What a server runs; a rescued one waits for its rescuer."""
    return () if server.rescue_image_id else server.argv


def described(how: MachineExit) -> str:
    """The end of a program in words."""
    return f"its program ended with exit status {how.status}" + (f" ({how.reason})" if how.reason else "")


def hostname(name: str) -> str:
    """A server's name as a host name (RFC 1123)."""
    return re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:63] or "server"


def _forget_failed(starts: dict[str, asyncio.Task[int]], server_id: str, start: asyncio.Task[int]) -> None:
    """Let the next command try again; a start that goes on is kept."""
    if start.done() and starts.get(server_id) is start:
        del starts[server_id]
