"""Stacks: lists, life cycle, outputs, templates, actions.

Source: OpenStack Orchestration API v1 reference, "Stacks", "Stack actions", "Stack outputs".
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.listing import ordered, page, tags_match
from sonata.api.openstack.orchestration.documents import detail, links, resource_summary, stack_url, summary
from sonata.api.openstack.orchestration.requests import (
    flag,
    owner_of,
    patched_definition,
    read_definition,
    read_request,
    tags,
    timeout,
)
from sonata.api.openstack.reply import ACCEPTED, NO_CONTENT, Reply, json_reply
from sonata.emulator.cloud.entities.orchestration import Definition, Stack
from sonata.emulator.cloud.orchestration.blueprint import Blueprint, compiled
from sonata.emulator.cloud.orchestration.catalogue import kind_named
from sonata.emulator.cloud.orchestration.exports import exported
from sonata.emulator.cloud.orchestration.properties import changed
from sonata.emulator.cloud.orchestration.refusals import EntityNotFound
from sonata.emulator.cloud.orchestration.validation import known_properties, validate
from sonata.errors import InvalidInput, NotFound
from sonata.formats.hot.errors import UserParameterMissing
from sonata.formats.hot.parameters import Parameter
from sonata.formats.hot.template import Template, read_template

HIDING = frozenset(("data-processing-cluster",))
"""Tags of stacks that lists leave out unless asked for, as Heat's `hidden_stack_tags`."""
FILTERS = ("id", "status", "name", "action", "username", "stack_name", "stack_status", "owner_id", "stack_owner")


def stack_of(call: Call) -> Stack:
    """The stack of a path with name and id.

    Raises:
        EntityNotFound: there is none of this id and name in the project.
    """
    stack = call.cloud.tables.stacks.peek(call.params["id"])
    if stack is None or stack.project_id != call.project_id or stack.name != call.params["name"]:
        raise EntityNotFound("Stack", f"{call.params['name']}/{call.params['id']}")
    return stack


async def list_stacks(call: Call) -> Reply:
    """GET /stacks and /stacks/detail."""
    everywhere = call.first("global_tenant").lower() == "true"
    if everywhere:
        call.require_admin("stacks:global_index")
    found = [stack for stack in call.cloud.tables.stacks if everywhere or stack.project_id == call.project_id]
    if call.first("show_nested").lower() != "true" and not call.first("owner_id"):
        found = [stack for stack in found if not stack.parent_id]
    if call.first("show_hidden").lower() != "true":
        found = [stack for stack in found if not HIDING & set(stack.tags)]
    found = [stack for stack in found if _wanted(call, stack)]
    # The newest stack comes first unless another order is asked for.
    documents = [summary(call, stack) for stack in reversed(found)]
    query = [(key, _SORT_KEYS.get(value, value) if key == "sort_key" else value) for key, value in call.query]
    query = [(key, value) for key, value in query if key != "sort_keys"]
    query += [("sort_key", _SORT_KEYS.get(value, value)) for key, value in call.query if key == "sort_keys"]
    shown, more = page(ordered(documents, query), query)
    if not everywhere:
        shown = [{key: value for key, value in one.items() if key != "project"} for one in shown]
    body: dict[str, Any] = {"stacks": shown}
    if more and shown:
        body["links"] = [{"rel": "next", "href": str(call.request.url.include_query_params(marker=shown[-1]["id"]))}]
    if call.first("with_count").lower() == "true":
        body["count"] = len(documents)
    return json_reply(body)


_SORT_KEYS = {
    "name": "stack_name",
    "status": "stack_status",
    "created_at": "creation_time",
    "updated_at": "updated_time",
}


def _wanted(call: Call, stack: Stack) -> bool:
    values = {
        "id": {stack.id},
        "name": {stack.name},
        "stack_name": {stack.name},
        "status": {stack.status, f"{stack.action}_{stack.status}"},
        "stack_status": {stack.status, f"{stack.action}_{stack.status}"},
        "action": {stack.action},
        "username": {stack.owner.user_name},
        "stack_owner": {stack.owner.user_name},
        "owner_id": {stack.parent_id},
    }
    for key in FILTERS:
        asked = {value for name, value in call.query if name == key}
        if asked and not asked & values[key]:
            return False
    for key in ("tags", "tags_any", "not_tags", "not_tags_any"):
        if (asked_tags := call.first(key)) and not tags_match(stack.tags, key.replace("_", "-"), asked_tags):
            return False
    return True


