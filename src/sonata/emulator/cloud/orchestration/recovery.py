"""What is true of stacks after their cloud lost its power: what was going on has failed, and the events say so."""

from __future__ import annotations

from dataclasses import replace

from sonata.emulator.cloud.entities.orchestration import State
from sonata.emulator.cloud.orchestration.journal import Journal
from sonata.emulator.cloud.tables import Tables


def interrupt(tables: Tables) -> None:
    """Let operations that were going on have failed; the next update or deletion goes on from there."""
    journal = Journal(tables)
    for row in tables.stack_resources:
        if row.status == State.IN_PROGRESS:
            journal.resource(row.id, row.action, State.FAILED, f"Engine went down during resource {row.action}")
    for snapshot in tables.stack_snapshots:
        if snapshot.status == State.IN_PROGRESS:
            reason = f"Engine went down during snapshot {snapshot.action}"
            tables.stack_snapshots.change(snapshot.id, status=State.FAILED, status_reason=reason)
    for deployment in tables.software_deployments:
        if deployment.status == State.IN_PROGRESS:
            reason = "Engine went down while the deployment was run"
            tables.software_deployments.change(deployment.id, status=State.FAILED, status_reason=reason)
    for stack in tables.stacks:
        if stack.status == State.IN_PROGRESS:
            tables.stacks.restore(replace(stack, previous=None))
            journal.stack(stack.id, stack.action, State.FAILED, f"Engine went down during stack {stack.action}")
