"""Service function chains, as the API of networking-sfc names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from sonata._lib.ip import Prefix
from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.base import Entity

MPLS, NSH = "mpls", "nsh"
"""Correlations: what stock clients send unless told, and network service headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortPair(Entity):
    """A service function: packets go in at `ingress` and come back at `egress` (port ids)."""

    ingress: str
    egress: str
    parameters: Mapping[str, object] = field(default_factory=dict)

    @property
    def correlation(self) -> object:
        """What its packets are marked with; None for plain packets."""
        return self.parameters.get("correlation")


@dataclass(frozen=True, slots=True, kw_only=True)
class PortPairGroup(Entity):
    """Service functions that may stand for one another at one place of a chain."""

    port_pairs: tuple[str, ...] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowClassifier(Entity):
    """Which packets enter a chain; None or empty means any. `ip_version` is that of its ethertype."""

    protocol: Literal["tcp", "udp", "icmp"] | None = None
    source: Prefix | None = None
    destination: Prefix | None = None
    source_port_min: int | None = None
    source_port_max: int | None = None
    destination_port_min: int | None = None
    destination_port_max: int | None = None
    logical_source_port: str | None = None
    ip_version: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PortChain(Entity):
    """Port pair groups in the order in which packets meet them.

    Args:
        correlation: what packets are marked with between functions.
    """

    groups: tuple[str, ...]
    classifiers: tuple[str, ...] = ()
    chain_id: int = 0
    symmetric: bool = False
    correlation: str = MPLS


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceGraph(Entity):
    """Port chains that branch: what leaves the last function of one may enter another one that it leads to."""

    port_chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def chains(self) -> frozenset[str]:
        """All chains in it."""
        return frozenset(self.port_chains).union(*self.port_chains.values())

    def sources_of(self, chain_id: str) -> list[str]:
        """The chains that lead to a chain."""
        return [source for source, destinations in self.port_chains.items() if chain_id in destinations]
