"""The switches for encapsulated packets that stand: one in each PoP in which somebody has flows, and no others."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from sonata.adapters.fabric_linux.flow_switch import FlowSwitch
from sonata.adapters.fabric_linux.world import World
from sonata.errors import AdapterError
from sonata.ports.chain_rendering import Flow


class FlowSwitches:
    """Starts a switch with the first flow of a PoP, and ends it with the last.

    Args:
        folder: for the files of all of them; one of its own below the system's for temporary files where None.
    """

    def __init__(self, world: World, folder: Path | None = None) -> None:
        self._world = world
        self._given = folder
        self._own: tempfile.TemporaryDirectory[str] | None = None
        self._switches: dict[str, FlowSwitch] = {}

    @property
    def pids(self) -> dict[str, list[int]]:
        """The processes of each PoP's switch: the database, then the switch."""
        return {pop: switch.pids for pop, switch in self._switches.items()}

    def add(self, pop: str, flows: Sequence[Flow]) -> None:
        """Have flows in a PoP's switch."""
        self._switch(pop).add(flows)

    def remove(self, pop: str, flows: Iterable[Flow]) -> None:
        """Have them no more."""
        switch = self._switches.get(pop)
        if switch is None:
            return
        try:
            switch.remove(flows)
        finally:
            if switch.is_empty:
                self.forget([pop])

    def forget(self, pops: Iterable[str]) -> None:
        """End the switches of PoPs."""
        for pop in pops:
            if switch := self._switches.pop(pop, None):
                switch.close()

    def mend(self) -> list[str]:
        """Start again what has ended by itself, and tell it.

        Raises:
            PermanentError: one cannot be started; the others are looked after.
        """
        told, failures = [], []
        for switch in self._switches.values():
            try:
                told.append(switch.mend())
            except AdapterError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return [one for one in told if one]

    def close(self) -> None:
        """End all of them."""
        self.forget(list(self._switches))
        if self._own:
            self._own.cleanup()
            self._own = None

    def _switch(self, pop: str) -> FlowSwitch:
        if pop not in self._switches:
            known = self._world.pop(pop)
            indexes = self._world.new_index(), self._world.new_index()
            self._switches[pop] = FlowSwitch(known.netspace, known.spec.external.ip, indexes, self._folder / pop)
        return self._switches[pop]

    @property
    def _folder(self) -> Path:
        if self._given:
            return self._given
        if self._own is None:
            self._own = tempfile.TemporaryDirectory(prefix="sonata-switches-")
        return Path(self._own.name)
