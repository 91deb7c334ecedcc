"""All types of resources by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import chain
from typing import Any

from sonata.emulator.cloud.orchestration.kinds.base import Kind
from sonata.emulator.cloud.orchestration.kinds.compute import compute_kinds
from sonata.emulator.cloud.orchestration.kinds.nested import nested_kinds, template_kind
from sonata.emulator.cloud.orchestration.kinds.network import network_kinds
from sonata.emulator.cloud.orchestration.kinds.plain import plain_kinds
from sonata.emulator.cloud.orchestration.kinds.scaling import scaling_kinds
from sonata.emulator.cloud.orchestration.kinds.signals import signal_kinds
from sonata.emulator.cloud.orchestration.kinds.storage import balancing_kinds, storage_kinds
from sonata.formats.hot.errors import StackValidationFailed

_NO_AGENT = "no agent in the servers polls for deployments; put the configuration into user_data"
REFUSED: Mapping[str, str] = {
    "OS::Glance::WebImage": "the cloud has no way to the outside; upload the image",
    "OS::Heat::SoftwareDeployment": _NO_AGENT,
    "OS::Heat::StructuredDeployment": _NO_AGENT,
    "OS::Heat::SoftwareComponent": _NO_AGENT,
    "OS::Heat::SoftwareDeploymentGroup": _NO_AGENT,
    "OS::Heat::StructuredDeploymentGroup": _NO_AGENT,
    "OS::Heat::AccessPolicy": "stacks have no users of their own whose access could be narrowed",
}
"""Types that exist in OpenStack and are refused here, with the reason."""


@lru_cache(maxsize=1)
def kinds() -> Mapping[str, Kind]:
    """The types of resources that this cloud has."""
    everything = chain(
        compute_kinds(),
        network_kinds(),
        storage_kinds(),
        balancing_kinds(),
        plain_kinds(),
        signal_kinds(),
        nested_kinds(),
        scaling_kinds(),
    )
    return {kind.name: kind for kind in everything}


def kind_named(name: str, files: Mapping[str, Any]) -> Kind:
    """The type of this name, or the template among the files.

    Raises:
        StackValidationFailed: there is none, or it is refused.
    """
    if known := kinds().get(name):
        return known
    if name in files:
        return template_kind(name, files[name])
    if name in REFUSED:
        raise StackValidationFailed(f"The Resource Type ({name}) is not offered: {REFUSED[name]}")
    raise StackValidationFailed(f"The Resource Type ({name}) could not be found.")
