"""The routes of the Orchestration API v1 of a PoP.

A stack is known by name and id together; by one of them alone it is looked up, and the answer leads to the full path.
Source: OpenStack Orchestration API v1 reference.
"""

from __future__ import annotations

from urllib.parse import quote

from sonata import __version__
from sonata.api.openstack.call import Call
from sonata.api.openstack.faults import Forbidden
from sonata.api.openstack.orchestration import bodies, configs, deployments, resources, snapshots, stacks
from sonata.api.openstack.reply import Reply, json_reply
from sonata.api.openstack.routing import Handler, Routes
from sonata.api.openstack.schemas import Schema
from sonata.api.openstack.topic import Topic, Truth

BASE = "/v1/{project}"
TOPIC = Topic(
    "Stacks",
    Truth(
        real=(
            "HOT templates of all versions from 2013-05-23 to 2021-04-16 with all functions; environments with merge "
            "strategies, mappings of types, hooks and restricted actions",
            "create, update (in place or by replacement as each property needs), rollback, delete, check, preview, "
            "adopt, abandon; "
            "every resource is made through the APIs of this cloud with the authority of the stack's owner",
            "snapshots and restoration: servers and volumes are kept as images, and filled from these again",
            "nested templates, resource groups and chains, scaling groups with policies, changes in batches, wait "
            "conditions and signals: clients send them to a policy's `alarm_url`, servers, which reach the metadata "
            "address and not that of the API, to `signal_url` and to a handle's `endpoint`",
            "software deployments of scripts and JSON files, by stacks or by clients: applied in the server at "
            "creation and when their inputs change, their outputs and failures told",
            "operations run along the dependency graph in parallel, have a timeout, and fail when the keeper dies",
            "a stack takes another action at any time, as Heat's convergence engine lets it: what was begun ends, "
            "nothing more of it begins, then the new action works; a failed resource has the stack failed at once, "
            "while those beside it end; states, reasons, events and refusals are compared with Heat's engine",
            "environment files win over parameters of the request, in their order, or are merged with them",
        ),
        simplified=(
            "`user_data_format` `HEAT_CFNTOOLS` hands user data over as it is; servers have no cfn tools",
            "configurations are applied by the emulator; an agent in the server has nothing to fetch",
            "deleted stacks are forgotten at once",
            "adoption and abandonment, which Heat's operators switch on, are on; an adoption that fails and is taken "
            "back lets the objects go, where Heat would delete them",
            "other `networks` or another `admin_pass` of a server make another server",
            "snapshots of stacks, and `deletion_policy: Snapshot`, make images of volumes, since there are no backups; "
            "as in Heat they keep nothing of nested stacks but what these are made of",
            "types of services that a cloud lacks are listed; making them fails with the service's own answer",
        ),
        refused=(
            "CloudFormation templates and types (400), `template_url` (501)",
            "event sinks (400, `ResourceTypeUnavailable`): there is no Zaqar, without which Heat would drop the events",
            "`OS::Heat::AccessPolicy` and `AWS::IAM::*` (400): stacks have no users whose access could be narrowed",
            "groups of configurations other than `script`, `json-file` and `component`: the deployment fails so",
            "types of services that there are not (400), as Heat answers where a service is missing",
        ),
    ),
)

BODIES: dict[Handler, Schema] = {
    stacks.create: bodies.CREATE,
    stacks.preview: bodies.CREATE,
    stacks.update: bodies.UPDATE,
    stacks.patch: bodies.PATCH,
    stacks.preview_update: bodies.UPDATE,
    stacks.preview_patch: bodies.PATCH,
    stacks.action: bodies.ACTION,
    snapshots.create: bodies.SNAPSHOT,
    stacks.validate_template: bodies.VALIDATE,
    resources.mark_unhealthy: bodies.MARK_UNHEALTHY,
    configs.create_config: bodies.CONFIG,
    deployments.create: bodies.DEPLOYMENT,
    deployments.update: bodies.DEPLOYMENT_CHANGE,
}


def orchestration_routes() -> Routes:
    """All routes of the service."""
    routes = Routes()
    routes.about(TOPIC)
    routes.add("GET", "/", _versions, public=True)
    routes.add("GET", "/v1", _versions, public=True)
    _add_stacks(routes)
    _add_parts(routes)
    _add_others(routes)
    return routes


def _add(routes: Routes, method: str, path: str, handler: Handler) -> None:
    """A route in a project, which must be that of the token."""
    routes.add(method, f"{BASE}{path}", _in_project(handler), body=BODIES.get(handler))


def _in_project(handler: Handler) -> Handler:
    async def handle(call: Call) -> Reply:
        if call.params["project"] != call.project_id:
            raise Forbidden("You are not authorized to complete this action.")
        return await handler(call)

    handle.__doc__ = handler.__doc__
    return handle


def _add_stacks(routes: Routes) -> None:
    _add(routes, "GET", "/stacks", stacks.list_stacks)
    _add(routes, "GET", "/stacks/detail", stacks.list_stacks)
    _add(routes, "POST", "/stacks", stacks.create)
    _add(routes, "POST", "/stacks/preview", stacks.preview)
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        _add(routes, method, "/stacks/{name}", _lookup(""))
    one = "/stacks/{name}/{id}"
    _add(routes, "GET", one, stacks.show)
    _add(routes, "PUT", one, stacks.update)
    _add(routes, "PATCH", one, stacks.patch)
    _add(routes, "DELETE", one, stacks.delete)


