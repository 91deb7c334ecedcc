"""What can be done to a volume: POST /volumes/{id}/action with the action's name as key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.image.documents import CONTAINER_FORMATS, VISIBILITIES
from sonata.api.openstack.listing import Document
from sonata.api.openstack.reply import ACCEPTED, Reply, json_reply
from sonata.api.openstack.volume import bodies
from sonata.api.openstack.volume.common import Paths, flag_of, precise, text_of, texts_of, whole_of
from sonata.api.openstack.volume.volumes import find_volume
from sonata.emulator.cloud.entities.image import GlanceImage
from sonata.emulator.cloud.entities.volume import Volume, VolumeStatus
from sonata.emulator.cloud.volume.sources import require_status
from sonata.errors import InvalidInput, NotFound, Unsupported

EXTEND_IN_USE, REIMAGE = (3, 42), (3, 68)
STATUSES = frozenset(
    ("creating", "available", "deleting", "error", "error_deleting", "attaching", "detaching", "in-use", "maintenance",
     "reserved", "awaiting-transfer", "error_extending", "error_managing")
)  # fmt: skip


def register(paths: Paths) -> None:
    """Add the route of actions."""
    paths.add("POST", "/volumes/{id}/action", _action, body=bodies.VOLUME_ACTION)


async def _action(call: Call) -> Reply:
    """Do the one action that the body names."""
    volume, body = find_volume(call), await call.json()
    if len(body) != 1:
        raise InvalidInput("Malformed request body: exactly one action is needed.")
    ((name, arguments),) = body.items()
    if name in REFUSED:
        raise Unsupported(f"{name}: {REFUSED[name]}")
    action = ACTIONS.get(name)
    if action is None:
        raise InvalidInput(f"There is no such action: {name[:60]}")
    if not isinstance(arguments, dict | None):
        raise InvalidInput(f"Invalid input for field/attribute {name}: an object is needed.")
    return await action(call, volume, arguments or {})


async def _extend(call: Call, volume: Volume, asked: Document) -> Reply:
    if call.microversion < EXTEND_IN_USE:
        require_status(volume, {VolumeStatus.AVAILABLE}, "extend")
    call.cloud.volumes.extend(volume.id, whole_of(asked, "new_size"), call.cloud.attachments.apart)
    return ACCEPTED


async def _retype(call: Call, volume: Volume, asked: Document) -> Reply:
    if asked.get("migration_policy", "never") not in ("never", "on-demand"):
        raise InvalidInput("Invalid input received: migration_policy must be 'on-demand' or 'never'.")
    call.cloud.volumes.retype(volume.id, text_of(asked, "new_type") or "")
    return ACCEPTED


async def _set_bootable(call: Call, volume: Volume, asked: Document) -> Reply:
    call.cloud.tables.volumes.change(volume.id, bootable=flag_of(asked, "bootable"))
    return Reply()


async def _set_read_only(call: Call, volume: Volume, asked: Document) -> Reply:
    require_status(volume, {VolumeStatus.AVAILABLE}, "update readonly flag")
    call.cloud.tables.volumes.change(volume.id, read_only=flag_of(asked, "readonly"))
    return ACCEPTED


async def _reset_status(call: Call, volume: Volume, asked: Document) -> Reply:
    call.require_admin("volume_extension:volume_admin_actions:reset_status")
    status = str(asked.get("status") or "")
    if status and status not in STATUSES:
        raise InvalidInput(f"Invalid input for field/attribute status. Value: {status[:40]}.")
    if not status and not asked.get("attach_status") and not asked.get("migration_status"):
        raise InvalidInput("Invalid input received: Must specify 'status', 'attach_status' or 'migration_status'.")
    if status:
        call.cloud.tables.volumes.change(volume.id, status=status)
    return ACCEPTED


async def _force_delete(call: Call, volume: Volume, _asked: Document) -> Reply:
    call.require_admin("volume_extension:volume_admin_actions:force_delete")
    call.cloud.volumes.delete(volume.id, cascade=True, force=True)
    return ACCEPTED


async def _upload(call: Call, volume: Volume, asked: Document) -> Reply:
    name = text_of(asked, "image_name")
    if not name:
        raise InvalidInput("Invalid input for field/attribute image_name: a name is needed.")
    container, disk = str(asked.get("container_format", "bare")), str(asked.get("disk_format", "raw"))
    if disk != "raw" or container not in CONTAINER_FORMATS:
        raise InvalidInput(
            f"Invalid input received: a volume becomes a raw image here, not {disk[:20]}/{container[:20]}."
        )
    visibility = str(asked.get("visibility", "private"))
    if visibility not in VISIBILITIES:
        raise InvalidInput(f"Invalid input for field/attribute visibility. Value: {visibility[:40]}.")
    if visibility == "public":
        call.require_admin("volume_extension:volume_actions:upload_public")
    image = GlanceImage(
        name=name,
        project_id=volume.project_id,
        status="queued",
        visibility=visibility,
        container_format=container,
        disk_format=disk,
        protected=flag_of(asked, "protected", False),
        properties={key: value for key, value in volume.image_metadata.items() if key.startswith("os_")},
    )
    allowed = {VolumeStatus.AVAILABLE, *((VolumeStatus.IN_USE,) if flag_of(asked, "force", False) else ())}
    require_status(volume, allowed, "upload to image")
    image = await call.cloud.images.create(image)
    call.cloud.volumes.upload(volume.id, image, force=flag_of(asked, "force", False))
    kind = call.cloud.tables.volume_types.peek(volume.type_id)
    told = {
        "id": volume.id,
        "image_id": image.id,
        "image_name": name,
        "status": VolumeStatus.UPLOADING,
        "size": volume.size_gib,
        "container_format": container,
        "disk_format": disk,
        "visibility": visibility,
        "protected": image.protected,
        "display_description": volume.description,
        "updated_at": precise(volume.updated_at),
        "volume_type": {"id": kind.id, "name": kind.name} if kind else None,
    }
    return json_reply({"os-volume_upload_image": told}, 202)


async def _show_image_metadata(_call: Call, volume: Volume, _asked: Document) -> Reply:
    return json_reply({"metadata": dict(volume.image_metadata)})


async def _set_image_metadata(call: Call, volume: Volume, asked: Document) -> Reply:
    metadata = {**volume.image_metadata, **texts_of(asked.get("metadata"))}
    call.cloud.tables.volumes.change(volume.id, image_metadata=metadata)
    return json_reply({"metadata": metadata})


async def _unset_image_metadata(call: Call, volume: Volume, asked: Document) -> Reply:
    key = text_of(asked, "key") or ""
    if key not in volume.image_metadata:
        raise NotFound("Metadata does not exist.")
    kept = {name: value for name, value in volume.image_metadata.items() if name != key}
    call.cloud.tables.volumes.change(volume.id, image_metadata=kept)
    return Reply()


async def _revert(call: Call, volume: Volume, asked: Document) -> Reply:
    snapshots = [one for one in call.cloud.tables.snapshots if one.volume_id == volume.id]
    wanted = text_of(asked, "snapshot_id")
    if not snapshots or snapshots[-1].id != wanted:
        raise InvalidInput(f"Specified snapshot {wanted} is None or not the latest one of volume {volume.id}.")
    await call.cloud.volumes.revert(volume.id, snapshots[-1].id)
    return ACCEPTED


async def _reimage(call: Call, volume: Volume, asked: Document) -> Reply:
    if call.microversion < REIMAGE:
        raise InvalidInput("There is no such action: os-reimage")
    reserved = flag_of(asked, "reimage_reserved", False)
    call.cloud.volumes.reimage(volume.id, text_of(asked, "image_id") or "", reserved=reserved)
    return ACCEPTED


async def _reserve(call: Call, volume: Volume, _asked: Document) -> Reply:
    require_status(volume, {VolumeStatus.AVAILABLE}, "reserve")
    call.cloud.tables.volumes.change(volume.id, status=VolumeStatus.RESERVED)
    return ACCEPTED


async def _unreserve(call: Call, volume: Volume, _asked: Document) -> Reply:
    if volume.status in (VolumeStatus.RESERVED, VolumeStatus.ATTACHING):
        call.cloud.tables.volumes.change(volume.id, status=VolumeStatus.AVAILABLE)
    return ACCEPTED


async def _detach(call: Call, volume: Volume, _asked: Document) -> Reply:
    """Take a volume out of the servers that have it, as Nova would."""
    attachments = call.cloud.attachments.of_volume(volume.id)
    if not attachments:
        raise InvalidInput(f"Invalid volume: Volume {volume.id} is not attached.")
    for attachment in attachments:
        await call.cloud.attachments.detach(attachment.server_id, volume.id)
    return ACCEPTED


Action = Callable[[Call, Volume, Any], Awaitable[Reply]]
ACTIONS: dict[str, Action] = {
    "os-extend": _extend,
    "os-retype": _retype,
    "os-set_bootable": _set_bootable,
    "os-update_readonly_flag": _set_read_only,
    "os-reset_status": _reset_status,
    "os-force_delete": _force_delete,
    "os-volume_upload_image": _upload,
    "os-show_image_metadata": _show_image_metadata,
    "os-set_image_metadata": _set_image_metadata,
    "os-unset_image_metadata": _unset_image_metadata,
    "os-reserve": _reserve,
    "os-unreserve": _unreserve,
    "os-detach": _detach,
    "os-force_detach": _detach,
    "revert": _revert,
    "os-reimage": _reimage,
}
_NO_TARGETS = "volumes are folders of this site's servers, and are exported to no other host"
REFUSED = {
    "os-attach": "attach it to a server through the Compute API",
    "os-initialize_connection": _NO_TARGETS,
    "os-terminate_connection": _NO_TARGETS,
    "os-migrate_volume": "this site has one place for volumes",
    "os-unmanage": "volumes cannot be taken out of this site",
}
