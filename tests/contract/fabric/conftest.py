"""A fabric on real namespaces, with the tools that a user of a machine has: ping, iperf3, a socket."""

from __future__ import annotations

import json
import re
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from sonata._lib import namespaces
from sonata.adapters.fabric_linux import LinuxFabric
from sonata.adapters.fabric_linux.renderers import candidates
from sonata.errors import SonataError
from sonata.model.topology import CLEAN, Impairment
from sonata.ports.chain_rendering import DEFAULT_RENDERER
from sonata.ports.fabric import (
    EXTERNAL,
    LinkSpec,
    NetworkSpec,
    PopSpec,
    PortSpec,
    RouterInterface,
    RouterSpec,
    SpanSpec,
)

_IPV4_ROUTES = 0x40  # RTMGRP_IPV4_ROUTE
_ROUTE_CHANGES = {24: "new", 25: "gone"}  # RTM_NEWROUTE, RTM_DELROUTE
_DESTINATION = 1  # RTA_DST


def _why_not() -> str:
    missing = [tool for tool in ("nsenter", "ping", "ip", "sysctl") if not shutil.which(tool)]
    if missing:
        return f"needs {', '.join(missing)}"
    try:
        fabric = LinuxFabric()
        fabric.machines.add_machines(["probe"])
        fabric.close()
    except SonataError as error:
        return str(error)
    return ""


WHY_NOT = _why_not()
REFUSED = {one.name: one.why_not for one in candidates() if one.why_not}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "contract/fabric" in str(item.path):
            item.add_marker(pytest.mark.root)
            if why_not := WHY_NOT or _renderer_refusal(item):
                item.add_marker(pytest.mark.skip(reason=why_not))


def _renderer_refusal(item: pytest.Item) -> str:
    """Why the chain renderer that a test asks for cannot run here."""
    callspec = getattr(item, "callspec", None)
    wanted = callspec.params.get("renderer") if callspec else None
    return REFUSED.get(wanted, "")


@cache
def has_vlans() -> bool:
    """Whether the kernel has 802.1q."""
    trial = "ip link add tried type bridge && ip link add link tried name tried.1 type vlan id 1"
    return subprocess.run(["unshare", "-rn", "sh", "-c", trial], capture_output=True, check=False).returncode == 0


@dataclass(frozen=True)
class Ping:
    """What ping said; round trip times in seconds."""

    sent: int
    received: int
    times: tuple[float, ...]

    @property
    def best_s(self) -> float:
        return min(self.times)


