"""Software deployments: configurations that are applied to servers, by stacks or by clients.

Source: OpenStack Orchestration API v1 reference, "Software configuration".
"""

from __future__ import annotations

from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import timestamp
from sonata.api.openstack.orchestration.configs import config_document
from sonata.api.openstack.orchestration.requests import owner_of
from sonata.api.openstack.reply import NO_CONTENT, Reply, json_reply
from sonata.emulator.cloud.entities.orchestration import SoftwareDeployment, StackResource, State
from sonata.emulator.cloud.orchestration.refusals import EntityNotFound
from sonata.errors import Conflict, InvalidInput

KINDS = frozenset(("OS::Heat::SoftwareDeployment", "OS::Heat::StructuredDeployment"))
LONGEST_PROJECT_ID = 64
_TEXTS = ("config_id", "action", "status", "status_reason")


def _of_stack(row: StackResource) -> dict[str, Any]:
    return {
        "id": row.id,
        "server_id": row.properties.get("server"),
        "config_id": row.properties.get("config"),
        "action": row.action,
        "status": row.status,
        "status_reason": row.status_reason,
        "input_values": dict(row.properties.get("input_values") or {}),
        "output_values": dict(row.data.get("told") or {}),
        "creation_time": timestamp(row.created_at),
        "updated_time": timestamp(row.updated_at),
    }


def _of_client(one: SoftwareDeployment) -> dict[str, Any]:
    shown = {
        "id": one.id,
        "server_id": one.server_id,
        "config_id": one.config_id,
        "action": one.action,
        "status": one.status,
        "status_reason": one.status_reason,
        "input_values": dict(one.input_values),
        "output_values": dict(one.told) or None,
        "creation_time": timestamp(one.created_at),
    }
    return {**shown, "updated_time": timestamp(one.updated_at)} if one.revision else shown


def _documents(call: Call) -> list[dict[str, Any]]:
    tables = call.cloud.tables
    rows = [row for row in tables.stack_resources if row.kind in KINDS and not row.obsolete and row.physical_id]
    own = [_of_stack(row) for row in rows if row.project_id == call.project_id]
    return own + [_of_client(one) for one in tables.software_deployments if one.project_id == call.project_id]


def _own(call: Call) -> SoftwareDeployment:
    """The client's deployment of a path.

    Raises:
        EntityNotFound: there is none.
        Conflict: a stack has made it.
    """
    wanted = call.params["deployment"]
    found = call.cloud.tables.software_deployments.peek(wanted)
    if found and found.project_id == call.project_id:
        return found
    if any(one["id"] == wanted for one in _documents(call)):
        raise Conflict(f"the deployment {wanted} belongs to a stack", hint="update or delete the stack")
    raise EntityNotFound("Software deployment", wanted)


async def list_deployments(call: Call) -> Reply:
    """GET of the deployments of a project, or of one server."""
    asked = call.first("server_id")
    return json_reply(
        {"software_deployments": [one for one in _documents(call) if not asked or one["server_id"] == asked]}
    )


async def metadata(call: Call) -> Reply:
    """GET of the configurations of a server's deployments, by their names."""
    wanted = [one["config_id"] for one in _documents(call) if one["server_id"] == call.params["server"]]
    configs = [config for one in wanted if (config := call.cloud.tables.software_configs.peek(str(one)))]
    configs.sort(key=lambda config: config.name)
    return json_reply({"metadata": [config_document(config, full=True) for config in configs]})


async def show(call: Call) -> Reply:
    """GET of a deployment."""
    for one in _documents(call):
        if one["id"] == call.params["deployment"]:
            return json_reply({"software_deployment": one})
    raise EntityNotFound("Software deployment", call.params["deployment"])


async def create(call: Call) -> Reply:
    """POST of a deployment: the configuration is applied to the server, in the background."""
    body = await call.json()
    for name in ("config_id", "server_id"):
        if not isinstance(body.get(name), str) or not body[name]:
            raise InvalidInput(f"{name} must be specified")
    project = str(body.get("stack_user_project_id") or "")
    if len(project) > LONGEST_PROJECT_ID:
        raise InvalidInput('"stack_user_project_id" should be no more than 64 characters')
    made = call.cloud.stacks.deployments.create(
        SoftwareDeployment(
            project_id=call.project_id,
            owner=owner_of(call),
            server_id=body["server_id"],
            config_id=body["config_id"],
            action=str(body.get("action") or "INIT"),
            status=str(body.get("status") or State.COMPLETE),
            status_reason=str(body.get("status_reason") or ""),
            input_values=_values(body, "input_values"),
            stack_user_project_id=project,
        )
    )
    return json_reply({"software_deployment": _of_client(made)})


async def update(call: Call) -> Reply:
    """PUT of a deployment; another configuration is applied."""
    deployment, body = _own(call), await call.json()
    changes: dict[str, Any] = {name: str(body[name]) for name in _TEXTS if body.get(name) is not None}
    if body.get("input_values") is not None:
        changes["input_values"] = _values(body, "input_values")
    if body.get("output_values") is not None:
        changes["told"] = _values(body, "output_values")
    return json_reply({"software_deployment": _of_client(call.cloud.stacks.deployments.change(deployment, changes))})


async def delete(call: Call) -> Reply:
    """DELETE of a deployment; what it has done in the server stays."""
    call.cloud.stacks.deployments.delete(_own(call))
    return NO_CONTENT


def _values(body: dict[str, Any], name: str) -> dict[str, Any]:
    values = body.get(name) or {}
    if not isinstance(values, dict):
        raise InvalidInput(f"{name} must be a JSON object")
    return values
