"""Quota sets, quota classes and limits of the Compute API.

Source: OpenStack Compute API reference, os-quota-sets, os-quota-class-sets, limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sonata.api.openstack.call import Call, Microversion
from sonata.api.openstack.compute import bodies
from sonata.api.openstack.fields import FLAG, integer
from sonata.api.openstack.reply import ACCEPTED, Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.topic import Topic, Truth
from sonata.emulator.cloud.quotas import DEFAULT_CLASS, UNLIMITED, names_of
from sonata.errors import InvalidInput

NETWORK_PROXIES_GONE: Microversion = (2, 36)
IMAGE_PROXIES_GONE: Microversion = (2, 39)
FILES_GONE: Microversion = (2, 57)
PROXIED = ("fixed_ips", "floating_ips", "security_groups", "security_group_rules")
"""Neutron's matters, which older microversions show; they are unlimited as far as Nova is concerned."""
LIMIT = integer(UNLIMITED, 2**31 - 1)


TOPIC = Topic(
    "limits and quotas",
    Truth(
        real=(
            "shown, set, reset and enforced (403); what is used is counted at the moment of asking; defaults "
            "by `os-quota-class-sets/default`",
        ),
        simplified=("defaults of servers, cores and memory are -1: the capacity of the PoP bounds them",),
        refused=("quotas of projects that do not exist (400); there are none of single users",),
    ),
)


def register(routes: Routes) -> None:
    """Add the routes."""
    routes.about(TOPIC)
    routes.add("GET", "/v2.1/limits", _limits)
    routes.add("GET", "/v2.1/os-quota-sets/{project}", _show)
    routes.add("GET", "/v2.1/os-quota-sets/{project}/defaults", _defaults)
    routes.add("GET", "/v2.1/os-quota-sets/{project}/detail", _details)
    routes.add("PUT", "/v2.1/os-quota-sets/{project}", _update, needs="admin", body=bodies.QUOTAS)
    routes.add("DELETE", "/v2.1/os-quota-sets/{project}", _reset, needs="admin")
    routes.add("GET", "/v2.1/os-quota-class-sets/{name}", _show_class, needs="admin")
    routes.add("PUT", "/v2.1/os-quota-class-sets/{name}", _update_class, needs="admin", body=bodies.QUOTA_CLASS)


def _names(call: Call) -> tuple[str, ...]:
    """The quotas that the call's microversion has."""
    return tuple(
        name for name in names_of("compute") if call.microversion < FILES_GONE or not name.startswith("injected_")
    )


def _proxied(call: Call) -> dict[str, int]:
    return dict.fromkeys(PROXIED, UNLIMITED) if call.microversion < NETWORK_PROXIES_GONE else {}


def _limits_of(call: Call, project_id: str) -> dict[str, int]:
    return {**_proxied(call), **{name: call.cloud.quotas.limit(project_id, name) for name in _names(call)}}


def _defaults_of(call: Call) -> dict[str, int]:
    return {**_proxied(call), **{name: call.cloud.quotas.default(name) for name in _names(call)}}


def _project(call: Call) -> str:
    """The project of the path: one's own, or for an administrator any.

    Raises:
        InvalidInput: there is no such project.
    """
    project = call.params["project"]
    if project != call.project_id:
        call.require_admin("os_compute_api:os-quota-sets:show")
    if project not in call.cloud.tables.projects:
        raise InvalidInput(f"Project ID {project} is not a valid project.")
    return project


async def _show(call: Call) -> Reply:
    project = _project(call)
    return json_reply({"quota_set": {"id": project, **_limits_of(call, project)}})


async def _defaults(call: Call) -> Reply:
    return json_reply({"quota_set": {"id": _project(call), **_defaults_of(call)}})


async def _details(call: Call) -> Reply:
    project = _project(call)
    quotas = call.cloud.quotas
    used = {name: quotas.used(project, name) for name in _names(call)}
    detail = {
        name: {"limit": limit, "in_use": used.get(name, 0), "reserved": 0}
        for name, limit in _limits_of(call, project).items()
    }
    return json_reply({"quota_set": {"id": project, **detail}})


