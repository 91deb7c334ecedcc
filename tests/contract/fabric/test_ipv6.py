"""IPv6 in networks and through routers, next to IPv4; what changes while machines run."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_interface, ip_network

import pytest

from sonata.errors import Conflict, NotFound
from sonata.ports.fabric import Forwarding, NetworkSpec, PortSpec, Route, RouterInterface, RouterSpec

from .conftest import World, external


def dual(world: World, name: str, number: int, host: int) -> PortSpec:
    """A port of network `n<number>` with an address of each version."""
    return replace(
        world.port(name, 0, f"n{number}", f"10.0.{number}.{host}/24", f"10.0.{number}.1"),
        addresses=(ip_interface(f"10.0.{number}.{host}/24"), ip_interface(f"fd00:{number}::{host}/64")),
        gateway6=IPv6Address(f"fd00:{number}::1"),
    )


def two_networks(world: World) -> RouterSpec:
    """Machines `a` in network n0 and `b` in n1, each with both versions, and a router between."""
    world.pops(1)
    world.fabric.networks.add_networks([NetworkSpec(f"n{number}", "p0") for number in (0, 1)])
    legs = tuple(
        RouterInterface(
            f"leg{number}",
            f"n{number}",
            ip_interface(f"10.0.{number}.1/24"),
            f"02:00:01:00:00:{number:02x}",
            (ip_interface(f"fd00:{number}::1/64"),),
        )
        for number in (0, 1)
    )
    router = RouterSpec("r", "p0", legs)
    world.fabric.networks.set_router(router)
    world.machine("a", dual(world, "a", 0, 5))
    world.machine("b", dual(world, "b", 1, 5))
    return router


def tcp_works(world: World, server: str, client: str, address: str) -> bool:
    """Whether a connection carries bytes both ways."""
    listen = (
        "import socket,sys;s=socket.create_server(('::',7000),family=socket.AF_INET6);print(1,flush=True);"
        "c,_=s.accept();c.sendall(c.recv(9))"
    )
    dial = f"import socket;s=socket.create_connection(('{address}',7000),5);s.sendall(b'over six');print(s.recv(9))"
    daemon = world.start_talking(server, "python3", "-c", listen)
    assert daemon.stdout is not None
    assert daemon.stdout.readline()
    return "over six" in world.run(client, "python3", "-c", dial).stdout


def test_both_versions_pass_between_networks_at_once(world: World) -> None:
    two_networks(world)
    assert world.reaches("a", "fd00:1::5")
    assert world.reaches("a", "10.0.1.5")
    assert world.reaches("b", "fd00::5")
    assert tcp_works(world, "b", "a", "fd00:1::5")


def test_an_interface_without_ipv6_address_has_no_ipv6(world: World) -> None:
    two_networks(world)
    world.machine("old", world.port("old", 0, "n0", "10.0.0.9/24"))
    assert world.run("old", "ip", "-6", "addr").stdout == ""
    assert not world.reaches("a", "fd00::9")


def test_addresses_and_routes_of_a_running_machine_change_in_place(world: World) -> None:
    two_networks(world)
    before = world.run("a", "cat", "/sys/class/net/eth0/ifindex").stdout
    spec = dual(world, "a", 0, 5)
    standing = replace(spec, mac="02:00:00:00:00:01")
    changed = replace(
        standing,
        addresses=(ip_interface("10.0.0.77/24"), ip_interface("fd00::77/64")),
        routes=(Route(ip_network("192.0.2.0/24"), ip_address("10.0.0.5")),),
    )
    world.fabric.machines.change_ports([changed])
    assert world.run("a", "cat", "/sys/class/net/eth0/ifindex").stdout == before
    shown = world.run("a", "ip", "addr", "show", "eth0").stdout
    assert "10.0.0.77/24" in shown
    assert "10.0.0.5/24" not in shown
    assert world.reaches("b", "fd00::77")
    assert world.reaches("b", "10.0.0.77")
    assert not world.reaches("b", "fd00::5")
    assert "192.0.2.0/24 via 10.0.0.5" in world.run("a", "ip", "route").stdout
    world.fabric.machines.change_ports([replace(changed, gateway=None, gateway6=None, routes=())])
    assert "default" not in world.run("a", "ip", "route").stdout
    assert "default" not in world.run("a", "ip", "-6", "route").stdout
    with pytest.raises(Conflict, match="stands otherwise"):
        world.fabric.machines.change_ports([replace(changed, ifname="eth7")])
    with pytest.raises(NotFound, match="no port"):
        world.fabric.machines.change_ports([replace(changed, id="nobody")])


def test_ports_and_networks_that_are_down_pass_nothing(world: World) -> None:
    two_networks(world)
    spec = replace(dual(world, "a", 0, 5), mac="02:00:00:00:00:01")
    world.fabric.machines.change_ports([replace(spec, up=False)])
    assert not world.reaches("b", "fd00::5")
    world.fabric.machines.change_ports([spec])
    assert world.reaches("b", "fd00::5")
    assert world.reaches("b", "10.0.0.5")
    world.fabric.networks.change_network(NetworkSpec("n0", "p0", up=False))
    assert not world.reaches("b", "10.0.0.5")
    world.fabric.networks.change_network(NetworkSpec("n0", "p0", mtu=1400))
    assert world.reaches("b", "10.0.0.5")
    assert "mtu 1400" in world.run("a", "ip", "link", "show", "eth0").stdout


def test_a_router_takes_routes_and_forwards_ports(world: World) -> None:
    router = two_networks(world)
    outside = world.host("outside", 0)
    world.run("b", "ip", "addr", "add", "203.0.113.7/32", "dev", "lo")
    world.run("b", "ip", "addr", "add", "fd00:9::1/128", "dev", "lo")
    assert not world.reaches("a", "203.0.113.7")
    routes = (
        Route(ip_network("203.0.113.0/24"), ip_address("10.0.1.5")),
        Route(IPv6Network("fd00:9::/64"), IPv6Address("fd00:1::5")),
    )
    world.fabric.networks.set_router(replace(router, routes=routes))
    assert world.reaches("a", "203.0.113.7")
    assert world.reaches("a", "fd00:9::1")
    floating = external(0, 200).ip
    connected = replace(
        router,
        external=external(0, 100),
        external_mac="02:00:02:00:00:01",
        external_gateway=external(0).ip,
        forwardings=(
            Forwarding(floating, (8000, 8000), "tcp", IPv4Address("10.0.1.5"), (7000, 7000)),
            Forwarding(floating, (9000, 9002), "udp", IPv4Address("10.0.1.5"), (5000, 5002)),
        ),
    )
    world.fabric.networks.set_router(connected)
    assert not world.reaches("a", "203.0.113.7")
    listen = "import socket;s=socket.create_server(('',7000));print(1,flush=True);c,_=s.accept();c.sendall(b'hello')"
    daemon = world.start_talking("b", "python3", "-c", listen)
    assert daemon.stdout is not None
    assert daemon.stdout.readline()
    dial = f"import socket;s=socket.create_connection(('{floating}',8000),5);print(s.recv(9))"
    assert "hello" in world.run("outside", "python3", "-c", dial).stdout
    with world.socket("b") as inner, world.socket("outside") as client:
        inner.bind(("10.0.1.5", 5001))
        client.sendto(b"second", (str(floating), 9001))
        assert inner.recv(16) == b"second"
    assert world.reaches("a", outside)
    world.fabric.networks.set_router(replace(connected, snat=False))
    assert not world.reaches("a", outside)
