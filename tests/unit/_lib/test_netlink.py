"""Encoding and decoding of netlink, and the promise of a batch against the kernel's own answers."""

from __future__ import annotations

import errno
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonata._lib import netlink
from sonata._lib.netlink import NetlinkError, NetlinkSocket, Request

HEADER = struct.Struct("=IHHII")
RTM_GETLINK, RTM_DELLINK = 18, 17


@given(st.dictionaries(st.integers(1, 200), st.binary(max_size=50), max_size=8))
def test_attributes_survive_encoding_and_decoding(values: dict[int, bytes]) -> None:
    encoded = b"".join(netlink.attribute(kind, payload) for kind, payload in values.items())
    assert len(encoded) % 4 == 0
    assert netlink.attributes(encoded) == values


@given(st.binary(max_size=60))
def test_decoding_ends_on_any_bytes(data: bytes) -> None:
    netlink.attributes(data)


def test_numbers_and_strings_have_the_kernels_form() -> None:
    assert netlink.u8(5, 1) == b"\x05\x00\x05\x00\x01\x00\x00\x00"
    assert netlink.u16_network(15, 4789) == b"\x06\x00\x0f\x00\x12\xb5\x00\x00"
    assert netlink.text(3, "eth0") == b"\x09\x00\x03\x00eth0\x00\x00\x00\x00"
    assert netlink.attributes(netlink.nested(18, netlink.u32(1, 7)))[18] == netlink.u32(1, 7)


def test_only_the_last_request_of_a_batch_asks_for_an_answer() -> None:
    data = netlink.encode([Request(16, 0x400, b"abcde"), Request(20, 0, b"")], 9)
    size, kind, flags, sequence, _ = HEADER.unpack_from(data)
    assert (size, kind, flags, sequence) == (21, 16, 0x401, 9)
    size, kind, flags, sequence, _ = HEADER.unpack_from(data, 24)  # padded to four bytes
    assert (size, kind, flags, sequence) == (16, 20, 0x5, 10)


def link(index: int) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, 0, 0)


@pytest.fixture
def route() -> NetlinkSocket:
    made = NetlinkSocket()
    yield made
    made.close()


NO_SUCH = 0x7FFFFFF0


def test_a_refusal_names_its_request_and_not_a_neighbour(route: NetlinkSocket) -> None:
    """Reading needs no privilege: the second of three look-ups fails."""
    batch = [
        Request(RTM_GETLINK, 0, link(1), "loopback"),
        Request(RTM_GETLINK, 0, link(NO_SUCH), "interface", about="x"),
        Request(RTM_GETLINK, 0, link(1), "loopback again"),
    ]
    with pytest.raises(NetlinkError) as caught:
        route.apply(batch)
    assert caught.value.errno == errno.ENODEV
    assert caught.value.subject == "interface x"
    route.apply(batch[:1])  # the socket is in step after an error


def test_tolerated_refusals_are_success(route: NetlinkSocket) -> None:
    route.apply([Request(RTM_GETLINK, 0, link(NO_SUCH), "interface", (errno.ENODEV,))])


def test_nothing_to_do_is_done(route: NetlinkSocket) -> None:
    route.apply([])


def test_long_batches_are_cut_and_all_errors_are_heard(route: NetlinkSocket) -> None:
    many = [Request(RTM_GETLINK, 0, link(NO_SUCH), f"interface {number}", (errno.ENODEV,)) for number in range(1300)]
    route.apply(many)
    with pytest.raises(NetlinkError, match="interface last"):
        route.apply([*many, Request(RTM_GETLINK, 0, link(NO_SUCH), "interface last")])


def test_a_dump_lists_the_loopback_interface(route: NetlinkSocket) -> None:
    indexes = [struct.unpack_from("=i", payload, 4)[0] for payload in route.dump(RTM_GETLINK, link(0))]
    assert socket.if_nametoindex("lo") in indexes
