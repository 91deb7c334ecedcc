"""Volumes at servers: bound folders that come and go while a server runs, and root file systems.

A volume that is attached as `/dev/vdb` is the folder `/mnt/vdb` of the server. The root of a server that boots from a
volume is that volume; it is `/dev/vda`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from sonata.emulator.cloud.compute.disks import DiskWish, Mounts
from sonata.emulator.cloud.entities.compute import Server, ServerStatus
from sonata.emulator.cloud.entities.volume import Attachment, Volume, VolumeStatus
from sonata.emulator.cloud.rollback import undone_on_failure
from sonata.emulator.cloud.volume.bindings import Bindings, bind_of, folder_of
from sonata.emulator.cloud.volume.sources import VolumeWish
from sonata.errors import Conflict, InvalidInput, NotFound, PermanentError, SonataError
from sonata.ports.images import Image
from sonata.ports.runtime import Bind


class Attachments(Bindings):
    """The attachments of one cloud's volumes."""

    # while a server lives

    async def attach(self, server_id: str, wish: DiskWish) -> Attachment:
        """Give a server a volume; its folder is there at return when the server runs.

        Raises:
            NotFound: there is no such volume.
            InvalidInput: the volume is not available, or the device has no name for one.
            Conflict: the device is taken, or something is going on with the server.
        """
        self._quiet(server_id, "attach_volume")
        async with self._site.server_turns.of(server_id):
            server = self._quiet(server_id, "attach_volume")
            attachment = self._bind(server, self._volume(wish.source_id), wish)
            with undone_on_failure(lambda: self._unbind(attachment.id)):
                if server.status == ServerStatus.ACTIVE:
                    async with self._machine_turns.of(server_id):
                        await self._show(attachment)
            return self._attached(attachment.id)

    async def detach(self, server_id: str, volume_id: str) -> None:
        """Take a volume away from a server.

        Raises:
            NotFound: it is not attached there.
            InvalidInput: it is the server's root.
            Conflict: the server works in it; it stays then.
        """
        self._quiet(server_id, "detach_volume")
        async with self._site.server_turns.of(server_id):
            self._quiet(server_id, "detach_volume")
            await self._detach(self.find(server_id, volume_id))

    async def apart(self, volume_id: str, work: Callable[[], None]) -> None:
        """Do something to a volume while it is taken out of the servers that have it, if they let it go.

        Raises:
            Conflict: a server works in it.
        """
        attachments = self.of_volume(volume_id)
        if any(one.is_root and self._runs(one.server_id) for one in attachments):
            raise Conflict("a running server has this volume as its root", hint="stop the server first")
        async with AsyncExitStack() as turns:
            for server_id in sorted({one.server_id for one in attachments}):
                await turns.enter_async_context(self._machine_turns.of(server_id))
            for attachment in attachments:
                await self._hide(attachment)
            try:
                await asyncio.to_thread(work)
            finally:
                for attachment in attachments:
                    if self._runs(attachment.server_id):
                        await self._show(attachment)

    def unplug(self, attachment_id: str) -> None:
        """Forget an attachment that a client made by itself; no server of this cloud has it."""
        self._unbind(attachment_id)

    # while a server is made, switched on and off, and deleted

    def check(self, wishes: Sequence[DiskWish]) -> None:
        """Refuse wishes that cannot be fulfilled.

        Raises:
            InvalidInput: a volume does not exist, is not available, cannot be booted from, or is named twice.
        """
        named = [wish.source_id for wish in wishes if wish.source == "volume"]
        if len(set(named)) < len(named):
            raise InvalidInput("Block Device Mapping is Invalid: a volume can be given to a server only once")
        for wish in wishes:
            if wish.source == "volume":
                volume = self._free(wish.source_id)
                if wish.is_root and not volume.bootable:
                    raise InvalidInput(f"Block Device {volume.id} is not bootable.")
            elif wish.source == "blank" and wish.size_gib < 1:
                raise InvalidInput(
                    "Block Device Mapping is Invalid: Blank volumes (source: 'blank', dest: 'volume') "
                    "need to have non-zero size"
                )

    def bind_existing(self, server: Server, wishes: Sequence[DiskWish]) -> None:
        """Bind the volumes that exist, so that nobody else takes them."""
        for wish in wishes:
            if wish.source == "volume":
                self._bind(server, self._volume(wish.source_id), wish)

    async def make_missing(self, server_id: str, wishes: Sequence[DiskWish]) -> None:
        """Make the volumes that do not exist, and bind them; all are ready at return.

        Raises:
            PermanentError: one could not be made.
        """
        for wish in wishes:
            if wish.source != "volume":
                await self._make(self._servers.get(server_id), wish)
        for attachment in self.of_server(server_id):
            await self._volumes.settled(attachment.volume_id)
            self._attached(attachment.id)

    @asynccontextmanager
    async def opened(self, server: Server) -> AsyncIterator[Mounts]:
        """What a server sees of its volumes, for the time in which its machine is started: none comes or goes then."""
        async with self._machine_turns.of(server.id):
            yield await self._open_all(server)

    async def _open_all(self, server: Server) -> Mounts:
        binds: list[Bind] = []
        root: Path | None = None
        for attachment in self.of_server(server.id):
            if attachment.status == "attaching":  # whoever attaches it shows it to the machine that runs by then
                continue
            folder = await asyncio.to_thread(self._volumes.store.open, attachment.volume_id)
            if attachment.is_root:
                root = folder
            else:
                binds.append(bind_of(attachment, folder))
        return Mounts(root, tuple(binds))

    async def shut_all(self, server: Server) -> None:
        """Let go of the volumes of a server that is off."""
        for attachment in self.of_server(server.id):
            with suppress(SonataError):  # the next one who needs it shut says so
                await asyncio.to_thread(self._volumes.store.shut, attachment.volume_id)

    async def release_all(self, server: Server) -> None:
        """Detach the volumes of a server that is deleted; those that were to go with it go."""
        for attachment in self.of_server(server.id):
            self._unbind(attachment.id)
            if attachment.delete_on_termination and attachment.volume_id in self._rows:
                with suppress(SonataError):  # it has snapshots, or is busy: it stays, as in Nova
                    self._volumes.delete(attachment.volume_id)

    def root_image(self, server: Server) -> Image | None:
        """What the root volume of a server runs; None when the server has none."""
        for attachment in self.of_server(server.id):
            if attachment.is_root:
                return self._image(self._rows.get(attachment.volume_id))
        return None

    def program_of(self, wishes: Sequence[DiskWish]) -> tuple[str, ...]:
        """The program that the root among the wishes runs, where that is known already."""
        for wish in wishes:
            if wish.is_root and wish.source == "volume":
                return self._rows.get(wish.source_id).program.argv
            if wish.is_root and wish.source == "snapshot":
                return self._site.tables.snapshots.get(wish.source_id).program.argv
        return ()

    # steps

    async def _detach(self, attachment: Attachment) -> None:
        volume_id = attachment.volume_id
        if attachment.is_root:
            raise InvalidInput("Cannot detach a root device volume")
        self._rows.change(volume_id, status=VolumeStatus.DETACHING)
        with undone_on_failure(lambda: self._rows.change(volume_id, status=VolumeStatus.IN_USE)):
            async with self._machine_turns.of(attachment.server_id):
                await self._hide(attachment)
        self._unbind(attachment.id)

    def _image(self, volume: Volume) -> Image:
        program = volume.program
        return Image("", volume.name, "", (), program.argv, program.env, program.ready_tcp_port)

    async def _make(self, server: Server, wish: DiskWish) -> None:
        volume = self._volumes.create(
            VolumeWish(
                project_id=server.project_id,
                user_id=server.user_id,
                size_gib=wish.size_gib,
                type_name=wish.type_name,
                snapshot_id=wish.source_id if wish.source == "snapshot" else "",
                image_id=wish.source_id if wish.source == "image" else "",
            )
        )
        made = await self._volumes.settled(volume.id)
        if made is None or made.status != VolumeStatus.AVAILABLE:
            why = made.fault if made else "it was deleted"
            raise PermanentError(f"Build of instance {server.id} aborted: volume {volume.id} was not made: {why}")
        self._bind(server, made, wish)

    async def _show(self, attachment: Attachment) -> None:
        """Make a volume visible in its running server; one that idles sees it when it wakes."""
        folder = await asyncio.to_thread(self._volumes.store.open, attachment.volume_id)
        with suppress(NotFound):
            await self._site.runtime.attach_folder(self._machine_id(attachment.server_id), bind_of(attachment, folder))

    async def _hide(self, attachment: Attachment) -> None:
        with suppress(NotFound):
            machine = self._machine_id(attachment.server_id)
            await self._site.runtime.detach_folder(machine, folder_of(attachment))
        await asyncio.to_thread(self._volumes.store.shut, attachment.volume_id)

    def _runs(self, server_id: str) -> bool:
        server = self._servers.peek(server_id)
        return server is not None and server.status == ServerStatus.ACTIVE

    def _quiet(self, server_id: str, action: str) -> Server:
        """A server with which nothing is going on."""
        server = self._servers.get(server_id)
        if server.task_state:
            raise Conflict(f"Cannot '{action}' instance {server_id} while it is in task_state {server.task_state}")
        if server.status in (ServerStatus.BUILD, ServerStatus.ERROR):
            raise Conflict(f"Cannot '{action}' instance {server_id} while it is in vm_state {server.status.lower()}")
        return server
