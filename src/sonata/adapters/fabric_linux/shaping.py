"""Rates of ports, held in the PoP: a token bucket for each direction, out of the machine's reach.

A shaped port's interface leaves its bridge; a veth pair takes its place there, and everything that comes in at one side
goes out at the other by nftables' `fwd`. Each side of the pair has the bucket of one direction: shaped frames wait in
a queue and are not lost at once, as policing would have it. The machine's own interface is not touched, so that rates
come, change and go while packets flow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import sonata.adapters.fabric_linux.requests as requests
from sonata._lib.netlink import Request
from sonata.adapters.fabric_linux.nftables import Nftables
from sonata.adapters.fabric_linux.world import Port, Shim, World
from sonata.errors import NotFound
from sonata.ports.fabric import PortRate, PortShape

_AFTER_CHAINS = 100
_NO_BRIDGE = 0


class LinuxShaping:
    """Implements `ports.fabric.Shaping`."""

    def __init__(self, world: World, nftables: Nftables) -> None:
        self._world = world
        self._nftables = nftables
        self._joined: dict[str, tuple[Shim, int]] = {}
        self._shapes: dict[str, PortShape] = {}

    def set_shapes(self, shapes: Mapping[str, PortShape]) -> None:
        """Hold these rates at ports that stand, by their ids, while packets flow; they go with the port."""
        for port_id, shape in shapes.items():
            if port_id not in self._world.ports:
                raise NotFound(f"no port `{port_id}` in the data plane")
            self._shape(self._world.ports[port_id], shape)

    @contextmanager
    def laid_aside(self, ports: Sequence[Port]) -> Iterator[None]:
        """Let ports be without their pairs while they are moved; they have them again, wherever they are then."""
        shapes = {port.spec.id: self._shapes[port.spec.id] for port in ports if port.shim}
        for port in ports:
            self._take_out(port)
        try:
            yield
        finally:
            for port_id, shape in shapes.items():
                self._shape(self._world.ports[port_id], shape)

    def refresh(self, pop: str) -> None:
        """Drop the pairs of ports that are gone, and join anew those whose interface was replaced."""
        for port_id, (shim, index) in tuple(self._joined.items()):
            port = self._world.ports.get(port_id)
            if port is None:
                del self._joined[port_id]
                self._shapes.pop(port_id, None)
                if pop in self._world.pops:
                    self._world.pop(pop).netspace.apply(requests.delete_links([shim.near[0]]))
            elif port.cable.index_a != index:
                self._join(port, shim)

    def _shape(self, port: Port, shape: PortShape) -> None:
        if not shape.egress and not shape.ingress:
            self._take_out(port)
            return
        self._shapes[port.spec.id] = shape
        shim = port.shim or self._put_in(port)
        changes = [*_bucket(shim.near, shape.egress), *_bucket(shim.far, shape.ingress)]
        self._world.pop(port.spec.pop).netspace.apply(changes)
        if port.spec.id not in self._joined:
            self._join(port, shim)

    def _put_in(self, port: Port) -> Shim:
        """Make a pair beside a port; its filter knows it before frames pass there."""
        pop = self._world.pop(port.spec.pop)
        near, far = self._world.new_index(), self._world.new_index()
        shim = Shim((near, f"w{near}"), (far, f"y{near}"))
        mtu = port.spec.mtu
        pop.netspace.apply([requests.veth(*shim.near, *shim.far, pop.netspace.descriptor, mtu=mtu)])
        port.shim = shim
        self._world.interfaces_changed(port.spec.pop)
        return shim

    def _join(self, port: Port, shim: Shim) -> None:
        """Lead a port's frames through its pair."""
        pop, outside = self._world.pop(port.spec.pop), port.cable.a
        bridge = self._world.bridge(port.spec.pop, port.spec.network)
        self._nftables.load(pop.netspace, _exchange(outside.ifname, shim))
        changes = [requests.enslave(port.cable.index_a, outside.ifname, _NO_BRIDGE)]
        changes += [
            requests.enslave(*shim.far, bridge.index),
            *(requests.set_up(*end) for end in (shim.near, shim.far)),
        ]
        pop.netspace.apply(changes)
        for _, name in (shim.near, shim.far):
            pop.netspace.synchronise(name)
        pop.netspace.synchronise(bridge.ifname)
        self._joined[port.spec.id] = (shim, port.cable.index_a)

    def _take_out(self, port: Port) -> None:
        shim, pop = port.shim, self._world.pop(port.spec.pop)
        if shim is None:
            return
        bridge, outside = self._world.bridge(port.spec.pop, port.spec.network), port.cable.a
        changes = [*requests.delete_links([shim.near[0]])]
        pop.netspace.apply([*changes, requests.enslave(port.cable.index_a, outside.ifname, bridge.index)])
        self._nftables.load(pop.netspace, _no_exchange(outside.ifname))
        pop.netspace.synchronise(bridge.ifname)
        port.shim = None
        del self._joined[port.spec.id], self._shapes[port.spec.id]
        self._world.interfaces_changed(port.spec.pop)


def _bucket(end: tuple[int, str], rate: PortRate | None) -> list[Request]:
    if rate is None:
        return [requests.delete_qdisc(*end)]
    return [requests.rate_limit(*end, rate.rate_bps, rate.burst_bytes)]


def _exchange(interface: str, shim: Shim) -> str:
    """What comes in at a port's interface goes out at the near side of its pair, and back."""
    lines = [f"{_no_exchange(interface)}table netdev shape_{interface} {{"]
    for name, comes_in, goes_out in (("up", interface, shim.near[1]), ("down", shim.near[1], interface)):
        lines.append(f"chain {name} {{")
        lines.append(f'type filter hook ingress device "{comes_in}" priority {_AFTER_CHAINS}; policy accept;')
        lines += [f'fwd to "{goes_out}"', "}"]
    return "\n".join((*lines, "}", ""))


def _no_exchange(interface: str) -> str:
    return f"table netdev shape_{interface}\ndelete table netdev shape_{interface}\n"
