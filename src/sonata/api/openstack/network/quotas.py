"""Quotas of the Networking API.

Source: OpenStack Networking API v2.0 reference, quotas and quota details extensions.
"""

from __future__ import annotations

from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import FLAG, integer
from sonata.api.openstack.reply import NO_CONTENT, Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.schemas import limits
from sonata.emulator.cloud.quotas import UNLIMITED, names_of
from sonata.errors import InvalidInput

LIMIT = integer(UNLIMITED, 2**31 - 1)
SWITCHES = ("check_limit", "force")


def register(routes: Routes) -> None:
    """Add the routes."""
    routes.add("GET", "/v2.0/quotas", _list, needs="admin")
    routes.add("GET", "/v2.0/quotas/tenant", _own_project)
    routes.add("GET", "/v2.0/quotas/project", _own_project)
    routes.add("GET", "/v2.0/quotas/{project}", _show)
    routes.add("GET", "/v2.0/quotas/{project}/default", _default)
    routes.add("GET", "/v2.0/quotas/{project}/details", _details)
    routes.add("GET", "/v2.0/quotas/{project}/details.json", _details)
    routes.add("PUT", "/v2.0/quotas/{project}", _update, needs="admin", body=limits("quota", names_of("network")))
    routes.add("DELETE", "/v2.0/quotas/{project}", _reset, needs="admin")


def _project(call: Call) -> str:
    """The project of the path: one's own, or for an administrator any."""
    project = call.params["project"]
    if project != call.project_id:
        call.require_admin("get_quota of another project")
    return project


def _limits(call: Call, project_id: str) -> dict[str, int]:
    return {name: call.cloud.quotas.limit(project_id, name) for name in names_of("network")}


async def _list(call: Call) -> Reply:
    """Only projects whose limits differ from the defaults."""
    projects = call.cloud.quotas.projects_with_limits("network")
    return json_reply({"quotas": [{**_limits(call, one), "project_id": one, "tenant_id": one} for one in projects]})


async def _own_project(call: Call) -> Reply:
    kind = call.request.url.path.rstrip("/").rpartition("/")[2]
    return json_reply({kind: {f"{kind}_id": call.project_id}})


async def _show(call: Call) -> Reply:
    return json_reply({"quota": _limits(call, _project(call))})


async def _default(call: Call) -> Reply:
    _project(call)
    return json_reply({"quota": {name: call.cloud.quotas.default(name) for name in names_of("network")}})


async def _details(call: Call) -> Reply:
    project, quotas = _project(call), call.cloud.quotas
    detail = {
        name: {"limit": limit, "used": quotas.used(project, name), "reserved": 0}
        for name, limit in _limits(call, project).items()
    }
    return json_reply({"quota": detail})


def _flag(value: Any) -> bool:
    try:
        return bool(FLAG.read(value))
    except ValueError as error:
        raise InvalidInput(f"Invalid input for field/attribute quota. {error}") from None


async def _update(call: Call) -> Reply:
    project, body = _project(call), await call.member("quota")
    switches = {name: _flag(body.pop(name, False)) for name in SWITCHES}
    limits = _read(body)
    if switches["check_limit"]:
        _require_above_use(call, project, limits)
    call.cloud.quotas.set(project, limits)
    return json_reply({"quota": _limits(call, project)})


def _read(body: dict[str, Any]) -> dict[str, int]:
    names = names_of("network")
    unknown = [name for name in body if name not in (*names, "tenant_id", "project_id")]
    if unknown:
        raise InvalidInput(f"Unrecognized attribute(s) '{', '.join(unknown)}'")
    try:
        return {name: LIMIT.read(value) for name, value in body.items() if name in names}
    except ValueError as error:
        raise InvalidInput(f"Invalid input for quota. Reason: {error}") from None


def _require_above_use(call: Call, project: str, limits: dict[str, int]) -> None:
    for name, limit in limits.items():
        used = call.cloud.quotas.used(project, name)
        if UNLIMITED < limit < used:
            raise InvalidInput(f"Quota limit {limit} for {name} is below what is used already: {used}.")


async def _reset(call: Call) -> Reply:
    call.cloud.quotas.reset(_project(call), "network")
    return NO_CONTENT
