"""Packets of a link as a stream in pcap form (libpcap file format 2.4, little-endian, microseconds)."""

from __future__ import annotations

import asyncio
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
    loop = asyncio.get_running_loop()
    with tap:
        tap.setblocking(False)
        yield _FILE_HEADER
        try:
            async with asyncio.timeout(seconds):
                while True:
                    yield _packet(await loop.sock_recv(tap, _SNAP_LENGTH))
        except TimeoutError:
            return


def _packet(frame: bytes) -> bytes:
    microseconds = time.time_ns() // 1000
    header = struct.pack("<IIII", microseconds // 1_000_000, microseconds % 1_000_000, len(frame), len(frame))
    return header + frame
