"""Which engine a server runs in."""

from __future__ import annotations

from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.image.images import Images
from sonata.ports.runtime import VIRTUAL

ENGINE_SPEC = "sonata:engine"
"""The extra spec of a flavor that names the engine of its servers."""

_HYPERVISORS = ("qemu", "kvm")
"""Values of an image's `hypervisor_type` that make its servers virtual machines."""


def engine_of(server: Server, images: Images) -> str:
    """What a server's flavor asks for, else its image, as a disk always does; empty for the usual engine."""
    if asked := server.flavor.extra_specs.get(ENGINE_SPEC, ""):
        return asked
    named = images.property_of(server.image_id, "hypervisor_type") in _HYPERVISORS
    return VIRTUAL if named or images.is_disk(server.image_id) else ""
