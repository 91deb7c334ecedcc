"""Reservations as the data plane holds them: only what differs is told to it."""

from __future__ import annotations

from sonata.emulator.data_plane import DataPlane
from sonata.emulator.reservations import Shares
from sonata.ports.fabric import Fabric, Reservation

_Share = tuple[dict[int, Reservation], dict[int, Reservation]]


class Holding:
    """What is held of the links of one emulation."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._held: dict[str, _Share | None] = {}

    async def hold(self, shares: Shares) -> None:
        """Keep this much of links free, and nothing of others.

        Raises:
            SonataError: the data plane could not; what it did not come to is made up for by the next call.
        """
        nothing: _Share = ({}, {})
        wanted = {name: shares.get(name, nothing) for name in {**self._held, **shares}}
        changed = {name: share for name, share in wanted.items() if share != self._held.get(name, nothing)}

        def run(fabric: Fabric) -> None:
            for name, share in changed.items():
                self._held[name] = None  # not known, should this fail
                fabric.underlay.reserve(name, *share)
                self._held[name] = share

        if changed:
            await self._plane.run(run)
        self._held = {name: share for name, share in self._held.items() if share != nothing}
