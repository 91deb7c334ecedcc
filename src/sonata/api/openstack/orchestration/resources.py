"""Resources and events of stacks, signals to them, and types of resources.

Source: OpenStack Orchestration API v1 reference, "Stack resources", "Stack events", "Resource types".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.listing import page
from sonata.api.openstack.orchestration.documents import (
    event_document,
    nested_of,
    required_by,
    resource_detail,
    resource_summary,
    state,
)
from sonata.api.openstack.orchestration.stacks import stack_of
from sonata.api.openstack.reply import Reply, json_reply
from sonata.emulator.cloud.entities.orchestration import Stack, StackEvent, StackResource
from sonata.emulator.cloud.identity.tokens import REQUIRED
from sonata.emulator.cloud.orchestration.catalogue import HIDDEN, UNSUPPORTED, absent, kind_named, kinds
from sonata.emulator.cloud.orchestration.kinds.base import Kind
from sonata.emulator.cloud.orchestration.refusals import EntityNotFound
from sonata.emulator.cloud.orchestration.schema import Property, shown_all
from sonata.emulator.cloud.orchestration.signalling import details_in, knows_secret
from sonata.emulator.cloud.orchestration.validation import DEEPEST
from sonata.errors import InvalidInput, Unauthorised
from sonata.formats.hot.versions import FUNCTIONS, condition_functions

LONGEST_SIGNAL = 64 * 1024


def resource_of(call: Call) -> tuple[Stack, StackResource]:
    """The resource of a path, by its name or physical id.

    Raises:
        EntityNotFound: there is none.
    """
    stack = stack_of(call)
    wanted = call.params["resource"]
    rows = call.cloud.stacks.views.rows(stack.id)
    for row in rows:
        if row.name == wanted:
            return stack, row
    for row in rows:
        if row.physical_id and row.physical_id == wanted:
            return stack, row
    raise EntityNotFound("Resource", f"{wanted}) could not be found in Stack {stack.name}. (")


async def list_resources(call: Call) -> Reply:
    """GET of a stack's resources, those of nested stacks down to `nested_depth`, too."""
    asked = call.first("nested_depth", "0")
    if not asked.isdigit():
        raise InvalidInput(f"Only integer is allowed for nested_depth, not '{asked}'")
    stack = stack_of(call)
    found = list(_down(call, stack, min(int(asked), DEEPEST)))
    wanted = {"name": "resource_name", "type": "resource_type", "physical_resource_id": "physical_resource_id"}
    for key, name in wanted.items():
        if values := {value for one, value in call.query if one == key}:
            found = [document for document in found if document[name] in values]
    for key in ("status", "action"):
        if values := {value.upper() for one, value in call.query if one == key}:
            found = [one for one in found if any(value in one["resource_status"] for value in values)]
    return json_reply({"resources": found})


def _down(call: Call, stack: Stack, depth: int) -> Iterator[dict[str, Any]]:
    rows = call.cloud.stacks.views.rows(stack.id)
    with_detail = call.first("with_detail").lower() == "true"
    for row in rows:
        document = resource_summary(call, stack, row, required_by(rows, row.name))
        if with_detail:
            document |= {"properties": dict(row.properties), "description": row.description, "stack_name": stack.name}
        yield document
        if depth and (nested := nested_of(call, stack, row)):
            yield from _down(call, nested, depth - 1)


async def show_resource(call: Call) -> Reply:
    """GET of a resource."""
    stack, row = resource_of(call)
    views = call.cloud.stacks.views
    more = tuple(value for key, value in call.query if key == "with_attr")
    attributes = await views.attributes(stack, row, more)
    document = resource_detail(call, stack, row, required_by(views.rows(stack.id), row.name), attributes)
    return json_reply({"resource": document})


async def metadata(call: Call) -> Reply:
    """GET of a resource's metadata."""
    _stack, row = resource_of(call)
    return json_reply({"metadata": dict(row.metadata)})


async def signal(call: Call) -> Reply:
    """POST of a signal: with a token of the project, or with the secret of the resource itself."""
    stack = call.cloud.tables.stacks.peek(call.params["id"])
    row = call.cloud.stacks.views.row(stack.id, call.params["resource"]) if stack else None
    given = call.first("signature") or call.request.headers.get("x-auth-token", "")
    if not (stack and row and knows_secret(row, given)):
        _require_member(call, stack)
        stack, row = _found(call, stack, row)
    body = bytearray()
    async for chunk in call.request.stream():
        body += chunk
        if len(body) > LONGEST_SIGNAL:
            raise InvalidInput(f"a signal has at most {LONGEST_SIGNAL} bytes")
    await call.cloud.stacks.signal(stack, row, details_in(bytes(body)))
    return Reply()


def _require_member(call: Call, stack: Stack | None) -> None:
    token = call.cloud.identity.tokens.check(call.request.headers.get("x-auth-token", ""))
    if not token.allows("member") or token.project is None:
        raise Unauthorised(REQUIRED)
    if stack is None or stack.project_id != token.project.id:
        raise EntityNotFound("Stack", call.params["name"])


def _found(call: Call, stack: Stack | None, row: StackResource | None) -> tuple[Stack, StackResource]:
    if stack is None or row is None:
        raise EntityNotFound("Resource", call.params["resource"])
    return stack, row


async def mark_unhealthy(call: Call) -> Reply:
    """PATCH of a resource."""
    _stack, row = resource_of(call)
    body = await call.json()
    if not isinstance(unhealthy := body.get("mark_unhealthy"), bool):
        raise InvalidInput("Missing mandatory (mark_unhealthy) key from mark unhealthy request")
    reason = str(body.get("resource_status_reason") or "state changed by resource_mark_unhealthy api")
    call.cloud.stacks.mark(row, reason, unhealthy=unhealthy)
    return json_reply(None)


