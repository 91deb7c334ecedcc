"""A SOCKS5 proxy to management addresses (RFC 1928) with user name and password (RFC 1929).

Only the command CONNECT, to IPv4 addresses of the emulation's external networks; everything else is refused.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from enum import IntEnum
from ipaddress import IPv4Address

from sonata.emulator.management import Management
from sonata.errors import SonataError, TransientError, Unauthorised

logger = logging.getLogger(__name__)

USER = "sonata"
HANDSHAKE_TIMEOUT_S = 10.0
HALF_CLOSED_S = 300.0
"""How long one side may still send after the other has ended."""
_VERSION, _AUTH_VERSION = 5, 1
_USER_AND_PASSWORD, _NO_METHOD = 2, 0xFF
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_CHUNK = 65536


class Reply(IntEnum):
    """Reply field of RFC 1928, clause 6."""

    SUCCEEDED = 0
    FAILURE = 1
    NOT_ALLOWED = 2
    HOST_UNREACHABLE = 4
    COMMAND_UNSUPPORTED = 7
    ADDRESS_UNSUPPORTED = 8


class _RefusedError(Exception):
    """The client asked for what it cannot have; the answer, if any, is in `reply`."""

    def __init__(self, reply: Reply | None = None) -> None:
        super().__init__(reply)
        self.reply = reply


class ManagementProxy:
    """Serves the proxy on a socket that listens already."""

    def __init__(self, management: Management, password: str) -> None:
        self._management = management
        self._password = password.encode()
        self._served: set[asyncio.Task[None]] = set()
        """The event loop itself holds its tasks weakly."""

    @asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncIterator[None]:
        """Serve while the block runs."""
        server = await asyncio.start_server(self._accept, sock=listener)
        try:
            yield
        finally:
            server.close()
            for task in self._served:
                task.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name="management proxy")
        self._served.add(task)
        task.add_done_callback(self._served.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            try:
                async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                    await self._authenticate(reader, writer)
                    address, tcp_port = await _read_request(reader)
                target = await self._connect(address, tcp_port)
            except _RefusedError as refusal:
                if refusal.reply is not None:
                    await _answer(writer, refusal.reply)
                return
            await _answer(writer, Reply.SUCCEEDED)
            await _join(reader, writer, target)

    async def _authenticate(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version, methods = await reader.readexactly(2)
        offered = await reader.readexactly(methods)
        if version != _VERSION or _USER_AND_PASSWORD not in offered:
            writer.write(bytes((_VERSION, _NO_METHOD)))
            raise _RefusedError
        writer.write(bytes((_VERSION, _USER_AND_PASSWORD)))
        version, length = await reader.readexactly(2)
        user = await reader.readexactly(length)
        password = await reader.readexactly((await reader.readexactly(1))[0])
        is_right = hmac.compare_digest(password, self._password) & hmac.compare_digest(user, USER.encode())
        writer.write(bytes((_AUTH_VERSION, 0 if is_right else 1)))
        if not is_right:
            raise _RefusedError

    async def _connect(self, address: IPv4Address, tcp_port: int) -> socket.socket:
        try:
            return await self._management.connect(address, tcp_port)
        except Unauthorised as error:
            logger.warning("proxy refused a destination", extra={"address": str(address)})
            raise _RefusedError(Reply.NOT_ALLOWED) from error
        except TransientError as error:
            raise _RefusedError(Reply.HOST_UNREACHABLE) from error
        except SonataError as error:
            logger.warning("proxy cannot connect", extra={"address": str(address), "reason": error.message})
            raise _RefusedError(Reply.FAILURE) from error


async def _read_request(reader: asyncio.StreamReader) -> tuple[IPv4Address, int]:
    version, command, _, kind = await reader.readexactly(4)
    if version != _VERSION or command != _CONNECT:
        raise _RefusedError(Reply.COMMAND_UNSUPPORTED)
    if kind == _IPV4:
        address = IPv4Address(await reader.readexactly(4))
    elif kind == _NAME:
        address = _literal(await reader.readexactly((await reader.readexactly(1))[0]))
    else:
        raise _RefusedError(Reply.ADDRESS_UNSUPPORTED)
    return address, int.from_bytes(await reader.readexactly(2), "big")


def _literal(name: bytes) -> IPv4Address:
    """An address that was sent as a name; real names are not resolved."""
    try:
        return IPv4Address(name.decode("ascii"))
    except ValueError as error:
        raise _RefusedError(Reply.ADDRESS_UNSUPPORTED) from error


async def _answer(writer: asyncio.StreamWriter, reply: Reply) -> None:
    writer.write(bytes((_VERSION, reply, 0, _IPV4)) + bytes(6))
    await writer.drain()


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: socket.socket) -> None:
    """Pass bytes both ways until both sides have ended, or one a while ago: it may be gone rather than listening."""
    far_reader, far_writer = await asyncio.open_connection(sock=target)
    with closing(far_writer):
        pumps = [asyncio.create_task(_pump(*ends)) for ends in ((reader, far_writer), (far_reader, writer))]
        try:
            _, going_on = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if going_on:
                await asyncio.wait(going_on, timeout=HALF_CLOSED_S)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
