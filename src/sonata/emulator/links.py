"""Links between PoPs: what each does to packets now, and the routes that follow from it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from sonata._lib.values import dataclass
from sonata.emulator.addressing import link_addresses
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.events import EventLog
from sonata.emulator.pops import Pops, some
from sonata.emulator.routes import Routes, Way
from sonata.emulator.routing import Routing
from sonata.errors import InvalidInput, NotFound
from sonata.model.topology import CLEAN, Impairment, Link
from sonata.ports.fabric import Fabric, LinkSpec, LinkStatus

NO_NUMBER = -1


@dataclass(frozen=True, slots=True)
class LinkState:
    """A link as it is now; `number` decides about its addresses, access links have none.

    Args:
        metric: the delay by which routes choose it, in seconds.
    """

    number: int
    link: Link
    metric: float = 0.0

    @property
    def name(self) -> str:
        """Name of the link."""
        return self.link.name

    @property
    def up(self) -> bool:
        """Whether packets may pass."""
        return self.link.up

    def address_at(self, pop: str) -> IPv4Address:
        """Its address in one of its PoPs."""
        a, b = link_addresses(self.number)
        return a.ip if pop == self.link.a else b.ip

    def spec(self) -> LinkSpec:
        """What the fabric is asked for."""
        a, b = link_addresses(self.number)
        return LinkSpec(self.name, self.link.a, self.link.b, a, b, self.link.impairment, self.link.reverse)

    def way(self) -> Way:
        """What routes are computed from."""
        addresses = (self.address_at(self.link.a), self.address_at(self.link.b))
        return Way(self.name, self.link.a, self.link.b, self.metric, addresses)


class Links:
    """The wide area of one emulation: links between its `pops`, access links of endpoints.

    Routes are shortest paths by declared delay. They are computed again when a link goes down or comes up, as an
    interior gateway protocol would; a changed delay of a running link leaves them alone, unless it is declared anew.

    `may_change` is asked before a link is changed by hand, with the link as it is and as it would be, and raises when
    something speaks against it. `on_change` is told after a link has changed, and after routes may have.
    """

    def __init__(self, plane: DataPlane, events: EventLog) -> None:
        self._plane = plane
        self._events = events
        self.pops = Pops(plane)
        self._states: dict[str, LinkState] = {}
        self._access: dict[str, LinkState] = {}
        self._guests: Mapping[IPv4Address, str] = {}
        self._leaving: set[str] = set()
        self._turn, self._rerouting = asyncio.Lock(), asyncio.Lock()
        self._routes = Routes(plane, events)
        self.may_change: Callable[[Link, Link], None] = lambda before, after: None
        self.on_change: Callable[[], Awaitable[None]] = _nobody

    def __iter__(self) -> Iterator[LinkState]:
        return iter(self._states.values())

    def all(self) -> list[LinkState]:
        """Links between PoPs and access links of endpoints."""
        return [*self._states.values(), *self._access.values()]

    @property
    def routing(self) -> Routing:
        """Shortest paths between PoPs, by their numbers."""
        return self._routes.routing

    @property
    def rerouted_at(self) -> float:
        """When routes were last computed, in Unix time."""
        return self._routes.changed_at

    @property
    def numbers(self) -> Mapping[str, int]:
        """Their numbers, by name."""
        return {state.name: state.number for state in self._states.values()}

    def get(self, name: str) -> LinkState:
        """A link by name.

        Raises:
            NotFound: no link of this name; the hint lists some that exist.
        """
        if name not in self._states:
            raise NotFound(f"no link `{name}`", hint=f"there are {some(self._states)}")
        return self._states[name]

    def find(self, name: str) -> LinkState:
        """A link by name, or the access link of an endpoint by its port.

        Raises:
            NotFound: there is neither; the hint lists some that exist.
        """
        return self._access[name] if name in self._access else self.get(name)

    def add_access(self, link: Link) -> None:
        """Let the access link of an endpoint, from its PoP, be changed and shown like a link between PoPs."""
        self._access[link.name] = LinkState(NO_NUMBER, link)

    def drop_access(self, name: str) -> None:
        """Forget the access link of an endpoint that is gone."""
        self._access.pop(name, None)

    async def add(self, links: Iterable[Link], numbers: Mapping[str, int]) -> None:
        """Create links; no route leads over them before `reroute`."""
        states = [LinkState(numbers[link.name], link, slower(link)) for link in links]
        down = [state.link for state in states if not state.up]

        def run(fabric: Fabric) -> None:
            fabric.underlay.add_links([state.spec() for state in states])
            for link in down:
                fabric.underlay.set_link(link.name, link.impairment, link.reverse, up=False)

        await self._plane.run(run)
        self._states.update({state.name: state for state in states})

    async def remove(self, names: Sequence[str]) -> None:
        """Drop links, after packets have been led elsewhere."""
        self._leaving.update(names)
        try:
            await self.reroute()
            await self._plane.run(lambda fabric: fabric.underlay.remove_links(names))
            for name in names:
                del self._states[name]
        finally:
            self._leaving.difference_update(names)

    async def reroute(self) -> None:
        """Lead packets over the shortest paths, by what is declared and up."""
        async with self._rerouting:
            usable = [state.way() for state in self if state.up and state.name not in self._leaving]
            await self._routes.follow(self.pops.numbers, usable, self._guests)
        await self.on_change()

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
            old = self.find(name).link
            new = replace(_changed(old, changes, origin), up=old.up if up is None else up)
            if not force:
                self.may_change(old, new)
            await self._put(new)
            self._tell(new, old)
            if new.up != old.up and name in self._states:
                self._states[name] = replace(self._states[name], metric=slower(new))
                await self.reroute()
            elif new != old:
                await self.on_change()

    async def declare(self, links: Iterable[Link]) -> None:
        """Have links as they are declared now, their delays for routes included; those follow with `reroute`."""
        async with self._turn:
            for link in links:
                old = self.find(link.name).link
                if link != old:
                    await self._put(link)
                    self._tell(link, old)
                if link.name in self._states:
                    self._states[link.name] = replace(self._states[link.name], metric=slower(link))
            await self.on_change()

    async def _put(self, link: Link) -> None:
        """Change a link, or an access link, in the data plane."""
        known = self._access if link.name in self._access else self._states
        await self._plane.run(
            lambda fabric: fabric.underlay.set_link(link.name, link.impairment, link.reverse, up=link.up)
        )
        known[link.name] = replace(known[link.name], link=link)

    def _tell(self, new: Link, old: Link) -> None:
        if new != old:
            self._events.tell("link.changed", new.name, **_shown(new), was=_shown(old))

    async def route_guests(self, guests: Mapping[IPv4Address, str]) -> None:
        """Make these the addresses that are in other PoPs than their network says, with the PoP of each."""
        self._guests = dict(guests)
        await self.reroute()

    def reaches(self, a: str, b: str) -> bool:
        """Whether a path of links that are up leads from one PoP to another."""
        return a == b or self.routing.path(self.pops.number_of(a), self.pops.number_of(b)) is not None


async def _nobody() -> None:
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


def _shown(link: Link) -> dict[str, Impairment | float | None]:
    return {"impairment": link.impairment, "reverse": link.reverse, "up": link.up, "price": link.price}


def checked(impairment: Impairment) -> Impairment:
    """The impairment itself when its values are possible.

    Raises:
        InvalidInput: naming every value that is not.
    """
    if flaws := list(impairment.flaws()):
        raise InvalidInput(f"impossible link: {'; '.join(flaw.why for flaw in flaws)}")
    return impairment
