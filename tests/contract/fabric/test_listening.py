"""Who looks for somebody on a network is heard before that one is there, and answered as soon as it is."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

import pytest

from sonata.errors import NotFound, PermanentError
from sonata.ports.fabric import NetworkSpec

from .conftest import World

SOUGHT, SOUGHT_SIX = IPv4Address("10.0.0.50"), IPv6Address("fd00::50")
BOTH = (SOUGHT, SOUGHT_SIX)
SETTLED_S = 0.3


@pytest.fixture
def blue(world: World) -> World:
    """Machines `a` and `b` on the network `blue`, with IPv4 and IPv6."""
    world.pops(1)
    world.fabric.networks.add_networks([NetworkSpec("blue", "p0")])
    for number, name in enumerate("ab", 10):
        port = world.port(name, 0, "blue", f"10.0.0.{number}/24")
        world.machine(name, replace(port, addresses=(*port.addresses, IPv6Interface(f"fd00::{number}/64"))))
    return world


@pytest.fixture
def heard(blue: World) -> Iterator[socket.socket]:
    """Hears who calls on `blue`."""
    with blue.fabric.networks.listen("p0", "blue", BOTH) as opened:
        opened.settimeout(SETTLED_S)
        yield opened


def frames(heard: socket.socket) -> list[bytes]:
    """What was heard."""
    found = []
    with suppress(TimeoutError):
        while True:
            found.append(heard.recv(65536))
    return found


def say(world: World, kind: str, port: int, payload: bytes = b"x") -> None:
    """Send a datagram from `a` to everybody on `blue`."""
    family = socket.AF_INET6 if ":" in kind else socket.AF_INET
    with world.socket("a", family=family) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        sender.sendto(payload, (kind, port))


def test_who_looks_for_an_address_is_heard_and_nobody_else(blue: World, heard: socket.socket) -> None:
    assert blue.reaches("a", "10.0.0.11")
    blue.ping("a", "10.0.0.51", count=1)
    assert frames(heard) == []
    blue.ping("a", SOUGHT, count=1)
    assert frames(heard)[0][38:42] == SOUGHT.packed


@pytest.mark.parametrize(
    ("to", "port", "is_heard"),
    [
        ("255.255.255.255", 67, True),
        ("10.0.0.255", 67, True),
        ("255.255.255.255", 68, False),
        ("10.0.0.11", 67, False),
        ("ff02::1:2", 547, True),
        ("ff02::1:2", 546, False),
    ],
)
def test_who_asks_for_dhcp_is_heard(blue: World, heard: socket.socket, to: str, port: int, is_heard: bool) -> None:
    say(blue, to, port)
    assert len(frames(heard)) == is_heard


def test_neighbours_and_routers_are_solicited_over_ipv6(blue: World, heard: socket.socket) -> None:
    assert blue.run("a", "ping", "-c1", "-W1", "fd00::11").returncode == 0
    blue.run("a", "ping", "-c1", "-W1", "fd00::51")
    assert frames(heard) == []
    blue.run("a", "ping", "-c1", "-W1", str(SOUGHT_SIX))
    assert frames(heard)[0][62:78] == SOUGHT_SIX.packed
    with blue.socket("a", socket.SOCK_RAW, socket.AF_INET6, socket.IPPROTO_ICMPV6) as host:
        host.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        host.sendto(bytes((133, 0, 0, 0, 0, 0, 0, 0)), ("ff02::2", 0))
    (solicitation,) = frames(heard)
    assert solicitation[54] == 133


@pytest.mark.parametrize(
    ("target", "count"),
    [
        (SOUGHT, 1),  # the very first packet gets its answer, though nobody was there when it was sent
        (SOUGHT_SIX, 3),  # the kernel makes an address of IPv6 usable by and by
    ],
)
def test_a_call_that_is_repeated_is_answered(
    blue: World, heard: socket.socket, target: IPv4Address | IPv6Address, count: int
) -> None:
    calling = blue.start_talking("a", "ping", "-n", f"-c{count}", "-W10", str(target))
    heard.settimeout(10)
    call = heard.recv(65536)
    port = blue.port("late", 0, "blue", IPv4Interface((SOUGHT, 24)))
    blue.machine("late", replace(port, addresses=(*port.addresses, IPv6Interface((SOUGHT_SIX, 64)))))
    heard.send(call)
    out, _ = calling.communicate(timeout=30)
    assert b" 0 received" not in out
    heard.settimeout(SETTLED_S)
    assert call not in frames(heard)  # it does not hear itself


def test_only_what_stands_is_listened_to(blue: World) -> None:
    with pytest.raises(NotFound, match="red"):
        blue.fabric.networks.listen("p0", "red", BOTH)
    many = [IPv4Address("10.1.0.0") + number for number in range(5000)]
    with pytest.raises(PermanentError):
        blue.fabric.networks.listen("p0", "blue", many)  # more than the kernel takes
    blue.fabric.networks.listen("p0", "blue", BOTH).close()
    blue.fabric.networks.remove_networks([("p0", "blue")])
