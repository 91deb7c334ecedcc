"""Changing a running emulation into another topology: the difference alone, one change after another.

What is new comes before what it replaces goes, and routes lead around links that are about to go: packets that have
nothing to do with the difference pass all the time. After each change the emulation's topology tells what is true, so
that a failure half-way leaves a topology from which the same request goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import TypeVar

from sonata.emulator.definition import adopting
from sonata.emulator.emulation import Emulation
from sonata.emulator.feasibility import Feasibility
from sonata.emulator.numbering import Numbers, all_numbered
from sonata.errors import Conflict, SonataError
from sonata.model.topology import Endpoint, Link, Pop, ServerSeed, Topology
from sonata.model.topology_changes import Action, Change, Kind, applied, diff

P = TypeVar("P")
Step = Callable[[Sequence[Change], Numbers], Awaitable[None]]

_REROUTES = frozenset(((Action.ADD, Kind.POP), (Action.ADD, Kind.LINK), (Action.CHANGE, Kind.LINK)))
"""After these, routes are computed: once for all that follow one another."""
_PAST = {Action.ADD: "added", Action.REMOVE: "removed", Action.CHANGE: "changed"}


class Reconciler:
    """Changes one emulation, one request at a time.

    `on_change` is told after each request that has changed something, also when it failed half-way.
    """

    def __init__(self, emulation: Emulation) -> None:
        self._emulation = emulation
        self._turn = asyncio.Lock()
        self.on_change: Callable[[], None] = lambda: None
        self._steps: Mapping[tuple[Action, Kind], Step] = {
            (Action.REMOVE, Kind.SERVER): self._remove_servers,
            (Action.REMOVE, Kind.ENDPOINT): self._remove_endpoints,
            (Action.CHANGE, Kind.POP): self._change_pops,
            (Action.ADD, Kind.POP): self._add_pops,
            (Action.ADD, Kind.LINK): self._add_links,
            (Action.CHANGE, Kind.LINK): self._change_links,
            (Action.REMOVE, Kind.LINK): self._remove_links,
            (Action.REMOVE, Kind.POP): self._remove_pops,
            (Action.CHANGE, Kind.ENDPOINT): self._change_endpoints,
            (Action.ADD, Kind.ENDPOINT): self._add_endpoints,
            (Action.ADD, Kind.SERVER): self._add_servers,
        }

    def plan(self, wanted: Topology) -> tuple[Change, ...]:
        """What would be done to come to this topology.

        Raises:
            Conflict: it cannot be done while the emulation runs; with all reasons.
        """
        plan = diff(adopting(self._emulation, wanted), wanted)
        numbers = all_numbered(wanted, self._emulation.numbers)
        if reasons := list(Feasibility(self._emulation, wanted, plan, numbers).refusals()):
            raise Conflict(
                f"the running emulation cannot become this topology: {'; '.join(reasons)}",
                hint="nothing was changed; change the file, or take the emulation `down` and up again",
            )
        return plan

    async def apply(self, wanted: Topology) -> tuple[Change, ...]:
        """Make the emulation this topology; returns what was done.

        Raises:
            Conflict: it cannot be done while the emulation runs; nothing was changed then.
            SonataError: something failed half-way: `topology` of the emulation tells what is true, and the same request
                goes on from there.
        """
        async with self._turn:
            running, plan = adopting(self._emulation, wanted), self.plan(wanted)
            numbers = all_numbered(wanted, self._emulation.numbers)
            self._emulation.topology = running
            try:
                await self._carry_out(plan, numbers)
                self._emulation.topology = wanted  # the same, in the order of the file
            except SonataError as error:
                self._emulation.events.tell("topology.failed", wanted.name, reason=error.message)
                raise
            finally:
                self._emulation.numbers_changed()
                self.on_change()
            if plan:
                self._emulation.events.tell("topology.changed", wanted.name, changes=len(plan))
            return plan

    async def _carry_out(self, plan: Sequence[Change], numbers: Numbers) -> None:
        is_stale = False
        try:
            for key, group in groupby(plan, key=lambda change: (change.action, change.kind)):
                if is_stale and key not in _REROUTES:
                    is_stale = False
                    await self._emulation.links.reroute()
                is_stale = is_stale or key in _REROUTES
                await self._steps[key](list(group), numbers)
        finally:
            if is_stale:
                await self._emulation.links.reroute()

    def _note(self, change: Change) -> None:
        """Let a change be true for everybody; servers and links that change tell of themselves."""
        self._emulation.topology = applied(self._emulation.topology, change)

    def _tell(self, change: Change) -> None:
        self._note(change)
        self._emulation.events.tell(f"{change.kind}.{_PAST[change.action]}", change.name, **_shown(change))

    async def _remove_servers(self, changes: Sequence[Change], _numbers: Numbers) -> None:
        for change in changes:
            for seed in _parts([change.before], ServerSeed):
                await self._emulation.sites.of(seed.pop).seeds.remove(seed.name)
            self._note(change)

    async def _remove_endpoints(self, changes: Sequence[Change], _numbers: Numbers) -> None:
        for change in changes:
            await self._emulation.roaming.send_home(name=change.name)
            await self._emulation.endpoints.remove(change.name)
            self._tell(change)
        self._outlets_changed(change.before for change in changes)

    async def _change_pops(self, changes: Sequence[Change], _numbers: Numbers) -> None:
        for change in changes:
            self._tell(change)
        topology = self._emulation.topology
        self._emulation.sites.follow({topology.site_of(change.name) for change in changes})
        self._emulation.roaming.forget_cells()
        await self._emulation.resources.follow()

    async def _add_pops(self, changes: Sequence[Change], numbers: Numbers) -> None:
        await self._emulation.links.pops.add({change.name: numbers.pops[change.name] for change in changes})
        sites = self._emulation.sites
        for change in changes:
            self._note(change)
            for pop in _parts([change.after], Pop):
                if pop.managed_by:
                    sites.follow([pop.managed_by])
                else:
                    cloud = sites.open(pop)
                    sites.remember_one(pop.name, cloud)
                    await cloud.endpoints_started()
            self._tell(change)
        await self._emulation.resources.follow()

    async def _add_links(self, changes: Sequence[Change], numbers: Numbers) -> None:
        await self._emulation.links.add(_parts((change.after for change in changes), Link), numbers.links)
        for change in changes:
            self._tell(change)

    async def _change_links(self, changes: Sequence[Change], _numbers: Numbers) -> None:
        for change in changes:
            await self._emulation.links.declare(_parts([change.after], Link))
            self._note(change)

    async def _remove_links(self, changes: Sequence[Change], _numbers: Numbers) -> None:
        await self._emulation.links.remove([change.name for change in changes])
        for change in changes:
            self._tell(change)

    async def _remove_pops(self, changes: Sequence[Change], _numbers: Numbers) -> None:
        for change in changes:
            for pop in _parts([change.before], Pop):
                await self._emulation.roaming.send_home(out_of=pop.name)
                await self._empty(pop)
                await self._emulation.management.forget(pop.name)
                await self._emulation.links.pops.remove([pop.name])
            self._tell(change)
        await self._emulation.resources.follow()

    async def _empty(self, pop: Pop) -> None:
        """Take out of a PoP whatever its cloud has there."""
        sites, manager = self._emulation.sites, pop.managed_by
        if not manager:
            await self._emulation.wan.forget(pop.name)
            await sites.shut(pop.name)
            return
        await sites.clouds[manager].evict({host.name for host in pop.hypervisors})
        self._note(Change(Action.REMOVE, Kind.POP, pop))
        sites.follow([manager])

    async def _change_endpoints(self, changes: Sequence[Change], _numbers: Numbers) -> None:
        for change in changes:
            for endpoint in _parts([change.after], Endpoint):
                await self._emulation.endpoints.declare(endpoint)
            self._note(change)

    async def _add_endpoints(self, changes: Sequence[Change], numbers: Numbers) -> None:
        endpoints = self._emulation.endpoints
        self._emulation.sites.give_up_addresses(numbers.endpoints)
        try:
            await endpoints.add(_parts((change.after for change in changes), Endpoint), numbers.endpoints)
        finally:
            for change in changes:
                if endpoints.find(change.name):
                    self._tell(change)
            self._outlets_changed(change.after for change in changes)

    async def _add_servers(self, changes: Sequence[Change], _numbers: Numbers) -> None:
        failed = await self._emulation.sites.boot(_parts((change.after for change in changes), ServerSeed))
        for change in changes:
            if change.name not in failed:
                self._note(change)
        for failure in failed.values():
            raise failure

    def _outlets_changed(self, parts: Iterable[object]) -> None:
        """Let clouds know the outlets that have come or gone with endpoints."""
        topology = self._emulation.topology
        pops = {endpoint.attach for endpoint in _parts(parts, Endpoint) if endpoint.interfaces}
        self._emulation.sites.follow({topology.site_of(pop) for pop in pops})


def _parts(parts: Iterable[object], kind: type[P]) -> list[P]:
    return [part for part in parts if isinstance(part, kind)]


def _shown(change: Change) -> dict[str, object]:
    """What an event tells of a change: the part, or its new attributes and below `was` the former ones."""
    if change.action is Action.CHANGE:
        new, old = ({name: getattr(part, name) for name in change.differing} for part in (change.after, change.before))
        return {**new, "was": old}
    part = change.after or change.before
    if isinstance(part, Link):
        return {name: getattr(part, name) for name in ("a", "b", "impairment", "reverse", "up", "price")}
    if isinstance(part, Endpoint):
        return {"pop": part.attach, "image": part.image}
    return {"managed_by": part.managed_by} if isinstance(part, Pop) else {}
