"""Packets of a link as a stream in pcap form (libpcap file format 2.4, little-endian, microseconds)."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import time
from collections.abc import AsyncIterator

MAX_SECONDS = 3600.0
_SNAP_LENGTH = 262144
_ETHERNET = 1
_FILE_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, _SNAP_LENGTH, _ETHERNET)


async def pcap_stream(tap: socket.socket, seconds: float) -> AsyncIterator[bytes]:
    """Yield a pcap file piece by piece for so many seconds; closes the packet socket at the end."""
    with tap:
        tap.setblocking(False)
        yield _FILE_HEADER
        try:
            async with asyncio.timeout(seconds):
                while frame := await _received(tap):
                    yield _packet(frame)
                    await asyncio.sleep(0)  # a busy link must not keep others from their turn
        except TimeoutError:
            return


async def _received(tap: socket.socket) -> bytes:
    """The next frame; a link that goes down meanwhile may come up again."""
    while True:
        try:
            return await asyncio.get_running_loop().sock_recv(tap, _SNAP_LENGTH)
        except OSError as error:
            if error.errno != errno.ENETDOWN:
                raise


def _packet(frame: bytes) -> bytes:
    microseconds = time.time_ns() // 1000
    header = struct.pack("<IIII", microseconds // 1_000_000, microseconds % 1_000_000, len(frame), len(frame))
    return header + frame
