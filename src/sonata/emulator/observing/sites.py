"""Reads PoPs: what they offer, what is claimed and really used, what that costs and draws."""

from __future__ import annotations

import sonata.emulator.observing.families as families
from sonata._lib.values import dataclass
from sonata.emulator.cloud.compute.capacity import GIB, MIB, Usage, usage
from sonata.emulator.emulation import Emulation
from sonata.emulator.observing.sheet import Sheet
from sonata.model.topology import Pop

_SHORTEST_S = 0.5


@dataclass(slots=True)
class Meter:
    """What a PoP has cost and drawn since it was first read.

    Args:
        begun: when that was.
        at: when it was last read; so `cpu_s` and `per_hour`, the price of what was claimed then.
        watts: its power between the last two readings that were far enough apart.
    """

    begun: float
    at: float
    cpu_s: float
    watts: float
    per_hour: float = 0.0
    cost: float = 0.0
    power_at: float = 0.0
    power_cpu_s: float = 0.0

    def read(self, pop: Pop, now: float, cpu_s: float, claimed: Usage) -> None:
        """Note what is used and claimed now."""
        self.cost += self.per_hour * (now - self.at) / 3600
        self.per_hour = pop.cost.per_hour(claimed.vcpus_used, claimed.memory_mib_used * MIB / GIB)
        self.at, self.cpu_s = now, cpu_s
        if (passed_s := now - self.power_at) >= _SHORTEST_S:
            self.watts = pop.energy.joules(passed_s, max(0.0, cpu_s - self.power_cpu_s)) / passed_s
            self.power_at, self.power_cpu_s = now, cpu_s


class Sites:
    """The PoPs of an emulation with their meters."""

    def __init__(self, emulation: Emulation) -> None:
        self._emulation = emulation
        self._meters: dict[str, Meter] = {}

    async def read(self, now: float, sheet: Sheet) -> None:
        """All PoPs, at a moment of a clock that never goes back."""
        topology = self._emulation.topology
        for gone in self._meters.keys() - topology.pops.keys():
            del self._meters[gone]
        for name, pop in topology.pops.items():
            cloud = self._emulation.clouds.get(topology.site_of(name))
            if cloud is None:
                continue
            used = await self._emulation.runtime.group_usage(name)
            claimed = usage([pop], cloud.tables)
            meter = self._meters.get(name)
            if meter is None:
                watts = pop.energy.idle_watts
                meter = self._meters[name] = Meter(now, now, used.cpu_s, watts, power_at=now, power_cpu_s=used.cpu_s)
            meter.read(pop, now, used.cpu_s, claimed)
            self._put(sheet, pop, claimed, meter, used.memory_bytes)

    def _put(self, sheet: Sheet, pop: Pop, claimed: Usage, meter: Meter, resident_bytes: int) -> None:
        sheet.put(
            families.POP_CPUS.labelled(pop.name),
            {
                families.POP_CPUS: sum(host.cpus for host in pop.hypervisors),
                families.POP_VCPUS: claimed.vcpus,
                families.POP_VCPUS_USED: claimed.vcpus_used,
                families.POP_MEMORY: claimed.memory_mib * MIB,
                families.POP_MEMORY_USED: claimed.memory_mib_used * MIB,
                families.POP_DISK: claimed.disk_gib * GIB,
                families.POP_DISK_USED: claimed.disk_gib_used * GIB,
                families.POP_SERVERS: claimed.servers,
                families.POP_CPU_SECONDS: meter.cpu_s,
                families.POP_RESIDENT: resident_bytes,
                families.POP_POWER: meter.watts,
                families.POP_ENERGY: pop.energy.joules(meter.at - meter.begun, meter.cpu_s),
                families.POP_COST: meter.cost,
            },
        )
