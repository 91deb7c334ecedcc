"""What a scenario does to an emulation, step by step, and how each step is undone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any

from sonata._lib.values import dataclass
from sonata.emulator.cloud.compute.states import RUNS, power_state
from sonata.emulator.emulation import Emulation
from sonata.errors import AdapterError, Conflict, NotFound, SonataError
from sonata.model.scenario import Action, Step
from sonata.ports.disturbance import Disturber

Undo = Callable[[], Awaitable[None]]

_COMMAND_OUTPUT = 2000
"""How much of what a command printed is told, from its end."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a step did.

    Args:
        step: the step with all names as they are known here.
        undo: takes it back; None where that cannot be.
        told: what there is to tell of it.
    """

    step: Step
    undo: Undo | None = None
    told: Mapping[str, Any] = field(default_factory=dict)


class Disruptions:
    """Carries out the steps of scenarios in one emulation."""

    def __init__(self, emulation: Emulation, disturber: Disturber) -> None:
        self._emulation = emulation
        self._disturber = disturber
        self._actions: Mapping[Action, Callable[[Step], Awaitable[Done]]] = {
            "link": self._link,
            "pop": self._pop,
            "crash": self._crash,
            "hog": self._hog,
            "move": self._move,
            "run": self._run,
        }

    async def carry_out(self, step: Step) -> Done:
        """Do what a step says.

        Raises:
            SonataError: it cannot be done; nothing has changed.
        """
        return await self._actions[step.action](step)

    def check(self, step: Step) -> None:
        """Look whether what a step names is there; servers may still come.

        Raises:
            NotFound: it is not.
        """
        if step.action == "link":
            self._named_link(step.target)
        elif step.action == "pop":
            self._emulation.links.pops.number_of(step.target)
        elif step.action == "move":
            self._emulation.roaming.check(step.target, step.to)
        elif "/" not in step.target and not self._emulation.endpoints.find(step.target):
            raise NotFound(f"no endpoint `{step.target}`", hint="name a server as `POP/SERVER`")

    async def _link(self, step: Step) -> Done:
        links = self._emulation.links
        before = links.find(self._named_link(step.target))
        await links.set(before.name, step.changes, origin=step.origin or None, up=step.up, force=True)

        async def undo() -> None:
            for end, was in zip((before.link.a, before.link.b), before.link.directions, strict=True):
                if step.origin in ("", end):
                    values = {name: getattr(was, name) for name in step.changes}
                    was_up = before.up if step.up is not None else None
                    await links.set(before.name, values, origin=end, up=was_up, force=True)

        return Done(replace(step, target=before.name), undo)

    async def _pop(self, step: Step) -> Done:
        links = self._emulation.links
        attached = [state for state in links.all() if step.target in (state.link.a, state.link.b)]
        changed = [state for state in attached if state.up != bool(step.up)]
        if not step.up:
            await self._cut_power(step.target)
        for state in changed:
            await links.set(state.name, {}, up=bool(step.up))

        async def undo() -> None:
            for state in changed:
                await links.set(state.name, {}, up=state.up)

        return Done(step, undo, {"links": [state.name for state in changed]})

    async def _cut_power(self, pop: str) -> None:
        """Kill all servers of a PoP at once; they are off until somebody starts them."""
        cloud = self._emulation.sites.of(pop)
        hit = [server for server in cloud.tables.servers if cloud.site.pop_of(server.host).name == pop]
        running = [server for server in hit if power_state(server) == RUNS]
        await asyncio.gather(*(self._kill(f"{cloud.site.pop.name}/{server.id}") for server in running))

    async def _crash(self, step: Step) -> Done:
        await self._kill(step.target)
        return Done(step)

    async def _kill(self, machine: str) -> None:
        await self._disturber.kill(self._pid_of(machine))

    def _pid_of(self, machine: str) -> int:
        """The first process of a machine.

        Raises:
            NotFound: there is no such machine, or no program in it.
        """
        if endpoint := self._emulation.endpoints.find(machine):
            return self._emulation.runtime.pid_of(endpoint.machine)
        cloud, server = self._emulation.server_of(machine)
        return self._emulation.runtime.pid_of(cloud.wiring.machine_id(server.id))

    async def _hog(self, step: Step) -> Done:
        await self._wake(step.target)
        pid = self._pid_of(step.target)
        burden = await self._disturber.burden(pid, cpus=step.cpus, memory_bytes=step.memory_bytes)
        return Done(step, burden.take_away)

    async def _wake(self, machine: str) -> None:
        """Start the machine of whom nobody has used yet, so that there are limits within which it is burdened."""
        endpoint = self._emulation.endpoints.find(machine)
        if endpoint and endpoint.status == "idle":
            await self._emulation.endpoints.woken(endpoint)
        elif not endpoint:
            cloud, server = self._emulation.server_of(machine)
            await cloud.servers.power.wake(server)

    async def _move(self, step: Step) -> Done:
        before = await self._emulation.roaming.move(step.target, step.to)

        async def undo() -> None:
            await self._emulation.roaming.move(step.target, before)

        return Done(step, undo)

    async def _run(self, step: Step) -> Done:
        status, out, err = await self._emulation.exec(step.target, step.command)
        told = {"status": status, "stdout": _tail(out), "stderr": _tail(err)}
        if status:
            raise AdapterError(f"`{step.command[0]}` in `{step.target}` ended with status {status}: {told['stderr']}")
        return Done(step, told=told)

    def _named_link(self, target: str) -> str:
        """Name of a link that is given by its name, or by its ends as `A|B`."""
        a, bar, b = target.partition("|")
        links = self._emulation.links
        if not bar:
            return links.find(target).name
        found = [state.name for state in links.all() if {state.link.a, state.link.b} == {a, b}]
        if len(found) != 1:
            raise (Conflict if found else NotFound)(f"{len(found) or 'no'} links join `{a}` and `{b}`")
        return found[0]


def flaws_of(disruptions: Disruptions, steps: tuple[Step, ...]) -> Iterator[str]:
    """What steps name that is not there, each once."""
    told: dict[str, None] = {}
    for step in steps:
        try:
            disruptions.check(step)
        except SonataError as error:
            told[f"{error.message}{f' ({error.hint})' if error.hint else ''}"] = None
    yield from told


def _tail(printed: bytes) -> str:
    return printed[-_COMMAND_OUTPUT:].decode(errors="replace")
