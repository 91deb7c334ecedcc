"""Switching servers on and off: their processes in the runtime, their ports in the data plane.

A server is on when its program has been executed, its ports pass packets, and, where its image names a port, a process
listens there. An idle server (no program) is a network namespace; its machine is started at the first command in it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from sonata.emulator.cloud.compute.dress import PLAIN, Dress, Dressing, dressed, undressed
from sonata.emulator.cloud.compute.flavors import core_limit
from sonata.emulator.cloud.compute.wiring import Wiring
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.image.images import Images
from sonata.emulator.cloud.rollback import undone_on_failure
from sonata.emulator.cloud.site import Site
from sonata.errors import PermanentError, StepTimeout
from sonata.ports.images import Image
from sonata.ports.runtime import Limits, MachineExit, MachineSpec, RootFs

READY_LIMIT_S = 30.0
SHUTDOWN_S = 2.0
FIRST_POLL_S, POLL_GROWTH, LONGEST_POLL_S = 0.002, 1.5, 0.1
MIB = 1024**2

Ended = Callable[[str, MachineExit], Awaitable[None]]


class Power:
    """Machines of one cloud's servers.

    Args:
        on_ended: awaited with the server's id when its program ended by itself after it had been ready.
    """

    def __init__(self, site: Site, wiring: Wiring, images: Images, on_ended: Ended) -> None:
        self._site = site
        self._wiring = wiring
        self._images = images
        self._on_ended = on_ended
        self._starting: set[str] = set()
        self._exits: dict[str, MachineExit] = {}
        self._netns: dict[str, str] = {}
        self._idle_starts: dict[str, asyncio.Task[int]] = {}
        self._dress: dict[str, Dress] = {}
        self.dressing: Dressing = undressed

    async def on(self, server: Server) -> None:
        """Switch a server on; it is ready at return.

        Raises:
            PermanentError: its program cannot be executed, or ended at once.
            StepTimeout: nothing listened on its image's port in time.
        """
        image = self._images.bootable(server.image_id)
        self._exits.pop(server.id, None)
        self._dress[server.id] = await self.dressing(server, image)
        self._starting.add(server.id)
        try:
            self._netns[server.id] = await self._wiring.plug(server)
            if server.argv:
                await self._site.runtime.start(self._spec(server, image), self._watch(server.id))
                await self._wait_ready(server, image.ready_tcp_port)
            elif self._dress[server.id].eager:
                await self._wake(server)
        finally:
            self._starting.discard(server.id)

    async def off(self, server: Server, *, grace_s: float = SHUTDOWN_S) -> None:
        """Switch a server off: no process of it runs and none of its ports stands at return; idempotent.

        Args:
            server: which.
            grace_s: how long its program may take to end in order; 0 pulls the plug.
        """
        if pending := self._idle_starts.pop(server.id, None):
            pending.cancel()
            await asyncio.wait([pending])
        await self._site.runtime.stop(self._wiring.machine_id(server.id), grace_s=grace_s)
        self._netns.pop(server.id, None)
        await self._wiring.unplug(server)

    async def exec(self, server: Server, argv: Sequence[str], stdin: bytes) -> tuple[int, bytes, bytes]:
        """Run a command in a server that is on."""
        if not server.argv:
            await self._wake(server)
        return await self._site.runtime.exec(self._wiring.machine_id(server.id), argv, stdin=stdin)

    def forget(self, server_id: str) -> None:
        """Drop what is kept of a server that is deleted; idempotent."""
        self._dress.pop(server_id, None)
        self.console(server_id).unlink(missing_ok=True)

    def console(self, server_id: str) -> Path:
        """The file that holds what a server's program printed."""
        return self._site.folder / f"{server_id}.console"

    async def _wake(self, server: Server) -> None:
        """Start the machine of an idle server once."""
        if server.id not in self._idle_starts:
            spec = self._spec(server, self._images.bootable(server.image_id))
            start = self._site.runtime.start(spec, self._watch(server.id))
            self._idle_starts[server.id] = asyncio.ensure_future(start)
        start_task = self._idle_starts[server.id]
        with undone_on_failure(lambda: self._forget_failed(server.id, start_task)):
            await asyncio.shield(start_task)

    def _forget_failed(self, server_id: str, start: asyncio.Task[int]) -> None:
        """Let the next command try again; a start that goes on is kept."""
        if start.done() and self._idle_starts.get(server_id) is start:
            del self._idle_starts[server_id]

    def _spec(self, server: Server, image: Image) -> MachineSpec:
        limits = Limits(cpus=core_limit(server.flavor), memory_bytes=server.flavor.ram_mib * MIB)
        spec = MachineSpec(
            id=self._wiring.machine_id(server.id),
            hostname=hostname(server.name),
            root=RootFs(image.layers),
            argv=server.argv,
            console=self.console(server.id),
            env=image.env,
            netns=self._netns[server.id],
            limits=limits,
            resolver=self._wiring.resolver(server),
        )
        return dressed(spec, self._dress.get(server.id, PLAIN))

    def _watch(self, server_id: str) -> Callable[[MachineExit], Awaitable[None]]:
        async def ended(how: MachineExit) -> None:
            self._exits[server_id] = how
            if server_id not in self._starting:
                await self._on_ended(server_id, how)

        return ended

    async def _wait_ready(self, server: Server, tcp_port: int) -> None:
        deadline = asyncio.get_running_loop().time() + READY_LIMIT_S
        pause = FIRST_POLL_S
        machine = self._wiring.machine_id(server.id)
        while True:
            self._refuse_ended(server)
            if not tcp_port or await self._site.runtime.is_listening(machine, tcp_port):
                return
            if asyncio.get_running_loop().time() > deadline:
                raise StepTimeout(
                    f"server `{server.name}`: nothing listened on TCP port {tcp_port} within {READY_LIMIT_S:.0f} s",
                    hint="look at its console log",
                )
            await asyncio.sleep(pause)
            pause = min(pause * POLL_GROWTH, LONGEST_POLL_S)

    def _refuse_ended(self, server: Server) -> None:
        if how := self._exits.get(server.id):
            raise PermanentError(f"server `{server.name}`: {described(how)}", hint="look at its console log")


def described(how: MachineExit) -> str:
    """The end of a program in words."""
    return f"its program ended with exit status {how.status}" + (f" ({how.reason})" if how.reason else "")


def hostname(name: str) -> str:
    """A server's name as a host name (RFC 1123)."""
    return re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:63] or "server"
