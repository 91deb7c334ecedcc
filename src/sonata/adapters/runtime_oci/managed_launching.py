"""Starting and ending machines that a manager keeps.

What a machine is, its mounts, its document and its cgroup's place, is the same as without a manager, which makes,
starts, pauses and ends it. Commands and terminals go to the OCI engine itself: a manager would add to them rights and
environment of its own.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import sonata.adapters.runtime_oci.processes as processes
from sonata.adapters.runtime_oci.bundle import PAUSE, resources
from sonata.adapters.runtime_oci.cgroups import Cgroups
from sonata.adapters.runtime_oci.disks import Disks
from sonata.adapters.runtime_oci.engine import Engine
from sonata.adapters.runtime_oci.host_root import HostLayer
from sonata.adapters.runtime_oci.launching import Launcher, first_line, require
from sonata.adapters.runtime_oci.machine import Machine
from sonata.adapters.runtime_oci.managers import Manager
from sonata.errors import AdapterError

_VERBS = {"pause": "pause", "resume": "unpause"}


class ManagedLauncher(Launcher):
    """Starts and ends the machines of one runtime by a manager."""

    def __init__(self, engine: Engine, cgroups: Cgroups, host_layer: HostLayer, disks: Disks, manager: Manager) -> None:
        super().__init__(engine, cgroups, host_layer, disks)
        self._manager = manager
        self._sweep.helpers = (engine.kind, *manager.helpers)
        self.version = manager.version

    async def close(self) -> None:
        """End the manager."""
        await self._manager.close()
        processes.reap_orphans(self._sweep.helpers)

    async def command(self, machine: Machine, verb: str, *options: str) -> None:
        """Have the manager do something with a machine; see the base."""
        log = machine.folder / f"{verb}.log"
        if status := await processes.run(self._manager.command(_VERBS[verb], *options, _kept_as(machine)), log):
            answer = first_line(log) or f"exit status {status}"
            raise AdapterError(f"machine `{machine.spec.id}`: `{verb}` failed: {answer}", call=verb, answer=answer)

    async def update(self, machine: Machine, wanted: dict[str, Any]) -> None:
        """Change the resources of a machine, and what the manager knows of them."""
        await super().update(machine, wanted)
        log, words = machine.folder / "update.log", tuple(self._manager.limits(wanted))
        if words and (status := await processes.run(self._manager.command("update", *words, _kept_as(machine)), log)):
            answer = first_line(log) or f"exit status {status}"
            raise AdapterError(f"machine `{machine.spec.id}`: `update` failed: {answer}", call="update", answer=answer)

    def prepare(self, machine: Machine) -> None:
        """Mount what a machine sees and write its bundle; see the base."""
        super().prepare(machine)
        (machine.folder / "console").symlink_to(machine.spec.console.absolute())

    async def _run(self, machine: Machine) -> None:
        await self._keep(machine)
        await self._execute(machine)

    async def _create(self, machine: Machine) -> None:
        """Have the manager make a machine as far as it can without executing its program."""
        await self._keep(machine)
        if verb := self._manager.preparing:
            await self._call_manager(machine, verb)

    async def _call_manager(self, machine: Machine, verb: str) -> None:
        log = machine.folder / "engine.log"
        log.unlink(missing_ok=True)
        require(
            machine, self._manager.version, await processes.run(self._manager.command(verb, _kept_as(machine)), log)
        )

    async def _keep(self, machine: Machine) -> None:
        """Have the manager know a machine."""
        await self._manager.ready()
        spec, folder = machine.spec, machine.folder
        parent = f"/{self._cgroups.parent_of(spec.id)}" if self._engine.cgroups else ""
        words = list(self._manager.creation(_kept_as(machine), folder, spec.argv or PAUSE, parent))
        limits = resources(spec.limits, frozenset(self._cgroups.controllers)) if parent else {}
        words[1:1] = self._manager.limits(limits)
        self._consoles.watch(spec.console)
        require(
            machine, self._manager.version, await processes.run(self._manager.command(*words), folder / "engine.log")
        )
        machine.name = (folder / "name").read_text().strip()
        self._cgroups.names[spec.id] = self._manager.cgroup_of(machine.name)

    async def _execute(self, machine: Machine) -> None:
        """Have it started."""
        await self._call_manager(machine, "start")
        try:
            machine.pid = int((machine.folder / "pid").read_text())
            await processes.became_another(machine.pid, self._engine.kind)
            machine.pidfd = os.pidfd_open(machine.pid)
        except OSError:  # it has ended already, and the manager has collected it
            machine.pidfd = os.eventfd(1, os.EFD_CLOEXEC)
        self._begin_watch(machine)

    async def _end_of(self, machine: Machine, *, starved: bool) -> tuple[int | None, bool]:
        """What the manager says of it, whose child it is."""
        if machine.stopped:
            return None, starved
        told = machine.folder / "end"
        await processes.run(self._manager.command("wait", _kept_as(machine)), told)
        asked = ("inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", _kept_as(machine))
        told.unlink(missing_ok=True)
        if await processes.run(self._manager.command(*asked), told):
            return None, starved
        status, was_starved = first_line(told).split()
        return int(status), starved or was_starved == "true"

    async def abandon(self, machine: Machine) -> None:
        """Undo a start that failed or was cancelled, whatever it got to."""
        await self._drop(machine)

    async def _drop(self, machine: Machine) -> None:
        """Have the manager forget a machine, and remove what it had; see the base."""
        if machine.folder.exists():
            await processes.run(self._manager.command("rm", "--force", _kept_as(machine)), machine.folder / "rm.log")
        await super()._drop(machine)
        for delay_s in (0.1, 1.0):
            asyncio.get_running_loop().call_later(delay_s, processes.reap_orphans, self._sweep.helpers)


def _kept_as(machine: Machine) -> str:
    """The name by which a manager keeps a machine; Docker takes none of a single letter."""
    return f"machine-{machine.spec.id}"
