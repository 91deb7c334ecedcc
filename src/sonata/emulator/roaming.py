"""Endpoints that move from cell to cell: they keep their addresses, and the wide area learns where they are.

An endpoint's address belongs to the external network of the PoP that the topology attaches it to. Elsewhere it is a
guest: the PoP there forwards for it, routes of all others lead there, and routers on either external network answer for
whom is on the other side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import IPv4Address

from sonata.emulator.data_plane import DataPlane
from sonata.emulator.endpoints import Endpoints, EndpointState
from sonata.emulator.events import EventLog
from sonata.emulator.links import Links
from sonata.errors import Conflict, NotFound
from sonata.model.topology import Topology
from sonata.ports.fabric import Fabric


class Roaming:
    """Moves the endpoints of one emulation."""

    def __init__(
        self, topology: Callable[[], Topology], links: Links, endpoints: Endpoints, plane: DataPlane, events: EventLog
    ) -> None:
        self._topology = topology
        self._links = links
        self._endpoints = endpoints
        self._plane = plane
        self._events = events
        self._turn = asyncio.Lock()

    def check(self, name: str, to: str) -> None:
        """Look whether an endpoint, and a place to which it could move, are there.

        Raises:
            NotFound, Conflict: as `move`.
        """
        self._named(name)
        self._place(to)

    async def move(self, name: str, to: str) -> str:
        """Attach an endpoint to another cell or PoP; its address and connections live on. Idempotent.

        Args:
            name: of the endpoint.
            to: name of a cell, or of a PoP for none of its cells.

        Returns:
            Where it was.

        Raises:
            NotFound: there is no such endpoint, cell or PoP.
            Conflict: several PoPs have a cell of this name, or the endpoint has further interfaces into its PoP.
        """
        state = self._named(name)
        pop, cell = self._place(to)
        async with self._turn:
            before = {"pop": state.endpoint.attach, "cell": state.cell}
            if pop != state.endpoint.attach:
                _require_free(state)
                await self._carry(state, pop)
            state.cell = cell
        after = {"pop": pop, "cell": cell}
        if after != before:
            self._events.tell("endpoint.moved", name, **after, was=before)
        return before["cell"] or before["pop"]

    async def send_home(self, *, out_of: str = "", name: str = "") -> None:
        """Have an endpoint, or all that are in a PoP which is about to go, where the topology attaches them."""
        for state in tuple(self._endpoints):
            roams = state.endpoint.attach != state.home
            if roams and (state.endpoint.attach == out_of or state.endpoint.name == name):
                await self.move(state.endpoint.name, state.home)

    def forget_cells(self) -> None:
        """Have no endpoint in a cell that its PoP does not have any more."""
        pops = self._topology().pops
        for state in self._endpoints:
            if state.cell and state.cell not in pops[state.endpoint.attach].cells:
                state.cell = ""

    def _named(self, name: str) -> EndpointState:
        state = self._endpoints.find(name)
        if state is None:
            raise NotFound(f"no endpoint `{name}`", hint="see `sonata emu endpoint ls`")
        return state

    def _place(self, to: str) -> tuple[str, str]:
        """PoP and cell that a name means."""
        pops = self._topology().pops
        if to in pops:
            return to, ""
        found = [pop.name for pop in pops.values() if to in pop.cells]
        if len(found) > 1:
            raise Conflict(f"cell `{to}` is in several PoPs", hint=f"name the PoP: {', '.join(found)}")
        if not found:
            cells = sorted({cell for pop in pops.values() for cell in pop.cells})
            raise NotFound(f"no cell or PoP `{to}`", hint=f"cells are {', '.join(cells[:10]) or 'none'}")
        return found[0], to

    async def _carry(self, state: EndpointState, pop: str) -> None:
        before = state.endpoint.attach
        await self._endpoints.attach(state, pop)
        guests = {
            one.address.ip: (one.endpoint.attach, one.port_id)
            for one in self._endpoints
            if one.endpoint.attach != one.home
        }
        homes = {one.home for one in self._endpoints if one.endpoint.attach != one.home}

        def settle(fabric: Fabric) -> None:
            for place in {before, pop, state.home}:
                here: dict[IPv4Address, str] = {ip: port for ip, (at, port) in guests.items() if at == place}
                fabric.underlay.set_guests(place, here, answers=bool(here) or place in homes)

        await self._plane.run(settle)
        await self._links.route_guests({ip: at for ip, (at, _) in guests.items()})


def _require_free(state: EndpointState) -> None:
    if state.endpoint.interfaces:
        raise Conflict(
            f"endpoint `{state.endpoint.name}` has further interfaces, which lead into `{state.endpoint.attach}`",
            hint="only endpoints with `eth0` alone move between PoPs",
        )
