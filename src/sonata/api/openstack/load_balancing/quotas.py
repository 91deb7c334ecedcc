"""Quotas of the Load Balancer API.

Source: Load Balancer API v2 reference, quotas.
"""

from __future__ import annotations

from collections.abc import Callable

from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import integer
from sonata.api.openstack.reply import NO_CONTENT, Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.schemas import limits
from sonata.emulator.cloud.quotas import UNLIMITED, names_of
from sonata.errors import InvalidInput

LIMIT = integer(UNLIMITED, 2_000_000_000)
QUOTAS = limits("quota", names_of("load-balancer"))
OLD_NAMES = {"load_balancer": "loadbalancer", "healthmonitor": "health_monitor"}
"""Two spellings of the same quota; both are shown and read."""


def register(routes: Routes, base: str) -> None:
    """Add the routes below `base`."""
    routes.add("GET", f"{base}/quotas", _list)
    routes.add("GET", f"{base}/quotas/defaults", _defaults)
    routes.add("GET", f"{base}/quotas/{{project}}", _show)
    routes.add("GET", f"{base}/quotas/{{project}}/default", _defaults)
    routes.add("PUT", f"{base}/quotas/{{project}}", _update, needs="admin", body=QUOTAS)
    routes.add("DELETE", f"{base}/quotas/{{project}}", _reset, needs="admin")


async def _list(call: Call) -> Reply:
    """Projects whose limits differ from the defaults; others than administrators see their own."""
    projects = call.cloud.quotas.projects_with_limits("load-balancer")
    seen = [one for one in projects if call.token.is_admin or one == call.project_id]
    return json_reply({"quotas": [{**_limits(call, one), "project_id": one} for one in seen]})


async def _show(call: Call) -> Reply:
    return json_reply({"quota": _limits(call, _project(call))})


async def _defaults(call: Call) -> Reply:
    return json_reply({"quota": _both(call.cloud.quotas.default)})


async def _update(call: Call) -> Reply:
    project = call.params["project"]
    known = {old: name for name, old in OLD_NAMES.items()} | {name: name for name in names_of("load-balancer")}
    body = await call.member("quota")
    if unknown := sorted(set(body) - set(known)):
        raise InvalidInput(f"Unknown attribute for argument quota: {unknown[0]}")
    try:
        # A null takes the default again, as clients unset values.
        limits = {
            known[name]: call.cloud.quotas.default(known[name]) if value is None else int(LIMIT.read(value))
            for name, value in body.items()
        }
    except ValueError as error:
        raise InvalidInput(f"Invalid input for field/attribute quota. {error}") from None
    call.cloud.quotas.set(project, limits)
    return json_reply({"quota": _limits(call, project)}, 202)


async def _reset(call: Call) -> Reply:
    call.cloud.quotas.reset(call.params["project"], "load-balancer")
    return NO_CONTENT


def _project(call: Call) -> str:
    project = call.params["project"]
    if project != call.project_id:
        call.require_admin("quotas of another project")
    return project


def _limits(call: Call, project: str) -> dict[str, int]:
    return _both(lambda name: call.cloud.quotas.limit(project, name))


def _both(limit: Callable[[str], int]) -> dict[str, int]:
    limits = {name: limit(name) for name in names_of("load-balancer")}
    return {**limits, **{old: limits[name] for name, old in OLD_NAMES.items()}}
