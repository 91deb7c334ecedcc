"""What an orchestrator knows of sites and of the wide area between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from sonata._lib.values import dataclass
from sonata.model.figures import COLD, FREE, Cost, Energy


@dataclass(frozen=True, slots=True)
class PopCapacity:
    """Free and total resources of one PoP as its VIM reports them.

    Args:
        pop: name under which the VIM is registered.
        vcpus_total: virtual cores offered, oversubscription included.
        vcpus_used: virtual cores given out.
        memory_mib_total: memory offered in MiB.
        memory_mib_used: memory given out in MiB.
        location: latitude and longitude in degrees, or None.
        labels: free key-value pairs.
    """

    pop: str
    vcpus_total: float
    vcpus_used: float
    memory_mib_total: int
    memory_mib_used: int
    location: tuple[float, float] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def vcpus_free(self) -> float:
        """Virtual cores that can still be given out."""
        return self.vcpus_total - self.vcpus_used

    @property
    def memory_mib_free(self) -> int:
        """MiB that can still be given out."""
        return self.memory_mib_total - self.memory_mib_used


@dataclass(frozen=True, slots=True)
class WanEdge:
    """A wide area link between two PoPs; values hold in each direction.

    Args:
        delay_s: one-way delay in seconds.
        rate_bps: capacity in bits per second, None when unlimited.
        price: of a reservation of 1 Gbit/s, both ways, for an hour.
        available_bps: capacity that nobody has reserved; None when unlimited, or not known.
    """

    name: str
    a: str
    b: str
    delay_s: float = 0.0
    rate_bps: float | None = None
    price: float = 0.0
    available_bps: float | None = None


@dataclass(frozen=True, slots=True)
class AttachedEndpoint:
    """A host outside of the PoPs, as the wide area manager knows it (SONATA: a network access point).

    Args:
        address: its IPv4 address, which users of a service address or come from.
        delay_s: one-way delay of its access link in seconds.
    """

    name: str
    pop: str
    address: str
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PopFigures:
    """What using a PoP costs and draws, where that is known."""

    cost: Cost = FREE
    energy: Energy = COLD


@dataclass(frozen=True, slots=True)
class WanGraph:
    """The graph of PoPs, links and endpoints, as `ports.wim.Wim.graph` returns it; with figures of the PoPs that have
    some.
    """

    pops: tuple[str, ...]
    edges: tuple[WanEdge, ...]
    endpoints: Mapping[str, AttachedEndpoint] = field(default_factory=dict)
    figures: Mapping[str, PopFigures] = field(default_factory=dict)
