"""Links measured in the background: off until somebody asks for it, since it costs a packet each way and second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sonata.emulator.observing.families as families
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.links import Links
from sonata.emulator.observing.sheet import Sheet
from sonata.errors import InvalidInput
from sonata.model.metrics import Family
from sonata.model.topology import Link
from sonata.ports.metering import Watched, Window

QUICKEST_S, SLOWEST_S = 0.2, 10.0
_GRACE_S, _DEVIATIONS = 0.5, 5


class LinkWatcher:
    """Whether and how often the links of an emulation are measured."""

    def __init__(self, links: Links, plane: DataPlane) -> None:
        self._links = links
        self._plane = plane
        self.every_s: float | None = None

    async def set(self, every_s: float | None) -> None:
        """Measure all links at even times from now on; None stops it.

        Raises:
            InvalidInput: that is too often or too seldom.
            AdapterError: it cannot be done.
        """
        if every_s is not None and not QUICKEST_S <= every_s <= SLOWEST_S:
            raise InvalidInput(f"`every_s` must be {QUICKEST_S:g} to {SLOWEST_S:g} seconds, not {every_s:g}")
        was, self.every_s = self.every_s, every_s
        if was is not None or every_s is not None:
            await self._follow([status.name for status in await self._links.status()] if every_s else [])

    async def read(self, sheet: Sheet) -> None:
        """What was measured; links that have come meanwhile are watched from now on."""
        if self.every_s is None:
            return
        known = [self._links.find(status.name).link for status in await self._links.status()]
        if self.every_s is None:  # since a moment ago
            return
        await self._follow([link.name for link in known])
        late_s = {link.name: _lateness(link) for link in known}
        found = await self._plane.run(lambda fabric: fabric.metering.watched(late_s))
        for link in known:
            for (source, target), way in zip(
                ((link.a, link.b), (link.b, link.a)), found.get(link.name, ()), strict=False
            ):
                _put(sheet, (link.name, source, target), way)

    async def _follow(self, names: Sequence[str]) -> None:
        every_s = self.every_s or SLOWEST_S
        await self._plane.run(lambda fabric: fabric.metering.watch(names, every_s))


def _lateness(link: Link) -> tuple[float, float]:
    """How long packets may be on their way, there and back, by what is declared."""
    there, back = (_GRACE_S + way.delay_s + _DEVIATIONS * way.jitter_s for way in link.directions)
    return there, back


def _put(sheet: Sheet, own: tuple[str, str, str], way: Watched) -> None:
    sheet.put(families.PROBES.labelled(*own), {families.PROBES: way.sent})
    for window in way.windows:
        if window.sent:
            sheet.put(families.MEASURED_LOSS.labelled(*own, f"{window.span_s:g}s"), _measured(window))


def _measured(window: Window) -> Mapping[Family, float | None]:
    return {
        families.MEASURED_DELAY: window.mean_s,
        families.MEASURED_JITTER: window.deviation_s,
        families.MEASURED_LOSS: 1 - window.received / window.sent,
    }
