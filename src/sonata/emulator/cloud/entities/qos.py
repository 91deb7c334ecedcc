"""Quality of service policies, as the Networking API v2.0 names them."""

from __future__ import annotations

from dataclasses import dataclass, field

from sonata.emulator.cloud.entities.base import Entity, new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class BandwidthRule:
    """The most that may pass in one direction: kilobits per second, and kilobits at once; a burst of 0 is up to us."""

    id: str = field(default_factory=new_id)
    direction: str = "egress"
    max_kbps: int
    max_burst_kbps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QosPolicy(Entity):
    """Rules for ports and networks; a project's default is given to its new networks."""

    shared: bool = False
    is_default: bool = False
    rules: tuple[BandwidthRule, ...] = ()
