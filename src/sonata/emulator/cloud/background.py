"""Background work, at most one piece for each server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine

logger = logging.getLogger(__name__)

Crashed = Callable[[str, BaseException], None]


class Background:
    """Tasks by name.

    Args:
        on_crash: called with the name and the exception when a task ends with one.
    """

    def __init__(self, on_crash: Crashed) -> None:
        self._on_crash = on_crash
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def spawn(self, name: str, work: Coroutine[None, None, None]) -> None:
        """Start work under a name; what goes on under it, perhaps with its last step, ends before."""
        earlier = self._tasks.get(name)
        coming = _after(earlier, work) if earlier else work
        task = asyncio.get_running_loop().create_task(coming, name=name)
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._settle(name, done))

    def busy(self, name: str) -> bool:
        """Whether work goes on under this name."""
        return name in self._tasks

    async def wait(self, name: str) -> None:
        """Wait until no work goes on under this name."""
        while task := self._tasks.get(name):
            await asyncio.wait([task])

    async def cancel(self, name: str) -> None:
        """End the work under this name; it has cleaned up at return. Idempotent."""
        if task := self._tasks.get(name):
            task.cancel()
            await asyncio.wait([task])
            self._tasks.pop(name, None)

    async def close(self) -> None:
        """End all work."""
        for name in tuple(self._tasks):
            await self.cancel(name)

    def _settle(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled() and (error := task.exception()):
            logger.error("background work crashed", extra={"work": name}, exc_info=error)
            self._on_crash(name, error)


async def _after(earlier: asyncio.Task[None], work: Coroutine[None, None, None]) -> None:
    try:
        await asyncio.wait([earlier])
    except asyncio.CancelledError:
        work.close()
        earlier.cancel()
        await asyncio.wait([earlier])
        raise
    await work
