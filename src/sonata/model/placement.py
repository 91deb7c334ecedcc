"""The placement problem and its answer, as the generic placer and placement SSMs see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from sonata._lib.values import dataclass
from sonata.model.descriptors import NetworkServiceDescriptor, VnfDescriptor
from sonata.model.infrastructure import PopCapacity, WanGraph


@dataclass(frozen=True, slots=True)
class PlacementProblem:
    """Everything that a placement decision may depend on.

    Args:
        vnfds: VNF descriptors by the `vnf_id` of the NSD.
        pops: capacity by PoP name.
        wan: PoPs, links and endpoints.
        ingress: endpoint name from which users come, empty when not given.
        egress: endpoint name that users address, empty when not given.
        pinned: PoP by `vnf_id` where the operator has decided it already.
    """

    nsd: NetworkServiceDescriptor
    vnfds: Mapping[str, VnfDescriptor]
    pops: Mapping[str, PopCapacity]
    wan: WanGraph
    ingress: str = ""
    egress: str = ""
    pinned: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Placement:
    """A decision: PoP name by `vnf_id`, and why."""

    mapping: Mapping[str, str]
    reason: str = ""
