"""Whether the servers that a changed topology brings have room in their PoPs, beside those that stay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.compute.capacity import Usage, usage
from sonata.emulator.cloud.compute.flavors import DEFAULTS
from sonata.emulator.cloud.entities.compute import Flavor
from sonata.emulator.cloud.tables import Tables
from sonata.emulator.emulation import Emulation
from sonata.model.topology import Pop, ServerSeed, Topology
from sonata.model.topology_changes import Change

SHARES = (
    ("vcpus", "vcpus", "vCPUs"),
    ("memory_mib", "ram_mib", "MiB of memory"),
    ("disk_gib", "disk_gib", "GiB of disk"),
)
"""What is shared out: as usage and as flavors call it, and its unit."""


def overcrowded(emulation: Emulation, wanted: Topology, plan: Iterable[Change]) -> Iterator[str]:
    """Why servers have no room: each PoP that has less left than those want that come.

    Hosts of a PoP count together, so that nothing is refused that would have found a host.
    """
    changes = tuple(plan)
    for name, pop in wanted.pops.items():
        coming = _seeds_in(name, (change.after for change in changes))
        if coming:
            cloud = emulation.clouds.get(wanted.site_of(name))
            leaving = _seeds_in(name, (change.before for change in changes))
            yield from _lacking(pop, cloud, coming, leaving)


def _seeds_in(pop: str, parts: Iterable[object]) -> list[ServerSeed]:
    return [part for part in parts if isinstance(part, ServerSeed) and part.pop == pop]


def _lacking(pop: Pop, cloud: Cloud | None, coming: list[ServerSeed], leaving: list[ServerSeed]) -> Iterator[str]:
    now = usage([pop], cloud.tables if cloud else Tables())
    freed = [server.flavor for seed in leaving if cloud and (server := cloud.seeds.find(seed.name)) and server.claimed]
    flavors = [flavor for seed in coming if (flavor := _flavor(cloud, seed.flavor))]
    for share, of_flavor, unit in SHARES:
        wanted, left = _sum(flavors, of_flavor), _left(now, share) + _sum(freed, of_flavor)
        if wanted > left:
            names = ", ".join(f"`{seed.name}`" for seed in coming)
            yield (
                f"PoP `{pop.name}` has {left:g} {unit} left and the servers that come want {wanted:g} ({names}): "
                "give it more, take smaller flavors or put some elsewhere"
            )


def _left(now: Usage, share: str) -> float:
    total: float = getattr(now, share)
    used: float = getattr(now, f"{share}_used")
    return max(0.0, total - used)


def _sum(flavors: Iterable[Flavor], attribute: str) -> float:
    return float(sum(getattr(flavor, attribute) for flavor in flavors))


def _flavor(cloud: Cloud | None, name: str) -> Flavor | None:
    """What a site, or one that is to come, has by this name; None for nothing, which is told elsewhere."""
    if cloud:
        return next((flavor for flavor in cloud.tables.flavors if flavor.name == name), None)
    found = next((one for one in DEFAULTS if one[0] == name), None)
    return Flavor(name=found[0], vcpus=found[1], ram_mib=found[2], disk_gib=found[3]) if found else None
