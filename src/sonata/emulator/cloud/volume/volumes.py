"""Volumes and their snapshots: made, filled, copied, extended, packed and removed by the volume store.

What takes time is done in the background, one thing at a time for each volume; how it ended is the volume's status.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from sonata.emulator.cloud.background import Background
from sonata.emulator.cloud.entities.image import GlanceImage
from sonata.emulator.cloud.entities.volume import Program, Snapshot, Volume, VolumeStatus
from sonata.emulator.cloud.image.images import Images
from sonata.emulator.cloud.site import Site
from sonata.emulator.cloud.volume.types import VolumeTypes
from sonata.errors import Conflict, InvalidInput, NotFound, SonataError
from sonata.ports.volumes import VolumeStore

logger = logging.getLogger(__name__)

GIB = 1024**3
DELETABLE = frozenset(
    (VolumeStatus.AVAILABLE, VolumeStatus.ERROR, VolumeStatus.ERROR_DELETING, VolumeStatus.ERROR_EXTENDING)
)
SETTLED = frozenset((*DELETABLE, VolumeStatus.IN_USE, VolumeStatus.RESERVED, VolumeStatus.AWAITING_TRANSFER))
Work = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeWish:
    """A volume to be made: empty, or from one snapshot, volume or image; a size of 0 is the source's."""

    project_id: str
    user_id: str = ""
    size_gib: int = 0
    name: str = ""
    description: str = ""
    type_name: str = ""
    snapshot_id: str = ""
    source_id: str = ""
    image_id: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


