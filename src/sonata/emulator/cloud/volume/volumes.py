"""Volumes and their snapshots: made, filled, copied, extended, packed and removed by the volume store.

What takes time is done in the background, one thing at a time for each volume; how it ended is the volume's status.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress

from sonata.emulator.cloud.entities.image import GlanceImage
from sonata.emulator.cloud.entities.volume import Volume, VolumeStatus
from sonata.emulator.cloud.image.images import Images
from sonata.emulator.cloud.site import Site
from sonata.emulator.cloud.volume.snapshots import Snapshots
from sonata.emulator.cloud.volume.sources import Source, VolumeWish, require_status, root_files, source_of
from sonata.emulator.cloud.volume.types import VolumeTypes
from sonata.errors import Conflict, InvalidInput, SonataError

logger = logging.getLogger(__name__)

GIB = 1024**3
DELETABLE = frozenset(
    (VolumeStatus.AVAILABLE, VolumeStatus.ERROR, VolumeStatus.ERROR_DELETING, VolumeStatus.ERROR_EXTENDING)
)
SETTLED = frozenset((*DELETABLE, VolumeStatus.IN_USE, VolumeStatus.RESERVED, VolumeStatus.AWAITING_TRANSFER))
Work = Callable[[], None]


class Volumes(Snapshots):
    """The volumes of one cloud.

    Args:
        images: where images to fill them from, and to pack them into, are.
        types: their types.
    """

    def __init__(self, site: Site, images: Images, types: VolumeTypes) -> None:
        super().__init__(site)
        self._images = images
        self._types = types

    def create(self, wish: VolumeWish) -> Volume:
        """Accept a volume; it is made in the background.

        Raises:
            NotFound: source or type do not exist.
            InvalidInput: the source is not ready, or larger than the volume.
            QuotaExceeded: the project's quota, or the disk, has no room for it.
        """
        kind = self._types.find(wish.type_name, wish.project_id) if wish.type_name else None
        source = source_of(wish, self._tables, self._images)
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
        require_status(volume, allowed, "upload to image")
        self._table.change(volume_id, status=VolumeStatus.UPLOADING)
        self._spawn(volume_id, self._pack(volume, image.id))

    def reimage(self, volume_id: str, image_id: str, *, reserved: bool = False) -> None:
        """Give a volume the content of an image instead of its own.

        Args:
            volume_id: which.
            image_id: of the image.
            reserved: also a volume that is reserved.

        Raises:
            InvalidInput: the volume is not available, or the image is not there, not ready or too large.
        """
        volume = self._table.get(volume_id)
        allowed = {VolumeStatus.AVAILABLE, VolumeStatus.ERROR, *((VolumeStatus.RESERVED,) if reserved else ())}
        require_status(volume, allowed, "re-image")
        wish = VolumeWish(project_id=volume.project_id, size_gib=volume.size_gib, image_id=image_id)
        source = source_of(wish, self._tables, self._images)
        after = volume.status if volume.status == VolumeStatus.RESERVED else VolumeStatus.AVAILABLE
        self._table.change(volume_id, status=VolumeStatus.DOWNLOADING)
        self._spawn(volume_id, self._refill(volume, image_id, source, after))

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
        require_status(volume, {VolumeStatus.AVAILABLE, VolumeStatus.IN_USE}, "extend")
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
        require_status(volume, {VolumeStatus.AVAILABLE, VolumeStatus.IN_USE}, "retype")
        self._table.change(volume_id, type_id=self._types.find(name_or_id, volume.project_id).id)

    async def settled(self, volume_id: str) -> Volume | None:
        """Wait until nothing is going on with a volume; None when it is gone."""
        await self._background.wait(volume_id)
        return self._table.peek(volume_id)

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
                await asyncio.to_thread(self._fill, volume.id, volume.image_id)
            self._table.change(volume.id, status=VolumeStatus.AVAILABLE)

    def _fill(self, volume_id: str, image_id: str) -> None:
        """Write what an image holds into an empty volume."""
        if archive := self._images.packed(image_id):
            self.store.unpack(volume_id, archive)
        else:
            self.store.fill(volume_id, root_files(self._images, image_id).layers)

    async def _refill(self, volume: Volume, image_id: str, source: Source, after: str) -> None:
        def run() -> None:
            self.store.remove(volume.id)
            self.store.create(volume.id, volume.size_gib)
            self._fill(volume.id, image_id)

        with self._failing(volume.id, VolumeStatus.ERROR):
            await asyncio.to_thread(run)
            facts = {"bootable": source.bootable, "image_metadata": source.image_metadata, "program": source.program}
            self._table.change(volume.id, status=after, fault="", **facts)

    async def _destroy(self, volume_id: str, snapshot_ids: list[str]) -> None:
        with self._failing(volume_id, VolumeStatus.ERROR_DELETING):
            for snapshot_id in snapshot_ids:
                await self._drop_snapshot(snapshot_id)
            await asyncio.to_thread(self.store.remove, volume_id)
            self._table.remove(volume_id)

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

    def _spawn(self, volume_id: str, work: Coroutine[None, None, None]) -> None:
        self._background.spawn(volume_id, work)
