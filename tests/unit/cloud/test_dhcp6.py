"""DHCP for IPv6 and router advertisements: what clients send, and what they are told."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sonata.emulator.cloud.network.dhcp6 as dhcp6
from sonata.emulator.cloud.entities.network import Subnet
from sonata.emulator.cloud.network.advertisements import advertisement

MAC = bytes.fromhex("fa1600000001")
CLIENT = b"\0\3\0\1" + MAC
OWN, OTHER = IPv6Address("fd00:1::5"), IPv6Address("fd00:1::6")
LEASE = dhcp6.Lease("fa:16:00:00:00:ff", (OWN,), (IPv6Address("fd00::53"),), "openstacklocal")
IAID = b"\1\2\3\4"


def option(code: int, value: bytes) -> bytes:
    return struct.pack("!HH", code, len(value)) + value


def wanted(*addresses: IPv6Address) -> bytes:
    """An association of a client's (RFC 8415, 21.4), with what it believes to have."""
    inside = b"".join(option(5, address.packed + bytes(8)) for address in addresses)
    return option(3, IAID + bytes(8) + inside)


def ask(kind: int, *options: bytes, lease: dhcp6.Lease = LEASE) -> tuple[int, dict[int, bytes]] | None:
    """Kind and options of the answer to a message."""
    message = dhcp6.read(bytes([kind]) + b"abc" + option(1, CLIENT) + b"".join(options))
    assert message is not None
    assert dhcp6.mac_of(message, "fe80::1") == "fa:16:00:00:00:01"
    told = dhcp6.reply(message, lease)
    if told is None:
        return None
    assert told[1:4] == b"abc"
    found, at = {}, 4
    while at < len(told):
        code, length = struct.unpack_from("!HH", told, at)
        found[code] = told[at + 4 : at + 4 + length]
        at += 4 + length
    assert (found[1], found[2]) == (CLIENT, lease.server)
    return told[0], found


def lifetimes(association: bytes) -> dict[IPv6Address, int]:
    """Addresses in an answer, with how long they hold."""
    found, at = {}, 12
    while at < len(association):
        code, length = struct.unpack_from("!HH", association, at)
        assert code == 5, association
        found[IPv6Address(association[at + 4 : at + 20])] = struct.unpack_from("!I", association, at + 24)[0]
        at += 4 + length
    return found


def test_a_client_is_offered_its_port_s_addresses_and_has_them_when_it_asks() -> None:
    offered = ask(dhcp6.SOLICIT, wanted())
    assert offered is not None
    assert offered[0] == dhcp6.ADVERTISE
    assert set(lifetimes(offered[1][3])) == {OWN}
    assert offered[1][3][:4] == IAID
    assert (offered[1][23], offered[1][24]) == (IPv6Address("fd00::53").packed, b"\x0eopenstacklocal\0")
    got = ask(dhcp6.REQUEST, option(2, LEASE.server), wanted(OWN))
    assert got is not None
    assert (got[0], set(lifetimes(got[1][3]))) == (dhcp6.REPLY, {OWN})
    quick = ask(dhcp6.SOLICIT, option(14, b""), wanted())
    assert quick is not None
    assert (quick[0], quick[1][14]) == (dhcp6.REPLY, b"")


def test_addresses_that_are_not_the_port_s_end() -> None:
    renewed = ask(dhcp6.RENEW, option(2, LEASE.server), wanted(OTHER))
    assert renewed is not None
    held = lifetimes(renewed[1][3])
    assert held[OTHER] == 0
    assert held[OWN] > 0
    for believed, status in ((OWN, 0), (OTHER, 4)):
        confirmed = ask(dhcp6.CONFIRM, wanted(believed))
        assert confirmed is not None
        assert confirmed[1][13] == status.to_bytes(2)


def test_where_hosts_address_themselves_dhcp_has_the_rest_only() -> None:
    stateless = replace(LEASE, addresses=())
    told = ask(dhcp6.INFORMATION_REQUEST, lease=stateless)
    assert told is not None
    assert (told[0], told[1][23]) == (dhcp6.REPLY, IPv6Address("fd00::53").packed)
    assert 3 not in told[1]
    offered = ask(dhcp6.SOLICIT, wanted(), lease=stateless)
    assert offered is not None
    assert offered[1][3][12:18] == b"\0\x0d\0\x22" + b"\0\2"


@pytest.mark.parametrize("kind", [dhcp6.REQUEST, dhcp6.RENEW, dhcp6.RELEASE, dhcp6.DECLINE])
def test_what_is_meant_for_another_server_is_left_to_it(kind: int) -> None:
    assert ask(kind, option(2, b"\0\3\0\1" + MAC), wanted()) is None
    assert ask(kind, wanted()) is None
    assert ask(kind, option(2, LEASE.server), wanted()) is not None


def test_clients_without_a_link_identifier_are_known_by_their_address() -> None:
    message = dhcp6.read(b"\1abc" + option(1, b"\0\2\0\0\xab\x11" + bytes(8)))
    assert message is not None
    assert dhcp6.mac_of(message, "fe80::f816:ff:fe00:1%eth0") == "fa:16:00:00:00:01"
    assert dhcp6.mac_of(message, "fe80::1") == ""


@given(st.binary(max_size=120))
def test_nonsense_is_survived(data: bytes) -> None:
    for packet in (data, b"\1abc" + option(1, CLIENT) + data, b"\3abc" + option(1, CLIENT) + option(3, data)):
        message = dhcp6.read(packet)
        if message:
            dhcp6.mac_of(message, "fe80::1")
            dhcp6.reply(message, LEASE)


@pytest.mark.parametrize(
    ("mode", "flags", "prefix_flags"),
    [("slaac", 0, 0xC0), ("dhcpv6-stateless", 0x40, 0xC0), ("dhcpv6-stateful", 0x80, 0x80)],
)
def test_an_advertisement_says_how_hosts_get_their_addresses(mode: str, flags: int, prefix_flags: int) -> None:
    subnet = Subnet(network_id="n", cidr=IPv6Network("fd00:1::/64"), ra_mode=mode, dns_nameservers=("fd00::53",))
    told = advertisement([subnet], "fa:16:00:00:00:ff", 1400)
    assert told is not None
    assert (told[0], told[5], told[6:8]) == (134, flags, b"\0\0")
    assert told[16:24] == b"\1\1" + bytes.fromhex("fa16000000ff")
    assert told[24:32] == b"\5\1\0\0" + (1400).to_bytes(4)
    assert (told[32:36], told[48:64]) == (bytes((3, 4, 64, prefix_flags)), IPv6Address("fd00:1::").packed)
    assert told[64:72] == b"\x19\3\0\0\xff\xff\xff\xff"
    assert len(told) == 88


def test_nothing_is_advertised_without_a_mode() -> None:
    plain = Subnet(network_id="n", cidr=IPv6Network("fd00:1::/64"), address_mode="slaac")
    assert advertisement([plain, replace(plain, ra_mode="slaac", enable_dhcp=False)], "fa:16:00:00:00:ff", 1500) is None