async def create(call: Call) -> Reply:
    """POST /stacks."""
    stack = await call.cloud.stacks.create(read_request(call, await call.json()))
    url = stack_url(call, stack)
    return json_reply({"stack": {"id": stack.id, "links": links(call, stack)}}, 201, location=url)


async def preview(call: Call) -> Reply:
    """POST /stacks/preview: what would be made, nothing is."""
    stack, blueprint = await call.cloud.stacks.planned(read_request(call, await call.json()))
    resources = []
    for definition in blueprint.resources.values():
        kind = kind_named(blueprint.kind_of(definition), blueprint.files)
        resources.append(
            {
                "resource_name": definition.name,
                "resource_type": definition.type,
                "resource_identity": None,
                "resource_action": "INIT",
                "resource_status": "COMPLETE",
                "resource_status_reason": "",
                "physical_resource_id": "",
                "properties": await known_properties(blueprint, definition, kind),
                "attributes": {},
                "metadata": definition.metadata,
                "description": definition.description,
                "required_by": [name for name, needs in blueprint.graph.items() if definition.name in needs],
                "stack_name": stack.name,
            }
        )
    return json_reply({"stack": {**detail(call, stack, blueprint), "resources": resources}})


async def show(call: Call) -> Reply:
    """GET of a stack."""
    stack = stack_of(call)
    views = call.cloud.stacks.views
    document = detail(call, stack, await views.blueprint(stack))
    if call.first("resolve_outputs", "true").lower() != "false":
        document["outputs"] = await views.outputs(stack)
    return json_reply({"stack": document})


async def update(call: Call) -> Reply:
    """PUT of a stack: everything anew."""
    stack, body = stack_of(call), await call.json()
    await _update(call, stack, body, read_definition(body))
    return ACCEPTED


async def patch(call: Call) -> Reply:
    """PATCH of a stack: what is not named stays."""
    stack, body = stack_of(call), await call.json()
    await _update(call, stack, body, patched_definition(body, stack))
    return ACCEPTED


async def _update(call: Call, stack: Stack, body: dict[str, Any], definition: Definition) -> None:
    changes: dict[str, Any] = {"disable_rollback": flag(body, "disable_rollback", default=stack.disable_rollback)}
    if (minutes := timeout(body)) is not None:
        changes["timeout_mins"] = minutes
    if (new_tags := tags(body)) is not None:
        changes["tags"] = new_tags
    await call.cloud.stacks.update(stack.id, definition, **changes)


async def preview_update(call: Call) -> Reply:
    """PUT of a stack's preview."""
    return await _preview_update(call, read_definition(await call.json()))


async def preview_patch(call: Call) -> Reply:
    """PATCH of a stack's preview."""
    return await _preview_update(call, patched_definition(await call.json(), stack_of(call)))


async def _preview_update(call: Call, definition: Definition) -> Reply:
    stack = stack_of(call)
    blueprint = await call.cloud.stacks.replanned(stack, definition)
    rows = {row.name: row for row in call.cloud.stacks.views.rows(stack.id)}
    found: dict[str, list[Any]] = {key: [] for key in ("added", "deleted", "replaced", "unchanged", "updated")}
    for name, one in blueprint.resources.items():
        row = rows.get(name)
        shown = resource_summary(call, stack, row, []) if row else _planned(stack, name, one.type)
        found[await _fate(blueprint, name, row)].append(shown)
    found["deleted"] = [
        resource_summary(call, stack, row, []) for name, row in rows.items() if name not in blueprint.resources
    ]
    return json_reply({"resource_changes": found})


def _planned(stack: Stack, name: str, kind: str) -> dict[str, Any]:
    return {"resource_name": name, "resource_type": kind, "stack_name": stack.name, "physical_resource_id": None}


async def _fate(blueprint: Blueprint, name: str, row: Any) -> str:
    """What an update does with a resource, as far as that is known before."""
    definition = blueprint.resources[name]
    if row is None:
        return "added"
    if row.kind != blueprint.kind_of(definition) or row.broken:
        return "replaced"
    kind = kind_named(row.kind, blueprint.files)
    values = await known_properties(blueprint, definition, kind)
    old = {key: value for key, value in row.properties.items() if key in values or key not in definition.properties}
    different = changed(old, values)
    if not different:
        return "unchanged"
    return "replaced" if kind.is_replaced(values, different) else "updated"


