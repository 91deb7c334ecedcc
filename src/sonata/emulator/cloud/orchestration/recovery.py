"""What is true of stacks after their cloud lost its power: what was going on has failed."""

from __future__ import annotations

from dataclasses import replace

from sonata.emulator.cloud.entities.orchestration import State
from sonata.emulator.cloud.tables import Tables


def interrupt(tables: Tables) -> None:
    """Let operations that were going on have failed; the next update or deletion goes on from there."""
    for stack in tables.stacks:
        if stack.status == State.IN_PROGRESS:
            reason = f"Engine went down during stack {stack.action}"
            tables.stacks.restore(replace(stack, status=State.FAILED, status_reason=reason, previous=None))
    for row in tables.stack_resources:
        if row.status == State.IN_PROGRESS:
            reason = f"Engine went down during resource {row.action}"
            tables.stack_resources.restore(replace(row, status=State.FAILED, status_reason=reason))
