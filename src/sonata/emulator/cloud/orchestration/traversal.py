"""Going along the graph of a stack's resources: each after what it needs, as many at a time as possible."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.orchestration import Stack, StackResource, State
from sonata.emulator.cloud.orchestration.calls import CallRefused, title
from sonata.emulator.cloud.orchestration.hooks import Hooks
from sonata.emulator.cloud.orchestration.journal import Journal
from sonata.emulator.cloud.orchestration.views import Views
from sonata.emulator.cloud.orchestration.work import (
    Deadline,
    NestedFailed,
    NoId,
    NotWell,
    ResourceFailed,
    Stopped,
    ToldToFail,
    Work,
)
from sonata.emulator.cloud.tables import Tables
from sonata.errors import SonataError, StepTimeout

NAMES: Mapping[type[SonataError], str] = {
    ResourceFailed: "ResourceInError",
    NotWell: "Error",
    NoId: "Exception",
    ToldToFail: "ValueError",
}
"""What Heat calls failures that have another name here."""


class Failed(SonataError):
    """A resource failed; the message names it and says why."""


@dataclass(frozen=True, slots=True)
class Way:
    """What it takes to work on the resources of a stack.

    Args:
        deadline: when it must end; it is also how it is told to stop, or to begin nothing more.
        on_failure: called with each failure, while other resources that were begun may still go on.
    """

    tables: Tables
    views: Views
    journal: Journal
    stack: Stack
    deadline: Deadline
    on_failure: Callable[[Failed], None]


class Traversal:
    """Work on the resources of a stack."""

    def __init__(self, way: Way) -> None:
        self._tables = way.tables
        self._views = way.views
        self._journal = way.journal
        self._stack = way.stack
        self._deadline = way.deadline
        self._on_failure = way.on_failure
        self._failure: Failed | None = None
        self._hooks = Hooks(way.tables, way.journal, way.stack.definition)

    async def _each(self, graph: Mapping[str, frozenset[str]], do: Callable[[str], Awaitable[None]]) -> None:
        """Do something with each node once it is done with all that the node needs, as many at a time as possible."""
        done = {node: asyncio.Event() for node in graph}

        async def one(node: str) -> None:
            try:
                for needed in graph[node]:
                    await done[needed].wait()
                if not self._deadline.over:
                    await do(node)
            except Failed as failure:
                self._fail(failure)
            finally:
                done[node].set()

        async with asyncio.TaskGroup() as tasks:
            for node in graph:
                tasks.create_task(one(node))
        if self._failure:
            raise self._failure

    def _fail(self, failure: Failed) -> Failed:
        if self._failure is None:
            self._failure = failure
        self._on_failure(failure)
        return failure

    async def _pause(self, row: StackResource, action: str, hook: str) -> None:
        """Wait where the environment wants it, until a client lets the resource go on."""
        if self._hooks.holds(row.name, hook):
            await self._attempt(row, action, lambda: self._hooks.wait(self._work(row, row.properties), action, hook))

    def _work(self, row: StackResource, values: Mapping[str, Any]) -> Work:
        return replace(self._views.work(self._stack, row, self._deadline), properties=values)

    async def _attempt(self, row: StackResource, action: str, do: Callable[[], Awaitable[None]]) -> None:
        try:
            await do()
        except SonataError as error:
            raise self._failed(row, action, error) from error

    def _failed(self, row: StackResource, action: str, error: SonataError) -> Failed:
        """Note that a resource failed; what to raise."""
        if isinstance(error, Stopped):
            reason = f"{action} aborted (user triggered cancel)"
        elif isinstance(error, NestedFailed):
            reason = error.told(action, place(row.name))
        else:
            reason = f"{_name_of(error)}: {place(row.name)}: {error.message}"
        self._journal.resource(row.id, action, State.FAILED, reason)
        if isinstance(error, StepTimeout):
            return Failed("Timed out")
        return Failed(f"Resource {action} failed: {reason}")


def place(name: str) -> str:
    """How reasons name a resource."""
    return f"resources[{name}]" if name.isdigit() else f"resources.{name}"


def _name_of(error: SonataError) -> str:
    """The name under which Heat reports a failure."""
    if isinstance(error, CallRefused):
        return title(error.status)
    return NAMES.get(type(error), type(error).__name__)
