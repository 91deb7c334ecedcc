"""Hypervisors, compute services, availability zones and aggregates of the Compute API.

Source: OpenStack Compute API reference: os-hypervisors, os-services, os-availability-zone, os-aggregates.
"""

from __future__ import annotations

import time
from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.compute import bodies
from sonata.api.openstack.compute.placement import texts_or_none
from sonata.api.openstack.compute.servers import read_name
from sonata.api.openstack.fields import timestamp
from sonata.api.openstack.listing import Document, page
from sonata.api.openstack.reply import Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.topic import Topic, Truth
from sonata.emulator.cloud.compute.capacity import Usage
from sonata.emulator.cloud.entities.hosts import Aggregate, ComputeService
from sonata.errors import InvalidInput, NotFound
from sonata.model.topology import Host

UUIDS, PAGED, TOTALS_GONE, FORCED, UUID_SHOWN = (2, 53), (2, 33), (2, 88), (2, 11), (2, 41)
STARTED = time.monotonic()


TOPIC = Topic(
    "hypervisors, zones, services, aggregates",
    Truth(
        real=(
            "hosts are those of the topology; a service that is disabled or forced down gets no servers; "
            "zones by aggregates; PoPs that the site manages are zones of their own",
        ),
        simplified=(
            "hosts share this machine; they cannot be added here; its free huge pages, which `sonata doctor` counts, "
            "are whoever comes first's",
        ),
        refused=("deleting a service (400): its host is in the topology",),
    ),
)


def register(routes: Routes) -> None:
    """Add the routes."""
    routes.about(TOPIC)
    base = "/v2.1/os-hypervisors"
    routes.add("GET", base, _hypervisors, needs="admin")
    routes.add("GET", f"{base}/detail", _hypervisor_details, needs="admin")
    routes.add("GET", f"{base}/statistics", _statistics, needs="admin")
    routes.add("GET", f"{base}/{{id}}", _hypervisor, needs="admin")
    routes.add("GET", f"{base}/{{id}}/uptime", _uptime, needs="admin")
    routes.add("GET", f"{base}/{{id}}/search", _search, needs="admin")
    routes.add("GET", f"{base}/{{id}}/servers", _servers_of, needs="admin")
    routes.add("GET", "/v2.1/os-availability-zone", _zones)
    routes.add("GET", "/v2.1/os-availability-zone/detail", _zone_details, needs="admin")
    routes.add("GET", "/v2.1/os-services", _services, needs="admin")
    routes.add("PUT", "/v2.1/os-services/{id}", _update_service, needs="admin", body=bodies.SERVICE)
    routes.add("DELETE", "/v2.1/os-services/{id}", _delete_service, needs="admin")
    base = "/v2.1/os-aggregates"
    routes.add("GET", base, _aggregates, needs="admin")
    routes.add("POST", base, _create_aggregate, needs="admin", body=bodies.AGGREGATE_CREATE)
    routes.add("GET", f"{base}/{{id}}", _show_aggregate, needs="admin")
    routes.add("PUT", f"{base}/{{id}}", _update_aggregate, needs="admin", body=bodies.AGGREGATE_UPDATE)
    routes.add("DELETE", f"{base}/{{id}}", _delete_aggregate, needs="admin")
    routes.add("POST", f"{base}/{{id}}/action", _aggregate_action, needs="admin", body=bodies.AGGREGATE_ACTION)


# hypervisors


def _summary(call: Call, host: Host) -> Document:
    service = call.cloud.hosts.service(host.name)
    return {
        "id": _public_id(call, service),
        "hypervisor_hostname": host.name,
        "state": "down" if service.forced_down else "up",
        "status": "enabled" if service.enabled else "disabled",
    }


def _public_id(call: Call, service: ComputeService) -> str | int:
    return service.id if call.microversion >= UUIDS else service.number


def totals(usage: Usage) -> Document:
    """Capacity in Nova's words; vcpus and memory include oversubscription."""
    return {
        "vcpus": int(usage.vcpus),
        "vcpus_used": int(usage.vcpus_used),
        "memory_mb": usage.memory_mib,
        "memory_mb_used": usage.memory_mib_used,
        "free_ram_mb": usage.memory_mib - usage.memory_mib_used,
        "local_gb": usage.disk_gib,
        "local_gb_used": usage.disk_gib_used,
        "free_disk_gb": usage.disk_gib - usage.disk_gib_used,
        "disk_available_least": usage.disk_gib - usage.disk_gib_used,
        "running_vms": usage.servers,
        "current_workload": 0,
    }


