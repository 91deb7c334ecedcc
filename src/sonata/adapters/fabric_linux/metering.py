"""Counters of ports and links: one dump of interfaces and one of queues for each namespace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sonata.adapters.fabric_linux.netspace import Netspace
from sonata.adapters.fabric_linux.probing import Foot
from sonata.adapters.fabric_linux.watching import LinkWatch
from sonata.adapters.fabric_linux.world import Port, World
from sonata.ports.fabric import EXTERNAL
from sonata.ports.metering import Readings, Traffic, Watched

_NOTHING = (0,) * 8


class Interface(NamedTuple):
    """Counters of an interface, seen by the namespace that it is in; drops of its queue count as dropped."""

    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int
    tx_dropped: int

    def own(self, rx_dropped: int) -> Traffic:
        """As its own namespace sees it."""
        return Traffic(self.rx_packets, self.rx_bytes, rx_dropped, self.tx_packets, self.tx_bytes, self.tx_dropped)

    def mirrored(self, tx_dropped: int) -> Traffic:
        """As whoever is behind it sees it."""
        return Traffic(self.tx_packets, self.tx_bytes, self.tx_dropped, self.rx_packets, self.rx_bytes, tx_dropped)


_SILENT = Interface(0, 0, 0, 0, 0)


class LinuxMetering:
    """Implements `ports.metering.Metering`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._watch = LinkWatch()

    def read(self, pops: Sequence[str]) -> Readings:
        """Counters of the ports and links of these PoPs."""
        wanted = {name for name in pops if name in self._world.pops}
        dumps = _Dumps()
        ports = {port.spec.id: _traffic(port, dumps) for port in self._world.ports.values() if port.spec.pop in wanted}
        links = {}
        for name, link in self._world.links.items():
            if link.spec.a in wanted:
                a, b = (dumps.interface(end.netspace, index) for end, index in link.cable.ends())
                links[name] = (a.own(b.tx_dropped), b.own(a.tx_dropped))
        return Readings(ports, links)

    def watch(self, names: Sequence[str], every_s: float) -> None:
        """Measure these links at even times."""
        feet = {name: found for name in names if (found := self._feet(name))}
        self._watch.follow(feet, every_s)

    def watched(self, late_s: Mapping[str, tuple[float, float]]) -> Mapping[str, tuple[Watched, Watched]]:
        """What became of the packets of watched links."""
        return self._watch.read(late_s)

    def close(self) -> None:
        """End the watch."""
        self._watch.close()

    def _feet(self, name: str) -> tuple[Foot, Foot] | None:
        """Where a link is stood upon: both PoPs, or a PoP and a machine; None for one that is gone."""
        if link := self._world.links.get(name):
            spec = link.spec
            a, b = (self._world.pop(pop).netspace for pop in (spec.a, spec.b))
            return (a, str(spec.address_a.ip)), (b, str(spec.address_b.ip))
        port = self._world.ports.get(name)
        address = next((value.ip for value in port.spec.addresses if value.version == 4), None) if port else None
        if port is None or address is None or port.spec.network != EXTERNAL:
            return None
        pop = self._world.pop(port.spec.pop)
        return (pop.netspace, str(pop.spec.external.ip)), (port.cable.b.netspace, str(address))


class _Dumps:
    """Dumps of namespaces, each made once."""

    def __init__(self) -> None:
        self._known: dict[Netspace, tuple[Mapping[int, tuple[int, ...]], Mapping[int, int]]] = {}

    def interface(self, netspace: Netspace, index: int) -> Interface:
        """Counters of an interface; zeros when it is gone."""
        if netspace not in self._known:
            self._known[netspace] = netspace.statistics(), netspace.queue_drops()
        statistics, queues = self._known[netspace]
        rx_packets, tx_packets, rx_bytes, tx_bytes, _, _, _, dropped = statistics.get(index, _NOTHING)
        return Interface(rx_packets, tx_packets, rx_bytes, tx_bytes, dropped + queues.get(index, 0))


def _traffic(port: Port, dumps: _Dumps) -> Traffic:
    """Counted beside the bridge, so that one dump serves a PoP; where frames are lost on the way, at both ends."""
    cable = port.cable
    if cable.card:
        return dumps.interface(cable.b.netspace, cable.index_b).own(0)
    near = dumps.interface(cable.a.netspace, cable.index_a)
    to_machine, from_machine = _held(port, dumps)
    if cable.is_clean:
        return near._replace(tx_dropped=near.tx_dropped + to_machine).mirrored(from_machine)
    inside = dumps.interface(cable.b.netspace, cable.index_b)
    return inside._replace(tx_dropped=inside.tx_dropped + from_machine).own(near.tx_dropped + to_machine)


def _held(port: Port, dumps: _Dumps) -> tuple[int, int]:
    """Frames lost at the port's rates: those for its machine, and those from it."""
    if not port.shim:
        return 0, 0
    pop = port.cable.a.netspace
    near, far = (dumps.interface(pop, index) for index, _ in (port.shim.near, port.shim.far))
    return far.tx_dropped, near.tx_dropped
