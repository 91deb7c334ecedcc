"""Packet sockets that hear who on a network looks for somebody: a classic BPF program lets nothing else through.

The socket is on the network's bridge, which takes every broadcast and multicast of the network for itself, too, and
nothing that is sent to one station alone. Sources: RFC 826 (ARP), RFC 2131 (DHCP), RFC 4861 (neighbours and routers of
IPv6), RFC 8415 (DHCPv6); linux/{filter,if_packet}.h.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Collection, Iterable, Sequence

from sonata._lib.ip import Address
from sonata.adapters.fabric_linux.netspace import Netspace, failed

_SOL_PACKET, _PACKET_IGNORE_OUTGOING, _SO_ATTACH_FILTER = 263, 23, 26
_ALL_PROTOCOLS = 0x0003
_ARP, _IPV4, _IPV6 = 0x0806, 0x0800, 0x86DD
_ARP_REQUEST, _UDP, _ICMPV6 = 1, 17, 58
_DHCP_SERVER, _DHCPV6_SERVER = 67, 547
_ROUTER_SOLICITATION, _NEIGHBOUR_SOLICITATION = 133, 135
_WORD, _HALF, _BYTE, _HALF_AFTER_HEADER = 0x20, 0x28, 0x30, 0x48
_HEADER_LENGTH, _IF_EQUAL, _SKIP, _RETURN = 0xB1, 0x15, 0x05, 0x06
_STEP = struct.Struct("=HBBI")
_PROGRAM = struct.Struct("=H6xQ")

Step = tuple[int, int, int, int]
"""What to do, how many steps to leave out where a comparison holds and where it does not, and a number."""

_NO: Step = (_RETURN, 0, 0, 0)
_YES: Step = (_RETURN, 0, 0, 0xFFFFFFFF)
_ETHERNET = 14
_TYPE = 12
_ARP_KIND, _ARP_TARGET = _ETHERNET + 6, _ETHERNET + 24
_PROTOCOL_4, _PROTOCOL_6 = _ETHERNET + 9, _ETHERNET + 6
_BODY_6 = _ETHERNET + 40
_TO_PORT, _SOLICITED = 2, 8


def listen(
    netspace: Netspace, ifname: str, addresses: Collection[Address], *, for_services: bool = False
) -> socket.socket:
    """A packet socket on a bridge that hears who looks for these addresses, also where that is the PoP itself.

    Args:
        netspace: the PoP's.
        ifname: of the bridge.
        addresses: who is looked for.
        for_services: hear who asks for DHCP, or for a router by IPv6, too, and not the PoP: it asks for no services.

    Raises:
        PermanentError: the machine does not let us.
    """
    try:
        return _listen(netspace, ifname, _program(addresses, for_services=for_services), deaf_to_own=for_services)
    except OSError as error:
        raise failed(netspace.name, error) from error


def listen_for(ear: socket.socket, addresses: Collection[Address]) -> None:
    """Have a socket that does not listen for services hear who looks for these addresses, and for no others any more.

    Raises:
        PermanentError: the machine does not let us.
    """
    try:
        _attach(ear, _program(addresses, for_services=False))
    except OSError as error:
        raise failed("a packet socket", error) from error


def _listen(netspace: Netspace, ifname: str, program: Sequence[Step], *, deaf_to_own: bool) -> socket.socket:
    with netspace.entered():
        heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    try:
        _attach(heard, program)
        heard.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, deaf_to_own)
        heard.bind((ifname, _ALL_PROTOCOLS))
    except OSError:
        heard.close()
        raise
    return heard


def _attach(heard: socket.socket, program: Sequence[Step]) -> None:
    steps = ctypes.create_string_buffer(b"".join(_STEP.pack(*step) for step in program))
    heard.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _PROGRAM.pack(len(program), ctypes.addressof(steps)))


def _program(addresses: Collection[Address], *, for_services: bool) -> list[Step]:
    four = [address for address in addresses if address.version == 4]
    six = [address for address in addresses if address.version == 6]
    return [
        (_HALF, 0, 0, _TYPE),
        *_where(_ARP, _sought(four)),
        *_where(_IPV6, _of_six(six, for_services=for_services)),
        *(_where(_IPV4, _dhcp()) if for_services else ()),
        _NO,
    ]


def _where(value: int, steps: Sequence[Step]) -> list[Step]:
    """These steps where what was loaded last is this value; they end by themselves."""
    return [(_IF_EQUAL, 1, 0, value), (_SKIP, 0, 0, len(steps)), *steps]


def _unless(value: int) -> list[Step]:
    """No, unless what was loaded last is this value."""
    return [(_IF_EQUAL, 1, 0, value), _NO]


def _sought(addresses: Iterable[Address]) -> list[Step]:
    asked = [step for address in addresses for step in _where(int(address), [_YES])]
    return [(_HALF, 0, 0, _ARP_KIND), *_unless(_ARP_REQUEST), (_WORD, 0, 0, _ARP_TARGET), *asked, _NO]


def _dhcp() -> list[Step]:
    port = (_HALF_AFTER_HEADER, 0, 0, _ETHERNET + _TO_PORT)
    head = [(_BYTE, 0, 0, _PROTOCOL_4), *_unless(_UDP), (_HEADER_LENGTH, 0, 0, _ETHERNET), port]
    return [*head, *_where(_DHCP_SERVER, [_YES]), _NO]


def _of_six(addresses: Iterable[Address], *, for_services: bool) -> list[Step]:
    dhcp = [(_HALF, 0, 0, _BODY_6 + _TO_PORT), *_where(_DHCPV6_SERVER, [_YES if for_services else _NO]), _NO]
    routers = _where(_ROUTER_SOLICITATION, [_YES]) if for_services else []
    kinds = [(_BYTE, 0, 0, _BODY_6), *routers, *_unless(_NEIGHBOUR_SOLICITATION)]
    asked = [step for address in addresses for step in _solicited(address)]
    return [(_BYTE, 0, 0, _PROTOCOL_6), *_where(_UDP, dhcp), *_where(_ICMPV6, [*kinds, *asked, _NO]), _NO]


def _solicited(address: Address) -> list[Step]:
    """Yes where a neighbour is solicited that has this address; word by word, the last one first."""
    steps: list[Step] = [_YES]
    for place, word in reversed(list(enumerate(struct.unpack("!4I", address.packed)))):
        steps = [(_WORD, 0, 0, _BODY_6 + _SOLICITED + 4 * place), *_where(word, steps)]
    return steps
