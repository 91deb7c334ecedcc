"""Patches: cables between two bridges of one PoP, which make one layer 2 network of them, or of a VLAN and a network.

Where a patch has a tag, the kernel's VLAN interface stands on the cable's first end, and is the bridge's port in its
place: what has the tag comes out of it without, and the other way round. What has no tag, or another one, ends at the
cable. Several such patches may lead to one bridge. It remembers no senders behind them, since VLANs are networks of
their own, and a MAC address may stand in several of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import sonata.adapters.fabric_linux.requests as requests
from sonata._lib.values import dataclass
from sonata.adapters.fabric_linux.cable import Cable, Cables, End
from sonata.adapters.fabric_linux.undoing import undone_by
from sonata.adapters.fabric_linux.world import World
from sonata.model.topology import CLEAN
from sonata.ports.fabric import NetworkSpec, PatchSpec


@dataclass(slots=True)
class _Patch:
    """A patch, laid or to be laid.

    Args:
        untagged: index and name of the interface on the cable's first end that takes tags off and on; None for none.
    """

    spec: PatchSpec
    cable: Cable
    untagged: tuple[int, str] | None


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
        patch = self._plan(spec)
        self.remove([spec.id])
        self._cables.lay([patch.cable], before_up=lambda: self._tag(patch))
        with undone_by(lambda: self._cables.cut([patch.cable])):
            self._let_pass(patch)
        self._patches[spec.id] = patch

    def remove(self, ids: Sequence[str]) -> None:
        """Take networks apart; idempotent. What stands on a cable goes with it."""
        doomed = [self._patches[patch_id] for patch_id in ids if patch_id in self._patches]
        self._cables.cut([patch.cable for patch in doomed])
        for patch in doomed:
            del self._patches[patch.spec.id]

    def resize(self, network: NetworkSpec) -> None:
        """Let patches of a network take packets as large as both of their networks do."""
        for patch in self._patches.values():
            if patch.spec.pop == network.pop and network.id in patch.spec.networks:
                mtu = self._mtu(patch.spec)
                self._cables.resize(patch.cable, mtu)
                if patch.untagged:
                    patch.cable.a.netspace.apply([requests.set_mtu(*patch.untagged, mtu)])

    def drop_contents(self, pops: Sequence[str]) -> None:
        """Drop the patches of PoPs."""
        self.remove([name for name, patch in self._patches.items() if patch.spec.pop in pops])

    def _plan(self, spec: PatchSpec) -> _Patch:
        number, mtu = self._world.new_index(), self._mtu(spec)
        first, second = (self._end(spec, side, f"{kind}{number}", mtu) for side, kind in ((0, "g"), (1, "h")))
        untagged = (self._world.new_index(), f"v{number}") if spec.tag else None
        return _Patch(spec, Cable(f"patch {spec.id}", first, second, CLEAN), untagged)

    def _end(self, spec: PatchSpec, side: int, ifname: str, mtu: int) -> End:
        bridge = self._world.bridge(spec.pop, spec.networks[side])
        is_port = side == 1 or not spec.tag
        return End(
            self._world.pop(spec.pop).netspace, ifname, mtu, master=(bridge.index, bridge.ifname) if is_port else None
        )

    def _tag(self, patch: _Patch) -> None:
        """Put the interface that takes tags off and on between a cable and the bridge, before anything passes."""
        if not patch.untagged:
            return
        spec, cable = patch.spec, patch.cable
        bridges = [self._world.bridge(spec.pop, network).index for network in spec.networks]
        cable.a.netspace.apply(
            [
                requests.keep_silent(cable.index_a, cable.a.ifname),
                requests.vlan(
                    *patch.untagged, lower=cable.index_a, tag=spec.tag, mtu=self._mtu(spec), master=bridges[0]
                ),
                requests.enslave(cable.index_b, cable.b.ifname, bridges[1]),
                requests.forget_senders(cable.index_b, cable.b.ifname),
            ]
        )

    def _let_pass(self, patch: _Patch) -> None:
        """Bring that interface up, which the kernel allows above a cable that is up."""
        if patch.untagged:
            patch.cable.a.netspace.apply([requests.set_up(*patch.untagged)])
            patch.cable.a.netspace.synchronise(patch.untagged[1])

    def _mtu(self, spec: PatchSpec) -> int:
        return min(self._world.bridge(spec.pop, network).spec.mtu for network in spec.networks)
