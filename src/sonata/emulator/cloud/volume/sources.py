"""What volumes are made from, and what their status permits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.image import GlanceImage
from sonata.emulator.cloud.entities.volume import Program, Volume, VolumeStatus
from sonata.emulator.cloud.image.disks import BootDisk
from sonata.emulator.cloud.image.images import Images
from sonata.emulator.cloud.tables import Tables
from sonata.errors import InvalidInput, NotFound
from sonata.ports.images import Image

GIB = 1024**3


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


@dataclass(frozen=True, slots=True)
class Source:
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


def source_of(wish: VolumeWish, tables: Tables, images: Images) -> Source:
    """What a volume is to be made from.

    Raises:
        NotFound, InvalidInput: it does not exist, or is not ready.
    """
    if wish.snapshot_id:
        snapshot = tables.snapshots.get(wish.snapshot_id)
        if snapshot.status != VolumeStatus.AVAILABLE:
            raise InvalidInput(
                f"Invalid snapshot: Originating snapshot status must be one of 'available' values, but is "
                f"{snapshot.status}."
            )
        return Source(
            "snapshot", snapshot.size_gib, snapshot.bootable, snapshot.image_metadata, snapshot.program,
            type_of=snapshot.volume_id,
        )  # fmt: skip
    if wish.source_id:
        volume = tables.volumes.get(wish.source_id)
        require_status(volume, {VolumeStatus.AVAILABLE, VolumeStatus.IN_USE}, "clone")
        return Source(
            "source volume", volume.size_gib, volume.bootable, volume.image_metadata, volume.program,
            type_of=volume.id,
        )  # fmt: skip
    if wish.image_id:
        return _image_source(wish, images)
    return Source("", 1)


def root_files(images: Images, image_id: str) -> Image:
    """The root file system that an image is.

    Raises:
        InvalidInput: it is none, and a volume holds files.
    """
    image = images.bootable(image_id)
    if isinstance(image, BootDisk):
        raise InvalidInput(f"Image {image_id} is unacceptable: volumes hold files here, and it is a whole disk")
    return image


def _image_source(wish: VolumeWish, images: Images) -> Source:
    try:
        image = images.get(wish.image_id)
    except NotFound:
        raise InvalidInput(f"Invalid image identifier or unable to access requested image: {wish.image_id}.") from None
    if image.status != "active":
        raise InvalidInput(f"Invalid input received: Image {image.id} is not active.")
    is_packed = images.packed(image.id) is not None
    stored = Image("", "", "") if is_packed else root_files(images, image.id)
    needed = -(-((image.size_bytes or 0) if is_packed else stored.size_bytes) // GIB)
    if wish.size_gib and wish.size_gib < needed:
        raise InvalidInput(
            f"Invalid input received: Size of specified image {needed}GB is larger than volume size {wish.size_gib}GB."
        )
    if wish.size_gib < image.min_disk_gib:
        raise InvalidInput(
            f"Invalid input received: Volume size {wish.size_gib}GB cannot be smaller than the image minDisk "
            f"size {image.min_disk_gib}GB."
        )
    program = Program(stored.argv, dict(stored.env), stored.ready_tcp_port)
    return Source("image", max(needed, 1), not is_packed, image_facts(image), program)


def require_status(volume: Volume, allowed: set[str], action: str) -> None:
    """Refuse an action that a volume's status does not permit.

    Raises:
        InvalidInput: it does not.
    """
    if volume.status not in allowed:
        raise InvalidInput(
            f"Invalid volume: Volume {volume.id} status must be {' or '.join(sorted(allowed))} to {action}, but "
            f"current status is: {volume.status}."
        )