async def list_events(call: Call) -> Reply:
    """GET of the events of a stack or of one of its resources."""
    stack = stack_of(call)
    asked = call.first("nested_depth", "0")
    stacks = _family(call, stack, int(asked) if asked.isdigit() else 0)
    events = [event for event in call.cloud.tables.stack_events if event.stack_id in stacks]
    if name := call.params.get("resource"):
        resource_of(call)
        events = [event for event in events if event.resource_name == name]
    if call.first("sort_dir", "asc") == "desc":
        events.reverse()
    found = [event for event in events if _wanted(call, event)]
    documents = [event_document(call, stacks[event.stack_id], event) for event in found]
    shown_page, more = page(documents, [(key, value) for key, value in call.query if key in ("limit", "marker")])
    body: dict[str, Any] = {"events": shown_page}
    if more and shown_page:
        following = str(call.request.url.include_query_params(marker=shown_page[-1]["id"]))
        body["links"] = [{"rel": "next", "href": following}]
    return json_reply(body)


def _wanted(call: Call, event: StackEvent) -> bool:
    have = {
        "resource_action": event.action,
        "resource_status": event.status,
        "resource_name": event.resource_name,
        "resource_type": event.resource_type,
    }
    for key, value in have.items():
        asked = {one for name, one in call.query if name == key}
        if asked and value not in asked and not (key == "resource_status" and state(event.action, value) in asked):
            return False
    return True


def _family(call: Call, stack: Stack, depth: int) -> dict[str, Stack]:
    """A stack and those nested in it."""
    found = {stack.id: stack}
    if depth > 0:
        for nested in call.cloud.tables.stacks:
            if nested.parent_id == stack.id:
                found.update(_family(call, nested, depth - 1))
    return found


async def show_event(call: Call) -> Reply:
    """GET of an event."""
    stack = stack_of(call)
    event = call.cloud.tables.stack_events.peek(call.params["event"])
    if event is None or event.stack_id != stack.id or event.resource_name != call.params["resource"]:
        raise EntityNotFound("Event", call.params["event"])
    return json_reply({"event": event_document(call, stack, event, full=True)})


async def list_types(call: Call) -> Reply:
    """GET of the names of all types; `name` is a regular expression."""
    wanted = call.first("name")
    names = sorted(name for name in kinds() if wanted in name and name not in HIDDEN)
    if call.first("with_description").lower() == "true":
        return json_reply({"resource_types": [{"resource_type": name, "description": None} for name in names]})
    return json_reply({"resource_types": names})


async def show_type(call: Call) -> Reply:
    """GET of the schema of a type."""
    kind = _type(call)
    return json_reply(
        {
            "resource_type": kind.name,
            "properties": shown_all(offered_properties(kind)),
            "attributes": {name: {"type": of} for name, of in kind.schema.shown_attributes.items()},
            "support_status": {
                "status": "UNSUPPORTED" if kind.name in UNSUPPORTED else "SUPPORTED",
                "message": None,
                "version": None,
                "previous_status": None,
            },
        }
    )


def offered_properties(kind: Kind) -> dict[str, Property]:
    """The properties of a type that have an effect here."""
    return {name: one for name, one in kind.properties.items() if name not in kind.refused}


async def type_template(call: Call) -> Reply:
    """GET of a template with one resource of a type."""
    kind = _type(call)
    if call.first("template_type", "cfn") not in ("hot", "cfn"):
        raise InvalidInput("Template type is not supported: it is hot or cfn")
    properties = {name: one for name, one in offered_properties(kind).items() if not one.same_as}
    return json_reply(
        {
            "heat_template_version": "2016-10-14",
            "description": f"Initial template of {kind.name.rpartition('::')[2]}",
            "parameters": {name: _parameter(one) for name, one in properties.items()},
            "resources": {
                kind.name.rpartition("::")[2]: {
                    "type": kind.name,
                    "properties": {name: {"get_param": name} for name in properties},
                }
            },
            "outputs": {
                name: {"value": {"get_attr": [kind.name.rpartition("::")[2], name]}} for name in kind.schema.attributes
            },
        }
    )


_PARAMETER_KINDS = {"map": "json", "list": "comma_delimited_list", "integer": "number", "any": "string"}


def _parameter(one: Property) -> dict[str, Any]:
    found: dict[str, Any] = {"type": _PARAMETER_KINDS.get(one.kind, one.kind)}
    if one.default is not None:
        found["default"] = one.default
    return found


def _type(call: Call) -> Kind:
    name = call.params["type"]
    if name in HIDDEN:
        raise InvalidInput(f"{name} is not supported.")
    if name in kinds() or name in absent():
        return kind_named(name, {})
    raise EntityNotFound("Resource Type", name)


async def template_versions(call: Call) -> Reply:
    """GET of the versions of templates."""
    versions = [{"version": f"heat_template_version.{version}", "type": "hot", "aliases": []} for version in FUNCTIONS]
    return json_reply({"template_versions": versions})


async def template_functions(call: Call) -> Reply:
    """GET of the functions of a version."""
    version = call.params["version"].removeprefix("heat_template_version.")
    if version not in FUNCTIONS:
        raise EntityNotFound("Template with version", call.params["version"])
    names = set(FUNCTIONS[version])
    if call.first("with_condition_func").lower() == "true":
        names |= condition_functions(version)
    found = [{"functions": name, "description": ""} for name in sorted(names)]
    return json_reply({"template_functions": found})
