"""What is true of volumes after their site lost its power: what was in the making has failed, the rest stands."""

from __future__ import annotations

from dataclasses import replace

from sonata.emulator.cloud.entities.volume import Volume, VolumeStatus
from sonata.emulator.cloud.tables import Tables

INTERRUPTED = "the emulation died while this volume was being made"
_HALF_MADE = frozenset((VolumeStatus.CREATING, VolumeStatus.DOWNLOADING))
_KEPT = frozenset(
    (
        VolumeStatus.ERROR,
        VolumeStatus.ERROR_DELETING,
        VolumeStatus.ERROR_EXTENDING,
        VolumeStatus.DELETING,
        VolumeStatus.AWAITING_TRANSFER,
    )
)


def settle(tables: Tables) -> None:
    """Make the tables of volumes true for a cloud in which nothing goes on."""
    for attachment in tables.volume_attachments:
        is_gone = attachment.server_id not in tables.servers and not attachment.connector
        if is_gone or attachment.status in ("attaching", "detaching"):
            tables.volume_attachments.remove(attachment.id)
    attached = {attachment.volume_id for attachment in tables.volume_attachments}
    for volume in tables.volumes:
        tables.volumes.restore(_settled(volume, is_attached=volume.id in attached))
    for snapshot in tables.snapshots:
        if snapshot.status == VolumeStatus.CREATING:
            tables.snapshots.restore(replace(snapshot, status=VolumeStatus.ERROR))


def _settled(volume: Volume, *, is_attached: bool) -> Volume:
    if volume.status in _HALF_MADE:
        return replace(volume, status=VolumeStatus.ERROR, fault=INTERRUPTED)
    if volume.status in _KEPT:
        return volume
    return replace(volume, status=VolumeStatus.IN_USE if is_attached else VolumeStatus.AVAILABLE)
