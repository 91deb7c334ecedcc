"""What PoPs have and what is taken of it: a group of machines for each PoP, and declared noisy neighbours in it.

All machines of a PoP share its cores and its memory. A server's flavor is a hard limit; where an oversubscribed PoP has
promised more than it has, servers get fair shares by their virtual cores. PoPs among themselves are weighed by their
cores, so that a busy one takes nothing from the others that is theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sonata.errors import AdapterError, SonataError
from sonata.model.figures import SILENCE, Noise
from sonata.model.infrastructure import PopFigures
from sonata.model.topology import Pop, Topology
from sonata.ports.runtime import Limits, MachineSpec, RootFs, Runtime

SHARES_OF_A_CORE = 1024
MOST_SHARES = 262_144
LEAST_DISK_BYTES = 1024**3
"""What those may write whose disk nobody has given a size: endpoints, and servers of flavors without a disk."""
_PIECE_BYTES = 1024**3


def fair_shares(cpus: float) -> int:
    """Weight of somebody who has so many cores, against others where cores are short."""
    return max(2, min(MOST_SHARES, round(cpus * SHARES_OF_A_CORE)))


class Resources:
    """The PoPs of an emulation as groups of its runtime.

    Args:
        declared: the topology as it is now.
        folder: where noise would write, if it wrote anything.
    """

    def __init__(self, declared: Callable[[], Topology], runtime: Runtime, folder: Path) -> None:
        self._declared = declared
        self._runtime = runtime
        self._folder = folder
        self._limits: dict[str, Limits] = {}
        self._noises: dict[str, Noise] = {}

    async def follow(self) -> int:
        """Let no PoP have more than it declares, and have its noise in it; returns in how many PoPs there is some.

        To be called again when PoPs have come, changed or gone.

        Raises:
            AdapterError: the kernel refused, or noise cannot be started.
        """
        pops = self._declared().pops
        for name, pop in pops.items():
            limits = limits_of(pop)
            if self._limits.get(name) != limits:
                await self._runtime.set_group(name, limits)
                self._limits[name] = limits
        for name in {*self._noises, *pops}:
            await self._make_noise(name, pops.get(name))
        return len(self._noises)

    def figures(self) -> Mapping[str, PopFigures]:
        """Cost and energy of the PoPs that declare them."""
        known = {name: PopFigures(pop.cost, pop.energy) for name, pop in self._declared().pops.items()}
        return {name: one for name, one in known.items() if one != PopFigures()}

    async def _make_noise(self, name: str, pop: Pop | None) -> None:
        wanted = pop.noise if pop else SILENCE
        if wanted == self._noises.get(name, SILENCE):
            return
        await self._runtime.stop(_machine(name), grace_s=0)
        self._noises.pop(name, None)
        if pop is None or wanted == SILENCE:
            return
        try:
            await self._runtime.start(self._noise(pop))
        except SonataError as error:
            raise AdapterError(
                f"the noise of PoP `{name}` cannot be started: {error.message}",
                hint="it needs `sh`, `dd` and `sleep` on the host",
            ) from error
        self._noises[name] = wanted

    def _noise(self, pop: Pop) -> MachineSpec:
        return MachineSpec(
            id=_machine(pop.name),
            hostname="noise",
            root=RootFs(),
            argv=noise_program(pop.noise),
            console=self._folder / f"noise-{pop.name}.log",
            limits=Limits(cpus=pop.noise.cpus or None, cpu_shares=fair_shares(pop.noise.cpus)),
            network_admin=False,
            group=pop.name,
        )


def _machine(pop: str) -> str:
    return f"noise-{pop}"


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
