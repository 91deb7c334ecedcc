"""Images, as the Image API v2 names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.base import Entity

Status = Literal["queued", "saving", "uploading", "importing", "active", "killed", "deactivated", "deleted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GlanceImage(Entity):
    """An image as Glance shows it.

    Args:
        stored: name in the image store, empty until its data has been uploaded.
        digest: of what it boots, `sha256:...`, empty while unknown.
        bootable: whether its data are a root file system; others are kept and given back, byte for byte.
        checksum: md5 of its data; `sha512` likewise.
        hidden: whether lists leave it out unless they are asked.
        properties: further properties, all strings.
    """

    status: Status = "active"
    stored: str = ""
    digest: str = ""
    bootable: bool = True
    checksum: str | None = None
    sha512: str | None = None
    visibility: str = "public"
    size_bytes: int | None = None
    virtual_size_bytes: int | None = None
    container_format: str | None = "docker"
    disk_format: str | None = "raw"
    min_disk_gib: int = 0
    min_ram_mib: int = 0
    protected: bool = False
    hidden: bool = False
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMember(Entity):
    """A project with which an image is shared: `project_id`; `status` is its own to change."""

    image_id: str
    status: Literal["pending", "accepted", "rejected"] = "pending"
