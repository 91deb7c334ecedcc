"""How an object carries its tag.

Neutron objects (networks to port chains) carry it in `description`, as `sonata:<tag>`: it is set by the very call
that creates the object, so that a crash cannot leave one without it; resource tags need a second call, and the sfc
resources have none. Servers carry it in their metadata.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

PREFIX = "sonata:"
METADATA_KEY = "sonata_tag"


def mark(tag: str) -> str:
    """Description of an object with this tag."""
    return PREFIX + tag


def tag_of(document: dict[str, Any]) -> str:
    """Tag of a network, port, chain, server...; empty when it carries none."""
    if "metadata" in document:
        return str(document["metadata"].get(METADATA_KEY, ""))
    description = document.get("description") or ""
    return description.removeprefix(PREFIX) if description.startswith(PREFIX) else ""


def tagged(documents: Iterable[dict[str, Any]], tag: str) -> dict[str, Any] | None:
    """The first object with this tag."""
    return next((document for document in documents if tag_of(document) == tag), None)
