"""What machines leave behind: dead processes while they end, files and mounts after that."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import time
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import sonata.adapters.runtime_oci.processes as processes
from sonata.adapters.runtime_oci.cgroups import Cgroups
from sonata.adapters.runtime_oci.console_limits import ConsoleLimits
from sonata.adapters.runtime_oci.disks import Disks
from sonata.adapters.runtime_oci.engine import Engine
from sonata.adapters.runtime_oci.machine import Machine, disk_names
from sonata.adapters.runtime_oci.mounts import unmount
from sonata.errors import AdapterError

logger = logging.getLogger(__name__)

_EVERY_S, _SHARE = 0.02, 20
_WAITING_TOGETHER = 32


class Sweep:
    """Collects dead processes that keep machines from ending; hundreds of machines are looked at together, and seldom.

    Args:
        helpers: names of programs that leave such.
    """

    def __init__(self, helpers: Collection[str]) -> None:
        self.helpers = tuple(helpers)
        self._not_before = 0.0

    def __call__(self, machines: Iterable[Machine]) -> None:
        """Collect what is dead now, unless that was done a moment ago."""
        now = time.monotonic()
        if now < self._not_before:
            return
        processes.reap_orphans(self.helpers)
        processes.collect_beside({machine.pid for machine in machines if machine.stopped})
        self._not_before = time.monotonic() + _EVERY_S + _SHARE * (time.monotonic() - now)


class Traces:
    """Files, mounts and cgroups of machines of one runtime.

    Args:
        engine: keeps a state of each.
        cgroups: where they were limited.
        disks: to which they wrote.
        consoles: what they said, which stays.
    """

    def __init__(self, engine: Engine, cgroups: Cgroups, disks: Disks, consoles: ConsoleLimits) -> None:
        self._engine = engine
        self._cgroups = cgroups
        self._disks = disks
        self._consoles = consoles

    def remove(self, machine: Machine) -> None:
        """Remove what an ended machine had, whose roots are not mounted any more."""
        self._remove_files(machine)
        try:
            self._cgroups.remove(machine.spec.id)
        except AdapterError as error:
            logger.warning("cgroup left behind", extra={"machine": machine.spec.id, "reason": error.message})

    async def remove_all(self, machines: Collection[Machine], mounts: Path) -> None:
        """Remove what all machines had that were left, but for cgroups, which go with those of the runtime.

        Args:
            machines: which have ended.
            mounts: a mount below which their roots are, so that those go at once: each of them would wait for a grace
                period of the kernel. Disks do so, too, and go side by side.
        """
        try:
            await asyncio.to_thread(unmount, mounts)
        except OSError as error:
            if error.errno == errno.EINVAL:  # it has been done before
                return
            logger.warning("roots of machines stay mounted", extra={"folder": mounts, "reason": error})
        with ThreadPoolExecutor(_WAITING_TOGETHER, "ends of machines") as pool:
            begin = asyncio.get_running_loop().run_in_executor
            await asyncio.gather(*(begin(pool, self._remove_files, machine) for machine in machines))

    def _remove_files(self, machine: Machine) -> None:
        self._consoles.leave(machine.spec.console)
        for name in disk_names(machine.spec):
            self._disks.close(name)
        shutil.rmtree(self._engine.state / machine.name, ignore_errors=True)
        if not os.path.ismount(machine.folder / "root"):  # it may be a volume, which is to live on
            shutil.rmtree(machine.folder, ignore_errors=True)
