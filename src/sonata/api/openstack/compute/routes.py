"""The Compute API v2.1 of a PoP: versions, limits, quotas, hypervisors, zones, services; servers and flavors beside.

Source: OpenStack Compute API reference, microversions 2.1 to 2.96.
"""

from __future__ import annotations

import uuid
from typing import Any

import sonata.api.openstack.compute.flavors as compute_flavors
import sonata.api.openstack.compute.keypairs as compute_keypairs
import sonata.api.openstack.compute.quotas as compute_quotas
import sonata.api.openstack.compute.server_parts as compute_server_parts
import sonata.api.openstack.compute.servers as compute_servers
import sonata.api.openstack.compute.volume_attachments as compute_volume_attachments
from sonata.api.openstack.call import NEWEST, OLDEST, Call
from sonata.api.openstack.listing import Document
from sonata.api.openstack.network.resources import ZONE
from sonata.api.openstack.reply import Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.errors import NotFound

UUIDS, SERVERS_LISTED, TOTALS_GONE = (2, 53), (2, 53), (2, 88)


def compute_routes() -> Routes:
    """All routes of the service."""
    routes = Routes()
    routes.add("GET", "/", _versions, public=True)
    routes.add("GET", "/v2.1", _version, public=True)
    compute_flavors.register(routes)
    compute_servers.register(routes)
    compute_keypairs.register(routes)
    compute_server_parts.register(routes)
    compute_volume_attachments.register(routes)
    compute_quotas.register(routes)
    routes.add("GET", "/v2.1/extensions", _extensions)
    routes.add("GET", "/v2.1/os-availability-zone", _zones)
    routes.add("GET", "/v2.1/os-availability-zone/detail", _zone_details)
    routes.add("GET", "/v2.1/os-hypervisors", _hypervisors)
    routes.add("GET", "/v2.1/os-hypervisors/detail", _hypervisor_details)
    routes.add("GET", "/v2.1/os-hypervisors/statistics", _statistics)
    routes.add("GET", "/v2.1/os-hypervisors/{id}", _hypervisor)
    routes.add("GET", "/v2.1/os-services", _services)
    routes.add("GET", "/v2.1/os-aggregates", _aggregates)
    routes.add("GET", "/v2.1/os-server-groups", _server_groups)
    return routes


def _version_document(call: Call) -> Document:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": f"{NEWEST[0]}.{NEWEST[1]}",
        "min_version": f"{OLDEST[0]}.{OLDEST[1]}",
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": call.url("compute", "/v2.1/")}],
    }


async def _versions(call: Call) -> Reply:
    return json_reply({"versions": [_version_document(call)]})


async def _version(call: Call) -> Reply:
    media = {"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}
    return json_reply({"version": {**_version_document(call), "media-types": [media]}})


async def _extensions(call: Call) -> Reply:
    return json_reply({"extensions": []})


def _zone(call: Call, *, hosts: bool) -> Document:
    service = {"nova-compute": {"active": True, "available": True, "updated_at": None}}
    found = {call.cloud.pop.name: service} if hosts else None
    return {"zoneName": ZONE, "zoneState": {"available": True}, "hosts": found}


async def _zones(call: Call) -> Reply:
    return json_reply({"availabilityZoneInfo": [_zone(call, hosts=False)]})


async def _zone_details(call: Call) -> Reply:
    return json_reply({"availabilityZoneInfo": [_zone(call, hosts=True)]})


# The PoP appears as one hypervisor that has the PoP's name and capacity.


def _hypervisor_id(call: Call) -> str:
    return str(uuid.uuid5(uuid.UUID(call.cloud.identity.admin.id), "hypervisor"))


def _hypervisor_summary(call: Call) -> Document:
    new = call.microversion >= UUIDS
    name = call.cloud.pop.name
    return {"id": _hypervisor_id(call) if new else 1, "hypervisor_hostname": name, "state": "up", "status": "enabled"}


def _totals(call: Call) -> Document:
    """Capacity of the PoP in Nova's words; vcpus and memory include oversubscription."""
    usage = call.cloud.usage
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


def _hypervisor_document(call: Call) -> Document:
    service_id = _hypervisor_id(call) if call.microversion >= UUIDS else 1
    document: Document = {
        **_hypervisor_summary(call),
        "hypervisor_type": "sonata",
        "hypervisor_version": 1,
        "host_ip": "127.0.0.1",
        "service": {"id": service_id, "host": call.cloud.pop.name, "disabled_reason": None},
    }
    if call.microversion >= TOTALS_GONE:
        document["uptime"] = None
    else:
        document.update(_totals(call), cpu_info={})
    if call.microversion >= SERVERS_LISTED and call.first("with_servers").lower() in ("true", "1"):
        document["servers"] = [{"uuid": server.id, "name": server.name} for server in call.cloud.tables.servers]
    return document


def _asked_for(call: Call) -> bool:
    """Whether the PoP's hypervisor is among those that a query wants."""
    return call.first("hypervisor_hostname_pattern") in call.cloud.pop.name


async def _hypervisors(call: Call) -> Reply:
    call.require_admin("os_compute_api:os-hypervisors:list")
    return json_reply({"hypervisors": [_hypervisor_summary(call)] if _asked_for(call) else []})


async def _hypervisor_details(call: Call) -> Reply:
    call.require_admin("os_compute_api:os-hypervisors:list-detail")
    return json_reply({"hypervisors": [_hypervisor_document(call)] if _asked_for(call) else []})


async def _hypervisor(call: Call) -> Reply:
    call.require_admin("os_compute_api:os-hypervisors:show")
    if call.params["id"] not in (_hypervisor_id(call), "1"):
        raise NotFound(f"Compute host {call.params['id']} could not be found.")
    return json_reply({"hypervisor": _hypervisor_document(call)})


async def _statistics(call: Call) -> Reply:
    call.require_admin("os_compute_api:os-hypervisors:statistics")
    return json_reply({"hypervisor_statistics": {"count": 1, **_totals(call)}})


async def _services(call: Call) -> Reply:
    service: dict[str, Any] = {
        "id": _hypervisor_id(call) if call.microversion >= UUIDS else 1,
        "binary": "nova-compute",
        "host": call.cloud.pop.name,
        "zone": ZONE,
        "status": "enabled",
        "state": "up",
        "updated_at": None,
        "disabled_reason": None,
        "forced_down": False,
    }
    return json_reply({"services": [service]})


async def _aggregates(call: Call) -> Reply:
    return json_reply({"aggregates": []})


async def _server_groups(call: Call) -> Reply:
    return json_reply({"server_groups": []})
