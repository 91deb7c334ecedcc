"""Routers that are made when somebody calls them: nobody notices."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Interface

import pytest

from sonata.adapters.fabric_linux import LinuxFabric
from sonata.errors import NotFound, SonataError
from sonata.ports.fabric import ChainSpec, Classifier, Hop, HopPort, NetworkSpec, RouterSpec

from .conftest import World, external, router_spec

FLOATING, INSIDE = IPv4Address("100.64.0.201"), IPv4Address("10.0.0.10")
PATIENCE_S = 10


@pytest.fixture
def world(renderer: str) -> Iterator[World]:
    """PoPs `p0` and `p1`, a host in `p1`, a machine behind a router that waits in `p0`."""
    made = World(LinuxFabric(renderer, on_call=True))
    try:
        made.line(2)
        made.host("far", 1)
        made.fabric.networks.add_networks([NetworkSpec("blue", "p0")])
        made.machine("inside", made.port("inside", 0, "blue", f"{INSIDE}/24", "10.0.0.1"))
        made.fabric.networks.set_router(waiting())
        yield made
    finally:
        made.close()


def waiting(**changes: object) -> RouterSpec:
    return replace(router_spec(0, [("blue", "10.0.0.0/24")], {FLOATING: INSIDE}), **changes)


def stands(world: World) -> bool:
    return world.fabric._routers._routers.stands("router-0")


def calls(world: World, within_s: float = PATIENCE_S) -> bool:
    """Whether somebody calls within some time."""
    return bool(select.select([world.fabric.calls], [], [], within_s)[0])


def received(world: World, machine: str, target: str) -> int:
    """How many of three packets are answered, the first one as soon as a router has been called and made."""
    pinging = world.start_talking(machine, "ping", "-n", "-c3", "-i0.2", "-W5", target)
    if calls(world):
        world.fabric.answer_calls()
    out, _ = pinging.communicate(timeout=30)
    return out.count(b"bytes from")


@pytest.mark.parametrize(
    ("machine", "target"),
    [
        ("inside", str(external(1, 10).ip)),
        ("inside", "10.0.0.1"),
        ("far", str(FLOATING)),
        ("far", str(external(0, 200).ip)),
    ],
)
def test_who_sends_first_has_the_router_made(world: World, machine: str, target: str) -> None:
    assert not stands(world)
    assert received(world, machine, target) == 3
    assert stands(world)
    assert not calls(world, 0.3)
    assert world.reaches("far", FLOATING)


def test_nobody_else_wakes_it(world: World) -> None:
    world.machine("other", world.port("other", 0, "blue", "10.0.0.11/24"))
    assert world.reaches("inside", "10.0.0.11")
    assert not world.reaches("far", external(0, 250).ip)
    assert world.reaches("far", external(0).ip)
    assert not calls(world, 0.2)
    assert not stands(world)


def test_a_router_that_waits_is_changed_and_removed(world: World) -> None:
    another = IPv4Address("100.64.0.202")
    world.fabric.networks.set_router(waiting(floating={another: INSIDE}))
    assert not world.reaches("far", FLOATING)
    assert not calls(world, 0.2)
    with pytest.raises(NotFound):
        world.fabric.networks.set_router(waiting(interfaces=router_spec(0, [("red", "10.9.0.0/24")]).interfaces))
    world.fabric.networks.remove_router("router-0")
    world.ping("inside", "10.0.0.1", count=1)
    assert not calls(world, 0.2)
    world.fabric.networks.set_router(waiting(floating={another: INSIDE}))
    assert received(world, "far", str(another)) == 3
    world.fabric.networks.set_router(waiting())
    assert world.reaches("far", FLOATING)


def test_no_router_waits_where_another_one_was_known(world: World) -> None:
    """Stations would go on to send to the MAC address of the one before."""
    assert received(world, "far", str(FLOATING)) == 3
    world.fabric.networks.remove_router("router-0")
    (leg,) = waiting().interfaces
    legs = (replace(leg, mac="02:00:01:00:99:99"),)
    world.fabric.networks.set_router(waiting(id="router-1", external_mac="02:00:02:00:99:99", interfaces=legs))
    assert world.reaches("far", FLOATING)
    assert world.reaches("inside", external(1, 10).ip)


def test_a_router_that_waits_goes_with_its_pop(world: World) -> None:
    world.fabric.underlay.remove_pops(["p0"])
    assert not calls(world, 0.1)
    world.fabric.answer_calls()
    assert not stands(world)


def test_what_cannot_be_made_is_tried_again_with_the_next_call(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_spec: RouterSpec) -> None:
        raise SonataError("no room")

    pinging: subprocess.Popen[bytes] = world.start_talking("far", "ping", "-n", "-c5", "-i1", "-W5", str(FLOATING))
    assert calls(world)
    with monkeypatch.context() as patched:
        patched.setattr(world.fabric._routers._routers, "set", refuse)
        with pytest.raises(SonataError, match="no room"):
            world.fabric.answer_calls()
    assert not stands(world)
    assert calls(world)
    world.fabric.answer_calls()
    assert b"bytes from" in pinging.communicate(timeout=30)[0]


def test_a_shortage_of_descriptors_is_told_until_the_router_is_made(world: World) -> None:
    pinging: subprocess.Popen[bytes] = world.start_talking("far", "ping", "-n", "-c60", "-i0.5", str(FLOATING))
    left = 0
    while calls(world) and (reason := refusal(world, left)):
        assert world.fabric.networks.missing_routers == {"router-0": reason}
        assert not stands(world)
        left += 1
    assert left > 0
    assert stands(world)
    assert world.fabric.networks.missing_routers == {}
    assert world.reaches("far", FLOATING)
    pinging.send_signal(signal.SIGINT)
    assert b"bytes from" in pinging.communicate(timeout=30)[0]


def refusal(world: World, left: int) -> str:
    """Why calls are not answered with so many file descriptors left; empty where they are."""
    try:
        with descriptors(left):
            world.fabric.answer_calls()
    except SonataError as error:
        return error.message
    return ""


def test_nobody_misses_a_router_that_was_dropped(world: World) -> None:
    assert received(world, "far", str(FLOATING)) == 3
    with pytest.raises(NotFound):
        world.fabric.networks.set_router(
            waiting(id="router-1", interfaces=router_spec(0, [("red", "10.9.0.0/24")]).interfaces)
        )
    assert world.fabric.networks.missing_routers.keys() == {"router-1"}
    world.fabric.networks.remove_router("router-1")
    assert world.fabric.networks.missing_routers == {}


@contextmanager
def descriptors(left: int) -> Iterator[None]:
    """Have so many file descriptors left, and no more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(number) for number in os.listdir("/proc/self/fd"))
    taken: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + left, limits[1]))
        with suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        for _ in range(left):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for number in taken:
            os.close(number)


def test_no_router_waits_where_there_are_chains(world: World) -> None:
    chain = ChainSpec("chain", "p0", (Classifier(source_port_id="inside-eth0"),), ())
    hop = HopPort(world.port("function", 0, "blue", "10.0.0.20/24").mac, "blue", "inside-eth0")
    world.fabric.steering.set_chain(replace(chain, hops=(Hop(hop, hop),)))
    assert stands(world)
    second = replace(waiting(), id="router-1", external=external(0, 210), external_mac="02:00:02:00:01:00", floating={})
    world.fabric.networks.set_router(replace(second, interfaces=()))
    assert world.fabric._routers._routers.stands("router-1")


def test_a_router_of_ipv6_does_not_wait(world: World) -> None:
    spec = waiting()
    (leg,) = spec.interfaces
    world.fabric.networks.set_router(replace(spec, interfaces=(replace(leg, further=(IPv6Interface("fd00::1/64"),)),)))
    assert stands(world)
    assert world.reaches("inside", "10.0.0.1")
    assert not calls(world, 0.2)
