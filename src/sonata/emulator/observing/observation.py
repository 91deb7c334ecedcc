"""Watching an emulation: readings on demand and at even times, their history, rules over it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

import sonata.emulator.observing.families as families
from sonata._lib.values import dataclass
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.emulation import Emulation
from sonata.emulator.observing.history import EVERY_S, History
from sonata.emulator.observing.machines import read_endpoints, read_servers
from sonata.emulator.observing.promql import Value, understand
from sonata.emulator.observing.requests import RequestTimes
from sonata.emulator.observing.rules import Rules
from sonata.emulator.observing.sheet import Sheet
from sonata.emulator.observing.sites import Sites
from sonata.emulator.observing.watching import LinkWatcher
from sonata.emulator.observing.wide_area import read_connections, read_links
from sonata.errors import SonataError
from sonata.model.metrics import Family, Point, Readings
from sonata.ports.metering import Readings as Counters
from sonata.ports.metering import Traffic

logger = logging.getLogger(__name__)

POPS_AT_ONCE = 32
"""PoPs whose counters are read before others have a turn in the data plane's thread."""
_STEP_S = 1.0
_FIRST_AFTER_S = 0.5
"""Who has waited for the emulation goes before the first reading, which keeps a large one busy."""
_MOST_OF_TIME, _LONGEST_S = 0.05, 15.0
"""How much of the time may go by in reading: what takes longer is read less often, but four times a minute."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query came to, and at which moment (Unix time)."""

    at: float
    value: Value


class Observation:
    """What is seen of one emulation.

    Args:
        plane: its data plane.
        every_s: time between two readings for the history.
        clock: tells Unix time, and may be set at any moment.
        steady: tells how time goes by, and is never set.
    """

    def __init__(
        self,
        emulation: Emulation,
        plane: DataPlane,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._emulation = emulation
        self._plane = plane
        self._every_s = every_s
        self._turn = asyncio.Lock()
        self._sites = Sites(emulation)
        self._took_s = 0.0
        self._clock, self._steady = clock, steady
        self._ahead_s = clock() - steady()
        self.history = History()
        self.rules = Rules()
        self.requests = RequestTimes()
        self.watcher = LinkWatcher(emulation.links, plane)

    async def read(self) -> Readings:
        """All metrics as they are now, with what the rules came to at the last even time."""
        async with self._turn:
            return {**await self._read(), **self.rules.results}

    async def record(self) -> None:
        """Read all metrics into the history, and evaluate the rules over it."""
        async with self._turn:
            readings, at = await self._read(), self._follow_clock()
            self.history.record(at, readings)
            self.rules.evaluate(self.history, at)

    async def begin(self) -> None:
        """Have a first reading in the history: now where there is none yet."""
        if not self.history.series_count:
            await self.record()

    async def keep_recording(self) -> None:
        """Record at even times, until cancelled; where reading takes long, less often. A failure is told once."""
        told = ""
        await asyncio.sleep(min(_FIRST_AFTER_S, self._every_s))
        while True:
            try:
                await self.record()
                told = ""
            except (SonataError, OSError, LookupError) as error:  # what is read may be coming or going
                if str(error) != told:
                    logger.warning("metrics could not be read: %s", error)
                told = str(error)
            pause_s = min(max(self._every_s, self._took_s / _MOST_OF_TIME), max(self._every_s, _LONGEST_S))
            await asyncio.sleep(max(0.0, pause_s - self._took_s))

    def query(self, text: str, at: float | None = None) -> Answer:
        """What an expression comes to, now or at a moment of the history.

        Raises:
            InvalidInput, Unsupported: it is not understood.
        """
        evaluate = understand(text)
        now = self._follow_clock()
        moment = now if at is None else at
        return Answer(moment, evaluate(self.history, moment))

    def _follow_clock(self) -> float:
        """What time it is; where the clock was set, the history is moved along, so that its spans stay what they are.

        Small corrections of the clock are left to come to nothing.
        """
        now, ahead_s = self._clock(), self._clock() - self._steady()
        if abs(step_s := ahead_s - self._ahead_s) > _STEP_S:
            self.history.shift(step_s)
            self._ahead_s = ahead_s
        return now

    async def _read(self) -> Mapping[Family, list[Point]]:
        begun, sheet = time.monotonic(), Sheet()
        counters = await self._counters()
        await read_servers(self._emulation, counters.ports, sheet)
        await read_endpoints(self._emulation, counters.ports, sheet)
        await read_links(self._emulation.links, counters.links, sheet)
        read_connections(self._emulation.wan, sheet)
        await self.watcher.read(sheet)
        await self._sites.read(begun, sheet)
        self._read_ourselves(sheet)
        self._took_s = time.monotonic() - begun
        sheet.put((), {families.COLLECTION: self._took_s})
        return sheet.readings

    async def _counters(self) -> Counters:
        names = list(self._emulation.topology.pops)
        ports: dict[str, Traffic] = {}
        links: dict[str, tuple[Traffic, Traffic]] = {}
        for start in range(0, len(names), POPS_AT_ONCE):
            some = names[start : start + POPS_AT_ONCE]
            part = await self._plane.run(lambda fabric, some=some: fabric.metering.read(some))  # type: ignore[misc]
            ports.update(part.ports)
            links.update(part.links)
        return Counters(ports, links)

    def _read_ourselves(self, sheet: Sheet) -> None:
        counts = self._emulation.events.counts
        sheet.extend(families.EVENTS, (Point(families.EVENTS.labelled(kind), n) for kind, n in counts.items()))
        sheet.extend(families.REQUESTS, self.requests.points(families.REQUESTS))
        sheet.put((), {families.SERIES: self.history.series_count, families.KEPT: self.history.reach_s})