def _document(call: Call, host: Host) -> Document:
    service = call.cloud.hosts.service(host.name)
    document: Document = {
        **_summary(call, host),
        "hypervisor_type": "sonata",
        "hypervisor_version": 1,
        "host_ip": "127.0.0.1",
        "service": {
            "id": _public_id(call, service),
            "host": host.name,
            "disabled_reason": service.disabled_reason,
        },
    }
    if call.microversion >= TOTALS_GONE:
        document["uptime"] = _up_for()
    else:
        document.update(totals(call.cloud.hosts.usage(host)), cpu_info={} if call.microversion >= (2, 28) else "{}")
    if call.microversion >= UUIDS and call.first("with_servers").lower() in ("true", "1"):
        document["servers"] = _named_servers(call, host)
    return document


def _named_servers(call: Call, host: Host) -> list[Document]:
    return [{"uuid": server.id, "name": server.name} for server in call.cloud.hosts.servers(host.name)]


def _up_for() -> str:
    """How long the emulator has been up, in the form of uptime(1)."""
    minutes = int(time.monotonic() - STARTED) // 60
    return f" {time.strftime('%H:%M:%S')} up {minutes // 1440} days, {minutes // 60 % 24:2}:{minutes % 60:02},  0 users"


def _asked_for(call: Call) -> tuple[list[Host], bool]:
    """The hosts of a list, and whether more follow.

    Raises:
        NotFound: none has the name asked for, as Nova tells it since 2.53.
    """
    pattern = call.first("hypervisor_hostname_pattern") if call.microversion >= UUIDS else ""
    hosts = call.cloud.hosts.matching(pattern)
    if pattern and not hosts:
        raise NotFound(f"No hypervisor matching '{pattern}' could be found.")
    if call.microversion < PAGED:
        return hosts, False
    keyed = [{"id": _public_id(call, call.cloud.hosts.service(host.name)), "host": host} for host in hosts]
    found, more = page([{**one, "id": str(one["id"])} for one in keyed], call.query)
    return [one["host"] for one in found], more


def _listed(call: Call, documents: list[Document], more: bool) -> Reply:
    body: Document = {"hypervisors": documents}
    if more and documents:
        following = call.request.url.include_query_params(marker=documents[-1]["id"])
        body["hypervisors_links"] = [{"rel": "next", "href": str(following)}]
    return json_reply(body)


async def _hypervisors(call: Call) -> Reply:
    hosts, more = _asked_for(call)
    documents = [_summary(call, host) for host in hosts]
    if call.microversion >= UUIDS and call.first("with_servers").lower() in ("true", "1"):
        documents = [{**one, "servers": _named_servers(call, host)} for one, host in zip(documents, hosts, strict=True)]
    return _listed(call, documents, more)


async def _hypervisor_details(call: Call) -> Reply:
    hosts, more = _asked_for(call)
    return _listed(call, [_document(call, host) for host in hosts], more)


def _find(call: Call) -> Host:
    wanted = call.params["id"]
    for service in call.cloud.tables.compute_services:
        if wanted in (service.id, str(service.number)):
            return call.cloud.hosts.get(service.name)
    raise NotFound(f"Compute host {wanted} could not be found.")


async def _hypervisor(call: Call) -> Reply:
    return json_reply({"hypervisor": _document(call, _find(call))})


async def _uptime(call: Call) -> Reply:
    if call.microversion >= TOTALS_GONE:
        raise NotFound("The resource could not be found.")
    return json_reply({"hypervisor": {**_summary(call, _find(call)), "uptime": _up_for()}})


def _matching(call: Call) -> list[Host]:
    if call.microversion >= UUIDS:
        raise NotFound("The resource could not be found.")
    hosts = call.cloud.hosts.matching(call.params["id"])
    if not hosts:
        raise NotFound(f"No hypervisor matching '{call.params['id']}' could be found.")
    return hosts


async def _search(call: Call) -> Reply:
    return json_reply({"hypervisors": [_summary(call, host) for host in _matching(call)]})


