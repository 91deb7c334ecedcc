"""Links between PoPs do what was declared, and change while in use."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from ipaddress import IPv4Network

import pytest
from tests.translated import PACE, needs_processor, on_one_core

import sonata.adapters.fabric_linux.helper_process as helper_process
from sonata.errors import AdapterError, Conflict, InvalidInput, NotFound, SonataError
from sonata.model.topology import CLEAN, Impairment
from sonata.ports.fabric import LinkSpec, Underlay

from .conftest import World, a_world, external, over

Asking = Callable[[Underlay], object]
SO_RCVBUFFORCE = 33
WIRED = {"loss": 1e-9}
"""What only the wire does, and hardly ever: a link has it whether or not the kernel could delay packets itself."""
needs_iperf3 = pytest.mark.skipif(not shutil.which("iperf3"), reason="needs iperf3")


@pytest.fixture
def pair(world: World) -> World:
    """Two PoPs, a clean link, a host in each."""
    world.line(2)
    world.host("user", 0)
    world.host("origin", 1)
    return world


ORIGIN = external(1, 10).ip


def status(world: World, name: str = "l0"):
    return next(status for status in world.fabric.underlay.link_status() if status.name == name)


def test_packets_cross_a_line_of_pops(world: World) -> None:
    world.line(4)
    world.host("user", 0)
    target = world.host("origin", 3)
    assert world.ping("user", target).received == 3
    assert status(world).mechanism == "veth"


def test_the_first_packet_after_the_link_is_up_arrives(pair: World) -> None:
    """Carriers settle in the background; the fabric returns only when packets pass."""
    receiver, sender = pair.socket("origin"), pair.socket("user")
    with receiver, sender:
        receiver.bind((str(ORIGIN), 5000))
        sender.sendto(b"first", (str(ORIGIN), 5000))
        assert receiver.recv(16) == b"first"


@pytest.mark.parametrize("delay_s", [0.01, 0.1])
def test_delay_is_added_in_each_direction(pair: World, delay_s: float) -> None:
    pair.fabric.underlay.set_link("l0", Impairment(delay_s=delay_s))
    ping = pair.ping("user", ORIGIN, count=10)
    assert ping.received == 10
    assert 2 * delay_s <= ping.best_s < 2 * delay_s + 0.01


def test_jitter_spreads_the_delay_and_keeps_order(pair: World) -> None:
    pair.fabric.underlay.set_link("l0", Impairment(delay_s=0.02, jitter_s=0.005))
    ping = pair.ping("user", ORIGIN, count=60, interval=0.05)
    mean = sum(ping.times) / len(ping.times)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in ping.times) / len(ping.times))
    # Two independent directions of 5 ms each: 7.07 ms; 60 samples put it within 40 % of that.
    assert deviation > 0.004
    receiver, sender = pair.socket("origin"), pair.socket("user")
    with receiver, sender, on_one_core():
        make_roomy(receiver)
        receiver.bind((str(ORIGIN), 5000))
        for number in range(300):
            sender.sendto(number.to_bytes(2, "big"), (str(ORIGIN), 5000))
        numbers = [int.from_bytes(receiver.recv(2), "big") for _ in range(300)]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("carrier", ["netem", pytest.param("wire", marks=needs_processor)])
def test_jitter_is_a_standard_deviation_whatever_carries_the_link(pair: World, carrier: str) -> None:
    """Deviations are normal: by quantiles of the early side, since a machine that stalls makes packets late only."""
    jitter_s = 0.002
    other = WIRED if carrier == "wire" else {}
    pair.fabric.underlay.set_link("l0", Impairment(delay_s=0.01, jitter_s=jitter_s, **other), CLEAN)
    if carrier not in status(pair).mechanism:
        pytest.skip(f"no {carrier} on this kernel: `{status(pair).mechanism}` carries the link")
    times = sorted(pair.ping("user", ORIGIN, count=1000, interval=4 * jitter_s).times)
    assert len(times) > 990
    median, one, two = (times[round(share * len(times))] for share in (0.5, 0.159, 0.023))
    assert median > 0.0095
    assert (median - one) / jitter_s == pytest.approx(1, rel=0.2)
    # Were all deviations equally likely up to a bound, 1.7 is where there would be none any more.
    assert 1.7 < (median - two) / jitter_s < 2.5


def test_small_packets_pass_a_late_link_up_to_its_rate(pair: World) -> None:
    """A thousand of them are 20 ms of this link: what waits is bounded by its bytes."""
    pair.fabric.underlay.set_link("l0", Impairment(delay_s=0.05, rate_bps=2e7))
    receiver, sender = pair.socket("origin"), pair.socket("user")
    with receiver, sender:
        make_roomy(receiver)
        receiver.bind((str(ORIGIN), 5000))
        receiver.settimeout(0.5)
        for number in range(1000):
            sender.sendto(number.to_bytes(2, "big"), (str(ORIGIN), 5000))
        assert [int.from_bytes(data, "big") for data in heard(receiver)] == list(range(1000))


def test_loss_is_seen_by_packets_and_counted(pair: World) -> None:
    pair.fabric.underlay.set_link("l0", Impairment(loss=0.2))
    count = 1000
    receiver, sender = pair.socket("origin"), pair.socket("user")
    with receiver, sender:
        make_roomy(receiver)
        receiver.bind((str(ORIGIN), 5000))
        receiver.settimeout(0.5)
        for number in range(count):
            sender.sendto(number.to_bytes(2, "big"), (str(ORIGIN), 5000))
        arrived = len(heard(receiver))
    # Six standard deviations of a binomial of 1000 at 0.2 are 76.
    assert count * 0.8 - 76 <= arrived <= count * 0.8 + 76
    assert status(pair).dropped >= count - arrived > 0


def test_equal_links_lose_the_same_packets_in_every_run() -> None:
    patterns = []
    for _ in range(2):
        with a_world() as world:
            world.line(2, Impairment(loss=0.3))
            world.host("user", 0)
            world.host("origin", 1)
            patterns.append(pattern_of_losses(world))
    assert patterns[0] == patterns[1]
    assert 0 < sum(patterns[0]) < len(patterns[0])


def test_each_direction_does_its_own(pair: World) -> None:
    pair.fabric.underlay.set_link("l0", Impairment(delay_s=0.05), Impairment(delay_s=0.01, loss=1.0))
    receiver, sender = pair.socket("origin"), pair.socket("user")
    with receiver, sender:
        receiver.bind((str(ORIGIN), 5000))
        begun = time.monotonic()
        sender.sendto(b"there", (str(ORIGIN), 5000))
        data, user = receiver.recvfrom(16)
        assert (data, time.monotonic() - begun >= 0.05) == (b"there", True)
        receiver.sendto(b"back", user)
        sender.settimeout(0.3)
        with pytest.raises(TimeoutError):
            sender.recv(16)
        pair.fabric.underlay.set_link("l0", Impairment(delay_s=0.05), Impairment(delay_s=0.2))
        begun = time.monotonic()
        receiver.sendto(b"again", user)
        sender.settimeout(5)
        assert sender.recv(16) == b"again"
        assert time.monotonic() - begun >= 0.2
    shown = status(pair)
    assert (shown.impairment.delay_s, shown.reverse and shown.reverse.delay_s) == (0.05, 0.2)


@needs_iperf3
def test_each_direction_has_its_own_rate(pair: World) -> None:
    pair.fabric.underlay.set_link("l0", Impairment(rate_bps=5e7 * PACE), Impairment(rate_bps=5e6 * PACE))
    assert status(pair).mechanism == "veth+tbf"
    there = pair.bits_per_second("user", "origin", ORIGIN, 2)
    back = pair.bits_per_second("user", "origin", ORIGIN, 2, "-R")
    assert 0.6 * 5e7 * PACE < there < 5e7 * PACE
    assert 0.6 * 5e6 * PACE < back < 5e6 * PACE
    pair.fabric.underlay.set_link("l0", Impairment(rate_bps=5e6 * PACE), CLEAN)
    assert pair.bits_per_second("user", "origin", ORIGIN, 1, "-R") > 1e8 * PACE


def test_packets_are_doubled_and_let_ahead_as_declared(pair: World) -> None:
    count = 1000
    sent_within_s = 0.3 / PACE
    for impairment in (Impairment(duplicate=0.3), Impairment(delay_s=sent_within_s, reorder=0.3)):
        pair.fabric.underlay.set_link("l0", impairment, CLEAN)
        receiver, sender = pair.socket("origin"), pair.socket("user")
        with receiver, sender:
            make_roomy(receiver)
            receiver.bind((str(ORIGIN), 5000))
            receiver.settimeout(1 + sent_within_s)
            for number in range(count):
                sender.sendto(number.to_bytes(2, "big"), (str(ORIGIN), 5000))
            numbers = [int.from_bytes(data, "big") for data in heard(receiver)]
        assert set(numbers) == set(range(count))
        if impairment.duplicate:
            # Six standard deviations of a binomial of 1000 at 0.3 are 87.
            assert 300 - 87 <= len(numbers) - count <= 300 + 87
            assert numbers == sorted(numbers)
        else:
            ahead = next(at for at, number in enumerate(numbers) if number > numbers[at + 1])
            assert 300 - 87 <= ahead + 1 <= 300 + 87
            assert (len(numbers), numbers[ahead + 1 :]) == (count, sorted(numbers[ahead + 1 :]))


def make_roomy(receiver: socket.socket) -> None:
    """Let a burst wait to be read: the bound of most machines is less than that."""
    with contextlib.suppress(PermissionError):  # in a user namespace that bound holds
        receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)


def heard(receiver: socket.socket) -> list[bytes]:
    """What arrives until nothing does for a while."""
    datagrams = []
    with contextlib.suppress(TimeoutError):
        while True:
            datagrams.append(receiver.recv(64))
    return datagrams


def pattern_of_losses(world: World) -> list[bool]:
    receiver, sender = world.socket("origin"), world.socket("user")
    with receiver, sender:
        receiver.bind((str(ORIGIN), 5000))
        receiver.settimeout(0.5)
        for number in range(100):
            sender.sendto(number.to_bytes(2, "big"), (str(ORIGIN), 5000))
        arrived = {int.from_bytes(data, "big") for data in heard(receiver)}
    return [number in arrived for number in range(100)]


@needs_iperf3
@pytest.mark.parametrize(
    "impairment", [Impairment(rate_bps=2e7 * PACE), Impairment(rate_bps=2e7 * PACE, delay_s=0.005)]
)
def test_rate_bounds_throughput_at_layer_2(pair: World, impairment: Impairment) -> None:
    pair.fabric.underlay.set_link("l0", impairment)
    rate = pair.bits_per_second("user", "origin", ORIGIN, seconds=2)
    # TCP's share of a full frame is 1448 of 1514 bytes.
    assert 0.6 * 2e7 * PACE < rate <= 2e7 * PACE * 1448 / 1514 * 1.02
    assert status(pair).mechanism.endswith("tbf")


@needs_iperf3
def test_tcp_feels_the_loss_of_single_frames(pair: World) -> None:
    """Were whole 64 kB segments lost, TCP would hardly slow down at this loss."""
    pair.fabric.underlay.set_link("l0", Impairment(delay_s=0.01))
    reno = ("-C", "reno")  # other congestion controls, such as BBR, may ignore loss
    without = pair.bits_per_second("user", "origin", ORIGIN, 2, *reno)
    pair.fabric.underlay.set_link("l0", Impairment(delay_s=0.01, loss=0.02))
    with_loss = pair.bits_per_second("user", "origin", ORIGIN, 2, *reno)
    # Mathis: 1448 B * 8 / 20 ms * 1.22 / sqrt(0.02) is 5 Mbit/s.
    assert with_loss < 3e7
    assert with_loss < without / 3


def test_a_link_changes_while_in_use(pair: World) -> None:
    """Every mechanism gives way to every other, and addresses and routes survive."""
    underlay = pair.fabric.underlay
    underlay.set_link("l0", Impairment(delay_s=0.03))
    assert pair.ping("user", ORIGIN).best_s >= 0.06
    underlay.set_link("l0", Impairment(rate_bps=1e7))
    assert pair.ping("user", ORIGIN).best_s < 0.06
    assert status(pair).mechanism == "veth+tbf"
    underlay.set_link("l0", Impairment(delay_s=0.01, rate_bps=1e7, loss=0.0001))
    assert status(pair).mechanism == "wire+tbf"
    assert pair.ping("user", ORIGIN).best_s >= 0.02
    underlay.set_link("l0", CLEAN)
    assert status(pair).mechanism == "veth"
    assert pair.ping("user", ORIGIN).best_s < 0.02


@pytest.mark.parametrize("rate_bps", [None, 2e7])
def test_what_is_under_way_survives_a_change_of_the_delay(pair: World, rate_bps: float | None) -> None:
    pair.fabric.underlay.set_link("l0", Impairment(delay_s=1, rate_bps=rate_bps), CLEAN)
    receiver, sender = pair.socket("origin"), pair.socket("user")
    with receiver, sender:
        receiver.bind((str(ORIGIN), 5000))
        for number in range(10):
            sender.sendto(bytes([number]), (str(ORIGIN), 5000))
        pair.fabric.underlay.set_link("l0", Impairment(delay_s=0.1, jitter_s=0.001, rate_bps=rate_bps), CLEAN)
        sender.sendto(bytes([10]), (str(ORIGIN), 5000))
        # Not even the new delay changes the order.
        assert [receiver.recv(1)[0] for _ in range(11)] == list(range(11))


@pytest.mark.parametrize("impairment", [CLEAN, Impairment(delay_s=0.001)])
def test_a_link_that_is_down_passes_nothing_and_comes_back(pair: World, impairment: Impairment) -> None:
    underlay = pair.fabric.underlay
    underlay.set_link("l0", impairment, up=False)
    assert not pair.reaches("user", ORIGIN)
    assert not status(pair).up
    underlay.set_link("l0", impairment, up=True)
    assert pair.reaches("user", ORIGIN)


def test_a_link_that_is_down_may_change_its_kind(pair: World) -> None:
    underlay = pair.fabric.underlay
    underlay.set_link("l0", CLEAN, up=False)
    underlay.set_link("l0", Impairment(delay_s=0.01), up=False)
    assert not pair.reaches("user", ORIGIN)
    underlay.set_link("l0", Impairment(delay_s=0.01))
    assert pair.ping("user", ORIGIN).best_s >= 0.02


def test_routes_go_round_a_link_that_is_down(world: World) -> None:
    """A ring of three: the way changes when the emulator says so, and changes back."""
    world.line(3)
    world.fabric.underlay.add_links([LinkSpec("back", "p2", "p0", over(9, 0), over(9, 1))])
    world.host("user", 0)
    target = world.host("origin", 1)
    direct = {external(1).network: over(0, 1).ip, external(2).network: over(9, 0).ip}
    around = {external(1).network: over(9, 0).ip, external(2).network: over(9, 0).ip}
    world.fabric.underlay.set_routes("p0", direct)
    world.fabric.underlay.set_link("l0", CLEAN, up=False)
    assert not world.reaches("user", target)
    world.fabric.underlay.set_routes("p0", around)
    world.fabric.underlay.set_routes("p1", {external(0).network: over(1, 1).ip})
    world.fabric.underlay.set_routes("p2", {external(0).network: over(9, 1).ip, external(1).network: over(1, 0).ip})
    assert world.reaches("user", target)
    world.fabric.underlay.set_routes("p0", direct)  # accepted although the link is down
    world.fabric.underlay.set_link("l0", CLEAN)
    assert world.reaches("user", target)


def test_a_removed_link_can_be_added_again(pair: World) -> None:
    underlay = pair.fabric.underlay
    underlay.remove_links(["l0", "l0", "never"])
    assert not pair.reaches("user", ORIGIN)
    underlay.add_links([LinkSpec("l0", "p0", "p1", over(0, 0), over(0, 1), Impairment(delay_s=0.001))])
    underlay.set_routes("p0", {external(1).network: over(0, 1).ip})
    underlay.set_routes("p1", {external(0).network: over(0, 0).ip})
    assert pair.reaches("user", ORIGIN)


def test_adding_again_does_nothing_and_other_values_conflict(pair: World) -> None:
    underlay = pair.fabric.underlay
    same = LinkSpec("l0", "p0", "p1", over(0, 0), over(0, 1))
    underlay.add_links([same])
    assert pair.reaches("user", ORIGIN)
    with pytest.raises(Conflict):
        underlay.add_links([LinkSpec("l0", "p1", "p0", over(0, 0), over(0, 1))])


def test_access_links_are_impaired_and_shown_under_the_port(world: World) -> None:
    world.line(1)
    world.host("near", 0, 11)
    target = world.host("far", 0, 10, Impairment(delay_s=0.02))
    assert status(world, "far-eth0").mechanism in {"wire", "veth+netem"}
    assert world.ping("near", target).best_s >= 0.04
    world.fabric.underlay.set_link("far-eth0", CLEAN)
    assert world.ping("near", target).best_s < 0.04
    assert world.reaches("far", external(0).ip)
    world.fabric.underlay.set_link("far-eth0", CLEAN, up=False)
    assert not world.reaches("near", target)
    world.fabric.underlay.set_link("far-eth0", Impairment(loss=0.001))
    assert world.reaches("far", external(0).ip)


def test_many_wires_run_beside_each_other(world: World) -> None:
    world.line(6, Impairment(delay_s=0.004))
    world.host("user", 0)
    target = world.host("origin", 5)
    ping = world.ping("user", target, count=5)
    assert ping.received == 5
    assert 0.04 <= ping.best_s < 0.06


@pytest.mark.parametrize(
    "wrong",
    [
        Impairment(delay_s=-1),
        Impairment(delay_s=11),
        Impairment(jitter_s=0.1),
        Impairment(loss=1.5),
        Impairment(rate_bps=0.0),
    ],
)
def test_senseless_impairments_are_refused_and_change_nothing(pair: World, wrong: Impairment) -> None:
    with pytest.raises(InvalidInput):
        pair.fabric.underlay.set_link("l0", wrong)
    assert status(pair).impairment == CLEAN
    assert pair.reaches("user", ORIGIN)


def test_unknown_names_are_told(pair: World) -> None:
    with pytest.raises(NotFound, match="l7"):
        pair.fabric.underlay.set_link("l7", CLEAN)
    with pytest.raises(NotFound, match="p7"):
        pair.fabric.underlay.set_routes("p7", {})
    with pytest.raises(NotFound, match="p7"):
        pair.fabric.underlay.add_links([LinkSpec("new", "p0", "p7", over(5, 0), over(5, 1))])


def test_a_refused_route_names_itself(pair: World) -> None:
    nowhere = {IPv4Network("203.0.113.0/24"): external(0, 9).ip, IPv4Network("192.0.2.0/24"): over(77, 0).ip}
    with pytest.raises(AdapterError, match=r"192\.0\.2\.0/24"):
        pair.fabric.underlay.set_routes("p0", nowhere)


def killed(world: World) -> int:
    """The pid of the wire process, which is dead now."""
    pid = world.fabric.wire_pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def test_a_killed_wire_process_is_started_again_and_its_links_do_what_was_declared(world: World) -> None:
    world.line(3, Impairment(delay_s=0.01, **WIRED))
    world.host("user", 0)
    target = world.host("origin", 2, 10, Impairment(delay_s=0.01, **WIRED))
    world.fabric.underlay.set_link("l1", Impairment(delay_s=0.03, **WIRED))
    before = killed(world)
    assert not world.reaches("user", target)
    world.fabric.mend()
    assert world.fabric.wire_pid not in (None, before)
    assert world.ping("user", target).best_s >= 0.1
    world.fabric.mend()
    assert [link.forwarded > 0 for link in world.fabric.underlay.link_status()] == [True] * 3


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda underlay: underlay.link_status(), id="status"),
        pytest.param(lambda underlay: underlay.set_link("l0", Impairment(delay_s=0.02, **WIRED)), id="change"),
        pytest.param(lambda underlay: underlay.set_link("l1", CLEAN), id="replacement"),
        pytest.param(lambda underlay: underlay.remove_links(["l1"]), id="removal"),
        pytest.param(lambda underlay: underlay.add_links([spare(Impairment(delay_s=0.01, **WIRED))]), id="addition"),
    ],
)
def test_whatever_is_asked_after_the_wire_process_was_killed_is_done(world: World, ask: Asking) -> None:
    world.line(3, Impairment(delay_s=0.01, **WIRED))
    world.host("user", 0)
    target = world.host("origin", 1)
    killed(world)
    ask(world.fabric.underlay)
    assert world.ping("user", target).best_s >= 0.02


def test_a_wire_process_that_hangs_gives_way_to_another_one(pair: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper_process, "_ANSWER_S", 0.5 / PACE)
    pair.fabric.underlay.set_link("l0", Impairment(delay_s=0.01, **WIRED))
    pid = pair.fabric.wire_pid
    assert pid
    os.kill(pid, signal.SIGSTOP)
    assert [link.up for link in pair.fabric.underlay.link_status()] == [True]
    assert pair.ping("user", ORIGIN).best_s >= 0.02


def test_a_wire_process_that_cannot_be_started_again_is_told(pair: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.fabric.underlay.set_link("l0", Impairment(delay_s=0.01, **WIRED))
    killed(pair)
    with monkeypatch.context() as broken:
        broken.setattr(helper_process.sys, "executable", "/nowhere/python3")
        for _ in range(2):
            with pytest.raises(SonataError, match="wire process does not answer"):
                pair.fabric.underlay.link_status()
    assert pair.ping("user", ORIGIN, count=1).received == 0
    pair.fabric.mend()
    assert pair.ping("user", ORIGIN).best_s >= 0.02


def spare(impairment: Impairment) -> LinkSpec:
    return LinkSpec("spare", "p0", "p2", over(9, 0), over(9, 1), impairment)


def test_routes_that_are_cut_anew_leave_no_moment_without_one(world: World) -> None:
    """What is new is there before what it replaces goes."""
    world.line(3)
    gateway = over(0, 1).ip
    halves, whole = (external(2).network, external(3).network), IPv4Network("100.64.2.0/23")
    world.fabric.underlay.set_routes("p0", dict.fromkeys((external(1).network, *halves), gateway))
    with world.route_changes("p0") as told:
        world.fabric.underlay.set_routes("p0", {external(1).network: gateway, whole: gateway})
        world.fabric.underlay.set_routes("p0", dict.fromkeys((external(1).network, *halves), gateway))
    there = [("new", whole), *(("gone", half) for half in halves)]
    back = [*(("new", half) for half in halves), ("gone", whole)]
    assert told == [*there, *back]
