"""A spare sandbox: it runs, has imported what every manager needs, and waits to be told whose it is.

Starting Python takes longer than everything else of a deployment together; with a spare it has happened before.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from sonata._lib.values import dataclass
from sonata.adapters.manager_host.contracts import Sandboxes
from sonata.adapters.manager_host.sandbox import PythonLaunch, Sandbox, entry_line, spare_sandbox
from sonata.errors import SonataError
from sonata.ports.managers import ManagerLaunch
from sonata.ports.runtime import MachineExit

logger = logging.getLogger(__name__)
REFILL_S = 1.5
"""A service that is being deployed needs the processor more than the next one."""
_TEMPLATE = ManagerLaunch("spare", "")


@dataclass(eq=False)
class Spare:
    """A sandbox that waits.

    Args:
        pipe: descriptor of its entry pipe.
        on_exit: who is told of its end; the host of spares until it is taken.
    """

    sandbox: Sandbox
    pipe: int
    on_exit: Callable[[MachineExit], Awaitable[None]]
    starting: asyncio.Task[int] | None = None

    def tell(self, launch: ManagerLaunch) -> None:
        """Let it run a manager."""
        os.write(self.pipe, entry_line(launch))

    def close(self) -> None:
        """Forget the pipe. Idempotent."""
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1


class Spares:
    """Keeps one sandbox ready, from the first `keep` on."""

    def __init__(self, sandboxes: Sandboxes, folder: Path, python: PythonLaunch) -> None:
        self._sandboxes, self._folder, self._python = sandboxes, folder, python
        self._spare: Spare | None = None
        self._refill: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeps = False

    async def keep(self) -> None:
        """Have a spare from now on; returns when it runs. What fails is no reason to fail: it is tried at a launch."""
        self._keeps = True
        if self._spare is not None:
            return
        sandbox = spare_sandbox(self._folder)
        sandbox.make()
        spare = self._spare = Spare(sandbox, sandbox.open_entry(), self._lost)
        spare.starting = asyncio.get_running_loop().create_task(
            self._sandboxes.start(sandbox.spec(_TEMPLATE, self._python), lambda ended: spare.on_exit(ended))
        )
        try:
            await asyncio.shield(spare.starting)
        except SonataError as error:
            logger.warning("no spare sandbox for managers", extra={"reason": error.message})
            if self._spare is spare:
                self._drop()

    async def take(self, launch: ManagerLaunch) -> Spare | None:
        """A spare that fits a launch, no longer kept here; another one is made after a while."""
        spare, wanted = self._spare, (launch.memory_bytes, launch.cpus)
        if spare is None or spare.starting is None or wanted != (_TEMPLATE.memory_bytes, _TEMPLATE.cpus):
            return None
        try:
            await asyncio.shield(spare.starting)
        except SonataError:  # told by `keep`
            return None
        if self._spare is not spare:  # somebody else took it, or it has ended
            return None
        self._spare = None
        if self._keeps:
            self._refill = asyncio.get_running_loop().call_later(REFILL_S, self._keep_soon)
        return spare

    def _keep_soon(self) -> None:
        task = asyncio.get_running_loop().create_task(self.keep())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lost(self, ended: MachineExit) -> None:
        logger.warning("spare sandbox for managers ended", extra={"reason": ended.reason})
        if self._spare is not None and self._spare.sandbox.machine == ended.machine:
            self._drop()

    def _drop(self) -> None:
        if self._spare is not None:
            self._spare.close()
            self._spare.sandbox.clear()
            self._spare.sandbox.log.unlink(missing_ok=True)
            self._spare = None

    async def close(self) -> None:
        """Give the spare up."""
        self._keeps = False
        if self._refill is not None:
            self._refill.cancel()
        spare = self._spare
        if spare is not None and spare.starting is not None:
            with contextlib.suppress(SonataError):
                await spare.starting
                await self._sandboxes.stop(spare.sandbox.machine, grace_s=0)
        await asyncio.gather(*self._tasks)
        self._drop()
