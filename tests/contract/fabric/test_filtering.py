"""Packet filters of ports, judged by what arrives."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from pathlib import Path

import pytest

from sonata.adapters.fabric_linux.world import Port
from sonata.model.topology import Impairment
from sonata.ports.fabric import EXTERNAL, AllowedSource, FilterRule, NetworkSpec, PortFilter, PortSpec

from .conftest import World, external, router_spec, span_of, tenant

TCP, UDP, ICMP = 6, 17, 1
EVERYTHING_OUT = FilterRule("egress")
PING_IN = FilterRule("ingress", protocol=ICMP)


def filter_of(port: PortSpec, *rules: FilterRule, stateful: bool = True, more: Sequence[str] = ()) -> PortFilter:
    sources = [AllowedSource(port.mac, IPv4Network(value.ip)) for value in port.addresses]
    sources += [AllowedSource(port.mac, IPv4Network(one)) for one in more]
    return PortFilter(port.id, tuple(sources), rules, stateful=stateful)


def secure(world: World, port: PortSpec, *rules: FilterRule, stateful: bool = True) -> None:
    world.fabric.filtering.set_filters(port.pop, [filter_of(port, *rules, stateful=stateful)], {})


def pair(world: World, network: str = "blue") -> tuple[PortSpec, PortSpec]:
    """Machines `a` and `b` on one network; what `a` sends is not filtered."""
    tenant(world, 0, network)
    a, b = world.port("a", 0, network, "10.0.0.10/24", "10.0.0.1"), world.port("b", 0, network, "10.0.0.11/24")
    for port in (a, b):
        world.machine(port.machine, port)
    return a, b


def passes(world: World, machine: str, target: IPv4Address | str) -> bool:
    """Whether an address answers soon; most questions here are answered by silence."""
    return world.run(machine, "ping", "-n", "-c1", "-W0.25", str(target)).returncode == 0


def standing_rules(kind: str) -> Iterator[str]:
    """The lines with which sets, tables, ... begin in all network namespaces that this process holds."""
    for descriptor in Path("/proc/self/fd").iterdir():
        if os.path.lexists(descriptor) and os.readlink(descriptor).startswith("net:["):
            inside = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{descriptor.name}", "nft", "list", "ruleset"]
            told = subprocess.run(inside, capture_output=True, text=True, check=True).stdout
            yield from (line.strip() for line in told.splitlines() if line.strip().startswith(f"{kind} "))


def udp_arrives(world: World, sender: str, receiver: str, address: str, number: int = 5000) -> bool:
    """Whether a datagram arrives, and its answer, too."""
    with world.socket(receiver) as there, world.socket(sender) as here:
        there.bind(("0.0.0.0", number))
        there.settimeout(0.2)
        here.settimeout(0.2)
        here.sendto(b"there", (address, number))
        try:
            _, peer = there.recvfrom(100)
            there.sendto(b"back", peer)
            return here.recvfrom(100)[0] == b"back"
        except TimeoutError:
            return False


def connected(world: World, client: str, server: str, address: str, number: int = 80) -> tuple[socket.socket, ...]:
    """Both ends of a TCP connection.

    Raises:
        TimeoutError: it does not come about.
    """
    with world.socket(server, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", number))
        listener.listen()
        here = world.socket(client, socket.SOCK_STREAM)
        here.settimeout(0.25)
        try:
            here.connect((address, number))
        except OSError:
            here.close()
            raise
        there, _ = listener.accept()
        there.settimeout(0.25)
        return here, there


def close(*ends: socket.socket) -> None:
    for end in ends:
        # An end whose peer cannot be told would linger for minutes.
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        end.close()


def test_answers_pass_and_strangers_do_not(world: World) -> None:
    world.pops(1)
    a, b = pair(world)
    for port in (a, b):
        secure(world, port, EVERYTHING_OUT)
    assert not passes(world, "a", "10.0.0.11")
    assert not udp_arrives(world, "a", "b", "10.0.0.11")
    with pytest.raises(TimeoutError):
        connected(world, "a", "b", "10.0.0.11")
    secure(world, b, EVERYTHING_OUT, PING_IN, FilterRule("ingress", protocol=UDP, ports=(5000, 5001)))
    assert passes(world, "a", "10.0.0.11")
    assert not passes(world, "b", "10.0.0.10")
    assert udp_arrives(world, "a", "b", "10.0.0.11", 5001)
    assert not udp_arrives(world, "a", "b", "10.0.0.11", 5002)
    assert not udp_arrives(world, "b", "a", "10.0.0.10", 5001)


def test_a_refused_packet_opens_no_way_back(world: World) -> None:
    """What a filter has dropped is no connection: its receiver may not send on the strength of it."""
    world.pops(1)
    a, b = pair(world)
    secure(world, a, EVERYTHING_OUT)
    secure(world, b)
    with world.socket("a") as here, world.socket("b") as there:
        here.bind(("10.0.0.10", 4000))
        there.bind(("10.0.0.11", 5000))
        here.settimeout(0.2)
        here.sendto(b"refused", ("10.0.0.11", 5000))
        there.sendto(b"not an answer", ("10.0.0.10", 4000))
        with pytest.raises(TimeoutError):
            here.recv(100)


def test_a_rule_that_goes_ends_its_connections(world: World) -> None:
    world.pops(1)
    _, b = pair(world)
    web = FilterRule("ingress", protocol=TCP, ports=(80, 80), remote=IPv4Network("10.0.0.0/28"))
    secure(world, b, web)
    here, there = connected(world, "a", "b", "10.0.0.11")
    here.sendall(b"one")
    assert there.recv(10) == b"one"
    there.sendall(b"two")
    assert here.recv(10) == b"two"
    secure(world, b, EVERYTHING_OUT)
    here.sendall(b"three")
    with pytest.raises(TimeoutError):
        there.recv(10)
    close(here, there)
    with pytest.raises(TimeoutError):
        connected(world, "a", "b", "10.0.0.11")


def test_errors_about_a_connection_come_back(world: World) -> None:
    """ICMP errors: from the host that has no such port, and from the router that knows no way."""
    world.pops(1)
    a, b = pair(world)
    secure(world, a, EVERYTHING_OUT)
    secure(world, b, FilterRule("ingress", protocol=UDP))  # it may not send on its own account
    with world.socket("a") as here:
        here.connect(("10.0.0.11", 9))
        here.settimeout(1)
        here.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            here.recv(10)
    told = world.run("a", "ping", "-n", "-c1", "-t1", "-W1", "100.64.0.1").stdout
    assert "Time to live exceeded" in told


def test_rules_name_members_of_groups(world: World) -> None:
    world.pops(1)
    _, b = pair(world)
    from_group = FilterRule("ingress", members="friends")
    world.fabric.filtering.set_filters("p0", [filter_of(b, from_group)], {})
    assert not passes(world, "a", "10.0.0.11")
    world.fabric.filtering.set_filters("p0", [], {"friends": [IPv4Network("10.0.0.10/32")]})
    assert passes(world, "a", "10.0.0.11")
    world.fabric.filtering.set_filters("p0", [], {"friends": [IPv4Network("10.0.0.12/31"), IPv4Network("10.0.0.13")]})
    assert not passes(world, "a", "10.0.0.11")


def test_rules_of_each_kind(world: World) -> None:
    """TCP by port, ICMP by type, remote by prefix, and no rule for the other version of IP lets IPv4 pass."""
    world.pops(1)
    a, b = pair(world)
    secure(world, b, FilterRule("ingress", protocol=TCP, ports=(8000, 8080)))
    close(*connected(world, "a", "b", "10.0.0.11", 8080))
    with pytest.raises(TimeoutError):
        connected(world, "a", "b", "10.0.0.11", 8081)
    secure(world, b, FilterRule("ingress", protocol=ICMP, ports=(13, -1)))
    assert not passes(world, "a", "10.0.0.11")
    secure(world, b, FilterRule("ingress", protocol=ICMP, ports=(8, 0)))
    assert passes(world, "a", "10.0.0.11")
    secure(world, b, FilterRule("ingress", version=6))
    assert not passes(world, "a", "10.0.0.11")
    secure(world, b, PING_IN)
    secure(world, a, FilterRule("egress", remote=IPv4Network("10.0.0.0/29")))
    assert not passes(world, "a", "10.0.0.11")
    secure(world, a, FilterRule("egress", remote=IPv4Network("10.0.0.8/29")))
    assert passes(world, "a", "10.0.0.11")
    world.fabric.filtering.remove_filters("p0", [a.id, b.id])
    assert passes(world, "b", "10.0.0.10")


def test_a_stateless_filter_needs_rules_for_both_directions(world: World) -> None:
    world.pops(1)
    _, b = pair(world)
    secure(world, b, PING_IN, stateful=False)
    assert not passes(world, "a", "10.0.0.11")
    secure(world, b, PING_IN, FilterRule("egress", protocol=ICMP), stateful=False)
    assert passes(world, "a", "10.0.0.11")


def test_senders_are_who_they_say(world: World) -> None:
    world.pops(1)
    a, _ = pair(world)
    secure(world, a, EVERYTHING_OUT, PING_IN)
    assert passes(world, "a", "10.0.0.11")
    assert passes(world, "b", "10.0.0.10")
    world.run("a", "ip", "address", "add", "10.0.0.66/24", "dev", "eth0")
    ping = ("ping", "-n", "-c1", "-W0.25", "-I", "10.0.0.66", "10.0.0.11")
    assert world.run("a", *ping).returncode != 0
    # Its ARP lies, too: nobody learns the address.
    assert not passes(world, "b", "10.0.0.66")
    assert "lladdr" not in world.run("b", "ip", "neighbour", "show", "10.0.0.66").stdout
    world.fabric.filtering.set_filters("p0", [filter_of(a, EVERYTHING_OUT, PING_IN, more=["10.0.0.64/29"])], {})
    world.run("b", "ip", "neighbour", "flush", "all")
    assert world.run("a", *ping).returncode == 0
    world.run("a", "ip", "link", "set", "eth0", "address", "02:00:00:00:99:99")
    assert not passes(world, "a", "10.0.0.11")


def test_nobody_plays_dhcp_server(world: World) -> None:
    world.pops(1)
    a, b = pair(world)
    secure(world, b)  # a server's answer reaches a client whatever its rules are
    with world.socket("a") as server, world.socket("b") as client:
        server.bind(("10.0.0.10", 67))
        client.bind(("0.0.0.0", 68))
        client.settimeout(0.2)
        server.sendto(b"offer", ("10.0.0.11", 68))
        assert client.recv(10) == b"offer"
        secure(world, a, EVERYTHING_OUT)
        server.sendto(b"offer", ("10.0.0.11", 68))
        with pytest.raises(TimeoutError):
            client.recv(10)


def test_networks_with_equal_addresses_are_tracked_apart(world: World) -> None:
    world.pops(1)
    for name in ("blue", "red"):
        world.fabric.networks.add_networks([NetworkSpec(name, "p0")])
        for host, number in (("a", 10), ("b", 11)):
            port = world.port(f"{name}-{host}", 0, name, f"10.0.0.{number}/24")
            world.machine(port.machine, port)
            secure(world, port, *([EVERYTHING_OUT] if host == "a" else [FilterRule("ingress", protocol=UDP)]))
    with world.socket("blue-a") as here, world.socket("red-b") as there, world.socket("red-a") as stranger:
        here.bind(("10.0.0.10", 4000))
        here.sendto(b"x", ("10.0.0.11", 4001))
        stranger.bind(("10.0.0.10", 4000))
        stranger.settimeout(0.2)
        there.bind(("10.0.0.11", 4001))
        there.sendto(b"an answer to somebody else", ("10.0.0.10", 4000))
        with pytest.raises(TimeoutError):
            stranger.recv(100)


def test_floating_addresses_and_other_pops(world: World) -> None:
    world.line(2)
    tenant(world, 0, "blue")
    floating = external(0, 150).ip
    inner = IPv4Address("10.0.0.10")
    world.fabric.networks.set_router(router_spec(0, [("blue", "10.0.0.0/24")], {floating: inner}))
    port = world.port("server", 0, "blue", "10.0.0.10/24", "10.0.0.1")
    secure(world, port, EVERYTHING_OUT)  # told before it is plugged in
    world.machine("server", port)
    user = world.host("user", 1)
    assert passes(world, "server", user)
    assert not passes(world, "user", floating)
    secure(world, port, EVERYTHING_OUT, FilterRule("ingress", protocol=ICMP, remote=IPv4Network(user)))
    assert passes(world, "user", floating)


def test_spans_are_filtered_at_both_ends(world: World) -> None:
    world.line(2)
    stations = {}
    for pop in (0, 1):
        world.fabric.networks.add_networks([NetworkSpec("blue", f"p{pop}")])
        port = world.port(f"m{pop}", pop, "blue", f"10.0.0.{10 + pop}/24")
        secure(world, port, EVERYTHING_OUT, *([PING_IN] if pop else []))
        world.machine(port.machine, port)
        stations[pop] = [port.mac]
    world.fabric.networks.set_span(span_of(world, "blue", stations))
    assert passes(world, "m0", "10.0.0.11")
    assert not passes(world, "m1", "10.0.0.10")


def test_a_port_on_the_external_network(world: World) -> None:
    """The PoP's own router is its neighbour: what it forwards does not pass the bridge."""
    world.line(2)
    here, user = external(0, 40), world.host("user", 1)
    port = world.port("server", 0, EXTERNAL, IPv4Interface(here), external(0).ip)
    secure(world, port, EVERYTHING_OUT)
    world.machine("server", port)
    neighbour = world.host("neighbour", 0)
    for other in (user, neighbour, external(0).ip):
        assert passes(world, "server", other)
    assert not passes(world, "user", here.ip)
    assert not passes(world, "neighbour", here.ip)
    secure(world, port, EVERYTHING_OUT, PING_IN)
    assert passes(world, "user", here.ip)
    assert passes(world, "neighbour", here.ip)
    secure(world, port, PING_IN)
    assert not passes(world, "server", user)
    assert passes(world, "user", here.ip)


