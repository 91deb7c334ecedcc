"""The WebSocket of a serial console: `/POP/compute/console?token=...`, as `nova-serialproxy` speaks it.

Binary messages carry what is typed and printed. A client that offers the subprotocol `base64` alone gets text messages
in base64 instead. `rows` and `columns` in the query give the window's size; a text message `{"rows":..,"columns":..}`
changes it, where messages are binary.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from urllib.parse import urlsplit

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from sonata.emulator.cloud import Cloud
from sonata.errors import SonataError
from sonata.ports.runtime import Terminal

REFUSED = 1008  # policy violation, RFC 6455 section 7.4.1
GONE = 1000
LARGEST = 1000
LONGEST_MESSAGE = 64 * 1024


class WindowSize(msgspec.Struct, forbid_unknown_fields=True):
    """How large a client's window is, in characters."""

    rows: int
    columns: int


async def serve_console(socket: WebSocket, cloud: Cloud | None) -> None:
    """Join a client and the terminal that its token is for, until either ends."""
    if cloud is None or not _is_same_origin(socket):
        await socket.close(REFUSED)
        return
    query = socket.query_params
    try:
        size = _size(query.get("rows", "24"), query.get("columns", "80"))
        terminal = await cloud.consoles.open(query.get("token", ""), rows=size.rows, columns=size.columns)
    except (SonataError, ValueError):
        await socket.close(REFUSED)
        return
    try:
        offered = socket.scope.get("subprotocols") or []
        chosen = next((one for one in ("binary", "base64") if one in offered), None)
        await socket.accept(chosen)
        await _join(socket, terminal, encoded=chosen == "base64")
    finally:
        await terminal.close()


def _size(rows: str, columns: str) -> WindowSize:
    return _checked(WindowSize(int(rows), int(columns)))


def _checked(size: WindowSize) -> WindowSize:
    if not (1 <= size.rows <= LARGEST and 1 <= size.columns <= LARGEST):
        raise ValueError(f"a window has 1 to {LARGEST} rows and columns")
    return size


def _is_same_origin(socket: WebSocket) -> bool:
    """Whether no foreign web page asks; programs send no origin."""
    origin = socket.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == socket.headers.get("host")


async def _join(socket: WebSocket, terminal: Terminal, *, encoded: bool) -> None:
    typing = asyncio.create_task(_type(socket, terminal, encoded=encoded))
    printing = asyncio.create_task(_print(socket, terminal, encoded=encoded))
    try:
        await asyncio.wait((typing, printing), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (typing, printing):
            task.cancel()
        await asyncio.gather(typing, printing, return_exceptions=True)
    with contextlib.suppress(RuntimeError):  # it is closed already when the client left
        await socket.close(GONE)


async def _print(socket: WebSocket, terminal: Terminal, *, encoded: bool) -> None:
    while printed := await terminal.read():
        if encoded:
            await socket.send_text(base64.b64encode(printed).decode())
        else:
            await socket.send_bytes(printed)


async def _type(socket: WebSocket, terminal: Terminal, *, encoded: bool) -> None:
    while True:
        try:
            message = await socket.receive()
        except (WebSocketDisconnect, RuntimeError):
            return
        if message["type"] == "websocket.disconnect":
            return
        await _take(terminal, message.get("bytes"), message.get("text"), encoded=encoded)


async def _take(terminal: Terminal, typed: bytes | None, text: str | None, *, encoded: bool) -> None:
    if typed is not None:
        await terminal.write(typed[:LONGEST_MESSAGE])
    elif text is not None and encoded:
        with contextlib.suppress(binascii.Error, ValueError):
            await terminal.write(base64.b64decode(text[:LONGEST_MESSAGE], validate=True))
    elif text is not None:
        with contextlib.suppress(msgspec.DecodeError, ValueError):
            size = _checked(msgspec.json.decode(text, type=WindowSize))
            terminal.resize(size.rows, size.columns)
