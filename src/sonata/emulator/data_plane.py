"""Runs fabric calls one after another in a thread of their own, so that the event loop never waits for the kernel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sonata.errors import AdapterError, SonataError
from sonata.ports.fabric import Fabric

logger = logging.getLogger(__name__)

T = TypeVar("T")
MEND_EVERY_S = 0.5


def _nobody(_mended: str) -> None:
    pass


class DataPlane:
    """The only way in which the emulator touches its fabric."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fabric")
        self._answering: asyncio.Task[None] | None = None
        self._hears = False

    async def run(self, call: Callable[[Fabric], T]) -> T:
        """Run a call in the fabric's thread and return its result; calls keep their order.

        Raises:
            AdapterError: the machine did not let the fabric work, e.g. since too many files are open.
        """
        self._hear()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call, self._fabric)
        except OSError as error:
            raise AdapterError(f"the data plane could not do it: {error}", answer=str(error)) from error

    async def keep_going(self, on_mended: Callable[[str], None] = _nobody) -> None:
        """Have the fabric mend itself again and again, until cancelled; what it cannot mend is told once.

        Args:
            on_mended: is told what was mended.
        """
        told = ""
        while True:
            try:
                for mended in await self.run(lambda fabric: fabric.mend()):
                    on_mended(mended)
                told = ""
            except AdapterError as error:
                if error.message != told:
                    logger.warning("%s; %s", error.message, error.hint)
                told = error.message
            await asyncio.sleep(MEND_EVERY_S)

    @property
    def missing_routers(self) -> Mapping[str, str]:
        """Routers that should stand and could not be made, with the reason, until they are."""
        return self._fabric.networks.missing_routers

    def _hear(self) -> None:
        """Have calls for what the fabric makes only then answered, from the first time that it is used."""
        if not self._hears:
            self._hears = True
            if self._fabric.calls >= 0:
                asyncio.get_running_loop().add_reader(self._fabric.calls, self._called)

    def _called(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fabric.calls)
        self._answering = asyncio.get_running_loop().create_task(self._answer(), name="calls")

    async def _answer(self) -> None:
        try:
            await self.run(lambda fabric: fabric.answer_calls())
        except SonataError as error:
            logger.warning("%s; %s", error.message, error.hint, extra={"routers": dict(self.missing_routers)})
        finally:
            asyncio.get_running_loop().add_reader(self._fabric.calls, self._called)

    async def close(self) -> None:
        """Drop the fabric and end the thread."""
        if self._answering:
            await asyncio.wait([self._answering])
        heard, self._hears = self._hears, True
        if heard and self._fabric.calls >= 0:
            asyncio.get_running_loop().remove_reader(self._fabric.calls)
        await self.run(lambda fabric: fabric.close())
        self._thread.shutdown()