def test_filters_survive_what_happens_to_a_port(world: World) -> None:
    """Its link is impaired, so that its interface is replaced; it is unplugged, and another one comes."""
    world.pops(1)
    a, b = pair(world)
    secure(world, b, EVERYTHING_OUT, PING_IN)
    world.fabric.underlay.set_link(b.id, Impairment(delay_s=0.002))
    assert passes(world, "a", "10.0.0.11")
    assert not udp_arrives(world, "a", "b", "10.0.0.11")
    world.run("b", "ip", "link", "set", "eth0", "address", "02:00:00:00:99:99")
    assert not passes(world, "b", "10.0.0.10")
    world.fabric.machines.remove_ports([b.id])
    world.fabric.machines.add_ports([b])
    assert udp_arrives(world, "a", "b", "10.0.0.11")  # a filter goes with the port
    secure(world, b, EVERYTHING_OUT)
    assert not passes(world, "a", "10.0.0.11")
    assert a.id != b.id


def test_filters_that_go_leave_nothing(world: World) -> None:
    """Sets of addresses go with the last rule that names them, and the rest with the last filter."""
    world.pops(1)
    a, b = pair(world)
    before = set(standing_rules("table"))
    from_group = FilterRule("ingress", members="friends")
    friends = {"friends": [IPv4Network("10.0.0.10/32")]}
    world.fabric.filtering.set_filters("p0", [filter_of(a, EVERYTHING_OUT), filter_of(b, from_group)], friends)
    assert [one for one in standing_rules("set") if "members" in one]
    secure(world, b, PING_IN)
    assert not [one for one in standing_rules("set") if "members" in one]
    assert set(standing_rules("table")) > before
    world.fabric.filtering.remove_filters("p0", [a.id])
    world.fabric.machines.remove_ports([b.id])
    assert set(standing_rules("table")) == before
    world.fabric.machines.add_ports([b])
    world.fabric.filtering.set_filters("p0", [filter_of(b, from_group)], friends)
    assert passes(world, "a", "10.0.0.11")


