"""What ports stand on in the PoPs of a site: the networks that they are plugged into, and their filters."""

from __future__ import annotations

from collections.abc import Sequence

from sonata.emulator.cloud.network.filters import PortFilters
from sonata.emulator.cloud.network.places import Places
from sonata.emulator.cloud.network.spreading import Spreading


class Footing:
    """Lets networks and filters stand where ports are, or are about to be, and nowhere else."""

    def __init__(self, places: Places, spreading: Spreading, filters: PortFilters) -> None:
        self._places = places
        self._spreading = spreading
        self._filters = filters

    async def prepare(self, port_ids: Sequence[str]) -> None:
        """Let them stand where ports are about to be plugged in."""
        self._places.settle(port_ids)
        await self._follow(port_ids)

    async def release(self, port_ids: Sequence[str]) -> None:
        """Drop what stood for ports that are plugged out; the data plane has dropped their filters with them."""
        self._places.forget(port_ids)
        await self._filters.unplugged(port_ids)
        await self._spreading.follow(self._places.networks_of(port_ids))

    async def expect(self, port_ids: Sequence[str], pop: str) -> None:
        """Let them stand in another PoP, too, since ports are about to move there."""
        for port_id in port_ids:
            self._places.put([port_id], self._places.current(port_id), pop)
        await self._follow(port_ids)

    async def arrived(self, port_ids: Sequence[str], pop: str) -> None:
        """Let packets find ports that have moved."""
        for port_id in port_ids:
            self._places.put([port_id], pop, self._places.current(port_id))
        await self._spreading.follow(self._places.networks_of(port_ids))

    async def settle(self, port_ids: Sequence[str]) -> None:
        """Drop what stands for ports in a PoP where they are not, or are not any more."""
        for port_id in port_ids:
            self._places.put([port_id], self._places.current(port_id))
        await self._follow(port_ids)

    async def _follow(self, port_ids: Sequence[str]) -> None:
        await self._spreading.follow(self._places.networks_of(port_ids))
        await self._filters.follow()
