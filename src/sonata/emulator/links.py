"""Links between PoPs: what each does to packets now, and the routes that follow from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from sonata.emulator.addressing import external_network, link_addresses, router_address
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.events import EventLog
from sonata.emulator.routing import Edge, Routing, prefixes
from sonata.errors import InvalidInput, NotFound
from sonata.model.topology import CLEAN, Impairment, Link, Topology
from sonata.ports.fabric import Fabric, LinkSpec, LinkStatus, PopSpec

MAX_DELAY_S = 10.0
NO_NUMBER = -1


@dataclass(frozen=True, slots=True)
class LinkState:
    """A link as it is now; `number` decides about its addresses, access links have none."""

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
        return LinkSpec(self.name, self.link.a, self.link.b, a, b, self.link.impairment, self.link.reverse)


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
        self._access: dict[str, LinkState] = {}
        self._turn = asyncio.Lock()
        self._routes: dict[str, dict[IPv4Network, IPv4Address]] = {}
        self._guests: Mapping[IPv4Address, str] = {}
        self._metrics = {link.name: slower(link) for link in topology.links}
        self.routing = Routing(0, ())
        self.rerouted_at = time.time()
        self.may_change: Callable[[LinkState, Link], None] = lambda state, link: None
        self.on_change: Callable[[], Awaitable[None]] = _nothing

    def __iter__(self) -> Iterator[LinkState]:
        return iter(self._states.values())

    def all(self) -> list[LinkState]:
        """Links between PoPs and access links of endpoints."""
        return [*self._states.values(), *self._access.values()]

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

    def find(self, name: str) -> LinkState:
        """A link by name, or the access link of an endpoint by its port.

        Raises:
            NotFound: there is neither; the hint lists some that exist.
        """
        return self._access[name] if name in self._access else self.get(name)

    def add_access(self, link: Link) -> None:
        """Let the access link of an endpoint, from its PoP, be changed and shown like a link between PoPs."""
        standing = self._access.get(link.name)
        self._access[link.name] = LinkState(NO_NUMBER, link, up=standing.up if standing else True)

    async def bring_up(self) -> None:
        """Create PoPs, links and routes."""
        pops = [PopSpec(pop, router_address(network)) for pop, network in zip(self._pops, self._networks, strict=True)]
        specs = [state.spec() for state in self._states.values()]
        await self._plane.run(lambda fabric: fabric.underlay.add_pops(pops))
        await self._plane.run(lambda fabric: fabric.underlay.add_links(specs))
        await self._apply_routes()

    async def status(self) -> Sequence[LinkStatus]:
        """What the links, and the access links of endpoints, really do, by name."""
        impaired = await self._plane.run(lambda fabric: fabric.underlay.link_status())
        known = {status.name for status in impaired}
        plain = [LinkStatus(name, CLEAN, "veth", True) for name in self._access if name not in known]
        return sorted([*impaired, *plain], key=lambda status: status.name)

    async def set(
        self,
        name: str,
        changes: Mapping[str, float | None],
        *,
        origin: str | None = None,
        up: bool | None = None,
        force: bool = False,
    ) -> None:
        """Change a link while packets flow.

        Args:
            name: of the link, or of an endpoint's access link.
            changes: new values of fields of its `Impairment`; others stay.
            origin: the end whose packets alone are meant; None for both directions.
            up: whether packets may pass; None leaves it.
            force: also when connections have more reserved than is left then.

        Raises:
            NotFound: no such link, or it has no such end.
            Conflict: connections have more reserved.
            InvalidInput: a value out of range.
        """
        async with self._turn:
            old = self.find(name)
            link = _changed(old.link, changes, origin)
            if not force:
                self.may_change(old, link)
            new = replace(old, link=link, up=old.up if up is None else up)
            await self._plane.run(
                lambda fabric: fabric.underlay.set_link(name, link.impairment, link.reverse, up=new.up)
            )
            if name in self._access:
                self._access[name] = new
            else:
                await self._put(new, old)
        if new != old:
            self._events.tell("link.changed", name, **_shown(new), was=_shown(old))
            await self.on_change()

    async def _put(self, new: LinkState, old: LinkState) -> None:
        self._states[new.name] = new
        if new.up != old.up:
            self._metrics[new.name] = slower(new.link)
            await self._apply_routes()

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

    async def route_guests(self, guests: Mapping[IPv4Address, str]) -> None:
        """Make these the addresses that are in other PoPs than their network says, with the PoP of each."""
        async with self._turn:
            self._guests = dict(guests)
            await self._apply_routes()

    def reaches(self, a: str, b: str) -> bool:
        """Whether a path of links that are up leads from one PoP to another."""
        return a == b or self.routing.path(self.number_of(a), self.number_of(b)) is not None

    def _changed_routes(self) -> dict[str, dict[IPv4Network, IPv4Address]]:
        wanted = {pop: self._routes_of(number) for number, pop in enumerate(self._pops)}
        return {pop: routes for pop, routes in wanted.items() if routes != self._routes.get(pop, {})}

    def _routes_of(self, number: int) -> dict[IPv4Network, IPv4Address]:
        hops = self.routing.next_hops(number)
        gateways = {hop: self._gateway(number, hop) for hop in set(hops) if hop >= 0}
        guests = {address: hops[self._numbers[pop]] for address, pop in self._guests.items()}
        roaming = {IPv4Network(address): gateways[hop] for address, hop in guests.items() if hop in gateways}
        return prefixes(hops, number, self._networks, gateways) | roaming

    def _gateway(self, number: int, hop: int) -> IPv4Address:
        return self._states[self.routing.edge_between(number, hop).name].address_at(self._pops[hop])


async def _nothing() -> None:
    pass


def slower(link: Link) -> float:
    """Delay of a link in the direction that takes longer, in seconds."""
    return max(direction.delay_s for direction in link.directions)


def _changed(link: Link, changes: Mapping[str, float | None], origin: str | None) -> Link:
    """A link with other values, in one direction or in both."""
    if origin not in (None, link.a, link.b):
        raise NotFound(f"link `{link.name}` has no end `{origin}`", hint=f"it joins `{link.a}` and `{link.b}`")
    there, back = (
        checked(replace(one, **changes)) if origin in (None, end) else one  # type: ignore[arg-type]
        for one, end in zip(link.directions, (link.a, link.b), strict=True)
    )
    return replace(link, impairment=there, reverse=None if back == there else back)


def _shown(state: LinkState) -> dict[str, Impairment | bool | None]:
    return {"impairment": state.link.impairment, "reverse": state.link.reverse, "up": state.up}


def checked(impairment: Impairment) -> Impairment:
    """The impairment itself when its values are possible.

    Raises:
        InvalidInput: naming every value that is not.
    """
    wrong = [
        (not 0 <= impairment.delay_s <= MAX_DELAY_S, f"delay must be 0 to {MAX_DELAY_S:g} s"),
        (not 0 <= impairment.jitter_s <= impairment.delay_s, "jitter must be 0 to the delay"),
        (not 0 <= impairment.loss <= 1, "loss must be 0 to 100 %"),
        (not 0 <= impairment.duplicate <= 1, "duplicate must be 0 to 100 %"),
        (not 0 <= impairment.reorder <= 1, "reorder must be 0 to 100 %"),
        (impairment.reorder > 0 and not impairment.delay_s, "reorder needs a delay that packets can go without"),
        (impairment.rate_bps is not None and not impairment.rate_bps >= 8000, "rate must be at least 8 kbit/s"),
    ]
    if problems := [text for is_wrong, text in wrong if is_wrong]:
        raise InvalidInput(f"impossible link: {'; '.join(problems)}")
    return impairment


def _some(names: Iterable[str], limit: int = 10) -> str:
    listed = list(names)
    shown = ", ".join(f"`{name}`" for name in listed[:limit]) or "none"
    return shown if len(listed) <= limit else f"{shown} and {len(listed) - limit} more"
