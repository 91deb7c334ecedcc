"""The timeline of operations: kept in the store, and told to those who watch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

from sonata.model.records import LcmOperationOccurrence, OperationState, StepRecord
from sonata.ports.store import Store

_Change = LcmOperationOccurrence | StepRecord
_RECHECK_S = 10.0


class Timeline:
    """Writes operations and steps, and hands each of them to who watches."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watchers: dict[str, set[asyncio.Queue[_Change]]] = {}

    async def put_step(self, step: StepRecord) -> None:
        """Keep one attempt of a step."""
        await self._store.put_step(step)
        self._tell(step.operation_id, step)

    async def put_operation(self, operation: LcmOperationOccurrence) -> None:
        """Keep an operation."""
        await self._store.put_operation(operation)
        self._tell(operation.id, operation)

    async def set_state(self, operation_id: str, state: OperationState, error: str = "", hint: str = "") -> None:
        """Move an operation to a state; error and hint of an earlier move stay unless new ones are given."""
        current = await self._store.get_operation(operation_id)
        error, hint = error or current.error, hint or current.hint
        await self.put_operation(replace(current, state=state, updated_at=time.time(), error=error, hint=hint))

    async def steps(self, operation_id: str) -> tuple[StepRecord, ...]:
        """Timeline so far."""
        return tuple(await self._store.list_steps(operation_id))

    async def last_operation(self, ns_instance_id: str) -> LcmOperationOccurrence | None:
        """The youngest operation of an instance."""
        operations = await self._store.list_operations(ns_instance_id)
        return operations[-1] if operations else None

    async def watch(self, operation_id: str) -> AsyncIterator[LcmOperationOccurrence | StepRecord]:
        """Every step and every state of an operation, what happened before first, until it ends.

        Raises:
            NotFound: no such operation.
        """
        news: asyncio.Queue[_Change] = asyncio.Queue()
        self._watchers.setdefault(operation_id, set()).add(news)
        seen: set[tuple[object, ...]] = set()
        try:
            pending = await self._so_far(operation_id)
            while True:
                for change in pending:
                    if (key := _key(change)) in seen:
                        continue
                    seen.add(key)
                    yield change
                    if isinstance(change, LcmOperationOccurrence) and change.state.is_final:
                        return
                pending = await _next(news) or await self._so_far(operation_id)
        finally:
            self._forget(operation_id, news)

    async def _so_far(self, operation_id: str) -> list[_Change]:
        """All that is known; the operation, read first, comes last, so that its end ends the tale of its steps."""
        operation = await self._store.get_operation(operation_id)
        return [*await self._store.list_steps(operation_id), operation]

    def _tell(self, operation_id: str, change: _Change) -> None:
        for watcher in self._watchers.get(operation_id, ()):
            watcher.put_nowait(change)

    def _forget(self, operation_id: str, watcher: asyncio.Queue[_Change]) -> None:
        watchers = self._watchers[operation_id]
        watchers.discard(watcher)
        if not watchers:
            del self._watchers[operation_id]


def _key(change: _Change) -> tuple[object, ...]:
    if isinstance(change, StepRecord):
        return change.step, change.attempt, change.state, change.started_at
    return change.state, change.updated_at


async def _next(news: asyncio.Queue[_Change]) -> list[_Change]:
    """The next change; none when nothing was told for a while."""
    try:
        async with asyncio.timeout(_RECHECK_S):
            return [await news.get()]
    except TimeoutError:
        return []
