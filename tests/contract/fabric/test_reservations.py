"""Bandwidth of links that spans have reserved, measured under load of others.

Rates are those on the link: frames with the headers of their tunnel.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from tests.translated import PACE, TRIES, needs_processor

import sonata.adapters.fabric_linux.htb as htb
from sonata._lib.netlink import Request
from sonata.errors import AdapterError, NotFound
from sonata.model.topology import Impairment
from sonata.ports.fabric import NetworkSpec, Reservation

from .conftest import World, external, span_of

MBIT = 1e6 * PACE
GOLD, SILVER = 11, 12
TUNNEL_BYTES = 50
SENDER = """
import socket, sys, time
address, port, bits = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
out, payload = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), bytes(1400)
begin, sent = time.monotonic(), 0
while True:
    due = (time.monotonic() - begin) * bits / 8 / (len(payload) + 42)
    while sent < due:
        out.sendto(payload, (address, port)); sent += 1
    time.sleep(0.001)
"""
LOADS = pytest.mark.parametrize(
    "impairment",
    [
        pytest.param(Impairment(rate_bps=40 * MBIT), id="bucket"),
        pytest.param(Impairment(rate_bps=40 * MBIT, delay_s=0.005), id="delayed"),
    ],
)


def joined(world: World, impairment: Impairment) -> None:
    """Two PoPs, two spans over their link with a machine at each end, and a user and an origin that have none."""
    world.line(2, impairment)
    for vni, name in ((GOLD, "gold"), (SILVER, "silver")):
        macs: dict[int, list[str]] = {}
        for pop in (0, 1):
            world.fabric.networks.add_networks([NetworkSpec(name, f"p{pop}")])
            port = world.port(f"{name}{pop}", pop, name, f"10.0.0.{10 + pop}/24")
            world.machine(f"{name}{pop}", port)
            macs[pop] = [port.mac]
        world.fabric.networks.set_span(replace(span_of(world, name, macs), vni=vni))
    world.host("user", 0)
    world.host("origin", 1)


def send(world: World, machine: str, address: IPv4Address | str, bps: float, port: int = 9) -> None:
    """Offer a load of frames to an address; nobody needs to listen."""
    world.start(machine, sys.executable, "-c", SENDER, str(address), str(port), str(bps))


def arriving(world: World, machines: Mapping[str, int], seconds: float = 1.5) -> dict[str, float]:
    """Bits per second on the link of what arrives at machines, by name; each with the bytes of its tunnel headers."""
    names = {f"{machine}-eth0": machine for machine in machines}
    before, begin = world.fabric.machines.counters(list(names)), time.monotonic()
    time.sleep(seconds)
    after, passed = world.fabric.machines.counters(list(names)), time.monotonic() - begin
    return {
        machine: 8
        * (
            after[port].rx_bytes
            - before[port].rx_bytes
            + machines[machine] * (after[port].rx_packets - before[port].rx_packets)
        )
        / passed
        for port, machine in names.items()
    }


def gets(world: World, machine: str, wanted_bps: float, rel: float = 0.05, **among: int) -> bool:
    """Whether a rate arrives at a machine: never more, and as much at least once; a busy machine may miss a second."""
    for _ in range(TRIES):
        found = arriving(world, among or ALL)[machine]
        if found > (1 + rel) * wanted_bps:
            return False
        if found >= (1 - rel) * wanted_bps:
            return True
    return False


ALL = {"gold1": TUNNEL_BYTES, "silver1": TUNNEL_BYTES, "origin": 0}


@LOADS
def test_what_is_reserved_stays_under_load_and_others_get_the_rest(world: World, impairment: Impairment) -> None:
    joined(world, impairment)
    world.fabric.underlay.reserve("l0", {GOLD: Reservation(24 * MBIT)}, {})
    send(world, "silver0", "10.0.0.11", 60 * MBIT)
    send(world, "user", external(1, 10).ip, 60 * MBIT)
    send(world, "gold0", "10.0.0.11", 26 * MBIT)
    time.sleep(0.5)
    assert gets(world, "gold1", 24 * MBIT)
    shares = (arriving(world, ALL) for _ in range(TRIES))
    assert any(one["silver1"] + one["origin"] == pytest.approx(16 * MBIT, rel=0.15) for one in shares)
    world.fabric.underlay.reserve("l0", {}, {})
    time.sleep(0.3)
    assert any(arriving(world, ALL)["gold1"] < 20 * MBIT for _ in range(TRIES))


@LOADS
def test_what_waits_for_its_share_waits_no_longer_than_its_queue(world: World, impairment: Impairment) -> None:
    """50 ms of the whole rate, which take 125 ms at the 16 Mbit/s that are left; most packets find no place there."""
    joined(world, impairment)
    world.fabric.underlay.reserve("l0", {GOLD: Reservation(24 * MBIT)}, {})
    send(world, "gold0", "10.0.0.11", 26 * MBIT)
    send(world, "user", external(1, 10).ip, 60 * MBIT)
    time.sleep(2)
    ping = world.ping("user", external(1, 10).ip, count=100)
    assert ping.received
    assert sorted(ping.times)[ping.received // 2] < 0.3


@pytest.mark.skipif(not shutil.which("iperf3"), reason="needs iperf3")
def test_what_is_reserved_stays_under_competing_tcp(world: World) -> None:
    joined(world, Impairment(rate_bps=40 * MBIT))
    world.fabric.underlay.reserve("l0", {GOLD: Reservation(24 * MBIT)}, {})
    daemon = world.start("origin", "iperf3", "-s", "-1")
    time.sleep(0.3)
    world.start("user", "iperf3", "-c", str(external(1, 10).ip), "-P", "8", "-t", "10")
    send(world, "gold0", "10.0.0.11", 23 * MBIT)
    time.sleep(1)
    assert gets(world, "gold1", 23 * MBIT * 1492 / 1442)
    assert arriving(world, ALL)["origin"] > 12 * MBIT
    assert daemon.poll() is None


def test_what_is_left_idle_is_for_all_and_what_is_free_may_be_borrowed(world: World) -> None:
    joined(world, Impairment(rate_bps=40 * MBIT))
    world.fabric.underlay.reserve("l0", {GOLD: Reservation(24 * MBIT)}, {})
    send(world, "user", external(1, 10).ip, 60 * MBIT)
    time.sleep(0.3)
    assert gets(world, "origin", 40 * MBIT)
    world.processes.pop().kill()
    send(world, "gold0", "10.0.0.11", 60 * MBIT)
    time.sleep(0.3)
    assert gets(world, "gold1", 40 * MBIT)


@pytest.mark.parametrize("rate_bps", [None, 80 * MBIT])
def test_a_cap_is_held_with_and_without_a_rate_of_the_link(world: World, rate_bps: float | None) -> None:
    joined(world, Impairment(rate_bps=rate_bps))
    world.fabric.underlay.reserve("l0", {GOLD: Reservation(10 * MBIT, 20 * MBIT)}, {})
    send(world, "gold0", "10.0.0.11", 50 * MBIT)
    send(world, "silver0", "10.0.0.11", 30 * MBIT)
    time.sleep(0.3)
    assert gets(world, "gold1", 20 * MBIT)
    assert gets(world, "silver1", 30 * MBIT * 1492 / 1442)


@needs_processor
def test_directions_are_reserved_apart(world: World) -> None:
    joined(world, Impairment(rate_bps=40 * MBIT))
    world.fabric.underlay.reserve("l0", {GOLD: Reservation(30 * MBIT)}, {SILVER: Reservation(30 * MBIT)})
    for pair in ("gold", "silver"):
        send(world, f"{pair}0", "10.0.0.11", 50 * MBIT)
        send(world, f"{pair}1", "10.0.0.10", 50 * MBIT)
    time.sleep(0.5)
    ends = dict.fromkeys(("gold0", "gold1", "silver0", "silver1"), TUNNEL_BYTES)
    assert gets(world, "gold1", 30 * MBIT, **ends)
    assert gets(world, "silver0", 30 * MBIT, **ends)
    assert gets(world, "gold0", 10 * MBIT, 0.15, **ends)


def test_packets_that_only_look_like_the_span_have_nothing_reserved(world: World) -> None:
    """A host outside sends what a tunnel would, with the span's identifier, to another host."""
    joined(world, Impairment(rate_bps=40 * MBIT))
    world.fabric.underlay.reserve("l0", {GOLD: Reservation(30 * MBIT)}, {})
    forged = SENDER.replace("bytes(1400)", f"bytes([8, 0, 0, 0]) + ({GOLD} << 8).to_bytes(4, 'big') + bytes(1392)")
    world.start("user", sys.executable, "-c", forged, str(external(1, 10).ip), "4789", str(60 * MBIT))
    send(world, "gold0", "10.0.0.11", 40 * MBIT)
    time.sleep(0.5)
    assert gets(world, "gold1", 30 * MBIT)
    assert gets(world, "origin", 10 * MBIT, 0.15)


