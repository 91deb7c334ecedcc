"""Servers begun anew: rebuilt from an image, rescued, shelved, photographed, given a password."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sonata._lib.values import dataclass
from sonata.emulator.cloud.compute.operations import Operations
from sonata.emulator.cloud.compute.power import Power
from sonata.emulator.cloud.compute.servers import Servers
from sonata.emulator.cloud.compute.states import is_on, require
from sonata.emulator.cloud.entities.compute import Server, ServerStatus
from sonata.emulator.cloud.entities.image import GlanceImage
from sonata.emulator.cloud.image.images import Images
from sonata.emulator.cloud.site import Site
from sonata.errors import Conflict, InvalidInput, Unsupported


@dataclass(frozen=True, slots=True)
class Rebuild:
    """A rebuild: the image, and attributes of the server that change with it."""

    image_id: str
    changes: Mapping[str, Any]


class Rebuilding:
    """Gives servers of one cloud another root file system, for good or for a while."""

    def __init__(self, site: Site, servers: Servers, images: Images) -> None:
        self._table = site.tables.servers
        self._runtime = site.runtime
        self._servers = servers
        self._operations: Operations = servers.operations
        self._power: Power = servers.power
        self._images = images

    def rebuild(self, server_id: str, rebuild: Rebuild) -> Server:
        """Begin a server anew from an image; id, ports and addresses stay, its disk does not."""
        image = self._images.bootable(rebuild.image_id)
        old = self._table.get(server_id)
        # A program that the image brought goes with it, one that the creator chose stays.
        own = old.argv != self._images.bootable(old.image_id).argv
        changes = {"argv": old.argv if own else image.argv, **rebuild.changes, "image_id": rebuild.image_id}
        return self._operations.begin(server_id, "rebuild", "rebuilding", lambda one: self._rebuild(one, changes))

    def rescue(self, server_id: str, image_id: str) -> None:
        """Boot a server from a rescue image, with its own disk in `/mnt`; a system on a disk has it as second disk.

        Raises:
            InvalidInput: the one is a disk, the other a root file system.
        """
        self._images.bootable(image_id)
        if self._images.is_disk(image_id) != self._images.is_disk(self._table.get(server_id).image_id):
            raise InvalidInput(f"Image {image_id} is unacceptable: a disk rescues a server that boots a disk, no other")
        self._operations.begin(server_id, "rescue", "rescuing", lambda one: self._rescue(one, image_id))

    def unrescue(self, server_id: str) -> None:
        """Boot a rescued server from its own disk again."""
        self._operations.begin(server_id, "unrescue", "unrescuing", self._unrescue)

    def shelve(self, server_id: str) -> None:
        """Put a server away: its disk stays, its capacity is free (as with `shelved_offload_time = 0`)."""
        self._operations.begin(server_id, "shelve", "shelving", self._shelve)

    def offload(self, server_id: str) -> None:
        """Free the capacity of a shelved server."""
        self._operations.begin(server_id, "shelveOffload", "shelving_offloading", self._offload)

    def unshelve(self, server_id: str, zone: str, host: str = "") -> None:
        """Take a shelved server back to a host, and start it."""
        self._operations.begin(server_id, "unshelve", "unshelving", lambda one: self._unshelve(one, zone, host))

    async def snapshot(self, server_id: str, image: GlanceImage) -> GlanceImage:
        """Announce an image of a server's root file system; it is filled in the background."""
        require(self._table.get(server_id), "createImage")
        image = await self._images.create(image)
        self._operations.begin(server_id, "createImage", "image_snapshot", lambda one: self._photograph(one, image.id))
        return image

    async def back_up(self, server_id: str, image: GlanceImage, rotation: int) -> GlanceImage:
        """Announce an image like `snapshot`; when it is there, only the last `rotation` ones of its kind stay."""
        require(self._table.get(server_id), "createBackup")
        image = await self._images.create(image)

        async def rotate() -> None:
            await self._images.rotate_backups(image, rotation)

        self._operations.begin(
            server_id, "createBackup", "image_backup", lambda one: self._photograph(one, image.id, rotate)
        )
        return image

    async def change_password(self, server_id: str, password: str) -> None:
        """Set root's password in a running server.

        Raises:
            Conflict: its state does not permit it.
            Unsupported: its image has no `chpasswd`, or that fails.
        """
        server = self._table.get(server_id)
        require(server, "changePassword")
        if "\n" in password:
            raise Conflict("a password has one line")
        self._table.change(server_id, task_state="updating_password")
        note = self._operations.log.begin(server, "changePassword")
        try:
            with self._operations.log.step(note, "compute_set_admin_password", server.host):
                status, _, why = await self._power.exec(server, ["chpasswd"], f"root:{password}\n".encode())
                if status:
                    reason = why.decode(errors="replace").strip().splitlines()
                    raise Unsupported(
                        f"Unable to set password on instance: {reason[0] if reason else 'chpasswd failed'}"
                    )
        finally:
            self._table.change(server_id, task_state=None)

    async def _rebuild(self, server_id: str, changes: Mapping[str, Any]) -> None:
        server = self._table.get(server_id)
        was_off = server.status == ServerStatus.SHUTOFF
        await self._power.off(server, grace_s=0.0)
        await self._power.wipe(server_id)
        self._table.change(server_id, task_state="rebuild_spawning", **changes)
        await self._servers.switch_on(server_id)
        if was_off:
            await self._power.off(self._table.get(server_id))
            self._table.change(server_id, status=ServerStatus.SHUTOFF)

    async def _rescue(self, server_id: str, image_id: str) -> None:
        await self._power.off(self._table.get(server_id))
        server = self._table.change(server_id, rescue_image_id=image_id)
        await self._power.on(server)
        self._table.change(server_id, status=ServerStatus.RESCUE, task_state=None, fault=None)

    async def _unrescue(self, server_id: str) -> None:
        await self._power.off(self._table.get(server_id))
        self._table.change(server_id, rescue_image_id="")
        await self._servers.switch_on(server_id)

    async def _shelve(self, server_id: str) -> None:
        await self._power.off(self._table.get(server_id))
        self._table.change(server_id, status=ServerStatus.SHELVED, task_state="shelving_offloading")
        await self._offload(server_id)

    async def _offload(self, server_id: str) -> None:
        self._table.change(
            server_id, status=ServerStatus.SHELVED_OFFLOADED, task_state=None, claimed=False, host="", cores=()
        )

    async def _unshelve(self, server_id: str, zone: str, host: str) -> None:
        self._servers.place(server_id, zone, host)
        self._table.change(server_id, task_state="spawning")
        await self._servers.switch_on(server_id)

    async def _photograph(
        self, server_id: str, image_id: str, and_then: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Copy the disk while nobody writes to it."""
        server = self._table.get(server_id)
        freezes = is_on(server) and server.status == ServerStatus.ACTIVE
        if freezes:
            await self._power.freeze(server)
        try:
            self._table.change(server_id, task_state="image_uploading")
            async with self._runtime.disk_content(self._power.disk(server_id)) as disk:
                await self._images.snapshot(image_id, server.image_id, disk)
            if and_then:
                await and_then()
        finally:
            if freezes:
                await self._power.thaw(server)
            self._table.change(server_id, task_state=None)
