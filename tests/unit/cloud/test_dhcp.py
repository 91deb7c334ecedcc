"""DHCP messages: what clients send, and what they are told."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sonata.emulator.cloud.network.dhcp as dhcp

MAC = bytes.fromhex("fa1600000001")
SERVICE = IPv4Address("10.0.0.254")
LEASE = dhcp.Lease(
    address=IPv4Interface("10.0.0.5/24"),
    server=SERVICE,
    router=IPv4Address("10.0.0.1"),
    nameservers=(SERVICE,),
    domain="openstacklocal",
    host_name="web",
    mtu=1400,
    routes=((IPv4Network("169.254.169.254/32"), SERVICE), (IPv4Network("10.9.0.0/16"), IPv4Address("10.0.0.9"))),
)


def request(kind: int, *options: tuple[int, bytes], client: str = "0.0.0.0") -> bytes:
    """A client's message, laid out by RFC 2131, figure 1."""
    head = struct.pack("!BBBBIHH4s12x", 1, 1, 6, 0, 0x12345678, 0, 0, IPv4Address(client).packed)
    body = b"".join(bytes((code, len(value))) + value for code, value in ((53, bytes([kind])), *options))
    return head + MAC.ljust(16, b"\0") + bytes(192) + b"\x63\x82\x53\x63" + body + b"\xff"


def answer(packet: bytes, lease: dhcp.Lease = LEASE) -> tuple[int, str, dict[int, bytes]] | None:
    """Kind, given address and options of the answer."""
    message = dhcp.read(packet)
    assert message is not None
    assert message.mac == "fa:16:00:00:00:01"
    reply = dhcp.reply(message, lease)
    if reply is None:
        return None
    assert (reply[:4], reply[4:8], reply[28:34]) == (b"\x02\x01\x06\x00", packet[4:8], MAC)
    options, at = {}, 240
    while reply[at] != 255:
        options[reply[at]] = reply[at + 2 : at + 2 + reply[at + 1]]
        at += 2 + reply[at + 1]
    return options[53][0], str(IPv4Address(reply[16:20])), options


def test_a_discover_is_offered_all_that_the_port_has() -> None:
    told = answer(request(dhcp.DISCOVER, (61, b"\x01" + MAC)))
    assert told is not None
    kind, address, options = told
    assert (kind, address) == (dhcp.OFFER, "10.0.0.5")
    assert options[1] == IPv4Address("255.255.255.0").packed
    assert (options[3], options[6], options[54]) == (
        LEASE.router.packed if LEASE.router else b"",
        *2 * [SERVICE.packed],
    )
    assert (options[15], options[12], options[26]) == (b"openstacklocal", b"web", (1400).to_bytes(2, "big"))
    assert options[61] == b"\x01" + MAC
    assert int.from_bytes(options[58], "big") < int.from_bytes(options[59], "big") < int.from_bytes(options[51], "big")
    assert options[121] == (
        bytes([0, 10, 0, 0, 1])
        + bytes([32, 169, 254, 169, 254, 10, 0, 0, 254])
        + bytes([16, 10, 9, 10, 0, 0, 9])
    )  # fmt: skip


@pytest.mark.parametrize(
    ("packet", "kind"),
    [
        (request(dhcp.REQUEST, (50, IPv4Address("10.0.0.5").packed), (54, SERVICE.packed)), dhcp.ACK),
        (request(dhcp.REQUEST, client="10.0.0.5"), dhcp.ACK),
        (request(dhcp.REQUEST, (50, IPv4Address("10.0.0.6").packed)), dhcp.NAK),
        (request(dhcp.REQUEST, client="10.0.0.6"), dhcp.NAK),
    ],
)
def test_only_the_ports_own_address_is_confirmed(packet: bytes, kind: int) -> None:
    told = answer(packet)
    assert told is not None
    assert (told[0], told[1]) == (kind, "10.0.0.5" if kind == dhcp.ACK else "0.0.0.0")


def test_who_chose_another_server_or_leaves_gets_no_answer() -> None:
    other = (54, IPv4Address("10.0.0.99").packed)
    assert answer(request(dhcp.REQUEST, (50, IPv4Address("10.0.0.5").packed), other)) is None
    assert answer(request(dhcp.RELEASE, client="10.0.0.5")) is None


def test_inform_tells_settings_and_gives_no_address() -> None:
    told = answer(request(dhcp.INFORM, client="10.0.0.5"))
    assert told is not None
    assert (told[0], told[1], 51 in told[2]) == (dhcp.ACK, "0.0.0.0", False)


def test_a_subnet_without_gateway_has_no_default_route() -> None:
    told = answer(request(dhcp.DISCOVER), replace(LEASE, router=None))
    assert told is not None
    assert 3 not in told[2]
    assert told[2][121][0] == 32


@given(st.binary(max_size=700))
def test_noise_is_never_understood(noise: bytes) -> None:
    assert dhcp.read(noise) is None


@given(st.binary(max_size=60))
def test_broken_options_do_no_harm(tail: bytes) -> None:
    packet = request(dhcp.DISCOVER)[:-1] + tail
    message = dhcp.read(packet)
    if message is not None:
        dhcp.reply(message, LEASE)


def test_a_port_s_own_options_go_before_what_the_network_says() -> None:
    own = {26: (1300).to_bytes(2), 67: b"pxe", 3: IPv4Address("10.0.0.7").packed, 0: IPv4Address("10.0.0.8").packed}
    lease = replace(LEASE, further=own)
    told = answer(request(dhcp.DISCOVER), lease)
    assert told is not None
    options = told[2]
    assert (options[26], options[67], options[3]) == (own[26], b"pxe", own[3])
    assert options[121].startswith(bytes([0, 10, 0, 0, 7]))
    assert 0 not in options
    message = dhcp.read(request(dhcp.DISCOVER))
    assert message is not None
    written = dhcp.reply(message, lease)
    assert written is not None
    assert written[20:24] == own[0]
