"""Rates of ports, held in the PoP: a token bucket for each direction, out of the machine's reach.

A shaped port's interface leaves its bridge; a veth pair takes its place there, and everything that comes in at one side
goes out at the other by nftables' `fwd`. Each side of the pair has the bucket of one direction: shaped frames wait in
a queue and are not lost at once, as policing would have it. The machine's own interface is not touched, so that rates
come, change and go while packets flow. Chains meet a shaped port's packets behind the pair, so that rates hold for what
is steered, too. Marks are set where a port's packets enter the PoP, before chains steer them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import sonata.adapters.fabric_linux.requests as requests
from sonata._lib.netlink import Request
from sonata._lib.values import dataclass
from sonata.adapters.fabric_linux.nftables import Nftables
from sonata.adapters.fabric_linux.undoing import undone_by
from sonata.adapters.fabric_linux.world import Port, Shim, World
from sonata.errors import NotFound
from sonata.ports.fabric import PortRate, PortShape

_AFTER_CHAINS = 100
_BEFORE_CHAINS = -95
_NO_BRIDGE = 0


@dataclass(frozen=True, slots=True)
class _Joined:
    """A pair that a port's frames pass, and the interface that they are exchanged with."""

    shim: Shim
    pop: str
    name: str
    index: int


class LinuxShaping:
    """Implements `ports.fabric.Shaping`."""

    def __init__(self, world: World, nftables: Nftables) -> None:
        self._world = world
        self._nftables = nftables
        self._joined: dict[str, _Joined] = {}
        self._shapes: dict[str, PortShape] = {}
        self._marked: dict[str, tuple[str, str, int]] = {}

    def set_shapes(self, shapes: Mapping[str, PortShape]) -> None:
        """Hold these rates at ports that stand, by their ids, while packets flow; they go with the port."""
        for port_id in shapes:
            if port_id not in self._world.ports:
                raise NotFound(f"no port `{port_id}` in the data plane")
        before = {port_id: self._shapes.get(port_id, PortShape()) for port_id in shapes}
        touched: list[Port] = []

        def put_back() -> None:
            for port in touched:
                self._take_out(port)
                self._shape(port, before[port.spec.id])

        with undone_by(put_back):
            for port_id, shape in shapes.items():
                touched.append(self._world.ports[port_id])
                self._shape(self._world.ports[port_id], shape)

    @contextmanager
    def laid_aside(self, ports: Sequence[Port]) -> Iterator[None]:
        """Let ports be without their pairs while they are moved; they have them again, wherever they are then."""
        shapes = {port.spec.id: self._shapes[port.spec.id] for port in ports if port.spec.id in self._shapes}
        for port in ports:
            self._unmark(port.spec.id)
            self._take_out(port)
        try:
            yield
        finally:
            for port_id, shape in shapes.items():
                self._shape(self._world.ports[port_id], shape)

    def refresh(self, pop: str) -> None:
        """Drop the pairs and marks of ports that are gone, and make anew those whose interface was replaced."""
        for port_id, (_, _, index) in tuple(self._marked.items()):
            port = self._world.ports.get(port_id)
            if port is None:
                self._unmark(port_id)
                self._shapes.pop(port_id, None)
            elif port.cable.index_a != index:
                self._mark(port, self._shapes[port_id].dscp)
        for port_id, joined in tuple(self._joined.items()):
            port = self._world.ports.get(port_id)
            if port is None:
                self._drop(joined)
                del self._joined[port_id]
                self._shapes.pop(port_id, None)
            elif port.cable.index_a != joined.index:
                self._join(port, joined.shim)

    def _drop(self, joined: _Joined) -> None:
        """Remove the pair of a port that is gone, and the table that led its frames: the kernel would keep that."""
        if joined.pop in self._world.pops:
            netspace = self._world.pop(joined.pop).netspace
            netspace.apply(requests.delete_links([joined.shim.near[0]]))
            self._nftables.load(netspace, _no_exchange(joined.name))

    def _shape(self, port: Port, shape: PortShape) -> None:
        if shape != PortShape():
            port.require_bridged("shaped")
        self._shapes[port.spec.id] = shape
        self._mark(port, shape.dscp)
        if not shape.egress and not shape.ingress:
            self._take_out(port)
            if shape.dscp is None:
                self._shapes.pop(port.spec.id, None)
            return
        shim = port.shim or self._put_in(port)
        changes = [*_bucket(shim.near, shape.egress), *_bucket(shim.far, shape.ingress)]
        self._world.pop(port.spec.pop).netspace.apply(changes)
        if port.spec.id not in self._joined:
            self._join(port, shim)
            self._world.interfaces_changed(port.spec.pop)

    def _mark(self, port: Port, dscp: int | None) -> None:
        self._unmark(port.spec.id)
        if dscp is not None:
            name = port.cable.a.ifname
            self._nftables.load(self._world.pop(port.spec.pop).netspace, _marking(name, dscp))
            self._marked[port.spec.id] = (port.spec.pop, name, port.cable.index_a)

    def _unmark(self, port_id: str) -> None:
        pop, name, _ = self._marked.get(port_id, ("", "", 0))
        if pop in self._world.pops:
            self._nftables.load(self._world.pop(pop).netspace, _no_marking(name))
        self._marked.pop(port_id, None)

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
            requests.enslave(*shim.far, self._world.bridge_under(port)),
            *(requests.set_up(*end) for end in (shim.near, shim.far)),
        ]
        pop.netspace.apply(changes)
        for _, name in (shim.near, shim.far):
            pop.netspace.synchronise(name)
        pop.netspace.synchronise(bridge.ifname)
        self._joined[port.spec.id] = _Joined(shim, port.spec.pop, outside.ifname, port.cable.index_a)
        port.shaped = True

    def _take_out(self, port: Port) -> None:
        shim, pop = port.shim, self._world.pop(port.spec.pop)
        if shim is None:
            return
        # Chains meet its packets at its own interface again, before the pair goes.
        port.shaped = False
        self._joined.pop(port.spec.id, None)
        self._world.interfaces_changed(port.spec.pop)
        bridge, outside = self._world.bridge(port.spec.pop, port.spec.network), port.cable.a
        seat = requests.enslave(port.cable.index_a, outside.ifname, self._world.bridge_under(port))
        pop.netspace.apply([*requests.delete_links([shim.near[0]]), seat])
        self._nftables.load(pop.netspace, _no_exchange(outside.ifname))
        pop.netspace.synchronise(bridge.ifname)
        port.shim = None
        self._world.interfaces_changed(port.spec.pop)


def _bucket(end: tuple[int, str], rate: PortRate | None) -> list[Request]:
    if rate is None:
        return [requests.delete_qdisc(*end)]
    # A bucket that shrinks would wait forever for room for a large segment that is queued already.
    return [requests.delete_qdisc(*end), requests.rate_limit(*end, rate.rate_bps, rate.burst_bytes)]


def _marking(interface: str, dscp: int) -> str:
    """Every IP packet that comes in at an interface has this mark."""
    lines = [f"{_no_marking(interface)}table netdev mark_{interface} {{", "chain packets {"]
    lines.append(f'type filter hook ingress device "{interface}" priority {_BEFORE_CHAINS}; policy accept;')
    lines += [f"{family} dscp set {dscp}" for family in ("ip", "ip6")]
    return "\n".join((*lines, "}", "}", ""))


def _no_marking(interface: str) -> str:
    return f"table netdev mark_{interface}\ndelete table netdev mark_{interface}\n"


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
