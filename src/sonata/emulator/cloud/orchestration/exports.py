"""Stacks and resources in the form in which they can be adopted."""

from __future__ import annotations

from typing import Any

from sonata.emulator.cloud.entities.orchestration import Stack, StackResource
from sonata.emulator.cloud.orchestration.views import Views


def exported(views: Views, stack: Stack) -> dict[str, Any]:
    """A stack; in the place of a resource that is a nested stack stands that one."""
    resources: dict[str, Any] = {}
    for row in views.rows(stack.id):
        nested = views.nested(row)
        resources[row.name] = _nested(views, row, nested) if nested else exported_resource(row)
    return {
        "id": stack.id,
        "name": stack.name,
        "action": stack.action,
        "status": stack.status,
        "project_id": stack.project_id,
        "stack_user_project_id": stack.project_id,
        "tags": list(stack.tags),
        "template": dict(stack.definition.template),
        "environment": dict(stack.definition.environment),
        "files": dict(stack.definition.files),
        "resources": resources,
    }


def _nested(views: Views, row: StackResource, stack: Stack) -> dict[str, Any]:
    """A nested stack, with what its resource remembers: sizes that policies have reached, members that were removed."""
    return {**exported(views, stack), "resource_data": dict(row.data)}


def exported_resource(row: StackResource) -> dict[str, Any]:
    """A resource."""
    return {
        "name": row.name,
        "type": row.type,
        "resource_id": row.physical_id,
        "action": row.action,
        "status": row.status,
        "metadata": dict(row.metadata),
        "resource_data": dict(row.data),
    }