ICMPV6, ECHO = 58, (128, -1)
OUT6, PING6_IN = FilterRule("egress", 6), FilterRule("ingress", 6, ICMPV6, ECHO)


def pair6(world: World) -> tuple[PortSpec, PortSpec]:
    """Machines `a` and `b` with IPv6 addresses alone on one network; nothing is filtered yet."""
    world.pops(1)
    tenant(world, 0, "blue")
    ports = []
    for name, host in (("a", 10), ("b", 11)):
        port = replace(world.port(name, 0, "blue", "10.0.0.9/24"), addresses=(IPv6Interface(f"fd00:1::{host}/64"),))
        world.machine(name, port)
        ports.append(port)
    return ports[0], ports[1]


def secure6(world: World, port: PortSpec, *rules: FilterRule) -> None:
    sources = tuple(AllowedSource(port.mac, IPv6Network(value.ip)) for value in port.addresses)
    world.fabric.filtering.set_filters(port.pop, [PortFilter(port.id, sources, rules)], {})


def tcp6_connects(world: World, number: int) -> bool:
    """Whether `a` reaches a port of `b`, and bytes come back."""
    with (
        world.socket("b", socket.SOCK_STREAM, socket.AF_INET6) as listener,
        world.socket("a", socket.SOCK_STREAM, socket.AF_INET6) as here,
    ):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("::", number))
        listener.listen()
        here.settimeout(0.25)
        try:
            here.connect(("fd00:1::11", number))
        except OSError:
            return False
        there, _ = listener.accept()
        there.sendall(b"six")
        told = here.recv(3) == b"six"
        close(there)
        return told


