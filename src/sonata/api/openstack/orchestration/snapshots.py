"""Snapshots of stacks.

Source: OpenStack Orchestration API v1 reference, "Stack snapshots".
"""

from __future__ import annotations

from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import timestamp
from sonata.api.openstack.orchestration.stacks import stack_of
from sonata.api.openstack.reply import ACCEPTED, NO_CONTENT, Reply, json_reply
from sonata.emulator.cloud.entities.orchestration import Stack, StackSnapshot


def _document(stack: Stack, snapshot: StackSnapshot) -> dict[str, Any]:
    action, status = snapshot.stack_state
    data = {
        "id": stack.id,
        "name": stack.name,
        "action": action,
        "status": status,
        "project_id": stack.project_id,
        "stack_user_project_id": stack.project_id,
        "tags": list(stack.tags),
        "template": dict(snapshot.definition.template),
        "environment": dict(snapshot.definition.environment),
        "files": dict(snapshot.definition.files),
        "resources": dict(snapshot.resources),
    }
    return {
        "id": snapshot.id,
        "name": snapshot.name or None,
        "action": snapshot.action,
        "status": snapshot.status,
        "status_reason": snapshot.status_reason or None,
        "data": data,
        "creation_time": timestamp(snapshot.created_at),
    }


def _found(call: Call) -> tuple[Stack, StackSnapshot]:
    stack = stack_of(call)
    return stack, call.cloud.stacks.snapshots.find(stack, call.params["snapshot"])


async def create(call: Call) -> Reply:
    """POST of a snapshot; it is made in the background."""
    stack, body = stack_of(call), await call.json()
    name = str(body.get("name") or "")
    snapshot = call.cloud.stacks.snapshots.create(stack, name, is_limited=not call.token.is_admin)
    return json_reply(_document(stack, snapshot))


async def list_snapshots(call: Call) -> Reply:
    """GET of the snapshots of a stack."""
    stack = stack_of(call)
    return json_reply({"snapshots": [_document(stack, one) for one in call.cloud.stacks.snapshots.of(stack.id)]})


async def show(call: Call) -> Reply:
    """GET of a snapshot."""
    return json_reply({"snapshot": _document(*_found(call))})


async def delete(call: Call) -> Reply:
    """DELETE of a snapshot and of what it keeps, in the background."""
    call.cloud.stacks.snapshots.delete(_found(call)[1])
    return NO_CONTENT


async def restore(call: Call) -> Reply:
    """POST: bring the stack back to a snapshot."""
    stack, snapshot = _found(call)
    await call.cloud.stacks.snapshots.restore(stack, snapshot)
    return ACCEPTED
