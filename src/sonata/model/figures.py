"""What using a PoP costs, what it draws, and what strangers on it take: figures that a topology declares."""

from __future__ import annotations

from sonata._lib.values import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """Prices of what servers claim, in whatever currency the topology means; other prices are nobody's business here.

    Args:
        cpu_hour: of a virtual core for an hour.
        memory_gib_hour: of a GiB of memory for an hour.
    """

    cpu_hour: float = 0.0
    memory_gib_hour: float = 0.0

    def per_hour(self, vcpus: float, memory_gib: float) -> float:
        """What so much costs in an hour."""
        return vcpus * self.cpu_hour + memory_gib * self.memory_gib_hour


@dataclass(frozen=True, slots=True)
class Energy:
    """What a PoP draws.

    Args:
        idle_watts: with nothing to do.
        watts_per_cpu: more for each core that is busy.
    """

    idle_watts: float = 0.0
    watts_per_cpu: float = 0.0

    def joules(self, seconds: float, cpu_seconds: float) -> float:
        """Energy of a time in which so much processor time was used."""
        return self.idle_watts * seconds + self.watts_per_cpu * cpu_seconds


@dataclass(frozen=True, slots=True)
class Noise:
    """Neighbours that are nobody's servers and take a part of a PoP all the time.

    Args:
        cpus: cores that they keep busy.
        memory_bytes: memory that they hold.
    """

    cpus: float = 0.0
    memory_bytes: int = 0


FREE = Cost()
COLD = Energy()
SILENCE = Noise()
