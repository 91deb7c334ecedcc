"""What PoPs can offer, and what its servers have claimed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.compute import Flavor, Server
from sonata.emulator.cloud.tables import Tables
from sonata.model.topology import Host, Pop

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


def usage(pops: Iterable[Pop], tables: Tables) -> Usage:
    """Capacity of PoPs as it is now, all hosts together."""
    each = [host_usage(pop, host, tables) for pop in pops for host in pop.hypervisors]
    return Usage(*(sum(values) for values in zip(*map(astuple, each), strict=True)))


def host_usage(pop: Pop, host: Host, tables: Tables) -> Usage:
    """Capacity of one host as it is now."""
    flavors = [flavor for server in tables.servers for flavor in claims(server, host.name)]
    return Usage(
        vcpus=host.cpus * pop.cpu_oversubscription,
        vcpus_used=sum(flavor.vcpus for flavor in flavors),
        memory_mib=int(host.memory_bytes * pop.memory_oversubscription) // MIB,
        memory_mib_used=sum(flavor.ram_mib for flavor in flavors),
        disk_gib=host.disk_bytes // GIB,
        disk_gib_used=sum(flavor.disk_gib for flavor in flavors),
        servers=sum(1 for server in tables.servers if server.claimed and server.host == host.name),
    )


def claims(server: Server, host: str) -> Iterator[Flavor]:
    """What a server has claimed of a host; until a resize is confirmed, both sizes."""
    if server.claimed and server.host == host:
        yield server.flavor
    if server.previous and server.previous.host == host:
        yield server.previous.flavor
