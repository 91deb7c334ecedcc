"""Links between PoPs: what each does to packets now, and the routes that follow from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from sonata.emulator.addressing import external_network, link_addresses, router_address
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.events import EventLog
from sonata.emulator.routing import Edge, Routing, prefixes
from sonata.errors import Conflict, InvalidInput, NotFound
from sonata.model.topology import Impairment, Link, Topology
from sonata.ports.fabric import Fabric, LinkSpec, LinkStatus, PopSpec

MAX_DELAY_S = 10.0


@dataclass(frozen=True, slots=True)
class LinkState:
    """A link as it is now; `number` decides about its addresses."""

    number: int
    link: Link
    up: bool = True

    @property
    def name(self) -> str:
        """Name of the link."""
        return self.link.name

    def address_at(self, pop: str) -> IPv4Address:
        """Its address in one of its PoPs."""
        a, b = link_addresses(self.number)
        return a.ip if pop == self.link.a else b.ip

    def spec(self) -> LinkSpec:
        """What the fabric is asked for."""
        a, b = link_addresses(self.number)
        return LinkSpec(self.name, self.link.a, self.link.b, a, b, self.link.impairment)


class Links:
    """The wide area of one emulation.

    Routes are shortest paths by declared delay. They are computed again when a link goes down or comes up, as an
    interior gateway protocol would; a changed delay of a running link leaves them alone.
    """

    def __init__(self, topology: Topology, plane: DataPlane, events: EventLog) -> None:
        self._plane = plane
        self._events = events
        self._pops = list(topology.pops)
        self._numbers = {name: number for number, name in enumerate(self._pops)}
        self._networks = [external_network(number) for number in range(len(self._pops))]
        self._states = {link.name: LinkState(number, link) for number, link in enumerate(topology.links)}
        self._access: set[str] = set()
        self._turn = asyncio.Lock()
        self._routes: dict[str, dict[IPv4Network, IPv4Address]] = {}
        self._metrics = {link.name: link.impairment.delay_s for link in topology.links}
        self.routing = Routing(0, ())
        self.rerouted_at = time.time()

    def __iter__(self) -> Iterator[LinkState]:
        return iter(self._states.values())

    @property
    def pops(self) -> Sequence[str]:
        """Names of the PoPs, by number."""
        return self._pops

    def external_of(self, pop: str) -> IPv4Network:
        """External network of a PoP."""
        return self._networks[self.number_of(pop)]

    def number_of(self, pop: str) -> int:
        """Number of a PoP.

        Raises:
            NotFound: no PoP of this name; the hint lists some that exist.
        """
        if pop not in self._numbers:
            raise NotFound(f"no PoP `{pop}`", hint=f"there are {_some(self._pops)}")
        return self._numbers[pop]

    def get(self, name: str) -> LinkState:
        """A link by name.

        Raises:
            NotFound: no link of this name; the hint lists some that exist.
        """
        if name not in self._states:
            raise NotFound(f"no link `{name}`", hint=f"there are {_some(self._states)}")
        return self._states[name]

    def between(self, a: str, b: str) -> LinkState:
        """The link between two PoPs, in either order.

        Raises:
            NotFound: there is none.
            Conflict: there are several; the hint names them.
        """
        found = [state for state in self._states.values() if {state.link.a, state.link.b} == {a, b}]
        if not found:
            raise NotFound(f"no link between `{a}` and `{b}`", hint=f"links are {_some(self._states)}")
        if len(found) > 1:
            names = ", ".join(state.name for state in found)
            raise Conflict(f"several links join `{a}` and `{b}`", hint=f"use a name: {names}")
        return found[0]

    def watch_access(self, port_id: str) -> None:
        """Let the access link of an impaired port be changed and shown like a link."""
        self._access.add(port_id)

    async def bring_up(self) -> None:
        """Create PoPs, links and routes."""
        pops = [PopSpec(pop, router_address(network)) for pop, network in zip(self._pops, self._networks, strict=True)]
        specs = [state.spec() for state in self._states.values()]
        await self._plane.run(lambda fabric: fabric.underlay.add_pops(pops))
        await self._plane.run(lambda fabric: fabric.underlay.add_links(specs))
        await self._apply_routes()

    async def status(self) -> Sequence[LinkStatus]:
        """What the links, and the impaired access links, really do."""
        return await self._plane.run(lambda fabric: fabric.underlay.link_status())

    async def set(self, name: str, changes: Mapping[str, float | None], *, up: bool | None = None) -> None:
        """Change a link while packets flow.

        Args:
            name: of the link, or id of the port of an impaired access link.
            changes: new values of fields of its `Impairment`; others stay.
            up: whether packets may pass; None leaves it.

        Raises:
            NotFound: no such link.
            InvalidInput: a value out of range.
        """
        async with self._turn:
            if name in self._access:
                await self._set_access(name, changes, up)
                return
            old = self.get(name)
            impairment = checked(replace(old.link.impairment, **changes))  # type: ignore[arg-type]
            new = replace(old, link=replace(old.link, impairment=impairment), up=old.up if up is None else up)
            await self._plane.run(lambda fabric: fabric.underlay.set_link(name, impairment, up=new.up))
            self._states[name] = new
            if new.up != old.up:
                self._metrics[name] = impairment.delay_s
                await self._apply_routes()
            self._tell(name, (old.link.impairment, old.up), (impairment, new.up))

    async def _set_access(self, port_id: str, changes: Mapping[str, float | None], up: bool | None) -> None:
        status = next(status for status in await self.status() if status.name == port_id)
        impairment = checked(replace(status.impairment, **changes))  # type: ignore[arg-type]
        is_up = status.up if up is None else up
        await self._plane.run(lambda fabric: fabric.underlay.set_link(port_id, impairment, up=is_up))
        self._tell(port_id, (status.impairment, status.up), (impairment, is_up))

    def _tell(self, name: str, before: tuple[Impairment, bool], after: tuple[Impairment, bool]) -> None:
        if before != after:
            was = {"impairment": before[0], "up": before[1]}
            self._events.tell("link.changed", name, impairment=after[0], up=after[1], was=was)

    def _compute(self) -> Routing:
        usable = [
            Edge(state.name, self._numbers[state.link.a], self._numbers[state.link.b], self._metrics[state.name])
            for state in self._states.values()
            if state.up
        ]
        return Routing(len(self._pops), usable)

    async def _apply_routes(self) -> None:
        self.routing = await asyncio.to_thread(self._compute)
        changed = await asyncio.to_thread(self._changed_routes)

        def apply(fabric: Fabric) -> None:
            for pop, routes in changed.items():
                fabric.underlay.set_routes(pop, routes)

        await self._plane.run(apply)
        self._routes.update(changed)
        self.rerouted_at = time.time()
        if changed:
            self._events.tell("routes.changed", "", pops=sorted(changed))

    def reaches(self, a: str, b: str) -> bool:
        """Whether a path of links that are up leads from one PoP to another."""
        return a == b or self.routing.path(self.number_of(a), self.number_of(b)) is not None

    def _changed_routes(self) -> dict[str, dict[IPv4Network, IPv4Address]]:
        wanted = {pop: self._routes_of(number) for number, pop in enumerate(self._pops)}
        return {pop: routes for pop, routes in wanted.items() if routes != self._routes.get(pop, {})}

    def _routes_of(self, number: int) -> dict[IPv4Network, IPv4Address]:
        hops = self.routing.next_hops(number)
        gateways = {hop: self._gateway(number, hop) for hop in set(hops) if hop >= 0}
        return prefixes(hops, number, self._networks, gateways)

    def _gateway(self, number: int, hop: int) -> IPv4Address:
        return self._states[self.routing.edge_between(number, hop).name].address_at(self._pops[hop])


def checked(impairment: Impairment) -> Impairment:
    """The impairment itself when its values are possible.

    Raises:
        InvalidInput: naming every value that is not.
    """
    wrong = [
        (not 0 <= impairment.delay_s <= MAX_DELAY_S, f"delay must be 0 to {MAX_DELAY_S:g} s"),
        (not 0 <= impairment.jitter_s <= impairment.delay_s, "jitter must be 0 to the delay"),
        (not 0 <= impairment.loss <= 1, "loss must be 0 to 100 %"),
        (impairment.rate_bps is not None and not impairment.rate_bps >= 1000, "rate must be at least 1 kbit/s"),
    ]
    if problems := [text for is_wrong, text in wrong if is_wrong]:
        raise InvalidInput(f"impossible link: {'; '.join(problems)}")
    return impairment


def _some(names: Iterable[str], limit: int = 10) -> str:
    listed = list(names)
    shown = ", ".join(f"`{name}`" for name in listed[:limit]) or "none"
    return shown if len(listed) <= limit else f"{shown} and {len(listed) - limit} more"
