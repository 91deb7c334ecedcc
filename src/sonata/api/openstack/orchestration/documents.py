"""Documents of the Orchestration API, with the key names of its reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import timestamp
from sonata.emulator.cloud.entities.orchestration import Stack, StackEvent, StackResource
from sonata.emulator.cloud.orchestration.blueprint import Blueprint
from sonata.emulator.cloud.orchestration.kinds.nested import StackKind
from sonata.errors import SonataError

Document = dict[str, Any]
DEFAULT_TIMEOUT_MINS = 60


def stack_url(call: Call, stack: Stack) -> str:
    """The address of a stack."""
    return call.url("orchestration", f"/v1/{stack.project_id}/stacks/{quote(stack.name)}/{stack.id}")


def links(call: Call, stack: Stack) -> list[dict[str, str]]:
    """The link of a stack to itself."""
    return [{"href": stack_url(call, stack), "rel": "self"}]


def state(action: str, status: str) -> str:
    """Action and status in one word."""
    return f"{action}_{status}"


def summary(call: Call, stack: Stack) -> Document:
    """A stack in a list."""
    return {
        "id": stack.id,
        "links": links(call, stack),
        "stack_name": stack.name,
        "description": str(stack.definition.template.get("description") or ""),
        "stack_status": state(stack.action, stack.status),
        "stack_status_reason": stack.status_reason,
        "creation_time": timestamp(stack.created_at),
        "updated_time": timestamp(stack.changed_at) if stack.changed_at else None,
        "deletion_time": None,
        "stack_owner": stack.owner.user_name,
        "parent": stack.parent_id or None,
        "stack_user_project_id": stack.project_id,
        "tags": list(stack.tags) or None,
        "project": stack.project_id,
    }


def detail(call: Call, stack: Stack, blueprint: Blueprint) -> Document:
    """A stack without its outputs."""
    shown = summary(call, stack)
    del shown["project"]
    return {
        **shown,
        "parameters": blueprint.shown_parameters(),
        "template_description": blueprint.template.description or "No description",
        "notification_topics": [],
        "capabilities": [],
        "disable_rollback": stack.disable_rollback,
        "timeout_mins": stack.timeout_mins or DEFAULT_TIMEOUT_MINS,
    }


def resource_url(call: Call, stack: Stack, name: str) -> str:
    """The address of a resource."""
    return f"{stack_url(call, stack)}/resources/{quote(name, safe='')}"


def resource_summary(call: Call, stack: Stack, row: StackResource, required_by: list[str]) -> Document:
    """A resource in a list."""
    own = [
        {"href": resource_url(call, stack, row.name), "rel": "self"},
        {"href": stack_url(call, stack), "rel": "stack"},
    ]
    shown: Document = {
        "resource_name": row.name,
        "logical_resource_id": row.name,
        "physical_resource_id": row.physical_id,
        "resource_status": state(row.action, row.status),
        "resource_status_reason": row.status_reason,
        "resource_type": row.type,
        "creation_time": timestamp(row.created_at),
        "updated_time": timestamp(row.updated_at),
        "required_by": required_by,
        "links": own,
    }
    if nested := nested_of(call, stack, row):
        own.append({"href": stack_url(call, nested), "rel": "nested"})
    if stack.parent_resource:
        shown["parent_resource"] = stack.parent_resource
    return shown


def nested_of(call: Call, stack: Stack, row: StackResource) -> Stack | None:
    """The stack that a resource is, if it is one."""
    try:
        kind = call.cloud.stacks.views.kind(stack, row)
    except SonataError:
        return None
    return call.cloud.tables.stacks.peek(row.physical_id) if isinstance(kind, StackKind) else None


def resource_detail(
    call: Call, stack: Stack, row: StackResource, required_by: list[str], attributes: Mapping[str, Any]
) -> Document:
    """A resource in full."""
    return {
        **resource_summary(call, stack, row, required_by),
        "description": row.description,
        "attributes": dict(attributes),
    }


def required_by(rows: list[StackResource], name: str) -> list[str]:
    """Names of the resources that need one."""
    return [row.name for row in rows if name in row.needs]


def event_document(call: Call, stack: Stack, event: StackEvent, *, full: bool = False) -> Document:
    """An event; its properties in the full form only."""
    base = resource_url(call, stack, event.resource_name)
    shown: Document = {
        "id": event.id,
        "event_time": timestamp(event.created_at),
        "resource_name": event.resource_name,
        "logical_resource_id": event.resource_name,
        "physical_resource_id": event.physical_id or None,
        "resource_status": state(event.action, event.status),
        "resource_status_reason": event.reason,
        "links": [
            {"href": f"{base}/events/{event.id}", "rel": "self"},
            {"href": base, "rel": "resource"},
            {"href": stack_url(call, stack), "rel": "stack"},
            {"href": stack_url(call, root_of(call, stack)), "rel": "root_stack"},
        ],
    }
    if full:
        shown["resource_type"] = event.resource_type
        shown["resource_properties"] = dict(event.properties)
    return shown


def root_of(call: Call, stack: Stack) -> Stack:
    """The stack in which a nested one is at last."""
    while parent := call.cloud.tables.stacks.peek(stack.parent_id):
        stack = parent
    return stack