class Volumes:
    """The volumes of one cloud.

    Args:
        images: where images to fill them from, and to pack them into, are.
        types: their types.
    """

    def __init__(self, site: Site, images: Images, types: VolumeTypes) -> None:
        self._site = site
        self._tables = site.tables
        self._table = site.tables.volumes
        self._images = images
        self._types = types
        self._background = Background(lambda name, error: self._crashed(name, error))

    @property
    def store(self) -> VolumeStore:
        """Where volumes are kept."""
        return self._site.volumes

    # volumes

    def create(self, wish: VolumeWish) -> Volume:
        """Accept a volume; it is made in the background.

        Raises:
            NotFound: source or type do not exist.
            InvalidInput: the source is not ready, or larger than the volume.
            QuotaExceeded: the project's quota, or the disk, has no room for it.
        """
        kind = self._types.find(wish.type_name, wish.project_id) if wish.type_name else None
        source = self._source(wish)
        size = wish.size_gib or source.size_gib
        if size < max(1, source.size_gib):
            raise InvalidInput(
                f"Invalid input received: Volume size '{size}'GB cannot be smaller than the {source.what} size "
                f"{source.size_gib}GB. They must be >= original {source.what} size."
            )
        self.require_room(wish.project_id, "volumes", size)
        volume = Volume(
            name=wish.name,
            description=wish.description,
            project_id=wish.project_id,
            user_id=wish.user_id,
            size_gib=size,
            type_id=(kind or source.kind(self._tables) or self._types.default).id,
            bootable=source.bootable,
            snapshot_id=wish.snapshot_id,
            source_id=wish.source_id,
            image_id=wish.image_id,
            metadata=dict(wish.metadata),
            image_metadata=source.image_metadata,
            program=source.program,
        )
        self._table.add(volume)
        self._spawn(volume.id, self._make(volume))
        return volume

    def delete(self, volume_id: str, *, cascade: bool = False, force: bool = False) -> None:
        """Delete a volume in the background.

        Raises:
            InvalidInput: it is in use, or has snapshots and `cascade` is not asked for.
        """
        volume = self._table.get(volume_id)
        snapshots = [one for one in self._tables.snapshots if one.volume_id == volume_id]
        attached = any(one.volume_id == volume_id for one in self._tables.volume_attachments)
        wrong_status = volume.status not in DELETABLE and not force
        if attached or wrong_status or (snapshots and not cascade):
            raise InvalidInput(
                "Invalid volume: Volume status must be available or error or error_restoring or error_extending or "
                "error_managing and must not be migrating, attached, belong to a group, have snapshots, awaiting a "
                "transfer, or be disassociated from snapshots after volume transfer."
            )
        self._table.change(volume_id, status=VolumeStatus.DELETING)
        for snapshot in snapshots:
            self._tables.snapshots.change(snapshot.id, status=VolumeStatus.DELETING)
        self._spawn(volume_id, self._destroy(volume_id, [snapshot.id for snapshot in snapshots]))

    def upload(self, volume_id: str, image: GlanceImage, *, force: bool = False) -> None:
        """Pack a volume into an image that waits for its data.

        Raises:
            InvalidInput: the volume is not available.
        """
        volume = self._table.get(volume_id)
        allowed = {VolumeStatus.AVAILABLE, *((VolumeStatus.IN_USE,) if force else ())}
        self.require_status(volume, allowed, "upload to image")
        self._table.change(volume_id, status=VolumeStatus.UPLOADING)
        self._spawn(volume_id, self._pack(volume, image.id))

    def extend(self, volume_id: str, size_gib: int, apart: Callable[[str, Work], Coroutine[None, None, None]]) -> None:
        """Give a volume more room.

        Args:
            volume_id: which.
            size_gib: its new size.
            apart: does something to a volume while it is taken out of the servers that have it.

        Raises:
            InvalidInput: it is not available or in use, or not smaller.
        """
        volume = self._table.get(volume_id)
        self.require_status(volume, {VolumeStatus.AVAILABLE, VolumeStatus.IN_USE}, "extend")
        if size_gib <= volume.size_gib:
            raise InvalidInput(
                "Invalid input received: New size for extend must be greater than current size. "
                f"(current: {volume.size_gib}, extended: {size_gib})."
            )
        self.require_room(volume.project_id, "", size_gib - volume.size_gib)
        self._table.change(volume_id, status=VolumeStatus.EXTENDING)
        self._spawn(volume_id, self._extend(volume, size_gib, apart))

    def retype(self, volume_id: str, name_or_id: str) -> None:
        """Give a volume another type.

        Raises:
            NotFound: there is no such type.
            InvalidInput: the volume is busy.
        """
        volume = self._table.get(volume_id)
        self.require_status(volume, {VolumeStatus.AVAILABLE, VolumeStatus.IN_USE}, "retype")
        self._table.change(volume_id, type_id=self._types.find(name_or_id, volume.project_id).id)

    def require_status(self, volume: Volume, allowed: set[str], action: str) -> None:
        """Refuse an action that a volume's status does not permit.

        Raises:
            InvalidInput: it does not.
        """
        if volume.status not in allowed:
            raise InvalidInput(
                f"Invalid volume: Volume {volume.id} status must be {' or '.join(sorted(allowed))} to {action}, but "
                f"current status is: {volume.status}."
            )

    async def settled(self, volume_id: str) -> Volume | None:
        """Wait until nothing is going on with a volume; None when it is gone."""
        await self._background.wait(volume_id)
        return self._table.peek(volume_id)

    # snapshots

    def snapshot(self, snapshot: Snapshot, *, force: bool) -> Snapshot:
        """Accept a snapshot of a volume; it is taken in the background.

        Args:
            snapshot: with the volume's id; size and what else comes from the volume is filled in.
            force: also of a volume that is in use; its writers are held back for a moment then.

        Raises:
            InvalidInput: the volume is not available.
        """
        volume = self._table.get(snapshot.volume_id)
        allowed = {VolumeStatus.AVAILABLE, *((VolumeStatus.IN_USE,) if force else ())}
        self.require_status(volume, allowed, "create a snapshot")
        self.require_room(volume.project_id, "snapshots", volume.size_gib)
        self._tables.snapshots.add(snapshot)
        self._background_free(snapshot.id)
        self._background.spawn(snapshot.id, self._take(snapshot.id, volume.id, volume.size_gib))
        return snapshot

    def delete_snapshot(self, snapshot_id: str, *, force: bool = False) -> None:
        """Delete a snapshot in the background.

        Raises:
            InvalidInput: it is busy.
        """
        snapshot = self._tables.snapshots.get(snapshot_id)
        if not force and snapshot.status not in (VolumeStatus.AVAILABLE, VolumeStatus.ERROR):
            raise InvalidInput(
                f"Invalid snapshot: Snapshot status must be available or error, but is {snapshot.status}."
            )
        self._tables.snapshots.change(snapshot_id, status=VolumeStatus.DELETING)
        self._background.spawn(snapshot_id, self._drop_snapshot(snapshot_id))

    async def snapshot_settled(self, snapshot_id: str) -> Snapshot | None:
        """Wait until nothing is going on with a snapshot; None when it is gone."""
        await self._background.wait(snapshot_id)
        return self._tables.snapshots.peek(snapshot_id)

    async def revert(self, volume_id: str, snapshot_id: str) -> None:
        """Give a volume the content of its latest snapshot back."""
        volume, snapshot = self._table.get(volume_id), self._tables.snapshots.get(snapshot_id)
        self.require_status(volume, {VolumeStatus.AVAILABLE}, "revert")
        if volume.size_gib != snapshot.size_gib:
            raise InvalidInput("Invalid volume: the volume was extended after the snapshot and cannot be reverted.")

        def run() -> None:
            self.store.remove(volume_id)
            self.store.clone(snapshot_id, volume_id, volume.size_gib)

        await asyncio.to_thread(run)

    # life and death

    async def close(self) -> None:
        """End all background work."""
        await self._background.close()

    def restore(self) -> None:
        """Say of saved volumes what is true: what was in the making has failed, what was being deleted goes on."""
        for volume in self._table:
            if volume.status == VolumeStatus.DELETING:
                self._spawn(volume.id, self._destroy(volume.id, []))
        for snapshot in self._tables.snapshots:
            if snapshot.status == VolumeStatus.DELETING:
                self._background.spawn(snapshot.id, self._drop_snapshot(snapshot.id))

    async def discard(self) -> None:
        """Remove all volumes and snapshots from the store."""
        for row in (*self._table, *self._tables.snapshots):
            with suppress(SonataError):
                await asyncio.to_thread(self.store.remove, row.id)

    async def _make(self, volume: Volume) -> None:
        with self._failing(volume.id, VolumeStatus.ERROR):
            if source := volume.snapshot_id or volume.source_id:
                await asyncio.to_thread(self.store.clone, source, volume.id, volume.size_gib)
            else:
                await asyncio.to_thread(self.store.create, volume.id, volume.size_gib)
            if volume.image_id:
                self._table.change(volume.id, status=VolumeStatus.DOWNLOADING)
                await asyncio.to_thread(self.store.fill, volume.id, self._images.bootable(volume.image_id).layers)
            self._table.change(volume.id, status=VolumeStatus.AVAILABLE)

    async def _destroy(self, volume_id: str, snapshot_ids: list[str]) -> None:
        with self._failing(volume_id, VolumeStatus.ERROR_DELETING):
            for snapshot_id in snapshot_ids:
                await self._drop_snapshot(snapshot_id)
            await asyncio.to_thread(self.store.remove, volume_id)
            self._table.remove(volume_id)

    async def _take(self, snapshot_id: str, volume_id: str, size_gib: int) -> None:
        try:
            await asyncio.to_thread(self.store.clone, volume_id, snapshot_id, size_gib)
        except SonataError as error:
            logger.warning("snapshot failed", extra={"snapshot": snapshot_id, "cause": str(error)})
            self._tables.snapshots.change(snapshot_id, status=VolumeStatus.ERROR)
            return
        self._tables.snapshots.change(snapshot_id, status=VolumeStatus.AVAILABLE)

    async def _drop_snapshot(self, snapshot_id: str) -> None:
        await asyncio.to_thread(self.store.remove, snapshot_id)
        self._tables.snapshots.remove(snapshot_id)

    async def _pack(self, volume: Volume, image_id: str) -> None:
        with self._failing(volume.id, volume.status):
            await self._images.take(image_id, lambda target: self.store.pack(volume.id, target))
            self._table.change(volume.id, status=volume.status)

    async def _extend(
        self, volume: Volume, size_gib: int, apart: Callable[[str, Work], Coroutine[None, None, None]]
    ) -> None:
        def run() -> None:
            self.store.extend(volume.id, size_gib)

        failed = volume.status if volume.status == VolumeStatus.IN_USE else VolumeStatus.ERROR_EXTENDING
        with self._failing(volume.id, failed):
            try:
                await asyncio.to_thread(run)
            except Conflict:  # not while it is open
                await apart(volume.id, run)
            self._table.change(volume.id, size_gib=size_gib, status=volume.status, fault="")

    @contextmanager
    def _failing(self, volume_id: str, status: str) -> Iterator[None]:
        """Turn a failure into the volume's status and message."""
        try:
            yield
        except SonataError as error:
            logger.warning("volume failed", extra={"volume": volume_id, "cause": str(error)})
            if volume_id in self._table:
                self._table.change(volume_id, status=status, fault=error.message)

    def _crashed(self, name: str, error: BaseException) -> None:
        if name in self._table:
            self._table.change(name, status=VolumeStatus.ERROR, fault=f"{type(error).__name__}: {error}")
        elif name in self._tables.snapshots:
            self._tables.snapshots.change(name, status=VolumeStatus.ERROR)

    def _spawn(self, volume_id: str, work: Coroutine[None, None, None]) -> None:
        self._background_free(volume_id)
        self._background.spawn(volume_id, work)

    def _background_free(self, name: str) -> None:
        if self._background.busy(name):
            raise Conflict(f"something is going on with {name} already; try again when its status has settled")

    # checks

    def _source(self, wish: VolumeWish) -> _Source:
        """What a volume is to be made from.

        Raises:
            NotFound, InvalidInput: it does not exist, or is not ready.
        """
        if wish.snapshot_id:
            snapshot = self._tables.snapshots.get(wish.snapshot_id)
            if snapshot.status != VolumeStatus.AVAILABLE:
                raise InvalidInput(
                    f"Invalid snapshot: Originating snapshot status must be one of 'available' values, but is "
                    f"{snapshot.status}."
                )
            return _Source(
                "snapshot", snapshot.size_gib, snapshot.bootable, snapshot.image_metadata, snapshot.program,
                type_of=snapshot.volume_id,
            )  # fmt: skip
        if wish.source_id:
            volume = self._table.get(wish.source_id)
            self.require_status(volume, {VolumeStatus.AVAILABLE, VolumeStatus.IN_USE}, "clone")
            return _Source(
                "source volume", volume.size_gib, volume.bootable, volume.image_metadata, volume.program,
                type_of=volume.id,
            )  # fmt: skip
        if wish.image_id:
            return self._image_source(wish)
        return _Source("", 1)

    def _image_source(self, wish: VolumeWish) -> _Source:
        try:
            image = self._images.get(wish.image_id)
        except NotFound:
            raise InvalidInput(
                f"Invalid image identifier or unable to access requested image: {wish.image_id}."
            ) from None
        if image.status != "active":
            raise InvalidInput(f"Invalid input received: Image {image.id} is not active.")
        stored = self._images.bootable(image.id)
        needed = -(-stored.size_bytes // GIB)
        if wish.size_gib and wish.size_gib < needed:
            raise InvalidInput(
                f"Invalid input received: Size of specified image {needed}GB is larger than volume size "
                f"{wish.size_gib}GB."
            )
        if wish.size_gib < image.min_disk_gib:
            raise InvalidInput(
                f"Invalid input received: Volume size {wish.size_gib}GB cannot be smaller than the image minDisk "
                f"size {image.min_disk_gib}GB."
            )
        program = Program(stored.argv, dict(stored.env), stored.ready_tcp_port)
        return _Source("image", max(needed, 1), True, image_facts(image), program)

    def require_room(self, project_id: str, name: str, gigabytes: int) -> None:
        """Refuse what a quota does not permit."""
        adding = {"gigabytes": gigabytes, **({name: 1} if name else {})}
        self._site.quotas.require_all(project_id, adding)


@dataclass(frozen=True, slots=True)
class _Source:
    """What a volume is made from; `type_of` is the volume whose type it gets."""

    what: str
    size_gib: int
    bootable: bool = False
    image_metadata: Mapping[str, str] = field(default_factory=dict)
    program: Program = field(default_factory=Program)
    type_of: str = ""

    def kind(self, tables: Any) -> Any:
        """The type that the new volume inherits, or None."""
        volume = tables.volumes.peek(self.type_of)
        return tables.volume_types.peek(volume.type_id) if volume else None


def image_facts(image: GlanceImage) -> dict[str, str]:
    """What a volume remembers of its image (`volume_image_metadata`)."""
    facts = {
        "image_id": image.id,
        "image_name": image.name,
        "checksum": image.checksum or "",
        "container_format": image.container_format or "",
        "disk_format": image.disk_format or "",
        "min_disk": str(image.min_disk_gib),
        "min_ram": str(image.min_ram_mib),
        "size": str(image.size_bytes or 0),
    }
    return {**image.properties, **facts}
