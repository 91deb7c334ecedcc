"""States of stacks and resources, and the events that tell of their changes."""

from __future__ import annotations

from typing import Any

from sonata.emulator.cloud.entities.orchestration import Stack, StackEvent, StackResource, State
from sonata.emulator.cloud.tables import Tables

MOST_EVENTS = 1000
"""Events that are kept of a stack, as Heat's `max_events_per_stack`."""
CHANGED = "state changed"


class Journal:
    """Writes states and events of the stacks of one cloud."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def stack(self, stack_id: str, action: str, status: str, reason: str, **changes: Any) -> Stack:
        """A stack's new state."""
        stack = self._tables.stacks.change(stack_id, action=action, status=status, status_reason=reason, **changes)
        self._event(_of_stack(stack, action, status, reason))
        return stack

    def remark(self, stack_id: str, action: str, reason: str) -> None:
        """An event of a failure of a stack that has its outcome already, or another action."""
        if stack := self._tables.stacks.peek(stack_id):
            self._event(_of_stack(stack, action, State.FAILED, reason))

    def resource(
        self, resource_id: str, action: str, status: str, reason: str = CHANGED, **changes: Any
    ) -> StackResource:
        """A resource's new state."""
        row = self._tables.stack_resources.change(
            resource_id, action=action, status=status, status_reason=reason, **changes
        )
        self._event(_event_of(row, reason))
        return row

    def note(self, row: StackResource, reason: str) -> None:
        """An event of a resource whose state stays."""
        self._event(_event_of(row, reason))

    def forget(self, stack_id: str) -> None:
        """Drop all events of a stack."""
        for event in self._tables.stack_events:
            if event.stack_id == stack_id:
                self._tables.stack_events.remove(event.id)

    def _event(self, event: StackEvent) -> None:
        self._tables.stack_events.add(event)
        kept = [one for one in self._tables.stack_events if one.stack_id == event.stack_id]
        for old in kept[:-MOST_EVENTS]:
            self._tables.stack_events.remove(old.id)


def _of_stack(stack: Stack, action: str, status: str, reason: str) -> StackEvent:
    return StackEvent(
        project_id=stack.project_id,
        stack_id=stack.id,
        resource_name=stack.name,
        resource_type="OS::Heat::Stack",
        physical_id=stack.id,
        action=action,
        status=status,
        reason=reason,
    )


def _event_of(row: StackResource, reason: str) -> StackEvent:
    return StackEvent(
        project_id=row.project_id,
        stack_id=row.stack_id,
        resource_name=row.name,
        resource_type=row.type,
        physical_id=row.physical_id,
        action=row.action,
        status=row.status,
        reason=reason,
        properties=row.properties,
    )