@needs_processor
def test_reservations_stay_when_the_link_changes(world: World) -> None:
    joined(world, Impairment(rate_bps=30 * MBIT))
    underlay = world.fabric.underlay
    underlay.reserve("l0", {GOLD: Reservation(24 * MBIT)}, {})
    mechanisms = []
    send(world, "user", external(1, 10).ip, 60 * MBIT)
    send(world, "gold0", "10.0.0.11", 40 * MBIT)
    for impairment in (
        Impairment(rate_bps=40 * MBIT, delay_s=0.002),
        Impairment(rate_bps=40 * MBIT),
    ):
        underlay.set_link("l0", impairment)
        time.sleep(0.5)
        assert gets(world, "gold1", 24 * MBIT)
        mechanisms.append(underlay.link_status()[0].mechanism)
    assert mechanisms[1] == "veth+htb"
    assert "htb" in mechanisms[0]
    underlay.reserve("l0", {}, {})
    assert underlay.link_status()[0].mechanism == "veth+tbf"
    with pytest.raises(NotFound):
        underlay.reserve("l9", {}, {})


def test_a_kernel_that_refuses_leaves_what_was_reserved(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    joined(world, Impairment(rate_bps=40 * MBIT))
    underlay, lead = world.fabric.underlay, htb.lead
    underlay.reserve("l0", {GOLD: Reservation(24 * MBIT)}, {})

    def to_nowhere(index: int, number: int, matches: Sequence[htb.Match], subject: str) -> Request:
        return lead(index + (f"VNI {SILVER}" in subject) * 100_000, number, matches, subject)

    monkeypatch.setattr(htb, "lead", to_nowhere)
    with pytest.raises(AdapterError, match=f"VNI {SILVER}"):
        underlay.reserve("l0", {GOLD: Reservation(4 * MBIT), SILVER: Reservation(30 * MBIT)}, {})
    assert underlay.link_status()[0].mechanism == "veth+htb"
    send(world, "silver0", "10.0.0.11", 60 * MBIT)
    send(world, "gold0", "10.0.0.11", 26 * MBIT)
    time.sleep(0.5)
    assert gets(world, "gold1", 24 * MBIT)
