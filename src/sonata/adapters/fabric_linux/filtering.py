"""Packet filters of ports in PoPs; they follow when interfaces come, change and go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import sonata.adapters.fabric_linux.connections as connections
import sonata.adapters.fabric_linux.filter_rules as filter_rules
from sonata._lib.ip import Prefix
from sonata.adapters.fabric_linux.nftables import Nftables
from sonata.adapters.fabric_linux.tracking import FilteredPop, Tracking
from sonata.adapters.fabric_linux.undoing import undone_by
from sonata.adapters.fabric_linux.world import Port, World
from sonata.ports.fabric import PortFilter, PortSpec


class LinuxFiltering:
    """Implements `ports.fabric.Filtering`.

    `on_filters_changed` is told of a PoP in which other ports are filtered now.
    """

    def __init__(self, world: World, nftables: Nftables) -> None:
        self._world = world
        self._nftables = nftables
        self._tracking = Tracking(world, nftables)
        self._sites: dict[str, FilteredPop] = {}
        self.on_filters_changed: Callable[[str], None] = _nobody

    def set_filters(self, pop: str, filters: Sequence[PortFilter], members: Mapping[str, Sequence[Prefix]]) -> None:
        """Filter ports of a PoP from now on, also those that are plugged in later; others stay as they are."""
        ports = [port for one in filters if (port := _plugged(self._world, pop, one.port_id))]
        _require_bridged(ports)
        site = self._site(pop)
        before = dict(site.filters), dict(site.members)
        with undone_by(lambda: self._put_back(pop, *before)):
            self._set(pop, site, {one.port_id: one for one in filters}, members, ports)

    def _set(
        self,
        pop: str,
        site: FilteredPop,
        filters: Mapping[str, PortFilter],
        members: Mapping[str, Sequence[Prefix]],
        ports: Sequence[Port],
    ) -> None:
        named = {rule.members for one in filters.values() for rule in one.rules} - {""} - site.members.keys()
        contents = {name: tuple(known) for name, known in members.items()}
        contents = {**dict.fromkeys(sorted(named), ()), **contents}
        rules = [filter_rules.members(_set_number(site, name), known) for name, known in contents.items()]
        site.filters.update(filters)
        site.members.update(contents)
        self._load(pop, site, ports, rules)
        self._drop_unused(pop, site)
        self.on_filters_changed(pop)

    def _put_back(self, pop: str, filters: Mapping[str, PortFilter], members: Mapping[str, Sequence[Prefix]]) -> None:
        """Have the filters of a PoP be what they were, however far a change of them has come."""
        site = self._sites.get(pop) or self._site(pop)
        site.filters.update(filters)
        self._forget(pop, site, [port_id for port_id in site.filters if port_id not in filters])
        if pop in self._sites:
            ports = [port for port_id in filters if (port := _plugged(self._world, pop, port_id))]
            self._set(pop, site, filters, members, ports)

    def remove_filters(self, pop: str, ids: Sequence[str]) -> None:
        """Let everything pass these ports."""
        if site := self._sites.get(pop):
            self._forget(pop, site, ids)
            with undone_by(lambda: self._world.unsettle(pop)):
                self.on_filters_changed(pop)
        else:
            self._world.interfaces_changed()

    def is_filtered(self, pop: str, port_id: str) -> bool:
        """Whether the rules of a port are loaded in a PoP."""
        return pop in self._sites and port_id in self._sites[pop].standing

    def track_checkpoints(self, pop: str) -> None:
        """Track the connections that pass the checkpoints of a PoP, as those of their networks."""
        if pop in self._sites:
            self._tracking.follow_checkpoints(pop, self._sites[pop])

    def prepare(self, ports: Sequence[Port]) -> None:
        """Load the rules of ports before packets pass there."""
        for pop in {port.spec.pop for port in ports} & self._sites.keys():
            filters = self._sites[pop].filters
            here = [port for port in ports if port.spec.pop == pop and port.spec.id in filters]
            _require_bridged(here)
            self._load(pop, self._sites[pop], here, [])

    def give_up(self, ports: Sequence[Port]) -> None:
        """Have no rules for ports that do not come after all; what is to hold for them is still known."""
        for pop in {port.spec.pop for port in ports} & self._sites.keys():
            site = self._sites[pop]
            here = [port.spec.id for port in ports if port.spec.id in site.standing]
            names = [name for port_id in here for name in site.standing[port_id]]
            if names:
                self._nftables.load(self._world.pop(pop).netspace, "".join(map(filter_rules.without_port, names)))
            for port_id in here:
                del site.standing[port_id]
                site.guarded.pop(port_id, None)
            self._tracking.end(pop, site)

    @contextmanager
    def laid_aside(self, ports: Sequence[Port]) -> Iterator[None]:
        """Carry what is known of ports over while they are moved.

        Guards are made anew, here or there, since an interface that changes its PoP leaves them behind.
        """
        before = [(port, port.spec, self._zone(port.spec)) for port in ports]
        ids = {port.spec.id for port in ports}
        concerned = {pop: site for pop, site in self._sites.items() if not ids.isdisjoint(site.filters)}
        known = {pop: (dict(site.filters), dict(site.members)) for pop, site in concerned.items()}
        for _, spec, _ in before:
            if spec.pop in self._sites:
                self._sites[spec.pop].guarded.pop(spec.id, None)

        def put_back() -> None:
            for pop, told in known.items():
                self._put_back(pop, *told)

        with undone_by(put_back):
            yield
        for port, spec, zone in before:
            self._copy_connections(spec, zone, port.spec)

    def _copy_connections(self, origin: PortSpec, zone: int | None, now: PortSpec) -> None:
        """Let the PoP where a port is now know the connections that the one it comes from has tracked."""
        zones = zone, self._zone(now)
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
        self._forget(pop, site, [port_id for port_id in site.standing if not _plugged(self._world, pop, port_id)])
        self._follow_names(pop, site)
        ports = [self._world.ports[port_id] for port_id in site.standing]
        self._guard(pop, site, [port for port in ports if site.guarded.get(port.spec.id) != port.cable.index_a])

    def _follow_names(self, pop: str, site: FilteredPop) -> None:
        """Rules for the names that ports have got, and none for those that they have lost."""
        known = ((self._world.ports[port_id], names) for port_id, names in site.standing.items())
        renamed = [(port, names) for port, names in known if port.bridged_names != names]
        lost = [name for port, names in renamed for name in names if name not in port.bridged_names]
        self._load(pop, site, [port for port, _ in renamed], [filter_rules.without_port(name) for name in lost])

    def drop_contents(self, pops: Sequence[str]) -> None:
        """Forget the filters of PoPs that are about to go."""
        for pop in pops:
            self._sites.pop(pop, None)

    def _site(self, pop: str) -> FilteredPop:
        if pop not in self._sites:
            self._nftables.load(self._world.pop(pop).netspace, filter_rules.FOUNDATION)
            self._sites[pop] = FilteredPop()
        return self._sites[pop]

    def _load(self, pop: str, site: FilteredPop, ports: Iterable[Port], rules: list[str]) -> None:
        """Load rules, and those of ports; the networks of stateful ones are inspected from then on."""
        netspace = self._world.pop(pop).netspace
        wanted = [(port, site.filters[port.spec.id]) for port in ports]
        self._tracking.begin(pop, site, {port.spec.network for port, one in wanted if one.stateful})
        names = {port.spec.id: port.bridged_names for port, _ in wanted}
        chains = [filter_rules.port(name, one, site.sets) for port, one in wanted for name in names[port.spec.id]]
        guarded = [port for port, _ in wanted if port.cable.a.netspace is netspace]
        text = "".join((*rules, *chains, *_guards(site, guarded)))
        if text:
            self._nftables.load(netspace, text)
        site.standing.update(names)
        site.guarded.update({port.spec.id: port.cable.index_a for port in guarded})

    def _guard(self, pop: str, site: FilteredPop, ports: Sequence[Port]) -> None:
        """Guard the interfaces that ports have got since their rules were loaded."""
        if ports:
            self._nftables.load(self._world.pop(pop).netspace, "".join(_guards(site, ports)))
        site.guarded.update({port.spec.id: port.cable.index_a for port in ports})

    def _forget(self, pop: str, site: FilteredPop, ids: Sequence[str]) -> None:
        text = "".join(filter_rules.without_port(name) for port_id in ids for name in site.standing.get(port_id, ()))
        if text:
            self._nftables.load(self._world.pop(pop).netspace, text)
        site.untidy = site.untidy or bool(ids)
        for port_id in ids:
            for known in (site.filters, site.standing, site.guarded):
                known.pop(port_id, None)
        self._tracking.end(pop, site)
        if site.untidy:
            self._drop_unused(pop, site)
            site.untidy = False

    def _drop_unused(self, pop: str, site: FilteredPop) -> None:
        """Drop sets that no rule names any more, and after the last filter all that filters share."""
        if not site.filters:
            self._nftables.load(self._world.pop(pop).netspace, filter_rules.WITHOUT_FOUNDATION)
            del self._sites[pop]
            return
        named = {rule.members for one in site.filters.values() for rule in one.rules}
        unused = [name for name in site.sets if name not in named]
        text = "".join(filter_rules.without_members(site.sets[name]) for name in unused)
        if text:
            self._nftables.load(self._world.pop(pop).netspace, text)
        for name in unused:
            del site.sets[name]
            site.members.pop(name, None)


def _guards(site: FilteredPop, ports: Iterable[Port]) -> Iterator[str]:
    for port in ports:
        yield filter_rules.guard(port.cable.a.ifname, site.filters[port.spec.id].sources)


def _nobody(_pop: str) -> None:
    pass


def _require_bridged(ports: Iterable[Port]) -> None:
    for port in ports:
        port.require_bridged("filtered")


def _plugged(world: World, pop: str, port_id: str) -> Port | None:
    """A port that is plugged in in a PoP."""
    port = world.ports.get(port_id)
    return port if port and port.spec.pop == pop else None


def _set_number(site: FilteredPop, name: str) -> int:
    return site.sets.setdefault(name, 1 + max(site.sets.values(), default=0))
