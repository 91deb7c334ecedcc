"""Metadata in the format of Amazon's EC2, which older images ask for: `/latest/meta-data/...`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from sonata.emulator.cloud.firstboot.instance import Instance

VERSIONS = (
    "1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01",
    "2009-04-04",
)  # fmt: skip
Tree = Mapping[str, "Tree | str"]


def ec2_id(prefix: str, uuid_text: str) -> str:
    """An id in EC2's form for an object of OpenStack: eight digits that follow from its UUID."""
    try:
        number = uuid.UUID(uuid_text).int >> 96
    except ValueError:
        number = uuid.uuid5(uuid.NAMESPACE_OID, uuid_text).int >> 96
    return f"{prefix}-{number:08x}"


def meta_data(instance: Instance) -> Tree:
    """What is below `meta-data`."""
    server = instance.server
    image = ec2_id("ami", server.image_id)
    local = next((str(fixed.address) for link in instance.links for fixed in link.port.fixed_ips), "")
    public = next((str(floating.address) for floating in instance.floating), "")
    tree: dict[str, Tree | str] = {
        "ami-id": image,
        "ami-launch-index": str(server.launch_index),
        "ami-manifest-path": "FIXME",  # what Nova answers; nobody has a manifest
        "block-device-mapping": {"ami": "vda", "root": "/dev/vda"},
        "hostname": instance.full_name,
        "instance-action": "none",
        "instance-id": ec2_id("i", server.id),
        "instance-type": server.flavor.name,
        "local-hostname": instance.full_name,
        "local-ipv4": local,
        "placement": {"availability-zone": server.availability_zone},
        "public-hostname": instance.full_name,
        "public-ipv4": public,
        "reservation-id": server.reservation_id,
        "security-groups": "\n".join(server.security_groups),
    }
    if server.public_key and server.key_name:
        tree["public-keys"] = {"0": {"openssh-key": server.public_key, "_name": server.key_name}}
    return tree


def listing(tree: Tree) -> str:
    """A folder as EC2 lists it: folders end with `/`, keys are shown with their name."""
    return "\n".join(_entry(name, what) for name, what in sorted(tree.items()) if name != "_name")


def _entry(name: str, what: Tree | str) -> str:
    if isinstance(what, str):
        return name
    named = what.get("_name")
    return f"{name}={named}" if isinstance(named, str) else f"{name}/"


def find(tree: Tree, path: tuple[str, ...]) -> str | None:
    """A leaf, or the listing of a folder; None when there is neither."""
    node: Tree | str | None = tree
    for name in path:
        node = node.get(name) if isinstance(node, Mapping) and not name.startswith("_") else None
    if node is None or isinstance(node, str):
        return node
    return listing(node)


def plain(tree: Tree) -> dict[str, object]:
    """A folder as one JSON document, for the config drive; keys are by name, as Nova writes them."""
    found: dict[str, object] = {}
    for name, what in tree.items():
        if name != "_name":
            found[name] = what if isinstance(what, str) else plain(what)
    return found
