"""Attributes in the bodies of servers: which there are, and those that are refused here with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from sonata.api.openstack.call import Call, Microversion
from sonata.api.openstack.listing import Document
from sonata.emulator.cloud.compute.power import hostname
from sonata.errors import InvalidInput

ALWAYS: Microversion = (2, 1)
SHARED = {
    "name": ALWAYS,
    "accessIPv4": ALWAYS,
    "accessIPv6": ALWAYS,
    "OS-DCF:diskConfig": ALWAYS,
    "description": (2, 19),
    "hostname": (2, 90),
}
"""What creation, update and rebuild have in common, and since when."""
CREATED = {
    **SHARED,
    **dict.fromkeys(("imageRef", "flavorRef", "adminPass", "metadata", "networks", "availability_zone"), ALWAYS),
    **dict.fromkeys(("block_device_mapping", "block_device_mapping_v2", "config_drive", "key_name"), ALWAYS),
    **dict.fromkeys(("min_count", "max_count", "return_reservation_id", "security_groups", "user_data"), ALWAYS),
    "personality": ALWAYS,
    "tags": (2, 52),
    "trusted_image_certificates": (2, 63),
    "host": (2, 74),
    "hypervisor_hostname": (2, 74),
}


def check_known(call: Call, body: Document, known: Mapping[str, Microversion]) -> None:
    """Refuse attributes that there are not in the call's microversion.

    Raises:
        InvalidInput: there is one.
    """
    if further := sorted(name for name in body if name not in known or call.microversion < known[name]):
        raise InvalidInput(
            "Invalid input for field/attribute server. Additional properties are not allowed "
            f"({further[0]!r} was unexpected)"
        )


def refuse_password(body: Document) -> None:
    """Say that no password is set: machines start as their image is, and none is made up either.

    Raises:
        InvalidInput: one is asked for.
    """
    if "adminPass" in body:
        raise InvalidInput(
            "Invalid input for field/attribute adminPass: passwords are not set when a server starts here. "
            "Use the action changePassword once it runs, or `chpasswd` in its user data"
        )


def refuse_unavailable(body: Document, name: str) -> None:
    """Say what is not done with a server, so that nobody waits for it.

    Args:
        body: a creation, update or rebuild.
        name: the server's.

    Raises:
        InvalidInput: it is asked for.
    """
    if body.get("personality"):
        raise InvalidInput("Invalid input for field/attribute personality: no files are injected here, use user_data")
    if body.get("trusted_image_certificates"):
        raise InvalidInput(
            "Invalid input for field/attribute trusted_image_certificates: signatures of images are not checked here"
        )
    if body.get("hostname") not in (None, hostname(name)):
        raise InvalidInput(
            f"Invalid input for field/attribute hostname: it follows the server's name here, as `{hostname(name)}`"
        )


def read_access(body: Document) -> dict[str, Any]:
    """The access addresses that a body sets, which are told and change nothing in the network.

    Raises:
        InvalidInput: one is no address of its version.
    """
    attributes = {"accessIPv4": "access_ipv4", "accessIPv6": "access_ipv6"}
    return {own: _address(name, body[name]) for name, own in attributes.items() if name in body}


def _address(name: str, asked: Any) -> str:
    try:
        address = ip_address(asked) if asked else None
    except ValueError:
        address = None
    if asked and (address is None or not name.endswith(str(address.version))):
        raise InvalidInput(f"Invalid input for field/attribute {name}. Value: {str(asked)[:40]}. It is no address")
    return str(address or "")