def _flag(value: Any) -> bool:
    try:
        return bool(FLAG.read(value))
    except ValueError as error:
        raise InvalidInput(f"Invalid input for field/attribute quota_set. {error}") from None


async def _update(call: Call) -> Reply:
    project, body = _project(call), await call.member("quota_set")
    forced = _flag(body.pop("force", False))
    body.pop("tenant_id", None)
    limits = _read(call, body)
    if not forced:
        _require_above_use(call, project, limits)
    call.cloud.quotas.set(project, limits)
    return json_reply({"quota_set": _limits_of(call, project)})


def _read(call: Call, body: Mapping[str, Any]) -> dict[str, int]:
    names = _names(call)
    if unknown := [name for name in body if name not in (*names, *_proxied(call))]:
        raise InvalidInput(
            f"Invalid input for field/attribute quota_set. Value: {unknown[0]}. Additional properties are not allowed "
            f"('{unknown[0]}' was unexpected)"
        )
    try:
        return {name: LIMIT.read(value) for name, value in body.items() if name in names}
    except ValueError as error:
        raise InvalidInput(f"Invalid input for field/attribute quota_set. {error}") from None


def _require_above_use(call: Call, project: str, limits: Mapping[str, int]) -> None:
    for name, limit in limits.items():
        used = call.cloud.quotas.used(project, name)
        if UNLIMITED < limit < used:
            raise InvalidInput(
                f"Quota limit {limit} for {name} must be greater than or equal to already used and reserved {used}."
            )


async def _reset(call: Call) -> Reply:
    call.cloud.quotas.reset(_project(call), "compute")
    return ACCEPTED


async def _show_class(call: Call) -> Reply:
    return json_reply({"quota_class_set": {"id": call.params["name"], **_defaults_of(call)}})


async def _update_class(call: Call) -> Reply:
    if call.params["name"] != DEFAULT_CLASS:
        raise InvalidInput(f"quota class {call.params['name']} has no effect: the only one is `{DEFAULT_CLASS}`")
    call.cloud.quotas.set(DEFAULT_CLASS, _read(call, await call.member("quota_class_set")))
    return json_reply({"quota_class_set": _defaults_of(call)})


async def _limits(call: Call) -> Reply:
    project = call.first("tenant_id") or call.project_id
    if project != call.project_id:
        call.require_admin("os_compute_api:limits:other_project")
    quotas, absolute = call.cloud.quotas, {}
    for limited, counted, name in ABSOLUTE:
        absolute[limited] = quotas.limit(project, name)
        if counted:
            absolute[counted] = quotas.used(project, name)
    if call.microversion < IMAGE_PROXIES_GONE:
        absolute["maxImageMeta"] = quotas.limit(project, "metadata_items")
    if call.microversion < FILES_GONE:
        absolute["maxPersonality"] = quotas.limit(project, "injected_files")
        absolute["maxPersonalitySize"] = quotas.limit(project, "injected_file_content_bytes")
    if call.microversion < NETWORK_PROXIES_GONE:
        absolute.update(dict.fromkeys(("maxSecurityGroups", "maxSecurityGroupRules", "maxTotalFloatingIps"), UNLIMITED))
        absolute["totalSecurityGroupsUsed"] = quotas.used(project, "security_group")
        absolute["totalFloatingIpsUsed"] = quotas.used(project, "floatingip")
    return json_reply({"limits": {"absolute": absolute, "rate": []}})


ABSOLUTE = (
    ("maxTotalInstances", "totalInstancesUsed", "instances"),
    ("maxTotalCores", "totalCoresUsed", "cores"),
    ("maxTotalRAMSize", "totalRAMUsed", "ram"),
    ("maxServerGroups", "totalServerGroupsUsed", "server_groups"),
    ("maxServerGroupMembers", "", "server_group_members"),
    ("maxServerMeta", "", "metadata_items"),
    ("maxTotalKeypairs", "", "key_pairs"),
)
"""Name of the limit, name of what is used of it, quota."""
