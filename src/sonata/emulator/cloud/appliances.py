"""Helper machines of a site: confined programs of the cloud itself, such as load balancers and DHCP servers.

An appliance is a network namespace with Neutron ports in it and one program on the `host` root file system. No API
shows it as a server. Who owns it declares it again after a restart of the emulation, out of its own tables; nothing of
an appliance is saved here.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path

from sonata._lib.values import dataclass
from sonata.emulator.cloud.compute.wiring import Wiring
from sonata.emulator.cloud.entities.compute import Nic
from sonata.emulator.cloud.site import Site
from sonata.errors import NotFound
from sonata.ports.runtime import Bind, Limits, MachineExit, MachineSpec, RootFs

STOP_S = 1.0
MIB = 1024**2
Ended = Callable[[MachineExit], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Appliance:
    """What a helper machine is.

    Args:
        id: unique in the site; letters, digits and `-`.
        argv: its program; empty for a machine that only waits for commands.
        port_ids: Neutron ports, plugged in as eth0, eth1, ...
        binds: folders and files of the host that it sees, its configuration above all.
        uid: user id of the program; other than 0 it has no capability at all.
        network_admin: whether it may open low ports and configure its own network namespace.
    """

    id: str
    argv: tuple[str, ...] = ()
    port_ids: tuple[str, ...] = ()
    binds: tuple[Bind, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=lambda: Limits(cpus=1.0, memory_bytes=128 * MIB, pids=64))
    uid: int = 0
    network_admin: bool = True


class Appliances:
    """The helper machines of one site."""

    def __init__(self, site: Site, wiring: Wiring) -> None:
        self._site = site
        self._wiring = wiring
        self._standing: dict[str, tuple[Nic, ...]] = {}
        self._running: set[str] = set()
        self._locks: dict[str, asyncio.Lock] = {}

    async def start(self, appliance: Appliance, on_exit: Ended | None = None) -> None:
        """Bring an appliance up: its ports pass packets and its program has been executed at return. Idempotent.

        One that stands otherwise is brought to this declaration: ports are plugged and unplugged while it runs, a
        program that has ended is started again; another program or other binds need a `stop` first.

        Args:
            appliance: what it is to be.
            on_exit: awaited when the program ends by itself; its ports stay then.

        Raises:
            PermanentError: the program does not exist or cannot be executed; nothing of the appliance is left.
        """
        async with self._lock(appliance.id):
            if appliance.id in self._standing:
                await self._replug(appliance.id, appliance.port_ids)
            if appliance.id not in self._running:
                await self._start(appliance, on_exit)

    async def stop(self, appliance_id: str, *, grace_s: float = STOP_S) -> None:
        """End an appliance; no process and no interface of it is left at return, its Neutron ports are. Idempotent."""
        async with self._lock(appliance_id):
            await self._stop(appliance_id, grace_s)
        if appliance_id not in self._standing:
            self._locks.pop(appliance_id, None)

    async def remove(self, appliance_id: str) -> None:
        """End an appliance at once, and drop its folder and console; idempotent."""
        await self.stop(appliance_id, grace_s=0)
        await asyncio.to_thread(shutil.rmtree, self._folder(appliance_id), ignore_errors=True)
        self.console(appliance_id).unlink(missing_ok=True)

    def is_running(self, appliance_id: str) -> bool:
        """Whether its program runs."""
        return appliance_id in self._running

    async def exec(self, appliance_id: str, argv: Sequence[str], stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        """Run a command in an appliance; returns exit status, stdout and stderr.

        Raises:
            NotFound: it does not run.
        """
        if appliance_id not in self._running:
            raise NotFound(f"appliance `{appliance_id}` of PoP `{self._site.pop.name}` does not run")
        return await self._site.runtime.exec(self._machine(appliance_id), argv, stdin=stdin)

    async def signal(self, appliance_id: str, name: str) -> None:
        """Send a signal to an appliance's program, e.g. `HUP` to have it read its configuration again."""
        await self.exec(appliance_id, ("/bin/sh", "-c", f"kill -{name} 1"))

    def folder(self, appliance_id: str) -> Path:
        """A private folder for an appliance's configuration, made at first use; its owner binds it."""
        folder = self._folder(appliance_id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def console(self, appliance_id: str) -> Path:
        """The file that holds what an appliance's program printed."""
        return self._site.folder / f"{appliance_id}.console"

    async def close(self) -> None:
        """End all of them."""
        for appliance_id in tuple(self._standing):
            await self.stop(appliance_id, grace_s=0)

    async def _start(self, appliance: Appliance, on_exit: Ended | None) -> None:
        machine = self._machine(appliance.id)
        nics = self._standing.get(appliance.id) or _named((), appliance.port_ids)
        self._standing[appliance.id] = nics
        self._running.add(appliance.id)
        whole = False
        try:
            netns = await self._wiring.plug_machine(machine, nics)
            await self._site.runtime.start(self._spec(appliance, netns), self._watch(appliance.id, on_exit))
            whole = True
        finally:
            if not whole:
                await asyncio.shield(self._stop(appliance.id, 0))

    async def _stop(self, appliance_id: str, grace_s: float) -> None:
        machine = self._machine(appliance_id)
        self._running.discard(appliance_id)
        await self._site.runtime.stop(machine, grace_s=grace_s)
        if appliance_id in self._standing:
            nics = self._standing.pop(appliance_id)
            await self._wiring.unplug_machine(machine, [nic.port_id for nic in nics])

    async def _replug(self, appliance_id: str, port_ids: Sequence[str]) -> None:
        """Plug and unplug ports of an appliance that stands; those that stay keep their names."""
        for nic in self._standing[appliance_id]:
            if nic.port_id not in port_ids:
                await self._wiring.unplug_port(nic.port_id)
                self._standing[appliance_id] = tuple(one for one in self._standing[appliance_id] if one != nic)
        before = self._standing[appliance_id]
        for nic in _named(before, port_ids):
            if nic not in before:
                await self._wiring.plug_machine(self._machine(appliance_id), [nic])
                self._standing[appliance_id] += (nic,)

    def _watch(self, appliance_id: str, on_exit: Ended | None) -> Ended:
        async def ended(how: MachineExit) -> None:
            self._running.discard(appliance_id)
            if on_exit:
                await on_exit(how)

        return ended

    def _spec(self, appliance: Appliance, netns: str) -> MachineSpec:
        return MachineSpec(
            id=self._machine(appliance.id),
            hostname=appliance.id[:63],
            root=RootFs(),
            argv=appliance.argv,
            console=self.console(appliance.id),
            env=appliance.env,
            netns=netns,
            limits=appliance.limits,
            binds=appliance.binds,
            network_admin=appliance.network_admin,
            uid=appliance.uid,
            group=self._site.pop.name,
        )

    def _folder(self, appliance_id: str) -> Path:
        return self._site.folder / "appliances" / appliance_id

    def _machine(self, appliance_id: str) -> str:
        return self._wiring.machine_id(appliance_id)

    def _lock(self, appliance_id: str) -> asyncio.Lock:
        return self._locks.setdefault(appliance_id, asyncio.Lock())


def _named(before: Sequence[Nic], port_ids: Sequence[str]) -> tuple[Nic, ...]:
    """Interfaces for ports: those of before keep their names, others get free ones."""
    known = {nic.port_id: nic for nic in before}
    taken = {nic.ifname for nic in before}
    free = (f"eth{index}" for index in itertools.count() if f"eth{index}" not in taken)
    return tuple(known.get(port_id) or Nic(port_id, next(free), owned=False) for port_id in port_ids)