def _add_parts(routes: Routes) -> None:
    """What belongs to a stack; each is also found without the stack's id."""
    parts: tuple[tuple[str, str, Handler], ...] = (
        ("GET", "/template", stacks.template),
        ("GET", "/environment", stacks.environment),
        ("GET", "/files", stacks.files),
        ("GET", "/outputs", stacks.outputs),
        ("GET", "/outputs/{key}", stacks.output),
        ("PUT", "/preview", stacks.preview_update),
        ("PATCH", "/preview", stacks.preview_patch),
        ("DELETE", "/abandon", stacks.abandon),
        ("GET", "/export", stacks.export),
        ("POST", "/actions", stacks.action),
        ("GET", "/snapshots", snapshots.list_snapshots),
        ("POST", "/snapshots", snapshots.create),
        ("GET", "/snapshots/{snapshot}", snapshots.show),
        ("DELETE", "/snapshots/{snapshot}", snapshots.delete),
        ("POST", "/snapshots/{snapshot}/restore", snapshots.restore),
        ("GET", "/resources", resources.list_resources),
        ("GET", "/resources/{resource}", resources.show_resource),
        ("PATCH", "/resources/{resource}", resources.mark_unhealthy),
        ("GET", "/resources/{resource}/metadata", resources.metadata),
        ("GET", "/resources/{resource}/events", resources.list_events),
        ("GET", "/resources/{resource}/events/{event}", resources.show_event),
        ("GET", "/events", resources.list_events),
    )
    for method, path, handler in parts:
        _add(routes, method, f"/stacks/{{name}}/{{id}}{path}", handler)
        _add(routes, method, f"/stacks/{{name}}{path}", _lookup(path))
    # Who signals may know the resource's own secret instead of a token.
    signal = "/resources/{resource}/signal"
    routes.add("POST", f"{BASE}/stacks/{{name}}/{{id}}{signal}", resources.signal, public=True, body=bodies.SIGNAL)
    _add(routes, "POST", f"/stacks/{{name}}{signal}", _lookup(signal))


def _add_others(routes: Routes) -> None:
    _add(routes, "POST", "/validate", stacks.validate_template)
    _add(routes, "GET", "/resource_types", resources.list_types)
    _add(routes, "GET", "/resource_types/{type}", resources.show_type)
    _add(routes, "GET", "/resource_types/{type}/template", resources.type_template)
    _add(routes, "GET", "/template_versions", resources.template_versions)
    _add(routes, "GET", "/template_versions/{version}/functions", resources.template_functions)
    _add(routes, "GET", "/software_configs", configs.list_configs)
    _add(routes, "POST", "/software_configs", configs.create_config)
    _add(routes, "GET", "/software_configs/{config}", configs.show_config)
    _add(routes, "DELETE", "/software_configs/{config}", configs.delete_config)
    _add(routes, "GET", "/software_deployments", deployments.list_deployments)
    _add(routes, "POST", "/software_deployments", deployments.create)
    _add(routes, "GET", "/software_deployments/metadata/{server}", deployments.metadata)
    _add(routes, "GET", "/software_deployments/{deployment}", deployments.show)
    _add(routes, "PUT", "/software_deployments/{deployment}", deployments.update)
    _add(routes, "DELETE", "/software_deployments/{deployment}", deployments.delete)
    _add(routes, "GET", "/build_info", _build_info)
    routes.add("GET", f"{BASE}/services", _in_project(_services), needs="admin")


def _lookup(rest: str) -> Handler:
    """The handler of a path without the stack's id: it leads to the one with it."""

    async def handle(call: Call) -> Reply:
        stack = call.cloud.stacks.find(call.project_id, call.params["name"])
        values = {key: quote(value, safe="") for key, value in call.params.items()}
        path = f"/v1/{stack.project_id}/stacks/{quote(stack.name)}/{stack.id}{rest.format(**values)}"
        query = f"?{call.request.url.query}" if call.request.url.query else ""
        return Reply(status=302, headers={"location": call.url("orchestration", path) + query})

    return handle


async def _versions(call: Call) -> Reply:
    version = {
        "id": "v1.0",
        "status": "CURRENT",
        "links": [{"rel": "self", "href": call.url("orchestration", "/v1/")}],
    }
    return json_reply({"versions": [version]}, 300)


async def _build_info(_call: Call) -> Reply:
    return json_reply({"api": {"revision": __version__}, "engine": {"revision": __version__}})


async def _services(call: Call) -> Reply:
    """The engine is part of the keeper: it is up when it answers."""
    service = {
        "id": call.cloud.identity.admin.id,
        "engine_id": call.cloud.identity.admin.id,
        "binary": "heat-engine",
        "host": call.pop,
        "hostname": call.pop,
        "topic": "engine",
        "status": "up",
        "report_interval": 60,
        "created_at": None,
        "updated_at": None,
        "deleted_at": None,
    }
    return json_reply({"services": [service]})
