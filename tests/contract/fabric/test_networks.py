"""Spans over PoPs, routers and floating addresses."""

from __future__ import annotations

import socket
import struct
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from sonata.errors import Conflict, InvalidInput, NotFound
from sonata.model.topology import Impairment
from sonata.ports.fabric import ChainSpec, Classifier, Hop, HopPort, LinkSpec, NetworkSpec, PatchSpec

from .conftest import World, external, over, router_spec, span_of, tenant


def spanned(world: World, pops: int = 2) -> dict[int, list[str]]:
    """A network `blue` over PoPs, a machine `m<i>` with address .10+i in each; returns the stations."""
    stations: dict[int, list[str]] = {}
    for pop in range(pops):
        world.fabric.networks.add_networks([NetworkSpec("blue", f"p{pop}")])
        port = world.port(f"m{pop}", pop, "blue", f"10.0.0.{10 + pop}/24")
        world.machine(f"m{pop}", port)
        stations[pop] = [port.mac]
    return stations


def test_a_span_joins_networks_of_three_pops(world: World) -> None:
    world.line(3)
    stations = spanned(world, 3)
    assert not world.reaches("m0", "10.0.0.11")
    world.fabric.networks.set_span(span_of(world, "blue", stations))
    # Else packets wait for an answer to what was asked before, and go with it when there is none.
    assert world.run("m0", "ip", "neigh", "flush", "all").returncode == 0
    for target in ("10.0.0.11", "10.0.0.12"):
        assert world.ping("m0", target).received == 3
    # Full frames pass: the underlay has room for the tunnel's header.
    assert world.run("m0", "ping", "-c1", "-W1", "-Mdo", "-s1472", "10.0.0.12").returncode == 0


def test_a_span_suffers_from_the_links_below(world: World) -> None:
    world.line(2, Impairment(delay_s=0.02))
    world.fabric.networks.set_span(span_of(world, "blue", spanned(world)))
    assert world.ping("m0", "10.0.0.11", count=5).best_s >= 0.04


def test_spans_with_equal_addresses_are_apart(world: World) -> None:
    world.line(2)
    world.fabric.networks.set_span(span_of(world, "blue", spanned(world)))
    for pop in (0, 1):
        world.fabric.networks.add_networks([NetworkSpec("red", f"p{pop}")])
    world.machine("red0", world.port("red0", 0, "red", "10.0.0.10/24"))
    world.machine("red1", world.port("red1", 1, "red", "10.0.0.12/24"))
    with pytest.raises(Conflict, match="VNI"):
        world.fabric.networks.set_span(span_of(world, "red", {0: [], 1: []}))
    world.fabric.networks.set_span(replace(span_of(world, "red", {0: [], 1: []}), vni=99))
    assert world.reaches("red0", "10.0.0.12")  # by broadcast: its station was not told
    assert not world.reaches("red0", "10.0.0.11")


def test_a_span_follows_its_members_and_stations(world: World) -> None:
    world.line(3)
    stations = spanned(world, 3)
    span = span_of(world, "blue", stations)
    world.fabric.networks.set_span(span)
    two = span_of(world, "blue", {0: stations[0], 1: stations[1]})
    world.fabric.networks.set_span(two)
    assert world.reaches("m0", "10.0.0.11")
    assert not world.reaches("m0", "10.0.0.12")
    # The station moves from PoP 1 to PoP 2, with its address and MAC.
    world.fabric.machines.remove_machines(["m1"])
    moved = replace(world.port("m1", 2, "blue", "10.0.0.11/24"), mac=stations[1][0])
    world.machine("m1", moved)
    world.fabric.networks.set_span(span_of(world, "blue", {0: stations[0], 1: [], 2: stations[2] + stations[1]}))
    assert world.reaches("m0", "10.0.0.11")
    world.fabric.networks.remove_span("span-blue")
    world.fabric.networks.remove_span("span-blue")
    assert not world.reaches("m0", "10.0.0.11")
    assert world.reaches("m2", "10.0.0.11")  # the networks stay
    with pytest.raises(InvalidInput, match="VNI"):
        world.fabric.networks.set_span(replace(span, vni=0))


def forged(inner_mac: str, vni: int, payload: bytes) -> bytes:
    """A datagram that looks like a tunnel's: VXLAN, Ethernet, IPv4 and UDP to 10.0.0.11:5000."""
    udp = struct.pack("!HHHH", 5000, 5000, 8 + len(payload), 0) + payload
    addresses = IPv4Address("10.0.0.66").packed + IPv4Address("10.0.0.11").packed
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + addresses
    words = sum(struct.unpack("!10H", header))
    checksum = ~((words & 0xFFFF) + (words >> 16)) & 0xFFFF
    header = header[:10] + struct.pack("!H", checksum) + header[12:]
    ethernet = bytes.fromhex(inner_mac.replace(":", "")) + bytes.fromhex("020000000066") + b"\x08\x00"
    return struct.pack("!II", 0x08000000, vni << 8) + ethernet + header + udp


