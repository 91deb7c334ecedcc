"""Netlink in batches: many requests per system call, errors told by the request that caused them.

The kernel answers a request without `NLM_F_ACK` only if it fails. A batch therefore asks for one acknowledgement, with
its last request, and knows when that arrives that all the others were done or have told their error before.
Source: RFC 3549; linux/netlink.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
NLM_F_DUMP_INTR, NLM_F_ACK_TLVS = 0x10, 0x200
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLA_F_NESTED = 0x8000
NLMSGERR_ATTR_MSG = 1

_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")
_BATCH = 128  # if all of them fail, their errors still fit into the default receive buffer
_RECEIVE_BYTES = 1 << 16  # twice what the kernel puts into one message; a longer buffer costs more than the answer


class Request(NamedTuple):
    """One change asked of the kernel.

    Args:
        kind: message type, e.g. RTM_NEWLINK.
        flags: without NLM_F_REQUEST and NLM_F_ACK, which the socket adds.
        body: family header and attributes.
        subject: what it is about, for error messages.
        tolerate: error numbers that count as success, e.g. EEXIST.
        about: what follows the subject in error messages; put into words only then.
    """

    kind: int
    flags: int
    body: bytes
    subject: str = ""
    tolerate: tuple[int, ...] = ()
    about: object = ""


class NetlinkError(OSError):
    """The kernel refused a request; `subject` tells which, `reason` carries the kernel's own words if it had any."""

    def __init__(self, number: int, subject: str, reason: str = "") -> None:
        self.subject = subject
        self.reason = reason or os.strerror(number)
        super().__init__(number, f"{subject}: {self.reason}")


def attribute(kind: int, payload: bytes) -> bytes:
    """Encode an attribute, padded to four bytes."""
    size = 4 + len(payload)
    return _ATTRIBUTE.pack(size, kind) + payload + b"\0" * (-size % 4)


def nested(kind: int, *inner: bytes) -> bytes:
    """Encode an attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(inner))


def text(kind: int, value: str) -> bytes:
    """Encode a zero-terminated string."""
    return attribute(kind, value.encode() + b"\0")


def u8(kind: int, value: int) -> bytes:
    """Encode an unsigned byte."""
    return attribute(kind, value.to_bytes(1, "little"))


def u16(kind: int, value: int) -> bytes:
    """Encode an unsigned 16 bit number."""
    return attribute(kind, struct.pack("=H", value))


def u16_network(kind: int, value: int) -> bytes:
    """Encode an unsigned 16 bit number in network byte order."""
    return attribute(kind, struct.pack("!H", value))


def u32(kind: int, value: int) -> bytes:
    """Encode an unsigned 32 bit number."""
    return attribute(kind, struct.pack("=I", value))


def u64(kind: int, value: int) -> bytes:
    """Encode an unsigned 64 bit number."""
    return attribute(kind, struct.pack("=Q", value))


def attributes(data: bytes) -> dict[int, bytes]:
    """Decode a sequence of attributes; of equal kinds the last one counts."""
    found = {}
    offset = 0
    while offset + 4 <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, offset)
        if size < 4:
            break
        found[kind & ~NLA_F_NESTED] = data[offset + 4 : offset + size]
        offset += (size + 3) & ~3
    return found


def encode(requests: Sequence[Request], first_sequence: int) -> bytes:
    """Encode a batch: numbered requests of which the last one asks for an acknowledgement."""
    last = len(requests) - 1
    parts = []
    for number, request in enumerate(requests):
        flags = request.flags | NLM_F_REQUEST | (NLM_F_ACK if number == last else 0)
        size = _HEADER.size + len(request.body)
        parts.append(_HEADER.pack(size, request.kind, flags, first_sequence + number, 0))
        parts.append(request.body + b"\0" * (-size % 4))
    return b"".join(parts)


class _Answer(NamedTuple):
    kind: int
    flags: int
    sequence: int
    payload: bytes


class NetlinkSocket:
    """A netlink socket of the namespace in which the calling thread is when it is made.

    Args:
        protocol: NETLINK_ROUTE unless told.
    """

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.bind((0, 0))
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0

    def fileno(self) -> int:
        """The socket's descriptor; it may be used for ioctl(2) on interfaces of its namespace."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; twice is no mistake."""
        self._socket.close()

    def apply(self, requests: Sequence[Request]) -> None:
        """Do all requests, in order.

        The kernel goes on after a refused request, so the others of its batch are done.

        Raises:
            NetlinkError: for the first request that was refused with an error that it does not tolerate.
        """
        refused: list[NetlinkError] = []
        for start in range(0, len(requests), _BATCH):
            refused += self._apply_batch(requests[start : start + _BATCH])
        if refused:
            raise refused[0]

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """Ask for all objects of a kind; returns the payloads of the answer, without netlink headers.

        Raises:
            NetlinkError: the kernel refused.
        """
        while True:
            payloads, interrupted = self._dump_once(kind, body)
            if not interrupted:
                return payloads

    def _apply_batch(self, batch: Sequence[Request]) -> list[NetlinkError]:
        first = self._next_sequences(len(batch))
        self._socket.send(encode(batch, first))
        refused = []
        for answer in self._receive():
            if answer.kind != NLMSG_ERROR or not first <= answer.sequence < first + len(batch):
                continue
            request = batch[answer.sequence - first]
            number = -_ERROR.unpack_from(answer.payload)[0]
            if number and number not in request.tolerate:
                refused.append(_refusal(number, f"{request.subject} {request.about}".rstrip(), answer))
            if answer.sequence == first + len(batch) - 1:
                break
        return refused

    def _dump_once(self, kind: int, body: bytes) -> tuple[list[bytes], bool]:
        sequence = self._next_sequences(1)
        self._socket.send(encode([Request(kind, NLM_F_DUMP, body)], sequence))
        payloads: list[bytes] = []
        interrupted = False
        for answer in self._receive():
            if answer.sequence != sequence:
                continue
            interrupted = interrupted or bool(answer.flags & NLM_F_DUMP_INTR)
            if answer.kind == NLMSG_DONE:
                break
            if answer.kind == NLMSG_ERROR:
                raise _refusal(-_ERROR.unpack_from(answer.payload)[0], f"dump of type {kind}", answer)
            payloads.append(answer.payload)
        return payloads, interrupted

    def _next_sequences(self, count: int) -> int:
        first = self._sequence + 1
        self._sequence += count
        return first

    def _receive(self) -> Iterator[_Answer]:
        while True:
            yield from split(self._socket.recv(_RECEIVE_BYTES))


def split(data: bytes) -> Iterator[_Answer]:
    """Split received bytes into messages."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        size, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        yield _Answer(kind, flags, sequence, data[offset + _HEADER.size : offset + size])
        offset += (size + 3) & ~3


def _refusal(number: int, subject: str, answer: _Answer) -> NetlinkError:
    reason = ""
    if answer.flags & NLM_F_ACK_TLVS:
        extra = attributes(answer.payload[_ERROR.size + _HEADER.size :])
        reason = extra.get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode(errors="replace")
    return NetlinkError(number or errno.EPROTO, subject, reason)
