"""What is told to the kernel's network emulator and token bucket, byte by byte where this kernel cannot judge it."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network
from math import sqrt

import pytest

from sonata._lib.netlink import attributes
from sonata.adapters.fabric_linux import requests
from sonata.model.topology import Impairment

TCMSG = 20


def options(body: bytes, kind: bytes) -> bytes:
    found = attributes(body[TCMSG:])
    assert found[1].rstrip(b"\0") == kind
    return found[2]


def test_a_queue_is_made_at_the_root_of_its_interface() -> None:
    request = requests.netem(42, "eth0", Impairment(delay_s=0.1))
    assert request.kind == 36
    assert struct.unpack_from("=BxxxiIII", request.body) == (0, 42, 0x10000, 0xFFFFFFFF, 0)


def test_netem_gets_delay_and_jitter_in_nanoseconds() -> None:
    body = options(requests.netem(1, "eth0", Impairment(delay_s=0.02, jitter_s=0.003)).body, b"netem")
    latency, limit, loss, gap, duplicate, jitter = struct.unpack_from("=6I", body)
    assert (latency, loss, gap, duplicate, jitter) == (0, 0, 0, 0, 0)
    assert limit >= 100_000
    tail = attributes(body[24:])
    assert struct.unpack("=q", tail[10]) == (20_000_000,)
    # netem's jitter is uniform in plus or minus its value: the standard deviation is that by the root of three.
    assert struct.unpack("=q", tail[11])[0] == pytest.approx(3e6 * sqrt(3), rel=1e-6)


def test_netem_always_has_a_rate_since_only_then_it_keeps_order() -> None:
    free = attributes(options(requests.netem(1, "eth0", Impairment(delay_s=0.02)).body, b"netem")[24:])
    assert struct.unpack("=Q", free[8])[0] > 100e9
    body = options(requests.netem(1, "eth0", Impairment(delay_s=0.02, rate_bps=8e6)).body, b"netem")
    bound = attributes(body[24:])
    assert struct.unpack("=Q", bound[8]) == (1_000_000,)
    assert struct.unpack_from("=I", bound[6]) == (1_000_000,)
    # The queue holds what is under way for 20 ms, and 50 ms of waiting.
    assert struct.unpack_from("=6I", body)[1] == pytest.approx(0.07 * 1e6 / 1618, abs=1)


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
