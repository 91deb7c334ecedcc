"""Runs inside an appliance of the provider `nftables`, on the Python of the machine and its standard library alone.

`prober.py watch FOLDER` probes the members that FOLDER/targets.json names and writes FOLDER/health.json once a second:
their health, the counters of nftables and the connections that stand. `prober.py forget ADDRESS PORT` drops the
connections that lead to a member, so that their next packet is given to another one.

Sources: linux/netfilter/nfnetlink_conntrack.h, linux/neighbour.h, RFC 792 (echo), RFC 9110 (status codes).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import re
import socket
import ssl
import struct
import sys
from collections.abc import Iterator
from typing import Any

_NETLINK_NETFILTER = 12
_CT_GET, _CT_DELETE = 0x0101, 0x0102
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_DONE, _ERROR = 3, 2
_TUPLE_ORIGINAL, _TUPLE_REPLY, _TUPLE_IP, _TUPLE_PROTO = 1, 2, 1, 2
_PROTOCOL_STATE, _TCP, _TCP_STATE, _ESTABLISHED = 4, 1, 1, 3
_IP_SOURCE, _IP_DESTINATION, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 2, 3
_TYPE = 0x3FFF
_NEIGHBOUR_SET, _NEIGHBOUR_ADDRESS, _NEIGHBOUR_PROBE, _ARP_COMPLETE = 28, 1, 0x10, 0x2
_EVERY_S = 1.0

Target = dict[str, Any]
Attributes = dict[int, bytes]


# probes


async def probe(target: Target) -> bool:
    """Whether a member answers as it should."""
    try:
        if target["type"] == "UDP-CONNECT":  # where silence is no failure, and ends the waiting by itself
            return await _udp(target)
        async with asyncio.timeout(target["timeout"]):
            return await _PROBES[target["type"]](target)
    except (OSError, TimeoutError, ssl.SSLError, ValueError):
        return False


async def _tcp(target: Target) -> bool:
    _reader, writer = await asyncio.open_connection(target["address"], target["port"])
    writer.close()
    return True


async def _tls(target: Target) -> bool:
    _reader, writer = await asyncio.open_connection(target["address"], target["port"], ssl=_no_questions())
    writer.close()
    return True


async def _http(target: Target) -> bool:
    secure = _no_questions() if target["type"] == "HTTPS" else None
    reader, writer = await asyncio.open_connection(target["address"], target["port"], ssl=secure)
    try:
        host = target["domain"] or target["address"]
        head = (
            f"{target['method']} {target['path']} HTTP/{target['version']}\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode())
        status = re.match(rb"HTTP/1\.[01] (\d{3})", await reader.readline())
        return status is not None and status[1].decode() in target["codes"]
    finally:
        writer.close()


async def _udp(target: Target) -> bool:
    """A port is closed when the member says so (RFC 792, port unreachable); silence means open.

    A member that is gone cannot say so: of the silent ones those are well whose address still has an owner.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near:
        near.setblocking(False)
        near.connect((target["address"], target["port"]))
        near.send(b"")
        try:
            async with asyncio.timeout(min(target["timeout"], 1) * 0.8):
                await asyncio.get_running_loop().sock_recv(near, 1)
        except TimeoutError:
            return near.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 and _has_owner(target["address"])
        return True


async def _ping(target: Target) -> bool:
    mark = os.urandom(8)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as near:
        near.setblocking(False)
        near.connect((target["address"], 0))
        near.send(_echo_request(mark))
        while True:
            packet = await asyncio.get_running_loop().sock_recv(near, 2048)
            body = packet[(packet[0] & 15) * 4 :]
            if body[:1] == b"\0" and body[8:16] == mark:
                return True


def _echo_request(mark: bytes) -> bytes:
    def message(checksum: int) -> bytes:
        return struct.pack("!BBHHH", 8, 0, checksum, 1, 1) + mark

    total = sum(struct.unpack("!8H", message(0)))
    total = (total >> 16) + (total & 0xFFFF)
    return message(~(total + (total >> 16)) & 0xFFFF)


