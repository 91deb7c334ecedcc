"""Runs fabric calls one after another in a thread of their own, so that the event loop never waits for the kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sonata.ports.fabric import Fabric

T = TypeVar("T")


class DataPlane:
    """The only way in which the emulator touches its fabric."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fabric")

    async def run(self, call: Callable[[Fabric], T]) -> T:
        """Run a call in the fabric's thread and return its result; calls keep their order."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, self._fabric)

    async def close(self) -> None:
        """Drop the fabric and end the thread."""
        await self.run(lambda fabric: fabric.close())
        self._thread.shutdown()