async def _servers_of(call: Call) -> Reply:
    found = [{**_summary(call, host), "servers": _named_servers(call, host)} for host in _matching(call)]
    return json_reply({"hypervisors": found})


async def _statistics(call: Call) -> Reply:
    if call.microversion >= TOTALS_GONE:
        raise NotFound("The resource could not be found.")
    return json_reply({"hypervisor_statistics": {"count": len(call.cloud.hosts.all), **totals(call.cloud.usage)}})


# availability zones


def _zone(call: Call, name: str, hosts: list[str] | None) -> Document:
    """A zone; `available` when one of its hosts takes servers."""
    services = {host: call.cloud.hosts.service(host) for host in call.cloud.hosts.zones()[name]}
    shown = {
        host: {
            "nova-compute": {
                "active": service.enabled,
                "available": not service.forced_down,
                "updated_at": timestamp(time.time())[:-1] + ".000000",
            }
        }
        for host, service in services.items()
    }
    available = any(service.enabled for service in services.values())
    return {"zoneName": name, "zoneState": {"available": available}, "hosts": None if hosts is None else shown}


async def _zones(call: Call) -> Reply:
    return json_reply({"availabilityZoneInfo": [_zone(call, name, None) for name in call.cloud.hosts.zones()]})


async def _zone_details(call: Call) -> Reply:
    zones = call.cloud.hosts.zones()
    return json_reply({"availabilityZoneInfo": [_zone(call, name, hosts) for name, hosts in zones.items()]})


# services


def _service_document(call: Call, service: ComputeService) -> Document:
    document: Document = {
        "id": _public_id(call, service),
        "binary": "nova-compute",
        "host": service.name,
        "zone": call.cloud.hosts.zone(service.name),
        "status": "enabled" if service.enabled else "disabled",
        "state": "down" if service.forced_down else "up",
        "updated_at": timestamp(time.time())[:-1] + ".000000",
        "disabled_reason": service.disabled_reason,
    }
    return {**document, "forced_down": service.forced_down} if call.microversion >= FORCED else document


async def _services(call: Call) -> Reply:
    host, binary = call.first("host"), call.first("binary")
    services = [
        service
        for service in call.cloud.tables.compute_services
        if host in ("", service.name) and binary in ("", "nova-compute")
    ]
    return json_reply({"services": [_service_document(call, service) for service in services]})


async def _update_service(call: Call) -> Reply:
    body = await call.json()
    if call.microversion < UUIDS:
        return _update_by_host(call, body)
    service = call.cloud.tables.compute_services.peek(call.params["id"])
    if service is None:
        raise NotFound(f"Compute service {call.params['id']} could not be found.")
    changes = _service_changes(body)
    if not changes:
        raise InvalidInput("No updates were requested. Fields 'status' or 'forced_down' should be specified.")
    service = call.cloud.hosts.set_service(service.id, **changes)
    return json_reply({"service": _service_document(call, service)})


def _service_changes(body: Document) -> dict[str, Any]:
    if further := sorted(set(body) - {"status", "disabled_reason", "forced_down"}):
        raise InvalidInput(f"Additional properties are not allowed ({further[0]!r} was unexpected)")
    changes: dict[str, Any] = {}
    if "status" in body:
        if body["status"] not in ("enabled", "disabled"):
            raise InvalidInput("Invalid input for field/attribute status: 'enabled' or 'disabled' is needed")
        changes.update(enabled=body["status"] == "enabled", disabled_reason=None)
    if "disabled_reason" in body:
        if body.get("status") != "disabled":
            raise InvalidInput("Specifying disabled_reason when status is not disabled is invalid.")
        changes["disabled_reason"] = str(body["disabled_reason"])
    if "forced_down" in body:
        if not isinstance(body["forced_down"], bool):
            raise InvalidInput("Invalid input for field/attribute forced_down: a boolean is needed")
        changes["forced_down"] = body["forced_down"]
    return changes


