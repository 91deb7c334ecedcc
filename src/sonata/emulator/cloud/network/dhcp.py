"""DHCP for the ports of a network: who asks by its MAC address is told what its port has, anybody else nothing.

Leases need no memory: a port keeps its addresses while it exists. Sources: RFC 2131 (protocol), RFC 2132 (options),
RFC 3442 (classless routes).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from sonata._lib.values import dataclass

SERVER_PORT, CLIENT_PORT = 67, 68
LEASE_S = 86400
LONGEST_MESSAGE = 1500

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
_BOOTREQUEST, _BOOTREPLY, _ETHERNET = 1, 2, 1
_COOKIE = b"\x63\x82\x53\x63"
_HEADER = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s")
_SHORTEST_REPLY = 300  # BOOTP clients drop shorter ones

_MASK, _ROUTER, _DNS, _HOST_NAME, _DOMAIN, _MTU, _BROADCAST = 1, 3, 6, 12, 15, 26, 28
_REQUESTED, _LEASE_TIME, _TYPE, _SERVER, _MESSAGE, _RENEWAL, _REBINDING, _CLIENT_ID = 50, 51, 53, 54, 56, 58, 59, 61
_SEARCH_ROUTES = 121
_PAD, _END = 0, 255

RouteOption = tuple[IPv4Network, IPv4Address]


@dataclass(frozen=True, slots=True)
class Lease:
    """What a port is told.

    Args:
        server: the address from which DHCP is served.
        routes: besides the default one; told by option 121 together with it.
        further: options by number, instead of what is told otherwise; 0 is the server to boot from.
    """

    address: IPv4Interface
    server: IPv4Address
    router: IPv4Address | None = None
    nameservers: tuple[IPv4Address, ...] = ()
    domain: str = ""
    host_name: str = ""
    mtu: int = 1500
    routes: tuple[RouteOption, ...] = ()
    further: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Message:
    """A request of a client, as far as a server needs it."""

    kind: int
    transaction: int
    flags: int
    client: IPv4Address
    relay: bytes
    hardware: bytes
    options: Mapping[int, bytes]

    @property
    def mac(self) -> str:
        """The client's MAC address as OpenStack writes it."""
        return ":".join(f"{byte:02x}" for byte in self.hardware[:6])


def read(packet: bytes) -> Message | None:
    """A client's message; None for what is none."""
    if len(packet) < _HEADER.size + len(_COOKIE) or packet[_HEADER.size : _HEADER.size + 4] != _COOKIE:
        return None
    op, kind, length, _hops, transaction, _secs, flags, client, _your, _next, relay, hardware, _, _ = _HEADER.unpack(
        packet[: _HEADER.size]
    )
    if (op, kind, length) != (_BOOTREQUEST, _ETHERNET, 6):
        return None
    options = _read_options(packet[_HEADER.size + 4 :])
    if len(options.get(_TYPE, b"")) != 1:
        return None
    return Message(options[_TYPE][0], transaction, flags, IPv4Address(client), relay, hardware, options)


def reply(message: Message, lease: Lease) -> bytes | None:
    """What a server answers; None when it has nothing to say."""
    chosen = message.options.get(_SERVER)
    if chosen is not None and chosen != lease.server.packed:
        return None
    if message.kind == DISCOVER:
        return _written(message, lease, OFFER)
    if message.kind == INFORM:
        return _written(message, lease, ACK, given=False)
    if message.kind != REQUEST:
        return None
    wanted = message.options.get(_REQUESTED) or message.client.packed
    return _written(message, lease, ACK if wanted == lease.address.ip.packed else NAK)


def destination(message: Message) -> str:
    """Where an answer goes: to a client that has its address, else to everybody."""
    return str(message.client) if int(message.client) and message.kind != DISCOVER else "255.255.255.255"


def _read_options(data: bytes) -> dict[int, bytes]:
    """Options by code; what is cut off is left out."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 1 < len(data) and data[at] != _END:
        if data[at] == _PAD:
            at += 1
            continue
        length = data[at + 1]
        found[data[at]] = data[at + 2 : at + 2 + length]
        at += 2 + length
    return found


def _written(message: Message, lease: Lease, kind: int, *, given: bool = True) -> bytes:
    your = lease.address.ip.packed if given and kind != NAK else bytes(4)
    client = message.client.packed if kind == ACK else bytes(4)
    boot = lease.further.get(0, bytes(4))
    header = _HEADER.pack(
        _BOOTREPLY, _ETHERNET, 6, 0, message.transaction, 0, message.flags, client, your, boot, message.relay,
        message.hardware, b"", b"",
    )  # fmt: skip
    options = [(_TYPE, bytes([kind])), (_SERVER, lease.server.packed)]
    if kind == NAK:
        options.append((_MESSAGE, b"this address is not the port's"))
    else:
        options += [*_times(given), *_all_settings(lease)]
    if _CLIENT_ID in message.options:  # RFC 6842: to be given back
        options.append((_CLIENT_ID, message.options[_CLIENT_ID]))
    body = b"".join(bytes((code, len(value))) + value for code, value in options)
    return (header + _COOKIE + body + bytes([_END])).ljust(_SHORTEST_REPLY, b"\0")


def _times(given: bool) -> Iterable[tuple[int, bytes]]:
    if given:
        for code, seconds in ((_LEASE_TIME, LEASE_S), (_RENEWAL, LEASE_S // 2), (_REBINDING, LEASE_S * 7 // 8)):
            yield code, seconds.to_bytes(4, "big")


def _all_settings(lease: Lease) -> Iterable[tuple[int, bytes]]:
    """What a port is told: what its owner says goes first, also for the default route within option 121."""
    if chosen := lease.further.get(_ROUTER):
        lease = replace(lease, router=IPv4Address(chosen[:4]))
    return (dict(_settings(lease)) | {code: value for code, value in lease.further.items() if code}).items()


def _settings(lease: Lease) -> Iterable[tuple[int, bytes]]:
    yield _MASK, lease.address.netmask.packed
    yield _BROADCAST, lease.address.network.broadcast_address.packed
    yield _MTU, lease.mtu.to_bytes(2, "big")
    if lease.router:
        yield _ROUTER, lease.router.packed
    if lease.nameservers:
        yield _DNS, b"".join(server.packed for server in lease.nameservers[:16])
    for code, text in ((_DOMAIN, lease.domain), (_HOST_NAME, lease.host_name)):
        if text:
            yield code, text.encode()[:255]
    if lease.routes:
        yield _SEARCH_ROUTES, _classless(lease)


def _classless(lease: Lease) -> bytes:
    """Option 121; the default route is in it, since clients then ignore option 3. As many routes as fit."""
    default = ((IPv4Network(0).supernet(new_prefix=0), lease.router),) if lease.router else ()
    written = b""
    for network, via in (*default, *lease.routes):
        octets = (network.prefixlen + 7) // 8
        one = bytes([network.prefixlen]) + network.network_address.packed[:octets] + via.packed
        if len(written) + len(one) <= 255:
            written += one
    return written
