"""What was done with servers and what they use: actions, migrations, diagnostics, usage of projects.

Source: OpenStack Compute API reference: os-instance-actions, os-migrations, diagnostics, os-simple-tenant-usage.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from sonata.api.openstack.call import Call, Microversion
from sonata.api.openstack.compute.servers import find_server
from sonata.api.openstack.fields import timestamp
from sonata.api.openstack.listing import Document, page
from sonata.api.openstack.reply import Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.topic import Topic, Truth
from sonata.emulator.cloud.compute.power import MIB
from sonata.emulator.cloud.compute.states import VM_STATES, is_on
from sonata.emulator.cloud.entities.compute import ActionEvent, Server, ServerAction
from sonata.emulator.cloud.entities.hosts import Migration
from sonata.errors import Conflict, InvalidInput, NotFound

EVENTS_FOR_ALL, PAGED_ACTIONS, HOSTS_SHOWN, DETAILED = (2, 51), (2, 58), (2, 62), (2, 84)
TYPED_MIGRATIONS, UUID_MIGRATIONS, OWNED_MIGRATIONS = (2, 23), (2, 59), (2, 80)
STANDARD_DIAGNOSTICS: Microversion = (2, 48)
STATES = {"active": "running", "paused": "paused", "suspended": "suspended"}


TOPIC = Topic(
    "history, diagnostics, usage",
    Truth(
        real=("actions with their events, migrations, counters of the running server, use by project",),
        simplified=(
            "use forgets deleted servers",
            "a site remembers its last 1,000 actions, and its last 1,000 migrations",
        ),
    ),
)


def register(routes: Routes) -> None:
    """Add the routes."""
    routes.about(TOPIC)
    routes.add("GET", "/v2.1/servers/{id}/os-instance-actions", _actions)
    routes.add("GET", "/v2.1/servers/{id}/os-instance-actions/{request}", _action)
    routes.add("GET", "/v2.1/servers/{id}/diagnostics", _diagnostics, needs="admin")
    routes.add("GET", "/v2.1/servers/{id}/migrations", _server_migrations, needs="admin")
    routes.add("GET", "/v2.1/os-migrations", _migrations, needs="admin")
    routes.add("GET", "/v2.1/os-simple-tenant-usage", _usages, needs="admin")
    routes.add("GET", "/v2.1/os-simple-tenant-usage/{project}", _usage)


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else timestamp(seconds)[:-1] + ".000000"


# actions


def _action_document(call: Call, action: ServerAction) -> Document:
    document: Document = {
        "action": action.name,
        "instance_uuid": action.server_id,
        "request_id": action.request_id,
        "user_id": action.user_id,
        "project_id": action.project_id,
        "start_time": _moment(action.created_at),
        "message": action.message,
    }
    return {**document, "updated_at": _moment(action.updated_at)} if call.microversion >= PAGED_ACTIONS else document


def _event_document(call: Call, event: ActionEvent) -> Document:
    document: Document = {
        "event": event.name,
        "start_time": _moment(event.started_at),
        "finish_time": _moment(event.finished_at),
        "result": event.result,
    }
    if call.token.is_admin:
        document["traceback"] = event.details if event.result == "Error" else None
    if call.microversion >= HOSTS_SHOWN:
        document["hostId"] = ""
        if call.token.is_admin:
            document["host"] = event.host
    if call.microversion >= DETAILED:
        document["details"] = event.details
    return document


async def _actions(call: Call) -> Reply:
    found = call.cloud.servers.operations.log.of(find_server(call).id)
    if call.microversion < PAGED_ACTIONS:
        return json_reply({"instanceActions": [_action_document(call, one) for one in found]})
    since = call.first("changes-since")
    found = [one for one in found if not since or timestamp(one.updated_at) >= since[:19]]
    keyed: list[Document] = [{"id": one.request_id, "action": one} for one in found]
    shown, more = page(keyed, call.query, unlimited=1000)
    body: Document = {"instanceActions": [_action_document(call, one["action"]) for one in shown]}
    if more and shown:
        following = call.request.url.include_query_params(marker=shown[-1]["id"])
        body["links"] = [{"rel": "next", "href": str(following)}]
    return json_reply(body)


async def _action(call: Call) -> Reply:
    server, wanted = find_server(call), call.params["request"]
    for action in call.cloud.servers.operations.log.of(server.id):
        if action.request_id == wanted:
            document = _action_document(call, action)
            if call.token.is_admin or call.microversion >= EVENTS_FOR_ALL:
                document["events"] = [_event_document(call, event) for event in reversed(action.events)]
            return json_reply({"instanceAction": document})
    raise NotFound(f"Action for request_id {wanted} on instance {server.id} could not be found.")


# migrations


def _migration_document(call: Call, migration: Migration) -> Document:
    document: Document = {
        "id": migration.number,
        "instance_uuid": migration.server_id,
        "source_compute": migration.source,
        "source_node": migration.source,
        "dest_compute": migration.target,
        "dest_node": migration.target,
        "dest_host": "127.0.0.1",
        "status": migration.status,
        "old_instance_type_id": migration.old_flavor_id,
        "new_instance_type_id": migration.new_flavor_id,
        "created_at": _moment(migration.created_at),
        "updated_at": _moment(migration.updated_at),
    }
    if call.microversion >= TYPED_MIGRATIONS:
        document["migration_type"] = migration.kind
        document["links"] = []
    if call.microversion >= UUID_MIGRATIONS:
        document["uuid"] = migration.id
    if call.microversion >= OWNED_MIGRATIONS:
        document.update(user_id=migration.user_id, project_id=migration.project_id)
    return document


MIGRATION_FILTERS = {
    "status": lambda one: one.status,
    "instance_uuid": lambda one: one.server_id,
    "migration_type": lambda one: one.kind,
    "source_compute": lambda one: one.source,
    "user_id": lambda one: one.user_id,
    "project_id": lambda one: one.project_id,
}


async def _migrations(call: Call) -> Reply:
    wanted = [(key, value) for key, value in call.query if key in MIGRATION_FILTERS]
    host = call.first("host")
    found = [
        migration
        for migration in call.cloud.tables.migrations
        if all(MIGRATION_FILTERS[key](migration) == value for key, value in wanted)
        and host in ("", migration.source, migration.target)
    ]
    return json_reply({"migrations": [_migration_document(call, one) for one in reversed(found)]})


async def _server_migrations(call: Call) -> Reply:
    """Live migrations that go on; all others are in the list of all."""
    server = find_server(call)
    found = [one for one in call.cloud.tables.migrations if (one.server_id, one.status) == (server.id, "running")]
    return json_reply({"migrations": [_migration_document(call, one) for one in found]})


# diagnostics


async def _diagnostics(call: Call) -> Reply:
    server = find_server(call)
    if not is_on(server):
        state = VM_STATES[server.status]
        raise Conflict(f"Cannot 'get_diagnostics' instance {server.id} while it is in vm_state {state}")
    usage = await call.cloud.servers.power.usage(server)
    counters = await call.cloud.port_counters(server)
    if call.microversion < STANDARD_DIAGNOSTICS:
        return json_reply(_old_diagnostics(usage.cpu_s, usage.memory_bytes, counters))
    ports = {nic.ifname: call.cloud.tables.ports.peek(nic.port_id) for nic in server.nics}
    nics = [
        {
            "mac_address": port.mac,
            "rx_octets": counters[name].rx_bytes,
            "rx_packets": counters[name].rx_packets,
            "rx_errors": 0,
            "rx_drop": 0,
            "rx_rate": None,
            "tx_octets": counters[name].tx_bytes,
            "tx_packets": counters[name].tx_packets,
            "tx_errors": 0,
            "tx_drop": 0,
            "tx_rate": None,
        }
        for name, port in ports.items()
        if port and name in counters
    ]
    cpus = [{"id": 0, "time": int(usage.cpu_s * 1e9), "utilisation": None}]
    memory = {"maximum": server.flavor.ram_mib, "used": usage.memory_bytes // MIB}
    up_for = _seconds_since(server.launched_at)
    return json_reply(
        {
            "state": STATES.get(VM_STATES[server.status], "running"),
            "driver": None,
            "hypervisor": "sonata",
            "hypervisor_os": "linux",
            "uptime": up_for,
            "config_drive": server.config_drive,
            "num_cpus": len(cpus),
            "num_nics": len(nics),
            "num_disks": 0,
            "disk_details": [],
            "cpu_details": cpus,
            "nic_details": nics,
            "memory_details": memory,
        }
    )


def _old_diagnostics(cpu_s: float, memory_bytes: int, counters: Any) -> Document:
    document: Document = {"cpu0_time": int(cpu_s * 1e9), "memory": memory_bytes // 1024}
    for name, counted in counters.items():
        document[f"{name}_rx"] = counted.rx_bytes
        document[f"{name}_rx_packets"] = counted.rx_packets
        document[f"{name}_tx"] = counted.tx_bytes
        document[f"{name}_tx_packets"] = counted.tx_packets
    return document


# usage of projects


def _usage_of(call: Call, project_id: str, start: float, stop: float, *, detailed: bool) -> Document:
    """Hours of servers that stand in a project between two moments; those that are gone are not remembered."""
    hours = 0.0
    sums = dict.fromkeys(("vcpus", "memory_mb", "local_gb"), 0.0)
    each: list[Document] = []
    for server in call.cloud.tables.servers:
        if server.project_id != project_id:
            continue
        lasted = max(0.0, stop - max(start, server.launched_at or stop)) / 3600
        hours += lasted
        sums["vcpus"] += lasted * server.flavor.vcpus
        sums["memory_mb"] += lasted * server.flavor.ram_mib
        sums["local_gb"] += lasted * server.flavor.disk_gib
        each.append(_server_usage(server, lasted))
    document: Document = {
        "tenant_id": project_id,
        "start": _moment(start),
        "stop": _moment(stop),
        "total_hours": hours,
        **{f"total_{name}_usage": total for name, total in sums.items()},
    }
    return {**document, "server_usages": each} if detailed else document


def _server_usage(server: Server, hours: float) -> Document:
    return {
        "instance_id": server.id,
        "name": server.name,
        "hours": hours,
        "flavor": server.flavor.name,
        "vcpus": server.flavor.vcpus,
        "memory_mb": server.flavor.ram_mib,
        "local_gb": server.flavor.disk_gib,
        "tenant_id": server.project_id,
        "started_at": _moment(server.launched_at),
        "ended_at": None,
        "state": VM_STATES[server.status],
        "uptime": _seconds_since(server.launched_at),
    }


def _seconds_since(moment: float | None) -> int:
    """Whole seconds since then; none since a moment that is to come, after the clock was set back."""
    return max(0, int(time.time() - moment)) if moment else 0


def _period(call: Call) -> tuple[float, float]:
    """The moments asked for, by default the last four weeks as Nova has it.

    Raises:
        InvalidInput: they cannot be read, or are in the wrong order.
    """
    now = time.time()
    start, stop = (_seconds(call.first(name), default) for name, default in (("start", now - 28 * 86400), ("end", now)))
    if start >= stop:
        raise InvalidInput("Invalid start time. The start time cannot occur after the end time.")
    return start, stop


def _seconds(text: str, default: float) -> float:
    if not text:
        return default
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise InvalidInput(f"Datetime is in invalid format: {text}") from None


async def _usages(call: Call) -> Reply:
    start, stop = _period(call)
    detailed = call.first("detailed") == "1"
    projects = dict.fromkeys(server.project_id for server in call.cloud.tables.servers)
    found = [_usage_of(call, project, start, stop, detailed=detailed) for project in projects]
    return json_reply({"tenant_usages": found})


async def _usage(call: Call) -> Reply:
    project = call.params["project"]
    if project != call.project_id:
        call.require_admin("os_compute_api:os-simple-tenant-usage:show")
    start, stop = _period(call)
    if not any(server.project_id == project for server in call.cloud.tables.servers):
        return json_reply({"tenant_usage": {}})
    return json_reply({"tenant_usage": _usage_of(call, project, start, stop, detailed=True)})
