"""What travels between the host and the agent of a virtual machine: frames of a command's number, a kind and a payload.

Runs on both sides, so with the standard library alone.
"""

import struct

_HEADER = struct.Struct(">IIB")

HELLO, RUN, INPUT, INPUT_END, SIGNAL, RESIZE, CREDIT, DROP = range(8)
STARTED, FAILED, OUTPUT, ERRORS, ENDED = range(8, 13)

WINDOW = 1 << 18
"""Bytes of a command's output that may be on their way; whoever takes them gives as much credit again."""

LONGEST = 1 << 16


def frame(number, kind, payload=b""):  # type: (int, int, bytes) -> bytes
    """A frame as it is sent."""
    return _HEADER.pack(len(payload), number, kind) + payload


class Frames:
    """Frames out of pieces of a stream."""

    def __init__(self):  # type: () -> None
        self._rest = b""

    def take(self, piece):  # type: (bytes) -> list[tuple[int, int, bytes]]
        """The frames that are whole with this piece: number, kind and payload."""
        rest = self._rest + piece
        whole = []
        begin = 0
        while len(rest) - begin >= _HEADER.size:
            length, number, kind = _HEADER.unpack_from(rest, begin)
            end = begin + _HEADER.size + length
            if len(rest) < end:
                break
            whole.append((number, kind, rest[begin + _HEADER.size : end]))
            begin = end
        self._rest = rest[begin:]
        return whole
