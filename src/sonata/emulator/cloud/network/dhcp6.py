"""DHCP for IPv6: who asks is known by the MAC address in its identifier or its link-local address.

Leases need no memory: a port keeps its addresses while it exists. Sources: RFC 8415 (protocol), RFC 3646 (DNS options).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from ipaddress import AddressValueError, IPv6Address

from sonata._lib.values import dataclass

SERVER_PORT = 547
SERVERS = IPv6Address("ff02::1:2")
"""All servers and relay agents on a link."""
LEASE_S = 86400

SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE = range(1, 10)
INFORMATION_REQUEST = 11
CLIENT_ID, SERVER_ID, IA_NA, IA_ADDRESS, STATUS, RAPID_COMMIT, NAME_SERVERS, SEARCH = 1, 2, 3, 5, 13, 14, 23, 24
SUCCESS, NO_ADDRESSES, NOT_ON_LINK = 0, 2, 4

_DUID_WITH_TIME, _DUID_OF_LINK, _ETHERNET = 1, 3, 1
_TO_ONE_SERVER = frozenset((REQUEST, RENEW, RELEASE, DECLINE))
_TO_ALL_SERVERS = frozenset((SOLICIT, CONFIRM, REBIND))

Option = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Lease:
    """What a port is told.

    Args:
        server_mac: MAC address of who answers; its identifier is made of it.
        addresses: those that DHCP gives out, which is none where hosts make their own.
        further: options by number, instead of what is told otherwise.
    """

    server_mac: str
    addresses: tuple[IPv6Address, ...] = ()
    nameservers: tuple[IPv6Address, ...] = ()
    domain: str = ""
    further: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def server(self) -> bytes:
        """The server's identifier."""
        return struct.pack("!HH", _DUID_OF_LINK, _ETHERNET) + bytes.fromhex(self.server_mac.replace(":", ""))


@dataclass(frozen=True, slots=True)
class Message:
    """A request of a client."""

    kind: int
    transaction: bytes
    options: tuple[Option, ...]

    def first(self, code: int) -> bytes | None:
        """The first option of a kind."""
        return next((value for known, value in self.options if known == code), None)


def read(packet: bytes) -> Message | None:
    """A client's message; None for what is none."""
    if len(packet) < 4 or packet[0] not in {*_TO_ONE_SERVER, *_TO_ALL_SERVERS, INFORMATION_REQUEST}:
        return None
    return Message(packet[0], packet[1:4], tuple(_read_options(packet[4:])))


def mac_of(message: Message, source: str) -> str:
    """The MAC address of who asks, by its identifier, else by its address; empty when neither tells."""
    identifier = message.first(CLIENT_ID) or b""
    kind, hardware = struct.unpack("!HH", identifier[:4]) if len(identifier) >= 4 else (0, 0)
    if hardware == _ETHERNET and (kind, len(identifier)) in ((_DUID_WITH_TIME, 14), (_DUID_OF_LINK, 10)):
        return identifier[-6:].hex(":")
    try:
        host = IPv6Address(source.partition("%")[0]).packed[8:]
    except AddressValueError:
        return ""
    return (bytes((host[0] ^ 2,)) + host[1:3] + host[5:]).hex(":") if host[3:5] == b"\xff\xfe" else ""


def reply(message: Message, lease: Lease) -> bytes | None:
    """What the server answers; None when it has nothing to say."""
    client, chosen = message.first(CLIENT_ID), message.first(SERVER_ID)
    if chosen not in (None, lease.server) or (chosen is None and message.kind in _TO_ONE_SERVER):
        return None
    if client is None and message.kind != INFORMATION_REQUEST:
        return None
    quick = message.kind == SOLICIT and message.first(RAPID_COMMIT) is not None
    kind = ADVERTISE if message.kind == SOLICIT and not quick else REPLY
    options: list[Option] = [(SERVER_ID, lease.server)]
    if client is not None:
        options.append((CLIENT_ID, client))
    if quick:
        options.append((RAPID_COMMIT, b""))
    options += _said(message, lease)
    return bytes([kind]) + message.transaction + _written(options)


def _said(message: Message, lease: Lease) -> Iterator[Option]:
    if message.kind in (RELEASE, DECLINE):
        yield STATUS, SUCCESS.to_bytes(2)
        return
    if message.kind == CONFIRM:
        own = {address for known in _associations(message) for address in _addresses(known)} <= set(lease.addresses)
        yield STATUS, (SUCCESS if own else NOT_ON_LINK).to_bytes(2)
        return
    if message.kind != INFORMATION_REQUEST:
        free: Sequence[IPv6Address] = lease.addresses
        for association in _associations(message):
            yield IA_NA, _association(association, free)
            free = ()
    yield from {**dict(_settings(lease)), **lease.further}.items()


def _settings(lease: Lease) -> Iterator[Option]:
    if lease.nameservers:
        yield NAME_SERVERS, b"".join(server.packed for server in lease.nameservers)
    if lease.domain:
        labels = [label.encode() for label in lease.domain.split(".")]
        yield SEARCH, b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _associations(message: Message) -> list[bytes]:
    return [value for code, value in message.options if code == IA_NA and len(value) >= 12]


def _addresses(association: bytes) -> list[IPv6Address]:
    """The addresses that a client believes to have."""
    found = (value for code, value in _read_options(association[12:]) if code == IA_ADDRESS and len(value) >= 24)
    return [IPv6Address(value[:16]) for value in found]


def _association(asked: bytes, addresses: Sequence[IPv6Address]) -> bytes:
    """What a client has from now on; what else it believes to have ends."""
    head = asked[:4] + struct.pack("!II", LEASE_S // 2, LEASE_S * 7 // 8)
    if not addresses:
        return head + _written([(STATUS, NO_ADDRESSES.to_bytes(2) + b"this port has no address by DHCP")])
    lifetimes = dict.fromkeys(_addresses(asked), 0) | dict.fromkeys(addresses, LEASE_S)
    given = (address.packed + struct.pack("!II", left, left) for address, left in lifetimes.items())
    return head + _written((IA_ADDRESS, value) for value in given)


def _read_options(data: bytes) -> Iterator[Option]:
    """Options in their order; what is cut off is left out."""
    while len(data) >= 4:
        code, length = struct.unpack("!HH", data[:4])
        if len(data) >= 4 + length:
            yield code, data[4 : 4 + length]
        data = data[4 + length :]


def _written(options: Iterable[Option]) -> bytes:
    return b"".join(struct.pack("!HH", code, len(value)) + value for code, value in options)
