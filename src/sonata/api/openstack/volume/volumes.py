"""Volumes of the Block Storage API: create, list, show, change, delete."""

from __future__ import annotations

from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import timestamp
from sonata.api.openstack.listing import Document
from sonata.api.openstack.reply import ACCEPTED, Reply, json_reply
from sonata.api.openstack.volume import bodies
from sonata.api.openstack.volume.common import (
    MetadataRoutes,
    Paths,
    find,
    flag_of,
    links,
    listed,
    precise,
    text_of,
    texts_of,
    visible,
    whole_of,
)
from sonata.emulator.cloud.entities.volume import Volume
from sonata.emulator.cloud.volume.sources import VolumeWish
from sonata.errors import InvalidInput, NotFound

ZONE = "nova"
GROUPED, PROVIDED, SHARED, COUNTED = (3, 13), (3, 21), (3, 48), (3, 45)
CLUSTERED, TYPE_NAMED, QUOTA_TOLD = (3, 61), (3, 63), (3, 65)


def register(paths: Paths) -> None:
    """Add the routes of volumes."""
    paths.add("GET", "/volumes", _list)
    paths.add("GET", "/volumes/detail", _detail)
    paths.add("GET", "/volumes/summary", _summary)
    paths.add("POST", "/volumes", _create, body=bodies.VOLUME_CREATE)
    paths.add("GET", "/volumes/{id}", _show)
    paths.add("PUT", "/volumes/{id}", _update, body=bodies.VOLUME_UPDATE)
    paths.add("DELETE", "/volumes/{id}", _delete)
    MetadataRoutes(find_volume, lambda call: call.cloud.tables.volumes).register(paths, "/volumes")


def find_volume(call: Call) -> Volume:
    """The volume that a call means.

    Raises:
        NotFound: there is none that the caller may see.
    """
    return find(call, call.cloud.tables.volumes, "Volume")


def volume_document(call: Call, volume: Volume) -> Document:
    """A volume as Cinder shows it in the call's microversion."""
    kind = call.cloud.tables.volume_types.peek(volume.type_id)
    document: Document = {
        "id": volume.id,
        "name": volume.name or None,
        "description": volume.description or None,
        "status": volume.status,
        "size": volume.size_gib,
        "volume_type": kind.name if kind else None,
        "availability_zone": volume.availability_zone,
        "bootable": "true" if volume.bootable else "false",
        "encrypted": False,
        "multiattach": False,
        "attachments": _attachments(call, volume),
        "metadata": _metadata(call, volume),
        "snapshot_id": volume.snapshot_id or None,
        "source_volid": volume.source_id or None,
        "consistencygroup_id": None,
        "replication_status": None,
        "migration_status": None,
        "user_id": volume.user_id,
        "created_at": precise(volume.created_at),
        "updated_at": precise(volume.updated_at),
        "links": links(call, "volumes", volume.id),
        "os-vol-tenant-attr:tenant_id": volume.project_id,
    }
    if volume.image_metadata:
        document["volume_image_metadata"] = dict(volume.image_metadata)
    if call.token.is_admin:
        host = f"{call.cloud.pop.name}@local#local"
        document.update({"os-vol-host-attr:host": host, "os-vol-mig-status-attr:migstat": None})
        document["os-vol-mig-status-attr:name_id"] = None
    return {**document, **_added(call, volume)}


def _added(call: Call, volume: Volume) -> Document:
    """What microversions have added."""
    added: Document = {}
    if call.microversion >= GROUPED:
        added["group_id"] = None
    if call.microversion >= PROVIDED and call.token.is_admin:
        added["provider_id"] = None
    if call.microversion >= SHARED:
        added.update({"shared_targets": False, "service_uuid": None})
    if call.microversion >= CLUSTERED and call.token.is_admin:
        added["cluster_name"] = None
    if call.microversion >= TYPE_NAMED:
        added["volume_type_id"] = volume.type_id
    if call.microversion >= QUOTA_TOLD:
        added["consumes_quota"] = True
    return added


def _metadata(call: Call, volume: Volume) -> dict[str, str]:
    """A volume's metadata, with what the host does not let us do."""
    told = {"readonly": "True"} if volume.read_only else {}
    if reason := call.cloud.volumes.store.unenforced:
        told["unenforced"] = f"size: {reason}"
    return {**volume.metadata, **told}


def _attachments(call: Call, volume: Volume) -> list[Document]:
    return [
        {
            "id": volume.id,
            "attachment_id": attachment.id,
            "volume_id": volume.id,
            "server_id": attachment.server_id,
            "host_name": call.cloud.pop.name if call.token.is_admin else None,
            "device": attachment.device,
            "attached_at": precise(attachment.created_at),
        }
        for attachment in call.cloud.attachments.of_volume(volume.id)
        if attachment.status == "attached"
    ]


