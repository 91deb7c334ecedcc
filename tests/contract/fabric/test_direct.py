"""Direct ports: where their packets pass, whom they reach, and what is refused at them."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface

import pytest

from sonata.errors import Unsupported
from sonata.model.topology import Impairment
from sonata.ports.fabric import (
    ChainSpec,
    Classifier,
    Hop,
    HopPort,
    NetworkSpec,
    PortFilter,
    PortRate,
    PortShape,
    PortSpec,
)

from .conftest import World, span_of, tenant


def direct(world: World, name: str, number: int, pop: int = 0, network: str = "blue") -> PortSpec:
    """A machine with a direct port, of the address `.number`."""
    port = replace(world.port(name, pop, network, f"10.0.0.{number}/24", "10.0.0.1"), direct=True)
    world.machine(name, port)
    return port


@pytest.fixture
def blue(world: World) -> tuple[PortSpec, PortSpec]:
    """Direct ports of `a` and `b`, and an ordinary one of `c`, at .11 to .13."""
    world.pops(1)
    tenant(world, 0, "blue")
    ports = direct(world, "a", 11), direct(world, "b", 12)
    world.machine("c", world.port("c", 0, "blue", "10.0.0.13/24", "10.0.0.1"))
    return ports


def bridged(world: World) -> int:
    """Packets that the bridge has sent to and got from the card of the only network."""
    text = world.run_in_pop("p0", "ip", "-s", "link", "show", "type", "veth")
    (card,) = re.findall(r"^\d+: c\d+@.*?(?=^\d+:|\Z)", text, re.M | re.S)
    received, sent = (int(line.split()[1]) for line in re.findall(r"[RT]X:.*\n\s+(.*)", card))
    return received + sent


def test_direct_ports_meet_beside_the_bridge_and_the_others_over_it(
    world: World, blue: tuple[PortSpec, PortSpec]
) -> None:
    assert world.reaches("a", "10.0.0.12")
    before = bridged(world)
    assert world.ping("a", "10.0.0.12", count=20).received == 20
    assert bridged(world) - before < 20
    before = bridged(world)
    assert world.ping("a", "10.0.0.13", count=20).received == 20
    assert bridged(world) - before >= 40
    assert world.reaches("c", "10.0.0.12")
    assert world.reaches("b", "100.64.0.1")
    counters = world.fabric.machines.counters([port.id for port in blue])
    assert min(counters["a-eth0"].rx_packets, counters["a-eth0"].tx_packets) >= 40


def test_a_direct_port_reaches_over_a_span(world: World) -> None:
    world.line(2)
    for pop in range(2):
        tenant(world, pop, "blue", router=False)
    near, far = direct(world, "a", 11), direct(world, "b", 12, pop=1)
    world.fabric.networks.set_span(span_of(world, "blue", {0: [near.mac], 1: [far.mac]}))
    assert world.reaches("a", "10.0.0.12")


def test_held_and_switched_off_direct_ports_pass_nothing(world: World, blue: tuple[PortSpec, PortSpec]) -> None:
    machines, (a, _) = world.fabric.machines, blue
    six = replace(a, addresses=(*a.addresses, IPv6Interface("fd00::11/64")))
    machines.change_ports([six])
    machines.hold_ports([a.id], held=True)
    assert not world.reaches("b", "10.0.0.11")
    machines.hold_ports([a.id], held=False)
    assert world.reaches("b", "10.0.0.11")
    machines.change_ports([replace(six, up=False)])
    assert not world.reaches("c", "10.0.0.11")
    machines.change_ports([six])
    assert world.reaches("c", "10.0.0.11")
    assert world.reaches("a", "100.64.0.1")
    assert "fd00::11/64" in world.run("a", "ip", "-6", "address", "show", "eth0").stdout


def test_an_address_and_an_mtu_change_while_a_direct_port_stands(world: World, blue: tuple[PortSpec, PortSpec]) -> None:
    a, _ = blue
    world.fabric.machines.change_ports([replace(a, addresses=(IPv4Interface("10.0.0.21/24"),))])
    assert world.reaches("b", "10.0.0.21")
    world.fabric.networks.change_network(NetworkSpec("blue", "p0", mtu=1400))
    assert "mtu 1400" in world.run("a", "ip", "link", "show", "eth0").stdout
    world.fabric.networks.change_network(NetworkSpec("blue", "p0", mtu=1500))
    assert world.run("a", "ping", "-c1", "-W1", "-Mdo", "-s1472", "10.0.0.12").returncode == 0
    assert world.run("a", "ping", "-c1", "-W1", "-Mdo", "-s1472", "10.0.0.13").returncode == 0


def test_the_card_goes_with_the_last_port(world: World, blue: tuple[PortSpec, PortSpec]) -> None:
    a, b = blue
    world.fabric.machines.remove_ports([a.id])
    assert world.reaches("b", "10.0.0.13")
    world.fabric.machines.remove_machines(["b"])
    assert not re.search(r": [cv]\d+@", world.run_in_pop("p0", "ip", "link"))
    world.fabric.machines.add_ports([a])
    assert world.reaches("a", "10.0.0.13")
    assert b.direct


def test_what_is_done_at_the_bridge_is_refused(world: World, blue: tuple[PortSpec, PortSpec]) -> None:
    fabric, (a, b) = world.fabric, blue
    hop = HopPort(b.mac, "blue", b.id)
    chain = ChainSpec("chain", "p0", (Classifier(protocol="tcp"),), (Hop(hop, hop),))
    impaired = replace(a, id="a-eth1", ifname="eth1", impairment=Impairment(delay_s=0.01))
    for refused in (
        lambda: fabric.filtering.set_filters("p0", [PortFilter(a.id, (), ())], {}),
        lambda: fabric.shaping.set_shapes({a.id: PortShape(egress=PortRate(1e6))}),
        lambda: fabric.steering.set_chain(chain),
        lambda: fabric.underlay.set_link(a.id, Impairment(loss=0.1)),
        lambda: fabric.machines.move_ports([replace(a, pop="p1")]),
        lambda: fabric.machines.add_ports([impaired]),
    ):
        with pytest.raises(Unsupported, match="direct"):
            refused()
    assert world.reaches("a", "10.0.0.12")