def _update_by_host(call: Call, body: Document) -> Reply:
    """`enable`, `disable`, `disable-log-reason` and `force-down` of microversions before 2.53."""
    service = call.cloud.hosts.service(str(body.get("host")))
    action = call.params["id"]
    known: dict[str, dict[str, Any]] = {
        "enable": {"enabled": True, "disabled_reason": None},
        "disable": {"enabled": False},
        "disable-log-reason": {"enabled": False, "disabled_reason": body.get("disabled_reason")},
        "force-down": {"forced_down": bool(body.get("forced_down"))},
    }
    if action not in known:
        raise NotFound("Unknown action")
    service = call.cloud.hosts.set_service(service.id, **known[action])
    shown: Document = {"host": service.name, "binary": "nova-compute"}
    if action == "force-down":
        shown["forced_down"] = service.forced_down
    else:
        shown["status"] = "enabled" if service.enabled else "disabled"
    if action == "disable-log-reason":
        shown["disabled_reason"] = service.disabled_reason
    return json_reply({"service": shown})


async def _delete_service(call: Call) -> Reply:
    raise InvalidInput(f"Compute service {call.params['id']} belongs to a host of the topology and stays.")


# aggregates


def _aggregate_document(call: Call, aggregate: Aggregate) -> Document:
    document: Document = {
        "id": aggregate.number,
        "name": aggregate.name,
        "availability_zone": aggregate.zone or None,
        "hosts": list(aggregate.hosts),
        "metadata": dict(aggregate.metadata),
        "created_at": timestamp(aggregate.created_at)[:-1] + ".000000",
        "updated_at": timestamp(aggregate.updated_at)[:-1] + ".000000" if aggregate.revision else None,
        "deleted": False,
        "deleted_at": None,
    }
    return {**document, "uuid": aggregate.id} if call.microversion >= UUID_SHOWN else document


def _aggregate(call: Call) -> Aggregate:
    for aggregate in call.cloud.tables.aggregates:
        if str(aggregate.number) == call.params["id"]:
            return aggregate
    raise NotFound(f"Aggregate {call.params['id']} could not be found.")


def _shown(call: Call, aggregate: Aggregate) -> Reply:
    return json_reply({"aggregate": _aggregate_document(call, aggregate)})


async def _aggregates(call: Call) -> Reply:
    return json_reply({"aggregates": [_aggregate_document(call, one) for one in call.cloud.tables.aggregates]})


async def _create_aggregate(call: Call) -> Reply:
    asked = await call.member("aggregate")
    return _shown(call, call.cloud.hosts.create_aggregate(read_name(asked), _zone_name(asked)))


def _zone_name(asked: Document) -> str:
    zone = asked.get("availability_zone")
    if zone is not None and (not isinstance(zone, str) or not 1 <= len(zone) <= 255 or ":" in zone):
        raise InvalidInput("Invalid input for field/attribute availability_zone: 1 to 255 characters without `:`")
    return zone or ""


async def _show_aggregate(call: Call) -> Reply:
    return _shown(call, _aggregate(call))


async def _update_aggregate(call: Call) -> Reply:
    aggregate, asked = _aggregate(call), await call.member("aggregate")
    if not asked.keys() & {"name", "availability_zone"}:
        raise InvalidInput("Invalid input for field/attribute aggregate: `name` or `availability_zone` is needed")
    if "name" in asked:
        aggregate = call.cloud.hosts.rename_aggregate(aggregate, read_name(asked))
    if "availability_zone" in asked:
        zone = _zone_name(asked) or None
        aggregate = call.cloud.hosts.set_metadata(aggregate, {"availability_zone": zone})
    return _shown(call, aggregate)


async def _delete_aggregate(call: Call) -> Reply:
    call.cloud.hosts.delete_aggregate(_aggregate(call))
    return Reply()


async def _aggregate_action(call: Call) -> Reply:
    aggregate, body = _aggregate(call), await call.json()
    ((name, asked),) = body.items() if len(body) == 1 else (("", None),)
    if not isinstance(asked, dict) or name not in ("add_host", "remove_host", "set_metadata"):
        raise InvalidInput(f"There is no such action: {name}")
    if name == "set_metadata":
        metadata = asked.get("metadata")
        if not isinstance(metadata, dict):
            raise InvalidInput("Invalid input for field/attribute metadata: an object is needed")
        return _shown(call, call.cloud.hosts.set_metadata(aggregate, texts_or_none(metadata)))
    change = call.cloud.hosts.add_host if name == "add_host" else call.cloud.hosts.remove_host
    return _shown(call, change(aggregate, str(asked.get("host"))))
