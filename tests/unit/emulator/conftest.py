"""An emulation over a data plane, runtime and image store in memory."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from tests.fakes.fabric import FakeFabric, FakeUnderlay
from tests.fakes.images import FakeImageStore, image
from tests.fakes.journal import FakeJournal
from tests.fakes.runtime import FakeRuntime

from sonata.emulator.data_plane import DataPlane
from sonata.emulator.disruptions import Disruptions
from sonata.emulator.emulation import Emulation
from sonata.emulator.observing.observation import Observation
from sonata.emulator.scenarios import Scenarios
from sonata.model.topology import Endpoint, Impairment, Link, Pop, Topology
from sonata.ports.fabric import LinkStatus


class LiveUnderlay(FakeUnderlay):
    """Links that can be changed and captured, and routes that are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.routes: dict[str, dict[IPv4Network, IPv4Address]] = {}
        self.down: set[str] = set()
        self.access: dict[str, tuple[Impairment, Impairment | None]] = {}
        self.frames: list[bytes] = []
        self.guests: dict[str, tuple[dict[IPv4Address, str], bool]] = {}

    def set_link(
        self, name: str, impairment: Impairment, reverse: Impairment | None = None, *, up: bool = True
    ) -> None:
        (self.down.discard if up else self.down.add)(name)
        if name.startswith("access-"):
            self.access[name] = (impairment, reverse)
            return
        super().set_link(name, impairment, up=up)
        self.links[name] = replace(self.links[name], impairment=impairment, reverse=reverse)

    def remove_links(self, names: Sequence[str]) -> None:
        super().remove_links(names)
        self.down.difference_update(names)

    def set_routes(self, pop: str, routes: Mapping[IPv4Network, IPv4Address]) -> None:
        self.routes[pop] = dict(routes)

    def link_status(self) -> Sequence[LinkStatus]:
        return [replace(status, up=status.name not in self.down) for status in super().link_status()]

    def set_guests(self, pop: str, guests: Mapping[IPv4Address, str], *, answers: bool) -> None:
        self.guests[pop] = (dict(guests), answers)

    def packet_socket(self, link: str) -> socket.socket:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with far:
            for frame in self.frames:
                far.send(frame)
        return near


class World:
    """An emulation and what it stands on."""

    def __init__(self, folder: Path) -> None:
        self.fabric = FakeFabric()
        self.underlay = LiveUnderlay()
        self.fabric.underlay = self.underlay
        self.runtime = FakeRuntime()
        self.images = FakeImageStore(image("web", argv=("/bin/web",), ready_tcp_port=80))
        self.folder = folder
        self.journal = FakeJournal()

    def emulation(self, topology: Topology) -> Emulation:
        """A fresh emulation over this world."""
        plane = DataPlane(self.fabric)  # type: ignore[arg-type]
        return Emulation(topology, plane, self.runtime, self.images, self.folder, self.journal)


TRIANGLE = Topology(
    "triangle",
    {name: Pop(name) for name in ("a", "b", "c")},
    (
        Link("ab", "a", "b", Impairment(delay_s=0.01)),
        Link("bc", "b", "c", Impairment(delay_s=0.01, rate_bps=100e6)),
        Link("ac", "a", "c", Impairment(delay_s=0.05)),
    ),
    {
        "users": Endpoint("users", "a"),
        "origin": Endpoint("origin", "c", image="web", impairment=Impairment(delay_s=0.001)),
    },
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
async def triangle(world: World, anyio_backend: str) -> AsyncIterator[Emulation]:
    """Three PoPs; the way from a to c over b is shorter than the direct link."""
    emulation = world.emulation(TRIANGLE)
    await emulation.start()
    yield emulation
    await emulation.close()


class FakeBurden:
    """A burden that is remembered until it is taken away."""

    def __init__(self, burdens: list[FakeBurden], pid: int, cpus: float, memory_bytes: int) -> None:
        self.of = (pid, cpus, memory_bytes)
        self._burdens = burdens
        burdens.append(self)

    async def take_away(self) -> None:
        if self in self._burdens:
            self._burdens.remove(self)


class FakeDisturber:
    """Kills and burdens in name only."""

    def __init__(self) -> None:
        self.killed: list[int] = []
        self.burdens: list[FakeBurden] = []

    async def kill(self, pid: int) -> None:
        self.killed.append(pid)

    async def burden(self, pid: int, *, cpus: float, memory_bytes: int) -> FakeBurden:
        return FakeBurden(self.burdens, pid, cpus, memory_bytes)


def no_scenarios(emulation: Emulation) -> Scenarios:
    """What carries scenarios out, with nothing to be killed."""
    return Scenarios(Disruptions(emulation, FakeDisturber()), emulation.events)


def observed(emulation: Emulation) -> Observation:
    """What is seen of an emulation."""
    return Observation(emulation, emulation._plane)