@dataclass
class World:
    """A fabric and short ways of building on it. PoP number i is `p<i>`; its endpoint hosts are `.10` and up."""

    fabric: LinuxFabric
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _ports: int = 0

    def pops(self, count: int) -> None:
        self.fabric.underlay.add_pops([PopSpec(f"p{i}", external(i)) for i in range(count)])

    def line(self, count: int, impairment: Impairment = CLEAN) -> None:
        """PoPs in a row, links `l<i>` between neighbours, routes everywhere."""
        self.pops(count)
        self.fabric.underlay.add_links(
            [LinkSpec(f"l{i}", f"p{i}", f"p{i + 1}", over(i, 0), over(i, 1), impairment) for i in range(count - 1)]
        )
        for i in range(count):
            routes = {
                external(other).network: over(i - 1, 0).ip if other < i else over(i, 1).ip
                for other in range(count)
                if other != i
            }
            self.fabric.underlay.set_routes(f"p{i}", routes)

    def machine(self, name: str, *ports: PortSpec) -> None:
        self.fabric.machines.add_machines([name])
        self.fabric.machines.add_ports(ports)

    def host(self, name: str, pop: int, number: int = 10, impairment: Impairment = CLEAN) -> IPv4Address:
        """An endpoint on a PoP's external network."""
        self.machine(name, self.port(name, pop, EXTERNAL, external(pop, number), external(pop).ip, impairment))
        return external(pop, number).ip

    def port(
        self,
        machine: str,
        pop: int,
        network: str,
        address: IPv4Interface | str,
        gateway: IPv4Address | str | None = None,
        impairment: Impairment = CLEAN,
        ifname: str = "eth0",
    ) -> PortSpec:
        self._ports += 1
        return PortSpec(
            id=f"{machine}-{ifname}",
            pop=f"p{pop}",
            network=network,
            machine=machine,
            ifname=ifname,
            mac=f"02:00:00:00:{self._ports >> 8:02x}:{self._ports & 255:02x}",
            addresses=(IPv4Interface(address),),
            gateway=IPv4Address(gateway) if gateway else None,
            impairment=impairment,
        )

    def run(self, machine: str, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self._inside(machine, argv), capture_output=True, text=True, timeout=60, check=False)

    def run_in_pop(self, pop: str, *argv: str) -> str:
        """What a program prints in the namespace of a PoP."""
        path = self.fabric._world.pop(pop).netspace.path  # nothing else shows what is left there
        return subprocess.run(["nsenter", f"--net={path}", *argv], capture_output=True, text=True, check=True).stdout

    @contextmanager
    def route_changes(self, pop: str) -> Iterator[list[tuple[str, IPv4Network]]]:
        """What becomes of the IPv4 routes of a PoP meanwhile, in order: `new` or `gone`, and where they lead."""
        changes: list[tuple[str, IPv4Network]] = []
        with open(self.fabric._world.pop(pop).netspace.path, "rb") as inside, namespaces.inside(inside.fileno()):
            told = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        with told:
            told.bind((0, _IPV4_ROUTES))
            yield changes
            told.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    changes += _route_changes(told.recv(65536))

    def start(self, machine: str, *argv: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(self._inside(machine, argv), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def start_talking(self, machine: str, *argv: str) -> subprocess.Popen[bytes]:
        """Start a program whose output is read."""
        process = subprocess.Popen(self._inside(machine, argv), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def ping(self, machine: str, target: IPv4Address | str, count: int = 3, interval: float = 0.01) -> Ping:
        answer = self.run(machine, "ping", "-n", f"-c{count}", f"-i{interval}", "-W1", str(target)).stdout
        summary = re.search(r"(\d+) packets transmitted, (\d+) received", answer)
        assert summary, answer
        times = tuple(float(value) / 1000 for value in re.findall(r"time=([\d.]+) ms", answer))
        return Ping(int(summary[1]), int(summary[2]), times)

    def reaches(self, machine: str, target: IPv4Address | str) -> bool:
        return self.ping(machine, target, count=1).received == 1

    def socket(
        self, machine: str, kind: int = socket.SOCK_DGRAM, family: int = socket.AF_INET, protocol: int = 0
    ) -> socket.socket:
        """A socket of ours inside of a machine."""
        with open(self.fabric.machines.netns_path(machine), "rb") as inside, namespaces.inside(inside.fileno()):
            made = socket.socket(family, kind, protocol)
        made.settimeout(5)
        return made

    def bits_per_second(
        self, client: str, server: str, address: IPv4Address, seconds: float = 1.0, *options: str
    ) -> float:
        """TCP goodput from client to server, by iperf3."""
        daemon = self.start(server, "iperf3", "-s", "-1")
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            result = self.run(client, "iperf3", "-J", "-t", str(seconds), "-c", str(address), *options)
            outcome = json.loads(result.stdout or "{}")
            if "sum_received" in outcome.get("end", {}):
                daemon.wait(10)
                return float(outcome["end"]["sum_received"]["bits_per_second"])
            if daemon.poll() is not None:
                daemon = self.start(server, "iperf3", "-s", "-1")
            time.sleep(0.05)
        pytest.fail(f"iperf3: {result.stdout}")

    def received(self, *ports: str) -> dict[str, int]:
        """Packets that ports have received."""
        return {name: value.rx_packets for name, value in self.fabric.machines.counters(ports).items()}

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()
        self.fabric.close()

    def _inside(self, machine: str, argv: tuple[str, ...]) -> list[str]:
        return ["nsenter", f"--net={self.fabric.machines.netns_path(machine)}", *argv]


def _route_changes(messages: bytes) -> Iterator[tuple[str, IPv4Network]]:
    """Where routes lead that come or go, as netlink messages tell it (rtnetlink(7))."""
    while messages:
        length, kind = struct.unpack_from("=IH", messages)
        prefix, attributes = messages[17], messages[28:length]
        while attributes:
            size, attribute = struct.unpack_from("=HH", attributes)
            if attribute == _DESTINATION:
                yield _ROUTE_CHANGES[kind], IPv4Network((attributes[4:8], prefix))
            attributes = attributes[-(-size // 4) * 4 :]
        messages = messages[-(-length // 4) * 4 :]


def external(pop: int, host: int = 1) -> IPv4Interface:
    return IPv4Interface(f"100.64.{pop}.{host}/24")


def over(link: int, side: int) -> IPv4Interface:
    """Address of a side of a link."""
    return IPv4Interface((int(IPv4Address("198.18.0.0")) + 2 * link + side, 31))


@contextmanager
def a_world(chain_renderer: str = DEFAULT_RENDERER) -> Iterator[World]:
    made = World(LinuxFabric(chain_renderer))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def renderer() -> str:
    """What steers chains; suites of chains run over all of them."""
    return DEFAULT_RENDERER


@pytest.fixture
def world(renderer: str) -> Iterator[World]:
    with a_world(renderer) as made:
        yield made


def tenant(world: World, pop: int, name: str, subnet: str = "10.0.0.0/24", router: bool = True) -> None:
    """A tenant network, its router at `.1` of the subnet and at `.200` of the external network."""
    world.fabric.networks.add_networks([NetworkSpec(name, f"p{pop}")])
    if router:
        world.fabric.networks.set_router(router_spec(pop, [(name, subnet)]))


def router_spec(
    pop: int, networks: list[tuple[str, str]], floating: dict[IPv4Address, IPv4Address] | None = None
) -> RouterSpec:
    legs = tuple(
        RouterInterface(
            f"leg-{pop}-{name}",
            name,
            IPv4Interface(f"{IPv4Network(subnet)[1]}/{IPv4Network(subnet).prefixlen}"),
            f"02:00:01:00:{pop:02x}:{number:02x}",
        )
        for number, (name, subnet) in enumerate(networks)
    )
    return RouterSpec(
        id=f"router-{pop}",
        pop=f"p{pop}",
        interfaces=legs,
        external=external(pop, 200),
        external_mac=f"02:00:02:00:00:{pop:02x}",
        external_gateway=external(pop).ip,
        floating=floating or {},
    )


def span_of(world: World, network: str, pops: dict[int, list[str]]) -> SpanSpec:
    """A span over PoPs whose machines have their only or first port in the network."""
    return SpanSpec(
        id=f"span-{network}",
        vni=4711,
        members={f"p{pop}": network for pop in pops},
        stations={f"p{pop}": tuple(macs) for pop, macs in pops.items()},
    )
