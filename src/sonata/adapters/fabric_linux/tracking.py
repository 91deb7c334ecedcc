"""Tracking of connections in PoPs: each network with stateful ports is a zone, with the checkpoints of its ports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field

import sonata.adapters.fabric_linux.filter_rules as filter_rules
import sonata.adapters.fabric_linux.requests as requests
from sonata._lib.ip import Prefix
from sonata._lib.values import dataclass
from sonata.adapters.fabric_linux.netspace import Netspace
from sonata.adapters.fabric_linux.nftables import Nftables
from sonata.adapters.fabric_linux.undoing import undone_by
from sonata.adapters.fabric_linux.world import Checkpoint, Port, World
from sonata.errors import Unsupported
from sonata.ports.fabric import EXTERNAL, PortFilter


@dataclass(slots=True)
class FilteredPop:
    """What is filtered in one PoP.

    Args:
        filters: by port, plugged in or not.
        standing: names under which the bridge knows each port whose rules are loaded.
        guarded: index of the interface at which a port's guard is; it goes with the interface.
        sets: numbers of the sets of addresses by their names.
        members: what is in them.
        inspected: the networks whose connections are tracked, and their zones.
        untidy: whether there may be something that no filter needs any more.
    """

    filters: dict[str, PortFilter] = field(default_factory=dict)
    standing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    guarded: dict[str, int] = field(default_factory=dict)
    sets: dict[str, int] = field(default_factory=dict)
    members: dict[str, tuple[Prefix, ...]] = field(default_factory=dict)
    inspected: dict[str, int] = field(default_factory=dict)
    untidy: bool = False


class Tracking:
    """Lets connections be tracked where a stateful port needs it, and nowhere else."""

    def __init__(self, world: World, nftables: Nftables) -> None:
        self._world = world
        self._nftables = nftables

    def begin(self, pop: str, site: FilteredPop, networks: set[str]) -> None:
        """Track the connections of networks, besides those that are tracked."""
        new = networks - site.inspected.keys()
        if not new:
            return
        netspace = self._world.pop(pop).netspace
        _require_inspection(netspace)
        taken = set(site.inspected.values())
        free = (number for number in range(1, 1 + len(taken) + len(new)) if number not in taken)
        site.inspected.update({network: 0 if network == EXTERNAL else next(free) for network in sorted(new)})
        self._set_zones(pop, site)
        bridges = [self._world.bridge(pop, network) for network in sorted(new)]
        netspace.apply([requests.inspect_bridged(one.index, one.ifname, wanted=True) for one in bridges])

    def end(self, pop: str, site: FilteredPop) -> None:
        """Let bridges without stateful ports forward as fast as ever."""
        ports = [self._world.ports[port_id] for port_id in site.standing if port_id in self._world.ports]
        used = {port.spec.network for port in ports if site.filters[port.spec.id].stateful}
        idle = site.inspected.keys() - used
        if not idle:
            return
        known, before = self._world.pop(pop).bridges, dict(site.inspected)
        for network in idle:
            del site.inspected[network]
        with undone_by(lambda: site.inspected.update(before)):
            self._set_zones(pop, site)
            bridges = [known[network] for network in sorted(idle) if network in known]
            changes = [requests.inspect_bridged(one.index, one.ifname, wanted=False) for one in bridges]
            self._world.pop(pop).netspace.apply(changes)

    def follow_checkpoints(self, pop: str, site: FilteredPop) -> None:
        """Track the connections that pass the checkpoints that stand now, as those of their networks."""
        self._set_zones(pop, site)
        bridges = [one.bridge for port, one in self._checkpoints(site) if port.spec.network in site.inspected]
        changes = [requests.inspect_bridged(*bridge, wanted=True) for bridge in bridges]
        self._world.pop(pop).netspace.apply(changes)

    def _set_zones(self, pop: str, site: FilteredPop) -> None:
        bridges = self._world.pop(pop).bridges
        numbers = {bridges[name].ifname: zone for name, zone in site.inspected.items() if zone and name in bridges}
        known = [(one.bridge[1], site.inspected.get(port.spec.network)) for port, one in self._checkpoints(site)]
        numbers |= {name: zone for name, zone in known if zone}
        rules = filter_rules.zones(numbers, routed=EXTERNAL in site.inspected)
        self._nftables.load(self._world.pop(pop).netspace, rules)

    def _checkpoints(self, site: FilteredPop) -> Iterator[tuple[Port, Checkpoint]]:
        """The checkpoints of stateful ports."""
        for port_id in site.standing:
            port = self._world.ports.get(port_id)
            if port and port.checkpoint and site.filters[port_id].stateful:
                yield port, port.checkpoint


def _require_inspection(netspace: Netspace) -> None:
    """Refuse where nothing would be filtered."""
    if not netspace.inspects_bridged:
        raise Unsupported(
            "this kernel cannot track connections over a bridge: security groups need the module br_netfilter",
            hint="load it with `modprobe br_netfilter`, or switch port security off",
        )