def _wanted(call: Call) -> list[Volume]:
    volumes = visible(call, call.cloud.tables.volumes)
    if asked := call.first("created_at"):
        volumes = [one for one in volumes if timestamp(one.created_at)[:19] == asked[:19]]
    return volumes


async def _list(call: Call) -> Reply:
    documents = (volume_document(call, volume) for volume in _wanted(call))
    return listed(
        call,
        "volumes",
        documents,
        lambda one: {key: one[key] for key in ("id", "name", "links")},
        counted_since=COUNTED,
    )


async def _detail(call: Call) -> Reply:
    documents = (volume_document(call, volume) for volume in _wanted(call))
    return listed(call, "volumes", documents, counted_since=COUNTED)


async def _summary(call: Call) -> Reply:
    volumes = visible(call, call.cloud.tables.volumes)
    total = {"total_count": len(volumes), "total_size": sum(volume.size_gib for volume in volumes)}
    merged: dict[str, list[str]] = {}
    for volume in volumes:
        for key, value in volume.metadata.items():
            merged[key] = sorted({*merged.get(key, ()), value})
    return json_reply({"volume-summary": {**total, **({"metadata": merged} if call.microversion >= (3, 36) else {})}})


async def _show(call: Call) -> Reply:
    return json_reply({"volume": volume_document(call, find_volume(call))})


async def _create(call: Call) -> Reply:
    body = await call.member("volume")
    volume = call.cloud.volumes.create(_wish(call, body))
    return json_reply({"volume": volume_document(call, volume)}, 202)


def _wish(call: Call, body: Document) -> VolumeWish:
    """The volume that a body asks for.

    Raises:
        InvalidInput: it is ill-formed, or has several sources.
        NotFound: a source does not exist, or not for this project.
    """
    snapshot, source, image = (text_of(body, name) or "" for name in ("snapshot_id", "source_volid", "imageRef"))
    image = image or text_of(body, "image_id") or ""
    if sum(map(bool, (snapshot, source, image))) > 1:
        raise InvalidInput("Invalid input received: a volume can have one source only.")
    if not (snapshot or source) or body.get("size") is not None:
        whole_of(body, "size")
    _check_sources(call, snapshot, source)
    if flag_of(body, "multiattach", False):
        raise InvalidInput("Invalid input received: multiattach volumes are not supported by this backend.")
    if (zone := text_of(body, "availability_zone")) not in (None, "", ZONE):
        raise InvalidInput(f"Invalid input received: Availability zone '{zone}' is invalid.")
    if body.get("backup_id") or body.get("group_id") or body.get("consistencygroup_id"):
        raise NotFound("There are no backups and no groups here.")
    return VolumeWish(
        project_id=call.project_id,
        user_id=call.token.user.id,
        size_gib=whole_of(body, "size") if body.get("size") is not None else 0,
        name=text_of(body, "name", "display_name") or "",
        description=text_of(body, "description", "display_description") or "",
        type_name=text_of(body, "volume_type") or "",
        snapshot_id=snapshot,
        source_id=source,
        image_id=_image(call, image),
        metadata=texts_of(body.get("metadata")),
    )


def _check_sources(call: Call, snapshot_id: str, source_id: str) -> None:
    tables = call.cloud.tables
    if snapshot_id and ((snapshot := tables.snapshots.peek(snapshot_id)) is None or not call.sees(snapshot)):
        raise NotFound(f"Snapshot {snapshot_id} could not be found.")
    if source_id and ((volume := tables.volumes.peek(source_id)) is None or not call.sees(volume)):
        raise NotFound(f"Volume {source_id} could not be found.")


def _image(call: Call, image_id: str) -> str:
    if not image_id:
        return ""
    try:
        image = call.cloud.images.get(image_id)
    except NotFound:
        image = None
    if image is None or not (call.token.is_admin or call.cloud.image_members.may_see(image, call.project_id)):
        raise InvalidInput("Invalid image identifier or unable to access requested image.")
    return image.id


async def _update(call: Call) -> Reply:
    volume, body = find_volume(call), await call.member("volume")
    changes: Document = {}
    for attribute, names in (
        ("name", ("name", "display_name")),
        ("description", ("description", "display_description")),
    ):
        if any(name in body for name in names):
            changes[attribute] = text_of(body, *names) or ""
    if "metadata" in body:
        changes["metadata"] = texts_of(body["metadata"])
    if not changes:
        raise InvalidInput("Must specify 'name' or 'description' to update.")
    return json_reply({"volume": volume_document(call, call.cloud.tables.volumes.change(volume.id, **changes))})


async def _delete(call: Call) -> Reply:
    volume = find_volume(call)
    cascade, force = (call.first(name).lower() in ("true", "1") for name in ("cascade", "force"))
    if force:
        call.require_admin("volume:force_delete")
    call.cloud.volumes.delete(volume.id, cascade=cascade, force=force)
    return ACCEPTED
