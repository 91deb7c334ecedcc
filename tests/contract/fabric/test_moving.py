"""Ports that move to another PoP while their machines and connections live on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Interface

import pytest
from tests.fakes.fabric import FakeFabric

from sonata.adapters.fabric_linux import LinuxFabric
from sonata.adapters.fabric_linux.cable import Cables
from sonata.errors import AdapterError, Conflict, NotFound
from sonata.model.topology import Impairment
from sonata.ports.fabric import Fabric, FilterRule, NetworkSpec, PopSpec, PortRate, PortShape, PortSpec

from .conftest import World, external, router_spec, span_of, tenant
from .test_filtering import PING_IN, TCP, close, connected, filter_of, passes, secure

DELAY = Impairment(delay_s=0.01)
PORT = PortSpec("blue-port", "p0", "blue", "vm", "eth0", "02:00:00:00:00:01", (IPv4Interface("10.0.0.5/24"),))


@pytest.fixture(params=[LinuxFabric, FakeFabric], ids=["linux", "memory"])
def fabric(request: pytest.FixtureRequest) -> Iterator[Fabric]:
    """Two PoPs with a network `blue` in each, and a machine in the first."""
    made: Fabric = request.param()
    try:
        made.underlay.add_pops([PopSpec(f"p{pop}", external(pop)) for pop in range(2)])
        made.networks.add_networks([NetworkSpec("blue", f"p{pop}") for pop in range(2)])
        made.machines.add_machines(["vm"])
        made.machines.add_ports([PORT])
        yield made
    finally:
        made.close()


def test_a_port_that_has_moved_stands_there(fabric: Fabric) -> None:
    there = replace(PORT, pop="p1")
    fabric.machines.move_ports([there])
    fabric.machines.move_ports([there])
    fabric.machines.add_ports([there])
    fabric.machines.change_ports([there])
    assert list(fabric.machines.counters([PORT.id])) == [PORT.id]
    fabric.networks.remove_networks([("p0", "blue")])
    with pytest.raises(NotFound):
        fabric.machines.move_ports([PORT])


@pytest.mark.parametrize(
    "wrong",
    [
        replace(PORT, id="other"),
        replace(PORT, pop="p9"),
        replace(PORT, pop="p1", network="red"),
        replace(PORT, pop="p1", mac="02:00:00:00:00:02"),
    ],
    ids=["port", "pop", "network", "mac"],
)
def test_what_cannot_be_moved_stays(fabric: Fabric, wrong: PortSpec) -> None:
    with pytest.raises((NotFound, Conflict)):
        fabric.machines.move_ports([wrong])
    fabric.machines.add_ports([PORT])


def spread(world: World, impairment: Impairment = DELAY) -> tuple[PortSpec, PortSpec]:
    """A network over two PoPs with a router in the first, and a machine `vm` and `peer` there."""
    world.line(2, impairment)
    tenant(world, 0, "blue")
    world.fabric.networks.add_networks([NetworkSpec("blue", "p1")])
    vm, peer = (
        world.port(name, 0, "blue", f"10.0.0.{number}/24", "10.0.0.1") for name, number in (("vm", 5), ("peer", 6))
    )
    for port in (vm, peer):
        world.machine(port.machine, port)
    join(world, vm, peer)
    return vm, peer


def join(world: World, *ports: PortSpec) -> None:
    """Tell the span where ports and router are now."""
    stations = {pop: [port.mac for port in ports if port.pop == f"p{pop}"] for pop in range(2)}
    (leg,) = router_spec(0, [("blue", "10.0.0.0/24")]).interfaces
    world.fabric.networks.set_span(span_of(world, "blue", {0: [*stations[0], leg.mac], 1: stations[1]}))


def move(world: World, port: PortSpec, pop: str, *others: PortSpec) -> PortSpec:
    moved = replace(port, pop=pop)
    world.fabric.machines.move_ports([moved])
    join(world, moved, *others)
    return moved


def test_connections_live_on_and_packets_take_the_new_way(world: World) -> None:
    vm, peer = spread(world)
    before = world.run("vm", "ip", "-o", "addr", "show", "eth0").stdout, world.run("vm", "ip", "route").stdout
    sockets = connected(world, "peer", "vm", "10.0.0.5")
    assert world.ping("peer", "10.0.0.5").best_s < 0.01
    there = move(world, vm, "p1", peer)
    assert world.ping("peer", "10.0.0.5", count=5).best_s >= 0.02
    assert world.reaches("vm", external(0).ip)  # over the router, which stays
    assert (world.run("vm", "ip", "-o", "addr", "show", "eth0").stdout, world.run("vm", "ip", "route").stdout) == before
    talk(*sockets)
    move(world, there, "p0", peer)
    assert world.ping("peer", "10.0.0.5").best_s < 0.01
    talk(*sockets)
    close(*sockets)


def talk(client: socket.socket, server: socket.socket) -> None:
    """A message each way over a connection that stands."""
    client.sendall(b"question")
    assert server.recv(100) == b"question"
    server.sendall(b"answer")
    assert client.recv(100) == b"answer"


def test_filters_and_rates_go_along(world: World) -> None:
    vm, peer = spread(world, Impairment())
    secure(world, vm, PING_IN, FilterRule("egress"))
    world.fabric.shaping.set_shapes({vm.id: PortShape(egress=PortRate(5e6), ingress=PortRate(5e6))})
    there = replace(vm, pop="p1")
    secure(world, there, FilterRule("egress"), FilterRule("ingress", protocol=TCP, ports=(5201, 5201)))
    assert passes(world, "peer", "10.0.0.5")  # those of the PoP that it is in hold
    move(world, vm, "p1", peer)
    assert not passes(world, "peer", "10.0.0.5")
    assert world.bits_per_second("peer", "vm", IPv4Interface("10.0.0.5/24").ip) < 6e6
    rules = world.run_in_pop("p0", "nft", "list", "ruleset")
    assert "guard_" not in rules
    assert "shape_" not in rules
    # Nobody sends under another's name there either.
    world.run("vm", "ip", "addr", "add", "10.0.0.66/24", "dev", "eth0")
    assert world.run("vm", "ping", "-c1", "-W0.3", "-I", "10.0.0.66", "10.0.0.6").returncode != 0


def test_a_held_port_stays_held(world: World) -> None:
    vm, peer = spread(world, Impairment())
    world.fabric.machines.hold_ports([vm.id], held=True)
    move(world, vm, "p1", peer)
    assert not passes(world, "peer", "10.0.0.5")
    world.fabric.machines.hold_ports([vm.id], held=False)
    assert world.reaches("peer", "10.0.0.5")


def test_answers_are_known_where_a_port_has_come(world: World) -> None:
    """A connection that the machine has opened lives on, though what comes first is not allowed to come unasked."""
    vm, peer = spread(world, Impairment())
    secure(world, vm, FilterRule("egress"))
    client, server = connected(world, "vm", "peer", "10.0.0.6")
    there = replace(vm, pop="p1")
    secure(world, there, FilterRule("egress"))
    move(world, vm, "p1", peer)
    server.sendall(b"late answer")
    assert client.recv(100) == b"late answer"
    close(client, server)
    assert not passes(world, "peer", "10.0.0.5")


def test_a_move_that_fails_leaves_everything_as_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    vm, peer = spread(world, Impairment())
    second = world.port("vm", 0, "blue", "10.0.0.7/24", ifname="eth1")
    world.fabric.machines.add_ports([second])
    secure(world, vm, PING_IN, FilterRule("egress"))
    world.fabric.filtering.set_filters("p1", [filter_of(vm, PING_IN)], {})
    carry = Cables.carry

    def fail_at_second(self: Cables, cable: object, end: object, *, up: bool) -> None:
        if cable.name == second.id:  # type: ignore[attr-defined]
            raise AdapterError("the kernel is out of sorts")
        carry(self, cable, end, up=up)  # type: ignore[arg-type]

    monkeypatch.setattr(Cables, "carry", fail_at_second)
    with pytest.raises(AdapterError, match="out of sorts"):
        world.fabric.machines.move_ports([replace(vm, pop="p1"), replace(second, pop="p1")])
    monkeypatch.undo()
    world.fabric.machines.add_ports([vm, second])
    assert world.reaches("peer", "10.0.0.5")
    world.run("vm", "ip", "addr", "add", "10.0.0.66/24", "dev", "eth0")
    assert world.run("vm", "ping", "-c1", "-W0.3", "-I", "10.0.0.66", "10.0.0.6").returncode != 0
    move(world, vm, "p1", peer)
