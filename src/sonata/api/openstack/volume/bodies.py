"""The request bodies of the Block Storage API, for its description.

Source: OpenStack Block Storage API v3 reference, microversions 3.0 to 3.70.
"""

from __future__ import annotations

from sonata.api.openstack.schemas import (
    ANYTHING,
    ID,
    NAME,
    NOTHING,
    SWITCH,
    TEXTS,
    WORDS,
    ZONE,
    Schema,
    action,
    choice,
    limits,
    maybe,
    member,
    number,
    record,
)
from sonata.emulator.cloud.quotas import names_of

SIZE = number(1)
TOLD = {"name": maybe(WORDS), "description": maybe(WORDS)}
VOLUME_CREATE = member(
    "volume",
    {
        **TOLD,
        "size": SIZE,
        "snapshot_id": ID,
        "source_volid": ID,
        "imageRef": ID,
        "volume_type": WORDS,
        "availability_zone": ZONE,
        "metadata": TEXTS,
    },
    ["size"],
)
VOLUME_UPDATE = member("volume", {**TOLD, "metadata": TEXTS})
STATUS = record({"status": choice("available", "error", "creating", "deleting")}, ["status"])
NO_ARGUMENTS = record({})
VOLUME_ACTIONS: dict[str, Schema] = {
    "os-extend": record({"new_size": SIZE}, ["new_size"]),
    "os-retype": record({"new_type": ID, "migration_policy": choice("never", "on-demand")}, ["new_type"]),
    "os-set_bootable": record({"bootable": SWITCH}, ["bootable"]),
    "os-update_readonly_flag": record({"readonly": SWITCH}, ["readonly"]),
    "os-reset_status": STATUS,
    "os-force_delete": NO_ARGUMENTS,
    "os-volume_upload_image": record(
        {
            "image_name": NAME,
            "container_format": choice("bare", "docker"),
            "disk_format": choice("raw"),
            "visibility": choice("private", "shared", "community", "public"),
            "protected": SWITCH,
            "force": SWITCH,
        },
        ["image_name"],
    ),
    "os-show_image_metadata": NOTHING,
    "os-set_image_metadata": record({"metadata": TEXTS}, ["metadata"]),
    "os-unset_image_metadata": record({"key": ID}, ["key"]),
    "os-reserve": NO_ARGUMENTS,
    "os-unreserve": NO_ARGUMENTS,
    "os-detach": record({"attachment_id": ID}),
    "os-force_detach": record({"attachment_id": ID}),
    "revert": record({"snapshot_id": ID}, ["snapshot_id"]),
    "os-reimage": record({"image_id": ID, "reimage_reserved": SWITCH}, ["image_id"]),
}
VOLUME_ACTION = action(VOLUME_ACTIONS)
METADATA = record({"metadata": TEXTS}, ["metadata"])
METADATUM = record({"meta": {**TEXTS, "minProperties": 1, "maxProperties": 1}}, ["meta"])
SNAPSHOT_CREATE = member("snapshot", {**TOLD, "volume_id": ID, "force": SWITCH, "metadata": TEXTS}, ["volume_id"])
SNAPSHOT_UPDATE = member("snapshot", TOLD)
SNAPSHOT_ACTION = action({"os-reset_status": STATUS, "os-force_delete": NO_ARGUMENTS})
TYPE_CREATE = member(
    "volume_type",
    {"name": NAME, "description": WORDS, "os-volume-type-access:is_public": SWITCH, "extra_specs": TEXTS},
    ["name"],
)
TYPE_UPDATE = member("volume_type", {"name": NAME, "description": WORDS, "is_public": SWITCH})
TYPE_ACTION = action(
    {name: record({"project": ID}, ["project"]) for name in ("addProjectAccess", "removeProjectAccess")}
)
EXTRA_SPECS = record({"extra_specs": TEXTS}, ["extra_specs"])
TRANSFER = member("transfer", {"name": WORDS, "volume_id": ID}, ["volume_id"])
ACCEPT = member("accept", {"auth_key": ID}, ["auth_key"])
ATTACHMENT = member("attachment", {"volume_uuid": ID, "instance_uuid": ID, "connector": ANYTHING}, ["volume_uuid"])
QUOTAS = limits("quota_set", names_of("volume"))
