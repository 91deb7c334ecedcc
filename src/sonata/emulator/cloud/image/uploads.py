"""How images come by their data: by upload, by import of what was staged, out of a volume or a server's disk."""

from __future__ import annotations

import asyncio
import errno
import logging
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sonata.emulator.cloud.causes import NoSuch, StorageFull
from sonata.emulator.cloud.entities.image import GlanceImage, Status
from sonata.emulator.cloud.image.data import Received, Receiver, booted_program, measured, virtual_size
from sonata.emulator.cloud.image.disks import BootDisk, boot_disk, is_disk
from sonata.emulator.cloud.rollback import undone_on_failure
from sonata.emulator.cloud.site import Site
from sonata.errors import Conflict, InvalidInput, SonataError
from sonata.ports.images import STAGED_PREFIX, UPLOAD_PREFIX, Image, NotAnArchive
from sonata.ports.runtime import DISK_FILE, DiskImage

logger = logging.getLogger(__name__)

DELETED: Status = "deleted"
"""Status of an image that is deleted, while servers that were made from it may still need it. Nobody sees it."""
UNPACKED = frozenset(("docker", "bare", None))
"""Container formats in which a root file system may be."""


class Uploads:
    """What has been uploaded to one cloud."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._uploads = site.tables.uploads

    async def upload(self, image_id: str, chunks: AsyncIterator[bytes]) -> GlanceImage:
        """Receive an image's data, keep it, and make it bootable where it is a root file system.

        Raises:
            Conflict: it has data already.
            InvalidInput: the data cannot be read as what it is said to be.
            StorageFull: the disk is full; nothing is kept.
        """
        self._require_queued(image_id, "saving")
        target = self._data(image_id)
        with self._becoming(image_id, "saving", target):
            received = await _received(chunks, target)
            return await self._accepted(image_id, target, received)

    async def take(self, image_id: str, write: Callable[[Path], None]) -> GlanceImage:
        """Give an image the data that `write` puts into a file; it is called in a thread."""
        target = self._data(image_id)
        with self._becoming(image_id, "saving", target):
            await asyncio.to_thread(write, target)
            return await self._accepted(image_id, target, await asyncio.to_thread(measured, target))

    async def stage(self, image_id: str, chunks: AsyncIterator[bytes]) -> None:
        """Receive data that `import_staged` makes the image's own."""
        self._require_queued(image_id, "uploading")
        target = self._staged(image_id)
        with self._becoming(image_id, "uploading", target):
            await _received(chunks, target)

    async def import_staged(self, image_id: str) -> GlanceImage:
        """Make staged data the image's own."""
        target = self._data(image_id)
        with self._becoming(image_id, "importing", target):
            await asyncio.to_thread(self._staged(image_id).replace, target)
            return await self._accepted(image_id, target, await asyncio.to_thread(measured, target))

    async def snapshot(self, image_id: str, base_id: str, disk: Path) -> GlanceImage:
        """Fill an announced image with what a server of image `base_id` has on its disk.

        Raises:
            SonataError: it could not be copied; the image is `killed` then.
        """
        base = self.bootable(base_id)
        self._uploads.change(image_id, status="saving")
        with undone_on_failure(lambda: self._uploads.change(image_id, status="killed")):
            if isinstance(base, BootDisk):
                return await self._flattened(image_id, base.disk, disk / DISK_FILE)
            stored = await asyncio.to_thread(self._site.images.snapshot, base.name, disk, f"{UPLOAD_PREFIX}{image_id}")
        return self._uploads.change(
            image_id, status="active", stored=stored.name, digest=stored.digest, size_bytes=stored.size_bytes
        )

    async def _flattened(self, image_id: str, image: DiskImage, layer: Path) -> GlanceImage:
        """Fill an announced image with a disk, as one that needs no other."""
        target = self._data(image_id)
        self._uploads.change(image_id, disk_format="qcow2", container_format="bare")
        await asyncio.to_thread(self._site.images.flatten, image, layer, target)
        return await self._accepted(image_id, target, await asyncio.to_thread(measured, target))

    async def _accepted(self, image_id: str, target: Path, received: Received) -> GlanceImage:
        """Make received data bootable where they are a root file system, and the image active."""
        image = self._uploads.get(image_id)
        stored = await asyncio.to_thread(self._unpacked, image, target)
        return self._uploads.change(
            image_id,
            status="active",
            stored=target.name,
            digest=stored.digest if stored else f"sha256:{received.sha256}",
            bootable=stored is not None,
            size_bytes=received.size,
            virtual_size_bytes=await asyncio.to_thread(virtual_size, target, image.disk_format),
            checksum=received.md5,
            sha512=received.sha512,
        )

    def _unpacked(self, image: GlanceImage, target: Path) -> Image | None:
        """The store's image made of a file; None where it is no root file system and need not be one."""
        if image.container_format not in UNPACKED or image.disk_format not in ("raw", None):
            return None
        try:
            return self._site.images.import_archive(target, target.name, _log_progress)
        except NotAnArchive as error:
            if image.container_format != "docker":
                return None
            raise _told(image.id, error, target) from error
        except SonataError as error:
            raise _told(image.id, error, target) from error

    @contextmanager
    def _becoming(self, image_id: str, status: Status, target: Path) -> Iterator[None]:
        """Show an image in a passing state; after a failure it waits for data again and nothing of them is left."""

        def back() -> None:
            target.unlink(missing_ok=True)
            if image_id in self._uploads:
                self._uploads.change(image_id, **EMPTY)

        self._uploads.change(image_id, status=status)
        with undone_on_failure(back):
            try:
                yield
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
                raise StorageFull(f"Image storage media is full: {error.strerror}") from error
            if image_id not in self._uploads:
                target.unlink(missing_ok=True)

    def _require_queued(self, image_id: str, to: str) -> None:
        status = self.own(image_id).status
        if status != "queued":
            raise Conflict(f"Image status transition from {status} to {to} is not allowed: it has data already.")

    def _data(self, image_id: str) -> Path:
        return self._site.images.data_path(f"{UPLOAD_PREFIX}{image_id}")

    def _staged(self, image_id: str) -> Path:
        return self._site.images.data_path(f"{STAGED_PREFIX}{image_id}")

    def bootable(self, image_id: str) -> Image:
        """What a server of a Glance image boots, also of a deleted one that servers still need; a disk is a `BootDisk`.

        Raises:
            InvalidInput: its data has not been uploaded, or is nothing that runs here.
        """
        found = self._uploads.peek(image_id) or self.get(image_id)
        if found.status not in ("active", DELETED) or not found.stored:
            raise InvalidInput(f"Image {image_id} is not active.", hint=f"it is {found.status}")
        if not found.bootable:
            return boot_disk(found, self._data(image_id), self._site.runtime.disk_refusal)
        image = self._site.images.get(found.stored)
        program = booted_program(found.properties.get("os_command_line", ""))
        return replace(image, argv=program) if program else image

    def is_disk(self, image_id: str) -> bool:
        """Whether an image is a disk, also a deleted one that servers still need."""
        found = self._uploads.peek(image_id)
        return found is not None and is_disk(found)

    def property_of(self, image_id: str, name: str) -> str:
        """A property of an image, also of a deleted one that servers still need; empty when there is none."""
        found = self._uploads.peek(image_id)
        return found.properties.get(name, "") if found else ""

    def packed(self, image_id: str) -> Path | None:
        """The tar file of files that an image is which boots nowhere, e.g. that of a volume with data; None for others.

        Raises:
            NoSuch: there is no such image.
        """
        found = self.get(image_id)
        if found.status != "active" or found.bootable or found.disk_format not in ("raw", None):
            return None
        data = self._data(image_id)
        return data if tarfile.is_tarfile(data) else None

    def own(self, image_id: str) -> GlanceImage:
        """An image that can be changed here.

        Raises:
            Conflict: it belongs to the emulation's store.
        """
        if (found := self._uploads.peek(image_id)) and found.status != DELETED:
            return found
        self._stored(image_id)
        raise Conflict(f"Image {image_id} belongs to the emulation's image store and cannot be changed here.")

    def get(self, image_id: str) -> GlanceImage:
        """An image by its id.

        Raises:
            NoSuch: there is none.
        """
        upload = self._uploads.peek(image_id)
        if upload and upload.status == DELETED:
            raise NoSuch("Image", image_id)
        return upload or shown(self._stored(image_id))

    def _stored(self, image_id: str) -> Image:
        for image in self._site.images.list():
            # An upload of the same content has the same id there; and names are no ids to Glance.
            if image.id == image_id and not is_upload(image):
                return image
        raise NoSuch("Image", image_id)