async def delete(call: Call) -> Reply:
    """DELETE of a stack."""
    call.cloud.stacks.delete(stack_of(call).id)
    return NO_CONTENT


async def abandon(call: Call) -> Reply:
    """DELETE of a stack's management: its objects stay."""
    stack = stack_of(call)
    document = exported(call.cloud.stacks.views, stack)
    call.cloud.stacks.abandon(stack.id)
    return json_reply(document)


async def export(call: Call) -> Reply:
    """GET of what `abandon` would tell."""
    return json_reply(exported(call.cloud.stacks.views, stack_of(call)))


async def action(call: Call) -> Reply:
    """POST of an action: check, suspend, resume, cancel_update, cancel_without_rollback."""
    stack, body = stack_of(call), await call.json()
    if len(body) != 1:
        raise InvalidInput("Multiple actions specified" if body else "No action specified")
    (name,) = body
    if name in ("check", "suspend", "resume"):
        call.cloud.stacks.act(stack.id, name.upper())
    elif name in ("cancel_update", "cancel_without_rollback"):
        call.cloud.stacks.cancel(stack.id, rollback=name == "cancel_update")
    else:
        raise InvalidInput(f"Invalid action {name} specified")
    return json_reply(None)


async def template(call: Call) -> Reply:
    """GET of the template."""
    return json_reply(stack_of(call).definition.template)


async def environment(call: Call) -> Reply:
    """GET of the environment."""
    return json_reply(stack_of(call).definition.environment)


async def files(call: Call) -> Reply:
    """GET of the files."""
    return json_reply(stack_of(call).definition.files)


async def outputs(call: Call) -> Reply:
    """GET of the outputs without their values."""
    found = await call.cloud.stacks.views.outputs(stack_of(call))
    return json_reply({"outputs": [{key: one[key] for key in ("output_key", "description")} for one in found]})


async def output(call: Call) -> Reply:
    """GET of an output."""
    for one in await call.cloud.stacks.views.outputs(stack_of(call)):
        if one["output_key"] == call.params["key"]:
            return json_reply({"output": one})
    raise NotFound(f"Specified output key {call.params['key']} not found.")


async def validate_template(call: Call) -> Reply:
    """POST /validate."""
    body = await call.json()
    definition = read_definition(body)
    read = read_template(definition.template)
    trial = Stack(name="validated", project_id=call.project_id, owner=owner_of(call), definition=definition)
    # Clients validate templates before they know the parameters.
    with suppress(UserParameterMissing):
        await validate(await compiled(definition, trial, call.cloud.stacks.views.judge), trial)
    return json_reply(
        {
            "Description": read.description or "No description",
            "Parameters": {name: _parameter(one, definition) for name, one in read.parameters.items()},
            "ParameterGroups": list(read.parameter_groups),
            "Environment": dict(definition.environment),
            **_nested(call, read),
        }
    )


def _nested(call: Call, read: Template) -> dict[str, Any]:
    return {"NestedParameters": {}} if call.first("show_nested").lower() == "true" else {}


def _parameter(one: Parameter, definition: Definition) -> dict[str, Any]:
    kinds = {"string": "String", "number": "Number", "json": "Json", "boolean": "Boolean"}
    shown: dict[str, Any] = {
        "Type": kinds.get(one.kind, "CommaDelimitedList"),
        "Description": one.description,
        "NoEcho": "true" if one.hidden else "false",
        "Label": one.label,
    }
    if one.default is not None:
        shown["Default"] = one.default
    if (given := definition.environment["parameters"].get(one.name)) is not None:
        shown["Value"] = given
    for constraint in one.constraints:
        shown.update(_constraint(constraint))
    if one.tags:
        shown["Tags"] = list(one.tags)
    return shown


def _constraint(one: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for kind, names in (("length", ("MinLength", "MaxLength")), ("range", ("MinValue", "MaxValue"))):
        limits = one.get(kind) or {}
        shown.update({name: limits[key] for key, name in zip(("min", "max"), names, strict=True) if key in limits})
    renamed = (
        ("allowed_values", "AllowedValues"),
        ("allowed_pattern", "AllowedPattern"),
        ("custom_constraint", "CustomConstraint"),
    )
    shown.update({name: one[key] for key, name in renamed if key in one})
    if shown and one.get("description"):
        shown["ConstraintDescription"] = one["description"]
    return shown
