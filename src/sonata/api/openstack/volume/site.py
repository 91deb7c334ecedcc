"""What the Block Storage API tells of the site: limits, quotas, services, pools, zones, messages."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from sonata.api.openstack.call import Call
from sonata.api.openstack.listing import Document
from sonata.api.openstack.reply import Reply, json_reply
from sonata.api.openstack.routing import Handler
from sonata.api.openstack.volume import bodies
from sonata.api.openstack.volume.common import Paths, precise, visible
from sonata.api.openstack.volume.volumes import ZONE
from sonata.emulator.cloud.entities.volume import Volume
from sonata.emulator.cloud.quotas import UNLIMITED, names_of
from sonata.emulator.cloud.volume.types import usable
from sonata.errors import InvalidInput, NotFound

GIB = 1024**3
NAMES = names_of("volume")
PER_TYPE = ("volumes", "snapshots", "gigabytes")
NO_BACKUPS = "Service cinder-backup could not be found."
EMPTY = {
    "/backups": "backups",
    "/backups/detail": "backups",
    "/groups": "groups",
    "/groups/detail": "groups",
    "/group_types": "group_types",
    "/group_snapshots": "group_snapshots",
    "/group_snapshots/detail": "group_snapshots",
    "/consistencygroups": "consistencygroups",
    "/consistencygroups/detail": "consistencygroups",
    "/cgsnapshots": "cgsnapshots",
    "/cgsnapshots/detail": "cgsnapshots",
    "/qos-specs": "qos_specs",
    "/clusters": "clusters",
}
"""Lists that are empty here, by path."""


def register(paths: Paths) -> None:
    """Add the routes of the site."""
    paths.add("GET", "/limits", _limits)
    paths.add("GET", "/os-quota-sets/{project}", _quotas)
    paths.add("PUT", "/os-quota-sets/{project}", _set_quotas, needs="admin", body=bodies.QUOTAS)
    paths.add("DELETE", "/os-quota-sets/{project}", _reset_quotas, needs="admin")
    paths.add("GET", "/os-quota-sets/{project}/defaults", _default_quotas)
    paths.add("GET", "/os-quota-class-sets/{class}", _quota_class, needs="admin")
    paths.add("GET", "/os-availability-zone", _zones)
    paths.add("GET", "/os-services", _services, needs="admin")
    paths.add("GET", "/os-hosts", _hosts, needs="admin")
    paths.add("GET", "/scheduler-stats/get_pools", _pools, needs="admin")
    paths.add("GET", "/capabilities/{host}", _capabilities, needs="admin")
    paths.add("GET", "/extensions", _extensions)
    paths.add("GET", "/resource_filters", _filters)
    paths.add("GET", "/messages", _messages)
    paths.add("GET", "/messages/{id}", _message)
    for path, name in EMPTY.items():
        paths.add("GET", path, _empty(name))
    paths.add("POST", "/backups", _no_backups)
    paths.add("POST", "/groups", _no_groups)


def _empty(name: str) -> Handler:
    async def show(call: Call) -> Reply:
        return json_reply({name: []})

    return show


async def _no_backups(call: Call) -> Reply:
    raise NotFound(NO_BACKUPS)


async def _no_groups(call: Call) -> Reply:
    raise InvalidInput("Invalid group: there is no group type here.")


# limits and quotas


async def _limits(call: Call) -> Reply:
    quotas, project = call.cloud.quotas, call.project_id
    absolute = {
        "maxTotalVolumes": quotas.limit(project, "volumes"),
        "maxTotalSnapshots": quotas.limit(project, "snapshots"),
        "maxTotalVolumeGigabytes": quotas.limit(project, "gigabytes"),
        "maxTotalBackups": quotas.limit(project, "backups"),
        "maxTotalBackupGigabytes": quotas.limit(project, "backup_gigabytes"),
        "totalVolumesUsed": quotas.used(project, "volumes"),
        "totalSnapshotsUsed": quotas.used(project, "snapshots"),
        "totalGigabytesUsed": quotas.used(project, "gigabytes"),
        "totalBackupsUsed": 0,
        "totalBackupGigabytesUsed": 0,
    }
    return json_reply({"limits": {"rate": [], "absolute": absolute}})


def _project(call: Call) -> str:
    project = call.params["project"]
    if project != call.project_id and not call.token.is_admin:
        call.require_admin("volume_extension:quotas:show")
    return project


def _limits_of(call: Call, limit: Mapping[str, int]) -> Document:
    """Limits, with those of each type that the caller may see, which are unlimited."""
    known = call.cloud.tables.volume_types
    kinds = [kind.name for kind in known if call.token.is_admin or usable(kind, call.project_id)]
    return {**limit, **{f"{name}_{kind}": UNLIMITED for kind in kinds for name in PER_TYPE}}


async def _quotas(call: Call) -> Reply:
    project = _project(call)
    limits = _limits_of(call, {name: call.cloud.quotas.limit(project, name) for name in NAMES})
    if call.first("usage").lower() not in ("true", "1"):
        return json_reply({"quota_set": {"id": project, **limits}})
    shown = {
        name: {"limit": limit, "in_use": _used(call, project, name), "reserved": 0} for name, limit in limits.items()
    }
    return json_reply({"quota_set": {"id": project, **shown}})


def _used(call: Call, project: str, name: str) -> int:
    if name in NAMES:
        return call.cloud.quotas.used(project, name)
    what, _, kind = name.partition("_")
    volumes = [one for one in call.cloud.tables.volumes if one.project_id == project and _type_name(call, one) == kind]
    if what == "gigabytes":
        return sum(one.size_gib for one in volumes)
    if what == "volumes":
        return len(volumes)
    ids = {one.id for one in volumes}
    return sum(one.volume_id in ids for one in call.cloud.tables.snapshots)


def _type_name(call: Call, volume: Volume) -> str:
    kind = call.cloud.tables.volume_types.peek(volume.type_id)
    return kind.name if kind else ""


async def _set_quotas(call: Call) -> Reply:
    project, asked = call.params["project"], await call.member("quota_set")
    limits: dict[str, int] = {}
    for name, value in asked.items():
        if name in ("tenant_id", "skip_validation", "force"):
            continue
        if name not in NAMES:
            raise InvalidInput(f"Bad key(s) in quota set: {name[:60]}")
        if isinstance(value, bool) or not str(value).lstrip("-").isdigit() or not -1 <= int(value) < 2**31:
            raise InvalidInput(f"Invalid input for field/attribute {name}: an integer of at least -1 is needed.")
        limits[name] = int(value)
    call.cloud.quotas.set(project, limits)
    return json_reply({"quota_set": {name: call.cloud.quotas.limit(project, name) for name in NAMES}})


async def _reset_quotas(call: Call) -> Reply:
    call.cloud.quotas.reset(call.params["project"], "volume")
    return Reply()


async def _default_quotas(call: Call) -> Reply:
    limits = _limits_of(call, {name: call.cloud.quotas.default(name) for name in NAMES})
    return json_reply({"quota_set": {"id": _project(call), **limits}})


async def _quota_class(call: Call) -> Reply:
    limits = _limits_of(call, {name: call.cloud.quotas.default(name) for name in NAMES})
    return json_reply({"quota_class_set": {"id": call.params["class"], **limits}})


# services


async def _zones(call: Call) -> Reply:
    return json_reply({"availabilityZoneInfo": [{"zoneName": ZONE, "zoneState": {"available": True}}]})


async def _services(call: Call) -> Reply:
    host = call.cloud.pop.name
    names = {"cinder-scheduler": host, "cinder-volume": f"{host}@local"}
    services = [
        {
            "binary": binary,
            "host": where,
            "zone": ZONE,
            "status": "enabled",
            "state": "up",
            "updated_at": None,
            "disabled_reason": None,
        }
        for binary, where in names.items()
        if call.first("binary", binary) == binary and call.first("host", where) == where
    ]
    return json_reply({"services": services})


async def _hosts(call: Call) -> Reply:
    host = {"service-status": "available", "service": "cinder-volume", "zone": ZONE, "service-state": "enabled"}
    return json_reply({"hosts": [{**host, "host_name": f"{call.cloud.pop.name}@local", "last-update": None}]})


async def _pools(call: Call) -> Reply:
    pool: Document = {"name": f"{call.cloud.pop.name}@local#local"}
    if call.first("detail").lower() in ("true", "1"):
        store = call.cloud.volumes.store
        promised = sum(volume.size_gib for volume in call.cloud.tables.volumes)
        free = store.free_bytes // GIB
        pool["capabilities"] = {
            "volume_backend_name": "local",
            "storage_protocol": "file",
            "vendor_name": "Sonata",
            "driver_version": "1.0",
            "free_capacity_gb": free,
            "total_capacity_gb": free + promised,
            "allocated_capacity_gb": promised,
            "provisioned_capacity_gb": promised,
            "max_over_subscription_ratio": "20.0",
            "reserved_percentage": 0,
            "thin_provisioning_support": True,
            "QoS_support": False,
            "multiattach": False,
            "timestamp": None,
        }
    return json_reply({"pools": [pool]})


async def _capabilities(call: Call) -> Reply:
    pool = f"{call.cloud.pop.name}@local"
    if call.params["host"].partition("#")[0] != pool:
        raise NotFound(f"Host {call.params['host']} could not be found.")
    return json_reply(
        {
            "namespace": f"OS::Storage::Capabilities::{pool}",
            "vendor_name": "Sonata",
            "volume_backend_name": "local",
            "pool_name": "local",
            "driver_version": "1.0",
            "storage_protocol": "file",
            "display_name": None,
            "description": None,
            "visibility": None,
            "replication_targets": [],
            "properties": {},
        }
    )


async def _extensions(call: Call) -> Reply:
    return json_reply({"extensions": []})


async def _filters(call: Call) -> Reply:
    wanted = call.first("resource")
    filters = {
        "volume": ["name", "status", "metadata", "bootable", "availability_zone"],
        "snapshot": ["name", "status", "volume_id", "metadata"],
        "attachment": ["volume_id", "status", "instance_id"],
    }
    shown = [{"resource": name, "filters": keys} for name, keys in filters.items() if wanted in ("", name)]
    return json_reply({"resource_filters": shown})


# messages: why volumes are in error


def _documents(call: Call) -> list[Document]:
    return [
        {
            "id": str(uuid.uuid5(uuid.UUID(volume.id), volume.fault)),
            "resource_uuid": volume.id,
            "resource_type": "VOLUME",
            "event_id": "VOLUME_000001",
            "user_message": volume.fault,
            "message_level": "ERROR",
            "request_id": None,
            "created_at": precise(volume.updated_at),
            "guaranteed_until": precise(volume.updated_at + 30 * 86400),
        }
        for volume in visible(call, call.cloud.tables.volumes)
        if volume.fault
    ]


async def _messages(call: Call) -> Reply:
    wanted = call.first("resource_uuid")
    return json_reply({"messages": [one for one in _documents(call) if wanted in ("", one["resource_uuid"])]})


async def _message(call: Call) -> Reply:
    for one in _documents(call):
        if one["id"] == call.params["id"]:
            return json_reply({"message": one})
    raise NotFound(f"Message {call.params['id']} could not be found.")
