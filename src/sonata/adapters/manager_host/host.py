"""`SandboxedManagers`: starts managers in sandboxes, asks them over the bus, and stops those that misbehave.

A manager whose code raises fails its event and lives on; one that dies, hangs up, stalls or talks nonsense is stopped
at once, and every later question is answered with the reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from sonata._lib.values import dataclass
from sonata.adapters.manager_host.contracts import ClientEndpoint, Sandboxes, ServingBus
from sonata.adapters.manager_host.sandbox import PythonLaunch, Sandbox, check_entry, sandbox_of
from sonata.adapters.manager_host.spares import Spares
from sonata.errors import ManagerError, TransientError
from sonata.managers.events import API_VERSION
from sonata.managers.messages import manager_topic, manager_word
from sonata.ports.bus import Message, Subscription
from sonata.ports.managers import ManagerLaunch
from sonata.ports.runtime import MachineExit

logger = logging.getLogger(__name__)
LOG_BYTES = 64 * 1024
TOLD_LINES = 15
MAX_ENDINGS = 1000


@dataclass(eq=False)
class _Manager:
    """A manager that runs.

    Args:
        roles: result is what it registered for; fails when it ends before.
        turn: one question at a time, so that a time limit counts for its own question.
        ending: drops everything of it; made once.
    """

    instance: str
    sandbox: Sandbox
    roles: asyncio.Future[frozenset[str]]
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    endpoint: ClientEndpoint | None = None
    registration: Subscription | None = None
    ending: asyncio.Task[None] | None = None


class SandboxedManagers:
    """Implements `ports.managers.ManagerHost`.

    Args:
        bus: the platform's own; each manager gets a socket of it.
        sandboxes: where machines run; it is closed with the host.
        folder: of the host, which the platform alone may enter; small files only.
        python: how Python is run in a sandbox.
    """

    def __init__(self, bus: ServingBus, sandboxes: Sandboxes, folder: Path, python: PythonLaunch) -> None:
        self._bus = bus
        self._sandboxes = sandboxes
        self._folder = folder
        self._python = python
        self._spares = Spares(sandboxes, folder, python)
        self._running: dict[str, _Manager] = {}
        self._endings: dict[str, str] = {}

    async def warm_up(self) -> None:
        """Keep a sandbox ready from now on; see the port."""
        await self._spares.keep()

    async def launch(self, launch: ManagerLaunch) -> None:
        """Start and wait until it has registered; does nothing when it runs already; see the port."""
        if launch.instance in self._running:
            await asyncio.shield(self._running[launch.instance].roles)
            return
        sandbox = sandbox_of(launch.instance, self._folder)
        manager = _Manager(launch.instance, sandbox, asyncio.get_running_loop().create_future())
        manager.roles.add_done_callback(_consume)
        self._running[launch.instance] = manager
        self._endings.pop(launch.instance, None)
        runs = False
        try:
            await self._start(manager, launch)
            runs = True
        finally:
            if not runs:
                await self._end(manager, "it did not start")

    async def ask(self, instance: str, event: str, state: Mapping[str, Any], *, timeout_s: float) -> Mapping[str, Any]:
        """Send an event with the state, return the decision as the manager gave it; see the port."""
        manager = self._running.get(instance)
        if manager is None:
            raise ManagerError(
                f"manager `{instance}` does not run: {self._endings.get(instance, 'it was not started')}"
            )
        roles = await asyncio.shield(manager.roles)
        if event not in roles:
            raise ManagerError(f"manager `{instance}` does not answer `{event}`, only: {', '.join(sorted(roles))}")
        async with manager.turn:
            return await self._ask(manager, event, state, timeout_s)

    async def logs(self, instance: str) -> str:
        """What it printed, at most the last 64 KiB; works after `stop` too."""
        return await asyncio.to_thread(sandbox_of(instance, self._folder).read_log, LOG_BYTES)

    async def stop(self, instance: str) -> None:
        """End it and drop its sandbox. Idempotent."""
        manager = self._running.get(instance)
        if manager is not None:
            await self._end(manager, "it was stopped")

    async def close(self) -> None:
        """End all."""
        await asyncio.gather(self._spares.close(), *(self.stop(instance) for instance in tuple(self._running)))
        await self._sandboxes.close()

    async def _start(self, manager: _Manager, launch: ManagerLaunch) -> None:
        check_entry(launch)
        spare = await self._spares.take(launch)
        try:
            if spare is not None:
                spare.on_exit = lambda ended: self._note_exit(manager, ended)
                manager.sandbox = manager.sandbox.taken_over_from(spare.sandbox)
            else:
                await asyncio.to_thread(manager.sandbox.make)
            await self._admit(manager, launch)
            if spare is not None:
                spare.tell(launch)
            else:
                spec = manager.sandbox.spec(launch, self._python)
                await self._sandboxes.start(spec, lambda ended: self._note_exit(manager, ended))
            await self._await_registration(manager, launch)
        finally:
            if spare is not None:
                spare.close()

    async def _admit(self, manager: _Manager, launch: ManagerLaunch) -> None:
        """Write its files and open its socket."""
        sandbox = manager.sandbox
        await asyncio.to_thread(sandbox.fill, launch)
        own_topics = f"manager.{manager_word(launch.instance)}.#"
        manager.endpoint = await self._bus.serve(sandbox.socket, launch.instance, (own_topics,))
        manager.registration = await self._bus.respond(
            manager_topic(launch.instance, "register"), lambda _, message: _register(manager, message)
        )

    async def _await_registration(self, manager: _Manager, launch: ManagerLaunch) -> None:
        try:
            async with asyncio.timeout(launch.start_timeout_s):
                roles = await asyncio.shield(manager.roles)
        except TimeoutError:
            reason = f"it did not register within {launch.start_timeout_s:g} s"
            raise await self._failure(manager, "did not start", reason) from None
        except ManagerError as error:
            raise await self._failure(manager, "did not start", error.message) from error
        logger.info("manager runs", extra={"manager": launch.instance, "roles": sorted(roles)})

    async def _ask(self, manager: _Manager, event: str, state: Message, timeout_s: float) -> Message:
        topic = manager_topic(manager.instance, event)
        try:
            return await self._bus.request(topic, state, timeout_s=timeout_s)
        except TransientError:
            reason = f"it gave no answer to `{event}` within {timeout_s:g} s"
            raise await self._failure(manager, "was stopped", reason) from None
        except ManagerError as error:
            if manager.endpoint is not None and manager.endpoint.is_connected:
                raise ManagerError(f"manager `{manager.instance}` failed on `{event}`: {error.message}") from error
            raise await self._failure(manager, "was stopped", error.message) from error

    async def _failure(self, manager: _Manager, what: str, reason: str) -> ManagerError:
        """Stop a manager that misbehaved; the error tells why, with the end of its log."""
        await self._end(manager, reason)
        reason = self._endings[manager.instance]
        log = await asyncio.to_thread(manager.sandbox.read_log, LOG_BYTES)
        end = "\n".join(log.strip().splitlines()[-TOLD_LINES:])
        told = f"; end of its log:\n{end}" if end else "; it printed nothing"
        return ManagerError(f"manager `{manager.instance}` {what}: {reason}{told}")

    async def _note_exit(self, manager: _Manager, ended: MachineExit) -> None:
        await self._end(manager, f"it ended by itself: {ended.reason}")

    async def _end(self, manager: _Manager, reason: str) -> None:
        """Drop everything of a manager, once; the first reason is the one that is told."""
        if manager.ending is None:
            self._endings[manager.instance] = reason
            if not manager.roles.done():
                manager.roles.set_exception(ManagerError(reason))
            manager.ending = asyncio.get_running_loop().create_task(self._drop(manager, reason))
        await asyncio.shield(manager.ending)

    async def _drop(self, manager: _Manager, reason: str) -> None:
        await self._sandboxes.stop(manager.sandbox.machine, grace_s=0)
        for part in (manager.registration, manager.endpoint):
            if part is not None:
                await part.cancel()
        await asyncio.to_thread(manager.sandbox.clear)
        del self._running[manager.instance]
        if len(self._endings) > MAX_ENDINGS:
            self._endings.pop(next(iter(self._endings)))
        logger.info("manager ended", extra={"manager": manager.instance, "reason": reason})


async def _register(manager: _Manager, message: Message) -> Message:
    """Take a manager's registration; what it does not state rightly ends it."""
    roles, api = message.get("roles"), message.get("api")
    if api != API_VERSION:
        return _reject(manager, f"it speaks version `{api!r}` of the manager interface, the platform {API_VERSION}")
    if not (isinstance(roles, list) and roles and all(isinstance(role, str) for role in roles)):
        return _reject(manager, "it registered without roles")
    if not manager.roles.done():
        manager.roles.set_result(frozenset(roles))
    return {"status": "registered"}


def _reject(manager: _Manager, reason: str) -> Message:
    if not manager.roles.done():
        manager.roles.set_exception(ManagerError(reason))
    raise ManagerError(reason)


def _consume(roles: asyncio.Future[frozenset[str]]) -> None:
    """A manager that ended before anybody asked is no unhandled error."""
    if not roles.cancelled():
        roles.exception()
