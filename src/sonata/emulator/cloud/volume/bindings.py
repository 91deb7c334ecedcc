"""Which volume is at which server, and under which name."""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from pathlib import Path

from sonata.emulator.cloud.compute.disks import DiskWish
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.entities.volume import Attachment, Volume, VolumeStatus
from sonata.emulator.cloud.site import Site
from sonata.emulator.cloud.turns import Turns
from sonata.emulator.cloud.volume.volumes import Volumes
from sonata.errors import Conflict, InvalidInput, NotFound
from sonata.ports.runtime import Bind

ROOT_DEVICE = "/dev/vda"
FOLDER = "/mnt"
_DEVICE = re.compile(r"/dev/(?:v|s|xv|h)d[a-z]")


class Bindings:
    """The attachments of one cloud's volumes, as its tables have them.

    Args:
        machine_id: the name of a server's machine in the runtime.
    """

    def __init__(self, site: Site, volumes: Volumes, machine_id: Callable[[str], str]) -> None:
        self._site = site
        self._servers = site.tables.servers
        self._volumes = volumes
        self._table = site.tables.volume_attachments
        self._rows = site.tables.volumes
        self._machine_id = machine_id
        self._machine_turns = Turns()
        """Held while a server's machine is started, or a volume comes to it or goes: a command may wake an idle one."""

    def of_server(self, server_id: str) -> list[Attachment]:
        """The attachments of a server, its root first, then by device."""
        found = [one for one in self._table if one.server_id == server_id]
        return sorted(found, key=lambda one: (not one.is_root, one.device))

    def of_volume(self, volume_id: str) -> list[Attachment]:
        """The attachments of a volume."""
        return [one for one in self._table if one.volume_id == volume_id]

    def find(self, server_id: str, volume_id: str) -> Attachment:
        """The attachment of a volume to a server.

        Raises:
            NotFound: it is not attached there.
        """
        for one in self.of_server(server_id):
            if one.volume_id == volume_id:
                return one
        raise NotFound(f"volume_id not found: {volume_id}")

    def _bind(self, server: Server, volume: Volume, wish: DiskWish) -> Attachment:
        """Note an attachment, and reserve its volume.

        Raises:
            InvalidInput: the volume is not available, or the device cannot be used.
            Conflict: the device is taken.
        """
        self._free(volume.id)
        attachment = Attachment(
            project_id=server.project_id,
            volume_id=volume.id,
            server_id=server.id,
            device=ROOT_DEVICE if wish.is_root else self._device(server.id, wish.device),
            read_only=volume.read_only,
            status="attaching",
            delete_on_termination=wish.delete_on_termination,
            tag=wish.tag,
            is_root=wish.is_root,
        )
        self._table.add(attachment)
        self._rows.change(volume.id, status=VolumeStatus.ATTACHING)
        return attachment

    def _attached(self, attachment_id: str) -> Attachment:
        attachment = self._table.change(attachment_id, status="attached")
        self._rows.change(attachment.volume_id, status=VolumeStatus.IN_USE)
        return attachment

    def _unbind(self, attachment_id: str) -> None:
        attachment = self._table.get(attachment_id)
        self._table.remove(attachment_id)
        if attachment.volume_id in self._rows:
            self._rows.change(attachment.volume_id, status=VolumeStatus.AVAILABLE)

    def _volume(self, volume_id: str) -> Volume:
        volume = self._rows.peek(volume_id)
        if volume is None:
            raise NotFound(f"Volume {volume_id} could not be found.")
        return volume

    def _free(self, volume_id: str) -> Volume:
        volume = self._rows.peek(volume_id)
        if volume is None:
            raise InvalidInput(f"Volume {volume_id} could not be found.")
        if volume.status != VolumeStatus.AVAILABLE:
            raise InvalidInput(
                f"Invalid volume: volume '{volume_id}' status must be 'available'. Currently in '{volume.status}'"
            )
        return volume

    def _device(self, server_id: str, wanted: str) -> str:
        """The device that is asked for, or the first free one after the root.

        Raises:
            InvalidInput: it is no device name.
            Conflict: it is taken, or none is left.
        """
        taken = {one.device for one in self.of_server(server_id)} | {ROOT_DEVICE}
        if wanted:
            wanted = wanted if wanted.startswith("/dev/") else f"/dev/{wanted}"
            if not _DEVICE.fullmatch(wanted):
                raise InvalidInput(f"The supplied device path ({wanted}) is invalid.")
            if wanted in taken:
                raise Conflict(f"The supplied device path ({wanted}) is in use.")
            return wanted
        for letter in string.ascii_lowercase[1:]:
            if (device := f"/dev/vd{letter}") not in taken:
                return device
        raise Conflict(
            "The maximum allowed number of disk devices (26) to attach to a single instance has been exceeded."
        )


def folder_of(attachment: Attachment) -> str:
    """Where a server sees a volume: `/mnt/vdb`."""
    return f"{FOLDER}/{attachment.device.rpartition('/')[2]}"


def bind_of(attachment: Attachment, folder: Path) -> Bind:
    """How a server sees a volume."""
    return Bind(folder, folder_of(attachment), read_only=attachment.read_only)
