"""Rates of ports, measured by iperf3."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from tests.translated import MEASURED_S, PACE, TRIES

from sonata.errors import NotFound
from sonata.ports.fabric import FilterRule, NetworkSpec, PortRate, PortShape

from .conftest import World, external, router_spec
from .test_filtering import PING_IN, TCP, pair, passes, secure

MBIT = 1e6 * PACE


def holds(world: World, wanted_bps: float, *options: str) -> bool:
    """Whether TCP from a to b gets a layer 2 rate."""
    return is_held(lambda: world.bits_per_second("a", "b", IPv4Address("10.0.0.11"), MEASURED_S, *options), wanted_bps)


def is_held(measure_bps: Callable[[], float], wanted_bps: float) -> bool:
    """Whether what is measured is a rate: never more, and nearly all of it at least once.

    Headers cost a little, a burst at the beginning gives a little; a busy machine may hold TCP back for a second.
    """
    for _ in range(TRIES):
        measured = measure_bps()
        print(f"{measured / MBIT:.2f} of {wanted_bps / MBIT:.2f} Mbit/s")
        if not measured <= 1.1 * wanted_bps:
            return False
        if measured >= 0.75 * wanted_bps:
            return True
    return False


@pytest.mark.skipif(not shutil.which("iperf3"), reason="needs iperf3")
def test_rates_hold_in_both_directions_and_change_while_packets_flow(world: World) -> None:
    world.pops(1)
    a, b = pair(world)
    secure(world, b, PING_IN, FilterRule("egress"), FilterRule("ingress", protocol=TCP, ports=(5201, 5201)))
    shape = PortShape(egress=PortRate(20 * MBIT), ingress=PortRate(50 * MBIT))
    world.fabric.shaping.set_shapes({b.id: shape})
    assert holds(world, 50 * MBIT)
    assert holds(world, 20 * MBIT, "-R")
    world.fabric.shaping.set_shapes({b.id: PortShape(egress=PortRate(5 * MBIT))})
    assert world.bits_per_second("a", "b", IPv4Address("10.0.0.11")) > 200 * MBIT
    assert holds(world, 5 * MBIT, "-R")
    # Its filter holds where it is known by another name now.
    secure(world, b, FilterRule("egress"))
    assert not passes(world, "a", "10.0.0.11")
    secure(world, b, PING_IN)
    assert passes(world, "a", "10.0.0.11")
    world.fabric.shaping.set_shapes({b.id: PortShape()})
    assert passes(world, "a", "10.0.0.11")
    secure(world, b, FilterRule("egress"))
    assert not passes(world, "a", "10.0.0.11")
    assert a.id != b.id


@pytest.mark.skipif(not shutil.which("iperf3"), reason="needs iperf3")
def test_a_rate_that_is_lowered_under_load_lets_packets_pass(world: World) -> None:
    world.pops(1)
    _, b = pair(world)
    for rate in (80, 40, 20):
        world.fabric.shaping.set_shapes({b.id: PortShape(egress=PortRate(rate * MBIT))})
        world.bits_per_second("a", "b", IPv4Address("10.0.0.11"), 1, "-R")
    world.fabric.shaping.set_shapes({b.id: PortShape(egress=PortRate(5 * MBIT))})
    assert world.reaches("a", "10.0.0.11")


def test_a_shaped_port_goes_and_comes(world: World) -> None:
    world.pops(1)
    _, b = pair(world)
    world.fabric.shaping.set_shapes({b.id: PortShape(egress=PortRate(5 * MBIT))})
    assert "table netdev shape_" in world.run_in_pop("p0", "nft", "list", "ruleset")
    world.fabric.machines.remove_ports([b.id])
    assert "table netdev shape_" not in world.run_in_pop("p0", "nft", "list", "ruleset")
    with pytest.raises(NotFound):
        world.fabric.shaping.set_shapes({b.id: PortShape()})
    world.fabric.machines.add_ports([b])
    assert passes(world, "a", "10.0.0.11")
    world.fabric.shaping.set_shapes({b.id: PortShape(egress=PortRate(5 * MBIT))})
    assert passes(world, "a", "10.0.0.11")


def marks_seen(world: World) -> set[int]:
    """DSCP marks of the datagrams that arrive at `a`, sent by `b` with a mark of its own."""
    with world.socket("a") as there, world.socket("b") as here:
        there.bind(("10.0.0.10", 5000))
        there.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        here.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 10 << 2)
        for _ in range(3):
            here.sendto(b"marked", ("10.0.0.10", 5000))
        found = [there.recvmsg(100, 100)[1][0][2][0] for _ in range(3)]
    return {mark >> 2 for mark in found}


def test_what_a_port_sends_is_marked(world: World) -> None:
    world.pops(1)
    _, b = pair(world)
    assert marks_seen(world) == {10}
    world.fabric.shaping.set_shapes({b.id: PortShape(dscp=46)})
    assert marks_seen(world) == {46}
    world.fabric.shaping.set_shapes({b.id: PortShape(egress=PortRate(5 * MBIT), dscp=0)})
    assert marks_seen(world) == {0}
    world.fabric.machines.remove_ports([b.id])
    world.fabric.machines.add_ports([b])
    assert marks_seen(world) == {10}
    world.fabric.shaping.set_shapes({b.id: PortShape(dscp=46)})
    world.fabric.shaping.set_shapes({b.id: PortShape()})
    assert marks_seen(world) == {10}


def routed_out(world: World, *shapes: PortShape) -> tuple[IPv4Address, ...]:
    """A user outside; servers `in0`, `in1` behind a router, each with a floating address that has a shape."""
    world.pops(1)
    world.host("user", 0)
    world.fabric.networks.add_networks([NetworkSpec("blue", "p0")])
    floating = tuple(external(0, 201 + number).ip for number in range(len(shapes)))
    inner = [IPv4Address(f"10.0.0.{10 + number}") for number in range(len(shapes))]
    for number, address in enumerate(inner):
        world.machine(f"in{number}", world.port(f"in{number}", 0, "blue", f"{address}/24", "10.0.0.1"))
    spec = router_spec(0, [("blue", "10.0.0.0/24")], dict(zip(floating, inner, strict=True)))
    world.fabric.networks.set_router(replace(spec, shapes=dict(zip(floating, shapes, strict=True))))
    return floating


def reaches_rate(world: World, server: str, address: IPv4Address, wanted_bps: float, *options: str) -> bool:
    """As `holds`, from the user to a floating address."""
    return is_held(lambda: world.bits_per_second("user", server, address, MEASURED_S, *options), wanted_bps)


@pytest.mark.skipif(not shutil.which("iperf3"), reason="needs iperf3")
def test_rates_of_floating_addresses_hold_in_both_directions_and_for_them_alone(world: World) -> None:
    limited = PortShape(egress=PortRate(20 * MBIT), ingress=PortRate(40 * MBIT))
    one, two = routed_out(world, limited, PortShape())
    assert reaches_rate(world, "in0", one, 40 * MBIT)
    assert reaches_rate(world, "in0", one, 20 * MBIT, "-R")
    assert world.bits_per_second("user", "in1", two) > 200 * MBIT
    assert world.bits_per_second("user", "in1", two, 1.0, "-R") > 200 * MBIT
    spec = router_spec(0, [("blue", "10.0.0.0/24")], {one: IPv4Address("10.0.0.10"), two: IPv4Address("10.0.0.11")})
    world.fabric.networks.set_router(replace(spec, shapes={two: PortShape(egress=PortRate(10 * MBIT))}))
    assert world.bits_per_second("user", "in0", one) > 200 * MBIT
    assert reaches_rate(world, "in1", two, 10 * MBIT, "-R")
    assert spec.external is not None
    world.fabric.networks.set_router(
        replace(spec, floating={}, shapes={spec.external.ip: PortShape(PortRate(5 * MBIT))})
    )
    assert world.bits_per_second("in0", "user", external(0, 10).ip) <= 5.5 * MBIT


def test_what_a_floating_address_sends_is_marked(world: World) -> None:
    (floating,) = routed_out(world, PortShape(dscp=46))
    with world.socket("user") as there, world.socket("in0") as here:
        there.bind((str(external(0, 10).ip), 5000))
        there.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        here.sendto(b"marked", (str(external(0, 10).ip), 5000))
        _, ancillary, _, sender = there.recvmsg(100, 100)
    assert sender[0] == str(floating)
    assert ancillary[0][2][0] >> 2 == 46
