"""Images, as the Image API v2 names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sonata.emulator.cloud.entities.base import Entity


@dataclass(frozen=True, slots=True, kw_only=True)
class GlanceImage(Entity):
    """An image as Glance shows it.

    Args:
        stored: name in the image store, empty until its data has been uploaded.
        digest: sha256 of its content, `sha256:...`, empty while unknown.
        properties: further properties, all strings.
    """

    status: Literal["queued", "saving", "importing", "active", "killed"] = "active"
    stored: str = ""
    digest: str = ""
    visibility: str = "public"
    size_bytes: int | None = None
    container_format: str | None = "docker"
    disk_format: str | None = "raw"
    min_disk_gib: int = 0
    min_ram_mib: int = 0
    protected: bool = False
    properties: Mapping[str, str] = field(default_factory=dict)