@functools.cache
def _no_questions() -> ssl.SSLContext:
    """Members have certificates of their own making; only that they speak TLS is asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_PROBES = {"TCP": _tcp, "TLS-HELLO": _tls, "HTTP": _http, "HTTPS": _http, "PING": _ping}


# neighbours


def _has_owner(address: str) -> bool:
    """Whether somebody has an address of this network, as the kernel knows it; it is told to ask the owner again.

    Without being told so it relies for up to a minute on what it has heard (arp(7)). Addresses behind a router are
    taken to have one.
    """
    with open("/proc/net/arp") as table:
        entries = (line.split() for line in table.readlines()[1:])
        interface, flags = next(((entry[5], int(entry[2], 16)) for entry in entries if entry[0] == address), ("", 0))
    if interface and flags & _ARP_COMPLETE:
        _verify_neighbour(interface, address)
    return not interface or bool(flags & _ARP_COMPLETE)


def _verify_neighbour(interface: str, address: str) -> None:
    """Let the kernel ask a known neighbour whether it is there (RFC 1122, 2.3.2.1, unicast poll)."""
    neighbour = struct.pack("BxxxiHBB", socket.AF_INET, socket.if_nametoindex(interface), _NEIGHBOUR_PROBE, 0, 0)
    body = neighbour + struct.pack("HH", 8, _NEIGHBOUR_ADDRESS) + socket.inet_aton(address)
    with contextlib.suppress(OSError):  # it has left the table meanwhile
        for _answer in _netlink(socket.NETLINK_ROUTE, _NEIGHBOUR_SET, _REQUEST | _ACK, body):
            pass


# watching


class Watch:
    """Health of members: one probing task each, replaced when the member's settings change."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._read_at = 0
        self._targets: dict[str, Target] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._health: dict[str, str] = {}

    async def run(self) -> None:
        """Go on for ever."""
        while True:
            self._reread()
            document = {"health": self._health, "counters": await _counters(), "connections": _connections()}
            self._write(document)
            await asyncio.sleep(_EVERY_S)

    def _reread(self) -> None:
        path = f"{self._folder}/targets.json"
        changed = os.stat(path).st_mtime_ns
        if changed == self._read_at:
            return
        self._read_at = changed
        with open(path) as stream:
            wanted = json.load(stream)
        for name in {*self._targets, *wanted}:
            if self._targets.get(name) != wanted.get(name):
                self._replace(name, wanted.get(name))
        self._targets = wanted

    def _replace(self, name: str, target: Target | None) -> None:
        if task := self._tasks.pop(name, None):
            task.cancel()
        if target is None:
            self._health.pop(name, None)
        else:
            self._tasks[name] = asyncio.get_running_loop().create_task(self._follow(name, target))

    async def _follow(self, name: str, target: Target) -> None:
        good = bad = 0
        while True:
            well = await probe(target)
            good, bad = (good + 1, 0) if well else (0, bad + 1)
            known = self._health.get(name)
            if well and (known is None or good >= target["rise"]):
                self._health[name] = "ONLINE"
            elif bad >= target["fall"]:
                self._health[name] = "ERROR"
            await asyncio.sleep(target["delay"])

    def _write(self, document: dict[str, Any]) -> None:
        scratch = f"{self._folder}/health.new"
        with open(scratch, "w") as stream:
            json.dump(document, stream)
        os.replace(scratch, f"{self._folder}/health.json")


async def _counters() -> dict[str, list[int]]:
    """Packets and bytes by the counter's name."""
    asked = ("nft", "-j", "list", "counters", "table", "ip", "balancer")
    process = await asyncio.create_subprocess_exec(*asked, stdout=-1, stderr=-3)
    answer, _ = await process.communicate()
    if process.returncode:
        return {}
    found = (entry.get("counter") for entry in json.loads(answer)["nftables"])
    return {one["name"]: [one["packets"], one["bytes"]] for one in found if one}


# conntrack


def _connections() -> dict[str, int]:
    """How many connections are open, by `address port` that clients used; of UDP those that have not gone quiet."""
    found: dict[str, int] = {}
    for entry in filter(_is_open, _conntrack()):
        address, port = _end(entry[_TUPLE_ORIGINAL], _IP_DESTINATION, _DESTINATION_PORT)
        name = f"{address} {port}"
        found[name] = found.get(name, 0) + 1
    return found


def _is_open(entry: Attributes) -> bool:
    state = dict(_attributes(entry.get(_PROTOCOL_STATE, b""))).get(_TCP)
    return state is None or dict(_attributes(state))[_TCP_STATE][0] == _ESTABLISHED


def forget(address: str, port: int) -> None:
    """Drop the connections that lead to a member."""
    for entry in list(_conntrack()):
        if _end(entry[_TUPLE_REPLY], _IP_SOURCE, _SOURCE_PORT) == (address, port):
            body = entry[_TUPLE_ORIGINAL]
            attribute = struct.pack("HH", len(body) + 4, _TUPLE_ORIGINAL | 0x8000) + body
            for _answer in _ask(_CT_DELETE, _REQUEST | _ACK, attribute):
                pass


def _conntrack() -> Iterator[Attributes]:
    """All connections that have ports."""
    for answer in _ask(_CT_GET, _REQUEST | _DUMP, b""):
        entry = dict(_attributes(answer[4:]))
        protocol = dict(_attributes(dict(_attributes(entry[_TUPLE_ORIGINAL]))[_TUPLE_PROTO]))
        if _SOURCE_PORT in protocol:
            yield entry


def _end(body: bytes, which: int, port: int) -> tuple[str, int]:
    parts = dict(_attributes(body))
    address = dict(_attributes(parts[_TUPLE_IP]))[which]
    return socket.inet_ntoa(address), struct.unpack("!H", dict(_attributes(parts[_TUPLE_PROTO]))[port][:2])[0]


def _ask(kind: int, flags: int, body: bytes) -> Iterator[bytes]:
    """Payloads of the answers to one request about connections over IPv4."""
    return _netlink(_NETLINK_NETFILTER, kind, flags, struct.pack("!BBH", socket.AF_INET, 0, 0) + body)


# netlink


def _netlink(family: int, kind: int, flags: int, payload: bytes) -> Iterator[bytes]:
    """Payloads of the answers to one request."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family) as near:
        near.settimeout(5)
        near.send(struct.pack("IHHII", len(payload) + 16, kind, flags, 1, 0) + payload)
        while True:
            data = near.recv(1 << 18)
            while data:
                length, answer, _flags, _number, _port = struct.unpack("IHHII", data[:16])
                if answer in (_DONE, _ERROR):
                    return
                yield data[16:length]
                data = data[length + 3 & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack("HH", data[:4])
        if length < 4:
            return
        yield kind & _TYPE, data[4:length]
        data = data[length + 3 & ~3 :]


def main(arguments: list[str]) -> None:
    """The command line."""
    if arguments[0] == "forget":
        forget(arguments[1], int(arguments[2]))
    else:
        asyncio.run(Watch(arguments[1]).run())


if __name__ == "__main__":
    main(sys.argv[1:])