@pytest.mark.parametrize("attacker_pop", [0, 1, 2])
@pytest.mark.parametrize("source", [None, "100.64.0.1"])
def test_nobody_outside_can_talk_into_a_tunnel(world: World, attacker_pop: int, source: str | None) -> None:
    """Frames that an endpoint wraps up as a tunnel would are refused, from any PoP, also under a forged address."""
    world.line(3)
    stations = spanned(world)
    world.fabric.networks.set_span(span_of(world, "blue", stations))
    world.host("attacker", attacker_pop, 66)
    world.host("witness", 1, 67)
    victim, witness = world.socket("m1"), world.socket("witness")
    with victim, witness:
        victim.bind(("10.0.0.11", 5000))
        witness.bind((str(external(1, 67).ip), 4789))
        attacker = attacking_socket(world, source)
        with attacker:
            frame = forged(stations[1][0], 4711, b"evil")
            for _ in range(3):
                attacker.sendto(frame, ("100.64.1.1", 4789))
        with world.socket("attacker") as honest:
            honest.sendto(b"mine", (str(external(1, 67).ip), 4789))
        # Users' own tunnels are their own affair; and with this datagram the forged ones are through, too.
        assert witness.recv(16) == b"mine"
        victim.settimeout(0.3)
        with pytest.raises(TimeoutError):
            victim.recv(16)
    assert world.reaches("m0", "10.0.0.11")


def test_pops_that_come_after_the_span_are_guarded_too(world: World) -> None:
    world.line(2)
    stations = spanned(world)
    world.fabric.networks.set_span(span_of(world, "blue", stations))
    world.pops(3)
    world.fabric.underlay.add_links([LinkSpec("late", "p1", "p2", over(5, 0), over(5, 1))])
    world.fabric.underlay.set_routes("p2", {external(1).network: over(5, 0).ip})
    back = {external(0).network: over(0, 0).ip, external(2).network: over(5, 1).ip}
    world.fabric.underlay.set_routes("p1", back)
    world.host("attacker", 2, 66)
    assert world.reaches("attacker", external(1).ip)
    with world.socket("m1") as victim, world.socket("attacker") as attacker:
        victim.bind(("10.0.0.11", 5000))
        for _ in range(3):
            attacker.sendto(forged(stations[1][0], 4711, b"evil"), ("100.64.1.1", 4789))
        victim.settimeout(0.3)
        with pytest.raises(TimeoutError):
            victim.recv(16)


def attacking_socket(world: World, source: str | None) -> socket.socket:
    if source:
        assert world.run("attacker", "ip", "addr", "add", f"{source}/32", "dev", "lo").returncode == 0
    made = world.socket("attacker")
    if source:
        made.bind((source, 4790))
    return made


def led_out(world: World, machine: str, network: str, target: str) -> bool:
    """Whether a datagram comes out that a machine hands to the PoP which carries its network, instead of a router."""
    bridge = world.fabric._world.bridge("p0", network)
    nobody = "10.0.0.99"
    assert world.run(machine, "ip", "neigh", "replace", nobody, "lladdr", bridge.mac, "dev", "eth0").returncode == 0
    assert (
        world.run(machine, "ip", "route", "replace", "default", "via", nobody, "onlink", "dev", "eth0").returncode == 0
    )
    with world.socket(target) as witness, world.socket(machine) as attacker:
        witness.bind(("", 5000))
        attacker.sendto(b"evil", (str(external(1, 10).ip), 5000))
        witness.settimeout(0.3)
        try:
            return witness.recv(16) == b"evil"
        except TimeoutError:
            return False


def test_a_network_without_router_leads_nowhere(world: World) -> None:
    """Also not for who knows the MAC address of the bridge."""
    world.line(2)
    world.host("far", 1)
    spanned(world)
    assert not led_out(world, "m0", "blue", "far")
    chain = ChainSpec("chain", "p0", (Classifier(source_port_id="m0-eth0", protocol="tcp"),), ())
    hop = HopPort(world.port("function", 0, "blue", "10.0.0.20/24").mac, "blue", "m0-eth0")
    world.fabric.steering.set_chain(replace(chain, hops=(Hop(hop, hop),)))
    assert not led_out(world, "m0", "blue", "far")


def test_a_router_hides_inner_sources_and_no_others(world: World) -> None:
    world.line(2)
    world.host("user", 0)
    target = world.host("origin", 1)
    tenant(world, 0, "blue")
    world.machine("web", world.port("web", 0, "blue", "10.0.0.5/24", "10.0.0.1"))
    assert world.ping("web", target).received == 3
    assert seen_source(world, "web", "origin", target) == str(external(0, 200).ip)
    assert not world.reaches("origin", "10.0.0.5")


def seen_source(world: World, client: str, server: str, target: IPv4Address) -> str:
    receiver, sender = world.socket(server), world.socket(client)
    with receiver, sender:
        receiver.bind((str(target), 5000))
        sender.sendto(b"who am I", (str(target), 5000))
        return str(receiver.recvfrom(16)[1][0])


