"""Attachments of the Block Storage API (3.27 and later): what the Compute API attached, for those who look from here.

Attaching by hand, with a connector, would need an export to another host; there is none.
"""

from __future__ import annotations

from sonata.api.openstack.call import Call
from sonata.api.openstack.listing import Document
from sonata.api.openstack.reply import Reply, json_reply
from sonata.api.openstack.volume import bodies
from sonata.api.openstack.volume.common import Paths, find, listed, precise, text_of, visible
from sonata.emulator.cloud.entities.volume import Attachment, VolumeStatus
from sonata.errors import InvalidInput, NotFound, Unsupported

SINCE = (3, 27)


def register(paths: Paths) -> None:
    """Add the routes of attachments."""
    paths.add("GET", "/attachments", _list)
    paths.add("GET", "/attachments/detail", _detail)
    paths.add("POST", "/attachments", _create, body=bodies.ATTACHMENT)
    paths.add("GET", "/attachments/{id}", _show)
    paths.add("PUT", "/attachments/{id}", _connect)
    paths.add("DELETE", "/attachments/{id}", _delete)
    paths.add("POST", "/attachments/{id}/action", _connect)


def _require_version(call: Call) -> None:
    if call.microversion < SINCE:
        raise NotFound("The resource could not be found.")


def _find(call: Call) -> Attachment:
    _require_version(call)
    return find(call, call.cloud.tables.volume_attachments, "Volume attachment")


def _document(attachment: Attachment) -> Document:
    is_attached = attachment.status == "attached"
    return {
        "id": attachment.id,
        "status": attachment.status,
        "instance": attachment.server_id or None,
        "volume_id": attachment.volume_id,
        "attached_at": precise(attachment.created_at) if is_attached else "",
        "detached_at": "",
        "attach_mode": "ro" if attachment.read_only else "rw",
        "connection_info": {},
    }


def _short(document: Document) -> Document:
    return {name: document[name] for name in ("id", "status", "instance", "volume_id")}


def _wanted(call: Call) -> list[Document]:
    _require_version(call)
    wanted = call.first("instance_id")
    found = [one for one in visible(call, call.cloud.tables.volume_attachments) if wanted in ("", one.server_id)]
    return [_document(one) for one in found]


async def _list(call: Call) -> Reply:
    return listed(call, "attachments", _wanted(call), _short)


async def _detail(call: Call) -> Reply:
    return listed(call, "attachments", _wanted(call))


async def _show(call: Call) -> Reply:
    return json_reply({"attachment": _document(_find(call))})


async def _create(call: Call) -> Reply:
    """Reserve a volume."""
    _require_version(call)
    body = await call.member("attachment")
    if body.get("connector"):
        _refuse_connector()
    volume_id = text_of(body, "volume_uuid") or ""
    volume = call.cloud.tables.volumes.peek(volume_id)
    if volume is None or not call.sees(volume):
        raise NotFound(f"Volume {volume_id} could not be found.")
    if volume.status != VolumeStatus.AVAILABLE:
        raise InvalidInput(
            f"Invalid volume: Volume {volume_id} status must be available to reserve, but current status "
            f"is: {volume.status}."
        )
    attachment = Attachment(
        project_id=volume.project_id, volume_id=volume.id, server_id=text_of(body, "instance_uuid") or "",
        connector={"host": call.cloud.pop.name},
    )  # fmt: skip
    call.cloud.tables.volume_attachments.add(attachment)
    call.cloud.tables.volumes.change(volume.id, status=VolumeStatus.RESERVED)
    return json_reply({"attachment": _document(attachment)})


async def _connect(call: Call) -> Reply:
    """Refused: a connector is of a host that would reach the volume by a network."""
    _find(call)
    _refuse_connector()
    return Reply()


def _refuse_connector() -> None:
    raise Unsupported(
        "volumes are folders of this site's servers, and are exported to no other host",
        hint="attach them through the Compute API",
    )


async def _delete(call: Call) -> Reply:
    attachment = _find(call)
    if attachment.status == "reserved":
        call.cloud.attachments.unplug(attachment.id)
    else:
        await call.cloud.attachments.detach(attachment.server_id, attachment.volume_id)
    kept = [one for one in call.cloud.attachments.of_volume(attachment.volume_id) if one.id != attachment.id]
    return json_reply({"attachments": [_document(one) for one in kept]})
