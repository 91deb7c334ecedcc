"""What a PoP can offer, and what its servers have claimed."""

from __future__ import annotations

from dataclasses import dataclass

from sonata.emulator.cloud.entities.compute import Flavor
from sonata.emulator.cloud.tables import Tables
from sonata.model.topology import Pop

MIB = 1024**2
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Usage:
    """Totals and what is used of them; totals include oversubscription."""

    vcpus: float
    vcpus_used: float
    memory_mib: int
    memory_mib_used: int
    disk_gib: int
    disk_gib_used: int
    servers: int

    def fits(self, flavor: Flavor) -> bool:
        """Whether a server of this flavor still has room."""
        return (
            self.vcpus_used + flavor.vcpus <= self.vcpus
            and self.memory_mib_used + flavor.ram_mib <= self.memory_mib
            and self.disk_gib_used + flavor.disk_gib <= self.disk_gib
        )


def usage(pop: Pop, tables: Tables) -> Usage:
    """Capacity of a PoP as it is now."""
    flavors = [server.flavor for server in tables.servers if server.claimed]
    return Usage(
        vcpus=pop.cpus * pop.cpu_oversubscription,
        vcpus_used=sum(flavor.vcpus for flavor in flavors),
        memory_mib=int(pop.memory_bytes * pop.memory_oversubscription) // MIB,
        memory_mib_used=sum(flavor.ram_mib for flavor in flavors),
        disk_gib=pop.disk_bytes // GIB,
        disk_gib_used=sum(flavor.disk_gib for flavor in flavors),
        servers=len(flavors),
    )
