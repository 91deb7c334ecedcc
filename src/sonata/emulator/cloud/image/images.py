"""Images as Glance shows them: those of the store, and those uploaded to this cloud."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.image import GlanceImage
from sonata.emulator.cloud.rollback import undone_on_failure
from sonata.emulator.cloud.site import Site
from sonata.errors import Conflict, InvalidInput, NotFound, SonataError
from sonata.ports.images import Image

logger = logging.getLogger(__name__)

UPLOAD_PREFIX = "upload-"
"""Store names of uploaded images begin so; a cloud shows the uploads that were made to it alone."""


class Images:
    """The images of one cloud."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._uploads = site.tables.uploads

    def list(self) -> list[GlanceImage]:
        """All images, those of the store first."""
        stored = (image for image in self._site.images.list() if not image.name.startswith(UPLOAD_PREFIX))
        return [*map(_shown, stored), *self._uploads]

    def get(self, image_id: str) -> GlanceImage:
        """An image by its id.

        Raises:
            NoSuch: there is none.
        """
        return self._uploads.peek(image_id) or _shown(self._stored(image_id))

    def find(self, name_or_id: str) -> GlanceImage:
        """An image by id or name.

        Raises:
            NoSuch: there is none.
        """
        for image in self.list():
            if name_or_id in (image.id, image.name):
                return image
        raise NoSuch("Image", name_or_id)

    def bootable(self, image_id: str) -> Image:
        """The store's image behind a Glance image.

        Raises:
            Conflict: its data has not been uploaded.
        """
        shown = self.get(image_id)
        if shown.status != "active":
            raise Conflict(f"Image {image_id} is not active (it is {shown.status}).")
        return self._site.images.get(shown.stored)

    async def create(self, image: GlanceImage) -> GlanceImage:
        """Announce an image; its data follows by `upload`."""
        if any(image.id == other.id for other in self.list()):
            raise Conflict(f"Image ID {image.id} already exists!")
        return self._uploads.add(image)

    async def update(self, image_id: str, **changes: Any) -> GlanceImage:
        """Change name, visibility, properties, ... of an uploaded image."""
        self._own(image_id)
        return self._uploads.change(image_id, **changes)

    async def upload(self, image_id: str, chunks: AsyncIterator[bytes]) -> GlanceImage:
        """Receive an image's data (an OCI or `docker save` archive) and make it bootable.

        Raises:
            Conflict: it has data already.
            InvalidInput: the data is no image archive.
        """
        if self._own(image_id).status != "queued":
            raise Conflict(f"Image status transition of {image_id} to saving is not allowed: it has data already.")
        self._uploads.change(image_id, status="saving")
        archive = self._site.folder / f"{UPLOAD_PREFIX}{image_id}"
        try:
            with undone_on_failure(lambda: self._uploads.change(image_id, status="queued")):
                size = await _receive(chunks, archive)
                stored = await self._import(archive, image_id)
        finally:
            archive.unlink(missing_ok=True)
        return self._uploads.change(
            image_id, status="active", stored=stored.name, digest=stored.digest, size_bytes=size
        )

    async def snapshot(self, image_id: str, base_id: str, disk: Path) -> GlanceImage:
        """Fill an announced image with what a server of image `base_id` has on its disk.

        Raises:
            SonataError: it could not be copied; the image is `killed` then.
        """
        base = self.bootable(base_id)
        self._uploads.change(image_id, status="saving")
        with undone_on_failure(lambda: self._uploads.change(image_id, status="killed")):
            stored = await asyncio.to_thread(self._site.images.snapshot, base.name, disk, f"{UPLOAD_PREFIX}{image_id}")
        return self._uploads.change(
            image_id, status="active", stored=stored.name, digest=stored.digest, size_bytes=stored.size_bytes
        )

    async def delete(self, image_id: str) -> None:
        """Delete an uploaded image; running servers keep theirs.

        Raises:
            Conflict: it is protected, or belongs to the emulation's store.
        """
        image = self._own(image_id)
        if image.protected:
            raise Conflict(f"Image {image_id} is protected and cannot be deleted.")
        if any(server.image_id == image_id for server in self._site.tables.servers):
            raise Conflict(f"Image {image_id} could not be deleted because it is in use: a server was made from it.")
        self._uploads.remove(image_id)
        await self._forget(image)

    def restore(self) -> None:
        """Let saved uploads whose data is not in the store any more wait for it again."""
        there = {image.name for image in self._site.images.list()}
        for image in self._uploads:
            if image.stored and image.stored not in there:
                logger.warning("image %s has lost its data and waits for an upload", image.id)
                self._uploads.change(image.id, status="queued", stored="", digest="", size_bytes=None)

    async def discard(self) -> None:
        """Remove the uploads from the store."""
        for image in self._uploads:
            await self._forget(image)

    async def _forget(self, image: GlanceImage) -> None:
        if image.stored:
            await asyncio.to_thread(self._site.images.remove, image.stored)

    async def _import(self, archive: Path, image_id: str) -> Image:
        def run() -> Image:
            return self._site.images.import_archive(archive, f"{UPLOAD_PREFIX}{image_id}", _log_progress)

        try:
            return await asyncio.to_thread(run)
        except SonataError as error:
            told = error.message.replace(str(archive), "the uploaded data")
            raise InvalidInput(f"image {image_id} cannot be imported: {told}", hint=error.hint) from error

    def _own(self, image_id: str) -> GlanceImage:
        if found := self._uploads.peek(image_id):
            return found
        self._stored(image_id)
        raise Conflict(f"Image {image_id} belongs to the emulation's image store and cannot be changed here.")

    def _stored(self, image_id: str) -> Image:
        try:
            image = self._site.images.get(image_id)
        except NotFound:
            raise NoSuch("Image", image_id) from None
        # The store also answers to names, Glance does not.
        if image.id != image_id or image.name.startswith(UPLOAD_PREFIX):
            raise NoSuch("Image", image_id)
        return image


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


async def _receive(chunks: AsyncIterator[bytes], target: Path) -> int:
    """Write chunks to a file without holding up the event loop; returns the number of bytes."""
    size = 0
    with await asyncio.to_thread(target.open, "xb") as stream:
        async for chunk in chunks:
            size += len(chunk)
            await asyncio.to_thread(stream.write, chunk)
    return size


def _log_progress(text: str) -> None:
    logger.info("image import", extra={"progress": text})
