"""Senders whose packets are steered: their filters and rates hold all the same. Counters prove it."""

from __future__ import annotations

import shutil
from ipaddress import IPv4Address, IPv4Network

import pytest

from sonata.ports.fabric import ChainSpec, Classifier, FilterRule, PortRate, PortShape, PortSpec

from .conftest import World
from .test_chains import FIRST_ONE, growth, local_hop
from .test_filtering import EVERYTHING_OUT, PING_IN, TCP, close, connected, pair, secure
from .test_shaping import MBIT, holds

pytestmark = pytest.mark.parametrize("renderer", FIRST_ONE)
PINGS = 4
QUESTIONS = 1
"""Whoever looks for a neighbour asks everybody; the function hears that, too."""
PING_OUT = FilterRule("egress", protocol=1)


@pytest.fixture
def steered(world: World) -> tuple[World, PortSpec, PortSpec]:
    """Machines `a` and `b` on one network; what `b` sends is led through the function `f`."""
    world.pops(1)
    a, b = pair(world)
    legs = (
        world.port("f", 0, "blue", "10.0.0.20/24", "10.0.0.1"),
        world.port("f", 0, "blue", "10.0.0.21/24", "10.0.0.1", ifname="eth1"),
    )
    world.machine("f", *legs)
    # A bridge between its legs: a bump in the wire.
    for command in (
        ("sysctl", "-qw", "net.ipv4.ip_forward=1"),
        ("ip", "route", "add", "10.0.0.10/32", "dev", "eth1"),
        ("ip", "route", "add", "10.0.0.11/32", "dev", "eth1"),
    ):
        assert world.run("f", *command).returncode == 0
    from_b = Classifier(source_port_id=b.id, destination=IPv4Network("10.0.0.10/32"))
    world.fabric.steering.set_chain(ChainSpec("chain", "p0", (from_b,), (local_hop(legs),), symmetric=False))
    return world, a, b


def through(world: World, ask: str = "b", target: str = "10.0.0.10") -> int:
    """How many of some echo requests come to the function."""
    return growth(world, ["f-eth0"], lambda: world.ping(ask, target, PINGS))["f-eth0"]


def test_what_a_sender_may_not_send_does_not_come_to_the_function(
    steered: tuple[World, PortSpec, PortSpec],
) -> None:
    world, _, b = steered
    assert world.ping("b", "10.0.0.10", PINGS).received == PINGS
    assert through(world) >= PINGS
    secure(world, b, FilterRule("egress", protocol=TCP))
    assert through(world) <= QUESTIONS
    secure(world, b, PING_OUT)
    assert world.ping("b", "10.0.0.10", PINGS).received == PINGS
    assert through(world) >= PINGS
    secure(world, b, FilterRule("egress", protocol=TCP), stateful=False)
    assert through(world) <= QUESTIONS
    world.fabric.filtering.remove_filters("p0", [b.id])
    assert world.ping("b", "10.0.0.10", PINGS).received == PINGS
    assert through(world) >= PINGS


def test_answers_to_what_may_come_in_pass_through_the_chain(steered: tuple[World, PortSpec, PortSpec]) -> None:
    world, _, b = steered
    secure(world, b, PING_IN, FilterRule("ingress", protocol=TCP, ports=(80, 80)))
    assert through(world) <= QUESTIONS
    grown = growth(world, ["f-eth0"], lambda: world.ping("a", "10.0.0.11", PINGS))
    assert grown["f-eth0"] >= PINGS
    assert world.ping("a", "10.0.0.11", PINGS).received == PINGS
    here, there = connected(world, "a", "b", "10.0.0.11")
    before = world.received("f-eth0")["f-eth0"]
    there.sendall(b"answer")
    assert here.recv(10) == b"answer"
    assert world.received("f-eth0")["f-eth0"] > before
    close(here, there)
    secure(world, b, FilterRule("ingress", protocol=TCP, ports=(81, 81)))
    assert not world.reaches("a", "10.0.0.11")


def test_forged_senders_are_not_steered(steered: tuple[World, PortSpec, PortSpec]) -> None:
    world, _, b = steered
    secure(world, b, EVERYTHING_OUT)
    assert through(world) >= PINGS
    assert world.run("b", "ip", "addr", "add", "10.0.0.99/32", "dev", "eth0").returncode == 0
    forged = ("ping", "-n", "-c3", "-i0.01", "-W0.2", "-I", "10.0.0.99", "10.0.0.10")
    assert growth(world, ["f-eth0"], lambda: world.run("b", *forged))["f-eth0"] <= QUESTIONS


def rules_of(world: World) -> str:
    """Tables and links of the PoP."""
    told = world.run_in_pop("p0", "nft", "-s", "list", "tables") + world.run_in_pop("p0", "ip", "-br", "link")
    return "\n".join(sorted(told.splitlines()))


def test_nothing_is_left_of_it(world: World) -> None:
    world.pops(1)
    a, b = pair(world)
    legs = (world.port("f", 0, "blue", "10.0.0.20/24"), world.port("f", 0, "blue", "10.0.0.21/24", ifname="eth1"))
    world.machine("f", *legs)
    secure(world, b, EVERYTHING_OUT, PING_IN)
    before = rules_of(world)
    chain = ChainSpec("chain", "p0", (Classifier(source_port_id=b.id),), (local_hop(legs),), symmetric=False)
    for _ in range(2):
        world.fabric.steering.set_chain(chain)
        world.fabric.shaping.set_shapes({b.id: PortShape(egress=PortRate(5 * MBIT))})
        assert rules_of(world) != before
        world.fabric.steering.remove_chain("chain")
        world.fabric.shaping.set_shapes({b.id: PortShape()})
        assert rules_of(world) == before
        assert world.reaches("a", "10.0.0.11")
    world.fabric.steering.set_chain(chain)
    world.fabric.machines.remove_ports([b.id])
    assert "q" not in {line[:1] for line in world.run_in_pop("p0", "ip", "-br", "link").splitlines()}
    assert a.id != b.id


@pytest.mark.skipif(not shutil.which("iperf3"), reason="needs iperf3")
@pytest.mark.parametrize("secured", [False, True])
def test_rates_hold_for_what_is_steered(steered: tuple[World, PortSpec, PortSpec], secured: bool) -> None:
    world, _, b = steered
    if secured:
        secure(world, b, PING_IN, EVERYTHING_OUT, FilterRule("ingress", protocol=TCP, ports=(5201, 5201)))
    world.fabric.shaping.set_shapes({b.id: PortShape(egress=PortRate(20 * MBIT), ingress=PortRate(50 * MBIT))})
    before = world.received("f-eth0")["f-eth0"]
    assert holds(world, 20 * MBIT, "-R")
    assert world.received("f-eth0")["f-eth0"] > before
    assert holds(world, 50 * MBIT)
    world.fabric.shaping.set_shapes({b.id: PortShape()})
    assert world.bits_per_second("a", "b", IPv4Address("10.0.0.11"), 1.0, "-R") > 100 * MBIT


def test_rates_of_functions_hold_for_what_is_steered(steered: tuple[World, PortSpec, PortSpec]) -> None:
    """What comes to a function in a second, and in the burst before it, is what it may receive."""
    world, _, _ = steered
    world.fabric.shaping.set_shapes({"f-eth0": PortShape(ingress=PortRate(200_000))})
    flood = ("ping", "-n", "-q", "-c200", "-i0.002", "-w1", "-s1400", "10.0.0.10")
    assert 0 < growth(world, ["f-eth0"], lambda: world.run("b", *flood))["f-eth0"] < 60
