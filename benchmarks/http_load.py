"""A load generator over raw sockets, for a process of its own: what it costs must not count for the server.

Reads a `Load` as JSON from standard input and writes a `Found` to standard output. Each connection is kept alive, sends
its next request when the answer to the last one has been read to its end, and takes the requests in turn.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

MIB = 1024**2


@dataclass(frozen=True)
class Load:
    """What to ask, how often, and whom.

    Args:
        server: process whose CPU time is told.
        requests: complete requests as text, asked in turn.
        change: a request sent on a connection of its own before every `change_every`-th; its time is part of the whole.
    """

    host: str
    port: int
    server: int
    requests: Sequence[str]
    count: int
    connections: int = 1
    change: str = ""
    change_every: int = 0


@dataclass(frozen=True)
class Found:
    """What came of a load.

    Args:
        requests: how many were answered, without the changes.
        taken_s: from the first request to the last answer.
        server_cpu_s: what the server used meanwhile.
        delays_ms: of each request, sorted.
    """

    requests: int
    taken_s: float
    server_cpu_s: float
    bytes_read: int
    delays_ms: Sequence[float]


class Connection:
    """One connection that asks one request at a time."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(4 * MIB)
        self._filled = self._wanted = 0
        self._begun = 0.0

    def send(self, request: bytes) -> None:
        """Ask; the answer is read with `receive`."""
        self._filled = self._wanted = 0
        self._begun = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> float:
        """Read what is there; the milliseconds since the request once its answer is complete, else 0."""
        read = self.socket.recv_into(memoryview(self._buffer)[self._filled :])
        if not read:
            raise ConnectionError("the server hung up")
        self._filled += read
        if not self._wanted and (end := self._buffer.find(b"\r\n\r\n", 0, self._filled)) >= 0:
            self._wanted = end + 4 + self._length(bytes(self._buffer[:end]))
        if not self._wanted or self._filled < self._wanted:
            return 0.0
        return (time.perf_counter() - self._begun) * 1e3

    def ask(self, request: bytes) -> int:
        """Ask and wait for the answer; its length."""
        self.send(request)
        while not self.receive():
            continue
        return self._wanted

    @property
    def read(self) -> int:
        """Length of the answer that was read last."""
        return self._wanted

    def _length(self, head: bytes) -> int:
        status = int(head.split(b" ", 2)[1])
        if status >= 300:
            raise RuntimeError(f"refused: {head[:300]!r}")
        lines = (line.partition(b":") for line in head.lower().split(b"\r\n"))
        return next(int(value) for name, _, value in lines if name == b"content-length")


def generate(load: Load) -> Found:
    """Put the load on the server."""
    connections = [Connection(load.host, load.port) for _ in range(load.connections)]
    changer = Connection(load.host, load.port)
    before_cpu, begun = _cpu_of(load.server), time.perf_counter()
    delays, read = [], 0
    for delay, length in _asked(load, connections, changer):
        delays.append(delay)
        read += length
    taken = time.perf_counter() - begun
    return Found(len(delays), taken, _cpu_of(load.server) - before_cpu, read, sorted(delays))


def _asked(load: Load, connections: Sequence[Connection], changer: Connection) -> Iterator[tuple[float, int]]:
    """Delay and length of each answer."""
    requests, change = cycle([text.encode() for text in load.requests]), load.change.encode()
    sent = 0

    def send(connection: Connection) -> None:
        nonlocal sent
        if load.change_every and sent % load.change_every == 0:
            changer.ask(change)
        sent += 1
        connection.send(next(requests))

    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            send(connection)
        answered = 0
        while answered < load.count:
            for key, _events in selector.select():
                if delay := key.data.receive():
                    answered += 1
                    length = key.data.read
                    if sent < load.count:
                        send(key.data)
                    yield delay, length


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def in_another_process(load: Load) -> Found:
    """Put the load on the server from a process of its own."""
    command = [sys.executable, str(Path(__file__))]
    done = subprocess.run(command, input=json.dumps(asdict(load)), check=True, capture_output=True, text=True)
    return Found(**json.loads(done.stdout))


if __name__ == "__main__":
    json.dump(asdict(generate(Load(**json.load(sys.stdin)))), sys.stdout)