def test_ipv6_is_filtered_by_its_own_rules(world: World) -> None:
    a, b = pair6(world)
    assert passes(world, "a", "fd00:1::11")
    secure6(world, a, OUT6)
    secure6(world, b, OUT6, PING_IN, FilterRule("ingress", protocol=TCP))  # rules for IPv4 say nothing here
    assert not passes(world, "a", "fd00:1::11")
    assert not tcp6_connects(world, 80)
    # Neighbours are found whatever the rules are.
    assert b.mac in world.run("a", "ip", "-6", "neighbour", "show", "fd00:1::11").stdout
    secure6(world, b, OUT6, PING6_IN, FilterRule("ingress", 6, TCP, (80, 80), IPv6Network("fd00:1::10/128")))
    assert passes(world, "a", "fd00:1::11")
    assert not passes(world, "b", "fd00:1::10")
    assert tcp6_connects(world, 80)
    assert not tcp6_connects(world, 81)
    secure6(world, b, OUT6, FilterRule("ingress", 6, TCP, (80, 80), IPv6Network("fd00:1::99/128")))
    assert not tcp6_connects(world, 80)


def test_ipv6_senders_are_who_they_say(world: World) -> None:
    a, _ = pair6(world)
    secure6(world, a, OUT6)
    world.run("a", "ip", "address", "add", "fd00:1::66/64", "dev", "eth0", "nodad")
    own, forged = (("ping", "-n", "-c1", "-W0.25", "-I", one, "fd00:1::11") for one in ("fd00:1::10", "fd00:1::66"))
    assert world.run("a", *own).returncode == 0
    assert world.run("a", *forged).returncode != 0
    secure6(world, replace(a, addresses=(*a.addresses, IPv6Interface("fd00:1::66/64"))), OUT6)
    assert world.run("a", *forged).returncode == 0


