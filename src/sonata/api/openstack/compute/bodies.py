"""The request bodies of the Compute API, for its description.

Source: OpenStack Compute API reference, microversions 2.1 to 2.96.
"""

from __future__ import annotations

from sonata.api.openstack.schemas import (
    ADDRESS,
    ANYTHING,
    ID,
    NAME,
    NOTHING,
    SOME_WORDS,
    SWITCH,
    TEXTS,
    WORDS,
    ZONE,
    Schema,
    action,
    choice,
    either,
    limits,
    many,
    maybe,
    member,
    number,
    record,
)
from sonata.emulator.cloud.compute.scheduler import AFFINITY, ANTI_AFFINITY, SOFT_AFFINITY, SOFT_ANTI_AFFINITY
from sonata.emulator.cloud.quotas import names_of

MOST_AT_ONCE = 256
"""Servers of one request."""
BASE64: Schema = {"type": "string", "format": "byte", "maxLength": 65535}
DISK_CONFIG = choice("AUTO", "MANUAL")
NIC = record({"uuid": ID, "port": ID, "fixed_ip": ADDRESS, "tag": ID})
DEVICE = record(
    {
        "uuid": ID,
        "source_type": choice("image", "volume", "snapshot", "blank"),
        "destination_type": choice("local", "volume"),
        "boot_index": maybe(number(-1)),
        "volume_size": number(1),
        "volume_type": WORDS,
        "delete_on_termination": SWITCH,
        "device_name": WORDS,
        "tag": ID,
    },
    ["source_type"],
)
HINTS = record({"group": ID, "same_host": many(ID), "different_host": many(ID)})
SERVER_FIELDS = {
    "name": NAME,
    "imageRef": ID,
    "flavorRef": ID,
    "networks": either(choice("auto", "none"), many(NIC)),
    "description": maybe(WORDS),
    "metadata": TEXTS,
    "tags": SOME_WORDS,
    "user_data": BASE64,
    "key_name": ID,
    "security_groups": many(record({"name": ID}, ["name"])),
    "availability_zone": ZONE,
    "host": ID,
    "config_drive": SWITCH,
    "min_count": number(1, MOST_AT_ONCE),
    "max_count": number(1, MOST_AT_ONCE),
    "return_reservation_id": SWITCH,
    "block_device_mapping_v2": many(DEVICE),
    "OS-DCF:diskConfig": DISK_CONFIG,
}
SERVER_CREATE = record(
    {"server": record(SERVER_FIELDS, ["name", "flavorRef", "networks"]), "os:scheduler_hints": HINTS}, ["server"]
)
SERVER_UPDATE = member("server", {"name": NAME, "description": maybe(WORDS)})
CONSOLE_TYPE = record({"type": choice("novnc", "spice-html5", "rdp-html5", "serial")}, ["type"])
HOST = record({"host": ID})
PASSWORD = record({"adminPass": WORDS})
SERVER_ACTIONS: dict[str, Schema] = {
    "os-start": NOTHING,
    "os-stop": NOTHING,
    "reboot": record({"type": choice("SOFT", "HARD")}, ["type"]),
    "pause": NOTHING,
    "unpause": NOTHING,
    "suspend": NOTHING,
    "resume": NOTHING,
    "lock": maybe(record({"locked_reason": ID})),
    "unlock": NOTHING,
    "rescue": maybe(record({"adminPass": WORDS, "rescue_image_ref": ID})),
    "unrescue": NOTHING,
    "os-resetState": record({"state": choice("active", "error")}, ["state"]),
    "rebuild": record(
        {
            "imageRef": ID,
            "name": NAME,
            "metadata": TEXTS,
            "adminPass": WORDS,
            "description": maybe(WORDS),
            "key_name": maybe(ID),
            "user_data": BASE64,
        },
        ["imageRef"],
    ),
    "shelve": NOTHING,
    "shelveOffload": NOTHING,
    "unshelve": maybe(record({"availability_zone": ZONE, "host": ID})),
    "resize": record({"flavorRef": ID, "OS-DCF:diskConfig": DISK_CONFIG}, ["flavorRef"]),
    "confirmResize": NOTHING,
    "revertResize": NOTHING,
    "createImage": record({"name": NAME, "metadata": TEXTS}, ["name"]),
    "createBackup": record(
        {"name": NAME, "backup_type": WORDS, "rotation": number(0), "metadata": TEXTS},
        ["name", "backup_type", "rotation"],
    ),
    "changePassword": record({"adminPass": WORDS}, ["adminPass"]),
    "migrate": maybe(HOST),
    "os-migrateLive": record(
        {"host": maybe(ID), "block_migration": either(SWITCH, choice("auto"))}, ["host", "block_migration"]
    ),
    "evacuate": record({"host": ID, "adminPass": WORDS}),
    "forceDelete": NOTHING,
    "restore": NOTHING,
    "os-getConsoleOutput": record({"length": maybe(number(-1))}),
    "addSecurityGroup": record({"name": ID}, ["name"]),
    "removeSecurityGroup": record({"name": ID}, ["name"]),
    "os-getVNCConsole": CONSOLE_TYPE,
    "os-getSPICEConsole": CONSOLE_TYPE,
    "os-getRDPConsole": CONSOLE_TYPE,
    "os-getSerialConsole": CONSOLE_TYPE,
}
SERVER_ACTION = action(SERVER_ACTIONS)
METADATA = record({"metadata": TEXTS}, ["metadata"])
METADATUM = record({"meta": {**TEXTS, "minProperties": 1, "maxProperties": 1}}, ["meta"])
TAGS = record({"tags": SOME_WORDS}, ["tags"])
INTERFACE = member(
    "interfaceAttachment",
    {"port_id": ID, "net_id": ID, "fixed_ips": many(record({"ip_address": ADDRESS}, ["ip_address"])), "tag": ID},
)
REMOTE_CONSOLE = member(
    "remote_console",
    {
        "protocol": choice("vnc", "spice", "rdp", "serial", "mks"),
        "type": choice("novnc", "xvpvnc", "spice-html5", "rdp-html5", "serial", "webmks"),
    },
    ["protocol", "type"],
)
VOLUME_ATTACH = member(
    "volumeAttachment", {"volumeId": ID, "device": WORDS, "tag": ID, "delete_on_termination": SWITCH}, ["volumeId"]
)
VOLUME_UPDATE = member("volumeAttachment", {"volumeId": ID, "delete_on_termination": SWITCH}, ["volumeId"])

