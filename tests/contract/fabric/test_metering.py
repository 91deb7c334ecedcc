"""Counters tell what was sent: to the packet, in both directions, and what was lost at rates."""

from __future__ import annotations

import os
import signal
import time
from ipaddress import IPv4Address

import pytest

from sonata.errors import AdapterError
from sonata.model.topology import CLEAN, Impairment
from sonata.ports.fabric import PortRate, PortShape
from sonata.ports.metering import Traffic, Watched

from .conftest import World
from .test_filtering import pair

FRAME = 14 + 20 + 8
COUNT = 200


def send(world: World, machine: str, target: IPv4Address, count: int, size: int = 100) -> None:
    """Datagrams of a machine to a port on which nobody listens."""
    with world.socket(machine) as out:
        for _ in range(count):
            try:
                out.sendto(bytes(size), (str(target), 9))
            except ConnectionRefusedError:
                out.sendto(bytes(size), (str(target), 9))


def grown(after: Traffic, before: Traffic) -> Traffic:
    names = ("rx_packets", "rx_bytes", "rx_dropped", "tx_packets", "tx_bytes", "tx_dropped")
    return Traffic(*(getattr(after, name) - getattr(before, name) for name in names))


@pytest.mark.parametrize("impairment", [CLEAN, Impairment(delay_s=0.002), Impairment(rate_bps=1e9)])
def test_ports_and_links_count_every_packet(world: World, impairment: Impairment) -> None:
    world.line(2, impairment)
    world.host("a", 0)
    there = world.host("b", 1)
    pops, metering = ("p0", "p1"), world.fabric.metering
    assert world.reaches("a", there)
    mute = ("nft", "add table ip mute; add chain ip mute in { type filter hook input priority 0; policy drop; }")
    assert world.run("b", *mute).returncode == 0
    before = metering.read(pops)
    send(world, "a", there, COUNT)
    assert not world.reaches("a", there)  # what was sent before has arrived by then
    after = metering.read(pops)
    at_a, at_b = (grown(after.ports[key], before.ports[key]) for key in ("a-eth0", "b-eth0"))
    near, far = (grown(after.links["l0"][end], before.links["l0"][end]) for end in (0, 1))
    packets, octets = COUNT + 1, COUNT * (FRAME + 100) + 14 + 84
    # ARP, of which there may be some, is two packets at most.
    for found in ((at_a.tx_packets, at_a.tx_bytes), (at_b.rx_packets, at_b.rx_bytes)):
        assert packets <= found[0] <= packets + 2
        assert octets <= found[1] <= octets + 2 * 42
    assert (near.tx_packets, near.tx_bytes) == (far.rx_packets, far.rx_bytes) == (packets, octets)
    assert (at_a.rx_dropped, at_a.tx_dropped, at_b.rx_dropped, near.tx_dropped) == (0, 0, 0, 0)


def test_what_a_rate_drops_is_counted_where_it_is_lost(world: World) -> None:
    world.pops(1)
    a, b = pair(world)
    world.fabric.shaping.set_shapes({a.id: PortShape(egress=PortRate(1e6))})
    target = IPv4Address(b.addresses[0].ip)
    send(world, "a", target, 1)
    before = world.fabric.metering.read(["p0"]).ports
    send(world, "a", target, 500, 1400)
    after = world.fabric.metering.read(["p0"]).ports
    sender, hearer = (grown(after[port.id], before[port.id]) for port in (a, b))
    assert 500 <= sender.tx_packets <= 504
    assert sender.tx_dropped > 100
    assert hearer.rx_packets + sender.tx_dropped <= 504
    assert hearer.rx_dropped == 0


def test_what_a_link_drops_at_its_rate_is_counted_at_the_end_where_it_enters(world: World) -> None:
    world.line(2, Impairment(rate_bps=1e6))
    world.host("a", 0)
    there = world.host("b", 1)
    assert world.reaches("a", there)
    before = world.fabric.metering.read(["p0", "p1"]).links["l0"]
    send(world, "a", there, 500, 1400)
    near, far = map(grown, world.fabric.metering.read(["p0", "p1"]).links["l0"], before)
    assert near.tx_dropped == far.rx_dropped > 100
    assert far.tx_dropped == near.rx_dropped == 0
    assert far.rx_packets + near.tx_dropped <= 500


def test_pops_that_do_not_stand_have_no_counters(world: World) -> None:
    world.line(2)
    assert world.fabric.metering.read(["nowhere"]).links == {}
    assert set(world.fabric.metering.read(["p0"]).links) == {"l0"}
    assert world.fabric.metering.read(["p1"]).links == {}


def watched(world: World, names: list[str], late_s: float = 0.2) -> dict[str, tuple[Watched, Watched]]:
    """What the watch knows as soon as twenty packets of each link have had the time to arrive."""
    metering = world.fabric.metering
    for _ in range(200):
        found = dict(metering.watched(dict.fromkeys(names, (late_s, late_s))))
        if found and all(way.windows[0].sent >= 20 for pair in found.values() for way in pair):
            return found
        time.sleep(0.05)
    pytest.fail(f"nothing was measured: {found}")


def test_links_are_watched_in_both_directions(world: World) -> None:
    world.line(3)
    world.host("users", 0, impairment=Impairment(delay_s=0.02))
    world.fabric.underlay.set_link("l0", Impairment(delay_s=0.03), Impairment(delay_s=0.01, jitter_s=0.003))
    world.fabric.underlay.set_link("l1", Impairment(loss=0.5), CLEAN)
    names = ["l0", "l1", "users-eth0", "nowhere"]
    metering = world.fabric.metering
    metering.watch(names, 0.05)
    try:
        found = watched(world, names[:3])
        assert set(found) == set(names[:3])
        (there, back), (lossy, clean), (towards, _) = ([way.windows[0] for way in found[name]] for name in names[:3])
        assert there.mean_s == pytest.approx(0.03, abs=0.005)
        assert back.mean_s == pytest.approx(0.01, abs=0.006)
        assert (back.deviation_s or 0) > 0.0005
        assert towards.mean_s == pytest.approx(0.02, abs=0.005)
        assert there.received >= there.sent - 1
        assert clean.received == clean.sent
        assert 0.1 < lossy.received / lossy.sent < 0.9
        # A link that is down loses all, and is heard again when it is up, whatever carries it then.
        world.fabric.underlay.set_link("l1", CLEAN, CLEAN, up=False)
        time.sleep(0.5)
        dead = metering.watched({"l1": (0.2, 0.2)})["l1"][0]
        world.fabric.underlay.set_link("l1", Impairment(delay_s=0.001), CLEAN)
        time.sleep(0.5)
        alive = metering.watched({"l1": (0.2, 0.2)})["l1"][0]
        assert dead.windows[0].received < dead.windows[0].sent
        assert alive.windows[0].received > dead.windows[0].received
    finally:
        metering.watch([], 1)
    assert metering.watched({"l0": (0.2, 0.2)}) == {}


def test_a_watch_that_was_killed_goes_on_with_the_next_call(world: World) -> None:
    world.line(2)
    metering = world.fabric.metering
    metering.watch(["l0"], 0.05)
    pid = metering._watch.pid or 0
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(AdapterError, match=r"closed|Broken|reset"):
        metering.watched({"l0": (0.2, 0.2)})
    metering.watch(["l0"], 0.05)
    assert watched(world, ["l0"])["l0"][0].windows[0].received > 0
    metering.watch(["l0"], 0.1)
    assert metering.watched({"l0": (0.2, 0.2)})["l0"][0].windows[0].sent <= 2
