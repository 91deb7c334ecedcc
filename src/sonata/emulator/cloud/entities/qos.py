"""Quality of service policies, as the Networking API v2.0 names them."""

from __future__ import annotations

from dataclasses import field
from typing import TypeAlias

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.base import Entity, new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class BandwidthRule:
    """The most that may pass in one direction: kilobits per second, and kilobits at once; a burst of 0 is up to us."""

    id: str = field(default_factory=new_id)
    direction: str = "egress"
    max_kbps: int
    max_burst_kbps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkRule:
    """The DSCP mark of what a port sends."""

    id: str = field(default_factory=new_id)
    dscp_mark: int

    @property
    def direction(self) -> str:
        """Only what is sent is marked."""
        return "egress"


Rule: TypeAlias = BandwidthRule | MarkRule


@dataclass(frozen=True, slots=True, kw_only=True)
class QosPolicy(Entity):
    """Rules for ports and networks; a project's default is given to its new networks."""

    shared: bool = False
    is_default: bool = False
    rules: tuple[BandwidthRule, ...] = ()
    marks: tuple[MarkRule, ...] = ()

    @property
    def all_rules(self) -> tuple[Rule, ...]:
        """Rules of all types."""
        return (*self.rules, *self.marks)
