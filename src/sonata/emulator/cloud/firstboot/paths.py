"""All that a server can ask the metadata service for, by path; and the same as files of a config drive."""

from __future__ import annotations

import msgspec

import sonata.emulator.cloud.firstboot.ec2_format as ec2
import sonata.emulator.cloud.firstboot.openstack_format as openstack
from sonata.emulator.cloud.firstboot.instance import Instance

TEXT, JSON, BINARY = "text/plain; charset=UTF-8", "application/json", "application/octet-stream"


def answer(instance: Instance, path: str) -> tuple[bytes, str] | None:
    """Content and media type of a path, None when there is nothing."""
    segments = tuple(segment for segment in path.split("/") if segment)
    if not segments:
        return "\n".join((*ec2.VERSIONS, "latest")).encode(), TEXT
    if segments[0] == "openstack":
        return _openstack(instance, segments[1:])
    if segments[0] in (*ec2.VERSIONS, "latest"):
        return _ec2(instance, segments[1:])
    return None


def drive(instance: Instance) -> dict[str, bytes]:
    """The files of a config drive by their path on it (Nova user guide, "Config drives")."""
    found = {
        f"openstack/{version}/{name}": content
        for version in (*openstack.VERSIONS, openstack.LATEST)
        for name, content in openstack.files(instance, version).items()
    }
    document = ec2.plain(ec2.meta_data(instance))
    for version in (ec2.VERSIONS[-1], "latest"):
        found[f"ec2/{version}/meta-data.json"] = msgspec.json.encode(document)
        if instance.server.user_data:
            found[f"ec2/{version}/user-data"] = instance.user_data
    return found


def _openstack(instance: Instance, segments: tuple[str, ...]) -> tuple[bytes, str] | None:
    versions = (*openstack.VERSIONS, openstack.LATEST)
    if not segments:
        return "\n".join(versions).encode(), TEXT
    if segments[0] not in versions or len(segments) > 2:
        return None
    found = openstack.files(instance, segments[0])
    if len(segments) == 1:
        return "\n".join(found).encode(), TEXT
    if segments[1] not in found:
        return None
    return found[segments[1]], JSON if segments[1].endswith(".json") else BINARY


def _ec2(instance: Instance, segments: tuple[str, ...]) -> tuple[bytes, str] | None:
    if not segments:
        return b"meta-data/\nuser-data" if instance.server.user_data else b"meta-data/", TEXT
    if segments == ("user-data",):
        return (instance.user_data, BINARY) if instance.server.user_data else None
    if segments[0] != "meta-data":
        return None
    text = ec2.find(ec2.meta_data(instance), segments[1:])
    return None if text is None else (text.encode(), TEXT)
