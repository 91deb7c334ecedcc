"""Snapshots of the Block Storage API."""

from __future__ import annotations

from sonata.api.openstack.call import Call
from sonata.api.openstack.listing import Document
from sonata.api.openstack.reply import ACCEPTED, Reply, json_reply
from sonata.api.openstack.volume import bodies
from sonata.api.openstack.volume.common import (
    MetadataRoutes,
    Paths,
    find,
    flag_of,
    listed,
    precise,
    text_of,
    texts_of,
    visible,
)
from sonata.emulator.cloud.entities.volume import Snapshot, VolumeStatus
from sonata.errors import InvalidInput, NotFound

GROUPED, USER_TOLD, COUNTED, QUOTA_TOLD, ALWAYS_FORCED = (3, 14), (3, 41), (3, 45), (3, 65), (3, 66)


def register(paths: Paths) -> None:
    """Add the routes of snapshots."""
    paths.add("GET", "/snapshots", _list)
    paths.add("GET", "/snapshots/detail", _detail)
    paths.add("POST", "/snapshots", _create, body=bodies.SNAPSHOT_CREATE)
    paths.add("GET", "/snapshots/{id}", _show)
    paths.add("PUT", "/snapshots/{id}", _update, body=bodies.SNAPSHOT_UPDATE)
    paths.add("DELETE", "/snapshots/{id}", _delete)
    paths.add("POST", "/snapshots/{id}/action", _action, body=bodies.SNAPSHOT_ACTION)
    MetadataRoutes(_find, lambda call: call.cloud.tables.snapshots).register(paths, "/snapshots")


def _find(call: Call) -> Snapshot:
    return find(call, call.cloud.tables.snapshots, "Snapshot")


def _document(call: Call, snapshot: Snapshot) -> Document:
    done = snapshot.status != VolumeStatus.CREATING
    document: Document = {
        "id": snapshot.id,
        "name": snapshot.name or None,
        "description": snapshot.description or None,
        "volume_id": snapshot.volume_id,
        "status": snapshot.status,
        "size": snapshot.size_gib,
        "metadata": dict(snapshot.metadata),
        "created_at": precise(snapshot.created_at),
        "updated_at": precise(snapshot.updated_at),
        "os-extended-snapshot-attributes:progress": "100%" if done else "0%",
        "os-extended-snapshot-attributes:project_id": snapshot.project_id,
    }
    if call.microversion >= GROUPED:
        document["group_snapshot_id"] = None
    if call.microversion >= USER_TOLD:
        document["user_id"] = snapshot.user_id
    if call.microversion >= QUOTA_TOLD:
        document["consumes_quota"] = True
    return document


def _short(document: Document) -> Document:
    return {key: value for key, value in document.items() if not key.startswith("os-extended")}


async def _list(call: Call) -> Reply:
    documents = (_document(call, one) for one in visible(call, call.cloud.tables.snapshots))
    return listed(call, "snapshots", documents, _short, counted_since=COUNTED)


async def _detail(call: Call) -> Reply:
    documents = (_document(call, one) for one in visible(call, call.cloud.tables.snapshots))
    return listed(call, "snapshots", documents, counted_since=COUNTED)


async def _show(call: Call) -> Reply:
    return json_reply({"snapshot": _document(call, _find(call))})


async def _create(call: Call) -> Reply:
    body = await call.member("snapshot")
    volume_id = text_of(body, "volume_id") or ""
    volume = call.cloud.tables.volumes.peek(volume_id)
    if volume is None or not call.sees(volume):
        raise NotFound(f"Volume {volume_id} could not be found.")
    force = flag_of(body, "force", False)
    if call.microversion >= ALWAYS_FORCED:
        if "force" in body and not force:
            raise InvalidInput("Invalid value for 'force': since microversion 3.66 it may only be true.")
        force = True
    snapshot = Snapshot(
        name=text_of(body, "name", "display_name") or "",
        description=text_of(body, "description", "display_description") or "",
        project_id=volume.project_id,
        user_id=call.token.user.id,
        volume_id=volume.id,
        size_gib=volume.size_gib,
        bootable=volume.bootable,
        metadata=texts_of(body.get("metadata")),
        image_metadata=volume.image_metadata,
        program=volume.program,
    )
    return json_reply({"snapshot": _short(_document(call, call.cloud.volumes.snapshot(snapshot, force=force)))}, 202)


async def _update(call: Call) -> Reply:
    snapshot, body = _find(call), await call.member("snapshot")
    changes: Document = {}
    for attribute, names in (
        ("name", ("name", "display_name")),
        ("description", ("description", "display_description")),
    ):
        if any(name in body for name in names):
            changes[attribute] = text_of(body, *names) or ""
    if not changes:
        raise InvalidInput("Must specify 'name' or 'description' to update.")
    return json_reply({"snapshot": _short(_document(call, call.cloud.tables.snapshots.change(snapshot.id, **changes)))})


async def _delete(call: Call) -> Reply:
    call.cloud.volumes.delete_snapshot(_find(call).id)
    return ACCEPTED


async def _action(call: Call) -> Reply:
    snapshot, body = _find(call), await call.json()
    if "os-force_delete" in body:
        call.require_admin("volume_extension:snapshot_admin_actions:force_delete")
        call.cloud.volumes.delete_snapshot(snapshot.id, force=True)
        return ACCEPTED
    if not isinstance(asked := body.get("os-reset_status"), dict):
        raise InvalidInput("There is no such action; there are os-reset_status and os-force_delete.")
    call.require_admin("volume_extension:snapshot_admin_actions:reset_status")
    status = str(asked.get("status") or "")
    if status not in ("available", "error", "creating", "deleting", "error_deleting"):
        raise InvalidInput(f"Invalid input for field/attribute status. Value: {status[:40]}.")
    call.cloud.tables.snapshots.change(snapshot.id, status=status)
    return ACCEPTED
