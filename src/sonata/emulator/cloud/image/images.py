"""Images as Glance shows them: those of the store, and those uploaded to this cloud.

What is uploaded is kept byte for byte. An OCI or docker archive, or a tar file of a root file system, is unpacked
besides, and servers boot from it; anything else (qcow2, iso, ...) is kept and given back, and cannot be booted here.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from sonata.emulator.cloud.causes import Deactivated, NoSuch
from sonata.emulator.cloud.entities.image import GlanceImage, Status
from sonata.emulator.cloud.image.uploads import DELETED, EMPTY, Uploads, is_upload, shown
from sonata.errors import Conflict, InvalidInput, NotFound
from sonata.ports.images import UPLOAD_PREFIX

logger = logging.getLogger(__name__)

BACKUP_KIND = ("image_type", "instance_uuid", "backup_type")
"""Properties that backups of one kind have in common."""


class Images(Uploads):
    """The images of one cloud."""

    def list(self) -> list[GlanceImage]:
        """All images, those of the store first."""
        stored = (image for image in self._site.images.list() if not is_upload(image))
        return [*map(shown, stored), *(image for image in self._uploads if image.status != DELETED)]

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

    async def create(self, image: GlanceImage) -> GlanceImage:
        """Announce an image; its data follows by `upload`."""
        if image.id in self._uploads or any(image.id == other.id for other in self.list()):
            raise Conflict(f"Image ID {image.id} already exists!")
        return self._uploads.add(image)

    async def update(self, image_id: str, **changes: Any) -> GlanceImage:
        """Change name, visibility, properties, ... of an uploaded image."""
        self.own(image_id)
        return self._uploads.change(image_id, **changes)

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

    async def rotate_backups(self, like: GlanceImage, most: int) -> None:
        """Keep the newest backups of a server of one kind (`daily`, ...), delete the others but for protected ones."""
        kind = [like.properties[name] for name in BACKUP_KIND]
        found = [one for one in self._uploads if [one.properties.get(name) for name in BACKUP_KIND] == kind]
        found = sorted((one for one in found if one.status == "active"), key=lambda one: one.created_at, reverse=True)
        for one in found[most:]:
            if not one.protected:
                await self.delete(one.id)

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
                self._uploads.change(image.id, **EMPTY)

    async def discard(self) -> None:
        """Remove the uploads from the store."""
        for image in self._uploads:
            await self._forget(image)

    async def _forget(self, image: GlanceImage) -> None:
        with suppress(NotFound):
            await asyncio.to_thread(self._site.images.remove, f"{UPLOAD_PREFIX}{image.id}")
        self._staged(image.id).unlink(missing_ok=True)

    def _is_needed(self, image_id: str) -> bool:
        return any(server.image_id == image_id for server in self._site.tables.servers)
