"""Images as Glance shows them: those of the store, and those uploaded to this cloud.

What is uploaded is kept byte for byte. An OCI or docker archive, or a tar file of a root file system, is unpacked
besides, and servers boot from it; anything else (qcow2, iso, ...) is kept and given back, and cannot be booted here.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from sonata.emulator.cloud.causes import Deactivated, NoSuch, StorageFull
from sonata.emulator.cloud.entities.image import GlanceImage, Status
from sonata.emulator.cloud.image.data import Received, Receiver, booted_program, measured, virtual_size
from sonata.emulator.cloud.rollback import undone_on_failure
from sonata.emulator.cloud.site import Site
from sonata.errors import Conflict, InvalidInput, NotFound, SonataError
from sonata.ports.images import Image, NotAnArchive

logger = logging.getLogger(__name__)

UPLOAD_PREFIX = "upload-"
"""Store names of uploaded images begin so; a cloud shows the uploads that were made to it alone."""
STAGED_PREFIX = "staged-"
DELETED: Status = "killed"
"""Status of an image that is deleted, while servers that were made from it may still need it. Nobody sees it."""
UNPACKED = frozenset(("docker", "bare", None))
"""Container formats in which a root file system may be."""


class Images:
    """The images of one cloud."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._uploads = site.tables.uploads

    def list(self) -> list[GlanceImage]:
        """All images, those of the store first."""
        stored = (image for image in self._site.images.list() if not _is_upload(image))
        return [*map(_shown, stored), *(image for image in self._uploads if image.status != DELETED)]

    def get(self, image_id: str) -> GlanceImage:
        """An image by its id.

        Raises:
            NoSuch: there is none.
        """
        upload = self._uploads.peek(image_id)
        if upload and upload.status == DELETED:
            raise NoSuch("Image", image_id)
        return upload or _shown(self._stored(image_id))

    def find(self, name_or_id: str) -> GlanceImage:
        """An image by id or name.

        Raises:
            NoSuch: there is none.
        """
        for image in self.list():
            if name_or_id in (image.id, image.name):
                return image
        upload = self._uploads.peek(name_or_id)  # servers may know one that is deleted
        if upload is None:
            raise NoSuch("Image", name_or_id)
        return upload

    def is_own(self, image_id: str) -> bool:
        """Whether an image was uploaded to this cloud."""
        return image_id in self._uploads

    def bootable(self, image_id: str) -> Image:
        """The store's image behind a Glance image, also of a deleted one that servers still need.

        Raises:
            InvalidInput: its data has not been uploaded, or is nothing that runs here.
        """
        shown = self._uploads.peek(image_id) or self.get(image_id)
        if shown.status not in ("active", DELETED) or not shown.stored:
            raise InvalidInput(f"Image {image_id} is not active.", hint=f"it is {shown.status}")
        if not shown.bootable:
            raise InvalidInput(
                f"Image {image_id} is unacceptable: servers are processes here, a {shown.disk_format} disk needs a "
                "virtual machine",
                hint="upload an OCI or docker archive, or a tar file of a root file system",
            )
        image = self._site.images.get(shown.stored)
        program = booted_program(shown.properties.get("os_command_line", ""))
        return replace(image, argv=program) if program else image

    async def create(self, image: GlanceImage) -> GlanceImage:
        """Announce an image; its data follows by `upload`."""
        if image.id in self._uploads or any(image.id == other.id for other in self.list()):
            raise Conflict(f"Image ID {image.id} already exists!")
        return self._uploads.add(image)

    async def update(self, image_id: str, **changes: Any) -> GlanceImage:
        """Change name, visibility, properties, ... of an uploaded image."""
        self.own(image_id)
        return self._uploads.change(image_id, **changes)

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

    def data_of(self, image_id: str) -> Path | None:
        """The file with an image's data; None when it has none.

        Raises:
            Deactivated: an administrator has deactivated it.
        """
        image = self.get(image_id)
        if image.status == "deactivated":
            raise Deactivated("The requested image has been deactivated. Image data download is forbidden.")
        if image.status != "active":
            return None
        path = self._site.images.data_path(image.stored)
        return path if path.is_file() else None

    def activate(self, image_id: str, *, active: bool) -> GlanceImage:
        """Let an image's data be used again, or no more.

        Raises:
            InvalidInput: it has no data.
        """
        image = self.own(image_id)
        wanted: Status = "active" if active else "deactivated"
        if image.status not in ("active", "deactivated"):
            raise InvalidInput(f"Not allowed to {'re' if active else 'de'}activate image in status '{image.status}'")
        return self._uploads.change(image_id, status=wanted)

    async def delete(self, image_id: str) -> None:
        """Delete an uploaded image; servers made from it run on, and can be started again.

        Raises:
            Conflict: it belongs to the emulation's store.
        """
        image = self.own(image_id)
        for member in self._site.tables.image_members:
            if member.image_id == image_id:
                self._site.tables.image_members.remove(member.id)
        if self._is_needed(image_id):
            self._uploads.change(image_id, status=DELETED)
            return
        self._uploads.remove(image_id)
        await self._forget(image)

    async def sweep(self) -> None:
        """Forget deleted images that no server needs any more."""
        for image in self._uploads:
            if image.status == DELETED and not self._is_needed(image.id):
                self._uploads.remove(image.id)
                await self._forget(image)

    def restore(self) -> None:
        """Let saved uploads whose data is not in the store any more wait for it again."""
        there = {image.name for image in self._site.images.list()}
        for image in self._uploads:
            if image.status == "queued":
                self._data(image.id).unlink(missing_ok=True)
                self._staged(image.id).unlink(missing_ok=True)
            lost = image.stored not in there if image.bootable else not self._data(image.id).is_file()
            if image.stored and lost:
                logger.warning("image %s has lost its data and waits for an upload", image.id)
                self._uploads.change(image.id, **_EMPTY)

    async def discard(self) -> None:
        """Remove the uploads from the store."""
        for image in self._uploads:
            await self._forget(image)

    def own(self, image_id: str) -> GlanceImage:
        """An image that can be changed here.

        Raises:
            Conflict: it belongs to the emulation's store.
        """
        if (found := self._uploads.peek(image_id)) and found.status != DELETED:
            return found
        self._stored(image_id)
        raise Conflict(f"Image {image_id} belongs to the emulation's image store and cannot be changed here.")

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
                self._uploads.change(image_id, **_EMPTY)

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

    async def _forget(self, image: GlanceImage) -> None:
        with suppress(NotFound):
            await asyncio.to_thread(self._site.images.remove, f"{UPLOAD_PREFIX}{image.id}")
        self._staged(image.id).unlink(missing_ok=True)

    def _is_needed(self, image_id: str) -> bool:
        return any(server.image_id == image_id for server in self._site.tables.servers)

    def _data(self, image_id: str) -> Path:
        return self._site.images.data_path(f"{UPLOAD_PREFIX}{image_id}")

    def _staged(self, image_id: str) -> Path:
        return self._site.images.data_path(f"{STAGED_PREFIX}{image_id}")

    def _stored(self, image_id: str) -> Image:
        for image in self._site.images.list():
            # An upload of the same content has the same id there; and names are no ids to Glance.
            if image.id == image_id and not _is_upload(image):
                return image
        raise NoSuch("Image", image_id)


_EMPTY: dict[str, Any] = {
    "status": "queued",
    "stored": "",
    "digest": "",
    "size_bytes": None,
    "virtual_size_bytes": None,
    "checksum": None,
    "sha512": None,
}
"""What is true of an image without data."""


def _is_upload(image: Image) -> bool:
    return image.name.startswith(UPLOAD_PREFIX)


def _told(image_id: str, error: SonataError, target: Path) -> InvalidInput:
    told = error.message.replace(str(target), "the uploaded data")
    return InvalidInput(f"image {image_id} cannot be imported: {told}", hint=error.hint)


def _shown(image: Image) -> GlanceImage:
    return GlanceImage(
        id=image.id,
        name=image.name,
        stored=image.name,
        digest=image.digest,
        size_bytes=image.size_bytes,
        created_at=image.created_at,
        updated_at=image.created_at,
    )


async def _received(chunks: AsyncIterator[bytes], target: Path) -> Received:
    """Write chunks to a file without holding up the event loop."""
    with await asyncio.to_thread(Receiver, target) as receiver:
        async for chunk in chunks:
            await asyncio.to_thread(receiver.write, chunk)
        return receiver.received()


def _log_progress(text: str) -> None:
    logger.info("image import", extra={"progress": text})
