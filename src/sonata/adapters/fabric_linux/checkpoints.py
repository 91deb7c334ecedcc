"""Checkpoints: bridges of their own for secured ports whose packets are steered.

Chains take packets before a network's bridge, which is where filters ask the IP layer about connections. So a secured
port that a chain takes packets from leaves that bridge for one of its own, and a veth pair leads on from there: its
filter judges all that goes through, and the chain meets what the filter has let pass at the pair's far side. It is what
Neutron's hybrid plugging is made of. Connections belong to the zone of the network, steered or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import sonata.adapters.fabric_linux.requests as requests
from sonata._lib.values import dataclass
from sonata.adapters.fabric_linux.undoing import undone_by
from sonata.adapters.fabric_linux.world import Checkpoint, Port, World


@dataclass(frozen=True, slots=True)
class _Standing:
    """A checkpoint with the interface that was led into it."""

    pop: str
    checkpoint: Checkpoint
    led_in: int


class Checkpoints:
    """Builds checkpoints where they are needed, and takes them down.

    Args:
        sources: ids of the ports that chains of a PoP take packets from.
        is_secured: whether a port, by PoP and id, has a filter.
        track: lets connections be tracked at the checkpoints of a PoP, before packets pass there.
        moved: told of a PoP in which a chain meets a port's packets elsewhere now.
    """

    def __init__(
        self,
        world: World,
        *,
        sources: Callable[[str], set[str]],
        is_secured: Callable[[str, str], bool],
        track: Callable[[str], None],
        moved: Callable[[str], None],
    ) -> None:
        self._world = world
        self._sources = sources
        self._is_secured = is_secured
        self._track = track
        self._moved = moved
        self._standing: dict[str, _Standing] = {}

    def refresh(self, pop: str) -> None:
        """Let checkpoints stand where they are needed in a PoP, and nowhere else."""
        wanted = {port_id: port for port_id in self._sources(pop) if (port := self._secured(pop, port_id))}
        for port_id, standing in tuple(self._standing.items()):
            if standing.pop == pop and not self._fits(standing, wanted.get(port_id)):
                self._take_down(port_id)
        new = [port for port_id, port in wanted.items() if port_id not in self._standing]
        for port in new:
            self._build(port)
        if new:
            self._moved(pop)

    @contextmanager
    def laid_aside(self, ports: Sequence[Port]) -> Iterator[None]:
        """Let ports be without checkpoints while they are moved; they get them again where they are needed then."""
        for port in ports:
            if port.spec.id in self._standing:
                self._take_down(port.spec.id)
        yield

    def _secured(self, pop: str, port_id: str) -> Port | None:
        port = self._world.ports.get(port_id)
        return port if port and port.spec.pop == pop and self._is_secured(pop, port_id) else None

    def _fits(self, standing: _Standing, port: Port | None) -> bool:
        return port is not None and port.checkpoint is standing.checkpoint and port.cable.index_a == standing.led_in

    def _build(self, port: Port) -> None:
        pop, network = self._world.pop(port.spec.pop), self._world.bridge(port.spec.pop, port.spec.network)
        number, inner, outer = (self._world.new_index() for _ in range(3))
        made = Checkpoint((number, f"q{number}"), (inner, f"u{number}"), (outer, f"v{number}"))
        mtu = network.spec.mtu
        port.checkpoint = made
        self._standing[port.spec.id] = _Standing(port.spec.pop, made, port.cable.index_a)
        with undone_by(lambda: self._take_down(port.spec.id)):
            pop.netspace.apply(
                [
                    requests.bridge(*made.bridge, mtu=mtu),
                    requests.veth(*made.inner, *made.outer, pop.netspace.descriptor, mtu=mtu),
                    requests.enslave(*made.inner, number),
                    requests.enslave(*made.outer, network.index),
                    *(requests.set_up(*end) for end in (made.inner, made.outer)),
                ]
            )
            self._track(port.spec.pop)
            pop.netspace.apply([requests.enslave(*port.bridged_end, number)])
        for _, name in (made.inner, made.outer, port.bridged_end, made.bridge):
            pop.netspace.synchronise(name)
        pop.netspace.synchronise(network.ifname)

    def _take_down(self, port_id: str) -> None:
        """Lead a port's frames to the bridge of its network again, where it still stands."""
        standing, port = self._standing[port_id], self._world.ports.get(port_id)
        if standing.pop not in self._world.pops:
            del self._standing[port_id]
            return
        pop, doomed = self._world.pop(standing.pop), standing.checkpoint
        if port and port.spec.pop == standing.pop and port.checkpoint in (doomed, None):
            port.checkpoint = None
            self._moved(standing.pop)
            network = self._world.bridge(standing.pop, port.spec.network)
            pop.netspace.apply([requests.enslave(*port.bridged_end, network.index)])
            pop.netspace.synchronise(network.ifname)
        pop.netspace.apply(requests.delete_links([doomed.outer[0], doomed.bridge[0]]))
        self._track(standing.pop)
        del self._standing[port_id]
