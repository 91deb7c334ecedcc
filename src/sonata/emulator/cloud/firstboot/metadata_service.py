"""The metadata service of a network: HTTP at 169.254.169.254, answered by the keeper itself.

Who asks is known by the network on which the connection came in and by its source address, never by what it says. It
is also where servers send signals to stacks, since nothing else of the cloud's APIs can be reached from inside.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from sonata._lib.later import later
from sonata.emulator.cloud.firstboot.instance import instance_of, server_at
from sonata.emulator.cloud.firstboot.paths import TEXT, answer
from sonata.emulator.cloud.tables import Tables

if TYPE_CHECKING:
    import h11
else:
    h11 = later("h11")

logger = logging.getLogger(__name__)

ADDRESS = IPv4Address("169.254.169.254")
SERVER_PORT = 80
PATIENCE_S = 10.0
LONGEST_HEAD = 16 * 1024
MOST_CONNECTIONS = 64
LONGEST_BODY = 64 * 1024

Answer = tuple[int, bytes, str]
Posted = Callable[[str, str, bytes], Awaitable[tuple[int, str]]]
"""Takes what a server sends to a path with a token; returns HTTP status and what to tell."""


async def nobody(_target: str, _token: str, _body: bytes) -> tuple[int, str]:
    """Takes nothing."""
    return 405, "405 Method Not Allowed"


class MetadataService:
    """Serves one network.

    Args:
        on_post: who takes what servers send.
    """

    def __init__(self, tables: Tables, network_id: str, on_post: Posted = nobody) -> None:
        self._tables = tables
        self._network_id = network_id
        self._on_post = on_post
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection: one request, then it is closed."""
        self._open += 1
        try:
            async with asyncio.timeout(PATIENCE_S):
                if self._open <= MOST_CONNECTIONS:
                    await self._exchange(reader, writer)
        except (TimeoutError, ConnectionError, h11.RemoteProtocolError) as error:
            logger.debug("metadata request failed", extra={"network": self._network_id, "cause": str(error)})
        finally:
            self._open -= 1
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_HEAD)
        request = await _next_request(connection, reader)
        peer = writer.get_extra_info("peername")
        if request.method == b"POST":
            status, body, kind = await self._posted(request, await _body(connection, reader, writer))
        else:
            status, body, kind = self._answer(request, str(peer[0]) if peer else "")
        headers = [("content-type", kind), ("content-length", str(len(body))), ("connection", "close")]
        writer.write(connection.send(h11.Response(status_code=status, headers=headers)) or b"")
        if request.method != b"HEAD":
            writer.write(connection.send(h11.Data(data=body)) or b"")
        await writer.drain()

    async def _posted(self, request: h11.Request, body: bytes) -> Answer:
        token = next((value for name, value in request.headers if name == b"x-auth-token"), b"")
        status, told = await self._on_post(request.target.decode("latin-1"), token.decode("latin-1"), body)
        return status, f"{told}\n".encode() if told else b"", TEXT

    def _answer(self, request: h11.Request, source: str) -> Answer:
        if request.method not in (b"GET", b"HEAD"):
            return 405, b"405 Method Not Allowed\n", TEXT
        server = server_at(self._tables, self._network_id, source)
        path = request.target.partition(b"?")[0].decode(errors="replace")
        found = answer(instance_of(self._tables, server), path) if server else None
        if found is None:
            return 404, b"404 Not Found\n\nThe resource could not be found.\n", TEXT
        return 200, *found


async def _next_request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request:
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            raise ConnectionError("it ended before its request was complete")
        connection.receive_data(await reader.read(4096))


async def _body(connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    if connection.they_are_waiting_for_100_continue:
        writer.write(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
    body = bytearray()
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Data):
            body += event.data
        elif event is h11.NEED_DATA:
            connection.receive_data(await reader.read(4096))
        if len(body) > LONGEST_BODY:
            raise ConnectionError(f"it sent more than {LONGEST_BODY} bytes")
    return bytes(body)