def test_nobody_plays_ipv6_router(world: World) -> None:
    a, _ = pair6(world)
    with (
        world.socket("a", socket.SOCK_RAW, socket.AF_INET6, socket.IPPROTO_ICMPV6) as router,
        world.socket("b", socket.SOCK_RAW, socket.AF_INET6, socket.IPPROTO_ICMPV6) as host,
    ):
        router.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        router.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        host.settimeout(0.25)

        def advertised() -> bool:
            router.sendto(bytes((134, 0)) + bytes(14), ("ff02::1", 0))
            try:
                while host.recv(100)[0] != 134:
                    pass
            except TimeoutError:
                return False
            return True

        assert advertised()
        secure6(world, a, OUT6)
        assert not advertised()


def test_the_rules_of_many_ports_share_few_tables(world: World) -> None:
    """Every table makes the next change slower, since the library reads each by itself."""
    world.pops(1)
    tenant(world, 0, "blue")
    ports = [world.port(f"m{number}", 0, "blue", f"10.0.0.{10 + number}/24", "10.0.0.1") for number in range(4)]
    tables = []
    for port in ports:
        secure(world, port, EVERYTHING_OUT)
        world.machine(port.machine, port)
        tables.append(sorted(standing_rules("table")))
    assert tables[0] == tables[-1]


def test_forged_senders_are_stopped_before_the_first_packet_passes(world: World) -> None:
    world.pops(1)
    pair(world)
    late = world.port("late", 0, "blue", "10.0.0.12/24", "10.0.0.1")
    world.fabric.machines.add_machines(["late"])
    secure(world, late, EVERYTHING_OUT)
    seen: list[tuple[bool, bool]] = []

    def look(ports: Sequence[Port]) -> None:
        (name,) = (port.cable.a.ifname for port in ports)
        is_guarded = any(name in rule and "guard" in rule for rule in standing_rules("chain"))
        seen.append((is_guarded, "state DOWN" in world.run_in_pop("p0", "ip", "-o", "link", "show", name)))

    world.fabric._world.before_ports.append(look)  # nothing else is called at the moment between there and up
    world.fabric.machines.add_ports([late])
    assert seen == [(True, True)]
