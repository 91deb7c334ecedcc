"""The metadata service of a network: HTTP at 169.254.169.254, answered by the keeper itself.

Who asks is known by the network on which the connection came in and by its source address, never by what it says.
"""

from __future__ import annotations

import asyncio
import logging
from ipaddress import IPv4Address

import h11

from sonata.emulator.cloud.firstboot.instance import instance_of, server_at
from sonata.emulator.cloud.firstboot.paths import TEXT, answer
from sonata.emulator.cloud.tables import Tables

logger = logging.getLogger(__name__)

ADDRESS = IPv4Address("169.254.169.254")
SERVER_PORT = 80
PATIENCE_S = 10.0
LONGEST_HEAD = 16 * 1024
MOST_CONNECTIONS = 64

Answer = tuple[int, bytes, str]


class MetadataService:
    """Serves one network."""

    def __init__(self, tables: Tables, network_id: str) -> None:
        self._tables = tables
        self._network_id = network_id
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
        status, body, kind = self._answer(request, str(peer[0]) if peer else "")
        headers = [("content-type", kind), ("content-length", str(len(body))), ("connection", "close")]
        writer.write(connection.send(h11.Response(status_code=status, headers=headers)) or b"")
        if request.method != b"HEAD":
            writer.write(connection.send(h11.Data(data=body)) or b"")
        await writer.drain()

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
