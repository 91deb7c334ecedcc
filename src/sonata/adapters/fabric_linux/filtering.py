"""Packet filters of ports in PoPs; they follow when interfaces come, change and go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import sonata.adapters.fabric_linux.connections as connections
import sonata.adapters.fabric_linux.filter_rules as filter_rules
import sonata.adapters.fabric_linux.requests as requests
from sonata._lib.ip import Prefix
from sonata.adapters.fabric_linux.netspace import Netspace
from sonata.adapters.fabric_linux.nftables import Nftables
from sonata.adapters.fabric_linux.world import Bridge, Port, World
from sonata.errors import Unsupported
from sonata.ports.fabric import EXTERNAL, PortFilter, PortSpec


@dataclass(slots=True)
class _Site:
    """What is filtered in one PoP.

    Args:
        filters: by port, plugged in or not.
        standing: names under which the bridge knows each port whose rules are loaded.
        guarded: index of the interface at which a port's guard is; it goes with the interface.
        sets: numbers of the sets of addresses by their names.
        inspected: the networks whose connections are tracked, and their zones.
    """

    filters: dict[str, PortFilter] = field(default_factory=dict)
    standing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    guarded: dict[str, int] = field(default_factory=dict)
    sets: dict[str, int] = field(default_factory=dict)
    inspected: dict[str, int] = field(default_factory=dict)


class LinuxFiltering:
    """Implements `ports.fabric.Filtering`."""

    def __init__(self, world: World, nftables: Nftables) -> None:
        self._world = world
        self._nftables = nftables
        self._sites: dict[str, _Site] = {}

    def set_filters(self, pop: str, filters: Sequence[PortFilter], members: Mapping[str, Sequence[Prefix]]) -> None:
        """Filter ports of a PoP from now on, also those that are plugged in later; others stay as they are."""
        site = self._site(pop)
        rules = [filter_rules.members(self._set_number(site, name), known) for name, known in members.items()]
        named = {rule.members for one in filters for rule in one.rules} - {""} - site.sets.keys()
        rules += [filter_rules.members(self._set_number(site, name), ()) for name in sorted(named)]
        site.filters.update({one.port_id: one for one in filters})
        ports = [port for one in filters if (port := self._plugged(pop, one.port_id))]
        self._load(pop, site, ports, rules)
        self._guard(pop, site, ports)
        self._drop_unused(pop, site)

    def remove_filters(self, pop: str, ids: Sequence[str]) -> None:
        """Let everything pass these ports."""
        if site := self._sites.get(pop):
            self._forget(pop, site, ids)

    def prepare(self, ports: Sequence[Port]) -> None:
        """Load the rules of ports that are about to be plugged in."""
        for pop in {port.spec.pop for port in ports} & self._sites.keys():
            filters = self._sites[pop].filters
            here = [port for port in ports if port.spec.pop == pop and port.spec.id in filters]
            self._load(pop, self._sites[pop], here, [])

    @contextmanager
    def laid_aside(self, ports: Sequence[Port]) -> Iterator[None]:
        """Carry what is known of ports over while they are moved.

        Guards are made anew, here or there, since an interface that changes its PoP leaves them behind.
        """
        before = [(port, port.spec) for port in ports]
        for _, spec in before:
            if spec.pop in self._sites:
                self._sites[spec.pop].guarded.pop(spec.id, None)
        yield
        for port, spec in before:
            self._copy_connections(spec, port.spec)

    def _copy_connections(self, origin: PortSpec, now: PortSpec) -> None:
        """Let the PoP where a port is now know the connections that the one it comes from has tracked."""
        zones = self._zone(origin), self._zone(now)
        if zones[0] is not None and zones[1] is not None:
            here, there = (self._world.pop(spec.pop).netspace for spec in (origin, now))
            connections.copy(here, there, (zones[0], zones[1]), [value.ip for value in now.addresses])

    def _zone(self, spec: PortSpec) -> int | None:
        """Number of the zone in which the connections of a port's network are tracked, None where they are not."""
        return self._sites[spec.pop].inspected.get(spec.network) if spec.pop in self._sites else None

    def refresh(self, pop: str) -> None:
        """Bring a PoP's filters in line with its interfaces."""
        site = self._sites.get(pop)
        if site is None:
            return
        self._forget(pop, site, [port_id for port_id in site.standing if not self._plugged(pop, port_id)])
        self._follow_names(pop, site)
        ports = [self._world.ports[port_id] for port_id in site.standing]
        self._guard(pop, site, [port for port in ports if site.guarded.get(port.spec.id) != port.cable.index_a])

    def _plugged(self, pop: str, port_id: str) -> Port | None:
        """A port that is plugged in in a PoP."""
        port = self._world.ports.get(port_id)
        return port if port and port.spec.pop == pop else None

    def _follow_names(self, pop: str, site: _Site) -> None:
        """Rules for the names that ports have got, and none for those that they have lost."""
        known = ((self._world.ports[port_id], names) for port_id, names in site.standing.items())
        renamed = [(port, names) for port, names in known if port.bridged_names != names]
        lost = [name for port, names in renamed for name in names if name not in port.bridged_names]
        self._load(pop, site, [port for port, _ in renamed], [filter_rules.without_port(name) for name in lost])

    def drop_contents(self, pops: Sequence[str]) -> None:
        """Forget the filters of PoPs that are about to go."""
        for pop in pops:
            self._sites.pop(pop, None)

    def _site(self, pop: str) -> _Site:
        if pop not in self._sites:
            self._nftables.load(self._world.pop(pop).netspace, filter_rules.FOUNDATION)
            self._sites[pop] = _Site()
        return self._sites[pop]

    def _set_number(self, site: _Site, name: str) -> int:
        return site.sets.setdefault(name, 1 + max(site.sets.values(), default=0))

    def _load(self, pop: str, site: _Site, ports: Iterable[Port], rules: list[str]) -> None:
        """Load rules, and those of ports; the networks of stateful ones are inspected from then on."""
        wanted = [(port, site.filters[port.spec.id]) for port in ports]
        self._inspect(pop, site, {port.spec.network for port, one in wanted if one.stateful})
        names = {port.spec.id: port.bridged_names for port, _ in wanted}
        chains = [filter_rules.port(name, one, site.sets) for port, one in wanted for name in names[port.spec.id]]
        text = "".join((*rules, *chains))
        if text:
            self._nftables.load(self._world.pop(pop).netspace, text)
        site.standing.update(names)

    def _guard(self, pop: str, site: _Site, ports: Sequence[Port]) -> None:
        text = "".join(
            filter_rules.guard(port.cable.a.ifname, site.filters[port.spec.id].sources)
            for port in ports
            if port.cable.index_a
        )
        if text:
            self._nftables.load(self._world.pop(pop).netspace, text)
        site.guarded.update({port.spec.id: port.cable.index_a for port in ports})

    def _forget(self, pop: str, site: _Site, ids: Sequence[str]) -> None:
        text = "".join(filter_rules.without_port(name) for port_id in ids for name in site.standing.get(port_id, ()))
        if text:
            self._nftables.load(self._world.pop(pop).netspace, text)
        for port_id in ids:
            for known in (site.filters, site.standing, site.guarded):
                known.pop(port_id, None)
        self._stop_inspecting(pop, site)
        if ids:
            self._drop_unused(pop, site)

    def _drop_unused(self, pop: str, site: _Site) -> None:
        """Drop sets that no rule names any more, and after the last filter all that filters share."""
        if not site.filters:
            self._nftables.load(self._world.pop(pop).netspace, filter_rules.WITHOUT_FOUNDATION)
            del self._sites[pop]
            return
        named = {rule.members for one in site.filters.values() for rule in one.rules}
        unused = [name for name in site.sets if name not in named]
        text = "".join(filter_rules.without_members(site.sets.pop(name)) for name in unused)
        if text:
            self._nftables.load(self._world.pop(pop).netspace, text)

    def _inspect(self, pop: str, site: _Site, networks: set[str]) -> None:
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

    def _stop_inspecting(self, pop: str, site: _Site) -> None:
        """Let bridges without stateful ports forward as fast as ever."""
        ports = [self._world.ports[port_id] for port_id in site.standing if port_id in self._world.ports]
        used = {port.spec.network for port in ports if site.filters[port.spec.id].stateful}
        idle = site.inspected.keys() - used
        if not idle:
            return
        known = self._world.pop(pop).bridges
        for network in idle:
            del site.inspected[network]
        self._set_zones(pop, site)
        bridges = [known[network] for network in sorted(idle) if network in known]
        changes = [requests.inspect_bridged(one.index, one.ifname, wanted=False) for one in bridges]
        self._world.pop(pop).netspace.apply(changes)

    def _set_zones(self, pop: str, site: _Site) -> None:
        bridges: Mapping[str, Bridge] = self._world.pop(pop).bridges
        numbers = {bridges[name].ifname: zone for name, zone in site.inspected.items() if zone and name in bridges}
        rules = filter_rules.zones(numbers, routed=EXTERNAL in site.inspected)
        self._nftables.load(self._world.pop(pop).netspace, rules)


def _require_inspection(netspace: Netspace) -> None:
    """Refuse where nothing would be filtered."""
    if not netspace.inspects_bridged:
        raise Unsupported(
            "this kernel cannot track connections over a bridge: security groups need the module br_netfilter",
            hint="load it with `modprobe br_netfilter`, or switch port security off",
        )
