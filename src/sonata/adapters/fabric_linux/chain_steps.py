"""The steps of chain renderings, taken once however many chains share them, and undone with the last of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from sonata.adapters.fabric_linux.flow_switches import FlowSwitches
from sonata.adapters.fabric_linux.world import World
from sonata.errors import SonataError
from sonata.ports.chain_rendering import AnyStep, Flow, SpeakIPv6, Step


class ChainSteps:
    """What chains changed in PoPs besides their rules."""

    def __init__(self, world: World, switches: FlowSwitches) -> None:
        self._world = world
        self._switches = switches
        self._users: Counter[AnyStep] = Counter()

    def take(self, steps: Sequence[AnyStep]) -> None:
        """Make steps hold, in this order, for one more chain; what holds already is made again, as it may be lost."""
        taken: list[AnyStep] = []
        try:
            for pop, several in groupby(steps, key=lambda step: step.pop):
                batch = list(several)
                taken += batch
                self._users.update(batch)
                self._make(pop, batch)
        except (SonataError, OSError):
            self.undo(taken)
            raise

    def undo(self, steps: Sequence[AnyStep]) -> None:
        """Have one chain less need steps: those that none needs are undone, the last one first."""
        self._users.subtract(steps)
        doomed = [step for step in reversed(steps) if self._users[step] <= 0]
        for step in doomed:
            del self._users[step]
        for pop, several in groupby(doomed, key=lambda step: step.pop):
            if pop in self._world.pops:
                self._unmake(pop, list(several))

    def forget(self, pops: Iterable[str]) -> None:
        """PoPs go, with all that was done in them."""
        gone = set(pops)
        for step in [step for step in self._users if step.pop in gone]:
            del self._users[step]

    def _make(self, pop: str, steps: Sequence[AnyStep]) -> None:
        netspace = self._world.pop(pop).netspace
        for kind, several in groupby(steps, key=type):
            batch = list(several)
            if kind is SpeakIPv6:
                netspace.enable_ipv6([step.interface for step in batch if isinstance(step, SpeakIPv6)])
            elif kind is Flow:
                self._switches.add(pop, [step for step in batch if isinstance(step, Flow)])
            else:
                netspace.apply([step.make for step in batch if isinstance(step, Step)])

    def _unmake(self, pop: str, steps: Sequence[AnyStep]) -> None:
        netspace = self._world.pop(pop).netspace
        netspace.apply([step.undo for step in steps if isinstance(step, Step) and step.undo])
        netspace.disable_ipv6([step.interface for step in steps if isinstance(step, SpeakIPv6)])
        self._switches.remove(pop, [step for step in steps if isinstance(step, Flow)])
