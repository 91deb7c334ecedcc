"""Images that are disks of virtual machines: which they are, and whether they can be booted."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.image import GlanceImage
from sonata.errors import InvalidInput
from sonata.ports.images import Image
from sonata.ports.runtime import DiskImage

FORMATS = frozenset(("raw", "qcow2"))
"""Disk formats that are booted."""
CONTAINERS = frozenset(("bare", None))
"""Container formats in which a disk may be: none."""

_QCOW = b"QFI\xfb"
_HEADER = struct.Struct(">4sIQ")
_FEATURES_AT, _EXTERNAL_DATA = 72, 1 << 2
_SECTOR, _SIGNATURE = 512, b"\x55\xaa"


@dataclass(frozen=True, slots=True, kw_only=True)
class BootDisk(Image):
    """A disk with a boot loader and a system of its own, as a server boots it."""

    disk: DiskImage


def is_disk(image: GlanceImage) -> bool:
    """Whether an image is no root file system, but said to be a disk."""
    return not image.bootable and image.disk_format in FORMATS and image.container_format in CONTAINERS


def boot_disk(image: GlanceImage, file: Path, refusal: Callable[[], str]) -> BootDisk:
    """An image that is a disk, as servers boot it.

    Raises:
        InvalidInput: it is none, or nothing here can boot it.
    """
    form = image.disk_format or ""
    why = damage(file, form) or refusal() if is_disk(image) else f"it is no plain disk ({image.container_format})"
    if why:
        raise InvalidInput(
            f"Image {image.id} is unacceptable: a {form} disk needs a virtual machine that boots it: {why}",
            hint="or upload an OCI or docker archive, or a tar file of a root file system",
        )
    return BootDisk(image.id, image.name, image.digest, disk=DiskImage(file, form))


def damage(file: Path, form: str) -> str:
    """Why data are no disk that can be booted, empty when they may be one.

    One that leans on other files is none: it could show whoever boots it files of the host.

    Source: QCOW2 specification, header: magic, version, backing file offset; from version 3 incompatible features.
    """
    with file.open("rb") as stream:
        begin = stream.read(_SECTOR)
    if form != "qcow2":
        return "" if begin.endswith(_SIGNATURE) and len(begin) == _SECTOR else "it has no boot sector"
    if not begin.startswith(_QCOW) or len(begin) < _FEATURES_AT + 8:
        return "it is no qcow2 image"
    _, version, backing_file = _HEADER.unpack_from(begin)
    if backing_file:
        return "it has a backing file"
    if version >= 3 and int.from_bytes(begin[_FEATURES_AT : _FEATURES_AT + 8]) & _EXTERNAL_DATA:
        return "its data are in another file"
    return ""
