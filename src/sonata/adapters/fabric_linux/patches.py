"""Patches: cables between two bridges of one PoP, which make one layer 2 network of them."""

from __future__ import annotations

from collections.abc import Sequence

from sonata._lib.values import dataclass
from sonata.adapters.fabric_linux.cable import Cable, Cables, End
from sonata.adapters.fabric_linux.undoing import undone_by
from sonata.adapters.fabric_linux.world import World
from sonata.model.topology import CLEAN
from sonata.ports.fabric import NetworkSpec, PatchSpec


@dataclass(slots=True)
class _Patch:
    spec: PatchSpec
    cable: Cable


class Patches:
    """Lays and cuts patches."""

    def __init__(self, world: World, cables: Cables) -> None:
        self._world = world
        self._cables = cables
        self._patches: dict[str, _Patch] = {}

    def set(self, spec: PatchSpec) -> None:
        """Join two networks; idempotent."""
        standing = self._patches.get(spec.id)
        if standing and standing.spec == spec:
            return
        with undone_by(lambda: self._lay(standing.spec) if standing else None):
            self._lay(spec)

    def _lay(self, spec: PatchSpec) -> None:
        """Lay a patch in place of the one of its name."""
        cable = self._plan(spec)
        self.remove([spec.id])
        self._cables.lay([cable])
        self._patches[spec.id] = _Patch(spec, cable)

    def remove(self, ids: Sequence[str]) -> None:
        """Take networks apart; idempotent."""
        doomed = [self._patches[patch_id] for patch_id in ids if patch_id in self._patches]
        self._cables.cut([patch.cable for patch in doomed])
        for patch in doomed:
            del self._patches[patch.spec.id]

    def resize(self, network: NetworkSpec) -> None:
        """Let patches of a network take packets as large as both of their networks do."""
        for patch in self._patches.values():
            if patch.spec.pop == network.pop and network.id in patch.spec.networks:
                self._cables.resize(patch.cable, self._mtu(patch.spec))

    def drop_contents(self, pops: Sequence[str]) -> None:
        """Drop the patches of PoPs."""
        self.remove([name for name, patch in self._patches.items() if patch.spec.pop in pops])

    def _plan(self, spec: PatchSpec) -> Cable:
        number, mtu = self._world.new_index(), self._mtu(spec)
        first, second = (self._end(spec, side, f"{kind}{number}", mtu) for side, kind in ((0, "g"), (1, "h")))
        return Cable(f"patch {spec.id}", first, second, CLEAN)

    def _end(self, spec: PatchSpec, side: int, ifname: str, mtu: int) -> End:
        bridge = self._world.bridge(spec.pop, spec.networks[side])
        return End(self._world.pop(spec.pop).netspace, ifname, mtu, master=(bridge.index, bridge.ifname))

    def _mtu(self, spec: PatchSpec) -> int:
        return min(self._world.bridge(spec.pop, network).spec.mtu for network in spec.networks)
