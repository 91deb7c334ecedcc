"""A function that knows NSH: takes packets with a network service header (RFC 8300), and gives them back.

    sonata emu exec access/dpi -- python3 -c "$(cat examples/nsh/function.py)" eth0 eth1

What comes in at one interface leaves at the other, with the service index one less; with one interface, at the same.
A line is printed for each packet. It needs nothing but Python and packet sockets, which servers may open.
"""

from __future__ import annotations

import select
import socket
import struct
import sys

ETHERTYPE = 0x894F
HEADER = struct.Struct("!HBBI")
INDEX = 21


def packets(interface: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    made.bind((interface, ETHERTYPE))
    return made


def served(frame: bytes) -> bytes:
    """The frame to give back: its addresses swapped, its service index one less."""
    given = bytearray(frame[6:12] + frame[:6] + frame[12:])
    given[INDEX] -= 1
    return bytes(given)


def told(interface: str, frame: bytes) -> str:
    first, md_type, inner, path_and_index = HEADER.unpack_from(frame, 14)
    ttl, length = first >> 6 & 0x3F, 4 * (first & 0x3F)
    path, index = path_and_index >> 8, path_and_index & 0xFF
    size = len(frame) - 14 - length
    return f"{interface} path={path} index={index} ttl={ttl} type={md_type} inner={inner} bytes={size}"


def main(first: str, last: str) -> None:
    sides = {name: packets(name) for name in (first, last)}
    other = {sides[first]: sides[last], sides[last]: sides[first]}
    while True:
        for side in select.select(other, [], [])[0]:
            frame, (interface, _, direction, *_) = side.recvfrom(65535)
            if direction != socket.PACKET_OUTGOING and frame[INDEX]:
                print(told(interface, frame), flush=True)
                other[side].send(served(frame))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[-1])
