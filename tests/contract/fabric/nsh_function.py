"""A function that knows NSH: it takes packets with a network service header, counts its index down, and gives it back.

The fields are read off by RFC 8300, section 2: nothing of the product is used.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .conftest import World

ETHERTYPE = 0x894F
BASE_AND_PATH = struct.Struct("!HBBI")


@dataclass(frozen=True)
class Header:
    """A network service header of metadata type 1, field by field."""

    version: int
    is_oam: bool
    ttl: int
    length: int
    md_type: int
    next_protocol: int
    path: int
    index: int
    metadata: bytes
    inner: bytes


def read(packet: bytes) -> Header:
    """Decode what begins with a network service header."""
    first, md_type, next_protocol, path_and_index = BASE_AND_PATH.unpack_from(packet)
    length = first & 0x3F
    return Header(
        version=first >> 14,
        is_oam=bool(first >> 13 & 1),
        ttl=first >> 6 & 0x3F,
        length=length,
        md_type=md_type & 0x0F,
        next_protocol=next_protocol,
        path=path_and_index >> 8,
        index=path_and_index & 0xFF,
        metadata=packet[8 : 4 * length],
        inner=packet[4 * length :],
    )


Change = Callable[[bytearray], None]


def count_down(packet: bytearray) -> None:
    """What every service function does: the index is the eighth byte."""
    packet[7] -= 1


class NshFunction:
    """Forwards from each of its interfaces to the other, or back over the only one; notes the headers that it takes."""

    def __init__(self, world: World, machine: str, change: Change, interfaces: tuple[str, ...]) -> None:
        self.seen: dict[str, list[Header]] = {name: [] for name in interfaces}
        self._change = change
        self._sockets = {name: _packets(world, machine, name) for name in interfaces}
        pairs = zip(interfaces, reversed(interfaces), strict=True)
        self._threads = [threading.Thread(target=self._forward, args=pair) for pair in pairs]
        self._is_over = threading.Event()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        for one in self._sockets.values():
            one.close()

    def _forward(self, taken: str, given: str) -> None:
        while not self._is_over.is_set():
            try:
                frame, origin = self._sockets[taken].recvfrom(2048)
            except TimeoutError:
                continue
            if origin[2] == socket.PACKET_OUTGOING:
                continue
            packet = bytearray(frame[14:])
            self.seen[taken].append(read(bytes(packet)))
            self._change(packet)
            self._sockets[given].send(frame[6:12] + frame[:6] + frame[12:14] + packet)


def _packets(world: World, machine: str, interface: str) -> socket.socket:
    made = world.socket(machine, socket.SOCK_RAW, socket.AF_PACKET, 0)
    made.settimeout(0.05)
    made.bind((interface, ETHERTYPE))
    return made


@contextmanager
def knowing_nsh(
    world: World, machine: str, change: Change = count_down, interfaces: tuple[str, ...] = ("eth0", "eth1")
) -> Iterator[NshFunction]:
    """Have a machine be such a function."""
    function = NshFunction(world, machine, change, interfaces)
    try:
        yield function
    finally:
        function.close()
