"""Hypervisors of a site and how servers are spread over them, as the Compute API v2.1 names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.base import Entity


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeService(Entity):
    """The service `nova-compute` of one host, which bears its name.

    Args:
        number: what microversions before 2.53 show as id.
        enabled: whether new servers may be placed there.
        forced_down: whether an operator says that it is dead.
    """

    number: int
    enabled: bool = True
    disabled_reason: str | None = None
    forced_down: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate(Entity):
    """A set of hosts with common properties; one with `availability_zone` in its metadata is a zone."""

    number: int
    hosts: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def zone(self) -> str:
        """The availability zone that it makes, empty for none."""
        return self.metadata.get("availability_zone", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerGroup(Entity):
    """Servers that are to be kept together or apart.

    Args:
        policy: `affinity`, `anti-affinity`, `soft-affinity` or `soft-anti-affinity`.
        most_per_host: of an anti-affinity group, at least 1.
    """

    user_id: str = ""
    policy: str
    most_per_host: int = 1
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration(Entity):
    """A server's move to another host, or a change of its size.

    Args:
        kind: `migration`, `resize`, `live-migration` or `evacuation`.
        number: what clients see as its id.
    """

    number: int
    server_id: str
    user_id: str = ""
    kind: str
    status: str = "accepted"
    source: str
    target: str
    old_flavor_id: str
    new_flavor_id: str
