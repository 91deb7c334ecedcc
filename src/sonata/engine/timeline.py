"""The timeline of operations: kept in the store, and told to those who watch."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import replace

from sonata.model.records import LcmOperationOccurrence, OperationState, StepRecord
from sonata.ports.store import Store

_RECHECK_S = 10.0


class Timeline:
    """Writes operations and steps; wakes watchers after each write."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def put_step(self, step: StepRecord) -> None:
        """Keep one attempt of a step."""
        await self._store.put_step(step)
        self._wake(step.operation_id)

    async def put_operation(self, operation: LcmOperationOccurrence) -> None:
        """Keep an operation."""
        await self._store.put_operation(operation)
        self._wake(operation.id)

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
        seen: set[LcmOperationOccurrence | tuple[object, ...]] = set()
        while True:
            changed = self._changed[operation_id]
            operation = await self._store.get_operation(operation_id)
            for step in await self._store.list_steps(operation_id):
                if (key := (step.step, step.attempt, step.state, step.started_at)) not in seen:
                    seen.add(key)
                    yield step
            if (moved := (operation.state, operation.updated_at)) not in seen:
                seen.add(moved)
                yield operation
            if operation.state.is_final:
                return
            await _wait(changed)

    def _wake(self, operation_id: str) -> None:
        if (event := self._changed.pop(operation_id, None)) is not None:
            event.set()


async def _wait(changed: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_RECHECK_S):
            await changed.wait()
    except TimeoutError:
        return
