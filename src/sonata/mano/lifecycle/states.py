"""States of the instantiation workflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from sonata._lib.values import dataclass
from sonata.errors import InvalidInput
from sonata.mano.lifecycle.plan import Plan, ServerPlan
from sonata.mano.placement.decide import PlacementPolicy
from sonata.model.descriptors import NetworkServiceDescriptor, VnfDescriptor
from sonata.model.infrastructure import PopCapacity, WanGraph
from sonata.model.placement import PlacementProblem
from sonata.model.records import PlacementRecord
from sonata.ports.vim import VimNetwork, VimPort

NO_WAN = WanGraph((), ())


@dataclass(frozen=True, slots=True)
class Instantiation:
    """State of the workflow: the request, then what each step found, decided or made.

    Args:
        package: UUID of the package, where managers' code is.
        managers: host's names of running managers by their id.
        networks, ports, public, servers, chains: what the VIMs made, by the keys of the plan; `public` are floating
            addresses.
    """

    ns: str
    nsd: NetworkServiceDescriptor
    vnfds: Mapping[str, VnfDescriptor]
    package: str
    block: str
    policy: PlacementPolicy
    ingress: str = ""
    egress: str = ""
    managers: Mapping[str, str] = field(default_factory=dict)
    pops: Mapping[str, PopCapacity] = field(default_factory=dict)
    wan: WanGraph = NO_WAN
    placement: PlacementRecord | None = None
    plan: Plan = field(default_factory=Plan)
    networks: Mapping[str, VimNetwork] = field(default_factory=dict)
    ports: Mapping[str, VimPort] = field(default_factory=dict)
    public: Mapping[str, str] = field(default_factory=dict)
    servers: Mapping[str, str] = field(default_factory=dict)
    chains: Mapping[str, str] = field(default_factory=dict)

    @property
    def tag(self) -> str:
        """Prefix of all tags."""
        return f"{self.ns}/"

    @property
    def problem(self) -> PlacementProblem:
        """The placement problem as it stands."""
        pinned = self.policy.pinned
        return PlacementProblem(self.nsd, self.vnfds, self.pops, self.wan, self.ingress, self.egress, pinned)

    @property
    def placed(self) -> PlacementRecord:
        """The placement.

        Raises:
            InvalidInput: it is not decided yet.
        """
        if self.placement is None:
            raise InvalidInput(f"service instance `{self.ns}` is not placed yet")
        return self.placement


@dataclass(frozen=True, slots=True)
class Deployment:
    """State of a branch: one VNF, its servers to make, and their ids."""

    ns: str
    vnf: str
    servers: tuple[ServerPlan, ...]
    ports: Mapping[str, str]
    ids: Mapping[str, str] = field(default_factory=dict)