EMPTY: dict[str, Any] = {
    "status": "queued",
    "stored": "",
    "digest": "",
    "size_bytes": None,
    "virtual_size_bytes": None,
    "checksum": None,
    "sha512": None,
}
"""What is true of an image without data."""


def is_upload(image: Image) -> bool:
    """Whether an image of the store was uploaded to a cloud."""
    return image.name.startswith(UPLOAD_PREFIX)


def shown(image: Image) -> GlanceImage:
    """An image of the store as Glance shows it."""
    return GlanceImage(
        id=image.id,
        name=image.name,
        stored=image.name,
        digest=image.digest,
        size_bytes=image.size_bytes,
        created_at=image.created_at,
        updated_at=image.created_at,
    )


def _told(image_id: str, error: SonataError, target: Path) -> InvalidInput:
    told = error.message.replace(str(target), "the uploaded data")
    return InvalidInput(f"image {image_id} cannot be imported: {told}", hint=error.hint)


async def _received(chunks: AsyncIterator[bytes], target: Path) -> Received:
    """Write chunks to a file without holding up the event loop."""
    with await asyncio.to_thread(Receiver, target) as receiver:
        async for chunk in chunks:
            await asyncio.to_thread(receiver.write, chunk)
        return receiver.received()


def _log_progress(text: str) -> None:
    logger.info("image import", extra={"progress": text})
