"""Where a new server is to go, as clients say it: zone, host, group, hints."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.listing import Document
from sonata.emulator.cloud.site import DEFAULT_ZONE
from sonata.errors import InvalidInput, NotFound

HINT_KEYS = ("os:scheduler_hints", "OS-SCH-HNT:scheduler_hints")
SERVER_HINTS = ("same_host", "different_host")


def read_placement(call: Call, document: Document) -> dict[str, Any]:
    """Attributes of a boot request by the body of a creation.

    Raises:
        InvalidInput: zone, host, group or hints are none.
    """
    body = document["server"]
    zone, host = read_zone(call, body.get("availability_zone"))
    if wanted := body.get("host") or body.get("hypervisor_hostname"):
        call.require_admin("compute:servers:create:requested_destination")
        host = _host(call, wanted)
    hints: Any = next((document[key] for key in HINT_KEYS if key in document), {})
    if not isinstance(hints, dict):
        raise InvalidInput("Invalid input for field/attribute os:scheduler_hints: an object is needed")
    return {
        "availability_zone": zone,
        "host": host,
        "group_id": _group(hints.get("group")),
        "hints": {name: _servers(name, hints[name]) for name in SERVER_HINTS if hints.get(name)},
    }


def read_zone(call: Call, asked: Any) -> tuple[str, str]:
    """`zone` or `zone:host`, as administrators may write it; the PoP's name stands for the zones that it has itself.

    Raises:
        InvalidInput: there is no such zone or host.
    """
    if asked is not None and not isinstance(asked, str):
        raise InvalidInput("Invalid input for field/attribute availability_zone: a string is needed")
    zone, _, host = (asked or "").partition(":")
    if zone and zone not in (*call.cloud.hosts.zones(), call.cloud.pop.name):
        there = ", ".join(f"`{name}`" for name in call.cloud.hosts.zones())
        raise InvalidInput(f"The requested availability zone is not available: {zone}; there is {there}")
    if host:
        call.require_admin("os_compute_api:servers:create:forced_host")
        host = _host(call, host)
    if zone == call.cloud.pop.name and zone not in call.cloud.hosts.zones():
        zone = DEFAULT_ZONE if call.cloud.site.zones.pops else ""
    return zone, host


def _host(call: Call, name: Any) -> str:
    try:
        return call.cloud.hosts.get(str(name)).name
    except NotFound as error:
        raise InvalidInput(error.message) from None


def _group(asked: Any) -> str:
    if asked is None:
        return ""
    if not isinstance(asked, str) or not _is_uuid(asked):
        raise InvalidInput("Invalid input for field/attribute group: a UUID is needed")
    return asked


def _servers(name: str, asked: Any) -> tuple[str, ...]:
    wanted = asked if isinstance(asked, list) else [asked]
    if not all(isinstance(one, str) and _is_uuid(one) for one in wanted):
        raise InvalidInput(f"Invalid input for field/attribute {name}: UUIDs of servers are needed")
    return tuple(wanted)


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def texts_or_none(values: Mapping[str, Any]) -> dict[str, str | None]:
    """An object of strings and nulls, as metadata of aggregates are.

    Raises:
        InvalidInput: a value is something else.
    """
    for key, value in values.items():
        if not key or len(key) > 255 or (value is not None and (not isinstance(value, str) or len(value) > 255)):
            raise InvalidInput(f"Invalid input for field/attribute {key}: a string of up to 255 characters is needed")
    return dict(values)
