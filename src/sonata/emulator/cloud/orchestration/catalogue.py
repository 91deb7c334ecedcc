"""All types of resources by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from itertools import chain
from typing import Any

from sonata._lib.values import dataclass
from sonata.emulator.cloud.orchestration.kinds.base import Kind
from sonata.emulator.cloud.orchestration.kinds.compute import compute_kinds
from sonata.emulator.cloud.orchestration.kinds.identity import identity_kinds
from sonata.emulator.cloud.orchestration.kinds.nested import nested_kinds, template_kind
from sonata.emulator.cloud.orchestration.kinds.network import network_kinds
from sonata.emulator.cloud.orchestration.kinds.plain import plain_kinds
from sonata.emulator.cloud.orchestration.kinds.quota import quota_kinds
from sonata.emulator.cloud.orchestration.kinds.scaling import scaling_kinds
from sonata.emulator.cloud.orchestration.kinds.signals import signal_kinds
from sonata.emulator.cloud.orchestration.kinds.software import software_kinds
from sonata.emulator.cloud.orchestration.kinds.storage import balancing_kinds, storage_kinds
from sonata.formats.hot.errors import ResourceTypeUnavailable, StackValidationFailed
from sonata.formats.yaml_nodes import parse_yaml

HIDDEN = frozenset(("OS::Neutron::RouterGateway", "OS::Heat::SoftwareDeployments", "OS::Heat::StructuredDeployments"))
"""Old types that are taken, but not listed."""
UNSUPPORTED = frozenset(
    f"OS::Neutron::{name}" for name in ("ExtraRoute", "FlowClassifier", "PortPair", "PortPairGroup", "PortChain")
)
"""Types that OpenStack calls so, since not all clouds have their services."""


@dataclass(frozen=True, slots=True)
class Absence:
    """Why a type of OpenStack's is not offered; `service` is that to which it belongs."""

    service: str
    reason: str


@lru_cache(maxsize=1)
def absent() -> Mapping[str, Absence]:
    """The types that OpenStack has and this cloud does not offer."""
    file = files("sonata.emulator.cloud.orchestration") / "schemas" / "elsewhere.yaml"
    groups = parse_yaml(file.read_text("utf-8"), "elsewhere.yaml").data
    return {name: Absence(one["service"], one["reason"]) for one in groups for name in one["types"]}


@lru_cache(maxsize=1)
def kinds() -> Mapping[str, Kind]:
    """The types of resources that this cloud has."""
    everything = chain(
        compute_kinds(),
        network_kinds(),
        storage_kinds(),
        balancing_kinds(),
        identity_kinds(),
        quota_kinds(),
        plain_kinds(),
        signal_kinds(),
        software_kinds(),
        nested_kinds(),
        scaling_kinds(),
    )
    return {kind.name: kind for kind in everything}


def is_known(name: str) -> bool:
    """Whether there is a type of this name, though perhaps one that is refused."""
    return name in kinds() or name in absent()


def kind_named(name: str, templates: Mapping[str, Any]) -> Kind:
    """The type of this name, or the template among the files.

    Raises:
        StackValidationFailed: there is none, or it is refused.
    """
    if known := kinds().get(name):
        return known
    if name in templates:
        return template_kind(name, templates[name])
    if missing := absent().get(name):
        raise ResourceTypeUnavailable(
            f"HEAT-E99001 Service {missing.service} is not available for resource type {name}, reason: {missing.reason}"
        )
    raise StackValidationFailed(f"The Resource Type ({name}) could not be found.")
