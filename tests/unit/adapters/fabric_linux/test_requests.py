"""What is told to the kernel's network emulator and token bucket, byte by byte where this kernel cannot judge it."""

from __future__ import annotations

import errno
import struct
from ipaddress import IPv4Address, IPv4Network
from statistics import mean, pstdev

import pytest

from sonata._lib.netlink import attributes, encode
from sonata.adapters.fabric_linux import requests
from sonata.model.topology import Impairment

TCMSG = 20


def options(body: bytes, kind: bytes) -> bytes:
    found = attributes(body[TCMSG:])
    assert found[1].rstrip(b"\0") == kind
    return found[2]


def test_what_neighbours_tell_by_themselves_may_be_left_out_where_the_kernels_table_is_full() -> None:
    station = (1, IPv4Address("100.64.0.10"), "02:00:00:00:00:01")
    assert errno.ENOBUFS in requests.neighbour(*station).tolerate
    assert errno.ENOBUFS not in requests.neighbour(*station, permanent=True).tolerate


def test_a_queue_is_made_at_the_root_of_its_interface() -> None:
    request = requests.netem(42, "eth0", Impairment(delay_s=0.1))
    assert request.kind == 36
    assert struct.unpack_from("=BxxxiIII", request.body) == (0, 42, 0x20000, 0xFFFFFFFF, 0)


def test_netem_gets_delay_and_jitter_in_nanoseconds() -> None:
    body = options(requests.netem(1, "eth0", Impairment(delay_s=0.02, jitter_s=0.003)).body, b"netem")
    latency, limit, loss, gap, duplicate, jitter = struct.unpack_from("=6I", body)
    assert (latency, loss, gap, duplicate, jitter) == (0, 0, 0, 0, 0)
    assert limit >= 100_000
    tail = attributes(body[24:])
    assert struct.unpack("=q", tail[10]) == (20_000_000,)
    assert struct.unpack("=q", tail[11]) == (3_000_000,)


def test_netem_gets_the_normal_distribution_of_jitter() -> None:
    found = attributes(options(requests.netem(1, "eth0", Impairment(0.02, 0.003)).body, b"netem")[24:])[2]
    deviations = [value / 8192 for (value,) in struct.iter_unpack("=h", found)]
    assert (mean(deviations), pstdev(deviations)) == (pytest.approx(0, abs=1e-3), pytest.approx(1, abs=1e-3))
    for within, share in ((1, 0.683), (2, 0.954)):
        assert sum(abs(value) < within for value in deviations) / len(deviations) == pytest.approx(share, abs=0.01)


def test_many_interfaces_get_jitter_in_one_batch() -> None:
    """The kernel takes no more at once than a socket's send buffer, 208 kB unless told otherwise."""
    assert len(encode([requests.netem(1, "eth0", Impairment(0.02, 0.003))] * 128, 1)) < 200_000


def test_netem_always_has_a_rate_since_only_then_it_keeps_order() -> None:
    found = attributes(options(requests.netem(1, "eth0", Impairment(delay_s=0.02)).body, b"netem")[24:])
    assert struct.unpack("=Q", found[8])[0] > 100e9


def test_what_waits_for_the_rate_of_a_late_link_is_counted_in_bytes() -> None:
    bucket, late, queue = requests.late(1, "eth0", Impairment(delay_s=0.02, rate_bps=8e6))
    places = [struct.unpack_from("=BxxxiIII", one.body)[2:4] for one in (bucket, late, queue)]
    assert places == [(0x10000, 0xFFFFFFFF), (0x20000, 0x10001), (0x30000, 0x20001)]
    assert attributes(options(bucket.body, b"tbf"))[4] == struct.pack("=Q", 1_000_000)
    assert struct.unpack_from("=6I", options(late.body, b"netem"))[1] >= 100_000
    # 50 ms of waiting beside what the bucket holds.
    assert struct.unpack("=I", options(queue.body, b"bfifo")) == (50_000 + 4_000,)


@pytest.mark.parametrize(
    ("rate_bps", "burst", "limit"),
    [(1e5, 3236, 3236 + 16180), (1e9, 500_000, 500_000 + 6_250_000), (1e11, 50_000_000, 675_000_000)],
)
def test_a_token_bucket_holds_the_layer_2_rate(rate_bps: float, burst: int, limit: int) -> None:
    found = attributes(options(requests.rate_limit(1, "eth0", rate_bps).body, b"tbf"))
    assert struct.unpack("=Q", found[4]) == (int(rate_bps / 8),)
    assert struct.unpack("=I", found[6]) == (burst,)
    assert len(found[1]) == 36
    assert struct.unpack_from("=I", found[1], 24) == (limit,)
    assert found[1][1] == 1  # Ethernet: the kernel needs no rate table


def test_the_fast_form_of_a_route_is_the_usual_one() -> None:
    network, gateway = IPv4Network("100.64.7.0/24"), IPv4Address("198.18.0.3")
    body = requests.route_via(network, gateway).body
    assert struct.unpack_from("=BBBBBBBBI", body) == (2, 24, 0, 0, 254, 4, 0, 1, 0)
    assert attributes(body[12:]) == {1: network.network_address.packed, 5: gateway.packed}


def test_many_interfaces_are_deleted_in_one_request() -> None:
    assert requests.delete_links([]) == []
    assert [request.kind for request in requests.delete_links([7])] == [17]
    assert [request.kind for request in requests.delete_links([7, 8, 9])] == [19, 19, 19, 17]


def test_statistics_are_read_by_index() -> None:
    payload = struct.pack("=BBHII", 0, 0, 0, 12, 1) + struct.pack("=HH", 4 + 64, 1) + struct.pack("=8Q", *range(8))
    assert requests.read_statistics(payload) == (12, tuple(range(8)))