FLAVOR_ACCESS = action({name: record({"tenant": ID}, ["tenant"]) for name in ("addTenantAccess", "removeTenantAccess")})
EXTRA_SPECS = record({"extra_specs": TEXTS}, ["extra_specs"])
PUBLIC_KEY: Schema = {"type": "string", "format": "public-key"}
KEYPAIR = member(
    "keypair",
    {"name": NAME, "type": choice("ssh", "x509"), "public_key": PUBLIC_KEY, "user_id": ID},
    ["name", "public_key"],
)
GROUP_POLICIES = (ANTI_AFFINITY, AFFINITY, SOFT_ANTI_AFFINITY, SOFT_AFFINITY)
SERVER_GROUP = member(
    "server_group",
    {"name": NAME, "policy": choice(*GROUP_POLICIES), "rules": record({"max_server_per_host": number(1)})},
    ["name", "policy"],
)
SERVICE = record({"status": choice("enabled", "disabled"), "disabled_reason": WORDS, "forced_down": SWITCH})
AGGREGATE_CREATE = member("aggregate", {"name": NAME, "availability_zone": maybe(NAME)}, ["name"])
AGGREGATE_UPDATE = member("aggregate", {"name": NAME, "availability_zone": maybe(NAME)})
AGGREGATE_ACTION = action(
    {
        "add_host": record({"host": ID}, ["host"]),
        "remove_host": record({"host": ID}, ["host"]),
        "set_metadata": record({"metadata": ANYTHING}, ["metadata"]),
    }
)
QUOTAS = limits("quota_set", names_of("compute"), {"force": SWITCH})
QUOTA_CLASS = limits("quota_class_set", names_of("compute"))
