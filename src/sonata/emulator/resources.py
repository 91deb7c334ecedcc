"""What PoPs have and what is taken of it: a group of machines for each PoP, and declared noisy neighbours in it.

All machines of a PoP share its cores and its memory. A server's flavor is a hard limit; where an oversubscribed PoP has
promised more than it has, servers get fair shares by their virtual cores. PoPs among themselves are weighed by their
cores, so that a busy one takes nothing from the others that is theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sonata.errors import AdapterError, SonataError
from sonata.model.figures import SILENCE, Noise
from sonata.model.infrastructure import PopFigures
from sonata.model.topology import Pop, Topology
from sonata.ports.runtime import Limits, MachineSpec, RootFs, Runtime

SHARES_OF_A_CORE = 1024
MOST_SHARES = 262_144
_PIECE_BYTES = 1024**3


def fair_shares(cpus: float) -> int:
    """Weight of somebody who has so many cores, against others where cores are short."""
    return max(2, min(MOST_SHARES, round(cpus * SHARES_OF_A_CORE)))


@dataclass(frozen=True, slots=True)
class Resources:
    """The PoPs of an emulation as groups of its runtime.

    Args:
        folder: where noise would write, if it wrote anything.
    """

    topology: Topology
    runtime: Runtime
    folder: Path

    async def limit(self) -> None:
        """Let no PoP have more than it declares."""
        for pop in self.topology.pops.values():
            await self.runtime.set_group(pop.name, limits_of(pop))

    def figures(self) -> Mapping[str, PopFigures]:
        """Cost and energy of the PoPs that declare them."""
        known = {name: PopFigures(pop.cost, pop.energy) for name, pop in self.topology.pops.items()}
        return {name: one for name, one in known.items() if one != PopFigures()}

    async def make_noise(self) -> int:
        """Start the declared noise; returns in how many PoPs.

        Raises:
            AdapterError: it cannot be started in one of them.
        """
        noisy = [pop for pop in self.topology.pops.values() if pop.noise != SILENCE]
        for pop in noisy:
            try:
                await self.runtime.start(self._noise(pop))
            except SonataError as error:
                raise AdapterError(
                    f"the noise of PoP `{pop.name}` cannot be started: {error.message}",
                    hint="it needs `sh`, `dd` and `sleep` on the host",
                ) from error
        return len(noisy)

    def _noise(self, pop: Pop) -> MachineSpec:
        return MachineSpec(
            id=f"noise-{pop.name}",
            hostname="noise",
            root=RootFs(),
            argv=noise_program(pop.noise),
            console=self.folder / f"noise-{pop.name}.log",
            limits=Limits(cpus=pop.noise.cpus or None, cpu_shares=fair_shares(pop.noise.cpus)),
            network_admin=False,
            group=pop.name,
        )


def limits_of(pop: Pop) -> Limits:
    """What all machines of a PoP have together."""
    return Limits(cpus=pop.cpus, memory_bytes=pop.memory_bytes, pids=None, cpu_shares=fair_shares(pop.cpus))


def noise_program(noise: Noise) -> tuple[str, ...]:
    """A shell that keeps cores busy by loops, and memory by buffers that `dd` has filled and nobody ever reads."""
    loops = ["while :; do :; done &"] * math.ceil(noise.cpus)
    holders = [
        f"dd if=/dev/zero bs={size} count=1 iflag=fullblock 2>/dev/null | sleep infinity &" for size in _pieces(noise)
    ]
    return ("/bin/sh", "-c", "\n".join([*loops, *holders, "wait"]))


def _pieces(noise: Noise) -> Sequence[int]:
    """The memory in pieces that one read(2) may fill; what `dd` itself takes is little beside a MiB."""
    whole, rest = divmod(noise.memory_bytes, _PIECE_BYTES)
    return [*[_PIECE_BYTES] * whole, *([rest] if rest else [])]
