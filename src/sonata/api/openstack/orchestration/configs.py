"""Software configurations: pieces of configuration that templates and clients share.

Source: OpenStack Orchestration API v1 reference, "Software configuration".
"""

from __future__ import annotations

from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import timestamp
from sonata.api.openstack.listing import page
from sonata.api.openstack.reply import NO_CONTENT, Reply, json_reply
from sonata.emulator.cloud.entities.orchestration import SoftwareConfig
from sonata.emulator.cloud.orchestration.refusals import EntityNotFound
from sonata.errors import InvalidInput


def config_document(config: SoftwareConfig, *, full: bool) -> dict[str, Any]:
    """A configuration, with what is in it in the full form only."""
    shown: dict[str, Any] = {
        "id": config.id,
        "name": config.name,
        "group": config.group,
        "creation_time": timestamp(config.created_at),
    }
    if full:
        shown |= {
            "config": config.config,
            "inputs": list(config.inputs),
            "outputs": list(config.outputs),
            "options": dict(config.options),
        }
    return shown


def _config_of(call: Call) -> SoftwareConfig:
    config = call.cloud.tables.software_configs.peek(call.params["config"])
    if config is None or config.project_id != call.project_id:
        raise EntityNotFound("Software config", call.params["config"])
    return config


async def list_configs(call: Call) -> Reply:
    """GET of the configurations."""
    own = [one for one in call.cloud.tables.software_configs if one.project_id == call.project_id]
    found, _more = page([config_document(one, full=False) for one in own], call.query)
    return json_reply({"software_configs": found})


async def create_config(call: Call) -> Reply:
    """POST of a configuration."""
    body = await call.json()
    for key in ("inputs", "outputs"):
        given = body.get(key) or []
        if not isinstance(given, list) or not all(isinstance(one, dict) and "name" in one for one in given):
            raise InvalidInput(f"{key} must be a list of objects with a name")
    config = SoftwareConfig(
        name=str(body.get("name") or ""),
        project_id=call.project_id,
        group=str(body.get("group") or "Heat::Ungrouped"),
        config=body.get("config") or "",
        inputs=tuple(body.get("inputs") or ()),
        outputs=tuple(body.get("outputs") or ()),
        options=body.get("options") or {},
    )
    return json_reply({"software_config": config_document(call.cloud.tables.software_configs.add(config), full=True)})


async def show_config(call: Call) -> Reply:
    """GET of a configuration."""
    return json_reply({"software_config": config_document(_config_of(call), full=True)})


async def delete_config(call: Call) -> Reply:
    """DELETE of a configuration that no deployment has."""
    config = _config_of(call)
    if any(one.config_id == config.id for one in call.cloud.tables.software_deployments):
        raise InvalidInput(f"Software config with id {config.id} can not be deleted as it is referenced.")
    call.cloud.tables.software_configs.remove(config.id)
    return NO_CONTENT