def test_a_floating_address_works_both_ways_and_can_move(world: World) -> None:
    world.line(2)
    world.host("user", 1)
    tenant(world, 0, "blue")
    for name, number in (("web", 5), ("spare", 6)):
        world.machine(name, world.port(name, 0, "blue", f"10.0.0.{number}/24", "10.0.0.1"))
    floating = external(0, 100).ip
    networks = [("blue", "10.0.0.0/24")]
    set_router = world.fabric.networks.set_router
    set_router(router_spec(0, networks, {floating: IPv4Address("10.0.0.5")}))
    before = world.received("web-eth0", "spare-eth0")
    assert world.ping("user", floating).received == 3
    assert world.received("web-eth0")["web-eth0"] >= before["web-eth0"] + 3
    assert seen_source(world, "web", "user", external(1, 10).ip) == str(floating)
    assert seen_source(world, "spare", "user", external(1, 10).ip) == str(external(0, 200).ip)
    assert world.reaches("spare", floating)  # from inside, too
    set_router(router_spec(0, networks, {floating: IPv4Address("10.0.0.6")}))
    before = world.received("spare-eth0")
    assert world.ping("user", floating).received == 3
    assert world.received("spare-eth0")["spare-eth0"] >= before["spare-eth0"] + 3
    set_router(router_spec(0, networks))
    assert not world.reaches("user", floating)


def test_a_router_keeps_its_connections_while_legs_come_and_go(world: World) -> None:
    world.pops(1)
    tenant(world, 0, "blue")
    world.machine("web", world.port("web", 0, "blue", "10.0.0.5/24", "10.0.0.1"))
    user = world.host("user", 0)
    with connection(world, user) as (near, far):
        world.fabric.networks.add_networks([NetworkSpec("red", "p0")])
        both = [("blue", "10.0.0.0/24"), ("red", "10.0.1.0/24")]
        world.fabric.networks.set_router(router_spec(0, both))
        world.machine("db", world.port("db", 0, "red", "10.0.1.5/24", "10.0.1.1"))
        assert world.reaches("web", "10.0.1.5")
        near.sendall(b"still here")
        assert far.recv(16) == b"still here"
        world.fabric.networks.set_router(router_spec(0, both[:1]))
        assert not world.reaches("web", "10.0.1.5")
        near.sendall(b"and now")
        assert far.recv(16) == b"and now"
    world.fabric.networks.remove_router("router-0")
    world.fabric.networks.remove_router("router-0")
    assert not world.reaches("web", user)


class connection:
    """A TCP connection from `web` to `user`."""

    def __init__(self, world: World, target: IPv4Address) -> None:
        self._world, self._target = world, target

    def __enter__(self) -> tuple[socket.socket, socket.socket]:
        server = self._world.socket("user", socket.SOCK_STREAM)
        server.bind((str(self._target), 5000))
        server.listen()
        near = self._world.socket("web", socket.SOCK_STREAM)
        near.connect((str(self._target), 5000))
        far, _ = server.accept()
        far.settimeout(5)
        self._sockets = (server, near, far)
        return near, far

    def __exit__(self, *_exc: object) -> None:
        for each in self._sockets:
            each.close()


def test_a_router_without_an_outside_forwards_untouched(world: World) -> None:
    world.pops(1)
    for name in ("blue", "red"):
        world.fabric.networks.add_networks([NetworkSpec(name, "p0")])
    inner = replace(router_spec(0, [("blue", "10.0.0.0/24"), ("red", "10.0.1.0/24")]), external=None)
    world.fabric.networks.set_router(inner)
    world.machine("web", world.port("web", 0, "blue", "10.0.0.5/24", "10.0.0.1"))
    world.machine("db", world.port("db", 0, "red", "10.0.1.5/24", "10.0.1.1"))
    assert seen_source(world, "web", "db", IPv4Address("10.0.1.5")) == "10.0.0.5"


def asks_anew(world: World, machine: str, target: str) -> bool:
    """Whether an address answers somebody who has not asked for it before."""
    assert world.run(machine, "ip", "neigh", "flush", "all").returncode == 0
    return world.reaches(machine, target)


def test_a_patch_makes_one_network_of_two_until_it_is_removed(world: World) -> None:
    world.pops(1)
    world.fabric.networks.add_networks([NetworkSpec("n1", "p0"), NetworkSpec("n2", "p0", mtu=1400)])
    world.machine("a", world.port("a", 0, "n1", "10.0.0.10/24"))
    world.machine("b", world.port("b", 0, "n2", "10.0.0.11/24"))
    assert not asks_anew(world, "a", "10.0.0.11")
    patch = PatchSpec("patch", "p0", ("n1", "n2"))
    for _ in range(2):
        world.fabric.networks.set_patch(patch)
        assert asks_anew(world, "a", "10.0.0.11")
    world.fabric.networks.change_network(NetworkSpec("n2", "p0", mtu=1500))
    assert asks_anew(world, "b", "10.0.0.10")
    for _ in range(2):
        world.fabric.networks.remove_patch("patch")
        assert not asks_anew(world, "a", "10.0.0.11")
    with pytest.raises(NotFound):
        world.fabric.networks.set_patch(replace(patch, networks=("n1", "n3")))
