"""Stacks with their resources, events and snapshots, and software configurations, as Orchestration v1 names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.base import Entity


class State:
    """Values of `status` of stacks and resources."""

    IN_PROGRESS = "IN_PROGRESS"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Definition:
    """What a stack is made of, as its user gave it.

    Args:
        template: the template's document.
        environment: parameters, parameter defaults and resource registry.
        files: contents by name, for `get_file` and nested templates.
    """

    template: Mapping[str, Any]
    environment: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Owner:
    """With whose authority a stack works: the user who made it, in the project and with the roles of then."""

    user_id: str
    user_name: str
    project_id: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack(Entity):
    """A stack; `name` is unique in its project, `tags` are its tags.

    Args:
        previous: what it was made of before the update that is going on.
        parent_id: the stack in which it is nested, and `parent_resource` what stands for it there.
        timeout_mins: longest time of an operation; None for an hour.
        base_url: address of the Orchestration API as the owner reached it.
        changed_at: Unix time of the last update; None before the first.
    """

    owner: Owner
    definition: Definition
    previous: Definition | None = None
    action: str = "CREATE"
    status: str = State.IN_PROGRESS
    status_reason: str = ""
    parent_id: str = ""
    parent_resource: str = ""
    disable_rollback: bool = True
    timeout_mins: int | None = None
    base_url: str = ""
    changed_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StackResource(Entity):
    """A resource of a stack; `name` is its name in the template.

    Args:
        type: as in the template; `kind` is what stands for it according to the environment.
        properties: with which it was made.
        update_policy: how its members are changed, when it is a group.
        needs: names of resources that must outlive it.
        data: what its type remembers.
        obsolete: whether another one has taken its place, so that it only waits for its deletion.
        keep: whether the deletion of the stack leaves the object alone (`deletion_policy`, `external_id`).
        snapshot: whether an image of the object is made before its deletion (`deletion_policy`).
        broken: whether the next update replaces it.
    """

    stack_id: str
    type: str
    kind: str = ""
    physical_id: str = ""
    action: str = "INIT"
    status: str = State.COMPLETE
    status_reason: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    update_policy: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    obsolete: bool = False
    keep: bool = False
    snapshot: bool = False
    broken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StackEvent(Entity):
    """Something that happened to a stack (`resource_name` is the stack's name then) or to a resource of it."""

    stack_id: str
    resource_name: str
    resource_type: str
    physical_id: str = ""
    action: str = ""
    status: str = ""
    reason: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSnapshot(Entity):
    """What a stack was at one moment.

    Args:
        definition: what it was made of.
        resources: what its resources were, by name, in the form in which stacks are exported; `resource_data` tells
            where the contents of a resource are kept.
        stack_state: action and status of the stack then.
    """

    stack_id: str
    action: str = "CREATE"
    status: str = State.IN_PROGRESS
    status_reason: str = ""
    definition: Definition = field(default_factory=lambda: Definition({}))
    resources: Mapping[str, Any] = field(default_factory=dict)
    stack_state: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareConfig(Entity):
    """A piece of configuration for servers; it never changes."""

    group: str = "Heat::Ungrouped"
    config: Any = ""
    inputs: tuple[Mapping[str, Any], ...] = ()
    outputs: tuple[Mapping[str, Any], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareDeployment(Entity):
    """A configuration that is to be applied to a server, made by a client instead of a stack.

    Args:
        told: output values.
    """

    server_id: str
    config_id: str
    owner: Owner
    action: str = "INIT"
    status: str = State.COMPLETE
    status_reason: str = ""
    input_values: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)
    stack_user_project_id: str = ""
