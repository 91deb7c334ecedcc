"""The sockets at which a network's services hear IPv6 hosts: DHCP, and solicitations of routers."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack

import sonata.emulator.cloud.network.advertisements as advertisements
import sonata.emulator.cloud.network.dhcp6 as dhcp6
from sonata._lib.values import dataclass

logger = logging.getLogger(__name__)

_LONGEST = 1500
_ICMP6_FILTER, _WORDS = 1, struct.Struct("=8I")


@dataclass(frozen=True, slots=True)
class SocketsOfSix:
    """Open sockets."""

    dhcp: socket.socket
    advertising: socket.socket


def sockets_of_six(opened: ExitStack, interface: str) -> SocketsOfSix:
    """The sockets on an interface; runs in its namespace. `opened` closes them."""
    datagrams = opened.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    raw = opened.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6))
    raw.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, _solicitations_only())
    number = struct.pack("=I", socket.if_nametoindex(interface))
    for one, group in ((datagrams, dhcp6.SERVERS), (raw, advertisements.ROUTERS)):
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group.packed + number)
    for option in (socket.IPV6_UNICAST_HOPS, socket.IPV6_MULTICAST_HOPS):
        raw.setsockopt(socket.IPPROTO_IPV6, option, advertisements.HOP_LIMIT)
    datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    datagrams.bind(("::", dhcp6.SERVER_PORT))
    return SocketsOfSix(datagrams, raw)


def _solicitations_only() -> bytes:
    """The set of types that are not let through (RFC 3542, 3.2): all but one."""
    words = [0xFFFFFFFF] * 8
    word, bit = divmod(advertisements.SOLICITATION, 32)
    words[word] &= ~(1 << bit)
    return _WORDS.pack(*words)


class Advertising:
    """Answers solicitations of routers."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, opened: socket.socket, answer: Callable[[], bytes | None]
    ) -> None:
        self._loop = loop
        self._socket = opened
        self._answer = answer
        loop.add_reader(opened, self._hear)

    def close(self) -> None:
        """Hear no more."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _hear(self) -> None:
        try:
            _, source = self._socket.recvfrom(_LONGEST)
            if answer := self._answer():
                # Who has no address yet is told with everybody else.
                target = "ff02::1" if source[0] == "::" else source[0]
                self._socket.sendto(answer, (target, *source[1:]))
        except OSError as error:
            logger.debug("a solicitation went unanswered", extra={"cause": str(error)})
