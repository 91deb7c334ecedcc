"""How stacks go: deleted, or abandoned with their objects left alone."""

from __future__ import annotations

from sonata.emulator.cloud.entities.orchestration import State
from sonata.emulator.cloud.orchestration.journal import Journal
from sonata.emulator.cloud.orchestration.operations import Operations
from sonata.emulator.cloud.orchestration.running import Run
from sonata.emulator.cloud.orchestration.snapshots import Snapshots
from sonata.emulator.cloud.orchestration.work import Deadline
from sonata.emulator.cloud.tables import Tables
from sonata.errors import SonataError


class Departures:
    """The ends of one cloud's stacks; what goes on with one is stopped first."""

    def __init__(self, tables: Tables, journal: Journal, operations: Operations, snapshots: Snapshots) -> None:
        self._tables = tables
        self._journal = journal
        self._operations = operations
        self._snapshots = snapshots

    def delete(self, stack_id: str) -> None:
        """Begin to delete a stack with its objects; idempotent."""
        stack = self._tables.stacks.get(stack_id)
        if (stack.action, stack.status) != ("DELETE", State.IN_PROGRESS):
            self._begin(stack_id, lambda end: self._delete(stack_id, end))

    def abandon(self, stack_id: str) -> None:
        """Begin to forget a stack, and those nested in it; their objects stay."""
        self._begin(stack_id, lambda _end: self._abandon(stack_id))

    def _begin(self, stack_id: str, run: Run) -> None:
        self._operations.cancel(stack_id)
        self._operations.stop(stack_id)
        self._operations.begin(stack_id, "DELETE", run)

    async def _delete(self, stack_id: str, deadline: Deadline) -> None:
        if await self._without_snapshots(stack_id):
            await self._operations.delete(stack_id, deadline)

    async def _abandon(self, stack_id: str) -> None:
        for nested in self._tables.stacks:
            if nested.parent_id == stack_id:
                self.abandon(nested.id)
                await self._operations.settled(nested.id)
        if await self._without_snapshots(stack_id):
            self._operations.forget(stack_id)

    async def _without_snapshots(self, stack_id: str) -> bool:
        """Whether the snapshots of a stack are gone; else the stack says why not."""
        try:
            await self._snapshots.drop_all(stack_id)
        except SonataError as error:
            reason = f"Resource DELETE failed: snapshots of the stack: {error.message}"
            self._journal.stack(stack_id, "DELETE", State.FAILED, reason)
            return False
        return True
