"""What a server's machine has as its root: an overlay over an image, a volume, or a disk with a system of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sonata.emulator.cloud.compute.disks import Mounts
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.image.disks import BootDisk
from sonata.emulator.cloud.image.images import Images
from sonata.emulator.resources import LEAST_DISK_BYTES
from sonata.errors import PermanentError
from sonata.ports.images import Image
from sonata.ports.runtime import RootFs

SHUTDOWN_S = 2.0
SYSTEM_SHUTDOWN_S = 60
"""How long a system on a disk may take to shut down, where its image has no `os_shutdown_timeout` (as in Nova)."""
GIB = 1024**3


def own_root(server: Server, mounts: Mounts, images: Images, disk: Path) -> RootFs:
    """A server's root: its volume, or a layer of its own, kept in `disk`, over its image.

    Raises:
        PermanentError: it boots a disk and has volumes, which are folders.
    """
    if mounts.root:
        return RootFs(folder=mounts.root)
    own = root_of(images.bootable(server.image_id), disk, server.flavor.disk_gib * GIB)
    if own.image and mounts.binds:
        raise PermanentError(
            f"server `{server.name}` boots a disk, and cannot have volumes: they are folders here",
            hint="detach them, or boot a root file system",
        )
    return own


def disk_size(server: Server) -> int | None:
    """Bytes that a server may write over its image: its flavor's disk, or what anybody may; volumes have a size."""
    return (server.flavor.disk_gib * GIB or LEAST_DISK_BYTES) if server.image_id else None


def root_of(image: Image, disk: Path | None = None, size_bytes: int = 0) -> RootFs:
    """An image as a root; what is written goes to `disk`, whose size is of account where the image is one."""
    if isinstance(image, BootDisk):
        return RootFs(image=replace(image.disk, size_bytes=size_bytes), disk=disk)
    return RootFs(image.layers, image.on_host, disk)


def patience(server: Server, images: Images) -> float:
    """How long a server may take to end in order."""
    if not images.is_disk(server.image_id):
        return SHUTDOWN_S
    asked = images.property_of(server.image_id, "os_shutdown_timeout")
    return float(asked if asked.isdigit() else SYSTEM_SHUTDOWN_S)
