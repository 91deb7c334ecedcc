"""Volumes and what belongs to them, as the Block Storage API v3 names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.base import Entity


class VolumeStatus:
    """Values of `Volume.status` (Block Storage API, volumes)."""

    CREATING = "creating"
    DOWNLOADING = "downloading"
    AVAILABLE = "available"
    RESERVED = "reserved"
    ATTACHING = "attaching"
    IN_USE = "in-use"
    DETACHING = "detaching"
    EXTENDING = "extending"
    UPLOADING = "uploading"
    RETYPING = "retyping"
    DELETING = "deleting"
    AWAITING_TRANSFER = "awaiting-transfer"
    ERROR = "error"
    ERROR_DELETING = "error_deleting"
    ERROR_EXTENDING = "error_extending"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeType(Entity):
    """A type of volumes; `access` are the projects that may use one that is not public."""

    is_public: bool = True
    extra_specs: Mapping[str, str] = field(default_factory=dict)
    access: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """What a root file system runs where nothing else is asked for; see `sonata.ports.images.Image`."""

    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ready_tcp_port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Entity):
    """A volume.

    Args:
        type_id: its type.
        snapshot_id, source_id: what it was made from, as `image_id`; empty where it was not.
        image_metadata: what is known of the image that it was filled from.
        program: of that image.
        fault: why it is in error.
    """

    user_id: str = ""
    size_gib: int
    status: str = VolumeStatus.CREATING
    type_id: str = ""
    availability_zone: str = "nova"
    bootable: bool = False
    read_only: bool = False
    snapshot_id: str = ""
    source_id: str = ""
    image_id: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    image_metadata: Mapping[str, str] = field(default_factory=dict)
    program: Program = field(default_factory=Program)
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(Entity):
    """What a volume held at one moment."""

    user_id: str = ""
    volume_id: str
    size_gib: int
    status: str = VolumeStatus.CREATING
    bootable: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    image_metadata: Mapping[str, str] = field(default_factory=dict)
    program: Program = field(default_factory=Program)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment(Entity):
    """A volume at a server.

    Args:
        device: as Nova names it, `/dev/vdb`; `/dev/vda` is the server's root.
        status: `reserved`, `attaching`, `attached` or `detaching`.
        delete_on_termination: whether the volume goes with the server.
        connector: what a client told of the host, where one made the attachment by itself.
    """

    volume_id: str
    server_id: str = ""
    device: str = ""
    read_only: bool = False
    status: str = "reserved"
    delete_on_termination: bool = False
    tag: str | None = None
    is_root: bool = False
    connector: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Entity):
    """A volume on its way to another project; its key is kept as a salted hash alone."""

    volume_id: str
    salt: str
    key_hash: str
    accepted: bool = False
    destination_project_id: str = ""
