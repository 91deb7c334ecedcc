"""The block devices of a new server: `block_device_mapping_v2`, and the older `block_device_mapping`."""

from __future__ import annotations

from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.listing import Document
from sonata.emulator.cloud.compute.disks import DiskWish
from sonata.errors import InvalidInput, NotFound


def read_disks(call: Call, body: Document) -> tuple[DiskWish, ...]:
    """The volumes that a new server is to have, from `block_device_mapping_v2` or the older `block_device_mapping`.

    Raises:
        InvalidInput: one is ill-formed, does not exist, or is something that is not had here.
    """
    devices = _devices(body, "block_device_mapping_v2") or [
        _older(one, boots=not body.get("imageRef")) for one in _devices(body, "block_device_mapping")
    ]
    disks = tuple(_disk(call, one) for one in devices if not _is_local_root(one))
    if sum(disk.is_root for disk in disks) > 1:
        raise InvalidInput("Block Device Mapping is Invalid: several devices have boot index 0.")
    return disks


def boot_image(body: Document) -> Any:
    """The image of a boot device that is local; None where there is none."""
    devices = _devices(body, "block_device_mapping_v2")
    return next((device.get("uuid") for device in devices if _is_local_root(device)), None)


def _devices(body: Document, key: str) -> list[Document]:
    devices = body.get(key) or []
    if not isinstance(devices, list) or not all(isinstance(device, dict) for device in devices):
        raise InvalidInput(f"Invalid input for field/attribute {key}: a list of objects is needed")
    return devices


def _older(device: Document, *, boots: bool) -> Document:
    """A device of `block_device_mapping` in the words of the newer one.

    Args:
        device: as it is in the body.
        boots: the root is a volume, by its name `vda`.

    Raises:
        InvalidInput: it is named as the root, which is an image.
    """
    is_root = read_text(device, "device_name").endswith("vda")
    if is_root and not boots:
        raise InvalidInput("The volume cannot be assigned the same device name as the root device vda")
    source = "snapshot" if device.get("snapshot_id") else "volume"
    return {
        **device,
        "uuid": device.get("snapshot_id") or device.get("volume_id"),
        "source_type": source,
        "destination_type": "volume",
        "boot_index": 0 if is_root else None,
    }


def _is_local_root(device: Document) -> bool:
    """Whether a device is just the server's image."""
    if device.get("destination_type", "local") != "local" or device.get("source_type") == "volume":
        return False
    if device.get("source_type") != "image" or not _is_root(device):
        raise InvalidInput(
            "Block Device Mapping is Invalid: local disks beside the root are not had here, use destination `volume`"
        )
    return True


def _is_root(device: Document) -> bool:
    return str(device.get("boot_index", 0 if device.get("source_type") == "image" else None)) == "0"


def _disk(call: Call, device: Document) -> DiskWish:
    source, source_id = device.get("source_type"), str(device.get("uuid") or "")
    if source not in ("volume", "snapshot", "image", "blank"):
        raise InvalidInput(f"Block Device Mapping is Invalid: unknown source_type {str(source)[:40]}.")
    _check_source(call, source, source_id)
    kind = read_text(device, "volume_type")
    if kind:
        try:
            call.cloud.volume_types.find(kind, call.project_id)
        except NotFound as error:
            raise InvalidInput(error.message) from None
    return DiskWish(
        source=source,
        source_id=source_id,
        size_gib=_size(device.get("volume_size")),
        is_root=_is_root(device),
        delete_on_termination=device.get("delete_on_termination") in (True, "true", "True", 1, "1"),
        device="" if _is_root(device) else read_text(device, "device_name"),
        tag=read_tag(device),
        type_name=kind,
    )


def _check_source(call: Call, source: str, source_id: str) -> None:
    tables = call.cloud.tables
    if source == "volume" and not sees_volume(call, source_id):
        raise InvalidInput(f"Block Device Mapping is Invalid: failed to get volume {source_id}.")
    if source == "snapshot" and ((found := tables.snapshots.peek(source_id)) is None or not call.sees(found)):
        raise InvalidInput(f"Block Device Mapping is Invalid: failed to get snapshot {source_id}.")
    if source == "image":
        try:
            call.cloud.images.get(source_id)
        except NotFound:
            raise InvalidInput(f"Image {source_id} could not be found.") from None


def sees_volume(call: Call, volume_id: str) -> bool:
    """Whether the caller may use a volume."""
    volume = call.cloud.tables.volumes.peek(volume_id)
    return volume is not None and call.sees(volume)


def _size(value: Any) -> int:
    text = str(value if value is not None else 0)
    if isinstance(value, bool) or not text.isdigit() or int(text) >= 2**31:
        raise InvalidInput(f"Invalid input for field/attribute volume_size. Value: {text[:40]}.")
    return int(text)


def read_tag(body: Document) -> str | None:
    """The tag of a device.

    Raises:
        InvalidInput: it is none.
    """
    tag = body.get("tag")
    if tag is not None and (not isinstance(tag, str) or not 0 < len(tag) <= 60 or "/" in tag or "," in tag):
        raise InvalidInput("Invalid input for field/attribute tag: 1 to 60 characters without `/` and `,` are needed")
    return tag


def read_text(body: Document, key: str) -> str:
    """A text in a body, empty where there is none.

    Raises:
        InvalidInput: it is something else.
    """
    value = body.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"Invalid input for field/attribute {key}: a string is needed")
    return value or ""
